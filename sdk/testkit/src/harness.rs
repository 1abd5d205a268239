//! Drives a component as the executor does, without a repository.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock, PoisonError};

use coffer_api::cancel::Cancel;
use coffer_api::plan::{Credentials, Endpoint, Permissions, Target, Tls, TlsMode};
use coffer_sandbox::contract::{Description, Entry, Fact, Level};
use coffer_sandbox::{BackupSession, Component, Engine, RestoreSession, SandboxError, SessionOptions};

use crate::events::Heard;
use crate::pipe::{MemorySink, MemorySource};

/// How often `release` may ask for another view before the harness gives up.
const MAX_VIEWS: usize = 10;

/// A component and how to run it.
#[derive(Clone)]
pub struct Harness {
    component: Component,
    description: Description,
    task: String,
    parameters: Vec<(String, String)>,
    target: Option<Target>,
    permissions: Permissions,
    workers: u32,
    cancel: Cancel,
    pipe_fails_after: Option<u64>,
}

/// One stream of a dump.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    /// Its path in the snapshot.
    pub path: String,
    /// What it holds.
    pub bytes: Vec<u8>,
    /// What the addon said about it.
    pub facts: Vec<Fact>,
}

/// What a backup made.
#[derive(Debug, Clone)]
pub struct Dump {
    /// In the order of their paths.
    pub streams: Vec<Stream>,
    /// What the addon said about the whole.
    pub facts: Vec<Fact>,
    /// What it logged.
    pub logs: Vec<(Level, String)>,
    /// What it said of its progress.
    pub notes: Vec<String>,
}

impl Dump {
    /// The stream of this path.
    pub fn stream(&self, path: &str) -> Option<&Stream> {
        self.streams.iter().find(|stream| stream.path == path)
    }

    /// The value of the fact of this name about the whole.
    pub fn fact(&self, name: &str) -> Option<&str> {
        self.facts.iter().find(|fact| fact.name == name).map(|fact| fact.value.as_str())
    }
}

/// What a restore did.
#[derive(Debug, Clone)]
pub struct Restored {
    /// Stage, path and facts of every item, in the order in which they ran.
    pub items: Vec<(String, String, Vec<Fact>)>,
    /// What the addon logged.
    pub logs: Vec<(Level, String)>,
    /// What it said of its progress.
    pub notes: Vec<String>,
}

/// A run that failed, and what the addon had said by then.
#[derive(Debug)]
pub struct Failure {
    /// Why.
    pub error: SandboxError,
    /// What the addon logged.
    pub logs: Vec<(Level, String)>,
    /// What it said of its progress.
    pub notes: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.error)?;
        for (level, line) in &self.logs {
            write!(f, "\n  {level:?}: {line}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

impl Harness {
    /// Loads a component and asks it what it is. The first task it describes is chosen.
    pub fn new(component: &[u8]) -> Result<Self, SandboxError> {
        static ENGINE: OnceLock<Result<Engine, SandboxError>> = OnceLock::new();
        let engine = ENGINE.get_or_init(|| Engine::new(None)).as_ref().map_err(Clone::clone)?;
        let component = engine.load(component, "the component under test")?;
        let description = component.describe()?;
        Ok(Self {
            component,
            task: description.tasks.first().map(|task| task.name.clone()).unwrap_or_default(),
            description,
            parameters: Vec::new(),
            target: None,
            permissions: Permissions::default(),
            workers: 1,
            cancel: Cancel::new(),
            pipe_fails_after: None,
        })
    }

    /// What the component says of itself.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// The loaded component, for what the harness does not do.
    pub fn component(&self) -> &Component {
        &self.component
    }

    /// Chooses a task.
    #[must_use]
    pub fn task(mut self, name: &str) -> Self {
        name.clone_into(&mut self.task);
        self
    }

    /// Sets a parameter. Those not set have the defaults that the task describes.
    #[must_use]
    pub fn parameter(mut self, name: &str, value: &str) -> Self {
        self.parameters.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Grants a database at this address, without TLS, as the `AppBinding` `demo/test`.
    #[must_use]
    pub fn target(self, address: SocketAddr, username: &str, password: &str) -> Self {
        self.custom_target(Target {
            kind: "AppBinding".to_owned(),
            name: "test".to_owned(),
            namespace: "demo".to_owned(),
            version: None,
            endpoint: Endpoint { host: address.ip().to_string(), port: address.port() },
            path: String::new(),
            query: Vec::new(),
            credentials: Credentials { username: Some(username.to_owned()), password: Some(password.into()) },
            tls: Tls { mode: TlsMode::Disabled, ..Tls::default() },
        })
    }

    /// Grants this database.
    #[must_use]
    pub fn custom_target(mut self, target: Target) -> Self {
        self.target = Some(target);
        self.permissions.target = true;
        self
    }

    /// Sets what is granted, after `target`, which grants the use of it.
    #[must_use]
    pub fn permissions(mut self, permissions: Permissions) -> Self {
        self.permissions = permissions;
        self
    }

    /// Sets how many sandboxes work side by side. The harness lets them take turns.
    #[must_use]
    pub fn workers(mut self, count: u32) -> Self {
        self.workers = count.max(1);
        self
    }

    /// Lets the test end the run from outside.
    #[must_use]
    pub fn cancel(mut self, cancel: Cancel) -> Self {
        self.cancel = cancel;
        self
    }

    /// Lets each stream fail, as a repository would, once more than this many bytes went through it.
    #[must_use]
    pub fn pipe_fails_after(mut self, bytes: u64) -> Self {
        self.pipe_fails_after = Some(bytes);
        self
    }

    /// Runs a backup from `open` to `close`. Streams that the addon did not finish are an error here, as everywhere.
    pub fn backup(&self) -> Result<Dump, Box<Failure>> {
        let heard = Arc::new(Heard::default());
        let (logs, notes) = (|| heard.logs(), || heard.notes());
        match self.try_backup(&heard) {
            Ok((streams, facts)) => Ok(Dump { streams, facts, logs: logs(), notes: notes() }),
            Err(error) => Err(Box::new(Failure { error, logs: logs(), notes: notes() })),
        }
    }

    /// Restores these streams, with the facts of the whole backup, from `open` to `close`.
    pub fn restore(&self, streams: &[Stream], facts: &[Fact]) -> Result<Restored, Box<Failure>> {
        let heard = Arc::new(Heard::default());
        let (logs, notes) = (|| heard.logs(), || heard.notes());
        match self.try_restore(streams, facts, &heard) {
            Ok(items) => Ok(Restored { items, logs: logs(), notes: notes() }),
            Err(error) => Err(Box::new(Failure { error, logs: logs(), notes: notes() })),
        }
    }

    fn try_backup(&self, heard: &Arc<Heard>) -> Result<(Vec<Stream>, Vec<Fact>), SandboxError> {
        let mut sessions = self.sessions(heard, Component::backup)?;
        self.share_view(&mut sessions)?;
        let mut plan = first(&mut sessions, &self.description.name)?.plan()?;
        plan.items.sort_by(|a, b| a.path.cmp(&b.path));
        let mut streams = Vec::with_capacity(plan.items.len());
        let count = sessions.len();
        for (number, item) in plan.items.iter().enumerate() {
            let Some(session) = sessions.get_mut(number % count) else { continue };
            let (sink, written) = MemorySink::new(self.pipe_fails_after);
            let facts = session.run(item, Box::new(sink))?;
            let mut written = written.lock().unwrap_or_else(PoisonError::into_inner);
            if !written.finished {
                return Err(broken(&self.description.name, "the sandbox let a stream pass that was not finished"));
            }
            streams.push(Stream { path: item.path.clone(), bytes: std::mem::take(&mut written.bytes), facts });
        }
        sessions.into_iter().try_for_each(BackupSession::close)?;
        Ok((streams, plan.facts))
    }

    /// Prepares, joins and releases until all sessions read the same state.
    fn share_view(&self, sessions: &mut [BackupSession]) -> Result<(), SandboxError> {
        let Some((leader, others)) = sessions.split_first_mut() else { return Ok(()) };
        let mut view = leader.prepare()?;
        for _ in 0..MAX_VIEWS {
            others.iter_mut().try_for_each(|session| session.join(&view))?;
            match leader.release()? {
                None => return Ok(()),
                Some(next) => view = next,
            }
        }
        Err(broken(&self.description.name, "`release` asked for another view too often"))
    }

    fn try_restore(
        &self,
        streams: &[Stream],
        facts: &[Fact],
        heard: &Arc<Heard>,
    ) -> Result<Vec<(String, String, Vec<Fact>)>, SandboxError> {
        let mut sessions = self.sessions(heard, Component::restore)?;
        let outcome = self.run_stages(&mut sessions, streams, facts);
        // Closed after an error, too; the error that came first is the one to tell.
        let closed = sessions.into_iter().map(RestoreSession::close).collect::<Vec<_>>();
        let items = outcome?;
        closed.into_iter().collect::<Result<(), _>>()?;
        Ok(items)
    }

    fn run_stages(
        &self,
        sessions: &mut [RestoreSession],
        streams: &[Stream],
        facts: &[Fact],
    ) -> Result<Vec<(String, String, Vec<Fact>)>, SandboxError> {
        let entries: Vec<Entry> = streams
            .iter()
            .map(|stream| Entry {
                path: stream.path.clone(),
                size: Some(stream.bytes.len() as u64),
                facts: stream.facts.clone(),
            })
            .collect();
        let mut done = Vec::new();
        let count = sessions.len();
        for stage in first(sessions, &self.description.name)?.plan(&entries, facts)? {
            for (number, item) in stage.items.iter().enumerate() {
                let stream = streams.iter().find(|stream| stream.path == item.path);
                let (Some(session), Some(stream)) = (sessions.get_mut(number % count), stream) else { continue };
                let source = MemorySource::new(stream.bytes.clone(), self.pipe_fails_after);
                let facts = session.run(item, Box::new(source))?;
                done.push((stage.name.clone(), item.path.clone(), facts));
            }
        }
        first(sessions, &self.description.name)?.finish()?;
        Ok(done)
    }

    fn sessions<S>(
        &self,
        heard: &Arc<Heard>,
        open: impl Fn(&Component, SessionOptions) -> Result<S, SandboxError>,
    ) -> Result<Vec<S>, SandboxError> {
        let target = self.target.clone().map(Arc::new);
        let options = |index| SessionOptions {
            addon: self.description.name.clone(),
            permissions: self.permissions.clone(),
            target: target.clone(),
            task: self.task.clone(),
            parameters: self.all_parameters(),
            worker: (index, self.workers),
            events: heard.clone(),
            cancel: self.cancel.clone(),
        };
        (0..self.workers).map(|index| open(&self.component, options(index))).collect()
    }

    /// Those that were set, and the defaults of the others.
    fn all_parameters(&self) -> Vec<(String, String)> {
        let mut parameters = self.parameters.clone();
        let task = self.description.tasks.iter().find(|task| task.name == self.task);
        for parameter in task.iter().flat_map(|task| &task.parameters) {
            if let Some(default) = &parameter.default
                && !self.parameters.iter().any(|(name, _)| *name == parameter.name)
            {
                parameters.push((parameter.name.clone(), default.clone()));
            }
        }
        parameters
    }
}

/// The leader. There always is one.
fn first<'a, S>(sessions: &'a mut [S], addon: &str) -> Result<&'a mut S, SandboxError> {
    sessions.first_mut().ok_or_else(|| broken(addon, "there is no session"))
}

fn broken(addon: &str, reason: &str) -> SandboxError {
    SandboxError::Options { addon: addon.to_owned(), reason: reason.to_owned() }
}
