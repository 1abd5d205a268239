//! What a kubelet reports of a pod, as a function of what its containers do.

use k8s_openapi::api::core::v1::{Container, Pod};
use serde_json::{Value, json};

/// What one container does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    Waiting { reason: String, message: String },
    Running { since: String },
    Ended { code: i32, since: String, at: String, message: String },
}

impl State {
    pub(super) fn waiting(reason: &str, message: &str) -> Self {
        Self::Waiting { reason: reason.into(), message: message.into() }
    }

    fn failed(&self) -> bool {
        matches!(self, Self::Ended { code, .. } if *code != 0)
    }

    fn ended(&self) -> bool {
        matches!(self, Self::Ended { .. })
    }
}

/// Why a pod failed that did not fail by itself.
#[derive(Clone, Debug)]
pub(super) struct Reason {
    pub(super) word: String,
    pub(super) message: String,
    /// Whether the node took the pod away (condition `DisruptionTarget`).
    pub(super) disruption: bool,
}

/// Whether a pod in this phase runs no more.
pub(super) fn is_final(phase: &str) -> bool {
    matches!(phase, "Succeeded" | "Failed")
}

/// The time as Kubernetes writes it.
pub(super) fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The phase of a pod that is never restarted.
pub(super) fn phase(inits: &[State], containers: &[State]) -> &'static str {
    if inits.iter().any(State::failed) {
        "Failed"
    } else if containers.iter().all(State::ended) {
        if containers.iter().any(State::failed) { "Failed" } else { "Succeeded" }
    } else if containers.iter().any(|state| !matches!(state, State::Waiting { .. })) {
        "Running"
    } else {
        "Pending"
    }
}

/// The patch of a pod's status.
pub(super) fn patch(pod: &Pod, started: &str, inits: &[State], containers: &[State], why: Option<&Reason>) -> Value {
    let spec = pod.spec.clone().unwrap_or_default();
    let phase = if why.is_some() { "Failed" } else { phase(inits, containers) };
    let initialized = inits.iter().all(|state| matches!(state, State::Ended { code: 0, .. }));
    let ready = phase == "Running" && containers.iter().all(|state| matches!(state, State::Running { .. }));
    let mut conditions = vec![
        condition("PodScheduled", true, ""),
        condition("Initialized", initialized, if initialized { "" } else { "ContainersNotInitialized" }),
        condition("ContainersReady", ready, if ready { "" } else { "ContainersNotReady" }),
        condition("Ready", ready, if ready { "" } else { "ContainersNotReady" }),
    ];
    if why.is_some_and(|why| why.disruption) {
        conditions.push(condition("DisruptionTarget", true, "TerminationByKubelet"));
    }
    // Conditions of others, such as the reason of an eviction through the API, stay.
    let others = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let known: Vec<String> =
        conditions.iter().filter_map(|condition| Some(condition.get("type")?.as_str()?.to_owned())).collect();
    conditions.extend(others.filter(|other| !known.contains(&other.type_)).map(|other| json!(other)));
    json!({ "status": {
        "phase": phase,
        "reason": why.map(|why| &why.word),
        "message": why.map(|why| &why.message),
        "hostIP": "127.0.0.1",
        "podIP": "127.0.0.1",
        "podIPs": [{ "ip": "127.0.0.1" }],
        "startTime": started,
        "conditions": conditions,
        "initContainerStatuses": states(spec.init_containers.as_deref().unwrap_or_default(), inits),
        "containerStatuses": states(&spec.containers, containers),
    } })
}

/// The patch of a pod that no node will have.
pub(super) fn unschedulable(message: &str) -> Value {
    let mut refused = condition("PodScheduled", false, "Unschedulable");
    refused["message"] = message.into();
    json!({ "status": { "phase": "Pending", "conditions": [refused] } })
}

fn condition(kind: &str, status: bool, reason: &str) -> Value {
    let reason = Some(reason).filter(|reason| !reason.is_empty());
    json!({ "type": kind, "status": if status { "True" } else { "False" }, "reason": reason })
}

fn states(containers: &[Container], states: &[State]) -> Value {
    let each = containers.iter().zip(states).map(|(container, state)| {
        let detail = match state {
            State::Waiting { reason, message } => json!({ "waiting": { "reason": reason, "message": message } }),
            State::Running { since } => json!({ "running": { "startedAt": since } }),
            State::Ended { code, since, at, message } => json!({ "terminated": {
                "exitCode": code,
                "reason": if *code == 0 { "Completed" } else { "Error" },
                "message": message,
                "startedAt": since,
                "finishedAt": at,
            } }),
        };
        let image = container.image.as_deref().unwrap_or_default();
        let running = matches!(state, State::Running { .. });
        json!({
            "name": container.name, "image": image, "imageID": image, "restartCount": 0, "ready": running, "started": running, "state": detail,
        })
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    use super::{State, phase};

    fn ended(code: i32) -> State {
        State::Ended { code, since: String::new(), at: String::new(), message: String::new() }
    }

    #[test]
    fn phases_follow_the_containers() {
        let waiting = || State::waiting("PodInitializing", "");
        let running = || State::Running { since: String::new() };
        assert_eq!(phase(&[running()], &[waiting()]), "Pending");
        assert_eq!(phase(&[ended(1)], &[waiting()]), "Failed");
        assert_eq!(phase(&[ended(0)], &[running()]), "Running");
        assert_eq!(phase(&[], &[ended(0), running()]), "Running");
        assert_eq!(phase(&[], &[ended(0), ended(0)]), "Succeeded");
        assert_eq!(phase(&[], &[ended(0), ended(3)]), "Failed");
    }
}
