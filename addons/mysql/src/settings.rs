//! The settings of a restore's sessions. All are the session's own: they end with it.

use coffer_addon_sdk::{Error, Result};

use crate::failure::Outcome;
use crate::layout::quote;
use crate::params::RestoreParams;
use crate::session::literal;
use crate::wire::{Done, Wire};

/// A setting of the session.
struct Setting {
    assignment: &'static str,
    /// Whether the restore cannot do without it: others are unknown to some servers, or need a privilege.
    needed: bool,
}

/// What streams of ours are applied under.
fn settings(wire: &Wire) -> Vec<Setting> {
    let needed = |assignment| Setting { assignment, needed: true };
    let wished = |assignment| Setting { assignment, needed: false };
    let mut settings = vec![
        needed("sql_mode = 'NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES', time_zone = '+00:00', autocommit = 1"),
        needed("foreign_key_checks = 0, unique_checks = 0"),
        // How many warnings can be looked at. MySQL wants a privilege for it; more than can be seen are then an error.
        wished("max_error_count = 65535"),
    ];
    if wire.server().is_mariadb() {
        // The past of system-versioned tables comes with their rows.
        settings.push(wished("system_versioning_insert_history = 1"));
    } else {
        settings.extend([
            wished("sql_require_primary_key = 0"),
            wished("sql_generate_invisible_primary_key = 0"),
            wished("show_gipk_in_create_table_and_information_schema = 1"),
            wished("restrict_fk_on_non_standard_key = 0"),
            // Indexes are built in fewer passes; 1 MiB is the server's own choice.
            wished("innodb_ddl_buffer_size = 67108864"),
        ]);
    }
    settings
}

/// Gives the session the settings under which streams of ours are applied.
pub(crate) fn settle(wire: &mut Wire) -> Result<()> {
    for setting in settings(wire) {
        let outcome = wire.execute(format!("SET SESSION {}", setting.assignment));
        tolerate(outcome, setting.needed)?;
    }
    wire.execute("SET NAMES utf8mb4")?;
    Ok(())
}

/// Whether the server gives a table without a primary key one of its own making, and the session may not keep it from that.
pub(crate) fn makes_primary_keys(wire: &mut Wire) -> Result<bool> {
    if !wire.server().is_mysql(8, 0, 30) {
        return Ok(false);
    }
    match wire.query_value("SELECT @@SESSION.sql_generate_invisible_primary_key") {
        Ok(value) => Ok(value.as_deref() == Some("1")),
        // Forks leave out variables that their version number promises.
        Err(failure) if failure.code() == Some(1193) => Ok(false),
        Err(failure) => Err(failure.into()),
    }
}

/// What every session of a restore needs: patience, and the binary log as the user wants it.
pub(crate) fn set_up(wire: &mut Wire, params: &RestoreParams) -> Result<()> {
    wire.execute(format!("SET NAMES {}", params.character_set))?;
    // The repository may be slow to send what the server waits for, and sessions wait for one another.
    wire.execute("SET SESSION net_read_timeout = 86400, net_write_timeout = 86400, wait_timeout = 604800")?;
    if !params.log_bin {
        wire.execute("SET SESSION sql_log_bin = 0").map_err(|failure| {
            let denied = failure.is_denied();
            let error = Error::from(failure).with_context("`logBin: false`");
            if !denied {
                return error;
            }
            let message = format!(
                "{}; grant SESSION_VARIABLES_ADMIN (MariaDB: BINLOG ADMIN) or leave `logBin` out",
                error.message
            );
            Error { message, ..error }
        })?;
    }
    Ok(())
}

fn tolerate(outcome: Outcome<Done>, needed: bool) -> Result<()> {
    match outcome {
        // Unknown to this server, or in need of a privilege.
        Err(failure) if !needed && (failure.code() == Some(1193) || failure.is_denied()) => Ok(()),
        Err(failure) => Err(failure.into()),
        Ok(_) => Ok(()),
    }
}

/// The longest statement that the server takes, in bytes.
pub(crate) fn largest_packet(wire: &mut Wire) -> Result<usize> {
    Ok(wire.query_value("SELECT @@max_allowed_packet")?.and_then(|value| value.parse().ok()).unwrap_or(usize::MAX))
}

/// That the server takes a statement of this length. It would close the connection without a word that arrives.
pub(crate) fn check_packet(length: usize, largest: usize) -> Result<()> {
    // The number of the command is a byte of the packet.
    if length < largest {
        return Ok(());
    }
    Err(Error::unsupported(format!(
        "a statement of {length} bytes does not fit the server's max_allowed_packet of {largest}: raise that on the target for the time of \
         the restore. Rows of a snapshot of `format=parallel` are loaded whatever it is, where `local_infile` is ON"
    )))
}

/// The default collation of a database.
pub(crate) fn default_collation(wire: &mut Wire, database: &str) -> Outcome<Option<String>> {
    wire.query_value(format!(
        "SELECT DEFAULT_COLLATION_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = {}",
        literal(database)
    ))
}

/// Gives a database its default collation back, if it has another one now.
pub(crate) fn set_default_collation(wire: &mut Wire, database: &str, collation: &str) -> Outcome<()> {
    wire.execute("SET NAMES utf8mb4")?;
    if default_collation(wire, database)?.is_none_or(|current| current == collation) {
        return Ok(());
    }
    wire.execute(format!("ALTER DATABASE {} COLLATE {collation}", quote(database))).map(drop)
}

/// Whether a backslash in a string escapes what follows it.
pub(crate) fn backslash_escapes(wire: &mut Wire) -> Result<bool> {
    let mode = wire.query_value("SELECT @@SESSION.sql_mode")?.unwrap_or_default();
    Ok(!mode.split(',').any(|word| word == "NO_BACKSLASH_ESCAPES"))
}
