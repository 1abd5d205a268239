//! Every phase from what a status says, as tables.

use coffer_api::core::{
    BackupConfigurationSpec, BackupConfigurationStatus, BackupSessionPhase, BackupSessionStatus,
    BackupVerificationSessionStatus, InvokerPhase, RestorePhase, RestoreSessionStatus, VerificationPhase,
};
use coffer_api::phase;
use coffer_api::shared::{Condition, SnapshotPhase};
use coffer_api::storage::{RepositoryPhase, SnapshotStatus, StoragePhase};
use proptest::prelude::*;
use rstest::rstest;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Conditions written as `Type`, `!Type` (False) and `?Type` (Unknown), separated by spaces.
fn conditions(text: &str) -> Value {
    let one = |word: &str| {
        let (status, name) = match word.split_at(1) {
            ("!", name) => ("False", name),
            ("?", name) => ("Unknown", name),
            _ => ("True", word),
        };
        json!({"type": name, "status": status, "message": format!("why {name}"), "lastTransitionTime": "2026-01-31T12:00:00Z"})
    };
    text.split_whitespace().map(one).collect()
}

fn read<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("the test's status is one")
}

/// Components from their phases, separated by spaces; `-` for one that has none.
fn components(phases: &str) -> Value {
    let one = |(index, phase): (usize, &str)| {
        let component = if phase == "-" { json!({}) } else { json!({"phase": phase}) };
        (index.to_string(), component)
    };
    Value::Object(phases.split_whitespace().enumerate().map(one).collect())
}

#[rstest]
#[case("", StoragePhase::NotReady)]
#[case("BackendInitialized", StoragePhase::Ready)]
#[case("BackendInitialized BackendSecretFound", StoragePhase::Ready)]
#[case("BackendInitialized !BackendSecretFound", StoragePhase::NotReady)]
#[case("BackendInitialized ?BackendSecretFound", StoragePhase::NotReady)]
#[case("!BackendInitialized BackendSecretFound", StoragePhase::NotReady)]
#[case("BackendSecretFound", StoragePhase::NotReady)]
fn storages(#[case] given: &str, #[case] expected: StoragePhase) {
    assert_eq!(phase::storage(&read::<Vec<Condition>>(conditions(given))), expected);
}

#[rstest]
#[case("", RepositoryPhase::NotReady)]
#[case("RepositoryInitialized", RepositoryPhase::Ready)]
#[case("!RepositoryInitialized", RepositoryPhase::NotReady)]
#[case("?RepositoryInitialized", RepositoryPhase::NotReady)]
fn repositories(#[case] given: &str, #[case] expected: RepositoryPhase) {
    assert_eq!(phase::repository(&read::<Vec<Condition>>(conditions(given))), expected);
}

#[rstest]
#[case("", "", None, SnapshotPhase::Pending)]
#[case("SnapshotMetadataUploaded", "", Some(1), SnapshotPhase::Pending)]
#[case("", "Running", Some(1), SnapshotPhase::Running)]
#[case("", "Succeeded", Some(1), SnapshotPhase::Running)]
#[case("", "Failed", Some(1), SnapshotPhase::Running)]
#[case("SnapshotMetadataUploaded", "Succeeded", Some(1), SnapshotPhase::Succeeded)]
#[case("SnapshotMetadataUploaded RecentSnapshotListUpdated", "Succeeded", Some(1), SnapshotPhase::Succeeded)]
#[case("SnapshotMetadataUploaded", "Failed", Some(1), SnapshotPhase::Failed)]
#[case("SnapshotMetadataUploaded", "Running", Some(1), SnapshotPhase::Running)]
#[case("!SnapshotMetadataUploaded", "Succeeded", Some(1), SnapshotPhase::Failed)]
#[case("SnapshotMetadataUploaded !RecentSnapshotListUpdated", "Succeeded", Some(1), SnapshotPhase::Failed)]
#[case("SnapshotMetadataUploaded BackupIncomplete", "Succeeded", Some(1), SnapshotPhase::Failed)]
#[case("BackupIncomplete", "", None, SnapshotPhase::Failed)]
fn snapshots(#[case] given: &str, #[case] phases: &str, #[case] total: Option<i32>, #[case] expected: SnapshotPhase) {
    let status = json!({"conditions": conditions(given), "components": components(phases), "totalComponents": total});
    assert_eq!(phase::snapshot(&read::<SnapshotStatus>(status)), expected);
}

#[rstest]
#[case("", Some(0), SnapshotPhase::Pending)]
#[case("Succeeded Succeeded", Some(2), SnapshotPhase::Succeeded)]
#[case("Succeeded Failed", Some(2), SnapshotPhase::Failed)]
#[case("Running Failed", Some(2), SnapshotPhase::Failed)]
#[case("Succeeded Running", Some(2), SnapshotPhase::Running)]
#[case("Succeeded -", Some(2), SnapshotPhase::Running)]
#[case("Succeeded", Some(2), SnapshotPhase::Running)]
#[case("Succeeded Running", Some(1), SnapshotPhase::Running)]
#[case("Succeeded Succeeded", Some(1), SnapshotPhase::Running)]
#[case("Succeeded", None, SnapshotPhase::Running)]
#[case("Pending", Some(1), SnapshotPhase::Running)]
fn components_add_up(#[case] phases: &str, #[case] total: Option<i32>, #[case] expected: SnapshotPhase) {
    let status: SnapshotStatus = read(json!({"components": components(phases)}));
    assert_eq!(phase::snapshot_components(&status.components, total), expected);
}

#[rstest]
#[case(json!({}), 0, None)]
#[case(json!({"a": {"integrity": true}}), 1, Some(true))]
#[case(json!({"a": {"integrity": true}}), 2, None)]
#[case(json!({"a": {"integrity": true}, "b": {}}), 2, None)]
#[case(json!({"a": {"integrity": true}, "b": {"integrity": false}}), 2, Some(false))]
#[case(json!({"a": {"integrity": false}, "b": {}}), 2, Some(false))]
fn integrity(#[case] components: Value, #[case] total: i32, #[case] expected: Option<bool>) {
    let status: SnapshotStatus = read(json!({"components": components, "totalComponents": total}));
    assert_eq!(phase::snapshot_integrity(&status), expected);
}

fn configuration(backends: usize, sessions: usize, status: Value) -> InvokerPhase {
    let session = json!({"name": "s"});
    let spec =
        json!({"target": {"name": "db"}, "backends": vec![json!({}); backends], "sessions": vec![session; sessions]});
    phase::backup_configuration(&read::<BackupConfigurationSpec>(spec), &read::<BackupConfigurationStatus>(status))
}

#[test]
fn configurations() {
    let ready = json!({
        "targetFound": true, "backends": [{"ready": true}], "conditions": conditions("ValidationPassed"),
        "sessions": [{"conditions": conditions("SchedulerEnsured")}],
    });
    assert_eq!(configuration(1, 1, ready.clone()), InvokerPhase::Ready);
    // Without backends the default one counts.
    assert_eq!(configuration(0, 1, ready.clone()), InvokerPhase::Ready);
    assert_eq!(configuration(2, 1, ready.clone()), InvokerPhase::NotReady);
    assert_eq!(configuration(1, 2, ready.clone()), InvokerPhase::NotReady);
    for (pointer, value) in [
        ("/targetFound", json!(false)),
        ("/targetFound", json!(null)),
        ("/backends/0/ready", json!(false)),
        ("/backends", json!([])),
        ("/sessions/0/conditions", conditions("!SchedulerEnsured")),
        ("/sessions/0/conditions", json!([])),
        ("/sessions", json!([])),
    ] {
        let mut status = ready.clone();
        *status.pointer_mut(pointer).expect("the field is there") = value;
        assert_eq!(configuration(1, 1, status), InvokerPhase::NotReady, "{pointer}");
    }
    let mut invalid = ready;
    invalid["conditions"] = conditions("!ValidationPassed");
    assert_eq!(configuration(1, 1, invalid), InvokerPhase::Invalid);
    // A backup of a whole cluster has no target.
    let status = json!({"backends": [{"ready": true}]});
    let spec = BackupConfigurationSpec::default();
    assert_eq!(phase::backup_configuration(&spec, &read(status)), InvokerPhase::Ready);
}

fn session(given: &str, phases: &str, total: Option<i32>, retention: &str) -> BackupSessionStatus {
    let snapshots: Vec<_> =
        phases.split_whitespace().map(|phase| if phase == "-" { json!({}) } else { json!({"phase": phase}) }).collect();
    let retention: Vec<_> = retention.split_whitespace().map(|phase| json!({"phase": phase})).collect();
    read(json!({
        "conditions": conditions(given), "snapshots": snapshots, "totalSnapshots": total, "retentionPolicy": retention,
    }))
}

#[rstest]
#[case::new("", "", None, "", BackupSessionPhase::Pending)]
#[case::pending("SnapshotsEnsured", "Pending -", Some(2), "", BackupSessionPhase::Pending)]
#[case::running("SnapshotsEnsured BackupExecutorEnsured", "Running Pending", Some(2), "", BackupSessionPhase::Running)]
#[case::not_yet("SnapshotsEnsured", "Succeeded", Some(1), "", BackupSessionPhase::Running)]
#[case::not_yet_failed("SnapshotsEnsured", "Failed", Some(1), "", BackupSessionPhase::Running)]
#[case::succeeded("MetricsPushed", "Succeeded Succeeded", Some(2), "Applied", BackupSessionPhase::Succeeded)]
#[case::uncounted("MetricsPushed", "Succeeded", None, "", BackupSessionPhase::Succeeded)]
#[case::one_failed("MetricsPushed", "Succeeded Failed", Some(2), "", BackupSessionPhase::Failed)]
#[case::one_missing("MetricsPushed", "Succeeded", Some(2), "", BackupSessionPhase::Failed)]
#[case::one_left_running("MetricsPushed", "Succeeded Running", Some(2), "", BackupSessionPhase::Failed)]
#[case::nothing_done("MetricsPushed", "", None, "", BackupSessionPhase::Failed)]
#[case::metrics("!MetricsPushed", "Succeeded", Some(1), "", BackupSessionPhase::Failed)]
#[case::skipped("BackupSkipped", "", None, "", BackupSessionPhase::Skipped)]
#[case::skipped_and_metrics("BackupSkipped MetricsPushed", "", None, "", BackupSessionPhase::Skipped)]
#[case::metrics_before_skip("BackupSkipped !MetricsPushed", "", None, "", BackupSessionPhase::Failed)]
#[case::executor("MetricsPushed !BackupExecutorEnsured", "Succeeded", Some(1), "", BackupSessionPhase::Failed)]
#[case::ensured("MetricsPushed !SnapshotsEnsured", "Succeeded", Some(1), "", BackupSessionPhase::Failed)]
#[case::pre("MetricsPushed !PreBackupHooksExecutionSucceeded", "Succeeded", Some(1), "", BackupSessionPhase::Failed)]
#[case::post("MetricsPushed !PostBackupHooksExecutionSucceeded", "Succeeded", Some(1), "", BackupSessionPhase::Failed)]
#[case::history("MetricsPushed !SessionHistoryCleaned", "Succeeded", Some(1), "", BackupSessionPhase::Failed)]
#[case::cleanup("MetricsPushed SnapshotCleanupIncomplete", "Succeeded", Some(1), "", BackupSessionPhase::Failed)]
#[case::retention("MetricsPushed", "Succeeded", Some(1), "Applied FailedToApply", BackupSessionPhase::Failed)]
#[case::retention_job(
    "MetricsPushed !RetentionPolicyExecutorEnsured",
    "Succeeded",
    Some(1),
    "",
    BackupSessionPhase::Succeeded
)]
#[case::before_metrics("!BackupExecutorEnsured", "", None, "", BackupSessionPhase::Pending)]
fn backup_sessions(
    #[case] given: &str,
    #[case] phases: &str,
    #[case] total: Option<i32>,
    #[case] retention: &str,
    #[case] expected: BackupSessionPhase,
) {
    assert_eq!(phase::backup_session(&session(given, phases, total, retention)), expected);
}

#[rstest]
#[case("MetricsPushed", "Succeeded", "Applied", None)]
#[case("!PreBackupHooksExecutionSucceeded", "Failed", "", Some("why PreBackupHooksExecutionSucceeded"))]
#[case("!Ready !Reconciling !SnapshotsEnsured", "", "", Some("why SnapshotsEnsured"))]
#[case("MetricsPushed", "Failed", "FailedToApply", Some("one or more snapshots are failed"))]
#[case("MetricsPushed", "Succeeded", "FailedToApply", Some("one or more retention policies are failed to apply"))]
fn failures(#[case] given: &str, #[case] phases: &str, #[case] retention: &str, #[case] expected: Option<&str>) {
    assert_eq!(phase::session_failure(&session(given, phases, None, retention)).as_deref(), expected);
}

#[rstest]
#[case("", "", None, RestorePhase::Pending)]
#[case("ValidationPassed RestoreExecutorEnsured", "Running", Some(1), RestorePhase::Running)]
#[case("!ValidationPassed", "", None, RestorePhase::Invalid)]
#[case("!ValidationPassed MetricsPushed", "", None, RestorePhase::Invalid)]
#[case("!ValidationPassed !MetricsPushed", "", None, RestorePhase::Failed)]
#[case("ValidationPassed", "Succeeded", Some(1), RestorePhase::Running)]
#[case("ValidationPassed", "Failed", Some(1), RestorePhase::Running)]
#[case("ValidationPassed", "Unknown", Some(1), RestorePhase::Unknown)]
#[case("MetricsPushed", "Succeeded", Some(1), RestorePhase::Succeeded)]
#[case("MetricsPushed", "Succeeded Failed", Some(2), RestorePhase::Failed)]
#[case("MetricsPushed", "Succeeded Unknown", Some(2), RestorePhase::Unknown)]
#[case("MetricsPushed", "Failed Unknown", Some(2), RestorePhase::Failed)]
#[case("MetricsPushed", "Succeeded", Some(2), RestorePhase::Failed)]
#[case("MetricsPushed", "Running", Some(1), RestorePhase::Failed)]
#[case("MetricsPushed", "", None, RestorePhase::Failed)]
#[case("MetricsPushed !PreRestoreHooksExecutionSucceeded", "", None, RestorePhase::Failed)]
#[case("MetricsPushed !PostRestoreHooksExecutionSucceeded", "Succeeded", Some(1), RestorePhase::Failed)]
#[case("MetricsPushed !RestoreExecutorEnsured", "", None, RestorePhase::Failed)]
#[case("MetricsPushed RestoreIncomplete", "Succeeded", Some(1), RestorePhase::Failed)]
fn restore_sessions(
    #[case] given: &str,
    #[case] phases: &str,
    #[case] total: Option<i32>,
    #[case] expected: RestorePhase,
) {
    let status = json!({"conditions": conditions(given), "components": components(phases), "totalComponents": total});
    assert_eq!(phase::restore_session(&read::<RestoreSessionStatus>(status)), expected);
}

#[rstest]
#[case("", VerificationPhase::Running)]
#[case("RestoreSucceeded BackupVerified", VerificationPhase::Running)]
#[case("BackupVerificationSkipped", VerificationPhase::Skipped)]
#[case("RestoreSucceeded BackupVerified VerificationSessionHistoryCleaned", VerificationPhase::Succeeded)]
#[case("RestoreSucceeded VerificationSessionHistoryCleaned", VerificationPhase::Succeeded)]
#[case("!RestoreSucceeded VerificationSessionHistoryCleaned", VerificationPhase::Failed)]
#[case("RestoreSucceeded !BackupVerified VerificationSessionHistoryCleaned", VerificationPhase::Failed)]
#[case("VerificationSessionHistoryCleaned", VerificationPhase::Failed)]
#[case("RestoreSucceeded BackupVerified !VerificationSessionHistoryCleaned", VerificationPhase::Failed)]
fn verification_sessions(#[case] given: &str, #[case] expected: VerificationPhase) {
    let status: BackupVerificationSessionStatus = read(json!({"conditions": conditions(given)}));
    assert_eq!(phase::verification_session(&status), expected);
}

const TYPES: &[&str] = &[
    "BackupSkipped",
    "PreBackupHooksExecutionSucceeded",
    "SnapshotsEnsured",
    "BackupExecutorEnsured",
    "PostBackupHooksExecutionSucceeded",
    "SessionHistoryCleaned",
    "SnapshotCleanupIncomplete",
    "ValidationPassed",
    "RestoreExecutorEnsured",
    "RestoreIncomplete",
    "BackupIncomplete",
    "SnapshotMetadataUploaded",
    "RecentSnapshotListUpdated",
];

fn any_conditions() -> impl Strategy<Value = String> {
    let one = (proptest::sample::select(TYPES), proptest::sample::select(&["", "!", "?"][..]));
    proptest::collection::vec(one.prop_map(|(name, status)| format!("{status}{name}")), 0..6)
        .prop_map(|words| words.join(" "))
}

fn any_phases() -> impl Strategy<Value = String> {
    let phase = proptest::sample::select(&["-", "Pending", "Running", "Succeeded", "Failed"][..]);
    proptest::collection::vec(phase, 0..4).prop_map(|phases| phases.join(" "))
}

proptest! {
    /// Nothing is pending or running once the last step is done, and nothing is final before, but what never ran.
    #[test]
    fn the_last_step_ends_everything(given in any_conditions(), phases in any_phases(), total in proptest::option::of(0..4)) {
        let done = format!("{given} MetricsPushed");
        prop_assert!(phase::session_is_final(Some(phase::backup_session(&session(&done, &phases, total, "")))));
        let before = phase::backup_session(&session(&given, &phases, total, ""));
        prop_assert!(!matches!(before, BackupSessionPhase::Succeeded | BackupSessionPhase::Failed));
        let restore = |given: &str| {
            let status = json!({"conditions": conditions(given), "components": components(&phases), "totalComponents": total});
            phase::restore_session(&read::<RestoreSessionStatus>(status))
        };
        prop_assert!(phase::restore_is_final(Some(restore(&done))));
        prop_assert!(!matches!(restore(&given), RestorePhase::Succeeded | RestorePhase::Failed));
    }

    /// Whatever else a status says: one part that did not succeed, and the whole did not.
    #[test]
    fn a_failed_part_is_never_a_success(given in any_conditions(), phases in any_phases(), total in 1..4) {
        let whole = phases.split_whitespace().count() == usize::try_from(total).unwrap_or_default()
            && phases.split_whitespace().all(|phase| phase == "Succeeded");
        let done = format!("{given} MetricsPushed");
        let backup = phase::backup_session(&session(&done, &phases, Some(total), ""));
        prop_assert!(whole || backup != BackupSessionPhase::Succeeded);
        let status = json!({"conditions": conditions(&done), "components": components(&phases), "totalComponents": total});
        let restore = phase::restore_session(&read::<RestoreSessionStatus>(status.clone()));
        prop_assert!(whole || restore != RestorePhase::Succeeded);
        prop_assert!(whole || phase::snapshot(&read::<SnapshotStatus>(status)) != SnapshotPhase::Succeeded);
    }
}
