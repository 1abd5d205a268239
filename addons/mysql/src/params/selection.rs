//! Which tables a restore is about, and what its databases are called in the target.

use std::fmt;

use coffer_addon_sdk::{Error, Result};

use super::list;
use crate::rewrite::Renames;

/// Tables by name: `shop.orders`, `shop.order*`, `*.log_????`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TablePattern {
    database: String,
    table: String,
}

impl TablePattern {
    /// Whether tables of this database may be meant.
    pub(crate) fn matches_database(&self, database: &str) -> bool {
        matches(&self.database, database)
    }

    /// Whether this table is meant.
    pub(crate) fn matches(&self, database: &str, table: &str) -> bool {
        self.matches_database(database) && matches(&self.table, table)
    }
}

impl fmt::Display for TablePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.database, self.table)
    }
}

/// Patterns between commas or white space.
pub(super) fn tables(text: &str) -> Result<Vec<TablePattern>> {
    let pattern = |word: String| match word.split_once('.') {
        Some((database, table)) if !database.is_empty() && !table.is_empty() => {
            Ok(TablePattern { database: database.to_owned(), table: table.to_owned() })
        }
        _ => Err(Error::invalid(format!("parameter \"tables\": {word:?} is not `database.table`"))),
    };
    list(text).into_iter().map(pattern).collect()
}

/// `old=new` between commas or white space.
pub(super) fn renames(text: &str) -> Result<Renames> {
    let mut renames: Vec<(String, String)> = Vec::new();
    for word in list(text) {
        let invalid = |why: &str| Error::invalid(format!("parameter \"renameDatabase\": {why}"));
        match word.split_once('=') {
            Some((old, new)) if !old.is_empty() && !new.is_empty() => {
                if renames.iter().any(|(known, _)| known == old) {
                    return Err(invalid(&format!("{old:?} is renamed twice")));
                }
                renames.push((old.to_owned(), new.to_owned()));
            }
            _ => return Err(invalid(&format!("{word:?} is not `old=new`"))),
        }
    }
    Ok(Renames(renames))
}

/// Whether the text is what the pattern says, where `*` is any text and `?` any character.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut at, mut seen) = (0, 0);
    // Behind the last star, and what it stood for so far.
    let mut retry: Option<(usize, usize)> = None;
    while seen < text.len() {
        match pattern.get(at) {
            Some('*') => {
                at += 1;
                retry = Some((at, seen));
            }
            Some(one) if *one == '?' || text.get(seen) == Some(one) => {
                at += 1;
                seen += 1;
            }
            _ => match &mut retry {
                Some((star, taken)) => {
                    *taken += 1;
                    (at, seen) = (*star, *taken);
                }
                None => return false,
            },
        }
    }
    pattern.get(at..).unwrap_or_default().iter().all(|rest| *rest == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, yes, no) in [
            (
                "shop.orders",
                &[("shop", "orders")][..],
                &[("shop", "order"), ("shop", "orders2"), ("Shop", "orders")][..],
            ),
            ("shop.order*", &[("shop", "order"), ("shop", "orders")], &[("shop", "reorder"), ("shops", "orders")]),
            ("*.a?b*c", &[("x", "axbc"), ("y", "a.bccc"), ("", "aébxc")], &[("x", "abc"), ("x", "axbcd")]),
            ("a.b.c", &[("a", "b.c")], &[("a.b", "c")]),
            ("a.**", &[("a", "x")], &[("b", "x")]),
        ] {
            let patterns = tables(pattern).unwrap();
            let meant = |(database, table): &(&str, &str)| patterns[0].matches(database, table);
            assert!(yes.iter().all(meant) && !no.iter().any(meant), "{pattern}");
            assert_eq!(patterns[0].to_string(), pattern);
        }
    }
}
