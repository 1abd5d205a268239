//! `coffer run`: thin calls into the verbs of the Jobs.

use std::sync::Arc;

use coffer_api::meta::cluster_role;
use coffer_job::{Addons, End as JobEnd, Job};

use crate::args::{Run, Verb, Wiped};
use crate::catalog;
use crate::cluster::Connection;
use crate::context::App;
use crate::exit::{End, Failure, Outcome};

/// Variable that Kubernetes sets to the name of the pod.
const POD: &str = "HOSTNAME";

pub(crate) fn run(args: &Run, app: &App) -> Outcome {
    let namespace =
        app.global.namespace.as_deref().ok_or_else(|| {
            Failure::Usage("run needs the namespace of its object; name it with --namespace".to_owned())
        })?;
    let connection = Connection::open(&args.cluster)?;
    let job = Job {
        cluster: connection.reader().with_role(role(&args.verb)),
        local: app.local(),
        cancel: app.cancel.clone(),
    };
    let end = match &args.verb {
        Verb::Trigger { configuration, session } => {
            let pod = std::env::var(POD).ok();
            coffer_job::trigger(&job, namespace, configuration, session, pod.as_deref())
        }
        Verb::InitializeStorage { name } => coffer_job::initialize_storage(&job, namespace, name),
        Verb::InitializeRepository { name } => coffer_job::initialize_repository(&job, namespace, name),
        Verb::Backup { session } => coffer_job::backup(&job, &addons(app)?, namespace, session),
        Verb::Restore { session } => coffer_job::restore(&job, &addons(app)?, namespace, session),
        Verb::Retention { session } => coffer_job::retention(&job, namespace, session),
        Verb::Cleanup { kind, name } => {
            let kind = match kind {
                Wiped::BackupStorage => coffer_job::Wiped::BackupStorage,
                Wiped::Repository => coffer_job::Wiped::Repository,
                Wiped::Snapshot => coffer_job::Wiped::Snapshot,
            };
            coffer_job::cleanup(&job, kind, namespace, name)
        }
    };
    Ok(match end? {
        JobEnd::Done => End::Done,
        JobEnd::Partial => End::Partial,
    })
}

/// The ClusterRole that grants what a verb needs.
fn role(verb: &Verb) -> &'static str {
    match verb {
        Verb::Trigger { .. } => cluster_role::CRON_JOB,
        Verb::InitializeStorage { .. } => cluster_role::STORAGE_INITIALIZER_JOB,
        Verb::InitializeRepository { .. } | Verb::Cleanup { .. } => cluster_role::BACKEND_JOB,
        Verb::Backup { .. } => cluster_role::BACKUP_JOB,
        Verb::Restore { .. } => cluster_role::RESTORE_JOB,
        Verb::Retention { .. } => cluster_role::RETENTION_POLICY_JOB,
    }
}

fn addons(app: &App) -> Result<Addons, Failure> {
    let engine = app.engine()?;
    let catalog = catalog::builtin(&engine)?;
    Ok(Addons { context: app.run_context(engine, Arc::new(())), catalog })
}
