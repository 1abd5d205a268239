//! How far a BackupSession or a RestoreSession is, until it ends.

use std::time::{Duration, Instant};

use coffer_api::condition::{self, BACKUP_SKIPPED, POD_PENDING_TOO_LONG, VALIDATION_PASSED};
use coffer_api::core::{BackupSession, BackupSessionPhase, RestorePhase, RestoreSession};
use coffer_api::shared::{Condition, ConditionStatus, SnapshotPhase};
use coffer_api::storage::Snapshot;
use coffer_api::{ResourceExt as _, phase};
use coffer_resolve::Kind;

use crate::Plugin;
use crate::error::PluginError;
use crate::status::bad;
use crate::subject::word;

/// After this long without a sign of life, one line says what may be missing.
const PATIENCE: Duration = Duration::from_secs(30);

/// How to wait.
#[derive(Debug, Clone, Copy)]
pub struct Waiting {
    /// Pause between two looks.
    pub every: Duration,
}

impl Default for Waiting {
    fn default() -> Self {
        Self { every: Duration::from_secs(1) }
    }
}

/// One look: what to tell, and how it ended if it did.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Look {
    text: String,
    begun: bool,
    end: Option<End>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    Well,
    /// Why.
    Badly(String),
}

/// Waits for the end of a BackupSession, and tells how far it is whenever that changes.
pub fn backup(
    plugin: &Plugin,
    (namespace, name): (&str, &str),
    waiting: Waiting,
    tell: &mut dyn FnMut(&str),
) -> Result<(), PluginError> {
    let objects = plugin.objects();
    wait(plugin, Kind::BackupSession, (namespace, name), waiting, tell, &|| {
        let Some(session) = objects.get::<BackupSession>(namespace, name)? else { return Ok(None) };
        let mut snapshots = Vec::new();
        for one in session.status.iter().flat_map(|status| &status.snapshots).filter_map(|one| one.name.as_deref()) {
            snapshots.extend(objects.get::<Snapshot>(namespace, one)?);
        }
        Ok(Some(of_backup(&session, &snapshots)))
    })
}

/// Waits for the end of a RestoreSession, and tells how far it is whenever that changes.
pub fn restore(
    plugin: &Plugin,
    (namespace, name): (&str, &str),
    waiting: Waiting,
    tell: &mut dyn FnMut(&str),
) -> Result<(), PluginError> {
    let objects = plugin.objects();
    wait(plugin, Kind::RestoreSession, (namespace, name), waiting, tell, &|| {
        Ok(objects.get::<RestoreSession>(namespace, name)?.map(|session| of_restore(&session)))
    })
}

fn wait(
    plugin: &Plugin,
    kind: Kind,
    (namespace, name): (&str, &str),
    waiting: Waiting,
    tell: &mut dyn FnMut(&str),
    look: &dyn Fn() -> Result<Option<Look>, PluginError>,
) -> Result<(), PluginError> {
    let this = format!("{} {namespace}/{name}", kind.name());
    let show = format!("kubectl coffer status {} -n {namespace}", word(kind, name));
    let (begin, mut told, mut warned) = (Instant::now(), String::new(), false);
    loop {
        let ended = |how: &str, why: String| PluginError::Ended {
            what: format!("{this} {how}"),
            why,
            fix: format!("see `{show}` and `kubectl coffer logs {} -n {namespace}`", word(kind, name)),
        };
        let Some(look) = look()? else {
            return Err(ended("is gone", "it was deleted while it was waited for".to_owned()));
        };
        if look.text != told {
            tell(&look.text);
            told = look.text;
        }
        match look.end {
            Some(End::Well) => return Ok(()),
            Some(End::Badly(why)) => return Err(ended("did not succeed", why)),
            None => {}
        }
        if !look.begun && !warned && begin.elapsed() > PATIENCE {
            warned = true;
            tell(
                "nothing has begun yet: does the operator run? `kubectl get deployments -A -l app.kubernetes.io/name=coffer` shows it",
            );
        }
        if plugin.cancel.wait(waiting.every) {
            let why = plugin.cancel.reason().unwrap_or_default();
            return Err(PluginError::Stopped { what: this, why, look: show });
        }
    }
}

fn of_backup(session: &BackupSession, snapshots: &[Snapshot]) -> Look {
    let status = session.status.clone().unwrap_or_default();
    let name = session.name_any();
    let mut parts = Vec::new();
    for snapshot in snapshots {
        let repository = snapshot.spec.repository.clone().unwrap_or_default();
        for component in snapshot.status.iter().flat_map(|status| status.components.values()) {
            let progress = component.restic_stats.iter().find_map(|stats| stats.progress.as_ref());
            let text = progress.map(|progress| {
                amount(
                    progress.percent_done.as_deref(),
                    progress.backup_done.as_deref(),
                    progress.total.as_deref(),
                    progress.speed.as_deref(),
                )
            });
            let text = text.or_else(|| component.phase.map(|phase| format!("{phase:?}")));
            parts.extend(text.map(|text| format!("{repository} {text}")));
        }
    }
    let phase = status.phase;
    let end = match phase {
        Some(BackupSessionPhase::Succeeded) => Some(End::Well),
        Some(BackupSessionPhase::Skipped) => {
            let why = condition::find(&status.conditions, BACKUP_SKIPPED).and_then(|one| one.message.clone());
            Some(End::Badly(format!("it was skipped: {}", why.unwrap_or_default())))
        }
        Some(BackupSessionPhase::Failed) => {
            let mut why = snapshot_errors(snapshots);
            if why.is_empty() {
                why.extend(first_message(&status.conditions).or_else(|| phase::session_failure(&status)));
            }
            if let Some(next) = status.next_retry.filter(|_| status.retried != Some(true)) {
                why.push(format!("it is tried again at {}", next.0));
            }
            Some(End::Badly(why.join("; ")))
        }
        None | Some(BackupSessionPhase::Pending | BackupSessionPhase::Running) => {
            let pending = condition::find(&status.conditions, POD_PENDING_TOO_LONG);
            let pending = pending.filter(|one| one.status == ConditionStatus::True);
            parts.extend(pending.and_then(|one| one.message.clone()));
            None
        }
    };
    Look {
        text: line("BackupSession", &name, phase.map(|phase| format!("{phase:?}")), &parts),
        begun: phase.is_some(),
        end,
    }
}

fn of_restore(session: &RestoreSession) -> Look {
    let status = session.status.clone().unwrap_or_default();
    let mut parts = Vec::new();
    for (name, component) in &status.components {
        let progress = component.progress.as_ref();
        let text = progress.map(|progress| {
            amount(
                progress.percent_done.as_deref(),
                progress.restore_done.as_deref(),
                progress.total.as_deref(),
                progress.speed.as_deref(),
            )
        });
        let text = text.or_else(|| component.phase.map(|phase| format!("{phase:?}")));
        parts.extend(text.map(|text| format!("{name} {text}")));
    }
    let errors: Vec<_> = status.components.values().filter_map(|component| component.error.clone()).collect();
    let why = |fallback: &str| match errors.as_slice() {
        [] => first_message(&status.conditions).unwrap_or_else(|| fallback.to_owned()),
        errors => errors.join("; "),
    };
    let end = match status.phase {
        Some(RestorePhase::Succeeded) => Some(End::Well),
        Some(RestorePhase::Failed) => Some(End::Badly(why("it failed"))),
        Some(RestorePhase::Unknown) => Some(End::Badly(why("nobody knows how it ended"))),
        Some(RestorePhase::Invalid) => {
            let valid = condition::find(&status.conditions, VALIDATION_PASSED).and_then(|one| one.message.clone());
            Some(End::Badly(format!("it is not valid: {}", valid.unwrap_or_default())))
        }
        None | Some(RestorePhase::Pending | RestorePhase::Running) => None,
    };
    let phase = status.phase.map(|phase| format!("{phase:?}"));
    // One that cannot begin says what it waits for.
    if parts.is_empty() && end.is_none() {
        parts.extend(first_message(&status.conditions));
    }
    Look { text: line("RestoreSession", &session.name_any(), phase, &parts), begun: status.phase.is_some(), end }
}

/// The message of the first condition that is not right.
fn first_message(conditions: &[Condition]) -> Option<String> {
    bad(conditions).into_iter().find_map(|one| one.message.clone())
}

/// Why Snapshots failed: what their components say, else their conditions.
fn snapshot_errors(snapshots: &[Snapshot]) -> Vec<String> {
    let mut errors = Vec::new();
    for snapshot in snapshots {
        let Some(status) = snapshot.status.as_ref().filter(|status| status.phase == Some(SnapshotPhase::Failed)) else {
            continue;
        };
        let mut own: Vec<_> = status.components.values().filter_map(|component| component.error.clone()).collect();
        if own.is_empty() {
            own.extend(first_message(&status.conditions));
        }
        let repository = snapshot.spec.repository.as_deref().unwrap_or_default();
        errors.extend(own.into_iter().map(|error| format!("repository {repository}: {error}")));
    }
    errors
}

fn line(kind: &str, name: &str, phase: Option<String>, parts: &[String]) -> String {
    let phase = phase.unwrap_or_else(|| "not begun".to_owned());
    if parts.is_empty() {
        format!("{kind} {name}: {phase}")
    } else {
        format!("{kind} {name}: {phase}, {}", parts.join(", "))
    }
}

/// `12.34% (10 MiB of 80 MiB, 5 MiB/s)`
fn amount(percent: Option<&str>, done: Option<&str>, total: Option<&str>, speed: Option<&str>) -> String {
    let done = done.unwrap_or("0 B");
    let mut text = match (percent, total) {
        (Some(percent), Some(total)) => format!("{percent} ({done} of {total}"),
        _ => format!("({done}"),
    };
    if let Some(speed) = speed {
        text.push_str(", ");
        text.push_str(speed);
    }
    text.push(')');
    text
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[expect(clippy::needless_pass_by_value, reason = "JSON literals are handed over as they are")]
    fn backup(status: Value, snapshots: Value) -> Look {
        let session = json!({
            "apiVersion": "core.kubestash.com/v1alpha1", "kind": "BackupSession", "metadata": { "name": "s" }, "spec": {}, "status": status,
        });
        of_backup(&serde_json::from_value(session).unwrap(), &serde_json::from_value::<Vec<_>>(snapshots).unwrap())
    }

    fn snapshot(component: &Value) -> Value {
        json!({
            "apiVersion": "storage.kubestash.com/v1alpha1", "kind": "Snapshot", "metadata": { "name": "x" },
            "spec": { "repository": "repo" }, "status": { "phase": component["phase"], "components": { "dump": component } },
        })
    }

    #[expect(clippy::needless_pass_by_value, reason = "JSON literals are handed over as they are")]
    fn restore(status: Value) -> Look {
        let session = json!({
            "apiVersion": "core.kubestash.com/v1alpha1", "kind": "RestoreSession", "metadata": { "name": "r" }, "spec": {}, "status": status,
        });
        of_restore(&serde_json::from_value(session).unwrap())
    }

    fn condition(kind: &str, status: &str, message: &str) -> Value {
        json!({ "type": kind, "status": status, "message": message, "lastTransitionTime": "2026-01-01T00:00:00Z" })
    }

    #[test]
    fn a_backup_tells_how_far_it_is() {
        let look = backup(Value::Null, json!([]));
        assert_eq!((look.text.as_str(), look.begun, look.end), ("BackupSession s: not begun", false, None));
        let progress =
            json!({ "percentDone": "12.34%", "backupDone": "10 MiB", "total": "80 MiB", "speed": "5 MiB/s" });
        let running = json!([snapshot(&json!({ "phase": "Running", "resticStats": [{ "progress": progress }] }))]);
        let look = backup(json!({ "phase": "Running" }), running);
        assert_eq!(look.text, "BackupSession s: Running, repo 12.34% (10 MiB of 80 MiB, 5 MiB/s)");
        let pending = condition("PodHasBeenInPendingStateForLongerThanExpected", "True", "no node has room");
        let look = backup(json!({ "phase": "Running", "conditions": [pending] }), json!([]));
        assert_eq!((look.text.as_str(), look.end), ("BackupSession s: Running, no node has room", None));
        let look = backup(json!({ "phase": "Succeeded" }), json!([snapshot(&json!({ "phase": "Succeeded" }))]));
        assert_eq!((look.text.as_str(), look.end), ("BackupSession s: Succeeded, repo Succeeded", Some(End::Well)));
    }

    #[test]
    fn a_backup_that_did_not_succeed_says_why() {
        let failed = snapshot(&json!({ "phase": "Failed", "error": "access denied" }));
        let status = json!({ "phase": "Failed", "nextRetry": "2026-01-01T00:05:00Z" });
        let why = "repository repo: access denied; it is tried again at 2026-01-01T00:05:00Z";
        assert_eq!(backup(status, json!([failed])).end, Some(End::Badly(why.to_owned())));
        let conditions =
            [condition("BackupExecutorEnsured", "False", "no room"), condition("MetricsPushed", "True", "")];
        let look = backup(json!({ "phase": "Failed", "conditions": conditions }), json!([]));
        assert_eq!(look.end, Some(End::Badly("no room".to_owned())));
        let skipped = json!({ "phase": "Skipped", "conditions": [condition("BackupSkipped", "True", "it is paused")] });
        assert_eq!(backup(skipped, json!([])).end, Some(End::Badly("it was skipped: it is paused".to_owned())));
    }

    #[test]
    fn a_restore_tells_what_it_waits_for_and_how_it_ended() {
        let waiting =
            json!({ "phase": "Pending", "conditions": [condition("Ready", "False", "waiting: AppBinding x")] });
        assert_eq!(restore(waiting).text, "RestoreSession r: Pending, waiting: AppBinding x");
        let running = json!({ "phase": "Running", "components": { "dump": { "phase": "Running", "progress": { "restoreDone": "3 MiB" } } } });
        assert_eq!(restore(running).text, "RestoreSession r: Running, dump (3 MiB)");
        let failed = json!({ "phase": "Failed", "components": { "dump": { "phase": "Failed", "error": "exists" } } });
        assert_eq!(restore(failed).end, Some(End::Badly("exists".to_owned())));
        let invalid =
            json!({ "phase": "Invalid", "conditions": [condition("ValidationPassed", "False", "no target")] });
        assert_eq!(restore(invalid).end, Some(End::Badly("it is not valid: no target".to_owned())));
        assert_eq!(restore(json!({ "phase": "Succeeded" })).end, Some(End::Well));
        let Some(End::Badly(unknown)) = restore(json!({ "phase": "Unknown" })).end else { panic!("no end") };
        assert!(unknown.contains("nobody knows"), "{unknown}");
    }
}
