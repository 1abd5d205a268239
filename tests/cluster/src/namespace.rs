//! A namespace of one test's own.

use std::{collections::BTreeMap, fmt::Write as _, sync::Arc, thread};

use anyhow::Result;
use k8s_openapi::api::core::v1::{self, Event, ServiceAccount};
use kube::{
    Api,
    api::{DeleteParams, ListParams, ObjectMeta, PostParams},
};

use crate::{ControlPlane, wait::eventually};

/// A namespace that is deleted with its handle. If the test fails, what happened in it is printed.
pub struct Namespace {
    plane: Arc<ControlPlane>,
    name: String,
}

impl Namespace {
    /// Creates a namespace whose name begins so, with these labels, and waits until pods can be created there.
    pub async fn create(plane: &Arc<ControlPlane>, prefix: &str, labels: &[(&str, &str)]) -> Result<Self> {
        let labels: BTreeMap<_, _> = labels.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        let metadata =
            ObjectMeta { generate_name: Some(format!("{prefix}-")), labels: Some(labels), ..ObjectMeta::default() };
        let namespaces: Api<v1::Namespace> = Api::all(plane.admin());
        let namespace = v1::Namespace { metadata, ..v1::Namespace::default() };
        let created = namespaces.create(&PostParams::default(), &namespace).await?;
        let namespace = Self { plane: Arc::clone(plane), name: created.metadata.name.unwrap_or_default() };
        namespace.service_account().await?;
        Ok(namespace)
    }

    /// The default service account, without which no pod is admitted: the controllers make it, and where there are none, we do.
    async fn service_account(&self) -> Result<()> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.plane.admin(), &self.name);
        if !self.plane.has_controllers() {
            let metadata = ObjectMeta { name: Some("default".into()), ..ObjectMeta::default() };
            let account = ServiceAccount { metadata, ..ServiceAccount::default() };
            accounts.create(&PostParams::default(), &account).await?;
        }
        eventually("the namespace has a default service account", || async {
            accounts.get_opt("default").await.ok().flatten()
        })
        .await;
        Ok(())
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    async fn events(&self) -> String {
        let events: Api<Event> = Api::namespaced(self.plane.admin(), &self.name);
        let mut text = format!("--- events in namespace {}\n", self.name);
        for event in events.list(&ListParams::default()).await.map(|list| list.items).unwrap_or_default() {
            let about = event.involved_object;
            let _ = writeln!(
                text,
                "{} {}: {}: {}",
                about.kind.unwrap_or_default(),
                about.name.unwrap_or_default(),
                event.reason.unwrap_or_default(),
                event.message.unwrap_or_default()
            );
        }
        text
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let failed = thread::panicking();
        let clean = async {
            if failed {
                eprintln!("{}", self.events().await);
            }
            let namespaces: Api<v1::Namespace> = Api::all(self.plane.admin());
            let _ = namespaces.delete(&self.name, &DeleteParams::background()).await;
        };
        // The handle is usually dropped on the runtime, where nothing may block; on a thread of its own, anything may.
        thread::scope(|scope| {
            let _ = scope.spawn(|| self.plane.run(clean)).join();
        });
    }
}
