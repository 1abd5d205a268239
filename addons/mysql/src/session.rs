//! A session that reads: the settings under which everything comes out as it is stored.

use coffer_addon_sdk::{Context, Result, Target};

use crate::failure::Outcome;
use crate::layout::quote;
use crate::wire::{Rows, Server, Wire};

/// Which character set results come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Results {
    /// Converted: names and other text about the database.
    Utf8,
    /// As stored: rows, and the text of routines in the character set of their own.
    Binary,
}

/// A logged-in connection whose settings suit a backup.
#[derive(Debug)]
pub(crate) struct Session {
    wire: Wire,
    results: Results,
    database: Option<String>,
}

impl Session {
    /// Connects, logs in and sets up.
    pub(crate) fn open(target: &Target, context: &Context) -> Result<Self> {
        let mut wire = Wire::connect(target, context)?;
        wire.execute("SET NAMES utf8mb4")?;
        for (setting, since) in settings(wire.server()) {
            match wire.execute(format!("SET SESSION {setting}")) {
                // Forks leave out variables that their version number promises.
                Err(failure) if !since && failure.code() == Some(1193) => {}
                outcome => {
                    outcome?;
                }
            }
        }
        wire.execute("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")?;
        Ok(Self { wire, results: Results::Utf8, database: None })
    }

    /// What is known of the server.
    pub(crate) fn server(&self) -> &Server {
        self.wire.server()
    }

    /// Executes one statement.
    pub(crate) fn execute(&mut self, sql: impl AsRef<[u8]>) -> Outcome<()> {
        self.wire.execute(sql).map(drop)
    }

    /// A short result as text.
    pub(crate) fn text(&mut self, sql: impl AsRef<[u8]>) -> Outcome<Vec<Vec<String>>> {
        self.set_results(Results::Utf8)?;
        self.wire.query_text(sql)
    }

    /// The first value of a short result as text.
    pub(crate) fn value(&mut self, sql: impl AsRef<[u8]>) -> Outcome<Option<String>> {
        self.set_results(Results::Utf8)?;
        self.wire.query_value(sql)
    }

    /// The first value of a short result as the server stores it.
    pub(crate) fn stored_value(&mut self, sql: impl AsRef<[u8]>) -> Outcome<Option<Vec<u8>>> {
        self.set_results(Results::Binary)?;
        let first = self.wire.query_all(sql)?.into_iter().next();
        Ok(first.and_then(|row| row.into_iter().next()).flatten())
    }

    /// A short result as text, with the names of its columns.
    pub(crate) fn named(&mut self, sql: impl AsRef<[u8]>) -> Outcome<Vec<Vec<(String, String)>>> {
        let mut rows = self.converted_rows(sql)?;
        let names: Vec<String> = rows.columns().iter().map(|column| column.name_str().into_owned()).collect();
        let mut named = Vec::new();
        while let Some(row) = rows.next()? {
            let mut cells = Vec::with_capacity(names.len());
            for (name, cell) in names.iter().zip(row.cells()) {
                let value = cell?.map(|cell| String::from_utf8_lossy(cell).into_owned()).unwrap_or_default();
                cells.push((name.clone(), value));
            }
            named.push(cells);
        }
        Ok(named)
    }

    /// A stream of rows as the server stores them.
    pub(crate) fn stored_rows(&mut self, sql: impl AsRef<[u8]>) -> Outcome<Rows<'_>> {
        self.set_results(Results::Binary)?;
        self.wire.query(sql)
    }

    /// A stream of rows whose text is converted to utf8mb4.
    pub(crate) fn converted_rows(&mut self, sql: impl AsRef<[u8]>) -> Outcome<Rows<'_>> {
        self.set_results(Results::Utf8)?;
        self.wire.query(sql)
    }

    /// Makes this the default database: what the server writes about an object then does not name it.
    pub(crate) fn use_database(&mut self, database: &str) -> Outcome<()> {
        if self.database.as_deref() != Some(database) {
            self.wire.execute(format!("USE {}", quote(database)))?;
            self.database = Some(database.to_owned());
        }
        Ok(())
    }

    /// Ends the session in good order.
    pub(crate) fn close(&mut self) -> Result<()> {
        self.wire.quit()
    }

    fn set_results(&mut self, results: Results) -> Outcome<()> {
        if self.results != results {
            self.wire.execute(match results {
                Results::Utf8 => "SET SESSION character_set_results = utf8mb4",
                Results::Binary => "SET SESSION character_set_results = binary",
            })?;
            self.results = results;
        }
        Ok(())
    }
}

/// Settings, and whether every server must know them.
fn settings(server: &Server) -> Vec<(&'static str, bool)> {
    let mut settings = vec![
        ("sql_mode = ''", true),
        ("time_zone = '+00:00'", true),
        ("autocommit = 1", true),
        ("sql_quote_show_create = 1", true),
        ("sql_select_limit = DEFAULT", true),
        // The repository may be slow to take what the server has to send, and sessions wait for one another.
        ("net_write_timeout = 86400", true),
        ("net_read_timeout = 86400", true),
        ("wait_timeout = 604800", true),
    ];
    if server.is_mariadb() {
        settings.push(("max_statement_time = 0", false));
        settings.push(("system_versioning_asof = DEFAULT", false));
    } else {
        settings.push(("max_execution_time = 0", false));
        if server.is_mysql(8, 0, 0) {
            // Sizes as they are, not as they were yesterday.
            settings.push(("information_schema_stats_expiry = 0", false));
            settings.push(("use_secondary_engine = OFF", false));
        }
        if server.is_mysql(8, 0, 30) {
            // A primary key that the server made by itself is dumped like any other.
            settings.push(("show_gipk_in_create_table_and_information_schema = ON", false));
        }
    }
    settings
}

/// A string literal. The session's `sql_mode` is empty: a backslash escapes.
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}
