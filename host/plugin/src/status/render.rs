//! The text of a status: a table for each kind, then what is not right.

use coffer_api::ResourceExt as _;
use coffer_api::core::{BackupConfiguration, BackupSession, RestoreComponent, RestoreSession, Session};
use coffer_api::storage::{BackupStorage, Repository, Snapshot};
use coffer_resolve::objects::Namespaced;
use jiff::Timestamp;

use super::problems::{Problem, problems};
use super::view::{View, created, invoker, is_overdue, next_schedule, storage, waits};
use crate::snapshots::taken;
use crate::table::{Table, age, ago, until};

/// How many Snapshots and restores are shown: the newest.
const NEWEST: usize = 5;

/// What is shown.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shown {
    /// A column with the namespace.
    pub(super) namespaces: bool,
    /// More columns.
    pub(super) wide: bool,
    /// The newest Snapshots.
    pub(super) snapshots: bool,
    /// The time.
    pub(super) now: Timestamp,
}

/// The whole text; empty if there is nothing.
pub(super) fn text(view: &View, shown: Shown) -> String {
    let mut parts = vec![
        section("BACKUPCONFIGURATIONS", &configurations(view, shown)),
        section("BACKUPSTORAGES", &storages(&view.storages, shown)),
        section("REPOSITORIES", &repositories(&view.repositories, shown)),
        section("BACKUPSESSIONS", &sessions(view, shown)),
        section("RESTORESESSIONS", &restores(&view.restores, shown)),
    ];
    if shown.snapshots {
        parts.push(section("SNAPSHOTS", &snapshots(&view.snapshots, shown)));
    }
    parts.retain(|part| !part.is_empty());
    if !parts.is_empty() {
        parts.push(told(&problems(view, shown.now), view.unread.is_empty()));
    }
    if !view.unread.is_empty() {
        let lines: Vec<_> = view.unread.iter().map(|why| format!("  {why}")).collect();
        parts.push(format!("NOT SHOWN\n{}", lines.join("\n")));
    }
    parts.join("\n\n")
}

fn section(title: &str, table: &Table) -> String {
    if table.is_empty() { String::new() } else { format!("{title}\n{}", table.render()) }
}

fn told(problems: &[Problem], complete: bool) -> String {
    if problems.is_empty() {
        return if complete { "No problems." } else { "No problems in what could be read." }.to_owned();
    }
    let mut lines = vec!["PROBLEMS".to_owned()];
    for Problem { object, what, why, fix } in problems {
        lines.push(format!("{object}: {what}"));
        if !why.is_empty() {
            lines.push(format!("  {why}"));
        }
        lines.push(format!("  -> {fix}"));
    }
    lines.join("\n")
}

/// A table whose first column is the namespace, if that is shown.
fn titled(shown: Shown, titles: &[&str], wide: &[&str]) -> Table {
    let mut all = if shown.namespaces { vec!["NAMESPACE"] } else { Vec::new() };
    all.extend(titles);
    if shown.wide {
        all.extend(wide);
    }
    Table::new(&all)
}

fn row<K: Namespaced>(table: &mut Table, shown: Shown, object: &K, cells: Vec<String>, wide: Vec<String>) {
    let namespace = shown.namespaces.then(|| object.namespace().unwrap_or_default());
    let wide = if shown.wide { wide } else { Vec::new() };
    table.row(namespace.into_iter().chain([object.name_any()]).chain(cells).chain(wide));
}

/// A phase, or that the object is on its way out.
fn phase<K: Namespaced, P: std::fmt::Debug>(object: &K, phase: Option<P>) -> String {
    if object.meta().deletion_timestamp.is_some() {
        return "Terminating".to_owned();
    }
    phase.map(|phase| format!("{phase:?}")).unwrap_or_default()
}

fn configurations(view: &View, shown: Shown) -> Table {
    let titles = ["NAME", "PHASE", "SESSION", "SCHEDULE", "NEXT", "LAST-SUCCESS", "LAST-RUN"];
    let mut table = titled(shown, &titles, &["TARGET", "REPOSITORIES"]);
    for one in &view.configurations {
        for session in &one.spec.sessions {
            let run = view.runs(one, session).first().copied();
            let run = run.map(|run| {
                let state = phase(run, run.status.as_ref().and_then(|status| status.phase));
                let when = created(run).map(|time| ago(time, shown.now)).unwrap_or_default();
                format!("{} {when}", if state.is_empty() { "Pending" } else { &state })
            });
            let target = one.spec.target.as_ref();
            let target = target.map(|target| format!("{}/{}", target.kind.as_deref().unwrap_or_default(), target.name));
            let repositories: Vec<_> = session.repositories.iter().filter_map(|one| one.name.clone()).collect();
            let cells = vec![
                phase(one, one.status.as_ref().and_then(|status| status.phase)),
                session.name.clone().unwrap_or_default(),
                session.scheduler.as_ref().map(|scheduler| scheduler.schedule.clone()).unwrap_or_default(),
                next(one, session, shown.now),
                view.last_success(one, session).map_or_else(|| "never".to_owned(), |time| ago(time, shown.now)),
                run.unwrap_or_default(),
            ];
            row(&mut table, shown, one, cells, vec![target.unwrap_or_default(), repositories.join(",")]);
        }
    }
    table
}

/// When a session runs next.
fn next(configuration: &BackupConfiguration, session: &Session, now: Timestamp) -> String {
    if let Some(why) = waits(configuration, session) {
        return why.to_owned();
    }
    let Some(text) = next_schedule(configuration, session) else { return String::new() };
    match text.parse::<Timestamp>() {
        Ok(time) if is_overdue(time, now) => "overdue".to_owned(),
        Ok(time) => until(time, now),
        Err(_) => text.to_owned(),
    }
}

fn storages(storages: &[BackupStorage], shown: Shown) -> Table {
    let mut table =
        titled(shown, &["NAME", "PHASE", "PROVIDER", "SIZE", "REPOSITORIES"], &["DEFAULT", "DELETION-POLICY"]);
    for one in storages {
        let status = one.status.clone().unwrap_or_default();
        let cells = vec![
            phase(one, status.phase),
            one.spec.storage.provider.clone().unwrap_or_default(),
            status.total_size.unwrap_or_default(),
            status.repositories.len().to_string(),
        ];
        let wide = vec![(one.spec.default == Some(true)).to_string(), format!("{:?}", one.spec.deletion_policy)];
        row(&mut table, shown, one, cells, wide);
    }
    table
}

fn repositories(repositories: &[Repository], shown: Shown) -> Table {
    let titles = ["NAME", "PHASE", "STORAGE", "SNAPSHOTS", "SIZE", "INTEGRITY", "LAST-SUCCESS"];
    let mut table = titled(shown, &titles, &["PATH", "DELETION-POLICY"]);
    for one in repositories {
        let status = one.status.clone().unwrap_or_default();
        let cells = vec![
            phase(one, status.phase),
            storage(one).unwrap_or_default().to_owned(),
            status.snapshot_count.map(|count| count.to_string()).unwrap_or_default(),
            status.size.unwrap_or_default(),
            status.integrity.map(|right| right.to_string()).unwrap_or_default(),
            status.last_backup_time.map_or_else(|| "never".to_owned(), |time| ago(time.0, shown.now)),
        ];
        let wide = vec![one.spec.path.clone().unwrap_or_default(), format!("{:?}", one.spec.deletion_policy)];
        row(&mut table, shown, one, cells, wide);
    }
    table
}

fn sessions(view: &View, shown: Shown) -> Table {
    let titles = ["NAME", "PHASE", "PROGRESS", "DURATION", "AGE"];
    let mut table = titled(shown, &titles, &["CONFIGURATION", "SESSION"]);
    for one in view.newest_runs() {
        let status = one.status.clone().unwrap_or_default();
        let cells = vec![
            phase(one, status.phase),
            progress_of_backup(one, &view.snapshots),
            status.duration.unwrap_or_default(),
            created(one).map(|time| age(time, shown.now)).unwrap_or_default(),
        ];
        let wide = vec![invoker(one).unwrap_or_default().to_owned(), one.spec.session.clone().unwrap_or_default()];
        row(&mut table, shown, one, cells, wide);
    }
    table
}

/// The part that is done of each Snapshot of a session.
fn progress_of_backup(session: &BackupSession, snapshots: &[Snapshot]) -> String {
    let ours = snapshots
        .iter()
        .filter(|one| one.namespace() == session.namespace() && one.spec.backup_session == Some(session.name_any()));
    let components = ours.flat_map(|one| one.status.iter().flat_map(|status| status.components.values()));
    let progress = components.flat_map(|one| &one.restic_stats).filter_map(|stats| stats.progress.as_ref());
    let parts: Vec<_> =
        progress.filter_map(|one| one.percent_done.clone().or_else(|| one.backup_done.clone())).collect();
    parts.join(",")
}

fn restores(restores: &[RestoreSession], shown: Shown) -> Table {
    let titles = ["NAME", "PHASE", "REPOSITORY", "TARGET", "PROGRESS", "DURATION", "AGE"];
    let mut table = titled(shown, &titles, &["SNAPSHOT"]);
    let mut newest: Vec<_> = restores.iter().collect();
    newest.sort_by_cached_key(|one| std::cmp::Reverse((created(*one), one.name_any())));
    for one in newest.into_iter().take(NEWEST) {
        let status = one.status.clone().unwrap_or_default();
        let source = one.spec.data_source.clone().unwrap_or_default();
        let target = one.spec.target.as_ref();
        let part = |one: &RestoreComponent| {
            let progress = one.progress.as_ref()?;
            progress.percent_done.clone().or_else(|| progress.restore_done.clone())
        };
        let cells = vec![
            phase(one, status.phase),
            source.repository.unwrap_or_default(),
            target
                .map(|target| format!("{}/{}", target.kind.as_deref().unwrap_or_default(), target.name))
                .unwrap_or_default(),
            status.components.values().filter_map(part).collect::<Vec<_>>().join(","),
            status.duration.unwrap_or_default(),
            created(one).map(|time| age(time, shown.now)).unwrap_or_default(),
        ];
        let moment = source.pitr.and_then(|pitr| pitr.target_time).map(|time| time.0.to_string());
        row(&mut table, shown, one, cells, vec![moment.or(source.snapshot).unwrap_or_default()]);
    }
    table
}

fn snapshots(snapshots: &[Snapshot], shown: Shown) -> Table {
    let mut table = titled(shown, &["NAME", "PHASE", "SIZE", "INTEGRITY", "AGE"], &["REPOSITORY", "SESSION"]);
    let mut newest: Vec<_> = snapshots.iter().collect();
    newest.sort_by_cached_key(|one| std::cmp::Reverse((taken(one), one.name_any())));
    for one in newest.into_iter().take(NEWEST) {
        let status = one.status.clone().unwrap_or_default();
        let cells = vec![
            phase(one, status.phase),
            status.size.unwrap_or_default(),
            status.integrity.map(|right| right.to_string()).unwrap_or_default(),
            taken(one).map(|time| age(time, shown.now)).unwrap_or_default(),
        ];
        let wide = vec![one.spec.repository.clone().unwrap_or_default(), one.spec.session.clone().unwrap_or_default()];
        row(&mut table, shown, one, cells, wide);
    }
    table
}

#[cfg(test)]
mod tests {
    use coffer_resolve::Kind;
    use serde::de::DeserializeOwned;
    use serde_json::{Value, json};

    use super::*;
    use crate::subject::Subject;

    const TIME: &str = "2026-01-01T00:00:00Z";

    fn object<K: DeserializeOwned>(group: &str, kind: &str, name: &str, fields: Value) -> K {
        let mut object = json!({
            "apiVersion": format!("{group}.kubestash.com/v1alpha1"), "kind": kind,
            "metadata": { "name": name, "namespace": "demo", "creationTimestamp": TIME }, "spec": {},
        });
        let Value::Object(fields) = fields else { panic!("an object") };
        object.as_object_mut().unwrap().extend(fields);
        serde_json::from_value(object).unwrap()
    }

    fn ready() -> Value {
        json!([{ "type": "Ready", "status": "True", "lastTransitionTime": TIME }])
    }

    /// A configuration with two sessions; the first has a backup in one of its two repositories only.
    fn view() -> View {
        let session = |name: &str, repositories: &[&str]| {
            let repositories: Vec<_> = repositories.iter().map(|name| json!({ "name": name })).collect();
            json!({ "name": name, "scheduler": { "schedule": "0 0 * * *", "jobTemplate": {} }, "repositories": repositories })
        };
        let snapshot = |name: &str, repository: &str, session: &str, phase: &str, minute: u8| {
            let component =
                json!({ "phase": phase, "error": if phase == "Failed" { Some("access denied") } else { None } });
            object(
                "storage",
                "Snapshot",
                name,
                json!({
                    "spec": { "repository": repository, "session": session, "backupSession": format!("bc-{session}-2") },
                    "status": {
                        "phase": phase, "snapshotTime": format!("2026-01-01T00:{minute:02}:00Z"), "size": "1.000 MiB",
                        "components": { "dump": component },
                    },
                }),
            )
        };
        let run = |name: &str, session: &str, phase: &str| {
            object(
                "core",
                "BackupSession",
                name,
                json!({
                    "spec": { "invoker": { "apiGroup": "core.kubestash.com", "kind": "BackupConfiguration", "name": "bc" }, "session": session },
                    "status": { "phase": phase, "duration": "4s" },
                }),
            )
        };
        View {
            configurations: vec![object(
                "core",
                "BackupConfiguration",
                "bc",
                json!({
                    "spec": {
                        "target": { "apiGroup": "appcatalog.appscode.com", "kind": "AppBinding", "name": "shop" },
                        "sessions": [session("daily", &["near", "far"]), session("weekly", &["near"])],
                    },
                    "status": {
                        "phase": "Ready", "conditions": ready(),
                        "sessions": [{ "name": "daily", "nextSchedule": "2026-01-01T01:03:05Z" }],
                    },
                }),
            )],
            storages: vec![object(
                "storage",
                "BackupStorage",
                "s3",
                json!({
                    "spec": { "storage": { "provider": "s3" } },
                    "status": { "phase": "NotReady", "conditions": [{
                        "type": "BackendInitialized", "status": "False", "reason": "BackendInitializationFailed",
                        "message": "no such bucket; create it", "lastTransitionTime": TIME,
                    }] },
                }),
            )],
            repositories: vec![object(
                "storage",
                "Repository",
                "near",
                json!({
                    "spec": { "storageRef": { "name": "s3" }, "path": "/near" },
                    "status": { "phase": "Ready", "snapshotCount": 2, "size": "2.000 MiB", "integrity": true, "conditions": ready(), "lastBackupTime": TIME },
                }),
            )],
            sessions: vec![
                run("bc-daily-1", "daily", "Succeeded"),
                run("bc-daily-2", "daily", "Failed"),
                run("bc-weekly-2", "weekly", "Succeeded"),
            ],
            restores: vec![object(
                "core",
                "RestoreSession",
                "back",
                json!({
                    "spec": { "dataSource": { "repository": "near", "snapshot": "latest" }, "target": { "kind": "AppBinding", "name": "copy" } },
                    "status": { "phase": "Running", "components": { "dump": { "phase": "Running", "progress": { "percentDone": "50.00%" } } } },
                }),
            )],
            snapshots: vec![
                snapshot("near-1", "near", "daily", "Succeeded", 10),
                snapshot("far-1", "far", "daily", "Failed", 20),
                snapshot("near-2", "near", "weekly", "Succeeded", 30),
            ],
            unread: Vec::new(),
        }
    }

    fn shown() -> Shown {
        Shown { namespaces: false, wide: false, snapshots: false, now: "2026-01-01T01:00:00Z".parse().unwrap() }
    }

    #[test]
    fn one_screen_says_it_all() {
        let text = text(&view(), shown());
        let expected = "\
BACKUPCONFIGURATIONS
NAME   PHASE   SESSION   SCHEDULE    NEXT      LAST-SUCCESS   LAST-RUN
bc     Ready   daily     0 0 * * *   in 3m5s   never          Failed 60m ago
bc     Ready   weekly    0 0 * * *   -         30m ago        Succeeded 60m ago

BACKUPSTORAGES
NAME   PHASE      PROVIDER   SIZE   REPOSITORIES
s3     NotReady   s3         -      0

REPOSITORIES
NAME   PHASE   STORAGE   SNAPSHOTS   SIZE        INTEGRITY   LAST-SUCCESS
near   Ready   s3        2           2.000 MiB   true        60m ago

BACKUPSESSIONS
NAME          PHASE       PROGRESS   DURATION   AGE
bc-weekly-2   Succeeded   -          4s         60m
bc-daily-2    Failed      -          4s         60m

RESTORESESSIONS
NAME   PHASE     REPOSITORY   TARGET            PROGRESS   DURATION   AGE
back   Running   near         AppBinding/copy   50.00%     -          60m

PROBLEMS
BackupStorage demo/s3: BackendInitialized is False (BackendInitializationFailed)
  no such bucket; create it
  -> correct the storage or its Secret; the operator tries again by itself, and its pod says more: `kubectl coffer logs backupstorage/s3 -n demo`
BackupSession demo/bc-daily-2: no backup of dump in repository far
  access denied
  -> remove the cause, then trigger it again; its pod says more: `kubectl coffer logs backupsession/bc-daily-2 -n demo`";
        assert_eq!(text, expected, "\n{text}");
    }

    #[test]
    fn a_backup_counts_when_it_is_in_every_repository() {
        let mut view = view();
        let configuration = view.configurations[0].clone();
        let daily = &configuration.spec.sessions[0];
        assert_eq!(view.last_success(&configuration, daily), None);
        view.snapshots[1].status.as_mut().unwrap().phase = Some(coffer_api::shared::SnapshotPhase::Succeeded);
        assert_eq!(view.last_success(&configuration, daily), Some("2026-01-01T00:10:00Z".parse().unwrap()));
    }

    #[test]
    fn what_belongs_to_an_object_is_shown_with_it() {
        let about = |kind: Kind, name: &str| {
            let view = view().about(&Subject { kind, name: name.to_owned() });
            text(&view, Shown { snapshots: true, ..shown() })
        };
        let configuration = about(Kind::BackupConfiguration, "bc");
        for part in ["REPOSITORIES", "BACKUPSTORAGES", "BACKUPSESSIONS", "near-1", "near-2"] {
            assert!(configuration.contains(part), "{part}: {configuration}");
        }
        assert!(!configuration.contains("RESTORESESSIONS"), "{configuration}");
        let session = about(Kind::BackupSession, "bc-daily-2");
        assert!(
            session.contains("far-1") && session.contains("access denied") && !session.contains("near-2"),
            "{session}"
        );
        let restore = about(Kind::RestoreSession, "back");
        assert!(restore.contains("50.00%") && restore.ends_with("No problems."), "{restore}");
        let repository = about(Kind::Repository, "near");
        assert!(repository.contains("near-1") && !repository.contains("far-1"), "{repository}");
        let snapshot = about(Kind::Snapshot, "far-1");
        assert!(snapshot.contains("far-1") && !snapshot.contains("near-1"), "{snapshot}");
    }

    #[test]
    fn an_operator_that_is_gone_is_noticed() {
        let text = |view: &View, now: &str| text(view, Shown { now: now.parse().unwrap(), ..shown() });
        let mut unseen = view();
        unseen.sessions[1].status = None;
        unseen.restores[0].status = None;
        let parts = ["BackupSession demo/bc-daily-2: nobody has looked", "RestoreSession demo/back: nobody has looked"];
        let late = text(&unseen, "2026-01-01T00:02:00Z");
        assert!(parts.iter().all(|part| late.contains(part)), "{late}");
        let early = text(&unseen, "2026-01-01T00:00:30Z");
        assert!(!parts.iter().any(|part| early.contains(part)), "{early}");
        let mut view = view();
        let late = text(&view, "2026-01-01T01:40:00Z");
        for part in ["0 0 * * *   overdue", "demo/bc: its session daily is overdue", "due at 2026-01-01T01:03:05Z"] {
            assert!(late.contains(part), "{part}: {late}");
        }
        let soon = text(&view, "2026-01-01T01:20:00Z");
        assert!(soon.contains("0 0 * * *   now") && !soon.contains("overdue"), "{soon}");
        view.configurations[0].spec.paused = Some(true);
        let paused = text(&view, "2026-01-01T01:40:00Z");
        assert!(!paused.contains("overdue"), "{paused}");
    }

    #[test]
    fn what_was_not_read_may_be_a_problem() {
        let mut view = view().about(&Subject { kind: Kind::RestoreSession, name: "back".to_owned() });
        view.unread.push("cannot list the snapshots".to_owned());
        let text = text(&view, shown());
        assert!(text.contains("No problems in what could be read.\n\nNOT SHOWN"), "{text}");
    }

    #[test]
    fn pauses_and_namespaces_are_shown() {
        let mut view = view();
        view.configurations[0].spec.paused = Some(true);
        view.unread.push("cannot list the restoresessions".to_owned());
        let text = text(&view, Shown { namespaces: true, wide: true, ..shown() });
        for part in ["NAMESPACE", "paused", "AppBinding/shop", "near,far", "NOT SHOWN\n  cannot list"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert_eq!(super::text(&View::default(), shown()), "");
    }
}
