//! What goes wrong, and how often.

use std::time::Duration;

use super::asked::Asked;
use crate::chance::Chance;

/// How often requests fail, and how.
#[derive(Debug)]
pub struct Faults {
    /// Of a hundred requests, so many.
    pub requests: u32,
    /// Of a hundred watches, so many.
    pub watches: u32,
    /// Which ones.
    pub chance: Chance,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// The server answers.
    Passes,
    /// The server never hears of it, and this status is the answer.
    Refused(u16),
    /// The server does what is asked, and this status is the answer all the same.
    Denied(u16),
    /// The server does what is asked, and the connection breaks before the answer is whole.
    Lost,
    /// A watch that ends after so long.
    Cut(Duration, Cut),
}

/// How a watch ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// As a server ends it that is tired of it.
    Ended,
    /// The connection breaks.
    Broken,
    /// The server says that it does not know any more what has happened since (410).
    Expired,
}

/// How a request fails that may fail in any of these ways.
const REQUEST: &[Fate] =
    &[Fate::Refused(429), Fate::Refused(500), Fate::Refused(503), Fate::Denied(500), Fate::Denied(504), Fate::Lost];
/// A change can besides come too late. (A server says so of creations and deletions as well, but then it is true.)
const CHANGE: &[Fate] = &[
    Fate::Refused(409),
    Fate::Refused(409),
    Fate::Refused(409),
    Fate::Refused(429),
    Fate::Refused(500),
    Fate::Refused(503),
    Fate::Denied(500),
    Fate::Denied(504),
    Fate::Lost,
];
const CUTS: &[Cut] = &[Cut::Ended, Cut::Broken, Cut::Expired];
/// A watch is cut within so many milliseconds.
const LONGEST_WATCH: u64 = 4_000;

impl Faults {
    /// What becomes of this request.
    pub(super) fn fate(&mut self, asked: &Asked) -> Fate {
        let chance = &mut self.chance;
        if asked.watches() {
            if !chance.happens(self.watches) {
                return Fate::Passes;
            }
            let start = [Fate::Refused(410), Fate::Refused(429), Fate::Refused(500)];
            let after = Duration::from_millis(chance.below(LONGEST_WATCH));
            return if chance.happens(25) { chance.one_of(&start) } else { Fate::Cut(after, chance.one_of(CUTS)) };
        }
        if !chance.happens(self.requests) {
            return Fate::Passes;
        }
        chance.one_of(if asked.changes() { CHANGE } else { REQUEST })
    }
}

impl Fate {
    /// For counting.
    pub(super) fn text(self) -> Option<String> {
        match self {
            Self::Passes => None,
            Self::Refused(status) => Some(format!("{status}, not done")),
            Self::Denied(status) => Some(format!("{status}, done")),
            Self::Lost => Some("connection broken, done".into()),
            Self::Cut(_, how) => Some(format!("watch {how:?}").to_lowercase()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Asked, CHANGE, CUTS, Fate, Faults, REQUEST};
    use crate::chance::Chance;

    #[test]
    fn everything_goes_wrong_sometimes_and_only_where_it_can() {
        let mut faults = Faults { requests: 30, watches: 50, chance: Chance::new("faults", 1) };
        let asked = |verb: &str| Asked { verb: verb.into(), resource: "jobs".into() };
        let mut seen =
            |verb: &str| (0..2_000).filter_map(|_| faults.fate(&asked(verb)).text()).collect::<BTreeSet<String>>();
        let texts = |fates: &[Fate]| fates.iter().filter_map(|fate| fate.text()).collect::<BTreeSet<_>>();
        assert_eq!(seen("PATCH"), texts(CHANGE));
        for verb in ["GET", "POST", "DELETE"] {
            assert_eq!(seen(verb), texts(REQUEST), "{verb}");
        }
        assert_eq!(seen("WATCH").len(), CUTS.len() + 3);
    }
}
