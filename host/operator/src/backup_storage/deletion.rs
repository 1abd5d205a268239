//! A BackupStorage that is being deleted. `Delete` keeps every byte: only objects of the cluster go. `WipeOut` first has
//! the data wiped out by a Job.

use std::time::Duration;

use coffer_api::meta::{cluster_role, component};
use coffer_api::names;
use coffer_api::shared::DeletionPolicy;
use coffer_api::storage::{BackupStorage, Repository};
use kube::ResourceExt as _;
use kube::runtime::controller::Action;
use serde_json::json;

use crate::backup_storage::{validate, work};
use crate::build::Invoker;
use crate::build::job::Work;
use crate::context::Context;
use crate::error::Error;
use crate::events::{self, Note};
use crate::wipe::{self, Wipe};
use crate::{apply, jobs, writers};

const SOON: Duration = Duration::from_secs(2);

pub(super) async fn run(storage: &BackupStorage, context: &Context) -> Result<Action, Error> {
    if !apply::has_finalizer(storage) {
        return Ok(Action::await_change());
    }
    if storage.spec.deletion_policy == DeletionPolicy::WipeOut && is_its_own(storage, context).await? {
        let work = work(storage)?;
        let args = ["run", "cleanup", "--namespace", &work.namespace, "--kind", "BackupStorage", "--name", &work.name];
        let cleaner = Work {
            args: args.map(str::to_owned).to_vec(),
            name: names::cleanup_storage_job(&work.name),
            component: Some(component::CLEANER),
            container: "cleanup".to_owned(),
            role: cluster_role::BACKEND_JOB,
            owner: None,
            deadline: Some(context.options.limits.cleanup),
            ..work
        };
        let (namespace, name) = apply::place(storage)?;
        let writer = context.stores.repositories_in(&namespace, &name).iter().find_map(|repository| {
            writers::of_repository(context, &repository.namespace().unwrap_or_default(), &repository.name_any())
        });
        if let Wipe::Working(again) = wipe::drive(context, storage, &cleaner, writer).await? {
            return Ok(Action::requeue(again));
        }
    }
    let (namespace, name) = apply::place(storage)?;
    let mut left = false;
    for repository in context.stores.repositories_in(&namespace, &name) {
        left = true;
        release(repository.as_ref(), context).await?;
    }
    // Their own controller lets them go; then this one is called again.
    if left {
        return Ok(Action::requeue(SOON));
    }
    jobs::remove_all(context, &Invoker::of(storage)).await?;
    apply::remove_finalizer(&context.client, storage).await?;
    Ok(Action::await_change())
}

/// Whether the data in a storage is its own alone. If it is not, that is told, and holds also when the other one has gone.
async fn is_its_own(storage: &BackupStorage, context: &Context) -> Result<bool, Error> {
    let stores = &context.stores;
    let all = stores.storages.state();
    let is_used = |other: &BackupStorage| {
        !stores.repositories_in(&other.namespace().unwrap_or_default(), &other.name_any()).is_empty()
    };
    let other = validate::other_at_its_place(storage, all.iter().map(AsRef::as_ref), is_used);
    let Some(other) = other else { return Ok(true) };
    let text = format!(
        "the data is not wiped out, and stays: BackupStorage {other} is at the same place, and may have its own there"
    );
    events::publish(&context.recorder, storage, vec![Note::warning("DataRetained", text)]).await;
    apply::patch(&context.client, storage, json!({"spec": {"deletionPolicy": "Delete"}})).await?;
    Ok(false)
}

/// Deletes a Repository without its data: whether that stays is the storage's to say now.
async fn release(repository: &Repository, context: &Context) -> Result<(), Error> {
    if repository.spec.deletion_policy == DeletionPolicy::WipeOut {
        apply::patch(&context.client, repository, json!({"spec": {"deletionPolicy": "Delete"}})).await?;
    }
    if repository.metadata.deletion_timestamp.is_none() {
        let (namespace, name) = apply::place(repository)?;
        apply::delete::<Repository>(&context.client, &namespace, &name, repository.uid().as_deref()).await?;
    }
    Ok(())
}
