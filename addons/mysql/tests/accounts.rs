//! Accounts: out of one server and into another, by every way that a backup with `users: true` can be restored.
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

use coffer_addon_sdk::{ErrorKind, Fact};
use coffer_test_support::fingerprint::differences;
use coffer_test_support::mysql::{Flavor, MysqlServer};
use coffer_test_support::scratch;
use common::{Dump, LOGIN, backup, backup_as, restore_as, run_script, start};

const OBJECTS: &str = "
CREATE DATABASE shop; CREATE DATABASE `a_b`; CREATE DATABASE other;
CREATE TABLE shop.t (a INT PRIMARY KEY, b INT, `o``dd, \"to\"` INT); CREATE TABLE shop.fading (a INT); CREATE TABLE other.t (a INT);
CREATE PROCEDURE shop.p() SELECT 1; CREATE FUNCTION shop.f() RETURNS INT DETERMINISTIC RETURN 1;
";

/// Views whose definers need accounts and privileges to be there first, and privileges on views, which need the views.
const VIEWS: &str = "
CREATE DEFINER='plain'@'%' VIEW shop.a_view AS SELECT a FROM shop.t;
CREATE DEFINER='attr'@'%' VIEW shop.b_view AS SELECT a FROM shop.a_view;
GRANT SELECT (a), SHOW VIEW ON shop.b_view TO r1;
";

/// What both kinds of servers understand.
const COMMON: &str = r#"
CREATE USER 'plain'@'%' IDENTIFIED BY 'pä''ss';
CREATE USER 'x''y"z`w'@'10.0.0.%' IDENTIFIED BY 'secret' REQUIRE SUBJECT '/CN=o''x\\y' AND ISSUER '/CN=ca' AND CIPHER 'ECDHE'
  WITH MAX_QUERIES_PER_HOUR 10 MAX_UPDATES_PER_HOUR 11 MAX_CONNECTIONS_PER_HOUR 12 MAX_USER_CONNECTIONS 13
  PASSWORD EXPIRE INTERVAL 90 DAY ACCOUNT LOCK;
CREATE USER expired@'%' IDENTIFIED BY 'x' PASSWORD EXPIRE;
CREATE USER never@'%' IDENTIFIED BY 'x' REQUIRE SSL PASSWORD EXPIRE NEVER;
CREATE USER x509@'%' REQUIRE X509;
CREATE USER ''@'10.9.8.7' IDENTIFIED BY 'z';
GRANT r1 TO plain@'%'; GRANT `r``2` TO plain@'%' WITH ADMIN OPTION; GRANT chief TO attr@'%'; GRANT r1 TO chief;
GRANT SELECT, INSERT ON *.* TO plain@'%' WITH GRANT OPTION;
GRANT USAGE ON *.* TO 'x''y"z`w'@'10.0.0.%' WITH GRANT OPTION;
GRANT ALL ON shop.* TO attr@'%' WITH GRANT OPTION;
GRANT SELECT (a, `o``dd, "to"`), INSERT (b), REFERENCES (a) ON shop.t TO r1; GRANT UPDATE, DELETE ON shop.t TO r1 WITH GRANT OPTION;
GRANT EXECUTE ON PROCEDURE shop.p TO r1; GRANT EXECUTE, ALTER ROUTINE ON FUNCTION shop.f TO 'x''y"z`w'@'10.0.0.%' WITH GRANT OPTION;
GRANT PROXY ON plain@'%' TO attr@'%' WITH GRANT OPTION; GRANT PROXY ON ''@'' TO x509@'%';
GRANT SELECT ON `a\_b`.* TO `r``2`; GRANT SELECT ON `a_b`.* TO expired@'%'; GRANT SELECT ON `gone`.* TO expired@'%';
GRANT SELECT ON shop.fading TO expired@'%';
"#;

const MYSQL: &str = r#"
CREATE ROLE r1, `r``2`, chief;
CREATE USER attr@'%' IDENTIFIED WITH sha256_password BY 'x' PASSWORD HISTORY 0 ATTRIBUTE '{"a": {"b": [1, "it''s \\"x\\""]}, "ü": null}';
COMMON
CREATE USER policy@'%' IDENTIFIED BY 'x' PASSWORD HISTORY 5 PASSWORD REUSE INTERVAL 365 DAY PASSWORD REQUIRE CURRENT OPTIONAL
  FAILED_LOGIN_ATTEMPTS 3 PASSWORD_LOCK_TIME UNBOUNDED COMMENT 'hi ''there'' \\ " x';
CREATE USER twice@'%' IDENTIFIED BY 'one'; ALTER USER twice@'%' IDENTIFIED BY 'two' RETAIN CURRENT PASSWORD;
GRANT BACKUP_ADMIN, ROLE_ADMIN ON *.* TO plain@'%'; GRANT XA_RECOVER_ADMIN ON *.* TO plain@'%' WITH GRANT OPTION;
REVOKE INSERT ON other.* FROM plain@'%'; REVOKE INSERT ON mysql.* FROM plain@'%';
GRANT SELECT ON mysql.user TO expired@'%';
SET DEFAULT ROLE r1 TO plain@'%'; SET DEFAULT ROLE ALL TO attr@'%';
"#;

const MARIADB: &str = r"
CREATE ROLE r1; CREATE ROLE `r``2`; CREATE ROLE chief; CREATE ROLE orphan WITH ADMIN r1; CREATE SEQUENCE shop.s;
CREATE USER attr@'%' IDENTIFIED VIA unix_socket OR mysql_native_password USING PASSWORD('x');
COMMON
CREATE USER faded@'%' IDENTIFIED BY 'x' WITH MAX_STATEMENT_TIME 1.5 PASSWORD EXPIRE INTERVAL 5 DAY; ALTER USER faded@'%' PASSWORD EXPIRE;
CREATE USER invalid@'%' IDENTIFIED VIA mysql_native_password USING 'invalid';
GRANT BINLOG MONITOR, SET USER ON *.* TO plain@'%'; GRANT DELETE HISTORY ON shop.t TO r1; GRANT SELECT, INSERT ON shop.s TO chief;
GRANT SELECT ON mysql.global_priv TO expired@'%'; GRANT SELECT ON a_b.* TO PUBLIC;
SET DEFAULT ROLE r1 FOR plain@'%'; SET DEFAULT ROLE chief FOR attr@'%';
SET sql_mode = ORACLE;
DELIMITER //
CREATE PACKAGE shop.pk AS PROCEDURE x(); END;
//
CREATE PACKAGE BODY shop.pk AS PROCEDURE x() AS BEGIN SELECT 1; END; END;
//
DELIMITER ;
GRANT EXECUTE ON PACKAGE shop.pk TO attr@'%'; GRANT EXECUTE ON PACKAGE BODY shop.pk TO attr@'%';
SET sql_mode = DEFAULT;
";

/// Of the accounts that the test itself needs, and that every server has.
const THERE: &str = "user NOT IN ('root', 'backup', 'mysql.sys', 'mysql.session', 'mysql.infoschema', 'mariadb.sys')";

fn server(flavor: Flavor) -> MysqlServer {
    let mut extra = vec!["--local-infile=ON", "--log-bin-trust-function-creators=ON"];
    extra.extend((flavor == Flavor::MySql).then_some("--partial-revokes=ON"));
    let server = start(flavor, &extra);
    server
        .exec("GRANT ALL ON *.* TO backup@'%' WITH GRANT OPTION; GRANT PROXY ON ''@'' TO backup@'%' WITH GRANT OPTION")
        .unwrap();
    server
}

fn source(flavor: Flavor) -> MysqlServer {
    let server = server(flavor);
    let accounts = if flavor == Flavor::MySql { MYSQL } else { MARIADB }.replace("COMMON", COMMON);
    server.exec(&format!("{OBJECTS}{accounts}{VIEWS}")).unwrap();
    // Its privilege stays, on nothing.
    server.exec("DROP TABLE shop.fading").unwrap();
    server
}

/// Everything that a server says of its accounts, by account.
fn described(server: &MysqlServer) -> BTreeMap<String, String> {
    let mysql = server.flavor() == Flavor::MySql;
    let role = if mysql { "0" } else { "is_role = 'Y'" };
    let mut described = BTreeMap::new();
    for row in server.query(&format!("SELECT user, host, {role} FROM mysql.user WHERE {THERE}")).unwrap() {
        let quoted = |name: &str| format!("`{}`", name.replace('`', "``"));
        let name = if row[2] == "1" { quoted(&row[0]) } else { format!("{}@{}", quoted(&row[0]), quoted(&row[1])) };
        let (name, shown) = match (mysql, row[2] == "1") {
            (true, _) => (name.clone(), format!("SET print_identified_with_as_hex = 1; SHOW CREATE USER {name};")),
            (false, true) => (if name == "`PUBLIC`" { "PUBLIC".to_owned() } else { name }, String::new()),
            (false, false) => (name.clone(), format!("SHOW CREATE USER {name};")),
        };
        let rows = server.query(&format!("{shown} SHOW GRANTS FOR {name};")).unwrap();
        let mut lines: Vec<String> = rows.iter().flatten().map(|line| canonical(line)).collect();
        lines.sort();
        described.insert(name, lines.join("\n"));
    }
    let tables: &[(&str, &str)] = if mysql {
        &[
            ("role_edges", "FROM_HOST, FROM_USER, TO_HOST, TO_USER, WITH_ADMIN_OPTION"),
            ("default_roles", "HOST, USER, DEFAULT_ROLE_HOST, DEFAULT_ROLE_USER"),
        ]
    } else {
        &[("roles_mapping", "Host, User, Role, Admin_option")]
    };
    let columns = server.query("SELECT grantee, table_schema, table_name, column_name, privilege_type, is_grantable FROM information_schema.column_privileges ORDER BY 1, 2, 3, 4, 5").unwrap();
    assert!(columns.len() > 3, "{columns:?}");
    described.insert("columns".to_owned(), columns.iter().map(|row| row.join(" ")).collect::<Vec<_>>().join("\n"));
    for (table, columns) in tables {
        let edges = server.query(&format!("SELECT {columns} FROM mysql.{table} ORDER BY {columns}")).unwrap();
        let edges: Vec<String> = edges
            .iter()
            .filter(|row| !row.iter().any(|cell| cell == "root" || cell == "backup"))
            .map(|row| row.join(" "))
            .collect();
        described.insert((*table).to_owned(), edges.join("\n"));
    }
    described
}

/// MariaDB names the columns of a privilege in no order: here they are letters in order, and the columns are compared on their own.
fn canonical(line: &str) -> String {
    match line.split_once(" ON ") {
        Some((privileges, rest)) if privileges.contains('(') => {
            let mut letters: Vec<char> = privileges.chars().collect();
            letters.sort_unstable();
            format!("{} ON {rest}", String::from_iter(letters))
        }
        _ => line.to_owned(),
    }
}

/// The privilege on a table that is gone cannot be given again.
fn without_faded(mut described: BTreeMap<String, String>) -> BTreeMap<String, String> {
    let lines = described.get_mut("`expired`@`%`").unwrap();
    assert!(lines.contains("`fading`"), "{lines}");
    *lines = lines.lines().filter(|line| !line.contains("`fading`")).collect::<Vec<_>>().join("\n");
    described
}

#[track_caller]
fn assert_same(expected: &BTreeMap<String, String>, target: &MysqlServer) {
    let differences = differences(expected, &described(target));
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

fn by_hand(target: &MysqlServer, dump: &Dump, script: &str) {
    let folder = scratch::folder().unwrap();
    dump.write_to(folder.path());
    run_script(target, folder.path(), script);
}

fn round_trip(flavor: Flavor) {
    let source = source(flavor);
    let expected = without_faded(described(&source));
    assert!(expected.len() > 12, "{expected:?}");
    let parallel = backup(&source, 3, &[("users", "true")]).unwrap();
    let single = backup(&source, 1, &[("format", "single"), ("args", "--users")]).unwrap();
    assert_eq!(parallel.fact("accounts"), single.fact("accounts"));

    let target = server(flavor);
    let views = |server: &MysqlServer| {
        server.value("SELECT COUNT(*) FROM information_schema.views WHERE table_schema = 'shop'")
    };
    restore_as(&target, LOGIN, 3, &[], &parallel).unwrap();
    assert_same(&expected, &target);
    assert_eq!(views(&target).unwrap(), "2");
    backup_as(&target, ("plain", "pä'ss"), 1, &[("databases", "a_b")]).unwrap();
    let again = backup(&target, 2, &[("users", "true")]).unwrap();
    let lines = |dump: &Dump| -> BTreeMap<String, String> {
        let text = String::from_utf8(dump.streams["users.sql"].0.clone()).unwrap();
        let lines =
            text.lines().filter(|line| !["`fading`", "`root`", "`backup`"].iter().any(|own| line.contains(own)));
        lines.map(|line| (canonical(line), String::new())).collect()
    };
    assert_eq!(differences(&lines(&parallel), &lines(&again)), Vec::<String>::new(), "a second backup says the same");

    let target = server(flavor);
    restore_as(&target, LOGIN, 1, &[], &single).unwrap();
    assert_same(&expected, &target);

    let target = server(flavor);
    by_hand(&target, &parallel, "load.sql");
    assert_same(&expected, &target);

    let target = server(flavor);
    by_hand(&target, &single, "dumpfile.sql");
    assert_same(&expected, &target);
}

#[test]
fn accounts_of_mysql_come_back() {
    round_trip(Flavor::MySql);
}

#[test]
fn accounts_of_mariadb_come_back() {
    round_trip(Flavor::MariaDb);
}

/// What happens to accounts that are there already, by every way.
fn existing(flavor: Flavor) {
    let source = source(flavor);
    if flavor == Flavor::MariaDb {
        // Who made a role administers it, nobody else.
        source.exec("GRANT r1 TO backup@'%' WITH ADMIN OPTION; GRANT `r``2` TO backup@'%' WITH ADMIN OPTION").unwrap();
    }
    let expected = without_faded(described(&source));
    let own = |server: &MysqlServer| {
        let mut lines = server.query("SHOW GRANTS FOR backup").unwrap();
        lines.sort();
        lines
    };
    let backup_before = own(&source);
    let parallel = backup(&source, 2, &[("users", "true")]).unwrap();
    let single = backup(&source, 1, &[("format", "single"), ("users", "true")]).unwrap();
    // Others have changed these since.
    source
        .exec("DROP DATABASE shop; DROP DATABASE other; DROP DATABASE a_b; ALTER USER plain@'%' IDENTIFIED BY 'other-password';
               REVOKE ALL PRIVILEGES, GRANT OPTION FROM plain@'%'; GRANT SELECT, DELETE ON *.* TO plain@'%'; DROP USER x509@'%'; DROP ROLE chief;")
        .unwrap();
    let changed = described(&source);
    let error = restore_as(&source, LOGIN, 2, &[("existingUsers", "error")], &parallel).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert!(error.message.contains("`plain`@`%`") && error.message.contains("nothing was changed"), "{error}");
    assert_same(&changed, &source);
    assert_eq!(
        source.value("SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name = 'shop'").unwrap(),
        "0"
    );

    let kept = |described: &BTreeMap<String, String>| {
        described
            .iter()
            .filter(|(name, _)| name.contains("plain") || name.contains("x'y"))
            .map(|(_, text)| text.clone())
            .collect::<Vec<_>>()
    };
    for (dump, parameters) in [
        (&parallel, [("existingUsers", "skip"), ("workers", "2")]),
        (&single, [("existingUsers", "skip"), ("existing", "drop")]),
    ] {
        restore_as(&source, LOGIN, 1, &parameters, dump).unwrap();
        let after = described(&source);
        assert_eq!(kept(&after), kept(&changed), "left as they are");
        assert_eq!(after["`x509`@`%`"], expected["`x509`@`%`"], "made again");
        source.exec("DROP USER x509@'%'; DROP ROLE chief").unwrap();
    }

    restore_as(&source, LOGIN, 2, &[("existingUsers", "drop"), ("existing", "drop")], &parallel).unwrap();
    assert_same(&expected, &source);
    assert_eq!(own(&source), backup_before, "the account of the restore is never touched");

    source.exec("DROP USER x509@'%'").unwrap();
    for (parameters, wanted) in [
        (vec![("databases", "shop"), ("existing", "drop")], false),
        (vec![("users", "false"), ("existing", "drop")], false),
        (vec![("databases", "shop"), ("users", "true"), ("existing", "drop")], true),
    ] {
        for dump in [&parallel, &single] {
            restore_as(&source, LOGIN, 1, &parameters, dump).unwrap();
            let there = source.value("SELECT COUNT(*) FROM mysql.user WHERE user = 'x509'").unwrap();
            assert_eq!(there, if wanted { "1" } else { "0" }, "{parameters:?}");
            source.exec("DROP USER IF EXISTS x509@'%'").unwrap();
        }
    }
    let error = restore_as(&source, LOGIN, 1, &[("existingUsers", "drop"), ("existing", "drop")], &single).unwrap_err();
    assert!(error.message.contains("format=parallel"), "{error}");
    let none = backup(&source, 1, &[]).unwrap();
    assert!(!none.streams.contains_key("users.sql") && none.fact("accounts").is_none());
    let error = restore_as(&source, LOGIN, 1, &[("users", "true"), ("existing", "drop")], &none).unwrap_err();
    assert!(error.message.contains("the snapshot has no accounts"), "{error}");
}

#[test]
fn accounts_of_mysql_that_are_there() {
    existing(Flavor::MySql);
}

#[test]
fn accounts_of_mariadb_that_are_there() {
    existing(Flavor::MariaDb);
}

#[test]
fn accounts_are_chosen_and_hashes_stay_secret() {
    for flavor in [Flavor::MySql, Flavor::MariaDb] {
        let server = server(flavor);
        server.exec("CREATE DATABASE d; CREATE USER a@'%' IDENTIFIED BY 'pa'; CREATE USER b@'%' IDENTIFIED BY 'pb';
                     CREATE USER poor@'%' IDENTIFIED BY 'p'; GRANT SELECT, SHOW VIEW, TRIGGER, EVENT ON d.* TO poor@'%';").unwrap();
        let users = |dump: &Dump| String::from_utf8(dump.streams["users.sql"].0.clone()).unwrap();
        let dump = backup(&server, 1, &[("args", "--users --include-user='a'@'%' --exclude-user=b@%")]).unwrap();
        assert!(users(&dump).contains("`a`@`%`") && !users(&dump).contains("`b`"), "{}", users(&dump));
        assert_eq!(dump.fact("accounts"), Some("1"));
        let facts = Fact::find(&dump.streams["users.sql"].1, "accounts");
        assert_eq!(facts, Some("1"));
        let error = backup(&server, 1, &[("args", "--system=users --include-user=nobody@%")]).unwrap_err();
        assert!(error.message.contains("`nobody`@`%`"), "{error}");
        let error =
            backup_as(&server, ("poor", "p"), 1, &[("databases", "d"), ("users", "true"), ("args", "--skip-routines")])
                .unwrap_err();
        assert_eq!(error.kind, ErrorKind::Denied);
        assert!(error.message.contains("GRANT SELECT ON mysql.*"), "{error}");

        // A statement that the target does not understand is not shown: it says how the account logs in.
        let mut dump = backup(&server, 1, &[("users", "true"), ("databases", "d")]).unwrap();
        let hash = "*B69027D44F6E5EDC07F1AEAD1477967B16F28227";
        dump.streams.get_mut("users.sql").unwrap().0 =
            format!("CREATE USER `new`@`%` IDENTIFIED SOMEHOW '{hash}';\n").into_bytes();
        let error = restore_as(&server, LOGIN, 1, &[("existing", "drop")], &dump).unwrap_err();
        assert!(
            error.message.contains("`new`@`%`") && error.message.contains("1064") && !error.message.contains("B690"),
            "{error}"
        );
    }
}
