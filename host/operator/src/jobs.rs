//! Starting Jobs, watching them, and removing them with everything that was made for them.

use std::sync::Arc;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::{Resource, ResourceExt as _};

use crate::apply::{self, Created, Object};
use crate::build::job::{self, Work};
use crate::build::{Invoker, belongs};
use crate::context::Context;
use crate::error::Error;
use crate::job_state::{self, JobState};
use crate::stores;

/// Creates the Job for `owner`, with its service account and its rights; nothing at all if it would reach where it may not, or what is not there.
/// A Job that is there already is left alone.
pub(crate) async fn start<O: Object>(context: &Context, owner: &O, work: &Work) -> Result<(), Error> {
    if !work.reach.refused().is_empty() {
        return Err(Error::NotAllowed(work.reach.refused().join("; ")));
    }
    if !work.reach.missing().is_empty() {
        return Err(Error::Waiting(work.reach.missing().join("; ")));
    }
    let objects = job::build(work, &context.options)?;
    let stores = &context.stores;
    if let Some(account) = objects.service_account {
        let cached = stores::get(&stores.accounts, &work.namespace, &work.name);
        apply::ensure_own(&context.client, cached, account, owner).await?;
    }
    for binding in objects.role_bindings {
        let (namespace, name) = apply::place(&binding)?;
        let cached = stores::get(&stores.bindings, &namespace, &name);
        apply::ensure_own(&context.client, cached, binding, owner).await?;
    }
    match apply::create(&context.client, &objects.job).await? {
        Created::Existing(job) if job.metadata.deletion_timestamp.is_some() || !belongs(&job, owner) => {
            Err(apply::in_the_way(&job, owner))
        }
        Created::New(_) | Created::Existing(_) => Ok(()),
    }
}

/// How the Job of `owner` is doing. Another's Job of that name counts as missing, and one that is gone as ending as long
/// as a pod of it is left. One that `must` be there is looked for past the cache, which may be behind.
pub(crate) async fn state<O: Resource<DynamicType = ()>>(
    context: &Context,
    owner: &O,
    (namespace, name): (&str, &str),
    must: bool,
) -> Result<JobState, Error> {
    let job = match known(context, owner, (namespace, name)) {
        None if must => read(context, owner, (namespace, name)).await?,
        known => known,
    };
    let pods = match &job {
        Some(job) => context.stores.pods_of(job),
        None => context.stores.pods_left(&Invoker::of(owner), namespace, name),
    };
    Ok(job_state::of(job.as_deref(), &pods, context.now()))
}

/// The Job of `owner` as the cache knows it. One of that name that is another's, or that was made for an owner of the same name before, is none.
fn known<O: Resource<DynamicType = ()>>(
    context: &Context,
    owner: &O,
    (namespace, name): (&str, &str),
) -> Option<Arc<Job>> {
    stores::get(&context.stores.jobs, namespace, name).filter(|job| belongs(job.as_ref(), owner))
}

async fn read<O: Resource<DynamicType = ()>>(
    context: &Context,
    owner: &O,
    (namespace, name): (&str, &str),
) -> Result<Option<Arc<Job>>, Error> {
    let job = apply::read::<Job>(&context.client, namespace, name).await?;
    Ok(job.filter(|job| belongs(job, owner)).map(Arc::new))
}

/// Deletes one Job of `owner` with its pods; whether it was still there. What it was allowed to do stays until [`unbind`].
pub(crate) async fn delete<O: Resource<DynamicType = ()>>(
    context: &Context,
    owner: &O,
    (namespace, name): (&str, &str),
) -> Result<bool, Error> {
    let job = match known(context, owner, (namespace, name)) {
        None => read(context, owner, (namespace, name)).await?,
        known => known,
    };
    match job {
        Some(job) => delete_seen(context, job.as_ref()).await,
        None => Ok(false),
    }
}

/// Takes away what the Jobs of an object were allowed to do, in all namespaces.
pub(crate) async fn unbind(context: &Context, invoker: &Invoker) -> Result<(), Error> {
    for binding in context.stores.bindings_of(invoker) {
        delete_seen(context, binding.as_ref()).await?;
    }
    Ok(())
}

/// Whether a pod that works for an object may still write.
pub(crate) fn at_work(context: &Context, invoker: &Invoker) -> bool {
    context.stores.pods_for(invoker).iter().any(|pod| job_state::may_write(pod, context.now()))
}

/// Deletes the Jobs of an object but for one; whether there was another, or a pod of another that may still write.
pub(crate) async fn stop_others(context: &Context, invoker: &Invoker, but: &str) -> Result<bool, Error> {
    let pods = context.stores.pods_for(invoker);
    let mut any = pods.iter().any(|pod| !stores::is_of_job(pod, but) && job_state::may_write(pod, context.now()));
    for job in context.stores.jobs_of(invoker).iter().filter(|job| job.name_any() != but) {
        any |= delete_seen(context, job.as_ref()).await?;
    }
    Ok(any)
}

/// Removes every Job of an object, and all that was made for them; whether a Job was still there, or a pod of one that may
/// still write.
pub(crate) async fn remove_all(context: &Context, invoker: &Invoker) -> Result<bool, Error> {
    let mut any = at_work(context, invoker);
    for job in context.stores.jobs_of(invoker) {
        let (namespace, name) = apply::place(job.as_ref())?;
        any |= delete_seen(context, job.as_ref()).await?;
        let account = stores::get::<ServiceAccount>(&context.stores.accounts, &namespace, &name);
        apply::delete_made_for(&context.client, account, (&namespace, &name), invoker).await?;
    }
    unbind(context, invoker).await?;
    Ok(any)
}

/// Removes what was made for an object that is gone, and that the caches knew of too late. Nothing is asked if they know of nothing.
pub(crate) async fn remove_left<O: Object>(context: &Context, namespace: &str, name: &str) -> Result<(), Error> {
    let invoker = Invoker { kind: O::kind(&()).into_owned(), namespace: namespace.to_owned(), name: name.to_owned() };
    let stores = &context.stores;
    // What is known before the object is asked for was not made for a later one of its name.
    let (jobs, bindings) = (stores.jobs_of(&invoker), stores.bindings_of(&invoker));
    let accounts: Vec<_> = jobs
        .iter()
        .filter_map(|job| stores::get(&stores.accounts, &job.namespace()?, &job.name_any()))
        .filter(|account| Invoker::from_annotations(account.annotations()).as_ref() == Some(&invoker))
        .collect();
    if jobs.is_empty() && bindings.is_empty() || apply::read::<O>(&context.client, namespace, name).await?.is_some() {
        return Ok(());
    }
    for job in &jobs {
        delete_seen(context, job.as_ref()).await?;
    }
    for account in &accounts {
        delete_seen(context, account.as_ref()).await?;
    }
    for binding in &bindings {
        delete_seen(context, binding.as_ref()).await?;
    }
    Ok(())
}

/// Deletes the very object that was seen, if it is still there; whether it was.
async fn delete_seen<K: Object>(context: &Context, object: &K) -> Result<bool, Error> {
    let (namespace, name) = apply::place(object)?;
    apply::delete::<K>(&context.client, &namespace, &name, object.uid().as_deref()).await
}
