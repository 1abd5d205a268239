//! From a task plan to a component that may run it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use coffer_api::cancel::Cancel;
use coffer_api::plan::{ComponentRef, Target, TaskPlan};
use coffer_sandbox::contract::{Direction, GuestEvents, Level};
use coffer_sandbox::{Component, SandboxError, SessionOptions};

use crate::events::{Event, Events};
use crate::{Context, ExecutorError, parameters};

/// A component that was checked against the task it is to run.
pub(crate) struct Addon {
    pub(crate) component: Component,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) workers: usize,
    task: TaskPlan,
    parameters: BTreeMap<String, String>,
}

impl Addon {
    /// Loads the component, and checks what it wants, its task and the parameters, before anything is touched.
    pub(crate) fn load(task: &TaskPlan, direction: Direction, context: &Context) -> Result<Self, ExecutorError> {
        let failed = |what: &str| addon_failed(format!("the addon {:?} {what}", task.addon));
        let bytes = component_bytes(&task.component, context)?;
        let component = context.engine.load(&bytes, &task.component.to_string()).map_err(failed("cannot be loaded"))?;
        component.check(&task.permissions).map_err(failed("cannot run"))?;
        let description = component.describe().map_err(failed("cannot describe itself"))?;
        let known = || description.tasks.iter().filter(|known| known.direction == direction);
        let Some(described) = known().find(|known| known.name == task.task) else {
            return Err(ExecutorError::UnknownTask {
                addon: task.addon.clone(),
                direction: match direction {
                    Direction::Backup => "backup",
                    Direction::Restore => "restore",
                },
                task: task.task.clone(),
                known: known().map(|known| known.name.clone()).collect(),
            });
        };
        let parameters = parameters::settle(described, &task.parameters)?;
        let workers = parameters::workers(described, &parameters)?;
        Ok(Self {
            component,
            name: description.name,
            version: description.version,
            workers,
            task: task.clone(),
            parameters,
        })
    }

    /// What the sandbox of worker `index` of `count` is given.
    pub(crate) fn session(
        &self,
        target: &Arc<Target>,
        (index, count): (usize, usize),
        cancel: &Cancel,
        events: &Arc<dyn Events>,
    ) -> SessionOptions {
        let clamp = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        SessionOptions {
            addon: self.name.clone(),
            permissions: self.task.permissions.clone(),
            target: self.task.permissions.target.then(|| Arc::clone(target)),
            task: self.task.task.clone(),
            parameters: self.parameters.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
            worker: (clamp(index), clamp(count)),
            events: Arc::new(Forward(Arc::clone(events))),
            cancel: cancel.clone(),
        }
    }
}

/// For `map_err`: what was being done when the sandbox failed.
pub(crate) fn addon_failed(what: impl Into<String>) -> impl FnOnce(SandboxError) -> ExecutorError {
    let what = what.into();
    move |source| ExecutorError::Addon { what, source }
}

fn component_bytes<'a>(reference: &ComponentRef, context: &Context) -> Result<Cow<'a, [u8]>, ExecutorError> {
    match reference {
        ComponentRef::Builtin(name) => {
            (context.builtins)(name).map(Cow::Borrowed).ok_or_else(|| ExecutorError::NoBuiltin { name: name.clone() })
        }
        ComponentRef::File(path) => coffer_sandbox::read_component(path)
            .map(Cow::Owned)
            .map_err(|source| ExecutorError::ComponentFile { reference: reference.to_string(), source }),
    }
}

/// Brings a guest's words to whoever listens to the run.
struct Forward(Arc<dyn Events>);

impl GuestEvents for Forward {
    fn log(&self, addon: &str, level: Level, message: &str) {
        self.0.event(Event::Log { level, addon, message });
    }

    fn progress(&self, _addon: &str, note: &str) {
        self.0.event(Event::Note { text: note });
    }
}
