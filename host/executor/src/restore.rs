//! A restore: one snapshot, stage by stage, every stream compared with the manifest while it flows.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use coffer_api::cancel::Cancel;
use coffer_api::plan::{RestorePlan, SnapshotChoice};
use coffer_repository::{Entry as StoredEntry, EntryKind, LockGuard, Repository, RepositoryError, Snapshot};
use coffer_sandbox::RestoreSession;
use coffer_sandbox::contract::{Direction, Entry, Fact, RestoreItem, Stage};
use coffer_storage::Storage;
use jiff::{SignedDuration, Timestamp};

use crate::addon::{Addon, addon_failed};
use crate::crew::{share_out, side_by_side};
use crate::events::{Event, Phase};
use crate::manifest::{MANIFEST_PATH, Manifest};
use crate::pipe::{Expected, Source};
use crate::{Context, ExecutorError};

/// The largest manifest that is read: some 200 bytes for each of a million streams.
const MANIFEST_LIMIT: u64 = 512 << 20;

/// The fact with which the addon is told the snapshot's id, so that it knows a retry from the restore of another one.
const SNAPSHOT_FACT: &str = "snapshot";

/// What a restore did.
#[derive(Debug, Clone)]
pub struct RestoreReport {
    /// The restic id of the snapshot.
    pub snapshot: String,
    /// When it was taken.
    pub snapshot_time: Timestamp,
    /// How many items were restored.
    pub items: usize,
    /// How many of the snapshot's streams they read.
    pub streams: usize,
    /// How many streams the snapshot has.
    pub streams_in_snapshot: usize,
    /// How many bytes they read.
    pub bytes: u64,
    /// Whether every byte was compared with a manifest; foreign snapshots have none.
    pub verified: bool,
    /// When the run began.
    pub start_time: Timestamp,
    /// When it ended.
    pub end_time: Timestamp,
}

/// Runs the plan.
///
/// # Errors
/// When anything could not be restored. What was restored until then stays; the addon says what to do about it.
pub fn restore(plan: &RestorePlan, context: &Context) -> Result<RestoreReport, ExecutorError> {
    let run = context.cancel.child();
    let run = plan.timeout.map_or(run.clone(), |limit| run.with_deadline(limit));
    run_restore(plan, context, &run).map_err(|error| match run.reason() {
        Some(reason) => ExecutorError::stopped(reason, &error),
        None => error,
    })
}

fn run_restore(plan: &RestorePlan, context: &Context, run: &Cancel) -> Result<RestoreReport, ExecutorError> {
    let start_time = Timestamp::now();
    let addon = Addon::load(&plan.task, Direction::Restore, context)?;

    context.events.event(Event::Phase(Phase::Repositories));
    let source = SourceSnapshot::open(plan, run, context)?;

    context.events.event(Event::Phase(Phase::Connect));
    let stop = run.child();
    let target = Arc::new(plan.target.clone());
    let mut crew = side_by_side(&mut vec![(); addon.workers], &stop, |index, ()| {
        addon
            .component
            .restore(addon.session(&target, (index, addon.workers), &stop, &context.events))
            .map_err(addon_failed("the addon cannot start"))
    })?;

    let result = play(&addon.name, &source, &mut crew, &stop, context);
    // Also after a failure: a session that still can puts the server's settings back.
    for session in crew {
        if let Err(error) = session.close()
            && result.is_ok()
        {
            context.events.event(Event::Warning { message: &format!("the addon did not end in good order: {error}") });
        }
    }
    let Played { items, streams, bytes } = result?;
    Ok(RestoreReport {
        snapshot: source.info.id.clone(),
        snapshot_time: source.info.time,
        items,
        streams,
        streams_in_snapshot: source.entries.len(),
        bytes,
        verified: source.manifest.is_some(),
        start_time,
        end_time: Timestamp::now(),
    })
}

/// What was done of a plan.
struct Played {
    items: usize,
    streams: usize,
    bytes: u64,
}

/// Plans, runs every stage, finishes.
fn play(
    addon: &str,
    source: &SourceSnapshot,
    crew: &mut [RestoreSession],
    stop: &Cancel,
    context: &Context,
) -> Result<Played, ExecutorError> {
    context.events.event(Event::Phase(Phase::Plan));
    let leader = |crew: &mut [RestoreSession],
                  act: &mut dyn FnMut(&mut RestoreSession) -> Result<(), ExecutorError>| {
        crew.first_mut().map_or_else(|| Err(ExecutorError::Internal("a run without workers".to_owned())), act)
    };
    let mut stages: Vec<Stage> = Vec::new();
    leader(crew, &mut |session| {
        stages =
            session.plan(&source.entries, &source.facts()).map_err(addon_failed("the snapshot cannot be restored"))?;
        Ok(())
    })?;
    let items = check_stages(addon, &stages, &source.entries)?;
    let sizes: BTreeMap<&str, Option<u64>> =
        source.entries.iter().map(|entry| (entry.path.as_str(), entry.size)).collect();
    let size = |item: &RestoreItem| sizes.get(item.path.as_str()).copied().flatten();
    let bytes = stages.iter().flat_map(|stage| &stage.items).map(size).sum();
    context.events.event(Event::Planned { items, bytes, workers: crew.len() });

    context.events.event(Event::Phase(Phase::Transfer));
    let total = AtomicU64::new(0);
    for stage in &stages {
        context.events.event(Event::Stage { name: &stage.name, items: stage.items.len() });
        share_out(crew, &stage.items, stop, |session, _, item| {
            let count = run_item(source, session, item, context)?;
            total.fetch_add(count, Ordering::Relaxed);
            Ok(())
        })?;
    }
    context.events.event(Event::Phase(Phase::Finish));
    leader(crew, &mut |session| session.finish().map_err(addon_failed("the restored database could not be finished")))?;
    let streams: BTreeSet<&str> = stages.iter().flat_map(|stage| &stage.items).map(|item| item.path.as_str()).collect();
    Ok(Played { items, streams: streams.len(), bytes: total.into_inner() })
}

fn run_item(
    source: &SourceSnapshot,
    session: &mut RestoreSession,
    item: &RestoreItem,
    context: &Context,
) -> Result<u64, ExecutorError> {
    context.events.event(Event::ItemStarted { path: &item.path });
    let reader = source.repository.read(&source.info, &item.path).map_err(|error| source.failed(error))?;
    let read = Arc::new(AtomicU64::new(0));
    let stream =
        Source::new(&item.path, reader, source.expected(&item.path), Arc::clone(&context.events), Arc::clone(&read));
    session
        .run(item, Box::new(stream))
        .map_err(|error| ExecutorError::Addon { what: format!("the stream {} failed", item.path), source: error })?;
    let bytes = read.load(Ordering::Relaxed);
    context.events.event(Event::ItemFinished { path: &item.path, bytes });
    Ok(bytes)
}

/// How many items there are, if all of them read streams that exist.
fn check_stages(addon: &str, stages: &[Stage], entries: &[Entry]) -> Result<usize, ExecutorError> {
    let known: BTreeSet<&str> = entries.iter().map(|entry| entry.path.as_str()).collect();
    let items = stages.iter().flat_map(|stage| &stage.items);
    if let Some(item) = items.clone().find(|item| !known.contains(item.path.as_str())) {
        let problem = format!("it wants the stream {:?}, which the snapshot does not have", item.path);
        return Err(ExecutorError::Plan { addon: addon.to_owned(), problem });
    }
    Ok(items.count())
}

/// The snapshot that is restored.
struct SourceSnapshot {
    repository: Repository,
    /// Held for the whole restore, so that no stream has to take its own.
    _lock: Option<Arc<LockGuard>>,
    name: String,
    info: Snapshot,
    manifest: Option<Manifest>,
    /// What the manifest says of each stream; empty for foreign snapshots.
    expected: BTreeMap<String, Expected>,
    entries: Vec<Entry>,
}

impl SourceSnapshot {
    fn open(plan: &RestorePlan, run: &Cancel, context: &Context) -> Result<Self, ExecutorError> {
        let name = plan.source.repository.clone();
        let failed = |source| ExecutorError::Repository { repository: name.clone(), source };
        let storage = Storage::open(&plan.source.storage, context.local)
            .map_err(|source| ExecutorError::Storage { repository: name.clone(), source })?
            .stop_on(run)
            .subdirectory(&plan.source.path);
        let repository = Repository::open(&storage, &plan.source.password).map_err(failed)?;
        context.events.event(Event::Repository { name: &name, location: storage.location(), created: false });
        let lock = match repository.share() {
            Ok(lock) => Some(lock),
            Err(error @ RepositoryError::Locked { .. }) => return Err(failed(error)),
            // A storage that may only be read takes no lock; whether it can be read will show.
            Err(_) => None,
        };
        let info = repository.snapshot(&choice(&plan.snapshot)).map_err(failed)?;
        context.events.event(Event::Snapshot { id: &info.id, time: &info.time.to_string() });
        let mut stored = repository.entries(&info).map_err(failed)?;
        stored.retain(|entry| entry.kind == EntryKind::File);
        let manifest = if stored.iter().any(|entry| entry.path == MANIFEST_PATH) {
            let mut bytes = Vec::new();
            repository
                .read(&info, MANIFEST_PATH)
                .map_err(failed)?
                .take(MANIFEST_LIMIT)
                .read_to_end(&mut bytes)
                .map_err(|error| ExecutorError::Mismatch {
                    snapshot: info.id.clone(),
                    problem: format!("it cannot be read ({error})"),
                })?;
            Some(Manifest::parse(&bytes)?)
        } else {
            None
        };
        let entries = match &manifest {
            Some(manifest) => match_entries(manifest, &stored)
                .map_err(|problem| ExecutorError::Mismatch { snapshot: info.id.clone(), problem })?,
            None => stored
                .into_iter()
                .map(|entry| Entry { path: entry.path, size: entry.size, facts: Vec::new() })
                .collect(),
        };
        let expected = manifest
            .iter()
            .flat_map(|manifest| &manifest.streams)
            .map(|stream| {
                (stream.path.clone(), Expected { bytes: stream.bytes, sha256: stream.sha256.to_ascii_lowercase() })
            })
            .collect();
        Ok(Self { repository, _lock: lock, name, info, manifest, expected, entries })
    }

    fn failed(&self, source: RepositoryError) -> ExecutorError {
        ExecutorError::Repository { repository: self.name.clone(), source }
    }

    /// What the manifest says of the backup as a whole, and which snapshot it is.
    fn facts(&self) -> Vec<Fact> {
        let mut facts = self.manifest.as_ref().map(|manifest| facts(&manifest.facts)).unwrap_or_default();
        facts.retain(|fact| fact.name != SNAPSHOT_FACT);
        facts.push(Fact { name: SNAPSHOT_FACT.to_owned(), value: self.info.id.clone() });
        facts
    }

    fn expected(&self, path: &str) -> Option<Expected> {
        self.expected.get(path).cloned()
    }
}

fn choice(wanted: &SnapshotChoice) -> coffer_repository::SnapshotChoice {
    use coffer_repository::SnapshotChoice as Choice;
    match wanted {
        SnapshotChoice::Latest => Choice::Latest,
        SnapshotChoice::Id(id) => Choice::Id(id.clone()),
        SnapshotChoice::Before { time, exclusive: true } => Choice::Before(*time),
        // Timestamps are whole nanoseconds: up to a moment is before the next one.
        SnapshotChoice::Before { time, exclusive: false } => {
            Choice::Before(time.saturating_add(SignedDuration::from_nanos(1)).unwrap_or(*time))
        }
    }
}

fn facts(map: &BTreeMap<String, String>) -> Vec<Fact> {
    map.iter().map(|(name, value)| Fact { name: name.clone(), value: value.clone() }).collect()
}

/// The streams as the addon sees them, if manifest and tree hold the same ones with the same sizes.
fn match_entries(manifest: &Manifest, stored: &[StoredEntry]) -> Result<Vec<Entry>, String> {
    let sizes: BTreeMap<&str, Option<u64>> = stored
        .iter()
        .filter(|entry| entry.path != MANIFEST_PATH)
        .map(|entry| (entry.path.as_str(), entry.size))
        .collect();
    let listed: BTreeSet<&str> = manifest.streams.iter().map(|stream| stream.path.as_str()).collect();
    if let Some(path) = sizes.keys().find(|path| !listed.contains(*path)) {
        return Err(format!("the stream {path} is not in the manifest"));
    }
    manifest
        .streams
        .iter()
        .map(|stream| match sizes.get(stream.path.as_str()) {
            None => Err(format!("the stream {} is missing", stream.path)),
            Some(Some(size)) if *size != stream.bytes => {
                Err(format!("the stream {} has {size} bytes instead of {}", stream.path, stream.bytes))
            }
            Some(_) => Ok(Entry { path: stream.path.clone(), size: Some(stream.bytes), facts: facts(&stream.facts) }),
        })
        .collect()
}
