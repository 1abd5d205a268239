//! What a snapshot of this addon looks like: the agreement between `backup` and `restore`.
//!
//! # Streams of `format=parallel`
//!
//! ```text
//! databases/<db>/schema.sql                CREATE DATABASE IF NOT EXISTS …, ALTER DATABASE …
//! databases/<db>/tables/<table>.sql        USE `<db>`; CREATE TABLE … (foreign keys included)
//! databases/<db>/rows/<table>.tsv          the rows, when the table is one stream
//! databases/<db>/rows/<table>.<chunk>.tsv  the rows of one range of the primary key, when it is several
//! databases/<db>/routines.sql              functions and procedures
//! databases/<db>/triggers.sql              in their order of execution
//! databases/<db>/events.sql
//! views.sql                                the views of all databases, as one depends on another across databases
//! users.sql                                accounts, then what they may do; only if asked for
//! load.sql                                 rebuilds all of it with stock `mysql --commands --local-infile=1 < load.sql`
//! ```
//!
//! Streams that would be empty of objects are left out; a table without rows still has a stream, of 0 bytes.
//! `<db>` and `<table>` are written by [`encode`]: letters, digits, `_`, `-` and everything beyond ASCII as they are, any other
//! character as `%XX`. A name is at most 64 characters, so no part exceeds the 255 bytes that file systems take.
//!
//! # SQL text
//!
//! Every `.sql` stream of a database starts with ``USE `<db>`;`` (but `schema.sql`) and names its objects without the database.
//! Sequences are made before tables, which may take values from them.
//! In `views.sql` every view starts with ``USE `<db>`;``: these are the groups that are retried while the views they depend
//! on are missing. `DELIMITER` lines are used as mysqldump uses them, so that stock `mysql` reads the streams too. The text
//! is executed under `SET NAMES utf8mb4`, `foreign_key_checks=0`, `unique_checks=0`, `time_zone='+00:00'` and
//! `sql_mode='NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES'` (a table may hold 2020-02-30). An object that was created under other settings (views, routines, triggers, events) is preceded
//! by its own `SET character_set_client = …`, `collation_connection`, `sql_mode`, `time_zone`; its text is in its
//! `character_set_client`, byte for byte as the server keeps it (read it with `character_set_results = binary`).
//!
//! `users.sql` holds one statement a line, names in backquotes: `CREATE USER`, `CREATE ROLE`, `ALTER USER` first; then `GRANT`, `REVOKE` and
//! default roles, those of an account together. The two halves are applied at different times; see [`crate::accounts`].
//!
//! # Rows
//!
//! One row a line in the order of the primary key, fields between tabs, `\n` after every line, **bytes in the character set of
//! their column** (read with `character_set_results = binary`, so nothing is converted on either way):
//!
//! | in the value | in the stream |
//! |---|---|
//! | NULL | `\N` |
//! | `\` | `\\` |
//! | tab | `\t` |
//! | line feed | `\n` |
//! | any other byte, 0 included | itself |
//!
//! Numbers and dates as the server prints them (FLOAT read as `CAST(f AS DOUBLE)`, the session's time zone `+00:00`); BIT, GEOMETRY,
//! VECTOR and BLOB as their raw bytes; an ENUM or SET that has the empty text among its members as the number of its value. A line has one field for each column that is not generated, invisible ones
//! included, in the order of the table. `LOAD DATA … CHARACTER SET binary` reads that without conversion; a column whose type
//! does not take binary strings ([`Transfer::Utf8`]) goes through a user variable. Of a system-versioned table all rows are there, with
//! the columns of their period last; they are loaded with `system_versioning_insert_history = 1`. Both sides take the statement from
//! [`load_data`].
//!
//! # `format=single`
//!
//! One stream [`SINGLE`], which stock `mysql` and KubeStash's own restore read.

use std::borrow::Cow;
use std::fmt::Write as _;

/// The only stream of `format=single`, and the name that KubeStash gives to its dumps.
pub(crate) const SINGLE: &str = "dumpfile.sql";
/// The stream with which stock `mysql` loads the others.
pub(crate) const LOAD: &str = "load.sql";
/// The stream of all views.
pub(crate) const VIEWS: &str = "views.sql";

/// The stream of accounts.
pub(crate) const USERS: &str = "users.sql";

/// The names of facts.
pub(crate) mod fact {
    /// Of the plan: `parallel` or `single`.
    pub(crate) const FORMAT: &str = "format";
    /// Of the plan: the version of the layout described here, [`super::LAYOUT_VERSION`].
    pub(crate) const LAYOUT: &str = "layout";
    /// Of the plan: the names of the databases, each through [`super::encode`], separated by spaces.
    pub(crate) const DATABASES: &str = "databases";
    /// Of the plan: what the server says it is, for example `9.7.4` or `10.11.18-MariaDB`.
    pub(crate) const SERVER_VERSION: &str = "server-version";
    /// Of the plan: the GTID set that the view holds.
    pub(crate) const GTID: &str = "gtid";
    /// Of the plan: the name of the binary log file at the view.
    pub(crate) const BINLOG_FILE: &str = "binlog-file";
    /// Of the plan: the position in that file.
    pub(crate) const BINLOG_POSITION: &str = "binlog-position";
    /// What the host says of the snapshot that is restored: its id.
    pub(crate) const SNAPSHOT: &str = "snapshot";
    /// Of [`super::VIEWS`]: the views that are of no use in the source either, as what they read is gone: `<database>.<view>`, both
    /// through [`super::encode`], separated by spaces. A restore that cannot create them says so and goes on.
    pub(crate) const INVALID: &str = "invalid";
    /// Of a table: how many of its indexes can be added when its rows are there.
    pub(crate) const LATE_KEYS: &str = "late-keys";
    /// Of a table: the tables that its foreign keys refer to: `<database>.<table>`, both through [`super::encode`], separated by spaces.
    pub(crate) const REFERENCES: &str = "references";
    /// Of a table: that it is a sequence, which tables may take their values from.
    pub(crate) const SEQUENCE: &str = "sequence";
    /// Of a database: that it is to be read-only in the end.
    pub(crate) const READ_ONLY: &str = "read-only";
    /// Of a stream of rows: the columns whose fields are numbers of ENUM and SET values, as [`COLUMNS`].
    pub(crate) const NUMBERS: &str = "numbers";
    /// Of the plan: how many accounts the backup has, if it has any.
    pub(crate) const ACCOUNTS: &str = "accounts";
    /// Of a stream of rows: how many.
    pub(crate) const ROWS: &str = "rows";
    /// Of a stream of rows: the names of the columns in the order of the fields, each through [`super::encode`], separated by spaces.
    pub(crate) const COLUMNS: &str = "columns";
}

/// The version of the layout. A restore refuses any other.
pub(crate) const LAYOUT_VERSION: &str = "1";

/// What a stream of `format=parallel` is, as its path says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stream {
    /// `databases/<db>/schema.sql`
    Schema {
        /// The database.
        database: String,
    },
    /// `databases/<db>/tables/<table>.sql`
    Table {
        /// The database.
        database: String,
        /// The table.
        table: String,
    },
    /// `databases/<db>/rows/<table>[.<chunk>].tsv`
    Rows {
        /// The database.
        database: String,
        /// The table.
        table: String,
        /// Letters and digits that tell the streams of one table apart; their order is the order of the rows.
        chunk: Option<String>,
    },
    /// `databases/<db>/routines.sql`
    Routines {
        /// The database.
        database: String,
    },
    /// `databases/<db>/triggers.sql`
    Triggers {
        /// The database.
        database: String,
    },
    /// `databases/<db>/events.sql`
    Events {
        /// The database.
        database: String,
    },
    /// `views.sql`
    Views,
    /// `users.sql`
    Users,
    /// `load.sql`
    Load,
}

impl Stream {
    /// The path of the stream.
    pub(crate) fn path(&self) -> String {
        match self {
            Self::Schema { database } => format!("databases/{}/schema.sql", encode(database)),
            Self::Table { database, table } => format!("databases/{}/tables/{}.sql", encode(database), encode(table)),
            Self::Rows { database, table, chunk: None } => {
                format!("databases/{}/rows/{}.tsv", encode(database), encode(table))
            }
            Self::Rows { database, table, chunk: Some(chunk) } => {
                format!("databases/{}/rows/{}.{chunk}.tsv", encode(database), encode(table))
            }
            Self::Routines { database } => format!("databases/{}/routines.sql", encode(database)),
            Self::Triggers { database } => format!("databases/{}/triggers.sql", encode(database)),
            Self::Events { database } => format!("databases/{}/events.sql", encode(database)),
            Self::Views => VIEWS.to_owned(),
            Self::Users => USERS.to_owned(),
            Self::Load => LOAD.to_owned(),
        }
    }

    /// The stream that `path` names; `None` when it is none of this layout.
    pub(crate) fn parse(path: &str) -> Option<Self> {
        match path {
            VIEWS => return Some(Self::Views),
            USERS => return Some(Self::Users),
            LOAD => return Some(Self::Load),
            _ => {}
        }
        let (database, rest) = path.strip_prefix("databases/")?.split_once('/')?;
        let database = decode(database)?;
        match rest {
            "schema.sql" => return Some(Self::Schema { database }),
            "routines.sql" => return Some(Self::Routines { database }),
            "triggers.sql" => return Some(Self::Triggers { database }),
            "events.sql" => return Some(Self::Events { database }),
            _ => {}
        }
        if let Some(table) = rest.strip_prefix("tables/") {
            return Some(Self::Table { database, table: decode(table.strip_suffix(".sql")?)? });
        }
        let name = rest.strip_prefix("rows/")?.strip_suffix(".tsv")?;
        let (table, chunk) = match name.split_once('.') {
            Some((table, chunk)) if is_chunk(chunk) => (table, Some(chunk.to_owned())),
            Some(_) => return None,
            None => (name, None),
        };
        Some(Self::Rows { database, table: decode(table)?, chunk })
    }

    /// The database that the stream belongs to, if it belongs to one.
    pub(crate) fn database(&self) -> Option<&str> {
        match self {
            Self::Schema { database }
            | Self::Table { database, .. }
            | Self::Rows { database, .. }
            | Self::Routines { database }
            | Self::Triggers { database }
            | Self::Events { database } => Some(database),
            Self::Views | Self::Users | Self::Load => None,
        }
    }
}

fn is_chunk(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// An identifier as one part of a path, and as one word of a list.
pub(crate) fn encode(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for character in name.chars() {
        let plain = if character.is_ascii() {
            character.is_ascii_alphanumeric() || character == '_' || character == '-'
        } else {
            !character.is_control() && !character.is_whitespace()
        };
        if plain {
            out.push(character);
        } else {
            for byte in character.encode_utf8(&mut [0; 4]).bytes() {
                // Writing to a String cannot fail.
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

/// The identifier that [`encode`] wrote as `text`; `None` when it did not write that.
pub(crate) fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte == b'%' {
            let (digits, tail) = rest.split_at_checked(2)?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            rest = tail;
        } else {
            bytes.push(byte);
        }
    }
    let name = String::from_utf8(bytes).ok()?;
    (!name.is_empty() && encode(&name) == text).then_some(name)
}

/// Names as the value of a fact: each through [`encode`], separated by spaces.
pub(crate) fn encode_list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(encode).collect::<Vec<_>>().join(" ")
}

/// The names in the value of a fact; `None` when [`encode_list`] did not write it.
pub(crate) fn decode_list(text: &str) -> Option<Vec<String>> {
    text.split(' ').filter(|word| !word.is_empty()).map(decode).collect()
}

/// An identifier in backquotes.
pub(crate) fn quote(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// How a field of a line becomes the value of its column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transfer {
    /// The bytes are the value.
    Plain,
    /// The bytes are UTF-8, and the column's type takes text only.
    Utf8,
    /// The bytes are the number of an ENUM's or SET's value, as its text does not say which it is.
    Number,
}

impl Transfer {
    /// For a column, by `DATA_TYPE` and `COLUMN_TYPE` of `information_schema.COLUMNS`.
    pub(crate) fn of(data_type: &str, column_type: &str) -> Self {
        match data_type.to_ascii_lowercase().as_str() {
            // MySQL's JSON and MariaDB's UUID and INET types read a binary string as something else than its text, or refuse it.
            "json" | "uuid" | "inet4" | "inet6" => Self::Utf8,
            "enum" | "set" if has_empty_member(column_type) => Self::Number,
            _ => Self::Plain,
        }
    }

    /// The SQL expression of the column's value, where `bytes` is an SQL expression of the field's bytes.
    pub(crate) fn expression(self, bytes: &str) -> Cow<'_, str> {
        match self {
            Self::Plain => Cow::Borrowed(bytes),
            Self::Utf8 => Cow::Owned(format!("CONVERT({bytes} USING utf8mb4)")),
            Self::Number => Cow::Owned(format!("CAST({bytes} AS UNSIGNED)")),
        }
    }
}

/// Whether the empty text is a member of this ENUM or SET. It is also the text of what is no member, or of none.
fn has_empty_member(column_type: &str) -> bool {
    let mut rest = column_type.split_once('(').map_or("", |(_, members)| members);
    while let Some(member) = rest.strip_prefix('\'') {
        if member.starts_with("',") || member.starts_with("')") {
            return true;
        }
        let mut characters = member.char_indices().peekable();
        let end = loop {
            match characters.next() {
                Some((_, '\'')) if characters.peek().is_some_and(|(_, next)| *next == '\'') => {
                    characters.next();
                }
                Some((at, '\'')) => break at.saturating_add(1),
                Some(_) => {}
                None => return false,
            }
        };
        rest = member.get(end..).unwrap_or_default().trim_start_matches(',');
    }
    false
}

/// A column of a stream of rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Column {
    /// Its name.
    pub(crate) name: String,
    /// How its fields become values.
    pub(crate) transfer: Transfer,
    /// Whether it is `AUTO_INCREMENT`.
    pub(crate) counts: bool,
}

/// The statement that loads a stream of rows. `file` is the stream's path; in a session of ours it is never looked at, as the
/// session itself feeds what the server asks for.
pub(crate) fn load_data(database: &str, table: &str, columns: &[Column], file: &str) -> String {
    let mut list = String::new();
    let mut set = String::new();
    // Where there is a `SET`, MariaDB forgets that a column which is not in it was given: a zero would be counted up.
    let sets = columns.iter().any(|column| column.transfer != Transfer::Plain);
    for (index, column) in columns.iter().enumerate() {
        if index > 0 {
            list.push(',');
        }
        match column.transfer {
            Transfer::Plain if !(sets && column.counts) => list.push_str(&quote(&column.name)),
            transfer => {
                let variable = format!("@c{index}");
                list.push_str(&variable);
                set.push_str(if set.is_empty() { " SET " } else { "," });
                // Writing to a String cannot fail.
                let _ = write!(set, "{}={}", quote(&column.name), transfer.expression(&variable));
            }
        }
    }
    format!(
        "LOAD DATA LOCAL INFILE '{}' INTO TABLE {}.{} CHARACTER SET binary FIELDS TERMINATED BY '\\t' ESCAPED BY '\\\\' \
         LINES TERMINATED BY '\\n' ({list}){set}",
        file.replace('\\', "\\\\").replace('\'', "\\'"),
        quote(database),
        quote(table),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(table: &str, chunk: Option<&str>) -> Stream {
        Stream::Rows { database: "shop".into(), table: table.into(), chunk: chunk.map(Into::into) }
    }

    #[test]
    fn paths_round_trip() {
        let database = || "we`ird/.. %2F é漢\u{85}\u{a0}".to_owned();
        for (stream, path) in [
            (Stream::Schema { database: "shop".into() }, "databases/shop/schema.sql"),
            (Stream::Table { database: "shop".into(), table: "a.b".into() }, "databases/shop/tables/a%2Eb.sql"),
            (rows("orders", None), "databases/shop/rows/orders.tsv"),
            (rows("or.ders", Some("0001f")), "databases/shop/rows/or%2Eders.0001f.tsv"),
            (Stream::Views, "views.sql"),
            (Stream::Users, "users.sql"),
            (Stream::Load, "load.sql"),
            (
                Stream::Routines { database: database() },
                "databases/we%60ird%2F%2E%2E%20%252F%20é漢%C2%85%C2%A0/routines.sql",
            ),
        ] {
            assert_eq!(stream.path(), path);
            assert_eq!(Stream::parse(path), Some(stream));
        }
        for stream in [Stream::Triggers { database: database() }, Stream::Events { database: database() }] {
            assert_eq!(Stream::parse(&stream.path()), Some(stream));
        }
    }

    #[test]
    fn other_paths_are_not_ours() {
        for path in [
            "dumpfile.sql",
            "manifest.json",
            "databases",
            "databases/a",
            "databases//schema.sql",
            "databases/a/other.sql",
            "databases/a/rows/t.x.y.tsv",
            "databases/a/rows/t..tsv",
            "databases/a/rows/.tsv",
            "databases/a/tables/t.tsv",
            "databases/a b/schema.sql",
            "databases/%61/schema.sql",
            "databases/%4/schema.sql",
            "databases/%é1/schema.sql",
            "databases/%FF/schema.sql",
        ] {
            assert_eq!(Stream::parse(path), None, "{path}");
        }
    }

    #[test]
    fn lists_round_trip() {
        let names = ["id", "a b", "ü,ü"];
        assert_eq!(encode_list(names), "id a%20b ü%2Cü");
        assert_eq!(decode_list(&encode_list(names)).unwrap(), names);
        assert_eq!(decode_list("").unwrap(), Vec::<String>::new());
        assert_eq!(decode_list("a,b"), None);
    }

    #[test]
    fn longest_names_fit_file_systems() {
        let longest = |character: char| character.to_string().repeat(64);
        for character in ['漢', '/', 'é'] {
            let path =
                Stream::Rows { database: longest(character), table: longest(character), chunk: Some("0".repeat(16)) }
                    .path();
            assert!(path.len() <= 1024 && path.split('/').all(|part| part.len() <= 255), "{path}");
        }
    }

    #[test]
    fn empty_members() {
        for (column_type, expected) in [
            ("enum('a','b')", false),
            ("enum('','b')", true),
            ("set('a','')", true),
            ("enum('a','','b')", true),
            ("enum('')", true),
            ("enum('a'',''b')", false),
            ("enum('''','x')", false),
            ("enum('a,','''',',')", false),
            ("enum('é','')", true),
            ("varchar(20)", false),
            ("enum('a", false),
        ] {
            assert_eq!(has_empty_member(column_type), expected, "{column_type}");
        }
    }

    #[test]
    fn load_statement() {
        let column = |name: &str, data_type| Column {
            name: name.into(),
            transfer: Transfer::of(data_type, ""),
            counts: name == "id",
        };
        assert_eq!(
            load_data("s`p", "t", &[column("id", "int"), column("d", "JSON"), column("u", "uuid")], "it's\\x"),
            "LOAD DATA LOCAL INFILE 'it\\'s\\\\x' INTO TABLE `s``p`.`t` CHARACTER SET binary FIELDS TERMINATED BY '\\t' \
             ESCAPED BY '\\\\' LINES TERMINATED BY '\\n' (@c0,@c1,@c2) SET `id`=@c0,`d`=CONVERT(@c1 USING utf8mb4),\
             `u`=CONVERT(@c2 USING utf8mb4)"
        );
        assert!(load_data("s", "t", &[column("id", "int"), column("a", "int")], "x").ends_with("(`id`,`a`)"));
    }
}
