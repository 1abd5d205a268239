//! The one error of this crate: what happened, why, and how to fix it.

/// Why resources cannot be turned into a plan. The text never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {why}; {fix}")]
pub struct ResolveError {
    kind: ErrorKind,
    what: String,
    why: String,
    fix: String,
}

/// What kind of problem it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The manifests, or the cluster, cannot be read.
    Unreadable,
    /// A manifest is malformed.
    Malformed,
    /// An object, or a key of a Secret, is missing.
    Missing,
    /// More than one object would do.
    Ambiguous,
    /// An object contradicts itself, another one, or the rules.
    Invalid,
    /// An object may not be used from there.
    NotAllowed,
    /// The cluster does not let this program read an object.
    Denied,
    /// Something that KubeStash has and Coffer has not.
    Unsupported,
}

impl ResolveError {
    /// An error with its three parts, each a clause without a full stop.
    pub fn new(kind: ErrorKind, what: impl Into<String>, why: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { kind, what: what.into(), why: why.into(), fix: fix.into() }
    }

    /// What kind of problem it is.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What cannot be done.
    pub fn what(&self) -> &str {
        &self.what
    }

    /// The reason.
    pub fn why(&self) -> &str {
        &self.why
    }

    /// What the user can do about it.
    pub fn fix(&self) -> &str {
        &self.fix
    }

    /// Whether trying again without changing anything may help.
    pub fn is_retryable(&self) -> bool {
        self.kind == ErrorKind::Unreadable
    }
}

/// `a, b, c` for messages, or `none`.
pub(crate) fn listed<T: AsRef<str>>(names: impl IntoIterator<Item = T>) -> String {
    let mut names: Vec<String> = names.into_iter().map(|name| name.as_ref().to_owned()).collect();
    names.sort();
    names.dedup();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
