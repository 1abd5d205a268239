//! What a Job may do: one pre-installed `ClusterRole` in its own namespace, and small ones where it reaches into others.

use std::collections::BTreeMap;
use std::iter;

use k8s_openapi::api::rbac::v1::{RoleBinding, RoleRef, Subject};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::ObjectMeta;

use crate::build::{INVOKER, Invoker, labels};
use crate::reach::{Access, Reach};

/// The bindings of a Job's service account. Those in other namespaces cannot have an owner: the operator removes them.
pub(crate) fn build(
    (namespace, name): (&str, &str),
    service_account: &str,
    role: &str,
    reach: &Reach,
    invoker: &Invoker,
    owner: Option<&OwnerReference>,
) -> Vec<RoleBinding> {
    let bind = |target: &str, name: String, role: &str| RoleBinding {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: Some(target.to_owned()),
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
    let elsewhere = reach
        .elsewhere()
        .map(|(target, access)| bind(target, name_elsewhere((namespace, name), access), access.role()));
    iter::once(bind(namespace, name.to_owned(), role)).chain(elsewhere).collect()
}

/// In other namespaces the Job's own is part of the name: Jobs of two namespaces may have the same name. Names of
/// namespaces have no dots, and those of Jobs no colons, so no two of these can be equal.
fn name_elsewhere((namespace, name): (&str, &str), access: Access) -> String {
    format!("{namespace}.{name}:{}", access.word())
}

#[cfg(test)]
mod tests {
    use super::*;
    use coffer_api::shared::ObjectReference;

    #[test]
    fn one_binding_for_each_right_and_none_collides() {
        let invoker =
            Invoker { kind: "BackupSession".to_owned(), namespace: "demo".to_owned(), name: "b-1".to_owned() };
        let owner = OwnerReference { uid: "u".to_owned(), ..OwnerReference::default() };
        let mut reach = Reach::within("demo");
        let stores = crate::reach::tests::stores(&[("vault", serde_json::json!({}), Some("demo"))]);
        assert!(reach.source("vault", &stores));
        reach.secret(&ObjectReference { namespace: Some("vault".to_owned()), name: "s".to_owned() }, "demo", &stores);
        let bindings = build(("demo", "b-1"), "b-1", "role", &reach, &invoker, Some(&owner));
        let [own, source, secrets] = bindings.as_slice() else { panic!("{bindings:?}") };
        assert_eq!(own.metadata.name.as_deref(), Some("b-1"));
        assert_eq!(own.role_ref.name, "role");
        assert!(own.metadata.owner_references.is_some());
        for (binding, name, role) in [
            (source, "demo.b-1:source", "kubestash-source-reader"),
            (secrets, "demo.b-1:secrets", "kubestash-secret-reader"),
        ] {
            assert_eq!(binding.metadata.name.as_deref(), Some(name));
            assert_eq!(binding.metadata.namespace.as_deref(), Some("vault"));
            assert!(binding.metadata.owner_references.is_none(), "owners are of the same namespace");
            let subject = &binding.subjects.as_ref().unwrap()[0];
            assert_eq!((subject.name.as_str(), subject.namespace.as_deref()), ("b-1", Some("demo")));
            assert_eq!(binding.role_ref.name, role, "never what it may do at home");
        }
    }
}
