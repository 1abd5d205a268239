//! From a session of a BackupConfiguration to a [`BackupPlan`].

use std::collections::BTreeSet;
use std::time::Duration;

use coffer_api::core::{BackupConfiguration, Session};
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

/// Resolves one backup.
pub fn backup(reader: &dyn Reader, catalog: &Catalog, selection: &BackupSelection) -> Result<BackupPlan, ResolveError> {
    let (configuration, session) = select(reader, selection)?;
    let session_name = session.name.clone().unwrap_or_default();
    let namespace = configuration::namespace(&configuration);
    let owner = format!("session {session_name} of {}", title(&configuration));
    let task = task::resolve(reader, catalog, session.addon.as_ref(), Direction::Backup, &owner)?;
    let timeout = timeout(session.backup_timeout.as_deref(), "backupTimeout", &owner)?;
    let locations = configuration::locations(reader, &configuration, &session, &task.snapshot_component)?;
    check_locations(reader, &locations, configuration.spec.target.as_ref(), &owner)?;
    let target = target::resolve(reader, configuration.spec.target.as_ref(), &title(&configuration), &namespace)?;
    let destinations =
        locations.iter().map(|location| location.destination(reader, &namespace)).collect::<Result<_, _>>()?;
    Ok(BackupPlan {
        configuration: configuration.name_any(),
        session: session_name,
        namespace,
        target,
        task,
        destinations,
        timeout,
    })
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

/// The rules for the repositories of one session.
fn check_locations(
    reader: &dyn Reader,
    locations: &[Location],
    target: Option<&TypedObjectReference>,
    owner: &str,
) -> Result<(), ResolveError> {
    let invalid =
        |why: String, fix: &str| ResolveError::new(ErrorKind::Invalid, format!("{owner} cannot run"), why, fix);
    if locations.is_empty() {
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
        if let Some(existing) = reader::get::<Repository>(reader, &location.namespace, &location.repository)? {
            check_existing(&existing, location, target).map_err(|what| {
                invalid(
                    format!("repository {:?} already exists with a different {what}", location.repository),
                    "use another repository name, or correct the Repository's manifest",
                )
            })?;
        }
    }
    Ok(())
}

/// A Repository of the same name must be the same repository; the error names what differs.
fn check_existing(
    existing: &Repository,
    location: &Location,
    target: Option<&TypedObjectReference>,
) -> Result<(), &'static str> {
    let spec = &existing.spec;
    let in_namespace = |namespace: &Option<String>| namespace.clone().unwrap_or_else(|| location.namespace.clone());
    if let Some(storage) = &spec.storage_ref
        && (in_namespace(&storage.namespace), &storage.name) != (location.storage_namespace.clone(), &location.storage)
    {
        return Err("storage reference");
    }
    if let (Some(theirs), Some(ours)) = (&spec.app_ref, target) {
        let identity = |one: &TypedObjectReference| (one.kind.clone(), in_namespace(&one.namespace), one.name.clone());
        if identity(theirs) != identity(ours) {
            return Err("target reference");
        }
    }
    Ok(())
}
