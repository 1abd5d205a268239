//! A complete set of manifests, and ways to change it.

#![allow(dead_code, reason = "each test file uses some of it")]

use coffer_resolve::{BackupSelection, Catalog, Directory, ResolveError, RestoreSelection};

/// The password of the database, of the repository and of the storage. They must not appear in any text.
pub(crate) const SECRETS: [&str; 3] = ["database-hunter2", "repository-hunter2", "storage-hunter2"];

/// What the program that uses the crate has built in.
pub(crate) const CATALOG: &str = r#"
apiVersion: addons.kubestash.com/v1alpha1
kind: Addon
metadata: {name: mysql-addon}
spec:
  backupTasks:
    - name: logical-backup
      function: mysql-backup
      driver: Restic
      parameters:
        - {name: args, default: "--set-gtid-purged=OFF"}
        - {name: databases}
        - {name: format, default: parallel}
  restoreTasks:
    - {name: logical-backup-restore, function: mysql-restore, driver: Restic, parameters: [{name: args}]}
---
apiVersion: addons.kubestash.com/v1alpha1
kind: Function
metadata: {name: mysql-backup}
spec: {component: {ref: "builtin:mysql", permissions: {target: true, memory: 256Mi, cpuDeadline: 30s}}}
---
apiVersion: addons.kubestash.com/v1alpha1
kind: Function
metadata: {name: mysql-restore}
spec: {component: {ref: "builtin:mysql", permissions: {target: true}}}
"#;

/// What the user has written.
pub(crate) const DEMO: &str = r#"
apiVersion: v1
kind: Secret
metadata: {name: encrypt-secret, namespace: demo}
stringData: {RESTIC_PASSWORD: repository-hunter2}
---
apiVersion: v1
kind: Secret
metadata: {name: s3-secret, namespace: stores}
stringData: {AWS_ACCESS_KEY_ID: key, AWS_SECRET_ACCESS_KEY: storage-hunter2}
---
apiVersion: v1
kind: Secret
metadata: {name: sample-mysql-auth, namespace: demo}
data: {username: cm9vdA==}
stringData: {password: database-hunter2}
---
apiVersion: storage.kubestash.com/v1alpha1
kind: BackupStorage
metadata: {name: s3-storage, namespace: stores}
spec:
  storage: {provider: s3, s3: {endpoint: "http://127.0.0.1:9000", bucket: b, prefix: demo, secretName: s3-secret}}
  usagePolicy: {allowedNamespaces: {from: All}}
---
apiVersion: storage.kubestash.com/v1alpha1
kind: BackupStorage
metadata: {name: local-storage, namespace: demo}
spec: {storage: {provider: local, local: {hostPath: {path: /backups}, mountPath: /backups}}}
---
apiVersion: storage.kubestash.com/v1alpha1
kind: RetentionPolicy
metadata: {name: keep, namespace: demo}
spec: {successfulSnapshots: {last: 5}}
---
apiVersion: kubedb.com/v1
kind: MySQL
metadata: {name: sample-mysql, namespace: demo}
spec: {version: 8.4.3}
---
apiVersion: appcatalog.appscode.com/v1alpha1
kind: AppBinding
metadata: {name: sample-mysql, namespace: demo}
spec:
  type: kubedb.com/mysql
  version: 8.4.3
  clientConfig:
    service: {name: sample-mysql, path: /, port: 3306, scheme: tcp}
    url: tcp(elsewhere:1)/
  secret: {name: sample-mysql-auth}
---
apiVersion: core.kubestash.com/v1alpha1
kind: BackupConfiguration
metadata: {name: sample-mysql-backup, namespace: demo}
spec:
  target: {apiGroup: kubedb.com, kind: MySQL, name: sample-mysql}
  backends:
    - {name: s3-backend, storageRef: {name: s3-storage, namespace: stores}, retentionPolicy: {name: keep, namespace: demo}}
    - {name: local-backend, storageRef: {name: local-storage}}
  sessions:
    - name: frequent-backup
      scheduler: {schedule: "*/5 * * * *", jobTemplate: {backoffLimit: 1}}
      backupTimeout: 30m
      repositories:
        - {name: s3-repo, backend: s3-backend, directory: /mysql, encryptionSecret: {name: encrypt-secret}}
        - {name: local-repo, backend: local-backend, directory: mysql/, encryptionSecret: {name: encrypt-secret, namespace: demo}}
      addon:
        name: mysql-addon
        tasks:
          - {name: logical-backup, params: {databases: [a, b], workers: 2, quick: true}}
---
apiVersion: core.kubestash.com/v1alpha1
kind: RestoreSession
metadata: {name: restore-sample-mysql, namespace: demo}
spec:
  target: {apiGroup: appcatalog.appscode.com, kind: AppBinding, name: sample-mysql, namespace: demo}
  dataSource: {repository: s3-repo, snapshot: latest}
  restoreTimeout: 1h
  addon: {name: mysql-addon, tasks: [{name: logical-backup-restore}]}
"#;

/// A Snapshot of the demo's repository.
pub(crate) const SNAPSHOT: &str = "
---
apiVersion: storage.kubestash.com/v1alpha1
kind: Snapshot
metadata: {name: snap, namespace: demo}
spec: {repository: s3-repo, session: frequent-backup, snapshotID: 01J, version: v1}
status:
  phase: Succeeded
  components: {dump: {driver: Restic, path: repository/v1/frequent-backup/dump, resticStats: [{summary: {id: abcdef012345}}]}}
";

/// The demo with a text replaced.
pub(crate) fn demo(from: &str, to: &str) -> String {
    assert!(DEMO.contains(from), "the demo manifests do not contain {from:?}");
    DEMO.replace(from, to)
}

pub(crate) fn directory(text: &str) -> Directory {
    Directory::from_texts([("demo.yaml", text)]).unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn catalog() -> Catalog {
    Catalog::from_text("catalog.yaml", CATALOG).unwrap_or_else(|error| panic!("{error}"))
}

/// The only backup of these manifests.
pub(crate) fn backup(text: &str) -> Result<coffer_api::plan::BackupPlan, ResolveError> {
    clean(coffer_resolve::backup(&directory(text), &catalog(), &BackupSelection::default()))
}

/// The only restore of these manifests.
pub(crate) fn restore(text: &str) -> Result<coffer_api::plan::RestorePlan, ResolveError> {
    clean(coffer_resolve::restore(&directory(text), &catalog(), &RestoreSelection::default()))
}

/// Passes a result on after checking that it shows no secret.
pub(crate) fn clean<T: std::fmt::Debug>(result: Result<T, ResolveError>) -> Result<T, ResolveError> {
    let texts = [format!("{result:?}"), result.as_ref().err().map(ToString::to_string).unwrap_or_default()];
    for text in texts {
        for secret in SECRETS {
            assert!(!text.contains(secret), "a secret is shown: {text}");
            assert!(!text.contains(&format!("{:?}", secret.as_bytes())), "the bytes of a secret are shown: {text}");
        }
    }
    result
}

/// The message of an error, which must contain all the texts.
pub(crate) fn assert_message<T: std::fmt::Debug>(result: Result<T, ResolveError>, expected: &[&str]) {
    let error = clean(result).expect_err("this must be refused");
    let message = error.to_string();
    for text in expected {
        assert!(message.contains(text), "{text:?} is not in: {message}");
    }
    assert!(!error.is_retryable(), "{message}");
    assert!(!error.what().is_empty() && !error.why().is_empty() && !error.fix().is_empty(), "{message}");
}
