//! One consistent view of the database for all sessions, and where in the binary log it is.
//!
//! Every session starts a transaction of its own; that they see the same is proven without any lock where the server lets us
//! read the position of its binary log (equal before the first and after the last transaction began), and enforced by a short
//! global read lock elsewhere.

use std::time::Duration;

use coffer_addon_sdk::{Context, Error, Result, Target, info, warn};

use crate::ddl_lock::DefinitionLock;
use crate::failure::{Failure, Outcome};
use crate::session::Session;

/// How long to try without a lock.
const LOCK_FREE: Duration = Duration::from_secs(3);
/// The longest wait for the lock in one go, the shortest that servers know. While we wait, others that want to write wait behind us.
const LOCK_STEP: Duration = Duration::from_secs(1);
/// Between two waits, so that those others get on.
const LOCK_PAUSE: Duration = Duration::from_secs(1);

const BEGIN: &str = "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY";
/// What is read of one table is given back to others after it by going back here.
const SAVEPOINT: &str = "SAVEPOINT coffer";

/// Where in the binary log a view is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Position {
    /// The GTID set; empty if the server has none.
    pub(crate) gtid: String,
    /// The file, and the position in it.
    pub(crate) binlog: Option<(String, String)>,
}

/// How it is known that all sessions see the same.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Method {
    /// The position is the same before and after.
    Proof(Position),
    /// Nobody can write between the first and the last.
    Lock,
    /// There is only one session.
    Alone,
}

/// The leader's side of the view.
#[derive(Debug)]
pub(crate) struct View {
    method: Method,
    /// Where the view is, once it is settled; `None` if the server does not say.
    position: Option<Position>,
    sessions: u32,
    needs: Needs,
    started: Duration,
    attempts: u32,
    /// How long the global read lock was held.
    held: Option<Duration>,
    definitions: DefinitionLock,
}

/// What a view is to be like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Needs {
    /// How long others may have to wait because the view waits for a lock.
    pub(crate) lock_timeout: Duration,
    /// Whether a view whose position is not known is of no use.
    pub(crate) position: bool,
}

impl View {
    /// Begins the view in the leader's session.
    pub(crate) fn begin(session: &mut Session, target: &Target, context: &Context, needs: Needs) -> Result<Self> {
        let mut view = Self {
            method: Method::Alone,
            position: None,
            sessions: context.worker().count,
            needs,
            started: context.elapsed(),
            attempts: 0,
            held: None,
            definitions: DefinitionLock::take(session, target, context, needs.lock_timeout)?,
        };
        // One session needs the position as a fact only, not as a proof.
        let provable = view.sessions <= 1 || logs_all_writes(session, context)?;
        if !provable || !view.begin_proof(session)? {
            view.begin_otherwise(session, context)?;
        }
        Ok(view)
    }

    /// Whether nobody can change a table's definition while it lasts.
    pub(crate) fn keeps_definitions(&self) -> bool {
        self.definitions.is_held()
    }

    /// Lets others change definitions again.
    pub(crate) fn end(self, session: &mut Session) -> Result<()> {
        self.definitions.give_up(session)
    }

    /// How long the global read lock was held, if it was needed.
    pub(crate) fn held(&self) -> Option<Duration> {
        self.held
    }

    /// What the others are told. It says nothing that they need; it tells attempts apart.
    pub(crate) fn name(&self) -> String {
        format!("attempt {}", self.attempts)
    }

    /// How the sessions came to one view, for the manifest.
    pub(crate) fn method(&self) -> &'static str {
        match self.method {
            Method::Proof(_) => "lock-free",
            Method::Lock => "global-read-lock",
            Method::Alone => "single-session",
        }
    }

    /// Where the view is.
    pub(crate) fn position(&self) -> Option<&Position> {
        self.position.as_ref()
    }

    /// All sessions have joined: checks that they see the same and gives up the lock. `true`: they do. `false`: another view was
    /// begun for them to join.
    pub(crate) fn settle(&mut self, session: &mut Session, context: &Context) -> Result<bool> {
        match &self.method {
            Method::Alone => Ok(true),
            Method::Lock => {
                session.execute("UNLOCK TABLES")?;
                let held = context.elapsed().saturating_sub(self.started);
                self.held = Some(held);
                info!(
                    context,
                    "all sessions share one view; the global read lock was held for {} ms",
                    held.as_millis()
                );
                Ok(true)
            }
            Method::Proof(before) => {
                if current_position(session)?.as_ref() == Some(before) {
                    self.position = Some(before.clone());
                    info!(context, "all sessions share one view, without any lock, after {} attempts", self.attempts);
                    return Ok(true);
                }
                let again = context.elapsed().saturating_sub(self.started) < LOCK_FREE && self.begin_proof(session)?;
                if !again {
                    self.begin_otherwise(session, context)?;
                }
                Ok(false)
            }
        }
    }

    /// Begins a transaction whose position is known. `false`: the server does not say.
    fn begin_proof(&mut self, session: &mut Session) -> Result<bool> {
        self.attempts += 1;
        let before = if session.server().is_mariadb() {
            join(session)?;
            snapshot_position(session)?
        } else {
            let before = log_status(session)?;
            if before.is_some() {
                join(session)?;
            }
            before
        };
        let Some(before) = before else { return Ok(false) };
        // What cannot be read again later proves nothing.
        if session.server().is_mariadb() && current_position(session)?.is_none() {
            return Ok(false);
        }
        self.method = Method::Proof(before);
        Ok(true)
    }

    /// Begins a transaction under the global read lock, or without it where there is nobody to coordinate with.
    fn begin_otherwise(&mut self, session: &mut Session, context: &Context) -> Result<()> {
        self.attempts += 1;
        if self.sessions <= 1 {
            join(session)?;
            self.position = snapshot_position(session)?;
            if self.position.is_some() || !self.needs.position {
                self.method = Method::Alone;
                return Ok(());
            }
        }
        session.execute("ROLLBACK")?;
        self.lock(session, context)?;
        self.started = context.elapsed();
        join(session)?;
        self.position = current_position(session)?;
        if self.position.is_none() && self.needs.position {
            return Err(Error::invalid(
                "`args` ask for the position in the binary log, but the server has none, or does not show it: the user of the backup \
                 needs REPLICATION CLIENT (MariaDB: BINLOG MONITOR), and the server a binary log",
            ));
        }
        self.method = Method::Lock;
        Ok(())
    }

    fn lock(&self, session: &mut Session, context: &Context) -> Result<()> {
        let begun = context.elapsed();
        let limit = self.needs.lock_timeout;
        loop {
            context.check_cancelled()?;
            context.progress("waiting for the global read lock");
            let left = limit.saturating_sub(context.elapsed().saturating_sub(begun));
            let step = left.min(LOCK_STEP).as_secs().max(1);
            session.execute(format!("SET SESSION lock_wait_timeout = {step}"))?;
            match session.execute("FLUSH TABLES WITH READ LOCK") {
                Ok(()) => return Ok(()),
                Err(failure) if failure.is_denied() => return Err(self.explain_denied(session, &failure)),
                Err(failure) if failure.code() == Some(1205) => {
                    // The server gave up waiting for the tables, but keeps the half of the lock that it got: nobody could write.
                    session.execute("UNLOCK TABLES")?;
                    if context.elapsed().saturating_sub(begun) + LOCK_PAUSE >= limit {
                        return Err(Error::unavailable(format!(
                            "no global read lock within `lockTimeout` ({} s): a long statement keeps a table busy (SHOW PROCESSLIST \
                             names it). Wait for it to end, raise `lockTimeout`, or spare the lock: {}",
                            limit.as_secs(),
                            how_to_go_without_lock(session),
                        )));
                    }
                    warn!(context, "the global read lock is not to be had yet; a long statement keeps a table busy");
                    context.sleep(LOCK_PAUSE)?;
                }
                Err(failure) => return Err(failure.into()),
            }
        }
    }

    fn explain_denied(&self, session: &Session, failure: &Failure) -> Error {
        Error::denied(format!(
            "{} sessions can share one consistent view only with one more privilege: {}. Or set `workers: 1`. ({failure})",
            self.sessions,
            how_to_go_without_lock(session),
        ))
    }
}

fn how_to_go_without_lock(session: &Session) -> &'static str {
    if session.server().is_mariadb() {
        "`GRANT RELOAD, BINLOG MONITOR ON *.* TO` the user of the backup (without a lock this needs `log_bin`, all of whose writes it \
         has)"
    } else if session.server().is_mysql(8, 0, 0) {
        "`GRANT BACKUP_ADMIN, REPLICATION CLIENT ON *.* TO` and `GRANT SELECT ON performance_schema.log_status TO` the user of the \
         backup (without a lock this needs a binary log that has all writes), or `GRANT RELOAD ON *.* TO` it"
    } else {
        "`GRANT RELOAD ON *.* TO` the user of the backup"
    }
}

/// Begins this session's transaction, in place of one that was begun before.
pub(crate) fn join(session: &mut Session) -> Outcome<()> {
    session.execute("ROLLBACK")?;
    session.execute(BEGIN)?;
    session.execute(SAVEPOINT)
}

/// Lets others change the definition of what was read since the view began.
pub(crate) fn let_go(session: &mut Session) -> Outcome<()> {
    session.execute("ROLLBACK TO SAVEPOINT coffer")
}

/// Whether nothing is written that the binary log does not have: otherwise its position may stay where it is while rows change.
/// Filters leave databases out, and a replica may leave out what it gets from its source.
fn logs_all_writes(session: &mut Session, context: &Context) -> Result<bool> {
    let filtered = match session.text(binlog_status(session)) {
        Ok(rows) => rows.iter().any(|row| row.iter().skip(2).take(2).any(|filter| !filter.is_empty())),
        // There may be filters; a position that stands still while rows change would prove what is not so.
        Err(failure) if failure.is_denied() => {
            info!(
                context,
                "without REPLICATION CLIENT (MariaDB: BINLOG MONITOR) it is not known whether the binary log has all writes: a short lock \
                 makes sure of one view"
            );
            return Ok(false);
        }
        Err(failure) => return Err(failure.into()),
    };
    let setting = if session.server().is_mysql(8, 0, 26) { "log_replica_updates" } else { "log_slave_updates" };
    let applies = session.value(format!("SELECT @@GLOBAL.{setting}"))?.as_deref() == Some("0") && is_replica(session)?;
    if filtered || applies {
        let why = if filtered { "has filters" } else { "leaves out what the server replicates" };
        info!(context, "the binary log {why}: its position proves no consistent view, a short lock makes sure of it");
    }
    Ok(!filtered && !applies)
}

/// Whether the server may be applying what another server writes. Where it does not tell us, it may be.
fn is_replica(session: &mut Session) -> Result<bool> {
    if !session.server().is_mariadb() {
        return Ok(true);
    }
    let rows = session.text("SHOW GLOBAL STATUS LIKE 'Slaves_running'")?;
    Ok(rows.first().and_then(|row| row.get(1)).is_none_or(|running| running != "0"))
}

fn binlog_status(session: &Session) -> &'static str {
    if session.server().is_mysql(8, 2, 0) { "SHOW BINARY LOG STATUS" } else { "SHOW MASTER STATUS" }
}

/// MySQL: the position of the binary log, read while commits are held off. `None` without the privilege or without a binary log.
fn log_status(session: &mut Session) -> Result<Option<Position>> {
    if !session.server().is_mysql(8, 0, 11) {
        return Ok(None);
    }
    let rows = session.text(
        "SELECT JSON_UNQUOTE(JSON_EXTRACT(`LOCAL`, '$.gtid_executed')), JSON_UNQUOTE(JSON_EXTRACT(`LOCAL`, '$.binary_log_file')), \
         JSON_UNQUOTE(JSON_EXTRACT(`LOCAL`, '$.binary_log_position')) FROM performance_schema.log_status",
    );
    match rows {
        Ok(rows) => Ok(rows.into_iter().next().and_then(|row| match row.as_slice() {
            [gtid, file, position] if !file.is_empty() => {
                Some(Position { gtid: gtid.replace('\n', ""), binlog: Some((file.clone(), position.clone())) })
            }
            _ => None,
        })),
        Err(failure) if failure.is_denied() || failure.code() == Some(1146) => Ok(None),
        Err(failure) => Err(failure.into()),
    }
}

/// MariaDB: the position that belongs to the transaction's snapshot. `None` without a binary log.
fn snapshot_position(session: &mut Session) -> Result<Option<Position>> {
    if !session.server().is_mariadb() {
        return Ok(None);
    }
    let rows = session.text("SHOW STATUS LIKE 'binlog_snapshot_%'")?;
    let find = |name: &str| {
        rows.iter().find_map(|row| match row.as_slice() {
            [variable, value] if variable.eq_ignore_ascii_case(name) && !value.is_empty() => Some(value.clone()),
            _ => None,
        })
    };
    let binlog = find("binlog_snapshot_file").zip(find("binlog_snapshot_position"));
    mariadb_position(session, binlog)
}

fn mariadb_position(session: &mut Session, binlog: Option<(String, String)>) -> Result<Option<Position>> {
    let Some((file, position)) = binlog else { return Ok(None) };
    let sql =
        format!("SELECT BINLOG_GTID_POS({}, {})", crate::session::literal(&file), position.parse().unwrap_or(0_u64));
    let gtid = session.value(sql)?.unwrap_or_default();
    Ok(Some(Position { gtid, binlog: Some((file, position)) }))
}

/// The position now. `None` without the privilege or without a binary log.
fn current_position(session: &mut Session) -> Result<Option<Position>> {
    if let Some(position) = log_status(session)? {
        return Ok(Some(position));
    }
    let rows = match session.text(binlog_status(session)) {
        Ok(rows) => rows,
        Err(failure) if failure.is_denied() => return Ok(None),
        Err(failure) => return Err(failure.into()),
    };
    let Some(row) = rows.into_iter().next() else { return Ok(None) };
    let cell = |index: usize| row.get(index).cloned().unwrap_or_default();
    let binlog = (cell(0), cell(1));
    if session.server().is_mariadb() {
        mariadb_position(session, Some(binlog))
    } else {
        Ok(Some(Position { gtid: cell(4).replace('\n', ""), binlog: Some(binlog) }))
    }
}
