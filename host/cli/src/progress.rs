//! What a run tells while it goes on: a bar on a terminal, lines elsewhere, JSON lines for programs.

use std::fmt;
use std::io::IsTerminal as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use coffer_api::size;
use coffer_executor::{Event, Events, Level, Phase};
use indicatif::{MultiProgress, ProgressBar, ProgressState, ProgressStyle};
use serde_json::json;

use crate::output::{Output, complain, counted};

/// How often a line says how far a run is, for people who read a log.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// The same for programs.
const OBJECT_EVERY: Duration = Duration::from_secs(1);
/// How often the bar is drawn by itself.
const TICK: Duration = Duration::from_millis(200);

/// All bars of the process, so that nothing writes across them.
fn bars() -> &'static MultiProgress {
    static BARS: OnceLock<MultiProgress> = OnceLock::new();
    BARS.get_or_init(MultiProgress::new)
}

/// Writes to the terminal while no bar is on it.
pub(crate) fn around_bars<T>(write: impl FnOnce() -> T) -> T {
    bars().suspend(write)
}

/// Turns events into output.
pub(crate) struct Reporter {
    output: Output,
    verbose: bool,
    bar: Option<ProgressBar>,
    started: Instant,
    bytes: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    phase: &'static str,
    note: String,
    items: usize,
    done: usize,
    expected: Option<u64>,
    told: Option<Instant>,
}

impl Reporter {
    /// A reporter that starts to count time now.
    pub(crate) fn new(output: Output, verbose: bool) -> Self {
        let draws = !output.is_json() && !output.is_quiet() && std::io::stderr().is_terminal();
        let bar = draws.then(|| {
            let bar = bars().add(ProgressBar::new_spinner());
            bar.set_style(spinner());
            bar.enable_steady_tick(TICK);
            bar
        });
        Self { output, verbose, bar, started: Instant::now(), bytes: AtomicU64::new(0), state: Mutex::default() }
    }

    /// Takes the bar off the terminal.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Plain counters: a panic elsewhere cannot leave them half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A line for people, unless they want none.
    fn tell(&self, text: &str) {
        if !self.output.is_json() && !self.output.is_quiet() {
            complain(text);
        }
    }

    fn phase(&self, phase: Phase) {
        let name = match phase {
            Phase::Repositories => "opening repositories",
            Phase::Connect => "connecting",
            Phase::View => "agreeing on one view of the database",
            Phase::Plan => "planning",
            Phase::Transfer => "transferring",
            Phase::Finish => "finishing",
        };
        let mut state = self.state();
        state.phase = name;
        state.note.clear();
        self.draw(&state);
        drop(state);
        self.output.object(&json!({ "message_type": "phase", "phase": name }));
        if self.bar.is_none() {
            self.tell(name);
        }
    }

    fn planned(&self, items: usize, bytes: Option<u64>, workers: usize) {
        let mut state = self.state();
        (state.items, state.done, state.expected) = (items, 0, bytes);
        if let Some(bar) = &self.bar
            && let Some(bytes) = bytes.filter(|bytes| *bytes > 0)
        {
            bar.set_length(bytes);
            bar.set_style(style());
        }
        self.draw(&state);
        drop(state);
        self.output.object(&json!({
            "message_type": "planned", "total_streams": items, "total_bytes": bytes, "workers": workers,
        }));
        if self.bar.is_none() {
            let about = bytes.map(|bytes| format!(", about {}", size::format(bytes))).unwrap_or_default();
            let workers = counted(workers as u64, "worker");
            self.tell(&format!("{}{about}, {workers}", counted(items as u64, "stream")));
        }
    }

    fn draw(&self, state: &State) {
        let Some(bar) = &self.bar else { return };
        let mut parts = Vec::new();
        if state.items > 0 {
            parts.push(format!("{}/{} streams", state.done, state.items));
        }
        let note = if state.note.is_empty() { state.phase } else { &state.note };
        parts.push(note.to_owned());
        bar.set_message(parts.join(", "));
    }

    /// Says how far the run is, if it is time to.
    fn tick(&self) {
        let every = if self.output.is_json() { OBJECT_EVERY } else { LINE_EVERY };
        if self.bar.is_some() || self.output.is_quiet() && !self.output.is_json() {
            return;
        }
        let mut state = self.state();
        let now = Instant::now();
        if now.duration_since(*state.told.get_or_insert(self.started)) < every {
            return;
        }
        state.told = Some(now);
        let elapsed = now.duration_since(self.started).as_secs_f64();
        let bytes = self.bytes.load(Ordering::Relaxed);
        self.output.object(&json!({
            "message_type": "status", "seconds_elapsed": elapsed, "phase": state.phase, "note": state.note,
            "streams_done": state.done, "total_streams": state.items, "bytes_done": bytes, "total_bytes": state.expected,
        }));
        let (done, items) = (state.done, state.items);
        drop(state);
        self.tell(&format!(
            "{} in {elapsed:.0} s, {}, {done}/{items} streams",
            size::format(bytes),
            rate(bytes, elapsed)
        ));
    }
}

/// `12.3 MiB/s`
pub(crate) fn rate(bytes: u64, seconds: f64) -> String {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "shown to people, and both are positive"
    )]
    let rate = (bytes as f64 / seconds.max(0.001)) as u64;
    format!("{}/s", size::format(rate))
}

impl Events for Reporter {
    fn event(&self, event: Event<'_>) {
        match event {
            Event::Phase(phase) => self.phase(phase),
            Event::Repository { name, location, created } => {
                self.output.object(&json!({
                    "message_type": "repository", "repository": name, "location": location, "created": created,
                }));
                if created {
                    self.tell(&format!("created repository {name} at {location}"));
                } else if self.verbose {
                    self.tell(&format!("opened repository {name} at {location}"));
                }
            }
            Event::Snapshot { id, time } => {
                self.output.object(&json!({ "message_type": "snapshot", "id": id, "time": time }));
                self.tell(&format!("restoring snapshot {} of {time}", id.get(..8).unwrap_or(id)));
            }
            Event::Planned { items, bytes, workers } => self.planned(items, bytes, workers),
            Event::Stage { name, items } => {
                self.output.object(&json!({ "message_type": "stage", "stage": name, "streams": items }));
                let mut state = self.state();
                name.clone_into(&mut state.note);
                self.draw(&state);
                drop(state);
                if self.bar.is_none() {
                    self.tell(&format!("{name}: {}", counted(items as u64, "stream")));
                }
            }
            Event::ItemStarted { path } => {
                if self.verbose {
                    self.output.object(&json!({ "message_type": "stream_started", "path": path }));
                }
            }
            Event::Bytes { count } => {
                let bytes = self.bytes.fetch_add(count, Ordering::Relaxed).saturating_add(count);
                if let Some(bar) = &self.bar {
                    // The addon's estimate may be too low.
                    if bar.length().is_some_and(|length| length < bytes) {
                        bar.set_length(bytes);
                    }
                    bar.set_position(bytes);
                }
                self.tick();
            }
            Event::ItemFinished { path, bytes } => {
                let mut state = self.state();
                state.done += 1;
                self.draw(&state);
                drop(state);
                if self.verbose {
                    self.output.object(&json!({ "message_type": "stream", "path": path, "bytes": bytes }));
                    self.tell(&format!("{path}  {}", size::format(bytes)));
                }
                self.tick();
            }
            Event::Note { text } => {
                let mut state = self.state();
                text.clone_into(&mut state.note);
                self.draw(&state);
                drop(state);
                self.tick();
            }
            Event::Log { level, addon, message } => match level {
                Level::Error => tracing::error!(target: "coffer::addon", "{addon}: {message}"),
                Level::Warn => tracing::warn!(target: "coffer::addon", "{addon}: {message}"),
                Level::Info => tracing::info!(target: "coffer::addon", "{addon}: {message}"),
                Level::Debug => tracing::debug!(target: "coffer::addon", "{addon}: {message}"),
            },
            Event::Warning { message } => self.output.warning(message),
        }
    }
}

const SPINNER: &str = "{spinner} {elapsed_precise} {bytes} {rate}, {msg}";
const BAR: &str = "{spinner} {elapsed_precise} [{bar:24}] {bytes}/{total_bytes} {rate}, {msg}";

fn spinner() -> ProgressStyle {
    template(SPINNER)
}

fn style() -> ProgressStyle {
    template(BAR).progress_chars("=> ")
}

fn template(template: &str) -> ProgressStyle {
    // The templates above are right: a test reads both.
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    // Over the whole time: a rate of the last moments falls to nothing while a server digests what it was sent.
    style.with_key("rate", |state: &ProgressState, out: &mut dyn fmt::Write| {
        let _ = out.write_str(&rate(state.pos(), state.elapsed().as_secs_f64()));
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_right() {
        assert!(ProgressStyle::with_template(SPINNER).is_ok() && ProgressStyle::with_template(BAR).is_ok());
    }

    #[test]
    fn rates_are_readable() {
        assert_eq!(rate(10 << 20, 2.0), "5.000 MiB/s");
        assert_eq!(rate(0, 0.0), "0 B/s");
    }
}
