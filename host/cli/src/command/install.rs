//! `coffer install`

use coffer_deploy::Settings;

use crate::args::Install;
use crate::context::App;
use crate::exit::{End, Failure, Outcome};
use crate::output::line;

pub(crate) fn run(args: &Install, app: &App) -> Outcome {
    let settings = Settings {
        namespace: app.global.namespace.clone().unwrap_or_else(|| coffer_deploy::NAMESPACE.to_owned()),
        image: args.image.clone(),
        pull_policy: args.pull_policy.clone(),
        replicas: args.replicas,
    };
    let text = coffer_deploy::manifests(&settings).map_err(|error| Failure::Other(error.to_string()))?;
    line(text.trim_end());
    Ok(End::Done)
}
