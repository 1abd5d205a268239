//! Locks that stock restic understands, and stock restic's locks understood.

use std::fs;
use std::process::{Child, Output};

use coffer_test_support::data;
use coffer_test_support::fingerprint::{differences, fingerprint};
use coffer_test_support::mysql::MysqlServer;
use coffer_test_support::proxy::{Fault, Proxy};
use coffer_test_support::restic::Restic;
use serde_json::Value;

use crate::servers::mysql;
use crate::site::{Site, text};
use crate::wait::{signal, until};

/// restic's exit code for a repository that is locked, and ours.
const LOCKED: i32 = 11;

/// A site whose repository has a first snapshot.
fn site_with_a_backup(server: &MysqlServer, database: &str) -> Site {
    data::sample(server, database, 6).unwrap();
    let site = Site::local(server, database);
    site.ok(&["backup"]);
    site
}

/// The locks in the repository of the site; a file that restic is still writing has a longer name, and is none yet.
fn locks(site: &Site) -> Vec<String> {
    let names = fs::read_dir(site.repository("main").join("locks")).into_iter().flatten();
    names
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| name.len() == 64)
        .collect()
}

/// A backup that stands still in the middle of the dump until the proxy lets it go on.
fn stopped_backup(site: Site, server: &MysqlServer) -> (Site, Child, Proxy) {
    let proxy = Proxy::start(server.port(), Fault::StallAfter(1 << 20)).unwrap();
    let site = site.port(proxy.port()).query("ssl-mode=DISABLED");
    let child = site.spawn(&["backup"]);
    until("the proxy holds the dump back", || proxy.bytes_down() > 900 << 10);
    assert_eq!(locks(&site).len(), 1, "the lock of the backup");
    (site, child, proxy)
}

#[track_caller]
fn ends_well(child: Child) {
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Stock restic with an exclusive lock, stopped while it holds it: it waits 200 ms between writing the lock and looking again.
/// Where the signal comes too late, it has pruned what needs no pruning, and the next one is stopped.
fn stopped_prune(site: &Site, restic: &Restic) -> Child {
    for _ in 0..20 {
        let mut prune = restic.spawn(&["prune"]).unwrap();
        until("stock restic has written its lock, or ended", || {
            !locks(site).is_empty() || prune.try_wait().unwrap().is_some()
        });
        if prune.try_wait().unwrap().is_none() {
            signal(&prune, "STOP");
            if locks(site).len() == 1 {
                return prune;
            }
            signal(&prune, "CONT");
        }
        ends_well(prune);
        assert_eq!(locks(site), Vec::<String>::new());
    }
    panic!("stock restic is always faster than the signal that stops it");
}

#[test]
fn stock_restic_honours_the_lock_of_a_backup() {
    let server = mysql();
    let (site, mut child, proxy) = stopped_backup(site_with_a_backup(server, "lk_ours"), server);
    let restic = site.restic("main");

    let listed = String::from_utf8(restic.ok(&["list", "locks"])).unwrap();
    let ids: Vec<&str> = listed.split_whitespace().collect();
    assert_eq!(ids.len(), 1, "{listed}");
    let lock: Value = serde_json::from_slice(&restic.ok(&["cat", "lock", ids[0]])).unwrap();
    assert_eq!(lock["pid"], child.id(), "{lock}");
    assert_eq!(lock["exclusive"], Value::Bool(false), "{lock}");

    let refused = restic.run(&["prune"]).unwrap();
    assert_eq!(refused.status.code(), Some(LOCKED), "{}", text(&refused));
    assert!(said(&refused).contains(&child.id().to_string()), "{}", text(&refused));
    let refused = site.old_restic("main").run(&["prune"]).unwrap();
    assert!(!refused.status.success() && said(&refused).contains("locked"), "{}", text(&refused));
    let refused = site.fails(&["prune"], LOCKED);
    assert!(refused.contains(&format!("process {}", child.id())), "{refused}");

    // Neither way of unlocking takes away a lock that is in use, or harms its holder.
    restic.ok(&["unlock"]);
    site.old_restic("main").ok(&["unlock"]);
    site.ok(&["unlock"]);
    assert_eq!(locks(&site).len(), 1);

    let beside = restic.backup_stdin("other.bin", "elsewhere", &vec![7; 3 << 20][..]).unwrap();
    assert!(beside.status.success(), "{}", text(&beside));
    assert!(child.try_wait().unwrap().is_none(), "the backup went on or ended too early");

    proxy.set(Fault::None);
    ends_well(child);
    assert_eq!(locks(&site), Vec::<String>::new());
    assert_eq!(site.snapshot_count("main"), 3);
    restic.ok(&["prune"]);
    restic.ok(&["check", "--read-data"]);
}

#[test]
fn coffer_honours_the_lock_of_stock_restic() {
    let server = mysql();
    let site = site_with_a_backup(server, "lk_theirs");
    for restic in [site.restic("main"), site.old_restic("main")] {
        let prune = stopped_prune(&site, &restic);
        let holder = format!("process {}", prune.id());
        for command in ["prune", "backup"] {
            let refused = site.fails(&[command], LOCKED);
            assert!(refused.contains(&holder) && refused.contains("exclusive"), "{command}: {refused}");
        }
        let untouched = site.ok(&["unlock"]);
        assert!(!untouched.contains("removed the"), "a lock in use is not stale: {untouched}");
        assert_eq!(locks(&site).len(), 1);
        signal(&prune, "CONT");
        ends_well(prune);
        site.ok(&["prune"]);
    }
    assert_eq!(site.snapshot_count("main"), 1);
    site.ok(&["backup"]);
    site.ok(&["check", "--read-data"]);
}

#[test]
fn a_stale_lock_is_named_and_unlocked() {
    let server = mysql();
    let site = site_with_a_backup(server, "lk_stale");
    let mut prune = stopped_prune(&site, &site.restic("main"));
    prune.kill().unwrap();
    prune.wait().unwrap();
    let holder = format!("process {}", prune.id());
    for command in ["prune", "backup"] {
        let refused = site.fails(&[command], LOCKED);
        for part in [holder.as_str(), "root on host", " ago", "stale", "coffer unlock"] {
            assert!(refused.contains(part), "{part:?} is not in: {refused}");
        }
    }
    let shown = site.ok(&["unlock", "--dry-run"]);
    assert!(shown.contains("would remove") && shown.contains(&holder), "{shown}");
    assert_eq!(locks(&site).len(), 1, "--dry-run removes nothing");
    let removed = site.ok(&["unlock"]);
    assert!(removed.contains("removed the exclusive lock") && removed.contains(&holder), "{removed}");
    assert_eq!(locks(&site), Vec::<String>::new());
    site.ok(&["prune"]);

    // A backup that was killed leaves a lock too. The next backup does not mind; a prune does.
    let (site, mut child, proxy) = stopped_backup(site, server);
    child.kill().unwrap();
    child.wait().unwrap();
    proxy.set(Fault::None);
    assert_eq!(locks(&site).len(), 1);
    site.ok(&["backup"]);
    let refused = site.fails(&["prune"], LOCKED);
    assert!(refused.contains(&format!("process {}", child.id())) && refused.contains("stale"), "{refused}");
    site.ok(&["unlock"]);
    site.ok(&["prune"]);
    site.restic("main").ok(&["check", "--read-data"]);
    assert_eq!(site.snapshot_count("main"), 2, "the killed one published nothing");
}

#[test]
fn two_backups_side_by_side() {
    let server = mysql();
    let (site, child, proxy) = stopped_backup(site_with_a_backup(server, "lk_pair"), server);
    let direct = Site::new(server, "lk_pair").directory_storage("main", &site.path("storage-main"));
    direct.ok(&["backup"]);
    assert_eq!(locks(&site).len(), 1, "only the lock of the one that still runs");
    proxy.set(Fault::None);
    ends_well(child);
    assert_eq!(site.snapshot_count("main"), 3);
    direct.ok(&["check", "--read-data"]);
    let before = fingerprint(server, "lk_pair").unwrap();
    server.exec("DROP DATABASE lk_pair").unwrap();
    direct.ok(&["restore"]);
    assert_eq!(differences(&before, &fingerprint(server, "lk_pair").unwrap()), Vec::<String>::new());
}

#[test]
fn two_first_backups_at_the_same_moment() {
    let server = mysql();
    data::sample(server, "lk_first", 1).unwrap();
    for _ in 0..3 {
        let site = Site::local(server, "lk_first");
        let pair = [site.spawn(&["backup"]), site.spawn(&["backup"])];
        for child in pair {
            ends_well(child);
        }
        assert_eq!(site.snapshot_count("main"), 2);
        site.restic("main").ok(&["check", "--read-data"]);
        assert_eq!(locks(&site), Vec::<String>::new());
    }
}
