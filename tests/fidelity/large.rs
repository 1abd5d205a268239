//! Rows that the protocol must send in several packets, and thousands of tables.

use std::fmt::Write as _;

use coffer_test_support::mysql::Flavor;

use crate::compare::{Portrait, assert_same};
use crate::site::Site;
use crate::zoo::start;

/// A row of bytes of which most need an escape, one of text, and one that fills its packet to the last byte, so that an empty one follows.
const LONG_ROWS: &str = "CREATE DATABASE large; USE large; CREATE TABLE t (id INT PRIMARY KEY, b LONGBLOB, c LONGTEXT CHARACTER SET latin1);
INSERT INTO t VALUES (1, 'before', 'x'); INSERT INTO t (id, b) SELECT 2, REPEAT(X'5C000A09FF27', 2796203);
INSERT INTO t (id, c) SELECT 3, REPEAT('0123456789 äöü \\\\ it''s \\n', 900000); INSERT INTO t (id, b) SELECT 4, REPEAT('z', 16777208); INSERT INTO t VALUES (5, 'behind', 'y');";

/// What servers of both kinds can hold such rows with; MariaDB's own default is 16 MiB.
const ROOM: &str = "--max-allowed-packet=64M";

fn long_rows(flavor: Flavor, format: &str, infile: &str) {
    let from = start(flavor, "+00:00", &[ROOM]);
    from.exec(LONG_ROWS).unwrap();
    let before = Portrait::of(&from);
    let site = Site::local(&from, "large").backup("format", format);
    site.ok(&["backup"]);
    drop(from);
    let to = start(flavor, "+00:00", &[ROOM, infile]);
    let site = site.server(&to);
    site.ok(&["restore"]);
    assert_same(&before, &Portrait::of(&to));
}

#[test]
fn rows_of_mysql_by_file() {
    long_rows(Flavor::MySql, "parallel", "--local-infile=ON");
}

#[test]
fn rows_of_mysql_by_insert() {
    long_rows(Flavor::MySql, "parallel", "--local-infile=OFF");
}

#[test]
fn rows_of_mysql_in_one_text() {
    long_rows(Flavor::MySql, "single", "--local-infile=ON");
}

#[test]
fn rows_of_mariadb_by_file() {
    long_rows(Flavor::MariaDb, "parallel", "--local-infile=ON");
}

/// A target that takes no such packets takes such rows all the same where it reads a file; elsewhere it is said what it lacks.
#[test]
fn rows_for_a_server_of_small_packets() {
    for flavor in [Flavor::MySql, Flavor::MariaDb] {
        let from = start(flavor, "+00:00", &[ROOM]);
        from.exec(LONG_ROWS).unwrap();
        let before = Portrait::of(&from);
        for (format, infile, works) in [
            ("parallel", "--local-infile=ON", true),
            ("parallel", "--local-infile=OFF", false),
            ("single", "--local-infile=ON", false),
        ] {
            let site = Site::local(&from, "large").backup("format", format);
            site.ok(&["backup"]);
            let to = start(flavor, "+00:00", &["--max-allowed-packet=4M", infile]);
            let site = site.server(&to);
            let output = site.run(&["restore"]);
            let said = crate::site::text(&output);
            assert_eq!(output.status.success(), works, "{flavor:?} {format} {infile}: {said}");
            if works {
                to.exec("SET GLOBAL max_allowed_packet = 67108864").unwrap();
                assert_same(&before, &Portrait::of(&to));
            } else {
                assert!(said.contains("max_allowed_packet"), "{flavor:?} {format} {infile}: {said}");
            }
        }
    }
}

/// `COFFER_FIDELITY_TABLES=10000` makes as many.
fn many_tables(flavor: Flavor) {
    let count: u32 = std::env::var("COFFER_FIDELITY_TABLES").map_or(1_000, |count| count.parse().unwrap());
    let from = start(flavor, "+00:00", &[]);
    let mut sql = "CREATE DATABASE many; USE many; SET SESSION foreign_key_checks = 0;\n".to_owned();
    for table in 0..count {
        let _ = writeln!(
            sql,
            "CREATE TABLE t{table} (id INT NOT NULL AUTO_INCREMENT PRIMARY KEY, v VARCHAR(20), KEY (v)); INSERT INTO t{table} (v) VALUES ('{table}'), (NULL);"
        );
    }
    from.exec(&sql).unwrap();
    let before = Portrait::of(&from);
    let site = Site::local(&from, "many");
    site.ok(&["backup"]);
    let to = start(flavor, "+00:00", &[]);
    let site = site.server(&to);
    site.ok(&["restore"]);
    assert_same(&before, &Portrait::of(&to));
}

#[test]
fn tables_of_mysql() {
    many_tables(Flavor::MySql);
}

#[test]
fn tables_of_mariadb() {
    many_tables(Flavor::MariaDb);
}
