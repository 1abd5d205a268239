//! The RestoreSession controller: one restore, from waiting for its source to the clean-up after it.
//!
//! As with BackupSessions, each reconcile takes one step, and every step can be repeated.

mod apply;
mod deletion;
pub(crate) mod pause;
mod plan;
mod validate;
mod view;

use std::sync::Arc;

use coffer_api::core::RestoreSession;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use kube::runtime::controller::Action;

use crate::context::Context;
use crate::controller::Controller;
use crate::error::Error;

/// The controller of RestoreSessions.
pub(crate) struct RestoreSessions;

impl Controller for RestoreSessions {
    type Object = RestoreSession;
    const NAME: &'static str = "restore_session";

    fn reconcile(session: Arc<RestoreSession>, context: Arc<Context>) -> BoxFuture<'static, Result<Action, Error>> {
        async move { reconcile(&session, &context).await }.boxed()
    }
}

async fn reconcile(session: &Arc<RestoreSession>, context: &Context) -> Result<Action, Error> {
    if session.metadata.deletion_timestamp.is_some() {
        return deletion::run(session, context).await;
    }
    if crate::apply::add_finalizer(&context.client, session.as_ref()).await? {
        return Ok(Action::await_change());
    }
    let view = view::of(session, context).await?;
    let plan = plan::plan(&view, context.now(), &context.options.limits);
    apply::run(&view, plan, context).await
}
