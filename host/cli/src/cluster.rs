//! The way to a cluster.

use coffer_resolve::cluster::Cluster;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tokio::runtime::{Builder, Runtime};

use crate::args;
use crate::exit::Failure;

/// A client, and the runtime that its connections live in.
pub(crate) struct Connection {
    runtime: Runtime,
    client: Client,
}

impl Connection {
    /// Finds out where the cluster is. Nothing is asked of it yet.
    pub(crate) fn open(args: &args::Cluster) -> Result<Self, Failure> {
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("cluster").enable_all().build();
        let runtime = runtime.map_err(|error| Failure::Cluster(format!("no thread for the cluster: {error}")))?;
        let client = runtime.block_on(async {
            let mut config = config(args).await?;
            // Requests have their own limits and are repeated by whoever makes them.
            config.default_retry = false;
            Client::try_from(config).map_err(|error| unusable(&error))
        })?;
        Ok(Self { runtime, client })
    }

    /// The cluster, for calls that block.
    pub(crate) fn reader(&self) -> Cluster {
        Cluster::new(self.client.clone(), self.runtime.handle().clone())
    }
}

async fn config(args: &args::Cluster) -> Result<Config, Failure> {
    let options = KubeConfigOptions { context: args.context.clone(), ..KubeConfigOptions::default() };
    if let Some(path) = &args.kubeconfig {
        let kubeconfig = Kubeconfig::read_from(path)
            .map_err(|error| Failure::Cluster(format!("cannot read the kubeconfig {}: {error}", path.display())))?;
        return Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(|error| unusable(&error));
    }
    if args.context.is_some() {
        return Config::from_kubeconfig(&options).await.map_err(|error| unusable(&error));
    }
    Config::infer().await.map_err(|error| unusable(&error))
}

fn unusable(error: &dyn std::error::Error) -> Failure {
    let mut text = format!("cannot tell how to reach a cluster: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        source = cause.source();
    }
    Failure::Cluster(format!("{text}; name a kubeconfig with --kubeconfig or KUBECONFIG"))
}
