//! Stock restic, old and new, and the stock client read what Coffer wrote, and the other way round.

use std::process::Stdio;

use coffer_test_support::data;
use coffer_test_support::fingerprint::{differences, fingerprint};
use coffer_test_support::mysql::MysqlServer;
use coffer_test_support::restic::Restic;
use serde_json::Value;

use crate::servers::mysql;
use crate::site::{Site, text};

/// Every file of the newest snapshot with its size, as `restic ls` has it.
fn listed(restic: &Restic) -> Vec<(String, u64)> {
    let lines = restic.ok(&["ls", "--json", "latest"]);
    let files: Vec<(String, u64)> = String::from_utf8_lossy(&lines)
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|node| node["type"] == "file")
        .map(|node| (node["path"].as_str().unwrap().to_owned(), node["size"].as_u64().unwrap_or(0)))
        .collect();
    assert!(!files.is_empty(), "restic lists no file");
    files
}

#[track_caller]
fn stock_restic_reads_it(site: &Site) {
    for restic in [site.old_restic("main"), site.restic("main")] {
        restic.ok(&["check", "--read-data"]);
        let files = listed(&restic);
        for (path, size) in &files {
            let content = restic.ok(&["dump", "latest", path]);
            assert_eq!(content.len() as u64, *size, "{path}");
        }
        let tar = restic.ok(&["dump", "--archive", "tar", "latest", "/"]);
        let sum: u64 = files.iter().map(|(_, size)| size).sum();
        assert!(tar.len() as u64 > sum, "the tar has {} bytes, its files {sum}", tar.len());
    }
    let snapshots: Value = serde_json::from_slice(&site.restic("main").ok(&["snapshots", "--json"])).unwrap();
    assert_eq!(snapshots[0]["hostname"], "host-0");
}

/// What somebody does who has restic and mysql but no Coffer.
fn restore_by_hand(site: &Site, server: &MysqlServer, script: &str, options: &[&str]) {
    let target = site.path("restored");
    site.restic("main").ok(&["restore", "latest", "--verify", "--target", target.to_str().unwrap()]);
    let load = std::fs::File::open(target.join(script)).unwrap();
    let output = server.client().unwrap().args(options).current_dir(&target).stdin(Stdio::from(load)).output().unwrap();
    assert!(output.status.success(), "mysql < {script}: {}", text(&output));
}

#[test]
fn parallel_without_coffer() {
    let server = mysql();
    data::sample(server, "by_hand", 8).unwrap();
    let before = fingerprint(server, "by_hand").unwrap();
    let site = Site::local(server, "by_hand");
    site.ok(&["backup"]);
    stock_restic_reads_it(&site);
    server.exec("DROP DATABASE by_hand").unwrap();
    restore_by_hand(&site, server, "load.sql", &["--local-infile=1"]);
    assert_eq!(differences(&before, &fingerprint(server, "by_hand").unwrap()), Vec::<String>::new());
}

#[test]
fn single_without_coffer() {
    let server = mysql();
    data::sample(server, "by_hand_1", 8).unwrap();
    let before = fingerprint(server, "by_hand_1").unwrap();
    let site = Site::local(server, "by_hand_1").backup("format", "single");
    site.ok(&["backup"]);
    stock_restic_reads_it(&site);
    server.exec("DROP DATABASE by_hand_1").unwrap();
    restore_by_hand(&site, server, "dumpfile.sql", &[]);
    assert_eq!(differences(&before, &fingerprint(server, "by_hand_1").unwrap()), Vec::<String>::new());
}

#[test]
fn a_snapshot_of_mysqldump_and_restic_is_restored() {
    let server = mysql();
    data::sample(server, "foreign_1", 8).unwrap();
    let before = fingerprint(server, "foreign_1").unwrap();
    let site = Site::local(server, "foreign_1");
    let restic = site.restic("main");
    std::fs::create_dir_all(site.repository("main")).unwrap();
    restic.ok(&["init"]);
    let mut dump = server
        .dump()
        .unwrap()
        .args(["--single-transaction", "--routines", "--events", "--set-gtid-purged=OFF", "--databases", "foreign_1"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let saved = restic.backup_stdin("dumpfile.sql", "host-0", dump.stdout.take().unwrap()).unwrap();
    assert!(dump.wait().unwrap().success());
    assert!(saved.status.success(), "{}", text(&saved));
    server.exec("DROP DATABASE foreign_1").unwrap();
    site.ok(&["restore"]);
    assert_eq!(differences(&before, &fingerprint(server, "foreign_1").unwrap()), Vec::<String>::new());
}
