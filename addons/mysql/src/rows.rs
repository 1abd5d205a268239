//! Rows as lines of tab-separated text; [`crate::layout`] has the form. The hot path of a backup: a row is parsed where it lies in
//! the connection's buffer and written straight into the stream's.

use coffer_addon_sdk::{Error, Result, Writer};
use mysql_common::constants::ColumnType;
use mysql_common::packets::Column;

use crate::wire::Rows;

/// Writes all rows. Returns how many.
pub(crate) fn write(mut rows: Rows<'_>, out: &mut Writer) -> Result<u64> {
    // What the server prints of a number or a date holds nothing that needs an escape.
    let texts: Vec<bool> = rows.columns().iter().map(is_text).collect();
    let mut count = 0;
    while let Some(row) = rows.next()? {
        let line = out.buffer()?;
        let mut texts = texts.iter();
        for cell in row.cells() {
            let Some(text) = texts.next() else {
                return Err(Error::protocol("the server sent a row with more values than columns"));
            };
            match cell? {
                Some(cell) if *text => escape(cell, line),
                Some(cell) => line.extend_from_slice(cell),
                None => line.extend_from_slice(b"\\N"),
            }
            line.push(b'\t');
        }
        if texts.next().is_some() {
            return Err(Error::protocol("the server sent a row with fewer values than columns"));
        }
        // The tab after the last value is where the line ends.
        if let Some(last) = line.last_mut() {
            *last = b'\n';
        }
        count += 1;
    }
    Ok(count)
}

/// Whether values of this column may be any bytes.
fn is_text(column: &Column) -> bool {
    !matches!(
        column.column_type(),
        ColumnType::MYSQL_TYPE_TINY
            | ColumnType::MYSQL_TYPE_SHORT
            | ColumnType::MYSQL_TYPE_LONG
            | ColumnType::MYSQL_TYPE_INT24
            | ColumnType::MYSQL_TYPE_LONGLONG
            | ColumnType::MYSQL_TYPE_FLOAT
            | ColumnType::MYSQL_TYPE_DOUBLE
            | ColumnType::MYSQL_TYPE_DECIMAL
            | ColumnType::MYSQL_TYPE_NEWDECIMAL
            | ColumnType::MYSQL_TYPE_YEAR
            | ColumnType::MYSQL_TYPE_DATE
            | ColumnType::MYSQL_TYPE_NEWDATE
            | ColumnType::MYSQL_TYPE_TIME
            | ColumnType::MYSQL_TYPE_TIME2
            | ColumnType::MYSQL_TYPE_DATETIME
            | ColumnType::MYSQL_TYPE_DATETIME2
            | ColumnType::MYSQL_TYPE_TIMESTAMP
            | ColumnType::MYSQL_TYPE_TIMESTAMP2
    )
}

#[inline]
fn escape(cell: &[u8], out: &mut Vec<u8>) {
    let mut rest = cell;
    while let Some(at) = memchr::memchr3(b'\\', b'\t', b'\n', rest) {
        let Some((plain, [special, tail @ ..])) = rest.split_at_checked(at) else { break };
        out.extend_from_slice(plain);
        out.extend_from_slice(match special {
            b'\t' => b"\\t",
            b'\n' => b"\\n",
            _ => b"\\\\",
        });
        rest = tail;
    }
    out.extend_from_slice(rest);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What `LOAD DATA` makes of a field.
    fn unescape(field: &[u8]) -> Vec<u8> {
        let mut bytes = field.iter();
        let mut out = Vec::new();
        while let Some(&byte) = bytes.next() {
            out.push(match byte {
                b'\\' => match bytes.next().unwrap() {
                    b't' => b'\t',
                    b'n' => b'\n',
                    other => *other,
                },
                other => other,
            });
        }
        out
    }

    proptest! {
        #[test]
        fn escapes_come_back(cell in proptest::collection::vec(prop_oneof![any::<u8>(), Just(b'\\'), Just(b'\t'), Just(b'\n'), Just(0)], 0..100)) {
            let mut line = Vec::new();
            escape(&cell, &mut line);
            prop_assert!(!line.contains(&b'\t') && !line.contains(&b'\n'));
            prop_assert_eq!(unescape(&line), cell);
        }
    }

    #[test]
    fn null_is_no_value() {
        let mut line = Vec::new();
        escape(b"\\N", &mut line);
        assert_eq!(line, b"\\\\N");
    }
}
