//! What the operator knows of the cluster: one store per kind, each fed by one watch.

use std::collections::BTreeMap;
use std::sync::Arc;

use coffer_api::addons::{Addon, Function};
use coffer_api::appcatalog::AppBinding;
use coffer_api::core::{BackupConfiguration, BackupSession, RestoreSession};
use coffer_api::shared::ObjectReference;
use coffer_api::storage::{BackupStorage, Repository, RetentionPolicy, Snapshot};
use coffer_api::usage;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{Namespace, Pod, ServiceAccount};
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Resource, ResourceExt as _};

use crate::build::{INVOKER, Invoker};

macro_rules! stores {
    ($($(#[$doc:meta])* $name:ident: $kind:ty,)*) => {
        /// The stores.
        #[derive(Debug, Clone)]
        pub(crate) struct Stores { $($(#[$doc])* pub(crate) $name: Store<$kind>,)* }

        /// Their writers.
        pub(crate) struct Writers { $(pub(crate) $name: Writer<$kind>,)* }

        impl Stores {
            /// Empty stores, with what fills them.
            pub(crate) fn new() -> (Self, Writers) {
                let writers = Writers { $($name: Writer::<$kind>::default(),)* };
                (Self { $($name: writers.$name.as_reader(),)* }, writers)
            }

            /// Returns when every store has been filled once; `false` if one never will.
            pub(crate) async fn filled(&self) -> bool {
                $(self.$name.wait_until_ready().await.is_ok())&&*
            }
        }
    };
}

stores! {
    storages: BackupStorage,
    policies: RetentionPolicy,
    repositories: Repository,
    snapshots: Snapshot,
    configurations: BackupConfiguration,
    sessions: BackupSession,
    restores: RestoreSession,
    addons: Addon,
    functions: Function,
    /// Only that they exist.
    apps: PartialObjectMeta<AppBinding>,
    /// Their labels, and to whom they are open.
    namespaces: PartialObjectMeta<Namespace>,
    /// Of the following kinds only those that carry our label.
    jobs: Job,
    pods: Pod,
    cron_jobs: CronJob,
    accounts: ServiceAccount,
    bindings: RoleBinding,
}

/// One object of a namespace.
pub(crate) fn get<K>(store: &Store<K>, namespace: &str, name: &str) -> Option<Arc<K>>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    store.get(&ObjectRef::new(name).within(namespace))
}

/// One object without a namespace.
pub(crate) fn get_global<K>(store: &Store<K>, name: &str) -> Option<Arc<K>>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    store.get(&ObjectRef::new(name))
}

/// The object that a reference in `namespace` means.
pub(crate) fn referred<K>(store: &Store<K>, reference: &ObjectReference, namespace: &str) -> Option<Arc<K>>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    get(store, reference.namespace.as_deref().unwrap_or(namespace), &reference.name)
}

/// Whether a BackupSession is one of a session of a BackupConfiguration in its namespace.
pub(crate) fn is_of(session: &BackupSession, configuration: &str, session_name: &str) -> bool {
    let invoker = session.spec.invoker.as_ref();
    invoker.is_some_and(|invoker| invoker.kind == "BackupConfiguration" && invoker.name == configuration)
        && session.spec.session.as_deref() == Some(session_name)
}

impl Stores {
    /// The labels of a namespace; none if it is not known.
    pub(crate) fn namespace_labels(&self, namespace: &str) -> BTreeMap<String, String> {
        get_global(&self.namespaces, namespace).map(|one| one.labels().clone()).unwrap_or_default()
    }

    /// Whether a namespace is open to objects of another one.
    pub(crate) fn is_open(&self, namespace: &str, to: &str) -> bool {
        namespace == to
            || get_global(&self.namespaces, namespace).is_some_and(|one| usage::is_open(one.annotations(), to))
    }

    /// Every BackupSession of a BackupConfiguration.
    pub(crate) fn sessions_of(&self, namespace: &str, configuration: &str) -> Vec<Arc<BackupSession>> {
        self.sessions.state_filter(|session| {
            let invoker = session.spec.invoker.as_ref();
            session.meta().namespace.as_deref() == Some(namespace)
                && invoker.is_some_and(|invoker| invoker.kind == "BackupConfiguration" && invoker.name == configuration)
        })
    }

    /// Every Snapshot of a Repository.
    pub(crate) fn snapshots_of(&self, namespace: &str, repository: &str) -> Vec<Arc<Snapshot>> {
        self.snapshots.state_filter(|snapshot| {
            snapshot.meta().namespace.as_deref() == Some(namespace)
                && snapshot.spec.repository.as_deref() == Some(repository)
        })
    }

    /// Every Repository in a BackupStorage.
    pub(crate) fn repositories_in(&self, namespace: &str, storage: &str) -> Vec<Arc<Repository>> {
        self.repositories.state_filter(|repository| {
            repository.spec.storage_ref.as_ref().is_some_and(|reference| {
                let own = repository.namespace();
                reference.name == storage && reference.namespace.as_deref().or(own.as_deref()) == Some(namespace)
            })
        })
    }

    /// The pods of a Job, and not those of an earlier Job of the same name that are still ending.
    pub(crate) fn pods_of(&self, job: &Job) -> Vec<Arc<Pod>> {
        let Some(uid) = job.metadata.uid.as_deref() else { return Vec::new() };
        self.pods.state_filter(|pod| pod.owner_references().iter().any(|owner| owner.kind == "Job" && owner.uid == uid))
    }

    /// The role bindings that were made for an object's Jobs.
    pub(crate) fn bindings_of(&self, invoker: &Invoker) -> Vec<Arc<RoleBinding>> {
        let wanted = invoker.annotation();
        self.bindings.state_filter(|binding| binding.annotations().get(INVOKER) == Some(&wanted))
    }

    /// The Jobs that were made for an object.
    pub(crate) fn jobs_of(&self, invoker: &Invoker) -> Vec<Arc<Job>> {
        let wanted = invoker.annotation();
        self.jobs.state_filter(|job| job.annotations().get(INVOKER) == Some(&wanted))
    }
}
