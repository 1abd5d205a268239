//! The parameters of the tasks: what users can set, and what it means.

mod args;
mod client;
mod mysql;
mod mysqldump;
mod selection;

use std::collections::BTreeSet;
use std::time::Duration;

use coffer_addon_sdk::{Context, Error, Parameter, Result, ValueType};

pub(crate) use self::selection::TablePattern;
use crate::accounts::Account;
use crate::rewrite::Renames;

/// The Addon's default for the backup's `args`, as KubeStash has it.
const DEFAULT_ARGS: &str = "--set-gtid-purged=OFF";
/// More sessions than this only load the server.
const MAX_WORKERS: u32 = 64;

/// The server's own schemas: never backed up, never restored.
pub(crate) const SYSTEM_DATABASES: [&str; 6] =
    ["information_schema", "performance_schema", "mysql", "sys", "ndbinfo", "mysql_innodb_cluster_metadata"];

/// Whether the database is the server's own.
pub(crate) fn is_system_database(name: &str) -> bool {
    SYSTEM_DATABASES.iter().any(|system| system.eq_ignore_ascii_case(name))
}

/// How a backup is laid out in the snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// Many streams; see [`crate::layout`].
    Parallel,
    /// One `dumpfile.sql`.
    Single,
}

impl Format {
    const WORDS: [(&'static str, Self); 2] = [("parallel", Self::Parallel), ("single", Self::Single)];

    /// The word for it in parameters and facts.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Parallel => "parallel",
            Self::Single => "single",
        }
    }
}

/// Which databases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Databases {
    /// All but the server's own.
    All,
    /// These, in this order; each must exist.
    Named(Vec<String>),
}

/// What is backed up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Selection {
    /// Which databases.
    pub(crate) databases: Databases,
    /// Only these tables of the one named database; all of them if empty. Each must exist. Views count as tables, as they do for mysqldump.
    pub(crate) tables: Vec<String>,
    /// These databases are left out.
    pub(crate) ignore_databases: BTreeSet<String>,
    /// These tables and views are left out: (database, table).
    pub(crate) ignore_tables: BTreeSet<(String, String)>,
    /// The rows of these tables are left out.
    pub(crate) ignore_rows: BTreeSet<(String, String)>,
}

impl Selection {
    /// Whether this database is part of the backup.
    pub(crate) fn database(&self, database: &str) -> bool {
        let named = match &self.databases {
            Databases::All => !is_system_database(database),
            Databases::Named(names) => names.iter().any(|name| name == database),
        };
        named && !self.ignore_databases.contains(database)
    }

    /// Whether this table or view of a selected database is part of the backup.
    pub(crate) fn table(&self, database: &str, table: &str) -> bool {
        (self.tables.is_empty() || self.tables.iter().any(|name| name == table))
            && !contains(&self.ignore_tables, database, table)
    }

    /// Whether the rows of this table are part of the backup, if the table is.
    pub(crate) fn rows(&self, database: &str, table: &str) -> bool {
        !contains(&self.ignore_rows, database, table)
    }

    /// Whether whole databases are backed up. Of single tables, mysqldump writes no routines and events.
    pub(crate) fn whole_databases(&self) -> bool {
        self.tables.is_empty()
    }
}

fn contains(set: &BTreeSet<(String, String)>, database: &str, table: &str) -> bool {
    set.iter().any(|(d, t)| d == database && t == table)
}

/// What `--set-gtid-purged` says about the statement that gives the GTID set to the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GtidPurged {
    /// Not written.
    Off,
    /// Written as a comment.
    Commented,
    /// Written.
    On,
    /// Written if the server has GTIDs.
    Auto,
}

/// Whether a statement is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    /// It is not.
    No,
    /// As a comment.
    Commented,
    /// To be executed.
    Active,
}

/// What `dumpfile.sql` says of replication. Means nothing for `format=parallel`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReplicationStyle {
    /// How a replica of this server goes on from the backup.
    pub(crate) own: Written,
    /// How a replica of this server's own source does.
    pub(crate) source: Written,
    /// MariaDB: by GTID rather than by file and position.
    pub(crate) gtid: bool,
    /// Whether the source's host and port are named.
    pub(crate) host_and_port: bool,
    /// Whether replication is stopped before and started behind.
    pub(crate) stop_and_start: bool,
}

/// How `dumpfile.sql` is written. Means nothing for `format=parallel`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of mysqldump's of its own")]
pub(crate) struct SingleStyle {
    /// `DROP DATABASE IF EXISTS` before `CREATE DATABASE`.
    pub(crate) add_drop_database: bool,
    /// `DROP TABLE IF EXISTS` before `CREATE TABLE`.
    pub(crate) add_drop_table: bool,
    /// Many rows in one `INSERT`.
    pub(crate) extended_insert: bool,
    /// Binary columns as `0x…`.
    pub(crate) hex_blob: bool,
}

/// Which accounts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct AccountChoice {
    /// Only these, if there are any; each must exist.
    pub(crate) included: BTreeSet<Account>,
    /// These are left out.
    pub(crate) excluded: BTreeSet<Account>,
}

impl AccountChoice {
    /// Whether this account is part of the backup.
    pub(crate) fn wants(&self, account: &Account) -> bool {
        (self.included.is_empty() || self.included.contains(account)) && !self.excluded.contains(account)
    }
}

/// The parameters of `logical-backup`.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of mysqldump's of its own")]
pub(crate) struct BackupParams {
    /// The layout of the snapshot.
    pub(crate) format: Format,
    /// How long others may have to wait because the backup waits for a lock.
    pub(crate) lock_timeout: Duration,
    /// Which databases and tables.
    pub(crate) selection: Selection,
    /// Whether rows are part of it.
    pub(crate) rows: bool,
    /// An SQL condition that rows must meet.
    pub(crate) condition: Option<String>,
    /// Whether `CREATE TABLE` and `CREATE VIEW` are part of it.
    pub(crate) create_tables: bool,
    /// Whether `CREATE DATABASE` is part of it.
    pub(crate) create_databases: bool,
    /// Whether stored procedures and functions are part of it. Unlike mysqldump's, our backups have them unless told otherwise.
    pub(crate) routines: bool,
    /// Whether events are part of it; see `routines`.
    pub(crate) events: bool,
    /// Whether triggers are part of it.
    pub(crate) triggers: bool,
    /// The accounts that are part of it, if any are.
    pub(crate) users: Option<AccountChoice>,
    /// Whether histograms are part of it.
    pub(crate) column_statistics: bool,
    /// Whether the GTID set is written into `dumpfile.sql`. It is a fact of the backup in any case.
    pub(crate) gtid_purged: GtidPurged,
    /// How `dumpfile.sql` is written.
    pub(crate) single: SingleStyle,
    /// What it says of replication.
    pub(crate) replication: ReplicationStyle,
}

impl BackupParams {
    /// Reads and checks the parameters of the run.
    pub(crate) fn read(context: &Context) -> Result<Self> {
        check_workers(context)?;
        let mut params = Self {
            format: context.opt_choice("format", &Format::WORDS)?.unwrap_or(Format::Parallel),
            lock_timeout: context.opt_duration("lockTimeout")?.unwrap_or(Duration::from_secs(5)),
            selection: Selection {
                databases: Databases::All,
                tables: Vec::new(),
                ignore_databases: BTreeSet::new(),
                ignore_tables: BTreeSet::new(),
                ignore_rows: BTreeSet::new(),
            },
            rows: true,
            condition: None,
            create_tables: true,
            create_databases: true,
            routines: true,
            events: true,
            triggers: true,
            users: None,
            column_statistics: false,
            gtid_purged: GtidPurged::Off,
            single: SingleStyle {
                add_drop_database: false,
                add_drop_table: true,
                extended_insert: true,
                hex_blob: false,
            },
            replication: ReplicationStyle {
                own: Written::No,
                source: Written::No,
                gtid: false,
                host_and_port: false,
                stop_and_start: false,
            },
        };
        let databases = context.opt("databases").map(list).unwrap_or_default();
        let users = context.opt_boolean("users")?.unwrap_or(false);
        mysqldump::apply(context.opt("args").unwrap_or_default(), databases, users, &mut params)?;
        params.check()?;
        Ok(params)
    }

    /// Whether the backup is of no use if the position in the binary log is not known.
    pub(crate) fn needs_position(&self) -> bool {
        self.replication.own != Written::No || self.gtid_purged == GtidPurged::On
    }

    fn check(&self) -> Result<()> {
        let style = &self.replication;
        if self.format == Format::Parallel && (style.own == Written::Active || style.source == Written::Active) {
            return Err(Error::invalid(
                "--source-data and --dump-replica with the value 1 let the restored dump change replication; that is for \
                 `format=single`. For `format=parallel` leave them out, or give them the value 2: position and GTID set are in the \
                 snapshot's manifest",
            ));
        }
        if let Databases::Named(names) = &self.selection.databases {
            for name in names {
                if is_system_database(name) {
                    return Err(Error::invalid(format!(
                        "{name} cannot be backed up: it belongs to the server itself, and its tables are not data; leave it out of \
                         `databases`"
                    )));
                }
                if self.selection.ignore_databases.contains(name) {
                    return Err(Error::invalid(format!("database {name} is both named and ignored; decide for one")));
                }
            }
        }
        if !self.rows && !self.create_tables {
            return Err(Error::invalid(
                "--no-data and --no-create-info together leave nothing of a table; leave one of them out of `args`",
            ));
        }
        Ok(())
    }
}

/// What a restore does with databases that exist and are not empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Existing {
    /// Refuses before anything is changed.
    Error,
    /// Drops them first.
    Drop,
    /// Leaves them as they are and restores the others.
    Skip,
}

impl Existing {
    const WORDS: [(&'static str, Self); 3] = [("error", Self::Error), ("drop", Self::Drop), ("skip", Self::Skip)];
}

/// What a restore does with accounts that exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExistingUsers {
    /// Leaves them as they are.
    Skip,
    /// Refuses before anything is changed.
    Error,
    /// Drops them first, but never the one that the restore logs in with.
    Drop,
}

impl ExistingUsers {
    const WORDS: [(&'static str, Self); 3] = [("skip", Self::Skip), ("error", Self::Error), ("drop", Self::Drop)];
}

/// The parameters of `logical-backup-restore`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RestoreParams {
    /// Only these databases; all of the snapshot if `None`.
    pub(crate) databases: Option<Vec<String>>,
    /// The database that statements go to before any `USE`.
    pub(crate) default_database: Option<String>,
    /// Whether the target's binary log gets what is restored.
    pub(crate) log_bin: bool,
    /// What happens to databases that are there already.
    pub(crate) existing: Existing,
    /// Whether accounts are restored; `None` leaves it to the other parameters.
    pub(crate) users: Option<bool>,
    /// What happens to accounts that are there already.
    pub(crate) existing_users: ExistingUsers,
    /// The character set of a dump that does not set its own.
    pub(crate) character_set: String,
    /// Only these tables and views; all of them if empty.
    pub(crate) tables: Vec<TablePattern>,
    /// Databases that get another name.
    pub(crate) renames: Renames,
    /// Whether views and programs belong to the user of the restore instead of to their definers.
    pub(crate) skip_definer: bool,
}

impl RestoreParams {
    /// Reads and checks the parameters of the run.
    pub(crate) fn read(context: &Context) -> Result<Self> {
        check_workers(context)?;
        let mut params = Self {
            databases: context.opt("databases").map(list).filter(|names| !names.is_empty()),
            default_database: None,
            log_bin: context.opt_boolean("logBin")?.unwrap_or(true),
            existing: context.opt_choice("existing", &Existing::WORDS)?.unwrap_or(Existing::Error),
            users: context.opt_boolean("users")?,
            existing_users: context.opt_choice("existingUsers", &ExistingUsers::WORDS)?.unwrap_or(ExistingUsers::Skip),
            character_set: "utf8mb4".to_owned(),
            tables: context.opt("tables").map(selection::tables).transpose()?.unwrap_or_default(),
            renames: context.opt("renameDatabase").map(selection::renames).transpose()?.unwrap_or_default(),
            skip_definer: context.opt_boolean("skipDefiner")?.unwrap_or(false),
        };
        mysql::apply(context.opt("args").unwrap_or_default(), &mut params)?;
        if params.users == Some(true) && !params.renames.0.is_empty() {
            return Err(Error::invalid(
                "`users: true` and `renameDatabase` cannot be had together: the privileges of accounts are on databases by their old names; \
                 restore the accounts in a run of their own",
            ));
        }
        let targets = params.renames.0.iter().map(|(_, new)| new);
        for name in params.databases.iter().flatten().chain(&params.default_database).chain(targets) {
            if is_system_database(name) {
                return Err(Error::invalid(format!(
                    "{name} cannot be restored: it belongs to the server itself; leave it out of `databases`"
                )));
            }
        }
        Ok(params)
    }

    /// Whether this database is to be restored.
    pub(crate) fn wants(&self, database: &str) -> bool {
        self.databases.as_ref().is_none_or(|names| names.iter().any(|name| name == database))
            && (self.tables.is_empty() || self.tables.iter().any(|pattern| pattern.matches_database(database)))
    }

    /// Whether this table or view of a database that is restored is restored too.
    pub(crate) fn selects(&self, database: &str, table: &str) -> bool {
        self.tables.is_empty() || self.tables.iter().any(|pattern| pattern.matches(database, table))
    }

    /// Whether accounts belong to what is restored if `users` does not say so: they do unless something is chosen or changed.
    pub(crate) fn accounts_by_default(&self) -> bool {
        self.databases.is_none() && self.tables.is_empty() && self.renames.0.is_empty()
    }

    /// What is restored into a database, so that a retry of the same can be told from anything else.
    pub(crate) fn origin(&self, snapshot: &str, database: &str) -> String {
        let tables: Vec<String> = self.tables.iter().map(ToString::to_string).collect();
        let tables = if tables.is_empty() { String::new() } else { format!(", tables {}", tables.join(",")) };
        format!("snapshot {snapshot}, database {database:?}{tables}, by version {}", env!("CARGO_PKG_VERSION"))
    }

    /// What cannot be had of a snapshot that is one text of SQL.
    pub(crate) fn check_script(&self, ours: bool) -> Result<()> {
        if !self.tables.is_empty() {
            return Err(Error::invalid(
                "`tables` chooses among the streams of a snapshot of `format=parallel`; this one is one text of SQL. Restore a whole \
                 database, under another name with `renameDatabase`, and take the table from there",
            ));
        }
        if !ours && self.existing != Existing::Error {
            return Err(Error::invalid(
                "`existing` is for snapshots of this addon; the dump in this one was written by something else, and its own DROP and \
                 CREATE statements decide; leave `existing` out",
            ));
        }
        Ok(())
    }
}

/// Names between commas or white space.
fn list(text: &str) -> Vec<String> {
    text.split(|character: char| character == ',' || character.is_whitespace())
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The host reads `workers` before it opens the sessions; here it is only checked.
fn check_workers(context: &Context) -> Result<()> {
    match context.opt_integer("workers")? {
        Some(count) if !(1..=i64::from(MAX_WORKERS)).contains(&count) => {
            Err(Error::invalid(format!("parameter \"workers\": {count} is not between 1 and {MAX_WORKERS}")))
        }
        _ => Ok(()),
    }
}

/// What users can set for `logical-backup`.
pub(crate) fn backup_parameters() -> Vec<Parameter> {
    let mut parameters = vec![
        Parameter::new("args", ValueType::Text, "mysqldump's options, with their meaning; the README lists them.").default(DEFAULT_ARGS),
        Parameter::new(
            "databases",
            ValueType::Text,
            "The databases to back up, separated by commas; without it all but the server's own.",
        ),
        Parameter::new(
            "format",
            ValueType::choice(&["parallel", "single"]),
            "`parallel`: a stream per table, which deduplicates and restores best; `single`: one `dumpfile.sql` as mysqldump writes it.",
        )
        .default(Format::Parallel.as_str()),
        Parameter::new(
            "users",
            ValueType::Boolean,
            "Whether users and roles are part of the backup, with their passwords (as the server keeps them) and all that they may do.",
        )
        .default("false"),
        workers(),
        Parameter::new(
            "lockTimeout",
            ValueType::Duration,
            "How long writes may have to wait for the backup where it needs a lock to begin; after that it fails.",
        )
        .default("5s"),
    ];
    parameters.extend(unused());
    parameters
}

/// What users can set for `logical-backup-restore`.
pub(crate) fn restore_parameters() -> Vec<Parameter> {
    let mut parameters = vec![
        Parameter::new("args", ValueType::Text, "The mysql client's options, with their meaning; the README lists them."),
        Parameter::new(
            "databases",
            ValueType::Text,
            "The databases to restore, separated by commas; without it all that the snapshot has.",
        ),
        workers(),
        Parameter::new(
            "existing",
            ValueType::choice(&["error", "drop", "skip"]),
            "What to do when a database of the snapshot is there already and not empty: `error` changes nothing, `drop` drops it \
             first, `skip` leaves it as it is.",
        )
        .default("error"),
        Parameter::new(
            "users",
            ValueType::Boolean,
            "Whether the accounts of the snapshot are restored; without it they are, unless `databases` chooses some of it.",
        ),
        Parameter::new(
            "existingUsers",
            ValueType::choice(&["skip", "error", "drop"]),
            "What to do when an account of the snapshot is there already: `skip` leaves it as it is, `error` changes nothing, `drop` \
             replaces it. The account that the restore logs in with is always left as it is.",
        )
        .default("skip"),
        Parameter::new(
            "logBin",
            ValueType::Boolean,
            "Whether the restore goes into the target's binary log; replicas need it, without it the restore is faster.",
        )
        .default("true"),
        Parameter::new(
            "tables",
            ValueType::Text,
            "Only these tables and views, written `database.table` and separated by commas; `*` and `?` stand for any text and any \
             character. Then `existing` is about each table.",
        ),
        Parameter::new(
            "renameDatabase",
            ValueType::Text,
            "Databases that get another name, `old=new`, separated by commas.",
        ),
        Parameter::new(
            "skipDefiner",
            ValueType::Boolean,
            "Whether views, routines, triggers and events belong to the user of the restore instead of to their definers.",
        )
        .default("false"),
    ];
    parameters.extend(unused());
    parameters
}

fn workers() -> Parameter {
    Parameter::new("workers", ValueType::Integer, "How many connections work side by side, from 1 to 64.").default("4")
}

/// What KubeStash's Addon declares and Coffer has no use for.
fn unused() -> [Parameter; 2] {
    [
        Parameter::new("enableCache", ValueType::Text, "Accepted for KubeStash's sake; there is no cache.")
            .default("true"),
        Parameter::new("scratchDir", ValueType::Text, "Accepted for KubeStash's sake; nothing is written to disk.")
            .default("/kubestash-tmp"),
    ]
}

#[cfg(test)]
mod tests {
    use coffer_addon_sdk::native::NativeRun;

    use super::*;

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
            args("--ignore-table=a.t --ignore-table=`a`.`u.u`,b.t --ignore-table-data=a.r --ignore-database=c")
                .selection;
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
            ("--column-statistics=0", default.clone()),
            ("--column-statistics", BackupParams { column_statistics: true, ..default.clone() }),
            ("--column-statistics=1", BackupParams { column_statistics: true, ..default.clone() }),
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
            ("--max-allowed-packet=1G --compress --skip-comments --skip-dump-date --verbose --opt", default.clone()),
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
                RestoreParams {
                    databases: one(&["testdb"]),
                    default_database: Some("testdb".into()),
                    ..default.clone()
                },
            ),
            (
                vec![("args", "--one-database testdb")],
                RestoreParams {
                    databases: one(&["testdb"]),
                    default_database: Some("testdb".into()),
                    ..default.clone()
                },
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
}
