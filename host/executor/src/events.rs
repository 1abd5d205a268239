//! What happens during a run, as it happens: for progress bars, logs and status.

use coffer_sandbox::contract::Level;

/// Receives events, from several threads at once. Must be quick: a slow receiver slows the run.
pub trait Events: Send + Sync {
    /// Something happened.
    fn event(&self, event: Event<'_>);
}

/// Ignores everything.
impl Events for () {
    fn event(&self, _: Event<'_>) {}
}

/// The parts of a run, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The repositories are opened, or made.
    Repositories,
    /// The sandboxes connect to the database.
    Connect,
    /// The sandboxes agree on one view of the database.
    View,
    /// The addon lists the work.
    Plan,
    /// Bytes flow.
    Transfer,
    /// The snapshots are published, or the restored database is finished.
    Finish,
}

/// One thing that happened.
#[derive(Debug, Clone)]
pub enum Event<'a> {
    /// A part of the run began.
    Phase(Phase),
    /// A repository is ready.
    Repository {
        /// Its name in the manifests.
        name: &'a str,
        /// Where it is, without secrets.
        location: &'a str,
        /// Whether it was made just now.
        created: bool,
    },
    /// A snapshot was chosen for the restore.
    Snapshot {
        /// Its restic id.
        id: &'a str,
        /// When it was taken, RFC 3339.
        time: &'a str,
    },
    /// The work is known.
    Planned {
        /// How many items there are. A restore may read a stream in several items.
        items: usize,
        /// About how many bytes will flow, where that is known.
        bytes: Option<u64>,
        /// How many sandboxes work on them.
        workers: usize,
    },
    /// A stage of a restore began.
    Stage {
        /// Its name.
        name: &'a str,
        /// How many items it has.
        items: usize,
    },
    /// An item began.
    ItemStarted {
        /// The path of its stream.
        path: &'a str,
    },
    /// Bytes went through the pipe.
    Bytes {
        /// How many, since the event before.
        count: u64,
    },
    /// An item ended well.
    ItemFinished {
        /// The path of its stream.
        path: &'a str,
        /// The size of its stream.
        bytes: u64,
    },
    /// The addon says what it is doing.
    Note {
        /// In a few words.
        text: &'a str,
    },
    /// The addon logged a line.
    Log {
        /// How urgent.
        level: Level,
        /// The addon's name.
        addon: &'a str,
        /// The line.
        message: &'a str,
    },
    /// The run goes on, but the user should know.
    Warning {
        /// What happened and what follows from it.
        message: &'a str,
    },
}
