//! What the target has already, and what therefore becomes of each database. Changes nothing.

use std::collections::{BTreeMap, BTreeSet};

use coffer_addon_sdk::{Context, Entry, Error, Fact, Result, info};

use crate::layout::{Stream, fact, quote};
use crate::params::{Existing, RestoreParams};
use crate::plan::Intent;
use crate::progress::{self, Progress};
use crate::session::literal;
use crate::wire::Wire;

/// What the target has of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// It is not there.
    Missing,
    /// It is there, with nothing in it.
    Empty,
    /// It has tables, routines or events.
    Full,
}

/// Asks for the state of a database.
pub(crate) fn state(wire: &mut Wire, database: &str) -> Result<State> {
    let name = literal(database);
    let found = wire.query_value(format!(
        "SELECT (SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = s.SCHEMA_NAME) + (SELECT COUNT(*) FROM \
         information_schema.ROUTINES WHERE ROUTINE_SCHEMA = s.SCHEMA_NAME) + (SELECT COUNT(*) FROM information_schema.EVENTS WHERE \
         EVENT_SCHEMA = s.SCHEMA_NAME) FROM information_schema.SCHEMATA s WHERE s.SCHEMA_NAME = {name}"
    ))?;
    Ok(match found.as_deref() {
        None => State::Missing,
        Some("0") => State::Empty,
        Some(_) => State::Full,
    })
}

/// That a database is there and not empty.
pub(crate) fn exists(database: &str) -> Error {
    Error::invalid(format!(
        "database {} is there and not empty; nothing was changed. Drop it, or say what to do: `existing: drop` replaces it, \
         `existing: skip` leaves it as it is",
        quote(database)
    ))
}

/// Looks at one database.
#[derive(Debug)]
pub(crate) struct Survey<'a> {
    pub(crate) wire: &'a mut Wire,
    pub(crate) context: &'a Context,
    pub(crate) params: &'a RestoreParams,
    pub(crate) streams: &'a [(Stream, Entry)],
    /// Its name in the snapshot.
    pub(crate) database: &'a str,
    /// Its name in the target.
    pub(crate) target: &'a str,
}

impl Survey<'_> {
    /// What becomes of the database; `None`: it is left as it is.
    pub(crate) fn intent(&mut self, origin: Option<String>) -> Result<Option<Intent>> {
        let state = state(self.wire, self.target)?;
        let own = !self.params.tables.is_empty();
        let mut intent = Intent { own, is_there: own && state != State::Missing, origin, ..Intent::default() };
        if state == State::Missing && !self.creates() {
            return Err(Error::invalid(format!(
                "the snapshot does not create database {}, as it was made with --no-create-db; create it first",
                quote(self.target)
            )));
        }
        if state != State::Full {
            return Ok(Some(intent));
        }
        let replaces = self.params.existing == Existing::Drop && self.tables() > 0;
        if replaces && !own {
            if !self.creates() {
                return Err(Error::invalid(format!(
                    "database {} cannot be dropped first: the snapshot was made with --no-create-db and would not create it again",
                    quote(self.target)
                )));
            }
            intent.drop = true;
            return Ok(Some(intent));
        }
        if let Some(progress) = progress::find(self.wire, self.target)? {
            if intent.origin.as_ref() != Some(&progress.origin) {
                return Err(Error::invalid(format!(
                    "database {} is half restored: a restore that did not end is under way there, of {}. Run that one again, with the \
                     same parameters, and it goes on; or drop the database, or say `existing: drop`",
                    quote(self.target),
                    progress.origin
                )));
            }
            info!(self.context, "database {}: an earlier run of this restore goes on", quote(self.target));
            intent.progress = Some(progress);
        }
        if self.tables() == 0 {
            self.check_empty_tables(intent.progress.as_ref())?;
            return Ok(Some(intent));
        }
        if own {
            self.choose_tables(&mut intent)?;
        } else if intent.progress.is_none() {
            if self.params.existing == Existing::Error {
                return Err(exists(self.target));
            }
            info!(self.context, "database {} is there and not empty: left as it is", quote(self.target));
            return Ok(None);
        }
        if intent.progress.is_some() {
            self.remake_what_counts_for_nothing(&mut intent)?;
        }
        Ok(Some(intent))
    }

    /// How many tables of the snapshot are restored.
    pub(crate) fn tables(&self) -> usize {
        self.selected().filter(|(stream, _)| matches!(stream, Stream::Table { .. })).count()
    }

    /// Whether the database is read-only in the end.
    pub(crate) fn closes(&self) -> bool {
        self.streams.iter().any(|(stream, entry)| {
            matches!(stream, Stream::Schema { database } if database == self.database)
                && Fact::find(&entry.facts, fact::READ_ONLY).is_some()
        })
    }

    fn creates(&self) -> bool {
        self.streams
            .iter()
            .any(|(stream, _)| matches!(stream, Stream::Schema { database } if database == self.database))
    }

    /// The definitions and rows of the tables that are restored.
    fn selected(&self) -> impl Iterator<Item = &(Stream, Entry)> {
        self.streams.iter().filter(|(stream, _)| match stream {
            Stream::Table { database, table } | Stream::Rows { database, table, .. } => {
                database == self.database && self.params.selects(database, table)
            }
            _ => false,
        })
    }

    /// A backup without table definitions goes into tables that are there; rows must not mix with others.
    fn check_empty_tables(&mut self, progress: Option<&Progress>) -> Result<()> {
        let ours = |table: &str| {
            progress.is_some_and(|progress| progress.rows.iter().any(|((name, _), done)| name == table && *done > 0))
        };
        let tables: BTreeSet<String> = self
            .selected()
            .filter_map(|(stream, _)| match stream {
                Stream::Rows { table, .. } if !ours(table) => Some(table.clone()),
                _ => None,
            })
            .collect();
        for table in tables {
            let place = format!("{}.{}", quote(self.target), quote(&table));
            if self.wire.query_value(format!("SELECT 1 FROM {place} LIMIT 1"))?.is_some() {
                return Err(Error::invalid(format!(
                    "the table {place} has rows; the snapshot's rows are not mixed with others: empty it first, or leave its database out"
                )));
            }
        }
        Ok(())
    }

    /// Decides about single tables that are there already.
    fn choose_tables(&mut self, intent: &mut Intent) -> Result<()> {
        let there = self.engines()?;
        let ours = |table: &str| intent.progress.as_ref().is_some_and(|progress| progress.tables.contains(table));
        let wanted: Vec<String> = self
            .selected()
            .filter_map(|(stream, _)| match stream {
                Stream::Table { table, .. } if there.contains_key(table) => Some(table.clone()),
                _ => None,
            })
            .collect();
        let (mut remake, mut skip) = (BTreeSet::new(), BTreeSet::new());
        for table in wanted {
            let place = format!("{}.{}", quote(self.target), quote(&table));
            match self.params.existing {
                Existing::Drop => {
                    remake.insert(table);
                }
                _ if ours(&table) => {}
                Existing::Error => {
                    return Err(Error::invalid(format!(
                        "table {place} is there; nothing was changed. Drop it, or say what to do: `existing: drop` replaces it, \
                         `existing: skip` leaves it as it is"
                    )));
                }
                Existing::Skip => {
                    info!(self.context, "table {place} is there: left as it is");
                    skip.insert(table);
                }
            }
        }
        intent.remake = remake;
        intent.skip = skip;
        Ok(())
    }

    /// Tables without transactions hold whatever the run before had brought in when it ended: they are made anew.
    fn remake_what_counts_for_nothing(&mut self, intent: &mut Intent) -> Result<()> {
        let engines = self.engines()?;
        let begun: BTreeSet<String> = self
            .selected()
            .filter_map(|(stream, entry)| match stream {
                Stream::Rows { table, .. } if !intent.skip.contains(table) => {
                    let engine = engines.get(table)?;
                    let counts = engine == "innodb" || intent.is_whole(stream, entry);
                    (!counts).then(|| table.clone())
                }
                _ => None,
            })
            .collect();
        intent.remake.extend(begun);
        Ok(())
    }

    /// The storage engines of the tables that are there, in lower case; empty for views.
    fn engines(&mut self) -> Result<BTreeMap<String, String>> {
        let rows = self.wire.query_text(format!(
            "SELECT TABLE_NAME, ENGINE FROM information_schema.TABLES WHERE TABLE_SCHEMA = {}",
            literal(self.target)
        ))?;
        let pair = |row: Vec<String>| {
            let [name, engine] = <[String; 2]>::try_from(row).ok()?;
            Some((name, engine.to_ascii_lowercase()))
        };
        Ok(rows.into_iter().filter_map(pair).collect())
    }
}

/// That no two databases go into one, and none into the server's own.
pub(crate) fn check_targets(params: &RestoreParams, wanted: &[String]) -> Result<()> {
    let mut targets: BTreeMap<&str, &str> = BTreeMap::new();
    for database in wanted {
        let target = params.renames.target(database);
        if let Some(other) = targets.insert(target, database) {
            return Err(Error::invalid(format!(
                "the databases {} and {} would both be restored as {}; rename one of them to another name",
                quote(other),
                quote(database),
                quote(target)
            )));
        }
    }
    Ok(())
}

/// That the target can tell all names apart, and that what was asked for is there.
pub(crate) fn check_tables(wire: &mut Wire, params: &RestoreParams, streams: &[(Stream, Entry)]) -> Result<()> {
    let tables = || {
        streams.iter().filter_map(|(stream, _)| match stream {
            Stream::Table { database, table } | Stream::Rows { database, table, .. } => Some((database, table)),
            _ => None,
        })
    };
    let has_views = streams.iter().any(|(stream, _)| *stream == Stream::Views);
    for pattern in &params.tables {
        if !has_views && !tables().any(|(database, table)| pattern.matches(database, table)) {
            return Err(Error::invalid(format!("the snapshot has no table {pattern}; check `tables`")));
        }
    }
    if wire.query_value("SELECT @@lower_case_table_names")?.as_deref() == Some("0") {
        return Ok(());
    }
    let mut seen: BTreeMap<(String, String), (&String, &String)> = BTreeMap::new();
    for (database, table) in tables().filter(|(database, table)| params.selects(database, table)) {
        let folded = (params.renames.target(database).to_lowercase(), table.to_lowercase());
        if let Some(other) = seen.insert(folded, (database, table)).filter(|other| *other != (database, table)) {
            return Err(Error::unsupported(format!(
                "the target has lower_case_table_names set and cannot tell {}.{} from {}.{}; restore them one by one with `databases`, \
                 `tables` and `renameDatabase`",
                quote(other.0),
                quote(other.1),
                quote(database),
                quote(table)
            )));
        }
    }
    Ok(())
}

/// What must be there in the end.
#[derive(Debug, Default)]
pub(crate) struct Expected {
    /// Databases and how many tables they have at least.
    pub(crate) tables: Vec<(String, usize)>,
    /// Databases that say that they are being restored.
    pub(crate) begun: Vec<String>,
    /// Databases that are closed when all is in them.
    pub(crate) read_only: Vec<String>,
}

impl Expected {
    /// Whether it is.
    pub(crate) fn check(&self, wire: &mut Wire) -> Result<()> {
        for (database, expected) in &self.tables {
            let found = wire.query_value(format!(
                "SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = {} AND TABLE_TYPE <> 'VIEW' AND TABLE_NAME <> {}",
                literal(database),
                literal(progress::TABLE)
            ))?;
            let found: usize = found.and_then(|count| count.parse().ok()).unwrap_or(0);
            if found < *expected {
                return Err(Error::data(format!(
                    "database {} has {found} tables after the restore of {expected}: somebody else drops tables there",
                    quote(database)
                )));
            }
        }
        Ok(())
    }
}
