//! Two operators: one leads, the other takes over.

use std::time::{Duration, Instant};

use coffer_operator::{RunError, Timing};
use serde_json::json;

use crate::fake::Fake;
use crate::world::{STORAGES, World};

const LEASES: &str = "apis/coordination.k8s.io/v1/leases";

/// Long enough that a leader on a busy machine renews in time.
fn timing() -> Timing {
    Timing { duration: Duration::from_secs(5), give_up: Duration::from_secs(4), pause: Duration::from_millis(100) }
}

/// Longer than a lease lasts that is not renewed.
async fn a_lease_later() {
    tokio::time::sleep(timing().duration + Duration::from_secs(1)).await;
}

fn holder(fake: &Fake) -> String {
    let lease = fake.get(LEASES, "coffer", "coffer-operator").unwrap_or_default();
    lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_other_takes_over_when_the_leader_dies() {
    let world = World::new();
    let first = world.operator_with("first", Some(timing()));
    world.until("the first leads", |fake| holder(fake) == "first").await;
    let _second = world.operator_with("second", Some(timing()));
    world.base();
    world.phase(STORAGES, "s3", "Ready").await;
    a_lease_later().await;
    assert_eq!(holder(&world.fake), "first", "who renews is not displaced");
    let renewed = |fake: &Fake| fake.get(LEASES, "coffer", "coffer-operator").unwrap()["spec"]["renewTime"].clone();
    let (begin, before) = (Instant::now(), renewed(&world.fake));
    world.until("the first renews it", |fake| renewed(fake) != before).await;
    first.kill();
    world.until("the second leads", |fake| holder(fake) == "second").await;
    assert!(begin.elapsed() >= timing().duration, "a lease is not taken before it has expired");
    world.storage("demo", "another", json!({}));
    world.phase(STORAGES, "another", "Ready").await;
    let lease = world.fake.get(LEASES, "coffer", "coffer-operator").unwrap();
    assert_eq!(lease["spec"]["leaseTransitions"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_stops_frees_the_lease_at_once() {
    let world = World::new();
    let slow = Timing {
        duration: Duration::from_mins(10),
        give_up: Duration::from_secs(400),
        pause: Duration::from_millis(100),
    };
    let first = world.operator_with("first", Some(slow));
    world.until("the first leads", |fake| holder(fake) == "first").await;
    let _second = world.operator_with("second", Some(slow));
    first.stop().await.unwrap();
    world.until("the second leads", |fake| holder(fake) == "second").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_loses_the_lease_ends() {
    let world = World::new();
    let operator = world.operator_with("first", Some(timing()));
    world.until("it leads", |fake| holder(fake) == "first").await;
    world.fake.edit(LEASES, "coffer", "coffer-operator", |lease| lease["spec"]["holderIdentity"] = json!("usurper"));
    assert!(matches!(operator.end().await, Err(RunError::LeaseLost)));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_candidates_one_leads() {
    let world = World::new();
    let operators: Vec<_> =
        (0..5).map(|number| world.operator_with(&format!("operator-{number}"), Some(timing()))).collect();
    world.until("one leads", |fake| !holder(fake).is_empty()).await;
    let leader = holder(&world.fake);
    a_lease_later().await;
    assert_eq!(holder(&world.fake), leader);
    assert_eq!(world.fake.ever(LEASES).len(), 1);
    drop(operators);
}
