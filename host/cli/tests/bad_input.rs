//! Bad input gets a message that says what, why and how to fix it, its exit code, and changes nothing.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod common;

use std::fs;

use common::{RESTORE_SESSION, SECOND_SESSION, SECRET, Site, back_up};

#[test]
fn help_names_every_command_and_the_exit_codes() {
    let site = Site::new();
    let ran = site.finish(site.command().arg("--help")).code(0);
    ran.says(&["backup", "restore", "snapshots", "forget", "unlock", "addon", "Exit codes:", "wrong password"]);
    for command in ["backup", "restore", "ls", "dump", "check", "forget", "prune", "key", "unlock", "addon"] {
        site.finish(site.command().args([command, "--help"])).code(0).says(&["Usage: coffer"]);
    }
}

#[test]
fn version_and_completions() {
    let site = Site::new();
    site.finish(site.command().arg("version")).code(0).says(&[env!("CARGO_PKG_VERSION"), "addon contract"]);
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        site.finish(site.command().args(["completion", shell])).code(0).says(&["coffer", "snapshots"]);
    }
}

#[test]
fn no_manifests() {
    let site = Site::new();
    site.finish(site.command().arg("backup")).code(2).complains(&["no manifests", "with -f"]);
    site.finish(site.command().args(["backup", "-f", "nowhere"])).code(1).complains(&["nowhere", "name a directory"]);
    fs::create_dir(site.path().join("empty")).unwrap();
    site.finish(site.command().args(["snapshots", "-f", "empty"])).code(1).complains(&["no manifests in empty"]);
}

#[test]
fn several_places_of_manifests_are_one() {
    let site = Site::new();
    let restore = site.path().join("restore.yaml");
    fs::write(&restore, RESTORE_SESSION).unwrap();
    site.repository();
    let mut command = site.command();
    command.args(["restore", "-f"]).arg(&restore).arg("-f").arg(site.manifests());
    // It got as far as the repository, which needs both.
    site.finish(&mut command).code(1).complains(&["no snapshot at all"]);
}

#[test]
fn a_yaml_error_names_file_and_line() {
    let site = Site::new();
    site.write("broken.yaml", "apiVersion: v1\nkind: Secret\nmetadata:\n  name: [x\n");
    site.run(&["backup"]).code(1).complains(&["broken.yaml:4:", "correct the file"]);
}

#[test]
fn an_unknown_kind_is_named() {
    let site = Site::new();
    site.write("typo.yaml", "apiVersion: core.kubestash.com/v1alpha1\nkind: BackupConfig\nmetadata: {name: x}\n");
    site.run(&["backup"]).code(1).complains(&["typo.yaml", "BackupConfig", "BackupConfiguration"]);
}

#[test]
fn a_missing_secret_or_key_is_named() {
    let site = Site::new();
    site.write("demo.yaml", &site.text().replace("RESTIC_PASSWORD:", "PASSWORD:"));
    site.run(&["snapshots"]).code(1).complains(&["RESTIC_PASSWORD", "encryption"]);
    site.write("demo.yaml", &site.text().replace("metadata: {name: encryption,", "metadata: {name: other,"));
    site.run(&["backup"]).code(1).complains(&["encryption"]);
    assert!(!site.store().exists(), "nothing may be made of bad input");
}

#[test]
fn a_bad_storage_is_named() {
    let site = Site::new();
    site.write("demo.yaml", &site.text().replace("provider: local", "provider: tape"));
    site.run(&["snapshots"]).code(1).complains(&["demo/local", "\"tape\"", "local, s3, gcs or azure"]);
}

#[test]
fn a_missing_repository_has_its_own_code() {
    let site = Site::new();
    for arguments in [
        &["snapshots"][..],
        &["ls"],
        &["dump", "latest", "x"],
        &["check"],
        &["forget", "--keep-last", "1"],
        &["prune"],
        &["unlock"],
        &["key", "list"],
    ] {
        site.run(arguments).code(10).complains(&["no repository at", "shop/repository/v1/daily/dump"]);
    }
    assert!(!site.store().exists(), "looking for a repository makes none");
}

#[test]
fn a_wrong_password_has_its_own_code() {
    let site = Site::new();
    site.repository();
    site.write("demo.yaml", &site.text().replace("correct-horse", "another-one"));
    let ran = site.run(&["snapshots", "--json"]).code(12).complains(&["wrong password"]);
    let error = ran.objects().pop().unwrap();
    assert_eq!(
        (&error["message_type"], &error["code"], &error["kind"]),
        (&"error".into(), &12.into(), &"wrong-password".into())
    );
    assert!(!ran.stderr.contains("another-one"), "{}", ran.stderr);
    site.run(&["backup"]).code(12);
}

#[test]
fn a_locked_repository_has_its_own_code() {
    let site = Site::new();
    let repository = site.repository();
    let id = back_up(&repository, "2026-01-01T00:00:00Z", b"x");
    let lock = repository.share().unwrap();
    site.run(&["forget", &id]).code(11).complains(&["locked by", "process"]);
    site.run(&["prune"]).code(11);
    site.run(&["snapshots"]).code(0);
    drop(lock);
    site.run(&["forget", &id]).code(0);
}

#[test]
fn an_unknown_task_is_named() {
    let site = Site::new();
    site.write("demo.yaml", &site.text().replace("name: logical-backup", "name: physical-backup"));
    site.run(&["backup"]).code(1).complains(&["unknown task physical-backup", "logical-backup"]);
}

#[test]
fn an_unknown_parameter_is_named() {
    let site = Site::new();
    let text = site.text().replace("{name: logical-backup}", "{name: logical-backup, params: {colour: red}}");
    site.write("demo.yaml", &text);
    site.run(&["backup"]).code(1).complains(&["\"colour\"", "databases"]);
    assert!(!site.store().exists(), "nothing may be made of bad input");
}

#[test]
fn an_unreachable_server_is_named_and_nothing_published() {
    let site = Site::new();
    site.run(&["backup"]).code(1).complains(&["127.0.0.1:1", "refused"]);
    // Not even an empty repository is left behind.
    site.run(&["snapshots", "--json"]).code(10);
}

#[test]
fn several_candidates_are_listed() {
    let site = Site::new();
    site.write("demo.yaml", &format!("{}{SECOND_SESSION}", site.text().trim_end()));
    site.run(&["backup"]).code(1).complains(&["daily", "weekly"]);
    for command in ["prune", "ls"] {
        site.run(&[command]).code(2).complains(&["--repository shop-repo", "--repository far-repo --session weekly"]);
    }
    site.run(&["restore"]).code(2).complains(&["cannot tell which RestoreSession", "--target KIND/NAME"]);
}

#[test]
fn a_restore_needs_sense() {
    let site = Site::new();
    site.repository();
    site.run(&["restore", "--repository", "shop-repo", "--target", "shop"]).code(2).complains(&["KIND/NAME"]);
    let ran = site.run(&["restore", "--repository", "shop-repo", "--target", "AppBinding/other"]);
    ran.code(1).complains(&["AppBinding demo/other not found", "shop"]);
    let ran = site.run(&["restore", "--repository", "nothing", "--target", "AppBinding/shop"]);
    ran.code(1).complains(&["no repository found", "demo/shop-repo"]);
    // The task and the addon follow from the BackupConfiguration.
    let ran = site.run(&["restore", "--repository", "shop-repo", "--target", "AppBinding/shop"]);
    ran.code(1).complains(&["no snapshot at all"]);
}

#[test]
fn forget_needs_ids_or_a_policy() {
    let site = Site::new();
    site.repository();
    site.run(&["forget"]).code(2).complains(&["--keep-last"]);
    site.run(&["forget", "--keep-last", "0"]).code(2).complains(&["keeps nothing"]);
    site.run(&["forget", "0000", "--keep-last", "1"]).code(2);
    site.run(&["forget", "--keep-within", "3 days"]).code(2).complains(&["1y2mo3w4d5h"]);
    site.run(&["forget", "0123abcd"]).code(1).complains(&["0123abcd", "`coffer snapshots`"]);
}

#[test]
fn what_is_no_addon_is_refused() {
    let site = Site::new();
    let inspect = |name: &str, bytes: &[u8]| {
        let path = site.path().join(name);
        fs::write(&path, bytes).unwrap();
        site.finish(site.command().args(["addon", "inspect"]).arg(&path))
    };
    inspect("text.wasm", b"hello").code(1).complains(&["text.wasm", "no WebAssembly"]);
    inspect("core.wasm", b"\0asm\x01\0\0\0").code(1).complains(&["core.wasm", "component"]);
    let other = wat::parse_str(r#"(component (import "coffer:addon/run@0.9.0" (instance)))"#).unwrap();
    inspect("other.wasm", &other).code(1).complains(&["built for coffer:addon 0.9.0", "rebuild the addon"]);
    let wasi = wat::parse_str(r#"(component (import "wasi:cli/environment@0.2.0" (instance)))"#).unwrap();
    inspect("wasi.wasm", &wasi).code(1).complains(&["imports wasi:cli/environment@0.2.0"]);
    site.finish(site.command().args(["addon", "inspect", "no-such"])).code(1).complains(&["built-in addons: mysql"]);
    site.finish(site.command().args(["addon", "inspect", "oci://x/y"])).code(1).complains(&["not supported yet"]);
}

#[test]
fn a_function_with_a_bad_component_fails_before_anything_is_made() {
    let site = Site::new();
    let wasm = site.path().join("bad.wasm");
    fs::write(&wasm, b"hello").unwrap();
    let function = format!(
        "apiVersion: addons.kubestash.com/v1alpha1\nkind: Function\nmetadata: {{name: mysql-backup}}\n\
         spec: {{component: {{ref: \"file://{}\", permissions: {{target: true}}}}}}\n",
        wasm.display()
    );
    site.write("function.yaml", &function);
    site.run(&["backup"]).code(1).complains(&["bad.wasm", "no WebAssembly"]);
    site.write("function.yaml", &function.replace("bad.wasm", "gone.wasm"));
    site.run(&["backup"]).code(1).complains(&["gone.wasm"]);
    assert!(!site.store().exists(), "nothing may be made of bad input");
}

#[test]
fn a_capability_that_is_not_granted_is_named_with_the_line_to_add() {
    let site = Site::new();
    site.write(
        "function.yaml",
        "apiVersion: addons.kubestash.com/v1alpha1\nkind: Function\nmetadata: {name: mysql-backup}\n\
         spec: {component: {ref: \"builtin:mysql\"}}\n",
    );
    site.run(&["backup"]).code(1).complains(&["target: true", "spec.component.permissions"]);
    assert!(!site.store().exists(), "nothing may be made of bad input");
}

#[test]
fn the_builtin_addon_describes_itself() {
    let site = Site::new();
    let ran = site.finish(site.command().args(["addon", "inspect", "mysql"])).code(0);
    ran.says(&["mysql-addon", "logical-backup", "logical-backup-restore", "databases", "target: true"]);
    let ran = site.finish(site.command().args(["addon", "inspect", "builtin:mysql", "--json"])).code(0);
    assert_eq!(ran.objects()[0]["name"], "mysql");
    // The catalog is made of manifests that can be used as they are.
    let ran = site.finish(site.command().args(["addon", "catalog"])).code(0);
    site.write("catalog.yaml", &ran.stdout);
    site.run(&["backup"]).code(1).complains(&["127.0.0.1:1"]);
}

#[test]
fn the_log_shows_no_secret_however_much_it_shows() {
    let site = Site::new();
    site.repository();
    let ran = site.run(&["-vv", "--log-format", "json", "backup"]).code(1);
    assert!(!ran.stderr.contains(SECRET));
    for line in ran.stderr.lines().filter(|line| line.starts_with('{')) {
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }
}

/// Two namespaces that look alike, such as production and its copy.
#[test]
fn a_restore_does_not_choose_between_namespaces() {
    let site = Site::new();
    let other =
        site.text().replace("namespace: demo", "namespace: another").replace("directory: /shop", "directory: /x");
    site.write("another.yaml", &other);
    let restore = ["restore", "--repository", "shop-repo", "--target", "AppBinding/shop"];
    site.run(&restore).code(2).complains(&["several namespaces", "another, demo", "-n"]);
    let ran = site.run(&[&restore[..], &["-n", "demo"]].concat()).code(10);
    ran.says(&["restoring repository demo/shop-repo into AppBinding demo/shop at 127.0.0.1:1"]);
}

#[test]
fn hooks_are_not_left_out_in_silence() {
    let site = Site::new();
    site.repository();
    let hooks = "\n      hooks: {preBackup: [{name: pause-shop}], postBackup: [{name: resume-shop}]}";
    site.write("demo.yaml", &site.text().replace("- name: daily", &format!("- name: daily{hooks}")));
    site.run(&["backup"]).code(1).complains(&["hooks of session daily", "are not run: pause-shop, resume-shop"]);
    let hooks = "\n  hooks: {preRestore: [{name: stop-shop}]}\n";
    site.write("restore.yaml", &format!("{}{hooks}", RESTORE_SESSION.trim_end()));
    site.run(&["restore"]).code(1).complains(&["hooks of RestoreSession demo/restore-shop are not run: stop-shop"]);
}

/// Who read the first line and left must not be told that all went well.
#[test]
fn a_reader_that_leaves_does_not_end_the_command() {
    let site = Site::new();
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_coffer"))
        .args(["backup", "--json", "-f"])
        .arg(site.manifests())
        .env("COFFER_CACHE_DIR", common::cache())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    // Nothing listens where the database should be.
    assert_eq!(child.wait().unwrap().code(), Some(1));
}

#[test]
fn a_full_standard_output_is_a_failure() {
    let site = Site::new();
    site.repository();
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_coffer"));
    command.args(["snapshots", "-f"]).arg(site.manifests()).stdout(full);
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert_eq!(stderr.matches("cannot write to standard output").count(), 1, "{stderr}");
}
