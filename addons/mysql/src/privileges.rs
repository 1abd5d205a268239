//! What the server may hide from the user of the backup. It does not refuse to list objects that the user has no privilege for; it
//! leaves them out, and a backup without them would look like one of a database that has none.

use std::collections::BTreeSet;

use coffer_addon_sdk::Result;

use crate::catalog::Database;
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
    let mut hidden = Vec::new();
    for database in databases {
        let of_database = format!(
            "SCHEMA_PRIVILEGES WHERE GRANTEE = {grantee} AND {} LIKE CONVERT(TABLE_SCHEMA USING utf8mb4) COLLATE utf8mb4_bin",
            literal(&database.name)
        );
        let here = privileges(session, &of_database)?;
        let has = |privilege: &str| everywhere.contains(privilege) || here.contains(privilege);
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
            let sees_routines = everywhere.contains("SELECT")
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
