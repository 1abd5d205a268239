//! Build and apply: takes the step that was planned, then writes the status.

use std::time::Duration;

use coffer_api::condition::{self, RESTORE_EXECUTOR_ENSURED};
use coffer_api::core::{RestorePhase, RestoreSessionStatus};
use coffer_api::meta::{cluster_role, component};
use kube::runtime::controller::Action;

use crate::build::job::Work;
use crate::build::settings::Settings;
use crate::build::volumes::Volumes;
use crate::build::{self, Invoker};
use crate::context::Context;
use crate::error::Error;
use crate::events::{self, Note};
use crate::restore_session::pause;
use crate::restore_session::plan::{self, Plan, Step};
use crate::restore_session::view::View;
use crate::tasks::{self, Direction};
use crate::{apply, jobs, stores};

/// How much longer than its deadline Kubernetes lets a Job live: the operator ends it first, if it is there.
const MARGIN: Duration = Duration::from_mins(2);

pub(super) async fn run(view: &View, plan: Plan, context: &Context) -> Result<Action, Error> {
    let Plan { step, mut status, again } = plan;
    let session = view.session.as_ref();
    match step {
        Step::Nothing => {}
        Step::StartExecutor => {
            let change = match begin(view, &status, context).await {
                Ok(()) => RESTORE_EXECUTOR_ENSURED.holds(),
                // Backups must not wait for ever for a Job that nobody can start.
                Err(error) if error.is_hopeless(plan::waited(&status, context.now()), context.options.limits.start) => {
                    RESTORE_EXECUTOR_ENSURED.fails_because(error.to_string())
                }
                Err(error) => return Err(error),
            };
            condition::set(&mut status.conditions, change, context.now());
        }
        Step::StopExecutor => {
            let (namespace, name) = apply::place(session)?;
            jobs::delete(context, session, (&namespace, &name)).await?;
        }
        Step::Finish => {
            // The end is the end, whatever becomes of the backups: `pause::settle` takes the name of a restore that is over off.
            if let Err(error) = pause::resume(session, context).await {
                tracing::warn!(%error, "backups that the restore had paused could not be resumed yet");
            }
        }
        Step::Resume => pause::resume(session, context).await?,
        Step::Unbind => jobs::unbind(context, &Invoker::of(session)).await?,
    }
    write(view, &status, context).await?;
    Ok(again.map_or_else(Action::await_change, Action::requeue))
}

async fn write(view: &View, status: &RestoreSessionStatus, context: &Context) -> Result<(), Error> {
    let session = view.session.as_ref();
    let before = session.status.as_ref();
    if !apply::patch_status(&context.client, session, before, status).await? {
        return Ok(());
    }
    let conditions = before.map(|status| status.conditions.as_slice()).unwrap_or_default();
    let mut notes = events::of_conditions(conditions, &status.conditions);
    if status.phase == Some(RestorePhase::Succeeded) && before.and_then(|before| before.phase) != status.phase {
        let took = status.duration.as_deref().unwrap_or_default();
        notes.push(Note::normal("RestoreSucceeded", format!("the restore succeeded after {took}")));
    }
    events::publish(&context.recorder, session, notes).await;
    Ok(())
}

/// Pauses the backups, then starts the Job.
async fn begin(view: &View, status: &RestoreSessionStatus, context: &Context) -> Result<(), Error> {
    pause::pause(view.session.as_ref(), &status.paused_backups, context).await?;
    start(view, status, context).await
}

async fn start(view: &View, status: &RestoreSessionStatus, context: &Context) -> Result<(), Error> {
    let session = view.session.as_ref();
    let (namespace, name) = apply::place(session)?;
    let stores = &context.stores;
    let info = session.spec.addon.as_ref();
    let (_, task, reference) =
        tasks::resolve(stores, info, Direction::Restore).map_err(|why| Error::Waiting(why.join("; ")))?;
    let function = stores::get_global(&stores.functions, task.function.as_deref().unwrap_or_default());
    let function = function.as_ref().and_then(|function| function.spec.runtime_settings.as_ref());
    let template = info.and_then(|info| info.job_template.as_ref());
    let container = info.and_then(|info| info.container_runtime_settings.as_ref());
    let left = status.restore_deadline.as_ref().map(|deadline| deadline.0.duration_since(context.now()));
    let work = Work {
        invoker: Invoker::of(session),
        owner: Some(build::owner(session)?),
        component: Some(component::RESTORE),
        session: None,
        container: tasks::container(&task),
        args: ["run", "restore", "--namespace", &namespace, "--session", &name].map(str::to_owned).to_vec(),
        role: cluster_role::RESTORE_JOB,
        reach: view.reach.clone(),
        volumes: Volumes::scratch().storages(view.storage.as_deref())?.task(&task, &reference)?,
        settings: Settings::of_template(template, container).over(function),
        deadline: left.map(|left| Duration::try_from(left).unwrap_or_default().saturating_add(MARGIN)),
        namespace,
        name,
    };
    jobs::start(context, session, &work).await
}
