//! `trigger`: the pod of a session's CronJob creates a BackupSession.

use coffer_api::core::{BackupConfiguration, BackupSession, BackupSessionSpec, Session};
use coffer_api::k8s_openapi::api::core::v1::TypedLocalObjectReference;
use coffer_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use coffer_api::{Resource as _, ResourceExt as _, core, lifecycle, meta, names};
use jiff::Timestamp;

use crate::error::JobError;
use crate::{End, Job};

/// How far a pod's name may lie behind the clock; a CronJob does not start what it missed longer ago.
const OLDEST: i64 = 7 * 24 * 3600;
/// How far it may lie before the clock.
const AHEAD: i64 = 300;
/// How many names are tried, each of a second later: long names of two configurations may be cut to the same.
const SHIFTS: i64 = 60;
/// Longest name of a pod that is certainly not cut.
const WHOLE_NAME: usize = 62;

/// Creates the BackupSession of a session, unless this pod's CronJob has created it for the same moment already. `pod` is the pod's name, if
/// there is one.
pub fn trigger(
    job: &Job,
    namespace: &str,
    configuration: &str,
    session: &str,
    pod: Option<&str>,
) -> Result<End, JobError> {
    let found: BackupConfiguration = job.required(namespace, configuration)?;
    let of = found.spec.sessions.iter().find(|one| one.name.as_deref() == Some(session)).ok_or_else(|| {
        let known: Vec<_> = found.spec.sessions.iter().filter_map(|one| one.name.as_deref()).collect();
        JobError::refused(
            format!("no backup of BackupConfiguration {namespace}/{configuration} is begun"),
            format!("it has no session {session}; it has: {}", known.join(", ")),
            "correct the session, or delete this CronJob",
        )
    })?;
    let cron_job = names::trigger(configuration, session);
    let now = Timestamp::now().as_second();
    let moment = pod.and_then(|pod| scheduled(pod, &cron_job, now)).unwrap_or(now);
    for shift in 0..SHIFTS {
        let object = backup_session(&found, of, moment + shift);
        let name = object.name_any();
        if job.objects().create(&object, false)?.is_some() {
            tracing::info!("BackupSession {namespace}/{name} is created");
            return Ok(End::Done);
        }
        let there: Option<BackupSession> = job.objects().get(namespace, &name)?;
        let is_ours = |one: &BackupSession| {
            (&one.spec.invoker, &one.spec.session) == (&object.spec.invoker, &object.spec.session)
        };
        // One that has gone meanwhile was there for long enough.
        if there.as_ref().is_none_or(is_ours) {
            tracing::info!("BackupSession {namespace}/{name} is there already");
            return Ok(End::Done);
        }
    }
    Err(JobError::refused(
        format!("no backup of BackupConfiguration {namespace}/{configuration} is begun"),
        "BackupSessions of others have the names that its own could have, which are cut",
        "give it a shorter name",
    ))
}

/// The moment that the CronJob means: its controller puts the minute into the name of the Job, which the name of the pod begins with. A pod that is
/// started once more for the same Job then means the same BackupSession.
fn scheduled(pod: &str, cron_job: &str, now: i64) -> Option<i64> {
    if pod.len() > WHOLE_NAME {
        return None;
    }
    let (minutes, _) = pod.strip_prefix(cron_job)?.strip_prefix('-')?.split_once('-')?;
    let moment = minutes.parse::<i64>().ok()?.checked_mul(60)?;
    (now - OLDEST..=now + AHEAD).contains(&moment).then_some(moment)
}

/// The BackupSession of a session at a moment, in seconds of Unix time.
pub fn backup_session(configuration: &BackupConfiguration, session: &Session, moment: i64) -> BackupSession {
    let name = configuration.name_any();
    let session_name = session.name.clone().unwrap_or_default();
    let kind = BackupConfiguration::kind(&()).into_owned();
    let spec = BackupSessionSpec {
        invoker: Some(TypedLocalObjectReference {
            api_group: Some(core::GROUP.to_owned()),
            kind: kind.clone(),
            name: name.clone(),
        }),
        session: session.name.clone(),
        retry_left: Some(lifecycle::retries(session.retry_config.as_ref())),
        backup_timeout: session.backup_timeout.clone(),
    };
    let mut object = BackupSession::new(&names::backup_session(&name, &session_name, moment), spec);
    object.metadata = ObjectMeta {
        namespace: configuration.namespace(),
        labels: Some([(meta::label::INVOKER_NAME.to_owned(), names::valid(&[&name]))].into()),
        // It does not block the deletion of its owner: that would take another right, which OpenShift checks.
        owner_references: configuration.uid().map(|uid| {
            vec![OwnerReference {
                api_version: BackupConfiguration::api_version(&()).into_owned(),
                kind,
                name,
                uid,
                controller: Some(true),
                block_owner_deletion: None,
            }]
        }),
        ..object.metadata
    };
    object
}

#[cfg(test)]
mod tests {
    use coffer_api::core::BackupConfigurationSpec;
    use coffer_api::shared::RetryConfig;

    use super::*;

    #[test]
    fn the_moment_is_in_the_name_of_the_pod() {
        let now = 28_912_345 * 60 + 7;
        let long = format!("trigger-{}-28912345-x7k2p", "b".repeat(48));
        for (pod, moment) in [
            ("trigger-bc-daily-28912345-x7k2p", Some(28_912_345 * 60)),
            ("trigger-bc-daily-28912340-x7k2p", Some(28_912_340 * 60)),
            // Made by hand, of another session, from the future, or years ago.
            ("trigger-bc-daily-manual-x7k2p", None),
            ("by-hand-x7k2p", None),
            ("trigger-bc-daily-2-28912345-x7k2p", None),
            ("trigger-bc-daily-28912399-x7k2p", None),
            ("trigger-bc-daily-1-x7k2p", None),
            ("trigger-bc-daily-99999999999999999999-x7k2p", None),
            ("trigger-bc-daily", None),
            // Cut: the digits may be.
            (long.as_str(), None),
        ] {
            assert_eq!(scheduled(pod, "trigger-bc-daily", now), moment, "{pod}");
        }
        assert_eq!(scheduled(&long, &format!("trigger-{}", "b".repeat(48)), now), None);
    }

    #[test]
    fn a_session_is_what_kubestash_creates() {
        let session = Session {
            name: Some("daily".into()),
            retry_config: Some(RetryConfig { max_retry: 2, delay: None }),
            backup_timeout: Some("30m".into()),
            ..Session::default()
        };
        let mut configuration = BackupConfiguration::new("bc", BackupConfigurationSpec::default());
        configuration.metadata.namespace = Some("demo".into());
        configuration.metadata.uid = Some("u-1".into());
        let made = backup_session(&configuration, &session, 1_724_065_200);
        assert_eq!(made.name_any(), "bc-daily-1724065200");
        assert_eq!(made.namespace().as_deref(), Some("demo"));
        assert_eq!(made.labels().get("kubestash.com/invoker-name").map(String::as_str), Some("bc"));
        assert_eq!((made.spec.retry_left, made.spec.backup_timeout.as_deref()), (Some(2), Some("30m")));
        let invoker = made.spec.invoker.as_ref().unwrap();
        assert_eq!((invoker.kind.as_str(), invoker.name.as_str()), ("BackupConfiguration", "bc"));
        let owner = &made.owner_references()[0];
        assert_eq!((owner.uid.as_str(), owner.controller, owner.block_owner_deletion), ("u-1", Some(true), None));
        let once = backup_session(&configuration, &Session { name: Some("daily".into()), ..Session::default() }, 1);
        assert_eq!(once.spec.retry_left, Some(0));
    }
}
