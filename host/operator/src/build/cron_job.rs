//! The CronJob that triggers a session: its pod creates a BackupSession and ends.

use coffer_api::core::{BackupConfiguration, Session};
use coffer_api::meta::cluster_role;
use coffer_api::names;
use k8s_openapi::api::batch::v1::{CronJob, CronJobSpec, JobSpec, JobTemplateSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::ResourceExt as _;
use kube::api::ObjectMeta;

use crate::build::job::Work;
use crate::build::settings::Settings;
use crate::build::volumes::Volumes;
use crate::build::{Invoker, labels, owner, pod, role_binding, service_account};
use crate::error::Error;
use crate::options::Options;
use crate::reach::Reach;

/// How long a trigger may take, and how often it is tried, when the user does not say.
const TRIGGER_SECONDS: i64 = 600;
const TRIGGER_RETRIES: i32 = 1;

/// A CronJob with what it needs.
#[derive(Debug, Clone)]
pub(crate) struct Trigger {
    pub(crate) service_account: Option<ServiceAccount>,
    pub(crate) role_bindings: Vec<RoleBinding>,
    pub(crate) cron_job: CronJob,
}

/// The CronJob of a session. With `suspend`, it waits.
pub(crate) fn build(
    configuration: &BackupConfiguration,
    session: &Session,
    suspend: bool,
    options: &Options,
) -> Result<Trigger, Error> {
    let namespace = configuration.namespace().unwrap_or_default();
    let configuration_name = configuration.name_any();
    let session_name = session.name.clone().unwrap_or_default();
    let name = names::trigger(&configuration_name, &session_name);
    let scheduler = session.scheduler.clone().unwrap_or_default();
    let template = &scheduler.job_template;
    let settings = Settings::of_template(template.template.as_ref(), None);
    let invoker = Invoker::of(configuration);
    let owner = owner(configuration)?;
    let args = ["run", "trigger", "--namespace", &namespace, "--configuration", &configuration_name, "--session"];
    let work = Work {
        namespace: namespace.clone(),
        name: name.clone(),
        invoker: invoker.clone(),
        owner: Some(owner.clone()),
        component: None,
        session: Some(session_name.clone()),
        container: "trigger".to_owned(),
        args: args.into_iter().chain([session_name.as_str()]).map(str::to_owned).collect(),
        role: cluster_role::CRON_JOB,
        reach: Reach::within(&namespace),
        volumes: Volumes::scratch(),
        settings,
        deadline: None,
    };
    let account = work.settings.service_account().unwrap_or(&name).to_owned();
    let labels = labels(&invoker, None, Some(&session_name));
    let mut job_labels = work.settings.job_labels.clone();
    job_labels.extend(labels.clone());
    let cron_job = CronJob {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            namespace: Some(namespace.clone()),
            labels: Some(labels),
            owner_references: Some(vec![owner.clone()]),
            ..ObjectMeta::default()
        },
        spec: Some(CronJobSpec {
            schedule: scheduler.schedule.clone(),
            starting_deadline_seconds: scheduler.starting_deadline_seconds,
            concurrency_policy: Some(scheduler.concurrency_policy.clone().unwrap_or_else(|| "Allow".to_owned())),
            suspend: Some(suspend || scheduler.suspend == Some(true)),
            successful_jobs_history_limit: scheduler.successful_jobs_history_limit,
            failed_jobs_history_limit: scheduler.failed_jobs_history_limit,
            job_template: JobTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(job_labels),
                    annotations: Some(work.settings.job_annotations.clone()).filter(|all| !all.is_empty()),
                    ..ObjectMeta::default()
                }),
                spec: Some(JobSpec {
                    parallelism: template.parallelism,
                    completions: template.completions,
                    active_deadline_seconds: Some(template.active_deadline_seconds.unwrap_or(TRIGGER_SECONDS)),
                    backoff_limit: Some(template.backoff_limit.unwrap_or(TRIGGER_RETRIES)),
                    completion_mode: template.completion_mode.clone(),
                    suspend: template.suspend,
                    ttl_seconds_after_finished: template.ttl_seconds_after_finished,
                    template: pod::template(&work, options)?,
                    ..JobSpec::default()
                }),
            },
            ..CronJobSpec::default()
        }),
        ..CronJob::default()
    };
    Ok(Trigger {
        service_account: service_account::build(&namespace, &name, &invoker, Some(owner.clone()), &work.settings),
        role_bindings: role_binding::build(
            (&namespace, &name),
            &account,
            work.role,
            &work.reach,
            &invoker,
            Some(&owner),
        ),
        cron_job,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::job::tests::{assert_restricted, options};
    use serde_json::json;

    fn configuration() -> BackupConfiguration {
        serde_json::from_value(json!({
            "apiVersion": "core.kubestash.com/v1alpha1", "kind": "BackupConfiguration",
            "metadata": {"name": "sample", "namespace": "demo", "uid": "u"},
            "spec": {"sessions": [{"name": "daily", "scheduler": {
                "schedule": "0 3 * * *", "startingDeadlineSeconds": 60, "successfulJobsHistoryLimit": 0,
                "jobTemplate": {"backoffLimit": 3, "template": {"controller": {}, "metadata": {}, "spec": {"resources": {}}}},
            }}]},
        }))
        .unwrap()
    }

    #[test]
    fn a_trigger_creates_a_session_and_no_more() {
        let configuration = configuration();
        let trigger = build(&configuration, &configuration.spec.sessions[0], false, &options()).unwrap();
        let cron_job = serde_json::to_value(&trigger.cron_job).unwrap();
        assert_eq!(cron_job["metadata"]["name"], "trigger-sample-daily");
        assert_eq!(cron_job["metadata"]["ownerReferences"][0]["uid"], "u");
        let spec = &cron_job["spec"];
        assert_eq!(spec["schedule"], "0 3 * * *");
        assert_eq!(spec["suspend"], false);
        assert_eq!(spec["concurrencyPolicy"], "Allow");
        assert_eq!(spec["startingDeadlineSeconds"], 60);
        assert_eq!(spec["successfulJobsHistoryLimit"], 0);
        assert_eq!(spec["jobTemplate"]["spec"]["backoffLimit"], 3);
        let pod = &spec["jobTemplate"]["spec"]["template"]["spec"];
        assert_restricted(pod);
        assert_eq!(
            pod["containers"][0]["args"],
            json!(["run", "trigger", "--namespace", "demo", "--configuration", "sample", "--session", "daily"])
        );
        assert_eq!(trigger.role_bindings.len(), 1);
        assert_eq!(trigger.role_bindings[0].role_ref.name, "kubestash-cron-job");
        assert_eq!(trigger.service_account.unwrap().metadata.name.as_deref(), Some("trigger-sample-daily"));
    }

    #[test]
    fn it_waits_when_either_wants_it_to() {
        let mut configuration = configuration();
        let suspended = |configuration: &BackupConfiguration, suspend| {
            let trigger = build(configuration, &configuration.spec.sessions[0], suspend, &options()).unwrap();
            trigger.cron_job.spec.unwrap().suspend.unwrap()
        };
        assert!(suspended(&configuration, true));
        configuration.spec.sessions[0].scheduler.as_mut().unwrap().suspend = Some(true);
        assert!(suspended(&configuration, false));
    }
}
