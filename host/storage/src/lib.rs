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
use std::time::Duration;

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
        let opened = match config.spec.provider().map_err(|error| invalid(error.to_string()))? {
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
        let location: Arc<str> = opened.location.into();
        let retry = {
            let location = Arc::clone(&location);
            let notify = move |event: RetryEvent<'_>| report_retry(&location, &event);
            RetryLayer::new().with_max_times(RETRIES).with_jitter().with_notify(notify)
        };
        // Retries outermost: each attempt gets the whole time.
        let operator = opened.operator.layer(limit).layer(timeout).layer(retry);
        Ok(Self { operator, location, connections })
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
        Self { operator, location: location.into().into(), connections: DEFAULT_CONNECTIONS }
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
            location: format!("{}/{path}", self.location.trim_end_matches('/')).into(),
            connections: self.connections,
        }
    }

    /// The operator, rooted here.
    pub fn operator(&self) -> &Operator {
        &self.operator
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

/// A line for the log. OpenDAL's own would show whole URLs.
fn report_retry(location: &str, event: &RetryEvent<'_>) {
    let reason = StorageError::from_opendal(location, event.op.into_static(), event.err);
    tracing::warn!(attempt = event.attempt, pause = ?event.retry_after, "a storage request failed, trying again: {reason}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::block_on;
    use coffer_api::storage::{LocalSpec, S3Spec, StorageBackendSpec};

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
    fn a_directory_in_memory_is_separate_from_its_neighbours() {
        let storage = Storage::memory();
        let (one, two) = (storage.subdirectory("one"), storage.subdirectory("two"));
        block_on(one.operator().write("x", "1")).unwrap();
        assert!(!block_on(two.operator().exists("x")).unwrap());
        assert_eq!(one.location(), "memory/one");
        assert_eq!(storage.subdirectory("//").location(), "memory");
    }
}
