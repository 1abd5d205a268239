//! `logs`: what the pods of an object's Jobs print.

use std::time::Duration;

use coffer_api::core::{BackupConfiguration, BackupSession};
use coffer_api::k8s_openapi::api::batch::v1::Job;
use coffer_api::k8s_openapi::api::core::v1::Pod;
use coffer_api::meta::annotation::INVOKER;
use coffer_api::meta::label;
use coffer_api::{ResourceExt as _, names};
use coffer_resolve::Kind;
use coffer_resolve::objects::Namespaced;
use futures::{AsyncBufReadExt as _, StreamExt as _};
use jiff::Timestamp;
use kube::Api;
use kube::api::LogParams;

use crate::Plugin;
use crate::error::PluginError;
use crate::subject::{Subject, word};

/// How often it is looked whether to stop, and whether a pod has started.
const GLANCE: Duration = Duration::from_millis(500);
/// How long a stream may say nothing before it is asked whether its pod is still there.
const QUIET: Duration = Duration::from_secs(5);

/// What of the logs.
#[derive(Debug, Clone, Default)]
pub struct Logs {
    /// Session of a BackupConfiguration; the newest of all when absent.
    pub session: Option<String>,
    /// Whether to go on until the containers end.
    pub follow: bool,
    /// Only the last so many lines of each container.
    pub tail: Option<i64>,
    /// Only what is not older than this.
    pub since: Option<Duration>,
    /// With the time of each line.
    pub timestamps: bool,
}

/// Prints the logs of all pods of an object's Jobs, oldest pod first, and tells beside them what is waited for.
pub fn logs(
    plugin: &Plugin,
    namespace: &str,
    subject: &Subject,
    wanted: &Logs,
    print: &mut dyn FnMut(&str),
    tell: &mut dyn FnMut(&str),
) -> Result<(), PluginError> {
    let subject = worked_for(plugin, namespace, subject, wanted.session.as_deref())?;
    let mut pods = pods(plugin, namespace, &subject)?;
    if pods.is_empty() && wanted.follow {
        pods = first_pods(plugin, namespace, &subject, tell)?;
    }
    if pods.is_empty() {
        return Err(nothing(plugin, namespace, &subject)?);
    }
    let titles = pods.iter().map(|pod| containers(pod).len()).sum::<usize>() > 1;
    for pod in &pods {
        for container in containers(pod) {
            if titles {
                print(&format!("==> pod/{} ({container}) <==", pod.name_any()));
            }
            one(plugin, namespace, &pod.name_any(), &container, wanted, print, tell)?;
        }
    }
    Ok(())
}

/// The object that has Jobs: of a BackupConfiguration its newest BackupSession.
fn worked_for(
    plugin: &Plugin,
    namespace: &str,
    subject: &Subject,
    session: Option<&str>,
) -> Result<Subject, PluginError> {
    if subject.kind != Kind::BackupConfiguration {
        return Ok(subject.clone());
    }
    let configuration: BackupConfiguration = plugin.required(namespace, &subject.name)?;
    let all: Vec<BackupSession> = plugin.objects().list(Some(namespace), "")?;
    let of = |one: &&BackupSession| {
        one.spec.invoker.as_ref().is_some_and(|invoker| invoker.name == configuration.name_any())
            && (session.is_none() || one.spec.session.as_deref() == session)
    };
    let newest = all.iter().filter(of).max_by_key(|one| (created(*one), one.name_any()));
    let newest = newest.ok_or_else(|| {
        PluginError::refused(
            format!("there are no logs of BackupConfiguration {namespace}/{}", subject.name),
            "it has no BackupSession that matches",
            "begin a backup with `kubectl coffer trigger`",
        )
    })?;
    Ok(Subject { kind: Kind::BackupSession, name: newest.name_any() })
}

/// The pods that work for an object, oldest first.
pub(crate) fn pods(plugin: &Plugin, namespace: &str, subject: &Subject) -> Result<Vec<Pod>, PluginError> {
    let mut pods: Vec<Pod> = plugin.objects().list(Some(namespace), &selector(subject))?;
    // A label may be too short for the name.
    let this = format!("{}/{namespace}/{}", subject.kind.name(), subject.name);
    pods.retain(|pod| pod.annotations().get(INVOKER).is_none_or(|invoker| *invoker == this));
    pods.sort_by_cached_key(|pod| (created(pod), pod.name_any()));
    Ok(pods)
}

fn selector(subject: &Subject) -> String {
    let name = names::valid(&[&subject.name]);
    format!("{}={},{}={name}", label::INVOKER_KIND, subject.kind.name(), label::INVOKER_NAME)
}

fn created<K: Namespaced>(object: &K) -> Option<Timestamp> {
    object.meta().creation_timestamp.as_ref().map(|time| time.0)
}

/// Waits for the first pod of an object that has not ended.
fn first_pods(
    plugin: &Plugin,
    namespace: &str,
    subject: &Subject,
    tell: &mut dyn FnMut(&str),
) -> Result<Vec<Pod>, PluginError> {
    let mut told = false;
    loop {
        let pods = pods(plugin, namespace, subject)?;
        let over = !pods.is_empty() || ended(plugin, namespace, subject)?;
        if over {
            return Ok(pods);
        }
        if !told {
            told = true;
            tell(&format!("waiting: {} {namespace}/{} has no pod yet", subject.kind.name(), subject.name));
        }
        if plugin.cancel.wait(GLANCE) {
            return Err(stopped(plugin, &subject.name));
        }
    }
}

/// Whether a session has ended, or nobody knows: then no pod comes any more.
fn ended(plugin: &Plugin, namespace: &str, subject: &Subject) -> Result<bool, PluginError> {
    use coffer_api::core::RestoreSession;
    use coffer_api::phase::{restore_is_final, session_is_final};
    let name = subject.name.as_str();
    Ok(match subject.kind {
        Kind::BackupSession => {
            let found: BackupSession = plugin.required(namespace, name)?;
            session_is_final(found.status.and_then(|status| status.phase))
        }
        Kind::RestoreSession => {
            let found: RestoreSession = plugin.required(namespace, name)?;
            restore_is_final(found.status.and_then(|status| status.phase))
        }
        _ => true,
    })
}

/// Why there is no log: what the Jobs say, if there are any.
fn nothing(plugin: &Plugin, namespace: &str, subject: &Subject) -> Result<PluginError, PluginError> {
    let jobs: Vec<Job> = plugin.objects().list(Some(namespace), &selector(subject))?;
    let why = match jobs.as_slice() {
        [] => "it has no Job: it needs none, has not begun, or its Job was removed when it had ended".to_owned(),
        jobs => {
            let states: Vec<_> = jobs.iter().map(state).collect();
            format!("its Job has no pod: {}", states.join("; "))
        }
    };
    Ok(PluginError::refused(
        format!("there are no logs of {} {namespace}/{}", subject.kind.name(), subject.name),
        why,
        format!("see `kubectl coffer status {} -n {namespace}`", word(subject.kind, &subject.name)),
    ))
}

/// `Job x: Failed (BackoffLimitExceeded)`
fn state(job: &Job) -> String {
    let conditions = job.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let told: Vec<_> = conditions
        .filter(|one| one.status == "True")
        .map(|one| format!("{} ({})", one.type_, one.reason.as_deref().unwrap_or_default()))
        .collect();
    let told = if told.is_empty() { "no pod was made yet".to_owned() } else { told.join(", ") };
    format!("Job {}: {told}", job.name_any())
}

pub(crate) fn containers(pod: &Pod) -> Vec<String> {
    let spec = pod.spec.iter();
    let all = spec.flat_map(|spec| spec.init_containers.iter().flatten().chain(&spec.containers));
    all.map(|container| container.name.clone()).collect()
}

/// The log of one container.
fn one(
    plugin: &Plugin,
    namespace: &str,
    pod: &str,
    container: &str,
    wanted: &Logs,
    print: &mut dyn FnMut(&str),
    tell: &mut dyn FnMut(&str),
) -> Result<(), PluginError> {
    let api: Api<Pod> = Api::namespaced(plugin.cluster.client().clone(), namespace);
    let parameters = LogParams {
        container: Some(container.to_owned()),
        follow: wanted.follow,
        tail_lines: wanted.tail,
        since_seconds: wanted.since.map(|since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX).max(1)),
        timestamps: wanted.timestamps,
        ..LogParams::default()
    };
    let failed = |error: &kube::Error| unreadable((namespace, pod), error);
    let is_over = || -> Result<bool, PluginError> {
        Ok(plugin.objects().get::<Pod>(namespace, pod)?.is_none_or(|pod| has_ended(&pod)))
    };
    let (mut over, mut told) = (false, String::new());
    let stream = loop {
        match plugin.cluster.request_once(api.log_stream(pod, &parameters)) {
            Ok(stream) => break stream,
            // It has not started yet; what has ended will not.
            Err(kube::Error::Api(status)) if status.code == 400 && wanted.follow && !over => {
                if status.message != told {
                    tell(&format!("waiting: {}", status.message));
                    told.clone_from(&status.message);
                }
                over = is_over()?;
                if plugin.cancel.wait(GLANCE) {
                    return Err(stopped(plugin, pod));
                }
            }
            Err(error) => return Err(failed(&error)),
        }
    };
    let mut lines = Box::pin(stream.lines());
    let mut quiet = Duration::ZERO;
    while !plugin.cancel.is_cancelled() {
        let next = plugin.runtime.block_on(async { tokio::time::timeout(GLANCE, lines.next()).await });
        match next {
            // Whoever stands between may keep a stream open that says no more.
            Err(_) => {
                quiet += GLANCE;
                if quiet >= QUIET {
                    if is_over()? {
                        return Ok(());
                    }
                    quiet = Duration::ZERO;
                }
            }
            Ok(None) => return Ok(()),
            Ok(Some(Ok(line))) => {
                quiet = Duration::ZERO;
                print(&line);
            }
            Ok(Some(Err(error))) => return Err(failed(&kube::Error::ReadEvents(error))),
        }
    }
    Err(stopped(plugin, pod))
}

fn stopped(plugin: &Plugin, of: &str) -> PluginError {
    PluginError::Stopped {
        what: format!("the log of {of}"),
        why: plugin.cancel.reason().unwrap_or_default(),
        look: "kubectl coffer logs".to_owned(),
    }
}

fn has_ended(pod: &Pod) -> bool {
    matches!(pod.status.as_ref().and_then(|status| status.phase.as_deref()), Some("Succeeded" | "Failed"))
}

/// The last lines of a container, for whoever collects them.
pub(crate) fn tail(
    plugin: &Plugin,
    (namespace, pod): (&str, &str),
    container: &str,
    lines: i64,
    previous: bool,
) -> Result<String, PluginError> {
    let api: Api<Pod> = Api::namespaced(plugin.cluster.client().clone(), namespace);
    let parameters =
        LogParams { container: Some(container.to_owned()), tail_lines: Some(lines), previous, ..LogParams::default() };
    plugin.cluster.request_once(api.logs(pod, &parameters)).map_err(|error| unreadable((namespace, pod), &error))
}

/// Why a log cannot be read. The API server asks the pod's node for it, which may be the one that fails.
fn unreadable((namespace, pod): (&str, &str), error: &kube::Error) -> PluginError {
    let what = format!("cannot read the log of pod {namespace}/{pod}");
    match error {
        kube::Error::Api(status) if matches!(status.code, 401 | 403) => PluginError::refused(
            what,
            format!("the right to get pods/log in namespace {namespace} is missing ({})", status.message),
            "ask for that right",
        ),
        kube::Error::Api(status) if status.code == 404 => PluginError::refused(
            what,
            status.message.clone(),
            "the pod is gone; what came of it is in the status of its object",
        ),
        kube::Error::Api(status) if status.code == 400 => PluginError::refused(
            what,
            status.message.clone(),
            format!(
                "wait until it has started (-f does), or see why it does not with `kubectl describe pod {pod} -n {namespace}`"
            ),
        ),
        kube::Error::Api(status) => PluginError::refused(
            what,
            format!("the API server could not get it from the pod's node: {}", status.message),
            "check that the node's kubelet runs and can be reached from the API server, then try again",
        ),
        other => PluginError::refused(
            what,
            other.to_string(),
            "check that the cluster can be reached from here, then try again",
        ),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pods_are_found_by_what_they_work_for() {
        let subject = |name: &str| Subject { kind: Kind::BackupSession, name: name.to_owned() };
        assert_eq!(
            selector(&subject("x-1")),
            "kubestash.com/invoker-kind=BackupSession,kubestash.com/invoker-name=x-1"
        );
        let long = selector(&subject(&"x".repeat(100)));
        assert!(long.ends_with(&format!("={}", "x".repeat(63))), "{long}");
    }

    #[test]
    fn a_job_says_how_it_is() {
        let job = |status: serde_json::Value| -> Job {
            serde_json::from_value(json!({ "metadata": { "name": "j" }, "status": status })).unwrap()
        };
        assert_eq!(state(&job(json!({}))), "Job j: no pod was made yet");
        let failed = json!({ "conditions": [{ "type": "Failed", "status": "True", "reason": "DeadlineExceeded" }] });
        assert_eq!(state(&job(failed)), "Job j: Failed (DeadlineExceeded)");
    }

    #[test]
    fn a_log_that_cannot_be_read_says_why() {
        let error = |code: u16| {
            let status = json!({ "status": "Failure", "message": "so it is", "reason": "x", "code": code });
            let status: kube::core::Status = serde_json::from_value(status).unwrap();
            unreadable(("demo", "p"), &kube::Error::Api(Box::new(status))).to_string()
        };
        for (code, part) in [(403, "the right to get pods/log"), (404, "is gone"), (400, "-f does"), (500, "kubelet")] {
            let text = error(code);
            assert!(text.contains("demo/p") && text.contains("so it is") && text.contains(part), "{text}");
        }
    }
}
