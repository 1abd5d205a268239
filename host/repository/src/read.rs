//! Reading one stream back: ordered, a few parts ahead, never short.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, mpsc};

use bytes::Bytes;
use coffer_storage::Storage;
use rustic_core::{FileType, Id};
use tokio::task::AbortHandle;

use crate::backend::path;
use crate::crypto::{RepositoryKey, sha256};
use crate::error::RepositoryError;
use crate::locks::LockGuard;
use crate::packs::content_length;
use crate::repository::Repository;
use crate::snapshots::Snapshot;
use crate::store::Store;

/// Content that one request fetches at most, unless a single blob is larger (they are 8 MiB at most).
const PART: u64 = 4 << 20;
/// Parts fetched ahead at most; with `PART` this bounds the memory of a reader.
const PARTS_AHEAD: usize = 8;

/// Where a blob lies in its pack.
#[derive(Debug, Clone, Copy)]
struct Blob {
    id: Id,
    offset: u32,
    stored: u32,
    length: u64,
    compressed: bool,
}

/// Blobs that lie one after the other in one pack, so that one request fetches them.
#[derive(Debug, Clone)]
struct Part {
    pack: Id,
    blobs: Vec<Blob>,
}

/// The content of one file of a snapshot.
///
/// Whether all of it is known to the index is checked before the first byte. A part that is missing in the storage, or is not what was
/// written, is an error of `read`; the end is reported only after every byte.
pub struct StreamReader {
    store: Store,
    key: Arc<RepositoryKey>,
    parts: std::vec::IntoIter<Part>,
    coming: VecDeque<Coming>,
    ready: VecDeque<Bytes>,
    ahead: usize,
    size: u64,
    failure: Option<RepositoryError>,
    _lock: Option<Arc<LockGuard>>,
}

type Content = Result<Vec<Bytes>, RepositoryError>;

struct Coming {
    content: mpsc::Receiver<Content>,
    task: AbortHandle,
}

impl Repository {
    /// Opens one file of a snapshot. Holds a shared lock while it is read, so that nobody prunes it away.
    pub fn read(&self, snapshot: &Snapshot, path: &str) -> Result<StreamReader, RepositoryError> {
        let lock = self.share_to_read()?;
        let indexed = self.indexed_for(snapshot)?;
        let node = self.file(&indexed, snapshot, path)?;
        let content = node.content.unwrap_or_default();
        let mut parts: Vec<Part> = Vec::new();
        let mut size = 0_u64;
        for (number, id) in content.iter().enumerate() {
            let gone = |why| {
                RepositoryError::damaged(
                    self.location(),
                    format!("part {} of {} of {path} ({id}) {why}", number + 1, content.len()),
                )
            };
            let entry = indexed.get_index_entry(id).map_err(|_| gone("is missing in the index"))?;
            let uncompressed = entry.location.uncompressed_length.map(u32::from);
            let length =
                content_length(entry.location.length, uncompressed).ok_or_else(|| gone("has an impossible length"))?;
            size = size.saturating_add(length);
            let blob = Blob {
                id: **id,
                offset: entry.location.offset,
                stored: entry.location.length,
                length,
                compressed: uncompressed.is_some(),
            };
            match parts.last_mut() {
                Some(part) if part.pack == *entry.pack && part.takes(&blob) => part.blobs.push(blob),
                _ => parts.push(Part { pack: *entry.pack, blobs: vec![blob] }),
            }
        }
        Ok(StreamReader {
            store: self.store().clone(),
            key: Arc::clone(self.key()),
            parts: parts.into_iter(),
            coming: VecDeque::new(),
            ready: VecDeque::new(),
            ahead: self.store().connections().clamp(2, PARTS_AHEAD),
            size,
            failure: None,
            _lock: lock,
        })
    }
}

impl Part {
    fn takes(&self, blob: &Blob) -> bool {
        let length: u64 = self.blobs.iter().map(|blob| blob.length).sum();
        let end = self.blobs.last().and_then(|last| last.offset.checked_add(last.stored));
        end == Some(blob.offset) && length + blob.length <= PART
    }

    /// Fetched, decrypted, unpacked, and compared with the blobs' names.
    async fn fetch(self, store: Store, key: Arc<RepositoryKey>) -> Content {
        let path = path(FileType::Pack, &self.pack);
        let begin = self.blobs.first().map_or(0, |blob| u64::from(blob.offset));
        let stored: u64 = self.blobs.iter().map(|blob| u64::from(blob.stored)).sum();
        let damaged = |why: &str| RepositoryError::damaged(store.location(), format!("{path} {why}"));
        let content = store.operator().read_with(&path).range(begin..begin + stored).await;
        let content = content.map_err(|error| match error.kind() {
            opendal::ErrorKind::NotFound | opendal::ErrorKind::RangeNotSatisfied => damaged("is missing or too short"),
            _ => store.error(&format!("read {path}"), &error),
        })?;
        if content.len() as u64 != stored {
            return Err(damaged("is too short"));
        }
        let content = content.to_bytes();
        // Unpacking keeps a core busy for milliseconds, which is too long for a thread that serves the network.
        let blobs = self.blobs;
        let unpacked = tokio::task::spawn_blocking(move || unpack(&key, &content, &blobs)).await;
        match unpacked {
            Ok(Ok(blobs)) => Ok(blobs),
            Ok(Err(id)) => Err(damaged(&format!("does not hold blob {id} as it was written"))),
            Err(_) => Err(damaged("could not be unpacked")),
        }
    }
}

fn unpack(key: &RepositoryKey, mut content: &[u8], blobs: &[Blob]) -> Result<Vec<Bytes>, Id> {
    blobs
        .iter()
        .map(|blob| {
            let (sealed, rest) = content.split_at_checked(blob.stored as usize).ok_or(blob.id)?;
            content = rest;
            let plain = key.decrypt(sealed).map_err(|_| blob.id)?;
            let length = usize::try_from(blob.length).map_err(|_| blob.id)?;
            let plain =
                if blob.compressed { zstd::bulk::decompress(&plain, length).map_err(|_| blob.id)? } else { plain };
            if plain.len() != length || Id::new(sha256(&plain)) != blob.id {
                return Err(blob.id);
            }
            Ok(Bytes::from(plain))
        })
        .collect()
}

impl StreamReader {
    /// Bytes of the whole file.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The next bytes, as many as come at once; `None` at the end. Like `read`, without a copy.
    pub fn next_chunk(&mut self) -> Result<Option<Bytes>, RepositoryError> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                if bytes.is_empty() {
                    continue;
                }
                return Ok(Some(bytes));
            }
            self.fetch_ahead();
            let Some(coming) = self.coming.pop_front() else { return Ok(None) };
            let lost = || Err(RepositoryError::damaged(self.store.location(), "a read was lost"));
            match coming.content.recv().unwrap_or_else(|_| lost()) {
                Ok(content) => self.ready.extend(content),
                Err(failure) => {
                    self.failure = Some(failure.clone());
                    return Err(failure);
                }
            }
        }
    }

    fn fetch_ahead(&mut self) {
        while self.coming.len() < self.ahead
            && let Some(part) = self.parts.next()
        {
            let (sender, content) = mpsc::sync_channel(1);
            let fetch = part.fetch(self.store.clone(), Arc::clone(&self.key));
            let task = Storage::runtime().spawn(async move {
                // Nobody waits any more when the reader was dropped.
                let _ = sender.send(fetch.await);
            });
            self.coming.push_back(Coming { content, task: task.abort_handle() });
        }
    }
}

impl io::Read for StreamReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let Some(mut bytes) = self.next_chunk().map_err(io::Error::other)? else { return Ok(0) };
        let length = buffer.len().min(bytes.len());
        let piece = bytes.split_to(length);
        if let Some(target) = buffer.get_mut(..length) {
            target.copy_from_slice(&piece);
        }
        if !bytes.is_empty() {
            self.ready.push_front(bytes);
        }
        Ok(length)
    }
}

impl Drop for StreamReader {
    fn drop(&mut self) {
        for coming in &self.coming {
            coming.task.abort();
        }
    }
}

impl std::fmt::Debug for StreamReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamReader").field("size", &self.size).finish_non_exhaustive()
    }
}
