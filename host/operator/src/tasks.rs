//! From a session's `addon` to the one task that it runs.

use std::sync::Arc;

use coffer_api::addons::{self, Addon, Task};
use coffer_api::core::{AddonInfo, Session, TaskReference};
use coffer_api::shared::ResourceFoundStatus;

use crate::stores::{self, Stores};

/// Which tasks of an Addon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Backup,
    Restore,
}

/// The components that a session's Snapshots have: one for each kind of task.
pub(crate) fn components(session: &Session) -> Vec<&'static str> {
    let tasks = session.addon.iter().flat_map(|addon| &addon.tasks);
    let mut components: Vec<_> = tasks.filter_map(|task| task.name.as_deref()).map(component).collect();
    components.sort_unstable();
    components.dedup();
    components
}

/// The component that a task writes or reads.
pub(crate) fn component(task: &str) -> &'static str {
    if task.starts_with("manifest-") {
        "manifest"
    } else if task.starts_with("physical-") {
        "physical"
    } else {
        "dump"
    }
}

/// Name of the container that runs a task.
pub(crate) fn container(task: &Task) -> String {
    format!("{}-0", task.name.as_deref().unwrap_or("task"))
}

/// The Addon, its task, and what the session says of it; or what is missing.
pub(crate) fn resolve(
    stores: &Stores,
    info: Option<&AddonInfo>,
    direction: Direction,
) -> Result<(Arc<Addon>, Task, TaskReference), Vec<String>> {
    let one = |problem: String| vec![problem];
    let info = info.ok_or_else(|| one("it names no addon; set addon.name and addon.tasks".to_owned()))?;
    let name = info.name.as_deref().filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| one("its addon has no name; set addon.name".to_owned()))?;
    let reference = match info.tasks.as_slice() {
        [task] => task,
        [] => return Err(one("its addon has no tasks; add one to addon.tasks".to_owned())),
        _ => return Err(one("it has several tasks, and one is supported; keep the one with the data".to_owned())),
    };
    let addon = stores::get_global(&stores.addons, name)
        .ok_or_else(|| one(format!("Addon {name} not found; install it, or correct addon.name")))?;
    let (tasks, which) = match direction {
        Direction::Backup => (&addon.spec.backup_tasks, "backup"),
        Direction::Restore => (&addon.spec.restore_tasks, "restore"),
    };
    let Some(task) = tasks.iter().find(|task| task.name == reference.name && task.name.is_some()) else {
        let known: Vec<_> = tasks.iter().filter_map(|task| task.name.as_deref()).collect();
        let wanted = reference.name.as_deref().unwrap_or_default();
        return Err(one(format!(
            "Addon {name} has no {which} task {wanted:?}; it has: {}",
            if known.is_empty() { "none".to_owned() } else { known.join(", ") }
        )));
    };
    let function = task.function.as_deref().unwrap_or_default();
    if stores::get_global(&stores.functions, function).is_none() {
        return Err(one(format!("Function {function:?} of Addon {name} not found; install it")));
    }
    Ok((Arc::clone(&addon), task.clone(), reference.clone()))
}

/// Whether the Addon exists, as statuses tell it.
pub(crate) fn dependency(stores: &Stores, info: Option<&AddonInfo>) -> Option<ResourceFoundStatus> {
    let name = info?.name.clone().filter(|name| !name.is_empty())?;
    Some(ResourceFoundStatus {
        api_group: Some(addons::GROUP.to_owned()),
        kind: Some("Addon".to_owned()),
        namespace: None,
        found: Some(stores::get_global(&stores.addons, &name).is_some()),
        name,
    })
}
