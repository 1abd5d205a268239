//! From a container's spec to the process that it is: command, environment, user.

use std::{collections::BTreeMap, sync::atomic::Ordering};

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvVarSource, Pod, Secret};
use kube::{Api, ResourceExt as _};

use super::{Host, Image};

pub(super) type Environment = BTreeMap<String, String>;

/// The rights of a container's process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rights {
    pub(super) user: i64,
    pub(super) group: i64,
    pub(super) groups: Vec<i64>,
    pub(super) read_only_root: bool,
    pub(super) no_capabilities: bool,
    pub(super) no_new_privileges: bool,
}

/// What the security contexts of pod and container say; an error is one of configuration, as a kubelet reports it.
pub(super) fn rights(pod: &Pod, container: &Container, image: &Image) -> Result<Rights> {
    let shared = pod.spec.as_ref().and_then(|spec| spec.security_context.clone()).unwrap_or_default();
    let own = container.security_context.clone().unwrap_or_default();
    let user = own.run_as_user.or(shared.run_as_user).unwrap_or_else(|| image.user.into());
    if user == 0 && own.run_as_non_root.or(shared.run_as_non_root) == Some(true) {
        bail!("container has runAsNonRoot and image will run as root");
    }
    let dropped = own.capabilities.and_then(|capabilities| capabilities.drop).unwrap_or_default();
    Ok(Rights {
        user,
        group: own.run_as_group.or(shared.run_as_group).unwrap_or(user),
        groups: shared.fs_group.into_iter().chain(shared.supplemental_groups.unwrap_or_default()).collect(),
        read_only_root: own.read_only_root_filesystem == Some(true),
        no_capabilities: dropped.iter().any(|name| name == "ALL"),
        no_new_privileges: own.allow_privilege_escalation == Some(false),
    })
}

/// The command line: `command` takes the place of the image's entrypoint, `args` follow, and `$(NAME)` is replaced.
pub(super) fn command_line(container: &Container, image: &Image, environment: &Environment) -> Result<Vec<String>> {
    let command = container.command.clone().filter(|command| !command.is_empty());
    let arguments = container.args.clone().unwrap_or_default();
    let line: Vec<String> = command
        .unwrap_or_else(|| image.entrypoint.clone())
        .iter()
        .chain(&arguments)
        .map(|word| expand(word, environment))
        .collect();
    if line.is_empty() {
        bail!("no command specified");
    }
    Ok(line)
}

/// Replaces `$(NAME)` where the name is known; `$$` is a dollar sign.
fn expand(text: &str, environment: &Environment) -> String {
    let (mut expanded, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        rest = after;
        if let Some(after) = rest.strip_prefix('$') {
            expanded.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|named| named.split_once(')'))
            && let Some(value) = environment.get(name)
        {
            expanded.push_str(value);
            rest = after;
        } else {
            expanded.push('$');
        }
    }
    expanded + rest
}

/// The environment: what a runtime gives to everybody, `envFrom`, then `env` in its order.
pub(super) async fn environment(host: &Host, pod: &Pod, container: &Container) -> Result<Environment> {
    let port = host.port.load(Ordering::SeqCst).to_string();
    let mut environment = Environment::from([
        ("PATH".into(), "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into()),
        ("HOME".into(), "/".into()),
        ("HOSTNAME".into(), pod.name_any()),
        ("KUBERNETES_SERVICE_HOST".into(), "127.0.0.1".into()),
        ("KUBERNETES_SERVICE_PORT".into(), port.clone()),
        ("KUBERNETES_SERVICE_PORT_HTTPS".into(), port),
    ]);
    let namespace = pod.namespace().unwrap_or_default();
    for source in container.env_from.iter().flatten() {
        let prefix = source.prefix.clone().unwrap_or_default();
        let values = if let Some(from) = &source.secret_ref {
            secret(host, &namespace, &from.name, from.optional).await?
        } else if let Some(from) = &source.config_map_ref {
            config_map(host, &namespace, &from.name, from.optional).await?
        } else {
            BTreeMap::new()
        };
        environment.extend(values.into_iter().map(|(key, value)| (format!("{prefix}{key}"), text(&value))));
    }
    for variable in container.env.iter().flatten() {
        let value = match (&variable.value, &variable.value_from) {
            (Some(value), _) => Some(expand(value, &environment)),
            (None, Some(source)) => referenced(host, pod, container, source).await?,
            (None, None) => Some(String::new()),
        };
        environment.extend(value.map(|value| (variable.name.clone(), value)));
    }
    Ok(environment)
}

async fn referenced(host: &Host, pod: &Pod, container: &Container, source: &EnvVarSource) -> Result<Option<String>> {
    let namespace = pod.namespace().unwrap_or_default();
    let (kind, name, key, optional, values) = if let Some(from) = &source.secret_key_ref {
        let values = secret(host, &namespace, &from.name, from.optional).await?;
        ("secret", &from.name, &from.key, from.optional, values)
    } else if let Some(from) = &source.config_map_key_ref {
        let values = config_map(host, &namespace, &from.name, from.optional).await?;
        ("configmap", &from.name, &from.key, from.optional, values)
    } else if let Some(from) = &source.field_ref {
        return field(host, pod, &from.field_path).map(Some);
    } else if let Some(from) = &source.resource_field_ref {
        let resources = container.resources.clone().unwrap_or_default();
        let (list, resource) = from.resource.split_once('.').context("a resource has the form limits.memory")?;
        let quantities = if list == "limits" { resources.limits } else { resources.requests };
        return Ok(quantities.and_then(|quantities| quantities.get(resource).map(|quantity| quantity.0.clone())));
    } else {
        bail!("this source of a variable is none that the player knows");
    };
    let value = values.get(key).map(|value| text(value));
    if value.is_none() && optional != Some(true) {
        bail!("couldn't find key {key} in {kind} {namespace}/{name}");
    }
    Ok(value)
}

/// A field of the pod itself, as the downward API gives it.
pub(super) fn field(host: &Host, pod: &Pod, path: &str) -> Result<String> {
    let listed = |list: Option<&BTreeMap<String, String>>, key: &str| {
        list.and_then(|list| list.get(key)).cloned().unwrap_or_default()
    };
    let key = |prefix: &str| path.strip_prefix(prefix)?.strip_prefix("['")?.strip_suffix("']");
    Ok(match path {
        "metadata.name" => pod.name_any(),
        "metadata.namespace" => pod.namespace().unwrap_or_default(),
        "metadata.uid" => pod.uid().unwrap_or_default(),
        "spec.nodeName" => host.node.clone(),
        "spec.serviceAccountName" => {
            pod.spec.as_ref().and_then(|spec| spec.service_account_name.clone()).unwrap_or_default()
        }
        "status.hostIP" | "status.podIP" => "127.0.0.1".into(),
        _ => match (key("metadata.labels"), key("metadata.annotations")) {
            (Some(key), _) => listed(pod.metadata.labels.as_ref(), key),
            (_, Some(key)) => listed(pod.metadata.annotations.as_ref(), key),
            (None, None) => bail!("the player knows no field {path} of a pod"),
        },
    })
}

/// The values of a Secret; an optional one that is missing has none.
pub(super) async fn secret(
    host: &Host,
    namespace: &str,
    name: &str,
    optional: Option<bool>,
) -> Result<BTreeMap<String, Vec<u8>>> {
    let secrets: Api<Secret> = Api::namespaced(host.client.clone(), namespace);
    match secrets.get_opt(name).await? {
        Some(secret) => Ok(secret.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0)).collect()),
        None if optional == Some(true) => Ok(BTreeMap::new()),
        None => bail!("secret {name:?} not found"),
    }
}

/// The values of a ConfigMap; an optional one that is missing has none.
pub(super) async fn config_map(
    host: &Host,
    namespace: &str,
    name: &str,
    optional: Option<bool>,
) -> Result<BTreeMap<String, Vec<u8>>> {
    let maps: Api<ConfigMap> = Api::namespaced(host.client.clone(), namespace);
    match maps.get_opt(name).await? {
        Some(map) => {
            let texts = map.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.into_bytes()));
            let bytes = map.binary_data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0));
            Ok(texts.chain(bytes).collect())
        }
        None if optional == Some(true) => Ok(BTreeMap::new()),
        None => bail!("configmap {name:?} not found"),
    }
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).into_owned()
}

#[cfg(test)]
mod tests {
    use super::{Environment, expand};

    #[test]
    fn references_are_replaced_as_a_kubelet_does() {
        let environment = Environment::from([("NAME".into(), "shop".into())]);
        for (text, expanded) in [
            ("plain", "plain"),
            ("--name=$(NAME)", "--name=shop"),
            ("$$(NAME)", "$(NAME)"),
            ("$(UNKNOWN) $", "$(UNKNOWN) $"),
            ("a$(NAME)b$(NAME)", "ashopbshop"),
            ("$(NAME", "$(NAME"),
        ] {
            assert_eq!(expand(text, &environment), expanded, "{text}");
        }
    }
}
