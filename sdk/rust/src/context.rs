//! The run that a session is part of.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::backend::Run;
use crate::{Error, Level, Result, value};

/// Which of the run's sandboxes this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Worker {
    /// 0 is the leader.
    pub index: u32,
    /// How many there are, the leader included.
    pub count: u32,
}

impl Worker {
    /// Whether this is the one that prepares and plans.
    pub fn is_leader(self) -> bool {
        self.index == 0
    }
}

/// The run that a session is part of: its task and parameters, the log, time, randomness. Cheap to clone.
#[derive(Clone)]
pub struct Context {
    inner: Arc<Inner>,
}

struct Inner {
    run: Box<dyn Run>,
    task: String,
    parameters: Vec<(String, String)>,
    worker: Worker,
}

impl Context {
    /// A handle on this run. Task, parameters and worker are asked for once.
    pub fn new(run: Box<dyn Run>) -> Self {
        let (task, parameters, worker) = (run.task(), run.parameters(), run.worker());
        Self { inner: Arc::new(Inner { run, task, parameters, worker }) }
    }

    /// The name of the task, one of those that the addon describes.
    pub fn task(&self) -> &str {
        &self.inner.task
    }

    /// Which of the run's sandboxes this is.
    pub fn worker(&self) -> Worker {
        self.inner.worker
    }

    /// All parameters that were given or have a default.
    pub fn parameters(&self) -> &[(String, String)] {
        &self.inner.parameters
    }

    /// The parameter as text, if it was given or has a default.
    pub fn opt(&self, name: &str) -> Option<&str> {
        self.inner.parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The parameter as text.
    pub fn text(&self, name: &str) -> Result<&str> {
        self.opt(name).ok_or_else(|| missing(name))
    }

    /// The parameter as a whole number.
    pub fn integer(&self, name: &str) -> Result<i64> {
        self.opt_integer(name)?.ok_or_else(|| missing(name))
    }

    /// The parameter as a whole number, if there is one.
    pub fn opt_integer(&self, name: &str) -> Result<Option<i64>> {
        self.parse(name, value::integer)
    }

    /// The parameter as a truth value.
    pub fn boolean(&self, name: &str) -> Result<bool> {
        self.opt_boolean(name)?.ok_or_else(|| missing(name))
    }

    /// The parameter as a truth value, if there is one.
    pub fn opt_boolean(&self, name: &str) -> Result<Option<bool>> {
        self.parse(name, value::boolean)
    }

    /// The parameter as a duration.
    pub fn duration(&self, name: &str) -> Result<Duration> {
        self.opt_duration(name)?.ok_or_else(|| missing(name))
    }

    /// The parameter as a duration, if there is one.
    pub fn opt_duration(&self, name: &str) -> Result<Option<Duration>> {
        self.parse(name, value::duration)
    }

    /// The parameter as a number of bytes.
    pub fn quantity(&self, name: &str) -> Result<u64> {
        self.opt_quantity(name)?.ok_or_else(|| missing(name))
    }

    /// The parameter as a number of bytes, if there is one.
    pub fn opt_quantity(&self, name: &str) -> Result<Option<u64>> {
        self.parse(name, value::quantity)
    }

    /// What the parameter's word stands for: `context.choice("format", &[("single", Format::Single), …])`.
    pub fn choice<T: Copy>(&self, name: &str, words: &[(&str, T)]) -> Result<T> {
        self.opt_choice(name, words)?.ok_or_else(|| missing(name))
    }

    /// What the parameter's word stands for, if there is one.
    pub fn opt_choice<T: Copy>(&self, name: &str, words: &[(&str, T)]) -> Result<Option<T>> {
        self.parse(name, |text| value::choice(text, words))
    }

    /// Writes one line to the host's log. See [`crate::info!`] and its sisters.
    pub fn log(&self, level: Level, message: &str) {
        self.inner.run.log(level, message);
    }

    /// Says in a few words what the addon is doing now: "waiting for a table lock". Shown to the user, never kept.
    pub fn progress(&self, note: &str) {
        self.inner.run.progress(note);
    }

    /// Whether the host wants the run to end. Ask now and then when waiting or computing for long.
    pub fn cancelled(&self) -> bool {
        self.inner.run.cancelled()
    }

    /// An error of kind `cancelled` if the host wants the run to end.
    pub fn check_cancelled(&self) -> Result<()> {
        if self.cancelled() { Err(Error::cancelled()) } else { Ok(()) }
    }

    /// Fills `bytes` with cryptographically secure random bytes.
    pub fn random(&self, bytes: &mut [u8]) {
        self.inner.run.random(bytes);
    }

    /// Time on a clock that never goes backwards, from an arbitrary start. Milliseconds count.
    pub fn elapsed(&self) -> Duration {
        self.inner.run.elapsed()
    }

    /// Waits. Ends early, with an error of kind `cancelled`, when the run is cancelled.
    pub fn sleep(&self, time: Duration) -> Result<()> {
        self.inner.run.sleep(time)
    }

    fn parse<T>(&self, name: &str, read: impl FnOnce(&str) -> Result<T, String>) -> Result<Option<T>> {
        self.opt(name)
            .map(|text| read(text).map_err(|why| Error::invalid(format!("parameter {name:?}: {why}"))))
            .transpose()
    }
}

fn missing(name: &str) -> Error {
    Error::invalid(format!("parameter {name:?} is missing; set it under the task's `params`"))
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("task", &self.task()).field("worker", &self.worker()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;
    use crate::native::NativeRun;

    #[test]
    fn parameters_are_typed_and_errors_name_them() {
        let context = NativeRun::new("backup")
            .parameter("rows", "12")
            .parameter("wait", "1m30s")
            .parameter("chunk", "16Mi")
            .parameter("lock", "maybe")
            .parameter("format", "single")
            .context();
        assert_eq!(context.integer("rows"), Ok(12));
        assert_eq!(context.duration("wait"), Ok(Duration::from_secs(90)));
        assert_eq!(context.quantity("chunk"), Ok(16 << 20));
        assert_eq!(context.choice("format", &[("single", 1), ("parallel", 2)]), Ok(1));
        assert_eq!(context.opt_boolean("other"), Ok(None));
        for (error, name) in [
            (context.boolean("lock").unwrap_err(), "lock"),
            (context.text("password").unwrap_err(), "password"),
            (context.integer("wait").unwrap_err(), "wait"),
        ] {
            assert_eq!(error.kind, ErrorKind::Invalid);
            assert!(error.message.contains(name), "{error}");
        }
    }

    #[test]
    fn the_run_is_heard_and_can_end() {
        let run = NativeRun::new("backup").worker(1, 3);
        let context = run.context();
        assert!(!context.worker().is_leader());
        crate::warn!(context, "{} of {}", context.worker().index, context.worker().count);
        context.progress("waiting");
        assert_eq!(run.logs(), [(Level::Warn, "1 of 3".to_owned())]);
        assert_eq!(run.notes(), ["waiting"]);
        assert_eq!(context.check_cancelled(), Ok(()));
        run.cancel();
        assert_eq!(context.check_cancelled().unwrap_err().kind, ErrorKind::Cancelled);
        assert_eq!(context.sleep(Duration::from_hours(1)).unwrap_err().kind, ErrorKind::Cancelled);
    }
}
