//! Standard output: lines, tables and JSON lines; standard error: messages.

use std::io::{self, Write as _};
use std::sync::OnceLock;

use serde_json::{Value, json};

/// Where results and messages go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    json: bool,
    quiet: bool,
}

impl Output {
    pub(crate) fn new(json: bool, quiet: bool) -> Self {
        Self { json, quiet }
    }

    pub(crate) fn is_json(self) -> bool {
        self.json
    }

    pub(crate) fn is_quiet(self) -> bool {
        self.quiet
    }

    /// A result: the object for programs, or the text for people.
    pub(crate) fn result(self, object: impl FnOnce() -> Value, text: impl FnOnce() -> String) {
        if self.json { self.object(&object()) } else { line(&text()) }
    }

    /// Text for people only, which `--quiet` leaves out.
    pub(crate) fn note(self, text: impl FnOnce() -> String) {
        if !self.json && !self.quiet {
            line(&text());
        }
    }

    /// An object for programs only.
    pub(crate) fn object(self, object: &Value) {
        if self.json {
            line(&object.to_string());
        }
    }

    /// A failure: text on standard error, and an object for programs.
    pub(crate) fn failure(self, code: u8, kind: &str, retryable: bool, message: &str) {
        self.object(&json!({
            "message_type": "error", "code": code, "kind": kind, "retryable": retryable, "message": message,
        }));
        complain(&format!("error: {message}"));
    }

    /// Something that the user should know although all goes on.
    pub(crate) fn warning(self, message: &str) {
        self.object(&json!({ "message_type": "warning", "message": message }));
        complain(&format!("warning: {message}"));
    }
}

/// Why nothing more is written to standard output.
static LOST: OnceLock<io::ErrorKind> = OnceLock::new();

/// One line on standard output. A reader that went away (`coffer snapshots | head`) hears no more, and that is all: the
/// command goes on, because a backup that stopped here would leave its locks behind and could not say how it ended.
pub(crate) fn line(text: &str) {
    if LOST.get().is_some() {
        return;
    }
    let mut out = io::stdout().lock();
    let Err(error) = writeln!(out, "{text}").and_then(|()| out.flush()) else { return };
    drop(out);
    if LOST.set(error.kind()).is_ok() && error.kind() != io::ErrorKind::BrokenPipe {
        complain(&format!("error: cannot write to standard output: {error}"));
    }
}

/// Whether somebody who waits for results did not get all of them.
pub(crate) fn is_incomplete() -> bool {
    LOST.get().is_some_and(|kind| *kind != io::ErrorKind::BrokenPipe)
}

/// One line on standard error. When nobody can read that either, there is nobody to tell.
pub(crate) fn complain(text: &str) {
    crate::progress::around_bars(|| {
        let _ = writeln!(io::stderr().lock(), "{text}");
    });
}

/// A table with aligned columns.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
    right: Vec<usize>,
}

impl Table {
    /// A table with these column titles; the columns in `right` are aligned to the right.
    pub(crate) fn new(titles: &[&str], right: &[usize]) -> Self {
        Self { rows: vec![titles.iter().map(|&title| title.to_owned()).collect()], right: right.to_vec() }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The text, without a line end after the last row.
    pub(crate) fn render(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or_default();
        let width = |column: usize| {
            self.rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or_default()
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut lines: Vec<String> = self.rows.iter().map(|row| self.line(row, &widths)).collect();
        let longest = lines.iter().map(|line| line.chars().count()).max().unwrap_or_default();
        lines.insert(1.min(lines.len()), "-".repeat(longest));
        lines.join("\n")
    }

    fn line(&self, row: &[String], widths: &[usize]) -> String {
        let cells = row.iter().zip(widths).enumerate().map(|(column, (cell, &width))| {
            if self.right.contains(&column) { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    }
}

/// `1 file`, `2 files`.
pub(crate) fn counted(number: u64, one: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {one}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new(&["ID", "Size"], &[1]);
        table.row(["a".into(), "1 B".into()]);
        table.row(["größer".into(), "12 KiB".into()]);
        assert_eq!(table.render(), "ID        Size\n--------------\na          1 B\ngrößer  12 KiB");
    }
}
