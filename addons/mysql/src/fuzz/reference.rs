//! The splitter once more, over a text that is there as a whole: no state that must survive the border of two pieces.

use super::statements::{Split, escapes};
use crate::sql;

/// Splits a whole text.
pub(super) fn split(text: &[u8]) -> Split {
    let mut reference =
        Reference { text, at: 0, delimiter: b";".to_vec(), backslash: true, wide: None, header: false, trailer: false };
    let mut all = Vec::new();
    let end = reference.run(&mut all).map(|()| reference.header && !reference.trailer);
    Split { all, end }
}

/// Whether a byte is the first of a character of two.
type Lead = fn(u8) -> bool;

struct Reference<'a> {
    text: &'a [u8],
    at: usize,
    delimiter: Vec<u8>,
    backslash: bool,
    wide: Option<Lead>,
    header: bool,
    trailer: bool,
}

impl Reference<'_> {
    fn run(&mut self, all: &mut Vec<(u64, Vec<u8>)>) -> Result<(), String> {
        let not_sql = match self.text {
            [0x1F, 0x8B, ..] => "it is compressed with gzip; decompress it before it goes into the repository",
            [0x28, 0xB5, 0x2F, 0xFD, ..] => {
                "it is compressed with zstd; decompress it before it goes into the repository"
            }
            [0xFE, 0xFF, ..] | [0xFF, 0xFE, ..] => "it is UTF-16; convert it to UTF-8",
            _ => "",
        };
        if !not_sql.is_empty() {
            return Err(format!("this is not the text of a dump: {not_sql}"));
        }
        if self.text.starts_with(b"\xEF\xBB\xBF") {
            self.at = 3;
        }
        while self.until_statement()? {
            let start = self.at;
            self.until_delimiter()?;
            let statement = self.text[start..self.at].to_vec();
            self.at += self.delimiter.len();
            if let Some(charset) = sql::sets_client_charset(&statement) {
                self.wide = match charset.to_ascii_lowercase().as_slice() {
                    b"sjis" | b"cp932" => Some(|byte| matches!(byte, 0x81..=0x9F | 0xE0..=0xFC)),
                    b"gbk" | b"gb18030" | b"big5" => Some(|byte| matches!(byte, 0x81..=0xFE)),
                    _ => None,
                };
            }
            self.backslash = escapes(&statement, self.backslash);
            all.push((start as u64, statement));
        }
        Ok(())
    }

    fn rest(&self) -> &[u8] {
        &self.text[self.at..]
    }

    /// Where `what` ends next, from `from` on.
    fn behind(&self, what: &[u8], from: usize) -> Option<usize> {
        (from..=self.text.len()).find(|at| self.text[*at..].starts_with(what)).map(|at| at + what.len())
    }

    fn until_line_end(&mut self) {
        self.at = self.behind(b"\n", self.at).map_or(self.text.len(), |end| end - 1);
    }

    /// Passes over what is between statements; false at the end of the text.
    fn until_statement(&mut self) -> Result<bool, String> {
        loop {
            let blanks = self.rest().iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            self.at += blanks;
            let rest = self.rest();
            if rest.is_empty() {
                return Ok(false);
            }
            if rest.starts_with(&self.delimiter) {
                self.at += self.delimiter.len();
            } else if rest[0] == b'#' {
                self.until_line_end();
            } else if is_dashes(rest) {
                self.header |=
                    [&b"-- MySQL dump "[..], b"-- MariaDB dump "].iter().any(|line| self.rest().starts_with(line));
                self.trailer |= self.rest().starts_with(b"-- Dump completed");
                self.until_line_end();
            } else if is_comment(rest) || rest.starts_with(b"/*!999999") || rest.starts_with(b"/*M!999999") {
                self.until_comment_end()?;
            } else if rest.len() > 9 && rest[..9].eq_ignore_ascii_case(b"delimiter") && matches!(rest[9], b' ' | b'\t')
            {
                self.set_delimiter()?;
            } else {
                return Ok(true);
            }
        }
    }

    fn until_comment_end(&mut self) -> Result<(), String> {
        let end = self.behind(b"*/", self.at + 2);
        self.at = end.ok_or_else(|| cut_off("a comment", "the backup that wrote it did not finish"))?;
        Ok(())
    }

    fn set_delimiter(&mut self) -> Result<(), String> {
        let start = self.at;
        self.until_line_end();
        let line = &self.text[start..self.at];
        let word = line[9..].split(u8::is_ascii_whitespace).find(|word| !word.is_empty()).unwrap_or_default();
        if word.is_empty() || word.contains(&b'\\') || line.len() > 4096 {
            return Err("a DELIMITER line names no usable delimiter".to_owned());
        }
        self.delimiter = word.to_vec();
        Ok(())
    }

    /// Goes from the beginning of a statement to the delimiter behind it.
    fn until_delimiter(&mut self) -> Result<(), String> {
        let start = self.at;
        while self.at < self.text.len() {
            let rest = self.rest();
            if self.is_pair(self.at) {
                self.at += 2;
            } else if rest.starts_with(&self.delimiter) {
                return Ok(());
            } else if let Some(tag) = code_tag(&self.text[start..self.at], rest) {
                let end = self.behind(tag, self.at + tag.len());
                let cut_off = || cut_off("code between dollars", "the backup that wrote it did not finish");
                self.at = end.ok_or_else(cut_off)?;
            } else if matches!(rest[0], b'\'' | b'"' | b'`') {
                self.until_quote(rest[0])?;
            } else if rest[0] == b'#' || is_dashes(rest) {
                self.until_line_end();
            } else if is_comment(rest) {
                self.until_comment_end()?;
            } else {
                self.at += 1;
            }
        }
        Err(cut_off("a statement", "end the last statement with its delimiter"))
    }

    /// Goes from a quote behind the one that ends it.
    fn until_quote(&mut self, quote: u8) -> Result<(), String> {
        self.at += 1;
        while self.at < self.text.len() {
            let byte = self.text[self.at];
            if self.is_pair(self.at) {
                self.at += 2;
            } else if byte == quote {
                self.at += 1;
                return Ok(());
            } else if byte == b'\\' && self.backslash && quote != b'`' {
                self.at += if self.is_pair(self.at + 1) { 3 } else { 2 };
            } else {
                self.at += 1;
            }
        }
        Err(cut_off("a quoted text", "the backup that wrote it did not finish"))
    }

    /// Whether a character of two bytes is here.
    fn is_pair(&self, at: usize) -> bool {
        let Some(lead) = self.wide else { return false };
        matches!(self.text.get(at..), Some([first, 0x40..=0x7E | 0x80..=0xFE, ..]) if lead(*first))
    }
}

/// The `$tag$` here, if a word `AS` and a blank are in front of it.
fn code_tag<'a>(before: &[u8], rest: &'a [u8]) -> Option<&'a [u8]> {
    let blanks = before.iter().rev().take_while(|byte| byte.is_ascii_whitespace()).count();
    let before = &before[..before.len() - blanks];
    let is_as = before.len() > 2 && before[before.len() - 2..].eq_ignore_ascii_case(b"as");
    if blanks == 0 || !is_as || !before[before.len() - 3].is_ascii_whitespace() || rest[0] != b'$' {
        return None;
    }
    let end = 1 + rest[1..].iter().position(|byte| *byte == b'$')?;
    let letter = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_' || !byte.is_ascii();
    (end <= 65 && rest[1..end].iter().all(letter)).then(|| &rest[..=end])
}

fn is_dashes(rest: &[u8]) -> bool {
    rest.starts_with(b"--") && rest.get(2).is_none_or(|next| next.is_ascii_whitespace() || next.is_ascii_control())
}

fn is_comment(rest: &[u8]) -> bool {
    rest.starts_with(b"/*") && !matches!(rest.get(2), Some(b'!' | b'+')) && !rest.starts_with(b"/*M!")
}

fn cut_off(inside: &str, fix: &str) -> String {
    format!("the text ends inside {inside}: it is cut off ({fix})")
}
