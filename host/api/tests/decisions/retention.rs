//! Which Snapshots a RetentionPolicy lets go, as tables and properties.

use coffer_api::ResourceExt;
use coffer_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use coffer_api::k8s_openapi::jiff::{SignedDuration, Timestamp};
use coffer_api::retention::{StaleReason, stale};
use coffer_api::storage::{RetentionPolicySpec, Snapshot};
use proptest::prelude::*;
use serde_json::{Value, json};

const NOW: &str = "2026-03-01T00:00:00Z";

fn now() -> Timestamp {
    NOW.parse().expect("a time")
}

fn snapshot(name: &str, session: &str, phase: &str, time: &str) -> Snapshot {
    serde_json::from_value(json!({
        "apiVersion": "storage.kubestash.com/v1alpha1", "kind": "Snapshot", "metadata": {"name": name},
        "spec": {"session": session}, "status": {"phase": phase, "snapshotTime": time},
    }))
    .expect("a Snapshot")
}

/// Snapshots named by their times.
fn succeeded(times: &[&str]) -> Vec<Snapshot> {
    times.iter().map(|time| snapshot(time, "daily", "Succeeded", time)).collect()
}

fn policy(spec: Value) -> RetentionPolicySpec {
    serde_json::from_value(spec).expect("a policy")
}

/// Names of the Snapshots that go, with the reason.
fn going(spec: Value, snapshots: &[Snapshot]) -> Vec<(String, StaleReason)> {
    let stale = stale(&policy(spec), snapshots, now()).expect("the period is one");
    stale.iter().map(|one| (one.snapshot.name_any(), one.reason)).collect()
}

/// Names of the Snapshots that stay, in the order given.
fn staying(spec: Value, snapshots: &[Snapshot]) -> Vec<String> {
    let going = going(spec, snapshots);
    let stays = |name: &String| going.iter().all(|(gone, _)| gone != name);
    snapshots.iter().map(ResourceExt::name_any).filter(stays).collect()
}

#[test]
fn what_is_dated_in_the_future_neither_goes_nor_pushes_others_out() {
    let snapshots = succeeded(&["2026-02-27T00:00:00Z", "2026-02-28T00:00:00Z", "2027-01-01T00:00:00Z"]);
    let rules = json!({"successfulSnapshots": {"last": 1}});
    assert_eq!(staying(rules, &snapshots), ["2026-02-28T00:00:00Z", "2027-01-01T00:00:00Z"]);
}

const TIMES: [&str; 6] = [
    "2025-12-31T23:00:00Z",
    "2026-01-01T01:00:00Z",
    "2026-01-01T23:00:00Z",
    "2026-01-02T10:10:00Z",
    "2026-01-02T10:50:00Z",
    "2026-01-05T00:00:00Z",
];

#[test]
fn each_rule_keeps_the_newest_of_its_periods() {
    let snapshots = succeeded(&TIMES);
    let kept = |rules: Value| staying(json!({"successfulSnapshots": rules}), &snapshots);
    assert_eq!(kept(json!({"last": 2})), TIMES[4..]);
    assert_eq!(kept(json!({"hourly": 2})), TIMES[4..]);
    assert_eq!(kept(json!({"daily": 3})), [TIMES[2], TIMES[4], TIMES[5]]);
    assert_eq!(kept(json!({"weekly": 1})), [TIMES[5]]);
    // 2026-01-05 is a Monday; all before it are of one ISO week, that of 2025's last days too.
    assert_eq!(kept(json!({"weekly": 2})), [TIMES[4], TIMES[5]]);
    assert_eq!(kept(json!({"monthly": 2})), [TIMES[0], TIMES[5]]);
    assert_eq!(kept(json!({"yearly": 2})), [TIMES[0], TIMES[5]]);
}

#[test]
fn a_rule_that_is_not_used_up_keeps_the_oldest() {
    let snapshots = succeeded(&TIMES);
    let kept = |rules: Value| staying(json!({"successfulSnapshots": rules}), &snapshots);
    assert_eq!(kept(json!({"weekly": 9})), [TIMES[0], TIMES[4], TIMES[5]]);
    assert_eq!(kept(json!({"daily": 9})), [TIMES[0], TIMES[2], TIMES[4], TIMES[5]]);
}

#[test]
fn rules_add_up_and_a_negative_one_keeps_all() {
    let snapshots = succeeded(&TIMES);
    let kept = |rules: Value| staying(json!({"successfulSnapshots": rules}), &snapshots);
    assert_eq!(kept(json!({"last": 1, "monthly": 2, "daily": 2})), [TIMES[0], TIMES[4], TIMES[5]]);
    assert_eq!(kept(json!({"last": -1})), TIMES);
    assert_eq!(kept(json!({"daily": -1})), [TIMES[0], TIMES[2], TIMES[4], TIMES[5]]);
    // Rules that say nothing let nothing go.
    assert_eq!(kept(json!({})), TIMES);
    assert_eq!(kept(json!({"last": 0, "yearly": 0})), TIMES);
}

#[test]
fn what_is_too_old_goes_whatever_the_rules_keep() {
    let snapshots = succeeded(&TIMES);
    // 59 days before the first of March is the first of January.
    assert_eq!(going(json!({"maxRetentionPeriod": "59d"}), &snapshots), [(TIMES[0].to_owned(), StaleReason::TooOld)]);
    let both = json!({"maxRetentionPeriod": "58d", "successfulSnapshots": {"yearly": 9, "last": 2}});
    assert_eq!(staying(both, &snapshots), TIMES[3..]);
    assert_eq!(staying(json!({"maxRetentionPeriod": ""}), &snapshots), TIMES);
    assert_eq!(staying(json!({"maxRetentionPeriod": "9999y"}), &snapshots), TIMES);
}

#[test]
fn the_last_good_one_stays_however_old() {
    let mut snapshots = succeeded(&TIMES);
    snapshots.push(snapshot("failed", "daily", "Failed", "2026-02-28T00:00:00Z"));
    assert_eq!(staying(json!({"maxRetentionPeriod": "1h"}), &snapshots), [TIMES[5]]);
    // And of each session.
    snapshots.push(snapshot("other", "weekly", "Succeeded", TIMES[0]));
    assert_eq!(staying(json!({"maxRetentionPeriod": "1h"}), &snapshots), [TIMES[5], "other"]);
}

#[test]
fn of_failed_ones_the_newest_stay() {
    let snapshots: Vec<_> = TIMES.iter().map(|time| snapshot(time, "daily", "Failed", time)).collect();
    let spec = |last: Value| json!({"maxRetentionPeriod": "1y", "failedSnapshots": last});
    assert_eq!(staying(spec(json!(null)), &snapshots), [TIMES[5]]);
    assert_eq!(staying(spec(json!({})), &snapshots), [TIMES[5]]);
    assert_eq!(staying(spec(json!({"last": 2})), &snapshots), TIMES[4..]);
    assert_eq!(staying(spec(json!({"last": -1})), &snapshots), TIMES);
    assert!(staying(spec(json!({"last": 0})), &snapshots).is_empty());
    let going = going(json!({"maxRetentionPeriod": "57d", "failedSnapshots": {"last": 3}}), &snapshots);
    assert_eq!(going.first().expect("some go").1, StaleReason::TooOld);
    assert_eq!(going.last().expect("some go"), &(TIMES[4].to_owned(), StaleReason::TooOld));
}

#[test]
fn failed_ones_do_not_push_successful_ones_out() {
    let mut snapshots = succeeded(&TIMES[..2]);
    snapshots.extend(TIMES[2..].iter().map(|time| snapshot(time, "daily", "Failed", time)));
    let spec = json!({"successfulSnapshots": {"last": 2}, "failedSnapshots": {"last": 0}});
    assert_eq!(staying(spec, &snapshots), TIMES[..2]);
}

#[test]
fn sessions_do_not_push_each_other_out() {
    let mut snapshots = succeeded(&TIMES);
    snapshots.push(snapshot("weekly", "weekly", "Succeeded", TIMES[0]));
    assert_eq!(staying(json!({"successfulSnapshots": {"last": 1}}), &snapshots), [TIMES[5], "weekly"]);
}

#[test]
fn what_is_not_finished_paused_or_undated_stays() {
    let old = "2020-01-01T00:00:00Z";
    let mut paused = snapshot("paused", "daily", "Succeeded", old);
    paused.spec.paused = Some(true);
    let mut undated = snapshot("undated", "daily", "Succeeded", old);
    undated.status.as_mut().expect("it has one").snapshot_time = None;
    let mut created = undated.clone();
    created.metadata.name = Some("created".to_owned());
    created.metadata.creation_timestamp = Some(Time(old.parse().expect("a time")));
    let mut going_already = snapshot("going", "daily", "Succeeded", old);
    going_already.metadata.deletion_timestamp = created.metadata.creation_timestamp.clone();
    let snapshots = [
        snapshot("running", "daily", "Running", old),
        snapshot("pending", "daily", "Pending", old),
        paused,
        undated,
        created,
        going_already,
        snapshot("newest", "daily", "Succeeded", TIMES[0]),
    ];
    let going = going(json!({"maxRetentionPeriod": "1h", "failedSnapshots": {"last": 0}}), &snapshots);
    assert_eq!(going, [("created".to_owned(), StaleReason::TooOld)]);
}

#[test]
fn a_malformed_period_lets_nothing_go() {
    let error =
        stale(&policy(json!({"maxRetentionPeriod": "90s"})), &succeeded(&TIMES), now()).expect_err("it is none");
    assert!(error.to_string().contains("90s"), "{error}");
}

fn any_snapshots() -> impl Strategy<Value = Vec<Snapshot>> {
    let one = (
        0_i64..4000,
        proptest::sample::select(&["daily", "weekly"][..]),
        proptest::sample::select(&["Succeeded", "Failed", "Running"][..]),
    );
    proptest::collection::vec(one, 0..40).prop_map(|list| {
        let list = list.into_iter().enumerate();
        list.map(|(index, (hours, session, phase))| {
            let time = now() - SignedDuration::from_hours(hours);
            snapshot(&format!("s{index}"), session, phase, &time.to_string())
        })
        .collect()
    })
}

fn any_policy() -> impl Strategy<Value = Value> {
    let number = || proptest::option::of(-1..6);
    (number(), number(), number(), number(), number(), number(), number(), proptest::option::of(0..200_u32)).prop_map(
        |(last, hourly, daily, weekly, monthly, yearly, failed, days)| {
            json!({
                "successfulSnapshots": {"last": last, "hourly": hourly, "daily": daily, "weekly": weekly,
                    "monthly": monthly, "yearly": yearly},
                "failedSnapshots": failed.map(|last| json!({"last": last})),
                "maxRetentionPeriod": days.map(|days| format!("{days}d")),
            })
        },
    )
}

proptest! {
    #[test]
    fn the_newest_good_one_of_each_session_stays(snapshots in any_snapshots(), spec in any_policy()) {
        let going = going(spec, &snapshots);
        for session in ["daily", "weekly"] {
            let good = snapshots.iter().filter(|one| {
                let phase = one.status.as_ref().and_then(|status| status.phase);
                one.spec.session.as_deref() == Some(session) && phase == Some(coffer_api::shared::SnapshotPhase::Succeeded)
            });
            let time = |one: &Snapshot| one.status.as_ref().and_then(|status| status.snapshot_time.clone()).map(|time| time.0);
            let all: Vec<_> = good.collect();
            let newest = all.iter().filter_map(|one| time(one)).max();
            let kept = all.iter().any(|one| time(one) == newest && going.iter().all(|(gone, _)| *gone != one.name_any()));
            prop_assert!(all.is_empty() || kept);
        }
    }

    #[test]
    fn the_order_of_the_list_does_not_matter(snapshots in any_snapshots(), spec in any_policy()) {
        let mut reversed = snapshots.clone();
        reversed.reverse();
        prop_assert_eq!(going(spec.clone(), &snapshots), going(spec, &reversed));
    }

    /// Applied again, with nothing new, a policy without an age lets nothing more go.
    #[test]
    fn once_is_enough(snapshots in any_snapshots(), spec in any_policy()) {
        let gone = going(spec.clone(), &snapshots);
        let left: Vec<_> =
            snapshots.into_iter().filter(|one| gone.iter().all(|(name, _)| *name != one.name_any())).collect();
        prop_assert_eq!(going(spec, &left), vec![]);
    }

    #[test]
    fn what_is_not_finished_stays(snapshots in any_snapshots(), spec in any_policy()) {
        let running = |name: &str| {
            let one = snapshots.iter().find(|one| one.name_any() == name).and_then(|one| one.status.as_ref());
            one.and_then(|status| status.phase) == Some(coffer_api::shared::SnapshotPhase::Running)
        };
        prop_assert!(going(spec, &snapshots).iter().all(|(name, _)| !running(name)));
    }
}
