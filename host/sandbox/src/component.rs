//! A loaded addon: what it says of itself, what it wants, and the way to sessions.

use std::sync::Arc;

use coffer_api::cancel::Cancel;
use coffer_api::plan::{Permissions, Target};

use crate::bindings::AddonPre;
use crate::cache::Sum;
use crate::capability::{self, Capability};
use crate::caps::{Meter, SMALL_LIST, TOKEN, VALUE, count};
use crate::contract::{Description, GuestEvents, NoEvents};
use crate::convert;
use crate::error::SandboxError;
use crate::sandbox::Sandbox;
use crate::session::{BackupSession, RestoreSession};
use crate::state::{RunInfo, State};

/// A compiled addon. Cheap to clone; every session gets a sandbox of its own.
#[derive(Clone)]
pub struct Component {
    inner: Arc<Inner>,
}

struct Inner {
    name: String,
    digest: Sum,
    wants: Vec<Capability>,
    pre: AddonPre<State>,
    from_cache: bool,
}

/// How to start a session.
#[derive(Clone)]
pub struct SessionOptions {
    /// What messages call the addon.
    pub addon: String,
    /// What the Function grants.
    pub permissions: Permissions,
    /// The database. Seen by the guest only if `permissions.target`.
    pub target: Option<Arc<Target>>,
    /// The task, one of those in the description.
    pub task: String,
    /// Its parameters, defaults filled in.
    pub parameters: Vec<(String, String)>,
    /// Which of the run's sandboxes this is (0 is the leader), and how many there are.
    pub worker: (u32, u32),
    /// Who hears what the guest says.
    pub events: Arc<dyn GuestEvents>,
    /// Ends the session from outside.
    pub cancel: Cancel,
}

impl Component {
    pub(crate) fn new(
        name: String,
        digest: Sum,
        wants: Vec<Capability>,
        pre: AddonPre<State>,
        from_cache: bool,
    ) -> Self {
        Self { inner: Arc::new(Inner { name, digest, wants, pre, from_cache }) }
    }

    /// SHA-256 of the component in hexadecimal.
    pub fn digest(&self) -> String {
        hex::encode(self.inner.digest)
    }

    /// Whether the compiled code came from the cache.
    pub fn from_cache(&self) -> bool {
        self.inner.from_cache
    }

    /// What the component imports, each of which must be granted.
    pub fn wants(&self) -> &[Capability] {
        &self.inner.wants
    }

    /// Whether `permissions` grant everything that the component wants. The error has the line to add.
    pub fn check(&self, permissions: &Permissions) -> Result<(), SandboxError> {
        capability::check(&self.inner.name, &self.inner.wants, permissions)
    }

    /// Asks the addon what it is. It runs with nothing granted, within the default limits.
    pub fn describe(&self) -> Result<Description, SandboxError> {
        let state = State::new(
            self.inner.name.clone(),
            RunInfo { worker: (0, 1), ..RunInfo::default() },
            &Permissions::default(),
            None,
            Arc::new(NoEvents),
            Cancel::new(),
        );
        let mut sandbox = Sandbox::new(&self.inner.pre, state)?;
        let raw = sandbox.infallible("describe", |addon, store| addon.coffer_addon_describe().call_describe(store))?;
        sandbox.checked("describe", convert::description(raw))
    }

    /// Starts a backup session: a fresh sandbox in which `open` has returned Ok.
    pub fn backup(&self, options: SessionOptions) -> Result<BackupSession, SandboxError> {
        BackupSession::open(self.sandbox(options)?)
    }

    /// Starts a restore session: a fresh sandbox in which `open` has returned Ok.
    pub fn restore(&self, options: SessionOptions) -> Result<RestoreSession, SandboxError> {
        RestoreSession::open(self.sandbox(options)?)
    }

    fn sandbox(&self, options: SessionOptions) -> Result<Sandbox, SandboxError> {
        let SessionOptions { addon, permissions, target, task, parameters, worker, events, cancel } = options;
        capability::check(&addon, &self.inner.wants, &permissions)?;
        let refuse = |reason: String| SandboxError::Options { addon: addon.clone(), reason };
        if worker.0 >= worker.1 {
            return Err(refuse(format!("worker {} of {} does not exist", worker.0, worker.1)));
        }
        if self.inner.wants.contains(&Capability::Target) && target.is_none() {
            return Err(refuse("it needs a database, and none is given".to_owned()));
        }
        check_parameters(&parameters).map_err(|violation| refuse(violation.0))?;
        let run = RunInfo { task, parameters, worker };
        Sandbox::new(&self.inner.pre, State::new(addon, run, &permissions, target, events, cancel))
    }
}

fn check_parameters(parameters: &[(String, String)]) -> crate::caps::Checked {
    let meter = &mut Meter::default();
    count("the list of parameters", parameters.len(), SMALL_LIST)?;
    for (name, value) in parameters {
        meter.name("the name of a parameter", name)?;
        meter.text(&format!("the parameter {name}"), value, VALUE.max(TOKEN))?;
    }
    Ok(())
}

impl std::fmt::Debug for Component {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Component")
            .field("name", &self.inner.name)
            .field("digest", &self.digest())
            .field("wants", &self.inner.wants)
            .finish_non_exhaustive()
    }
}
