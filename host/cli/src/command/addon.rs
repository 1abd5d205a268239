//! `coffer addon`

use std::fmt::Write as _;
use std::path::Path;

use coffer_api::plan::ComponentRef;
use coffer_resolve::Catalog;
use coffer_sandbox::Component;
use coffer_sandbox::contract::{Description, Direction, Parameter, ValueType};
use serde_json::{Value, json};

use crate::args::Addon;
use crate::catalog;
use crate::context::{App, load};
use crate::exit::{End, Failure, Outcome};
use crate::output::line;

pub(crate) fn run(addon: Addon, app: &App) -> Outcome {
    let engine = app.engine()?;
    match addon {
        Addon::Inspect { component } => {
            let reference = reference(&component)?;
            let component = load(&engine, &reference)?;
            let description = component.describe()?;
            app.output
                .result(|| object(&reference, &component, &description), || text(&reference, &component, &description));
        }
        Addon::Catalog { components } => {
            let mut all = Catalog::default();
            if components.is_empty() {
                all = catalog::builtin(&engine)?;
            }
            for component in &components {
                let reference = reference(component)?;
                catalog::add(&mut all, &reference, &load(&engine, &reference)?)?;
            }
            if app.output.is_json() {
                all.addons.iter().for_each(|addon| app.output.object(&json!(addon)));
                all.functions.iter().for_each(|function| app.output.object(&json!(function)));
            } else {
                line(catalog::yaml(&all)?.trim_end());
            }
        }
    }
    Ok(End::Done)
}

/// A reference as in a Function, the name of a built-in addon, or the path of a file.
fn reference(text: &str) -> Result<ComponentRef, Failure> {
    if text.starts_with("builtin:") || text.contains("://") {
        return Ok(text.parse::<ComponentRef>()?);
    }
    if coffer_addons_builtin::builtin(text).is_some() && !Path::new(text).exists() {
        return Ok(ComponentRef::Builtin(text.to_owned()));
    }
    // Absolute, as a Function needs it.
    let path = std::path::absolute(text).map_err(|error| Failure::File(format!("cannot use {text}"), error))?;
    if !path.exists() {
        let known: Vec<_> = coffer_addons_builtin::names().collect();
        return Err(Failure::Other(format!(
            "there is no file {}, and no built-in addon of that name; built-in addons: {}",
            path.display(),
            known.join(", ")
        )));
    }
    Ok(ComponentRef::File(path))
}

fn object(reference: &ComponentRef, component: &Component, description: &Description) -> Value {
    let parameter = |parameter: &Parameter| {
        json!({
            "name": parameter.name, "help": parameter.help, "type": kind(&parameter.kind),
            "default": parameter.default, "required": parameter.required,
        })
    };
    let tasks: Vec<Value> = description
        .tasks
        .iter()
        .map(|task| {
            json!({
                "name": task.name, "help": task.help, "direction": direction(task.direction), "function": task.function,
                "component": task.component, "parameters": task.parameters.iter().map(parameter).collect::<Vec<_>>(),
            })
        })
        .collect();
    json!({
        "message_type": "addon", "reference": reference.to_string(), "digest": format!("sha256:{}", component.digest()),
        "name": description.name, "version": description.version, "help": description.help,
        "addons": description.addons, "contract": coffer_sandbox::contract::CONTRACT,
        "wants": component.wants().iter().map(ToString::to_string).collect::<Vec<_>>(), "tasks": tasks,
    })
}

fn text(reference: &ComponentRef, component: &Component, description: &Description) -> String {
    let mut text = format!("{} {}: {}\n", description.name, description.version, description.help);
    let wants: Vec<String> = component
        .wants()
        .iter()
        .map(|capability| match capability.grant() {
            Some(line) => format!("{capability} (grant it with `{line}`)"),
            None => format!("{capability} (always granted)"),
        })
        .collect();
    // Writing into a String cannot fail.
    let _ = writeln!(text, "  reference  {reference}");
    let _ = writeln!(text, "  digest     sha256:{}", component.digest());
    let _ = writeln!(text, "  contract   coffer:addon {}", coffer_sandbox::contract::CONTRACT);
    let _ = writeln!(text, "  addons     {}", description.addons.join(", "));
    let _ = writeln!(text, "  wants      {}", wants.join(", "));
    for task in &description.tasks {
        let _ = writeln!(text, "\n{} task {}: {}", direction(task.direction), task.name, task.help);
        let _ = writeln!(text, "  function {}, snapshot component {}", task.function, task.component);
        for parameter in &task.parameters {
            let default = match (&parameter.default, parameter.required) {
                (_, true) => ", required".to_owned(),
                (Some(default), _) if !default.is_empty() => format!(", default {default}"),
                _ => String::new(),
            };
            let _ = writeln!(text, "  {}=<{}>{default}", parameter.name, kind(&parameter.kind));
            let _ = writeln!(text, "      {}", parameter.help);
        }
    }
    text.trim_end().to_owned()
}

fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::Backup => "backup",
        Direction::Restore => "restore",
    }
}

fn kind(kind: &ValueType) -> String {
    match kind {
        ValueType::Text => "text".to_owned(),
        ValueType::Integer => "integer".to_owned(),
        ValueType::Boolean => "true|false".to_owned(),
        ValueType::Duration => "duration".to_owned(),
        ValueType::Quantity => "quantity".to_owned(),
        ValueType::Choice(values) => values.join("|"),
    }
}
