//! What is in a storage already comes back into the cluster: the Job that prepares the storage brings it, and once more what it could not bring, as
//! long as it may succeed. Into another namespace it goes only if that namespace is open to the storage's.

use std::time::Duration;

use coffer_api::condition::{self, REPOSITORIES_SYNCED};
use coffer_api::storage::{BackupStorage, BackupStorageStatus, RepositoryInfo};
use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt as _;

use crate::build::Invoker;
use crate::build::job::Work;
use crate::context::Context;
use crate::error::Error;
use crate::job_state::JobState;
use crate::prepare::{self, Progress};
use crate::reach::{Access, Reach};
use crate::stores::Stores;
use crate::{jobs, stores};

/// Annotation of a Job: the other namespaces that it may bring objects back into.
const NAMESPACES: &str = "coffer.dev/import-into";
/// The longest pause before the next try: what cannot be read for days will hardly be read in a minute.
const LONGEST_PAUSE: Duration = Duration::from_hours(6);
/// How many repositories the condition speaks of; the status has them all.
const TOLD: usize = 5;

/// What the Job may reach: the namespaces of what has not come back, where they are open. What stands in the way of the others is written down.
pub(super) fn reach(storage: &BackupStorage, status: &mut BackupStorageStatus, stores: &Stores) -> Reach {
    let own = storage.namespace().unwrap_or_default();
    let mut reach = Reach::within(&own);
    for entry in status.repositories.iter_mut().filter(|entry| is_lost(entry)) {
        let namespace = entry.namespace.as_deref().unwrap_or(&own);
        if let Err(why) = reach.import(storage, namespace, stores) {
            entry.error = Some(why);
        }
    }
    reach
}

/// The work with what it may reach, which the Job carries as a note.
pub(super) fn widened(mut work: Work, reach: Reach) -> Work {
    work.settings.job_annotations.insert(NAMESPACES.to_owned(), namespaces(&reach));
    Work { reach, ..work }
}

/// Tells what has not come back, and has it tried again where that may help. The storage can be used all the while. Where no Job is at work, none keeps
/// its rights.
pub(super) async fn drive(
    storage: &BackupStorage,
    status: &mut BackupStorageStatus,
    work: &Work,
    context: &Context,
) -> Result<Option<Duration>, Error> {
    let invoker = Invoker::of(storage);
    let now = context.now();
    let lost: Vec<_> = status.repositories.iter().filter(|entry| is_lost(entry)).collect();
    if lost.is_empty() {
        if condition::exists(&status.conditions, REPOSITORIES_SYNCED) {
            condition::set(&mut status.conditions, REPOSITORIES_SYNCED.holds(), now);
        }
        jobs::unbind(context, &invoker).await?;
        return Ok(None);
    }
    let open = lost.iter().any(|entry| is_open(entry, storage, &work.reach));
    let change = REPOSITORIES_SYNCED.fails_because(told(&lost));
    condition::set(&mut status.conditions, change, now);
    if !open {
        // Whatever opens a namespace leads here.
        jobs::unbind(context, &invoker).await?;
        return Ok(None);
    }
    let place = (work.namespace.as_str(), work.name.as_str());
    let state = jobs::state(context, storage, place, false).await?;
    let job = stores::get(&context.stores.jobs, place.0, place.1);
    if !matches!(state, JobState::Missing) && state.is_over() && job.is_some_and(|job| falls_short(&job, &work.reach)) {
        // It could not reach what has been opened since.
        jobs::delete(context, storage, place).await?;
        return Ok(Some(Duration::from_secs(1)));
    }
    let since = condition::find(&status.conditions, REPOSITORIES_SYNCED).map(|one| one.last_transition_time.0);
    Ok(Some(match prepare::drive_patiently(context, storage, work, since, LONGEST_PAUSE).await? {
        Progress::Working(_) => context.options.limits.resync,
        Progress::Failed(_, pause) => {
            jobs::unbind(context, &invoker).await?;
            pause
        }
    }))
}

/// Whether a repository, or something of it, has not come back.
fn is_lost(entry: &RepositoryInfo) -> bool {
    entry.error.is_some()
}

/// Whether the Job may bring it.
fn is_open(entry: &RepositoryInfo, storage: &BackupStorage, reach: &Reach) -> bool {
    let own = storage.metadata.namespace.as_deref();
    let namespace = entry.namespace.as_deref().or(own).unwrap_or_default();
    own == Some(namespace) || reach.elsewhere().any(|one| one == (namespace, Access::Import))
}

fn told(lost: &[&RepositoryInfo]) -> String {
    let text = |entry: &RepositoryInfo| {
        let (namespace, name) =
            (entry.namespace.as_deref().unwrap_or_default(), entry.name.as_deref().unwrap_or_default());
        format!("Repository {namespace}/{name}: {}", entry.error.as_deref().unwrap_or_default())
    };
    let mut all: Vec<_> = lost.iter().take(TOLD).map(|entry| text(entry)).collect();
    if lost.len() > TOLD {
        all.push(format!("and {} more, see status.repositories", lost.len() - TOLD));
    }
    format!("not everything that is in the storage is in the cluster: {}", all.join("; "))
}

fn namespaces(reach: &Reach) -> String {
    let all: Vec<_> = reach.elsewhere().map(|(namespace, _)| namespace).collect();
    all.join(",")
}

/// Whether a Job may reach less than it could now.
fn falls_short(job: &Job, reach: &Reach) -> bool {
    let noted = job.annotations().get(NAMESPACES).map(String::as_str).unwrap_or_default();
    reach.elsewhere().any(|(namespace, _)| !noted.split(',').any(|one| one == namespace))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn entry(namespace: &str, error: Option<&str>) -> RepositoryInfo {
        RepositoryInfo {
            name: Some("r".to_owned()),
            namespace: Some(namespace.to_owned()),
            error: error.map(str::to_owned),
            ..RepositoryInfo::default()
        }
    }

    #[test]
    fn what_is_lost_opens_its_namespace_or_says_why_not() {
        let storage: BackupStorage = serde_json::from_value(json!({
            "apiVersion": "storage.kubestash.com/v1alpha1", "kind": "BackupStorage",
            "metadata": {"name": "s", "namespace": "storage"},
            "spec": {"usagePolicy": {"allowedNamespaces": {"from": "All"}}},
        }))
        .unwrap();
        let stores = crate::reach::tests::stores(&[
            ("storage", json!({}), None),
            ("open", json!({}), Some("storage")),
            ("shut", json!({}), None),
            ("calm", json!({}), Some("storage")),
        ]);
        let repositories = vec![
            entry("storage", Some("one file is damaged")),
            entry("open", Some("no right")),
            entry("shut", Some("no right")),
            entry("gone", Some("no right")),
            entry("calm", None),
        ];
        let mut status = BackupStorageStatus { repositories, ..BackupStorageStatus::default() };
        let reach = reach(&storage, &mut status, &stores);
        assert_eq!(reach.elsewhere().collect::<Vec<_>>(), [("open", Access::Import)]);
        let open: Vec<_> = status.repositories.iter().map(|entry| is_open(entry, &storage, &reach)).collect();
        assert_eq!(open, [true, true, false, false, false]);
        let errors: Vec<_> = status.repositories.iter().map(|entry| entry.error.clone().unwrap_or_default()).collect();
        assert_eq!(errors[..2], ["one file is damaged", "no right"]);
        assert!(
            errors[2].contains("have storage added to the annotation coffer.dev/allowed-from of Namespace shut"),
            "{errors:?}"
        );
        assert_eq!(errors[3], "namespace gone does not exist; create it");

        let job = |noted: &str| -> Job {
            serde_json::from_value(json!({"metadata": {"annotations": {NAMESPACES: noted}}})).unwrap()
        };
        assert!(falls_short(&job(""), &reach) && falls_short(&job("opener,another"), &reach));
        assert!(!falls_short(&job("open"), &reach) && !falls_short(&job("another,open"), &reach));
    }

    #[test]
    fn the_condition_speaks_of_some_and_counts_the_others() {
        let all: Vec<_> = (0..7).map(|number| entry(&format!("n{number}"), Some("why"))).collect();
        let text = told(&all.iter().collect::<Vec<_>>());
        assert!(text.contains("Repository n4/r: why; and 2 more") && !text.contains("n5"), "{text}");
    }
}
