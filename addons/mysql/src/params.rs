//! The parameters of the tasks: what users can set, and what it means.

mod args;
mod client;
mod mysql;
mod mysqldump;
mod restore;
mod selection;

use std::collections::BTreeSet;
use std::time::Duration;

use coffer_addon_sdk::{Context, Error, Parameter, Result, ValueType};

pub(crate) use self::restore::{Existing, ExistingUsers, RestoreParams, restore_parameters};
use crate::accounts::Account;

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
    /// How long it waits for a lock.
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
    /// Whether histograms are part of it; if nothing is said, those are that can come back as they are (MySQL since 8.0.31).
    pub(crate) column_statistics: Option<bool>,
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
            column_statistics: None,
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
            "How long a backup that needs a lock to begin waits for it, a second at a time; after that it fails.",
        )
        .default("5s"),
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
mod tests;
