//! Money moves between accounts in many tables while backups run; every restored state must be one that existed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::{Child, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use coffer_test_support::mysql::{Flavor, MysqlOptions, MysqlServer};

use serde_json::Value;

use crate::servers::{mariadb, mysql};
use crate::site::{Site, text};
use crate::wait::until;

const TABLES: u64 = 8;
const ACCOUNTS: u64 = 2_000;
const WRITERS: usize = 4;
/// The login of the backup, so that nothing else is mistaken for its sessions.
const USER: &str = "keeper";
const PASSWORD: &str = "keeper-secret-1";
/// The longest that a transfer of an account to another may take: machines that run tests are busy. On one that is so busy that a backup takes long,
/// half of a backup.
const PATIENCE: Duration = Duration::from_secs(4);

/// Accounts in `bank`, the programs of the writers in `clerks`, which is not backed up.
fn open_the_bank(server: &MysqlServer) {
    let mut sql = "CREATE DATABASE bank; CREATE DATABASE clerks; USE bank;
        CREATE TABLE ledger (id BIGINT AUTO_INCREMENT PRIMARY KEY, source INT NOT NULL, target INT NOT NULL, amount BIGINT NOT NULL);
        CREATE TABLE digits (d INT PRIMARY KEY); INSERT INTO digits VALUES (0),(1),(2),(3),(4),(5),(6),(7),(8),(9);
        CREATE TABLE clerks.stop (x INT); CREATE TABLE clerks.report (moved BIGINT, slowest BIGINT);\n"
        .to_owned();
    for table in 0..TABLES {
        let _ = write!(
            sql,
            "CREATE TABLE account_{table} (id INT PRIMARY KEY, balance BIGINT NOT NULL, owner VARCHAR(80) NOT NULL);
             INSERT INTO account_{table} SELECT a.d + 10*b.d + 100*c.d + 1000*e.d, 1000, REPEAT(a.d, 60) FROM digits a, digits b, digits c, digits e
               WHERE 10*b.d + 100*c.d + 1000*e.d < {ACCOUNTS};\n"
        );
    }
    // Each transfer is one transaction over two accounts in two tables and the ledger.
    let _ = write!(
        sql,
        "DELIMITER //
        CREATE PROCEDURE clerks.work() BEGIN
          DECLARE moved, slowest BIGINT DEFAULT 0;
          DECLARE began DATETIME(6);
          WHILE NOT EXISTS (SELECT 1 FROM clerks.stop) DO
            SET @source = FLOOR(RAND() * {TABLES}), @target = (@source + 1 + FLOOR(RAND() * ({TABLES} - 1))) % {TABLES};
            SET @amount = 1 + FLOOR(RAND() * 100), began = SYSDATE(6);
            SET @take = CONCAT('UPDATE bank.account_', @source, ' SET balance = balance - ', @amount, ' WHERE id = ', FLOOR(RAND() * {ACCOUNTS}));
            SET @give = CONCAT('UPDATE bank.account_', @target, ' SET balance = balance + ', @amount, ' WHERE id = ', FLOOR(RAND() * {ACCOUNTS}));
            BEGIN
              DECLARE EXIT HANDLER FOR 1205, 1213 ROLLBACK;
              START TRANSACTION;
              PREPARE step FROM @take; EXECUTE step;
              PREPARE step FROM @give; EXECUTE step;
              INSERT INTO bank.ledger (source, target, amount) VALUES (@source, @target, @amount);
              COMMIT;
              SET moved = moved + 1;
            END;
            SET slowest = GREATEST(slowest, TIMESTAMPDIFF(MICROSECOND, began, SYSDATE(6)));
            DO SLEEP(0.005);
          END WHILE;
          INSERT INTO clerks.report VALUES (moved, slowest);
        END//
        DELIMITER ;\n"
    );
    server.exec(&sql).unwrap();
}

/// The accounts whose balance is not what the ledger of the same state says, and the total.
fn audit(server: &MysqlServer) -> (Vec<String>, String) {
    let (mut wrong, mut sums) = (Vec::new(), Vec::new());
    for table in 0..TABLES {
        let row = server
            .query(&format!(
                "SELECT (SELECT SUM(balance) FROM bank.account_{table}),
                   {ACCOUNTS} * 1000 - COALESCE(SUM(IF(source = {table}, amount, 0)), 0) + COALESCE(SUM(IF(target = {table}, amount, 0)), 0)
                 FROM bank.ledger"
            ))
            .unwrap()
            .remove(0);
        if row[0] != row[1] {
            wrong.push(format!("account_{table} holds {}, by the ledger {}", row[0], row[1]));
        }
        sums.push(format!("(SELECT SUM(balance) FROM bank.account_{table})"));
    }
    (wrong, server.value(&format!("SELECT {}", sums.join(" + "))).unwrap())
}

fn transfers(server: &MysqlServer) -> u64 {
    server.value("SELECT COUNT(*) FROM bank.ledger").unwrap().parse().unwrap()
}

/// Processes that move money until the handle is dropped.
struct Writers<'a>(&'a MysqlServer, Vec<Child>);

impl<'a> Writers<'a> {
    fn start(server: &'a MysqlServer) -> Self {
        let start = || {
            let mut client = server.client().unwrap();
            client.args(["-e", "CALL clerks.work()"]).stdout(Stdio::null()).stderr(Stdio::piped());
            client.spawn().unwrap()
        };
        let writers = Self(server, (0..WRITERS).map(|_| start()).collect());
        until("money moves", || transfers(server) > 10);
        writers
    }

    /// Stops them and returns how many transfers they made, and how long the slowest took in microseconds.
    #[track_caller]
    fn finish(mut self) -> (u64, u64) {
        self.0.exec("INSERT INTO clerks.stop VALUES (1)").unwrap();
        for writer in self.1.drain(..) {
            let output = writer.wait_with_output().unwrap();
            assert!(output.status.success(), "a writer failed: {}", text(&output));
        }
        let row = self.0.query("SELECT SUM(moved), MAX(slowest) FROM clerks.report").unwrap().remove(0);
        self.0.exec("DELETE FROM clerks.stop; DELETE FROM clerks.report").unwrap();
        (row[0].parse().unwrap(), row[1].parse().unwrap())
    }
}

impl Drop for Writers<'_> {
    fn drop(&mut self) {
        for writer in &mut self.1 {
            let _ = writer.kill();
            let _ = writer.wait();
        }
    }
}

/// Nothing of the backup stays on the server.
#[track_caller]
fn nothing_is_left(server: &MysqlServer) {
    let sessions = format!("SELECT COUNT(*) FROM information_schema.processlist WHERE user = '{USER}'");
    until("no session of the backup is left on the server", || server.value(&sessions).unwrap() == "0");
    if server.flavor() == Flavor::MySql {
        // What the writers hold there are intentions; FLUSH TABLES WITH READ LOCK and LOCK INSTANCE FOR BACKUP take shared locks.
        let locks = "SELECT COUNT(*) FROM performance_schema.metadata_locks WHERE LOCK_TYPE = 'SHARED' \
                     AND OBJECT_TYPE IN ('GLOBAL', 'COMMIT', 'BACKUP LOCK')";
        assert_eq!(server.value(locks).unwrap(), "0", "locks are left on the server");
    }
}

/// Backs up while the writers write, restores elsewhere, and audits; `runs` times, all exact.
#[track_caller]
fn exact(source: &MysqlServer, target: &MysqlServer, grants: &str, methods: &[&str], runs: u32) {
    // The tests restore the same bank to the same shared servers.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    source
        .exec(&format!("CREATE USER IF NOT EXISTS '{USER}'@'%' IDENTIFIED BY '{PASSWORD}'; REVOKE ALL PRIVILEGES, GRANT OPTION FROM '{USER}'@'%'; GRANT {grants} ON *.* TO '{USER}'@'%'"))
        .unwrap();
    let from = Site::local(source, "bank").login(USER, PASSWORD).backup("workers", "3");
    let to =
        Site::new(target, "bank").directory_storage("main", &from.path("storage-main")).restore("existing", "drop");
    let expected = (TABLES * ACCOUNTS * 1000).to_string();
    let writers = Writers::start(source);
    let mut used: BTreeMap<String, u32> = BTreeMap::new();
    let mut longest = Duration::ZERO;
    for run in 1..=runs {
        let before = transfers(source);
        let begun = Instant::now();
        from.ok(&["backup"]);
        longest = longest.max(begun.elapsed());
        let after = transfers(source);
        nothing_is_left(source);
        to.ok(&["restore"]);
        let (wrong, total) = audit(target);
        assert_eq!(wrong, Vec::<String>::new(), "run {run} of {runs}");
        assert_eq!(total, expected, "run {run} of {runs}");
        let restored = transfers(target);
        assert!((before..=after).contains(&restored), "{restored} transfers restored, {before} to {after} were made");
        assert!(after > before + 20, "run {run} proves nothing: only {before} to {after} transfers during the backup");
        let manifest: Value = serde_json::from_str(&from.ok(&["dump", "latest", "manifest.json"])).unwrap();
        let method = manifest["facts"]["view"].as_str().unwrap();
        assert!(methods.contains(&method), "by {method}, not by one of {methods:?}");
        assert_eq!(manifest["facts"]["format"], "parallel");
        *used.entry(method.to_owned()).or_default() += 1;
    }
    let (moved, slowest) = writers.finish();
    println!("{runs} of {runs} runs exact, by {used:?}; {moved} transfers, the slowest took {slowest} µs");
    let limit = PATIENCE.max(longest / 2);
    assert!(
        Duration::from_micros(slowest) < limit,
        "a writer had to wait for {slowest} µs, the longest backup took {longest:?}"
    );
}

fn start(flavor: Flavor) -> MysqlServer {
    let extra_args = if flavor == Flavor::MySql { vec!["--local-infile=ON".to_owned()] } else { Vec::new() };
    MysqlServer::start(MysqlOptions { flavor, extra_args, ..MysqlOptions::default() }).unwrap()
}

/// A source of its own for each test, since the names of the bank are fixed, beside the shared server to restore to.
fn servers(flavor: Flavor) -> (MysqlServer, &'static MysqlServer) {
    thread::scope(|scope| {
        let source = scope.spawn(|| start(flavor));
        let target = if flavor == Flavor::MySql { mysql() } else { mariadb() };
        let source = source.join().unwrap();
        open_the_bank(&source);
        (source, target)
    })
}

const LOCK: &str = "global-read-lock";
/// Without a lock where commits leave a gap within some seconds, and with one otherwise.
const EITHER: [&str; 2] = ["lock-free", LOCK];
const READS: &str = "SELECT, SHOW VIEW, TRIGGER, EVENT, PROCESS, RELOAD";

#[test]
fn mysql_without_any_lock() {
    let (source, target) = servers(Flavor::MySql);
    exact(&source, target, &format!("{READS}, BACKUP_ADMIN, REPLICATION CLIENT"), &EITHER, 20);
}

#[test]
fn mysql_with_a_short_lock() {
    let (source, target) = servers(Flavor::MySql);
    exact(&source, target, READS, &[LOCK], 5);
}

#[test]
fn mariadb_short() {
    let (source, target) = servers(Flavor::MariaDb);
    exact(&source, target, &format!("{READS}, BINLOG MONITOR"), &EITHER, 4);
}
