//! BackupStorages with their Secrets, and the repositories in them.

use coffer_api::plan::{Destination, SecretData, StorageConfig};
use coffer_api::shared::ObjectReference;
use coffer_api::storage::{BackupStorage, Provider, Repository};
use coffer_api::usage::default_for;
use coffer_api::{ResourceExt, names};
use secrecy::SecretString;

use crate::directory::qualified;
use crate::error::{ErrorKind, ResolveError, listed};
use crate::reader::{self, Reader};
use crate::repository::of_object;
use crate::secrets;
use crate::usage;

/// Key of the repository password in an encryption Secret.
pub const PASSWORD_KEY: &str = "RESTIC_PASSWORD";

/// One restic repository, before its Secrets are read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Location {
    /// Name and namespace of the Repository.
    pub(crate) repository: String,
    pub(crate) namespace: String,
    /// The BackupStorage.
    pub(crate) storage_namespace: String,
    pub(crate) storage: String,
    /// Directory of the Repository, as given.
    pub(crate) directory: String,
    pub(crate) session: String,
    pub(crate) component: String,
    /// Namespace and name of the encryption Secret.
    pub(crate) encryption: Option<(String, String)>,
}

impl Location {
    pub(crate) fn path(&self) -> String {
        names::join_path(&[&self.directory, &names::component_path(&self.session, &self.component)])
    }

    /// Reads storage and Secrets. `namespace` is the one that refers to the storage.
    pub(crate) fn destination(&self, reader: &dyn Reader, namespace: &str) -> Result<Destination, ResolveError> {
        let storage = reader::get::<BackupStorage>(reader, &self.storage_namespace, &self.storage)?;
        let storage = storage.ok_or_else(|| self.missing_storage(reader))?;
        let policy = storage.spec.usage_policy.as_ref();
        usage::check(reader, policy, ("BackupStorage", &self.storage_namespace, &self.storage), namespace)?;
        Ok(Destination {
            repository: self.repository.clone(),
            namespace: self.namespace.clone(),
            storage: config(reader, &storage, &self.storage_namespace)?,
            path: self.path(),
            password: self.password(reader)?,
        })
    }

    fn password(&self, reader: &dyn Reader) -> Result<SecretString, ResolveError> {
        let purpose = format!("the encryption of Repository {}", qualified(&self.namespace, &self.repository));
        let (namespace, name) = self.encryption.as_ref().ok_or_else(|| {
            ResolveError::new(
                ErrorKind::Missing,
                format!("Repository {} has no encryptionSecret", qualified(&self.namespace, &self.repository)),
                "every repository is encrypted",
                format!("set encryptionSecret to a Secret with the key {PASSWORD_KEY}"),
            )
        })?;
        let data = secrets::secret(reader, namespace, name, &purpose, &[PASSWORD_KEY])?;
        secrets::required(&data, PASSWORD_KEY, namespace, name, &purpose)
    }

    fn missing_storage(&self, reader: &dyn Reader) -> ResolveError {
        let known = match reader::list::<BackupStorage>(reader, None) {
            Ok(all) => listed(all.iter().map(|one| qualified(&one.namespace().unwrap_or_default(), &one.name_any()))),
            Err(_) => "not known, they cannot be listed".to_owned(),
        };
        ResolveError::new(
            ErrorKind::Missing,
            format!("BackupStorage {} not found", qualified(&self.storage_namespace, &self.storage)),
            format!("Repository {} is to be in it; there are: {known}", self.repository),
            "add its manifest, or correct storageRef",
        )
    }
}

/// A BackupStorage with its Secret, by name.
pub fn storage(reader: &dyn Reader, namespace: &str, name: &str) -> Result<StorageConfig, ResolveError> {
    let object = reader::get::<BackupStorage>(reader, namespace, name)?.ok_or_else(|| {
        ResolveError::new(
            ErrorKind::Missing,
            format!("BackupStorage {} not found", qualified(namespace, name)),
            format!("it is not in {}", reader.place()),
            "add its manifest, or correct storageRef",
        )
    })?;
    config(reader, &object, namespace)
}

/// The restic repository of a session and a snapshot component in a Repository, as the Repository itself says.
pub fn destination(
    reader: &dyn Reader,
    repository: &Repository,
    (session, component): (&str, &str),
) -> Result<Destination, ResolveError> {
    let namespace = repository.namespace().unwrap_or_default();
    let known = of_object(repository, &[]);
    let any = known.first().ok_or_else(|| {
        ResolveError::new(
            ErrorKind::Invalid,
            format!("Repository {} cannot be used", qualified(&namespace, &repository.name_any())),
            "it has no storageRef or no path",
            "correct it",
        )
    })?;
    let location = Location { session: session.to_owned(), component: component.to_owned(), ..any.clone() };
    location.destination(reader, &namespace)
}

/// A storage with its Secret.
fn config(reader: &dyn Reader, storage: &BackupStorage, namespace: &str) -> Result<StorageConfig, ResolveError> {
    let name = storage.name_any();
    let this = format!("BackupStorage {}", qualified(namespace, &name));
    let spec = &storage.spec.storage;
    let provider = spec.provider().map_err(|error| {
        ResolveError::new(ErrorKind::Invalid, format!("{this} cannot be used"), error.to_string(), "correct it")
    })?;
    let keys: &[&str] = match provider {
        Provider::S3(_) => &["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"],
        Provider::Gcs(_) => &["GOOGLE_SERVICE_ACCOUNT_JSON_KEY"],
        Provider::Azure(_) => &["AZURE_ACCOUNT_KEY"],
        Provider::Local(_) => &[],
    };
    let secret = match spec.secret_name() {
        None => SecretData::default(),
        Some(secret) => {
            let data = secrets::secret(reader, namespace, secret, &this, keys)?;
            // A Secret may hold nothing but the CA of a service that takes its credentials from the environment.
            let ca_only = data.get("CA_CERT_DATA").is_some() && keys.iter().all(|key| data.get(key).is_none());
            if !ca_only {
                for key in keys {
                    secrets::required(&data, key, namespace, secret, &this)?;
                }
            }
            data
        }
    };
    Ok(StorageConfig { name, namespace: namespace.to_owned(), spec: spec.clone(), secret })
}

/// The storage of objects in `namespace` that name none.
pub(crate) fn default_storage(reader: &dyn Reader, namespace: &str) -> Result<Option<ObjectReference>, ResolveError> {
    let storages = reader::list::<BackupStorage>(reader, None)?;
    let storage = default_for(&storages, namespace, || reader.namespace_labels(namespace))?;
    Ok(storage.map(|storage| ObjectReference { namespace: storage.namespace(), name: storage.name_any() }))
}
