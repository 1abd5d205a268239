//! What `kubectl coffer` does, with the rights of whoever calls it: nothing here reads data or opens a storage.
//!
//! ```text
//! status      what is there, how it is doing, what is not right and what to do about it
//! snapshots   the Snapshots, as a table
//! trigger     a BackupSession now
//! pause       no backups of a BackupConfiguration for a while, and resume
//! restore     a RestoreSession from a few words
//! wait        how far a BackupSession or a RestoreSession is, until it ends
//! logs        what the pods of an object print
//! debug       everything that helps to find a fault, without a secret
//! ```
//!
//! Each command reads objects, decides and renders in functions without side effects, and returns text. Every call blocks.

mod debug;
mod error;
mod format;
mod logs;
mod objects;
mod pause;
mod redact;
mod restore;
mod snapshots;
mod status;
mod subject;
mod table;
mod trigger;
mod wait;

use std::fmt;

use coffer_api::cancel::Cancel;
use coffer_resolve::cluster::{Action, Cluster};
use coffer_resolve::objects::Objects;
use jiff::Timestamp;
use tokio::runtime::Handle;

pub use debug::{Bundle, Debug, Part, debug};
pub use error::PluginError;
pub use format::Format;
pub use logs::{Logs, logs};
pub use objects::FIELD_MANAGER;
pub use pause::{Which, pause};
pub use restore::{Restore, restore};
pub use snapshots::{Filter, snapshots};
pub use status::status;
pub use subject::Subject;
pub use trigger::{Trigger, trigger};
pub use wait::{Waiting, backup as wait_for_backup, restore as wait_for_restore};

/// What every command works with.
#[derive(Clone)]
pub struct Plugin {
    /// The cluster.
    pub cluster: Cluster,
    /// What drives the connections of its client.
    pub runtime: Handle,
    /// Ends waiting and following.
    pub cancel: Cancel,
}

impl fmt::Debug for Plugin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Plugin").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

/// What is changed for real.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DryRun {
    /// Everything.
    #[default]
    None,
    /// Nothing: the object is only shown.
    Client,
    /// Nothing: the server is asked whether it would.
    Server,
}

impl DryRun {
    /// What kubectl writes behind the outcome.
    pub(crate) fn note(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Client => " (dry run)",
            Self::Server => " (server dry run)",
        }
    }
}

/// What a command that makes or changes objects did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Done {
    /// What to print.
    pub text: String,
    /// Names of the objects that exist now and can be waited for.
    pub names: Vec<String>,
}

impl Plugin {
    /// Asks the server something small, once: a server that cannot be reached is told at once rather than after many tries. Returns its version.
    pub fn greet(&self) -> Result<Option<String>, PluginError> {
        let client = self.cluster.client();
        match self.cluster.request_once(client.apiserver_version()) {
            Ok(version) => Ok(Some(version.git_version)),
            // Whoever answers, answers; what may be asked is another matter.
            Err(kube::Error::Api(status)) if status.code != 401 => Ok(None),
            Err(kube::Error::Api(status)) => Err(PluginError::refused(
                "the cluster does not let you in",
                status.message.clone(),
                "check the credentials of the kubeconfig's context, for example with `kubectl auth whoami`",
            )),
            Err(error) => {
                let action = Action {
                    verb: "reach",
                    resource: "cluster".to_owned(),
                    kind: String::new(),
                    namespace: String::new(),
                    name: String::new(),
                };
                Err(PluginError::Resolve(self.cluster.error(&action, &error)))
            }
        }
    }

    fn objects(&self) -> Objects<'_> {
        Objects::new(&self.cluster, FIELD_MANAGER)
    }

    fn now() -> Timestamp {
        Timestamp::now()
    }
}
