//! A BackupSession that is being deleted takes its Jobs with it; what it has not finished stays unfinished.

use std::sync::Arc;
use std::time::Duration;

use coffer_api::core::BackupSession;
use coffer_api::phase;
use kube::runtime::controller::Action;

use crate::apply;
use crate::backup_session::apply::condemn;
use crate::backup_session::view;
use crate::build::Invoker;
use crate::context::Context;
use crate::error::Error;
use crate::jobs;

/// How soon to look whether a deleted Job is gone.
const SOON: Duration = Duration::from_secs(2);

pub(super) async fn run(session: &Arc<BackupSession>, context: &Context) -> Result<Action, Error> {
    if !apply::has_finalizer(session.as_ref()) {
        return Ok(Action::await_change());
    }
    let invoker = Invoker::of(session.as_ref());
    if jobs::remove_all(context, &invoker).await? {
        return Ok(Action::requeue(SOON));
    }
    let view = view::of(session, context).await?;
    let mut any = false;
    for snapshot in view.parts.iter().filter_map(|part| part.snapshot.as_ref()) {
        let status = snapshot.status.clone().unwrap_or_default();
        // One that is going already may wait for this session.
        let is_going = snapshot.metadata.deletion_timestamp.is_some();
        if !is_going && status.components.is_empty() && !phase::is_final(phase::snapshot(&status)) {
            // Nothing was begun, so there is nothing to keep a record of.
            apply::delete_unchanged(&context.client, snapshot.as_ref()).await?;
            any = true;
        }
    }
    if any {
        return Ok(Action::requeue(SOON));
    }
    condemn(&view.parts, "its BackupSession was deleted before it had ended", context).await?;
    apply::remove_finalizer(&context.client, session.as_ref()).await?;
    Ok(Action::await_change())
}
