//! What every reconcile gets.

use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::runtime::events::{Recorder, Reporter};
use tokio::sync::Mutex;

use crate::apply::MANAGER;
use crate::metrics::Metrics;
use crate::options::Options;
use crate::routes::Queues;
use crate::stores::Stores;

/// What every reconcile gets.
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) stores: Stores,
    pub(crate) queues: Queues,
    pub(crate) recorder: Recorder,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) options: Options,
    /// Held while it is decided whether a BackupSession runs: of two at the same moment only one may.
    pub(crate) admission: Mutex<()>,
}

impl Context {
    pub(crate) fn new(client: Client, stores: Stores, metrics: Arc<Metrics>, options: Options) -> Self {
        let reporter = Reporter { controller: MANAGER.to_owned(), instance: Some(options.identity.clone()) };
        Self {
            recorder: Recorder::new(client.clone(), reporter),
            client,
            stores,
            queues: Queues::default(),
            metrics,
            options,
            admission: Mutex::new(()),
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.options.clock.now()
    }
}
