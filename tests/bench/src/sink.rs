//! The addon's dump into nothing, inside the sandbox and natively: the same code, so the difference is what the sandbox costs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};
use coffer_addon_mysql::{MySql, MySqlBackup};
use coffer_addon_sdk::native::{FunctionSink, NativeRun, tcp_target};
use coffer_addon_sdk::{Addon as _, Backup as _, Item};
use coffer_api::cancel::Cancel;
use coffer_api::plan::{Credentials, Endpoint, Permissions, Target, Tls, TlsMode};
use coffer_sandbox::contract::{AddonError, ByteSink, NoEvents};
use coffer_sandbox::{BackupSession, Engine, SessionOptions};
use coffer_test_support::mysql::PASSWORD;

const TASK: &str = "logical-backup";
/// Rounds of looking for a view; nobody writes while it is measured.
const VIEWS: usize = 100;

/// Where the addon runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Home {
    /// In the sandbox.
    Sandbox,
    /// As native code.
    Native,
}

/// One dump.
#[derive(Debug, Clone, Args)]
pub(crate) struct Dump {
    #[arg(long)]
    pub(crate) home: Home,
    #[arg(long)]
    pub(crate) port: u16,
    #[arg(long)]
    pub(crate) databases: String,
    /// Where the compiled component is kept.
    #[arg(long)]
    pub(crate) cache: PathBuf,
    #[arg(long, default_value_t = 4)]
    pub(crate) workers: u32,
    /// Only in the sandbox: TLS is the host's business.
    #[arg(long)]
    pub(crate) tls: bool,
}

/// One session of the addon, wherever it runs.
trait Session: Send {
    fn prepare(&mut self) -> Result<String>;
    fn join(&mut self, view: &str) -> Result<()>;
    fn release(&mut self) -> Result<Option<String>>;
    /// Path and token of every item.
    fn plan(&mut self) -> Result<Vec<(String, String)>>;
    /// Runs an item and returns how many bytes came out.
    fn run(&mut self, path: &str, token: &str) -> Result<u64>;
    fn close(self) -> Result<()>;
}

/// Dumps everything and returns the number of bytes.
pub(crate) fn dump(options: &Dump) -> Result<u64> {
    match options.home {
        Home::Native => {
            if options.tls {
                bail!("natively there is no TLS: the host does it");
            }
            let open = |index| {
                let run = NativeRun::new(TASK).worker(index, options.workers);
                let run = parameters(options).into_iter().fold(run, |run, (name, value)| run.parameter(name, value));
                let target = tcp_target(("127.0.0.1", options.port), "root", PASSWORD);
                Ok(Native(MySqlBackup::open(run.context(), target)?))
            };
            drive(options.workers, open)
        }
        Home::Sandbox => {
            let component = coffer_addons_builtin::builtin("mysql").context("there is no builtin addon named mysql")?;
            let component = Engine::new(Some(options.cache.clone()))?.load(component, "builtin:mysql")?;
            let target = Arc::new(target(options));
            let open = |index| {
                let session = component.backup(SessionOptions {
                    addon: "mysql".to_owned(),
                    permissions: Permissions { target: true, ..Permissions::default() },
                    target: Some(Arc::clone(&target)),
                    task: TASK.to_owned(),
                    parameters: parameters(options).into_iter().collect(),
                    worker: (index, options.workers),
                    events: Arc::new(NoEvents),
                    cancel: Cancel::new(),
                })?;
                Ok(Sandboxed(session))
            };
            drive(options.workers, open)
        }
    }
}

/// The parameters with their defaults, which the executor would fill in.
fn parameters(options: &Dump) -> BTreeMap<String, String> {
    let tasks = MySql::describe().tasks.into_iter().filter(|task| task.name == TASK);
    let described = tasks.flat_map(|task| task.parameters);
    let defaults = described.filter_map(|parameter| Some((parameter.name.clone(), parameter.default?)));
    let given = [("databases", options.databases.clone()), ("workers", options.workers.to_string())];
    defaults.chain(given.map(|(name, value)| (name.to_owned(), value))).collect()
}

fn target(options: &Dump) -> Target {
    let mode = if options.tls { TlsMode::Required } else { TlsMode::Disabled };
    Target {
        kind: "AppBinding".to_owned(),
        name: "bench".to_owned(),
        namespace: "demo".to_owned(),
        version: None,
        endpoint: Endpoint { host: "127.0.0.1".to_owned(), port: options.port },
        path: String::new(),
        query: Vec::new(),
        credentials: Credentials { username: Some("root".to_owned()), password: Some(PASSWORD.into()) },
        tls: Tls { mode, ..Tls::default() },
    }
}

/// Opens the sessions, agrees on a view, and shares the items out, as the executor does.
fn drive<S: Session>(workers: u32, open: impl Fn(u32) -> Result<S>) -> Result<u64> {
    let mut sessions = (0..workers).map(open).collect::<Result<Vec<S>>>()?;
    let (leader, others) = sessions.split_first_mut().context("a dump needs a worker")?;
    let mut view = leader.prepare()?;
    for round in 0.. {
        others.iter_mut().try_for_each(|session| session.join(&view))?;
        match leader.release()? {
            None => break,
            Some(_) if round == VIEWS => bail!("the sessions found no common view"),
            Some(next) => view = next,
        }
    }
    let items = leader.plan()?;
    let (next, bytes, failure) = (AtomicUsize::new(0), AtomicU64::new(0), Mutex::new(None));
    thread::scope(|scope| {
        for session in &mut sessions {
            let (items, next, bytes, failure) = (&items, &next, &bytes, &failure);
            scope.spawn(move || {
                while let Some((path, token)) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    match session.run(path, token) {
                        Ok(count) => {
                            bytes.fetch_add(count, Ordering::Relaxed);
                        }
                        Err(error) => {
                            *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                            next.store(usize::MAX / 2, Ordering::Relaxed);
                        }
                    }
                }
            });
        }
    });
    if let Some(error) = failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    sessions.into_iter().try_for_each(Session::close)?;
    Ok(bytes.into_inner())
}

struct Native(MySqlBackup);

impl Session for Native {
    fn prepare(&mut self) -> Result<String> {
        Ok(self.0.prepare()?)
    }

    fn join(&mut self, view: &str) -> Result<()> {
        Ok(self.0.join(view)?)
    }

    fn release(&mut self) -> Result<Option<String>> {
        Ok(self.0.release()?)
    }

    fn plan(&mut self) -> Result<Vec<(String, String)>> {
        Ok(self.0.plan()?.items.into_iter().map(|item| (item.path, item.token)).collect())
    }

    fn run(&mut self, path: &str, token: &str) -> Result<u64> {
        let item = Item { path: path.to_owned(), estimate: None, token: token.to_owned() };
        let writer = FunctionSink(|bytes: &[u8]| {
            std::hint::black_box(bytes);
            Ok(())
        });
        Ok(self.0.run(&item, writer.writer())?.0.bytes())
    }

    fn close(mut self) -> Result<()> {
        Ok(self.0.close()?)
    }
}

struct Sandboxed(BackupSession);

impl Session for Sandboxed {
    fn prepare(&mut self) -> Result<String> {
        Ok(self.0.prepare()?)
    }

    fn join(&mut self, view: &str) -> Result<()> {
        Ok(self.0.join(view)?)
    }

    fn release(&mut self) -> Result<Option<String>> {
        Ok(self.0.release()?)
    }

    fn plan(&mut self) -> Result<Vec<(String, String)>> {
        Ok(self.0.plan()?.items.into_iter().map(|item| (item.path, item.token)).collect())
    }

    fn run(&mut self, path: &str, token: &str) -> Result<u64> {
        let item = coffer_sandbox::contract::Item { path: path.to_owned(), estimate: None, token: token.to_owned() };
        let bytes = Arc::default();
        self.0.run(&item, Box::new(Nothing(Arc::clone(&bytes))))?;
        Ok(bytes.load(Ordering::Relaxed))
    }

    fn close(self) -> Result<()> {
        Ok(self.0.close()?)
    }
}

/// Counts bytes and drops them.
struct Nothing(Arc<AtomicU64>);

impl ByteSink for Nothing {
    fn write(&mut self, bytes: Vec<u8>) -> Result<(), AddonError> {
        self.0.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        drop(std::hint::black_box(bytes));
        Ok(())
    }

    fn finish(&mut self, _bytes: u64) -> Result<(), AddonError> {
        Ok(())
    }
}
