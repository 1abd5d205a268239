//! A disk that is soon full.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, bail};
use tempfile::TempDir;

use crate::scratch;

/// A small file system of its own; unmounted on drop.
#[derive(Debug)]
pub struct SmallDisk {
    folder: TempDir,
}

impl SmallDisk {
    /// Mounts a tmpfs of that size. `Ok(None)` where this process may not mount: it says so, and the test should return.
    pub fn mount(bytes: u64) -> Result<Option<Self>> {
        let folder = scratch::folder()?;
        let path = folder.path().join("disk");
        fs::create_dir(&path)?;
        let output = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "coffer-test"])
            .arg(&path)
            .output()?;
        if output.status.success() {
            return Ok(Some(Self { folder }));
        }
        let reason = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        if ["permission denied", "must be superuser", "not permitted", "only root"]
            .iter()
            .any(|text| reason.to_lowercase().contains(text))
        {
            eprintln!(
                "SKIPPED: a full disk needs a tmpfs, which this process may not mount ({reason}); run the tests as root for this one"
            );
            return Ok(None);
        }
        bail!("cannot mount a small tmpfs: {reason}");
    }

    /// Where it is mounted.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    /// Bytes of the files on it.
    pub fn used(&self) -> Result<u64> {
        fn size(path: &Path) -> std::io::Result<u64> {
            fs::read_dir(path)?.try_fold(0, |sum, entry| {
                let entry = entry?;
                let metadata = entry.metadata()?;
                Ok(sum + if metadata.is_dir() { size(&entry.path())? } else { metadata.len() })
            })
        }
        Ok(size(&self.path())?)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).output();
    }
}
