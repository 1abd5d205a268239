//! How far a restore has come, kept in a table of the database that it fills, so that a retry goes on where the last run ended.
//!
//! The table is made before anything else and says which snapshot fills the database. Rows are counted in the transaction that
//! inserts them, so the count is right whenever anything dies. What else is there of tables, indexes and programs, the server's own
//! catalogue knows. The last statement of a restore drops the tables of all its databases at once.

use std::collections::{BTreeMap, BTreeSet};

use coffer_addon_sdk::{Error, Result};

use crate::failure::Outcome;
use crate::layout::quote;
use crate::session::literal;
use crate::wire::Wire;

/// The name of the table. A database that has it is not backed up.
pub(crate) const TABLE: &str = "coffer_restore_progress";

/// How long a restore waits for another one in the same database, or for what a killed one has left running on the server.
const PATIENCE_SECONDS: u32 = 10;

/// What a database says of the restore that fills it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// What is restored into it, as [`begin`] was told.
    pub(crate) origin: String,
    /// Tables that were not there before this restore, where that is not true of all.
    pub(crate) tables: BTreeSet<String>,
    /// Rows that are there of each stream: (table, chunk or nothing).
    pub(crate) rows: BTreeMap<(String, String), u64>,
}

/// The chunk that stands for the table itself; chunks of rows are letters and digits.
const OF_TABLE: &str = "*";

/// The table of a database, as SQL names it.
pub(crate) fn place(database: &str) -> String {
    format!("{}.{}", quote(database), quote(TABLE))
}

/// What the database says; `None` if no restore is under way there.
pub(crate) fn find(wire: &mut Wire, database: &str) -> Result<Option<Progress>> {
    let place = place(database);
    let rows = match wire.query_text(format!("SELECT of_table, of_chunk, done, origin FROM {place}")) {
        // No such table, no such database.
        Err(failure) if matches!(failure.code(), Some(1146 | 1049)) => return Ok(None),
        rows => rows?,
    };
    let mut progress = Progress::default();
    for row in rows {
        let [table, chunk, done, origin] = row.as_slice() else { continue };
        let done = done.parse().unwrap_or_default();
        match (table.as_str(), chunk.as_str()) {
            ("", _) => origin.clone_into(&mut progress.origin),
            (_, OF_TABLE) => {
                progress.tables.insert(table.clone());
            }
            _ => {
                progress.rows.insert((table.clone(), chunk.clone()), done);
            }
        }
    }
    Ok(Some(progress))
}

/// Says that the database is being filled from `origin`. May be said again.
pub(crate) fn begin(wire: &mut Wire, database: &str, origin: &str) -> Result<()> {
    let place = place(database);
    wire.execute(format!(
        "CREATE TABLE IF NOT EXISTS {place} (of_table VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL, of_chunk \
         VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, done BIGINT UNSIGNED NOT NULL, origin TEXT CHARACTER SET utf8mb4 \
         NOT NULL, PRIMARY KEY (of_table, of_chunk)) ENGINE=InnoDB COMMENT='A restore is under way; what it restores is not whole'"
    ))?;
    // Not over what is said already: another session of this restore may have begun to count.
    wire.execute(format!("INSERT IGNORE INTO {place} VALUES ('', '', 0, {})", literal(origin)))?;
    Ok(())
}

/// Says that the table is about to be made, and that nothing of it is there.
pub(crate) fn own(wire: &mut Wire, database: &str, table: &str) -> Result<()> {
    let (place, name) = (place(database), literal(table));
    wire.execute(format!("DELETE FROM {place} WHERE of_table = {name}"))?;
    wire.execute(format!("INSERT INTO {place} VALUES ({name}, '{OF_TABLE}', 0, '')"))?;
    Ok(())
}

/// How many rows of a stream are there. Waits for transactions that may still count; holds them off until the transaction ends.
pub(crate) fn count(wire: &mut Wire, database: &str, table: &str, chunk: &str) -> Outcome<u64> {
    let (place, table, chunk) = (place(database), literal(table), literal(chunk));
    wire.execute(format!("INSERT INTO {place} VALUES ({table}, {chunk}, 0, '') ON DUPLICATE KEY UPDATE done = done"))?;
    let done = wire
        .query_value(format!("SELECT done FROM {place} WHERE of_table = {table} AND of_chunk = {chunk} FOR UPDATE"))?;
    Ok(done.and_then(|done| done.parse().ok()).unwrap_or_default())
}

/// Counts, within the transaction that inserts the rows.
pub(crate) fn record(wire: &mut Wire, database: &str, table: &str, chunk: &str, done: u64) -> Outcome<()> {
    let (place, table, chunk) = (place(database), literal(table), literal(chunk));
    wire.execute(format!(
        "INSERT INTO {place} VALUES ({table}, {chunk}, {done}, '') ON DUPLICATE KEY UPDATE done = {done}"
    ))
    .map(drop)
}

/// Ends it in all these databases, in one statement.
pub(crate) fn end(wire: &mut Wire, databases: &[String]) -> Outcome<()> {
    if databases.is_empty() {
        return Ok(());
    }
    let places: Vec<String> = databases.iter().map(|database| place(database)).collect();
    wire.execute(format!("DROP TABLE IF EXISTS {}", places.join(", "))).map(drop)
}

/// Keeps other restores out of the database as long as the session lasts.
pub(crate) fn keep_others_out(wire: &mut Wire, database: &str) -> Result<()> {
    let name = literal(&lock_name(database));
    match wire.query_value(format!("SELECT GET_LOCK({name}, {PATIENCE_SECONDS})")) {
        Ok(Some(got)) if got == "1" => Ok(()),
        Ok(_) => Err(Error::unavailable(format!(
            "another restore into database {} is under way; wait for its end",
            quote(database)
        ))
        .retryable(true)),
        // Some clusters have no such locks. Then it is up to the user.
        Err(failure) if failure.code().is_some() => Ok(()),
        Err(failure) => Err(failure.into()),
    }
}

/// Names of locks are shorter than names of databases may be.
fn lock_name(database: &str) -> String {
    let hash = database
        .to_lowercase()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    format!("coffer-restore-{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_locks_fit() {
        assert_eq!(lock_name(&"漢".repeat(64)).len(), 31);
        assert_ne!(lock_name("a"), lock_name("b"));
        assert_eq!(lock_name("Shop"), lock_name("shop"), "on some servers they are the same");
    }
}
