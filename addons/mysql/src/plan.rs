//! What a restore does, in which order: decided from the streams of a snapshot and what is known of them.

use std::collections::{BTreeMap, BTreeSet};

use coffer_addon_sdk::{Entry, Error, Fact, RestoreItem, Result, Stage};

use crate::accounts::apply::Phase;
use crate::layout::{self, LAYOUT_VERSION, Stream, USERS, fact};
use crate::progress::{self, Progress};

/// The manifest, which the host reads and writes.
const MANIFEST: &str = "manifest.json";

/// Tokens may have 64 KiB; a little is left.
const LONGEST_TOKEN: usize = 60 << 10;

/// Tables with so many bytes of rows and more get their secondary indexes when the rows are there. For smaller ones, whose pages stay in
/// memory, one more `ALTER TABLE` costs more than it saves.
const LATE_FROM: u64 = 4 << 20;

/// What a snapshot holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Contents {
    /// Streams of ours, laid out as [`crate::layout`] says.
    Parallel(Vec<(Stream, Entry)>),
    /// One text of SQL.
    Script {
        /// Its stream.
        path: String,
        /// The databases in it, if the backup was ours.
        databases: Option<Vec<String>>,
    },
}

impl Contents {
    /// What these streams are.
    pub(crate) fn of(entries: &[Entry], facts: &[Fact]) -> Result<Self> {
        let fact = |name: &str| facts.iter().find(|fact| fact.name == name).map(|fact| fact.value.as_str());
        let entries: Vec<&Entry> = entries.iter().filter(|entry| entry.path != MANIFEST).collect();
        if let Some(version) = fact(fact::LAYOUT).filter(|version| *version != LAYOUT_VERSION) {
            return Err(Error::unsupported(format!(
                "the snapshot was written by another version of this addon: its layout is {version:?}, this one reads {LAYOUT_VERSION:?}; \
                 use the addon that wrote it"
            )));
        }
        let streams = entries.iter().map(|entry| Some((Stream::parse(&entry.path)?, (*entry).clone()))).collect();
        let streams: Option<Vec<(Stream, Entry)>> = streams;
        match (streams, entries.as_slice()) {
            (_, []) => Err(Error::data("the snapshot holds no stream; there is nothing to restore")),
            (Some(streams), _) => Ok(Self::Parallel(streams)),
            (None, [only]) if has_extension(&only.path, "sql") => {
                let databases = fact(fact::DATABASES).and_then(layout::decode_list);
                Ok(Self::Script {
                    path: only.path.clone(),
                    databases: databases.filter(|_| fact(fact::FORMAT).is_some()),
                })
            }
            (None, [first, ..]) => Err(Error::data(format!(
                "the snapshot is no backup of MySQL that this addon knows: it should hold one stream of SQL text, for example \
                 `dumpfile.sql`, or what this addon wrote, but it holds {} streams, the first is {:?}",
                entries.len(),
                first.path
            ))),
        }
    }

    /// The databases in the snapshot, as far as they are known.
    pub(crate) fn databases(&self) -> BTreeSet<String> {
        match self {
            Self::Parallel(streams) => {
                streams.iter().filter_map(|(stream, _)| stream.database()).map(str::to_owned).collect()
            }
            Self::Script { databases, .. } => databases.iter().flatten().cloned().collect(),
        }
    }
}

fn has_extension(path: &str, extension: &str) -> bool {
    path.rsplit_once('.').is_some_and(|(_, found)| found.eq_ignore_ascii_case(extension))
}

/// What of a table's definition an item is about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Part {
    /// All of it.
    #[default]
    Whole,
    /// The table without the indexes that are added later, and without foreign keys.
    Bare,
    /// The table without foreign keys, as one of them needs an index that is added later.
    Unbound,
    /// The indexes that are added later.
    Keys,
    /// The foreign keys.
    ForeignKeys,
}

impl Part {
    const WORDS: [(&'static str, Self); 4] =
        [("bare", Self::Bare), ("unbound", Self::Unbound), ("keys", Self::Keys), ("foreign-keys", Self::ForeignKeys)];
}

/// What an item's token says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is about items of another kind")]
pub(crate) struct Token {
    /// These databases are dropped first.
    pub(crate) drop: Vec<String>,
    /// These databases are left as they are.
    pub(crate) skip: Vec<String>,
    /// Databases that an earlier run of this restore has begun to fill: what is there of them already is right.
    pub(crate) resume: Vec<String>,
    /// Of triggers: those of these tables are left out.
    pub(crate) skip_tables: Vec<String>,
    /// What the database is filled from, for [`crate::progress`].
    pub(crate) origin: Option<String>,
    /// Of a table: what of it.
    pub(crate) part: Part,
    /// Of a table: it is noted as ours, as the database has others too. Of triggers: the database keeps its own settings.
    pub(crate) own: bool,
    /// Of a table: it is dropped first.
    pub(crate) remake: bool,
    /// Of a stream of definitions: nothing is executed, only looked at.
    pub(crate) check: bool,
    /// Of a stream of rows: the table was not made from the snapshot.
    pub(crate) foreign_table: bool,
    /// How many rows there must be.
    pub(crate) rows: Option<u64>,
    /// The columns of the rows.
    pub(crate) columns: Option<Vec<String>>,
    /// Those of them whose fields are numbers of ENUM and SET values.
    pub(crate) numbers: Vec<String>,
    /// The views that were of no use in the source either, as [`fact::INVALID`] has them.
    pub(crate) invalid: String,
}

impl Token {
    /// Whether the view was of no use in the source either.
    pub(crate) fn is_invalid(&self, database: &str, view: &str) -> bool {
        let name = format!("{}.{}", layout::encode(database), layout::encode(view));
        self.invalid.split(' ').any(|invalid| invalid == name)
    }

    /// As text.
    pub(crate) fn encode(&self) -> String {
        let mut lines = Vec::new();
        let mut list = |name: &str, names: &[String]| {
            if !names.is_empty() {
                lines.push(format!("{name}={}", layout::encode_list(names.iter().map(String::as_str))));
            }
        };
        list("drop", &self.drop);
        list("skip", &self.skip);
        list("resume", &self.resume);
        list("skip-tables", &self.skip_tables);
        list("columns", self.columns.as_deref().unwrap_or_default());
        list("numbers", &self.numbers);
        list("origin", self.origin.as_slice());
        let flags =
            [("own", self.own), ("remake", self.remake), ("check", self.check), ("foreign-table", self.foreign_table)];
        lines.extend(flags.iter().filter(|(_, set)| *set).map(|(name, _)| format!("{name}=true")));
        lines.extend(Part::WORDS.iter().filter(|(_, part)| *part == self.part).map(|(word, _)| format!("part={word}")));
        if !self.invalid.is_empty() {
            lines.push(format!("invalid={}", self.invalid));
        }
        lines.extend(self.rows.map(|rows| format!("rows={rows}")));
        lines.join("\n")
    }

    /// From text.
    pub(crate) fn decode(text: &str) -> Self {
        let mut token = Self::default();
        for (name, value) in text.lines().filter_map(|line| line.split_once('=')) {
            let names = || layout::decode_list(value).unwrap_or_default();
            match name {
                "drop" => token.drop = names(),
                "skip" => token.skip = names(),
                "resume" => token.resume = names(),
                "skip-tables" => token.skip_tables = names(),
                "origin" => token.origin = names().pop(),
                "own" => token.own = true,
                "remake" => token.remake = true,
                "check" => token.check = true,
                "foreign-table" => token.foreign_table = true,
                "columns" => token.columns = Some(names()),
                "numbers" => token.numbers = names(),
                "invalid" => value.clone_into(&mut token.invalid),
                "part" => {
                    let part = Part::WORDS.iter().find(|(word, _)| *word == value);
                    token.part = part.map(|(_, part)| *part).unwrap_or_default();
                }
                "rows" => token.rows = value.parse().ok(),
                _ => {}
            }
        }
        token
    }
}

/// What becomes of a database.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Intent {
    /// What it is filled from. Without it, nothing is noted, and a retry cannot go on.
    pub(crate) origin: Option<String>,
    /// It is dropped first.
    pub(crate) drop: bool,
    /// It is there and keeps its own settings.
    pub(crate) is_there: bool,
    /// Tables are chosen one by one.
    pub(crate) own: bool,
    /// Tables that are dropped first.
    pub(crate) remake: BTreeSet<String>,
    /// Tables that are left as they are.
    pub(crate) skip: BTreeSet<String>,
    /// How far an earlier run has come.
    pub(crate) progress: Option<Progress>,
}

impl Intent {
    /// Whether all of the stream's rows are there.
    pub(crate) fn is_whole(&self, stream: &Stream, entry: &Entry) -> bool {
        let (Stream::Rows { table, chunk, .. }, Some(progress)) = (stream, &self.progress) else { return false };
        let expected = value(entry, fact::ROWS).and_then(|rows| rows.parse::<u64>().ok());
        let done = progress.rows.get(&(table.clone(), chunk.clone().unwrap_or_default()));
        !self.remake.contains(table) && done.is_some() && done.copied() == expected
    }
}

/// The stages of a restore from streams of ours. `intents` has the databases that are restored, `selects` says which of their tables;
/// those in `skip` are left as they are.
pub(crate) fn stages(
    streams: &[(Stream, Entry)],
    intents: &BTreeMap<String, Intent>,
    selects: &dyn Fn(&str, &str) -> bool,
    skip: &[String],
    renames: bool,
) -> Vec<Stage> {
    let mut stages = [
        "names",
        "databases",
        "sequences",
        "tables",
        "rows",
        "indexes",
        "foreign keys",
        "routines",
        "views",
        "triggers",
        "events",
    ]
    .map(|name| Stage::new(name, Vec::new()));
    let [names, schemas, sequences, tables, rows, indexes, foreign_keys, routines, views, triggers, events] =
        &mut stages;
    let nothing = Intent::default();
    let intent = |stream: &Stream| stream.database().map_or(Some(&nothing), |database| intents.get(database));
    let wanted = || {
        streams.iter().filter(|(stream, _)| match (stream, intent(stream)) {
            (_, None) => false,
            (Stream::Table { database, table } | Stream::Rows { database, table, .. }, Some(intent)) => {
                table != progress::TABLE && selects(database, table) && !intent.skip.contains(table)
            }
            (Stream::Routines { .. } | Stream::Events { .. }, Some(intent)) => !intent.own,
            (Stream::Schema { .. }, Some(intent)) => !intent.is_there,
            _ => true,
        })
    };
    let large = Large::of(wanted());
    let made: BTreeSet<(&str, &str)> = wanted().filter_map(|(stream, _)| table_of(stream)).collect();
    let resumed = |database: &str| intents.get(database).is_some_and(|intent| intent.progress.is_some());
    let all_resumed: Vec<String> = intents.keys().filter(|database| resumed(database)).cloned().collect();
    let (mut sized, mut sized_indexes) = (Vec::new(), Vec::new());
    for (stream, entry) in wanted() {
        let Some(intent) = intent(stream) else { continue };
        let resume: Vec<String> =
            stream.database().filter(|database| resumed(database)).map(str::to_owned).into_iter().collect();
        let origin = intent.origin.clone();
        let base = Token { resume, ..Token::default() };
        let item = |token: Token| RestoreItem::new(&entry.path).token(token.encode());
        match stream {
            Stream::Schema { database } => {
                let drop = Some(database.clone()).filter(|_| intent.drop).into_iter().collect();
                schemas.items.push(item(Token { drop, origin, ..base }));
            }
            Stream::Table { database, table } => {
                let of = |part| Token { part, origin: origin.clone(), ..base.clone() };
                let bytes = large.late(database, table);
                let part = match bytes {
                    Some(_) => Part::Bare,
                    None if large.is_referred_to_by(entry) => Part::Unbound,
                    None => Part::Whole,
                };
                let remake = intent.remake.contains(table);
                let tables = if value(entry, fact::SEQUENCE).is_some() { &mut *sequences } else { &mut *tables };
                tables.items.push(item(Token { own: intent.own, remake, ..of(part) }));
                sized_indexes.extend(bytes.map(|bytes| (bytes, item(of(Part::Keys)))));
                if part != Part::Whole && value(entry, fact::REFERENCES).is_some() {
                    foreign_keys.items.push(item(of(Part::ForeignKeys)));
                }
            }
            Stream::Rows { .. } if intent.is_whole(stream, entry) => {}
            Stream::Rows { database, table, .. } => {
                let foreign_table = !made.contains(&(database.as_str(), table.as_str()));
                let token = rows_token(entry, Token { origin, foreign_table, ..base });
                sized.push((entry.size.unwrap_or(u64::MAX), RestoreItem::new(&entry.path).token(token)));
            }
            Stream::Routines { .. } => routines.items.push(item(base)),
            Stream::Views => {
                let invalid = value(entry, fact::INVALID).unwrap_or_default().to_owned();
                let skip = skip.to_vec();
                views.items.push(item(Token { resume: all_resumed.clone(), skip, invalid, ..base }));
            }
            Stream::Triggers { .. } => {
                let skip_tables = intent.skip.iter().cloned().collect();
                triggers.items.push(item(Token { skip_tables, own: intent.is_there, ..base }));
            }
            Stream::Events { .. } => events.items.push(item(base)),
            Stream::Users | Stream::Load => {}
        }
    }
    // The largest first, so that none is left over at the end. The sort is stable.
    for (sized, stage) in [(&mut sized, rows), (&mut sized_indexes, indexes)] {
        sized.sort_by_key(|(size, _)| std::cmp::Reverse(*size));
        stage.items = sized.drain(..).map(|(_, item)| item).collect();
    }
    if renames {
        // What cannot be renamed is known before anything is changed.
        let all = [&*routines, &*views, &*triggers, &*events].into_iter().flat_map(|stage| &stage.items);
        let check = |item: &RestoreItem| {
            let token = Token { check: true, ..Token::decode(&item.token) };
            RestoreItem::new(&item.path).token(token.encode())
        };
        names.items = all.map(check).collect();
    }
    stages.into_iter().filter(|stage| !stage.items.is_empty()).collect()
}

/// Adds what makes the accounts: they come first, as objects have definers; then what they may do, before the views, which the server
/// checks against it, and once more after them, as it may be about views.
pub(crate) fn with_accounts(mut stages: Vec<Stage>) -> Vec<Stage> {
    let stage = |(word, _): (&str, Phase), name| Stage::new(name, vec![RestoreItem::new(USERS).token(word)]);
    let [definitions, grants, late] = Phase::WORDS;
    let views = stages.iter().position(|stage| stage.name == "views").unwrap_or(stages.len());
    stages.insert(views, stage(grants, "privileges"));
    stages.insert(0, stage(definitions, "accounts"));
    stages.push(stage(late, "privileges on views"));
    stages
}

/// The table whose definition the stream is.
fn table_of(stream: &Stream) -> Option<(&str, &str)> {
    match stream {
        Stream::Table { database, table } => Some((database, table)),
        _ => None,
    }
}

/// The tables whose indexes are added when their rows are there, with their size.
struct Large(BTreeMap<String, u64>);

impl Large {
    fn of<'a>(streams: impl Iterator<Item = &'a (Stream, Entry)> + Clone) -> Self {
        let mut sizes: BTreeMap<String, u64> = BTreeMap::new();
        for (stream, entry) in streams.clone() {
            if let Stream::Rows { database, table, .. } = stream {
                let size = sizes.entry(full_name(database, table)).or_default();
                *size = size.saturating_add(entry.size.unwrap_or_default());
            }
        }
        let mut late = BTreeMap::new();
        for (stream, entry) in streams {
            if let Stream::Table { database, table } = stream
                && value(entry, fact::LATE_KEYS).is_some()
                && let Some(size) = sizes.get(&full_name(database, table)).filter(|size| **size >= LATE_FROM)
            {
                late.insert(full_name(database, table), *size);
            }
        }
        Self(late)
    }

    fn late(&self, database: &str, table: &str) -> Option<u64> {
        self.0.get(&full_name(database, table)).copied()
    }

    /// Whether a foreign key of the table with this definition refers to one of them: the index that it needs may be one that comes
    /// late.
    fn is_referred_to_by(&self, definition: &Entry) -> bool {
        let references = value(definition, fact::REFERENCES).unwrap_or_default();
        references.split(' ').any(|name| self.0.contains_key(name))
    }
}

/// A table as [`fact::REFERENCES`] has it.
fn full_name(database: &str, table: &str) -> String {
    format!("{}.{}", layout::encode(database), layout::encode(table))
}

fn rows_token(entry: &Entry, base: Token) -> String {
    let rows = value(entry, fact::ROWS).and_then(|rows| rows.parse().ok());
    let columns = value(entry, fact::COLUMNS).and_then(layout::decode_list);
    let numbers = value(entry, fact::NUMBERS).and_then(layout::decode_list).unwrap_or_default();
    let token = Token { rows, columns, numbers, ..base };
    let text = token.encode();
    // Thousands of long names: then the target's own columns have to do.
    if text.len() > LONGEST_TOKEN { Token { columns: None, ..token }.encode() } else { text }
}

fn value<'a>(entry: &'a Entry, name: &str) -> Option<&'a str> {
    entry.facts.iter().find(|fact| fact.name == name).map(|fact| fact.value.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, size: u64, facts: &[(&str, &str)]) -> Entry {
        Entry {
            path: path.to_owned(),
            size: Some(size),
            facts: facts.iter().map(|(name, value)| Fact::new(*name, *value)).collect(),
        }
    }

    #[test]
    fn what_snapshots_hold() {
        let ours = [Fact::new("format", "single"), Fact::new("layout", "1"), Fact::new("databases", "a b")];
        let script = |databases: Option<Vec<String>>| Contents::Script { path: "dumpfile.sql".into(), databases };
        let dump = [entry("dumpfile.sql", 1, &[]), entry("manifest.json", 1, &[])];
        assert_eq!(Contents::of(&dump, &ours), Ok(script(Some(vec!["a".into(), "b".into()]))));
        assert_eq!(Contents::of(&dump, &[]), Ok(script(None)));
        let streams =
            [entry("databases/a/schema.sql", 1, &[]), entry("load.sql", 1, &[]), entry("manifest.json", 1, &[])];
        assert!(matches!(Contents::of(&streams, &[]), Ok(Contents::Parallel(streams)) if streams.len() == 2));
        for (entries, facts, expected) in [
            (vec![], vec![], "the snapshot holds no stream"),
            (vec![entry("manifest.json", 1, &[])], vec![], "the snapshot holds no stream"),
            (vec![entry("a.tar", 1, &[])], vec![], "it holds 1 streams, the first is \"a.tar\""),
            (vec![entry("a.sql", 1, &[]), entry("b.sql", 1, &[])], vec![], "it holds 2 streams"),
            (dump.to_vec(), vec![Fact::new("layout", "2")], "its layout is \"2\""),
        ] {
            let error = Contents::of(&entries, &facts).expect_err("must be refused");
            assert!(error.message.contains(expected), "{error}");
        }
    }

    #[test]
    fn stages_come_in_the_order_that_works() {
        let entries = [
            entry("databases/a/events.sql", 1, &[]),
            entry("databases/a/routines.sql", 1, &[]),
            entry("databases/a/rows/small.tsv", 1, &[("rows", "1"), ("columns", "id a%20b")]),
            entry("databases/a/rows/t.1.tsv", 9, &[]),
            entry("databases/a/schema.sql", 1, &[]),
            entry("databases/a/tables/t.sql", 1, &[]),
            entry("databases/a/triggers.sql", 1, &[]),
            entry("databases/b/schema.sql", 1, &[]),
            entry("load.sql", 1, &[]),
            entry("views.sql", 1, &[("invalid", "a.v b%20c.w")]),
        ];
        let Ok(Contents::Parallel(streams)) = Contents::of(&entries, &[]) else { panic!("they are ours") };
        let intent = Intent { drop: true, origin: Some("the snapshot".into()), ..Intent::default() };
        let stages =
            stages(&streams, &BTreeMap::from([("a".to_owned(), intent)]), &|_, _| true, &["c".to_owned()], false);
        let shown: Vec<(&str, Vec<(&str, Token)>)> = stages
            .iter()
            .map(|stage| {
                (
                    stage.name.as_str(),
                    stage.items.iter().map(|item| (item.path.as_str(), Token::decode(&item.token))).collect(),
                )
            })
            .collect();
        let none = Token::default;
        let from = || Token { origin: Some("the snapshot".into()), ..none() };
        let columns = Some(vec!["id".to_owned(), "a b".to_owned()]);
        assert_eq!(
            shown,
            [
                ("databases", vec![("databases/a/schema.sql", Token { drop: vec!["a".into()], ..from() })]),
                ("tables", vec![("databases/a/tables/t.sql", from())]),
                (
                    "rows",
                    vec![
                        ("databases/a/rows/t.1.tsv", from()),
                        ("databases/a/rows/small.tsv", Token { rows: Some(1), columns, foreign_table: true, ..from() })
                    ]
                ),
                ("routines", vec![("databases/a/routines.sql", none())]),
                (
                    "views",
                    vec![("views.sql", Token { skip: vec!["c".into()], invalid: "a.v b%20c.w".into(), ..none() })]
                ),
                ("triggers", vec![("databases/a/triggers.sql", none())]),
                ("events", vec![("databases/a/events.sql", none())]),
            ]
        );
    }

    #[test]
    fn large_tables_get_their_indexes_late() {
        let table = |name: &str, facts: &[(&str, &str)]| entry(&format!("databases/a%2Eb/tables/{name}.sql"), 1, facts);
        let rows = |name: &str, size: u64| entry(&format!("databases/a%2Eb/rows/{name}.tsv"), size, &[]);
        let keys = ("late-keys", "2");
        let entries = [
            rows("bound.0000", LATE_FROM / 2),
            rows("bound.0001", LATE_FROM / 2),
            rows("large", LATE_FROM + 1),
            rows("small", LATE_FROM - 1),
            rows("without", LATE_FROM * 2),
            table("bound", &[keys, ("references", "a%2Eb.small")]),
            table("child", &[("references", "x.y a%2Eb.large")]),
            table("large", &[keys]),
            table("other", &[("references", "a%2Eb.without b.large")]),
            table("small", &[keys]),
            table("without", &[]),
            table("zero", &[("sequence", "true")]),
        ];
        let Ok(Contents::Parallel(streams)) = Contents::of(&entries, &[]) else { panic!("they are ours") };
        let intents = BTreeMap::from([("a.b".to_owned(), Intent::default())]);
        let stages = stages(&streams, &intents, &|_, _| true, &[], false);
        let of_stage = |name: &str| -> Vec<(String, Part)> {
            let items = stages.iter().filter(|stage| stage.name == name).flat_map(|stage| &stage.items);
            let name = |path: &str| path.rsplit('/').next().unwrap().trim_end_matches(".sql").to_owned();
            items.map(|item| (name(&item.path), Token::decode(&item.token).part)).collect()
        };
        let expected = |list: &[(&str, Part)]| -> Vec<(String, Part)> {
            list.iter().map(|(name, part)| ((*name).to_owned(), *part)).collect()
        };
        let tables = [
            ("bound", Part::Bare),
            ("child", Part::Unbound),
            ("large", Part::Bare),
            ("other", Part::Whole),
            ("small", Part::Whole),
            ("without", Part::Whole),
        ];
        assert_eq!(of_stage("tables"), expected(&tables));
        assert_eq!(of_stage("indexes"), expected(&[("large", Part::Keys), ("bound", Part::Keys)]));
        assert_eq!(of_stage("foreign keys"), expected(&[("bound", Part::ForeignKeys), ("child", Part::ForeignKeys)]));
        assert_eq!(of_stage("sequences"), expected(&[("zero", Part::Whole)]));
        let order: Vec<&str> = stages.iter().map(|stage| stage.name.as_str()).collect();
        assert_eq!(order, ["sequences", "tables", "rows", "indexes", "foreign keys"]);
    }

    #[test]
    fn a_retry_does_what_is_left() {
        let entries = [
            entry("databases/a/rows/begun.tsv", 9, &[("rows", "9")]),
            entry("databases/a/rows/flat.tsv", 8, &[("rows", "9")]),
            entry("databases/a/rows/new.0000.tsv", 7, &[("rows", "9")]),
            entry("databases/a/rows/whole.0000.tsv", 6, &[("rows", "9")]),
            entry("databases/a/rows/whole.0001.tsv", 5, &[("rows", "9")]),
            entry("databases/a/schema.sql", 1, &[]),
            entry("databases/a/tables/flat.sql", 1, &[]),
            entry("databases/a/triggers.sql", 1, &[]),
            entry("databases/a/events.sql", 1, &[]),
            entry("databases/b/tables/t.sql", 1, &[]),
            entry("views.sql", 1, &[]),
        ];
        let Ok(Contents::Parallel(streams)) = Contents::of(&entries, &[]) else { panic!("they are ours") };
        let done = |table: &str, chunk: &str, rows| ((table.to_owned(), chunk.to_owned()), rows);
        let rows =
            [done("begun", "", 4), done("flat", "", 9), done("whole", "0000", 9), done("whole", "0001", 8)].into();
        let progress = Some(Progress { rows, ..Progress::default() });
        let intent =
            Intent { progress, remake: ["flat".to_owned()].into(), own: true, is_there: true, ..Intent::default() };
        let intents = [("a".to_owned(), intent), ("b".to_owned(), Intent::default())].into();
        let stages = stages(&streams, &intents, &|_, table| table != "new", &[], true);
        let items: Vec<(&str, Token)> = stages
            .iter()
            .flat_map(|stage| &stage.items)
            .map(|item| (item.path.as_str(), Token::decode(&item.token)))
            .collect();
        let resumed = || Token { resume: vec!["a".into()], ..Token::default() };
        let rows = || Token { rows: Some(9), foreign_table: true, ..resumed() };
        assert_eq!(
            items,
            [
                ("views.sql", Token { check: true, ..resumed() }),
                ("databases/a/triggers.sql", Token { check: true, own: true, ..resumed() }),
                ("databases/a/tables/flat.sql", Token { own: true, remake: true, ..resumed() }),
                ("databases/b/tables/t.sql", Token::default()),
                ("databases/a/rows/begun.tsv", rows()),
                ("databases/a/rows/flat.tsv", Token { foreign_table: false, ..rows() }),
                ("databases/a/rows/whole.0001.tsv", rows()),
                ("views.sql", resumed()),
                ("databases/a/triggers.sql", Token { own: true, ..resumed() }),
            ]
        );
    }

    #[test]
    fn columns_that_do_not_fit_are_left_to_the_target() {
        let names: Vec<String> = (0..2000).map(|number| format!("{number:060}")).collect();
        let columns = layout::encode_list(names.iter().map(String::as_str));
        let token = Token::decode(&rows_token(
            &entry("databases/a/rows/t.tsv", 1, &[("rows", "7"), ("columns", &columns)]),
            Token::default(),
        ));
        assert_eq!(token, Token { rows: Some(7), ..Token::default() });
    }
}
