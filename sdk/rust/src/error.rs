//! The one error type: what went wrong, in terms the host can act upon.

use std::fmt;
use std::io;

/// A result whose error the host understands.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong. The kind and `retryable` decide what the host does; the message is what the user reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The user asked for something that makes no sense: a parameter, a selection. Terminal.
    Invalid,
    /// The database refused: wrong password, missing privilege. Terminal.
    Denied,
    /// The database, or the way to it, is not there now. Usually worth a retry.
    Unavailable,
    /// The peer said something that its protocol does not allow here.
    Protocol,
    /// The data cannot be backed up or restored as it is: corrupt, ambiguous, conflicting.
    Data,
    /// Understood, but this addon or this server version cannot do it. Terminal.
    Unsupported,
    /// The host asked the guest to stop, and it did.
    Cancelled,
    /// A defect in the addon itself.
    Internal,
}

impl ErrorKind {
    /// The word for this kind, as the contract spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Denied => "denied",
            Self::Unavailable => "unavailable",
            Self::Protocol => "protocol",
            Self::Data => "data",
            Self::Unsupported => "unsupported",
            Self::Cancelled => "cancelled",
            Self::Internal => "internal",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An error as the user will read it: what, why, how to fix. Never put a secret into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// What went wrong.
    pub kind: ErrorKind,
    /// One or a few sentences for the user.
    pub message: String,
    /// Whether the same call may succeed later without anybody changing anything.
    pub retryable: bool,
}

impl Error {
    /// An error of this kind. Only [`ErrorKind::Unavailable`] starts out as retryable.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), retryable: kind == ErrorKind::Unavailable }
    }

    /// The user asked for something that makes no sense.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// The database refused.
    pub fn denied(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Denied, message)
    }

    /// The database, or the way to it, is not there now. Retryable.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unavailable, message)
    }

    /// The peer broke its protocol.
    pub fn protocol(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Protocol, message)
    }

    /// The data cannot be backed up or restored as it is.
    pub fn data(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Data, message)
    }

    /// Understood, but not possible with this addon or this server.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported, message)
    }

    /// The host asked the guest to stop.
    pub fn cancelled() -> Self {
        Self::new(ErrorKind::Cancelled, "the run was cancelled")
    }

    /// A defect in the addon itself.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// The same error with another answer to "may it succeed later?".
    #[must_use]
    pub fn retryable(mut self, retryable: bool) -> Self {
        self.retryable = retryable;
        self
    }

    /// Puts what was being done before the message: `reading table a.b: the server closed the connection`.
    #[must_use]
    pub fn with_context(mut self, doing: impl fmt::Display) -> Self {
        self.message = format!("{doing}: {}", self.message);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// Lets an error pass through code that speaks `std::io`; [`From<io::Error>`](Error#impl-From<Error>-for-Error) takes it out again.
impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match error.kind {
            ErrorKind::Invalid => io::ErrorKind::InvalidInput,
            ErrorKind::Denied => io::ErrorKind::PermissionDenied,
            ErrorKind::Unavailable => io::ErrorKind::ConnectionAborted,
            ErrorKind::Protocol | ErrorKind::Data => io::ErrorKind::InvalidData,
            ErrorKind::Unsupported => io::ErrorKind::Unsupported,
            // Not `Interrupted`: std's helpers would try again for ever.
            ErrorKind::Cancelled | ErrorKind::Internal => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        match error.downcast::<Self>() {
            Ok(ours) => ours,
            Err(other) => {
                let kind = match other.kind() {
                    io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData => ErrorKind::Protocol,
                    io::ErrorKind::InvalidInput => ErrorKind::Invalid,
                    io::ErrorKind::PermissionDenied => ErrorKind::Denied,
                    io::ErrorKind::Unsupported => ErrorKind::Unsupported,
                    _ => ErrorKind::Unavailable,
                };
                Self::new(kind, other.to_string())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unavailable_is_retryable_by_itself() {
        assert!(Error::unavailable("x").retryable);
        for error in
            [Error::invalid("x"), Error::denied("x"), Error::protocol("x"), Error::data("x"), Error::cancelled()]
        {
            assert!(!error.retryable, "{error:?}");
        }
        assert!(Error::protocol("x").retryable(true).retryable);
    }

    #[test]
    fn context_goes_in_front() {
        let error = Error::denied("no SELECT").with_context("table a").with_context(format_args!("item {}", 3));
        assert_eq!(error.to_string(), "item 3: table a: no SELECT");
        assert_eq!(error.kind, ErrorKind::Denied);
    }

    #[test]
    fn survives_a_trip_through_std_io() {
        let before = Error::denied("no").retryable(true);
        let after = Error::from(io::Error::from(before.clone()));
        assert_eq!(before, after);
        assert_eq!(Error::from(io::Error::from(io::ErrorKind::UnexpectedEof)).kind, ErrorKind::Protocol);
    }
}
