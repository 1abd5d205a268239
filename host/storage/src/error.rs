//! What can go wrong with a storage, in words that a user can act on.

use std::error::Error as _;
use std::fmt::Write as _;
use std::io;

use crate::redact::redact;

/// The class of a [`StorageError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StorageErrorKind {
    /// The BackupStorage or its Secret cannot be used as it is.
    Configuration,
    /// There is no such object.
    NotFound,
    /// The bucket or container does not exist.
    NoBucket,
    /// The credentials are wrong, or not allowed to do this.
    Denied,
    /// The storage did not answer, or asked to come back later.
    Unavailable,
    /// There is no space left.
    Full,
    /// An object is there, but its content is not what it should be.
    Corrupt,
    /// Something else.
    Other,
}

/// An error of a storage. Its message says what was tried where, why it failed and what to do; it never shows a credential.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct StorageError {
    kind: StorageErrorKind,
    message: String,
}

impl StorageError {
    /// The class of this error.
    pub fn kind(&self) -> StorageErrorKind {
        self.kind
    }

    /// Whether the same request may succeed later without anybody changing anything. Requests were already
    /// retried several times with a growing pause before this error was made.
    pub fn is_retryable(&self) -> bool {
        matches!(self.kind, StorageErrorKind::Unavailable)
    }

    pub(crate) fn configuration(storage: &str, problem: impl AsRef<str>) -> Self {
        let message = format!("BackupStorage {storage}: {}", redact(problem.as_ref()));
        Self { kind: StorageErrorKind::Configuration, message }
    }

    pub(crate) fn corrupt(location: &str, path: &str, problem: &str) -> Self {
        let message = format!("{path} in {location} is damaged: {problem}");
        Self { kind: StorageErrorKind::Corrupt, message }
    }

    /// Describes what OpenDAL reported. `action` is a verb with its object, such as `read config`.
    pub(crate) fn from_opendal(location: &str, action: &str, error: &opendal::Error) -> Self {
        let kind = classify(error);
        let mut message = format!("cannot {action} in {location}: {}", redact(&reason(error)));
        if let Some(hint) = hint(kind) {
            let _ = write!(message, "; {hint}");
        }
        Self { kind, message }
    }
}

/// The reason as the service gives it, with the innermost cause. Leaves out OpenDAL's context, which has whole URLs.
fn reason(error: &opendal::Error) -> String {
    let mut reason = error.message().trim().to_owned();
    let mut source = error.source();
    let mut innermost = None;
    while let Some(cause) = source {
        innermost = Some(cause);
        source = cause.source();
    }
    if let Some(cause) = innermost {
        let cause = cause.to_string();
        if reason.is_empty() {
            reason = cause;
        } else if !cause.is_empty() && !reason.contains(&cause) {
            let _ = write!(reason, ": {cause}");
        }
    }
    if reason.is_empty() { error.kind().to_string() } else { reason }
}

fn classify(error: &opendal::Error) -> StorageErrorKind {
    use opendal::ErrorKind;
    if io_kind(error).is_some_and(is_full) {
        return StorageErrorKind::Full;
    }
    // Which is what the services say of an account that may only read.
    if io_kind(error) == Some(io::ErrorKind::ReadOnlyFilesystem) {
        return StorageErrorKind::Denied;
    }
    // The codes of S3 and Azure, and Google's sentence.
    let no_bucket = ["NoSuchBucket", "ContainerNotFound", "The specified bucket does not exist"];
    if no_bucket.iter().any(|code| error.message().contains(code)) {
        return StorageErrorKind::NoBucket;
    }
    match error.kind() {
        ErrorKind::NotFound => StorageErrorKind::NotFound,
        ErrorKind::PermissionDenied => StorageErrorKind::Denied,
        ErrorKind::ConfigInvalid => StorageErrorKind::Configuration,
        ErrorKind::RateLimited => StorageErrorKind::Unavailable,
        // A request that still failed after its retries is marked persistent.
        _ if error.is_temporary() || error.is_persistent() => StorageErrorKind::Unavailable,
        _ => StorageErrorKind::Other,
    }
}

/// The kind of the operating system's error that caused `error`.
pub(crate) fn io_kind(error: &opendal::Error) -> Option<io::ErrorKind> {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<io::Error>() {
            return Some(io.kind());
        }
        source = cause.source();
    }
    None
}

/// Whether `kind` says that no more can be stored.
pub(crate) fn is_full(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}

fn hint(kind: StorageErrorKind) -> Option<&'static str> {
    match kind {
        StorageErrorKind::NoBucket => Some("create it, or correct its name in the BackupStorage"),
        StorageErrorKind::Denied => {
            Some("check the keys in the storage's Secret (or the directory's owner) and what they are allowed to do")
        }
        StorageErrorKind::Unavailable => {
            Some("check the endpoint in the BackupStorage and the network, then try again")
        }
        StorageErrorKind::Full => Some("free some space and try again"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opendal::{Error, ErrorKind};

    fn describe(error: &Error) -> StorageError {
        StorageError::from_opendal("s3://bucket/demo", "read config", error)
    }

    #[test]
    fn messages_say_what_where_why_and_how() {
        let error = Error::new(ErrorKind::PermissionDenied, "S3Error { code: \"InvalidAccessKeyId\" }");
        let error = describe(&error);
        assert_eq!(error.kind(), StorageErrorKind::Denied);
        assert!(!error.is_retryable());
        let message = error.to_string();
        for part in ["read config", "s3://bucket/demo", "InvalidAccessKeyId", "check the keys"] {
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn a_missing_bucket_is_not_a_missing_object() {
        let bucket = Error::new(ErrorKind::NotFound, "S3Error { code: \"NoSuchBucket\", message: \"\" }");
        assert_eq!(describe(&bucket).kind(), StorageErrorKind::NoBucket);
        let object = Error::new(ErrorKind::NotFound, "S3Error { code: \"NoSuchKey\", message: \"\" }");
        assert_eq!(describe(&object).kind(), StorageErrorKind::NotFound);
    }

    #[test]
    fn only_what_may_pass_by_itself_is_retryable() {
        let network = Error::new(ErrorKind::Unexpected, "send http request")
            .set_persistent()
            .set_source(io::Error::new(io::ErrorKind::ConnectionRefused, "refused"));
        let network = describe(&network);
        assert!(network.is_retryable());
        assert!(network.to_string().contains("refused"), "the innermost cause is shown: {network}");
        let full = Error::new(ErrorKind::Unexpected, "")
            .set_temporary()
            .set_source(io::Error::from(io::ErrorKind::StorageFull));
        assert_eq!(describe(&full).kind(), StorageErrorKind::Full);
        assert!(!describe(&full).is_retryable());
    }

    #[test]
    fn a_read_only_file_system_is_a_refusal() {
        let error =
            Error::new(ErrorKind::Unexpected, "").set_source(io::Error::from(io::ErrorKind::ReadOnlyFilesystem));
        assert_eq!(describe(&error).kind(), StorageErrorKind::Denied);
    }

    #[test]
    fn the_context_with_its_urls_is_left_out() {
        let error = Error::new(ErrorKind::Unexpected, "failed").with_context("url", "https://x/y?sig=SECRET");
        assert!(!describe(&error).to_string().contains("SECRET"));
    }
}
