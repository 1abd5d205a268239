//! What a program resolves that may read objects by their names and list nothing but the Snapshots of a namespace.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod common;

use std::collections::BTreeMap;

use coffer_api::plan::{RestorePlan, SecretData, SnapshotChoice};
use coffer_resolve::{
    BackupSelection, Directory, ErrorKind, Kind, PartialBackup, Reader, ResolveError, backup, backup_by_name,
    repository_by_name, restore_by_name,
};
use common::{DEMO, assert_message, catalog, clean, demo, directory};
use serde_json::Value;

/// The Repositories that an operator has made of the demo, and three Snapshots.
const OBJECTS: &str = r#"
---
apiVersion: storage.kubestash.com/v1alpha1
kind: Repository
metadata: {name: s3-repo, namespace: demo}
spec:
  appRef: {apiGroup: kubedb.com, kind: MySQL, name: sample-mysql, namespace: demo}
  storageRef: {name: s3-storage, namespace: stores}
  path: /mysql
  encryptionSecret: {name: encrypt-secret, namespace: demo}
status: {componentPaths: [repository/v1/frequent-backup/dump]}
---
apiVersion: storage.kubestash.com/v1alpha1
kind: Snapshot
metadata: {name: first, namespace: demo}
spec: {repository: s3-repo, session: frequent-backup}
status:
  phase: Succeeded
  snapshotTime: "2026-01-01T00:00:00Z"
  components: {dump: {resticStats: [{summary: {id: aaaa1111}}]}}
---
apiVersion: storage.kubestash.com/v1alpha1
kind: Snapshot
metadata: {name: second, namespace: demo}
spec: {repository: s3-repo, session: frequent-backup}
status:
  phase: Succeeded
  snapshotTime: "2026-01-02T00:00:00Z"
  components: {dump: {resticStats: [{summary: {id: bbbb2222}}]}}
---
apiVersion: storage.kubestash.com/v1alpha1
kind: Snapshot
metadata: {name: third, namespace: demo}
spec: {repository: s3-repo, session: frequent-backup}
status:
  phase: Failed
  snapshotTime: "2026-01-03T00:00:00Z"
  components: {dump: {phase: Failed, error: x}}
"#;

/// A reader with the rights of a Job.
struct Narrow(Directory);

impl Reader for Narrow {
    fn get(&self, kind: Kind, namespace: &str, name: &str) -> Result<Option<Value>, ResolveError> {
        if kind == Kind::RetentionPolicy {
            return Err(ResolveError::new(ErrorKind::Denied, "no", "no", "no"));
        }
        self.0.get(kind, namespace, name)
    }

    fn list(&self, kind: Kind, namespace: Option<&str>) -> Result<Vec<Value>, ResolveError> {
        if kind == Kind::Snapshot && namespace.is_some() {
            return self.0.list(kind, namespace);
        }
        Err(ResolveError::new(ErrorKind::Denied, "it is listed", "it may not be", "ask"))
    }

    fn secret(&self, namespace: &str, name: &str) -> Result<Option<SecretData>, ResolveError> {
        self.0.secret(namespace, name)
    }

    fn namespace_labels(&self, namespace: &str) -> Result<Option<BTreeMap<String, String>>, ResolveError> {
        self.0.namespace_labels(namespace)
    }

    fn place(&self) -> String {
        "the cluster".to_owned()
    }
}

fn backup_of(text: &str) -> Result<PartialBackup, ResolveError> {
    let names = ("demo", "sample-mysql-backup", "frequent-backup");
    clean(backup_by_name(&Narrow(directory(text)), &catalog(), names))
}

fn restore_of(source: &str) -> Result<RestorePlan, ResolveError> {
    let text = demo("dataSource: {repository: s3-repo, snapshot: latest}", source) + OBJECTS;
    clean(restore_by_name(&Narrow(directory(&text)), &catalog(), ("demo", "restore-sample-mysql")))
}

#[test]
fn a_backup_is_the_same_as_with_lists() {
    let ours = backup_of(DEMO).unwrap();
    assert!(ours.refused.is_empty());
    let theirs = backup(&directory(DEMO), &catalog(), &BackupSelection::default()).unwrap();
    assert_eq!(format!("{:?}", ours.plan), format!("{theirs:?}"));
}

#[test]
fn what_is_missing_is_named_without_a_list() {
    let named = |configuration: &str, session: &str| {
        backup_by_name(&Narrow(directory(DEMO)), &catalog(), ("demo", configuration, session))
    };
    assert_message(named("other", "frequent-backup"), &["BackupConfiguration demo/other not found", "the cluster"]);
    assert_message(named("sample-mysql-backup", "daily"), &["has no session daily", "frequent-backup"]);
    let text = demo("kind: AppBinding\nmetadata: {name: sample-mysql,", "kind: AppBinding\nmetadata: {name: other,");
    assert_message(backup_of(&text), &["AppBinding demo/sample-mysql not found", "they cannot be listed"]);
}

#[test]
fn a_repository_that_cannot_be_used_does_not_stop_the_others() {
    let text = demo("metadata: {name: s3-secret, namespace: stores}", "metadata: {name: other, namespace: stores}");
    let PartialBackup { plan, refused } = backup_of(&text).unwrap();
    let names: Vec<_> = plan.destinations.iter().map(|destination| destination.repository.as_str()).collect();
    assert_eq!(names, ["local-repo"]);
    let [(name, error)] = refused.as_slice() else { panic!("{refused:?}") };
    assert_eq!(name, "s3-repo");
    assert!(error.to_string().contains("Secret s3-secret in namespace stores not found"), "{error}");
    // Together they must all be usable.
    let error = backup(&directory(&text), &catalog(), &BackupSelection::default()).unwrap_err();
    assert!(error.to_string().contains("s3-secret"), "{error}");
}

#[test]
fn a_repository_stays_where_it_is() {
    let text = demo("storageRef: {name: s3-storage, namespace: stores}, retentionPolicy", "retentionPolicy") + OBJECTS;
    let plan = backup_of(&text).unwrap().plan;
    assert_eq!(plan.destinations.first().unwrap().storage.name, "s3-storage", "not the default of now");
    let moved = demo("directory: /mysql,", "directory: /elsewhere,") + OBJECTS;
    let refused = backup_of(&moved).unwrap().refused;
    let (name, error) = refused.first().unwrap();
    assert_eq!(name, "s3-repo");
    assert!(error.to_string().contains("already exists with a different directory"), "{error}");
}

#[test]
fn the_snapshot_is_the_newest_the_named_or_the_one_of_a_moment() {
    let id = |source: &str| match restore_of(source).unwrap().snapshot {
        SnapshotChoice::Id(id) => id,
        other => panic!("{other:?}"),
    };
    let at = |time: &str| format!("dataSource: {{repository: s3-repo, pitr: {{targetTime: \"{time}\"}}}}");
    assert_eq!(id("dataSource: {repository: s3-repo, snapshot: latest}"), "bbbb2222");
    assert_eq!(id("dataSource: {snapshot: first}"), "aaaa1111");
    assert_eq!(id(&at("2026-01-01T12:00:00Z")), "aaaa1111");
    assert_eq!(id(&at("2026-01-02T00:00:00Z")), "bbbb2222");
    let exclusive = "dataSource: {repository: s3-repo, pitr: {targetTime: \"2026-01-02T00:00:00Z\", exclusive: true}}";
    assert_eq!(id(exclusive), "aaaa1111");
    assert_eq!(id("dataSource: {repository: s3-repo, snapshot: cccc3333}"), "cccc3333");
    let plan = restore_of("dataSource: {snapshot: first}").unwrap();
    assert_eq!(plan.source.path, "mysql/repository/v1/frequent-backup/dump");
    assert_eq!(plan.source.storage.name, "s3-storage");
    assert_message(restore_of(&at("2025-01-01T00:00:00Z")), &["no Snapshot up to 2025-01-01T00:00:00Z"]);
    assert_message(restore_of("dataSource: {snapshot: third}"), &["its backup did not succeed"]);
    assert_message(
        restore_of("dataSource: {repository: other, snapshot: latest}"),
        &["repository other has no Snapshot"],
    );
    assert_message(
        restore_of("dataSource: {repository: other, snapshot: cccc3333}"),
        &["Repository demo/other not found"],
    );
}

#[test]
fn a_repository_is_found_by_its_name() {
    let find = |text: &str, name: &str, which: (Option<&str>, Option<&str>)| {
        let found = clean(repository_by_name(&Narrow(directory(text)), ("demo", name), which))?;
        Ok::<_, ResolveError>(found.into_iter().map(|one| (one.storage.name, one.path)).collect::<Vec<_>>())
    };
    let text = DEMO.to_owned() + OBJECTS;
    let all = find(&text, "s3-repo", (None, None)).unwrap();
    assert_eq!(all, [("s3-storage".to_owned(), "mysql/repository/v1/frequent-backup/dump".to_owned())]);
    assert_eq!(find(&text, "s3-repo", (Some("frequent-backup"), Some("dump"))).unwrap(), all);
    assert_message(find(&text, "s3-repo", (Some("daily"), None)), &["no data that matches", "frequent-backup/dump"]);
    assert_message(find(&text, "other", (None, None)), &["Repository demo/other not found", "they cannot be listed"]);
}

#[test]
fn tasks_for_manifests_are_refused_by_name() {
    let task = "- {name: logical-backup, params: {databases: [a, b], workers: 2, quick: true}}";
    let both = demo(task, "- {name: logical-backup}\n          - {name: manifest-backup}");
    assert_message(
        backup_of(&both),
        &["its task manifest-backup is for the Kubernetes objects", "only the data itself"],
    );
    assert_message(backup_of(&demo(task, "- {name: manifest-backup}")), &["manifest-backup", "remove the task"]);
}
