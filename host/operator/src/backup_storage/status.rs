//! The status of a BackupStorage.

use coffer_api::condition::{self, BACKEND_INITIALIZED, BACKEND_SECRET_FOUND};
use coffer_api::storage::{BackupStorage, BackupStorageStatus, Repository, RepositoryInfo, StoragePhase};
use coffer_api::{phase, size};
use kube::ResourceExt as _;

use crate::context::Context;
use crate::error::Error;
use crate::kstatus::{self, State};
use crate::{apply, events};

/// How far the preparation of the backend is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Done,
    Working(String),
    Failed(String),
    Invalid(String),
}

/// Everything that follows from the facts and the step.
pub(super) fn conclude(storage: &BackupStorage, status: &mut BackupStorageStatus, step: &Step, context: &Context) {
    let now = context.now();
    status.observed_generation = storage.metadata.generation;
    repositories(storage, status, context);
    if storage.spec.storage.secret_name().is_none() {
        // No Secret is needed, so none can be missing.
        condition::remove(&mut status.conditions, BACKEND_SECRET_FOUND);
    }
    match step {
        Step::Invalid(why) => {
            condition::set(&mut status.conditions, BACKEND_INITIALIZED.fails_because(why.clone()), now);
        }
        // A Job that found out why has said so itself, and better.
        Step::Failed(why) if !condition::is_false(&status.conditions, BACKEND_INITIALIZED) => {
            condition::set(&mut status.conditions, BACKEND_INITIALIZED.fails_because(why.clone()), now);
        }
        Step::Done | Step::Working(_) | Step::Failed(_) => {}
    }
    let phase = phase::storage(&status.conditions);
    status.phase = Some(phase);
    let said = |type_| {
        condition::find(&status.conditions, type_)
            .filter(|_| condition::is_false(&status.conditions, type_))
            .and_then(|one| one.message.clone())
    };
    let why = said(BACKEND_SECRET_FOUND).or_else(|| said(BACKEND_INITIALIZED));
    let state = match (phase, step, why) {
        (StoragePhase::Ready, ..) => State::Ready,
        (_, Step::Invalid(why), _) | (_, Step::Failed(why), None) => State::Stalled(why.clone()),
        (_, Step::Failed(_) | Step::Done, Some(why)) => State::Stalled(why),
        (_, Step::Working(what), Some(why)) => State::Reconciling(format!("{what}; the last try failed: {why}")),
        (_, Step::Working(what), None) => State::Reconciling(what.clone()),
        (_, Step::Done, None) => State::Reconciling("the backend is being looked at".to_owned()),
    };
    kstatus::set(&mut status.conditions, &state, storage.metadata.generation, now);
}

/// The repositories in the storage: those of the cluster, and those that could not be brought into it, or not as a whole.
fn repositories(storage: &BackupStorage, status: &mut BackupStorageStatus, context: &Context) {
    let (namespace, name) = (storage.namespace().unwrap_or_default(), storage.name_any());
    let existing = context.stores.repositories_in(&namespace, &name);
    let before = std::mem::take(&mut status.repositories);
    let error_of = |repository: &Repository| {
        let same = |one: &&RepositoryInfo| {
            (&one.namespace, &one.name) == (&repository.metadata.namespace, &repository.metadata.name)
        };
        before.iter().find(same).and_then(|one| one.error.clone())
    };
    let mut all: Vec<RepositoryInfo> = existing
        .iter()
        .map(|repository| RepositoryInfo {
            name: Some(repository.name_any()),
            namespace: repository.namespace(),
            path: repository.spec.path.clone(),
            size: repository.status.as_ref().and_then(|status| status.size.clone()),
            synced: Some(error_of(repository).is_none()),
            error: error_of(repository),
        })
        .collect();
    let is_known =
        |one: &RepositoryInfo| all.iter().any(|other| (&other.namespace, &other.name) == (&one.namespace, &one.name));
    let failed: Vec<_> = before.iter().filter(|one| one.error.is_some() && !is_known(one)).cloned().collect();
    all.extend(failed);
    all.sort_by(|one, other| (&one.namespace, &one.name).cmp(&(&other.namespace, &other.name)));
    status.repositories = all;
    let sizes = status.repositories.iter().filter_map(|one| one.size.as_deref());
    let total = size::sum(sizes);
    status.total_size = Some(total);
}

/// The status, if it differs, and what is worth telling about it.
pub(super) async fn write(
    storage: &BackupStorage,
    status: &BackupStorageStatus,
    context: &Context,
) -> Result<(), Error> {
    let before = storage.status.as_ref();
    if apply::patch_status(&context.client, storage, before, status).await? {
        let conditions = before.map(|status| status.conditions.as_slice()).unwrap_or_default();
        events::publish(&context.recorder, storage, events::of_conditions(conditions, &status.conditions)).await;
    }
    Ok(())
}
