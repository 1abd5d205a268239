//! What a restore does, in which order: decided from the streams of a snapshot and what is known of them.

use std::collections::BTreeSet;

use coffer_addon_sdk::{Entry, Error, Fact, RestoreItem, Result, Stage};

use crate::layout::{self, LAYOUT_VERSION, Stream, fact};

/// The manifest, which the host reads and writes.
const MANIFEST: &str = "manifest.json";

/// Tokens may have 64 KiB; a little is left.
const LONGEST_TOKEN: usize = 60 << 10;

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

/// What an item's token says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Token {
    /// These databases are dropped first.
    pub(crate) drop: Vec<String>,
    /// These databases are left as they are.
    pub(crate) skip: Vec<String>,
    /// How many rows there must be.
    pub(crate) rows: Option<u64>,
    /// The columns of the rows.
    pub(crate) columns: Option<Vec<String>>,
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
        list("columns", self.columns.as_deref().unwrap_or_default());
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
                "columns" => token.columns = Some(names()),
                "invalid" => value.clone_into(&mut token.invalid),
                "rows" => token.rows = value.parse().ok(),
                _ => {}
            }
        }
        token
    }
}

/// The stages of a restore from streams of ours. `wants` says which databases; those in `drop` are there and go first.
pub(crate) fn stages(
    streams: &[(Stream, Entry)],
    wants: &dyn Fn(&str) -> bool,
    drop: &[String],
    skip: &[String],
) -> Vec<Stage> {
    let mut stages = ["databases", "tables", "rows", "routines", "views", "triggers", "events"]
        .map(|name| Stage::new(name, Vec::new()));
    let [schemas, tables, rows, routines, views, triggers, events] = &mut stages;
    let mut sized = Vec::new();
    for (stream, entry) in streams {
        if stream.database().is_some_and(|database| !wants(database)) {
            continue;
        }
        let plain = || RestoreItem::new(&entry.path);
        match stream {
            Stream::Schema { database } => {
                let drop = drop.iter().filter(|name| *name == database).cloned().collect();
                schemas.items.push(plain().token(Token { drop, ..Token::default() }.encode()));
            }
            Stream::Table { .. } => tables.items.push(plain()),
            Stream::Rows { .. } => sized.push((entry.size.unwrap_or(u64::MAX), plain().token(rows_token(entry)))),
            Stream::Routines { .. } => routines.items.push(plain()),
            Stream::Views => {
                let invalid = value(entry, fact::INVALID).unwrap_or_default().to_owned();
                views.items.push(plain().token(Token { skip: skip.to_vec(), invalid, ..Token::default() }.encode()));
            }
            Stream::Triggers { .. } => triggers.items.push(plain()),
            Stream::Events { .. } => events.items.push(plain()),
            Stream::Load => {}
        }
    }
    // The largest first, so that none is left over at the end. The sort is stable.
    sized.sort_by_key(|(size, _)| std::cmp::Reverse(*size));
    rows.items = sized.into_iter().map(|(_, item)| item).collect();
    stages.into_iter().filter(|stage| !stage.items.is_empty()).collect()
}

fn rows_token(entry: &Entry) -> String {
    let rows = value(entry, fact::ROWS).and_then(|rows| rows.parse().ok());
    let columns = value(entry, fact::COLUMNS).and_then(layout::decode_list);
    let token = Token { rows, columns, ..Token::default() };
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
        let stages = stages(&streams, &|name| name == "a", &["a".to_owned()], &["c".to_owned()]);
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
        let columns = Some(vec!["id".to_owned(), "a b".to_owned()]);
        assert_eq!(
            shown,
            [
                ("databases", vec![("databases/a/schema.sql", Token { drop: vec!["a".into()], ..none() })]),
                ("tables", vec![("databases/a/tables/t.sql", none())]),
                (
                    "rows",
                    vec![
                        ("databases/a/rows/t.1.tsv", none()),
                        ("databases/a/rows/small.tsv", Token { rows: Some(1), columns, ..none() })
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
    fn columns_that_do_not_fit_are_left_to_the_target() {
        let names: Vec<String> = (0..2000).map(|number| format!("{number:060}")).collect();
        let columns = layout::encode_list(names.iter().map(String::as_str));
        let token =
            Token::decode(&rows_token(&entry("databases/a/rows/t.tsv", 1, &[("rows", "7"), ("columns", &columns)])));
        assert_eq!(token, Token { rows: Some(7), ..Token::default() });
    }
}
