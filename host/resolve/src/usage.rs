//! Usage policies: which namespaces may refer to an object.

use std::collections::BTreeMap;

use coffer_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use coffer_api::shared::{NamespacesFrom, UsagePolicy};

use crate::error::{ErrorKind, ResolveError};
use crate::reader::Reader;

/// Whether an object of `object_namespace` with this policy may be referred to from `namespace`. No policy means `Same`.
///
/// `None` when that depends on labels of a namespace that is not known.
pub(crate) fn allowed(
    reader: &dyn Reader,
    policy: Option<&UsagePolicy>,
    object_namespace: &str,
    namespace: &str,
) -> Result<Option<bool>, ResolveError> {
    let policy = policy.cloned().unwrap_or_default().allowed_namespaces;
    match policy.from {
        NamespacesFrom::All => Ok(Some(true)),
        NamespacesFrom::Same => Ok(Some(object_namespace == namespace)),
        NamespacesFrom::Selector => {
            let Some(selector) = policy.selector else { return Ok(Some(false)) };
            let labels = reader.namespace_labels(namespace)?;
            Ok(labels.map(|labels| matches(&selector, &labels)))
        }
    }
}

/// Fails unless `namespace` may refer to the object.
pub(crate) fn check(
    reader: &dyn Reader,
    policy: Option<&UsagePolicy>,
    (kind, object_namespace, name): (&str, &str, &str),
    namespace: &str,
) -> Result<(), ResolveError> {
    let what = || format!("namespace {namespace:?} is not allowed to refer {kind} {name}/{object_namespace}");
    match allowed(reader, policy, object_namespace, namespace)? {
        Some(true) => Ok(()),
        Some(false) => Err(ResolveError::new(
            ErrorKind::NotAllowed,
            format!("{}. Please, check the `usagePolicy` of the {kind}", what()),
            "its usagePolicy does not include the namespace",
            "allow it there with `spec.usagePolicy.allowedNamespaces`, or refer to another one",
        )),
        None => Err(ResolveError::new(
            ErrorKind::NotAllowed,
            format!("{}. Please, check the `usagePolicy` of the {kind}", what()),
            format!("it selects namespaces by label, and Namespace {namespace} is not in {}", reader.place()),
            format!("add the manifest of Namespace {namespace} with its labels"),
        )),
    }
}

/// Whether a label selector matches; an empty one matches everything.
fn matches(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    let exact = selector.match_labels.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    exact
        && selector.match_expressions.iter().flatten().all(|expression| {
            let value = labels.get(&expression.key);
            let values = expression.values.as_deref().unwrap_or_default();
            match expression.operator.as_str() {
                "In" => value.is_some_and(|value| values.contains(value)),
                "NotIn" => value.is_none_or(|value| !values.contains(value)),
                "Exists" => value.is_some(),
                "DoesNotExist" => value.is_none(),
                _ => false,
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn selectors_match_as_in_kubernetes() {
        let labels = BTreeMap::from([("team".to_owned(), "db".to_owned())]);
        let expression = |operator: &str, key: &str, values: &[&str]| json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]});
        for (selector, expected) in [
            (json!({}), true),
            (json!({"matchLabels": {"team": "db"}}), true),
            (json!({"matchLabels": {"team": "web"}}), false),
            (expression("In", "team", &["web", "db"]), true),
            (expression("In", "stage", &["db"]), false),
            (expression("NotIn", "team", &["db"]), false),
            (expression("NotIn", "stage", &["db"]), true),
            (expression("Exists", "team", &[]), true),
            (expression("DoesNotExist", "team", &[]), false),
            (expression("Sometimes", "team", &[]), false),
        ] {
            let parsed: LabelSelector = serde_json::from_value(selector.clone()).unwrap();
            assert_eq!(matches(&parsed, &labels), expected, "{selector}");
        }
    }
}
