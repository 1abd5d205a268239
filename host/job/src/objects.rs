//! What verbs do with the objects of the cluster in their own way.
//!
//! A status is changed by merge patches under the field manager `coffer-job`. What others also write (a list of conditions) is read, changed and
//! patched with its resource version, and once more if somebody was faster.

use std::time::Duration;

use coffer_api::ResourceExt as _;
use coffer_resolve::objects::Namespaced;
use coffer_resolve::{ErrorKind, Reader as _, ResolveError};
use kube::Api;
use kube::api::{DeleteParams, Patch, Preconditions};
use serde_json::{Value, json};

use crate::Job;
use crate::error::JobError;

/// Who writes.
pub const FIELD_MANAGER: &str = "coffer-job";
/// How often a change is tried while others change the same object.
const CONFLICTS: usize = 20;
/// Pause after a conflict.
const PAUSE: Duration = Duration::from_millis(200);

impl Job {
    /// An object that must be there.
    pub(crate) fn required<K: Namespaced>(&self, namespace: &str, name: &str) -> Result<K, JobError> {
        self.objects().get(namespace, name)?.ok_or_else(|| {
            let kind = K::kind(&());
            JobError::Resolve(ResolveError::new(
                ErrorKind::Missing,
                format!("{kind} {namespace}/{name} not found"),
                format!("it is not in {}", self.cluster.place()),
                "apply it again, or delete this Job",
            ))
        })
    }

    /// Deletes this very object, if it is still there.
    pub(crate) fn delete<K: Namespaced>(&self, object: &K) -> Result<(), JobError> {
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        let api: Api<K> = self.objects().api(&namespace);
        let preconditions = Preconditions { uid: object.uid(), resource_version: None };
        let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        match self.cluster.request(|| api.delete(&name, &parameters)) {
            Ok(_) => Ok(()),
            // Gone, or another one of the same name by now.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
            Err(error) => Err(self.objects().failed::<K>("delete", "", (&namespace, &name), &error).into()),
        }
    }

    /// Sets fields of an object's metadata.
    pub(crate) fn annotate<K: Namespaced>(
        &self,
        namespace: &str,
        name: &str,
        key: &str,
        value: &str,
    ) -> Result<(), JobError> {
        let api: Api<K> = self.objects().api(namespace);
        let patch = Patch::Merge(json!({ "metadata": { "annotations": { key: value } } }));
        let parameters = self.objects().patch_params();
        let patched = self.cluster.request(|| api.patch(name, &parameters, &patch));
        patched.map(drop).map_err(|error| self.objects().failed::<K>("patch", "", (namespace, name), &error).into())
    }

    /// Sets fields of a status by the way: `fields` gives them, or none, for the object as it is. Tried once, and not at all if somebody else
    /// wrote meanwhile: what it says is soon out of date anyway.
    pub(crate) fn report<K: Namespaced>(
        &self,
        namespace: &str,
        name: &str,
        fields: impl FnOnce(&K) -> Option<Value>,
    ) -> Result<(), JobError> {
        let api: Api<K> = self.objects().api(namespace);
        let found = self.cluster.request_once(api.get_opt(name));
        let found = found.map_err(|error| self.objects().failed::<K>("get", "", (namespace, name), &error))?;
        let Some((version, status)) = found.and_then(|now| Some((now.resource_version(), fields(&now)?))) else {
            return Ok(());
        };
        let patch = Patch::Merge(json!({ "metadata": { "resourceVersion": version }, "status": status }));
        let parameters = self.objects().patch_params();
        match self.cluster.request_once(api.patch_status(name, &parameters, &patch)) {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
            Err(error) => Err(self.objects().failed::<K>("patch", "/status", (namespace, name), &error).into()),
        }
    }

    /// Changes a status: `edit` gives the fields to set, or none, for the object as it is at that moment. Returns the object as it is then.
    pub(crate) fn edit_status<K: Namespaced>(
        &self,
        namespace: &str,
        name: &str,
        mut edit: impl FnMut(&K) -> Option<Value>,
    ) -> Result<K, JobError> {
        self.try_edit_status(namespace, name, |now| Ok(edit(now)))
    }

    /// The same, with an `edit` that may fail, as when it reads what it decides by.
    pub(crate) fn try_edit_status<K: Namespaced>(
        &self,
        namespace: &str,
        name: &str,
        mut edit: impl FnMut(&K) -> Result<Option<Value>, JobError>,
    ) -> Result<K, JobError> {
        let api: Api<K> = self.objects().api(namespace);
        let parameters = self.objects().patch_params();
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
                Err(error) => {
                    return Err(self.objects().failed::<K>("patch", "/status", (namespace, name), &error).into());
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "../tests/common/fake.rs"]
#[allow(dead_code, reason = "the tests of the verbs use the rest")]
mod fake;

#[cfg(test)]
mod tests {
    use coffer_api::cancel::Cancel;
    use coffer_api::storage::Snapshot;
    use coffer_resolve::cluster::Cluster;
    use coffer_storage::LocalRoot;

    use super::*;
    use crate::{facts, status};

    /// A cluster with one Snapshot whose component has begun.
    fn site() -> (fake::Fake, tokio::runtime::Runtime, Job) {
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
        (fake, runtime, Job { cluster, local: LocalRoot::MountPath, cancel: Cancel::new() })
    }

    fn tell(job: &Job) -> Result<(), JobError> {
        let fields =
            status::component("dump", &json!({ "resticStats": [{ "progress": { "percentDone": "12.00%" } }] }));
        let told = |now: &Snapshot| facts::is_open(now, "dump").then_some(fields);
        job.report("demo", "s", told)
    }

    fn dump(fake: &fake::Fake) -> Value {
        fake.get("snapshots", "demo", "s").unwrap()["status"]["components"]["dump"].clone()
    }

    #[test]
    fn progress_is_told_until_the_result_is_there() {
        let (fake, _runtime, job) = site();
        tell(&job).unwrap();
        assert_eq!(dump(&fake)["resticStats"][0]["progress"]["percentDone"], "12.00%");
        let result = json!({ "phase": "Succeeded", "resticStats": [{ "summary": { "id": "abcd" } }] });
        fake.change("snapshots", "demo", "s", &json!({ "status": { "components": { "dump": result.clone() } } }));
        tell(&job).unwrap();
        assert_eq!(dump(&fake), result, "what is final stays");
    }

    #[test]
    fn progress_gives_way_to_whoever_writes_meanwhile() {
        let (fake, _runtime, job) = site();
        let result = json!({ "phase": "Succeeded", "resticStats": [{ "summary": { "id": "abcd" } }] });
        fake.meanwhile("snapshots", "demo", "s", json!({ "status": { "components": { "dump": result.clone() } } }));
        tell(&job).unwrap();
        assert_eq!(dump(&fake), result);
    }

    #[test]
    fn progress_that_cannot_be_told_is_an_error_and_not_tried_again() {
        let (fake, _runtime, job) = site();
        for (verb, code) in [("get", 503), ("patch", 500), ("patch", 403)] {
            fake.trouble(verb, &[code]);
            let before = fake.requests().len();
            assert!(tell(&job).is_err(), "{verb} {code}");
            assert!(fake.requests().len() - before <= 2, "{verb} {code}");
        }
        fake.remove("snapshots", "demo", "s");
        tell(&job).unwrap();
    }
}
