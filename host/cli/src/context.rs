//! What commands work with: the manifests, the repositories, the engine for addons.

use std::path::PathBuf;
use std::sync::Arc;

use coffer_api::cancel::Cancel;
use coffer_api::plan::{ComponentRef, Destination};
use coffer_executor::Events;
use coffer_repository::Repository;
use coffer_resolve::{Directory, RepositorySelection};
use coffer_sandbox::{Component, Engine, SandboxError};
use coffer_storage::{LocalRoot, Storage};

use crate::args::{Global, Local, Which};
use crate::exit::Failure;
use crate::output::Output;
use crate::signals;

/// What every command gets.
pub(crate) struct App {
    pub(crate) global: Global,
    pub(crate) output: Output,
    pub(crate) cancel: Cancel,
}

impl App {
    /// What a command gets that runs in this process: SIGINT and SIGTERM cancel it.
    pub(crate) fn new(global: Global) -> Self {
        let output = Output::new(global.json, global.quiet);
        let cancel = Cancel::new();
        if let Err(error) = signals::watch(cancel.clone()) {
            output.warning(&format!("cannot listen for signals, an interruption will not be clean: {error}"));
        }
        Self { global, output, cancel }
    }

    /// Reads the manifests of `-f`.
    pub(crate) fn manifests(&self) -> Result<Directory, Failure> {
        if self.global.filename.is_empty() {
            return Err(Failure::Usage(
                "no manifests: name a directory of manifests, or a file, with -f (for example: -f manifests/)"
                    .to_owned(),
            ));
        }
        Ok(Directory::read_all(&self.global.filename)?)
    }

    /// The engine for addons, with the cache of compiled ones.
    pub(crate) fn engine(&self) -> Result<Engine, Failure> {
        if self.global.no_cache || self.global.cache_dir.is_some() {
            return Ok(Engine::new(self.global.cache_dir.clone())?);
        }
        match Engine::new(cache_of_user()) {
            // Nobody asked for the cache.
            Err(error @ SandboxError::Cache { .. }) => {
                tracing::warn!("addons are compiled every time: {error}");
                Ok(Engine::new(None)?)
            }
            engine => Ok(engine?),
        }
    }

    /// What the executor works with.
    pub(crate) fn run_context(&self, engine: Engine, events: Arc<dyn Events>) -> coffer_executor::Context {
        coffer_executor::Context {
            engine,
            builtins: coffer_addons_builtin::builtin,
            local: self.local(),
            events,
            cancel: self.cancel.clone(),
        }
    }

    pub(crate) fn local(&self) -> LocalRoot {
        match self.global.local_root {
            Local::HostPath => LocalRoot::HostPath,
            Local::MountPath => LocalRoot::MountPath,
        }
    }

    /// All restic repositories that match, at least one.
    pub(crate) fn places(&self, which: &Which) -> Result<Vec<Place>, Failure> {
        let manifests = self.manifests()?;
        let selection = RepositorySelection {
            namespace: self.global.namespace.clone(),
            repository: which.repository.clone(),
            session: which.session.clone(),
            component: which.component.clone(),
        };
        let destinations = coffer_resolve::repositories(&manifests, &selection)?;
        Ok(destinations.into_iter().map(Place::new).collect())
    }

    /// The one restic repository that matches.
    pub(crate) fn place(&self, which: &Which) -> Result<Place, Failure> {
        let mut places = self.places(which)?;
        match (places.pop(), places.is_empty()) {
            (Some(only), true) => Ok(only),
            (last, _) => {
                let names = places.iter().chain(&last).map(|place| format!("\n  {}", place.flags()));
                Err(Failure::Usage(format!(
                    "several repositories match, and this is for one; choose it with one of:{}",
                    names.collect::<String>()
                )))
            }
        }
    }

    /// Opens a repository.
    pub(crate) fn open(&self, place: &Place) -> Result<Repository, Failure> {
        let destination = &place.destination;
        let storage = Storage::open(&destination.storage, self.local())
            .map_err(|error| Failure::Storage(place.label(), error))?
            .subdirectory(&destination.path)
            .stop_on(&self.cancel);
        Repository::open(&storage, &destination.password).map_err(|error| place.failed(error))
    }
}

/// Where compiled addons are kept unless the command line says otherwise.
fn cache_of_user() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")))?;
    Some(cache.join("coffer").join("components"))
}

/// Loads a component.
pub(crate) fn load(engine: &Engine, reference: &ComponentRef) -> Result<Component, Failure> {
    let name = reference.to_string();
    match reference {
        ComponentRef::Builtin(builtin) => {
            let bytes = coffer_addons_builtin::builtin(builtin).ok_or_else(|| {
                let known: Vec<_> = coffer_addons_builtin::names().collect();
                Failure::Other(format!(
                    "there is no built-in addon {builtin:?}; there are: {}; a file is written file:///path/to/component.wasm",
                    known.join(", ")
                ))
            })?;
            Ok(engine.load(bytes, &name)?)
        }
        ComponentRef::File(path) => {
            let bytes = coffer_sandbox::read_component(path)
                .map_err(|error| Failure::File(format!("cannot read {}", path.display()), error))?;
            Ok(engine.load(&bytes, &name)?)
        }
    }
}

/// One restic repository that the manifests name.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) destination: Destination,
    /// The session that writes it.
    pub(crate) session: String,
    /// Its snapshot component.
    pub(crate) component: String,
}

impl Place {
    pub(crate) fn new(destination: Destination) -> Self {
        let mut parts = destination.path.rsplit('/');
        let component = parts.next().unwrap_or_default().to_owned();
        let session = parts.next().unwrap_or_default().to_owned();
        Self { destination, session, component }
    }

    /// What messages call it.
    pub(crate) fn label(&self) -> String {
        let Destination { namespace, repository, .. } = &self.destination;
        format!("repository {namespace}/{repository} ({}/{})", self.session, self.component)
    }

    /// The options that select it.
    fn flags(&self) -> String {
        let Destination { namespace, repository, .. } = &self.destination;
        format!(
            "--namespace {namespace} --repository {repository} --session {} --component {}",
            self.session, self.component
        )
    }

    /// A failure of this repository.
    pub(crate) fn failed(&self, error: coffer_repository::RepositoryError) -> Failure {
        Failure::Repository(self.label(), Box::new(error))
    }

    /// `object` with the fields that say where it is from.
    pub(crate) fn tag(&self, message_type: &str, mut object: serde_json::Value) -> serde_json::Value {
        if let Some(fields) = object.as_object_mut() {
            let mut set = |key: &str, value: &str| fields.insert(key.to_owned(), value.into());
            set("message_type", message_type);
            set("namespace", &self.destination.namespace);
            set("repository", &self.destination.repository);
            set("session", &self.session);
            set("component", &self.component);
        }
        object
    }
}
