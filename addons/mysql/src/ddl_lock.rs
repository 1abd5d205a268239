//! Keeps others from changing the definitions of tables while the backup runs, without keeping them from writing rows.

use std::time::Duration;

use coffer_addon_sdk::{Context, Error, Result, Target, info};

use crate::failure::{Failure, Outcome};
use crate::privileges;
use crate::session::Session;

/// The lock against changes of definitions. It ends with the sessions at the latest.
#[derive(Debug)]
pub(crate) enum DefinitionLock {
    /// It was not to be had. A change of a table that was not read yet makes the backup fail.
    None,
    /// MySQL's, which the leader's session holds.
    Own,
    /// MariaDB's, which ends a transaction where it is taken: a session of its own holds it.
    Aside(Box<Session>),
}

impl DefinitionLock {
    /// Takes it where the server has it and the user may.
    pub(crate) fn take(session: &mut Session, target: &Target, context: &Context, timeout: Duration) -> Result<Self> {
        if session.server().is_mysql(8, 0, 0) {
            session.execute(lock_wait(timeout))?;
            return match session.execute("LOCK INSTANCE FOR BACKUP") {
                Ok(()) => Ok(Self::Own),
                Err(failure) => without(failure, context, "BACKUP_ADMIN"),
            };
        }
        if !session.server().is_mariadb() {
            return Ok(Self::None);
        }
        // It would also keep others from writing to such tables, for as long as the backup takes.
        if !privileges::reads_everything(session)? || has_tables_without_transactions(session)? {
            info!(
                context,
                "there are, or may be, tables without transactions: nothing keeps ALTER TABLE away during the backup; if one comes, the \
                 backup fails"
            );
            return Ok(Self::None);
        }
        let mut aside = Session::open(target, context)?;
        match stage(&mut aside, timeout) {
            Ok(()) => Ok(Self::Aside(Box::new(aside))),
            Err(failure) => {
                aside.close()?;
                without(failure, context, "RELOAD")
            }
        }
    }

    /// Whether nobody can change a table's definition.
    pub(crate) fn is_held(&self) -> bool {
        !matches!(self, Self::None)
    }

    /// Gives it back. `session` is the leader's.
    pub(crate) fn give_up(self, session: &mut Session) -> Result<()> {
        match self {
            Self::None => Ok(()),
            Self::Own => Ok(session.execute("UNLOCK INSTANCE")?),
            Self::Aside(mut aside) => {
                aside.execute("BACKUP STAGE END")?;
                aside.close()
            }
        }
    }
}

fn lock_wait(timeout: Duration) -> String {
    format!("SET SESSION lock_wait_timeout = {}", timeout.as_secs().max(1))
}

fn stage(aside: &mut Session, timeout: Duration) -> Outcome<()> {
    aside.execute(lock_wait(timeout))?;
    aside.execute("BACKUP STAGE START")?;
    aside.execute("BACKUP STAGE BLOCK_DDL")
}

fn without(failure: Failure, context: &Context, privilege: &str) -> Result<DefinitionLock> {
    if failure.is_denied() {
        info!(
            context,
            "without {privilege} nothing keeps ALTER TABLE away during the backup; if one comes, the backup fails"
        );
        return Ok(DefinitionLock::None);
    }
    if failure.code() == Some(1205) {
        return Err(Error::unavailable(
            "another backup, or a change of a table's definition, holds the backup lock longer than `lockTimeout`; wait for it to end",
        ));
    }
    Err(failure.into())
}

fn has_tables_without_transactions(session: &mut Session) -> Result<bool> {
    let found = session.value(
        "SELECT 1 FROM information_schema.TABLES WHERE TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED') AND ENGINE <> 'InnoDB' AND \
         TABLE_SCHEMA NOT IN ('mysql', 'sys', 'information_schema', 'performance_schema') LIMIT 1",
    )?;
    Ok(found.is_some())
}
