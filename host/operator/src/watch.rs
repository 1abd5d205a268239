//! One watch per kind feeds one store, and tells what changed. All controllers share both.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;

use futures::{Stream, StreamExt as _};
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::{Error, Event};
use kube::{Resource, ResourceExt};

/// Follows a watch for ever: keeps the store and tells `changed` of every object that is new, different or gone, as
/// before and after. What `trim` removes is never stored.
pub(crate) async fn follow<K>(
    events: impl Stream<Item = Result<Event<K>, Error>>,
    mut writer: Writer<K>,
    trim: impl Fn(&mut K),
    changed: impl Fn(Option<&K>, Option<&K>),
) where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    let store = writer.as_reader();
    let mut events = pin!(events);
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                let event = event.modify(|object| {
                    // With their buffer: thousands of objects have one each.
                    object.meta_mut().managed_fields = None;
                    object.annotations_mut().remove("kubectl.kubernetes.io/last-applied-configuration");
                    trim(object);
                });
                take(&store, &mut writer, &event, &changed);
            }
            // The watcher resumes by itself; its stream waits between tries.
            Err(error) => tracing::warn!(kind = %K::kind(&()), %error, "watch interrupted, it is resumed"),
        }
    }
}

fn take<K>(store: &Store<K>, writer: &mut Writer<K>, event: &Event<K>, changed: &impl Fn(Option<&K>, Option<&K>))
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    match event {
        Event::Apply(object) => {
            let before = store.get(&ObjectRef::from_obj(object));
            writer.apply_watcher_event(event);
            if differs(before.as_deref(), object) {
                changed(before.as_deref(), Some(object));
            }
        }
        Event::Delete(object) => {
            writer.apply_watcher_event(event);
            changed(Some(object), None);
        }
        Event::Init | Event::InitApply(_) => writer.apply_watcher_event(event),
        // The list of all objects, after the start or a gap in the watch.
        Event::InitDone => {
            let before: HashMap<ObjectRef<K>, Arc<K>> = by_reference(store);
            writer.apply_watcher_event(event);
            let after = by_reference(store);
            for (key, object) in &after {
                let old = before.get(key).map(AsRef::as_ref);
                if differs(old, object) {
                    changed(old, Some(object));
                }
            }
            for (_, object) in before.iter().filter(|(key, _)| !after.contains_key(*key)) {
                changed(Some(object), None);
            }
        }
    }
}

fn by_reference<K>(store: &Store<K>) -> HashMap<ObjectRef<K>, Arc<K>>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    store.state().into_iter().map(|object| (ObjectRef::from_obj(object.as_ref()), object)).collect()
}

fn differs<K: Resource>(before: Option<&K>, after: &K) -> bool {
    before.is_none_or(|before| {
        let (before, after) = (before.meta(), after.meta());
        before.resource_version != after.resource_version || before.uid != after.uid
    })
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use futures::stream;
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::runtime::reflector;

    use super::*;

    fn object(name: &str, version: &str) -> ConfigMap {
        let value = serde_json::json!({"metadata": {
            "name": name, "namespace": "demo", "resourceVersion": version, "managedFields": [{}],
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "long", "mine": "short"},
        }, "data": {"big": "thing"}});
        serde_json::from_value(value).unwrap()
    }

    #[tokio::test]
    async fn every_change_is_told_once_even_across_a_gap() {
        let (store, writer) = reflector::store::<ConfigMap>();
        let told = RefCell::new(Vec::new());
        let version = |one: Option<&ConfigMap>| one.and_then(ResourceExt::resource_version).unwrap_or_default();
        let name = |a: Option<&ConfigMap>, b: Option<&ConfigMap>| a.or(b).map(ResourceExt::name_any).unwrap();
        let events = stream::iter([
            Ok(Event::Init),
            Ok(Event::InitApply(object("a", "1"))),
            Ok(Event::InitApply(object("b", "2"))),
            Ok(Event::InitDone),
            Ok(Event::Apply(object("a", "1"))), // said twice
            Ok(Event::Apply(object("a", "3"))),
            Err(Error::NoResourceVersion),
            Ok(Event::Init), // a gap: a is the same, b went, c came
            Ok(Event::InitApply(object("a", "3"))),
            Ok(Event::InitApply(object("c", "5"))),
            Ok(Event::InitDone),
            Ok(Event::Delete(object("c", "6"))),
        ]);
        follow(
            events,
            writer,
            |one| one.data = None,
            |old, new| {
                told.borrow_mut().push(format!("{} {}>{}", name(old, new), version(old), version(new)));
            },
        )
        .await;
        let told = told.into_inner();
        let mut first = told[..2].to_vec();
        first.sort();
        assert_eq!(first, ["a >1", "b >2"]);
        assert_eq!(told[2], "a 1>3");
        assert_eq!(told[3..], ["c >5", "b 2>", "c 6>"]);
        assert_eq!(store.len(), 1);
        let kept = store.state().pop().unwrap();
        assert!(kept.data.is_none() && kept.managed_fields().is_empty());
        assert_eq!(kept.annotations().keys().collect::<Vec<_>>(), ["mine"]);
    }
}
