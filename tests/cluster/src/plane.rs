//! A control plane of our own, or a cluster that runs already.

use std::{
    fs,
    future::Future,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use anyhow::{Context as _, Result};
use coffer_test_support::{
    process::{Server, accepts},
    scratch::{self, Port},
};
use k8s_openapi::api::{
    authentication::v1::{TokenRequest, TokenRequestSpec},
    core::v1::{Namespace, ServiceAccount},
};
use kube::{
    Api, Client, Config,
    api::PostParams,
    config::{KubeConfigOptions, Kubeconfig},
};
use tempfile::TempDir;
use tokio::runtime::{Handle, Runtime};

use crate::{
    assets::{self, Cluster, Programs},
    identity::{Authority, Credentials, base64, kubeconfig, signing_key},
    wait,
};

const START_LIMIT: Duration = Duration::from_mins(2);
const STOP_LIMIT: Duration = Duration::from_secs(30);
/// How long the controllers believe in a node that reports nothing, and how long a pod tolerates that its node is lost. Real clusters: 40 s and
/// 5 min.
const NODE_GRACE: &str = "6s";
const LOST_NODE_TOLERATION: &str = "2";

/// etcd, an API server and the controllers, or the way to a cluster that runs already. Dropping it stops what it started.
pub struct ControlPlane {
    admin: Client,
    access: Access,
    servers: Option<Mutex<Servers>>,
    // After the client, whose connections live on it.
    runtime: Option<Runtime>,
}

/// How to reach the API server, and as whom.
struct Access {
    kubeconfig: Kubeconfig,
    authority_base64: String,
    url: String,
}

/// What runs, and how it is started again. The folder goes last.
struct Servers {
    controllers: Option<Server>,
    api: Server,
    _etcd: Server,
    programs: Programs,
    ports: Ports,
    folder: TempDir,
}

/// The API server's address, and the certificates, all in PEM, that its clients believe.
pub(crate) struct Papers {
    pub(crate) url: String,
    pub(crate) authority: Vec<u8>,
    pub(crate) certificate: Vec<u8>,
    pub(crate) key: Vec<u8>,
}

struct Ports {
    etcd: Port,
    peers: Port,
    api: Port,
    controllers: Port,
}

impl ControlPlane {
    /// The control plane that tests share, each in namespaces of its own; the last test that holds it stops it. `None` where there is none.
    pub fn shared() -> Option<Arc<Self>> {
        static SHARED: Mutex<Weak<ControlPlane>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(plane) = shared.upgrade() {
            return Some(plane);
        }
        let plane = Arc::new(Self::find()?.expect("the control plane starts"));
        *shared = Arc::downgrade(&plane);
        Some(plane)
    }

    /// A control plane of the test's own, empty, whose servers may be stopped and killed. `None` where there are no programs for one.
    pub fn start() -> Option<Self> {
        match assets::find()? {
            Cluster::Programs(programs) => Some(Self::launch(programs).expect("the control plane starts")),
            Cluster::Running(_) => {
                assets::skip("tests that disturb a whole cluster leave the one in KUBECONFIG alone");
                None
            }
        }
    }

    fn find() -> Option<Result<Self>> {
        Some(match assets::find()? {
            Cluster::Programs(programs) => Self::launch(programs),
            Cluster::Running(file) => Self::existing(&file),
        })
    }

    fn existing(file: &Path) -> Result<Self> {
        let runtime = Runtime::new()?;
        let kubeconfig = Kubeconfig::read_from(file)?;
        let (config, admin) = runtime.block_on(async {
            let config = Config::from_custom_kubeconfig(kubeconfig.clone(), &KubeConfigOptions::default()).await?;
            let client = Client::try_from(config.clone())?;
            Ok::<_, anyhow::Error>((config, client))
        })?;
        let authority = config.root_cert.unwrap_or_default();
        let pem: String = authority.iter().map(|der| pem("CERTIFICATE", der)).collect();
        let access =
            Access { kubeconfig, authority_base64: base64(pem.as_bytes()), url: config.cluster_url.to_string() };
        Ok(Self { admin, access, servers: None, runtime: Some(runtime) })
    }

    fn launch(programs: Programs) -> Result<Self> {
        let runtime = Runtime::new()?;
        let folder = scratch::folder()?;
        let ports =
            Ports { etcd: Port::lease()?, peers: Port::lease()?, api: Port::lease()?, controllers: Port::lease()? };
        let url = format!("https://127.0.0.1:{}", ports.api.number());
        let access = credentials(folder.path(), &url)?;
        let etcd = start_etcd(&programs, &ports, folder.path())?;
        let api = start_api_server(&programs, &ports, folder.path())?;
        let admin = runtime.block_on(client(access.kubeconfig.clone()))?;
        let mut servers = Servers { controllers: None, api, _etcd: etcd, programs, ports, folder };
        runtime.block_on(servers.ready(&admin))?;
        servers.start_controllers()?;
        Ok(Self { admin, access, servers: Some(Mutex::new(servers)), runtime: Some(runtime) })
    }

    /// Runs a test on the runtime where all clients of this control plane live.
    pub fn run<F: Future>(&self, test: F) -> F::Output {
        self.runtime().block_on(test)
    }

    /// The runtime itself, for a test that moves the control plane.
    pub fn handle(&self) -> Handle {
        self.runtime().handle().clone()
    }

    fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().expect("the runtime is there until the handle is dropped")
    }

    /// A client that may do everything.
    pub fn admin(&self) -> Client {
        self.admin.clone()
    }

    /// The administrator's kubeconfig, e.g. to write into a file for `kubectl`.
    pub fn kubeconfig(&self) -> &Kubeconfig {
        &self.access.kubeconfig
    }

    /// A client that may do what this service account may.
    pub async fn client_as(&self, namespace: &str, account: &str) -> Result<Client> {
        client(self.kubeconfig_as(namespace, account).await?).await
    }

    /// A client that is whom this token says.
    pub async fn client_with_token(&self, token: &str) -> Result<Client> {
        client(self.kubeconfig_with_token(token)?).await
    }

    fn kubeconfig_with_token(&self, token: &str) -> Result<Kubeconfig> {
        kubeconfig(&self.access.url, &self.access.authority_base64, &Credentials::Token(token.into()))
    }

    /// A kubeconfig with a token of this service account, good for an hour.
    pub async fn kubeconfig_as(&self, namespace: &str, account: &str) -> Result<Kubeconfig> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.admin(), namespace);
        let spec = TokenRequestSpec { expiration_seconds: Some(3600), ..TokenRequestSpec::default() };
        let request = TokenRequest { spec, ..TokenRequest::default() };
        let answer = accounts
            .create_token_request(account, &PostParams::default(), &request)
            .await
            .with_context(|| format!("no token for service account {namespace}/{account}"))?;
        self.kubeconfig_with_token(&answer.status.context("the server answered without a token")?.token)
    }

    /// Whether a controller manager runs: Jobs get Pods, owners' dependants are collected, service accounts appear.
    pub fn has_controllers(&self) -> bool {
        self.servers.as_ref().is_none_or(|servers| lock(servers).controllers.is_some())
    }

    /// Whether the machines are missing, so that a [`crate::Kubelet`] has to play them.
    pub fn has_no_machines(&self) -> bool {
        self.servers.is_some()
    }

    /// The port of the API server on loopback; 0 for a cluster that runs already.
    pub fn port(&self) -> u16 {
        self.servers.as_ref().map_or(0, |servers| lock(servers).ports.api.number())
    }

    /// Kills the API server as a crash would; everything that it stored stays.
    pub fn kill_api_server(&self) {
        lock(self.own()).api.kill();
    }

    /// Starts the API server again after [`Self::kill_api_server`], at the same address, and waits until it is ready.
    pub async fn restart_api_server(&self) -> Result<()> {
        {
            let mut servers = lock(self.own());
            servers.api.kill();
            servers.api = start_api_server(&servers.programs, &servers.ports, servers.folder.path())?;
        }
        let ready = || async { is_ready(&self.admin).await.then_some(()) };
        wait::within(START_LIMIT, "the API server is ready again", ready).await;
        Ok(())
    }

    /// Kills the controller manager and starts another.
    pub fn restart_controllers(&self) -> Result<()> {
        lock(self.own()).start_controllers()
    }

    /// What a server needs that clients are to take for the API server.
    pub(crate) fn papers(&self) -> Result<Papers> {
        let servers = lock(self.own());
        let read =
            |name: &str| fs::read(servers.folder.path().join(name)).with_context(|| format!("cannot read {name}"));
        Ok(Papers {
            url: self.access.url.clone(),
            authority: read("ca.pem")?,
            certificate: read("server.pem")?,
            key: read("server.key")?,
        })
    }

    fn own(&self) -> &Mutex<Servers> {
        self.servers.as_ref().expect("only a control plane of the test's own can be disturbed")
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Servers {
    async fn ready(&mut self, admin: &Client) -> Result<()> {
        let start = std::time::Instant::now();
        while !is_ready(admin).await {
            // Fails at once, with the end of the log, if the server has ended.
            self.api.wait_until(Duration::MAX, || true)?;
            if start.elapsed() > START_LIMIT {
                anyhow::bail!("kube-apiserver was not ready after {START_LIMIT:?}:\n{}", self.api.log_tail());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    fn start_controllers(&mut self) -> Result<()> {
        let Some(program) = &self.programs.controllers else { return Ok(()) };
        if let Some(mut running) = self.controllers.take() {
            running.stop(STOP_LIMIT)?;
        }
        let (folder, port) = (self.folder.path(), self.ports.controllers.number());
        let mut server = Server::start(
            "kube-controller-manager",
            program,
            &folder.join("kube-controller-manager.log"),
            |command| {
                own_environment(command);
                command.current_dir(folder).args(["--leader-elect=false", "--bind-address=127.0.0.1"]);
                command.arg(format!("--secure-port={port}"));
                command.args(["--kubeconfig=controllers.kubeconfig", "--cert-dir=controllers"]);
                command.args(["--use-service-account-credentials=true", "--root-ca-file=ca.pem"]);
                command.args(["--service-account-private-key-file=accounts.key"]);
                command.arg(format!("--node-monitor-grace-period={NODE_GRACE}"));
                command.args(["--node-monitor-period=1s", "--node-eviction-rate=10"]);
                command.args(["--kube-api-qps=500", "--kube-api-burst=1000"]);
            },
        )?;
        server.wait_until(START_LIMIT, || accepts(port))?;
        self.controllers = Some(server);
        Ok(())
    }
}

/// Writes certificates, keys and kubeconfig files; returns the administrator's access.
fn credentials(folder: &Path, url: &str) -> Result<Access> {
    let authority = Authority::new()?;
    let authority_base64 = base64(authority.pem().as_bytes());
    let server = authority.server()?;
    let admin = Credentials::Certificate(authority.client("coffer-test-admin", "system:masters")?);
    let controllers = Credentials::Certificate(authority.client("system:kube-controller-manager", "none")?);
    fs::write(folder.join("ca.pem"), authority.pem())?;
    fs::write(folder.join("server.pem"), server.certificate)?;
    fs::write(folder.join("server.key"), server.key)?;
    let (private, public) = signing_key()?;
    fs::write(folder.join("accounts.key"), private)?;
    fs::write(folder.join("accounts.pub"), public)?;
    let controllers = kubeconfig(url, &authority_base64, &controllers)?;
    fs::write(folder.join("controllers.kubeconfig"), serde_json::to_vec(&controllers)?)?;
    Ok(Access { kubeconfig: kubeconfig(url, &authority_base64, &admin)?, authority_base64, url: url.to_owned() })
}

fn start_etcd(programs: &Programs, ports: &Ports, folder: &Path) -> Result<Server> {
    let (clients, peers) = (ports.etcd.number(), ports.peers.number());
    let mut server = Server::start("etcd", &programs.etcd, &folder.join("etcd.log"), |command| {
        own_environment(command);
        command.current_dir(folder).args(["--name=test", "--data-dir=etcd", "--unsafe-no-fsync=true"]);
        for (option, port) in [("listen-client-urls", clients), ("advertise-client-urls", clients)] {
            command.arg(format!("--{option}=http://127.0.0.1:{port}"));
        }
        for option in ["listen-peer-urls", "initial-advertise-peer-urls"] {
            command.arg(format!("--{option}=http://127.0.0.1:{peers}"));
        }
        command.arg(format!("--initial-cluster=test=http://127.0.0.1:{peers}"));
    })?;
    server.wait_until(START_LIMIT, || accepts(clients))?;
    Ok(server)
}

fn start_api_server(programs: &Programs, ports: &Ports, folder: &Path) -> Result<Server> {
    let (etcd, port) = (ports.etcd.number(), ports.api.number());
    let mut server =
        Server::start("kube-apiserver", &programs.api_server, &folder.join("kube-apiserver.log"), |command| {
            own_environment(command);
            command.current_dir(folder).arg(format!("--etcd-servers=http://127.0.0.1:{etcd}"));
            command.args(["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1"]);
            command.arg(format!("--secure-port={port}"));
            // Nobody reaches a service's address here; clients find the server by its port on loopback.
            command.args(["--endpoint-reconciler-type=none", "--service-cluster-ip-range=10.96.0.0/16"]);
            command.args(["--tls-cert-file=server.pem", "--tls-private-key-file=server.key", "--cert-dir=api-server"]);
            command.args(["--client-ca-file=ca.pem", "--authorization-mode=Node,RBAC", "--allow-privileged=true"]);
            command.args(["--service-account-issuer=https://kubernetes.default.svc"]);
            command
                .args(["--service-account-key-file=accounts.pub", "--service-account-signing-key-file=accounts.key"]);
            command.args(["--enable-admission-plugins=PodSecurity,ServiceAccount,NodeRestriction"]);
            for option in ["default-not-ready-toleration-seconds", "default-unreachable-toleration-seconds"] {
                command.arg(format!("--{option}={LOST_NODE_TOLERATION}"));
            }
        })?;
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    server.wait_until(START_LIMIT, || TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok())?;
    Ok(server)
}

/// Nothing of the developer's environment reaches the servers, least of all proxies and kubeconfigs.
fn own_environment(command: &mut Command) {
    let path = std::env::var_os("PATH").unwrap_or_default();
    command.env_clear().env("PATH", path);
}

async fn client(kubeconfig: Kubeconfig) -> Result<Client> {
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    // Loopback needs no proxy, whatever the environment says.
    config.proxy_url = None;
    Ok(Client::try_from(config)?)
}

/// Whether the server says that it is ready and has made the namespaces that every cluster has.
async fn is_ready(admin: &Client) -> bool {
    let Ok(request) = http::Request::get("/readyz").body(Vec::new()) else { return false };
    admin.request_text(request).await.is_ok()
        && Api::<Namespace>::all(admin.clone()).get("kube-node-lease").await.is_ok()
        && Api::<Namespace>::all(admin.clone()).get("default").await.is_ok()
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = base64(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap_or_default()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

fn lock(servers: &Mutex<Servers>) -> std::sync::MutexGuard<'_, Servers> {
    servers.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A file in a folder with this kubeconfig in it, for a program.
pub fn write_kubeconfig(kubeconfig: &Kubeconfig, file: &Path) -> Result<PathBuf> {
    fs::write(file, serde_json::to_vec(kubeconfig)?)?;
    Ok(file.into())
}
