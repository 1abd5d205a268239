//! What the server says of its accounts, in one form whatever its version.

use std::collections::BTreeSet;

use coffer_addon_sdk::{Error, Result};

use super::Account;
use crate::failure::{Failure, Outcome};
use crate::params::AccountChoice;
use crate::session::{Session, literal};

/// An account, and what its own statements do not say, or not well.
#[derive(Debug, Clone)]
pub(crate) struct Listed {
    /// The account.
    pub(crate) account: Account,
    /// Whether it may pass on its privileges everywhere.
    grant_option: bool,
    /// MariaDB's default role.
    default_role: String,
    /// Whether an earlier password is still good beside the current one; there is no statement for that.
    pub(crate) second_password: bool,
    /// What certificates must say, by the word for it: the server writes it without escaping it.
    certificate: [(&'static str, String); 3],
}

/// The accounts that are chosen, by name; without the server's own.
pub(crate) fn list(session: &mut Session, choice: &AccountChoice) -> Result<Vec<Listed>> {
    let mariadb = session.server().is_mariadb();
    let more = if mariadb {
        "is_role = 'Y', default_role"
    } else if session.server().is_mysql(8, 0, 14) {
        "0, COALESCE(JSON_CONTAINS_PATH(User_attributes, 'one', '$.additional_password'), 0)"
    } else {
        "0, 0"
    };
    let rows = session
        .text(format!(
            "SELECT User, Host, Grant_priv = 'Y', x509_subject, x509_issuer, ssl_cipher, {more} FROM mysql.user"
        ))
        .map_err(denied)?;
    let mut accounts = Vec::with_capacity(rows.len());
    for row in rows {
        let [name, host, grant, subject, issuer, cipher, role, more] = row.as_slice() else { continue };
        let account = if role == "1" { Account::role(name) } else { Account::user(name, host) };
        if account.is_servers_own() || !choice.wants(&account) {
            continue;
        }
        accounts.push(Listed {
            account,
            grant_option: grant == "1",
            default_role: if mariadb { more.clone() } else { String::new() },
            second_password: !mariadb && more == "1",
            certificate: [("SUBJECT", subject.clone()), ("ISSUER", issuer.clone()), ("CIPHER", cipher.clone())],
        });
    }
    if let Some(missing) = choice.included.iter().find(|name| !accounts.iter().any(|listed| listed.account == **name)) {
        return Err(Error::invalid(format!("there is no account {}; check --include-user in `args`", missing.sql())));
    }
    if session.server().is_mysql(8, 0, 17) {
        // Otherwise the bytes of a salt would be text.
        session.execute("SET SESSION print_identified_with_as_hex = 1")?;
    }
    accounts.sort_by(|a, b| a.account.cmp(&b.account));
    Ok(accounts)
}

/// The statements that make the account; `None` if the server does not show it: it may have been dropped, or, as it has a host name, be
/// none for a server that looks up no names.
pub(crate) fn definition(session: &mut Session, listed: &Listed) -> Result<Option<Vec<String>>> {
    let account = &listed.account;
    if account.is_public() {
        return Ok(Some(Vec::new()));
    }
    if account.host.is_none() {
        return Ok(Some(vec![format!("CREATE ROLE {}", account.sql())]));
    }
    let Some(rows) = shown(session.text(format!("SHOW CREATE USER {}", account.sql())))? else { return Ok(None) };
    let statement = |text: &String| -> Result<String> {
        let (verb, rest) = ["CREATE USER ", "ALTER USER "]
            .into_iter()
            .find_map(|verb| Some((verb, without_name(text.strip_prefix(verb)?, account)?)))
            .ok_or_else(|| unknown_form(account))?;
        if rest.contains("'<secret>'") {
            return Err(Error::denied(format!(
                "the server keeps the password of {} to itself: `GRANT SELECT ON mysql.* TO` the user of the backup",
                account.sql()
            )));
        }
        let mut rest = without_default_role(rest);
        for (word, value) in listed.certificate.iter().filter(|(_, value)| value.contains(['\'', '\\'])) {
            rest = rest.replacen(&format!(" {word} '{value}'"), &format!(" {word} {}", literal(value)), 1);
        }
        Ok(format!("{verb}{}{rest}", account.sql()))
    };
    rows.iter().filter_map(|row| row.first()).map(statement).collect::<Result<_>>().map(Some)
}

/// The statements that give the account what it has. `None`: see [`definition`].
pub(crate) fn grants(session: &mut Session, listed: &Listed) -> Result<Option<Vec<String>>> {
    let Some(rows) = shown(session.text(format!("SHOW GRANTS FOR {}", listed.account.sql())))? else { return Ok(None) };
    let mut grants = Vec::new();
    for line in rows.iter().filter_map(|row| row.first()) {
        if let Some(statement) = privilege(line, listed)? {
            grants.push(statement);
        }
    }
    grants.extend(proxies(session, &listed.account)?);
    if session.server().is_mariadb() {
        grants.extend(roles_of_mariadb(session, listed)?);
    } else if session.server().is_mysql(8, 0, 0) {
        grants.extend(roles_of_mysql(session, &listed.account)?);
    }
    Ok(Some(grants))
}

/// A line of `SHOW GRANTS` as a statement; `None` if it is about roles or proxies, which are read elsewhere, about another account, or says
/// nothing.
fn privilege(line: &str, listed: &Listed) -> Result<Option<String>> {
    let account = &listed.account;
    if line.starts_with("GRANT PROXY ") || line.starts_with("GRANT `") || line.starts_with("SET DEFAULT ROLE ") {
        return Ok(None);
    }
    // MariaDB also lists what the roles of a role may do.
    let Some((what, rest)) = [" TO ", " FROM "].iter().find_map(|word| split_at_name(line, word, account)) else {
        return if account.host.is_none() { Ok(None) } else { Err(unknown_form(account)) };
    };
    let everywhere = what.contains(" ON *.* ");
    let option = match rest {
        "" => false,
        " WITH GRANT OPTION" => true,
        // How to log in, once more.
        _ if everywhere => listed.grant_option,
        _ => return Err(unknown_form(account)),
    };
    if !option && what.starts_with("GRANT USAGE ON *.* ") {
        return Ok(None);
    }
    Ok(Some(format!("{what}{}{}", account.sql(), if option { " WITH GRANT OPTION" } else { "" })))
}

fn proxies(session: &mut Session, account: &Account) -> Result<Vec<String>> {
    let Some(host) = &account.host else { return Ok(Vec::new()) };
    let rows = session
        .text(format!(
            "SELECT Proxied_user, Proxied_host, With_grant FROM mysql.proxies_priv WHERE User = {} AND Host = {}",
            literal(&account.name),
            literal(host)
        ))
        .map_err(denied)?;
    let statement = |row: &[String]| match row {
        [user, host, option] => Some(format!(
            "GRANT PROXY ON {} TO {}{}",
            Account::user(user, host).sql(),
            account.sql(),
            if option == "1" { " WITH GRANT OPTION" } else { "" }
        )),
        _ => None,
    };
    Ok(sorted(rows.iter().filter_map(|row| statement(row))))
}

fn roles_of_mysql(session: &mut Session, account: &Account) -> Result<Vec<String>> {
    let of = |prefix: &str| {
        let host = account.host.as_deref().unwrap_or_default();
        format!("{prefix}USER = {} AND {prefix}HOST = {}", literal(&account.name), literal(host))
    };
    let edges = session
        .text(format!("SELECT FROM_USER, FROM_HOST, WITH_ADMIN_OPTION FROM mysql.role_edges WHERE {}", of("TO_")))
        .map_err(denied)?;
    let edge = |row: &Vec<String>| match row.as_slice() {
        [user, host, admin] => Some(role_grant(&Account::user(user, host), account, admin == "Y")),
        _ => None,
    };
    let mut grants = sorted(edges.iter().filter_map(edge));
    let defaults = session
        .text(format!("SELECT DEFAULT_ROLE_USER, DEFAULT_ROLE_HOST FROM mysql.default_roles WHERE {}", of("")))
        .map_err(denied)?;
    let names = sorted(defaults.iter().filter_map(|row| match row.as_slice() {
        [user, host] => Some(Account::user(user, host).sql()),
        _ => None,
    }));
    if !names.is_empty() {
        grants.push(format!("ALTER USER {} DEFAULT ROLE {}", account.sql(), names.join(", ")));
    }
    Ok(grants)
}

fn roles_of_mariadb(session: &mut Session, listed: &Listed) -> Result<Vec<String>> {
    let account = &listed.account;
    let rows = session
        .text(format!(
            "SELECT Role, Admin_option FROM mysql.roles_mapping WHERE User = {} AND Host = {}",
            literal(&account.name),
            literal(account.host.as_deref().unwrap_or_default())
        ))
        .map_err(denied)?;
    let edge = |row: &Vec<String>| match row.as_slice() {
        [role, admin] => Some(role_grant(&Account::role(role), account, admin == "Y")),
        _ => None,
    };
    let mut grants = sorted(rows.iter().filter_map(edge));
    if !listed.default_role.is_empty() {
        grants.push(format!("SET DEFAULT ROLE {} FOR {}", Account::role(&listed.default_role).sql(), account.sql()));
    }
    Ok(grants)
}

fn role_grant(role: &Account, to: &Account, admin: bool) -> String {
    format!("GRANT {} TO {}{}", role.sql(), to.sql(), if admin { " WITH ADMIN OPTION" } else { "" })
}

fn sorted(statements: impl Iterator<Item = String>) -> Vec<String> {
    statements.collect::<BTreeSet<_>>().into_iter().collect()
}

/// What is shown of an account; `None` if the server does not know it.
fn shown(outcome: Outcome<Vec<Vec<String>>>) -> Result<Option<Vec<Vec<String>>>> {
    match outcome {
        Ok(rows) => Ok(Some(rows)),
        Err(failure) if matches!(failure.code(), Some(1133 | 1141 | 1269 | 1396 | 3162)) => Ok(None),
        Err(failure) => Err(denied(failure)),
    }
}

fn denied(failure: Failure) -> Error {
    if !failure.is_denied() {
        return failure.into();
    }
    Error::denied(format!(
        "accounts can be backed up only by a user that may read the tables that they are kept in: `GRANT SELECT ON mysql.* TO` the user \
         of the backup, or leave `users` out ({failure})"
    ))
}

fn unknown_form(account: &Account) -> Error {
    Error::unsupported(format!(
        "the server describes the account {} in a form that this addon does not know",
        account.sql()
    ))
}

/// The account as servers write it: backquotes since MySQL 8.0 and MariaDB 10.4, other quotes before.
fn names(account: &Account) -> [String; 2] {
    let old = account.host.as_ref().map(|host| format!("'{}'@'{host}'", account.name));
    [account.sql(), old.unwrap_or_default()]
}

fn without_name<'a>(text: &'a str, account: &Account) -> Option<&'a str> {
    names(account).iter().filter(|name| !name.is_empty()).find_map(|name| text.strip_prefix(name.as_str()))
}

/// What stands before and behind the account's name, the word before it included.
fn split_at_name<'a>(line: &'a str, word: &str, account: &Account) -> Option<(&'a str, &'a str)> {
    names(account).iter().filter(|name| !name.is_empty()).find_map(|name| {
        let at = line.find(&format!("{word}{name}"))?.checked_add(word.len())?;
        Some((line.get(..at)?, line.get(at.checked_add(name.len())?..)?))
    })
}

/// Default roles can only be given once roles are; the clause comes before `REQUIRE`.
fn without_default_role(text: &str) -> String {
    const CLAUSE: &str = " DEFAULT ROLE `";
    const NEXT: &str = " REQUIRE ";
    let mut quote = None;
    let mut escaped = false;
    for (at, character) in text.char_indices() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some('\'') if character == '\\' => escaped = true,
            Some(open) if character == open => quote = None,
            Some(_) => {}
            None if character == '\'' || character == '`' => quote = Some(character),
            None => {
                let Some(rest) = text.get(at..) else { break };
                if rest.starts_with(NEXT) {
                    break;
                }
                if rest.starts_with(CLAUSE)
                    && let (Some(head), Some(end)) = (text.get(..at), end_of_names(rest))
                {
                    return format!("{head}{}", rest.get(end..).unwrap_or_default());
                }
            }
        }
    }
    text.to_owned()
}

/// Where ` REQUIRE` begins, outside of backquotes.
fn end_of_names(text: &str) -> Option<usize> {
    let mut quoted = false;
    text.char_indices().find_map(|(at, character)| {
        quoted ^= character == '`';
        (!quoted && text.get(at..)?.starts_with(" REQUIRE ")).then_some(at)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(account: Account) -> Listed {
        let certificate = [("SUBJECT", String::new()), ("ISSUER", String::new()), ("CIPHER", String::new())];
        Listed { account, grant_option: true, default_role: String::new(), second_password: false, certificate }
    }

    #[test]
    fn default_roles_are_taken_out() {
        for (text, expected) in [
            (
                " IDENTIFIED WITH 'p' AS 0x24 DEFAULT ROLE `a`@`%`,`b REQUIRE `@`h` REQUIRE NONE X",
                " IDENTIFIED WITH 'p' AS 0x24 REQUIRE NONE X",
            ),
            (
                " IDENTIFIED WITH 'p' AS '\\' DEFAULT ROLE `a` REQUIRE ' REQUIRE NONE",
                " IDENTIFIED WITH 'p' AS '\\' DEFAULT ROLE `a` REQUIRE ' REQUIRE NONE",
            ),
            (" REQUIRE SUBJECT ' DEFAULT ROLE `x`'", " REQUIRE SUBJECT ' DEFAULT ROLE `x`'"),
        ] {
            assert_eq!(without_default_role(text), expected);
        }
    }

    #[test]
    fn lines_of_show_grants() {
        let user = listed(Account::user("u", "h"));
        for (line, expected) in [
            ("GRANT SELECT ON *.* TO `u`@`h`", Some("GRANT SELECT ON *.* TO `u`@`h`")),
            (
                "GRANT SELECT ON *.* TO 'u'@'h' WITH GRANT OPTION",
                Some("GRANT SELECT ON *.* TO `u`@`h` WITH GRANT OPTION"),
            ),
            (
                "GRANT SELECT ON *.* TO `u`@`h` IDENTIFIED BY PASSWORD '*AB' REQUIRE SUBJECT 'o'x' WITH GRANT OPTION",
                Some("GRANT SELECT ON *.* TO `u`@`h` WITH GRANT OPTION"),
            ),
            ("GRANT USAGE ON *.* TO `u`@`h`", None),
            (
                "GRANT USAGE ON *.* TO `u`@`h` WITH GRANT OPTION",
                Some("GRANT USAGE ON *.* TO `u`@`h` WITH GRANT OPTION"),
            ),
            ("REVOKE SELECT ON `d`.* FROM `u`@`h`", Some("REVOKE SELECT ON `d`.* FROM `u`@`h`")),
            ("GRANT `r` TO `u`@`h`", None),
            ("GRANT PROXY ON ''@'' TO 'u'@'h'", None),
            ("SET DEFAULT ROLE `r` FOR `u`@`h`", None),
        ] {
            assert_eq!(privilege(line, &user).unwrap().as_deref(), expected, "{line}");
        }
        assert!(privilege("GRANT SELECT ON `d`.* TO `u`@`h` AND MORE", &user).is_err());
        assert!(privilege("GRANT SELECT ON `d`.* TO `other`@`h`", &user).is_err());
        assert_eq!(privilege("GRANT SELECT ON `d`.* TO `other`", &listed(Account::role("r"))), Ok(None));
    }
}
