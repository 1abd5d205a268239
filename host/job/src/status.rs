//! What verbs write into a status, as merge patches.

use coffer_api::condition::{self, Change};
use coffer_api::shared::Condition;
use coffer_api::storage::{RepositoryStatus, SnapshotComponent};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

/// The conditions with some of them set; `None` if that changes nothing.
pub(crate) fn conditions(before: &[Condition], changes: Vec<Change>) -> Option<Value> {
    let mut conditions = before.to_vec();
    let now = Timestamp::now();
    let mut changed = false;
    for change in changes {
        changed |= condition::set(&mut conditions, change, now);
    }
    changed.then(|| json!({ "conditions": conditions }))
}

/// One component, by name.
pub(crate) fn component(name: &str, component: &impl Serialize) -> Value {
    json!({ "components": { name: component } })
}

/// One component of a Snapshot, and conditions.
pub(crate) fn snapshot(name: &str, of: &SnapshotComponent, before: &[Condition], changes: Vec<Change>) -> Value {
    let mut status = component(name, of);
    if let (Some(fields), Some(Value::Object(more))) = (status.as_object_mut(), conditions(before, changes)) {
        fields.extend(more);
    }
    status
}

/// What is known of a Repository. A list that has become empty, and what is not known any more, are said too.
pub(crate) fn repository(facts: &RepositoryStatus) -> Value {
    json!({
        "lastBackupTime": facts.last_backup_time,
        "integrity": facts.integrity,
        "snapshotCount": facts.snapshot_count,
        "size": facts.size,
        "recentSnapshots": facts.recent_snapshots,
        "componentPaths": facts.component_paths,
    })
}
