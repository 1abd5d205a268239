//! The node itself: its object, and the lease that says that it lives.

use std::{sync::Arc, time::Duration};

use anyhow::Result;
use k8s_openapi::api::{coordination::v1::Lease, core::v1::Node};
use kube::{
    Api,
    api::{DynamicObject, Patch, PatchParams},
    core::ApiResource,
};
use serde_json::{Value, json};

use super::{Host, status::now};

const MANAGER: &str = "coffer-test-kubelet";
const HEARTBEAT: Duration = Duration::from_secs(1);

/// Creates the node and says that it is ready.
pub(super) async fn register(host: &Host) -> Result<()> {
    apply::<Node>(host, None, node(&host.node)).await?;
    let nodes: Api<Node> = Api::all(host.client.clone());
    nodes.patch_status(&host.node, &PatchParams::default(), &Patch::Merge(ready(host.log_port))).await?;
    apply::<Lease>(host, Some("kube-node-lease"), lease(&host.node)).await
}

/// Renews the node's lease, and its word that it is ready, until it vanishes. What cannot be written now is written a second later.
pub(super) async fn heartbeat(host: Arc<Host>) {
    let nodes: Api<Node> = Api::all(host.client.clone());
    while !host.state().vanished {
        let _ = apply::<Lease>(&host, Some("kube-node-lease"), lease(&host.node)).await;
        let _ = nodes.patch_status(&host.node, &PatchParams::default(), &Patch::Merge(ready(host.log_port))).await;
        tokio::time::sleep(HEARTBEAT).await;
    }
}

async fn apply<K>(host: &Host, namespace: Option<&str>, object: Value) -> Result<()>
where
    K: kube::Resource<DynamicType = ()>,
{
    let resource = ApiResource::erase::<K>(&());
    let api: Api<DynamicObject> = match namespace {
        Some(namespace) => Api::namespaced_with(host.client.clone(), namespace, &resource),
        None => Api::all_with(host.client.clone(), &resource),
    };
    api.patch(&host.node, &PatchParams::apply(MANAGER).force(), &Patch::Apply(object)).await?;
    Ok(())
}

fn node(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": { "name": name, "labels": {
            "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": std::env::consts::ARCH,
        } },
    })
}

fn lease(name: &str) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": { "name": name },
        "spec": { "holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string() },
    })
}

fn ready(log_port: u16) -> Value {
    let room = json!({ "cpu": "64", "memory": "256Gi", "pods": "1000", "ephemeral-storage": "1Ti" });
    json!({ "status": {
        "capacity": room,
        "allocatable": room,
        "addresses": [{ "type": "InternalIP", "address": "127.0.0.1" }],
        "daemonEndpoints": { "kubeletEndpoint": { "Port": log_port } },
        "conditions": [{
            "type": "Ready", "status": "True", "reason": "KubeletReady", "message": "played by a test", "lastHeartbeatTime": now(),
        }],
    } })
}
