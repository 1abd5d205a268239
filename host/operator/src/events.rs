//! Events: every change of a condition or a final phase is told once, with what, why and how to fix it; a reconcile that keeps failing is told ever more rarely.

use coffer_api::condition::{
    BACKUP_INCOMPLETE, BACKUP_SKIPPED, POD_PENDING_TOO_LONG, READY, RECONCILING, RESTORE_INCOMPLETE,
    SNAPSHOT_CLEANUP_INCOMPLETE, STALLED,
};
use coffer_api::shared::{Condition, ConditionStatus};
use kube::runtime::events::{Event, EventType, Recorder};
use kube::{Resource, ResourceExt as _};

/// The longest note that the API server takes, in bytes.
const LONGEST_NOTE: usize = 1024;

/// Something to tell about an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Note {
    pub(crate) warning: bool,
    pub(crate) reason: String,
    pub(crate) text: String,
}

impl Note {
    pub(crate) fn normal(reason: &str, text: impl Into<String>) -> Self {
        Self { warning: false, reason: reason.to_owned(), text: text.into() }
    }

    pub(crate) fn warning(reason: &str, text: impl Into<String>) -> Self {
        Self { warning: true, reason: reason.to_owned(), text: text.into() }
    }
}

/// What a change of the conditions is worth telling.
pub(crate) fn of_conditions(old: &[Condition], new: &[Condition]) -> Vec<Note> {
    let changed = new.iter().filter(|condition| {
        let before = old.iter().find(|one| one.type_ == condition.type_);
        before.is_none_or(|before| before.status != condition.status || before.reason != condition.reason)
    });
    // What Ready says, the others say better.
    let told = changed.filter(|condition| ![READY.name, RECONCILING.name].contains(&condition.type_.as_str()));
    told.map(|condition| {
        let bad_when_true = [
            BACKUP_INCOMPLETE,
            BACKUP_SKIPPED,
            POD_PENDING_TOO_LONG,
            RESTORE_INCOMPLETE,
            SNAPSHOT_CLEANUP_INCOMPLETE,
            STALLED,
        ];
        let bad_when_true = bad_when_true.iter().any(|type_| type_.name == condition.type_);
        let warning = match condition.status {
            ConditionStatus::True => bad_when_true,
            ConditionStatus::False => !bad_when_true,
            ConditionStatus::Unknown => true,
        };
        let text =
            condition.message.clone().unwrap_or_else(|| format!("{} is {:?}", condition.type_, condition.status));
        let reason = condition.reason.clone().unwrap_or_else(|| condition.type_.clone());
        Note { warning, reason, text }
    })
    .collect()
}

/// Tells it. An event that cannot be written is logged: nothing depends on events.
pub(crate) async fn publish<K: Resource<DynamicType = ()>>(recorder: &Recorder, object: &K, notes: Vec<Note>) {
    let mut reference = object.object_ref(&());
    // The version differs with each reconcile, and repeated events are joined by their reference.
    reference.resource_version = None;
    for note in notes {
        let kind = K::kind(&());
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        if note.warning {
            tracing::warn!(%kind, %namespace, %name, reason = note.reason, "{}", note.text);
        } else {
            tracing::info!(%kind, %namespace, %name, reason = note.reason, "{}", note.text);
        }
        let event = Event {
            type_: if note.warning { EventType::Warning } else { EventType::Normal },
            action: note.reason.clone(),
            reason: note.reason,
            note: Some(shortened(note.text)),
            secondary: None,
        };
        if let Err(error) = recorder.publish(&event, &reference).await {
            tracing::debug!(%kind, %namespace, %name, %error, "cannot write an event");
        }
    }
}

fn shortened(mut text: String) -> String {
    if text.len() > LONGEST_NOTE {
        let mut end = LONGEST_NOTE - '…'.len_utf8();
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use coffer_api::condition::{self, BACKEND_INITIALIZED, SNAPSHOTS_ENSURED};
    use k8s_openapi::jiff::Timestamp;

    #[test]
    fn a_change_is_told_once_and_bad_news_warn() {
        let now = Timestamp::UNIX_EPOCH;
        let mut old = Vec::new();
        condition::set(&mut old, SNAPSHOTS_ENSURED.holds(), now);
        let mut new = old.clone();
        condition::set(&mut new, BACKEND_INITIALIZED.fails_because("no such bucket; create it"), now);
        condition::set(&mut new, BACKUP_INCOMPLETE.holds_because("its pod was evicted"), now);
        condition::set(&mut new, READY.fails_because("no such bucket"), now);
        let notes = of_conditions(&old, &new);
        assert_eq!(
            notes,
            [
                Note::warning("BackendInitializationFailed", "no such bucket; create it"),
                Note::warning("BackupExecutorTerminatedBeforeCompletion", "its pod was evicted"),
            ]
        );
        assert_eq!(of_conditions(&new, &new), []);
        let good = of_conditions(&[], &old);
        assert!(!good[0].warning && good[0].reason == "SuccessfullyEnsuredSnapshots");
    }

    #[test]
    fn long_notes_are_cut_between_characters() {
        let text = shortened("ä".repeat(2000));
        assert!(text.len() <= LONGEST_NOTE && text.ends_with('…'));
        assert_eq!(shortened("short".to_owned()), "short");
    }
}
