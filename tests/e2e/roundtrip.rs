//! Out and back in again: equality of everything, by both formats, from both servers.

use coffer_test_support::data;
use coffer_test_support::fingerprint::{differences, fingerprint};
use coffer_test_support::mysql::MysqlServer;

use crate::servers::{mariadb, mysql};
use crate::site::Site;

#[track_caller]
fn round_trip(server: &MysqlServer, database: &str, site: &Site) {
    data::sample(server, database, 8).unwrap();
    let before = fingerprint(server, database).unwrap();
    site.ok(&["backup"]);
    server.exec(&format!("DROP DATABASE `{database}`")).unwrap();
    site.ok(&["restore"]);
    let after = fingerprint(server, database).unwrap();
    assert_eq!(differences(&before, &after), Vec::<String>::new());
    site.ok(&["check", "--read-data"]);
    server.exec(&format!("DROP DATABASE `{database}`")).unwrap();
}

#[test]
fn mysql_parallel() {
    round_trip(mysql(), "rt_parallel", &Site::local(mysql(), "rt_parallel"));
}

#[test]
fn mysql_single() {
    round_trip(mysql(), "rt_single", &Site::local(mysql(), "rt_single").backup("format", "single"));
}

#[test]
fn mysql_with_tls() {
    round_trip(mysql(), "rt_tls", &Site::local(mysql(), "rt_tls").query("ssl-mode=REQUIRED"));
}

#[test]
fn mysql_without_tls() {
    round_trip(mysql(), "rt_plain", &Site::local(mysql(), "rt_plain").query("ssl-mode=DISABLED"));
}

#[test]
fn mysql_one_worker() {
    let site = Site::local(mysql(), "rt_one").backup("workers", "1").restore("workers", "1");
    round_trip(mysql(), "rt_one", &site);
}

#[test]
fn mariadb_parallel() {
    round_trip(mariadb(), "rt_parallel", &Site::local(mariadb(), "rt_parallel"));
}

#[test]
fn mariadb_single() {
    round_trip(mariadb(), "rt_single", &Site::local(mariadb(), "rt_single").backup("format", "single"));
}

#[test]
fn an_unchanged_database_adds_almost_nothing() {
    let server = mysql();
    data::sample(server, "rt_again", 16).unwrap();
    let site = Site::local(server, "rt_again");
    site.ok(&["backup"]);
    let size = || folder_size(&site.repository("main").join("data"));
    let first = size();
    site.ok(&["backup"]);
    let added = size() - first;
    assert!(added * 20 < first, "{first} bytes at first, {added} more for nothing new");
    data::change_a_few_rows(server, "rt_again").unwrap();
    site.ok(&["backup"]);
    assert_eq!(site.snapshot_count("main"), 3);
}

fn folder_size(folder: &std::path::Path) -> u64 {
    std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| if entry.path().is_dir() { folder_size(&entry.path()) } else { entry.metadata().unwrap().len() })
        .sum()
}
