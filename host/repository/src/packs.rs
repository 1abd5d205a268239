//! The pack and index formats of restic, written.
//!
//! A pack is the encrypted blobs one after the other, then the encrypted header (one entry a blob), then the header's length as four bytes.

use bytes::Bytes;
use jiff::Timestamp;
use rustic_core::{BytesList, FileType, Id, TreeId};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::backend::Backend;
use crate::crypto::{OVERHEAD, RepositoryKey, sha256};
use crate::error::RepositoryError;
use crate::seal::{SealError, Sealed, Sealer};

/// A pack of trees is written when it has reached this many bytes.
const TREES_SIZE: usize = 4 << 20;
/// Trees are JSON with long hexadecimal names: there is nothing to be gained by trying harder.
const TREES_COMPRESSION: i32 = 1;
/// What a compressed file that is no pack begins with.
const COMPRESSED_FILE: u8 = 2;

/// What a blob holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Data,
    Tree,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Tree => "tree",
        }
    }

    /// The first byte of a header entry.
    fn header(self, compressed: bool) -> u8 {
        match (self, compressed) {
            (Self::Data, false) => 0,
            (Self::Tree, false) => 1,
            (Self::Data, true) => 2,
            (Self::Tree, true) => 3,
        }
    }
}

/// What was added to the repository.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Added {
    pub(crate) blobs: u64,
    /// Bytes before compression.
    pub(crate) bytes: u64,
    /// Bytes in the packs.
    pub(crate) packed: u64,
}

/// An index file in the making.
#[derive(Debug, Default, Serialize)]
pub(crate) struct IndexFile {
    packs: Vec<IndexPack>,
}

#[derive(Debug, Serialize)]
struct IndexPack {
    id: String,
    blobs: Vec<IndexBlob>,
    time: Timestamp,
}

#[derive(Debug, Serialize)]
struct IndexBlob {
    id: String,
    #[serde(rename = "type")]
    kind: &'static str,
    offset: u32,
    length: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    uncompressed_length: Option<u32>,
}

impl IndexFile {
    /// How many blobs it tells of.
    pub(crate) fn blobs(&self) -> usize {
        self.packs.iter().map(|pack| pack.blobs.len()).sum()
    }

    /// Writes the file, if it tells of anything, once every pack that it tells of is stored.
    pub(crate) fn write(self, backend: &Backend, key: &RepositoryKey, version: u32) -> Result<(), PackError> {
        if self.packs.is_empty() {
            return Ok(());
        }
        let json = serde_json::to_vec(&self)?;
        let content = if version >= 2 {
            let mut packed = vec![COMPRESSED_FILE];
            packed.extend(zstd::bulk::compress(&json, TREES_COMPRESSION).map_err(SealError::from)?);
            key.encrypt(&packed)
        } else {
            key.encrypt(&json)
        }
        .map_err(SealError::from)?;
        backend.put(FileType::Index, &Id::new(sha256(&content)), BytesList::from(content)).map_err(PackError::Storage)
    }
}

/// Why a pack could not be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PackError {
    #[error("{0}")]
    Storage(RepositoryError),
    #[error("{0}")]
    Seal(#[from] SealError),
    #[error("an index cannot be written: {0}")]
    Index(#[from] serde_json::Error),
}

impl PackError {
    /// In words for the user: what could not be stored.
    pub(crate) fn into_ours(self, location: &str, what: &str) -> RepositoryError {
        match self {
            Self::Storage(error) => error,
            other => RepositoryError::Engine { location: location.to_owned(), message: format!("{what}: {other}") },
        }
    }
}

/// A pack in the making.
#[derive(Debug, Default)]
pub(crate) struct Pack {
    parts: Vec<Bytes>,
    /// Of the parts, which is the pack's name in the end.
    hash: Sha256,
    length: u32,
    header: Vec<u8>,
    blobs: Vec<IndexBlob>,
}

impl Pack {
    /// Bytes of the blobs so far.
    pub(crate) fn length(&self) -> usize {
        self.length as usize
    }

    /// Appends a blob.
    pub(crate) fn add(&mut self, kind: Kind, id: &[u8; 32], sealed: Sealed) -> Result<(), PackError> {
        let Sealed { bytes, uncompressed } = sealed;
        let length = u32::try_from(bytes.len()).map_err(SealError::from)?;
        self.header.push(kind.header(uncompressed.is_some()));
        self.header.extend_from_slice(&length.to_le_bytes());
        if let Some(uncompressed) = uncompressed {
            self.header.extend_from_slice(&uncompressed.to_le_bytes());
        }
        self.header.extend_from_slice(id);
        self.blobs.push(IndexBlob {
            id: hex::encode(id),
            kind: kind.name(),
            offset: self.length,
            length,
            uncompressed_length: uncompressed,
        });
        self.length = self.length.checked_add(length).ok_or(PackError::Seal(SealError::Full))?;
        self.push(bytes);
        Ok(())
    }

    fn push(&mut self, bytes: Vec<u8>) {
        self.hash.update(&bytes);
        self.parts.push(Bytes::from(bytes));
    }

    fn close(mut self, key: &RepositoryKey) -> Result<(Id, Vec<Bytes>, Vec<IndexBlob>), PackError> {
        let mut header = key.encrypt(&self.header).map_err(SealError::from)?;
        let length = u32::try_from(header.len()).map_err(SealError::from)?;
        header.extend_from_slice(&length.to_le_bytes());
        self.push(header);
        Ok((Id::new(self.hash.finalize().into()), self.parts, self.blobs))
    }

    /// Hands the pack to the storage, if it holds anything, and notes it in the index.
    pub(crate) fn write(self, backend: &Backend, key: &RepositoryKey, index: &mut IndexFile) -> Result<(), PackError> {
        if self.blobs.is_empty() {
            return Ok(());
        }
        let (id, parts, blobs) = self.close(key)?;
        let mut parts = parts.into_iter();
        let mut content = BytesList::from(parts.next().unwrap_or_default());
        parts.for_each(|part| content.add(part));
        backend.put(FileType::Pack, &id, content).map_err(PackError::Storage)?;
        index.packs.push(IndexPack { id: id.to_hex().as_str().to_owned(), blobs, time: Timestamp::now() });
        Ok(())
    }
}

/// Writes trees and an index of them. They are durable when the backend's next barrier is passed.
pub(crate) fn write_trees(
    backend: &Backend,
    key: &RepositoryKey,
    version: u32,
    trees: Vec<(TreeId, Vec<u8>)>,
) -> Result<Added, RepositoryError> {
    let write = || {
        let mut added = Added::default();
        let mut index = IndexFile::default();
        let mut pack = Pack::default();
        let mut sealer = Sealer::new(key, (version >= 2).then_some(TREES_COMPRESSION))?;
        for (id, json) in trees {
            let hash = sha256(&json);
            if Id::new(hash) != *id {
                return Err(PackError::Seal(SealError::Changed));
            }
            let sealed = sealer.seal(&json)?;
            added.blobs += 1;
            added.bytes += json.len() as u64;
            added.packed += sealed.bytes.len() as u64;
            pack.add(Kind::Tree, &hash, sealed)?;
            if pack.length() >= TREES_SIZE {
                std::mem::take(&mut pack).write(backend, key, &mut index)?;
            }
        }
        pack.write(backend, key, &mut index)?;
        index.write(backend, key, version)?;
        Ok(added)
    };
    write().map_err(|error| error.into_ours(backend.store().location(), "the trees of the snapshot"))
}

/// Length of a stored blob's content, or `None` if the index has an impossible entry.
pub(crate) fn content_length(stored: u32, uncompressed: Option<u32>) -> Option<u64> {
    match uncompressed {
        Some(length) => Some(length.into()),
        None => u64::from(stored).checked_sub(OVERHEAD as u64),
    }
}

#[cfg(test)]
mod tests {
    use rustic_core::repofile::{MasterKey, Tree};

    use super::*;
    use crate::backend::Gate;
    use crate::store::Store;

    #[test]
    fn packs_have_restics_layout() {
        for (version, entry) in [(1, 37), (2, 41)] {
            let key = RepositoryKey::from_master(&MasterKey::new()).unwrap();
            let mut sealer = Sealer::new(&key, (version == 2).then_some(1)).unwrap();
            let mut pack = Pack::default();
            let (json, id) = Tree::default().serialize().unwrap();
            assert_eq!(Id::new(sha256(&json)), *id);
            pack.add(Kind::Tree, &sha256(&json), sealer.seal(&json).unwrap()).unwrap();
            pack.add(Kind::Data, &sha256(b"rows"), sealer.seal(b"rows").unwrap()).unwrap();
            let (id, parts, blobs) = pack.close(&key).unwrap();
            let bytes = parts.concat();
            assert_eq!(id, Id::new(sha256(&bytes)));

            let (body, length) = bytes.split_at(bytes.len() - 4);
            let length = u32::from_le_bytes(length.try_into().unwrap()) as usize;
            let header = key.decrypt(&body[body.len() - length..]).unwrap();
            assert_eq!(header.len(), 2 * entry);
            assert_eq!([header[0], header[entry]], if version == 2 { [3, 2] } else { [1, 0] });
            assert_eq!(header[1..5], blobs[0].length.to_le_bytes());
            assert_eq!(header[entry - 32..entry], sha256(&json));
            assert_eq!(blobs[1].offset, blobs[0].length);
            assert_eq!([blobs[0].kind, blobs[1].kind], ["tree", "data"]);
            for (blob, content) in blobs.iter().zip([json.as_slice(), b"rows"]) {
                let plain = key.decrypt(&bytes[blob.offset as usize..][..blob.length as usize]).unwrap();
                let plain = match blob.uncompressed_length {
                    None => plain,
                    Some(length) => zstd::bulk::decompress(&plain, length as usize).unwrap(),
                };
                assert_eq!(plain, content);
                assert_eq!(blob.uncompressed_length.is_some(), version == 2);
            }
        }
    }

    #[test]
    fn a_tree_under_a_wrong_name_is_refused() {
        let key = RepositoryKey::from_master(&MasterKey::new()).unwrap();
        let backend = Backend::new(Store::new(&coffer_storage::Storage::memory()), Gate::Shut);
        let error = write_trees(&backend, &key, 2, vec![(TreeId::default(), b"{}".to_vec())]).unwrap_err();
        assert!(error.to_string().contains("did not survive"), "{error}");
    }

    #[test]
    fn impossible_lengths_are_noticed() {
        assert_eq!(content_length(31, None), None);
        assert_eq!(content_length(32, None), Some(0));
        assert_eq!(content_length(5, Some(9)), Some(9));
    }
}
