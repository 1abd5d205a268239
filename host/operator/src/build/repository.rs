//! The Repository of a session.

use coffer_api::core::{BackupConfiguration, RepositoryDeletionPolicy, RepositoryReference};
use coffer_api::shared::{DeletionPolicy, ObjectReference};
use coffer_api::storage::{Repository, RepositorySpec};
use kube::ResourceExt as _;
use kube::api::ObjectMeta;

/// The Repository. It has no owner: it survives its BackupConfiguration unless that says otherwise.
pub(crate) fn build(
    configuration: &BackupConfiguration,
    reference: &RepositoryReference,
    storage: &ObjectReference,
    policy: Option<RepositoryDeletionPolicy>,
) -> Repository {
    let namespace = configuration.namespace().unwrap_or_default();
    let here = |reference: &ObjectReference| ObjectReference {
        namespace: Some(reference.namespace.clone().unwrap_or_else(|| namespace.clone())),
        name: reference.name.clone(),
    };
    let app = configuration.spec.target.clone().map(|mut target| {
        target.namespace.get_or_insert_with(|| namespace.clone());
        target
    });
    Repository {
        metadata: ObjectMeta {
            name: reference.name.clone(),
            namespace: Some(namespace.clone()),
            ..ObjectMeta::default()
        },
        spec: RepositorySpec {
            app_ref: app,
            storage_ref: Some(here(storage)),
            path: reference.directory.clone(),
            encryption_secret: reference.encryption_secret.as_ref().map(here),
            deletion_policy: deletion_policy(policy),
            paused: None,
        },
        status: None,
    }
}

/// What a Repository says of its data. It knows no Retain: that keeps the object itself.
pub(crate) fn deletion_policy(policy: Option<RepositoryDeletionPolicy>) -> DeletionPolicy {
    match policy {
        Some(RepositoryDeletionPolicy::WipeOut) => DeletionPolicy::WipeOut,
        Some(RepositoryDeletionPolicy::Delete | RepositoryDeletionPolicy::Retain) | None => DeletionPolicy::Delete,
    }
}
