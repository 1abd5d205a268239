//! `-o`: objects for programs.

use serde::Serialize;
use serde_json::{Value, json};

use crate::error::PluginError;

/// How objects are shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    /// A table.
    #[default]
    Table,
    /// A table with more columns.
    Wide,
    /// JSON.
    Json,
    /// YAML.
    Yaml,
    /// `kind.group/name`, one a line.
    Name,
}

/// One object, for programs; `None` where a table is wanted.
pub(crate) fn object(format: Format, object: &impl Serialize) -> Result<Option<String>, PluginError> {
    let value = value(object)?;
    Ok(match format {
        Format::Table | Format::Wide => None,
        Format::Json => Some(pretty(&value)?),
        Format::Yaml => Some(yaml(&value)?),
        Format::Name => Some(name(&value)),
    })
}

/// Several objects, for programs, as `kubectl get` prints them; `None` where a table is wanted.
pub(crate) fn list(format: Format, objects: &[Value]) -> Result<Option<String>, PluginError> {
    let list = || json!({ "apiVersion": "v1", "kind": "List", "metadata": {}, "items": objects });
    Ok(match format {
        Format::Table | Format::Wide => None,
        Format::Json => Some(pretty(&list())?),
        Format::Yaml => Some(yaml(&list())?),
        Format::Name => Some(objects.iter().map(name).collect::<Vec<_>>().join("\n")),
    })
}

pub(crate) fn value(object: &impl Serialize) -> Result<Value, PluginError> {
    serde_json::to_value(object).map_err(|error| PluginError::Write(error.to_string()))
}

pub(crate) fn yaml(value: &Value) -> Result<String, PluginError> {
    let text = serde_saphyr::to_string(value).map_err(|error| PluginError::Write(error.to_string()))?;
    Ok(text.trim_end().to_owned())
}

fn pretty(value: &Value) -> Result<String, PluginError> {
    serde_json::to_string_pretty(value).map_err(|error| PluginError::Write(error.to_string()))
}

/// `backupsession.core.kubestash.com/name`
pub(crate) fn name(object: &Value) -> String {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let kind = text("/kind").to_ascii_lowercase();
    match text("/apiVersion").split_once('/') {
        Some((group, _)) => format!("{kind}.{group}/{}", text("/metadata/name")),
        None => format!("{kind}/{}", text("/metadata/name")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_printed_as_kubectl_prints_them() {
        let one = json!({ "apiVersion": "core.kubestash.com/v1alpha1", "kind": "BackupSession", "metadata": { "name": "x" } });
        assert_eq!(object(Format::Name, &one).unwrap().unwrap(), "backupsession.core.kubestash.com/x");
        assert_eq!(name(&json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "p" } })), "pod/p");
        let yaml = object(Format::Yaml, &one).unwrap().unwrap();
        assert_eq!(serde_saphyr::from_str::<Value>(&yaml).unwrap(), one);
        let all = list(Format::Json, std::slice::from_ref(&one)).unwrap().unwrap();
        let all: Value = serde_json::from_str(&all).unwrap();
        assert_eq!((&all["kind"], &all["items"][0]), (&json!("List"), &one));
        assert_eq!(object(Format::Table, &one).unwrap(), None);
        assert_eq!(list(Format::Wide, &[]).unwrap(), None);
        assert_eq!(list(Format::Name, &[]).unwrap().unwrap(), "");
    }
}
