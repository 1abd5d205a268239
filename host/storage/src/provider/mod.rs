//! One module per provider: from its settings and its Secret to an operator without layers.

pub(crate) mod azure;
pub(crate) mod gcs;
pub(crate) mod http;
pub(crate) mod local;
pub(crate) mod s3;

use opendal::Operator;

/// What a provider's module makes.
#[derive(Debug)]
pub(crate) struct Opened {
    /// The operator, rooted at the prefix, without retries or limits.
    pub(crate) operator: Operator,
    /// Where that is, for messages: a URL without credentials, or a path.
    pub(crate) location: String,
    /// `maxConnections` of the BackupStorage.
    pub(crate) max_connections: Option<i64>,
}

/// A setting that must be there and not be blank.
pub(crate) fn required<'a>(value: Option<&'a str>, field: &str) -> Result<&'a str, String> {
    optional(value).ok_or_else(|| format!("spec.storage.{field} is empty; set it"))
}

/// A setting, unless it is blank.
pub(crate) fn optional(value: Option<&str>) -> Option<&str> {
    value.map(str::trim).filter(|value| !value.is_empty())
}

/// The text of a key of the Secret, without the line end that `kubectl create secret --from-file` keeps.
pub(crate) fn secret<'a>(config: &'a coffer_api::plan::StorageConfig, key: &str) -> Result<Option<&'a str>, String> {
    match config.secret.get(key) {
        None => Ok(None),
        Some(_) => match config.secret.text(key) {
            Some(text) => Ok(optional(Some(text))),
            None => Err(format!("the key {key} of its Secret is not text; write it again")),
        },
    }
}

/// The names of the Secret's keys, for messages.
pub(crate) fn keys_found(config: &coffer_api::plan::StorageConfig) -> String {
    let keys: Vec<_> = config.secret.keys().collect();
    if keys.is_empty() { "it is empty".to_owned() } else { format!("it has {}", keys.join(", ")) }
}
