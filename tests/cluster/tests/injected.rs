//! An API server in trouble: it refuses, forgets to answer, breaks watches. Everything is done all the same, and once.

use std::time::{Duration, Instant};

use coffer_test_cluster::chance::Chance;
use coffer_test_cluster::gateway::Faults;
use coffer_test_support::fingerprint::{differences, fingerprint};
use serde_json::{Value, json};

use crate::aftermath::{assert_nothing_ran_twice, tidy};
use crate::faults::records;
use crate::flow::text;
use crate::outside::{CONFIGURATION, Outside, PLACE, REPOSITORY, SESSION};
use crate::world::{DEMO, World};

/// Of a hundred requests so many fail, and of a hundred watches so many are cut.
const REQUESTS: u32 = 12;
const WATCHES: u32 = 50;
/// How long anything may take meanwhile: watches that broke wait up to half a minute until they begin again.
const LIMIT: Duration = Duration::from_mins(5);

/// Waits until the object is in this phase. An operator that gives up its lease is started again, as its Deployment does.
async fn phase(world: &mut World, kind: &str, name: &str, phase: &str) -> Value {
    let limit = Instant::now() + LIMIT;
    loop {
        let object = world.get(kind, name).await.unwrap_or_default();
        let now = object.pointer("/status/phase").and_then(Value::as_str).unwrap_or_default();
        if now == phase {
            return object;
        }
        let over = kind.ends_with("Session") && matches!(now, "Succeeded" | "Failed" | "Skipped" | "Invalid");
        assert!(
            !over,
            "{kind} {name} ended {now}; a server in trouble is no reason for that, it has to be asked again: {object:#}"
        );
        assert!(
            Instant::now() < limit,
            "{kind} {name} is not {phase} after {LIMIT:?}; see which request its controller does not repeat: {object:#}\n{}\n{}",
            world.gateway().counts().most(),
            world.operator.log_tail()
        );
        world.keep_operator().await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The only BackupSession but those that are known.
async fn next_session(world: &mut World, known: &[String]) -> String {
    let limit = Instant::now() + LIMIT;
    loop {
        let sessions = world.list("BackupSession").await;
        let new: Vec<_> = sessions.iter().map(|session| text(session, "/metadata/name").to_owned()).collect();
        let mut new: Vec<_> = new.into_iter().filter(|name| !known.contains(name)).collect();
        assert!(new.len() <= 1, "one cause made several BackupSessions: {new:?}");
        if let Some(name) = new.pop() {
            return name;
        }
        assert!(Instant::now() < limit, "no BackupSession after {LIMIT:?}:\n{}", world.operator.log_tail());
        world.keep_operator().await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// What `kubectl create job --from=cronjob/…` makes: the trigger's own pod begins a session.
async fn trigger(world: &World) {
    let cron = world.get("CronJob", &format!("trigger-{CONFIGURATION}-{SESSION}")).await.expect("there is a trigger");
    let mut job = json!({ "apiVersion": "batch/v1", "kind": "Job", "spec": cron["spec"]["jobTemplate"]["spec"] });
    job["metadata"] = cron["spec"]["jobTemplate"]["metadata"].clone();
    job["metadata"]["name"] = "by-hand".into();
    job["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "batch/v1", "kind": "CronJob", "name": cron["metadata"]["name"], "uid": cron["metadata"]["uid"], "controller": true,
    }]);
    world.apply_yaml(&job.to_string()).await;
}

/// A BackupStorage that needs nothing outside of the cluster.
pub fn local_storage(name: &str) -> String {
    format!(
        "apiVersion: storage.kubestash.com/v1alpha1\nkind: BackupStorage\nmetadata: {{ name: {name}, namespace: {DEMO} }}\nspec:\n  storage:\n\
         \x20   provider: local\n    local: {{ mountPath: /backups, persistentVolumeClaim: {{ claimName: {name} }} }}\n"
    )
}

#[test]
fn an_api_server_in_trouble_spoils_nothing() {
    World::run_behind_gateway(async |world| {
        let outside = Outside::start(1);
        let (jobs, pods) = records(world).await;
        let chance = Chance::new("faults of the API server", 0xfa17);
        world.gateway().set(Some(Faults { requests: REQUESTS, watches: WATCHES, chance }));
        // Every watch begins anew, now that it may fail.
        world.restart_operator().await;

        // A backup.
        for file in ["1-secrets.yaml", "2-databases.yaml", "3-storage.yaml", "4-retention.yaml", "5-backup.yaml"] {
            let yaml = outside.manifest(file).replace("* * * * *", "0 0 1 1 *").replace("last: 5", "last: 1");
            world.apply_yaml(&yaml).await;
        }
        let first = next_session(world, &[]).await;
        phase(world, "BackupSession", &first, "Succeeded").await;
        let snapshot = |session: &str| format!("{REPOSITORY}-{session}");

        // Another, by the trigger, after which the policy keeps one.
        trigger(world).await;
        let second = next_session(world, std::slice::from_ref(&first)).await;
        let done = phase(world, "BackupSession", &second, "Succeeded").await;
        assert_eq!(text(&done, "/status/retentionPolicy/0/phase"), "Applied", "{done:#}");
        world.gone("Snapshot", &snapshot(&first)).await;
        assert_eq!(outside.object(&format!("{PLACE}/snapshots/{}.yaml", snapshot(&first))), None);
        let kept = world.get("Snapshot", &snapshot(&second)).await.expect("the newest Snapshot stays");
        let listed: Value =
            serde_json::from_slice(&outside.restic().ok(&["snapshots", "--json", "--no-lock"])).unwrap();
        assert_eq!(listed.as_array().map(Vec::len), Some(1), "{listed:#}");
        assert_eq!(
            listed[0]["id"], kept["status"]["components"]["dump"]["resticStats"][0]["summary"]["id"],
            "{kept:#}"
        );

        // And a restore of it.
        outside.apply(world, "6-restore.yaml").await;
        phase(world, "RestoreSession", "restore-shop", "Succeeded").await;

        let counts = world.gateway().counts();
        world.gateway().set(None);
        println!("{} requests; faults: {:?}", counts.total(), counts.faults);
        assert!(counts.faults.len() >= 10, "hardly anything went wrong, so this proves nothing: {:?}", counts.faults);
        assert_nothing_ran_twice(&jobs, &pods);
        let (left, right) =
            (fingerprint(&outside.shop, "shop").unwrap(), fingerprint(&outside.restored, "shop").unwrap());
        assert_eq!(differences(&left, &right), Vec::<String>::new());
        outside.restic().ok(&["check", "--read-data"]);
        tidy(world, DEMO).await;
    });
}

/// A connection may die without a word. Whoever waits for an answer on it would wait for ever.
#[test]
fn a_request_that_is_never_answered_holds_nothing_up() {
    World::run_behind_gateway(async |world| {
        // The control: without faults, a gateway is not noticed.
        world.apply_yaml(&local_storage("answered-at-once")).await;
        world.phase("BackupStorage", "answered-at-once", "Ready").await;
        let before = world.gateway().counts();
        for asked in
            ["WATCH jobs", "PATCH backupstorages", "POST jobs", "PATCH backupstorages/status", "GET backupstorages"]
        {
            assert!(before.requests.contains_key(asked), "nobody asked to {asked}: {:?}", before.requests);
        }
        assert!(before.faults.is_empty(), "{:?}", before.faults);

        let asked = "POST jobs";
        world.gateway().stall(asked, 1);
        world.apply_yaml(&local_storage("answered-in-the-end")).await;
        let begin = Instant::now();
        world.phase("BackupStorage", "answered-in-the-end", "Ready").await;
        println!("a request without an answer cost {:.0?}", begin.elapsed());
        let times = world.gateway().counts().since(&before).requests.get(asked).copied().unwrap_or_default();
        assert_eq!(times, 2, "it was asked once in vain, and once more; see controller::LONGEST");
    });
}
