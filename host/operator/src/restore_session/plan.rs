//! Validate: what a RestoreSession needs next. No side effects, no clock of its own.

use std::time::Duration;

use coffer_api::condition::{self, METRICS_PUSHED, RESTORE_EXECUTOR_ENSURED, RESTORE_INCOMPLETE, VALIDATION_PASSED};
use coffer_api::core::{RestorePhase, RestoreSessionStatus};
use coffer_api::{duration, lifecycle, phase};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;

use crate::job_state::JobState;
use crate::kstatus::{self, State};
use crate::options::Limits;
use crate::restore_session::validate;
use crate::restore_session::view::View;

/// When to look again after a step that changes nothing of the session itself.
const SOON: Duration = Duration::from_secs(1);

/// The next step of a restore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Pause the backups of the target, then create the Job.
    StartExecutor,
    /// Remove a Job whose result does not count any more.
    StopExecutor,
    /// Resume the backups, then write the last status.
    Finish,
    /// Resume the backups that are still paused although all is over.
    Resume,
    /// Take the rights of its Job away.
    Unbind,
    /// Nothing but the status.
    Nothing,
}

/// A step, the status that goes with it, and when to look again if nothing happens before.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Plan {
    pub(super) step: Step,
    pub(super) status: RestoreSessionStatus,
    pub(super) again: Option<Duration>,
}

pub(super) fn plan(view: &View, now: Timestamp, limits: &Limits) -> Plan {
    let mut status = view.session.status.clone().unwrap_or_default();
    let generation = view.session.metadata.generation;
    // One that was wrong may have been corrected.
    let corrected = status.phase == Some(RestorePhase::Invalid) && status.observed_generation != generation;
    if phase::restore_is_final(status.phase) && !corrected {
        let (step, again) = match (view.holds, view.bound) {
            (true, _) => (Step::Resume, Some(SOON)),
            (false, true) => (Step::Unbind, None),
            (false, false) => (Step::Nothing, None),
        };
        return Plan { step, status, again };
    }
    status.observed_generation = generation;
    Planner { view, status, now, limits }.next()
}

/// How long the Job has been due: a session that begins passes its validation once more at that moment.
pub(super) fn waited(status: &RestoreSessionStatus, now: Timestamp) -> Duration {
    let begun = condition::find(&status.conditions, VALIDATION_PASSED);
    begun.map(|begun| elapsed(begun.last_transition_time.0, now)).unwrap_or_default()
}

fn elapsed(since: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(since)).unwrap_or_default()
}

struct Planner<'a> {
    view: &'a View,
    status: RestoreSessionStatus,
    now: Timestamp,
    limits: &'a Limits,
}

impl Planner<'_> {
    fn next(mut self) -> Plan {
        let begun = self.status.total_components.is_some();
        if !begun {
            self.status.target_found = self.view.target_found;
            self.status.dependencies.clone_from(&self.view.dependencies);
            let problems = validate::problems(&self.view.session);
            if !problems.is_empty() {
                self.set(VALIDATION_PASSED.fails_because(problems.join("; ")));
                return self.with(Step::Nothing, None);
            }
            self.set(VALIDATION_PASSED.holds());
            if !self.view.missing.is_empty() {
                let again = Some(self.limits.resync);
                return self.with(Step::Nothing, again);
            }
            return self.begin();
        }
        if !condition::exists(&self.status.conditions, RESTORE_EXECUTOR_ENSURED) {
            // An operator that was killed may have created the Job without having said so.
            let begun = self.view.executor != JobState::Missing || !self.status.components.is_empty();
            match self.overdue() {
                _ if begun => self.set(RESTORE_EXECUTOR_ENSURED.holds()),
                None => {
                    let again = Some(self.limits.resync);
                    return self.with(Step::StartExecutor, again);
                }
                Some(why) => self.set(RESTORE_EXECUTOR_ENSURED.fails_because(why)),
            }
        }
        self.executor()
    }

    /// What is decided now holds to the end; what it does to others is written down before it is done.
    fn begin(mut self) -> Plan {
        self.status.total_components = Some(1);
        let timeout = self.view.session.spec.restore_timeout.as_deref();
        // A timeout that cannot be read was refused above.
        self.status.restore_deadline = lifecycle::deadline(self.now, timeout).ok().flatten().map(Time);
        self.status.paused_backups.clone_from(&self.view.to_pause);
        // What it waited for before is not what it waits for from now on: see `waited`.
        condition::remove(&mut self.status.conditions, VALIDATION_PASSED);
        self.set(VALIDATION_PASSED.holds());
        self.with(Step::Nothing, None)
    }

    fn executor(mut self) -> Plan {
        let again = Some(self.limits.resync);
        if condition::is_false(&self.status.conditions, RESTORE_EXECUTOR_ENSURED) {
            return self.stop_or_finish();
        }
        let components = phase::restore_components(&self.status.components, self.status.total_components);
        if phase::restore_is_final(Some(components)) || condition::is_true(&self.status.conditions, RESTORE_INCOMPLETE)
        {
            return self.stop_or_finish();
        }
        let why = match (self.overdue(), &self.view.executor) {
            (Some(why), _) => why,
            (None, JobState::Complete) => "its Job ended without a result".to_owned(),
            (None, JobState::Missing) => "its Job is gone: somebody has deleted it".to_owned(),
            (None, JobState::Failed(why)) => why.clone(),
            (None, JobState::Waiting(since, why)) if *since >= self.limits.start => {
                format!("its Job has not started within {} minutes: {why}", self.limits.start.as_secs() / 60)
            }
            (None, JobState::Waiting(..) | JobState::Running | JobState::Ending(_)) => {
                return self.with(Step::Nothing, again);
            }
        };
        // The result of the Job may be newer than what is known here: then this status is refused, and read again.
        self.set(RESTORE_INCOMPLETE.holds_because(why.clone()));
        for one in self.status.components.values_mut().filter(|one| !phase::restore_is_final(one.phase)) {
            one.phase = Some(RestorePhase::Failed);
            one.error = Some(why.clone());
        }
        self.with(Step::Nothing, Some(Duration::from_secs(1)))
    }

    /// The last steps: nothing may run any more when the session says that it has ended.
    fn stop_or_finish(mut self) -> Plan {
        // It took until its result was there, however long its Job then takes to end.
        let began =
            condition::find(&self.status.conditions, RESTORE_EXECUTOR_ENSURED).map(|one| one.last_transition_time.0);
        let began = began.or_else(|| self.view.session.creation_timestamp().map(|time| time.0));
        let passed = began.map(|began| elapsed(began, self.now)).unwrap_or_default();
        let took = self.status.duration.get_or_insert_with(|| duration::format(passed));
        let lingers = passed > duration::parse(took).unwrap_or_default().saturating_add(self.limits.prepare);
        if !self.view.executor.is_over() {
            let incomplete = condition::is_true(&self.status.conditions, RESTORE_INCOMPLETE)
                || condition::is_false(&self.status.conditions, RESTORE_EXECUTOR_ENSURED);
            let stop = incomplete || lingers || self.overdue().is_some();
            let again = Some(self.limits.resync);
            return self.with(if stop { Step::StopExecutor } else { Step::Nothing }, again);
        }
        self.set(METRICS_PUSHED.holds());
        self.with(Step::Finish, None)
    }

    fn overdue(&self) -> Option<String> {
        let deadline = self.status.restore_deadline.as_ref()?;
        (deadline.0 <= self.now).then(|| {
            let timeout = self.view.session.spec.restore_timeout.as_deref().unwrap_or_default();
            format!("deadline exceeded: it has not ended within its restoreTimeout of {timeout}")
        })
    }

    fn set(&mut self, change: condition::Change) {
        condition::set(&mut self.status.conditions, change, self.now);
    }

    fn with(mut self, step: Step, again: Option<Duration>) -> Plan {
        let phase = phase::restore_session(&self.status);
        self.status.phase = Some(phase);
        let state = match phase {
            RestorePhase::Succeeded => State::Ready,
            RestorePhase::Failed | RestorePhase::Invalid | RestorePhase::Unknown => State::Stalled(self.failure()),
            RestorePhase::Pending | RestorePhase::Running => State::Reconciling(self.progress()),
        };
        kstatus::set(&mut self.status.conditions, &state, self.view.session.metadata.generation, self.now);
        // A deadline is an event that nobody sends.
        let deadline = self.status.restore_deadline.as_ref();
        let left = deadline.and_then(|deadline| lifecycle::time_left(deadline.0, self.now));
        let again = match (again, left) {
            (Some(again), Some(left)) => Some(again.min(left)),
            (again, left) => again.or(left),
        };
        Plan { step, status: self.status, again }
    }

    fn failure(&self) -> String {
        let errors =
            self.status.components.iter().filter_map(|(name, one)| Some(format!("{name}: {}", one.error.as_ref()?)));
        let errors: Vec<_> = errors.collect();
        if !errors.is_empty() {
            return errors.join("; ");
        }
        let message = |type_| condition::find(&self.status.conditions, type_).and_then(|one| one.message.clone());
        let incomplete = message(RESTORE_INCOMPLETE);
        let failed = [VALIDATION_PASSED, RESTORE_EXECUTOR_ENSURED]
            .into_iter()
            .filter(|type_| condition::is_false(&self.status.conditions, *type_))
            .find_map(message);
        incomplete.or(failed).unwrap_or_else(|| "the restore failed".to_owned())
    }

    fn progress(&self) -> String {
        if self.status.total_components.is_none() {
            return format!("waiting: {}", self.view.missing.join("; "));
        }
        if let JobState::Waiting(since, why) = &self.view.executor
            && *since >= self.limits.slow_start
        {
            return format!("its pod has not started yet: {why}");
        }
        "the restore is at work".to_owned()
    }
}
