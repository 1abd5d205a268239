//! The way to a cluster.

use std::net::IpAddr;

use coffer_resolve::cluster::Cluster;
use hyper_util::client::proxy::matcher::Matcher;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tokio::runtime::{Builder, Handle, Runtime};

use crate::args;
use crate::exit::Failure;

/// A client, and the runtime that its connections live in.
pub(crate) struct Connection {
    runtime: Runtime,
    client: Client,
    namespace: String,
}

impl Connection {
    /// Finds out where the cluster is. Nothing is asked of it yet.
    pub(crate) fn open(args: &args::Cluster) -> Result<Self, Failure> {
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("cluster").enable_all().build();
        let runtime = runtime.map_err(|error| Failure::Cluster(format!("no thread for the cluster: {error}")))?;
        let (client, namespace) = runtime.block_on(async {
            let mut config = config(args).await?;
            // Requests have their own limits and are repeated by whoever makes them.
            config.default_retry = false;
            let variable =
                |names: [&str; 2]| names.iter().find_map(|name| std::env::var(name).ok()).unwrap_or_default();
            if goes_direct(&config, &variable(["HTTPS_PROXY", "https_proxy"]), &variable(["NO_PROXY", "no_proxy"])) {
                config.proxy_url = None;
            }
            let namespace = config.default_namespace.clone();
            Ok::<_, Failure>((Client::try_from(config).map_err(|error| unusable(&error))?, namespace))
        })?;
        Ok(Self { runtime, client, namespace })
    }

    /// The namespace of the kubeconfig's context, else `default`.
    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// What drives the connections.
    pub(crate) fn runtime(&self) -> Handle {
        self.runtime.handle().clone()
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

/// Whether the proxy of the environment is not for this cluster, as kubectl sees it: none to this machine, none to what `NO_PROXY` names. A proxy of
/// the kubeconfig itself stays. (kube looks for the proxy's own name in `NO_PROXY`.)
fn goes_direct(config: &Config, proxy: &str, no_proxy: &str) -> bool {
    if config.proxy_url.is_none() || config.proxy_url != proxy.parse().ok() {
        return false;
    }
    let host = config.cluster_url.host().unwrap_or_default().trim_matches(['[', ']']);
    let here = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    here || Matcher::builder()
        .all(proxy.to_owned())
        .no(no_proxy.to_owned())
        .build()
        .intercept(&config.cluster_url)
        .is_none()
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
    // The address of a proxy may have a password in it.
    Failure::Cluster(format!("{}; name a kubeconfig with --kubeconfig or KUBECONFIG", coffer_storage::redact(&text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_of_a_proxy_is_not_shown() {
        let runtime = Builder::new_current_thread().build().unwrap();
        let _inside = runtime.enter();
        let mut config = Config::new("https://k8s.example.org:6443".parse().unwrap());
        config.proxy_url = Some("socks5://user:hunter2@proxy:1080".parse().unwrap());
        let error = Client::try_from(config).err().expect("such a proxy is not supported");
        let shown = unusable(&error).to_string();
        assert!(shown.contains("proxy:1080") && !shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn a_proxy_is_for_what_is_far() {
        let proxy = "http://proxy:3128";
        let config = |server: &str, proxy: Option<&str>| {
            let mut config = Config::new(server.parse().unwrap());
            config.proxy_url = proxy.map(|proxy| proxy.parse().unwrap());
            config
        };
        let direct = |server: &str, no_proxy: &str| goes_direct(&config(server, Some(proxy)), proxy, no_proxy);
        assert!(!direct("https://k8s.example.org:6443", ""));
        assert!(direct("https://k8s.example.org:6443", "localhost,.example.org"));
        assert!(direct("https://10.1.2.3:6443", "10.0.0.0/8"));
        assert!(!direct("https://11.1.2.3:6443", "10.0.0.0/8"));
        for here in ["https://127.0.0.1:6443", "https://[::1]:6443", "https://localhost:6443"] {
            assert!(direct(here, ""), "{here}");
        }
        // The kubeconfig's own.
        assert!(!goes_direct(&config("https://127.0.0.1:6443", Some("http://other:1")), proxy, "*"));
        assert!(!goes_direct(&config("https://127.0.0.1:6443", None), "", ""));
    }
}
