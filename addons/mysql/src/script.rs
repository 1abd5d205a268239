//! The SQL scripts that stock `mysql` runs: `load.sql` beside the streams of `format=parallel`, and `dumpfile.sql`.

use coffer_addon_sdk::{Context, Result, Writer, warn};

use crate::accounts::script::{Accounts, Part};
use crate::catalog::{Database, Field, Kind, Reading, Table};
use crate::chunks::Chunks;
use crate::digest::{self, Watch};
use crate::inserts::{self, Style};
use crate::layout::{self, Stream, quote};
use crate::params::{BackupParams, Format};
use crate::session::{Session, literal};
use crate::{ddl, replica, view};

/// What everything is executed under. Objects that were made under other settings bring their own.
const SETTINGS: &str = "SET NAMES utf8mb4;\nSET SESSION time_zone = '+00:00', sql_mode = 'NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES', foreign_key_checks = 0, \
                        unique_checks = 0;\n";

/// What tables can take their rows and their past from, in MariaDB.
const HISTORY: &str = "SET SESSION system_versioning_insert_history = 1;\n";

/// Writes `load.sql`. `chunks` says into how many streams the rows of a table went, 0 meaning a single one without a number. Without
/// `watch`, nobody can change definitions.
pub(crate) fn load(
    session: &mut Session,
    context: &Context,
    params: &BackupParams,
    databases: &[Database],
    chunks: &dyn Fn(&str, &str) -> u32,
    mut watch: Option<Watch<'_>>,
    out: &mut Writer,
) -> Result<()> {
    out.write_all(
        b"-- Rebuilds the databases of this backup. Run it in the directory that it was restored to:\n--   mysql --local-infile=1 < \
          load.sql\n-- The server must allow it: SET GLOBAL local_infile = ON\n\n",
    )?;
    write_settings(session, databases, out)?;
    let accounts = begin_accounts(session, context, params, out)?;
    begin_databases(session, params, databases, out)?;
    let mut digests = Vec::new();
    let wanted = params.create_tables || watch.is_some();
    for database in databases {
        out.write_all(&ddl::use_database(&database.name))?;
        for table in database.of_kind(Kind::Base).filter(|_| wanted) {
            let text = ddl::table(session, &database.name, table)?;
            if let Some(watch) = &mut watch {
                let digest = digest::of_text(watch.now, &database.name, table, &text)?;
                digests.push((database.name.as_str(), table.name.as_str(), digest));
            }
            if params.create_tables {
                out.write_all(&text)?;
                write_histograms(session, params, &database.name, table, out)?;
            }
        }
    }
    if let Some(watch) = watch {
        digest::check_all(digests, watch.expected)?;
    }
    for database in databases {
        for table in database.tables.iter().filter(|table| has_rows(params, &database.name, table)) {
            let reading = Reading::of(session, &database.name, table)?;
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

/// Writes `dumpfile.sql`; `head` is what it says of replication, `watch` as for [`load`]. Returns the number of rows.
pub(crate) fn single(
    session: &mut Session,
    context: &Context,
    params: &BackupParams,
    databases: &[Database],
    head: &str,
    mut watch: Option<Watch<'_>>,
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
    write_settings(session, databases, out)?;
    out.write_all(head.as_bytes())?;
    let accounts = begin_accounts(session, context, params, out)?;
    let mut rows = 0;
    let mut digests = Vec::new();
    begin_databases(session, params, databases, out)?;
    for database in databases {
        out.write_all(format!("\n--\n-- Database {}\n--\n\n", comment(&database.name)).as_bytes())?;
        out.write_all(&ddl::use_database(&database.name))?;
        for table in database.of_kind(Kind::Base) {
            context.check_cancelled()?;
            out.write_all(format!("\n--\n-- Table {}\n--\n\n", comment(&table.name)).as_bytes())?;
            let wanted = params.create_tables || session.server().is_mariadb();
            let text = if wanted { ddl::table(session, &database.name, table)? } else { Vec::new() };
            if params.create_tables {
                write_definition(params, table, &text, out)?;
            }
            if has_rows(params, &database.name, table) {
                rows += write_rows(session, params, &database.name, (table, &text), out)?;
            }
            if let Some(watch) = &mut watch {
                // After the rows: the transaction has read the table, so that nobody can change it now.
                let digest = digest::of(watch.now, &database.name, table)?;
                digests.push((database.name.as_str(), table.name.as_str(), digest));
            }
            view::let_go(session)?;
            write_histograms(session, params, &database.name, table, out)?;
            count_histograms(session, context, params, &database.name, &table.name, out)?;
        }
    }
    if let Some(watch) = watch {
        digest::check_all(digests, watch.expected)?;
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

fn write_settings(session: &mut Session, databases: &[Database], out: &mut Writer) -> Result<()> {
    out.write_all(SETTINGS.as_bytes())?;
    // It takes a privilege to say so, so it is said only where it is needed.
    if ddl::refers_to_no_unique_key(session, databases)? {
        out.write_all(b"/*!80400 SET SESSION restrict_fk_on_non_standard_key = OFF */;\n")?;
    }
    if databases.iter().flat_map(|database| &database.tables).any(|table| table.versioned) {
        out.write_all(HISTORY.as_bytes())?;
    }
    Ok(())
}

/// Makes all databases, with their sequences: tables of any other may take values from them.
fn begin_databases(
    session: &mut Session,
    params: &BackupParams,
    databases: &[Database],
    out: &mut Writer,
) -> Result<()> {
    for database in databases {
        begin_database(session, params, &database.name, out)?;
        for sequence in database.of_kind(Kind::Sequence).filter(|_| params.create_tables) {
            let text = ddl::table(session, &database.name, sequence)?;
            write_definition(params, sequence, &text, out)?;
        }
    }
    Ok(())
}

fn write_definition(params: &BackupParams, table: &Table, text: &[u8], out: &mut Writer) -> Result<()> {
    if params.format == Format::Single && params.single.add_drop_table {
        let what = if table.kind == Kind::Sequence { "SEQUENCE" } else { "TABLE" };
        out.write_all(format!("DROP {what} IF EXISTS {};\n", quote(&table.name)).as_bytes())?;
    }
    out.write_all(text)
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
    for database in databases.iter().filter(|_| params.create_databases) {
        out.write_all(&ddl::closing(session, &database.name)?)?;
    }
    Ok(())
}

fn write_rows(
    session: &mut Session,
    params: &BackupParams,
    database: &str,
    (table, definition): (&Table, &[u8]),
    out: &mut Writer,
) -> Result<u64> {
    let reading = Reading::of(session, database, table)?;
    let conditions: Vec<String> = params.condition.clone().into_iter().collect();
    let select = reading.select_text(session, database, table, &conditions);
    let charsets: Vec<Option<&str>> = reading.fields.iter().map(Field::bytes_of).collect();
    let columns: Vec<String> = reading.fields.iter().map(|field| quote(&field.name)).collect();
    let name = quote(&table.name);
    let head = format!("INSERT INTO {name} ({}) VALUES\n", columns.join(","));
    // Who holds a lock may use no other table, but a sequence that a default asks is one.
    let locks = memchr::memmem::find(definition, b"nextval(").is_none();
    if locks {
        out.write_all(format!("LOCK TABLES {name} WRITE;\n").as_bytes())?;
    }
    out.write_all(format!("/*!40000 ALTER TABLE {name} DISABLE KEYS */;\n").as_bytes())?;
    let style = Style { extended: params.single.extended_insert, hex: params.single.hex_blob };
    let doing = |error: coffer_addon_sdk::Error| error.with_context(format!("reading {}.{name}", quote(database)));
    let rows = session.converted_rows(select).map_err(|failure| doing(failure.into()))?;
    let count = inserts::write(rows, head.as_bytes(), &charsets, style, out).map_err(doing)?;
    out.write_all(format!("/*!40000 ALTER TABLE {name} ENABLE KEYS */;\n").as_bytes())?;
    if locks {
        out.write_all(b"UNLOCK TABLES;\n")?;
    }
    Ok(count)
}

fn write_histograms(
    session: &mut Session,
    params: &BackupParams,
    database: &str,
    table: &Table,
    out: &mut Writer,
) -> Result<()> {
    if params.column_statistics == Some(false) {
        return Ok(());
    }
    out.write_all(&ddl::histograms(session, database, table)?)
}

/// Lets the target count histograms anew, where they cannot be given to it.
fn count_histograms(
    session: &mut Session,
    context: &Context,
    params: &BackupParams,
    database: &str,
    table: &str,
    out: &mut Writer,
) -> Result<()> {
    if params.column_statistics != Some(true) || session.server().is_mysql(8, 0, 31) {
        return Ok(());
    }
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
