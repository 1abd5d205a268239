//! Storages, repositories and configurations, up to the first backup.

use serde_json::json;

use crate::world::{
    ACCOUNTS, APPS, BINDINGS, CONFIGURATIONS, CRON_JOBS, EVENTS, JOBS, POLICIES, Play, REPOSITORIES, SESSIONS,
    STORAGES, World, condition, configuration, facts, finish, names,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_storage_is_ready_when_its_job_says_so() {
    let world = World::new();
    world.plays("initialize-storage", Play::Hang);
    let _operator = world.operator();
    world.base();
    world.until("its Job is there", |fake| fake.get(JOBS, "demo", "init-s3").is_some()).await;
    let binding = world.fake.get(BINDINGS, "demo", "init-s3").unwrap();
    assert_eq!(binding["roleRef"]["name"], "kubestash-storage-initializer-job");
    facts(&world.fake, "demo", "initialize-storage", None, "s3", None);
    finish(&world.fake, "demo", "init-s3", "Complete");
    world.phase(STORAGES, "s3", "Ready").await;
    world.until("the Job's rights end with it", |fake| fake.all(BINDINGS).is_empty()).await;
    let storage = world.fake.get(STORAGES, "demo", "s3").unwrap();
    assert_eq!(condition(&storage, "Ready")["status"], "True");
    assert_eq!(storage["status"]["observedGeneration"], storage["metadata"]["generation"]);
    assert_eq!(storage["status"]["totalSize"], "0 B");
    assert_eq!(storage["metadata"]["finalizers"], json!(["kubestash.com/cleanup"]));
    let job = world.fake.get(JOBS, "demo", "init-s3").unwrap();
    assert_eq!(
        job["spec"]["template"]["spec"]["containers"][0]["args"],
        json!(["run", "initialize-storage", "--namespace", "demo", "--name", "s3"])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storage_whose_job_fails_says_why_and_is_tried_again() {
    let world = World::new();
    world.plays("initialize-storage", Play::Fail);
    let _operator = world.operator();
    world.base();
    world.phase(STORAGES, "s3", "NotReady").await;
    world
        .until("the failure shows", |fake| {
            let storage = fake.get(STORAGES, "demo", "s3").unwrap();
            condition(&storage, "BackendInitialized")["status"] == "False"
                && condition(&storage, "Stalled")["status"] == "True"
        })
        .await;
    let storage = world.fake.get(STORAGES, "demo", "s3").unwrap();
    assert_eq!(condition(&storage, "BackendInitialized")["message"], "BackoffLimitExceeded: it failed");
    world.settled().await;
    assert_eq!(world.fake.ever(JOBS), ["demo/init-s3"], "not at once");
    world.plays("initialize-storage", Play::Succeed);
    world.advance(40);
    world.fake.edit(STORAGES, "demo", "s3", |storage| storage["metadata"]["labels"] = json!({"touch": "it"}));
    world.phase(STORAGES, "s3", "Ready").await;
    assert_eq!(world.fake.ever(JOBS).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn new_settings_of_a_storage_are_tried() {
    let world = World::new();
    let _operator = world.operator();
    world.base();
    world.phase(STORAGES, "s3", "Ready").await;
    world.fake.edit(STORAGES, "demo", "s3", |storage| storage["spec"]["storage"]["s3"]["bucket"] = json!("another"));
    world.until("another Job runs", |fake| fake.ever(JOBS).len() == 2).await;
    world.phase(STORAGES, "s3", "Ready").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storage_is_not_written_anew_with_each_of_its_repositories() {
    let world = World::new();
    let _operator = world.operator();
    world.base();
    world.phase(STORAGES, "s3", "Ready").await;
    world.fake.requests();
    for number in 0..30 {
        let mut one = configuration(&format!("many-{number}"), json!({}));
        one["spec"]["paused"] = json!(true);
        world.fake.create(CONFIGURATIONS, one);
    }
    world
        .until("the storage lists all", |fake| {
            let storage = fake.get(STORAGES, "demo", "s3").unwrap();
            storage["status"]["repositories"]
                .as_array()
                .is_some_and(|all| all.len() == 30 && all.iter().all(|repository| repository["size"] == "0 B"))
        })
        .await;
    let requests = world.fake.requests();
    let written = requests.iter().filter(|request| request.ends_with("/backupstorages/s3/status")).count();
    assert!(written <= 10, "30 repositories made {written} changes of their storage");
}

#[tokio::test(flavor = "multi_thread")]
async fn from_manifests_to_the_first_backup() {
    let world = World::new();
    let _operator = world.operator();
    world.base();
    world.configuration(json!({}));
    world.phase(CONFIGURATIONS, "sample", "Ready").await;
    let session = world.first().await;
    world.phase(SESSIONS, &session, "Succeeded").await;
    world
        .until("the configuration says all", |fake| {
            let status = fake.get(CONFIGURATIONS, "demo", "sample").unwrap()["status"].clone();
            let of_session = json!({"status": status["sessions"][0]});
            status["repositories"][0]["phase"] == "Ready"
                && condition(&of_session, "InitialBackupTriggered")["status"] == "True"
        })
        .await;

    let configuration = world.fake.get(CONFIGURATIONS, "demo", "sample").unwrap();
    let status = &configuration["status"];
    assert_eq!(status["targetFound"], true);
    assert_eq!(status["backends"][0]["ready"], true);
    assert_eq!(status["backends"][0]["storage"]["phase"], "Ready");
    assert_eq!(status["dependencies"][0]["found"], true);
    assert_eq!(condition(&configuration, "ValidationPassed")["status"], "True");
    let of_session = json!({"status": status["sessions"][0]});
    assert_eq!(condition(&of_session, "SchedulerEnsured")["status"], "True");

    let repository = world.fake.get(REPOSITORIES, "demo", "sample-repo").unwrap();
    assert_eq!(repository["spec"]["storageRef"], json!({"name": "s3", "namespace": "demo"}));
    assert_eq!(repository["spec"]["path"], "/sample");
    assert_eq!(repository["spec"]["appRef"]["namespace"], "demo");
    assert!(repository["metadata"].get("ownerReferences").is_none(), "a Repository survives its configuration");

    let trigger = world.fake.get(CRON_JOBS, "demo", "trigger-sample-daily").unwrap();
    assert_eq!(trigger["spec"]["suspend"], false);
    assert!(world.fake.get(ACCOUNTS, "demo", "trigger-sample-daily").is_some());
    world
        .until("the storage lists its repository", |fake| {
            fake.get(STORAGES, "demo", "s3").unwrap()["status"]["repositories"][0]["name"] == "sample-repo"
        })
        .await;
    world.settled().await;
    assert_eq!(world.fake.ever(SESSIONS).len(), 1, "one first backup");
    let requests = world.fake.requests();
    assert!(requests.iter().all(|request| !request.contains("secrets")), "the operator reads no Secret");
    assert!(!world.fake.all(EVENTS).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_waited_for() {
    let world = World::new();
    let _operator = world.operator();
    world.base();
    let mut other = configuration("sample", json!({}));
    other["spec"]["target"]["name"] = json!("later");
    other["spec"]["backends"][0]["storageRef"]["name"] = json!("late");
    world.fake.create(CONFIGURATIONS, other);
    world
        .until("it says what is missing", |fake| {
            let configuration = fake.get(CONFIGURATIONS, "demo", "sample").unwrap();
            let message = condition(&configuration, "Ready")["message"].as_str().unwrap_or_default().to_owned();
            message.contains("BackupStorage demo/late not found") && message.contains("AppBinding demo/later")
        })
        .await;
    assert!(world.sessions().is_empty());
    world.storage("demo", "late", json!({}));
    world.fake.create(APPS, json!({"metadata": {"name": "later", "namespace": "demo"}, "spec": {"clientConfig": {}}}));
    world.phase(CONFIGURATIONS, "sample", "Ready").await;
    world.first().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_contradicts_the_rules_is_invalid_until_it_is_corrected() {
    let world = World::new();
    let _operator = world.operator();
    world.base();
    world.configuration(json!({"hooks": {"preBackup": [{"name": "freeze"}]}}));
    world.phase(CONFIGURATIONS, "sample", "Invalid").await;
    world.settled().await;
    assert!(
        world.fake.all(CRON_JOBS).is_empty() && world.fake.all(REPOSITORIES).is_empty() && world.sessions().is_empty()
    );
    world.fake.edit(CONFIGURATIONS, "demo", "sample", |one| {
        one["spec"]["sessions"][0].as_object_mut().unwrap().remove("hooks");
    });
    world.phase(CONFIGURATIONS, "sample", "Ready").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storage_of_another_namespace_is_used_only_if_it_allows_it() {
    let world = World::new();
    let _operator = world.operator();
    world.base();
    world.storage("storage", "far", json!({"usagePolicy": {"allowedNamespaces": {"from": "Selector", "selector": {"matchLabels": {"name": "other"}}}}}));
    let mut far = configuration("sample", json!({}));
    far["spec"]["backends"][0]["storageRef"] = json!({"name": "far", "namespace": "storage"});
    world.fake.create(CONFIGURATIONS, far);
    world.phase(CONFIGURATIONS, "sample", "Invalid").await;
    let refused = world.fake.get(CONFIGURATIONS, "demo", "sample").unwrap();
    let message = condition(&refused, "ValidationPassed")["message"].as_str().unwrap().to_owned();
    assert!(message.contains("is not allowed to refer BackupStorage far/storage"), "{message}");
    world.fake.edit(crate::world::NAMESPACES, "", "demo", |namespace| {
        namespace["metadata"]["labels"]["name"] = json!("other");
    });
    world.phase(CONFIGURATIONS, "sample", "Ready").await;
    let session = world.first().await;
    world.phase(SESSIONS, &session, "Succeeded").await;
    world
        .until("rights in other namespaces end with the Job", |fake| {
            let mut all = fake.all(BINDINGS);
            all.retain(|one| one["metadata"]["namespace"] == "storage");
            names(&all).iter().all(|name| !name.starts_with("demo."))
        })
        .await;
    for right in ["storage", "secrets"] {
        assert!(world.fake.ever(BINDINGS).contains(&format!("storage/demo.{session}:{right}")), "{right}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn those_that_name_none_get_the_default() {
    let world = World::new();
    let _operator = world.operator();
    world.base();
    world.storage("storage", "default", json!({"default": true}));
    world.fake.create(
        POLICIES,
        json!({"metadata": {"name": "default", "namespace": "storage"},
        "spec": {"default": true, "maxRetentionPeriod": "1mo", "usagePolicy": {"allowedNamespaces": {"from": "All"}}}}),
    );
    let mut bare = configuration(
        "sample",
        json!({"repositories": [{"name": "r", "directory": "d", "encryptionSecret": {"name": "e"}}]}),
    );
    bare["spec"].as_object_mut().unwrap().remove("backends");
    world.fake.create(CONFIGURATIONS, bare);
    world.phase(CONFIGURATIONS, "sample", "Ready").await;
    let repository = world.fake.get(REPOSITORIES, "demo", "r").unwrap();
    assert_eq!(repository["spec"]["storageRef"], json!({"name": "default", "namespace": "storage"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn pausing_suspends_the_triggers_and_sessions_go_with_their_triggers() {
    let world = World::new();
    let _operator = world.operator();
    world.base();
    world.configuration(json!({}));
    let session = world.first().await;
    world.phase(SESSIONS, &session, "Succeeded").await;
    let suspended = |fake: &crate::fake::Fake| {
        fake.get(CRON_JOBS, "demo", "trigger-sample-daily").map(|one| one["spec"]["suspend"].clone())
    };
    for paused in [true, false] {
        world.fake.edit(CONFIGURATIONS, "demo", "sample", |one| one["spec"]["paused"] = json!(paused));
        world.until("the trigger follows", |fake| suspended(fake) == Some(json!(paused))).await;
    }
    // Somebody else's hands are undone, and a deleted trigger comes back.
    world.fake.edit(CRON_JOBS, "demo", "trigger-sample-daily", |one| {
        one["spec"]["suspend"] = json!(true);
    });
    world.until("the trigger is right again", |fake| suspended(fake) == Some(json!(false))).await;
    world.fake.delete(CRON_JOBS, "demo", "trigger-sample-daily");
    world.until("the trigger is back", |fake| suspended(fake) == Some(json!(false))).await;
    world.fake.edit(CONFIGURATIONS, "demo", "sample", |one| one["spec"]["sessions"][0]["name"] = json!("hourly"));
    world
        .until("the trigger of the new session replaces the old one", |fake| {
            names(&fake.all(CRON_JOBS)) == ["trigger-sample-hourly"]
                && fake.get(ACCOUNTS, "demo", "trigger-sample-daily").is_none()
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_asked_for_when_nothing_happens() {
    let world = World::new();
    let _operator = world.operator();
    world.base();
    world.configuration(json!({}));
    let session = world.first().await;
    world.phase(SESSIONS, &session, "Succeeded").await;
    world.at_rest().await;
    world.fake.requests();
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    assert_eq!(world.fake.requests(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn many_configurations_are_ready_soon_and_cost_few_requests() {
    let world = World::new();
    let _operator = world.operator();
    world.base();
    world.phase(STORAGES, "s3", "Ready").await;
    world.fake.requests();
    let count = 200;
    for number in 0..count {
        let mut one = configuration(&format!("c{number}"), json!({}));
        // No backup: what is measured is the way to Ready.
        one["spec"]["paused"] = json!(true);
        world.fake.create(CONFIGURATIONS, one);
    }
    world
        .until("all are ready", |fake| {
            let ready = |resource| fake.all(resource).iter().filter(|one| one["status"]["phase"] == "Ready").count();
            ready(CONFIGURATIONS) == count && ready(REPOSITORIES) == count
        })
        .await;
    world.settled().await;
    let requests: Vec<_> = world.fake.requests().into_iter().filter(|one| !one.contains("/events")).collect();
    // What the stores do not know yet is read once more: how much that is depends on how far they are behind.
    let (reads, writes): (Vec<_>, Vec<_>) = requests.into_iter().partition(|one| one.starts_with("GET"));
    for (what, some) in [("reads", reads), ("writes", writes)] {
        let each = some.len() / count;
        assert!(each <= 25, "{each} {what} for each configuration: {:?}", &some[some.len() - 60..]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_says_when_it_comes_next() {
    let world = World::new();
    let _operator = world.operator();
    world.base();
    world.configuration(json!({}));
    let says = |fake: &crate::fake::Fake, moment: serde_json::Value| {
        fake.get(CONFIGURATIONS, "demo", "sample").unwrap()["status"]["sessions"][0]["nextSchedule"] == moment
    };
    world.until("it says so", |fake| says(fake, json!("2026-01-01T03:00:00Z"))).await;
    world.advance(4 * 3600);
    world.touch(CONFIGURATIONS, "sample");
    world.until("it is the next day", |fake| says(fake, json!("2026-01-02T03:00:00Z"))).await;
    world.fake.edit(CONFIGURATIONS, "demo", "sample", |one| one["spec"]["paused"] = json!(true));
    world.until("it does not come", |fake| says(fake, json!(null))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_repository_that_came_first_keeps_its_directory() {
    let world = World::new();
    let _operator = world.operator();
    world.base();
    world.configuration(json!({}));
    world.phase(CONFIGURATIONS, "sample", "Ready").await;
    world.advance(1);
    let mut other = world.fake.get(REPOSITORIES, "demo", "sample-repo").unwrap();
    other["metadata"] = json!({"name": "later", "namespace": "demo"});
    world.fake.create(REPOSITORIES, other);
    world.phase(REPOSITORIES, "later", "Ready").await;
    world.touch(CONFIGURATIONS, "sample");
    world.settled().await;
    let sample = world.fake.get(CONFIGURATIONS, "demo", "sample").unwrap();
    assert_eq!(sample["status"]["phase"], "Ready", "{}", sample["status"]);
}
