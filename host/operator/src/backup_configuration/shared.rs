//! Repositories that several sessions, or several BackupConfigurations, write: all must want the same of them, or they would be changed for ever.

use std::collections::BTreeMap;
use std::sync::Arc;

use coffer_api::core::{BackupConfiguration, RepositoryReference};
use coffer_api::shared::{DeletionPolicy, ObjectReference};
use kube::ResourceExt as _;

use super::repositories::policies;
use crate::build::repository::deletion_policy;
use crate::stores::Stores;

/// Every repository of every session.
pub(crate) fn all_repositories(configuration: &BackupConfiguration) -> impl Iterator<Item = &RepositoryReference> {
    configuration.spec.sessions.iter().flat_map(|session| &session.repositories)
}

/// Whether two BackupConfigurations name the same Repository.
pub(crate) fn share(one: &BackupConfiguration, other: &BackupConfiguration) -> bool {
    one.metadata.namespace == other.metadata.namespace
        && all_repositories(one)
            .any(|ours| ours.name.is_some() && all_repositories(other).any(|theirs| theirs.name == ours.name))
}

/// The older BackupConfigurations that name one of its Repositories too. One that is being deleted wants nothing any more.
pub(super) fn elders(configuration: &BackupConfiguration, stores: &Stores) -> Vec<Arc<BackupConfiguration>> {
    let age = |one: &BackupConfiguration| (one.creation_timestamp().map(|time| time.0), one.name_any());
    let ours = age(configuration);
    let mut elders = stores.configurations.state_filter(|other| {
        other.metadata.deletion_timestamp.is_none() && age(other) < ours && share(configuration, other)
    });
    elders.sort_by_key(|elder| age(elder));
    elders
}

/// What a BackupConfiguration wants of a Repository, beside where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wish {
    policy: DeletionPolicy,
    secret: Option<ObjectReference>,
}

/// Where the sessions of a configuration contradict each other about a Repository, or the configuration an older one. The older one is in the right.
pub(super) fn contradictions(configuration: &BackupConfiguration, elders: &[Arc<BackupConfiguration>]) -> Vec<String> {
    let mut problems = Vec::new();
    let ours = wishes(configuration, &mut problems);
    for elder in elders {
        let theirs = wishes(elder, &mut Vec::new());
        for (name, wish) in &ours {
            let Some(other) = theirs.get(name) else { continue };
            let what = if other.policy != wish.policy {
                format!("deletionPolicy ({:?})", other.policy)
            } else if other.secret != wish.secret {
                "encryptionSecret".to_owned()
            } else {
                continue;
            };
            problems.push(format!(
                "repository {name} is also one of BackupConfiguration {}, which is older and has another {what}; write the same in both, or \
                 use another repository",
                elder.name_any()
            ));
        }
    }
    problems
}

fn wishes(configuration: &BackupConfiguration, problems: &mut Vec<String>) -> BTreeMap<String, Wish> {
    let policies = policies(configuration);
    let mut wishes: BTreeMap<String, Wish> = BTreeMap::new();
    for reference in all_repositories(configuration) {
        let Some(name) = &reference.name else { continue };
        let secret = reference.encryption_secret.clone().map(|secret| ObjectReference {
            namespace: secret.namespace.or_else(|| configuration.namespace()),
            name: secret.name,
        });
        let wish = Wish { policy: deletion_policy(policies.get(name).copied().flatten()), secret };
        match wishes.get(name) {
            Some(other) if *other != wish => {
                problems.push(format!(
                    "repository {name} has another encryptionSecret in another session; write the same in both"
                ));
            }
            Some(_) => {}
            None => {
                wishes.insert(name.clone(), wish);
            }
        }
    }
    wishes
}

#[cfg(test)]
#[expect(clippy::needless_pass_by_value, reason = "JSON literals are handed over as they are")]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::{Value, json};

    fn configuration(name: &str, second: u8, sessions: &[Value]) -> BackupConfiguration {
        let sessions: Vec<_> =
            sessions.iter().map(|repository| json!({"name": "s", "repositories": [repository]})).collect();
        serde_json::from_value(json!({
            "apiVersion": "core.kubestash.com/v1alpha1", "kind": "BackupConfiguration",
            "metadata": {"name": name, "namespace": "demo", "creationTimestamp": format!("2026-01-01T00:00:0{second}Z")},
            "spec": {"sessions": sessions},
        }))
        .unwrap()
    }

    fn repository(policy: Option<&str>, secret: Value) -> Value {
        json!({"name": "r", "deletionPolicy": policy, "encryptionSecret": secret})
    }

    #[rstest]
    #[case::the_same(Some("WipeOut"), json!({"name": "e"}), None)]
    #[case::spelled_out(Some("WipeOut"), json!({"name": "e", "namespace": "demo"}), None)]
    #[case::keeps_the_data(Some("Delete"), json!({"name": "e"}), Some("another deletionPolicy (WipeOut)"))]
    #[case::says_nothing(None, json!({"name": "e"}), Some("another deletionPolicy (WipeOut)"))]
    #[case::another_secret(Some("WipeOut"), json!({"name": "f"}), Some("another encryptionSecret"))]
    #[case::elsewhere(Some("WipeOut"), json!({"name": "e", "namespace": "vault"}), Some("another encryptionSecret"))]
    fn the_younger_of_two_that_disagree_is_wrong(
        #[case] policy: Option<&str>,
        #[case] secret: Value,
        #[case] text: Option<&str>,
    ) {
        let old = Arc::new(configuration("old", 1, &[repository(Some("WipeOut"), json!({"name": "e"}))]));
        let new = configuration("new", 2, &[repository(policy, secret)]);
        let found = contradictions(&new, std::slice::from_ref(&old));
        match text {
            None => assert_eq!(found, Vec::<String>::new()),
            Some(text) => {
                assert!(
                    found.len() == 1 && found[0].contains("BackupConfiguration old") && found[0].contains(text),
                    "{found:?}"
                );
            }
        }
    }

    #[test]
    fn retain_and_delete_agree_about_the_repository() {
        let old = Arc::new(configuration("old", 1, &[repository(Some("Retain"), json!({"name": "e"}))]));
        assert!(
            contradictions(&configuration("new", 2, &[repository(Some("Delete"), json!({"name": "e"}))]), &[old])
                .is_empty()
        );
    }

    #[test]
    fn sessions_of_one_configuration_agree_too() {
        let with = |secrets: [&str; 2]| {
            let all = secrets.map(|secret| repository(Some("Delete"), json!({"name": secret})));
            contradictions(&configuration("c", 1, &all), &[])
        };
        assert!(with(["e", "e"]).is_empty());
        assert_eq!(with(["e", "f"]).len(), 1);
    }

    #[test]
    fn only_the_older_ones_that_share_a_repository_count() {
        let (stores, mut writers) = Stores::new();
        let mut add = |one: BackupConfiguration| {
            writers.configurations.apply_watcher_event(&kube::runtime::watcher::Event::Apply(one));
        };
        let ours = configuration("ours", 5, &[repository(None, json!({"name": "e"}))]);
        add(ours.clone());
        add(configuration("older", 2, &[repository(None, json!({"name": "e"}))]));
        add(configuration("oldest", 1, &[repository(None, json!({"name": "e"}))]));
        add(configuration("younger", 6, &[repository(None, json!({"name": "e"}))]));
        add(configuration("same-second", 5, &[repository(None, json!({"name": "e"}))]));
        add(configuration("unrelated", 1, &[json!({"name": "another"})]));
        let mut going = configuration("going", 1, &[repository(None, json!({"name": "e"}))]);
        going.metadata.deletion_timestamp = going.metadata.creation_timestamp.clone();
        add(going);
        let names: Vec<_> = elders(&ours, &stores).iter().map(|elder| elder.name_any()).collect();
        assert_eq!(names, ["oldest", "older"], "of one second, the name decides");
    }
}
