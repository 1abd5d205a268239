//! Whether a BackupSession runs at all.

use coffer_api::core::{BackupConfiguration, BackupSession};
use coffer_api::phase::session_is_final;
use coffer_api::{lifecycle, names};
use kube::ResourceExt as _;

use crate::backup_session::view::session_of;

/// Whether it was decided that the session runs.
pub(crate) fn is_admitted(session: &BackupSession) -> bool {
    session.status.as_ref().is_some_and(|status| status.total_snapshots.is_some())
}

/// Why a session does not run. `others` are the newest states of the other sessions of its kind.
pub(crate) fn refusal(
    session: &BackupSession,
    configuration: Option<&BackupConfiguration>,
    others: &[BackupSession],
) -> Option<String> {
    let name = session.name_any();
    if name.len() > names::MAX_LABEL {
        return Some(format!(
            "its name is longer than {} characters, and its Job needs it; choose a shorter one",
            names::MAX_LABEL
        ));
    }
    let Some(invoker) = session.spec.invoker.as_ref().filter(|invoker| invoker.kind == "BackupConfiguration") else {
        return Some("its invoker is no BackupConfiguration; set spec.invoker".to_owned());
    };
    let this = format!("BackupConfiguration {}", invoker.name);
    let Some(configuration) = configuration else { return Some(format!("{this} does not exist; create it first")) };
    if configuration.metadata.deletion_timestamp.is_some() {
        return Some(format!("{this} is being deleted"));
    }
    let wanted = session.spec.session.as_deref().unwrap_or_default();
    if session_of(configuration, session).is_none() {
        return Some(format!("{this} has no session {wanted:?}; correct spec.session"));
    }
    lifecycle::skip(session, configuration, others).or_else(|| {
        // One that was decided upon runs, even if it should turn out to be younger by the name.
        let over = |other: &BackupSession| session_is_final(other.status.as_ref().and_then(|status| status.phase));
        let running = others.iter().find(|other| is_admitted(other) && !over(other))?;
        Some(format!("BackupSession {} of the same session has not finished", running.name_any()))
    })
}

#[cfg(test)]
#[expect(clippy::needless_pass_by_value, reason = "JSON literals are handed over as they are")]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::{Value, json};

    fn session(name: &str, created: &str, status: Value) -> BackupSession {
        serde_json::from_value(json!({
            "apiVersion": "core.kubestash.com/v1alpha1", "kind": "BackupSession",
            "metadata": {"name": name, "namespace": "demo", "creationTimestamp": created},
            "spec": {"invoker": {"kind": "BackupConfiguration", "name": "sample"}, "session": "daily"},
            "status": status,
        }))
        .unwrap()
    }

    fn configuration(spec: Value, status: Value) -> BackupConfiguration {
        let mut all = json!({"sessions": [{"name": "daily"}]});
        all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        serde_json::from_value(json!({
            "apiVersion": "core.kubestash.com/v1alpha1", "kind": "BackupConfiguration",
            "metadata": {"name": "sample", "namespace": "demo"}, "spec": all, "status": status,
        }))
        .unwrap()
    }

    fn ours() -> BackupSession {
        session("sample-daily-2", "2026-01-01T00:00:02Z", json!({}))
    }

    #[rstest]
    #[case::ready(json!({}), json!({"phase": "Ready"}), None)]
    #[case::paused(json!({"paused": true}), json!({"phase": "Ready"}), Some("BackupConfiguration sample is paused; resume it with spec.paused: false"))]
    #[case::new(json!({}), json!({}), Some("BackupConfiguration sample is not Ready; its conditions say what is missing"))]
    #[case::invalid(json!({}), json!({"phase": "Invalid"}), Some("BackupConfiguration sample is not Ready; its conditions say what is missing"))]
    #[case::other(json!({"sessions": []}), json!({"phase": "Ready"}), Some("BackupConfiguration sample has no session \"daily\"; correct spec.session"))]
    fn the_configuration_must_be_ready(#[case] spec: Value, #[case] status: Value, #[case] expected: Option<&str>) {
        let refused = refusal(&ours(), Some(&configuration(spec, status)), &[]);
        assert_eq!(refused.as_deref(), expected);
    }

    #[test]
    fn there_must_be_a_configuration() {
        assert_eq!(refusal(&ours(), None, &[]).unwrap(), "BackupConfiguration sample does not exist; create it first");
    }

    #[rstest]
    #[case::older_and_waiting("2026-01-01T00:00:01Z", json!({}), true)]
    #[case::older_and_running("2026-01-01T00:00:01Z", json!({"totalSnapshots": 1, "phase": "Running"}), true)]
    #[case::older_and_done("2026-01-01T00:00:01Z", json!({"totalSnapshots": 1, "phase": "Failed"}), false)]
    #[case::younger_and_waiting("2026-01-01T00:00:03Z", json!({}), false)]
    #[case::younger_and_running("2026-01-01T00:00:03Z", json!({"totalSnapshots": 1}), true)]
    #[case::skipped("2026-01-01T00:00:01Z", json!({"phase": "Skipped"}), false)]
    fn one_at_a_time(#[case] created: &str, #[case] status: Value, #[case] refused: bool) {
        let other = session("sample-daily-1", created, status);
        let ready = configuration(json!({}), json!({"phase": "Ready"}));
        assert_eq!(refusal(&ours(), Some(&ready), &[other]).is_some(), refused);
    }

    proptest::proptest! {
        /// Whatever the order in which they are looked at, exactly one of several new sessions runs.
        #[test]
        fn exactly_one_of_several_new_sessions_runs(seconds in proptest::collection::vec(0_u8..3, 1..6), first in 0_usize..6) {
            let ready = configuration(json!({}), json!({"phase": "Ready"}));
            let mut sessions: Vec<_> = seconds.iter().enumerate().map(|(index, second)| {
                session(&format!("s-{index}"), &format!("2026-01-01T00:00:0{second}Z"), Value::Null)
            }).collect();
            let count = sessions.len();
            for turn in 0..count {
                let index = (turn + first) % count;
                let others: Vec<_> =
                    sessions.iter().enumerate().filter(|(other, _)| *other != index).map(|(_, one)| one.clone()).collect();
                let status = match refusal(&sessions[index], Some(&ready), &others) {
                    Some(_) => json!({"phase": "Skipped"}),
                    None => json!({"totalSnapshots": 1, "phase": "Pending"}),
                };
                sessions[index].status = serde_json::from_value(status).unwrap();
            }
            proptest::prop_assert_eq!(sessions.iter().filter(|one| is_admitted(one)).count(), 1);
        }
    }
}
