//! Runs addon components in wasmtime with the capabilities that were granted, and no other.
//!
//! [`Engine::load`] compiles a component, or takes it from the cache, and refuses what is no addon. [`Component::backup`] and
//! [`Component::restore`] check what it wants against what it may, and start one sandbox: a store of its own, no ambient
//! authority, the host interfaces of the contract and nothing else. Everything is synchronous: a session blocks the thread
//! that drives it, and ends within a fraction of a second when its [`coffer_api::cancel::Cancel`] says so.
//!
//! What a guest may use up:
//! - **Memory**: `permissions.memory` over all its memories; a growth beyond it stops the guest.
//! - **Time**: `permissions.cpu_deadline` of its own code (host calls excluded) without a byte moving through a pipe or a
//!   connection. A cancelled guest has one more tick of 100 ms to end by itself; `close` gets 5 seconds.
//! - **Log**: 10,000 lines or 8 MiB at once, 100 lines or 64 KiB a second in the long run. Beyond that it is stopped.
//!   Progress notes beyond 20 a second are dropped.
//! - **Connections**: 8 at a time, to the target only.
//! - **Text**: every list and string is capped in both directions, see `caps.rs`.

mod bindings;
mod cache;
mod capability;
mod caps;
mod component;
pub mod contract;
mod convert;
mod engine;
mod error;
mod limits;
mod net;
mod pipe;
mod run;
mod sandbox;
mod session;
mod state;
mod target;
mod tls;
mod watch;

pub use capability::Capability;
pub use caps::validate_path;
pub use component::{Component, SessionOptions};
pub use engine::{Engine, read_component};
pub use error::SandboxError;
pub use session::{BackupSession, RestoreSession};
