//! What a server writes wrongly of its own definitions, and how it is put right from what else it says.
//!
//! - MariaDB does not double the backquotes in the names of foreign keys and of their columns: `` CONSTRAINT `a`b` FOREIGN KEY … ``, and
//!   does not write the reference systems of geometries.
//! - MySQL writes `COLLATE x` for a column that has the table's collation. Read again, it is the column's own from then on, and is
//!   written otherwise.
//! - Neither reads `ON COMPLETION NOT PRESERVE`, which they write of every event, under the mode `HIGH_NOT_PRECEDENCE`.
//! - Both write names and comments of routines and events in UTF-8 into a text that is otherwise in the character set of whoever made it.

use std::collections::BTreeMap;
use std::ops::Range;

use coffer_addon_sdk::Result;
use memchr::memmem;

use crate::layout::quote;
use crate::session::{Session, literal};
use crate::sql::{self, Token};

/// The definition of a table as the server would have to write it.
pub(crate) fn table(session: &mut Session, database: &str, table: &str, text: Vec<u8>) -> Result<Vec<u8>> {
    if !session.server().is_mariadb() {
        return Ok(without_implicit_collations(text));
    }
    let text = foreign_keys(session, database, table, text)?;
    reference_systems(session, database, table, text)
}

/// A foreign key as the catalogue has it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Key {
    columns: Vec<String>,
    /// Database and table.
    place: (String, String),
    referenced: Vec<String>,
}

/// Writes every name of a foreign key as it must be written.
fn foreign_keys(session: &mut Session, database: &str, table: &str, text: Vec<u8>) -> Result<Vec<u8>> {
    if !session.server().is_mariadb() || memmem::find(&text, b" FOREIGN KEY (").is_none() {
        return Ok(text);
    }
    let rows = session.text(format!(
        "SELECT CONSTRAINT_NAME, COLUMN_NAME, REFERENCED_TABLE_SCHEMA, REFERENCED_TABLE_NAME, REFERENCED_COLUMN_NAME FROM \
         information_schema.KEY_COLUMN_USAGE WHERE TABLE_SCHEMA = {} AND TABLE_NAME = {} AND REFERENCED_TABLE_NAME IS NOT NULL ORDER BY \
         CONSTRAINT_NAME, ORDINAL_POSITION",
        literal(database),
        literal(table)
    ))?;
    let mut keys: BTreeMap<String, Key> = BTreeMap::new();
    for row in rows {
        let Ok([name, column, place, other, referenced]) = <[String; 5]>::try_from(row) else { continue };
        let key = keys.entry(name).or_default();
        key.columns.push(column);
        key.place = (place, other);
        key.referenced.push(referenced);
    }
    Ok(keys.iter().fold(text, |text, (name, key)| key.put_right(name, database, text)))
}

impl Key {
    fn put_right(&self, name: &str, database: &str, text: Vec<u8>) -> Vec<u8> {
        let odd = |name: &String| name.contains('`');
        if !name.contains('`') && !self.columns.iter().chain(&self.referenced).any(odd) {
            return text;
        }
        let (place, table) = &self.place;
        let other = if place == database { quote(table) } else { format!("{}.{}", quote(place), quote(table)) };
        let written = |quote: fn(&str) -> String| {
            let list = |names: &[String]| names.iter().map(|name| quote(name)).collect::<Vec<_>>().join(", ");
            format!(
                "CONSTRAINT {} FOREIGN KEY ({}) REFERENCES {other} ({})",
                quote(name),
                list(&self.columns),
                list(&self.referenced)
            )
        };
        let wrong = written(|name| format!("`{name}`"));
        match memmem::find(&text, wrong.as_bytes()) {
            Some(at) => {
                let (before, rest) = text.split_at_checked(at).unwrap_or((&text, &[]));
                [before, written(quote).as_bytes(), rest.get(wrong.len()..).unwrap_or_default()].concat()
            }
            // A server that writes it rightly.
            None => text,
        }
    }
}

/// Says which reference systems the geometries of a table belong to.
fn reference_systems(session: &mut Session, database: &str, table: &str, mut text: Vec<u8>) -> Result<Vec<u8>> {
    let has = |word: &str| memmem::find(&text, word.as_bytes()).is_some();
    if !["point", "linestring", "polygon", "geometry"].into_iter().any(has) {
        return Ok(text);
    }
    let rows = session.text(format!(
        "SELECT G_GEOMETRY_COLUMN, SRID FROM information_schema.GEOMETRY_COLUMNS WHERE G_TABLE_SCHEMA = {} AND G_TABLE_NAME = {} AND SRID <> 0",
        literal(database),
        literal(table)
    ))?;
    for row in &rows {
        if let [column, system] = row.as_slice()
            && let Some(at) = end_of_type(&text, column)
        {
            text = splice(&text, &[(at..at, format!(" REF_SYSTEM_ID={system}").into_bytes())]);
        }
    }
    Ok(text)
}

/// Where the type of this column ends, which is one word.
fn end_of_type(text: &[u8], column: &str) -> Option<usize> {
    let begin = format!("\n  {} ", quote(column));
    let at = memmem::find(text, begin.as_bytes())?.checked_add(begin.len())?;
    let length = text.get(at..)?.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
    at.checked_add(length)
}

/// The definition without the collations that columns have from their table.
fn without_implicit_collations(text: Vec<u8>) -> Vec<u8> {
    let mut tokens = sql::tokens(&text);
    let (mut depth, mut collations, mut of_table) = (0_u32, Vec::new(), None);
    // Of the definition that is being read: whether it is a column's, and may still say its collation.
    let mut open = false;
    let mut begins = false;
    while let Some((span, token)) = tokens.next_span() {
        match (&token, depth) {
            (Token::Symbol(b'('), _) => {
                depth = depth.saturating_add(1);
                begins = depth == 1;
                continue;
            }
            (Token::Symbol(b')'), _) => depth = depth.saturating_sub(1),
            (Token::Symbol(b','), 1) => {
                begins = true;
                continue;
            }
            (Token::Name(_), 1) if begins => open = true,
            (word, 1) if word.is("character") => open = false,
            (word, 1) if open && word.is("collate") => {
                open = false;
                if let Some((end, Token::Word(name))) = tokens.next_span() {
                    collations.push((span.start..end.end, name));
                }
            }
            (word, 0) if of_table.is_none() && word.is("collate") => {
                tokens.next_span();
                of_table = tokens.next_span().and_then(|(_, token)| token.name());
            }
            (_, 1) if begins => open = false,
            _ => {}
        }
        begins = false;
    }
    let Some(of_table) = of_table else { return text };
    let implicit = collations.iter().filter(|(_, name)| *name == of_table.as_bytes());
    // With the blank in front of it.
    let edits: Vec<Edit> = implicit.map(|(span, _)| (span.start.saturating_sub(1)..span.end, Vec::new())).collect();
    splice(&text, &edits)
}

/// An event without what is said of its end, where that is what holds anyway.
pub(crate) fn without_default_completion(text: &[u8]) -> Vec<u8> {
    const DEFAULT: &[u8] = b" ON COMPLETION NOT PRESERVE";
    match memmem::find(text, DEFAULT) {
        Some(at) => splice(text, &[(at..at.saturating_add(DEFAULT.len()), Vec::new())]),
        None => text.to_vec(),
    }
}

/// The definition of an object, all of it in this character set. `name` and `comment` are those of the object.
pub(crate) fn in_one_charset(
    session: &mut Session,
    text: Vec<u8>,
    charset: &str,
    name: &str,
    comment: &str,
) -> Result<Vec<u8>> {
    if charset.is_empty() || charset.starts_with("utf8") || (name.is_ascii() && comment.is_ascii()) {
        return Ok(text);
    }
    let doubled = comment.replace('\\', "\\\\").replace('\'', "''");
    let escaped = comment.replace('\\', "\\\\").replace('\'', "\\'").replace('\n', "\\n").replace('\r', "\\r");
    let parts = [quote(name), format!("COMMENT '{escaped}'"), format!("COMMENT '{doubled}'")];
    let mut edits: Vec<Edit> = Vec::new();
    for part in parts.iter().filter(|part| !part.is_ascii()) {
        let Some(at) = memmem::find(&text, part.as_bytes()) else { continue };
        // What that client could not have written stays as it is.
        let converted = session.stored_value(format!(
            "SELECT IF(CONVERT(CONVERT(c USING {charset}) USING utf8mb4) COLLATE utf8mb4_bin = c, CAST(CONVERT(c USING {charset}) AS BINARY), \
             NULL) FROM (SELECT CONVERT({} USING utf8mb4) AS c) AS t",
            literal(part)
        ))?;
        if let Some(converted) = converted
            && edits.iter().all(|(span, _)| !span.contains(&at))
        {
            edits.push((at..at.saturating_add(part.len()), converted));
        }
    }
    edits.sort_by_key(|(span, _)| span.start);
    Ok(splice(&text, &edits))
}

/// A part of a text, and what comes in its place.
type Edit = (Range<usize>, Vec<u8>);

/// The text with these parts replaced, which are in order.
fn splice(text: &[u8], edits: &[Edit]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut done = 0;
    for (span, with) in edits {
        out.extend_from_slice(text.get(done..span.start).unwrap_or_default());
        out.extend_from_slice(with);
        done = span.end;
    }
    out.extend_from_slice(text.get(done..).unwrap_or_default());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collations_of_tables() {
        let text = "CREATE TABLE `t` (\n  `a` varchar(9) COLLATE latin1_bin DEFAULT 'x COLLATE latin1_bin',\n  `collate` char(1) CHARACTER SET latin1 \
                    COLLATE latin1_bin NOT NULL,\n  `c` enum('a','(') COLLATE latin1_bin COMMENT ',',\n  `d` text COLLATE latin1_general_ci,\n  `e` int \
                    GENERATED ALWAYS AS ((`a` collate latin1_bin)) VIRTUAL,\n  KEY `k` (`a`)\n) ENGINE=InnoDB DEFAULT CHARSET=latin1 \
                    COLLATE=latin1_bin COMMENT='COLLATE=x'";
        let expected = text.replacen(") COLLATE latin1_bin DEFAULT", ") DEFAULT", 1).replacen(
            ") COLLATE latin1_bin COMMENT",
            ") COMMENT",
            1,
        );
        assert_eq!(String::from_utf8(without_implicit_collations(text.into())).unwrap(), expected);
        let other = text.replace("COLLATE=latin1_bin", "ROW_FORMAT=DYNAMIC");
        assert_eq!(String::from_utf8(without_implicit_collations(other.clone().into())).unwrap(), other);
    }

    #[test]
    fn ends_of_events() {
        let text = b"CREATE EVENT `e` ON SCHEDULE EVERY 1 DAY ON COMPLETION NOT PRESERVE DISABLE DO SET @x = 1";
        let expected = "CREATE EVENT `e` ON SCHEDULE EVERY 1 DAY DISABLE DO SET @x = 1";
        assert_eq!(String::from_utf8(without_default_completion(text)).unwrap(), expected);
        assert_eq!(without_default_completion(expected.as_bytes()), expected.as_bytes());
    }

    #[test]
    fn types_of_columns() {
        let text =
            b"CREATE TABLE `t` (\n  `a` int,\n  `p` point NOT NULL,\n  `q` geometry,\n  SPATIAL KEY `p` (`p`)\n)";
        let at = |column| end_of_type(text, column).map(|at| String::from_utf8_lossy(&text[at..at + 2]).into_owned());
        assert_eq!((at("p").as_deref(), at("q").as_deref(), at("r")), (Some(" N"), Some(",\n"), None));
    }

    #[test]
    fn names_of_foreign_keys() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let key =
            Key { columns: names(&["a", "r`x"]), place: ("d".into(), "p`x".into()), referenced: names(&["i`d", "b"]) };
        let text = "CREATE TABLE `c` (\n  CONSTRAINT `c`1` FOREIGN KEY (`a`, `r`x`) REFERENCES `p``x` (`i`d`, `b`) ON DELETE CASCADE\n)";
        let right = "CREATE TABLE `c` (\n  CONSTRAINT `c``1` FOREIGN KEY (`a`, `r``x`) REFERENCES `p``x` (`i``d`, `b`) ON DELETE CASCADE\n)";
        let put_right = |text: &str, database| String::from_utf8(key.put_right("c`1", database, text.into())).unwrap();
        assert_eq!(put_right(text, "d"), right);
        assert_eq!(put_right(right, "d"), right);
        let far = |text: &str| text.replace("REFERENCES `p", "REFERENCES `d`.`p");
        assert_eq!(put_right(&far(text), "e"), far(right));
    }
}
