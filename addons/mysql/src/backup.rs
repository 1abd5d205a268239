//! One session of a backup: the leader begins the view and plans, all of them write streams.

use std::collections::{BTreeMap, BTreeSet};

use coffer_addon_sdk::{Backup, Context, Error, Fact, Finished, Item, Plan, Result, Target, Writer, warn};

use crate::accounts::script::Accounts;
use crate::catalog::{self, Database, Kind, Reading, Table};
use crate::chunks::{self, CHUNK, Chunks};
use crate::definition::Definition;
use crate::digest::{self, Watch};
use crate::layout::{self, LAYOUT_VERSION, LOAD, SINGLE, Stream, Transfer, USERS, VIEWS, fact, quote};
use crate::params::{BackupParams, Databases, Format, GtidPurged};
use crate::replica::{self, Sources};
use crate::session::Session;
use crate::view::{self, Needs, Position, View};
use crate::{ddl, privileges, rows, script};

/// Tokens may have 64 KiB; a little is left.
const LONGEST_TOKEN: usize = 60 << 10;

/// Of a table that may be cut: its size in bytes, its smallest and its largest key.
type Extent = (u64, i128, i128);
/// Something for some of the tables, by database and name.
type ByTable<T> = BTreeMap<(String, String), T>;

/// One session of a backup.
#[derive(Debug)]
pub struct MySqlBackup {
    context: Context,
    params: BackupParams,
    target: Target,
    session: Session,
    /// The leader's.
    view: Option<View>,
    /// Beside the view, for seeing whether tables change.
    aside: Option<Session>,
}

impl Backup for MySqlBackup {
    fn open(context: Context, target: Target) -> Result<Self> {
        let params = BackupParams::read(&context)?;
        let session = Session::open(&target, &context)?;
        Ok(Self { context, params, target, session, view: None, aside: None })
    }

    fn prepare(&mut self) -> Result<String> {
        let needs = Needs { lock_timeout: self.params.lock_timeout, position: self.params.needs_position() };
        let view = View::begin(&mut self.session, &self.target, &self.context, needs)?;
        let name = view.name();
        self.view = Some(view);
        Ok(name)
    }

    fn join(&mut self, _view: &str) -> Result<()> {
        Ok(view::join(&mut self.session)?)
    }

    fn release(&mut self) -> Result<Option<String>> {
        let view = self.view.as_mut().ok_or_else(|| Error::internal("release was called before prepare"))?;
        let settled = view.settle(&mut self.session, &self.context)?;
        Ok((!settled).then(|| view.name()))
    }

    fn plan(&mut self) -> Result<Plan> {
        let databases = catalog::databases(&mut self.session, &self.params.selection)?;
        if databases.is_empty() {
            return Err(Error::invalid(
                "there is no database to back up: the server has none but its own that the user of the backup may see and that is \
                 selected",
            ));
        }
        let mut facts = self.facts(&databases);
        let sources = Sources::ask(&mut self.session, &self.context)?;
        facts.extend(sources.facts());
        let accounts = match self.params.users.clone() {
            Some(choice) => Some(Accounts::list(&mut self.session, &self.context, &choice)?),
            None => None,
        };
        facts.extend(accounts.as_ref().map(|accounts| Fact::new(fact::ACCOUNTS, accounts.count())));
        let digests = self.digests(&databases)?;
        let mut items = match self.params.format {
            Format::Single => vec![self.single_item(&databases, &sources, &digests)?],
            Format::Parallel => self.items(&databases, &digests)?,
        };
        let left_out = self.without_history(&databases)?;
        if !left_out.is_empty() {
            warn!(
                self.context,
                "of these system-versioned tables the backup has the current rows only, as the server cannot be given past ones (MariaDB can \
                 since 10.11, but for history that is counted in transactions): {}",
                left_out.join(", ")
            );
            facts.push(Fact::new("without-history", layout::encode_list(left_out.iter().map(String::as_str))));
        }
        let outside = outside_of_view(&databases);
        if !outside.is_empty() {
            warn!(
                self.context,
                "tables without transactions are not part of the consistent view, only read one after the other: {}",
                outside.join(", ")
            );
            facts.push(Fact::new("not-in-view", layout::encode_list(outside.iter().map(String::as_str))));
        }
        let hidden = privileges::hidden(&mut self.session, &self.params, &databases)?;
        if let Databases::Named(_) = self.params.selection.databases
            && !hidden.is_empty()
        {
            return Err(Error::denied(format!(
                "the server hides what the user of the backup has no privilege for: {}. What is asked for by name must be backed up whole: \
                 grant what the addon's README lists, or leave it out in `args` (--skip-triggers, --skip-events, --skip-routines)",
                hidden.join(", ")
            )));
        }
        if !hidden.is_empty() {
            warn!(
                self.context,
                "the server hides what the user of the backup has no privilege for; if there is any of this, it is NOT part of the \
                 backup: {}. Grant what the addon's README lists, or leave it out in `args` (--skip-triggers, --skip-events, \
                 --skip-routines)",
                hidden.join(", ")
            );
            facts.push(Fact::new("not-visible", layout::encode_list(hidden.iter().map(String::as_str))));
        }
        items.sort_by(|a, b| a.path.split('/').cmp(b.path.split('/')));
        Ok(Plan { items, facts })
    }

    fn run(&mut self, item: &Item, mut out: Writer) -> Result<(Finished, Vec<Fact>)> {
        let facts = self.write(item, &mut out).map_err(|error| error.with_context(&item.path))?;
        view::let_go(&mut self.session)?;
        Ok((out.finish()?, facts))
    }

    fn close(&mut self) -> Result<()> {
        self.session.execute("ROLLBACK")?;
        if let Some(view) = self.view.take() {
            view.end(&mut self.session)?;
        }
        if let Some(mut aside) = self.aside.take() {
            aside.close()?;
        }
        self.session.close()
    }
}

impl MySqlBackup {
    /// The session beside the view.
    fn open_aside(&mut self) -> Result<&mut Session> {
        if self.aside.is_none() {
            self.aside = Some(Session::open(&self.target, &self.context)?);
        }
        self.aside.as_mut().ok_or_else(|| Error::internal("a session that was opened is not there"))
    }

    /// That a table still is what it was, if that is not certain anyway.
    fn check_table(&mut self, database: &str, table: &Table, text: Option<&[u8]>, expected: &str) -> Result<()> {
        if expected.is_empty() {
            return Ok(());
        }
        let aside = self.open_aside()?;
        let now = match text {
            Some(text) => digest::of_text(aside, database, table, text)?,
            None => digest::of(aside, database, table)?,
        };
        if now == expected { Ok(()) } else { Err(digest::changed(database, &table.name)) }
    }

    fn facts(&self, databases: &[Database]) -> Vec<Fact> {
        let mut facts = vec![
            Fact::new(fact::FORMAT, self.params.format.as_str()),
            Fact::new(fact::LAYOUT, LAYOUT_VERSION),
            Fact::new(fact::DATABASES, layout::encode_list(databases.iter().map(|database| database.name.as_str()))),
            Fact::new(fact::SERVER_VERSION, &self.session.server().version_text),
        ];
        if let Some(view) = &self.view {
            facts.push(Fact::new("view", view.method()));
            facts.extend(view.held().map(|held| Fact::new("lock-held-ms", held.as_millis())));
            if let Some(position) = view.position() {
                if !position.gtid.is_empty() {
                    facts.push(Fact::new(fact::GTID, &position.gtid));
                }
                if let Some((file, offset)) = &position.binlog {
                    facts.push(Fact::new(fact::BINLOG_FILE, file));
                    facts.push(Fact::new(fact::BINLOG_POSITION, offset));
                }
            }
        }
        facts
    }

    /// The item of `format=single`. Its token is the digest of all tables, and what the text begins with.
    fn single_item(&mut self, databases: &[Database], sources: &Sources, digests: &ByTable<String>) -> Result<Item> {
        let bytes = databases.iter().flat_map(|database| &database.tables).map(|table| table.bytes).sum();
        let position = self.view.as_ref().and_then(View::position).cloned();
        let head = self.gtid_purged(position.as_ref())?
            + &replica::statements(&mut self.session, &self.params, position.as_ref(), sources)?;
        Ok(Item::new(SINGLE).estimate(bytes).token(format!("{}\n{head}", digest_of_all(digests))))
    }

    /// The statement that gives the GTID set to the target, as `--set-gtid-purged` wants it.
    fn gtid_purged(&mut self, position: Option<&Position>) -> Result<String> {
        let wanted = self.params.gtid_purged;
        if wanted == GtidPurged::Off {
            return Ok(String::new());
        }
        let server = self.session.server();
        let has_gtids = !server.is_mariadb()
            && self.session.value("SELECT @@GLOBAL.gtid_mode")?.is_some_and(|mode| mode.eq_ignore_ascii_case("ON"));
        if !has_gtids {
            if wanted == GtidPurged::On {
                return Err(Error::invalid(
                    "--set-gtid-purged=ON: the server has no GTIDs as MySQL has them (gtid_mode is not ON); leave it out of `args`",
                ));
            }
            return Ok(String::new());
        }
        let Some(position) = position else {
            return Err(Error::denied(
                "--set-gtid-purged: the GTID set that belongs to the backup is not known; the user of the backup needs BACKUP_ADMIN, or RELOAD \
                 and REPLICATION CLIENT and `workers` of 2 or more; or leave --set-gtid-purged out of `args`",
            ));
        };
        // A comment for servers of a version cannot be inside of another comment.
        let mark = if wanted == GtidPurged::Commented { "-- " } else { "" };
        Ok(format!(
            "{mark}SET @@SESSION.SQL_LOG_BIN = 0;\n{mark}SET @@GLOBAL.GTID_PURGED = /*!80000 '+'*/ '{}';\n",
            position.gtid
        ))
    }

    /// What the definitions of all tables are now, where others may change them while the backup runs.
    fn digests(&mut self, databases: &[Database]) -> Result<ByTable<String>> {
        let mut digests = BTreeMap::new();
        if self.view.as_ref().is_none_or(View::keeps_definitions) {
            return Ok(digests);
        }
        let aside = self.open_aside()?;
        for database in databases {
            for table in database.of_kind(Kind::Base) {
                let digest = digest::of(aside, &database.name, table)?;
                digests.insert((database.name.clone(), table.name.clone()), digest);
            }
        }
        Ok(digests)
    }

    /// The system-versioned tables whose past is left out.
    fn without_history(&mut self, databases: &[Database]) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for database in databases {
            for table in database.tables.iter().filter(|table| table.versioned) {
                if script::has_rows(&self.params, &database.name, table)
                    && !Reading::of(&mut self.session, &database.name, table)?.history
                {
                    names.push(format!("{}.{}", database.name, table.name));
                }
            }
        }
        Ok(names)
    }

    /// The items of `format=parallel`.
    fn items(&mut self, databases: &[Database], digests: &ByTable<String>) -> Result<Vec<Item>> {
        let keys = self.keys(databases)?;
        let digest = |database: &str, table: &str| {
            digests.get(&(database.to_owned(), table.to_owned())).map(String::as_str).unwrap_or_default()
        };
        // What went into several streams must fit the token of `load.sql`.
        let mut chunk = CHUNK;
        let mut cuts = cut(&keys, chunk);
        while chunk_list(&cuts).len() > LONGEST_TOKEN {
            chunk = chunk.saturating_mul(2);
            cuts = cut(&keys, chunk);
        }
        let whole = self.params.selection.whole_databases();
        let mut items = vec![Item::new(LOAD).token(format!("{}\n{}", digest_of_all(digests), chunk_list(&cuts)))];
        if self.params.users.is_some() {
            items.push(Item::new(USERS));
        }
        if self.params.create_tables && databases.iter().any(|database| database.of_kind(Kind::View).next().is_some()) {
            items.push(Item::new(VIEWS));
        }
        for database in databases {
            let name = || database.name.clone();
            if self.params.create_databases {
                items.push(Item::new(Stream::Schema { database: name() }.path()));
            }
            if self.params.routines && whole && database.has_routines {
                items.push(Item::new(Stream::Routines { database: name() }.path()));
            }
            if self.params.triggers && database.has_triggers {
                items.push(Item::new(Stream::Triggers { database: name() }.path()));
            }
            if self.params.events && whole && database.has_events {
                items.push(Item::new(Stream::Events { database: name() }.path()));
            }
            for table in database.tables.iter().filter(|table| table.kind != Kind::View) {
                if self.params.create_tables {
                    let stream = Stream::Table { database: name(), table: table.name.clone() };
                    items.push(Item::new(stream.path()).token(table_token(
                        table,
                        "",
                        digest(&database.name, &table.name),
                    )));
                }
                if script::has_rows(&self.params, &database.name, table) {
                    let cut = cuts.get(&(name(), table.name.clone())).copied();
                    items.extend(rows_items(&database.name, table, cut, digest(&database.name, &table.name)));
                }
            }
        }
        Ok(items)
    }

    /// Of every table that may be cut: its size, and the smallest and largest key.
    fn keys(&mut self, databases: &[Database]) -> Result<ByTable<Extent>> {
        let mut keys = BTreeMap::new();
        for database in databases {
            for table in &database.tables {
                if table.bytes < 2 * CHUNK
                    || table.engine != "innodb"
                    || !script::has_rows(&self.params, &database.name, table)
                {
                    continue;
                }
                let Some(key) = Reading::of(&mut self.session, &database.name, table)?.integer_key else {
                    continue;
                };
                let key = quote(&key);
                let borders = self.session.text(format!(
                    "SELECT MIN({key}), MAX({key}) FROM {}.{}",
                    quote(&database.name),
                    quote(&table.name)
                ))?;
                if let Some([min, max]) = borders.first().map(Vec::as_slice)
                    && let (Ok(min), Ok(max)) = (min.parse(), max.parse())
                {
                    keys.insert((database.name.clone(), table.name.clone()), (table.bytes, min, max));
                }
            }
        }
        Ok(keys)
    }

    fn write(&mut self, item: &Item, out: &mut Writer) -> Result<Vec<Fact>> {
        if item.path == SINGLE {
            let databases = catalog::databases(&mut self.session, &self.params.selection)?;
            let (expected, head) = item.token.split_once('\n').unwrap_or_default();
            if !expected.is_empty() {
                self.open_aside()?;
            }
            let watch = self.aside.as_mut().map(|now| Watch { now, expected }).filter(|_| !expected.is_empty());
            let count = script::single(&mut self.session, &self.context, &self.params, &databases, head, watch, out)?;
            return Ok(vec![Fact::new(fact::ROWS, count)]);
        }
        let stream = Stream::parse(&item.path).ok_or_else(|| Error::internal("the path is none of this addon's"))?;
        match &stream {
            Stream::Schema { database } => {
                out.write_all(&ddl::schema(&mut self.session, database)?)?;
                return ddl::schema_facts(&mut self.session, database);
            }
            Stream::Table { database, table } => return self.write_table(database, table, &item.token, out),
            Stream::Routines { database } => {
                out.write_all(&ddl::use_database(database))?;
                out.write_all(&ddl::routines(&mut self.session, database)?)?;
            }
            Stream::Triggers { database } => {
                out.write_all(&ddl::use_database(database))?;
                out.write_all(&ddl::triggers(&mut self.session, database, &self.params.selection)?)?;
            }
            Stream::Events { database } => {
                out.write_all(&ddl::use_database(database))?;
                out.write_all(&ddl::events(&mut self.session, database)?)?;
            }
            Stream::Views => {
                let databases = catalog::databases(&mut self.session, &self.params.selection)?;
                let views = ddl::views(&mut self.session, &databases)?;
                out.write_all(&views.text)?;
                if !views.invalid.is_empty() {
                    warn!(self.context, "views that read what is not there any more: {}", views.invalid.join(", "));
                    return Ok(vec![Fact::new(fact::INVALID, views.invalid.join(" "))]);
                }
            }
            Stream::Users => {
                let choice = self.params.users.clone().unwrap_or_default();
                let accounts = Accounts::list(&mut self.session, &self.context, &choice)?;
                accounts.write(&mut self.session, &self.context, out)?;
                return Ok(vec![Fact::new(fact::ACCOUNTS, accounts.count())]);
            }
            Stream::Load => {
                let databases = catalog::databases(&mut self.session, &self.params.selection)?;
                let (expected, chunks) = item.token.split_once('\n').unwrap_or_default();
                let chunks = parse_chunk_list(chunks);
                let count = |database: &str, table: &str| {
                    chunks.get(&(database.to_owned(), table.to_owned())).copied().unwrap_or_default()
                };
                if !expected.is_empty() {
                    self.open_aside()?;
                }
                let watch = self.aside.as_mut().map(|now| Watch { now, expected }).filter(|_| !expected.is_empty());
                script::load(&mut self.session, &self.context, &self.params, &databases, &count, watch, out)?;
            }
            Stream::Rows { database, table, .. } => return self.write_rows(database, table, &item.token, out),
        }
        Ok(Vec::new())
    }

    fn write_table(&mut self, database: &str, table: &str, token: &str, out: &mut Writer) -> Result<Vec<Fact>> {
        let (table, _, digest) = parse_table_token(table, token);
        out.write_all(&ddl::use_database(database))?;
        let text = ddl::table(&mut self.session, database, &table)?;
        self.check_table(database, &table, Some(&text), &digest)?;
        out.write_all(&text)?;
        if self.params.column_statistics != Some(false) {
            out.write_all(&ddl::histograms(&mut self.session, database, &table)?)?;
        }
        let mut facts = table_facts(database, &text);
        if table.kind == Kind::Sequence {
            facts.push(Fact::new(fact::SEQUENCE, true));
        }
        Ok(facts)
    }

    fn write_rows(&mut self, database: &str, table: &str, token: &str, out: &mut Writer) -> Result<Vec<Fact>> {
        let (table, range, digest) = parse_table_token(table, token);
        let reading = Reading::of(&mut self.session, database, &table)?;
        let range = chunks::condition(&range, reading.integer_key.as_deref())?;
        let conditions: Vec<String> = range.into_iter().chain(self.params.condition.clone()).collect();
        let select = reading.select(&self.session, database, &table, &conditions);
        let rows = match self.session.stored_rows(select) {
            // No such table or column any more, or another definition: it is known why.
            Err(failure) if !digest.is_empty() && matches!(failure.code(), Some(1054 | 1146 | 1412)) => {
                self.check_table(database, &table, None, &digest)?;
                return Err(failure.into());
            }
            rows => rows?,
        };
        let count = rows::write(rows, out)?;
        // The transaction has read the table, so that nobody can change it now.
        self.check_table(database, &table, None, &digest)?;
        let columns = layout::encode_list(reading.fields.iter().map(|field| field.name.as_str()));
        let mut facts = vec![Fact::new(fact::ROWS, count), Fact::new(fact::COLUMNS, columns)];
        let numbers = reading.fields.iter().filter(|field| field.transfer == Transfer::Number);
        let numbers = layout::encode_list(numbers.map(|field| field.name.as_str()));
        if !numbers.is_empty() {
            facts.push(Fact::new(fact::NUMBERS, numbers));
        }
        Ok(facts)
    }
}

/// All of them in one; empty if nobody can change definitions.
fn digest_of_all(digests: &ByTable<String>) -> String {
    if digests.is_empty() {
        return String::new();
    }
    let all = digests.iter().map(|((database, table), digest)| (database.as_str(), table.as_str(), digest.as_str()));
    digest::of_all(all)
}

/// What a restore wants to know of a table before it reads its definition.
fn table_facts(database: &str, text: &[u8]) -> Vec<Fact> {
    let mut facts = Vec::new();
    let Some(definition) = Definition::parse(text) else { return facts };
    let late = definition.late_keys().len();
    if late > 0 {
        facts.push(Fact::new(fact::LATE_KEYS, late));
    }
    let references: BTreeSet<String> = definition
        .references()
        .map(|(other, table)| format!("{}.{}", layout::encode(other.unwrap_or(database)), layout::encode(table)))
        .collect();
    if !references.is_empty() {
        facts.push(Fact::new(fact::REFERENCES, references.into_iter().collect::<Vec<_>>().join(" ")));
    }
    facts
}

fn outside_of_view(databases: &[Database]) -> Vec<String> {
    let mut names = Vec::new();
    for database in databases {
        for table in database.tables.iter().filter(|table| table.has_rows() && !table.is_transactional()) {
            names.push(format!("{}.{}", database.name, table.name));
        }
    }
    names
}

fn rows_items(database: &str, table: &Table, cut: Option<Chunks>, digest: &str) -> Vec<Item> {
    let item = |chunk: Option<String>, range: &str, bytes: u64| {
        let stream = Stream::Rows { database: database.to_owned(), table: table.name.clone(), chunk };
        Item::new(stream.path()).estimate(bytes).token(table_token(table, range, digest))
    };
    match cut {
        None => vec![item(None, "", table.bytes)],
        Some(cut) => {
            let bytes = table.bytes / u64::from(cut.count).max(1);
            Chunks::names(cut.count).zip(cut.tokens()).map(|(name, range)| item(Some(name), &range, bytes)).collect()
        }
    }
}

/// What a session must know of a table that it did not list itself: what it is, its engine, the range of rows, and its digest.
fn table_token(table: &Table, range: &str, digest: &str) -> String {
    let kind = match table.kind {
        Kind::Sequence => "sequence",
        _ if table.versioned => "versioned",
        _ => "table",
    };
    format!("{kind} {} {range} {digest}", table.engine)
}

fn parse_table_token(name: &str, token: &str) -> (Table, String, String) {
    let mut words = token.split(' ').map(str::to_owned);
    let mut word = || words.next().unwrap_or_default();
    let (what, engine) = (word(), word());
    let kind = if what == "sequence" { Kind::Sequence } else { Kind::Base };
    let table = Table { name: name.to_owned(), kind, engine, versioned: what == "versioned", bytes: 0 };
    (table, word(), word())
}

fn cut(keys: &ByTable<Extent>, chunk: u64) -> ByTable<Chunks> {
    keys.iter()
        .filter_map(|(table, (bytes, min, max))| Some((table.clone(), Chunks::cut(*bytes, *min, *max, chunk)?)))
        .collect()
}

/// The token of `load.sql`: which tables went into how many streams.
fn chunk_list(cuts: &ByTable<Chunks>) -> String {
    let line = |((database, table), cut): (&(String, String), &Chunks)| {
        format!("{} {} {}\n", layout::encode(database), layout::encode(table), cut.count)
    };
    cuts.iter().map(line).collect()
}

fn parse_chunk_list(token: &str) -> ByTable<u32> {
    let line = |line: &str| {
        let mut words = line.split(' ');
        let table = (layout::decode(words.next()?)?, layout::decode(words.next()?)?);
        Some((table, words.next()?.parse().ok()?))
    };
    token.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_of_tables() {
        let text = b"CREATE TABLE `t` (\n  `a` int NOT NULL,\n  PRIMARY KEY (`a`),\n  KEY `k` (`a`),\n  CONSTRAINT `f` FOREIGN KEY (`a`) \
                     REFERENCES `x y` (`a`),\n  CONSTRAINT `g` FOREIGN KEY (`a`) REFERENCES `e`.`t` (`a`)\n) ENGINE=InnoDB;\n";
        assert_eq!(table_facts("d.b", text), [Fact::new("late-keys", 1), Fact::new("references", "d%2Eb.x%20y e.t")]);
        assert_eq!(table_facts("d", b"CREATE TABLE `t` (\n  `a` int\n) ENGINE=InnoDB;\n"), []);
        assert_eq!(table_facts("d", b"CREATE SEQUENCE `s` start with 1;\n"), []);
    }

    #[test]
    fn tokens_come_back() {
        let plain = Table { name: "a b".into(), kind: Kind::Base, engine: "innodb".into(), versioned: false, bytes: 0 };
        let versioned = Table { versioned: true, ..plain.clone() };
        let sequence = Table { kind: Kind::Sequence, ..plain.clone() };
        for table in [plain, versioned, sequence] {
            for (range, digest) in [("1..5", "ab"), ("", "ab"), ("1..5", ""), ("", "")] {
                let parsed = parse_table_token("a b", &table_token(&table, range, digest));
                assert_eq!(parsed, (table.clone(), range.to_owned(), digest.to_owned()));
            }
        }
        let keys = BTreeMap::from([(("d b".to_owned(), "t".to_owned()), (1 << 30, 1, 1 << 20))]);
        let cuts = cut(&keys, CHUNK);
        let parsed = parse_chunk_list(&chunk_list(&cuts));
        assert_eq!(parsed, BTreeMap::from([(("d b".to_owned(), "t".to_owned()), 17)]));
    }
}
