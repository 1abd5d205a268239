//! Deletion does what the policies say, to the cluster and to the backend, and no more.

use serde_json::{Value, json};

use crate::world::{
    BINDINGS, CONFIGURATIONS, CRON_JOBS, JOBS, PODS, Play, REPOSITORIES, SESSIONS, SNAPSHOTS, STORAGES, World,
    condition, facts, finish, names,
};

async fn backed_up(world: &World, session: Value) -> String {
    world.base();
    world.configuration(session);
    let session = world.first().await;
    world.phase(SESSIONS, &session, "Succeeded").await;
    world.settled().await;
    session
}

fn repository(policy: Option<&str>) -> Value {
    let mut one = json!({"name": "sample-repo", "backend": "s3", "directory": "/sample", "encryptionSecret": {"name": "encrypt"}});
    if let Some(policy) = policy {
        one["deletionPolicy"] = json!(policy);
    }
    json!({"repositories": [one]})
}

/// The Jobs that ever wiped something out, by what they were told.
fn wiped(world: &World) -> Vec<String> {
    world.fake.ever(JOBS).into_iter().filter(|name| name.contains("cleanup")).collect()
}

async fn gone(world: &World, resource: &str, name: &str) {
    world.until(&format!("{resource} {name} is gone"), |fake| fake.get(resource, "demo", name).is_none()).await;
}

/// They go after what owns them.
async fn no_snapshot_is_left(world: &World) {
    world.until("no Snapshot is left", |fake| fake.all(SNAPSHOTS).is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_goes_with_its_sessions_and_each_policy_is_kept() {
    for (policy, stays, wipes) in [
        (None, true, false),
        (Some("Retain"), true, false),
        (Some("Delete"), false, false),
        (Some("WipeOut"), false, true),
    ] {
        let world = World::new();
        let _operator = world.operator();
        backed_up(&world, repository(policy)).await;
        world.fake.delete(CONFIGURATIONS, "demo", "sample");
        gone(&world, CONFIGURATIONS, "sample").await;
        if !stays {
            gone(&world, REPOSITORIES, "sample-repo").await;
            no_snapshot_is_left(&world).await;
        }
        world.settled().await;
        assert!(world.fake.all(SESSIONS).is_empty() && world.fake.all(CRON_JOBS).is_empty(), "{policy:?}");
        assert_eq!(world.fake.get(REPOSITORIES, "demo", "sample-repo").is_some(), stays, "{policy:?}");
        assert_eq!(world.fake.all(SNAPSHOTS).len(), usize::from(stays), "{policy:?}");
        assert_eq!(!wiped(&world).is_empty(), wipes, "{policy:?}");
        if wipes {
            assert_eq!(wiped(&world), ["demo/cleanup-repository-sample-repo"]);
            assert!(
                names(&world.fake.all(JOBS)).iter().all(|name| !name.contains("cleanup")),
                "nothing is left behind"
            );
            assert!(names(&world.fake.all(BINDINGS)).iter().all(|name| !name.contains("cleanup")));
        }
        assert!(world.fake.get(STORAGES, "demo", "s3").is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_that_another_configuration_uses_stays() {
    let world = World::new();
    let _operator = world.operator();
    backed_up(&world, repository(Some("WipeOut"))).await;
    let mut other = crate::world::configuration("other", repository(Some("WipeOut")));
    other["spec"]["paused"] = json!(true);
    world.fake.create(CONFIGURATIONS, other);
    world.phase(CONFIGURATIONS, "other", "Ready").await;
    world.fake.delete(CONFIGURATIONS, "demo", "sample");
    gone(&world, CONFIGURATIONS, "sample").await;
    world.settled().await;
    assert!(world.fake.get(REPOSITORIES, "demo", "sample-repo").is_some() && wiped(&world).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storage_goes_with_the_objects_in_it_and_its_policy_decides_for_the_data() {
    for (policy, wipes) in [("Delete", false), ("WipeOut", true)] {
        let world = World::new();
        let _operator = world.operator();
        // What the repository would do by itself does not count.
        backed_up(&world, repository(Some("WipeOut"))).await;
        world.fake.edit(STORAGES, "demo", "s3", |one| one["spec"]["deletionPolicy"] = json!(policy));
        world.fake.delete(STORAGES, "demo", "s3");
        gone(&world, STORAGES, "s3").await;
        no_snapshot_is_left(&world).await;
        world.phase(CONFIGURATIONS, "sample", "NotReady").await;
        world.settled().await;
        assert!(world.fake.all(REPOSITORIES).is_empty() && world.fake.all(SNAPSHOTS).is_empty(), "{policy}");
        let expected: &[&str] = if wipes { &["demo/cleanup-s3"] } else { &[] };
        assert_eq!(wiped(&world), expected, "{policy}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_wipes_out_by_its_own_policy() {
    for (policy, wipes) in [("Delete", false), ("WipeOut", true)] {
        let world = World::new();
        let _operator = world.operator();
        backed_up(&world, repository(Some(policy))).await;
        world.fake.delete(CONFIGURATIONS, "demo", "sample");
        gone(&world, CONFIGURATIONS, "sample").await;
        gone(&world, REPOSITORIES, "sample-repo").await;
        no_snapshot_is_left(&world).await;
        world.settled().await;
        let expected: &[&str] = if wipes { &["demo/cleanup-repository-sample-repo"] } else { &[] };
        assert_eq!(wiped(&world), expected, "{policy}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_wipes_out_by_its_own_policy() {
    for (policy, wipes) in [("Delete", false), ("WipeOut", true)] {
        let world = World::new();
        let _operator = world.operator();
        let session = backed_up(&world, json!({})).await;
        let name = format!("sample-repo-{session}");
        world.fake.edit(SNAPSHOTS, "demo", &name, |one| one["spec"]["deletionPolicy"] = json!(policy));
        world.fake.delete(SNAPSHOTS, "demo", &name);
        gone(&world, SNAPSHOTS, &name).await;
        world.settled().await;
        assert_eq!(wiped(&world).len(), usize::from(wipes), "{policy}");
        assert!(world.fake.get(REPOSITORIES, "demo", "sample-repo").is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_wiped_out_stays_and_says_so_until_the_policy_lets_it_go() {
    let world = World::new();
    let _operator = world.operator();
    backed_up(&world, repository(Some("WipeOut"))).await;
    world.plays("cleanup", Play::Fail);
    world.fake.delete(CONFIGURATIONS, "demo", "sample");
    gone(&world, CONFIGURATIONS, "sample").await;
    world
        .until("it says so", |fake| {
            fake.all(crate::world::EVENTS)
                .iter()
                .any(|event| event["reason"] == "CleanupFailed" && event["regarding"]["name"] == "sample-repo")
        })
        .await;
    assert!(world.fake.get(REPOSITORIES, "demo", "sample-repo").is_some());
    world.fake.edit(REPOSITORIES, "demo", "sample-repo", |one| one["spec"]["deletionPolicy"] = json!("Delete"));
    gone(&world, REPOSITORIES, "sample-repo").await;
    world
        .until("nothing is left behind", |fake| names(&fake.all(JOBS)).iter().all(|name| !name.contains("cleanup")))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_deleted_takes_its_job_with_it() {
    let world = World::new();
    world.plays("backup", Play::Hang);
    let _operator = world.operator();
    world.base();
    world.configuration(json!({}));
    let session = world.first().await;
    world.until("it runs", |fake| !fake.all(PODS).is_empty()).await;
    let snapshot = format!("sample-repo-{session}");
    world
        .fake
        .edit(SNAPSHOTS, "demo", &snapshot, |one| one["status"]["components"] = json!({"dump": {"phase": "Running"}}));
    // Now the operator knows that it has begun.
    world.phase(SNAPSHOTS, &snapshot, "Running").await;
    world.fake.delete(SESSIONS, "demo", &session);
    gone(&world, SESSIONS, &session).await;
    world.settled().await;
    assert!(world.fake.get(JOBS, "demo", &session).is_none() && world.fake.all(PODS).is_empty());
    let snapshot = world.fake.get(SNAPSHOTS, "demo", &snapshot).unwrap();
    assert_eq!(snapshot["status"]["phase"], "Failed");
    assert_eq!(snapshot["status"]["components"]["dump"]["phase"], "Failed");
    assert_eq!(
        condition(&snapshot, "BackupIncomplete")["message"],
        "its BackupSession was deleted before it had ended"
    );
}

/// A second session that runs, with a pod that stays for its grace.
async fn at_work(world: &World) -> String {
    world.plays("backup", Play::Hang);
    world.trigger("sample-daily-1", 0);
    world.runs("sample-daily-1").await;
    world.settled().await;
    world.hold("sample-daily-1");
    "sample-daily-1".to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_wiped_out_while_a_session_writes_it() {
    for (resource, name) in [(REPOSITORIES, "sample-repo"), (STORAGES, "s3"), (SNAPSHOTS, "sample-repo-sample-daily-1")]
    {
        let world = World::new();
        let _operator = world.operator();
        backed_up(&world, repository(Some("WipeOut"))).await;
        let session = at_work(&world).await;
        world.fake.edit(resource, "demo", name, |one| one["spec"]["deletionPolicy"] = json!("WipeOut"));
        world.fake.delete(resource, "demo", name);
        let waits = |fake: &crate::fake::Fake| {
            let events = fake.all(crate::world::EVENTS);
            events.iter().any(|event| event["reason"] == "CleanupWaits" && event["regarding"]["name"] == name)
        };
        world.until("it waits, and says so", waits).await;
        assert_eq!(wiped(&world), [""; 0], "{name}");
        // The session is over as soon as its pod is, and not before.
        facts(&world.fake, "demo", "backup", None, &session, None);
        finish(&world.fake, "demo", &session, "Complete");
        world.until("it is wiped out", |_| wiped(&world).len() == 1).await;
        let ended = world.fake.get(SESSIONS, "demo", &session).unwrap()["status"]["phase"].clone();
        assert!(ended == "Succeeded" || ended == "Failed", "{name}: {ended}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_wiped_out_while_a_pod_is_in_its_grace() {
    let world = World::new();
    let _operator = world.operator();
    backed_up(&world, repository(Some("WipeOut"))).await;
    let session = at_work(&world).await;
    world.fake.delete(CONFIGURATIONS, "demo", "sample");
    world.until("its Job is gone", |fake| fake.get(JOBS, "demo", &session).is_none()).await;
    world.settled().await;
    assert!(world.fake.get(SESSIONS, "demo", &session).is_some(), "its pod has not ended");
    assert_eq!(wiped(&world), [""; 0]);
    world.let_go(&session);
    gone(&world, CONFIGURATIONS, "sample").await;
    gone(&world, REPOSITORIES, "sample-repo").await;
    assert_eq!(wiped(&world), ["demo/cleanup-repository-sample-repo"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_prepares_an_object_ends_before_it_is_wiped_out() {
    let world = World::new();
    world.plays("initialize-repository", Play::Hang);
    let _operator = world.operator();
    world.base();
    let mut one = crate::world::configuration("sample", repository(Some("WipeOut")));
    one["spec"]["paused"] = json!(true);
    world.fake.create(CONFIGURATIONS, one);
    let job = "init-repository-sample-repo";
    world.runs(job).await;
    world.settled().await;
    world.hold(job);
    world.fake.delete(CONFIGURATIONS, "demo", "sample");
    world.until("its Job is gone", |fake| fake.get(JOBS, "demo", job).is_none()).await;
    world.settled().await;
    assert_eq!(wiped(&world), [""; 0], "its pod may still write");
    world.let_go(job);
    gone(&world, REPOSITORIES, "sample-repo").await;
    assert_eq!(wiped(&world), ["demo/cleanup-repository-sample-repo"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_made_for_an_object_that_is_gone_is_removed() {
    let world = World::new();
    world.plays("backup", Play::Hang);
    let operator = world.operator();
    world.base();
    world.configuration(json!({}));
    let session = world.first().await;
    world.runs(&session).await;
    let mut left = world.fake.get(BINDINGS, "demo", &session).unwrap();
    left["metadata"] = json!({
        "name": "left", "namespace": "other", "labels": left["metadata"]["labels"],
        "annotations": {"coffer.dev/invoker": "BackupSession/demo/gone"},
    });
    world.fake.create(BINDINGS, left.clone());
    world.until("it is removed", |fake| fake.get(BINDINGS, "other", "left").is_none()).await;
    operator.stop().await.unwrap();
    world.fake.create(BINDINGS, left);
    let _operator = world.operator();
    world.until("a new leader looks, too", |fake| fake.get(BINDINGS, "other", "left").is_none()).await;
    world.settled().await;
    assert!(world.fake.get(BINDINGS, "demo", &session).is_some(), "the session is not gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_data_of_a_storage_that_was_there_first_is_not_wiped_out_with_another() {
    let world = World::new();
    let _operator = world.operator();
    backed_up(&world, json!({})).await;
    world.advance(1);
    let mut twin = world.fake.get(STORAGES, "demo", "s3").unwrap()["spec"].clone();
    twin["deletionPolicy"] = json!("WipeOut");
    world.fake.create(STORAGES, json!({"metadata": {"name": "twin", "namespace": "demo"}, "spec": twin}));
    world
        .until("it is seen", |fake| {
            condition(&fake.get(STORAGES, "demo", "twin").unwrap(), "Stalled")["status"] == "True"
        })
        .await;
    world.fake.delete(STORAGES, "demo", "twin");
    gone(&world, STORAGES, "twin").await;
    world.settled().await;
    assert_eq!(wiped(&world), [""; 0]);
    assert!(world.fake.get(REPOSITORIES, "demo", "sample-repo").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_that_was_never_the_configurations_stays() {
    let world = World::new();
    let _operator = world.operator();
    backed_up(&world, repository(Some("Retain"))).await;
    let mut wrong = repository(Some("WipeOut"));
    wrong["repositories"][0]["directory"] = json!("/elsewhere");
    world.fake.create(CONFIGURATIONS, crate::world::configuration("wrong", wrong));
    world.phase(CONFIGURATIONS, "wrong", "Invalid").await;
    // Nobody uses it any more: it was kept.
    world.fake.delete(CONFIGURATIONS, "demo", "sample");
    gone(&world, CONFIGURATIONS, "sample").await;
    world.fake.delete(CONFIGURATIONS, "demo", "wrong");
    gone(&world, CONFIGURATIONS, "wrong").await;
    world.settled().await;
    assert_eq!(wiped(&world), [""; 0]);
    assert!(world.fake.get(REPOSITORIES, "demo", "sample-repo").is_some());
}
