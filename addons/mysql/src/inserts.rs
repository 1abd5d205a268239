//! Rows as `INSERT` statements, for `format=single`.
//!
//! A statement of many rows ends where the content says so: at a row whose hash meets a condition. mysqldump ends it when its buffer is
//! full, so one row more or less shifts the borders of all statements after it, and a repository finds nothing again.

use coffer_addon_sdk::{Error, Result, Writer};
use mysql_common::constants::ColumnType;
use mysql_common::packets::Column;

use crate::wire::Rows;

/// The shortest statement that ends by content, in bytes.
const SHORT: u64 = 16 << 10;
/// The longest statement, but for one row.
const LONG: u64 = 1 << 20;
/// One row in so many ends a statement.
const ONE_IN: u64 = 2048;
/// The charset number of bytes that are no text.
const BINARY: u16 = 63;

/// How the values of a column are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form<'a> {
    /// As they come.
    Number,
    /// As they come, but for minus zero, which would lose its sign as an integer.
    Double,
    /// In quotes.
    Text,
    /// In quotes, said to be no text.
    Binary,
    /// Hexadecimal.
    Hex,
    /// The bytes of text of this character set, hexadecimal.
    TextOf(&'a str),
}

/// How the statements look.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Style {
    /// Many rows in one statement.
    pub(crate) extended: bool,
    /// Binary values as hexadecimal digits.
    pub(crate) hex: bool,
}

/// Writes all rows. `head` is `INSERT INTO … VALUES`, `charsets` are those of text that comes as its bytes. Returns how many.
pub(crate) fn write(
    mut rows: Rows<'_>,
    head: &[u8],
    charsets: &[Option<&str>],
    style: Style,
    out: &mut Writer,
) -> Result<u64> {
    let columns = rows.columns().iter().zip(charsets.iter().chain(std::iter::repeat(&None)));
    let forms: Vec<Form<'_>> =
        columns.map(|(column, charset)| charset.map_or_else(|| form(column, style.hex), Form::TextOf)).collect();
    let mut count = 0;
    let mut begun: Option<u64> = None;
    while let Some(row) = rows.next()? {
        let length = begun.map_or(0, |begun| out.written() - begun);
        if begun.is_none() {
            begun = Some(out.written());
        }
        let line = out.buffer()?;
        line.extend_from_slice(if length == 0 { head } else { b",\n" });
        let start = line.len();
        line.push(b'(');
        let mut forms = forms.iter();
        for (index, cell) in row.cells().enumerate() {
            let Some(form) = forms.next() else {
                return Err(Error::protocol("the server sent a row with more values than columns"));
            };
            if index > 0 {
                line.push(b',');
            }
            match cell? {
                Some(cell) => form.write(cell, line),
                None => line.extend_from_slice(b"NULL"),
            }
        }
        if forms.next().is_some() {
            return Err(Error::protocol("the server sent a row with fewer values than columns"));
        }
        line.push(b')');
        let length = length + (line.len() - start) as u64;
        let ends = line.get(start..).is_some_and(|row| ends_statement(row, length));
        if ends || !style.extended {
            line.extend_from_slice(b";\n");
            begun = None;
        }
        count += 1;
    }
    if begun.is_some() {
        out.write_all(b";\n")?;
    }
    Ok(count)
}

fn ends_statement(row: &[u8], length: u64) -> bool {
    if length < SHORT {
        return false;
    }
    // FNV-1a over the beginning of the row, where its key most likely is.
    let key = row.get(..48).unwrap_or(row);
    let hash = key
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    length >= LONG || (hash >> 32) % ONE_IN == 0
}

fn form(column: &Column, hex: bool) -> Form<'static> {
    match column.column_type() {
        ColumnType::MYSQL_TYPE_TINY
        | ColumnType::MYSQL_TYPE_SHORT
        | ColumnType::MYSQL_TYPE_LONG
        | ColumnType::MYSQL_TYPE_INT24
        | ColumnType::MYSQL_TYPE_LONGLONG
        | ColumnType::MYSQL_TYPE_DECIMAL
        | ColumnType::MYSQL_TYPE_NEWDECIMAL
        | ColumnType::MYSQL_TYPE_YEAR => Form::Number,
        ColumnType::MYSQL_TYPE_FLOAT | ColumnType::MYSQL_TYPE_DOUBLE => Form::Double,
        ColumnType::MYSQL_TYPE_BIT => Form::Hex,
        ColumnType::MYSQL_TYPE_GEOMETRY | ColumnType::MYSQL_TYPE_VECTOR if hex => Form::Hex,
        ColumnType::MYSQL_TYPE_GEOMETRY | ColumnType::MYSQL_TYPE_VECTOR => Form::Binary,
        ColumnType::MYSQL_TYPE_TINY_BLOB
        | ColumnType::MYSQL_TYPE_MEDIUM_BLOB
        | ColumnType::MYSQL_TYPE_LONG_BLOB
        | ColumnType::MYSQL_TYPE_BLOB
        | ColumnType::MYSQL_TYPE_VARCHAR
        | ColumnType::MYSQL_TYPE_VAR_STRING
        | ColumnType::MYSQL_TYPE_STRING
            if column.character_set() == BINARY =>
        {
            if hex {
                Form::Hex
            } else {
                Form::Binary
            }
        }
        _ => Form::Text,
    }
}

impl Form<'_> {
    fn write(self, cell: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Double if cell == b"-0" => out.extend_from_slice(b"-0e0"),
            Self::Number | Self::Double => out.extend_from_slice(cell),
            Self::Hex if !cell.is_empty() => hexadecimal(cell, out),
            Self::TextOf(charset) if !cell.is_empty() => {
                out.push(b'_');
                out.extend_from_slice(charset.as_bytes());
                out.push(b' ');
                hexadecimal(cell, out);
            }
            Self::TextOf(_) => out.extend_from_slice(b"''"),
            Self::Binary | Self::Hex => {
                out.extend_from_slice(b"_binary '");
                escape(cell, out);
                out.push(b'\'');
            }
            Self::Text => {
                out.push(b'\'');
                escape(cell, out);
                out.push(b'\'');
            }
        }
    }
}

fn hexadecimal(cell: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.extend_from_slice(b"0x");
    let digit = |half: u8| DIGITS.get(usize::from(half)).copied().unwrap_or_default();
    out.extend(cell.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]));
}

fn escape(cell: &[u8], out: &mut Vec<u8>) {
    let mut plain = 0;
    for (at, byte) in cell.iter().enumerate() {
        let escaped = match byte {
            0 => b'0',
            b'\n' => b'n',
            b'\r' => b'r',
            0x1A => b'Z',
            b'\\' => b'\\',
            b'\'' => b'\'',
            _ => continue,
        };
        out.extend_from_slice(cell.get(plain..at).unwrap_or_default());
        out.extend_from_slice(&[b'\\', escaped]);
        plain = at + 1;
    }
    out.extend_from_slice(cell.get(plain..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(form: Form<'_>, cell: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        form.write(cell, &mut out);
        out
    }

    #[test]
    fn forms() {
        assert_eq!(written(Form::Number, b"-0"), b"-0");
        assert_eq!(written(Form::Double, b"-0"), b"-0e0");
        assert_eq!(written(Form::TextOf("cp932"), b"\x83\x5c"), b"_cp932 0x835C");
        assert_eq!(written(Form::TextOf("cp932"), b""), b"''");
        assert_eq!(written(Form::Hex, b"\x00\xaf"), b"0x00AF");
        assert_eq!(written(Form::Hex, b""), b"_binary ''");
        assert_eq!(written(Form::Binary, b"a'\\\0\n\r\x1a\xff"), b"_binary 'a\\'\\\\\\0\\n\\r\\Z\xff'");
        assert_eq!(written(Form::Text, "ü\"".as_bytes()), "'ü\"'".as_bytes());
    }

    #[test]
    fn statements_end_by_content_or_length() {
        assert!(!ends_statement(b"(1)", SHORT - 1));
        assert!(ends_statement(b"(1)", LONG));
        let ends = (0..20_000).filter(|n: &u32| ends_statement(format!("({n},'x')").as_bytes(), SHORT)).count();
        assert!((3..30).contains(&ends), "{ends}");
    }
}
