//! Reading manifests.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

mod common;

use std::fs;
use std::path::Path;

use coffer_api::storage::BackupStorage;
use coffer_resolve::{Directory, ErrorKind, Kind, Reader, get, list};
use common::{DEMO, assert_message, catalog};

const STORAGE: &str = "apiVersion: storage.kubestash.com/v1alpha1\nkind: BackupStorage\nmetadata: {name: NAME}\nspec: {storage: {provider: local}}\n";

fn storage(name: &str) -> String {
    STORAGE.replace("NAME", name)
}

fn parse(text: &str) -> Result<Directory, coffer_resolve::ResolveError> {
    Directory::from_texts([("file.yaml", text)])
}

#[test]
fn directories_are_read_with_all_below() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("a/b")).unwrap();
    fs::create_dir_all(root.path().join(".git")).unwrap();
    fs::write(root.path().join("one.yaml"), storage("one")).unwrap();
    fs::write(root.path().join("a/two.yml"), storage("two")).unwrap();
    fs::write(
        root.path().join("a/b/three.json"),
        "{\n\t\"apiVersion\": \"v1\", \"kind\": \"Secret\", \"metadata\": {\"name\": \"s\"}}",
    )
    .unwrap();
    fs::write(root.path().join("notes.txt"), "not: [a manifest").unwrap();
    fs::write(root.path().join(".git/x.yaml"), "not: [a manifest").unwrap();
    fs::write(root.path().join(".one.yaml.swp.yaml"), "not: [a manifest").unwrap();
    let directory = Directory::read(root.path()).unwrap();
    assert_eq!(list::<BackupStorage>(&directory, None).unwrap().len(), 2);
    assert!(directory.secret("default", "s").unwrap().unwrap().is_empty());
    let single = Directory::read(&root.path().join("one.yaml")).unwrap();
    assert!(get::<BackupStorage>(&single, "default", "one").unwrap().is_some());
    assert!(get::<BackupStorage>(&single, "other", "one").unwrap().is_none());
}

#[test]
fn links_may_lead_in_a_circle() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("a/b")).unwrap();
    fs::write(root.path().join("a/b/one.yaml"), storage("one")).unwrap();
    std::os::unix::fs::symlink(root.path(), root.path().join("a/b/up")).unwrap();
    std::os::unix::fs::symlink("b", root.path().join("a/again")).unwrap();
    let directory = Directory::read(root.path()).unwrap();
    assert_eq!(list::<BackupStorage>(&directory, None).unwrap().len(), 1);
}

#[test]
fn nothing_to_read_is_an_error() {
    let root = tempfile::tempdir().unwrap();
    assert_message(Directory::read(root.path()), &["no manifests in"]);
    fs::write(root.path().join("empty.yaml"), "---\n# nothing\n---\n").unwrap();
    assert_message(Directory::read(root.path()), &["no manifests in"]);
    let error = Directory::read(Path::new("/absent/directory")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreadable);
    assert!(error.is_retryable() && error.to_string().contains("/absent/directory"), "{error}");
    fs::write(root.path().join("binary.yaml"), [0xff, 0xfe, 0x00]).unwrap();
    assert_message(Directory::read(root.path()), &["binary.yaml", "not UTF-8"]);
}

#[test]
fn errors_point_at_file_and_line() {
    let valid = storage("one");
    for (text, expected) in [
        (format!("{valid}---\na: [1, 2\nb: 3\n"), &["file.yaml:", "not valid YAML"][..]),
        (format!("{valid}---\n# comment\na: b: c\n"), &["file.yaml:7:", "not valid YAML"]),
        (format!("{valid}---\nkind: X\n"), &["file.yaml:5", "apiVersion is missing"]),
        (format!("{valid}---\njust text\n"), &["file.yaml:5", "not a Kubernetes manifest"]),
        (valid.replace("{name: one}", "{name: one, namespace: 1}"), &["metadata.namespace is missing or no text"]),
        (valid.replace("provider: local", "provider: 12345"), &["file.yaml:4:", "must be in quotes"]),
        ("apiVersion: v1\nkind: List\nitems: [{apiVersion: storage.kubestash.com/v1alpha1, kind: BackupStorage, metadata: {name: a}, spec: {storage: {provider: [database-hunter2]}}}]".to_owned(),
            &["file.yaml:1 (item 1)", "invalid type: sequence, expected a string"]),
        (storage("''"), &["metadata.name is missing"]),
        (valid.replace("provider: local", "s3: {maxConnections: many}"), &["file.yaml:4:", "cannot read BackupStorage one"]),
        (valid.replace("spec: ", "spec:\n  deletionPolicy: Never\n# "), &["file.yaml:5:", "Never"]),
        (format!("{valid}---\n{valid}"), &["file.yaml:5: BackupStorage default/one exists twice", "also in file.yaml:1"]),
        (valid.replace("v1alpha1", "v1"), &["file.yaml:1", "write apiVersion: storage.kubestash.com/v1alpha1"]),
        (valid.replace("kind: BackupStorage", "kind: Backup"), &["unknown kind Backup", "BackupStorage, Repository, RetentionPolicy, Snapshot"]),
        (valid.replace("storage.kube", "store.kube"), &["the groups are"]),
        ("apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: {k: database-hunter2}".to_owned(), &["key k of Secret s", "base64"]),
        ("apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {k: 123}".to_owned(), &["key k of Secret s", "quotes"]),
        ("apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {k: database-hunter2, k: 'database-hunter2}".to_owned(), &["file.yaml:", "not valid YAML"]),
    ] {
        assert_message(parse(&text), expected);
    }
    let files = [("a.yaml", valid.as_str()), ("b.yaml", valid.as_str())];
    assert_message(
        Directory::from_texts(files),
        &["b.yaml:1: BackupStorage default/one exists twice", "also in a.yaml:1"],
    );
}

#[test]
fn lists_and_other_kinds() {
    let directory = parse(
        "apiVersion: v1
kind: List
items:
  - {apiVersion: storage.kubestash.com/v1alpha1, kind: BackupStorage, metadata: {name: one}, spec: {}}
  - {apiVersion: apps/v1, kind: Deployment, metadata: {name: web, namespace: demo}}
---
apiVersion: core.kubestash.com/v1alpha1
kind: HookTemplate
metadata: {name: hook}
---
apiVersion: kubedb.com/v1
kind: MySQL
metadata: {name: db}
",
    )
    .unwrap();
    assert_eq!(directory.list(Kind::BackupStorage, Some("default")).unwrap().len(), 1);
    let seen: Vec<_> =
        directory.other_objects().iter().map(|one| format!("{} {}/{}", one.kind, one.namespace, one.name)).collect();
    assert_eq!(seen, ["Deployment demo/web", "HookTemplate default/hook", "MySQL default/db"]);
    assert!(directory.saw("MySQL", "default", "db") && !directory.saw("MySQL", "demo", "db"));
    assert_message(parse("apiVersion: v1\nkind: List\nitems: [{kind: X}]"), &["file.yaml:1 (item 1)", "apiVersion"]);
}

#[test]
fn string_data_stands_before_data() {
    let directory = parse(
        "apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: keys}\ndata: {a: YQ==, b: Yg==, bin: /wD+}\nstringData: {b: changed, c: |\n    text\n  }",
    );
    // A block scalar cannot be inside braces: the error must not show the text.
    assert!(directory.is_err());
    let directory = parse(
        "apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: keys}\ndata: {a: YQ==, b: Yg==, bin: /wD+}\nstringData:\n  b: changed\n  c: |\n    text\n",
    )
    .unwrap();
    let secret = directory.secret("keys", "s").unwrap().unwrap();
    let text = ["a", "b", "c", "bin"].map(|key| secret.text(key));
    assert_eq!(text, [Some("a"), Some("changed"), Some("text\n"), None]);
    assert_eq!(secret.get("bin"), Some(&[0xff, 0x00, 0xfe][..]));
}

#[test]
fn debug_of_a_directory_shows_no_secret() {
    common::clean(parse(DEMO)).unwrap();
}

#[test]
fn null_fields_count_as_absent() {
    let text = storage("one")
        .replace("spec: ", "status: null\nspec: ")
        .replace("provider: local", "provider: local, s3: null");
    let directory = parse(&text).unwrap();
    assert!(get::<BackupStorage>(&directory, "default", "one").unwrap().unwrap().spec.storage.s3.is_none());
}

#[test]
fn a_catalog_holds_addons_and_functions_only() {
    assert_eq!((catalog().addons.len(), catalog().functions.len()), (1, 2));
    let error = coffer_resolve::Catalog::from_text("catalog.yaml", &storage("one")).unwrap_err();
    assert!(error.to_string().contains("catalog.yaml:1: a BackupStorage in the catalog"), "{error}");
}

/// As an editor on Windows writes them.
#[test]
fn line_ends_and_marks_of_windows() {
    let windows = format!("\u{feff}{}", DEMO.replace('\n', "\r\n"));
    let (ours, theirs) = (parse(DEMO).unwrap(), parse(&windows).unwrap());
    for kind in [Kind::BackupConfiguration, Kind::BackupStorage, Kind::AppBinding] {
        assert_eq!(ours.list(kind, None).unwrap(), theirs.list(kind, None).unwrap());
        assert!(!ours.list(kind, None).unwrap().is_empty());
    }
    let secret = "apiVersion: v1\r\nkind: Secret\r\nmetadata: {name: s}\r\nstringData:\r\n  a: |-\r\n    one\r\n    two\r\n  b: x\r\n";
    let secret = parse(secret).unwrap().secret("default", "s").unwrap().unwrap();
    assert_eq!((secret.text("a"), secret.text("b")), (Some("one\ntwo"), Some("x")));
}

#[test]
fn a_file_too_large_for_manifests_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dump.json");
    fs::File::create(&path).unwrap().set_len(65 << 20).unwrap();
    assert_message(Directory::read(folder.path()), &["dump.json: not a manifest", "larger than 64"]);
}
