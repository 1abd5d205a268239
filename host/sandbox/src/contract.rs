//! The contract in plain Rust: what crosses between host and addon, free of wasmtime. Every item is documented in full in
//! `wit/since-0.1.0`.

use std::fmt;

/// The version of `coffer:addon` that this host speaks.
pub const CONTRACT: &str = "0.1.0";

/// What an addon says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// A lower-case word, for example `mysql`.
    pub name: String,
    /// The addon's own version.
    pub version: String,
    /// One sentence for the user.
    pub help: String,
    /// Names of the Addon resources that the catalog makes for it.
    pub addons: Vec<String>,
    /// What it can do.
    pub tasks: Vec<Task>,
}

/// Something that the addon can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// As users write it in `addon.tasks[].name`.
    pub name: String,
    /// One sentence for the user.
    pub help: String,
    /// Which way data flows.
    pub direction: Direction,
    /// Name of the Function that the catalog makes for it.
    pub function: String,
    /// The snapshot component that it writes or reads, for example `dump`.
    pub component: String,
    /// Its parameters.
    pub parameters: Vec<Parameter>,
}

/// Which way data flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Out of the database.
    Backup,
    /// Into the database.
    Restore,
}

/// A parameter of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// One sentence for the user.
    pub help: String,
    /// What values it takes.
    pub kind: ValueType,
    /// The value when none is given.
    pub default: Option<String>,
    /// Whether the user must give it.
    pub required: bool,
}

/// What values a parameter takes. Every value crosses as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueType {
    /// Anything.
    Text,
    /// A whole number, optionally with a sign.
    Integer,
    /// `true` or `false`.
    Boolean,
    /// A number of seconds, or Go's form: `1h30m`.
    Duration,
    /// A number of bytes, or Kubernetes' form: `16Mi`.
    Quantity,
    /// One of these.
    Choice(Vec<String>),
}

/// One unit of backup work: one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Path of the stream in the snapshot, and the item's identity.
    pub path: String,
    /// About how many bytes it will have.
    pub estimate: Option<u64>,
    /// What the guest wants back with the item.
    pub token: String,
}

/// The whole work of a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// At least one.
    pub items: Vec<Item>,
    /// What is known of the backup as a whole.
    pub facts: Vec<Fact>,
}

/// One thing that the addon knows about a backup or a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// Lower-case words joined by `-`.
    pub name: String,
    /// Its value. Never a secret.
    pub value: String,
}

/// One stream of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Path in the snapshot.
    pub path: String,
    /// In bytes, where the snapshot knows it.
    pub size: Option<u64>,
    /// What [`crate::BackupSession::run`] returned for it.
    pub facts: Vec<Fact>,
}

/// Items that may run side by side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// A few words for the user.
    pub name: String,
    /// What to do.
    pub items: Vec<RestoreItem>,
}

/// One unit of restore work: it reads one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreItem {
    /// The stream, one of the entries.
    pub path: String,
    /// What the guest wants back with the item.
    pub token: String,
}

/// How urgent a log line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Something failed.
    Error,
    /// Something is not as it should be.
    Warn,
    /// Worth knowing.
    Info,
    /// For those who look for a fault.
    Debug,
}

/// What went wrong, in terms that a host can act upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The user asked for something that makes no sense.
    Invalid,
    /// The database refused.
    Denied,
    /// The database, or the way to it, is not there now.
    Unavailable,
    /// The peer said something that its protocol does not allow.
    Protocol,
    /// The data cannot be backed up or restored as it is.
    Data,
    /// Understood, but this addon or this server version cannot do it.
    Unsupported,
    /// The host asked the guest to stop.
    Cancelled,
    /// A defect in the addon.
    Internal,
}

/// An error as it crosses the contract, in either direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddonError {
    /// What went wrong.
    pub kind: ErrorKind,
    /// What, why, how to fix. Never a secret.
    pub message: String,
    /// Whether the same call may succeed later without anybody changing anything.
    pub retryable: bool,
}

impl AddonError {
    /// An error that no retry will mend.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), retryable: false }
    }

    /// The same error, worth a retry.
    #[must_use]
    pub fn retryable(mut self) -> Self {
        self.retryable = true;
        self
    }
}

impl fmt::Display for AddonError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for AddonError {}

/// The host's side of `pipe.writer`: takes the bytes of one stream.
///
/// The methods are called on the session's thread and may block; they must watch the run's [`coffer_api::cancel::Cancel`].
/// A sink that is dropped before `finish` returned Ok holds half a stream, which nobody may publish.
pub trait ByteSink: Send {
    /// Appends bytes. An error ends the stream, and with it the run.
    fn write(&mut self, bytes: Vec<u8>) -> Result<(), AddonError>;
    /// The stream is whole and has `bytes` bytes. The sandbox has compared that with its own count.
    fn finish(&mut self, bytes: u64) -> Result<(), AddonError>;
}

/// The host's side of `pipe.reader`: gives the bytes of one stream.
///
/// Called on the session's thread, may block, must watch the run's [`coffer_api::cancel::Cancel`].
pub trait ByteSource: Send {
    /// From 1 to `max` bytes, or none at the end of the stream.
    fn read(&mut self, max: usize) -> Result<Vec<u8>, AddonError>;
}

/// What a guest says while it runs. Called on the session's thread; must not block for long.
pub trait GuestEvents: Send + Sync {
    /// One line for the log, without control characters, at most 16 KiB.
    fn log(&self, addon: &str, level: Level, message: &str);
    /// What the guest is doing now, in a few words.
    fn progress(&self, addon: &str, note: &str);
}

/// Ignores what guests say.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoEvents;

impl GuestEvents for NoEvents {
    fn log(&self, _addon: &str, _level: Level, _message: &str) {}
    fn progress(&self, _addon: &str, _note: &str) {}
}
