//! Why a command failed.

use coffer_resolve::ResolveError;

/// Why a command failed. Every text says what, why and how to fix it, and holds no secret.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// The objects of the cluster, or the cluster itself.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// The command does not do this, or cannot.
    #[error("{what}: {why}; {fix}")]
    Refused {
        /// What is not done.
        what: String,
        /// Why.
        why: String,
        /// What can be done about it.
        fix: String,
    },
    /// What was waited for did not end well.
    #[error("{what}: {why}; {fix}")]
    Ended {
        /// What ended, and how.
        what: String,
        /// Why.
        why: String,
        /// What can be done about it.
        fix: String,
    },
    /// The waiting came to an end before what was waited for.
    #[error("no longer waiting for {what}: {why}; it goes on in the cluster, look at it with `{look}`")]
    Stopped {
        /// What was waited for.
        what: String,
        /// Why the waiting ended.
        why: String,
        /// The command that shows it.
        look: String,
    },
    /// An object that cannot be written; never in practice.
    #[error("cannot write an object: {0}")]
    Write(String),
}

impl PluginError {
    /// A refusal with its three parts, each a clause without a full stop.
    pub(crate) fn refused(what: impl Into<String>, why: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::Refused { what: what.into(), why: why.into(), fix: fix.into() }
    }

    /// Whether trying again without changing anything may help.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Resolve(error) => error.is_retryable(),
            Self::Stopped { .. } => true,
            Self::Refused { .. } | Self::Ended { .. } | Self::Write(_) => false,
        }
    }
}
