//! Between wasmtime's generated types and [`crate::contract`]. Whatever comes out of a guest is checked here, and so is
//! whatever goes in.

use std::collections::HashSet;

use crate::bindings::coffer::addon::run::Level as WitLevel;
use crate::bindings::coffer::addon::types;
use crate::bindings::exports::coffer::addon::{backup, describe, restore};
use crate::caps::{
    Checked, FACTS, HELP, ITEMS, Meter, NAME, RESTORE_ITEMS, SMALL_LIST, STAGES, TOKEN, VALUE, Violation, count,
    one_tree,
};
use crate::contract::{
    AddonError, Description, Direction, Entry, ErrorKind, Fact, Item, Level, Parameter, Plan, RestoreItem, Stage, Task,
    ValueType,
};

impl From<WitLevel> for Level {
    fn from(level: WitLevel) -> Self {
        match level {
            WitLevel::Error => Self::Error,
            WitLevel::Warn => Self::Warn,
            WitLevel::Info => Self::Info,
            WitLevel::Debug => Self::Debug,
        }
    }
}

impl From<types::ErrorKind> for ErrorKind {
    fn from(kind: types::ErrorKind) -> Self {
        match kind {
            types::ErrorKind::Invalid => Self::Invalid,
            types::ErrorKind::Denied => Self::Denied,
            types::ErrorKind::Unavailable => Self::Unavailable,
            types::ErrorKind::Protocol => Self::Protocol,
            types::ErrorKind::Data => Self::Data,
            types::ErrorKind::Unsupported => Self::Unsupported,
            types::ErrorKind::Cancelled => Self::Cancelled,
            types::ErrorKind::Internal => Self::Internal,
        }
    }
}

impl From<ErrorKind> for types::ErrorKind {
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Invalid => Self::Invalid,
            ErrorKind::Denied => Self::Denied,
            ErrorKind::Unavailable => Self::Unavailable,
            ErrorKind::Protocol => Self::Protocol,
            ErrorKind::Data => Self::Data,
            ErrorKind::Unsupported => Self::Unsupported,
            ErrorKind::Cancelled => Self::Cancelled,
            ErrorKind::Internal => Self::Internal,
        }
    }
}

impl From<AddonError> for types::Error {
    fn from(error: AddonError) -> Self {
        let message = crate::caps::message(&error.message, crate::caps::ERROR_MESSAGE);
        Self { kind: error.kind.into(), message, retryable: error.retryable }
    }
}

fn all<T, U>(list: Vec<T>, mut convert: impl FnMut(T) -> Checked<U>) -> Checked<Vec<U>> {
    list.into_iter().map(&mut convert).collect()
}

/// Checks a description.
pub(crate) fn description(raw: describe::Description) -> Checked<Description> {
    let meter = &mut Meter::default();
    meter.word("the name of the addon", &raw.name)?;
    meter.name("the version of the addon", &raw.version)?;
    meter.text("the help of the addon", &raw.help, HELP)?;
    count("the list of Addon resources", raw.addons.len(), SMALL_LIST)?;
    for addon in &raw.addons {
        meter.word("the name of an Addon resource", addon)?;
    }
    count("the list of tasks", raw.tasks.len(), SMALL_LIST)?;
    let tasks = all(raw.tasks, |raw| task(meter, raw))?;
    unique("the task", tasks.iter().map(|task| task.name.as_str()))?;
    Ok(Description { name: raw.name, version: raw.version, help: raw.help, addons: raw.addons, tasks })
}

fn task(meter: &mut Meter, raw: describe::Task) -> Checked<Task> {
    meter.word("the name of a task", &raw.name)?;
    meter.text("the help of a task", &raw.help, HELP)?;
    meter.word("the Function of a task", &raw.function)?;
    meter.word("the snapshot component of a task", &raw.component)?;
    count("the list of parameters", raw.parameters.len(), SMALL_LIST)?;
    let parameters = all(raw.parameters, |raw| parameter(meter, raw))?;
    unique("the parameter", parameters.iter().map(|parameter| parameter.name.as_str()))?;
    let direction = match raw.direction {
        describe::Direction::Backup => Direction::Backup,
        describe::Direction::Restore => Direction::Restore,
    };
    Ok(Task { name: raw.name, help: raw.help, direction, function: raw.function, component: raw.component, parameters })
}

fn parameter(meter: &mut Meter, raw: describe::Parameter) -> Checked<Parameter> {
    meter.name("the name of a parameter", &raw.name)?;
    meter.text("the help of a parameter", &raw.help, HELP)?;
    if let Some(default) = &raw.default {
        meter.text("the default of a parameter", default, VALUE)?;
    }
    let kind = match raw.kind {
        describe::ValueType::Text => ValueType::Text,
        describe::ValueType::Integer => ValueType::Integer,
        describe::ValueType::Boolean => ValueType::Boolean,
        describe::ValueType::Duration => ValueType::Duration,
        describe::ValueType::Quantity => ValueType::Quantity,
        describe::ValueType::Choice(choices) => {
            count("the choices of a parameter", choices.len(), SMALL_LIST)?;
            for choice in &choices {
                meter.text("a choice of a parameter", choice, NAME)?;
            }
            ValueType::Choice(choices)
        }
    };
    Ok(Parameter { name: raw.name, help: raw.help, kind, default: raw.default, required: raw.required })
}

fn unique<'a>(what: &str, names: impl Iterator<Item = &'a str>) -> Checked {
    let mut seen = HashSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(Violation(format!("{what} {name:?} occurs twice")));
        }
    }
    Ok(())
}

/// Checks the facts that a guest returned.
pub(crate) fn facts(raw: Vec<types::Fact>) -> Checked<Vec<Fact>> {
    metered_facts(&mut Meter::default(), raw)
}

fn metered_facts(meter: &mut Meter, raw: Vec<types::Fact>) -> Checked<Vec<Fact>> {
    count("the list of facts", raw.len(), FACTS)?;
    all(raw, |fact| {
        meter.word("the name of a fact", &fact.name)?;
        meter.text("the value of a fact", &fact.value, VALUE)?;
        Ok(Fact { name: fact.name, value: fact.value })
    })
}

fn raw_facts(meter: &mut Meter, facts: &[Fact]) -> Checked<Vec<types::Fact>> {
    count("the list of facts", facts.len(), FACTS)?;
    facts
        .iter()
        .map(|fact| {
            meter.text("the name of a fact", &fact.name, NAME)?;
            meter.text("the value of a fact", &fact.value, VALUE)?;
            Ok(types::Fact { name: fact.name.clone(), value: fact.value.clone() })
        })
        .collect()
}

/// Checks the facts that go into a guest.
pub(crate) fn facts_in(facts: &[Fact]) -> Checked<Vec<types::Fact>> {
    raw_facts(&mut Meter::default(), facts)
}

/// Checks the plan of a backup.
pub(crate) fn plan(raw: backup::Plan) -> Checked<Plan> {
    let meter = &mut Meter::default();
    if raw.items.is_empty() {
        return Err(Violation("the plan has no items".to_owned()));
    }
    count("the list of items", raw.items.len(), ITEMS)?;
    let items = all(raw.items, |item| {
        meter.path(&item.path)?;
        meter.text("the token of an item", &item.token, TOKEN)?;
        Ok(Item { path: item.path, estimate: item.estimate, token: item.token })
    })?;
    one_tree(items.iter().map(|item| item.path.as_str()))?;
    let facts = metered_facts(meter, raw.facts)?;
    Ok(Plan { items, facts })
}

/// Checks an item that goes back into a guest.
pub(crate) fn item_in(item: &Item) -> Checked<backup::Item> {
    let meter = &mut Meter::default();
    meter.path(&item.path)?;
    meter.text("the token of an item", &item.token, TOKEN)?;
    Ok(backup::Item { path: item.path.clone(), estimate: item.estimate, token: item.token.clone() })
}

/// Checks the streams of a snapshot on their way into a guest.
pub(crate) fn entries_in(entries: &[Entry]) -> Checked<Vec<restore::Entry>> {
    let meter = &mut Meter::default();
    count("the list of streams", entries.len(), ITEMS)?;
    let raw: Checked<Vec<_>> = entries
        .iter()
        .map(|entry| {
            meter.path(&entry.path)?;
            Ok(restore::Entry { path: entry.path.clone(), size: entry.size, facts: raw_facts(meter, &entry.facts)? })
        })
        .collect();
    one_tree(entries.iter().map(|entry| entry.path.as_str()))?;
    raw
}

/// Checks the plan of a restore of `entries`.
pub(crate) fn stages(raw: Vec<restore::Stage>, entries: &[Entry]) -> Checked<Vec<Stage>> {
    let meter = &mut Meter::default();
    count("the list of stages", raw.len(), STAGES)?;
    count("all stages together", raw.iter().map(|stage| stage.items.len()).sum(), RESTORE_ITEMS)?;
    let known: HashSet<&str> = entries.iter().map(|entry| entry.path.as_str()).collect();
    all(raw, |stage| {
        meter.name("the name of a stage", &stage.name)?;
        let items = all(stage.items, |item| {
            meter.text("the path of an item", &item.path, crate::caps::PATH)?;
            meter.text("the token of an item", &item.token, TOKEN)?;
            if !known.contains(item.path.as_str()) {
                return Err(Violation(format!(
                    "the stage {:?} wants {:?}, which is not in the snapshot",
                    stage.name, item.path
                )));
            }
            Ok(RestoreItem { path: item.path, token: item.token })
        })?;
        Ok(Stage { name: stage.name, items })
    })
}

/// Checks an item that goes back into a guest.
pub(crate) fn restore_item_in(item: &RestoreItem) -> Checked<restore::Item> {
    let meter = &mut Meter::default();
    meter.path(&item.path)?;
    meter.text("the token of an item", &item.token, TOKEN)?;
    Ok(restore::Item { path: item.path.clone(), token: item.token.clone() })
}
