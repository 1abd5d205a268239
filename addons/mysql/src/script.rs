//! The SQL scripts that stock `mysql` runs: `load.sql` beside the streams of `format=parallel`, and `dumpfile.sql`.

use coffer_addon_sdk::{Context, Result, Writer, warn};

use crate::accounts::script::{Accounts, Part};
use crate::catalog::{Database, Kind, Reading, Table};
use crate::chunks::Chunks;
use crate::inserts::{self, Style};
use crate::layout::{self, Stream, quote};
use crate::params::BackupParams;
use crate::session::{Session, literal};
use crate::{ddl, replica, view};

/// What everything is executed under. Objects that were made under other settings bring their own.
const SETTINGS: &str = "SET NAMES utf8mb4;\nSET SESSION time_zone = '+00:00', sql_mode = 'NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES', foreign_key_checks = 0, \
                        unique_checks = 0;\n";

/// Writes `load.sql`. `chunks` says into how many streams the rows of a table went, 0 meaning a single one without a number.
pub(crate) fn load(
    session: &mut Session,
    context: &Context,
    params: &BackupParams,
    databases: &[Database],
    chunks: &dyn Fn(&str, &str) -> u32,
    out: &mut Writer,
) -> Result<()> {
    out.write_all(
        b"-- Rebuilds the databases of this backup. Run it in the directory that it was restored to:\n--   mysql --local-infile=1 < \
          load.sql\n-- The server must allow it: SET GLOBAL local_infile = ON\n\n",
    )?;
    out.write_all(SETTINGS.as_bytes())?;
    let accounts = begin_accounts(session, context, params, out)?;
    for database in databases {
        begin_database(session, params, &database.name, out)?;
        for table in database.tables.iter().filter(|table| table.kind != Kind::View) {
            if params.create_tables {
                out.write_all(&ddl::table(session, &database.name, table)?)?;
            }
        }
    }
    for database in databases {
        for table in database.tables.iter().filter(|table| has_rows(params, &database.name, table)) {
            let reading = Reading::of(session, &database.name, &table.name)?;
            let columns = reading.columns();
            let count = chunks(&database.name, &table.name);
            let names: Vec<Option<String>> =
                if count == 0 { vec![None] } else { Chunks::names(count).map(Some).collect() };
            for chunk in names {
                let stream = Stream::Rows { database: database.name.clone(), table: table.name.clone(), chunk };
                let statement = layout::load_data(&database.name, &table.name, &columns, &stream.path());
                out.write_all(format!("{statement};\n").as_bytes())?;
            }
        }
    }
    write_code(session, context, params, databases, accounts.as_ref(), out)
}

/// Writes `dumpfile.sql`; `head` is what it says of replication. Returns the number of rows.
pub(crate) fn single(
    session: &mut Session,
    context: &Context,
    params: &BackupParams,
    databases: &[Database],
    head: &str,
    out: &mut Writer,
) -> Result<u64> {
    let server = session.server().version_text.clone();
    out.write_all(format!("-- Coffer dump of {server}\n\n").as_bytes())?;
    out.write_all(
        b"/*!40101 SET @OLD_CHARACTER_SET_CLIENT=@@CHARACTER_SET_CLIENT */;\n\
          /*!40101 SET @OLD_CHARACTER_SET_RESULTS=@@CHARACTER_SET_RESULTS */;\n\
          /*!40101 SET @OLD_COLLATION_CONNECTION=@@COLLATION_CONNECTION */;\n\
          /*!40103 SET @OLD_TIME_ZONE=@@TIME_ZONE */;\n\
          /*!40014 SET @OLD_UNIQUE_CHECKS=@@UNIQUE_CHECKS */;\n\
          /*!40014 SET @OLD_FOREIGN_KEY_CHECKS=@@FOREIGN_KEY_CHECKS */;\n\
          /*!40101 SET @OLD_SQL_MODE=@@SQL_MODE */;\n",
    )?;
    out.write_all(SETTINGS.as_bytes())?;
    out.write_all(head.as_bytes())?;
    let accounts = begin_accounts(session, context, params, out)?;
    let mut rows = 0;
    for database in databases {
        out.write_all(format!("\n--\n-- Database {}\n--\n\n", comment(&database.name)).as_bytes())?;
        begin_database(session, params, &database.name, out)?;
        for table in database.tables.iter().filter(|table| table.kind != Kind::View) {
            context.check_cancelled()?;
            out.write_all(format!("\n--\n-- Table {}\n--\n\n", comment(&table.name)).as_bytes())?;
            if params.create_tables {
                if params.single.add_drop_table {
                    let what = if table.kind == Kind::Sequence { "SEQUENCE" } else { "TABLE" };
                    out.write_all(format!("DROP {what} IF EXISTS {};\n", quote(&table.name)).as_bytes())?;
                }
                out.write_all(&ddl::table(session, &database.name, table)?)?;
            }
            if has_rows(params, &database.name, table) {
                rows += write_rows(session, params, &database.name, table, out)?;
                view::let_go(session)?;
            }
            if params.column_statistics {
                write_histograms(session, context, &database.name, &table.name, out)?;
            }
        }
    }
    out.write_all(b"\n--\n-- Routines, views, triggers, events\n--\n\n")?;
    write_code(session, context, params, databases, accounts.as_ref(), out)?;
    out.write_all(replica::farewell(session, &params.replication).as_bytes())?;
    out.write_all(
        b"\n/*!40103 SET TIME_ZONE=@OLD_TIME_ZONE */;\n\
          /*!40101 SET SQL_MODE=@OLD_SQL_MODE */;\n\
          /*!40014 SET FOREIGN_KEY_CHECKS=@OLD_FOREIGN_KEY_CHECKS */;\n\
          /*!40014 SET UNIQUE_CHECKS=@OLD_UNIQUE_CHECKS */;\n\
          /*!40101 SET CHARACTER_SET_CLIENT=@OLD_CHARACTER_SET_CLIENT */;\n\
          /*!40101 SET CHARACTER_SET_RESULTS=@OLD_CHARACTER_SET_RESULTS */;\n\
          /*!40101 SET COLLATION_CONNECTION=@OLD_COLLATION_CONNECTION */;\n\n\
          -- Dump completed\n",
    )?;
    Ok(rows)
}

/// Whether the rows of this table are part of the backup.
pub(crate) fn has_rows(params: &BackupParams, database: &str, table: &Table) -> bool {
    params.rows && table.has_rows() && params.selection.rows(database, &table.name)
}

fn begin_database(session: &mut Session, params: &BackupParams, database: &str, out: &mut Writer) -> Result<()> {
    if params.create_databases {
        if params.single.add_drop_database {
            out.write_all(format!("DROP DATABASE IF EXISTS {};\n", quote(database)).as_bytes())?;
        }
        out.write_all(&ddl::schema(session, database)?)?;
    }
    out.write_all(&ddl::use_database(database))
}

/// Makes the accounts, if they are part of the backup.
fn begin_accounts(
    session: &mut Session,
    context: &Context,
    params: &BackupParams,
    out: &mut Writer,
) -> Result<Option<Accounts>> {
    let Some(choice) = &params.users else { return Ok(None) };
    let accounts = Accounts::list(session, context, choice)?;
    out.write_all(b"\n--\n-- Accounts; those that are there already are left as they are\n--\n\n")?;
    accounts.write_definitions(session, context, out)?;
    Ok(Some(accounts))
}

/// Routines, views, triggers and events, in the order in which they can be made, and what accounts may do with them.
fn write_code(
    session: &mut Session,
    context: &Context,
    params: &BackupParams,
    databases: &[Database],
    accounts: Option<&Accounts>,
    out: &mut Writer,
) -> Result<()> {
    let whole = params.selection.whole_databases();
    let write = |text: Vec<u8>, database: Option<&str>, out: &mut Writer| -> Result<()> {
        if !text.is_empty() {
            if let Some(database) = database {
                out.write_all(&ddl::use_database(database))?;
            }
            out.write_all(&text)?;
            out.write_all(SETTINGS.as_bytes())?;
        }
        Ok(())
    };
    for database in databases.iter().filter(|database| params.routines && whole && database.has_routines) {
        write(ddl::routines(session, &database.name)?, Some(&database.name), out)?;
    }
    if let Some(accounts) = accounts {
        accounts.write_grants(session, context, Part::All, out)?;
    }
    if params.create_tables {
        write(ddl::views(session, databases)?.script, None, out)?;
    }
    if let Some(accounts) = accounts {
        accounts.write_grants(session, context, Part::Objects, out)?;
    }
    for database in databases.iter().filter(|database| params.triggers && database.has_triggers) {
        write(ddl::triggers(session, &database.name, &params.selection)?, Some(&database.name), out)?;
    }
    for database in databases.iter().filter(|database| params.events && whole && database.has_events) {
        write(ddl::events(session, &database.name)?, Some(&database.name), out)?;
    }
    Ok(())
}

fn write_rows(
    session: &mut Session,
    params: &BackupParams,
    database: &str,
    table: &Table,
    out: &mut Writer,
) -> Result<u64> {
    let reading = Reading::of(session, database, &table.name)?;
    let conditions: Vec<String> = params.condition.clone().into_iter().collect();
    let select = reading.select(session, database, table, &conditions);
    let columns: Vec<String> = reading.fields.iter().map(|field| quote(&field.name)).collect();
    let name = quote(&table.name);
    let head = format!("INSERT INTO {name} ({}) VALUES\n", columns.join(","));
    out.write_all(format!("LOCK TABLES {name} WRITE;\n/*!40000 ALTER TABLE {name} DISABLE KEYS */;\n").as_bytes())?;
    let style = Style { extended: params.single.extended_insert, hex: params.single.hex_blob };
    let doing = |error: coffer_addon_sdk::Error| error.with_context(format!("reading {}.{name}", quote(database)));
    let rows = session.converted_rows(select).map_err(|failure| doing(failure.into()))?;
    let count = inserts::write(rows, head.as_bytes(), style, out).map_err(doing)?;
    out.write_all(format!("/*!40000 ALTER TABLE {name} ENABLE KEYS */;\nUNLOCK TABLES;\n").as_bytes())?;
    Ok(count)
}

fn write_histograms(
    session: &mut Session,
    context: &Context,
    database: &str,
    table: &str,
    out: &mut Writer,
) -> Result<()> {
    if !session.server().is_mysql(8, 0, 2) {
        warn!(context, "this server has no histograms; --column-statistics changes nothing");
        return Ok(());
    }
    let histograms = session.text(format!(
        "SELECT COLUMN_NAME, JSON_EXTRACT(HISTOGRAM, '$.\"number-of-buckets-specified\"') FROM information_schema.COLUMN_STATISTICS \
         WHERE SCHEMA_NAME = {} AND TABLE_NAME = {} ORDER BY COLUMN_NAME",
        literal(database),
        literal(table)
    ))?;
    for histogram in &histograms {
        if let [column, buckets] = histogram.as_slice() {
            let statement = format!(
                "/*!80002 ANALYZE TABLE {} UPDATE HISTOGRAM ON {} WITH {buckets} BUCKETS */;\n",
                quote(table),
                quote(column)
            );
            out.write_all(statement.as_bytes())?;
        }
    }
    Ok(())
}

/// A name that stays on its line.
fn comment(name: &str) -> String {
    quote(name).replace(['\n', '\r'], " ")
}
