//! One OpenDAL operator from a BackupStorage.
//!
//! [`Storage::open`] takes the settings of a BackupStorage with the content of its Secret and gives a [`Storage`]: an operator
//! rooted at the storage's prefix, with retries, timeouts and a limit on connections, and a location for messages that shows
//! no credential. [`Storage::subdirectory`] narrows it to one repository. The YAML files that KubeStash keeps beside the
//! repositories are read and written by [`metadata`].
//!
//! # Endpoints that a BackupStorage cannot name
//! See [`Environment`]: `STORAGE_EMULATOR_HOST`, `AZURE_STORAGE_CONNECTION_STRING`, `AZURE_ENDPOINT_SUFFIX`.

mod environment;
mod error;
mod layers;
pub mod metadata;
mod path;
mod provider;
mod redact;
mod runtime;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use coffer_api::cancel::Cancel;
use coffer_api::plan::StorageConfig;
use coffer_api::storage::Provider;
use opendal::layers::{ConcurrentLimitLayer, RetryEvent, RetryLayer, TimeoutLayer};
use opendal::{Operator, services};

pub use environment::Environment;
pub use error::{StorageError, StorageErrorKind};
pub use path::join;
pub use provider::local::LocalRoot;
pub use redact::redact;

use layers::{StopLayer, SubdirectoryLayer};

/// How long a request without data (stat, delete, a page of a list) may take before it is retried.
const TIMEOUT: Duration = Duration::from_mins(1);
/// How long one read or write may take before it is retried: a pack of 32 MiB over a slow line is one request.
const IO_TIMEOUT: Duration = Duration::from_mins(5);
/// Retries of one request, with pauses of 1, 2, 4, 8 and 16 seconds, plus jitter.
const RETRIES: usize = 5;
/// Connections when the BackupStorage does not say.
const DEFAULT_CONNECTIONS: usize = 4;
/// More connections than this only move the queue to the other side.
const MAX_CONNECTIONS: usize = 256;
/// For limits that are not wanted.
const UNLIMITED: usize = 1 << 20;

/// A storage, or a directory of one. Clones share connections and limits.
#[derive(Clone)]
pub struct Storage {
    operator: Operator,
    location: Arc<str>,
    /// Like `location`, and with what that leaves out where two places have one name.
    place: Arc<str>,
    /// Whether it is a directory of this machine.
    directory: bool,
    connections: usize,
}

impl fmt::Debug for Storage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Storage").field(&self.location).finish()
    }
}

impl Storage {
    /// Opens a storage with the overrides of this process's environment. Makes no request, creates nothing.
    pub fn open(config: &StorageConfig, local: LocalRoot) -> Result<Self, StorageError> {
        Self::open_in(config, local, &Environment::of_process())
    }

    /// Opens a storage with the given overrides.
    pub fn open_in(config: &StorageConfig, local: LocalRoot, environment: &Environment) -> Result<Self, StorageError> {
        let name = format!("{}/{}", config.namespace, config.name);
        let invalid = |problem: String| StorageError::configuration(&name, problem);
        let provider = config.spec.provider().map_err(|error| invalid(error.to_string()))?;
        let directory = matches!(provider, Provider::Local(_));
        let account = if let Provider::Azure(spec) = &provider { spec.storage_account.clone() } else { None };
        let opened = match provider {
            Provider::S3(spec) => provider::s3::open(config, spec, environment),
            Provider::Gcs(spec) => provider::gcs::open(config, spec, environment),
            Provider::Azure(spec) => provider::azure::open(config, spec, environment),
            Provider::Local(spec) => provider::local::open(spec, local),
        };
        let opened = opened.map_err(invalid)?;
        let connections = match opened.max_connections {
            None | Some(0) => DEFAULT_CONNECTIONS,
            Some(number) => usize::try_from(number)
                .map_err(|_| invalid(format!("maxConnections is {number}; set it to 1 or more, or leave it out")))?
                .min(MAX_CONNECTIONS),
        };
        // The limit counts requests on the wire, not operations: a list that deletes as it goes needs two operations at once.
        let limit = ConcurrentLimitLayer::new(UNLIMITED).with_http_concurrent_limit(connections);
        let timeout = TimeoutLayer::new().with_timeout(TIMEOUT).with_io_timeout(IO_TIMEOUT);
        let place = place(&opened.location, account.as_deref());
        let location: Arc<str> = opened.location.into();
        let retry = {
            let location = Arc::clone(&location);
            let notify = move |event: RetryEvent<'_>| report_retry(&location, &event);
            RetryLayer::new().with_max_times(RETRIES).with_jitter().with_notify(notify)
        };
        // Retries outermost: each attempt gets the whole time.
        let operator = opened.operator.layer(limit).layer(timeout).layer(retry);
        Ok(Self { operator, location, place, directory, connections })
    }

    /// An empty storage in memory.
    ///
    /// # Panics
    /// Never: the memory service has no setting that could be wrong.
    pub fn memory() -> Self {
        #[expect(clippy::expect_used, reason = "the memory service has no setting that could be wrong")]
        let operator = Operator::new(services::Memory::default()).expect("memory needs nothing");
        Self::from_operator(operator, "memory")
    }

    /// A storage over an operator made elsewhere, with that operator's layers and no others. `location` must show no
    /// credential.
    pub fn from_operator(operator: Operator, location: impl Into<String>) -> Self {
        let location: Arc<str> = location.into().into();
        Self { operator, place: Arc::clone(&location), location, directory: false, connections: DEFAULT_CONNECTIONS }
    }

    /// The same storage with a further layer around it.
    #[must_use]
    pub fn layer(self, layer: impl opendal::raw::Layer) -> Self {
        Self { operator: self.operator.layer(layer), ..self }
    }

    /// The same storage, but every operation fails once `cancel` is given, except those on lock files. For work that has
    /// no cancellation of its own: it ends with an error, and still takes its locks along.
    #[must_use]
    pub fn stop_on(self, cancel: &Cancel) -> Self {
        self.layer(StopLayer::new(cancel.clone()))
    }

    /// A directory of this storage as a storage of its own. An empty `path` is this storage.
    #[must_use]
    pub fn subdirectory(&self, path: &str) -> Self {
        let path = join(&[path]);
        if path.is_empty() {
            return self.clone();
        }
        Self {
            operator: self.operator.clone().layer(SubdirectoryLayer::new(&path)),
            location: below(&self.location, &path),
            place: below(&self.place, &path),
            directory: self.directory,
            connections: self.connections,
        }
    }

    /// Whether the other one is at the same place, as far as their names say: one bucket may have two.
    pub fn is_same_place(&self, other: &Self) -> bool {
        self.place == other.place
    }

    /// The operator, rooted here.
    pub fn operator(&self) -> &Operator {
        &self.operator
    }

    /// Removes the files of writes that ended in the middle, as when the process was killed, and that nobody touched for `age`. Returns how many.
    /// Only directories have such files; nobody takes them for anything else.
    pub async fn remove_unfinished(&self, age: Duration) -> opendal::Result<usize> {
        if !self.directory {
            return Ok(0);
        }
        let mut removed = 0;
        for entry in self.operator.list_with("/").recursive(true).await? {
            if !layers::is_temporary(entry.name()) {
                continue;
            }
            let modified = match self.operator.stat(entry.path()).await {
                Ok(metadata) => metadata.last_modified().map(SystemTime::from),
                Err(error) if error.kind() == opendal::ErrorKind::NotFound => None,
                Err(error) => return Err(error),
            };
            if modified.and_then(|modified| modified.elapsed().ok()).is_some_and(|found| found >= age) {
                self.operator.delete(entry.path()).await?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// The process-wide runtime that drives requests. Its `block_on` is for ordinary threads only.
    pub fn runtime() -> &'static tokio::runtime::Handle {
        runtime::runtime()
    }

    /// Where this is, for messages: restic's name for it, or the path of a directory. Shows no credential.
    pub fn location(&self) -> &str {
        &self.location
    }

    /// How many requests to have in flight: `maxConnections` of the BackupStorage, or 4.
    pub fn connections(&self) -> usize {
        self.connections
    }

    /// Describes an error of [`Storage::operator`]. `action` is a verb with its object, such as `read config`.
    pub fn error(&self, action: &str, error: &opendal::Error) -> StorageError {
        StorageError::from_opendal(&self.location, action, error)
    }
}

/// A location, told apart from those of the same name: containers of two accounts, and the links to a directory.
fn place(location: &str, account: Option<&str>) -> Arc<str> {
    match account {
        Some(account) => format!("{account} {}", location.trim_end_matches('/')).into(),
        None => {
            std::fs::canonicalize(location).map_or_else(|_| location.into(), |path| path.display().to_string()).into()
        }
    }
}

fn below(location: &str, path: &str) -> Arc<str> {
    format!("{}/{path}", location.trim_end_matches('/')).into()
}

/// A line for the log. OpenDAL's own would show whole URLs.
fn report_retry(location: &str, event: &RetryEvent<'_>) {
    let reason = StorageError::from_opendal(location, event.op.into_static(), event.err);
    tracing::warn!(attempt = event.attempt, pause = ?event.retry_after, "a storage request failed, trying again: {reason}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::block_on;
    use coffer_api::storage::{AzureSpec, LocalSpec, S3Spec, StorageBackendSpec};

    fn local(directory: &str, connections: Option<i64>) -> StorageConfig {
        let spec =
            LocalSpec { mount_path: Some(directory.into()), max_connections: connections, ..LocalSpec::default() };
        config(StorageBackendSpec {
            provider: Some("local".into()),
            local: Some(spec),
            ..StorageBackendSpec::default()
        })
    }

    fn config(spec: StorageBackendSpec) -> StorageConfig {
        StorageConfig {
            name: "storage".into(),
            namespace: "demo".into(),
            spec,
            secret: [("key", "hunter2")].into_iter().collect(),
        }
    }

    fn open(config: &StorageConfig) -> Result<Storage, StorageError> {
        Storage::open_in(config, LocalRoot::MountPath, &Environment::default())
    }

    #[test]
    fn a_local_storage_works_through_all_its_layers() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().to_str().unwrap();
        let storage = open(&local(path, Some(1))).unwrap();
        assert_eq!((storage.location(), storage.connections()), (path, 1));
        let repository = storage.subdirectory("/demo//repository/v1/");
        assert_eq!(repository.location(), format!("{path}/demo/repository/v1"));
        block_on(async {
            repository.operator().write("config", "x").await.unwrap();
            assert!(storage.operator().exists("demo/repository/v1/config").await.unwrap());
            storage.operator().delete_with("demo/").recursive(true).await.unwrap();
            assert!(!repository.operator().exists("config").await.unwrap());
        });
    }

    #[test]
    fn unusable_settings_name_the_storage_and_show_no_secret() {
        let no_provider = config(StorageBackendSpec::default());
        let no_settings = config(StorageBackendSpec { provider: Some("s3".into()), ..StorageBackendSpec::default() });
        let no_bucket = config(StorageBackendSpec {
            provider: Some("s3".into()),
            s3: Some(S3Spec::default()),
            ..StorageBackendSpec::default()
        });
        let bad_limit = local("/tmp", Some(-1));
        for config in [&no_provider, &no_settings, &no_bucket, &bad_limit] {
            let error = open(config).unwrap_err();
            assert_eq!(error.kind(), StorageErrorKind::Configuration);
            let message = error.to_string();
            assert!(message.starts_with("BackupStorage demo/storage: ") && !message.contains("hunter2"), "{message}");
        }
    }

    #[test]
    fn what_a_killed_process_left_is_removed() {
        let root = tempfile::tempdir().unwrap();
        let storage = open(&local(root.path().to_str().unwrap(), None)).unwrap();
        let repository = storage.subdirectory("repository");
        block_on(repository.operator().write("data/ab/abcd", "x")).unwrap();
        let left = root.path().join("repository/data/ab/.abcd.tmp-1-2");
        std::fs::write(&left, "half").unwrap();
        let hour = Duration::from_hours(1);
        assert_eq!(block_on(repository.remove_unfinished(hour)).unwrap(), 0, "somebody may still write it");
        let file = std::fs::File::options().write(true).open(&left).unwrap();
        file.set_modified(SystemTime::now() - 2 * hour).unwrap();
        assert_eq!(block_on(repository.remove_unfinished(hour)).unwrap(), 1);
        assert!(!left.exists() && root.path().join("repository/data/ab/abcd").exists());
        assert_eq!(block_on(storage.subdirectory("missing").remove_unfinished(hour)).unwrap(), 0);
        assert_eq!(block_on(Storage::memory().remove_unfinished(Duration::ZERO)).unwrap(), 0);
    }

    #[test]
    fn one_place_has_many_names() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("store")).unwrap();
        std::os::unix::fs::symlink("store", root.path().join("link")).unwrap();
        let at = |name: &str| open(&local(root.path().join(name).to_str().unwrap(), None)).unwrap();
        let (store, link) = (at("store"), at("link"));
        assert!(store.is_same_place(&link));
        assert!(store.subdirectory("a/b").is_same_place(&link.subdirectory("/a").subdirectory("b/")));
        assert!(!store.subdirectory("a").is_same_place(&store.subdirectory("b")));
        let azure = |account: &str, prefix: &str| {
            let spec = AzureSpec {
                storage_account: Some(account.into()),
                container: Some("backups".into()),
                prefix: Some(prefix.into()),
                ..AzureSpec::default()
            };
            let spec = StorageBackendSpec {
                provider: Some("azure".into()),
                azure: Some(spec),
                ..StorageBackendSpec::default()
            };
            open(&StorageConfig { secret: [("AZURE_ACCOUNT_KEY", "aGk=")].into_iter().collect(), ..config(spec) })
                .unwrap()
        };
        assert!(azure("one", "a").subdirectory("b").is_same_place(&azure("one", "").subdirectory("a/b")));
        assert!(!azure("one", "a").is_same_place(&azure("two", "a")), "two accounts");
    }

    #[test]
    fn a_directory_in_memory_is_separate_from_its_neighbours() {
        let storage = Storage::memory();
        let (one, two) = (storage.subdirectory("one"), storage.subdirectory("two"));
        block_on(one.operator().write("x", "1")).unwrap();
        assert!(!block_on(two.operator().exists("x")).unwrap());
        assert_eq!(one.location(), "memory/one");
        assert_eq!(storage.subdirectory("//").location(), "memory");
    }
}
