//! Writes trees into the repository: the pack and index formats of restic, as far as trees need them.
//!
//! A pack is the encrypted blobs one after the other, then the encrypted header (one entry a blob), then the header's length as four bytes.

use jiff::Timestamp;
use rustic_core::{BytesList, FileType, Id, TreeId};
use serde::Serialize;

use crate::backend::Backend;
use crate::crypto::{CryptoError, OVERHEAD, RepositoryKey, sha256};
use crate::error::RepositoryError;

/// A pack is written when it has reached this many bytes.
const PACK_SIZE: usize = 4 << 20;
const COMPRESSION: i32 = 1;
/// Header entries: a tree as it is, and a compressed one.
const TREE: u8 = 1;
const PACKED_TREE: u8 = 3;

/// What was added to the repository.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Added {
    pub(crate) blobs: u64,
    /// Bytes before compression.
    pub(crate) bytes: u64,
    /// Bytes in the packs.
    pub(crate) packed: u64,
}

#[derive(Serialize)]
struct IndexFile {
    packs: Vec<IndexPack>,
}

#[derive(Serialize)]
struct IndexPack {
    id: String,
    blobs: Vec<IndexBlob>,
    time: Timestamp,
}

#[derive(Serialize)]
struct IndexBlob {
    id: String,
    #[serde(rename = "type")]
    kind: &'static str,
    offset: u32,
    length: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    uncompressed_length: Option<u32>,
}

/// Writes trees and an index of them. They are durable when the backend's next barrier is passed.
pub(crate) fn write_trees(
    backend: &Backend,
    key: &RepositoryKey,
    version: u32,
    trees: Vec<(TreeId, Vec<u8>)>,
) -> Result<Added, RepositoryError> {
    let location = backend.store().location().to_owned();
    let failed = |what: String| RepositoryError::Engine { location: location.clone(), message: what };
    let mut added = Added::default();
    let mut index = IndexFile { packs: Vec::new() };
    let mut pack = Pack::default();
    for (id, json) in trees {
        added.blobs += 1;
        added.bytes += json.len() as u64;
        added.packed +=
            pack.add(key, version, *id, &json).map_err(|error| failed(format!("tree {id}: {error}")))? as u64;
        if pack.bytes.len() >= PACK_SIZE {
            index.packs.push(std::mem::take(&mut pack).write(backend, key).map_err(|error| error.into_ours(&failed))?);
        }
    }
    if !pack.blobs.is_empty() {
        index.packs.push(pack.write(backend, key).map_err(|error| error.into_ours(&failed))?);
    }
    if !index.packs.is_empty() {
        let json =
            serde_json::to_vec(&index).map_err(|error| failed(format!("an index cannot be written: {error}")))?;
        let content = key.encrypt(&json).map_err(|error| failed(error.to_string()))?;
        backend.put(FileType::Index, &Id::new(sha256(&content)), BytesList::from(content))?;
    }
    Ok(added)
}

#[derive(Debug, thiserror::Error)]
enum PackError {
    #[error("{0}")]
    Storage(RepositoryError),
    #[error("{0}")]
    Crypto(#[from] CryptoError),
    #[error("it cannot be compressed: {0}")]
    Compress(#[from] std::io::Error),
    #[error("it is larger than the format allows")]
    TooLarge(#[from] std::num::TryFromIntError),
    #[error("it did not survive its encryption: the memory or the processor of this machine is not to be trusted")]
    Changed,
}

impl PackError {
    fn into_ours(self, failed: &impl Fn(String) -> RepositoryError) -> RepositoryError {
        match self {
            Self::Storage(error) => error,
            other => failed(format!("a pack of trees: {other}")),
        }
    }
}

#[derive(Default)]
struct Pack {
    bytes: Vec<u8>,
    header: Vec<u8>,
    blobs: Vec<IndexBlob>,
}

impl Pack {
    /// Appends a tree and says how many bytes it took. It is read back before it is trusted.
    fn add(&mut self, key: &RepositoryKey, version: u32, id: Id, json: &[u8]) -> Result<usize, PackError> {
        let packed = (version >= 2).then(|| zstd::bulk::compress(json, COMPRESSION)).transpose()?;
        let sealed = key.encrypt(packed.as_deref().unwrap_or(json))?;
        let again = key.decrypt(&sealed)?;
        let again = if packed.is_some() { zstd::bulk::decompress(&again, json.len())? } else { again };
        if again != json || Id::new(sha256(json)) != id {
            return Err(PackError::Changed);
        }
        let offset = u32::try_from(self.bytes.len())?;
        let length = u32::try_from(sealed.len())?;
        let uncompressed_length = packed.is_some().then(|| u32::try_from(json.len())).transpose()?;
        self.header.push(if uncompressed_length.is_some() { PACKED_TREE } else { TREE });
        self.header.extend_from_slice(&length.to_le_bytes());
        if let Some(uncompressed) = uncompressed_length {
            self.header.extend_from_slice(&uncompressed.to_le_bytes());
        }
        self.header.extend_from_slice(&sha256(json));
        let id = id.to_hex().as_str().to_owned();
        self.blobs.push(IndexBlob { id, kind: "tree", offset, length, uncompressed_length });
        self.bytes.extend_from_slice(&sealed);
        Ok(sealed.len())
    }

    fn close(mut self, key: &RepositoryKey) -> Result<(Vec<u8>, Vec<IndexBlob>), PackError> {
        let header = key.encrypt(&self.header)?;
        let length = u32::try_from(header.len())?;
        self.bytes.extend_from_slice(&header);
        self.bytes.extend_from_slice(&length.to_le_bytes());
        Ok((self.bytes, self.blobs))
    }

    fn write(self, backend: &Backend, key: &RepositoryKey) -> Result<IndexPack, PackError> {
        let (bytes, blobs) = self.close(key)?;
        let id = Id::new(sha256(&bytes));
        backend.put(FileType::Pack, &id, BytesList::from(bytes)).map_err(PackError::Storage)?;
        Ok(IndexPack { id: id.to_hex().as_str().to_owned(), blobs, time: Timestamp::now() })
    }
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

    #[test]
    fn packs_have_restics_layout() {
        for (version, entry) in [(1, 37), (2, 41)] {
            let key = RepositoryKey::from_master(&MasterKey::new()).unwrap();
            let mut pack = Pack::default();
            let (json, id) = Tree::default().serialize().unwrap();
            pack.add(&key, version, *id, &json).unwrap();
            pack.add(&key, version, Id::new(sha256(b"[]")), b"[]").unwrap();
            let (bytes, blobs) = pack.close(&key).unwrap();

            let (body, length) = bytes.split_at(bytes.len() - 4);
            let length = u32::from_le_bytes(length.try_into().unwrap()) as usize;
            let header = key.decrypt(&body[body.len() - length..]).unwrap();
            assert_eq!(header.len(), 2 * entry);
            assert_eq!(header[0], if version == 2 { PACKED_TREE } else { TREE });
            assert_eq!(header[1..5], blobs[0].length.to_le_bytes());
            assert_eq!(header[entry - 32..entry], sha256(&json));
            assert_eq!(blobs[1].offset, blobs[0].length);
            for (blob, content) in blobs.iter().zip([json.as_slice(), b"[]"]) {
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
        assert!(matches!(Pack::default().add(&key, 2, Id::default(), b"{}"), Err(PackError::Changed)));
    }

    #[test]
    fn impossible_lengths_are_noticed() {
        assert_eq!(content_length(31, None), None);
        assert_eq!(content_length(32, None), Some(0));
        assert_eq!(content_length(5, Some(9)), Some(9));
    }
}
