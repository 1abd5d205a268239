//! One byte stream to the database, buffered both ways.

use std::fmt;
use std::io;

use crate::backend::{MAX_TRANSFER, Stream};
use crate::buffer::ReadBuffer;
use crate::{Error, Result};

/// Writes that fit are collected up to this size before they cross to the host.
const WRITE_SIZE: usize = 128 * 1024;

/// One byte stream to the database. Dropping it closes it.
///
/// Reads come from a buffer that parsers look at in place: [`fill`](Self::fill), look at [`buffer`](Self::buffer),
/// [`consume`](Self::consume). Writes are collected until [`flush`](Self::flush); waiting for bytes flushes by itself, so a
/// forgotten flush costs time but never hangs.
pub struct Connection {
    stream: Box<dyn Stream>,
    input: ReadBuffer,
    output: Vec<u8>,
}

impl Connection {
    /// A connection over this stream.
    pub fn new(stream: Box<dyn Stream>) -> Self {
        Self { stream, input: ReadBuffer::default(), output: Vec::new() }
    }

    /// Waits until at least `count` bytes are there in one piece and returns all that are there. The peer closing before that
    /// is an error of kind `unavailable`.
    #[inline]
    pub fn fill(&mut self, count: usize) -> Result<&[u8]> {
        if !self.try_fill(count)? {
            return Err(self.closed(count));
        }
        Ok(self.input.bytes())
    }

    #[cold]
    fn closed(&self, count: usize) -> Error {
        let came = self.input.bytes().len();
        Error::unavailable(format!("the database closed the connection: {count} bytes were expected, {came} came"))
    }

    /// Like [`fill`](Self::fill), but the peer closing before that is `false`.
    #[inline]
    pub fn try_fill(&mut self, count: usize) -> Result<bool> {
        if self.input.bytes().len() >= count { Ok(true) } else { self.wait(count) }
    }

    #[cold]
    fn wait(&mut self, count: usize) -> Result<bool> {
        self.flush()?;
        self.input.fill(&mut *self.stream, count)
    }

    /// What was read and not yet consumed.
    #[inline]
    pub fn buffer(&self) -> &[u8] {
        self.input.bytes()
    }

    /// The same, for parsers that change what they read in place.
    #[inline]
    pub fn buffer_mut(&mut self) -> &mut [u8] {
        self.input.bytes_mut()
    }

    /// Drops the first `count` bytes of the buffer.
    #[inline]
    pub fn consume(&mut self, count: usize) {
        self.input.consume(count);
    }

    /// Fills `out`.
    pub fn read_exact(&mut self, out: &mut [u8]) -> Result<()> {
        let count = out.len();
        let bytes = self.fill(count)?;
        if let Some(bytes) = bytes.get(..count) {
            out.copy_from_slice(bytes);
        }
        self.consume(count);
        Ok(())
    }

    /// Sends these bytes after those that were written before; they leave with the next [`flush`](Self::flush), or when enough
    /// have come together.
    pub fn write_all(&mut self, bytes: &[u8]) -> Result<()> {
        if self.output.len().saturating_add(bytes.len()) >= WRITE_SIZE {
            self.flush()?;
            if bytes.len() >= WRITE_SIZE {
                return bytes.chunks(MAX_TRANSFER).try_for_each(|chunk| self.stream.write(chunk));
            }
        }
        self.output.extend_from_slice(bytes);
        Ok(())
    }

    /// Sends what was collected.
    pub fn flush(&mut self) -> Result<()> {
        if !self.output.is_empty() {
            // Cleared whatever happens: after an error the stream is of no use, and bytes must not be sent twice.
            let sent = self.stream.write(&self.output);
            self.output.clear();
            sent?;
        }
        Ok(())
    }

    /// Turns the stream into a TLS stream, the host being the client. Certificates are checked as the `AppBinding` says. Bytes
    /// that the peer sent in the clear beyond what was consumed are an error: somebody may have put them there.
    pub fn start_tls(&mut self) -> Result<()> {
        self.flush()?;
        if !self.buffer().is_empty() {
            return Err(Error::protocol(format!(
                "the server sent {} bytes in the clear where encryption was to begin; refusing to read them",
                self.buffer().len()
            )));
        }
        self.stream.start_tls()
    }
}

impl io::Read for Connection {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() || !self.try_fill(1)? {
            return Ok(0);
        }
        let count = io::Read::read(&mut self.buffer(), out)?;
        self.consume(count);
        Ok(count)
    }
}

impl io::BufRead for Connection {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.try_fill(1)?;
        Ok(self.buffer())
    }

    fn consume(&mut self, count: usize) {
        Self::consume(self, count);
    }
}

impl io::Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Self::write_all(self, bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(Self::flush(self)?)
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Connection");
        shown.field("unread", &self.buffer().len()).field("unsent", &self.output.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, Read, Write};
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::ErrorKind;
    use crate::backend::Source;

    /// Answers `n` bytes of a counter for each byte that is sent; keeps what was sent, write by write.
    #[derive(Clone, Default)]
    struct Echo {
        sent: Arc<Mutex<Vec<Vec<u8>>>>,
        pending: Vec<u8>,
        tls: bool,
    }

    impl Source for Echo {
        fn read(&mut self, max: usize, into: &mut Vec<u8>) -> Result<usize> {
            let count = self.pending.len().min(max);
            into.extend(self.pending.drain(..count));
            Ok(count)
        }
    }

    impl Stream for Echo {
        fn write(&mut self, bytes: &[u8]) -> Result<()> {
            assert!(bytes.len() <= MAX_TRANSFER);
            self.sent.lock().unwrap().push(bytes.to_vec());
            self.pending.extend_from_slice(bytes);
            Ok(())
        }

        fn start_tls(&mut self) -> Result<()> {
            self.tls = true;
            Ok(())
        }
    }

    fn connection() -> (Connection, Arc<Mutex<Vec<Vec<u8>>>>) {
        let echo = Echo::default();
        let sent = Arc::clone(&echo.sent);
        (Connection::new(Box::new(echo)), sent)
    }

    #[test]
    fn small_writes_leave_together_when_an_answer_is_waited_for() {
        let (mut connection, sent) = connection();
        for word in ["one ", "two ", "three\n"] {
            connection.write_all(word.as_bytes()).unwrap();
        }
        assert!(sent.lock().unwrap().is_empty());
        let mut line = String::new();
        connection.read_line(&mut line).unwrap();
        assert_eq!(line, "one two three\n");
        assert_eq!(sent.lock().unwrap().len(), 1);
    }

    #[test]
    fn large_writes_keep_their_order() {
        let (mut connection, sent) = connection();
        let data: Vec<u8> = (0..2_500_000u32).map(|n| (n % 253) as u8).collect();
        connection.write_all(&data[..3]).unwrap();
        connection.write_all(&data[3..]).unwrap();
        connection.flush().unwrap();
        assert!(sent.lock().unwrap().concat() == data, "bytes were lost or moved");
        let mut back = vec![0; data.len()];
        connection.read_exact(&mut back).unwrap();
        assert!(back == data, "bytes were lost or moved on the way back");
    }

    #[test]
    fn the_end_is_an_error_only_in_the_middle() {
        let (mut connection, _) = connection();
        assert!(!connection.try_fill(1).unwrap());
        assert_eq!(Read::read(&mut connection, &mut [0; 8]).unwrap(), 0);
        connection.write_all(b"abc").unwrap();
        let error = connection.fill(4).unwrap_err();
        assert_eq!((error.kind, error.retryable), (ErrorKind::Unavailable, true));
        assert_eq!(connection.buffer(), b"abc");
    }

    #[test]
    fn encryption_begins_on_an_empty_buffer_only() {
        let (mut connection, sent) = connection();
        connection.write_all(b"hello").unwrap();
        connection.start_tls().unwrap();
        assert_eq!(sent.lock().unwrap().len(), 1, "what was written before belongs in front of the encryption");
        connection.fill(2).unwrap();
        assert_eq!(connection.start_tls().unwrap_err().kind, ErrorKind::Protocol);
        connection.consume(5);
        connection.start_tls().unwrap();
        write!(connection, "more").unwrap();
    }
}
