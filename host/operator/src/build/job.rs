//! The Jobs: who they are, what they may do, and what they run.

use std::time::Duration;

use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::RoleBinding;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::ObjectMeta;

use crate::build::settings::Settings;
use crate::build::volumes::Volumes;
use crate::build::{INVOKER, Invoker, labels, pod, role_binding, service_account};
use crate::error::Error;
use crate::options::Options;
use crate::reach::Reach;

/// How long a Job without an owner stays when it has finished, should the operator not remove it.
const ORPHAN_TTL: i32 = 24 * 3600;

/// What a Job is for.
#[derive(Debug, Clone)]
pub(crate) struct Work {
    /// Namespace of the Job.
    pub(crate) namespace: String,
    /// Name of the Job, its service account and its bindings.
    pub(crate) name: String,
    /// The object that it works for.
    pub(crate) invoker: Invoker,
    /// The owner in the same namespace; `None` for a Job that must outlive its object's deletion.
    pub(crate) owner: Option<OwnerReference>,
    /// What it does, as a label.
    pub(crate) component: Option<&'static str>,
    /// The session of a BackupConfiguration.
    pub(crate) session: Option<String>,
    /// Name of the container.
    pub(crate) container: String,
    /// Arguments of the container.
    pub(crate) args: Vec<String>,
    /// The `ClusterRole` that it needs in its namespace.
    pub(crate) role: &'static str,
    /// What it reaches elsewhere.
    pub(crate) reach: Reach,
    /// Volumes.
    pub(crate) volumes: Volumes,
    /// The user's settings.
    pub(crate) settings: Settings,
    /// The longest time that Kubernetes lets it live, whether it has started or not.
    pub(crate) deadline: Option<Duration>,
}

/// A Job with what it needs.
#[derive(Debug, Clone)]
pub(crate) struct Objects {
    pub(crate) service_account: Option<ServiceAccount>,
    pub(crate) role_bindings: Vec<RoleBinding>,
    pub(crate) job: Job,
}

/// The Job with what it needs.
pub(crate) fn build(work: &Work, options: &Options) -> Result<Objects, Error> {
    let Work { namespace, name, invoker, settings, .. } = work;
    let account = settings.service_account().unwrap_or(name);
    let mut job_labels = settings.job_labels.clone();
    job_labels.extend(labels(invoker, work.component, work.session.as_deref()));
    let mut annotations = settings.job_annotations.clone();
    annotations.insert(INVOKER.to_owned(), invoker.annotation());
    let job = Job {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            namespace: Some(namespace.clone()),
            labels: Some(job_labels),
            annotations: Some(annotations),
            owner_references: work.owner.clone().map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        spec: Some(JobSpec {
            // Whether a session is tried again is the operator's to say, with a new session.
            backoff_limit: Some(0),
            active_deadline_seconds: work.deadline.map(seconds),
            ttl_seconds_after_finished: work.owner.is_none().then_some(ORPHAN_TTL),
            template: pod::template(work, options)?,
            ..JobSpec::default()
        }),
        ..Job::default()
    };
    Ok(Objects {
        service_account: service_account::build(namespace, name, invoker, work.owner.clone(), settings),
        role_bindings: role_binding::build(
            (namespace, name),
            account,
            work.role,
            &work.reach,
            invoker,
            work.owner.as_ref(),
        ),
        job,
    })
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX).max(1)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use coffer_api::pod::{ContainerRuntimeSettings, PodTemplateSpec};
    use serde_json::{Value, json};

    pub(crate) fn options() -> Options {
        Options {
            image: "coffer:test".to_owned(),
            image_pull_policy: None,
            image_pull_secrets: vec!["pull".to_owned()],
            environment: vec![("HTTPS_PROXY".to_owned(), "http://proxy".to_owned())],
            namespace: "coffer".to_owned(),
            identity: "operator-0".to_owned(),
            lease: None,
            listen: None,
            limits: crate::options::Limits::default(),
            clock: crate::options::Clock::default(),
        }
    }

    fn work(settings: Settings) -> Work {
        Work {
            namespace: "demo".to_owned(),
            name: "sample-daily-1".to_owned(),
            invoker: Invoker {
                kind: "BackupSession".to_owned(),
                namespace: "demo".to_owned(),
                name: "sample-daily-1".to_owned(),
            },
            owner: Some(OwnerReference { uid: "u".to_owned(), ..OwnerReference::default() }),
            component: Some("kubestash-backup"),
            session: Some("daily".to_owned()),
            container: "logical-backup-0".to_owned(),
            args: ["run", "backup", "--namespace", "demo", "--session", "sample-daily-1"].map(str::to_owned).to_vec(),
            role: "kubestash-backup-job",
            reach: Reach::within("demo"),
            volumes: Volumes::scratch(),
            settings,
            deadline: Some(Duration::from_secs(90)),
        }
    }

    fn built(template: Value, container: Value) -> Value {
        let template: PodTemplateSpec = serde_json::from_value(template).unwrap();
        let container: ContainerRuntimeSettings = serde_json::from_value(container).unwrap();
        let objects = build(&work(Settings::of_template(Some(&template), Some(&container))), &options()).unwrap();
        serde_json::to_value(objects.job).unwrap()
    }

    /// The rules of the Pod Security Standard `restricted`, as far as a pod of ours can break them.
    pub(crate) fn assert_restricted(pod: &Value) {
        for field in ["hostNetwork", "hostPID", "hostIPC"] {
            assert!(pod.get(field).is_none_or(|value| value == &json!(false)), "{field}");
        }
        assert_eq!(pod.pointer("/securityContext/runAsNonRoot"), Some(&json!(true)));
        assert_eq!(pod.pointer("/securityContext/seccompProfile/type"), Some(&json!("RuntimeDefault")));
        assert_ne!(pod.pointer("/securityContext/runAsUser"), Some(&json!(0)));
        for container in pod["containers"].as_array().unwrap() {
            let security = &container["securityContext"];
            assert_eq!(security["allowPrivilegeEscalation"], false);
            assert_eq!(security["capabilities"], json!({"drop": ["ALL"]}));
            assert_eq!(security["runAsNonRoot"], true);
            assert_eq!(security["readOnlyRootFilesystem"], true);
            assert!(security.get("privileged").is_none());
        }
        let allowed = [
            "configMap",
            "csi",
            "downwardAPI",
            "emptyDir",
            "ephemeral",
            "persistentVolumeClaim",
            "projected",
            "secret",
        ];
        for volume in pod["volumes"].as_array().unwrap() {
            let mut kinds = volume.as_object().unwrap().keys().filter(|key| *key != "name");
            assert!(kinds.all(|kind| allowed.contains(&kind.as_str())), "{volume}");
        }
    }

    #[test]
    fn a_job_without_settings_is_restricted_and_runs_once() {
        let job = built(json!({}), json!({}));
        let pod = &job["spec"]["template"]["spec"];
        assert_restricted(pod);
        assert_eq!(job["spec"]["backoffLimit"], 0);
        assert_eq!(job["spec"]["activeDeadlineSeconds"], 90);
        assert_eq!(pod["restartPolicy"], "Never");
        assert_eq!(pod["serviceAccountName"], "sample-daily-1");
        assert_eq!(pod["containers"][0]["image"], "coffer:test");
        assert_eq!(pod["containers"][0]["name"], "logical-backup-0");
        assert_eq!(pod["containers"][0]["args"][1], "backup");
        assert_eq!(pod["containers"][0]["terminationMessagePolicy"], "FallbackToLogsOnError");
        assert_eq!(pod["imagePullSecrets"], json!([{"name": "pull"}]));
        assert_eq!(job["metadata"]["ownerReferences"][0]["uid"], "u");
        let labels = &job["spec"]["template"]["metadata"]["labels"];
        assert_eq!(labels["app.kubernetes.io/managed-by"], "kubestash.com");
        assert_eq!(labels["kubestash.com/invoker-name"], "sample-daily-1");
        assert_eq!(labels["kubestash.com/session-name"], "daily");
        let environment = pod["containers"][0]["env"].as_array().unwrap();
        assert!(environment.contains(&json!({"name": "HTTPS_PROXY", "value": "http://proxy"})));
        assert!(environment.contains(&json!({"name": "COFFER_LOCAL_ROOT", "value": "mount-path"})));
    }

    #[test]
    fn what_the_user_writes_reaches_the_pod() {
        let job = built(
            json!({"controller": {"annotations": {"team": "db"}}, "spec": {
                "nodeSelector": {"disk": "ssd"}, "tolerations": [{"key": "backup", "operator": "Exists"}],
                "affinity": {"nodeAffinity": {}}, "priorityClassName": "low", "schedulerName": "mine",
                "serviceAccountName": "own", "runtimeClassName": "gvisor", "terminationGracePeriodSeconds": 120,
                "securityContext": {"runAsUser": 1000, "fsGroup": 1000}, "imagePullSecrets": [{"name": "user"}],
                "volumes": [{"name": "v", "emptyDir": {}}], "volumeMounts": [{"name": "v", "mountPath": "/v"}],
                "env": [{"name": "HOME", "value": "/v"}], "dnsPolicy": "None", "hostNetwork": false,
                "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}],
            }}),
            json!({"resources": {"limits": {"memory": "1Gi"}}, "securityContext": {"runAsUser": 1000},
                   "envFrom": [{"configMapRef": {"name": "c"}}]}),
        );
        assert_eq!(job["metadata"]["annotations"]["team"], "db");
        let pod = &job["spec"]["template"]["spec"];
        assert_restricted(pod);
        for (field, value) in [
            ("nodeSelector", json!({"disk": "ssd"})),
            ("tolerations", json!([{"key": "backup", "operator": "Exists"}])),
            ("affinity", json!({"nodeAffinity": {}})),
            ("priorityClassName", json!("low")),
            ("schedulerName", json!("mine")),
            ("serviceAccountName", json!("own")),
            ("runtimeClassName", json!("gvisor")),
            ("terminationGracePeriodSeconds", json!(120)),
            ("dnsPolicy", json!("None")),
            ("imagePullSecrets", json!([{"name": "user"}, {"name": "pull"}])),
        ] {
            assert_eq!(pod[field], value, "{field}");
        }
        assert_eq!(pod["securityContext"]["runAsUser"], 1000);
        assert_eq!(pod["securityContext"]["runAsGroup"], 65534, "what the user does not set stays");
        let container = &pod["containers"][0];
        assert_eq!(container["resources"], json!({"limits": {"memory": "1Gi"}}));
        assert_eq!(container["securityContext"]["runAsUser"], 1000);
        assert_eq!(container["envFrom"], json!([{"configMapRef": {"name": "c"}}]));
        let home: Vec<_> = container["env"].as_array().unwrap().iter().filter(|one| one["name"] == "HOME").collect();
        assert_eq!(home, [&json!({"name": "HOME", "value": "/v"})]);
        assert!(container["volumeMounts"].as_array().unwrap().contains(&json!({"name": "v", "mountPath": "/v"})));
    }

    #[test]
    fn a_service_account_of_the_users_own_is_bound_and_not_made() {
        let template: PodTemplateSpec = serde_json::from_value(json!({"spec": {"serviceAccountName": "own"}})).unwrap();
        let objects = build(&work(Settings::of_template(Some(&template), None)), &options()).unwrap();
        assert!(objects.service_account.is_none());
        assert_eq!(objects.role_bindings[0].subjects.as_ref().unwrap()[0].name, "own");
    }

    #[test]
    fn a_job_without_an_owner_goes_by_itself() {
        let objects = build(&Work { owner: None, ..work(Settings::default()) }, &options()).unwrap();
        assert!(objects.job.metadata.owner_references.is_none());
        assert_eq!(objects.job.spec.unwrap().ttl_seconds_after_finished, Some(ORPHAN_TTL));
    }
}
