//! The BackupConfiguration controller: repositories and triggers, whether everything is there, and the first backup.

mod deletion;
mod next;
mod repositories;
mod schedule;
mod shared;
mod validate;
mod view;

use std::sync::Arc;
use std::time::Duration;

use coffer_api::condition::{self, INITIAL_BACKUP_TRIGGERED, VALIDATION_PASSED};
use coffer_api::core::{BackupConfiguration, BackupConfigurationStatus, InvokerPhase, SessionStatus};
use coffer_api::storage::Snapshot;
use coffer_api::{lifecycle, names, phase};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use kube::ResourceExt as _;
use kube::runtime::controller::Action;

use crate::backup_session::create_session;
use crate::build::backup_session::Cause;
use crate::context::Context;
use crate::controller::Controller;
use crate::error::Error;
use crate::kstatus::{self, State};
use crate::restore_session::pause;
use crate::{apply, events};
pub(crate) use shared::{all_repositories, share};
use view::View;

/// How often a configuration is looked at when nothing has changed, to undo what nobody has told of.
const HEARTBEAT: Duration = Duration::from_hours(1);

/// The controller of BackupConfigurations.
pub(crate) struct BackupConfigurations;

impl Controller for BackupConfigurations {
    type Object = BackupConfiguration;
    const NAME: &'static str = "backup_configuration";

    fn reconcile(
        configuration: Arc<BackupConfiguration>,
        context: Arc<Context>,
    ) -> BoxFuture<'static, Result<Action, Error>> {
        async move { reconcile(&configuration, &context).await }.boxed()
    }
}

async fn reconcile(configuration: &Arc<BackupConfiguration>, context: &Context) -> Result<Action, Error> {
    if configuration.metadata.deletion_timestamp.is_some() {
        return deletion::run(configuration, context).await;
    }
    if apply::add_finalizer(&context.client, configuration.as_ref()).await? {
        return Ok(Action::await_change());
    }
    if pause::settle(configuration, context).await? {
        return Ok(Action::await_change());
    }
    let view = view::of(configuration, context);
    let problems = validate::problems(&view);
    let mut status = configuration.status.clone().unwrap_or_default();
    let now = context.now();
    let verdict = if problems.is_empty() {
        VALIDATION_PASSED.holds()
    } else {
        VALIDATION_PASSED.fails_because(problems.join("; "))
    };
    condition::set(&mut status.conditions, verdict, now);
    facts(&view, &mut status);
    if problems.is_empty() {
        repositories::ensure(&view, context).await?;
    }
    let obstacles = schedule::ensure(&view, &mut status, !problems.is_empty(), context).await?;
    conclude(&view, &mut status, &obstacles, context);
    let is_ready = status.phase == Some(InvokerPhase::Ready);
    let was_ready = configuration.status.as_ref().and_then(|status| status.phase) == Some(InvokerPhase::Ready);
    // A session runs only if the cluster knows that its configuration is ready.
    let first = if is_ready && was_ready { first_backups(&view, &mut status, context).await } else { Ok(()) };
    write(configuration, &status, context).await?;
    first?;
    let resync = context.options.limits.resync;
    Ok(Action::requeue(match (is_ready, obstacles.is_empty()) {
        (true, _) => next::pause(&status, now, heartbeat(configuration)),
        // What is in the way of a trigger is nobody's to watch.
        (false, false) => resync,
        (false, true) => resync * 10,
    }))
}

/// What is there, as the status tells it.
fn facts(view: &View, status: &mut BackupConfigurationStatus) {
    status.observed_generation = view.configuration.metadata.generation;
    status.target_found = view.target_found;
    status.backends = view.backend_statuses();
    status.repositories = view.repository_statuses();
    status.dependencies = view.dependencies();
}

/// Creates the first BackupSession of each session that never had one.
async fn first_backups(view: &View, status: &mut BackupConfigurationStatus, context: &Context) -> Result<(), Error> {
    let spec = &view.configuration.spec;
    if spec.paused == Some(true) {
        return Ok(());
    }
    let triggered = |status: &SessionStatus| condition::is_true(&status.conditions, INITIAL_BACKUP_TRIGGERED);
    if status.sessions.iter().all(triggered) {
        return Ok(());
    }
    // Once means once, whatever the cache knows.
    let (namespace, name) = apply::place(view.configuration.as_ref())?;
    let Some(newest) = apply::read::<BackupConfiguration>(&context.client, &namespace, &name).await? else {
        return Ok(());
    };
    if newest.uid() != view.configuration.uid() || newest.resource_version() != view.configuration.resource_version() {
        return Ok(());
    }
    let Some(created) = newest.creation_timestamp() else { return Ok(()) };
    for one in status.sessions.iter_mut().filter(|one| !triggered(one)) {
        let Some(session) = spec.sessions.iter().find(|session| session.name == one.name) else { continue };
        if session.scheduler.as_ref().is_some_and(|scheduler| scheduler.suspend == Some(true)) {
            continue;
        }
        let retries = lifecycle::retries(session.retry_config.as_ref());
        // A session that was taken out of the configuration and put back has had its first backup.
        let first = names::backup_session(&name, session.name.as_deref().unwrap_or_default(), created.0.as_second());
        let is_of_first = |snapshot: &Snapshot| {
            snapshot.metadata.namespace.as_deref() == Some(&namespace)
                && snapshot.spec.backup_session.as_deref() == Some(&first)
        };
        if context.stores.snapshots.find(|snapshot| is_of_first(snapshot)).is_none() {
            create_session(&view.configuration, session, &Cause::First, created.0, retries, context).await?;
        }
        condition::set(&mut one.conditions, INITIAL_BACKUP_TRIGGERED.holds(), context.now());
    }
    Ok(())
}

/// Phase and kstatus.
fn conclude(view: &View, status: &mut BackupConfigurationStatus, obstacles: &[String], context: &Context) {
    let phase = phase::backup_configuration(&view.configuration.spec, status);
    // KubeStash's rule does not ask whether the Addon is there, but a session without it would fail.
    let phase = match phase {
        InvokerPhase::Ready if !view.task_problems.is_empty() => InvokerPhase::NotReady,
        other => other,
    };
    status.phase = Some(phase);
    let state = match phase {
        InvokerPhase::Ready => State::Ready,
        InvokerPhase::Invalid => {
            let why = condition::find(&status.conditions, VALIDATION_PASSED).and_then(|one| one.message.clone());
            State::Stalled(why.unwrap_or_default())
        }
        InvokerPhase::NotReady => {
            let mut missing = view.missing();
            missing.extend(obstacles.iter().cloned());
            State::Reconciling(format!("waiting: {}", missing.join("; ")))
        }
    };
    let generation = view.configuration.metadata.generation;
    kstatus::set(&mut status.conditions, &state, generation, context.now());
}

async fn write(
    configuration: &BackupConfiguration,
    status: &BackupConfigurationStatus,
    context: &Context,
) -> Result<(), Error> {
    let before = configuration.status.as_ref();
    if !apply::patch_status(&context.client, configuration, before, status).await? {
        return Ok(());
    }
    let conditions = before.map(|status| status.conditions.as_slice()).unwrap_or_default();
    let mut notes = events::of_conditions(conditions, &status.conditions);
    for session in &status.sessions {
        let old = before.into_iter().flat_map(|status| &status.sessions).find(|one| one.name == session.name);
        let old = old.map(|one| one.conditions.as_slice()).unwrap_or_default();
        notes.extend(events::of_conditions(old, &session.conditions));
    }
    events::publish(&context.recorder, configuration, notes).await;
    Ok(())
}

/// Spread over time, so that thousands of configurations do not come at once.
fn heartbeat(configuration: &BackupConfiguration) -> Duration {
    let spread = configuration.uid().unwrap_or_default().bytes().map(u64::from).sum::<u64>() % 600;
    HEARTBEAT + Duration::from_secs(spread)
}
