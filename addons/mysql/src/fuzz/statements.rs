//! Any text, in pieces of any size, splits into the same statements; none of its bytes is lost, and no more of it is in memory than
//! the statement that is being read.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use coffer_addon_sdk::native;

use super::{Pieces, reference};
use crate::splitter::Statements;
use crate::sql;

/// Longer than any input.
const NO_LIMIT: usize = 64 << 20;
/// What some inputs do exceed.
const LIMIT: usize = 256;

/// Splits a text in several ways.
pub fn statements(text: &[u8]) {
    let seed = text.iter().fold(0, |seed: u64, byte| (seed ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    let whole = split(text, Pieces::Whole, NO_LIMIT);
    for pieces in [Pieces::Bytes, Pieces::Seeded(seed)] {
        let torn = split(text, pieces, NO_LIMIT);
        assert!(whole == torn, "{pieces:?} make a difference: {whole:?} and {torn:?}");
    }
    let reference = reference::split(text);
    assert!(whole == reference, "the reference splits it otherwise: {whole:?} and {reference:?}");

    // A DELIMITER line is in memory as a whole, as a statement is; it has a limit of its own, far below any real one.
    let delimiter_line = |line: &[u8]| line.len() > LIMIT / 2 && has(line, b"delimiter");
    if text.split(|byte| *byte == b'\n').any(delimiter_line) {
        return;
    }
    let limited = split(text, Pieces::Seeded(seed), LIMIT);
    assert!(whole.all.starts_with(&limited.all), "the limit changes statements: {whole:?} and {limited:?}");
    if limited.end != whole.end {
        let longest = whole.all.get(limited.all.len()).map_or(usize::MAX, |(_, statement)| statement.len());
        assert!(
            limited.end.as_ref().is_err_and(|why| why.starts_with("a statement is longer")) && longest > LIMIT / 2,
            "{:?} instead of {:?} at a statement of {longest} bytes",
            limited.end,
            whole.end
        );
    }
}

/// What came of a text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Split {
    /// Where each statement begins, and its bytes.
    pub(super) all: Vec<(u64, Vec<u8>)>,
    /// Whether the text seems cut off, or why it was refused.
    pub(super) end: Result<bool, String>,
}

/// What a restore makes of a statement: whether strings have escapes from here on.
pub(super) fn escapes(statement: &[u8], before: bool) -> bool {
    let sets_mode = sql::effect(statement) == sql::Effect::Set && has(statement, b"sql_mode");
    if sets_mode { !has(statement, b"NO_BACKSLASH_ESCAPES") } else { before }
}

fn has(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|window| window.eq_ignore_ascii_case(word))
}

fn split(text: &[u8], pieces: Pieces, limit: usize) -> Split {
    let handed = Arc::new(AtomicU64::new(0));
    let torn = Torn { text: text.to_vec(), pieces, handed: Arc::clone(&handed) };
    let mut statements = Statements::new(native::reader(torn), limit);
    let mut found = Split { all: Vec::new(), end: Ok(false) };
    let mut backslash = true;
    loop {
        match statements.next() {
            Ok(Some(statement)) => {
                let statement = statement.to_vec();
                sql::created_view(&statement);
                backslash = escapes(&statement, backslash);
                statements.set_backslash_escapes(backslash);
                found.all.push((statements.position(), statement));
                if !matches!(pieces, Pieces::Whole) {
                    let held = handed.load(Ordering::Relaxed) - statements.position();
                    assert!(held <= (limit / 4 * 5 + Pieces::LONGEST) as u64, "{held} bytes are in memory");
                }
            }
            Ok(None) => {
                assert_eq!(statements.position(), text.len() as u64, "the end is not the end of the text");
                found.end = Ok(statements.is_cut_off());
                return found;
            }
            Err(error) => {
                // Where a comment without an end is given up depends on the pieces.
                let what = error.message.strip_prefix("in the SQL text at byte ").unwrap();
                found.end = Err(what.split_once(": ").unwrap().1.to_owned());
                return found;
            }
        }
    }
}

/// Text that comes in pieces.
struct Torn {
    text: Vec<u8>,
    pieces: Pieces,
    handed: Arc<AtomicU64>,
}

impl Read for Torn {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let from = usize::try_from(self.handed.load(Ordering::Relaxed)).unwrap();
        let count = self.pieces.next().min(out.len()).min(self.text.len() - from);
        out[..count].copy_from_slice(&self.text[from..from + count]);
        self.handed.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}
