//! What is wrong with a BackupConfiguration, in itself and beside others: KubeStash's rules and words.

use std::collections::{BTreeMap, BTreeSet};

use coffer_api::core::{BackupConfiguration, Session};
use coffer_api::duration;
use coffer_api::shared::{ObjectReference, TypedObjectReference};
use coffer_api::storage::{Provider, Repository};
use kube::ResourceExt as _;

use super::shared;
use super::view::View;

/// Everything that is wrong.
pub(super) fn problems(view: &View) -> Vec<String> {
    let mut problems = Vec::new();
    backends(view, &mut problems);
    sessions(&view.configuration, &mut problems);
    problems.extend(view.refused.iter().cloned());
    repositories(view, &mut problems);
    problems.extend(shared::contradictions(&view.configuration, &view.elders));
    volumes(view, &mut problems);
    problems
}

fn backends(view: &View, problems: &mut Vec<String>) {
    let mut names = BTreeSet::new();
    for backend in &view.configuration.spec.backends {
        let name = backend.name.as_deref().unwrap_or_default();
        if !names.insert(name) {
            problems.push(format!("duplicate backend name found: {name}"));
        }
    }
    for part in &view.backends {
        let storage = part.storage.problem.as_ref().filter(|_| part.storage.forbidden);
        let policy = part.policy.problem.as_ref().filter(|_| part.policy.forbidden);
        problems.extend(storage.into_iter().chain(policy).cloned());
    }
}

fn sessions(configuration: &BackupConfiguration, problems: &mut Vec<String>) {
    let sessions = &configuration.spec.sessions;
    if sessions.is_empty() {
        problems.push("sessions can not be empty".to_owned());
    }
    let mut names = BTreeSet::new();
    for session in sessions {
        let Some(name) = session.name.as_deref().filter(|name| !name.is_empty()) else {
            problems.push("session name can not be empty".to_owned());
            continue;
        };
        if !names.insert(name) {
            problems.push(format!("duplicate session name found: {name}"));
        }
        one_session(session, name, problems);
    }
}

fn one_session(session: &Session, name: &str, problems: &mut Vec<String>) {
    let mut problem = |text: &str| problems.push(format!("session {name}: {text}"));
    if session.scheduler.as_ref().is_none_or(|scheduler| scheduler.schedule.trim().is_empty()) {
        problem("it has no schedule; set scheduler.schedule");
    }
    match &session.addon {
        None => problem("it has no addon; set addon.name and addon.tasks"),
        Some(addon) => {
            if addon.name.as_deref().is_none_or(str::is_empty) {
                problem("its addon has no name; set addon.name");
            }
            if addon.tasks.is_empty() {
                problem("its addon has no tasks; add one to addon.tasks");
            }
            if addon.tasks.iter().any(|task| task.name.as_deref().is_none_or(str::is_empty)) {
                problem("one of its tasks has no name; set addon.tasks[].name");
            }
        }
    }
    let hooks = session.hooks.as_ref();
    if hooks.is_some_and(|hooks| !hooks.pre_backup.is_empty() || !hooks.post_backup.is_empty()) {
        // To leave out what may quiesce an application would make backups that only look right.
        problem("it has hooks, and this version runs none; remove them");
    }
    for (field, text) in [
        ("backupTimeout", session.backup_timeout.as_deref()),
        ("retryConfig.delay", session.retry_config.as_ref().and_then(|retry| retry.delay.as_deref())),
    ] {
        if let Some(Err(error)) = text.filter(|text| !text.is_empty()).map(duration::parse) {
            problem(&format!("{field}: {error}"));
        }
    }
    if session.repositories.is_empty() {
        problem("it has no repositories; add one");
    }
}

fn repositories(view: &View, problems: &mut Vec<String>) {
    let mut in_session = BTreeSet::new();
    let mut places: BTreeMap<(Option<&ObjectReference>, &str), &str> = BTreeMap::new();
    for (session, reference, backend) in view.references() {
        let session_name = session.name.as_deref().unwrap_or_default();
        let mut problem = |text: String| problems.push(format!("session {session_name}: {text}"));
        let Some(name) = reference.name.as_deref().filter(|name| !name.is_empty()) else {
            problem("one of its repositories has no name; set repositories[].name".to_owned());
            continue;
        };
        if !in_session.insert((session_name, name)) {
            problem(format!("duplicate repository name found: {name}"));
        }
        let Some(directory) = reference.directory.as_deref().filter(|directory| !directory.is_empty()) else {
            problem(format!("repository {name} has no directory; set repositories[].directory"));
            continue;
        };
        if reference.encryption_secret.is_none() {
            problem(format!("repository {name} has no encryptionSecret; set it to a Secret with RESTIC_PASSWORD"));
        }
        let Some(backend) = backend else {
            let wanted = reference.backend.as_deref().unwrap_or_default();
            problem(format!(
                "backend {wanted:?} of repository {name} not found; correct it, or add it to spec.backends"
            ));
            continue;
        };
        let storage = backend.storage.reference.as_ref();
        let other = places.insert((storage, directory), name);
        if let Some(other) = other.filter(|other| *other != name) {
            problem(format!(
                "repositories {other} and {name} have the same directory {directory} of one BackupStorage"
            ));
        }
        let Some(storage) = storage else { continue };
        if let Some(existing) = view.repositories.get(name) {
            problems.extend(differs(existing, view, storage, directory));
        }
        // Of two that came at once the older one stays.
        let ours = view.repositories.get(name).filter(|existing| existing.spec.path.as_deref() == Some(directory));
        let ours = ours.map(|existing| age(existing));
        let taken = view.neighbours.iter().find(|other| {
            (other.namespace().as_deref(), other.name_any().as_str()) != (Some(&view.namespace), name)
                && ours.as_ref().is_none_or(|ours| age(other) < *ours)
                && other.spec.storage_ref.as_ref().is_some_and(|one| same(one, other.namespace().as_deref(), storage))
                && other.spec.path.as_deref() == Some(directory)
        });
        if let Some(other) = taken {
            problems.push(format!(
                "directory {directory} is already used by repository {}/{} in the same BackupStorage; choose another",
                other.namespace().unwrap_or_default(),
                other.name_any()
            ));
        }
    }
}

/// The order in which Repositories came.
fn age(repository: &Repository) -> impl Ord + use<> {
    (repository.creation_timestamp().map(|time| time.0), repository.namespace(), repository.name_any())
}

/// Whether an existing Repository is the one that the configuration means. Where the storage cannot be told any more, as of a default that has gone,
/// the rest is compared.
pub(super) fn is_meant(existing: &Repository, view: &View) -> bool {
    let name = existing.name_any();
    let mut named = view.references().filter(|(_, reference, _)| reference.name.as_deref() == Some(&name));
    named.all(|(_, reference, backend)| {
        let storage = backend.and_then(|backend| backend.storage.reference.as_ref());
        let place = storage.or(existing.spec.storage_ref.as_ref()).zip(reference.directory.as_deref());
        place.is_some_and(|(storage, directory)| differs(existing, view, storage, directory).is_none())
    })
}

/// How an existing Repository of the name contradicts what is wanted.
fn differs(existing: &Repository, view: &View, storage: &ObjectReference, directory: &str) -> Option<String> {
    let name = existing.name_any();
    let already =
        |what: &str| Some(format!("repository {name:?} already exists in the cluster with a different {what}"));
    let own = existing.namespace();
    let identity = |target: &TypedObjectReference| {
        (target.kind.clone(), target.namespace.clone().or_else(|| own.clone()), target.name.clone())
    };
    if let (Some(theirs), Some(ours)) = (&existing.spec.app_ref, &view.configuration.spec.target)
        && identity(theirs) != identity(ours)
    {
        return already("target reference");
    }
    if existing.spec.storage_ref.as_ref().is_some_and(|one| !same(one, own.as_deref(), storage)) {
        return already("storage reference");
    }
    if existing.spec.path.as_deref().is_some_and(|path| path != directory) {
        return already("directory; a repository path can not be updated");
    }
    None
}

fn same(one: &ObjectReference, namespace: Option<&str>, other: &ObjectReference) -> bool {
    one.name == other.name && one.namespace.as_deref().or(namespace) == other.namespace.as_deref()
}

/// A claim can be mounted in its own namespace only.
fn volumes(view: &View, problems: &mut Vec<String>) {
    for backend in &view.backends {
        let Some(storage) = &backend.storage.object else { continue };
        let claim = match storage.spec.storage.provider() {
            Ok(Provider::Local(local)) => local.volume.persistent_volume_claim.as_ref(),
            _ => None,
        };
        if let Some(claim) = claim.filter(|_| storage.namespace().as_deref() != Some(&view.namespace)) {
            problems.push(format!(
                "BackupStorage {}/{} is the claim {}, which pods of namespace {} cannot mount; create one in that namespace",
                storage.namespace().unwrap_or_default(),
                storage.name_any(),
                claim.claim_name,
                view.namespace
            ));
        }
    }
}
