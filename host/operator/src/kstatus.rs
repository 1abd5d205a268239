//! The conditions that tell tools how an object is doing: `Ready`, and `Reconciling` or `Stalled` where they hold.

use coffer_api::condition::{self, READY, RECONCILING, STALLED};
use coffer_api::shared::Condition;
use k8s_openapi::jiff::Timestamp;

/// How an object is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum State {
    /// As its spec says; for a session, done.
    Ready,
    /// On its way, and what comes next.
    Reconciling(String),
    /// Nothing happens until somebody changes something, and what that is.
    Stalled(String),
}

/// Writes the three conditions.
pub(crate) fn set(conditions: &mut Vec<Condition>, state: &State, generation: Option<i64>, now: Timestamp) {
    let (ready, other) = match state {
        State::Ready => (READY.holds(), None),
        State::Reconciling(what) => {
            (READY.fails_because(what.clone()).reason("Reconciling"), Some(RECONCILING.holds_because(what.clone())))
        }
        State::Stalled(why) => {
            (READY.fails_because(why.clone()).reason("Stalled"), Some(STALLED.holds_because(why.clone())))
        }
    };
    condition::set(conditions, ready.observed(generation), now);
    if !matches!(state, State::Reconciling(_)) {
        condition::remove(conditions, RECONCILING);
    }
    if !matches!(state, State::Stalled(_)) {
        condition::remove(conditions, STALLED);
    }
    if let Some(other) = other {
        condition::set(conditions, other.observed(generation), now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reconciling_and_stalled_are_there_only_while_they_hold() {
        let mut conditions = Vec::new();
        let names = |conditions: &[Condition]| {
            conditions.iter().map(|one| format!("{}={:?}", one.type_, one.status)).collect::<Vec<_>>()
        };
        let mut write = |state: State| {
            set(&mut conditions, &state, Some(3), Timestamp::UNIX_EPOCH);
            names(&conditions)
        };
        assert_eq!(write(State::Reconciling("waiting for a Job".to_owned())), ["Ready=False", "Reconciling=True"]);
        assert_eq!(write(State::Stalled("no such Secret".to_owned())), ["Ready=False", "Stalled=True"]);
        assert_eq!(write(State::Ready), ["Ready=True"]);
        assert_eq!(conditions[0].observed_generation, Some(3));
    }
}
