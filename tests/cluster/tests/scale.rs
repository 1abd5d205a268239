//! Many BackupConfigurations: ready soon, in little memory, quiet afterwards, and quick to hear of a change.
//!
//! `COFFER_SCALE=2000` makes it as many as the operator has to bear; the usual run makes fewer, and holds it to the same limits.

use std::env;
use std::time::{Duration, Instant};

use coffer_test_cluster::gateway::Counts;
use coffer_test_cluster::manifests;
use coffer_test_cluster::record::Record;
use coffer_test_cluster::wait::within;
use kube::api::{DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};

use crate::aftermath::tidy;
use crate::world::{DEMO, World, version_of};

/// How many in a usual run.
const USUAL: usize = 100;
/// The most memory that the operator may ever have, in MiB.
const MEMORY: u64 = 150;
/// The most requests that a configuration may cost until it and its Repository are ready.
const REQUESTS: u64 = 60;
/// The time in which a change has to show.
const REACTION: Duration = Duration::from_secs(1);
/// Nothing is asked for so long: it is quiet.
const QUIET: Duration = Duration::from_secs(5);

fn how_many() -> usize {
    let Ok(text) = env::var("COFFER_SCALE") else { return USUAL };
    text.parse().unwrap_or_else(|_| panic!("COFFER_SCALE is {text:?} and has to be a number"))
}

/// What all configurations share. Nobody connects to the database: they are paused.
const SHARED: &str = "
apiVersion: v1
kind: Secret
metadata: { name: encrypt-secret, namespace: demo }
stringData: { RESTIC_PASSWORD: correct-horse }
---
apiVersion: v1
kind: Secret
metadata: { name: shop-auth, namespace: demo }
stringData: { username: root, password: none }
---
apiVersion: appcatalog.appscode.com/v1alpha1
kind: AppBinding
metadata: { name: shop, namespace: demo }
spec:
  type: mysql
  clientConfig: { url: 'mysql://127.0.0.1:1/' }
  secret: { name: shop-auth }
---
apiVersion: storage.kubestash.com/v1alpha1
kind: BackupStorage
metadata: { name: many, namespace: demo }
spec:
  storage:
    provider: local
    local: { mountPath: /backups, persistentVolumeClaim: { claimName: backups } }
---
apiVersion: storage.kubestash.com/v1alpha1
kind: RetentionPolicy
metadata: { name: keep-some, namespace: demo }
spec: { successfulSnapshots: { last: 5 } }
";

fn name(number: usize) -> String {
    format!("many-{number:04}")
}

fn configuration(number: usize) -> Value {
    json!({
        "apiVersion": version_of("BackupConfiguration"), "kind": "BackupConfiguration",
        "metadata": { "name": name(number), "namespace": DEMO },
        "spec": {
            "paused": true,
            "target": { "apiGroup": "appcatalog.appscode.com", "kind": "AppBinding", "name": "shop", "namespace": DEMO },
            "backends": [{
                "name": "local", "storageRef": { "name": "many", "namespace": DEMO },
                "retentionPolicy": { "name": "keep-some", "namespace": DEMO },
            }],
            "sessions": [{
                "name": "nightly",
                "scheduler": { "schedule": "0 3 * * *", "jobTemplate": { "backoffLimit": 1 } },
                "repositories": [{
                    "name": format!("repository-{number:04}"), "backend": "local", "directory": format!("/many/{number:04}"),
                    "encryptionSecret": { "name": "encrypt-secret", "namespace": DEMO },
                }],
                "addon": { "name": "mysql-addon", "tasks": [{ "name": "logical-backup" }] },
            }],
        },
    })
}

fn is_ready(object: &DynamicObject) -> bool {
    object.data.pointer("/status/phase").and_then(Value::as_str) == Some("Ready")
}

async fn create(world: &World, count: usize) {
    let api = manifests::api(&world.client(), version_of("BackupConfiguration"), "BackupConfiguration", DEMO).await;
    let objects = (0..count).map(|number| serde_json::from_value(configuration(number)).unwrap());
    manifests::create_all(&api.unwrap(), objects).await.unwrap();
}

/// Waits until all of a kind are ready.
async fn all_ready(world: &World, record: &Record, count: usize, limit: Duration) {
    let begin = Instant::now();
    loop {
        let ready = record.count(is_ready);
        if ready == count {
            return;
        }
        assert!(
            begin.elapsed() < limit,
            "only {ready} of {count} are ready after {limit:?}; see what the others say and what was asked for most: {}\n{}",
            world.gateway().counts().most(),
            world.operator.log_tail()
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Waits until the operator asks for nothing any more but its lease.
async fn quiet(world: &World) {
    let begin = Instant::now();
    let (mut before, mut since) = (world.gateway().counts(), Instant::now());
    while since.elapsed() < QUIET {
        tokio::time::sleep(Duration::from_millis(250)).await;
        let now = world.gateway().counts();
        if now.total_without("leases") != before.total_without("leases") {
            assert!(
                begin.elapsed() < Duration::from_mins(3),
                "the operator never rests, although all is done; these it asks for: {}",
                now.since(&before).most()
            );
            (before, since) = (now, Instant::now());
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "for people to read")]
fn rate(counts: &Counts, time: Duration) -> String {
    format!("{} requests in {time:.1?}, {:.1}/s", counts.total(), counts.total() as f64 / time.as_secs_f64())
}

#[test]
fn many_configurations_cost_little() {
    World::run_behind_gateway(async |world| {
        let count = how_many();
        let more = |each: u64| Duration::from_millis(count as u64 * each);
        world.apply_yaml(SHARED).await;
        world.phase("BackupStorage", "many", "Ready").await;
        let client = world.client();
        let configurations =
            Record::begin(&client, version_of("BackupConfiguration"), "BackupConfiguration").await.unwrap();
        let repositories = Record::begin(&client, version_of("Repository"), "Repository").await.unwrap();
        let jobs = Record::begin(&client, "batch/v1", "Job").await.unwrap();

        // All at once.
        let (before, begin) = (world.gateway().counts(), Instant::now());
        create(world, count).await;
        println!("{count} BackupConfigurations are created after {:.1?}", begin.elapsed());
        all_ready(world, &configurations, count, Duration::from_mins(1) + more(300)).await;
        println!(
            "all are Ready after {:.1?}: {}",
            begin.elapsed(),
            rate(&world.gateway().counts().since(&before), begin.elapsed())
        );
        all_ready(world, &repositories, count, Duration::from_mins(2) + more(900)).await;
        let took = begin.elapsed();
        let asked = world.gateway().counts().since(&before);
        println!("all Repositories are Ready after {took:.1?}: {}; {}", rate(&asked, took), asked.most());
        println!(
            "peak memory {} MiB, processor time {} s/100",
            world.operator.peak_memory(),
            world.operator.processor_time()
        );
        assert!(
            asked.total() <= REQUESTS * count as u64 + 500,
            "{} requests for {count} configurations are a storm; see which of them repeat what is already so: {}",
            asked.total(),
            asked.most()
        );

        let repeated = jobs.twice().len();
        println!("{repeated} Jobs had to be repeated");
        assert!(
            repeated * 10 <= count,
            "{repeated} of {count} Jobs failed, and were repeated; see why in what they printed:\n{}",
            errors(&world.kubelet.logs(DEMO, "init-repository-"))
        );

        // Then nothing happens.
        quiet(world).await;
        let time = Duration::from_secs(if count > USUAL { 60 } else { 10 });
        let (before, work) = (world.gateway().counts(), world.operator.processor_time());
        tokio::time::sleep(time).await;
        let idle = world.gateway().counts().since(&before);
        let work = world.operator.processor_time() - work;
        println!("idle: {}; {}; processor time {work} s/100", rate(&idle, time), idle.most());
        // A watch ends by itself after some minutes, and is begun again.
        let is_other = |asked: &str| !asked.starts_with("WATCH ") && !asked.ends_with(" leases");
        let others: u64 = idle.requests.iter().filter(|(asked, _)| is_other(asked)).map(|(_, count)| count).sum();
        assert!(
            others <= 5,
            "an idle operator asks for nothing but its lease; find who asks for these: {}",
            idle.most()
        );

        // One changes, and that shows at once.
        let before = world.gateway().counts();
        reacts(world, &name(count / 2)).await;
        quiet(world).await;
        let asked = world.gateway().counts().since(&before);
        println!("for one change: {}", asked.most());
        assert!(asked.total_without("leases") <= 20, "one change of one object causes a storm: {}", asked.most());
        assert_memory(world);

        // A new operator finds everything as it should be.
        let (before, begin) = (world.gateway().counts(), Instant::now());
        world.restart_operator().await;
        within(Duration::from_mins(1), "the new operator leads", || async { world.operator.leads().then_some(()) })
            .await;
        quiet(world).await;
        let asked = world.gateway().counts().since(&before);
        println!("restart: quiet after {:.1?}: {}", begin.elapsed().saturating_sub(QUIET), asked.most());
        let writes: u64 = asked.requests.iter().filter(|(asked, _)| is_write(asked)).map(|(_, count)| count).sum();
        assert!(writes <= 20, "a new operator writes what is already so: {}", asked.most());
        assert_memory(world);

        listed_in_index(world, count);
        tidy(world, DEMO).await;
    });
}

/// Some of the errors in a log.
fn errors(log: &str) -> String {
    log.lines().filter(|line| line.contains("ERROR") || line.contains("error")).take(5).collect::<Vec<_>>().join("\n")
}

fn is_write(asked: &str) -> bool {
    ["POST", "PUT", "PATCH", "DELETE"].iter().any(|verb| asked.starts_with(verb)) && !asked.ends_with(" leases")
}

fn assert_memory(world: &World) {
    let peak = world.operator.peak_memory();
    println!("peak memory {peak} MiB");
    assert!(
        peak < MEMORY,
        "{peak} MiB are too much; see what the stores keep (routes: what follow! trims) and how lists are paged"
    );
}

/// Changes a schedule, and waits for the CronJob to have it.
async fn reacts(world: &World, name: &str) {
    let api = manifests::api(&world.client(), version_of("BackupConfiguration"), "BackupConfiguration", DEMO).await;
    let mut sessions = configuration(0)["spec"]["sessions"].clone();
    sessions[0]["scheduler"]["schedule"] = "30 4 * * *".into();
    sessions[0]["repositories"] =
        world.get("BackupConfiguration", name).await.unwrap()["spec"]["sessions"][0]["repositories"].clone();
    let patch = Patch::Merge(json!({ "spec": { "sessions": sessions } }));
    api.unwrap().patch(name, &PatchParams::default(), &patch).await.unwrap();
    let begin = Instant::now();
    let trigger = format!("trigger-{name}-nightly");
    while world.get("CronJob", &trigger).await.is_none_or(|cron| cron["spec"]["schedule"] != "30 4 * * *") {
        assert!(
            begin.elapsed() < REACTION,
            "the CronJob has not changed within {REACTION:?}; see what its controller is busy with:\n{}",
            world.operator.log_tail()
        );
    }
    println!("a change shows after {:.0?}", begin.elapsed());
}

/// The storage's own list of repositories, from which another cluster brings them back, has each of them.
fn listed_in_index(world: &World, count: usize) {
    let index = std::fs::read_to_string(world.kubelet.claim(DEMO, "backups").join("metadata.yaml")).unwrap();
    let listed = (0..count).filter(|number| index.contains(&format!("repository-{number:04}\n"))).count();
    assert_eq!(
        listed, count,
        "repositories are missing in metadata.yaml; Jobs that wrote it at the same time lost them (files::change_index)"
    );
}
