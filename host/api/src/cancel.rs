//! One way to stop a piece of work from elsewhere: a flag with a reason and an optional deadline.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A cancellation signal. Clones share one state, so that any of them stops all holders.
///
/// A deadline is a cancellation that happens by itself; its reason is that the time is up.
#[derive(Debug, Clone, Default)]
pub struct Cancel {
    shared: Arc<Shared>,
    deadline: Option<Deadline>,
}

/// How often a child looks at its parent while it waits.
const PARENT_POLL: Duration = Duration::from_millis(50);

#[derive(Debug, Default)]
struct Shared {
    parent: Option<Cancel>,
    cancelled: AtomicBool,
    reason: Mutex<Option<String>>,
    changed: Condvar,
}

#[derive(Debug, Clone)]
struct Deadline {
    at: Instant,
    limit: Duration,
}

impl Cancel {
    /// A signal that nobody has given yet, without a deadline.
    pub fn new() -> Self {
        Self::default()
    }

    /// A signal of its own that is also given when this one is: for a part of the work that may stop alone.
    #[must_use]
    pub fn child(&self) -> Self {
        let shared = Shared { parent: Some(self.clone()), ..Shared::default() };
        Self { shared: Arc::new(shared), deadline: None }
    }

    /// The same signal with a deadline `limit` from now, or the earlier one if there is one already.
    ///
    /// The deadline is seen by the returned value and its clones, and through [`Cancel::reason`] by every holder once
    /// one of them has noticed it.
    #[must_use]
    pub fn with_deadline(&self, limit: Duration) -> Self {
        // A limit beyond the clock's range is no limit.
        let new = Instant::now().checked_add(limit).map(|at| Deadline { at, limit });
        let deadline = match (&self.deadline, new) {
            (Some(old), Some(new)) if new.at < old.at => Some(new),
            (None, new) => new,
            (old, _) => old.clone(),
        };
        Self { shared: Arc::clone(&self.shared), deadline }
    }

    /// Cancels. The first reason stays; later calls change nothing.
    pub fn cancel(&self, reason: impl Into<String>) {
        let mut current = self.lock();
        if current.is_none() {
            *current = Some(reason.into());
            self.shared.cancelled.store(true, Ordering::Release);
            self.shared.changed.notify_all();
        }
    }

    /// Whether to stop.
    pub fn is_cancelled(&self) -> bool {
        if self.shared.cancelled.load(Ordering::Acquire) {
            return true;
        }
        if let Some(reason) = self.shared.parent.as_ref().and_then(Self::reason) {
            self.cancel(reason);
            return true;
        }
        match &self.deadline {
            Some(deadline) if Instant::now() >= deadline.at => {
                self.cancel(format!("the time limit of {} is up", crate::duration::format(deadline.limit)));
                true
            }
            _ => false,
        }
    }

    /// Why to stop; `None` while there is no need to.
    pub fn reason(&self) -> Option<String> {
        if self.is_cancelled() { self.lock().clone() } else { None }
    }

    /// Time until the deadline, zero when it has passed; `None` without a deadline.
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline.as_ref().map(|deadline| deadline.at.saturating_duration_since(Instant::now()))
    }

    /// Waits until cancelled or until `timeout` has passed, and tells whether it was cancelled.
    pub fn wait(&self, timeout: Duration) -> bool {
        let end = Instant::now().checked_add(timeout);
        loop {
            if self.is_cancelled() {
                return true;
            }
            let now = Instant::now();
            let poll = self.shared.parent.as_ref().map(|_| now + PARENT_POLL);
            let until = [end, poll, self.deadline.as_ref().map(|deadline| deadline.at)].into_iter().flatten().min();
            if end.is_some_and(|end| now >= end) {
                return false;
            }
            let guard = self.lock();
            if guard.is_some() {
                return true;
            }
            match until {
                Some(until) => drop(self.shared.changed.wait_timeout(guard, until.saturating_duration_since(now))),
                None => drop(self.shared.changed.wait(guard)),
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<String>> {
        // The state is one assignment: a panic elsewhere cannot leave it half done.
        self.shared.reason.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_reason_wins_and_reaches_every_clone() {
        let cancel = Cancel::new();
        let other = cancel.clone();
        assert!(!other.is_cancelled() && other.reason().is_none());
        cancel.cancel("interrupted");
        other.cancel("too late");
        assert!(other.is_cancelled());
        assert_eq!(cancel.reason().as_deref(), Some("interrupted"));
    }

    #[test]
    fn a_deadline_cancels_with_its_limit_as_reason() {
        let cancel = Cancel::new();
        let limited = cancel.with_deadline(Duration::ZERO);
        assert_eq!(limited.remaining(), Some(Duration::ZERO));
        assert!(limited.reason().unwrap().contains("time limit of 0s"));
        assert!(cancel.is_cancelled(), "the deadline belongs to the work, not to one clone");
    }

    #[test]
    fn a_child_stops_with_its_parent_but_not_the_other_way_round() {
        let parent = Cancel::new();
        let (one, two) = (parent.child(), parent.child());
        one.cancel("failed");
        assert!(!parent.is_cancelled() && !two.is_cancelled());
        let waiter = two.clone();
        let thread = std::thread::spawn(move || waiter.wait(Duration::MAX));
        parent.cancel("interrupted");
        assert!(thread.join().unwrap());
        assert_eq!((one.reason().as_deref(), two.reason().as_deref()), (Some("failed"), Some("interrupted")));
    }

    #[test]
    fn the_earlier_deadline_stays() {
        let hour = Cancel::new().with_deadline(Duration::from_hours(1));
        assert!(hour.with_deadline(Duration::from_hours(2)).remaining().unwrap() <= Duration::from_hours(1));
        assert!(hour.with_deadline(Duration::from_secs(1)).remaining().unwrap() <= Duration::from_secs(1));
        assert!(hour.with_deadline(Duration::MAX).remaining().unwrap() <= Duration::from_hours(1));
    }

    #[test]
    fn wait_ends_by_itself_by_deadline_and_by_another_thread() {
        let cancel = Cancel::new();
        assert!(!cancel.wait(Duration::from_millis(1)));
        assert!(Cancel::new().with_deadline(Duration::from_millis(1)).wait(Duration::MAX));
        let waiter = cancel.clone();
        let thread = std::thread::spawn(move || waiter.wait(Duration::MAX));
        cancel.cancel("stop");
        assert!(thread.join().unwrap());
    }
}
