//! Dereference: what the state of a RestoreSession depends on.

use std::sync::Arc;

use coffer_api::core::{DataSource, RestoreSession};
use coffer_api::phase;
use coffer_api::shared::{ResourceFoundStatus, SnapshotPhase, TypedObjectReference};
use coffer_api::storage::{BackupStorage, GROUP, Snapshot};
use kube::ResourceExt as _;

use crate::build::Invoker;
use crate::context::Context;
use crate::error::Error;
use crate::job_state::JobState;
use crate::reach::Reach;
use crate::restore_session::pause;
use crate::tasks::{self, Direction};
use crate::{backends, jobs, stores};

/// What the state of a RestoreSession depends on.
#[derive(Debug)]
pub(super) struct View {
    pub(super) session: Arc<RestoreSession>,
    pub(super) target_found: Option<bool>,
    pub(super) storage: Option<Arc<BackupStorage>>,
    /// What its Job reaches.
    pub(super) reach: Reach,
    /// What has to be there before it can begin, and is not.
    pub(super) missing: Vec<String>,
    pub(super) dependencies: Vec<ResourceFoundStatus>,
    pub(super) executor: JobState,
    /// The BackupConfigurations of the same target that it has to pause.
    pub(super) to_pause: Vec<TypedObjectReference>,
    /// Whether backups are still paused for it.
    pub(super) holds: bool,
    /// Whether its Jobs still may do something.
    pub(super) bound: bool,
}

pub(super) async fn of(session: &Arc<RestoreSession>, context: &Context) -> Result<View, Error> {
    let (namespace, name) = (session.namespace().unwrap_or_default(), session.name_any());
    let stores = &context.stores;
    let spec = &session.spec;
    let data = spec.data_source.clone().unwrap_or_default();
    let source_namespace = data.namespace.clone().unwrap_or_else(|| namespace.clone());
    let mut missing = Vec::new();
    let mut reach = Reach::within(&namespace);
    let target_found = spec.target.as_ref().map(|target| {
        let place = target.namespace.as_deref().unwrap_or(&namespace);
        if !reach.target(target, stores) {
            return false;
        }
        let found = stores::get(&stores.apps, place, &target.name).is_some();
        if !found {
            missing.push(format!("AppBinding {place}/{} of its target not found; create it", target.name));
        }
        found
    });
    missing.extend(tasks::resolve(stores, spec.addon.as_ref(), Direction::Restore).err().into_iter().flatten());
    // What there is where it may not look is not its business.
    let is_open = reach.source(&source_namespace, stores);
    let (snapshot, problem) = if is_open { snapshot(&data, &source_namespace, context) } else { (None, None) };
    missing.extend(problem);
    let repository = data.repository.clone().or_else(|| snapshot.as_ref()?.spec.repository.clone());
    let repository = repository.filter(|_| is_open);
    let repository = repository.and_then(|name| {
        let found = stores::get(&stores.repositories, &source_namespace, &name);
        if found.is_none() {
            missing.push(format!("Repository {source_namespace}/{name} not found; create it, or correct dataSource"));
        }
        found
    });
    let storage = repository.as_ref().and_then(|repository| {
        let part = backends::storage(repository.spec.storage_ref.as_ref(), &source_namespace, stores);
        // The namespace of the source may use the storage; so must this one, for its Job reads the Secret.
        if let Some(storage) = part.object.as_ref().filter(|_| !part.forbidden) {
            reach.storage(storage, stores);
        }
        missing.extend(part.problem);
        part.object.filter(|_| !part.forbidden)
    });
    let of_repository = repository.as_ref().and_then(|repository| repository.spec.encryption_secret.as_ref());
    match (&data.encryption_secret, of_repository) {
        (Some(secret), _) => reach.secret(secret, &namespace, stores),
        (None, Some(secret)) => reach.secret(secret, &source_namespace, stores),
        (None, None) => {}
    }
    missing.extend(reach.refused().iter().cloned());
    let mut dependencies: Vec<_> = tasks::dependency(stores, spec.addon.as_ref()).into_iter().collect();
    if let Some(wanted) = data.snapshot.as_deref().filter(|name| *name != "latest" && !is_restic_id(name)) {
        dependencies.push(ResourceFoundStatus {
            api_group: Some(GROUP.to_owned()),
            kind: Some("Snapshot".to_owned()),
            namespace: Some(source_namespace.clone()),
            name: wanted.to_owned(),
            found: Some(snapshot.is_some()),
        });
    }
    let status = session.status.as_ref();
    let is_open = !phase::restore_is_final(status.and_then(|status| status.phase));
    // An operator that was killed may have created the Job without having said so.
    let begun = is_open && status.is_some_and(|status| status.total_components.is_some());
    Ok(View {
        executor: jobs::state(context, session.as_ref(), (&namespace, &name), begun).await?,
        to_pause: pause::to_pause(session, context),
        holds: pause::holds(session, context),
        bound: !stores.bindings_of(&Invoker::of(session.as_ref())).is_empty(),
        session: Arc::clone(session),
        target_found,
        storage,
        reach,
        missing,
        dependencies,
    })
}

/// The Snapshot that a data source means, if it can be known here, and what is wrong with it.
fn snapshot(data: &DataSource, namespace: &str, context: &Context) -> (Option<Arc<Snapshot>>, Option<String>) {
    let succeeded =
        |snapshot: &Snapshot| phase::snapshot(&snapshot.status.clone().unwrap_or_default()) == SnapshotPhase::Succeeded;
    let name = data.snapshot.as_deref().unwrap_or_default();
    if data.pitr.is_some() || name == "latest" {
        let Some(repository) = &data.repository else { return (None, None) };
        let any = context.stores.snapshots_of(namespace, repository).iter().any(|one| {
            let taken = one.status.as_ref().and_then(|status| status.snapshot_time.as_ref());
            let wanted = data.pitr.as_ref().and_then(|pitr| pitr.target_time.as_ref());
            let in_time = match (wanted, taken) {
                (Some(wanted), Some(taken)) => taken.0 <= wanted.0,
                (Some(_), None) => false,
                (None, _) => true,
            };
            succeeded(one) && in_time && one.metadata.deletion_timestamp.is_none()
        });
        let none = format!("Repository {namespace}/{repository} has no successful Snapshot that fits yet");
        return (None, (!any).then_some(none));
    }
    match stores::get(&context.stores.snapshots, namespace, name) {
        Some(snapshot) if succeeded(&snapshot) => (Some(snapshot), None),
        Some(snapshot) => {
            let phase = phase::snapshot(&snapshot.status.clone().unwrap_or_default());
            (Some(snapshot), Some(format!("Snapshot {namespace}/{name} is {phase:?}; choose one that succeeded")))
        }
        None if is_restic_id(name) => (None, None),
        None => (None, Some(format!("Snapshot {namespace}/{name} not found; correct dataSource.snapshot"))),
    }
}

/// Whether a text may be the id of a restic snapshot, in full or its begin.
pub(super) fn is_restic_id(text: &str) -> bool {
    (4..=64).contains(&text.len()) && text.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'))
}
