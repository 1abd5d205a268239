//! The read buffer that connections and readers share.

use crate::Result;
use crate::backend::{MAX_TRANSFER, Source};

/// How many bytes are asked for at a time unless more are needed. Measured: 64 KiB are enough; 256 KiB cost nothing more and
/// halve the number of partial packets at the end of a read.
const READ_SIZE: usize = 256 * 1024;

/// Bytes that were read and not yet consumed: `data[start..]`.
#[derive(Default)]
pub(crate) struct ReadBuffer {
    data: Vec<u8>,
    start: usize,
}

impl ReadBuffer {
    /// What is there.
    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        self.data.get(self.start..).unwrap_or_default()
    }

    /// What is there, to be changed in place.
    #[inline]
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        self.data.get_mut(self.start..).unwrap_or_default()
    }

    /// Drops the first `count` bytes; more than there are drops all.
    #[inline]
    pub(crate) fn consume(&mut self, count: usize) {
        self.start = self.start.saturating_add(count).min(self.data.len());
    }

    /// Reads until `count` bytes are there in one piece. False if the source ended before.
    pub(crate) fn fill(&mut self, source: &mut (impl Source + ?Sized), count: usize) -> Result<bool> {
        while self.bytes().len() < count {
            self.make_room(count);
            let missing = count.saturating_sub(self.data.len());
            if source.read(missing.clamp(READ_SIZE, MAX_TRANSFER), &mut self.data)? == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Moves what is there to the front, so that appending makes one piece of it and consumed bytes do not pile up.
    fn make_room(&mut self, count: usize) {
        if self.start == self.data.len() {
            // Left empty without capacity: the guest's source then hands over the host's own allocation instead of a copy.
            self.data = Vec::new();
        } else if self.start > 0 {
            self.data.drain(..self.start);
        }
        self.start = 0;
        if count > READ_SIZE && self.data.capacity() < count && !self.data.is_empty() {
            self.data.reserve_exact(count - self.data.len() + READ_SIZE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Yields its pieces one read at a time, cut to `max`.
    struct Pieces(Vec<Vec<u8>>);

    impl Source for Pieces {
        fn read(&mut self, max: usize, into: &mut Vec<u8>) -> Result<usize> {
            if self.0.is_empty() {
                return Ok(0);
            }
            let mut piece = self.0.remove(0);
            if piece.len() > max {
                self.0.insert(0, piece.split_off(max));
            }
            into.extend_from_slice(&piece);
            Ok(piece.len())
        }
    }

    #[test]
    fn joins_pieces_and_keeps_the_order() {
        let data: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
        for size in [1usize << 10, 65_537, 1 << 20, 2 << 20] {
            let mut source = Pieces(data.chunks(size).map(<[u8]>::to_vec).collect());
            let mut buffer = ReadBuffer::default();
            let mut seen = 0;
            for want in [1usize, 5, 300_000, 7, 0, 1_500_000, 64].iter().copied().cycle() {
                let whole = buffer.fill(&mut source, want).unwrap();
                let take = want.min(buffer.bytes().len());
                assert_eq!(&buffer.bytes()[..take], &data[seen..seen + take], "pieces of {size}");
                buffer.consume(take);
                seen += take;
                if !whole {
                    break;
                }
            }
            assert_eq!(seen, data.len(), "pieces of {size}");
        }
    }

    #[test]
    fn consuming_too_much_is_harmless() {
        let mut buffer = ReadBuffer::default();
        assert!(buffer.fill(&mut Pieces(vec![vec![1, 2, 3]]), 2).unwrap());
        buffer.consume(usize::MAX);
        assert!(buffer.bytes().is_empty());
        assert!(!buffer.fill(&mut Pieces(vec![]), 1).unwrap());
    }
}
