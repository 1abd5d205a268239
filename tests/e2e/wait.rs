//! Waiting for other processes, and looking at what they left.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

/// Waits until it is so, and fails after three minutes.
#[track_caller]
pub fn until(what: &str, mut so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < Duration::from_mins(3), "waited for three minutes, and still not: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Sends a signal, such as `STOP`.
#[track_caller]
pub fn signal(child: &Child, signal: &str) {
    let status = Command::new("kill").arg(format!("-{signal}")).arg(child.id().to_string()).status().unwrap();
    assert!(status.success(), "cannot send SIG{signal} to process {}", child.id());
}

/// Everything below the folder with its size; folders have size 0.
pub fn files(folder: &Path) -> BTreeMap<String, u64> {
    fn walk(folder: &Path, prefix: &str, found: &mut BTreeMap<String, u64>) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = format!("{prefix}/{}", entry.file_name().to_string_lossy());
            if entry.path().is_dir() {
                found.insert(format!("{path}/"), 0);
                walk(&entry.path(), &path, found);
            } else if let Ok(metadata) = entry.metadata() {
                found.insert(path, metadata.len());
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(folder, "", &mut found);
    found
}
