//! What a manifest restore changes in the objects that it creates, by the kind of the target.

use k8s_openapi::api::core::v1::TypedLocalObjectReference;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::shared::ObjectReference;

/// Changes to the objects of a manifest restore; only those of the target's kind count.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[expect(missing_docs, reason = "names of products")]
pub struct ManifestOptions {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload: Option<WorkloadManifestOptions>,
    #[serde(rename = "mongoDB", skip_serializing_if = "Option::is_none")]
    pub mongo_db: Option<DatabaseManifestOptions>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub postgres: Option<DatabaseManifestOptions>,
    #[serde(rename = "mySQL", skip_serializing_if = "Option::is_none")]
    pub my_sql: Option<DatabaseManifestOptions>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clickhouse: Option<DatabaseManifestOptions>,
    #[serde(rename = "mariaDB", skip_serializing_if = "Option::is_none")]
    pub maria_db: Option<DatabaseManifestOptions>,
    #[serde(rename = "msSQLServer", skip_serializing_if = "Option::is_none")]
    pub ms_sql_server: Option<MsSqlServerManifestOptions>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub druid: Option<DruidManifestOptions>,
    #[serde(rename = "zooKeeper", skip_serializing_if = "Option::is_none")]
    pub zoo_keeper: Option<DatabaseManifestOptions>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub singlestore: Option<DatabaseManifestOptions>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redis: Option<DatabaseManifestOptions>,
    #[serde(rename = "redisSentinel", skip_serializing_if = "Option::is_none")]
    pub redis_sentinel: Option<RedisSentinelManifestOptions>,
}

/// For workloads.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadManifestOptions {
    /// Namespace to restore into.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore_namespace: Option<String>,
}

/// For most databases.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_excessive_bools, reason = "the fields are KubeStash's")]
pub struct DatabaseManifestOptions {
    /// Namespace to restore into.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore_namespace: Option<String>,
    /// Whether to restore the database object.
    #[serde(default = "yes")]
    pub db: bool,
    /// New name of the database object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub db_name: Option<String>,
    /// Whether to restore the Secret with the credentials.
    #[serde(default = "yes")]
    pub auth_secret: bool,
    /// New name of that Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_secret_name: Option<String>,
    /// Whether to restore the Secret with the configuration.
    #[serde(default = "yes")]
    pub config_secret: bool,
    /// New name of that Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_secret_name: Option<String>,
    /// Whether to restore the script that initialises the database.
    #[serde(default = "yes")]
    pub init_script: bool,
    /// Whether to restore the archiver.
    #[serde(default)]
    pub archiver: bool,
    /// Another archiver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archiver_ref: Option<ObjectReference>,
    /// Another issuer of certificates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_issuer_ref: Option<TypedLocalObjectReference>,
}

impl Default for DatabaseManifestOptions {
    fn default() -> Self {
        Self {
            restore_namespace: None,
            db: true,
            db_name: None,
            auth_secret: true,
            auth_secret_name: None,
            config_secret: true,
            config_secret_name: None,
            init_script: true,
            archiver: false,
            archiver_ref: None,
            tls_issuer_ref: None,
        }
    }
}

/// For SQL Server: without a Secret for the configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_excessive_bools, reason = "the fields are KubeStash's")]
pub struct MsSqlServerManifestOptions {
    /// Namespace to restore into.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore_namespace: Option<String>,
    /// Whether to restore the database object.
    #[serde(default = "yes")]
    pub db: bool,
    /// New name of the database object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub db_name: Option<String>,
    /// Whether to restore the Secret with the credentials.
    #[serde(default = "yes")]
    pub auth_secret: bool,
    /// New name of that Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_secret_name: Option<String>,
    /// Whether to restore the script that initialises the database.
    #[serde(default = "yes")]
    pub init_script: bool,
    /// Whether to restore the archiver.
    #[serde(default)]
    pub archiver: bool,
    /// Another archiver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archiver_ref: Option<ObjectReference>,
    /// Another issuer of certificates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_issuer_ref: Option<TypedLocalObjectReference>,
}

/// For Druid: with the Secret of its deep storage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_excessive_bools, reason = "the fields are KubeStash's")]
pub struct DruidManifestOptions {
    /// Namespace to restore into.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore_namespace: Option<String>,
    /// Whether to restore the database object.
    #[serde(default = "yes")]
    pub db: bool,
    /// New name of the database object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub db_name: Option<String>,
    /// Whether to restore the Secret with the credentials.
    #[serde(default = "yes")]
    pub auth_secret: bool,
    /// New name of that Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_secret_name: Option<String>,
    /// Whether to restore the Secret with the configuration.
    #[serde(default = "yes")]
    pub config_secret: bool,
    /// New name of that Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_secret_name: Option<String>,
    /// Whether to restore the Secret of the deep storage.
    #[serde(default = "yes")]
    pub deep_storage_secret: bool,
}

/// For Redis Sentinel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RedisSentinelManifestOptions {
    /// Namespace to restore into.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore_namespace: Option<String>,
    /// Whether to restore the sentinel object.
    #[serde(default = "yes")]
    pub sentinel: bool,
    /// New name of the sentinel object. (The capital S is KubeStash's.)
    #[serde(rename = "SentinelName", default, skip_serializing_if = "Option::is_none")]
    pub sentinel_name: Option<String>,
    /// Whether to restore the Secret with the credentials.
    #[serde(default = "yes")]
    pub auth_secret: bool,
    /// New name of that Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_secret_name: Option<String>,
    /// Another issuer of certificates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_issuer_ref: Option<TypedLocalObjectReference>,
}

fn yes() -> bool {
    true
}
