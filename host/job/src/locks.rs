//! Waiting for the locks of others: a prune of the session before, a person with a command line, a pod that was killed.

use std::time::Duration;

use coffer_api::cancel::Cancel;
use coffer_repository::{Repository, RepositoryError, Unlock};

/// Pause between two looks.
const POLL: Duration = Duration::from_secs(10);
/// How long to wait. A lock that nobody refreshes is stale after half an hour, and is then removed here.
const LIMIT: Duration = Duration::from_hours(1);

/// Works on a repository, and again as long as somebody else's lock stands in the way. Stale locks, which a killed pod leaves, are removed.
pub(crate) fn when_free<T>(
    repository: &Repository,
    cancel: &Cancel,
    work: impl FnMut() -> Result<T, RepositoryError>,
) -> Result<T, RepositoryError> {
    poll(repository, cancel, (POLL, LIMIT), work)
}

fn poll<T>(
    repository: &Repository,
    cancel: &Cancel,
    (pause, limit): (Duration, Duration),
    mut work: impl FnMut() -> Result<T, RepositoryError>,
) -> Result<T, RepositoryError> {
    let patience = cancel.child().with_deadline(limit);
    loop {
        let locked = match work() {
            Err(error @ RepositoryError::Locked { .. }) => error,
            other => return other,
        };
        let removed = repository.unlock(Unlock::Stale)?.locks;
        for lock in &removed {
            tracing::warn!(location = repository.location(), "a stale lock is removed: {lock}");
        }
        if removed.is_empty() {
            tracing::info!("waiting: {locked}");
            if patience.wait(pause) {
                return Err(cancel.reason().map_or(locked, RepositoryError::Cancelled));
            }
        }
    }
}

/// Waits until nobody holds the repository for himself.
pub(crate) fn wait_until_shared(repository: &Repository, cancel: &Cancel) -> Result<(), RepositoryError> {
    when_free(repository, cancel, || repository.share().map(drop))
}

#[cfg(test)]
mod tests {
    use coffer_repository::InitOptions;
    use coffer_storage::Storage;

    use super::*;

    const PATIENT: (Duration, Duration) = (Duration::from_millis(1), Duration::from_mins(5));
    const SHORT: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(1));

    fn locked(repository: &Repository) -> RepositoryError {
        // Any lock will do for the error: one's own shared lock stands in the way of a prune.
        let _held = repository.share().unwrap();
        repository.forget(&["00"], false).unwrap_err()
    }

    #[test]
    fn work_waits_for_a_lock_and_not_for_ever() {
        let repository = Repository::init(&Storage::memory(), &"x".into(), &InitOptions::default()).unwrap();
        let mut calls = 0;
        let done = poll(&repository, &Cancel::new(), PATIENT, || {
            calls += 1;
            if calls < 3 { Err(locked(&repository)) } else { Ok(calls) }
        });
        assert_eq!(done.unwrap(), 3);
        let never = poll(&repository, &Cancel::new(), SHORT, || Err::<(), _>(locked(&repository))).unwrap_err();
        assert!(matches!(never, RepositoryError::Locked { .. }), "{never}");
        let cancel = Cancel::new();
        cancel.cancel("interrupted by SIGTERM");
        let stopped = poll(&repository, &cancel, PATIENT, || Err::<(), _>(locked(&repository))).unwrap_err();
        assert!(stopped.to_string().contains("SIGTERM"), "{stopped}");
    }

    #[test]
    fn other_errors_end_the_waiting() {
        let repository = Repository::init(&Storage::memory(), &"x".into(), &InitOptions::default()).unwrap();
        let error = poll(&repository, &Cancel::new(), PATIENT, || repository.forget(&["ab12"], false)).unwrap_err();
        assert!(matches!(error, RepositoryError::SnapshotNotFound { .. }), "{error}");
        wait_until_shared(&repository, &Cancel::new()).unwrap();
    }
}
