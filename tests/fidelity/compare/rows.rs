//! Every row of every table, byte for byte.

use std::collections::BTreeMap;

use coffer_test_support::mysql::{Client, Flavor};

use super::ask::{Questions, ask};
use super::catalogue::OWN;
use super::{Portrait, identifier};

/// Longer values are compared by their length and SHA-256.
const LONG: u32 = 8192;

/// Says all rows, in no order.
pub fn describe(server: &Client, portrait: &mut Portrait) {
    let flavor = server.flavor();
    let mut tables: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    let mut versioned = Vec::new();
    for row in ask(
        server,
        flavor,
        &format!(
            "SELECT c.TABLE_SCHEMA, c.TABLE_NAME, c.COLUMN_NAME, LOWER(c.DATA_TYPE), t.TABLE_TYPE, IFNULL(c.GENERATION_EXPRESSION, '') FROM \
             information_schema.COLUMNS c JOIN information_schema.TABLES t ON t.TABLE_SCHEMA = c.TABLE_SCHEMA AND t.TABLE_NAME = c.TABLE_NAME \
             WHERE t.TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED') AND c.TABLE_SCHEMA NOT IN {OWN} ORDER BY 1, 2, c.ORDINAL_POSITION"
        ),
    ) {
        let [schema, table, column, kind, table_kind, generation] = row.as_slice() else {
            panic!("six cells: {row:?}")
        };
        let table = (schema.clone(), table.clone());
        let columns = tables.entry(table.clone()).or_default();
        if table_kind == "SYSTEM VERSIONED" {
            if columns.is_empty() {
                versioned.push((table, true));
            }
            // A period of its own, which is among the columns.
            if generation.starts_with("ROW ") {
                versioned.last_mut().unwrap().1 = false;
            }
        }
        columns.push(exact(flavor, column, kind));
    }
    let mut questions = Questions::new(flavor);
    for ((schema, table), mut cells) in tables {
        let place = format!("{}.{}", identifier(&schema), identifier(&table));
        let past = versioned.iter().find(|(known, _)| *known == (schema.clone(), table.clone()));
        if past.is_some_and(|(_, implicit)| *implicit) {
            cells.extend(["row_start", "row_end"].map(|column| exact(flavor, column, "timestamp")));
        }
        let past = if past.is_some() { " FOR SYSTEM_TIME ALL" } else { "" };
        questions.ask(place.clone(), &format!("SELECT CONCAT_WS(' ', {}) FROM {place}{past}", cells.join(", ")));
    }
    for (place, rows) in questions.answers(server) {
        let mut lines: Vec<String> = rows.into_iter().map(|mut row| std::mem::take(&mut row[0])).collect();
        lines.sort_unstable();
        portrait.say(format!("ROWS OF {place}"), lines);
    }
}

/// An SQL expression of the column's name and its exact value.
fn exact(flavor: Flavor, column: &str, kind: &str) -> String {
    let name = column.replace('\'', "''").replace('\\', "\\\\");
    let column = identifier(column);
    let text = match kind {
        // The eight bytes of a point's first coordinate: minus zero and every last bit are in them.
        "float" | "double" => format!("SUBSTR(HEX(POINT({column}, 0)), 19, 16)"),
        "bit" => format!("HEX({column} + 0)"),
        // An ENUM has a number beside its text, and texts may be equal.
        "enum" | "set" => format!("CONCAT(HEX(CAST({column} AS BINARY)), ':', CAST({column} AS UNSIGNED))"),
        "json" => format!("CONCAT(JSON_TYPE({column}), ':', {})", bytes(&format!("CAST({column} AS CHAR)"))),
        "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "decimal" | "date" | "time" | "datetime"
        | "timestamp" | "year" | "uuid" | "inet4" | "inet6" => format!("CAST({column} AS CHAR)"),
        // What geometry is inside: four bytes of reference system, then its well-known form.
        "geometry" | "point" | "linestring" | "polygon" | "multipoint" | "multilinestring" | "multipolygon"
        | "geometrycollection" | "geomcollection"
            if flavor == Flavor::MySql =>
        {
            format!("HEX({column})")
        }
        _ => bytes(&column),
    };
    format!("CONCAT('{name}=', IFNULL({text}, 'NULL'))")
}

fn bytes(text: &str) -> String {
    format!(
        "IF(LENGTH({text}) > {LONG}, CONCAT(LENGTH({text}), ' bytes ', SHA2(CAST({text} AS BINARY), 256)), HEX({text}))"
    )
}
