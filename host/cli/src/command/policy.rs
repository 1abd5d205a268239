//! Which snapshots a policy keeps.

use coffer_repository::Snapshot;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, Zoned};

use crate::args::Keep;
use crate::exit::Failure;

/// What restic calls a policy: rules that each keep some snapshots.
#[derive(Debug)]
pub(super) struct Policy {
    rules: Vec<(Rule, u32)>,
    within: Option<Span>,
}

/// A rule keeps the newest snapshot of each of the newest so many periods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    Last,
    Hourly,
    Daily,
    Weekly,
    Monthly,
    Yearly,
}

impl Rule {
    fn name(self) -> &'static str {
        match self {
            Self::Last => "last",
            Self::Hourly => "hourly",
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
            Self::Yearly => "yearly",
        }
    }

    /// The period that a moment lies in; `number` makes every snapshot a period of its own.
    fn period(self, time: &Zoned, number: usize) -> (i64, i64) {
        let day = || (i64::from(time.year()), i64::from(time.day_of_year()));
        match self {
            Self::Last => (i64::try_from(number).unwrap_or(i64::MAX), 0),
            // Not the hour of the day: the hour that is repeated when summer time ends would count as one.
            Self::Hourly => (time.timestamp().as_second().div_euclid(3600), 0),
            Self::Daily => day(),
            Self::Weekly => {
                let week = time.date().iso_week_date();
                (i64::from(week.year()), i64::from(week.week()))
            }
            Self::Monthly => (i64::from(time.year()), i64::from(time.month())),
            Self::Yearly => (i64::from(time.year()), 0),
        }
    }
}

impl Policy {
    /// The policy of a command line; `None` if it has no rule.
    pub(super) fn of(keep: &Keep) -> Result<Option<Self>, Failure> {
        let rules = [
            (Rule::Last, keep.last),
            (Rule::Hourly, keep.hourly),
            (Rule::Daily, keep.daily),
            (Rule::Weekly, keep.weekly),
            (Rule::Monthly, keep.monthly),
            (Rule::Yearly, keep.yearly),
        ];
        let rules: Vec<_> = rules.into_iter().filter_map(|(rule, number)| Some((rule, number?))).collect();
        let within = keep.within.as_deref().map(within).transpose()?;
        if rules.is_empty() && within.is_none() {
            return Ok(None);
        }
        if within.is_none() && rules.iter().all(|(_, number)| *number == 0) {
            return Err(Failure::Usage(
                "this policy keeps nothing; give a --keep-… option a number above 0, or name the snapshots to remove"
                    .to_owned(),
            ));
        }
        Ok(Some(Self { rules, within }))
    }

    /// For each of one group's snapshots, the names of the rules that keep it: none, and it can go.
    pub(super) fn reasons(&self, snapshots: &[Snapshot], zone: &TimeZone) -> Vec<Vec<&'static str>> {
        let times: Vec<Timestamp> = snapshots.iter().map(|snapshot| snapshot.time).collect();
        self.reasons_of(&times, zone)
    }

    fn reasons_of(&self, times: &[Timestamp], zone: &TimeZone) -> Vec<Vec<&'static str>> {
        let mut reasons = vec![Vec::new(); times.len()];
        let mut newest_first: Vec<usize> = (0..times.len()).collect();
        newest_first.sort_by_key(|&index| std::cmp::Reverse(times.get(index)));
        let mut keep = |index: usize, reason: &'static str| {
            if let Some(reasons) = reasons.get_mut(index) {
                reasons.push(reason);
            }
        };
        let at = |index: usize| times.get(index).map(|time| time.to_zoned(zone.clone()));
        for &(rule, number) in &self.rules {
            let mut left = number;
            let mut previous = None;
            for (number, &index) in newest_first.iter().enumerate() {
                let period = at(index).map(|time| rule.period(&time, number));
                if left > 0 && period != previous {
                    keep(index, rule.name());
                    left -= 1;
                    previous = period;
                }
            }
        }
        if let Some(within) = self.within {
            let newest = newest_first.first().and_then(|&index| at(index));
            let limit = newest.and_then(|newest| newest.checked_sub(within).ok());
            for &index in &newest_first {
                // A limit before the beginning of time keeps everything.
                if limit.as_ref().is_none_or(|limit| at(index).is_some_and(|time| time >= *limit)) {
                    keep(index, "within");
                }
            }
        }
        reasons
    }
}

/// Reads `1y2mo3w4d5h6m`; restic's `m` for months is not understood, because KubeStash's is minutes.
fn within(text: &str) -> Result<Span, Failure> {
    let wrong = || Failure::Usage(format!("--keep-within {text:?} is no duration; write for example 1y2mo3w4d5h"));
    let mut span = Span::new();
    let mut rest = text;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let (number, after) = rest.split_at(digits);
        let number: i64 = number.parse().map_err(|_| wrong())?;
        let unit = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        let next = match unit {
            "y" => span.try_years(number),
            "mo" => span.try_months(number),
            "w" => span.try_weeks(number),
            "d" => span.try_days(number),
            "h" => span.try_hours(number),
            "m" => span.try_minutes(number),
            _ => return Err(wrong()),
        };
        span = next.map_err(|_| wrong())?;
        rest = after;
    }
    Ok(span)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(keep: &Keep, times: &[&str]) -> Vec<String> {
        let policy = Policy::of(keep).unwrap().unwrap();
        let parsed: Vec<Timestamp> = times.iter().map(|time| time.parse().unwrap()).collect();
        let reasons = policy.reasons_of(&parsed, &TimeZone::UTC);
        let kept = times.iter().zip(reasons).filter(|(_, reasons)| !reasons.is_empty());
        kept.map(|(time, _)| (*time).to_owned()).collect()
    }

    const TIMES: [&str; 6] = [
        "2025-12-31T23:00:00Z",
        "2026-01-01T01:00:00Z",
        "2026-01-01T23:00:00Z",
        "2026-01-02T10:10:00Z",
        "2026-01-02T10:50:00Z",
        "2026-01-05T00:00:00Z",
    ];

    #[test]
    fn each_rule_keeps_the_newest_of_its_periods() {
        assert_eq!(kept(&Keep { last: Some(2), ..Keep::default() }, &TIMES), TIMES[4..]);
        assert_eq!(kept(&Keep { hourly: Some(2), ..Keep::default() }, &TIMES), TIMES[4..]);
        assert_eq!(kept(&Keep { daily: Some(3), ..Keep::default() }, &TIMES), [TIMES[2], TIMES[4], TIMES[5]]);
        // 2026-01-05 is a Monday; the four before it are of one ISO week, the last of 2025 too.
        assert_eq!(kept(&Keep { weekly: Some(9), ..Keep::default() }, &TIMES), [TIMES[4], TIMES[5]]);
        assert_eq!(kept(&Keep { monthly: Some(9), ..Keep::default() }, &TIMES), [TIMES[0], TIMES[5]]);
        assert_eq!(kept(&Keep { yearly: Some(1), ..Keep::default() }, &TIMES), [TIMES[5]]);
        assert_eq!(kept(&Keep { within: Some("3d".into()), ..Keep::default() }, &TIMES), TIMES[3..]);
    }

    #[test]
    fn rules_add_up_and_order_does_not_matter() {
        let keep = Keep { last: Some(1), yearly: Some(2), ..Keep::default() };
        let shuffled = [TIMES[3], TIMES[0], TIMES[5], TIMES[1]];
        assert_eq!(kept(&keep, &shuffled), [TIMES[0], TIMES[5]]);
    }

    #[test]
    fn a_policy_that_keeps_nothing_is_refused() {
        assert!(Policy::of(&Keep::default()).unwrap().is_none());
        assert!(Policy::of(&Keep { last: Some(0), ..Keep::default() }).is_err());
    }

    #[test]
    fn durations_are_kubestashs() {
        assert!(within("1y2mo3w4d5h6m").is_ok());
        for text in ["", "3", "d", "3x", "3 d", "-1d"] {
            assert!(within(text).is_err(), "{text:?}");
        }
    }
}
