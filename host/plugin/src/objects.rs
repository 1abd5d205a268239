//! The objects of the cluster that commands read and write, with the rights of whoever calls.

use std::collections::hash_map::RandomState;
use std::fmt::Debug;
use std::hash::BuildHasher as _;

use coffer_api::k8s_openapi::NamespaceResourceScope;
use coffer_api::{Resource, ResourceExt};
use coffer_resolve::cluster::{Action, Cluster};
use coffer_resolve::{ErrorKind, Reader as _, ResolveError};
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::PluginError;

/// Who writes.
pub const FIELD_MANAGER: &str = "kubectl-coffer";
/// Annotation of an object that was made here: a text that no other request to make one has.
const REQUEST: &str = "coffer.dev/request";

/// A namespaced kind.
pub(crate) trait Object:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Serialize + DeserializeOwned + Clone + Debug
{
}

impl<K> Object for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Serialize + DeserializeOwned + Clone + Debug
{
}

/// Whether an object had to be made.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Made<K> {
    /// It was made now; as the server has it.
    Now(K),
    /// There was one of this name, made by somebody else.
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
    pub(crate) fn get<K: Object>(self, namespace: &str, name: &str) -> Result<Option<K>, PluginError> {
        let api: Api<K> = self.api(Some(namespace));
        let found = self.cluster.request(|| api.get_opt(name));
        found.map_err(|error| self.failed::<K>("get", (namespace, name), &error))
    }

    /// An object that must be there.
    pub(crate) fn required<K: Object>(self, namespace: &str, name: &str) -> Result<K, PluginError> {
        self.get(namespace, name)?.ok_or_else(|| {
            let kind = K::kind(&());
            let mut known: Vec<_> = match self.list::<K>(Some(namespace), "") {
                Ok(all) => all.iter().map(ResourceExt::name_any).collect(),
                // That they cannot be listed must not hide what the error is about.
                Err(_) => vec!["(they cannot be listed)".to_owned()],
            };
            if known.is_empty() {
                known.push("none".to_owned());
            }
            PluginError::Resolve(ResolveError::new(
                ErrorKind::Missing,
                format!("{kind} {namespace}/{name} not found"),
                format!(
                    "the {} of namespace {namespace} in {} are: {}",
                    K::plural(&()),
                    self.cluster.place(),
                    known.join(", ")
                ),
                "correct the name, or choose the namespace with -n",
            ))
        })
    }

    /// All objects that a label selector matches, of one namespace or of all.
    pub(crate) fn list<K: Object>(self, namespace: Option<&str>, labels: &str) -> Result<Vec<K>, PluginError> {
        let api: Api<K> = self.api(namespace);
        let parameters = ListParams::default().labels(labels);
        let list = self.cluster.request(|| api.list(&parameters));
        let list = list.map_err(|error| self.failed::<K>("list", (namespace.unwrap_or_default(), ""), &error))?;
        let mut items = list.items;
        items.sort_by_cached_key(|object| (object.namespace(), object.name_any()));
        Ok(items)
    }

    /// Makes an object, unless there is one of its name. A dry run only asks the server whether it would.
    pub(crate) fn create<K: Object>(self, object: &K, dry_run: bool) -> Result<Made<K>, PluginError> {
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        let api: Api<K> = self.api(Some(&namespace));
        let parameters = PostParams { dry_run, field_manager: Some(FIELD_MANAGER.to_owned()) };
        let request = unique();
        let mut object = object.clone();
        object.annotations_mut().insert(REQUEST.to_owned(), request.clone());
        match self.cluster.request(|| api.create(&parameters, &object)) {
            Ok(made) => Ok(Made::Now(made)),
            // It may be ours: an attempt whose answer was lost is made again.
            Err(kube::Error::Api(status)) if status.code == 409 && status.reason == "AlreadyExists" => {
                let found = self.get::<K>(&namespace, &name)?;
                let ours = found.filter(|found| found.annotations().get(REQUEST) == Some(&request));
                Ok(ours.map_or(Made::Before, Made::Now))
            }
            Err(error) => Err(self.failed::<K>("create", (&namespace, &name), &error)),
        }
    }

    /// Changes fields of an object; nothing if the patch names a version that is no longer the newest.
    pub(crate) fn patch<K: Object>(
        self,
        (namespace, name): (&str, &str),
        patch: &Value,
        dry_run: bool,
    ) -> Result<Option<K>, PluginError> {
        let api: Api<K> = self.api(Some(namespace));
        let parameters =
            PatchParams { dry_run, field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let patch = Patch::Merge(patch);
        match self.cluster.request(|| api.patch(name, &parameters, &patch)) {
            Ok(patched) => Ok(Some(patched)),
            Err(kube::Error::Api(status)) if status.code == 409 && status.reason == "Conflict" => Ok(None),
            Err(error) => Err(self.failed::<K>("patch", (namespace, name), &error)),
        }
    }

    fn api<K: Object>(self, namespace: Option<&str>) -> Api<K> {
        let client = self.cluster.client().clone();
        match namespace {
            Some(namespace) => Api::namespaced(client, namespace),
            None => Api::all(client),
        }
    }

    fn failed<K: Object>(
        self,
        verb: &'static str,
        (namespace, name): (&str, &str),
        error: &kube::Error,
    ) -> PluginError {
        let action = Action {
            verb,
            resource: K::plural(&()).into_owned(),
            kind: K::kind(&()).into_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        PluginError::Resolve(self.cluster.error(&action, error))
    }
}

/// A text that nobody else has: the standard library's hashers draw their keys from the system's random numbers.
fn unique() -> String {
    let random = RandomState::new();
    format!("{:016x}{:016x}", random.hash_one(0), random.hash_one(1))
}

/// The error of a command that had done a part of its work: that is told first.
pub(crate) fn after(done: &str, error: PluginError) -> PluginError {
    if done.is_empty() {
        return error;
    }
    let then = |what: &str| format!("only a part is done:\n{done}\nthen: {what}");
    match error {
        PluginError::Resolve(error) => {
            PluginError::Resolve(ResolveError::new(error.kind(), then(error.what()), error.why(), error.fix()))
        }
        PluginError::Refused { what, why, fix } => PluginError::refused(then(&what), why, fix),
        other => PluginError::refused(then("the rest is not done"), other.to_string(), "report it"),
    }
}
