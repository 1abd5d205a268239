//! Deleting: each kind with each policy does what the policy says, to the cluster and to the backend, and nothing else.

use std::collections::BTreeSet;
use std::time::Duration;

use coffer_test_cluster::kubelet::Hold;
use coffer_test_cluster::manifests;
use coffer_test_cluster::record::Record;
use coffer_test_cluster::wait::within;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::admission::assert_admitted;
use crate::aftermath::tidy;
use crate::flow::text;
use crate::outside::{CONFIGURATION, Outside, REPOSITORY, SESSION};
use crate::world::{World, version_of};

/// What is done in a namespace of its own, and what is there afterwards.
struct Row {
    /// Name of the namespace, and the prefix of its storage in the bucket.
    name: &'static str,
    /// `deletionPolicy` of the repository in the BackupConfiguration.
    of_repository: Option<&'static str>,
    /// What there is besides a backup.
    also: Also,
    /// What is deleted, one after the other, and the `deletionPolicy` that the object itself gets before.
    deleted: &'static [(&'static str, Option<&'static str>)],
    /// The objects that stay, one of each; nothing else does.
    stays: &'static [&'static str],
    /// What stays of the files.
    files: Files,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Also {
    Nothing,
    /// A second backup.
    Second,
    /// The backup itself does not get beyond its pod.
    Waiting,
    /// A restore of the backup.
    Restore,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Files {
    /// Exactly the same.
    All,
    /// The storage's own `metadata.yaml`.
    Index,
    /// None.
    Nothing,
    /// All but those of the older of two snapshots.
    Newer,
}

/// Every kind that counts.
const KINDS: &[&str] = &[
    "BackupStorage",
    "RetentionPolicy",
    "Repository",
    "Snapshot",
    "BackupConfiguration",
    "CronJob",
    "BackupSession",
    "RestoreSession",
];
/// The unix seconds in the name of the second backup.
const LATER: &str = "2000000000";

const ROWS: &[Row] = &[
    Row {
        name: "storage-delete",
        of_repository: Some("WipeOut"),
        also: Also::Nothing,
        deleted: &[("BackupStorage", Some("Delete"))],
        stays: &["RetentionPolicy", "BackupConfiguration", "CronJob", "BackupSession"],
        files: Files::All,
    },
    Row {
        name: "storage-wipeout",
        of_repository: Some("Retain"),
        also: Also::Nothing,
        deleted: &[("BackupStorage", Some("WipeOut"))],
        stays: &["RetentionPolicy", "BackupConfiguration", "CronJob", "BackupSession"],
        files: Files::Nothing,
    },
    Row {
        name: "repository-delete",
        of_repository: Some("Retain"),
        also: Also::Nothing,
        deleted: &[("BackupConfiguration", None), ("Repository", Some("Delete"))],
        stays: &["BackupStorage", "RetentionPolicy"],
        files: Files::All,
    },
    Row {
        name: "repository-wipeout",
        of_repository: Some("Retain"),
        also: Also::Nothing,
        deleted: &[("BackupConfiguration", None), ("Repository", Some("WipeOut"))],
        stays: &["BackupStorage", "RetentionPolicy"],
        files: Files::Index,
    },
    Row {
        name: "snapshot-delete",
        of_repository: Some("WipeOut"),
        also: Also::Second,
        deleted: &[("Snapshot", Some("Delete"))],
        stays: &[
            "BackupStorage",
            "RetentionPolicy",
            "Repository",
            "Snapshot",
            "BackupConfiguration",
            "CronJob",
            "BackupSession",
        ],
        files: Files::All,
    },
    Row {
        name: "snapshot-wipeout",
        of_repository: None,
        also: Also::Second,
        deleted: &[("Snapshot", Some("WipeOut"))],
        stays: &[
            "BackupStorage",
            "RetentionPolicy",
            "Repository",
            "Snapshot",
            "BackupConfiguration",
            "CronJob",
            "BackupSession",
        ],
        files: Files::Newer,
    },
    Row {
        name: "configuration-unset",
        of_repository: None,
        also: Also::Nothing,
        deleted: &[("BackupConfiguration", None)],
        stays: &["BackupStorage", "RetentionPolicy", "Repository", "Snapshot"],
        files: Files::All,
    },
    Row {
        name: "configuration-retain",
        of_repository: Some("Retain"),
        also: Also::Nothing,
        deleted: &[("BackupConfiguration", None)],
        stays: &["BackupStorage", "RetentionPolicy", "Repository", "Snapshot"],
        files: Files::All,
    },
    Row {
        name: "configuration-delete",
        of_repository: Some("Delete"),
        also: Also::Nothing,
        deleted: &[("BackupConfiguration", None)],
        stays: &["BackupStorage", "RetentionPolicy"],
        files: Files::All,
    },
    Row {
        name: "configuration-wipeout",
        of_repository: Some("WipeOut"),
        also: Also::Nothing,
        deleted: &[("BackupConfiguration", None)],
        stays: &["BackupStorage", "RetentionPolicy"],
        files: Files::Index,
    },
    Row {
        name: "session-ended",
        of_repository: Some("WipeOut"),
        also: Also::Nothing,
        deleted: &[("BackupSession", None)],
        stays: &["BackupStorage", "RetentionPolicy", "Repository", "Snapshot", "BackupConfiguration", "CronJob"],
        files: Files::All,
    },
    Row {
        name: "session-waiting",
        of_repository: Some("WipeOut"),
        also: Also::Waiting,
        deleted: &[("BackupSession", None)],
        stays: &["BackupStorage", "RetentionPolicy", "Repository", "BackupConfiguration", "CronJob"],
        files: Files::All,
    },
    Row {
        name: "restore-ended",
        of_repository: Some("WipeOut"),
        also: Also::Restore,
        deleted: &[("RestoreSession", None)],
        stays: &[
            "BackupStorage",
            "RetentionPolicy",
            "Repository",
            "Snapshot",
            "BackupConfiguration",
            "CronJob",
            "BackupSession",
        ],
        files: Files::All,
    },
    Row {
        name: "policy",
        of_repository: Some("WipeOut"),
        also: Also::Nothing,
        deleted: &[("RetentionPolicy", None)],
        stays: &["BackupStorage", "Repository", "Snapshot", "BackupConfiguration", "CronJob", "BackupSession"],
        files: Files::All,
    },
];

impl Row {
    /// Name of the BackupConfiguration; that of pods that are held has another, by which they are known.
    fn configuration(&self) -> String {
        if self.also == Also::Waiting { format!("held-{CONFIGURATION}") } else { CONFIGURATION.to_owned() }
    }

    /// A file of the guide, for this row.
    fn manifest(&self, outside: &Outside, file: &str) -> String {
        let mut yaml = outside.manifest(file).replace("namespace: demo", &format!("namespace: {}", self.name));
        yaml = yaml.replace("prefix: cluster", &format!("prefix: {}", self.name)).replace("* * * * *", "0 0 1 1 *");
        yaml = yaml.replace(&format!("name: {CONFIGURATION}\n"), &format!("name: {}\n", self.configuration()));
        match self.of_repository {
            Some(policy) => {
                yaml.replace("directory: /shop\n", &format!("directory: /shop\n          deletionPolicy: {policy}\n"))
            }
            None => yaml,
        }
    }

    fn place(&self) -> String {
        format!("{}/shop", self.name)
    }

    /// Everything in the bucket.
    fn keys(&self, outside: &Outside) -> BTreeSet<String> {
        outside.s3.keys(&format!("{}/", self.name)).unwrap().into_iter().collect()
    }
}

/// The name of the session that comes later.
fn later() -> String {
    format!("{CONFIGURATION}-{SESSION}-{LATER}")
}

/// Brings a row to where something is deleted.
async fn begin(world: &World, outside: &Outside, row: &Row) {
    let waiting = row.also == Also::Waiting;
    let session =
        within(Duration::from_mins(3), &format!("{}: the first BackupSession is there", row.name), || async {
            let sessions = world.list_in(row.name, "BackupSession").await;
            sessions.first().map(|session| text(session, "/metadata/name").to_owned())
        })
        .await;
    if waiting {
        let held = || async { world.list_in(row.name, "Pod").await.iter().any(held).then_some(()) };
        return within(Duration::from_mins(2), &format!("{}: the pod of its backup is held", row.name), held).await;
    }
    world.phase_in(row.name, "BackupSession", &session, "Succeeded").await;
    match row.also {
        Also::Second => {
            let yaml = format!(
                "apiVersion: core.kubestash.com/v1alpha1\nkind: BackupSession\nmetadata: {{ name: {}, namespace: {} }}\nspec:\n\
                 \x20 invoker: {{ apiGroup: core.kubestash.com, kind: BackupConfiguration, name: {CONFIGURATION} }}\n  session: {SESSION}\n",
                later(),
                row.name
            );
            world.apply_yaml(&yaml).await;
            world.phase_in(row.name, "BackupSession", &later(), "Succeeded").await;
            world.gone_in(row.name, "BackupSession", &session).await;
        }
        Also::Restore => {
            world.apply_yaml(&row.manifest(outside, "6-restore.yaml")).await;
            world.phase_in(row.name, "RestoreSession", "restore-shop", "Succeeded").await;
        }
        Also::Nothing | Also::Waiting => {}
    }
}

fn held(pod: &Value) -> bool {
    let waiting = &pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"];
    waiting == "ImagePullBackOff"
}

/// Deletes an object of the row as it says, and returns its name. Of several Snapshots it is the older one.
async fn delete(world: &World, row: &Row, (kind, policy): (&str, Option<&str>)) -> String {
    let objects = world.list_in(row.name, kind).await;
    let names = objects.iter().map(|object| text(object, "/metadata/name").to_owned());
    let name = names.min().unwrap_or_else(|| panic!("{}: there is no {kind} to delete", row.name));
    if let Some(policy) = policy {
        let api = manifests::api(&world.client(), version_of(kind), kind, row.name).await.unwrap();
        let patch = Patch::Merge(json!({ "spec": { "deletionPolicy": policy } }));
        api.patch(&name, &PatchParams::default(), &patch).await.unwrap();
    }
    world.delete_in(row.name, kind, &name).await;
    name
}

/// Deletes everything in all rows: first what comes first in each, then what comes second.
async fn delete_all(world: &World) {
    for step in 0..2 {
        let mut going = Vec::new();
        for row in ROWS {
            if let Some(object) = row.deleted.get(step) {
                going.push((row, object.0, delete(world, row, *object).await));
            }
        }
        for (row, kind, name) in going {
            world.gone_in(row.name, kind, &name).await;
        }
    }
}

/// Waits for what the row says of the cluster.
async fn assert_objects(world: &World, row: &Row) {
    let count = |kind: &str| usize::from(row.stays.contains(&kind));
    let limit = std::time::Instant::now() + Duration::from_mins(1);
    for kind in KINDS {
        loop {
            let there = world.list_in(row.name, kind).await;
            if there.len() == count(kind) {
                break;
            }
            assert!(
                std::time::Instant::now() < limit,
                "{}: after {:?} were deleted, there should be {} {kind}, and there are {}; see the deletion module of its controller: {there:#?}",
                row.name,
                row.deleted,
                count(kind),
                there.len()
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Compares the files of before and after.
fn assert_files(outside: &Outside, row: &Row, before: &BTreeSet<String>) {
    let after = row.keys(outside);
    let why = format!("{}: {:?} were deleted, and of the files {:?} should be left", row.name, row.deleted, row.files);
    let gone: Vec<_> = before.difference(&after).map(String::as_str).collect();
    let new: Vec<_> = after.difference(before).map(String::as_str).collect();
    match row.files {
        Files::All => assert!(gone.is_empty() && new.is_empty(), "{why}; gone: {gone:?}, new: {new:?}"),
        Files::Nothing => assert!(after.is_empty(), "{why}, but there are {after:?}"),
        Files::Index => {
            assert_eq!(
                after.iter().map(String::as_str).collect::<Vec<_>>(),
                [format!("{}/metadata.yaml", row.name)],
                "{why}"
            );
            let index = outside.object(&format!("{}/metadata.yaml", row.name)).unwrap();
            assert!(!index.contains(REPOSITORY), "{why}, but it still lists the repository:\n{index}");
        }
        Files::Newer => {
            let snapshots = |key: &&str| key.contains("/snapshots/");
            assert_eq!(
                gone.iter().filter(|key| snapshots(key)).count(),
                2,
                "{why}: a Snapshot is two files; gone: {gone:?}"
            );
            // What else is rewritten are restic's index and packs.
            let other = |key: &&&str| !snapshots(key) && !key.contains("/index/") && !key.contains("/data/");
            assert_eq!(gone.iter().chain(&new).filter(other).count(), 0, "{why}; gone: {gone:?}, new: {new:?}");
            let kept = format!("{}/snapshots/{REPOSITORY}-{}.yaml", row.place(), later());
            assert!(after.contains(&kept), "{why}, {kept} among them: {after:?}");
        }
    }
    // What is left can be read by anybody, to the last byte.
    let backups = match row.files {
        Files::Nothing | Files::Index => return,
        _ if row.also == Also::Waiting => return,
        Files::All if row.also == Also::Second => 2,
        Files::All | Files::Newer => 1,
    };
    let restic = outside.restic_at(&row.place());
    let listed: Value = serde_json::from_slice(&restic.ok(&["snapshots", "--json", "--no-lock"])).unwrap();
    assert_eq!(listed.as_array().map(Vec::len), Some(backups), "{why}: {listed:#}");
    restic.ok(&["check", "--read-data"]);
}

#[test]
fn each_kind_is_deleted_as_its_policy_says() {
    World::run(async |world| {
        let outside = Outside::start(1);
        let jobs = Record::begin(&world.client(), "batch/v1", "Job").await.unwrap();
        world.kubelet.hold(&format!("held-{CONFIGURATION}-"), Hold::ImagePull);
        for row in ROWS {
            world.make_namespace(row.name).await;
            for file in ["1-secrets.yaml", "2-databases.yaml", "3-storage.yaml", "4-retention.yaml", "5-backup.yaml"] {
                world.apply_yaml(&row.manifest(&outside, file)).await;
            }
        }
        let mut before = Vec::new();
        for row in ROWS {
            begin(world, &outside, row).await;
            let keys = row.keys(&outside);
            assert!(keys.contains(&format!("{}/repository.yaml", row.place())), "{}: {keys:?}", row.name);
            before.push(keys);
        }
        delete_all(world).await;
        for (row, before) in ROWS.iter().zip(&before) {
            assert_objects(world, row).await;
            tidy(world, row.name).await;
            assert_files(&outside, row, before);
        }
        world.phase_in("policy", "BackupConfiguration", CONFIGURATION, "NotReady").await;
        pods_of_all_kinds_are_admitted(world, &jobs).await;
    });
}

/// Every kind of pod that we make, as it was made, against the strictest namespace.
async fn pods_of_all_kinds_are_admitted(world: &World, jobs: &Record) {
    let cron = world.get_in("policy", "CronJob", &format!("trigger-{CONFIGURATION}-{SESSION}")).await.unwrap();
    let of_jobs = jobs.all().into_iter().map(|(_, job)| job.data["spec"]["template"].clone());
    let all = of_jobs.chain([cron["spec"]["jobTemplate"]["spec"]["template"].clone()]);
    let mut tried = BTreeSet::new();
    for template in all {
        let verb = text(&template, "/spec/containers/0/args/1").to_owned();
        if tried.insert(verb.clone()) {
            assert_admitted(&world.client(), "policy", &verb, &template).await;
        }
    }
    let expected =
        ["backup", "cleanup", "initialize-repository", "initialize-storage", "restore", "retention", "trigger"];
    assert_eq!(tried.iter().map(String::as_str).collect::<Vec<_>>(), expected, "not all kinds of pods were tried");
}
