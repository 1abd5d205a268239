//! Sessions: one guest that was opened for a backup or a restore, driven call by call in the order that the contract gives.
//!
//! A session belongs to one thread at a time and blocks it. After a trap, a violation or a stop by the host it is unusable,
//! and every further call says why. Dropping a session drops its sandbox: connections close, nothing of the guest runs.

use wasmtime::component::ResourceAny;

use crate::caps::{Meter, VIEW, Violation};
use crate::contract::{ByteSink, ByteSource, Entry, Fact, Item, Plan, RestoreItem, Stage};
use crate::convert;
use crate::error::SandboxError;
use crate::pipe::Verdict;
use crate::sandbox::Sandbox;

/// One guest that is opened for a backup.
pub struct BackupSession {
    sandbox: Sandbox,
    session: ResourceAny,
}

impl BackupSession {
    pub(crate) fn open(mut sandbox: Sandbox) -> Result<Self, SandboxError> {
        let session =
            sandbox.call("backup.open", |addon, store| addon.coffer_addon_backup().session().call_open(store))?;
        Ok(Self { sandbox, session })
    }

    /// Leader only: begins one consistent view. Returns what the others need to join it.
    pub fn prepare(&mut self) -> Result<String, SandboxError> {
        let session = self.session;
        let view = self.sandbox.call("backup.prepare", |addon, store| {
            addon.coffer_addon_backup().session().call_prepare(store, session)
        })?;
        let check = check_view(&view);
        self.sandbox.checked("backup.prepare", check.map(|()| view))
    }

    /// Joins the leader's view. May be called again with another one.
    pub fn join(&mut self, view: &str) -> Result<(), SandboxError> {
        let session = self.session;
        self.sandbox.request("backup.join", check_view(view))?;
        self.sandbox
            .call("backup.join", |addon, store| addon.coffer_addon_backup().session().call_join(store, session, view))
    }

    /// Leader only, when every other session has joined: gives up the locks. Some: join this view instead, and call again.
    pub fn release(&mut self) -> Result<Option<String>, SandboxError> {
        let session = self.session;
        let view = self.sandbox.call("backup.release", |addon, store| {
            addon.coffer_addon_backup().session().call_release(store, session)
        })?;
        let check = view.as_deref().map_or(Ok(()), check_view);
        self.sandbox.checked("backup.release", check.map(|()| view))
    }

    /// Leader only: lists the work. Paths are valid, unique and form one tree.
    pub fn plan(&mut self) -> Result<Plan, SandboxError> {
        let session = self.session;
        let raw = self
            .sandbox
            .call("backup.plan", |addon, store| addon.coffer_addon_backup().session().call_plan(store, session))?;
        self.sandbox.checked("backup.plan", convert::plan(raw))
    }

    /// Writes one item's stream into `sink`. Ok only if the guest returned Ok *and* finished the stream *and* the number of
    /// bytes that it gave is the number that the sandbox counted. The sink is dropped before this returns.
    pub fn run(&mut self, item: &Item, sink: Box<dyn ByteSink>) -> Result<Vec<Fact>, SandboxError> {
        const CALL: &str = "backup.run";
        let session = self.session;
        let raw = self.sandbox.request(CALL, convert::item_in(item))?;
        let writer = self.sandbox.state().open_sink(&item.path, sink);
        let result = self
            .sandbox
            .call(CALL, |addon, store| addon.coffer_addon_backup().session().call_run(store, session, &raw, writer));
        let facts = settle(&mut self.sandbox, CALL, result)?;
        self.sandbox.checked(CALL, convert::facts(facts))
    }

    /// Ends the session in good order. Allowed after a cancellation: the guest then has 5 seconds.
    pub fn close(mut self) -> Result<(), SandboxError> {
        let session = self.session;
        self.sandbox.state().watch.begin_closing();
        self.sandbox
            .call("backup.close", |addon, store| addon.coffer_addon_backup().session().call_close(store, session))?;
        self.sandbox.infallible("backup.close", |_, store| session.resource_drop(store))
    }
}

/// One guest that is opened for a restore.
pub struct RestoreSession {
    sandbox: Sandbox,
    session: ResourceAny,
}

impl RestoreSession {
    pub(crate) fn open(mut sandbox: Sandbox) -> Result<Self, SandboxError> {
        let session =
            sandbox.call("restore.open", |addon, store| addon.coffer_addon_restore().session().call_open(store))?;
        Ok(Self { sandbox, session })
    }

    /// Leader only: decides what to restore, in which order. `facts` are those of the backup's plan. Every item of the
    /// answer names one of `entries`.
    pub fn plan(&mut self, entries: &[Entry], facts: &[Fact]) -> Result<Vec<Stage>, SandboxError> {
        const CALL: &str = "restore.plan";
        let session = self.session;
        let raw_entries = self.sandbox.request(CALL, convert::entries_in(entries))?;
        let raw_facts = self.sandbox.request(CALL, convert::facts_in(facts))?;
        let raw = self.sandbox.call(CALL, |addon, store| {
            addon.coffer_addon_restore().session().call_plan(store, session, &raw_entries, &raw_facts)
        })?;
        self.sandbox.checked(CALL, convert::stages(raw, entries))
    }

    /// Applies one item's stream. Ok only if the guest returned Ok *and* the stream was read to its end. The source is
    /// dropped before this returns.
    pub fn run(&mut self, item: &RestoreItem, source: Box<dyn ByteSource>) -> Result<Vec<Fact>, SandboxError> {
        const CALL: &str = "restore.run";
        let session = self.session;
        let raw = self.sandbox.request(CALL, convert::restore_item_in(item))?;
        let reader = self.sandbox.state().open_source(&item.path, source);
        let result = self
            .sandbox
            .call(CALL, |addon, store| addon.coffer_addon_restore().session().call_run(store, session, &raw, reader));
        let facts = settle(&mut self.sandbox, CALL, result)?;
        self.sandbox.checked(CALL, convert::facts(facts))
    }

    /// Leader only, after every item of every stage succeeded.
    pub fn finish(&mut self) -> Result<(), SandboxError> {
        let session = self.session;
        self.sandbox
            .call("restore.finish", |addon, store| addon.coffer_addon_restore().session().call_finish(store, session))
    }

    /// Ends the session in good order and leaves the server's settings as they were. Call it after errors too. Allowed after
    /// a cancellation: the guest then has 5 seconds.
    pub fn close(mut self) -> Result<(), SandboxError> {
        let session = self.session;
        self.sandbox.state().watch.begin_closing();
        self.sandbox
            .call("restore.close", |addon, store| addon.coffer_addon_restore().session().call_close(store, session))?;
        self.sandbox.infallible("restore.close", |_, store| session.resource_drop(store))
    }
}

fn check_view(view: &str) -> Result<(), Violation> {
    Meter::default().text("the view", view, VIEW)
}

/// Weighs what the guest says about its stream against what the pipe knows.
fn settle<T>(sandbox: &mut Sandbox, call: &'static str, result: Result<T, SandboxError>) -> Result<T, SandboxError> {
    let Some(stream) = sandbox.state().stream.take() else { return result };
    let path = stream.path.clone();
    match result {
        Ok(value) => match stream.verdict() {
            Verdict::Whole => Ok(value),
            Verdict::Failed(error) => Err(sandbox.stream_failed(path, error)),
            Verdict::Partial(reason) => sandbox.checked(call, Err(Violation(reason))),
        },
        // What the guest returns after its pipe broke is only an echo.
        Err(SandboxError::Addon { addon, error }) => Err(match stream.into_failure() {
            Some(failure) => sandbox.stream_failed(path, failure),
            None => SandboxError::Addon { addon, error },
        }),
        Err(other) => Err(other),
    }
}
