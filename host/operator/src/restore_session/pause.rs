//! Backups of a target do not run while something is restored into it.
//!
//! Who pauses a BackupConfiguration writes its name onto it, and takes it off again when it is over. The last one resumes it. So it does not
//! matter in which order restores end, or how often this is tried; and what carries no name was paused by somebody else, and stays so.

use std::sync::Arc;

use coffer_api::core::{BackupConfiguration, GROUP, RestoreSession};
use coffer_api::meta::annotation::PAUSED_BY;
use coffer_api::phase;
use coffer_api::shared::TypedObjectReference;
use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::apply;
use crate::context::Context;
use crate::error::Error;
use crate::stores;

/// The BackupConfigurations of the session's target that it has to pause: not those that somebody else has paused, unless
/// that was another restore.
pub(super) fn to_pause(session: &RestoreSession, context: &Context) -> Vec<TypedObjectReference> {
    let identity = |target: &TypedObjectReference, namespace: Option<String>| {
        (target.kind.clone(), target.namespace.clone().or(namespace), target.name.clone())
    };
    let Some(target) = &session.spec.target else { return Vec::new() };
    let wanted = identity(target, session.namespace());
    let mut found = context.stores.configurations.state_filter(|configuration| {
        let target = configuration.spec.target.as_ref();
        target.is_some_and(|target| identity(target, configuration.namespace()) == wanted)
    });
    found.retain(|configuration| !is_paused(configuration) || !holders(configuration).is_empty());
    found.sort_by_key(|configuration| (configuration.namespace(), configuration.name_any()));
    found.iter().map(|configuration| reference(configuration)).collect()
}

/// Whether backups are still paused for a session.
pub(super) fn holds(session: &RestoreSession, context: &Context) -> bool {
    let ours = holder(session);
    context.stores.configurations.find(|configuration| holders(configuration).contains(&ours)).is_some()
}

/// Pauses what the status names.
pub(super) async fn pause(
    session: &RestoreSession,
    named: &[TypedObjectReference],
    context: &Context,
) -> Result<(), Error> {
    for one in named {
        let namespace = one.namespace.as_deref().unwrap_or_default();
        let Some(configuration) = stores::get(&context.stores.configurations, namespace, &one.name) else { continue };
        if let Some(change) = taken(is_paused(&configuration), holders(&configuration), &holder(session)) {
            apply::patch(&context.client, configuration.as_ref(), change).await?;
        }
    }
    Ok(())
}

/// Takes the session's name off everything that it has paused. What cannot be written keeps nothing else paused.
pub(super) async fn resume(session: &RestoreSession, context: &Context) -> Result<(), Error> {
    let ours = holder(session);
    let mut outcome = Ok(());
    for configuration in context.stores.configurations.state_filter(|one| holders(one).contains(&ours)) {
        let change = released(&holders(&configuration), |one| one != ours);
        outcome = outcome.and(apply::patch(&context.client, configuration.as_ref(), change).await);
    }
    outcome
}

/// Takes the names of restores off that are over, or that are gone without having done so themselves; whether there were
/// any.
pub(crate) async fn settle(configuration: &BackupConfiguration, context: &Context) -> Result<bool, Error> {
    let all = holders(configuration);
    let mut alive = Vec::new();
    for one in &all {
        if is_alive(one, context).await? {
            alive.push(one.clone());
        }
    }
    if alive.len() == all.len() {
        return Ok(false);
    }
    tracing::warn!(configuration = configuration.name_any(), "a restore that paused it is over");
    let change = released(&all, |one| alive.iter().any(|other| other == one));
    apply::patch(&context.client, configuration, change).await?;
    Ok(true)
}

/// Whether a BackupConfiguration is paused for a session of this place, this one or one before it.
pub(crate) fn is_paused_for(configuration: &BackupConfiguration, namespace: &str, name: &str) -> bool {
    let begin = format!("{namespace}/{name}/");
    holders(configuration).iter().any(|one| one.starts_with(&begin))
}

async fn is_alive(holder: &str, context: &Context) -> Result<bool, Error> {
    let mut parts = holder.splitn(3, '/');
    let (Some(namespace), Some(name), Some(uid)) = (parts.next(), parts.next(), parts.next()) else {
        return Ok(false);
    };
    let found = match stores::get(&context.stores.restores, namespace, name) {
        Some(found) => Some(found),
        None => apply::read::<RestoreSession>(&context.client, namespace, name).await?.map(Arc::new),
    };
    Ok(found.is_some_and(|found| {
        let phase = found.status.as_ref().and_then(|status| status.phase);
        found.uid().as_deref() == Some(uid) && !phase::restore_is_final(phase)
    }))
}

/// How a session is written onto what it pauses.
fn holder(session: &RestoreSession) -> String {
    let namespace = session.namespace().unwrap_or_default();
    format!("{namespace}/{}/{}", session.name_any(), session.uid().unwrap_or_default())
}

fn holders(configuration: &BackupConfiguration) -> Vec<String> {
    let text = configuration.annotations().get(PAUSED_BY).map(String::as_str).unwrap_or_default();
    text.split(',').filter(|one| !one.is_empty()).map(str::to_owned).collect()
}

fn is_paused(configuration: &BackupConfiguration) -> bool {
    configuration.spec.paused == Some(true)
}

/// How a RestoreSession's status names a BackupConfiguration.
fn reference(configuration: &BackupConfiguration) -> TypedObjectReference {
    TypedObjectReference {
        api_group: Some(GROUP.to_owned()),
        kind: Some("BackupConfiguration".to_owned()),
        namespace: configuration.namespace(),
        name: configuration.name_any(),
    }
}

/// What pauses for one more; nothing for what it holds already, and for what somebody else has paused.
fn taken(paused: bool, mut holders: Vec<String>, one: &str) -> Option<Value> {
    let holds = holders.iter().any(|other| other == one);
    if paused && (holds || holders.is_empty()) {
        return None;
    }
    if !holds {
        holders.push(one.to_owned());
    }
    Some(json!({"metadata": {"annotations": {PAUSED_BY: holders.join(",")}}, "spec": {"paused": true}}))
}

/// What leaves it paused for those that stay, or resumes it if there are none.
fn released(holders: &[String], stays: impl Fn(&str) -> bool) -> Value {
    let left: Vec<&str> = holders.iter().map(String::as_str).filter(|one| stays(one)).collect();
    if left.is_empty() {
        json!({"metadata": {"annotations": {PAUSED_BY: null}}, "spec": {"paused": false}})
    } else {
        json!({"metadata": {"annotations": {PAUSED_BY: left.join(",")}}})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn what_people_have_paused_is_neither_taken_nor_resumed() {
        assert_eq!(taken(true, Vec::new(), "d/a/1"), None);
        let both = json!({"metadata": {"annotations": {PAUSED_BY: "d/a/1,d/b/2"}}, "spec": {"paused": true}});
        assert_eq!(taken(true, owned(&["d/a/1"]), "d/b/2"), Some(both.clone()));
        assert_eq!(taken(true, owned(&["d/a/1", "d/b/2"]), "d/b/2"), None, "twice is once");
        // Somebody has resumed it by hand meanwhile.
        assert_eq!(taken(false, owned(&["d/a/1", "d/b/2"]), "d/b/2"), Some(both));
        let first = json!({"metadata": {"annotations": {PAUSED_BY: "d/a/1"}}, "spec": {"paused": true}});
        assert_eq!(taken(false, Vec::new(), "d/a/1"), Some(first));
    }

    #[test]
    fn the_last_one_resumes() {
        let all = owned(&["d/a/1", "d/b/2"]);
        assert_eq!(released(&all, |one| one != "d/a/1"), json!({"metadata": {"annotations": {PAUSED_BY: "d/b/2"}}}));
        let free = json!({"metadata": {"annotations": {PAUSED_BY: null}}, "spec": {"paused": false}});
        assert_eq!(released(&owned(&["d/b/2"]), |one| one != "d/b/2"), free);
        assert_eq!(released(&all, |_| false), free);
    }
}
