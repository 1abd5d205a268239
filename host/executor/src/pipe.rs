//! The executor's ends of the pipe: what a sandbox writes goes to the archive, what it reads comes from a snapshot.

use std::io::Read;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use coffer_repository::{RepositoryError, StreamReader, StreamReceipt, StreamWriter};
use coffer_sandbox::contract::{AddonError, ByteSink, ByteSource, ErrorKind};
use sha2::{Digest, Sha256};

use crate::events::{Event, Events};

/// Where the receipt of a finished stream is left for the worker that ran the item.
pub(crate) type ReceiptSlot = Arc<Mutex<Option<StreamReceipt>>>;

/// From a sandbox into every repository.
pub(crate) struct Sink {
    writer: Option<StreamWriter>,
    receipt: ReceiptSlot,
    events: Arc<dyn Events>,
}

impl Sink {
    pub(crate) fn new(writer: StreamWriter, receipt: ReceiptSlot, events: Arc<dyn Events>) -> Self {
        Self { writer: Some(writer), receipt, events }
    }
}

impl ByteSink for Sink {
    fn write(&mut self, bytes: Vec<u8>) -> Result<(), AddonError> {
        let count = bytes.len() as u64;
        let Some(writer) = &mut self.writer else { return Err(finished()) };
        writer.write_owned(bytes).map_err(|error| repository_error(&error))?;
        self.events.event(Event::Bytes { count });
        Ok(())
    }

    fn finish(&mut self, bytes: u64) -> Result<(), AddonError> {
        let Some(writer) = self.writer.take() else { return Err(finished()) };
        let receipt = writer.finish_expecting(bytes).map_err(|error| repository_error(&error))?;
        *self.receipt.lock().unwrap_or_else(PoisonError::into_inner) = Some(receipt);
        Ok(())
    }
}

fn finished() -> AddonError {
    AddonError { kind: ErrorKind::Internal, message: "the stream is finished already".to_owned(), retryable: false }
}

fn repository_error(error: &RepositoryError) -> AddonError {
    let kind = match error {
        // Also when another stream was given up: this one only follows.
        RepositoryError::Cancelled(_) | RepositoryError::Source(_) => ErrorKind::Cancelled,
        _ => ErrorKind::Unavailable,
    };
    AddonError { kind, message: error.to_string(), retryable: error.is_retryable() }
}

/// What a stream must turn out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) bytes: u64,
    /// In hex.
    pub(crate) sha256: String,
}

/// From a snapshot into a sandbox, comparing with the manifest on the way.
pub(crate) struct Source {
    path: String,
    reader: StreamReader,
    expected: Option<Expected>,
    digest: Sha256,
    /// Shared with the worker, who wants to know it when the sandbox has dropped this end.
    bytes: Arc<AtomicU64>,
    ended: bool,
    events: Arc<dyn Events>,
}

impl Source {
    pub(crate) fn new(
        path: &str,
        reader: StreamReader,
        expected: Option<Expected>,
        events: Arc<dyn Events>,
        bytes: Arc<AtomicU64>,
    ) -> Self {
        let path = path.to_owned();
        Self { path, reader, expected, digest: Sha256::new(), bytes, ended: false, events }
    }

    /// At the end of the stream: whether it was the one that was backed up.
    fn verify(&mut self) -> Result<(), AddonError> {
        let Some(expected) = &self.expected else { return Ok(()) };
        let found =
            Expected { bytes: self.bytes.load(Ordering::Relaxed), sha256: hex::encode(self.digest.finalize_reset()) };
        if found == *expected {
            return Ok(());
        }
        Err(AddonError {
            kind: ErrorKind::Data,
            message: format!(
                "the stream {} is not what was backed up: {} bytes with SHA-256 {}, the manifest says {} bytes with SHA-256 {}",
                self.path, found.bytes, found.sha256, expected.bytes, expected.sha256
            ),
            retryable: false,
        })
    }
}

impl ByteSource for Source {
    fn read(&mut self, max: usize) -> Result<Vec<u8>, AddonError> {
        if self.ended || max == 0 {
            return Ok(Vec::new());
        }
        let mut buffer = vec![0; max];
        let count = self.reader.read(&mut buffer).map_err(|error| AddonError {
            kind: ErrorKind::Unavailable,
            message: format!("the stream {} cannot be read: {error}", self.path),
            retryable: false,
        })?;
        buffer.truncate(count);
        if count == 0 {
            self.ended = true;
            self.verify()?;
        } else {
            self.bytes.fetch_add(count as u64, Ordering::Relaxed);
            if self.expected.is_some() {
                self.digest.update(&buffer);
            }
            self.events.event(Event::Bytes { count: count as u64 });
        }
        Ok(buffer)
    }
}
