//! The pipe in memory, and how it breaks on demand.

use std::sync::{Arc, Mutex, PoisonError};

use coffer_sandbox::contract::{AddonError, ByteSink, ByteSource, ErrorKind};

/// What the writer of one item left behind.
#[derive(Default)]
pub(crate) struct Written {
    pub(crate) bytes: Vec<u8>,
    pub(crate) finished: bool,
}

/// Takes the bytes of one stream.
pub(crate) struct MemorySink {
    written: Arc<Mutex<Written>>,
    fails_after: Option<u64>,
}

impl MemorySink {
    pub(crate) fn new(fails_after: Option<u64>) -> (Self, Arc<Mutex<Written>>) {
        let written = Arc::default();
        (Self { written: Arc::clone(&written), fails_after }, written)
    }
}

impl ByteSink for MemorySink {
    fn write(&mut self, bytes: Vec<u8>) -> Result<(), AddonError> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.bytes.extend_from_slice(&bytes);
        check(self.fails_after, written.bytes.len() as u64)
    }

    fn finish(&mut self, _bytes: u64) -> Result<(), AddonError> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).finished = true;
        Ok(())
    }
}

/// Gives the bytes of one stream.
pub(crate) struct MemorySource {
    bytes: Vec<u8>,
    position: usize,
    fails_after: Option<u64>,
}

impl MemorySource {
    pub(crate) fn new(bytes: Vec<u8>, fails_after: Option<u64>) -> Self {
        Self { bytes, position: 0, fails_after }
    }
}

impl ByteSource for MemorySource {
    fn read(&mut self, max: usize) -> Result<Vec<u8>, AddonError> {
        let rest = self.bytes.get(self.position..).unwrap_or_default();
        let piece = rest.get(..max).unwrap_or(rest).to_vec();
        self.position += piece.len();
        check(self.fails_after, self.position as u64)?;
        Ok(piece)
    }
}

fn check(fails_after: Option<u64>, bytes: u64) -> Result<(), AddonError> {
    match fails_after {
        Some(limit) if bytes > limit => {
            let message = format!("the test lets the pipe fail after {limit} bytes");
            Err(AddonError::new(ErrorKind::Unavailable, message).retryable())
        }
        _ => Ok(()),
    }
}
