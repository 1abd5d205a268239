//! The zoo out of one server and into another.

use coffer_test_support::mysql::Flavor;

use crate::compare::{Portrait, assert_same, assert_same_but};
use crate::site::Site;
use crate::zoo::{target, zoo};

/// What cannot come back: views that the source could not use either. The snapshot has their text, and says which they are.
const BROKEN: &[(&str, &str)] = &[
    ("`zoo_broken`.`of_a_table`", "its table is gone"),
    ("`zoo_broken`.`of_a_column`", "its column is gone"),
    ("`zoo_broken`.`of_a_function`", "its function is gone"),
    ("`zoo_broken`.`of_a_view`", "its view is broken"),
];

/// What comes back, but is said otherwise by the server itself, or is lost in any text.
const OF_MYSQL: &[(&str, &str)] = &[
    (
        "ROWS OF `zoo_types`.`typed_documents`",
        "a document's text does not say that a number is a DECIMAL, or a text a date",
    ),
    (
        "COLUMNS `zoo_tables`.`computed`.`t`",
        "the expression as it was typed, with another introducer than SHOW CREATE TABLE has",
    ),
    (
        "COLUMNS `zoo_views`.`in_9`.`x`",
        "a constant with a collation is no NULL any more when it is read again; SHOW CREATE VIEW has the same text",
    ),
    (
        "VIEWS `zoo_views`.`lateral_one`",
        "a join gets parentheses when it is read again; SHOW CREATE VIEW has the same text",
    ),
];
const OF_MARIADB: &[(&str, &str)] = &[(
    "TABLES `zoo_tables`.`aria_plain`",
    "an option that is the default is one that was given when it is read again; SHOW CREATE TABLE has the same text",
)];

/// All of that.
pub fn known(flavor: Flavor) -> Vec<(&'static str, &'static str)> {
    [BROKEN, if flavor == Flavor::MySql { OF_MYSQL } else { OF_MARIADB }].concat()
}

#[track_caller]
fn round_trip(flavor: Flavor, format: &str) {
    let zoo = zoo(flavor);
    let site = Site::local(&zoo.server, "").backup("format", format).backup("users", "true");
    site.ok(&["backup"]);
    let manifest = site.restic("main").ok(&["dump", "latest", "manifest.json"]);
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    let said = manifest.to_string();
    assert!(
        said.contains("not-in-view") && said.contains("zoo_tables%2Eisam"),
        "MyISAM is not part of the view: {said}"
    );
    let target = target(flavor);
    let site = site.server(&target);
    site.ok(&["restore"]);
    assert_same_but(&zoo.portrait, &Portrait::with_accounts(&target), &known(flavor));
}

#[test]
fn mysql_parallel() {
    round_trip(Flavor::MySql, "parallel");
}

#[test]
fn mysql_single() {
    round_trip(Flavor::MySql, "single");
}

#[test]
fn mariadb_parallel() {
    round_trip(Flavor::MariaDb, "parallel");
}

#[test]
fn mariadb_single() {
    round_trip(Flavor::MariaDb, "single");
}

/// A database whose name needs an escape, and what comes last was made where a backslash is none: the restore's own questions are
/// asked under its own settings.
#[test]
fn a_backslash_in_a_name_after_a_program_that_knows_no_escapes() {
    const SQL: &str = r"CREATE DATABASE `back\slash` COLLATE utf8mb4_general_ci; USE `back\slash`; CREATE TABLE `t\able` (a INT); INSERT INTO `t\able` VALUES (1);
        SET sql_mode = 'NO_BACKSLASH_ESCAPES'; CREATE PROCEDURE p() SELECT 1; CREATE EVENT e ON SCHEDULE EVERY 1 YEAR STARTS '2037-01-01 00:00:00' DISABLE DO SET @x = 1;
        ALTER DATABASE `back\slash` COLLATE utf8mb4_bin;";
    for flavor in [Flavor::MySql, Flavor::MariaDb] {
        let (from, to) = (target(flavor), target(flavor));
        from.exec(SQL).unwrap();
        let before = Portrait::of(&from);
        for format in ["parallel", "single"] {
            let site = Site::local(&from, "").backup("format", format).restore("workers", "1");
            site.ok(&["backup"]);
            to.exec(r"DROP DATABASE IF EXISTS `back\slash`").unwrap();
            let site = site.server(&to);
            site.ok(&["restore"]);
            assert_same(&before, &Portrait::of(&to));
        }
    }
}
