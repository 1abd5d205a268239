//! The peak memory of a run does not grow with the data.

use std::fmt::Write as _;
use std::fs;
use std::process::Child;
use std::thread;
use std::time::Duration;

use coffer_test_support::data;
use coffer_test_support::mysql::{MysqlOptions, MysqlServer};

use serde_json::Value;

use crate::site::{Site, text};

const MEGABYTES: u64 = 256;
/// What the sample's events come to, measured.
const MEGABYTES_OF_A_COPY: u64 = 32;
const LIMIT_MIB: u64 = 300;
/// What may differ between two runs on the same data, in MiB.
const NOISE_MIB: u64 = 24;

/// Waits for the child and returns its peak resident memory in MiB. It must have moved this many megabytes.
#[track_caller]
fn peak(child: Child, megabytes: u64) -> u64 {
    let status = format!("/proc/{}/status", child.id());
    // What it says is read while it runs, so that a long run never waits for a full pipe.
    let ending = thread::spawn(move || child.wait_with_output().unwrap());
    let mut peak = 0;
    while !ending.is_finished() {
        // The kernel's own high-water mark: what happens between two looks is not lost.
        if let Ok(status) = fs::read_to_string(&status)
            && let Some(line) = status.lines().find(|line| line.starts_with("VmHWM:"))
        {
            peak = peak.max(line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024);
        }
        thread::sleep(Duration::from_millis(10));
    }
    let ended = ending.join().unwrap();
    assert!(ended.status.success(), "{}", text(&ended));
    let summary: Value =
        serde_json::from_slice(ended.stdout.trim_ascii_end().rsplit(|byte| *byte == b'\n').next().unwrap()).unwrap();
    assert!(
        summary["bytes"].as_u64().unwrap() >= megabytes * 1_000_000,
        "too little data to prove anything: {summary}"
    );
    peak
}

/// Tables of some `MEGABYTES` of dump text in all. Random columns keep the repository from seeing repetitions.
fn copies(database: &str) -> String {
    let mut sql = format!("SET sql_log_bin = 0; CREATE DATABASE {database}; USE {database};\n");
    for copy in 0..MEGABYTES / MEGABYTES_OF_A_COPY {
        let _ = writeln!(
            sql,
            "CREATE TABLE events_{copy} LIKE base.events; INSERT INTO events_{copy} SELECT id, at, kind, customer_id, address, payload, \
             HEX(RANDOM_BYTES(8)), RANDOM_BYTES(32) FROM base.events;"
        );
    }
    sql
}

#[test]
fn peak_memory_is_flat() {
    let extra_args = vec!["--local-infile=ON".to_owned()];
    let server = MysqlServer::start(MysqlOptions { extra_args, ..MysqlOptions::default() }).unwrap();
    data::sample(&server, "base", 80).unwrap();
    thread::scope(|scope| {
        for database in ["flat_1", "flat_2"] {
            let server = &server;
            scope.spawn(move || server.exec(&copies(database)).unwrap());
        }
    });
    let measured = [("flat_1", MEGABYTES), ("flat_1,flat_2", 2 * MEGABYTES)].map(|(databases, megabytes)| {
        let site = Site::local(&server, databases).restore("existing", "drop").restore("logBin", "false");
        let backup = peak(site.spawn(&["backup", "--json"]), megabytes);
        let restore = peak(site.spawn(&["restore", "--json"]), megabytes);
        println!("{megabytes} MB: backup {backup} MiB, restore {restore} MiB");
        (backup, restore)
    });
    let [(small_backup, small_restore), (large_backup, large_restore)] = measured;
    for (what, small, large) in [("backup", small_backup, large_backup), ("restore", small_restore, large_restore)] {
        assert!(large < LIMIT_MIB, "{what}: {large} MiB at {} MB of data", 2 * MEGABYTES);
        assert!(large < small + NOISE_MIB, "{what}: {small} MiB grew to {large} MiB with twice the data");
    }
}
