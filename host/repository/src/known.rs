//! Which data a repository has already: the ids of its data blobs, 32 bytes each, from its index files.

use std::io::Read;

use rustic_core::FileType;
use serde::Deserialize;

use crate::backend::{Backend, path};
use crate::crypto::RepositoryKey;
use crate::error::RepositoryError;

/// What an index file may unpack to. Those of restic and rustic have some 10 MB.
const UNPACK_LIMIT: u64 = 1 << 30;

#[derive(Deserialize)]
struct IndexFile {
    #[serde(default)]
    packs: Vec<IndexPack>,
}

#[derive(Deserialize)]
struct IndexPack {
    blobs: Vec<IndexBlob>,
}

#[derive(Deserialize)]
struct IndexBlob {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    length: u32,
}

/// The data blobs of a repository. Those in packs that a prune has marked for deletion are not among them.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// Sorted.
    ids: Vec<[u8; 32]>,
    /// Bytes that the data takes in packs.
    pub(crate) stored: u64,
}

impl Known {
    /// Reads all index files.
    pub(crate) fn read(backend: &Backend, key: &RepositoryKey) -> Result<Self, RepositoryError> {
        let mut known = Self::default();
        for (id, _) in backend.files(FileType::Index)? {
            let damaged = |why: String| {
                let what = format!("{} cannot be read: {why}", path(FileType::Index, &id));
                RepositoryError::damaged(backend.store().location(), what)
            };
            let content = backend.get(FileType::Index, &id, None)?;
            let plain = key.decrypt(&content).map_err(|error| damaged(error.to_string()))?;
            let file: IndexFile = match plain.split_first() {
                Some((2, packed)) => zstd::Decoder::new(packed)
                    .map_err(serde_json::Error::io)
                    .and_then(|plain| serde_json::from_reader(std::io::BufReader::new(plain.take(UNPACK_LIMIT)))),
                _ => serde_json::from_slice(&plain),
            }
            .map_err(|error| damaged(error.to_string()))?;
            for blob in file.packs.into_iter().flat_map(|pack| pack.blobs).filter(|blob| blob.kind == "data") {
                let mut bytes = [0; 32];
                hex::decode_to_slice(&blob.id, &mut bytes).map_err(|error| damaged(error.to_string()))?;
                known.ids.push(bytes);
                known.stored = known.stored.saturating_add(blob.length.into());
            }
        }
        known.ids.sort_unstable();
        known.ids.dedup();
        known.ids.shrink_to_fit();
        Ok(known)
    }

    pub(crate) fn has(&self, id: &[u8; 32]) -> bool {
        self.ids.binary_search(id).is_ok()
    }
}
