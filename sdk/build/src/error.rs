//! Why a guest could not be built.

use std::io;
use std::path::PathBuf;

use crate::TARGET;

/// Why a guest could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The compiler has no standard library for the guests' target.
    #[error(
        "the Rust toolchain has no standard library for {TARGET}, which addons are built for (looked in {}): run \
         `rustup target add {TARGET}`, or `make toolchain` where rustup has no network", .looked_in.display()
    )]
    NoTarget {
        /// Where it would be.
        looked_in: PathBuf,
    },
    /// A tool could not be started, or says something unexpected.
    #[error("cannot run `{command}`: {reason}")]
    Tool {
        /// The command.
        command: String,
        /// Why.
        reason: String,
    },
    /// The addon does not compile.
    #[error("building the addon `{package}` failed: {messages}")]
    Compile {
        /// The package.
        package: String,
        /// What cargo said.
        messages: String,
    },
    /// What cargo built is not where it should be.
    #[error("cannot read {}: {source}; the library of an addon must have the name of its package", .path.display())]
    Read {
        /// Where it should be.
        path: PathBuf,
        /// Why it cannot be read.
        source: io::Error,
    },
    /// What cargo built is no component.
    #[error("the module that cargo built cannot be made a component: {0}")]
    Encode(String),
    /// What cargo built is a component, but no addon.
    #[error("the component does not export `coffer:addon/{0}`: does the addon call `export_addon!` at its top level?")]
    NoAddon(&'static str),
}
