//! Google Cloud Storage.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use coffer_api::plan::StorageConfig;
use coffer_api::storage::GcsSpec;
use opendal::{OperationContext, Operator, services};

use super::http::{self, Trust};
use super::{Opened, keys_found, required, secret};
use crate::environment::Environment;
use crate::path::join;

const DEFAULT_ENDPOINT: &str = "https://storage.googleapis.com";
const KEY: &str = "GOOGLE_SERVICE_ACCOUNT_JSON_KEY";

pub(crate) fn open(config: &StorageConfig, spec: &GcsSpec, environment: &Environment) -> Result<Opened, String> {
    let bucket = required(spec.bucket.as_deref(), "gcs.bucket")?.trim_matches('/');
    let prefix = join(&[spec.prefix.as_deref().unwrap_or_default()]);
    let mut builder = services::Gcs::default().bucket(bucket).root(&prefix);
    let mut endpoint = DEFAULT_ENDPOINT.to_owned();
    let mut location = format!("gs:{bucket}:/{prefix}");
    if let Some(host) = &environment.storage_emulator_host {
        let host = host.trim_end_matches('/');
        endpoint = if host.contains("://") { host.to_owned() } else { format!("http://{host}") };
        location = format!("{location} at {endpoint}");
        builder = builder.endpoint(&endpoint).skip_signature().disable_vm_metadata().disable_config_load();
    } else if let Some(key) = secret(config, KEY)? {
        check(key)?;
        // With a key at hand nothing else is asked: no environment, no metadata service of a cloud.
        builder = builder.credential(&BASE64_STANDARD.encode(key)).disable_vm_metadata().disable_config_load();
    } else if !config.secret.is_empty() {
        return Err(format!("its Secret has no key {KEY} ({}); add it", keys_found(config)));
    }
    let transport = http::transport(&endpoint, Trust::default())?;
    let operator = Operator::new(builder).map_err(|error| error.message().to_owned())?;
    let operator = operator.with_context(OperationContext::new().with_http_transport(transport));
    Ok(Opened { operator, location, max_connections: spec.max_connections })
}

/// OpenDAL ignores a key that it cannot read and asks the metadata service instead: a slow, misleading failure.
fn check(key: &str) -> Result<(), String> {
    let problem = match serde_json::from_str::<serde_json::Value>(key) {
        // The parser's own message could quote the key.
        Err(error) => Some(format!("is not JSON (line {})", error.line())),
        Ok(value) => match value.get("type").and_then(serde_json::Value::as_str) {
            None => Some("has no field \"type\"".to_owned()),
            Some("service_account") => ["client_email", "private_key"]
                .into_iter()
                .find(|field| value.get(field).and_then(serde_json::Value::as_str).is_none())
                .map(|field| format!("has no field {field:?}")),
            Some(_) => None,
        },
    };
    match problem {
        None => Ok(()),
        Some(problem) => Err(format!(
            "the key {KEY} of its Secret {problem}; put the JSON file there that Google's console offers for a service \
             account's key"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(secret: &[(&str, &str)]) -> StorageConfig {
        StorageConfig {
            name: "storage".into(),
            namespace: "demo".into(),
            spec: coffer_api::storage::StorageBackendSpec::default(),
            secret: secret.iter().copied().collect(),
        }
    }

    fn spec() -> GcsSpec {
        GcsSpec { bucket: Some("backups".into()), prefix: Some("demo/".into()), ..GcsSpec::default() }
    }

    #[test]
    fn locations_are_restics_and_name_an_emulator() {
        let emulator = Environment { storage_emulator_host: Some("127.0.0.1:4443/".into()), ..Environment::default() };
        let location = |environment: &Environment| open(&config(&[]), &spec(), environment).unwrap().location;
        assert_eq!(location(&Environment::default()), "gs:backups:/demo");
        assert_eq!(location(&emulator), "gs:backups:/demo at http://127.0.0.1:4443");
    }

    #[test]
    fn bad_keys_are_named_and_not_shown() {
        for (key, problem) in [
            ("hunter2", "is not JSON"),
            (r#"{"private_key":"hunter2"}"#, "\"type\""),
            (r#"{"type":"service_account","private_key":"hunter2"}"#, "\"client_email\""),
        ] {
            let error = open(&config(&[(KEY, key)]), &spec(), &Environment::default()).unwrap_err();
            assert!(error.contains(problem) && !error.contains("hunter2"), "{error}");
        }
        let error = open(&config(&[("key.json", "x")]), &spec(), &Environment::default()).unwrap_err();
        assert!(error.contains(KEY) && error.contains("it has key.json"), "{error}");
    }
}
