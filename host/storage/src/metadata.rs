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

use coffer_api::storage::{Repository, RepositoryInfo, Snapshot};
use jiff::Timestamp;
use opendal::ErrorKind;
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

impl Storage {
    /// Reads `metadata.yaml` of the storage; `None` when nobody has used it yet.
    pub fn read_index(&self) -> Result<Option<BackendMeta>, StorageError> {
        self.read_yaml(INDEX)
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
        match serde_saphyr::from_slice(&bytes) {
            Ok(value) => Ok(Some(value)),
            Err(error) => Err(StorageError::corrupt(self.location(), path, &error.to_string())),
        }
    }

    fn write_yaml<T: Serialize>(&self, path: &str, value: &T) -> Result<(), StorageError> {
        let text = serde_saphyr::to_string(value)
            .map_err(|error| StorageError::corrupt(self.location(), path, &error.to_string()))?;
        let operator = self.operator();
        // A directory has no content types.
        let written = if operator.info().capability().write_with_content_type {
            block_on(operator.write_with(path, text).content_type(CONTENT_TYPE).into_future())
        } else {
            block_on(operator.write(path, text))
        };
        written.map(drop).map_err(|error| self.error(&format!("write {path}"), &error))
    }

    /// Whether the error says that the object is not there, but its bucket is.
    fn is_absent(&self, error: &opendal::Error) -> bool {
        error.kind() == ErrorKind::NotFound && self.error("read", error).kind() == crate::StorageErrorKind::NotFound
    }
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
