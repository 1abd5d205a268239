//! What a statement of a dump is about, as far as a restore must know: read from its first words, nothing more.

use std::borrow::Cow;
use std::ops::Range;

/// A piece of SQL text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Token<'a> {
    /// Letters, digits, `_`, `$`, `@`, `.` and everything beyond ASCII.
    Word(&'a [u8]),
    /// What was between backquotes.
    Name(Cow<'a, [u8]>),
    /// What was between other quotes, as written.
    Text(&'a [u8]),
    /// Anything else.
    Symbol(u8),
}

impl Token<'_> {
    /// Whether it is this word, not quoted.
    pub(crate) fn is(&self, word: &str) -> bool {
        matches!(self, Self::Word(found) if found.eq_ignore_ascii_case(word.as_bytes()))
    }

    /// The token as the name of something.
    pub(crate) fn name(&self) -> Option<String> {
        let bytes = match self {
            Self::Word(word) => word,
            Self::Name(name) => name.as_ref(),
            Self::Text(_) | Self::Symbol(_) => return None,
        };
        Some(String::from_utf8_lossy(bytes).into_owned())
    }
}

/// The tokens of a statement. Comments are passed over; what is inside `/*!50003 … */` counts.
#[derive(Debug, Clone)]
pub(crate) struct Tokens<'a> {
    rest: &'a [u8],
    length: usize,
    /// Whether a backslash in a string escapes what follows it.
    backslash: bool,
}

/// The tokens of `sql`.
pub(crate) fn tokens(sql: &[u8]) -> Tokens<'_> {
    Tokens { rest: sql, length: sql.len(), backslash: true }
}

impl<'a> Tokens<'a> {
    /// The same, where `sql_mode` says what a backslash means.
    pub(crate) fn with_backslash(self, backslash: bool) -> Self {
        Self { backslash, ..self }
    }

    /// The next token, and where it stands.
    pub(crate) fn next_span(&mut self) -> Option<(Range<usize>, Token<'a>)> {
        self.skip();
        let start = self.length - self.rest.len();
        let token = self.next()?;
        Some((start..self.length - self.rest.len(), token))
    }

    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at_checked(count).unwrap_or((self.rest, &[]));
        self.rest = rest;
        taken
    }

    fn skip_to_end_of(&mut self, what: &[u8]) {
        let end = memchr::memmem::find(self.rest, what).map_or(self.rest.len(), |at| at.saturating_add(what.len()));
        self.take(end);
    }

    /// Passes over blanks and comments.
    fn skip(&mut self) {
        loop {
            match self.rest {
                [byte, ..] if byte.is_ascii_whitespace() => {
                    self.take(1);
                }
                [b'#', ..] | [b'-', b'-', b' ' | b'\t' | b'\r' | b'\n', ..] => self.skip_to_end_of(b"\n"),
                [b'*', b'/', ..] => {
                    self.take(2);
                }
                [b'/', b'*', b'!', ..] => self.skip_version(3),
                [b'/', b'*', b'M', b'!', ..] => self.skip_version(4),
                [b'/', b'*', ..] => {
                    self.take(2);
                    self.skip_to_end_of(b"*/");
                }
                _ => return,
            }
        }
    }

    fn skip_version(&mut self, opening: usize) {
        self.take(opening);
        let digits = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.take(digits);
    }

    /// What is between quotes, the opening one being next.
    fn quoted(&mut self, quote: u8) -> &'a [u8] {
        self.take(1);
        let mut end = 0;
        loop {
            match self.rest.get(end..) {
                Some([b'\\', ..]) if quote != b'`' && self.backslash => end += 2,
                Some([first, second, ..]) if *first == quote && *second == quote => end += 2,
                Some([first, ..]) if *first == quote => break,
                Some([_, ..]) => end += 1,
                _ => break,
            }
        }
        let inner = self.take(end);
        self.take(1);
        inner
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        self.skip();
        let first = *self.rest.first()?;
        Some(match first {
            b'`' => {
                let inner = self.quoted(b'`');
                Token::Name(undouble(inner))
            }
            b'\'' | b'"' => Token::Text(self.quoted(first)),
            _ if is_word(first) => {
                let length = self.rest.iter().take_while(|byte| is_word(**byte)).count();
                Token::Word(self.take(length))
            }
            _ => {
                self.take(1);
                Token::Symbol(first)
            }
        })
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | b'@' | b'.') || byte >= 0x80
}

fn undouble(inner: &[u8]) -> Cow<'_, [u8]> {
    if !inner.contains(&b'`') {
        return Cow::Borrowed(inner);
    }
    let mut name = Vec::with_capacity(inner.len());
    let mut rest = inner.iter();
    while let Some(&byte) = rest.next() {
        name.push(byte);
        if byte == b'`' {
            rest.next();
        }
    }
    Cow::Owned(name)
}

/// What a statement does, where that decides whether it is executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect {
    /// `USE`: what follows goes to this database.
    Use(String),
    /// `CREATE DATABASE`, `DROP DATABASE`, `ALTER DATABASE`.
    Database(String),
    /// `SET`: concerns the session, whatever the database.
    Set,
    /// Anything else: belongs to the database in use.
    Other,
}

/// What `sql` does.
pub(crate) fn effect(sql: &[u8]) -> Effect {
    let mut tokens = tokens(sql);
    let Some(first) = tokens.next() else { return Effect::Other };
    if first.is("use") {
        return tokens.next().and_then(|token| token.name()).map_or(Effect::Other, Effect::Use);
    }
    if first.is("set") {
        return Effect::Set;
    }
    if first.is("create") || first.is("drop") || first.is("alter") {
        let mut tokens = tokens.skip_while(|token| token.is("or") || token.is("replace"));
        if tokens.next().is_some_and(|token| token.is("database") || token.is("schema")) {
            let mut words = tokens.skip_while(|token| token.is("if") || token.is("not") || token.is("exists"));
            return words.next().and_then(|token| token.name()).map_or(Effect::Other, Effect::Database);
        }
    }
    Effect::Other
}

/// The view that `sql` creates, without a database in front of it.
pub(crate) fn created_view(sql: &[u8]) -> Option<String> {
    let mut tokens = tokens(sql);
    if !tokens.next()?.is("create") {
        return None;
    }
    let mut tokens = tokens.skip_while(|token| !token.is("view"));
    tokens.next()?;
    tokens.next()?.name()
}

/// The table that the trigger is of which `sql` creates, without a database in front of it.
pub(crate) fn trigger_table(sql: &[u8]) -> Option<String> {
    let mut tokens = tokens(sql);
    if !tokens.next()?.is("create") {
        return None;
    }
    let mut tokens = tokens.skip_while(|token| !token.is("trigger"));
    tokens.next()?;
    // Its own name may be any word.
    let mut tokens = tokens.skip_while(|token| !token.is("before") && !token.is("after"));
    tokens.next()?;
    let mut tokens = tokens.skip_while(|token| !token.is("on"));
    tokens.next()?;
    let first = tokens.next()?;
    match tokens.next() {
        Some(Token::Word(b".")) => tokens.next()?.name(),
        Some(Token::Word([b'.', name @ ..])) => Some(String::from_utf8_lossy(name).into_owned()),
        next => match (first, next) {
            (Token::Word([_, .., b'.']), Some(next)) => next.name(),
            (Token::Word(word), _) => {
                let name = word.rsplit(|byte| *byte == b'.').next().unwrap_or(word);
                Some(String::from_utf8_lossy(name).into_owned())
            }
            (first, _) => first.name(),
        },
    }
}

/// The character set that `sql` gives to the text of the client from here on; empty when it is kept in a variable.
pub(crate) fn sets_client_charset(sql: &[u8]) -> Option<&[u8]> {
    // Such statements are short; rows are not looked through.
    if sql.len() > 400 {
        return None;
    }
    let mut tokens = tokens(sql);
    if !tokens.next()?.is("set") {
        return None;
    }
    while let Some(token) = tokens.next() {
        let value = if token.is("names") {
            tokens.next()
        } else if token.is("character_set_client")
            || token.is("@@character_set_client")
            || token.is("@@session.character_set_client")
        {
            match tokens.next() {
                Some(Token::Symbol(b'=')) => tokens.next(),
                Some(Token::Symbol(b':')) => tokens.nth(1),
                _ => continue,
            }
        } else {
            continue;
        };
        return match value {
            Some(Token::Word(word)) if !word.starts_with(b"@") => Some(word),
            Some(Token::Text(text)) => Some(text),
            _ => Some(b""),
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn effects() {
        let on = |name: &str| Effect::Database(name.to_owned());
        let used = |name: &str| Effect::Use(name.to_owned());
        for (sql, expected) in [
            ("USE `shop`", used("shop")),
            ("use shop", used("shop")),
            ("/* x */ USE `a``b`", used("a`b")),
            ("CREATE DATABASE /*!32312 IF NOT EXISTS*/ `shop` /*!40100 DEFAULT CHARACTER SET utf8mb4 */", on("shop")),
            ("CREATE SCHEMA IF NOT EXISTS shop", on("shop")),
            ("CREATE OR REPLACE DATABASE x", on("x")),
            ("/*!40000 DROP DATABASE IF EXISTS `shop`*/", on("shop")),
            ("ALTER DATABASE `shop` CHARACTER SET latin1 COLLATE latin1_swedish_ci", on("shop")),
            ("/*!40101 SET NAMES utf8mb4 */", Effect::Set),
            ("SET @@SESSION.SQL_LOG_BIN= 0", Effect::Set),
            ("CREATE TABLE `database` (`use` int)", Effect::Other),
            ("INSERT INTO `use` VALUES ('USE x')", Effect::Other),
            ("-- USE x\n", Effect::Other),
            ("", Effect::Other),
        ] {
            assert_eq!(effect(sql.as_bytes()), expected, "{sql}");
        }
    }

    #[test]
    fn views() {
        for (sql, expected) in [
            ("CREATE ALGORITHM=UNDEFINED DEFINER=`view`@`%` SQL SECURITY DEFINER VIEW `v``1` AS select 1", Some("v`1")),
            ("create or replace view v as select 1", Some("v")),
            (
                "/*!50001 CREATE ALGORITHM=UNDEFINED */\n/*!50013 DEFINER=`root`@`localhost` */\n/*!50001 VIEW `漢` AS select 1 */",
                Some("漢"),
            ),
            ("CREATE TABLE t (a int)", None),
            ("SET x = 'VIEW y'", None),
        ] {
            assert_eq!(created_view(sql.as_bytes()).as_deref(), expected, "{sql}");
        }
    }

    #[test]
    fn triggers() {
        for (sql, expected) in [
            ("CREATE DEFINER=`r`@`%` TRIGGER `t` BEFORE INSERT ON `a``b` FOR EACH ROW SET @x = 1", Some("a`b")),
            ("create trigger d.t after update on d.orders for each row begin end", Some("orders")),
            ("CREATE TRIGGER `d`.`t` AFTER DELETE ON `d`.`orders` FOR EACH ROW BEGIN END", Some("orders")),
            ("CREATE TRIGGER `on` AFTER DELETE ON `d`.orders FOR EACH ROW BEGIN END", Some("orders")),
            ("CREATE TRIGGER `on` AFTER DELETE ON d.`orders` FOR EACH ROW BEGIN END", Some("orders")),
            (
                "/*!50003 CREATE*/ /*!50017 DEFINER=`r`@`%`*/ /*!50003 TRIGGER t BEFORE INSERT ON t FOR EACH ROW BEGIN END */",
                Some("t"),
            ),
            ("CREATE VIEW v AS SELECT 1", None),
            ("SET x = 'TRIGGER t BEFORE INSERT ON t'", None),
        ] {
            assert_eq!(trigger_table(sql.as_bytes()).as_deref(), expected, "{sql}");
        }
    }

    #[test]
    fn spans() {
        let sql = b"SELECT /* x */ `a``b`.c, 'it\\'s' ";
        let mut tokens = tokens(sql);
        let mut texts = Vec::new();
        while let Some((span, _)) = tokens.next_span() {
            texts.push(std::str::from_utf8(&sql[span]).unwrap());
        }
        assert_eq!(texts, ["SELECT", "`a``b`", ".c", ",", "'it\\'s'"]);
        let plain: Vec<Token<'_>> = super::tokens(b"'a\\' b").with_backslash(false).collect();
        assert_eq!(plain, [Token::Text(b"a\\"), Token::Word(b"b")]);
    }

    #[test]
    fn charsets() {
        for (sql, expected) in [
            ("SET NAMES gbk", Some("gbk")),
            ("/*!40101 SET NAMES 'utf8mb4' */", Some("utf8mb4")),
            ("/*!50003 SET character_set_client  = cp932 */", Some("cp932")),
            ("/*!50003 SET @saved_cs_client = @@character_set_client */", None),
            ("/*!50003 SET character_set_client  = @saved_cs_client */", Some("")),
            ("SET @@session.character_set_client=33", Some("33")),
            ("SET character_set_client := sjis", Some("sjis")),
            ("INSERT INTO t VALUES ('SET NAMES gbk')", None),
        ] {
            assert_eq!(sets_client_charset(sql.as_bytes()), expected.map(str::as_bytes), "{sql}");
        }
    }
}
