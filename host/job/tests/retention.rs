//! Retention, with real repositories (made by stock restic) and a cluster in memory that grants what the ClusterRole grants.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod common;

use coffer_job::{End, retention};
use serde_json::json;

use common::{Site, files, taken};

const RETENTION: &str = "kubestash-retention-policy-job";

#[test]
fn retention_forgets_what_no_policy_keeps() {
    let site = Site::new();
    site.configuration("shop", &[("one", "local"), ("two", "local")]);
    let (old, old_id) = taken(&site, 1, "one");
    let (new, new_id) = taken(&site, 2, "one");
    let (only, _) = taken(&site, 1, "two");
    // What a killed run has published without saying so goes with its Snapshot.
    let restic = site.restic("local", "one");
    let tag = site.cluster.get("snapshots", "demo", &old).unwrap()["spec"]["snapshotID"].as_str().unwrap().to_owned();
    let mut child =
        restic.spawn(&["backup", "--stdin", "--stdin-filename", "x", "--host", "host-0", "--tag", &tag]).unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"orphan").unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(site.restic_snapshots("local", "one").len(), 3);
    let session = site.session(9, &["one", "two"]);
    let run = || retention(&site.job(RETENTION), "demo", &session).map_err(|error| error.to_string());
    assert_eq!(run(), Ok(End::Done));

    let left: Vec<_> = site.restic_snapshots("local", "one").iter().map(|one| one["id"].clone()).collect();
    assert_eq!(left, [json!(new_id)], "{old_id} and the orphan are gone");
    restic.ok(&["check", "--read-data"]);
    assert_eq!(files(&site, "local/one/snapshots"), [format!("{new}.yaml")]);
    assert!(site.cluster.get("snapshots", "demo", &old).is_none());
    for name in [&new, &only] {
        assert!(site.cluster.get("snapshots", "demo", name).is_some());
    }
    let status = site.status("backupsessions", &session);
    let applied: Vec<_> = status["retentionPolicy"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["repository"].clone(), one["phase"].clone()))
        .collect();
    assert_eq!(applied, [(json!("one"), json!("Applied")), (json!("two"), json!("Applied"))]);
    assert_eq!(status["retentionPolicy"][0]["ref"], json!({ "name": "keep", "namespace": "demo" }));
    assert!(site.status("repositories", "one")["snapshotCount"].as_u64().unwrap() >= 1);
    assert_eq!(run(), Ok(End::Done), "twice is as good as once");

    // A repository that does not open is a fact of that repository alone, and nothing of it is deleted.
    let (older, _) = taken(&site, 3, "two");
    taken(&site, 4, "two");
    site.cluster.apply("apiVersion: v1\nkind: Secret\nmetadata: {name: encrypt, namespace: demo}\nstringData: {RESTIC_PASSWORD: another}\n");
    let session = site.session(10, &["one", "two"]);
    let run = || retention(&site.job(RETENTION), "demo", &session).map_err(|error| error.to_string());
    assert_eq!(run(), Ok(End::Partial));
    assert_eq!(run(), Ok(End::Partial), "what is said is said");
    let status = site.status("backupsessions", &session);
    assert_eq!(status["retentionPolicy"][0]["phase"], "Applied");
    assert_eq!(status["retentionPolicy"][1]["phase"], "FailedToApply");
    assert!(status["retentionPolicy"][1]["error"].as_str().unwrap().contains("wrong password"), "{status}");
    assert!(site.cluster.get("snapshots", "demo", &older).is_some());
    site.inspect();
}

#[test]
fn what_the_operator_wrote_down_is_applied_and_nothing_else() {
    let site = Site::new();
    site.configuration("shop", &[("one", "local")]);
    let (old, _) = taken(&site, 1, "one");
    let (new, _) = taken(&site, 2, "one");
    let session = site.session(9, &["one"]);
    let run = || retention(&site.job(RETENTION), "demo", &session).map_err(|error| error.to_string());
    // The configuration has got another policy meanwhile, and then it is gone.
    site.cluster.apply(
        "apiVersion: storage.kubestash.com/v1alpha1
kind: RetentionPolicy
metadata: {name: keep-more, namespace: demo}
spec: {successfulSnapshots: {last: 5}}
",
    );
    let noted =
        json!([{ "ref": { "name": "keep-more", "namespace": "demo" }, "repository": "one", "phase": "Pending" }]);
    site.cluster.change("backupsessions", "demo", &session, &json!({ "status": { "retentionPolicy": noted } }));
    assert_eq!(run(), Ok(End::Done));
    assert!(
        site.cluster.get("snapshots", "demo", &old).is_some() && site.cluster.get("snapshots", "demo", &new).is_some()
    );
    site.cluster.remove("backupconfigurations", "demo", "bc");
    let session = site.session(10, &["one"]);
    let run = || retention(&site.job(RETENTION), "demo", &session).map_err(|error| error.to_string());
    assert_eq!(run(), Ok(End::Done));
    assert!(site.cluster.get("snapshots", "demo", &old).is_none());
    // One that has ended removes nothing any more.
    let session = site.session(11, &["one"]);
    site.cluster.change("backupsessions", "demo", &session, &json!({ "status": { "phase": "Failed" } }));
    let error = retention(&site.job(RETENTION), "demo", &session).unwrap_err().to_string();
    assert!(error.contains("it has ended"), "{error}");
}

#[test]
fn a_damaged_newest_backup_stops_retention() {
    let site = Site::new();
    site.configuration("shop", &[("one", "local")]);
    let (good, good_id) = taken(&site, 1, "one");
    let (damaged, _) = taken(&site, 2, "one");
    site.cluster.change("snapshots", "demo", &damaged, &json!({ "status": { "integrity": false } }));
    let session = site.session(9, &["one"]);
    let error = retention(&site.job(RETENTION), "demo", &session).unwrap_err().to_string();
    assert!(error.contains("the last check found its newest backup damaged"), "{error}");
    let policy = site.status("backupsessions", &session)["retentionPolicy"][0].clone();
    assert_eq!((&policy["phase"], &policy["error"]), (&json!("FailedToApply"), &json!(error)));
    assert!(site.cluster.get("snapshots", "demo", &good).is_some(), "it may be the only good one");
    let left = site.restic_snapshots("local", "one");
    assert!(left.len() == 2 && left.iter().any(|one| one["id"] == json!(good_id)), "{left:?}");
    assert_eq!(files(&site, "local/one/snapshots").len(), 2);

    // The next good one ends that, and what is damaged is no reason to keep it.
    let (newest, newest_id) = taken(&site, 3, "one");
    let session = site.session(10, &["one"]);
    retention(&site.job(RETENTION), "demo", &session).unwrap();
    assert!(
        site.cluster.get("snapshots", "demo", &good).is_none()
            && site.cluster.get("snapshots", "demo", &damaged).is_none()
    );
    let left: Vec<_> = site.restic_snapshots("local", "one").iter().map(|one| one["id"].clone()).collect();
    assert_eq!(left, [json!(newest_id)], "{newest}");
}

#[test]
fn a_repository_counts_what_appears_while_it_is_counted() {
    let site = Site::new();
    site.configuration("shop", &[("one", "local")]);
    taken(&site, 1, "one");
    let (second, _) = taken(&site, 2, "one");
    let session = site.session(9, &["one"]);
    // Another Job concludes its own Snapshot between our list and our write.
    let mut other = site.cluster.get("snapshots", "demo", &second).unwrap();
    other["metadata"]["name"] = json!("one-other");
    other["spec"]["session"] = json!("hourly");
    let touched = json!({ "status": { "lastBackupTime": "2026-01-01T00:00:00Z" } });
    site.cluster.meanwhile_all(
        "repositories",
        "one",
        vec![
            ("snapshots", "demo".to_owned(), "one-other".to_owned(), other),
            ("repositories", "demo".to_owned(), "one".to_owned(), touched),
        ],
    );
    retention(&site.job(RETENTION), "demo", &session).unwrap();
    let there = site.cluster.names("snapshots").len();
    let status = site.status("repositories", "one");
    assert_eq!(status["snapshotCount"], json!(there), "{status}");
    assert!(status["recentSnapshots"].as_array().unwrap().iter().any(|one| one["name"] == "one-other"), "{status}");
}

#[test]
fn what_another_configuration_has_taken_is_its_own_to_judge() {
    let site = Site::new();
    site.configuration("shop", &[("one", "local")]);
    let mut other = site.cluster.get("backupconfigurations", "demo", "bc").unwrap();
    other["metadata"] = json!({ "name": "other", "namespace": "demo" });
    site.cluster.put(other);
    let by = |name: &str, configuration: &str| {
        let annotations = json!({ "coffer.dev/backup-configuration": configuration });
        site.cluster.change("snapshots", "demo", name, &json!({ "metadata": { "annotations": annotations } }));
    };
    let all: Vec<String> = (1..=4).map(|number| taken(&site, number, "one").0).collect();
    by(&all[0], "bc");
    by(&all[1], "other");
    let integrity = |name: &str, value: Option<bool>| {
        site.cluster.change("snapshots", "demo", name, &json!({ "status": { "integrity": value } }));
    };
    integrity(&all[1], Some(false));
    integrity(&all[2], None);
    integrity(&all[3], None);
    // Its configuration is gone.
    by(&all[2], "former");
    let left = || {
        let is_there = |name: &&String| site.cluster.get("snapshots", "demo", name).is_some();
        all.iter().filter(is_there).cloned().collect::<Vec<_>>()
    };
    // A check is of the whole repository.
    retention(&site.job(RETENTION), "demo", &site.session(8, &["one"])).unwrap_err();
    integrity(&all[3], Some(true));
    retention(&site.job(RETENTION), "demo", &site.session(9, &["one"])).unwrap();
    assert_eq!(left(), [all[1].clone(), all[3].clone()]);
    // It has no such session any more.
    site.cluster.change("backupconfigurations", "demo", "other", &json!({ "spec": { "sessions": [] } }));
    retention(&site.job(RETENTION), "demo", &site.session(10, &["one"])).unwrap();
    assert_eq!(left(), [all[3].clone()]);
}

#[test]
fn what_is_old_is_told_by_the_clock_of_the_session() {
    let site = Site::new();
    site.configuration("shop", &[("one", "local")]);
    let rules = json!({ "maxRetentionPeriod": "1mo", "successfulSnapshots": { "last": 5 } });
    site.cluster.change("retentionpolicies", "demo", "keep", &json!({ "spec": rules }));
    let names: Vec<String> = (1..=2).map(|number| taken(&site, number, "one").0).collect();
    // All of it was long ago by the clock of this machine.
    let session = site.session(9, &["one"]);
    let created = json!({ "metadata": { "creationTimestamp": "2026-01-01T00:00:09Z" } });
    site.cluster.change("backupsessions", "demo", &session, &created);
    retention(&site.job(RETENTION), "demo", &session).unwrap();
    for name in names {
        assert!(site.cluster.get("snapshots", "demo", &name).is_some(), "{name} is gone");
    }
}

#[test]
fn a_check_that_could_not_be_made_does_not_hide_the_one_before() {
    let site = Site::new();
    site.configuration("shop", &[("one", "local")]);
    let names: Vec<String> = (1..=3).map(|number| taken(&site, number, "one").0).collect();
    site.cluster.change("snapshots", "demo", &names[1], &json!({ "status": { "integrity": false } }));
    site.cluster.change("snapshots", "demo", &names[2], &json!({ "status": { "integrity": null } }));
    let error = retention(&site.job(RETENTION), "demo", &site.session(9, &["one"])).unwrap_err().to_string();
    assert!(error.contains("the last check found its newest backup damaged"), "{error}");
}

#[test]
fn the_file_of_another_clusters_snapshot_stays() {
    let site = Site::new();
    site.configuration("shop", &[("one", "local")]);
    let (old, _) = taken(&site, 1, "one");
    let (new, _) = taken(&site, 2, "one");
    let mut theirs = site.cluster.get("snapshots", "demo", &old).unwrap();
    theirs["spec"]["snapshotID"] = json!("01J00000000000000OTHER");
    let path = site.path("local/one/snapshots").join(format!("{old}.yaml"));
    std::fs::write(path, serde_saphyr::to_string(&theirs).unwrap()).unwrap();
    retention(&site.job(RETENTION), "demo", &site.session(9, &["one"])).unwrap();
    assert!(site.cluster.get("snapshots", "demo", &old).is_none());
    assert_eq!(files(&site, "local/one/snapshots"), [format!("{old}.yaml"), format!("{new}.yaml")]);
}
