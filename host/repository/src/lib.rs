//! The restic-format repository: snapshots from streams, locks, forget, prune, check, keys.
//!
//! *A failed backup never looks like a backup.* A snapshot is published only after every stream was finished, every byte is stored, and the
//! final tree with true sizes is written; and it is removed again if it cannot be verified afterwards. See [`Archive`].
//!
//! Everything here blocks, and may be called from any thread.

mod archive;
mod archiver;
mod backend;
mod chunker;
mod crypto;
mod error;
mod keys;
mod known;
mod locks;
mod packs;
mod pipe;
mod publish;
mod read;
mod repository;
mod seal;
mod snapshots;
mod store;
mod tree;
mod upkeep;

pub use archive::{
    Archive, ArchiveControl, BackupRequest, Progress, RepositoryOutcome, RepositoryProgress, StreamSpec,
};
pub use error::RepositoryError;
pub use keys::KeyInfo;
pub use locks::{LockGuard, LockInfo, Unlock, Unlocked};
pub use pipe::{StreamReceipt, StreamWriter};
pub use publish::Published;
pub use read::StreamReader;
pub use repository::{InitOptions, Repository};
pub use snapshots::{DamagedSnapshot, Entry, EntryKind, Listing, Snapshot, SnapshotChoice, Summary};
pub use upkeep::{CheckOptions, CheckReport, KEEP_MARKED, PruneOptions, PruneReport};
