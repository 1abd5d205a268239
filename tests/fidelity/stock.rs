//! The zoo with the stock programs on one side: their dumps restored by Coffer, Coffer's backups restored by them.

use std::process::Stdio;

use coffer_test_support::mysql::{Flavor, MysqlServer};

use crate::compare::{Portrait, assert_same_but};
use crate::roundtrip::known;
use crate::site::{Site, text};
use crate::zoo::{target, zoo};

/// Databases that the stock programs cannot dump, or whose dump they cannot restore, and why.
const NOT_STOCK: &[(&str, &str)] = &[
    ("zoo_broken", "a view that reads what is gone ends the dump"),
    ("zoo_check_option", "views are dumped by name: one with a check option comes before the one that it reads"),
    (
        "zoo_endings",
        "a comment at the end of a trigger takes the delimiter in; NOT PRESERVE is not read under HIGH_NOT_PRECEDENCE",
    ),
];
const NOT_MARIADB_DUMP: &[(&str, &str)] =
    &[("zoo/", "mariadb-dump says `Unknown database` to a name with a backslash")];

/// The same of tables.
const TABLES: &[(&str, &str)] = &[("zoo_types.odd_default", "the dump's sql_mode does not have ALLOW_INVALID_DATES")];
const TABLES_OF_MYSQL: &[(&str, &str)] =
    &[("zoo_tables.to_part_of_a_key", "the dump does not set restrict_fk_on_non_standard_key")];
const TABLES_OF_MARIADB: &[(&str, &str)] = &[
    ("zoo_tables.a_from_far", "the dump locks the table, but not the sequence of its default"),
    ("zoo_tables.counted_by_sequence", "the same"),
    ("zoo_tables.people", "SHOW CREATE TABLE does not double the backquotes of a foreign key's name"),
    ("zoo_tables.odd `child", "the same"),
];

/// What a stock dump changes or leaves out of what it has.
const CHANGED: &[(&str, &str)] = &[
    ("ROWS OF `zoo_types`.`floats`", "FLOAT is written with six digits"),
    ("ROWS OF `zoo_types`.`float_keys`", "the same"),
    ("ROWS OF `zoo_types`.`moments`", "2020-02-30 goes in without ALLOW_INVALID_DATES, as 0000-00-00"),
    ("ROWS OF `zoo_types`.`old_sets`", "text is written as UTF-8: what has no counterpart there is a question mark"),
    ("ROWS OF `zoo_types`.`east_asia`", "the same, and characters that are one in UTF-8 are one after that"),
    ("ROWS OF `zoo_types`.`empty_choices`", "no member, the first member or none: the empty text does not say which"),
    (" by latin1`", "its name and comment are UTF-8 in a text of latin1"),
];
const CHANGED_BY_MYSQLDUMP: &[(&str, &str)] = &[
    ("TABLE `zoo_tables`.", "a collation that columns had from their table is their own after it"),
    ("TABLE `zoo_code`.", "the same"),
    ("HISTOGRAM ", "histograms are left out"),
    ("COLUMN_STATISTICS ", "the same"),
    ("DATABASE `zoo_closed`", "a database is not read-only after it"),
    ("SCHEMATA_EXTENSIONS `zoo_closed`", "the same"),
];
const CHANGED_BY_MARIADB_DUMP: &[(&str, &str)] = &[
    ("ROWS OF `zoo_tables`.`history", "only the rows of today, without the times they are from"),
    ("POSITION OF `zoo_tables`.`circling`", "SETVAL does not count circles"),
    ("POSITION OF `zoo_tables`.`set_back`", "SETVAL does not go back"),
    ("GEOMETRY_COLUMNS `zoo_types`.`placed`.", "SHOW CREATE TABLE does not say the reference system"),
];

fn stock_dump(flavor: Flavor) {
    let zoo = zoo(flavor);
    let (databases, tables) = match flavor {
        Flavor::MySql => (NOT_STOCK.to_vec(), [TABLES, TABLES_OF_MYSQL].concat()),
        Flavor::MariaDb => ([NOT_STOCK, NOT_MARIADB_DUMP].concat(), [TABLES, TABLES_OF_MARIADB].concat()),
    };
    let names = zoo.server.query("SELECT SCHEMA_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME NOT IN ('mysql', 'sys', 'information_schema', 'performance_schema')").unwrap();
    let names: Vec<String> =
        names.concat().into_iter().filter(|name| !databases.iter().any(|(out, _)| name.starts_with(out))).collect();
    assert!(names.len() > 10, "{names:?}");
    let mut dump = zoo.server.dump().unwrap();
    dump.args(["--single-transaction", "--routines", "--events", "--triggers", "--max-allowed-packet=1G"]);
    if flavor == Flavor::MySql {
        dump.arg("--set-gtid-purged=OFF");
    }
    dump.args(tables.iter().map(|(table, _)| format!("--ignore-table={table}"))).arg("--databases").args(&names);
    let site = Site::local(&zoo.server, "");
    std::fs::create_dir_all(site.repository("main")).unwrap();
    site.restic("main").ok(&["init"]);
    let mut dump = dump.stdout(Stdio::piped()).spawn().unwrap();
    let saved = site.restic("main").backup_stdin("dumpfile.sql", "host-0", dump.stdout.take().unwrap()).unwrap();
    assert!(dump.wait().unwrap().success());
    assert!(saved.status.success(), "{}", text(&saved));
    let target = target(flavor);
    let site = site.server(&target);
    site.ok(&["restore"]);
    let left_out: Vec<String> = databases
        .iter()
        .map(|(database, _)| format!("`{database}"))
        .chain(tables.iter().map(|(table, _)| {
            let (database, table) = table.split_once('.').unwrap();
            format!("`{database}`.`{}`", table.replace('`', "``"))
        }))
        .collect();
    let left_out: Vec<&str> = left_out.iter().map(String::as_str).collect();
    let stock = Portrait::of(&zoo.server).without(&left_out);
    let known: Vec<_> = known(flavor).into_iter().filter(|(object, _)| !object.contains("zoo_broken")).collect();
    let changed = if flavor == Flavor::MySql { CHANGED_BY_MYSQLDUMP } else { CHANGED_BY_MARIADB_DUMP };
    assert_same_but(&stock, &Portrait::of(&target), &[known.as_slice(), CHANGED, changed].concat());
}

#[test]
fn a_dump_of_mysqldump() {
    stock_dump(Flavor::MySql);
}

#[test]
fn a_dump_of_mariadb_dump() {
    stock_dump(Flavor::MariaDb);
}

/// What somebody does who has restic and the client but no Coffer.
fn by_hand(flavor: Flavor, format: &str, script: &str) {
    let zoo = zoo(flavor);
    let site = Site::local(&zoo.server, "").backup("format", format).backup("users", "true");
    site.ok(&["backup"]);
    let folder = site.path("restored");
    site.restic("main").ok(&["restore", "latest", "--verify", "--target", folder.to_str().unwrap()]);
    let target = target(flavor);
    run(&target, &folder, script);
    assert_same_but(&zoo.portrait, &Portrait::with_accounts(&target), &known(flavor));
}

fn run(server: &MysqlServer, folder: &std::path::Path, script: &str) {
    let mut client = server.client().unwrap();
    client.args(["--local-infile=1", "--max-allowed-packet=1G"]).current_dir(folder);
    client.stdin(std::fs::File::open(folder.join(script)).unwrap());
    let output = client.output().unwrap();
    assert!(output.status.success(), "{script}: {}", text(&output));
}

#[test]
fn single_by_mysql() {
    by_hand(Flavor::MySql, "single", "dumpfile.sql");
}

#[test]
fn single_by_mariadb() {
    by_hand(Flavor::MariaDb, "single", "dumpfile.sql");
}

#[test]
fn parallel_by_restic_and_mysql() {
    by_hand(Flavor::MySql, "parallel", "load.sql");
}

#[test]
fn parallel_by_restic_and_mariadb() {
    by_hand(Flavor::MariaDb, "parallel", "load.sql");
}
