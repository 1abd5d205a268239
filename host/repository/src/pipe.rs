//! Streams into several repositories at once, without a queue that grows.
//!
//! Each stream has one producer (a [`StreamWriter`]) and one consumer per repository (a [`StreamReader`] that the repository's archiver
//! reads). Between them is a queue of shared byte chunks per repository; a producer waits while any living repository's queue is full.
//!
//! # Why this cannot stand still
//!
//! Let `n` be the streams, all producers *start* streams in order of their index (a worker takes the next index when it is free), and every
//! repository's archiver takes its streams in order too, with at least one thread, each reading one stream to its end. Look at any moment at
//! which not everything is done, and let `m` be the lowest stream that no producer has finished, `c(r)` the lowest stream that repository
//! `r` has not read to its end, over the repositories that still live.
//!
//! 1. `c(r) <= m`: a stream's end is only seen after its producer finished it.
//! 2. Repository `r` reads stream `c(r)`, or will without waiting for another stream: its threads take streams in order, and all before
//!    `c(r)` are done.
//! 3. If `c(r) < m` for some `r`: the producer of `c(r)` has finished, everything of it lies in the queue, and `r` reads it to its end
//!    without waiting for anybody. There is progress.
//! 4. Otherwise `c(r) = m` for every `r`. Every repository reads `m`, so no queue of `m` stays full, and the producer of `m` never waits for
//!    ever: not for its queues, and not for its turn ([`AHEAD`] counts from the lowest `c(r)`, which is `m` itself). And `m` has a
//!    producer, or gets one: if `m` is not started, nothing after `m` is, so every worker is free to take it. There is progress.
//!
//! It holds for any number of workers, repositories and archiver threads from 1 on, for any [`AHEAD`] and queue limit from 1 on. A repository
//! that fails leaves the set of the living and its queues are dropped, which only lets others go on. The tests stress this.
//!
//! Memory: at most [`AHEAD`] streams hold data, each at most [`LIMIT`] plus one chunk for each repository; the chunks themselves are shared.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use sha2::{Digest, Sha256};

use crate::error::RepositoryError;

/// Bytes one stream may be ahead of one repository.
pub(crate) const LIMIT: usize = 1 << 20;
/// Streams that producers may be ahead of the slowest repository.
pub(crate) const AHEAD: usize = 16;
/// Small writes are gathered into chunks of this size.
const GATHER: usize = 64 << 10;
/// Large writes are cut into chunks of this size.
const CUT: usize = 256 << 10;

/// What a finished stream contained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamReceipt {
    /// Number of bytes written.
    pub bytes: u64,
    /// SHA-256 of them.
    pub sha256: [u8; 32],
}

pub(crate) struct Pipe {
    names: Vec<String>,
    streams: Vec<Stream>,
    /// Whether `state.failure` is set; read without a lock before every chunk.
    failed: AtomicBool,
    read: Vec<AtomicU64>,
    written: AtomicU64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct Stream {
    queues: Mutex<Queues>,
    data: Condvar,
    space: Condvar,
}

#[derive(Default)]
struct Queues {
    finished: bool,
    /// One for each repository; `None` once that repository has failed.
    queues: Vec<Option<Queue>>,
}

#[derive(Default)]
struct Queue {
    chunks: VecDeque<Bytes>,
    bytes: usize,
}

struct State {
    failure: Option<RepositoryError>,
    /// Whether `failure` is only that of the last living repository.
    inherited: bool,
    committed: bool,
    taken: Vec<bool>,
    receipts: Vec<Option<StreamReceipt>>,
    repositories: Vec<Progress>,
}

struct Progress {
    failure: Option<RepositoryError>,
    /// Whether `failure` only says that its archiver stopped reading; it knows better itself.
    vague: bool,
    /// Whether its thread has ended.
    ended: bool,
    consumed: Vec<bool>,
    lowest: usize,
}

impl Pipe {
    pub(crate) fn new(names: Vec<String>, repositories: usize) -> Arc<Self> {
        let count = names.len();
        let queues = || Queues { finished: false, queues: (0..repositories).map(|_| Some(Queue::default())).collect() };
        let progress =
            || Progress { failure: None, vague: false, ended: false, consumed: vec![false; count], lowest: 0 };
        Arc::new(Self {
            streams: names.iter().map(|_| Stream { queues: Mutex::new(queues()), ..Stream::default() }).collect(),
            names,
            failed: AtomicBool::new(false),
            read: (0..repositories).map(|_| AtomicU64::new(0)).collect(),
            written: AtomicU64::new(0),
            state: Mutex::new(State {
                failure: None,
                inherited: false,
                committed: false,
                taken: vec![false; count],
                receipts: vec![None; count],
                repositories: (0..repositories).map(|_| progress()).collect(),
            }),
            changed: Condvar::new(),
        })
    }

    pub(crate) fn repositories(&self) -> usize {
        self.read.len()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends everything with this error, unless something has already. Wakes whoever waits.
    pub(crate) fn fail(&self, error: RepositoryError) {
        {
            let mut state = self.state();
            if state.failure.is_some() {
                return;
            }
            state.failure = Some(error);
            self.failed.store(true, Ordering::Release);
        }
        self.wake_all();
    }

    fn wake_all(&self) {
        self.changed.notify_all();
        for stream in &self.streams {
            // Taking the lock orders this after a waiter's last look at the flag.
            drop(stream.lock());
            stream.data.notify_all();
            stream.space.notify_all();
        }
    }

    pub(crate) fn failure(&self) -> Option<RepositoryError> {
        if self.failed.load(Ordering::Acquire) { self.state().failure.clone() } else { None }
    }

    fn check(&self) -> Result<(), RepositoryError> {
        self.failure().map_or(Ok(()), Err)
    }

    /// Takes a repository out; the others go on. The last one takes everything with it.
    pub(crate) fn repository_failed(&self, repository: usize, error: RepositoryError) {
        self.take_out(repository, error, false);
    }

    fn take_out(&self, repository: usize, error: RepositoryError, vague: bool) {
        {
            let mut state = self.state();
            // What ended all of it is also what ended this one.
            let error = state.failure.clone().unwrap_or(error);
            let Some(progress) = state.repositories.get_mut(repository) else { return };
            if progress.failure.is_some() {
                return;
            }
            progress.failure = Some(error.clone());
            progress.vague = vague;
            if state.repositories.iter().all(|progress| progress.failure.is_some()) && state.failure.is_none() {
                state.failure = Some(error);
                state.inherited = true;
                self.failed.store(true, Ordering::Release);
            }
        }
        for stream in &self.streams {
            if let Some(queue) = stream.lock().queues.get_mut(repository) {
                *queue = None;
            }
        }
        self.wake_all();
    }

    pub(crate) fn repository_failure(&self, repository: usize) -> Option<RepositoryError> {
        self.state().repositories.get(repository).and_then(|progress| progress.failure.clone())
    }

    /// Why a repository's thread ended, if that is known better than by the thread itself.
    pub(crate) fn cause(&self, repository: usize) -> Option<RepositoryError> {
        let state = self.state();
        if !state.inherited && state.failure.is_some() {
            return state.failure.clone();
        }
        let progress = state.repositories.get(repository)?;
        if progress.vague { None } else { progress.failure.clone() }
    }

    /// The producer's end of a stream; each can be had once.
    pub(crate) fn writer(self: &Arc<Self>, stream: usize) -> Result<StreamWriter, RepositoryError> {
        self.check()?;
        let mut state = self.state();
        match state.taken.get_mut(stream) {
            Some(taken) if !*taken => *taken = true,
            Some(_) => return Err(RepositoryError::Invalid(format!("stream {} was started twice", self.name(stream)))),
            None => return Err(RepositoryError::Invalid(format!("there is no stream number {stream} in this backup"))),
        }
        drop(state);
        Ok(StreamWriter {
            pipe: Arc::clone(self),
            stream,
            gathered: BytesMut::new(),
            hash: Sha256::new(),
            bytes: 0,
            may_start: false,
            finished: false,
        })
    }

    /// One repository's end of a stream.
    pub(crate) fn reader(self: &Arc<Self>, stream: usize, repository: usize) -> StreamReader {
        StreamReader { pipe: Arc::clone(self), stream, repository, current: Bytes::new(), ended: false }
    }

    pub(crate) fn name(&self, stream: usize) -> &str {
        self.names.get(stream).map_or("?", String::as_str)
    }

    pub(crate) fn receipts(&self) -> Vec<Option<StreamReceipt>> {
        self.state().receipts.clone()
    }

    pub(crate) fn bytes_written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    pub(crate) fn bytes_read(&self, repository: usize) -> u64 {
        self.read.get(repository).map_or(0, |read| read.load(Ordering::Relaxed))
    }

    /// All streams have been accepted: whoever waits for the verdict goes on.
    pub(crate) fn commit(&self) {
        self.state().committed = true;
        self.changed.notify_all();
    }

    /// Waits for the verdict on the whole backup.
    pub(crate) fn await_commit(&self) -> Result<(), RepositoryError> {
        let mut state = self.state();
        loop {
            if let Some(failure) = &state.failure {
                return Err(failure.clone());
            }
            if state.committed {
                return Ok(());
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub(crate) fn repository_ended(&self, repository: usize) {
        if let Some(progress) = self.state().repositories.get_mut(repository) {
            progress.ended = true;
        }
        self.changed.notify_all();
    }

    /// Waits until every repository's thread has ended; after a failure no longer than `grace`. Says whether all ended.
    pub(crate) fn await_end(&self, grace: Duration) -> bool {
        let mut deadline = None;
        let mut state = self.state();
        loop {
            if state.repositories.iter().all(|progress| progress.ended) {
                return true;
            }
            if state.failure.is_some() {
                let deadline = *deadline.get_or_insert_with(|| Instant::now() + grace);
                let Some(left) = deadline.checked_duration_since(Instant::now()) else { return false };
                state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
            } else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// Waits until the stream is at most [`AHEAD`] before what the slowest repository has read.
    fn await_turn(&self, stream: usize) -> Result<(), RepositoryError> {
        let mut state = self.state();
        loop {
            if let Some(failure) = &state.failure {
                return Err(failure.clone());
            }
            let living = state.repositories.iter().filter(|progress| progress.failure.is_none());
            if living.map(|progress| progress.lowest).min().is_none_or(|lowest| stream < lowest + AHEAD) {
                return Ok(());
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn push(&self, stream: usize, chunk: &Bytes) -> Result<(), RepositoryError> {
        let Some(place) = self.streams.get(stream) else { return Ok(()) };
        let mut queues = place.lock();
        loop {
            self.check()?;
            if queues.queues.iter().flatten().all(|queue| queue.bytes < LIMIT) {
                break;
            }
            queues = place.space.wait(queues).unwrap_or_else(PoisonError::into_inner);
        }
        for queue in queues.queues.iter_mut().flatten() {
            queue.bytes += chunk.len();
            queue.chunks.push_back(chunk.clone());
        }
        drop(queues);
        place.data.notify_all();
        self.written.fetch_add(chunk.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    fn finish(&self, stream: usize, receipt: StreamReceipt) -> Result<(), RepositoryError> {
        self.check()?;
        if let Some(slot) = self.state().receipts.get_mut(stream) {
            *slot = Some(receipt);
        }
        if let Some(place) = self.streams.get(stream) {
            place.lock().finished = true;
            place.data.notify_all();
        }
        Ok(())
    }

    /// The next chunk, or `None` at the end of a finished stream.
    fn pull(&self, stream: usize, repository: usize) -> Result<Option<Bytes>, RepositoryError> {
        let Some(place) = self.streams.get(stream) else { return Ok(None) };
        let mut queues = place.lock();
        loop {
            // Data that is still there is not handed out after a failure: reading on would cost hours for nothing.
            self.check()?;
            let finished = queues.finished;
            let Some(Some(queue)) = queues.queues.get_mut(repository) else {
                drop(queues);
                return Err(self.repository_failure(repository).unwrap_or_else(|| self.abandoned(stream)));
            };
            if let Some(chunk) = queue.chunks.pop_front() {
                queue.bytes -= chunk.len();
                drop(queues);
                place.space.notify_all();
                return Ok(Some(chunk));
            }
            if finished {
                return Ok(None);
            }
            queues = place.data.wait(queues).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn consumed(&self, stream: usize, repository: usize) {
        let mut state = self.state();
        if let Some(progress) = state.repositories.get_mut(repository) {
            if let Some(consumed) = progress.consumed.get_mut(stream) {
                *consumed = true;
            }
            while progress.consumed.get(progress.lowest) == Some(&true) {
                progress.lowest += 1;
            }
        }
        drop(state);
        self.changed.notify_all();
    }

    fn abandoned(&self, stream: usize) -> RepositoryError {
        RepositoryError::Engine {
            location: "this repository".to_owned(),
            message: format!("the archiver stopped reading stream {} before its end", self.name(stream)),
        }
    }
}

impl Stream {
    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes the bytes of one stream.
///
/// Streams must be started in the order of their index. Dropping a writer that was not finished fails the whole backup.
pub struct StreamWriter {
    pipe: Arc<Pipe>,
    stream: usize,
    gathered: BytesMut,
    hash: Sha256,
    bytes: u64,
    may_start: bool,
    finished: bool,
}

impl StreamWriter {
    /// Appends bytes; waits while a repository is about 1 MiB behind. Fails once the backup has failed or every repository has.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), RepositoryError> {
        self.pipe.check()?;
        self.account(bytes);
        if self.gathered.len() + bytes.len() < GATHER {
            self.gathered.extend_from_slice(bytes);
            return Ok(());
        }
        self.flush()?;
        let mut pieces = bytes.chunks(CUT).peekable();
        while let Some(piece) = pieces.next() {
            if pieces.peek().is_none() && piece.len() < GATHER {
                self.gathered.extend_from_slice(piece);
            } else {
                self.push(&Bytes::copy_from_slice(piece))?;
            }
        }
        Ok(())
    }

    /// Like [`StreamWriter::write`], without copying a large buffer that the caller no longer needs.
    pub fn write_owned(&mut self, bytes: impl Into<Bytes>) -> Result<(), RepositoryError> {
        let mut bytes = bytes.into();
        if bytes.len() < GATHER / 2 {
            return self.write(&bytes);
        }
        self.pipe.check()?;
        self.account(&bytes);
        self.flush()?;
        while !bytes.is_empty() {
            let piece = bytes.split_to(bytes.len().min(CUT));
            self.push(&piece)?;
        }
        Ok(())
    }

    /// Bytes written so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Ends the stream as complete.
    pub fn finish(mut self) -> Result<StreamReceipt, RepositoryError> {
        self.flush()?;
        let receipt = StreamReceipt { bytes: self.bytes, sha256: std::mem::take(&mut self.hash).finalize().into() };
        self.pipe.finish(self.stream, receipt.clone())?;
        self.finished = true;
        Ok(receipt)
    }

    /// Ends the stream as complete if it has as many bytes as its producer says; otherwise the whole backup fails.
    pub fn finish_expecting(self, bytes: u64) -> Result<StreamReceipt, RepositoryError> {
        if self.bytes != bytes {
            let error = RepositoryError::Source(format!(
                "stream {} has {} bytes, but its producer says it wrote {bytes}",
                self.pipe.name(self.stream),
                self.bytes
            ));
            self.pipe.fail(error.clone());
            return Err(error);
        }
        self.finish()
    }

    fn account(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
    }

    fn flush(&mut self) -> Result<(), RepositoryError> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let chunk = self.gathered.split().freeze();
        self.push(&chunk)
    }

    fn push(&mut self, chunk: &Bytes) -> Result<(), RepositoryError> {
        if !self.may_start {
            self.pipe.await_turn(self.stream)?;
            self.may_start = true;
        }
        self.pipe.push(self.stream, chunk)
    }
}

impl Drop for StreamWriter {
    fn drop(&mut self) {
        if !self.finished {
            let name = self.pipe.name(self.stream);
            self.pipe.fail(RepositoryError::Source(format!("stream {name} was given up after {} bytes", self.bytes)));
        }
    }
}

impl std::fmt::Debug for StreamWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamWriter")
            .field("stream", &self.pipe.name(self.stream))
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

/// What a repository's archiver reads. Always fills the buffer, but at the end.
pub(crate) struct StreamReader {
    pipe: Arc<Pipe>,
    stream: usize,
    repository: usize,
    current: Bytes,
    ended: bool,
}

impl io::Read for StreamReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..)
            && !rest.is_empty()
        {
            if self.current.is_empty() {
                let Some(chunk) = self.pipe.pull(self.stream, self.repository).map_err(io::Error::other)? else {
                    if !self.ended {
                        self.ended = true;
                        self.pipe.consumed(self.stream, self.repository);
                    }
                    break;
                };
                self.current = chunk;
            }
            let length = rest.len().min(self.current.len());
            let piece = self.current.split_to(length);
            if let Some(target) = rest.get_mut(..length) {
                target.copy_from_slice(&piece);
            }
            filled += length;
        }
        if let Some(read) = self.pipe.read.get(self.repository) {
            read.fetch_add(filled as u64, Ordering::Relaxed);
        }
        Ok(filled)
    }
}

impl Drop for StreamReader {
    /// An archiver that drops a stream before its end has failed, however calmly it goes on.
    fn drop(&mut self) {
        if !self.ended {
            let error = self.pipe.abandoned(self.stream);
            self.pipe.take_out(self.repository, error, true);
        }
    }
}

#[cfg(test)]
#[path = "pipe_tests.rs"]
mod tests;
