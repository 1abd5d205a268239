//! Operators that are killed at any moment, watches that break, and an API server that refuses: the end is the same.

use std::collections::BTreeMap;
use std::time::Duration;

use http::StatusCode;
use serde_json::json;

use crate::world::{CONFIGURATIONS, JOBS, RESTORES, SESSIONS, SNAPSHOTS, World};

/// A small generator of numbers, the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

fn restore() -> serde_json::Value {
    json!({"metadata": {"name": "r", "namespace": "demo"}, "spec": {
        "target": {"apiGroup": "kubedb.com", "kind": "MySQL", "name": "sample-mysql"},
        "dataSource": {"repository": "sample-repo", "snapshot": "latest"},
        "addon": {"name": "mysql-addon", "tasks": [{"name": "logical-backup-restore"}]},
    }})
}

fn all_done(world: &World) -> bool {
    let sessions = world.fake.all(SESSIONS);
    let restore = world.fake.get(RESTORES, "demo", "r").unwrap_or_default();
    sessions.len() == 1 && sessions[0]["status"]["phase"] == "Succeeded" && restore["status"]["phase"] == "Succeeded"
}

/// Everything happened once, and is over.
async fn assert_once(world: &World) {
    // A restore may be over before its last word to the backups is.
    world
        .until("backups go on", |fake| fake.get(CONFIGURATIONS, "demo", "sample").unwrap()["spec"]["paused"] != true)
        .await;
    world.settled().await;
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for resource in [JOBS, SESSIONS, SNAPSHOTS] {
        for name in world.fake.ever(resource) {
            *counts.entry(format!("{resource} {name}")).or_default() += 1;
        }
    }
    assert!(counts.values().all(|count| *count == 1), "{counts:?}");
    assert_eq!(world.fake.ever(SESSIONS).len(), 1, "{counts:?}");
    assert_eq!(world.fake.ever(SNAPSHOTS).len(), 1, "{counts:?}");
    assert_eq!(world.fake.ever(JOBS).len(), 5, "storage, repository, backup, retention, restore: {counts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_moment_it_does_everything_once() {
    for seed in 0..8 {
        let mut numbers = Numbers(seed);
        let world = World::new();
        world.base();
        world.configuration(json!({}));
        world.fake.create(RESTORES, restore());
        let mut kills = 0;
        let mut changes = world.fake.changes();
        while !all_done(&world) {
            let operator = world.operator();
            // A life of so many changes, its own and others'; one that does nothing ends too.
            for _ in 0..=numbers.below(12) {
                if tokio::time::timeout(Duration::from_millis(700), changes.changed()).await.is_err() {
                    break;
                }
            }
            for _ in 0..numbers.below(50) {
                tokio::task::yield_now().await;
            }
            operator.kill();
            kills += 1;
            assert!(kills < 300, "it never ends");
        }
        let _operator = world.operator();
        assert_once(&world).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_writes_and_broken_watches_change_nothing() {
    let world = World::new();
    let _operator = world.operator();
    world.base();
    world.configuration(json!({}));
    world.fake.create(RESTORES, restore());
    let mut numbers = Numbers(7);
    // Faults while everything happens; the operator gets through all the same.
    for _ in 0..60 {
        if all_done(&world) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(30)).await;
        match numbers.below(6) {
            0 => world.fake.fail([StatusCode::CONFLICT]),
            1 => world.fake.fail([StatusCode::TOO_MANY_REQUESTS]),
            2 => world.fake.fail([StatusCode::INTERNAL_SERVER_ERROR, StatusCode::SERVICE_UNAVAILABLE]),
            3 => world.fake.drop_watches(),
            _ => {}
        }
    }
    world.until("all is done", |_| all_done(&world)).await;
    assert_once(&world).await;
}
