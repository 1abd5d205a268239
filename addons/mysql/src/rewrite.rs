//! Statements that are executed otherwise than they were written: without their `DEFINER`, or for a database of another name. Pure.

use std::borrow::Cow;
use std::ops::Range;

use crate::layout::quote;
use crate::sql::{self, Token};

/// How the text of a statement is to be read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading {
    /// Whether a backslash in a string escapes what follows it.
    pub(crate) backslash: bool,
    /// Whether the second byte of a character may look like a quote.
    pub(crate) wide: bool,
}

impl Default for Reading {
    fn default() -> Self {
        Self { backslash: true, wide: false }
    }
}

/// The statement without the `DEFINER` clause of what it creates, which then belongs to the user who executes it.
pub(crate) fn without_definer(statement: &[u8], reading: Reading) -> Cow<'_, [u8]> {
    match definer(statement, reading) {
        Some(clause) => splice(statement, &[(clause, Vec::new())]),
        None => Cow::Borrowed(statement),
    }
}

/// Where the `DEFINER` clause stands: in front of the word that says what is created.
fn definer(statement: &[u8], reading: Reading) -> Option<Range<usize>> {
    const OBJECTS: [&str; 8] = ["view", "procedure", "function", "trigger", "event", "table", "database", "package"];
    let mut tokens = sql::tokens(statement).with_backslash(reading.backslash);
    let (_, first) = tokens.next_span()?;
    if !first.is("create") && !first.is("alter") {
        return None;
    }
    loop {
        let (start, token) = tokens.next_span()?;
        if OBJECTS.iter().any(|object| token.is(object)) {
            return None;
        }
        if !token.is("definer") {
            continue;
        }
        let (_, equals) = tokens.next_span()?;
        if equals != Token::Symbol(b'=') {
            return None;
        }
        // `user`@`host`, user@host, user@'host', CURRENT_USER, CURRENT_USER(), a role's name.
        let (mut end, mut user) = tokens.next_span()?;
        loop {
            let mut ahead = tokens.clone();
            let Some((span, next)) = ahead.next_span() else { break };
            let open_end = matches!(user, Token::Word([.., b'@']));
            let belongs = match &next {
                Token::Word([b'@', ..]) | Token::Symbol(b'(' | b')') => true,
                _ => open_end,
            };
            if !belongs {
                break;
            }
            (end, user) = (span, next);
            tokens = ahead;
        }
        return Some(start.start..end.end);
    }
}

/// Databases and the names that they get.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Renames(pub(crate) Vec<(String, String)>);

impl Renames {
    /// The name that a database gets.
    pub(crate) fn target<'a>(&'a self, database: &'a str) -> &'a str {
        self.0.iter().find(|(old, _)| old == database).map_or(database, |(_, new)| new)
    }

    /// The statement with the databases' new names.
    ///
    /// # Errors
    /// When it cannot be told what a name means. The error says why, for a message that names the object.
    pub(crate) fn apply<'a>(&self, statement: &'a [u8], reading: Reading) -> Result<Cow<'a, [u8]>, String> {
        let mut edits = Vec::new();
        for (old, new) in &self.0 {
            if memchr::memmem::find(statement, old.as_bytes()).is_none() {
                continue;
            }
            if reading.wide {
                return Err(format!("its text is in a character set in which {old:?} cannot be looked for safely"));
            }
            // Rows hold no names, and there may be many of them.
            let text = statement.get(..rows_begin(statement, reading)).unwrap_or(statement);
            edits.extend(edits_of(text, old, new, reading)?);
        }
        edits.sort_by_key(|(span, _)| span.start);
        Ok(splice(statement, &edits))
    }
}

/// Where the rows of an `INSERT` begin; the end of any other statement.
fn rows_begin(statement: &[u8], reading: Reading) -> usize {
    let mut tokens = sql::tokens(statement).with_backslash(reading.backslash);
    if !tokens.next().is_some_and(|first| first.is("insert") || first.is("replace")) {
        return statement.len();
    }
    while let Some((span, token)) = tokens.next_span() {
        if token.is("values") || token.is("value") {
            return span.start;
        }
    }
    statement.len()
}

/// A token that names something, and what stands around it.
struct Named<'a> {
    span: Range<usize>,
    token: Token<'a>,
}

/// What stands at a place from now on.
type Edit = (Range<usize>, Vec<u8>);

fn edits_of(statement: &[u8], old: &str, new: &str, reading: Reading) -> Result<Vec<Edit>, String> {
    let mut tokens = sql::tokens(statement).with_backslash(reading.backslash);
    let mut all = Vec::new();
    while let Some((span, token)) = tokens.next_span() {
        all.push(Named { span, token });
    }
    let is_dynamic = all.iter().any(|named| named.token.is("prepare") || named.token.is("immediate"));
    let (mut edits, mut unsure, mut other) = (Vec::new(), false, false);
    for (index, named) in all.iter().enumerate() {
        match &named.token {
            Token::Text(text) => {
                let quoted = statement.get(named.span.start) == Some(&b'"') && *text == old.as_bytes();
                if quoted && follows(&all, index).starts_with(b".") {
                    return Err(format!("it writes {old:?} between double quotes, which may be a name or a text"));
                }
                if is_dynamic && memchr::memmem::find(text, old.as_bytes()).is_some() {
                    return Err(format!("it executes text as SQL, and a text in it has {old:?} inside"));
                }
            }
            Token::Name(name) if name.as_ref() == old.as_bytes() => {
                let before = precedes(&all, index);
                if before.ends_with(b".") {
                    other = true;
                } else if follows(&all, index).starts_with(b".") {
                    let sure = is_surely_a_database(&all, index);
                    unsure |= !sure;
                    edits.push((named.span.clone(), quote(new).into_bytes(), sure));
                } else if names_a_database(&all, index) {
                    edits.push((named.span.clone(), quote(new).into_bytes(), true));
                } else if !follows(&all, index).starts_with(b"@") {
                    other = true;
                }
            }
            Token::Word(word) => {
                let (first, rest) = match word.iter().position(|byte| *byte == b'.') {
                    Some(dot) => word.split_at_checked(dot).unwrap_or((word, &[])),
                    None => (*word, &[][..]),
                };
                let qualifies = first == old.as_bytes() && !precedes(&all, index).ends_with(b".");
                if qualifies && (!rest.is_empty() || follows(&all, index).starts_with(b".")) {
                    let sure = is_surely_a_database(&all, index);
                    unsure |= !sure;
                    let mut text = quote(new).into_bytes();
                    text.extend_from_slice(rest);
                    edits.push((named.span.clone(), text, sure));
                } else if qualifies && names_a_database(&all, index) {
                    edits.push((named.span.clone(), quote(new).into_bytes(), true));
                } else if word.split(|byte| *byte == b'.').any(|part| part == old.as_bytes()) {
                    other = true;
                }
            }
            Token::Name(_) | Token::Symbol(_) => {}
        }
    }
    // Servers print the tables of a view behind words and parentheses: what stands elsewhere belongs to an alias.
    if unsure && other && !edits.iter().any(|(_, _, sure)| *sure) && sql::created_view(statement).is_some() {
        return Ok(Vec::new());
    }
    if unsure && other {
        return Err(format!("in it {old:?} is not only the database but also the name of something else"));
    }
    Ok(edits.into_iter().map(|(span, text, _)| (span, text)).collect())
}

/// The word behind a token; empty if it is none.
fn follows<'a>(all: &'a [Named<'_>], index: usize) -> &'a [u8] {
    word(all.get(index.saturating_add(1)))
}

/// The word in front of a token; empty if it is none.
fn precedes<'a>(all: &'a [Named<'_>], index: usize) -> &'a [u8] {
    word(index.checked_sub(1).and_then(|index| all.get(index)))
}

fn word<'a>(named: Option<&'a Named<'_>>) -> &'a [u8] {
    match named.map(|named| &named.token) {
        Some(Token::Word(word)) => word,
        _ => &[],
    }
}

/// Whether a name in front of a dot cannot be that of a table or an alias: it comes behind a word that tables come behind, or has
/// two more names behind it.
fn is_surely_a_database(all: &[Named<'_>], index: usize) -> bool {
    const BEFORE: [&str; 14] = [
        "from",
        "join",
        "straight_join",
        "into",
        "update",
        "table",
        "references",
        "call",
        "view",
        "procedure",
        "function",
        "trigger",
        "event",
        "exists",
    ];
    let front = all.get(..index).unwrap_or_default();
    let before = front.iter().rev().find(|named| named.token != Token::Symbol(b'('));
    if before.is_some_and(|named| BEFORE.iter().any(|word| named.token.is(word))) {
        return true;
    }
    // `a`.`b`.`c`, a.b.c, and what lies between; and `a`.`b`(, which calls.
    let mut dots = 0;
    let mut last_was_name = false;
    for named in all.get(index..).unwrap_or_default() {
        match &named.token {
            Token::Name(_) if !last_was_name => last_was_name = true,
            Token::Word(word) if word.contains(&b'.') || !last_was_name => {
                dots += memchr::memchr_iter(b'.', word).count();
                last_was_name = !word.ends_with(b".");
            }
            Token::Symbol(b'(') => return dots > 0,
            _ => break,
        }
    }
    dots > 1
}

/// Whether the statement is `USE`, or about the database itself.
fn names_a_database(all: &[Named<'_>], index: usize) -> bool {
    const HEADS: [&str; 5] = ["use", "create", "alter", "drop", "show"];
    const BETWEEN: [&str; 8] = ["use", "database", "schema", "if", "not", "exists", "or", "replace"];
    let Some((head, between)) = all.get(..index).and_then(<[Named<'_>]>::split_first) else { return false };
    let database =
        head.token.is("use") || between.iter().any(|named| named.token.is("database") || named.token.is("schema"));
    database
        && HEADS.iter().any(|word| head.token.is(word))
        && between.iter().all(|named| BETWEEN.iter().any(|word| named.token.is(word)))
}

/// The text with other text in these places, which are in order.
fn splice<'a>(text: &'a [u8], edits: &[(Range<usize>, Vec<u8>)]) -> Cow<'a, [u8]> {
    if edits.is_empty() {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len());
    let mut from = 0;
    for (span, new) in edits {
        out.extend_from_slice(text.get(from..span.start).unwrap_or_default());
        out.extend_from_slice(new);
        from = span.end;
    }
    out.extend_from_slice(text.get(from..).unwrap_or_default());
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definers_go() {
        for (statement, expected) in [
            ("CREATE DEFINER=`a b`@`%` PROCEDURE `p`() SELECT 1", "CREATE  PROCEDURE `p`() SELECT 1"),
            (
                "CREATE ALGORITHM=UNDEFINED DEFINER=`a`@`%` SQL SECURITY DEFINER VIEW `v` AS select 1 AS `definer`",
                "CREATE ALGORITHM=UNDEFINED  SQL SECURITY DEFINER VIEW `v` AS select 1 AS `definer`",
            ),
            (
                "create definer = root@localhost trigger t before insert on t for each row begin end",
                "create  trigger t before insert on t for each row begin end",
            ),
            (
                "CREATE DEFINER = root@'local host' EVENT e ON SCHEDULE EVERY 1 DAY DO SELECT 1",
                "CREATE  EVENT e ON SCHEDULE EVERY 1 DAY DO SELECT 1",
            ),
            (
                "CREATE DEFINER=CURRENT_USER() FUNCTION f() RETURNS INT RETURN 1",
                "CREATE  FUNCTION f() RETURNS INT RETURN 1",
            ),
            ("CREATE DEFINER=`role` PROCEDURE p() SELECT 1", "CREATE  PROCEDURE p() SELECT 1"),
            (
                "/*!50001 CREATE ALGORITHM=UNDEFINED */\n/*!50013 DEFINER=`root`@`localhost` SQL SECURITY DEFINER */\n/*!50001 VIEW `v` AS select 1 */",
                "/*!50001 CREATE ALGORITHM=UNDEFINED */\n/*!50013  SQL SECURITY DEFINER */\n/*!50001 VIEW `v` AS select 1 */",
            ),
            ("CREATE TABLE `definer` (a INT)", "CREATE TABLE `definer` (a INT)"),
            ("CREATE PROCEDURE p() SELECT 'DEFINER=`a`@`b`'", "CREATE PROCEDURE p() SELECT 'DEFINER=`a`@`b`'"),
            ("INSERT INTO t VALUES ('DEFINER=x')", "INSERT INTO t VALUES ('DEFINER=x')"),
            ("CREATE DEFINER=", "CREATE DEFINER="),
        ] {
            let found = without_definer(statement.as_bytes(), Reading::default());
            assert_eq!(String::from_utf8_lossy(&found), expected);
        }
    }

    fn renamed(statement: &str) -> Result<String, String> {
        let renames = Renames(vec![("shop".into(), "ne`w".into()), ("other db".into(), "shop2".into())]);
        let renamed = renames.apply(statement.as_bytes(), Reading::default())?;
        Ok(String::from_utf8(renamed.into_owned()).unwrap())
    }

    #[test]
    fn databases_get_their_new_names() {
        for (statement, expected) in [
            ("USE `shop`", "USE `ne``w`"),
            ("use shop", "use `ne``w`"),
            (
                "CREATE DATABASE /*!32312 IF NOT EXISTS*/ `shop` /*!40100 DEFAULT CHARACTER SET utf8mb4 */",
                "CREATE DATABASE /*!32312 IF NOT EXISTS*/ `ne``w` /*!40100 DEFAULT CHARACTER SET utf8mb4 */",
            ),
            (
                "ALTER DATABASE `shop` CHARACTER SET latin1 COLLATE latin1_bin",
                "ALTER DATABASE `ne``w` CHARACTER SET latin1 COLLATE latin1_bin",
            ),
            (
                "CREATE TABLE `t` (`shop` int, CONSTRAINT `f` FOREIGN KEY (`shop`) REFERENCES `shop`.`p` (`shop`)) COMMENT='shop.p'",
                "CREATE TABLE `t` (`shop` int, CONSTRAINT `f` FOREIGN KEY (`shop`) REFERENCES `ne``w`.`p` (`shop`)) COMMENT='shop.p'",
            ),
            (
                "CREATE TABLE `t` (`a` int DEFAULT nextval(`shop`.`s`))",
                "CREATE TABLE `t` (`a` int DEFAULT nextval(`ne``w`.`s`))",
            ),
            (
                "CREATE DEFINER=`shop`@`%` VIEW `v` AS select `shop`.`a`.`x` AS `shop`,`other db`.`f`(1) AS `y` from (`shop`.`a` join `other db`.`b`)",
                "CREATE DEFINER=`shop`@`%` VIEW `v` AS select `ne``w`.`a`.`x` AS `shop`,`shop2`.`f`(1) AS `y` from (`ne``w`.`a` join `shop2`.`b`)",
            ),
            (
                "CREATE PROCEDURE p() BEGIN INSERT INTO shop.a SELECT a.x FROM shop . a, `shop`.b; CALL shop.`q`(); END",
                "CREATE PROCEDURE p() BEGIN INSERT INTO `ne``w`.a SELECT a.x FROM `ne``w` . a, `ne``w`.b; CALL `ne``w`.`q`(); END",
            ),
            (
                "CREATE PROCEDURE p() SELECT 'see shop.example' -- shop.a\n",
                "CREATE PROCEDURE p() SELECT 'see shop.example' -- shop.a\n",
            ),
            (
                "INSERT INTO `shop`.`t` (`shop`) VALUES ('shop.', shop.x)",
                "INSERT INTO `ne``w`.`t` (`shop`) VALUES ('shop.', shop.x)",
            ),
            ("CREATE TABLE `shop` (`shop` int)", "CREATE TABLE `shop` (`shop` int)"),
            (
                "CREATE VIEW `v` AS select `shop`.`x` AS `x` from `shop`",
                "CREATE VIEW `v` AS select `shop`.`x` AS `x` from `shop`",
            ),
            (
                "CREATE VIEW `v` AS select workshop.a, t.shop from t",
                "CREATE VIEW `v` AS select workshop.a, t.shop from t",
            ),
        ] {
            assert_eq!(renamed(statement).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn what_may_mean_something_else_is_refused() {
        for (statement, reason) in [
            (
                "CREATE VIEW `v` AS select `shop`.`x` AS `x` from (`shop`.`t` `shop` join `shop`.`u`)",
                "name of something else",
            ),
            ("CREATE PROCEDURE p() SELECT shop.x FROM a shop", "name of something else"),
            (
                "CREATE PROCEDURE p() BEGIN PREPARE s FROM 'SELECT * FROM shop.a'; EXECUTE s; END",
                "executes text as SQL",
            ),
            ("CREATE PROCEDURE p() EXECUTE IMMEDIATE CONCAT('SELECT * FROM ', 'shop', '.a')", "executes text as SQL"),
            ("CREATE PROCEDURE p() SELECT * FROM \"shop\".a", "double quotes"),
        ] {
            let error = renamed(statement).expect_err(statement);
            assert!(error.contains(reason), "{statement}: {error}");
        }
        let wide = Reading { wide: true, ..Reading::default() };
        let renames = Renames(vec![("shop".into(), "new".into())]);
        assert!(renames.apply(b"CREATE PROCEDURE p() SELECT * FROM shop.a", wide).is_err());
        assert!(renames.apply(b"CREATE PROCEDURE p() SELECT 1", wide).is_ok());
        let plain = Reading { backslash: false, ..Reading::default() };
        assert_eq!(
            renames.apply(b"CREATE PROCEDURE p() SELECT '\\', x FROM shop.a", plain).unwrap().as_ref(),
            b"CREATE PROCEDURE p() SELECT '\\', x FROM `new`.a"
        );
    }
}
