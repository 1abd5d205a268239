//! The options of mysqldump and mariadb-dump, and what they mean for a backup.

use coffer_addon_sdk::{Error, Result};

use super::args::{self, Argument, Spec, Takes, always, harmless, maybe, refused, switch, truth, value, without_value};
use super::client::{CONNECTION, FILES, shared};
use super::{AccountChoice, BackupParams, Databases, GtidPurged, Written};
use crate::accounts::Account;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    AllDatabases,
    Databases,
    Tables,
    IgnoreTable,
    IgnoreTableData,
    IgnoreDatabase,
    Where,
    NoData,
    NoCreateInfo,
    NoCreateDb,
    Routines,
    Events,
    Triggers,
    AddDropDatabase,
    AddDropTable,
    Opt,
    Compact,
    ExtendedInsert,
    HexBlob,
    ColumnStatistics,
    SetGtidPurged,
    SourceData,
    DumpReplica,
    Gtid,
    HostAndPort,
    ReplicaStatements,
    Users,
    IncludeUser,
    ExcludeUser,
    System,
}

use Meaning as M;
use Takes::{Maybe, Nothing, Value};

const OUTPUT: &str =
    "the backup goes into the repository, as SQL or as rows for LOAD DATA (see the parameter `format`)";
const SERVER: &str = "a backup does not change the server";
const POLICIES: &str = "masking policies are not part of this backup";
const MERGE: &str = "a restore never mixes rows into tables that have some";
const ERRORS: &str = "a backup with errors is not kept";
const PLAIN: &str = "the backup keeps what MySQL itself says of an object, in MySQL's own quotes";

const OWN: &[Spec<Meaning>] = &[
    // What is backed up.
    switch("all-databases", Some('A'), M::AllDatabases),
    switch("databases", Some('B'), M::Databases),
    switch("tables", None, M::Tables),
    value("ignore-table", None, M::IgnoreTable),
    value("ignore-table-data", None, M::IgnoreTableData),
    value("ignore-database", None, M::IgnoreDatabase),
    value("where", Some('w'), M::Where),
    switch("no-data", Some('d'), M::NoData),
    switch("no-create-info", Some('t'), M::NoCreateInfo),
    switch("no-create-db", Some('n'), M::NoCreateDb),
    switch("routines", Some('R'), M::Routines),
    switch("events", Some('E'), M::Events),
    switch("triggers", None, M::Triggers),
    maybe("column-statistics", None, M::ColumnStatistics),
    switch("users", None, M::Users),
    value("include-user", None, M::IncludeUser),
    value("exclude-user", None, M::ExcludeUser),
    value("system", None, M::System),
    // How it is written.
    switch("add-drop-database", None, M::AddDropDatabase),
    switch("add-drop-table", None, M::AddDropTable),
    switch("opt", None, M::Opt),
    switch("compact", None, M::Compact),
    switch("extended-insert", Some('e'), M::ExtendedInsert),
    switch("hex-blob", None, M::HexBlob),
    maybe("set-gtid-purged", None, M::SetGtidPurged),
    maybe("source-data", None, M::SourceData),
    maybe("master-data", None, M::SourceData),
    maybe("dump-replica", None, M::DumpReplica),
    maybe("dump-slave", None, M::DumpReplica),
    switch("gtid", None, M::Gtid),
    switch("include-source-host-port", None, M::HostAndPort),
    switch("include-master-host-port", None, M::HostAndPort),
    switch("apply-replica-statements", None, M::ReplicaStatements),
    switch("apply-slave-statements", None, M::ReplicaStatements),
    // What is done in any case, or changes nothing that is kept.
    harmless("add-drop-masking-policy", None, Nothing),
    harmless("add-drop-trigger", None, Nothing),
    harmless("add-locks", None, Nothing),
    harmless("allow-keywords", None, Nothing),
    harmless("comments", Some('i'), Nothing),
    harmless("complete-insert", Some('c'), Nothing),
    harmless("default-character-set", None, Value),
    harmless("disable-keys", Some('K'), Nothing),
    harmless("dump-date", None, Nothing),
    harmless("dump-history", Some('H'), Nothing),
    harmless("flush-privileges", None, Nothing),
    harmless("header", None, Nothing),
    harmless("keywords", None, Nothing),
    harmless("lock-tables", Some('l'), Nothing),
    harmless("log-queries", None, Nothing),
    harmless("max-statement-time", None, Value),
    harmless("mysqld-long-query-time", None, Maybe),
    harmless("network-timeout", Some('M'), Nothing),
    harmless("no-autocommit", None, Maybe),
    harmless("no-data-med", None, Nothing),
    harmless("no-set-names", Some('N'), Nothing),
    harmless("no-tablespaces", Some('y'), Nothing),
    harmless("order-by-primary", None, Nothing),
    harmless("order-by-size", None, Nothing),
    harmless("quick", Some('q'), Nothing),
    harmless("set-charset", None, Nothing),
    harmless("show-create-table-skip-secondary-engine", None, Nothing),
    harmless("single-transaction", None, Nothing),
    always("create-options", Some('a'), PLAIN),
    always("quote-names", Some('Q'), PLAIN),
    always("tz-utc", None, "without it, a TIMESTAMP changes when the server's time zone does"),
    // What cannot be.
    refused(
        "add-drop-user",
        None,
        Nothing,
        "what happens to accounts that are there already is said when they are restored: `existingUsers: drop`",
    ),
    refused(
        "all-tablespaces",
        Some('Y'),
        Nothing,
        "tablespaces are files of one server; tables are restored into the target's own",
    ),
    refused("as-of", None, Value, "a backup holds the state of its own time"),
    refused("compatible", None, Value, PLAIN),
    refused("copy-s3-tables", None, Nothing, "tables in S3 are not supported"),
    refused("debug-info", None, Nothing, "there is no debugging output"),
    refused("delayed-insert", None, Nothing, "MySQL has no delayed inserts any more"),
    refused("delete-master-logs", None, Nothing, SERVER),
    refused("delete-source-logs", None, Nothing, SERVER),
    refused("fields-enclosed-by", None, Value, OUTPUT),
    refused("fields-escaped-by", None, Value, OUTPUT),
    refused("fields-optionally-enclosed-by", None, Value, OUTPUT),
    refused("fields-terminated-by", None, Value, OUTPUT),
    refused("flush-logs", Some('F'), Nothing, SERVER),
    refused("force", Some('f'), Nothing, ERRORS),
    refused("galera-info", None, Nothing, "the state of a Galera cluster is not part of this backup"),
    refused("ignore-error", None, Value, ERRORS),
    refused("ignore-views", None, Nothing, "views cost nothing; name those that you do not want in --ignore-table"),
    refused("init-command", None, Value, "the sessions of a backup have settings of their own"),
    refused("init-command-add", None, Value, "the sessions of a backup have settings of their own"),
    refused("insert-ignore", None, Nothing, MERGE),
    refused("lines-terminated-by", None, Value, OUTPUT),
    refused(
        "lock-all-tables",
        Some('x'),
        Nothing,
        "it would stop every write for as long as the backup takes; the backup reads one consistent view without that",
    ),
    refused("log-error", None, Value, FILES),
    refused("masking-policies", None, Nothing, POLICIES),
    refused("output-as-version", None, Value, PLAIN),
    refused("plugin-authentication-kerberos-client-mode", None, Value, CONNECTION),
    refused("replace", None, Nothing, MERGE),
    refused("result-file", Some('r'), Value, OUTPUT),
    refused("shared-memory-base-name", None, Value, CONNECTION),
    refused("skip-generated-invisible-primary-key", None, Nothing, PLAIN),
    refused("tab", Some('T'), Value, OUTPUT),
    refused("wildcards", None, Nothing, "names are taken as they are written; list them one by one"),
    refused("xml", Some('X'), Nothing, OUTPUT),
];

/// All options.
fn specs() -> Vec<Spec<Meaning>> {
    OWN.iter().copied().chain(shared()).collect()
}

/// Applies mysqldump's options to what the other parameters said. `databases` and `users` are the parameters of that name.
pub(super) fn apply(text: &str, databases: Vec<String>, users: bool, params: &mut BackupParams) -> Result<()> {
    let accounts = AccountChoice::default();
    let mut choice = Choice { words: databases, all: false, databases: false, tables: false, users, accounts };
    choice.databases = !choice.words.is_empty();
    for argument in args::parse("mysqldump", text, &specs())? {
        match argument {
            Argument::Word(word) => choice.words.push(word),
            Argument::Option { option, written, on, value } => {
                apply_one(option, &written, on, value, &mut choice, params)?;
            }
        }
    }
    choice.settle(params)
}

/// What was said about databases, tables and accounts.
#[expect(clippy::struct_excessive_bools, reason = "each is an option of mysqldump, given or not")]
struct Choice {
    words: Vec<String>,
    all: bool,
    databases: bool,
    tables: bool,
    users: bool,
    accounts: AccountChoice,
}

impl Choice {
    fn settle(self, params: &mut BackupParams) -> Result<()> {
        if self.users {
            params.users = Some(self.accounts);
        } else if self.accounts != AccountChoice::default() {
            return Err(invalid("--include-user and --exclude-user need --users, or the parameter `users`"));
        }
        let selection = &mut params.selection;
        if self.all {
            if let Some(word) = self.words.first() {
                return Err(invalid(format!("--all-databases leaves nothing to choose, but {word:?} is named too")));
            }
            if self.tables {
                return Err(invalid("--all-databases and --tables contradict each other"));
            }
            return Ok(());
        }
        let mut words = self.words.into_iter();
        if self.tables || !self.databases {
            // `db t1 t2`: one database and, if any are named, its tables.
            let Some(database) = words.next() else {
                return if self.tables { Err(invalid("--tables needs a database and its tables")) } else { Ok(()) };
            };
            selection.tables = words.collect();
            if self.tables && selection.tables.is_empty() {
                return Err(invalid(format!("--tables needs the names of tables after the database {database:?}")));
            }
            selection.databases = Databases::Named(vec![database]);
        } else {
            let mut names: Vec<String> = Vec::new();
            for name in words {
                if !names.contains(&name) {
                    names.push(name);
                }
            }
            if names.is_empty() {
                return Err(invalid("--databases needs names"));
            }
            selection.databases = Databases::Named(names);
        }
        Ok(())
    }
}

fn apply_one(
    option: Meaning,
    written: &str,
    on: bool,
    value: Option<String>,
    choice: &mut Choice,
    params: &mut BackupParams,
) -> Result<()> {
    let needed = |value: Option<String>| value.ok_or_else(|| without_value(written));
    let table = |value: Option<String>| -> Result<Vec<(String, String)>> {
        needed(value)?.split(',').map(|name| qualified(written, name)).collect()
    };
    match option {
        M::AllDatabases => choice.all = on,
        M::Databases => choice.databases |= on,
        M::Tables => choice.tables = on,
        M::IgnoreTable => params.selection.ignore_tables.extend(table(value)?),
        M::IgnoreTableData => params.selection.ignore_rows.extend(table(value)?),
        M::IgnoreDatabase => {
            params.selection.ignore_databases.extend(needed(value)?.split(',').map(|name| unquoted(name).to_owned()));
        }
        M::Where => params.condition = Some(needed(value)?),
        M::NoData => params.rows = !on,
        M::NoCreateInfo => params.create_tables = !on,
        M::NoCreateDb => params.create_databases = !on,
        M::Routines => params.routines = on,
        M::Events => params.events = on,
        M::Triggers => params.triggers = on,
        M::ColumnStatistics => {
            params.column_statistics = Some(on && switch_value(written, value)?.unwrap_or(true));
        }
        M::Users => choice.users = on,
        M::IncludeUser => {
            choice.accounts.included.insert(account(written, &needed(value)?)?);
        }
        M::ExcludeUser => {
            choice.accounts.excluded.insert(account(written, &needed(value)?)?);
        }
        M::System => match needed(value)?.as_str() {
            "users" => choice.users = true,
            other => {
                return Err(invalid(format!(
                    "{written} is accepted with the value users only, not {other:?}: plugins, functions in libraries, federated servers, \
                     statistics and time zones belong to the server itself"
                )));
            }
        },
        M::AddDropDatabase => params.single.add_drop_database = on,
        M::AddDropTable => params.single.add_drop_table = on,
        M::Opt => {
            params.single.add_drop_table = on;
            params.single.extended_insert = on;
        }
        M::Compact => params.single.add_drop_table &= !on,
        M::ExtendedInsert => params.single.extended_insert = on,
        M::HexBlob => params.single.hex_blob = on,
        M::SetGtidPurged => {
            params.gtid_purged = match value.as_deref().unwrap_or("AUTO").to_ascii_uppercase().as_str() {
                "OFF" | "0" | "FALSE" => GtidPurged::Off,
                "AUTO" if !on => GtidPurged::Off,
                "COMMENTED" => GtidPurged::Commented,
                "ON" | "1" | "TRUE" if on => GtidPurged::On,
                "AUTO" => GtidPurged::Auto,
                other => {
                    return Err(invalid(format!("{written} is one of OFF, ON, AUTO and COMMENTED, not {other:?}")));
                }
            };
        }
        M::SourceData => params.replication.own = self::written(written, on, value.as_deref())?,
        M::DumpReplica => params.replication.source = self::written(written, on, value.as_deref())?,
        M::Gtid => params.replication.gtid = on,
        M::HostAndPort => params.replication.host_and_port = on,
        M::ReplicaStatements => params.replication.stop_and_start = on,
    }
    Ok(())
}

/// What the value of `--source-data` and its like says; without one it is 1.
fn written(option: &str, on: bool, value: Option<&str>) -> Result<Written> {
    match value.unwrap_or("1") {
        _ if !on => Ok(Written::No),
        "0" => Ok(Written::No),
        "1" => Ok(Written::Active),
        "2" => Ok(Written::Commented),
        other => Err(invalid(format!("{option} is 0, 1 or 2, not {other:?}"))),
    }
}

fn switch_value(written: &str, value: Option<String>) -> Result<Option<bool>> {
    value
        .map(|value| {
            truth(&value).ok_or_else(|| invalid(format!("{written} is a switch; {value:?} is no value for it")))
        })
        .transpose()
}

/// `db.table`, each part in backquotes or not.
fn qualified(written: &str, name: &str) -> Result<(String, String)> {
    let parts = match name.strip_prefix('`') {
        Some(rest) => rest.split_once("`.").map(|(database, table)| (database, unquoted(table))),
        None => name.split_once('.').map(|(database, table)| (database, unquoted(table))),
    };
    match parts {
        Some((database, table)) if !database.is_empty() && !table.is_empty() => {
            Ok((database.to_owned(), table.to_owned()))
        }
        _ => Err(invalid(format!("{written} takes `database.table`, not {name:?}"))),
    }
}

/// `user@host`, each part in quotes or not.
fn account(written: &str, text: &str) -> Result<Account> {
    let (name, host) =
        text.rsplit_once('@').ok_or_else(|| invalid(format!("{written} takes `user@host`, not {text:?}")))?;
    let plain = |part: &str| {
        let inner = |quote| part.strip_prefix(quote).and_then(|rest: &str| rest.strip_suffix(quote));
        inner('\'').or_else(|| inner('`')).or_else(|| inner('"')).unwrap_or(part).to_owned()
    };
    Ok(Account::user(plain(name), plain(host)))
}

fn unquoted(name: &str) -> &str {
    name.strip_prefix('`').and_then(|name| name.strip_suffix('`')).unwrap_or(name)
}

fn invalid(message: impl std::fmt::Display) -> Error {
    Error::invalid(format!("parameter \"args\": {message}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_is_listed_once() {
        let specs = specs();
        for (index, spec) in specs.iter().enumerate() {
            for other in &specs[..index] {
                assert_ne!(spec.name, other.name);
                assert!(
                    spec.short.is_none() || spec.short != other.short,
                    "-{:?}: {} and {}",
                    spec.short,
                    spec.name,
                    other.name
                );
            }
        }
    }
}
