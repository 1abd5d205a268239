//! How a Job is doing, from what Kubernetes says of it and of its pods.

use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use serde_json::Value;

/// How long after the end of its grace a pod that is still there means that its node has vanished.
const NODE_PATIENCE: Duration = Duration::from_mins(1);
/// The longest quotation of a pod's last words.
const LAST_WORDS: usize = 300;

/// How a Job is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum JobState {
    /// There is none.
    Missing,
    /// No container of it has started, for so long, and why.
    Waiting(Duration, String),
    /// At work.
    Running,
    /// It is over or gone, but its pod is not: it is in its grace period and may still write.
    Ending(String),
    /// It ended well.
    Complete,
    /// It ended badly, or will never end, and why.
    Failed(String),
}

impl JobState {
    /// Whether nothing of it runs or will run.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self, Self::Missing | Self::Complete | Self::Failed(_))
    }
}

/// How a Job is doing. `pods` are the Job's; of one that is gone, those that it has left.
pub(crate) fn of(job: Option<&Job>, pods: &[impl AsRef<Pod>], now: Timestamp) -> JobState {
    let pods: Vec<&Pod> = pods.iter().map(AsRef::as_ref).collect();
    let state = job.map_or(JobState::Missing, |job| by_job_and_pods(job, &pods, now));
    match pods.iter().find(|pod| may_write(pod, now)) {
        Some(pod) if state.is_over() => JobState::Ending(format!("pod {} has not ended yet", pod.name_any())),
        _ => state,
    }
}

fn by_job_and_pods(job: &Job, pods: &[&Pod], now: Timestamp) -> JobState {
    if let Some(state) = said_by_job(job, pods) {
        return state;
    }
    if let Some(why) = pods.iter().find_map(|pod| failure(pod)) {
        return JobState::Failed(why);
    }
    if let Some(pod) = pods.iter().find(|pod| is_lost(pod, now)) {
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or("its node");
        return JobState::Failed(format!("pod {} is gone with {node}, which does not answer any more", pod.name_any()));
    }
    if pods.iter().any(|pod| has_started(pod)) {
        return JobState::Running;
    }
    let created = pods.first().and_then(|pod| pod.creation_timestamp()).or_else(|| job.creation_timestamp());
    let since = created.map(|created| elapsed(created.0, now)).unwrap_or_default();
    let why = pods.iter().find_map(|pod| obstacle(pod)).unwrap_or_else(|| match pods.first() {
        Some(pod) => format!("pod {} has not started", pod.name_any()),
        None => "Kubernetes has not created its pod".to_owned(),
    });
    JobState::Waiting(since, why)
}

/// What the Job's own conditions say. `FailureTarget` and `SuccessCriteriaMet` come before the last pod has gone.
fn said_by_job(job: &Job, pods: &[&Pod]) -> Option<JobState> {
    let conditions = job.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let holding = conditions.filter(|condition| condition.status == "True");
    for condition in holding {
        match condition.type_.as_str() {
            "Complete" | "SuccessCriteriaMet" => return Some(JobState::Complete),
            "Failed" | "FailureTarget" => {
                let own = || {
                    let reason = condition.reason.as_deref().unwrap_or("the Job failed");
                    let message = condition.message.as_deref().unwrap_or_default();
                    format!("{reason}: {message}").trim_end_matches([':', ' ']).to_owned()
                };
                // A deadline is the Job's own affair; otherwise the pod knows more.
                let of_pod = pods.iter().find_map(|pod| failure(pod));
                let deadline = condition.reason.as_deref() == Some("DeadlineExceeded");
                return Some(JobState::Failed(of_pod.filter(|_| !deadline).unwrap_or_else(own)));
            }
            _ => {}
        }
    }
    None
}

/// Why a pod failed; `None` if it has not.
fn failure(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    if status.phase.as_deref() != Some("Failed") {
        return None;
    }
    let name = pod.name_any();
    if let Some(reason) = status.reason.as_deref() {
        let message = status.message.as_deref().unwrap_or_default();
        return Some(format!("pod {name} ended: {reason}: {message}").trim_end_matches([':', ' ']).to_owned());
    }
    let disrupted =
        status.conditions.iter().flatten().find(|one| one.type_ == "DisruptionTarget" && one.status == "True");
    if let Some(disruption) = disrupted {
        let reason = disruption.reason.as_deref().unwrap_or("disrupted");
        let message = disruption.message.as_deref().unwrap_or_default();
        return Some(format!("pod {name} ended: {reason}: {message}").trim_end_matches([':', ' ']).to_owned());
    }
    let containers = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    let ended = containers.filter_map(terminated).find(|(_, code, ..)| *code != 0);
    Some(match ended {
        Some((container, code, reason, message)) => {
            let words = last_words(&message).map(|words| format!(": {words}")).unwrap_or_default();
            let reason = if reason.is_empty() || reason == "Error" { String::new() } else { format!(" ({reason})") };
            format!("container {container} of pod {name} ended with code {code}{reason}{words}")
        }
        None => format!("pod {name} failed"),
    })
}

fn terminated(container: &ContainerStatus) -> Option<(&str, i32, String, String)> {
    let ended = container.state.as_ref()?.terminated.as_ref()?;
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    Some((&container.name, ended.exit_code, text(&ended.reason), text(&ended.message)))
}

/// The last line that a container wrote; of a line of a JSON log, its message.
fn last_words(log: &str) -> Option<String> {
    let line = log.lines().rev().map(str::trim).find(|line| !line.is_empty())?;
    let parsed = serde_json::from_str::<Value>(line).ok();
    let message = parsed.as_ref().and_then(|value| {
        ["/message", "/fields/message", "/error"].iter().find_map(|path| value.pointer(path)?.as_str())
    });
    Some(message.unwrap_or(line).chars().take(LAST_WORDS).collect())
}

fn has_started(pod: &Pod) -> bool {
    let Some(status) = &pod.status else { return false };
    if matches!(status.phase.as_deref(), Some("Running" | "Succeeded" | "Unknown")) {
        return true;
    }
    // Init containers are at work while the pod is still Pending.
    status.init_container_statuses.iter().chain(&status.container_statuses).flatten().any(|container| {
        container.state.as_ref().is_some_and(|state| state.running.is_some() || state.terminated.is_some())
    })
}

/// Whether something in a pod runs or may begin to: it has started, or is on a node that has not let go of it yet. A pod whose node has vanished
/// is given up.
pub(crate) fn may_write(pod: &Pod, now: Timestamp) -> bool {
    let is_going = pod.metadata.deletion_timestamp.is_some();
    let is_placed = pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
    !is_finished(pod) && !is_lost(pod, now) && (has_started(pod) || (is_going && is_placed))
}

fn is_finished(pod: &Pod) -> bool {
    matches!(pod.status.as_ref().and_then(|status| status.phase.as_deref()), Some("Succeeded" | "Failed"))
}

/// A pod that should be gone by now: its kubelet does not answer.
fn is_lost(pod: &Pod, now: Timestamp) -> bool {
    let ends = pod.metadata.deletion_timestamp.as_ref();
    !is_finished(pod) && ends.is_some_and(|ends| elapsed(ends.0, now) > NODE_PATIENCE)
}

/// What keeps a pod from starting.
fn obstacle(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let containers = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    let waiting = containers.filter_map(|container| {
        let waiting = container.state.as_ref()?.waiting.as_ref()?;
        let reason =
            waiting.reason.as_deref().filter(|reason| !matches!(*reason, "ContainerCreating" | "PodInitializing"))?;
        Some(format!("{reason}: {}", waiting.message.as_deref().unwrap_or_default()))
    });
    let conditions = status.conditions.iter().flatten().filter_map(|condition| {
        let unscheduled = condition.type_ == "PodScheduled" && condition.status == "False";
        let (reason, message) = (condition.reason.as_deref()?, condition.message.as_deref().unwrap_or_default());
        unscheduled.then(|| format!("{reason}: {message}"))
    });
    let what = waiting.chain(conditions).next()?;
    Some(format!("pod {}: {what}", pod.name_any()).trim_end_matches([':', ' ']).to_owned())
}

fn elapsed(since: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(since)).unwrap_or_default()
}

#[cfg(test)]
#[expect(clippy::needless_pass_by_value, reason = "JSON literals are handed over as they are")]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn job(status: Value) -> Job {
        serde_json::from_value(
            json!({"metadata": {"name": "j", "creationTimestamp": at(0).to_string()}, "status": status}),
        )
        .unwrap()
    }

    fn pod(status: Value) -> Box<Pod> {
        let value = json!({
            "metadata": {"name": "j-x", "creationTimestamp": at(0).to_string()},
            "spec": {"containers": [], "nodeName": "node-7"}, "status": status,
        });
        serde_json::from_value(value).unwrap()
    }

    fn state(job_status: Value, pod_status: Option<Value>) -> JobState {
        let pods: Vec<_> = pod_status.map(pod).into_iter().collect();
        of(Some(&job(job_status)), &pods, at(400))
    }

    #[test]
    fn a_job_that_is_not_there_is_missing() {
        assert_eq!(of(None, &Vec::<Box<Pod>>::new(), at(0)), JobState::Missing);
    }

    #[rstest]
    #[case("Complete", JobState::Complete)]
    #[case("SuccessCriteriaMet", JobState::Complete)]
    #[case("Suspended", JobState::Waiting(Duration::from_secs(400), "Kubernetes has not created its pod".to_owned()))]
    fn the_jobs_own_word_counts(#[case] type_: &str, #[case] expected: JobState) {
        assert_eq!(state(json!({"conditions": [{"type": type_, "status": "True"}]}), None), expected);
    }

    #[rstest]
    #[case::evicted(json!({"phase": "Failed", "reason": "Evicted", "message": "low on memory"}), "pod j-x ended: Evicted: low on memory")]
    #[case::killed(json!({"phase": "Failed", "containerStatuses": [{"name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}]}), "container c of pod j-x ended with code 137 (OOMKilled)")]
    #[case::said_why(json!({"phase": "Failed", "containerStatuses": [{"name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"terminated": {"exitCode": 1, "reason": "Error", "message": "first\n{\"level\":\"ERROR\",\"fields\":{\"message\":\"access denied\"}}\n"}}}]}),
        "container c of pod j-x ended with code 1: access denied")]
    #[case::preempted(json!({"phase": "Failed", "conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}]}),
        "pod j-x ended: PreemptionByScheduler")]
    fn a_failed_pod_fails_the_job_with_its_reason(#[case] status: Value, #[case] why: &str) {
        // Before the Job controller has noticed, and after.
        assert_eq!(state(json!({}), Some(status.clone())), JobState::Failed(why.to_owned()));
        for type_ in ["Failed", "FailureTarget"] {
            let of_job = json!({"conditions": [{"type": type_, "status": "True", "reason": "BackoffLimitExceeded", "message": "no"}]});
            assert_eq!(state(of_job, Some(status.clone())), JobState::Failed(why.to_owned()));
        }
    }

    #[test]
    fn a_deadline_is_named_and_so_is_a_failure_without_a_pod() {
        let deadline = json!({"conditions": [{"type": "Failed", "status": "True", "reason": "DeadlineExceeded", "message": "Job was active too long"}]});
        assert_eq!(state(deadline, None), JobState::Failed("DeadlineExceeded: Job was active too long".to_owned()));
    }

    #[rstest]
    #[case::image(json!({"phase": "Pending", "containerStatuses": [{"name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}]}), "pod j-x: ImagePullBackOff: no such image")]
    #[case::unschedulable(json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}]}),
        "pod j-x: Unschedulable: 0/3 nodes")]
    #[case::creating(json!({"phase": "Pending", "containerStatuses": [{"name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"waiting": {"reason": "ContainerCreating"}}}]}), "pod j-x has not started")]
    fn a_pod_that_does_not_start_says_why(#[case] status: Value, #[case] why: &str) {
        assert_eq!(
            state(json!({"active": 1}), Some(status)),
            JobState::Waiting(Duration::from_secs(400), why.to_owned())
        );
    }

    #[test]
    fn a_pod_at_work_runs_even_in_its_init_containers() {
        assert_eq!(state(json!({"active": 1}), Some(json!({"phase": "Running"}))), JobState::Running);
        let init = json!({"phase": "Pending", "initContainerStatuses": [{"name": "i", "image": "", "imageID": "", "ready": false,
            "restartCount": 0, "state": {"running": {}}}]});
        assert_eq!(state(json!({"active": 1}), Some(init)), JobState::Running);
    }

    #[test]
    fn a_job_is_not_over_before_its_pod_is() {
        let mut going = pod(json!({"phase": "Running"}));
        going.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(330)));
        let killed = json!({"conditions": [{"type": "FailureTarget", "status": "True", "reason": "DeadlineExceeded"}]});
        let (gone, killed, done) =
            (None, Some(job(killed)), Some(job(json!({"conditions": [{"type": "Complete", "status": "True"}]}))));
        for of_job in [gone.as_ref(), killed.as_ref(), done.as_ref()] {
            let state = of(of_job, std::slice::from_ref(&going), at(310));
            assert!(matches!(&state, JobState::Ending(why) if why.contains("j-x")) && !state.is_over(), "{state:?}");
            // Its node has vanished with it.
            assert!(of(of_job, std::slice::from_ref(&going), at(400)).is_over());
        }
        // The garbage collector has not come to it yet.
        assert!(!of(None, &[pod(json!({"phase": "Running"}))], at(310)).is_over());
        let mut starting = pod(json!({"phase": "Pending"}));
        assert_eq!(of(None, std::slice::from_ref(&starting), at(310)), JobState::Missing, "nothing of it has begun");
        starting.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(330)));
        assert!(!of(None, std::slice::from_ref(&starting), at(310)).is_over(), "its node may be about to start it");
        for phase in ["Succeeded", "Failed"] {
            assert_eq!(of(None, &[pod(json!({"phase": phase}))], at(310)), JobState::Missing);
        }
    }

    #[test]
    fn a_pod_that_outlives_its_grace_has_lost_its_node() {
        let mut lost = pod(json!({"phase": "Running"}));
        lost.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(300)));
        assert_eq!(of(Some(&job(json!({"active": 1}))), &[lost.clone()], at(350)), JobState::Running);
        let JobState::Failed(why) = of(Some(&job(json!({"active": 1}))), &[lost], at(361)) else { panic!() };
        assert!(why.contains("node-7"), "{why}");
    }
}
