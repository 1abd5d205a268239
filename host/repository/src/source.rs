//! The streams of a backup as the engine wants to see them.
//!
//! They are handed over flat, named by number and in the order of their index: neither the order nor the folders of the final tree depend on
//! the engine's tree builder, which writes a folder twice when its entries do not come together. The final tree is built in `tree`.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rustic_core::repofile::{Metadata, Node, NodeType};
use rustic_core::{ReadSource, ReadSourceEntry, RusticResult};

use crate::pipe::{Pipe, StreamReader};

/// Any number larger than a chunk: it makes the chunker allocate a whole chunk at once instead of growing into it.
const SIZE_HINT: u64 = 1 << 40;

pub(crate) struct Source {
    readers: Mutex<Vec<StreamReader>>,
}

/// The name of a stream in the engine's own tree.
pub(crate) fn flat_name(stream: usize) -> String {
    format!("{stream:08}")
}

impl Source {
    pub(crate) fn new(pipe: &Arc<Pipe>, streams: usize, repository: usize) -> Self {
        Self { readers: Mutex::new((0..streams).map(|stream| pipe.reader(stream, repository)).collect()) }
    }
}

impl ReadSource for Source {
    type Open = StreamReader;
    type Iter = std::vec::IntoIter<RusticResult<ReadSourceEntry<StreamReader>>>;

    fn size(&self) -> RusticResult<Option<u64>> {
        Ok(None)
    }

    fn entries(&self) -> Self::Iter {
        let readers = std::mem::take(&mut *self.readers.lock().unwrap_or_else(PoisonError::into_inner));
        let entry = |(stream, reader)| {
            let name = flat_name(stream);
            let meta = Metadata { size: SIZE_HINT, ..Metadata::default() };
            let node = Node::new_node(OsStr::new(&name), NodeType::File, meta);
            Ok(ReadSourceEntry { path: PathBuf::from(name), node, open: Some(reader) })
        };
        readers.into_iter().enumerate().map(entry).collect::<Vec<_>>().into_iter()
    }
}
