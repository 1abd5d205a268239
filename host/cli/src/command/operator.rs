//! `coffer operator`

use std::time::Duration;

use coffer_operator::{Clock, Limits, Options, Timing};
use kube::{Client, Config};

use crate::args;
use crate::context::App;
use crate::exit::{End, Failure, Outcome};

/// Settings of the operator that its Jobs need as well.
const PASSED_ON: [&str; 6] = ["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"];

/// How often it is looked whether somebody asked the program to stop.
const GLANCE: Duration = Duration::from_millis(200);

/// How long an API server may say nothing: longer than a watch without news, which ends by itself after 290 s. Without it a list whose
/// server has vanished would be waited for without end.
const SILENCE: Duration = Duration::from_secs(310);

/// Runs the operator until a signal.
pub(crate) fn run(args: args::Operator, app: &App) -> Outcome {
    let namespace = app.global.namespace.clone().or_else(|| std::env::var("POD_NAMESPACE").ok());
    let options = Options {
        image: args.image,
        image_pull_policy: args.image_pull_policy,
        image_pull_secrets: args.image_pull_secret,
        environment: PASSED_ON
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?)))
            .collect(),
        namespace: namespace.unwrap_or_else(|| "coffer".to_owned()),
        identity: args.identity,
        lease: (!args.no_lease).then(Timing::default),
        listen: Some(args.listen),
        limits: Limits::default(),
        clock: Clock::default(),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Other(format!("no threads for the operator: {error}")))?;
    let cancel = app.cancel.clone();
    runtime.block_on(async {
        let mut config = Config::infer().await.map_err(|error| unusable(&error))?;
        config.read_timeout = Some(SILENCE);
        config.reset_reader_on_write = true;
        let client = Client::try_from(config).map_err(|error| unusable(&error))?;
        let stopped = async move {
            while cancel.reason().is_none() {
                tokio::time::sleep(GLANCE).await;
            }
        };
        coffer_operator::run(client, options, stopped).await.map_err(|error| Failure::Other(error.to_string()))
    })?;
    Ok(End::Done)
}

fn unusable(error: &dyn std::error::Error) -> Failure {
    // The address of a proxy may have a password in it.
    let text = coffer_storage::redact(&error.to_string());
    Failure::Other(format!("cannot tell how to reach a cluster: {text}; set KUBECONFIG, or run it in a pod"))
}
