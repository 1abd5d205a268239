//! From resources to a plan, through one [`Reader`].
//!
//! [`Directory`] reads a directory of manifests; a cluster comes behind the same trait. [`backup`], [`restore`] and
//! [`repositories`] follow the references between the resources, check them, and return plain plans. Every
//! [`ResolveError`] says what cannot be done, why, and how to fix it, and holds no secret.

mod backup;
mod catalog;
mod configuration;
mod directory;
mod error;
mod manifest;
mod reader;
mod repository;
mod restore;
mod secrets;
mod storage;
mod target;
mod task;
mod url;
mod usage;

pub use backup::{BackupSelection, backup};
pub use catalog::Catalog;
pub use directory::{DEFAULT_NAMESPACE, Directory, OtherObject};
pub use error::{ErrorKind, ResolveError};
pub use reader::{Kind, Object, Reader, get, list};
pub use repository::{RepositorySelection, repositories};
pub use restore::{RestoreSelection, restore};
pub use storage::PASSWORD_KEY;
