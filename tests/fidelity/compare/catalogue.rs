//! What objects are: `SHOW CREATE`, and everything that `information_schema` says but what is no part of them.

use std::collections::BTreeMap;

use coffer_test_support::mysql::{Client, Flavor};

use super::ask::{Questions, ask};
use super::{Portrait, identifier};

/// A part of `information_schema`: its name, the column of the database, those that name one row, and those that are no part of an
/// object: when it was made, how many pages it takes, how often it ran. Servers that do not have it are not asked.
struct Source(&'static str, &'static str, &'static [&'static str], &'static [&'static str]);

const SOURCES: &[Source] = &[
    Source("SCHEMATA", "SCHEMA_NAME", &["SCHEMA_NAME"], &[]),
    Source("SCHEMATA_EXTENSIONS", "SCHEMA_NAME", &["SCHEMA_NAME"], &[]),
    Source(
        "TABLES",
        "TABLE_SCHEMA",
        &["TABLE_SCHEMA", "TABLE_NAME"],
        &[
            "TABLE_ROWS",
            "AVG_ROW_LENGTH",
            "DATA_LENGTH",
            "MAX_DATA_LENGTH",
            "INDEX_LENGTH",
            "MAX_INDEX_LENGTH",
            "DATA_FREE",
            "CREATE_TIME",
            "UPDATE_TIME",
            "CHECK_TIME",
        ],
    ),
    Source("TABLES_EXTENSIONS", "TABLE_SCHEMA", &["TABLE_SCHEMA", "TABLE_NAME"], &[]),
    Source("COLUMNS", "TABLE_SCHEMA", &["TABLE_SCHEMA", "TABLE_NAME", "COLUMN_NAME"], &[]),
    Source("COLUMNS_EXTENSIONS", "TABLE_SCHEMA", &["TABLE_SCHEMA", "TABLE_NAME", "COLUMN_NAME"], &[]),
    Source(
        "STATISTICS",
        "TABLE_SCHEMA",
        &["TABLE_SCHEMA", "TABLE_NAME", "INDEX_NAME", "SEQ_IN_INDEX"],
        &["CARDINALITY"],
    ),
    Source("VIEWS", "TABLE_SCHEMA", &["TABLE_SCHEMA", "TABLE_NAME"], &[]),
    Source("VIEW_TABLE_USAGE", "VIEW_SCHEMA", &["VIEW_SCHEMA", "VIEW_NAME", "TABLE_SCHEMA", "TABLE_NAME"], &[]),
    Source(
        "VIEW_ROUTINE_USAGE",
        "TABLE_SCHEMA",
        &["TABLE_SCHEMA", "TABLE_NAME", "SPECIFIC_SCHEMA", "SPECIFIC_NAME"],
        &[],
    ),
    Source("TRIGGERS", "TRIGGER_SCHEMA", &["TRIGGER_SCHEMA", "TRIGGER_NAME"], &["CREATED"]),
    Source(
        "ROUTINES",
        "ROUTINE_SCHEMA",
        &["ROUTINE_SCHEMA", "ROUTINE_TYPE", "ROUTINE_NAME"],
        &["CREATED", "LAST_ALTERED"],
    ),
    // Who made a library cannot be said.
    Source("LIBRARIES", "LIBRARY_SCHEMA", &["LIBRARY_SCHEMA", "LIBRARY_NAME"], &["CREATED", "LAST_ALTERED", "CREATOR"]),
    Source(
        "PARAMETERS",
        "SPECIFIC_SCHEMA",
        &["SPECIFIC_SCHEMA", "ROUTINE_TYPE", "SPECIFIC_NAME", "ORDINAL_POSITION"],
        &[],
    ),
    Source("EVENTS", "EVENT_SCHEMA", &["EVENT_SCHEMA", "EVENT_NAME"], &["CREATED", "LAST_ALTERED", "LAST_EXECUTED"]),
    Source(
        "PARTITIONS",
        "TABLE_SCHEMA",
        &["TABLE_SCHEMA", "TABLE_NAME", "PARTITION_NAME", "SUBPARTITION_NAME"],
        &[
            "TABLE_ROWS",
            "AVG_ROW_LENGTH",
            "DATA_LENGTH",
            "MAX_DATA_LENGTH",
            "INDEX_LENGTH",
            "DATA_FREE",
            "CREATE_TIME",
            "UPDATE_TIME",
            "CHECK_TIME",
            "CHECKSUM",
        ],
    ),
    Source(
        "KEY_COLUMN_USAGE",
        "TABLE_SCHEMA",
        &["TABLE_SCHEMA", "TABLE_NAME", "CONSTRAINT_NAME", "ORDINAL_POSITION"],
        &[],
    ),
    Source("TABLE_CONSTRAINTS", "TABLE_SCHEMA", &["TABLE_SCHEMA", "TABLE_NAME", "CONSTRAINT_NAME"], &[]),
    Source(
        "TABLE_CONSTRAINTS_EXTENSIONS",
        "CONSTRAINT_SCHEMA",
        &["CONSTRAINT_SCHEMA", "TABLE_NAME", "CONSTRAINT_NAME"],
        &[],
    ),
    Source(
        "REFERENTIAL_CONSTRAINTS",
        "CONSTRAINT_SCHEMA",
        &["CONSTRAINT_SCHEMA", "TABLE_NAME", "CONSTRAINT_NAME"],
        &[],
    ),
    Source("CHECK_CONSTRAINTS", "CONSTRAINT_SCHEMA", &["CONSTRAINT_SCHEMA", "TABLE_NAME", "CONSTRAINT_NAME"], &[]),
    Source("ST_GEOMETRY_COLUMNS", "TABLE_SCHEMA", &["TABLE_SCHEMA", "TABLE_NAME", "COLUMN_NAME"], &[]),
    Source("GEOMETRY_COLUMNS", "G_TABLE_SCHEMA", &["G_TABLE_SCHEMA", "G_TABLE_NAME", "G_GEOMETRY_COLUMN"], &[]),
    Source(
        "COLUMN_STATISTICS",
        "SCHEMA_NAME",
        &["SCHEMA_NAME", "TABLE_NAME", "COLUMN_NAME"],
        // But for the time at which they were counted; see below.
        &["HISTOGRAM"],
    ),
];

/// The databases that every server has.
pub const OWN: &str = "('mysql', 'sys', 'information_schema', 'performance_schema')";

/// Says everything that there is to say of objects.
pub fn describe(server: &Client, portrait: &mut Portrait) {
    let flavor = server.flavor();
    let mut known: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in ask(
        server,
        flavor,
        "SELECT UPPER(TABLE_NAME), COLUMN_NAME FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = 'information_schema' ORDER BY 1, \
         ORDINAL_POSITION",
    ) {
        known.entry(row[0].clone()).or_default().push(row[1].clone());
    }
    let mut questions = Questions::new(flavor);
    for source in SOURCES {
        if let Some(columns) = known.get(source.0) {
            questions.ask(source.0, &source.question(columns));
        }
    }
    if known.contains_key("COLUMN_STATISTICS") {
        questions.ask(
            "HISTOGRAM",
            "SELECT CONCAT_WS('.', SCHEMA_NAME, TABLE_NAME, COLUMN_NAME), JSON_REMOVE(HISTOGRAM, '$.\"last-updated\"') FROM \
             information_schema.COLUMN_STATISTICS",
        );
    }
    for (source, rows) in questions.answers(server) {
        assert!(source != "SCHEMATA" || !rows.is_empty(), "a server without databases proves nothing");
        for mut row in rows {
            let lines = row.split_off(1);
            portrait.say(format!("{source} {}", row[0]), lines);
        }
    }
    show(server, flavor, portrait);
}

impl Source {
    fn question(&self, columns: &[String]) -> String {
        let Self(name, database, key, left_out) = self;
        let is = |list: &[&str], column: &str| list.iter().any(|known| known.eq_ignore_ascii_case(column));
        let key: Vec<String> = key
            .iter()
            .filter(|name| columns.iter().any(|column| column.eq_ignore_ascii_case(name)))
            .map(|column| format!("IFNULL(CONCAT('`', REPLACE({column}, '`', '``'), '`'), '-')"))
            .collect();
        let said: Vec<String> = columns
            .iter()
            .filter(|column| !is(left_out, column))
            .map(|column| format!("CONCAT('{column} ', IFNULL(QUOTE({}), 'NULL'))", said(column)))
            .collect();
        format!(
            "SELECT CONCAT_WS('.', {}), {} FROM information_schema.{name} WHERE {database} NOT IN {OWN}",
            key.join(", "),
            said.join(", ")
        )
    }
}

/// The expression of what a column says.
fn said(column: &str) -> String {
    // MySQL has the default of a TIMESTAMP as it was typed, in the time zone of that session. `SHOW CREATE TABLE` has the moment.
    if column == "COLUMN_DEFAULT" {
        return "IF(DATA_TYPE = 'timestamp' AND COLUMN_DEFAULT RLIKE '^.?[0-9]', 'a moment', COLUMN_DEFAULT)"
            .to_owned();
    }
    // Of a table that never had a row, MySQL says that the next one is 1, or nothing: it depends on who has opened it since.
    if column == "AUTO_INCREMENT" {
        return "NULLIF(AUTO_INCREMENT, 1)".to_owned();
    }
    column.to_owned()
}

/// `SHOW CREATE` of every object.
fn show(server: &Client, flavor: Flavor, portrait: &mut Portrait) {
    let mut objects = Questions::new(flavor);
    objects.ask(
        (),
        &format!("SELECT 'DATABASE', SCHEMA_NAME, '' FROM information_schema.SCHEMATA WHERE SCHEMA_NAME NOT IN {OWN}"),
    );
    for (kind, source, schema, name) in [
        (
            "IF(TABLE_TYPE = 'SYSTEM VERSIONED' OR TABLE_TYPE = 'BASE TABLE', 'TABLE', TABLE_TYPE)",
            "TABLES",
            "TABLE_SCHEMA",
            "TABLE_NAME",
        ),
        ("ROUTINE_TYPE", "ROUTINES", "ROUTINE_SCHEMA", "ROUTINE_NAME"),
        ("'TRIGGER'", "TRIGGERS", "TRIGGER_SCHEMA", "TRIGGER_NAME"),
        ("'EVENT'", "EVENTS", "EVENT_SCHEMA", "EVENT_NAME"),
    ] {
        objects.ask(
            (),
            &format!("SELECT {kind}, {schema}, {name} FROM information_schema.{source} WHERE {schema} NOT IN {OWN}"),
        );
    }
    let mut questions = Questions::new(flavor);
    for row in objects.answers(server).into_iter().flat_map(|((), rows)| rows) {
        let [kind, schema, name] = row.as_slice() else { panic!("three names: {row:?}") };
        let place =
            if name.is_empty() { identifier(schema) } else { format!("{}.{}", identifier(schema), identifier(name)) };
        questions.ask(format!("{kind} {place}"), &format!("SHOW CREATE {kind} {place}"));
        if kind == "SEQUENCE" {
            questions.ask(format!("POSITION OF {place}"), &format!("SELECT * FROM {place}"));
        }
    }
    for (object, rows) in questions.answers(server) {
        assert_eq!(rows.len(), 1, "{object} must be shown");
        let mut row = rows.into_iter().next().unwrap();
        // When a trigger was made is no part of it.
        if object.starts_with("TRIGGER ") {
            row.truncate(6);
        }
        let lines = row.iter().flat_map(|cell| cell.split('\n').map(str::to_owned)).collect();
        portrait.say(object, lines);
    }
}
