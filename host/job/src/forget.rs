//! Removing the restic snapshots of Snapshots: what their status names, and what carries their tag.

use std::collections::{BTreeMap, BTreeSet};

use coffer_api::ResourceExt as _;
use coffer_api::storage::{Repository, Snapshot};
use coffer_repository::{PruneOptions, RepositoryError};
use coffer_storage::Storage;

use crate::backup::tag;
use crate::error::JobError;
use crate::{Job, locks};

/// What is to be removed from one restic repository.
#[derive(Debug, Default, PartialEq, Eq)]
struct Unwanted {
    ids: BTreeSet<String>,
    tags: BTreeSet<String>,
}

/// What is to be removed, by session and component.
fn unwanted(snapshots: &[&Snapshot]) -> BTreeMap<(String, String), Unwanted> {
    let mut all: BTreeMap<(String, String), Unwanted> = BTreeMap::new();
    for snapshot in snapshots {
        let session = snapshot.spec.session.clone().unwrap_or_default();
        let components = snapshot.status.iter().flat_map(|status| &status.components);
        for (name, component) in components.filter(|_| !session.is_empty()) {
            let unwanted = all.entry((session.clone(), name.clone())).or_default();
            let summaries = component.restic_stats.iter().filter_map(|stats| stats.summary.as_ref());
            unwanted.ids.extend(summaries.filter_map(|summary| summary.id.clone()).filter(|id| !id.is_empty()));
            // A run that was killed may have published what its status does not name.
            unwanted.tags.insert(tag(snapshot));
        }
    }
    all
}

/// Removes the data of some Snapshots of a Repository. What is gone already is no error.
pub(crate) fn forget(job: &Job, repository: &Repository, snapshots: &[&Snapshot]) -> Result<(), JobError> {
    for ((session, component), unwanted) in unwanted(snapshots) {
        let name = repository.name_any();
        let destination = coffer_resolve::destination(&job.cluster, repository, (&session, &component))?;
        let storage =
            Storage::open(&destination.storage, job.local)?.subdirectory(&destination.path).stop_on(&job.cancel);
        let Some(opened) = coffer_repository::Repository::find(&storage, &destination.password, &job.cancel)
            .map_err(JobError::repository(&name))?
        else {
            continue;
        };
        locks::when_free(&opened, &job.cancel, || forget_and_prune(&opened, &unwanted))
            .map_err(JobError::repository(&name))?;
    }
    Ok(())
}

fn forget_and_prune(repository: &coffer_repository::Repository, unwanted: &Unwanted) -> Result<(), RepositoryError> {
    let there = repository.listing()?.snapshots.into_iter();
    let ours = there.filter(|snapshot| {
        unwanted.ids.contains(&snapshot.id) || snapshot.tags.iter().any(|tag| unwanted.tags.contains(tag))
    });
    let ids: Vec<String> = ours.map(|snapshot| snapshot.id).collect();
    if !ids.is_empty() {
        repository.forget(&ids, false)?;
        tracing::info!(location = repository.location(), "{} restic snapshots are forgotten", ids.len());
    }
    // Also when they were gone already: a run before this one may have been killed between the two.
    let report = repository.prune(&PruneOptions::default())?;
    tracing::info!(freed = report.freed, marked = report.marked, waiting = report.waiting, "pruned");
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_restic_repository_loses_what_is_in_it() {
        let snapshot = |name: &str, session: &str, components: serde_json::Value| -> Snapshot {
            serde_json::from_value(json!({
                "apiVersion": "storage.kubestash.com/v1alpha1", "kind": "Snapshot",
                "metadata": { "name": name, "namespace": "demo" },
                "spec": { "snapshotID": format!("ULID-{name}"), "repository": "r", "session": session },
                "status": { "components": components },
            }))
            .unwrap()
        };
        let stored = |id: &str| json!({ "resticStats": [{ "summary": { "id": id } }] });
        let a = snapshot("a", "daily", json!({ "dump": stored("aa") }));
        let b = snapshot("b", "daily", json!({ "dump": stored("bb"), "manifest": stored("cc") }));
        let failed = snapshot("c", "hourly", json!({ "dump": { "phase": "Failed" } }));
        let all = unwanted(&[&a, &b, &failed]);
        let key = |session: &str, component: &str| (session.to_owned(), component.to_owned());
        assert_eq!(all.len(), 3);
        let dump = &all[&key("daily", "dump")];
        assert_eq!(dump.ids.iter().map(String::as_str).collect::<Vec<_>>(), ["aa", "bb"]);
        assert_eq!(dump.tags.len(), 2);
        assert_eq!(all[&key("daily", "manifest")].tags.iter().collect::<Vec<_>>(), ["ULID-b"]);
        let nothing_named = &all[&key("hourly", "dump")];
        assert!(nothing_named.ids.is_empty() && nothing_named.tags.contains("ULID-c"));
    }
}
