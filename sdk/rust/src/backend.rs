//! What is behind the handles: the host in a guest, anything else elsewhere. Addons do not call these; tests implement them.

use std::time::Duration;

use crate::{Credentials, Level, Result, TargetInfo, Worker};

/// The run that a session is part of; behind [`crate::Context`].
pub trait Run: Send + Sync {
    /// The name of the task.
    fn task(&self) -> String;
    /// Names and values of the parameters, defaults filled in.
    fn parameters(&self) -> Vec<(String, String)>;
    /// Which of the run's sandboxes this is.
    fn worker(&self) -> Worker;
    /// Writes one line to the log.
    fn log(&self, level: Level, message: &str);
    /// Says what the addon is doing now.
    fn progress(&self, note: &str);
    /// Whether the run is to end.
    fn cancelled(&self) -> bool;
    /// Fills `bytes` with cryptographically secure random bytes.
    fn random(&self, bytes: &mut [u8]);
    /// Time on a clock that never goes backwards, from an arbitrary start.
    fn elapsed(&self) -> Duration;
    /// Waits; an error of kind `cancelled` ends the wait early.
    fn sleep(&self, time: Duration) -> Result<()>;
}

/// The database; behind [`crate::Target`].
pub trait Database: Send + Sync {
    /// What is known of it before anybody connects.
    fn info(&self) -> TargetInfo;
    /// What to log in with.
    fn credentials(&self) -> Result<Credentials>;
    /// Opens one connection.
    fn connect(&self) -> Result<Box<dyn Stream>>;
}

/// Bytes that come in.
pub trait Source: Send {
    /// Waits for bytes and appends from 1 to `max` of them to `into`; returns how many, 0 at the end.
    fn read(&mut self, max: usize, into: &mut Vec<u8>) -> Result<usize>;
}

/// One byte stream to the database; behind [`crate::Connection`].
pub trait Stream: Source {
    /// Sends all of the bytes, at most [`MAX_TRANSFER`] a call.
    fn write(&mut self, bytes: &[u8]) -> Result<()>;
    /// Turns the stream into a TLS stream.
    fn start_tls(&mut self) -> Result<()>;
}

/// The way into the repository; behind [`crate::Writer`].
pub trait Sink: Send {
    /// Appends bytes, at most [`MAX_TRANSFER`] a call.
    fn write(&mut self, bytes: &[u8]) -> Result<()>;
    /// The stream is whole and has this many bytes.
    fn finish(&mut self, bytes: u64) -> Result<()>;
}

/// The most bytes that cross in one call: 1 MiB.
pub const MAX_TRANSFER: usize = 1 << 20;
