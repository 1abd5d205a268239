//! BackupSessions: from admission to the clean-up, and every way to fail.

use serde_json::json;

use crate::fake::Fake;
use crate::world::{
    BINDINGS, CONFIGURATIONS, EVENTS, JOBS, PODS, Play, REPOSITORIES, SESSIONS, SNAPSHOTS, World, condition, facts,
    finish, names,
};

async fn ready(world: &World, session: serde_json::Value) -> String {
    world.base();
    world.configuration(session);
    world.first().await
}

fn snapshots_of(fake: &Fake, session: &str) -> Vec<serde_json::Value> {
    fake.all(SNAPSHOTS).into_iter().filter(|one| one["spec"]["backupSession"] == session).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_succeeds() {
    let world = World::new();
    let _operator = world.operator();
    let session = ready(&world, json!({})).await;
    world.phase(SESSIONS, &session, "Succeeded").await;
    let object = world.fake.get(SESSIONS, "demo", &session).unwrap();
    assert!(
        session.starts_with("sample-daily-") && object["metadata"]["labels"]["kubestash.com/invoker-name"] == "sample"
    );
    for type_ in [
        "SnapshotsEnsured",
        "BackupExecutorEnsured",
        "RetentionPolicyExecutorEnsured",
        "SessionHistoryCleaned",
        "MetricsPushed",
        "Ready",
    ] {
        assert_eq!(condition(&object, type_)["status"], "True", "{type_}");
    }
    assert_eq!(object["status"]["totalSnapshots"], 1);
    assert_eq!(object["status"]["snapshots"][0]["phase"], "Succeeded");
    assert_eq!(object["status"]["retentionPolicy"][0]["phase"], "Applied");
    assert_eq!(object["status"]["retentionPolicy"][0]["ref"], json!({"name": "keep", "namespace": "demo"}));
    assert!(object["status"]["duration"].is_string());

    // It has a controller of its own.
    world.phase(SNAPSHOTS, &format!("sample-repo-{session}"), "Succeeded").await;
    let [snapshot] = snapshots_of(&world.fake, &session).try_into().unwrap();
    assert_eq!(snapshot["status"]["totalComponents"], 1);
    assert_eq!(snapshot["status"]["size"], "2.000 MiB");
    assert_eq!(snapshot["status"]["integrity"], true);
    assert_eq!(snapshot["spec"]["version"], "v1");
    assert_eq!(snapshot["spec"]["snapshotID"].as_str().unwrap().len(), 26);
    assert_eq!(snapshot["metadata"]["labels"]["kubestash.com/repo-name"], "sample-repo");
    assert_eq!(snapshot["metadata"]["labels"]["kubestash.com/app-ref-name"], "sample-mysql");
    assert_eq!(snapshot["metadata"]["ownerReferences"][0]["kind"], "Repository");

    let job = world.fake.get(JOBS, "demo", &session).unwrap();
    let container = &job["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["args"], json!(["run", "backup", "--namespace", "demo", "--session", session]));
    assert_eq!(container["name"], "logical-backup-0");
    assert_eq!(job["metadata"]["ownerReferences"][0]["kind"], "BackupSession");
    assert_eq!(job["metadata"]["labels"]["app.kubernetes.io/component"], "kubestash-backup");
    assert!(world.fake.get(JOBS, "demo", &format!("retention-policy-{session}")).is_some());
    world.until("rights end with the session", |fake| fake.get(BINDINGS, "demo", &session).is_none()).await;
    world
        .until("it is told", |fake| {
            let events = fake.all(EVENTS);
            let mut ours = events.iter().filter(|event| event["regarding"]["name"] == session.as_str());
            ours.any(|event| event["reason"] == "BackupSucceeded")
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_fails_says_why_and_is_tried_again() {
    for (play, why) in [
        (Play::Fail, "BackoffLimitExceeded: it failed"),
        (Play::Silent, "its Job ended without a result"),
        (Play::Evict, "Evicted: The node was low on resource: memory."),
    ] {
        let world = World::new();
        world.plays("backup", play);
        let operator = world.operator();
        let session = ready(&world, json!({"retryConfig": {"maxRetry": 1, "delay": "1h"}})).await;
        world.phase(SESSIONS, &session, "Failed").await;
        world.settled().await;
        let object = world.fake.get(SESSIONS, "demo", &session).unwrap();
        let message = condition(&object, "Stalled")["message"].as_str().unwrap().to_owned();
        assert!(message.contains(why), "{message}");
        let [snapshot] = snapshots_of(&world.fake, &session).try_into().unwrap();
        assert_eq!(snapshot["status"]["phase"], "Failed");
        assert!(condition(&snapshot, "BackupIncomplete")["message"].as_str().unwrap().contains(why));
        assert_eq!(world.sessions(), std::slice::from_ref(&session), "not before the delay is over");
        let retention = world.fake.get(JOBS, "demo", &format!("retention-policy-{session}"));
        assert!(retention.is_some(), "failed Snapshots are subject to retention too");

        // Even when another operator comes to it.
        operator.kill();
        world.plays("backup", Play::Succeed);
        world.advance(3601);
        let _operator = world.operator();
        world.until("there is another session", |fake| fake.ever(SESSIONS).len() == 2).await;
        world
            .until("the first one says so", |fake| {
                fake.get(SESSIONS, "demo", &session).is_none_or(|one| one["status"]["retried"] == true)
            })
            .await;
        let again = world.fake.ever(SESSIONS).pop().unwrap().replace("demo/", "");
        world.phase(SESSIONS, &again, "Succeeded").await;
        assert_eq!(world.fake.get(SESSIONS, "demo", &again).unwrap()["spec"]["retryLeft"], 0);
        world.until("the history has one", |_| world.sessions() == [again.as_str()]).await;
        world.settled().await;
        assert_eq!(world.fake.ever(SESSIONS).len(), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_ends_the_session_and_its_job() {
    let world = World::new();
    world.plays("backup", Play::Hang);
    let _operator = world.operator();
    let session = ready(&world, json!({"backupTimeout": "10m"})).await;
    world.until("it runs", |fake| !fake.all(PODS).is_empty()).await;
    let deadline = world.fake.get(JOBS, "demo", &session).unwrap()["spec"]["activeDeadlineSeconds"].as_i64().unwrap();
    assert!((600..=1200).contains(&deadline), "{deadline}: Kubernetes ends the Job even if no operator is there");
    world.advance(601);
    world.phase(SESSIONS, &session, "Failed").await;
    let object = world.fake.get(SESSIONS, "demo", &session).unwrap();
    let message = condition(&object, "Stalled")["message"].as_str().unwrap().to_owned();
    assert!(message.contains("deadline exceeded") && message.contains("10m"), "{message}");
    assert!(world.fake.get(JOBS, "demo", &session).is_none(), "nothing runs when the session has ended");
    assert_eq!(world.fake.ever(JOBS).iter().filter(|name| **name == format!("demo/{session}")).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_never_starts_ends_the_session() {
    let world = World::new();
    world.plays("backup", Play::Pend);
    let _operator = world.operator();
    let session = ready(&world, json!({})).await;
    world.until("it waits", |fake| !fake.all(PODS).is_empty()).await;
    world.advance(301);
    world
        .until("it says so", |fake| {
            let object = fake.get(SESSIONS, "demo", &session).unwrap();
            let pending = condition(&object, "PodHasBeenInPendingStateForLongerThanExpected");
            pending["message"].as_str().is_some_and(|text| text.contains("0/3 nodes"))
        })
        .await;
    world.advance(1800);
    world.phase(SESSIONS, &session, "Failed").await;
    let object = world.fake.get(SESSIONS, "demo", &session).unwrap();
    assert!(condition(&object, "Stalled")["message"].as_str().unwrap().contains("has not started within 30 minutes"));
    assert!(world.fake.get(JOBS, "demo", &session).is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_somebody_deletes_is_not_made_again() {
    let world = World::new();
    world.plays("backup", Play::Hang);
    let _operator = world.operator();
    let session = ready(&world, json!({})).await;
    world.until("it runs", |fake| !fake.all(PODS).is_empty()).await;
    world
        .until("the session knows", |fake| {
            condition(&fake.get(SESSIONS, "demo", &session).unwrap(), "BackupExecutorEnsured")["status"] == "True"
        })
        .await;
    world.fake.delete(JOBS, "demo", &session);
    world.phase(SESSIONS, &session, "Failed").await;
    assert_eq!(world.fake.ever(JOBS).iter().filter(|name| **name == format!("demo/{session}")).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_sessions_at_once_one_runs() {
    let world = World::new();
    let _operator = world.operator();
    let first = ready(&world, json!({"sessionHistoryLimit": 9})).await;
    world.phase(SESSIONS, &first, "Succeeded").await;
    world.plays("backup", Play::Hang);
    world.trigger("sample-daily-1", 0);
    world.trigger("sample-daily-2", 0);
    world.phase(SESSIONS, "sample-daily-2", "Skipped").await;
    world.runs("sample-daily-1").await;
    assert!(world.fake.get(JOBS, "demo", "sample-daily-2").is_none());
    let skipped = world.fake.get(SESSIONS, "demo", "sample-daily-2").unwrap();
    assert_eq!(condition(&skipped, "BackupSkipped")["reason"], "PreRequisitesNotSatisfied");
    facts(&world.fake, "demo", "backup", None, "sample-daily-1", None);
    finish(&world.fake, "demo", "sample-daily-1", "Complete");
    world.phase(SESSIONS, "sample-daily-1", "Succeeded").await;
    world.fake.edit(CONFIGURATIONS, "demo", "sample", |one| one["spec"]["paused"] = json!(true));
    world.trigger("sample-daily-3", 0);
    world.phase(SESSIONS, "sample-daily-3", "Skipped").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_repository_has_its_own_outcome() {
    let world = World::new();
    world.plays("backup", Play::Partly("sample-far"));
    let _operator = world.operator();
    world.base();
    world.storage("demo", "far", json!({}));
    let repository = |name: &str, backend: &str| json!({"name": name, "backend": backend, "directory": "/sample", "encryptionSecret": {"name": "encrypt"}});
    let mut two = crate::world::configuration(
        "sample",
        json!({"repositories": [repository("sample-near", "s3"), repository("sample-far", "far")]}),
    );
    two["spec"]["backends"]
        .as_array_mut()
        .unwrap()
        .push(json!({"name": "far", "storageRef": {"name": "far"}, "retentionPolicy": {"name": "keep"}}));
    world.fake.create(CONFIGURATIONS, two);
    let session = world.first().await;
    world.phase(SESSIONS, &session, "Failed").await;
    let object = world.fake.get(SESSIONS, "demo", &session).unwrap();
    let phases: Vec<_> = object["status"]["snapshots"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| format!("{} {}", one["repository"], one["phase"]))
        .collect();
    assert_eq!(phases, [r#""sample-near" "Succeeded""#, r#""sample-far" "Failed""#]);
    assert!(condition(&object, "Stalled")["message"].as_str().unwrap().contains("the bucket is gone"));
    assert_eq!(
        world.fake.ever(JOBS).iter().filter(|name| **name == format!("demo/{session}")).count(),
        1,
        "one pass over the database"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_that_is_not_there_does_not_hold_up_the_others_for_ever() {
    let world = World::new();
    let _operator = world.operator();
    world.base();
    world.plays("initialize-repository", Play::Fail);
    world.configuration(json!({}));
    let session = world.first().await;
    // Who wrote that knows the Repository.
    world.phase(REPOSITORIES, "sample-repo", "NotReady").await;
    world.settled().await;
    assert!(world.fake.get(JOBS, "demo", &session).is_none());
    world.advance(301);
    world.phase(SESSIONS, &session, "Failed").await;
    let object = world.fake.get(SESSIONS, "demo", &session).unwrap();
    let ensured = condition(&object, "SnapshotsEnsured");
    assert!(ensured["message"].as_str().unwrap().contains("Repository sample-repo is not ready"), "{ensured}");
    assert_eq!(ensured["status"], "False");
    assert!(world.fake.all(SNAPSHOTS).is_empty() && world.fake.get(REPOSITORIES, "demo", "sample-repo").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_that_fails_fails_the_session() {
    let world = World::new();
    world.plays("retention", Play::Fail);
    let _operator = world.operator();
    let session = ready(&world, json!({})).await;
    world.phase(SESSIONS, &session, "Failed").await;
    let object = world.fake.get(SESSIONS, "demo", &session).unwrap();
    assert_eq!(object["status"]["retentionPolicy"][0]["phase"], "FailedToApply");
    assert_eq!(object["status"]["retentionPolicy"][0]["error"], "BackoffLimitExceeded: it failed");
    assert_eq!(object["status"]["snapshots"][0]["phase"], "Succeeded", "what was backed up is good");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_addon_that_goes_away_fails_the_next_session() {
    let world = World::new();
    let _operator = world.operator();
    let first = ready(&world, json!({})).await;
    world.phase(SESSIONS, &first, "Succeeded").await;
    world.fake.delete(crate::world::ADDONS, "", "mysql-addon");
    world.phase(CONFIGURATIONS, "sample", "NotReady").await;
    world.trigger("sample-daily-7", 0);
    world.phase(SESSIONS, "sample-daily-7", "Skipped").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_history_keeps_as_many_sessions_as_it_should() {
    let world = World::new();
    let _operator = world.operator();
    let first = ready(&world, json!({"sessionHistoryLimit": 2})).await;
    world.phase(SESSIONS, &first, "Succeeded").await;
    for number in 1..4 {
        world.advance(1);
        let name = format!("sample-daily-{number}");
        world.trigger(&name, 0);
        world.phase(SESSIONS, &name, "Succeeded").await;
    }
    world.until("two are left", |fake| names(&fake.all(SESSIONS)) == ["sample-daily-2", "sample-daily-3"]).await;
    world.settled().await;
    let jobs: Vec<_> = names(&world.fake.all(JOBS)).into_iter().filter(|name| name.contains("daily")).collect();
    assert_eq!(
        jobs,
        ["retention-policy-sample-daily-2", "retention-policy-sample-daily-3", "sample-daily-2", "sample-daily-3"]
    );
    assert_eq!(world.fake.all(SNAPSHOTS).len(), 4, "Snapshots survive their sessions");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_has_not_ended_before_its_pod_has() {
    let world = World::new();
    world.plays("backup", Play::Hang);
    let _operator = world.operator();
    let session = ready(&world, json!({"backupTimeout": "10m"})).await;
    world.runs(&session).await;
    world.settled().await;
    world.hold(&session);
    world.advance(601);
    world.until("its Job is gone", |fake| fake.get(JOBS, "demo", &session).is_none()).await;
    world.phase(SESSIONS, &session, "Running").await;
    world.settled().await;
    let retention = format!("demo/retention-policy-{session}");
    assert_eq!(world.fake.get(SESSIONS, "demo", &session).unwrap()["status"]["phase"], "Running");
    assert!(!world.fake.ever(JOBS).contains(&retention), "nothing is removed while somebody writes");
    world.let_go(&session);
    world.phase(SESSIONS, &session, "Failed").await;
    assert!(world.fake.ever(JOBS).contains(&retention));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_takes_nothing_back_that_is_proven() {
    let world = World::new();
    world.plays("backup", Play::Hang);
    let _operator = world.operator();
    let session = ready(&world, json!({"backupTimeout": "10m"})).await;
    world.runs(&session).await;
    let snapshot = format!("sample-repo-{session}");
    let proven = json!({"dump": {"phase": "Succeeded", "resticStats": [{"summary": {"id": "abcd"}}]}});
    world.fake.edit(SNAPSHOTS, "demo", &snapshot, |one| one["status"]["components"] = proven);
    // Now the operator knows it.
    world.phase(SNAPSHOTS, &snapshot, "Running").await;
    world.advance(601);
    world.touch(SESSIONS, &session);
    world.settled().await;
    assert!(world.fake.get(JOBS, "demo", &session).is_some(), "it may write down what it has");
    assert_eq!(world.fake.get(SNAPSHOTS, "demo", &snapshot).unwrap()["status"]["phase"], "Running");
    facts(&world.fake, "demo", "backup", None, &session, None);
    finish(&world.fake, "demo", &session, "Complete");
    world.phase(SESSIONS, &session, "Succeeded").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_was_created_unnoticed_is_found_and_stopped() {
    let world = World::new();
    world.plays("backup", Play::Hang);
    let operator = world.operator();
    let session = ready(&world, json!({"backupTimeout": "10m"})).await;
    world.runs(&session).await;
    world.settled().await;
    // As if it had been killed between the Job and the status that tells of it.
    operator.kill();
    world.fake.edit(SESSIONS, "demo", &session, |one| {
        let all = one["status"]["conditions"].as_array_mut().unwrap();
        all.retain(|condition| condition["type"] != "BackupExecutorEnsured");
    });
    world.advance(601);
    let _operator = world.operator();
    world.phase(SESSIONS, &session, "Failed").await;
    let object = world.fake.get(SESSIONS, "demo", &session).unwrap();
    let message = condition(&object, "Stalled")["message"].as_str().unwrap().to_owned();
    assert!(message.contains("deadline exceeded"), "{message}");
    assert_eq!(condition(&object, "BackupExecutorEnsured")["status"], "True", "it was there");
    assert_eq!(object["status"]["snapshots"][0]["phase"], "Failed");
    assert!(world.fake.get(JOBS, "demo", &session).is_none(), "nothing runs when the session has ended");
    assert!(names(&world.fake.all(PODS)).iter().all(|pod| !pod.starts_with(&session)), "nothing is left");
    world.until("its rights end too", |fake| fake.get(BINDINGS, "demo", &session).is_none()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_job_did_unnoticed_counts() {
    let world = World::new();
    world.plays("backup", Play::Hang);
    let operator = world.operator();
    let session = ready(&world, json!({"backupTimeout": "10m"})).await;
    world.runs(&session).await;
    world.settled().await;
    operator.kill();
    world.fake.edit(SESSIONS, "demo", &session, |one| {
        let all = one["status"]["conditions"].as_array_mut().unwrap();
        all.retain(|condition| condition["type"] != "BackupExecutorEnsured");
    });
    facts(&world.fake, "demo", "backup", None, &session, None);
    finish(&world.fake, "demo", &session, "Complete");
    world.advance(601);
    let _operator = world.operator();
    world.phase(SESSIONS, &session, "Succeeded").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_has_its_own_time_to_begin() {
    let world = World::new();
    world.plays("backup", Play::Hang);
    let _operator = world.operator();
    let session = ready(&world, json!({})).await;
    world.runs(&session).await;
    // The operator has to know that it runs: what has not started in two hours is given up.
    world.settled().await;
    world.foreign_job(&format!("retention-policy-{session}"));
    // A backup of two hours.
    world.advance(7200);
    facts(&world.fake, "demo", "backup", None, &session, None);
    // When it was over is written down by the controller of Snapshots.
    world.phase(SNAPSHOTS, &format!("sample-repo-{session}"), "Succeeded").await;
    finish(&world.fake, "demo", &session, "Complete");
    let of_session = |fake: &Fake| fake.get(SESSIONS, "demo", &session).unwrap()["status"].clone();
    world.until("it is noted", |fake| of_session(fake)["retentionPolicy"][0]["phase"] == "Pending").await;
    world.settled().await;
    assert_eq!(of_session(&world.fake)["phase"], "Running", "others have half an hour to make room");
    world.advance(1801);
    world.touch(SESSIONS, &session);
    world.phase(SESSIONS, &session, "Failed").await;
    let object = world.fake.get(SESSIONS, "demo", &session).unwrap();
    let ensured = condition(&object, "RetentionPolicyExecutorEnsured");
    assert!(ensured["message"].as_str().unwrap().contains("belongs to somebody else"), "{ensured}");
    assert_eq!(object["status"]["snapshots"][0]["phase"], "Succeeded");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retention_pod_that_never_starts_ends_the_session() {
    let world = World::new();
    world.plays("retention", Play::Pend);
    let _operator = world.operator();
    let session = ready(&world, json!({})).await;
    let job = format!("retention-policy-{session}");
    world.until("it waits", |fake| fake.get(PODS, "demo", &format!("{job}-x")).is_some()).await;
    world.settled().await;
    assert_eq!(world.fake.get(SESSIONS, "demo", &session).unwrap()["status"]["phase"], "Running");
    world.advance(1801);
    world.phase(SESSIONS, &session, "Failed").await;
    let object = world.fake.get(SESSIONS, "demo", &session).unwrap();
    let error = object["status"]["retentionPolicy"][0]["error"].as_str().unwrap().to_owned();
    assert!(error.contains("has not started within 30 minutes") && error.contains("0/3 nodes"), "{error}");
    assert!(world.fake.get(JOBS, "demo", &job).is_none(), "and it will not begin later");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_repositories_whose_snapshots_have_one_name_are_no_success() {
    let world = World::new();
    let _operator = world.operator();
    let one = |place: &str| {
        json!({
            "name": format!("backup-of-the-orders-database-in-{place}"), "backend": "s3", "directory": format!("/{place}"),
            "encryptionSecret": {"name": "encrypt"},
        })
    };
    // Longer than what is left of a name that is cut.
    let session = json!({"name": "nightly-backup-of-all-databases", "repositories": [one("frankfurt"), one("dublin")]});
    let session = ready(&world, session).await;
    world.phase(SESSIONS, &session, "Failed").await;
    let object = world.fake.get(SESSIONS, "demo", &session).unwrap();
    let ensured = condition(&object, "SnapshotsEnsured");
    assert!(ensured["message"].as_str().unwrap().contains("belongs to somebody else"), "{ensured}");
}
