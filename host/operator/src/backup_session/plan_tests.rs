//! The decisions of a BackupSession, as tables.

use std::sync::Arc;
use std::time::Duration;

use coffer_api::condition::{self, METRICS_PUSHED};
use coffer_api::core::{BackupConfiguration, BackupSession, BackupSessionPhase, RetentionPolicyApplyPhase};
use coffer_api::phase::session_is_final;
use coffer_api::storage::{Repository, Snapshot};
use k8s_openapi::jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::backup_session::plan::{Plan, Step, plan};
use crate::backup_session::view::{Part, View};
use crate::job_state::JobState;
use crate::options::Limits;

/// Seconds after the session was created.
fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_767_225_600 + seconds).unwrap()
}

fn conditions(all: &[(&str, &str)]) -> Value {
    let condition = |(type_, status): &(&str, &str)| json!({"type": type_, "status": status, "message": "as told", "lastTransitionTime": at(1)});
    Value::Array(all.iter().map(condition).collect())
}

/// The snapshot's state: what its Job has written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Facts {
    Gone,
    None,
    Running,
    /// All of it is in the repository, and not written down yet.
    Proven,
    Succeeded,
    Failed,
    Incomplete,
}

fn snapshot(facts: Facts) -> Option<Arc<Snapshot>> {
    let done = conditions(&[("SnapshotMetadataUploaded", "True"), ("RecentSnapshotListUpdated", "True")]);
    let status = match facts {
        Facts::Gone => return None,
        Facts::None => json!({"totalComponents": 1}),
        Facts::Running => json!({"totalComponents": 1, "components": {"dump": {"phase": "Running"}}}),
        Facts::Proven => json!({"totalComponents": 1, "components": {"dump": {"phase": "Succeeded"}}}),
        Facts::Succeeded => {
            json!({"totalComponents": 1, "components": {"dump": {"phase": "Succeeded"}}, "conditions": done})
        }
        Facts::Failed => {
            json!({"totalComponents": 1, "components": {"dump": {"phase": "Failed", "error": "no access"}}, "conditions": done})
        }
        Facts::Incomplete => json!({"totalComponents": 1, "conditions": conditions(&[("BackupIncomplete", "True")])}),
    };
    let value = json!({"apiVersion": "storage.kubestash.com/v1alpha1", "kind": "Snapshot", "metadata": {"name": "r-s-1"}, "spec": {}, "status": status});
    Some(Arc::new(serde_json::from_value(value).unwrap()))
}

/// A part without a Snapshot.
fn part() -> Part {
    let repository: Repository = serde_json::from_value(json!({
        "apiVersion": "storage.kubestash.com/v1alpha1", "kind": "Repository", "metadata": {"name": "r"}, "spec": {}, "status": {"phase": "Ready"},
    }))
    .unwrap();
    Part {
        repository_name: "r".to_owned(),
        repository: Some(Arc::new(repository)),
        snapshot_name: "r-s-1".to_owned(),
        snapshot: None,
    }
}

fn view(status: Value, facts: Facts, executor: JobState, retention: JobState) -> View {
    let session: BackupSession = serde_json::from_value(json!({
        "apiVersion": "core.kubestash.com/v1alpha1", "kind": "BackupSession",
        "metadata": {"name": "s-1", "namespace": "demo", "uid": "u", "creationTimestamp": at(0), "generation": 1},
        "spec": {"invoker": {"kind": "BackupConfiguration", "name": "sample"}, "session": "daily", "retryLeft": 1},
        "status": status,
    }))
    .unwrap();
    let configuration: BackupConfiguration = serde_json::from_value(json!({
        "apiVersion": "core.kubestash.com/v1alpha1", "kind": "BackupConfiguration", "metadata": {"name": "sample", "namespace": "demo"},
        "spec": {"sessions": [{"name": "daily", "backupTimeout": "10m", "retryConfig": {"maxRetry": 1, "delay": "5m"}}]},
    }))
    .unwrap();
    let part = Part { snapshot: snapshot(facts), ..part() };
    View {
        session: Arc::new(session),
        configuration: Some(Arc::new(configuration)),
        parts: vec![part],
        executor,
        retention,
        others: Vec::new(),
        bound: false,
    }
}

fn status(all: &[(&str, &str)], more: Value) -> Value {
    let mut status = json!({"totalSnapshots": 1, "snapshots": [{"name": "r-s-1", "repository": "r"}], "phase": "Running", "conditions": conditions(all)});
    status.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    status
}

const STARTED: &[(&str, &str)] = &[("SnapshotsEnsured", "True"), ("BackupExecutorEnsured", "True")];
const BACKED_UP: &[(&str, &str)] =
    &[("SnapshotsEnsured", "True"), ("BackupExecutorEnsured", "True"), ("RetentionPolicyExecutorEnsured", "True")];

fn planned(view: &View, seconds: i64) -> Plan {
    plan(view, at(seconds), &Limits::default())
}

fn waiting(seconds: u64) -> JobState {
    JobState::Waiting(Duration::from_secs(seconds), "no node".to_owned())
}

#[test]
fn nothing_is_begun_in_a_repository_that_is_going() {
    let mut view = view(status(&[], json!({})), Facts::Gone, JobState::Missing, JobState::Missing);
    let mut going = part();
    let repository: Repository = serde_json::from_value(json!({
        "apiVersion": "storage.kubestash.com/v1alpha1", "kind": "Repository", "spec": {}, "status": {"phase": "Ready"},
        "metadata": {"name": "r2", "deletionTimestamp": at(1)},
    }))
    .unwrap();
    going.repository = Some(Arc::new(repository));
    view.parts.push(going);
    assert_eq!(planned(&view, 10).step, Step::Nothing);
    let given_up = planned(&view, 301);
    assert!(condition::is_false(&given_up.status.conditions, condition::SNAPSHOTS_ENSURED), "{:?}", given_up.step);
}

#[test]
fn each_state_has_its_step() {
    let gone = || JobState::Missing;
    let open = json!({"retentionPolicy": [{"repository": "r", "phase": "Pending"}]});
    let applied = json!({"retentionPolicy": [{"repository": "r", "phase": "Applied"}]});
    let given_up = json!({"retentionPolicy": [{"repository": "r", "phase": "FailedToApply", "error": "no node"}]});
    let none = json!({});
    for (what, status, facts, executor, retention, expected) in [
        ("new", Value::Null, Facts::Gone, gone(), gone(), Step::Admit),
        ("admitted", status(&[], none.clone()), Facts::Gone, gone(), gone(), Step::CreateSnapshots),
        ("snapshots exist", status(&STARTED[..1], none.clone()), Facts::None, gone(), gone(), Step::StartExecutor),
        ("starting", status(STARTED, none.clone()), Facts::None, waiting(3), gone(), Step::Nothing),
        ("slow to start", status(STARTED, none.clone()), Facts::None, waiting(400), gone(), Step::Nothing),
        (
            "never started",
            status(STARTED, none.clone()),
            Facts::None,
            waiting(1800),
            gone(),
            Step::Condemn("its Job has not started within 30 minutes: no node".to_owned()),
        ),
        ("at work", status(STARTED, none.clone()), Facts::Running, JobState::Running, gone(), Step::Nothing),
        (
            "killed",
            status(STARTED, none.clone()),
            Facts::Running,
            JobState::Failed("evicted".to_owned()),
            gone(),
            Step::Condemn("evicted".to_owned()),
        ),
        (
            "no result",
            status(STARTED, none.clone()),
            Facts::Running,
            JobState::Complete,
            gone(),
            Step::Condemn("its Job ended without a result".to_owned()),
        ),
        (
            "deleted",
            status(STARTED, none.clone()),
            Facts::Running,
            gone(),
            gone(),
            Step::Condemn("its Job is gone: somebody has deleted it".to_owned()),
        ),
        (
            "not created",
            status(&[("SnapshotsEnsured", "True"), ("BackupExecutorEnsured", "False")], none.clone()),
            Facts::None,
            gone(),
            gone(),
            Step::Condemn("as told".to_owned()),
        ),
        (
            "result, still at work",
            status(STARTED, none.clone()),
            Facts::Succeeded,
            JobState::Running,
            gone(),
            Step::Nothing,
        ),
        (
            "condemned, still at work",
            status(STARTED, none.clone()),
            Facts::Incomplete,
            JobState::Running,
            gone(),
            Step::StopExecutor,
        ),
        (
            "backed up",
            status(STARTED, none.clone()),
            Facts::Succeeded,
            JobState::Complete,
            gone(),
            Step::StartRetention,
        ),
        (
            "failed",
            status(STARTED, none.clone()),
            Facts::Failed,
            JobState::Failed("exit 1".to_owned()),
            gone(),
            Step::StartRetention,
        ),
        (
            "retention at work",
            status(BACKED_UP, open.clone()),
            Facts::Succeeded,
            JobState::Complete,
            JobState::Running,
            Step::Nothing,
        ),
        (
            "retention killed",
            status(BACKED_UP, open.clone()),
            Facts::Succeeded,
            JobState::Complete,
            JobState::Failed("oom".to_owned()),
            Step::Nothing,
        ),
        (
            "retention slow to start",
            status(BACKED_UP, open.clone()),
            Facts::Succeeded,
            JobState::Complete,
            waiting(1799),
            Step::Nothing,
        ),
        (
            "retention never started",
            status(BACKED_UP, given_up.clone()),
            Facts::Succeeded,
            JobState::Complete,
            waiting(1800),
            Step::StopRetention,
        ),
        (
            "retention said all, its pod is not known yet",
            status(BACKED_UP, applied.clone()),
            Facts::Succeeded,
            JobState::Complete,
            waiting(3),
            Step::Nothing,
        ),
        (
            "retention not quite done",
            status(BACKED_UP, applied.clone()),
            Facts::Succeeded,
            JobState::Complete,
            JobState::Ending("its pod".to_owned()),
            Step::Nothing,
        ),
        (
            "killed, in its grace",
            status(STARTED, none.clone()),
            Facts::Running,
            JobState::Ending("its pod".to_owned()),
            gone(),
            Step::Nothing,
        ),
        (
            "told, in its grace",
            status(STARTED, none.clone()),
            Facts::Failed,
            JobState::Ending("its pod".to_owned()),
            gone(),
            Step::Nothing,
        ),
        (
            "retention done",
            status(BACKED_UP, applied),
            Facts::Succeeded,
            JobState::Complete,
            JobState::Complete,
            Step::Finish(Vec::new()),
        ),
        (
            "some snapshots, not all",
            status(&[("SnapshotsEnsured", "False")], none.clone()),
            Facts::None,
            gone(),
            gone(),
            Step::Condemn("as told".to_owned()),
        ),
        (
            "some snapshots, condemned",
            status(&[("SnapshotsEnsured", "False")], none.clone()),
            Facts::Incomplete,
            gone(),
            gone(),
            Step::Finish(Vec::new()),
        ),
        (
            "no snapshots",
            status(&[("SnapshotsEnsured", "False")], none),
            Facts::Gone,
            gone(),
            gone(),
            Step::Finish(Vec::new()),
        ),
    ] {
        assert_eq!(planned(&view(status, facts, executor, retention), 60).step, expected, "{what}");
    }
}

#[test]
fn the_end_says_how_it_went() {
    for (facts, retention, phase, message) in [
        (Facts::Succeeded, "Applied", BackupSessionPhase::Succeeded, None),
        (Facts::Failed, "Applied", BackupSessionPhase::Failed, Some("r: no access")),
        (Facts::Incomplete, "Applied", BackupSessionPhase::Failed, Some("r: as told")),
        (Facts::Gone, "Applied", BackupSessionPhase::Failed, Some("Snapshot r-s-1 is gone")),
        (
            Facts::Succeeded,
            "FailedToApply",
            BackupSessionPhase::Failed,
            Some("one or more retention policies are failed to apply: locked"),
        ),
    ] {
        let policies = json!({"retentionPolicy": [{"repository": "r", "phase": retention, "error": (retention != "Applied").then_some("locked")}]});
        let view = view(status(BACKED_UP, policies), facts, JobState::Complete, JobState::Complete);
        let Plan { step, status, .. } = planned(&view, 90);
        assert!(matches!(step, Step::Finish(_)), "{facts:?}");
        assert_eq!(status.phase, Some(phase), "{facts:?}");
        assert_eq!(status.duration.as_deref(), Some("1m30s"));
        let stalled = condition::find(&status.conditions, condition::STALLED).and_then(|one| one.message.clone());
        assert_eq!(stalled.as_deref(), message, "{facts:?}");
        let retry = status.next_retry.map(|time| time.0);
        assert_eq!(retry, (phase == BackupSessionPhase::Failed).then(|| at(90 + 300)), "{facts:?}");
    }
}

#[test]
fn a_deadline_counts_at_every_step() {
    let late = json!({"backupDeadline": at(50)});
    let step = |conditions, facts, executor| {
        planned(&view(status(conditions, late.clone()), facts, executor, JobState::Missing), 60)
    };
    let before = step(&[], Facts::Gone, JobState::Missing);
    assert_eq!(before.step, Step::Finish(Vec::new()));
    assert!(condition::is_false(&before.status.conditions, condition::SNAPSHOTS_ENSURED));
    let why = "deadline exceeded: it has not ended within its backupTimeout of 10m".to_owned();
    assert_eq!(step(&STARTED[..1], Facts::None, JobState::Missing).step, Step::Condemn(why.clone()));
    assert_eq!(step(STARTED, Facts::Running, JobState::Running).step, Step::CondemnUnproven(why.clone()));
    let ending = || JobState::Ending("its pod".to_owned());
    assert_eq!(step(STARTED, Facts::Running, ending()).step, Step::CondemnUnproven(why));
    // Data that is proven is not unproven by the clock; only a Job that ends without writing it down loses it.
    assert_eq!(step(STARTED, Facts::Proven, JobState::Running).step, Step::Nothing);
    assert_eq!(step(STARTED, Facts::Proven, ending()).step, Step::Nothing);
    assert_eq!(step(STARTED, Facts::Proven, JobState::Failed("oom".to_owned())).step, Step::Condemn("oom".to_owned()));
    assert_eq!(step(STARTED, Facts::Incomplete, JobState::Running).step, Step::StopExecutor);
    let early = planned(
        &view(status(STARTED, json!({"backupDeadline": at(70)})), Facts::Running, JobState::Running, JobState::Missing),
        60,
    );
    assert_eq!(early.again, Some(Duration::from_secs(10)), "it looks again when the time is up");
}

#[test]
fn a_deadline_condemns_what_is_not_proven_beside_what_is() {
    let mut view = view(
        status(STARTED, json!({"backupDeadline": at(50), "totalSnapshots": 2})),
        Facts::Proven,
        JobState::Running,
        JobState::Missing,
    );
    let mut other = Part { snapshot_name: "q-s-1".to_owned(), snapshot: snapshot(Facts::Running), ..part() };
    assert!(view.parts[0].is_proven() && !other.is_proven());
    view.parts.push(Part { snapshot: snapshot(Facts::Running), ..part() });
    assert!(matches!(planned(&view, 60).step, Step::CondemnUnproven(_)));
    other.snapshot = snapshot(Facts::Incomplete);
    view.parts[1] = other;
    assert_eq!(planned(&view, 60).step, Step::Nothing, "the rest is still written down");
    for facts in [Facts::None, Facts::Running, Facts::Failed, Facts::Incomplete, Facts::Gone] {
        assert!(!Part { snapshot: snapshot(facts), ..part() }.is_proven(), "{facts:?}");
    }
}

#[test]
fn a_job_that_nobody_told_of_is_found() {
    let late = json!({"backupDeadline": at(50)});
    let plan =
        |facts, executor| planned(&view(status(&STARTED[..1], late.clone()), facts, executor, JobState::Missing), 60);
    for (facts, executor, expected) in [
        (Facts::Running, JobState::Running, "condemned"),
        (Facts::None, waiting(3), "condemned"),
        (Facts::Succeeded, JobState::Complete, "goes on"),
        (Facts::Succeeded, JobState::Missing, "goes on"),
    ] {
        let Plan { step, status, .. } = plan(facts, executor);
        assert!(condition::is_true(&status.conditions, condition::BACKUP_EXECUTOR_ENSURED), "{facts:?}");
        match expected {
            "condemned" => assert!(matches!(step, Step::CondemnUnproven(_)), "{facts:?}: {step:?}"),
            _ => assert_eq!(step, Step::StartRetention, "{facts:?}"),
        }
    }
    let never = plan(Facts::None, JobState::Missing);
    assert!(condition::is_false(&never.status.conditions, condition::BACKUP_EXECUTOR_ENSURED));
}

#[test]
fn a_retention_that_never_starts_is_given_up() {
    let open = json!({"retentionPolicy": [{"repository": "r", "phase": "Pending"}]});
    let given_up = planned(&view(status(BACKED_UP, open), Facts::Succeeded, JobState::Complete, waiting(1800)), 4000);
    let policy = &given_up.status.retention_policy[0];
    assert_eq!(policy.phase, Some(RetentionPolicyApplyPhase::FailedToApply));
    assert_eq!(policy.error.as_deref(), Some("its Job has not started within 30 minutes: no node"));
    assert!(!session_is_final(given_up.status.phase), "its Job is still there");
}

#[test]
fn a_failed_session_is_tried_again_when_it_is_due_and_once() {
    let failed = |more: Value| {
        let mut status = status(BACKED_UP, json!({"phase": "Failed", "nextRetry": at(100)}));
        status.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        view(status, Facts::Failed, JobState::Complete, JobState::Complete)
    };
    let early = planned(&failed(json!({})), 60);
    assert_eq!((early.step, early.again), (Step::Nothing, Some(Duration::from_secs(40))));
    assert_eq!(planned(&failed(json!({})), 100).step, Step::Retry(at(100)));
    assert_eq!(planned(&failed(json!({})), 9999).step, Step::Retry(at(100)), "the name does not depend on the clock");
    let done = planned(&failed(json!({"retried": true})), 9999);
    assert_eq!((done.step, done.again), (Step::Nothing, None));
}

fn job_state() -> impl Strategy<Value = JobState> {
    prop_oneof![
        Just(JobState::Missing),
        Just(JobState::Running),
        Just(JobState::Ending("its pod".to_owned())),
        Just(JobState::Complete),
        Just(JobState::Failed("why".to_owned())),
        (0_u64..4000).prop_map(waiting),
    ]
}

proptest! {
    /// Whatever has happened: a session that has not ended takes a step or looks again, and one that has ended well has a
    /// complete Snapshot and no Job.
    #[test]
    fn no_session_is_stuck_and_none_lies(
        facts in prop_oneof![Just(Facts::Gone), Just(Facts::None), Just(Facts::Running), Just(Facts::Proven), Just(Facts::Succeeded), Just(Facts::Failed), Just(Facts::Incomplete)],
        executor in job_state(),
        retention in job_state(),
        told in proptest::collection::vec(prop_oneof![Just("True"), Just("False"), Just("")], 3),
        policy in prop_oneof![Just(None), Just(Some("Pending")), Just(Some("Applied")), Just(Some("FailedToApply"))],
        deadline in prop_oneof![Just(None), (0_i64..200).prop_map(Some)],
        seconds in 0_i64..4000,
    ) {
        let types = ["SnapshotsEnsured", "BackupExecutorEnsured", "RetentionPolicyExecutorEnsured"];
        let all: Vec<_> = types.iter().copied().zip(told.iter().copied()).filter(|(_, status)| !status.is_empty()).collect();
        let mut more = json!({});
        if let Some(policy) = policy {
            more["retentionPolicy"] = json!([{"repository": "r", "phase": policy}]);
        }
        if let Some(deadline) = deadline {
            more["backupDeadline"] = json!(at(deadline));
        }
        let view = view(status(&all, more), facts, executor.clone(), retention.clone());
        let Plan { step, status, again } = planned(&view, seconds);
        let ended = session_is_final(status.phase);
        prop_assert!(ended || step != Step::Nothing || again.is_some());
        prop_assert_eq!(ended, condition::exists(&status.conditions, METRICS_PUSHED));
        if status.phase == Some(BackupSessionPhase::Succeeded) {
            prop_assert_eq!(facts, Facts::Succeeded);
        }
        if ended && status.snapshots.iter().any(|one| one.phase.is_some()) && !condition::is_false(&status.conditions, condition::SNAPSHOTS_ENSURED) {
            prop_assert!(executor.is_over(), "nothing runs when it has ended");
            // Without an executor no retention was ever begun.
            let never_ran = condition::is_false(&status.conditions, condition::BACKUP_EXECUTOR_ENSURED);
            prop_assert!(never_ran || policy.is_none() || retention.is_over(), "nor does its retention");
        }
    }
}
