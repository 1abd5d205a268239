//! Secrets that must be there, with keys that must be there.

use coffer_api::plan::SecretData;
use secrecy::SecretString;

use crate::error::{ErrorKind, ResolveError};
use crate::reader::Reader;

/// The Secret `namespace/name`; `purpose` says who needs it, `keys` what it should hold.
pub(crate) fn secret(
    reader: &dyn Reader,
    namespace: &str,
    name: &str,
    purpose: &str,
    keys: &[&str],
) -> Result<SecretData, ResolveError> {
    reader.secret(namespace, name)?.ok_or_else(|| {
        ResolveError::new(
            ErrorKind::Missing,
            format!("Secret {name} in namespace {namespace} not found"),
            format!("{purpose} needs it, and it is not in {}", reader.place()),
            how_to_create(namespace, name, keys),
        )
    })
}

/// The value of a key as text.
pub(crate) fn required(
    data: &SecretData,
    key: &str,
    namespace: &str,
    name: &str,
    purpose: &str,
) -> Result<SecretString, ResolveError> {
    let problem = |why: String| {
        ResolveError::new(
            ErrorKind::Missing,
            format!("Secret {name} in namespace {namespace} has no usable key {key}"),
            format!("{purpose} needs it; {why}"),
            how_to_create(namespace, name, &[key]),
        )
    };
    match data.get(key).map(std::str::from_utf8) {
        None => Err(problem(format!("the keys are: {}", crate::error::listed(data.keys())))),
        Some(Err(_)) => Err(problem("its value is not UTF-8 text".to_owned())),
        Some(Ok("")) => Err(problem("its value is empty".to_owned())),
        Some(Ok(value)) => Ok(SecretString::from(value)),
    }
}

fn how_to_create(namespace: &str, name: &str, keys: &[&str]) -> String {
    let each = |before: &str, after: &str, separator: &str| {
        keys.iter().map(|key| format!("{before}{key}{after}")).collect::<Vec<_>>().join(separator)
    };
    let yaml = each("", ": <value>", ", ");
    let literals = each(" --from-literal=", "=<value>", "");
    format!(
        "add a manifest {{apiVersion: v1, kind: Secret, metadata: {{name: {name}, namespace: {namespace}}}, stringData: \
         {{{yaml}}}}}, or run `kubectl create secret generic {name} -n {namespace}{literals}`"
    )
}
