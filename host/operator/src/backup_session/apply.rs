//! Build and apply: takes the step that was planned, then writes the status.

use std::sync::Arc;
use std::time::Duration;

use coffer_api::addons::{Addon, Task};
use coffer_api::condition::{
    self, BACKUP_EXECUTOR_ENSURED, BACKUP_INCOMPLETE, BACKUP_SKIPPED, Change, ConditionType,
    RETENTION_POLICY_EXECUTOR_ENSURED, SNAPSHOTS_ENSURED,
};
use coffer_api::core::{
    BackupConfiguration, BackupSession, BackupSessionPhase, BackupSessionStatus, RetentionPolicyApplyPhase,
    RetentionPolicyApplyStatus, Session, SnapshotStatus as SnapshotOfSession, TaskReference,
};
use coffer_api::meta::{cluster_role, component};
use coffer_api::shared::{ObjectReference, SnapshotPhase};
use coffer_api::storage::{BackupStorage, Snapshot};
use coffer_api::{lifecycle, phase};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;
use kube::runtime::controller::Action;

use crate::apply::{self, Created};
use crate::backends;
use crate::backup_session::plan::{Plan, Step, retention_job};
use crate::backup_session::view::{self, Part, View, session_of};
use crate::backup_session::{admission, plan};
use crate::build::backup_session::{CAUSE, Cause};
use crate::build::job::Work;
use crate::build::settings::Settings;
use crate::build::volumes::Volumes;
use crate::build::{self, Invoker};
use crate::context::Context;
use crate::error::Error;
use crate::events::{self, Note};
use crate::kstatus::{self, State};
use crate::reach::Reach;
use crate::{jobs, stores, tasks};

/// How much longer than its deadline Kubernetes lets a Job live: the operator ends it first, if it is there and the Job has
/// nothing proven to write down.
const MARGIN: Duration = Duration::from_mins(10);

pub(super) async fn run(view: &View, plan: Plan, context: &Context) -> Result<Action, Error> {
    let Plan { step, mut status, again } = plan;
    let now = context.now();
    let set = |status: &mut BackupSessionStatus, change: Change| {
        condition::set(&mut status.conditions, change, now);
    };
    match step {
        Step::Nothing => {}
        Step::Admit => return admit(view, context).await,
        Step::CreateSnapshots => match create_snapshots(view, context).await {
            Ok(()) => set(&mut status, SNAPSHOTS_ENSURED.holds()),
            Err(error) => {
                let since = view.session.creation_timestamp().map(|time| time.0);
                set(&mut status, given_up(since, &error, SNAPSHOTS_ENSURED, context).ok_or(error)?);
            }
        },
        Step::StartExecutor => match Box::pin(start_executor(view, &status, context)).await {
            Ok(()) => set(&mut status, BACKUP_EXECUTOR_ENSURED.holds()),
            Err(error) => {
                let since = when(&status, SNAPSHOTS_ENSURED);
                set(&mut status, given_up(since, &error, BACKUP_EXECUTOR_ENSURED, context).ok_or(error)?);
            }
        },
        Step::Condemn(why) => condemn(&view.parts, &why, context).await?,
        Step::CondemnUnproven(why) => {
            condemn(view.parts.iter().filter(|part| !part.is_proven()), &why, context).await?;
        }
        Step::StopExecutor => {
            let (namespace, name) = apply::place(view.session.as_ref())?;
            jobs::delete(context, view.session.as_ref(), (&namespace, &name)).await?;
        }
        Step::StartRetention => match Box::pin(start_retention(view, &mut status, context)).await {
            Ok(Retention::Noted) => {}
            Ok(Retention::Started) => set(&mut status, RETENTION_POLICY_EXECUTOR_ENSURED.holds()),
            Ok(Retention::Nothing(why)) => {
                // What was noted before has gone since.
                status.retention_policy.clear();
                set(&mut status, RETENTION_POLICY_EXECUTOR_ENSURED.fails_because(why));
            }
            Err(error) => {
                // The backup may have taken hours; this was not due before its end.
                let since = plan::backed_up(view, now).or_else(|| when(&status, BACKUP_EXECUTOR_ENSURED));
                let change = given_up(since, &error, RETENTION_POLICY_EXECUTOR_ENSURED, context).ok_or(error)?;
                for one in &mut status.retention_policy {
                    one.phase = Some(RetentionPolicyApplyPhase::FailedToApply);
                    one.error = Some("the Job that applies it could not be created".to_owned());
                }
                set(&mut status, change);
            }
        },
        Step::StopRetention => {
            let (namespace, name) = apply::place(view.session.as_ref())?;
            jobs::delete(context, view.session.as_ref(), (&namespace, &retention_job(&name))).await?;
        }
        Step::Finish(outdated) => remove_outdated(view, &outdated, context).await?,
        Step::Unbind => jobs::unbind(context, &Invoker::of(view.session.as_ref())).await?,
        Step::Retry(due) => {
            retry(view, due, context).await?;
            status.retried = Some(true);
        }
    }
    write(&view.session, &status, context).await?;
    Ok(again.map_or_else(Action::await_change, Action::requeue))
}

/// What to say of a step that failed and is over; `None` if it is tried again. `since` is when it was due.
fn given_up(since: Option<Timestamp>, error: &Error, step: ConditionType, context: &Context) -> Option<Change> {
    let waited = since.map(|since| context.now().duration_since(since));
    let waited = waited.and_then(|waited| Duration::try_from(waited).ok()).unwrap_or_default();
    error.is_hopeless(waited, context.options.limits.start).then(|| step.fails_because(error.to_string()))
}

/// Since when a condition is as it is.
fn when(status: &BackupSessionStatus, type_: ConditionType) -> Option<Timestamp> {
    condition::find(&status.conditions, type_).map(|one| one.last_transition_time.0)
}

/// The status, if it differs, and what is worth telling about it.
async fn write(session: &BackupSession, status: &BackupSessionStatus, context: &Context) -> Result<(), Error> {
    if !apply::patch_status(&context.client, session, session.status.as_ref(), status).await? {
        return Ok(());
    }
    let before = session.status.as_ref();
    let conditions = before.map(|status| status.conditions.as_slice()).unwrap_or_default();
    let mut notes = events::of_conditions(conditions, &status.conditions);
    let phase = status.phase.filter(|phase| before.and_then(|before| before.phase) != Some(*phase));
    if phase == Some(BackupSessionPhase::Succeeded) {
        let took = status.duration.as_deref().unwrap_or_default();
        notes.push(Note::normal("BackupSucceeded", format!("the backup succeeded after {took}")));
    }
    events::publish(&context.recorder, session, notes).await;
    Ok(())
}

/// Decides with the newest state of everything, one session at a time, whether it runs.
async fn admit(view: &View, context: &Context) -> Result<Action, Error> {
    let (namespace, name) = apply::place(view.session.as_ref())?;
    let _one_at_a_time = context.admission.lock().await;
    let Some(session) = apply::read::<BackupSession>(&context.client, &namespace, &name).await? else {
        return Ok(Action::await_change());
    };
    if admission::is_admitted(&session) || phase::session_is_final(session.status.as_ref().and_then(|one| one.phase)) {
        return Ok(Action::await_change());
    }
    let invoker = session.spec.invoker.as_ref().map(|invoker| invoker.name.clone()).unwrap_or_default();
    let configuration = apply::read::<BackupConfiguration>(&context.client, &namespace, &invoker).await?;
    let mut others = Vec::new();
    for other in &view.others {
        if !phase::session_is_final(other.status.as_ref().and_then(|status| status.phase)) {
            others.extend(apply::read::<BackupSession>(&context.client, &namespace, &other.name_any()).await?);
        }
    }
    let now = context.now();
    let mut status = session.status.clone().unwrap_or_default();
    status.observed_generation = session.metadata.generation;
    let spec = configuration.as_ref().and_then(|configuration| session_of(configuration, &session));
    match (admission::refusal(&session, configuration.as_ref(), &others), spec) {
        (None, Some(spec)) => begin(&mut status, &session, configuration.as_ref(), spec, now),
        (why, _) => {
            let why = why.unwrap_or_default();
            condition::set(&mut status.conditions, BACKUP_SKIPPED.holds_because(why.clone()), now);
            status.phase = Some(BackupSessionPhase::Skipped);
            kstatus::set(&mut status.conditions, &State::Stalled(why), session.metadata.generation, now);
        }
    }
    write(&session, &status, context).await?;
    if status.phase == Some(BackupSessionPhase::Skipped) {
        // Skipped sessions must not pile up.
        let limit = spec.map_or(1, |spec| spec.session_history_limit);
        let this = BackupSession { status: Some(status), ..session.clone() };
        remove_outdated(view, &plan::outdated(view, this, limit), context).await?;
    }
    Ok(Action::await_change())
}

/// What is decided at the start and holds to the end.
fn begin(
    status: &mut BackupSessionStatus,
    session: &BackupSession,
    configuration: Option<&BackupConfiguration>,
    spec: &Session,
    now: Timestamp,
) {
    let snapshots = view::snapshots(spec, &session.name_any());
    let timeout = session.spec.backup_timeout.as_deref().or(spec.backup_timeout.as_deref());
    // A timeout that cannot be read was refused with the configuration.
    status.backup_deadline = lifecycle::deadline(now, timeout).ok().flatten().map(Time);
    status.total_snapshots = i32::try_from(snapshots.len()).ok();
    status.snapshots = snapshots
        .into_iter()
        .map(|(name, repository)| SnapshotOfSession {
            name: Some(name),
            phase: Some(SnapshotPhase::Pending),
            app_ref: configuration.and_then(|configuration| configuration.spec.target.clone()),
            repository: Some(repository),
        })
        .collect();
    status.phase = Some(BackupSessionPhase::Pending);
    let state = State::Reconciling("about to begin".to_owned());
    kstatus::set(&mut status.conditions, &state, session.metadata.generation, now);
}

/// Creates the Snapshots, each with what is known of it from the start.
async fn create_snapshots(view: &View, context: &Context) -> Result<(), Error> {
    let components = view.spec().map(tasks::components).unwrap_or_default();
    for part in &view.parts {
        let repository = part
            .repository
            .as_ref()
            .ok_or_else(|| Error::Waiting(format!("Repository {} does not exist", part.repository_name)))?;
        let wanted = build::snapshot::build(&view.session, repository)?;
        let snapshot = match apply::create(&context.client, &wanted).await? {
            Created::New(snapshot) => snapshot,
            Created::Existing(snapshot) if build::snapshot::is_of(&snapshot, &view.session, &part.repository_name) => {
                snapshot
            }
            Created::Existing(_) => {
                let (namespace, name) = apply::place(&wanted)?;
                return Err(Error::Foreign { kind: "Snapshot", namespace, name });
            }
        };
        let before = snapshot.status.clone().unwrap_or_default();
        let mut status = before.clone();
        status.phase.get_or_insert(SnapshotPhase::Pending);
        status.total_components.get_or_insert(i32::try_from(components.len()).unwrap_or(i32::MAX));
        if status.snapshot_time.is_none() {
            status.snapshot_time.clone_from(&snapshot.metadata.creation_timestamp);
        }
        apply::patch_status(&context.client, &snapshot, snapshot.status.as_ref(), &status).await?;
    }
    Ok(())
}

/// What a Job of the session needs beside its own.
struct Ground {
    namespace: String,
    name: String,
    session: Session,
    storages: Vec<Arc<BackupStorage>>,
    addon: Arc<Addon>,
    task: Task,
    reference: TaskReference,
    reach: Reach,
}

fn ground(view: &View, context: &Context) -> Result<Ground, Error> {
    let (namespace, name) = apply::place(view.session.as_ref())?;
    let waiting = |what: String| Error::Waiting(what);
    let session = view
        .spec()
        .cloned()
        .ok_or_else(|| waiting("its session is not in the BackupConfiguration any more".to_owned()))?;
    let stores = &context.stores;
    let (addon, task, reference) = tasks::resolve(stores, session.addon.as_ref(), tasks::Direction::Backup)
        .map_err(|why| Error::Waiting(why.join("; ")))?;
    let mut reach = Reach::within(&namespace);
    let mut storages = Vec::new();
    for part in &view.parts {
        let Some(spec) = part.repository.as_ref().map(|repository| &repository.spec) else { continue };
        if let Some(secret) = &spec.encryption_secret {
            reach.secret(secret, &namespace, stores);
        }
        let Some(reference) = &spec.storage_ref else { continue };
        reach.storage_ref(reference, &namespace, stores);
        storages.extend(stores::referred(&stores.storages, reference, &namespace));
    }
    Ok(Ground { namespace, name, session, storages, addon, task, reference, reach })
}

impl Ground {
    fn work(&self, view: &View, context: &Context) -> Result<Work, Error> {
        let info = self.session.addon.as_ref();
        let template = info.and_then(|info| info.job_template.as_ref());
        let container = info.and_then(|info| info.container_runtime_settings.as_ref());
        let function = self.task.function.as_deref().unwrap_or_default();
        let function = stores::get_global(&context.stores.functions, function);
        let function = function.as_ref().and_then(|function| function.spec.runtime_settings.as_ref());
        Ok(Work {
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            invoker: Invoker::of(view.session.as_ref()),
            owner: Some(build::owner(view.session.as_ref())?),
            component: Some(component::BACKUP),
            session: self.session.name.clone(),
            container: tasks::container(&self.task),
            args: ["run", "backup", "--namespace", &self.namespace, "--session", &self.name]
                .map(str::to_owned)
                .to_vec(),
            role: cluster_role::BACKUP_JOB,
            reach: self.reach.clone(),
            volumes: Volumes::scratch()
                .storages(self.storages.iter().map(AsRef::as_ref))?
                .task(&self.task, &self.reference)?,
            settings: Settings::of_template(template, container).over(function),
            deadline: None,
        })
    }
}

async fn start_executor(view: &View, status: &BackupSessionStatus, context: &Context) -> Result<(), Error> {
    let mut ground = ground(view, context)?;
    if let Some(target) = view.configuration.as_ref().and_then(|configuration| configuration.spec.target.as_ref()) {
        ground.reach.target(target, &context.stores);
    }
    let left = status.backup_deadline.as_ref().map(|deadline| deadline.0.duration_since(context.now()));
    let left = left.map(|left| Duration::try_from(left).unwrap_or_default().saturating_add(MARGIN));
    tracing::debug!(addon = %ground.addon.name_any(), session = ground.name, "starting the executor");
    jobs::start(context, view.session.as_ref(), &Work { deadline: left, ..ground.work(view, context)? }).await
}

/// How far the start of the Job that applies retention policies is.
enum Retention {
    /// The status says what it has to do.
    Noted,
    /// It has been created.
    Started,
    /// There is nothing to do, and why.
    Nothing(String),
}

/// Starts the Job that applies retention policies.
async fn start_retention(view: &View, status: &mut BackupSessionStatus, context: &Context) -> Result<Retention, Error> {
    let Some(configuration) = &view.configuration else {
        return Ok(Retention::Nothing(
            "its BackupConfiguration does not exist any more, and with it the policy".to_owned(),
        ));
    };
    let Some(spec) = view.spec() else {
        return Ok(Retention::Nothing(
            "its session is not in the BackupConfiguration any more, and with it the policy".to_owned(),
        ));
    };
    let resolved = backends::resolve(configuration, &context.stores);
    let policies: Vec<(String, ObjectReference)> = spec
        .repositories
        .iter()
        .filter_map(|repository| {
            let backend = backends::of_repository(configuration, repository, &resolved)?;
            Some((repository.name.clone()?, backend.policy.usable()?.clone()))
        })
        .collect();
    if policies.is_empty() {
        return Ok(Retention::Nothing("none of its repositories has a RetentionPolicy".to_owned()));
    }
    if status.retention_policy.is_empty() {
        // The Job finds what it has to do written down: it starts with the next step.
        status.retention_policy = policies
            .into_iter()
            .map(|(repository, policy)| RetentionPolicyApplyStatus {
                reference: Some(policy),
                repository: Some(repository),
                phase: Some(RetentionPolicyApplyPhase::Pending),
                error: None,
            })
            .collect();
        return Ok(Retention::Noted);
    }
    let mut ground = ground(view, context)?;
    for (_, policy) in policies {
        if let Some(policy) = stores::referred(&context.stores.policies, &policy, &ground.namespace) {
            ground.reach.policy(&policy, &context.stores);
        }
    }
    let backup = ground.work(view, context)?;
    let work = Work {
        name: retention_job(&ground.name),
        component: Some(component::RETENTION_POLICY),
        container: "retention-policy".to_owned(),
        args: ["run", "retention", "--namespace", &ground.namespace, "--session", &ground.name]
            .map(str::to_owned)
            .to_vec(),
        role: cluster_role::RETENTION_POLICY_JOB,
        deadline: Some(context.options.limits.retention),
        ..backup
    };
    jobs::start(context, view.session.as_ref(), &work).await.map(|()| Retention::Started)
}

/// Writes into the unfinished Snapshots that they stay so. A result that came meanwhile wins: the write is refused then.
pub(super) async fn condemn<'a>(
    parts: impl IntoIterator<Item = &'a Part>,
    why: &str,
    context: &Context,
) -> Result<(), Error> {
    let snapshots: Vec<_> = parts.into_iter().filter_map(|part| part.snapshot.clone()).collect();
    for snapshot in snapshots {
        condemn_one(&snapshot, why, context).await?;
    }
    Ok(())
}

async fn condemn_one(snapshot: &Snapshot, why: &str, context: &Context) -> Result<(), Error> {
    let mut status = snapshot.status.clone().unwrap_or_default();
    if phase::is_final(phase::snapshot(&status)) {
        return Ok(());
    }
    condition::set(&mut status.conditions, BACKUP_INCOMPLETE.holds_because(why), context.now());
    for one in status.components.values_mut().filter(|one| !one.phase.is_some_and(phase::is_final)) {
        one.phase = Some(SnapshotPhase::Failed);
        one.error = Some(why.to_owned());
    }
    status.phase = Some(phase::snapshot(&status));
    status.last_update_time = Some(Time(context.now()));
    if apply::patch_status(&context.client, snapshot, snapshot.status.as_ref(), &status).await? {
        let note = Note::warning(BACKUP_INCOMPLETE.reason_true, why);
        events::publish(&context.recorder, snapshot, vec![note]).await;
    }
    Ok(())
}

async fn remove_outdated(view: &View, outdated: &[String], context: &Context) -> Result<(), Error> {
    let namespace = view.session.namespace().unwrap_or_default();
    for name in outdated {
        let uid = view.others.iter().find(|other| other.name_any() == *name).and_then(|other| other.uid());
        apply::delete::<BackupSession>(&context.client, &namespace, name, uid.as_deref()).await?;
    }
    Ok(())
}

/// Creates the session that tries again. Its name comes from the moment at which it is due, so that it is the same
/// however often this is called.
async fn retry(view: &View, due: Timestamp, context: &Context) -> Result<(), Error> {
    let (Some(configuration), Some(spec)) = (&view.configuration, view.spec()) else { return Ok(()) };
    let left = view.session.spec.retry_left.unwrap_or_default().saturating_sub(1);
    let cause = Cause::RetryOf(view.session.name_any());
    create_session(configuration, spec, &cause, due, left, context).await
}

/// Creates a session for a cause, once. A name that is taken by another cause counts up.
pub(crate) async fn create_session(
    configuration: &BackupConfiguration,
    spec: &Session,
    cause: &Cause,
    moment: Timestamp,
    retry_left: i32,
    context: &Context,
) -> Result<(), Error> {
    for shift in 0..60 {
        let moment = moment.checked_add(SignedDuration::from_secs(shift)).unwrap_or(moment);
        let wanted = build::backup_session::build(configuration, spec, cause, moment, retry_left)?;
        match apply::create(&context.client, &wanted).await? {
            Created::New(_) => return Ok(()),
            Created::Existing(existing)
                if existing.annotations().get(CAUSE) == Some(&cause.text())
                    && (&existing.spec.invoker, &existing.spec.session)
                        == (&wanted.spec.invoker, &wanted.spec.session) =>
            {
                return Ok(());
            }
            Created::Existing(_) => {}
        }
    }
    Err(Error::Waiting("sixty BackupSessions have the names that a new one could have".to_owned()))
}
