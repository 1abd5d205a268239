//! Namespaces: what a Job may do in another one, and who has to allow it.

use serde_json::{Value, json};

use crate::fake::Fake;
use crate::world::{
    APPS, BINDINGS, CONFIGURATIONS, EVENTS, JOBS, NAMESPACES, Play, REPOSITORIES, RESTORES, SESSIONS, STORAGES, World,
    condition, configuration, facts, finish, names,
};

/// Whom a namespace lets in; nobody when `None`.
fn open(world: &World, namespace: &str, to: Option<&str>) {
    world.fake.edit(NAMESPACES, "", namespace, |one| {
        one["metadata"]["annotations"] = to.map_or(Value::Null, |to| json!({"coffer.dev/allowed-from": to}));
    });
}

/// The `RoleBindings` of a namespace, each with its role.
fn bindings(fake: &Fake, namespace: &str) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let all = fake.all(BINDINGS).into_iter().filter(|one| one["metadata"]["namespace"] == namespace);
    all.map(|one| (text(&one["metadata"]["name"]), text(&one["roleRef"]["name"]))).collect()
}

fn message(object: &Value, type_: &str) -> String {
    condition(object, type_)["message"].as_str().unwrap_or_default().to_owned()
}

fn binding(name: &str, role: &str) -> (String, String) {
    (name.to_owned(), format!("kubestash-{role}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_and_targets_elsewhere_are_reached_only_where_the_namespace_says_so() {
    let world = World::new();
    let _operator = world.operator();
    world.base();
    let mut far = configuration(
        "sample",
        json!({"repositories": [{"name": "r", "backend": "s3", "directory": "/r", "encryptionSecret": {"name": "encrypt", "namespace": "storage"}}]}),
    );
    far["spec"]["target"]["namespace"] = json!("other");
    world.fake.create(
        APPS,
        json!({"metadata": {"name": "sample-mysql", "namespace": "other"}, "spec": {"clientConfig": {}}}),
    );
    world.fake.create(CONFIGURATIONS, far);
    world.phase(CONFIGURATIONS, "sample", "Invalid").await;
    let refused = world.fake.get(CONFIGURATIONS, "demo", "sample").unwrap();
    let why = message(&refused, "ValidationPassed");
    for part in [
        "MySQL other/sample-mysql of spec.target is in namespace \"other\", which is not open to namespace \"demo\"",
        "Secret storage/encrypt of encryptionSecret is in namespace \"storage\"",
        "have demo added to the annotation coffer.dev/allowed-from of Namespace storage",
    ] {
        assert!(why.contains(part), "{why}");
    }
    assert_eq!(message(&refused, "Stalled"), why);
    assert_eq!(refused["status"]["targetFound"], false, "what there is elsewhere is not told");
    open(&world, "other", Some("demo"));
    world
        .until("one of the two is left", |fake| {
            let why = message(&fake.get(CONFIGURATIONS, "demo", "sample").unwrap(), "ValidationPassed");
            !why.contains("sample-mysql") && why.contains("storage/encrypt")
        })
        .await;
    world.phase(STORAGES, "s3", "Ready").await;
    world.settled().await;
    assert_eq!(world.fake.ever(JOBS), ["demo/init-s3"]);
    assert!(world.fake.all(REPOSITORIES).is_empty());
    assert!(world.fake.ever(BINDINGS).iter().all(|name| name.starts_with("demo/")), "no right anywhere else");

    world.plays("backup", Play::Hang);
    open(&world, "storage", Some("web, demo"));
    world.phase(CONFIGURATIONS, "sample", "Ready").await;
    let session = world.first().await;
    world.runs(&session).await;
    let name = |right: &str| format!("demo.{session}:{right}");
    assert_eq!(
        bindings(&world.fake, "other"),
        [binding(&name("secrets"), "secret-reader"), binding(&name("target"), "target-reader")]
    );
    assert_eq!(bindings(&world.fake, "storage"), [binding(&name("secrets"), "secret-reader")]);
    assert!(bindings(&world.fake, "demo").contains(&binding(&session, "backup-job")));
    facts(&world.fake, "demo", "backup", None, &session, None);
    finish(&world.fake, "demo", &session, "Complete");
    world.phase(SESSIONS, &session, "Succeeded").await;
    world
        .until("the rights end with it", |fake| {
            bindings(fake, "other").is_empty() && bindings(fake, "storage").is_empty()
        })
        .await;

    // Who shuts the door again is heard.
    open(&world, "other", None);
    world.phase(CONFIGURATIONS, "sample", "Invalid").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_was_admitted_before_the_door_was_shut_fails_with_the_reason() {
    let world = World::new();
    let operator = world.operator();
    world.base();
    open(&world, "other", Some("*"));
    world.fake.create(
        APPS,
        json!({"metadata": {"name": "sample-mysql", "namespace": "other"}, "spec": {"clientConfig": {}}}),
    );
    let mut far = configuration("sample", json!({}));
    far["spec"]["target"]["namespace"] = json!("other");
    // Its session waits for the repository.
    world.plays("initialize-repository", Play::Hang);
    world.fake.create(CONFIGURATIONS, far);
    let session = world.first().await;
    world
        .until("it is admitted", |fake| fake.get(SESSIONS, "demo", &session).unwrap()["status"]["totalSnapshots"] == 1)
        .await;
    operator.stop().await.unwrap();
    open(&world, "other", None);
    facts(&world.fake, "demo", "initialize-repository", None, "sample-repo", None);
    let _operator = world.operator();
    world.phase(SESSIONS, &session, "Failed").await;
    let failed = world.fake.get(SESSIONS, "demo", &session).unwrap();
    assert_eq!(condition(&failed, "BackupExecutorEnsured")["status"], "False");
    assert!(message(&failed, "Stalled").contains("which is not open to namespace \"demo\""), "{failed}");
    assert!(world.fake.ever(BINDINGS).iter().all(|name| !name.starts_with("other/")));
    assert!(!world.fake.ever(JOBS).contains(&format!("demo/{session}")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_reaches_its_source_only_where_the_namespace_says_so() {
    let world = World::new();
    let _operator = world.operator();
    world.base();
    world.configuration(json!({}));
    let session = world.first().await;
    world.phase(SESSIONS, &session, "Succeeded").await;
    world.fake.create(APPS, json!({"metadata": {"name": "new", "namespace": "other"}, "spec": {"clientConfig": {}}}));
    world.fake.create(
        RESTORES,
        json!({"metadata": {"name": "r", "namespace": "other"}, "spec": {
            "target": {"apiGroup": "kubedb.com", "kind": "MySQL", "name": "new"},
            "dataSource": {"namespace": "demo", "repository": "sample-repo", "snapshot": "latest"},
            "addon": {"name": "mysql-addon", "tasks": [{"name": "logical-backup-restore"}]},
        }}),
    );
    let why = |fake: &Fake| message(&fake.get(RESTORES, "other", "r").unwrap(), "Ready");
    world
        .until("it says why", |fake| {
            why(fake).contains(
                "the data of spec.dataSource is in namespace \"demo\", which is not open to namespace \"other\"",
            )
        })
        .await;
    assert!(!why(&world.fake).contains("Repository"), "what there is elsewhere is not told");
    world.settled().await;
    let reached = |fake: &Fake| {
        fake.ever(BINDINGS).into_iter().filter(|name| name.starts_with("demo/other.")).collect::<Vec<_>>()
    };
    assert!(reached(&world.fake).is_empty() && !world.fake.ever(JOBS).contains(&"other/r".to_owned()));

    // The storage has a word of its own, about the namespace that reads its Secret.
    world
        .fake
        .edit(STORAGES, "demo", "s3", |one| one["spec"]["usagePolicy"]["allowedNamespaces"]["from"] = json!("Same"));
    // Of two changes of different kinds the operator may hear in either order.
    world
        .until("the operator knows it", |fake| {
            let storage = fake.get(STORAGES, "demo", "s3").unwrap();
            storage["status"]["observedGeneration"] == storage["metadata"]["generation"]
        })
        .await;
    open(&world, "demo", Some("other"));
    world
        .until("the storage is in the way", |fake| {
            why(fake).contains("namespace \"other\" is not allowed to refer BackupStorage s3/demo")
        })
        .await;
    assert!(reached(&world.fake).is_empty());
    world.plays("restore", Play::Hang);
    world
        .fake
        .edit(STORAGES, "demo", "s3", |one| one["spec"]["usagePolicy"]["allowedNamespaces"]["from"] = json!("All"));
    world.until("it runs", |fake| fake.get(JOBS, "other", "r").is_some()).await;
    assert_eq!(
        bindings(&world.fake, "demo").into_iter().filter(|(name, _)| name.starts_with("other.")).collect::<Vec<_>>(),
        [
            binding("other.r:secrets", "secret-reader"),
            binding("other.r:source", "source-reader"),
            binding("other.r:storage", "storage-reader"),
        ]
    );
    assert_eq!(bindings(&world.fake, "other"), [binding("r", "restore-job")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn data_is_not_wiped_out_of_a_storage_that_forbids_its_use() {
    let world = World::new();
    let _operator = world.operator();
    world.base();
    world.storage("storage", "far", json!({}));
    let mut far = configuration(
        "sample",
        json!({"repositories": [
            {"name": "r", "backend": "s3", "directory": "/r", "encryptionSecret": {"name": "encrypt"}, "deletionPolicy": "WipeOut"},
        ]}),
    );
    far["spec"]["backends"][0]["storageRef"] = json!({"name": "far", "namespace": "storage"});
    world.fake.create(CONFIGURATIONS, far);
    let session = world.first().await;
    world.phase(SESSIONS, &session, "Succeeded").await;
    world.fake.edit(STORAGES, "storage", "far", |one| {
        one["spec"]["usagePolicy"]["allowedNamespaces"]["from"] = json!("Same");
    });
    world.phase(CONFIGURATIONS, "sample", "Invalid").await;
    world.fake.delete(CONFIGURATIONS, "demo", "sample");
    world.until("the Repository is gone", |fake| fake.get(REPOSITORIES, "demo", "r").is_none()).await;
    assert!(world.fake.ever(JOBS).iter().all(|name| !name.contains("cleanup")));
    let told = world.fake.all(EVENTS).into_iter().find(|event| event["reason"] == "DataRetained").unwrap();
    assert!(told["note"].as_str().unwrap().contains("is not allowed to refer BackupStorage far/storage"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_hears_of_the_labels_of_its_namespace() {
    let world = World::new();
    let _operator = world.operator();
    world.base();
    world.storage("storage", "far", json!({"usagePolicy": {"allowedNamespaces": {"from": "Selector", "selector": {"matchLabels": {"team": "db"}}}}}));
    world
        .until("it is ready", |fake| fake.get(STORAGES, "storage", "far").unwrap()["status"]["phase"] == "Ready")
        .await;
    world.fake.create(
        REPOSITORIES,
        json!({"metadata": {"name": "r", "namespace": "demo"}, "spec": {"storageRef": {"name": "far", "namespace": "storage"}, "path": "/r"}}),
    );
    world
        .until("it says what it waits for", |fake| {
            message(&fake.get(REPOSITORIES, "demo", "r").unwrap(), "Ready")
                .contains("is not allowed to refer BackupStorage far/storage")
        })
        .await;
    world.settled().await;
    world.fake.edit(NAMESPACES, "", "demo", |one| one["metadata"]["labels"] = json!({"team": "db"}));
    world.phase(REPOSITORIES, "r", "Ready").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_storage_is_looked_at_again_when_the_other_one_goes() {
    let world = World::new();
    let _operator = world.operator();
    world.base();
    world.advance(1);
    world.storage("demo", "twin", json!({"storage": {"provider": "s3", "s3": {"bucket": "s3", "secretName": "keys"}}}));
    world
        .until("it is invalid", |fake| {
            let twin = fake.get(STORAGES, "demo", "twin").unwrap();
            message(&twin, "Stalled").contains("no two BackupStorage should point to the same directory")
        })
        .await;
    assert!(!world.fake.ever(JOBS).contains(&"demo/init-twin".to_owned()));
    world.fake.delete(STORAGES, "demo", "s3");
    world.phase(STORAGES, "twin", "Ready").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_brought_back_is_told_and_tried_again_when_it_may_help() {
    let world = World::new();
    let _operator = world.operator();
    world.base();
    world.phase(STORAGES, "s3", "Ready").await;
    let lost = |namespace: &str| json!({"name": "r", "namespace": namespace, "path": "/r", "synced": false, "error": "no right"});
    let jobs = |fake: &Fake| fake.ever(JOBS).len();
    // As the Job writes it. What it can do nothing about is not tried again.
    world.plays("initialize-storage", Play::Hang);
    world
        .fake
        .edit(STORAGES, "demo", "s3", |one| one["status"]["repositories"] = json!([lost("other"), lost("nowhere")]));
    let told = |fake: &Fake| message(&fake.get(STORAGES, "demo", "s3").unwrap(), "RepositoriesSynced");
    world
        .until("it says why", |fake| {
            let why = told(fake);
            why.contains("have demo added to the annotation coffer.dev/allowed-from of Namespace other")
                && why.contains("namespace nowhere does not exist")
        })
        .await;
    world.settled().await;
    assert_eq!(jobs(&world.fake), 1);
    let storage = world.fake.get(STORAGES, "demo", "s3").unwrap();
    assert_eq!(condition(&storage, "RepositoriesSynced")["status"], "False");
    assert_eq!(storage["status"]["phase"], "Ready", "it can be used all the same");

    // Once the namespace lets it in, it goes there, with the right to create and to read no Secret.
    open(&world, "other", Some("demo"));
    world.until("it is tried again", |fake| jobs(fake) == 2).await;
    world.until("with the right", |fake| bindings(fake, "other") == [binding("demo.init-s3:import", "importer")]).await;
    world.runs("init-s3").await;
    world.fake.edit(STORAGES, "demo", "s3", |one| one["status"]["repositories"] = json!([lost("nowhere")]));
    finish(&world.fake, "demo", "init-s3", "Failed");
    world.until("the right is gone", |fake| bindings(fake, "other").is_empty()).await;
    world.until("one is left", |fake| !told(fake).contains("other") && told(fake).contains("nowhere")).await;
    world.settled().await;
    assert_eq!(jobs(&world.fake), 2);
    world
        .fake
        .create(NAMESPACES, json!({"metadata": {"name": "nowhere", "annotations": {"coffer.dev/allowed-from": "*"}}}));
    world.until("it is tried again", |fake| jobs(fake) == 3).await;
    world.runs("init-s3").await;
    world.fake.edit(STORAGES, "demo", "s3", |one| one["status"]["repositories"] = json!([]));
    finish(&world.fake, "demo", "init-s3", "Complete");
    world
        .until("all is there", |fake| {
            condition(&fake.get(STORAGES, "demo", "s3").unwrap(), "RepositoriesSynced")["status"] == "True"
        })
        .await;
    world.until("and the right is gone", |fake| bindings(fake, "nowhere").is_empty()).await;
    world.settled().await;
    assert_eq!(jobs(&world.fake), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_could_not_be_read_is_tried_again_with_patience() {
    let world = World::new();
    let _operator = world.operator();
    world.base();
    world.configuration(json!({}));
    let session = world.first().await;
    world.phase(SESSIONS, &session, "Succeeded").await;
    // Its Repository is there, and something of it is not.
    let bad = json!({"name": "sample-repo", "namespace": "demo", "path": "/sample", "synced": false, "error": "1 of 9 Snapshots are not brought back"});
    let jobs = |fake: &Fake| fake.ever(JOBS).iter().filter(|name| *name == "demo/init-s3").count();
    let touch = |label: &'static str| {
        world.fake.edit(STORAGES, "demo", "s3", |one| one["metadata"]["labels"] = json!({"touch": label}));
    };
    world.plays("initialize-storage", Play::Fail);
    world.advance(40);
    world.fake.edit(STORAGES, "demo", "s3", |one| one["status"]["repositories"] = json!([bad]));
    world.until("it is tried again", |fake| jobs(fake) == 2).await;
    world.settled().await;
    let storage = world.fake.get(STORAGES, "demo", "s3").unwrap();
    assert!(message(&storage, "RepositoriesSynced").contains("1 of 9 Snapshots"), "{storage}");
    assert_eq!(storage["status"]["repositories"][0]["synced"], false, "that it is there does not hide what is missing");
    assert_eq!(storage["status"]["phase"], "Ready");
    assert_eq!(jobs(&world.fake), 2, "not at once");
    world.advance(40);
    touch("once");
    world.until("it is tried once more", |fake| jobs(fake) == 3).await;
    // It has failed for a day: the next try is hours away.
    world.advance(24 * 3600);
    touch("twice");
    world.until("it is tried once more", |fake| jobs(fake) == 4).await;
    world.advance(3600);
    touch("thrice");
    world.settled().await;
    assert_eq!(jobs(&world.fake), 4);
    assert!(names(&world.fake.all(BINDINGS)).iter().all(|name| !name.contains(":import")));
}
