//! The comparer finds what differs, and nothing else: one change after the other, each of which must be named.

use coffer_test_support::mysql::Flavor;

use crate::compare::{Portrait, assert_same, differences};
use crate::zoo::start;

const BEFORE: &str = "
CREATE DATABASE d DEFAULT CHARACTER SET utf8mb4; USE d; SET sql_mode = '';
CREATE TABLE t (id INT NOT NULL AUTO_INCREMENT PRIMARY KEY, f FLOAT, d DOUBLE, v VARCHAR(20), b BLOB, e ENUM('a', ''), ts TIMESTAMP(6) NULL, n DECIMAL(10,4), p POINT, KEY v (v));
INSERT INTO t VALUES (1, 0.1, 0.1, 'x', X'00FF', 1, '2020-01-01 00:00:00', 1.5, POINT(1, 2)), (2, 0, 0, NULL, NULL, NULL, NULL, NULL, NULL), (3, 0, 0e0, 'NULL', '', '', NULL, 0, NULL);
CREATE TABLE keyless (a INT); INSERT INTO keyless VALUES (1), (1); CREATE TABLE child (id INT PRIMARY KEY, t INT, CONSTRAINT c FOREIGN KEY (t) REFERENCES t (id), CONSTRAINT ch CHECK (id > 0));
CREATE TABLE large (id INT PRIMARY KEY, b LONGBLOB); INSERT INTO large VALUES (1, REPEAT('x', 100000)); CREATE TABLE parts (a INT) PARTITION BY RANGE (a) (PARTITION p0 VALUES LESS THAN (1));
CREATE VIEW w AS SELECT id FROM t; CREATE PROCEDURE p(a VARCHAR(9)) SELECT 1; CREATE FUNCTION g() RETURNS INT DETERMINISTIC RETURN 1;
CREATE TRIGGER one BEFORE INSERT ON t FOR EACH ROW SET @x = 1; CREATE TRIGGER two BEFORE INSERT ON t FOR EACH ROW SET @y = 1;
CREATE EVENT ev ON SCHEDULE EVERY 1 DAY STARTS '2037-01-01 00:00:00' DISABLE DO SET @x = 1;
CREATE USER u@'%' IDENTIFIED BY 'x'; CREATE ROLE r; GRANT SELECT (id) ON d.t TO u@'%';
";

/// A change, and the objects that then differ: at least these, and none of another name.
const CHANGES: &[(&str, &[&str])] = &[
    ("UPDATE t SET f = 0.10000001 WHERE id = 1", &["ROWS OF `d`.`t`"]),
    ("UPDATE t SET d = 0.1e0 + 1.4e-17 WHERE id = 1", &["ROWS OF `d`.`t`"]),
    ("UPDATE t SET v = 'x ' WHERE id = 1", &["ROWS OF `d`.`t`"]),
    ("UPDATE t SET v = 'NULL' WHERE id = 2", &["ROWS OF `d`.`t`"]),
    ("UPDATE t SET v = NULL WHERE id = 3", &["ROWS OF `d`.`t`"]),
    ("UPDATE t SET b = '' WHERE id = 2", &["ROWS OF `d`.`t`"]),
    ("UPDATE t SET b = X'00FE' WHERE id = 1", &["ROWS OF `d`.`t`"]),
    ("UPDATE IGNORE t SET e = 'no' WHERE id = 3", &["ROWS OF `d`.`t`"]),
    ("UPDATE t SET ts = '2020-01-01 00:00:00.000001' WHERE id = 1", &["ROWS OF `d`.`t`"]),
    ("UPDATE t SET n = 1.5001 WHERE id = 1", &["ROWS OF `d`.`t`"]),
    ("UPDATE t SET p = ST_GeomFromText('POINT(1 2)', 3857) WHERE id = 1", &["ROWS OF `d`.`t`"]),
    ("INSERT INTO keyless VALUES (1)", &["ROWS OF `d`.`keyless`"]),
    ("UPDATE large SET b = CONCAT(b, 'x')", &["ROWS OF `d`.`large`"]),
    ("UPDATE large SET b = INSERT(b, 50000, 1, 'y')", &["ROWS OF `d`.`large`"]),
    ("ALTER TABLE t AUTO_INCREMENT = 100", &["TABLE `d`.`t`", "TABLES `d`.`t`"]),
    ("ALTER TABLE t COMMENT = 'x'", &["TABLE `d`.`t`", "TABLES `d`.`t`"]),
    ("ALTER TABLE t MODIFY v VARCHAR(20) COMMENT 'x'", &["TABLE `d`.`t`", "COLUMNS `d`.`t`.`v`"]),
    ("ALTER TABLE t DROP KEY v, ADD KEY v (v(5))", &["TABLE `d`.`t`", "STATISTICS `d`.`t`.`v`.`1`"]),
    (
        "ALTER TABLE child DROP FOREIGN KEY c; ALTER TABLE child ADD CONSTRAINT c FOREIGN KEY (t) REFERENCES t (id) ON DELETE CASCADE",
        &["TABLE `d`.`child`", "REFERENTIAL_CONSTRAINTS `d`.`child`.`c`"],
    ),
    (
        "ALTER TABLE parts ADD PARTITION (PARTITION p1 VALUES LESS THAN (2))",
        &["TABLE `d`.`parts`", "PARTITIONS `d`.`parts`.`p1`.-"],
    ),
    ("ALTER DATABASE d DEFAULT CHARACTER SET latin1", &["DATABASE `d`", "SCHEMATA `d`"]),
    ("CREATE OR REPLACE SQL SECURITY INVOKER VIEW w AS SELECT id FROM t", &["VIEW `d`.`w`", "VIEWS `d`.`w`"]),
    (
        "DROP PROCEDURE p; CREATE PROCEDURE p(a VARCHAR(9)) SELECT 1",
        &["PROCEDURE `d`.`p`", "PARAMETERS `d`.`PROCEDURE`.`p`.`1`"],
    ),
    (
        "SET sql_mode = 'ANSI_QUOTES'; DROP FUNCTION g; CREATE FUNCTION g() RETURNS INT DETERMINISTIC RETURN 1",
        &["FUNCTION `d`.`g`", "ROUTINES `d`.`FUNCTION`.`g`"],
    ),
    (
        "DROP TRIGGER two; CREATE TRIGGER two BEFORE INSERT ON t FOR EACH ROW PRECEDES one SET @y = 1",
        &["TRIGGERS `d`.`one`", "TRIGGERS `d`.`two`"],
    ),
    ("ALTER EVENT ev ENABLE", &["EVENT `d`.`ev`", "EVENTS `d`.`ev`"]),
    (
        "SET time_zone = '+01:00'; ALTER EVENT ev ON SCHEDULE EVERY 1 DAY STARTS '2037-01-01 01:00:00'",
        &["EVENT `d`.`ev`", "EVENTS `d`.`ev`"],
    ),
    ("GRANT INSERT (id) ON d.t TO u@'%'", &["PRIVILEGES OF `u`@`%`", "mysql.columns_priv"]),
    ("GRANT r TO u@'%'", &["PRIVILEGES OF `u`@`%`"]),
    ("ALTER USER u@'%' ACCOUNT LOCK", &["USER `u`@`%`"]),
    ("ALTER USER u@'%' IDENTIFIED BY 'y'", &["USER `u`@`%`"]),
    ("DROP TABLE parts", &["TABLE `d`.`parts`", "ROWS OF `d`.`parts`"]),
    ("DROP VIEW w", &["VIEW `d`.`w`"]),
    ("CREATE DATABASE more", &["DATABASE `more`"]),
];

const OF_MYSQL: &[(&str, &[&str])] = &[
    ("UPDATE t SET d = 0e0 * -1 WHERE id = 2", &["ROWS OF `d`.`t`"]),
    ("ALTER TABLE t ALTER INDEX v INVISIBLE", &["TABLE `d`.`t`", "STATISTICS `d`.`t`.`v`"]),
    ("ALTER TABLE child ALTER CHECK ch NOT ENFORCED", &["TABLE `d`.`child`", "TABLE_CONSTRAINTS `d`.`child`.`ch`"]),
    ("ANALYZE TABLE t UPDATE HISTOGRAM ON v WITH 4 BUCKETS", &["HISTOGRAM d.t.v"]),
    ("ALTER TABLE t ALTER COLUMN v SET INVISIBLE", &["TABLE `d`.`t`", "COLUMNS `d`.`t`.`v`"]),
    ("CREATE LIBRARY l LANGUAGE JAVASCRIPT AS 'x'", &["LIBRARIES `d`.`l`"]),
];

const OF_MARIADB: &[(&str, &[&str])] = &[
    // To MariaDB, minus zero is no change.
    ("DELETE FROM t WHERE id = 2; INSERT INTO t (id, f, d) VALUES (2, 0, 0e0 * -1)", &["ROWS OF `d`.`t`"]),
    ("ALTER TABLE t ALTER INDEX v IGNORED", &["TABLE `d`.`t`", "STATISTICS `d`.`t`.`v`"]),
    ("CREATE SEQUENCE s", &["SEQUENCE `d`.`s`", "POSITION OF `d`.`s`"]),
    ("DO NEXTVAL(s)", &["POSITION OF `d`.`s`"]),
    ("ALTER TABLE keyless ADD SYSTEM VERSIONING", &["TABLE `d`.`keyless`", "ROWS OF `d`.`keyless`"]),
    ("UPDATE keyless SET a = 2; UPDATE keyless SET a = 1", &["ROWS OF `d`.`keyless`"]),
];

fn finds(flavor: Flavor, more: &[(&str, &[&str])]) {
    let server = start(flavor, "+00:00", &[]);
    server.exec(BEFORE).unwrap();
    let mut before = Portrait::with_accounts(&server);
    assert_same(&before, &Portrait::with_accounts(&server));
    for (change, expected) in CHANGES.iter().chain(more) {
        server
            .exec(&format!("USE d; SET sql_mode = ''; {change}"))
            .unwrap_or_else(|error| panic!("{change}: {error:?}"));
        let after = Portrait::with_accounts(&server);
        let found = differences(&before, &after);
        let shown: Vec<String> = found.iter().map(ToString::to_string).collect();
        for object in *expected {
            assert!(
                found.iter().any(|difference| difference.object.contains(object)),
                "{change}: {object} is not named: {shown:#?}"
            );
        }
        let of_rows = expected.iter().all(|object| object.starts_with("ROWS"));
        assert!(!of_rows || found.len() == expected.len(), "{change}: {shown:#?}");
        assert_eq!(differences(&after, &before).len(), found.len(), "{change}");
        before = after;
    }
}

#[test]
fn of_mysql() {
    finds(Flavor::MySql, OF_MYSQL);
}

#[test]
fn of_mariadb() {
    finds(Flavor::MariaDb, OF_MARIADB);
}
