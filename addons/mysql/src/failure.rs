//! What can go wrong on the way to the server: an error of the server with its number, or one of ours.

use coffer_addon_sdk::{Error, ErrorKind};

/// A result of a command to the server.
pub(crate) type Outcome<T> = Result<T, Failure>;

/// Why a command did not succeed. Turns into the SDK's error with `?`; keeps the server's error number for callers that act on it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub(crate) struct Failure {
    code: Option<u16>,
    error: Error,
}

impl Failure {
    /// The number of the server's error; `None` when it was not the server that refused.
    pub(crate) fn code(&self) -> Option<u16> {
        self.code
    }

    /// Whether the server refused for want of a privilege.
    pub(crate) fn is_denied(&self) -> bool {
        self.code.is_some() && self.error.kind == ErrorKind::Denied
    }

    /// Appends to the message.
    pub(crate) fn add(&mut self, text: &str) {
        self.error.message.push_str(text);
    }

    /// What the payload of an error packet says.
    pub(crate) fn from_packet(payload: &[u8]) -> Self {
        let Some((&[_, low, high], rest)) = payload.split_first_chunk::<3>() else {
            return Error::protocol("the server sent an error packet that is cut off").into();
        };
        let code = u16::from_le_bytes([low, high]);
        // Before the login the state may be missing.
        let (state, message) = match rest.strip_prefix(b"#").and_then(|rest| rest.split_at_checked(5)) {
            Some((state, message)) => (format!(" ({})", String::from_utf8_lossy(state)), message),
            None => (String::new(), rest),
        };
        Self::server(code, format!("MySQL error {code}{state}: {}", String::from_utf8_lossy(message).trim_end()))
    }

    fn server(code: u16, message: String) -> Self {
        let (kind, retryable) = classify(code);
        Self { code: Some(code), error: Error::new(kind, message).retryable(retryable) }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { code: None, error }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        failure.error
    }
}

/// The kind of a server's error, and whether the same command may succeed later.
fn classify(code: u16) -> (ErrorKind, bool) {
    match code {
        // Access denied, in all its shapes; host not allowed or blocked; expired or locked accounts; TLS demanded; read-only servers;
        // definers and binary log settings that need more privileges.
        1044 | 1045 | 1095 | 1129 | 1130 | 1142 | 1143 | 1227 | 1290 | 1370 | 1410 | 1419 | 1449 | 1698 | 1820
        | 1836 | 1862 | 3118 | 3159 | 3879 | 4151 | 4165 => (ErrorKind::Denied, false),
        // Too many connections, shutting down, network trouble, killed; lock wait timeout, deadlock, a definition that changed.
        1040
        | 1053
        | 1077
        | 1080
        | 1152
        | 1158..=1161
        | 1184
        | 1203
        | 1205
        | 1213
        | 1226
        | 1317
        | 1412
        | 1927
        | 1969
        | 2006
        | 2013
        | 3024
        | 3169
        | 3572 => (ErrorKind::Unavailable, true),
        // No such database.
        1049 => (ErrorKind::Invalid, false),
        // LOAD DATA LOCAL switched off, not supported here, unknown storage engine, unknown collation or character set.
        1148 | 1235 | 1273 | 1115 | 1286 | 3948 | 4166 => (ErrorKind::Unsupported, false),
        // Packets too large, out of order, uncompressable.
        1153..=1157 => (ErrorKind::Protocol, false),
        _ => (ErrorKind::Data, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(code: u16, rest: &str) -> Vec<u8> {
        [&[0xFF][..], &code.to_le_bytes(), rest.as_bytes()].concat()
    }

    #[test]
    fn error_packets() {
        let failure = Failure::from_packet(&packet(1146, "#42S02Table 'a.b' doesn't exist"));
        assert_eq!(failure.to_string(), "MySQL error 1146 (42S02): Table 'a.b' doesn't exist");
        assert_eq!((failure.code(), failure.error.kind), (Some(1146), ErrorKind::Data));
        let failure = Failure::from_packet(&packet(1040, "Too many connections"));
        assert_eq!(failure.to_string(), "MySQL error 1040: Too many connections");
        assert!(failure.error.retryable);
        assert!(Failure::from_packet(&packet(1227, "#42000no")).is_denied());
        assert_eq!(Failure::from_packet(&[0xFF, 1]).error.kind, ErrorKind::Protocol);
    }
}
