//! One backup or one restore, from a resolved plan.
//!
//! The executor owns the pipe between the addon's sandboxes and the repositories and the order in which things happen; it
//! knows nothing of Kubernetes or of any database. A backup goes
//!
//! ```text
//! repositories -> sandboxes connect -> one view -> plan -> streams, side by side -> manifest -> snapshots published
//! ```
//!
//! and stops at the first thing that is not proven: then no snapshot is published in any repository. A restore runs the
//! pipe the other way, stage by stage, and compares every stream with the manifest while it flows.

mod addon;
mod backup;
mod crew;
mod destinations;
mod error;
mod events;
mod manifest;
mod parameters;
mod pipe;
mod restore;

use std::sync::Arc;

use coffer_api::cancel::Cancel;
use coffer_sandbox::Engine;
use coffer_storage::LocalRoot;

pub use backup::{BackupReport, DestinationOutcome, backup};
pub use coffer_sandbox::contract::Level;
pub use error::ExecutorError;
pub use events::{Event, Events, Phase};
pub use manifest::{AddonInfo, MANIFEST_PATH, Manifest, ManifestError, StreamInfo, TargetInfo};
pub use restore::{RestoreReport, restore};

/// Finds the bytes of a component that ships with this program, by name.
pub type Builtins = fn(&str) -> Option<&'static [u8]>;

/// What a run uses of its surroundings.
#[derive(Clone)]
pub struct Context {
    /// Compiles and runs components.
    pub engine: Engine,
    /// The components that ship with this program.
    pub builtins: Builtins,
    /// Where the volumes of local storages are found.
    pub local: LocalRoot,
    /// Hears what happens.
    pub events: Arc<dyn Events>,
    /// Stops the run.
    pub cancel: Cancel,
}
