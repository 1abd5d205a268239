//! What there is on the server, and how its rows are to be read.

use coffer_addon_sdk::{Error, Result};

use crate::ddl;
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
    /// Whether it keeps its past rows too (MariaDB's `WITH SYSTEM VERSIONING`).
    pub(crate) versioned: bool,
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
    let mut with_routines = column(session, "SELECT DISTINCT ROUTINE_SCHEMA FROM information_schema.ROUTINES")?;
    with_routines.extend(ddl::databases_with_libraries(session)?);
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
        let versioned = kind == "SYSTEM VERSIONED";
        let kind = match kind.as_str() {
            "BASE TABLE" | "SYSTEM VERSIONED" => Kind::Base,
            "VIEW" => Kind::View,
            "SEQUENCE" => Kind::Sequence,
            // Of the server itself, or of one session.
            _ => continue,
        };
        // A restore makes it first, and drops it when it has ended well.
        if name == progress::TABLE {
            return Err(half_restored(database));
        }
        if selection.table(database, name) {
            let bytes = bytes.parse().unwrap_or(0);
            tables.push(Table { name: name.clone(), kind, engine: engine.to_ascii_lowercase(), versioned, bytes });
        }
    }
    tables.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(tables)
}

/// A backup of such a database would look like any other, and push good ones out.
fn half_restored(database: &str) -> Error {
    Error::data(format!(
        "database {} is half restored: a restore that has not ended is under way there, and a backup would hold what it has brought so far. Wait \
         for it, or run it again if it has died: it goes on. To back up others meanwhile, leave it out with `args: --ignore-database={database}`. \
         If no restore runs and the database is as you want it, DROP TABLE {}",
        quote(database),
        progress::place(database)
    ))
}

/// A column whose values are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Field {
    /// Its name.
    pub(crate) name: String,
    /// Its type, in lower case, without length or sign.
    pub(crate) data_type: String,
    /// The character set of its text; empty for anything else.
    pub(crate) charset: String,
    /// How its values come into a stream of rows and out of it.
    pub(crate) transfer: Transfer,
    /// Whether it is `AUTO_INCREMENT`.
    counts: bool,
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
    /// Whether past rows are read too.
    pub(crate) history: bool,
}

impl Reading {
    /// Finds out how.
    pub(crate) fn of(session: &mut Session, database: &str, table: &Table) -> Result<Self> {
        let place = format!("TABLE_SCHEMA = {} AND TABLE_NAME = {}", literal(database), literal(&table.name));
        let columns = session.text(format!(
            "SELECT COLUMN_NAME, DATA_TYPE, GENERATION_EXPRESSION, CHARACTER_SET_NAME, COLUMN_TYPE, EXTRA FROM information_schema.COLUMNS \
             WHERE {place} ORDER BY ORDINAL_POSITION"
        ))?;
        let mut fields = Vec::with_capacity(columns.len());
        let mut period = Vec::new();
        for column in columns {
            let [name, data_type, generation, charset, column_type, extra] = column.as_slice() else { continue };
            let counts = extra.to_ascii_lowercase().contains(AUTO_INCREMENT);
            let data_type = data_type.to_ascii_lowercase();
            let transfer = Transfer::of(&data_type, column_type);
            let field = Field { name: name.clone(), data_type, charset: charset.clone(), transfer, counts };
            if generation.is_empty() {
                fields.push(field);
            } else if table.versioned && matches!(generation.as_str(), "ROW START" | "ROW END") {
                period.push(field);
            }
        }
        if fields.is_empty() {
            return Err(Error::data(format!(
                "table {}.{} has no column of its own, or is gone; it cannot be backed up",
                quote(database),
                quote(&table.name)
            )));
        }
        let implicit = table.versioned && period.is_empty();
        if implicit {
            period.extend(PERIOD.map(Field::moment));
        }
        // A past that is counted in transactions cannot be written again.
        let history = table.versioned
            && session.server().takes_history()
            && period.iter().all(|field| field.data_type == "timestamp");
        if history {
            fields.append(&mut period);
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
        let mut order: Vec<String> = order.collect();
        let first = key.first().filter(|_| whole).and_then(|part| part.first());
        let integer_key = first.filter(|name| {
            fields.iter().any(|field| {
                field.name == **name
                    && matches!(field.data_type.as_str(), "tinyint" | "smallint" | "mediumint" | "int" | "bigint")
            })
        });
        let integer_key = integer_key.cloned();
        if history && !order.is_empty() {
            // The rows of one key, from the oldest to the one of today.
            order.extend(fields.iter().rev().take(PERIOD.len()).map(|field| quote(&field.name)));
        }
        Ok(Self { fields, order, integer_key, history })
    }

    /// The columns as they are loaded again.
    pub(crate) fn columns(&self) -> Vec<Column> {
        let column =
            |field: &Field| Column { name: field.name.clone(), transfer: field.transfer, counts: field.counts };
        self.fields.iter().map(column).collect()
    }

    /// The query for the rows that meet the conditions.
    pub(crate) fn select(&self, session: &Session, database: &str, table: &Table, conditions: &[String]) -> String {
        let as_double = takes_double(session);
        self.query(|field| field.expression(as_double), database, table, conditions)
    }

    /// The same for a script, which is UTF-8: text that may not survive the way there and back comes as its bytes.
    pub(crate) fn select_text(
        &self,
        session: &Session,
        database: &str,
        table: &Table,
        conditions: &[String],
    ) -> String {
        let as_double = takes_double(session);
        let expression = |field: &Field| match field.bytes_of() {
            Some(_) => format!("CAST({} AS BINARY)", quote(&field.name)),
            None => field.expression(as_double),
        };
        self.query(expression, database, table, conditions)
    }

    fn query(
        &self,
        expression: impl FnMut(&Field) -> String,
        database: &str,
        table: &Table,
        conditions: &[String],
    ) -> String {
        let list: Vec<String> = self.fields.iter().map(expression).collect();
        let mut sql = format!("SELECT {} FROM {}.{}", list.join(","), quote(database), quote(&table.name));
        if self.history {
            sql.push_str(" FOR SYSTEM_TIME ALL");
        }
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

/// What `EXTRA` says of a column that counts, in lower case.
pub(crate) const AUTO_INCREMENT: &str = "auto_increment";

/// The columns that a system-versioned table has if it does not say others.
pub(crate) const PERIOD: [&str; 2] = ["row_start", "row_end"];

fn takes_double(session: &Session) -> bool {
    session.server().is_mariadb() || session.server().is_mysql(8, 0, 17)
}

impl Field {
    fn moment(name: &str) -> Self {
        let (data_type, charset) = ("timestamp".to_owned(), String::new());
        Self { name: name.to_owned(), data_type, charset, transfer: Transfer::Plain, counts: false }
    }

    /// The character set, if not all of its text can be turned into UTF-8 and back.
    pub(crate) fn bytes_of(&self) -> Option<&str> {
        let text =
            matches!(self.data_type.as_str(), "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext");
        let survives =
            matches!(self.charset.as_str(), "" | "utf8mb4" | "utf8mb3" | "utf8" | "ascii" | "latin1" | "binary");
        (text && !survives).then_some(self.charset.as_str())
    }

    fn expression(&self, as_double: bool) -> String {
        let name = quote(&self.name);
        match self.data_type.as_str() {
            // As text, a FLOAT has six digits: not all that it holds.
            "float" if as_double => format!("CAST({name} AS DOUBLE)"),
            "float" => format!("{name}*1e0"),
            _ if self.transfer == Transfer::Number => format!("CAST({name} AS UNSIGNED)"),
            _ => name,
        }
    }
}
