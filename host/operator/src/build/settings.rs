//! Settings of a Job's pod, from wherever the user may have written them.

use std::collections::BTreeMap;

use coffer_api::pod::{ContainerRuntimeSettings, PodSpec, PodTemplateSpec, RuntimeSettings};
use k8s_openapi::api::core::v1::{EnvVar, PodReadinessGate};

/// Settings of a Job's pod.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Settings {
    pub(crate) job_labels: BTreeMap<String, String>,
    pub(crate) job_annotations: BTreeMap<String, String>,
    pub(crate) pod_labels: BTreeMap<String, String>,
    pub(crate) pod_annotations: BTreeMap<String, String>,
    pub(crate) service_account_annotations: BTreeMap<String, String>,
    pub(crate) automount_service_account_token: Option<bool>,
    pub(crate) node_name: Option<String>,
    pub(crate) readiness_gates: Vec<PodReadinessGate>,
    /// The pod, and what it says of its container.
    pub(crate) pod: PodSpec,
    /// The container; stands above what the pod says of it.
    pub(crate) container: ContainerRuntimeSettings,
}

impl Settings {
    /// From a session's `addon` or a scheduler's `jobTemplate`.
    pub(crate) fn of_template(
        template: Option<&PodTemplateSpec>,
        container: Option<&ContainerRuntimeSettings>,
    ) -> Self {
        let template = template.cloned().unwrap_or_default();
        let (pod, job) = (template.metadata.unwrap_or_default(), template.controller.unwrap_or_default());
        Self {
            job_labels: job.labels,
            job_annotations: job.annotations,
            pod_labels: pod.labels,
            pod_annotations: pod.annotations,
            pod: template.spec.unwrap_or_default(),
            container: container.cloned().unwrap_or_default(),
            ..Self::default()
        }
    }

    /// From a BackupStorage's `runtimeSettings`.
    pub(crate) fn of_runtime(settings: Option<&RuntimeSettings>) -> Self {
        let settings = settings.cloned().unwrap_or_default();
        let pod = settings.pod.unwrap_or_default();
        Self {
            pod_labels: pod.pod_labels,
            pod_annotations: pod.pod_annotations,
            service_account_annotations: pod.service_account_annotations,
            automount_service_account_token: pod.automount_service_account_token,
            node_name: pod.node_name,
            readiness_gates: pod.readiness_gates,
            pod: PodSpec {
                node_selector: pod.node_selector,
                service_account_name: pod.service_account_name,
                security_context: pod.security_context,
                image_pull_secrets: pod.image_pull_secrets,
                affinity: pod.affinity,
                scheduler_name: pod.scheduler_name,
                tolerations: pod.tolerations,
                priority_class_name: pod.priority_class_name,
                priority: pod.priority,
                runtime_class_name: pod.runtime_class_name,
                enable_service_links: pod.enable_service_links,
                topology_spread_constraints: pod.topology_spread_constraints,
                ..PodSpec::default()
            },
            container: settings.container.unwrap_or_default(),
            ..Self::default()
        }
    }

    /// With the settings of a Function below the user's own.
    pub(crate) fn over(mut self, function: Option<&ContainerRuntimeSettings>) -> Self {
        let Some(below) = function.cloned() else { return self };
        let above = &mut self.container;
        above.resources = above.resources.take().or(self.pod.resources.take()).or(below.resources);
        above.liveness_probe = above.liveness_probe.take().or(below.liveness_probe);
        above.readiness_probe = above.readiness_probe.take().or(below.readiness_probe);
        above.lifecycle = above.lifecycle.take().or(below.lifecycle);
        above.security_context =
            above.security_context.take().or(self.pod.container_security_context.take()).or(below.security_context);
        above.nice = above.nice.take().or(below.nice);
        above.ionice = above.ionice.take().or(below.ionice);
        above.env_from.splice(0..0, below.env_from);
        above.env = merged(below.env, std::mem::take(&mut above.env));
        self
    }

    /// Name of the service account that the user has made; `None` if one is to be made.
    pub(crate) fn service_account(&self) -> Option<&str> {
        self.pod.service_account_name.as_deref().filter(|name| !name.is_empty())
    }

    /// The environment that the user wants, above `base`.
    pub(crate) fn environment(&self, base: Vec<EnvVar>) -> Vec<EnvVar> {
        let mut niceness = Vec::new();
        if let Some(adjustment) = self.container.nice.as_ref().and_then(|nice| nice.adjustment) {
            niceness.push(variable("NICE_ADJUSTMENT", &adjustment.to_string()));
        }
        if let Some(ionice) = &self.container.ionice {
            niceness.extend(ionice.class.map(|class| variable("IONICE_CLASS", &class.to_string())));
            niceness.extend(ionice.class_data.map(|data| variable("IONICE_CLASS_DATA", &data.to_string())));
        }
        [niceness, self.pod.env.clone(), self.container.env.clone()].into_iter().fold(base, merged)
    }
}

pub(crate) fn variable(name: &str, value: &str) -> EnvVar {
    EnvVar { name: name.to_owned(), value: Some(value.to_owned()), value_from: None }
}

/// Both, the later in the place of the earlier of the same name.
pub(crate) fn merged(mut below: Vec<EnvVar>, above: Vec<EnvVar>) -> Vec<EnvVar> {
    for variable in above {
        match below.iter_mut().find(|one| one.name == variable.name) {
            Some(one) => *one = variable,
            None => below.push(variable),
        }
    }
    below
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_container_stands_above_the_pod_and_that_above_the_function() {
        let template: PodTemplateSpec = serde_json::from_value(json!({
            "controller": {"labels": {"a": "job"}},
            "metadata": {"annotations": {"b": "pod"}},
            "spec": {
                "env": [{"name": "A", "value": "pod"}, {"name": "B", "value": "pod"}],
                "resources": {"limits": {"cpu": "1"}},
                "serviceAccountName": "mine",
            },
        }))
        .unwrap();
        let container: ContainerRuntimeSettings = serde_json::from_value(json!({
            "env": [{"name": "B", "value": "container"}], "nice": {"adjustment": 5}, "ionice": {"class": 2, "classData": 4},
        }))
        .unwrap();
        let function: ContainerRuntimeSettings = serde_json::from_value(json!({
            "env": [{"name": "B", "value": "function"}, {"name": "C", "value": "function"}],
            "resources": {"limits": {"cpu": "9"}},
        }))
        .unwrap();
        let settings = Settings::of_template(Some(&template), Some(&container)).over(Some(&function));
        assert_eq!(settings.job_labels["a"], "job");
        assert_eq!(settings.pod_annotations["b"], "pod");
        assert_eq!(settings.service_account(), Some("mine"));
        let limits = settings.container.resources.as_ref().unwrap().limits.as_ref().unwrap();
        assert_eq!(limits["cpu"].0, "1");
        let environment = settings.environment(vec![variable("A", "base"), variable("Z", "base")]);
        let environment: Vec<_> =
            environment.iter().map(|one| format!("{}={}", one.name, one.value.as_deref().unwrap())).collect();
        assert_eq!(
            environment,
            [
                "A=pod",
                "Z=base",
                "NICE_ADJUSTMENT=5",
                "IONICE_CLASS=2",
                "IONICE_CLASS_DATA=4",
                "B=container",
                "C=function"
            ]
        );
    }

    #[test]
    fn the_settings_of_a_storage_are_those_of_its_pods() {
        let settings: RuntimeSettings = serde_json::from_value(json!({
            "pod": {"nodeSelector": {"disk": "here"}, "serviceAccountAnnotations": {"role": "r"}, "podLabels": {"l": "v"}},
            "container": {"resources": {"requests": {"memory": "1Gi"}}},
        }))
        .unwrap();
        let settings = Settings::of_runtime(Some(&settings));
        assert_eq!(settings.pod.node_selector["disk"], "here");
        assert_eq!(settings.service_account_annotations["role"], "r");
        assert_eq!(settings.pod_labels["l"], "v");
        assert!(settings.container.resources.is_some());
    }
}
