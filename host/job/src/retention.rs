//! `retention`: after a BackupSession, the `RetentionPolicies` of its repositories are applied.

use std::collections::BTreeSet;

use coffer_api::core::{
    BackupConfiguration, BackupSession, BackupSessionStatus, RetentionPolicyApplyPhase, RetentionPolicyApplyStatus,
};
use coffer_api::meta::annotation;
use coffer_api::retention::stale;
use coffer_api::shared::{ObjectReference, SnapshotPhase};
use coffer_api::storage::{Repository, RetentionPolicy, Snapshot};
use coffer_api::{ResourceExt as _, phase};
use jiff::Timestamp;
use serde_json::json;

use crate::conclude::{refresh, snapshots};
use crate::error::JobError;
use crate::forget::forget;
use crate::{End, Job, facts, files};

/// Applies the `RetentionPolicies` of a BackupSession: those that the operator has written down in its status before it made this Job.
///
/// # Errors
/// When a policy could not be applied anywhere, or the outcome could not be written. The status has the outcome of each repository.
pub fn retention(job: &Job, namespace: &str, name: &str) -> Result<End, JobError> {
    let session: BackupSession = job.required(namespace, name)?;
    let status = session.status.clone().unwrap_or_default();
    let refused = |why: &str| {
        JobError::refused(
            format!("nothing is removed after BackupSession {namespace}/{name}"),
            why,
            "the next BackupSession removes what is too old",
        )
    };
    if phase::session_is_final(status.phase) {
        return if all_applied(&status) { Ok(End::Done) } else { Err(refused("it has ended")) };
    }
    let mut outcomes = Vec::new();
    let mut errors = Vec::new();
    // What an earlier run of this Job has said of a repository stands.
    for open in status.retention_policy.iter().filter(|one| is_open(one)) {
        let repository = open.repository.clone().unwrap_or_default();
        let policy = open.reference.clone().unwrap_or_default();
        let result = apply(job, &session, &repository, &policy);
        let (phase, error) = match result {
            Ok(()) => (RetentionPolicyApplyPhase::Applied, None),
            Err(error) => {
                tracing::error!("repository {repository}: {error}");
                let text = facts::error_text(&error.to_string());
                errors.push(error);
                (RetentionPolicyApplyPhase::FailedToApply, Some(text))
            }
        };
        outcomes.push(RetentionPolicyApplyStatus { phase: Some(phase), error, ..open.clone() });
    }
    let written = job.edit_status::<BackupSession>(namespace, name, |now| {
        let now = now.status.clone().unwrap_or_default();
        let told = told(&now, &outcomes);
        (told != now.retention_policy).then(|| json!({ "retentionPolicy": told }))
    })?;
    let status = written.status.unwrap_or_default();
    let applied = |one: &&RetentionPolicyApplyStatus| one.phase == Some(RetentionPolicyApplyPhase::Applied);
    match (errors.into_iter().next(), status.retention_policy.iter().filter(applied).count()) {
        _ if all_applied(&status) => Ok(End::Done),
        (Some(error), 0) => Err(error),
        (None, 0) => Err(refused("an earlier run of this Job failed")),
        _ => Ok(End::Partial),
    }
}

fn is_open(one: &RetentionPolicyApplyStatus) -> bool {
    !matches!(one.phase, Some(RetentionPolicyApplyPhase::Applied | RetentionPolicyApplyPhase::FailedToApply))
}

fn all_applied(status: &BackupSessionStatus) -> bool {
    status.retention_policy.iter().all(|one| one.phase == Some(RetentionPolicyApplyPhase::Applied))
}

/// The list with the outcomes in it. What is final stays: the operator may have given this run up.
fn told(status: &BackupSessionStatus, outcomes: &[RetentionPolicyApplyStatus]) -> Vec<RetentionPolicyApplyStatus> {
    let ended = phase::session_is_final(status.phase);
    let outcome = |one: &RetentionPolicyApplyStatus| {
        let ours = outcomes.iter().find(|outcome| outcome.repository == one.repository);
        ours.filter(|_| !ended && is_open(one)).unwrap_or(one).clone()
    };
    status.retention_policy.iter().map(outcome).collect()
}

/// Whether the newest backup that was checked is damaged. What an older one is worth is not known then.
fn damaged(snapshots: &[Snapshot]) -> bool {
    let checked = |snapshot: &&Snapshot| {
        let status = snapshot.status.as_ref();
        status.is_some_and(|status| status.phase == Some(SnapshotPhase::Succeeded) && status.integrity.is_some())
    };
    let time = |snapshot: &&Snapshot| {
        snapshot.status.as_ref().and_then(|status| status.snapshot_time.as_ref()).map(|time| time.0)
    };
    let newest = snapshots.iter().filter(checked).max_by_key(time);
    newest.and_then(|snapshot| snapshot.status.as_ref()).is_some_and(|status| status.integrity == Some(false))
}

/// The BackupConfiguration whose session took a Snapshot, where that is known.
fn configuration_of(snapshot: &Snapshot) -> Option<&String> {
    snapshot.annotations().get(annotation::CONFIGURATION)
}

/// The other BackupConfigurations that have a session of this name for the repository: what theirs have taken is theirs to judge.
fn others(
    job: &Job,
    session: &BackupSession,
    repository: &str,
    all: &[Snapshot],
) -> Result<BTreeSet<String>, JobError> {
    let namespace = session.namespace().unwrap_or_default();
    let ours = session.spec.invoker.as_ref().map(|invoker| &invoker.name);
    let mut others: BTreeSet<String> = BTreeSet::new();
    for name in all.iter().filter_map(configuration_of).filter(|name| Some(*name) != ours).collect::<BTreeSet<_>>() {
        let found: Option<BackupConfiguration> = job.objects().get(&namespace, name)?;
        let sessions = found.iter().flat_map(|found| &found.spec.sessions);
        let mut same = sessions.filter(|one| one.name == session.spec.session).flat_map(|one| &one.repositories);
        if same.any(|one| one.name.as_deref() == Some(repository)) {
            others.insert(name.clone());
        }
    }
    Ok(others)
}

/// The moment of the session's own Snapshot, or of the session: by the API server's clock, as are those of all others. A node's clock may be far off.
fn now(session: &BackupSession, all: &[Snapshot]) -> Timestamp {
    let name = session.name_any();
    let own = all.iter().filter(|one| one.spec.backup_session.as_deref() == Some(&name));
    let taken = own.filter_map(|one| one.status.as_ref()?.snapshot_time.as_ref().map(|time| time.0)).max();
    let created = session.creation_timestamp().map(|time| time.0);
    taken.max(created).unwrap_or_else(Timestamp::now)
}

fn apply(job: &Job, session: &BackupSession, repository: &str, policy: &ObjectReference) -> Result<(), JobError> {
    let namespace = &session.namespace().unwrap_or_default();
    let owner = policy.namespace.as_deref().unwrap_or(namespace);
    let policy: RetentionPolicy = job.required(owner, &policy.name)?;
    let mut all = snapshots(job, namespace, repository)?;
    // Other sessions of the repository apply their own policy.
    all.retain(|snapshot| snapshot.spec.session == session.spec.session);
    // A check is of all that is in the repository, whoever's backup it followed.
    if damaged(&all) {
        return Err(JobError::refused(
            format!("nothing is removed from Repository {namespace}/{repository}"),
            "the last check found its newest backup damaged",
            "look with coffer check --read-data; older backups may be the only good ones",
        ));
    }
    let others = others(job, session, repository, &all)?;
    all.retain(|snapshot| configuration_of(snapshot).is_none_or(|one| !others.contains(one)));
    let stale = stale(&policy.spec, &all, now(session, &all)).map_err(|error| {
        JobError::refused(
            format!("RetentionPolicy {owner}/{} is not applied", policy.name_any()),
            error.to_string(),
            "correct spec.maxRetentionPeriod",
        )
    })?;
    if stale.is_empty() {
        return Ok(());
    }
    let object: Repository = job.required(namespace, repository)?;
    let going: Vec<&Snapshot> = stale.iter().map(|one| one.snapshot).collect();
    for one in &stale {
        tracing::info!("Snapshot {namespace}/{} goes: {:?}", one.snapshot.name_any(), one.reason);
    }
    // The data first: while the object is there, a run that is killed can be repeated.
    forget(job, &object, &going)?;
    let storage = files::open_of(job, &object)?;
    for snapshot in going {
        files::delete_snapshot(&storage, &object, snapshot)?;
        job.delete(snapshot)?;
    }
    refresh(job, namespace, repository, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policies(session: Option<&str>, phases: &[(&str, Option<&str>)]) -> BackupSessionStatus {
        let one = |(repository, phase): &(&str, Option<&str>)| json!({ "repository": repository, "phase": phase });
        let all: Vec<_> = phases.iter().map(one).collect();
        serde_json::from_value(json!({ "phase": session, "retentionPolicy": all })).unwrap()
    }

    #[test]
    fn an_outcome_replaces_what_is_open_and_nothing_else() {
        let outcomes = policies(None, &[("a", Some("Applied")), ("b", Some("Applied"))]).retention_policy;
        let said = |status: &BackupSessionStatus| told(status, &outcomes);
        let open = policies(Some("Running"), &[("a", Some("Pending")), ("b", None), ("c", Some("Pending"))]);
        let expected = policies(None, &[("a", Some("Applied")), ("b", Some("Applied")), ("c", Some("Pending"))]);
        assert_eq!(said(&open), expected.retention_policy);
        let given_up = policies(Some("Running"), &[("a", Some("FailedToApply")), ("b", Some("Pending"))]);
        let expected = policies(None, &[("a", Some("FailedToApply")), ("b", Some("Applied"))]);
        assert_eq!(said(&given_up), expected.retention_policy);
        let ended = policies(Some("Failed"), &[("a", Some("Pending"))]);
        assert_eq!(said(&ended), ended.retention_policy);
    }
}
