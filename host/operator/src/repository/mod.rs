//! The Repository controller: a Job writes the repository down in its storage, and on deletion another one wipes it out if
//! so wanted.

use std::sync::Arc;
use std::time::Duration;

use coffer_api::condition::{self, REPOSITORY_INITIALIZED};
use coffer_api::meta::{cluster_role, component};
use coffer_api::shared::DeletionPolicy;
use coffer_api::storage::{BackupStorage, Repository, RepositoryPhase, RepositoryStatus};
use coffer_api::{names, phase};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use kube::ResourceExt as _;
use kube::runtime::controller::Action;

use crate::build::job::Work;
use crate::build::settings::Settings;
use crate::build::volumes::Volumes;
use crate::build::{self, Invoker};
use crate::context::Context;
use crate::controller::Controller;
use crate::error::Error;
use crate::kstatus::{self, State};
use crate::prepare::{self, Progress};
use crate::reach::Reach;
use crate::wipe::{self, Wipe};
use crate::{apply, backends, events, jobs, writers};

/// The controller of Repositories.
pub(crate) struct Repositories;

impl Controller for Repositories {
    type Object = Repository;
    const NAME: &'static str = "repository";

    fn reconcile(repository: Arc<Repository>, context: Arc<Context>) -> BoxFuture<'static, Result<Action, Error>> {
        async move { reconcile(&repository, &context).await }.boxed()
    }
}

/// How far the initialization is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Done,
    Waiting(String),
    Working(String),
    Failed(String),
}

async fn reconcile(repository: &Repository, context: &Context) -> Result<Action, Error> {
    if repository.metadata.deletion_timestamp.is_some() {
        return delete(repository, context).await;
    }
    if apply::add_finalizer(&context.client, repository).await? {
        return Ok(Action::await_change());
    }
    if repository.spec.paused == Some(true) {
        return Ok(Action::await_change());
    }
    let mut status = repository.status.clone().unwrap_or_default();
    let (step, again) = if condition::is_true(&status.conditions, REPOSITORY_INITIALIZED) {
        (Step::Done, None)
    } else {
        initialize(repository, &status, context).await?
    };
    conclude(repository, &mut status, &step, context);
    if apply::patch_status(&context.client, repository, repository.status.as_ref(), &status).await? {
        let before = repository.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
        events::publish(&context.recorder, repository, events::of_conditions(before, &status.conditions)).await;
    }
    if step == Step::Done {
        // Its Job is not needed any more, nor what was made for it.
        jobs::remove_all(context, &Invoker::of(repository)).await?;
    }
    Ok(again.map_or_else(Action::await_change, Action::requeue))
}

async fn initialize(
    repository: &Repository,
    status: &RepositoryStatus,
    context: &Context,
) -> Result<(Step, Option<Duration>), Error> {
    let namespace = repository.namespace().unwrap_or_default();
    let Some(reference) = &repository.spec.storage_ref else {
        return Ok((Step::Waiting("it names no storage; set spec.storageRef".to_owned()), None));
    };
    let part = backends::storage(Some(reference), &namespace, &context.stores);
    let storage = match (part.problem, part.object) {
        (None, Some(storage)) => storage,
        (problem, _) => return Ok((Step::Waiting(problem.unwrap_or_default()), None)),
    };
    let work = Work {
        deadline: Some(context.options.limits.prepare),
        ..work(repository, &storage, "initialize-repository", context)?
    };
    let since = condition::find(&status.conditions, REPOSITORY_INITIALIZED).map(|one| one.last_transition_time.0);
    Ok(match prepare::drive(context, repository, &work, since).await? {
        Progress::Working(what) => (Step::Working(what), Some(context.options.limits.resync)),
        Progress::Failed(why, pause) => (Step::Failed(why), Some(pause)),
    })
}

/// Everything that follows from the facts and the step.
fn conclude(repository: &Repository, status: &mut RepositoryStatus, step: &Step, context: &Context) {
    let now = context.now();
    status.observed_generation = repository.metadata.generation;
    if let Step::Failed(why) = step
        && !condition::is_false(&status.conditions, REPOSITORY_INITIALIZED)
    {
        condition::set(&mut status.conditions, REPOSITORY_INITIALIZED.fails_because(why.clone()), now);
    }
    let phase = phase::repository(&status.conditions);
    status.phase = Some(phase);
    if phase == RepositoryPhase::Ready {
        // A fresh repository is empty, which is known.
        status.snapshot_count.get_or_insert(0);
        status.size.get_or_insert_with(|| coffer_api::size::format(0));
    }
    let said = condition::find(&status.conditions, REPOSITORY_INITIALIZED).and_then(|one| one.message.clone());
    let state = match step {
        Step::Done => State::Ready,
        Step::Waiting(what) => State::Reconciling(format!("waiting: {what}")),
        Step::Working(what) => State::Reconciling(what.clone()),
        Step::Failed(why) => State::Stalled(said.unwrap_or_else(|| why.clone())),
    };
    kstatus::set(&mut status.conditions, &state, repository.metadata.generation, now);
}

/// A Job that works on the repository in its storage, without its password.
fn work(repository: &Repository, storage: &BackupStorage, verb: &str, context: &Context) -> Result<Work, Error> {
    let (namespace, name) = apply::place(repository)?;
    let mut reach = Reach::within(&namespace);
    reach.storage(storage, &context.stores);
    Ok(Work {
        invoker: Invoker::of(repository),
        owner: Some(build::owner(repository)?),
        component: Some(component::INITIALIZER),
        session: None,
        container: "initialize".to_owned(),
        args: ["run", verb, "--namespace", &namespace, "--name", &name].map(str::to_owned).to_vec(),
        role: cluster_role::BACKEND_JOB,
        reach,
        volumes: Volumes::scratch().storages([storage])?,
        settings: Settings::of_runtime(storage.spec.runtime_settings.as_ref()),
        deadline: None,
        name: names::initialize_repository_job(&name),
        namespace,
    })
}

/// A Job that wipes out data in the repository, or the repository itself.
pub(crate) fn cleaner(
    repository: &Repository,
    storage: &BackupStorage,
    (kind, name): (&str, &str),
    context: &Context,
) -> Result<Work, Error> {
    let work = work(repository, storage, "cleanup", context)?;
    let args = ["run", "cleanup", "--namespace", &work.namespace, "--kind", kind, "--name", name];
    Ok(Work {
        args: args.map(str::to_owned).to_vec(),
        invoker: Invoker { kind: kind.to_owned(), namespace: work.namespace.clone(), name: name.to_owned() },
        name: if kind == "Repository" {
            names::cleanup_repository_job(name)
        } else {
            names::cleanup_snapshot_job(name)
        },
        component: Some(component::CLEANER),
        container: "cleanup".to_owned(),
        owner: None,
        deadline: Some(context.options.limits.cleanup),
        ..work
    })
}

/// `Delete` keeps the data. `WipeOut` has it wiped out first; without its storage there is nothing to reach it by.
async fn delete(repository: &Repository, context: &Context) -> Result<Action, Error> {
    if !apply::has_finalizer(repository) {
        return Ok(Action::await_change());
    }
    if repository.spec.deletion_policy == DeletionPolicy::WipeOut
        && let Some(storage) = wipe::storage_of(repository, repository, context).await
    {
        let work = cleaner(repository, &storage, ("Repository", &repository.name_any()), context)?;
        let writer = writers::of_repository(context, &work.namespace, &repository.name_any())
            .or_else(|| writers::of_storage(context, &storage));
        if let Wipe::Working(again) = wipe::drive(context, repository, &work, writer).await? {
            return Ok(Action::requeue(again));
        }
    }
    jobs::remove_all(context, &Invoker::of(repository)).await?;
    apply::remove_finalizer(&context.client, repository).await?;
    Ok(Action::await_change())
}
