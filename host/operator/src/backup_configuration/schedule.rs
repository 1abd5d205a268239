//! The triggers of a BackupConfiguration: one CronJob per session.

use std::collections::BTreeSet;

use coffer_api::condition::{self, SCHEDULER_ENSURED};
use coffer_api::core::{BackupConfiguration, BackupConfigurationStatus, Session, SessionStatus};
use k8s_openapi::api::batch::v1::CronJob;
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::ResourceExt as _;

use super::next;
use super::view::View;
use crate::apply;
use crate::build::{self, Invoker, belongs};
use crate::context::Context;
use crate::error::{Class, Error};
use crate::stores;

/// Makes every trigger what it should be, removes those of sessions that are gone, and writes down how that went. What it
/// returns keeps the configuration from being ready. With `invalid`, nothing is triggered.
pub(super) async fn ensure(
    view: &View,
    status: &mut BackupConfigurationStatus,
    invalid: bool,
    context: &Context,
) -> Result<Vec<String>, Error> {
    let spec = &view.configuration.spec;
    let suspend = invalid || spec.paused == Some(true);
    let (mut wanted, mut obstacles, mut sessions) = (BTreeSet::new(), Vec::new(), Vec::new());
    for session in &spec.sessions {
        let known = status.sessions.iter().find(|one| one.name == session.name).cloned();
        let mut one = known.unwrap_or_else(|| SessionStatus { name: session.name.clone(), ..SessionStatus::default() });
        let outcome = trigger(view, session, suspend, invalid, &mut wanted, context).await;
        let change = match outcome {
            Ok(true) => SCHEDULER_ENSURED.holds(),
            Ok(false) => SCHEDULER_ENSURED.fails_because("the BackupConfiguration is not valid"),
            // Another manifest may do, or another name; another try will not.
            Err(error) if error.class() == Class::Terminal => {
                obstacles.push(format!("session {}: {error}", session.name.as_deref().unwrap_or_default()));
                SCHEDULER_ENSURED.fails_because(error.to_string())
            }
            Err(error) => return Err(error),
        };
        condition::set(&mut one.conditions, change, context.now());
        one.next_schedule = next::moment(session, suspend, context.now()).map(|moment| moment.to_string());
        sessions.push(one);
    }
    status.sessions = sessions;
    remove_others(view, &wanted, context).await?;
    Ok(obstacles)
}

/// One trigger; whether it is in force. An invalid configuration gets none, and its old one waits.
async fn trigger(
    view: &View,
    session: &Session,
    suspend: bool,
    invalid: bool,
    wanted: &mut BTreeSet<String>,
    context: &Context,
) -> Result<bool, Error> {
    let trigger = build::cron_job::build(&view.configuration, session, suspend, &context.options)?;
    let (namespace, name) = apply::place(&trigger.cron_job)?;
    let (client, stores, owner) = (&context.client, &context.stores, view.configuration.as_ref());
    let cached = stores::get(&stores.cron_jobs, &namespace, &name);
    wanted.insert(name.clone());
    if invalid && cached.is_none() {
        return Ok(false);
    }
    // Nothing is made for a trigger whose name is taken.
    let current = apply::own(client, cached, &trigger.cron_job, owner).await?;
    if let Some(account) = trigger.service_account {
        let cached = stores::get(&stores.accounts, &namespace, &name);
        apply::ensure_own(client, cached, account, owner).await?;
    }
    for binding in trigger.role_bindings {
        let cached = stores::get(&stores.bindings, &namespace, &name);
        apply::ensure_own(client, cached, binding, owner).await?;
    }
    apply::ensure(client, current.as_deref(), trigger.cron_job).await?;
    Ok(!invalid)
}

/// Removes the triggers of sessions that are not in the configuration any more.
async fn remove_others(view: &View, wanted: &BTreeSet<String>, context: &Context) -> Result<(), Error> {
    remove(&view.configuration, context, |name| !wanted.contains(name)).await
}

/// Removes the triggers of a configuration that have such names, each with what was made for it.
pub(super) async fn remove(
    configuration: &BackupConfiguration,
    context: &Context,
    unwanted: impl Fn(&str) -> bool,
) -> Result<(), Error> {
    let (client, invoker) = (&context.client, Invoker::of(configuration));
    for trigger in context.stores.cron_jobs.state_filter(|one| belongs(one, configuration)) {
        let (namespace, name) = apply::place(trigger.as_ref())?;
        if unwanted(&name) {
            let place = (namespace.as_str(), name.as_str());
            let binding = stores::get::<RoleBinding>(&context.stores.bindings, place.0, place.1);
            apply::delete_made_for(client, binding, place, &invoker).await?;
            let account = stores::get::<ServiceAccount>(&context.stores.accounts, place.0, place.1);
            apply::delete_made_for(client, account, place, &invoker).await?;
            // Last: by it the others are found.
            apply::delete::<CronJob>(client, &namespace, &name, trigger.uid().as_deref()).await?;
        }
    }
    Ok(())
}
