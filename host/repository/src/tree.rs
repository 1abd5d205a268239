//! The tree of a snapshot, with true sizes.
//!
//! Stock restic needs them: `ls -l`, `restore --verify`, tar dumps, and `restore` of 0.14, which makes an empty file otherwise. They are known
//! when the streams have ended, so the trees are built then, from what was stored of each stream.

use std::collections::BTreeMap;
use std::ffi::OsStr;

use jiff::Timestamp;
use rustic_core::repofile::{Metadata, Node, NodeType, Tree};
use rustic_core::{DataId, TreeId};

use crate::error::RepositoryError;

/// restic writes Go's file modes: the permission bits are Unix', the type bits are not.
const GO_DIRECTORY: u32 = 1 << 31;
const FOLDER_MODE: u32 = GO_DIRECTORY | 0o700;
const FILE_MODE: u32 = 0o600;
/// Folders inside folders; more is no dump of a database.
const MAX_DEPTH: usize = 64;
const MAX_NAME: usize = 255;

/// One file of the snapshot.
#[derive(Debug, Clone)]
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) size: u64,
    pub(crate) content: Vec<DataId>,
}

/// Trees to store, children before parents.
#[derive(Debug)]
pub(crate) struct Built {
    pub(crate) root: TreeId,
    pub(crate) trees: Vec<(TreeId, Vec<u8>)>,
    pub(crate) folders: u64,
}

/// Refuses paths that are not relative, plain and distinct, or that need the same name as file and as folder.
pub(crate) fn validate<'a>(paths: impl IntoIterator<Item = &'a str>) -> Result<(), RepositoryError> {
    let mut root = Folder::default();
    for path in paths {
        root.insert(path, path, None)?;
    }
    Ok(())
}

/// Builds the trees of a snapshot; every folder and file gets `time` and is readable by its owner only.
pub(crate) fn build(files: Vec<File>, time: Timestamp) -> Result<Built, RepositoryError> {
    let mut root = Folder::default();
    for file in files {
        let path = file.path.clone();
        root.insert(&path, &path, Some(file))?;
    }
    let mut built = Built { root: TreeId::default(), trees: Vec::new(), folders: 0 };
    built.root = root.store(time, &mut built)?;
    Ok(built)
}

#[derive(Default)]
struct Folder(BTreeMap<String, Item>);

enum Item {
    Folder(Folder),
    File(Option<File>),
}

impl Folder {
    fn insert(&mut self, whole: &str, rest: &str, file: Option<File>) -> Result<(), RepositoryError> {
        let refuse = |why: &str| Err(RepositoryError::Invalid(format!("the stream name {whole:?} is refused: {why}")));
        if whole.split('/').count() > MAX_DEPTH {
            return refuse("it has too many folders");
        }
        let (name, below) = rest.split_once('/').map_or((rest, None), |(name, below)| (name, Some(below)));
        if name.is_empty() || name == "." || name == ".." {
            return refuse("a name must be relative, without empty parts, `.` and `..`");
        }
        if name.len() > MAX_NAME || name.contains(['\0', '\\']) || name.chars().any(char::is_control) {
            return refuse("a part of it is too long, or has a backslash or a control character");
        }
        let place = self.0.entry(name.to_owned());
        match below {
            None => match place {
                std::collections::btree_map::Entry::Vacant(place) => {
                    place.insert(Item::File(file));
                    Ok(())
                }
                std::collections::btree_map::Entry::Occupied(_) => refuse("there is another of the same name"),
            },
            Some(below) => match place.or_insert_with(|| Item::Folder(Self::default())) {
                Item::Folder(folder) => folder.insert(whole, below, file),
                Item::File(_) => refuse("a part of it is the name of another stream"),
            },
        }
    }

    /// Nodes go in order of their names' bytes, as restic expects.
    fn store(self, time: Timestamp, built: &mut Built) -> Result<TreeId, RepositoryError> {
        let mut tree = Tree::default();
        for (name, item) in self.0 {
            let meta = |mode, size| Metadata {
                mode: Some(mode),
                mtime: Some(time),
                atime: Some(time),
                ctime: Some(time),
                size,
                ..Metadata::default()
            };
            let name = OsStr::new(&name);
            tree.nodes.push(match item {
                Item::Folder(folder) => {
                    let mut node = Node::new_node(name, NodeType::Dir, meta(FOLDER_MODE, 0));
                    node.subtree = Some(folder.store(time, built)?);
                    built.folders += 1;
                    node
                }
                Item::File(file) => {
                    let (size, content) = file.map(|file| (file.size, file.content)).unwrap_or_default();
                    let mut node = Node::new_node(name, NodeType::File, meta(FILE_MODE, size));
                    node.content = Some(content);
                    node
                }
            });
        }
        let (json, id) = tree.serialize().map_err(|error| {
            RepositoryError::Invalid(format!("the tree of the snapshot cannot be written: {error}"))
        })?;
        built.trees.push((id, json));
        Ok(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, size: u64) -> File {
        File { path: path.to_owned(), size, content: vec![DataId::default()] }
    }

    #[test]
    fn folders_come_together_sorted_with_sizes() {
        let files = vec![
            file("db2/a.tsv", 5),
            file("db1/z.tsv", 7),
            file("manifest.json", 9),
            file("db2/A.tsv", 1),
            file("db1/é", 2),
        ];
        let built = build(files, Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(built.folders, 2);
        assert_eq!(built.trees.len(), 3);
        let (id, root) = built.trees.last().unwrap();
        assert_eq!(*id, built.root);
        let root: Tree = serde_json::from_slice(root).unwrap();
        assert_eq!(
            root.nodes.iter().map(|node| node.name.as_str()).collect::<Vec<_>>(),
            ["db1", "db2", "manifest.json"]
        );
        assert_eq!(root.nodes[0].meta.mode, Some(0o20_000_000_700), "a folder in Go's notation");
        assert_eq!(root.nodes[2].meta.mode, Some(0o600));
        assert_eq!(root.nodes[2].meta.size, 9);
        let db2: Tree = built
            .trees
            .iter()
            .find(|(id, _)| Some(*id) == root.nodes[1].subtree)
            .map(|(_, json)| serde_json::from_slice(json).unwrap())
            .unwrap();
        let db2: Vec<_> = db2.nodes.iter().map(|node| (node.name.as_str(), node.meta.size)).collect();
        assert_eq!(db2, [("A.tsv", 1), ("a.tsv", 5)]);
    }

    #[test]
    fn bad_names_are_refused() {
        for bad in
            ["", "/a", "a/", "a//b", ".", "a/../b", "./a", "a\0b", "a\nb", "a\\b", &"x".repeat(256), &"d/".repeat(80)]
        {
            let error = validate([bad]).unwrap_err().to_string();
            assert!(error.contains("refused"), "{bad:?}: {error}");
        }
        assert!(validate(["a", "a"]).is_err());
        assert!(validate(["a", "a/b"]).is_err());
        assert!(validate(["a/b", "a"]).is_err());
        validate(["a/b", "a/c", "b", "ünïcode and spaces"]).unwrap();
    }
}
