//! Who may still write what is about to be wiped out.

use coffer_api::core::BackupSession;
use coffer_api::phase;
use coffer_api::storage::{BackupStorage, Snapshot};
use kube::ResourceExt as _;

use crate::backup_session::is_admitted;
use crate::build::Invoker;
use crate::context::Context;
use crate::{jobs, stores};

/// A BackupSession that may still write into a Repository.
pub(crate) fn of_repository(context: &Context, namespace: &str, repository: &str) -> Option<String> {
    let writes = |session: &BackupSession| {
        let mut parts = session.status.iter().flat_map(|status| &status.snapshots);
        session.metadata.namespace.as_deref() == Some(namespace)
            && parts.any(|part| part.repository.as_deref() == Some(repository))
    };
    let sessions = context.stores.sessions.state_filter(writes);
    sessions.iter().find(|session| is_at_work(context, session)).map(|session| name_of(session))
}

/// What prepares a storage may still make a Repository's objects and files.
pub(crate) fn of_storage(context: &Context, storage: &BackupStorage) -> Option<String> {
    let (namespace, name) = (storage.namespace().unwrap_or_default(), storage.name_any());
    jobs::at_work(context, &Invoker::of(storage)).then(|| format!("the Job of BackupStorage {namespace}/{name}"))
}

/// The BackupSession of a Snapshot, if it may still write it.
pub(crate) fn of_snapshot(context: &Context, snapshot: &Snapshot) -> Option<String> {
    let namespace = snapshot.namespace().unwrap_or_default();
    let session = stores::get(&context.stores.sessions, &namespace, snapshot.spec.backup_session.as_deref()?)?;
    is_at_work(context, &session).then(|| name_of(&session))
}

/// A session was admitted and has not ended, or a pod of it has not. One that still waits for its repositories may begin at any moment.
fn is_at_work(context: &Context, session: &BackupSession) -> bool {
    let is_open = is_admitted(session) && !phase::session_is_final(session.status.as_ref().and_then(|one| one.phase));
    is_open || jobs::at_work(context, &Invoker::of(session))
}

fn name_of(session: &BackupSession) -> String {
    format!("BackupSession {}/{}", session.namespace().unwrap_or_default(), session.name_any())
}
