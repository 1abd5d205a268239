//! From manifests to backup plans.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

mod common;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use coffer_api::plan::ComponentRef;
use coffer_resolve::{BackupSelection, Catalog, ErrorKind};
use common::{DEMO, SNAPSHOT, assert_message, backup, catalog, demo, directory};
use secrecy::ExposeSecret;

#[test]
fn a_plan_has_everything() {
    let plan = backup(DEMO).unwrap();
    assert_eq!((plan.namespace.as_str(), plan.configuration.as_str()), ("demo", "sample-mysql-backup"));
    assert_eq!((plan.session.as_str(), plan.timeout), ("frequent-backup", Some(Duration::from_mins(30))));

    let target = &plan.target;
    assert_eq!((target.kind.as_str(), target.version.as_deref()), ("MySQL", Some("8.4.3")));
    assert_eq!(target.endpoint.to_string(), "sample-mysql.demo.svc:3306");
    assert_eq!(target.path, "");
    assert_eq!(target.credentials.username.as_deref(), Some("root"));
    assert_eq!(target.credentials.password.as_ref().unwrap().expose_secret(), "database-hunter2");

    let task = &plan.task;
    assert_eq!(task.component, ComponentRef::Builtin("mysql".into()));
    assert!(task.permissions.target);
    assert_eq!((task.permissions.memory, task.permissions.cpu_deadline), (256 << 20, Duration::from_secs(30)));
    assert_eq!(task.snapshot_component, "dump");
    let expected = [
        ("args", "--set-gtid-purged=OFF"),
        ("databases", "a,b"),
        ("format", "parallel"),
        ("quick", "true"),
        ("workers", "2"),
    ];
    assert_eq!(task.parameters, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());

    let [s3, local] = plan.destinations.as_slice() else { panic!("two destinations") };
    assert_eq!((s3.repository.as_str(), s3.namespace.as_str()), ("s3-repo", "demo"));
    assert_eq!(s3.path, "mysql/repository/v1/frequent-backup/dump");
    assert_eq!(local.path, "mysql/repository/v1/frequent-backup/dump");
    assert_eq!(s3.password.expose_secret(), "repository-hunter2");
    assert_eq!(s3.storage.secret.text("AWS_SECRET_ACCESS_KEY"), Some("storage-hunter2"));
    assert_eq!((s3.storage.name.as_str(), s3.storage.namespace.as_str()), ("s3-storage", "stores"));
    assert!(local.storage.secret.is_empty());
}

#[test]
fn objects_without_namespace_are_in_the_default_one() {
    let text = DEMO.replace(", namespace: demo", "").replace(", namespace: stores", "");
    let plan = backup(&text).unwrap();
    assert_eq!(plan.namespace, "default");
    assert_eq!(plan.target.endpoint.host, "sample-mysql.default.svc");
}

#[test]
fn one_session_must_be_left() {
    let second = DEMO.replace("sessions:\n", "sessions:\n    - {name: other}\n");
    let select = |configuration: Option<&str>, session: Option<&str>, namespace: Option<&str>| {
        let own = |text: Option<&str>| text.map(str::to_owned);
        let selection =
            BackupSelection { namespace: own(namespace), configuration: own(configuration), session: own(session) };
        coffer_resolve::backup(&directory(&second), &catalog(), &selection)
    };
    assert_message(
        select(None, None, None),
        &["several backups match", "demo/sample-mysql-backup/frequent-backup, demo/sample-mysql-backup/other"],
    );
    assert_eq!(select(None, Some("frequent-backup"), Some("demo")).unwrap().session, "frequent-backup");
    assert_message(
        select(Some("absent"), None, None),
        &["no backup found for BackupConfiguration absent", "demo/sample-mysql-backup/other"],
    );
    assert_message(select(None, None, Some("elsewhere")), &["namespace elsewhere", "are: none"]);
    assert_message(select(None, Some("other"), None), &["session other", "names no addon", "set addon.name"]);
}

#[test]
fn bad_input_is_named() {
    for (from, to, expected) in [
        // Secrets
        (
            "{RESTIC_PASSWORD: repository-hunter2}",
            "{PASSWORD: repository-hunter2}",
            &[
                "Secret encrypt-secret in namespace demo has no usable key RESTIC_PASSWORD",
                "the keys are: PASSWORD",
                "kubectl create secret generic encrypt-secret -n demo --from-literal=RESTIC_PASSWORD=",
            ][..],
        ),
        ("{RESTIC_PASSWORD: repository-hunter2}", "{RESTIC_PASSWORD: ''}", &["its value is empty"]),
        (
            "name: encrypt-secret, namespace: demo}\nstringData",
            "name: x}\nstringData",
            &["Secret encrypt-secret in namespace demo not found"],
        ),
        (
            "{password: database-hunter2}",
            "{pass: database-hunter2}",
            &["Secret sample-mysql-auth", "key password", "AppBinding demo/sample-mysql"],
        ),
        ("AWS_ACCESS_KEY_ID: key, ", "", &["Secret s3-secret in namespace stores has no usable key AWS_ACCESS_KEY_ID"]),
        (
            "encryptionSecret: {name: encrypt-secret}",
            "deletionPolicy: Delete",
            &["has no encryptionSecret", "RESTIC_PASSWORD"],
        ),
        // storages
        (
            "name: s3-storage, namespace: stores}\nspec",
            "name: other, namespace: stores}\nspec",
            &["BackupStorage stores/s3-storage not found", "demo/local-storage, stores/other"],
        ),
        (
            "from: All",
            "from: Same",
            &[
                "namespace \"demo\" is not allowed to refer BackupStorage s3-storage/stores. Please, check the `usagePolicy` of the BackupStorage",
            ],
        ),
        ("from: All", "from: Selector, selector: {matchLabels: {a: b}}", &["Namespace demo is not in the manifests"]),
        ("provider: s3,", "provider: swift,", &["BackupStorage stores/s3-storage", "\"swift\" is not known"]),
        (
            "backend: s3-backend",
            "backend: absent",
            &["backend absent of repository s3-repo not found", "local-backend, s3-backend"],
        ),
        ("backend: s3-backend, ", "", &["names no backend", "local-backend, s3-backend"]),
        ("name: keep, namespace: demo}}", "name: keep, namespace: stores}}", &[]),
        // repositories
        ("name: local-repo", "name: s3-repo", &["duplicate repository name found: s3-repo"]),
        (
            "backend: local-backend, directory: mysql/",
            "backend: s3-backend, directory: mysql/",
            &["directory mysql/ of one BackupStorage"],
        ),
        ("directory: /mysql, ", "", &["no directory"]),
        // addons
        ("name: mysql-addon\n", "name: absent\n", &["Addon absent not found", "there are: mysql-addon"]),
        ("{name: logical-backup, params", "{name: logical, params", &["unknown task logical", "are: logical-backup"]),
        ("quick: true", "quick: {a: b}", &["parameter quick", "neither a text"]),
        (
            "- {name: logical-backup, params",
            "- {name: x}\n          - {name: logical-backup, params",
            &["several tasks", "logical-backup, x"],
        ),
        // targets
        (
            "kind: MySQL, name: sample-mysql}",
            "kind: MySQL, name: absent}",
            &["AppBinding demo/absent not found", "AppBindings of this namespace: sample-mysql"],
        ),
        (
            "apiGroup: kubedb.com, kind: MySQL",
            "apiGroup: apps, kind: Deployment",
            &["cannot back up or restore: Deployment"],
        ),
        ("target: {apiGroup: kubedb.com, kind: MySQL, name: sample-mysql}\n  b", "b", &["has no target"]),
        (
            "backupTimeout: 30m",
            "backupTimeout: '30'",
            &["backupTimeout of session frequent-backup", "a unit is missing"],
        ),
    ] {
        if expected.is_empty() {
            backup(&demo(from, to)).unwrap();
        } else {
            assert_message(backup(&demo(from, to)), expected);
        }
    }
}

#[test]
fn a_retention_policy_of_another_namespace_must_allow_it() {
    let text = demo("name: keep, namespace: demo}\nspec", "name: keep, namespace: other}\nspec")
        .replace("retentionPolicy: {name: keep, namespace: demo}", "retentionPolicy: {name: keep, namespace: other}");
    assert_message(backup(&text), &["not allowed to refer RetentionPolicy keep/other"]);
}

#[test]
fn a_selector_looks_at_the_labels_of_the_namespace() {
    let text = demo("from: All", "from: Selector, selector: {matchLabels: {team: db}}");
    let with = |labels: &str| {
        format!("{text}\n---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: demo, labels: {labels}}}\n")
    };
    backup(&with("{team: db}")).unwrap();
    assert_message(backup(&with("{team: web}")), &["is not allowed to refer BackupStorage"]);
    let by_name = text.replace("{team: db}", "{kubernetes.io/metadata.name: demo}");
    backup(&format!("{by_name}\n---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: demo}}\n")).unwrap();
}

#[test]
fn default_storages_are_found_in_kubestashs_order() {
    let start = DEMO.find("  backends:").unwrap();
    let end = DEMO.find("  sessions:").unwrap();
    let base = format!("{}{}", &DEMO[..start], &DEMO[end..]);
    let base = base
        .replace("backend: s3-backend, ", "")
        .replace("backend: local-backend, directory: mysql/", "directory: second");
    assert_message(backup(&base), &["no default BackupStorage", "spec.default: true"]);

    let all = base.replace(
        "usagePolicy: {allowedNamespaces: {from: All}}",
        "usagePolicy: {allowedNamespaces: {from: All}}\n  default: true",
    );
    assert_eq!(backup(&all).unwrap().destinations[0].storage.name, "s3-storage");

    let same = all.replace("spec: {storage: {provider: local", "spec: {default: true, storage: {provider: local");
    assert_eq!(backup(&same).unwrap().destinations[0].storage.name, "local-storage");

    // A default of the same namespace for all has no precedence over a selector elsewhere.
    let selector = all.replace("from: All", "from: Selector, selector: {matchLabels: {a: b}}").replace(
        "spec: {storage: {provider: local",
        "spec: {default: true, usagePolicy: {allowedNamespaces: {from: All}}, storage: {provider: local",
    );
    let namespace = "\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: demo, labels: {a: b}}\n";
    assert_eq!(backup(&(selector.clone() + namespace)).unwrap().destinations[0].storage.name, "s3-storage");
    assert_eq!(backup(&selector).unwrap().destinations[0].storage.name, "local-storage");
}

#[test]
fn the_users_own_addon_and_function_win() {
    let own = r#"
---
apiVersion: addons.kubestash.com/v1alpha1
kind: Addon
metadata: {name: mysql-addon}
spec:
  backupTasks:
    - name: logical-backup
      function: own
      parameters: [{name: databases, default: x}, {name: extra, default: "1"}, {name: tz}]
---
apiVersion: addons.kubestash.com/v1alpha1
kind: Function
metadata: {name: own}
spec: {component: {ref: "file:///addons/own.wasm"}}
"#;
    let text = DEMO
        .replace("quick: true}", "quick: null}, variables: [{name: tz, value: UTC}, {name: OTHER, value: x}]")
        + own;
    let task = backup(&text).unwrap().task;
    assert_eq!(task.component, ComponentRef::File(PathBuf::from("/addons/own.wasm")));
    assert!(!task.permissions.target);
    assert_eq!((task.permissions.memory, task.permissions.cpu_deadline), (128 << 20, Duration::from_mins(1)));
    let expected = BTreeMap::from(
        [("databases", "a,b"), ("extra", "1"), ("tz", "UTC"), ("workers", "2")]
            .map(|(a, b)| (a.to_owned(), b.to_owned())),
    );
    assert_eq!(task.parameters, expected);

    let required = text.replace("{name: tz}]", "{name: tz}, {name: must, usage: The thing, required: true}]");
    assert_message(
        backup(&required),
        &["parameter must of session", "The thing", "under params of task logical-backup"],
    );
    for (from, to, expected) in [
        (r#"ref: "file:///addons/own.wasm""#, r#"ref: "oci://x/y@sha256:0""#, "not supported yet"),
        (r#"ref: "file:///addons/own.wasm""#, "ref: mysql", "unknown form"),
        (r#"own.wasm"}"#, r#"own.wasm", permissions: {memory: 1GB}}"#, "permissions.memory: \"1GB\""),
        (r#"own.wasm"}"#, r#"own.wasm", permissions: {cpuDeadline: 1d}}"#, "permissions.cpuDeadline: \"1d\""),
        (r#"own.wasm"}"#, r#"own.wasm", permissions: {cpuDeadline: 0s}}"#, "more than zero"),
        (r#"{component: {ref: "file:///addons/own.wasm"}}"#, "{image: x}", "container images do not run here"),
        ("function: own", "function: absent", "Function absent not found"),
    ] {
        assert!(text.contains(from), "{from}");
        assert_message(backup(&text.replace(from, to)), &[expected]);
    }
}

#[test]
fn a_function_of_kubestash_runs_the_catalogs_component() {
    let own = "
---
apiVersion: addons.kubestash.com/v1alpha1
kind: Function
metadata: {name: mysql-backup}
spec: {image: 'ghcr.io/kubedb/mysql-restic-plugin:v1_${DB_VERSION}'}
";
    let text = DEMO.to_owned() + own;
    assert_eq!(backup(&text).unwrap().task.component, ComponentRef::Builtin("mysql".into()));
    let error = coffer_resolve::backup(&directory(&text), &Catalog::default(), &BackupSelection::default());
    assert_eq!(error.as_ref().unwrap_err().kind(), ErrorKind::Missing);
    assert_message(error, &["Addon mysql-addon not found", "there are: none"]);
}

#[test]
fn an_existing_repository_must_be_the_same() {
    let repository = |storage: &str, target: &str| {
        format!(
            "{DEMO}{SNAPSHOT}\n---\napiVersion: storage.kubestash.com/v1alpha1\nkind: Repository\n\
             metadata: {{name: s3-repo, namespace: demo}}\n\
             spec: {{path: /mysql, storageRef: {{name: {storage}, namespace: stores}}, appRef: {{kind: MySQL, name: {target}}}}}\n"
        )
    };
    backup(&repository("s3-storage", "sample-mysql")).unwrap();
    assert_message(backup(&repository("other", "sample-mysql")), &["different storage reference"]);
    assert_message(backup(&repository("s3-storage", "other")), &["different target reference"]);
}
