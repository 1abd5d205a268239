//! Writes to the API server. Each of them may be repeated without harm.

use std::borrow::Cow;
use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use coffer_api::meta::{FINALIZER, field_manager};
use k8s_openapi::NamespaceResourceScope;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Client, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::build::{INVOKER, Invoker, belongs};
use crate::error::Error;

/// The field manager of everything that the operator writes.
pub(crate) const MANAGER: &str = field_manager::OPERATOR;
/// Digest of what was last applied, so that what is no longer wanted is noticed too.
const DIGEST: &str = "coffer.dev/applied";

/// What every object that the operator touches can do. Implemented for all that can.
pub(crate) trait Object:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Serialize
    + DeserializeOwned
    + Clone
    + Debug
    + Send
    + 'static
{
}

impl<K> Object for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Serialize
        + DeserializeOwned
        + Clone
        + Debug
        + Send
        + 'static
{
}

/// What became of an object that was to be created once.
#[derive(Debug)]
pub(crate) enum Created<K> {
    /// It is new.
    New(K),
    /// One of that name was there before.
    Existing(K),
}

/// Makes the object what it should be: nothing is sent when `current` already is.
pub(crate) async fn ensure<K: Object>(client: &Client, current: Option<&K>, mut desired: K) -> Result<(), Error> {
    let value = to_value(&desired)?;
    let digest = digest(&value);
    desired.annotations_mut().insert(DIGEST.to_owned(), digest.clone());
    if let Some(current) = current
        && current.annotations().get(DIGEST) == Some(&digest)
        && current.meta().deletion_timestamp.is_none()
        && covers(&to_value(current)?, &value)
    {
        return Ok(());
    }
    let (namespace, name) = place(&desired)?;
    let params = PatchParams::apply(MANAGER).force();
    api::<K>(client, &namespace)
        .patch(&name, &params, &Patch::Apply(&desired))
        .await
        .map_err(asked("apply", &desired))?;
    Ok(())
}

/// The object in the place of `desired` as it is, if it is one that `owner` made or not there at all. `cached` is what the cache knows, and that is
/// only what carries our label: what it does not know as the owner's is looked for past it.
pub(crate) async fn own<K: Object, O: Resource<DynamicType = ()>>(
    client: &Client,
    cached: Option<Arc<K>>,
    desired: &K,
    owner: &O,
) -> Result<Option<Arc<K>>, Error> {
    let (namespace, name) = place(desired)?;
    let current = match cached.filter(|cached| belongs(cached.as_ref(), owner)) {
        Some(cached) => Some(cached),
        None => read::<K>(client, &namespace, &name).await?.map(Arc::new),
    };
    match current {
        Some(other) if !belongs(other.as_ref(), owner) => Err(in_the_way(other.as_ref(), owner)),
        current => Ok(current),
    }
}

/// What to make of an object that is in the place of one of `owner`'s, and not the owner's: it goes by itself if it was made for an owner of the same
/// name before, and otherwise is somebody else's.
pub(crate) fn in_the_way<K: Object, O: Resource<DynamicType = ()>>(other: &K, owner: &O) -> Error {
    let kind = match K::kind(&()) {
        Cow::Borrowed(kind) => kind,
        Cow::Owned(_) => "an object",
    };
    let (namespace, name) = (other.namespace().unwrap_or_default(), other.name_any());
    let of_before = other.annotations().get(INVOKER) == Some(&Invoker::of(owner).annotation());
    if of_before || other.meta().deletion_timestamp.is_some() {
        return Error::Waiting(format!("{kind} {namespace}/{name} is just being deleted"));
    }
    Error::Foreign { kind, namespace, name }
}

/// Makes the object of `owner` what it should be. One of that name that somebody else has made is left alone.
pub(crate) async fn ensure_own<K: Object, O: Resource<DynamicType = ()>>(
    client: &Client,
    cached: Option<Arc<K>>,
    desired: K,
    owner: &O,
) -> Result<(), Error> {
    let current = own(client, cached, &desired, owner).await?;
    ensure(client, current.as_deref(), desired).await
}

/// Creates an object unless there is one of its name.
pub(crate) async fn create<K: Object>(client: &Client, object: &K) -> Result<Created<K>, Error> {
    let (namespace, name) = place(object)?;
    let api = api::<K>(client, &namespace);
    let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
    match api.create(&params, object).await {
        Ok(created) => Ok(Created::New(created)),
        Err(kube::Error::Api(status)) if status.is_already_exists() => {
            let existing = api.get_opt(&name).await.map_err(asked("read", object))?;
            existing
                .map(Created::Existing)
                .ok_or_else(|| Error::Waiting(format!("{} {namespace}/{name} is just being deleted", K::kind(&()))))
        }
        Err(error) => Err(asked("create", object)(error)),
    }
}

/// Reads the newest state of an object, past any cache.
pub(crate) async fn read<K: Object>(client: &Client, namespace: &str, name: &str) -> Result<Option<K>, Error> {
    let action = format!("read {} {namespace}/{name}", K::kind(&()));
    api::<K>(client, namespace).get_opt(name).await.map_err(Error::api(action))
}

/// Deletes an object with what it owns; whether it was there. With `uid`, only that very object.
pub(crate) async fn delete<K: Object>(
    client: &Client,
    namespace: &str,
    name: &str,
    uid: Option<&str>,
) -> Result<bool, Error> {
    let mut params = DeleteParams::background();
    if let Some(uid) = uid {
        params = params.preconditions(Preconditions { uid: Some(uid.to_owned()), resource_version: None });
    }
    match api::<K>(client, namespace).delete(name, &params).await {
        Ok(_) => Ok(true),
        // Gone, or another object of that name.
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(false),
        Err(error) => Err(Error::api(format!("delete {} {namespace}/{name}", K::kind(&())))(error)),
    }
}

/// Deletes an object if it is as it was read. If it is not, that is an error, and worth another look.
pub(crate) async fn delete_unchanged<K: Object>(client: &Client, object: &K) -> Result<(), Error> {
    let (namespace, name) = place(object)?;
    let preconditions = Preconditions { uid: object.uid(), resource_version: object.resource_version() };
    let params = DeleteParams::background().preconditions(preconditions);
    match api::<K>(client, &namespace).delete(&name, &params).await {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        other => other.map(drop).map_err(asked("delete", object)),
    }
}

/// Deletes the object of a name if it was made for `invoker`. What the cache does not know as such is looked for past it.
pub(crate) async fn delete_made_for<K: Object>(
    client: &Client,
    cached: Option<Arc<K>>,
    (namespace, name): (&str, &str),
    invoker: &Invoker,
) -> Result<(), Error> {
    let wanted = invoker.annotation();
    let is_ours = |found: &Arc<K>| found.annotations().get(INVOKER) == Some(&wanted);
    let found = match cached.filter(is_ours) {
        Some(cached) => Some(cached),
        None => read::<K>(client, namespace, name).await?.map(Arc::new),
    };
    // Whatever is there by now under another uid is not the one that was looked at.
    if let Some(uid) = found.filter(is_ours).and_then(|ours| ours.uid()) {
        delete::<K>(client, namespace, name, Some(&uid)).await?;
    }
    Ok(())
}

/// Writes the status fields that differ, provided that nobody has changed the object since it was read; whether there
/// were any. A list of conditions is written as a whole, and without that proviso a Job's condition could get lost.
pub(crate) async fn patch_status<K: Object, S: Serialize>(
    client: &Client,
    object: &K,
    old: Option<&S>,
    new: &S,
) -> Result<bool, Error> {
    let old = old.map(to_value).transpose()?.unwrap_or(Value::Null);
    let changes = difference(&old, &to_value(new)?);
    if changes.is_empty() {
        return Ok(false);
    }
    let (namespace, name) = place(object)?;
    let patch = json!({"metadata": {"resourceVersion": object.resource_version()}, "status": changes});
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    api::<K>(client, &namespace)
        .patch_status(&name, &params, &Patch::Merge(&patch))
        .await
        .map_err(asked("write the status of", object))?;
    Ok(true)
}

/// Changes fields of the object itself, provided that nobody has changed it since it was read.
pub(crate) async fn patch<K: Object>(client: &Client, object: &K, mut changes: Value) -> Result<(), Error> {
    let (namespace, name) = place(object)?;
    if let Some(changes) = changes.as_object_mut() {
        let metadata = changes.entry("metadata").or_insert_with(|| json!({}));
        if let Some(metadata) = metadata.as_object_mut() {
            metadata.insert("resourceVersion".to_owned(), json!(object.resource_version()));
        }
    }
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    api::<K>(client, &namespace)
        .patch(&name, &params, &Patch::Merge(&changes))
        .await
        .map_err(asked("change", object))?;
    Ok(())
}

/// Adds our finalizer; whether it was missing.
pub(crate) async fn add_finalizer<K: Object>(client: &Client, object: &K) -> Result<bool, Error> {
    if has_finalizer(object) {
        return Ok(false);
    }
    let mut finalizers = object.finalizers().to_vec();
    finalizers.push(FINALIZER.to_owned());
    patch(client, object, json!({"metadata": {"finalizers": finalizers}})).await?;
    Ok(true)
}

/// Removes our finalizer, so that a deleted object goes away.
pub(crate) async fn remove_finalizer<K: Object>(client: &Client, object: &K) -> Result<(), Error> {
    if !has_finalizer(object) {
        return Ok(());
    }
    let left: Vec<_> = object.finalizers().iter().filter(|one| *one != FINALIZER).collect();
    match patch(client, object, json!({"metadata": {"finalizers": left}})).await {
        Err(Error::Api { source, .. }) if matches!(source.as_ref(), kube::Error::Api(status) if status.is_not_found()) => {
            Ok(())
        }
        other => other,
    }
}

pub(crate) fn has_finalizer<K: Resource>(object: &K) -> bool {
    object.meta().finalizers.iter().flatten().any(|one| one == FINALIZER)
}

/// Namespace and name.
pub(crate) fn place<K: Object>(object: &K) -> Result<(String, String), Error> {
    let kind = || K::kind(&()).into_owned();
    match (object.meta().namespace.clone(), object.meta().name.clone()) {
        (Some(namespace), Some(name)) if !namespace.is_empty() && !name.is_empty() => Ok((namespace, name)),
        _ => Err(Error::Nameless(kind())),
    }
}

fn api<K: Object>(client: &Client, namespace: &str) -> Api<K> {
    Api::namespaced(client.clone(), namespace)
}

fn asked<K: Object>(verb: &str, object: &K) -> impl FnOnce(kube::Error) -> Error + use<K> {
    let namespace = object.namespace().unwrap_or_default();
    Error::api(format!("{verb} {} {namespace}/{}", K::kind(&()), object.name_any()))
}

fn to_value<T: Serialize>(object: &T) -> Result<Value, Error> {
    serde_json::to_value(object).map_err(|error| Error::Malformed { field: "an object", why: error.to_string() })
}

/// A number that differs whenever the value does, for all practical purposes.
fn digest(value: &Value) -> String {
    let mut hasher = DefaultHasher::new();
    value.to_string().hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// Whether `actual` has everything that `desired` says. What the server adds does not matter.
fn covers(actual: &Value, desired: &Value) -> bool {
    match (actual, desired) {
        (Value::Object(actual), Value::Object(desired)) => desired
            .iter()
            .all(|(key, desired)| desired.is_null() || actual.get(key).is_some_and(|actual| covers(actual, desired))),
        (Value::Array(actual), Value::Array(desired)) => {
            actual.len() == desired.len() && actual.iter().zip(desired).all(|(actual, desired)| covers(actual, desired))
        }
        (actual, desired) => actual == desired,
    }
}

/// The fields of `new` that differ from `old`, and `null` for those that only `old` has.
fn difference(old: &Value, new: &Value) -> Map<String, Value> {
    let nothing = Map::new();
    let (old, new) = (old.as_object().unwrap_or(&nothing), new.as_object().unwrap_or(&nothing));
    let gone = old.keys().filter(|key| !new.contains_key(*key)).map(|key| (key.clone(), Value::Null));
    let changed = new.iter().filter(|(key, value)| old.get(*key) != Some(value)).map(|(key, value)| {
        let before = old.get(key).unwrap_or(&Value::Null);
        // Objects are merged by the server, so what is gone from them has to be said too.
        let value = match (before, value) {
            (Value::Object(_), Value::Object(_)) => Value::Object(difference(before, value)),
            _ => value.clone(),
        };
        (key.clone(), value)
    });
    gone.chain(changed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use coffer_api::core::BackupSession;
    use k8s_openapi::api::core::v1::ServiceAccount;
    use proptest::prelude::*;

    #[test]
    fn a_difference_names_what_changed_and_what_went() {
        let old = json!({"phase": "Running", "gone": 1, "map": {"a": 1, "b": 2}, "list": [1], "same": {"x": [1]}});
        let new = json!({"phase": "Failed", "map": {"a": 1, "c": 3}, "list": [2], "same": {"x": [1]}, "more": true});
        assert_eq!(
            Value::Object(difference(&old, &new)),
            json!({"gone": null, "phase": "Failed", "map": {"b": null, "c": 3}, "list": [2], "more": true})
        );
        assert!(difference(&new, &new).is_empty());
        assert_eq!(difference(&Value::Null, &json!({"a": 1})).len(), 1);
    }

    #[test]
    fn what_the_server_adds_does_not_matter() {
        let desired = json!({"spec": {"suspend": false, "list": [{"a": 1}]}, "absent": null});
        let actual = json!({"spec": {"suspend": false, "list": [{"a": 1, "b": 2}], "default": 3}, "status": {}});
        assert!(covers(&actual, &desired));
        for other in [
            json!({"spec": {"suspend": true, "list": [{"a": 1}]}}),
            json!({"spec": {"list": [{"a": 1}]}}),
            json!({"spec": {"suspend": false, "list": [{"a": 1}, {}]}}),
        ] {
            assert!(!covers(&other, &desired), "{other}");
        }
    }

    fn json_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![any::<bool>().prop_map(Value::from), (0_i64..4).prop_map(Value::from)];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                proptest::collection::btree_map("[a-c]", inner, 0..3)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    /// RFC 7396.
    fn merge(target: &mut Value, patch: &Value) {
        let Value::Object(patch) = patch else {
            *target = patch.clone();
            return;
        };
        if !target.is_object() {
            *target = json!({});
        }
        let target = target.as_object_mut().unwrap();
        for (key, value) in patch {
            if value.is_null() {
                target.remove(key);
            } else {
                merge(target.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
    }

    #[test]
    fn what_was_made_for_one_of_the_same_name_before_goes_by_itself() {
        let owner: BackupSession = serde_json::from_value(json!({
            "apiVersion": "core.kubestash.com/v1alpha1", "kind": "BackupSession",
            "metadata": {"name": "s", "namespace": "demo", "uid": "new"}, "spec": {},
        }))
        .unwrap();
        let account = |metadata: Value| -> ServiceAccount {
            let mut all = json!({"name": "s", "namespace": "demo"});
            merge(&mut all, &metadata);
            serde_json::from_value(json!({"metadata": all})).unwrap()
        };
        let owned = |uid: &str| json!([{"apiVersion": "v1", "kind": "BackupSession", "name": "s", "uid": uid}]);
        let ours = json!({"coffer.dev/invoker": "BackupSession/demo/s"});
        assert!(belongs(&account(json!({"ownerReferences": owned("new")})), &owner));
        for (metadata, foreign) in [
            (json!({}), true),
            (json!({"ownerReferences": owned("other")}), true),
            (json!({"annotations": {"coffer.dev/invoker": "BackupSession/demo/another"}}), true),
            (json!({"ownerReferences": owned("old"), "annotations": ours}), false),
            (json!({"ownerReferences": owned("other"), "deletionTimestamp": "2026-01-01T00:00:00Z"}), false),
        ] {
            let error = in_the_way(&account(metadata.clone()), &owner);
            assert_eq!(matches!(error, Error::Foreign { .. }), foreign, "{metadata}: {error}");
            assert_eq!(matches!(error, Error::Waiting(_)), !foreign, "{metadata}: {error}");
        }
    }

    proptest! {
        #[test]
        fn a_merged_difference_is_the_new_value(
            old in proptest::collection::btree_map("[a-c]", json_value(), 0..3),
            new in proptest::collection::btree_map("[a-c]", json_value(), 0..3),
        ) {
            let (old, new) = (Value::Object(old.into_iter().collect()), Value::Object(new.into_iter().collect()));
            let mut merged = old.clone();
            merge(&mut merged, &Value::Object(difference(&old, &new)));
            prop_assert_eq!(&merged, &new);
        }

        #[test]
        fn every_value_covers_itself(value in json_value()) {
            prop_assert!(covers(&value, &value));
        }
    }
}
