//! Lines in the host's log.

/// How urgent a log line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Something failed.
    Error,
    /// Something is not as it should be, and the run goes on.
    Warn,
    /// What a user wants to know.
    Info,
    /// What a developer wants to know.
    Debug,
}

/// Logs at level error: `error!(context, "table {name} is gone")`.
#[macro_export]
macro_rules! error {
    ($context:expr, $($message:tt)+) => { $context.log($crate::Level::Error, &::std::format!($($message)+)) };
}

/// Logs at level warn: `warn!(context, "table {name} has no primary key")`.
#[macro_export]
macro_rules! warn {
    ($context:expr, $($message:tt)+) => { $context.log($crate::Level::Warn, &::std::format!($($message)+)) };
}

/// Logs at level info: `info!(context, "server version {version}")`.
#[macro_export]
macro_rules! info {
    ($context:expr, $($message:tt)+) => { $context.log($crate::Level::Info, &::std::format!($($message)+)) };
}

/// Logs at level debug: `debug!(context, "{} packets", count)`.
#[macro_export]
macro_rules! debug {
    ($context:expr, $($message:tt)+) => { $context.log($crate::Level::Debug, &::std::format!($($message)+)) };
}
