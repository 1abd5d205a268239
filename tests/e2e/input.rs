//! Bad input: the right exit code, a message that says what, why and how to fix it, nothing changed, and never a secret.

use std::fs;
use std::io::Write as _;

use coffer_addons_builtin::builtin;
use coffer_test_support::data;
use coffer_test_support::fingerprint::fingerprint;
use coffer_test_support::mysql::PASSWORD;
use coffer_test_support::scratch::Port;
use coffer_test_support::stores::S3;
use serde_json::Value;

use crate::servers::mysql;
use crate::site::{REPOSITORY_PASSWORD, Site, coffer, text};
use crate::wait::files;

/// A password that is wrong, and nobody else's business all the same.
const WRONG: &str = "wrong-but-secret-7391";

/// Runs the command plainly, with `-vv` and with `--json`: it must fail with this code each time, say all of this, tell no secret, and
/// change nothing in the site's folder.
#[track_caller]
fn refused(site: &Site, arguments: &[&str], code: i32, says: &[&str]) {
    let state = || -> Vec<_> {
        files(&site.path("")).into_iter().filter(|(path, _)| !path.starts_with("/manifests/")).collect()
    };
    let before = state();
    for extra in [&[][..], &["-vv"], &["--json"]] {
        let output = site.run(&[arguments, extra].concat());
        assert_eq!(output.status.code(), Some(code), "coffer {arguments:?} {extra:?}: {}", text(&output));
        let stderr = String::from_utf8_lossy(&output.stderr);
        let errors: Vec<&str> = stderr.lines().filter(|line| line.starts_with("error: ")).collect();
        assert_eq!(errors.len(), 1, "one error, told once: {}", text(&output));
        for part in says {
            assert!(
                errors[0].contains(part),
                "{part:?} is not in the error of coffer {arguments:?}: {}",
                text(&output)
            );
        }
        if extra == ["--json"] {
            let printed = String::from_utf8_lossy(&output.stdout);
            let last: Value = printed.lines().map(|line| serde_json::from_str(line).unwrap()).next_back().unwrap();
            assert_eq!(last["message_type"], "error", "{last}");
            assert_eq!(last["code"], code, "{last}");
            assert_eq!(format!("error: {}", last["message"].as_str().unwrap()), errors[0]);
        }
        keeps_secrets(&text(&output));
    }
    assert_eq!(before, state(), "coffer {arguments:?} failed and yet changed something");
}

#[track_caller]
fn keeps_secrets(said: &str) {
    for secret in [PASSWORD, REPOSITORY_PASSWORD, WRONG, S3::SECRET_KEY] {
        assert!(!said.contains(secret), "a secret is in the output: {said}");
    }
}

/// A site for a server that is not asked, since the input is wrong before that.
fn site() -> Site {
    Site::local(mysql(), "in_none")
}

/// The YAML of a site with one text in place of another.
struct Edited {
    site: Site,
    folder: tempfile::TempDir,
}

impl Edited {
    #[track_caller]
    fn new(site: Site, from: &str, to: &str) -> Self {
        site.command(&["version"]);
        let yaml = fs::read_to_string(site.path("manifests/all.yaml")).unwrap();
        assert!(yaml.contains(from), "{from:?} is not in {yaml}");
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("all.yaml"), yaml.replace(from, to)).unwrap();
        Self { site, folder }
    }

    /// Runs it on the edited manifests.
    #[track_caller]
    fn refused(&self, arguments: &[&str], code: i32, says: &[&str]) {
        let before = files(&self.site.path("storage-main"));
        let output = coffer().args(arguments).arg("-f").arg(self.folder.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{}", text(&output));
        for part in says {
            assert!(String::from_utf8_lossy(&output.stderr).contains(part), "{part:?} is not in {}", text(&output));
        }
        keeps_secrets(&text(&output));
        assert_eq!(before, files(&self.site.path("storage-main")), "it failed and yet changed something");
    }
}

#[test]
fn no_manifests() {
    let output = coffer().arg("backup").output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(text(&output).contains("no manifests") && text(&output).contains("-f"), "{}", text(&output));

    let folder = tempfile::tempdir().unwrap();
    for (path, says) in [(folder.path().to_owned(), "no"), (folder.path().join("missing"), "missing")] {
        for command in ["backup", "restore", "snapshots", "check", "prune"] {
            let output = coffer().arg(command).arg("-f").arg(&path).output().unwrap();
            assert_eq!(output.status.code(), Some(1), "{command}: {}", text(&output));
            let said = text(&output);
            assert!(said.contains(&path.display().to_string()) && said.contains(says), "{command}: {said}");
        }
    }
    assert_eq!(files(folder.path()).len(), 0);
}

#[test]
fn malformed_manifests() {
    let broken = site().manifest("apiVersion: v1\nkind: Secret\nmetadata: {name: x\nstringData: y");
    let yaml_lines = |site: &Site| {
        site.command(&["version"]);
        fs::read_to_string(site.path("manifests/all.yaml")).unwrap().lines().count()
    };
    // The parser may notice one line later than a person would.
    let count = yaml_lines(&broken);
    let output = broken.run(&["backup"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        (count - 2..=count + 1).any(|line| said.contains(&format!("all.yaml:{line}"))),
        "neither file nor line (about {count}) is in: {said}"
    );
    refused(&broken, &["snapshots"], 1, &["all.yaml:"]);

    let wrong_type = "apiVersion: storage.kubestash.com/v1alpha1\nkind: BackupStorage\nmetadata: { name: odd }\nspec: { storage: [1] }";
    refused(&site().manifest(wrong_type), &["backup"], 1, &["all.yaml", "BackupStorage odd"]);
    let no_name = "apiVersion: storage.kubestash.com/v1alpha1\nkind: BackupStorage\nspec: {}";
    refused(&site().manifest(no_name), &["backup"], 1, &["all.yaml:", "name"]);
}

#[test]
fn unknown_kinds() {
    let misspelt = "apiVersion: storage.kubestash.com/v1alpha1\nkind: BackupStore\nmetadata: { name: x }";
    refused(&site().manifest(misspelt), &["backup"], 1, &["all.yaml", "unknown kind BackupStore", "BackupStorage"]);
    Edited::new(site(), "kind: AppBinding, name: shop", "kind: Oracle, name: shop").refused(
        &["backup"],
        1,
        &["Oracle", "spec.target"],
    );
}

#[test]
fn missing_keys_of_secrets() {
    let edited = |from, to| Edited::new(site(), from, to);
    edited("RESTIC_PASSWORD:", "PASSWORD:").refused(
        &["backup"],
        1,
        &["Secret encrypt-secret in namespace demo", "RESTIC_PASSWORD"],
    );
    edited("RESTIC_PASSWORD:", "PASSWORD:").refused(&["snapshots"], 1, &["encrypt-secret", "RESTIC_PASSWORD"]);
    edited("username:", "user:").refused(&["backup"], 1, &["Secret shop-auth in namespace demo", "username"]);
    edited(
        "name: encrypt-secret, namespace: demo }\nstringData",
        "name: encrypted-secret, namespace: demo }\nstringData",
    )
    .refused(&["backup"], 1, &["Secret encrypt-secret in namespace demo"]);
    let store = Site::new(mysql(), "in_none").s3_storage("objects", "http://127.0.0.1:1", "bucket");
    Edited::new(store, "AWS_SECRET_ACCESS_KEY", "AWS_SECRET").refused(
        &["backup"],
        1,
        &["objects-secret", "AWS_SECRET_ACCESS_KEY"],
    );
}

#[test]
fn wrong_password() {
    let (server, database) = (mysql(), "in_password");
    data::sample(server, database, 1).unwrap();
    let site = Site::local(server, database);
    site.ok(&["backup"]);
    let before = fingerprint(server, database).unwrap();
    let wrong = Edited::new(site, REPOSITORY_PASSWORD, WRONG);
    for arguments in [
        &["backup"][..],
        &["restore"],
        &["snapshots"],
        &["ls"],
        &["dump", "latest", "manifest.json"],
        &["check"],
        &["forget", "--keep-last", "1"],
        &["prune"],
        &["unlock"],
        &["key", "list"],
    ] {
        wrong.refused(arguments, 12, &["main-repo", "wrong password", "RESTIC_PASSWORD"]);
    }
    assert_eq!(before, fingerprint(server, database).unwrap());
}

#[test]
fn missing_repository() {
    for arguments in [
        &["restore"][..],
        &["snapshots"],
        &["ls"],
        &["dump", "latest", "manifest.json"],
        &["check"],
        &["forget", "--keep-last", "1"],
        &["prune"],
        &["unlock"],
        &["key", "list"],
    ] {
        refused(&site(), arguments, 10, &["main-repo", "no repository", "frequent-backup/dump", "first backup"]);
    }
}

#[test]
fn unknown_names() {
    refused(&site(), &["backup", "other"], 1, &["other", "shop-backup"]);
    refused(&site(), &["backup", "--session", "hourly"], 1, &["hourly", "frequent-backup"]);
    refused(&site(), &["restore", "other"], 1, &["other", "restore-shop"]);
    refused(&site(), &["snapshots", "--repository", "other"], 1, &["no repository found", "main-repo"]);
    refused(&site().addon("oracle-addon"), &["backup"], 1, &["oracle-addon", "mysql-addon"]);
    Edited::new(site(), "name: logical-backup,", "name: physical-backup,").refused(
        &["backup"],
        1,
        &["physical-backup", "logical-backup"],
    );
    Edited::new(site(), "storageRef: { name: main,", "storageRef: { name: mian,").refused(&["backup"], 1, &["mian"]);
}

#[test]
fn wrong_parameters() {
    let backup = |name: &str, value: &str, says: &[&str]| refused(&site().backup(name, value), &["backup"], 1, says);
    backup("datbases", "x", &["datbases", "databases"]);
    backup("format", "zip", &["format", "zip", "parallel", "single"]);
    backup("workers", "many", &["workers", "many"]);
    backup("workers", "0", &["workers"]);
    backup("args", "--single-transaction --frobnicate=3", &["--frobnicate"]);
    backup("databases", "mysql", &["mysql", "databases"]);
}

#[test]
fn wrong_parameters_of_a_restore() {
    let (server, database) = (mysql(), "in_restore");
    data::sample(server, database, 1).unwrap();
    let site = Site::local(server, database);
    site.ok(&["backup"]);
    let before = fingerprint(server, database).unwrap();
    refused(&site, &["restore"], 1, &[database, "existing"]);
    refused(&site, &["restore", "--param", "exsting=drop"], 1, &["exsting", "existing"]);
    refused(&site, &["restore", "--param", "args=--frobnicate"], 1, &["--frobnicate"]);
    refused(&site, &["restore", "--param", "databases=nowhere"], 1, &["nowhere"]);
    refused(&site, &["restore", "--snapshot", "0123abcd"], 1, &["0123abcd", "coffer snapshots"]);
    refused(&site, &["restore", "--task", "logical"], 1, &["logical", "logical-backup-restore"]);
    assert_eq!(before, fingerprint(server, database).unwrap());
}

#[test]
fn servers_that_do_not_answer_or_refuse() {
    let port = Port::lease().unwrap();
    let nobody = site().port(port.number());
    refused(&nobody, &["backup"], 1, &[&format!("127.0.0.1:{}", port.number())]);
    for mode in ["DISABLED", "REQUIRED"] {
        let stranger = site().login("root", WRONG).query(&format!("ssl-mode={mode}"));
        refused(&stranger, &["backup"], 1, &["1045", "Access denied", "root"]);
    }
    refused(&site(), &["backup"], 1, &["in_none", "databases"]);

    let (server, database) = (mysql(), "in_denied");
    data::sample(server, database, 1).unwrap();
    server
        .exec(&format!("CREATE USER nobody IDENTIFIED BY '{WRONG}'; GRANT SELECT (id) ON {database}.events TO nobody"))
        .unwrap();
    refused(&Site::local(server, database).login("nobody", WRONG), &["backup"], 1, &["1227", "GRANT", "RELOAD"]);
}

/// A site whose Addon runs this component.
fn with_component(reference: &str, permissions: &str) -> Site {
    site().addon("own").manifest(&format!(
        "apiVersion: addons.kubestash.com/v1alpha1\nkind: Addon\nmetadata: {{ name: own }}\nspec:\n\
         \x20 backupTasks: [{{ name: logical-backup, function: own, parameters: [{{ name: databases }}] }}]\n\
         \x20 restoreTasks: [{{ name: logical-backup-restore, function: own }}]\n\
         ---\napiVersion: addons.kubestash.com/v1alpha1\nkind: Function\nmetadata: {{ name: own }}\n\
         spec: {{ component: {{ ref: \"{reference}\", permissions: {permissions} }} }}"
    ))
}

#[test]
fn components_that_are_none() {
    let mysql = builtin("mysql").unwrap();
    // The name of every interface says its version; another version of the same length makes another component of the same shape.
    let newer: Vec<u8> = {
        let mut bytes = mysql.to_vec();
        let (from, to) = (b"@0.1.0", b"@0.9.0");
        for start in 0..bytes.len() - from.len() {
            if bytes[start..].starts_with(from) {
                bytes[start..start + to.len()].copy_from_slice(to);
            }
        }
        bytes
    };
    let module = b"\0asm\x01\0\0\0".to_vec();
    for (bytes, says) in [
        (b"#!/bin/sh\necho hello\n".to_vec(), &["cannot be loaded as an addon"][..]),
        (Vec::new(), &["cannot be loaded as an addon"]),
        (mysql[..mysql.len() / 2].to_vec(), &["cannot be loaded as an addon"]),
        (module, &["cannot be loaded as an addon", "component"]),
        (newer, &["0.9.0", "0.1.0", "rebuild"]),
    ] {
        let mut file = tempfile::Builder::new().suffix(".wasm").tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        let path = file.path().display().to_string();
        let site = with_component(&format!("file://{path}"), "{ target: true }");
        refused(&site, &["backup"], 1, &[says, &[path.as_str()]].concat());
        let output = coffer().args(["addon", "inspect", &path]).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", text(&output));
        assert!(text(&output).contains(says[0]), "{}", text(&output));
    }
    let permissions = "{ target: true }";
    refused(&with_component("file:///no/such.wasm", permissions), &["backup"], 1, &["/no/such.wasm", "spec.component"]);
    refused(&with_component("builtin:oracle", permissions), &["backup"], 1, &["oracle"]);
    refused(
        &with_component("oci://example.org/a@sha256:00", permissions),
        &["backup"],
        1,
        &["oci://", "not supported yet"],
    );
    refused(&with_component("builtin:mysql", "{}"), &["backup"], 1, &["target: true", "spec.component.permissions"]);
    refused(&with_component("builtin:mysql", "{ target: true, memory: much }"), &["backup"], 1, &["memory", "much"]);
}
