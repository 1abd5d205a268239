//! `backup` and `restore`, with a real MySQL server, real repositories and a cluster in memory that grants what the ClusterRoles grant.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod common;

use coffer_job::{End, backup, restore};
use coffer_test_support::stores::{BUCKET, S3};
use coffer_test_support::{data, fingerprint};
use serde_json::{Value, json};

use common::{Site, addons, conditions, mysql};

const BACKUP: &str = "kubestash-backup-job";
const RESTORE: &str = "kubestash-restore-job";

fn run(site: &Site, session: &str) -> Result<End, String> {
    let job = site.job(BACKUP);
    let result = backup(&job, &addons(&job), "demo", session).map_err(|error| error.to_string());
    site.inspect();
    result
}

fn run_restore(site: &Site, session: &str) -> Result<End, String> {
    let job = site.job(RESTORE);
    let result = restore(&job, &addons(&job), "demo", session).map_err(|error| error.to_string());
    site.inspect();
    result
}

fn fresh(database: &str, tables: usize) {
    mysql().exec(&format!("DROP DATABASE IF EXISTS `{database}`")).unwrap();
    data::sample(mysql(), database, tables as u64).unwrap();
}

#[test]
fn a_session_goes_into_two_repositories_and_back() {
    fresh("job_two", 2);
    let site = Site::new();
    let s3 = S3::start().unwrap();
    site.cluster.apply(&format!(
        "apiVersion: v1
kind: Secret
metadata: {{name: s3-secret, namespace: demo}}
stringData: {{AWS_ACCESS_KEY_ID: {}, AWS_SECRET_ACCESS_KEY: storage-hunter2}}
---
apiVersion: storage.kubestash.com/v1alpha1
kind: BackupStorage
metadata: {{name: s3, namespace: demo}}
spec: {{storage: {{provider: s3, s3: {{endpoint: \"{}\", bucket: {BUCKET}, region: {}, prefix: pre, secretName: s3-secret}}}}}}
",
        S3::ACCESS_KEY,
        s3.endpoint(),
        S3::REGION
    ));
    site.target(mysql());
    site.configuration("job_two", &[("one", "local"), ("two", "s3")]);
    let session = site.session(1, &["one", "two"]);
    let before = fingerprint::fingerprint(mysql(), "job_two").unwrap();
    assert_eq!(run(&site, &session), Ok(End::Done));

    for repository in ["one", "two"] {
        let name = format!("{repository}-{session}");
        let status = site.status("snapshots", &name);
        let dump = &status["components"]["dump"];
        assert_eq!(dump["phase"], "Succeeded", "{status}");
        assert_eq!((&dump["driver"], &dump["path"]), (&json!("Restic"), &json!("repository/v1/daily/dump")));
        assert_eq!(dump["integrity"], true);
        assert!(
            dump["size"].as_str().unwrap().ends_with("iB") && dump["duration"].as_str().unwrap().ends_with('s'),
            "{dump}"
        );
        let summary = &dump["resticStats"][0]["summary"];
        assert_eq!(summary["id"].as_str().unwrap().len(), 64);
        assert_eq!(summary["hostPath"], "dump");
        assert!(dump["resticStats"][0]["progress"].is_null(), "a finished backup has no progress: {dump}");
        assert_eq!(conditions(&status), ["RecentSnapshotListUpdated=True", "SnapshotMetadataUploaded=True"]);
        let of_repository = site.status("repositories", repository);
        assert_eq!(of_repository["snapshotCount"], 1);
        assert_eq!(of_repository["integrity"], true);
        assert_eq!(of_repository["size"], dump["size"]);
        assert_eq!(of_repository["componentPaths"], json!(["repository/v1/daily/dump"]));
        let recent = &of_repository["recentSnapshots"][0];
        assert_eq!((&recent["name"], &recent["phase"]), (&json!(name), &json!("Succeeded")));
        assert!(of_repository["lastBackupTime"].is_string());
    }
    let file = site.path("local/one/snapshots").join(format!("one-{session}.yaml"));
    let stored: Value = serde_saphyr::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    assert_eq!((&stored["kind"], &stored["status"]["phase"]), (&json!("Snapshot"), &json!("Succeeded")));
    assert!(stored["metadata"]["uid"].is_null() && stored["metadata"]["resourceVersion"].is_null(), "{stored}");
    let snapshots = site.restic_snapshots("local", "one");
    assert_eq!(snapshots.len(), 1);
    let tags: Vec<_> = snapshots[0]["tags"].as_array().unwrap().iter().map(|tag| tag.as_str().unwrap()).collect();
    assert_eq!(tags, ["01J000000000000000001ONE", "01J000000000000000001TWO"]);
    site.restic("local", "one").ok(&["check", "--read-data"]);

    // What has succeeded does not run again, and the operator's word that it did not is enough to say so.
    assert_eq!(run(&site, &session), Ok(End::Done));
    assert_eq!(site.restic_snapshots("local", "one").len(), 1);

    let snapshot = format!("two-{session}");
    site.cluster.change("snapshots", "demo", &snapshot, &json!({ "status": { "phase": "Succeeded" } }));
    site.cluster.change("snapshots", "demo", &format!("one-{session}"), &json!({ "status": { "phase": "Succeeded" } }));
    let sources = [
        json!({ "repository": "one", "snapshot": "latest" }),
        json!({ "repository": "two", "snapshot": snapshot }),
        json!({ "repository": "one", "pitr": { "targetTime": "2026-01-01T00:00:01Z" } }),
    ];
    for (number, source) in sources.iter().enumerate() {
        mysql().exec("DROP DATABASE job_two").unwrap();
        let name = format!("restore-{number}");
        site.restore(&name, source);
        assert_eq!(run_restore(&site, &name), Ok(End::Done), "{source}");
        let status = site.status("restoresessions", &name);
        let dump = &status["components"]["dump"];
        assert_eq!(dump["phase"], "Succeeded", "{status}");
        assert_eq!(dump["progress"]["percentDone"], "100.00%");
        let after = fingerprint::fingerprint(mysql(), "job_two").unwrap();
        assert_eq!(fingerprint::differences(&before, &after), Vec::<String>::new(), "{source}");
    }
    site.restore(
        "too-early",
        &json!({ "repository": "one", "pitr": { "targetTime": "2026-01-01T00:00:01Z", "exclusive": true } }),
    );
    let error = run_restore(&site, "too-early").unwrap_err();
    assert!(error.contains("no Snapshot up to 2026-01-01T00:00:01Z"), "{error}");
    let dump = &site.status("restoresessions", "too-early")["components"]["dump"];
    assert_eq!((&dump["phase"], &dump["error"]), (&json!("Failed"), &json!(error)));
    mysql().exec("DROP DATABASE job_two").unwrap();
}

#[test]
fn a_run_that_was_killed_after_publishing_is_adopted() {
    fresh("job_adopt", 1);
    let site = Site::new();
    site.target(mysql());
    site.storage("other");
    site.configuration("job_adopt", &[("one", "local"), ("two", "other")]);
    let session = site.session(1, &["one", "two"]);
    assert_eq!(run(&site, &session), Ok(End::Done));
    let told = site.status("snapshots", &format!("one-{session}"))["components"]["dump"].clone();
    // As if it had been killed before it could say so; and in the other repository before it could publish.
    let forgotten = json!({ "status": {
        "components": { "dump": { "phase": "Running", "size": null, "integrity": null, "resticStats": null, "duration": null } },
        "conditions": null, "phase": "Running",
    }});
    for repository in ["one", "two"] {
        site.cluster.change("snapshots", "demo", &format!("{repository}-{session}"), &forgotten);
    }
    std::fs::remove_dir_all(site.path("other/two")).unwrap();
    assert_eq!(run(&site, &session), Ok(End::Done));
    assert_eq!(site.restic_snapshots("local", "one").len(), 1, "no second snapshot for the same Snapshot");
    assert_eq!(site.restic_snapshots("other", "two").len(), 1);
    let again = site.status("snapshots", &format!("one-{session}"));
    let dump = &again["components"]["dump"];
    assert_eq!(dump["phase"], "Succeeded");
    assert_eq!(dump["resticStats"][0]["summary"]["id"], told["resticStats"][0]["summary"]["id"]);
    for field in ["size", "uploaded", "hostPath"] {
        assert_eq!(dump["resticStats"][0]["summary"][field], told["resticStats"][0]["summary"][field], "{field}");
    }
    assert_eq!(conditions(&again), ["RecentSnapshotListUpdated=True", "SnapshotMetadataUploaded=True"]);
    mysql().exec("DROP DATABASE job_adopt").unwrap();
}

#[test]
fn one_repository_may_fail_while_another_succeeds() {
    fresh("job_part", 1);
    let site = Site::new();
    site.target(mysql());
    site.storage("other");
    site.configuration("job_part", &[("good", "local"), ("bad", "other")]);
    // A repository whose password is another one.
    site.cluster.apply(
        "apiVersion: v1
kind: Secret
metadata: {name: encrypt-2, namespace: demo}
stringData: {RESTIC_PASSWORD: another}
",
    );
    let session = site.session(1, &["good", "bad"]);
    assert_eq!(run(&site, &session), Ok(End::Done));
    let encryption = json!({ "spec": { "sessions": [{
        "name": "daily", "scheduler": { "schedule": "0 0 * * *", "jobTemplate": {} },
        "addon": { "name": "mysql-addon", "tasks": [{ "name": "logical-backup", "params": { "databases": "job_part" } }] },
        "repositories": [
            { "name": "good", "backend": "local", "directory": "/good", "encryptionSecret": { "name": "encrypt" } },
            { "name": "bad", "backend": "other", "directory": "/bad", "encryptionSecret": { "name": "encrypt-2" } },
        ],
    }]}});
    site.cluster.change("backupconfigurations", "demo", "bc", &encryption);
    let session = site.session(2, &["good", "bad"]);
    assert_eq!(run(&site, &session), Ok(End::Partial));
    let good = site.status("snapshots", &format!("good-{session}"));
    assert_eq!(good["components"]["dump"]["phase"], "Succeeded");
    let bad = site.status("snapshots", &format!("bad-{session}"));
    assert_eq!(bad["components"]["dump"]["phase"], "Failed");
    assert!(bad["components"]["dump"]["error"].as_str().unwrap().contains("wrong password"), "{bad}");
    assert_eq!(conditions(&bad), ["RecentSnapshotListUpdated=True", "SnapshotMetadataUploaded=True"]);
    let stored = std::fs::read_to_string(site.path("other/bad/snapshots").join(format!("bad-{session}.yaml"))).unwrap();
    assert!(stored.contains("phase: Failed"), "{stored}");
    assert_eq!(site.status("repositories", "bad")["recentSnapshots"][0]["phase"], "Failed");
    assert_eq!(site.status("repositories", "bad")["snapshotCount"], 2);

    // The Secret of one is missing: that is known before anything runs, and the other one is still backed up.
    site.cluster.remove("secrets", "demo", "encrypt-2");
    let session = site.session(3, &["good", "bad"]);
    assert_eq!(run(&site, &session), Ok(End::Partial));
    let bad = site.status("snapshots", &format!("bad-{session}"));
    assert!(bad["components"]["dump"]["error"].as_str().unwrap().contains("Secret encrypt-2"), "{bad}");
    assert_eq!(site.status("snapshots", &format!("good-{session}"))["components"]["dump"]["phase"], "Succeeded");
    mysql().exec("DROP DATABASE job_part").unwrap();
}

#[test]
fn what_cannot_run_says_why_in_every_snapshot() {
    let site = Site::new();
    site.target_at(1);
    site.configuration("shop", &[("one", "local")]);
    let failed = |number: u64, expected: &str| {
        let session = site.session(number, &["one"]);
        let error = run(&site, &session).unwrap_err();
        assert!(error.contains(expected), "{error}");
        let status = site.status("snapshots", &format!("one-{session}"));
        let dump = &status["components"]["dump"];
        assert_eq!(dump["phase"], "Failed", "{status}");
        assert!(dump["error"].as_str().unwrap().contains(expected), "{dump}");
        assert_eq!(conditions(&status), ["RecentSnapshotListUpdated=True", "SnapshotMetadataUploaded=True"]);
        // Said is said: another pod of the same Job does not run, and does not succeed.
        assert!(run(&site, &session).is_err());
    };
    failed(1, "127.0.0.1:1");
    // The deadline of the session has passed while the pod was waiting for a node.
    let session = site.session(2, &["one"]);
    site.cluster.change(
        "backupsessions",
        "demo",
        &session,
        &json!({ "status": { "backupDeadline": "2026-01-01T00:00:00Z" } }),
    );
    let error = run(&site, &session).unwrap_err();
    assert!(error.contains("the deadline 2026-01-01T00:00:00Z has passed"), "{error}");
    assert_eq!(site.status("snapshots", &format!("one-{session}"))["components"]["dump"]["phase"], "Failed");
    // KubeStash's manifests of an application-level backup.
    let tasks = json!([{ "name": "logical-backup" }, { "name": "manifest-backup" }]);
    let mut configuration = site.cluster.get("backupconfigurations", "demo", "bc").unwrap();
    configuration["spec"]["sessions"][0]["addon"]["tasks"] = tasks;
    site.cluster.put(configuration);
    failed(3, "its task manifest-backup is for the Kubernetes objects around a database");
    site.cluster.remove("appbindings", "demo", "shop");
    let mut configuration = site.cluster.get("backupconfigurations", "demo", "bc").unwrap();
    configuration["spec"]["sessions"][0]["addon"]["tasks"] = json!([{ "name": "logical-backup" }]);
    site.cluster.put(configuration);
    failed(4, "AppBinding demo/shop not found");
    site.cluster.remove("backupconfigurations", "demo", "bc");
    failed(5, "BackupConfiguration demo/bc not found");
    // One that has ended as a whole is left alone.
    let session = site.session(6, &["one"]);
    site.cluster.change("backupsessions", "demo", &session, &json!({ "status": { "phase": "Skipped" } }));
    let error = run(&site, &session).unwrap_err();
    assert!(error.contains("it has ended as Skipped"), "{error}");
    assert!(site.status("snapshots", &format!("one-{session}"))["components"].is_null());
}

#[test]
fn a_pod_that_is_told_to_end_leaves_no_snapshot_and_says_so() {
    fresh("job_term", 1);
    let site = Site::new();
    site.target(mysql());
    site.configuration("job_term", &[("one", "local")]);
    let session = site.session(1, &["one"]);
    // The view of a backup waits for this lock.
    let mut client = mysql().client().unwrap();
    let mut holder = client
        .args(["--unbuffered", "-e", "LOCK TABLES job_term.orders WRITE; SELECT 'held'; SELECT SLEEP(600);"])
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut output = std::io::BufReader::new(holder.stdout.take().unwrap());
    while !line.contains("held") {
        std::io::BufRead::read_line(&mut output, &mut line).unwrap();
    }
    let cancel = site.cancel.clone();
    let cluster = site.cluster.clone();
    let name = format!("one-{session}");
    let waiter = std::thread::spawn(move || {
        // The signal arrives when the component has begun.
        while cluster.get("snapshots", "demo", &name).unwrap()["status"]["components"]["dump"].is_null() {
            std::thread::yield_now();
        }
        cancel.cancel("interrupted by SIGTERM");
    });
    let error = run(&site, &session).unwrap_err();
    waiter.join().unwrap();
    holder.kill().unwrap();
    holder.wait().unwrap();
    assert!(error.contains("interrupted by SIGTERM"), "{error}");
    let status = site.status("snapshots", &format!("one-{session}"));
    let dump = &status["components"]["dump"];
    assert_eq!(dump["phase"], "Failed");
    assert!(dump["error"].as_str().unwrap().contains("interrupted by SIGTERM"), "{dump}");
    assert!(dump["resticStats"].is_null() || dump["resticStats"][0]["summary"].is_null(), "{dump}");
    let repository = site.path("local/one/repository/v1/daily/dump/snapshots");
    assert!(!repository.exists() || std::fs::read_dir(repository).unwrap().next().is_none());
    mysql().exec("DROP DATABASE job_term").unwrap();
}

#[test]
fn what_the_cluster_refuses_or_drops() {
    fresh("job_trouble", 1);
    let site = Site::new();
    site.target(mysql());
    site.configuration("job_trouble", &[("one", "local")]);
    let session = site.session(1, &["one"]);
    let name: &'static str = Box::leak(format!("one-{session}").into_boxed_str());
    // A server that is busy or has just started, and an operator that writes its own condition in between.
    site.cluster.trouble("get", &[429, 503, 403]);
    site.cluster.trouble("patch", &[500, 429, 401]);
    let theirs =
        json!([{ "type": "Ready", "status": "False", "lastTransitionTime": "2026-01-01T00:00:00Z", "reason": "X" }]);
    site.cluster.meanwhile("snapshots", "demo", name, json!({ "status": { "conditions": theirs } }));
    assert_eq!(run(&site, &session), Ok(End::Done));
    let status = site.status("snapshots", name);
    assert_eq!(conditions(&status), ["Ready=False", "RecentSnapshotListUpdated=True", "SnapshotMetadataUploaded=True"]);

    // A right that is missing is named, with who should grant it, and is written down where that is allowed.
    let session = site.session(2, &["one"]);
    let job = site.job(BACKUP);
    site.cluster.grant(|request| request.resource != "secrets");
    let error = backup(&job, &addons(&job), "demo", &session).unwrap_err().to_string();
    for part in
        ["the right to get secrets in namespace demo is missing", "ClusterRole kubestash-backup-job", "RoleBinding"]
    {
        assert!(error.contains(part), "{error}");
    }
    let dump = &site.status("snapshots", &format!("one-{session}"))["components"]["dump"];
    assert_eq!(dump["phase"], "Failed");
    mysql().exec("DROP DATABASE job_trouble").unwrap();
}

#[test]
fn what_the_operator_has_given_up_stays_so() {
    fresh("job_given_up", 1);
    let site = Site::new();
    site.target(mysql());
    site.configuration("job_given_up", &[("one", "local")]);
    let condemned = json!({ "status": {
        "components": { "dump": { "phase": "Failed", "error": "its node is gone" } },
        "conditions": [{ "type": "BackupIncomplete", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z" }],
    }});
    let dump = |name: &str| site.status("snapshots", name)["components"]["dump"].clone();

    // While the run was publishing its result.
    let session = site.session(1, &["one"]);
    let name: &'static str = Box::leak(format!("one-{session}").into_boxed_str());
    site.cluster.change(
        "snapshots",
        "demo",
        name,
        &json!({ "status": { "components": { "dump": { "phase": "Running" } } } }),
    );
    site.cluster.meanwhile("snapshots", "demo", name, condemned.clone());
    run(&site, &session).unwrap_err();
    assert_eq!((&dump(name)["phase"], &dump(name)["error"]), (&json!("Failed"), &json!("its node is gone")));
    assert!(dump(name)["resticStats"].is_null(), "{}", dump(name));

    // Before it had begun.
    let session = site.session(2, &["one"]);
    let name: &'static str = Box::leak(format!("one-{session}").into_boxed_str());
    let mut early = condemned.clone();
    early["status"]["components"] = Value::Null;
    site.cluster.meanwhile("snapshots", "demo", name, early);
    run(&site, &session).unwrap_err();
    assert!(dump(name).is_null(), "{}", dump(name));
    let tags = site
        .restic_snapshots("local", "one")
        .iter()
        .flat_map(|one| one["tags"].as_array().unwrap().clone())
        .collect::<Vec<_>>();
    assert!(!tags.iter().any(|tag| tag.as_str().unwrap().contains("0002ONE")), "nothing is published for it: {tags:?}");
    mysql().exec("DROP DATABASE job_given_up").unwrap();
}

#[test]
fn a_storage_that_is_gone_is_a_fact_too() {
    fresh("job_gone", 1);
    let site = Site::new();
    site.target(mysql());
    site.configuration("job_gone", &[("one", "local")]);
    let session = site.session(1, &["one"]);
    // A file where the directory should be.
    std::fs::remove_dir_all(site.path("local")).unwrap();
    std::fs::write(site.path("local"), "").unwrap();
    assert!(run(&site, &session).is_err());
    let status = site.status("snapshots", &format!("one-{session}"));
    assert_eq!(status["components"]["dump"]["phase"], "Failed");
    assert_eq!(conditions(&status), ["RecentSnapshotListUpdated=True", "SnapshotMetadataUploaded=False"]);
    mysql().exec("DROP DATABASE job_gone").unwrap();
}

#[test]
fn a_restore_says_how_it_ended() {
    let site = Site::new();
    site.target_at(1);
    site.repository("one", "local");
    let failed = |name: &str, expected: &str| {
        let error = run_restore(&site, name).unwrap_err();
        assert!(error.contains(expected), "{error}");
        let dump = &site.status("restoresessions", name)["components"]["dump"];
        assert_eq!(dump["phase"], "Failed", "{dump}");
        assert!(dump["error"].as_str().unwrap().contains(expected), "{dump}");
        assert!(run_restore(&site, name).unwrap_err().contains("does not run again"));
    };
    site.restore("empty", &json!({ "repository": "one", "snapshot": "latest" }));
    failed("empty", "repository one has no Snapshot that succeeded");
    site.restore("nowhere", &json!({ "repository": "two", "snapshot": "latest" }));
    failed("nowhere", "repository two has no Snapshot");
    site.restore("unknown", &json!({ "repository": "one", "snapshot": "one-x" }));
    failed("unknown", "Snapshot demo/one-x not found");
    // What the operator has noted goes before what is newest by now.
    site.cluster.put(json!({
        "apiVersion": "storage.kubestash.com/v1alpha1", "kind": "Snapshot", "metadata": { "name": "noted", "namespace": "demo" },
        "spec": { "repository": "one", "session": "daily" },
        "status": { "phase": "Succeeded", "components": { "dump": { "resticStats": [{ "summary": { "id": "abcd" } }] } } },
    }));
    site.restore("noted", &json!({ "repository": "one", "snapshot": "latest" }));
    let noted = json!([{ "kind": "Addon", "name": "mysql-addon", "found": true }, { "kind": "Snapshot", "name": "noted", "namespace": "demo", "found": true }]);
    site.cluster.change("restoresessions", "demo", "noted", &json!({ "status": { "dependencies": noted } }));
    failed("noted", "there is no repository at");
}
