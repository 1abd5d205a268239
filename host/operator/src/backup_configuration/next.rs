//! When a session comes next.

use std::str::FromStr as _;
use std::time::Duration;

use coffer_api::core::{BackupConfigurationStatus, Session};
use croner::Cron;
use k8s_openapi::jiff::Timestamp;
use k8s_openapi::jiff::tz::TimeZone;

/// The next moment of a session's schedule, in UTC, as Kubernetes counts where nobody has set a time zone. `None` for one
/// that waits, and for a schedule that only Kubernetes can read.
pub(super) fn moment(session: &Session, suspended: bool, now: Timestamp) -> Option<Timestamp> {
    let scheduler = session.scheduler.as_ref().filter(|scheduler| !suspended && scheduler.suspend != Some(true))?;
    let cron = Cron::from_str(&scheduler.schedule).ok()?;
    let next = cron.find_next_occurrence(&now.to_zoned(TimeZone::UTC), false).ok()?;
    Some(next.timestamp())
}

/// The pause until the first session of a status comes, if that is before `otherwise`: what is next is then another moment.
pub(super) fn pause(status: &BackupConfigurationStatus, now: Timestamp, otherwise: Duration) -> Duration {
    let moments = status.sessions.iter().filter_map(|one| one.next_schedule.as_deref()?.parse::<Timestamp>().ok());
    let pauses = moments.filter_map(|moment| Duration::try_from(moment.duration_since(now)).ok());
    pauses.filter(|pause| !pause.is_zero()).min().map_or(otherwise, |pause| pause.min(otherwise))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    fn next(schedule: &str, suspend: bool, suspended: bool) -> Option<String> {
        let session = serde_json::from_value(json!({
            "name": "daily", "scheduler": {"schedule": schedule, "suspend": suspend, "jobTemplate": {}},
        }));
        let now = "2026-01-01T03:00:00Z".parse().unwrap();
        moment(&session.unwrap(), suspended, now).map(|moment| moment.to_string())
    }

    #[rstest]
    #[case::daily("0 3 * * *", "2026-01-02T03:00:00Z")]
    #[case::often("*/5 * * * *", "2026-01-01T03:05:00Z")]
    #[case::either_day("30 2 13 * FRI", "2026-01-02T02:30:00Z")]
    #[case::named("@monthly", "2026-02-01T00:00:00Z")]
    #[case::leap("0 0 29 2 *", "2028-02-29T00:00:00Z")]
    fn the_next_moment_is_after_this_one(#[case] schedule: &str, #[case] expected: &str) {
        assert_eq!(next(schedule, false, false).as_deref(), Some(expected));
        assert_eq!(next(schedule, true, false), None);
        assert_eq!(next(schedule, false, true), None);
    }

    #[test]
    fn what_cannot_be_read_has_no_moment() {
        for schedule in ["", "soon", "@every 1h", "TZ=Asia/Tokyo 0 3 * * *", "0 0 31 2 *"] {
            assert_eq!(next(schedule, false, false), None, "{schedule}");
        }
    }

    #[test]
    fn a_configuration_is_looked_at_when_its_first_session_comes() {
        let status = |moments: &[&str]| -> BackupConfigurationStatus {
            let sessions: Vec<_> = moments.iter().map(|moment| json!({"nextSchedule": moment})).collect();
            serde_json::from_value(json!({"sessions": sessions})).unwrap()
        };
        let now = "2026-01-01T03:00:00Z".parse().unwrap();
        let hour = Duration::from_hours(1);
        let soon = status(&["2026-01-01T03:40:00Z", "2026-01-01T03:10:00Z"]);
        assert_eq!(pause(&soon, now, hour), Duration::from_mins(10));
        assert_eq!(pause(&status(&["2026-01-01T05:00:00Z"]), now, hour), hour);
        assert_eq!(pause(&status(&["2026-01-01T02:00:00Z", "?"]), now, hour), hour);
        assert_eq!(pause(&status(&[]), now, hour), hour);
    }
}
