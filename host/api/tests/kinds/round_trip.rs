//! Manifests as users of KubeStash write them are read, and come back the same from the types.

use coffer_api::addons::{Addon, Driver, Function, TaskExecutor};
use coffer_api::appcatalog::AppBinding;
use coffer_api::core::{BackupConfiguration, BackupSession, BackupSessionPhase, RestorePhase, RestoreSession};
use coffer_api::shared::{DeletionPolicy, NamespacesFrom};
use coffer_api::storage::{BackupStorage, Provider, Repository, RetentionPolicy, Snapshot};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Reads a manifest, and checks that writing it gives all of it back.
pub(crate) fn round_trip<T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug>(yaml: &str) -> T {
    let original: Value = serde_saphyr::from_str(yaml).expect("the test's manifest is YAML");
    let object: T = serde_json::from_value(original.clone()).expect("the type reads the manifest");
    let written = serde_json::to_value(&object).expect("the type can be written");
    assert_contains(&written, &original, "");
    let again: T = serde_json::from_value(written).expect("the type reads what it wrote");
    assert_eq!(again, object);
    object
}

/// Everything in `expected` is in `actual`; `actual` may hold defaults beside it.
fn assert_contains(actual: &Value, expected: &Value, path: &str) {
    match (actual, expected) {
        (Value::Object(actual), Value::Object(expected)) => {
            for (key, value) in expected {
                let path = format!("{path}.{key}");
                assert_contains(actual.get(key).unwrap_or_else(|| panic!("{path} is lost")), value, &path);
            }
        }
        (Value::Array(actual), Value::Array(expected)) => {
            assert_eq!(actual.len(), expected.len(), "{path}");
            for (index, (actual, expected)) in actual.iter().zip(expected).enumerate() {
                assert_contains(actual, expected, &format!("{path}[{index}]"));
            }
        }
        // A quantity may be a number; it is written as text.
        (Value::String(actual), Value::Number(expected)) => assert_eq!(*actual, expected.to_string(), "{path}"),
        _ => assert_eq!(actual, expected, "{path}"),
    }
}

#[test]
fn addon() {
    let addon: Addon = round_trip(
        r#"
apiVersion: addons.kubestash.com/v1alpha1
kind: Addon
metadata: {name: mysql-addon}
spec:
  backupTasks:
    - name: logical-backup
      function: mysql-backup
      driver: Restic
      executor: Job
      singleton: true
      parameters:
        - {name: args, usage: Options of the dump, required: false, default: "--set-gtid-purged=OFF"}
        - {name: databases, usage: Comma separated list, required: false}
      volumeTemplate:
        - name: scratch
          usage: Temporary files
          source: {emptyDir: {sizeLimit: 1Gi}}
        - name: data
          source:
            volumeClaimTemplate:
              metadata: {name: data}
              spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
      volumeMounts:
        - {name: scratch, mountPath: /scratch}
  restoreTasks:
    - {name: logical-backup-restore, function: mysql-restore, driver: Restic, executor: Job, singleton: true}
"#,
    );
    let task = &addon.spec.backup_tasks[0];
    assert_eq!((task.driver, task.executor), (Some(Driver::Restic), Some(TaskExecutor::Job)));
    assert_eq!(task.parameters[0].default.as_deref(), Some("--set-gtid-purged=OFF"));
}

#[test]
fn function() {
    let function: Function = round_trip(
        r#"
apiVersion: addons.kubestash.com/v1alpha1
kind: Function
metadata: {name: mysql-backup}
spec:
  component:
    ref: builtin:mysql
    permissions: {target: true, memory: 256Mi, cpuDeadline: 30s}
  image: registry.example/mysql-plugin:v1_${DB_VERSION}
  command: [plugin]
  args: [backup, "--namespace=${namespace:=default}"]
  workingDir: /work
  ports: [{containerPort: 8080, name: http}]
  volumeMounts: [{name: scratch, mountPath: /scratch}]
  volumeDevices: [{name: disk, devicePath: /dev/xvda}]
  runtimeSettings: {resources: {limits: {memory: 1Gi}}, nice: {adjustment: 5}}
  availableVersions: [8.0.21, 8.4.2]
"#,
    );
    let component = function.spec.component.unwrap();
    assert_eq!(component.reference, "builtin:mysql");
    assert!(component.permissions.target);
    assert_eq!(function.spec.ports[0].protocol, "TCP");
}

#[test]
fn backup_storage() {
    let storage: BackupStorage = round_trip(
        r#"
apiVersion: storage.kubestash.com/v1alpha1
kind: BackupStorage
metadata: {name: s3-storage, namespace: demo}
spec:
  storage:
    provider: s3
    s3:
      endpoint: https://s3.example
      bucket: backups
      region: eu-central-1
      prefix: demo
      secretName: s3-secret
      maxConnections: 8
      insecureTLS: true
  usagePolicy: {allowedNamespaces: {from: All}}
  default: true
  deletionPolicy: WipeOut
  runtimeSettings: {pod: {serviceAccountAnnotations: {eks.amazonaws.com/role-arn: "arn:aws:iam::1:role/x"}}}
status:
  phase: Ready
  totalSize: 3.657 MiB
  repositories: [{name: repo, namespace: demo, path: /mysql, size: 3.657 MiB, synced: true}]
  conditions:
    - {type: BackendInitialized, status: "True", reason: BackendInitializationSucceeded,
       message: Successfully initialized backend., lastTransitionTime: "2024-08-19T10:00:00Z"}
"#,
    );
    assert!(matches!(storage.spec.storage.provider(), Ok(Provider::S3(s3)) if s3.max_connections == Some(8)));
    assert_eq!(storage.spec.storage.secret_name(), Some("s3-secret"));
    assert_eq!(storage.spec.deletion_policy, DeletionPolicy::WipeOut);
    assert_eq!(storage.spec.usage_policy.unwrap().allowed_namespaces.from, NamespacesFrom::All);
}

#[test]
fn local_storages_keep_every_volume_type() {
    let volumes = [
        json!({"hostPath": {"path": "/backups"}}),
        json!({"nfs": {"server": "nfs.example", "path": "/"}}),
        json!({"persistentVolumeClaim": {"claimName": "backups"}}),
        json!({"csi": {"driver": "x.example"}}),
    ];
    for volume in volumes {
        let mut local = json!({"mountPath": "/mnt", "subPath": "a", "maxConnections": 2});
        local.as_object_mut().unwrap().extend(volume.as_object().unwrap().clone());
        let manifest = json!({
            "apiVersion": "storage.kubestash.com/v1alpha1", "kind": "BackupStorage", "metadata": {"name": "local"},
            "spec": {"storage": {"provider": "local", "local": local}},
        });
        let storage: BackupStorage = round_trip(&manifest.to_string());
        assert!(matches!(storage.spec.storage.provider(), Ok(Provider::Local(_))));
        assert_eq!(storage.spec.storage.secret_name(), None);
    }
}

#[test]
fn storages_without_usable_provider_say_so() {
    let problem = |storage: Value| {
        let storage: coffer_api::storage::StorageBackendSpec = serde_json::from_value(storage).unwrap();
        storage.provider().unwrap_err().to_string()
    };
    assert!(problem(json!({})).contains("missing"));
    assert!(problem(json!({"provider": "swift"})).contains("\"swift\" is not known"));
    assert!(problem(json!({"provider": "gcs", "s3": {}})).contains("spec.storage.gcs is missing"));
}

#[test]
fn retention_policy() {
    let policy: RetentionPolicy = round_trip(
        "
apiVersion: storage.kubestash.com/v1alpha1
kind: RetentionPolicy
metadata: {name: demo-retention, namespace: demo}
spec:
  default: true
  failedSnapshots: {last: 2}
  maxRetentionPeriod: 2mo
  successfulSnapshots: {last: 5, hourly: 1, daily: 2, weekly: 3, monthly: 4, yearly: 6}
  usagePolicy: {allowedNamespaces: {from: Selector, selector: {matchLabels: {team: db}}}}
",
    );
    assert_eq!(policy.spec.failed_snapshots.unwrap().last, 2);
}

#[test]
fn repository() {
    let repository: Repository = round_trip(
        r#"
apiVersion: storage.kubestash.com/v1alpha1
kind: Repository
metadata: {name: gcs-mysql-repo, namespace: demo}
spec:
  appRef: {apiGroup: kubedb.com, kind: MySQL, name: sample-mysql, namespace: demo}
  deletionPolicy: Delete
  encryptionSecret: {name: encrypt-secret, namespace: demo}
  path: /mysql
  storageRef: {name: gcs-storage, namespace: demo}
status:
  componentPaths: [repository/v1/frequent-backup/dump]
  integrity: true
  lastBackupTime: "2024-08-19T10:00:00Z"
  phase: Ready
  recentSnapshots:
    - {name: snap, phase: Succeeded, session: frequent-backup, size: 7.003 KiB, snapshotTime: "2024-08-19T10:00:00Z"}
  size: 7.003 KiB
  snapshotCount: 1
"#,
    );
    assert_eq!(repository.spec.path.as_deref(), Some("/mysql"));
}

#[test]
fn snapshot() {
    let snapshot: Snapshot = round_trip(
        r#"
apiVersion: storage.kubestash.com/v1alpha1
kind: Snapshot
metadata: {name: snap, namespace: demo}
spec:
  appRef: {apiGroup: kubedb.com, kind: MySQL, name: sample-mysql, namespace: demo}
  backupSession: sample-mysql-backup-frequent-backup-1724065200
  deletionPolicy: Delete
  repository: gcs-mysql-repo
  session: frequent-backup
  snapshotID: 01J5NB2Q3BPR7H1X0M3ZW4G7QX
  type: FullBackup
  version: v1
status:
  phase: Succeeded
  integrity: true
  totalComponents: 1
  size: 7.003 KiB
  snapshotTime: "2024-08-19T10:00:00Z"
  lastUpdateTime: "2024-08-19T10:01:00Z"
  verificationStatus: NotVerified
  components:
    dump:
      driver: Restic
      duration: 7.472499073s
      integrity: true
      path: repository/v1/frequent-backup/dump
      phase: Succeeded
      resticStats:
        - summary: {hostPath: dumpfile.sql, id: 0123abcd, size: 3.657 MiB, uploaded: 299 B,
                    startTime: "2024-08-19T10:00:00Z", endTime: "2024-08-19T10:00:07Z"}
          progress: {secondsElapsed: 7, totalFiles: 1, backupDone: 3.657 MiB}
      size: 7.003 KiB
    other:
      walGStats: {id: base, databases: [a], startTime: "2024-08-19T10:00:00Z"}
      volumeSnapshotterStats: [{pvcName: data, volumeSnapshotName: data-1}]
      logStats: {start: a, end: b, lsn: c, totalFailedCount: 1, lastFailedStats: [{error: x}],
                 lastLogRetentionStats: [{deletedLogCount: 3}]}
      solrStats: [{backupId: 1, indexSizeMB: 0.5}]
      medusaStats: {backupNodes: [a]}
      clickHouseStats: [{host: a}]
      neo4jStats: [{full: true}]
"#,
    );
    let stats = &snapshot.status.unwrap().components["dump"].restic_stats[0];
    assert_eq!(stats.summary.as_ref().unwrap().id.as_deref(), Some("0123abcd"));
}

#[test]
fn backup_configuration() {
    let configuration: BackupConfiguration = round_trip(
        r#"
apiVersion: core.kubestash.com/v1alpha1
kind: BackupConfiguration
metadata: {name: sample-mysql-backup, namespace: demo}
spec:
  target: {apiGroup: kubedb.com, kind: MySQL, namespace: demo, name: sample-mysql}
  paused: false
  backends:
    - name: gcs-backend
      storageRef: {namespace: demo, name: gcs-storage}
      retentionPolicy: {name: demo-retention, namespace: demo}
  sessions:
    - name: frequent-backup
      backupTimeout: 30m
      retryConfig: {maxRetry: 3, delay: 1m}
      scheduler:
        schedule: "*/5 * * * *"
        jobTemplate: {backoffLimit: 1, template: {controller: {}, metadata: {}, spec: {resources: {}}}}
      hooks:
        preBackup:
          - {name: pre, hookTemplate: {name: hook, namespace: demo}, params: {a: b}, maxRetry: 3, timeout: 30s}
        postBackup:
          - {name: post, executionPolicy: OnFailure, variables: [{name: A, value: b}],
             volumes: [{name: v, emptyDir: {}}], volumeMounts: [{name: v, mountPath: /v}]}
      repositories:
        - name: gcs-mysql-repo
          backend: gcs-backend
          directory: /mysql
          encryptionSecret: {name: encrypt-secret, namespace: demo}
          backupVerifier: {name: verifier}
          deletionPolicy: Retain
      addon:
        name: mysql-addon
        jobTemplate: {spec: {securityContext: {runAsUser: 0}}}
        containerRuntimeSettings: {resources: {limits: {memory: 256Mi}}}
        tasks:
          - name: logical-backup
            params: {databases: "a,b", args: --single-transaction}
            variables: [{name: TZ, value: UTC}]
            targetVolumes: {volumes: [{name: v, emptyDir: {}}], volumeMounts: [{name: v, mountPath: /v}]}
            addonVolumes: [{name: scratch, source: {emptyDir: {}}}]
status:
  phase: Ready
  targetFound: true
  backends:
    - {name: gcs-backend, ready: true, retentionPolicy: {found: true, ref: {name: r}}, storage: {phase: Ready, ref: {name: s}}}
  repositories: [{name: gcs-mysql-repo, phase: Ready, verificationConfigured: true}]
  dependencies: [{found: true, kind: Addon, name: mysql-addon}]
  sessions: [{name: frequent-backup, nextSchedule: "2024-08-19T10:00:00Z"}]
"#,
    );
    let session = &configuration.spec.sessions[0];
    assert_eq!(session.session_history_limit, 1);
    assert_eq!(session.retry_config.as_ref().unwrap().max_retry, 3);
}

#[test]
fn backup_session() {
    let session: BackupSession = round_trip(
        r#"
apiVersion: core.kubestash.com/v1alpha1
kind: BackupSession
metadata: {name: sample-mysql-backup-frequent-backup-1724065200, namespace: demo}
spec:
  invoker: {apiGroup: core.kubestash.com, kind: BackupConfiguration, name: sample-mysql-backup}
  session: frequent-backup
  retryLeft: 1
  backupTimeout: 30m
status:
  phase: Succeeded
  duration: 27s
  backupDeadline: "2024-08-19T10:30:00Z"
  totalSnapshots: 1
  snapshots: [{name: snap, phase: Succeeded, repository: repo, appRef: {name: sample-mysql}}]
  hooks: {preHooks: [{name: pre, phase: Succeeded}], postHooks: [{name: post, phase: Pending}]}
  retentionPolicy: [{phase: FailedToApply, repository: repo, error: x, ref: {name: keep}}]
  retried: true
  nextRetry: "2024-08-19T10:30:00Z"
"#,
    );
    assert_eq!(session.status.unwrap().phase, Some(BackupSessionPhase::Succeeded));
}

#[test]
fn restore_session() {
    let restore: RestoreSession = round_trip(
        r#"
apiVersion: core.kubestash.com/v1alpha1
kind: RestoreSession
metadata: {name: restore-sample-mysql, namespace: demo}
spec:
  target: {apiGroup: kubedb.com, kind: MySQL, namespace: demo, name: restored-mysql}
  dataSource:
    namespace: demo
    repository: gcs-mysql-repo
    snapshot: latest
    pitr: {targetTime: "2024-08-19T10:00:00Z", exclusive: true}
    components: [dump]
    encryptionSecret: {name: encrypt-secret, namespace: demo}
  addon:
    name: mysql-addon
    tasks: [{name: logical-backup-restore, params: {args: --one-database=testdb}}]
  hooks: {preRestore: [{name: pre}], postRestore: [{name: post}]}
  restoreTimeout: 1h
  manifestOptions: {mySQL: {db: true, restoreNamespace: dev}, redisSentinel: {SentinelName: x}}
status:
  phase: Succeeded
  targetFound: true
  duration: 3s
  totalComponents: 1
  components: {dump: {phase: Succeeded, duration: 2.3s, progress: {secondsElapsed: 2, restoreDone: 806 B}}}
  dependencies: [{found: true, kind: Snapshot, name: snap, namespace: demo}]
  pausedBackups: [{name: sample-mysql-backup}]
"#,
    );
    assert_eq!(restore.status.unwrap().phase, Some(RestorePhase::Succeeded));
}

#[test]
fn app_binding() {
    let binding: AppBinding = round_trip(
        r"
apiVersion: appcatalog.appscode.com/v1alpha1
kind: AppBinding
metadata: {name: sample-mysql, namespace: demo}
spec:
  appRef: {apiGroup: kubedb.com, kind: MySQL, name: sample-mysql, namespace: demo}
  clientConfig:
    service: {name: sample-mysql, path: /, port: 3306, scheme: tcp, query: a=b}
    url: tcp(sample-mysql.demo.svc:3306)/
    caBundle: cGVt
    serverName: db
    insecureSkipTLSVerify: false
  parameters: {apiVersion: config.kubedb.com/v1alpha1, kind: X, stash: {addon: {}}}
  secret: {name: sample-mysql-auth}
  secretTransforms:
    - renameKey: {from: user, to: username}
    - addKey: {key: password, stringValue: hunter2}
    - addKeysFrom: {secretRef: {name: more}}
    - removeKey: {key: x}
  tlsSecret: {name: client-tls}
  type: kubedb.com/mysql
  version: 8.4.3
",
    );
    assert_eq!(binding.spec.secret.as_ref().unwrap().kind, "Secret");
    assert_eq!(binding.spec.client_config.ca_bundle.as_ref().unwrap().0, b"pem");
    let debug = format!("{binding:?}");
    assert!(!debug.contains("hunter2"), "{debug}");
}

#[test]
fn unknown_fields_are_ignored() {
    let storage: BackupStorage = serde_json::from_value(json!({
        "apiVersion": "storage.kubestash.com/v1alpha1", "kind": "BackupStorage", "metadata": {"name": "s"},
        "spec": {"future": 1, "storage": {"provider": "s3", "s3": {"future": 1}}},
    }))
    .unwrap();
    assert_eq!(storage.spec.deletion_policy, DeletionPolicy::Delete);
}
