//! Tables that change or vanish while a backup reads them, and a user who may not keep that from happening: the backup fails and says why,
//! or has what was there when it began. It is never something in between.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Stdio};

use coffer_test_support::mysql::{Flavor, MysqlServer};

use crate::compare::{Portrait, assert_same};
use crate::site::{Site, text};
use crate::wait::until;
use crate::zoo::start;

const TABLES: &str = "DROP DATABASE IF EXISTS d; CREATE DATABASE d; USE d; SET sql_mode = '';
CREATE TABLE a_gate (id INT PRIMARY KEY); INSERT INTO a_gate VALUES (1);
CREATE TABLE m (id INT PRIMARY KEY, v INT, w INT); INSERT INTO m VALUES (1, 1, 1), (2, 2, 2);
CREATE TABLE isam (id INT PRIMARY KEY, v INT, w INT) ENGINE=MyISAM; INSERT INTO isam VALUES (1, 1, 1);
CREATE TABLE z_gate (id INT PRIMARY KEY); INSERT INTO z_gate VALUES (1);
DO SLEEP(1.1); CREATE TABLE n LIKE m; INSERT INTO n VALUES (7, 7, 7);";

/// What may happen, and at which table the backup is at that moment.
const CHANGES: &[(&str, &str)] = &[
    ("a_gate", "ALTER TABLE m ADD COLUMN z INT DEFAULT 9"),
    ("a_gate", "ALTER TABLE isam DROP COLUMN w"),
    ("a_gate", "RENAME TABLE m TO o, n TO m, o TO n"),
    ("a_gate", "TRUNCATE m"),
    ("a_gate", "DROP TABLE m"),
    ("a_gate", "INSERT INTO m VALUES (3, 3, 3)"),
];

/// What is of interest only when the definition is read after the rows.
const LATER: &[(&str, &str)] = &[
    ("z_gate", "ALTER TABLE m ADD COLUMN z INT DEFAULT 9"),
    ("z_gate", "ALTER TABLE m DROP COLUMN w"),
    ("z_gate", "ALTER TABLE isam ADD COLUMN z INT DEFAULT 9"),
    ("z_gate", "DROP TABLE m"),
    ("z_gate", "CREATE TABLE fresh (a INT)"),
];

/// A session that lets nobody read this table, until it is dropped.
struct Gate(Child);

impl Gate {
    fn close(server: &MysqlServer, table: &str) -> Self {
        let mut client = server.client().unwrap();
        client.args(["--batch", "--skip-column-names", "--unbuffered"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = client.spawn().unwrap();
        let input = child.stdin.as_mut().unwrap();
        writeln!(input, "LOCK TABLES d.{table} WRITE; SELECT 'closed';").unwrap();
        let mut said = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(said, "closed\n");
        Self(child)
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn changes(flavor: Flavor, format: &str) {
    let server = start(flavor, "+00:00", &[]);
    let target = start(flavor, "+00:00", &[]);
    let rights = match flavor {
        Flavor::MySql => {
            "GRANT SELECT, SHOW VIEW, TRIGGER, EVENT, LOCK TABLES, PROCESS, SHOW_ROUTINE ON *.* TO keeper@'%'"
        }
        Flavor::MariaDb => "GRANT SELECT, SHOW VIEW, TRIGGER, EVENT, LOCK TABLES, PROCESS ON *.* TO keeper@'%'",
    };
    server.exec(&format!("CREATE USER keeper@'%' IDENTIFIED BY 'secret'; {rights}")).unwrap();
    let (mut failed, mut right) = (0, 0);
    let later = if format == "parallel" { LATER } else { &[] };
    for (gate, change) in CHANGES.iter().chain(later) {
        server.exec(TABLES).unwrap();
        let before = Portrait::of(&server);
        let site = Site::local(&server, "d").login("keeper", "secret").backup("workers", "1").backup("format", format);
        let closed = Gate::close(&server, gate);
        let backup = site.spawn(&["backup"]);
        until("the backup reads the table", || {
            let waiting = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE USER = 'keeper' AND STATE LIKE 'Waiting for table%'";
            server.value(waiting).unwrap() != "0"
        });
        // A server that keeps changes away from what the backup has read does as well: the backup goes on when the gate is open, not before.
        let changed = server.exec(&format!("USE d; SET sql_mode = ''; SET lock_wait_timeout = 2; {change}"));
        let kept_out = changed.is_err_and(|error| {
            assert!(error.to_string().contains("Lock wait timeout"), "{change}: {error}");
            true
        });
        drop(closed);
        let output = backup.wait_with_output().unwrap();
        assert!(output.status.success() || !kept_out, "{format}, {gate}, {change}: {}", text(&output));
        if output.status.success() {
            right += 1;
            target.exec("DROP DATABASE IF EXISTS d").unwrap();
            let site = site.server(&target).login("root", coffer_test_support::mysql::PASSWORD);
            site.ok(&["restore"]);
            assert_same(&before, &Portrait::of(&target));
        } else {
            failed += 1;
            assert_eq!(site.snapshot_count("main"), 0, "{change}: a backup that failed is no backup");
            let said = text(&output);
            let clear =
                ["while the backup ran", "definition has changed", "doesn't exist", "is gone", "Unknown column"];
            assert!(clear.iter().any(|why| said.contains(why)), "{format}, {gate}, {change}: {said}");
        }
    }
    println!("{flavor:?} {format}: {failed} backups failed, {right} were right");
    assert!(failed >= 5 && right >= 1, "{failed} failed, {right} right");
}

#[test]
fn parallel_of_mysql() {
    changes(Flavor::MySql, "parallel");
}

#[test]
fn single_of_mysql() {
    changes(Flavor::MySql, "single");
}

#[test]
fn parallel_of_mariadb() {
    changes(Flavor::MariaDb, "parallel");
}

#[test]
fn single_of_mariadb() {
    changes(Flavor::MariaDb, "single");
}
