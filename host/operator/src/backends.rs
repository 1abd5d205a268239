//! The backends of a BackupConfiguration: its storages and retention policies, with the defaults of the cluster.

use std::convert::Infallible;
use std::sync::Arc;

use coffer_api::core::{BackupConfiguration, RepositoryReference};
use coffer_api::shared::ObjectReference;
use coffer_api::storage::{BackupStorage, RetentionPolicy, StoragePhase};
use coffer_api::usage::{self, Shared};
use kube::runtime::reflector::Store;
use kube::{Resource, ResourceExt as _};

use crate::stores::{self, Stores};

/// What a backend refers to.
#[derive(Debug, Clone)]
pub(crate) struct Part<K> {
    /// The reference, always with a namespace; `None` if there is neither one nor a default.
    pub(crate) reference: Option<ObjectReference>,
    pub(crate) object: Option<Arc<K>>,
    /// Why it cannot be used.
    pub(crate) problem: Option<String>,
    /// Whether the problem is one of rules, as against one that passes.
    pub(crate) forbidden: bool,
}

impl<K> Part<K> {
    /// The reference, if there is nothing against its use.
    pub(crate) fn usable(&self) -> Option<&ObjectReference> {
        self.reference.as_ref().filter(|_| self.problem.is_none())
    }
}

/// A backend of a BackupConfiguration.
#[derive(Debug, Clone)]
pub(crate) struct Backend {
    pub(crate) name: Option<String>,
    pub(crate) storage: Part<BackupStorage>,
    pub(crate) policy: Part<RetentionPolicy>,
}

/// The backends, in the order of the spec; one without a name if there are none.
pub(crate) fn resolve(configuration: &BackupConfiguration, stores: &Stores) -> Vec<Backend> {
    let namespace = configuration.namespace().unwrap_or_default();
    let specs = &configuration.spec.backends;
    let one = |name, storage, policy| Backend {
        name,
        storage: self::storage(storage, &namespace, stores),
        policy: find(&stores.policies, policy, &namespace, stores, "retentionPolicy"),
    };
    if specs.is_empty() {
        return vec![one(None, None, None)];
    }
    specs.iter().map(|spec| one(spec.name.clone(), spec.storage_ref.as_ref(), spec.retention_policy.as_ref())).collect()
}

/// The backend of a repository: the one that it names, or the only one.
pub(crate) fn of_repository<'a>(
    configuration: &BackupConfiguration,
    repository: &RepositoryReference,
    backends: &'a [Backend],
) -> Option<&'a Backend> {
    debug_assert!(configuration.spec.backends.len().max(1) == backends.len(), "these are its backends");
    match (repository.backend.as_deref().filter(|name| !name.is_empty()), backends) {
        (Some(name), _) => backends.iter().find(|backend| backend.name.as_deref() == Some(name)),
        (None, [only]) => Some(only),
        (None, _) => None,
    }
}

/// The storage that a reference in `namespace` means, or the default.
pub(crate) fn storage(reference: Option<&ObjectReference>, namespace: &str, stores: &Stores) -> Part<BackupStorage> {
    let mut part = find(&stores.storages, reference, namespace, stores, "storageRef");
    let Some(storage) = part.object.as_ref().filter(|_| part.problem.is_none()) else { return part };
    let name = part.reference.as_ref().map(display).unwrap_or_default();
    if !is_alive(storage.as_ref()) {
        part.problem = Some(format!("BackupStorage {name} is being deleted"));
    } else if storage.status.as_ref().and_then(|status| status.phase) != Some(StoragePhase::Ready) {
        part.problem = Some(format!("BackupStorage {name} is not ready; its conditions say why"));
    }
    part
}

/// The object that a reference in `namespace` means, or the default; and whether the namespace may refer to it.
fn find<K>(
    store: &Store<K>,
    reference: Option<&ObjectReference>,
    namespace: &str,
    stores: &Stores,
    field: &str,
) -> Part<K>
where
    K: Shared + Resource<DynamicType = ()> + Clone + 'static,
{
    let labels = stores.namespace_labels(namespace);
    let kind = K::KIND;
    let Some(reference) = reference.map(|one| absolute(one, namespace)).or_else(|| default(store, namespace, &labels))
    else {
        let problem = format!("no {field}, and no default {kind} that its namespace may use; set {field}");
        return Part { reference: None, object: None, problem: Some(problem), forbidden: false };
    };
    let object = stores::referred(store, &reference, namespace);
    let (problem, forbidden) = match object.as_deref() {
        None => (Some(format!("{kind} {} not found; create it, or correct {field}", display(&reference))), false),
        Some(object) if !usage::may_refer(object, namespace, &labels) => {
            let owner = reference.namespace.as_deref().unwrap_or(namespace);
            (Some(usage::refusal(kind, owner, &reference.name, namespace)), true)
        }
        Some(_) => (None, false),
    };
    Part { reference: Some(reference), object, problem, forbidden }
}

/// The default object of a kind for a namespace.
fn default<K>(store: &Store<K>, namespace: &str, labels: &usage::Labels) -> Option<ObjectReference>
where
    K: Shared + Resource<DynamicType = ()> + Clone + 'static,
{
    let defaults = store.state_filter(|one| one.is_default() && is_alive(one));
    let mut defaults: Vec<K> = defaults.iter().map(|one| K::clone(one)).collect();
    // Of several that would do, always the same one.
    defaults.sort_by_key(|one| (one.namespace(), one.name_any()));
    let known = || Ok::<_, Infallible>(Some(labels.clone()));
    let chosen = usage::default_for(&defaults, namespace, known).ok().flatten()?;
    Some(ObjectReference { namespace: chosen.namespace(), name: chosen.name_any() })
}

/// `namespace/name`.
pub(crate) fn display(reference: &ObjectReference) -> String {
    match &reference.namespace {
        Some(namespace) => format!("{namespace}/{}", reference.name),
        None => reference.name.clone(),
    }
}

fn absolute(reference: &ObjectReference, namespace: &str) -> ObjectReference {
    ObjectReference {
        namespace: Some(reference.namespace.clone().unwrap_or_else(|| namespace.to_owned())),
        name: reference.name.clone(),
    }
}

fn is_alive<K: Resource>(object: &K) -> bool {
    object.meta().deletion_timestamp.is_none()
}
