//! What is in a repository: snapshots and their files.

use jiff::Timestamp;
use rustic_core::repofile::{Node, SnapshotFile, SnapshotId};
use rustic_core::{DataId, FileType, TreeId};

use crate::backend::{Backend, path};
use crate::error::RepositoryError;
use crate::packs::content_length;
use crate::repository::{Engine, Indexed, Repository};

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

/// The snapshots of a repository, and those of which only the file's name is known.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    /// Those whose files can be read, oldest first.
    pub snapshots: Vec<Snapshot>,
    /// Those whose files cannot.
    pub damaged: Vec<DamagedSnapshot>,
}

/// A snapshot whose file cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("snapshot {id} cannot be read: {why}")]
pub struct DamagedSnapshot {
    /// Full id, which is the file's name.
    pub id: String,
    /// What is wrong with the file.
    pub why: String,
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
    /// All snapshots, oldest first. One that cannot be read is an error; [`Repository::listing`] has the others.
    pub fn snapshots(&self) -> Result<Vec<Snapshot>, RepositoryError> {
        let listing = self.listing()?;
        match listing.damaged.first() {
            None => Ok(listing.snapshots),
            Some(damaged) => Err(RepositoryError::damaged(self.location(), damaged.to_string())),
        }
    }

    /// All snapshots that can be read, and what is known of the others.
    pub fn listing(&self) -> Result<Listing, RepositoryError> {
        let backend = self.backend();
        let engine = self.engine(&backend)?;
        let mut listing = Listing::default();
        match engine.get_all_snapshots().map_err(|error| backend.explain(error)) {
            Ok(files) => listing.snapshots = files.into_iter().map(Snapshot::new).collect(),
            // The engine ends with the first file that it cannot read: one by one, then.
            Err(RepositoryError::Damaged { .. } | RepositoryError::Engine { .. }) => {
                for id in engine.list::<SnapshotId>().map_err(|error| backend.explain(error))? {
                    self.look_at(id, &engine, &backend, &mut listing)?;
                }
            }
            Err(error) => return Err(error),
        }
        listing.snapshots.sort_by(|a, b| (a.time, &a.id).cmp(&(b.time, &b.id)));
        listing.damaged.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(listing)
    }

    fn look_at(
        &self,
        id: SnapshotId,
        engine: &Engine,
        backend: &Backend,
        listing: &mut Listing,
    ) -> Result<(), RepositoryError> {
        let read = engine.stream_files_list::<SnapshotFile>(vec![id]).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        match read.map_err(|error| backend.explain(error)) {
            Ok(files) => listing.snapshots.extend(files.into_iter().map(|(id, mut file)| {
                file.id = id;
                Snapshot::new(file)
            })),
            Err(error @ (RepositoryError::Damaged { .. } | RepositoryError::Engine { .. })) => {
                let path = path(FileType::Snapshot, &id);
                let there = self
                    .store()
                    .size(&path)
                    .map_err(|error| self.store().error(&format!("look for {path}"), &error))?;
                // Forgotten since it was listed.
                if there.is_some() {
                    let why = match error {
                        RepositoryError::Damaged { what, .. } => what,
                        other => other.to_string(),
                    };
                    listing.damaged.push(DamagedSnapshot { id: id.to_hex().as_str().to_owned(), why });
                }
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// One snapshot. Which one is the newest is not known while there is one that cannot be read.
    pub fn snapshot(&self, choice: &SnapshotChoice) -> Result<Snapshot, RepositoryError> {
        let Listing { mut snapshots, mut damaged } = self.listing()?;
        let missing =
            |wanted: String| RepositoryError::SnapshotNotFound { location: self.location().to_owned(), wanted };
        let unknown = |damaged: &DamagedSnapshot| {
            let what = format!("{damaged}, so it is not known which one is the newest; choose a snapshot by its id");
            RepositoryError::damaged(self.location(), what)
        };
        match (choice, damaged.first()) {
            (SnapshotChoice::Latest | SnapshotChoice::Before(_), Some(damaged)) => Err(unknown(damaged)),
            (SnapshotChoice::Latest, None) => snapshots.pop().ok_or_else(|| missing("at all".to_owned())),
            (SnapshotChoice::Before(time), None) => {
                snapshots.retain(|snapshot| snapshot.time < *time);
                snapshots.pop().ok_or_else(|| missing(format!("before {time}")))
            }
            (SnapshotChoice::Id(prefix), _) => {
                let meant = |id: &str| !prefix.is_empty() && id.starts_with(prefix.as_str());
                snapshots.retain(|snapshot| meant(&snapshot.id));
                damaged.retain(|damaged| meant(&damaged.id));
                match (snapshots.pop(), damaged.pop(), snapshots.is_empty() && damaged.is_empty()) {
                    (Some(found), None, true) => Ok(found),
                    (None, Some(damaged), true) => Err(RepositoryError::damaged(self.location(), damaged.to_string())),
                    (None, None, _) => Err(missing(prefix.clone())),
                    _ => {
                        Err(RepositoryError::Ambiguous { location: self.location().to_owned(), prefix: prefix.clone() })
                    }
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
