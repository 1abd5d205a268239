//! The triggers of a BackupConfiguration: one CronJob per session.

use std::collections::BTreeSet;

use coffer_api::condition::{self, SCHEDULER_ENSURED};
use coffer_api::core::{BackupConfigurationStatus, Session, SessionStatus};
use k8s_openapi::api::batch::v1::CronJob;
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::ResourceExt as _;

use super::next;
use super::view::View;
use crate::apply;
use crate::build::{self, belongs};
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
            // Another manifest may do; another try will not.
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
    let stores = &context.stores;
    let current = stores::get(&stores.cron_jobs, &namespace, &name);
    wanted.insert(name.clone());
    if invalid && current.is_none() {
        return Ok(false);
    }
    if current.as_ref().is_some_and(|current| !belongs(current.as_ref(), view.configuration.as_ref())) {
        return Err(Error::Foreign { kind: "CronJob", namespace, name });
    }
    if let Some(account) = trigger.service_account {
        let current = stores::get(&stores.accounts, &namespace, &name);
        apply::ensure(&context.client, current.as_deref(), account).await?;
    }
    for binding in trigger.role_bindings {
        let (namespace, name) = apply::place(&binding)?;
        let current = stores::get(&stores.bindings, &namespace, &name);
        apply::ensure(&context.client, current.as_deref(), binding).await?;
    }
    apply::ensure(&context.client, current.as_deref(), trigger.cron_job).await?;
    Ok(!invalid)
}

/// Removes the triggers of sessions that are not in the configuration any more.
async fn remove_others(view: &View, wanted: &BTreeSet<String>, context: &Context) -> Result<(), Error> {
    let ours = context.stores.cron_jobs.state_filter(|one| belongs(one, view.configuration.as_ref()));
    for trigger in ours.iter().filter(|one| !wanted.contains(&one.name_any())) {
        remove(&view.namespace, &trigger.name_any(), context).await?;
    }
    Ok(())
}

/// Removes a trigger with what was made for it.
pub(super) async fn remove(namespace: &str, name: &str, context: &Context) -> Result<(), Error> {
    apply::delete::<CronJob>(&context.client, namespace, name, None).await?;
    apply::delete::<RoleBinding>(&context.client, namespace, name, None).await?;
    apply::delete::<ServiceAccount>(&context.client, namespace, name, None).await?;
    Ok(())
}
