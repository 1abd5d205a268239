//! Splits SQL text, as dumps have it, into statements while it streams in.
//!
//! It reads what the `mysql` client reads: quotes of three kinds, code between `$$`, comments, `DELIMITER` lines. Unlike the client it passes comments
//! inside of statements, NUL bytes and line ends on as they are, and refuses text that ends in the middle of a statement.
//! Memory: the statement that is being read, plus a quarter; time: linear, whatever the pieces are that the text comes in.

use coffer_addon_sdk::{Error, Reader, Result};
use memchr::{memchr, memchr2, memmem};

use crate::rewrite::Reading;
use crate::sql;

/// The longest `DELIMITER` line.
const LONGEST_DELIMITER: usize = 4096;

/// How far the beginning of a comment must be seen to know what it is.
const COMMENT_PREFIX: usize = 64;

/// The longest `$tag$` that code of another language stands between.
const LONGEST_TAG: usize = 66;

/// The version that no server reaches: what mariadb-dump puts in front of its sandbox line, `/*M!999999\- enable the sandbox mode */`.
const NEVER: &[u8] = b"999999";

/// The statements of a stream of SQL text, one after the other.
#[derive(Debug)]
pub(crate) struct Statements {
    reader: Reader,
    splitter: Splitter,
    limit: usize,
    ended: bool,
    /// The length of the statement that was handed out last, delimiter included.
    pending: usize,
}

impl Statements {
    /// The statements that `reader` yields, none of them longer than `limit` bytes.
    pub(crate) fn new(reader: Reader, limit: usize) -> Self {
        Self { reader, splitter: Splitter::new(), limit, ended: false, pending: 0 }
    }

    /// The next statement, without its delimiter.
    pub(crate) fn next(&mut self) -> Result<Option<&[u8]>> {
        self.reader.consume(std::mem::take(&mut self.pending));
        let length = loop {
            match self.splitter.step(self.reader.buffer(), self.ended).map_err(|error| self.locate(error))? {
                Step::Drop(count) => self.reader.consume(count),
                Step::More => {
                    let have = self.reader.buffer().len();
                    if have > self.limit {
                        return Err(self.locate(Error::unsupported(format!(
                            "a statement is longer than {} bytes; give the Function more memory",
                            self.limit
                        ))));
                    }
                    // A quarter more each time: a long statement is not copied over and over.
                    self.ended = !self.reader.try_fill(have.saturating_add((have / 4).max(1)))?;
                }
                Step::Statement { length, consume } => {
                    self.pending = consume;
                    break length;
                }
                Step::End => return Ok(None),
            }
        };
        let statement = self.reader.buffer().get(..length).unwrap_or_default();
        if let Some(charset) = sql::sets_client_charset(statement) {
            self.splitter.wide = Wide::of(charset);
        }
        Ok(Some(statement))
    }

    /// Where in the stream the statement begins that was handed out last, in bytes.
    pub(crate) fn position(&self) -> u64 {
        self.reader.consumed()
    }

    /// Whether a backslash in a string escapes the character behind it: not while the session's `sql_mode` has `NO_BACKSLASH_ESCAPES`.
    pub(crate) fn set_backslash_escapes(&mut self, on: bool) {
        self.splitter.backslash = on;
    }

    /// How the text of the next statement is to be read.
    pub(crate) fn reading(&self) -> Reading {
        Reading { backslash: self.splitter.backslash, wide: self.splitter.wide.is_some() }
    }

    /// Whether the text begins as the dumps of mysqldump and mariadb-dump do, but lacks their last line: it is cut off.
    pub(crate) fn is_cut_off(&self) -> bool {
        self.splitter.header && !self.splitter.trailer
    }

    fn locate(&self, error: Error) -> Error {
        error.with_context(format_args!("in the SQL text at byte {}", self.reader.consumed()))
    }
}

/// Where in the text the splitter is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the first byte.
    Start,
    /// Before a statement. What is passed over here is of no use to anybody.
    Between,
    /// In a statement.
    Text,
    /// In a statement, behind this quote.
    Quoted(u8),
    /// In code of another language, as `CREATE LIBRARY … AS $$ … $$` has it.
    Code,
    /// In a comment that ends with the line.
    LineComment { between: bool },
    /// In a comment that ends with `*/`.
    BlockComment { between: bool },
}

/// What is to be done with the text seen so far.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// Drop so many bytes, then ask again.
    Drop(usize),
    /// Append bytes, then ask again.
    More,
    /// The first `length` bytes are a statement; drop `consume` when it has been used.
    Statement { length: usize, consume: usize },
    /// Nothing is left.
    End,
}

#[derive(Debug)]
struct Splitter {
    delimiter: Vec<u8>,
    backslash: bool,
    wide: Option<Wide>,
    state: State,
    /// What the code ends with that is being read.
    tag: Vec<u8>,
    /// How much of the text in the buffer has been looked at.
    at: usize,
    header: bool,
    trailer: bool,
}

/// The `$tag$` that `rest` begins with, if code begins there: behind an `AS`. Elsewhere a dollar is a letter.
fn tag<'a>(before: &[u8], rest: &'a [u8]) -> Option<&'a [u8]> {
    let trimmed = before.trim_ascii_end();
    let [blank, word @ ..] = trimmed.last_chunk::<3>()?;
    if trimmed.len() == before.len() || !blank.is_ascii_whitespace() || !word.eq_ignore_ascii_case(b"as") {
        return None;
    }
    let letters = rest.get(1..)?.iter().take(LONGEST_TAG - 2);
    let length = letters.take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_' || !byte.is_ascii()).count();
    let end = length.checked_add(2)?;
    rest.get(..end).filter(|tag| tag.last() == Some(&b'$'))
}

/// What was found while scanning for something.
enum Found {
    /// At this place.
    At(usize),
    /// Not yet; go on here when more is there.
    NotBefore(usize),
}

impl Splitter {
    fn new() -> Self {
        Self {
            delimiter: b";".to_vec(),
            backslash: true,
            wide: None,
            state: State::Start,
            tag: Vec::new(),
            at: 0,
            header: false,
            trailer: false,
        }
    }

    /// Looks at `text`, which begins where the last statement or drop ended; `ended` says that nothing will follow it.
    fn step(&mut self, text: &[u8], ended: bool) -> Result<Step> {
        loop {
            let step = match self.state {
                State::Start => self.start(text, ended)?,
                State::Between => self.between(text, ended)?,
                State::Text => self.text(text, ended)?,
                State::Quoted(quote) => self.quoted(text, ended, quote)?,
                State::Code => self.code(text, ended)?,
                State::LineComment { between } => self.line_comment(text, ended, between),
                State::BlockComment { between } => self.block_comment(text, ended, between)?,
            };
            if let Some(step) = step {
                return Ok(step);
            }
        }
    }

    /// Byte order marks, and what is no SQL text at all.
    fn start(&mut self, text: &[u8], ended: bool) -> Result<Option<Step>> {
        if text.len() < 4 && !ended {
            return Ok(Some(Step::More));
        }
        let not_sql = match text {
            [0x1F, 0x8B, ..] => Some("it is compressed with gzip; decompress it before it goes into the repository"),
            [0x28, 0xB5, 0x2F, 0xFD, ..] => {
                Some("it is compressed with zstd; decompress it before it goes into the repository")
            }
            [0xFE, 0xFF, ..] | [0xFF, 0xFE, ..] => Some("it is UTF-16; convert it to UTF-8"),
            _ => None,
        };
        if let Some(why) = not_sql {
            return Err(Error::data(format!("this is not the text of a dump: {why}")));
        }
        self.state = State::Between;
        Ok(text.starts_with(b"\xEF\xBB\xBF").then_some(Step::Drop(3)))
    }

    fn between(&mut self, text: &[u8], ended: bool) -> Result<Option<Step>> {
        let blank = text.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or(text.len());
        if blank > 0 {
            return Ok(Some(Step::Drop(blank)));
        }
        let Some(&first) = text.first() else {
            return Ok(Some(if ended { Step::End } else { Step::More }));
        };
        // Delimiters, comments and `DELIMITER` all show within this many bytes.
        if text.len() < COMMENT_PREFIX.max(self.delimiter.len()) && !ended {
            return Ok(Some(Step::More));
        }
        if text.starts_with(&self.delimiter) {
            return Ok(Some(Step::Drop(self.delimiter.len())));
        }
        match first {
            b'#' => self.state = State::LineComment { between: true },
            b'-' if is_dashes(text) => {
                self.header |= text.starts_with(b"-- MySQL dump ") || text.starts_with(b"-- MariaDB dump ");
                self.trailer |= text.starts_with(b"-- Dump completed");
                self.state = State::LineComment { between: true };
            }
            b'/' if is_plain_comment(text) || is_never_executed(text) => {
                self.state = State::BlockComment { between: true };
                return Ok(Some(Step::Drop(2)));
            }
            b'D' | b'd' if is_delimiter_line(text) => return self.delimiter_line(text, ended),
            _ => {
                self.state = State::Text;
                self.at = 0;
            }
        }
        Ok(None)
    }

    fn delimiter_line(&mut self, text: &[u8], ended: bool) -> Result<Option<Step>> {
        let end = match memchr(b'\n', text) {
            Some(end) => end,
            None if ended || text.len() > LONGEST_DELIMITER => text.len(),
            None => return Ok(Some(Step::More)),
        };
        let line = text.get(..end).unwrap_or_default();
        let word = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).nth(1).unwrap_or_default();
        if word.is_empty() || word.contains(&b'\\') || line.len() > LONGEST_DELIMITER {
            return Err(Error::data("a DELIMITER line names no usable delimiter"));
        }
        self.delimiter = word.to_vec();
        Ok(Some(Step::Drop(end)))
    }

    fn text(&mut self, text: &[u8], ended: bool) -> Result<Option<Step>> {
        let first = self.delimiter.first().copied().unwrap_or(b';');
        let found =
            self.scan(text, |byte| matches!(byte, b'\'' | b'"' | b'`' | b'#' | b'-' | b'/' | b'$') || byte == first);
        let (at, byte) = match found {
            Found::At(at) => (at, text.get(at).copied().unwrap_or_default()),
            Found::NotBefore(at) => {
                self.at = at;
                return if ended {
                    Err(cut_off("a statement", "end the last statement with its delimiter"))
                } else {
                    Ok(Some(Step::More))
                };
            }
        };
        self.at = at;
        let rest = text.get(at..).unwrap_or_default();
        if rest.starts_with(&self.delimiter) {
            self.state = State::Between;
            self.at = 0;
            return Ok(Some(Step::Statement { length: at, consume: at.saturating_add(self.delimiter.len()) }));
        }
        let enough = if byte == b'$' { LONGEST_TAG } else { 4 };
        if rest.len() < enough.max(self.delimiter.len()) && !ended {
            return Ok(Some(Step::More));
        }
        match byte {
            b'$' => match tag(text.get(..at).unwrap_or_default(), rest) {
                Some(tag) => {
                    self.tag = tag.to_vec();
                    self.state = State::Code;
                    self.at = at.saturating_add(tag.len());
                }
                None => self.at = at.saturating_add(1),
            },
            b'\'' | b'"' | b'`' => {
                self.state = State::Quoted(byte);
                self.at = at.saturating_add(1);
            }
            b'#' => self.state = State::LineComment { between: false },
            b'-' if is_dashes(rest) => self.state = State::LineComment { between: false },
            b'/' if is_plain_comment(rest) => {
                self.state = State::BlockComment { between: false };
                self.at = at.saturating_add(2);
            }
            _ => self.at = at.saturating_add(1),
        }
        Ok(None)
    }

    fn quoted(&mut self, text: &[u8], ended: bool, quote: u8) -> Result<Option<Step>> {
        // A doubled quote closes and opens again: the same to us.
        let escapes = self.backslash && quote != b'`';
        let found = match (self.wide, escapes) {
            (Some(_), _) => self.scan(text, |byte| byte == quote || escapes && byte == b'\\'),
            (None, true) => self.search(text, |rest| memchr2(quote, b'\\', rest)),
            (None, false) => self.search(text, |rest| memchr(quote, rest)),
        };
        match found {
            Found::At(at) if text.get(at) == Some(&quote) => {
                self.state = State::Text;
                self.at = at.saturating_add(1);
                Ok(None)
            }
            // Behind a backslash: whatever it is, it is not the end.
            Found::At(at) if at.saturating_add(1) < text.len() => {
                // A wide character is passed over by the next scan.
                let next = text.get(at.saturating_add(1)).copied().unwrap_or_default();
                let escaped = usize::from(!self.wide.is_some_and(|wide| wide.is_lead(next)));
                self.at = at.saturating_add(1).saturating_add(escaped);
                Ok(None)
            }
            Found::At(at) | Found::NotBefore(at) => {
                self.at = at;
                if ended {
                    Err(cut_off("a quoted text", "the backup that wrote it did not finish"))
                } else {
                    Ok(Some(Step::More))
                }
            }
        }
    }

    fn code(&mut self, text: &[u8], ended: bool) -> Result<Option<Step>> {
        let tag = std::mem::take(&mut self.tag);
        let end = memmem::find(text.get(self.at..).unwrap_or_default(), &tag);
        let length = tag.len();
        self.tag = tag;
        if let Some(end) = end {
            self.state = State::Text;
            self.at = self.at.saturating_add(end).saturating_add(length);
            return Ok(None);
        }
        self.at = self.at.max(text.len().saturating_sub(length));
        if ended {
            return Err(cut_off("code between dollars", "the backup that wrote it did not finish"));
        }
        Ok(Some(Step::More))
    }

    fn line_comment(&mut self, text: &[u8], ended: bool, between: bool) -> Option<Step> {
        let end = match self.search(text, |rest| memchr(b'\n', rest)) {
            Found::At(end) => Some(end),
            Found::NotBefore(at) if ended => Some(at),
            Found::NotBefore(_) => None,
        };
        match (end, between) {
            (Some(end), _) => {
                self.state = if between { State::Between } else { State::Text };
                self.at = if between { 0 } else { end };
                between.then_some(Step::Drop(end))
            }
            (None, true) => {
                self.at = 0;
                Some(if text.is_empty() { Step::More } else { Step::Drop(text.len()) })
            }
            (None, false) => {
                self.at = text.len();
                Some(Step::More)
            }
        }
    }

    fn block_comment(&mut self, text: &[u8], ended: bool, between: bool) -> Result<Option<Step>> {
        let found = self.search(text, |rest| memmem::find(rest, b"*/"));
        match found {
            Found::At(at) => {
                self.state = if between { State::Between } else { State::Text };
                self.at = if between { 0 } else { at.saturating_add(2) };
                Ok(between.then_some(Step::Drop(at.saturating_add(2))))
            }
            Found::NotBefore(_) if ended => Err(cut_off("a comment", "the backup that wrote it did not finish")),
            Found::NotBefore(_) => {
                // The last byte may be the star.
                let seen = text.len().saturating_sub(1);
                self.at = if between { 0 } else { seen.max(self.at) };
                Ok(Some(if between && seen > 0 { Step::Drop(seen) } else { Step::More }))
            }
        }
    }

    /// The first byte that meets `stop`, from `self.at` on, passing over the second bytes of wide characters.
    #[inline]
    fn scan(&self, text: &[u8], stop: impl Fn(u8) -> bool) -> Found {
        let Some(wide) = self.wide else {
            return self.search(text, |rest| rest.iter().position(|byte| stop(*byte)));
        };
        let mut at = self.at;
        while let Some(&byte) = text.get(at) {
            if wide.is_lead(byte) {
                if at.saturating_add(1) >= text.len() {
                    return Found::NotBefore(at);
                }
                if wide.is_pair(text.get(at..)) {
                    at = at.saturating_add(2);
                    continue;
                }
            }
            if stop(byte) {
                return Found::At(at);
            }
            at = at.saturating_add(1);
        }
        Found::NotBefore(text.len().max(self.at))
    }

    #[inline]
    fn search(&self, text: &[u8], find: impl Fn(&[u8]) -> Option<usize>) -> Found {
        match find(text.get(self.at..).unwrap_or_default()) {
            Some(offset) => Found::At(self.at.saturating_add(offset)),
            None => Found::NotBefore(text.len().max(self.at)),
        }
    }
}

fn cut_off(inside: &str, fix: &str) -> Error {
    Error::data(format!("the text ends inside {inside}: it is cut off ({fix})"))
}

/// Whether a comment to the end of the line begins here.
fn is_dashes(text: &[u8]) -> bool {
    match text {
        [b'-', b'-'] => true,
        [b'-', b'-', next, ..] => next.is_ascii_whitespace() || next.is_ascii_control(),
        _ => false,
    }
}

/// Whether a comment begins here that servers do not look into: not `/*!`, `/*M!` or `/*+`.
fn is_plain_comment(text: &[u8]) -> bool {
    match text {
        [b'/', b'*', b'!' | b'+', ..] | [b'/', b'*', b'M', b'!', ..] => false,
        [b'/', b'*', ..] => true,
        _ => false,
    }
}

fn is_never_executed(text: &[u8]) -> bool {
    let version = text.strip_prefix(b"/*M!").or_else(|| text.strip_prefix(b"/*!"));
    version.is_some_and(|version| version.starts_with(NEVER))
}

fn is_delimiter_line(text: &[u8]) -> bool {
    const WORD: &[u8] = b"delimiter";
    text.get(..WORD.len()).is_some_and(|word| word.eq_ignore_ascii_case(WORD))
        && text.get(WORD.len()).is_some_and(|byte| matches!(byte, b' ' | b'\t'))
}

/// A character set whose characters of two bytes may have a quote or a backslash as the second one. Dumps hold the text of stored
/// programs in the character set that their author's client had, so this does happen in text that is UTF-8 otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wide {
    /// sjis, cp932
    Japanese,
    /// gbk, gb18030, big5
    Chinese,
}

impl Wide {
    fn of(charset: &[u8]) -> Option<Self> {
        match charset.to_ascii_lowercase().as_slice() {
            b"sjis" | b"cp932" => Some(Self::Japanese),
            b"gbk" | b"gb18030" | b"big5" => Some(Self::Chinese),
            _ => None,
        }
    }

    fn is_lead(self, byte: u8) -> bool {
        match self {
            Self::Japanese => matches!(byte, 0x81..=0x9F | 0xE0..=0xFC),
            Self::Chinese => matches!(byte, 0x81..=0xFE),
        }
    }

    /// Whether a character of two bytes is here.
    fn is_pair(self, text: Option<&[u8]>) -> bool {
        matches!(text, Some([lead, 0x40..=0x7E | 0x80..=0xFE, ..]) if self.is_lead(*lead))
    }
}

#[cfg(test)]
mod tests;
