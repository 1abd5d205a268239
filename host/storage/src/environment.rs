//! The variables of the process that matter to a storage beyond what a BackupStorage can say.

use secrecy::SecretString;

/// Overrides for endpoints, as other clients of the same services know them.
///
/// The KubeStash API has no field for the endpoint of Google's or Azure's storage, so emulators, private and sovereign clouds
/// are reached as everywhere else: through the environment.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// `STORAGE_EMULATOR_HOST`: a GCS emulator, `host:port` or a URL. Requests to it are not signed.
    pub storage_emulator_host: Option<String>,
    /// `AZURE_STORAGE_CONNECTION_STRING`: its endpoint is used when its account is the one of the BackupStorage, and
    /// its key when the BackupStorage names no Secret.
    pub azure_connection_string: Option<SecretString>,
    /// `AZURE_ENDPOINT_SUFFIX`: the domain of Azure's storage instead of `core.windows.net`, as restic has it.
    pub azure_endpoint_suffix: Option<String>,
    /// `AWS_REGION` or `AWS_DEFAULT_REGION`, for storages without a region.
    pub aws_region: Option<String>,
}

impl Environment {
    /// Reads the variables of this process.
    pub fn of_process() -> Self {
        let read = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
        Self {
            storage_emulator_host: read("STORAGE_EMULATOR_HOST"),
            azure_connection_string: read("AZURE_STORAGE_CONNECTION_STRING").map(SecretString::from),
            azure_endpoint_suffix: read("AZURE_ENDPOINT_SUFFIX"),
            aws_region: read("AWS_REGION").or_else(|| read("AWS_DEFAULT_REGION")),
        }
    }
}
