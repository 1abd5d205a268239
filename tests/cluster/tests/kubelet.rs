//! The played kubelet: what the tests of the operator rely on.

use std::sync::Arc;

use coffer_test_cluster::kubelet::{Hold, Image};
use coffer_test_cluster::manifests::{self, Mode};
use coffer_test_cluster::wait::{eventually, within};
use coffer_test_cluster::{ControlPlane, Kubelet, Namespace};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Node, Pod, Secret};
use kube::api::{DeleteParams, ListParams};
use kube::{Api, ResourceExt as _};
use std::time::{Duration, Instant};

use crate::admission::{RESTRICTED, RESTRICTED_CONTEXT, pod};

/// A namespace, a node for it, and the objects of one test.
struct Stage {
    kubelet: Kubelet,
    namespace: Namespace,
    plane: Arc<ControlPlane>,
}

/// Runs a test with a node of its own. Nothing happens where there is no control plane.
fn stage<F: AsyncFnOnce(&Stage)>(name: &str, test: F) {
    let Some(plane) = ControlPlane::shared() else { return };
    plane.run(async {
        let namespace = Namespace::create(&plane, name, &[RESTRICTED]).await.unwrap();
        let node = namespace.name().to_owned();
        let images = vec![Image::system("system")];
        let Some(kubelet) = Kubelet::start(&plane, &node, Some(namespace.name()), images).await.unwrap() else {
            return;
        };
        let stage = Stage { kubelet, namespace, plane: Arc::clone(&plane) };
        test(&stage).await;
        let nodes: Api<Node> = Api::all(plane.admin());
        let _ = nodes.delete(&node, &DeleteParams::default()).await;
    });
}

impl Stage {
    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.plane.admin(), self.namespace.name())
    }

    async fn apply(&self, yaml: &str) {
        for object in manifests::parse(yaml).unwrap() {
            manifests::apply(&self.plane.admin(), &object, self.namespace.name(), Mode::Real).await.unwrap();
        }
    }

    /// Waits until the pod is in this phase.
    async fn reaches(&self, name: &str, phase: &str) -> Pod {
        let what = format!("pod {name} is {phase}");
        eventually(&what, || async {
            let pod = self.api::<Pod>().get(name).await.ok()?;
            (pod.status.as_ref()?.phase.as_deref() == Some(phase)).then_some(pod)
        })
        .await
    }

    /// Waits until the pod has printed this.
    async fn prints(&self, name: &str, text: &str) {
        let what = format!("pod {name} prints {text:?}");
        let printed = || async { self.kubelet.logs(self.namespace.name(), name).contains(text).then_some(()) };
        eventually(&what, printed).await;
    }
}

fn exit_code(pod: &Pod) -> Option<i32> {
    let state = pod.status.as_ref()?.container_statuses.as_ref()?.first()?.state.clone()?;
    Some(state.terminated?.exit_code)
}

#[test]
fn a_pod_has_the_rights_that_its_security_context_says() {
    stage("rights", async |stage| {
        let command = "id -u; id -g; touch /x || echo root is read-only; touch /tmp/x || echo no tmp; grep CapBnd /proc/self/status; \
             grep NoNewPrivs /proc/self/status; ls /root /work 2>&1 || echo nothing of the host; echo $$$$; exit 3";
        stage.apply(&pod("rights", command, RESTRICTED_CONTEXT)).await;
        let pod = stage.reaches("rights", "Failed").await;
        assert_eq!(exit_code(&pod), Some(3));
        let log = stage.kubelet.logs(stage.namespace.name(), "rights");
        for part in [
            "65534\n65534\n",
            "root is read-only",
            "no tmp",
            "CapBnd:\t0000000000000000",
            "NoNewPrivs:\t1",
            "nothing of the host\n1\n",
        ] {
            assert!(log.contains(part), "{part:?} is missing in\n{log}");
        }
    });
}

#[test]
fn a_pod_reads_its_own_service_account_with_its_token() {
    stage("token", async |stage| {
        stage
            .apply(
                "apiVersion: v1\nkind: ServiceAccount\nmetadata: { name: reader }\n---\n\
                 apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: { name: reader }\n\
                 rules: [{ apiGroups: [''], resources: [serviceaccounts], resourceNames: [reader], verbs: [get] }]\n---\n\
                 apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: { name: reader }\n\
                 roleRef: { apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader }\n\
                 subjects: [{ kind: ServiceAccount, name: reader }]\n",
            )
            .await;
        let command = "d=/var/run/secrets/kubernetes.io/serviceaccount; cat $d/namespace; echo; head -c 27 $d/ca.crt; echo; \
             echo host $KUBERNETES_SERVICE_HOST; cat $d/token";
        let yaml =
            pod("token", command, RESTRICTED_CONTEXT).replace("spec:\n", "spec:\n  serviceAccountName: reader\n");
        stage.apply(&yaml).await;
        stage.reaches("token", "Succeeded").await;
        let log = stage.kubelet.logs(stage.namespace.name(), "token");
        assert!(
            log.contains(&format!("{}\n-----BEGIN CERTIFICATE-----\nhost 127.0.0.1\n", stage.namespace.name())),
            "{log}"
        );
        // The token is the account's: what it may read, and what it may not.
        let token = log.lines().find(|line| line.starts_with("ey")).unwrap();
        let client = stage.plane.client_with_token(token).await.unwrap();
        let accounts: Api<k8s_openapi::api::core::v1::ServiceAccount> =
            Api::namespaced(client.clone(), stage.namespace.name());
        assert_eq!(accounts.get("reader").await.unwrap().name_any(), "reader");
        let secrets: Api<Secret> = Api::namespaced(client, stage.namespace.name());
        let refused = secrets.list(&ListParams::default()).await.unwrap_err();
        assert!(matches!(&refused, kube::Error::Api(status) if status.code == 403), "{refused}");
    });
}

#[test]
fn volumes_and_variables_are_where_the_pod_wants_them() {
    stage("volumes", async |stage| {
        let yaml = "apiVersion: v1\nkind: Pod\nmetadata: { name: volumes }\nspec:\n  restartPolicy: Never\n  volumes:\n\
            \x20   - { name: scratch, emptyDir: {} }\n    - { name: keys, secret: { secretName: keys, items: [{ key: a, path: deep/b }] } }\n\
            \x20 initContainers:\n    - { name: first, image: system, command: [sh, -c, 'echo $(NAME) > /tmp/first'], env: [{ name: NAME, value: one }], \
              volumeMounts: [{ name: scratch, mountPath: /tmp }], securityContext: SECURITY }\n\
            \x20 containers:\n    - name: main\n      image: system\n      command: [sh, -c]\n      args: ['cat /tmp/first /keys/deep/b; echo \" $PASSWORD $POD\"; touch /keys/x || echo keys are read-only']\n\
            \x20     env: [{ name: PASSWORD, valueFrom: { secretKeyRef: { name: keys, key: a } } }, { name: POD, valueFrom: { fieldRef: { fieldPath: metadata.name } } }]\n\
            \x20     volumeMounts: [{ name: scratch, mountPath: /tmp }, { name: keys, mountPath: /keys, readOnly: true }]\n      securityContext: SECURITY\n";
        stage.apply(&yaml.replace("SECURITY", RESTRICTED_CONTEXT)).await;
        // It waits for a Secret that comes later, as on a real node.
        eventually("the pod says what it waits for", || async {
            let pod = stage.api::<Pod>().get("volumes").await.ok()?;
            let state = pod.status?.container_statuses?.first()?.state.clone()?.waiting?;
            state.message?.contains("secret \"keys\" not found").then_some(())
        })
        .await;
        stage.apply("apiVersion: v1\nkind: Secret\nmetadata: { name: keys }\nstringData: { a: hidden }\n").await;
        stage.reaches("volumes", "Succeeded").await;
        let log = stage.kubelet.logs(stage.namespace.name(), "volumes");
        assert!(log.contains("one\nhidden hidden volumes\n"), "{log}");
        assert!(log.contains("keys are read-only"), "{log}");
    });
}

const PATIENT: &str = "trap 'echo stopping; exit 7' TERM; echo started; while :; do sleep 0.1; done";
const DEAF: &str = "trap '' TERM; echo started; while :; do sleep 0.1; done";

#[test]
fn deleted_pods_are_asked_then_killed() {
    stage("deletion", async |stage| {
        for (name, command) in [("patient", PATIENT), ("deaf", DEAF)] {
            stage.apply(&pod(name, command, RESTRICTED_CONTEXT)).await;
        }
        for name in ["patient", "deaf"] {
            stage.reaches(name, "Running").await;
            stage.prints(name, "started").await;
        }
        let start = Instant::now();
        for name in ["patient", "deaf"] {
            stage.api::<Pod>().delete(name, &DeleteParams::default().grace_period(2)).await.unwrap();
        }
        for name in ["patient", "deaf"] {
            let what = format!("{name} is gone");
            eventually(&what, || async { stage.api::<Pod>().get_opt(name).await.ok()?.is_none().then_some(()) }).await;
        }
        assert!(start.elapsed() >= Duration::from_secs(2), "the deaf pod had its grace period");
        assert!(stage.kubelet.logs(stage.namespace.name(), "patient").contains("stopping"));
    });
}

fn job(name: &str, command: &str) -> String {
    let pod = pod(name, command, RESTRICTED_CONTEXT);
    let spec = pod.lines().skip_while(|line| *line != "spec:").collect::<Vec<_>>().join("\n    ");
    format!(
        "apiVersion: batch/v1\nkind: Job\nmetadata: {{ name: {name} }}\nspec:\n  backoffLimit: 0\n  template:\n    {spec}\n"
    )
}

/// Waits until the job has this condition; returns its reason.
async fn condition(stage: &Stage, job: &str, condition: &str) -> String {
    let what = format!("job {job} is {condition}");
    let reason = || async {
        let conditions = stage.api::<Job>().get(job).await.ok()?.status?.conditions?;
        let found = conditions.into_iter().find(|each| each.type_ == condition && each.status == "True")?;
        Some(found.reason.unwrap_or_default())
    };
    within(Duration::from_mins(2), &what, reason).await
}

async fn pod_of(stage: &Stage, job: &str) -> String {
    let selector = ListParams::default().labels(&format!("batch.kubernetes.io/job-name={job}"));
    let what = format!("job {job} has a running pod");
    eventually(&what, || async {
        let pods = stage.api::<Pod>().list(&selector).await.ok()?;
        let running = |pod: &Pod| pod.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Running"));
        pods.items.into_iter().find(running).map(|pod| pod.name_any())
    })
    .await
}

#[test]
fn jobs_end_as_their_pods_do() {
    stage("jobs", async |stage| {
        stage.apply(&job("good", "true")).await;
        stage.apply(&job("bad", "exit 4")).await;
        stage.apply(&job("evicted", PATIENT)).await;
        condition(stage, "good", "Complete").await;
        assert_eq!(condition(stage, "bad", "Failed").await, "BackoffLimitExceeded");
        let pod = pod_of(stage, "evicted").await;
        stage.kubelet.evict(stage.namespace.name(), &pod, "The node was low on resource: memory.").unwrap();
        condition(stage, "evicted", "Failed").await;
        let pod = stage.api::<Pod>().get(&pod).await.unwrap();
        assert_eq!(pod.status.unwrap().reason.as_deref(), Some("Evicted"));
        // The end of a job's object is the end of its pods.
        stage.api::<Job>().delete("evicted", &DeleteParams::background()).await.unwrap();
        eventually("its pods are collected", || async {
            let selector = ListParams::default().labels("batch.kubernetes.io/job-name=evicted");
            stage.api::<Pod>().list(&selector).await.ok()?.items.is_empty().then_some(())
        })
        .await;
    });
}

#[test]
fn pods_that_never_start_stay_pending_with_a_reason() {
    stage("pending", async |stage| {
        stage.kubelet.hold("homeless", Hold::Unschedulable);
        stage.kubelet.hold("imageless", Hold::ImagePull);
        let nowhere =
            pod("nowhere", "true", RESTRICTED_CONTEXT).replace("spec:\n", "spec:\n  nodeSelector: { disk: fast }\n");
        for yaml in [pod("homeless", "true", RESTRICTED_CONTEXT), pod("imageless", "true", RESTRICTED_CONTEXT), nowhere]
        {
            stage.apply(&yaml).await;
        }
        for name in ["homeless", "nowhere"] {
            eventually("it is unschedulable", || async {
                let conditions = stage.api::<Pod>().get(name).await.ok()?.status?.conditions?;
                conditions.into_iter().find(|each| each.reason.as_deref() == Some("Unschedulable"))
            })
            .await;
        }
        eventually("its image is missing", || async {
            let statuses = stage.api::<Pod>().get("imageless").await.ok()?.status?.container_statuses?;
            let reason = statuses.first()?.state.clone()?.waiting?.reason?;
            (reason == "ImagePullBackOff").then_some(())
        })
        .await;
        for name in ["homeless", "nowhere", "imageless"] {
            stage.reaches(name, "Pending").await;
            stage.api::<Pod>().delete(name, &DeleteParams::default().grace_period(1)).await.unwrap();
            eventually("it can be deleted", || async {
                stage.api::<Pod>().get_opt(name).await.ok()?.is_none().then_some(())
            })
            .await;
        }
    });
}

#[test]
fn a_node_that_vanishes_takes_its_pods_along() {
    stage("vanishing", async |stage| {
        // Where no node at all is ready, the control plane believes that the fault is its own, and deletes nothing.
        let other = format!("{}-other", stage.namespace.name());
        let healthy = Kubelet::start(&stage.plane, &other, Some("kube-public"), Vec::new()).await.unwrap();
        stage.apply(&job("lost", PATIENT)).await;
        let pod = pod_of(stage, "lost").await;
        stage.prints(&pod, "started").await;
        stage.kubelet.vanish();
        // First the control plane gives the pod up; nobody is left who could end it.
        let terminating = || async { stage.api::<Pod>().get(&pod).await.ok()?.metadata.deletion_timestamp };
        within(Duration::from_mins(1), "the control plane deletes the pod of the lost node", terminating).await;
        assert!(
            !stage.kubelet.logs(stage.namespace.name(), &pod).contains("stopping"),
            "nobody asked the process to stop"
        );
        drop(healthy);
        let nodes: Api<Node> = Api::all(stage.plane.admin());
        nodes.delete(&other, &DeleteParams::default()).await.unwrap();
    });
}
