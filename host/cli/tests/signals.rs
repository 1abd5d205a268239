//! SIGINT and SIGTERM end a command cleanly: nothing published, no lock left, exit code 130.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use coffer_api::cancel::Cancel;
use coffer_repository::{CheckOptions, PruneOptions, Repository};
use common::{PASSWORD, Site, back_up};

/// A backup of a server that takes connections and never says a word is interrupted while it waits.
fn interrupt_a_waiting_backup(signal: &str) {
    let site = Site::new();
    let repository = site.repository();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    site.write("demo.yaml", &site.text().replace("127.0.0.1:1/", &format!("127.0.0.1:{port}/")));
    let child = Command::new(env!("CARGO_BIN_EXE_coffer"))
        .args(["backup", "--json", "-f"])
        .arg(site.manifests())
        .env("COFFER_CACHE_DIR", common::cache())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The addon is connected now, and waits for the server's greeting.
    let connection = server.accept().unwrap();
    let sent = Command::new("kill").args(["-s", signal, &child.id().to_string()]).status().unwrap();
    assert!(sent.success(), "the signal could not be sent");
    let output = child.wait_with_output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(130), "{stdout}\n{stderr}");
    assert!(stderr.contains(&format!("interrupted by SIG{signal}")), "{stderr}");
    assert!(stdout.contains(r#""kind":"interrupted""#), "{stdout}");
    assert!(repository.snapshots().unwrap().is_empty(), "nothing may be published");
    assert_eq!(repository.locks().unwrap(), [], "no lock may stay behind");
    drop(connection);
}

#[test]
fn an_interrupted_backup_publishes_nothing() {
    interrupt_a_waiting_backup("INT");
}

#[test]
fn a_terminated_backup_publishes_nothing() {
    interrupt_a_waiting_backup("TERM");
}

/// A storage that takes connections and never answers: no request fails before a minute is over, and then it is tried again.
#[test]
fn a_backup_is_interrupted_while_its_storage_hangs() {
    let site = Site::new();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    let s3 = format!(
        "storage: {{provider: s3, s3: {{endpoint: \"http://127.0.0.1:{port}\", bucket: backups, region: us-east-1, secretName: s3-secret}}}}"
    );
    let local = site.text().lines().find(|line| line.contains("provider: local")).unwrap().trim().to_owned();
    let secret = "\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: s3-secret, namespace: demo}\n\
                  stringData: {AWS_ACCESS_KEY_ID: me, AWS_SECRET_ACCESS_KEY: hunter2}\n";
    site.write("demo.yaml", &(site.text().replace(&local, &s3) + secret));
    let child = Command::new(env!("CARGO_BIN_EXE_coffer"))
        .args(["backup", "-f"])
        .arg(site.manifests())
        .env("COFFER_CACHE_DIR", common::cache())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let connection = server.accept().unwrap();
    let asked = Instant::now();
    assert!(Command::new("kill").args(["-s", "INT", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert!(stderr.contains("interrupted by SIGINT"), "{stderr}");
    assert!(asked.elapsed() < Duration::from_secs(50), "it took {:?}", asked.elapsed());
    drop(connection);
}

#[test]
fn work_without_a_cancellation_of_its_own_takes_its_lock_along() {
    let site = Site::new();
    back_up(&site.repository(), "2026-01-01T00:00:00Z", b"x");
    let cancel = Cancel::new();
    let storage = site.storage("shop", "daily").stop_on(&cancel);
    let repository = Repository::open(&storage, &PASSWORD.into()).unwrap();
    cancel.cancel("interrupted by SIGINT");
    let check = repository.check(CheckOptions { read_data: true }).unwrap_err();
    assert!(check.to_string().contains("interrupted by SIGINT"), "{check}");
    let prune = repository.prune(&PruneOptions::default()).unwrap_err();
    assert!(prune.to_string().contains("interrupted by SIGINT"), "{prune}");
    assert_eq!(repository.locks().unwrap(), []);
    site.run(&["check", "--read-data"]).code(0);
}
