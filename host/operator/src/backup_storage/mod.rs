//! The BackupStorage controller: a Job prepares the backend, and on deletion another one wipes it out if so wanted.

mod deletion;
mod status;
mod sync;
mod validate;

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use coffer_api::condition::{self, BACKEND_INITIALIZED};
use coffer_api::meta::{cluster_role, component};
use coffer_api::names;
use coffer_api::storage::{BackupStorage, BackupStorageStatus};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt as _;
use kube::runtime::controller::Action;

use crate::build::job::Work;
use crate::build::settings::Settings;
use crate::build::volumes::Volumes;
use crate::build::{self, Invoker, belongs};
use crate::context::Context;
use crate::controller::Controller;
use crate::error::Error;
use crate::prepare::{self, Progress};
use crate::reach::Reach;
use crate::{apply, jobs, stores};

/// Annotation of a Job: a digest of the settings that it works with.
const SETTINGS: &str = "coffer.dev/settings";

/// The controller of BackupStorages.
pub(crate) struct BackupStorages;

impl Controller for BackupStorages {
    type Object = BackupStorage;
    const NAME: &'static str = "backup_storage";

    fn reconcile(storage: Arc<BackupStorage>, context: Arc<Context>) -> BoxFuture<'static, Result<Action, Error>> {
        async move { Box::pin(reconcile(&storage, &context)).await }.boxed()
    }
}

async fn reconcile(storage: &BackupStorage, context: &Context) -> Result<Action, Error> {
    if storage.metadata.deletion_timestamp.is_some() {
        return Box::pin(deletion::run(storage, context)).await;
    }
    if apply::add_finalizer(&context.client, storage).await? {
        return Ok(Action::await_change());
    }
    let mut status = storage.status.clone().unwrap_or_default();
    let others = context.stores.storages.state();
    let problem = validate::problem(storage, others.iter().map(AsRef::as_ref));
    let (step, again) = match problem {
        // Most of what makes it valid leads here by itself.
        Some(why) => (status::Step::Invalid(why), Some(context.options.limits.resync * 10)),
        None => initialize(storage, &mut status, context).await?,
    };
    status::conclude(storage, &mut status, &step, context);
    status::write(storage, &status, context).await?;
    Ok(again.map_or_else(Action::await_change, Action::requeue))
}

/// The Job that prepares the backend, until the storage says that it is prepared with the settings of now.
async fn initialize(
    storage: &BackupStorage,
    status: &mut BackupStorageStatus,
    context: &Context,
) -> Result<(status::Step, Option<Duration>), Error> {
    // It may have to bring back the Snapshots of a large backend.
    let work = Work { deadline: Some(context.options.limits.prepare * 6), ..initializer(storage)? };
    let work = sync::widened(work, sync::reach(storage, status, &context.stores));
    let job =
        stores::get(&context.stores.jobs, &work.namespace, &work.name).filter(|job| belongs(job.as_ref(), storage));
    let is_done = condition::is_true(&status.conditions, BACKEND_INITIALIZED);
    if job.as_ref().is_some_and(|job| settings_of(job) != Some(&digest(storage))) {
        // First the word, then the deed: a Job that is gone must not leave the old word behind.
        if is_done {
            let changed = BACKEND_INITIALIZED.unknown_because("the settings of the storage have changed");
            condition::set(&mut status.conditions, changed, context.now());
        } else {
            jobs::delete(context, storage, (&work.namespace, &work.name)).await?;
        }
        return Ok((status::Step::Working("the settings have changed".to_owned()), Some(Duration::from_secs(1))));
    }
    if is_done {
        return Ok((status::Step::Done, Box::pin(sync::drive(storage, status, &work, context)).await?));
    }
    let since = condition::find(&status.conditions, BACKEND_INITIALIZED).map(|one| one.last_transition_time.0);
    Ok(match prepare::drive(context, storage, &work, since).await? {
        Progress::Working(what) => (status::Step::Working(what), Some(context.options.limits.resync)),
        Progress::Failed(why, pause) => (status::Step::Failed(why), Some(pause)),
    })
}

fn settings_of(job: &Job) -> Option<&String> {
    job.annotations().get(SETTINGS)
}

fn digest(storage: &BackupStorage) -> String {
    let mut hasher = DefaultHasher::new();
    serde_json::to_string(&storage.spec.storage).unwrap_or_default().hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// A Job that works on the storage itself.
fn work(storage: &BackupStorage) -> Result<Work, Error> {
    let (namespace, name) = apply::place(storage)?;
    let mut settings = Settings::of_runtime(storage.spec.runtime_settings.as_ref());
    settings.job_annotations.insert(SETTINGS.to_owned(), digest(storage));
    Ok(Work {
        invoker: Invoker::of(storage),
        owner: Some(build::owner(storage)?),
        component: Some(component::INITIALIZER),
        session: None,
        container: "initialize".to_owned(),
        args: Vec::new(),
        role: cluster_role::STORAGE_INITIALIZER_JOB,
        reach: Reach::within(&namespace),
        volumes: Volumes::scratch().storages([storage])?,
        settings,
        deadline: None,
        namespace,
        name,
    })
}

fn initializer(storage: &BackupStorage) -> Result<Work, Error> {
    let work = work(storage)?;
    let args = ["run", "initialize-storage", "--namespace", &work.namespace, "--name", &work.name].map(str::to_owned);
    Ok(Work { name: names::initialize_storage_job(&work.name), args: args.to_vec(), ..work })
}
