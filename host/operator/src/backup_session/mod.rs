//! The BackupSession controller: one run of a session, from the decision to run it to the clean-up after it.
//!
//! Each reconcile takes one step; the step writes the status, and that leads to the next reconcile. Every step can be
//! repeated: names follow from the session, and what has been done shows in its conditions.

mod admission;
mod apply;
mod deletion;
mod plan;
#[cfg(test)]
#[expect(clippy::needless_pass_by_value, reason = "JSON literals are handed over as they are")]
mod plan_tests;
mod view;

pub(crate) use admission::is_admitted;

use std::sync::Arc;

use coffer_api::core::BackupSession;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use kube::runtime::controller::Action;

use crate::context::Context;
use crate::controller::Controller;
use crate::error::Error;

pub(crate) use apply::create_session;

/// The controller of BackupSessions.
pub(crate) struct BackupSessions;

impl Controller for BackupSessions {
    type Object = BackupSession;
    const NAME: &'static str = "backup_session";

    fn reconcile(session: Arc<BackupSession>, context: Arc<Context>) -> BoxFuture<'static, Result<Action, Error>> {
        async move { reconcile(&session, &context).await }.boxed()
    }
}

async fn reconcile(session: &Arc<BackupSession>, context: &Context) -> Result<Action, Error> {
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
