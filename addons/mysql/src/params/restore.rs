//! The parameters of `logical-backup-restore`.

use coffer_addon_sdk::{Context, Error, Parameter, Result, ValueType};

use super::selection::{self, TablePattern};
use super::{check_workers, is_system_database, list, mysql, unused, workers};
use crate::rewrite::Renames;

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
            "Whether the accounts of the snapshot are restored; without it they are, unless `databases`, `tables` or \
             `renameDatabase` is set.",
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
