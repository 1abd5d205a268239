//! Group `core.kubestash.com`: what to back up, its runs, restores, hooks and verifiers.

mod batch;
mod blueprint;
mod configuration;
mod hook;
mod manifest_options;
mod session;
mod task;
mod verifier;

pub use batch::*;
pub use blueprint::*;
pub use configuration::*;
pub use hook::*;
pub use manifest_options::*;
pub use session::*;
pub use task::*;
pub use verifier::*;

/// The API group of this module.
pub const GROUP: &str = "core.kubestash.com";
