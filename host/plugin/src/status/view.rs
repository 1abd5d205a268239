//! The objects that a status is made from, and how they belong together.

use coffer_api::ResourceExt as _;
use coffer_api::core::{BackupConfiguration, BackupSession, RestoreSession, Session};
use coffer_api::shared::SnapshotPhase;
use coffer_api::storage::{BackupStorage, Repository, Snapshot};
use coffer_resolve::objects::Namespaced;
use coffer_resolve::{ErrorKind, Kind};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::Plugin;
use crate::error::PluginError;
use crate::format;
use crate::snapshots::taken;
use crate::subject::Subject;

/// How long a session may be due: the operator notes the next time at once.
const OVERDUE: SignedDuration = SignedDuration::from_mins(30);

/// The objects of a namespace, or of all of them.
#[derive(Debug, Clone, Default)]
pub(super) struct View {
    pub(super) storages: Vec<BackupStorage>,
    pub(super) repositories: Vec<Repository>,
    pub(super) configurations: Vec<BackupConfiguration>,
    pub(super) sessions: Vec<BackupSession>,
    pub(super) restores: Vec<RestoreSession>,
    pub(super) snapshots: Vec<Snapshot>,
    /// Why parts of it are missing.
    pub(super) unread: Vec<String>,
}

impl View {
    /// Reads what may be read. What may not is noted, unless it is everything.
    pub(super) fn look(plugin: &Plugin, namespace: Option<&str>) -> Result<Self, PluginError> {
        let mut reading = Reading { plugin, namespace, seen: false, refused: Vec::new() };
        let view = Self {
            storages: reading.list()?,
            repositories: reading.list()?,
            configurations: reading.list()?,
            sessions: reading.list()?,
            restores: reading.list()?,
            snapshots: reading.list()?,
            unread: Vec::new(),
        };
        if !reading.seen
            && let Some(first) = reading.refused.pop()
        {
            return Err(first);
        }
        Ok(Self { unread: reading.refused.iter().map(ToString::to_string).collect(), ..view })
    }

    /// One object, with what belongs to it.
    pub(super) fn about(&self, subject: &Subject) -> Self {
        let name = subject.name.as_str();
        let mut view = Self { unread: self.unread.clone(), ..Self::default() };
        match subject.kind {
            Kind::BackupConfiguration => {
                view.configurations = named(&self.configurations, name);
                view.sessions = chosen(&self.sessions, |one| invoker(one) == Some(name));
                let uses = |one: &Repository| {
                    let sessions = view.configurations.iter().flat_map(|one| &one.spec.sessions);
                    sessions.flat_map(|one| &one.repositories).any(|reference| reference.name == Some(one.name_any()))
                };
                view.repositories = chosen(&self.repositories, uses);
                view.storages = self.storages_of(&view.repositories);
            }
            Kind::BackupStorage => {
                view.storages = named(&self.storages, name);
                view.repositories = chosen(&self.repositories, |one| storage(one) == Some(name));
            }
            Kind::Repository => {
                view.repositories = named(&self.repositories, name);
                view.storages = self.storages_of(&view.repositories);
            }
            Kind::BackupSession => view.sessions = named(&self.sessions, name),
            Kind::RestoreSession => view.restores = named(&self.restores, name),
            _ => view.snapshots = named(&self.snapshots, name),
        }
        if view.snapshots.is_empty() {
            view.snapshots = chosen(&self.snapshots, |one| match subject.kind {
                Kind::BackupSession => one.spec.backup_session.as_deref() == Some(name),
                _ => view.repositories.iter().any(|repository| Some(repository.name_any()) == one.spec.repository),
            });
        }
        view
    }

    fn storages_of(&self, repositories: &[Repository]) -> Vec<BackupStorage> {
        chosen(&self.storages, |one| {
            repositories.iter().any(|repository| storage(repository) == Some(one.name_any().as_str()))
        })
    }

    /// Everything, for programs.
    pub(super) fn values(&self) -> Result<Vec<Value>, PluginError> {
        let mut all = Vec::new();
        for one in &self.configurations {
            all.push(format::value(one)?);
        }
        for one in &self.storages {
            all.push(format::value(one)?);
        }
        for one in &self.repositories {
            all.push(format::value(one)?);
        }
        for one in &self.sessions {
            all.push(format::value(one)?);
        }
        for one in &self.restores {
            all.push(format::value(one)?);
        }
        Ok(all)
    }

    /// The BackupSessions of a session, newest first.
    pub(super) fn runs(&self, configuration: &BackupConfiguration, session: &Session) -> Vec<&BackupSession> {
        let of = |one: &&BackupSession| {
            one.namespace() == configuration.namespace()
                && invoker(one) == Some(configuration.name_any().as_str())
                && one.spec.session == session.name
        };
        let mut runs: Vec<_> = self.sessions.iter().filter(of).collect();
        runs.sort_by_cached_key(|one| std::cmp::Reverse((created(*one), one.name_any())));
        runs
    }

    /// The newest BackupSession of each session of each BackupConfiguration, and all that have not ended, newest first.
    pub(super) fn newest_runs(&self) -> Vec<&BackupSession> {
        let key = |one: &BackupSession| (one.namespace(), invoker(one).map(str::to_owned), one.spec.session.clone());
        let mut all: Vec<_> = self.sessions.iter().collect();
        all.sort_by_cached_key(|one| std::cmp::Reverse((created(*one), one.name_any())));
        let mut seen = Vec::new();
        all.retain(|one| {
            let ended = coffer_api::phase::session_is_final(one.status.as_ref().and_then(|status| status.phase));
            let newest = !seen.contains(&key(one));
            seen.push(key(one));
            newest || !ended
        });
        all
    }

    /// When a session last wrote all of its repositories: the oldest of the newest good Snapshots in each. `None` if one has none.
    pub(super) fn last_success(&self, configuration: &BackupConfiguration, session: &Session) -> Option<Timestamp> {
        let newest = |repository: &Option<String>| {
            let good = self.snapshots.iter().filter(|one| {
                one.namespace() == configuration.namespace()
                    && one.spec.repository == *repository
                    && one.spec.session == session.name
                    && one.status.as_ref().and_then(|status| status.phase) == Some(SnapshotPhase::Succeeded)
            });
            good.filter_map(taken).max()
        };
        let each: Option<Vec<Timestamp>> = session.repositories.iter().map(|one| newest(&one.name)).collect();
        each?.into_iter().min()
    }
}

/// The lists that are read one after the other.
struct Reading<'a> {
    plugin: &'a Plugin,
    namespace: Option<&'a str>,
    seen: bool,
    refused: Vec<PluginError>,
}

impl Reading<'_> {
    fn list<K: Namespaced>(&mut self) -> Result<Vec<K>, PluginError> {
        match self.plugin.objects().list(self.namespace, "") {
            Ok(all) => {
                self.seen = true;
                Ok(all)
            }
            Err(error) if error.kind() == ErrorKind::Denied => {
                self.refused.push(error.into());
                Ok(Vec::new())
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Why a session does not run by its schedule, if it does not.
pub(super) fn waits(configuration: &BackupConfiguration, session: &Session) -> Option<&'static str> {
    if configuration.spec.paused == Some(true) {
        return Some("paused");
    }
    session.scheduler.as_ref().is_some_and(|scheduler| scheduler.suspend == Some(true)).then_some("suspended")
}

/// When a session runs next, as the operator has noted it.
pub(super) fn next_schedule<'a>(configuration: &'a BackupConfiguration, session: &Session) -> Option<&'a str> {
    let mut states = configuration.status.iter().flat_map(|status| &status.sessions);
    states.find(|one| one.name == session.name)?.next_schedule.as_deref()
}

/// Whether a session was due so long ago that somebody should have noted the next time.
pub(super) fn is_overdue(next: Timestamp, now: Timestamp) -> bool {
    now.duration_since(next) > OVERDUE
}

/// The BackupConfiguration of a BackupSession.
pub(super) fn invoker(session: &BackupSession) -> Option<&str> {
    session.spec.invoker.as_ref().map(|invoker| invoker.name.as_str())
}

/// The BackupStorage of a Repository.
pub(super) fn storage(repository: &Repository) -> Option<&str> {
    repository.spec.storage_ref.as_ref().map(|storage| storage.name.as_str())
}

pub(super) fn created<K: Namespaced>(object: &K) -> Option<Timestamp> {
    object.meta().creation_timestamp.as_ref().map(|time| time.0)
}

fn named<K: Namespaced>(all: &[K], name: &str) -> Vec<K> {
    chosen(all, |one| one.name_any() == name)
}

fn chosen<K: Namespaced>(all: &[K], so: impl Fn(&K) -> bool) -> Vec<K> {
    all.iter().filter(|one| so(one)).cloned().collect()
}
