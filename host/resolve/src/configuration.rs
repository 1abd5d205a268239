//! What BackupConfigurations say of their sessions and repositories.

use coffer_api::ResourceExt;
use coffer_api::core::{BackendReference, BackupConfiguration, RepositoryReference, Session};
use coffer_api::shared::ObjectReference;
use coffer_api::storage::{Repository, RetentionPolicy};

use crate::directory::qualified;
use crate::error::{ErrorKind, ResolveError, listed};
use crate::reader::{self, Reader};
use crate::storage::{Location, default_storage};
use crate::task::snapshot_component;
use crate::usage;

/// `BackupConfiguration demo/sample`.
pub(crate) fn title(configuration: &BackupConfiguration) -> String {
    format!("BackupConfiguration {}", qualified(&namespace(configuration), &configuration.name_any()))
}

pub(crate) fn namespace(configuration: &BackupConfiguration) -> String {
    configuration.namespace().unwrap_or_default()
}

/// Where the repositories of a session are. `component` is the snapshot component.
pub(crate) fn locations(
    reader: &dyn Reader,
    configuration: &BackupConfiguration,
    session: &Session,
    component: &str,
) -> Result<Vec<Location>, ResolveError> {
    session.repositories.iter().map(|one| location(reader, configuration, session, one, component)).collect()
}

/// The snapshot components that a session writes.
pub(crate) fn components(session: &Session) -> Vec<&'static str> {
    let tasks = session.addon.iter().flat_map(|addon| &addon.tasks);
    let mut components: Vec<_> = tasks.filter_map(|task| task.name.as_deref()).map(snapshot_component).collect();
    components.sort_unstable();
    components.dedup();
    components
}

/// Where one repository of a session is.
pub(crate) fn location(
    reader: &dyn Reader,
    configuration: &BackupConfiguration,
    session: &Session,
    repository: &RepositoryReference,
    component: &str,
) -> Result<Location, ResolveError> {
    let session_name = session.name.clone().unwrap_or_default();
    let missing = |field: &str| {
        ResolveError::new(
            ErrorKind::Invalid,
            format!("session {session_name} of {} cannot be used", title(configuration)),
            format!("one of its repositories has no {field}"),
            format!("set {field}"),
        )
    };
    let name = repository.name.clone().filter(|name| !name.is_empty()).ok_or_else(|| missing("name"))?;
    let directory = repository.directory.clone().ok_or_else(|| missing("directory"))?;
    let own = namespace(configuration);
    let storage = storage_of(reader, configuration, repository)?;
    let encryption = repository
        .encryption_secret
        .as_ref()
        .map(|secret| (secret.namespace.clone().unwrap_or_else(|| own.clone()), secret.name.clone()));
    Ok(Location {
        repository: name,
        storage_namespace: storage.namespace.unwrap_or_else(|| own.clone()),
        storage: storage.name,
        namespace: own,
        directory,
        session: session_name,
        component: component.to_owned(),
        encryption,
    })
}

/// The BackupStorage of a repository: of its backend, of the only backend, or the default.
fn storage_of(
    reader: &dyn Reader,
    configuration: &BackupConfiguration,
    repository: &RepositoryReference,
) -> Result<ObjectReference, ResolveError> {
    let this = title(configuration);
    let backends = &configuration.spec.backends;
    let names = || listed(backends.iter().filter_map(|backend| backend.name.as_deref()));
    let repository_name = repository.name.as_deref().unwrap_or_default();
    let backend = match (repository.backend.as_deref().filter(|name| !name.is_empty()), backends.as_slice()) {
        (Some(name), _) => Some(find_backend(backends, name).ok_or_else(|| {
            ResolveError::new(
                ErrorKind::Invalid,
                format!("backend {name} of repository {repository_name} not found in {this}"),
                format!("its backends are: {}", names()),
                "correct the backend of the repository, or add one to spec.backends",
            )
        })?),
        (None, []) => None,
        (None, [only]) => Some(only),
        (None, _) => {
            return Err(ResolveError::new(
                ErrorKind::Ambiguous,
                format!("repository {repository_name} of {this} names no backend"),
                format!("there are several: {}", names()),
                "set the backend of the repository",
            ));
        }
    };
    if let Some(policy) = backend.and_then(|backend| backend.retention_policy.as_ref()) {
        check_retention_policy(reader, policy, &namespace(configuration))?;
    }
    if let Some(storage) = backend.and_then(|backend| backend.storage_ref.clone()) {
        return Ok(storage);
    }
    // Where the repository is already, whatever the default has become since.
    let existing = reader::get::<Repository>(reader, &namespace(configuration), repository_name)?;
    if let Some(storage) = existing.and_then(|existing| existing.spec.storage_ref) {
        return Ok(storage);
    }
    default_storage(reader, &namespace(configuration))?.ok_or_else(|| {
        ResolveError::new(
            ErrorKind::Missing,
            format!("no storage for repository {repository_name} of {this}"),
            "no backend with a storageRef, and no default BackupStorage that its namespace may use",
            "add spec.backends with a storageRef, or set spec.default: true on a BackupStorage",
        )
    })
}

fn find_backend<'a>(backends: &'a [BackendReference], name: &str) -> Option<&'a BackendReference> {
    backends.iter().find(|backend| backend.name.as_deref() == Some(name))
}

fn check_retention_policy(
    reader: &dyn Reader,
    reference: &ObjectReference,
    namespace: &str,
) -> Result<(), ResolveError> {
    let owner = reference.namespace.as_deref().unwrap_or(namespace);
    // A policy that is not there prevents no backup; it is looked for again when it is to be applied.
    match reader::get::<RetentionPolicy>(reader, owner, &reference.name) {
        Ok(None) => Ok(()),
        // Nor does one that a Job may not read: its operator has read it.
        Err(error) if error.kind() == ErrorKind::Denied => Ok(()),
        Err(error) => Err(error),
        Ok(Some(policy)) => {
            let of = ("RetentionPolicy", owner, reference.name.as_str());
            usage::check(reader, policy.spec.usage_policy.as_ref(), of, namespace)
        }
    }
}
