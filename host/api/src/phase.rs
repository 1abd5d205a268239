//! Phases, computed from what is written in a status. Nothing but these functions decides a phase.
//!
//! Where KubeStash's own rule could end in a phase that never ends, or call a backup complete that is not, the
//! stricter answer is given; such places say so.

use std::collections::BTreeMap;

use crate::condition::{
    BACKEND_INITIALIZED, BACKEND_SECRET_FOUND, BACKUP_EXECUTOR_ENSURED, BACKUP_INCOMPLETE, BACKUP_SKIPPED,
    BACKUP_VERIFICATION_SKIPPED, BACKUP_VERIFIED, METRICS_PUSHED, POST_BACKUP_HOOKS_SUCCEEDED,
    POST_RESTORE_HOOKS_SUCCEEDED, PRE_BACKUP_HOOKS_SUCCEEDED, PRE_RESTORE_HOOKS_SUCCEEDED,
    RECENT_SNAPSHOT_LIST_UPDATED, REPOSITORY_INITIALIZED, RESTORE_EXECUTOR_ENSURED, RESTORE_INCOMPLETE,
    RESTORE_SUCCEEDED, SCHEDULER_ENSURED, SESSION_HISTORY_CLEANED, SNAPSHOT_CLEANUP_INCOMPLETE,
    SNAPSHOT_METADATA_UPLOADED, SNAPSHOTS_ENSURED, VALIDATION_PASSED, VERIFICATION_SESSION_HISTORY_CLEANED, exists,
    find, is_false, is_true,
};
use crate::core::{
    BackupConfigurationSpec, BackupConfigurationStatus, BackupSessionPhase, BackupSessionStatus,
    BackupVerificationSessionStatus, InvokerPhase, RestoreComponent, RestorePhase, RestoreSessionStatus,
    RetentionPolicyApplyPhase, VerificationPhase,
};
use crate::shared::{Condition, ConditionStatus, SnapshotPhase};
use crate::storage::{RepositoryPhase, SnapshotComponent, SnapshotStatus, StoragePhase};

/// Phase of a BackupStorage: Ready once its backend is initialised, and its Secret, if it needs one, was found.
pub fn storage(conditions: &[Condition]) -> StoragePhase {
    let secret = find(conditions, BACKEND_SECRET_FOUND).is_none_or(|found| found.status == ConditionStatus::True);
    if is_true(conditions, BACKEND_INITIALIZED) && secret { StoragePhase::Ready } else { StoragePhase::NotReady }
}

/// Phase of a Repository: Ready once it is initialised.
pub fn repository(conditions: &[Condition]) -> RepositoryPhase {
    if is_true(conditions, REPOSITORY_INITIALIZED) { RepositoryPhase::Ready } else { RepositoryPhase::NotReady }
}

/// Phase of a Snapshot.
pub fn snapshot(status: &SnapshotStatus) -> SnapshotPhase {
    let conditions = &status.conditions;
    if is_false(conditions, SNAPSHOT_METADATA_UPLOADED)
        || is_false(conditions, RECENT_SNAPSHOT_LIST_UPDATED)
        || is_true(conditions, BACKUP_INCOMPLETE)
    {
        return SnapshotPhase::Failed;
    }
    if status.components.is_empty() {
        return SnapshotPhase::Pending;
    }
    if exists(conditions, SNAPSHOT_METADATA_UPLOADED) {
        return snapshot_components(&status.components, status.total_components);
    }
    SnapshotPhase::Running
}

/// What the components of a Snapshot add up to. One that failed is enough to fail, although others may still run.
///
/// Succeeded takes as many components as announced, and each that is there; KubeStash looks at the number alone.
pub fn snapshot_components(components: &BTreeMap<String, SnapshotComponent>, total: Option<i32>) -> SnapshotPhase {
    let count = |phase| components.values().filter(|component| component.phase == Some(phase)).count();
    if components.is_empty() {
        SnapshotPhase::Pending
    } else if count(SnapshotPhase::Failed) > 0 {
        SnapshotPhase::Failed
    } else if complete(count(SnapshotPhase::Succeeded), components.len(), total) {
        SnapshotPhase::Succeeded
    } else {
        SnapshotPhase::Running
    }
}

/// Whether `done` parts are all of `present` parts, and these all that were announced.
fn complete(done: usize, present: usize, total: Option<i32>) -> bool {
    done == present && total.and_then(|total| usize::try_from(total).ok()) == Some(done)
}

/// Whether a check after the backup found no error in any component; `None` until each component says so.
pub fn snapshot_integrity(status: &SnapshotStatus) -> Option<bool> {
    if status.components.values().any(|component| component.integrity == Some(false)) {
        return Some(false);
    }
    let complete = !status.components.is_empty()
        && complete(status.components.len(), status.components.len(), status.total_components);
    let all = status.components.values().all(|component| component.integrity == Some(true));
    (complete && all).then_some(true)
}

/// Phase of a BackupConfiguration. One without backends counts as one with the default backend.
pub fn backup_configuration(spec: &BackupConfigurationSpec, status: &BackupConfigurationStatus) -> InvokerPhase {
    if is_false(&status.conditions, VALIDATION_PASSED) {
        return InvokerPhase::Invalid;
    }
    let target = spec.target.is_none() || status.target_found == Some(true);
    let backends = status.backends.len() == spec.backends.len().max(1)
        && status.backends.iter().all(|backend| backend.ready == Some(true));
    let sessions = status.sessions.len() == spec.sessions.len()
        && status.sessions.iter().all(|session| is_true(&session.conditions, SCHEDULER_ENSURED));
    if target && backends && sessions { InvokerPhase::Ready } else { InvokerPhase::NotReady }
}

/// Phase of a BackupSession.
///
/// Once the last step is done (`MetricsPushed`), Snapshots that are missing or not final are failures: a session in which
/// nothing will happen any more is never Pending or Running. (KubeStash gives the phase of the Snapshots.)
pub fn backup_session(status: &BackupSessionStatus) -> BackupSessionPhase {
    let conditions = &status.conditions;
    if is_false(conditions, METRICS_PUSHED) {
        return BackupSessionPhase::Failed;
    }
    if is_true(conditions, BACKUP_SKIPPED) {
        return BackupSessionPhase::Skipped;
    }
    let snapshots = session_snapshots(status);
    if exists(conditions, METRICS_PUSHED) {
        let failed = session_failed(status) || snapshots != BackupSessionPhase::Succeeded;
        return if failed { BackupSessionPhase::Failed } else { BackupSessionPhase::Succeeded };
    }
    match snapshots {
        BackupSessionPhase::Pending => BackupSessionPhase::Pending,
        _ => BackupSessionPhase::Running,
    }
}

/// Whether a step beside the Snapshots themselves failed.
fn session_failed(status: &BackupSessionStatus) -> bool {
    let conditions = &status.conditions;
    let steps = [
        BACKUP_EXECUTOR_ENSURED,
        SNAPSHOTS_ENSURED,
        PRE_BACKUP_HOOKS_SUCCEEDED,
        POST_BACKUP_HOOKS_SUCCEEDED,
        SESSION_HISTORY_CLEANED,
    ];
    steps.iter().any(|step| is_false(conditions, *step))
        || is_true(conditions, SNAPSHOT_CLEANUP_INCOMPLETE)
        || retention_failed(status)
}

fn retention_failed(status: &BackupSessionStatus) -> bool {
    status.retention_policy.iter().any(|applied| applied.phase == Some(RetentionPolicyApplyPhase::FailedToApply))
}

/// What the Snapshots of a BackupSession add up to, going by its status.
///
/// Succeeded takes as many Snapshots as announced; KubeStash does not count them.
pub fn session_snapshots(status: &BackupSessionStatus) -> BackupSessionPhase {
    let phases: Vec<_> =
        status.snapshots.iter().map(|snapshot| snapshot.phase.unwrap_or(SnapshotPhase::Pending)).collect();
    let missing = status.total_snapshots.is_some_and(|total| usize::try_from(total) != Ok(phases.len()));
    if phases.iter().all(|phase| *phase == SnapshotPhase::Pending) {
        BackupSessionPhase::Pending
    } else if missing || phases.iter().any(|phase| !is_final(*phase)) {
        BackupSessionPhase::Running
    } else if phases.contains(&SnapshotPhase::Failed) {
        BackupSessionPhase::Failed
    } else {
        BackupSessionPhase::Succeeded
    }
}

/// Whether a Snapshot's phase, or a component's, will not change any more.
pub fn is_final(phase: SnapshotPhase) -> bool {
    matches!(phase, SnapshotPhase::Succeeded | SnapshotPhase::Failed)
}

/// Whether a BackupSession's phase will not change any more.
pub fn session_is_final(phase: Option<BackupSessionPhase>) -> bool {
    use BackupSessionPhase::{Failed, Skipped, Succeeded};
    matches!(phase, Some(Succeeded | Failed | Skipped))
}

/// Whether a RestoreSession's phase will not change any more.
pub fn restore_is_final(phase: Option<RestorePhase>) -> bool {
    use RestorePhase::{Failed, Invalid, Succeeded, Unknown};
    matches!(phase, Some(Succeeded | Failed | Invalid | Unknown))
}

/// Why a BackupSession failed, for hooks and notifications; `None` if nothing in it did.
pub fn session_failure(status: &BackupSessionStatus) -> Option<String> {
    let failed =
        status.conditions.iter().find(|condition| condition.status == ConditionStatus::False && !kstatus(condition));
    if let Some(message) = failed.and_then(|condition| condition.message.clone()) {
        return Some(message);
    }
    if status.snapshots.iter().any(|snapshot| snapshot.phase == Some(SnapshotPhase::Failed)) {
        return Some("one or more snapshots are failed".to_owned());
    }
    retention_failed(status).then(|| "one or more retention policies are failed to apply".to_owned())
}

/// Whether a condition is one of those that say how the operator is doing rather than how the work is.
fn kstatus(condition: &Condition) -> bool {
    use crate::condition::{READY, RECONCILING, STALLED};
    [READY, RECONCILING, STALLED].iter().any(|type_| type_.name == condition.type_)
}

/// Phase of a RestoreSession.
///
/// As with [`backup_session`], once the last step is done components that are missing or not final are failures.
pub fn restore_session(status: &RestoreSessionStatus) -> RestorePhase {
    let conditions = &status.conditions;
    if is_false(conditions, METRICS_PUSHED) {
        return RestorePhase::Failed;
    }
    if is_false(conditions, VALIDATION_PASSED) {
        return RestorePhase::Invalid;
    }
    let components = restore_components(&status.components, status.total_components);
    if exists(conditions, METRICS_PUSHED) {
        let failed = [PRE_RESTORE_HOOKS_SUCCEEDED, POST_RESTORE_HOOKS_SUCCEEDED, RESTORE_EXECUTOR_ENSURED]
            .iter()
            .any(|step| is_false(conditions, *step))
            || is_true(conditions, RESTORE_INCOMPLETE);
        return match components {
            _ if failed => RestorePhase::Failed,
            RestorePhase::Succeeded => RestorePhase::Succeeded,
            RestorePhase::Unknown => RestorePhase::Unknown,
            _ => RestorePhase::Failed,
        };
    }
    match components {
        RestorePhase::Pending => RestorePhase::Pending,
        RestorePhase::Unknown => RestorePhase::Unknown,
        _ => RestorePhase::Running,
    }
}

/// What the components of a RestoreSession add up to. One that failed is enough to fail.
///
/// Succeeded takes as many components as announced, and each that is there; KubeStash looks at the number alone.
pub fn restore_components(components: &BTreeMap<String, RestoreComponent>, total: Option<i32>) -> RestorePhase {
    let count = |phase| components.values().filter(|component| component.phase == Some(phase)).count();
    let (succeeded, unknown) = (count(RestorePhase::Succeeded), count(RestorePhase::Unknown));
    if components.is_empty() {
        RestorePhase::Pending
    } else if count(RestorePhase::Failed) > 0 {
        RestorePhase::Failed
    } else if complete(succeeded, components.len(), total) {
        RestorePhase::Succeeded
    } else if complete(succeeded + unknown, components.len(), total) {
        RestorePhase::Unknown
    } else {
        RestorePhase::Running
    }
}

/// Phase of a BackupVerificationSession. Succeeded takes a restore that did; KubeStash looks for failures only.
pub fn verification_session(status: &BackupVerificationSessionStatus) -> VerificationPhase {
    let conditions = &status.conditions;
    if is_false(conditions, VERIFICATION_SESSION_HISTORY_CLEANED) {
        return VerificationPhase::Failed;
    }
    if is_true(conditions, BACKUP_VERIFICATION_SKIPPED) {
        return VerificationPhase::Skipped;
    }
    if !exists(conditions, VERIFICATION_SESSION_HISTORY_CLEANED) {
        return VerificationPhase::Running;
    }
    if is_true(conditions, RESTORE_SUCCEEDED) && !is_false(conditions, BACKUP_VERIFIED) {
        VerificationPhase::Succeeded
    } else {
        VerificationPhase::Failed
    }
}
