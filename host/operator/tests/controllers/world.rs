//! A cluster with the operator in it, and somebody who plays the Jobs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use coffer_operator::{Clock, Limits, Options, RunError, Timing};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::fake::Fake;

pub const STORAGES: &str = "apis/storage.kubestash.com/v1alpha1/backupstorages";
pub const POLICIES: &str = "apis/storage.kubestash.com/v1alpha1/retentionpolicies";
pub const REPOSITORIES: &str = "apis/storage.kubestash.com/v1alpha1/repositories";
pub const SNAPSHOTS: &str = "apis/storage.kubestash.com/v1alpha1/snapshots";
pub const CONFIGURATIONS: &str = "apis/core.kubestash.com/v1alpha1/backupconfigurations";
pub const SESSIONS: &str = "apis/core.kubestash.com/v1alpha1/backupsessions";
pub const RESTORES: &str = "apis/core.kubestash.com/v1alpha1/restoresessions";
pub const ADDONS: &str = "apis/addons.kubestash.com/v1alpha1/addons";
pub const FUNCTIONS: &str = "apis/addons.kubestash.com/v1alpha1/functions";
pub const APPS: &str = "apis/appcatalog.appscode.com/v1alpha1/appbindings";
pub const JOBS: &str = "apis/batch/v1/jobs";
pub const CRON_JOBS: &str = "apis/batch/v1/cronjobs";
pub const PODS: &str = "api/v1/pods";
pub const NAMESPACES: &str = "api/v1/namespaces";
pub const ACCOUNTS: &str = "api/v1/serviceaccounts";
pub const BINDINGS: &str = "apis/rbac.authorization.k8s.io/v1/rolebindings";
pub const EVENTS: &str = "apis/events.k8s.io/v1/events";

/// How a Job goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Play {
    /// It writes its facts and ends well.
    Succeed,
    /// It ends badly, without facts.
    Fail,
    /// It ends well, without facts.
    Silent,
    /// It never ends.
    Hang,
    /// Its pod is evicted.
    Evict,
    /// Its pod never starts.
    Pend,
    /// Its pod's facts say that these repositories failed.
    Partly(&'static str),
}

#[derive(Clone)]
pub struct World {
    pub fake: Fake,
    clock: Arc<AtomicI64>,
    plays: Arc<Mutex<BTreeMap<&'static str, Play>>>,
    player: Arc<JoinHandle<()>>,
}

/// A running operator.
pub struct Operator {
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<(), RunError>>,
}

impl Operator {
    /// Asks it to end, and waits until it has.
    pub async fn stop(mut self) -> Result<(), RunError> {
        let _ = self.stop.take().unwrap().send(());
        (&mut self.task).await.unwrap()
    }

    /// Waits until it ends by itself.
    pub async fn end(mut self) -> Result<(), RunError> {
        (&mut self.task).await.unwrap()
    }

    /// Kills it at whatever it does.
    pub fn kill(self) {
        self.task.abort();
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl World {
    pub fn new() -> Self {
        let clock = Arc::new(AtomicI64::new(0));
        let fake = Fake::new(now(&clock));
        let plays = Arc::new(Mutex::new(BTreeMap::new()));
        let player = tokio::spawn(play(fake.clone(), Arc::clone(&plays)));
        let world = Self { fake, clock, plays, player: Arc::new(player) };
        for name in ["demo", "storage", "other"] {
            world.fake.create(NAMESPACES, json!({"metadata": {"name": name, "labels": {"name": name}}}));
        }
        world
    }

    /// One operator, as the only one.
    pub fn operator(&self) -> Operator {
        self.operator_with("operator-0", None)
    }

    pub fn operator_with(&self, identity: &str, lease: Option<Timing>) -> Operator {
        let options = Options {
            image: "coffer:test".to_owned(),
            image_pull_policy: None,
            image_pull_secrets: Vec::new(),
            environment: Vec::new(),
            namespace: "coffer".to_owned(),
            identity: identity.to_owned(),
            lease,
            listen: None,
            limits: Limits { resync: Duration::from_millis(200), ..Limits::default() },
            clock: Clock::new(now(&self.clock)),
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let client = self.fake.client();
        let task = tokio::spawn(coffer_operator::run(client, options, async move {
            // A sender that is gone without a word never stops it.
            if stopped.await.is_err() {
                std::future::pending::<()>().await;
            }
        }));
        Operator { stop: Some(stop), task }
    }

    /// How Jobs of a verb go from now on.
    pub fn plays(&self, verb: &'static str, play: Play) {
        self.plays.lock().unwrap().insert(verb, play);
    }

    pub fn advance(&self, seconds: i64) {
        self.clock.fetch_add(seconds, Ordering::AcqRel);
    }

    /// Waits until something is so.
    pub async fn until(&self, what: &str, mut so: impl FnMut(&Fake) -> bool) {
        let mut changes = self.fake.changes();
        let begin = Instant::now();
        while !so(&self.fake) {
            if begin.elapsed() > Duration::from_mins(1) {
                let mut text = String::new();
                for resource in [STORAGES, REPOSITORIES, CONFIGURATIONS, SESSIONS, SNAPSHOTS, RESTORES, JOBS] {
                    for object in self.fake.all(resource) {
                        let _ = writeln!(text, "{resource} {} {}", object["metadata"], object["status"]);
                    }
                }
                panic!("not within a minute: {what}\n{text}");
            }
            let _ = tokio::time::timeout(Duration::from_millis(100), changes.changed()).await;
        }
    }

    /// Waits for the phase of an object.
    pub async fn phase(&self, resource: &str, name: &str, phase: &str) {
        self.until(&format!("{resource} {name} is {phase}"), |fake| {
            fake.get(resource, "demo", name).is_some_and(|object| object["status"]["phase"] == phase)
        })
        .await;
    }

    /// Waits until nothing has changed for a while.
    pub async fn settled(&self) {
        self.quiet(Duration::from_millis(600)).await;
    }

    /// The same, with what the operator joins over two seconds: storages list their repositories.
    pub async fn at_rest(&self) {
        self.until("all repositories are listed", |fake| {
            let storages = fake.all(STORAGES);
            let listed = storages.iter().filter_map(|storage| storage["status"]["repositories"].as_array()).flatten();
            listed.filter(|one| one["size"].is_string()).count() == fake.all(REPOSITORIES).len()
        })
        .await;
        self.quiet(Duration::from_millis(2600)).await;
    }

    async fn quiet(&self, time: Duration) {
        let mut changes = self.fake.changes();
        while tokio::time::timeout(time, changes.changed()).await.is_ok() {}
    }

    /// What a usual cluster has: catalog, target, storage and retention policy.
    pub fn base(&self) {
        self.fake.create(FUNCTIONS, json!({"metadata": {"name": "mysql-backup"}, "spec": {}}));
        self.fake.create(FUNCTIONS, json!({"metadata": {"name": "mysql-restore"}, "spec": {}}));
        self.fake.create(
            ADDONS,
            json!({"metadata": {"name": "mysql-addon"}, "spec": {
                "backupTasks": [{"name": "logical-backup", "function": "mysql-backup"}],
                "restoreTasks": [{"name": "logical-backup-restore", "function": "mysql-restore"}],
            }}),
        );
        self.fake.create(
            APPS,
            json!({"metadata": {"name": "sample-mysql", "namespace": "demo"}, "spec": {"clientConfig": {}}}),
        );
        self.fake.create(
            POLICIES,
            json!({"metadata": {"name": "keep", "namespace": "demo"}, "spec": {"successfulSnapshots": {"last": 5}}}),
        );
        self.storage("demo", "s3", json!({}));
    }

    pub fn storage(&self, namespace: &str, name: &str, changes: Value) {
        let mut spec = json!({
            "storage": {"provider": "s3", "s3": {"bucket": name, "secretName": "keys"}},
            "usagePolicy": {"allowedNamespaces": {"from": "All"}}, "deletionPolicy": "Delete",
        });
        overlay(&mut spec, changes);
        self.fake.create(STORAGES, json!({"metadata": {"name": name, "namespace": namespace}, "spec": spec}));
    }

    /// A BackupConfiguration `sample` with one session `daily`; `session` changes that.
    pub fn configuration(&self, session: Value) {
        self.fake.create(CONFIGURATIONS, configuration("sample", session));
    }

    /// A Job that is not the operator's, of a name that it needs.
    pub fn foreign_job(&self, name: &str) {
        self.plays("foreign", Play::Silent);
        let container = json!({"name": "c", "args": ["run", "foreign", "--name", name]});
        self.fake.create(
            JOBS,
            json!({"metadata": {"name": name, "namespace": "demo"}, "spec": {"template": {"spec": {"containers": [container]}}}}),
        );
    }

    /// Changes nothing that matters, so that an object is looked at.
    pub fn touch(&self, resource: &str, name: &str) {
        self.fake.edit(resource, "demo", name, |one| one["metadata"]["labels"]["touched"] = json!("yes"));
    }

    /// Waits until the pod of a Job runs.
    pub async fn runs(&self, job: &str) {
        self.until(&format!("Job {job} runs"), |fake| {
            fake.get(PODS, "demo", &format!("{job}-x")).is_some_and(|pod| pod["status"]["phase"] == "Running")
        })
        .await;
    }

    /// From now on the pod of a Job stays when it is deleted, as in its grace period.
    pub fn hold(&self, job: &str) {
        let held = self.fake.edit(PODS, "demo", &format!("{job}-x"), |pod| {
            pod["metadata"]["finalizers"] = json!(["test/grace"]);
        });
        assert!(held, "Job {job} has no pod");
    }

    /// The end of that.
    pub fn let_go(&self, job: &str) {
        let held = self.fake.edit(PODS, "demo", &format!("{job}-x"), |pod| pod["metadata"]["finalizers"] = json!([]));
        assert!(held, "the pod of Job {job} is gone already");
    }

    /// The BackupSessions of now, by name.
    pub fn sessions(&self) -> Vec<String> {
        names(&self.fake.all(SESSIONS))
    }

    /// The BackupSession that the operator creates at first.
    pub async fn first(&self) -> String {
        self.until("there is a first session", |fake| !fake.all(SESSIONS).is_empty()).await;
        self.sessions().remove(0)
    }

    /// A BackupSession as a trigger creates it.
    pub fn trigger(&self, name: &str, retry_left: i32) {
        self.fake.create(
            SESSIONS,
            json!({
                "metadata": {"name": name, "namespace": "demo"},
                "spec": {"invoker": {"apiGroup": "core.kubestash.com", "kind": "BackupConfiguration", "name": "sample"},
                         "session": "daily", "retryLeft": retry_left},
            }),
        );
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if Arc::strong_count(&self.player) == 1 {
            self.player.abort();
        }
    }
}

pub fn configuration(name: &str, session: Value) -> Value {
    let mut one = json!({
        "name": "daily", "sessionHistoryLimit": 1,
        "scheduler": {"schedule": "0 3 * * *", "jobTemplate": {"backoffLimit": 1}},
        "repositories": [{"name": format!("{name}-repo"), "backend": "s3", "directory": format!("/{name}"), "encryptionSecret": {"name": "encrypt"}}],
        "addon": {"name": "mysql-addon", "tasks": [{"name": "logical-backup"}]},
    });
    overlay(&mut one, session);
    json!({"metadata": {"name": name, "namespace": "demo"}, "spec": {
        "target": {"apiGroup": "kubedb.com", "kind": "MySQL", "name": "sample-mysql"},
        "backends": [{"name": "s3", "storageRef": {"name": "s3"}, "retentionPolicy": {"name": "keep"}}],
        "sessions": [one],
    }})
}

pub fn overlay(value: &mut Value, changes: Value) {
    value.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
}

pub fn names(objects: &[Value]) -> Vec<String> {
    objects.iter().map(|object| object["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

/// The condition of a type.
pub fn condition(object: &Value, type_: &str) -> Value {
    let all = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    all.into_iter().find(|one| one["type"] == type_).unwrap_or_default()
}

fn now(clock: &Arc<AtomicI64>) -> impl Fn() -> Timestamp + Send + Sync + 'static {
    let (clock, begin) = (Arc::clone(clock), Instant::now());
    let base: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    move || {
        let passed = i64::try_from(begin.elapsed().as_secs()).unwrap() + clock.load(Ordering::Acquire);
        base.checked_add(SignedDuration::from_secs(passed)).unwrap()
    }
}

/// Plays every Job once, as its verb is to go.
async fn play(fake: Fake, plays: Arc<Mutex<BTreeMap<&'static str, Play>>>) {
    let mut played = BTreeSet::new();
    let mut changes = fake.changes();
    loop {
        changes.borrow_and_update();
        for job in fake.all(JOBS) {
            if played.insert(job["metadata"]["uid"].to_string()) {
                let args: Vec<String> =
                    serde_json::from_value(job["spec"]["template"]["spec"]["containers"][0]["args"].clone()).unwrap();
                let play = plays.lock().unwrap().get(args[1].as_str()).cloned().unwrap_or(Play::Succeed);
                play_one(&fake, &job, &args, &play);
            }
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

fn play_one(fake: &Fake, job: &Value, args: &[String], play: &Play) {
    let (namespace, name) = (job["metadata"]["namespace"].as_str().unwrap(), job["metadata"]["name"].as_str().unwrap());
    let value = |flag: &str| args.iter().position(|arg| arg == flag).map(|index| args[index + 1].as_str());
    let object = value("--name").or_else(|| value("--session")).unwrap();
    match play {
        Play::Succeed | Play::Partly(_) => {
            let bad = if let Play::Partly(bad) = play { Some(*bad) } else { None };
            facts(fake, namespace, args[1].as_str(), value("--kind"), object, bad);
            finish(fake, namespace, name, if bad.is_some() { "Failed" } else { "Complete" });
        }
        Play::Silent => finish(fake, namespace, name, "Complete"),
        Play::Fail => finish(fake, namespace, name, "Failed"),
        Play::Hang => pod(fake, job, json!({"phase": "Running"})),
        Play::Pend => pod(
            fake,
            job,
            json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes are available"}]}),
        ),
        Play::Evict => pod(
            fake,
            job,
            json!({"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."}),
        ),
    }
}

/// A Job ends, and its pod with it.
pub fn finish(fake: &Fake, namespace: &str, job: &str, how: &str) {
    fake.edit(PODS, namespace, &format!("{job}-x"), |pod| {
        pod["status"] = json!({"phase": if how == "Complete" { "Succeeded" } else { "Failed" }});
    });
    fake.edit(JOBS, namespace, job, |job| {
        job["status"]["conditions"] =
            json!([{"type": how, "status": "True", "reason": "BackoffLimitExceeded", "message": "it failed"}]);
    });
}

fn pod(fake: &Fake, job: &Value, status: Value) {
    let mut metadata = job["spec"]["template"]["metadata"].clone();
    let name = format!("{}-x", job["metadata"]["name"].as_str().unwrap());
    overlay(
        &mut metadata,
        json!({
            "name": name, "namespace": job["metadata"]["namespace"],
            "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": job["metadata"]["name"], "uid": job["metadata"]["uid"]}],
        }),
    );
    let namespace = job["metadata"]["namespace"].as_str().unwrap();
    fake.create(PODS, json!({"metadata": metadata, "spec": job["spec"]["template"]["spec"]}));
    fake.edit(PODS, namespace, &name, |pod| pod["status"] = status);
}

fn set(object: &mut Value, type_: &str, status: &str) {
    let mut all = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    all.retain(|one| one["type"] != type_);
    all.push(json!({"type": type_, "status": status, "reason": "Job", "message": "by the Job", "lastTransitionTime": "2026-01-01T00:00:00Z"}));
    object["status"]["conditions"] = Value::Array(all);
}

/// What a Job writes when it has done its work.
pub fn facts(fake: &Fake, namespace: &str, verb: &str, kind: Option<&str>, name: &str, bad: Option<&str>) {
    match verb {
        "initialize-storage" => {
            fake.edit(STORAGES, namespace, name, |one| {
                set(one, "BackendInitialized", "True");
                set(one, "BackendSecretFound", "True");
            });
        }
        "initialize-repository" => {
            fake.edit(REPOSITORIES, namespace, name, |one| set(one, "RepositoryInitialized", "True"));
        }
        "backup" => {
            for snapshot in fake.all(SNAPSHOTS) {
                if snapshot["spec"]["backupSession"] != name {
                    continue;
                }
                let failed = bad.is_some_and(|bad| snapshot["spec"]["repository"] == bad);
                fake.edit(SNAPSHOTS, namespace, snapshot["metadata"]["name"].as_str().unwrap(), |one| {
                    one["status"]["components"]["dump"] = if failed {
                        json!({"phase": "Failed", "error": "the bucket is gone"})
                    } else {
                        json!({"phase": "Succeeded", "size": "2.000 MiB", "duration": "3s", "integrity": true, "driver": "Restic",
                               "path": "repository/v1/daily/dump", "resticStats": [{"summary": {"id": "abcd", "size": "5.000 MiB"}}]})
                    };
                    set(one, "SnapshotMetadataUploaded", "True");
                    set(one, "RecentSnapshotListUpdated", "True");
                });
            }
        }
        "restore" => {
            fake.edit(RESTORES, namespace, name, |one| {
                one["status"]["components"]["dump"] = json!({"phase": "Succeeded", "duration": "3s"});
            });
        }
        "retention" => {
            fake.edit(SESSIONS, namespace, name, |one| {
                for applied in one["status"]["retentionPolicy"].as_array_mut().unwrap() {
                    applied["phase"] = json!("Applied");
                }
            });
        }
        "cleanup" => {
            let resource = match kind.unwrap() {
                "BackupStorage" => STORAGES,
                "Repository" => REPOSITORIES,
                _ => SNAPSHOTS,
            };
            fake.edit(resource, namespace, name, |one| {
                let annotations = &mut one["metadata"]["annotations"];
                if annotations.is_null() {
                    *annotations = json!({});
                }
                annotations["coffer.dev/wiped"] = json!("true");
            });
        }
        other => panic!("no such verb: {other}"),
    }
}
