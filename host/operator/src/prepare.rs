//! Jobs that prepare something or clean it up: they are tried again until the object says that it is done.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;

use crate::apply::Object;
use crate::build::job::Work;
use crate::context::Context;
use crate::error::Error;
use crate::job_state::JobState;
use crate::{jobs, stores};

/// The shortest and the longest pause before the next try.
const SHORTEST_PAUSE: Duration = Duration::from_secs(30);
const LONGEST_PAUSE: Duration = Duration::from_mins(10);

/// Where such a Job stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Progress {
    /// It is at work, or about to be, and what it does.
    Working(String),
    /// The last try failed, and why; the next one comes after the pause.
    Failed(String, Duration),
}

/// Starts the Job, looks after it, or starts it again. Call it only while the object does not say that it is done;
/// `failing_since` is since when it says so.
pub(crate) async fn drive<O: Object>(
    context: &Context,
    owner: &O,
    work: &Work,
    failing_since: Option<Timestamp>,
) -> Result<Progress, Error> {
    drive_patiently(context, owner, work, failing_since, LONGEST_PAUSE).await
}

/// The same, with another longest pause.
pub(crate) async fn drive_patiently<O: Object>(
    context: &Context,
    owner: &O,
    work: &Work,
    failing_since: Option<Timestamp>,
    longest: Duration,
) -> Result<Progress, Error> {
    let pause = pause(failing_since.map(|since| elapsed(since, context.now())).unwrap_or_default(), longest);
    let place = (work.namespace.as_str(), work.name.as_str());
    let why = match jobs::state(context, owner, place, true).await? {
        JobState::Missing => {
            return match jobs::start(context, owner, work).await {
                Ok(()) => Ok(Progress::Working(format!("Job {} has been started", work.name))),
                // Somebody else has to do something about it, and has to hear of it.
                Err(error @ (Error::Foreign { .. } | Error::NotAllowed(_))) => {
                    Ok(Progress::Failed(error.to_string(), pause))
                }
                Err(error) => Err(error),
            };
        }
        JobState::Waiting(since, why) if since >= context.options.limits.slow_start => {
            return Ok(Progress::Working(format!("Job {} does not start: {why}", work.name)));
        }
        JobState::Running | JobState::Waiting(..) => {
            return Ok(Progress::Working(format!("Job {} is at work", work.name)));
        }
        JobState::Ending(why) => return Ok(Progress::Working(format!("Job {} is ending: {why}", work.name))),
        JobState::Complete => format!("Job {} ended without a result", work.name),
        JobState::Failed(why) => why,
    };
    let created = stores::get(&context.stores.jobs, place.0, place.1).and_then(|job| job.creation_timestamp());
    let age = created.map(|created| elapsed(created.0, context.now())).unwrap_or_default();
    if let Some(left) = pause.checked_sub(age).filter(|left| !left.is_zero()) {
        return Ok(Progress::Failed(why, left));
    }
    jobs::delete(context, owner, place).await?;
    Ok(Progress::Failed(why, Duration::from_secs(1)))
}

/// The longer it has failed, the longer the pause.
fn pause(failing: Duration, longest: Duration) -> Duration {
    (failing / 2).clamp(SHORTEST_PAUSE, longest.max(SHORTEST_PAUSE))
}

fn elapsed(since: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(since)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_with_the_failure_and_have_limits() {
        let seconds = |failing| pause(Duration::from_secs(failing), LONGEST_PAUSE).as_secs();
        assert_eq!([seconds(0), seconds(60), seconds(600), seconds(86_400)], [30, 30, 300, 600]);
        assert_eq!(pause(Duration::from_hours(9), Duration::from_hours(3)), Duration::from_hours(3));
    }
}
