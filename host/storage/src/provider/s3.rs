//! Amazon S3 and everything that speaks its protocol.

use coffer_api::plan::StorageConfig;
use coffer_api::storage::S3Spec;
use opendal::{OperationContext, Operator, services};

use super::http::{self, Trust};
use super::{Opened, keys_found, optional, required, secret};
use crate::environment::Environment;
use crate::path::join;

const DEFAULT_ENDPOINT: &str = "https://s3.amazonaws.com";
const DEFAULT_REGION: &str = "us-east-1";

pub(crate) fn open(config: &StorageConfig, spec: &S3Spec, environment: &Environment) -> Result<Opened, String> {
    let bucket = required(spec.bucket.as_deref(), "s3.bucket")?.trim_matches('/');
    let endpoint = endpoint(spec.endpoint.as_deref());
    let keys = keys(config)?;
    let region = region(spec.region.as_deref(), &endpoint, keys.is_none(), environment);
    let prefix = join(&[spec.prefix.as_deref().unwrap_or_default()]);
    let location = format!("s3:{endpoint}/{}", join(&[bucket, &prefix]));

    let mut builder = services::S3::default().bucket(bucket).endpoint(&endpoint).region(&region).root(&prefix);
    if let Some(keys) = &keys {
        // With keys at hand nothing else is asked: no profile, no metadata service of a cloud.
        builder =
            builder.access_key_id(keys.id).secret_access_key(keys.key).disable_config_load().disable_ec2_metadata();
        if let Some(token) = keys.token {
            builder = builder.session_token(token);
        }
    }
    let authorities = secret(config, "CA_CERT_DATA")?.map(str::as_bytes);
    let trust = Trust { authorities, anything: spec.insecure_tls.unwrap_or(false) };
    let transport = http::transport(&endpoint, trust)?;
    let operator = Operator::new(builder).map_err(|error| error.message().to_owned())?;
    let operator = operator.with_context(OperationContext::new().with_http_transport(transport));
    Ok(Opened { operator, location, max_connections: spec.max_connections })
}

struct Keys<'a> {
    id: &'a str,
    key: &'a str,
    token: Option<&'a str>,
}

/// The keys of the Secret; `None` means the default chain (environment, profile, web identity, instance).
fn keys(config: &StorageConfig) -> Result<Option<Keys<'_>>, String> {
    let token = secret(config, "AWS_SESSION_TOKEN")?;
    match (secret(config, "AWS_ACCESS_KEY_ID")?, secret(config, "AWS_SECRET_ACCESS_KEY")?) {
        (Some(id), Some(key)) => Ok(Some(Keys { id, key, token })),
        (None, None) => Ok(None),
        (id, _) => {
            let missing = if id.is_none() { "AWS_ACCESS_KEY_ID" } else { "AWS_SECRET_ACCESS_KEY" };
            Err(format!("its Secret has no key {missing} ({}); add it", keys_found(config)))
        }
    }
}

/// With a scheme, and without a slash at the end.
fn endpoint(endpoint: Option<&str>) -> String {
    let Some(endpoint) = optional(endpoint) else { return DEFAULT_ENDPOINT.to_owned() };
    let endpoint = endpoint.trim_end_matches('/');
    if endpoint.contains("://") { endpoint.to_owned() } else { format!("https://{endpoint}") }
}

/// As given; else as the host name says (`s3.eu-west-1.amazonaws.com`); else, without keys, as the environment says.
fn region(region: Option<&str>, endpoint: &str, ambient: bool, environment: &Environment) -> String {
    let of_host = || {
        let host = endpoint.split_once("://").map_or(endpoint, |(_, host)| host);
        let host = host.split(['/', ':']).next()?;
        let inner = host.strip_suffix(".amazonaws.com").or_else(|| host.strip_suffix(".amazonaws.com.cn"))?;
        let region = inner.strip_prefix("s3.").or_else(|| inner.strip_prefix("s3-"))?;
        let region = region.strip_prefix("dualstack.").unwrap_or(region);
        Some(region.to_owned()).filter(|region| !region.is_empty())
    };
    let of_environment = || if ambient { environment.aws_region.clone() } else { None };
    let given = optional(region).map(str::to_owned);
    given.or_else(of_host).or_else(of_environment).unwrap_or_else(|| DEFAULT_REGION.to_owned())
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

    fn spec() -> S3Spec {
        S3Spec { bucket: Some("backups".into()), prefix: Some("/team//a/".into()), ..S3Spec::default() }
    }

    #[test]
    fn endpoints_get_a_scheme() {
        assert_eq!(endpoint(None), "https://s3.amazonaws.com");
        assert_eq!(endpoint(Some("minio.local:9000/")), "https://minio.local:9000");
        assert_eq!(endpoint(Some("http://127.0.0.1:9000")), "http://127.0.0.1:9000");
    }

    #[test]
    fn regions_come_from_the_spec_the_host_or_the_environment() {
        let environment = Environment { aws_region: Some("eu-north-1".into()), ..Environment::default() };
        let region = |given, host, ambient| region(given, host, ambient, &environment);
        assert_eq!(region(Some("fr-par"), "https://s3.eu-west-1.amazonaws.com", true), "fr-par");
        assert_eq!(region(None, "https://s3.eu-west-1.amazonaws.com", true), "eu-west-1");
        assert_eq!(region(None, "https://s3.dualstack.us-west-2.amazonaws.com", true), "us-west-2");
        assert_eq!(region(None, "https://s3.amazonaws.com", true), "eu-north-1");
        assert_eq!(region(None, "https://minio.local:9000", false), "us-east-1");
    }

    #[test]
    fn locations_are_restics_urls_without_double_slashes() {
        let opened = open(
            &config(&[("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "hunter2\n")]),
            &S3Spec { endpoint: Some("http://127.0.0.1:9000/".into()), ..spec() },
            &Environment::default(),
        );
        let opened = opened.unwrap();
        assert_eq!(opened.location, "s3:http://127.0.0.1:9000/backups/team/a");
        assert!(!format!("{opened:?}").contains("hunter2"));
    }

    #[test]
    fn half_a_pair_of_keys_is_named() {
        let error = open(&config(&[("AWS_ACCESS_KEY_ID", "id")]), &spec(), &Environment::default()).unwrap_err();
        assert!(
            error.contains("no key AWS_SECRET_ACCESS_KEY") && error.contains("it has AWS_ACCESS_KEY_ID"),
            "{error}"
        );
    }

    #[test]
    fn a_bucket_is_required() {
        let error = open(&config(&[]), &S3Spec::default(), &Environment::default()).unwrap_err();
        assert!(error.contains("spec.storage.s3.bucket"), "{error}");
    }
}
