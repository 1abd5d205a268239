//! Backups of a target do not run while something is restored into it.

use std::sync::Arc;

use coffer_api::core::{BackupConfiguration, GROUP, RestoreSession};
use coffer_api::phase;
use coffer_api::shared::TypedObjectReference;
use kube::ResourceExt as _;
use serde_json::json;

use crate::apply;
use crate::context::Context;
use crate::error::Error;
use crate::stores;

/// A BackupConfiguration of the target of a RestoreSession.
#[derive(Debug, Clone)]
pub(super) struct Pausable {
    pub(super) configuration: Arc<BackupConfiguration>,
    /// Whether another restore that has not ended has paused it too.
    pub(super) held: bool,
}

impl Pausable {
    /// How a RestoreSession's status names it.
    pub(super) fn reference(&self) -> TypedObjectReference {
        TypedObjectReference {
            api_group: Some(GROUP.to_owned()),
            kind: Some("BackupConfiguration".to_owned()),
            namespace: self.configuration.namespace(),
            name: self.configuration.name_any(),
        }
    }

    fn is_paused(&self) -> bool {
        self.configuration.spec.paused == Some(true)
    }
}

/// The BackupConfigurations of the session's target.
pub(super) fn of(session: &RestoreSession, context: &Context) -> Vec<Pausable> {
    let identity = |target: &TypedObjectReference, namespace: Option<String>| {
        (target.kind.clone(), target.namespace.clone().or(namespace), target.name.clone())
    };
    let Some(target) = &session.spec.target else { return Vec::new() };
    let wanted = identity(target, session.namespace());
    let others = context.stores.restores.state_filter(|other| {
        other.uid() != session.uid() && !phase::restore_is_final(other.status.as_ref().and_then(|status| status.phase))
    });
    let mut found = context.stores.configurations.state_filter(|configuration| {
        let target = configuration.spec.target.as_ref();
        target.is_some_and(|target| identity(target, configuration.namespace()) == wanted)
    });
    found.sort_by_key(|configuration| (configuration.namespace(), configuration.name_any()));
    found
        .into_iter()
        .map(|configuration| {
            let mut one = Pausable { configuration, held: false };
            let reference = one.reference();
            let mut paused =
                others.iter().filter_map(|other| other.status.as_ref()).flat_map(|status| &status.paused_backups);
            one.held = paused.any(|other| *other == reference);
            one
        })
        .collect()
}

/// Those that this restore has to pause: not those that somebody else has paused, unless that was another restore.
pub(super) fn to_pause(backups: &[Pausable]) -> Vec<TypedObjectReference> {
    backups.iter().filter(|one| !one.is_paused() || one.held).map(Pausable::reference).collect()
}

/// Pauses what the status names.
pub(super) async fn pause(named: &[TypedObjectReference], context: &Context) -> Result<(), Error> {
    set(named, true, context).await
}

/// Resumes what the status names, but for what another restore holds.
pub(super) async fn resume(
    named: &[TypedObjectReference],
    backups: &[Pausable],
    context: &Context,
) -> Result<(), Error> {
    let held = |one: &TypedObjectReference| backups.iter().any(|other| other.held && other.reference() == *one);
    let free: Vec<_> = named.iter().filter(|one| !held(one)).cloned().collect();
    set(&free, false, context).await
}

async fn set(named: &[TypedObjectReference], paused: bool, context: &Context) -> Result<(), Error> {
    for one in named {
        let namespace = one.namespace.as_deref().unwrap_or_default();
        let Some(configuration) = stores::get(&context.stores.configurations, namespace, &one.name) else { continue };
        if (configuration.spec.paused == Some(true)) != paused {
            apply::patch(&context.client, configuration.as_ref(), json!({"spec": {"paused": paused}})).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backup(name: &str, paused: bool, held: bool) -> Pausable {
        let configuration = serde_json::from_value(json!({
            "apiVersion": "core.kubestash.com/v1alpha1", "kind": "BackupConfiguration",
            "metadata": {"name": name, "namespace": "demo"}, "spec": {"paused": paused},
        }));
        Pausable { configuration: Arc::new(configuration.unwrap()), held }
    }

    #[test]
    fn what_people_have_paused_is_not_resumed() {
        let backups = [backup("runs", false, false), backup("by-hand", true, false), backup("by-restore", true, true)];
        let names: Vec<_> = to_pause(&backups).into_iter().map(|one| one.name).collect();
        assert_eq!(names, ["runs", "by-restore"]);
    }
}
