//! One backup: many streams into one snapshot in each of several repositories, published by proof only.
//!
//! Every repository has a thread: it takes the lock, and lets an [archiver](crate::archiver) chunk, compress, encrypt and store what its
//! readers of the [pipe](crate::pipe) deliver. When all streams are read it waits for the verdict. Only after [`Archive::commit`] has seen
//! every stream finished does it build the tree, open its gate, publish, and verify (see `publish`). Anything else leaves packs that the
//! next backup reuses and a prune frees, and no snapshot.

use std::fmt;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use coffer_api::cancel::Cancel;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use rustic_core::SnapshotOptions;
use rustic_core::repofile::SnapshotFile;

use crate::archiver;
use crate::backend::{Backend, Gate};
use crate::error::RepositoryError;
use crate::locks::LockGuard;
use crate::pipe::{Pipe, StreamReceipt, StreamWriter};
use crate::publish::{Published, publish};
use crate::repository::Repository;
use crate::store::{Abort, unless};
use crate::tree;

/// How long the threads may take to store what they have after a failure, before their storage calls are cut off.
const GRACE: Duration = Duration::from_secs(10);
/// Recorded in snapshots.
const PROGRAM: &str = concat!("coffer ", env!("CARGO_PKG_VERSION"));

/// What to back up under which names.
#[derive(Debug, Clone)]
pub struct BackupRequest {
    /// Host recorded in the snapshot; `host-0` for `KubeStash` and everything that reads its repositories.
    pub host: String,
    /// Paths recorded in the snapshot, as given.
    pub paths: Vec<String>,
    /// Tags recorded in the snapshot.
    pub tags: Vec<String>,
    /// Time of the snapshot and of all its files.
    pub time: Timestamp,
    /// The streams, in the order in which they will be started. The tree is sorted by name whatever that order is.
    pub streams: Vec<StreamSpec>,
    /// Where the manifest given to [`Archive::commit`] goes; `None` for no manifest.
    pub manifest_path: Option<String>,
}

impl Default for BackupRequest {
    fn default() -> Self {
        Self {
            host: "host-0".to_owned(),
            paths: Vec::new(),
            tags: Vec::new(),
            time: Timestamp::now(),
            streams: Vec::new(),
            manifest_path: Some("manifest.json".to_owned()),
        }
    }
}

/// One stream of a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamSpec {
    /// Path in the snapshot: relative, no `..`, folders by `/`.
    pub path: String,
    /// Expected bytes, for progress only.
    pub estimate: Option<u64>,
}

impl StreamSpec {
    /// A stream of unknown size.
    pub fn new(path: impl Into<String>) -> Self {
        Self { path: path.into(), estimate: None }
    }
}

/// How far a backup is.
#[derive(Debug, Clone)]
pub struct Progress {
    /// Bytes taken from the streams' producers.
    pub written: u64,
    /// Sum of the streams' estimates, if all have one.
    pub estimate: Option<u64>,
    /// Streams whose producers have finished.
    pub streams_finished: usize,
    /// All streams but the manifest.
    pub streams: usize,
    /// One for each repository, in the order given to [`Archive::start`].
    pub repositories: Vec<RepositoryProgress>,
}

/// How far one repository is.
#[derive(Debug, Clone)]
pub struct RepositoryProgress {
    /// Bytes read from the streams.
    pub read: u64,
    /// Bytes stored, which is after deduplication and compression.
    pub stored: u64,
    /// Why it was given up, if so.
    pub failure: Option<RepositoryError>,
}

/// How a backup ended in one repository.
#[derive(Debug)]
pub struct RepositoryOutcome {
    /// Index in the list given to [`Archive::start`].
    pub repository: usize,
    /// The published snapshot, or why there is none.
    pub result: Result<Published, RepositoryError>,
}

/// What every repository's thread needs to know.
pub(crate) struct Job {
    pub(crate) pipe: Arc<Pipe>,
    pub(crate) request: BackupRequest,
    /// Paths of all streams; the manifest, if any, is the last.
    pub(crate) paths: Vec<String>,
}

/// A running backup. Dropped without [`Archive::commit`], it publishes nothing and removes its locks.
pub struct Archive {
    control: ArchiveControl,
    workers: Vec<Worker>,
}

struct Worker {
    abort: Abort,
    thread: Option<JoinHandle<Result<Published, RepositoryError>>>,
}

/// Watches and ends a backup from anywhere, also while [`Archive::commit`] runs.
#[derive(Clone)]
pub struct ArchiveControl {
    job: Arc<Job>,
    /// One for each repository.
    backends: Arc<[Arc<Backend>]>,
}

impl ArchiveControl {
    /// Nothing will be published, unless it already is. Writers get the error.
    pub fn cancel(&self, reason: impl Into<String>) {
        self.job.pipe.fail(RepositoryError::Cancelled(reason.into()));
    }

    /// How far the backup is.
    pub fn progress(&self) -> Progress {
        let pipe = &self.job.pipe;
        let streams = &self.job.request.streams;
        let repository = |(number, backend): (usize, &Arc<Backend>)| RepositoryProgress {
            read: pipe.bytes_read(number),
            stored: backend.stored(),
            failure: pipe.repository_failure(number),
        };
        Progress {
            written: pipe.bytes_written(),
            estimate: streams.iter().map(|stream| stream.estimate).sum(),
            streams_finished: pipe.receipts().iter().take(streams.len()).flatten().count(),
            streams: streams.len(),
            repositories: self.backends.iter().enumerate().map(repository).collect(),
        }
    }
}

impl Archive {
    /// Begins a backup: takes a shared lock in every repository.
    ///
    /// A repository that cannot be locked takes no part and has its error in the outcome; when none can, that is the error here.
    pub fn start(repositories: Vec<Arc<Repository>>, request: BackupRequest) -> Result<Self, RepositoryError> {
        Self::start_unless(&Cancel::new(), repositories, request)
    }

    /// Like [`Archive::start`], but gives up as soon as `cancel` is given, also while a storage does not answer. Once it has started, only
    /// [`ArchiveControl::cancel`] ends it.
    pub fn start_unless(
        cancel: &Cancel,
        repositories: Vec<Arc<Repository>>,
        request: BackupRequest,
    ) -> Result<Self, RepositoryError> {
        if repositories.is_empty() {
            return Err(RepositoryError::Invalid("a backup needs a repository".to_owned()));
        }
        let mut paths: Vec<String> = request.streams.iter().map(|stream| stream.path.clone()).collect();
        paths.extend(request.manifest_path.clone());
        if paths.is_empty() {
            return Err(RepositoryError::Invalid("a backup needs a stream".to_owned()));
        }
        tree::validate(paths.iter().map(String::as_str))?;

        let pipe = Pipe::new(paths.clone(), repositories.len());
        let job = Arc::new(Job { pipe, request, paths });
        let (backends, aborts): (Vec<_>, Vec<_>) = repositories
            .iter()
            .map(|repository| {
                let (store, abort) = repository.store().abortable();
                (Backend::new(store, Gate::Shut), abort)
            })
            .unzip();
        let control = ArchiveControl { job: Arc::clone(&job), backends: backends.into() };
        let switches = aborts.clone();
        let mut archive = Self { control: control.clone(), workers: Vec::new() };
        let (locked, locks) = mpsc::channel::<()>();
        let places = repositories.into_iter().zip(control.backends.iter()).zip(aborts).enumerate();
        for (number, ((repository, backend), abort)) in places {
            let pipe = Arc::clone(&job.pipe);
            backend.on_failure(move |error| pipe.repository_failed(number, error.clone()));
            let worker = RepositoryWorker { number, job: Arc::clone(&job), repository, backend: Arc::clone(backend) };
            let locked = locked.clone();
            let thread = std::thread::Builder::new()
                .name(format!("repository {number}"))
                .spawn(move || worker.run(locked))
                .map_err(|error| RepositoryError::Invalid(format!("no thread for a repository: {error}")));
            match thread {
                Ok(thread) => archive.workers.push(Worker { abort, thread: Some(thread) }),
                Err(error) => {
                    job.pipe.fail(error.clone());
                    return Err(error);
                }
            }
        }
        drop(locked);
        // Ends when every thread has dropped its sender.
        let _: Result<(), _> = unless(cancel, &switches, || locks.recv());
        if let Some(reason) = cancel.reason() {
            let stopped = RepositoryError::Cancelled(reason);
            job.pipe.fail(stopped.clone());
            return Err(stopped);
        }
        match job.pipe.failure() {
            Some(error) => Err(error),
            None => Ok(archive),
        }
    }

    /// The writer of a stream, by its index in the request. Streams must be started in that order; several may be open at a time.
    pub fn writer(&self, stream: usize) -> Result<StreamWriter, RepositoryError> {
        if stream >= self.job().request.streams.len() {
            return Err(RepositoryError::Invalid(format!("there is no stream number {stream} in this backup")));
        }
        self.job().pipe.writer(stream)
    }

    /// Nothing will be published: a source failed.
    pub fn fail(&self, reason: impl Into<String>) {
        self.job().pipe.fail(RepositoryError::Source(reason.into()));
    }

    fn job(&self) -> &Job {
        &self.control.job
    }

    /// A handle to cancel and to watch with.
    pub fn control(&self) -> ArchiveControl {
        self.control.clone()
    }

    /// The error that ended the backup, if one did.
    pub fn failure(&self) -> Option<RepositoryError> {
        self.job().pipe.failure()
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        self.control.progress()
    }

    /// What the finished streams contained, by index.
    pub fn receipts(&self) -> Vec<Option<StreamReceipt>> {
        let mut receipts = self.job().pipe.receipts();
        receipts.truncate(self.job().request.streams.len());
        receipts
    }

    /// Publishes, if every stream was finished. The manifest is stored as the last stream (and ignored if the request has no place for it).
    ///
    /// Blocks until every repository has published and verified its snapshot, or has failed.
    pub fn commit(mut self, manifest: Vec<u8>) -> Vec<RepositoryOutcome> {
        if let Err(error) = self.accept(manifest) {
            self.job().pipe.fail(error);
        } else {
            self.job().pipe.commit();
        }
        self.await_threads();
        let Self { control, workers } = &mut self;
        let location = |number: usize| control.backends.get(number).map_or("?", |backend| backend.store().location());
        let outcome = |(repository, worker): (usize, &mut Worker)| RepositoryOutcome {
            repository,
            result: match worker.thread.take().map(JoinHandle::join) {
                Some(Ok(result)) => result,
                _ => Err(panicked(location(repository))),
            },
        };
        workers.iter_mut().enumerate().map(outcome).collect()
    }

    /// Every stream has a receipt, and the manifest is written.
    fn accept(&self, manifest: Vec<u8>) -> Result<(), RepositoryError> {
        let streams = self.job().request.streams.len();
        for (stream, receipt) in self.job().pipe.receipts().iter().take(streams).enumerate() {
            if receipt.is_none() {
                let name = self.job().pipe.name(stream);
                return Err(RepositoryError::Source(format!("stream {name} was not finished")));
            }
        }
        if self.job().request.manifest_path.is_some() {
            let mut writer = self.job().pipe.writer(streams)?;
            writer.write_owned(manifest)?;
            writer.finish()?;
        }
        Ok(())
    }

    fn await_threads(&self) {
        if !self.job().pipe.await_end(GRACE) {
            for worker in &self.workers {
                worker.abort.throw();
            }
        }
    }
}

impl Drop for Archive {
    fn drop(&mut self) {
        if self.workers.iter().all(|worker| worker.thread.is_none()) {
            return;
        }
        self.job().pipe.fail(RepositoryError::Source("the backup was given up".to_owned()));
        // A thread that was never started cannot end.
        for number in self.workers.len()..self.job().pipe.repositories() {
            self.job().pipe.repository_ended(number);
        }
        self.await_threads();
        for worker in &mut self.workers {
            if let Some(Err(_)) = worker.thread.take().map(JoinHandle::join) {
                tracing::error!("the thread of a repository panicked");
            }
        }
    }
}

impl fmt::Debug for Archive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Archive").field("progress", &self.progress()).finish_non_exhaustive()
    }
}

impl fmt::Debug for ArchiveControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArchiveControl").finish_non_exhaustive()
    }
}

fn panicked(location: &str) -> RepositoryError {
    RepositoryError::Engine { location: location.to_owned(), message: "its thread panicked; see the log".to_owned() }
}

struct RepositoryWorker {
    number: usize,
    job: Arc<Job>,
    repository: Arc<Repository>,
    backend: Arc<Backend>,
}

/// Reports the end of a repository's thread, also when it panics.
struct Ended<'a>(&'a RepositoryWorker);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        let (pipe, number) = (&self.0.job.pipe, self.0.number);
        if std::thread::panicking() {
            pipe.repository_failed(number, panicked(self.0.backend.store().location()));
        }
        pipe.repository_ended(number);
    }
}

impl RepositoryWorker {
    /// Drops `locked` when it is known whether the repository could be locked.
    fn run(&self, locked: mpsc::Sender<()>) -> Result<Published, RepositoryError> {
        let _ended = Ended(self);
        let result = self.lock(locked).and_then(|lock| self.archive(&lock));
        result.map_err(|error| {
            let error = self.job.pipe.cause(self.number).unwrap_or(error);
            self.job.pipe.repository_failed(self.number, error.clone());
            error
        })
    }

    fn lock(&self, locked: mpsc::Sender<()>) -> Result<LockGuard, RepositoryError> {
        // In the archive's own store: what ends the archive ends the wait for the lock.
        let lock = LockGuard::acquire(self.backend.store(), self.repository.key(), false);
        if let Err(error) = &lock {
            self.job.pipe.repository_failed(self.number, error.clone());
        }
        drop(locked);
        lock
    }

    fn archive(&self, lock: &LockGuard) -> Result<Published, RepositoryError> {
        let Self { number, job, repository, backend } = self;
        let snapshot = self.snapshot()?;
        let archived =
            archiver::archive(&job.pipe, *number, job.paths.len(), backend, repository.key(), &repository.form()?)?;
        backend.barrier()?;
        job.pipe.repository_failure(*number).map_or(Ok(()), Err)?;
        job.pipe.await_commit()?;
        publish(job, repository, backend, lock, snapshot, archived)
    }

    fn snapshot(&self) -> Result<SnapshotFile, RepositoryError> {
        let request = &self.job.request;
        let mut options = SnapshotOptions::default()
            .host(request.host.clone())
            // By default the engine records the whole command line.
            .command("coffer backup".to_owned())
            .time(request.time.to_zoned(TimeZone::UTC));
        options.tags = Vec::new();
        let mut snapshot = options.to_snapshot().map_err(|error| self.backend.explain(error))?;
        PROGRAM.clone_into(&mut snapshot.program_version);
        for tag in &request.tags {
            snapshot.tags.add(tag.clone());
        }
        for path in if request.paths.is_empty() { &self.job.paths } else { &request.paths } {
            snapshot.paths.add(path.clone());
        }
        Ok(snapshot)
    }
}
