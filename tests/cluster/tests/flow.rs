//! A user's way through backup and restore, each step as it shows in the cluster.

use std::time::Duration;

use coffer_test_cluster::wait::within;
use coffer_test_support::fingerprint::{differences, fingerprint};
use coffer_test_support::mysql::PASSWORD;
use coffer_test_support::stores::S3;
use serde_json::{Value, json};

use crate::outside::{CONFIGURATION, Outside, PLACE, REPOSITORY, REPOSITORY_PASSWORD, SESSION};
use crate::world::World;

pub fn text<'a>(object: &'a Value, path: &str) -> &'a str {
    object.pointer(path).and_then(Value::as_str).unwrap_or_else(|| panic!("no text at {path} in {object:#}"))
}

fn number(object: &Value, path: &str) -> i64 {
    object.pointer(path).and_then(Value::as_i64).unwrap_or_else(|| panic!("no number at {path} in {object:#}"))
}

fn label<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    object["metadata"]["labels"][name].as_str()
}

/// The status of a condition; empty if it is not there.
pub fn condition<'a>(object: &'a Value, kind: &str) -> &'a str {
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
    let found = conditions.into_iter().flatten().find(|condition| condition["type"] == kind);
    found.and_then(|condition| condition["status"].as_str()).unwrap_or_default()
}

#[track_caller]
fn owned_by(object: &Value, kind: &str, name: &str) {
    let owners = object["metadata"]["ownerReferences"].as_array();
    let found = owners.into_iter().flatten().any(|owner| owner["kind"] == kind && owner["name"] == name);
    assert!(found, "not owned by {kind} {name}: {object:#}");
}

#[test]
fn a_user_backs_up_and_restores_as_the_guide_says() {
    World::run(async |world| {
        let outside = Outside::start(8);
        outside.apply(world, "1-secrets.yaml").await;
        outside.apply(world, "2-databases.yaml").await;
        storage_is_initialized(world, &outside).await;
        outside.apply(world, "4-retention.yaml").await;
        outside.apply(world, "5-backup.yaml").await;
        let session = backup_is_taken(world, &outside).await;
        outside.apply(world, "6-restore.yaml").await;
        restore_is_done(world, &outside).await;
        schedule_triggers_another(world, &outside, &session).await;
        nothing_secret_was_printed(world);
    });
}

/// Steps 1 to 3: from a storage to its metadata.
async fn storage_is_initialized(world: &World, outside: &Outside) {
    outside.apply(world, "3-storage.yaml").await;
    let storage = world.phase("BackupStorage", "s3-storage", "Ready").await;
    for kind in ["BackendInitialized", "BackendSecretFound"] {
        assert_eq!(condition(&storage, kind), "True", "{kind}: {storage:#}");
    }
    let finalizers = storage["metadata"]["finalizers"].to_string();
    assert!(finalizers.contains("kubestash.com/cleanup"), "{finalizers}");
    let metadata = outside.object("cluster/metadata.yaml").expect("metadata.yaml is in the backend");
    assert!(metadata.contains("kind: BackendMeta"), "{metadata}");
}

/// Steps 4 to 16: from a configuration to a snapshot. Returns the name of the session.
async fn backup_is_taken(world: &World, outside: &Outside) -> String {
    // 5 to 7: the repository.
    let repository = world.phase("Repository", REPOSITORY, "Ready").await;
    assert!(repository["metadata"]["ownerReferences"].is_null(), "a Repository survives its configuration");
    assert_eq!(text(&repository, "/spec/storageRef/name"), "s3-storage");
    assert_eq!(condition(&repository, "RepositoryInitialized"), "True");
    let stored = outside.object(&format!("{PLACE}/repository.yaml")).expect("repository.yaml is in the backend");
    assert!(stored.contains("kind: Repository"), "{stored}");
    // 8: the schedule.
    let trigger = format!("trigger-{CONFIGURATION}-{SESSION}");
    let cron = world.until("CronJob", &trigger, "there", |_| true).await;
    assert_eq!(text(&cron, "/spec/schedule"), "* * * * *");
    owned_by(&cron, "BackupConfiguration", CONFIGURATION);
    // 9 and 10: the first session begins at once.
    let configuration = world.phase("BackupConfiguration", CONFIGURATION, "Ready").await;
    {
        let kind = "ValidationPassed";
        assert_eq!(condition(&configuration, kind), "True", "{kind}: {configuration:#}");
    }
    assert_eq!(configuration.pointer("/status/targetFound"), Some(&json!(true)), "{configuration:#}");
    let session = within(Duration::from_secs(30), "the first BackupSession is there", || async {
        let sessions = world.list("BackupSession").await;
        sessions.first().map(|session| text(session, "/metadata/name").to_owned())
    })
    .await;
    let unix = session
        .strip_prefix(&format!("{CONFIGURATION}-{SESSION}-"))
        .expect("the name is the configuration's, the session's and the time's");
    assert!(unix.parse::<u64>().is_ok(), "{session}");
    let begun = world.get("BackupSession", &session).await.unwrap();
    owned_by(&begun, "BackupConfiguration", CONFIGURATION);
    assert_eq!(label(&begun, "kubestash.com/invoker-name"), Some(CONFIGURATION));
    // 11: a Snapshot, which belongs to its repository.
    let name = format!("{REPOSITORY}-{CONFIGURATION}-{SESSION}-{unix}");
    let snapshot = world.until("Snapshot", &name, "there", |_| true).await;
    owned_by(&snapshot, "Repository", REPOSITORY);
    assert_eq!(label(&snapshot, "kubestash.com/repo-name"), Some(REPOSITORY));
    // 12 and 13: the Job, with rights of its own and no more.
    let job = world.until("Job", &session, "there", |_| true).await;
    let pod = &job["spec"]["template"]["spec"];
    assert_eq!(pod["serviceAccountName"], session.as_str());
    assert_eq!(pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"], true);
    let binding = world.get("RoleBinding", &session).await.expect("a RoleBinding for the Job");
    assert_eq!(text(&binding, "/roleRef/name"), "kubestash-backup-job");
    // 14 to 16: what came of it.
    let done = world.phase("BackupSession", &session, "Succeeded").await;
    for kind in ["SnapshotsEnsured", "BackupExecutorEnsured"] {
        assert_eq!(condition(&done, kind), "True", "{kind}: {done:#}");
    }
    assert!(!text(&done, "/status/duration").is_empty());
    let listed = done["status"]["snapshots"].as_array().expect("the session lists its snapshots");
    assert_eq!(listed.len(), 1, "{done:#}");
    assert_eq!((text(&listed[0], "/name"), text(&listed[0], "/phase")), (name.as_str(), "Succeeded"));
    let snapshot = world.phase("Snapshot", &name, "Succeeded").await;
    assert_eq!(condition(&snapshot, "SnapshotMetadataUploaded"), "True");
    let component = &snapshot["status"]["components"]["dump"];
    assert_eq!(text(component, "/phase"), "Succeeded", "{snapshot:#}");
    assert_eq!(text(component, "/driver"), "Restic");
    assert_eq!(component["integrity"], true);
    assert!(!text(component, "/duration").is_empty() && !text(component, "/size").is_empty());
    assert_eq!(snapshot["status"]["integrity"], true);
    let id = text(component, "/resticStats/0/summary/id").to_owned();
    let uploaded = outside.object(&format!("{PLACE}/snapshots/{name}.yaml")).expect("the Snapshot is in the backend");
    assert!(uploaded.contains(&id), "{uploaded}");
    let repository = world
        .until("Repository", REPOSITORY, "counting its snapshot", |object| {
            object.pointer("/status/snapshotCount").and_then(Value::as_i64) == Some(1)
        })
        .await;
    assert_eq!(repository["status"]["integrity"], true, "{repository:#}");
    assert_eq!(text(&repository, "/status/recentSnapshots/0/name"), name);
    assert!(!text(&repository, "/status/lastBackupTime").is_empty() && !text(&repository, "/status/size").is_empty());
    // The proof outside of the cluster: stock restic.
    let restic = outside.restic();
    let snapshots: Value = serde_json::from_slice(&restic.ok(&["snapshots", "--json", "--no-lock"])).unwrap();
    assert!(snapshots.as_array().unwrap().iter().any(|one| one["id"] == id.as_str()), "{snapshots:#}");
    restic.ok(&["check", "--read-data"]);
    session
}

/// The restore, into another server.
async fn restore_is_done(world: &World, outside: &Outside) {
    let job = world.until("Job", "restore-shop", "there", |_| true).await;
    assert_eq!(text(&job, "/spec/template/spec/serviceAccountName"), "restore-shop");
    let restored = world.phase("RestoreSession", "restore-shop", "Succeeded").await;
    for kind in ["ValidationPassed", "RestoreExecutorEnsured"] {
        assert_eq!(condition(&restored, kind), "True", "{kind}: {restored:#}");
    }
    assert_eq!(restored.pointer("/status/targetFound"), Some(&json!(true)), "{restored:#}");
    assert!(!text(&restored, "/status/duration").is_empty());
    assert_eq!(number(&restored, "/status/totalComponents"), 1);
    let components = restored["status"]["components"].as_object().expect("the components are listed");
    for (name, component) in components {
        assert_eq!(text(component, "/phase"), "Succeeded", "{name}: {restored:#}");
    }
    let (left, right) = (fingerprint(&outside.shop, "shop").unwrap(), fingerprint(&outside.restored, "shop").unwrap());
    assert!(left.len() > 10, "{left:#?}");
    assert_eq!(differences(&left, &right), Vec::<String>::new(), "the restored database is the one that was backed up");
}

/// The CronJob creates a session by itself, and the history is kept short.
async fn schedule_triggers_another(world: &World, outside: &Outside, first: &str) {
    let next = within(Duration::from_secs(100), "the schedule begins another BackupSession", || async {
        let sessions = world.list("BackupSession").await;
        let names = sessions.iter().map(|session| text(session, "/metadata/name").to_owned());
        names.filter(|name| name != first).max()
    })
    .await;
    let done = world.phase("BackupSession", &next, "Succeeded").await;
    // Once is enough.
    world.apply_yaml(&paused(world).await).await;
    world
        .until("CronJob", &format!("trigger-{CONFIGURATION}-{SESSION}"), "suspended", |cron| {
            cron.pointer("/spec/suspend") == Some(&Value::Bool(true))
        })
        .await;
    assert_eq!(label(&done, "kubestash.com/invoker-name"), Some(CONFIGURATION));
    let retained = done["status"]["retentionPolicy"].as_array().cloned().unwrap_or_default();
    assert!(!retained.is_empty() && retained.iter().all(|each| each["phase"] == "Applied"), "{done:#}");
    // sessionHistoryLimit is 1: the first session has gone, its snapshot stays.
    within(Duration::from_mins(1), "the first session is history", || async {
        world.get("BackupSession", first).await.is_none().then_some(())
    })
    .await;
    assert!(world.list("Snapshot").await.len() >= 2);
    outside.restic().ok(&["check"]);
}

/// The configuration as it is applied, and paused.
async fn paused(world: &World) -> String {
    let configuration = world.get("BackupConfiguration", CONFIGURATION).await.unwrap();
    let mut spec = configuration["spec"].clone();
    spec["paused"] = true.into();
    let object = json!({
        "apiVersion": "core.kubestash.com/v1alpha1", "kind": "BackupConfiguration", "metadata": { "name": CONFIGURATION, "namespace": "demo" }, "spec": spec,
    });
    object.to_string()
}

/// What is secret stands in Secrets alone; and what the operator tells of itself is true.
fn nothing_secret_was_printed(world: &World) {
    let logs = world.logs();
    assert!(logs.contains("backup") && logs.len() > 1000, "{logs}");
    for secret in [REPOSITORY_PASSWORD, PASSWORD, S3::SECRET_KEY] {
        assert!(!logs.contains(secret), "a secret was printed:\n{logs}");
    }
    let metrics = world.operator.says("/metrics").unwrap_or_default();
    assert!(metrics.contains("coffer_leader 1"), "{metrics}");
    assert!(metrics.contains(&format!("configuration=\"{CONFIGURATION}\"")), "{metrics}");
    assert!(world.operator.says("/healthz").is_some_and(|answer| answer.starts_with("HTTP/1.0 200")));
    assert!(world.operator.says("/readyz").is_some_and(|answer| answer.starts_with("HTTP/1.0 200")));
}
