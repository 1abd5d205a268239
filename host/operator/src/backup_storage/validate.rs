//! What is wrong with a BackupStorage, beside what the API server refuses.

use coffer_api::shared::NamespacesFrom;
use coffer_api::storage::{BackupStorage, Provider};
use kube::ResourceExt as _;

/// Why a storage cannot be used as it is written.
pub(super) fn problem<'a>(storage: &BackupStorage, all: impl Iterator<Item = &'a BackupStorage>) -> Option<String> {
    let spec = &storage.spec;
    if let Err(error) = spec.storage.provider() {
        return Some(error.to_string());
    }
    if let Ok(Provider::Local(local)) = spec.storage.provider()
        && local.mount_path.as_deref().is_none_or(|path| !path.starts_with('/'))
    {
        return Some("spec.storage.local.mountPath is not an absolute path; set it, like /backup".to_owned());
    }
    let allowed = spec.usage_policy.as_ref().map(|policy| &policy.allowed_namespaces);
    if allowed.is_some_and(|allowed| allowed.from == NamespacesFrom::Selector && allowed.selector.is_none()) {
        return Some("usagePolicy.allowedNamespaces.from is Selector, and there is no selector; add one".to_owned());
    }
    for other in all.filter(|other| is_other(storage, other) && is_older(other, storage)) {
        let its_name = format!("{}/{}", other.namespace().unwrap_or_default(), other.name_any());
        if spec.default == Some(true) && other.spec.default == Some(true) && other.namespace() == storage.namespace() {
            return Some(format!(
                "multiple default BackupStorages are not allowed within the same namespace: {its_name} is one; unset default"
            ));
        }
        if !matches!(spec.storage.provider(), Ok(Provider::Local(_))) && are_at_one_place(storage, other) {
            return Some(format!(
                "no two BackupStorage should point to the same directory of the same bucket: {its_name} does; choose another prefix"
            ));
        }
    }
    None
}

/// Another BackupStorage at the same place whose data may be there: an older one, or one that is used.
pub(super) fn other_at_its_place<'a>(
    storage: &BackupStorage,
    mut all: impl Iterator<Item = &'a BackupStorage>,
    is_used: impl Fn(&BackupStorage) -> bool,
) -> Option<String> {
    let other = all.find(|other| {
        is_other(storage, other) && are_at_one_place(storage, other) && (is_older(other, storage) || is_used(other))
    })?;
    Some(format!("{}/{}", other.namespace().unwrap_or_default(), other.name_any()))
}

fn are_at_one_place(one: &BackupStorage, other: &BackupStorage) -> bool {
    location(one).is_some_and(|place| Some(place) == location(other))
}

fn is_other(one: &BackupStorage, other: &BackupStorage) -> bool {
    (one.namespace(), one.name_any()) != (other.namespace(), other.name_any())
}

/// Of two that contradict each other, the older is in the right.
fn is_older(one: &BackupStorage, other: &BackupStorage) -> bool {
    let key = |storage: &BackupStorage| {
        (storage.creation_timestamp().map(|time| time.0), storage.namespace(), storage.name_any())
    };
    key(one) < key(other)
}

/// Where a storage is, as its manifest says it: two names of one endpoint are two places.
fn location(storage: &BackupStorage) -> Option<[Option<String>; 4]> {
    let trimmed = |text: &Option<String>| {
        text.as_deref().map(|text| text.trim_matches('/').to_owned()).filter(|text| !text.is_empty())
    };
    match storage.spec.storage.provider().ok()? {
        Provider::S3(s3) => Some([
            Some(format!("s3 {}", s3.endpoint.as_deref().unwrap_or_default())),
            s3.bucket.clone(),
            s3.region.clone(),
            trimmed(&s3.prefix),
        ]),
        Provider::Gcs(gcs) => Some([Some("gcs".to_owned()), gcs.bucket.clone(), None, trimmed(&gcs.prefix)]),
        Provider::Azure(azure) => Some([
            Some("azure".to_owned()),
            azure.storage_account.clone(),
            azure.container.clone(),
            trimmed(&azure.prefix),
        ]),
        Provider::Local(local) => Some([
            Some("local".to_owned()),
            serde_json::to_string(&local.volume).ok(),
            // A claim is one of its namespace.
            local.volume.persistent_volume_claim.as_ref().and_then(|_| storage.namespace()),
            trimmed(&local.sub_path),
        ]),
    }
}

#[cfg(test)]
#[expect(clippy::needless_pass_by_value, reason = "JSON literals are handed over as they are")]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn storage(name: &str, second: u8, spec: Value) -> BackupStorage {
        serde_json::from_value(json!({
            "apiVersion": "storage.kubestash.com/v1alpha1", "kind": "BackupStorage",
            "metadata": {"name": name, "namespace": "demo", "creationTimestamp": format!("2026-01-01T00:00:0{second}Z")},
            "spec": spec,
        }))
        .unwrap()
    }

    fn s3(prefix: &str) -> Value {
        json!({"storage": {"provider": "s3", "s3": {"bucket": "b", "prefix": prefix}}})
    }

    #[test]
    fn the_younger_of_two_at_one_place_is_wrong() {
        let (old, new, other) =
            (storage("old", 1, s3("p/")), storage("new", 2, s3("/p")), storage("other", 3, s3("q")));
        let all = [&old, &new, &other];
        assert_eq!(problem(&old, all.into_iter()), None);
        assert!(problem(&new, all.into_iter()).unwrap().contains("demo/old does"));
        assert_eq!(problem(&other, all.into_iter()), None);
    }

    #[test]
    fn the_data_is_the_elders_and_of_those_that_are_used() {
        let local = |path: &str, mount: &str| json!({"storage": {"provider": "local", "local": {"hostPath": {"path": path}, "mountPath": mount}}});
        let s3s = (storage("old", 1, s3("p/")), storage("new", 2, s3("/p")), storage("other", 3, s3("q")));
        let locals = (
            storage("old", 1, local("/a", "/x")),
            storage("new", 2, local("/a", "/y")),
            storage("other", 3, local("/b", "/x")),
        );
        for (old, new, other) in [&s3s, &locals].map(|(old, new, other)| (old, new, other)) {
            let all = [old, new, other];
            let beside = |storage, used: bool| other_at_its_place(storage, all.into_iter(), |_| used);
            assert_eq!((beside(old, false), beside(other, true)), (None, None));
            assert_eq!(beside(old, true).as_deref(), Some("demo/new"));
            assert_eq!(beside(new, false).as_deref(), Some("demo/old"));
        }
        let (old, new, _) = &locals;
        assert_eq!(problem(new, [old, new].into_iter()), None, "KubeStash does not compare them");
    }

    #[test]
    fn there_is_one_default_per_namespace() {
        let default = |name, second, prefix| {
            let mut one = storage(name, second, s3(prefix));
            one.spec.default = Some(true);
            one
        };
        let (old, new) = (default("old", 1, "a"), default("new", 2, "b"));
        assert_eq!(problem(&old, [&old, &new].into_iter()), None);
        assert!(problem(&new, [&old, &new].into_iter()).unwrap().contains("multiple default BackupStorages"));
    }

    #[test]
    fn what_is_missing_is_named() {
        for (spec, text) in [
            (json!({"storage": {}}), "spec.storage.provider is missing"),
            (json!({"storage": {"provider": "swift"}}), "is not known"),
            (json!({"storage": {"provider": "local", "local": {"hostPath": {"path": "/a"}}}}), "mountPath"),
            (
                json!({"storage": {"provider": "gcs", "gcs": {}}, "usagePolicy": {"allowedNamespaces": {"from": "Selector"}}}),
                "no selector",
            ),
        ] {
            let why = problem(&storage("s", 1, spec), std::iter::empty()).unwrap();
            assert!(why.contains(text), "{why}");
        }
    }
}
