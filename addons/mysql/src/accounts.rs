//! Accounts: users and roles, how they log in, and what they may do.
//!
//! They go into one stream, [`crate::layout::USERS`]: first what makes the accounts, then their privileges, roles and default roles.
//! `read` asks the server for them, `script` writes them for stock `mysql`, `apply` brings the stream into a server.

pub(crate) mod apply;
pub(crate) mod read;
pub(crate) mod script;

use crate::layout::quote;
use crate::sql::{self, Token};

/// MariaDB's role that everybody has. It is there without being made.
const PUBLIC: &str = "PUBLIC";

/// A user or a role.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Account {
    /// The name; empty for users that need none.
    pub(crate) name: String,
    /// Where it may come from. MariaDB's roles have none.
    pub(crate) host: Option<String>,
}

impl Account {
    /// A user.
    pub(crate) fn user(name: impl Into<String>, host: impl Into<String>) -> Self {
        Self { name: name.into(), host: Some(host.into()) }
    }

    /// A role of MariaDB.
    pub(crate) fn role(name: impl Into<String>) -> Self {
        Self { name: name.into(), host: None }
    }

    /// As SQL has it.
    pub(crate) fn sql(&self) -> String {
        match &self.host {
            Some(host) => format!("{}@{}", quote(&self.name), quote(host)),
            None if self.name == PUBLIC => PUBLIC.to_owned(),
            None => quote(&self.name),
        }
    }

    /// Whether this is MariaDB's role of everybody.
    pub(crate) fn is_public(&self) -> bool {
        self.host.is_none() && self.name == PUBLIC
    }

    /// Whether the server made it for itself.
    pub(crate) fn is_servers_own(&self) -> bool {
        self.host.as_deref() == Some("localhost")
            && matches!(self.name.as_str(), "mysql.sys" | "mysql.session" | "mysql.infoschema" | "mariadb.sys")
    }
}

/// What a statement of the stream is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Statement {
    /// It makes the account, or completes it.
    Definition(Account),
    /// It gives the account something, or takes something away.
    Grant(Grant),
}

/// What a statement gives or takes away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Grant {
    /// The account.
    pub(crate) to: Account,
    /// The table, view or routine, if it is about one: (database, name).
    pub(crate) object: Option<Object>,
    /// The role, if it gives one that may be passed on.
    pub(crate) administered: Option<Account>,
}

/// A table, view or routine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Object {
    /// Whether it is a routine or package.
    pub(crate) routine: bool,
    /// Its database.
    pub(crate) database: String,
    /// Its name.
    pub(crate) name: String,
}

impl Statement {
    /// What `sql` is about; `None` if it is about no account. Names must be in backquotes.
    pub(crate) fn of(sql: &[u8]) -> Option<Self> {
        let mut tokens = sql::tokens(sql);
        let first = tokens.next()?;
        // Statements may be long; most are about something else.
        if !["create", "alter", "grant", "revoke", "set"].iter().any(|verb| first.is(verb)) {
            return None;
        }
        let tokens: Vec<Token<'_>> = tokens.collect();
        let rest = tokens.as_slice();
        if first.is("create") || first.is("alter") {
            let (kind, rest) = rest.split_first()?;
            if !kind.is("user") && !kind.is("role") {
                return None;
            }
            let noise = rest.iter().take_while(|word| ["if", "not", "exists"].iter().any(|noise| word.is(noise)));
            let (account, rest) = account(rest.get(noise.count()..)?)?;
            return Some(match rest {
                [default, role, ..] if first.is("alter") && default.is("default") && role.is("role") => {
                    Self::Grant(Grant { to: account, object: None, administered: None })
                }
                _ => Self::Definition(account),
            });
        }
        let default_role = first.is("set") && rest.first().is_some_and(|word| word.is("default"));
        if !(default_role || first.is("grant") || first.is("revoke")) {
            return None;
        }
        let preposition = rest.iter().rposition(|word| word.is("to") || word.is("from") || word.is("for"))?;
        let (what, to) = rest.split_at_checked(preposition)?;
        let (to, options) = account(to.split_first()?.1)?;
        let object = what.iter().position(|word| word.is("on")).and_then(|on| object(what.get(on..)?));
        let role = matches!(what.first(), Some(Token::Name(_))).then(|| account(what)).flatten().map(|(role, _)| role);
        let passed_on = options.iter().any(|word| word.is("admin"));
        Some(Self::Grant(Grant { to, object, administered: role.filter(|_| passed_on) }))
    }
}

/// The account that the tokens begin with, and what follows.
fn account<'a, 't>(tokens: &'a [Token<'t>]) -> Option<(Account, &'a [Token<'t>])> {
    let (first, rest) = tokens.split_first()?;
    let name = match first {
        Token::Name(_) => first.name()?,
        word if word.is(PUBLIC) => PUBLIC.to_owned(),
        _ => return None,
    };
    match rest {
        [at, host @ Token::Name(_), rest @ ..] if at.is("@") => Some((Account::user(name, host.name()?), rest)),
        rest => Some((Account::role(name), rest)),
    }
}

/// The object after `ON`.
fn object(tokens: &[Token<'_>]) -> Option<Object> {
    const ROUTINES: [&str; 4] = ["procedure", "function", "package", "body"];
    let routine = tokens.get(1).is_some_and(|word| ROUTINES.iter().any(|kind| word.is(kind)));
    let names = tokens.iter().skip(1).position(|token| matches!(token, Token::Name(_)))?;
    match tokens.get(names.saturating_add(1)..)? {
        [database @ Token::Name(_), dot, name @ Token::Name(_), ..] if dot.is(".") => {
            Some(Object { routine, database: database.name()?, name: name.name()? })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_statements_are_about() {
        let user = || Account::user("x'y\"z`w", "10.0.0.%");
        let grant = |to| Grant { to, object: None, administered: None };
        let on = |routine, name: &str| Some(Object { routine, database: "sh`op".into(), name: name.into() });
        for (sql, expected) in [
            ("CREATE USER `x'y\"z``w`@`10.0.0.%` IDENTIFIED WITH 'p' AS 0x24", Some(Statement::Definition(user()))),
            ("CREATE USER IF NOT EXISTS `x'y\"z``w`@`10.0.0.%`", Some(Statement::Definition(user()))),
            ("ALTER USER ``@`h` PASSWORD EXPIRE", Some(Statement::Definition(Account::user("", "h")))),
            ("CREATE ROLE `r1`", Some(Statement::Definition(Account::role("r1")))),
            ("ALTER USER `a`@`b` DEFAULT ROLE `r`@`%`", Some(Statement::Grant(grant(Account::user("a", "b"))))),
            ("SET DEFAULT ROLE `to` FOR `a`@`b`", Some(Statement::Grant(grant(Account::user("a", "b"))))),
            (
                "GRANT SELECT (`on`, `to`), UPDATE ON `sh``op`.`from` TO `r1` WITH GRANT OPTION",
                Some(Statement::Grant(Grant { object: on(false, "from"), ..grant(Account::role("r1")) })),
            ),
            ("GRANT SELECT ON `sh``op`.* TO PUBLIC", Some(Statement::Grant(grant(Account::role("PUBLIC"))))),
            ("GRANT SELECT ON *.* TO `a`@`b`", Some(Statement::Grant(grant(Account::user("a", "b"))))),
            ("REVOKE SELECT ON `x`.* FROM `a`@`b`", Some(Statement::Grant(grant(Account::user("a", "b"))))),
            ("GRANT PROXY ON `p`@`q` TO `a`@`b`", Some(Statement::Grant(grant(Account::user("a", "b"))))),
            (
                "GRANT EXECUTE ON PACKAGE BODY `sh``op`.`pk` TO `a`@`b`",
                Some(Statement::Grant(Grant { object: on(true, "pk"), ..grant(Account::user("a", "b")) })),
            ),
            (
                "GRANT `r``2`@`%` TO `a`@`b` WITH ADMIN OPTION",
                Some(Statement::Grant(Grant {
                    administered: Some(Account::user("r`2", "%")),
                    ..grant(Account::user("a", "b"))
                })),
            ),
            ("GRANT `r` TO `s`", Some(Statement::Grant(grant(Account::role("s"))))),
            ("SET SESSION sql_mode = 'ORACLE'", None),
            ("CREATE TABLE `user` (a INT)", None),
            ("", None),
        ] {
            assert_eq!(Statement::of(sql.as_bytes()), expected, "{sql}");
        }
    }

    #[test]
    fn accounts_as_sql() {
        assert_eq!(Account::user("a`b", "%").sql(), "`a``b`@`%`");
        assert_eq!(Account::role("r").sql(), "`r`");
        assert_eq!(Account::role("PUBLIC").sql(), "PUBLIC");
        assert!(Account::user("mysql.sys", "localhost").is_servers_own());
        assert!(!Account::user("mysql.sys", "%").is_servers_own());
    }
}
