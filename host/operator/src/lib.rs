//! The controllers: from KubeStash's resources to Jobs, and from the facts that Jobs write to status.
//!
//! [`run`] is the whole operator. It reads no Secret, touches no storage and runs no addon: all of that happens in Jobs.
//!
//! Each controller is one module with the same steps: *dereference* (`view`: what the object depends on), *validate* and
//! *plan* (pure: what is wrong, what comes next), *build* (`build`, pure: the objects), *apply*
//! (server-side apply, or a create that happens once), *status* (written only when it changed, and only if nobody has
//! changed the object meanwhile). Everything is derived from the cluster and every step can be repeated, so an operator may
//! be killed at any moment: the next one goes on.

mod apply;
mod backends;
mod backup_configuration;
mod backup_session;
mod backup_storage;
mod build;
mod context;
mod controller;
mod error;
mod events;
mod job_state;
mod jobs;
mod kstatus;
mod lease;
mod metrics;
mod operator;
mod options;
mod prepare;
mod reach;
mod repository;
mod restore_session;
mod routes;
mod server;
mod snapshot;
mod stores;
mod tasks;
mod watch;
mod wipe;
mod writers;

pub use error::{Class, Error};
pub use operator::{RunError, run};
pub use options::{Clock, Limits, Options, Timing};
