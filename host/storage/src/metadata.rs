//! The YAML files that KubeStash keeps beside the repositories, so that a new cluster can find them again.
//!
//! ```text
//! metadata.yaml                              the index of a storage
//! <directory>/repository.yaml                a Repository
//! <directory>/snapshots/<snapshot>.yaml      its Snapshots
//! ```
//!
//! Reading accepts what other versions wrote: unknown fields are ignored. All functions block, and must not be called from
//! the runtime's own threads.

use std::fs::{File, TryLockError};
use std::time::Duration;

use coffer_api::storage::{Repository, RepositoryInfo, Snapshot};
use jiff::Timestamp;
use opendal::ErrorKind;
use opendal::options::WriteOptions;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::runtime::block_on;
use crate::{Storage, StorageError, join};

const INDEX: &str = "metadata.yaml";
const REPOSITORY: &str = "repository.yaml";
const SNAPSHOTS: &str = "snapshots/";
const SUFFIX: &str = ".yaml";
const CONTENT_TYPE: &str = "application/yaml";

/// The index of a storage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendMeta {
    /// Always [`BackendMeta::API_VERSION`].
    pub api_version: String,
    /// Always [`BackendMeta::KIND`].
    pub kind: String,
    /// When the storage was first used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creation_timestamp: Option<Timestamp>,
    /// What wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator_version: Option<String>,
    /// The repositories in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repositories: Vec<RepositoryInfo>,
}

impl BackendMeta {
    /// The API version that the file states.
    pub const API_VERSION: &str = "config.kubestash.com/v1alpha1";
    /// The kind that the file states.
    pub const KIND: &str = "BackendMeta";

    /// The index of a storage that is used for the first time.
    pub fn new(created: Timestamp, version: impl Into<String>) -> Self {
        Self {
            api_version: Self::API_VERSION.to_owned(),
            kind: Self::KIND.to_owned(),
            creation_timestamp: Some(created),
            operator_version: Some(version.into()),
            repositories: Vec::new(),
        }
    }
}

/// Which `metadata.yaml` was read, so that nobody's newer one is overwritten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IndexVersion {
    /// There was none.
    Absent,
    /// The one with this entity tag.
    Tag(String),
    /// The storage does not tell one from another.
    Unknown,
}

/// How often a file that changes while it is read is read again.
const READS: usize = 5;
/// How often a lock that another holds is asked for, half a minute in all.
const LOCK_TRIES: usize = 600;
const LOCK_PAUSE: Duration = Duration::from_millis(50);

impl Storage {
    /// Reads `metadata.yaml` of the storage; `None` when nobody has used it yet.
    pub fn read_index(&self) -> Result<Option<BackendMeta>, StorageError> {
        self.read_yaml(INDEX)
    }

    /// The same, with what [`Storage::replace_index`] has to know of it.
    pub fn read_index_version(&self) -> Result<(Option<BackendMeta>, IndexVersion), StorageError> {
        let operator = self.operator();
        let capability = operator.info().capability();
        let failed = |error: &opendal::Error| self.error(&format!("read {INDEX}"), error);
        if capability.write_with_if_match && capability.read_with_if_match {
            for _ in 0..READS {
                let tag = match block_on(operator.stat(INDEX)) {
                    Ok(found) => found.etag().map(str::to_owned),
                    Err(error) if self.is_absent(&error) => return Ok((None, IndexVersion::Absent)),
                    Err(error) => return Err(failed(&error)),
                };
                let Some(tag) = tag else { break };
                match block_on(operator.read_with(INDEX).if_match(&tag).into_future()) {
                    Ok(bytes) => return Ok((Some(self.parse(INDEX, &bytes.to_vec())?), IndexVersion::Tag(tag))),
                    // It was replaced in between.
                    Err(error) if error.kind() == ErrorKind::ConditionNotMatch || self.is_absent(&error) => {}
                    Err(error) => return Err(failed(&error)),
                }
            }
        }
        let index = self.read_index()?;
        let version = if index.is_some() { IndexVersion::Unknown } else { IndexVersion::Absent };
        Ok((index, version))
    }

    /// Writes `metadata.yaml`, unless somebody has written it since it was read as `version`; whether it was written. A storage that cannot make
    /// sure of that writes it in any case: look again afterwards.
    pub fn replace_index(&self, index: &BackendMeta, version: &IndexVersion) -> Result<bool, StorageError> {
        let capability = self.operator().info().capability();
        let mut options = WriteOptions::default();
        match version {
            IndexVersion::Absent => options.if_not_exists = capability.write_with_if_not_exists,
            IndexVersion::Tag(tag) => options.if_match = Some(tag.clone()).filter(|_| capability.write_with_if_match),
            IndexVersion::Unknown => {}
        }
        let is_conditional = options.if_not_exists || options.if_match.is_some();
        let text = self.to_yaml(INDEX, index)?;
        match block_on(self.put(INDEX, &text, options)) {
            Ok(_) => Ok(true),
            Err(error) if is_conditional && error.kind() == ErrorKind::ConditionNotMatch => Ok(false),
            // Not everything that speaks S3 knows conditions.
            Err(error) if is_conditional && is_unknown(&error) => {
                self.write_index(index)?;
                Ok(true)
            }
            Err(error) => Err(self.error(&format!("write {INDEX}"), &error)),
        }
    }

    /// Keeps other programs that ask for it away from `metadata.yaml` until what is returned is dropped. Only a directory can be locked, and
    /// not each, and another may hold it for too long: `None` says that nothing is kept away.
    pub fn lock_index(&self) -> Option<File> {
        let folder = self.directory.then(|| File::open(self.operator().info().root()).ok()).flatten()?;
        for _ in 0..LOCK_TRIES {
            match folder.try_lock() {
                Ok(()) => return Some(folder),
                Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
                Err(TryLockError::Error(_)) => return None,
            }
        }
        None
    }

    /// Writes `metadata.yaml` of the storage.
    pub fn write_index(&self, index: &BackendMeta) -> Result<(), StorageError> {
        self.write_yaml(INDEX, index)
    }

    /// Reads the `repository.yaml` of a directory; `None` when there is none.
    pub fn read_repository(&self, directory: &str) -> Result<Option<Repository>, StorageError> {
        self.read_yaml(&join(&[directory, REPOSITORY]))
    }

    /// Writes the `repository.yaml` of a directory.
    pub fn write_repository(&self, directory: &str, repository: &Repository) -> Result<(), StorageError> {
        self.write_yaml(&join(&[directory, REPOSITORY]), repository)
    }

    /// Reads one Snapshot of a directory; `None` when there is none of that name.
    pub fn read_snapshot(&self, directory: &str, name: &str) -> Result<Option<Snapshot>, StorageError> {
        self.read_yaml(&snapshot_path(directory, name))
    }

    /// Writes one Snapshot of a directory.
    pub fn write_snapshot(&self, directory: &str, name: &str, snapshot: &Snapshot) -> Result<(), StorageError> {
        self.write_yaml(&snapshot_path(directory, name), snapshot)
    }

    /// Deletes one Snapshot of a directory, if it is there.
    pub fn delete_snapshot(&self, directory: &str, name: &str) -> Result<(), StorageError> {
        let path = snapshot_path(directory, name);
        block_on(self.operator().delete(&path)).map_err(|error| self.error(&format!("delete {path}"), &error))
    }

    /// The names of the Snapshots of a directory, sorted.
    pub fn snapshot_names(&self, directory: &str) -> Result<Vec<String>, StorageError> {
        let path = format!("{}/", join(&[directory, SNAPSHOTS]));
        let entries =
            block_on(self.operator().list(&path)).map_err(|error| self.error(&format!("list {path}"), &error))?;
        // Names of temporary files start with a dot.
        let names = entries.iter().filter_map(|entry| entry.name().strip_suffix(SUFFIX));
        let mut names: Vec<_> = names.filter(|name| !name.starts_with('.')).map(str::to_owned).collect();
        names.sort();
        Ok(names)
    }

    fn read_yaml<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>, StorageError> {
        let bytes = match block_on(self.operator().read(path)) {
            Ok(bytes) => bytes.to_vec(),
            Err(error) if self.is_absent(&error) => return Ok(None),
            Err(error) => return Err(self.error(&format!("read {path}"), &error)),
        };
        self.parse(path, &bytes).map(Some)
    }

    fn write_yaml<T: Serialize>(&self, path: &str, value: &T) -> Result<(), StorageError> {
        let text = self.to_yaml(path, value)?;
        let written = block_on(self.put(path, &text, WriteOptions::default()));
        written.map(drop).map_err(|error| self.error(&format!("write {path}"), &error))
    }

    fn parse<T: DeserializeOwned>(&self, path: &str, bytes: &[u8]) -> Result<T, StorageError> {
        serde_saphyr::from_slice(bytes)
            .map_err(|error| StorageError::corrupt(self.location(), path, &error.to_string()))
    }

    fn to_yaml<T: Serialize>(&self, path: &str, value: &T) -> Result<String, StorageError> {
        serde_saphyr::to_string(value).map_err(|error| StorageError::corrupt(self.location(), path, &error.to_string()))
    }

    async fn put(&self, path: &str, text: &str, options: WriteOptions) -> opendal::Result<opendal::Metadata> {
        let operator = self.operator();
        // A directory has no content types.
        let typed = operator.info().capability().write_with_content_type;
        let content_type = typed.then(|| CONTENT_TYPE.to_owned());
        operator.write_options(path, text.to_owned(), WriteOptions { content_type, ..options }).await
    }

    /// Whether the error says that the object is not there, but its bucket is.
    fn is_absent(&self, error: &opendal::Error) -> bool {
        error.kind() == ErrorKind::NotFound && self.error("read", error).kind() == crate::StorageErrorKind::NotFound
    }
}

/// Whether a service says that it does not know what a condition is.
fn is_unknown(error: &opendal::Error) -> bool {
    error.kind() == ErrorKind::Unsupported || error.to_string().contains("NotImplemented")
}

fn snapshot_path(directory: &str, name: &str) -> String {
    join(&[directory, SNAPSHOTS, &format!("{name}{SUFFIX}")])
}

#[cfg(test)]
mod tests {
    use super::*;
    use coffer_api::storage::{RepositorySpec, SnapshotSpec};

    fn put(storage: &Storage, path: &str, text: &'static str) {
        block_on(storage.operator().write(path, text)).unwrap();
    }

    #[test]
    fn the_index_round_trips() {
        let storage = Storage::memory();
        assert_eq!(storage.read_index().unwrap(), None);
        let mut index = BackendMeta::new("2026-01-02T03:04:05Z".parse().unwrap(), "v0.1.0");
        index.repositories.push(RepositoryInfo {
            name: Some("demo".into()),
            path: Some("/demo".into()),
            ..RepositoryInfo::default()
        });
        storage.write_index(&index).unwrap();
        assert_eq!(storage.read_index().unwrap(), Some(index));
    }

    #[test]
    fn a_first_index_does_not_replace_somebody_elses() {
        let root = tempfile::tempdir().unwrap();
        let operator = opendal::Operator::new(opendal::services::Fs::default().root(root.path().to_str().unwrap()));
        for storage in [Storage::memory(), Storage::from_operator(operator.unwrap(), "directory")] {
            assert_eq!(storage.read_index_version().unwrap(), (None, IndexVersion::Absent));
            let ours = BackendMeta::new("2026-01-02T03:04:05Z".parse().unwrap(), "ours");
            let theirs = BackendMeta::new("2026-01-02T03:04:05Z".parse().unwrap(), "theirs");
            assert!(storage.replace_index(&theirs, &IndexVersion::Absent).unwrap(), "{}", storage.location());
            assert!(!storage.replace_index(&ours, &IndexVersion::Absent).unwrap(), "{}", storage.location());
            assert_eq!(storage.read_index().unwrap(), Some(theirs));
            // Without entity tags there is nothing to hold the next one against.
            let (index, version) = storage.read_index_version().unwrap();
            assert_eq!((index.is_some(), &version), (true, &IndexVersion::Unknown));
            assert!(storage.replace_index(&ours, &version).unwrap());
            assert_eq!(storage.read_index().unwrap(), Some(ours));
        }
    }

    #[test]
    fn an_index_of_kubestash_is_read() {
        let storage = Storage::memory();
        put(
            &storage,
            "metadata.yaml",
            "apiVersion: config.kubestash.com/v1alpha1\ncreationTimestamp: \"2024-05-06T07:08:09Z\"\nkind: BackendMeta\n\
             operatorVersion: v0.9.0\nfuture: {a: 1}\nrepositories:\n- name: gcs-repo\n  namespace: demo\n  path: /demo/mysql\n",
        );
        let index = storage.read_index().unwrap().unwrap();
        assert_eq!(index.operator_version.as_deref(), Some("v0.9.0"));
        assert_eq!(index.repositories.first().unwrap().path.as_deref(), Some("/demo/mysql"));
    }

    #[test]
    fn repositories_and_snapshots_lie_where_kubestash_looks() {
        let root = tempfile::tempdir().unwrap();
        let operator = opendal::Operator::new(opendal::services::Fs::default().root(root.path().to_str().unwrap()));
        let storage = Storage::from_operator(operator.unwrap(), "directory");
        let repository =
            Repository::new("repo", RepositorySpec { path: Some("/demo".into()), ..RepositorySpec::default() });
        storage.write_repository("/demo/", &repository).unwrap();
        assert_eq!(storage.read_repository("demo").unwrap().unwrap().spec, repository.spec);
        for name in ["b", "a"] {
            storage.write_snapshot("demo", name, &Snapshot::new(name, SnapshotSpec::default())).unwrap();
        }
        put(&storage, "demo/snapshots/.c.yaml.tmp-1-2", "half");
        put(&storage, "demo/snapshots/readme", "x");
        assert_eq!(storage.snapshot_names("/demo").unwrap(), ["a", "b"]);
        assert!(
            root.path().join("demo/repository.yaml").is_file() && root.path().join("demo/snapshots/a.yaml").is_file()
        );
        assert_eq!(storage.read_snapshot("demo", "a").unwrap().unwrap().metadata.name.as_deref(), Some("a"));
        storage.delete_snapshot("demo", "a").unwrap();
        storage.delete_snapshot("demo", "a").unwrap();
        assert_eq!(storage.snapshot_names("demo").unwrap(), ["b"]);
        assert_eq!(storage.snapshot_names("elsewhere").unwrap(), Vec::<String>::new());
    }

    #[test]
    fn damage_is_named() {
        let storage = Storage::memory();
        put(&storage, "metadata.yaml", "apiVersion: [");
        let error = storage.read_index().unwrap_err();
        assert_eq!(error.kind(), crate::StorageErrorKind::Corrupt);
        assert!(error.to_string().contains("metadata.yaml in memory"), "{error}");
    }
}
