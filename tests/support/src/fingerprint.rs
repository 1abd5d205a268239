//! What a database is made of, as text that can be compared between servers.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};

use crate::mysql::Client;

const MARK: &str = "@@coffer-object@@";

/// One entry per object (its definition), and for each table one with its number of rows and an order-independent hash of them all, over a
/// text in which every type is exact.
pub fn fingerprint(server: &Client, db: &str) -> Result<BTreeMap<String, String>> {
    let name = quote(db);
    let objects = server.query(&format!(
        "SELECT IF(table_type = 'VIEW', 'VIEW', 'TABLE'), table_name FROM information_schema.tables WHERE table_schema = {name}
         UNION ALL SELECT routine_type, routine_name FROM information_schema.routines WHERE routine_schema = {name}
         UNION ALL SELECT 'TRIGGER', trigger_name FROM information_schema.triggers WHERE trigger_schema = {name}
         UNION ALL SELECT 'EVENT', event_name FROM information_schema.events WHERE event_schema = {name};"
    ))?;
    let columns = server.query(&format!(
        "SELECT table_name, column_name, LOWER(data_type), LOWER(column_type) FROM information_schema.columns WHERE table_schema = {name} \
         ORDER BY table_name, ordinal_position;"
    ))?;
    let mut sql = format!(
        "SET NAMES utf8mb4; SET time_zone = '+00:00'; SET SESSION group_concat_max_len = 1048576;\nSELECT '{MARK}', 'DATABASE';\n"
    );
    sql.push_str(&format!("SHOW CREATE DATABASE {};\n", identifier(db)));
    for object in &objects {
        let [kind, object] = object.as_slice() else { continue };
        let path = format!("{}.{}", identifier(db), identifier(object));
        sql.push_str(&format!(
            "SELECT '{MARK}', {};\nSHOW CREATE {kind} {path};\n",
            quote(&format!("{kind} {object}"))
        ));
        if kind == "TABLE" {
            let cells: Vec<String> = columns
                .iter()
                .filter(|column| column[0] == *object)
                .map(|column| canonical(&column[1], &column[2]))
                .collect();
            sql.push_str(&format!(
                "SELECT '{MARK}', {};\nSELECT COUNT(*), SUM(CAST(CONV(LEFT(SHA2(CONCAT_WS(',', {}), 256), 15), 16, 10) AS UNSIGNED)) FROM {path};\n",
                quote(&format!("ROWS {object}")),
                cells.join(", ")
            ));
        }
    }
    let mut result: BTreeMap<String, String> = BTreeMap::new();
    let mut current = None;
    for mut row in server.query(&sql).context("reading the database's fingerprint")? {
        if row.first().is_some_and(|cell| cell == MARK) {
            current = row.into_iter().nth(1);
            continue;
        }
        let key = current.clone().context("a row before the first object")?;
        // The time at which a trigger was created is not part of what it is.
        if key.starts_with("TRIGGER ") {
            row.truncate(6);
        }
        let text = result.entry(key).or_default();
        text.push_str(&row.join("\n"));
    }
    Ok(result)
}

/// What differs between two fingerprints, one line each; empty when they are equal.
pub fn differences(left: &BTreeMap<String, String>, right: &BTreeMap<String, String>) -> Vec<String> {
    let mut lines = Vec::new();
    for (key, value) in left {
        match right.get(key) {
            None => lines.push(format!("{key}: missing on the right")),
            Some(other) if other != value => lines.push(format!("{key}: differs\n- {value}\n+ {other}")),
            Some(_) => {}
        }
    }
    lines.extend(right.keys().filter(|key| !left.contains_key(*key)).map(|key| format!("{key}: missing on the left")));
    lines
}

/// An exact text of one cell: the bytes of strings, all digits of floats, the index of an enum beside its text.
fn canonical(column: &str, kind: &str) -> String {
    let column = identifier(column);
    let text = match kind {
        "float" => format!("CAST(CAST({column} AS DOUBLE) AS CHAR)"),
        "enum" | "set" => format!("CONCAT(HEX({column}), ':', {column} + 0)"),
        "json" => format!("CONCAT(JSON_TYPE({column}), ':', HEX(CAST({column} AS CHAR)))"),
        "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "decimal" | "double" | "date" | "time"
        | "datetime" | "timestamp" | "year" => {
            format!("CAST({column} AS CHAR)")
        }
        _ => format!("HEX({column})"),
    };
    format!("COALESCE({text}, 'NULL')")
}

fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

fn identifier(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}
