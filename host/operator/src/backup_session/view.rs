//! Dereference: what the state of a BackupSession depends on.

use std::sync::Arc;

use coffer_api::condition::{self, SNAPSHOTS_ENSURED};
use coffer_api::core::{BackupConfiguration, BackupSession, Session};
use coffer_api::storage::{Repository, Snapshot};
use coffer_api::{names, phase};
use kube::ResourceExt as _;

use crate::backup_session::plan::retention_job;
use crate::build::Invoker;
use crate::context::Context;
use crate::error::Error;
use crate::job_state::JobState;
use crate::{apply, build, jobs, stores};

/// What the state of a BackupSession depends on.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) session: Arc<BackupSession>,
    pub(crate) configuration: Option<Arc<BackupConfiguration>>,
    /// One for each repository.
    pub(crate) parts: Vec<Part>,
    pub(crate) executor: JobState,
    pub(crate) retention: JobState,
    /// The other BackupSessions of the same session.
    pub(crate) others: Vec<Arc<BackupSession>>,
    /// Whether its Jobs still may do something.
    pub(crate) bound: bool,
}

/// What a BackupSession makes in one repository.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) repository_name: String,
    pub(crate) repository: Option<Arc<Repository>>,
    pub(crate) snapshot_name: String,
    pub(crate) snapshot: Option<Arc<Snapshot>>,
}

impl View {
    /// The session in its BackupConfiguration.
    pub(crate) fn spec(&self) -> Option<&Session> {
        session_of(self.configuration.as_deref()?, &self.session)
    }
}

/// The session of a BackupConfiguration that a BackupSession is one run of.
pub(crate) fn session_of<'a>(configuration: &'a BackupConfiguration, session: &BackupSession) -> Option<&'a Session> {
    configuration.spec.sessions.iter().find(|one| one.name == session.spec.session)
}

/// What the caches know, and where they lack something that must be there, the API server.
pub(crate) async fn of(session: &Arc<BackupSession>, context: &Context) -> Result<View, Error> {
    let (namespace, name) = (session.namespace().unwrap_or_default(), session.name_any());
    let stores = &context.stores;
    let invoker = session.spec.invoker.as_ref().map(|invoker| invoker.name.clone()).unwrap_or_default();
    let session_name = session.spec.session.clone().unwrap_or_default();
    let status = session.status.as_ref();
    let is_open = !phase::session_is_final(status.and_then(|status| status.phase));
    let done = |type_| is_open && status.is_some_and(|status| condition::is_true(&status.conditions, type_));
    // Even if that failed, some may have been created.
    let tried = is_open && status.is_some_and(|status| condition::exists(&status.conditions, SNAPSHOTS_ENSURED));
    let mut parts = Vec::new();
    // What was decided at the start holds, whatever becomes of the configuration.
    for decided in status.map(|status| status.snapshots.as_slice()).unwrap_or_default() {
        let snapshot_name = decided.name.clone().unwrap_or_default();
        let repository_name = decided.repository.clone().unwrap_or_default();
        // Another's Snapshot of that name is none of it.
        let is_of = |snapshot: &Arc<Snapshot>| build::snapshot::is_of(snapshot, session, &repository_name);
        let mut snapshot = stores::get(&stores.snapshots, &namespace, &snapshot_name).filter(is_of);
        if snapshot.is_none() && tried {
            let read = apply::read(&context.client, &namespace, &snapshot_name).await?;
            snapshot = read.map(Arc::new).filter(is_of);
        }
        let repository = stores::get(&stores.repositories, &namespace, &repository_name);
        parts.push(Part { repository_name, repository, snapshot_name, snapshot });
    }
    let retention = retention_job(&name);
    let of = session.as_ref();
    // An operator that was killed may have created a Job without having said so.
    let executor_may_be = done(SNAPSHOTS_ENSURED);
    let noted = status.is_some_and(|status| !status.retention_policy.is_empty());
    Ok(View {
        parts,
        executor: jobs::state(context, of, (&namespace, &name), executor_may_be).await?,
        retention: jobs::state(context, of, (&namespace, &retention), is_open && noted).await?,
        others: stores
            .sessions_of(&namespace, &invoker)
            .into_iter()
            .filter(|other| other.name_any() != name && stores::is_of(other, &invoker, &session_name))
            .collect(),
        bound: !stores.bindings_of(&Invoker::of(of)).is_empty(),
        configuration: stores::get(&stores.configurations, &namespace, &invoker),
        session: Arc::clone(session),
    })
}

/// Names of the Snapshots that a session makes, with their repositories.
pub(crate) fn snapshots(session: &Session, backup_session: &str) -> Vec<(String, String)> {
    let repositories = session.repositories.iter().filter_map(|repository| repository.name.clone());
    repositories.map(|repository| (names::snapshot(&repository, backup_session), repository)).collect()
}
