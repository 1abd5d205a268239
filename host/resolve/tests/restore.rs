//! From manifests to restore plans, and to the repositories that commands work on.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

mod common;

use std::time::Duration;

use coffer_api::plan::SnapshotChoice;
use coffer_resolve::{RepositorySelection, RestoreSelection};
use common::{DEMO, SNAPSHOT, assert_message, catalog, clean, demo, directory, restore};
use secrecy::ExposeSecret;

const SOURCE: &str = "{repository: s3-repo, snapshot: latest}";

/// A second session that writes the same repository.
fn two_sessions() -> String {
    DEMO.replace(
        "sessions:\n",
        "sessions:
    - name: daily
      repositories: [{name: s3-repo, backend: s3-backend, directory: /mysql, encryptionSecret: {name: encrypt-secret}}]
      addon: {name: mysql-addon, tasks: [{name: logical-backup}]}
",
    )
}

#[test]
fn a_plan_has_everything() {
    let plan = restore(DEMO).unwrap();
    assert_eq!((plan.name.as_str(), plan.namespace.as_str()), ("restore-sample-mysql", "demo"));
    assert_eq!((plan.target.kind.as_str(), plan.target.endpoint.port), ("AppBinding", 3306));
    assert_eq!((plan.task.task.as_str(), plan.task.snapshot_component.as_str()), ("logical-backup-restore", "dump"));
    assert_eq!(plan.source.path, "mysql/repository/v1/frequent-backup/dump");
    assert_eq!(plan.source.password.expose_secret(), "repository-hunter2");
    assert_eq!((plan.snapshot, plan.timeout), (SnapshotChoice::Latest, Some(Duration::from_hours(1))));
}

#[test]
fn snapshots_are_chosen_by_name_id_and_time() {
    let with = |source: &str| restore(&(demo(SOURCE, source) + SNAPSHOT)).map(|plan| plan.snapshot);
    assert_eq!(with("{repository: s3-repo, snapshot: snap}"), Ok(SnapshotChoice::Id("abcdef012345".into())));
    assert_eq!(with("{snapshot: snap}"), Ok(SnapshotChoice::Id("abcdef012345".into())));
    assert_eq!(with("{repository: s3-repo, snapshot: '0123'}"), Ok(SnapshotChoice::Id("0123".into())));
    assert_eq!(with("{repository: s3-repo, snapshot: beef}"), Ok(SnapshotChoice::Id("beef".into())));
    let time = "2026-01-31T12:00:00Z".parse().unwrap();
    assert_eq!(
        with("{repository: s3-repo, pitr: {targetTime: '2026-01-31T12:00:00Z', exclusive: true}}"),
        Ok(SnapshotChoice::Before { time, exclusive: true })
    );
}

#[test]
fn bad_sources_are_named() {
    for (source, expected) in [
        (
            "{repository: s3-repo, snapshot: abc}",
            &["Snapshot demo/abc not found", "are: snap", "restic snapshot id"][..],
        ),
        ("{repository: s3-repo}", &["no snapshot"]),
        ("{snapshot: latest}", &["no repository"]),
        ("{repository: s3-repo, pitr: {exclusive: true}}", &["targetTime"]),
        (
            "{repository: absent, snapshot: latest}",
            &["Repository demo/absent not found", "demo/s3-repo (frequent-backup/dump)"],
        ),
        ("{repository: local-repo, snapshot: snap}", &["Snapshot snap is in repository s3-repo"]),
        ("{snapshot: snap, components: [manifest]}", &["no component manifest; it has: dump"]),
        ("{repository: s3-repo, snapshot: latest, components: [manifest]}", &["the component manifest", "s3-repo"]),
        ("{repository: s3-repo, snapshot: latest, components: [a, b]}", &["dataSource.components are: a, b"]),
        ("{repository: s3-repo, snapshot: latest, namespace: other}", &["Repository other/s3-repo not found"]),
        (
            "{repository: s3-repo, snapshot: latest, encryptionSecret: {name: absent}}",
            &["Secret absent in namespace demo"],
        ),
    ] {
        assert_message(restore(&(demo(SOURCE, source) + SNAPSHOT)), expected);
    }
    let failed = SNAPSHOT.replace(", resticStats: [{summary: {id: abcdef012345}}]", "");
    assert_message(restore(&(demo(SOURCE, "{snapshot: snap}") + &failed)), &["its backup did not succeed"]);
    assert_message(
        restore(&demo("kind: RestoreSession", "kind: BackupBatch")),
        &["no RestoreSession found", "are: none"],
    );
    let twice = DEMO.to_owned() + &DEMO[DEMO.rfind("---").unwrap()..].replace("restore-sample-mysql", "again");
    assert_message(restore(&twice), &["several RestoreSessions match", "demo/again, demo/restore-sample-mysql"]);
}

#[test]
fn the_data_sources_own_encryption_secret_goes_first() {
    let text = demo(
        SOURCE,
        "{repository: s3-repo, snapshot: latest, encryptionSecret: {name: other, namespace: keys}}",
    ) + "\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: other, namespace: keys}\nstringData: {RESTIC_PASSWORD: new}\n";
    assert_eq!(restore(&text).unwrap().source.password.expose_secret(), "new");
}

#[test]
fn several_sessions_need_a_choice() {
    let text = two_sessions();
    assert_message(
        restore(&text),
        &["several write it", "demo/s3-repo (daily/dump), demo/s3-repo (frequent-backup/dump)"],
    );
    let chosen = RestoreSelection { session: Some("daily".into()), ..RestoreSelection::default() };
    let plan = coffer_resolve::restore(&directory(&text), &catalog(), &chosen).unwrap();
    assert_eq!(plan.source.path, "mysql/repository/v1/daily/dump");
    let by_name = RestoreSelection { snapshot: Some("snap".into()), ..RestoreSelection::default() };
    let plan = coffer_resolve::restore(&directory(&(text + SNAPSHOT)), &catalog(), &by_name).unwrap();
    assert_eq!(plan.source.path, "mysql/repository/v1/frequent-backup/dump");
    assert_eq!(plan.snapshot, SnapshotChoice::Id("abcdef012345".into()));
}

/// The repository's own manifest, as it is found in the storage, instead of the BackupConfiguration.
fn repository_only(status: &str) -> String {
    let start = DEMO.find("apiVersion: core.kubestash.com/v1alpha1\nkind: BackupConfiguration").unwrap();
    let end = DEMO.rfind("---").unwrap();
    format!(
        "{}{}\n---\napiVersion: storage.kubestash.com/v1alpha1\nkind: Repository\nmetadata: {{name: s3-repo, namespace: demo}}\n\
         spec: {{path: /mysql, storageRef: {{name: s3-storage, namespace: stores}}, encryptionSecret: {{name: encrypt-secret}}}}\n{status}",
        &DEMO[..start],
        &DEMO[end..]
    )
}

#[test]
fn a_repository_object_is_enough() {
    let known = repository_only(
        "status: {componentPaths: [repository/v1/frequent-backup/dump, repository/v1/frequent-backup/manifest]}",
    );
    assert_eq!(restore(&known).unwrap().source.path, "mysql/repository/v1/frequent-backup/dump");
    let unknown = repository_only("");
    assert_message(restore(&unknown), &["known are: demo/s3-repo (sessions not known)", "name the session"]);
    assert_eq!(restore(&(unknown + SNAPSHOT)).unwrap().source.path, "mysql/repository/v1/frequent-backup/dump");
}

fn repositories(text: &str, selection: &RepositorySelection) -> Result<Vec<String>, coffer_resolve::ResolveError> {
    let found = clean(coffer_resolve::repositories(&directory(text), selection))?;
    Ok(found.iter().map(|one| format!("{} {} {}", one.storage.name, one.repository, one.path)).collect())
}

#[test]
fn repositories_are_found_with_and_without_objects() {
    let all = RepositorySelection::default();
    let expected = [
        "s3-storage s3-repo mysql/repository/v1/daily/dump",
        "s3-storage s3-repo mysql/repository/v1/frequent-backup/dump",
        "local-storage local-repo mysql/repository/v1/frequent-backup/dump",
    ];
    assert_eq!(repositories(&two_sessions(), &all).unwrap(), expected);
    let one = RepositorySelection { repository: Some("s3-repo".into()), session: Some("daily".into()), ..all.clone() };
    assert_eq!(repositories(&two_sessions(), &one).unwrap(), expected[..1]);
    let object =
        "status: {componentPaths: [repository/v1/frequent-backup/dump, repository/v1/frequent-backup/manifest]}";
    assert_eq!(
        repositories(&repository_only(object), &all).unwrap(),
        [
            "s3-storage s3-repo mysql/repository/v1/frequent-backup/dump",
            "s3-storage s3-repo mysql/repository/v1/frequent-backup/manifest"
        ]
    );
    assert_message(
        repositories(&repository_only(""), &all),
        &["no repository found", "demo/s3-repo (sessions not known)"],
    );
    let session = RepositorySelection { session: Some("by-hand".into()), ..all.clone() };
    assert_eq!(
        repositories(&repository_only(""), &session).unwrap(),
        ["s3-storage s3-repo mysql/repository/v1/by-hand/dump"]
    );
    let absent = RepositorySelection { namespace: Some("other".into()), ..all };
    assert_message(repositories(DEMO, &absent), &["no repository found", "demo/local-repo (frequent-backup/dump)"]);
}

#[test]
fn a_selection_reads_only_its_own_secrets() {
    let text = demo("AWS_ACCESS_KEY_ID: key, ", "");
    let local = RepositorySelection { repository: Some("local-repo".into()), ..RepositorySelection::default() };
    assert_eq!(repositories(&text, &local).unwrap().len(), 1);
}
