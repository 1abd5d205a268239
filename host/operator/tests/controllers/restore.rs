//! RestoreSessions.

use serde_json::{Value, json};

use crate::world::{
    APPS, CONFIGURATIONS, CRON_JOBS, JOBS, PODS, Play, RESTORES, SESSIONS, World, condition, facts, finish, overlay,
};

fn restore(name: &str, changes: Value) -> Value {
    let mut spec = json!({
        "target": {"apiGroup": "kubedb.com", "kind": "MySQL", "name": "sample-mysql"},
        "dataSource": {"repository": "sample-repo", "snapshot": "latest", "encryptionSecret": {"name": "encrypt"}},
        "addon": {"name": "mysql-addon", "tasks": [{"name": "logical-backup-restore"}]},
    });
    overlay(&mut spec, changes);
    json!({"metadata": {"name": name, "namespace": "demo"}, "spec": spec})
}

async fn backed_up(world: &World) -> String {
    world.base();
    world.configuration(json!({}));
    let session = world.first().await;
    world.phase(SESSIONS, &session, "Succeeded").await;
    session
}

fn paused(world: &World) -> bool {
    world.fake.get(CONFIGURATIONS, "demo", "sample").unwrap()["spec"]["paused"] == true
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_pauses_the_backups_of_its_target_while_it_runs() {
    let world = World::new();
    let _operator = world.operator();
    backed_up(&world).await;
    world.plays("restore", Play::Hang);
    world.fake.create(RESTORES, restore("r", json!({"restoreTimeout": "1h"})));
    world.runs("r").await;
    world.until("backups are paused", |_| paused(&world)).await;
    let object = world.fake.get(RESTORES, "demo", "r").unwrap();
    assert_eq!(object["status"]["pausedBackups"][0]["name"], "sample");
    facts(&world.fake, "demo", "restore", None, "r", None);
    finish(&world.fake, "demo", "r", "Complete");
    world.phase(RESTORES, "r", "Succeeded").await;
    world.until("backups go on", |_| !paused(&world)).await;
    let object = world.fake.get(RESTORES, "demo", "r").unwrap();
    for type_ in ["ValidationPassed", "RestoreExecutorEnsured", "MetricsPushed", "Ready"] {
        assert_eq!(condition(&object, type_)["status"], "True", "{type_}");
    }
    assert_eq!(object["status"]["totalComponents"], 1);
    assert_eq!(object["status"]["targetFound"], true);
    assert!(object["status"]["duration"].is_string());
    let job = world.fake.get(JOBS, "demo", "r").unwrap();
    let container = &job["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["args"], json!(["run", "restore", "--namespace", "demo", "--session", "r"]));
    assert_eq!(container["name"], "logical-backup-restore-0");
    world.settled().await;
    assert_eq!(world.fake.ever(JOBS).iter().filter(|name| *name == "demo/r").count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_waits_for_its_target_and_its_source() {
    let world = World::new();
    let _operator = world.operator();
    let session = backed_up(&world).await;
    let by_name = format!("sample-repo-{session}");
    let changes = json!({"target": {"apiGroup": "kubedb.com", "kind": "MySQL", "name": "new"}, "dataSource": {"snapshot": by_name}});
    world.fake.create(RESTORES, restore("r", changes));
    world
        .until("it says what is missing", |fake| {
            let object = fake.get(RESTORES, "demo", "r").unwrap();
            condition(&object, "Ready")["message"].as_str().is_some_and(|text| text.contains("AppBinding demo/new"))
        })
        .await;
    assert_eq!(world.fake.get(RESTORES, "demo", "r").unwrap()["status"]["phase"], "Pending");
    world.fake.create(APPS, json!({"metadata": {"name": "new", "namespace": "demo"}, "spec": {"clientConfig": {}}}));
    world.phase(RESTORES, "r", "Succeeded").await;
    let object = world.fake.get(RESTORES, "demo", "r").unwrap();
    let dependencies = object["status"]["dependencies"].as_array().unwrap();
    assert!(dependencies.iter().any(|one| one["kind"] == "Snapshot" && one["found"] == true), "{dependencies:?}");
    assert!(object["status"].get("pausedBackups").is_none(), "the backups of another target go on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_fails_says_why_and_lets_backups_go_on() {
    for (play, why) in [
        (Play::Fail, "BackoffLimitExceeded: it failed"),
        (Play::Silent, "ended without a result"),
        (Play::Evict, "Evicted"),
    ] {
        let world = World::new();
        let _operator = world.operator();
        backed_up(&world).await;
        world.plays("restore", play);
        world.fake.create(RESTORES, restore("r", json!({})));
        world.phase(RESTORES, "r", "Failed").await;
        let object = world.fake.get(RESTORES, "demo", "r").unwrap();
        assert!(condition(&object, "RestoreIncomplete")["message"].as_str().unwrap().contains(why), "{object}");
        world.until("backups go on", |_| !paused(&world)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_ends_a_restore() {
    let world = World::new();
    let _operator = world.operator();
    backed_up(&world).await;
    world.plays("restore", Play::Hang);
    world.fake.create(RESTORES, restore("r", json!({"restoreTimeout": "30m"})));
    world.until("it runs", |fake| fake.all(PODS).iter().any(|pod| pod["metadata"]["name"] == "r-x")).await;
    world.advance(1801);
    world.phase(RESTORES, "r", "Failed").await;
    assert!(world.fake.get(JOBS, "demo", "r").is_none());
    world.until("backups go on", |_| !paused(&world)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_invalid_until_it_is_corrected() {
    let world = World::new();
    let _operator = world.operator();
    backed_up(&world).await;
    world.fake.create(RESTORES, restore("r", json!({"dataSource": {"repository": "sample-repo"}})));
    world.phase(RESTORES, "r", "Invalid").await;
    world.fake.edit(RESTORES, "demo", "r", |one| one["spec"]["dataSource"]["snapshot"] = json!("latest"));
    world.phase(RESTORES, "r", "Succeeded").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_is_deleted_takes_its_job_with_it() {
    let world = World::new();
    let _operator = world.operator();
    backed_up(&world).await;
    world.plays("restore", Play::Hang);
    world.fake.create(RESTORES, restore("r", json!({})));
    world.until("backups are paused", |_| paused(&world)).await;
    world.until("it runs", |fake| fake.get(JOBS, "demo", "r").is_some()).await;
    world.fake.delete(RESTORES, "demo", "r");
    world.until("it is gone", |fake| fake.get(RESTORES, "demo", "r").is_none()).await;
    assert!(world.fake.get(JOBS, "demo", "r").is_none());
    world.until("backups go on", |_| !paused(&world)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_cannot_begin_lets_backups_go_on() {
    let world = World::new();
    let _operator = world.operator();
    backed_up(&world).await;
    world.foreign_job("r");
    world.fake.create(RESTORES, restore("r", json!({})));
    world.until("backups are paused", |_| paused(&world)).await;
    world.settled().await;
    assert_eq!(world.fake.get(RESTORES, "demo", "r").unwrap()["status"]["phase"], "Pending");
    world.advance(1801);
    world.touch(RESTORES, "r");
    world.phase(RESTORES, "r", "Failed").await;
    let object = world.fake.get(RESTORES, "demo", "r").unwrap();
    let message = condition(&object, "Stalled")["message"].as_str().unwrap().to_owned();
    assert!(message.contains("Job demo/r exists and belongs to somebody else"), "{message}");
    world.until("backups go on", |_| !paused(&world)).await;
    assert!(world.fake.get(JOBS, "demo", "r").is_some(), "what is somebody else's stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_waited_long_for_its_target_may_begin() {
    let world = World::new();
    let _operator = world.operator();
    backed_up(&world).await;
    let later = json!({"apiGroup": "kubedb.com", "kind": "MySQL", "name": "later"});
    world.foreign_job("r");
    world.fake.create(RESTORES, restore("r", json!({"target": later})));
    world.phase(RESTORES, "r", "Pending").await;
    world.settled().await;
    world.advance(7200);
    world.fake.create(APPS, json!({"metadata": {"name": "later", "namespace": "demo"}, "spec": {"clientConfig": {}}}));
    world
        .until("it has begun", |fake| fake.get(RESTORES, "demo", "r").unwrap()["status"]["totalComponents"] == 1)
        .await;
    world.settled().await;
    assert_eq!(world.fake.get(RESTORES, "demo", "r").unwrap()["status"]["phase"], "Pending");
    world.fake.delete(JOBS, "demo", "r");
    world.touch(RESTORES, "r");
    world.phase(RESTORES, "r", "Succeeded").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn restores_that_end_at_once_resume_the_backups() {
    let world = World::new();
    let _operator = world.operator();
    backed_up(&world).await;
    world.plays("restore", Play::Hang);
    let all = ["a", "b", "c"];
    for name in all {
        world.fake.create(RESTORES, restore(name, json!({})));
    }
    let holders = |fake: &crate::fake::Fake| {
        let text =
            fake.get(CONFIGURATIONS, "demo", "sample").unwrap()["metadata"]["annotations"]["coffer.dev/paused-by"]
                .clone();
        text.as_str().map(|text| text.split(',').count()).unwrap_or_default()
    };
    for name in all {
        world.runs(name).await;
    }
    assert!(paused(&world) && holders(&world.fake) == 3);
    // The last of three to end resumes, whichever that is.
    facts(&world.fake, "demo", "restore", None, "a", None);
    finish(&world.fake, "demo", "a", "Complete");
    world.phase(RESTORES, "a", "Succeeded").await;
    world.until("it lets go", |fake| holders(fake) < 3).await;
    world.settled().await;
    assert!(paused(&world) && holders(&world.fake) == 2, "others still restore");
    for name in ["b", "c"] {
        facts(&world.fake, "demo", "restore", None, name, None);
    }
    for name in ["b", "c"] {
        finish(&world.fake, "demo", name, "Complete");
    }
    for name in ["b", "c"] {
        world.phase(RESTORES, name, "Succeeded").await;
    }
    world.until("backups go on", |fake| !paused(&world) && holders(fake) == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_has_paused_stays_so() {
    let world = World::new();
    let _operator = world.operator();
    backed_up(&world).await;
    world.fake.edit(CONFIGURATIONS, "demo", "sample", |one| one["spec"]["paused"] = json!(true));
    world
        .until("the operator knows", |fake| {
            fake.get(CRON_JOBS, "demo", "trigger-sample-daily").unwrap()["spec"]["suspend"] == true
        })
        .await;
    world.fake.create(RESTORES, restore("r", json!({})));
    world.phase(RESTORES, "r", "Succeeded").await;
    world.settled().await;
    assert!(paused(&world));
    assert!(world.fake.get(RESTORES, "demo", "r").unwrap()["status"]["pausedBackups"].is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_vanishes_leaves_no_backups_paused() {
    let world = World::new();
    let operator = world.operator();
    backed_up(&world).await;
    world.plays("restore", Play::Hang);
    world.fake.create(RESTORES, restore("r", json!({})));
    world.runs("r").await;
    world.settled().await;
    operator.kill();
    // Somebody takes the finalizer off and deletes it.
    world.fake.edit(RESTORES, "demo", "r", |one| one["metadata"]["finalizers"] = json!([]));
    world.fake.delete(RESTORES, "demo", "r");
    assert!(paused(&world));
    let _operator = world.operator();
    world.until("backups go on", |_| !paused(&world)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_does_not_end_does_not_hold_up_its_restore() {
    let world = World::new();
    let _operator = world.operator();
    backed_up(&world).await;
    world.plays("restore", Play::Hang);
    world.fake.create(RESTORES, restore("r", json!({})));
    world.runs("r").await;
    facts(&world.fake, "demo", "restore", None, "r", None);
    world
        .until("its result is seen", |fake| fake.get(RESTORES, "demo", "r").unwrap()["status"]["duration"].is_string())
        .await;
    world.settled().await;
    assert!(world.fake.get(JOBS, "demo", "r").is_some() && paused(&world), "a result is no end");
    world.advance(660);
    world.phase(RESTORES, "r", "Succeeded").await;
    assert!(world.fake.get(JOBS, "demo", "r").is_none());
    world.until("backups go on", |_| !paused(&world)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_has_not_ended_before_its_pod_has() {
    let world = World::new();
    let _operator = world.operator();
    backed_up(&world).await;
    world.plays("restore", Play::Hang);
    world.fake.create(RESTORES, restore("r", json!({"restoreTimeout": "30m"})));
    world.runs("r").await;
    world.settled().await;
    world.hold("r");
    world.advance(1801);
    world.until("its Job is gone", |fake| fake.get(JOBS, "demo", "r").is_none()).await;
    world.settled().await;
    assert!(paused(&world), "its pod may still write into the target");
    world.let_go("r");
    world.phase(RESTORES, "r", "Failed").await;
    world.until("backups go on", |_| !paused(&world)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_was_created_unnoticed_is_found_and_stopped() {
    let world = World::new();
    let operator = world.operator();
    backed_up(&world).await;
    world.plays("restore", Play::Hang);
    world.fake.create(RESTORES, restore("r", json!({"restoreTimeout": "30m"})));
    world.runs("r").await;
    world.settled().await;
    // As if it had been killed between the Job and the status that tells of it.
    operator.kill();
    world.fake.edit(RESTORES, "demo", "r", |one| {
        let all = one["status"]["conditions"].as_array_mut().unwrap();
        all.retain(|condition| condition["type"] != "RestoreExecutorEnsured");
    });
    world.advance(1801);
    let _operator = world.operator();
    world.phase(RESTORES, "r", "Failed").await;
    let object = world.fake.get(RESTORES, "demo", "r").unwrap();
    let message = condition(&object, "Stalled")["message"].as_str().unwrap().to_owned();
    assert!(message.contains("deadline exceeded"), "{message}");
    assert_eq!(condition(&object, "RestoreExecutorEnsured")["status"], "True", "it was there");
    world.until("backups go on", |_| !paused(&world)).await;
    assert!(world.fake.get(JOBS, "demo", "r").is_none() && world.fake.get(PODS, "demo", "r-x").is_none());
}
