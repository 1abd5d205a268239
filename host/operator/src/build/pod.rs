//! The pod of a Job: the `restricted` Pod Security Standard, unless the user's settings say otherwise.

use coffer_api::pod::PodSpec as FlatPodSpec;
use k8s_openapi::api::core::v1::{
    Capabilities, Container, EnvVar, LocalObjectReference, PodSecurityContext, PodSpec, PodTemplateSpec,
    ResourceRequirements, SeccompProfile, SecurityContext,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::ObjectMeta;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::build::job::Work;
use crate::build::settings::{merged, variable};
use crate::build::volumes::Volumes;
use crate::build::{INVOKER, labels};
use crate::error::Error;
use crate::options::Options;

/// User and group of everything that runs: nobody.
const NOBODY: i64 = 65534;

/// The pod of a Job.
pub(crate) fn template(work: &Work, options: &Options) -> Result<PodTemplateSpec, Error> {
    let settings = &work.settings;
    let pod = &settings.pod;
    let Volumes { volumes, mounts } = work.volumes.clone().own(&pod.volumes, &pod.volume_mounts);
    let mut pod_labels = settings.pod_labels.clone();
    pod_labels.extend(labels(&work.invoker, work.component, work.session.as_deref()));
    let mut annotations = settings.pod_annotations.clone();
    annotations.insert(INVOKER.to_owned(), work.invoker.annotation());
    let container = &settings.container;
    let security = container.security_context.as_ref().or(pod.container_security_context.as_ref());
    let main = Container {
        name: work.container.clone(),
        image: Some(options.image.clone()),
        image_pull_policy: options.image_pull_policy.clone(),
        args: Some(work.args.clone()),
        env: Some(settings.environment(environment(options))),
        env_from: Some(container.env_from.clone()).filter(|sources| !sources.is_empty()),
        resources: container.resources.clone().or_else(|| pod.resources.clone()).or_else(|| Some(resources())),
        liveness_probe: container.liveness_probe.clone().or_else(|| pod.liveness_probe.clone()),
        readiness_probe: container.readiness_probe.clone().or_else(|| pod.readiness_probe.clone()),
        lifecycle: container.lifecycle.clone().or_else(|| pod.lifecycle.clone()),
        security_context: Some(overlaid(container_security(), security)?),
        // The last lines of its log are what a failed session says of it.
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        volume_mounts: Some(mounts),
        ..Container::default()
    };
    Ok(PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(pod_labels),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            containers: vec![main],
            restart_policy: Some("Never".to_owned()),
            service_account_name: Some(settings.service_account().unwrap_or(&work.name).to_owned()),
            automount_service_account_token: settings.automount_service_account_token,
            security_context: Some(overlaid(pod_security(), pod.security_context.as_ref())?),
            image_pull_secrets: pull_secrets(options, pod),
            init_containers: Some(pod.init_containers.clone()).filter(|all| !all.is_empty()),
            volumes: Some(volumes),
            node_name: settings.node_name.clone(),
            readiness_gates: Some(settings.readiness_gates.clone()).filter(|gates| !gates.is_empty()),
            ..as_written(pod)
        }),
    })
}

/// What a user's pod says of itself, as Kubernetes spells it.
fn as_written(pod: &FlatPodSpec) -> PodSpec {
    PodSpec {
        termination_grace_period_seconds: pod.termination_grace_period_seconds,
        dns_policy: pod.dns_policy.clone(),
        dns_config: pod.dns_config.clone(),
        node_selector: Some(pod.node_selector.clone()).filter(|selector| !selector.is_empty()),
        host_network: pod.host_network,
        host_pid: pod.host_pid,
        host_ipc: pod.host_ipc,
        share_process_namespace: pod.share_process_namespace,
        affinity: pod.affinity.clone(),
        scheduler_name: pod.scheduler_name.clone(),
        tolerations: Some(pod.tolerations.clone()).filter(|tolerations| !tolerations.is_empty()),
        priority_class_name: pod.priority_class_name.clone(),
        priority: pod.priority,
        runtime_class_name: pod.runtime_class_name.clone(),
        enable_service_links: Some(pod.enable_service_links.unwrap_or(false)),
        topology_spread_constraints: Some(pod.topology_spread_constraints.clone()).filter(|all| !all.is_empty()),
        ..PodSpec::default()
    }
}

fn pull_secrets(options: &Options, pod: &FlatPodSpec) -> Option<Vec<LocalObjectReference>> {
    let ours = options.image_pull_secrets.iter().map(|name| LocalObjectReference { name: name.clone() });
    let mut all: Vec<_> = pod.image_pull_secrets.iter().cloned().chain(ours).collect();
    all.dedup_by(|one, other| one.name == other.name);
    Some(all).filter(|all| !all.is_empty())
}

fn environment(options: &Options) -> Vec<EnvVar> {
    let base = [
        ("COFFER_LOG_FORMAT", "json"),
        ("COFFER_LOCAL_ROOT", "mount-path"),
        ("COFFER_CACHE_DIR", "/tmp/coffer"),
        ("HOME", "/tmp"),
    ];
    let base = base.iter().map(|(name, value)| variable(name, value)).collect();
    merged(base, options.environment.iter().map(|(name, value)| variable(name, value)).collect())
}

fn resources() -> ResourceRequirements {
    let requests = [("cpu", "100m"), ("memory", "256Mi")];
    let requests = requests.iter().map(|(name, amount)| ((*name).to_owned(), Quantity((*amount).to_owned())));
    ResourceRequirements { requests: Some(requests.collect()), ..ResourceRequirements::default() }
}

fn pod_security() -> PodSecurityContext {
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(NOBODY),
        run_as_group: Some(NOBODY),
        fs_group: Some(NOBODY),
        seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), ..SeccompProfile::default() }),
        ..PodSecurityContext::default()
    }
}

fn container_security() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(true),
        run_as_non_root: Some(true),
        capabilities: Some(Capabilities { add: None, drop: Some(vec!["ALL".to_owned()]) }),
        seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), ..SeccompProfile::default() }),
        ..SecurityContext::default()
    }
}

/// The default, with every field that the user has set.
fn overlaid<T: Serialize + DeserializeOwned>(default: T, user: Option<&T>) -> Result<T, Error> {
    let Some(user) = user else { return Ok(default) };
    let malformed = |error: serde_json::Error| Error::Malformed { field: "securityContext", why: error.to_string() };
    let mut value = serde_json::to_value(&default).map_err(malformed)?;
    if let (Value::Object(value), Value::Object(user)) = (&mut value, serde_json::to_value(user).map_err(malformed)?) {
        value.extend(user);
    }
    serde_json::from_value(value).map_err(malformed)
}
