//! What can go wrong between the host and an addon.

use std::path::PathBuf;
use std::time::Duration;

use crate::capability::Capability;
use crate::caps::{ERROR_MESSAGE, message};
use crate::contract::{AddonError, CONTRACT, ErrorKind};

/// Why a component could not be loaded, started or run to its end.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum SandboxError {
    /// The machine cannot run components.
    #[error("cannot start the WebAssembly engine: {reason}")]
    Engine {
        /// What wasmtime says.
        reason: String,
    },
    /// The folder for compiled components cannot be used.
    #[error("cannot use {} as the cache of compiled components: {reason}", path.display())]
    Cache {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it, and how to fix that.
        reason: String,
    },
    /// The bytes are no component that this host can run.
    #[error("{name} cannot be loaded as an addon: {reason}")]
    NotAnAddon {
        /// The reference or file of the component.
        name: String,
        /// What it is instead.
        reason: String,
    },
    /// The component was built for another version of the contract.
    #[error(
        "{name} was built for coffer:addon {built_for}, this coffer speaks {CONTRACT}; \
         rebuild the addon for {CONTRACT}, or use a coffer that speaks {built_for}"
    )]
    ContractVersion {
        /// The reference or file of the component.
        name: String,
        /// The version that it was built for.
        built_for: String,
    },
    /// The component imports something that no permission can grant.
    #[error(
        "{name} imports {import}, which coffer does not offer: addons may import the interfaces of coffer:addon@{CONTRACT} \
         only; build it without WASI (for Rust: the target wasm32-unknown-unknown)"
    )]
    UnknownImport {
        /// The reference or file of the component.
        name: String,
        /// Name of the import.
        import: String,
    },
    /// The component wants more than its Function grants.
    #[error(
        "the addon {addon} needs the permission `{capability}`, which its Function does not grant; if you trust the addon, \
         add this line under spec.component.permissions of the Function: {line}"
    )]
    NotGranted {
        /// Name of the addon.
        addon: String,
        /// What is missing.
        capability: Capability,
        /// The line of YAML to add.
        line: &'static str,
    },
    /// Options of the session contradict each other.
    #[error("the addon {addon} cannot be started: {reason}")]
    Options {
        /// Name of the addon.
        addon: String,
        /// What is wrong with them.
        reason: String,
    },
    /// The addon itself returned an error.
    #[error("addon {addon}: {error}")]
    Addon {
        /// Name of the addon.
        addon: String,
        /// What it returned.
        error: AddonError,
    },
    /// The stream between addon and repository failed; whatever the addon returned follows from that.
    #[error("the stream {path} of the addon {addon} failed: {error}")]
    Stream {
        /// Name of the addon.
        addon: String,
        /// Path of the stream.
        path: String,
        /// What the other end of the pipe said.
        error: AddonError,
    },
    /// The addon broke the contract.
    #[error("the addon {addon} broke its contract in {call}: {reason}; this is a defect of the addon")]
    Violation {
        /// Name of the addon.
        addon: String,
        /// The function that was running.
        call: &'static str,
        /// What it did.
        reason: String,
    },
    /// The host's own call would break the contract.
    #[error("the addon {addon} cannot be asked for {call}: {reason}")]
    Request {
        /// Name of the addon.
        addon: String,
        /// The function.
        call: &'static str,
        /// What is wrong with what was to be handed over.
        reason: String,
    },
    /// The addon panicked, or stopped itself in another way.
    #[error("addon {addon} panicked: {message} (in {call}); this is a defect of the addon")]
    Panicked {
        /// Name of the addon.
        addon: String,
        /// The function that was running.
        call: &'static str,
        /// Its last words.
        message: String,
    },
    /// The addon's code did something impossible.
    #[error("the addon {addon} crashed in {call}: {reason}; this is a defect of the addon")]
    Trapped {
        /// Name of the addon.
        addon: String,
        /// The function that was running.
        call: &'static str,
        /// What it did, in plain words.
        reason: String,
    },
    /// The addon asked for more memory than it may have.
    #[error(
        "the addon {addon} was stopped in {call}: it needs more memory than the {limit} MiB that it may have; \
         raise spec.component.permissions.memory of the Function (for example memory: \"{}Mi\")", limit.saturating_mul(2)
    )]
    Memory {
        /// Name of the addon.
        addon: String,
        /// The function that was running.
        call: &'static str,
        /// The cap in MiB.
        limit: u64,
    },
    /// The addon computed for too long without a byte moving.
    #[error(
        "the addon {addon} was stopped in {call}: it ran for more than {} s without reading or writing a byte; if that is \
         right for it, raise spec.component.permissions.cpuDeadline of the Function", deadline.as_secs_f64()
    )]
    CpuDeadline {
        /// Name of the addon.
        addon: String,
        /// The function that was running.
        call: &'static str,
        /// How long it may run.
        deadline: Duration,
    },
    /// The addon wrote too much to the log.
    #[error("the addon {addon} was stopped in {call}: it floods the log ({reason})")]
    LogFlood {
        /// Name of the addon.
        addon: String,
        /// The function that was running.
        call: &'static str,
        /// The limit that it hit.
        reason: String,
    },
    /// The run was cancelled, or its time was up.
    #[error("the addon {addon} was stopped: {reason}")]
    Cancelled {
        /// Name of the addon.
        addon: String,
        /// Why.
        reason: String,
    },
    /// The session ended earlier with another error.
    #[error("the session of the addon {addon} has ended: {reason}")]
    Unusable {
        /// Name of the addon.
        addon: String,
        /// How it ended.
        reason: String,
    },
}

impl SandboxError {
    /// Whether the same run may succeed later without anybody changing anything.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Addon { error, .. } | Self::Stream { error, .. } => error.retryable,
            _ => false,
        }
    }

    /// The kind of the failure in the contract's terms.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Addon { error, .. } | Self::Stream { error, .. } => error.kind,
            Self::Cancelled { .. } => ErrorKind::Cancelled,
            Self::Engine { .. } | Self::Cache { .. } => ErrorKind::Unavailable,
            Self::NotAnAddon { .. }
            | Self::ContractVersion { .. }
            | Self::UnknownImport { .. }
            | Self::NotGranted { .. }
            | Self::Options { .. }
            | Self::Request { .. } => ErrorKind::Invalid,
            _ => ErrorKind::Internal,
        }
    }

    /// An error of wasmtime in plain text, without its back trace.
    pub(crate) fn describe(error: &wasmtime::Error) -> String {
        let text: Vec<String> = error.chain().map(ToString::to_string).collect();
        message(&text.join(": "), ERROR_MESSAGE)
    }
}
