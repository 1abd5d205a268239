//! Where resources come from.

use std::collections::BTreeMap;

use coffer_api::ResourceExt;
use coffer_api::addons::{Addon, Function};
use coffer_api::appcatalog::AppBinding;
use coffer_api::core::{BackupConfiguration, BackupSession, RestoreSession};
use coffer_api::plan::SecretData;
use coffer_api::storage::{BackupStorage, Repository, RetentionPolicy, Snapshot};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{ErrorKind, ResolveError};

/// The kinds that plans are made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "names of kinds")]
pub enum Kind {
    Addon,
    Function,
    BackupStorage,
    RetentionPolicy,
    Repository,
    Snapshot,
    BackupConfiguration,
    BackupSession,
    RestoreSession,
    AppBinding,
}

impl Kind {
    /// The name in a manifest.
    pub fn name(self) -> &'static str {
        match self {
            Self::Addon => "Addon",
            Self::Function => "Function",
            Self::BackupStorage => "BackupStorage",
            Self::RetentionPolicy => "RetentionPolicy",
            Self::Repository => "Repository",
            Self::Snapshot => "Snapshot",
            Self::BackupConfiguration => "BackupConfiguration",
            Self::BackupSession => "BackupSession",
            Self::RestoreSession => "RestoreSession",
            Self::AppBinding => "AppBinding",
        }
    }

    /// Whether objects of this kind live in a namespace.
    pub fn namespaced(self) -> bool {
        !matches!(self, Self::Addon | Self::Function)
    }
}

/// Where resources come from: a directory of manifests, or a cluster.
///
/// Cluster-scoped objects have the namespace `""`. An object that does not exist is `None`; an `Err` means that nobody knows.
pub trait Reader {
    /// One object as JSON.
    fn get(&self, kind: Kind, namespace: &str, name: &str) -> Result<Option<Value>, ResolveError>;

    /// All objects of a kind, of one namespace or of all, sorted by namespace and name.
    fn list(&self, kind: Kind, namespace: Option<&str>) -> Result<Vec<Value>, ResolveError>;

    /// The decoded content of a Secret.
    fn secret(&self, namespace: &str, name: &str) -> Result<Option<SecretData>, ResolveError>;

    /// The labels of a namespace; `None` if it is not known.
    fn namespace_labels(&self, namespace: &str) -> Result<Option<BTreeMap<String, String>>, ResolveError>;

    /// Whether there is an object of a kind that plans are not made from, such as KubeDB's `MySQL`. For messages only.
    fn saw(&self, _kind: &str, _namespace: &str, _name: &str) -> bool {
        false
    }

    /// Where this reader looks, for messages: `the manifests in ./demo`.
    fn place(&self) -> String;
}

/// A resource of a [`Kind`].
pub trait Object: DeserializeOwned {
    /// Its kind.
    const KIND: Kind;
}

macro_rules! objects {
    ($($kind:ident)*) => { $(impl Object for $kind { const KIND: Kind = Kind::$kind; })* };
}

objects! {
    Addon Function BackupStorage RetentionPolicy Repository Snapshot BackupConfiguration BackupSession RestoreSession
    AppBinding
}

/// One object, typed.
pub fn get<T: Object>(reader: &dyn Reader, namespace: &str, name: &str) -> Result<Option<T>, ResolveError> {
    reader.get(T::KIND, namespace, name)?.map(|value| typed(value, reader)).transpose()
}

/// All objects of a type, of one namespace or of all.
pub fn list<T: Object>(reader: &dyn Reader, namespace: Option<&str>) -> Result<Vec<T>, ResolveError> {
    reader.list(T::KIND, namespace)?.into_iter().map(|value| typed(value, reader)).collect()
}

/// The names of all objects of a type, for the text of an error. That they cannot be listed must not hide what the error is about.
pub(crate) fn names<T: Object + ResourceExt>(reader: &dyn Reader, namespace: Option<&str>) -> Vec<String> {
    match list::<T>(reader, namespace) {
        Ok(objects) => objects.iter().map(ResourceExt::name_any).collect(),
        Err(_) => vec!["(they cannot be listed)".to_owned()],
    }
}

fn typed<T: Object>(value: Value, reader: &dyn Reader) -> Result<T, ResolveError> {
    let name = value.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned();
    serde_json::from_value(value).map_err(|error| {
        ResolveError::new(
            ErrorKind::Malformed,
            format!("cannot read {} {name} from {}", T::KIND.name(), reader.place()),
            error.to_string(),
            "correct the field",
        )
    })
}
