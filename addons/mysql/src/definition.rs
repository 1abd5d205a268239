//! A `CREATE TABLE` as `SHOW CREATE TABLE` prints it, cut into its definitions, so that secondary indexes and foreign keys can be
//! added when the rows are there: an index that is built of sorted rows costs the server a fraction of one that grows row by row.
//!
//! Pure. Whatever is not understood keeps the whole table as it is: `None` is always a right answer.

use crate::layout::quote;
use crate::sql::{self, Token};

/// A `CREATE TABLE` in parts. The parts one after the other, with commas between the definitions, are the statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Definition<'a> {
    /// Up to and with the parenthesis before the first definition.
    head: &'a [u8],
    /// Between the commas: columns, keys, constraints, each with the white space around it.
    parts: Vec<Part<'a>>,
    /// From the closing parenthesis to the end: the table's options and partitions.
    tail: &'a [u8],
}

/// One definition.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Part<'a> {
    text: &'a [u8],
    kind: Kind,
}

/// What a definition is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Column { name: String, counts: bool },
    Primary { first: Option<String> },
    Key(Key),
    ForeignKey(Reference),
    Check,
}

/// A secondary index.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Key {
    name: String,
    unique: bool,
    fulltext: bool,
    /// Its first column, unless it begins with an expression.
    first: Option<String>,
}

/// A foreign key.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Reference {
    name: String,
    database: Option<String>,
    table: String,
}

/// What is added to a table when its rows are there, and the name by which the server knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Addition<'a> {
    /// The name of the index or constraint.
    pub(crate) name: String,
    /// Its definition.
    pub(crate) text: &'a [u8],
}

impl<'a> Definition<'a> {
    /// Cuts a statement. `None`: it is no `CREATE TABLE`, or there is something in it that is not known here.
    pub(crate) fn parse(statement: &'a [u8]) -> Option<Self> {
        let mut words = sql::tokens(statement);
        if !words.next()?.is("create") || !words.next()?.is("table") {
            return None;
        }
        let (open, commas, close) = outline(statement)?;
        let head = statement.get(..=open)?;
        let tail = statement.get(close..)?;
        let mut parts = Vec::with_capacity(commas.len() + 1);
        let mut from = open + 1;
        for to in commas.into_iter().chain([close]) {
            let text = statement.get(from..to)?;
            parts.push(Part { text, kind: Kind::of(text)? });
            from = to + 1;
        }
        Some(Self { head, parts, tail })
    }

    /// The tables that foreign keys refer to: the database, if it is not the table's own, and the table.
    pub(crate) fn references(&self) -> impl Iterator<Item = (Option<&str>, &str)> {
        self.parts.iter().filter_map(|part| match &part.kind {
            Kind::ForeignKey(reference) => Some((reference.database.as_deref(), reference.table.as_str())),
            _ => None,
        })
    }

    /// Whether the table has a primary key.
    pub(crate) fn has_primary_key(&self) -> bool {
        self.parts.iter().any(|part| matches!(part.kind, Kind::Primary { .. }))
    }

    /// The secondary indexes that can be added later so that the table is the same in the end, the order of its indexes included.
    pub(crate) fn late_keys(&self) -> Vec<Addition<'a>> {
        let late = self.late();
        let parts = self.parts.iter().zip(late).filter(|(_, late)| *late);
        parts.filter_map(|(part, _)| part.addition()).collect()
    }

    /// The foreign keys.
    pub(crate) fn foreign_keys(&self) -> Vec<Addition<'a>> {
        let parts = self.parts.iter().filter(|part| matches!(part.kind, Kind::ForeignKey(_)));
        parts.filter_map(Part::addition).collect()
    }

    /// The statement without the indexes of [`Self::late_keys`] and without any foreign key.
    pub(crate) fn without_late_keys(&self) -> Vec<u8> {
        let late = self.late();
        self.without(|index, part| late.get(index) == Some(&true) || matches!(part.kind, Kind::ForeignKey(_)))
    }

    /// The statement without foreign keys.
    pub(crate) fn without_foreign_keys(&self) -> Vec<u8> {
        self.without(|_, part| matches!(part.kind, Kind::ForeignKey(_)))
    }

    fn without(&self, left_out: impl Fn(usize, &Part<'_>) -> bool) -> Vec<u8> {
        let kept = self.parts.iter().enumerate().filter(|(index, part)| !left_out(*index, part));
        let mut statement = self.head.to_vec();
        for (count, (_, part)) in kept.enumerate() {
            if count > 0 {
                statement.push(b',');
            }
            statement.extend_from_slice(part.text);
        }
        statement.extend_from_slice(self.tail);
        statement
    }

    /// Of every part, whether it is an index that can be added later.
    ///
    /// Servers sort the indexes of a table: unique before others, full text last, otherwise as they came. So what stays must be the
    /// first ones, or full text; all of what follows is added in its order.
    fn late(&self) -> Vec<bool> {
        if !self.is_plain_innodb() {
            return vec![false; self.parts.len()];
        }
        // Rows are kept in the order of the primary key or of the first unique index; it cannot be changed later for free.
        let clustered_by_unique = !self.has_primary_key();
        // A column that counts must always be the first of an index.
        let mut needs_index = self.counter().filter(|counter| {
            !self
                .parts
                .iter()
                .any(|part| matches!(&part.kind, Kind::Primary { first: Some(first) } if first == counter))
        });
        let mut late = vec![false; self.parts.len()];
        for (part, late) in self.parts.iter().zip(&mut late) {
            let Kind::Key(key) = &part.kind else { continue };
            if needs_index.is_some() || key.fulltext || (clustered_by_unique && key.unique) {
                if key.first.is_some() && key.first.as_deref() == needs_index {
                    needs_index = None;
                }
                continue;
            }
            *late = true;
        }
        late
    }

    /// The column that counts by itself.
    fn counter(&self) -> Option<&str> {
        self.parts.iter().find_map(|part| match &part.kind {
            Kind::Column { name, counts: true } => Some(name.as_str()),
            _ => None,
        })
    }

    /// Whether it is a table of `InnoDB` without anything that makes it hard to alter.
    fn is_plain_innodb(&self) -> bool {
        let mut engine = false;
        let mut tokens = sql::tokens(self.tail);
        while let Some(token) = tokens.next() {
            if token.is("engine") {
                let mut value = tokens.by_ref().filter(|token| *token != Token::Symbol(b'='));
                engine = value.next().is_some_and(|token| token.is("innodb"));
            } else if token.is("partition") || token.is("system") || token.is("secondary_engine") {
                // What partitions say of their engine is the table's.
                return engine && token.is("partition");
            }
        }
        engine
    }
}

impl<'a> Part<'a> {
    fn addition(&self) -> Option<Addition<'a>> {
        let name = match &self.kind {
            Kind::Key(key) => &key.name,
            Kind::ForeignKey(reference) => &reference.name,
            Kind::Column { .. } | Kind::Primary { .. } | Kind::Check => return None,
        };
        Some(Addition { name: name.clone(), text: self.text.trim_ascii() })
    }
}

impl Kind {
    fn of(text: &[u8]) -> Option<Self> {
        let mut tokens = sql::tokens(text);
        let first = tokens.next()?;
        if let Token::Name(name) = &first {
            let name = String::from_utf8(name.to_vec()).ok()?;
            return Some(Self::Column { name, counts: tokens.any(|token| token.is("auto_increment")) });
        }
        if first.is("primary") {
            return tokens.next()?.is("key").then(|| Self::Primary { first: first_column(tokens) });
        }
        if first.is("check") {
            return Some(Self::Check);
        }
        if first.is("constraint") {
            let name = tokens.next()?.name()?;
            let what = tokens.next()?;
            if what.is("check") {
                return Some(Self::Check);
            }
            return if what.is("foreign") { Reference::of(name, tokens).map(Self::ForeignKey) } else { None };
        }
        let (unique, fulltext) = (first.is("unique"), first.is("fulltext"));
        let word = if unique || fulltext || first.is("spatial") { tokens.next()? } else { first };
        if !word.is("key") {
            return None;
        }
        let name = tokens.next()?.name()?;
        // A hash over values of any length is a column of its own, and periods have rules of their own.
        if tokens.clone().any(|token| token.is("hash") || token.is("overlaps")) {
            return None;
        }
        Some(Self::Key(Key { name, unique, fulltext, first: first_column(tokens) }))
    }
}

impl Reference {
    fn of(name: String, tokens: sql::Tokens<'_>) -> Option<Self> {
        let mut tokens = tokens.skip_while(|token| !token.is("references"));
        tokens.next()?;
        let Token::Name(first) = tokens.next()? else { return None };
        let text = |name: &[u8]| String::from_utf8(name.to_vec()).ok();
        let first = text(&first)?;
        // The dot between two quoted names is a word of its own.
        Some(match tokens.next()? {
            Token::Word(b".") => {
                let Token::Name(table) = tokens.next()? else { return None };
                Self { name, database: Some(first), table: text(&table)? }
            }
            _ => Self { name, database: None, table: first },
        })
    }
}

/// The first column in the parentheses that follow, if it is one.
fn first_column(tokens: sql::Tokens<'_>) -> Option<String> {
    let mut tokens = tokens.skip_while(|token| *token != Token::Symbol(b'('));
    tokens.next()?;
    match tokens.next()? {
        Token::Name(name) => String::from_utf8(name.into_owned()).ok(),
        _ => None,
    }
}

/// Where the definitions begin, the commas between them, and where they end.
fn outline(text: &[u8]) -> Option<(usize, Vec<usize>, usize)> {
    let mut open = None;
    let mut commas = Vec::new();
    let mut depth = 0_usize;
    let mut at = 0;
    loop {
        let rest = text.get(at..)?;
        let (&byte, behind) = rest.split_first()?;
        let step = match byte {
            b'`' | b'\'' | b'"' => quoted(rest)?,
            // What servers of some version execute.
            b'/' if rest.starts_with(b"/*!") || rest.starts_with(b"/*M!") => {
                depth += 1;
                3
            }
            b'*' if behind.starts_with(b"/") => {
                depth = depth.checked_sub(1)?;
                2
            }
            // Comments for readers are not in what servers print.
            b'/' if behind.starts_with(b"*") => return None,
            b'-' if behind.starts_with(b"-") => return None,
            b'#' | b';' => return None,
            b'(' => {
                depth += 1;
                if open.is_none() {
                    // Not inside a comment.
                    if depth != 1 {
                        return None;
                    }
                    open = Some(at);
                }
                1
            }
            b')' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some((open?, commas, at));
                }
                1
            }
            b',' if depth == 1 && open.is_some() => {
                commas.push(at);
                1
            }
            _ => 1,
        };
        at += step;
    }
}

/// How long the quoted text is that `text` begins with, its quotes included.
fn quoted(text: &[u8]) -> Option<usize> {
    let quote = *text.first()?;
    let mut at = 1;
    loop {
        match text.get(at..)? {
            [b'\\', _, ..] if quote != b'`' => at += 2,
            [first, second, ..] if *first == quote && *second == quote => at += 2,
            [first, ..] if *first == quote => return Some(at + 1),
            [_, ..] => at += 1,
            [] => return None,
        }
    }
}

/// The statement that adds these definitions to a table.
pub(crate) fn add(database: &str, table: &str, definitions: &[impl AsRef<[u8]>]) -> Vec<u8> {
    let mut statement = format!("ALTER TABLE {}.{}", quote(database), quote(table)).into_bytes();
    for (index, definition) in definitions.iter().enumerate() {
        statement.extend_from_slice(if index == 0 { b" ADD " } else { b", ADD " });
        statement.extend_from_slice(definition.as_ref());
    }
    statement
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(additions: &[Addition<'_>]) -> Vec<String> {
        additions.iter().map(|addition| addition.name.clone()).collect()
    }

    fn late(statement: &str) -> Vec<String> {
        Definition::parse(statement.as_bytes()).map(|table| names(&table.late_keys())).unwrap_or_default()
    }

    const ORDERS: &str = "CREATE TABLE `orders` (
  `id` bigint unsigned NOT NULL AUTO_INCREMENT COMMENT 'a, (b) ''c'' \\\\',
  `who` int DEFAULT (json_value(_utf8mb4'{\"a\": 1}',_utf8mb4'$.a' returning signed)),
  `a``,b` varchar(20) GENERATED ALWAYS AS (concat(`who`,_utf8mb4',)')) VIRTUAL /*!80023 INVISIBLE */,
  PRIMARY KEY (`id`),
  UNIQUE KEY `a``,b` (`a``,b`(10),`who` DESC),
  KEY `who` (`who`) /*!80000 INVISIBLE */,
  KEY `sum` (((`who` + 1))) COMMENT 'x, y',
  FULLTEXT KEY `words` (`a``,b`) /*!50100 WITH PARSER `ngram` */ ,
  CONSTRAINT `f1` FOREIGN KEY (`who`) REFERENCES `people` (`id`) ON DELETE CASCADE,
  CONSTRAINT `f2` FOREIGN KEY (`who`) REFERENCES `other db`.`pe``ople` (`id`),
  CONSTRAINT `positive` CHECK ((`who` > 0)) /*!80016 NOT ENFORCED */
) ENGINE=InnoDB AUTO_INCREMENT=5 DEFAULT CHARSET=utf8mb4 COMMENT='it''s, (x)'";

    #[test]
    fn indexes_and_foreign_keys_are_cut_out() {
        let table = Definition::parse(ORDERS.as_bytes()).unwrap();
        assert_eq!(names(&table.late_keys()), ["a`,b", "who", "sum"]);
        assert_eq!(names(&table.foreign_keys()), ["f1", "f2"]);
        assert_eq!(table.references().collect::<Vec<_>>(), [(None, "people"), (Some("other db"), "pe`ople")]);
        assert!(table.has_primary_key());
        let texts: Vec<&[u8]> = table.late_keys().iter().map(|addition| addition.text).collect();
        let without = String::from_utf8(table.without_late_keys()).unwrap();
        assert_eq!(
            without,
            "CREATE TABLE `orders` (
  `id` bigint unsigned NOT NULL AUTO_INCREMENT COMMENT 'a, (b) ''c'' \\\\',
  `who` int DEFAULT (json_value(_utf8mb4'{\"a\": 1}',_utf8mb4'$.a' returning signed)),
  `a``,b` varchar(20) GENERATED ALWAYS AS (concat(`who`,_utf8mb4',)')) VIRTUAL /*!80023 INVISIBLE */,
  PRIMARY KEY (`id`),
  FULLTEXT KEY `words` (`a``,b`) /*!50100 WITH PARSER `ngram` */ ,
  CONSTRAINT `positive` CHECK ((`who` > 0)) /*!80016 NOT ENFORCED */
) ENGINE=InnoDB AUTO_INCREMENT=5 DEFAULT CHARSET=utf8mb4 COMMENT='it''s, (x)'"
        );
        assert_eq!(
            String::from_utf8(add("d`b", "orders", &texts)).unwrap(),
            "ALTER TABLE `d``b`.`orders` ADD UNIQUE KEY `a``,b` (`a``,b`(10),`who` DESC), ADD KEY `who` (`who`) /*!80000 INVISIBLE */, \
             ADD KEY `sum` (((`who` + 1))) COMMENT 'x, y'"
        );
        let parted = String::from_utf8(table.without_foreign_keys()).unwrap();
        assert!(parted.contains("KEY `who`") && !parted.contains("FOREIGN KEY"), "{parted}");
    }

    #[test]
    fn what_must_stay_stays() {
        let table = |definitions: &str, options: &str| format!("CREATE TABLE `t` (\n  {definitions}\n) {options}");
        let none: [&str; 0] = [];
        let innodb = "ENGINE=InnoDB DEFAULT CHARSET=utf8mb4";
        for (definitions, options, expected) in [
            ("`a` int, PRIMARY KEY (`a`), KEY `k` (`a`)", innodb, &["k"][..]),
            // Another engine, or one whose history an index would belong to.
            ("`a` int, PRIMARY KEY (`a`), KEY `k` (`a`)", "ENGINE=MyISAM DEFAULT CHARSET=utf8mb4", &none),
            ("`a` int, PRIMARY KEY (`a`), KEY `k` (`a`)", "ENGINE=InnoDB WITH SYSTEM VERSIONING", &none),
            ("`a` int, PRIMARY KEY (`a`), KEY `k` (`a`)", "ENGINE=InnoDB SECONDARY_ENGINE=RAPID", &none),
            ("`a` int, PRIMARY KEY (`a`), KEY `k` (`a`)", "COMMENT='ENGINE=InnoDB'", &none),
            // Partitions are no obstacle.
            (
                "`a` int, PRIMARY KEY (`a`), KEY `k` (`a`)",
                "ENGINE=InnoDB DEFAULT CHARSET=latin1\n/*!50100 PARTITION BY HASH (`a`)\n(PARTITION p0 ENGINE = InnoDB) */",
                &["k"],
            ),
            // The rows lie in the order of the first unique index.
            ("`a` int NOT NULL, UNIQUE KEY `u` (`a`), UNIQUE KEY `w` (`a`), KEY `k` (`a`)", innodb, &["k"]),
            ("`a` int, KEY `k` (`a`)", innodb, &["k"]),
            // A column that counts needs its index, and what comes before it stays where it is.
            (
                "`i` int AUTO_INCREMENT, `a` int, PRIMARY KEY (`a`), KEY `x` (`a`), KEY `k` (`i`), KEY `l` (`i`)",
                innodb,
                &["l"],
            ),
            ("`i` int AUTO_INCREMENT, PRIMARY KEY (`i`,`a`), KEY `k` (`i`)", innodb, &["k"]),
            ("`i``` int AUTO_INCREMENT, PRIMARY KEY (`a`), KEY `k` (`i```)", innodb, &none),
            ("`i` int COMMENT 'AUTO_INCREMENT', PRIMARY KEY (`a`), KEY `k` (`i`)", innodb, &["k"]),
            // Not known, or known to be trouble: nothing is touched.
            ("`a` int, PRIMARY KEY (`a`), UNIQUE KEY `u` (`a`) USING HASH, KEY `k` (`a`)", innodb, &none),
            ("`a` int, PRIMARY KEY (`a`), UNIQUE KEY `u` (`a`,`p` WITHOUT OVERLAPS), KEY `k` (`a`)", innodb, &none),
            ("`a` int, PRIMARY KEY (`a`), VECTOR KEY `v` (`a`), KEY `k` (`a`)", innodb, &none),
            ("`a` int, PERIOD FOR SYSTEM_TIME (`a`, `b`), PRIMARY KEY (`a`), KEY `k` (`a`)", innodb, &none),
            ("`a` int -- x, PRIMARY KEY (`a`)\n, KEY `k` (`a`)", innodb, &none),
            ("`a` int /* x */, PRIMARY KEY (`a`), KEY `k` (`a`)", innodb, &none),
            ("`a` int DEFAULT 'open, PRIMARY KEY (`a`), KEY `k` (`a`)", innodb, &none),
        ] {
            assert_eq!(late(&table(definitions, options)), expected, "{definitions} {options}");
        }
        for statement in ["CREATE SEQUENCE `s` start with 1", "CREATE TABLE `t` (", "CREATE TABLE `t`", "SELECT 1", ""]
        {
            assert_eq!(Definition::parse(statement.as_bytes()), None, "{statement}");
        }
    }

    fn identifier() -> impl Strategy<Value = String> {
        "[a-z`,()' é/*-]{1,12}".prop_map(|name| quote(&name))
    }

    fn text() -> impl Strategy<Value = String> {
        "[a-z`,()' \\\\\"é/*#;-]{0,12}".prop_map(|text| format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''")))
    }

    proptest! {
        #[test]
        fn what_was_put_together_is_taken_apart(
            columns in proptest::collection::vec((identifier(), text(), text()), 1..6),
            keys in proptest::collection::vec((identifier(), identifier(), text(), any::<bool>()), 0..6),
            foreign in proptest::collection::vec((identifier(), identifier(), identifier()), 0..4),
            comment in text(),
        ) {
            let mut definitions: Vec<String> =
                columns.iter().map(|(name, default, comment)| format!("{name} varchar(9) DEFAULT {default} COMMENT {comment}")).collect();
            definitions.push(format!("PRIMARY KEY ({})", columns[0].0));
            let keys: Vec<String> = keys
                .iter()
                .map(|(name, column, comment, unique)| {
                    format!("{}KEY {name} ({column}(3),{column}) COMMENT {comment}", if *unique { "UNIQUE " } else { "" })
                })
                .collect();
            let foreign: Vec<String> = foreign
                .iter()
                .map(|(name, column, table)| format!("CONSTRAINT {name} FOREIGN KEY ({column}) REFERENCES {table} ({column})"))
                .collect();
            let statement = |parts: &[&[String]]| {
                let parts: Vec<String> = parts.concat().iter().map(|part| format!("\n  {part}")).collect();
                format!("CREATE TABLE `t` ({}) ENGINE=InnoDB COMMENT={comment}", parts.join(","))
            };
            let whole = statement(&[&definitions, &keys, &foreign]);
            let table = Definition::parse(whole.as_bytes()).unwrap();
            let texts = |additions: Vec<Addition<'_>>| -> Vec<String> {
                additions.iter().map(|addition| String::from_utf8(addition.text.to_vec()).unwrap()).collect()
            };
            prop_assert_eq!(texts(table.late_keys()), keys.clone());
            prop_assert_eq!(texts(table.foreign_keys()), foreign);
            prop_assert_eq!(String::from_utf8(table.without(|_, _| false)).unwrap(), whole.clone());
            prop_assert_eq!(String::from_utf8(table.without_late_keys()).unwrap(), statement(&[&definitions]));
            prop_assert_eq!(String::from_utf8(table.without_foreign_keys()).unwrap(), statement(&[&definitions, &keys]));
        }

        #[test]
        fn no_text_is_too_odd(text in "[ -~é\n]{0,200}") {
            for text in [text.clone(), format!("CREATE TABLE `t` ({text}"), format!("CREATE TABLE `t` ({text}) ENGINE=InnoDB")] {
                if let Some(table) = Definition::parse(text.as_bytes()) {
                    prop_assert_eq!(String::from_utf8(table.without(|_, _| false)).unwrap(), text);
                }
            }
        }
    }
}
