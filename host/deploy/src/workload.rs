//! The operator itself: its namespace, service account, Deployment and Service.

use coffer_api::k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec};
use coffer_api::k8s_openapi::api::core::v1::{
    Affinity, Capabilities, Container, ContainerPort, EmptyDirVolumeSource, EnvVar, EnvVarSource, HTTPGetAction,
    Namespace, ObjectFieldSelector, PodAffinityTerm, PodAntiAffinity, PodSecurityContext, PodSpec, PodTemplateSpec,
    Probe, ResourceRequirements, SeccompProfile, SecurityContext, Service, ServiceAccount, ServicePort, ServiceSpec,
    Volume, VolumeMount, WeightedPodAffinityTerm,
};
use coffer_api::k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use coffer_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use coffer_api::k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::rbac::{OPERATOR, metadata};
use crate::{Settings, labels, selector};

/// User and group of the operator: nobody.
const NOBODY: i64 = 65534;
/// Name of the port with metrics and probes.
const PORT: &str = "http";
/// Where it listens.
pub const LISTEN: i32 = 8080;
/// The only folder that it may write.
const SCRATCH: &str = "/tmp";

/// The operator's namespace, which admits only pods that are as restricted as the operator's.
pub(crate) fn namespace(settings: &Settings) -> Namespace {
    let mut object = Namespace { metadata: metadata(&settings.namespace, None), ..Namespace::default() };
    let enforce = ("pod-security.kubernetes.io/enforce".to_owned(), "restricted".to_owned());
    object.metadata.labels.get_or_insert_default().extend([enforce]);
    object
}

pub(crate) fn service_account(settings: &Settings) -> ServiceAccount {
    ServiceAccount { metadata: metadata(OPERATOR, Some(&settings.namespace)), ..ServiceAccount::default() }
}

/// The Service behind which metrics are found.
pub(crate) fn service(settings: &Settings) -> Service {
    let port = ServicePort {
        name: Some(PORT.to_owned()),
        port: LISTEN,
        target_port: Some(IntOrString::String(PORT.to_owned())),
        ..ServicePort::default()
    };
    Service {
        metadata: metadata(OPERATOR, Some(&settings.namespace)),
        spec: Some(ServiceSpec { selector: Some(selector()), ports: Some(vec![port]), ..ServiceSpec::default() }),
        status: None,
    }
}

pub(crate) fn deployment(settings: &Settings) -> Deployment {
    Deployment {
        metadata: metadata(OPERATOR, Some(&settings.namespace)),
        spec: Some(DeploymentSpec {
            replicas: Some(settings.replicas),
            selector: LabelSelector { match_labels: Some(selector()), match_expressions: None },
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta { labels: Some(labels()), ..ObjectMeta::default() }),
                spec: Some(pod(settings)),
            },
            ..DeploymentSpec::default()
        }),
        status: None,
    }
}

fn pod(settings: &Settings) -> PodSpec {
    PodSpec {
        service_account_name: Some(OPERATOR.to_owned()),
        containers: vec![container(settings)],
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(NOBODY),
            run_as_group: Some(NOBODY),
            seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None }),
            ..PodSecurityContext::default()
        }),
        affinity: Some(apart()),
        volumes: Some(vec![Volume {
            name: "scratch".to_owned(),
            empty_dir: Some(EmptyDirVolumeSource::default()),
            ..Volume::default()
        }]),
        ..PodSpec::default()
    }
}

fn container(settings: &Settings) -> Container {
    let own = |name: &str, path: &str| EnvVar {
        name: name.to_owned(),
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector { field_path: path.to_owned(), api_version: None }),
            ..EnvVarSource::default()
        }),
        value: None,
    };
    let plain =
        |name: &str, value: &str| EnvVar { name: name.to_owned(), value: Some(value.to_owned()), value_from: None };
    let amounts = |amounts: &[(&str, &str)]| {
        Some(amounts.iter().map(|(name, amount)| ((*name).to_owned(), Quantity((*amount).to_owned()))).collect())
    };
    Container {
        name: "operator".to_owned(),
        image: Some(settings.image.clone()),
        image_pull_policy: Some(settings.pull_policy.clone()),
        args: Some(vec!["operator".to_owned()]),
        env: Some(vec![
            plain("COFFER_IMAGE", &settings.image),
            plain("COFFER_IMAGE_PULL_POLICY", &settings.pull_policy),
            plain("COFFER_LOG_FORMAT", "json"),
            own("POD_NAME", "metadata.name"),
            own("POD_NAMESPACE", "metadata.namespace"),
        ]),
        ports: Some(vec![ContainerPort {
            name: Some(PORT.to_owned()),
            container_port: LISTEN,
            ..ContainerPort::default()
        }]),
        liveness_probe: Some(probe("/healthz")),
        readiness_probe: Some(probe("/readyz")),
        resources: Some(ResourceRequirements {
            requests: amounts(&[("cpu", "50m"), ("memory", "64Mi")]),
            limits: amounts(&[("memory", "256Mi")]),
            claims: None,
        }),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
            ..SecurityContext::default()
        }),
        volume_mounts: Some(vec![VolumeMount {
            name: "scratch".to_owned(),
            mount_path: SCRATCH.to_owned(),
            ..VolumeMount::default()
        }]),
        ..Container::default()
    }
}

fn probe(path: &str) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String(PORT.to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(10),
        ..Probe::default()
    }
}

/// The replicas on different nodes, if there are any.
fn apart() -> Affinity {
    let term = PodAffinityTerm {
        label_selector: Some(LabelSelector { match_labels: Some(selector()), match_expressions: None }),
        topology_key: "kubernetes.io/hostname".to_owned(),
        ..PodAffinityTerm::default()
    };
    Affinity {
        pod_anti_affinity: Some(PodAntiAffinity {
            preferred_during_scheduling_ignored_during_execution: Some(vec![WeightedPodAffinityTerm {
                weight: 100,
                pod_affinity_term: term,
            }]),
            ..PodAntiAffinity::default()
        }),
        ..Affinity::default()
    }
}
