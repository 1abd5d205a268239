//! What commands do with the objects of the cluster in their own way, with the rights of whoever calls.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;

use coffer_api::ResourceExt;
use coffer_resolve::objects::Namespaced;
use coffer_resolve::{ErrorKind, Reader as _, ResolveError};
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::Value;

use crate::Plugin;
use crate::error::PluginError;

/// Who writes.
pub const FIELD_MANAGER: &str = "kubectl-coffer";
/// Annotation of an object that was made here: a text that no other request to make one has.
const REQUEST: &str = "coffer.dev/request";

impl Plugin {
    /// An object that must be there.
    pub(crate) fn required<K: Namespaced>(&self, namespace: &str, name: &str) -> Result<K, PluginError> {
        self.objects().get(namespace, name)?.ok_or_else(|| {
            let kind = K::kind(&());
            let mut known: Vec<_> = match self.objects().list::<K>(Some(namespace), "") {
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

    /// Makes an object, and returns it as the server has it; `None` if there is one of its name, made by somebody else. A dry run only asks the
    /// server whether it would.
    pub(crate) fn create<K: Namespaced>(&self, object: &K, dry_run: bool) -> Result<Option<K>, PluginError> {
        let request = unique();
        let mut object = object.clone();
        object.annotations_mut().insert(REQUEST.to_owned(), request.clone());
        if let Some(made) = self.objects().create(&object, dry_run)? {
            return Ok(Some(made));
        }
        // It may be ours: an attempt whose answer was lost is made again.
        let found = self.objects().get::<K>(&object.namespace().unwrap_or_default(), &object.name_any())?;
        Ok(found.filter(|found| found.annotations().get(REQUEST) == Some(&request)))
    }

    /// Changes fields of an object; nothing if the patch names a version that is no longer the newest.
    pub(crate) fn patch<K: Namespaced>(
        &self,
        (namespace, name): (&str, &str),
        patch: &Value,
        dry_run: bool,
    ) -> Result<Option<K>, PluginError> {
        let api: Api<K> = self.objects().api(namespace);
        let parameters = PatchParams { dry_run, ..self.objects().patch_params() };
        let patch = Patch::Merge(patch);
        match self.cluster.request(|| api.patch(name, &parameters, &patch)) {
            Ok(patched) => Ok(Some(patched)),
            Err(kube::Error::Api(status)) if status.code == 409 && status.reason == "Conflict" => Ok(None),
            Err(error) => Err(self.objects().failed::<K>("patch", "", (namespace, name), &error).into()),
        }
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
