//! The volumes of a Job: local storages, and what tasks bring along.

use coffer_api::addons::Task;
use coffer_api::core::TaskReference;
use coffer_api::storage::{BackupStorage, Provider};
use coffer_api::volume::VolumeSource;
use k8s_openapi::api::core::v1::{EmptyDirVolumeSource, Volume, VolumeMount};
use kube::ResourceExt as _;

use crate::error::Error;

/// Volumes and where they are mounted.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Volumes {
    pub(crate) volumes: Vec<Volume>,
    pub(crate) mounts: Vec<VolumeMount>,
}

impl Volumes {
    /// The only writable place of every pod: an empty `/tmp`.
    pub(crate) fn scratch() -> Self {
        let mount = VolumeMount { name: "tmp".to_owned(), mount_path: "/tmp".to_owned(), ..VolumeMount::default() };
        let volume =
            Volume { name: "tmp".to_owned(), empty_dir: Some(EmptyDirVolumeSource::default()), ..Volume::default() };
        Self { volumes: vec![volume], mounts: vec![mount] }
    }

    /// Adds the volumes of local storages. Storages that are elsewhere need none.
    pub(crate) fn storages<'a>(mut self, storages: impl IntoIterator<Item = &'a BackupStorage>) -> Result<Self, Error> {
        for storage in storages {
            let Ok(Provider::Local(local)) = storage.spec.storage.provider() else { continue };
            let path = local.mount_path.clone().filter(|path| !path.is_empty()).ok_or_else(|| Error::Malformed {
                field: "spec.storage.local.mountPath",
                why: format!("BackupStorage {} has none", storage.name_any()),
            })?;
            let name = format!("storage-{}", self.volumes.len());
            let mount = VolumeMount {
                name: name.clone(),
                mount_path: path,
                sub_path: local.sub_path.clone().filter(|path| !path.is_empty()),
                ..VolumeMount::default()
            };
            // Several repositories in one storage, or two storages in directories of one volume.
            if self.mounts.iter().any(|other| other.mount_path == mount.mount_path) {
                let same = self.mounts.iter().zip(&self.volumes).any(|(other, volume)| {
                    other.mount_path == mount.mount_path
                        && other.sub_path == mount.sub_path
                        && source(&local.volume, &volume.name).is_ok_and(|ours| ours == *volume)
                });
                if same {
                    continue;
                }
                return Err(Error::Malformed {
                    field: "spec.storage.local.mountPath",
                    why: format!("{} is the mountPath of two different volumes", mount.mount_path),
                });
            }
            self.volumes.push(source(&local.volume, &name)?);
            self.mounts.push(mount);
        }
        Ok(self)
    }

    /// Adds the volumes of a task: those of the Addon, the user's own in their place, and those of the target.
    pub(crate) fn task(mut self, task: &Task, reference: &TaskReference) -> Result<Self, Error> {
        for template in &task.volume_template {
            let name = template.name.clone().unwrap_or_default();
            let own = reference.addon_volumes.iter().find(|volume| volume.name.as_ref() == Some(&name));
            let chosen = own.and_then(|volume| volume.source.as_ref()).or(template.source.as_ref());
            if let Some(chosen) = chosen {
                self.volumes.push(source(chosen, &name)?);
            }
        }
        let known = |name: &str| self.volumes.iter().any(|volume| volume.name == name);
        self.mounts.extend(task.volume_mounts.iter().filter(|mount| known(&mount.name)).cloned());
        if let Some(target) = &reference.target_volumes {
            self.volumes.extend(target.volumes.iter().cloned());
            self.mounts.extend(target.volume_mounts.iter().cloned());
        }
        Ok(self)
    }

    /// Adds volumes that the user has written as Kubernetes does.
    pub(crate) fn own(mut self, volumes: &[Volume], mounts: &[VolumeMount]) -> Self {
        self.volumes.extend(volumes.iter().cloned());
        self.mounts.extend(mounts.iter().cloned());
        self
    }
}

/// A volume of a pod: the fields have the same names.
fn source(source: &VolumeSource, name: &str) -> Result<Volume, Error> {
    let malformed = |why: String| Error::Malformed { field: "a volume", why };
    if source.volume_claim_template.is_some() {
        return Err(malformed(format!("volume {name} is a claim template; name an existing claim instead")));
    }
    let mut value = serde_json::to_value(source).map_err(|error| malformed(error.to_string()))?;
    if let Some(fields) = value.as_object_mut() {
        fields.insert("name".to_owned(), name.into());
    }
    serde_json::from_value(value).map_err(|error| malformed(error.to_string()))
}

#[cfg(test)]
#[expect(clippy::needless_pass_by_value, reason = "JSON literals are handed over as they are")]
mod tests {
    use super::*;
    use serde_json::json;

    fn storage(local: serde_json::Value) -> BackupStorage {
        let value = json!({
            "apiVersion": "storage.kubestash.com/v1alpha1", "kind": "BackupStorage", "metadata": {"name": "s"},
            "spec": {"storage": {"provider": "local", "local": local}},
        });
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn local_storages_are_mounted_once() {
        let claim = json!({"persistentVolumeClaim": {"claimName": "c"}, "mountPath": "/backup", "subPath": "a"});
        let nfs = json!({"nfs": {"server": "n", "path": "/x"}, "mountPath": "/nfs"});
        let all = Vec::from_iter([claim.clone(), nfs, claim].map(storage));
        let volumes = Volumes::scratch().storages(&all).unwrap();
        let mounts: Vec<_> = volumes.mounts.iter().map(|mount| mount.mount_path.as_str()).collect();
        assert_eq!(mounts, ["/tmp", "/backup", "/nfs"]);
        assert_eq!(volumes.mounts[1].sub_path.as_deref(), Some("a"));
        assert_eq!(volumes.volumes[1].persistent_volume_claim.as_ref().unwrap().claim_name, "c");
        assert_eq!(volumes.volumes[2].nfs.as_ref().unwrap().server, "n");
    }

    #[test]
    fn one_path_cannot_be_two_volumes() {
        let one = storage(json!({"hostPath": {"path": "/a"}, "mountPath": "/backup"}));
        let two = storage(json!({"hostPath": {"path": "/b"}, "mountPath": "/backup"}));
        let error = Volumes::scratch().storages([&one, &two]).unwrap_err();
        assert!(error.to_string().contains("/backup is the mountPath of two different volumes"), "{error}");
        let error = Volumes::scratch().storages([&storage(json!({"hostPath": {"path": "/a"}}))]).unwrap_err();
        assert!(error.to_string().contains("has none"), "{error}");
    }

    #[test]
    fn tasks_bring_volumes_and_users_replace_them() {
        let task: Task = serde_json::from_value(json!({
            "volumeTemplate": [
                {"name": "addon", "source": {"emptyDir": {}}},
                {"name": "unused"},
            ],
            "volumeMounts": [{"name": "addon", "mountPath": "/addon"}, {"name": "unused", "mountPath": "/no"}],
        }))
        .unwrap();
        let reference: TaskReference = serde_json::from_value(json!({
            "addonVolumes": [{"name": "addon", "source": {"configMap": {"name": "wasm"}}}],
            "targetVolumes": {"volumes": [{"name": "t", "emptyDir": {}}], "volumeMounts": [{"name": "t", "mountPath": "/t"}]},
        }))
        .unwrap();
        let volumes = Volumes::default().task(&task, &reference).unwrap();
        assert_eq!(volumes.volumes[0].config_map.as_ref().unwrap().name, "wasm");
        let mounts: Vec<_> = volumes.mounts.iter().map(|mount| mount.mount_path.as_str()).collect();
        assert_eq!(mounts, ["/addon", "/t"]);
    }
}
