//! From a session of a BackupConfiguration to a [`BackupPlan`].

use std::collections::BTreeSet;
use std::time::Duration;

use coffer_api::core::{BackupConfiguration, Session};
use coffer_api::names::join_path;
use coffer_api::plan::BackupPlan;
use coffer_api::shared::TypedObjectReference;
use coffer_api::storage::Repository;
use coffer_api::{ResourceExt, duration};

use crate::catalog::Catalog;
use crate::configuration::{self, title};
use crate::directory::qualified;
use crate::error::{ErrorKind, ResolveError, listed};
use crate::reader::{self, Reader};
use crate::storage::Location;
use crate::target;
use crate::task::{self, Direction};

/// Which backup: every field that is set must match, and one session must be left.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BackupSelection {
    /// Namespace of the BackupConfiguration.
    pub namespace: Option<String>,
    /// Name of the BackupConfiguration.
    pub configuration: Option<String>,
    /// Name of the session in it.
    pub session: Option<String>,
}

/// A backup of which some repositories may have to stay out.
#[derive(Debug, Clone)]
pub struct PartialBackup {
    /// The backup into every repository that can be used; it may be none.
    pub plan: BackupPlan,
    /// The other repositories of the session by name, and what is wrong with each.
    pub refused: Vec<(String, ResolveError)>,
}

/// Resolves one backup. Every repository of its session must be usable.
pub fn backup(reader: &dyn Reader, catalog: &Catalog, selection: &BackupSelection) -> Result<BackupPlan, ResolveError> {
    let (configuration, session) = select(reader, selection)?;
    let PartialBackup { plan, refused } = partial(reader, catalog, &configuration, &session)?;
    refused.into_iter().next().map_or(Ok(plan), |(_, error)| Err(error))
}

/// Resolves one backup by the names of its parts, each read by its name: for a program that may not list. A repository that
/// cannot be used does not stop the others.
pub fn backup_by_name(
    reader: &dyn Reader,
    catalog: &Catalog,
    (namespace, configuration, session): (&str, &str, &str),
) -> Result<PartialBackup, ResolveError> {
    let found = reader::get::<BackupConfiguration>(reader, namespace, configuration)?.ok_or_else(|| {
        ResolveError::new(
            ErrorKind::Missing,
            format!("BackupConfiguration {} not found", qualified(namespace, configuration)),
            format!("the backup is one of it, and it is not in {}", reader.place()),
            "apply its manifest again, or delete the BackupSession",
        )
    })?;
    let sessions = &found.spec.sessions;
    let ours = sessions.iter().find(|one| one.name.as_deref() == Some(session)).ok_or_else(|| {
        ResolveError::new(
            ErrorKind::Missing,
            format!("{} has no session {session}", title(&found)),
            format!("its sessions are: {}", listed(sessions.iter().filter_map(|one| one.name.as_deref()))),
            "correct the session of the BackupSession, or add it to the BackupConfiguration",
        )
    })?;
    partial(reader, catalog, &found, ours)
}

fn partial(
    reader: &dyn Reader,
    catalog: &Catalog,
    configuration: &BackupConfiguration,
    session: &Session,
) -> Result<PartialBackup, ResolveError> {
    let session_name = session.name.clone().unwrap_or_default();
    let namespace = configuration::namespace(configuration);
    let owner = format!("session {session_name} of {}", title(configuration));
    let task = task::resolve(reader, catalog, session.addon.as_ref(), Direction::Backup, &owner)?;
    let timeout = timeout(session.backup_timeout.as_deref(), "backupTimeout", &owner)?;
    let (mut locations, mut refused) = (Vec::new(), Vec::new());
    for repository in &session.repositories {
        match configuration::location(reader, configuration, session, repository, &task.snapshot_component) {
            Ok(location) => locations.push(location),
            Err(error) => refused.push((repository.name.clone().unwrap_or_default(), error)),
        }
    }
    check_session(session, &locations, &owner)?;
    let target = target::resolve(reader, configuration.spec.target.as_ref(), &title(configuration), &namespace)?;
    let mut destinations = Vec::new();
    for location in &locations {
        let usable = check_existing(reader, location, configuration.spec.target.as_ref(), &owner)
            .and_then(|()| location.destination(reader, &namespace));
        match usable {
            Ok(destination) => destinations.push(destination),
            Err(error) => refused.push((location.repository.clone(), error)),
        }
    }
    let plan = BackupPlan {
        configuration: configuration.name_any(),
        session: session_name,
        namespace,
        target,
        task,
        destinations,
        tags: Vec::new(),
        timeout,
    };
    Ok(PartialBackup { plan, refused })
}

/// Reads a timeout; zero means none.
pub(crate) fn timeout(text: Option<&str>, field: &str, owner: &str) -> Result<Option<Duration>, ResolveError> {
    let timeout = text.filter(|text| !text.is_empty()).map(duration::parse).transpose().map_err(|error| {
        ResolveError::new(
            ErrorKind::Invalid,
            format!("{field} of {owner} is malformed"),
            error.to_string(),
            "correct it",
        )
    })?;
    Ok(timeout.filter(|timeout| !timeout.is_zero()))
}

fn select(reader: &dyn Reader, selection: &BackupSelection) -> Result<(BackupConfiguration, Session), ResolveError> {
    let configurations = reader::list::<BackupConfiguration>(reader, selection.namespace.as_deref())?;
    let everything: Vec<String> = candidates(&configurations).map(|(_, _, label)| label).collect();
    let mut matching: Vec<_> = candidates(&configurations)
        .filter(|(configuration, session, _)| {
            selection.configuration.as_ref().is_none_or(|name| configuration.name_any() == *name)
                && (selection.session.is_none() || session.name == selection.session)
        })
        .collect();
    match (matching.pop(), matching.is_empty()) {
        (Some((configuration, session, _)), true) => Ok((configuration.clone(), session.clone())),
        (Some((_, _, last)), false) => Err(ResolveError::new(
            ErrorKind::Ambiguous,
            "several backups match",
            format!("candidates are: {}", listed(matching.into_iter().map(|(_, _, label)| label).chain([last]))),
            "name the BackupConfiguration and the session",
        )),
        (None, _) => {
            let wanted = [
                selection.namespace.as_ref().map(|name| format!("namespace {name}")),
                selection.configuration.as_ref().map(|name| format!("BackupConfiguration {name}")),
                selection.session.as_ref().map(|name| format!("session {name}")),
            ];
            let wanted = wanted.into_iter().flatten().collect::<Vec<_>>().join(", ");
            Err(ResolveError::new(
                ErrorKind::Missing,
                if wanted.is_empty() { "no backup found".to_owned() } else { format!("no backup found for {wanted}") },
                format!("the sessions in {} are: {}", reader.place(), listed(everything)),
                "name one of them, or add a BackupConfiguration with a session",
            ))
        }
    }
}

/// Every session with its label `namespace/configuration/session`.
fn candidates(
    configurations: &[BackupConfiguration],
) -> impl Iterator<Item = (&BackupConfiguration, &Session, String)> {
    configurations.iter().flat_map(|configuration| {
        configuration.spec.sessions.iter().map(move |session| {
            let owner = qualified(&configuration::namespace(configuration), &configuration.name_any());
            (configuration, session, format!("{owner}/{}", session.name.as_deref().unwrap_or_default()))
        })
    })
}

/// The rules for the repositories of one session among each other.
fn check_session(session: &Session, locations: &[Location], owner: &str) -> Result<(), ResolveError> {
    let invalid =
        |why: String, fix: &str| ResolveError::new(ErrorKind::Invalid, format!("{owner} cannot run"), why, fix);
    if session.repositories.is_empty() {
        return Err(invalid("it has no repositories".to_owned(), "add one to repositories"));
    }
    let (mut names, mut places) = (BTreeSet::new(), BTreeSet::new());
    for location in locations {
        if !names.insert(&location.repository) {
            return Err(invalid(
                format!("duplicate repository name found: {}", location.repository),
                "rename one of them",
            ));
        }
        if !places.insert((&location.storage_namespace, &location.storage, location.path())) {
            return Err(invalid(
                format!("two of its repositories have the directory {} of one BackupStorage", location.directory),
                "give each repository its own directory",
            ));
        }
    }
    Ok(())
}

/// A Repository of the same name must be the same repository.
fn check_existing(
    reader: &dyn Reader,
    location: &Location,
    target: Option<&TypedObjectReference>,
    owner: &str,
) -> Result<(), ResolveError> {
    let Some(existing) = reader::get::<Repository>(reader, &location.namespace, &location.repository)? else {
        return Ok(());
    };
    difference(&existing, location, target).map_or(Ok(()), |what| {
        Err(ResolveError::new(
            ErrorKind::Invalid,
            format!("{owner} cannot run"),
            format!("repository {:?} already exists with a different {what}", location.repository),
            "use another repository name, or correct the Repository's manifest",
        ))
    })
}

/// In what a Repository is not the one that the session means.
fn difference(
    existing: &Repository,
    location: &Location,
    target: Option<&TypedObjectReference>,
) -> Option<&'static str> {
    let spec = &existing.spec;
    let in_namespace = |namespace: &Option<String>| namespace.clone().unwrap_or_else(|| location.namespace.clone());
    if let Some(storage) = &spec.storage_ref
        && (in_namespace(&storage.namespace), &storage.name) != (location.storage_namespace.clone(), &location.storage)
    {
        return Some("storage reference");
    }
    if spec.path.as_ref().is_some_and(|path| join_path(&[path]) != join_path(&[&location.directory])) {
        return Some("directory");
    }
    if let (Some(theirs), Some(ours)) = (&spec.app_ref, target) {
        let identity = |one: &TypedObjectReference| (one.kind.clone(), in_namespace(&one.namespace), one.name.clone());
        if identity(theirs) != identity(ours) {
            return Some("target reference");
        }
    }
    None
}
