//! How far a run is: what the executor tells while it works, as the fields of a status, every ten seconds.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use coffer_api::cancel::Cancel;
use coffer_api::core::RestoreProgress;
use coffer_api::size;
use coffer_api::storage::ResticProgress;
use coffer_executor::{Event, Events, Level, Phase};

/// How often a status says how far the run is.
pub const EVERY: Duration = Duration::from_secs(10);

/// Counts what the executor tells, and logs it.
#[derive(Debug)]
pub(crate) struct Progress {
    started: Instant,
    bytes: AtomicU64,
    work: Mutex<Work>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Work {
    files: u64,
    done: u64,
    expected: Option<u64>,
}

/// How far a run is at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Moment {
    elapsed: Duration,
    bytes: u64,
    work: Work,
}

impl Progress {
    /// Starts to count time now.
    pub(crate) fn new() -> Self {
        Self { started: Instant::now(), bytes: AtomicU64::new(0), work: Mutex::default() }
    }

    pub(crate) fn now(&self) -> Moment {
        Moment { elapsed: self.started.elapsed(), bytes: self.bytes.load(Ordering::Relaxed), work: *self.work() }
    }

    fn work(&self) -> MutexGuard<'_, Work> {
        // Plain counters: a panic elsewhere cannot leave them half changed.
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Events for Progress {
    fn event(&self, event: Event<'_>) {
        match event {
            Event::Phase(phase) => tracing::info!("{}", words(phase)),
            Event::Repository { name, location, created } => {
                tracing::info!(location, created, "repository {name} is open");
            }
            Event::Snapshot { id, time } => tracing::info!(id, time, "the snapshot to restore"),
            Event::Planned { items, bytes, workers } => {
                *self.work() = Work { files: items as u64, done: 0, expected: bytes };
                tracing::info!(items, bytes, workers, "the work is known");
            }
            Event::Stage { name, items } => tracing::info!(items, "stage {name}"),
            Event::ItemStarted { path } => tracing::debug!(path, "begins"),
            Event::Bytes { count } => {
                self.bytes.fetch_add(count, Ordering::Relaxed);
            }
            Event::ItemFinished { path, bytes } => {
                self.work().done += 1;
                tracing::debug!(path, bytes, "done");
            }
            Event::Note { text } => tracing::info!("{text}"),
            Event::Log { level, addon, message } => match level {
                Level::Error => tracing::error!("{addon}: {message}"),
                Level::Warn => tracing::warn!("{addon}: {message}"),
                Level::Info => tracing::info!("{addon}: {message}"),
                Level::Debug => tracing::debug!("{addon}: {message}"),
            },
            Event::Warning { message } => tracing::warn!("{message}"),
        }
    }
}

fn words(phase: Phase) -> &'static str {
    match phase {
        Phase::Repositories => "opening the repositories",
        Phase::Connect => "connecting to the database",
        Phase::View => "agreeing on one view of the database",
        Phase::Plan => "listing the work",
        Phase::Transfer => "transferring",
        Phase::Finish => "finishing",
    }
}

impl Moment {
    /// The end, when all is done: what was expected before was an estimate.
    pub(crate) fn complete(mut self) -> Self {
        self.work.done = self.work.files;
        self.work.expected = Some(self.bytes);
        self
    }

    /// As a Snapshot's component has it.
    pub(crate) fn of_backup(&self) -> ResticProgress {
        let Fields { seconds_elapsed, percent_done, total_files, files_done, bytes, total, speed } = self.fields();
        ResticProgress { seconds_elapsed, percent_done, total_files, files_done, backup_done: bytes, total, speed }
    }

    /// As a RestoreSession's component has it.
    pub(crate) fn of_restore(&self) -> RestoreProgress {
        let Fields { seconds_elapsed, percent_done, total_files, files_done, bytes, total, speed } = self.fields();
        RestoreProgress { seconds_elapsed, percent_done, total_files, files_done, restore_done: bytes, total, speed }
    }

    fn fields(&self) -> Fields {
        let count = |number: u64| i64::try_from(number).ok();
        let Work { files, done, expected } = self.work;
        let expected = expected.filter(|expected| *expected > 0);
        Fields {
            seconds_elapsed: count(self.elapsed.as_secs()),
            percent_done: expected.map(|expected| percent(self.bytes, expected)),
            total_files: count(files).filter(|files| *files > 0),
            files_done: count(done).filter(|_| files > 0),
            bytes: Some(size::format(self.bytes)),
            total: expected.map(size::format),
            speed: rate(self.bytes, self.elapsed),
        }
    }
}

struct Fields {
    seconds_elapsed: Option<i64>,
    percent_done: Option<String>,
    total_files: Option<i64>,
    files_done: Option<i64>,
    bytes: Option<String>,
    total: Option<String>,
    speed: Option<String>,
}

/// `12.34%`. What was expected is an estimate, so the part is never more than the whole.
fn percent(bytes: u64, expected: u64) -> String {
    let hundredths = u128::from(bytes.min(expected)) * 10_000 / u128::from(expected.max(1));
    format!("{}.{:02}%", hundredths / 100, hundredths % 100)
}

/// `5.000 MiB/s`
fn rate(bytes: u64, elapsed: Duration) -> Option<String> {
    let millis = elapsed.as_millis();
    let rate = (u128::from(bytes) * 1000).checked_div(millis)?;
    Some(format!("{}/s", size::format(u64::try_from(rate).ok()?)))
}

/// Works, and meanwhile publishes how far it is, every so often. Whatever publishes may be slow or fail: it is no part of the work.
pub(crate) fn while_telling<T>(
    progress: &Progress,
    every: Duration,
    publish: impl Fn(Moment) + Sync,
    work: impl FnOnce() -> T,
) -> T {
    /// Ends the telling however the work ends.
    struct Over<'a>(&'a Cancel);
    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.cancel("the work is over");
        }
    }
    let over = Cancel::new();
    std::thread::scope(|scope| {
        let teller = scope.spawn(|| {
            while !over.wait(every) {
                publish(progress.now());
            }
        });
        let result = {
            let _over = Over(&over);
            work()
        };
        if teller.join().is_err() {
            tracing::warn!("the progress was not told to the end");
        }
        result
    })
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn moment(seconds: u64, bytes: u64, work: Work) -> Moment {
        Moment { elapsed: Duration::from_secs(seconds), bytes, work }
    }

    #[test]
    fn texts_are_those_of_a_status() {
        let work = Work { files: 4, done: 1, expected: Some(80 << 20) };
        let backup = moment(2, 10 << 20, work).of_backup();
        assert_eq!(backup.seconds_elapsed, Some(2));
        assert_eq!((backup.total_files, backup.files_done), (Some(4), Some(1)));
        let texts = [backup.percent_done, backup.backup_done, backup.total, backup.speed].map(Option::unwrap);
        assert_eq!(texts, ["12.50%", "10.000 MiB", "80.000 MiB", "5.000 MiB/s"]);
        let restore = moment(2, 10 << 20, work).of_restore();
        assert_eq!(
            (restore.restore_done.as_deref(), restore.percent_done.as_deref()),
            (Some("10.000 MiB"), Some("12.50%"))
        );
    }

    #[test]
    fn what_is_complete_is_all() {
        let work = Work { files: 4, done: 3, expected: Some(200) };
        let end = moment(1, 90, work).complete().of_restore();
        assert_eq!(
            (end.percent_done.as_deref(), end.total.as_deref(), end.files_done),
            (Some("100.00%"), Some("90 B"), Some(4))
        );
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let start = moment(0, 0, Work::default()).of_backup();
        assert_eq!(
            (start.percent_done, start.total, start.total_files, start.files_done, start.speed),
            (None, None, None, None, None)
        );
        assert_eq!(start.backup_done.as_deref(), Some("0 B"));
        let empty = moment(1, 5, Work { files: 1, done: 0, expected: Some(0) }).of_backup();
        assert_eq!(empty.percent_done, None);
    }

    #[test]
    fn an_estimate_that_was_too_low_is_no_more_than_all() {
        assert_eq!(percent(300, 200), "100.00%");
        assert_eq!(percent(1, 3), "33.33%");
        assert_eq!(percent(u64::MAX, u64::MAX), "100.00%");
    }

    #[test]
    fn events_add_up() {
        let progress = Progress::new();
        progress.event(Event::Planned { items: 3, bytes: Some(100), workers: 2 });
        progress.event(Event::Bytes { count: 30 });
        progress.event(Event::Bytes { count: 20 });
        progress.event(Event::ItemFinished { path: "a", bytes: 50 });
        let now = progress.now();
        assert_eq!((now.bytes, now.work), (50, Work { files: 3, done: 1, expected: Some(100) }));
    }

    #[test]
    fn telling_goes_on_until_the_work_is_over_and_no_longer() {
        let progress = Progress::new();
        let (sender, receiver) = mpsc::channel();
        let sender = Mutex::new(sender);
        let result = while_telling(
            &progress,
            Duration::from_millis(1),
            |moment| {
                // The receiver is gone when the work is over.
                let _ = sender.lock().unwrap().send(moment);
            },
            || {
                progress.event(Event::Bytes { count: 7 });
                while receiver.recv().unwrap().bytes != 7 {}
                "done"
            },
        );
        assert_eq!(result, "done");
    }

    #[test]
    fn telling_that_fails_spoils_no_work() {
        let (sender, receiver) = mpsc::channel::<()>();
        let sender = Mutex::new(Some(sender));
        let publish = |_| {
            assert!(sender.lock().unwrap().take().is_none(), "no status today");
        };
        let work = || receiver.recv().is_err();
        assert!(while_telling(&Progress::new(), Duration::from_millis(1), publish, work));
    }
}
