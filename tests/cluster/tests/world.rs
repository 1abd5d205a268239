//! A cluster with Coffer in it: from empty, through `coffer install`, to the operator that runs.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use coffer_test_cluster::kubelet::Image;
use coffer_test_cluster::manifests::{self, Mode};
use coffer_test_cluster::{ControlPlane, Kubelet, write_kubeconfig};
use coffer_test_support::process::{Server, accepts};
use coffer_test_support::scratch::{self, Port};
use kube::api::DynamicObject;
use kube::{Client, ResourceExt as _};
use serde_json::Value;
use tempfile::TempDir;

use crate::admission::RESTRICTED;

/// The image of everything that is ours.
const IMAGE: &str = "coffer:test";
/// The namespace of the user's objects.
pub const DEMO: &str = "demo";

/// A control plane, a node, and the operator as a process with the rights of its service account.
pub struct World {
    operator: Operator,
    pub kubelet: Kubelet,
    pub plane: ControlPlane,
    deployment: DynamicObject,
    folder: TempDir,
}

/// How the operator is run, from the Deployment that `coffer install` prints.
struct Operator {
    server: Server,
    listen: Port,
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
        let Some(plane) = ControlPlane::start() else { return };
        let runtime = plane.handle();
        runtime.block_on(async {
            let Some(kubelet) = Kubelet::start(&plane, "node-1", None, images()).await.unwrap() else { return };
            let folder = scratch::folder().unwrap();
            let deployment = install(&plane.admin()).await;
            // As strict as a namespace can be.
            let demo = format!(
                "apiVersion: v1\nkind: Namespace\nmetadata: {{ name: {DEMO}, labels: {{ {}: {} }} }}\n",
                RESTRICTED.0, RESTRICTED.1
            );
            manifests::apply_all(&plane.admin(), &manifests::parse(&demo).unwrap(), "").await.unwrap();
            let operator = start(&plane, &deployment, folder.path()).await;
            let mut world = Self { operator, kubelet, plane, deployment, folder };
            test(&mut world).await;
        });
    }

    pub fn client(&self) -> Client {
        self.plane.admin()
    }

    pub async fn apply_yaml(&self, yaml: &str) {
        manifests::apply_all(&self.client(), &manifests::parse(yaml).unwrap(), DEMO).await.unwrap();
    }

    /// The object as JSON; `None` if it is not there.
    pub async fn get(&self, kind: &str, name: &str) -> Option<Value> {
        let found = manifests::get(&self.client(), version_of(kind), kind, DEMO, name).await.unwrap();
        found.map(|object| serde_json::to_value(object).unwrap())
    }

    pub async fn list(&self, kind: &str) -> Vec<Value> {
        let found = manifests::list(&self.client(), version_of(kind), kind, DEMO).await.unwrap();
        found.into_iter().map(|object| serde_json::to_value(object).unwrap()).collect()
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
        let caller = std::panic::Location::caller();
        async move {
            let mut last = Value::Null;
            let limit = std::time::Instant::now() + Duration::from_mins(2);
            loop {
                if let Some(object) = self.get(kind, name).await {
                    if so(&object) {
                        return object;
                    }
                    last = object;
                }
                if std::time::Instant::now() > limit {
                    panic!(
                        "{caller}: {kind} {name} is still not {what}: {last:#}\n{}",
                        self.operator.server.log_tail()
                    );
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }

    /// Waits until the object's phase is this one.
    #[track_caller]
    pub fn phase(&self, kind: &str, name: &str, phase: &str) -> impl Future<Output = Value> {
        self.until(kind, name, phase, move |object| {
            object.pointer("/status/phase").and_then(Value::as_str) == Some(phase)
        })
    }

    /// What the operator answers to `GET path`.
    pub fn operator_says(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.operator.listen.number())).unwrap();
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// A second node, for pods to come. Where no node at all is ready, the control plane gives up no pod.
    pub async fn another_node(&self) -> Kubelet {
        Kubelet::start(&self.plane, "node-2", None, images()).await.unwrap().unwrap()
    }

    /// Kills the operator as a crash would, and starts it again as its Deployment does.
    pub async fn restart_operator(&mut self) {
        self.operator.server.kill();
        self.operator = start(&self.plane, &self.deployment, self.folder.path()).await;
    }

    /// Everything that the operator and all Jobs have printed.
    pub fn logs(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("operator.log")).unwrap() + &self.kubelet.logs(DEMO, "")
    }
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

/// Runs the container of the Deployment as a process, with the account of its pod.
async fn start(plane: &ControlPlane, deployment: &DynamicObject, folder: &Path) -> Operator {
    let (kubeconfig, log) = (folder.join("operator.kubeconfig"), folder.join("operator.log"));
    let pod = &deployment.data["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    let namespace = deployment.namespace().expect("the Deployment has a namespace");
    let account = pod["serviceAccountName"].as_str().expect("the operator has an account of its own");
    write_kubeconfig(&plane.kubeconfig_as(&namespace, account).await.unwrap(), &kubeconfig).unwrap();
    let listen = Port::lease().unwrap();
    let words = |list: &Value| -> Vec<String> {
        list.as_array().into_iter().flatten().filter_map(|word| Some(word.as_str()?.to_owned())).collect()
    };
    let mut server = Server::start("operator", Path::new(env!("CARGO_BIN_EXE_coffer")), &log, |command| {
        command.args(words(&container["args"])).args(["--listen", &format!("127.0.0.1:{}", listen.number())]);
        command.env("KUBECONFIG", &kubeconfig).env("POD_NAME", "operator-0").env("POD_NAMESPACE", &namespace);
        for variable in container["env"].as_array().into_iter().flatten() {
            if let (Some(name), Some(value)) = (variable["name"].as_str(), variable["value"].as_str()) {
                command.env(name, value);
            }
        }
    })
    .unwrap();
    server.wait_until(Duration::from_secs(30), || accepts(listen.number())).unwrap();
    Operator { server, listen }
}
