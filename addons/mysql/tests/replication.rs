//! Positions: a server that was restored goes on from where the backup was, and ends equal to its source.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a fixture that cannot be set up fails its test at once"
)]

#[allow(dead_code, reason = "each of the test programs uses a part of it")]
mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use coffer_test_support::fingerprint::{differences, fingerprint};
use coffer_test_support::mysql::{Flavor, MysqlServer};
use coffer_test_support::scratch;
use common::{Dump, LOGIN, backup, restore_as, run_script, start};

const SCHEMA: &str = "CREATE DATABASE d; USE d; CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, n INT NOT NULL, v VARCHAR(50)) AUTO_INCREMENT = 100;
    CREATE TABLE u (id INT PRIMARY KEY, n BIGINT NOT NULL); INSERT INTO u VALUES (1, 0), (2, 0);";
/// A transaction that can be applied once only, and whose parts belong together.
const STEP: &str = "START TRANSACTION; UPDATE d.u SET n = n + 1; INSERT INTO d.t (n, v) SELECT n, REPEAT('x', n % 40) FROM d.u WHERE id = 1; COMMIT;\n";

fn server(flavor: Flavor, id: u32) -> MysqlServer {
    let id = format!("--server-id={id}");
    let updates = if flavor == Flavor::MySql { "--log-replica-updates=ON" } else { "--log-slave-updates=ON" };
    let server = start(flavor, &["--local-infile=ON", id.as_str(), updates]);
    // The accounts that were just made are not to be replicated.
    server.exec(if flavor == Flavor::MySql { "RESET BINARY LOGS AND GTIDS" } else { "RESET MASTER" }).unwrap();
    server
}

#[track_caller]
fn until(what: &str, mut so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < Duration::from_mins(5), "waited for five minutes, and still not: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Lets `replica` follow `source`; `from` says from where.
fn follow(replica: &MysqlServer, source: &MysqlServer, from: &str) {
    let (host, port) = (source.host(), source.port());
    let (user, password) = LOGIN;
    replica
        .exec(&match replica.flavor() {
            Flavor::MySql => format!(
                "CHANGE REPLICATION SOURCE TO SOURCE_HOST='{host}', SOURCE_PORT={port}, SOURCE_USER='{user}', SOURCE_PASSWORD='{password}', \
                 GET_SOURCE_PUBLIC_KEY=1, {from}; START REPLICA;"
            ),
            Flavor::MariaDb => format!(
                "CHANGE MASTER TO MASTER_HOST='{host}', MASTER_PORT={port}, MASTER_USER='{user}', MASTER_PASSWORD='{password}', {from}; START SLAVE;"
            ),
        })
        .unwrap();
}

/// Waits until `replica` has all that `source` has, and compares.
#[track_caller]
fn ends_equal(replica: &MysqlServer, source: &MysqlServer) {
    let rows = "SELECT CONCAT_WS(' ', (SELECT COUNT(*) FROM d.t), (SELECT GROUP_CONCAT(n) FROM d.u))";
    let wanted = source.value(rows).unwrap();
    until(&format!("the replica has {wanted}: {}", problem(replica)), || {
        assert_eq!(problem(replica), "", "replication stopped");
        replica.value(rows).unwrap() == wanted
    });
    let differences = differences(&fingerprint(source, "d").unwrap(), &fingerprint(replica, "d").unwrap());
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// What the replica says of an event that it cannot apply.
fn problem(replica: &MysqlServer) -> String {
    match replica.flavor() {
        Flavor::MySql => replica
            .value("SELECT COALESCE(GROUP_CONCAT(LAST_ERROR_MESSAGE SEPARATOR ''), '') FROM performance_schema.replication_applier_status_by_worker")
            .unwrap(),
        Flavor::MariaDb => {
            let status = replica.query("SHOW SLAVE STATUS").unwrap();
            status.first().map(|row| row[19].clone()).unwrap_or_default()
        }
    }
}

/// Writes to `source` for as long as `work` takes.
fn while_written<T>(source: &MysqlServer, work: impl FnOnce() -> T) -> T {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    // A deadlock between the writers ends the client; the next one goes on.
                    let _ = source.exec(&STEP.repeat(50));
                }
            });
        }
        let count = || source.value("SELECT COUNT(*) FROM d.t").unwrap().parse::<u64>().unwrap();
        let begun = count();
        until("rows are written", || count() > begun + 50);
        let done = work();
        let now = count();
        until("rows are written after the backup", || count() > now + 50);
        stop.store(true, Ordering::Relaxed);
        done
    })
}

fn fact<'a>(dump: &'a Dump, name: &str) -> &'a str {
    dump.fact(name).unwrap_or_else(|| panic!("no fact {name} in {:?}", dump.plan.facts))
}

fn restored(flavor: Flavor, id: u32, dump: &Dump) -> MysqlServer {
    let target = server(flavor, id);
    restore_as(&target, LOGIN, 2, &[("logBin", "false")], dump).unwrap();
    target
}

#[test]
fn a_restored_mysql_goes_on_from_the_backups_position() {
    let source = server(Flavor::MySql, 1);
    let replica = server(Flavor::MySql, 2);
    source.exec(SCHEMA).unwrap();
    follow(&replica, &source, "SOURCE_AUTO_POSITION=1");
    let (of_source, of_replica, single) = while_written(&source, || {
        until("the replica follows", || {
            replica.value("SELECT COUNT(*) > 20 FROM d.t").is_ok_and(|enough| enough == "1")
        });
        (
            backup(&source, 3, &[]).unwrap(),
            backup(&replica, 3, &[]).unwrap(),
            backup(&replica, 1, &[("format", "single"), ("args", "--databases d --dump-replica=1 --include-source-host-port --set-gtid-purged=COMMENTED --source-data=2")]).unwrap(),
        )
    });
    ends_equal(&replica, &source);

    let by_position = |dump: &Dump, file: &str, position: &str| {
        format!(
            "SOURCE_AUTO_POSITION=0, SOURCE_LOG_FILE='{}', SOURCE_LOG_POS={}",
            fact(dump, file),
            fact(dump, position)
        )
    };
    let target = restored(Flavor::MySql, 3, &of_source);
    follow(&target, &source, &by_position(&of_source, "binlog-file", "binlog-position"));
    ends_equal(&target, &source);

    // By GTID, as --set-gtid-purged would have it.
    let target = restored(Flavor::MySql, 4, &of_replica);
    target
        .exec(&format!("RESET BINARY LOGS AND GTIDS; SET GLOBAL gtid_purged = '{}'", fact(&of_replica, "gtid")))
        .unwrap();
    follow(&target, &source, "SOURCE_AUTO_POSITION=1");
    ends_equal(&target, &source);

    // From the position of the replica in the source's log.
    assert_eq!(fact(&of_replica, "source-port"), source.port().to_string());
    let target = restored(Flavor::MySql, 5, &of_replica);
    follow(&target, &source, &by_position(&of_replica, "source-log-file", "source-log-position"));
    ends_equal(&target, &source);

    // The statement of the dump itself.
    let text = String::from_utf8(single.streams["dumpfile.sql"].0.clone()).unwrap();
    assert!(
        text.contains(&format!(
            "\nCHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT={}, ",
            source.port()
        )),
        "{}",
        &text[..2000]
    );
    assert!(
        text.contains("\n-- CHANGE REPLICATION SOURCE TO SOURCE_LOG_FILE='")
            && text.contains("GTID_PURGED = /*!80000 '+'*/ '")
    );
    let target = server(Flavor::MySql, 6);
    let folder = scratch::folder().unwrap();
    single.write_to(folder.path());
    run_script(&target, folder.path(), "dumpfile.sql");
    let (user, password) = LOGIN;
    target.exec(&format!("CHANGE REPLICATION SOURCE TO SOURCE_USER='{user}', SOURCE_PASSWORD='{password}', GET_SOURCE_PUBLIC_KEY=1; START REPLICA")).unwrap();
    ends_equal(&target, &source);
}

#[test]
fn a_restored_mariadb_goes_on_from_the_backups_position() {
    let source = server(Flavor::MariaDb, 1);
    let replica = server(Flavor::MariaDb, 2);
    source.exec(SCHEMA).unwrap();
    follow(&replica, &source, "MASTER_USE_GTID=slave_pos");
    let (of_source, of_replica, single) = while_written(&source, || {
        until("the replica follows", || {
            replica.value("SELECT COUNT(*) > 20 FROM d.t").is_ok_and(|enough| enough == "1")
        });
        (
            backup(&source, 3, &[]).unwrap(),
            backup(&replica, 3, &[]).unwrap(),
            backup(&replica, 1, &[("format", "single"), ("args", "--databases d --dump-slave=1 --gtid")]).unwrap(),
        )
    });
    ends_equal(&replica, &source);

    let target = restored(Flavor::MariaDb, 3, &of_source);
    let by_position = format!(
        "MASTER_LOG_FILE='{}', MASTER_LOG_POS={}",
        fact(&of_source, "binlog-file"),
        fact(&of_source, "binlog-position")
    );
    follow(&target, &source, &by_position);
    ends_equal(&target, &source);

    for (id, dump, name) in [(4, &of_source, "gtid"), (5, &of_replica, "source-gtid")] {
        let target = restored(Flavor::MariaDb, id, dump);
        target.exec(&format!("SET GLOBAL gtid_slave_pos = '{}'", fact(dump, name))).unwrap();
        follow(&target, &source, "MASTER_USE_GTID=slave_pos");
        ends_equal(&target, &source);
    }

    let target = server(Flavor::MariaDb, 6);
    let folder = scratch::folder().unwrap();
    single.write_to(folder.path());
    run_script(&target, folder.path(), "dumpfile.sql");
    follow(&target, &source, "MASTER_USE_GTID=slave_pos");
    ends_equal(&target, &source);
}

#[test]
fn positions_that_cannot_be_had_are_refused() {
    let server = start(Flavor::MySql, &["--skip-log-bin", "--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"]);
    server.exec("CREATE DATABASE d").unwrap();
    for (args, expected) in
        [("--source-data=1", "no binary log"), ("--source-data=2", "no binary log"), ("--set-gtid-purged=ON", "")]
    {
        let error = backup(&server, 1, &[("format", "single"), ("args", args)]).unwrap_err();
        assert!(error.message.contains(expected) || error.message.contains("has none"), "{args}: {error}");
    }
    let dump =
        backup(&server, 1, &[("format", "single"), ("args", "--set-gtid-purged=AUTO --dump-replica=1")]).unwrap();
    let text = String::from_utf8(dump.streams["dumpfile.sql"].0.clone()).unwrap();
    assert!(!text.contains("GTID_PURGED") && !text.contains("CHANGE REPLICATION"), "neither GTIDs nor a source");
}
