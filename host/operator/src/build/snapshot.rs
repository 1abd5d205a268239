//! The Snapshot that a BackupSession makes in a Repository.

use std::collections::BTreeMap;

use coffer_api::core::BackupSession;
use coffer_api::meta::{self, annotation, label};
use coffer_api::names;
use coffer_api::storage::{Repository, Snapshot, SnapshotSpec};
use kube::ResourceExt as _;
use kube::api::ObjectMeta;
use ulid::Ulid;

use crate::build::owner;
use crate::error::Error;

/// Annotation: the uid of the BackupSession that makes the Snapshot.
const SESSION_UID: &str = "coffer.dev/backup-session-uid";

/// Whether the session makes this Snapshot in the Repository. A session whose name was used before finds the Snapshot of its forerunner, and of two
/// Repositories with long names one finds the other's: neither proves anything of it.
pub(crate) fn is_of(snapshot: &Snapshot, session: &BackupSession, repository: &str) -> bool {
    snapshot.spec.repository.as_deref() == Some(repository)
        && snapshot.spec.backup_session.as_deref() == Some(session.name_any().as_str())
        && snapshot.annotations().get(SESSION_UID) == session.metadata.uid.as_ref()
}

/// The Snapshot. Its Repository owns it, so that it survives its session; its name follows from both, and only the
/// first one created counts.
pub(crate) fn build(session: &BackupSession, repository: &Repository) -> Result<Snapshot, Error> {
    let repository_name = repository.name_any();
    let session_name = session.name_any();
    let app = repository.spec.app_ref.clone();
    let mut labels = BTreeMap::from([(label::REPOSITORY_NAME.to_owned(), names::valid(&[&repository_name]))]);
    if let Some(app) = &app {
        let namespace = app.namespace.clone().or_else(|| repository.namespace()).unwrap_or_default();
        labels.insert(label::APP_REF_KIND.to_owned(), app.kind.clone().unwrap_or_default());
        labels.insert(label::APP_REF_NAMESPACE.to_owned(), namespace);
        labels.insert(label::APP_REF_NAME.to_owned(), names::valid(&[&app.name]));
    }
    let uid = session.uid().map(|uid| (SESSION_UID.to_owned(), uid)).into_iter();
    let configuration =
        session.spec.invoker.as_ref().map(|invoker| (annotation::CONFIGURATION.to_owned(), invoker.name.clone()));
    Ok(Snapshot {
        metadata: ObjectMeta {
            name: Some(names::snapshot(&repository_name, &session_name)),
            namespace: repository.namespace(),
            labels: Some(labels),
            annotations: Some(uid.chain(configuration).collect()),
            finalizers: Some(vec![meta::FINALIZER.to_owned()]),
            owner_references: Some(vec![owner(repository)?]),
            ..ObjectMeta::default()
        },
        spec: SnapshotSpec {
            snapshot_id: Some(Ulid::generate().to_string()),
            type_: Some("FullBackup".to_owned()),
            repository: Some(repository_name),
            session: session.spec.session.clone(),
            backup_session: Some(session_name),
            version: Some(names::LAYOUT_VERSION.to_owned()),
            app_ref: app,
            ..SnapshotSpec::default()
        },
        status: None,
    })
}
