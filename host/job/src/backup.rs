//! `backup`: the pod of a BackupSession. One run of the executor for all of its Snapshots, and what became of each.

use std::time::Duration;

use coffer_api::core::{BackupConfiguration, BackupSession, BackupSessionPhase};
use coffer_api::plan::{BackupPlan, Destination};
use coffer_api::storage::{Snapshot, SnapshotComponent};
use coffer_api::{ResourceExt as _, cancel::Cancel, names, phase};
use coffer_executor::Context;
use coffer_repository::{CheckOptions, Repository, RepositoryError};
use coffer_resolve::{PartialBackup, snapshot_component};
use coffer_storage::Storage;
use jiff::Timestamp;
use serde_json::json;

use crate::conclude::Conclusion;
use crate::error::JobError;
use crate::facts::{self, Stored};
use crate::progress::{self, Progress};
use crate::{Addons, End, Job, locks, status};

/// The snapshot component when nothing says which it is.
const DEFAULT_COMPONENT: &str = "dump";
/// Pauses between looks into a repository where an earlier run may have published: an outage of some minutes may pass.
const LOOKS: [Duration; 5] = [
    Duration::from_secs(5),
    Duration::from_secs(15),
    Duration::from_secs(30),
    Duration::from_mins(1),
    Duration::from_mins(2),
];

/// Runs a BackupSession.
///
/// # Errors
/// When no Snapshot got its data, or when not every fact could be written. What became of each Snapshot is in its status.
pub fn backup(job: &Job, addons: &Addons, namespace: &str, name: &str) -> Result<End, JobError> {
    let session: BackupSession = job.required(namespace, name)?;
    let state = session.status.clone().unwrap_or_default();
    if phase::session_is_final(state.phase) {
        return already_over(namespace, name, state.phase);
    }
    let mut parts = Vec::new();
    for one in &state.snapshots {
        let snapshot: Snapshot = job.required(namespace, one.name.as_deref().unwrap_or_default())?;
        if snapshot.spec.repository != one.repository {
            return Err(JobError::refused(
                format!("BackupSession {namespace}/{name} cannot run"),
                format!(
                    "its Snapshot {} is of another Repository than {}",
                    snapshot.name_any(),
                    one.repository.as_deref().unwrap_or_default()
                ),
                "give its Repositories shorter names: those of their Snapshots are cut to the same",
            ));
        }
        parts.push(Part { repository: snapshot.spec.repository.clone().unwrap_or_default(), snapshot, outcome: None });
    }
    if parts.is_empty() {
        return Err(JobError::refused(
            format!("BackupSession {namespace}/{name} cannot run"),
            "it has no Snapshots",
            "leave it to the operator, which makes them before this Job",
        ));
    }
    let configuration = session.spec.invoker.as_ref().map(|invoker| invoker.name.clone()).unwrap_or_default();
    let session_name = session.spec.session.clone().unwrap_or_default();
    let resolved =
        coffer_resolve::backup_by_name(&job.cluster, &addons.catalog, (namespace, &configuration, &session_name));
    let component = match &resolved {
        Ok(partial) => partial.plan.task.snapshot_component.clone(),
        Err(_) => component_of(job, namespace, &configuration, &session_name),
    };
    let run = Run {
        job,
        path: names::component_path(&session_name, &component),
        component,
        cancel: job.until(state.backup_deadline.as_ref()),
        begun: Timestamp::now(),
    };
    for part in &mut parts {
        part.outcome = run.before(&part.snapshot);
    }
    let first_error = match resolved {
        Ok(partial) => run.carry_out(addons, partial, &mut parts)?,
        Err(error) => {
            parts.iter_mut().filter(|part| part.outcome.is_none()).for_each(|part| part.failed(&error));
            Some(error.into())
        }
    };
    run.finish(&parts, first_error)
}

fn already_over(namespace: &str, name: &str, phase: Option<BackupSessionPhase>) -> Result<End, JobError> {
    if phase == Some(BackupSessionPhase::Succeeded) {
        return Ok(End::Done);
    }
    Err(JobError::refused(
        format!("BackupSession {namespace}/{name} does not run again"),
        format!("it has ended as {}", phase.map_or("unknown", phase_name)),
        "trigger another one",
    ))
}

fn phase_name(phase: BackupSessionPhase) -> &'static str {
    match phase {
        BackupSessionPhase::Pending => "Pending",
        BackupSessionPhase::Running => "Running",
        BackupSessionPhase::Succeeded => "Succeeded",
        BackupSessionPhase::Failed => "Failed",
        BackupSessionPhase::Skipped => "Skipped",
    }
}

/// The snapshot component of a session that cannot be resolved, by the name of its task alone.
fn component_of(job: &Job, namespace: &str, configuration: &str, session: &str) -> String {
    let found = coffer_resolve::get::<BackupConfiguration>(&job.cluster, namespace, configuration).ok().flatten();
    let sessions = found.map(|found| found.spec.sessions).unwrap_or_default();
    let ours = sessions.into_iter().find(|one| one.name.as_deref() == Some(session));
    let tasks = ours.and_then(|session| session.addon).map(|addon| addon.tasks).unwrap_or_default();
    // Of several the one with the data.
    let components: Vec<_> = tasks.iter().filter_map(|task| task.name.as_deref()).map(snapshot_component).collect();
    let data = components.iter().find(|component| **component != "manifest").or(components.first());
    data.map_or(DEFAULT_COMPONENT, |component| component).to_owned()
}

/// One Snapshot of the session.
struct Part {
    repository: String,
    snapshot: Snapshot,
    outcome: Option<Outcome>,
}

/// What became of a Snapshot.
#[derive(Debug, Clone)]
enum Outcome {
    /// An earlier run of this Job has said so already.
    Told,
    /// Its restic snapshot is in the repository.
    Stored(Stored),
    /// It has none.
    Failed(String),
}

impl Part {
    fn failed(&mut self, error: &impl ToString) {
        self.outcome = Some(Outcome::Failed(error.to_string()));
    }

    fn component<'a>(&'a self, name: &str) -> Option<&'a SnapshotComponent> {
        self.snapshot.status.as_ref()?.components.get(name)
    }

    /// What the restic snapshot of this Snapshot is tagged with, in its own repository and in the others of the session.
    fn tag(&self) -> String {
        tag(&self.snapshot)
    }
}

/// What the restic snapshots of a Snapshot are tagged with: an id that no other Snapshot ever has.
pub(crate) fn tag(snapshot: &Snapshot) -> String {
    snapshot
        .spec
        .snapshot_id
        .clone()
        .filter(|id| !id.is_empty())
        .or(snapshot.uid())
        .unwrap_or_else(|| snapshot.name_any())
}

struct Run<'a> {
    job: &'a Job,
    component: String,
    path: String,
    cancel: Cancel,
    begun: Timestamp,
}

impl Run<'_> {
    /// What an earlier run of this Job said of a Snapshot.
    fn before(&self, snapshot: &Snapshot) -> Option<Outcome> {
        let component = snapshot.status.as_ref()?.components.get(&self.component)?;
        facts::is_final(component.phase).then_some(Outcome::Told)
    }

    /// Brings every open part to an outcome. Returns the first error.
    fn carry_out(
        &self,
        addons: &Addons,
        partial: PartialBackup,
        parts: &mut [Part],
    ) -> Result<Option<JobError>, JobError> {
        let PartialBackup { mut plan, refused } = partial;
        let mut first = None;
        for (repository, error) in refused {
            for part in parts.iter_mut().filter(|part| part.outcome.is_none() && part.repository == repository) {
                part.failed(&error);
            }
            first.get_or_insert(JobError::from(error));
        }
        let mut open = Vec::new();
        for destination in std::mem::take(&mut plan.destinations) {
            let mut ours = parts.iter_mut().filter(|part| part.outcome.is_none());
            if let Some(part) = ours.find(|part| part.repository == destination.repository) {
                part.outcome = self.begin(part, &destination)?;
                if part.outcome.is_none() {
                    open.push(destination);
                }
            }
        }
        for part in parts.iter_mut().filter(|part| part.outcome.is_none()) {
            if !open.iter().any(|destination| destination.repository == part.repository) {
                part.failed(&"the session does not write this repository any more");
            }
        }
        if !open.is_empty() {
            plan.destinations = open;
            plan.tags = parts.iter().map(Part::tag).collect();
            // The session's deadline, which began with the session, stands for it.
            plan.timeout = None;
            let error = self.execute(addons, &plan, parts);
            first = first.or(error);
        }
        Ok(first)
    }

    /// Says that a part has begun. Where that was said before, the run that said it may have got as far as to publish.
    fn begin(&self, part: &Part, destination: &Destination) -> Result<Option<Outcome>, JobError> {
        let begun_before = part.component(&self.component).is_some();
        if !begun_before {
            let running = status::component(&self.component, &facts::running(&self.path));
            let (namespace, name) = (part.snapshot.namespace().unwrap_or_default(), part.snapshot.name_any());
            let mut given_up = false;
            self.job.edit_status::<Snapshot>(&namespace, &name, |now| {
                given_up = !facts::is_open(now, &self.component);
                (!given_up).then(|| running.clone())
            })?;
            if given_up {
                return Ok(Some(Outcome::Told));
            }
        }
        let tag = begun_before.then(|| part.tag());
        // Where nothing can be published yet, one look is enough.
        let pauses = if begun_before { LOOKS.as_slice() } else { &[] };
        match look_again(&self.cancel, pauses, || self.look_into(destination, tag.as_deref())) {
            Ok(found) => Ok(found.map(Outcome::Stored)),
            // What does not open now does not open for the executor, which says so.
            Err(Unfit::Unknown(error)) => {
                tracing::debug!("repository {}: {error}", destination.repository);
                Ok(None)
            }
            Err(Unfit::Damaged(why)) => Ok(Some(Outcome::Failed(why))),
        }
    }

    /// Waits until the repository is free, and looks for what an earlier run has published under `tag`.
    fn look_into(&self, destination: &Destination, tag: Option<&str>) -> Result<Option<Stored>, Unfit> {
        let unknown = |error: RepositoryError| Unfit::Unknown(JobError::repository(&destination.repository)(error));
        let storage = Storage::open(&destination.storage, self.job.local)
            .map_err(|error| Unfit::Unknown(error.into()))?
            .subdirectory(&destination.path);
        let Some(repository) = Repository::find(&storage, &destination.password, &self.cancel).map_err(unknown)? else {
            return Ok(None);
        };
        locks::wait_until_shared(&repository, &self.cancel).map_err(unknown)?;
        let Some(tag) = tag else { return Ok(None) };
        let mut found = repository.listing().map_err(unknown)?.snapshots;
        found.retain(|snapshot| snapshot.tags.iter().any(|one| one == tag));
        let Some(snapshot) = found.pop() else { return Ok(None) };
        tracing::warn!(id = snapshot.id, "an earlier run of this Job has published its snapshot, and was killed then");
        // It was killed before it could doubt what it had written.
        let report = repository.check(CheckOptions { read_data: false }).map_err(unknown)?;
        if let Some(damage) = report.errors.first() {
            return Err(Unfit::Damaged(format!(
                "an earlier run of this Job published snapshot {} and was killed, and the repository is damaged: {damage}; run \
                 `coffer check --read-data`",
                snapshot.short_id()
            )));
        }
        let summary = snapshot.summary.as_ref();
        Ok(Some(Stored {
            path: snapshot.paths.first().cloned().unwrap_or_default(),
            bytes: summary.map(|summary| summary.bytes).unwrap_or_default(),
            added: summary.map(|summary| summary.added).unwrap_or_default(),
            start: summary.map_or(snapshot.time, |summary| summary.started),
            end: summary.map_or(snapshot.time, |summary| summary.ended),
            id: snapshot.id,
        }))
    }

    /// Runs the executor for the open parts, and tells how far it is. Returns the first error.
    fn execute(&self, addons: &Addons, plan: &BackupPlan, parts: &mut [Part]) -> Option<JobError> {
        let progress = std::sync::Arc::new(Progress::new());
        let context = Context {
            events: progress.clone(),
            cancel: self.cancel.clone(),
            local: self.job.local,
            ..addons.context.clone()
        };
        let open: Vec<(String, String)> = parts
            .iter()
            .filter(|part| part.outcome.is_none())
            .map(|part| (part.snapshot.namespace().unwrap_or_default(), part.snapshot.name_any()))
            .collect();
        let tell = |moment: progress::Moment| {
            let status =
                status::component(&self.component, &json!({ "resticStats": [{ "progress": moment.of_backup() }] }));
            let fields = |now: &Snapshot| facts::is_open(now, &self.component).then(|| status.clone());
            for (namespace, name) in &open {
                if let Err(error) = self.job.report::<Snapshot>(namespace, name, fields) {
                    tracing::debug!("the progress is not told: {error}");
                }
            }
        };
        let result =
            progress::while_telling(&progress, progress::EVERY, tell, || coffer_executor::backup(plan, &context));
        let open = parts.iter_mut().filter(|part| part.outcome.is_none());
        match result {
            Err(error) => {
                open.for_each(|part| part.failed(&error));
                Some(error.into())
            }
            Ok(report) => {
                let mut first = None;
                let mut outcomes = report.outcomes;
                for part in open {
                    let index = outcomes.iter().position(|outcome| outcome.repository == part.repository);
                    match index.map(|index| outcomes.swap_remove(index).result) {
                        Some(Ok(published)) => {
                            part.outcome = Some(Outcome::Stored(Stored {
                                id: published.id,
                                path: report.path.clone(),
                                bytes: published.bytes_processed,
                                added: published.bytes_added,
                                start: report.start_time,
                                end: report.end_time,
                            }));
                        }
                        Some(Err(error)) => {
                            part.failed(&error);
                            first.get_or_insert(error.into());
                        }
                        None => part.failed(&"the run says nothing of this repository; please report it"),
                    }
                }
                first
            }
        }
    }

    /// Writes every outcome, and what follows from it. One Snapshot that cannot be finished does not keep the others from it.
    fn finish(&self, parts: &[Part], first_error: Option<JobError>) -> Result<End, JobError> {
        let mut first = first_error;
        let (mut succeeded, mut untold) = (0, None);
        for part in parts {
            match self.finish_one(part) {
                Ok(true) => succeeded += 1,
                Ok(false) => {}
                Err(error) => {
                    tracing::error!("Snapshot {}: {error}", part.snapshot.name_any());
                    untold.get_or_insert(error);
                }
            }
        }
        match (untold, succeeded) {
            (Some(error), _) => Err(error),
            (None, all) if all == parts.len() => Ok(End::Done),
            (None, 0) => Err(first.take().unwrap_or_else(|| {
                JobError::refused("no Snapshot succeeded", "an earlier run of this Job failed", "look at their status")
            })),
            (None, _) => {
                if let Some(error) = first {
                    tracing::error!("{error}");
                }
                Ok(End::Partial)
            }
        }
    }

    /// Whether the Snapshot succeeded.
    fn finish_one(&self, part: &Part) -> Result<bool, JobError> {
        let component = match &part.outcome {
            Some(Outcome::Stored(stored)) => Some(facts::succeeded(&self.path, stored)),
            Some(Outcome::Failed(error)) => {
                let took = facts::between(self.begun, Timestamp::now());
                Some(facts::failed(&self.path, took, error))
            }
            Some(Outcome::Told) | None => None,
        };
        let (namespace, name) = (part.snapshot.namespace().unwrap_or_default(), part.snapshot.name_any());
        if let Some(component) = &component {
            let fields = status::component(&self.component, component);
            // What is final stays: the operator may have given this run up, or another pod of the Job have finished it.
            self.job.edit_status::<Snapshot>(&namespace, &name, |now| {
                facts::is_open(now, &self.component).then(|| fields.clone())
            })?;
        }
        Conclusion { job: self.job, component: &self.component, cancel: &self.cancel }.draw(&namespace, &name)
    }
}

/// Why a repository cannot be looked into.
#[derive(Debug)]
enum Unfit {
    /// Nobody knows what is in it.
    Unknown(JobError),
    /// What an earlier run left in it cannot be trusted.
    Damaged(String),
}

/// Looks, and again after each pause as long as what is in the way may pass. Whoever gives up publishes the same backup once
/// more, which is told apart by its id; that is better than none.
fn look_again<T>(cancel: &Cancel, pauses: &[Duration], mut look: impl FnMut() -> Result<T, Unfit>) -> Result<T, Unfit> {
    for pause in pauses {
        match look() {
            Err(Unfit::Unknown(error)) if error.is_retryable() => {
                tracing::warn!(?pause, "what an earlier run of this Job has left is not known, looking again: {error}");
                if cancel.wait(*pause) {
                    return Err(Unfit::Unknown(error));
                }
            }
            other => return other,
        }
    }
    look()
}

#[cfg(test)]
mod tests {
    use coffer_resolve::{ErrorKind, ResolveError};

    use super::*;

    fn unknown(kind: ErrorKind) -> Unfit {
        Unfit::Unknown(ResolveError::new(kind, "no list", "no answer", "try again").into())
    }

    #[test]
    fn what_may_pass_does_not_end_the_looking() {
        let pauses = [Duration::from_millis(1); 3];
        let run = |cancel: &Cancel, fails: usize, kind| {
            let mut looks = 0;
            let result = look_again(cancel, &pauses, || {
                looks += 1;
                if looks <= fails { Err(unknown(kind)) } else { Ok("found") }
            });
            (result.ok(), looks)
        };
        let cancel = Cancel::new();
        assert_eq!(run(&cancel, 0, ErrorKind::Unreadable), (Some("found"), 1));
        assert_eq!(run(&cancel, 3, ErrorKind::Unreadable), (Some("found"), 4));
        assert_eq!(run(&cancel, 9, ErrorKind::Unreadable), (None, 4));
        assert_eq!(run(&cancel, 1, ErrorKind::Denied), (None, 1), "this does not pass by itself");
        cancel.cancel("interrupted by SIGTERM");
        assert_eq!(run(&cancel, 1, ErrorKind::Unreadable), (None, 1));
        let damaged = look_again(&Cancel::new(), &pauses, || Err::<(), _>(Unfit::Damaged("bad".to_owned())));
        assert!(matches!(damaged, Err(Unfit::Damaged(_))));
    }
}
