//! The Helm chart's templates: the same objects, with the chart's values where a choice is.

use serde_json::Value;

use crate::{DeployError, IMAGE, Settings, operator, rights, yaml};

/// Stands for the number of replicas until the template is text.
const REPLICAS: i32 = 424_242;
/// After this line of the pod come the choices of where it runs.
const POD: &str = "      serviceAccountName: coffer-operator\n";
const POD_CHOICES: &str = "      {{- with .Values.imagePullSecrets }}
      imagePullSecrets: {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .Values.nodeSelector }}
      nodeSelector: {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .Values.tolerations }}
      tolerations: {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .Values.priorityClassName }}
      priorityClassName: \"{{ . }}\"
      {{- end }}
";
/// After this line of the container come its resources.
const CONTAINER: &str = "        name: operator\n";
const CONTAINER_CHOICES: &str = "        resources: {{- toYaml .Values.resources | nindent 10 }}\n";

/// A template of the chart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// Name of the file below `chart/templates`.
    pub file: &'static str,
    /// Its text.
    pub text: String,
}

/// The chart's templates. The catalog is a file of its own, without any choice.
pub fn templates() -> Result<Vec<Template>, DeployError> {
    let settings = Settings {
        namespace: "{{ .Release.Namespace }}".to_owned(),
        // Not a default of values.yaml: `helm upgrade --reuse-values` keeps those of the version before.
        image: format!("{{{{ .Values.image | default `{IMAGE}` }}}}"),
        pull_policy: "{{ .Values.pullPolicy }}".to_owned(),
        replicas: REPLICAS,
    };
    let mut objects = operator(&settings)?;
    for object in &mut objects {
        let container = object.pointer_mut("/spec/template/spec/containers/0").and_then(Value::as_object_mut);
        container.and_then(|container| container.remove("resources"));
    }
    let text = yaml(&objects)?
        .replace(&REPLICAS.to_string(), "{{ .Values.replicas }}")
        .replace(POD, &format!("{POD}{POD_CHOICES}"))
        .replace(CONTAINER, &format!("{CONTAINER}{CONTAINER_CHOICES}"));
    Ok(vec![
        Template { file: "rbac.yaml", text: yaml(&rights(&settings.namespace)?)? },
        Template { file: "operator.yaml", text },
    ])
}
