//! Which Snapshots of a Repository a RetentionPolicy lets go.
//!
//! 1. A Snapshot that is older than `maxRetentionPeriod` goes.
//! 2. Of the other successful ones those stay that one of the rules in `successfulSnapshots` keeps, as `restic forget`
//!    would: the newest `last`, and the newest of each of so many hours, days, weeks, months and years (in UTC) that have
//!    one. A rule that is not used up keeps the oldest, too. Without rules all stay.
//! 3. Of the other failed ones the newest stay, as many as `failedSnapshots.last` says, or one.
//!
//! Each session of a Repository is judged alone, because each has its own restic repositories. Never go: the newest
//! successful Snapshot of a session, however old (or a backup that has been failing for long would cost the last one that
//! can be restored); one that is not finished; one that is paused; one whose time nobody knows.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::jiff::civil::DateTime;
use k8s_openapi::jiff::tz::TimeZone;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use crate::period::{self, PeriodError};
use crate::shared::SnapshotPhase;
use crate::storage::{RetentionPolicySpec, Snapshot, SuccessfulSnapshotsKeepPolicy};

/// A Snapshot that may go, and why.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stale<'a> {
    /// The Snapshot.
    pub snapshot: &'a Snapshot,
    /// Why.
    pub reason: StaleReason,
}

/// Why a Snapshot may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StaleReason {
    /// It is older than the maximum retention period.
    TooOld,
    /// No rule for successful Snapshots keeps it.
    NotKept,
    /// There are enough newer failed ones.
    FailedSurplus,
}

/// A Snapshot with its time.
#[derive(Debug, Clone, Copy)]
struct Dated<'a> {
    snapshot: &'a Snapshot,
    time: Timestamp,
}

/// The Snapshots of one Repository that a policy lets go, oldest first.
///
/// Fails if the policy's period is malformed; then nothing may go.
pub fn stale<'a>(
    policy: &RetentionPolicySpec,
    snapshots: &'a [Snapshot],
    now: Timestamp,
) -> Result<Vec<Stale<'a>>, PeriodError> {
    let oldest = oldest_allowed(policy, now)?;
    let mut sessions: BTreeMap<&str, (Vec<Dated>, Vec<Dated>)> = BTreeMap::new();
    for snapshot in snapshots {
        // What is from the future is as good as undated: it must not push out what was taken since.
        let time = time(snapshot).filter(|time| *time <= now);
        let (Some(time), Some(phase)) = (time, judged_phase(snapshot)) else { continue };
        let (succeeded, failed) = sessions.entry(snapshot.spec.session.as_deref().unwrap_or_default()).or_default();
        let list = if phase == SnapshotPhase::Succeeded { succeeded } else { failed };
        list.push(Dated { snapshot, time });
    }
    let mut stale = Vec::new();
    for (mut succeeded, mut failed) in sessions.into_values() {
        newest_first(&mut succeeded);
        newest_first(&mut failed);
        stale.extend(stale_succeeded(policy.successful_snapshots.as_ref(), &succeeded, oldest));
        stale.extend(stale_failed(policy, &failed, oldest));
    }
    stale.sort_by_key(|one| (time(one.snapshot), one.snapshot.name_any()));
    Ok(stale)
}

/// The earliest moment that `maxRetentionPeriod` allows; `None` without one. A period before all times allows all.
fn oldest_allowed(policy: &RetentionPolicySpec, now: Timestamp) -> Result<Option<Timestamp>, PeriodError> {
    let text = policy.max_retention_period.as_deref().unwrap_or_default();
    let period = period::parse(text)?;
    if period.is_zero() {
        return Ok(None);
    }
    let period = SignedDuration::try_from(period).unwrap_or(SignedDuration::MAX);
    Ok(now.checked_sub(period).ok())
}

/// When a Snapshot was taken: what its status says, or else when the object was created.
fn time(snapshot: &Snapshot) -> Option<Timestamp> {
    let status = snapshot.status.as_ref().and_then(|status| status.snapshot_time.as_ref());
    status.or(snapshot.metadata.creation_timestamp.as_ref()).map(|time| time.0)
}

/// The final phase of a Snapshot that a policy may judge.
fn judged_phase(snapshot: &Snapshot) -> Option<SnapshotPhase> {
    let phase = snapshot.status.as_ref().and_then(|status| status.phase).filter(|phase| crate::phase::is_final(*phase));
    phase.filter(|_| snapshot.spec.paused != Some(true) && snapshot.metadata.deletion_timestamp.is_none())
}

fn newest_first(list: &mut [Dated<'_>]) {
    list.sort_by_cached_key(|one| (std::cmp::Reverse(one.time), one.snapshot.name_any()));
}

fn stale_succeeded<'a>(
    rules: Option<&SuccessfulSnapshotsKeepPolicy>,
    newest_first: &[Dated<'a>],
    oldest: Option<Timestamp>,
) -> Vec<Stale<'a>> {
    let young = newest_first.iter().take_while(|one| !is_older(one, oldest)).count();
    let times: Vec<_> = newest_first.iter().take(young).map(|one| one.time).collect();
    let kept = kept(rules, &times);
    let judged = newest_first.iter().enumerate().skip(1);
    judged
        .filter(|(index, _)| *index >= young || !kept.contains(index))
        .map(|(index, one)| Stale {
            snapshot: one.snapshot,
            reason: if index >= young { StaleReason::TooOld } else { StaleReason::NotKept },
        })
        .collect()
}

fn stale_failed<'a>(
    policy: &RetentionPolicySpec,
    newest_first: &[Dated<'a>],
    oldest: Option<Timestamp>,
) -> Vec<Stale<'a>> {
    let last = Count::of(Some(policy.failed_snapshots.as_ref().map_or(1, |failed| failed.last)));
    let judged = newest_first.iter().enumerate();
    judged
        .filter_map(|(index, one)| {
            let surplus = !last.reaches(index);
            let reason = match (is_older(one, oldest), surplus) {
                (true, _) => StaleReason::TooOld,
                (false, true) => StaleReason::FailedSurplus,
                (false, false) => return None,
            };
            Some(Stale { snapshot: one.snapshot, reason })
        })
        .collect()
}

fn is_older(one: &Dated<'_>, oldest: Option<Timestamp>) -> bool {
    oldest.is_some_and(|oldest| one.time < oldest)
}

/// How many a rule keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Count {
    /// So many; none for a rule that is not set.
    Some(usize),
    /// All of them: a negative number, as for restic.
    All,
}

impl Count {
    fn of(number: Option<i32>) -> Self {
        usize::try_from(number.unwrap_or_default()).map_or(Self::All, Self::Some)
    }

    /// Whether the rule keeps the one at `index`, counted from zero.
    fn reaches(self, index: usize) -> bool {
        match self {
            Self::Some(count) => index < count,
            Self::All => true,
        }
    }
}

/// The indices of the times, newest first, that the rules keep.
fn kept(rules: Option<&SuccessfulSnapshotsKeepPolicy>, times: &[Timestamp]) -> BTreeSet<usize> {
    let none = SuccessfulSnapshotsKeepPolicy::default();
    let rules = rules.unwrap_or(&none);
    let buckets: [(Count, BucketOf); 5] = [
        (Count::of(rules.hourly), |time| (time.year(), time.day_of_year(), time.hour())),
        (Count::of(rules.daily), |time| (time.year(), time.day_of_year(), 0)),
        (Count::of(rules.weekly), |time| {
            let week = time.date().iso_week_date();
            (week.year(), i16::from(week.week()), 0)
        }),
        (Count::of(rules.monthly), |time| (time.year(), i16::from(time.month()), 0)),
        (Count::of(rules.yearly), |time| (time.year(), 0, 0)),
    ];
    let last = Count::of(rules.last);
    if last == Count::Some(0) && buckets.iter().all(|(count, _)| *count == Count::Some(0)) {
        return (0..times.len()).collect();
    }
    let mut kept: BTreeSet<usize> = (0..times.len()).filter(|index| last.reaches(*index)).collect();
    for (count, bucket) in buckets {
        kept.extend(kept_by(count, bucket, times));
    }
    kept
}

/// An hour, a day, a week, a month or a year.
type Bucket = (i16, i16, i8);

/// The bucket that a moment lies in.
type BucketOf = fn(DateTime) -> Bucket;

/// The newest of each bucket, and the oldest of all if the rule is not used up.
fn kept_by(count: Count, bucket: BucketOf, times: &[Timestamp]) -> Vec<usize> {
    let mut kept = Vec::new();
    let mut current = None;
    for (index, time) in times.iter().enumerate() {
        let own = bucket(TimeZone::UTC.to_datetime(*time));
        let newest = current != Some(own);
        let oldest = index + 1 == times.len();
        if (newest || oldest) && count.reaches(kept.len()) {
            kept.push(index);
        }
        current = Some(own);
    }
    kept
}
