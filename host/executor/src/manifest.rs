//! `manifest.json`: the last stream of every snapshot that Coffer writes, and the proof that the others are whole.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The path of the manifest in a snapshot. Addons cannot use it for a stream.
pub const MANIFEST_PATH: &str = "manifest.json";

/// The form of the manifest that this version writes, and the newest that it reads.
pub(crate) const MANIFEST_VERSION: u32 = 1;

/// What a snapshot holds, written by the host after every stream was finished.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// The form of this document.
    pub version: u32,
    /// The version of Coffer that wrote it.
    pub coffer: String,
    /// Who made the streams.
    pub addon: AddonInfo,
    /// What was backed up.
    pub target: TargetInfo,
    /// Name of the session in the BackupConfiguration.
    pub session: String,
    /// When the run began.
    pub start_time: Timestamp,
    /// When the last stream was finished.
    pub end_time: Timestamp,
    /// What the addon says of the backup as a whole.
    #[serde(default)]
    pub facts: BTreeMap<String, String>,
    /// Every stream but this one, sorted by path.
    pub streams: Vec<StreamInfo>,
}

/// Who made the streams.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AddonInfo {
    /// The addon's name as it describes itself.
    pub name: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of the component, as `sha256:<hex>`.
    pub digest: String,
    /// The task that ran.
    pub task: String,
}

/// What was backed up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TargetInfo {
    /// Kind of the resource.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// One stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StreamInfo {
    /// Its path in the snapshot.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of its content, in hex.
    pub sha256: String,
    /// What the addon says of it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub facts: BTreeMap<String, String>,
}

/// A manifest that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not the JSON it should be.
    #[error(
        "the snapshot's {MANIFEST_PATH} cannot be read ({0}); the snapshot was not written by Coffer, or by a version that this one does not know"
    )]
    Malformed(#[from] serde_json::Error),
    /// Written by a newer Coffer.
    #[error(
        "the snapshot's {MANIFEST_PATH} has version {found}, this coffer reads up to {MANIFEST_VERSION}; restore it with a newer coffer"
    )]
    Newer {
        /// The version found.
        found: u32,
    },
}

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    /// When it is malformed or of a newer version.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        // The version first: a newer form need not have the fields of this one.
        let Version { version } = serde_json::from_slice(bytes)?;
        if version > MANIFEST_VERSION {
            return Err(ManifestError::Newer { found: version });
        }
        Ok(serde_json::from_slice(bytes)?)
    }

    /// The manifest as it is stored: one stream a line, so that a person can read it and two runs share most of it.
    ///
    /// # Errors
    /// Never in practice: every field has a JSON form.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ManifestError> {
        let mut bytes = serde_json::to_vec_pretty(self)?;
        bytes.push(b'\n');
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Manifest {
        Manifest {
            version: MANIFEST_VERSION,
            coffer: "0.1.0".into(),
            addon: AddonInfo {
                name: "mysql".into(),
                version: "0.1.0".into(),
                digest: "sha256:00".into(),
                task: "logical-backup".into(),
            },
            target: TargetInfo { kind: "MySQL".into(), namespace: "demo".into(), name: "shop".into() },
            session: "frequent".into(),
            start_time: Timestamp::UNIX_EPOCH,
            end_time: Timestamp::UNIX_EPOCH,
            facts: [("gtid".to_owned(), "a:1-5".to_owned())].into(),
            streams: vec![StreamInfo {
                path: "data/shop/orders.tsv".into(),
                bytes: 7,
                sha256: "ab".into(),
                facts: BTreeMap::new(),
            }],
        }
    }

    #[test]
    fn round_trips() {
        assert_eq!(Manifest::parse(&sample().to_bytes().unwrap()).unwrap(), sample());
    }

    #[test]
    fn a_newer_form_is_refused_by_its_version_alone() {
        let error = Manifest::parse(br#"{"version": 2, "other": true}"#).unwrap_err().to_string();
        assert!(error.contains("version 2") && error.contains("newer coffer"), "{error}");
    }

    #[test]
    fn what_is_no_manifest_is_refused() {
        assert!(matches!(Manifest::parse(b"-- MySQL dump"), Err(ManifestError::Malformed(_))));
    }
}
