//! Scratch folders with short paths (a unix socket's may have 107 bytes), and ports that no other test has.

use std::{
    fs::{self, File},
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Once,
        atomic::{AtomicU32, Ordering},
    },
};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

const PREFIX: &str = "coffer-test-";

/// A folder that is removed when the handle is dropped.
pub fn folder() -> Result<TempDir> {
    static SWEEP: Once = Once::new();
    SWEEP.call_once(sweep);
    tempfile::Builder::new()
        .prefix(&format!("{PREFIX}{}-", std::process::id()))
        .tempdir()
        .context("cannot create a scratch folder")
}

/// Removes the folders of processes that are gone: a killed test drops nothing.
fn sweep() {
    for entry in fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name
            .to_str()
            .and_then(|name| name.strip_prefix(PREFIX))
            .and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
        if owner.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            // A small disk may still be mounted there; umount of anything else fails and changes nothing.
            let _ = Command::new("umount").arg("-l").arg(entry.path().join("disk")).output();
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// A port on loopback that is this process's own until the lease is dropped.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _lock: File,
}

impl Port {
    /// Leases a free port below the range that the kernel hands to outgoing connections.
    pub fn lease() -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        const FIRST: u32 = 12_000;
        const COUNT: u32 = 20_000;
        let locks: PathBuf = std::env::temp_dir().join("coffer-ports");
        fs::create_dir_all(&locks)?;
        for _ in 0..2_000 {
            let step = NEXT.fetch_add(1, Ordering::Relaxed);
            let number = u16::try_from(FIRST + std::process::id().wrapping_mul(7_919).wrapping_add(step) % COUNT)?;
            let lock = File::create(locks.join(number.to_string()))?;
            if lock.try_lock().is_ok() && TcpListener::bind(("127.0.0.1", number)).is_ok() {
                return Ok(Self { number, _lock: lock });
            }
        }
        bail!("found no free port on loopback between {FIRST} and {}", FIRST + COUNT);
    }

    /// The port's number.
    pub fn number(&self) -> u16 {
        self.number
    }
}
