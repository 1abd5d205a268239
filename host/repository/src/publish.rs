//! The one place where a snapshot comes into being, and is then doubted.

use std::collections::HashMap;

use jiff::Zoned;
use rustic_core::FileType;
use rustic_core::repofile::{SnapshotFile, SnapshotSummary};

use crate::archive::Job;
use crate::archiver::Archived;
use crate::backend::{Backend, path};
use crate::error::RepositoryError;
use crate::locks::LockGuard;
use crate::packs::{Added, write_trees};
use crate::repository::{Indexed, Repository};
use crate::snapshots::{length, walk};
use crate::tree::{File, build};

use std::sync::Arc;

/// A snapshot that is in the repository and was verified there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Its full id.
    pub id: String,
    /// Id of its root tree.
    pub tree: String,
    /// Its files, the manifest included.
    pub files: u64,
    /// Their bytes.
    pub bytes_processed: u64,
    /// Bytes that were new to the repository, before compression.
    pub bytes_added: u64,
    /// Bytes that the snapshot's new data takes in the repository.
    pub bytes_added_packed: u64,
}

/// Builds the tree, publishes the snapshot, and verifies it as a stranger would. Called after the verdict, with everything the archiver
/// wrote durable.
pub(crate) fn publish(
    job: &Job,
    repository: &Repository,
    backend: &Arc<Backend>,
    lock: &LockGuard,
    mut snapshot: SnapshotFile,
    archived: Archived,
) -> Result<Published, RepositoryError> {
    let location = repository.location();
    backend.confirm_written()?;
    let explain = |error| backend.explain(error);
    let indexed = repository.engine(backend)?.to_indexed().map_err(explain)?;
    let data = archived.added;
    let files = archived_files(job, repository, &indexed, archived)?;
    let sizes: HashMap<String, u64> = files.iter().map(|file| (file.path.clone(), file.size)).collect();
    let built = build(files, job.request.time)?;
    let trees = built.trees.into_iter().filter(|(id, _)| indexed.get_index_entry(id).is_err()).collect();
    drop(indexed);
    let added = write_trees(backend, repository.key(), repository.version(), trees)?;
    backend.confirm_written()?;

    snapshot.tree = built.root;
    let mut summary = summary(snapshot.summary.take().unwrap_or_default(), &sizes, built.folders, data, added);
    summary.backup_end = Zoned::now();
    summary.backup_duration = summary.backup_end.duration_since(&summary.backup_start).as_secs_f64();
    summary.total_duration = summary.backup_end.duration_since(&snapshot.time).as_secs_f64();
    snapshot.summary = Some(summary);
    let summary = snapshot.summary.clone().unwrap_or_default();
    let engine = repository.engine(backend)?;
    lock.ensure(repository.key())?;
    // The last moment at which a cancellation or a failure elsewhere is heard.
    job.pipe.failure().map_or(Ok(()), Err)?;
    backend.open_gate();
    let saved = engine.save_snapshots(vec![snapshot.clone()]).map_err(explain);
    let Some(id) = backend.published() else {
        saved?;
        return Err(RepositoryError::damaged(location, "the snapshot was not written"));
    };
    let id_hex = id.to_hex().as_str().to_owned();
    let verified = saved.and_then(|()| verify(repository, &id_hex, &snapshot, &sizes));
    if let Err(error) = verified {
        // What cannot be restored, or is reported as failed, must not look like a backup.
        tracing::error!(location, snapshot = %id_hex, %error, "the snapshot could not be written and verified, and is removed");
        if let Err(removal) = repository.store().remove(&path(FileType::Snapshot, &id)) {
            tracing::error!(location, snapshot = %id_hex, %removal, "the snapshot could not be removed: forget it by hand");
        }
        return Err(error);
    }
    repository.forget_index();
    Ok(Published {
        id: id_hex,
        tree: built.root.to_hex().as_str().to_owned(),
        files: summary.total_files_processed,
        bytes_processed: summary.total_bytes_processed,
        bytes_added: summary.data_added,
        bytes_added_packed: summary.data_added_packed,
    })
}

/// What was stored of each stream, which must be what its writer counted.
fn archived_files(
    job: &Job,
    repository: &Repository,
    indexed: &Indexed,
    archived: Archived,
) -> Result<Vec<File>, RepositoryError> {
    let receipts = job.pipe.receipts();
    job.paths
        .iter()
        .zip(receipts)
        .zip(archived.contents)
        .map(|((path, receipt), content)| {
            let wrong = |why: String| RepositoryError::damaged(repository.location(), format!("stream {path} {why}"));
            let receipt = receipt.ok_or_else(|| wrong("was not finished".to_owned()))?;
            let size =
                length(indexed, &content).ok_or_else(|| wrong("has parts that are not in the index".to_owned()))?;
            if size != receipt.bytes {
                return Err(wrong(format!("has {} bytes, but {size} were stored", receipt.bytes)));
            }
            Ok(File { path: path.clone(), size, content })
        })
        .collect()
}

fn summary(
    mut summary: SnapshotSummary,
    sizes: &HashMap<String, u64>,
    folders: u64,
    data: Added,
    trees: Added,
) -> SnapshotSummary {
    let files = sizes.len() as u64;
    summary.total_files_processed = files;
    summary.total_bytes_processed = sizes.values().sum();
    summary.files_new = files;
    summary.files_changed = 0;
    summary.files_unmodified = 0;
    summary.total_dirs_processed = folders;
    summary.total_dirsize_processed = trees.bytes;
    summary.dirs_new = folders;
    summary.dirs_changed = 0;
    summary.dirs_unmodified = 0;
    summary.tree_blobs = trees.blobs;
    summary.data_blobs = data.blobs;
    summary.data_added = data.bytes + trees.bytes;
    summary.data_added_packed = data.packed + trees.packed;
    summary.data_added_files = data.bytes;
    summary.data_added_files_packed = data.packed;
    summary.data_added_trees = trees.bytes;
    summary.data_added_trees_packed = trees.packed;
    summary
}

/// Reads everything but the data again: the snapshot's file, the index, every tree, and each file's length.
fn verify(
    repository: &Repository,
    id: &str,
    published: &SnapshotFile,
    sizes: &HashMap<String, u64>,
) -> Result<(), RepositoryError> {
    let wrong =
        |why: String| RepositoryError::damaged(repository.location(), format!("the snapshot just written {why}"));
    let backend = repository.backend();
    let engine = repository.engine(&backend)?;
    let found = engine.get_snapshots(&[id]).map_err(|error| backend.explain(error))?;
    if found.first().map(|found| found.tree) != Some(published.tree) {
        return Err(wrong("cannot be read back".to_owned()));
    }
    let indexed = engine.to_indexed().map_err(|error| backend.explain(error))?;
    let mut seen = 0;
    let mut bad = None;
    walk(repository, &indexed, published.tree, &mut |path, node| {
        if !node.is_file() {
            return;
        }
        seen += 1;
        let stored = length(&indexed, node.content.as_deref().unwrap_or_default());
        if stored.is_none() || stored != sizes.get(path).copied() || stored != Some(node.meta.size) {
            bad.get_or_insert_with(|| path.to_owned());
        }
    })?;
    match bad {
        Some(path) => Err(wrong(format!("lacks data of {path}: somebody may have removed packs meanwhile"))),
        None if seen == sizes.len() => Ok(()),
        None => Err(wrong(format!("has {seen} files instead of {}", sizes.len()))),
    }
}
