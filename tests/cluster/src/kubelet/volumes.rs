//! The volumes of a pod, made ready on the node.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::{
    authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec},
    core::v1::{
        Container, DownwardAPIVolumeFile, KeyToPath, Pod, ProjectedVolumeSource, ServiceAccount,
        ServiceAccountTokenProjection, Volume,
    },
};
use kube::{Api, ResourceExt as _, api::PostParams};

use super::{
    Host,
    container::{config_map, field, secret},
};

/// A folder or file of the host, and where a container sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mount {
    pub(super) source: PathBuf,
    pub(super) target: String,
    pub(super) read_only: bool,
}

/// Makes all volumes of a pod ready; an error is something that may still come, such as a Secret.
pub(super) async fn prepare(host: &Host, pod: &Pod) -> Result<BTreeMap<String, PathBuf>> {
    let mut ready = BTreeMap::new();
    let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.clone()).unwrap_or_default();
    for volume in volumes {
        let source = one(host, pod, &volume).await.with_context(|| format!("volume {}", volume.name))?;
        ready.insert(volume.name, source);
    }
    Ok(ready)
}

/// Where a container sees which volume, the outer folders first.
pub(super) fn mounts(container: &Container, volumes: &BTreeMap<String, PathBuf>) -> Result<Vec<Mount>> {
    let mut mounts = Vec::new();
    for mount in container.volume_mounts.iter().flatten() {
        let mut source = volumes.get(&mount.name).with_context(|| format!("no volume {}", mount.name))?.clone();
        if let Some(path) = mount.sub_path.as_deref().filter(|path| !path.is_empty()) {
            source.push(path);
            if !source.exists() {
                writable(&source)?;
            }
        }
        mounts.push(Mount { source, target: mount.mount_path.clone(), read_only: mount.read_only == Some(true) });
    }
    mounts.sort_by_key(|mount| mount.target.len());
    Ok(mounts)
}

async fn one(host: &Host, pod: &Pod, volume: &Volume) -> Result<PathBuf> {
    let namespace = pod.namespace().unwrap_or_default();
    let own = host.pod_folder(&pod.uid().unwrap_or_default()).join("volumes").join(&volume.name);
    if volume.empty_dir.is_some() {
        writable(&own)?;
    } else if let Some(path) = &volume.host_path {
        let path_on_host = host.host_path(&path.path);
        match path.type_.as_deref().unwrap_or_default() {
            "" | "DirectoryOrCreate" => fs::create_dir_all(&path_on_host)?,
            "Directory" if path_on_host.is_dir() => {}
            kind => bail!("hostPath type check failed: {} is not a {kind}", path.path),
        }
        return Ok(path_on_host);
    } else if let Some(claim) = &volume.persistent_volume_claim {
        let folder = host.claim(&namespace, &claim.claim_name);
        writable(&folder)?;
        return Ok(folder);
    } else if let Some(nfs) = &volume.nfs {
        let folder = host.folder.path().join("nfs").join(&nfs.server).join(nfs.path.trim_start_matches('/'));
        writable(&folder)?;
        return Ok(folder);
    } else if let Some(source) = &volume.secret {
        let name = source.secret_name.clone().unwrap_or_default();
        let values = secret(host, &namespace, &name, source.optional).await?;
        write(&own, &chosen(values, source.items.as_deref(), &name)?)?;
    } else if let Some(source) = &volume.config_map {
        let values = config_map(host, &namespace, &source.name, source.optional).await?;
        write(&own, &chosen(values, source.items.as_deref(), &source.name)?)?;
    } else if let Some(source) = &volume.downward_api {
        write(&own, &downward(host, pod, source.items.as_deref())?)?;
    } else if let Some(source) = &volume.projected {
        write(&own, &projected(host, pod, source).await?)?;
    } else {
        bail!("the player has no volumes of this type");
    }
    Ok(own)
}

type Files = BTreeMap<String, Vec<u8>>;

async fn projected(host: &Host, pod: &Pod, volume: &ProjectedVolumeSource) -> Result<Files> {
    let namespace = pod.namespace().unwrap_or_default();
    let mut files = Files::new();
    for source in volume.sources.iter().flatten() {
        if let Some(source) = &source.service_account_token {
            files.insert(source.path.clone(), token(host, pod, source).await?);
        } else if let Some(source) = &source.config_map {
            let values = config_map(host, &namespace, &source.name, source.optional).await?;
            files.extend(chosen(values, source.items.as_deref(), &source.name)?);
        } else if let Some(source) = &source.secret {
            let values = secret(host, &namespace, &source.name, source.optional).await?;
            files.extend(chosen(values, source.items.as_deref(), &source.name)?);
        } else if let Some(source) = &source.downward_api {
            files.extend(downward(host, pod, source.items.as_deref())?);
        } else {
            bail!("the player has no such source of a projected volume");
        }
    }
    Ok(files)
}

/// A token of the pod's service account that dies with the pod.
async fn token(host: &Host, pod: &Pod, source: &ServiceAccountTokenProjection) -> Result<Vec<u8>> {
    let spec = pod.spec.as_ref().context("the pod has no spec")?;
    let account = spec.service_account_name.as_deref().unwrap_or("default");
    let bound = BoundObjectReference {
        api_version: Some("v1".into()),
        kind: Some("Pod".into()),
        name: pod.metadata.name.clone(),
        uid: pod.uid(),
    };
    let request = TokenRequestSpec {
        audiences: source.audience.iter().cloned().collect(),
        bound_object_ref: Some(bound),
        expiration_seconds: source.expiration_seconds,
    };
    let accounts: Api<ServiceAccount> = Api::namespaced(host.client.clone(), &pod.namespace().unwrap_or_default());
    let request = TokenRequest { spec: request, ..TokenRequest::default() };
    let answer = accounts.create_token_request(account, &PostParams::default(), &request).await?;
    Ok(answer.status.context("the server answered without a token")?.token.into_bytes())
}

fn downward(host: &Host, pod: &Pod, items: Option<&[DownwardAPIVolumeFile]>) -> Result<Files> {
    let mut files = Files::new();
    for item in items.unwrap_or_default() {
        let from = item.field_ref.as_ref().context("the player knows only fields of the pod in a downward volume")?;
        files.insert(item.path.clone(), field(host, pod, &from.field_path)?.into_bytes());
    }
    Ok(files)
}

/// All keys as files, or those that `items` names.
fn chosen(mut values: Files, items: Option<&[KeyToPath]>, name: &str) -> Result<Files> {
    let Some(items) = items else { return Ok(values) };
    let pick = |item: &KeyToPath| {
        let value = values.remove(&item.key).with_context(|| format!("{name} has no key {}", item.key))?;
        Ok((item.path.clone(), value))
    };
    items.iter().map(pick).collect()
}

fn write(folder: &Path, files: &Files) -> Result<()> {
    fs::create_dir_all(folder)?;
    for (path, content) in files {
        let file = folder.join(path);
        file.parent().map_or(Ok(()), fs::create_dir_all)?;
        fs::write(&file, content)?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644))?;
    }
    Ok(())
}

/// A folder where every user may write, as the volumes of a kubelet are.
fn writable(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o777))?;
    Ok(())
}
