//! Decisions about runs, as tables.

use std::time::Duration;

use coffer_api::ResourceExt;
use coffer_api::core::{BackupConfiguration, BackupSession};
use coffer_api::k8s_openapi::jiff::Timestamp;
use coffer_api::lifecycle::{deadline, next_retry, retries, skip, surplus, time_left};
use coffer_api::shared::RetryConfig;
use rstest::rstest;
use serde_json::{Value, json};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_769_860_800 + second).expect("a time")
}

fn configuration(phase: Value, paused: bool) -> BackupConfiguration {
    serde_json::from_value(json!({
        "apiVersion": "core.kubestash.com/v1alpha1", "kind": "BackupConfiguration",
        "metadata": {"name": "bc", "namespace": "demo"}, "spec": {"paused": paused}, "status": {"phase": phase},
    }))
    .expect("a BackupConfiguration")
}

fn session(name: &str, created: i64, of: &str, status: Value) -> BackupSession {
    let (invoker, session) = of.split_once('/').expect("of is invoker/session");
    serde_json::from_value(json!({
        "apiVersion": "core.kubestash.com/v1alpha1", "kind": "BackupSession",
        "metadata": {"name": name, "namespace": "demo", "creationTimestamp": at(created).to_string()},
        "spec": {"invoker": {"kind": "BackupConfiguration", "name": invoker}, "session": session, "retryLeft": 1},
        "status": status,
    }))
    .expect("a BackupSession")
}

fn phase(phase: &str) -> Value {
    json!({ "phase": phase })
}

#[rstest]
#[case::alone(vec![], None)]
#[case::finished(vec![session("old", -9, "bc/daily", phase("Succeeded"))], None)]
#[case::failed(vec![session("old", -9, "bc/daily", phase("Failed"))], None)]
#[case::skipped(vec![session("old", -9, "bc/daily", phase("Skipped"))], None)]
#[case::running(vec![session("old", -9, "bc/daily", phase("Running"))], Some("BackupSession old"))]
#[case::unseen(vec![session("old", -9, "bc/daily", json!({}))], Some("BackupSession old"))]
#[case::younger(vec![session("young", 9, "bc/daily", phase("Running"))], None)]
#[case::same_second(vec![session("a", 0, "bc/daily", phase("Pending"))], Some("BackupSession a"))]
#[case::same_second_behind(vec![session("z", 0, "bc/daily", phase("Pending"))], None)]
#[case::other_session(vec![session("old", -9, "bc/weekly", phase("Running"))], None)]
#[case::other_invoker(vec![session("old", -9, "other/daily", phase("Running"))], None)]
#[case::itself(vec![session("this", 0, "bc/daily", phase("Running"))], None)]
fn a_session_waits_for_older_ones(#[case] others: Vec<BackupSession>, #[case] expected: Option<&str>) {
    let this = session("this", 0, "bc/daily", json!({}));
    let reason = skip(&this, &configuration(json!("Ready"), false), &others);
    match (reason, expected) {
        (None, None) => {}
        (Some(reason), Some(expected)) => assert!(reason.contains(expected), "{reason}"),
        (reason, expected) => panic!("{reason:?} instead of {expected:?}"),
    }
}

#[test]
fn of_two_sessions_exactly_one_runs() {
    let both = [session("a", 0, "bc/daily", json!({})), session("b", 0, "bc/daily", json!({}))];
    let ready = configuration(json!("Ready"), false);
    let run: Vec<_> = both.iter().filter(|one| skip(one, &ready, &both).is_none()).map(ResourceExt::name_any).collect();
    assert_eq!(run, ["a"]);
}

#[test]
fn a_session_needs_a_configuration_that_is_ready_and_not_paused() {
    let this = session("this", 0, "bc/daily", json!({}));
    assert!(skip(&this, &configuration(json!("Ready"), true), &[]).expect("it is skipped").contains("paused"));
    for phase in [json!("NotReady"), json!("Invalid"), json!(null)] {
        assert!(skip(&this, &configuration(phase, false), &[]).expect("it is skipped").contains("not Ready"));
    }
}

#[test]
fn deadlines_are_what_is_left_of_timeouts() {
    assert_eq!(deadline(at(0), Some("30m")), Ok(Some(at(1800))));
    for none in [None, Some(""), Some("0s"), Some("0")] {
        assert_eq!(deadline(at(0), none), Ok(None));
    }
    assert!(deadline(at(0), Some("soon")).is_err());
    assert_eq!(time_left(at(9), at(2)), Some(Duration::from_secs(7)));
    assert_eq!(time_left(at(9), at(9)), None);
    assert_eq!(time_left(at(9), at(10)), None);
}

#[rstest]
#[case::failed(phase("Failed"), 1, Some("90s"), Some(at(190)))]
#[case::at_once(phase("Failed"), 1, None, Some(at(100)))]
#[case::none_left(phase("Failed"), 0, Some("90s"), None)]
#[case::negative(phase("Failed"), -1, None, None)]
#[case::retried(json!({"phase": "Failed", "retried": true}), 1, None, None)]
#[case::succeeded(phase("Succeeded"), 1, None, None)]
#[case::skipped(phase("Skipped"), 1, None, None)]
#[case::running(phase("Running"), 1, None, None)]
fn failed_sessions_are_tried_again(
    #[case] status: Value,
    #[case] left: i32,
    #[case] delay: Option<&str>,
    #[case] expected: Option<Timestamp>,
) {
    let mut this = session("this", 0, "bc/daily", status);
    this.spec.retry_left = Some(left);
    let config = RetryConfig { max_retry: 1, delay: delay.map(str::to_owned) };
    assert_eq!(next_retry(&this, Some(&config), at(100)), Ok(expected));
}

#[test]
fn retries_take_a_configuration() {
    assert_eq!(retries(None), 0);
    assert_eq!(retries(Some(&RetryConfig { max_retry: 3, delay: None })), 3);
    assert_eq!(retries(Some(&RetryConfig { max_retry: -3, delay: None })), 0);
    let this = session("this", 0, "bc/daily", phase("Failed"));
    assert!(next_retry(&this, Some(&RetryConfig { max_retry: 1, delay: Some("x".into()) }), at(0)).is_err());
}

#[test]
fn old_sessions_go() {
    let names = |sessions: &[BackupSession], limit| {
        surplus(sessions, limit).into_iter().map(ResourceExt::name_any).collect::<Vec<_>>()
    };
    let mut going = session("going", 0, "bc/daily", phase("Failed"));
    going.metadata.deletion_timestamp = going.metadata.creation_timestamp.clone();
    let sessions = [
        session("d3", 3, "bc/daily", phase("Failed")),
        session("d1", 1, "bc/daily", phase("Succeeded")),
        session("d2", 2, "bc/daily", phase("Skipped")),
        session("d4", 4, "bc/daily", phase("Running")),
        session("w1", 1, "bc/weekly", phase("Succeeded")),
        session("o1", 1, "other/daily", phase("Succeeded")),
        session("retry", 0, "bc/daily", json!({"phase": "Failed", "nextRetry": at(99).to_string()})),
        going,
    ];
    assert_eq!(names(&sessions, 9), Vec::<String>::new());
    assert_eq!(names(&sessions, 2), ["d1"]);
    assert_eq!(names(&sessions, 1), ["d1", "d2"]);
    assert_eq!(names(&sessions, 0), ["d1", "o1", "w1", "d2", "d3"]);
    assert_eq!(names(&sessions, -1), names(&sessions, 0));
}
