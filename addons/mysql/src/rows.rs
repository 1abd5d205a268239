//! Rows as lines of tab-separated text; [`crate::layout`] has the form. The hot path of a backup: a row becomes a line where it lies in
//! the connection's buffer, and goes into the stream's in one piece.

use coffer_addon_sdk::{Error, Result, Writer};
use mysql_common::constants::ColumnType;
use mysql_common::packets::Column;

use crate::wire::{self, Rows};

/// Writes all rows. Returns how many.
///
/// This, [`write_line`] and [`join`] stay functions of their own: in a large one, the sandbox's compiler keeps little in registers.
#[inline(never)]
pub(crate) fn write(mut rows: Rows<'_>, out: &mut Writer) -> Result<u64> {
    // What the server prints of a number or a date holds nothing that needs an escape.
    let texts: Vec<bool> = rows.columns().iter().map(is_text).collect();
    let mut count = 0;
    while let Some(row) = rows.next_mut()? {
        write_line(row, &texts, out.buffer()?)?;
        count += 1;
    }
    Ok(count)
}

/// Writes one row. It comes as length, value, length, value; a line is value, tab, value. So where lengths are replaced by tabs, a
/// row is a line, and is copied at once: in a sandbox, a copy whose length is known only then is a call out of it.
#[inline(never)]
fn write_line(mut row: &mut [u8], mut texts: &[bool], line: &mut Vec<u8>) -> Result<()> {
    // A line does not begin with a tab.
    let mut begun = false;
    loop {
        let (cells, end) = join(row, texts);
        line.extend_from_slice(row.get(usize::from(!begun)..end).unwrap_or_default());
        begun |= end > 0;
        row = row.get_mut(end..).unwrap_or_default();
        let Some((text, others)) = texts.get(cells..).and_then(<[bool]>::split_first) else { break };
        // The next one is not as simple, or not there.
        if row.is_empty() {
            return Err(Error::protocol("the server sent a row with fewer values than columns"));
        }
        let (value, head) = wire::first_cell(row)?;
        if begun {
            line.push(b'\t');
        }
        match value {
            Some(value) if *text => escape(value, line),
            Some(value) => line.extend_from_slice(value),
            None => line.extend_from_slice(b"\\N"),
        }
        begun = true;
        let end = head + value.map_or(0, <[u8]>::len);
        row = row.get_mut(end..).unwrap_or_default();
        texts = others;
    }
    if !row.is_empty() {
        return Err(Error::protocol("the server sent a row with more values than columns"));
    }
    line.push(b'\n');
    Ok(())
}

/// Replaces lengths by tabs as long as they are of one byte and their values need no escape. Returns how many, and where it ended.
#[inline(never)]
fn join(row: &mut [u8], texts: &[bool]) -> (usize, usize) {
    let (mut cells, mut at) = (0, 0);
    for text in texts {
        let Some(&length @ 0..=250) = row.get(at) else { break };
        let end = at + 1 + usize::from(length);
        let Some([head, value @ ..]) = row.get_mut(at..end) else { break };
        if *text && must_escape(value) {
            break;
        }
        *head = b'\t';
        at = end;
        cells += 1;
    }
    (cells, at)
}

/// Whether a value has bytes that mean something else in a line. Blocks of a fixed length become a few vector instructions.
fn must_escape(value: &[u8]) -> bool {
    match value.len() {
        16.. => value.as_chunks().0.iter().any(any_special::<16>) || value.last_chunk().is_some_and(any_special::<16>),
        // Both blocks together are all of it.
        8.. => value.first_chunk().is_some_and(any_special::<8>) | value.last_chunk().is_some_and(any_special::<8>),
        4.. => value.first_chunk().is_some_and(any_special::<4>) | value.last_chunk().is_some_and(any_special::<4>),
        _ => value.iter().any(|byte| any_special(&[*byte])),
    }
}

#[expect(
    clippy::needless_bitwise_bool,
    reason = "with lazy operators, which are branches, it is compiled byte by byte"
)]
fn any_special<const LENGTH: usize>(block: &[u8; LENGTH]) -> bool {
    block.iter().fold(false, |found, byte| found | (*byte == b'\\') | (*byte == b'\t') | (*byte == b'\n'))
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

    /// A row as the server sends it.
    fn packet(cells: &[Option<Vec<u8>>]) -> Vec<u8> {
        let mut row = Vec::new();
        for cell in cells {
            match cell.as_ref().map(Vec::len) {
                None => row.push(251),
                Some(length @ 0..=250) => row.push(u8::try_from(length).unwrap()),
                Some(length) => {
                    row.extend([252, u8::try_from(length % 256).unwrap(), u8::try_from(length / 256).unwrap()]);
                }
            }
            row.extend(cell.iter().flatten());
        }
        row
    }

    proptest! {
        #[test]
        fn rows_are_lines(
            cells in proptest::collection::vec(
                proptest::option::weighted(0.8, prop_oneof![
                    proptest::collection::vec(prop_oneof![20 => b'a'..=b'z', 1 => any::<u8>(), 1 => Just(b'\t')], 0..40),
                    proptest::collection::vec(any::<u8>(), 245..260),
                ]),
                1..12,
            ),
        ) {
            let texts = vec![true; cells.len()];
            let mut line = b"before\n".to_vec();
            write_line(&mut packet(&cells), &texts, &mut line).unwrap();
            let fields: Vec<&[u8]> = line[7..].strip_suffix(b"\n").unwrap().split(|byte| *byte == b'\t').collect();
            let values: Vec<_> = fields.into_iter().map(|field| (field != b"\\N").then(|| unescape(field))).collect();
            prop_assert_eq!(values, cells.clone());

            let fewer = write_line(&mut packet(&cells[1..]), &texts, &mut line).unwrap_err();
            prop_assert!(fewer.message.contains("fewer values"), "{fewer}");
            let more = write_line(&mut packet(&cells), &texts[1..], &mut line).unwrap_err();
            prop_assert!(more.message.contains("more values"), "{more}");
            let mut cut = packet(&cells);
            cut.pop();
            prop_assert!(write_line(&mut cut, &texts, &mut line).is_err());
        }

        #[test]
        fn values_that_need_escapes_are_known(value in proptest::collection::vec(prop_oneof![30 => b'a'..=b'z', 1 => Just(b'\t'), 1 => Just(b'\n'), 1 => Just(b'\\')], 0..70)) {
            prop_assert_eq!(must_escape(&value), value.iter().any(|byte| b"\\\t\n".contains(byte)));
        }
    }

    #[test]
    fn numbers_are_not_looked_into() {
        let mut line = Vec::new();
        write_line(&mut b"\x0212\x031.5\xfb\x00".to_vec(), &[false, false, false, true], &mut line).unwrap();
        assert_eq!(line, b"12\t1.5\t\\N\t\n");
    }

    #[test]
    fn null_is_no_value() {
        let mut line = Vec::new();
        escape(b"\\N", &mut line);
        assert_eq!(line, b"\\\\N");
    }
}
