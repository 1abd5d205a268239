//! The bytes of one stream, on their way into a repository or out of it.

use std::fmt;
use std::io;

use crate::backend::{MAX_TRANSFER, Sink, Source};
use crate::buffer::ReadBuffer;
use crate::{Error, Result};

/// Bytes are collected up to this size before they cross to the host.
const WRITE_SIZE: usize = 256 * 1024;

/// The way into the repository for one stream. A stream that was not [finished](Self::finish) is never published.
pub struct Writer {
    sink: Box<dyn Sink>,
    buffer: Vec<u8>,
    sent: u64,
}

/// The proof that a stream is whole. Only [`Writer::finish`] makes one.
#[derive(Debug)]
pub struct Finished {
    bytes: u64,
}

impl Finished {
    /// How many bytes the stream has.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Writer {
    /// A writer into this sink.
    pub fn new(sink: Box<dyn Sink>) -> Self {
        Self { sink, buffer: Vec::with_capacity(WRITE_SIZE), sent: 0 }
    }

    /// Appends bytes; waits while the repository is busy. An error ends the stream for good.
    pub fn write_all(&mut self, bytes: &[u8]) -> Result<()> {
        if self.buffer.len().saturating_add(bytes.len()) > WRITE_SIZE {
            self.send()?;
            if bytes.len() >= WRITE_SIZE {
                return self.pass(bytes);
            }
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    /// Lends the buffer so that bytes are made in place: append to it, nothing else. What is in it is sent first once there is
    /// much; it grows if one loan appends more than fits.
    #[inline]
    pub fn buffer(&mut self) -> Result<&mut Vec<u8>> {
        // An eighth is left for the next loan, so that a typical row does not make the buffer grow.
        if self.buffer.len() >= WRITE_SIZE / 8 * 7 {
            self.send()?;
        }
        Ok(&mut self.buffer)
    }

    /// How many bytes were written so far.
    pub fn written(&self) -> u64 {
        self.sent.saturating_add(self.buffer.len() as u64)
    }

    /// Sends what is left and says that the stream is whole. The host compares the number of bytes with its own count.
    pub fn finish(mut self) -> Result<Finished> {
        self.send()?;
        self.sink.finish(self.sent)?;
        Ok(Finished { bytes: self.sent })
    }

    /// Sends what was collected.
    #[cold]
    fn send(&mut self) -> Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        self.pass(&buffer)?;
        buffer.clear();
        // One huge row must not pin its size for the rest of the stream.
        buffer.shrink_to(2 * WRITE_SIZE);
        self.buffer = buffer;
        Ok(())
    }

    fn pass(&mut self, bytes: &[u8]) -> Result<()> {
        for chunk in bytes.chunks(MAX_TRANSFER) {
            self.sink.write(chunk)?;
            self.sent = self.sent.saturating_add(chunk.len() as u64);
        }
        Ok(())
    }
}

impl io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Self::write_all(self, bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(self.send()?)
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("written", &self.written()).finish_non_exhaustive()
    }
}

/// The way out of the repository for one stream. The host checks size and SHA-256 where the manifest knows them; what does not
/// match is an error before the end, never a silent end. So read to the end.
pub struct Reader {
    source: Box<dyn Source>,
    input: ReadBuffer,
    consumed: u64,
}

impl Reader {
    /// A reader from this source.
    pub fn new(source: Box<dyn Source>) -> Self {
        Self { source, input: ReadBuffer::default(), consumed: 0 }
    }

    /// Waits until at least `count` bytes are there in one piece, or the stream has ended (`false`).
    pub fn try_fill(&mut self, count: usize) -> Result<bool> {
        self.input.fill(&mut *self.source, count)
    }

    /// Like [`try_fill`](Self::try_fill) and returns all that is there; the stream ending before that is an error of kind `data`.
    pub fn fill(&mut self, count: usize) -> Result<&[u8]> {
        if !self.try_fill(count)? {
            return Err(Error::data(format!(
                "the stream ends in the middle: {count} bytes were expected after byte {}, {} are left",
                self.consumed,
                self.input.bytes().len()
            )));
        }
        Ok(self.input.bytes())
    }

    /// What was read and not yet consumed.
    pub fn buffer(&self) -> &[u8] {
        self.input.bytes()
    }

    /// Drops the first `count` bytes of the buffer.
    pub fn consume(&mut self, count: usize) {
        let count = count.min(self.input.bytes().len());
        self.input.consume(count);
        self.consumed = self.consumed.saturating_add(count as u64);
    }

    /// How many bytes were consumed so far.
    pub fn consumed(&self) -> u64 {
        self.consumed
    }
}

impl io::Read for Reader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() || !self.try_fill(1)? {
            return Ok(0);
        }
        let count = io::Read::read(&mut self.buffer(), out)?;
        self.consume(count);
        Ok(count)
    }
}

impl io::BufRead for Reader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.try_fill(1)?;
        Ok(self.buffer())
    }

    fn consume(&mut self, count: usize) {
        Self::consume(self, count);
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("consumed", &self.consumed).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Read, Write};

    use super::*;
    use crate::native::{FunctionSink, MemorySink, reader};

    #[test]
    fn counts_what_it_sends() {
        let sink = MemorySink::default();
        let mut writer = sink.writer();
        let data: Vec<u8> = (0..2_000_000u32).map(|n| (n % 241) as u8).collect();
        writer.write_all(&data[..10]).unwrap();
        writer.write_all(&data[10..1_500_000]).unwrap();
        writer.buffer().unwrap().extend_from_slice(&data[1_500_000..1_500_100]);
        assert_eq!(writer.written(), 1_500_100);
        Write::write_all(&mut writer, &data[1_500_100..]).unwrap();
        assert_eq!(sink.finished(), None);
        assert_eq!(writer.finish().unwrap().bytes(), data.len() as u64);
        assert_eq!(sink.finished(), Some(data.len() as u64));
        assert!(sink.bytes() == data, "bytes were lost or moved");
    }

    #[test]
    fn an_empty_stream_is_whole_too() {
        let sink = MemorySink::default();
        sink.writer().finish().unwrap();
        assert_eq!(sink.finished(), Some(0));
    }

    #[test]
    fn the_buffer_lent_row_by_row_stays_small() {
        let mut largest = 0;
        let mut writer = FunctionSink(move |bytes: &[u8]| {
            largest = largest.max(bytes.len());
            assert!(largest <= WRITE_SIZE, "{largest} bytes in one call");
            Ok(())
        })
        .writer();
        for _ in 0..100_000 {
            writer.buffer().unwrap().extend_from_slice(&[7; 100]);
        }
        assert_eq!(writer.finish().unwrap().bytes(), 10_000_000);
    }

    #[test]
    fn an_error_of_the_pipe_comes_back_as_it_was() {
        let mut writer = FunctionSink(|_: &[u8]| Err(Error::unavailable("disk full").retryable(false))).writer();
        let error = Error::from(Write::write_all(&mut writer, &vec![0; 2 * WRITE_SIZE]).unwrap_err());
        assert_eq!(error, Error::unavailable("disk full").retryable(false));
    }

    #[test]
    fn reads_in_place_and_through_std() {
        let mut input = reader(Cursor::new(b"header and the rest".to_vec()));
        assert_eq!(&input.fill(6).unwrap()[..6], b"header");
        input.consume(7);
        assert_eq!(input.consumed(), 7);
        let mut rest = String::new();
        input.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "and the rest");
        assert_eq!(input.consumed(), 19);
        assert!(!input.try_fill(1).unwrap());
        assert_eq!(input.fill(1).unwrap_err().kind, crate::ErrorKind::Data);
    }
}
