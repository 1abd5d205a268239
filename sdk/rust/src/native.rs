//! Handles without a host, for unit tests of addons and for measuring what the sandbox costs.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::backend::{Database, Run, Sink, Source, Stream};
use crate::{Context, Credentials, Error, Level, Reader, Result, Target, TargetInfo, Tls, Worker, Writer};

/// A run without a host. Make one, set what the test needs, and take [`context`](Self::context)s from it; what addons log and
/// note is kept for looking at. Clones share it.
#[derive(Clone)]
pub struct NativeRun {
    task: String,
    parameters: Vec<(String, String)>,
    worker: Worker,
    shared: Arc<Shared>,
}

struct Shared {
    started: Instant,
    cancelled: AtomicBool,
    random: AtomicU64,
    logs: Mutex<Vec<(Level, String)>>,
    notes: Mutex<Vec<String>>,
}

impl NativeRun {
    /// A run of this task with one worker and no parameters.
    pub fn new(task: impl Into<String>) -> Self {
        let shared = Shared {
            started: Instant::now(),
            cancelled: AtomicBool::new(false),
            random: AtomicU64::new(0),
            logs: Mutex::default(),
            notes: Mutex::default(),
        };
        Self {
            task: task.into(),
            parameters: Vec::new(),
            worker: Worker { index: 0, count: 1 },
            shared: Arc::new(shared),
        }
    }

    /// Sets a parameter.
    #[must_use]
    pub fn parameter(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.parameters.push((name.into(), value.into()));
        self
    }

    /// Says which of how many workers this is.
    #[must_use]
    pub fn worker(mut self, index: u32, count: u32) -> Self {
        self.worker = Worker { index, count };
        self
    }

    /// A handle on this run.
    pub fn context(&self) -> Context {
        Context::new(Box::new(self.clone()))
    }

    /// Asks the addon to stop.
    pub fn cancel(&self) {
        self.shared.cancelled.store(true, Ordering::Relaxed);
    }

    /// What was logged so far.
    pub fn logs(&self) -> Vec<(Level, String)> {
        self.shared.logs.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What was said of progress so far.
    pub fn notes(&self) -> Vec<String> {
        self.shared.notes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Run for NativeRun {
    fn task(&self) -> String {
        self.task.clone()
    }

    fn parameters(&self) -> Vec<(String, String)> {
        self.parameters.clone()
    }

    fn worker(&self) -> Worker {
        self.worker
    }

    fn log(&self, level: Level, message: &str) {
        self.shared.logs.lock().unwrap_or_else(PoisonError::into_inner).push((level, message.to_owned()));
    }

    fn progress(&self, note: &str) {
        self.shared.notes.lock().unwrap_or_else(PoisonError::into_inner).push(note.to_owned());
    }

    fn cancelled(&self) -> bool {
        self.shared.cancelled.load(Ordering::Relaxed)
    }

    /// Repeatable, and so neither secure nor meant to be: a counter, mixed as in `SplitMix64`.
    fn random(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let mut mixed = self.shared.random.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            for (byte, random) in chunk.iter_mut().zip((mixed ^ (mixed >> 31)).to_le_bytes()) {
                *byte = random;
            }
        }
    }

    fn elapsed(&self) -> Duration {
        self.shared.started.elapsed()
    }

    fn sleep(&self, time: Duration) -> Result<()> {
        if self.cancelled() {
            return Err(Error::cancelled());
        }
        std::thread::sleep(time);
        Ok(())
    }
}

/// A database without a host: how to connect is up to a function.
pub struct NativeTarget<F> {
    /// What the addon is told of it.
    pub info: TargetInfo,
    /// What the addon is to log in with.
    pub credentials: Credentials,
    /// Opens one connection.
    pub connect: F,
}

impl<F: Fn() -> Result<Box<dyn Stream>> + Send + Sync + 'static> NativeTarget<F> {
    /// An `AppBinding` `demo/test` without TLS and with these credentials, reached through `connect`.
    pub fn new(username: &str, password: &str, connect: F) -> Self {
        let info = TargetInfo {
            kind: "AppBinding".to_owned(),
            name: "test".to_owned(),
            namespace: "demo".to_owned(),
            version: None,
            tls: Tls::Disabled,
            path: String::new(),
            query: Vec::new(),
        };
        let credentials = Credentials { username: Some(username.to_owned()), password: Some(password.to_owned()) };
        Self { info, credentials, connect }
    }

    /// A handle on it.
    pub fn target(self) -> Target {
        Target::new(Box::new(self))
    }
}

impl<F: Fn() -> Result<Box<dyn Stream>> + Send + Sync> Database for NativeTarget<F> {
    fn info(&self) -> TargetInfo {
        self.info.clone()
    }

    fn credentials(&self) -> Result<Credentials> {
        Ok(self.credentials.clone())
    }

    fn connect(&self) -> Result<Box<dyn Stream>> {
        (self.connect)()
    }
}

/// A database at this address, without TLS.
pub fn tcp_target(address: impl ToSocketAddrs + Send + Sync + 'static, username: &str, password: &str) -> Target {
    NativeTarget::new(username, password, move || Ok(Box::new(IoStream::connect(&address)?))).target()
}

/// A stream over anything that reads and writes: a socket, or one end of a pair in a test.
pub struct IoStream<S> {
    io: S,
    scratch: Vec<u8>,
}

impl IoStream<TcpStream> {
    /// Connects to this address.
    pub fn connect(address: impl ToSocketAddrs) -> Result<Self> {
        let socket = TcpStream::connect(address).and_then(|socket| socket.set_nodelay(true).map(|()| socket));
        socket.map(Self::new).map_err(|error| Error::unavailable(format!("cannot connect: {error}")))
    }
}

impl<S> IoStream<S> {
    /// A stream over `io`.
    pub fn new(io: S) -> Self {
        Self { io, scratch: Vec::new() }
    }
}

impl<S: Read + Send> Source for IoStream<S> {
    fn read(&mut self, max: usize, into: &mut Vec<u8>) -> Result<usize> {
        if self.scratch.len() < max {
            self.scratch.resize(max, 0);
        }
        let scratch = self.scratch.get_mut(..max).unwrap_or_default();
        let count = self.io.read(scratch)?;
        into.extend_from_slice(scratch.get(..count).unwrap_or_default());
        Ok(count)
    }
}

impl<S: Read + Write + Send> Stream for IoStream<S> {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.io.write_all(bytes).and_then(|()| self.io.flush()).map_err(Error::from)
    }

    fn start_tls(&mut self) -> Result<()> {
        Err(Error::unsupported("there is no TLS outside of the sandbox; use a server without it"))
    }
}

/// Where a [`writer`](Self::writer) puts its bytes: memory that the test looks at. Clones share it.
#[derive(Clone, Default)]
pub struct MemorySink {
    shared: Arc<Mutex<Written>>,
}

#[derive(Default)]
struct Written {
    bytes: Vec<u8>,
    finished: Option<u64>,
}

impl MemorySink {
    /// A writer into this memory.
    pub fn writer(&self) -> Writer {
        Writer::new(Box::new(self.clone()))
    }

    /// What arrived so far.
    pub fn bytes(&self) -> Vec<u8> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner).bytes.clone()
    }

    /// The count that `finish` gave, once it was called.
    pub fn finished(&self) -> Option<u64> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner).finished
    }
}

impl Sink for MemorySink {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner).bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn finish(&mut self, bytes: u64) -> Result<()> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner).finished = Some(bytes);
        Ok(())
    }
}

/// Where a writer's bytes go: a function, for example one that only counts.
pub struct FunctionSink<F>(
    /// Gets the bytes, in order.
    pub F,
);

impl<F: FnMut(&[u8]) -> Result<()> + Send + 'static> FunctionSink<F> {
    /// A writer into the function.
    pub fn writer(self) -> Writer {
        Writer::new(Box::new(self))
    }
}

impl<F: FnMut(&[u8]) -> Result<()> + Send> Sink for FunctionSink<F> {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        (self.0)(bytes)
    }

    fn finish(&mut self, _bytes: u64) -> Result<()> {
        Ok(())
    }
}

/// A reader of anything that reads: a file, or bytes in memory (`native::reader(std::io::Cursor::new(bytes))`).
pub fn reader(from: impl Read + Send + 'static) -> Reader {
    Reader::new(Box::new(IoStream::new(from)))
}
