//! Wiping data out when an object is deleted: by a Job that outlives the object's deletion, and says so on the object. It
//! begins when nobody writes any more what it is to remove.

use std::time::Duration;

use coffer_api::meta::annotation;
use kube::ResourceExt as _;

use crate::apply::Object;
use crate::build::Invoker;
use crate::build::job::Work;
use crate::context::Context;
use crate::error::Error;
use crate::events::{self, Note};
use crate::prepare::{self, Progress};
use crate::{jobs, stores};

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

/// The BackupStorage of a Repository in `namespace`, if it still exists.
pub(crate) fn storage_of(
    repository: &coffer_api::storage::Repository,
    context: &Context,
) -> Option<std::sync::Arc<coffer_api::storage::BackupStorage>> {
    let namespace = repository.namespace().unwrap_or_default();
    stores::referred(&context.stores.storages, repository.spec.storage_ref.as_ref()?, &namespace)
}
