//! Why a verb failed.

use coffer_executor::ExecutorError;
use coffer_repository::RepositoryError;
use coffer_resolve::ResolveError;
use coffer_storage::StorageError;

/// Why a verb failed, or what it reports of the work that failed. No text holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The objects of the cluster, or the cluster itself.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// The storage.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A restic repository.
    #[error("repository {repository}: {source}")]
    Repository {
        /// Name of the Repository.
        repository: String,
        /// Why.
        source: RepositoryError,
    },
    /// The backup or the restore.
    #[error(transparent)]
    Run(#[from] ExecutorError),
    /// The verb must not do this, or cannot any more.
    #[error("{what}: {why}; {fix}")]
    Refused {
        /// What it does not do.
        what: String,
        /// Why.
        why: String,
        /// What can be done about it.
        fix: String,
    },
}

impl JobError {
    /// A refusal with its three parts, each a clause without a full stop.
    pub(crate) fn refused(what: impl Into<String>, why: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::Refused { what: what.into(), why: why.into(), fix: fix.into() }
    }

    /// For `map_err`: which repository failed.
    pub(crate) fn repository(name: &str) -> impl FnOnce(RepositoryError) -> Self {
        let repository = name.to_owned();
        move |source| Self::Repository { repository, source }
    }

    /// Whether trying again without changing anything may help.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Resolve(error) => error.is_retryable(),
            Self::Storage(error) => error.is_retryable(),
            Self::Repository { source, .. } => source.is_retryable(),
            Self::Run(error) => error.is_retryable(),
            Self::Refused { .. } => false,
        }
    }
}
