//! What there is on the server, and how its rows are to be read.

use coffer_addon_sdk::{Error, Result};

use crate::layout::{Column, Transfer, quote};
use crate::params::{Databases, Selection};
use crate::progress;
use crate::session::{Session, literal};

/// What a table is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It has rows.
    Base,
    /// It shows other tables' rows.
    View,
    /// MariaDB's sequence.
    Sequence,
}

/// A table, view or sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Table {
    /// Its name.
    pub(crate) name: String,
    /// What it is.
    pub(crate) kind: Kind,
    /// Its storage engine, in lower case.
    pub(crate) engine: String,
    /// About how many bytes its rows take.
    pub(crate) bytes: u64,
}

impl Table {
    /// Whether its rows are its own.
    pub(crate) fn has_rows(&self) -> bool {
        self.kind == Kind::Base
            && !matches!(self.engine.as_str(), "mrg_myisam" | "federated" | "connect" | "blackhole" | "spider")
    }

    /// Whether transactions see a consistent view of it.
    pub(crate) fn is_transactional(&self) -> bool {
        matches!(self.engine.as_str(), "innodb" | "rocksdb" | "tokudb" | "ndbcluster" | "xpand")
    }
}

/// A database that is part of the backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Database {
    /// Its name.
    pub(crate) name: String,
    /// Its tables, views and sequences that are part of the backup, by name.
    pub(crate) tables: Vec<Table>,
    /// Whether it has stored procedures or functions.
    pub(crate) has_routines: bool,
    /// Whether it has triggers.
    pub(crate) has_triggers: bool,
    /// Whether it has events.
    pub(crate) has_events: bool,
}

impl Database {
    /// Its tables of this kind.
    pub(crate) fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &Table> {
        self.tables.iter().filter(move |table| table.kind == kind)
    }
}

/// What is selected of the server's databases, by name. What is named must exist.
pub(crate) fn databases(session: &mut Session, selection: &Selection) -> Result<Vec<Database>> {
    let mut names = column(session, "SELECT SCHEMA_NAME FROM information_schema.SCHEMATA")?;
    if let Databases::Named(named) = &selection.databases
        && let Some(missing) = named.iter().find(|name| !names.contains(name))
    {
        return Err(Error::invalid(format!(
            "there is no database {missing:?}, or the user of the backup may not see it; check `databases` and the user's privileges"
        )));
    }
    names.retain(|name| selection.database(name));
    // Not by the server's collation, which differs from server to server.
    names.sort_unstable();
    let with_routines = column(session, "SELECT DISTINCT ROUTINE_SCHEMA FROM information_schema.ROUTINES")?;
    let with_triggers = column(session, "SELECT DISTINCT TRIGGER_SCHEMA FROM information_schema.TRIGGERS")?;
    let with_events = column(session, "SELECT DISTINCT EVENT_SCHEMA FROM information_schema.EVENTS")?;
    let mut databases = Vec::with_capacity(names.len());
    for name in names {
        databases.push(Database {
            tables: tables(session, &name, selection)?,
            has_routines: with_routines.contains(&name),
            has_triggers: with_triggers.contains(&name),
            has_events: with_events.contains(&name),
            name,
        });
    }
    if let (Databases::Named(named), [database]) = (&selection.databases, databases.as_slice())
        && named.len() == 1
        && let Some(missing) =
            selection.tables.iter().find(|name| !database.tables.iter().any(|table| table.name == **name))
    {
        return Err(Error::invalid(format!(
            "there is no table {missing:?} in database {:?}; check `args`",
            database.name
        )));
    }
    Ok(databases)
}

fn column(session: &mut Session, sql: &str) -> Result<Vec<String>> {
    Ok(session.text(sql)?.into_iter().filter_map(|row| row.into_iter().next()).collect())
}

fn tables(session: &mut Session, database: &str, selection: &Selection) -> Result<Vec<Table>> {
    let sql = format!(
        "SELECT TABLE_NAME, TABLE_TYPE, ENGINE, DATA_LENGTH FROM information_schema.TABLES WHERE TABLE_SCHEMA = {}",
        literal(database)
    );
    let mut tables = Vec::new();
    for row in session.text(sql)? {
        let [name, kind, engine, bytes] = row.as_slice() else { continue };
        let kind = match kind.as_str() {
            "BASE TABLE" | "SYSTEM VERSIONED" => Kind::Base,
            "VIEW" => Kind::View,
            "SEQUENCE" => Kind::Sequence,
            // Of the server itself, or of one session.
            _ => continue,
        };
        // What a restore under way keeps for itself is gone when it has ended.
        if name != progress::TABLE && selection.table(database, name) {
            let bytes = bytes.parse().unwrap_or(0);
            tables.push(Table { name: name.clone(), kind, engine: engine.to_ascii_lowercase(), bytes });
        }
    }
    tables.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(tables)
}

/// A column whose values are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Field {
    /// Its name.
    pub(crate) name: String,
    /// Its type, in lower case, without length or sign.
    pub(crate) data_type: String,
}

/// How the rows of a table are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reading {
    /// The columns that hold values of their own, in the order of the table.
    pub(crate) fields: Vec<Field>,
    /// The columns of the primary key with their direction; empty if rows come as the server keeps them.
    order: Vec<String>,
    /// The first column of the primary key, if it is an integer.
    pub(crate) integer_key: Option<String>,
}

impl Reading {
    /// Finds out how.
    pub(crate) fn of(session: &mut Session, database: &str, table: &str) -> Result<Self> {
        let place = format!("TABLE_SCHEMA = {} AND TABLE_NAME = {}", literal(database), literal(table));
        let columns = session.text(format!(
            "SELECT COLUMN_NAME, DATA_TYPE, GENERATION_EXPRESSION FROM information_schema.COLUMNS WHERE {place} \
             ORDER BY ORDINAL_POSITION"
        ))?;
        let mut fields = Vec::with_capacity(columns.len());
        for column in columns {
            if let [name, data_type, generation] = column.as_slice()
                && generation.is_empty()
            {
                fields.push(Field { name: name.clone(), data_type: data_type.to_ascii_lowercase() });
            }
        }
        if fields.is_empty() {
            return Err(Error::data(format!(
                "table {}.{} has no column of its own, or is gone; it cannot be backed up",
                quote(database),
                quote(table)
            )));
        }
        let key = session.text(format!(
            "SELECT COLUMN_NAME, COLLATION, SUB_PART FROM information_schema.STATISTICS WHERE {place} AND INDEX_NAME = 'PRIMARY' \
             ORDER BY SEQ_IN_INDEX"
        ))?;
        // A key of prefixes orders nothing; rows then come as the server keeps them, which is by that key.
        let whole = key.iter().all(|part| part.get(2).is_some_and(String::is_empty));
        let order = key.iter().filter(|_| whole).filter_map(|part| match part.as_slice() {
            [name, direction, _] => Some(format!("{}{}", quote(name), if direction == "D" { " DESC" } else { "" })),
            _ => None,
        });
        let order: Vec<String> = order.collect();
        let first = key.first().filter(|_| whole).and_then(|part| part.first());
        let integer_key = first.filter(|name| {
            fields.iter().any(|field| {
                field.name == **name
                    && matches!(field.data_type.as_str(), "tinyint" | "smallint" | "mediumint" | "int" | "bigint")
            })
        });
        Ok(Self { integer_key: integer_key.cloned(), order, fields })
    }

    /// The columns as they are loaded again.
    pub(crate) fn columns(&self) -> Vec<Column> {
        let column = |field: &Field| Column { name: field.name.clone(), transfer: Transfer::of(&field.data_type) };
        self.fields.iter().map(column).collect()
    }

    /// The query for the rows that meet the conditions.
    pub(crate) fn select(&self, session: &Session, database: &str, table: &Table, conditions: &[String]) -> String {
        let server = session.server();
        let as_double = server.is_mariadb() || server.is_mysql(8, 0, 17);
        let list: Vec<String> = self.fields.iter().map(|field| field.expression(as_double)).collect();
        let mut sql = format!("SELECT {} FROM {}.{}", list.join(","), quote(database), quote(&table.name));
        if !self.order.is_empty() && table.engine == "innodb" {
            sql.push_str(" FORCE INDEX (PRIMARY)");
        }
        for (index, condition) in conditions.iter().enumerate() {
            sql.push_str(if index == 0 { " WHERE (" } else { " AND (" });
            sql.push_str(condition);
            sql.push(')');
        }
        if !self.order.is_empty() {
            sql.push_str(" ORDER BY ");
            sql.push_str(&self.order.join(","));
        }
        sql
    }
}

impl Field {
    fn expression(&self, as_double: bool) -> String {
        let name = quote(&self.name);
        match self.data_type.as_str() {
            // As text, a FLOAT has six digits: not all that it holds.
            "float" if as_double => format!("CAST({name} AS DOUBLE)"),
            "float" => format!("{name}*1e0"),
            _ => name,
        }
    }
}
