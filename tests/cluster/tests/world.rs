//! A cluster with Coffer in it: from empty, through `coffer install`, to the operator that runs.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use coffer_test_cluster::kubelet::Image;
use coffer_test_cluster::manifests::{self, Mode};
use coffer_test_cluster::{ControlPlane, Gateway, Kubelet};
use coffer_test_support::scratch;
use kube::api::{DeleteParams, DynamicObject};
use kube::{Client, ResourceExt as _};
use serde_json::Value;
use tempfile::TempDir;

use crate::admission::RESTRICTED;
use crate::operator::Operator;

/// The image of everything that is ours.
const IMAGE: &str = "coffer:test";
/// The namespace of the user's objects.
pub const DEMO: &str = "demo";
/// The pod that the operator is.
const NAME: &str = "operator-0";
/// How long anything may take that a test waits for.
const LIMIT: Duration = Duration::from_mins(5);

/// A control plane, a node, and the operator as a process with the rights of its service account.
pub struct World {
    pub operator: Operator,
    pub kubelet: Kubelet,
    gateway: Option<Gateway>,
    pub plane: ControlPlane,
    deployment: DynamicObject,
    folder: TempDir,
}

/// Where the parts of the API are.
pub fn version_of(kind: &str) -> &'static str {
    match kind {
        "BackupStorage" | "RetentionPolicy" | "Repository" | "Snapshot" => "storage.kubestash.com/v1alpha1",
        "Addon" | "Function" => "addons.kubestash.com/v1alpha1",
        "AppBinding" => "appcatalog.appscode.com/v1alpha1",
        "Job" | "CronJob" => "batch/v1",
        "Role" | "RoleBinding" | "ClusterRole" => "rbac.authorization.k8s.io/v1",
        "Secret" | "Pod" | "ServiceAccount" | "Event" => "v1",
        _ => "core.kubestash.com/v1alpha1",
    }
}

impl World {
    /// Installs Coffer into an empty cluster, starts the operator and runs the test. Nothing happens where there is no control plane.
    pub fn run<F: AsyncFnOnce(&mut Self)>(test: F) {
        Self::begin(false, test);
    }

    /// The same, with a gateway between the API server and everything of ours.
    pub fn run_behind_gateway<F: AsyncFnOnce(&mut Self)>(test: F) {
        Self::begin(true, test);
    }

    fn begin<F: AsyncFnOnce(&mut Self)>(behind_gateway: bool, test: F) {
        let Some(plane) = ControlPlane::start() else { return };
        let runtime = plane.handle();
        runtime.block_on(async {
            let Some(kubelet) = Kubelet::start(&plane, "node-1", None, images()).await.unwrap() else { return };
            let folder = scratch::folder().unwrap();
            let deployment = install(&plane.admin()).await;
            manifests::apply_all(&plane.admin(), &namespace(DEMO), "").await.unwrap();
            let gateway = if behind_gateway { Some(Gateway::start(&plane).await.unwrap()) } else { None };
            if let Some(gateway) = &gateway {
                kubelet.direct(gateway.port());
            }
            let operator = Operator::start(&plane, &deployment, folder.path(), NAME, gateway.as_ref()).await;
            let mut world = Self { operator, kubelet, gateway, plane, deployment, folder };
            test(&mut world).await;
        });
    }

    /// Makes another namespace like [`DEMO`], where pods can be created.
    pub async fn make_namespace(&self, name: &str) {
        manifests::apply_all(&self.client(), &namespace(name), "").await.unwrap();
        self.until_in(name, "ServiceAccount", "default", "there", |_| true).await;
    }

    pub fn client(&self) -> Client {
        self.plane.admin()
    }

    /// The gateway of a world that is behind one.
    pub fn gateway(&self) -> &Gateway {
        self.gateway.as_ref().expect("this world is behind a gateway")
    }

    pub async fn apply_yaml(&self, yaml: &str) {
        manifests::apply_all(&self.client(), &manifests::parse(yaml).unwrap(), DEMO).await.unwrap();
    }

    /// The object as JSON; `None` if it is not there.
    pub async fn get(&self, kind: &str, name: &str) -> Option<Value> {
        self.get_in(DEMO, kind, name).await
    }

    /// The same of another namespace.
    pub async fn get_in(&self, namespace: &str, kind: &str, name: &str) -> Option<Value> {
        let found = manifests::get(&self.client(), version_of(kind), kind, namespace, name).await.unwrap();
        found.map(|object| serde_json::to_value(object).unwrap())
    }

    pub async fn list(&self, kind: &str) -> Vec<Value> {
        self.list_in(DEMO, kind).await
    }

    /// The same of another namespace.
    pub async fn list_in(&self, namespace: &str, kind: &str) -> Vec<Value> {
        let found = manifests::list(&self.client(), version_of(kind), kind, namespace).await.unwrap();
        found.into_iter().map(|object| serde_json::to_value(object).unwrap()).collect()
    }

    /// Asks the API server to delete the object, as a user does.
    pub async fn delete(&self, kind: &str, name: &str) {
        self.delete_in(DEMO, kind, name).await;
    }

    /// The same in another namespace.
    pub async fn delete_in(&self, namespace: &str, kind: &str, name: &str) {
        let api = manifests::api(&self.client(), version_of(kind), kind, namespace).await.unwrap();
        api.delete(name, &DeleteParams::background()).await.unwrap_or_else(|error| panic!("{kind} {name}: {error}"));
    }

    /// Waits until the object is gone; fails with what holds it.
    #[track_caller]
    pub fn gone(&self, kind: &str, name: &str) -> impl Future<Output = ()> {
        self.gone_in(DEMO, kind, name)
    }

    /// The same in another namespace.
    #[track_caller]
    pub fn gone_in(&self, namespace: &str, kind: &str, name: &str) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            let limit = std::time::Instant::now() + LIMIT;
            while let Some(object) = self.get_in(namespace, kind, name).await {
                assert!(
                    std::time::Instant::now() < limit,
                    "{caller}: {kind} {namespace}/{name} is still there; see its finalizers and what its controller waits for: \
                     {object:#}\n{}",
                    self.operator.log_tail()
                );
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }

    /// Waits until `so` holds for the object; fails with the object as it is then.
    #[track_caller]
    pub fn until(
        &self,
        kind: &str,
        name: &str,
        what: &str,
        so: impl Fn(&Value) -> bool,
    ) -> impl Future<Output = Value> {
        self.until_in(DEMO, kind, name, what, so)
    }

    /// The same in another namespace.
    #[track_caller]
    pub fn until_in(
        &self,
        namespace: &str,
        kind: &str,
        name: &str,
        what: &str,
        so: impl Fn(&Value) -> bool,
    ) -> impl Future<Output = Value> {
        let caller = std::panic::Location::caller();
        async move {
            let mut last = Value::Null;
            let limit = std::time::Instant::now() + LIMIT;
            loop {
                if let Some(object) = self.get_in(namespace, kind, name).await {
                    if so(&object) {
                        return object;
                    }
                    last = object;
                }
                assert!(
                    std::time::Instant::now() <= limit,
                    "{caller}: {kind} {namespace}/{name} is still not {what}: {last:#}\n{}",
                    self.operator.log_tail()
                );
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }

    /// Waits until the object's phase is this one.
    #[track_caller]
    pub fn phase(&self, kind: &str, name: &str, phase: &str) -> impl Future<Output = Value> {
        self.phase_in(DEMO, kind, name, phase)
    }

    /// The same in another namespace.
    #[track_caller]
    pub fn phase_in(&self, namespace: &str, kind: &str, name: &str, phase: &str) -> impl Future<Output = Value> {
        self.until_in(namespace, kind, name, phase, move |object| {
            object.pointer("/status/phase").and_then(Value::as_str) == Some(phase)
        })
    }

    /// A second node, for pods to come. Where no node at all is ready, the control plane gives up no pod.
    pub async fn another_node(&self) -> Kubelet {
        Kubelet::start(&self.plane, "node-2", None, images()).await.unwrap().unwrap()
    }

    /// Kills the operator as a crash would, and starts it again as its Deployment does.
    pub async fn restart_operator(&mut self) {
        self.operator.kill();
        self.operator = self.another_operator(NAME).await;
    }

    /// Starts the operator again if it has ended, as its Deployment does.
    pub async fn keep_operator(&mut self) {
        if !self.operator.runs() {
            self.restart_operator().await;
        }
    }

    /// Another replica of the operator, as the pod `name`.
    pub async fn another_operator(&self, name: &str) -> Operator {
        Operator::start(&self.plane, &self.deployment, self.folder.path(), name, self.gateway.as_ref()).await
    }

    /// Everything that the operator and all Jobs have printed.
    pub fn logs(&self) -> String {
        std::fs::read_to_string(self.folder.path().join(format!("{NAME}.log"))).unwrap() + &self.kubelet.logs(DEMO, "")
    }
}

/// A namespace as strict as one can be.
fn namespace(name: &str) -> Vec<DynamicObject> {
    let (label, level) = RESTRICTED;
    let yaml =
        format!("apiVersion: v1\nkind: Namespace\nmetadata: {{ name: {name}, labels: {{ {label}: {level} }} }}\n");
    manifests::parse(&yaml).unwrap()
}

fn images() -> Vec<Image> {
    vec![Image::program(IMAGE, Path::new(env!("CARGO_BIN_EXE_coffer")), "/coffer")]
}

/// Applies what `coffer install` prints, but for the Deployment, which is returned.
pub async fn install(client: &Client) -> DynamicObject {
    let output = Command::new(env!("CARGO_BIN_EXE_coffer")).args(["install", "--image", IMAGE]).output().unwrap();
    assert!(output.status.success(), "coffer install failed: {}", String::from_utf8_lossy(&output.stderr));
    let objects = manifests::parse(std::str::from_utf8(&output.stdout).unwrap()).unwrap();
    let mut deployment = None;
    for object in objects {
        let kind = object.types.as_ref().map(|types| types.kind.clone()).unwrap_or_default();
        // It must be right, too; what it says is run as a process.
        let mode = if kind == "Deployment" { Mode::DryRun } else { Mode::Real };
        let mut last = None;
        for _ in 0..100 {
            last = manifests::apply(client, &object, "default", mode).await.err();
            if last.is_none() {
                break;
            }
            // A definition takes a moment until the server knows its kind.
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        if let Some(error) = last {
            panic!("{kind} {} of the installation is refused: {error:#}", object.name_any());
        }
        if kind == "Deployment" {
            deployment = Some(object);
        }
    }
    deployment.expect("the installation has a Deployment")
}
