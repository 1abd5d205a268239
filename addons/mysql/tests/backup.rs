//! Backups of real servers, restored by stock `mysql` alone.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a fixture that cannot be set up fails its test at once"
)]

#[allow(dead_code, reason = "each of the test programs uses a part of it")]
mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use coffer_addon_mysql::MySqlBackup;
use coffer_addon_sdk::native::{NativeRun, tcp_target};
use coffer_addon_sdk::{Backup as _, ErrorKind, Fact};
use coffer_test_support::fingerprint::{differences, fingerprint};
use coffer_test_support::mysql::{Flavor, MysqlServer};
use coffer_test_support::{data, scratch};
use common::{backup, backup_as, run_script, start};

/// Types and names that dumps are known to get wrong.
const TYPES: &str = r#"
CREATE DATABASE `odd/na.me ``ü` DEFAULT CHARACTER SET latin1;
USE `odd/na.me ``ü`;
SET sql_mode = 'NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES';
CREATE TABLE `t ``1\/` (
  id INT NOT NULL AUTO_INCREMENT PRIMARY KEY, `select` FLOAT, d DOUBLE, n DECIMAL(30,10), b BIT(12), bin VARBINARY(300), blo LONGBLOB,
  txt TEXT CHARACTER SET utf8mb4, lat VARCHAR(100) CHARACTER SET latin1, u16 VARCHAR(100) CHARACTER SET utf16, dt DATETIME(6), dd DATE,
  ti TIME(3), ts TIMESTAMP NULL, y YEAR, e ENUM('a','b\\','x''y'), s SET('p','q','r'), j JSON, g GEOMETRY,
  gen INT GENERATED ALWAYS AS (y * 2) VIRTUAL
) COMMENT='it''s \\ a \'comment\'; -- really';
INSERT INTO `t ``1\/` (id, `select`, d, n, b, bin, blo, txt, lat, u16, dt, dd, ti, ts, y, e, s, j, g) VALUES
 (0, 16777216, 0.1, -12345678901234567890.0123456789, b'101010101010', NULL, NULL, 'tab\there\nline\\slash', 'äöü', '漢\t字\n', '2020-01-01 00:00:00.123456',
  '0000-00-00', '-838:59:59.000', '2030-01-01 00:00:00', 2024, 'b\\', 'p,r', '{\"a\": [1, \"x\\ty\"]}', ST_GeomFromText('POINT(1 2)')),
 (1, 3.4028234e38, -1.7976931348623157e308, 0, 0, '', '', '', '', '', '0000-00-00 00:00:00', '2020-02-30', '00:00:00', NULL, 0, '', '', '[]', NULL),
 (2, -0e0, 5e-324, NULL, NULL, X'00', X'5C4E', '\\N', '\\', '\\', NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'null', NULL),
 (3, 0.1, NULL, NULL, NULL, NULL, NULL, '😀 ''quoted'' \"double\"', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
CREATE TABLE no_key (a INT, b VARCHAR(10)); INSERT INTO no_key VALUES (1,'x'),(1,'x'),(NULL,NULL),(2,'');
CREATE TABLE one_text (a VARCHAR(10)); INSERT INTO one_text VALUES (''),(NULL),('x');
CREATE TABLE empty_one (a INT PRIMARY KEY);
CREATE TABLE myisam_one (a INT PRIMARY KEY, t TEXT) ENGINE=MyISAM; INSERT INTO myisam_one VALUES (2,'b'),(1,'a');
CREATE TABLE two_keys (a VARCHAR(20), b INT, PRIMARY KEY (a, b)); INSERT INTO two_keys VALUES ('z',1),('a',2),('a',1);
CREATE TABLE parent (id INT PRIMARY KEY, child INT); CREATE TABLE child (id INT PRIMARY KEY, parent INT, FOREIGN KEY (parent) REFERENCES parent (id));
ALTER TABLE parent ADD FOREIGN KEY (child) REFERENCES child (id);
SET foreign_key_checks=0; INSERT INTO parent VALUES (1,2); INSERT INTO child VALUES (2,1);
CREATE VIEW a_first AS SELECT 1 AS a;
CREATE VIEW z_last AS SELECT a, b FROM no_key;
CREATE OR REPLACE VIEW a_first AS SELECT a FROM z_last;
CREATE DATABASE broken; CREATE TABLE broken.t (a INT); CREATE VIEW broken.v AS SELECT a FROM broken.t; DROP TABLE broken.t;
"#;

/// Every byte, as it may stand in a BLOB.
fn all_bytes() -> String {
    (0..=255_u8).flat_map(|byte| format!("{byte:02X}").into_bytes()).map(char::from).collect()
}

fn make_types(server: &MysqlServer) {
    server.exec(TYPES).unwrap();
    let bytes = all_bytes();
    server
        .exec(&format!(
            "USE `odd/na.me ``ü`; INSERT INTO `t ``1\\/` (id, bin, blo) VALUES (10, X'{bytes}', REPEAT(X'{bytes}', 9000));\
             INSERT INTO `t ``1\\/` (id, blo) VALUES (11, REPEAT('x', 17000000));"
        ))
        .unwrap();
}

/// Backs up, drops everything, restores with the stock client, and compares.
fn round_trip(flavor: Flavor, workers: u32, parameters: &[(&str, &str)], script: &str) {
    let server = start(flavor, &["--local-infile=ON", "--max-allowed-packet=128M"]);
    make_types(&server);
    data::sample(&server, "shop", 2).unwrap();
    let databases = ["shop", "odd/na.me `ü"];
    let before: Vec<_> = databases.iter().map(|name| fingerprint(&server, name).unwrap()).collect();
    let dump = backup(&server, workers, parameters).unwrap();
    for name in databases {
        server.exec(&format!("DROP DATABASE `{}`", name.replace('`', "``"))).unwrap();
    }
    if let Some((text, facts)) = dump.streams.get("views.sql") {
        assert!(String::from_utf8_lossy(text).contains("VIEW `v` AS"));
        assert_eq!(Fact::find(facts, "invalid"), Some("broken.v"));
    }
    let folder = scratch::folder().unwrap();
    dump.write_to(folder.path());
    run_script(&server, folder.path(), script);
    for (name, before) in databases.iter().zip(&before) {
        let differences = differences(before, &fingerprint(&server, name).unwrap());
        assert!(differences.is_empty(), "{name}:\n{}", differences.join("\n"));
    }
    let again = backup(&server, workers, parameters).unwrap();
    for (path, (bytes, _)) in &dump.streams {
        assert!(again.streams[path].0 == *bytes, "{path} is not the same in a second backup");
    }
}

#[test]
fn parallel_of_mysql_restores_with_the_stock_client() {
    round_trip(Flavor::MySql, 3, &[], "load.sql");
}

#[test]
fn parallel_of_mariadb_restores_with_the_stock_client() {
    round_trip(Flavor::MariaDb, 3, &[], "load.sql");
}

#[test]
fn single_of_mysql_restores_with_the_stock_client() {
    round_trip(Flavor::MySql, 1, &[("format", "single")], "dumpfile.sql");
}

#[test]
fn single_of_mariadb_restores_with_the_stock_client() {
    round_trip(Flavor::MariaDb, 2, &[("format", "single"), ("args", "--hex-blob")], "dumpfile.sql");
}

/// All sessions see the same while money moves; `extra` decides how that is made sure.
fn consistent(flavor: Flavor, extra: &[&str], user: &str, method: &str) {
    let server = start(flavor, extra);
    server
        .exec("CREATE DATABASE bank; USE bank; CREATE TABLE a (id INT PRIMARY KEY, n BIGINT); CREATE TABLE b LIKE a; CREATE TABLE c LIKE a;
               INSERT INTO a WITH RECURSIVE s AS (SELECT 1 AS i UNION ALL SELECT i+1 FROM s WHERE i<100) SELECT i, 1000 FROM s;
               INSERT INTO b SELECT * FROM a; INSERT INTO c SELECT * FROM a;
               CREATE USER reader@'%' IDENTIFIED BY 'p'; GRANT SELECT, SHOW VIEW, TRIGGER, EVENT, RELOAD, REPLICATION CLIENT ON *.* TO reader@'%';")
        .unwrap();
    let server = Arc::new(server);
    let (stop, rest) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let writers: Vec<_> = [("a", "b"), ("b", "c"), ("c", "a")]
        .into_iter()
        .map(|(from, to)| {
            let (server, stop, rest) = (Arc::clone(&server), Arc::clone(&stop), Arc::clone(&rest));
            thread::spawn(move || {
                let step = format!(
                    "SET @i=1+FLOOR(RAND()*100); START TRANSACTION; UPDATE bank.{from} SET n=n-1 WHERE id=@i; \
                     UPDATE bank.{to} SET n=n+1 WHERE id=@i; COMMIT;\n"
                );
                while !stop.load(Ordering::Relaxed) {
                    let begun = Instant::now();
                    // A deadlock between the writers ends the client; the next one goes on.
                    let _ = server.exec(&step.repeat(200));
                    if rest.load(Ordering::Relaxed) {
                        thread::sleep(begun.elapsed());
                    }
                }
            })
        })
        .collect();
    let mut seen: Vec<String> = Vec::new();
    let as_expected = |seen: &[String]| seen.iter().any(|seen| seen == method);
    for run in 0..10 {
        if run >= 5 {
            if as_expected(&seen) {
                break;
            }
            // On a busy machine a proof without a lock may take longer than the addon tries, unless the writers rest at times.
            rest.store(true, Ordering::Relaxed);
        }
        let login = if user == "root" { common::LOGIN } else { (user, "p") };
        let dump = backup_as(&server, login, 4, &[("lockTimeout", "30s")]).unwrap();
        let mut total = 0;
        for table in ["a", "b", "c"] {
            let text = String::from_utf8(dump.streams[&format!("databases/bank/rows/{table}.tsv")].0.clone()).unwrap();
            total += text.lines().map(|line| line.split('\t').nth(1).unwrap().parse::<i64>().unwrap()).sum::<i64>();
        }
        assert_eq!(total, 300_000, "{:?}", dump.plan.facts);
        seen.extend(dump.fact("view").map(str::to_owned));
        assert!(
            dump.fact("binlog-position").is_some() || extra.contains(&"--skip-log-bin") || flavor == Flavor::MariaDb
        );
    }
    stop.store(true, Ordering::Relaxed);
    assert!(as_expected(&seen), "{seen:?}");
    for writer in writers {
        writer.join().unwrap();
    }
}

#[test]
fn mysql_sessions_share_a_view_without_a_lock() {
    consistent(Flavor::MySql, &[], "root", "lock-free");
}

#[test]
fn mysql_sessions_share_a_view_under_a_lock() {
    consistent(Flavor::MySql, &[], "reader", "global-read-lock");
}

#[test]
fn mariadb_sessions_share_a_view_without_a_lock() {
    consistent(Flavor::MariaDb, &["--log-bin"], "root", "lock-free");
}

#[test]
fn mariadb_sessions_share_a_view_under_a_lock() {
    consistent(Flavor::MariaDb, &["--skip-log-bin"], "root", "global-read-lock");
}

/// A position that does not move while rows change proves nothing.
#[test]
fn a_binary_log_with_filters_is_no_proof() {
    consistent(Flavor::MySql, &["--binlog-ignore-db=bank"], "root", "global-read-lock");
}

#[test]
fn what_the_server_hides_is_said() {
    for flavor in [Flavor::MySql, Flavor::MariaDb] {
        let server = start(flavor, &[]);
        server
            .exec("CREATE DATABASE a_b; CREATE DATABASE c; CREATE TABLE a_b.t (a INT); CREATE TABLE c.t (a INT); CREATE TABLE c.u (a INT);
                   CREATE PROCEDURE a_b.p() SELECT 1; CREATE EVENT a_b.e ON SCHEDULE EVERY 1 YEAR DO SELECT 1;
                   CREATE TRIGGER a_b.tr BEFORE INSERT ON a_b.t FOR EACH ROW SET NEW.a = 1;
                   CREATE USER poor@'%' IDENTIFIED BY 'p'; GRANT SELECT, TRIGGER ON `a\\_b`.* TO poor@'%'; GRANT SELECT ON c.t TO poor@'%';")
            .unwrap();
        let dump = backup_as(&server, ("poor", "p"), 1, &[]).unwrap();
        let hidden = Fact::find(&dump.plan.facts, "not-visible").unwrap().replace("%20", " ");
        assert_eq!(
            hidden, "events of a_b routines of a_b tables of c triggers of c events of c routines of c",
            "{flavor:?}"
        );
        let dump = backup(&server, 1, &[]).unwrap();
        assert_eq!(dump.fact("not-visible"), None);
    }
}

#[test]
fn what_is_missing_is_said() {
    let server = start(Flavor::MySql, &[]);
    server.exec("CREATE DATABASE d; CREATE USER poor@'%' IDENTIFIED BY 'p'; GRANT SELECT ON *.* TO poor@'%';").unwrap();
    let error = backup_as(&server, ("poor", "p"), 2, &[]).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Denied);
    assert!(error.message.contains("GRANT BACKUP_ADMIN") && error.message.contains("workers: 1"), "{error}");
    assert!(backup_as(&server, ("poor", "p"), 1, &[]).is_ok());
    let error = backup_as(&server, ("backup", "wrong"), 1, &[]).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Denied);
    assert!(error.message.contains("1045") && error.message.contains("`username` and `password`"), "{error}");
    let error = backup(&server, 1, &[("databases", "d,nowhere")]).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert!(error.message.contains("\"nowhere\""), "{error}");
}

#[test]
fn a_long_statement_does_not_hold_us_for_ever() {
    let server = start(Flavor::MySql, &[]);
    server
        .exec("CREATE DATABASE d; USE d; CREATE TABLE t (a INT); INSERT INTO t VALUES (1); CREATE TABLE other (a INT); INSERT INTO other VALUES (1); CREATE USER reader@'%' IDENTIFIED BY 'p'; GRANT SELECT, RELOAD ON *.* TO reader@'%';")
        .unwrap();
    let server = Arc::new(server);
    let busy = {
        let server = Arc::clone(&server);
        thread::spawn(move || server.exec("SELECT a, SLEEP(600) FROM d.t"))
    };
    // The statement is there when the server lists it.
    while server
        .value("SELECT COUNT(*) FROM performance_schema.processlist WHERE INFO LIKE 'SELECT a, SLEEP%'")
        .unwrap()
        == "0"
    {}
    // Others wait behind the lock that we wait for, but not for as long as we do.
    let waiting = Arc::new(AtomicBool::new(true));
    let bystander = {
        let (server, waiting) = (Arc::clone(&server), Arc::clone(&waiting));
        thread::spawn(move || {
            let mut slowest = Duration::ZERO;
            while waiting.load(Ordering::Relaxed) {
                let begun = Instant::now();
                server.exec("UPDATE d.other SET a = a + 1").unwrap();
                slowest = slowest.max(begun.elapsed());
            }
            slowest
        })
    };
    let begun = Instant::now();
    let error = backup_as(&server, ("reader", "p"), 2, &[("lockTimeout", "10s")]).unwrap_err();
    let waited = begun.elapsed();
    waiting.store(false, Ordering::Relaxed);
    let slowest = bystander.join().unwrap();
    assert!(waited < Duration::from_mins(1), "{waited:?}");
    assert!(slowest * 2 < waited, "{slowest:?} of {waited:?}");
    assert_eq!((error.kind, error.retryable), (ErrorKind::Unavailable, true));
    assert!(error.message.contains("lockTimeout"), "{error}");
    let id = server.value("SELECT ID FROM performance_schema.processlist WHERE INFO LIKE 'SELECT a, SLEEP%'").unwrap();
    server.exec(&format!("KILL {id}")).unwrap();
    assert!(busy.join().unwrap().is_err());
}

#[test]
fn accounts_of_every_plugin_can_log_in() {
    let server = start(Flavor::MySql, &[]);
    server.exec("CREATE DATABASE d;").unwrap();
    for (user, plugin) in [("caching", "caching_sha2_password"), ("sha256", "sha256_password")] {
        server
            .exec(&format!(
                "CREATE USER {user}@'%' IDENTIFIED WITH {plugin} BY 'pä''ss'; GRANT ALL ON *.* TO {user}@'%';"
            ))
            .unwrap();
        // The second login finds the password in the server's cache.
        backup_as(&server, (user, "pä'ss"), 1, &[]).unwrap();
        backup_as(&server, (user, "pä'ss"), 1, &[]).unwrap();
        let error = backup_as(&server, (user, "wrong"), 1, &[]).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Denied, "{error}");
    }
    let server = start(Flavor::MariaDb, &[]);
    server.exec("CREATE DATABASE d;").unwrap();
    server.exec("CREATE USER native@'%' IDENTIFIED VIA mysql_native_password USING PASSWORD('pass'); GRANT ALL ON *.* TO native@'%';").unwrap();
    backup_as(&server, ("native", "pass"), 1, &[]).unwrap();
    let error = backup_as(&server, ("native", "wrong"), 1, &[]).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Denied, "{error}");
    server.exec("CREATE USER nobody@'%'; GRANT SELECT ON *.* TO nobody@'%';").unwrap();
    backup_as(&server, ("nobody", ""), 1, &[]).unwrap();
}

/// Sessions of a backup that have begun their view, and are at work.
#[test]
fn definitions_stay_as_they_are_while_rows_change() {
    for (flavor, engine, locked) in
        [(Flavor::MySql, "InnoDB", true), (Flavor::MariaDb, "InnoDB", true), (Flavor::MariaDb, "MyISAM", false)]
    {
        let server = start(flavor, &[]);
        server.exec(&format!("CREATE DATABASE d; CREATE TABLE d.t (a INT); CREATE TABLE d.u (a INT) ENGINE={engine}; INSERT INTO d.t VALUES (1);")).unwrap();
        let (user, password) = common::LOGIN;
        let target = || tcp_target((server.host(), server.port()), user, password);
        let mut leader = MySqlBackup::open(NativeRun::new("logical-backup").worker(0, 1).context(), target()).unwrap();
        leader.prepare().unwrap();
        assert_eq!(leader.release().unwrap(), None);
        leader.plan().unwrap();
        server.exec("INSERT INTO d.t VALUES (2); INSERT INTO d.u VALUES (2);").unwrap();
        let altered =
            server.exec("SET lock_wait_timeout = 1; CREATE TABLE d.v (a INT); ALTER TABLE d.u ADD COLUMN b INT;");
        assert_eq!(altered.is_err(), locked, "{flavor:?} {engine}: {altered:?}");
        leader.close().unwrap();
        // The server may need a moment to end the session.
        server.exec("SET lock_wait_timeout = 60; CREATE TABLE d.w (a INT); ALTER TABLE d.u ADD COLUMN c INT;").unwrap();
    }
}

#[test]
fn the_global_read_lock_is_short_on_an_idle_server() {
    for (flavor, extra) in [(Flavor::MySql, "--skip-log-bin"), (Flavor::MariaDb, "--skip-log-bin")] {
        let server = start(flavor, &[extra]);
        server.exec("CREATE DATABASE d; CREATE TABLE d.t (a INT)").unwrap();
        let held = || {
            let dump = backup(&server, 4, &[]).unwrap();
            assert_eq!(dump.fact("view"), Some("global-read-lock"));
            dump.fact("lock-held-ms").unwrap().parse::<u64>().unwrap()
        };
        // The server may be idle while the machine is not.
        let tries: Vec<u64> = std::iter::repeat_with(held).take(5).collect();
        assert!(tries.iter().any(|held| *held < 1000), "{flavor:?}: {tries:?} ms");
    }
}

/// Who may not look at the filters of the binary log cannot know that there are none.
#[test]
fn a_binary_log_that_may_have_filters_is_no_proof() {
    let server = start(Flavor::MySql, &[]);
    server
        .exec("CREATE DATABASE d; CREATE USER poor@'%' IDENTIFIED BY 'p'; GRANT SELECT, SHOW VIEW, TRIGGER, EVENT, RELOAD, BACKUP_ADMIN ON *.* TO poor@'%'")
        .unwrap();
    let dump = backup_as(&server, ("poor", "p"), 3, &[]).unwrap();
    assert_eq!(dump.fact("view"), Some("global-read-lock"));
    server.exec("GRANT REPLICATION CLIENT ON *.* TO poor@'%'").unwrap();
    let dump = backup_as(&server, ("poor", "p"), 3, &[]).unwrap();
    assert_eq!(dump.fact("view"), Some("lock-free"));
}

#[test]
fn what_is_named_is_whole_or_refused() {
    let server = start(Flavor::MySql, &["--partial-revokes=ON"]);
    server
        .exec("CREATE DATABASE d; CREATE TABLE d.t (a INT); CREATE USER poor@'%' IDENTIFIED BY 'p', half@'%' IDENTIFIED BY 'p';
               GRANT SELECT, SHOW VIEW ON d.* TO poor@'%'; GRANT SELECT, SHOW VIEW, TRIGGER, EVENT ON *.* TO half@'%'; REVOKE TRIGGER ON d.* FROM half@'%';")
        .unwrap();
    let whole = [("databases", "d"), ("args", "")];
    for (user, expected) in [("poor", "triggers of d, events of d, routines of d"), ("half", "triggers of d")] {
        let error = backup_as(&server, (user, "p"), 1, &whole).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Denied);
        assert!(error.message.contains(&format!("no privilege for: {expected}.")), "{error}");
    }
    backup_as(&server, ("half", "p"), 1, &[("databases", "d"), ("args", "--skip-triggers")]).unwrap();
    let dump = backup_as(&server, ("half", "p"), 1, &[]).unwrap();
    assert_eq!(dump.fact("not-visible"), Some("triggers%20of%20d"));
    // Of single tables, privileges on these are enough.
    server
        .exec(
            "CREATE TABLE d.u (a INT); CREATE USER few@'%' IDENTIFIED BY 'p'; GRANT SELECT, TRIGGER ON d.t TO few@'%'",
        )
        .unwrap();
    backup_as(&server, ("few", "p"), 1, &[("args", "d t")]).unwrap();
    let error = backup_as(&server, ("few", "p"), 1, &[("args", "d")]).unwrap_err();
    assert!(error.message.contains("tables of d"), "{error}");
}
