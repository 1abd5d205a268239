//! From streams to packs: chunks, hashes, compresses, encrypts and packs what the repository does not have yet.
//!
//! As many threads as there are cores read streams, each one stream at a time and all in the streams' order (which the [pipe](crate::pipe)
//! relies on), and find out what is new. As many again seal what is new and put it into the pack that is being filled. So a single stream
//! keeps more than one core busy, and several streams do not wait for one another.

use std::collections::HashSet;
use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use rustic_core::{DataId, Id};

use crate::backend::Backend;
use crate::chunker::{Chunks, Rabin};
use crate::crypto::{RepositoryKey, sha256};
use crate::error::RepositoryError;
use crate::known::Known;
use crate::packs::{Added, IndexFile, Kind, Pack, PackError};
use crate::pipe::Pipe;
use crate::seal::Sealer;

/// An index file is written when it tells of this many blobs, or when it is that old: what a killed backup has stored is found by the next.
const INDEX_BLOBS: usize = 50_000;
const INDEX_AGE: Duration = Duration::from_mins(5);
/// Every thread may hold some chunks of up to 8 MiB. More threads than this gain nothing that storages could take.
const MOST_THREADS: usize = 16;
/// A chunk's memory is used again if it is not larger than this: most are, and a large one must not stay for ever.
const SPARE: usize = 4 << 20;

/// How a repository wants its data.
#[derive(Debug)]
pub(crate) struct Form {
    pub(crate) rabin: Rabin,
    /// zstd's level; `None` for no compression.
    pub(crate) level: Option<i32>,
    pub(crate) version: u32,
    pub(crate) packs: PackSize,
}

/// How large packs of data become: larger in large repositories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PackSize {
    pub(crate) base: u64,
    /// Bytes for each unit of the square root of the repository's bytes.
    pub(crate) growth: u64,
    pub(crate) limit: u64,
}

impl PackSize {
    /// The size in a repository that holds so many bytes of data.
    pub(crate) fn at(self, stored: u64) -> usize {
        let size = stored.isqrt().saturating_mul(self.growth).saturating_add(self.base).min(self.limit);
        // The format's offsets have 32 bits.
        usize::try_from(size.min(1 << 30)).unwrap_or(1 << 30)
    }
}

/// What became of the streams.
#[derive(Debug)]
pub(crate) struct Archived {
    /// The chunks of each stream, in order.
    pub(crate) contents: Vec<Vec<DataId>>,
    pub(crate) added: Added,
}

/// Stores all streams of the pipe in one repository. What it returns is durable when the backend's next barrier is passed.
pub(crate) fn archive(
    pipe: &Arc<Pipe>,
    repository: usize,
    streams: usize,
    backend: &Backend,
    key: &RepositoryKey,
    form: &Form,
) -> Result<Archived, RepositoryError> {
    let known = Known::read(backend, key)?;
    let threads = thread::available_parallelism().map_or(2, usize::from).min(MOST_THREADS);
    let pack_size = form.packs.at(known.stored);
    let shared = Shared {
        pipe,
        repository,
        backend,
        key,
        form,
        known,
        pack_size,
        claimed: Mutex::default(),
        next: AtomicUsize::new(0),
        contents: (0..streams).map(|_| Mutex::default()).collect(),
        open: Mutex::new(Open { pack: Pack::default(), index: IndexFile::default(), since: Instant::now() }),
        spares: Mutex::default(),
        failure: Mutex::default(),
        blobs: AtomicU64::new(0),
        bytes: AtomicU64::new(0),
        packed: AtomicU64::new(0),
    };
    thread::scope(|scope| {
        let (sender, receiver) = bounded(1);
        for number in 0..threads {
            let (sender, receiver, shared) = (sender.clone(), receiver.clone(), &shared);
            let reader = thread::Builder::new().name(format!("chunk {number}"));
            let sealer = thread::Builder::new().name(format!("seal {number}"));
            let started = reader
                .spawn_scoped(scope, move || shared.guarded(|| shared.read_streams(&sender)))
                .and_then(|_| sealer.spawn_scoped(scope, move || shared.guarded(|| shared.seal_chunks(&receiver))));
            if let Err(error) = started {
                shared.fail(RepositoryError::Invalid(format!("no thread for an archiver: {error}")));
                break;
            }
        }
    });
    shared.finish()
}

struct Shared<'a> {
    pipe: &'a Arc<Pipe>,
    repository: usize,
    backend: &'a Backend,
    key: &'a RepositoryKey,
    form: &'a Form,
    known: Known,
    pack_size: usize,
    /// What this run has taken on itself to store.
    claimed: Mutex<HashSet<[u8; 32]>>,
    /// The next stream that nobody reads.
    next: AtomicUsize,
    contents: Vec<Mutex<Vec<DataId>>>,
    open: Mutex<Open>,
    spares: Mutex<Vec<Vec<u8>>>,
    failure: Mutex<Option<RepositoryError>>,
    blobs: AtomicU64,
    bytes: AtomicU64,
    packed: AtomicU64,
}

/// What is being filled.
struct Open {
    pack: Pack,
    index: IndexFile,
    since: Instant,
}

/// A chunk that the repository does not have.
struct New {
    hash: [u8; 32],
    content: Vec<u8>,
}

impl Shared<'_> {
    /// Runs a thread's work. A failure, or a panic, ends the others as well: the streams that are left are not read, which fails the pipe.
    fn guarded(&self, work: impl FnOnce() -> Result<(), RepositoryError>) {
        struct Unfinished<'a, 'b>(&'a Shared<'b>, bool);
        impl Drop for Unfinished<'_, '_> {
            fn drop(&mut self) {
                if self.1 {
                    self.0.fail(RepositoryError::Engine {
                        location: self.0.backend.store().location().to_owned(),
                        message: "a thread of the archiver panicked; see the log".to_owned(),
                    });
                }
            }
        }
        let mut unfinished = Unfinished(self, true);
        let result = work();
        unfinished.1 = false;
        if let Err(error) = result {
            self.fail(error);
        }
    }

    fn fail(&self, error: RepositoryError) {
        lock(&self.failure).get_or_insert_with(|| error.clone());
        // Whoever waits for bytes of this repository's streams wakes up.
        self.pipe.repository_failed(self.repository, error);
    }

    fn failed(&self) -> bool {
        lock(&self.failure).is_some()
    }

    fn read_streams(&self, sealers: &Sender<New>) -> Result<(), RepositoryError> {
        loop {
            let stream = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(slot) = self.contents.get(stream) else { return Ok(()) };
            let mut chunks = Chunks::new(self.pipe.reader(stream, self.repository));
            let mut content = Vec::new();
            let mut spare = self.spare();
            while let Some(chunk) = chunks.next(&self.form.rabin, spare).map_err(|error| self.explain(&error))? {
                let hash = sha256(&chunk);
                content.push(DataId::from(Id::new(hash)));
                spare = if self.known.has(&hash) || !lock(&self.claimed).insert(hash) {
                    chunk
                } else {
                    if sealers.send(New { hash, content: chunk }).is_err() || self.failed() {
                        // Its cause is told by the thread that failed.
                        return Ok(());
                    }
                    self.spare()
                };
            }
            *lock(slot) = content;
        }
    }

    fn seal_chunks(&self, chunks: &Receiver<New>) -> Result<(), RepositoryError> {
        let explain = |error: PackError| error.into_ours(self.backend.store().location(), "data cannot be stored");
        let mut sealer = Sealer::new(self.key, self.form.level).map_err(|error| explain(PackError::Seal(error)))?;
        for New { hash, content } in chunks {
            let sealed = sealer.seal(&content).map_err(|error| explain(PackError::Seal(error)))?;
            self.blobs.fetch_add(1, Ordering::Relaxed);
            self.bytes.fetch_add(content.len() as u64, Ordering::Relaxed);
            self.packed.fetch_add(sealed.bytes.len() as u64, Ordering::Relaxed);
            self.give_back(content);
            let mut open = lock(&self.open);
            open.pack.add(Kind::Data, &hash, sealed).map_err(explain)?;
            if open.pack.length() >= self.pack_size {
                self.write(&mut open).map_err(explain)?;
            }
        }
        Ok(())
    }

    /// Hands the pack to the storage, and the index, if it is time. Others wait meanwhile: an index is written when no pack is on its way.
    fn write(&self, open: &mut Open) -> Result<(), PackError> {
        std::mem::take(&mut open.pack).write(self.backend, self.key, &mut open.index)?;
        if open.index.blobs() >= INDEX_BLOBS || open.since.elapsed() >= INDEX_AGE {
            std::mem::take(&mut open.index).write(self.backend, self.key, self.form.version)?;
            open.since = Instant::now();
        }
        Ok(())
    }

    fn finish(self) -> Result<Archived, RepositoryError> {
        if let Some(error) = self.failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(error);
        }
        let Open { pack, mut index, .. } = self.open.into_inner().unwrap_or_else(PoisonError::into_inner);
        pack.write(self.backend, self.key, &mut index)
            .and_then(|()| index.write(self.backend, self.key, self.form.version))
            .map_err(|error| error.into_ours(self.backend.store().location(), "data cannot be stored"))?;
        let contents =
            self.contents.into_iter().map(|content| content.into_inner().unwrap_or_else(PoisonError::into_inner));
        let added =
            Added { blobs: self.blobs.into_inner(), bytes: self.bytes.into_inner(), packed: self.packed.into_inner() };
        Ok(Archived { contents: contents.collect(), added })
    }

    fn explain(&self, error: &io::Error) -> RepositoryError {
        let ours = error.get_ref().and_then(|inner| inner.downcast_ref::<RepositoryError>()).cloned();
        ours.unwrap_or_else(|| RepositoryError::Engine {
            location: self.backend.store().location().to_owned(),
            message: format!("a stream cannot be read: {error}"),
        })
    }

    fn spare(&self) -> Vec<u8> {
        lock(&self.spares).pop().unwrap_or_default()
    }

    fn give_back(&self, chunk: Vec<u8>) {
        let mut spares = lock(&self.spares);
        if chunk.capacity() <= SPARE && spares.len() < MOST_THREADS {
            spares.push(chunk);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packs_grow_with_the_repository() {
        let size = PackSize { base: 16 << 20, growth: 32, limit: 64 << 20 };
        assert_eq!(size.at(0), 16 << 20);
        assert_eq!(size.at(1 << 40), (16 << 20) + (32 << 20));
        assert_eq!(size.at(u64::MAX), 64 << 20);
        let huge = PackSize { limit: u64::MAX, ..size };
        assert_eq!(huge.at(u64::MAX), 1 << 30, "offsets have 32 bits");
    }
}
