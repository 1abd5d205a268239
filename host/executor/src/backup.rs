//! A backup: one pass over the database, one snapshot in each repository, or none at all.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use coffer_api::cancel::Cancel;
use coffer_api::plan::BackupPlan;
use coffer_repository::{Archive, BackupRequest, Published, Repository, RepositoryError, StreamReceipt, StreamSpec};
use coffer_sandbox::BackupSession;
use coffer_sandbox::contract::{Direction, Fact, Item, Plan};
use jiff::Timestamp;

use crate::addon::{Addon, addon_failed};
use crate::crew::{share_out, side_by_side};
use crate::destinations::{Destinations, first_error};
use crate::events::{Event, Phase};
use crate::manifest::{AddonInfo, MANIFEST_PATH, MANIFEST_VERSION, Manifest, StreamInfo, TargetInfo};
use crate::pipe::{ReceiptSlot, Sink};
use crate::{Context, ExecutorError};

/// The host name of every snapshot, as KubeStash has it: what KubeStash restores is looked up by it.
const SNAPSHOT_HOST: &str = "host-0";

/// How often the leader may ask for another view before the addon counts as broken. The addon has its own, lower limit.
const MAX_VIEWS: usize = 10_000;

/// What became of a backup whose streams were all proven whole.
#[derive(Debug)]
pub struct BackupReport {
    /// One for each destination of the plan, in its order. A repository that failed does not take the others down.
    pub outcomes: Vec<DestinationOutcome>,
    /// What restic shows as the snapshots' path: `/dumpfile.sql`, or `/` and the snapshot component.
    pub path: String,
    /// How many streams were written, the manifest not counted.
    pub streams: usize,
    /// How many bytes they have together.
    pub bytes: u64,
    /// When the run began.
    pub start_time: Timestamp,
    /// When the last repository was done.
    pub end_time: Timestamp,
}

/// What became of one repository.
#[derive(Debug)]
pub struct DestinationOutcome {
    /// Name of the repository.
    pub repository: String,
    /// The published snapshot, or why there is none.
    pub result: Result<Published, ExecutorError>,
}

/// Runs the plan.
///
/// # Errors
/// When no repository got a snapshot. When at least one did, the report tells what became of the others.
pub fn backup(plan: &BackupPlan, context: &Context) -> Result<BackupReport, ExecutorError> {
    let run = context.cancel.child();
    let run = plan.timeout.map_or(run.clone(), |limit| run.with_deadline(limit));
    run_backup(plan, context, &run).map_err(|error| match run.reason() {
        Some(reason) => ExecutorError::stopped(reason, &error),
        None => error,
    })
}

fn run_backup(plan: &BackupPlan, context: &Context, run: &Cancel) -> Result<BackupReport, ExecutorError> {
    let addon = Addon::load(&plan.task, Direction::Backup, context)?;
    // What the sandboxes watch: given when the run is stopped, or when one of them fails.
    let this = Run { plan, context, addon, stop: run.child(), start_time: Timestamp::now() };

    context.events.event(Event::Phase(Phase::Repositories));
    let destinations = Destinations::open(&plan.destinations, context, run)?;

    let mut crew = this.open_crew()?;
    let work = this.agree_and_plan(&mut crew)?;
    let (opened, mut outcomes) = destinations.make_missing()?;
    let (numbers, repositories): (Vec<usize>, Vec<Arc<Repository>>) = opened.into_iter().unzip();
    let archive = Archive::start_unless(run, repositories, this.request(&work.items))
        .map_err(|source| this.repository_failed(&numbers, source))?;

    let control = archive.control();
    let watch = this.stop.child();
    let (bytes, published) = std::thread::scope(|scope| {
        // A writer or the commit may be waiting for a storage that no longer moves: a stop must reach them as well. Once
        // all is over, cancelling changes nothing.
        scope.spawn(|| {
            watch.wait(Duration::MAX);
            control.cancel(watch.reason().unwrap_or_default());
        });
        let _over = CancelAtEnd(&watch);
        let result = this.transfer(crew, &work.items, &archive);
        let result = result.map_err(|error| match archive.failure() {
            // The storage failed first; what the addon says about it only follows.
            Some(source) if !matches!(source, RepositoryError::Source(_) | RepositoryError::Cancelled(_)) => {
                this.repository_failed(&numbers, source)
            }
            _ => error,
        });
        result.and_then(|done| {
            context.events.event(Event::Phase(Phase::Finish));
            let bytes = done.iter().map(|(receipt, _)| receipt.bytes).sum::<u64>();
            Ok((bytes, archive.commit(this.manifest(&work, done).to_bytes()?)))
        })
    })?;

    for outcome in published {
        let Some(number) = numbers.get(outcome.repository) else { continue };
        let result = outcome.result.map_err(|source| this.repository_failed(&[*number], source));
        if let Some(slot) = outcomes.get_mut(*number) {
            *slot = Some(DestinationOutcome { repository: this.repository_name(*number).to_owned(), result });
        }
    }
    let outcomes: Vec<_> = outcomes.into_iter().flatten().collect();
    if outcomes.iter().all(|outcome| outcome.result.is_err()) {
        return Err(first_error(outcomes));
    }
    Ok(BackupReport {
        outcomes,
        path: snapshot_path(plan, &work.items),
        streams: work.items.len(),
        bytes,
        start_time: this.start_time,
        end_time: Timestamp::now(),
    })
}

/// Cancels when it goes out of scope, however that happens, so that nobody waits for ever.
struct CancelAtEnd<'a>(&'a Cancel);

impl Drop for CancelAtEnd<'_> {
    fn drop(&mut self) {
        self.0.cancel("the run is over");
    }
}

/// A stream's proof, and what the addon says of it.
type Done = (StreamReceipt, Vec<Fact>);

struct Run<'a> {
    plan: &'a BackupPlan,
    context: &'a Context,
    addon: Addon,
    stop: Cancel,
    start_time: Timestamp,
}

impl Run<'_> {
    fn open_crew(&self) -> Result<Vec<BackupSession>, ExecutorError> {
        self.context.events.event(Event::Phase(Phase::Connect));
        let target = Arc::new(self.plan.target.clone());
        let addon = &self.addon;
        side_by_side(&mut vec![(); addon.workers], &self.stop, |index, ()| {
            addon
                .component
                .backup(addon.session(&target, (index, addon.workers), &self.stop, &self.context.events))
                .map_err(addon_failed("the addon cannot start"))
        })
    }

    /// Brings every session to one view and returns the work as that view has it, sorted by path.
    fn agree_and_plan(&self, crew: &mut [BackupSession]) -> Result<Plan, ExecutorError> {
        self.context.events.event(Event::Phase(Phase::View));
        let Some((leader, others)) = crew.split_first_mut() else {
            return Err(ExecutorError::Internal("a run without workers".to_owned()));
        };
        let failed = || addon_failed("no consistent view of the database");
        let mut view = leader.prepare().map_err(failed())?;
        for round in 0.. {
            if round == MAX_VIEWS {
                return Err(self.bad_plan(format!("its sessions found no common view in {MAX_VIEWS} rounds")));
            }
            side_by_side(others, &self.stop, |_, session| session.join(&view).map_err(failed()))?;
            match leader.release().map_err(failed())? {
                None => break,
                Some(next) => view = next,
            }
        }
        self.context.events.event(Event::Phase(Phase::Plan));
        let mut plan = leader.plan().map_err(addon_failed("the work cannot be listed"))?;
        if plan.items.is_empty() {
            return Err(self.bad_plan("it lists no stream".to_owned()));
        }
        if let Some(item) = plan.items.iter().find(|item| item.path.split('/').next() == Some(MANIFEST_PATH)) {
            return Err(self.bad_plan(format!("the path {:?} is reserved for the manifest", item.path)));
        }
        plan.items.sort_by(|one, other| one.path.split('/').cmp(other.path.split('/')));
        self.context.events.event(Event::Planned {
            items: plan.items.len(),
            bytes: plan.items.iter().map(|item| item.estimate).sum(),
            workers: crew.len(),
        });
        Ok(plan)
    }

    fn request(&self, items: &[Item]) -> BackupRequest {
        BackupRequest {
            host: SNAPSHOT_HOST.to_owned(),
            paths: vec![snapshot_path(self.plan, items)],
            tags: self.plan.tags.clone(),
            time: self.start_time,
            streams: items.iter().map(|item| StreamSpec { path: item.path.clone(), estimate: item.estimate }).collect(),
            manifest_path: Some(MANIFEST_PATH.to_owned()),
        }
    }

    /// Runs every item and returns what came of them in the items' order. The sandboxes end here.
    fn transfer(
        &self,
        mut crew: Vec<BackupSession>,
        items: &[Item],
        archive: &Archive,
    ) -> Result<Vec<Done>, ExecutorError> {
        self.context.events.event(Event::Phase(Phase::Transfer));
        let slots: Vec<Mutex<Option<Done>>> = items.iter().map(|_| Mutex::new(None)).collect();
        share_out(&mut crew, items, &self.stop, |session, index, item| {
            let done = self.run_item(session, index, item, archive)?;
            if let Some(slot) = slots.get(index) {
                *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(done);
            }
            Ok(())
        })?;
        // The data is complete and its proof is in hand: a session that ends badly now cannot take that back.
        for session in crew {
            if let Err(error) = session.close() {
                let message = format!("the addon did not end in good order: {error}");
                self.context.events.event(Event::Warning { message: &message });
            }
        }
        slots
            .into_iter()
            .map(|slot| slot.into_inner().unwrap_or_else(PoisonError::into_inner))
            .collect::<Option<_>>()
            .ok_or_else(|| ExecutorError::Internal("an item was not run".to_owned()))
    }

    fn run_item(
        &self,
        session: &mut BackupSession,
        index: usize,
        item: &Item,
        archive: &Archive,
    ) -> Result<Done, ExecutorError> {
        let events = &self.context.events;
        events.event(Event::ItemStarted { path: &item.path });
        let receipt = ReceiptSlot::default();
        let writer = archive.writer(index).map_err(|source| self.repository_failed(&[], source))?;
        let sink = Sink::new(writer, Arc::clone(&receipt), Arc::clone(events));
        let facts = session
            .run(item, Box::new(sink))
            .map_err(|source| ExecutorError::Addon { what: format!("the stream {} failed", item.path), source })?;
        let receipt = receipt.lock().unwrap_or_else(PoisonError::into_inner).take();
        let receipt = receipt.ok_or_else(|| self.bad_plan(format!("it did not finish the stream {}", item.path)))?;
        events.event(Event::ItemFinished { path: &item.path, bytes: receipt.bytes });
        Ok((receipt, facts))
    }

    fn bad_plan(&self, problem: String) -> ExecutorError {
        ExecutorError::Plan { addon: self.addon.name.clone(), problem }
    }

    fn manifest(&self, work: &Plan, done: Vec<Done>) -> Manifest {
        let target = &self.plan.target;
        Manifest {
            version: MANIFEST_VERSION,
            coffer: env!("CARGO_PKG_VERSION").to_owned(),
            addon: AddonInfo {
                name: self.addon.name.clone(),
                version: self.addon.version.clone(),
                digest: format!("sha256:{}", self.addon.component.digest()),
                task: self.plan.task.task.clone(),
            },
            target: TargetInfo {
                kind: target.kind.clone(),
                namespace: target.namespace.clone(),
                name: target.name.clone(),
            },
            session: self.plan.session.clone(),
            start_time: self.start_time,
            end_time: Timestamp::now(),
            facts: fact_map(&work.facts),
            streams: work
                .items
                .iter()
                .zip(done)
                .map(|(item, (receipt, facts))| StreamInfo {
                    path: item.path.clone(),
                    bytes: receipt.bytes,
                    sha256: hex::encode(receipt.sha256),
                    facts: fact_map(&facts),
                })
                .collect(),
        }
    }

    fn repository_name(&self, number: usize) -> &str {
        self.plan.destinations.get(number).map_or("", |found| found.repository.as_str())
    }

    /// `numbers` are those that may be meant; none means all of the plan.
    fn repository_failed(&self, numbers: &[usize], source: RepositoryError) -> ExecutorError {
        let names: Vec<&str> = if numbers.is_empty() {
            self.plan.destinations.iter().map(|destination| destination.repository.as_str()).collect()
        } else {
            numbers.iter().map(|number| self.repository_name(*number)).collect()
        };
        ExecutorError::Repository { repository: names.join(", "), source }
    }
}

fn fact_map(facts: &[Fact]) -> BTreeMap<String, String> {
    facts.iter().map(|fact| (fact.name.clone(), fact.value.clone())).collect()
}

/// What restic shows as the snapshot's path: the stream itself when there is one (as `restic backup --stdin` has it, and as
/// KubeStash looks for it), else the component.
fn snapshot_path(plan: &BackupPlan, items: &[Item]) -> String {
    match items {
        [item] => format!("/{}", item.path),
        _ => format!("/{}", plan.task.snapshot_component),
    }
}
