//! What a Job reaches in other namespaces: only what they have opened to its own.
//!
//! A pod's service account is at the hand of whoever may write its template, so a right in another namespace is one for the people of the Job's
//! namespace. Somebody of that other namespace must have given it: in the usage policy of what is referred to, where its kind has one, and
//! otherwise in the annotation `coffer.dev/allowed-from` of the Namespace. What they refuse is remembered and never granted.

use std::collections::BTreeSet;

use coffer_api::meta::annotation::ALLOWED_FROM;
use coffer_api::meta::cluster_role;
use coffer_api::shared::{ObjectReference, TypedObjectReference};
use coffer_api::storage::{BackupStorage, RetentionPolicy};
use coffer_api::usage::{self, Shared};
use kube::ResourceExt as _;

use crate::stores::{self, Stores};

/// What a Job may do in another namespace: one of the small ClusterRoles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Access {
    /// Read BackupStorages and `RetentionPolicies`.
    Storage,
    /// Read targets.
    Target,
    /// Read Repositories and Snapshots.
    Source,
    /// Read Secrets whose names it knows.
    Secrets,
    /// Create Repositories and Snapshots.
    Import,
}

impl Access {
    /// The ClusterRole.
    pub(crate) fn role(self) -> &'static str {
        match self {
            Self::Storage => cluster_role::STORAGE_READER,
            Self::Target => cluster_role::TARGET_READER,
            Self::Source => cluster_role::SOURCE_READER,
            Self::Secrets => cluster_role::SECRET_READER,
            Self::Import => cluster_role::IMPORTER,
        }
    }

    /// What tells the bindings of one Job in one namespace apart.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Storage => "storage",
            Self::Target => "target",
            Self::Source => "source",
            Self::Secrets => "secrets",
            Self::Import => "import",
        }
    }
}

/// What a Job reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reach {
    own: String,
    elsewhere: BTreeSet<(String, Access)>,
    refused: Vec<String>,
    missing: Vec<String>,
}

impl Reach {
    /// A Job that reaches nothing beyond its own namespace.
    pub(crate) fn within(namespace: &str) -> Self {
        Self { own: namespace.to_owned(), elsewhere: BTreeSet::new(), refused: Vec::new(), missing: Vec::new() }
    }

    /// The other namespaces, and what it may do there.
    pub(crate) fn elsewhere(&self) -> impl Iterator<Item = (&str, Access)> {
        self.elsewhere.iter().map(|(namespace, access)| (namespace.as_str(), *access))
    }

    /// Why it may not reach what it has to, each with what can be done about it.
    pub(crate) fn refused(&self) -> &[String] {
        &self.refused
    }

    /// What it has to reach and what is not there.
    pub(crate) fn missing(&self) -> &[String] {
        &self.missing
    }

    /// A storage with its Secret.
    pub(crate) fn storage(&mut self, storage: &BackupStorage, stores: &Stores) {
        if self.shares(storage, stores) {
            let owner = storage.namespace().unwrap_or_default();
            self.add(&owner, Access::Storage);
            if storage.spec.storage.secret_name().is_some() {
                self.add(&owner, Access::Secrets);
            }
        }
    }

    /// The storage that a reference of an object in `base` means. One that does not exist opens nothing.
    pub(crate) fn storage_ref(&mut self, reference: &ObjectReference, base: &str, stores: &Stores) {
        match stores::referred(&stores.storages, reference, base) {
            Some(storage) => self.storage(&storage, stores),
            None => self.missing.push(format!(
                "BackupStorage {}/{} not found; create it, or correct storageRef",
                reference.namespace.as_deref().unwrap_or(base),
                reference.name
            )),
        }
    }

    /// A retention policy.
    pub(crate) fn policy(&mut self, policy: &RetentionPolicy, stores: &Stores) {
        if self.shares(policy, stores) {
            self.add(&policy.namespace().unwrap_or_default(), Access::Storage);
        }
    }

    /// A target with its Secrets; whether it may be reached.
    pub(crate) fn target(&mut self, target: &TypedObjectReference, stores: &Stores) -> bool {
        let owner = target.namespace.as_deref().unwrap_or(&self.own).to_owned();
        let what =
            || format!("{} {owner}/{} of spec.target", target.kind.as_deref().unwrap_or("AppBinding"), target.name);
        self.open(&owner, what, &[Access::Target, Access::Secrets], stores)
    }

    /// An encryption Secret that an object in `base` refers to.
    pub(crate) fn secret(&mut self, secret: &ObjectReference, base: &str, stores: &Stores) {
        let owner = secret.namespace.as_deref().unwrap_or(base);
        let what = || format!("Secret {owner}/{} of encryptionSecret", secret.name);
        self.open(owner, what, &[Access::Secrets], stores);
    }

    /// The namespace that a restore takes its data from; whether it may be reached.
    pub(crate) fn source(&mut self, namespace: &str, stores: &Stores) -> bool {
        self.open(namespace, || "the data of spec.dataSource".to_owned(), &[Access::Source], stores)
    }

    /// A namespace into which a storage brings objects back, or why it does not.
    pub(crate) fn import(&mut self, storage: &BackupStorage, namespace: &str, stores: &Stores) -> Result<(), String> {
        if namespace == self.own {
            return Ok(());
        }
        if stores::get_global(&stores.namespaces, namespace).is_none() {
            return Err(format!("namespace {namespace} does not exist; create it"));
        }
        if !usage::may_refer(storage, namespace, &stores.namespace_labels(namespace)) {
            let (owner, name) = (&self.own, storage.name_any());
            return Err(usage::refusal(BackupStorage::KIND, owner, &name, namespace));
        }
        if !stores.is_open(namespace, &self.own) {
            let own = &self.own;
            return Err(format!(
                "namespace {namespace} is not open to namespace {own}; have {own} added to the annotation {ALLOWED_FROM} of Namespace {namespace}"
            ));
        }
        self.add(namespace, Access::Import);
        Ok(())
    }

    /// Whether an object's usage policy lets the Job's namespace use it.
    fn shares<K: Shared>(&mut self, object: &K, stores: &Stores) -> bool {
        let owner = object.namespace().unwrap_or_default();
        let allowed = owner == self.own || usage::may_refer(object, &self.own, &stores.namespace_labels(&self.own));
        if !allowed {
            self.refuse(usage::refusal(K::KIND, &owner, &object.name_any(), &self.own));
        }
        allowed
    }

    fn open(&mut self, owner: &str, what: impl FnOnce() -> String, all: &[Access], stores: &Stores) -> bool {
        let open = stores.is_open(owner, &self.own);
        if open {
            for access in all {
                self.add(owner, *access);
            }
        } else {
            self.refuse(usage::not_open(&what(), owner, &self.own));
        }
        open
    }

    fn add(&mut self, namespace: &str, access: Access) {
        if namespace != self.own {
            self.elsewhere.insert((namespace.to_owned(), access));
        }
    }

    fn refuse(&mut self, why: String) {
        if !self.refused.contains(&why) {
            self.refused.push(why);
        }
    }
}

#[cfg(test)]
#[expect(clippy::needless_pass_by_value, reason = "JSON literals are handed over as they are")]
pub(crate) mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::Namespace;
    use kube::core::PartialObjectMeta;
    use kube::runtime::watcher::Event;
    use serde_json::{Value, json};

    /// Stores that know these Namespaces, each with its labels and its annotation.
    pub(crate) fn stores(namespaces: &[(&str, Value, Option<&str>)]) -> Stores {
        let (stores, mut writers) = Stores::new();
        for (name, labels, allowed) in namespaces {
            let annotations = allowed.map(|allowed| json!({"coffer.dev/allowed-from": allowed}));
            let namespace: PartialObjectMeta<Namespace> = serde_json::from_value(json!({
                "apiVersion": "v1", "kind": "Namespace",
                "metadata": {"name": name, "labels": labels, "annotations": annotations},
            }))
            .unwrap();
            writers.namespaces.apply_watcher_event(&Event::Apply(namespace));
        }
        stores
    }

    fn storage(namespace: &str, allowed: Value, secret: Option<&str>) -> BackupStorage {
        serde_json::from_value(json!({
            "apiVersion": "storage.kubestash.com/v1alpha1", "kind": "BackupStorage",
            "metadata": {"name": "s", "namespace": namespace},
            "spec": {"storage": {"provider": "s3", "s3": {"bucket": "b", "secretName": secret}}, "usagePolicy": {"allowedNamespaces": allowed}},
        }))
        .unwrap()
    }

    fn reference(namespace: Option<&str>) -> ObjectReference {
        ObjectReference { namespace: namespace.map(str::to_owned), name: "encrypt".to_owned() }
    }

    fn granted(reach: &Reach) -> Vec<(&str, Access)> {
        reach.elsewhere().collect()
    }

    #[test]
    fn a_secret_elsewhere_takes_the_word_of_its_namespace() {
        let stores = stores(&[
            ("demo", json!({}), None),
            ("shut", json!({}), None),
            ("other", json!({}), Some("web")),
            ("vault", json!({}), Some("web,demo")),
        ]);
        let mut reach = Reach::within("demo");
        for own in [None, Some("demo")] {
            reach.secret(&reference(own), "demo", &stores);
        }
        assert_eq!((granted(&reach), reach.refused()), (vec![], &[][..]), "one's own is one's own");
        reach.secret(&reference(Some("vault")), "demo", &stores);
        assert_eq!(granted(&reach), [("vault", Access::Secrets)]);
        for closed in ["shut", "other", "nowhere"] {
            reach.secret(&reference(Some(closed)), "demo", &stores);
            let why = reach.refused().last().unwrap();
            assert!(
                why.contains(&format!("Secret {closed}/encrypt")) && why.contains("coffer.dev/allowed-from"),
                "{why}"
            );
        }
        // Named by an object of another namespace, it is there.
        reach.secret(&reference(None), "shut", &stores);
        assert_eq!(reach.refused().len(), 3, "each is told once");
        assert_eq!(granted(&reach), [("vault", Access::Secrets)], "what is refused is never granted");
    }

    #[test]
    fn targets_and_sources_take_the_word_of_their_namespace() {
        let stores = stores(&[("demo", json!({}), None), ("db", json!({}), Some("*")), ("shut", json!({}), None)]);
        let target = |namespace: Option<&str>| TypedObjectReference {
            kind: Some("MySQL".to_owned()),
            namespace: namespace.map(str::to_owned),
            name: "m".to_owned(),
            ..TypedObjectReference::default()
        };
        let mut reach = Reach::within("demo");
        assert!(reach.target(&target(None), &stores) && reach.source("demo", &stores));
        assert_eq!(granted(&reach), []);
        assert!(reach.target(&target(Some("db")), &stores) && reach.source("db", &stores));
        assert_eq!(granted(&reach), [("db", Access::Target), ("db", Access::Source), ("db", Access::Secrets)]);
        assert!(!reach.target(&target(Some("shut")), &stores) && !reach.source("shut", &stores));
        assert_eq!(granted(&reach).len(), 3);
        assert!(
            reach.refused()[0].starts_with("MySQL shut/m of spec.target is in namespace \"shut\""),
            "{:?}",
            reach.refused()
        );
        assert!(
            reach.refused()[1].starts_with("the data of spec.dataSource is in namespace \"shut\""),
            "{:?}",
            reach.refused()
        );
    }

    #[test]
    fn a_storage_takes_its_usage_policy() {
        let stores = stores(&[("demo", json!({"team": "db"}), None), ("storage", json!({}), Some("*"))]);
        let selector = |team: &str| json!({"from": "Selector", "selector": {"matchLabels": {"team": team}}});
        for (allowed, secret, expected) in [
            (json!({"from": "All"}), Some("keys"), vec![("storage", Access::Storage), ("storage", Access::Secrets)]),
            (json!({"from": "All"}), None, vec![("storage", Access::Storage)]),
            (selector("db"), None, vec![("storage", Access::Storage)]),
        ] {
            let mut reach = Reach::within("demo");
            reach.storage(&storage("storage", allowed, secret), &stores);
            assert_eq!((granted(&reach), reach.refused().len()), (expected, 0));
        }
        // The namespace's own word does not count here: the policy has spoken.
        for allowed in [json!({"from": "Same"}), selector("web")] {
            let mut reach = Reach::within("demo");
            reach.storage(&storage("storage", allowed, Some("keys")), &stores);
            assert_eq!(granted(&reach), []);
            assert!(
                reach.refused()[0].contains("is not allowed to refer BackupStorage s/storage"),
                "{:?}",
                reach.refused()
            );
        }
        let mut reach = Reach::within("storage");
        reach.storage(&storage("storage", json!({"from": "Same"}), Some("keys")), &stores);
        assert_eq!((granted(&reach), reach.refused().len()), (vec![], 0));
        reach.storage_ref(&reference(Some("nowhere")), "storage", &stores);
        assert_eq!(reach.missing(), ["BackupStorage nowhere/encrypt not found; create it, or correct storageRef"]);
        assert_eq!(reach.refused(), [""; 0], "what is not there is waited for");
    }

    #[test]
    fn what_is_brought_back_takes_both_words() {
        let stores = stores(&[
            ("storage", json!({}), None),
            ("demo", json!({"team": "db"}), Some("storage")),
            ("shut", json!({"team": "db"}), None),
            ("web", json!({}), Some("storage")),
        ]);
        let db = storage("storage", json!({"from": "Selector", "selector": {"matchLabels": {"team": "db"}}}), None);
        let mut reach = Reach::within("storage");
        for (namespace, text) in [
            ("storage", None),
            ("demo", None),
            ("shut", Some("have storage added to the annotation coffer.dev/allowed-from of Namespace shut")),
            ("web", Some("Please, check the `usagePolicy` of the BackupStorage")),
            ("nowhere", Some("namespace nowhere does not exist; create it")),
        ] {
            match (reach.import(&db, namespace, &stores), text) {
                (Ok(()), None) => {}
                (Err(why), Some(text)) => assert!(why.contains(text), "{why}"),
                other => panic!("{namespace}: {other:?}"),
            }
        }
        assert_eq!(granted(&reach), [("demo", Access::Import)]);
    }
}
