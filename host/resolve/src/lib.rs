//! From resources to a plan, through one [`Reader`].
//!
//! [`Directory`] reads a directory of manifests, and with the feature `cluster` a `Cluster` reads the Kubernetes API. [`backup`], [`restore`] and
//! [`repositories`] follow the references between the resources, check them, and return plain plans. With that feature, `Objects` are what programs
//! read and make in a cluster besides. Every [`ResolveError`] says what cannot be done, why, and how to fix it, and holds no secret.

mod backup;
mod catalog;
#[cfg(feature = "cluster")]
pub mod cluster;
mod configuration;
mod directory;
mod error;
mod manifest;
#[cfg(feature = "cluster")]
pub mod objects;
mod reader;
mod repository;
mod restore;
mod secrets;
mod storage;
mod target;
mod task;
mod url;
mod usage;

pub use backup::{BackupSelection, PartialBackup, backup, backup_by_name};
pub use catalog::Catalog;
pub use directory::{DEFAULT_NAMESPACE, Directory, OtherObject};
pub use error::{ErrorKind, ResolveError};
pub use reader::{Kind, Object, Reader, get, list};
pub use repository::{RepositorySelection, repositories, repository_by_name};
pub use restore::{RestoreSelection, restore, restore_by_name};
pub use storage::{PASSWORD_KEY, destination, storage};
pub use task::snapshot_component;
