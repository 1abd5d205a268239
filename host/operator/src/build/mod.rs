//! Objects of Kubernetes made from resources. Nothing here asks the cluster for anything.

pub(crate) mod backup_session;
pub(crate) mod cron_job;
pub(crate) mod job;
pub(crate) mod pod;
pub(crate) mod repository;
pub(crate) mod role_binding;
pub(crate) mod service_account;
pub(crate) mod settings;
pub(crate) mod snapshot;
pub(crate) mod volumes;

use std::collections::BTreeMap;

pub(crate) use coffer_api::meta::annotation::INVOKER;
use coffer_api::meta::{self, label};
use coffer_api::names;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Resource, ResourceExt as _};

use crate::error::Error;

/// The object that a Job works for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Invoker {
    pub(crate) kind: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl Invoker {
    pub(crate) fn of<K: Resource<DynamicType = ()>>(object: &K) -> Self {
        Self {
            kind: K::kind(&()).into_owned(),
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
        }
    }

    /// The value of [`INVOKER`].
    pub(crate) fn annotation(&self) -> String {
        format!("{}/{}/{}", self.kind, self.namespace, self.name)
    }

    /// The object that a Job or a pod with these annotations works for.
    pub(crate) fn from_annotations(annotations: &BTreeMap<String, String>) -> Option<Self> {
        let mut parts = annotations.get(INVOKER)?.splitn(3, '/').map(str::to_owned);
        Some(Self { kind: parts.next()?, namespace: parts.next()?, name: parts.next()? })
    }
}

/// The labels of a Job and its pods.
pub(crate) fn labels(invoker: &Invoker, component: Option<&str>, session: Option<&str>) -> BTreeMap<String, String> {
    let short = |text: &str| names::valid(&[text]);
    let mut labels = BTreeMap::from([
        (label::MANAGED_BY.to_owned(), meta::MANAGED_BY.to_owned()),
        (label::INVOKER_KIND.to_owned(), invoker.kind.clone()),
        (label::INVOKER_NAME.to_owned(), short(&invoker.name)),
        (label::INVOKER_NAMESPACE.to_owned(), invoker.namespace.clone()),
    ]);
    labels.extend(component.map(|component| (label::COMPONENT.to_owned(), component.to_owned())));
    labels.extend(session.map(|session| (label::SESSION_NAME.to_owned(), short(session))));
    labels
}

/// The owner of an object in the same namespace.
pub(crate) fn owner<K: Resource<DynamicType = ()>>(object: &K) -> Result<OwnerReference, Error> {
    object.controller_owner_ref(&()).ok_or_else(|| Error::Nameless(K::kind(&()).into_owned()))
}

/// Whether `object` is one that `owner` made: by its reference, or for Jobs that must outlive it, by its annotation.
pub(crate) fn belongs<K: Resource, O: Resource<DynamicType = ()>>(object: &K, owner: &O) -> bool {
    let references = object.meta().owner_references.as_deref().unwrap_or_default();
    if references.is_empty() {
        return Invoker::from_annotations(object.annotations()) == Some(Invoker::of(owner));
    }
    owner.meta().uid.as_ref().is_some_and(|uid| references.iter().any(|reference| reference.uid == *uid))
}
