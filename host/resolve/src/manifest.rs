//! The text of manifest files, cut into single objects.

use coffer_api::k8s_openapi::ByteString;
use coffer_api::plan::SecretData;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::error::{ErrorKind, ResolveError};

/// One object of a file.
pub(crate) struct Manifest {
    /// Where it was read: `file.yaml:12`.
    pub(crate) source: String,
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) kind: String,
    pub(crate) namespace: Option<String>,
    pub(crate) name: String,
    pub(crate) content: Value,
    /// The YAML text of the document and its first line, if the document is this object alone.
    text: Option<(String, u64)>,
    file: String,
}

impl Manifest {
    /// The object as a type; an error points at the line where it can.
    pub(crate) fn typed<T: DeserializeOwned>(&self) -> Result<T, ResolveError> {
        serde_json::from_value(self.content.clone()).map_err(|error| {
            let located = self.text.as_ref().and_then(|(text, line)| {
                let error =
                    serde_saphyr::from_str_with_options::<T>(text, serde_saphyr::options! { no_schema: true }).err()?;
                Some((position(&self.file, *line, &error), plain(&error)))
            });
            let (at, why) = located.unwrap_or_else(|| (self.source.clone(), without_value(&error.to_string())));
            ResolveError::new(
                ErrorKind::Malformed,
                format!("{at}: cannot read {} {}", self.kind, self.name),
                why,
                "correct the field",
            )
        })
    }

    /// The content of a Secret: `data`, and `stringData` over it. Values never reach an error.
    pub(crate) fn secret(&self) -> Result<SecretData, ResolveError> {
        let problem = |key: &str, why: &str, fix: &str| {
            ResolveError::new(
                ErrorKind::Malformed,
                format!("{}: cannot read key {key} of Secret {}", self.source, self.name),
                why,
                fix,
            )
        };
        let mut secret = SecretData::default();
        for (key, value) in self.entries("data") {
            let bytes: ByteString = serde_json::from_value(value.clone()).map_err(|_| {
                problem(key, "its value under data is not base64", "encode it, or move it to stringData")
            })?;
            secret.insert(key, bytes.0);
        }
        for (key, value) in self.entries("stringData") {
            let text = value
                .as_str()
                .ok_or_else(|| problem(key, "its value under stringData is no text", "put it between quotes"))?;
            secret.insert(key, text.as_bytes().to_vec());
        }
        Ok(secret)
    }

    /// The labels of the object.
    pub(crate) fn labels(&self) -> impl Iterator<Item = (String, String)> {
        let labels = self.content.pointer("/metadata/labels").and_then(Value::as_object);
        labels.into_iter().flatten().filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
    }

    fn entries(&self, field: &str) -> impl Iterator<Item = (&String, &Value)> {
        self.content.get(field).and_then(Value::as_object).into_iter().flatten()
    }
}

/// Cuts the text of a file into its objects; the items of a `List` are objects of their own.
pub(crate) fn parse(file: &str, text: &str) -> Result<Vec<Manifest>, ResolveError> {
    let mut manifests = Vec::new();
    for (line, document) in documents(text) {
        let content =
            json(&document).map_or_else(|| serde_saphyr::from_str::<Value>(&document), Ok).map_err(|error| {
                ResolveError::new(
                    ErrorKind::Malformed,
                    format!("{}: not valid YAML", position(file, line, &error)),
                    plain(&error),
                    "correct the file",
                )
            })?;
        if content.is_null() {
            continue;
        }
        let source = format!("{file}:{line}");
        let is_list = content.get("apiVersion").and_then(Value::as_str) == Some("v1")
            && content.get("kind").and_then(Value::as_str).is_some_and(|kind| kind.ends_with("List"));
        if is_list {
            let items = content.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
            for (index, item) in items.into_iter().enumerate() {
                manifests.push(object(file, format!("{source} (item {})", index + 1), item, None)?);
            }
        } else {
            manifests.push(object(file, source, content, Some((document, line)))?);
        }
    }
    Ok(manifests)
}

fn object(file: &str, source: String, content: Value, text: Option<(String, u64)>) -> Result<Manifest, ResolveError> {
    let field = |pointer: &str| content.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty());
    let required = |pointer: &str, name: &str| {
        field(pointer).map(str::to_owned).ok_or_else(|| {
            ResolveError::new(
                ErrorKind::Malformed,
                format!("{source}: not a Kubernetes manifest"),
                format!("{name} is missing or no text"),
                format!("add {name}, or move the file elsewhere"),
            )
        })
    };
    let api_version = required("/apiVersion", "apiVersion")?;
    let kind = required("/kind", "kind")?;
    let name = required("/metadata/name", "metadata.name")?;
    let namespace = match content.pointer("/metadata/namespace") {
        None | Some(Value::Null) => None,
        // `namespace: 1` or `namespace: y` is not text; falling back to the default would hide that.
        Some(_) => Some(required("/metadata/namespace", "metadata.namespace")?),
    };
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", &api_version));
    Ok(Manifest {
        group: group.to_owned(),
        version: version.to_owned(),
        kind,
        namespace,
        name,
        content: strip_nulls(content),
        source,
        text,
        file: file.to_owned(),
    })
}

/// The documents of a stream with the number of their first line. A line that begins with `---` cannot be content:
/// block scalars are indented.
fn documents(text: &str) -> Vec<(u64, String)> {
    let mut documents = Vec::new();
    let mut current = String::new();
    let mut start = 1;
    for (index, line) in (1_u64..).zip(text.split_inclusive('\n')) {
        let marker = line.strip_prefix("---").filter(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace));
        if let Some(rest) = marker {
            documents.push((start, std::mem::take(&mut current)));
            start = index;
            // Content may follow on the line of the marker; an empty line keeps the numbering.
            current.push_str("   ");
            current.push_str(rest);
        } else {
            current.push_str(line);
        }
    }
    documents.push((start, current));
    let blank = |text: &str| text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'));
    documents.retain(|(_, document)| !blank(document));
    documents
}

/// A document in JSON, which may be indented with tabs. Anything else is left to the YAML parser, whose messages have lines.
fn json(document: &str) -> Option<Value> {
    document.trim_start().starts_with('{').then(|| serde_json::from_str(document).ok()).flatten()
}

/// A field that is null counts as absent, as it does for an API server.
fn strip_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(
            fields
                .into_iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(key, value)| (key, strip_nulls(value)))
                .collect::<Map<_, _>>(),
        ),
        Value::Array(items) => Value::Array(items.into_iter().map(strip_nulls).collect()),
        other => other,
    }
}

fn position(file: &str, first_line: u64, error: &serde_saphyr::Error) -> String {
    match error.location() {
        Some(location) => format!("{file}:{}:{}", first_line + location.line().saturating_sub(1), location.column()),
        None => format!("{file}:{first_line}"),
    }
}

/// The first line of the message, without its own position (which counts from the document's begin) and without an excerpt
/// of the file (which may hold a secret).
fn plain(error: &serde_saphyr::Error) -> String {
    if matches!(error.without_snippet(), serde_saphyr::Error::QuotingRequired { .. }) {
        return "a text that looks like a number or a boolean must be in quotes".to_owned();
    }
    let text = error.without_snippet().to_string();
    let line = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
    let end = line.rfind(" at line ").unwrap_or(line.len());
    without_value(line.get(..end).unwrap_or(line))
}

/// `invalid type: string "x", expected …` without the `"x"`, which may be a secret at the wrong place.
fn without_value(message: &str) -> String {
    let parts = message.strip_prefix("invalid type: ").and_then(|rest| rest.split_once(", expected "));
    match parts {
        Some((found, expected)) => {
            let found = found.split(['`', '"']).next().unwrap_or_default().trim_end();
            format!("invalid type: {found}, expected {expected}")
        }
        None => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_keep_their_line_numbers() {
        let text = "# a comment\n---\napiVersion: v1\n--- # next\nkind: X\n---\n\n---\nlast: 1";
        let found = documents(text);
        assert_eq!(found.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [2, 4, 8]);
    }

    #[test]
    fn dashes_inside_a_certificate_are_no_separator() {
        let text = "a: |\n  -----BEGIN X-----\n  ---\n-----\n";
        assert_eq!(documents(text).len(), 1);
    }
}
