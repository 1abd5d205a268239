//! What one backup or one restore needs, free of Kubernetes: the output of resolving and the input of the executor.
//!
//! Everything here is owned, `Clone` and `Send`. Secrets sit in [`secrecy`] boxes, so `Debug` of a whole plan shows none.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretBox, SecretString};

pub use crate::storage::StorageBackendSpec;

/// One backup: a target, a task and the repositories that its streams go to.
#[derive(Debug, Clone)]
pub struct BackupPlan {
    /// Name of the BackupConfiguration.
    pub configuration: String,
    /// Name of the session inside the BackupConfiguration.
    pub session: String,
    /// Namespace of the BackupConfiguration.
    pub namespace: String,
    /// The database to read.
    pub target: Target,
    /// What runs.
    pub task: TaskPlan,
    /// Where the snapshot goes: one entry per repository of the session, never empty.
    pub destinations: Vec<Destination>,
    /// What to tag each restic snapshot with.
    pub tags: Vec<String>,
    /// The longest time that the backup may take.
    pub timeout: Option<Duration>,
}

/// One restore: a snapshot of one repository back into a target.
#[derive(Debug, Clone)]
pub struct RestorePlan {
    /// Name of the RestoreSession.
    pub name: String,
    /// Namespace of the RestoreSession.
    pub namespace: String,
    /// The database to write.
    pub target: Target,
    /// What runs.
    pub task: TaskPlan,
    /// The repository to read.
    pub source: Destination,
    /// Which snapshot of it.
    pub snapshot: SnapshotChoice,
    /// The longest time that the restore may take.
    pub timeout: Option<Duration>,
}

/// The database on the other side, and how to reach it.
#[derive(Debug, Clone)]
pub struct Target {
    /// Kind in the manifests, such as `MySQL` or `AppBinding`.
    pub kind: String,
    /// Name of that object.
    pub name: String,
    /// Namespace of that object.
    pub namespace: String,
    /// Version as the AppBinding states it, such as `8.4.3`.
    pub version: Option<String>,
    /// Where the server listens.
    pub endpoint: Endpoint,
    /// Path of the connection URL without its leading slash, often a default database; may be empty.
    pub path: String,
    /// Query of the connection URL, in its order, without what [`Tls`] already says.
    pub query: Vec<(String, String)>,
    /// What to log in with.
    pub credentials: Credentials,
    /// How to secure the connection.
    pub tls: Tls,
}

/// A TCP endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Host name or IP address, the latter without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(formatter, "[{}]:{}", self.host, self.port)
        } else {
            write!(formatter, "{}:{}", self.host, self.port)
        }
    }
}

/// What to log in with.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    /// The account.
    pub username: Option<String>,
    /// Its password.
    pub password: Option<SecretString>,
}

/// How to secure the connection to a target.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    /// Whether to use TLS at all.
    pub mode: TlsMode,
    /// The certificate authorities to trust, as PEM.
    pub ca: Option<Vec<u8>>,
    /// What to present to a server that asks for a client certificate.
    pub client: Option<ClientCertificate>,
    /// The name expected in the server's certificate, if it is not the endpoint's host.
    pub server_name: Option<String>,
    /// What to check of the server's certificate.
    pub verify: Verify,
}

/// Whether to use TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum TlsMode {
    /// Never.
    Disabled,
    /// If the server offers it.
    #[default]
    Preferred,
    /// Always; a server without TLS is an error.
    Required,
}

/// What to check of a server's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Verify {
    /// Nothing.
    #[default]
    None,
    /// That a trusted authority signed it (MySQL's `VERIFY_CA`).
    Chain,
    /// That, and the name in it (MySQL's `VERIFY_IDENTITY`).
    Identity,
}

/// A client certificate with its private key.
#[derive(Debug)]
pub struct ClientCertificate {
    /// Certificate chain as PEM, leaf first.
    pub certificate: Vec<u8>,
    /// Private key as PEM.
    pub key: SecretBox<[u8]>,
}

impl Clone for ClientCertificate {
    fn clone(&self) -> Self {
        Self { certificate: self.certificate.clone(), key: copy(&self.key) }
    }
}

/// Which component runs which task, with what rights and parameters.
#[derive(Debug, Clone)]
pub struct TaskPlan {
    /// Name of the Addon.
    pub addon: String,
    /// Name of the Function.
    pub function: String,
    /// The component to run.
    pub component: ComponentRef,
    /// What the Function grants to it.
    pub permissions: Permissions,
    /// Name of the task, such as `logical-backup`.
    pub task: String,
    /// Parameters as the user gave them, over the Addon's defaults. The component's own defaults and types come on top.
    pub parameters: BTreeMap<String, String>,
    /// Name of the snapshot component, the last part of the repository path: `dump`.
    pub snapshot_component: String,
}

/// Where the code of an addon comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ComponentRef {
    /// A component inside the `coffer` binary: `builtin:mysql`.
    Builtin(String),
    /// A file: `file:///addons/mysql.wasm`.
    File(PathBuf),
}

/// A component reference that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ComponentRefError {
    /// An OCI reference; the resources allow it, this version cannot pull one.
    #[error(
        "the component reference {0:?} is an OCI reference, which is not supported yet; \
         save the component as a file and use file:///path/to/component.wasm, or use builtin:<name>"
    )]
    Oci(String),
    /// Not one of the known forms.
    #[error("the component reference {reference:?} {problem}; use builtin:<name> or file:///path/to/component.wasm")]
    Malformed {
        /// The reference as given.
        reference: String,
        /// What is wrong with it.
        problem: &'static str,
    },
}

impl FromStr for ComponentRef {
    type Err = ComponentRefError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let malformed = |problem| Err(ComponentRefError::Malformed { reference: text.to_owned(), problem });
        if text.starts_with("oci://") {
            return Err(ComponentRefError::Oci(text.to_owned()));
        }
        if let Some(name) = text.strip_prefix("builtin:") {
            let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            return if name.is_empty() || !name.chars().all(valid) {
                malformed("has no valid name (lower-case letters, digits and '-')")
            } else {
                Ok(Self::Builtin(name.to_owned()))
            };
        }
        if let Some(path) = text.strip_prefix("file://") {
            return if path.starts_with('/') {
                Ok(Self::File(PathBuf::from(path)))
            } else {
                malformed("has no absolute path (three slashes after 'file:')")
            };
        }
        malformed("has an unknown form")
    }
}

impl fmt::Display for ComponentRef {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Builtin(name) => write!(formatter, "builtin:{name}"),
            Self::File(path) => write!(formatter, "file://{}", path.display()),
        }
    }
}

/// What a Function grants to its component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permissions {
    /// May talk to the target and see its credentials.
    pub target: bool,
    /// Memory that one sandbox may use, in bytes.
    pub memory: u64,
    /// The longest time that the component may run its own code without a byte moving.
    pub cpu_deadline: Duration,
}

impl Permissions {
    /// Memory of one sandbox when the Function does not say: 128 MiB.
    pub const DEFAULT_MEMORY: u64 = 128 << 20;
    /// Deadline for the component's own code when the Function does not say.
    pub const DEFAULT_CPU_DEADLINE: Duration = Duration::from_mins(1);
}

impl Default for Permissions {
    fn default() -> Self {
        Self { target: false, memory: Self::DEFAULT_MEMORY, cpu_deadline: Self::DEFAULT_CPU_DEADLINE }
    }
}

/// One restic repository: where it is and how to decrypt it.
#[derive(Debug, Clone)]
pub struct Destination {
    /// Name of the Repository resource.
    pub repository: String,
    /// Namespace of the Repository resource.
    pub namespace: String,
    /// The storage that holds it.
    pub storage: StorageConfig,
    /// Path inside the storage, below its prefix: `<directory>/repository/v1/<session>/<component>`, no leading slash.
    pub path: String,
    /// The repository password (key `RESTIC_PASSWORD` of the encryption Secret).
    pub password: SecretString,
}

/// One BackupStorage with the content of its Secret.
#[derive(Debug, Clone)]
pub struct StorageConfig {
    /// Name of the BackupStorage.
    pub name: String,
    /// Namespace of the BackupStorage.
    pub namespace: String,
    /// Provider and its settings, as in the resource.
    pub spec: StorageBackendSpec,
    /// Content of the Secret; empty when the storage names none.
    pub secret: SecretData,
}

/// The decoded content of a Secret. `Debug` shows the keys only.
#[derive(Default)]
pub struct SecretData(BTreeMap<String, SecretBox<[u8]>>);

impl SecretData {
    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&[u8]> {
        self.0.get(key).map(ExposeSecret::expose_secret)
    }

    /// The value of `key`, if it is UTF-8. White space around it is kept.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// The keys, sorted.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Sets `key`, replacing an older value.
    pub fn insert(&mut self, key: impl Into<String>, value: Vec<u8>) {
        self.0.insert(key.into(), SecretBox::new(value.into_boxed_slice()));
    }

    /// Removes `key` and tells whether it was there.
    pub fn remove(&mut self, key: &str) -> bool {
        self.0.remove(key).is_some()
    }

    /// Moves the value of `from` to `to`, if `from` is there.
    pub fn rename(&mut self, from: &str, to: impl Into<String>) {
        if let Some(value) = self.0.remove(from) {
            self.0.insert(to.into(), value);
        }
    }

    /// Takes over every key of `other`, replacing older values.
    pub fn extend(&mut self, other: &Self) {
        self.0.extend(other.0.iter().map(|(key, value)| (key.clone(), copy(value))));
    }
}

impl Clone for SecretData {
    fn clone(&self) -> Self {
        let mut data = Self::default();
        data.extend(self);
        data
    }
}

impl fmt::Debug for SecretData {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.0.keys()).finish()
    }
}

impl<K: Into<String>, V: Into<Vec<u8>>> FromIterator<(K, V)> for SecretData {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut data = Self::default();
        for (key, value) in entries {
            data.insert(key, value.into());
        }
        data
    }
}

/// Which snapshot of a repository to restore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SnapshotChoice {
    /// The newest.
    Latest,
    /// The one with this restic id, or with an id that starts so.
    Id(String),
    /// The newest that was taken up to a moment.
    Before {
        /// The moment.
        time: Timestamp,
        /// Whether a snapshot of exactly that moment is too new.
        exclusive: bool,
    },
}

fn copy(secret: &SecretBox<[u8]>) -> SecretBox<[u8]> {
    SecretBox::new(Box::from(secret.expose_secret()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn component_references_round_trip() {
        for text in ["builtin:mysql", "file:///addons/my.wasm"] {
            assert_eq!(text.parse::<ComponentRef>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn bad_component_references_say_what_to_write() {
        let message = |text: &str| text.parse::<ComponentRef>().unwrap_err().to_string();
        assert!(message("oci://registry/x@sha256:00").contains("not supported yet"));
        for text in ["", "mysql", "builtin:", "builtin:../x", "file://relative.wasm", "https://x/y.wasm"] {
            assert!(message(text).contains("use builtin:<name>"), "{text:?}: {}", message(text));
        }
    }

    #[test]
    fn endpoints_print_with_brackets_around_ipv6() {
        assert_eq!(Endpoint { host: "db.ns.svc".into(), port: 3306 }.to_string(), "db.ns.svc:3306");
        assert_eq!(Endpoint { host: "::1".into(), port: 3306 }.to_string(), "[::1]:3306");
    }

    #[test]
    fn secret_data_hides_values_and_keeps_order_of_edits() {
        let mut data: SecretData = [("username", "root"), ("password", "hunter2")].into_iter().collect();
        data.rename("password", "pass");
        data.rename("absent", "other");
        data.insert("username", b"admin".to_vec());
        assert_eq!(data.text("pass"), Some("hunter2"));
        assert_eq!(data.clone().get("username"), Some(&b"admin"[..]));
        assert_eq!(format!("{data:?}"), r#"{"pass", "username"}"#);
        assert!(data.remove("pass") && !data.remove("pass"));
    }

    #[test]
    fn debug_of_credentials_and_certificates_shows_no_secret() {
        let credentials = Credentials { username: Some("root".into()), password: Some("hunter2".into()) };
        let client =
            ClientCertificate { certificate: b"cert".to_vec(), key: SecretBox::new(Box::from(&b"hunter2"[..])) };
        let bytes = format!("{:?}", b"hunter2");
        for text in [format!("{credentials:?}"), format!("{:?}", client.clone())] {
            assert!(!text.contains("hunter2") && !text.contains(&bytes), "{text}");
        }
    }
}
