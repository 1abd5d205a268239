//! What a server makes of the two texts that rows are written in: lines for `LOAD DATA`, and literals of SQL.

/// A row; NULL is `None`.
pub(super) type Row = Vec<Option<Vec<u8>>>;

/// The rows of a file, as `LOAD DATA … FIELDS TERMINATED BY '\t' ESCAPED BY '\\' LINES TERMINATED BY '\n'` reads it.
pub(super) fn from_lines(file: &[u8]) -> Vec<Row> {
    let mut rows = Vec::new();
    let (mut row, mut field, mut null) = (Row::new(), Vec::new(), false);
    let mut bytes = file.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\t' | b'\n' => {
                let value = std::mem::take(&mut field);
                row.push((!std::mem::take(&mut null)).then_some(value));
                if *byte == b'\n' {
                    rows.push(std::mem::take(&mut row));
                }
            }
            b'\\' => match bytes.next() {
                Some(b'N') if field.is_empty() && matches!(bytes.as_slice().first(), Some(b'\t' | b'\n')) => {
                    null = true;
                }
                Some(escaped) => field.push(unescape(*escaped)),
                None => field.push(b'\\'),
            },
            byte => field.push(*byte),
        }
    }
    rows
}

/// The rows of `INSERT … VALUES (…),(…)`.
pub(super) fn from_insert(statement: &[u8]) -> Option<Vec<Row>> {
    const VALUES: &[u8] = b"VALUES";
    let at = memchr::memmem::find(statement, VALUES)?;
    let mut values = Values { rest: &statement[at + VALUES.len()..] };
    let mut rows = Vec::new();
    loop {
        values.skip_blanks();
        values.take(b"(")?;
        let mut row = Row::new();
        loop {
            row.push(values.value()?);
            if values.take(b")").is_some() {
                break;
            }
            values.take(b",")?;
        }
        rows.push(row);
        if values.take(b",").is_none() {
            return values.rest.is_empty().then_some(rows);
        }
    }
}

/// The values of an `INSERT`, one after the other.
struct Values<'a> {
    rest: &'a [u8],
}

impl Values<'_> {
    fn skip_blanks(&mut self) {
        self.rest = self.rest.trim_ascii_start();
    }

    fn take(&mut self, what: &[u8]) -> Option<()> {
        self.rest = self.rest.strip_prefix(what)?;
        Some(())
    }

    #[expect(clippy::option_option, reason = "NULL is a value, and what is none is something else")]
    fn value(&mut self) -> Option<Option<Vec<u8>>> {
        if self.take(b"NULL").is_some() {
            return Some(None);
        }
        if self.take(b"CONVERT(").is_some() {
            let value = self.value()?;
            self.take(b" USING utf8mb4)")?;
            return Some(value);
        }
        if self.take(b"0x").is_some() {
            return self.hexadecimal().map(Some);
        }
        if self.take(b"_binary").is_some() {
            self.skip_blanks();
        }
        if self.take(b"'").is_some() {
            return self.string().map(Some);
        }
        let length =
            self.rest.iter().take_while(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e')).count();
        let (number, rest) = self.rest.split_at(length);
        self.rest = rest;
        (length > 0).then(|| Some(number.to_vec()))
    }

    fn hexadecimal(&mut self) -> Option<Vec<u8>> {
        let length = self.rest.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let (digits, rest) = self.rest.split_at(length);
        self.rest = rest;
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        (length > 0 && length.is_multiple_of(2)).then(|| digits.chunks(2).map(byte).collect())?
    }

    fn string(&mut self) -> Option<Vec<u8>> {
        let mut value = Vec::new();
        loop {
            match self.rest {
                [b'\'', rest @ ..] => {
                    self.rest = rest;
                    return Some(value);
                }
                // Kept for LIKE.
                [b'\\', wildcard @ (b'%' | b'_'), rest @ ..] => {
                    value.extend_from_slice(&[b'\\', *wildcard]);
                    self.rest = rest;
                }
                [b'\\', escaped, rest @ ..] => {
                    value.push(unescape(*escaped));
                    self.rest = rest;
                }
                [byte, rest @ ..] => {
                    value.push(*byte);
                    self.rest = rest;
                }
                [] => return None,
            }
        }
    }
}

/// What a byte behind a backslash stands for: the same in lines and in literals.
fn unescape(byte: u8) -> u8 {
    match byte {
        b'0' => 0,
        b'b' => 8,
        b't' => b'\t',
        b'n' => b'\n',
        b'r' => b'\r',
        b'Z' => 0x1A,
        other => other,
    }
}
