//! What the server may hide from the user of the backup. It does not refuse to list objects that the user has no privilege for; it
//! leaves them out, and a backup without them would look like one of a database that has none.

use std::collections::BTreeSet;

use coffer_addon_sdk::Result;

use crate::catalog::Database;
use crate::ddl::identifier;
use crate::params::BackupParams;
use crate::session::{Session, literal};

/// What of these databases cannot be seen, or not for sure: `triggers of shop`. Nothing is said of a user with active roles, whose
/// privileges the server does not list.
pub(crate) fn hidden(session: &mut Session, params: &BackupParams, databases: &[Database]) -> Result<Vec<String>> {
    let Some(user) = session.value("SELECT CURRENT_USER()")? else { return Ok(Vec::new()) };
    if has_roles(session)? {
        return Ok(Vec::new());
    }
    let Some((name, host)) = user.rsplit_once('@') else { return Ok(Vec::new()) };
    let grantee = literal(&format!("'{name}'@'{host}'"));
    let everywhere = privileges(session, &format!("USER_PRIVILEGES WHERE GRANTEE = {grantee}"))?;
    let revoked = revocations(session)?;
    let mut hidden = Vec::new();
    for database in databases {
        let of_database = format!(
            "SCHEMA_PRIVILEGES WHERE GRANTEE = {grantee} AND {} LIKE CONVERT(TABLE_SCHEMA USING utf8mb4) COLLATE utf8mb4_bin",
            literal(&database.name)
        );
        let here = privileges(session, &of_database)?;
        let taken = |privilege: &str| {
            revoked.iter().any(|(place, privileges)| *place == database.name && privileges.contains(privilege))
        };
        let on_tables = on_tables(session, &grantee, &database.name, &params.selection.tables)?;
        let has = |privilege: &str| {
            (everywhere.contains(privilege) && !taken(privilege))
                || here.contains(privilege)
                || on_tables.contains(privilege)
        };
        let mut hides = |what: &str| hidden.push(format!("{what} of {}", database.name));
        if !has("SELECT") {
            hides("tables");
        }
        if params.triggers && !has("TRIGGER") {
            hides("triggers");
        }
        if params.selection.whole_databases() {
            if params.events && !has("EVENT") {
                hides("events");
            }
            let sees_routines = (everywhere.contains("SELECT") && !taken("SELECT"))
                || ["SHOW_ROUTINE", "SHOW CREATE ROUTINE", "EXECUTE", "CREATE ROUTINE", "ALTER ROUTINE"]
                    .into_iter()
                    .any(has);
            if params.routines && !sees_routines {
                hides("routines");
            }
        }
    }
    Ok(hidden)
}

/// What the user may do with every one of these tables.
fn on_tables(session: &mut Session, grantee: &str, database: &str, tables: &[String]) -> Result<BTreeSet<String>> {
    let mut common: Option<BTreeSet<String>> = None;
    for table in tables {
        let of_table = format!(
            "TABLE_PRIVILEGES WHERE GRANTEE = {grantee} AND TABLE_SCHEMA = {} AND TABLE_NAME = {}",
            literal(database),
            literal(table)
        );
        let here = privileges(session, &of_table)?;
        common = Some(match common {
            Some(common) => common.intersection(&here).cloned().collect(),
            None => here,
        });
    }
    Ok(common.unwrap_or_default())
}

/// MySQL's partial revokes: what is given everywhere, but not for these databases.
fn revocations(session: &mut Session) -> Result<Vec<(String, BTreeSet<String>)>> {
    if !session.server().is_mysql(8, 0, 16) {
        return Ok(Vec::new());
    }
    let lines = session.text("SHOW GRANTS")?;
    Ok(lines.iter().flatten().filter_map(|line| revocation(line)).collect())
}

/// ``REVOKE SELECT, INSERT ON `shop`.* FROM …``
fn revocation(line: &str) -> Option<(String, BTreeSet<String>)> {
    let (privileges, rest) = line.strip_prefix("REVOKE ")?.split_once(" ON ")?;
    let (database, _) = identifier(rest.strip_prefix('`')?.as_bytes());
    Some((database, privileges.split(", ").map(str::to_owned).collect()))
}

/// Whether the user may read every table of the server. A user with active roles may, or may not: then the answer is no.
pub(crate) fn reads_everything(session: &mut Session) -> Result<bool> {
    let Some(user) = session.value("SELECT CURRENT_USER()")? else { return Ok(false) };
    let Some((name, host)) = user.rsplit_once('@') else { return Ok(false) };
    let grantee = literal(&format!("'{name}'@'{host}'"));
    Ok(privileges(session, &format!("USER_PRIVILEGES WHERE GRANTEE = {grantee}"))?.contains("SELECT"))
}

fn privileges(session: &mut Session, of: &str) -> Result<BTreeSet<String>> {
    let rows = session.text(format!("SELECT PRIVILEGE_TYPE FROM information_schema.{of}"))?;
    Ok(rows.into_iter().flatten().map(|privilege| privilege.to_ascii_uppercase()).collect())
}

fn has_roles(session: &mut Session) -> Result<bool> {
    if !session.server().is_mariadb() && !session.server().is_mysql(8, 0, 0) {
        return Ok(false);
    }
    Ok(session.value("SELECT CURRENT_ROLE()")?.is_some_and(|role| !role.is_empty() && role != "NONE"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partial_revokes() {
        let (database, privileges) = revocation("REVOKE SELECT, SHOW VIEW ON `sh``op`.* FROM `u`@`%`").unwrap();
        assert_eq!((database.as_str(), privileges.len()), ("sh`op", 2));
        assert!(privileges.contains("SELECT") && privileges.contains("SHOW VIEW"));
        assert_eq!(revocation("GRANT SELECT ON *.* TO `u`@`%`"), None);
    }
}
