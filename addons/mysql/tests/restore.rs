//! Restores into real servers: from our own backups of either format, and from what mysqldump and mariadb-dump wrote.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a fixture that cannot be set up fails its test at once"
)]

#[allow(dead_code, reason = "each of the test programs uses a part of it")]
mod common;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use coffer_addon_mysql::MySqlRestore;
use coffer_addon_sdk::native::{NativeRun, tcp_target};
use coffer_addon_sdk::{Entry, ErrorKind, Fact, Restore as _, Result};
use coffer_test_support::data;
use coffer_test_support::fingerprint::{differences, fingerprint};
use coffer_test_support::mysql::{Flavor, MysqlServer};
use common::{Dump, LOGIN, backup, backup_as, restore_as, restore_up_to, start};

const ODD: &str = r#"
CREATE DATABASE `odd/na.me ``ü` DEFAULT CHARACTER SET latin1;
USE `odd/na.me ``ü`;
SET sql_mode = 'NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES';
CREATE TABLE `t ``1\/` (
  id INT NOT NULL AUTO_INCREMENT PRIMARY KEY, `select` FLOAT, n DECIMAL(30,10), b BIT(12), bin VARBINARY(300), txt TEXT CHARACTER SET utf8mb4,
  lat VARCHAR(100) CHARACTER SET latin1, u16 VARCHAR(100) CHARACTER SET utf16, dt DATETIME(6), dd DATE, ts TIMESTAMP NULL,
  e ENUM('a','b\\','x''y'), s SET('p','q','r'), j JSON, g GEOMETRY, gen INT GENERATED ALWAYS AS (CHAR_LENGTH(lat)) VIRTUAL
) COMMENT='it''s \\ a \'comment\'; -- really';
INSERT INTO `t ``1\/` (id, `select`, n, b, bin, txt, lat, u16, dt, dd, ts, e, s, j, g) VALUES
 (0, 16777216, -12345678901234567890.0123456789, b'101010101010', X'00095C0A0D27', 'tab\there\nline\\slash', 'äöü''', '漢\t字\n', '2020-01-01 00:00:00.123456',
  '0000-00-00', '2030-01-01 00:00:00', 'b\\', 'p,r', '{"a": [1, "x\\ty"]}', ST_GeomFromText('POINT(1 2)')),
 (1, 0.1, 0, 0, '', '', '', '', '0000-00-00 00:00:00', '2020-02-30', NULL, 'x''y', '', '[]', NULL),
 (2, NULL, NULL, NULL, X'5C4E', '\\N', '\\', '\\', NULL, NULL, NULL, NULL, NULL, 'null', NULL);
SET sql_mode = 'NO_BACKSLASH_ESCAPES';
CREATE PROCEDURE slashes() SELECT '\', 'it''s;';
SET sql_mode = '';
CREATE TABLE no_key (a INT, b VARCHAR(10)); INSERT INTO no_key VALUES (1,'x'),(1,'x'),(NULL,NULL),(2,'');
CREATE TABLE one_text (a VARCHAR(10)); INSERT INTO one_text VALUES (''),(NULL),('x');
CREATE TABLE empty_one (a INT PRIMARY KEY);
CREATE TABLE parent (id INT PRIMARY KEY, child INT); CREATE TABLE child (id INT PRIMARY KEY, parent INT, FOREIGN KEY (parent) REFERENCES parent (id));
ALTER TABLE parent ADD FOREIGN KEY (child) REFERENCES child (id);
SET foreign_key_checks=0; INSERT INTO parent VALUES (1,2); INSERT INTO child VALUES (2,1);
CREATE VIEW a_first AS SELECT 1 AS a;
CREATE VIEW z_last AS SELECT a, b FROM no_key;
CREATE OR REPLACE VIEW a_first AS SELECT a FROM z_last;
"#;

const DATABASES: [&str; 2] = ["shop", "odd/na.me `ü"];

fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

fn fill(server: &MysqlServer) {
    server.exec(ODD).unwrap();
    data::sample(server, "shop", 2).unwrap();
}

fn fingerprints(server: &MysqlServer) -> Vec<BTreeMap<String, String>> {
    DATABASES.iter().map(|name| fingerprint(server, name).unwrap()).collect()
}

#[track_caller]
fn assert_same(before: &[BTreeMap<String, String>], server: &MysqlServer) {
    for ((name, before), after) in DATABASES.iter().zip(before).zip(&fingerprints(server)) {
        assert!(before.len() > 5, "{name} has too few objects to prove anything");
        let differences = differences(before, after);
        assert!(differences.is_empty(), "{name}:\n{}", differences.join("\n"));
    }
}

fn drop_all(server: &MysqlServer) {
    for name in DATABASES {
        server.exec(&format!("DROP DATABASE IF EXISTS {}", quoted(name))).unwrap();
    }
}

/// Restores over so many sessions, as the host would; the items of a stage are handed out in turn.
fn restore(
    server: &MysqlServer,
    workers: u32,
    parameters: &[(&str, &str)],
    dump: &Dump,
) -> Result<Vec<(String, Vec<Fact>)>> {
    restore_as(server, LOGIN, workers, parameters, dump)
}

/// The same backup as a snapshot of this id.
fn snapshot(dump: &Dump, id: &str) -> Dump {
    let mut named = Dump { plan: dump.plan.clone(), streams: dump.streams.clone() };
    named.plan.facts.push(Fact::new("snapshot", id));
    named
}

/// A snapshot made by `mysqldump … | restic backup --stdin --stdin-filename dumpfile.sql`.
fn foreign(text: impl Into<Vec<u8>>) -> Dump {
    Dump { streams: BTreeMap::from([("dumpfile.sql".to_owned(), (text.into(), Vec::new()))]), ..Dump::default() }
}

fn stock_dump(server: &MysqlServer, arguments: &[&str]) -> Dump {
    let output = server.dump().unwrap().args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    foreign(output.stdout)
}

#[track_caller]
fn refused(outcome: Result<Vec<(String, Vec<Fact>)>>, kind: ErrorKind, message: &str) {
    let error = outcome.expect_err("must be refused");
    assert!(error.kind == kind && error.message.contains(message), "{:?}: {error}", error.kind);
}

/// Backs up, drops, restores, compares; then what is there already: refused, left alone, replaced.
fn round_trip(flavor: Flavor, extra: &[&str], backup_parameters: &[(&str, &str)]) {
    let server = start(flavor, extra);
    fill(&server);
    let before = fingerprints(&server);
    let globals = server
        .query("SHOW GLOBAL VARIABLES WHERE Variable_name NOT LIKE '%gtid%' AND Variable_name <> 'timestamp'")
        .unwrap();
    let dump = backup(&server, 2, backup_parameters).unwrap();

    refused(restore(&server, 2, &[], &dump), ErrorKind::Invalid, "is there and not empty; nothing was changed");
    drop_all(&server);
    restore(&server, 3, &[], &dump).unwrap();
    assert_same(&before, &server);

    // One database alone; the other is gone and stays so.
    drop_all(&server);
    restore(&server, 2, &[("databases", "shop")], &dump).unwrap();
    assert!(server.exec(&format!("USE {}", quoted(DATABASES[1]))).is_err(), "only `shop` was asked for");
    server.exec("DROP TABLE shop.order_items; CREATE TABLE shop.of_mine (a INT)").unwrap();
    restore(&server, 2, &[("existing", "skip")], &dump).unwrap();
    server.exec("SELECT * FROM shop.of_mine").unwrap();
    restore(&server, 2, &[("existing", "drop")], &dump).unwrap();
    assert_same(&before, &server);
    refused(restore(&server, 1, &[("databases", "shap")], &dump), ErrorKind::Invalid, "has no database \"shap\"");
    let after = server
        .query("SHOW GLOBAL VARIABLES WHERE Variable_name NOT LIKE '%gtid%' AND Variable_name <> 'timestamp'")
        .unwrap();
    assert_eq!(globals, after, "a restore leaves the server's settings as they were");
}

#[test]
fn parallel_of_mysql_by_file() {
    round_trip(Flavor::MySql, &["--local-infile=ON"], &[]);
}

#[test]
fn parallel_of_mysql_by_insert() {
    round_trip(Flavor::MySql, &["--local-infile=OFF"], &[]);
}

#[test]
fn single_of_mysql() {
    round_trip(Flavor::MySql, &[], &[("format", "single")]);
}

#[test]
fn parallel_of_mariadb_by_file() {
    round_trip(Flavor::MariaDb, &["--local-infile=ON"], &[]);
}

#[test]
fn parallel_of_mariadb_by_insert() {
    round_trip(Flavor::MariaDb, &["--local-infile=OFF"], &[]);
}

#[test]
fn single_of_mariadb() {
    round_trip(Flavor::MariaDb, &[], &[("format", "single")]);
}

/// Tables of some MB each, so that their indexes are added when the rows are there.
fn large_tables(flavor: Flavor) -> String {
    let pad = "pad LONGTEXT CHARACTER SET ascii";
    let expression = match flavor {
        Flavor::MySql => {
            ", KEY expression ((a + 1)), KEY many ((CAST(j->'$' AS UNSIGNED ARRAY))), KEY unseen (a, b) INVISIBLE"
        }
        Flavor::MariaDb => ", KEY unseen (a, b) IGNORED",
    };
    let history = match flavor {
        Flavor::MySql => "",
        Flavor::MariaDb => "WITH SYSTEM VERSIONING",
    };
    let mut sql = format!(
        "CREATE DATABASE large; USE large;
         CREATE TABLE parent (id INT NOT NULL PRIMARY KEY, code INT NOT NULL, at INT, {pad}, UNIQUE KEY code (code), KEY at (at));
         CREATE TABLE child (id INT NOT NULL PRIMARY KEY, code INT, KEY code (code), CONSTRAINT to_parent FOREIGN KEY (code) REFERENCES parent (code));
         CREATE TABLE kinds (id INT NOT NULL AUTO_INCREMENT, a INT, b VARCHAR(200), c CHAR(3) NOT NULL, j JSON, g POINT NOT NULL, v INT GENERATED ALWAYS AS (a * 2)
           VIRTUAL, s INT GENERATED ALWAYS AS (a * 3) STORED, `k ``,(` INT, {pad}, PRIMARY KEY (c, id), KEY z_counts (id), UNIQUE KEY z_null (a), UNIQUE KEY
           a_not_null (c, id), KEY partly (b(10), a DESC), KEY v (v), KEY s (s), KEY said (a) COMMENT 'it''s, \\\\ (so)', SPATIAL KEY g (g), KEY `k ``,(` (`k ``,(`),
           FULLTEXT KEY words (b), FULLTEXT KEY more (pad), CHECK (a <> -1), CONSTRAINT z_self FOREIGN KEY (a) REFERENCES parent (code),
           CONSTRAINT a_code FOREIGN KEY (a) REFERENCES parent (code) ON DELETE NO ACTION{expression}) AUTO_INCREMENT=700 COMMENT='ENGINE=MyISAM, (no)';
         CREATE TABLE parted (id INT NOT NULL, a INT, {pad}, PRIMARY KEY (id), KEY a (a)) PARTITION BY HASH (id) PARTITIONS 3;
         CREATE TABLE keyless (a INT NOT NULL, b INT, {pad}, UNIQUE KEY z (a), UNIQUE KEY y (b), KEY x (b));
         CREATE TABLE heap_like (a INT, {pad}, KEY x (a)) ROW_FORMAT=COMPRESSED KEY_BLOCK_SIZE=8;
         CREATE TABLE flat (id INT NOT NULL PRIMARY KEY, a INT, {pad}, KEY a (a)) ENGINE=MyISAM;
         CREATE TABLE versioned (id INT NOT NULL PRIMARY KEY, a INT, {pad}, KEY a (a)) {history};\n"
    );
    for row in 0..34 {
        let pad = format!("REPEAT('word{row} ', 20000)");
        let _ = write!(
            sql,
            "INSERT INTO parent VALUES ({row}, {code}, {row}, {pad}); INSERT INTO child VALUES ({row}, {code});
             INSERT INTO kinds (id, a, b, c, j, g, `k ``,(`, pad) VALUES ({row} + 1, {code}, CONCAT('b', {row}), 'c', '[1, {row}]', POINT({row}, 1), {row}, {pad});
             INSERT INTO parted VALUES ({row}, {row}, {pad}); INSERT INTO keyless VALUES ({row}, {row}, {pad}); INSERT INTO heap_like VALUES ({row}, {pad});
             INSERT INTO flat VALUES ({row}, {row}, {pad}); INSERT INTO versioned VALUES ({row}, {row}, {pad});\n",
            code = 100 + row
        );
    }
    sql
}

fn indexes_of_large_tables_come_after_their_rows(flavor: Flavor, infile: &str, late: &[&str]) {
    let server = start(flavor, &[infile]);
    server.exec(&large_tables(flavor)).unwrap();
    let before = fingerprint(&server, "large").unwrap();
    let dump = backup(&server, 1, &[("databases", "large")]).unwrap();
    server.exec("DROP DATABASE large").unwrap();
    let said = restore(&server, 2, &[], &dump).unwrap();
    let differences = differences(&before, &fingerprint(&server, "large").unwrap());
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    let last_rows = said.iter().rposition(|(path, _)| path.contains("/rows/")).unwrap();
    let mut after: Vec<&str> = said[last_rows..]
        .iter()
        .filter_map(|(path, _)| path.strip_prefix("databases/large/tables/")?.strip_suffix(".sql"))
        .collect();
    after.sort_unstable();
    after.dedup();
    assert_eq!(after, late);
    server.exec("SET foreign_key_checks = 1; USE large; UPDATE child SET code = 101 WHERE id = 0").unwrap();
    assert!(server.exec("USE large; UPDATE child SET code = 1 WHERE id = 0").is_err(), "the foreign key is at work");
}

#[test]
fn indexes_of_large_tables_come_after_their_rows_in_mysql() {
    let late = ["child", "heap_like", "keyless", "kinds", "parent", "parted", "versioned"];
    indexes_of_large_tables_come_after_their_rows(Flavor::MySql, "--local-infile=ON", &late);
    indexes_of_large_tables_come_after_their_rows(Flavor::MySql, "--local-infile=OFF", &late);
}

#[test]
fn indexes_of_large_tables_come_after_their_rows_in_mariadb() {
    let late = ["child", "heap_like", "keyless", "kinds", "parent", "parted"];
    indexes_of_large_tables_come_after_their_rows(Flavor::MariaDb, "--local-infile=ON", &late);
}

/// What mysqldump itself keeps: its FLOATs lose digits and its sessions take no invalid dates, so there are none here.
fn stock(flavor: Flavor, extra: &[&str]) {
    let server = start(flavor, &[]);
    fill(&server);
    server.exec(&format!("UPDATE {}.`t ``1\\/` SET `select` = 0.5, dd = NULL", quoted(DATABASES[1]))).unwrap();
    let before = fingerprints(&server);
    let arguments = [&["--routines", "--events", "--triggers", "--databases"][..], &DATABASES, extra].concat();
    let dump = stock_dump(&server, &arguments);
    drop_all(&server);
    restore(&server, 2, &[], &dump).unwrap();
    assert_same(&before, &server);
    // As with the client, a dump drops and makes its own tables.
    restore(&server, 1, &[], &dump).unwrap();
    assert_same(&before, &server);

    drop_all(&server);
    restore(&server, 1, &[("args", "--one-database=shop")], &dump).unwrap();
    assert!(server.exec(&format!("USE {}", quoted(DATABASES[1]))).is_err(), "only `shop` was asked for");

    // A dump without USE goes where `args` say.
    let bare = stock_dump(&server, &[extra, &["shop", "customers"]].concat());
    refused(restore(&server, 1, &[], &bare), ErrorKind::Data, "the dump names no database");
    server.exec("CREATE DATABASE elsewhere").unwrap();
    restore(&server, 1, &[("args", "elsewhere")], &bare).unwrap();
    let count = |database| server.value(&format!("SELECT COUNT(*) FROM {database}.customers")).unwrap();
    assert_eq!(count("elsewhere"), count("shop"));

    let mut cut = bare.streams["dumpfile.sql"].0.clone();
    cut.truncate(cut.len() / 2);
    refused(restore(&server, 1, &[("args", "elsewhere")], &foreign(cut)), ErrorKind::Data, "cut off");
}

#[test]
fn what_mysqldump_wrote() {
    stock(Flavor::MySql, &["--set-gtid-purged=OFF"]);
}

#[test]
fn what_mariadb_dump_wrote() {
    stock(Flavor::MariaDb, &[]);
}

#[test]
fn streams_that_lie_are_found_out() {
    for infile in ["--local-infile=ON", "--local-infile=OFF"] {
        let server = start(Flavor::MySql, &[infile]);
        server.exec("CREATE DATABASE d; USE d; CREATE TABLE t (a INT PRIMARY KEY, b VARCHAR(3)); INSERT INTO t VALUES (1,'x'),(2,'y')").unwrap();
        let dump = backup(&server, 1, &[]).unwrap();
        let path = "databases/d/rows/t.tsv";
        assert_eq!(dump.streams[path].0, b"1\tx\n2\ty\n");
        for (text, message) in [
            (&b"1\tx\n"[..], "1 rows were loaded, but the backup had 2"),
            (b"1\tx\n1\ty\n", ""),
            (b"1\tx\n2\tlong\n", ""),
            (b"1\tx\ntwo\ty\n", ""),
            (b"1\tx\n2\n", ""),
            (b"1\tx\n2\ty\tz\n", ""),
            (b"1\tx\n2\ty", "ends in the middle of a row"),
        ] {
            server.exec("DROP DATABASE d").unwrap();
            let mut lying = Dump { plan: dump.plan.clone(), streams: dump.streams.clone() };
            lying.streams.get_mut(path).unwrap().0 = text.to_vec();
            let error = restore(&server, 1, &[], &lying).expect_err("must be found out");
            assert!(error.kind == ErrorKind::Data && error.message.starts_with(path), "{infile} {error}");
            assert!(error.message.contains(message), "{infile} {error}");
            if message.is_empty() {
                assert_eq!(
                    server.value("SELECT COUNT(*) FROM d.t").unwrap(),
                    "0",
                    "{infile}: nothing of it is kept: {error}"
                );
            }
        }
    }
}

#[test]
fn the_binary_log_is_the_users_choice() {
    let server = start(Flavor::MySql, &[]);
    server.exec("CREATE DATABASE d; USE d; CREATE TABLE t (a INT PRIMARY KEY); INSERT INTO t VALUES (1)").unwrap();
    let dump = backup(&server, 1, &[]).unwrap();
    let position = || server.query("SHOW BINARY LOG STATUS").unwrap()[0][..2].to_vec();
    server.exec("DROP DATABASE d").unwrap();
    let before = position();
    restore(&server, 2, &[("logBin", "false")], &dump).unwrap();
    assert_eq!(position(), before);
    server.exec("DROP DATABASE d").unwrap();
    let before = position();
    restore(&server, 2, &[], &dump).unwrap();
    assert_ne!(position(), before);
}

#[test]
fn views_are_made_in_the_order_that_works_and_broken_ones_do_not_stop_it() {
    let server = start(Flavor::MySql, &[]);
    server
        .exec(
            "CREATE DATABASE `a.b`; CREATE DATABASE z; USE `a.b`; CREATE TABLE gone (x INT); CREATE TABLE kept (x INT);
             CREATE VIEW z.last AS SELECT x FROM `a.b`.kept; CREATE VIEW first AS SELECT x FROM z.last WHERE x > 0 WITH CHECK OPTION;
             CREATE VIEW `broken one` AS SELECT x FROM gone; DROP TABLE gone; CREATE PROCEDURE z.p() SELECT 1;",
        )
        .unwrap();
    let mut dump = backup(&server, 1, &[]).unwrap();
    // The worst order that there is.
    let text = String::from_utf8(dump.streams["views.sql"].0.clone()).unwrap();
    let mut views: Vec<&str> = text.split_inclusive("USE ").collect();
    let head = views.remove(0);
    views.reverse();
    let text: String =
        std::iter::once(head).chain(views.iter().flat_map(|view| [view.trim_end_matches("USE "), "USE "])).collect();
    dump.streams.get_mut("views.sql").unwrap().0 = text.trim_end_matches("USE ").into();
    server.exec("DROP DATABASE `a.b`; DROP DATABASE z").unwrap();
    restore(&server, 2, &[], &dump).unwrap();
    server.exec("SELECT * FROM `a.b`.first; SELECT * FROM z.last; CALL z.p()").unwrap();
    assert!(server.exec("SELECT * FROM `a.b`.`broken one`").is_err());

    // That it was broken before is known from the backup alone.
    dump.streams.get_mut("views.sql").unwrap().1.clear();
    server.exec("DROP DATABASE `a.b`; DROP DATABASE z").unwrap();
    refused(
        restore(&server, 2, &[], &dump),
        ErrorKind::Data,
        "views cannot be made, the first is view `a.b`.`broken one`",
    );
}

/// The accounts that the addon's README describes can do all of it, and no more is asked of them.
fn privileges_of_the_readme(flavor: Flavor, backups: &str, restores: &str) {
    for infile in ["--local-infile=ON", "--local-infile=OFF"] {
        // What servers are set to where triggers are replicated.
        let server = start(flavor, &[infile, "--log-bin", "--log-bin-trust-function-creators=ON"]);
        server
            .exec(&format!(
                "CREATE DATABASE d; USE d; CREATE TABLE t (a INT PRIMARY KEY, e ENUM('x')); SET sql_mode=''; INSERT INTO t VALUES (1,'no');
                 CREATE VIEW v AS SELECT a FROM t; CREATE PROCEDURE p() SELECT 1; CREATE FUNCTION f() RETURNS INT DETERMINISTIC RETURN 1;
                 CREATE TRIGGER tr BEFORE INSERT ON t FOR EACH ROW SET NEW.a = NEW.a; CREATE EVENT e ON SCHEDULE EVERY 1 YEAR DO SELECT 1;
                 CREATE USER b@'%' IDENTIFIED BY 'p'; GRANT {backups} ON *.* TO b@'%';
                 CREATE USER r@'%' IDENTIFIED BY 'p'; GRANT ALL ON d.* TO r@'%'; GRANT {restores} ON *.* TO r@'%';"
            ))
            .unwrap();
        let before = fingerprint(&server, "d").unwrap();
        let dump = backup_as(&server, ("b", "p"), 2, &[("databases", "d")]).unwrap();
        assert_eq!(dump.fact("not-visible"), None);
        server.exec("DROP DATABASE d").unwrap();
        restore_as(&server, ("r", "p"), 2, &[], &dump).unwrap();
        let differences = differences(&before, &fingerprint(&server, "d").unwrap());
        assert!(differences.is_empty(), "{}", differences.join("\n"));
    }
}

#[test]
fn privileges_of_the_readme_are_enough_for_mysql() {
    privileges_of_the_readme(
        Flavor::MySql,
        "SELECT, SHOW VIEW, TRIGGER, EVENT, PROCESS, SHOW_ROUTINE, BACKUP_ADMIN, REPLICATION CLIENT, RELOAD",
        "SET_ANY_DEFINER, ALLOW_NONEXISTENT_DEFINER, SYSTEM_USER",
    );
}

#[test]
fn privileges_of_the_readme_are_enough_for_mariadb() {
    privileges_of_the_readme(
        Flavor::MariaDb,
        "SELECT, SHOW VIEW, TRIGGER, EVENT, PROCESS, RELOAD, REPLICATION CLIENT",
        "SET USER",
    );
}

#[test]
fn an_empty_database_gets_the_character_set_of_the_backup() {
    for parameters in [&[][..], &[("format", "single")]] {
        let server = start(Flavor::MySql, &[]);
        server
            .exec("CREATE DATABASE `a``b` CHARACTER SET latin1 COLLATE latin1_bin; CREATE TABLE `a``b`.t (a INT)")
            .unwrap();
        let before = fingerprint(&server, "a`b").unwrap();
        let dump = backup(&server, 1, parameters).unwrap();
        server.exec("DROP DATABASE `a``b`; CREATE DATABASE `a``b` CHARACTER SET utf8mb4").unwrap();
        restore(&server, 1, &[], &dump).unwrap();
        let differences = differences(&before, &fingerprint(&server, "a`b").unwrap());
        assert!(differences.is_empty(), "{}", differences.join("\n"));
    }
}

/// A little of everything that a restore makes in stages.
fn staged(large: usize) -> String {
    format!(
        "CREATE DATABASE d; USE d; CREATE TABLE a (id INT NOT NULL AUTO_INCREMENT PRIMARY KEY, e ENUM('x','y'), KEY e (e)) AUTO_INCREMENT=90; INSERT INTO a VALUES
         (1,'x'),(5,'y'); CREATE TABLE flat (id INT PRIMARY KEY, a INT, KEY a (a)) ENGINE=MyISAM; INSERT INTO flat VALUES (1,1),(2,2);
         CREATE TABLE no_rows (id INT PRIMARY KEY); CREATE TABLE large (id INT NOT NULL PRIMARY KEY, a INT, pad LONGTEXT, UNIQUE KEY a (a), KEY both_of (a, id),
         CONSTRAINT to_a FOREIGN KEY (a) REFERENCES a (id)); SET foreign_key_checks = 0; INSERT INTO large VALUES (1, 7, REPEAT('x', {large})), (2, 8, 'y');
         CREATE VIEW v AS SELECT id FROM a; CREATE VIEW w AS SELECT id FROM v; CREATE PROCEDURE p() SELECT 1; CREATE FUNCTION f() RETURNS INT DETERMINISTIC RETURN 1;
         CREATE TRIGGER tr BEFORE INSERT ON a FOR EACH ROW SET NEW.e = NEW.e; CREATE TRIGGER tr2 BEFORE INSERT ON a FOR EACH ROW SET NEW.e = NEW.e;
         CREATE TRIGGER of_flat BEFORE INSERT ON flat FOR EACH ROW SET NEW.a = 3; CREATE EVENT e ON SCHEDULE EVERY 1 YEAR DO SELECT 1;"
    )
}

const MARK: &str = "SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_NAME = 'coffer_restore_progress'";

fn a_retry_goes_on_after_any_item(flavor: Flavor, infile: &str) {
    let server = start(flavor, &[infile, "--log-bin-trust-function-creators=ON"]);
    server.exec(&staged(5 << 20)).unwrap();
    let before = fingerprint(&server, "d").unwrap();
    let dump = backup(&server, 1, &[("databases", "d")]).unwrap();
    let (one, two) = (snapshot(&dump, "one"), snapshot(&dump, "two"));
    let mut items = 0;
    loop {
        server.exec("DROP DATABASE d").unwrap();
        let (said, ended) = restore_up_to(&server, LOGIN, 2, &[], &one, items).unwrap();
        if ended {
            assert!(items > 12, "too few items to prove anything: {said:?}");
            break;
        }
        if items > 0 {
            assert_eq!(server.value(MARK).unwrap(), "1", "after {items} items");
            refused(restore(&server, 1, &[], &two), ErrorKind::Invalid, "is half restored");
            refused(restore(&server, 1, &[("existing", "skip")], &two), ErrorKind::Invalid, "of snapshot one");
            // Rows in a table without transactions that nobody has counted.
            if server.query("SELECT * FROM d.flat").is_ok_and(|rows| rows.is_empty()) {
                server.exec("INSERT INTO d.flat VALUES (2, 77)").unwrap();
            }
            for format in ["parallel", "single"] {
                let half = backup(&server, 1, &[("databases", "d"), ("format", format)]).unwrap_err();
                assert_eq!(half.kind, ErrorKind::Data);
                assert!(half.message.contains("`d` is half restored"), "{half}");
            }
        }
        // Another one may die as well.
        restore_up_to(&server, LOGIN, 1, &[], &one, 1).unwrap();
        restore(&server, 2, &[], &one).unwrap_or_else(|error| panic!("after {items} items: {error}"));
        let differences = differences(&before, &fingerprint(&server, "d").unwrap());
        assert!(differences.is_empty(), "after {items} items ({:?}):\n{}", said.last(), differences.join("\n"));
        assert_eq!(server.value(MARK).unwrap(), "0", "after {items} items");
        items += 1;
    }
    refused(restore(&server, 1, &[], &one), ErrorKind::Invalid, "is there and not empty; nothing was changed");
}

#[test]
fn a_retry_goes_on_after_any_item_in_mysql() {
    a_retry_goes_on_after_any_item(Flavor::MySql, "--local-infile=ON");
}

#[test]
fn a_retry_goes_on_after_any_item_in_mysql_by_insert() {
    a_retry_goes_on_after_any_item(Flavor::MySql, "--local-infile=OFF");
}

#[test]
fn a_retry_goes_on_after_any_item_in_mariadb() {
    a_retry_goes_on_after_any_item(Flavor::MariaDb, "--local-infile=ON");
}

#[test]
fn a_retry_goes_on_in_the_middle_of_a_stream() {
    for infile in ["--local-infile=ON", "--local-infile=OFF"] {
        let server = start(Flavor::MySql, &[infile, "--max-allowed-packet=64M"]);
        let mut sql = "CREATE DATABASE d; CREATE TABLE d.t (id INT NOT NULL PRIMARY KEY, pad LONGTEXT);\n".to_owned();
        for row in 0..13 {
            let _ = writeln!(sql, "INSERT INTO d.t VALUES ({row}, REPEAT('{row}', 7000000 / LENGTH('{row}')));");
        }
        server.exec(&sql).unwrap();
        let before = fingerprint(&server, "d").unwrap();
        let whole = snapshot(&backup(&server, 1, &[("databases", "d")]).unwrap(), "one");
        server.exec("DROP DATABASE d").unwrap();
        let mut torn = snapshot(&whole, "one");
        let rows = &mut torn.streams.get_mut("databases/d/rows/t.tsv").unwrap().0;
        rows.truncate(rows.len() - 1000);
        refused(restore(&server, 1, &[], &torn), ErrorKind::Data, "ends in the middle of a row");
        let kept = server.value("SELECT COUNT(*) FROM d.t").unwrap();
        assert_eq!(kept, "10", "{infile}: what was committed stays");
        assert_eq!(server.value("SELECT done FROM d.coffer_restore_progress WHERE of_table = 't'").unwrap(), kept);
        restore(&server, 1, &[], &whole).unwrap();
        let differences = differences(&before, &fingerprint(&server, "d").unwrap());
        assert!(differences.is_empty(), "{infile} {}", differences.join("\n"));
    }
}

#[test]
fn two_restores_do_not_mix() {
    let server = start(Flavor::MySql, &[]);
    server.exec("CREATE DATABASE d; CREATE TABLE d.t (a INT)").unwrap();
    let dump = snapshot(&backup(&server, 1, &[]).unwrap(), "one");
    server.exec("DROP DATABASE d").unwrap();
    let entries: Vec<Entry> =
        dump.streams.keys().map(|path| Entry { path: path.clone(), size: None, facts: Vec::new() }).collect();
    let run = NativeRun::new("logical-backup-restore");
    let (user, password) = LOGIN;
    let mut first =
        MySqlRestore::open(run.context(), tcp_target((server.host(), server.port()), user, password)).unwrap();
    first.plan(&entries, &dump.plan.facts).unwrap();
    refused(restore(&server, 1, &[], &dump), ErrorKind::Unavailable, "another restore into database `d` is under way");
    drop(first);
    restore(&server, 1, &[], &dump).unwrap();
}

#[test]
fn tables_are_chosen_one_by_one() {
    for flavor in [Flavor::MySql, Flavor::MariaDb] {
        let server = start(flavor, &["--local-infile=ON", "--log-bin-trust-function-creators=ON"]);
        server.exec(&staged(5 << 20)).unwrap();
        let before = fingerprint(&server, "d").unwrap();
        let dump = snapshot(&backup(&server, 1, &[("databases", "d")]).unwrap(), "one");
        let tables = [("tables", "d.a, d.la*, d.v")];
        let with = |existing| [tables[0], ("existing", existing)];

        // A table that is lost comes back into a database that has others.
        server.exec("SET foreign_key_checks = 0; DROP TABLE d.a; DROP VIEW d.v").unwrap();
        refused(
            restore(&server, 1, &tables, &dump),
            ErrorKind::Invalid,
            "table `d`.`large` is there; nothing was changed",
        );
        restore(&server, 2, &with("skip"), &dump).unwrap();
        assert_eq!(differences(&before, &fingerprint(&server, "d").unwrap()), Vec::<String>::new());

        // Tables that are there are replaced, and no others; at any moment it may end and go on.
        for items in 0.. {
            server
                .exec("DROP VIEW d.v; USE d; UPDATE a SET e = 'x'; DELETE FROM large; UPDATE flat SET a = 9")
                .unwrap();
            let (_, ended) = restore_up_to(&server, LOGIN, 1, &with("drop"), &dump, items).unwrap();
            if !ended {
                server.exec("DROP VIEW IF EXISTS d.v").unwrap();
                restore(&server, 1, &with("drop"), &dump).unwrap();
            }
            let rows = server
                .query("SELECT id, e FROM d.a ORDER BY id; SELECT COUNT(*) FROM d.large; SELECT DISTINCT a FROM d.flat")
                .unwrap();
            assert_eq!(rows.concat().join(" "), "1 x 5 y 2 9", "{items}");
            assert_eq!(server.value(MARK).unwrap(), "0");
            if ended {
                break;
            }
        }

        // What an earlier run made is ours; what somebody else made meanwhile is not.
        server.exec("DROP DATABASE d; CREATE DATABASE d CHARACTER SET latin1; CREATE TABLE d.other (a INT)").unwrap();
        let (said, ended) = restore_up_to(&server, LOGIN, 1, &tables, &dump, 1).unwrap();
        assert!(!ended && said[0].0 == "databases/d/tables/a.sql");
        refused(restore(&server, 1, &[("tables", "d.a")], &dump), ErrorKind::Invalid, "is half restored");
        server.exec("CREATE TABLE d.large (b INT)").unwrap();
        refused(restore(&server, 1, &tables, &dump), ErrorKind::Invalid, "table `d`.`large` is there");
        server.exec("DROP TABLE d.large").unwrap();
        restore(&server, 1, &tables, &dump).unwrap();
        let names = server
            .query("SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'd' ORDER BY 1")
            .unwrap();
        assert_eq!(names.concat(), ["a", "large", "other", "v"]);
        let charset = "SELECT DEFAULT_CHARACTER_SET_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = 'd'";
        assert_eq!(server.value(charset).unwrap(), "latin1", "the database itself is not restored");
        let triggers = server
            .query("SELECT TRIGGER_NAME FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = 'd' ORDER BY 1")
            .unwrap();
        assert_eq!(triggers.concat(), ["tr", "tr2"]);
        assert_eq!(
            server.value("SELECT COUNT(*) FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = 'd'").unwrap(),
            "0"
        );
        let single = backup(&server, 1, &[("databases", "d"), ("format", "single")]).unwrap();
        refused(restore(&server, 1, &tables, &single), ErrorKind::Invalid, "one text of SQL");
    }
}

#[test]
fn databases_get_other_names_and_views_other_owners() {
    for (flavor, format) in [
        (Flavor::MySql, "parallel"),
        (Flavor::MySql, "single"),
        (Flavor::MariaDb, "parallel"),
        (Flavor::MariaDb, "single"),
    ] {
        let server = start(flavor, &["--local-infile=ON", "--log-bin-trust-function-creators=ON"]);
        server
            .exec(
                "CREATE DATABASE shop; CREATE DATABASE other; USE shop; CREATE TABLE p (id INT PRIMARY KEY); INSERT INTO p VALUES (7);
                 CREATE TABLE other.c (shop INT, CONSTRAINT f FOREIGN KEY (shop) REFERENCES shop.p (id)); INSERT INTO other.c VALUES (7);
                 CREATE FUNCTION twice(x INT) RETURNS INT DETERMINISTIC RETURN x * (SELECT COUNT(*) + 1 FROM shop.p);
                 CREATE VIEW v AS SELECT p.id, shop.twice(c.shop) AS shop FROM p JOIN other.c ON c.shop = p.id;
                 CREATE PROCEDURE other.add_one(x INT) INSERT INTO shop . p VALUES (x); -- shop.p
                 CREATE DEFINER=nobody@nowhere TRIGGER shop.t AFTER INSERT ON shop.p FOR EACH ROW INSERT INTO other.c VALUES (NEW.id);
                 CREATE DEFINER=nobody@nowhere EVENT e ON SCHEDULE EVERY 1 YEAR DISABLE DO DELETE FROM shop.p;",
            )
            .unwrap();
        let dump = snapshot(&backup(&server, 2, &[("databases", "shop,other"), ("format", format)]).unwrap(), "one");
        let parameters = [("renameDatabase", "shop=new-shop"), ("skipDefiner", "true"), ("databases", "shop,other")];
        refused(restore(&server, 1, &parameters, &dump), ErrorKind::Invalid, "database `other` is there");
        refused(
            restore(&server, 1, &[("renameDatabase", "shop=other")], &dump),
            ErrorKind::Invalid,
            "would both be restored as `other`",
        );
        refused(
            restore(&server, 1, &[("renameDatabase", "shap=other")], &dump),
            ErrorKind::Invalid,
            "has no database \"shap\"",
        );
        // The old one must not be needed, nor be touched.
        server
            .exec("DROP DATABASE other; DROP DATABASE shop; CREATE DATABASE shop; CREATE TABLE shop.mine (a INT)")
            .unwrap();
        restore(&server, 2, &parameters, &dump).unwrap();
        server.exec("DROP DATABASE shop").unwrap();
        server.exec("CALL other.add_one(8)").unwrap();
        let rows =
            server.query("SELECT * FROM `new-shop`.v ORDER BY id; SELECT shop FROM other.c ORDER BY shop").unwrap();
        assert_eq!(rows.concat(), ["7", "21", "8", "24", "7", "8"], "{flavor:?} {format}");
        assert!(server.exec("INSERT INTO other.c VALUES (99)").is_err(), "the foreign key is at work");
        let definers = server
            .query(
                "SELECT DISTINCT DEFINER FROM (SELECT DEFINER FROM information_schema.VIEWS WHERE TABLE_SCHEMA = 'new-shop' UNION ALL SELECT DEFINER FROM
                 information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = 'new-shop' UNION ALL SELECT DEFINER FROM information_schema.EVENTS WHERE EVENT_SCHEMA =
                 'new-shop' UNION ALL SELECT DEFINER FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = 'new-shop') AS d",
            )
            .unwrap();
        assert_eq!(definers.concat(), [format!("{}@%", LOGIN.0)]);
    }
}

#[test]
fn databases_may_change_names_with_each_other() {
    let server = start(Flavor::MySql, &["--local-infile=ON"]);
    for database in ["a", "b"] {
        server
            .exec(&format!(
                "CREATE DATABASE {database}; USE {database}; CREATE TABLE p (id INT PRIMARY KEY); INSERT INTO p VALUES (1);
                 CREATE TABLE t (id INT PRIMARY KEY, p INT, pad LONGTEXT, KEY p (p), CONSTRAINT f FOREIGN KEY (p) REFERENCES p (id));
                 INSERT INTO t VALUES (1, 1, REPEAT('{database}', 5000000)); CREATE VIEW v AS SELECT LEFT(pad, 1) AS x FROM t;"
            ))
            .unwrap();
    }
    let before = ["a", "b"].map(|database| fingerprint(&server, database).unwrap());
    let dump = snapshot(&backup(&server, 1, &[("databases", "a,b")]).unwrap(), "one");
    server.exec("DROP DATABASE a; DROP DATABASE b").unwrap();
    restore(&server, 1, &[("renameDatabase", "a=b,b=a")], &dump).unwrap();
    assert_eq!(server.query("SELECT x FROM a.v; SELECT x FROM b.v").unwrap().concat(), ["b", "a"]);
    for (before, database) in before.iter().zip(["b", "a"]) {
        let mut after = fingerprint(&server, database).unwrap();
        // Which say the database's name.
        for own in ["DATABASE", "VIEW v"] {
            after.insert(own.into(), before[own].clone());
        }
        assert_eq!(differences(before, &after), Vec::<String>::new());
    }
}

#[test]
fn a_name_that_may_be_something_else_is_refused_before_anything_is_changed() {
    let server = start(Flavor::MySql, &[]);
    server
        .exec("CREATE DATABASE shop; USE shop; CREATE TABLE p (id INT); CREATE PROCEDURE odd() SELECT shop.id FROM p AS shop")
        .unwrap();
    let dump = snapshot(&backup(&server, 1, &[]).unwrap(), "one");
    refused(
        restore(&server, 1, &[("renameDatabase", "shop=new")], &dump),
        ErrorKind::Unsupported,
        "in it \"shop\" is not only the database but also the name of something else",
    );
    assert!(server.exec("USE new").is_err(), "nothing was changed");
    restore(&server, 1, &[("renameDatabase", "shop=new"), ("tables", "shop.p")], &dump).unwrap();
}

#[test]
fn a_primary_key_of_the_servers_making_is_refused() {
    let server = start(Flavor::MySql, &["--sql-generate-invisible-primary-key=ON"]);
    server
        .exec(
            "SET sql_generate_invisible_primary_key = OFF; CREATE DATABASE d; CREATE TABLE d.t (a INT); CREATE TABLE d.u (a INT PRIMARY KEY);
             CREATE USER r@'%' IDENTIFIED BY 'p'; GRANT ALL ON d.* TO r@'%';",
        )
        .unwrap();
    let before = fingerprint(&server, "d").unwrap();
    let dump = backup(&server, 1, &[]).unwrap();
    server.exec("DROP DATABASE d").unwrap();
    refused(restore_as(&server, ("r", "p"), 1, &[], &dump), ErrorKind::Denied, "sql_generate_invisible_primary_key");
    server.exec("DROP DATABASE d; GRANT SESSION_VARIABLES_ADMIN ON *.* TO r@'%'").unwrap();
    restore_as(&server, ("r", "p"), 1, &[], &dump).unwrap();
    assert_eq!(differences(&before, &fingerprint(&server, "d").unwrap()), Vec::<String>::new());
}

#[test]
fn rows_alone_go_into_tables_that_can_hold_them() {
    for infile in ["--local-infile=ON", "--local-infile=OFF"] {
        let server = start(Flavor::MySql, &[infile]);
        server.exec("CREATE DATABASE d; USE d; CREATE TABLE t (a INT PRIMARY KEY, e ENUM('x','y')); INSERT INTO t VALUES (1,'x'),(2,'y')").unwrap();
        let dump = snapshot(
            &backup(&server, 1, &[("databases", "d"), ("args", "--no-create-info --no-create-db")]).unwrap(),
            "one",
        );
        refused(restore(&server, 1, &[], &dump), ErrorKind::Invalid, "the table `d`.`t` has rows");
        server.exec("USE d; DELETE FROM t; ALTER TABLE t MODIFY e ENUM('x')").unwrap();
        refused(restore(&server, 1, &[], &dump), ErrorKind::Data, "would not keep the rows as they are");
        assert_eq!(server.value("SELECT COUNT(*) FROM d.t").unwrap(), "0");
        server.exec("ALTER TABLE d.t MODIFY e ENUM('y','x')").unwrap();
        restore(&server, 1, &[], &dump).unwrap();
        assert_eq!(server.query("SELECT a, e FROM d.t ORDER BY a").unwrap().concat(), ["1", "x", "2", "y"]);
        assert_eq!(server.value(MARK).unwrap(), "0");
    }
}
