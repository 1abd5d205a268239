//! The interface `pipe`: the bytes of one stream. The sandbox counts them itself, and keeps the end of a stream apart from
//! the end of a guest: only `finish` and an Ok of `run` together make a stream whole.

use wasmtime::Result;
use wasmtime::component::Resource;

use crate::bindings::coffer::addon::pipe::{Host, HostReader, HostWriter};
use crate::bindings::coffer::addon::types::Error;
use crate::caps::CHUNK;
use crate::contract::{AddonError, ByteSink, ByteSource, ErrorKind};
use crate::run::cancelled;
use crate::state::State;

/// The guest's handle for writing. Its number is the number of the stream, so that a handle kept from an earlier item
/// reaches nothing, and a leaked one costs nothing.
#[expect(unreachable_pub, reason = "the generated bindings re-export it, inside of this crate")]
pub struct Writer;

/// The guest's handle for reading, made like [`Writer`].
#[expect(unreachable_pub, reason = "the generated bindings re-export it, inside of this crate")]
pub struct Reader;

/// The stream of the item that is running.
pub(crate) struct Stream {
    id: u32,
    pub(crate) path: String,
    end: End,
    bytes: u64,
    failed: Option<AddonError>,
}

enum End {
    Sink { sink: Box<dyn ByteSink>, finished: bool },
    Source { source: Box<dyn ByteSource>, ended: bool },
}

/// How a stream was left behind by a guest that says it is done.
pub(crate) enum Verdict {
    Whole,
    /// The other end of the pipe failed, whatever the guest says.
    Failed(AddonError),
    /// The guest stopped early.
    Partial(String),
}

impl Stream {
    fn write(&mut self, bytes: Vec<u8>) -> Result<(), AddonError> {
        self.usable()?;
        let End::Sink { sink, finished } = &mut self.end else { return Err(ended()) };
        if *finished {
            return Err(AddonError::new(ErrorKind::Internal, "the addon wrote to a stream after it had finished it"));
        }
        let len = bytes.len() as u64;
        if len > 0 {
            sink.write(bytes)?;
            self.bytes = self.bytes.saturating_add(len);
        }
        Ok(())
    }

    fn finish(&mut self, bytes: u64) -> Result<(), AddonError> {
        self.usable()?;
        let End::Sink { sink, finished } = &mut self.end else { return Err(ended()) };
        if *finished {
            return Err(AddonError::new(ErrorKind::Internal, "the addon finished its stream twice"));
        }
        if bytes != self.bytes {
            let text = format!("the addon says that the stream has {bytes} bytes, but it wrote {}", self.bytes);
            return Err(AddonError::new(ErrorKind::Internal, text));
        }
        sink.finish(bytes)?;
        *finished = true;
        Ok(())
    }

    fn read(&mut self, max: usize) -> Result<Vec<u8>, AddonError> {
        self.usable()?;
        let End::Source { source, ended: at_end } = &mut self.end else { return Err(ended()) };
        if *at_end {
            return Ok(Vec::new());
        }
        let bytes = source.read(max)?;
        if bytes.len() > max {
            let text = format!("the repository gave {} bytes where {max} were asked for", bytes.len());
            return Err(AddonError::new(ErrorKind::Internal, text));
        }
        *at_end = bytes.is_empty();
        self.bytes = self.bytes.saturating_add(bytes.len() as u64);
        Ok(bytes)
    }

    /// Remembers the first failure: it ends the stream for good.
    fn noting<T>(&mut self, result: Result<T, AddonError>) -> Result<T, AddonError> {
        if let Err(error) = &result {
            self.failed.get_or_insert_with(|| error.clone());
        }
        result
    }

    fn usable(&self) -> Result<(), AddonError> {
        self.failed.clone().map_or(Ok(()), Err)
    }

    /// What the pipe knows when the guest says that it is done.
    pub(crate) fn verdict(mut self) -> Verdict {
        if let Some(error) = self.failed.take() {
            return Verdict::Failed(error);
        }
        match self.end {
            End::Sink { finished: true, .. } | End::Source { ended: true, .. } => Verdict::Whole,
            End::Sink { .. } => Verdict::Partial(format!(
                "it returned success after {} bytes but did not finish its stream",
                self.bytes
            )),
            // A guest that knows the size need not ask for the end. The source checks size and hash there.
            End::Source { mut source, .. } => match source.read(1) {
                Ok(rest) if rest.is_empty() => Verdict::Whole,
                Ok(_) => Verdict::Partial(format!(
                    "it returned success but stopped reading its stream at {} bytes, before the end",
                    self.bytes
                )),
                Err(error) => Verdict::Failed(error),
            },
        }
    }

    /// The failure of the other end, if there was one.
    pub(crate) fn into_failure(self) -> Option<AddonError> {
        self.failed
    }
}

fn ended() -> AddonError {
    AddonError::new(ErrorKind::Internal, "the addon used the stream of an item that has ended")
}

impl State {
    /// Opens the way into the repository for one item.
    pub(crate) fn open_sink(&mut self, path: &str, sink: Box<dyn ByteSink>) -> Resource<Writer> {
        Resource::new_own(self.open(path, End::Sink { sink, finished: false }))
    }

    /// Opens the way out of the repository for one item.
    pub(crate) fn open_source(&mut self, path: &str, source: Box<dyn ByteSource>) -> Resource<Reader> {
        Resource::new_own(self.open(path, End::Source { source, ended: false }))
    }

    fn open(&mut self, path: &str, end: End) -> u32 {
        self.streams = self.streams.wrapping_add(1);
        self.stream = Some(Stream { id: self.streams, path: path.to_owned(), end, bytes: 0, failed: None });
        self.streams
    }

    fn on_stream<T>(
        &mut self,
        id: u32,
        work: impl FnOnce(&mut Stream) -> Result<T, AddonError>,
    ) -> Result<Result<T, Error>> {
        self.hosted(|state| {
            let Some(stream) = state.stream.as_mut().filter(|stream| stream.id == id) else {
                return Ok(Err(ended().into()));
            };
            let before = stream.bytes;
            let result = match state.watch.stopping() {
                Some(reason) => Err(cancelled(reason)),
                None => work(stream),
            };
            let result = stream.noting(result);
            if stream.bytes != before {
                state.watch.moved();
            }
            Ok(result.map_err(Into::into))
        })
    }
}

impl Host for State {}

impl HostWriter for State {
    fn write(&mut self, writer: Resource<Writer>, bytes: Vec<u8>) -> Result<Result<(), Error>> {
        if bytes.len() > CHUNK {
            return self.violation(format!(
                "it wrote {} bytes to its stream at once, at most {CHUNK} are allowed",
                bytes.len()
            ));
        }
        self.on_stream(writer.rep(), |stream| stream.write(bytes))
    }

    fn finish(&mut self, writer: Resource<Writer>, bytes: u64) -> Result<Result<(), Error>> {
        self.on_stream(writer.rep(), |stream| stream.finish(bytes))
    }

    fn drop(&mut self, _writer: Resource<Writer>) -> Result<()> {
        Ok(())
    }
}

impl HostReader for State {
    fn read(&mut self, reader: Resource<Reader>, max: u32) -> Result<Result<Vec<u8>, Error>> {
        let Some(max) = read_size(max) else {
            return self.violation("it asked its stream for 0 bytes, which cannot be told from the end");
        };
        self.on_stream(reader.rep(), |stream| stream.read(max))
    }

    fn drop(&mut self, _reader: Resource<Reader>) -> Result<()> {
        Ok(())
    }
}

/// What a guest's `max` of a read means: capped, and never 0, since an empty answer is the end.
pub(crate) fn read_size(max: u32) -> Option<usize> {
    (max > 0).then(|| usize::try_from(max).map_or(CHUNK, |max| max.min(CHUNK)))
}
