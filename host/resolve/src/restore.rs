//! From a RestoreSession to a [`RestorePlan`].

use coffer_api::ResourceExt;
use coffer_api::core::{DataSource, RestoreSession};
use coffer_api::plan::{RestorePlan, SnapshotChoice};
use coffer_api::shared::SnapshotPhase;
use coffer_api::storage::{Repository, Snapshot};
use jiff::Timestamp;

use crate::backup::timeout;
use crate::catalog::Catalog;
use crate::directory::qualified;
use crate::error::{ErrorKind, ResolveError, listed};
use crate::reader::{self, Reader};
use crate::repository::{label, locations, of_object};
use crate::storage::Location;
use crate::target;
use crate::task::{self, Direction};

/// Which restore: every field that is set must match, and one RestoreSession must be left.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RestoreSelection {
    /// Namespace of the RestoreSession.
    pub namespace: Option<String>,
    /// Name of the RestoreSession.
    pub name: Option<String>,
    /// Session whose snapshots to restore, when several sessions write the repository.
    pub session: Option<String>,
    /// Snapshot to restore, instead of the one that the RestoreSession names: `latest`, the name of a Snapshot or a restic id.
    pub snapshot: Option<String>,
}

/// Resolves one restore.
pub fn restore(
    reader: &dyn Reader,
    catalog: &Catalog,
    selection: &RestoreSelection,
) -> Result<RestorePlan, ResolveError> {
    plan(reader, catalog, &select(reader, selection)?, selection, &Lists { reader })
}

/// Resolves one restore by its name, and everything in it by its name: for a program that may not list more than the Snapshots of one
/// namespace. The newest Snapshot is the one that its operator noted in the status, if it did.
pub fn restore_by_name(
    reader: &dyn Reader,
    catalog: &Catalog,
    (namespace, name): (&str, &str),
) -> Result<RestorePlan, ResolveError> {
    let restore = reader::get::<RestoreSession>(reader, namespace, name)?.ok_or_else(|| {
        ResolveError::new(
            ErrorKind::Missing,
            format!("RestoreSession {} not found", qualified(namespace, name)),
            format!("it is not in {}", reader.place()),
            "apply its manifest again",
        )
    })?;
    plan(reader, catalog, &restore, &RestoreSelection::default(), &Names { reader, restore: &restore })
}

fn plan(
    reader: &dyn Reader,
    catalog: &Catalog,
    restore: &RestoreSession,
    selection: &RestoreSelection,
    places: &dyn Places,
) -> Result<RestorePlan, ResolveError> {
    let namespace = restore.namespace().unwrap_or_default();
    let name = restore.name_any();
    let this = format!("RestoreSession {}", qualified(&namespace, &name));
    let mut task = task::resolve(reader, catalog, restore.spec.addon.as_ref(), Direction::Restore, &this)?;
    let timeout = timeout(restore.spec.restore_timeout.as_deref(), "restoreTimeout", &this)?;
    let mut data = restore.spec.data_source.clone().unwrap_or_default();
    if selection.snapshot.is_some() {
        data.snapshot.clone_from(&selection.snapshot);
        data.pitr = None;
    }
    task.snapshot_component = component(&data, &task.snapshot_component, &this)?;
    let source = Source {
        reader,
        this: &this,
        namespace: data.namespace.as_deref().unwrap_or(&namespace),
        data: &data,
        component: &task.snapshot_component,
        session: selection.session.as_deref(),
        places,
    };
    let (mut location, snapshot) = source.resolve()?;
    if let Some(secret) = &data.encryption_secret {
        let owner = secret.namespace.clone().unwrap_or_else(|| namespace.clone());
        location.encryption = Some((owner, secret.name.clone()));
    }
    let target = target::resolve(reader, restore.spec.target.as_ref(), &this, &namespace)?;
    let source = location.destination(reader, &location.namespace)?;
    Ok(RestorePlan { name, namespace, target, task, source, snapshot, timeout })
}

fn select(reader: &dyn Reader, selection: &RestoreSelection) -> Result<RestoreSession, ResolveError> {
    let all = reader::list::<RestoreSession>(reader, selection.namespace.as_deref())?;
    let title = |one: &RestoreSession| qualified(&one.namespace().unwrap_or_default(), &one.name_any());
    let mut matching: Vec<_> =
        all.iter().filter(|one| selection.name.as_ref().is_none_or(|name| one.name_any() == *name)).collect();
    match (matching.pop(), matching.is_empty()) {
        (Some(only), true) => Ok(only.clone()),
        (Some(last), false) => Err(ResolveError::new(
            ErrorKind::Ambiguous,
            "several RestoreSessions match",
            format!("candidates are: {}", listed(matching.into_iter().chain([last]).map(title))),
            "name one of them",
        )),
        (None, _) => Err(ResolveError::new(
            ErrorKind::Missing,
            match &selection.name {
                Some(name) => format!("RestoreSession {name} not found"),
                None => "no RestoreSession found".to_owned(),
            },
            format!("the RestoreSessions in {} are: {}", reader.place(), listed(all.iter().map(title))),
            "name one of them, or add its manifest",
        )),
    }
}

/// The snapshot component to restore: the task's, unless the data source names another one.
fn component(data: &DataSource, of_task: &str, this: &str) -> Result<String, ResolveError> {
    match data.components.as_slice() {
        [] => Ok(of_task.to_owned()),
        several if several.iter().any(|one| one == of_task) => Ok(of_task.to_owned()),
        [only] => Ok(only.clone()),
        several => Err(ResolveError::new(
            ErrorKind::Invalid,
            format!("{this} cannot run"),
            format!("its task restores the component {of_task}, and dataSource.components are: {}", listed(several)),
            "name one component",
        )),
    }
}

/// The search for the repository and the snapshot of a data source.
struct Source<'a> {
    reader: &'a dyn Reader,
    this: &'a str,
    namespace: &'a str,
    data: &'a DataSource,
    component: &'a str,
    session: Option<&'a str>,
    places: &'a dyn Places,
}

impl Source<'_> {
    fn resolve(&self) -> Result<(Location, SnapshotChoice), ResolveError> {
        if let Some(pitr) = &self.data.pitr {
            let time = pitr.target_time.as_ref().ok_or_else(|| {
                self.invalid("dataSource.pitr has no targetTime", "set it, like 2026-01-31T12:00:00Z")
            })?;
            let choice = SnapshotChoice::Before { time: time.0, exclusive: pitr.exclusive == Some(true) };
            return self.newest(choice);
        }
        let name = self.data.snapshot.as_deref().filter(|name| !name.is_empty()).ok_or_else(|| {
            self.invalid("dataSource has no snapshot", "set dataSource.snapshot to latest or to the name of a Snapshot")
        })?;
        if name == "latest" {
            return self.newest(SnapshotChoice::Latest);
        }
        if let Some(snapshot) = reader::get::<Snapshot>(self.reader, self.namespace, name)? {
            return self.of_snapshot(&snapshot);
        }
        let is_id = (4..=64).contains(&name.len()) && name.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
        if is_id {
            return Ok((self.location(self.repository()?, None)?, SnapshotChoice::Id(name.to_owned())));
        }
        Err(ResolveError::new(
            ErrorKind::Missing,
            format!("Snapshot {} not found, the source of {}", qualified(self.namespace, name), self.this),
            format!(
                "the Snapshots of this namespace in {} are: {}",
                self.reader.place(),
                listed(reader::names::<Snapshot>(self.reader, Some(self.namespace)))
            ),
            "set dataSource.snapshot to latest, or to a restic snapshot id as `coffer snapshots` lists them",
        ))
    }

    /// The newest snapshot that is meant: a Snapshot where they are known, else what the repository itself has.
    fn newest(&self, choice: SnapshotChoice) -> Result<(Location, SnapshotChoice), ResolveError> {
        match self.places.newest(self, &choice)? {
            Some(snapshot) => self.of_snapshot(&snapshot),
            None => Ok((self.location(self.repository()?, None)?, choice)),
        }
    }

    fn of_snapshot(&self, snapshot: &Snapshot) -> Result<(Location, SnapshotChoice), ResolveError> {
        let name = snapshot.name_any();
        let repository = snapshot.spec.repository.as_deref();
        let repository = repository.or(self.data.repository.as_deref()).ok_or_else(|| {
            self.invalid(
                &format!("neither Snapshot {name} nor dataSource names a repository"),
                "set dataSource.repository",
            )
        })?;
        if let Some(wanted) = self.data.repository.as_deref().filter(|wanted| *wanted != repository) {
            return Err(self.invalid(
                &format!("Snapshot {name} is in repository {repository}, and dataSource.repository is {wanted}"),
                "correct one of them",
            ));
        }
        let components = snapshot.status.as_ref().map(|status| &status.components);
        let found = components.and_then(|components| components.get(self.component)).ok_or_else(|| {
            let known = listed(components.iter().flat_map(|components| components.keys()));
            self.invalid(
                &format!("Snapshot {name} has no component {}; it has: {known}", self.component),
                "choose a Snapshot of a backup that succeeded, or set dataSource.components",
            )
        })?;
        let id =
            found.restic_stats.first().and_then(|stats| stats.summary.as_ref()).and_then(|summary| summary.id.clone());
        let id = id.filter(|id| !id.is_empty()).ok_or_else(|| {
            self.invalid(
                &format!(
                    "component {} of Snapshot {name} has no restic snapshot: its backup did not succeed",
                    self.component
                ),
                "choose another Snapshot",
            )
        })?;
        Ok((self.location(repository, snapshot.spec.session.as_deref())?, SnapshotChoice::Id(id)))
    }

    fn repository(&self) -> Result<&str, ResolveError> {
        let name = self.data.repository.as_deref().filter(|name| !name.is_empty());
        name.ok_or_else(|| self.invalid("dataSource has no repository", "set dataSource.repository"))
    }

    /// The restic repository of the component; `session` is what a Snapshot says.
    fn location(&self, repository: &str, session: Option<&str>) -> Result<Location, ResolveError> {
        self.places.location(self, repository, session)
    }

    fn invalid(&self, why: &str, fix: &str) -> ResolveError {
        ResolveError::new(ErrorKind::Invalid, format!("{} cannot run", self.this), why, fix)
    }
}

/// How repositories and Snapshots are found.
trait Places {
    /// The newest Snapshot that `choice` means; `None` where the repository itself is to be asked.
    fn newest(&self, source: &Source, choice: &SnapshotChoice) -> Result<Option<Snapshot>, ResolveError>;

    /// The restic repository of the component; `session` is what a Snapshot says.
    fn location(&self, source: &Source, repository: &str, session: Option<&str>) -> Result<Location, ResolveError>;
}

/// Through everything that there is: a directory need not hold every object.
struct Lists<'a> {
    reader: &'a dyn Reader,
}

impl Places for Lists<'_> {
    fn newest(&self, _: &Source, _: &SnapshotChoice) -> Result<Option<Snapshot>, ResolveError> {
        Ok(None)
    }

    fn location(&self, source: &Source, repository: &str, session: Option<&str>) -> Result<Location, ResolveError> {
        let all = locations(self.reader, Some(source.namespace), Some(repository))?;
        let Some(any) = all.first() else {
            let known = locations(self.reader, None, None)?;
            return Err(ResolveError::new(
                ErrorKind::Missing,
                format!(
                    "Repository {} not found, the source of {}",
                    qualified(source.namespace, repository),
                    source.this
                ),
                format!("the repositories in {} are: {}", self.reader.place(), listed(known.iter().map(label))),
                "correct dataSource, or add the BackupConfiguration or the Repository",
            ));
        };
        if let Some(session) = session.or(source.session) {
            let of_session = all.iter().find(|location| location.session == session).unwrap_or(any);
            return Ok(Location {
                session: session.to_owned(),
                component: source.component.to_owned(),
                ..of_session.clone()
            });
        }
        let mut matching: Vec<_> = all.iter().filter(|location| location.component == source.component).collect();
        match (matching.pop(), matching.is_empty()) {
            (Some(only), true) => Ok(only.clone()),
            (Some(last), false) => Err(ResolveError::new(
                ErrorKind::Ambiguous,
                format!("{} does not say which session of repository {repository} to restore", source.this),
                format!("several write it: {}", listed(matching.into_iter().chain([last]).map(label))),
                "name the session, or set dataSource.snapshot to the name of a Snapshot, which tells its session",
            )),
            (None, _) => Err(ResolveError::new(
                ErrorKind::Missing,
                format!("nothing known writes the component {} into repository {repository}", source.component),
                format!("known are: {}", listed(all.iter().map(label))),
                "name the session, or add the BackupConfiguration that writes the repository",
            )),
        }
    }
}

/// Through names, in a cluster whose operator keeps a Repository and its Snapshots.
struct Names<'a> {
    reader: &'a dyn Reader,
    restore: &'a RestoreSession,
}

impl Places for Names<'_> {
    fn newest(&self, source: &Source, choice: &SnapshotChoice) -> Result<Option<Snapshot>, ResolveError> {
        let repository = source.repository()?;
        let noted = self.restore.status.iter().flat_map(|status| &status.dependencies);
        let noted = noted.filter(|one| one.kind.as_deref() == Some("Snapshot") && one.found != Some(false));
        for one in noted {
            let namespace = one.namespace.as_deref().unwrap_or(source.namespace);
            if let Some(snapshot) = reader::get::<Snapshot>(self.reader, namespace, &one.name)? {
                return Ok(Some(snapshot));
            }
        }
        let all = reader::list::<Snapshot>(self.reader, Some(source.namespace))?;
        newest(&all, repository, source.component, choice).cloned().map(Some).ok_or_else(|| {
            let until = match choice {
                SnapshotChoice::Before { time, .. } => format!(" up to {time}"),
                SnapshotChoice::Latest | SnapshotChoice::Id(_) => String::new(),
            };
            source.invalid(
                &format!(
                    "repository {repository} has no Snapshot{until} that succeeded and has a component {}",
                    source.component
                ),
                "take a backup first, or choose another repository or moment",
            )
        })
    }

    fn location(&self, source: &Source, repository: &str, session: Option<&str>) -> Result<Location, ResolveError> {
        let Some(object) = reader::get::<Repository>(self.reader, source.namespace, repository)? else {
            return Err(ResolveError::new(
                ErrorKind::Missing,
                format!(
                    "Repository {} not found, the source of {}",
                    qualified(source.namespace, repository),
                    source.this
                ),
                format!(
                    "the repositories of this namespace in {} are: {}",
                    self.reader.place(),
                    listed(reader::names::<Repository>(self.reader, Some(source.namespace)))
                ),
                "correct dataSource, or create the BackupStorage that holds it, which brings it back",
            ));
        };
        let known = of_object(&object, &[]);
        let any = known.first().ok_or_else(|| {
            source.invalid(
                &format!("Repository {} has no storageRef or no path", qualified(source.namespace, repository)),
                "correct it",
            )
        })?;
        let mut sessions = known.iter().filter(|one| one.component == source.component && !one.session.is_empty());
        let session = match (session, sessions.next(), sessions.next()) {
            (Some(session), ..) => session,
            (None, Some(only), None) => &only.session,
            (None, ..) => {
                return Err(ResolveError::new(
                    ErrorKind::Ambiguous,
                    format!("{} does not say which session of repository {repository} to restore", source.this),
                    format!("its status knows: {}", listed(known.iter().map(label))),
                    "set dataSource.snapshot to the name of a Snapshot, which tells its session",
                ));
            }
        };
        Ok(Location { session: session.to_owned(), component: source.component.to_owned(), ..any.clone() })
    }
}

/// The newest Snapshot of a repository that succeeded, is to stay, has the component, and is as old as `choice` wants.
fn newest<'a>(all: &'a [Snapshot], repository: &str, component: &str, choice: &SnapshotChoice) -> Option<&'a Snapshot> {
    let usable = |snapshot: &&Snapshot| {
        let status = snapshot.status.as_ref();
        snapshot.metadata.deletion_timestamp.is_none()
            && snapshot.spec.repository.as_deref() == Some(repository)
            && status.is_some_and(|status| {
                status.phase == Some(SnapshotPhase::Succeeded) && status.components.contains_key(component)
            })
    };
    let meant = |time: Timestamp| match choice {
        SnapshotChoice::Before { time: limit, exclusive: true } => time < *limit,
        SnapshotChoice::Before { time: limit, exclusive: false } => time <= *limit,
        SnapshotChoice::Latest | SnapshotChoice::Id(_) => true,
    };
    let timed = all.iter().filter(usable).filter_map(|snapshot| Some((taken(snapshot)?, snapshot)));
    timed
        .filter(|(time, _)| meant(*time))
        .max_by_key(|(time, snapshot)| (*time, snapshot.name_any()))
        .map(|(_, found)| found)
}

fn taken(snapshot: &Snapshot) -> Option<Timestamp> {
    let noted = snapshot.status.as_ref().and_then(|status| status.snapshot_time.as_ref());
    noted.or(snapshot.metadata.creation_timestamp.as_ref()).map(|time| time.0)
}
