//! One session of a restore: the leader plans, all of them bring streams into the database.

use std::borrow::Cow;
use std::collections::BTreeSet;

use coffer_addon_sdk::{
    Context, Entry, Error, Fact, Reader, Restore, RestoreItem, Result, Stage, Target, debug, info, warn,
};

use crate::accounts;
use crate::accounts::apply::{self, Before, Phase};
use crate::accounts::script::NO_ACCOUNTS;
use crate::definition::{self, Definition};
use crate::failure::{Failure, Outcome};
use crate::layout::{Stream, fact, quote};
use crate::load;
use crate::params::{Existing, ExistingUsers, RestoreParams};
use crate::plan::{self, Contents, Part, Token};
use crate::session::literal;
use crate::splitter::Statements;
use crate::sql::{self, Effect};
use crate::wire::{Done, Wire};

/// The longest statement. Twice as much must fit the guest's memory: the statement and the packets that it is sent in.
const LONGEST_STATEMENT: usize = 48 << 20;

/// How often a statement is tried that the server gave up for the sake of another session.
const ATTEMPTS: u32 = 5;

/// How much of a statement is shown when it fails.
const EXCERPT: usize = 120;

/// One session of a restore.
#[derive(Debug)]
pub struct MySqlRestore {
    context: Context,
    params: RestoreParams,
    wire: Wire,
    /// Whether statements of a stream may have changed the session's settings.
    unsettled: bool,
    /// Whether the server takes `LOAD DATA LOCAL INFILE`.
    files: bool,
    /// The leader's: (database, number of tables) that must be there in the end.
    expected: Vec<(String, usize)>,
    /// The accounts that were there before the restore, or why they cannot be known.
    accounts: Outcome<Before>,
}

impl Restore for MySqlRestore {
    fn open(context: Context, target: Target) -> Result<Self> {
        let params = RestoreParams::read(&context)?;
        let mut wire = Wire::connect(&target, &context)?;
        set_up(&mut wire, &params)?;
        let files = wire.query_value("SELECT @@GLOBAL.local_infile")?.as_deref() == Some("1");
        let accounts = Before::ask(&mut wire);
        Ok(Self { context, params, wire, unsettled: true, files, expected: Vec::new(), accounts })
    }

    fn plan(&mut self, entries: &[Entry], facts: &[Fact]) -> Result<Vec<Stage>> {
        let contents = Contents::of(entries, facts)?;
        let known = contents.databases();
        if let Some(missing) =
            self.params.databases.iter().flatten().find(|name| !known.is_empty() && !known.contains(*name))
        {
            return Err(Error::invalid(format!(
                "the snapshot has no database {missing:?}; it has {}",
                known.iter().cloned().collect::<Vec<_>>().join(", ")
            )));
        }
        let wanted: Vec<String> = known.iter().filter(|name| self.params.wants(name)).cloned().collect();
        match contents {
            Contents::Parallel(streams) => {
                let has = streams.iter().any(|(stream, _)| *stream == Stream::Users);
                let accounts = self.wants_accounts(has)?;
                let stages = self.plan_streams(&streams, &wanted)?;
                Ok(if accounts { plan::with_accounts(stages) } else { stages })
            }
            Contents::Script { path, databases } => {
                let has = facts.iter().any(|fact| fact.name == fact::ACCOUNTS);
                if databases.is_some() && self.wants_accounts(has)? {
                    self.check_script_accounts()?;
                }
                self.plan_script(&path, databases.is_some(), &wanted)
            }
        }
    }

    fn run(&mut self, item: &RestoreItem, mut input: Reader) -> Result<Vec<Fact>> {
        let token = Token::decode(&item.token);
        let stream = Stream::parse(&item.path);
        let done = match &stream {
            Some(Stream::Rows { database, table, .. }) => self.load(database, table, &item.path, token, &mut input),
            Some(Stream::Views) => self.make_views(input, &token),
            Some(Stream::Table { database, table }) => self.make_table(database, table, input, &token),
            Some(Stream::Users) => self.make_accounts(input, &item.token),
            Some(_) => self.make_objects(input, &token),
            None => self.run_script(input, &token),
        };
        done.map_err(|error| error.with_context(&item.path))
    }

    fn finish(&mut self) -> Result<()> {
        for (database, expected) in std::mem::take(&mut self.expected) {
            let found = self.wire.query_value(format!(
                "SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = {} AND TABLE_TYPE <> 'VIEW'",
                literal(&database)
            ))?;
            let found: usize = found.and_then(|count| count.parse().ok()).unwrap_or(0);
            if found < expected {
                return Err(Error::data(format!(
                    "database {} has {found} tables after the restore of {expected}: somebody else drops tables there",
                    quote(&database)
                )));
            }
        }
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        self.wire.quit()
    }
}

/// What the target has of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Missing,
    Empty,
    Full,
}

impl MySqlRestore {
    fn plan_streams(&mut self, streams: &[(Stream, Entry)], wanted: &[String]) -> Result<Vec<Stage>> {
        let (mut drop, mut skip) = (Vec::new(), Vec::new());
        for database in wanted {
            let of_database =
                || streams.iter().map(|(stream, _)| stream).filter(|stream| stream.database() == Some(database));
            let tables = of_database().filter(|stream| matches!(stream, Stream::Table { .. })).count();
            let creates = of_database().any(|stream| matches!(stream, Stream::Schema { .. }));
            match self.state(database)? {
                State::Missing if !creates => {
                    return Err(Error::invalid(format!(
                        "the snapshot does not create database {}, as it was made with --no-create-db; create it first",
                        quote(database)
                    )));
                }
                State::Full if tables == 0 => self.check_empty_tables(database, of_database())?,
                State::Full => match self.params.existing {
                    Existing::Error => return Err(exists(database)),
                    Existing::Drop if creates => drop.push(database.clone()),
                    Existing::Drop => {
                        return Err(Error::invalid(format!(
                            "database {} cannot be dropped first: the snapshot was made with --no-create-db and would not create it again",
                            quote(database)
                        )));
                    }
                    Existing::Skip => {
                        info!(self.context, "database {} is there and not empty: left as it is", quote(database));
                        skip.push(database.clone());
                        continue;
                    }
                },
                State::Missing | State::Empty => {}
            }
            self.expected.push((database.clone(), tables));
        }
        if !self.files {
            warn!(
                self.context,
                "the server has local_infile off: rows go in by INSERT, which takes two to three times as long; `SET GLOBAL \
                 local_infile = ON` on the target makes the restore faster"
            );
        }
        let wants = |database: &str| self.params.wants(database) && !skip.iter().any(|name| name == database);
        Ok(plan::stages(streams, &wants, &drop, &skip))
    }

    /// Whether accounts are restored, and whether that can be done.
    fn wants_accounts(&self, has: bool) -> Result<bool> {
        if !has && self.params.users == Some(true) {
            return Err(Error::invalid(
                "the snapshot has no accounts: its backup was made without `users: true`; leave `users` out",
            ));
        }
        if !has || self.params.users == Some(false) {
            return Ok(false);
        }
        if self.params.users.is_none() && self.params.databases.is_some() {
            info!(
                self.context,
                "the snapshot's accounts are left out, as `databases` chooses what is restored; `users: true` restores them"
            );
            return Ok(false);
        }
        self.accounts.as_ref().map(|_| true).map_err(no_accounts)
    }

    /// `dumpfile.sql` says itself what it does with accounts: it leaves those that are there.
    fn check_script_accounts(&self) -> Result<()> {
        if self.params.existing_users == ExistingUsers::Skip {
            return Ok(());
        }
        Err(Error::invalid(
            "`existingUsers` can only be `skip` for a snapshot of `format=single`: its one text leaves accounts that are there as they are; \
             back up with `format=parallel` to have the choice",
        ))
    }

    /// One text is one item, whoever wrote it.
    fn plan_script(&mut self, path: &str, ours: bool, wanted: &[String]) -> Result<Vec<Stage>> {
        let mut token = Token::default();
        if !ours && self.params.existing != Existing::Error {
            return Err(Error::invalid(
                "`existing` is for snapshots of this addon; the dump in this one was written by something else, and its own DROP and \
                 CREATE statements decide; leave `existing` out",
            ));
        }
        for database in wanted {
            if self.state(database)? == State::Full {
                match self.params.existing {
                    Existing::Error => return Err(exists(database)),
                    Existing::Drop => token.drop.push(database.clone()),
                    Existing::Skip => {
                        info!(self.context, "database {} is there and not empty: left as it is", quote(database));
                        token.skip.push(database.clone());
                    }
                }
            }
        }
        if ours && token.skip.len() == wanted.len() {
            return Ok(Vec::new());
        }
        Ok(vec![Stage::new("script", vec![RestoreItem::new(path).token(token.encode())])])
    }

    fn state(&mut self, database: &str) -> Result<State> {
        let name = literal(database);
        let found = self.wire.query_value(format!(
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

    /// A backup without table definitions goes into tables that are there; rows must not mix with others.
    fn check_empty_tables<'a>(&mut self, database: &str, streams: impl Iterator<Item = &'a Stream>) -> Result<()> {
        let tables: BTreeSet<&str> = streams
            .filter_map(|stream| match stream {
                Stream::Rows { table, .. } => Some(table.as_str()),
                _ => None,
            })
            .collect();
        for table in tables {
            let place = format!("{}.{}", quote(database), quote(table));
            if self.wire.query_value(format!("SELECT 1 FROM {place} LIMIT 1"))?.is_some() {
                return Err(Error::invalid(format!(
                    "the table {place} has rows; the snapshot's rows are not mixed with others: empty it first, or leave its database out"
                )));
            }
        }
        Ok(())
    }

    /// Gives the session the settings under which streams of ours are applied.
    fn settle(&mut self) -> Result<()> {
        if self.unsettled {
            for setting in settings(&self.wire) {
                let outcome = self.wire.execute(format!("SET SESSION {}", setting.assignment));
                tolerate(outcome, setting.needed)?;
            }
            self.wire.execute("SET NAMES utf8mb4")?;
            self.unsettled = false;
        }
        Ok(())
    }

    /// Loads a stream of rows.
    fn load(&mut self, database: &str, table: &str, path: &str, token: Token, input: &mut Reader) -> Result<Vec<Fact>> {
        self.settle()?;
        let place = load::Table::find(&mut self.wire, database, table, token.columns)?;
        let rows = if self.files {
            load::by_file(&mut self.wire, &self.context, &place, path, input)?
        } else {
            load::by_insert(&mut self.wire, &self.context, &place, input)?
        };
        if let Some(expected) = token.rows.filter(|expected| *expected != rows) {
            return Err(Error::data(format!("{rows} rows were loaded, but the backup had {expected}")));
        }
        Ok(vec![Fact::new(fact::ROWS, rows)])
    }

    /// Executes a stream of DDL of ours.
    fn make_objects(&mut self, input: Reader, token: &Token) -> Result<Vec<Fact>> {
        self.settle()?;
        self.drop_databases(&token.drop)?;
        let mut statements = Statements::new(input, LONGEST_STATEMENT);
        while let Some(statement) = statements.next()? {
            self.context.check_cancelled()?;
            self.unsettled |= sql::effect(statement) == Effect::Set;
            let mode = sets_mode(statement);
            patiently(&mut self.wire, &self.context, statement)?;
            if mode {
                statements.set_backslash_escapes(backslash_escapes(&mut self.wire)?);
            }
        }
        Ok(Vec::new())
    }

    /// Executes what the item is about of a table's definition.
    fn make_table(&mut self, database: &str, table: &str, input: Reader, token: &Token) -> Result<Vec<Fact>> {
        self.settle()?;
        let mut statements = Statements::new(input, LONGEST_STATEMENT);
        while let Some(statement) = statements.next()? {
            self.context.check_cancelled()?;
            let definition = Definition::parse(statement);
            let additions = match (token.part, &definition) {
                (Part::Keys, Some(definition)) => definition.late_keys(),
                (Part::ForeignKeys, Some(definition)) => definition.foreign_keys(),
                _ => Vec::new(),
            };
            let statement = match (token.part, &definition) {
                (Part::Bare, Some(definition)) => Cow::Owned(definition.without_late_keys()),
                (Part::Unbound, Some(definition)) => Cow::Owned(definition.without_foreign_keys()),
                (Part::Whole | Part::Bare | Part::Unbound, _) => Cow::Borrowed(statement),
                (Part::Keys | Part::ForeignKeys, _) if additions.is_empty() => continue,
                (Part::Keys | Part::ForeignKeys, _) => Cow::Owned(definition::add(database, table, &additions)),
            };
            patiently(&mut self.wire, &self.context, &statement)?;
        }
        Ok(Vec::new())
    }

    /// Executes a part of the stream of accounts.
    fn make_accounts(&mut self, input: Reader, phase: &str) -> Result<Vec<Fact>> {
        let (_, phase) = Phase::WORDS
            .into_iter()
            .find(|(word, _)| *word == phase)
            .ok_or_else(|| Error::internal("the item of the accounts has no phase"))?;
        self.settle()?;
        self.unsettled = true;
        let before = self.accounts.as_ref().map_err(no_accounts)?;
        let existing = self.params.existing_users;
        let count = apply::apply(&mut self.wire, &self.context, before, existing, phase, input)?;
        Ok(vec![Fact::new(if phase == Phase::Definitions { fact::ACCOUNTS } else { "privileges" }, count)])
    }

    fn drop_databases(&mut self, names: &[String]) -> Result<()> {
        for name in names {
            info!(self.context, "dropping database {}", quote(name));
            self.wire.execute("SET SESSION foreign_key_checks = 0")?;
            self.wire.execute(format!("DROP DATABASE IF EXISTS {}", quote(name)))?;
        }
        Ok(())
    }

    /// Creates views. One that needs another that is not there yet is tried again, as long as that gets any further.
    fn make_views(&mut self, input: Reader, token: &Token) -> Result<Vec<Fact>> {
        self.settle()?;
        self.unsettled = true;
        let mut waiting = self.read_views(input, &token.skip)?;
        let count = waiting.len();
        let mut made = 0_usize;
        loop {
            let before = waiting.len();
            let mut failed = Vec::new();
            for view in waiting {
                self.context.check_cancelled()?;
                match self.make_view(&view) {
                    Ok(()) => made = made.saturating_add(1),
                    Err(failure) if failure.code().is_some() && !failure.is_denied() => failed.push((view, failure)),
                    Err(failure) => return Err(Error::from(failure).with_context(view.title())),
                }
            }
            if failed.len() == before {
                return self.give_up_views(&failed, token, made);
            }
            debug!(self.context, "{made} of {count} views are there");
            waiting = failed.into_iter().map(|(view, _)| view).collect();
            if waiting.is_empty() {
                return Ok(vec![Fact::new("views", made)]);
            }
        }
    }

    fn read_views(&mut self, input: Reader, skip: &[String]) -> Result<Vec<View>> {
        let mut statements = Statements::new(input, LONGEST_STATEMENT);
        let mut views: Vec<View> = Vec::new();
        let mut wanted = false;
        while let Some(statement) = statements.next()? {
            if let Effect::Use(database) = sql::effect(statement) {
                wanted = self.params.wants(&database) && !skip.contains(&database);
                if wanted {
                    views.push(View { database, name: String::new(), statements: Vec::new() });
                }
            }
            if let Some(view) = views.last_mut().filter(|_| wanted) {
                if let Some(name) = sql::created_view(statement) {
                    view.name = name;
                }
                view.statements.push(statement.to_vec());
            }
        }
        Ok(views)
    }

    fn make_view(&mut self, view: &View) -> Outcome<()> {
        view.statements.iter().try_for_each(|statement| self.wire.execute(statement).map(drop))
    }

    /// Views that cannot be made are an error unless the source could not use them either.
    fn give_up_views(&self, failed: &[(View, Failure)], token: &Token, made: usize) -> Result<Vec<Fact>> {
        let known = |view: &View| token.is_invalid(&view.database, &view.name);
        if let Some((view, failure)) = failed.iter().find(|(view, _)| !known(view)) {
            let error = Error::from(failure.clone());
            return Err(error.with_context(format!(
                "{} views cannot be made, the first is {}",
                failed.len(),
                view.title()
            )));
        }
        for (view, failure) in failed {
            warn!(self.context, "{} was of no use in the source either and is left out: {failure}", view.title());
        }
        Ok(vec![Fact::new("views", made)])
    }

    /// Executes a dump as the `mysql` client would, but stops at the first error and at text that is cut off.
    fn run_script(&mut self, input: Reader, token: &Token) -> Result<Vec<Fact>> {
        set_up(&mut self.wire, &self.params)?;
        self.unsettled = true;
        self.drop_databases(&token.drop)?;
        let accounts = self.params.users.unwrap_or(self.params.databases.is_none());
        self.wire.execute(format!("SET {NO_ACCOUNTS} = {}", if accounts { "NULL" } else { "1" }))?;
        let mut current = None;
        if let Some(database) = &self.params.default_database {
            match self.wire.execute(format!("USE {}", quote(database))) {
                // The dump may create it.
                Err(failure) if failure.code() == Some(1049) => {}
                outcome => {
                    outcome?;
                }
            }
            current = Some(database.clone());
        }
        let wants = |database: &str| self.params.wants(database) && !token.skip.iter().any(|name| name == database);
        let mut statements = Statements::new(input, LONGEST_STATEMENT);
        let (mut executed, mut left_out) = (0_u64, 0_u64);
        while let Some(statement) = statements.next()? {
            self.context.check_cancelled()?;
            let wanted = match sql::effect(statement) {
                Effect::Use(database) => {
                    let wanted = wants(&database);
                    current = Some(database);
                    wanted
                }
                Effect::Database(database) => wants(&database),
                Effect::Set => true,
                Effect::Other => current.as_deref().is_none_or(wants),
            };
            if !wanted || (!accounts && accounts::Statement::of(statement).is_some()) {
                left_out = left_out.saturating_add(1);
                continue;
            }
            let outcome = self.wire.execute(statement);
            let mode = sets_mode(statement);
            if let Err(failure) = outcome {
                let excerpt = excerpt(statement);
                let hint = match (failure.code(), &self.params.default_database) {
                    (Some(1046), None) => "; the dump names no database: write the one it is to go to into `args`",
                    (Some(1046), Some(_)) => {
                        "; the database in `args` does not exist, and the dump does not create it: create it first"
                    }
                    _ => "",
                };
                let error = Error::from(failure);
                let message =
                    format!("{}{hint}; the statement at byte {}: {excerpt}", error.message, statements.position());
                return Err(Error { message, ..error });
            }
            executed = executed.saturating_add(1);
            if mode {
                statements.set_backslash_escapes(backslash_escapes(&mut self.wire)?);
            }
        }
        if statements.is_cut_off() {
            return Err(Error::data(
                "the dump is cut off: it begins as mysqldump's do, but its last line, `-- Dump completed`, is missing; what it has was \
                 restored",
            ));
        }
        if executed == 0 {
            return Err(Error::data("the dump has no statement to execute; there is nothing to restore"));
        }
        debug!(self.context, "{executed} statements executed, {left_out} left out");
        Ok(vec![Fact::new("statements", executed)])
    }
}

fn no_accounts(failure: &Failure) -> Error {
    let error = Error::from(failure.clone());
    let hint =
        "to restore accounts, the user of the restore must be able to read mysql.user; `users: false` restores none";
    Error { message: format!("{}; {hint}", error.message), ..error }
}

fn exists(database: &str) -> Error {
    Error::invalid(format!(
        "database {} is there and not empty; nothing was changed. Drop it, or say what to do: `existing: drop` replaces it, \
         `existing: skip` leaves it as it is",
        quote(database)
    ))
}

/// A view, not yet made.
#[derive(Debug)]
struct View {
    database: String,
    name: String,
    /// From `USE` to `CREATE VIEW`.
    statements: Vec<Vec<u8>>,
}

impl View {
    fn title(&self) -> String {
        format!("view {}.{}", quote(&self.database), quote(&self.name))
    }
}

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
    if !wire.server().is_mariadb() {
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

/// What every session of a restore needs: patience, and the binary log as the user wants it.
fn set_up(wire: &mut Wire, params: &RestoreParams) -> Result<()> {
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

/// Executes DDL beside other sessions that do the same: tables that refer to each other make the server give one of them up.
fn patiently(wire: &mut Wire, context: &Context, statement: &[u8]) -> Result<()> {
    let mut attempt = 1;
    loop {
        match wire.execute(statement) {
            Err(failure) if matches!(failure.code(), Some(1205 | 1213)) && attempt < ATTEMPTS => {
                context.check_cancelled()?;
                attempt += 1;
            }
            Err(failure) => {
                let error = Error::from(failure);
                let message = format!("{}; the statement: {}", error.message, excerpt(statement));
                return Err(Error { message, ..error });
            }
            Ok(_) => return Ok(()),
        }
    }
}

/// Whether the statement may change `sql_mode`, on which it depends what a backslash means.
fn sets_mode(statement: &[u8]) -> bool {
    sql::effect(statement) == Effect::Set
        && statement.windows(b"sql_mode".len()).any(|window| window.eq_ignore_ascii_case(b"sql_mode"))
}

fn backslash_escapes(wire: &mut Wire) -> Result<bool> {
    let mode = wire.query_value("SELECT @@SESSION.sql_mode")?.unwrap_or_default();
    Ok(!mode.split(',').any(|word| word == "NO_BACKSLASH_ESCAPES"))
}

/// The beginning of a statement. Statements that may hold a password show nothing but their first words.
fn excerpt(statement: &[u8]) -> String {
    let text = String::from_utf8_lossy(statement.get(..EXCERPT).unwrap_or(statement)).replace(['\n', '\r'], " ");
    let upper = text.to_ascii_uppercase();
    if ["USER", "PASSWORD", "IDENTIFIED", "MASTER", "SOURCE", "SERVER"].iter().any(|word| upper.contains(word)) {
        return upper.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
    }
    if statement.len() > EXCERPT { format!("{text}…") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excerpts_show_no_passwords() {
        assert_eq!(excerpt(b"INSERT INTO t\nVALUES (1)"), "INSERT INTO t VALUES (1)");
        assert_eq!(excerpt(&[b'x'; 200]), format!("{}…", "x".repeat(120)));
        assert_eq!(excerpt(b"create user a identified by 'secret'"), "CREATE USER");
        assert_eq!(excerpt(b"CHANGE MASTER TO MASTER_PASSWORD='secret'"), "CHANGE MASTER");
    }

    #[test]
    fn statements_that_set_the_mode() {
        for (statement, expected) in [
            ("/*!50003 SET sql_mode = 'ANSI' */", true),
            ("SET @OLD_SQL_MODE=@@SQL_MODE, SQL_MODE='NO_AUTO_VALUE_ON_ZERO'", true),
            ("SET NAMES utf8mb4", false),
            ("INSERT INTO t VALUES ('sql_mode')", false),
        ] {
            assert_eq!(sets_mode(statement.as_bytes()), expected, "{statement}");
        }
    }
}
