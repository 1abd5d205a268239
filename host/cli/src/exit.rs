//! How a command ends: exit codes, and errors with their kind.

use std::fmt;
use std::io;
use std::process::ExitCode;

use coffer_api::plan::ComponentRefError;
use coffer_executor::ExecutorError;
use coffer_job::JobError;
use coffer_plugin::PluginError;
use coffer_repository::RepositoryError;
use coffer_resolve::ResolveError;
use coffer_sandbox::SandboxError;
use coffer_storage::StorageError;

/// Result of a command: how it ended, or why it failed.
pub(crate) type Outcome = Result<End, Failure>;

/// How a command ended that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// All is done.
    Done,
    /// Some of it is done; the rest was reported.
    Partial,
}

/// Why a command failed. Messages say what, why and how to fix it.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The manifests, or what was asked of them.
    Manifests(ResolveError),
    /// A backup or a restore.
    Run(Box<ExecutorError>),
    /// The work of a Job.
    Job(Box<JobError>),
    /// The cluster.
    Cluster(String),
    /// A command of the kubectl plugin.
    Plugin(Box<PluginError>),
    /// A repository, by its label.
    Repository(String, Box<RepositoryError>),
    /// The storage of a repository, by its label.
    Storage(String, StorageError),
    /// An addon.
    Addon(Box<SandboxError>),
    /// A file, with what was done to it.
    File(String, io::Error),
    /// A check found damage; what is in the text.
    Damaged(String),
    /// The command line makes no sense.
    Usage(String),
    /// Something else.
    Other(String),
}

/// Exit codes; those of restic where it has one.
mod code {
    pub(super) const DONE: u8 = 0;
    pub(super) const FAILED: u8 = 1;
    pub(super) const USAGE: u8 = 2;
    pub(super) const PARTIAL: u8 = 3;
    pub(super) const NO_REPOSITORY: u8 = 10;
    pub(super) const LOCKED: u8 = 11;
    pub(super) const WRONG_PASSWORD: u8 = 12;
    pub(super) const INTERRUPTED: u8 = 130;
}

/// The code of a failure that has no code of its own.
pub(crate) const FAILED: u8 = code::FAILED;

/// The code of a process that was interrupted.
pub(crate) const INTERRUPTED: u8 = code::INTERRUPTED;

impl End {
    /// The code to exit with.
    pub(crate) fn code(self) -> ExitCode {
        ExitCode::from(match self {
            Self::Done => code::DONE,
            Self::Partial => code::PARTIAL,
        })
    }
}

impl Failure {
    /// The code to exit with.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Repository(_, error) => of_repository(error),
            Self::Run(error) => of_run(error),
            Self::Job(error) => match error.as_ref() {
                JobError::Run(error) => of_run(error),
                JobError::Repository { source, .. } => of_repository(source),
                _ => code::FAILED,
            },
            Self::Usage(_) => code::USAGE,
            _ => code::FAILED,
        }
    }

    /// A word for programs.
    pub(crate) fn kind(&self) -> &'static str {
        match self.code() {
            code::NO_REPOSITORY => return "no-repository",
            code::LOCKED => return "locked",
            code::WRONG_PASSWORD => return "wrong-password",
            _ => {}
        }
        match self {
            Self::Manifests(_) => "manifests",
            Self::Run(_) => "run",
            Self::Job(_) => "job",
            Self::Cluster(_) => "cluster",
            Self::Plugin(_) => "plugin",
            Self::Repository(..) => "repository",
            Self::Storage(..) => "storage",
            Self::Addon(_) => "addon",
            Self::File(..) => "file",
            Self::Damaged(_) => "damaged",
            Self::Usage(_) => "usage",
            Self::Other(_) => "other",
        }
    }

    /// Whether trying again without changing anything may help.
    pub(crate) fn is_retryable(&self) -> bool {
        match self {
            Self::Manifests(error) => error.is_retryable(),
            Self::Run(error) => error.is_retryable(),
            Self::Job(error) => error.is_retryable(),
            Self::Plugin(error) => error.is_retryable(),
            Self::Repository(_, error) => error.is_retryable(),
            Self::Storage(_, error) => error.is_retryable(),
            Self::Addon(error) => error.is_retryable(),
            Self::Cluster(_) | Self::File(..) | Self::Damaged(_) | Self::Usage(_) | Self::Other(_) => false,
        }
    }

    /// Whether there is simply no repository.
    pub(crate) fn is_missing_repository(&self) -> bool {
        self.code() == code::NO_REPOSITORY
    }
}

fn of_run(error: &ExecutorError) -> u8 {
    match error {
        ExecutorError::Repository { source, .. } => of_repository(source),
        _ => code::FAILED,
    }
}

fn of_repository(error: &RepositoryError) -> u8 {
    match error {
        RepositoryError::NotFound { .. } => code::NO_REPOSITORY,
        RepositoryError::Locked { .. } => code::LOCKED,
        RepositoryError::WrongPassword { .. } => code::WRONG_PASSWORD,
        _ => code::FAILED,
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Manifests(error) => error.fmt(formatter),
            Self::Run(error) => error.fmt(formatter),
            Self::Job(error) => error.fmt(formatter),
            Self::Plugin(error) => error.fmt(formatter),
            Self::Repository(label, error) => write!(formatter, "{label}: {error}"),
            Self::Storage(label, error) => write!(formatter, "{label}: {error}"),
            Self::Addon(error) => error.fmt(formatter),
            Self::File(what, error) => write!(formatter, "{what}: {error}"),
            Self::Cluster(text) | Self::Damaged(text) | Self::Usage(text) | Self::Other(text) => {
                formatter.write_str(text)
            }
        }
    }
}

impl From<ResolveError> for Failure {
    fn from(error: ResolveError) -> Self {
        Self::Manifests(error)
    }
}

impl From<ExecutorError> for Failure {
    fn from(error: ExecutorError) -> Self {
        Self::Run(Box::new(error))
    }
}

impl From<JobError> for Failure {
    fn from(error: JobError) -> Self {
        Self::Job(Box::new(error))
    }
}

impl From<PluginError> for Failure {
    fn from(error: PluginError) -> Self {
        Self::Plugin(Box::new(error))
    }
}

impl From<SandboxError> for Failure {
    fn from(error: SandboxError) -> Self {
        Self::Addon(Box::new(error))
    }
}

impl From<ComponentRefError> for Failure {
    fn from(error: ComponentRefError) -> Self {
        Self::Other(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_restics() {
        let location = || "somewhere".to_owned();
        let missing = Failure::Repository("r".into(), Box::new(RepositoryError::NotFound { location: location() }));
        assert_eq!((missing.code(), missing.kind()), (10, "no-repository"));
        let password = RepositoryError::WrongPassword { location: location(), keys: 1 };
        let password = ExecutorError::Repository { repository: "r".into(), source: password };
        assert_eq!(Failure::from(password).code(), 12);
        assert_eq!(Failure::Other(String::new()).code(), 1);
        assert_eq!(Failure::Usage(String::new()).code(), 2);
    }
}
