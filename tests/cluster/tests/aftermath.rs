//! What is left when everything is over.

use std::time::{Duration, Instant};

use coffer_test_cluster::record::Record;
use serde_json::Value;

use crate::flow::text;
use crate::world::World;

/// The object that a Job, an account or a binding was made for, as `Kind/namespace/name`.
const INVOKER: &str = "coffer.dev/invoker";
/// Whose label objects of ours carry.
const MANAGED: &str = "app.kubernetes.io/managed-by";
/// Phases of a session in which nothing happens any more.
const OVER: &[&str] = &["Succeeded", "Failed", "Skipped", "Invalid"];

/// Kinds that are made for others and have to go with them.
const HELPERS: &[&str] = &["Job", "CronJob", "ServiceAccount", "RoleBinding", "Pod"];

/// What is in a namespace for an object that is gone, or is bound for a session that is over. In words, to be empty.
pub async fn orphans(world: &World, namespace: &str) -> Vec<String> {
    let mut found = Vec::new();
    for kind in HELPERS {
        for object in world.list_in(namespace, kind).await {
            if object["metadata"]["labels"][MANAGED] != "kubestash.com" {
                continue;
            }
            let name = format!("{kind} {}", text(&object, "/metadata/name"));
            let Some(owner) = made_for(&object) else {
                found.push(format!("{name} says not what it is for"));
                continue;
            };
            let Some(invoker) = world.get_in(&owner.namespace, &owner.kind, &owner.name).await else {
                found.push(format!("{name} was made for {} {}, which is gone", owner.kind, owner.name));
                continue;
            };
            let phase = invoker.pointer("/status/phase").and_then(Value::as_str).unwrap_or_default();
            let session = matches!(owner.kind.as_str(), "BackupSession" | "RestoreSession");
            if *kind == "RoleBinding" && session && OVER.contains(&phase) {
                found.push(format!("{name} still gives rights to {} {}, which is {phase}", owner.kind, owner.name));
            }
        }
    }
    found
}

struct Owner {
    kind: String,
    namespace: String,
    name: String,
}

/// By its annotation, or else its owner: what the controllers of Kubernetes make has no annotation of ours.
fn made_for(object: &Value) -> Option<Owner> {
    if let Some(invoker) = object["metadata"]["annotations"][INVOKER].as_str() {
        let mut parts = invoker.splitn(3, '/').map(str::to_owned);
        return Some(Owner { kind: parts.next()?, namespace: parts.next()?, name: parts.next()? });
    }
    let owner = object["metadata"]["ownerReferences"].get(0)?;
    let of = |field: &str| owner[field].as_str().map(str::to_owned);
    let namespace = object["metadata"]["namespace"].as_str().map(str::to_owned);
    Some(Owner { kind: of("kind")?, namespace: namespace?, name: of("name")? })
}

/// Waits until nothing is left over in a namespace; the operator and the garbage collector need a moment.
pub async fn tidy(world: &mut World, namespace: &str) {
    let limit = Instant::now() + Duration::from_mins(2);
    loop {
        let left = orphans(world, namespace).await;
        if left.is_empty() {
            return;
        }
        assert!(
            Instant::now() < limit,
            "these are left over in {namespace}; find who had to remove each (jobs::unbind, jobs::remove_all, owner references):\n{}",
            left.join("\n")
        );
        world.keep_operator().await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// No Job was made twice, and none of a session had more than one pod: work that runs twice may write twice.
pub fn assert_nothing_ran_twice(jobs: &Record, pods: &Record) {
    let twice = jobs.twice();
    assert!(
        twice.is_empty(),
        "these Jobs were made more than once; see which step of their controller is not safe to repeat: {twice:?}"
    );
    let mut owners: Vec<String> = pods
        .all()
        .iter()
        .filter_map(|(_, pod)| Some(pod.metadata.owner_references.as_ref()?.first()?.uid.clone()))
        .collect();
    let all = owners.len();
    owners.sort();
    owners.dedup();
    assert_eq!(owners.len(), all, "a Job had more than one pod; backoffLimit has to be 0");
}
