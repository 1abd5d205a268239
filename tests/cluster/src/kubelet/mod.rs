//! The player of one machine: it binds Pods to its node and runs their containers as local processes.
//!
//! Everything that a Pod sees is as on a real node (see `sandbox`): its own mounts and process ids, the user and the rights that its security
//! context says, its environment, its service account's token. Shared with the host is the network, so that pods reach servers on loopback, and the
//! host's programs, read-only, in place of an image's files. Pods are never restarted: other restart policies than `Never` end a pod with a reason.

mod container;
mod logs;
mod node;
mod pod;
mod sandbox;
mod status;
mod volumes;

use std::{
    collections::HashMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU16, Ordering},
    },
    thread,
};

use anyhow::{Context as _, Result};
use coffer_test_support::scratch;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client, ResourceExt as _,
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Event, watcher},
    },
};
use tempfile::TempDir;
use tokio::{
    sync::{Semaphore, watch},
    task::JoinHandle,
};

use crate::{ControlPlane, assets};

/// How many pods the node runs at once; others wait for a place, as pods do that no node has room for.
const ROOM: usize = 16;

/// An image that the node has.
#[derive(Clone, Debug)]
pub struct Image {
    name: String,
    entrypoint: Vec<String>,
    user: u32,
    files: Vec<(PathBuf, String)>,
}

impl Image {
    /// An image with the host's programs alone, run as `nobody`.
    pub fn system(name: &str) -> Self {
        Self { name: name.into(), entrypoint: Vec::new(), user: 65_534, files: Vec::new() }
    }

    /// An image whose entrypoint is this program of the host, seen at `at` and run as `nobody`.
    pub fn program(name: &str, program: &Path, at: &str) -> Self {
        Self { entrypoint: vec![at.into()], files: vec![(program.into(), at.into())], ..Self::system(name) }
    }
}

/// What keeps a pod from starting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// No node will have it.
    Unschedulable,
    /// Its image cannot be pulled.
    ImagePull,
}

/// What the test orders for a running pod.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Order {
    Run,
    Evict(String),
    Vanish,
}

/// A node and its kubelet. Dropping it ends every process that it started.
pub struct Kubelet {
    host: Arc<Host>,
    tasks: Vec<JoinHandle<()>>,
}

/// What all pods of the node share.
struct Host {
    client: Client,
    node: String,
    port: AtomicU16,
    room: Arc<Semaphore>,
    /// Where the API server asks for logs.
    log_port: u16,
    images: Vec<Image>,
    folder: TempDir,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    vanished: bool,
    holds: Vec<(String, Hold)>,
    pods: HashMap<String, Entry>,
}

/// A pod that the player looks after, by its uid.
struct Entry {
    namespace: String,
    name: String,
    latest: watch::Sender<Pod>,
    order: watch::Sender<Order>,
    worker: JoinHandle<()>,
}

impl Kubelet {
    /// Registers the node `name` and runs the pods of `namespace`, or of all namespaces. `None`, and a loud line, where pods cannot be played.
    pub async fn start(
        plane: &ControlPlane,
        name: &str,
        namespace: Option<&str>,
        images: Vec<Image>,
    ) -> Result<Option<Self>> {
        if !plane.has_no_machines() {
            assets::skip("tests that play the kubelet leave the cluster in KUBECONFIG to its own kubelets");
            return Ok(None);
        }
        if !plane.has_controllers() {
            assets::skip("tests that run pods also need kube-controller-manager in KUBEBUILDER_ASSETS");
            return Ok(None);
        }
        if !sandbox::possible() {
            assets::skip("tests that run pods must be root, for namespaces and mounts of each pod's own");
            return Ok(None);
        }
        let listener = logs::listen().await?;
        let host = Arc::new(Host {
            client: plane.admin(),
            node: name.into(),
            port: AtomicU16::new(plane.port()),
            room: Arc::new(Semaphore::new(ROOM)),
            log_port: listener.local_addr()?.port(),
            images,
            folder: scratch::folder()?,
            state: Mutex::default(),
        });
        sandbox::open_to_everybody(host.folder.path())?;
        node::register(&host).await?;
        let heartbeat = tokio::spawn(node::heartbeat(Arc::clone(&host)));
        let logs = logs::serve(listener, &host)?;
        let pods =
            namespace.map_or_else(|| Api::all(plane.admin()), |namespace| Api::namespaced(plane.admin(), namespace));
        let follow = tokio::spawn(follow(Arc::clone(&host), pods));
        Ok(Some(Self { host, tasks: vec![heartbeat, logs, follow] }))
    }

    /// Tells pods that start from now on that the API server is at this port of loopback.
    pub fn direct(&self, port: u16) {
        self.host.port.store(port, Ordering::SeqCst);
    }

    /// Keeps pods whose names begin with `prefix`, and that have not started, from starting.
    pub fn hold(&self, prefix: &str, hold: Hold) {
        self.host.state().holds.push((prefix.into(), hold));
    }

    /// Forgets every [`Self::hold`]; pods that were held stay so, as on a cluster whose pods must be made anew.
    pub fn release(&self) {
        self.host.state().holds.clear();
    }

    /// Ends a pod as a node does that is short of memory.
    pub fn evict(&self, namespace: &str, pod: &str, message: &str) -> Result<()> {
        let state = self.host.state();
        let entry = state.pods.values().find(|entry| entry.namespace == namespace && entry.name == pod);
        let entry = entry.with_context(|| format!("the pod {namespace}/{pod} is not on this node"))?;
        entry.order.send(Order::Evict(message.into())).context("the pod has ended")
    }

    /// The machine is gone, from one moment to the next: all processes die, and nobody reports anything any more.
    pub fn vanish(&self) {
        let mut state = self.host.state();
        state.vanished = true;
        for entry in state.pods.values() {
            let _ = entry.order.send(Order::Vanish);
        }
    }

    /// Where the node keeps what pods mount as this host path.
    pub fn host_path(&self, path: &str) -> PathBuf {
        self.host.host_path(path)
    }

    /// Where the node keeps what pods mount as this claim.
    pub fn claim(&self, namespace: &str, name: &str) -> PathBuf {
        self.host.claim(namespace, name)
    }

    /// What the containers of pods with this prefix have printed so far.
    pub fn logs(&self, namespace: &str, prefix: &str) -> String {
        self.host.logs(|folder| folder.starts_with(&format!("{namespace}_{prefix}")))
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        let pods: Vec<_> = self.host.state().pods.drain().collect();
        for (uid, entry) in pods {
            entry.worker.abort();
            sandbox::kill_below(&self.host.pod_folder(&uid));
        }
        if thread::panicking() {
            eprintln!("{}", self.host.logs(|_| true));
        }
    }
}

impl Host {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pod_folder(&self, uid: &str) -> PathBuf {
        self.folder.path().join("pods").join(uid)
    }

    fn host_path(&self, path: &str) -> PathBuf {
        self.folder.path().join("host").join(path.trim_start_matches('/'))
    }

    fn claim(&self, namespace: &str, name: &str) -> PathBuf {
        self.folder.path().join("claims").join(namespace).join(name)
    }

    /// Where the output of a container goes.
    fn log(&self, pod: &Pod, container: &str) -> PathBuf {
        let pod = format!("{}_{}", pod.namespace().unwrap_or_default(), pod.name_any());
        self.folder.path().join("logs").join(pod).join(format!("{container}.log"))
    }

    fn logs(&self, wanted: impl Fn(&str) -> bool) -> String {
        let mut text = String::new();
        let list = |folder: &Path| {
            let mut paths: Vec<_> = fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path()).collect();
            paths.sort();
            paths
        };
        for pod in list(&self.folder.path().join("logs")) {
            let name = pod.file_name().unwrap_or_default().to_string_lossy().into_owned();
            for log in list(&pod).into_iter().filter(|_| wanted(&name)) {
                let container = log.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                let output = fs::read(&log).unwrap_or_default();
                let _ = writeln!(text, "--- {name}, container {container}\n{}", String::from_utf8_lossy(&output));
            }
        }
        text
    }
}

/// Gives every new pod a worker, and every worker the latest state of its pod.
async fn follow(host: Arc<Host>, pods: Api<Pod>) {
    // A watch that breaks begins again, with all pods.
    let events = watcher(pods, watcher::Config::default()).default_backoff();
    let each = events.for_each(|event| {
        match event {
            Ok(Event::Apply(pod) | Event::InitApply(pod)) => seen(&host, pod),
            Ok(Event::Delete(pod)) => {
                // The worker notices that nobody tells it of its pod any more.
                host.state().pods.remove(&pod.uid().unwrap_or_default());
            }
            Ok(Event::Init | Event::InitDone) | Err(_) => {}
        }
        std::future::ready(())
    });
    each.await;
}

fn seen(host: &Arc<Host>, pod: Pod) {
    let mut state = host.state();
    if state.vanished {
        return;
    }
    let uid = pod.uid().unwrap_or_default();
    if let Some(entry) = state.pods.get(&uid) {
        let _ = entry.latest.send(pod);
        return;
    }
    let assigned = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
    let over = pod.status.as_ref().and_then(|status| status.phase.as_deref()).is_some_and(status::is_final);
    if over || assigned.is_some_and(|node| node != host.node) {
        return;
    }
    let (namespace, name) = (pod.namespace().unwrap_or_default(), pod.name_any());
    let (latest, pod) = watch::channel(pod);
    let (order, orders) = watch::channel(Order::Run);
    let worker = tokio::spawn(pod::live(Arc::clone(host), pod, orders));
    state.pods.insert(uid, Entry { namespace, name, latest, order, worker });
}
