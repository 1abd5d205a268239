//! The whole operator: watches at once, controllers while it leads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kube::Client;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::backup_configuration::BackupConfigurations;
use crate::backup_session::BackupSessions;
use crate::backup_storage::BackupStorages;
use crate::context::Context;
use crate::lease::Candidate;
use crate::metrics::Metrics;
use crate::options::Options;
use crate::repository::Repositories;
use crate::restore_session::RestoreSessions;
use crate::server::{self, Health};
use crate::snapshot::Snapshots;
use crate::stores::Stores;
use crate::{controller, routes};

/// Name of the Lease.
const LEASE: &str = "coffer-operator";
/// How long reconciles may take to end when the operator is to stop.
const PATIENCE: Duration = Duration::from_secs(20);

/// Why the operator ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The address is in use, or not this machine's.
    #[error("cannot listen on {address}: {source}; choose another address")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// Another operator leads now. This one ends at once, and is started again as a candidate.
    #[error("the lease was lost; another operator may lead now")]
    LeaseLost,
    /// A part that never ends has ended.
    #[error("the {0} ended; start the operator again")]
    Broken(&'static str),
}

/// Runs the operator until `shutdown`; then it ends what it has begun, and frees its lease.
pub async fn run(
    client: Client,
    options: Options,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), RunError> {
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    let told = stop.clone();
    tasks.spawn(async move {
        shutdown.await;
        told.cancel();
        // This task is one of many that never end by themselves.
        std::future::pending::<()>().await;
    });
    let (stores, writers) = Stores::new();
    let metrics = Arc::new(Metrics::default());
    metrics.watch(stores.clone());
    let ready = Arc::new(AtomicBool::new(false));
    if let Some(address) = options.listen {
        let listener = server::bind(address).await.map_err(|source| RunError::Listen { address, source })?;
        let health = Health { metrics: Arc::clone(&metrics), ready: Arc::clone(&ready) };
        let serving = server::serve(listener, health, stop.clone());
        tasks.spawn(async move {
            if let Err(error) = serving.await {
                tracing::error!(%error, "the HTTP server failed");
            }
            std::future::pending::<()>().await;
        });
    }
    let context = Arc::new(Context::new(client.clone(), stores, metrics, options));
    routes::start(&context, writers, &mut tasks);
    let outcome = tokio::select! {
        outcome = lead(&context, client, &ready, &stop) => outcome,
        _ = tasks.join_next() => Err(RunError::Broken("watch of the cluster")),
    };
    stop.cancel();
    outcome
}

/// Waits for the lease, works while it holds, and frees it.
async fn lead(
    context: &Arc<Context>,
    client: Client,
    ready: &AtomicBool,
    stop: &CancellationToken,
) -> Result<(), RunError> {
    let filled = async {
        let filled = context.stores.filled().await;
        ready.store(filled, Ordering::Release);
        filled
    };
    tokio::select! {
        filled = filled => if !filled { return Err(RunError::Broken("watch of the cluster")) },
        () = stop.cancelled() => return Ok(()),
    }
    let options = &context.options;
    let candidate =
        options.lease.map(|timing| Candidate::new(client, &options.namespace, LEASE, &options.identity, timing));
    let mut since = Instant::now();
    if let Some(candidate) = &candidate {
        tracing::info!(identity = options.identity, "waiting for the lease");
        tokio::select! {
            begun = candidate.acquire() => since = begun,
            () = stop.cancelled() => return Ok(()),
        }
    }
    tracing::info!(identity = options.identity, "leading");
    context.metrics.lead(true);
    let lost = async {
        match &candidate {
            Some(candidate) => candidate.hold(since).await,
            None => std::future::pending().await,
        }
    };
    let outcome = tokio::select! {
        outcome = work(context, stop) => outcome,
        // Whoever leads now must not be disturbed: nothing of this operator goes on.
        () = lost => Err(RunError::LeaseLost),
    };
    context.metrics.lead(false);
    if let (Some(candidate), Ok(())) = (&candidate, &outcome)
        && let Err(error) = candidate.release().await
    {
        tracing::warn!(%error, "cannot free the lease; another operator takes it when it has expired");
    }
    outcome
}

/// The controllers, until `stop`, and then to the end of what they have begun.
async fn work(context: &Arc<Context>, stop: &CancellationToken) -> Result<(), RunError> {
    let mut controllers = JoinSet::new();
    macro_rules! start {
        ($controller:ty, $queue:ident) => {{
            let (context, stop) = (Arc::clone(context), stop.clone());
            controllers.spawn(async move {
                let store = context.stores.$queue.clone();
                controller::run::<$controller>(Arc::clone(&context), &context.queues.$queue, store, stop).await;
            });
        }};
    }
    start!(BackupStorages, storages);
    start!(Repositories, repositories);
    start!(Snapshots, snapshots);
    start!(BackupConfigurations, configurations);
    start!(BackupSessions, sessions);
    start!(RestoreSessions, restores);
    tokio::select! {
        _ = controllers.join_next() => {}
        () = stop.cancelled() => {}
    }
    if !stop.is_cancelled() {
        return Err(RunError::Broken("controller"));
    }
    let ended = async { while controllers.join_next().await.is_some() {} };
    if tokio::time::timeout(PATIENCE, ended).await.is_err() {
        tracing::warn!("some reconciles did not end in time; the next operator repeats them");
    }
    Ok(())
}
