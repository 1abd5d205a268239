//! What runs inside the pods: one verb for each kind of Job that the operator makes.
//!
//! ```text
//! trigger               CronJob          creates a BackupSession
//! initialize_storage    BackupStorage    writes metadata.yaml, or brings back what it lists
//! initialize_repository Repository       writes repository.yaml
//! backup                BackupSession    runs the executor, tells what became of each Snapshot
//! restore               RestoreSession   runs the executor, tells what became of each component
//! retention             BackupSession    forgets what the RetentionPolicies do not keep
//! cleanup               an object        removes its data, when its policy says WipeOut
//! ```
//!
//! A verb writes *facts* into a status: components and the conditions that are its own. Phases and everything else follow from them, and are
//! the operator's. A verb may run twice, at any time after it was killed; it returns `Ok` only when its facts are written. Every call blocks.

mod backup;
mod cleanup;
mod conclude;
mod error;
mod facts;
mod files;
mod forget;
mod initialize_repository;
mod initialize_storage;
mod locks;
mod objects;
mod progress;
mod restore;
mod retention;
mod status;
mod trigger;

use coffer_api::cancel::Cancel;
use coffer_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use coffer_resolve::Catalog;
use coffer_resolve::cluster::Cluster;
use coffer_resolve::objects::Objects;
use coffer_storage::LocalRoot;
use jiff::Timestamp;

pub use backup::backup;
pub use cleanup::{Wiped, cleanup};
pub use error::JobError;
pub use initialize_repository::initialize_repository;
pub use initialize_storage::initialize_storage;
pub use objects::FIELD_MANAGER;
pub use progress::EVERY;
pub use restore::restore;
pub use retention::retention;
pub use trigger::{backup_session, trigger};

/// What every verb works with.
#[derive(Debug, Clone)]
pub struct Job {
    /// The cluster that holds the objects.
    pub cluster: Cluster,
    /// Where the volumes of local storages are found.
    pub local: LocalRoot,
    /// Stops the verb.
    pub cancel: Cancel,
}

/// What the verbs that run addons work with besides.
#[derive(Clone)]
pub struct Addons {
    /// The engine and the built-in components. Its events are not used.
    pub context: coffer_executor::Context,
    /// The Addons and Functions that the program brings.
    pub catalog: Catalog,
}

/// How a verb ended that wrote its facts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// All is well.
    Done,
    /// Some of it failed; the status says what.
    Partial,
}

impl Job {
    fn objects(&self) -> Objects<'_> {
        Objects::new(&self.cluster, FIELD_MANAGER)
    }

    /// The signal for work that a session limits: given with the verb's own, or at the deadline.
    fn until(&self, deadline: Option<&Time>) -> Cancel {
        let Some(deadline) = deadline else { return self.cancel.child() };
        let left = facts::between(Timestamp::now(), deadline.0);
        let limited = self.cancel.child().with_deadline(left);
        if left.is_zero() {
            limited.cancel(format!("the deadline {} has passed", deadline.0));
        }
        limited
    }
}
