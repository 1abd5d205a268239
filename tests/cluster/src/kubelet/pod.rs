//! The life of one pod on the node.

use std::{future::pending, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use futures::{FutureExt as _, future::select_all};
use k8s_openapi::api::core::v1::{Binding, Container, ObjectReference, Pod};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams, Preconditions},
};
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::{
    Hold, Host, Image, Order,
    container::{command_line, environment, rights},
    sandbox::{Plan, Process},
    status::{self, Reason, State, now},
    volumes::{self, Mount},
};

/// How often a pod whose volumes or variables are not there yet looks again.
const RETRY: Duration = Duration::from_millis(200);

/// Why a pod ends before its processes do.
enum Stop {
    Deleted,
    Evicted(String),
    Vanished,
}

/// Hears of a pod's end.
struct Stops {
    pod: watch::Receiver<Pod>,
    order: watch::Receiver<Order>,
}

impl Stops {
    async fn next(&mut self) -> Stop {
        loop {
            match &*self.order.borrow_and_update() {
                Order::Run => {}
                Order::Evict(message) => return Stop::Evicted(message.clone()),
                Order::Vanish => return Stop::Vanished,
            }
            if self.pod.borrow_and_update().metadata.deletion_timestamp.is_some() {
                return Stop::Deleted;
            }
            let heard = tokio::select! {
                heard = self.pod.changed() => heard,
                heard = self.order.changed() => heard,
            };
            if heard.is_err() {
                // Nobody follows the pod any more: the object is gone.
                return Stop::Deleted;
            }
        }
    }
}

/// Which container of the pod.
#[derive(Clone, Copy)]
enum Slot {
    Init(usize),
    Main(usize),
}

struct Life {
    host: Arc<Host>,
    latest: watch::Receiver<Pod>,
    api: Api<Pod>,
    uid: String,
    name: String,
    started: String,
    /// Its place on the node, until it ends.
    place: Option<OwnedSemaphorePermit>,
    inits: Vec<State>,
    containers: Vec<State>,
}

/// Lives through a pod's life. What the node cannot do at all is the pod's failure, with the reason in its status.
pub(super) async fn live(host: Arc<Host>, pod: watch::Receiver<Pod>, order: watch::Receiver<Order>) {
    let mut stops = Stops { pod: pod.clone(), order };
    let first = pod.borrow().clone();
    let spec = first.spec.clone().unwrap_or_default();
    let waiting = |reason| State::waiting(reason, "");
    let reason = if spec.init_containers.is_some() { "PodInitializing" } else { "ContainerCreating" };
    let mut life = Life {
        api: Api::namespaced(host.client.clone(), &first.namespace().unwrap_or_default()),
        uid: first.uid().unwrap_or_default(),
        name: first.name_any(),
        host,
        latest: pod,
        started: now(),
        place: None,
        inits: spec.init_containers.iter().flatten().map(|_| waiting("PodInitializing")).collect(),
        containers: spec.containers.iter().map(|_| waiting(reason)).collect(),
    };
    if let Err(error) = life.run(&mut stops).await {
        let why = Reason { word: "PlayerError".into(), message: format!("{error:#}"), disruption: false };
        life.report(Some(&why)).await;
    }
}

impl Life {
    async fn run(&mut self, stops: &mut Stops) -> Result<()> {
        let prepared = tokio::select! {
            biased;
            stop = stops.next() => Err(stop),
            prepared = self.prepare() => Ok(prepared?),
        };
        let (inits, containers) = match prepared {
            Ok(Some(plans)) => plans,
            Ok(None) => return Ok(()),
            Err(stop) => return self.stop(stop, Vec::new()).await,
        };
        for (index, plan) in inits.into_iter().enumerate() {
            let slot = Slot::Init(index);
            let mut process = self.start(slot, plan)?;
            self.report(None).await;
            tokio::select! {
                biased;
                stop = stops.next() => return self.stop(stop, vec![(slot, process)]).await,
                code = process.ended() => self.ended(slot, &process, code),
            }
            self.report(None).await;
            if status::phase(&self.inits, &self.containers) == "Failed" {
                return Ok(());
            }
        }
        let mut running = Vec::new();
        for (index, plan) in containers.into_iter().enumerate() {
            running.push((Slot::Main(index), self.start(Slot::Main(index), plan)?));
        }
        self.report(None).await;
        while !running.is_empty() {
            let first = select_all(running.iter_mut().map(|(_, process)| process.ended().boxed()));
            let heard = tokio::select! {
                biased;
                stop = stops.next() => Err(stop),
                (code, index, _) = first => Ok((code, index)),
            };
            match heard {
                Err(stop) => return self.stop(stop, running).await,
                Ok((code, index)) => {
                    let (slot, process) = running.swap_remove(index);
                    self.ended(slot, &process, code);
                    self.report(None).await;
                }
            }
        }
        Ok(())
    }

    /// Everything before the first process. `None` if the pod went to another node.
    async fn prepare(&mut self) -> Result<Option<(Vec<Plan>, Vec<Plan>)>> {
        let pod = self.latest.borrow().clone();
        let spec = pod.spec.clone().context("the pod has no spec")?;
        if let Some(refusal) = self.unschedulable(&pod) {
            self.patch(status::unschedulable(&refusal)).await;
            pending::<()>().await;
        }
        self.place = Some(Arc::clone(&self.host.room).acquire_owned().await?);
        if spec.node_name.is_none() && !self.bind(&pod).await? {
            return Ok(None);
        }
        anyhow::ensure!(
            spec.restart_policy.as_deref() == Some("Never"),
            "the player runs pods with restartPolicy Never only"
        );
        self.report(None).await;
        let containers = spec.init_containers.iter().flatten().chain(&spec.containers);
        let mut images = Vec::new();
        for container in containers.clone() {
            if let Some(image) = self.image(container) {
                images.push(image);
            } else {
                let name = container.image.as_deref().unwrap_or_default();
                self.blocked("ImagePullBackOff", &format!("Back-off pulling image {name:?}")).await;
                pending::<()>().await;
            }
        }
        let volumes = loop {
            match volumes::prepare(&self.host, &pod).await {
                Ok(volumes) => break volumes,
                Err(error) => self.blocked("ContainerCreating", &format!("MountVolume.SetUp failed: {error:#}")).await,
            }
            tokio::time::sleep(RETRY).await;
        };
        let mut plans = Vec::new();
        for (container, image) in containers.zip(&images) {
            let mounts = volumes::mounts(container, &volumes)?;
            plans.push(loop {
                match self.plan(&pod, container, image, mounts.clone()).await {
                    Ok(plan) => break plan,
                    Err(error) => self.blocked("CreateContainerConfigError", &format!("{error:#}")).await,
                }
                tokio::time::sleep(RETRY).await;
            });
        }
        let mains = plans.split_off(self.inits.len());
        Ok(Some((plans, mains)))
    }

    /// Why no node will have the pod.
    fn unschedulable(&self, pod: &Pod) -> Option<String> {
        let node = [("kubernetes.io/hostname", self.host.node.as_str()), ("kubernetes.io/os", "linux")];
        let selector = pod.spec.as_ref().and_then(|spec| spec.node_selector.clone()).unwrap_or_default();
        let unmatched = selector.iter().any(|(key, value)| {
            !node.contains(&(key, value))
                && (key, value.as_str()) != (&"kubernetes.io/arch".into(), std::env::consts::ARCH)
        });
        if unmatched {
            return Some("0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.".into());
        }
        self.held(Hold::Unschedulable).then(|| "0/1 nodes are available: 1 Insufficient memory.".into())
    }

    fn held(&self, hold: Hold) -> bool {
        let state = self.host.state();
        state.holds.iter().any(|(prefix, held)| *held == hold && self.name.starts_with(prefix))
    }

    /// What the scheduler does. Whether the pod came to this node.
    async fn bind(&self, pod: &Pod) -> Result<bool> {
        let metadata =
            ObjectMeta { name: Some(self.name.clone()), uid: Some(self.uid.clone()), ..ObjectMeta::default() };
        let target = ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Node".into()),
            name: Some(self.host.node.clone()),
            ..ObjectReference::default()
        };
        let binding = Binding { metadata, target };
        let answer: kube::Result<Value> =
            self.api.create_subresource("binding", &pod.name_any(), &PostParams::default(), &binding).await;
        match answer {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(false),
            Err(error) => Err(error).context("cannot bind the pod"),
        }
    }

    fn image(&self, container: &Container) -> Option<Image> {
        let wanted = container.image.as_deref()?;
        let image = self.host.images.iter().find(|image| image.name == wanted)?;
        (!self.held(Hold::ImagePull)).then(|| image.clone())
    }

    async fn plan(&self, pod: &Pod, container: &Container, image: &Image, mut mounts: Vec<Mount>) -> Result<Plan> {
        let environment = environment(&self.host, pod, container).await?;
        let files = image.files.iter().map(|(source, target)| Mount {
            source: source.clone(),
            target: target.clone(),
            read_only: true,
        });
        mounts.splice(0..0, files);
        Ok(Plan {
            folder: self.folder(&container.name),
            command: command_line(container, image, &environment)?,
            rights: rights(pod, container, image)?,
            working_dir: container.working_dir.clone(),
            message_path: container.termination_message_path.clone().unwrap_or_else(|| "/dev/termination-log".into()),
            message_from_log: container.termination_message_policy.as_deref() == Some("FallbackToLogsOnError"),
            log: self.host.log(pod, &container.name),
            mounts,
            environment,
        })
    }

    fn folder(&self, container: &str) -> PathBuf {
        self.host.pod_folder(&self.uid).join("containers").join(container)
    }

    fn start(&mut self, slot: Slot, plan: Plan) -> Result<Process> {
        let process = Process::start(plan)?;
        *self.state(slot) = State::Running { since: now() };
        Ok(process)
    }

    fn ended(&mut self, slot: Slot, process: &Process, code: i32) {
        let state = self.state(slot);
        let since = if let State::Running { since } = state { since.clone() } else { now() };
        *state = State::Ended { code, since, at: now(), message: process.message(code) };
    }

    fn state(&mut self, slot: Slot) -> &mut State {
        match slot {
            Slot::Init(index) => &mut self.inits[index],
            Slot::Main(index) => &mut self.containers[index],
        }
    }

    /// The pod cannot go on for now: all containers that have not started say why.
    async fn blocked(&mut self, reason: &str, message: &str) {
        let before = (self.inits.clone(), self.containers.clone());
        for state in self.inits.iter_mut().chain(&mut self.containers) {
            *state = State::waiting(reason, message);
        }
        if before != (self.inits.clone(), self.containers.clone()) {
            self.report(None).await;
        }
    }

    async fn stop(&mut self, stop: Stop, running: Vec<(Slot, Process)>) -> Result<()> {
        let grace = match &stop {
            Stop::Deleted => self.latest.borrow().metadata.deletion_grace_period_seconds.unwrap_or(0),
            Stop::Evicted(_) | Stop::Vanished => 0,
        };
        let grace = Duration::from_secs(grace.try_into().unwrap_or(0));
        let ends = running.into_iter().map(|(slot, mut process)| async move {
            let code = if grace.is_zero() { process.kill().await } else { process.terminate(grace).await };
            (slot, process, code)
        });
        for (slot, process, code) in futures::future::join_all(ends).await {
            self.ended(slot, &process, code);
        }
        match stop {
            Stop::Vanished => {}
            Stop::Evicted(message) => {
                let why = Reason { word: "Evicted".into(), message, disruption: true };
                self.report(Some(&why)).await;
            }
            Stop::Deleted => {
                self.report_if_started().await;
                let preconditions = Preconditions { uid: Some(self.uid.clone()), resource_version: None };
                let params = DeleteParams::default().grace_period(0).preconditions(preconditions);
                let _ = self.api.delete(&self.name, &params).await;
            }
        }
        Ok(())
    }

    /// A pod that is deleted before it ran anything says nothing more.
    async fn report_if_started(&self) {
        if self.inits.iter().chain(&self.containers).any(|state| !matches!(state, State::Waiting { .. })) {
            self.report(None).await;
        }
    }

    async fn report(&self, why: Option<&Reason>) {
        let pod = self.latest.borrow().clone();
        self.patch(status::patch(&pod, &self.started, &self.inits, &self.containers, why)).await;
    }

    /// Writes a status, again while the API server is away. One that is refused belongs to a pod that is gone.
    async fn patch(&self, status: Value) {
        loop {
            match self.api.patch_status(&self.name, &PatchParams::default(), &Patch::Merge(&status)).await {
                Ok(_) => return,
                Err(kube::Error::Api(answer)) if (400..500).contains(&answer.code) && answer.code != 429 => {
                    if answer.code != 404 {
                        eprintln!("the status of pod {} was refused: {}", self.name, answer.message);
                    }
                    return;
                }
                Err(_) => tokio::time::sleep(RETRY).await,
            }
        }
    }
}
