//! The host behind the handles.

use std::time::Duration;

use super::bindings::coffer::addon::{pipe, run, target};
use crate::backend::{Database, Run, Sink, Source, Stream};
use crate::{Credentials, Level, Result, TargetInfo, Tls, Worker};

/// The most random bytes that the contract gives out in one call.
const MAX_RANDOM: usize = 64 * 1024;

/// The run, as the host has it.
pub(super) struct HostRun;

impl Run for HostRun {
    fn task(&self) -> String {
        run::task()
    }

    fn parameters(&self) -> Vec<(String, String)> {
        run::parameters().into_iter().map(|parameter| (parameter.name, parameter.value)).collect()
    }

    fn worker(&self) -> Worker {
        let worker = run::this_worker();
        Worker { index: worker.index, count: worker.count }
    }

    fn log(&self, level: Level, message: &str) {
        let level = match level {
            Level::Error => run::Level::Error,
            Level::Warn => run::Level::Warn,
            Level::Info => run::Level::Info,
            Level::Debug => run::Level::Debug,
        };
        run::log(level, message);
    }

    fn progress(&self, note: &str) {
        run::progress(note);
    }

    fn cancelled(&self) -> bool {
        run::cancelled()
    }

    fn random(&self, bytes: &mut [u8]) {
        random(bytes);
    }

    fn elapsed(&self) -> Duration {
        Duration::from_millis(run::elapsed_ms())
    }

    fn sleep(&self, time: Duration) -> Result<()> {
        let mut milliseconds = time.as_nanos().div_ceil(1_000_000);
        while milliseconds > 0 {
            let step = u32::try_from(milliseconds).unwrap_or(u32::MAX);
            run::sleep_ms(step)?;
            milliseconds -= u128::from(step);
        }
        Ok(())
    }
}

/// Fills `bytes` with the host's random bytes. Traps if the host gives fewer than asked for: going on with zeros in a nonce
/// would be worse.
pub(super) fn random(bytes: &mut [u8]) {
    for chunk in bytes.chunks_mut(MAX_RANDOM) {
        chunk.copy_from_slice(&run::random(number(chunk.len())));
    }
}

/// The target, as the host has it.
pub(super) struct HostTarget;

impl Database for HostTarget {
    fn info(&self) -> TargetInfo {
        let info = target::describe();
        TargetInfo {
            kind: info.kind,
            name: info.name,
            namespace: info.namespace,
            version: info.version,
            tls: match info.tls {
                target::Tls::Disabled => Tls::Disabled,
                target::Tls::Preferred => Tls::Preferred,
                target::Tls::Required => Tls::Required,
            },
            path: info.path,
            query: info.query,
        }
    }

    fn credentials(&self) -> Result<Credentials> {
        let credentials = target::get_credentials()?;
        Ok(Credentials { username: credentials.username, password: credentials.password })
    }

    fn connect(&self) -> Result<Box<dyn Stream>> {
        Ok(Box::new(HostConnection(target::connect()?)))
    }
}

struct HostConnection(target::Connection);

impl Source for HostConnection {
    fn read(&mut self, max: usize, into: &mut Vec<u8>) -> Result<usize> {
        Ok(append(self.0.read(number(max))?, into))
    }
}

impl Stream for HostConnection {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.0.write(bytes)?)
    }

    fn start_tls(&mut self) -> Result<()> {
        Ok(self.0.start_tls()?)
    }
}

/// The way into the repository.
pub(super) struct HostWriter(pub(super) pipe::Writer);

impl Sink for HostWriter {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.0.write(bytes)?)
    }

    fn finish(&mut self, bytes: u64) -> Result<()> {
        Ok(self.0.finish(bytes)?)
    }
}

/// The way out of the repository.
pub(super) struct HostReader(pub(super) pipe::Reader);

impl Source for HostReader {
    fn read(&mut self, max: usize, into: &mut Vec<u8>) -> Result<usize> {
        Ok(append(self.0.read(number(max))?, into))
    }
}

/// Takes the host's allocation over where there is nothing to append to.
fn append(bytes: Vec<u8>, into: &mut Vec<u8>) -> usize {
    let count = bytes.len();
    if into.capacity() == 0 {
        *into = bytes;
    } else {
        into.extend_from_slice(&bytes);
    }
    count
}

/// The contract counts in 32 bits, as this target does.
fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
