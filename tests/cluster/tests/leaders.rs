//! Two operators and one Lease, with its default times.

use std::time::{Duration, Instant};

use coffer_test_cluster::manifests;
use coffer_test_cluster::wait::within;
use kube::api::DynamicObject;
use serde_json::Value;

use crate::injected::local_storage;
use crate::operator::Operator;
use crate::world::World;

/// A leader's death may leave the cluster without one for so long.
const TAKEOVER: Duration = Duration::from_secs(20);
/// How often both are asked who leads.
const GLANCE: Duration = Duration::from_millis(50);

/// How long the others are watched once there is a new leader.
const WATCH: Duration = Duration::from_secs(2);

/// Waits until this operator leads, and watches that the others do not from then on; two leaders at once are the worst that can happen. Returns how
/// long it took.
async fn takes_over(next: &Operator, others: &[&Operator]) -> Duration {
    let begin = Instant::now();
    while !next.leads() {
        assert!(
            begin.elapsed() < TAKEOVER,
            "no takeover within {TAKEOVER:?}; see lease::Timing and Candidate::acquire:\n{}",
            next.log_tail()
        );
        tokio::time::sleep(GLANCE).await;
    }
    let took = begin.elapsed();
    while begin.elapsed() < took + WATCH {
        assert!(
            !others.iter().any(|other| other.leads()),
            "two operators lead at once; a leader has to give up before anybody can take over (lease::Timing)"
        );
        tokio::time::sleep(GLANCE).await;
    }
    took
}

async fn lease(world: &World) -> Value {
    let lease: Option<DynamicObject> =
        manifests::get(&world.client(), "coordination.k8s.io/v1", "Lease", "coffer", "coffer-operator").await.unwrap();
    serde_json::to_value(lease.expect("the leader holds a Lease")).unwrap()
}

fn holder(lease: &Value) -> (&str, i64) {
    let spec = &lease["spec"];
    (spec["holderIdentity"].as_str().unwrap_or_default(), spec["leaseTransitions"].as_i64().unwrap_or_default())
}

/// A storage that is new gets ready: the leader works.
async fn works(world: &World, name: &str) {
    world.apply_yaml(&local_storage(name)).await;
    world.phase("BackupStorage", name, "Ready").await;
}

#[test]
fn another_operator_takes_over_and_two_never_lead_at_once() {
    World::run(async |world| {
        within(Duration::from_secs(10), "the only operator leads", || async { world.operator.leads().then_some(()) })
            .await;
        let now = lease(world).await;
        let (first, transitions) = holder(&now);
        assert_eq!(first, "operator-0");
        let mut second = world.another_operator("operator-1").await;
        works(world, "led-by-the-first").await;
        assert!(!second.leads(), "the second operator leads beside the first");

        // Killed: nobody frees the lease.
        world.operator.kill();
        let took = takes_over(&second, &[&world.operator]).await;
        println!("a killed leader was followed after {took:.1?}");
        assert_eq!(holder(&lease(world).await), ("operator-1", transitions + 1));
        works(world, "led-by-the-second").await;

        // Frozen, as on a node that hangs: it comes back, finds the lease lost, and ends without another word.
        world.operator = world.another_operator("operator-2").await;
        second.signal("STOP");
        let took = takes_over(&world.operator, &[]).await;
        println!("a frozen leader was followed after {took:.1?}");
        assert_eq!(holder(&lease(world).await), ("operator-2", transitions + 2));
        second.signal("CONT");
        let end = second.ended(Duration::from_secs(10));
        assert!(end.contains("the lease was lost"), "a leader that was away too long has to end at once: {end}");
        assert!(world.operator.leads());
        works(world, "led-by-the-third").await;

        // Stopped as Kubernetes stops a pod: the lease is free at once.
        let fourth = world.another_operator("operator-3").await;
        world.operator.signal("TERM");
        let took = takes_over(&fourth, &[&world.operator]).await;
        println!("a leader that was told to stop was followed after {took:.1?}");
        assert!(took < Duration::from_secs(5), "a leader that stops has to free its lease: {took:?}");
        assert_eq!(world.operator.ended(Duration::from_secs(25)), "ended well");
    });
}
