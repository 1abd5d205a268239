//! What the parameters of both tasks mean, and which are refused.

use coffer_addon_sdk::native::NativeRun;

use super::*;
use crate::rewrite::Renames;

fn context(parameters: &[(&str, &str)]) -> Context {
    parameters.iter().fold(NativeRun::new("task"), |run, (name, value)| run.parameter(*name, *value)).context()
}

fn backup(parameters: &[(&str, &str)]) -> Result<BackupParams, String> {
    BackupParams::read(&context(parameters)).map_err(|error| error.message)
}

fn restore(parameters: &[(&str, &str)]) -> Result<RestoreParams, String> {
    RestoreParams::read(&context(parameters)).map_err(|error| error.message)
}

fn args(args: &str) -> BackupParams {
    backup(&[("args", args)]).unwrap_or_else(|error| panic!("{args}: {error}"))
}

fn named(names: &[&str]) -> Databases {
    Databases::Named(names.iter().map(ToString::to_string).collect())
}

#[test]
fn defaults() {
    let declared = backup_parameters();
    let declared: Vec<(&str, &str)> = declared
        .iter()
        .filter_map(|parameter| Some((parameter.name.as_str(), parameter.default.as_deref()?)))
        .collect();
    assert_eq!(backup(&declared), backup(&[]), "what is declared is what is taken when nothing is given");
    let params = backup(&[]).unwrap();
    assert_eq!((params.format, params.gtid_purged), (Format::Parallel, GtidPurged::Off));
    assert!(params.rows && params.routines && params.events && params.triggers && params.create_databases);

    let declared = restore_parameters();
    let declared: Vec<(&str, &str)> = declared
        .iter()
        .filter_map(|parameter| Some((parameter.name.as_str(), parameter.default.as_deref()?)))
        .collect();
    assert_eq!(restore(&declared), restore(&[]));
    assert_eq!(
        restore(&[]).unwrap(),
        RestoreParams {
            databases: None,
            default_database: None,
            log_bin: true,
            existing: Existing::Error,
            users: None,
            existing_users: ExistingUsers::Skip,
            character_set: "utf8mb4".into(),
            tables: Vec::new(),
            renames: Renames::default(),
            skip_definer: false,
        }
    );
}

#[test]
fn databases_of_a_backup() {
    for (databases, args, expected, tables) in [
        ("", "", Databases::All, vec![]),
        ("", "--all-databases --ignore-database=mysql", Databases::All, vec![]),
        ("a,b", "", named(&["a", "b"]), vec![]),
        (" a, b ,,c d", "", named(&["a", "b", "c", "d"]), vec![]),
        ("a", "--databases a b --quick c", named(&["a", "b", "c"]), vec![]),
        ("", "--databases a b", named(&["a", "b"]), vec![]),
        ("", "-B a", named(&["a"]), vec![]),
        ("", "a", named(&["a"]), vec![]),
        ("", "a t1 t2", named(&["a"]), vec!["t1", "t2"]),
        ("a", "--tables t1", named(&["a"]), vec!["t1"]),
        ("", "--databases a --tables t1 t2", named(&["a"]), vec!["t1", "t2"]),
    ] {
        let params =
            backup(&[("databases", databases), ("args", args)]).unwrap_or_else(|error| panic!("{args}: {error}"));
        assert_eq!(
            (params.selection.databases, params.selection.tables),
            (expected, tables.iter().map(ToString::to_string).collect()),
            "{args}"
        );
    }
}

#[test]
fn what_is_selected() {
    let selection =
        args("--ignore-table=a.t --ignore-table=`a`.`u.u`,b.t --ignore-table-data=a.r --ignore-database=c").selection;
    assert!(selection.database("a") && selection.database("b"));
    assert!(!selection.database("c") && !selection.database("mysql") && !selection.database("SYS"));
    assert!(!selection.table("a", "t") && !selection.table("a", "u.u") && !selection.table("b", "t"));
    assert!(selection.table("b", "u.u") && selection.table("a", "r"));
    assert!(!selection.rows("a", "r") && selection.rows("b", "r"));
    let selection = args("a t").selection;
    assert!(selection.database("a") && !selection.database("b"));
    assert!(selection.table("a", "t") && !selection.table("a", "u") && !selection.whole_databases());
}

#[test]
fn meanings() {
    let default = args("");
    for (text, change) in [
        ("--no-data", BackupParams { rows: false, ..default.clone() }),
        ("-d", BackupParams { rows: false, ..default.clone() }),
        ("--no-create-info", BackupParams { create_tables: false, ..default.clone() }),
        ("-nt", BackupParams { create_tables: false, create_databases: false, ..default.clone() }),
        ("--routines --events --triggers -R -E", default.clone()),
        ("--skip-routines", BackupParams { routines: false, ..default.clone() }),
        ("--events=0", BackupParams { events: false, ..default.clone() }),
        ("--skip-triggers", BackupParams { triggers: false, ..default.clone() }),
        ("--where=id>5", BackupParams { condition: Some("id>5".into()), ..default.clone() }),
        ("--column-statistics=0", BackupParams { column_statistics: Some(false), ..default.clone() }),
        ("--column-statistics", BackupParams { column_statistics: Some(true), ..default.clone() }),
        ("--column-statistics=1", BackupParams { column_statistics: Some(true), ..default.clone() }),
        ("--set-gtid-purged=OFF", default.clone()),
        ("--set-gtid-purged=commented", BackupParams { gtid_purged: GtidPurged::Commented, ..default.clone() }),
        ("--set-gtid-purged", BackupParams { gtid_purged: GtidPurged::Auto, ..default.clone() }),
        ("--set_gtid_purged=ON", BackupParams { gtid_purged: GtidPurged::On, ..default.clone() }),
        ("--master-data=2 --source-data=2 --skip-source-data", default.clone()),
        (
            "--master-data=2 --dump-slave=2 --gtid --include-master-host-port --apply-slave-statements",
            BackupParams {
                replication: ReplicationStyle {
                    own: Written::Commented,
                    source: Written::Commented,
                    gtid: true,
                    host_and_port: true,
                    stop_and_start: true,
                },
                ..default.clone()
            },
        ),
        (
            "--hex-blob",
            BackupParams { single: SingleStyle { hex_blob: true, ..default.single.clone() }, ..default.clone() },
        ),
        (
            "--skip-opt --add-drop-database",
            BackupParams {
                single: SingleStyle {
                    add_drop_database: true,
                    add_drop_table: false,
                    extended_insert: false,
                    hex_blob: false,
                },
                ..default.clone()
            },
        ),
        (
            "--single-transaction --quick --lock-tables=false --default-character-set=utf8mb4 --no-tablespaces",
            default.clone(),
        ),
        (
            "--max-allowed-packet=1G --compress --skip-comments --skip-dump-date --dump-history --verbose --opt",
            default.clone(),
        ),
    ] {
        assert_eq!(args(text), change, "{text}");
    }
}

#[test]
fn backups_that_make_no_sense() {
    for (parameters, expected) in [
        (
            [("databases", "a"), ("args", "--all-databases")],
            "--all-databases leaves nothing to choose, but \"a\" is named too",
        ),
        ([("databases", "a,mysql"), ("args", "")], "mysql cannot be backed up"),
        ([("databases", "a"), ("args", "--ignore-database=a")], "database a is both named and ignored"),
        ([("databases", ""), ("args", "--databases")], "--databases needs names"),
        ([("databases", ""), ("args", "--tables")], "--tables needs a database and its tables"),
        ([("databases", "a"), ("args", "--tables")], "--tables needs the names of tables after the database \"a\""),
        ([("databases", ""), ("args", "--ignore-table=t")], "--ignore-table takes `database.table`, not \"t\""),
        (
            [("databases", ""), ("args", "--no-data -t")],
            "--no-data and --no-create-info together leave nothing of a table",
        ),
        (
            [("databases", ""), ("args", "--set-gtid-purged=perhaps")],
            "--set-gtid-purged is one of OFF, ON, AUTO and COMMENTED",
        ),
        ([("databases", ""), ("args", "--master-data")], "that is for `format=single`"),
        ([("databases", ""), ("args", "--dump-replica=1")], "that is for `format=single`"),
        ([("databases", ""), ("args", "--source-data=3")], "--source-data is 0, 1 or 2"),
        ([("databases", ""), ("args", "--user=root")], "mysqldump's option --user cannot be used here"),
        ([("databases", ""), ("args", "--xml")], "mysqldump's option --xml cannot be used here"),
        ([("databases", ""), ("args", "--single-transaktion")], "did you mean --single-transaction?"),
        ([("format", "both"), ("args", "")], "parameter \"format\": \"both\" is not one of `parallel`, `single`"),
        ([("workers", "0"), ("args", "")], "parameter \"workers\": 0 is not between 1 and 64"),
        ([("lockTimeout", "soon"), ("args", "")], "parameter \"lockTimeout\": \"soon\" is not a duration"),
    ] {
        let error = backup(&parameters).expect_err("must be refused");
        assert!(error.contains(expected), "{parameters:?}: {error}");
    }
}

#[test]
fn tables_of_a_restore() {
    let params = restore(&[("tables", "a.t*, b.x"), ("databases", "a,c")]).unwrap();
    assert!(params.wants("a") && !params.wants("b") && !params.wants("c"));
    assert!(params.selects("a", "tt") && !params.selects("a", "x"));
    let all = restore(&[]).unwrap();
    assert!(all.wants("a") && all.selects("a", "x"));
    assert_ne!(all.origin("1", "a"), params.origin("1", "a"), "another selection is another restore");
    assert_ne!(all.origin("1", "a"), all.origin("2", "a"));
    assert_ne!(all.origin("1", "a"), all.origin("1", "b"));
    assert!(params.check_script(true).is_err() && all.check_script(false).is_ok());
}

#[test]
fn restores() {
    let default = restore(&[]).unwrap();
    let one = |names: &[&str]| Some(names.iter().map(ToString::to_string).collect::<Vec<_>>());
    for (parameters, expected) in [
        (vec![("databases", "")], default.clone()),
        (vec![("databases", "a, b")], RestoreParams { databases: one(&["a", "b"]), ..default.clone() }),
        (
            vec![("args", "--one-database=testdb")],
            RestoreParams { databases: one(&["testdb"]), default_database: Some("testdb".into()), ..default.clone() },
        ),
        (
            vec![("args", "--one-database testdb")],
            RestoreParams { databases: one(&["testdb"]), default_database: Some("testdb".into()), ..default.clone() },
        ),
        (
            vec![("args", "-o -D a a"), ("databases", "a")],
            RestoreParams { databases: one(&["a"]), default_database: Some("a".into()), ..default.clone() },
        ),
        (
            vec![("args", "a --skip-one-database")],
            RestoreParams { default_database: Some("a".into()), ..default.clone() },
        ),
        (
            vec![("logBin", "false"), ("existing", "drop")],
            RestoreParams { log_bin: false, existing: Existing::Drop, ..default.clone() },
        ),
        (
            vec![("tables", "a.t*, b.x"), ("renameDatabase", "a=c d=e"), ("skipDefiner", "true")],
            RestoreParams {
                tables: selection::tables("a.t* b.x").unwrap(),
                renames: Renames(vec![("a".into(), "c".into()), ("d".into(), "e".into())]),
                skip_definer: true,
                ..default.clone()
            },
        ),
        (vec![("args", "--skip-force --quick --max_allowed_packet=64M -A")], default.clone()),
    ] {
        assert_eq!(restore(&parameters), Ok(expected), "{parameters:?}");
    }
    for (parameters, expected) in [
        (vec![("args", "--force")], "mysql's option --force cannot be used here"),
        (vec![("args", "a b")], "mysql takes one default database"),
        (vec![("args", "--one-database")], "--one-database needs the name of a database"),
        (vec![("args", "--one-database=a"), ("databases", "a,b")], "contradict each other"),
        (vec![("args", "--all-databases")], "it is an option of the backup"),
        (vec![("databases", "sys")], "sys cannot be restored"),
        (vec![("tables", "orders")], "parameter \"tables\": \"orders\" is not `database.table`"),
        (vec![("tables", "a.")], "is not `database.table`"),
        (vec![("renameDatabase", "a")], "parameter \"renameDatabase\": \"a\" is not `old=new`"),
        (vec![("renameDatabase", "a=")], "is not `old=new`"),
        (vec![("renameDatabase", "a=b,a=c")], "\"a\" is renamed twice"),
        (vec![("renameDatabase", "a=b"), ("users", "true")], "cannot be had together"),
        (vec![("renameDatabase", "a=mysql")], "mysql cannot be restored"),
        (vec![("existing", "merge")], "is not one of `error`, `drop`, `skip`"),
    ] {
        let error = restore(&parameters).expect_err("must be refused");
        assert!(error.contains(expected), "{parameters:?}: {error}");
    }
}
