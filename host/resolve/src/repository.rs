//! Which restic repositories there are, from BackupConfigurations, Repositories and Snapshots.

use coffer_api::ResourceExt;
use coffer_api::core::BackupConfiguration;
use coffer_api::plan::Destination;
use coffer_api::storage::{Repository, Snapshot};

use crate::configuration;
use crate::directory::qualified;
use crate::error::{ErrorKind, ResolveError, listed};
use crate::reader::{self, Reader};
use crate::storage::Location;

/// Which restic repositories: every field that is set must match.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RepositorySelection {
    /// Namespace of the Repository.
    pub namespace: Option<String>,
    /// Name of the Repository.
    pub repository: Option<String>,
    /// Session that writes it.
    pub session: Option<String>,
    /// Snapshot component, such as `dump`.
    pub component: Option<String>,
}

/// Resolves all restic repositories that match, at least one.
pub fn repositories(reader: &dyn Reader, selection: &RepositorySelection) -> Result<Vec<Destination>, ResolveError> {
    let all = locations(reader, None, None)?;
    let matches = |location: &Location| {
        selection.namespace.as_ref().is_none_or(|name| location.namespace == *name)
            && selection.repository.as_ref().is_none_or(|name| location.repository == *name)
    };
    let mut found: Vec<Location> = all.iter().filter(|location| matches(location)).cloned().collect();
    for location in &mut found {
        if location.session.is_empty()
            && let Some(session) = &selection.session
        {
            location.session.clone_from(session);
            location.component = selection.component.clone().unwrap_or_else(|| "dump".to_owned());
        }
    }
    found.retain(|location| {
        !location.session.is_empty()
            && selection.session.as_ref().is_none_or(|name| location.session == *name)
            && selection.component.as_ref().is_none_or(|name| location.component == *name)
    });
    if found.is_empty() {
        return Err(ResolveError::new(
            ErrorKind::Missing,
            "no repository found",
            format!("the repositories in {} are: {}", reader.place(), listed(all.iter().map(label))),
            "name one of them, or add the BackupConfiguration that writes it",
        ));
    }
    found.iter().map(|location| location.destination(reader, &location.namespace)).collect()
}

/// Resolves the restic repositories of one Repository, by its name: for whoever may not look into other namespaces. A session and a component that
/// are given must match.
pub fn repository_by_name(
    reader: &dyn Reader,
    (namespace, name): (&str, &str),
    (session, component): (Option<&str>, Option<&str>),
) -> Result<Vec<Destination>, ResolveError> {
    let this = format!("Repository {}", qualified(namespace, name));
    let object = reader::get::<Repository>(reader, namespace, name)?.ok_or_else(|| {
        ResolveError::new(
            ErrorKind::Missing,
            format!("{this} not found"),
            format!(
                "the repositories of this namespace in {} are: {}",
                reader.place(),
                listed(reader::names::<Repository>(reader, Some(namespace)))
            ),
            "name one of them",
        )
    })?;
    let all = of_object(&object, &reader::list::<Snapshot>(reader, Some(namespace))?);
    let mut found = all.clone();
    found.retain(|location| {
        !location.session.is_empty()
            && session.is_none_or(|name| location.session == name)
            && component.is_none_or(|name| location.component == name)
    });
    if found.is_empty() {
        return Err(ResolveError::new(
            ErrorKind::Missing,
            format!("{this} has no data that matches"),
            format!("it has: {}", listed(all.iter().map(label))),
            "correct the session or the component, or take a backup first",
        ));
    }
    found.iter().map(|location| location.destination(reader, namespace)).collect()
}

/// The repositories with their sessions and components. One whose sessions are not known has an empty session.
pub(crate) fn locations(
    reader: &dyn Reader,
    namespace: Option<&str>,
    repository: Option<&str>,
) -> Result<Vec<Location>, ResolveError> {
    let mut found = Vec::new();
    for configuration in reader::list::<BackupConfiguration>(reader, namespace)? {
        for session in &configuration.spec.sessions {
            let uses = session.repositories.iter().any(|one| repository.is_none() || one.name.as_deref() == repository);
            if uses {
                for component in configuration::components(session) {
                    found.extend(configuration::locations(reader, &configuration, session, component)?);
                }
            }
        }
    }
    let snapshots = reader::list::<Snapshot>(reader, namespace)?;
    for object in reader::list::<Repository>(reader, namespace)? {
        found.extend(of_object(&object, &snapshots));
    }
    found.retain(|location| repository.is_none_or(|name| location.repository == name));
    // What a BackupConfiguration says stands before what a Repository says of the same place.
    let mut unique: Vec<Location> = Vec::with_capacity(found.len());
    for location in found {
        let same = |other: &Location| {
            other.namespace == location.namespace
                && other.repository == location.repository
                && (location.session.is_empty()
                    || (&other.session, &other.component) == (&location.session, &location.component))
        };
        if !unique.iter().any(same) {
            unique.push(location);
        }
    }
    Ok(unique)
}

/// `namespace/repository (session/component)`.
pub(crate) fn label(location: &Location) -> String {
    let name = qualified(&location.namespace, &location.repository);
    if location.session.is_empty() {
        format!("{name} (sessions not known)")
    } else {
        format!("{name} ({}/{})", location.session, location.component)
    }
}

/// What a Repository says of itself and its Snapshots of their sessions.
pub(crate) fn of_object(object: &Repository, snapshots: &[Snapshot]) -> Vec<Location> {
    let namespace = object.namespace().unwrap_or_default();
    let name = object.name_any();
    let spec = &object.spec;
    // Without storage and path it cannot be opened; a BackupConfiguration may still say where it is.
    let (Some(storage), Some(path)) = (&spec.storage_ref, &spec.path) else { return Vec::new() };
    let in_namespace = |other: &Option<String>| other.clone().unwrap_or_else(|| namespace.clone());
    let base = Location {
        repository: name.clone(),
        namespace: namespace.clone(),
        storage_namespace: in_namespace(&storage.namespace),
        storage: storage.name.clone(),
        directory: path.clone(),
        session: String::new(),
        component: String::new(),
        encryption: spec
            .encryption_secret
            .as_ref()
            .map(|secret| (in_namespace(&secret.namespace), secret.name.clone())),
    };
    let mut pairs: Vec<(String, String)> = Vec::new();
    for path in object.status.iter().flat_map(|status| &status.component_paths) {
        pairs.extend(session_and_component(path));
    }
    for snapshot in snapshots {
        if snapshot.namespace().unwrap_or_default() == namespace && snapshot.spec.repository.as_deref() == Some(&name) {
            let components = snapshot.status.iter().flat_map(|status| status.components.keys());
            let session = snapshot.spec.session.clone().unwrap_or_default();
            pairs.extend(components.map(|component| (session.clone(), component.clone())));
        }
    }
    pairs.retain(|(session, _)| !session.is_empty());
    pairs.sort();
    pairs.dedup();
    if pairs.is_empty() {
        return vec![base];
    }
    pairs.into_iter().map(|(session, component)| Location { session, component, ..base.clone() }).collect()
}

/// The parts of `repository/v1/<session>/<component>`.
fn session_and_component(path: &str) -> Option<(String, String)> {
    let rest = path.trim_matches('/').strip_prefix("repository/v1/")?;
    let (session, component) = rest.split_once('/')?;
    Some((session.to_owned(), component.to_owned()))
}
