//! The operator dies, the API server dies, pods and nodes are lost: what is true in the end is what the status says.

use std::time::Duration;

use coffer_test_cluster::chance::Chance;
use coffer_test_cluster::kubelet::Hold;
use coffer_test_cluster::record::Record;
use coffer_test_cluster::wait::within;
use coffer_test_support::fingerprint::{differences, fingerprint};
use coffer_test_support::proxy::Fault;
use serde_json::Value;

use crate::aftermath::{assert_nothing_ran_twice, tidy};
use crate::flow::text;
use crate::outside::{CONFIGURATION, Outside, REPOSITORY, SESSION};
use crate::world::{DEMO, World};

/// Bytes a second from the database: a backup of some megabytes takes half a minute.
const SLOW: Fault = Fault::Slow(100_000);

/// Everything up to a configuration whose schedule never comes; `edit` changes it. Returns the name of the first session.
pub async fn begin(world: &World, outside: &Outside, edit: impl FnOnce(String) -> String) -> String {
    for file in ["1-secrets.yaml", "2-databases.yaml", "3-storage.yaml", "4-retention.yaml"] {
        outside.apply(world, file).await;
    }
    let configuration = outside.manifest("5-backup.yaml").replace("* * * * *", "0 0 1 1 *");
    world.apply_yaml(&edit(configuration)).await;
    first_session(world).await
}

async fn first_session(world: &World) -> String {
    within(Duration::from_mins(2), "the first BackupSession is there", || async {
        let sessions = world.list("BackupSession").await;
        sessions.first().map(|session| text(session, "/metadata/name").to_owned())
    })
    .await
}

/// The pod of a Job, when it runs.
async fn running_pod(world: &World, job: &str) -> String {
    let what = format!("Job {job} has a running pod");
    within(Duration::from_mins(1), &what, || async {
        let pods = world.list("Pod").await;
        let running = pods.iter().find(|pod| of_job(pod, job) && pod["status"]["phase"] == "Running")?;
        Some(text(running, "/metadata/name").to_owned())
    })
    .await
}

fn of_job(pod: &Value, job: &str) -> bool {
    pod["metadata"]["labels"]["batch.kubernetes.io/job-name"] == job
}

/// What a failed session says, with a snapshot that says it too, and no snapshot in the repository.
async fn assert_failed(world: &World, outside: &Outside, session: &str) -> Value {
    let failed = world.phase("BackupSession", session, "Failed").await;
    let snapshots = world.list("Snapshot").await;
    let [snapshot] = snapshots.as_slice() else { panic!("not one Snapshot: {snapshots:#?}") };
    assert_eq!(snapshot["status"]["phase"], "Failed", "{snapshot:#}");
    let conditions = failed["status"]["conditions"].to_string() + &snapshot["status"]["conditions"].to_string();
    assert!(conditions.contains("BackupIncomplete"), "{failed:#}\n{snapshot:#}");
    let listed = outside.restic().run(&["snapshots", "--json", "--no-lock"]).unwrap();
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap_or(Value::Null);
    assert!(listed.as_array().is_none_or(Vec::is_empty), "a failed backup left a snapshot: {listed:#}");
    failed
}

/// Moments that look random and are the same in every run, in milliseconds.
fn moments() -> impl Iterator<Item = u64> {
    let mut state = 0x5eed_u64;
    std::iter::repeat_with(move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % 1_500
    })
}

#[test]
fn an_operator_that_is_killed_again_and_again_ends_everything_right() {
    World::run(async |world| {
        let outside = Outside::start(1);
        outside.way.set(SLOW);
        let mut moments = moments();
        for file in ["1-secrets.yaml", "2-databases.yaml", "3-storage.yaml", "4-retention.yaml", "5-backup.yaml"] {
            let yaml = outside.manifest(file).replace("* * * * *", "0 0 1 1 *");
            world.apply_yaml(&yaml).await;
            kill_after(world, moments.next()).await;
        }
        for _ in 0..10 {
            kill_after(world, moments.next()).await;
        }
        let session = first_session(world).await;
        outside.way.set(Fault::None);
        world.phase("BackupSession", &session, "Succeeded").await;
        outside.apply(world, "6-restore.yaml").await;
        for _ in 0..15 {
            kill_after(world, moments.next()).await;
        }
        world.phase("RestoreSession", "restore-shop", "Succeeded").await;
        // No work was done twice, and none was forgotten.
        assert_eq!(world.list("BackupSession").await.len(), 1);
        assert_eq!(world.list("Snapshot").await.len(), 1);
        let pods = world.list("Pod").await;
        for job in [session.as_str(), "restore-shop"] {
            assert!(pods.iter().filter(|pod| of_job(pod, job)).count() <= 1, "{job}: {pods:#?}");
        }
        let (left, right) =
            (fingerprint(&outside.shop, "shop").unwrap(), fingerprint(&outside.restored, "shop").unwrap());
        assert_eq!(differences(&left, &right), Vec::<String>::new());
        outside.restic().ok(&["check", "--read-data"]);
    });
}

/// Bytes a second into the database: the restore of a megabyte takes longer than thirty lives of an operator.
const CRAWLING: Fault = Fault::Slow(4_000);
const KILLS: usize = 30;

#[test]
fn an_operator_that_is_killed_thirty_times_during_a_restore_ends_it_right() {
    World::run(async |world| {
        let outside = Outside::start(1);
        let (jobs, pods) = records(world).await;
        let session = begin(world, &outside, |yaml| yaml).await;
        world.phase("BackupSession", &session, "Succeeded").await;
        let before = fingerprint(&outside.shop, "shop").unwrap();
        outside.shop.exec("DROP DATABASE shop").unwrap();
        outside.way.set(CRAWLING);
        let mut chance = Chance::new("kills during a restore", 0x5eed);
        // Into the database itself: its backups have to be paused, and to go on afterwards.
        world.apply_yaml(&outside.manifest("6-restore.yaml").replace("name: restored-shop", "name: shop")).await;
        for kill in 0..KILLS {
            // The first steps take milliseconds each: most lives are short.
            let longest = chance.below(1_500) + 1;
            kill_after(world, Some(chance.below(longest))).await;
            let restore = world.get("RestoreSession", "restore-shop").await.unwrap();
            let phase = restore.pointer("/status/phase").and_then(Value::as_str).unwrap_or("Pending");
            assert!(
                matches!(phase, "Pending" | "Running"),
                "the restore is {phase} after {kill} kills, while its Job is still at work: {restore:#}"
            );
        }
        let pod = running_pod(world, "restore-shop").await;
        let paused = world.get("BackupConfiguration", CONFIGURATION).await.unwrap();
        assert_eq!(paused["spec"]["paused"], true, "backups of what is being restored have to wait: {paused:#}");
        outside.way.set(Fault::None);
        world.phase("RestoreSession", "restore-shop", "Succeeded").await;
        assert_eq!(running_or_ended(world, "restore-shop").await, [pod], "it is the pod of before the last kill");
        assert_nothing_ran_twice(&jobs, &pods);
        let configuration = world.get("BackupConfiguration", CONFIGURATION).await.unwrap();
        assert_ne!(configuration["spec"]["paused"], true, "backups go on after a restore: {configuration:#}");
        let after = fingerprint(&outside.shop, "shop").unwrap();
        assert!(before.len() > 10, "{before:#?}");
        assert_eq!(differences(&before, &after), Vec::<String>::new(), "what was dropped is back");
        outside.restic().ok(&["check", "--read-data"]);
        tidy(world, DEMO).await;
        // And nothing is stuck: what is deleted goes, with all that was made for it.
        for (kind, name) in [("RestoreSession", "restore-shop"), ("BackupConfiguration", CONFIGURATION)] {
            world.delete(kind, name).await;
            world.gone(kind, name).await;
        }
        tidy(world, DEMO).await;
    });
}

/// Every Job and every pod from now on.
pub async fn records(world: &World) -> (Record, Record) {
    let client = world.client();
    (Record::begin(&client, "batch/v1", "Job").await.unwrap(), Record::begin(&client, "v1", "Pod").await.unwrap())
}

/// The names of all pods of a Job.
async fn running_or_ended(world: &World, job: &str) -> Vec<String> {
    let pods = world.list("Pod").await;
    pods.iter().filter(|pod| of_job(pod, job)).map(|pod| text(pod, "/metadata/name").to_owned()).collect()
}

async fn kill_after(world: &mut World, moment: Option<u64>) {
    tokio::time::sleep(Duration::from_millis(moment.unwrap_or_default())).await;
    world.restart_operator().await;
}

#[test]
fn an_api_server_that_goes_away_and_comes_back_spoils_nothing() {
    World::run(async |world| {
        let outside = Outside::start(1);
        outside.way.set(SLOW);
        let session = begin(world, &outside, |yaml| yaml).await;
        running_pod(world, &session).await;
        for _ in 0..3 {
            world.plane.kill_api_server();
            tokio::time::sleep(Duration::from_secs(2)).await;
            world.plane.restart_api_server().await.unwrap();
            // One that could not renew its lease for too long has ended.
            world.keep_operator().await;
        }
        outside.way.set(Fault::None);
        world.phase("BackupSession", &session, "Succeeded").await;
        let repository = world.phase("Repository", REPOSITORY, "Ready").await;
        assert_eq!(repository["status"]["snapshotCount"], 1, "{repository:#}");
    });
}

#[test]
fn an_evicted_pod_ends_its_session_with_the_reason() {
    World::run(async |world| {
        let outside = Outside::start(1);
        outside.way.set(SLOW);
        let session = begin(world, &outside, |yaml| yaml).await;
        let pod = running_pod(world, &session).await;
        world.kubelet.evict(DEMO, &pod, "The node was low on resource: memory.").unwrap();
        assert_failed(world, &outside, &session).await;
        // The next one is as good as if nothing had happened.
        outside.way.set(Fault::None);
        let next = format!("{CONFIGURATION}-{SESSION}-2000000000");
        world
            .apply_yaml(&format!(
                "apiVersion: core.kubestash.com/v1alpha1\nkind: BackupSession\nmetadata: {{ name: {next}, namespace: {DEMO} }}\nspec:\n\
                 \x20 invoker: {{ apiGroup: core.kubestash.com, kind: BackupConfiguration, name: {CONFIGURATION} }}\n  session: {SESSION}\n"
            ))
            .await;
        world.phase("BackupSession", &next, "Succeeded").await;
        outside.restic().ok(&["check", "--read-data"]);
    });
}

#[test]
fn a_lost_node_ends_its_session() {
    World::run(async |world| {
        let outside = Outside::start(1);
        outside.way.set(SLOW);
        let session = begin(world, &outside, |yaml| yaml).await;
        running_pod(world, &session).await;
        // Retention runs there, even after a backup that failed.
        let healthy = world.another_node().await;
        world.kubelet.vanish();
        assert_failed(world, &outside, &session).await;
        drop(healthy);
    });
}

#[test]
fn a_pod_that_never_starts_ends_with_the_timeout() {
    World::run(async |world| {
        let outside = Outside::start(1);
        world.kubelet.hold(&format!("{CONFIGURATION}-"), Hold::Unschedulable);
        let timeout = |yaml: String| {
            yaml.replace("    - name: frequent-backup\n", "    - name: frequent-backup\n      backupTimeout: 5s\n")
        };
        let session = begin(world, &outside, timeout).await;
        let failed = assert_failed(world, &outside, &session).await;
        assert!(failed["status"]["conditions"].to_string().contains("deadline exceeded"), "{failed:#}");
        within(Duration::from_mins(1), "its Job is gone", || async {
            world.list("Pod").await.iter().all(|pod| !of_job(pod, &session)).then_some(())
        })
        .await;
    });
}
