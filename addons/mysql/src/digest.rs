//! Whether tables are what they were when a backup began, where nothing keeps others from changing them.
//!
//! Servers notice only some changes: a column that was added in an instant, or a table that changed its name with another one, is read as
//! if it had always been so. Every table therefore gets a digest when the backup is planned, which must be the same when its definition
//! and its rows have been read.

use coffer_addon_sdk::{Error, Result};

use crate::catalog::Table;
use crate::ddl;
use crate::layout::quote;
use crate::session::{Session, literal};

const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0100_0000_01b3;

/// FNV-1a, in hexadecimal digits.
fn hash(bytes: impl Iterator<Item = u8>) -> String {
    format!("{:016x}", bytes.fold(OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME)))
}

/// What is expected of tables, and a session that sees what is now: in the view, MySQL shows even its catalogue as it was.
#[derive(Debug)]
pub(crate) struct Watch<'a> {
    pub(crate) now: &'a mut Session,
    /// What [`of_all`] was when the backup was planned.
    pub(crate) expected: &'a str,
}

/// What a table is at this moment; empty if it is gone. Its counter is no part of it.
pub(crate) fn of(now: &mut Session, database: &str, table: &Table) -> Result<String> {
    match made(now, database, table)? {
        Some(made) => Ok(of_parts(&ddl::table(now, database, table)?, made)),
        None => Ok(String::new()),
    }
}

/// The same, where its definition is known.
pub(crate) fn of_text(now: &mut Session, database: &str, table: &Table, text: &[u8]) -> Result<String> {
    Ok(made(now, database, table)?.map(|made| of_parts(text, made)).unwrap_or_default())
}

/// When the table was made. Tables that change their names with each other may look the same, but were hardly made in the same second.
fn made(now: &mut Session, database: &str, table: &Table) -> Result<Option<String>> {
    Ok(now.value(format!(
        "SELECT IFNULL(CREATE_TIME, '') FROM information_schema.TABLES WHERE TABLE_SCHEMA = {} AND TABLE_NAME = {}",
        literal(database),
        literal(&table.name)
    ))?)
}

fn of_parts(text: &[u8], made: String) -> String {
    hash(without_counter(text).chain(made.into_bytes()))
}

/// All tables in one, by database and name.
pub(crate) fn of_all<'a>(tables: impl Iterator<Item = (&'a str, &'a str, &'a str)>) -> String {
    hash(tables.flat_map(|(database, table, digest)| [database, "\0", table, "\0", digest, "\0"]).flat_map(str::bytes))
}

/// That all tables are what they were, and no others.
pub(crate) fn check_all(mut tables: Vec<(&str, &str, String)>, expected: &str) -> Result<()> {
    tables.sort_unstable();
    if of_all(tables.iter().map(|(database, table, digest)| (*database, *table, digest.as_str()))) == expected {
        return Ok(());
    }
    Err(again("tables were made, changed or dropped while the backup ran"))
}

/// That a table is not what it was.
pub(crate) fn changed(database: &str, table: &str) -> Error {
    again(&format!("the table {}.{} was changed while the backup ran", quote(database), quote(table)))
}

fn again(what: &str) -> Error {
    Error::unavailable(format!(
        "{what}: what the backup has of definitions and rows may not belong together. Start it again; with one more privilege \
         (BACKUP_ADMIN, on MariaDB RELOAD) it keeps such changes away while it runs"
    ))
    .retryable(true)
}

/// The definition without ` AUTO_INCREMENT=5`, which every row that is added changes.
fn without_counter(text: &[u8]) -> impl Iterator<Item = u8> {
    const OPTION: &[u8] = b" AUTO_INCREMENT=";
    let at = memchr::memmem::rfind(text, OPTION).unwrap_or(text.len());
    let (before, rest) = text.split_at_checked(at).unwrap_or((text, &[]));
    let digits = rest.iter().skip(OPTION.len()).take_while(|byte| byte.is_ascii_digit()).count();
    before.iter().chain(rest.iter().skip(OPTION.len().saturating_add(digits))).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_no_part_of_a_definition() {
        for (text, expected) in [
            (
                "CREATE TABLE `t` (x) ENGINE=InnoDB AUTO_INCREMENT=57 DEFAULT CHARSET=x;\n",
                "CREATE TABLE `t` (x) ENGINE=InnoDB DEFAULT CHARSET=x;\n",
            ),
            ("CREATE TABLE `t` (x) AUTO_INCREMENT=5", "CREATE TABLE `t` (x)"),
            ("CREATE TABLE `t` (x)", "CREATE TABLE `t` (x)"),
        ] {
            assert_eq!(String::from_utf8(without_counter(text.as_bytes()).collect()).unwrap(), expected);
        }
    }

    #[test]
    fn one_table_more_or_less_is_seen() {
        let all = of_all([("d", "a", "1"), ("d", "b", "2")].into_iter());
        let table = |name, digest: &str| ("d", name, digest.to_owned());
        assert_eq!(check_all(vec![table("b", "2"), table("a", "1")], &all), Ok(()));
        for tables in [
            vec![table("a", "1")],
            vec![table("a", "2"), table("b", "1")],
            vec![table("a", "1"), table("b", "2"), table("c", "3")],
        ] {
            assert!(check_all(tables, &all).unwrap_err().retryable);
        }
    }
}
