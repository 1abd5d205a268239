//! What is true after a run, as the fields of a status. Decisions only: nothing here reads or writes.

use std::collections::BTreeMap;
use std::time::Duration;

use coffer_api::ResourceExt as _;
use coffer_api::addons::Driver;
use coffer_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use coffer_api::shared::SnapshotPhase;
use coffer_api::storage::{RepositoryStatus, Snapshot, SnapshotInfo};
use coffer_api::storage::{ResticStats, ResticSummary, SnapshotComponent};
use coffer_api::{duration, phase, size};
use jiff::Timestamp;

/// The longest error text in a status; a person reads it in `kubectl describe`.
const ERROR_LIMIT: usize = 4096;
/// How many Snapshots the status of a Repository shows.
const RECENT: usize = 5;

/// A restic snapshot that is in the repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    /// Its full id.
    pub(crate) id: String,
    /// Its path, as restic shows it.
    pub(crate) path: String,
    /// Bytes of its files.
    pub(crate) bytes: u64,
    /// Bytes that were new to the repository.
    pub(crate) added: u64,
    /// When the run began and ended.
    pub(crate) start: Timestamp,
    pub(crate) end: Timestamp,
}

/// What the check after a backup found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Measured {
    /// Bytes of the whole restic repository.
    pub(crate) size: Option<u64>,
    /// Whether the check found no error; `None` if it could not be made.
    pub(crate) integrity: Option<bool>,
}

/// A component that has begun.
pub(crate) fn running(path: &str) -> SnapshotComponent {
    SnapshotComponent {
        path: Some(path.to_owned()),
        phase: Some(SnapshotPhase::Running),
        driver: Some(Driver::Restic),
        ..SnapshotComponent::default()
    }
}

/// A component whose restic snapshot is published and verified.
pub(crate) fn succeeded(path: &str, stored: &Stored) -> SnapshotComponent {
    let summary = ResticSummary {
        id: Some(stored.id.clone()),
        uploaded: Some(size::format(stored.added)),
        host_path: Some(stored.path.trim_start_matches('/').to_owned()),
        size: Some(size::format(stored.bytes)),
        start_time: Some(Time(stored.start)),
        end_time: Some(Time(stored.end)),
    };
    SnapshotComponent {
        phase: Some(SnapshotPhase::Succeeded),
        duration: Some(duration::format(between(stored.start, stored.end))),
        restic_stats: vec![ResticStats { summary: Some(summary), progress: None }],
        ..running(path)
    }
}

/// A component of which nothing was published.
pub(crate) fn failed(path: &str, took: Duration, error: &str) -> SnapshotComponent {
    SnapshotComponent {
        phase: Some(SnapshotPhase::Failed),
        duration: Some(duration::format(took)),
        error: Some(error_text(error)),
        ..running(path)
    }
}

/// The component with what the check found.
pub(crate) fn measured(mut component: SnapshotComponent, found: &Measured) -> SnapshotComponent {
    component.size = found.size.map(size::format).or(component.size);
    component.integrity = found.integrity.or(component.integrity);
    component
}

/// An error as a status holds it.
pub(crate) fn error_text(error: &str) -> String {
    let mut end = error.len().min(ERROR_LIMIT);
    while !error.is_char_boundary(end) {
        end -= 1;
    }
    error.get(..end).unwrap_or_default().to_owned()
}

/// Whether a phase is final.
pub(crate) fn is_final(phase: Option<SnapshotPhase>) -> bool {
    matches!(phase, Some(SnapshotPhase::Succeeded | SnapshotPhase::Failed))
}

/// Whether it may still be said what becomes of a component: neither it nor its Snapshot is final. What is final stays, whoever said it.
pub(crate) fn is_open(snapshot: &Snapshot, component: &str) -> bool {
    let Some(status) = &snapshot.status else { return true };
    let said = status.components.get(component).and_then(|component| component.phase);
    !is_final(said) && !is_final(Some(phase::snapshot(status)))
}

pub(crate) fn between(start: Timestamp, end: Timestamp) -> Duration {
    Duration::try_from(end.duration_since(start)).unwrap_or_default()
}

/// When a Snapshot was taken.
pub(crate) fn taken(snapshot: &Snapshot) -> Option<&Time> {
    let noted = snapshot.status.as_ref().and_then(|status| status.snapshot_time.as_ref());
    noted.or(snapshot.metadata.creation_timestamp.as_ref())
}

/// What the Snapshots of a Repository say of it. `before` is what its status said until now.
pub(crate) fn repository(before: &RepositoryStatus, snapshots: &[Snapshot]) -> RepositoryStatus {
    let mut newest_first: Vec<&Snapshot> =
        snapshots.iter().filter(|snapshot| snapshot.metadata.deletion_timestamp.is_none()).collect();
    newest_first
        .sort_by_cached_key(|snapshot| std::cmp::Reverse((taken(snapshot).map(|time| time.0), snapshot.name_any())));
    // A size and a check are of a whole restic repository, so the newest of each path speaks for it.
    let mut sizes: BTreeMap<&str, u64> = BTreeMap::new();
    let mut checks: BTreeMap<&str, bool> = BTreeMap::new();
    let mut last: Option<Timestamp> = before.last_backup_time.as_ref().map(|time| time.0);
    for snapshot in &newest_first {
        for component in snapshot.status.iter().flat_map(|status| status.components.values()) {
            let Some(path) = component.path.as_deref() else { continue };
            if component.phase == Some(SnapshotPhase::Succeeded) {
                let ended = component.restic_stats.iter().filter_map(|stats| stats.summary.as_ref()?.end_time.as_ref());
                last = last.max(ended.map(|time| time.0).max());
            }
            if let Some(bytes) = component.size.as_deref().and_then(size::parse) {
                sizes.entry(path).or_insert(bytes);
            }
            if let Some(integrity) = component.integrity {
                checks.entry(path).or_insert(integrity);
            }
        }
    }
    let recent = newest_first.iter().take(RECENT).map(|snapshot| info(snapshot)).collect();
    RepositoryStatus {
        last_backup_time: last.map(Time),
        integrity: (!checks.is_empty()).then(|| checks.values().all(|good| *good)),
        snapshot_count: i32::try_from(newest_first.len()).ok(),
        size: Some(size::format(sizes.values().sum())),
        recent_snapshots: recent,
        component_paths: paths(before, &newest_first),
        ..RepositoryStatus::default()
    }
}

/// The restic repositories: those known before stay, for their data does.
fn paths(before: &RepositoryStatus, snapshots: &[&Snapshot]) -> Vec<String> {
    let components = snapshots.iter().flat_map(|one| &one.status).flat_map(|status| status.components.values());
    let succeeded = components.filter(|component| component.phase == Some(SnapshotPhase::Succeeded));
    let mut paths: Vec<String> = before
        .component_paths
        .iter()
        .cloned()
        .chain(succeeded.filter_map(|component| component.path.clone()))
        .collect();
    paths.sort();
    paths.dedup();
    paths
}

fn info(snapshot: &Snapshot) -> SnapshotInfo {
    let status = snapshot.status.clone().unwrap_or_default();
    // The operator may not have looked at the newest facts yet.
    let phase = status.phase.filter(|phase| is_final(Some(*phase))).unwrap_or_else(|| phase::snapshot(&status));
    SnapshotInfo {
        name: Some(snapshot.name_any()),
        phase: Some(phase),
        session: snapshot.spec.session.clone(),
        size: status.size,
        snapshot_time: taken(snapshot).cloned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn snapshot(name: &str, time: &str, component: &serde_json::Value) -> Snapshot {
        serde_json::from_value(json!({
            "apiVersion": "storage.kubestash.com/v1alpha1", "kind": "Snapshot", "metadata": { "name": name, "namespace": "demo" },
            "spec": { "repository": "r", "session": "daily" },
            "status": { "phase": component["phase"], "size": component["size"], "snapshotTime": time, "components": { "dump": component } },
        }))
        .unwrap()
    }

    fn dump(phase: &str, session: &str, size: &str, integrity: bool, end: &str) -> serde_json::Value {
        json!({
            "phase": phase, "path": format!("repository/v1/{session}/dump"), "size": size, "integrity": integrity,
            "resticStats": [{ "summary": { "id": "aa", "endTime": end } }],
        })
    }

    #[test]
    fn components_are_what_kubestash_writes() {
        let stored = Stored {
            id: "ab".repeat(32),
            path: "/dumpfile.sql".into(),
            bytes: 3_834_645,
            added: 7171,
            start: at("2026-01-02T03:04:05Z"),
            end: at("2026-01-02T03:04:12.472499073Z"),
        };
        let found = Measured { size: Some(806), integrity: Some(true) };
        let component = measured(succeeded("repository/v1/daily/dump", &stored), &found);
        assert_eq!(
            serde_json::to_value(component).unwrap(),
            json!({
                "path": "repository/v1/daily/dump", "phase": "Succeeded", "driver": "Restic", "duration": "7.472499073s",
                "size": "806 B", "integrity": true,
                "resticStats": [{ "summary": {
                    "id": "ab".repeat(32), "hostPath": "dumpfile.sql", "size": "3.657 MiB", "uploaded": "7.003 KiB",
                    "startTime": "2026-01-02T03:04:05Z", "endTime": "2026-01-02T03:04:12Z",
                }}],
            })
        );
        let component = failed("p", Duration::from_secs(50), "no way");
        assert_eq!(
            serde_json::to_value(component).unwrap(),
            json!({ "path": "p", "phase": "Failed", "driver": "Restic", "duration": "50s", "error": "no way" })
        );
        let unknown = measured(succeeded("p", &stored), &Measured::default());
        assert_eq!((unknown.size, unknown.integrity), (None, None));
    }

    #[test]
    fn errors_are_cut_between_characters() {
        assert_eq!(error_text("short"), "short");
        let long = error_text(&"ä".repeat(4000));
        assert_eq!(long.len(), ERROR_LIMIT);
        assert_eq!(error_text(&format!("x{}", "ä".repeat(4000))).len(), ERROR_LIMIT - 1);
    }

    #[test]
    fn a_repository_is_what_its_newest_snapshots_say() {
        let mut all: Vec<Snapshot> = (1..=6)
            .map(|day| {
                let end = format!("2026-01-0{day}T00:01:00Z");
                snapshot(
                    &format!("s{day}"),
                    &format!("2026-01-0{day}T00:00:00Z"),
                    &dump("Succeeded", "daily", &format!("{day}.000 KiB"), true, &end),
                )
            })
            .collect();
        all.push(snapshot(
            "hourly",
            "2026-01-03T12:00:00Z",
            &dump("Succeeded", "hourly", "1.500 KiB", false, "2026-01-03T12:01:00Z"),
        ));
        all.push(snapshot(
            "bad",
            "2026-01-07T00:00:00Z",
            &json!({ "phase": "Failed", "path": "repository/v1/daily/dump", "error": "x" }),
        ));
        let mut going = snapshot(
            "going",
            "2026-01-08T00:00:00Z",
            &dump("Succeeded", "daily", "9.000 KiB", true, "2026-01-08T00:01:00Z"),
        );
        going.metadata.deletion_timestamp = Some(Time(at("2026-01-09T00:00:00Z")));
        all.push(going);
        let before =
            RepositoryStatus { component_paths: vec!["repository/v1/old/dump".into()], ..RepositoryStatus::default() };
        let facts = repository(&before, &all);
        assert_eq!(facts.snapshot_count, Some(8));
        assert_eq!(facts.size.as_deref(), Some("7.500 KiB"));
        assert_eq!(facts.integrity, Some(false), "the newest check of one of its restic repositories found damage");
        assert_eq!(facts.last_backup_time, Some(Time(at("2026-01-06T00:01:00Z"))));
        assert_eq!(
            facts.component_paths,
            ["repository/v1/daily/dump", "repository/v1/hourly/dump", "repository/v1/old/dump"]
        );
        let recent: Vec<_> = facts.recent_snapshots.iter().map(|one| one.name.clone().unwrap()).collect();
        assert_eq!(recent, ["bad", "s6", "s5", "s4", "hourly"]);
        assert_eq!(facts.recent_snapshots[0].phase, Some(SnapshotPhase::Failed));
    }

    #[test]
    fn what_is_final_is_closed() {
        let dump = |phase: &str| json!({ "dump": { "phase": phase } });
        let condition = |type_: &str, status: &str| json!([{ "type": type_, "status": status, "lastTransitionTime": "2026-01-01T00:00:00Z" }]);
        for (status, open) in [
            (json!(null), true),
            (json!({ "totalComponents": 1 }), true),
            (json!({ "components": dump("Running") }), true),
            (json!({ "components": dump("Succeeded") }), false),
            (json!({ "components": dump("Failed") }), false),
            (json!({ "conditions": condition("BackupIncomplete", "True") }), false),
            (json!({ "components": dump("Running"), "conditions": condition("BackupIncomplete", "True") }), false),
            (json!({ "components": dump("Running"), "conditions": condition("Ready", "False") }), true),
        ] {
            let mut one = snapshot("s", "2026-01-01T00:00:00Z", &json!({}));
            one.status = serde_json::from_value(status.clone()).unwrap();
            assert_eq!(is_open(&one, "dump"), open, "{status}");
        }
    }

    #[test]
    fn facts_that_nobody_has_looked_at_yet_count() {
        let done = json!([{ "type": "SnapshotMetadataUploaded", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z" }]);
        let mut one = snapshot(
            "s",
            "2026-01-01T00:00:00Z",
            &dump("Succeeded", "daily", "1.000 KiB", true, "2026-01-01T00:01:00Z"),
        );
        let state = one.status.as_mut().unwrap();
        state.phase = Some(SnapshotPhase::Running);
        state.total_components = Some(1);
        state.conditions = serde_json::from_value(done).unwrap();
        let facts = repository(&RepositoryStatus::default(), &[one]);
        assert_eq!(facts.recent_snapshots[0].phase, Some(SnapshotPhase::Succeeded));
    }

    #[test]
    fn a_repository_that_lost_its_snapshots_still_knows_its_last_backup() {
        let last = Some(Time(at("2026-01-06T00:01:00Z")));
        let before = RepositoryStatus { last_backup_time: last.clone(), ..RepositoryStatus::default() };
        let facts = repository(&before, &[]);
        assert_eq!((facts.last_backup_time, facts.snapshot_count, facts.integrity), (last, Some(0), None));
        assert_eq!((facts.size.as_deref(), facts.recent_snapshots.len()), (Some("0 B"), 0));
    }
}
