//! A RestoreSession that is being deleted takes its Job with it, and lets backups go on.

use std::sync::Arc;
use std::time::Duration;

use coffer_api::core::RestoreSession;
use kube::runtime::controller::Action;

use crate::apply;
use crate::build::Invoker;
use crate::context::Context;
use crate::error::Error;
use crate::jobs;
use crate::restore_session::pause;

const SOON: Duration = Duration::from_secs(2);

pub(super) async fn run(session: &Arc<RestoreSession>, context: &Context) -> Result<Action, Error> {
    if !apply::has_finalizer(session.as_ref()) {
        return Ok(Action::await_change());
    }
    if jobs::remove_all(context, &Invoker::of(session.as_ref())).await? {
        return Ok(Action::requeue(SOON));
    }
    pause::resume(session, context).await?;
    apply::remove_finalizer(&context.client, session.as_ref()).await?;
    Ok(Action::await_change())
}
