//! What a Job may do: one pre-installed `ClusterRole`, in each namespace that its session touches.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use k8s_openapi::api::rbac::v1::{RoleBinding, RoleRef, Subject};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::ObjectMeta;

use crate::build::{INVOKER, Invoker, labels};

/// The bindings of a Job's service account. Those in other namespaces cannot have an owner: the operator removes them.
pub(crate) fn build(
    (namespace, name): (&str, &str),
    service_account: &str,
    role: &str,
    namespaces: &BTreeSet<String>,
    invoker: &Invoker,
    owner: Option<&OwnerReference>,
) -> Vec<RoleBinding> {
    let bind = |target: &String| RoleBinding {
        metadata: ObjectMeta {
            name: Some(binding_name(namespace, name, target)),
            namespace: Some(target.clone()),
            labels: Some(labels(invoker, None, None)),
            annotations: Some(BTreeMap::from([(INVOKER.to_owned(), invoker.annotation())])),
            owner_references: owner.filter(|_| target == namespace).map(|owner| vec![owner.clone()]),
            ..ObjectMeta::default()
        },
        role_ref: RoleRef {
            api_group: "rbac.authorization.k8s.io".to_owned(),
            kind: "ClusterRole".to_owned(),
            name: role.to_owned(),
        },
        subjects: Some(vec![Subject {
            kind: "ServiceAccount".to_owned(),
            name: service_account.to_owned(),
            namespace: Some(namespace.to_owned()),
            ..Subject::default()
        }]),
    };
    namespaces.iter().map(bind).collect()
}

/// In other namespaces the Job's own is part of the name: Jobs of two namespaces may have the same name. Names of
/// namespaces have no dots, so no two of these can be equal.
fn binding_name(namespace: &str, name: &str, target: &str) -> String {
    if namespace == target { name.to_owned() } else { format!("{namespace}.{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_binding_in_each_namespace_and_none_collides() {
        let invoker =
            Invoker { kind: "BackupSession".to_owned(), namespace: "demo".to_owned(), name: "b-1".to_owned() };
        let owner = OwnerReference { uid: "u".to_owned(), ..OwnerReference::default() };
        let namespaces = BTreeSet::from(["demo".to_owned(), "storage".to_owned()]);
        let bindings = build(("demo", "b-1"), "b-1", "role", &namespaces, &invoker, Some(&owner));
        let [own, other] = bindings.as_slice() else { panic!("{bindings:?}") };
        assert_eq!(own.metadata.name.as_deref(), Some("b-1"));
        assert!(own.metadata.owner_references.is_some());
        assert_eq!(other.metadata.name.as_deref(), Some("demo.b-1"));
        assert_eq!(other.metadata.namespace.as_deref(), Some("storage"));
        assert!(other.metadata.owner_references.is_none(), "owners are of the same namespace");
        let subject = &other.subjects.as_ref().unwrap()[0];
        assert_eq!((subject.name.as_str(), subject.namespace.as_deref()), ("b-1", Some("demo")));
        assert_eq!(other.role_ref.name, "role");
    }
}
