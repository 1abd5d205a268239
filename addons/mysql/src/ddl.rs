//! The SQL text that makes the objects of a database, as the server itself writes it.

use std::collections::{BTreeMap, BTreeSet};

use coffer_addon_sdk::{Error, Result};

use crate::catalog::{Database, Kind, Table};
use crate::layout::{encode, quote};
use crate::params::Selection;
use crate::session::{Session, literal};

/// `USE` for a database.
pub(crate) fn use_database(database: &str) -> Vec<u8> {
    format!("USE {};\n", quote(database)).into_bytes()
}

/// `CREATE DATABASE`, and `ALTER DATABASE` for one that is there already, empty, with another default character set.
pub(crate) fn schema(session: &mut Session, database: &str) -> Result<Vec<u8>> {
    let mut text = show(session, &format!("SHOW CREATE DATABASE IF NOT EXISTS {}", quote(database)), 1, database)?.text;
    text.extend_from_slice(b";\n");
    let defaults = session.text(format!(
        "SELECT DEFAULT_CHARACTER_SET_NAME, DEFAULT_COLLATION_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = {}",
        literal(database)
    ))?;
    if let Some([charset, collation]) = defaults.first().map(Vec::as_slice) {
        let name = quote(database);
        text.extend_from_slice(
            format!("ALTER DATABASE {name} CHARACTER SET {charset} COLLATE {collation};\n").as_bytes(),
        );
    }
    Ok(text)
}

/// `CREATE TABLE` or `CREATE SEQUENCE`, without the database's name.
pub(crate) fn table(session: &mut Session, database: &str, table: &Table) -> Result<Vec<u8>> {
    session.use_database(database)?;
    let name = quote(&table.name);
    let what = if table.kind == Kind::Sequence { "SEQUENCE" } else { "TABLE" };
    let mut text = show(session, &format!("SHOW CREATE {what} {name}"), 1, &table.name)?.text;
    text.extend_from_slice(b";\n");
    if table.kind == Kind::Sequence
        && let Some([next, cycles]) =
            session.text(format!("SELECT next_not_cached_value, cycle_count FROM {name}"))?.first().map(Vec::as_slice)
    {
        text.extend_from_slice(format!("DO SETVAL({name}, {next}, 0, {cycles});\n").as_bytes());
    }
    Ok(text)
}

/// All stored functions and procedures of a database, functions first.
pub(crate) fn routines(session: &mut Session, database: &str) -> Result<Vec<u8>> {
    session.use_database(database)?;
    let mut routines = session.text(format!(
        "SELECT ROUTINE_TYPE, ROUTINE_NAME FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = {}",
        literal(database)
    ))?;
    routines.sort_unstable();
    let mut out = Vec::new();
    for routine in &routines {
        let [kind, name] = routine.as_slice() else { continue };
        show(session, &format!("SHOW CREATE {kind} {}", quote(name)), 2, name)?.write_body(&mut out);
    }
    Ok(out)
}

/// The triggers of a database's selected tables, in their order of execution.
pub(crate) fn triggers(session: &mut Session, database: &str, selection: &Selection) -> Result<Vec<u8>> {
    session.use_database(database)?;
    let rows = session.text(format!(
        "SELECT EVENT_OBJECT_TABLE, ACTION_TIMING, EVENT_MANIPULATION, ACTION_ORDER, TRIGGER_NAME FROM information_schema.TRIGGERS \
         WHERE TRIGGER_SCHEMA = {}",
        literal(database)
    ))?;
    let mut triggers = Vec::new();
    for row in rows {
        if let [table, timing, event, order, name] = row.as_slice()
            && selection.table(database, table)
        {
            triggers.push((table.clone(), timing.clone(), event.clone(), order.parse().unwrap_or(0_u32), name.clone()));
        }
    }
    triggers.sort_unstable();
    let mut out = Vec::new();
    for (.., name) in &triggers {
        show(session, &format!("SHOW CREATE TRIGGER {}", quote(name)), 2, name)?.write_body(&mut out);
    }
    Ok(out)
}

/// All events of a database.
pub(crate) fn events(session: &mut Session, database: &str) -> Result<Vec<u8>> {
    session.use_database(database)?;
    let mut names = session
        .text(format!("SELECT EVENT_NAME FROM information_schema.EVENTS WHERE EVENT_SCHEMA = {}", literal(database)))?;
    names.sort_unstable();
    let mut out = Vec::new();
    for name in names.iter().filter_map(|row| row.first()) {
        show(session, &format!("SHOW CREATE EVENT {}", quote(name)), 3, name)?.write_body(&mut out);
    }
    Ok(out)
}

/// The views of all databases.
#[derive(Debug, Default)]
pub(crate) struct Views {
    /// Their text, each after those that it reads.
    pub(crate) text: Vec<u8>,
    /// The same, but those that are invalid are comments: a script must not stop at them.
    pub(crate) script: Vec<u8>,
    /// Those that read what is not there any more: `database.view`, both encoded.
    pub(crate) invalid: Vec<String>,
}

/// Asks for all views of these databases.
pub(crate) fn views(session: &mut Session, databases: &[Database]) -> Result<Views> {
    let mut shown = BTreeMap::new();
    for database in databases {
        for view in database.of_kind(Kind::View) {
            session.use_database(&database.name)?;
            let view_shown = show(session, &format!("SHOW CREATE VIEW {}", quote(&view.name)), 1, &view.name)?;
            shown.insert((database.name.clone(), view.name.clone()), view_shown);
        }
    }
    let mut views = Views::default();
    for key @ (database, name) in order(&shown) {
        let Some(view) = shown.get(key) else { continue };
        let mut text = use_database(database);
        view.write_settings(&mut text);
        text.extend_from_slice(&view.text);
        text.extend_from_slice(b";\n");
        if view.warned {
            views.invalid.push(format!("{}.{}", encode(database), encode(name)));
            views.script.extend_from_slice(b"-- This view read what was not there any more:\n");
            for line in text.split_inclusive(|byte| *byte == b'\n') {
                views.script.extend_from_slice(b"-- ");
                views.script.extend_from_slice(line);
            }
        } else {
            views.script.extend_from_slice(&text);
        }
        views.text.append(&mut text);
    }
    Ok(views)
}

/// What `SHOW CREATE` says of an object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Shown {
    text: Vec<u8>,
    character_set: String,
    collation: String,
    sql_mode: Option<String>,
    time_zone: Option<String>,
    /// Whether the server has something to say against it.
    warned: bool,
}

/// Asks for an object's text, which stands in the column `text`; what the columns beside it mean is known by their names.
fn show(session: &mut Session, sql: &str, text: usize, name: &str) -> Result<Shown> {
    let is_mariadb = session.server().is_mariadb();
    let mut rows = session.stored_rows(sql)?;
    let names: Vec<String> = rows.columns().iter().map(|column| column.name_str().to_ascii_lowercase()).collect();
    let mut shown = Shown::default();
    let mut found = false;
    while let Some(row) = rows.next()? {
        for (index, cell) in row.cells().enumerate() {
            let Some(cell) = cell? else { continue };
            let as_text = || String::from_utf8_lossy(cell).into_owned();
            match names.get(index).map(String::as_str) {
                _ if index == text => {
                    shown.text = cell.to_vec();
                    found = true;
                }
                Some("character_set_client") => shown.character_set = as_text(),
                Some("collation_connection") => shown.collation = as_text(),
                Some("sql_mode") if is_mariadb => shown.sql_mode = Some(as_text()),
                Some("sql_mode") => shown.sql_mode = Some(without_dead_modes(&as_text())),
                Some("time_zone") => shown.time_zone = Some(as_text()),
                _ => {}
            }
        }
    }
    shown.warned = rows.warnings() > 0;
    if !found {
        return Err(Error::denied(format!(
            "the server does not show the text of {}; the user of the backup needs more privileges: `GRANT SELECT, SHOW VIEW, TRIGGER, \
             EVENT ON *.* TO` it, and for routines `GRANT SHOW_ROUTINE ON *.* TO` (MySQL 8.0.20 and later) or `GRANT SELECT ON \
             mysql.proc TO` (before, and MariaDB)",
            quote(name)
        )));
    }
    Ok(shown)
}

/// Leaves out of the `sql_mode` of MySQL 5.7 what means nothing for an object, and what MySQL 8 and later refuse.
fn without_dead_modes(mode: &str) -> String {
    mode.split(',').filter(|mode| *mode != "NO_AUTO_CREATE_USER").collect::<Vec<_>>().join(",")
}

impl Shown {
    /// The settings under which the object was made, which are part of it.
    fn write_settings(&self, out: &mut Vec<u8>) {
        let mut set = |name: &str, value: &str| out.extend_from_slice(format!("SET {name} = {value};\n").as_bytes());
        if !self.character_set.is_empty() {
            set("character_set_client", &self.character_set);
            set("collation_connection", &self.collation);
        }
        if let Some(mode) = &self.sql_mode {
            set("sql_mode", &literal(mode));
        }
        if let Some(zone) = &self.time_zone {
            set("time_zone", &literal(zone));
        }
    }

    /// Writes an object whose text may have statements inside.
    fn write_body(&self, out: &mut Vec<u8>) {
        self.write_settings(out);
        let delimiter = delimiter(&self.text);
        out.extend_from_slice(format!("DELIMITER {delimiter}\n").as_bytes());
        out.extend_from_slice(&self.text);
        // A comment may end the text.
        out.extend_from_slice(format!("\n{delimiter}\nDELIMITER ;\n").as_bytes());
    }
}

/// A delimiter that the text does not have inside: mysqldump's, if that will do.
fn delimiter(text: &[u8]) -> &'static str {
    let free = |delimiter: &&str| !text.windows(delimiter.len()).any(|window| window == delimiter.as_bytes());
    [";;", "$$", "//", "||", "@@END@@"].into_iter().find(free).unwrap_or("@@COFFER@@")
}

/// The views in an order in which each comes after those that it names.
fn order(views: &BTreeMap<(String, String), Shown>) -> Vec<&(String, String)> {
    let mut ordered = Vec::with_capacity(views.len());
    let mut seen = BTreeSet::new();
    for start in views.keys() {
        // Depth first, without recursion: views may be nested deeply.
        let mut path = vec![(start, false)];
        while let Some((key, named_done)) = path.pop() {
            if named_done {
                ordered.push(key);
            } else if seen.insert(key) {
                path.push((key, true));
                if let Some(view) = views.get(key) {
                    let named = names(&view.text, &key.0);
                    path.extend(
                        named.iter().rev().filter_map(|name| views.get_key_value(name)).map(|(name, _)| (name, false)),
                    );
                }
            }
        }
    }
    ordered
}

/// What the text may name: every quoted identifier with the one before the dot, or with `database`.
fn names(text: &[u8], database: &str) -> BTreeSet<(String, String)> {
    let mut names = BTreeSet::new();
    let mut rest = text;
    let mut qualifier: Option<String> = None;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte == b'`' {
            let (name, tail) = identifier(rest);
            rest = tail;
            names.insert((database.to_owned(), name.clone()));
            if let Some(qualifier) = qualifier.take() {
                names.insert((qualifier, name.clone()));
            }
            if let Some(tail) = rest.strip_prefix(b".") {
                rest = tail;
                qualifier = Some(name);
            }
        } else {
            qualifier = None;
        }
    }
    names
}

/// The identifier up to its closing backquote, and what follows.
pub(crate) fn identifier(text: &[u8]) -> (String, &[u8]) {
    let mut name = Vec::new();
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte == b'`' {
            match rest.strip_prefix(b"`") {
                Some(tail) => rest = tail,
                None => break,
            }
        }
        name.push(byte);
    }
    (String::from_utf8_lossy(&name).into_owned(), rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(text: &str) -> Shown {
        Shown { text: text.as_bytes().to_vec(), ..Shown::default() }
    }

    fn key(database: &str, name: &str) -> (String, String) {
        (database.to_owned(), name.to_owned())
    }

    #[test]
    fn views_come_after_those_that_they_read() {
        let views = BTreeMap::from([
            (key("a", "v1"), view("CREATE VIEW `v1` AS select `v2`.`x` AS `x` from `v2`")),
            (key("a", "v2"), view("CREATE VIEW `v2` AS select 1 AS `x` from (`t` join `b`.`w``1`)")),
            (key("b", "w`1"), view("CREATE VIEW `w``1` AS select `a`.`v3`.`x` from `a`.`v3`")),
            (key("a", "v3"), view("CREATE VIEW `v3` AS select 1 AS `x`")),
        ]);
        let order: Vec<_> = order(&views).into_iter().map(|(_, name)| name.as_str()).collect();
        assert_eq!(order, ["v3", "w`1", "v2", "v1"]);
    }

    #[test]
    fn views_in_a_circle_all_come() {
        let views = BTreeMap::from([
            (key("a", "v1"), view("CREATE VIEW `v1` AS select 1 from `v2`")),
            (key("a", "v2"), view("CREATE VIEW `v2` AS select 1 from `v1`")),
        ]);
        assert_eq!(order(&views).len(), 2);
    }

    #[test]
    fn delimiters_and_settings() {
        let mut out = Vec::new();
        let shown = Shown {
            text: b"CREATE PROCEDURE p() BEGIN SELECT ';;'; END -- x".to_vec(),
            character_set: "latin1".into(),
            collation: "latin1_swedish_ci".into(),
            sql_mode: Some(without_dead_modes("ANSI_QUOTES,NO_AUTO_CREATE_USER")),
            time_zone: Some("SYSTEM".into()),
            warned: false,
        };
        shown.write_body(&mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "SET character_set_client = latin1;\nSET collation_connection = latin1_swedish_ci;\nSET sql_mode = 'ANSI_QUOTES';\n\
             SET time_zone = 'SYSTEM';\nDELIMITER $$\nCREATE PROCEDURE p() BEGIN SELECT ';;'; END -- x\n$$\nDELIMITER ;\n"
        );
    }
}
