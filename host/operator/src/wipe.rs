//! Wiping data out when an object is deleted: by a Job that outlives the object's deletion, and says so on the object. It
//! begins when nobody writes any more what it is to remove.

use std::sync::Arc;
use std::time::Duration;

use coffer_api::meta::annotation;
use coffer_api::storage::{BackupStorage, Repository};
use kube::ResourceExt as _;

use crate::apply::Object;
use crate::build::Invoker;
use crate::build::job::Work;
use crate::context::Context;
use crate::error::Error;
use crate::events::{self, Note};
use crate::prepare::{self, Progress};
use crate::{backends, jobs};

/// When to look again whether a Job that was deleted is gone.
const SOON: Duration = Duration::from_secs(2);

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wipe {
    /// The data is gone, or cannot be wiped out any more.
    Over,
    /// Look again after a while.
    Working(Duration),
}

/// Starts the Job, looks after it, and removes it when the object says that its data is gone. Nothing is begun while there
/// is a `writer`.
pub(crate) async fn drive<O: Object>(
    context: &Context,
    object: &O,
    work: &Work,
    writer: Option<String>,
) -> Result<Wipe, Error> {
    let invoker = Invoker::of(object);
    if object.annotations().get(annotation::WIPED).map(String::as_str) == Some("true") {
        jobs::remove_all(context, &invoker).await?;
        return Ok(Wipe::Over);
    }
    if let Some(writer) = writer {
        let text = format!("the data is wiped out when {writer} has ended: it may still write");
        events::publish(&context.recorder, object, vec![Note::normal("CleanupWaits", text)]).await;
        return Ok(Wipe::Working(context.options.limits.resync));
    }
    // What prepares the object writes too.
    if jobs::stop_others(context, &invoker, &work.name).await? {
        return Ok(Wipe::Working(SOON));
    }
    let since = object.meta().deletion_timestamp.as_ref().map(|time| time.0);
    match prepare::drive(context, object, work, since).await {
        Ok(Progress::Working(_)) => Ok(Wipe::Working(context.options.limits.resync)),
        Ok(Progress::Failed(why, pause)) => {
            let fix = "correct it, or set spec.deletionPolicy to Delete to keep the data";
            let note = Note::warning("CleanupFailed", format!("the data cannot be wiped out: {why}; {fix}"));
            events::publish(&context.recorder, object, vec![note]).await;
            Ok(Wipe::Working(pause))
        }
        // Nothing can be created in a namespace that is going. Keeping the data is the safe side.
        Err(error) if error.is_namespace_ending() => {
            tracing::warn!(object = invoker.annotation(), "its namespace is being deleted, so its data is kept");
            Ok(Wipe::Over)
        }
        Err(error) => Err(error),
    }
}

/// The BackupStorage of a Repository, if it still exists and still lets the Repository's namespace use it. Without one there is nothing to reach the
/// data by, and it stays where it is.
pub(crate) async fn storage_of<O: Object>(
    object: &O,
    repository: &Repository,
    context: &Context,
) -> Option<Arc<BackupStorage>> {
    let namespace = repository.namespace().unwrap_or_default();
    let part = backends::storage(Some(repository.spec.storage_ref.as_ref()?), &namespace, &context.stores);
    if part.forbidden {
        let why = part.problem.unwrap_or_default();
        let note = Note::warning("DataRetained", format!("the data is not wiped out, and stays: {why}"));
        events::publish(&context.recorder, object, vec![note]).await;
        return None;
    }
    part.object
}
