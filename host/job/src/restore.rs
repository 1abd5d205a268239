//! `restore`: the pod of a RestoreSession.

use std::sync::Arc;

use coffer_api::condition::{self, RESTORE_INCOMPLETE};
use coffer_api::core::{RestoreComponent, RestorePhase, RestoreSession};
use coffer_api::{duration, phase};
use coffer_executor::{Context, ExecutorError, RestoreReport};
use coffer_resolve::snapshot_component;
use jiff::Timestamp;
use serde_json::json;

use crate::error::JobError;
use crate::progress::{self, Progress};
use crate::{Addons, End, Job, facts, status};

/// The snapshot component when nothing says which it is.
const DEFAULT_COMPONENT: &str = "dump";

/// Runs a RestoreSession. One whose pod was killed in the middle is restored once more; the addon knows what is there already.
///
/// # Errors
/// When it could not be restored. The status says why.
pub fn restore(job: &Job, addons: &Addons, namespace: &str, name: &str) -> Result<End, JobError> {
    let session: RestoreSession = job.required(namespace, name)?;
    let state = session.status.clone().unwrap_or_default();
    if phase::restore_is_final(state.phase) {
        return match state.phase {
            Some(RestorePhase::Succeeded) => Ok(End::Done),
            _ => Err(told(namespace, name, "the RestoreSession has ended")),
        };
    }
    if condition::is_true(&state.conditions, RESTORE_INCOMPLETE) {
        return Err(told(namespace, name, "it has been given up"));
    }
    let resolved = coffer_resolve::restore_by_name(&job.cluster, &addons.catalog, (namespace, name));
    let component = match &resolved {
        Ok(plan) => plan.task.snapshot_component.clone(),
        Err(_) => component_of(&session),
    };
    match state.components.get(&component).and_then(|component| component.phase) {
        Some(RestorePhase::Succeeded) => return Ok(End::Done),
        Some(RestorePhase::Failed) => return Err(told(namespace, name, "an earlier run of this Job failed")),
        _ => {}
    }
    let run = Run { job, namespace, name, component, begun: Timestamp::now() };
    let mut plan = match resolved {
        Ok(plan) => plan,
        Err(error) => {
            run.write(&run.failed(&error.to_string()))?;
            return Err(error.into());
        }
    };
    run.write(&RestoreComponent { phase: Some(RestorePhase::Running), ..RestoreComponent::default() })?;
    // The session's deadline, which began with the session, stands for it.
    plan.timeout = None;
    let progress = Arc::new(Progress::new());
    let cancel = job.until(state.restore_deadline.as_ref());
    let context = Context { events: progress.clone(), cancel, local: job.local, ..addons.context.clone() };
    let tell = |moment: progress::Moment| {
        let fields = status::component(&run.component, &json!({ "progress": moment.of_restore() }));
        let fields = |now: &RestoreSession| is_open(now, &run.component).then_some(fields);
        if let Err(error) = job.report::<RestoreSession>(namespace, name, fields) {
            tracing::debug!("the progress is not told: {error}");
        }
    };
    let result =
        progress::while_telling(&progress, progress::EVERY, tell, || coffer_executor::restore(&plan, &context));
    run.write(&run.ended(&result, &progress))?;
    result.map(|_| End::Done).map_err(JobError::from)
}

fn told(namespace: &str, name: &str, why: &str) -> JobError {
    JobError::refused(
        format!("RestoreSession {namespace}/{name} does not run again"),
        why,
        "look at its status, and apply another RestoreSession",
    )
}

/// The snapshot component of a session that cannot be resolved, by the name of its task alone.
fn component_of(session: &RestoreSession) -> String {
    let tasks = session.spec.addon.iter().flat_map(|addon| &addon.tasks);
    let components: Vec<_> = tasks.filter_map(|task| task.name.as_deref()).map(snapshot_component).collect();
    let data = components.iter().find(|component| **component != "manifest").or(components.first());
    data.map_or(DEFAULT_COMPONENT, |component| component).to_owned()
}

/// Whether it may still be said what becomes of a component: what is final stays, as when the operator has given this run up.
fn is_open(session: &RestoreSession, component: &str) -> bool {
    let Some(status) = &session.status else { return true };
    let said = status.components.get(component).and_then(|component| component.phase);
    !phase::restore_is_final(said)
        && !phase::restore_is_final(status.phase)
        && !condition::is_true(&status.conditions, RESTORE_INCOMPLETE)
}

struct Run<'a> {
    job: &'a Job,
    namespace: &'a str,
    name: &'a str,
    component: String,
    begun: Timestamp,
}

impl Run<'_> {
    fn write(&self, component: &RestoreComponent) -> Result<(), JobError> {
        let fields = status::component(&self.component, component);
        self.job.edit_status::<RestoreSession>(self.namespace, self.name, |now| {
            is_open(now, &self.component).then(|| fields.clone())
        })?;
        Ok(())
    }

    fn took(&self) -> String {
        duration::format(facts::between(self.begun, Timestamp::now()))
    }

    fn failed(&self, error: &str) -> RestoreComponent {
        RestoreComponent {
            phase: Some(RestorePhase::Failed),
            duration: Some(self.took()),
            error: Some(facts::error_text(error)),
            progress: None,
        }
    }

    fn ended(&self, result: &Result<RestoreReport, ExecutorError>, progress: &Progress) -> RestoreComponent {
        let now = progress.now();
        match result {
            Err(error) => RestoreComponent { progress: Some(now.of_restore()), ..self.failed(&error.to_string()) },
            Ok(_) => RestoreComponent {
                phase: Some(RestorePhase::Succeeded),
                duration: Some(self.took()),
                error: None,
                progress: Some(now.complete().of_restore()),
            },
        }
    }
}
