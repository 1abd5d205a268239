//! Usage policies: which namespaces may refer to an object, and which object serves those that name none.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::ResourceExt;

use crate::core::{BackendReference, BackupBlueprint, HookTemplate};
use crate::meta::annotation::ALLOWED_FROM;
use crate::shared::{NamespacesFrom, ObjectReference, UsagePolicy};
use crate::storage::{BackupStorage, RetentionPolicy};

/// Labels of a Namespace.
pub type Labels = BTreeMap<String, String>;

/// A kind whose objects say who may refer to them.
pub trait Shared: ResourceExt {
    /// Name of the kind.
    const KIND: &'static str;

    /// Who may refer to it.
    fn usage_policy(&self) -> Option<&UsagePolicy>;

    /// Whether it serves objects that name none.
    fn is_default(&self) -> bool {
        false
    }
}

impl Shared for BackupStorage {
    const KIND: &'static str = "BackupStorage";

    fn usage_policy(&self) -> Option<&UsagePolicy> {
        self.spec.usage_policy.as_ref()
    }

    fn is_default(&self) -> bool {
        self.spec.default == Some(true)
    }
}

impl Shared for RetentionPolicy {
    const KIND: &'static str = "RetentionPolicy";

    fn usage_policy(&self) -> Option<&UsagePolicy> {
        self.spec.usage_policy.as_ref()
    }

    fn is_default(&self) -> bool {
        self.spec.default == Some(true)
    }
}

impl Shared for HookTemplate {
    const KIND: &'static str = "HookTemplate";

    fn usage_policy(&self) -> Option<&UsagePolicy> {
        self.spec.usage_policy.as_ref()
    }
}

impl Shared for BackupBlueprint {
    const KIND: &'static str = "BackupBlueprint";

    fn usage_policy(&self) -> Option<&UsagePolicy> {
        self.spec.usage_policy.as_ref()
    }
}

/// Whether an object of `owner` (a namespace) with this policy may be referred to from `namespace`. No policy means `Same`.
///
/// `labels` are those of `namespace`; they are asked for only if the answer depends on them. `None` when it does, and they
/// are not known.
pub fn allowed<E>(
    policy: Option<&UsagePolicy>,
    owner: &str,
    namespace: &str,
    labels: impl FnOnce() -> Result<Option<Labels>, E>,
) -> Result<Option<bool>, E> {
    match policy.map(|policy| policy.allowed_namespaces.from).unwrap_or_default() {
        NamespacesFrom::All => Ok(Some(true)),
        NamespacesFrom::Same => Ok(Some(owner == namespace)),
        NamespacesFrom::Selector => {
            let selector = policy.and_then(|policy| policy.allowed_namespaces.selector.as_ref());
            let Some(selector) = selector else { return Ok(Some(false)) };
            Ok(labels()?.map(|labels| matches(selector, &labels)))
        }
    }
}

/// Whether `namespace`, which has these labels, may refer to an object.
pub fn may_refer<T: Shared>(object: &T, namespace: &str, labels: &Labels) -> bool {
    let owner = object.namespace().unwrap_or_default();
    let known = || Ok::<_, std::convert::Infallible>(Some(labels.clone()));
    matches!(allowed(object.usage_policy(), &owner, namespace, known), Ok(Some(true)))
}

/// What to tell somebody who refers to an object that his namespace may not refer to.
pub fn refusal(kind: &str, owner: &str, name: &str, namespace: &str) -> String {
    format!(
        "namespace {namespace:?} is not allowed to refer {kind} {name}/{owner}. \
         Please, check the `usagePolicy` of the {kind}"
    )
}

/// Whether a Namespace with these annotations is open to objects of `namespace`: whether [`ALLOWED_FROM`] names it.
///
/// It decides where a reference leads to an object that has no usage policy: a Secret, a target, the source of a restore,
/// and the objects that a storage brings back.
pub fn is_open(annotations: &BTreeMap<String, String>, namespace: &str) -> bool {
    let names = annotations.get(ALLOWED_FROM).map(String::as_str).unwrap_or_default();
    names.split(',').map(str::trim).any(|one| !one.is_empty() && (one == "*" || one == namespace))
}

/// What to tell somebody in `namespace` who refers to something, `what`, in a namespace that is not open to his.
pub fn not_open(what: &str, owner: &str, namespace: &str) -> String {
    format!(
        "{what} is in namespace {owner:?}, which is not open to namespace {namespace:?}; have {namespace} added to the \
         annotation {ALLOWED_FROM} of Namespace {owner}, or use one of namespace {namespace}"
    )
}

/// Whether a label selector matches; an empty one matches everything.
pub fn matches(selector: &LabelSelector, labels: &Labels) -> bool {
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

/// The object that serves those in `namespace` that name none: (1) a default of that namespace which is for itself alone,
/// (2) a default whose selector matches the namespace, (3) a default for all; the first in the order of `objects`.
pub fn default_for<'a, T: Shared, E>(
    objects: &'a [T],
    namespace: &str,
    mut labels: impl FnMut() -> Result<Option<Labels>, E>,
) -> Result<Option<&'a T>, E> {
    for wanted in [NamespacesFrom::Same, NamespacesFrom::Selector, NamespacesFrom::All] {
        for object in objects.iter().filter(|object| object.is_default()) {
            let policy = object.usage_policy();
            let from = policy.map(|policy| policy.allowed_namespaces.from).unwrap_or_default();
            let owner = object.namespace().unwrap_or_default();
            if from == wanted && allowed(policy, &owner, namespace, &mut labels)? == Some(true) {
                return Ok(Some(object));
            }
        }
    }
    Ok(None)
}

/// The backends of a BackupConfiguration in `namespace`, with what they leave out: the default BackupStorage, also for a
/// configuration without any backend, and the default RetentionPolicy. What has no default stays out.
pub fn backends(
    given: &[BackendReference],
    namespace: &str,
    labels: &Labels,
    storages: &[BackupStorage],
    policies: &[RetentionPolicy],
) -> Vec<BackendReference> {
    let storage = default_reference(storages, namespace, labels);
    let policy = default_reference(policies, namespace, labels);
    let mut backends = given.to_vec();
    if backends.is_empty() {
        backends.push(BackendReference::default());
    }
    for backend in &mut backends {
        backend.storage_ref = backend.storage_ref.take().or_else(|| storage.clone());
        backend.retention_policy = backend.retention_policy.take().or_else(|| policy.clone());
    }
    backends
}

fn default_reference<T: Shared>(objects: &[T], namespace: &str, labels: &Labels) -> Option<ObjectReference> {
    let known = || Ok::<_, std::convert::Infallible>(Some(labels.clone()));
    let object = default_for(objects, namespace, known).ok().flatten()?;
    Some(ObjectReference { namespace: object.namespace(), name: object.name_any() })
}
