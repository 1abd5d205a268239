//! Whose an object is: what somebody else has made is neither taken over nor deleted, and of two that want different things one is in the right.

use std::time::Duration;

use serde_json::{Value, json};

use crate::fake::Fake;
use crate::world::{
    ACCOUNTS, BINDINGS, CONFIGURATIONS, CRON_JOBS, JOBS, Play, REPOSITORIES, SESSIONS, SNAPSHOTS, STORAGES, World,
    condition, configuration,
};

fn message(object: &Value, type_: &str) -> String {
    condition(object, type_)["message"].as_str().unwrap_or_default().to_owned()
}

/// An object that a user has made, with nothing of ours.
fn foreign(world: &World, resource: &str, name: &str) -> Value {
    world.fake.create(
        resource,
        json!({"metadata": {"name": name, "namespace": "demo", "labels": {"mine": "yes"}}, "spec": {"suspend": true},
               "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "mine"}}),
    );
    world.fake.get(resource, "demo", name).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trigger_leaves_alone_what_has_its_name() {
    for resource in [ACCOUNTS, BINDINGS, CRON_JOBS] {
        let world = World::new();
        let _operator = world.operator();
        world.base();
        let theirs = foreign(&world, resource, "trigger-sample-daily");
        world.configuration(json!({}));
        world
            .until("it says so", |fake| {
                let configuration = fake.get(CONFIGURATIONS, "demo", "sample").unwrap();
                message(&configuration, "Ready")
                    .contains("demo/trigger-sample-daily exists and belongs to somebody else")
            })
            .await;
        let object = world.fake.get(CONFIGURATIONS, "demo", "sample").unwrap();
        assert_eq!(object["status"]["phase"], "NotReady", "{resource}");
        let of_session = json!({"status": object["status"]["sessions"][0]});
        assert_eq!(condition(&of_session, "SchedulerEnsured")["status"], "False", "{resource}");
        assert_eq!(world.fake.get(resource, "demo", "trigger-sample-daily").unwrap(), theirs, "{resource}");
        world.fake.delete(CONFIGURATIONS, "demo", "sample");
        world.until("the configuration is gone", |fake| fake.get(CONFIGURATIONS, "demo", "sample").is_none()).await;
        world.settled().await;
        assert_eq!(world.fake.get(resource, "demo", "trigger-sample-daily").unwrap(), theirs, "{resource}");

        // Out of the way, all is well; and what the user makes afterwards in the place of ours is not deleted with the trigger.
        world.fake.delete(resource, "demo", "trigger-sample-daily");
        world.configuration(json!({}));
        world.phase(CONFIGURATIONS, "sample", "Ready").await;
        if resource != CRON_JOBS {
            world.fake.edit(CONFIGURATIONS, "demo", "sample", |one| one["spec"]["paused"] = json!(true));
            world
                .until("it is suspended", |fake| {
                    fake.get(CRON_JOBS, "demo", "trigger-sample-daily").unwrap()["spec"]["suspend"] == true
                })
                .await;
            world.settled().await;
            world.fake.edit(resource, "demo", "trigger-sample-daily", |one| {
                one["metadata"]["labels"] = json!({"mine": "yes"});
                one["metadata"]["annotations"] = json!({});
                one["metadata"]["ownerReferences"] = json!([]);
            });
            // Now the operator knows that it is in the way.
            world.phase(CONFIGURATIONS, "sample", "NotReady").await;
            world.fake.delete(CONFIGURATIONS, "demo", "sample");
            world.until("the trigger is gone", |fake| fake.all(CRON_JOBS).is_empty()).await;
            world.settled().await;
            assert!(world.fake.get(resource, "demo", "trigger-sample-daily").is_some(), "{resource}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_leaves_alone_what_has_its_name() {
    for resource in [ACCOUNTS, BINDINGS] {
        let world = World::new();
        let _operator = world.operator();
        world.base();
        world.configuration(json!({"sessionHistoryLimit": 9}));
        let first = world.first().await;
        world.phase(SESSIONS, &first, "Succeeded").await;
        let theirs = foreign(&world, resource, "sample-daily-7");
        world.trigger("sample-daily-7", 0);
        world.phase(SESSIONS, "sample-daily-7", "Failed").await;
        let failed = world.fake.get(SESSIONS, "demo", "sample-daily-7").unwrap();
        assert_eq!(condition(&failed, "BackupExecutorEnsured")["status"], "False", "{resource}");
        assert!(
            message(&failed, "Stalled").contains("demo/sample-daily-7 exists and belongs to somebody else"),
            "{failed}"
        );
        assert!(!world.fake.ever(JOBS).contains(&"demo/sample-daily-7".to_owned()), "{resource}");
        world.fake.delete(SESSIONS, "demo", "sample-daily-7");
        world.until("it is gone", |fake| fake.get(SESSIONS, "demo", "sample-daily-7").is_none()).await;
        world.settled().await;
        assert_eq!(world.fake.get(resource, "demo", "sample-daily-7").unwrap(), theirs, "{resource}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storage_whose_jobs_name_is_taken_says_so_and_goes_on_when_it_is_free() {
    for resource in [ACCOUNTS, BINDINGS, JOBS] {
        let world = World::new();
        // Nobody plays a Job that is not ours.
        world.plays("initialize-storage", Play::Hang);
        if resource == JOBS {
            world.fake.create(
                JOBS,
                json!({"metadata": {"name": "init-s3", "namespace": "demo"},
                       "spec": {"template": {"metadata": {}, "spec": {"containers": [{"args": ["run", "initialize-storage", "--name", "s3"]}]}}}}),
            );
        } else {
            foreign(&world, resource, "init-s3");
        }
        let theirs = world.fake.get(resource, "demo", "init-s3").unwrap();
        let _operator = world.operator();
        world.base();
        world
            .until("it says so", |fake| {
                let storage = fake.get(STORAGES, "demo", "s3").unwrap();
                message(&storage, "BackendInitialized").contains("demo/init-s3 exists and belongs to somebody else")
                    && condition(&storage, "Stalled")["status"] == "True"
            })
            .await;
        world.settled().await;
        assert_eq!(world.fake.get(resource, "demo", "init-s3").unwrap(), theirs, "{resource}");
        world.plays("initialize-storage", Play::Succeed);
        world.fake.delete(resource, "demo", "init-s3");
        world.fake.edit(STORAGES, "demo", "s3", |one| one["metadata"]["labels"] = json!({"touch": "it"}));
        world.phase(STORAGES, "s3", "Ready").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_configurations_that_want_a_repository_otherwise_the_older_is_in_the_right() {
    let repository = |policy: &str, secret: &str| {
        json!({"repositories": [
            {"name": "shared", "backend": "s3", "directory": "/shared", "encryptionSecret": {"name": secret}, "deletionPolicy": policy},
        ]})
    };
    for (policy, secret, what) in
        [("WipeOut", "encrypt", "deletionPolicy (Delete)"), ("Delete", "another", "encryptionSecret")]
    {
        let world = World::new();
        let _operator = world.operator();
        world.base();
        world.configuration(repository("Delete", "encrypt"));
        let session = world.first().await;
        world.phase(SESSIONS, &session, "Succeeded").await;
        world.advance(1);
        world.fake.create(CONFIGURATIONS, configuration("second", repository(policy, secret)));
        world.phase(CONFIGURATIONS, "second", "Invalid").await;
        let second = world.fake.get(CONFIGURATIONS, "demo", "second").unwrap();
        let why = message(&second, "ValidationPassed");
        assert!(why.contains("repository shared is also one of BackupConfiguration sample, which is older"), "{why}");
        assert!(why.contains(what), "{why}");
        world.at_rest().await;
        let before = world.fake.get(REPOSITORIES, "demo", "shared").unwrap();
        assert_eq!(
            (&before["spec"]["deletionPolicy"], &before["spec"]["encryptionSecret"]["name"]),
            (&json!("Delete"), &json!("encrypt"))
        );
        world.fake.requests();
        // Longer than the operator takes to look again at what is not ready.
        tokio::time::sleep(Duration::from_millis(2500)).await;
        let writes: Vec<_> = world.fake.requests().into_iter().filter(|request| !request.starts_with("GET")).collect();
        assert_eq!(writes, Vec::<String>::new(), "nobody fights");
        assert_eq!(world.fake.get(CONFIGURATIONS, "demo", "sample").unwrap()["status"]["phase"], "Ready");
        // The older one goes: now the other one says what the repository is like.
        world.fake.delete(CONFIGURATIONS, "demo", "sample");
        world.phase(CONFIGURATIONS, "second", "Ready").await;
        let after = world.fake.get(REPOSITORIES, "demo", "shared").unwrap();
        assert_eq!(
            (&after["spec"]["deletionPolicy"], &after["spec"]["encryptionSecret"]["name"]),
            (&json!(policy), &json!(secret))
        );
        assert_eq!(after["metadata"]["uid"], before["metadata"]["uid"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_of_a_session_that_could_not_make_all_of_them_fail() {
    let world = World::new();
    let _operator = world.operator();
    world.base();
    world.storage("demo", "far", json!({}));
    let repository = |name: &str, backend: &str| json!({"name": name, "backend": backend, "directory": "/sample", "encryptionSecret": {"name": "encrypt"}});
    let mut two = configuration(
        "sample",
        json!({"repositories": [repository("near", "s3"), repository("far", "far")], "sessionHistoryLimit": 9}),
    );
    two["spec"]["backends"]
        .as_array_mut()
        .unwrap()
        .push(json!({"name": "far", "storageRef": {"name": "far"}, "retentionPolicy": {"name": "keep"}}));
    world.fake.create(CONFIGURATIONS, two);
    let first = world.first().await;
    world.phase(SESSIONS, &first, "Succeeded").await;
    // Somebody else has a Snapshot of the second one's name.
    world.fake.create(
        SNAPSHOTS,
        json!({"metadata": {"name": "far-sample-daily-7", "namespace": "demo"}, "spec": {"repository": "far", "backupSession": "another"}}),
    );
    // What the operator says of it is the last change.
    world.phase(SNAPSHOTS, "far-sample-daily-7", "Pending").await;
    let theirs = world.fake.get(SNAPSHOTS, "demo", "far-sample-daily-7").unwrap();
    world.trigger("sample-daily-7", 0);
    world.phase(SESSIONS, "sample-daily-7", "Failed").await;
    let failed = world.fake.get(SESSIONS, "demo", "sample-daily-7").unwrap();
    assert_eq!(condition(&failed, "SnapshotsEnsured")["status"], "False");
    let created = world.fake.get(SNAPSHOTS, "demo", "near-sample-daily-7").unwrap();
    assert_eq!(created["status"]["phase"], "Failed", "it does not wait for a Job that never comes");
    assert!(message(&created, "BackupIncomplete").contains("Snapshot demo/far-sample-daily-7 exists"), "{created}");
    world.settled().await;
    assert_eq!(world.fake.get(SNAPSHOTS, "demo", "far-sample-daily-7").unwrap(), theirs, "another's is left alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_whose_session_has_ended_without_it_fails() {
    let world = World::new();
    let _operator = world.operator();
    world.base();
    world.configuration(json!({}));
    let session = world.first().await;
    world.phase(SESSIONS, &session, "Succeeded").await;
    world.fake.create(
        SNAPSHOTS,
        json!({"metadata": {"name": "left", "namespace": "demo"}, "spec": {"repository": "sample-repo", "backupSession": session}}),
    );
    world.phase(SNAPSHOTS, "left", "Pending").await;
    world.advance(301);
    world.fake.edit(SNAPSHOTS, "demo", "left", |one| one["metadata"]["labels"] = json!({"touch": "it"}));
    world.phase(SNAPSHOTS, "left", "Failed").await;
    let left = world.fake.get(SNAPSHOTS, "demo", "left").unwrap();
    assert!(message(&left, "BackupIncomplete").contains("its BackupSession has ended, or is gone"), "{left}");
}

/// The Snapshot of a session that is gone says nothing of another one of the same name.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_of_a_name_that_was_used_before_does_not_succeed_by_what_is_there() {
    let world = World::new();
    let _operator = world.operator();
    world.base();
    world.configuration(json!({"sessionHistoryLimit": 9}));
    let first = world.first().await;
    world.phase(SESSIONS, &first, "Succeeded").await;
    world.trigger("sample-daily-7", 0);
    world.phase(SESSIONS, "sample-daily-7", "Succeeded").await;
    world.phase(SNAPSHOTS, "sample-repo-sample-daily-7", "Succeeded").await;
    let before = world.fake.get(SNAPSHOTS, "demo", "sample-repo-sample-daily-7").unwrap();
    world.fake.delete(SESSIONS, "demo", "sample-daily-7");
    world
        .until("the session is gone", |fake| {
            fake.get(SESSIONS, "demo", "sample-daily-7").is_none() && fake.get(JOBS, "demo", "sample-daily-7").is_none()
        })
        .await;
    world.trigger("sample-daily-7", 0);
    world.phase(SESSIONS, "sample-daily-7", "Failed").await;
    let session = world.fake.get(SESSIONS, "demo", "sample-daily-7").unwrap();
    let why = message(&session, "SnapshotsEnsured");
    assert!(why.contains("Snapshot demo/sample-repo-sample-daily-7 exists"), "{session}");
    assert_eq!(world.fake.get(SNAPSHOTS, "demo", "sample-repo-sample-daily-7").unwrap(), before, "it is left alone");
}

/// A session that is taken out of its configuration and put back has had its first backup.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_comes_back_has_no_second_first_backup() {
    let world = World::new();
    let _operator = world.operator();
    world.base();
    world.configuration(json!({}));
    let first = world.first().await;
    world.phase(SESSIONS, &first, "Succeeded").await;
    world.fake.delete(SESSIONS, "demo", &first);
    world.until("the session is gone", |fake| fake.get(SESSIONS, "demo", &first).is_none()).await;
    let daily = world.fake.get(CONFIGURATIONS, "demo", "sample").unwrap()["spec"]["sessions"].clone();
    let mut other = daily[0].clone();
    other["name"] = json!("weekly");
    world.fake.edit(CONFIGURATIONS, "demo", "sample", |one| one["spec"]["sessions"] = json!([other]));
    // The only session that the status knows, and whether it had its first backup.
    let triggered = |fake: &Fake, name: &str| {
        let configuration = fake.get(CONFIGURATIONS, "demo", "sample").unwrap();
        let of_session = json!({"status": configuration["status"]["sessions"][0]});
        of_session["status"]["name"] == name && condition(&of_session, "InitialBackupTriggered")["status"] == "True"
    };
    world.until("the other one has begun", |fake| triggered(fake, "weekly") && !fake.all(SESSIONS).is_empty()).await;
    world.fake.edit(CONFIGURATIONS, "demo", "sample", |one| one["spec"]["sessions"] = daily.clone());
    world.until("the session is back", |fake| triggered(fake, "daily")).await;
    assert!(world.fake.get(SESSIONS, "demo", &first).is_none(), "it was made again");
}
