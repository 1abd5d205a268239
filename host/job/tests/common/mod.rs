//! A place to run verbs in: a cluster in memory, a storage, and, where a test wants one, a real MySQL server.

#![allow(dead_code, reason = "each test file uses some of it")]

pub(crate) mod fake;

use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use coffer_api::cancel::Cancel;
use coffer_job::{Addons, Job};
use coffer_resolve::Catalog;
use coffer_resolve::cluster::Cluster;
use coffer_sandbox::Engine;
use coffer_storage::LocalRoot;
use coffer_test_support::mysql::{MysqlOptions, MysqlServer, PASSWORD};
use coffer_test_support::restic::Restic;
use coffer_test_support::scratch;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use fake::Fake;

/// The password of every repository.
pub(crate) const REPOSITORY_PASSWORD: &str = "repository-hunter2";
/// What no status and no error may show.
pub(crate) const SECRETS: [&str; 3] = [REPOSITORY_PASSWORD, PASSWORD, "storage-hunter2"];

/// How long a refusal is doubted here: long enough for one that passes, and no test waits long for one that does not.
const DOUBT: Duration = Duration::from_secs(1);

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

/// A server for tests that leave each other's databases alone.
pub(crate) fn mysql() -> &'static MysqlServer {
    static SERVER: LazyLock<MysqlServer> = LazyLock::new(|| {
        let extra_args = vec!["--local-infile=ON".to_owned()];
        MysqlServer::start(MysqlOptions { extra_args, ..MysqlOptions::default() }).unwrap()
    });
    &SERVER
}

/// A cluster in memory with a storage in a folder.
pub(crate) struct Site {
    pub(crate) cluster: Fake,
    pub(crate) cancel: Cancel,
    folder: TempDir,
}

impl Site {
    /// A namespace `demo` with a BackupStorage `local`, its policy and Secret, and nothing in it.
    pub(crate) fn new() -> Self {
        let folder = scratch::folder().unwrap();
        let site = Self { cluster: Fake::default(), cancel: Cancel::new(), folder };
        site.cluster.apply(coffer_deploy::CATALOG);
        site.storage("local");
        site.cluster.apply(&format!(
            "apiVersion: v1
kind: Namespace
metadata: {{name: demo, labels: {{team: shop}}}}
---
apiVersion: v1
kind: Secret
metadata: {{name: encrypt, namespace: demo}}
stringData: {{RESTIC_PASSWORD: {REPOSITORY_PASSWORD}}}
---
apiVersion: storage.kubestash.com/v1alpha1
kind: RetentionPolicy
metadata: {{name: keep, namespace: demo}}
spec: {{successfulSnapshots: {{last: 1}}, failedSnapshots: {{last: 1}}}}
"
        ));
        site
    }

    /// A local BackupStorage of this name, as a pod sees it: at its mount path.
    pub(crate) fn storage(&self, name: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(&path).unwrap();
        self.cluster.apply(&format!(
            "apiVersion: storage.kubestash.com/v1alpha1
kind: BackupStorage
metadata: {{name: {name}, namespace: demo}}
spec: {{storage: {{provider: local, local: {{emptyDir: {{}}, mountPath: \"{}\"}}}}}}
",
            path.display()
        ));
    }

    /// A path of this site.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The database that is backed up, of a running server.
    pub(crate) fn target(&self, server: &MysqlServer) {
        self.target_at(server.port());
    }

    /// The same, wherever.
    pub(crate) fn target_at(&self, port: u16) {
        self.cluster.apply(&format!(
            "apiVersion: v1
kind: Secret
metadata: {{name: shop-auth, namespace: demo}}
stringData: {{username: root, password: {PASSWORD}}}
---
apiVersion: appcatalog.appscode.com/v1alpha1
kind: AppBinding
metadata: {{name: shop, namespace: demo}}
spec: {{type: mysql, version: 9.7.0, clientConfig: {{url: \"mysql://127.0.0.1:{port}/\"}}, secret: {{name: shop-auth}}}}
"
        ));
    }

    /// A BackupConfiguration `bc` with a session `daily` of `databases` into these repositories, each in a BackupStorage, and their Repositories.
    pub(crate) fn configuration(&self, databases: &str, repositories: &[(&str, &str)]) {
        let backends: Vec<Value> = repositories
            .iter()
            .map(|(_, storage)| json!({ "name": storage, "storageRef": { "name": storage }, "retentionPolicy": { "name": "keep" } }))
            .collect();
        let written: Vec<Value> = repositories
            .iter()
            .map(|(name, storage)| {
                json!({ "name": name, "backend": storage, "directory": format!("/{name}"), "encryptionSecret": { "name": "encrypt" } })
            })
            .collect();
        self.cluster.put(json!({
            "apiVersion": "core.kubestash.com/v1alpha1", "kind": "BackupConfiguration",
            "metadata": { "name": "bc", "namespace": "demo" },
            "spec": {
                "target": { "apiGroup": "appcatalog.appscode.com", "kind": "AppBinding", "name": "shop" },
                "backends": backends,
                "sessions": [{
                    "name": "daily", "scheduler": { "schedule": "0 0 * * *", "jobTemplate": {} }, "repositories": written,
                    "addon": { "name": "mysql-addon", "tasks": [{ "name": "logical-backup", "params": { "databases": databases, "workers": "2" } }] },
                }],
            },
        }));
        for (name, storage) in repositories {
            self.repository(name, storage);
        }
    }

    /// A Repository in `/<name>` of a BackupStorage.
    pub(crate) fn repository(&self, name: &str, storage: &str) {
        self.cluster.put(json!({
            "apiVersion": "storage.kubestash.com/v1alpha1", "kind": "Repository",
            "metadata": { "name": name, "namespace": "demo", "finalizers": ["kubestash.com/cleanup"] },
            "spec": {
                "appRef": { "apiGroup": "appcatalog.appscode.com", "kind": "AppBinding", "name": "shop", "namespace": "demo" },
                "storageRef": { "name": storage, "namespace": "demo" }, "path": format!("/{name}"),
                "encryptionSecret": { "name": "encrypt", "namespace": "demo" },
            },
        }));
    }

    /// A BackupSession of `bc` and `daily`, with the Snapshots that its operator makes. Returns its name.
    pub(crate) fn session(&self, number: u64, repositories: &[&str]) -> String {
        let name = format!("bc-daily-{number}");
        let names: Vec<String> =
            repositories.iter().map(|repository| coffer_api::names::snapshot(repository, &name)).collect();
        for (repository, snapshot) in repositories.iter().zip(&names) {
            self.cluster.put(json!({
                "apiVersion": "storage.kubestash.com/v1alpha1", "kind": "Snapshot",
                "metadata": { "name": snapshot, "namespace": "demo", "labels": { "kubestash.com/repo-name": repository } },
                "spec": {
                    "snapshotID": format!("01J00000000000000{number:04}{}", repository.to_ascii_uppercase()), "type": "FullBackup",
                    "repository": repository, "session": "daily", "backupSession": name, "version": "v1",
                },
                "status": {
                    "phase": "Pending", "totalComponents": 1,
                    "snapshotTime": format!("2026-01-01T00:{:02}:{:02}Z", number / 60, number % 60),
                },
            }));
        }
        let snapshots: Vec<Value> = repositories
            .iter()
            .zip(&names)
            .map(|(repository, name)| json!({ "name": name, "repository": repository, "phase": "Pending" }))
            .collect();
        let policies: Vec<Value> = repositories
            .iter()
            .map(|name| json!({ "ref": { "name": "keep", "namespace": "demo" }, "repository": name, "phase": "Pending" }))
            .collect();
        self.cluster.put(json!({
            "apiVersion": "core.kubestash.com/v1alpha1", "kind": "BackupSession",
            "metadata": { "name": name, "namespace": "demo" },
            "spec": { "invoker": { "apiGroup": "core.kubestash.com", "kind": "BackupConfiguration", "name": "bc" }, "session": "daily", "retryLeft": 0 },
            "status": {
                "phase": "Running", "totalSnapshots": repositories.len(), "snapshots": snapshots, "retentionPolicy": policies,
            },
        }));
        name
    }

    /// A RestoreSession.
    pub(crate) fn restore(&self, name: &str, source: &Value) {
        self.cluster.put(json!({
            "apiVersion": "core.kubestash.com/v1alpha1", "kind": "RestoreSession",
            "metadata": { "name": name, "namespace": "demo" },
            "spec": {
                "target": { "apiGroup": "appcatalog.appscode.com", "kind": "AppBinding", "name": "shop" },
                "dataSource": source,
                "addon": { "name": "mysql-addon", "tasks": [{ "name": "logical-backup-restore", "params": { "workers": "2" } }] },
            },
            "status": { "phase": "Pending", "totalComponents": 1, "targetFound": true },
        }));
    }

    /// What a verb works with. From here on only what the ClusterRole grants is granted.
    pub(crate) fn job(&self, role: &'static str) -> Job {
        self.cluster.grant(move |request| {
            // A RoleBinding reaches no further than its namespace.
            let bound = request.verb != "list" || !request.namespace.is_empty();
            let granted = |role| coffer_deploy::rbac::grants(role, request.verb, &request.group, &request.resource);
            granted(role) && bound || granted(coffer_deploy::rbac::CATALOG_READER)
        });
        // A client starts a task of its own.
        let _inside = RUNTIME.enter();
        Job {
            cluster: Cluster::new(self.cluster.client(), RUNTIME.handle().clone()).with_role(role).with_doubt(DOUBT),
            local: LocalRoot::MountPath,
            cancel: self.cancel.clone(),
        }
    }

    /// Grants in each namespace what these ClusterRoles grant, as `RoleBindings` do.
    pub(crate) fn grant(&self, bound: impl Fn(&str) -> Vec<&'static str> + Send + 'static) {
        self.cluster.grant(move |request| {
            let granted =
                |role: &str| coffer_deploy::rbac::grants(role, request.verb, &request.group, &request.resource);
            let here = if request.namespace.is_empty() { Vec::new() } else { bound(&request.namespace) };
            here.into_iter().any(granted) || granted(coffer_deploy::rbac::CATALOG_READER)
        });
    }

    /// A Snapshot's or another object's status.
    pub(crate) fn status(&self, resource: &str, name: &str) -> Value {
        self.cluster.get(resource, "demo", name).unwrap_or_else(|| panic!("no {resource} {name}"))["status"].clone()
    }

    /// Stock restic on a repository of the session `daily`.
    pub(crate) fn restic(&self, storage: &str, repository: &str) -> Restic {
        let path = self.path(storage).join(repository).join("repository/v1/daily/dump");
        Restic::new(path.display().to_string(), REPOSITORY_PASSWORD).unwrap()
    }

    /// The restic snapshots of a repository, as stock restic sees them.
    pub(crate) fn restic_snapshots(&self, storage: &str, repository: &str) -> Vec<Value> {
        let output = self.restic(storage, repository).ok(&["snapshots", "--json", "--no-lock"]);
        serde_json::from_slice::<Vec<Value>>(&output).unwrap()
    }

    /// Fails if anything that was written shows a secret.
    pub(crate) fn inspect(&self) {
        for resource in ["snapshots", "repositories", "backupsessions", "restoresessions", "backupstorages"] {
            for name in self.cluster.names(resource) {
                let text = self.cluster.get(resource, "demo", &name).unwrap_or_default().to_string();
                for secret in SECRETS {
                    assert!(!text.contains(secret), "{resource} {name} shows a secret: {text}");
                }
            }
        }
    }
}

/// A Snapshot that succeeded, with a restic snapshot of stock restic and its file in the storage. Returns its name and the restic id.
pub(crate) fn taken(site: &Site, number: u64, repository: &str) -> (String, String) {
    let session = site.session(number, &[repository]);
    let name = format!("{repository}-{session}");
    let restic = site.restic("local", repository);
    if !site.path("local").join(repository).join("repository/v1/daily/dump/config").exists() {
        restic.ok(&["init"]);
    }
    let data = format!("INSERT {number};\n").repeat(1000);
    assert!(restic.backup_stdin("dumpfile.sql", "host-0", data.as_bytes()).unwrap().status.success());
    let id = site.restic_snapshots("local", repository).last().unwrap()["id"].as_str().unwrap().to_owned();
    site.cluster.change("snapshots", "demo", &name, &json!({ "status": {
        "phase": "Succeeded", "size": "1.000 KiB", "integrity": true,
        "components": { "dump": {
            "phase": "Succeeded", "path": "repository/v1/daily/dump", "driver": "Restic", "size": "1.000 KiB", "integrity": true,
            "resticStats": [{ "summary": { "id": id } }],
        }},
    }}));
    let folder = site.path("local").join(repository).join("snapshots");
    std::fs::create_dir_all(&folder).unwrap();
    let object = site.cluster.get("snapshots", "demo", &name).unwrap();
    std::fs::write(folder.join(format!("{name}.yaml")), serde_saphyr::to_string(&object).unwrap()).unwrap();
    (name, id)
}

/// The files of a folder of the site.
pub(crate) fn files(site: &Site, path: &str) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(site.path(path)) else { return Vec::new() };
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The engine and the built-in components.
pub(crate) fn addons(job: &Job) -> Addons {
    Addons {
        context: coffer_executor::Context {
            engine: Engine::new(None).unwrap(),
            builtins: coffer_addons_builtin::builtin,
            local: job.local,
            events: std::sync::Arc::new(()),
            cancel: job.cancel.clone(),
        },
        catalog: Catalog::default(),
    }
}

/// The conditions of a status, as `type=status`.
pub(crate) fn conditions(status: &Value) -> Vec<String> {
    let all = status["conditions"].as_array().cloned().unwrap_or_default();
    all.iter().map(|one| format!("{}={}", one["type"].as_str().unwrap(), one["status"].as_str().unwrap())).collect()
}
