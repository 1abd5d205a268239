//! Validate: what a BackupSession needs next. No side effects, no clock of its own.

use std::sync::Arc;
use std::time::Duration;

use coffer_api::condition::{
    self, BACKUP_EXECUTOR_ENSURED, BACKUP_INCOMPLETE, BACKUP_SKIPPED, METRICS_PUSHED, POD_PENDING_TOO_LONG,
    RETENTION_POLICY_EXECUTOR_ENSURED, SESSION_HISTORY_CLEANED, SNAPSHOTS_ENSURED,
};
use coffer_api::core::{BackupSession, BackupSessionPhase, BackupSessionStatus, RetentionPolicyApplyPhase};
use coffer_api::shared::SnapshotPhase;
use coffer_api::storage::{Repository, RepositoryPhase};
use coffer_api::{duration, lifecycle, names, phase};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;

use crate::backup_session::admission::is_admitted;
use crate::backup_session::view::{Part, View};
use crate::job_state::JobState;
use crate::kstatus::{self, State};
use crate::options::Limits;

/// The next step of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Decide whether it runs.
    Admit,
    /// Create its Snapshots.
    CreateSnapshots,
    /// Create its Job.
    StartExecutor,
    /// Write into the Snapshots that have no final phase that they never will, and why.
    Condemn(String),
    /// The same, but for those whose data is proven and that are only being written down.
    CondemnUnproven(String),
    /// Remove a Job whose result does not count any more.
    StopExecutor,
    /// Create the Job that removes old Snapshots.
    StartRetention,
    /// Remove that Job: it has never begun, and has been given up.
    StopRetention,
    /// Remove these older sessions, then write the last status.
    Finish(Vec<String>),
    /// Take the rights of its Jobs away.
    Unbind,
    /// Create the session that tries again, due at this moment.
    Retry(Timestamp),
    /// Nothing but the status.
    Nothing,
}

/// A step, the status that goes with it, and when to look again if nothing happens before.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plan {
    pub(crate) step: Step,
    pub(crate) status: BackupSessionStatus,
    pub(crate) again: Option<Duration>,
}

/// Name of the Job that removes old Snapshots after a session.
pub(crate) fn retention_job(session: &str) -> String {
    names::retention_policy_job(session)
}

pub(crate) fn plan(view: &View, now: Timestamp, limits: &Limits) -> Plan {
    let mut status = view.session.status.clone().unwrap_or_default();
    if phase::session_is_final(status.phase) {
        return afterwards(view, status, now);
    }
    status.observed_generation = view.session.metadata.generation;
    if !is_admitted(&view.session) {
        return Planner { view, status, now, limits }.with(Step::Admit, None);
    }
    refresh(view, &mut status);
    Planner { view, status, now, limits }.next()
}

struct Planner<'a> {
    view: &'a View,
    status: BackupSessionStatus,
    now: Timestamp,
    limits: &'a Limits,
}

impl Planner<'_> {
    fn next(mut self) -> Plan {
        if !condition::exists(&self.status.conditions, SNAPSHOTS_ENSURED) {
            match self.snapshots() {
                Ok(plan) => return plan,
                Err(why) => self.set(SNAPSHOTS_ENSURED.fails_because(why)),
            }
        }
        if condition::is_false(&self.status.conditions, SNAPSHOTS_ENSURED) {
            // Nothing will ever work on those that have been created.
            if self.view.parts.iter().any(|part| !part.is_final()) {
                let why = message(&self.status, SNAPSHOTS_ENSURED);
                return self.with(Step::Condemn(why), None);
            }
            return self.finish();
        }
        if !condition::exists(&self.status.conditions, BACKUP_EXECUTOR_ENSURED) {
            // An operator that was killed may have created the Job without having said so.
            let begun = self.view.executor != JobState::Missing || self.view.parts.iter().any(Part::has_begun);
            match self.overdue() {
                _ if begun => self.set(BACKUP_EXECUTOR_ENSURED.holds()),
                None => return self.clone_with(Step::StartExecutor, Some(self.limits.resync)),
                Some(why) => self.set(BACKUP_EXECUTOR_ENSURED.fails_because(why)),
            }
        }
        if let Some(plan) = self.executor() {
            return plan;
        }
        if let Some(plan) = self.retention() {
            return plan;
        }
        self.finish()
    }

    /// Snapshots are made when the repositories are ready, or when waiting for the rest of them makes no sense any more.
    fn snapshots(&self) -> Result<Plan, String> {
        if let Some(why) = self.overdue() {
            return Err(why);
        }
        let unready: Vec<_> = self.view.parts.iter().filter_map(unready).collect();
        let is_going = |repository: &Arc<Repository>| repository.metadata.deletion_timestamp.is_some();
        let missing = self.view.parts.iter().any(|part| part.repository.as_ref().is_none_or(is_going));
        let waited = elapsed(self.view.session.creation_timestamp().map(|time| time.0), self.now);
        if unready.is_empty() {
            Ok(self.clone_with(Step::CreateSnapshots, None))
        } else if waited < self.limits.slow_start {
            Ok(self.clone_with(Step::Nothing, Some(self.limits.resync)))
        } else if missing || unready.len() == self.view.parts.len() {
            Err(unready.join("; "))
        } else {
            // The executor says of each repository how it went.
            Ok(self.clone_with(Step::CreateSnapshots, None))
        }
    }

    /// What the Job and its result ask for; `None` when both are over.
    fn executor(&mut self) -> Option<Plan> {
        let unfinished = self.view.parts.iter().any(|part| !part.is_final());
        if !unfinished {
            condition::remove(&mut self.status.conditions, POD_PENDING_TOO_LONG);
            if self.view.executor.is_over() {
                return None;
            }
            let condemned = self.view.parts.iter().any(Part::is_condemned);
            let step = if condemned || self.lingers() { Step::StopExecutor } else { Step::Nothing };
            return Some(self.clone_with(step, Some(self.limits.resync)));
        }
        if condition::is_false(&self.status.conditions, BACKUP_EXECUTOR_ENSURED) {
            let why = message(&self.status, BACKUP_EXECUTOR_ENSURED);
            return Some(self.clone_with(Step::Condemn(why), None));
        }
        // A deadline ends the work. It takes nothing back that is proven: that still has to be written down.
        let unproven = self.view.parts.iter().any(|part| !part.is_final() && !part.is_proven());
        if let Some(why) = self.overdue().filter(|_| unproven) {
            return Some(self.clone_with(Step::CondemnUnproven(why), None));
        }
        let condemn = |why: &str| Some(self.clone_with(Step::Condemn(why.to_owned()), Some(self.limits.resync)));
        match &self.view.executor {
            JobState::Complete => condemn("its Job ended without a result"),
            JobState::Missing => condemn("its Job is gone: somebody has deleted it"),
            JobState::Failed(why) => condemn(why),
            JobState::Waiting(since, why) if *since >= self.limits.start => condemn(&not_started(self.limits, why)),
            JobState::Waiting(since, why) if *since >= self.limits.slow_start => {
                self.set(POD_PENDING_TOO_LONG.holds_because(why.clone()));
                Some(self.clone_with(Step::Nothing, Some(self.limits.resync)))
            }
            JobState::Waiting(..) => Some(self.clone_with(Step::Nothing, Some(self.limits.resync))),
            JobState::Running | JobState::Ending(_) => {
                condition::remove(&mut self.status.conditions, POD_PENDING_TOO_LONG);
                Some(self.clone_with(Step::Nothing, Some(self.limits.resync)))
            }
        }
    }

    /// Whether the Job goes on long after its last result.
    fn lingers(&self) -> bool {
        backed_up(self.view, self.now).is_some_and(|last| elapsed(Some(last), self.now) > self.limits.prepare)
    }

    fn retention_lingers(&self) -> bool {
        let begun = condition::find(&self.status.conditions, RETENTION_POLICY_EXECUTOR_ENSURED);
        elapsed(begun.map(|one| one.last_transition_time.0), self.now) > self.limits.prepare
    }

    /// What retention asks for; `None` when it is over.
    fn retention(&mut self) -> Option<Plan> {
        if !condition::exists(&self.status.conditions, RETENTION_POLICY_EXECUTOR_ENSURED) {
            if condition::is_false(&self.status.conditions, BACKUP_EXECUTOR_ENSURED) {
                return None;
            }
            return Some(self.clone_with(Step::StartRetention, Some(self.limits.resync)));
        }
        let is_open = |phase: Option<RetentionPolicyApplyPhase>| !matches!(phase, Some(p) if p != RetentionPolicyApplyPhase::Pending);
        if !self.status.retention_policy.iter().any(|one| is_open(one.phase)) {
            // Nothing may run any more when the session says that it has ended.
            let step = match &self.view.retention {
                state if state.is_over() => return None,
                // It has been given up.
                JobState::Waiting(since, _) if *since >= self.limits.start => Step::StopRetention,
                // It said all and is not gone: something beside it in its pod runs on.
                JobState::Running | JobState::Waiting(..) if self.retention_lingers() => Step::StopRetention,
                _ => Step::Nothing,
            };
            return Some(self.clone_with(step, Some(self.limits.resync)));
        }
        let why = match &self.view.retention {
            JobState::Waiting(since, why) if *since >= self.limits.start => not_started(self.limits, why),
            JobState::Running | JobState::Ending(_) | JobState::Waiting(..) => {
                return Some(self.clone_with(Step::Nothing, Some(self.limits.resync)));
            }
            JobState::Complete => "its Job ended without a result".to_owned(),
            JobState::Missing => "its Job is gone: somebody has deleted it".to_owned(),
            JobState::Failed(why) => why.clone(),
        };
        for one in self.status.retention_policy.iter_mut().filter(|one| is_open(one.phase)) {
            one.phase = Some(RetentionPolicyApplyPhase::FailedToApply);
            one.error = Some(why.clone());
        }
        // The result of the Job may be newer than what is known here: then this status is refused, and read again.
        Some(self.clone_with(Step::Nothing, None))
    }

    fn finish(mut self) -> Plan {
        let limit = self.view.spec().map_or(1, |spec| spec.session_history_limit);
        self.set(SESSION_HISTORY_CLEANED.holds());
        self.set(METRICS_PUSHED.holds());
        let started = self.view.session.creation_timestamp().map(|time| time.0);
        self.status.duration = Some(duration::format(elapsed(started, self.now)));
        self.status.phase = Some(phase::backup_session(&self.status));
        let mut this = (*self.view.session).clone();
        this.status = Some(self.status.clone());
        let config = self.view.spec().and_then(|spec| spec.retry_config.as_ref());
        // A pause that cannot be read was refused with the configuration; a session may be older than that.
        self.status.next_retry = lifecycle::next_retry(&this, config, self.now).ok().flatten().map(Time);
        this.status = Some(self.status.clone());
        let outdated = outdated(self.view, this, limit);
        self.with(Step::Finish(outdated), None)
    }

    /// Why there is no time left.
    fn overdue(&self) -> Option<String> {
        let deadline = self.status.backup_deadline.as_ref()?;
        (deadline.0 <= self.now).then(|| {
            let timeout = self.view.session.spec.backup_timeout.as_deref();
            let timeout = timeout.or_else(|| self.view.spec()?.backup_timeout.as_deref()).unwrap_or_default();
            format!("deadline exceeded: it has not ended within its backupTimeout of {timeout}")
        })
    }

    fn set(&mut self, change: condition::Change) {
        condition::set(&mut self.status.conditions, change, self.now);
    }

    fn clone_with(&self, step: Step, again: Option<Duration>) -> Plan {
        let Self { view, status, now, limits } = self;
        Planner { view, status: status.clone(), now: *now, limits }.with(step, again)
    }

    fn with(mut self, step: Step, again: Option<Duration>) -> Plan {
        conclude(&mut self.status, self.view, &step, self.now);
        // A deadline is an event that nobody sends.
        let deadline = self.status.backup_deadline.as_ref().map(|deadline| until(deadline.0, self.now));
        let again = match (again, deadline.filter(|left| !left.is_zero())) {
            (Some(again), Some(left)) => Some(again.min(left)),
            (again, left) => again.or(left),
        };
        Plan { step, status: self.status, again: Some(again.unwrap_or(self.limits.resync)) }
    }
}

impl Part {
    fn is_final(&self) -> bool {
        // A Snapshot that has been deleted will not become anything.
        self.snapshot
            .as_ref()
            .is_none_or(|snapshot| phase::is_final(phase::snapshot(&snapshot.status.clone().unwrap_or_default())))
    }

    /// Whether its Job has said anything.
    fn has_begun(&self) -> bool {
        let status = self.snapshot.as_ref().and_then(|snapshot| snapshot.status.as_ref());
        status.is_some_and(|status| !status.components.is_empty())
    }

    /// Whether all of its data is in the repository and verified, whatever is still to be written of it.
    pub(super) fn is_proven(&self) -> bool {
        self.snapshot.as_ref().and_then(|snapshot| snapshot.status.as_ref()).is_some_and(|status| {
            let components = phase::snapshot_components(&status.components, status.total_components);
            components == SnapshotPhase::Succeeded && phase::snapshot(status) != SnapshotPhase::Failed
        })
    }

    fn is_condemned(&self) -> bool {
        let status = self.snapshot.as_ref().and_then(|snapshot| snapshot.status.as_ref());
        status.is_none_or(|status| condition::is_true(&status.conditions, BACKUP_INCOMPLETE))
    }
}

/// Since when the Snapshots of a session have said all that they will: what comes after the backup is due since then. What has just been said is
/// not dated yet.
pub(super) fn backed_up(view: &View, now: Timestamp) -> Option<Timestamp> {
    let written = |part: &Part| {
        let snapshot = part.snapshot.as_ref()?;
        let status = snapshot.status.as_ref()?;
        // Nobody dates one that is paused or on its way out.
        let is_left = snapshot.spec.paused == Some(true) || snapshot.metadata.deletion_timestamp.is_some();
        if !is_left && !status.phase.is_some_and(phase::is_final) {
            return Some(now);
        }
        status.last_update_time.clone().or_else(|| snapshot.creation_timestamp()).map(|time| time.0)
    };
    view.parts.iter().filter_map(written).max()
}

fn not_started(limits: &Limits, why: &str) -> String {
    format!("its Job has not started within {} minutes: {why}", limits.start.as_secs() / 60)
}

/// Why a repository cannot be written yet.
fn unready(part: &Part) -> Option<String> {
    let name = &part.repository_name;
    match &part.repository {
        None => Some(format!("Repository {name} does not exist")),
        Some(repository) if repository.metadata.deletion_timestamp.is_some() => {
            Some(format!("Repository {name} is being deleted"))
        }
        Some(repository) if !is_ready(repository) => {
            let conditions = repository.status.iter().flat_map(|status| &status.conditions);
            let why = conditions
                .into_iter()
                .find_map(|one| one.message.clone().filter(|_| one.type_ == condition::READY.name));
            Some(format!(
                "Repository {name} is not ready: {}",
                why.unwrap_or_else(|| "it is not initialized yet".to_owned())
            ))
        }
        Some(_) => None,
    }
}

fn is_ready(repository: &Repository) -> bool {
    repository.status.as_ref().is_some_and(|status| status.phase == Some(RepositoryPhase::Ready))
}

/// The phases of the Snapshots, as they are now.
fn refresh(view: &View, status: &mut BackupSessionStatus) {
    let created = condition::exists(&status.conditions, SNAPSHOTS_ENSURED);
    for one in &mut status.snapshots {
        let part = view.parts.iter().find(|part| Some(&part.snapshot_name) == one.name.as_ref());
        one.phase = match part.and_then(|part| part.snapshot.as_ref()) {
            Some(snapshot) => Some(phase::snapshot(&snapshot.status.clone().unwrap_or_default())),
            None if created => Some(SnapshotPhase::Failed),
            None => Some(SnapshotPhase::Pending),
        };
    }
}

/// Phase and kstatus.
fn conclude(status: &mut BackupSessionStatus, view: &View, step: &Step, now: Timestamp) {
    let phase = phase::backup_session(status);
    status.phase = Some(phase);
    let state = match phase {
        BackupSessionPhase::Succeeded => State::Ready,
        BackupSessionPhase::Failed => State::Stalled(failure(status, view)),
        BackupSessionPhase::Skipped => State::Stalled(message(status, BACKUP_SKIPPED)),
        BackupSessionPhase::Pending | BackupSessionPhase::Running => State::Reconciling(progress(step, status, view)),
    };
    kstatus::set(&mut status.conditions, &state, view.session.metadata.generation, now);
}

/// Why a session failed: its own failed step, else what its Snapshots say, else the rest.
fn failure(status: &BackupSessionStatus, view: &View) -> String {
    let steps = [SNAPSHOTS_ENSURED, BACKUP_EXECUTOR_ENSURED];
    if let Some(step) = steps.into_iter().find(|step| condition::is_false(&status.conditions, *step)) {
        return message(status, step);
    }
    let of_snapshots: Vec<_> = view.parts.iter().filter_map(failed_part).collect();
    if !of_snapshots.is_empty() {
        return of_snapshots.join("; ");
    }
    let why = phase::session_failure(status).unwrap_or_else(|| "the backup failed".to_owned());
    match status.retention_policy.iter().find_map(|one| one.error.as_ref()) {
        Some(error) => format!("{why}: {error}"),
        None => why,
    }
}

/// Why a Snapshot failed; `None` if it did not.
fn failed_part(part: &Part) -> Option<String> {
    let Some(snapshot) = &part.snapshot else { return Some(format!("Snapshot {} is gone", part.snapshot_name)) };
    let status = snapshot.status.as_ref().filter(|status| phase::snapshot(status) == SnapshotPhase::Failed)?;
    let incomplete = condition::find(&status.conditions, BACKUP_INCOMPLETE).and_then(|one| one.message.clone());
    let error = status.components.values().find_map(|component| component.error.clone());
    Some(format!(
        "{}: {}",
        part.repository_name,
        error.or(incomplete).unwrap_or_else(|| "the backup failed".to_owned())
    ))
}

fn progress(step: &Step, status: &BackupSessionStatus, view: &View) -> String {
    if !condition::exists(&status.conditions, SNAPSHOTS_ENSURED) {
        let unready: Vec<_> = view.parts.iter().filter_map(unready).collect();
        return if unready.is_empty() {
            "about to begin".to_owned()
        } else {
            format!("waiting: {}", unready.join("; "))
        };
    }
    if let Some(pending) = condition::find(&status.conditions, POD_PENDING_TOO_LONG) {
        return format!("its pod has not started yet: {}", pending.message.clone().unwrap_or_default());
    }
    for state in [&view.executor, &view.retention] {
        if let JobState::Ending(why) = state {
            return format!("waiting: {why}; delete it if nothing is to be hoped of it");
        }
    }
    let retention = condition::exists(&status.conditions, RETENTION_POLICY_EXECUTOR_ENSURED);
    match step {
        _ if retention => "old Snapshots are being removed".to_owned(),
        Step::CreateSnapshots | Step::StartExecutor => "about to begin".to_owned(),
        _ => "the backup is being taken".to_owned(),
    }
}

fn message(status: &BackupSessionStatus, type_: condition::ConditionType) -> String {
    condition::find(&status.conditions, type_).and_then(|one| one.message.clone()).unwrap_or_default()
}

/// The finished sessions that are beyond the history limit, once `this` is finished.
pub(super) fn outdated(view: &View, this: BackupSession, limit: i32) -> Vec<String> {
    let all: Vec<_> = view.others.iter().map(|other| (**other).clone()).chain([this]).collect();
    lifecycle::surplus(&all, limit).iter().map(|session| session.name_any()).collect()
}

/// What is left to do after the last status: nothing changes it but the retry.
fn afterwards(view: &View, status: BackupSessionStatus, now: Timestamp) -> Plan {
    let due = status.next_retry.as_ref().map(|due| due.0).filter(|_| status.retried != Some(true));
    let (step, again) = match due {
        _ if view.bound => (Step::Unbind, due.map(|due| until(due, now))),
        Some(due) if due <= now => (Step::Retry(due), None),
        Some(due) => (Step::Nothing, Some(until(due, now))),
        None => (Step::Nothing, None),
    };
    Plan { step, status, again }
}

fn elapsed(since: Option<Timestamp>, now: Timestamp) -> Duration {
    since.and_then(|since| Duration::try_from(now.duration_since(since)).ok()).unwrap_or_default()
}

fn until(moment: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(moment.duration_since(now)).unwrap_or_default()
}
