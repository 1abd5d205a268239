//! The Snapshot controller: what follows from the facts that Jobs write, and what becomes of the data on deletion.

use std::sync::Arc;
use std::time::Duration;

use coffer_api::condition::{self, BACKUP_INCOMPLETE};
use coffer_api::core::BackupSession;
use coffer_api::shared::{DeletionPolicy, SnapshotPhase};
use coffer_api::storage::{Snapshot, SnapshotStatus};
use coffer_api::{phase, size};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use kube::runtime::controller::Action;

use crate::build::Invoker;
use crate::context::Context;
use crate::controller::Controller;
use crate::error::Error;
use crate::events::{self, Note};
use crate::kstatus::{self, State};
use crate::wipe::{self, Wipe};
use crate::{apply, jobs, repository, stores, writers};

/// How long a Snapshot may be without a session that is at work. A Job that brings Snapshots back from a storage first
/// creates them and then writes their state.
const ORPHAN_PATIENCE: Duration = Duration::from_mins(5);

/// The controller of Snapshots.
pub(crate) struct Snapshots;

impl Controller for Snapshots {
    type Object = Snapshot;
    const NAME: &'static str = "snapshot";

    fn reconcile(snapshot: Arc<Snapshot>, context: Arc<Context>) -> BoxFuture<'static, Result<Action, Error>> {
        async move { reconcile(&snapshot, &context).await }.boxed()
    }
}

async fn reconcile(snapshot: &Snapshot, context: &Context) -> Result<Action, Error> {
    if snapshot.metadata.deletion_timestamp.is_some() {
        return delete(snapshot, context).await;
    }
    if snapshot.spec.paused == Some(true) {
        return Ok(Action::await_change());
    }
    if apply::add_finalizer(&context.client, snapshot).await? {
        return Ok(Action::await_change());
    }
    let mut status = snapshot.status.clone().unwrap_or_default();
    let mut again = None;
    if !phase::is_final(phase::snapshot(&status)) {
        match orphaned(snapshot, context).await? {
            Some(Duration::ZERO) => {
                let why = "its BackupSession has ended, or is gone, and nothing works on it";
                condition::set(&mut status.conditions, BACKUP_INCOMPLETE.holds_because(why), context.now());
            }
            patience => again = patience,
        }
    }
    conclude(snapshot, &mut status, context.now());
    if apply::patch_status(&context.client, snapshot, snapshot.status.as_ref(), &status).await? {
        publish(snapshot, &status, context).await;
    }
    Ok(again.map_or_else(Action::await_change, Action::requeue))
}

/// How much longer to wait for the session of an unfinished Snapshot; `None` if it is there and has not ended.
async fn orphaned(snapshot: &Snapshot, context: &Context) -> Result<Option<Duration>, Error> {
    let namespace = snapshot.namespace().unwrap_or_default();
    let session = snapshot.spec.backup_session.as_deref().unwrap_or_default();
    let ended =
        |session: &BackupSession| phase::session_is_final(session.status.as_ref().and_then(|status| status.phase));
    if stores::get(&context.stores.sessions, &namespace, session).is_some_and(|session| !ended(&session)) {
        return Ok(None);
    }
    let age = snapshot.creation_timestamp().map(|created| context.now().duration_since(created.0));
    let age = age.and_then(|age| Duration::try_from(age).ok()).unwrap_or_default();
    match ORPHAN_PATIENCE.checked_sub(age).filter(|left| !left.is_zero()) {
        Some(left) => Ok(Some(left)),
        None if session.is_empty() => Ok(Some(Duration::ZERO)),
        None => {
            let found = apply::read::<BackupSession>(&context.client, &namespace, session).await?;
            Ok(found.is_none_or(|found| ended(&found)).then_some(Duration::ZERO))
        }
    }
}

/// Everything that follows from the facts.
fn conclude(snapshot: &Snapshot, status: &mut SnapshotStatus, now: Timestamp) {
    let before = status.clone();
    status.observed_generation = snapshot.metadata.generation;
    let phase = phase::snapshot(status);
    status.phase = Some(phase);
    status.integrity = phase::snapshot_integrity(status);
    let sizes: Vec<_> = status.components.values().filter_map(|one| one.size.as_deref()).collect();
    if !sizes.is_empty() {
        status.size = Some(size::sum(sizes));
    }
    let state = match phase {
        SnapshotPhase::Succeeded => State::Ready,
        SnapshotPhase::Failed => State::Stalled(failure(status)),
        SnapshotPhase::Pending => State::Reconciling("the backup has not begun".to_owned()),
        SnapshotPhase::Running => State::Reconciling("the backup is being taken".to_owned()),
    };
    kstatus::set(&mut status.conditions, &state, snapshot.metadata.generation, now);
    if *status != before {
        status.last_update_time = Some(Time(now));
    }
}

/// Why a Snapshot failed.
fn failure(status: &SnapshotStatus) -> String {
    let errors =
        status.components.iter().filter_map(|(name, one)| one.error.as_ref().map(|error| format!("{name}: {error}")));
    let conditions = status.conditions.iter().filter(|one| {
        one.type_ == BACKUP_INCOMPLETE.name
            || [condition::SNAPSHOT_METADATA_UPLOADED, condition::RECENT_SNAPSHOT_LIST_UPDATED]
                .iter()
                .any(|type_| one.type_ == type_.name && condition::is_false(&status.conditions, *type_))
    });
    let mut all: Vec<_> = errors.collect();
    if all.is_empty() {
        all.extend(conditions.filter_map(|one| one.message.clone()));
    }
    if all.is_empty() { "the backup failed".to_owned() } else { all.join("; ") }
}

async fn publish(snapshot: &Snapshot, status: &SnapshotStatus, context: &Context) {
    let before = snapshot.status.as_ref();
    let conditions = before.map(|status| status.conditions.as_slice()).unwrap_or_default();
    let mut notes = events::of_conditions(conditions, &status.conditions);
    if status.phase == Some(SnapshotPhase::Succeeded) && before.and_then(|one| one.phase) != status.phase {
        let size = status.size.as_deref().unwrap_or("unknown size");
        notes
            .push(Note::normal("SnapshotSucceeded", format!("the Snapshot is complete; its repositories have {size}")));
    }
    events::publish(&context.recorder, snapshot, notes).await;
}

/// A Snapshot takes its data with it only if its own policy says so, and only on its own: when its repository goes, that
/// one's policy decides.
async fn delete(snapshot: &Snapshot, context: &Context) -> Result<Action, Error> {
    if !apply::has_finalizer(snapshot) {
        return Ok(Action::await_change());
    }
    let namespace = snapshot.namespace().unwrap_or_default();
    let repository = snapshot.spec.repository.as_deref().unwrap_or_default();
    let repository = stores::get(&context.stores.repositories, &namespace, repository)
        .filter(|repository| repository.metadata.deletion_timestamp.is_none());
    if snapshot.spec.deletion_policy == DeletionPolicy::WipeOut
        && let Some(repository) = repository
        && let Some(storage) = wipe::storage_of(snapshot, &repository, context).await
    {
        let mut work = repository::cleaner(&repository, &storage, ("Snapshot", &snapshot.name_any()), context)?;
        // To forget some of a repository takes its password.
        if let Some(secret) = &repository.spec.encryption_secret {
            work.reach.secret(secret, &namespace, &context.stores);
        }
        let writer = writers::of_snapshot(context, snapshot);
        if let Wipe::Working(again) = wipe::drive(context, snapshot, &work, writer).await? {
            return Ok(Action::requeue(again));
        }
    }
    jobs::remove_all(context, &Invoker::of(snapshot)).await?;
    apply::remove_finalizer(&context.client, snapshot).await?;
    Ok(Action::await_change())
}

#[cfg(test)]
#[expect(clippy::needless_pass_by_value, reason = "JSON literals are handed over as they are")]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn concluded(status: Value) -> SnapshotStatus {
        let snapshot: Snapshot = serde_json::from_value(json!({
            "apiVersion": "storage.kubestash.com/v1alpha1", "kind": "Snapshot",
            "metadata": {"name": "s", "generation": 1}, "spec": {}, "status": status,
        }))
        .unwrap();
        let mut status = snapshot.status.clone().unwrap();
        conclude(&snapshot, &mut status, Timestamp::UNIX_EPOCH);
        status
    }

    #[test]
    fn a_snapshot_is_what_its_components_are() {
        let status = concluded(json!({
            "totalComponents": 1,
            "components": {"dump": {"phase": "Succeeded", "size": "2.000 MiB", "integrity": true}},
            "conditions": [{"type": "SnapshotMetadataUploaded", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
        }));
        assert_eq!(status.phase, Some(SnapshotPhase::Succeeded));
        assert_eq!(status.size.as_deref(), Some("2.000 MiB"));
        assert_eq!(status.integrity, Some(true));
        assert!(condition::is_true(&status.conditions, condition::READY));
        assert!(status.last_update_time.is_some());
    }

    #[test]
    fn a_failed_snapshot_says_why() {
        let status = concluded(json!({
            "totalComponents": 1, "components": {"dump": {"phase": "Failed", "error": "access denied"}},
        }));
        assert_eq!(status.phase, Some(SnapshotPhase::Running), "until its metadata is written, KubeStash's rule");
        let status = concluded(json!({
            "totalComponents": 1, "components": {"dump": {"phase": "Failed", "error": "access denied"}},
            "conditions": [{"type": "BackupIncomplete", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z", "message": "evicted"}],
        }));
        let stalled = condition::find(&status.conditions, condition::STALLED).unwrap();
        assert_eq!(stalled.message.as_deref(), Some("dump: access denied"));
    }

    #[test]
    fn nothing_new_changes_nothing() {
        let once = concluded(json!({"totalComponents": 1, "components": {"dump": {"phase": "Running"}}}));
        let snapshot: Snapshot = serde_json::from_value(json!({
            "apiVersion": "storage.kubestash.com/v1alpha1", "kind": "Snapshot",
            "metadata": {"name": "s", "generation": 1}, "spec": {}, "status": once,
        }))
        .unwrap();
        let mut twice = once.clone();
        conclude(&snapshot, &mut twice, Timestamp::from_second(99).unwrap());
        assert_eq!(once, twice);
    }
}
