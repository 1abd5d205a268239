//! The whole pipe in one process: the real addon in the real sandbox, a real MySQL server, a repository in a folder.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use coffer_api::cancel::Cancel;
use coffer_api::plan::{
    BackupPlan, ComponentRef, Credentials, Destination, Endpoint, Permissions, RestorePlan, SecretData, SnapshotChoice,
    StorageBackendSpec, StorageConfig, Target, TaskPlan, Tls, TlsMode,
};
use coffer_executor::{Context, Event, Events, ExecutorError, backup, restore};
use coffer_repository::Repository;
use coffer_sandbox::Engine;
use coffer_storage::{LocalRoot, Storage};
use coffer_test_support::mysql::{MysqlOptions, MysqlServer, PASSWORD};
use coffer_test_support::{data, fingerprint};

/// Keeps what happened, for the messages of failed tests.
#[derive(Default)]
struct Recorder(Mutex<Vec<String>>);

impl Events for Recorder {
    fn event(&self, event: Event<'_>) {
        if !matches!(event, Event::Bytes { .. }) {
            self.0.lock().unwrap().push(format!("{event:?}"));
        }
    }
}

fn context(recorder: &Arc<Recorder>) -> Context {
    Context {
        engine: Engine::new(None).unwrap(),
        builtins: coffer_addons_builtin::builtin,
        local: LocalRoot::HostPath,
        events: Arc::clone(recorder) as Arc<dyn Events>,
        cancel: Cancel::new(),
    }
}

fn target(server: &MysqlServer) -> Target {
    Target {
        kind: "AppBinding".into(),
        name: "shop".into(),
        namespace: "demo".into(),
        version: None,
        endpoint: Endpoint { host: server.host().into(), port: server.port() },
        path: String::new(),
        query: Vec::new(),
        credentials: Credentials { username: Some("root".into()), password: Some(PASSWORD.into()) },
        tls: Tls { mode: TlsMode::Preferred, ..Tls::default() },
    }
}

fn task(name: &str, parameters: &[(&str, &str)]) -> TaskPlan {
    TaskPlan {
        addon: "mysql-addon".into(),
        function: "mysql-backup".into(),
        component: ComponentRef::Builtin("mysql".into()),
        permissions: Permissions { target: true, ..Permissions::default() },
        task: name.into(),
        parameters: parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        snapshot_component: "dump".into(),
    }
}

fn destination(folder: &Path, name: &str) -> Destination {
    let spec: StorageBackendSpec = serde_json::from_value(serde_json::json!({
        "provider": "local",
        "local": { "hostPath": { "path": folder.display().to_string() }, "mountPath": "/backups" },
    }))
    .unwrap();
    Destination {
        repository: name.into(),
        namespace: "demo".into(),
        storage: StorageConfig { name: "local".into(), namespace: "demo".into(), spec, secret: SecretData::default() },
        path: format!("{name}/repository/v1/frequent/dump"),
        password: "secret".into(),
    }
}

fn backup_plan(server: &MysqlServer, destinations: Vec<Destination>, parameters: &[(&str, &str)]) -> BackupPlan {
    BackupPlan {
        configuration: "shop-backup".into(),
        session: "frequent".into(),
        namespace: "demo".into(),
        target: target(server),
        task: task("logical-backup", parameters),
        destinations,
        tags: vec!["test".to_owned()],
        timeout: None,
    }
}

fn server() -> MysqlServer {
    let extra_args = vec!["--local-infile=ON".to_owned()];
    MysqlServer::start(MysqlOptions { extra_args, ..MysqlOptions::default() }).unwrap()
}

#[test]
fn a_database_survives_the_round_trip_through_two_repositories() {
    let server = server();
    data::sample(&server, "shop", 4).unwrap();
    let before = fingerprint::fingerprint(&server, "shop").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let destinations = vec![destination(folder.path(), "one"), destination(folder.path(), "two")];
    for format in ["parallel", "single"] {
        let recorder = Arc::new(Recorder::default());
        let plan = backup_plan(&server, destinations.clone(), &[("databases", "shop"), ("format", format)]);
        let report = backup(&plan, &context(&recorder)).unwrap_or_else(|error| panic!("{error}\n{:#?}", recorder.0));
        let ids: Vec<_> = report.outcomes.iter().map(|outcome| outcome.result.as_ref().unwrap().id.clone()).collect();
        assert_eq!(ids.len(), 2);
        for (source, id) in destinations.iter().zip(ids) {
            server.exec("DROP DATABASE shop").unwrap();
            let plan = RestorePlan {
                name: "restore-shop".into(),
                namespace: "demo".into(),
                target: target(&server),
                task: task("logical-backup-restore", &[]),
                source: source.clone(),
                snapshot: SnapshotChoice::Id(id.clone()),
                timeout: None,
            };
            let report =
                restore(&plan, &context(&recorder)).unwrap_or_else(|error| panic!("{error}\n{:#?}", recorder.0));
            assert_eq!(report.snapshot, id);
            assert!(report.verified && report.bytes > 1_000_000, "{report:?}");
            let after = fingerprint::fingerprint(&server, "shop").unwrap();
            assert_eq!(fingerprint::differences(&before, &after), Vec::<String>::new(), "{format}");
        }
    }
}

#[test]
fn a_repository_that_fails_does_not_take_the_other_down() {
    let server = server();
    data::sample(&server, "shop", 1).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let good = destination(folder.path(), "good");
    let mut bad = destination(folder.path(), "bad");
    bad.password = "other".into();
    let storage = Storage::open(&bad.storage, LocalRoot::HostPath).unwrap().subdirectory(&bad.path);
    Repository::init(&storage, &"secret".into(), &coffer_repository::InitOptions::default()).unwrap();

    let recorder = Arc::new(Recorder::default());
    let report = backup(&backup_plan(&server, vec![bad.clone(), good], &[]), &context(&recorder)).unwrap();
    let [bad_outcome, good_outcome] = report.outcomes.as_slice() else { panic!("{report:?}") };
    assert!(bad_outcome.result.as_ref().unwrap_err().to_string().contains("wrong password"));
    assert!(good_outcome.result.is_ok());

    let error = backup(&backup_plan(&server, vec![bad], &[]), &context(&recorder)).unwrap_err();
    assert!(error.to_string().contains("wrong password"), "{error}");
}

#[test]
fn mistakes_are_told_before_anything_is_touched() {
    let server = server();
    let folder = tempfile::tempdir().unwrap();
    let recorder = Arc::new(Recorder::default());
    let run = |change: &dyn Fn(&mut BackupPlan)| -> ExecutorError {
        let mut plan = backup_plan(&server, vec![destination(folder.path(), "one")], &[]);
        change(&mut plan);
        backup(&plan, &context(&recorder)).unwrap_err()
    };
    let cases: BTreeMap<&str, ExecutorError> = BTreeMap::from([
        ("no backup task", run(&|plan| plan.task.task = "physical-backup".into())),
        ("has no parameter", run(&|plan| drop(plan.task.parameters.insert("datbases".into(), "x".into())))),
        ("must be one of", run(&|plan| drop(plan.task.parameters.insert("format".into(), "zip".into())))),
        ("no built-in component", run(&|plan| plan.task.component = ComponentRef::Builtin("oracle".into()))),
        ("target: true", run(&|plan| plan.task.permissions.target = false)),
        ("one and the same place", run(&|plan| plan.destinations.push(plan.destinations.first().cloned().unwrap()))),
    ]);
    for (expected, error) in cases {
        assert!(error.to_string().contains(expected), "{expected:?} is not in {error}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was written");
}
