//! Azure Blob Storage.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use coffer_api::plan::StorageConfig;
use coffer_api::storage::AzureSpec;
use opendal::{OperationContext, Operator, services};
use secrecy::{ExposeSecret, SecretString};

use super::http::{self, Trust};
use super::{Opened, keys_found, required, secret};
use crate::environment::Environment;
use crate::path::join;

const DEFAULT_SUFFIX: &str = "core.windows.net";
const KEY: &str = "AZURE_ACCOUNT_KEY";

/// The emulator's account, which every Azure client knows: `UseDevelopmentStorage=true` stands for it.
const DEVELOPMENT_ACCOUNT: &str = "devstoreaccount1";
const DEVELOPMENT_ENDPOINT: &str = "http://127.0.0.1:10000/devstoreaccount1";
/// Published by Microsoft as part of the emulator; it protects nothing.
const DEVELOPMENT_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

pub(crate) fn open(config: &StorageConfig, spec: &AzureSpec, environment: &Environment) -> Result<Opened, String> {
    let account = required(spec.storage_account.as_deref(), "azure.storageAccount")?;
    let container = required(spec.container.as_deref(), "azure.container")?.trim_matches('/');
    let prefix = join(&[spec.prefix.as_deref().unwrap_or_default()]);
    let connection = match &environment.azure_connection_string {
        Some(text) => Connection::parse(text).filter(|connection| connection.account == account),
        None => None,
    };
    let suffix = environment.azure_endpoint_suffix.as_deref().unwrap_or(DEFAULT_SUFFIX);
    let mut endpoint = format!("https://{account}.blob.{suffix}");
    let mut location = format!("azure:{container}:/{prefix}");
    if let Some(connection) = &connection {
        endpoint.clone_from(&connection.endpoint);
        location = format!("{location} at {endpoint}");
    }
    let given = secret(config, KEY)?;
    if given.is_none() && !config.secret.is_empty() {
        return Err(format!("its Secret has no key {KEY} ({}); add it", keys_found(config)));
    }
    let ambient = connection.as_ref().and_then(|connection| connection.key.as_ref());
    let key = given.or_else(|| ambient.map(ExposeSecret::expose_secret));

    let mut builder =
        services::Azblob::default().container(container).endpoint(&endpoint).account_name(account).root(&prefix);
    if let Some(key) = key {
        if BASE64_STANDARD.decode(key).is_err() {
            return Err(format!("the key {KEY} of its Secret is not base64; copy it from the account's access keys"));
        }
        builder = builder.account_key(key);
    }
    let transport = http::transport(&endpoint, Trust::default())?;
    let operator = Operator::new(builder).map_err(|error| error.message().to_owned())?;
    let operator = operator.with_context(OperationContext::new().with_http_transport(transport));
    Ok(Opened { operator, location, max_connections: spec.max_connections })
}

/// What matters here of a connection string.
struct Connection {
    account: String,
    endpoint: String,
    key: Option<SecretString>,
}

impl Connection {
    /// `None` when it names no account, as one with a shared access signature does.
    fn parse(text: &SecretString) -> Option<Self> {
        let text = text.expose_secret();
        let get = |name: &str| {
            let pairs = text.split(';').filter_map(|pair| pair.split_once('='));
            let mut values =
                pairs.filter(|(key, _)| key.trim().eq_ignore_ascii_case(name)).map(|(_, value)| value.trim());
            values.next().filter(|value| !value.is_empty())
        };
        if get("UseDevelopmentStorage").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Some(Self {
                account: DEVELOPMENT_ACCOUNT.to_owned(),
                endpoint: DEVELOPMENT_ENDPOINT.to_owned(),
                key: Some(DEVELOPMENT_KEY.into()),
            });
        }
        let account = get("AccountName")?;
        let scheme = get("DefaultEndpointsProtocol").unwrap_or("https");
        let suffix = get("EndpointSuffix").unwrap_or(DEFAULT_SUFFIX);
        let endpoint = match get("BlobEndpoint") {
            Some(endpoint) => endpoint.trim_end_matches('/').to_owned(),
            None => format!("{scheme}://{account}.blob.{suffix}"),
        };
        Some(Self { account: account.to_owned(), endpoint, key: get("AccountKey").map(SecretString::from) })
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

    fn spec() -> AzureSpec {
        AzureSpec {
            storage_account: Some("acct".into()),
            container: Some("backups".into()),
            prefix: Some("demo".into()),
            ..AzureSpec::default()
        }
    }

    fn location(environment: &Environment) -> String {
        open(&config(&[]), &spec(), environment).unwrap().location
    }

    fn connection(text: &str) -> Environment {
        Environment { azure_connection_string: Some(text.into()), ..Environment::default() }
    }

    #[test]
    fn a_connection_string_of_the_account_sets_the_endpoint() {
        assert_eq!(location(&Environment::default()), "azure:backups:/demo");
        let own =
            "DefaultEndpointsProtocol=http;AccountName=acct;AccountKey=aHVudGVy;BlobEndpoint=http://127.0.0.1:1/acct;";
        assert_eq!(location(&connection(own)), "azure:backups:/demo at http://127.0.0.1:1/acct");
        let sovereign = "AccountName=acct;AccountKey=aHVudGVy;EndpointSuffix=core.chinacloudapi.cn";
        assert!(location(&connection(sovereign)).ends_with("https://acct.blob.core.chinacloudapi.cn"));
        let foreign = "AccountName=other;AccountKey=aHVudGVy;BlobEndpoint=http://127.0.0.1:1/other";
        assert_eq!(location(&connection(foreign)), "azure:backups:/demo", "another account's string changes nothing");
    }

    #[test]
    fn the_emulator_has_a_short_form() {
        let spec = AzureSpec { storage_account: Some(DEVELOPMENT_ACCOUNT.into()), ..spec() };
        let opened = open(&config(&[]), &spec, &connection("UseDevelopmentStorage=true")).unwrap();
        assert!(opened.location.ends_with(DEVELOPMENT_ENDPOINT), "{}", opened.location);
    }

    #[test]
    fn bad_settings_are_named() {
        let error = |secret: &[(&str, &str)], spec: &AzureSpec| {
            open(&config(secret), spec, &Environment::default()).unwrap_err()
        };
        assert!(error(&[], &AzureSpec::default()).contains("spec.storage.azure.storageAccount"));
        assert!(error(&[("key", "x")], &spec()).contains("no key AZURE_ACCOUNT_KEY"));
        let message = error(&[(KEY, "hunter2 is not base64")], &spec());
        assert!(message.contains("not base64") && !message.contains("hunter2"), "{message}");
    }
}
