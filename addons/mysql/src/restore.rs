//! One session of a restore: the leader plans, all of them bring streams into the database.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use coffer_addon_sdk::{
    Context, Entry, Error, Fact, Reader, Restore, RestoreItem, Result, Stage, Target, debug, info, warn,
};

use crate::accounts;
use crate::accounts::apply::{self, Before, Phase};
use crate::accounts::script::NO_ACCOUNTS;
use crate::ddl;
use crate::definition::{self, Addition, Definition};
use crate::failure::{Failure, Outcome};
use crate::layout::{Stream, fact, quote};
use crate::load::{self, Counter};
use crate::params::{Existing, ExistingUsers, RestoreParams};
use crate::plan::{self, Contents, Part, Token};
use crate::progress;
use crate::refusal::{excerpt, failed, in_words};
use crate::rewrite::{self, Reading};
use crate::session::literal;
use crate::settings::{self, backslash_escapes};
use crate::splitter::Statements;
use crate::sql::{self, Effect};
use crate::survey;
use crate::views::{self, View};
use crate::wire::Wire;

/// The longest statement. Twice as much must fit the guest's memory: the statement and the packets that it is sent in.
const LONGEST_STATEMENT: usize = 48 << 20;

/// How often a statement is tried that the server gave up for the sake of another session.
const ATTEMPTS: u32 = 5;

/// What the server answers when something is there already that a statement makes: a database, table or view, routine, trigger, event.
const IS_THERE: [u16; 5] = [1007, 1050, 1304, 1359, 1537];

/// The same of an index and of a foreign key.
const KEY_IS_THERE: [u16; 3] = [1022, 1061, 1826];

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
    /// Whether the server adds primary keys of its own making to tables that have none.
    makes_primary_keys: bool,
    /// Databases that say what they are being filled from.
    begun: BTreeSet<String>,
    /// The leader's: what must be there in the end.
    expected: survey::Expected,
    /// The accounts that were there before the restore, or why they cannot be known.
    accounts: Outcome<Before>,
}

impl Restore for MySqlRestore {
    fn open(context: Context, target: Target) -> Result<Self> {
        let params = RestoreParams::read(&context)?;
        let mut wire = Wire::connect(&target, &context)?;
        settings::set_up(&mut wire, &params)?;
        let files = wire.query_value("SELECT @@GLOBAL.local_infile")?.as_deref() == Some("1");
        let accounts = Before::ask(&mut wire);
        Ok(Self {
            context,
            params,
            wire,
            unsettled: true,
            files,
            makes_primary_keys: false,
            begun: BTreeSet::new(),
            expected: survey::Expected::default(),
            accounts,
        })
    }

    fn plan(&mut self, entries: &[Entry], facts: &[Fact]) -> Result<Vec<Stage>> {
        let contents = Contents::of(entries, facts)?;
        let known = contents.databases();
        let names = self.params.databases.iter().flatten().chain(self.params.renames.0.iter().map(|(old, _)| old));
        if let Some(missing) = names.filter(|name| !known.is_empty() && !known.contains(*name)).min() {
            return Err(Error::invalid(format!(
                "the snapshot has no database {missing:?}; it has {}",
                known.iter().cloned().collect::<Vec<_>>().join(", ")
            )));
        }
        let wanted: Vec<String> = known.iter().filter(|name| self.params.wants(name)).cloned().collect();
        survey::check_targets(&self.params, &wanted)?;
        match contents {
            Contents::Parallel(streams) => {
                let has = streams.iter().any(|(stream, _)| *stream == Stream::Users);
                let accounts = self.wants_accounts(has)?;
                let snapshot = Fact::find(facts, fact::SNAPSHOT);
                let (stages, resumes) = self.plan_streams(&streams, &wanted, snapshot)?;
                if accounts && resumes && self.params.existing_users == ExistingUsers::Skip {
                    warn!(
                        self.context,
                        "accounts that are there are left as they are, those too that an earlier run of this restore made: privileges that \
                         it did not come to are not given; `existingUsers: drop` gives them"
                    );
                }
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
            Some(Stream::Rows { database, table, chunk }) => {
                let chunk = chunk.as_deref().unwrap_or_default();
                self.load((database, table, chunk), &item.path, token, &mut input)
            }
            Some(Stream::Views) => self.make_views(input, &token),
            Some(Stream::Table { database, table }) => self.make_table(database, table, input, &token),
            Some(Stream::Users) => self.make_accounts(input, &item.token),
            Some(stream) => self.make_objects(stream.database(), input, &token),
            None => self.run_script(input, &token),
        };
        done.map_err(|error| error.with_context(&item.path))
    }

    fn finish(&mut self) -> Result<()> {
        let expected = std::mem::take(&mut self.expected);
        self.settle()?;
        expected.check(&mut self.wire)?;
        // From here on it is not a restore under way, but a whole one.
        progress::end(&mut self.wire, &expected.begun)?;
        for database in &expected.read_only {
            self.wire.execute(ddl::read_only(database))?;
        }
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        self.wire.quit()
    }
}

impl MySqlRestore {
    /// The stages, and whether an earlier run goes on in them.
    fn plan_streams(
        &mut self,
        streams: &[(Stream, Entry)],
        wanted: &[String],
        snapshot: Option<&str>,
    ) -> Result<(Vec<Stage>, bool)> {
        self.settle()?;
        survey::check_tables(&mut self.wire, &self.params, streams)?;
        let (mut intents, mut skip) = (BTreeMap::new(), Vec::new());
        for database in wanted {
            let origin = snapshot.map(|snapshot| self.params.origin(snapshot, database));
            let target = self.params.renames.target(database).to_owned();
            progress::keep_others_out(&mut self.wire, &target)?;
            let mut survey = survey::Survey {
                wire: &mut self.wire,
                context: &self.context,
                params: &self.params,
                streams,
                database,
                target: &target,
            };
            let Some(intent) = survey.intent(origin)? else {
                skip.push(database.clone());
                continue;
            };
            if !intent.own {
                self.expected.tables.push((target.clone(), survey.tables()));
                if survey.closes() {
                    self.expected.read_only.push(target.clone());
                }
            }
            if intent.origin.is_some() {
                self.expected.begun.push(target);
            }
            intents.insert(database.clone(), intent);
        }
        if !self.files {
            warn!(
                self.context,
                "the server has local_infile off: rows go in by INSERT, which takes two to three times as long; `SET GLOBAL \
                 local_infile = ON` on the target makes the restore faster"
            );
        }
        let resumes = intents.values().any(|intent| intent.progress.is_some());
        let selects = |database: &str, table: &str| self.params.selects(database, table);
        let stages = plan::stages(streams, &intents, &selects, &skip, !self.params.renames.0.is_empty());
        Ok((stages, resumes))
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
        if !self.params.accounts_by_default() && self.params.users.is_none() {
            info!(
                self.context,
                "the snapshot's accounts are left out, as other parameters choose what is restored; `users: true` restores them"
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
        self.params.check_script(ours)?;
        for database in wanted {
            let target = self.params.renames.target(database).to_owned();
            if survey::state(&mut self.wire, &target)? == survey::State::Full {
                match self.params.existing {
                    Existing::Error => return Err(survey::exists(&target)),
                    Existing::Drop => token.drop.push(database.clone()),
                    Existing::Skip => {
                        info!(self.context, "database {} is there and not empty: left as it is", quote(&target));
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

    /// Gives the session the settings under which streams of ours are applied, and our own questions asked: a stream may have changed
    /// what a backslash means.
    fn settle(&mut self) -> Result<()> {
        if self.unsettled {
            settings::settle(&mut self.wire)?;
            self.makes_primary_keys = settings::makes_primary_keys(&mut self.wire)?;
            self.unsettled = false;
        }
        Ok(())
    }

    /// Says in the database what it is being filled from, before anything else comes into it.
    fn begin(&mut self, target: &str, token: &Token) -> Result<()> {
        if let Some(origin) = &token.origin
            && self.begun.insert(target.to_owned())
        {
            progress::begin(&mut self.wire, target, origin)?;
        }
        Ok(())
    }

    /// Loads a stream of rows.
    fn load(
        &mut self,
        (database, table, chunk): (&str, &str, &str),
        path: &str,
        token: Token,
        input: &mut Reader,
    ) -> Result<Vec<Fact>> {
        self.settle()?;
        let target = self.params.renames.target(database).to_owned();
        self.begin(&target, &token)?;
        let resumes = token.resume.iter().any(|name| name == database);
        let mut counter = Counter::new(chunk, token.origin.is_some(), resumes);
        let mut place = load::Table::find(&mut self.wire, (&target, table), token.columns, &token.numbers)?;
        place.is_ours = !token.foreign_table;
        let rows = if self.files {
            load::by_file(&mut self.wire, &self.context, &place, path, input, &mut counter)?
        } else {
            load::by_insert(&mut self.wire, &self.context, &place, input, &mut counter)?
        };
        if let Some(expected) = token.rows.filter(|expected| *expected != rows) {
            return Err(Error::data(format!("{rows} rows were loaded, but the backup had {expected}")));
        }
        Ok(vec![Fact::new(fact::ROWS, rows)])
    }

    /// Executes what the item is about of a table's definition.
    fn make_table(&mut self, database: &str, table: &str, input: Reader, token: &Token) -> Result<Vec<Fact>> {
        self.settle()?;
        let target = self.params.renames.target(database).to_owned();
        let resumes = token.resume.iter().any(|name| name == database);
        if !matches!(token.part, Part::Keys | Part::ForeignKeys) {
            self.begin(&target, token)?;
            if token.remake {
                self.drop_table(&target, table)?;
            }
            if token.origin.is_some() && (token.remake || (token.own && !resumes)) {
                progress::own(&mut self.wire, &target, table)?;
            }
        }
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
                (Part::Keys | Part::ForeignKeys, _) => {
                    self.add((&target, table), token.part, additions, resumes)?;
                    continue;
                }
                (Part::Bare, Some(definition)) => Cow::Owned(definition.without_late_keys()),
                (Part::Unbound, Some(definition)) => Cow::Owned(definition.without_foreign_keys()),
                (Part::Whole | Part::Bare | Part::Unbound, _) => Cow::Borrowed(statement),
            };
            if self.makes_primary_keys
                && let Some(definition) = &definition
                && !definition.has_primary_key()
            {
                return Err(Error::denied(
                    "the table has no primary key, and the server would add one of its own making, as \
                     sql_generate_invisible_primary_key is ON; grant SESSION_VARIABLES_ADMIN to the user of the restore, or switch that off \
                     on the server",
                ));
            }
            let statement = self.renamed(&statement, Reading::default())?;
            self.execute(&statement, resumes)?;
        }
        Ok(Vec::new())
    }

    fn drop_table(&mut self, target: &str, table: &str) -> Result<()> {
        let place = format!("{}.{}", quote(target), quote(table));
        info!(self.context, "dropping table {place}");
        self.wire.execute(format!("DROP TABLE IF EXISTS {place}"))?;
        Ok(())
    }

    /// Adds indexes or foreign keys to a table, but those that an earlier run has added.
    fn add(
        &mut self,
        (target, table): (&str, &str),
        part: Part,
        mut additions: Vec<Addition<'_>>,
        resumes: bool,
    ) -> Result<()> {
        let mut attempt = 1;
        loop {
            if resumes {
                let there = self.additions_there(target, table, part)?;
                additions.retain(|addition| !there.contains(&addition.name.to_lowercase()));
            }
            if additions.is_empty() {
                return Ok(());
            }
            // Each by itself: the name of the table's own database is the new one already.
            let texts: Vec<Cow<'_, [u8]>> = additions
                .iter()
                .map(|addition| self.renamed(addition.text, Reading::default()))
                .collect::<Result<_>>()?;
            let statement = definition::add(target, table, &texts);
            match patiently(&mut self.wire, &self.context, &statement)? {
                // What the server still did for a run that was killed is done now.
                Err(failure)
                    if resumes
                        && failure.code().is_some_and(|code| KEY_IS_THERE.contains(&code))
                        && attempt < ATTEMPTS =>
                {
                    attempt += 1;
                }
                outcome => return outcome.map_err(|failure| failed(failure, &statement)),
            }
        }
    }

    /// The names, in lower case, of the indexes or foreign keys that the table has.
    fn additions_there(&mut self, target: &str, table: &str, part: Part) -> Result<BTreeSet<String>> {
        let (target, table) = (literal(target), literal(table));
        let rows = self.wire.query_text(match part {
            Part::ForeignKeys => format!(
                "SELECT CONSTRAINT_NAME FROM information_schema.TABLE_CONSTRAINTS WHERE CONSTRAINT_SCHEMA = {target} AND TABLE_NAME = {table} \
                 AND CONSTRAINT_TYPE = 'FOREIGN KEY'"
            ),
            _ => format!(
                "SELECT DISTINCT INDEX_NAME FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = {target} AND TABLE_NAME = {table}"
            ),
        })?;
        Ok(rows.into_iter().flatten().map(|name| name.to_lowercase()).collect())
    }

    /// Executes a stream of DDL of ours.
    fn make_objects(&mut self, database: Option<&str>, input: Reader, token: &Token) -> Result<Vec<Fact>> {
        self.settle()?;
        self.drop_databases(&token.drop)?;
        let target = database.map(|database| self.params.renames.target(database).to_owned());
        let own = match &target {
            Some(target) if token.own => settings::default_collation(&mut self.wire, target)?,
            _ => None,
        };
        let made = self.make_all(database, input, token);
        let settled = self.settle();
        if let (Some(target), Some(collation), true) = (&target, own, settled.is_ok()) {
            // Objects may have been made under that of their time.
            let kept = settings::set_default_collation(&mut self.wire, target, &collation);
            made.and_then(|()| Ok(kept?))?;
        } else {
            made.and(settled)?;
        }
        if let Some(target) = target.filter(|_| !token.check) {
            self.begin(&target, token)?;
        }
        Ok(Vec::new())
    }

    fn make_all(&mut self, database: Option<&str>, input: Reader, token: &Token) -> Result<()> {
        let resumes = database.is_some_and(|database| token.resume.iter().any(|name| name == database));
        let mut statements = Statements::new(input, LONGEST_STATEMENT);
        loop {
            let reading = statements.reading();
            let Some(statement) = statements.next()? else { break };
            self.context.check_cancelled()?;
            let of_table = sql::trigger_table(statement);
            if let (Some(database), Some(table)) = (database, &of_table)
                && (!self.params.selects(database, table) || token.skip_tables.contains(table))
            {
                continue;
            }
            let is_set = sql::effect(statement) == Effect::Set;
            self.unsettled |= is_set;
            let mode = sets_mode(statement);
            let statement = self.rewritten(statement, reading)?.into_owned();
            if !token.check || is_set {
                self.execute(&statement, resumes)?;
            }
            if mode {
                statements.set_backslash_escapes(backslash_escapes(&mut self.wire)?);
            }
        }
        Ok(())
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
            let name = quote(self.params.renames.target(name));
            info!(self.context, "dropping database {name}");
            self.wire.execute("SET SESSION foreign_key_checks = 0")?;
            self.wire.execute(format!("DROP DATABASE IF EXISTS {name}"))?;
        }
        Ok(())
    }

    fn make_views(&mut self, input: Reader, token: &Token) -> Result<Vec<Fact>> {
        self.settle()?;
        self.unsettled = true;
        let views = self.read_views(input, &token.skip)?;
        if token.check { Ok(Vec::new()) } else { views::make(&mut self.wire, &self.context, views, token) }
    }

    fn read_views(&mut self, input: Reader, skip: &[String]) -> Result<Vec<View>> {
        let mut statements = Statements::new(input, LONGEST_STATEMENT);
        let mut views: Vec<View> = Vec::new();
        let mut wanted = false;
        loop {
            let reading = statements.reading();
            let Some(statement) = statements.next()? else { break };
            if let Effect::Use(database) = sql::effect(statement) {
                wanted = self.params.wants(&database) && !skip.contains(&database);
                if wanted {
                    let target = self.params.renames.target(&database).to_owned();
                    views.push(View { database, target, name: String::new(), statements: Vec::new() });
                }
            }
            if let Some(view) = views.last_mut().filter(|_| wanted) {
                if let Some(name) = sql::created_view(statement) {
                    view.name = name;
                }
                if view.name.is_empty() || self.params.selects(&view.database, &view.name) {
                    let statement = self.rewritten(statement, reading)?.into_owned();
                    view.statements.push(statement);
                }
            }
        }
        views.retain(|view| self.params.selects(&view.database, &view.name));
        Ok(views)
    }

    /// Executes a dump as the `mysql` client would, but stops at the first error and at text that is cut off.
    fn run_script(&mut self, input: Reader, token: &Token) -> Result<Vec<Fact>> {
        settings::set_up(&mut self.wire, &self.params)?;
        self.unsettled = true;
        self.drop_databases(&token.drop)?;
        let accounts = self.params.users.unwrap_or_else(|| self.params.accounts_by_default());
        self.wire.execute(format!("SET {NO_ACCOUNTS} = {}", if accounts { "NULL" } else { "1" }))?;
        let mut current = None;
        if let Some(database) = &self.params.default_database {
            match self.wire.execute(format!("USE {}", quote(self.params.renames.target(database)))) {
                // The dump may create it.
                Err(failure) if failure.code() == Some(1049) => {}
                outcome => {
                    outcome?;
                }
            }
            current = Some(database.clone());
        }
        let largest = settings::largest_packet(&mut self.wire)?;
        let mut statements = Statements::new(input, LONGEST_STATEMENT);
        let (mut executed, mut left_out) = (0_u64, 0_u64);
        loop {
            let reading = statements.reading();
            let Some(statement) = statements.next()? else { break };
            self.context.check_cancelled()?;
            let wants = |database: &str| self.params.wants(database) && !token.skip.iter().any(|name| name == database);
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
            let text = self.rewritten(statement, reading)?;
            settings::check_packet(text.len(), largest)?;
            let outcome = self.wire.execute(&text);
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
                let error = in_words(failure, statement);
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

    /// Executes a statement of a stream of ours. When an earlier run of this restore has made it, that is as good.
    fn execute(&mut self, statement: &[u8], resumes: bool) -> Result<()> {
        match patiently(&mut self.wire, &self.context, statement)? {
            Err(failure) if resumes && failure.code().is_some_and(|code| IS_THERE.contains(&code)) => Ok(()),
            outcome => outcome.map_err(|failure| failed(failure, statement)),
        }
    }

    /// The statement as it is executed here: definers and names of databases as the parameters say.
    fn rewritten<'a>(&self, statement: &'a [u8], reading: Reading) -> Result<Cow<'a, [u8]>> {
        if !self.params.skip_definer {
            return self.renamed(statement, reading);
        }
        match rewrite::without_definer(statement, reading) {
            Cow::Borrowed(statement) => self.renamed(statement, reading),
            Cow::Owned(statement) => Ok(Cow::Owned(self.renamed(&statement, reading)?.into_owned())),
        }
    }

    fn renamed<'a>(&self, statement: &'a [u8], reading: Reading) -> Result<Cow<'a, [u8]>> {
        self.params.renames.apply(statement, reading).map_err(|why| {
            Error::unsupported(format!(
                "the database cannot be renamed here: {why}. Restore it under its own name, or take this out of the source: {}",
                excerpt(statement)
            ))
        })
    }
}

fn no_accounts(failure: &Failure) -> Error {
    let error = Error::from(failure.clone());
    let hint =
        "to restore accounts, the user of the restore must be able to read mysql.user; `users: false` restores none";
    Error { message: format!("{}; {hint}", error.message), ..error }
}

/// Executes DDL beside other sessions that do the same: tables that refer to each other make the server give one of them up.
fn patiently(wire: &mut Wire, context: &Context, statement: &[u8]) -> Result<Outcome<()>> {
    let mut attempt = 1;
    loop {
        match wire.execute(statement) {
            Err(failure) if matches!(failure.code(), Some(1205 | 1213)) && attempt < ATTEMPTS => {
                context.check_cancelled()?;
                attempt += 1;
            }
            outcome => return Ok(outcome.map(drop)),
        }
    }
}

/// Whether the statement may change `sql_mode`, on which it depends what a backslash means.
fn sets_mode(statement: &[u8]) -> bool {
    sql::effect(statement) == Effect::Set
        && statement.windows(b"sql_mode".len()).any(|window| window.eq_ignore_ascii_case(b"sql_mode"))
}

#[cfg(test)]
mod tests {
    use super::*;

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
