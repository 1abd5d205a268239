//! What can go wrong with a repository, in words for the user.

use std::error::Error as _;

use coffer_storage::StorageError;
use jiff::Timestamp;
use rustic_core::RusticError;

use crate::locks::LockInfo;

/// An error of the repository. Cheap to clone: one failure is told to every stream and to every caller.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum RepositoryError {
    /// There is no repository at the location.
    #[error("there is no repository at {location}: create it with a first backup, or check the path and the storage")]
    NotFound {
        /// Where it was looked for.
        location: String,
    },
    /// `init` found a repository.
    #[error("a repository already exists at {location}: open it, or choose another path")]
    AlreadyExists {
        /// Where it is.
        location: String,
    },
    /// No key of the repository opens with the password.
    #[error(
        "wrong password for the repository at {location}: none of its {keys} key(s) opens with the RESTIC_PASSWORD given"
    )]
    WrongPassword {
        /// Where the repository is.
        location: String,
        /// How many keys were tried.
        keys: usize,
    },
    /// Somebody else's lock stands in the way.
    #[error(
        "the repository at {location} is locked{} by {}: {}",
        if .holder.exclusive { " exclusively" } else { "" },
        .holder,
        if .holder.stale {
            "the lock is stale (nobody refreshes it any more), remove it with `coffer unlock`"
        } else {
            "wait until it is done; if that process is gone, `coffer unlock` removes its lock once it is stale"
        }
    )]
    Locked {
        /// Where the repository is.
        location: String,
        /// Who holds the lock.
        holder: Box<LockInfo>,
    },
    /// The lock of this process could not be kept up, so others may have pruned meanwhile.
    #[error("the lock on the repository at {location} was lost ({reason}): nothing was published, run it again")]
    LockLost {
        /// Where the repository is.
        location: String,
        /// What happened to it.
        reason: String,
    },
    /// The storage refused or failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Stored data is missing or not what was written.
    #[error("the repository at {location} is damaged: {what}. `coffer check --read-data` shows the extent")]
    Damaged {
        /// Where the repository is.
        location: String,
        /// What is wrong.
        what: String,
    },
    /// No snapshot matches.
    #[error("no snapshot {wanted} in the repository at {location}: `coffer snapshots` lists them")]
    SnapshotNotFound {
        /// Where the repository is.
        location: String,
        /// What was asked for.
        wanted: String,
    },
    /// An id's beginning fits several.
    #[error("{prefix} is the beginning of several ids in the repository at {location}: give more digits")]
    Ambiguous {
        /// Where the repository is.
        location: String,
        /// What was given.
        prefix: String,
    },
    /// A snapshot has no such file.
    #[error("snapshot {snapshot} has no file {path}: `coffer ls` lists what it has")]
    PathNotFound {
        /// Short id of the snapshot.
        snapshot: String,
        /// The path asked for.
        path: String,
    },
    /// A request contradicts itself or the rules.
    #[error("{0}")]
    Invalid(String),
    /// The source of a stream failed, so nothing is published.
    #[error("nothing was published: {0}")]
    Source(String),
    /// A repository key was not found, or must not be removed.
    #[error("{0}")]
    Key(String),
    /// The operation was cancelled, so nothing is published.
    #[error("cancelled: {0}")]
    Cancelled(String),
    /// The repository engine failed in a way that fits nothing above.
    #[error("the repository engine failed at {location}: {message}")]
    Engine {
        /// Where the repository is.
        location: String,
        /// Its message.
        message: String,
    },
}

impl RepositoryError {
    /// Whether the same operation may succeed when it is tried again later, with nothing changed by anybody.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Storage(error) => error.is_retryable(),
            Self::Locked { .. } | Self::LockLost { .. } => true,
            _ => false,
        }
    }

    /// An error of the engine that has no cause recorded by our own backend.
    pub(crate) fn engine(location: &str, error: &RusticError) -> Self {
        let mut parts = vec![words(error)];
        let mut cause = error.source();
        while let Some(inner) = cause {
            let engine =
                inner.downcast_ref::<RusticError>().or_else(|| inner.downcast_ref::<Box<_>>().map(Box::as_ref));
            parts.push(engine.map_or_else(|| one_line(&inner.to_string()), words));
            cause = inner.source();
        }
        // A box tells its content once more.
        parts.dedup();
        Self::Engine { location: location.to_owned(), message: parts.join(": ") }
    }

    pub(crate) fn damaged(location: &str, what: impl Into<String>) -> Self {
        Self::Damaged { location: location.to_owned(), what: what.into() }
    }
}

/// What the engine says of one error, without its causes, which it would show with all their fields, and without its classification.
fn words(error: &RusticError) -> String {
    let log = error.display_log();
    let said = log.split(" (kind: related to ").next().unwrap_or(&log);
    one_line(said.strip_prefix("Error: ").unwrap_or(said))
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// How long ago, in words: "3 min", "2 h".
pub(crate) fn age_in_words(since: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(since).as_secs().max(0);
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use rustic_core::ErrorKind;

    use super::*;

    #[test]
    fn what_the_engine_says_is_one_line() {
        let inner = RusticError::new(ErrorKind::Cryptography, "the bytes of {what} make\nno sense")
            .attach_context("what", "it");
        let io = std::io::Error::other("the disk\n is gone");
        let error = RusticError::with_source(ErrorKind::Repository, "tree {id} is not there", inner.attach_source(io));
        let message = RepositoryError::engine("here", &error.attach_context("id", "12")).to_string();
        assert_eq!(
            message,
            "the repository engine failed at here: tree 12 is not there: the bytes of it make no sense: the disk is gone"
        );
    }

    #[test]
    fn ages_read_naturally() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let ago = |seconds: i64| age_in_words(Timestamp::from_second(1_000_000 - seconds).unwrap(), now);
        assert_eq!(ago(5), "5 s");
        assert_eq!(ago(180), "3 min");
        assert_eq!(ago(7300), "2 h");
        assert_eq!(ago(200_000), "2 days");
        assert_eq!(ago(-5), "0 s", "a clock ahead of ours is no negative age");
    }
}
