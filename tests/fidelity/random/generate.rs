//! From random numbers to SQL.

use std::fmt::Write as _;

use coffer_test_support::mysql::Flavor;

use super::source::Source;

/// An identifier in backquotes.
pub fn quote(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''").replace('\0', "\\0"))
}

const CHARSETS: &[(&str, &str)] = &[
    ("utf8mb4", "utf8mb4_bin"),
    ("utf8mb4", "utf8mb4_unicode_ci"),
    ("utf8mb3", "utf8mb3_general_ci"),
    ("latin1", "latin1_swedish_ci"),
    ("latin1", "latin1_bin"),
    ("cp1251", "cp1251_general_cs"),
    ("utf16", "utf16_unicode_ci"),
    ("ucs2", "ucs2_bin"),
    ("cp932", "cp932_japanese_ci"),
    ("gbk", "gbk_chinese_ci"),
    ("koi8r", "koi8r_bin"),
    ("ascii", "ascii_general_ci"),
];
const NAMES: &[&str] = &[
    "a",
    "order",
    "Größe",
    "漢字",
    "it's",
    "a b",
    "x`y",
    "%",
    "a.b",
    "a,b",
    "select",
    "-",
    "tab\there",
    "ünïcode",
    "1e5",
    "(x)",
    "\"q\"",
    "semi;colon",
    "back\\slash",
    "ZZ",
];
const TEXTS: &[&str] = &[
    "",
    "a",
    "x'y",
    "\\",
    "\\N",
    "NULL",
    "tab\there",
    "line\nfeed",
    "\r\n",
    "\0",
    "\u{1a}",
    "trail  ",
    " lead",
    "\"",
    "`",
    "%_",
    ";;",
    "-- x",
    "/* y */",
    "DELIMITER ;",
    "plain words",
    "ABCabc",
    "0",
    "-0",
    "1e5",
];
const WIDE: &[&str] = &["é", "ß", "Ж", "漢字", "表示ソ", "Ω", "żółć", "한글", "😀", "𝔘", "e\u{301}"];
const MODES: &[&str] = &[
    "",
    "ANSI_QUOTES",
    "NO_BACKSLASH_ESCAPES",
    "PIPES_AS_CONCAT",
    "STRICT_TRANS_TABLES,NO_ZERO_DATE",
    "HIGH_NOT_PRECEDENCE",
];

/// A type and what its values are.
#[derive(Debug, Clone)]
struct Column {
    name: String,
    kind: Kind,
    nullable: bool,
}

#[derive(Debug, Clone, PartialEq)]
enum Kind {
    Integer(&'static str, bool),
    Decimal(u64, u64),
    Float,
    Double,
    Bit(u64),
    Text(String, &'static str),
    Bytes(String),
    Enum(Vec<String>),
    Set(Vec<String>),
    Date,
    Time(u64),
    DateTime(u64),
    Timestamp(u64),
    Year,
    Json,
    Point,
    Uuid,
    Inet6,
    Vector,
}

/// Some databases and everything in them.
pub fn schema(source: &mut Source, flavor: Flavor) -> String {
    let mut sql = "SET NAMES utf8mb4; SET SESSION foreign_key_checks = 0;\n".to_owned();
    let count = 1 + source.below(3);
    for index in 0..count {
        let name = quote(&format!("r{index}{}", source.pick(NAMES)));
        let (charset, collation) = source.pick(CHARSETS);
        let _ =
            writeln!(sql, "CREATE DATABASE {name} DEFAULT CHARACTER SET {charset} COLLATE {collation}; USE {name};");
        let mut tables = Vec::new();
        for number in 0..=source.below(5) {
            let table = quote(&format!("{}{number}", source.pick(NAMES)));
            let columns = make_table(source, flavor, &table, &tables, &mut sql);
            tables.push((table, columns));
        }
        code(source, &tables, &mut sql);
        if flavor == Flavor::MariaDb && source.one_in(2) {
            sequence(source, &mut sql);
        }
    }
    sql
}

/// A table with its rows. Returns the columns that hold values.
fn make_table(
    source: &mut Source,
    flavor: Flavor,
    table: &str,
    others: &[(String, Vec<Column>)],
    sql: &mut String,
) -> Vec<Column> {
    sql.push_str("SET SESSION sql_mode = 'NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES', time_zone = '+00:00';\n");
    let columns: Vec<Column> = (0..=source.below(9))
        .map(|number| Column {
            name: format!("{}{number}", source.pick(NAMES)),
            kind: kind(source, flavor),
            nullable: !source.one_in(3),
        })
        .collect();
    let mut definitions: Vec<String> = columns.iter().map(|column| definition(source, column)).collect();
    let with_key = !source.one_in(4);
    let counts = with_key && source.one_in(2);
    if with_key {
        let id = if counts { "`id` BIGINT NOT NULL AUTO_INCREMENT" } else { "`id` BIGINT NOT NULL" };
        definitions.insert(usize::try_from(source.below(definitions.len() as u64 + 1)).unwrap(), id.to_owned());
        definitions.push(if flavor == Flavor::MySql && !counts && source.one_in(4) {
            "PRIMARY KEY (`id` DESC)".to_owned()
        } else {
            "PRIMARY KEY (`id`)".to_owned()
        });
    }
    if let Some(base) = columns.iter().find(|column| matches!(column.kind, Kind::Integer(..)))
        && source.one_in(2)
    {
        let stored = if source.one_in(2) { "STORED" } else { "VIRTUAL" };
        let at = usize::try_from(source.below(columns.len() as u64 + 1)).unwrap();
        definitions.insert(at, format!("`gen` DOUBLE AS ({} / 3) {stored}", quote(&base.name)));
    }
    for (number, column) in columns.iter().enumerate() {
        if let Some(part) = key_part(source, column)
            && source.one_in(3)
        {
            definitions.push(format!("KEY `k{number}` ({part})"));
        }
    }
    if let Some((parent, _)) = others.first().filter(|_| with_key && source.one_in(3))
        && sql.contains(&format!("-- key of {parent}\n"))
    {
        definitions.push(format!(
            "CONSTRAINT {} FOREIGN KEY (`id`) REFERENCES {parent} (`id`)",
            quote(&format!("fk `{}", others.len()))
        ));
    }
    let plain = !definitions.iter().any(|definition| definition.contains("FOREIGN KEY"));
    let ascends = !definitions.iter().any(|definition| definition.contains(" DESC)"));
    let engine = if plain && ascends && source.one_in(6) { "MyISAM" } else { "InnoDB" };
    let mut options = format!("ENGINE={engine} COMMENT={}", literal(source.pick(TEXTS)));
    // Partitions and the past take no geometry everywhere.
    let flat = columns.iter().all(|column| column.kind != Kind::Point);
    let versioned = flavor == Flavor::MariaDb && engine == "InnoDB" && plain && source.one_in(4);
    if versioned {
        options.push_str(" WITH SYSTEM VERSIONING");
    } else if with_key && plain && engine == "InnoDB" && flat && source.one_in(5) {
        let _ = write!(options, " PARTITION BY HASH (`id`) PARTITIONS {}", 1 + source.below(4));
    } else if with_key && engine == "InnoDB" {
        let _ = writeln!(sql, "-- key of {table}");
    }
    let _ = writeln!(sql, "CREATE TABLE {table} ({}) {options};", definitions.join(", "));
    rows(source, table, &columns, with_key, sql);
    if versioned {
        let first = quote(&columns[0].name);
        let _ = writeln!(
            sql,
            "SET timestamp = 1700000000 + {}; UPDATE IGNORE {table} SET {first} = {}; SET timestamp = DEFAULT; DELETE FROM {table} LIMIT 1;",
            source.below(1_000_000),
            value(source, &columns[0])
        );
    }
    columns
}

fn kind(source: &mut Source, flavor: Flavor) -> Kind {
    match source.below(if flavor == Flavor::MySql { 20 } else { 21 }) {
        0 | 1 => Kind::Integer(source.pick(&["TINYINT", "SMALLINT", "MEDIUMINT", "INT", "BIGINT"]), source.one_in(2)),
        2 => {
            let digits = 1 + source.below(65);
            Kind::Decimal(digits, source.below(digits.min(30) + 1))
        }
        3 => Kind::Float,
        4 => Kind::Double,
        5 => Kind::Bit(1 + source.below(64)),
        6..=9 => {
            let kind = source.pick(&["CHAR(30)", "VARCHAR(60)", "TEXT", "LONGTEXT", "TINYTEXT", "VARCHAR(300)"]);
            let (charset, collation) = source.pick(CHARSETS);
            Kind::Text(format!("{kind} CHARACTER SET {charset} COLLATE {collation}"), charset)
        }
        10 | 11 => {
            Kind::Bytes((source.pick(&["BINARY(9)", "VARBINARY(90)", "BLOB", "LONGBLOB", "TINYBLOB"])).to_owned())
        }
        12 => Kind::Enum(members(source)),
        13 => Kind::Set(members(source)),
        14 => [Kind::Date, Kind::Year, Kind::Time(source.below(7))][usize::try_from(source.below(3)).unwrap()].clone(),
        15 => Kind::DateTime(source.below(7)),
        16 => Kind::Timestamp(source.below(7)),
        17 => Kind::Json,
        18 => Kind::Point,
        19 if flavor == Flavor::MySql => Kind::Vector,
        19 => Kind::Uuid,
        _ => Kind::Inet6,
    }
}

/// Members that no collation takes for equal.
fn members(source: &mut Source) -> Vec<String> {
    let mut all = vec!["a", "b'b", "c\"c", "d\\d", "e e", "f`f", "漢", "0", "1", "g;g"];
    if source.one_in(3) {
        all.push("");
    }
    let count = 1 + source.below(all.len() as u64);
    (0..count).map(|_| all.remove(usize::try_from(source.below(all.len() as u64)).unwrap()).to_owned()).collect()
}

fn definition(source: &mut Source, column: &Column) -> String {
    let kind = match &column.kind {
        Kind::Integer(name, true) => format!("{name} UNSIGNED"),
        Kind::Integer(name, false) => (*name).to_owned(),
        Kind::Decimal(digits, scale) => format!("DECIMAL({digits},{scale})"),
        Kind::Float => "FLOAT".to_owned(),
        Kind::Double => "DOUBLE".to_owned(),
        Kind::Bit(bits) => format!("BIT({bits})"),
        Kind::Text(kind, _) | Kind::Bytes(kind) => kind.clone(),
        Kind::Enum(members) => format!("ENUM({}) CHARACTER SET utf8mb4", list(members)),
        Kind::Set(members) => format!("SET({}) CHARACTER SET utf8mb4", list(members)),
        Kind::Date => "DATE".to_owned(),
        Kind::Time(digits) => format!("TIME({digits})"),
        Kind::DateTime(digits) => format!("DATETIME({digits})"),
        Kind::Timestamp(digits) => format!("TIMESTAMP({digits})"),
        Kind::Year => "YEAR".to_owned(),
        Kind::Json => "JSON".to_owned(),
        Kind::Point => "POINT".to_owned(),
        Kind::Uuid => "UUID".to_owned(),
        Kind::Inet6 => "INET6".to_owned(),
        Kind::Vector => "VECTOR(2)".to_owned(),
    };
    let null = if column.nullable { "NULL" } else { "NOT NULL" };
    let comment = if source.one_in(3) { format!(" COMMENT {}", literal(source.pick(TEXTS))) } else { String::new() };
    let default = match &column.kind {
        Kind::Integer(..) | Kind::Decimal(..) | Kind::Float | Kind::Double if source.one_in(3) => " DEFAULT 0",
        Kind::DateTime(0) if source.one_in(2) => " DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP",
        Kind::Timestamp(_) if !column.nullable => " DEFAULT '2001-02-03 04:05:06'",
        _ => "",
    };
    format!("{} {kind} {null}{default}{comment}", quote(&column.name))
}

fn list(members: &[String]) -> String {
    members.iter().map(|member| literal(member)).collect::<Vec<_>>().join(",")
}

fn key_part(source: &mut Source, column: &Column) -> Option<String> {
    let name = quote(&column.name);
    match &column.kind {
        Kind::Json | Kind::Point | Kind::Vector => None,
        Kind::Text(..) => Some(format!("{name}(5)")),
        Kind::Bytes(_) => Some(format!("{name}(3)")),
        _ if source.one_in(3) => Some(format!("{name} DESC")),
        _ => Some(name),
    }
}

fn rows(source: &mut Source, table: &str, columns: &[Column], with_key: bool, sql: &mut String) {
    let count = [0, 1, 5, 40, 150][usize::try_from(source.below(5)).unwrap()];
    let names: Vec<String> = with_key
        .then(|| "`id`".to_owned())
        .into_iter()
        .chain(columns.iter().map(|column| quote(&column.name)))
        .collect();
    let mut id = i64::try_from(source.below(20)).unwrap() - 10;
    for _ in 0..count {
        id += 1 + i64::try_from(source.below(3)).unwrap();
        let values: Vec<String> = with_key
            .then(|| id.to_string())
            .into_iter()
            .chain(columns.iter().map(|column| value(source, column)))
            .collect();
        let _ = writeln!(sql, "INSERT IGNORE INTO {table} ({}) VALUES ({});", names.join(","), values.join(","));
    }
}

fn value(source: &mut Source, column: &Column) -> String {
    if column.nullable && source.one_in(6) {
        return "NULL".to_owned();
    }
    match &column.kind {
        Kind::Integer(name, unsigned) => integer(source, name, *unsigned),
        Kind::Decimal(digits, scale) => decimal(source, *digits, *scale),
        Kind::Float => float(f64::from(f32::from_bits(u32::try_from(source.bits() >> 32).unwrap()))),
        Kind::Double => float(f64::from_bits(source.bits())),
        Kind::Bit(bits) => (source.bits() >> (64 - bits)).to_string(),
        Kind::Text(_, charset) => text(source, charset),
        Kind::Bytes(_) => bytes(source),
        Kind::Enum(members) => source.below(members.len() as u64 + 1).to_string(),
        Kind::Set(members) => source.below(1 << members.len()).to_string(),
        Kind::Date => {
            (source.pick(&["'0000-00-00'", "'2020-02-30'", "'9999-12-31'", "'2020-00-00'", "'1999-07-15'"])).to_owned()
        }
        Kind::Time(_) => format!(
            "'{}{}:{:02}:{:02}.{:06}'",
            source.pick(&["", "-"]),
            source.below(839),
            source.below(59),
            source.below(59),
            source.below(1_000_000)
        ),
        Kind::DateTime(_) => format!(
            "'{:04}-{:02}-{:02} {:02}:{:02}:{:02}.{:06}'",
            source.below(9999),
            source.below(13),
            source.below(32),
            source.below(24),
            source.below(60),
            source.below(59),
            source.below(999_999)
        ),
        Kind::Timestamp(_) => {
            format!("FROM_UNIXTIME({}.{:06})", 1 + source.below(2_147_483_646), source.below(999_999))
        }
        Kind::Year => (source.pick(&["0", "1901", "2155", "2000"])).to_owned(),
        Kind::Json => {
            let text = source.pick(TEXTS).chars().filter(|character| !character.is_control()).collect::<String>();
            let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
            literal(&format!(
                "{{\"k{}\": [{}, \"{escaped}\", null, {}.5]}}",
                source.below(9),
                source.below(1 << 50),
                source.below(1000)
            ))
        }
        Kind::Point => format!("POINT({}, {})", float(f64::from_bits(source.bits())), source.below(1000)),
        Kind::Uuid => {
            let bits = source.bits();
            format!(
                "'{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}'",
                bits >> 32,
                bits & 0xffff,
                bits & 0xfff,
                bits >> 52,
                source.bits() >> 16
            )
        }
        Kind::Inet6 => format!("'{:x}:{:x}::{:x}'", source.below(65_536), source.below(65_536), source.below(65_536)),
        Kind::Vector => {
            let mut half = || source.below(1 << 32);
            // Finite ones only.
            let part = |bits: u64| if bits & 0x7f80_0000 == 0x7f80_0000 { 0 } else { u32::try_from(bits).unwrap() };
            format!("X'{}{}'", hex(&part(half()).to_le_bytes()), hex(&part(half()).to_le_bytes()))
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let _ = write!(text, "{byte:02X}");
    }
    text
}

fn integer(source: &mut Source, name: &str, unsigned: bool) -> String {
    let bits = match name {
        "TINYINT" => 8,
        "SMALLINT" => 16,
        "MEDIUMINT" => 24,
        "INT" => 32,
        _ => 64,
    };
    let any = source.bits() >> (64 - bits);
    if unsigned { any.to_string() } else { (i128::from(any) - (1_i128 << (bits - 1))).to_string() }
}

fn decimal(source: &mut Source, digits: u64, scale: u64) -> String {
    let mut digit = |count: u64| -> String {
        (0..count).map(|_| char::from(b'0' + u8::try_from(source.below(10)).unwrap())).collect()
    };
    let (whole, part) = (digit(digits - scale), digit(scale));
    let sign = source.pick(&["", "-"]);
    format!("{sign}0{whole}.{part}0")
}

/// A number with all its digits; what is none is a small one. Minus zero is not among them: MariaDB has it, but never says so.
fn float(value: f64) -> String {
    if value.is_finite() { format!("{value:e}") } else { "1.5e-310".to_owned() }
}

fn text(source: &mut Source, charset: &str) -> String {
    let mut text = String::new();
    for _ in 0..source.below(4) {
        text.push_str(source.pick(TEXTS));
        if charset != "ascii" && source.one_in(2) {
            text.push_str(source.pick(WIDE));
        }
    }
    literal(&text)
}

fn bytes(source: &mut Source) -> String {
    let count = source.below(12);
    let all: Vec<u8> = (0..count)
        .map(|_| {
            if source.one_in(2) {
                source.pick(b"\\\t\n\r\0\x1a'\"N,;")
            } else {
                u8::try_from(source.below(256)).unwrap()
            }
        })
        .collect();
    format!("X'{}'", hex(&all))
}

/// Views, triggers, routines and an event, under settings of their own.
fn code(source: &mut Source, tables: &[(String, Vec<Column>)], sql: &mut String) {
    let settle = |source: &mut Source| {
        format!(
            "SET SESSION sql_mode = '{}', time_zone = '{}';\n",
            source.pick(MODES),
            source.pick(&["SYSTEM", "+05:45", "-11:00"])
        )
    };
    let definer = |source: &mut Source| (source.pick(&["", "", "DEFINER=nobody@nowhere "])).to_owned();
    for (number, (table, columns)) in tables.iter().enumerate() {
        if source.one_in(2) {
            let names: Vec<String> = columns.iter().map(|column| quote(&column.name)).collect();
            let _ = writeln!(
                sql,
                "{}CREATE {}VIEW `v{number}` AS SELECT {} FROM {table};",
                settle(source),
                definer(source),
                names.join(", ")
            );
        }
        for index in 0..source.below(4) {
            let (moment, event) = (source.pick(&["BEFORE", "AFTER"]), source.pick(&["INSERT", "UPDATE", "DELETE"]));
            let _ = writeln!(
                sql,
                "{}CREATE {}TRIGGER {} {moment} {event} ON {table} FOR EACH ROW SET @x{index} = 'it''s {index};';",
                settle(source),
                definer(source),
                quote(&format!("{} t{number}{}", source.pick(NAMES), 9 - index))
            );
        }
    }
    for index in 0..source.below(4) {
        let _ = writeln!(
            sql,
            "{}CREATE {}PROCEDURE {} (a VARCHAR(20), OUT b INT) COMMENT 'it''s {index}' SET b = CHAR_LENGTH(a);",
            settle(source),
            definer(source),
            quote(&format!("p{index}{}", source.pick(NAMES)))
        );
        let _ = writeln!(
            sql,
            "{}CREATE {}FUNCTION {} (a INT) RETURNS VARCHAR(30) DETERMINISTIC RETURN CONCAT(a, ' it''s; ');",
            settle(source),
            definer(source),
            quote(&format!("f{index}{}", source.pick(NAMES)))
        );
    }
    if source.one_in(2) {
        let _ = writeln!(
            sql,
            "{}CREATE {}EVENT {} ON SCHEDULE EVERY {} DAY STARTS '2037-01-01 00:00:00' DISABLE COMMENT 'x' DO SET @x = 1;",
            settle(source),
            definer(source),
            quote(&format!("e{}", source.pick(NAMES))),
            1 + source.below(9)
        );
    }
}

fn sequence(source: &mut Source, sql: &mut String) {
    let step = i64::try_from(source.below(9)).unwrap() - 4;
    let step = if step == 0 { 7 } else { step };
    let _ = writeln!(
        sql,
        "CREATE SEQUENCE `s` START WITH {} INCREMENT BY {step} MINVALUE -1000 MAXVALUE 1000 {} {};",
        source.below(100),
        source.pick(&["CACHE 5", "NOCACHE"]),
        source.pick(&["CYCLE", "NOCYCLE"])
    );
    for _ in 0..source.below(30) {
        sql.push_str("DO NEXTVAL(`s`);\n");
    }
}
