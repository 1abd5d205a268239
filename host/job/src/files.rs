//! The YAML files beside the repositories, which hold the objects for another cluster.

use std::time::Duration;

use coffer_api::ResourceExt as _;
use coffer_api::cancel::Cancel;
use coffer_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use coffer_api::names::join_path;
use coffer_api::storage::{Repository, RepositoryInfo, Snapshot};
use coffer_storage::metadata::BackendMeta;
use coffer_storage::{Storage, StorageErrorKind};
use jiff::Timestamp;

use crate::Job;
use crate::error::JobError;

/// How long a small file may take, retries included. It is not the run's: what became of a run that is out of time must still be written.
const LIMIT: Duration = Duration::from_mins(5);
/// How often the index is written until an entry stays in it. With a hundred new repositories, eight were not enough for a quarter of them.
const INDEX_WRITES: usize = 40;
/// What the index names as its writer.
const WRITER: &str = concat!("coffer v", env!("CARGO_PKG_VERSION"));
/// Holds the whole object once more.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// A new index.
pub(crate) fn new_index() -> BackendMeta {
    BackendMeta::new(Timestamp::now(), WRITER)
}

/// Opens a BackupStorage for small files.
pub(crate) fn open(job: &Job, namespace: &str, name: &str) -> Result<Storage, JobError> {
    open_until(job, namespace, name, &Cancel::new().with_deadline(LIMIT))
}

/// Opens a BackupStorage for as long as `cancel` is not given.
pub(crate) fn open_until(job: &Job, namespace: &str, name: &str, cancel: &Cancel) -> Result<Storage, JobError> {
    let config = coffer_resolve::storage(&job.cluster, namespace, name)?;
    Ok(Storage::open(&config, job.local)?.stop_on(cancel))
}

/// Opens the BackupStorage of a Repository for small files.
pub(crate) fn open_of(job: &Job, repository: &Repository) -> Result<Storage, JobError> {
    let (namespace, name) = storage_of(repository)?;
    open(job, &namespace, &name)
}

/// Namespace and name of a Repository's BackupStorage.
pub(crate) fn storage_of(repository: &Repository) -> Result<(String, String), JobError> {
    let own = || repository.namespace().unwrap_or_default();
    let storage = repository.spec.storage_ref.as_ref();
    let pair = storage.map(|storage| (storage.namespace.clone().unwrap_or_else(own), storage.name.clone()));
    pair.ok_or_else(|| unusable(repository, "storageRef"))
}

/// Directory of a Repository.
pub(crate) fn directory(repository: &Repository) -> Result<&str, JobError> {
    repository.spec.path.as_deref().ok_or_else(|| unusable(repository, "path"))
}

fn unusable(repository: &Repository, field: &str) -> JobError {
    JobError::refused(
        format!("Repository {}/{} cannot be used", repository.namespace().unwrap_or_default(), repository.name_any()),
        format!("it has no {field}"),
        format!("set spec.{field}"),
    )
}

/// Writes a Snapshot beside its repository.
pub(crate) fn write_snapshot(job: &Job, repository: &Repository, snapshot: &Snapshot) -> Result<Storage, JobError> {
    let storage = open_of(job, repository)?;
    let mut copy = snapshot.clone();
    copy.metadata = portable(&snapshot.metadata);
    storage.write_snapshot(directory(repository)?, &snapshot.name_any(), &copy)?;
    Ok(storage)
}

/// Deletes the file of a Snapshot beside its repository, if it is there. One of another Snapshot of that name, of another cluster, stays.
pub(crate) fn delete_snapshot(storage: &Storage, repository: &Repository, snapshot: &Snapshot) -> Result<(), JobError> {
    let (directory, name) = (directory(repository)?, snapshot.name_any());
    let is_anothers = match storage.read_snapshot(directory, &name) {
        Ok(there) => there.is_some_and(|there| there.spec.snapshot_id != snapshot.spec.snapshot_id),
        // What nobody can read is nobody's.
        Err(error) if error.kind() == StorageErrorKind::Corrupt => false,
        Err(error) => return Err(error.into()),
    };
    if is_anothers {
        tracing::warn!("the file of Snapshot {name} in {} is another Snapshot's, and stays", storage.location());
        return Ok(());
    }
    Ok(storage.delete_snapshot(directory, &name)?)
}

/// Writes a Repository into its directory.
pub(crate) fn write_repository(storage: &Storage, repository: &Repository) -> Result<(), JobError> {
    let mut copy = repository.clone();
    copy.metadata = portable(&repository.metadata);
    Ok(storage.write_repository(directory(repository)?, &copy)?)
}

/// What of an object's metadata means something in another cluster.
pub(crate) fn portable(metadata: &ObjectMeta) -> ObjectMeta {
    let mut annotations = metadata.annotations.clone().unwrap_or_default();
    annotations.remove(LAST_APPLIED);
    ObjectMeta {
        name: metadata.name.clone(),
        namespace: metadata.namespace.clone(),
        labels: metadata.labels.clone(),
        annotations: Some(annotations).filter(|annotations| !annotations.is_empty()),
        creation_timestamp: metadata.creation_timestamp.clone(),
        ..ObjectMeta::default()
    }
}

/// The entry of a Repository in the index of its storage.
pub(crate) fn entry(repository: &Repository) -> Result<RepositoryInfo, JobError> {
    Ok(RepositoryInfo {
        name: Some(repository.name_any()),
        namespace: repository.namespace(),
        path: Some(directory(repository)?.to_owned()),
        ..RepositoryInfo::default()
    })
}

/// Whether two entries are of one Repository.
pub(crate) fn same(one: &RepositoryInfo, other: &RepositoryInfo) -> bool {
    one.name == other.name && one.namespace == other.namespace
}

/// Whether two entries are of one directory, however it is written.
pub(crate) fn same_directory(one: &RepositoryInfo, other: &RepositoryInfo) -> bool {
    let path = |entry: &RepositoryInfo| join_path(&[entry.path.as_deref().unwrap_or_default()]);
    path(one) == path(other)
}

/// Adds a Repository to the index of its storage, if it is not in it.
pub(crate) fn list_in_index(storage: &Storage, wanted: &RepositoryInfo) -> Result<(), JobError> {
    change_index(storage, |index| {
        let there = index.repositories.iter().any(|entry| same(entry, wanted) && same_directory(entry, wanted));
        if !there {
            index.repositories.retain(|entry| !same(entry, wanted));
            index.repositories.push(wanted.clone());
        }
        !there
    })
}

/// Takes a Repository out of the index of its storage, if it is in it.
pub(crate) fn unlist_in_index(storage: &Storage, unwanted: &RepositoryInfo) -> Result<(), JobError> {
    change_index(storage, |index| {
        let before = index.repositories.len();
        index.repositories.retain(|entry| !same(entry, unwanted));
        index.repositories.len() != before
    })
}

/// Changes the index until the change is found in it. In a directory one waits for the other; a storage that knows conditional writes refuses the
/// later one of two that write at the same time; with any other one of them is overwritten, sees that when it looks again, and writes once more.
fn change_index(storage: &Storage, mut change: impl FnMut(&mut BackendMeta) -> bool) -> Result<(), JobError> {
    for _ in 0..INDEX_WRITES {
        let lock = storage.lock_index();
        let (index, version) = storage.read_index_version()?;
        let mut index = index.unwrap_or_else(new_index);
        if !change(&mut index) {
            return Ok(());
        }
        let written = storage.replace_index(&index, &version)?;
        if written && lock.is_some() {
            return Ok(());
        }
        drop(lock);
        // Whether it was written or not, the next look shows what is there.
        // Of different length each time, so that two that meet do not meet again.
        let jitter = Timestamp::now().subsec_microsecond().unsigned_abs() % 400;
        std::thread::sleep(Duration::from_millis(100 + u64::from(jitter)));
    }
    Err(JobError::refused(
        format!("metadata.yaml in {} cannot be changed", storage.location()),
        "other programs write it all the time",
        "try again later",
    ))
}

#[cfg(test)]
mod tests {
    use coffer_api::plan::{SecretData, StorageConfig};
    use coffer_api::storage::{LocalSpec, StorageBackendSpec};
    use coffer_storage::LocalRoot;

    use super::*;

    fn entry_of(namespace: &str, name: &str, path: &str) -> RepositoryInfo {
        RepositoryInfo {
            namespace: Some(namespace.to_owned()),
            name: Some(name.to_owned()),
            path: Some(path.to_owned()),
            ..RepositoryInfo::default()
        }
    }

    fn listed(storage: &Storage) -> Vec<String> {
        let index = storage.read_index().unwrap().unwrap();
        index.repositories.into_iter().map(|one| format!("{}:{}", one.namespace.unwrap(), one.path.unwrap())).collect()
    }

    /// A directory knows no conditional writes.
    #[test]
    fn of_many_that_write_at_once_into_a_directory_nobody_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let local = LocalSpec { mount_path: Some(folder.path().display().to_string()), ..LocalSpec::default() };
        let config = StorageConfig {
            name: "storage".to_owned(),
            namespace: "demo".to_owned(),
            spec: StorageBackendSpec {
                provider: Some("local".to_owned()),
                local: Some(local),
                ..StorageBackendSpec::default()
            },
            secret: SecretData::default(),
        };
        std::thread::scope(|scope| {
            for namespace in 0..8 {
                let config = &config;
                scope.spawn(move || {
                    let storage = Storage::open(config, LocalRoot::MountPath).unwrap();
                    for name in 0..8 {
                        let entry =
                            entry_of(&namespace.to_string(), &name.to_string(), &format!("/{namespace}/{name}"));
                        list_in_index(&storage, &entry).unwrap();
                    }
                });
            }
        });
        assert_eq!(listed(&Storage::open(&config, LocalRoot::MountPath).unwrap()).len(), 64);
    }

    #[test]
    fn entries_are_told_apart_by_namespace_and_name() {
        let storage = Storage::memory();
        for (namespace, path) in [("demo", "/a"), ("other", "/b"), ("demo", "/a/"), ("demo", "/c")] {
            list_in_index(&storage, &entry_of(namespace, "repo", path)).unwrap();
        }
        assert_eq!(listed(&storage), ["other:/b", "demo:/c"], "one that moved has one entry");
        unlist_in_index(&storage, &entry_of("third", "repo", "/b")).unwrap();
        unlist_in_index(&storage, &entry_of("demo", "repo", "/c")).unwrap();
        assert_eq!(listed(&storage), ["other:/b"]);
    }

    #[test]
    fn what_somebody_writes_in_between_is_kept() {
        let storage = Storage::memory();
        let theirs = BackendMeta { repositories: vec![entry_of("other", "repo", "/b")], ..new_index() };
        let ours = entry_of("demo", "repo", "/a");
        let mut looks = 0;
        change_index(&storage, |index| {
            looks += 1;
            if looks == 1 {
                storage.write_index(&theirs).unwrap();
            }
            let there = index.repositories.contains(&ours);
            if !there {
                index.repositories.push(ours.clone());
            }
            !there
        })
        .unwrap();
        assert_eq!(listed(&storage), ["other:/b", "demo:/a"]);
    }
}
