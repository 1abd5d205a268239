//! The interface `run`: what every guest may know and say.

use std::time::{Duration, Instant};

use wasmtime::Result;

use crate::bindings::coffer::addon::run::{Host, Level as WitLevel, Parameter, Worker};
use crate::bindings::coffer::addon::types::{self, Error};
use crate::caps::{LOG_LINE, RANDOM};
use crate::contract::{AddonError, ErrorKind};
use crate::state::State;
use crate::watch::Stop;

/// Log lines that a session may write at once, and per second in the long run.
const LINES: Rate = Rate { burst: 10_000.0, per_second: 100.0 };
/// The same in bytes.
const BYTES: Rate = Rate { burst: 8_388_608.0, per_second: 65_536.0 };
/// Progress notes; those in excess are dropped, as the next one would replace them anyway.
const NOTES: Rate = Rate { burst: 50.0, per_second: 20.0 };

#[derive(Debug, Clone, Copy)]
struct Rate {
    burst: f64,
    per_second: f64,
}

/// A budget that refills with time.
#[derive(Debug)]
struct Bucket {
    rate: Rate,
    level: f64,
    filled: Instant,
}

impl Bucket {
    fn new(rate: Rate, now: Instant) -> Self {
        Self { rate, level: rate.burst, filled: now }
    }

    fn take(&mut self, amount: f64, now: Instant) -> bool {
        let refill = now.saturating_duration_since(self.filled).as_secs_f64() * self.rate.per_second;
        self.level = (self.level + refill).min(self.rate.burst);
        self.filled = now;
        let enough = self.level >= amount;
        if enough {
            self.level -= amount;
        }
        enough
    }
}

/// What a session may still log.
#[derive(Debug)]
pub(crate) struct LogBudget {
    lines: Bucket,
    bytes: Bucket,
}

impl LogBudget {
    pub(crate) fn new(now: Instant) -> Self {
        Self { lines: Bucket::new(LINES, now), bytes: Bucket::new(BYTES, now) }
    }

    /// Whether a line of `bytes` bytes may be logged; otherwise the limit that it exceeds.
    fn take(&mut self, bytes: usize, now: Instant) -> Result<(), String> {
        // Exact: lines are cut at 16 KiB.
        let cost = f64::from(u32::try_from(bytes).unwrap_or(u32::MAX));
        if !self.lines.take(1.0, now) {
            Err(format!("more than {} lines, and more than {} a second", LINES.burst, LINES.per_second))
        } else if !self.bytes.take(cost, now) {
            Err(format!(
                "more than {} MiB, and more than {} KiB a second",
                BYTES.burst / 1_048_576.0,
                BYTES.per_second / 1024.0
            ))
        } else {
            Ok(())
        }
    }
}

/// What a session may still show as progress.
#[derive(Debug)]
pub(crate) struct NoteBudget(Bucket);

impl NoteBudget {
    pub(crate) fn new(now: Instant) -> Self {
        Self(Bucket::new(NOTES, now))
    }
}

impl types::Host for State {}

impl Host for State {
    fn task(&mut self) -> Result<String> {
        self.hosted(|state| Ok(state.run.task.clone()))
    }

    fn parameters(&mut self) -> Result<Vec<Parameter>> {
        self.hosted(|state| {
            let parameters = state.run.parameters.iter();
            Ok(parameters.map(|(name, value)| Parameter { name: name.clone(), value: value.clone() }).collect())
        })
    }

    fn this_worker(&mut self) -> Result<Worker> {
        let (index, count) = self.run.worker;
        Ok(Worker { index, count })
    }

    fn log(&mut self, level: WitLevel, message: String) -> Result<()> {
        self.hosted(|state| {
            if let Err(reason) = state.log_budget.take(message.len().min(LOG_LINE), Instant::now()) {
                return state.halt(Stop::LogFlood(reason));
            }
            state.emit(level.into(), &message);
            Ok(())
        })
    }

    fn progress(&mut self, note: String) -> Result<()> {
        self.hosted(|state| {
            if state.note_budget.0.take(1.0, Instant::now()) {
                state.note(&note);
            }
            Ok(())
        })
    }

    fn cancelled(&mut self) -> Result<bool> {
        self.hosted(|state| Ok(state.watch.cancelled()))
    }

    fn random(&mut self, len: u32) -> Result<Vec<u8>> {
        self.hosted(|state| {
            if len > RANDOM {
                return state
                    .violation(format!("it asked for {len} random bytes at once, at most {RANDOM} are allowed"));
            }
            let mut bytes = vec![0; usize::try_from(len)?];
            rand::fill(&mut bytes[..]);
            Ok(bytes)
        })
    }

    fn elapsed_ms(&mut self) -> Result<u64> {
        self.hosted(|state| Ok(u64::try_from(state.started.elapsed().as_millis()).unwrap_or(u64::MAX)))
    }

    fn sleep_ms(&mut self, ms: u32) -> Result<Result<(), Error>> {
        self.hosted(|state| {
            let stopped = state.watch.sleep(Duration::from_millis(u64::from(ms)));
            Ok(stopped.map_or(Ok(()), |reason| Err(cancelled(reason).into())))
        })
    }
}

/// What a host function that waits returns when the run is cancelled.
pub(crate) fn cancelled(reason: String) -> AddonError {
    AddonError::new(ErrorKind::Cancelled, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_a_flood_does_not_and_time_refills() {
        let start = Instant::now();
        let mut budget = LogBudget::new(start);
        assert!((0..10_000).all(|_| budget.take(100, start).is_ok()));
        assert!(budget.take(100, start).unwrap_err().contains("10000 lines"));
        assert!(budget.take(100, start + Duration::from_secs(1)).is_ok());
    }

    #[test]
    fn bytes_count_too() {
        let start = Instant::now();
        let mut budget = LogBudget::new(start);
        assert!((0..512).all(|_| budget.take(16 << 10, start).is_ok()));
        assert!(budget.take(16 << 10, start).unwrap_err().contains("8 MiB"));
    }
}
