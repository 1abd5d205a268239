//! Why a run failed.

use coffer_repository::RepositoryError;
use coffer_sandbox::SandboxError;
use coffer_sandbox::contract::ErrorKind;
use coffer_storage::StorageError;

use crate::manifest::{MANIFEST_PATH, ManifestError};

/// Why a backup or a restore failed. Nothing was published then.
#[derive(Debug, thiserror::Error)]
pub enum ExecutorError {
    /// The component's file cannot be read.
    #[error("the component {reference} cannot be read: {source}; check the ref in the Function's spec.component")]
    ComponentFile {
        /// The reference.
        reference: String,
        /// Why.
        source: std::io::Error,
    },
    /// There is no such component in this program.
    #[error("this coffer has no built-in component {name:?}; use file:///path/to/component.wasm")]
    NoBuiltin {
        /// The name that was asked for.
        name: String,
    },
    /// The component does not have the task.
    #[error("the addon {addon:?} has no {direction} task {task:?}; it has: {}", known.join(", "))]
    UnknownTask {
        /// The addon's name.
        addon: String,
        /// `backup` or `restore`.
        direction: &'static str,
        /// The task that was asked for.
        task: String,
        /// The tasks that it has.
        known: Vec<String>,
    },
    /// The task does not take the parameter.
    #[error("the task {task:?} has no parameter {name:?}; it takes: {}", known.join(", "))]
    UnknownParameter {
        /// The task.
        task: String,
        /// The parameter that was given.
        name: String,
        /// The parameters that it takes.
        known: Vec<String>,
    },
    /// A required parameter is missing.
    #[error("the task {task:?} needs the parameter {name:?} ({help}); add it to the task's params")]
    MissingParameter {
        /// The task.
        task: String,
        /// The parameter.
        name: String,
        /// What the parameter is for.
        help: String,
    },
    /// A parameter has a value that it cannot have.
    #[error("the parameter {name:?} of the task {task:?} cannot be {value:?}; it must be {expected}")]
    InvalidParameter {
        /// The task.
        task: String,
        /// The parameter.
        name: String,
        /// The value that was given.
        value: String,
        /// What it takes.
        expected: String,
    },
    /// The sandbox, or the addon inside it, failed.
    #[error("{what}: {source}")]
    Addon {
        /// What was being done.
        what: String,
        /// Why it failed.
        source: SandboxError,
    },
    /// The storage of a repository cannot be used.
    #[error("repository {repository:?}: {source}")]
    Storage {
        /// Name of the repository.
        repository: String,
        /// Why.
        source: StorageError,
    },
    /// A repository failed.
    #[error("repository {repository:?}: {source}")]
    Repository {
        /// Name of the repository.
        repository: String,
        /// Why.
        source: RepositoryError,
    },
    /// The addon planned something that cannot be done.
    #[error("the plan of the addon {addon} cannot be used: {problem}")]
    Plan {
        /// Name of the addon.
        addon: String,
        /// What is wrong with the plan.
        problem: String,
    },
    /// The repositories of the plan cannot be used together.
    #[error("the backup cannot be stored: {0}")]
    Destinations(String),
    /// The manifest cannot be used.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The manifest and the snapshot do not belong together.
    #[error(
        "the snapshot {snapshot} is not what its {MANIFEST_PATH} says: {problem}; do not trust it, run `coffer check --read-data` and use another snapshot"
    )]
    Mismatch {
        /// The snapshot's id.
        snapshot: String,
        /// What differs.
        problem: String,
    },
    /// The run was stopped from outside.
    #[error("stopped: {0}")]
    Cancelled(String),
    /// The run itself is at fault.
    #[error("internal error: {0}; please report it")]
    Internal(String),
}

impl ExecutorError {
    /// A run that was stopped for this reason, and then failed so. Says what was stopped, where the error tells.
    pub(crate) fn stopped(reason: String, error: &Self) -> Self {
        let error = error.to_string();
        Self::Cancelled(if error.contains(&reason) { error } else { reason })
    }

    /// Whether this only says that something else has failed, or that the run was stopped.
    pub(crate) fn follows(&self) -> bool {
        match self {
            Self::Addon { source, .. } => source.kind() == ErrorKind::Cancelled,
            other => matches!(other, Self::Cancelled(_)),
        }
    }

    /// Whether the same run may succeed later without anybody changing anything.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Addon { source, .. } => source.is_retryable(),
            Self::Storage { source, .. } => source.is_retryable(),
            Self::Repository { source, .. } => source.is_retryable(),
            Self::ComponentFile { .. }
            | Self::NoBuiltin { .. }
            | Self::UnknownTask { .. }
            | Self::UnknownParameter { .. }
            | Self::MissingParameter { .. }
            | Self::InvalidParameter { .. }
            | Self::Plan { .. }
            | Self::Destinations(_)
            | Self::Manifest(_)
            | Self::Mismatch { .. }
            | Self::Cancelled(_)
            | Self::Internal(_) => false,
        }
    }
}
