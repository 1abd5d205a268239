//! Loads a stream of rows into a table: by `LOAD DATA LOCAL INFILE`, fed from the stream, or by `INSERT`s made of the same lines.

use coffer_addon_sdk::{Context, Error, Reader, Result};
use memchr::{memchr, memchr_iter, memrchr};

use crate::catalog::{AUTO_INCREMENT, PERIOD};
use crate::failure::Failure;
use crate::layout::{self, Column, Transfer, quote};
use crate::progress;
use crate::session::literal;
use crate::settings;
use crate::wire::{Done, Wire};

/// So many bytes go into one transaction. Group replication refuses transactions beyond some 143 MiB by default, and what a
/// transaction writes to the binary log is of the size of its rows.
const TRANSACTION: usize = 64 << 20;

/// An `INSERT` ends with the row that makes it this long.
const INSERT: usize = 1 << 20;

/// What is left of `max_allowed_packet` for everything but the rows.
const PACKET_MARGIN: usize = 4096;

/// A table that rows go into.
#[derive(Debug)]
pub(crate) struct Table<'a> {
    /// Its database.
    pub(crate) database: &'a str,
    /// Its name.
    pub(crate) name: &'a str,
    /// The columns that the fields of a line belong to, and their type in lower case.
    pub(crate) columns: Vec<(Column, String)>,
    /// Whether it was made from the snapshot, so that it can hold what the snapshot has.
    pub(crate) is_ours: bool,
}

/// Counts the rows of one stream as they go into the database.
#[derive(Debug)]
pub(crate) struct Counter<'a> {
    chunk: &'a str,
    /// Whether the count is kept in the database.
    notes: bool,
    /// Whether an earlier run may have counted.
    resumes: bool,
    /// How many rows are there.
    done: u64,
}

impl<'a> Counter<'a> {
    /// For the stream of this chunk, which is empty for a table's only one.
    pub(crate) fn new(chunk: &'a str, notes: bool, resumes: bool) -> Self {
        Self { chunk, notes, resumes, done: 0 }
    }

    /// Passes over the rows that an earlier run has brought in.
    fn begin(&mut self, wire: &mut Wire, table: &Table<'_>, input: &mut Reader) -> Result<()> {
        if self.resumes && self.notes {
            wire.execute("START TRANSACTION")?;
            self.done = progress::count(wire, table.database, table.name, self.chunk)?;
            wire.execute("COMMIT")?;
            pass_over(input, self.done)?;
        }
        Ok(())
    }

    /// Counts these rows too, in the transaction that brings them in.
    fn add(&mut self, wire: &mut Wire, table: &Table<'_>, rows: u64) -> Result<()> {
        self.done = self.done.saturating_add(rows);
        if self.notes {
            progress::record(wire, table.database, table.name, self.chunk, self.done)?;
        }
        Ok(())
    }
}

/// Drops so many lines.
fn pass_over(input: &mut Reader, lines: u64) -> Result<()> {
    let mut left = lines;
    while left > 0 {
        if !input.try_fill(1)? {
            return Err(Error::data("an earlier run of this restore loaded more rows than the stream has"));
        }
        let there = input.buffer();
        let ends = memchr_iter(b'\n', there).zip(1_u64..);
        let (consumed, passed) = ends
            .take_while(|(_, count)| *count <= left)
            .last()
            .map_or((0, 0), |(end, count)| (end.saturating_add(1), count));
        left = left.saturating_sub(passed);
        let consumed = if left > 0 { there.len() } else { consumed };
        input.consume(consumed);
    }
    Ok(())
}

impl<'a> Table<'a> {
    /// Asks the server for the columns. `names` says which they are; without it, all that are not generated. The fields of `numbers` are
    /// numbers of ENUM and SET values.
    pub(crate) fn find(
        wire: &mut Wire,
        (database, name): (&'a str, &'a str),
        names: Option<Vec<String>>,
        numbers: &[String],
    ) -> Result<Self> {
        let found = wire.query_text(format!(
            "SELECT COLUMN_NAME, DATA_TYPE, EXTRA FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = {} AND TABLE_NAME = {} \
             ORDER BY ORDINAL_POSITION",
            literal(database),
            literal(name)
        ))?;
        let mut all = Vec::with_capacity(found.len());
        for row in found {
            if let [name, data_type, extra] = row.as_slice() {
                let data_type = data_type.to_ascii_lowercase();
                let by_number = numbers.contains(name);
                let transfer = if by_number { Transfer::Number } else { Transfer::of(&data_type, "") };
                let counts = extra.to_ascii_lowercase().contains(AUTO_INCREMENT);
                let column = Column { name: name.clone(), transfer, counts };
                // Not `DEFAULT_GENERATED`: that is a default which is an expression.
                let extra = extra.to_ascii_uppercase();
                let generated =
                    ["VIRTUAL GENERATED", "STORED GENERATED", "PERSISTENT"].iter().any(|word| extra.contains(word));
                all.push((column, data_type, generated));
            }
        }
        let table = format!("{}.{}", quote(database), quote(name));
        if all.is_empty() {
            return Err(Error::data(format!("the table {table} is not there; its rows cannot be restored")));
        }
        let columns = match names {
            None => {
                all.into_iter().filter(|(.., generated)| !generated).map(|(column, kind, _)| (column, kind)).collect()
            }
            Some(names) => names
                .into_iter()
                .map(|name| {
                    let found = all.iter().find(|(column, ..)| column.name == name);
                    let found = found.map(|(column, kind, _)| (column.clone(), kind.clone()));
                    // A period that is not said in the definition is not listed either.
                    let hidden = || PERIOD.contains(&name.as_str()).then(|| period(&name));
                    found.or_else(hidden).ok_or_else(|| {
                        Error::data(format!(
                            "the table {table} has no column {}, which the backup has rows for",
                            quote(&name)
                        ))
                    })
                })
                .collect::<Result<_>>()?,
        };
        Ok(Self { database, name, columns, is_ours: true })
    }

    fn columns(&self) -> Vec<Column> {
        self.columns.iter().map(|(column, _)| column.clone()).collect()
    }
}

fn period(name: &str) -> (Column, String) {
    (Column { name: name.to_owned(), transfer: Transfer::Plain, counts: false }, "timestamp".to_owned())
}

/// Loads all rows by `LOAD DATA LOCAL INFILE`. Returns how many.
pub(crate) fn by_file(
    wire: &mut Wire,
    context: &Context,
    table: &Table<'_>,
    path: &str,
    input: &mut Reader,
    counter: &mut Counter<'_>,
) -> Result<u64> {
    let sql = layout::load_data(table.database, table.name, &table.columns(), path);
    counter.begin(wire, table, input)?;
    while input.try_fill(1)? {
        context.check_cancelled()?;
        wire.execute("START TRANSACTION")?;
        let mut part = Part::default();
        let loaded = wire.load_infile(&sql, &mut |buffer| part.feed(input, buffer));
        // An error of the server's may hide that the stream itself broke.
        if let Some(error) = part.failed {
            return Err(error);
        }
        settle(wire, table, loaded, part.rows, (counter, part.rows))?;
    }
    Ok(counter.done)
}

/// What of the stream goes into one transaction.
#[derive(Debug, Default)]
struct Part {
    bytes: usize,
    rows: u64,
    failed: Option<Error>,
}

impl Part {
    /// Appends the next bytes of the stream; false at the end of the part, which is the end of a line.
    fn feed(&mut self, input: &mut Reader, out: &mut Vec<u8>) -> Result<bool> {
        let more = self.try_feed(input, out);
        if let Err(error) = &more {
            self.failed = Some(error.clone());
        }
        more
    }

    fn try_feed(&mut self, input: &mut Reader, out: &mut Vec<u8>) -> Result<bool> {
        if !input.try_fill(1)? {
            return Ok(false);
        }
        let there = input.buffer();
        // A line feed in a value is written with a backslash: each byte of it is the end of a row.
        let (take, more) = if self.bytes >= TRANSACTION {
            memchr(b'\n', there).map_or((there.len(), true), |end| (end.saturating_add(1), false))
        } else {
            (there.len(), true)
        };
        let bytes = there.get(..take).unwrap_or_default();
        self.rows = self.rows.saturating_add(memchr_iter(b'\n', bytes).count() as u64);
        self.bytes = self.bytes.saturating_add(take);
        let whole_line = bytes.last() == Some(&b'\n');
        out.extend_from_slice(bytes);
        input.consume(take);
        // Also when this part ends here: if that is the end of the stream, it must be known to be whole before the rows are kept.
        if !input.try_fill(1)? {
            return if whole_line { Ok(false) } else { Err(cut_off()) };
        }
        Ok(more)
    }
}

fn cut_off() -> Error {
    Error::data("the stream of rows ends in the middle of a row: it is cut off")
}

/// Commits when every row went in as it is, else takes them back. `rows` are those of the last statement, the counter's those of the
/// transaction.
fn settle(
    wire: &mut Wire,
    table: &Table<'_>,
    loaded: Result<Done, Failure>,
    rows: u64,
    (counter, all): (&mut Counter<'_>, u64),
) -> Result<()> {
    let verdict = match loaded {
        Ok(done) => check(wire, table, &done, rows).and_then(|()| counter.add(wire, table, all)),
        Err(failure) => Err(Error::from(failure)),
    };
    match verdict {
        Ok(()) => wire.execute("COMMIT").map(drop).map_err(Error::from),
        Err(error) => {
            // The first error says what happened; that the connection may be gone as well adds nothing.
            let _ = wire.execute("ROLLBACK");
            Err(error)
        }
    }
}

/// `LOCAL` turns what would be errors into warnings: values cut off, rows left out. Neither may pass.
fn check(wire: &mut Wire, table: &Table<'_>, done: &Done, rows: u64) -> Result<()> {
    let warnings = if done.warnings > 0 { wire.query_text("SHOW WARNINGS")? } else { Vec::new() };
    let real: Vec<&Vec<String>> = warnings.iter().filter(|warning| !is_enum_error(table, warning)).collect();
    // Servers count no further than this: there may be more.
    let unseen = usize::from(done.warnings) > warnings.len() || done.warnings == u16::MAX;
    if let Some(first) = real.first() {
        let message = first.get(2).map(String::as_str).unwrap_or_default();
        let code = first.get(1).map(String::as_str).unwrap_or_default();
        return Err(Error::data(format!(
            "the server would not keep the rows as they are: {} warnings, the first is {code}: {message}",
            done.warnings
        )));
    }
    if done.affected != rows {
        return Err(Error::data(format!(
            "the server took {} of {rows} rows ({}); are there rows of the same keys in the table already?",
            done.affected, done.info
        )));
    }
    if unseen {
        return Err(Error::data(format!("the server gave {} warnings, too many to look at them all", done.warnings)));
    }
    Ok(())
}

/// An ENUM may hold its error value, which is the empty text. Loading it warns as storing anything unknown would, and stores
/// what was there. In a table of somebody else's making the value may really be unknown.
fn is_enum_error(table: &Table<'_>, warning: &[String]) -> bool {
    let [_, code, message] = warning else { return false };
    let is_enum = |(column, kind): &(Column, String)| kind == "enum" && message.contains(&format!("'{}'", column.name));
    code == "1265" && table.is_ours && table.columns.iter().any(is_enum)
}

/// Loads all rows by `INSERT`s of some MiB. Returns how many.
pub(crate) fn by_insert(
    wire: &mut Wire,
    context: &Context,
    table: &Table<'_>,
    input: &mut Reader,
    counter: &mut Counter<'_>,
) -> Result<u64> {
    counter.begin(wire, table, input)?;
    let largest = settings::largest_packet(wire)?;
    let longest = largest.saturating_sub(PACKET_MARGIN).min(INSERT);
    let columns: Vec<String> = table.columns.iter().map(|(column, _)| quote(&column.name)).collect();
    let head = format!("INSERT INTO {}.{} ({}) VALUES ", quote(table.database), quote(table.name), columns.join(","));
    let mut sql = Vec::with_capacity(longest);
    let mut row = Vec::new();
    let (mut rows, mut in_transaction) = (0_u64, 0_u64);
    let mut bytes = 0_usize;
    loop {
        let more = fill_line(input)?;
        if more {
            let length = memchr(b'\n', input.buffer()).unwrap_or_default();
            row.clear();
            row.shrink_to(longest);
            // Exactly as much as is needed: a doubled buffer of a long row may not fit the guest's memory.
            row.reserve_exact(room(input.buffer().get(..length).unwrap_or_default(), &head, table.columns.len()));
            tuple(input.buffer().get(..length).unwrap_or_default(), &table.columns, &mut row)?;
            input.consume(length.saturating_add(1));
            settings::check_packet(row.len().saturating_add(head.len()), largest)?;
        }
        if rows > 0 && (!more || sql.len().saturating_add(row.len()) > longest) {
            context.check_cancelled()?;
            if bytes == 0 {
                wire.execute("START TRANSACTION")?;
            }
            bytes = bytes.saturating_add(sql.len());
            in_transaction = in_transaction.saturating_add(rows);
            let done = wire.execute(&sql);
            let whole = bytes >= TRANSACTION || !more;
            if whole || done.is_err() {
                settle(wire, table, done, rows, (counter, std::mem::take(&mut in_transaction)))?;
                bytes = 0;
            } else if let Ok(done) = done
                && let Err(error) = check(wire, table, &done, rows)
            {
                // As above: the first error counts.
                let _ = wire.execute("ROLLBACK");
                return Err(error);
            }
            rows = 0;
        }
        if !more {
            return Ok(counter.done);
        }
        if rows == 0 {
            sql.clear();
            sql.shrink_to(longest);
            if row.len() > longest {
                // In place, for the same reason.
                row.splice(0..0, head.bytes());
                std::mem::swap(&mut sql, &mut row);
                rows = 1;
                continue;
            }
            sql.extend_from_slice(head.as_bytes());
        } else {
            sql.push(b',');
        }
        sql.extend_from_slice(&row);
        rows = rows.saturating_add(1);
    }
}

/// How long a line becomes with the head of a statement in front of it.
fn room(line: &[u8], head: &str, columns: usize) -> usize {
    const AROUND_FIELD: usize = 48;
    let quotes = memchr_iter(b'\'', line).count();
    line.len().saturating_add(quotes).saturating_add(head.len()).saturating_add(columns.saturating_mul(AROUND_FIELD))
}

/// Waits until a whole line is in the buffer; false at the end of the stream.
fn fill_line(input: &mut Reader) -> Result<bool> {
    let mut seen = 0;
    loop {
        let there = input.buffer();
        if memrchr(b'\n', there.get(seen..).unwrap_or_default()).is_some() {
            return Ok(true);
        }
        seen = there.len();
        // A quarter more each time: a long row is not copied over and over.
        if !input.try_fill(seen.saturating_add((seen / 4).max(1)))? && input.buffer().len() == seen {
            return if seen == 0 { Ok(false) } else { Err(cut_off()) };
        }
    }
}

/// Appends one line as `(…,…)`.
fn tuple(line: &[u8], columns: &[(Column, String)], out: &mut Vec<u8>) -> Result<()> {
    let mut fields = line.split(|byte| *byte == b'\t');
    out.push(b'(');
    for (index, (column, _)) in columns.iter().enumerate() {
        let field = fields.next().ok_or_else(|| wrong_count(line, columns))?;
        if index > 0 {
            out.push(b',');
        }
        if field == b"\\N" {
            out.extend_from_slice(b"NULL");
            continue;
        }
        // The expression around the literal: nothing, or a conversion.
        let around = column.transfer.expression("\0");
        let (before, after) = around.split_once('\0').unwrap_or_default();
        out.extend_from_slice(before.as_bytes());
        string(field, out);
        out.extend_from_slice(after.as_bytes());
    }
    out.push(b')');
    if fields.next().is_some() { Err(wrong_count(line, columns)) } else { Ok(()) }
}

/// A field as a string literal. Within a string, SQL has the same escapes as the lines have; only its quote must be added.
fn string(field: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"_binary'");
    let mut rest = field;
    while let Some(quote) = memchr(b'\'', rest) {
        let (before, tail) = rest.split_at_checked(quote).unwrap_or((rest, &[]));
        out.extend_from_slice(before);
        out.extend_from_slice(b"\\'");
        rest = tail.get(1..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    out.push(b'\'');
}

#[cold]
fn wrong_count(line: &[u8], columns: &[(Column, String)]) -> Error {
    Error::data(format!(
        "a row has {} fields where the table has {} columns",
        line.split(|byte| *byte == b'\t').count(),
        columns.len()
    ))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use coffer_addon_sdk::native;
    use proptest::prelude::*;

    use super::*;

    fn columns(kinds: &[&str]) -> Vec<(Column, String)> {
        let column = |kind: &&str| {
            let (name, transfer) = (format!("c{kind}"), Transfer::of(kind, ""));
            (Column { name, transfer, counts: false }, (*kind).to_owned())
        };
        kinds.iter().map(column).collect()
    }

    #[test]
    fn lines_become_tuples() {
        let columns = columns(&["int", "text", "json"]);
        for (line, expected) in [
            (
                &b"1\tit's\\n\\\\N\t{}"[..],
                Ok(&b"(_binary'1',_binary'it\\'s\\n\\\\N',CONVERT(_binary'{}' USING utf8mb4))"[..]),
            ),
            (b"\\N\t\t\\N", Ok(b"(NULL,_binary'',NULL)")),
            (b"1\t\\\\\xff\0\t''", Ok(b"(_binary'1',_binary'\\\\\xff\0',CONVERT(_binary'\\'\\'' USING utf8mb4))")),
            (b"1\t2", Err("a row has 2 fields where the table has 3 columns")),
            (b"1\t2\t3\t4", Err("a row has 4 fields where the table has 3 columns")),
            (b"", Err("a row has 1 fields where the table has 3 columns")),
        ] {
            let mut out = Vec::new();
            let made = tuple(line, &columns, &mut out).map_err(|error| error.message);
            assert_eq!(made.map(|()| out), expected.map(<[u8]>::to_vec).map_err(str::to_owned), "{line:?}");
        }
    }

    #[test]
    fn warnings_of_enums_are_known() {
        let mut table = Table { database: "d", name: "t", columns: columns(&["int", "enum"]), is_ours: true };
        let warning = |code: &str, message: &str| vec!["Warning".to_owned(), code.to_owned(), message.to_owned()];
        assert!(is_enum_error(&table, &warning("1265", "Data truncated for column 'cenum' at row 1")));
        assert!(!is_enum_error(&table, &warning("1265", "Data truncated for column 'cint' at row 1")));
        assert!(!is_enum_error(&table, &warning("1366", "Incorrect value for column 'cenum' at row 1")));
        table.is_ours = false;
        assert!(!is_enum_error(&table, &warning("1265", "Data truncated for column 'cenum' at row 1")));
    }

    #[test]
    fn a_row_without_its_end_is_an_error() {
        for text in [&b"1\t2\n3"[..], b"3"] {
            let mut input = native::reader(Cursor::new(text.to_vec()));
            let mut part = Part::default();
            let mut out = Vec::new();
            let error = loop {
                match part.feed(&mut input, &mut out) {
                    Ok(true) => {}
                    Ok(false) => panic!("{text:?} must be refused"),
                    Err(error) => break error,
                }
            };
            assert_eq!((error, part.failed), (cut_off(), Some(cut_off())));
        }
    }

    #[test]
    fn lines_are_passed_over() {
        let text: String = (0..200_000).map(|line| line.to_string() + "\n").collect();
        for lines in [0, 1, 2, 65_000, 199_999, 200_000] {
            let mut input = native::reader(Cursor::new(text.clone().into_bytes()));
            pass_over(&mut input, lines).unwrap();
            let there = input.try_fill(1).unwrap();
            assert_eq!(there, lines < 200_000, "{lines}");
            let next = input.buffer().split(|byte| *byte == b'\n').next().unwrap_or_default();
            assert!(!there || next == lines.to_string().as_bytes(), "{lines}");
        }
        assert!(pass_over(&mut native::reader(Cursor::new(b"1\n2\n")), 3).is_err());
    }

    proptest! {
        #[test]
        fn parts_end_with_lines(lines in proptest::collection::vec("[a-z\t]{0,20}", 1..50), already in 0_usize..2) {
            let text = lines.join("\n") + "\n";
            let mut input = native::reader(Cursor::new(text.clone().into_bytes()));
            let mut part = Part { bytes: already * TRANSACTION, ..Part::default() };
            let mut out = Vec::new();
            while part.feed(&mut input, &mut out).unwrap() {}
            let expected = if already == 1 { format!("{}\n", lines[0]) } else { text };
            prop_assert_eq!(part.rows, if already == 1 { 1 } else { lines.len() as u64 });
            prop_assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
