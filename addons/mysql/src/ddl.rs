//! The SQL text that makes the objects of a database, as the server itself writes it.

use std::collections::{BTreeMap, BTreeSet};

use coffer_addon_sdk::{Error, Fact, Result};

use crate::catalog::{Database, Kind, Table};
use crate::failure::Outcome;
use crate::layout::{encode, fact, quote};
use crate::params::Selection;
use crate::repair;
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
    let text = show(session, &format!("SHOW CREATE {what} {name}"), 1, &table.name)?.text;
    let mut text = repair::table(session, database, &table.name, text)?;
    text.extend_from_slice(b";\n");
    if table.kind == Kind::Sequence {
        text.extend_from_slice(&position(session, &name)?);
    }
    Ok(text)
}

/// The statement that puts a sequence where it is. Its one row says everything, also what `SETVAL` would refuse: that it was set back, or
/// has run out.
fn position(session: &mut Session, name: &str) -> Result<Vec<u8>> {
    let rows = session.text(format!(
        "SELECT next_not_cached_value, minimum_value, maximum_value, start_value, increment, cache_size, cycle_option, cycle_count FROM \
         {name}"
    ))?;
    let row = rows.first().ok_or_else(|| Error::data(format!("the sequence {name} has no position")))?;
    Ok(format!("INSERT INTO {name} VALUES ({});\n", row.join(", ")).into_bytes())
}

/// The statements that give a table its histograms, as they are. Servers before MySQL 8.0.31 can only count anew.
pub(crate) fn histograms(session: &mut Session, database: &str, table: &Table) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    if table.kind != Kind::Base || !session.server().is_mysql(8, 0, 31) {
        return Ok(text);
    }
    let rows = session.text(format!(
        "SELECT COLUMN_NAME, HISTOGRAM FROM information_schema.COLUMN_STATISTICS WHERE SCHEMA_NAME = {} AND TABLE_NAME = {}",
        literal(database),
        literal(&table.name)
    ))?;
    let mut rows: Vec<&[String]> = rows.iter().map(Vec::as_slice).collect();
    rows.sort_unstable();
    for row in rows {
        if let [column, histogram] = row {
            let (table, column, data) = (quote(&table.name), quote(column), literal(histogram));
            text.extend_from_slice(
                format!("/*!80031 ANALYZE TABLE {table} UPDATE HISTOGRAM ON {column} USING DATA {data} */;\n")
                    .as_bytes(),
            );
        }
    }
    Ok(text)
}

/// Whether there is a foreign key that refers to columns which no unique index is of; MySQL makes such only if it is told to.
pub(crate) fn refers_to_no_unique_key(session: &mut Session, databases: &[Database]) -> Result<bool> {
    if !session.server().is_mysql(8, 4, 0) {
        return Ok(false);
    }
    let places = session.text(
        "SELECT DISTINCT r.CONSTRAINT_SCHEMA FROM information_schema.REFERENTIAL_CONSTRAINTS r WHERE (SELECT COUNT(*) FROM \
         information_schema.KEY_COLUMN_USAGE k WHERE k.CONSTRAINT_SCHEMA = r.CONSTRAINT_SCHEMA AND k.CONSTRAINT_NAME = r.CONSTRAINT_NAME AND \
         k.TABLE_NAME = r.TABLE_NAME) <> (SELECT COUNT(*) FROM information_schema.STATISTICS s WHERE s.TABLE_SCHEMA = \
         r.UNIQUE_CONSTRAINT_SCHEMA AND s.TABLE_NAME = r.REFERENCED_TABLE_NAME AND s.INDEX_NAME = r.UNIQUE_CONSTRAINT_NAME AND s.NON_UNIQUE = 0)",
    )?;
    Ok(places.iter().flatten().any(|place| databases.iter().any(|database| database.name == *place)))
}

/// What a restore must know of a database beforehand.
pub(crate) fn schema_facts(session: &mut Session, database: &str) -> Result<Vec<Fact>> {
    Ok(if is_read_only(session, database)? { vec![Fact::new(fact::READ_ONLY, true)] } else { Vec::new() })
}

/// The statement that closes a database when everything is in it, if it is closed.
pub(crate) fn closing(session: &mut Session, database: &str) -> Result<Vec<u8>> {
    let text = if is_read_only(session, database)? { read_only(database) + ";\n" } else { String::new() };
    Ok(text.into_bytes())
}

/// The statement that closes a database.
pub(crate) fn read_only(database: &str) -> String {
    format!("ALTER DATABASE {} READ ONLY = 1", quote(database))
}

fn is_read_only(session: &mut Session, database: &str) -> Result<bool> {
    if !session.server().is_mysql(8, 0, 22) {
        return Ok(false);
    }
    let options = session.value(format!(
        "SELECT OPTIONS FROM information_schema.SCHEMATA_EXTENSIONS WHERE SCHEMA_NAME = {}",
        literal(database)
    ));
    Ok(known(options)?.flatten().is_some_and(|options| options.contains("READ ONLY=1")))
}

/// The databases that have libraries, which MySQL knows since 9.2.
pub(crate) fn databases_with_libraries(session: &mut Session) -> Result<Vec<String>> {
    if !session.server().is_mysql(9, 2, 0) {
        return Ok(Vec::new());
    }
    let rows = session.text("SELECT DISTINCT LIBRARY_SCHEMA FROM information_schema.LIBRARIES");
    Ok(known(rows)?.into_iter().flatten().flatten().collect())
}

/// Forks leave out parts of `information_schema` that their version number promises.
fn known<T>(outcome: Outcome<T>) -> Result<Option<T>> {
    match outcome {
        Err(failure) if failure.code() == Some(1109) => Ok(None),
        outcome => Ok(Some(outcome?)),
    }
}

/// The libraries of a database, which functions may use. Their text stands between quotes, not between `$$`, which older clients and tools
/// do not know.
fn libraries(session: &mut Session, database: &str) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    if !session.server().is_mysql(9, 2, 0) {
        return Ok(out);
    }
    let rows = session.text(format!(
        "SELECT LIBRARY_NAME, LANGUAGE, SQL_MODE, LIBRARY_COMMENT, LIBRARY_DEFINITION IS NULL, LIBRARY_DEFINITION FROM \
         information_schema.LIBRARIES WHERE LIBRARY_SCHEMA = {}",
        literal(database)
    ));
    let mut rows = known(rows)?.unwrap_or_default();
    rows.sort_unstable();
    for row in &rows {
        let [name, language, mode, comment, hidden, text] = row.as_slice() else { continue };
        if hidden != "0" {
            return Err(not_shown(name));
        }
        let literal = |text: &str| {
            if mode.contains("NO_BACKSLASH_ESCAPES") {
                format!("'{}'", text.replace('\'', "''"))
            } else {
                literal(text)
            }
        };
        let comment = if comment.is_empty() { String::new() } else { format!(" COMMENT {}", literal(comment)) };
        out.extend_from_slice(
            format!(
                "SET sql_mode = '{mode}';\nDELIMITER ;;\nCREATE LIBRARY {}{comment} LANGUAGE {language} AS {};;\nDELIMITER ;\n",
                quote(name),
                literal(text)
            )
            .as_bytes(),
        );
    }
    Ok(out)
}

/// The libraries, stored functions and procedures of a database, in the order in which they can be made.
pub(crate) fn routines(session: &mut Session, database: &str) -> Result<Vec<u8>> {
    session.use_database(database)?;
    let libraries = libraries(session, database)?;
    let mut routines = session.text(format!(
        "SELECT ROUTINE_TYPE, ROUTINE_NAME, ROUTINE_COMMENT FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = {}",
        literal(database)
    ))?;
    routines.sort_unstable();
    let mut bodies = Bodies::of(session, database)?;
    for routine in &routines {
        let [kind, name, comment] = routine.as_slice() else { continue };
        let shown = show(session, &format!("SHOW CREATE {kind} {}", quote(name)), 2, name)?;
        bodies.add(&shown.in_one_charset(session, name, comment)?);
    }
    Ok([libraries, bodies.end()].concat())
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
    let mut bodies = Bodies::of(session, database)?;
    for (.., name) in &triggers {
        let shown = show(session, &format!("SHOW CREATE TRIGGER {}", quote(name)), 2, name)?;
        bodies.add(&shown.in_one_charset(session, name, "")?);
    }
    Ok(bodies.end())
}

/// All events of a database.
pub(crate) fn events(session: &mut Session, database: &str) -> Result<Vec<u8>> {
    session.use_database(database)?;
    let mut names = session.text(format!(
        "SELECT EVENT_NAME, EVENT_COMMENT FROM information_schema.EVENTS WHERE EVENT_SCHEMA = {}",
        literal(database)
    ))?;
    names.sort_unstable();
    let mut bodies = Bodies::of(session, database)?;
    for row in &names {
        let [name, comment] = row.as_slice() else { continue };
        let mut shown = show(session, &format!("SHOW CREATE EVENT {}", quote(name)), 3, name)?;
        if shown.sql_mode.as_deref().is_some_and(|mode| mode.contains("HIGH_NOT_PRECEDENCE")) {
            shown.text = repair::without_default_completion(&shown.text);
        }
        bodies.add(&shown.in_one_charset(session, name, comment)?);
    }
    Ok(bodies.end())
}

/// Objects with statements inside, of one database. Each remembers which collation was the database's when it was made, as its parameters
/// and variables have it: it is made again under the same.
struct Bodies {
    database: String,
    default: String,
    current: String,
    out: Vec<u8>,
}

impl Bodies {
    fn of(session: &mut Session, database: &str) -> Result<Self> {
        let default = session.value(format!(
            "SELECT DEFAULT_COLLATION_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = {}",
            literal(database)
        ))?;
        let default = default.unwrap_or_default();
        Ok(Self { database: database.to_owned(), current: default.clone(), default, out: Vec::new() })
    }

    fn add(&mut self, shown: &Shown) {
        if !shown.database_collation.is_empty() {
            self.switch(&shown.database_collation);
        }
        shown.write_body(&mut self.out);
    }

    fn switch(&mut self, collation: &str) {
        if self.current != collation {
            let name = quote(&self.database);
            // The name is UTF-8, whatever the object before was.
            let text = format!("{UTF8}ALTER DATABASE {name} COLLATE {collation};\n");
            self.out.extend_from_slice(text.as_bytes());
            collation.clone_into(&mut self.current);
        }
    }

    fn end(mut self) -> Vec<u8> {
        let default = std::mem::take(&mut self.default);
        self.switch(&default);
        self.out
    }
}

/// What comes before a name that follows an object of another character set.
const UTF8: &str = "SET character_set_client = utf8mb4;\n";

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
        // The name in the next `USE` is UTF-8.
        if !view.character_set.starts_with("utf8") {
            text.extend_from_slice(UTF8.as_bytes());
        }
        if view.invalid {
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
    /// Of the database, when the object was made.
    database_collation: String,
    sql_mode: Option<String>,
    time_zone: Option<String>,
    /// Whether it is a view that reads what is not there, or what its definer may not read.
    invalid: bool,
}

/// The warning that a view is of no use. Others, such as that its definer is not there, are no obstacle.
const INVALID_VIEW: &[u8] = b"1356";

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
                Some("database collation") => shown.database_collation = as_text(),
                Some("sql_mode") if is_mariadb => shown.sql_mode = Some(as_text()),
                Some("sql_mode") => shown.sql_mode = Some(without_dead_modes(&as_text())),
                Some("time_zone") => shown.time_zone = Some(as_text()),
                _ => {}
            }
        }
    }
    let warned = rows.warnings() > 0;
    drop(rows);
    if warned {
        // Nothing may come in between, so it is asked for as it is.
        let mut warnings = session.stored_rows("SHOW WARNINGS")?;
        while let Some(row) = warnings.next()? {
            shown.invalid |= row.cells().nth(1).transpose()?.flatten() == Some(INVALID_VIEW);
        }
    }
    if found { Ok(shown) } else { Err(not_shown(name)) }
}

fn not_shown(name: &str) -> Error {
    Error::denied(format!(
        "the server does not show the text of {}; the user of the backup needs more privileges: `GRANT SELECT, SHOW VIEW, TRIGGER, EVENT \
         ON *.* TO` it, and for routines `GRANT SHOW_ROUTINE ON *.* TO` (MySQL 8.0.20 and later) or `GRANT SELECT ON mysql.proc TO` \
         (before, and MariaDB)",
        quote(name)
    ))
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

    /// The same, all of it in the character set that it was made in.
    fn in_one_charset(self, session: &mut Session, name: &str, comment: &str) -> Result<Self> {
        let text = repair::in_one_charset(session, self.text, &self.character_set, name, comment)?;
        Ok(Self { text, ..self })
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
    fn objects_are_made_under_the_collation_of_their_time() {
        let shown = |collation: &str, text: &str| Shown { database_collation: collation.into(), ..view(text) };
        let (database, default, current) = ("d`b".to_owned(), "utf8mb4_bin".to_owned(), "utf8mb4_bin".to_owned());
        let mut bodies = Bodies { database, default, current, out: Vec::new() };
        for (collation, text) in [("utf8mb4_bin", "A"), ("cp1251_bin", "B"), ("cp1251_bin", "C"), ("", "D")] {
            bodies.add(&shown(collation, text));
        }
        let body = |text: &str| format!("DELIMITER ;;\n{text}\n;;\nDELIMITER ;\n");
        let alter = |collation: &str| format!("{UTF8}ALTER DATABASE `d``b` COLLATE {collation};\n");
        assert_eq!(
            String::from_utf8(bodies.end()).unwrap(),
            [body("A"), alter("cp1251_bin"), body("B"), body("C"), body("D"), alter("utf8mb4_bin")].concat()
        );
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
            ..Shown::default()
        };
        shown.write_body(&mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "SET character_set_client = latin1;\nSET collation_connection = latin1_swedish_ci;\nSET sql_mode = 'ANSI_QUOTES';\n\
             SET time_zone = 'SYSTEM';\nDELIMITER $$\nCREATE PROCEDURE p() BEGIN SELECT ';;'; END -- x\n$$\nDELIMITER ;\n"
        );
    }
}
