//! `retention`: after a BackupSession, the RetentionPolicies of its repositories are applied.

use coffer_api::ResourceExt as _;
use coffer_api::core::{
    BackupConfiguration, BackupSession, RepositoryReference, RetentionPolicyApplyPhase, RetentionPolicyApplyStatus,
    Session,
};
use coffer_api::retention::stale;
use coffer_api::shared::{ObjectReference, SnapshotPhase};
use coffer_api::storage::{Repository, RetentionPolicy, Snapshot};
use jiff::Timestamp;
use serde_json::json;

use crate::conclude::{refresh, snapshots};
use crate::error::JobError;
use crate::forget::forget;
use crate::{End, Job, facts, files};

/// Applies the RetentionPolicies of a BackupSession's repositories.
///
/// # Errors
/// When a policy could not be applied anywhere, or the outcome could not be written. The status has the outcome of each repository.
pub fn retention(job: &Job, namespace: &str, name: &str) -> Result<End, JobError> {
    let objects = job.objects();
    let backup: BackupSession = objects.required(namespace, name)?;
    let invoker = backup.spec.invoker.as_ref().map(|invoker| invoker.name.clone()).unwrap_or_default();
    let configuration: BackupConfiguration = objects.required(namespace, &invoker)?;
    let wanted = backup.spec.session.as_deref();
    let session = configuration.spec.sessions.iter().find(|one| one.name.as_deref() == wanted).ok_or_else(|| {
        JobError::refused(
            format!("nothing is removed after BackupSession {namespace}/{name}"),
            format!("BackupConfiguration {invoker} has no session {} any more", wanted.unwrap_or_default()),
            "remove what is too old by hand",
        )
    })?;
    let mut outcomes = Vec::new();
    let mut errors = Vec::new();
    for repository in &session.repositories {
        let Some(policy) = policy_of(&configuration, repository) else { continue };
        let name = repository.name.clone().unwrap_or_default();
        let result = apply(job, namespace, session, &name, &policy);
        let (phase, error) = match result {
            Ok(()) => (RetentionPolicyApplyPhase::Applied, None),
            Err(error) => {
                tracing::error!("repository {name}: {error}");
                let text = facts::error_text(&error.to_string());
                errors.push(error);
                (RetentionPolicyApplyPhase::FailedToApply, Some(text))
            }
        };
        outcomes.push(RetentionPolicyApplyStatus {
            reference: Some(policy),
            repository: Some(name),
            phase: Some(phase),
            error,
        });
    }
    objects.edit_status::<BackupSession>(namespace, name, |_| Some(json!({ "retentionPolicy": outcomes })))?;
    let failed = errors.len();
    match errors.into_iter().next() {
        None => Ok(End::Done),
        Some(error) if failed == outcomes.len() => Err(error),
        Some(_) => Ok(End::Partial),
    }
}

/// The RetentionPolicy of a repository: of its backend as written, or as the operator has found it.
fn policy_of(configuration: &BackupConfiguration, repository: &RepositoryReference) -> Option<ObjectReference> {
    let namespace = configuration.namespace();
    let backends = &configuration.spec.backends;
    let wanted = repository.backend.as_deref().filter(|name| !name.is_empty());
    let written = match (wanted, backends.as_slice()) {
        (None, [only]) => Some(only),
        _ => backends.iter().find(|backend| backend.name.as_deref() == wanted),
    };
    let written = written.and_then(|backend| backend.retention_policy.clone());
    let found = || {
        let backends = &configuration.status.as_ref()?.backends;
        let ours = match (wanted, backends.as_slice()) {
            (None, [only]) => Some(only),
            _ => backends.iter().find(|backend| backend.name.as_deref().filter(|name| !name.is_empty()) == wanted),
        };
        ours?.retention_policy.as_ref()?.reference.clone()
    };
    let mut policy = written.or_else(found)?;
    policy.namespace = policy.namespace.or(namespace);
    Some(policy)
}

/// Whether the newest backup that was taken is known to be damaged. What an older one is worth is not known then.
fn damaged(snapshots: &[Snapshot]) -> bool {
    let taken = |snapshot: &&Snapshot| {
        snapshot.status.as_ref().is_some_and(|status| status.phase == Some(SnapshotPhase::Succeeded))
    };
    let time = |snapshot: &&Snapshot| {
        snapshot.status.as_ref().and_then(|status| status.snapshot_time.as_ref()).map(|time| time.0)
    };
    let newest = snapshots.iter().filter(taken).max_by_key(time);
    newest.and_then(|snapshot| snapshot.status.as_ref()).is_some_and(|status| status.integrity == Some(false))
}

fn apply(
    job: &Job,
    namespace: &str,
    session: &Session,
    repository: &str,
    policy: &ObjectReference,
) -> Result<(), JobError> {
    let objects = job.objects();
    let owner = policy.namespace.as_deref().unwrap_or(namespace);
    let policy: RetentionPolicy = objects.required(owner, &policy.name)?;
    let mut all = snapshots(job, namespace, repository)?;
    // Other sessions of the repository apply their own policy.
    all.retain(|snapshot| snapshot.spec.session == session.name);
    if damaged(&all) {
        return Err(JobError::refused(
            format!("nothing is removed from Repository {namespace}/{repository}"),
            "the last check found its newest backup damaged",
            "look with coffer check --read-data; older backups may be the only good ones",
        ));
    }
    let stale = stale(&policy.spec, &all, Timestamp::now()).map_err(|error| {
        JobError::refused(
            format!("RetentionPolicy {owner}/{} is not applied", policy.name_any()),
            error.to_string(),
            "correct spec.maxRetentionPeriod",
        )
    })?;
    if stale.is_empty() {
        return Ok(());
    }
    let object: Repository = objects.required(namespace, repository)?;
    let going: Vec<&Snapshot> = stale.iter().map(|one| one.snapshot).collect();
    for one in &stale {
        tracing::info!("Snapshot {namespace}/{} goes: {:?}", one.snapshot.name_any(), one.reason);
    }
    // The data first: while the object is there, a run that is killed can be repeated.
    forget(job, &object, &going)?;
    let storage = files::open_of(job, &object)?;
    for snapshot in going {
        storage.delete_snapshot(files::directory(&object)?, &snapshot.name_any())?;
        objects.delete(snapshot)?;
    }
    refresh(job, namespace, repository, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configuration(spec: serde_json::Value, status: serde_json::Value) -> BackupConfiguration {
        serde_json::from_value(json!({
            "apiVersion": "core.kubestash.com/v1alpha1", "kind": "BackupConfiguration",
            "metadata": { "name": "bc", "namespace": "demo" },
            "spec": { "backends": spec }, "status": { "backends": status },
        }))
        .unwrap()
    }

    #[test]
    fn the_policy_is_the_one_of_the_backend() {
        let backend = |name: &str, policy: &str| json!({ "name": name, "retentionPolicy": { "name": policy } });
        let of = |configuration: &BackupConfiguration, backend: Option<&str>| {
            let repository =
                RepositoryReference { backend: backend.map(str::to_owned), ..RepositoryReference::default() };
            policy_of(configuration, &repository).map(|policy| (policy.namespace.unwrap(), policy.name))
        };
        let found = |name: &str| Some(("demo".to_owned(), name.to_owned()));
        let two = configuration(json!([backend("gcs", "keep-5"), backend("s3", "keep-9")]), json!([]));
        assert_eq!(of(&two, Some("s3")), found("keep-9"));
        assert_eq!(of(&two, None), None);
        let one = configuration(json!([backend("gcs", "keep-5")]), json!([]));
        assert_eq!(of(&one, None), found("keep-5"));
        let reference = json!({ "ref": { "name": "default", "namespace": "policies" } });
        let default =
            configuration(json!([{ "name": "gcs" }]), json!([{ "name": "gcs", "retentionPolicy": reference }]));
        assert_eq!(of(&default, Some("gcs")), Some(("policies".to_owned(), "default".to_owned())));
        let nothing = configuration(json!([]), json!([{ "retentionPolicy": reference }]));
        assert_eq!(of(&nothing, None), Some(("policies".to_owned(), "default".to_owned())));
    }
}
