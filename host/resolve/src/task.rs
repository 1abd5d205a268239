//! From an Addon's task to a component with its rights and parameters.

use std::collections::{BTreeMap, BTreeSet};

use coffer_api::addons::{Addon, Function, FunctionComponent, Task};
use coffer_api::core::{AddonInfo, TaskReference};
use coffer_api::plan::{ComponentRef, Permissions, TaskPlan};
use coffer_api::{ResourceExt, duration, size};
use serde_json::Value;

use crate::catalog::Catalog;
use crate::error::{ErrorKind, ResolveError, listed};
use crate::reader::{self, Reader};

/// Which tasks of an Addon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Backup,
    Restore,
}

/// Name of the snapshot component that a task writes or reads: `dump`, `physical` or `manifest`.
pub fn snapshot_component(task: &str) -> &'static str {
    if is_of_manifests(task) {
        "manifest"
    } else if task.starts_with("physical-") {
        "physical"
    } else {
        "dump"
    }
}

/// Whether a task is one of KubeStash's for the objects around a database.
fn is_of_manifests(task: &str) -> bool {
    task.starts_with("manifest-")
}

/// Resolves what `owner` (a session of a BackupConfiguration, or a RestoreSession) runs.
pub(crate) fn resolve(
    reader: &dyn Reader,
    catalog: &Catalog,
    info: Option<&AddonInfo>,
    direction: Direction,
    owner: &str,
) -> Result<TaskPlan, ResolveError> {
    let invalid = |why: &str, fix: &str| ResolveError::new(ErrorKind::Invalid, format!("{owner} cannot run"), why, fix);
    let info = info.ok_or_else(|| invalid("it names no addon", "set addon.name and addon.tasks"))?;
    let addon_name = info.name.as_deref().filter(|name| !name.is_empty());
    let addon_name = addon_name.ok_or_else(|| invalid("its addon has no name", "set addon.name"))?;
    let reference = only_task(info, owner)?;
    let task_name = reference.name.as_deref().filter(|name| !name.is_empty());
    let task_name = task_name.ok_or_else(|| invalid("its task has no name", "set addon.tasks[0].name"))?;

    let addon = find_addon(reader, catalog, addon_name, owner)?;
    let tasks = match direction {
        Direction::Backup => &addon.spec.backup_tasks,
        Direction::Restore => &addon.spec.restore_tasks,
    };
    let task = tasks.iter().find(|task| task.name.as_deref() == Some(task_name)).ok_or_else(|| {
        let which = if direction == Direction::Backup { "backup" } else { "restore" };
        ResolveError::new(
            ErrorKind::Missing,
            format!("unknown task {task_name} in {owner}"),
            format!(
                "the {which} tasks of Addon {addon_name} are: {}",
                listed(tasks.iter().filter_map(|task| task.name.as_deref()))
            ),
            "correct the name of the task",
        )
    })?;
    let function_name = task.function.as_deref().unwrap_or_default();
    let component = find_component(reader, catalog, function_name, task_name, addon_name)?;
    let reference_error = |why: String| {
        ResolveError::new(
            ErrorKind::Invalid,
            format!("Function {function_name} cannot be used"),
            why,
            "correct spec.component of the Function",
        )
    };
    Ok(TaskPlan {
        addon: addon_name.to_owned(),
        function: function_name.to_owned(),
        component: component.reference.parse::<ComponentRef>().map_err(|error| reference_error(error.to_string()))?,
        permissions: permissions(&component).map_err(reference_error)?,
        task: task_name.to_owned(),
        parameters: parameters(task, reference, owner)?,
        snapshot_component: snapshot_component(task_name).to_owned(),
    })
}

fn only_task<'a>(info: &'a AddonInfo, owner: &str) -> Result<&'a TaskReference, ResolveError> {
    let names = || info.tasks.iter().filter_map(|task| task.name.as_deref());
    if let Some(task) = names().find(|name| is_of_manifests(name)) {
        return Err(ResolveError::new(
            ErrorKind::Unsupported,
            format!("{owner} cannot run"),
            format!(
                "its task {task} is for the Kubernetes objects around a database, and only the data itself is supported"
            ),
            "remove the task from addon.tasks, and keep the objects where they are written",
        ));
    }
    match info.tasks.as_slice() {
        [task] => Ok(task),
        [] => Err(ResolveError::new(
            ErrorKind::Invalid,
            format!("{owner} cannot run"),
            "its addon has no tasks",
            "add one to addon.tasks",
        )),
        _ => Err(ResolveError::new(
            ErrorKind::Unsupported,
            format!("{owner} cannot run"),
            format!("it has several tasks ({}), and only one is supported", listed(names())),
            "keep the task that backs up or restores the data",
        )),
    }
}

fn find_addon(reader: &dyn Reader, catalog: &Catalog, name: &str, owner: &str) -> Result<Addon, ResolveError> {
    if let Some(addon) = reader::get::<Addon>(reader, "", name)? {
        return Ok(addon);
    }
    if let Some(addon) = catalog.addon(name) {
        return Ok(addon.clone());
    }
    let own = reader::names::<Addon>(reader, None);
    Err(ResolveError::new(
        ErrorKind::Missing,
        format!("Addon {name} not found"),
        format!(
            "{owner} uses it; there are: {}",
            listed(own.into_iter().chain(catalog.addons.iter().map(ResourceExt::name_any)))
        ),
        "correct addon.name, or add the Addon's manifest",
    ))
}

/// The component of a Function: the user's own, or that of the catalog's Function of the same name, because a Function
/// written for KubeStash has an image only.
fn find_component(
    reader: &dyn Reader,
    catalog: &Catalog,
    name: &str,
    task: &str,
    addon: &str,
) -> Result<FunctionComponent, ResolveError> {
    let own = reader::get::<Function>(reader, "", name)?;
    let twin = catalog.function(name).and_then(|function| function.spec.component.clone());
    if let Some(component) = own.as_ref().and_then(|own| own.spec.component.clone()).or(twin) {
        return Ok(component);
    }
    if own.is_some() {
        return Err(ResolveError::new(
            ErrorKind::Unsupported,
            format!("Function {name} cannot be used"),
            "it has no spec.component, and container images do not run here",
            "set spec.component.ref to builtin:<name> or file:///path/to/component.wasm, and grant spec.component.permissions",
        ));
    }
    let all = reader::names::<Function>(reader, None);
    Err(ResolveError::new(
        ErrorKind::Missing,
        format!("Function {name} not found"),
        format!(
            "task {task} of Addon {addon} uses it; there are: {}",
            listed(all.into_iter().chain(catalog.functions.iter().map(ResourceExt::name_any)))
        ),
        "add the Function's manifest, or correct the Addon",
    ))
}

fn permissions(component: &FunctionComponent) -> Result<Permissions, String> {
    let granted = &component.permissions;
    let memory = granted.memory.as_deref().map(size::parse_quantity).transpose();
    let memory = memory.map_err(|error| format!("permissions.memory: {error}"))?;
    let deadline = granted.cpu_deadline.as_deref().map(duration::parse).transpose();
    let deadline = deadline.map_err(|error| format!("permissions.cpuDeadline: {error}"))?;
    if memory == Some(0) || deadline.is_some_and(|deadline| deadline.is_zero()) {
        return Err("permissions.memory and permissions.cpuDeadline must be more than zero".to_owned());
    }
    Ok(Permissions {
        target: granted.target,
        memory: memory.unwrap_or(Permissions::DEFAULT_MEMORY),
        cpu_deadline: deadline.unwrap_or(Permissions::DEFAULT_CPU_DEADLINE),
    })
}

/// The user's `params` over the Addon's defaults; a parameter with neither takes the task's variable of its name.
fn parameters(task: &Task, reference: &TaskReference, owner: &str) -> Result<BTreeMap<String, String>, ResolveError> {
    let mut parameters = BTreeMap::new();
    for definition in &task.parameters {
        if let (Some(name), Some(default)) = (&definition.name, &definition.default) {
            parameters.insert(name.clone(), default.clone());
        }
    }
    for (name, value) in reference.params.iter().flat_map(|params| &params.0) {
        if value.is_null() {
            continue;
        }
        let text = text(value).ok_or_else(|| {
            ResolveError::new(
                ErrorKind::Invalid,
                format!("parameter {name} of {owner} is malformed"),
                "it is neither a text, a number, a boolean nor a list of these",
                "write it as text",
            )
        })?;
        parameters.insert(name.clone(), text);
    }
    let declared: BTreeSet<&str> = task.parameters.iter().filter_map(|parameter| parameter.name.as_deref()).collect();
    for variable in &reference.variables {
        if let Some(value) = &variable.value
            && declared.contains(variable.name.as_str())
        {
            parameters.entry(variable.name.clone()).or_insert_with(|| value.clone());
        }
    }
    let missing = task.parameters.iter().find(|parameter| {
        parameter.required == Some(true) && parameter.name.as_ref().is_some_and(|name| !parameters.contains_key(name))
    });
    match missing.and_then(|parameter| parameter.name.as_deref().map(|name| (name, &parameter.usage))) {
        None => Ok(parameters),
        Some((name, usage)) => Err(ResolveError::new(
            ErrorKind::Missing,
            format!("parameter {name} of {owner} is missing"),
            usage.clone().unwrap_or_else(|| "the Addon requires it".to_owned()),
            format!("set it under params of task {}", task.name.as_deref().unwrap_or_default()),
        )),
    }
}

/// A scalar as text, a list of scalars joined by commas.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Number(value) => Some(value.to_string()),
        Value::Array(items) => items
            .iter()
            .map(|item| if item.is_array() { None } else { text(item) })
            .collect::<Option<Vec<_>>>()
            .map(|items| items.join(",")),
        Value::Null | Value::Object(_) => None,
    }
}
