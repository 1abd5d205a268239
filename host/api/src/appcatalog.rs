//! Group `appcatalog.appscode.com`: AppBinding, how to reach an application.

use std::fmt;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::LocalObjectReference;
use kube::CustomResource;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::shared::{FreeForm, TypedObjectReference};

/// The API group of this module.
pub const GROUP: &str = "appcatalog.appscode.com";

/// How to reach an application.
#[derive(CustomResource, Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "appcatalog.appscode.com",
    version = "v1alpha1",
    kind = "AppBinding",
    plural = "appbindings",
    singular = "appbinding",
    namespaced,
    category = "catalog",
    category = "appscode",
    category = "all",
    label("app.kubernetes.io/name", "catalog"),
    derive = "Default",
    derive = "PartialEq",
    printcolumn = r#"{"name":"Type","type":"string","jsonPath":".spec.type"}"#,
    printcolumn = r#"{"name":"Version","type":"string","jsonPath":".spec.version"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct AppBindingSpec {
    /// Type of the application, such as `kubedb.com/mysql` or `mysql`.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub type_: Option<String>,
    /// Version of the application.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The object that it stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_ref: Option<TypedObjectReference>,
    /// Where the application listens.
    pub client_config: ClientConfig,
    /// Secret with the credentials, in the same namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretReference>,
    /// Changes to the content of the Secret, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secret_transforms: Vec<SecretTransform>,
    /// Secret with `tls.crt`, `tls.key` and `ca.crt`, in the same namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_secret: Option<SecretReference>,
    /// Anything else that clients of this type want to know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<FreeForm>,
}

/// Where an application listens.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClientConfig {
    /// A URL; `service` goes before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// A Service of the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceReference>,
    /// Certificate authorities to trust, as PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "optional_bytes")]
    pub ca_bundle: Option<ByteString>,
    /// Whether to accept any certificate.
    #[serde(rename = "insecureSkipTLSVerify", default, skip_serializing_if = "Option::is_none")]
    pub insecure_skip_tls_verify: Option<bool>,
    /// The name expected in the server's certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
}

impl fmt::Debug for ClientConfig {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A URL may hold a password.
        formatter
            .debug_struct("ClientConfig")
            .field("url", &self.url.as_ref().map(|_| "[REDACTED]"))
            .field("service", &self.service)
            .field("ca_bundle", &self.ca_bundle.as_ref().map(|bundle| bundle.0.len()))
            .field("insecure_skip_tls_verify", &self.insecure_skip_tls_verify)
            .field("server_name", &self.server_name)
            .finish()
    }
}

fn optional_bytes(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "format": "byte", "nullable": true })
}

/// A Service of the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceReference {
    /// Scheme of the URL.
    pub scheme: String,
    /// Namespace; the AppBinding's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
    /// Port.
    pub port: i32,
    /// Path of the URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Query of the URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
}

/// A Secret (or another kind that holds credentials) in the same namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretReference {
    /// API group; empty for a Secret.
    #[serde(default)]
    pub api_group: String,
    /// Kind.
    #[serde(default = "secret")]
    pub kind: String,
    /// Name.
    pub name: String,
}

fn secret() -> String {
    "Secret".to_owned()
}

/// A change to the content of a Secret: one of the four.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretTransform {
    /// Adds or replaces a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub add_key: Option<AddKey>,
    /// Adds or replaces the keys of another Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub add_keys_from: Option<AddKeysFrom>,
    /// Renames a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rename_key: Option<RenameKey>,
    /// Removes a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remove_key: Option<RemoveKey>,
}

impl fmt::Debug for SecretTransform {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SecretTransform")
            .field("add_key", &self.add_key.as_ref().map(|add| &add.key))
            .field("add_keys_from", &self.add_keys_from)
            .field("rename_key", &self.rename_key)
            .field("remove_key", &self.remove_key)
            .finish()
    }
}

/// A key to add. No `Debug`: the value may be a secret.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(missing_debug_implementations, reason = "the value may be a secret")]
pub struct AddKey {
    /// The key.
    pub key: String,
    /// Its value as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub string_value: Option<String>,
    /// Its value as bytes; goes before the text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "optional_bytes")]
    pub value: Option<ByteString>,
}

/// A Secret to add the keys of.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AddKeysFrom {
    /// The Secret, in the same namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<LocalObjectReference>,
}

/// A key to rename.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RenameKey {
    /// The old key.
    pub from: String,
    /// The new key.
    pub to: String,
}

/// A key to remove.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RemoveKey {
    /// The key.
    pub key: String,
}
