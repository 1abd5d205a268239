//! A directory of manifests as a [`Reader`].

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use coffer_api::plan::SecretData;
use coffer_api::{addons, appcatalog, core, size, storage};
use serde::Serialize;
use serde_json::Value;

use crate::error::{ErrorKind, ResolveError};
use crate::manifest::{self, Manifest};
use crate::reader::{Kind, Object, Reader};

/// The namespace of an object that names none.
pub const DEFAULT_NAMESPACE: &str = "default";

/// The largest file of manifests that is read. An API server takes no object above some 3 MiB.
const LARGEST: u64 = 64 << 20;

/// Kinds of our groups that plans are not made from. Manifests may hold them.
const OTHER_KINDS: [&str; 5] =
    ["BackupBatch", "BackupBlueprint", "HookTemplate", "BackupVerifier", "BackupVerificationSession"];

type Key = (Kind, String, String);

/// The objects of a directory of manifests, read once.
#[derive(Debug, Default)]
pub struct Directory {
    place: String,
    objects: BTreeMap<Key, Value>,
    secrets: BTreeMap<(String, String), SecretData>,
    namespaces: BTreeMap<String, BTreeMap<String, String>>,
    other: Vec<OtherObject>,
    sources: BTreeMap<(String, String, String, String), String>,
}

/// An object of a kind that plans are not made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherObject {
    /// API group.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl Directory {
    /// Reads the `.yaml`, `.yml` and `.json` files of a directory and of all below it, or a single file of any name.
    pub fn read(path: &Path) -> Result<Self, ResolveError> {
        Self::read_all(&[path])
    }

    /// Reads several directories and files as one.
    pub fn read_all<P: AsRef<Path>>(paths: &[P]) -> Result<Self, ResolveError> {
        let (mut seen, mut files) = (BTreeSet::new(), Vec::new());
        let unreadable = |path: &Path, error: &std::io::Error| {
            ResolveError::new(
                ErrorKind::Unreadable,
                format!("cannot read manifests from {}", path.display()),
                error.to_string(),
                "name a directory with manifests, or a file, that exists and is readable",
            )
        };
        for path in paths {
            let path = path.as_ref();
            let metadata = fs::metadata(path).map_err(|error| unreadable(path, &error))?;
            if metadata.is_dir() {
                collect(path, &mut seen, &mut files).map_err(|(path, error)| unreadable(&path, &error))?;
            } else {
                files.push(path.to_owned());
            }
        }
        files.sort();
        files.dedup();
        let names: Vec<_> = paths.iter().map(|path| path.as_ref().display().to_string()).collect();
        let names = names.join(", ");
        let mut directory = Self { place: format!("the manifests in {names}"), ..Self::default() };
        for file in &files {
            let mut bytes = Vec::new();
            let read = File::open(file).and_then(|open| open.take(LARGEST + 1).read_to_end(&mut bytes));
            let length = read.map_err(|error| unreadable(file, &error))?;
            let refused = |why: String| {
                let what = format!("{}: not a manifest", file.display());
                ResolveError::new(ErrorKind::Malformed, what, why, "correct or remove the file")
            };
            if length as u64 > LARGEST {
                return Err(refused(format!("it is larger than {}", size::format(LARGEST))));
            }
            let text = String::from_utf8(bytes).map_err(|_| refused("it is not UTF-8 text".to_owned()))?;
            directory.add(&file.display().to_string(), &text)?;
        }
        if directory.is_empty() {
            return Err(ResolveError::new(
                ErrorKind::Missing,
                format!("no manifests in {names}"),
                "there is no object in any .yaml, .yml or .json file",
                "name a directory with a BackupConfiguration and what it refers to",
            ));
        }
        Ok(directory)
    }

    /// Takes objects from texts; each comes with a name for messages.
    pub fn from_texts<'a>(texts: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, ResolveError> {
        let mut directory = Self { place: "the manifests".to_owned(), ..Self::default() };
        for (name, text) in texts {
            directory.add(name, text)?;
        }
        Ok(directory)
    }

    /// Objects of kinds that plans are not made from, such as a `MySQL` of KubeDB or a Deployment.
    pub fn other_objects(&self) -> &[OtherObject] {
        &self.other
    }

    /// Whether it holds no object at all.
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    fn add(&mut self, file: &str, text: &str) -> Result<(), ResolveError> {
        for manifest in manifest::parse(file, text)? {
            self.insert(&manifest)?;
        }
        Ok(())
    }

    fn insert(&mut self, manifest: &Manifest) -> Result<(), ResolveError> {
        let namespace = manifest.namespace.clone().unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned());
        match (manifest.group.as_str(), manifest.kind.as_str()) {
            ("", "Secret") => {
                let data = manifest.secret()?;
                self.claim(manifest, &namespace)?;
                self.secrets.insert((namespace, manifest.name.clone()), data);
                Ok(())
            }
            ("", "Namespace") => {
                self.claim(manifest, "")?;
                self.namespaces.insert(manifest.name.clone(), manifest.labels().collect());
                Ok(())
            }
            (addons::GROUP, "Addon") => self.insert_typed::<addons::Addon>(manifest, namespace),
            (addons::GROUP, "Function") => self.insert_typed::<addons::Function>(manifest, namespace),
            (storage::GROUP, "BackupStorage") => self.insert_typed::<storage::BackupStorage>(manifest, namespace),
            (storage::GROUP, "RetentionPolicy") => self.insert_typed::<storage::RetentionPolicy>(manifest, namespace),
            (storage::GROUP, "Repository") => self.insert_typed::<storage::Repository>(manifest, namespace),
            (storage::GROUP, "Snapshot") => self.insert_typed::<storage::Snapshot>(manifest, namespace),
            (core::GROUP, "BackupConfiguration") => self.insert_typed::<core::BackupConfiguration>(manifest, namespace),
            (core::GROUP, "BackupSession") => self.insert_typed::<core::BackupSession>(manifest, namespace),
            (core::GROUP, "RestoreSession") => self.insert_typed::<core::RestoreSession>(manifest, namespace),
            (appcatalog::GROUP, "AppBinding") => self.insert_typed::<appcatalog::AppBinding>(manifest, namespace),
            (core::GROUP, kind) if OTHER_KINDS.contains(&kind) => self.insert_other(manifest, namespace),
            (group, _) if group.ends_with(".kubestash.com") => Err(unknown_kind(manifest)),
            _ => self.insert_other(manifest, namespace),
        }
    }

    fn insert_typed<T: Object + Serialize>(
        &mut self,
        manifest: &Manifest,
        namespace: String,
    ) -> Result<(), ResolveError> {
        if manifest.version != "v1alpha1" {
            return Err(ResolveError::new(
                ErrorKind::Malformed,
                format!("{}: cannot read {} {}", manifest.source, manifest.kind, manifest.name),
                format!("the version {} of {} is not known", manifest.version, manifest.group),
                format!("write apiVersion: {}/v1alpha1", manifest.group),
            ));
        }
        manifest.typed::<T>()?;
        let namespace = if T::KIND.namespaced() { namespace } else { String::new() };
        self.claim(manifest, &namespace)?;
        let mut content = manifest.content.clone();
        if let Some(metadata) =
            content.get_mut("metadata").and_then(Value::as_object_mut).filter(|_| T::KIND.namespaced())
        {
            metadata.insert("namespace".to_owned(), Value::String(namespace.clone()));
        }
        self.objects.insert((T::KIND, namespace, manifest.name.clone()), content);
        Ok(())
    }

    fn insert_other(&mut self, manifest: &Manifest, namespace: String) -> Result<(), ResolveError> {
        self.claim(manifest, &namespace)?;
        self.other.push(OtherObject {
            group: manifest.group.clone(),
            kind: manifest.kind.clone(),
            namespace,
            name: manifest.name.clone(),
        });
        Ok(())
    }

    /// Refuses a second object of the same identity.
    fn claim(&mut self, manifest: &Manifest, namespace: &str) -> Result<(), ResolveError> {
        let key = (manifest.group.clone(), manifest.kind.clone(), namespace.to_owned(), manifest.name.clone());
        match self.sources.insert(key, manifest.source.clone()) {
            None => Ok(()),
            Some(first) => Err(ResolveError::new(
                ErrorKind::Ambiguous,
                format!("{}: {} {} exists twice", manifest.source, manifest.kind, qualified(namespace, &manifest.name)),
                format!("it is also in {first}"),
                "remove or rename one of them",
            )),
        }
    }
}

impl Reader for Directory {
    fn get(&self, kind: Kind, namespace: &str, name: &str) -> Result<Option<Value>, ResolveError> {
        let namespace = if kind.namespaced() { namespace } else { "" };
        Ok(self.objects.get(&(kind, namespace.to_owned(), name.to_owned())).cloned())
    }

    fn list(&self, kind: Kind, namespace: Option<&str>) -> Result<Vec<Value>, ResolveError> {
        let wanted = |key: &Key| key.0 == kind && namespace.is_none_or(|namespace| key.1 == namespace);
        Ok(self.objects.iter().filter(|(key, _)| wanted(key)).map(|(_, object)| object.clone()).collect())
    }

    fn secret(&self, namespace: &str, name: &str) -> Result<Option<SecretData>, ResolveError> {
        Ok(self.secrets.get(&(namespace.to_owned(), name.to_owned())).cloned())
    }

    fn namespace_labels(&self, namespace: &str) -> Result<Option<BTreeMap<String, String>>, ResolveError> {
        // The label that every namespace of a cluster has.
        let with_name = |mut labels: BTreeMap<String, String>| {
            labels.insert("kubernetes.io/metadata.name".to_owned(), namespace.to_owned());
            labels
        };
        Ok(self.namespaces.get(namespace).cloned().map(with_name))
    }

    fn saw(&self, kind: &str, namespace: &str, name: &str) -> bool {
        self.other.iter().any(|other| other.kind == kind && other.namespace == namespace && other.name == name)
    }

    fn place(&self) -> String {
        self.place.clone()
    }
}

fn unknown_kind(manifest: &Manifest) -> ResolveError {
    let known = match manifest.group.as_str() {
        addons::GROUP => "Addon, Function".to_owned(),
        storage::GROUP => "BackupStorage, Repository, RetentionPolicy, Snapshot".to_owned(),
        core::GROUP => format!("BackupConfiguration, BackupSession, RestoreSession, {}", OTHER_KINDS.join(", ")),
        _ => format!("none; the groups are {}, {}, {}", addons::GROUP, core::GROUP, storage::GROUP),
    };
    ResolveError::new(
        ErrorKind::Malformed,
        format!("{}: unknown kind {} in the group {}", manifest.source, manifest.kind, manifest.group),
        format!("the kinds of this group are: {known}"),
        "correct kind or apiVersion",
    )
}

/// `namespace/name`, or the name alone for cluster-scoped objects.
pub(crate) fn qualified(namespace: &str, name: &str) -> String {
    if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") }
}

/// Collects the files of a directory and of those below it that were not `seen` before: links may lead in a circle.
fn collect(
    directory: &Path,
    seen: &mut BTreeSet<PathBuf>,
    files: &mut Vec<PathBuf>,
) -> Result<(), (PathBuf, std::io::Error)> {
    let failed = |error| (directory.to_owned(), error);
    if !seen.insert(fs::canonicalize(directory).map_err(failed)?) {
        return Ok(());
    }
    for entry in fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        // Hidden entries are not the user's: editors' copies, `.git`, the `..data` of a mounted ConfigMap.
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.')) {
            continue;
        }
        let metadata = fs::metadata(&path).map_err(|error| (path.clone(), error))?;
        if metadata.is_dir() {
            collect(&path, seen, files)?;
        } else if path
            .extension()
            .is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|known| extension == *known))
        {
            files.push(path);
        }
    }
    Ok(())
}
