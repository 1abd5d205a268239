//! What is wrong with a RestoreSession in itself.

use coffer_api::core::RestoreSession;
use coffer_api::{duration, names};
use kube::ResourceExt as _;

/// Everything that is wrong.
pub(super) fn problems(session: &RestoreSession) -> Vec<String> {
    let mut problems = Vec::new();
    let mut problem = |text: &str| problems.push(text.to_owned());
    let spec = &session.spec;
    if session.name_any().len() > names::MAX_LABEL {
        problem("its name is longer than 63 characters, and its Job needs it; choose a shorter one");
    }
    if spec.target.is_none() {
        problem("it has no target; set spec.target to what to restore into");
    }
    match &spec.data_source {
        None => problem("it has no dataSource; set spec.dataSource"),
        Some(data) => {
            let has_repository = data.repository.as_deref().is_some_and(|name| !name.is_empty());
            let snapshot = data.snapshot.as_deref().unwrap_or_default();
            if let Some(pitr) = &data.pitr {
                if pitr.target_time.is_none() {
                    problem("dataSource.pitr has no targetTime; set it, like 2026-01-31T12:00:00Z");
                }
                if !has_repository {
                    problem("dataSource.pitr needs a repository; set dataSource.repository");
                }
            } else if snapshot.is_empty() {
                problem("dataSource has no snapshot; set it to latest or to the name of a Snapshot");
            } else if snapshot == "latest" && !has_repository {
                problem("snapshot latest needs a repository; set dataSource.repository");
            }
        }
    }
    match &spec.addon {
        None => problem("it has no addon; set addon.name and addon.tasks"),
        Some(addon) if addon.name.as_deref().is_none_or(str::is_empty) => {
            problem("its addon has no name; set addon.name");
        }
        Some(addon) if addon.tasks.is_empty() => problem("its addon has no tasks; add one to addon.tasks"),
        Some(_) => {}
    }
    if spec.hooks.as_ref().is_some_and(|hooks| !hooks.pre_restore.is_empty() || !hooks.post_restore.is_empty()) {
        problem("it has hooks, and this version runs none; remove them");
    }
    if let Some(Err(error)) = spec.restore_timeout.as_deref().filter(|text| !text.is_empty()).map(duration::parse) {
        problem(&format!("restoreTimeout: {error}"));
    }
    problems
}

#[cfg(test)]
#[expect(clippy::needless_pass_by_value, reason = "JSON literals are handed over as they are")]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::{Value, json};

    fn session(changes: Value) -> RestoreSession {
        let mut spec = json!({
            "target": {"kind": "MySQL", "name": "m"}, "dataSource": {"repository": "r", "snapshot": "latest"},
            "addon": {"name": "mysql-addon", "tasks": [{"name": "logical-backup-restore"}]},
        });
        spec.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        serde_json::from_value(json!({
            "apiVersion": "core.kubestash.com/v1alpha1", "kind": "RestoreSession", "metadata": {"name": "r"}, "spec": spec,
        }))
        .unwrap()
    }

    #[test]
    fn a_usual_one_is_right() {
        assert_eq!(problems(&session(json!({}))), Vec::<String>::new());
        let by_time = json!({"dataSource": {"repository": "r", "pitr": {"targetTime": "2026-01-31T12:00:00Z"}}});
        assert_eq!(problems(&session(by_time)), Vec::<String>::new());
    }

    #[rstest]
    #[case(json!({"target": null}), "it has no target")]
    #[case(json!({"dataSource": null}), "it has no dataSource")]
    #[case(json!({"dataSource": {"repository": "r"}}), "dataSource has no snapshot")]
    #[case(json!({"dataSource": {"snapshot": "latest"}}), "snapshot latest needs a repository")]
    #[case(json!({"dataSource": {"pitr": {"targetTime": "2026-01-31T12:00:00Z"}}}), "dataSource.pitr needs a repository")]
    #[case(json!({"dataSource": {"repository": "r", "pitr": {}}}), "dataSource.pitr has no targetTime")]
    #[case(json!({"addon": null}), "it has no addon")]
    #[case(json!({"addon": {"name": "a"}}), "its addon has no tasks")]
    #[case(json!({"restoreTimeout": "soon"}), "restoreTimeout")]
    #[case(json!({"hooks": {"preRestore": [{"name": "h"}]}}), "it has hooks")]
    fn what_is_wrong_is_named(#[case] changes: Value, #[case] text: &str) {
        let found = problems(&session(changes));
        assert!(found.len() == 1 && found[0].contains(text), "{found:?}");
    }
}
