//! A BackupConfiguration that is being deleted: first nothing begins any more, then nothing runs any more, then each
//! Repository gets what the configuration says of it.

use std::sync::Arc;
use std::time::Duration;

use coffer_api::core::{BackupConfiguration, BackupSession, RepositoryDeletionPolicy};
use coffer_api::shared::DeletionPolicy;
use coffer_api::storage::Repository;
use kube::ResourceExt as _;
use kube::runtime::controller::Action;
use serde_json::json;

use super::{repositories, schedule, validate, view};
use crate::apply;
use crate::context::Context;
use crate::error::Error;
use crate::events::{self, Note};

const SOON: Duration = Duration::from_secs(2);

pub(super) async fn run(configuration: &Arc<BackupConfiguration>, context: &Context) -> Result<Action, Error> {
    if !apply::has_finalizer(configuration.as_ref()) {
        return Ok(Action::await_change());
    }
    let view = view::of(configuration, context);
    schedule::remove(configuration, context, |_| true).await?;
    let sessions = context.stores.sessions_of(&view.namespace, &configuration.name_any());
    for session in &sessions {
        if session.metadata.deletion_timestamp.is_none() {
            let uid = session.uid();
            apply::delete::<BackupSession>(&context.client, &view.namespace, &session.name_any(), uid.as_deref())
                .await?;
        }
    }
    if !sessions.is_empty() {
        return Ok(Action::requeue(SOON));
    }
    for (name, policy) in repositories::policies(configuration) {
        let repository = match view.repositories.get(&name) {
            Some(known) => Some(Arc::clone(known)),
            None => apply::read::<Repository>(&context.client, &view.namespace, &name).await?.map(Arc::new),
        };
        if let Some(repository) = repository {
            release(&view, &repository, policy, context).await?;
        }
    }
    apply::remove_finalizer(&context.client, configuration.as_ref()).await?;
    Ok(Action::await_change())
}

/// Deletes a Repository if the configuration says so and nobody else uses it.
async fn release(
    view: &view::View,
    repository: &Repository,
    policy: Option<RepositoryDeletionPolicy>,
    context: &Context,
) -> Result<(), Error> {
    let wanted = match policy {
        None | Some(RepositoryDeletionPolicy::Retain) => return Ok(()),
        Some(RepositoryDeletionPolicy::Delete) => DeletionPolicy::Delete,
        Some(RepositoryDeletionPolicy::WipeOut) => DeletionPolicy::WipeOut,
    };
    let name = repository.name_any();
    if repository.metadata.deletion_timestamp.is_some() {
        return Ok(());
    }
    if !validate::is_meant(repository, view) {
        let text = format!("Repository {name} stays: it is not the one that this BackupConfiguration describes");
        events::publish(
            &context.recorder,
            view.configuration.as_ref(),
            vec![Note::warning("RepositoryRetained", text)],
        )
        .await;
        return Ok(());
    }
    if repositories::is_shared(view, &name, context) {
        let text = format!("Repository {name} stays: another BackupConfiguration uses it too");
        events::publish(&context.recorder, view.configuration.as_ref(), vec![Note::normal("RepositoryRetained", text)])
            .await;
        return Ok(());
    }
    if repository.spec.deletion_policy != wanted {
        let policy = json!({"spec": {"deletionPolicy": wanted}});
        apply::patch(&context.client, repository, policy).await?;
    }
    apply::delete::<Repository>(&context.client, &view.namespace, &name, repository.uid().as_deref()).await?;
    Ok(())
}
