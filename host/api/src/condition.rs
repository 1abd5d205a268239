//! Conditions: their types and reasons as KubeStash has them, and how they are read and set.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use crate::shared::{Condition, ConditionStatus};

/// A type of condition, with its words. An empty word is one that KubeStash does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConditionType {
    /// The type.
    pub name: &'static str,
    /// Reason when it holds.
    pub reason_true: &'static str,
    /// Reason when it does not.
    pub reason_false: &'static str,
    /// Message when it holds and there is nothing else to say.
    pub message_true: &'static str,
}

macro_rules! types {
    ($($(#[$doc:meta])* $name:ident = $type:literal: $true:literal, $false:literal, $message:literal;)*) => {
        $($(#[$doc])* pub const $name: ConditionType = ConditionType {
            name: $type, reason_true: $true, reason_false: $false, message_true: $message,
        };)*

        /// Every type of condition.
        pub const ALL: &[ConditionType] = &[$($name),*];
    };
}

types! {
    /// BackupStorage: its metadata file is there.
    BACKEND_INITIALIZED = "BackendInitialized":
        "BackendInitializationSucceeded", "BackendInitializationFailed", "Successfully initialized backend.";
    /// BackupStorage: its Secret is there. Absent where no Secret is needed.
    BACKEND_SECRET_FOUND = "BackendSecretFound":
        "BackendSecretAvailable", "BackendSecretNotAvailable", "Backend secret exists.";
    /// BackupStorage: all Repositories and Snapshots that were in it are in the cluster. Absent as long as none is missing.
    /// Coffer's addition.
    REPOSITORIES_SYNCED = "RepositoriesSynced":
        "RepositoriesSynced", "RepositoriesNotSynced", "All repositories of the backend are in the cluster.";
    /// Repository: its metadata file is there.
    REPOSITORY_INITIALIZED = "RepositoryInitialized":
        "RepositoryInitializationSucceeded", "RepositoryInitializationFailed", "Successfully initialized repository";
    /// Snapshot: it is written down in the storage.
    SNAPSHOT_METADATA_UPLOADED = "SnapshotMetadataUploaded":
        "SuccessfullyUploadedSnapshotMetadata", "FailedToUploadSnapshotMetadata",
        "Metadata uploaded to backend successfully";
    /// Snapshot: its Repository's status lists it.
    RECENT_SNAPSHOT_LIST_UPDATED = "RecentSnapshotListUpdated":
        "SuccessfullyUpdatedRecentSnapshotList", "FailedToUpdateRecentSnapshotList",
        "Recent snapshot list updated successfully";
    /// Snapshot: whatever made it ended before it was complete.
    BACKUP_INCOMPLETE = "BackupIncomplete": "BackupExecutorTerminatedBeforeCompletion", "", "";
    /// BackupConfiguration, RestoreSession: it contradicts neither itself nor the rules.
    VALIDATION_PASSED = "ValidationPassed":
        "ResourceValidationPassed", "ResourceValidationFailed", "Validation has been passed successfully.";
    /// BackupConfiguration, of a session: its CronJob is there.
    SCHEDULER_ENSURED = "SchedulerEnsured":
        "SchedulerEnsured", "SchedulerNotEnsured", "Scheduler has been ensured successfully.";
    /// BackupConfiguration, of a session: its first BackupSession was created at once.
    INITIAL_BACKUP_TRIGGERED = "InitialBackupTriggered":
        "SuccessfullyTriggeredInitialBackup", "FailedToTriggerInitialBackup",
        "Initial backup has been triggered successfully.";
    /// BackupSession: it does not run.
    BACKUP_SKIPPED = "BackupSkipped": "PreRequisitesNotSatisfied", "", "";
    /// BackupSession: the hooks before it went well.
    PRE_BACKUP_HOOKS_SUCCEEDED = "PreBackupHooksExecutionSucceeded":
        "SuccessfullyExecutedPreBackupHooks", "FailedToExecutePreBackupHooks",
        "Pre-backup hooks have been executed successfully.";
    /// BackupSession: its Snapshots exist.
    SNAPSHOTS_ENSURED = "SnapshotsEnsured":
        "SuccessfullyEnsuredSnapshots", "FailedToEnsureSnapshots", "Snapshots have been ensured successfully.";
    /// BackupSession: its Job exists.
    BACKUP_EXECUTOR_ENSURED = "BackupExecutorEnsured":
        "SuccessfullyEnsuredBackupExecutor", "FailedToEnsureBackupExecutor",
        "Backup Executor has been ensured successfully.";
    /// BackupSession: the hooks after it went well.
    POST_BACKUP_HOOKS_SUCCEEDED = "PostBackupHooksExecutionSucceeded":
        "SuccessfullyExecutedPostBackupHooks", "FailedToExecutePostBackupHooks",
        "Post-backup hooks have been executed successfully.";
    /// BackupSession: the Job that removes old Snapshots exists.
    RETENTION_POLICY_EXECUTOR_ENSURED = "RetentionPolicyExecutorEnsured":
        "SuccessfullyEnsuredRetentionPolicyExecutor", "FailedToEnsureRetentionPolicyExecutor",
        "Retention policy Executor has been ensured successfully.";
    /// BackupSession: its unfinished Snapshots could not be removed.
    SNAPSHOT_CLEANUP_INCOMPLETE = "SnapshotCleanupIncomplete": "SnapshotCleanupTerminatedBeforeCompletion", "", "";
    /// BackupSession: older sessions beyond the history limit are gone.
    SESSION_HISTORY_CLEANED = "SessionHistoryCleaned":
        "SuccessfullyCleanedSessionHistory", "FailedToCleanSessionHistory",
        "Session history has been cleaned successfully.";
    /// BackupSession: its pod does not start.
    POD_PENDING_TOO_LONG = "PodHasBeenInPendingStateForLongerThanExpected":
        "PodHasBeenInPendingStateForLongerThanExpected", "", "";
    /// BackupSession, RestoreSession: the last step; no phase but Skipped and Invalid is final without it.
    METRICS_PUSHED = "MetricsPushed":
        "SuccessfullyPushedMetrics", "FailedToPushMetrics", "Metrics have been pushed successfully.";
    /// RestoreSession: what to restore into is there.
    RESTORE_TARGET_FOUND = "RestoreTargetFound":
        "TargetFound", "UnableToCheckTargetAvailability", "Restore target has been found.";
    /// RestoreSession: the hooks before it went well.
    PRE_RESTORE_HOOKS_SUCCEEDED = "PreRestoreHooksExecutionSucceeded":
        "SuccessfullyExecutedPreRestoreHooks", "FailedToExecutePreRestoreHooks",
        "Pre-restore hooks have been executed successfully.";
    /// RestoreSession: its Job exists.
    RESTORE_EXECUTOR_ENSURED = "RestoreExecutorEnsured":
        "SuccessfullyEnsuredRestoreExecutor", "FailedToEnsureRestoreExecutor",
        "Restore Executor has been ensured successfully.";
    /// RestoreSession: the hooks after it went well.
    POST_RESTORE_HOOKS_SUCCEEDED = "PostRestoreHooksExecutionSucceeded":
        "SuccessfullyExecutedPostRestoreHooks", "FailedToExecutePostRestoreHooks",
        "Post-restore hooks have been executed successfully.";
    /// RestoreSession: its executor ended before it was complete.
    RESTORE_INCOMPLETE = "RestoreIncomplete": "RestoreExecutorTerminatedBeforeCompletion", "", "";
    /// BackupVerificationSession: it does not run.
    BACKUP_VERIFICATION_SKIPPED = "BackupVerificationSkipped": "SnapshotAlreadyVerified", "", "";
    /// BackupVerificationSession: its Job exists.
    VERIFICATION_EXECUTOR_ENSURED = "VerificationExecutorEnsured":
        "SuccessfullyEnsuredVerificationExecutor", "FailedToEnsureVerificationExecutor",
        "Verification Executor has been ensured successfully.";
    /// BackupVerificationSession: the Snapshot was restored.
    RESTORE_SUCCEEDED = "RestoreSucceeded":
        "SuccessfullyRestoredBackup", "FailedToRestoreBackup", "Backup has been restored successfully.";
    /// BackupVerificationSession: what was restored is right.
    BACKUP_VERIFIED = "BackupVerified":
        "SuccessfullyVerifiedBackup", "FailedToVerifyBackup", "Backup has been verified successfully.";
    /// BackupVerificationSession: older sessions beyond the history limit are gone.
    VERIFICATION_SESSION_HISTORY_CLEANED = "VerificationSessionHistoryCleaned":
        "SuccessfullyCleanedVerificationSessionHistory", "FailedToCleanVerificationSessionHistory",
        "Verification session history has been cleaned successfully.";
    /// Every kind, for `kubectl wait` and kstatus: it is as its spec says. Coffer's addition.
    READY = "Ready": "Ready", "NotReady", "";
    /// Every kind, for kstatus: the operator is at work on it. Coffer's addition.
    RECONCILING = "Reconciling": "Reconciling", "Reconciled", "";
    /// Every kind, for kstatus: the operator cannot go on without a change by somebody. Coffer's addition.
    STALLED = "Stalled": "Stalled", "Progressing", "";
}

/// A condition to be set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    type_: ConditionType,
    status: ConditionStatus,
    reason: Option<String>,
    message: Option<String>,
    generation: Option<i64>,
}

impl ConditionType {
    /// It holds, with the usual words.
    pub fn holds(self) -> Change {
        self.change(ConditionStatus::True, self.reason_true, self.message_true)
    }

    /// It holds, and why.
    pub fn holds_because(self, message: impl Into<String>) -> Change {
        self.change(ConditionStatus::True, self.reason_true, message)
    }

    /// It does not hold, and why.
    pub fn fails_because(self, message: impl Into<String>) -> Change {
        self.change(ConditionStatus::False, self.reason_false, message)
    }

    /// Nobody knows, and why.
    pub fn unknown_because(self, message: impl Into<String>) -> Change {
        self.change(ConditionStatus::Unknown, self.reason_false, message)
    }

    fn change(self, status: ConditionStatus, reason: &str, message: impl Into<String>) -> Change {
        let text = |text: String| Some(text).filter(|text| !text.is_empty());
        Change { type_: self, status, reason: text(reason.to_owned()), message: text(message.into()), generation: None }
    }
}

impl Change {
    /// With another reason than the usual.
    #[must_use]
    pub fn reason(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    /// Computed for this generation of the object.
    #[must_use]
    pub fn observed(mut self, generation: Option<i64>) -> Self {
        self.generation = generation;
        self
    }
}

/// Sets a condition, and says whether that changed anything.
///
/// `lastTransitionTime` becomes `now` only if the status changed. A message alone that changed counts as a change.
pub fn set(conditions: &mut Vec<Condition>, change: Change, now: Timestamp) -> bool {
    let Change { type_, status, reason, message, generation } = change;
    let mut wanted = Condition {
        type_: type_.name.to_owned(),
        status,
        observed_generation: generation,
        severity: None,
        last_transition_time: Time(now),
        reason,
        message,
    };
    match conditions.iter_mut().find(|condition| condition.type_ == type_.name) {
        None => {
            conditions.push(wanted);
            true
        }
        Some(condition) => {
            if condition.status == status {
                wanted.last_transition_time = condition.last_transition_time.clone();
            }
            wanted.severity.clone_from(&condition.severity);
            wanted.observed_generation = generation.or(condition.observed_generation);
            let changed = *condition != wanted;
            *condition = wanted;
            changed
        }
    }
}

/// Removes a condition, and says whether it was there.
pub fn remove(conditions: &mut Vec<Condition>, type_: ConditionType) -> bool {
    let before = conditions.len();
    conditions.retain(|condition| condition.type_ != type_.name);
    conditions.len() != before
}

/// The condition of a type.
pub fn find(conditions: &[Condition], type_: ConditionType) -> Option<&Condition> {
    conditions.iter().find(|condition| condition.type_ == type_.name)
}

/// Whether the condition is there, whatever its status.
pub fn exists(conditions: &[Condition], type_: ConditionType) -> bool {
    find(conditions, type_).is_some()
}

/// Whether the condition is there and holds.
pub fn is_true(conditions: &[Condition], type_: ConditionType) -> bool {
    find(conditions, type_).is_some_and(|condition| condition.status == ConditionStatus::True)
}

/// Whether the condition is there and does not hold.
pub fn is_false(conditions: &[Condition], type_: ConditionType) -> bool {
    find(conditions, type_).is_some_and(|condition| condition.status == ConditionStatus::False)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    #[test]
    fn the_time_changes_with_the_status_only() {
        let mut conditions = Vec::new();
        assert!(set(&mut conditions, BACKEND_INITIALIZED.fails_because("no bucket"), at(1)));
        assert!(!set(&mut conditions, BACKEND_INITIALIZED.fails_because("no bucket"), at(2)));
        assert_eq!(conditions[0].last_transition_time.0, at(1));
        assert!(set(&mut conditions, BACKEND_INITIALIZED.fails_because("no access"), at(3)));
        assert_eq!(conditions[0].last_transition_time.0, at(1));
        assert_eq!(conditions[0].message.as_deref(), Some("no access"));
        assert!(set(&mut conditions, BACKEND_INITIALIZED.holds().observed(Some(2)), at(4)));
        assert_eq!(conditions.len(), 1);
        let condition = &conditions[0];
        assert_eq!(condition.last_transition_time.0, at(4));
        assert_eq!(condition.reason.as_deref(), Some("BackendInitializationSucceeded"));
        assert_eq!(condition.message.as_deref(), Some("Successfully initialized backend."));
        assert_eq!(condition.observed_generation, Some(2));
    }

    #[test]
    fn conditions_are_found_by_their_type() {
        let mut conditions = Vec::new();
        set(&mut conditions, SNAPSHOTS_ENSURED.holds(), at(1));
        set(&mut conditions, RESTORE_TARGET_FOUND.unknown_because("forbidden"), at(1));
        assert!(is_true(&conditions, SNAPSHOTS_ENSURED) && !is_false(&conditions, SNAPSHOTS_ENSURED));
        assert!(!is_true(&conditions, RESTORE_TARGET_FOUND) && !is_false(&conditions, RESTORE_TARGET_FOUND));
        assert!(exists(&conditions, RESTORE_TARGET_FOUND) && !exists(&conditions, METRICS_PUSHED));
        assert!(remove(&mut conditions, SNAPSHOTS_ENSURED) && !remove(&mut conditions, SNAPSHOTS_ENSURED));
        assert_eq!(conditions.len(), 1);
    }

    #[test]
    fn types_are_unique_and_reasons_are_words() {
        for (index, one) in ALL.iter().enumerate() {
            assert!(ALL.iter().skip(index + 1).all(|other| other.name != one.name), "{}", one.name);
            for word in [one.name, one.reason_true, one.reason_false] {
                assert!(word.chars().all(|c| c.is_ascii_alphabetic()), "{word}");
            }
            assert!(!one.name.is_empty() && !one.reason_true.is_empty());
        }
    }
}
