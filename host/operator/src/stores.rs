//! What the operator knows of the cluster: one store per kind, each fed by one watch.

use std::collections::{BTreeMap, BTreeSet};
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

/// The label that Kubernetes gives to the pods of a Job.
const JOB_NAME: &str = "batch.kubernetes.io/job-name";

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

/// Whether a pod is one of a Job of this name, in its namespace.
pub(crate) fn is_of_job(pod: &Pod, job: &str) -> bool {
    pod.labels().get(JOB_NAME).is_some_and(|name| name == job)
        || pod.owner_references().iter().any(|owner| owner.kind == "Job" && owner.name == job)
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

    /// The pods that Jobs of this name for this object have left.
    pub(crate) fn pods_left(&self, invoker: &Invoker, namespace: &str, job: &str) -> Vec<Arc<Pod>> {
        let mut pods = self.pods_for(invoker);
        pods.retain(|pod| pod.metadata.namespace.as_deref() == Some(namespace) && is_of_job(pod, job));
        pods
    }

    /// The pods that work for an object, whether their Jobs are still there or not.
    pub(crate) fn pods_for(&self, invoker: &Invoker) -> Vec<Arc<Pod>> {
        let wanted = invoker.annotation();
        self.pods.state_filter(|pod| pod.annotations().get(INVOKER) == Some(&wanted))
    }

    /// The role bindings that were made for an object's Jobs.
    pub(crate) fn bindings_of(&self, invoker: &Invoker) -> Vec<Arc<RoleBinding>> {
        let wanted = invoker.annotation();
        self.bindings.state_filter(|binding| binding.annotations().get(INVOKER) == Some(&wanted))
    }

    /// The objects of a kind that Jobs and role bindings were made for.
    pub(crate) fn invokers(&self, kind: &str) -> BTreeSet<Invoker> {
        let (jobs, bindings) = (self.jobs.state(), self.bindings.state());
        let jobs = jobs.iter().map(|job| job.annotations());
        let bindings = bindings.iter().map(|binding| binding.annotations());
        jobs.chain(bindings).filter_map(Invoker::from_annotations).filter(|invoker| invoker.kind == kind).collect()
    }

    /// The Jobs that were made for an object.
    pub(crate) fn jobs_of(&self, invoker: &Invoker) -> Vec<Arc<Job>> {
        let wanted = invoker.annotation();
        self.jobs.state_filter(|job| job.annotations().get(INVOKER) == Some(&wanted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::runtime::watcher::Event;
    use serde_json::json;

    #[test]
    fn pods_are_a_jobs_by_its_uid_and_an_objects_by_their_annotation() {
        let (stores, mut writers) = Stores::new();
        let job = |uid: &str| -> Job {
            serde_json::from_value(json!({"metadata": {"name": "init-s3", "namespace": "demo", "uid": uid}})).unwrap()
        };
        let owner = |uid: &str| json!([{"apiVersion": "batch/v1", "kind": "Job", "name": "init-s3", "uid": uid}]);
        let pod = |name: &str, owners: serde_json::Value, labels: serde_json::Value| -> Pod {
            serde_json::from_value(json!({"metadata": {
                "name": name, "namespace": "demo", "ownerReferences": owners, "labels": labels,
                "annotations": {INVOKER: "BackupStorage/demo/s3"},
            }}))
            .unwrap()
        };
        for one in [
            pod("old", owner("uid-1"), json!({})),
            pod("new", owner("uid-2"), json!({})),
            pod("orphan", json!([]), json!({JOB_NAME: "init-s3"})),
            pod("other", json!([]), json!({JOB_NAME: "cleanup-s3"})),
        ] {
            writers.pods.apply_watcher_event(&Event::Apply(one));
        }
        let names = |pods: Vec<Arc<Pod>>| {
            let mut names: Vec<_> = pods.iter().map(|pod| pod.name_any()).collect();
            names.sort();
            names
        };
        assert_eq!(names(stores.pods_of(&job("uid-2"))), ["new"], "an earlier Job of this name has its own pods");
        assert_eq!(names(stores.pods_of(&job("uid-3"))), [""; 0]);
        let invoker = |name: &str| Invoker {
            kind: "BackupStorage".to_owned(),
            namespace: "demo".to_owned(),
            name: name.to_owned(),
        };
        assert_eq!(names(stores.pods_left(&invoker("s3"), "demo", "init-s3")), ["new", "old", "orphan"]);
        assert_eq!(names(stores.pods_for(&invoker("s3"))), ["new", "old", "orphan", "other"]);
        assert_eq!(names(stores.pods_for(&invoker("s4"))), [""; 0]);
    }
}
