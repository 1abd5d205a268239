//! The parameters of a task against what the component says it takes. Pure.

use std::collections::BTreeMap;

use coffer_api::{duration, size};
use coffer_sandbox::contract::{Parameter, Task, ValueType};

use crate::ExecutorError;

/// The parameter that says how many sandboxes work side by side. A task that lists it can be told; any other has one worker.
pub(crate) const WORKERS: &str = "workers";

/// The most sandboxes that one run may have.
const MAX_WORKERS: usize = 64;

/// Checks `given` against the task and fills in the component's defaults.
///
/// # Errors
/// Names the first parameter that is unknown, missing or of the wrong type.
pub(crate) fn settle(task: &Task, given: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, ExecutorError> {
    if let Some(name) = given.keys().find(|name| !task.parameters.iter().any(|known| known.name == **name)) {
        let known = task.parameters.iter().map(|known| known.name.clone()).collect();
        return Err(ExecutorError::UnknownParameter { task: task.name.clone(), name: name.clone(), known });
    }
    let mut settled = BTreeMap::new();
    for parameter in &task.parameters {
        let value = given.get(&parameter.name).filter(|value| !value.is_empty() || parameter.default.is_none());
        match value.or(parameter.default.as_ref()) {
            Some(value) => {
                check(task, parameter, value)?;
                settled.insert(parameter.name.clone(), value.clone());
            }
            None if parameter.required => {
                return Err(ExecutorError::MissingParameter {
                    task: task.name.clone(),
                    name: parameter.name.clone(),
                    help: parameter.help.clone(),
                });
            }
            None => {}
        }
    }
    Ok(settled)
}

/// How many sandboxes the run has: what the parameters say, else one for each processor, at most four.
///
/// # Errors
/// When the number is not one from 1 to 64.
pub(crate) fn workers(task: &Task, settled: &BTreeMap<String, String>) -> Result<usize, ExecutorError> {
    if !task.parameters.iter().any(|known| known.name == WORKERS) {
        return Ok(1);
    }
    match settled.get(WORKERS).map(String::as_str) {
        None | Some("" | "0") => Ok(std::thread::available_parallelism().map_or(1, usize::from).min(4)),
        Some(text) => match text.parse() {
            Ok(count @ 1..=MAX_WORKERS) => Ok(count),
            _ => Err(ExecutorError::InvalidParameter {
                task: task.name.clone(),
                name: WORKERS.to_owned(),
                value: text.to_owned(),
                expected: format!("a number from 1 to {MAX_WORKERS}, or 0 to let coffer choose"),
            }),
        },
    }
}

fn check(task: &Task, parameter: &Parameter, value: &str) -> Result<(), ExecutorError> {
    let expected = match &parameter.kind {
        ValueType::Text => return Ok(()),
        ValueType::Integer if value.parse::<i64>().is_ok() => return Ok(()),
        ValueType::Integer => "a whole number".to_owned(),
        ValueType::Boolean if matches!(value, "true" | "false") => return Ok(()),
        ValueType::Boolean => "true or false".to_owned(),
        ValueType::Duration if value.parse::<u64>().is_ok() || duration::parse(value).is_ok() => return Ok(()),
        ValueType::Duration => "a duration such as 90s, 5m or 1h30m".to_owned(),
        ValueType::Quantity if size::parse_quantity(value).is_ok() => return Ok(()),
        ValueType::Quantity => "a number of bytes such as 65536, 64Ki or 16Mi".to_owned(),
        ValueType::Choice(choices) if choices.iter().any(|choice| choice == value) => return Ok(()),
        ValueType::Choice(choices) => format!("one of {}", choices.join(", ")),
    };
    Err(ExecutorError::InvalidParameter {
        task: task.name.clone(),
        name: parameter.name.clone(),
        value: value.to_owned(),
        expected,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameter(name: &str, kind: ValueType, default: Option<&str>, required: bool) -> Parameter {
        Parameter {
            name: name.into(),
            help: format!("the {name}"),
            kind,
            default: default.map(str::to_owned),
            required,
        }
    }

    fn task() -> Task {
        Task {
            name: "logical-backup".into(),
            help: String::new(),
            direction: coffer_sandbox::contract::Direction::Backup,
            function: "f".into(),
            component: "dump".into(),
            parameters: vec![
                parameter("args", ValueType::Text, Some("--quick"), false),
                parameter("workers", ValueType::Integer, None, false),
                parameter(
                    "format",
                    ValueType::Choice(vec!["parallel".into(), "single".into()]),
                    Some("parallel"),
                    false,
                ),
                parameter("wait", ValueType::Duration, None, false),
                parameter("buffer", ValueType::Quantity, None, false),
                parameter("strict", ValueType::Boolean, None, false),
            ],
        }
    }

    fn given(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn defaults_fill_what_is_absent_or_empty() {
        let settled = settle(&task(), &given(&[("args", ""), ("wait", "5m")])).unwrap();
        assert_eq!(settled, given(&[("args", "--quick"), ("format", "parallel"), ("wait", "5m")]));
    }

    #[test]
    fn each_type_takes_its_values_and_no_other() {
        for (name, good, bad) in [
            ("workers", "-3", "many"),
            ("format", "single", "zip"),
            ("wait", "90", "soon"),
            ("wait", "1h30m", "1 hour"),
            ("buffer", "64Ki", "big"),
            ("strict", "true", "yes"),
        ] {
            assert!(settle(&task(), &given(&[(name, good)])).is_ok(), "{name}={good}");
            let error = settle(&task(), &given(&[(name, bad)])).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains("must be"), "{error}");
        }
    }

    #[test]
    fn unknown_and_missing_ones_are_named() {
        let error = settle(&task(), &given(&[("databses", "x")])).unwrap_err().to_string();
        assert!(error.contains("databses") && error.contains("args, workers"), "{error}");
        let mut strict = task();
        strict.parameters.push(parameter("where", ValueType::Text, None, true));
        let error = settle(&strict, &BTreeMap::new()).unwrap_err().to_string();
        assert!(error.contains("needs the parameter \"where\""), "{error}");
    }

    #[test]
    fn workers_are_within_bounds() {
        assert_eq!(workers(&task(), &given(&[("workers", "3")])).unwrap(), 3);
        assert!((1..=4).contains(&workers(&task(), &BTreeMap::new()).unwrap()));
        assert!((1..=4).contains(&workers(&task(), &given(&[("workers", "0")])).unwrap()));
        assert!(workers(&task(), &given(&[("workers", "65")])).is_err());
        let mut simple = task();
        simple.parameters.clear();
        assert_eq!(workers(&simple, &BTreeMap::new()).unwrap(), 1, "an addon that does not know of workers has one");
    }
}
