//! The verbs beside backup and restore, with real repositories (made by stock restic) and a cluster in memory that grants what the ClusterRoles grant.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod common;

use coffer_api::plan::StorageConfig;
use coffer_job::{End, Wiped, cleanup, initialize_repository, initialize_storage, trigger};
use coffer_storage::metadata::{BackendMeta, IndexVersion};
use coffer_storage::{LocalRoot, Storage};
use coffer_test_support::stores::{BUCKET, S3};
use serde_json::{Value, json};

use common::{Site, conditions, files, taken};

const CRON: &str = "kubestash-cron-job";
const INITIALIZER: &str = "kubestash-storage-initializer-job";
const BACKEND: &str = "kubestash-backend-job";

fn init_storage(site: &Site, name: &str) -> Result<End, String> {
    initialize_storage(&site.job(INITIALIZER), "demo", name).map_err(|error| error.to_string())
}

fn init_repository(site: &Site, name: &str) -> Result<End, String> {
    initialize_repository(&site.job(BACKEND), "demo", name).map_err(|error| error.to_string())
}

fn wipe(site: &Site, kind: Wiped, name: &str) -> Result<End, String> {
    let result = cleanup(&site.job(BACKEND), kind, "demo", name).map_err(|error| error.to_string());
    site.inspect();
    result
}

/// The object is being deleted, with this policy.
fn doom(site: &Site, resource: &str, name: &str, policy: &str) {
    let patch =
        json!({ "metadata": { "deletionTimestamp": "2026-01-01T00:00:00Z" }, "spec": { "deletionPolicy": policy } });
    site.cluster.change(resource, "demo", name, &patch);
}

fn wiped(site: &Site, resource: &str, name: &str) -> bool {
    site.cluster.get(resource, "demo", name).unwrap()["metadata"]["annotations"]["coffer.dev/wiped"] == "true"
}

#[test]
fn a_cron_jobs_pod_creates_its_session_once() {
    let site = Site::new();
    site.configuration("shop", &[("one", "local")]);
    let retries = json!({ "retryConfig": { "maxRetry": 3 }, "backupTimeout": "30m", "name": "daily", "scheduler": { "schedule": "0 0 * * *", "jobTemplate": {} } });
    site.cluster.change("backupconfigurations", "demo", "bc", &json!({ "spec": { "sessions": [retries] } }));
    let minutes = jiff::Timestamp::now().as_second() / 60;
    let pod = format!("trigger-bc-daily-{minutes}-x7k2p");
    for _ in 0..2 {
        assert_eq!(trigger(&site.job(CRON), "demo", "bc", "daily", Some(&pod)).unwrap(), End::Done);
    }
    assert_eq!(site.cluster.names("backupsessions"), [format!("bc-daily-{}", minutes * 60)]);
    let made = site.cluster.get("backupsessions", "demo", &format!("bc-daily-{}", minutes * 60)).unwrap();
    assert_eq!(made["spec"]["retryLeft"], 3);
    assert_eq!(made["spec"]["backupTimeout"], "30m");
    assert_eq!(made["spec"]["invoker"]["name"], "bc");
    let owner = &made["metadata"]["ownerReferences"][0];
    assert_eq!(owner["uid"], site.cluster.get("backupconfigurations", "demo", "bc").unwrap()["metadata"]["uid"]);
    let error = trigger(&site.job(CRON), "demo", "bc", "hourly", None).unwrap_err().to_string();
    assert!(error.contains("it has no session hourly; it has: daily"), "{error}");
}

#[test]
fn configurations_with_long_names_do_not_take_each_others_sessions() {
    let site = Site::new();
    site.configuration("shop", &[("one", "local")]);
    let found = site.cluster.get("backupconfigurations", "demo", "bc").unwrap();
    let minutes = jiff::Timestamp::now().as_second() / 60;
    let names = ["one", "two"].map(|number| format!("production-eu-central-{number}-orders-database-nightly-backup"));
    for name in &names {
        let mut configuration = found.clone();
        configuration["metadata"] = json!({ "name": name, "namespace": "demo" });
        site.cluster.put(configuration);
        let pod = format!("{}-{minutes}-x7k2p", coffer_api::names::trigger(name, "daily"));
        for _ in 0..2 {
            assert_eq!(trigger(&site.job(CRON), "demo", name, "daily", Some(&pod)).unwrap(), End::Done);
        }
    }
    let made = site.cluster.names("backupsessions");
    let of =
        |name: &String| site.cluster.get("backupsessions", "demo", name).unwrap()["spec"]["invoker"]["name"].clone();
    let mut invokers: Vec<_> = made.iter().map(of).collect();
    invokers.sort_by_key(ToString::to_string);
    assert_eq!(invokers, names.map(|name| json!(name)), "{made:?}");
}

#[test]
fn a_new_storage_gets_its_index_and_repositories_their_files() {
    let site = Site::new();
    assert_eq!(init_storage(&site, "local"), Ok(End::Done));
    assert_eq!(conditions(&site.status("backupstorages", "local")), ["BackendInitialized=True"]);
    let index = std::fs::read_to_string(site.path("local/metadata.yaml")).unwrap();
    assert!(index.contains("kind: BackendMeta") && index.contains("config.kubestash.com/v1alpha1"), "{index}");
    for name in ["one", "two"] {
        site.repository(name, "local");
        assert_eq!(init_repository(&site, name), Ok(End::Done));
        assert_eq!(init_repository(&site, name), Ok(End::Done), "twice is as good as once");
        let status = site.status("repositories", name);
        assert_eq!(conditions(&status), ["RepositoryInitialized=True"]);
        assert_eq!((&status["snapshotCount"], &status["size"]), (&json!(0), &json!("0 B")));
        assert!(status["integrity"].is_null());
    }
    let index: Value =
        serde_saphyr::from_str(&std::fs::read_to_string(site.path("local/metadata.yaml")).unwrap()).unwrap();
    let listed: Vec<_> =
        index["repositories"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(listed, ["one", "two"]);
    // The directory of a repository is not another one's.
    site.cluster.put(json!({
        "apiVersion": "storage.kubestash.com/v1alpha1", "kind": "Repository", "metadata": { "name": "thief", "namespace": "demo" },
        "spec": { "storageRef": { "name": "local" }, "path": "one/" },
    }));
    let error = init_repository(&site, "thief").unwrap_err();
    assert!(error.contains("it is the one of Repository demo/one"), "{error}");
    assert_eq!(conditions(&site.status("repositories", "thief")), ["RepositoryInitialized=False"]);
}

#[test]
fn a_storage_that_cannot_be_used_says_why() {
    let site = Site::new();
    site.cluster.apply(
        "apiVersion: storage.kubestash.com/v1alpha1
kind: BackupStorage
metadata: {name: s3, namespace: demo}
spec: {storage: {provider: s3, s3: {endpoint: \"http://127.0.0.1:1\", bucket: b, secretName: nowhere}}}
",
    );
    let error = init_storage(&site, "s3").unwrap_err();
    assert!(error.contains("Secret nowhere in namespace demo not found"), "{error}");
    let status = site.status("backupstorages", "s3");
    assert_eq!(conditions(&status), ["BackendSecretFound=False", "BackendInitialized=False"]);
    assert!(status["conditions"][1]["message"].as_str().unwrap().contains("Secret nowhere"), "{status}");
    std::fs::write(site.path("local/metadata.yaml"), "apiVersion: [").unwrap();
    let error = init_storage(&site, "local").unwrap_err();
    assert!(error.contains("metadata.yaml"), "{error}");
    assert_eq!(
        std::fs::read_to_string(site.path("local/metadata.yaml")).unwrap(),
        "apiVersion: [",
        "what is odd is left alone"
    );
}

#[test]
fn another_cluster_finds_the_repositories_again() {
    let site = Site::new();
    site.repository("one", "local");
    init_storage(&site, "local").unwrap();
    init_repository(&site, "one").unwrap();
    let (name, id) = taken(&site, 1, "one");
    let before = site.cluster.get("snapshots", "demo", &name).unwrap();

    let other = Site::new();
    // The same folder under another name of the storage.
    other.storage("restored");
    std::fs::remove_dir_all(other.path("restored")).unwrap();
    std::os::unix::fs::symlink(site.path("local"), other.path("restored")).unwrap();
    assert_eq!(init_storage(&other, "restored"), Ok(End::Done));
    let listed = &other.status("backupstorages", "restored")["repositories"][0];
    assert_eq!((&listed["name"], &listed["synced"], &listed["error"]), (&json!("one"), &json!(true), &Value::Null));
    let repository = other.cluster.get("repositories", "demo", "one").unwrap();
    assert_eq!(repository["spec"]["storageRef"], json!({ "name": "restored", "namespace": "demo" }));
    assert_eq!(repository["spec"]["path"], "/one");
    let snapshot = other.cluster.get("snapshots", "demo", &name).unwrap();
    assert_eq!(snapshot["status"], before["status"]);
    assert_eq!(snapshot["status"]["components"]["dump"]["resticStats"][0]["summary"]["id"], json!(id));
    assert_eq!(snapshot["metadata"]["ownerReferences"][0]["uid"], repository["metadata"]["uid"]);
    assert_eq!(snapshot["metadata"]["labels"]["kubestash.com/repo-name"], "one");
    assert_ne!(snapshot["metadata"]["uid"], before["metadata"]["uid"]);
    // Once more changes nothing.
    let versions = |site: &Site| {
        let version = |resource, name: &str| {
            site.cluster.get(resource, "demo", name).unwrap()["metadata"]["resourceVersion"].clone()
        };
        (version("snapshots", &name), version("repositories", "one"))
    };
    let once = versions(&other);
    assert_eq!(init_storage(&other, "restored"), Ok(End::Done));
    assert_eq!(versions(&other), once);

    // A Repository of that name that is somewhere else is not touched.
    let third = Site::new();
    third.storage("restored");
    std::fs::remove_dir_all(third.path("restored")).unwrap();
    std::os::unix::fs::symlink(site.path("local"), third.path("restored")).unwrap();
    third.repository("one", "local");
    assert_eq!(init_storage(&third, "restored"), Ok(End::Partial));
    let status = third.status("backupstorages", "restored");
    assert!(status["repositories"][0]["error"].as_str().unwrap().contains("is somewhere else"), "{status}");
    assert_eq!(status["repositories"][0]["synced"], false);
    assert_eq!(conditions(&status), ["BackendInitialized=True"]);
    assert_eq!(third.cluster.get("repositories", "demo", "one").unwrap()["spec"]["storageRef"]["name"], "local");
    assert!(third.cluster.names("snapshots").is_empty());
}

/// Another cluster whose storage `restored` is the folder of the first one's.
fn elsewhere(site: &Site) -> Site {
    let other = Site::new();
    other.storage("restored");
    std::fs::remove_dir_all(other.path("restored")).unwrap();
    std::os::unix::fs::symlink(site.path("local"), other.path("restored")).unwrap();
    other
}

#[test]
fn one_bad_file_does_not_keep_the_rest_from_coming_back() {
    let site = Site::new();
    init_storage(&site, "local").unwrap();
    for name in ["one", "two"] {
        site.repository(name, "local");
        init_repository(&site, name).unwrap();
    }
    let mut names: Vec<_> = (1..=3).map(|number| taken(&site, number, "one").0).collect();
    names.push(taken(&site, 4, "two").0);
    // In the middle, so that there are good ones before and after it.
    let bad = site.path("local/one/snapshots").join(format!("{}.yaml", names[1]));
    let good = std::fs::read_to_string(&bad).unwrap();
    std::fs::write(&bad, "spec: [").unwrap();

    let other = elsewhere(&site);
    assert_eq!(init_storage(&other, "restored"), Ok(End::Partial));
    let mut back = other.cluster.names("snapshots");
    back.sort();
    assert_eq!(back, [names[0].clone(), names[2].clone(), names[3].clone()]);
    let listed = other.status("backupstorages", "restored")["repositories"].clone();
    let error = listed[0]["error"].as_str().unwrap();
    assert!(error.starts_with("1 of 3 Snapshots are not brought back") && error.contains(&names[1]), "{error}");
    assert!(error.contains("the others are there"), "{error}");
    assert_eq!((&listed[0]["synced"], &listed[0]["namespace"]), (&json!(false), &json!("demo")));
    assert_eq!((&listed[1]["synced"], &listed[1]["error"]), (&json!(true), &Value::Null));
    assert_eq!(conditions(&other.status("backupstorages", "restored")), ["BackendInitialized=True"]);

    // Corrected, it comes with the next run, and a Snapshot that is another is not touched.
    std::fs::write(&bad, good).unwrap();
    other.cluster.remove("snapshots", "demo", &names[0]);
    other.cluster.put(json!({
        "apiVersion": "storage.kubestash.com/v1alpha1", "kind": "Snapshot", "metadata": { "name": names[0], "namespace": "demo" },
        "spec": { "repository": "another", "snapshotID": "another" },
    }));
    assert_eq!(init_storage(&other, "restored"), Ok(End::Partial));
    let error = other.status("backupstorages", "restored")["repositories"][0]["error"].as_str().unwrap().to_owned();
    assert!(error.starts_with("1 of 3") && error.contains("there is one of that name that is another"), "{error}");
    assert!(other.cluster.get("snapshots", "demo", &names[0]).unwrap()["status"].is_null());
    assert!(other.cluster.get("snapshots", "demo", &names[1]).unwrap()["status"]["components"]["dump"].is_object());
    other.cluster.remove("snapshots", "demo", &names[0]);
    assert_eq!(init_storage(&other, "restored"), Ok(End::Done));
    assert_eq!(other.status("backupstorages", "restored")["repositories"][0]["error"], Value::Null);
    other.inspect();
}

#[test]
fn another_try_brings_back_only_what_is_lost() {
    let site = Site::new();
    init_storage(&site, "local").unwrap();
    for name in ["one", "two"] {
        site.repository(name, "local");
        init_repository(&site, name).unwrap();
    }
    let (name, _) = taken(&site, 1, "one");
    taken(&site, 2, "two");
    let bad = site.path("local/one/snapshots").join(format!("{name}.yaml"));
    let good = std::fs::read_to_string(&bad).unwrap();
    std::fs::write(&bad, "spec: [").unwrap();
    let other = elsewhere(&site);
    assert_eq!(init_storage(&other, "restored"), Ok(End::Partial));
    assert_eq!(other.cluster.names("repositories"), ["one", "two"]);
    let before = other.status("backupstorages", "restored");

    // A try that fails as a whole changes nothing of what is known: the storage was prepared.
    let index = site.path("local/metadata.yaml");
    let listed = std::fs::read_to_string(&index).unwrap();
    std::fs::write(&index, "apiVersion: [").unwrap();
    let error = init_storage(&other, "restored").unwrap_err();
    assert!(error.contains("metadata.yaml"), "{error}");
    assert_eq!(other.status("backupstorages", "restored"), before);
    assert_eq!(conditions(&before), ["BackendInitialized=True"]);
    std::fs::write(&index, listed).unwrap();

    // Deleted on purpose, with its data kept. The index still lists it.
    other.cluster.remove("repositories", "demo", "two");
    for snapshot in other.cluster.names("snapshots") {
        other.cluster.remove("snapshots", "demo", &snapshot);
    }
    // Nothing is brought into what is being deleted.
    std::fs::write(&bad, good).unwrap();
    doom(&other, "repositories", "one", "Delete");
    assert_eq!(init_storage(&other, "restored"), Ok(End::Partial));
    let status = other.status("backupstorages", "restored");
    assert!(status["repositories"][0]["error"].as_str().unwrap().contains("it is being deleted"), "{status}");
    assert!(other.cluster.names("snapshots").is_empty());

    other.cluster.change("repositories", "demo", "one", &json!({ "metadata": { "deletionTimestamp": null } }));
    assert_eq!(init_storage(&other, "restored"), Ok(End::Done));
    assert_eq!(other.cluster.names("repositories"), ["one"], "two was deleted on purpose");
    assert_eq!(other.cluster.names("snapshots"), [name]);
    let status = other.status("backupstorages", "restored");
    assert_eq!(
        (&status["repositories"][0]["error"], &status["repositories"][0]["synced"]),
        (&Value::Null, &json!(true))
    );
    assert_eq!(status["repositories"][1], before["repositories"][1], "the entry of another is kept as it is");
}

#[test]
fn repositories_come_back_where_the_job_has_the_right_to() {
    let site = Site::new();
    init_storage(&site, "local").unwrap();
    for name in ["one", "two"] {
        site.repository(name, "local");
        init_repository(&site, name).unwrap();
        taken(&site, 1, name);
    }
    // The first one was another namespace's.
    for file in ["metadata.yaml", "one/repository.yaml"] {
        let path = site.path("local").join(file);
        let text = std::fs::read_to_string(&path).unwrap().replacen("namespace: demo", "namespace: web", 1);
        std::fs::write(&path, text).unwrap();
    }
    let other = elsewhere(&site);
    let job = other.job(INITIALIZER);
    let run = |web: &'static [&'static str]| {
        other.grant(move |namespace| if namespace == "web" { web.to_vec() } else { vec![INITIALIZER] });
        let result = initialize_storage(&job, "demo", "restored").unwrap();
        let listed = other.status("backupstorages", "restored")["repositories"].clone();
        (result, listed[0].clone(), listed[1]["synced"].clone())
    };
    let (end, one, two) = run(&[]);
    assert_eq!((end, two), (End::Partial, json!(true)));
    assert_eq!((&one["namespace"], &one["synced"]), (&json!("web"), &json!(false)));
    assert!(one["error"].as_str().unwrap().contains("in namespace web is missing"), "{one}");
    assert!(other.cluster.get("repositories", "demo", "two").is_some());
    // What such a namespace gives a Job is enough.
    let (end, one, _) = run(&["kubestash-importer"]);
    assert_eq!((end, &one["synced"], &one["error"]), (End::Done, &json!(true), &Value::Null), "{one}");
    let snapshot = other.cluster.get("snapshots", "web", "one-bc-daily-1").unwrap();
    assert_eq!(snapshot["status"]["components"]["dump"]["phase"], "Succeeded");
    assert!(
        !other.cluster.requests().iter().any(|request| request.resource == "secrets" && request.namespace == "web")
    );
}

#[test]
fn what_a_job_reads_elsewhere_is_what_the_small_roles_grant() {
    let site = Site::new();
    let storage = "apiVersion: storage.kubestash.com/v1alpha1
kind: BackupStorage
metadata: {name: far, namespace: stores}
spec:
  storage: {provider: s3, s3: {endpoint: \"http://127.0.0.1:1\", bucket: b, secretName: keys}}
  usagePolicy: {allowedNamespaces: {from: Selector, selector: {matchLabels: {team: shop}}}}
---
apiVersion: v1
kind: Secret
metadata: {name: keys, namespace: stores}
stringData: {AWS_ACCESS_KEY_ID: a, AWS_SECRET_ACCESS_KEY: storage-hunter2}
---
apiVersion: v1
kind: Namespace
metadata: {name: source, labels: {team: shop}}
---
apiVersion: v1
kind: Secret
metadata: {name: encrypt, namespace: vault}
stringData: {RESTIC_PASSWORD: repository-hunter2}
---
apiVersion: v1
kind: Secret
metadata: {name: auth, namespace: db}
stringData: {username: root, password: p}
---
apiVersion: appcatalog.appscode.com/v1alpha1
kind: AppBinding
metadata: {name: shop, namespace: db}
spec: {type: mysql, clientConfig: {url: \"mysql://127.0.0.1:1/\"}, secret: {name: auth}}
---
apiVersion: storage.kubestash.com/v1alpha1
kind: RetentionPolicy
metadata: {name: keep, namespace: stores}
spec: {successfulSnapshots: {last: 1}, usagePolicy: {allowedNamespaces: {from: All}}}
---
apiVersion: storage.kubestash.com/v1alpha1
kind: Snapshot
metadata: {name: taken, namespace: source}
spec: {repository: r, session: daily}
status: {phase: Succeeded, snapshotTime: \"2026-01-01T00:00:00Z\", components: {dump: {resticStats: [{summary: {id: aaaa1111}}]}}}
";
    site.cluster.apply(storage);
    for namespace in ["demo", "source"] {
        site.cluster.put(json!({
            "apiVersion": "storage.kubestash.com/v1alpha1", "kind": "Repository", "metadata": { "name": "r", "namespace": namespace },
            "spec": { "storageRef": { "name": "far", "namespace": "stores" }, "path": "/r", "encryptionSecret": { "name": "encrypt", "namespace": "vault" } },
            "status": { "componentPaths": ["repository/v1/daily/dump"] },
        }));
    }
    site.configuration("shop", &[]);
    site.cluster.change("backupconfigurations", "demo", "bc", &json!({ "spec": {
        "target": { "namespace": "db" },
        "backends": [{ "name": "far", "storageRef": { "name": "far", "namespace": "stores" }, "retentionPolicy": { "name": "keep", "namespace": "stores" } }],
        "sessions": [{
            "name": "daily", "addon": { "name": "mysql-addon", "tasks": [{ "name": "logical-backup" }] },
            "repositories": [{ "name": "r", "backend": "far", "directory": "/r", "encryptionSecret": { "name": "encrypt", "namespace": "vault" } }],
        }],
    }}));
    site.restore("r", &json!({ "namespace": "source", "repository": "r", "snapshot": "latest" }));
    site.cluster.change("restoresessions", "demo", "r", &json!({ "spec": { "target": { "namespace": "db" } } }));

    let rights = |own: &'static str, without: &'static str| {
        let job = site.job(own);
        site.grant(move |namespace| {
            let all: &[&str] = match namespace {
                "demo" => return vec![own],
                "stores" => &["kubestash-storage-reader", "kubestash-secret-reader"],
                "db" => &["kubestash-target-reader", "kubestash-secret-reader"],
                "source" => &["kubestash-source-reader"],
                "vault" => &["kubestash-secret-reader"],
                _ => &[],
            };
            all.iter().copied().filter(|role| *role != without).collect()
        });
        job
    };
    let catalog = coffer_resolve::Catalog::default();
    let backup = |without| {
        let job = rights("kubestash-backup-job", without);
        let found = coffer_resolve::backup_by_name(&job.cluster, &catalog, ("demo", "bc", "daily"));
        found.map_err(|error| error.to_string()).map(|found| (found.plan.destinations.len(), found.refused.len()))
    };
    let restore = |without| {
        let job = rights("kubestash-restore-job", without);
        coffer_resolve::restore_by_name(&job.cluster, &catalog, ("demo", "r"))
            .map(drop)
            .map_err(|error| error.to_string())
    };
    assert_eq!(backup("nothing"), Ok((1, 0)));
    assert_eq!(restore("nothing"), Ok(()));
    // None of them is there for nothing.
    for role in
        ["kubestash-storage-reader", "kubestash-secret-reader", "kubestash-target-reader", "kubestash-source-reader"]
    {
        assert!(restore(role).is_err(), "{role}");
    }
    assert_eq!(backup("kubestash-storage-reader"), Ok((0, 1)));
    assert!(backup("kubestash-target-reader").is_err());
}

#[test]
fn an_index_in_an_object_store_is_not_overwritten() {
    let s3 = S3::start().unwrap();
    let spec = json!({ "provider": "s3", "s3": { "endpoint": s3.endpoint(), "bucket": BUCKET, "region": S3::REGION, "prefix": "pre", "secretName": "x" } });
    let secret = [("AWS_ACCESS_KEY_ID", S3::ACCESS_KEY), ("AWS_SECRET_ACCESS_KEY", S3::SECRET_KEY)];
    let config = StorageConfig {
        name: "s3".to_owned(),
        namespace: "demo".to_owned(),
        spec: serde_json::from_value(spec).unwrap(),
        secret: secret.into_iter().collect(),
    };
    let storage = Storage::open(&config, LocalRoot::MountPath).unwrap();
    let index = |writer: &str| BackendMeta::new(jiff::Timestamp::UNIX_EPOCH, writer);
    assert_eq!(storage.read_index_version().unwrap(), (None, IndexVersion::Absent));
    assert!(storage.replace_index(&index("first"), &IndexVersion::Absent).unwrap());
    assert!(!storage.replace_index(&index("too late"), &IndexVersion::Absent).unwrap());
    let (read, version) = storage.read_index_version().unwrap();
    assert_eq!(read, Some(index("first")));
    assert!(matches!(version, IndexVersion::Tag(_)), "{version:?}");
    assert!(storage.replace_index(&index("second"), &version).unwrap());
    assert!(!storage.replace_index(&index("stale"), &version).unwrap(), "it has been written since");
    assert_eq!(storage.read_index().unwrap(), Some(index("second")));
}

#[test]
fn wiping_takes_what_belongs_to_the_object_and_no_more() {
    let site = Site::new();
    init_storage(&site, "local").unwrap();
    for name in ["one", "one/nested", "two"] {
        site.cluster.put(json!({
            "apiVersion": "storage.kubestash.com/v1alpha1", "kind": "Repository",
            "metadata": { "name": name.replace('/', "-"), "namespace": "demo" },
            "spec": { "storageRef": { "name": "local" }, "path": name, "encryptionSecret": { "name": "encrypt" } },
        }));
        init_repository(&site, &name.replace('/', "-")).unwrap();
    }
    std::fs::write(site.path("local/one/readme.txt"), "mine").unwrap();
    std::fs::write(site.path("local/readme.txt"), "mine").unwrap();
    let (first, first_id) = taken(&site, 1, "one");
    let (second, second_id) = taken(&site, 2, "one");
    std::fs::create_dir_all(site.path("local/two/repository/v1/daily/dump")).unwrap();
    std::fs::write(site.path("local/two/repository/v1/daily/dump/config"), "x").unwrap();

    // Never because somebody runs the verb.
    let error = wipe(&site, Wiped::Snapshot, &first).unwrap_err();
    assert!(error.contains("not being deleted"), "{error}");
    doom(&site, "snapshots", &first, "Delete");
    let error = wipe(&site, Wiped::Snapshot, &first).unwrap_err();
    assert!(error.contains("its deletionPolicy is not WipeOut"), "{error}");
    assert_eq!(site.restic_snapshots("local", "one").len(), 2);

    doom(&site, "snapshots", &first, "WipeOut");
    assert_eq!(wipe(&site, Wiped::Snapshot, &first), Ok(End::Done));
    assert!(wiped(&site, "snapshots", &first) && !wiped(&site, "snapshots", &second));
    let left: Vec<_> = site.restic_snapshots("local", "one").iter().map(|one| one["id"].clone()).collect();
    assert_eq!(left, [json!(second_id)], "not {first_id}");
    assert_eq!(files(&site, "local/one/snapshots"), [format!("{second}.yaml")]);
    site.restic("local", "one").ok(&["check", "--read-data"]);
    assert_eq!(wipe(&site, Wiped::Snapshot, &first), Ok(End::Done), "twice is as good as once");

    doom(&site, "repositories", "one", "WipeOut");
    assert_eq!(wipe(&site, Wiped::Repository, "one"), Ok(End::Done));
    assert!(wiped(&site, "repositories", "one"));
    assert_eq!(files(&site, "local/one"), ["nested", "readme.txt"]);
    assert_eq!(files(&site, "local/one/nested"), ["repository.yaml"]);
    let index = std::fs::read_to_string(site.path("local/metadata.yaml")).unwrap();
    assert!(!index.contains("name: one\n") && index.contains("one-nested") && index.contains("two"), "{index}");

    doom(&site, "backupstorages", "local", "WipeOut");
    assert_eq!(wipe(&site, Wiped::BackupStorage, "local"), Ok(End::Done));
    assert!(wiped(&site, "backupstorages", "local"));
    assert!(!site.path("local/two/repository").exists() && !site.path("local/two/repository.yaml").exists());
    assert!(!site.path("local/one/nested/repository.yaml").exists() && !site.path("local/metadata.yaml").exists());
    assert_eq!(std::fs::read_to_string(site.path("local/readme.txt")).unwrap(), "mine");
    assert_eq!(std::fs::read_to_string(site.path("local/one/readme.txt")).unwrap(), "mine");

    assert_eq!(wipe(&site, Wiped::Repository, "nobody"), Ok(End::Done), "what is gone is gone");
}

#[test]
fn an_object_is_not_wiped_from_the_place_of_another() {
    let site = Site::new();
    init_storage(&site, "local").unwrap();
    site.repository("one", "local");
    init_repository(&site, "one").unwrap();
    taken(&site, 1, "one");
    site.cluster.put(json!({
        "apiVersion": "storage.kubestash.com/v1alpha1", "kind": "Repository", "metadata": { "name": "thief", "namespace": "demo" },
        "spec": { "storageRef": { "name": "local" }, "path": "one" },
    }));
    doom(&site, "repositories", "thief", "WipeOut");
    let error = wipe(&site, Wiped::Repository, "thief").unwrap_err();
    assert!(error.contains("is the one of Repository demo/one"), "{error}");
    assert!(!wiped(&site, "repositories", "thief"));
    assert_eq!(site.restic_snapshots("local", "one").len(), 1);
}
