//! The engine's storage: our operator, with uploads behind the writer's back, and the commit gate.
//!
//! - **Packs are uploaded while the next ones are made**, several at a time. The first failure sticks: every later write fails with it.
//! - **Barrier**: an index file is written only when every pack before it is stored, a snapshot file only when every index is, and nothing
//!   is removed before all of that. So whatever is referenced exists, at any moment the process may be killed.
//! - **Gate**: a snapshot file is written only while the gate is open, which happens in one place: `publish`.

use std::collections::BTreeSet;
use std::error::Error as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;
use coffer_storage::Storage;
use opendal::{Buffer, ErrorKind as StorageKind};
use rustic_core::{
    BytesList, ErrorKind, FileType, Id, ReadBackend, RepositoryBackends, RusticError, RusticResult, WriteBackend,
};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::crypto::sha256;
use crate::error::RepositoryError;
use crate::store::{Store, aborted, size_of};

/// Most memory that packs waiting for their upload may take, in MiB; one pack is let through however large.
const UPLOAD_BUDGET: u32 = 96;
/// Most packs in flight, whatever the storage's number of connections.
const UPLOADS_AT_ONCE: usize = 8;
const MIB: usize = 1 << 20;

/// What happens to a snapshot file that the engine wants to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gate {
    /// It is an error: this operation publishes nothing.
    Shut,
    /// It is written, once.
    Open,
}

/// One operation's view of one repository.
pub(crate) struct Backend {
    store: Store,
    gate: Mutex<Gate>,
    uploads: Arc<Uploads>,
    slots: Arc<Semaphore>,
    budget: Arc<Semaphore>,
    published: Mutex<Option<Id>>,
    keys_written: Mutex<Vec<Id>>,
    packs_read: Mutex<BTreeSet<Id>>,
}

type OnFailure = Box<dyn Fn(&RepositoryError) + Send + Sync>;

#[derive(Default)]
struct Uploads {
    state: Mutex<UploadState>,
    idle: Condvar,
    stored: AtomicU64,
    on_failure: OnceLock<OnFailure>,
}

#[derive(Default)]
struct UploadState {
    running: usize,
    failure: Option<RepositoryError>,
    written: Vec<(Id, u64)>,
}

impl Uploads {
    fn state(&self) -> MutexGuard<'_, UploadState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fail(&self, error: &RepositoryError) {
        let first = {
            let mut state = self.state();
            let first = state.failure.is_none();
            state.failure.get_or_insert_with(|| error.clone());
            first
        };
        if first && let Some(tell) = self.on_failure.get() {
            tell(error);
        }
    }

    fn done(&self) {
        self.state().running -= 1;
        self.idle.notify_all();
    }
}

/// Counts an upload as ended, however it ends.
struct Running(Arc<Uploads>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.done();
    }
}

impl Backend {
    pub(crate) fn new(store: Store, gate: Gate) -> Arc<Self> {
        let slots = store.connections().min(UPLOADS_AT_ONCE);
        Arc::new(Self {
            store,
            gate: Mutex::new(gate),
            uploads: Arc::default(),
            slots: Arc::new(Semaphore::new(slots)),
            budget: Arc::new(Semaphore::new(UPLOAD_BUDGET as usize)),
            published: Mutex::default(),
            keys_written: Mutex::default(),
            packs_read: Mutex::default(),
        })
    }

    pub(crate) fn for_engine(self: &Arc<Self>) -> RepositoryBackends {
        RepositoryBackends::new(Arc::new(Shared(Arc::clone(self))), None)
    }

    /// Called once, with the first failure of a write, from the thread that met it.
    pub(crate) fn on_failure(&self, tell: impl Fn(&RepositoryError) + Send + Sync + 'static) {
        // A second caller would be a mistake of this crate; the first one stays.
        let _ = self.uploads.on_failure.set(Box::new(tell));
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Bytes of packs that are stored.
    pub(crate) fn stored(&self) -> u64 {
        self.uploads.stored.load(Ordering::Relaxed)
    }

    /// Lets exactly one snapshot file pass.
    pub(crate) fn open_gate(&self) {
        *lock(&self.gate) = Gate::Open;
    }

    /// The id of the snapshot file that passed. It may be in the storage even if its write failed.
    pub(crate) fn published(&self) -> Option<Id> {
        *lock(&self.published)
    }

    /// The packs that the engine has read as a whole, which only a check of all data does.
    pub(crate) fn packs_read(&self) -> BTreeSet<Id> {
        lock(&self.packs_read).clone()
    }

    /// Reads a pack and compares it with its name, which is the hash of its content.
    pub(crate) fn verify_pack(&self, id: &Id) -> Result<(), RepositoryError> {
        let content = self.get(FileType::Pack, id, None)?;
        if Id::new(sha256(&content)) == *id {
            return Ok(());
        }
        let what = format!("{} does not hold what was written to it", path(FileType::Pack, id));
        Err(RepositoryError::damaged(self.store.location(), what))
    }

    pub(crate) fn keys_written(&self) -> Vec<Id> {
        lock(&self.keys_written).clone()
    }

    /// Our own error inside the engine's, or else the write that failed, or else the engine's words.
    #[expect(clippy::needless_pass_by_value, reason = "for `map_err`, and the engine hands its errors out boxed")]
    pub(crate) fn explain(&self, error: Box<RusticError>) -> RepositoryError {
        let mut cause = error.source();
        while let Some(inner) = cause {
            if let Some(ours) = inner.downcast_ref::<RepositoryError>() {
                return ours.clone();
            }
            cause = inner.source();
        }
        let recorded = self.uploads.state().failure.clone();
        recorded.unwrap_or_else(|| RepositoryError::engine(self.store.location(), &error))
    }

    /// Waits until nothing is in flight; fails with the first write that failed.
    pub(crate) fn barrier(&self) -> Result<(), RepositoryError> {
        let mut state = self.uploads.state();
        while state.running > 0 {
            state = self.uploads.idle.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        match &state.failure {
            None => Ok(()),
            Some(failure) => Err(failure.clone()),
        }
    }

    /// Asks the storage for every pack it has confirmed: a store that forgets, or cuts short, is found out before anything is published.
    pub(crate) fn confirm_written(&self) -> Result<(), RepositoryError> {
        self.barrier()?;
        let written = self.uploads.state().written.clone();
        let (operator, at_once) = (self.store.operator().clone(), self.store.connections());
        let wrong = self.store.run(async move {
            let mut asked = JoinSet::new();
            let mut wrong = Vec::new();
            for (id, size) in written {
                if asked.len() >= at_once
                    && let Some(answer) = asked.join_next().await
                {
                    wrong.extend(flatten(answer)?);
                }
                let operator = operator.clone();
                asked.spawn(async move {
                    let found = size_of(&operator, &path(FileType::Pack, &id)).await?;
                    Ok((found != Some(size)).then_some((id, size, found)))
                });
            }
            while let Some(answer) = asked.join_next().await {
                wrong.extend(flatten(answer)?);
            }
            Ok(wrong)
        });
        match wrong.map_err(|error| self.store.error("look at the packs just written", &error))?.first() {
            None => Ok(()),
            Some((id, size, found)) => {
                let found = found.map_or_else(|| "nothing".to_owned(), |found| format!("{found} bytes"));
                Err(RepositoryError::damaged(
                    self.store.location(),
                    format!("the storage confirmed pack {id} with {size} bytes, but holds {found}"),
                ))
            }
        }
    }

    fn upload(&self, id: &Id, content: BytesList) -> Result<(), RepositoryError> {
        if let Some(failure) = self.uploads.state().failure.clone() {
            return Err(failure);
        }
        let size = content.size();
        let weight = u32::try_from(size.div_ceil(MIB)).unwrap_or(u32::MAX).clamp(1, UPLOAD_BUDGET);
        let (slots, budget) = (Arc::clone(&self.slots), Arc::clone(&self.budget));
        let permits = self.store.run(async move {
            let closed = |_| opendal::Error::new(StorageKind::Unexpected, "no more uploads are taken");
            Ok((slots.acquire_owned().await.map_err(closed)?, budget.acquire_many_owned(weight).await.map_err(closed)?))
        });
        let permits = permits.map_err(|error| self.failed(self.store.error("upload a pack", &error)))?;

        self.uploads.state().running += 1;
        let running = Running(Arc::clone(&self.uploads));
        let (operator, abort, store) =
            (self.store.operator().clone(), self.store.abort_token().clone(), self.store.clone());
        let (id, path) = (*id, path(FileType::Pack, id));
        Storage::runtime().spawn(async move {
            let uploads = &running.0;
            let written = tokio::select! {
                biased;
                () = abort.thrown() => Err(aborted()),
                written = operator.write(&path, Buffer::from(content.into_vec())) => written,
            };
            match written {
                Ok(_) => {
                    uploads.stored.fetch_add(size as u64, Ordering::Relaxed);
                    uploads.state().written.push((id, size as u64));
                }
                Err(error) => uploads.fail(&store.error(&format!("write {path}"), &error)),
            }
            drop((permits, running));
        });
        Ok(())
    }

    fn failed(&self, error: RepositoryError) -> RepositoryError {
        self.uploads.fail(&error);
        error
    }

    pub(crate) fn put(&self, kind: FileType, id: &Id, content: BytesList) -> Result<(), RepositoryError> {
        let path = path(kind, id);
        let buffer = Buffer::from(content.clone().into_vec());
        match kind {
            FileType::Pack => self.upload(id, content),
            FileType::Index => {
                self.barrier()?;
                self.store
                    .write(&path, buffer)
                    .map_err(|error| self.failed(self.store.error(&format!("write {path}"), &error)))
            }
            FileType::Snapshot => {
                let gate = std::mem::replace(&mut *lock(&self.gate), Gate::Shut);
                match gate {
                    Gate::Shut => {
                        return Err(RepositoryError::Engine {
                            location: self.store.location().to_owned(),
                            message: "a snapshot was about to be written outside of its commit".to_owned(),
                        });
                    }
                    Gate::Open => {}
                }
                self.barrier()?;
                // Before the write: one that is said to have failed may have arrived all the same.
                *lock(&self.published) = Some(*id);
                self.store
                    .write(&path, buffer)
                    .map_err(|error| self.failed(self.store.error(&format!("write {path}"), &error)))
            }
            FileType::Key => {
                self.store.write(&path, buffer).map_err(|error| self.store.error(&format!("write {path}"), &error))?;
                lock(&self.keys_written).push(*id);
                Ok(())
            }
            // Of two that create a repository at the same time, one finds the other's configuration.
            FileType::Config => self.store.write_new(&path, buffer).map_err(|error| match error.kind() {
                StorageKind::ConditionNotMatch | StorageKind::AlreadyExists => {
                    RepositoryError::AlreadyExists { location: self.store.location().to_owned() }
                }
                _ => self.store.error("write the repository's configuration", &error),
            }),
        }
    }

    pub(crate) fn get(&self, kind: FileType, id: &Id, range: Option<(u32, u32)>) -> Result<Bytes, RepositoryError> {
        let path = path(kind, id);
        let content = match range {
            None => self.store.read(&path),
            Some((offset, length)) => self.store.read_range(&path, offset.into(), length.into()),
        };
        let content = content.map_err(|error| match error.kind() {
            StorageKind::NotFound | StorageKind::RangeNotSatisfied => {
                RepositoryError::damaged(self.store.location(), format!("{path} is missing or too short"))
            }
            _ => self.store.error(&format!("read {path}"), &error),
        })?;
        let whole = match (kind, range) {
            (_, Some((_, length))) => content.len() == length as usize,
            // The name of these is the hash of their content. (A pack's parts are checked one by one; the configuration has no such name.)
            (FileType::Index | FileType::Snapshot | FileType::Key, None) => Id::new(sha256(&content)) == *id,
            _ => true,
        };
        if !whole {
            return Err(RepositoryError::damaged(
                self.store.location(),
                format!("{path} does not hold what was written to it"),
            ));
        }
        Ok(content)
    }

    pub(crate) fn files(&self, kind: FileType) -> Result<Vec<(Id, u32)>, RepositoryError> {
        let size = |size: u64| u32::try_from(size).unwrap_or(u32::MAX);
        if kind == FileType::Config {
            let found =
                self.store.size("config").map_err(|error| self.store.error("look for the configuration", &error))?;
            return Ok(found.map(|found| (Id::default(), size(found))).into_iter().collect());
        }
        let folder = format!("{}/", kind.dirname());
        let found = self
            .store
            .list(&folder, kind == FileType::Pack)
            .map_err(|error| self.store.error(&format!("list {folder}"), &error))?;
        Ok(found.into_iter().filter_map(|(name, bytes)| Some((name.parse().ok()?, size(bytes)))).collect())
    }

    fn delete(&self, kind: FileType, id: &Id) -> Result<(), RepositoryError> {
        self.barrier()?;
        let path = path(kind, id);
        self.store.remove(&path).map_err(|error| self.store.error(&format!("remove {path}"), &error))
    }
}

fn flatten<T>(answer: Result<opendal::Result<T>, tokio::task::JoinError>) -> opendal::Result<T> {
    answer.map_err(|error| opendal::Error::new(StorageKind::Unexpected, "a storage task was lost").set_source(error))?
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where restic keeps a file, relative to the repository.
pub(crate) fn path(kind: FileType, id: &Id) -> String {
    let hex = id.to_hex();
    let hex = hex.as_str();
    match kind {
        FileType::Config => "config".to_owned(),
        FileType::Pack => format!("data/{}/{hex}", hex.get(..2).unwrap_or(hex)),
        _ => format!("{}/{hex}", kind.dirname()),
    }
}

/// The engine wants to own its backend; this shares it with us.
struct Shared(Arc<Backend>);

fn to_engine(error: RepositoryError) -> Box<RusticError> {
    RusticError::with_source(ErrorKind::Backend, "The storage of the repository failed.", error)
}

impl ReadBackend for Shared {
    fn location(&self) -> String {
        self.0.store.location().to_owned()
    }

    fn list_with_size(&self, kind: FileType) -> RusticResult<Vec<(Id, u32)>> {
        self.0.files(kind).map_err(to_engine)
    }

    fn read_full(&self, kind: FileType, id: &Id) -> RusticResult<Bytes> {
        if kind == FileType::Pack {
            lock(&self.0.packs_read).insert(*id);
        }
        self.0.get(kind, id, None).map_err(to_engine)
    }

    fn read_partial(&self, kind: FileType, id: &Id, _cacheable: bool, offset: u32, length: u32) -> RusticResult<Bytes> {
        self.0.get(kind, id, Some((offset, length))).map_err(to_engine)
    }

    fn warmup_path(&self, kind: FileType, id: &Id) -> String {
        path(kind, id)
    }
}

impl WriteBackend for Shared {
    fn write_bytes(&self, kind: FileType, id: &Id, _cacheable: bool, content: BytesList) -> RusticResult<()> {
        self.0.put(kind, id, content).map_err(to_engine)
    }

    fn remove(&self, kind: FileType, id: &Id, _cacheable: bool) -> RusticResult<()> {
        self.0.delete(kind, id).map_err(to_engine)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backend(gate: Gate) -> Arc<Backend> {
        Backend::new(Store::new(&Storage::memory()), gate)
    }

    fn id(content: &[u8]) -> Id {
        Id::new(sha256(content))
    }

    fn write(backend: &Arc<Backend>, kind: FileType, content: &[u8]) -> RusticResult<()> {
        Shared(Arc::clone(backend)).write_bytes(kind, &id(content), false, content.to_vec().into())
    }

    #[test]
    fn a_snapshot_passes_an_open_gate_once_and_no_other() {
        let shut = backend(Gate::Shut);
        assert!(write(&shut, FileType::Snapshot, b"one").is_err());
        assert_eq!(shut.files(FileType::Snapshot).unwrap(), []);

        shut.open_gate();
        write(&shut, FileType::Snapshot, b"two").unwrap();
        assert_eq!(shut.files(FileType::Snapshot).unwrap(), [(id(b"two"), 3)]);
        assert_eq!(shut.published(), Some(id(b"two")));
        assert!(write(&shut, FileType::Snapshot, b"three").is_err());
    }

    #[test]
    fn files_lie_where_restic_looks() {
        let backend = backend(Gate::Shut);
        write(&backend, FileType::Pack, b"pack").unwrap();
        write(&backend, FileType::Index, b"index").unwrap();
        write(&backend, FileType::Key, b"key").unwrap();
        write(&backend, FileType::Config, b"config").unwrap();
        for (kind, content) in
            [(FileType::Pack, b"pack".as_slice()), (FileType::Index, b"index"), (FileType::Key, b"key")]
        {
            assert_eq!(backend.files(kind).unwrap(), [(id(content), u32::try_from(content.len()).unwrap())]);
            assert_eq!(backend.get(kind, &id(content), None).unwrap(), content);
        }
        let hex = hex::encode(sha256(b"pack"));
        assert_eq!(backend.store().read(&format!("data/{}/{hex}", &hex[..2])).unwrap(), b"pack".as_slice());
        assert_eq!(backend.store().read("config").unwrap(), b"config".as_slice());
        backend.confirm_written().unwrap();
    }

    #[test]
    fn a_second_configuration_is_refused() {
        let backend = backend(Gate::Shut);
        write(&backend, FileType::Config, b"config").unwrap();
        let refused = backend.explain(write(&backend, FileType::Config, b"another").unwrap_err());
        assert!(matches!(refused, RepositoryError::AlreadyExists { .. }), "{refused}");
    }

    #[test]
    fn what_the_storage_lost_or_changed_is_found_out() {
        let backend = backend(Gate::Shut);
        write(&backend, FileType::Pack, b"pack").unwrap();
        write(&backend, FileType::Index, b"index").unwrap();
        backend.store().write(&path(FileType::Index, &id(b"index")), b"other".to_vec().into()).unwrap();
        assert!(matches!(backend.get(FileType::Index, &id(b"index"), None), Err(RepositoryError::Damaged { .. })));
        backend.store().write(&path(FileType::Pack, &id(b"pack")), b"pa".to_vec().into()).unwrap();
        assert!(matches!(
            backend.get(FileType::Pack, &id(b"pack"), Some((0, 4))),
            Err(RepositoryError::Damaged { .. })
        ));
        assert!(matches!(backend.confirm_written(), Err(RepositoryError::Damaged { .. })));
        backend.store().remove(&path(FileType::Pack, &id(b"pack"))).unwrap();
        assert!(backend.confirm_written().unwrap_err().to_string().contains("holds nothing"));
    }
}
