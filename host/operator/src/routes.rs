//! Who wants to know of which change. Controllers never poll: what they look at leads here.

use std::sync::Arc;

use coffer_api::addons::{Addon, Function};
use coffer_api::appcatalog::AppBinding;
use coffer_api::core::{BackupConfiguration, BackupSession, InvokerPhase, RestoreSession};
use coffer_api::meta::{self, annotation};
use coffer_api::phase;
use coffer_api::shared::ObjectReference;
use coffer_api::storage::{BackupStorage, Repository, RetentionPolicy, Snapshot, StoragePhase};
use futures::Stream;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{Namespace, Pod, ServiceAccount};
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::api::Api;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{self, watcher};
use kube::runtime::{WatchStreamExt as _, reflector::Store};
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;

use crate::backup_configuration::{all_repositories, share};
use crate::build::Invoker;
use crate::context::Context;
use crate::controller::Queue;
use crate::restore_session::pause;
use crate::stores::{self, Writers};
use crate::watch::follow;

/// One queue per controller.
#[derive(Debug, Default)]
pub(crate) struct Queues {
    pub(crate) storages: Queue<BackupStorage>,
    pub(crate) repositories: Queue<Repository>,
    pub(crate) snapshots: Queue<Snapshot>,
    pub(crate) configurations: Queue<BackupConfiguration>,
    pub(crate) sessions: Queue<BackupSession>,
    pub(crate) restores: Queue<RestoreSession>,
}

/// Starts every watch. They end with the set.
pub(crate) fn start(context: &Arc<Context>, writers: Writers, tasks: &mut JoinSet<()>) {
    let everything = watcher::Config::default();
    let ours = watcher::Config::default().labels(&format!("{}={}", meta::label::MANAGED_BY, meta::MANAGED_BY));
    let client = &context.client;
    let with = || Arc::clone(context);
    macro_rules! follow {
        ($writer:expr, $config:expr, $trim:expr, $route:expr) => {{
            let (context, writer, route) = (with(), $writer, $route);
            let events = events(client, &$config);
            tasks.spawn(async move { follow(events, writer, $trim, move |old, new| route(&context, old, new)).await });
        }};
    }
    follow!(writers.storages, everything, keep, storage);
    follow!(writers.policies, everything, keep, policy);
    follow!(writers.repositories, everything, keep, repository);
    follow!(writers.snapshots, everything, keep, snapshot);
    follow!(writers.configurations, everything, keep, configuration);
    follow!(writers.sessions, everything, keep, session);
    follow!(writers.restores, everything, keep, restore);
    follow!(writers.addons, everything, keep, addon);
    follow!(writers.functions, everything, keep, function);
    follow!(writers.apps, everything, keep, app);
    follow!(writers.namespaces, everything, keep, namespace);
    follow!(writers.jobs, ours, trim_job, job);
    follow!(writers.pods, ours, trim_pod, pod);
    follow!(writers.cron_jobs, ours, keep, cron_job);
    follow!(writers.accounts, ours, keep, account);
    follow!(writers.bindings, ours, keep, binding);
}

fn events<K>(
    client: &Client,
    config: &watcher::Config,
) -> impl Stream<Item = watcher::Result<watcher::Event<K>>> + use<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    watcher(Api::<K>::all(client.clone()), config.clone()).default_backoff()
}

fn keep<K>(_: &mut K) {}

/// Of a Job only its state is needed.
fn trim_job(job: &mut Job) {
    job.spec = None;
}

/// Of a pod only its state and its node are needed.
fn trim_pod(pod: &mut Pod) {
    if let Some(spec) = &mut pod.spec {
        *spec = k8s_openapi::api::core::v1::PodSpec { node_name: spec.node_name.take(), ..Default::default() };
    }
}

/// Namespace and name of whatever is left of a changed object.
fn id<K: Resource>(old: Option<&K>, new: Option<&K>) -> (String, String) {
    new.or(old).map(|object| (object.namespace().unwrap_or_default(), object.name_any())).unwrap_or_default()
}

/// Whether a change of status matters to others: the phase, or that it comes or goes.
fn phase_changed<K, P: PartialEq>(old: Option<&K>, new: Option<&K>, phase: impl Fn(&K) -> Option<P>) -> bool {
    match (old, new) {
        (Some(old), Some(new)) => phase(old) != phase(new),
        _ => true,
    }
}

fn spec_changed<K: Resource>(old: Option<&K>, new: Option<&K>) -> bool {
    match (old, new) {
        (Some(old), Some(new)) => {
            old.meta().generation != new.meta().generation
                || old.meta().deletion_timestamp.is_some() != new.meta().deletion_timestamp.is_some()
        }
        _ => true,
    }
}

fn storage(context: &Context, old: Option<&BackupStorage>, new: Option<&BackupStorage>) {
    let (namespace, name) = id(old, new);
    if only_summed_up(old, new) {
        context.queues.storages.push_later(&namespace, &name);
    } else {
        context.queues.storages.push(&namespace, &name);
    }
    let phase = |one: &BackupStorage| one.status.as_ref().and_then(|status| status.phase);
    if spec_changed(old, new) {
        // Of two that contradict each other one waits for the other to change.
        for other in context.stores.storages.state_filter(|other| phase(other) != Some(StoragePhase::Ready)) {
            push(&context.queues.storages, other.as_ref());
        }
    }
    if phase_changed(old, new, phase) || spec_changed(old, new) {
        let reference = ObjectReference { namespace: Some(namespace.clone()), name: name.clone() };
        each_configuration(context, |configuration| {
            let backends = &configuration.spec.backends;
            // Those without a storage may use the default one.
            backends.is_empty()
                || backends.iter().any(|backend| {
                    backend.storage_ref.as_ref().is_none_or(|one| refers(one, configuration, &reference))
                })
        });
        for repository in context.stores.repositories_in(&namespace, &name) {
            push(&context.queues.repositories, repository.as_ref());
        }
    }
}

/// Whether nothing differs but what is said of the repositories in it, with every change of theirs.
fn only_summed_up(old: Option<&BackupStorage>, new: Option<&BackupStorage>) -> bool {
    let rest = |one: &BackupStorage| {
        let mut one = one.clone();
        one.metadata.resource_version = None;
        if let Some(status) = &mut one.status {
            status.repositories.clear();
            status.total_size = None;
        }
        one
    };
    old.zip(new).is_some_and(|(old, new)| rest(old) == rest(new))
}

fn policy(context: &Context, old: Option<&RetentionPolicy>, new: Option<&RetentionPolicy>) {
    let (namespace, name) = id(old, new);
    let reference = ObjectReference { namespace: Some(namespace), name };
    each_configuration(context, |configuration| {
        let backends = &configuration.spec.backends;
        backends.is_empty()
            || backends.iter().any(|backend| {
                backend.retention_policy.as_ref().is_none_or(|one| refers(one, configuration, &reference))
            })
    });
}

fn repository(context: &Context, old: Option<&Repository>, new: Option<&Repository>) {
    let (namespace, name) = id(old, new);
    context.queues.repositories.push(&namespace, &name);
    let storage = new.or(old).and_then(|one| one.spec.storage_ref.as_ref());
    if let Some(storage) = storage {
        context.queues.storages.push_later(storage.namespace.as_deref().unwrap_or(&namespace), &storage.name);
    }
    let phase = |one: &Repository| one.status.as_ref().and_then(|status| status.phase);
    if phase_changed(old, new, phase) || spec_changed(old, new) {
        let uses = |configuration: &BackupConfiguration| {
            let sessions = &configuration.spec.sessions;
            configuration.meta().namespace.as_deref() == Some(&namespace)
                && sessions.iter().flat_map(|one| &one.repositories).any(|one| one.name.as_deref() == Some(&name))
        };
        each_configuration(context, uses);
        // Sessions wait for their repositories.
        let using: Vec<_> = context.stores.configurations.state_filter(uses).iter().map(|one| one.name_any()).collect();
        for configuration in using {
            for session in context.stores.sessions_of(&namespace, &configuration) {
                push(&context.queues.sessions, session.as_ref());
            }
        }
    }
    if spec_changed(old, new) {
        // Some may be invalid because of it, or of its directory, wherever they are.
        each_configuration(context, |configuration| {
            configuration.status.as_ref().and_then(|status| status.phase) == Some(InvokerPhase::Invalid)
        });
    }
    if new.is_none() {
        for snapshot in context.stores.snapshots_of(&namespace, &name) {
            push(&context.queues.snapshots, snapshot.as_ref());
        }
    }
}

fn snapshot(context: &Context, old: Option<&Snapshot>, new: Option<&Snapshot>) {
    let (namespace, name) = id(old, new);
    context.queues.snapshots.push(&namespace, &name);
    let Some(snapshot) = new.or(old) else { return };
    if let Some(session) = &snapshot.spec.backup_session {
        context.queues.sessions.push(&namespace, session);
    }
    if new.is_none()
        && let Some(repository) = &snapshot.spec.repository
    {
        context.queues.repositories.push(&namespace, repository);
    }
    let phase = |one: &Snapshot| one.status.as_ref().and_then(|status| status.phase);
    if phase_changed(old, new, phase) {
        let waiting = context.stores.restores.state_filter(|restore| {
            let source = restore.spec.data_source.as_ref();
            let of = source.and_then(|source| source.namespace.clone()).or_else(|| restore.namespace());
            of.as_deref() == Some(&namespace)
        });
        for restore in waiting {
            push(&context.queues.restores, restore.as_ref());
        }
    }
}

fn configuration(context: &Context, old: Option<&BackupConfiguration>, new: Option<&BackupConfiguration>) {
    let (namespace, name) = id(old, new);
    context.queues.configurations.push(&namespace, &name);
    if spec_changed(old, new) {
        // Of several that share a repository the oldest says what it is like.
        each_configuration(context, |other| [old, new].into_iter().flatten().any(|one| share(one, other)));
    }
}

fn session(context: &Context, old: Option<&BackupSession>, new: Option<&BackupSession>) {
    let (namespace, name) = id(old, new);
    context.queues.sessions.push(&namespace, &name);
    let ended = |one: &BackupSession| phase::session_is_final(one.status.as_ref().and_then(|status| status.phase));
    let ends = match (old, new) {
        (Some(old), Some(new)) => !ended(old) && ended(new),
        (_, new) => new.is_none(),
    };
    if ends {
        // What it has not finished stays unfinished.
        let left = context.stores.snapshots.state_filter(|snapshot| {
            snapshot.metadata.namespace.as_deref() == Some(&namespace)
                && snapshot.spec.backup_session.as_deref() == Some(&name)
                && !phase::is_final(phase::snapshot(&snapshot.status.clone().unwrap_or_default()))
        });
        for snapshot in left {
            push(&context.queues.snapshots, snapshot.as_ref());
        }
    }
    // A configuration that is being deleted waits for its sessions.
    if let (None, Some(session)) = (new, old)
        && let Some(invoker) = &session.spec.invoker
    {
        context.queues.configurations.push(&namespace, &invoker.name);
    }
}

fn restore(context: &Context, old: Option<&RestoreSession>, new: Option<&RestoreSession>) {
    let (namespace, name) = id(old, new);
    context.queues.restores.push(&namespace, &name);
    // Backups that it has paused go on when it is over.
    if phase_changed(old, new, |one| one.status.as_ref().and_then(|status| status.phase)) {
        each_configuration(context, |configuration| pause::is_paused_for(configuration, &namespace, &name));
    }
}

fn addon(context: &Context, old: Option<&Addon>, new: Option<&Addon>) {
    let (_, name) = id(old, new);
    addon_changed(context, |one| one == name);
}

fn function(context: &Context, old: Option<&Function>, new: Option<&Function>) {
    let (_, name) = id(old, new);
    let using: Vec<_> = context.stores.addons.state_filter(|addon| {
        let tasks = addon.spec.backup_tasks.iter().chain(&addon.spec.restore_tasks);
        tasks.into_iter().any(|task| task.function.as_deref() == Some(&name))
    });
    let using: Vec<_> = using.iter().map(|addon| addon.name_any()).collect();
    addon_changed(context, |one| using.iter().any(|name| name == one));
}

fn addon_changed(context: &Context, is: impl Fn(&str) -> bool) {
    each_configuration(context, |configuration| {
        let addons = configuration.spec.sessions.iter().filter_map(|session| session.addon.as_ref()?.name.as_deref());
        addons.into_iter().any(&is)
    });
    let restores = context
        .stores
        .restores
        .state_filter(|restore| restore.spec.addon.as_ref().and_then(|addon| addon.name.as_deref()).is_some_and(&is));
    for restore in restores {
        push(&context.queues.restores, restore.as_ref());
    }
}

fn app(context: &Context, old: Option<&PartialObjectMeta<AppBinding>>, new: Option<&PartialObjectMeta<AppBinding>>) {
    // What is in an AppBinding matters to Jobs only.
    if old.is_some() && new.is_some() {
        return;
    }
    let (namespace, name) = id(old, new);
    each_configuration(context, |configuration| {
        let own = configuration.namespace();
        configuration.spec.target.as_ref().is_some_and(|target| {
            target.name == name && target.namespace.as_deref().or(own.as_deref()) == Some(&namespace)
        })
    });
    let restores = context.stores.restores.state_filter(|restore| {
        let own = restore.namespace();
        restore.spec.target.as_ref().is_some_and(|target| {
            target.name == name && target.namespace.as_deref().or(own.as_deref()) == Some(&namespace)
        })
    });
    for restore in restores {
        push(&context.queues.restores, restore.as_ref());
    }
}

fn namespace(
    context: &Context,
    old: Option<&PartialObjectMeta<Namespace>>,
    new: Option<&PartialObjectMeta<Namespace>>,
) {
    // Usage policies select namespaces by their labels, and its annotation says to whom it is open.
    let open = |one: &PartialObjectMeta<Namespace>| one.annotations().get(annotation::ALLOWED_FROM).cloned();
    let labels = |one: &PartialObjectMeta<Namespace>| one.labels().clone();
    if old.map(open) == new.map(open) && old.map(labels) == new.map(labels) {
        return;
    }
    let (_, name) = id(old, new);
    let is_there = |namespace: Option<&str>| namespace == Some(&name);
    each_configuration(context, |one| is_there(one.metadata.namespace.as_deref()) || reaches(one, &name));
    for repository in context.stores.repositories.state_filter(|one| is_there(one.metadata.namespace.as_deref())) {
        push(&context.queues.repositories, repository.as_ref());
    }
    let waits = |one: &RestoreSession| !phase::restore_is_final(one.status.as_ref().and_then(|status| status.phase));
    for restore in context.stores.restores.state_filter(waits) {
        push(&context.queues.restores, restore.as_ref());
    }
    let lost = |one: &BackupStorage| {
        one.status.iter().flat_map(|status| &status.repositories).any(|repository| repository.error.is_some())
    };
    for storage in context.stores.storages.state_filter(lost) {
        push(&context.queues.storages, storage.as_ref());
    }
}

/// Whether a BackupConfiguration refers to something in a namespace that has no usage policy of its own.
fn reaches(configuration: &BackupConfiguration, namespace: &str) -> bool {
    let target = configuration.spec.target.iter().filter_map(|target| target.namespace.as_deref());
    let repositories = all_repositories(configuration);
    let secrets = repositories.filter_map(|repository| repository.encryption_secret.as_ref()?.namespace.as_deref());
    target.chain(secrets).any(|one| one == namespace)
}

fn job(context: &Context, old: Option<&Job>, new: Option<&Job>) {
    if let Some(job) = new.or(old) {
        to_invoker(context, job);
    }
}

fn pod(context: &Context, old: Option<&Pod>, new: Option<&Pod>) {
    if let Some(pod) = new.or(old) {
        to_invoker(context, pod);
    }
}

fn cron_job(context: &Context, old: Option<&CronJob>, new: Option<&CronJob>) {
    // When it last ran does not matter.
    if spec_changed(old, new) {
        to_owner(context, old, new);
    }
}

fn account(context: &Context, old: Option<&ServiceAccount>, new: Option<&ServiceAccount>) {
    if new.is_none() {
        to_owner(context, old, new);
    }
}

fn binding(context: &Context, old: Option<&RoleBinding>, new: Option<&RoleBinding>) {
    // What was made for an object that has ended, or is gone, may come into sight after that. A storage does not end, and takes away what is of no use
    // at once: to hear of that would have it try again without a pause.
    let serves_storage = |of: &Invoker| {
        of.kind == "BackupStorage" && stores::get(&context.stores.storages, &of.namespace, &of.name).is_some()
    };
    if let (None, Some(binding)) = (old, new)
        && Invoker::from_annotations(binding.annotations()).is_some_and(|of| !serves_storage(&of))
    {
        to_invoker(context, binding);
    }
    if new.is_none() || old.is_some() {
        to_owner(context, old, new);
    }
}

/// To the BackupConfiguration that owns a trigger or a part of it.
fn to_owner<K: Resource>(context: &Context, old: Option<&K>, new: Option<&K>) {
    let Some(object) = new.or(old) else { return };
    let owners = object.meta().owner_references.iter().flatten();
    for owner in owners.filter(|owner| owner.kind == "BackupConfiguration") {
        context.queues.configurations.push(&object.namespace().unwrap_or_default(), &owner.name);
    }
}

/// To the object that a Job works for.
fn to_invoker<K: Resource>(context: &Context, object: &K) {
    let Some(Invoker { kind, namespace, name }) = Invoker::from_annotations(object.annotations()) else { return };
    let queues = &context.queues;
    match kind.as_str() {
        "BackupStorage" => queues.storages.push(&namespace, &name),
        "Repository" => queues.repositories.push(&namespace, &name),
        "Snapshot" => queues.snapshots.push(&namespace, &name),
        "BackupSession" => queues.sessions.push(&namespace, &name),
        "RestoreSession" => queues.restores.push(&namespace, &name),
        // What a trigger does shows in the BackupSession that it creates.
        _ => {}
    }
}

fn refers(one: &ObjectReference, configuration: &BackupConfiguration, other: &ObjectReference) -> bool {
    let own = configuration.namespace();
    one.name == other.name && one.namespace.as_deref().or(own.as_deref()) == other.namespace.as_deref()
}

fn each_configuration(context: &Context, wanted: impl Fn(&BackupConfiguration) -> bool) {
    for configuration in matching(&context.stores.configurations, wanted) {
        push(&context.queues.configurations, configuration.as_ref());
    }
}

fn matching<K>(store: &Store<K>, wanted: impl Fn(&K) -> bool) -> Vec<Arc<K>>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    store.state_filter(wanted)
}

fn push<K: Resource<DynamicType = ()>>(queue: &Queue<K>, object: &K) {
    queue.push(&object.namespace().unwrap_or_default(), &object.name_any());
}
