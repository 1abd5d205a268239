//! The volume source of KubeStash's resources: every volume type of a pod, inline, and a claim template.

use k8s_openapi::api::core::v1;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One of the volume types that a pod knows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeSource {
    /// A directory of the node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_path: Option<v1::HostPathVolumeSource>,
    /// A directory that lives as long as the pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub empty_dir: Option<v1::EmptyDirVolumeSource>,
    /// A disk of Google's cloud.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gce_persistent_disk: Option<v1::GCEPersistentDiskVolumeSource>,
    /// A disk of Amazon's cloud.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aws_elastic_block_store: Option<v1::AWSElasticBlockStoreVolumeSource>,
    /// A git checkout (deprecated by Kubernetes).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub git_repo: Option<v1::GitRepoVolumeSource>,
    /// A Secret as files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<v1::SecretVolumeSource>,
    /// An NFS export.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nfs: Option<v1::NFSVolumeSource>,
    /// An iSCSI disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iscsi: Option<v1::ISCSIVolumeSource>,
    /// A volume of `GlusterFS`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub glusterfs: Option<v1::GlusterfsVolumeSource>,
    /// A claim of the same namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub persistent_volume_claim: Option<v1::PersistentVolumeClaimVolumeSource>,
    /// A Ceph block device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rbd: Option<v1::RBDVolumeSource>,
    /// A volume of a Flex driver.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flex_volume: Option<v1::FlexVolumeSource>,
    /// A disk of `OpenStack`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cinder: Option<v1::CinderVolumeSource>,
    /// A Ceph file system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cephfs: Option<v1::CephFSVolumeSource>,
    /// A Flocker volume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flocker: Option<v1::FlockerVolumeSource>,
    /// Facts about the pod as files.
    #[serde(rename = "downwardAPI", skip_serializing_if = "Option::is_none")]
    pub downward_api: Option<v1::DownwardAPIVolumeSource>,
    /// A Fibre Channel disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fc: Option<v1::FCVolumeSource>,
    /// A share of Microsoft's cloud.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub azure_file: Option<v1::AzureFileVolumeSource>,
    /// A ConfigMap as files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_map: Option<v1::ConfigMapVolumeSource>,
    /// A vSphere disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vsphere_volume: Option<v1::VsphereVirtualDiskVolumeSource>,
    /// A Quobyte volume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quobyte: Option<v1::QuobyteVolumeSource>,
    /// A disk of Microsoft's cloud.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub azure_disk: Option<v1::AzureDiskVolumeSource>,
    /// A Photon disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub photon_persistent_disk: Option<v1::PhotonPersistentDiskVolumeSource>,
    /// Several sources in one directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub projected: Option<v1::ProjectedVolumeSource>,
    /// A Portworx volume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub portworx_volume: Option<v1::PortworxVolumeSource>,
    /// A volume of `ScaleIO`.
    #[serde(rename = "scaleIO", skip_serializing_if = "Option::is_none")]
    pub scale_io: Option<v1::ScaleIOVolumeSource>,
    /// A volume of `StorageOS`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storageos: Option<v1::StorageOSVolumeSource>,
    /// A volume of a CSI driver.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub csi: Option<v1::CSIVolumeSource>,
    /// A claim that lives as long as the pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ephemeral: Option<v1::EphemeralVolumeSource>,
    /// An image's file system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<v1::ImageVolumeSource>,
    /// A claim to create (in the volume templates of addons only).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_claim_template: Option<v1::PersistentVolumeClaimTemplate>,
}
