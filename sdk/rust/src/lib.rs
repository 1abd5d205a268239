//! Write a Coffer addon in Rust.
//!
//! An addon is a type that implements [`Addon`]: it describes itself and names the two session types that do the work, one
//! for [`Backup`] and one for [`Restore`] ([`Unsupported`] stands for a direction that the addon does not know).
//! [`export_addon!`] turns it into a component. `README.md` beside this crate shows a whole one.
//!
//! What a session may use comes in as handles: [`Context`] (the run: parameters, log, time, randomness), [`Target`] (the
//! database, and [`Connection`]s to it), [`Writer`] and [`Reader`] (the bytes of one stream). In a guest the host is behind
//! them; elsewhere anything that implements the traits in [`backend`], for example what [`native`] has. So the logic of an
//! addon is ordinary Rust, tested with `cargo test` without any sandbox.

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

mod addon;
pub mod backend;
mod buffer;
mod connection;
mod context;
mod describe;
mod error;
#[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
#[doc(hidden)]
pub mod guest;
mod log;
mod model;
pub mod native;
mod pipe;
mod target;
pub mod value;

pub use addon::{Addon, Backup, Restore, Unsupported};
pub use connection::Connection;
pub use context::{Context, Worker};
pub use describe::{Description, Direction, Parameter, Task, ValueType};
pub use error::{Error, ErrorKind, Result};
pub use log::Level;
pub use model::{Entry, Fact, Item, Plan, RestoreItem, Stage};
pub use pipe::{Finished, Reader, Writer};
pub use target::{Credentials, Target, TargetInfo, Tls};
