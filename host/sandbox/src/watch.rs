//! How long a guest may run: cancellation, the deadline for its own code, and the grace that closing a session gets.

use std::time::{Duration, Instant};

use coffer_api::cancel::Cancel;

/// How often a running guest is looked at.
pub(crate) const TICK: Duration = Duration::from_millis(100);
/// How long `close` may go on after the run was cancelled, so that a server is not left with changed settings.
pub(crate) const CLOSE_GRACE: Duration = Duration::from_secs(5);

/// Why the host stopped a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stop {
    Cancelled(String),
    CpuDeadline(Duration),
    LogFlood(String),
    Violation(String),
}

/// The clock of one session.
#[derive(Debug)]
pub(crate) struct Watch {
    cancel: Cancel,
    deadline: Duration,
    /// The guest's own time since the last byte moved.
    spent: Duration,
    mark: Instant,
    /// Whether the guest has already had one tick to notice the cancellation by itself.
    noticed: bool,
    closing: Option<Instant>,
}

impl Watch {
    pub(crate) fn new(cancel: Cancel, deadline: Duration) -> Self {
        Self { cancel, deadline, spent: Duration::ZERO, mark: Instant::now(), noticed: false, closing: None }
    }

    /// An export is about to be called.
    pub(crate) fn begin(&mut self) {
        self.spent = Duration::ZERO;
        self.mark = Instant::now();
    }

    /// From here on a cancelled guest gets time to put things in order.
    pub(crate) fn begin_closing(&mut self) {
        self.closing = Instant::now().checked_add(CLOSE_GRACE);
    }

    /// The guest called the host: its own time stands still.
    pub(crate) fn pause(&mut self) {
        self.charge();
    }

    /// The host returns to the guest.
    pub(crate) fn resume(&mut self) {
        self.mark = Instant::now();
    }

    /// A byte moved.
    pub(crate) fn moved(&mut self) {
        self.spent = Duration::ZERO;
    }

    fn charge(&mut self) {
        let now = Instant::now();
        // A running guest is seen every tick. A longer gap means that the machine did not let it run.
        self.spent += now.saturating_duration_since(self.mark).min(2 * TICK);
        self.mark = now;
    }

    /// Called from inside the running guest, about once a tick.
    pub(crate) fn tick(&mut self) -> Result<(), Stop> {
        self.charge();
        if let Some(reason) = self.stopping() {
            if self.noticed {
                return Err(Stop::Cancelled(reason));
            }
            self.noticed = true;
        }
        if self.spent > self.deadline {
            return Err(Stop::CpuDeadline(self.deadline));
        }
        Ok(())
    }

    /// Whether the run is cancelled.
    pub(crate) fn cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }

    /// Why host calls that block must end, if they must: the run is cancelled, and the session is not being closed in grace.
    pub(crate) fn stopping(&self) -> Option<String> {
        let in_grace = self.closing.is_some_and(|end| Instant::now() < end);
        if in_grace { None } else { self.cancel.reason() }
    }

    /// Waits for up to `time`, or until [`Watch::stopping`].
    pub(crate) fn sleep(&self, time: Duration) -> Option<String> {
        let end = Instant::now().checked_add(time);
        loop {
            if let Some(reason) = self.stopping() {
                return Some(reason);
            }
            let left = end.map_or(TICK, |end| end.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return None;
            }
            if self.closing.is_some() {
                // Already cancelled, perhaps: waiting on the signal would return at once.
                std::thread::sleep(left.min(TICK));
            } else {
                self.cancel.wait(left.min(10 * TICK));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn back(watch: &mut Watch, time: Duration) {
        watch.mark = watch.mark.checked_sub(time).unwrap();
    }

    #[test]
    fn only_the_guests_own_time_counts_and_a_byte_resets_it() {
        let mut watch = Watch::new(Cancel::new(), Duration::from_millis(250));
        back(&mut watch, TICK);
        watch.pause();
        back(&mut watch, 100 * TICK);
        watch.resume();
        back(&mut watch, TICK);
        assert_eq!(watch.tick(), Ok(()));
        watch.moved();
        back(&mut watch, 2 * TICK);
        assert_eq!(watch.tick(), Ok(()));
        back(&mut watch, TICK);
        assert_eq!(watch.tick(), Err(Stop::CpuDeadline(Duration::from_millis(250))));
    }

    #[test]
    fn a_machine_that_stood_still_is_not_the_guests_fault() {
        let mut watch = Watch::new(Cancel::new(), Duration::from_mins(1));
        back(&mut watch, Duration::from_hours(1));
        assert_eq!(watch.tick(), Ok(()));
    }

    #[test]
    fn a_cancelled_guest_has_one_tick_to_end_by_itself() {
        let cancel = Cancel::new();
        let mut watch = Watch::new(cancel.clone(), Duration::from_mins(1));
        assert_eq!(watch.tick(), Ok(()));
        cancel.cancel("interrupted");
        assert_eq!(watch.tick(), Ok(()));
        assert_eq!(watch.tick(), Err(Stop::Cancelled("interrupted".into())));
    }

    #[test]
    fn closing_has_a_grace() {
        let cancel = Cancel::new();
        let mut watch = Watch::new(cancel.clone(), Duration::from_mins(1));
        cancel.cancel("interrupted");
        assert!(watch.stopping().is_some() && watch.sleep(Duration::from_mins(1)).is_some());
        watch.begin_closing();
        assert!(watch.cancelled() && watch.stopping().is_none());
        assert_eq!(watch.sleep(Duration::from_millis(1)), None);
        assert_eq!(watch.tick(), Ok(()));
        watch.closing = Some(Instant::now());
        assert_eq!(watch.stopping().as_deref(), Some("interrupted"));
    }
}
