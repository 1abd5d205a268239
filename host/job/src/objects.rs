//! The objects of the cluster that verbs read and write.
//!
//! A status is changed by merge patches under the field manager `coffer-job`. What others also write (a list of conditions) is read, changed and
//! patched with its resource version, and once more if somebody was faster.

use std::fmt::Debug;
use std::time::Duration;

use coffer_api::k8s_openapi::NamespaceResourceScope;
use coffer_api::{Resource, ResourceExt};
use coffer_resolve::cluster::{Action, Cluster};
use coffer_resolve::{ErrorKind, Reader as _, ResolveError};
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::error::JobError;

/// Who writes.
pub const FIELD_MANAGER: &str = "coffer-job";
/// How often a change is tried while others change the same object.
const CONFLICTS: usize = 20;
/// Pause after a conflict.
const PAUSE: Duration = Duration::from_millis(200);

/// What verbs write: the namespaced kinds of the API.
pub(crate) trait Object:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Serialize + DeserializeOwned + Clone + Debug
{
}

impl<K> Object for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Serialize + DeserializeOwned + Clone + Debug
{
}

/// Whether an object had to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Made {
    /// It was made now.
    Now,
    /// There was one of this name.
    Before,
}

/// The objects of a cluster.
#[derive(Clone, Copy)]
pub(crate) struct Objects<'a> {
    cluster: &'a Cluster,
}

impl<'a> Objects<'a> {
    pub(crate) fn new(cluster: &'a Cluster) -> Self {
        Self { cluster }
    }

    /// An object that may be missing.
    pub(crate) fn get<K: Object>(self, namespace: &str, name: &str) -> Result<Option<K>, JobError> {
        let api: Api<K> = self.api(namespace);
        Ok(self
            .cluster
            .request(|| api.get_opt(name))
            .map_err(|error| self.failed::<K>("get", "", (namespace, name), &error))?)
    }

    /// An object that must be there.
    pub(crate) fn required<K: Object>(self, namespace: &str, name: &str) -> Result<K, JobError> {
        self.get(namespace, name)?.ok_or_else(|| {
            let kind = K::kind(&());
            JobError::Resolve(ResolveError::new(
                ErrorKind::Missing,
                format!("{kind} {namespace}/{name} not found"),
                format!("it is not in {}", self.cluster.place()),
                "apply it again, or delete this Job",
            ))
        })
    }

    /// All objects of a namespace that a label selector matches.
    pub(crate) fn list<K: Object>(self, namespace: &str, labels: &str) -> Result<Vec<K>, JobError> {
        let api: Api<K> = self.api(namespace);
        let parameters = ListParams::default().labels(labels);
        let list = self.cluster.request(|| api.list(&parameters));
        Ok(list.map_err(|error| self.failed::<K>("list", "", (namespace, ""), &error))?.items)
    }

    /// Makes an object, unless there is one of its name.
    pub(crate) fn create<K: Object>(self, object: &K) -> Result<Made, JobError> {
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        let api: Api<K> = self.api(&namespace);
        let parameters = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        match self.cluster.request(|| api.create(&parameters, object)) {
            Ok(_) => Ok(Made::Now),
            Err(kube::Error::Api(status)) if status.code == 409 && status.reason == "AlreadyExists" => Ok(Made::Before),
            Err(error) => Err(self.failed::<K>("create", "", (&namespace, &name), &error).into()),
        }
    }

    /// Deletes this very object, if it is still there.
    pub(crate) fn delete<K: Object>(self, object: &K) -> Result<(), JobError> {
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        let api: Api<K> = self.api(&namespace);
        let preconditions = Preconditions { uid: object.uid(), resource_version: None };
        let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        match self.cluster.request(|| api.delete(&name, &parameters)) {
            Ok(_) => Ok(()),
            // Gone, or another one of the same name by now.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
            Err(error) => Err(self.failed::<K>("delete", "", (&namespace, &name), &error).into()),
        }
    }

    /// Sets fields of an object's metadata.
    pub(crate) fn annotate<K: Object>(
        self,
        namespace: &str,
        name: &str,
        key: &str,
        value: &str,
    ) -> Result<(), JobError> {
        let api: Api<K> = self.api(namespace);
        let patch = Patch::Merge(json!({ "metadata": { "annotations": { key: value } } }));
        let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let patched = self.cluster.request(|| api.patch(name, &parameters, &patch));
        patched.map(drop).map_err(|error| self.failed::<K>("patch", "", (namespace, name), &error).into())
    }

    /// Sets fields of a status by the way: `fields` gives them, or none, for the object as it is. Tried once, and not at all if somebody else
    /// wrote meanwhile: what it says is soon out of date anyway.
    pub(crate) fn report<K: Object>(
        self,
        namespace: &str,
        name: &str,
        fields: impl FnOnce(&K) -> Option<Value>,
    ) -> Result<(), JobError> {
        let api: Api<K> = self.api(namespace);
        let found = self.cluster.request_once(api.get_opt(name));
        let found = found.map_err(|error| self.failed::<K>("get", "", (namespace, name), &error))?;
        let Some((version, status)) = found.and_then(|now| Some((now.resource_version(), fields(&now)?))) else {
            return Ok(());
        };
        let patch = Patch::Merge(json!({ "metadata": { "resourceVersion": version }, "status": status }));
        let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        match self.cluster.request_once(api.patch_status(name, &parameters, &patch)) {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
            Err(error) => Err(self.failed::<K>("patch", "/status", (namespace, name), &error).into()),
        }
    }

    /// Changes a status: `edit` gives the fields to set, or none, for the object as it is at that moment. Returns the object as it is then.
    pub(crate) fn edit_status<K: Object>(
        self,
        namespace: &str,
        name: &str,
        mut edit: impl FnMut(&K) -> Option<Value>,
    ) -> Result<K, JobError> {
        self.try_edit_status(namespace, name, |now| Ok(edit(now)))
    }

    /// The same, with an `edit` that may fail, as when it reads what it decides by.
    pub(crate) fn try_edit_status<K: Object>(
        self,
        namespace: &str,
        name: &str,
        mut edit: impl FnMut(&K) -> Result<Option<Value>, JobError>,
    ) -> Result<K, JobError> {
        let api: Api<K> = self.api(namespace);
        let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let mut conflicts = 0;
        loop {
            let object: K = self.required(namespace, name)?;
            let Some(status) = edit(&object)? else { return Ok(object) };
            let version = object.resource_version();
            let patch = Patch::Merge(json!({ "metadata": { "resourceVersion": version }, "status": status }));
            match self.cluster.request(|| api.patch_status(name, &parameters, &patch)) {
                Ok(patched) => return Ok(patched),
                Err(kube::Error::Api(status)) if status.code == 409 && conflicts < CONFLICTS => {
                    conflicts += 1;
                    std::thread::sleep(PAUSE);
                }
                Err(error) => return Err(self.failed::<K>("patch", "/status", (namespace, name), &error).into()),
            }
        }
    }

    fn api<K: Object>(self, namespace: &str) -> Api<K> {
        Api::namespaced(self.cluster.client().clone(), namespace)
    }

    fn failed<K: Object>(
        self,
        verb: &'static str,
        subresource: &str,
        (namespace, name): (&str, &str),
        error: &kube::Error,
    ) -> ResolveError {
        let action = Action {
            verb,
            resource: format!("{}{subresource}", K::plural(&())),
            kind: K::kind(&()).into_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        self.cluster.error(&action, error)
    }
}

#[cfg(test)]
#[path = "../tests/common/fake.rs"]
#[allow(dead_code, reason = "the tests of the verbs use the rest")]
mod fake;

#[cfg(test)]
mod tests {
    use coffer_api::storage::Snapshot;

    use super::*;
    use crate::{facts, status};

    /// A cluster with one Snapshot whose component has begun.
    fn site() -> (fake::Fake, tokio::runtime::Runtime, Cluster) {
        let fake = fake::Fake::default();
        fake.put(json!({
            "apiVersion": "storage.kubestash.com/v1alpha1", "kind": "Snapshot", "metadata": { "name": "s", "namespace": "demo" },
            "spec": {}, "status": { "totalComponents": 1, "components": { "dump": { "phase": "Running" } } },
        }));
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let cluster = {
            let _inside = runtime.enter();
            Cluster::new(fake.client(), runtime.handle().clone())
        };
        (fake, runtime, cluster)
    }

    fn tell(cluster: &Cluster) -> Result<(), JobError> {
        let fields =
            status::component("dump", &json!({ "resticStats": [{ "progress": { "percentDone": "12.00%" } }] }));
        let told = |now: &Snapshot| facts::is_open(now, "dump").then_some(fields);
        Objects::new(cluster).report("demo", "s", told)
    }

    fn dump(fake: &fake::Fake) -> Value {
        fake.get("snapshots", "demo", "s").unwrap()["status"]["components"]["dump"].clone()
    }

    #[test]
    fn progress_is_told_until_the_result_is_there() {
        let (fake, _runtime, cluster) = site();
        tell(&cluster).unwrap();
        assert_eq!(dump(&fake)["resticStats"][0]["progress"]["percentDone"], "12.00%");
        let result = json!({ "phase": "Succeeded", "resticStats": [{ "summary": { "id": "abcd" } }] });
        fake.change("snapshots", "demo", "s", &json!({ "status": { "components": { "dump": result.clone() } } }));
        tell(&cluster).unwrap();
        assert_eq!(dump(&fake), result, "what is final stays");
    }

    #[test]
    fn progress_gives_way_to_whoever_writes_meanwhile() {
        let (fake, _runtime, cluster) = site();
        let result = json!({ "phase": "Succeeded", "resticStats": [{ "summary": { "id": "abcd" } }] });
        fake.meanwhile("snapshots", "demo", "s", json!({ "status": { "components": { "dump": result.clone() } } }));
        tell(&cluster).unwrap();
        assert_eq!(dump(&fake), result);
    }

    #[test]
    fn progress_that_cannot_be_told_is_an_error_and_not_tried_again() {
        let (fake, _runtime, cluster) = site();
        for (verb, code) in [("get", 503), ("patch", 500), ("patch", 403)] {
            fake.trouble(verb, &[code]);
            let before = fake.requests().len();
            assert!(tell(&cluster).is_err(), "{verb} {code}");
            assert!(fake.requests().len() - before <= 2, "{verb} {code}");
        }
        fake.remove("snapshots", "demo", "s");
        tell(&cluster).unwrap();
    }
}
