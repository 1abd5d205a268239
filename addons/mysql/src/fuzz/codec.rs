//! Rows of any bytes come back from both texts that they are written in, and a stream of any bytes is loaded or refused.
//!
//! An input is one byte of options, one for the pieces, the number of columns, a byte for the type of each, and the cells of all rows as they
//! are on the wire.

use coffer_addon_sdk::native::{self, MemorySink, NativeRun};

use super::Pieces;
use super::server::{self, SELECT, Type};
use super::values::{self, Row};
use crate::inserts::{self, Style};
use crate::layout::{Column, Transfer};
use crate::load::{self, Counter, Table};
use crate::rows as lines;
use crate::splitter::Statements;

/// The character set of bytes that are no text, and `utf8mb4_general_ci`.
const BINARY: u16 = 63;
const UTF8: u16 = 45;

const TYPES: [Type; 14] = [
    Type { code: 3, collation: BINARY, name: "int" },
    Type { code: 8, collation: BINARY, name: "bigint" },
    Type { code: 5, collation: BINARY, name: "double" },
    Type { code: 246, collation: BINARY, name: "decimal" },
    Type { code: 12, collation: BINARY, name: "datetime" },
    Type { code: 253, collation: UTF8, name: "varchar" },
    Type { code: 253, collation: BINARY, name: "varbinary" },
    Type { code: 252, collation: UTF8, name: "text" },
    Type { code: 252, collation: BINARY, name: "blob" },
    Type { code: 254, collation: UTF8, name: "enum" },
    Type { code: 254, collation: BINARY, name: "binary" },
    Type { code: 245, collation: UTF8, name: "json" },
    Type { code: 16, collation: BINARY, name: "bit" },
    Type { code: 255, collation: BINARY, name: "geometry" },
];

/// Writes and reads rows.
pub fn rows(input: &[u8]) {
    let [options, seed, count, rest @ ..] = input else { return };
    let Some((types, cells)) = rest.split_at_checked(usize::from(*count % 8) + 1) else { return };
    let columns: Vec<Type> = types.iter().map(|byte| TYPES[usize::from(*byte) % TYPES.len()]).collect();
    let pieces = if *seed == 0 { Pieces::Bytes } else { Pieces::Seeded(u64::from(*seed)) };
    let rows = parse(cells, &columns);
    let on_the_wire: Vec<Vec<u8>> = rows.iter().map(|row| encode(row)).collect();
    let old = options & 1 == 0;

    let stream = MemorySink::default();
    let mut out = stream.writer();
    let (mut wire, _) = server::connect(&columns, on_the_wire.clone(), old, pieces);
    let written = lines::write(wire.query(SELECT).unwrap(), &mut out).unwrap();
    assert_eq!((written, out.finish().unwrap().bytes()), (rows.len() as u64, stream.bytes().len() as u64));
    assert_eq!(values::from_lines(&stream.bytes()), rows, "lines");
    for by_file in [true, false] {
        let (loaded, taken) = load(&columns, &stream.bytes(), by_file, pieces);
        assert_eq!((loaded.unwrap(), &taken), (rows.len() as u64, &rows), "loaded, by file: {by_file}");
    }

    let dump = MemorySink::default();
    let mut out = dump.writer();
    let style = Style { extended: options & 2 == 0, hex: options & 4 != 0 };
    let written =
        inserts::write(wire.query(SELECT).unwrap(), b"INSERT INTO `t` VALUES\n", &[], style, &mut out).unwrap();
    out.finish().unwrap();
    let mut statements = Statements::new(native::reader(std::io::Cursor::new(dump.bytes())), 64 << 20);
    let mut inserted = Vec::new();
    while let Some(statement) = statements.next().unwrap() {
        inserted.extend(values::from_insert(statement).expect("an INSERT that no server understands"));
    }
    let expected: Vec<Row> = rows.iter().map(|row| row.iter().zip(&columns).map(as_inserted).collect()).collect();
    assert_eq!((written, inserted), (rows.len() as u64, expected), "INSERTs");

    // Rows of a stream that nobody wrote.
    for by_file in [true, false] {
        let (loaded, taken) = load(&columns, cells, by_file, pieces);
        assert!(loaded.is_err() || loaded == Ok(taken.len() as u64), "{loaded:?}");
    }
}

/// Loads a stream, and returns the rows that the server got.
fn load(columns: &[Type], stream: &[u8], by_file: bool, pieces: Pieces) -> (coffer_addon_sdk::Result<u64>, Vec<Row>) {
    let (mut wire, taken) = server::connect(&[], Vec::new(), false, pieces);
    let context = NativeRun::new("fuzz").context();
    let column = |column: &Type| {
        let (name, transfer) = ("c".to_owned(), Transfer::of(column.name, ""));
        (Column { name, transfer, counts: false }, column.name.to_owned())
    };
    let table = Table { database: "d", name: "t", columns: columns.iter().map(column).collect(), is_ours: true };
    let mut counter = Counter::new("", false, false);
    let mut input = native::reader(std::io::Cursor::new(stream.to_vec()));
    let loaded = if by_file {
        load::by_file(&mut wire, &context, &table, "rows.tsv", &mut input, &mut counter)
    } else {
        load::by_insert(&mut wire, &context, &table, &mut input, &mut counter)
    };
    let rows = taken.lock().unwrap().clone();
    (loaded, rows)
}

/// The rows that the bytes are, cut to what the server can say of the types.
fn parse(mut bytes: &[u8], columns: &[Type]) -> Vec<Row> {
    let mut rows = Vec::new();
    while !bytes.is_empty() {
        let cell = |column: &Type| {
            let value = cell(&mut bytes)?;
            Some(match column.name {
                "int" | "bigint" | "double" | "decimal" => printable(&value, b"0123456789-+.e"),
                "datetime" => printable(&value, b"0123456789-: ."),
                _ => value,
            })
        };
        rows.push(columns.iter().map(cell).collect());
    }
    rows
}

/// Takes one cell; what is left of a cell that is cut off is one as well.
fn cell(bytes: &mut &[u8]) -> Option<Vec<u8>> {
    let (length, rest) = match *bytes {
        [] => (0, &[][..]),
        [251, rest @ ..] => {
            *bytes = rest;
            return None;
        }
        [252..=255, low, high, rest @ ..] => (usize::from(*low) | usize::from(*high) << 8, rest),
        [first, rest @ ..] => (usize::from(*first), rest),
    };
    let (cell, rest) = rest.split_at(length.min(rest.len()));
    *bytes = rest;
    Some(cell.to_vec())
}

/// The value in letters that numbers and dates are printed in, of which there is at least one.
fn printable(value: &[u8], letters: &[u8]) -> Vec<u8> {
    if value.is_empty() {
        vec![b'0']
    } else {
        value.iter().map(|byte| letters[usize::from(*byte) % letters.len()]).collect()
    }
}

fn encode(row: &[Option<Vec<u8>>]) -> Vec<u8> {
    let cell = |cell: &Option<Vec<u8>>| match cell {
        Some(value) => [server::length_encoded(value.len()), value.clone()].concat(),
        None => vec![251],
    };
    row.iter().flat_map(cell).collect()
}

/// What an `INSERT` says of a value: minus zero as a number that has a sign.
fn as_inserted((cell, column): (&Option<Vec<u8>>, &Type)) -> Option<Vec<u8>> {
    if column.name == "double" && cell.as_deref() == Some(b"-0") { Some(b"-0e0".to_vec()) } else { cell.clone() }
}
