//! `coffer install`

use coffer_deploy::{DeployError, Settings};

use crate::args::Install;
use crate::context::App;
use crate::exit::{End, Failure, Outcome};
use crate::output::line;

pub(crate) fn run(args: &Install, app: &App) -> Outcome {
    let text = if args.crds { coffer_deploy::crds() } else { everything(args, app) };
    line(text.map_err(|error| Failure::Other(error.to_string()))?.trim_end());
    Ok(End::Done)
}

fn everything(args: &Install, app: &App) -> Result<String, DeployError> {
    let settings = Settings {
        namespace: app.global.namespace.clone().unwrap_or_else(|| coffer_deploy::NAMESPACE.to_owned()),
        image: args.image.clone(),
        pull_policy: args.pull_policy.clone(),
        replicas: args.replicas,
    };
    coffer_deploy::manifests(&settings)
}
