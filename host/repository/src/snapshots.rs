//! What is in a repository: snapshots and their files.

use jiff::Timestamp;
use rustic_core::repofile::{Node, SnapshotFile};
use rustic_core::{DataId, TreeId};

use crate::error::RepositoryError;
use crate::packs::content_length;
use crate::repository::{Indexed, Repository};

/// A snapshot, as its file says.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Full id.
    pub id: String,
    /// When it was made.
    pub time: Timestamp,
    /// The host it is of; ours are all `host-0`.
    pub host: String,
    /// Its tags, sorted.
    pub tags: Vec<String>,
    /// The paths it is of, sorted.
    pub paths: Vec<String>,
    /// Which program made it.
    pub program: String,
    /// What it took to make it, if that program says.
    pub summary: Option<Summary>,
    pub(crate) tree: TreeId,
}

/// What a snapshot holds and added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Files in it.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes that were new to the repository, before compression.
    pub added: u64,
    /// Bytes that the repository grew by.
    pub added_packed: u64,
    /// When the backup began.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
}

/// Which snapshot is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SnapshotChoice {
    /// The newest.
    Latest,
    /// The one whose id begins with this.
    Id(String),
    /// The newest that is older than this.
    Before(Timestamp),
}

/// A file or folder of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Path from the snapshot's root, without a leading slash.
    pub path: String,
    /// What it is.
    pub kind: EntryKind,
    /// Size in bytes of a file, from its stored content; `None` if the index lacks a part of it (it cannot be restored).
    pub size: Option<u64>,
    /// Time of the last change.
    pub modified: Option<Timestamp>,
}

/// What a path of a snapshot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A file with content.
    File,
    /// A folder.
    Folder,
    /// A link, device, socket or pipe.
    Other,
}

impl Snapshot {
    /// The beginning of the id, as restic shows it.
    pub fn short_id(&self) -> &str {
        self.id.get(..8).unwrap_or(&self.id)
    }

    fn new(file: SnapshotFile) -> Self {
        Self {
            id: file.id.to_hex().as_str().to_owned(),
            time: file.time.timestamp(),
            host: file.hostname,
            tags: file.tags.iter().cloned().collect(),
            paths: file.paths.iter().cloned().collect(),
            program: file.program_version,
            summary: file.summary.map(|summary| Summary {
                files: summary.total_files_processed,
                bytes: summary.total_bytes_processed,
                added: summary.data_added,
                added_packed: summary.data_added_packed,
                started: summary.backup_start.timestamp(),
                ended: summary.backup_end.timestamp(),
            }),
            tree: file.tree,
        }
    }
}

impl Repository {
    /// All snapshots, oldest first.
    pub fn snapshots(&self) -> Result<Vec<Snapshot>, RepositoryError> {
        let backend = self.backend();
        let files = self.engine(&backend)?.get_all_snapshots().map_err(|error| backend.explain(error))?;
        let mut snapshots: Vec<_> = files.into_iter().map(Snapshot::new).collect();
        snapshots.sort_by(|a, b| (a.time, &a.id).cmp(&(b.time, &b.id)));
        Ok(snapshots)
    }

    /// One snapshot.
    pub fn snapshot(&self, choice: &SnapshotChoice) -> Result<Snapshot, RepositoryError> {
        let mut snapshots = self.snapshots()?;
        let missing =
            |wanted: String| RepositoryError::SnapshotNotFound { location: self.location().to_owned(), wanted };
        match choice {
            SnapshotChoice::Latest => snapshots.pop().ok_or_else(|| missing("at all".to_owned())),
            SnapshotChoice::Before(time) => {
                snapshots.retain(|snapshot| snapshot.time < *time);
                snapshots.pop().ok_or_else(|| missing(format!("before {time}")))
            }
            SnapshotChoice::Id(prefix) => {
                snapshots.retain(|snapshot| !prefix.is_empty() && snapshot.id.starts_with(prefix.as_str()));
                let found = snapshots.pop().ok_or_else(|| missing(prefix.clone()))?;
                if snapshots.is_empty() {
                    Ok(found)
                } else {
                    Err(RepositoryError::Ambiguous { location: self.location().to_owned(), prefix: prefix.clone() })
                }
            }
        }
    }

    /// All files and folders of a snapshot, each folder before what is in it, names in order of their bytes.
    pub fn entries(&self, snapshot: &Snapshot) -> Result<Vec<Entry>, RepositoryError> {
        let _lock = self.share_to_read()?;
        let indexed = self.indexed_for(snapshot)?;
        let mut entries = Vec::new();
        walk(self, &indexed, snapshot.tree, &mut |path, node| {
            let (kind, size) = match (node.is_file(), node.is_dir()) {
                (true, _) => (EntryKind::File, length(&indexed, node.content.as_deref().unwrap_or_default())),
                (_, true) => (EntryKind::Folder, None),
                _ => (EntryKind::Other, None),
            };
            entries.push(Entry { path: path.to_owned(), kind, size, modified: node.meta.mtime });
        })?;
        Ok(entries)
    }

    /// The node of a file, by its path with or without a leading slash.
    pub(crate) fn file(&self, indexed: &Indexed, snapshot: &Snapshot, path: &str) -> Result<Node, RepositoryError> {
        let missing =
            || RepositoryError::PathNotFound { snapshot: snapshot.short_id().to_owned(), path: path.to_owned() };
        let mut tree = Some(snapshot.tree);
        let mut found = None;
        for part in path.split('/').filter(|part| !part.is_empty()) {
            let nodes = self.nodes(indexed, tree.ok_or_else(missing)?)?;
            let node = nodes.into_iter().find(|node| node.name().to_str() == Some(part)).ok_or_else(missing)?;
            tree = node.subtree;
            found = Some(node);
        }
        found.filter(Node::is_file).ok_or_else(missing)
    }

    /// The index, read again if the snapshot is newer than the one in memory.
    pub(crate) fn indexed_for(&self, snapshot: &Snapshot) -> Result<std::sync::Arc<Indexed>, RepositoryError> {
        let indexed = self.indexed()?;
        if indexed.get_index_entry(&snapshot.tree).is_ok() { Ok(indexed) } else { self.indexed_anew() }
    }

    pub(crate) fn nodes(&self, indexed: &Indexed, tree: TreeId) -> Result<Vec<Node>, RepositoryError> {
        let damaged =
            |why: String| RepositoryError::damaged(self.location(), format!("tree {tree} cannot be read: {why}"));
        if indexed.get_index_entry(&tree).is_err() {
            return Err(damaged("the index does not know it".to_owned()));
        }
        match indexed.get_tree(&tree) {
            Ok(tree) => Ok(tree.nodes),
            Err(error) => Err(match self.backend().explain(error) {
                engine @ RepositoryError::Engine { .. } => damaged(engine.to_string()),
                ours => ours,
            }),
        }
    }
}

/// Calls `visit` for every node below a tree, with its path.
pub(crate) fn walk(
    repository: &Repository,
    indexed: &Indexed,
    root: TreeId,
    visit: &mut impl FnMut(&str, &Node),
) -> Result<(), RepositoryError> {
    // Its own stack: a damaged or hostile repository may nest deeper than a thread's stack allows.
    let mut open = vec![(String::new(), repository.nodes(indexed, root)?.into_iter())];
    while let Some((folder, nodes)) = open.last_mut() {
        let Some(node) = nodes.next() else {
            open.pop();
            continue;
        };
        let path = format!("{folder}{}", node.name().to_string_lossy());
        visit(&path, &node);
        if let Some(tree) = node.subtree {
            let below = repository.nodes(indexed, tree)?.into_iter();
            open.push((format!("{path}/"), below));
        }
    }
    Ok(())
}

/// Bytes of stored content, or `None` if a part is not in the index.
pub(crate) fn length(indexed: &Indexed, content: &[DataId]) -> Option<u64> {
    content.iter().try_fold(0_u64, |sum, id| {
        let location = indexed.get_index_entry(id).ok()?.location;
        let length = content_length(location.length, location.uncompressed_length.map(u32::from))?;
        sum.checked_add(length)
    })
}
