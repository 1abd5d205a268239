//! Decisions about runs: whether one is skipped, when it must be done, whether it is tried again, which old ones go.

use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use crate::core::{BackupConfiguration, BackupSession, BackupSessionPhase, InvokerPhase};
use crate::duration::{self, DurationError};
use crate::phase::session_is_final;
use crate::shared::RetryConfig;

/// Why a BackupSession does not run, or `None` if it may.
///
/// It does not if its BackupConfiguration is paused or not Ready, or if an older BackupSession of the same session is not
/// finished. `sessions` are those of the namespace; the session itself may be among them. What began in the same second is
/// told apart by the name, so that of two sessions exactly one runs.
pub fn skip(
    session: &BackupSession,
    configuration: &BackupConfiguration,
    sessions: &[BackupSession],
) -> Option<String> {
    let owner = configuration.name_any();
    if configuration.spec.paused == Some(true) {
        return Some(format!("BackupConfiguration {owner} is paused; resume it with spec.paused: false"));
    }
    let status = configuration.status.as_ref();
    if status.and_then(|status| status.phase) != Some(InvokerPhase::Ready) {
        return Some(format!("BackupConfiguration {owner} is not Ready; its conditions say what is missing"));
    }
    let older = sessions.iter().find(|other| {
        same_session(other, session) && !session_is_final(phase(other)) && age_key(other) < age_key(session)
    })?;
    Some(format!(
        "BackupSession {} of the same session has not finished; the next one runs when it has, or delete it",
        older.name_any()
    ))
}

/// Whether two BackupSessions are of the same session of the same BackupConfiguration, and not the same object.
fn same_session(one: &BackupSession, other: &BackupSession) -> bool {
    let key = |session: &BackupSession| {
        let invoker = session.spec.invoker.as_ref();
        let invoker = invoker.map(|invoker| (invoker.kind.clone(), invoker.name.clone()));
        (session.namespace(), invoker, session.spec.session.clone())
    };
    one.name_any() != other.name_any() && key(one) == key(other)
}

fn age_key(session: &BackupSession) -> (Option<Timestamp>, String) {
    (session.metadata.creation_timestamp.as_ref().map(|time| time.0), session.name_any())
}

fn phase(session: &BackupSession) -> Option<BackupSessionPhase> {
    session.status.as_ref().and_then(|status| status.phase)
}

/// When what began at `start` must be done: a Go duration later. No timeout and a timeout of zero mean never.
pub fn deadline(start: Timestamp, timeout: Option<&str>) -> Result<Option<Timestamp>, DurationError> {
    let timeout = read(timeout)?;
    Ok(timeout.filter(|timeout| !timeout.is_zero()).and_then(|timeout| after(start, timeout)))
}

/// How much time is left until a deadline; `None` when there is none left.
pub fn time_left(deadline: Timestamp, now: Timestamp) -> Option<Duration> {
    Duration::try_from(deadline.duration_since(now)).ok().filter(|left| !left.is_zero())
}

/// When a BackupSession is tried again: after the pause of its `retryConfig`, if it failed, may be tried again, and has not
/// been. `finished` is when it failed.
pub fn next_retry(
    session: &BackupSession,
    config: Option<&RetryConfig>,
    finished: Timestamp,
) -> Result<Option<Timestamp>, DurationError> {
    let retried = session.status.as_ref().is_some_and(|status| status.retried == Some(true));
    let left = session.spec.retry_left.unwrap_or_default();
    if phase(session) != Some(BackupSessionPhase::Failed) || retried || left <= 0 {
        return Ok(None);
    }
    let delay = read(config.and_then(|config| config.delay.as_deref()))?.unwrap_or_default();
    Ok(after(finished, delay))
}

/// How often a scheduled BackupSession may be tried again: not at all without a `retryConfig`.
pub fn retries(config: Option<&RetryConfig>) -> i32 {
    config.map_or(0, |config| config.max_retry.max(0))
}

/// The finished BackupSessions beyond the newest `limit` of each session, oldest first: those that may be deleted.
///
/// One that waits to be tried again stays, as does one that is being deleted already. Zero keeps none, as KubeStash does;
/// a negative limit counts as zero.
pub fn surplus(sessions: &[BackupSession], limit: i32) -> Vec<&BackupSession> {
    let limit = usize::try_from(limit).unwrap_or_default();
    let mut finished: Vec<_> = sessions
        .iter()
        .filter(|session| session_is_final(phase(session)) && session.metadata.deletion_timestamp.is_none())
        .collect();
    finished.sort_by_cached_key(|session| std::cmp::Reverse(age_key(session)));
    let mut surplus: Vec<_> = finished
        .iter()
        .enumerate()
        .filter(|(index, session)| {
            let newer = finished.iter().take(*index).filter(|newer| same_session(newer, session)).count();
            newer >= limit && !waits_for_retry(session)
        })
        .map(|(_, session)| *session)
        .collect();
    surplus.reverse();
    surplus
}

fn waits_for_retry(session: &BackupSession) -> bool {
    let status = session.status.as_ref();
    status.is_some_and(|status| status.next_retry.is_some() && status.retried != Some(true))
}

fn read(text: Option<&str>) -> Result<Option<Duration>, DurationError> {
    text.filter(|text| !text.is_empty()).map(duration::parse).transpose()
}

/// A moment after another; `None` if it is beyond all times.
fn after(start: Timestamp, pause: Duration) -> Option<Timestamp> {
    start.checked_add(SignedDuration::try_from(pause).ok()?).ok()
}
