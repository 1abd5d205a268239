//! Everything that ever was, also what has gone since.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Result;
use futures::StreamExt as _;
use kube::{
    Client, ResourceExt as _,
    api::DynamicObject,
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Event, watcher},
    },
};
use tokio::task::JoinHandle;

use crate::manifests;

/// By namespace and name: each object that had it, by its uid, as it was last.
type Seen = BTreeMap<String, BTreeMap<String, DynamicObject>>;

/// Follows all objects of a kind for as long as it is held.
pub struct Record {
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

impl Record {
    /// Begins with those that are there.
    pub async fn begin(client: &Client, api_version: &str, kind: &str) -> Result<Self> {
        let api = manifests::everywhere(client, api_version, kind).await?;
        let seen = Arc::new(Mutex::new(Seen::new()));
        let writer = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            let events = watcher(api, watcher::Config::default()).default_backoff();
            let each = events.for_each(|event| {
                if let Ok(Event::Apply(object) | Event::InitApply(object) | Event::Delete(object)) = event {
                    let name = format!("{}/{}", object.namespace().unwrap_or_default(), object.name_any());
                    let mut seen = writer.lock().unwrap_or_else(PoisonError::into_inner);
                    seen.entry(name).or_default().insert(object.uid().unwrap_or_default(), object);
                }
                std::future::ready(())
            });
            each.await;
        });
        Ok(Self { seen, task })
    }

    /// Every object so far, as it was last, by `namespace/name`.
    pub fn all(&self) -> Vec<(String, DynamicObject)> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter().flat_map(|(name, objects)| objects.values().map(|object| (name.clone(), object.clone()))).collect()
    }

    /// How many objects are so, as they were last.
    pub fn count(&self, so: impl Fn(&DynamicObject) -> bool) -> usize {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.values().flat_map(BTreeMap::values).filter(|object| so(object)).count()
    }

    /// The names that more than one object had.
    pub fn twice(&self) -> Vec<String> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter().filter(|(_, objects)| objects.len() > 1).map(|(name, _)| name.clone()).collect()
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.task.abort();
    }
}
