//! Dereference: what the state of a BackupConfiguration depends on.

use std::collections::BTreeMap;
use std::sync::Arc;

use coffer_api::core::{
    BackendStatus, BackupConfiguration, RepositoryReference, RepositoryStatus, RetentionPolicyStatus, Session,
    StorageStatus,
};
use coffer_api::shared::ResourceFoundStatus;
use coffer_api::storage::{Repository, RepositoryPhase};
use kube::ResourceExt as _;

use super::shared;
use crate::backends::{self, Backend};
use crate::context::Context;
use crate::reach::Reach;
use crate::stores;
use crate::tasks::{self, Direction};

/// What the state of a BackupConfiguration depends on.
#[derive(Debug)]
pub(super) struct View {
    pub(super) configuration: Arc<BackupConfiguration>,
    pub(super) namespace: String,
    /// Whether the target is there; `None` if there is to be none.
    pub(super) target_found: Option<bool>,
    pub(super) backends: Vec<Backend>,
    /// The Repositories that its sessions name, by name, where they exist.
    pub(super) repositories: BTreeMap<String, Arc<Repository>>,
    /// Every Repository in one of its storages, for conflicts of place.
    pub(super) neighbours: Vec<Arc<Repository>>,
    /// The older BackupConfigurations of the namespace that name one of its Repositories too.
    pub(super) elders: Vec<Arc<BackupConfiguration>>,
    /// What it refers to in namespaces that are not open to it.
    pub(super) refused: Vec<String>,
    /// What is missing for the tasks of its sessions.
    pub(super) task_problems: Vec<String>,
    dependencies: Vec<ResourceFoundStatus>,
}

pub(super) fn of(configuration: &Arc<BackupConfiguration>, context: &Context) -> View {
    let stores = &context.stores;
    let namespace = configuration.namespace().unwrap_or_default();
    let spec = &configuration.spec;
    let backends = backends::resolve(configuration, stores);
    let mut reach = Reach::within(&namespace);
    let target_found = spec.target.as_ref().map(|target| {
        // Whether there is one where it may not look is not its business.
        reach.target(target, stores)
            && stores::get(&stores.apps, target.namespace.as_deref().unwrap_or(&namespace), &target.name).is_some()
    });
    for secret in shared::all_repositories(configuration).filter_map(|one| one.encryption_secret.as_ref()) {
        reach.secret(secret, &namespace, stores);
    }
    let names = spec.sessions.iter().flat_map(|session| &session.repositories).filter_map(|one| one.name.clone());
    let repositories =
        names.filter_map(|name| Some((name.clone(), stores::get(&stores.repositories, &namespace, &name)?))).collect();
    let storages = backends.iter().filter_map(|backend| backend.storage.reference.as_ref());
    let neighbours = storages
        .flat_map(|storage| stores.repositories_in(storage.namespace.as_deref().unwrap_or(&namespace), &storage.name))
        .collect();
    let problem = |session: &Session| {
        let problems = tasks::resolve(stores, session.addon.as_ref(), Direction::Backup).err()?;
        Some(format!("session {}: {}", session.name.as_deref().unwrap_or_default(), problems.join("; ")))
    };
    let mut dependencies: Vec<_> =
        spec.sessions.iter().filter_map(|session| tasks::dependency(stores, session.addon.as_ref())).collect();
    dependencies.dedup();
    View {
        task_problems: spec.sessions.iter().filter_map(problem).collect(),
        configuration: Arc::clone(configuration),
        namespace,
        target_found,
        backends,
        repositories,
        neighbours,
        elders: shared::elders(configuration, stores),
        refused: reach.refused().to_vec(),
        dependencies,
    }
}

impl View {
    /// Every repository of every session, with its backend.
    pub(super) fn references(&self) -> impl Iterator<Item = (&Session, &RepositoryReference, Option<&Backend>)> {
        self.configuration.spec.sessions.iter().flat_map(move |session| {
            session.repositories.iter().map(move |repository| {
                (session, repository, backends::of_repository(&self.configuration, repository, &self.backends))
            })
        })
    }

    pub(super) fn dependencies(&self) -> Vec<ResourceFoundStatus> {
        self.dependencies.clone()
    }

    pub(super) fn backend_statuses(&self) -> Vec<BackendStatus> {
        let status = |backend: &Backend| BackendStatus {
            name: backend.name.clone(),
            ready: Some(backend.storage.problem.is_none() && backend.policy.problem.is_none()),
            storage: Some(StorageStatus {
                reference: backend.storage.reference.clone(),
                phase: backend.storage.object.as_ref().and_then(|storage| storage.status.as_ref()?.phase),
                reason: backend.storage.problem.clone(),
            }),
            retention_policy: Some(RetentionPolicyStatus {
                reference: backend.policy.reference.clone(),
                found: Some(backend.policy.object.is_some()),
                reason: backend.policy.problem.clone(),
            }),
        };
        self.backends.iter().map(status).collect()
    }

    pub(super) fn repository_statuses(&self) -> Vec<RepositoryStatus> {
        let mut names: Vec<_> = self.references().filter_map(|(_, repository, _)| repository.name.clone()).collect();
        names.sort();
        names.dedup();
        let status = |name: String| {
            let repository = self.repositories.get(&name);
            let phase = repository.and_then(|repository| repository.status.as_ref()?.phase);
            RepositoryStatus {
                phase: Some(phase.unwrap_or(RepositoryPhase::NotReady)),
                reason: (phase != Some(RepositoryPhase::Ready)).then(|| not_ready(repository.map(AsRef::as_ref))),
                verification_configured: None,
                name: Some(name),
            }
        };
        names.into_iter().map(status).collect()
    }

    /// What keeps the configuration from being ready.
    pub(super) fn missing(&self) -> Vec<String> {
        let mut missing = Vec::new();
        if self.target_found == Some(false)
            && let Some(target) = &self.configuration.spec.target
        {
            let namespace = target.namespace.as_deref().unwrap_or(&self.namespace);
            missing.push(format!("AppBinding {namespace}/{} of its target not found; create it", target.name));
        }
        for backend in &self.backends {
            missing.extend(backend.storage.problem.clone());
            missing.extend(backend.policy.problem.clone());
        }
        missing.extend(self.task_problems.iter().cloned());
        missing
    }
}

fn not_ready(repository: Option<&Repository>) -> String {
    let Some(repository) = repository else { return "it does not exist yet".to_owned() };
    let conditions = repository.status.iter().flat_map(|status| &status.conditions);
    let ready = conditions.into_iter().find(|one| one.type_ == coffer_api::condition::READY.name);
    ready.and_then(|one| one.message.clone()).unwrap_or_else(|| "it is not initialized yet".to_owned())
}
