//! A directory.

use std::path::Path;

use coffer_api::storage::LocalSpec;
use opendal::{Operator, services};

use super::{Opened, optional};
use crate::layers::{AtomicLayer, SubdirectoryLayer};
use crate::path::{escapes, join};

/// Where the volume of a `local` storage is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LocalRoot {
    /// At its own place on this machine, as for the command line: `hostPath.path` with `subPath` below it. Other
    /// kinds of volume have no place of their own; they are expected at `mountPath`, mounted by hand.
    HostPath,
    /// At `mountPath`, as in a pod. `subPath` was applied when the volume was mounted.
    MountPath,
}

pub(crate) fn open(spec: &LocalSpec, root: LocalRoot) -> Result<Opened, String> {
    let directory = directory(spec, root)?;
    let operator = Operator::new(services::Fs::default().root("/")).map_err(|error| error.message().to_owned())?;
    let mut operator = operator.layer(AtomicLayer);
    if !directory.is_empty() {
        operator = operator.layer(SubdirectoryLayer::new(&directory));
    }
    let directory = format!("/{directory}");
    // A file in its place would otherwise read like an empty directory.
    if Path::new(&directory).is_file() {
        return Err(format!("{directory} is a file; name a directory"));
    }
    Ok(Opened { operator, location: directory, max_connections: spec.max_connections })
}

/// The absolute path without its first slash.
fn directory(spec: &LocalSpec, root: LocalRoot) -> Result<String, String> {
    let host = spec.volume.host_path.as_ref().map(|volume| volume.path.as_str());
    let (field, base, below) = match (root, host) {
        (LocalRoot::HostPath, Some(path)) => ("hostPath.path", Some(path), spec.sub_path.as_deref()),
        _ => ("mountPath", spec.mount_path.as_deref(), None),
    };
    let base = optional(base).ok_or_else(|| format!("spec.storage.local.{field} is empty; set it to a directory"))?;
    if !base.starts_with('/') {
        return Err(format!("spec.storage.local.{field} is {base:?}, which is not absolute; start it with '/'"));
    }
    if escapes(base) || below.is_some_and(escapes) {
        return Err(format!("spec.storage.local.{field} or its subPath has a '..'; write the path without it"));
    }
    Ok(join(&[base, below.unwrap_or_default()]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use coffer_api::k8s_openapi::api::core::v1::HostPathVolumeSource;
    use coffer_api::volume::VolumeSource;

    fn spec(host: Option<&str>, mount: Option<&str>, sub: Option<&str>) -> LocalSpec {
        let host_path = host.map(|path| HostPathVolumeSource { path: path.into(), type_: None });
        LocalSpec {
            volume: VolumeSource { host_path, ..VolumeSource::default() },
            mount_path: mount.map(Into::into),
            sub_path: sub.map(Into::into),
            max_connections: None,
        }
    }

    #[test]
    fn the_root_is_where_the_volume_is() {
        let both = spec(Some("/var//backups/"), Some("/mnt/b"), Some("team"));
        assert_eq!(directory(&both, LocalRoot::HostPath).unwrap(), "var/backups/team");
        assert_eq!(directory(&both, LocalRoot::MountPath).unwrap(), "mnt/b");
        assert_eq!(directory(&spec(None, Some("/mnt/nfs"), None), LocalRoot::HostPath).unwrap(), "mnt/nfs");
    }

    #[test]
    fn unusable_directories_are_named() {
        let error = |spec: &LocalSpec| directory(spec, LocalRoot::HostPath).unwrap_err();
        assert!(error(&spec(Some("relative"), None, None)).contains("not absolute"));
        assert!(error(&spec(Some("/a/../b"), None, None)).contains("'..'"));
        assert!(error(&spec(None, None, None)).contains("spec.storage.local.mountPath is empty"));
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = open(&spec(file.path().to_str(), None, None), LocalRoot::HostPath).unwrap_err();
        assert!(error.contains("is a file"), "{error}");
    }
}
