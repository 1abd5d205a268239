//! Addon and Function resources from what components say of themselves.

use coffer_api::ResourceExt as _;
use coffer_api::addons::{
    Addon, AddonSpec, ComponentPermissions, Driver, Function, FunctionComponent, FunctionSpec, Task, TaskExecutor,
};
use coffer_api::plan::ComponentRef;
use coffer_api::shared::ParameterDefinition;
use coffer_resolve::Catalog;
use coffer_sandbox::contract::{self, Direction};
use coffer_sandbox::{Capability, Component, Engine};

use crate::context::load;
use crate::exit::Failure;

/// The resources of the built-in addons.
pub(crate) fn builtin(engine: &Engine) -> Result<Catalog, Failure> {
    let mut catalog = Catalog::default();
    for name in coffer_addons_builtin::names() {
        let reference = ComponentRef::Builtin(name.to_owned());
        add(&mut catalog, &reference, &load(engine, &reference)?)?;
    }
    Ok(catalog)
}

/// Adds the resources of one component, granting what it wants.
pub(crate) fn add(catalog: &mut Catalog, reference: &ComponentRef, component: &Component) -> Result<(), Failure> {
    let description = component.describe()?;
    let tasks = |direction: Direction| {
        description.tasks.iter().filter(|task| task.direction == direction).map(task_resource).collect::<Vec<_>>()
    };
    for name in &description.addons {
        let spec = AddonSpec { backup_tasks: tasks(Direction::Backup), restore_tasks: tasks(Direction::Restore) };
        catalog.addons.push(Addon::new(name, spec));
    }
    for task in &description.tasks {
        if catalog.functions.iter().any(|function| function.name_any() == task.function) {
            continue;
        }
        let permissions = ComponentPermissions {
            target: component.wants().contains(&Capability::Target),
            ..ComponentPermissions::default()
        };
        let component = FunctionComponent { reference: reference.to_string(), permissions };
        let spec = FunctionSpec { component: Some(component), ..FunctionSpec::default() };
        catalog.functions.push(Function::new(&task.function, spec));
    }
    Ok(())
}

fn task_resource(task: &contract::Task) -> Task {
    let parameters = task.parameters.iter().map(|parameter| ParameterDefinition {
        name: Some(parameter.name.clone()),
        usage: Some(parameter.help.clone()),
        required: Some(parameter.required),
        default: parameter.default.clone(),
    });
    Task {
        name: Some(task.name.clone()),
        function: Some(task.function.clone()),
        driver: Some(Driver::Restic),
        executor: Some(TaskExecutor::Job),
        singleton: Some(true),
        parameters: parameters.collect(),
        ..Task::default()
    }
}

/// The resources as one YAML text of several documents.
pub(crate) fn yaml(catalog: &Catalog) -> Result<String, Failure> {
    let failed = |error: serde_saphyr::SerializeError| Failure::Other(format!("cannot write YAML: {error}"));
    let mut documents = Vec::new();
    for addon in &catalog.addons {
        documents.push(serde_saphyr::to_string(addon).map_err(failed)?);
    }
    for function in &catalog.functions {
        documents.push(serde_saphyr::to_string(function).map_err(failed)?);
    }
    Ok(documents.join("---\n"))
}
