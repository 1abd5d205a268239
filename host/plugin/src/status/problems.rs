//! What is not right, why, and what to do about it.

use coffer_api::condition::{
    ALL, BACKEND_INITIALIZED, BACKEND_SECRET_FOUND, BACKUP_INCOMPLETE, BACKUP_SKIPPED, BACKUP_VERIFICATION_SKIPPED,
    POD_PENDING_TOO_LONG, READY, RECONCILING, REPOSITORY_INITIALIZED, RESTORE_INCOMPLETE, SNAPSHOT_CLEANUP_INCOMPLETE,
    STALLED, VALIDATION_PASSED,
};
use coffer_api::core::{
    BackupConfiguration, BackupSession, BackupSessionPhase, RestorePhase, RestoreSession, RetentionPolicyApplyPhase,
};
use coffer_api::shared::{Condition, ConditionStatus, SnapshotPhase};
use coffer_api::storage::Snapshot;
use coffer_api::{Resource, ResourceExt as _};
use coffer_resolve::Kind;
use coffer_resolve::objects::Namespaced;
use jiff::{SignedDuration, Timestamp};

use super::view::{View, created, is_overdue, next_schedule, waits};
use crate::subject::word;

/// The conditions that are bad when they hold.
const BAD_WHEN_TRUE: [&str; 7] = [
    BACKUP_SKIPPED.name,
    BACKUP_INCOMPLETE.name,
    BACKUP_VERIFICATION_SKIPPED.name,
    POD_PENDING_TOO_LONG.name,
    RESTORE_INCOMPLETE.name,
    SNAPSHOT_CLEANUP_INCOMPLETE.name,
    STALLED.name,
];
/// The conditions that sum up the others.
const SUMMARIES: [&str; 2] = [READY.name, STALLED.name];

/// How old a session may be that nobody has looked at.
const FRESH: SignedDuration = SignedDuration::from_mins(1);
/// What to do when nothing happens.
const OPERATOR: &str = "see that the operator runs: `kubectl get deployments -A -l app.kubernetes.io/name=coffer`";

/// Something that is not right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    /// `BackupStorage demo/s3`
    pub(super) object: String,
    /// What is not right.
    pub(super) what: String,
    /// Why, in the operator's words.
    pub(super) why: String,
    /// What to do.
    pub(super) fix: String,
}

/// The conditions that are not right. Those that only sum up others are left out when others say it better.
pub(crate) fn bad(conditions: &[Condition]) -> Vec<&Condition> {
    let is_bad = |one: &&Condition| {
        let known = ALL.iter().any(|type_| type_.name == one.type_);
        let wrong = if BAD_WHEN_TRUE.contains(&one.type_.as_str()) {
            one.status == ConditionStatus::True
        } else {
            one.status != ConditionStatus::True
        };
        known && wrong && one.type_ != RECONCILING.name
    };
    let all: Vec<_> = conditions.iter().filter(is_bad).collect();
    let own: Vec<_> = all.iter().copied().filter(|one| !SUMMARIES.contains(&one.type_.as_str())).collect();
    if !own.is_empty() {
        return own;
    }
    // Ready and Stalled say the same.
    all.into_iter().take(1).collect()
}

/// Everything that is not right.
pub(super) fn problems(view: &View, now: Timestamp) -> Vec<Problem> {
    let mut found = Found::default();
    for storage in &view.storages {
        let of = Of::new(Kind::BackupStorage, storage);
        found.conditions(&of, storage.status.as_ref().map(|status| status.conditions.as_slice()));
        for one in storage.status.iter().flat_map(|status| &status.repositories) {
            if let Some(error) = &one.error {
                let what = format!("its repository {} has no objects here", one.name.as_deref().unwrap_or_default());
                found.add(&of, what, error.clone(), "remove the cause; the operator looks again by itself");
            }
        }
    }
    for repository in &view.repositories {
        let of = Of::new(Kind::Repository, repository);
        found.conditions(&of, repository.status.as_ref().map(|status| status.conditions.as_slice()));
        if repository.status.as_ref().and_then(|status| status.integrity) == Some(false) {
            let fix = "read the errors of its newest Snapshots, restore what you need from another repository, and find out what \
                       changed the storage before the next backup";
            found.add(
                &of,
                "its data is damaged".to_owned(),
                "the check after the last backup found errors".to_owned(),
                fix,
            );
        }
    }
    view.configurations.iter().for_each(|one| found.configuration(one, now));
    view.newest_runs().into_iter().for_each(|one| found.session(one, &view.snapshots, now));
    view.restores.iter().for_each(|one| found.restore(one, now));
    if view.sessions.is_empty() && view.repositories.is_empty() {
        // A Snapshot by itself.
        view.snapshots.iter().for_each(|one| found.snapshot(&Of::new(Kind::Snapshot, one), one));
    }
    found.0
}

/// The object that a problem is of.
struct Of {
    kind: Kind,
    namespace: String,
    name: String,
}

impl Of {
    fn new<K: Resource>(kind: Kind, object: &K) -> Self {
        Self { kind, namespace: object.namespace().unwrap_or_default(), name: object.name_any() }
    }

    fn label(&self) -> String {
        format!("{} {}/{}", self.kind.name(), self.namespace, self.name)
    }

    fn logs(&self) -> String {
        format!("`kubectl coffer logs {} -n {}`", word(self.kind, &self.name), self.namespace)
    }
}

#[derive(Default)]
struct Found(Vec<Problem>);

impl Found {
    fn add(&mut self, of: &Of, what: String, why: String, fix: impl Into<String>) {
        self.0.push(Problem { object: of.label(), what, why, fix: fix.into() });
    }

    /// The conditions of an object that is to have some.
    fn conditions(&mut self, of: &Of, conditions: Option<&[Condition]>) {
        match conditions {
            None | Some([]) => self.add(
                of,
                "nobody has looked at it".to_owned(),
                "it has no condition yet".to_owned(),
                format!("wait a moment; if it stays so, {OPERATOR}"),
            ),
            Some(conditions) => self.bad(of, conditions),
        }
    }

    /// A session without a status. One that was only just made is fine.
    fn unseen<K: Namespaced>(&mut self, of: &Of, object: &K, now: Timestamp) {
        if created(object).is_none_or(|time| now.duration_since(time) > FRESH) {
            self.conditions(of, None);
        }
    }

    fn bad(&mut self, of: &Of, conditions: &[Condition]) {
        for one in bad(conditions) {
            let reason = one.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
            let what = format!("{} is {:?}{reason}", one.type_, one.status);
            self.add(of, what, one.message.clone().unwrap_or_default(), fix(of, &one.type_));
        }
    }

    fn configuration(&mut self, configuration: &BackupConfiguration, now: Timestamp) {
        let of = Of::new(Kind::BackupConfiguration, configuration);
        let before = self.0.len();
        let status = configuration.status.as_ref();
        for session in status.iter().flat_map(|status| &status.sessions) {
            self.bad(&of, &session.conditions);
        }
        for backend in status.iter().flat_map(|status| &status.backends) {
            let name = backend.name.as_deref().unwrap_or_default();
            let storage = backend.storage.as_ref().and_then(|storage| storage.reason.clone());
            let policy = backend.retention_policy.as_ref().and_then(|policy| policy.reason.clone());
            for why in [storage, policy].into_iter().flatten() {
                let fix =
                    "correct what it refers to, or spec.backends; `kubectl coffer status` of the storage says more";
                self.add(&of, format!("its backend {name} is not ready"), why, fix);
            }
        }
        if self.0.len() == before {
            self.conditions(&of, status.map(|status| status.conditions.as_slice()));
        }
        for session in configuration.spec.sessions.iter().filter(|session| waits(configuration, session).is_none()) {
            let due = next_schedule(configuration, session).and_then(|text| text.parse::<Timestamp>().ok());
            if let Some(due) = due.filter(|due| is_overdue(*due, now)) {
                let what = format!("its session {} is overdue", session.name.as_deref().unwrap_or_default());
                let why = format!("it was due at {due}, and nobody has noted the next time since");
                self.add(&of, what, why, OPERATOR);
            }
        }
    }

    fn session(&mut self, session: &BackupSession, snapshots: &[Snapshot], now: Timestamp) {
        let of = Of::new(Kind::BackupSession, session);
        let Some(status) = &session.status else {
            self.unseen(&of, session, now);
            return;
        };
        let before = self.0.len();
        if status.phase != Some(BackupSessionPhase::Succeeded) {
            for snapshot in snapshots.iter().filter(|one| {
                one.namespace() == session.namespace() && one.spec.backup_session == Some(session.name_any())
            }) {
                self.snapshot(&of, snapshot);
            }
            for one in
                status.retention_policy.iter().filter(|one| one.phase == Some(RetentionPolicyApplyPhase::FailedToApply))
            {
                let what = format!(
                    "old Snapshots of repository {} were not removed",
                    one.repository.as_deref().unwrap_or_default()
                );
                self.add(
                    &of,
                    what,
                    one.error.clone().unwrap_or_default(),
                    "remove the cause; the next backup tries it again",
                );
            }
        }
        let pending = status.conditions.iter().any(|one| one.type_ == POD_PENDING_TOO_LONG.name);
        let ended_badly = matches!(status.phase, Some(BackupSessionPhase::Failed | BackupSessionPhase::Skipped));
        if self.0.len() == before && (ended_badly || pending) {
            self.bad(&of, &status.conditions);
        }
    }

    /// Why a Snapshot failed, as a problem of its session or its own.
    fn snapshot(&mut self, of: &Of, snapshot: &Snapshot) {
        let repository = snapshot.spec.repository.as_deref().unwrap_or_default();
        let Some(status) = snapshot.status.as_ref().filter(|status| status.phase == Some(SnapshotPhase::Failed)) else {
            return;
        };
        let fix = match of.kind {
            Kind::BackupSession => format!("remove the cause, then trigger it again; its pod says more: {}", of.logs()),
            _ => "remove the cause, then trigger the backup again".to_owned(),
        };
        let before = self.0.len();
        for (name, component) in &status.components {
            if let Some(error) = &component.error {
                self.add(of, format!("no backup of {name} in repository {repository}"), error.clone(), fix.clone());
            }
        }
        if self.0.len() == before {
            for one in bad(&status.conditions) {
                let why = one.message.clone().unwrap_or_default();
                self.add(of, format!("no backup in repository {repository}"), why, fix.clone());
            }
        }
    }

    fn restore(&mut self, restore: &RestoreSession, now: Timestamp) {
        let of = Of::new(Kind::RestoreSession, restore);
        let Some(status) = &restore.status else {
            self.unseen(&of, restore, now);
            return;
        };
        let before = self.0.len();
        for (name, component) in &status.components {
            if let Some(error) = &component.error {
                let fix =
                    format!("remove the cause, then apply another RestoreSession; its pod says more: {}", of.logs());
                self.add(&of, format!("{name} was not restored"), error.clone(), fix);
            }
        }
        if self.0.len() == before && !matches!(status.phase, Some(RestorePhase::Succeeded | RestorePhase::Running)) {
            self.bad(&of, &status.conditions);
        }
    }
}

/// What to do about a condition.
fn fix(of: &Of, type_: &str) -> String {
    let Of { kind, namespace, name } = of;
    let describe = format!("`kubectl describe {} -n {namespace}`", word(*kind, name));
    let logs = of.logs();
    if type_ == VALIDATION_PASSED.name {
        return "correct the manifest and apply it again".to_owned();
    }
    if type_ == BACKEND_SECRET_FOUND.name {
        return "create the Secret with these keys, or correct its name in spec.storage".to_owned();
    }
    if [BACKEND_INITIALIZED.name, REPOSITORY_INITIALIZED.name].contains(&type_) {
        return format!(
            "correct the storage or its Secret; the operator tries again by itself, and its pod says more: {logs}"
        );
    }
    if type_ == BACKUP_SKIPPED.name {
        return "remove the cause, then begin a backup with `kubectl coffer trigger`, or wait for the next one"
            .to_owned();
    }
    if type_ == POD_PENDING_TOO_LONG.name {
        return format!("make room for its pod, or correct its settings: `kubectl describe pods -n {namespace}`");
    }
    match kind {
        Kind::BackupSession | Kind::RestoreSession => format!("see {describe} and {logs}"),
        _ => format!("see {describe}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn conditions(all: &[(&str, &str, &str)]) -> Vec<Condition> {
        let one = |(type_, status, message): &(&str, &str, &str)| {
            let one = json!({ "type": type_, "status": status, "message": message, "lastTransitionTime": "2026-01-01T00:00:00Z" });
            serde_json::from_value(one).unwrap()
        };
        all.iter().map(one).collect()
    }

    #[test]
    fn a_condition_is_bad_by_its_meaning() {
        let all = conditions(&[
            ("BackendInitialized", "True", ""),
            ("BackendSecretFound", "Unknown", ""),
            ("BackupIncomplete", "False", ""),
            ("BackupSkipped", "True", ""),
            ("Ready", "False", ""),
            ("Reconciling", "True", ""),
            ("SomebodyElses", "False", ""),
        ]);
        let names: Vec<_> = bad(&all).iter().map(|one| one.type_.clone()).collect();
        assert_eq!(names, ["BackendSecretFound", "BackupSkipped"]);
    }

    #[test]
    fn what_sums_up_is_said_when_nothing_else_is() {
        let all = conditions(&[("Ready", "False", "waiting: x"), ("Reconciling", "True", "waiting: x")]);
        assert_eq!(bad(&all).len(), 1);
        let all = conditions(&[("Ready", "False", "no"), ("Stalled", "True", "no")]);
        assert_eq!(bad(&all).len(), 1);
        assert!(bad(&conditions(&[("Ready", "True", ""), ("Stalled", "False", "")])).is_empty());
    }

    #[test]
    fn every_condition_has_a_fix() {
        for kind in [Kind::BackupConfiguration, Kind::BackupSession, Kind::BackupStorage] {
            let of = Of { kind, namespace: "demo".into(), name: "x".into() };
            for type_ in ALL {
                assert!(fix(&of, type_.name).len() > 20, "{}", type_.name);
            }
        }
        let of = Of { kind: Kind::BackupStorage, namespace: "demo".into(), name: "s3".into() };
        let logs = "`kubectl coffer logs backupstorage/s3 -n demo`";
        assert!(fix(&of, BACKEND_INITIALIZED.name).contains(logs));
    }
}
