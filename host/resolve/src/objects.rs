//! The objects of a cluster, typed, for programs that also write some.

use std::fmt::Debug;

use coffer_api::k8s_openapi::NamespaceResourceScope;
use coffer_api::{Resource, ResourceExt as _};
use kube::Api;
use kube::api::{ListParams, PatchParams, PostParams};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cluster::{Action, Cluster};
use crate::error::ResolveError;

/// A namespaced kind. Implemented for all that are.
pub trait Namespaced:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Serialize + DeserializeOwned + Clone + Debug
{
}

impl<K> Namespaced for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Serialize + DeserializeOwned + Clone + Debug
{
}

/// The objects of a cluster. Its methods block, as those of the [`Cluster`] do.
#[derive(Debug, Clone, Copy)]
pub struct Objects<'a> {
    cluster: &'a Cluster,
    manager: &'static str,
}

impl<'a> Objects<'a> {
    /// The objects of a cluster; `manager` is the field manager of what is written.
    pub fn new(cluster: &'a Cluster, manager: &'static str) -> Self {
        Self { cluster, manager }
    }

    /// An object that may be missing.
    pub fn get<K: Namespaced>(self, namespace: &str, name: &str) -> Result<Option<K>, ResolveError> {
        let api: Api<K> = self.api(namespace);
        let found = self.cluster.request(|| api.get_opt(name));
        found.map_err(|error| self.failed::<K>("get", "", (namespace, name), &error))
    }

    /// All objects that a label selector matches, of one namespace or of all, sorted by namespace and name.
    pub fn list<K: Namespaced>(self, namespace: Option<&str>, labels: &str) -> Result<Vec<K>, ResolveError> {
        let api: Api<K> = match namespace {
            Some(namespace) => self.api(namespace),
            None => Api::all(self.cluster.client().clone()),
        };
        let parameters = ListParams::default().labels(labels);
        let list = self.cluster.request(|| api.list(&parameters));
        let list = list.map_err(|error| self.failed::<K>("list", "", (namespace.unwrap_or_default(), ""), &error))?;
        let mut items = list.items;
        items.sort_by_cached_key(|object| (object.namespace(), object.name_any()));
        Ok(items)
    }

    /// Makes an object, and returns it as the server has it; `None` if there is one of its name. A dry run only asks the server whether it would.
    pub fn create<K: Namespaced>(self, object: &K, dry_run: bool) -> Result<Option<K>, ResolveError> {
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        let api: Api<K> = self.api(&namespace);
        let parameters = PostParams { dry_run, field_manager: Some(self.manager.to_owned()) };
        match self.cluster.request(|| api.create(&parameters, object)) {
            Ok(made) => Ok(Some(made)),
            Err(kube::Error::Api(status)) if status.code == 409 && status.reason == "AlreadyExists" => Ok(None),
            Err(error) => Err(self.failed::<K>("create", "", (&namespace, &name), &error)),
        }
    }

    /// For a request of one's own: the objects of a namespace.
    pub fn api<K: Namespaced>(self, namespace: &str) -> Api<K> {
        Api::namespaced(self.cluster.client().clone(), namespace)
    }

    /// For a patch of one's own: who makes it.
    pub fn patch_params(self) -> PatchParams {
        PatchParams { field_manager: Some(self.manager.to_owned()), ..PatchParams::default() }
    }

    /// Says what became of a request of one's own that failed; `subresource` is empty, or such as `/status`.
    pub fn failed<K: Namespaced>(
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
