//! What a repository must look like after something went wrong, by the judgement of stock restic, and what a backup holds.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use coffer_test_support::restic::Restic;
use coffer_test_support::scratch;
use coffer_test_support::stores::S3;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::site::{REPOSITORY_PASSWORD, SESSION, Site, text};

/// Whatever a test makes of it, no `coffer` of these tests takes this long.
const HANGS_AFTER: Duration = Duration::from_mins(2);

/// Path, size and SHA-256 of every stream of a snapshot but the manifest.
pub type Streams = BTreeMap<String, (u64, String)>;

/// Stock restic on the repository of an S3 storage of [`Site::s3_storage`].
pub fn s3_restic(store: &S3) -> Restic {
    let place = store.restic_repository(&format!("some/prefix/shop/repository/v1/{SESSION}/dump"));
    Restic::new(place, REPOSITORY_PASSWORD)
        .unwrap()
        .env("AWS_ACCESS_KEY_ID", S3::ACCESS_KEY)
        .env("AWS_SECRET_ACCESS_KEY", S3::SECRET_KEY)
}

/// Stock restic on the repository in a folder that is a storage.
pub fn restic_in(storage: &Path) -> Restic {
    let place = storage.join("shop/repository/v1").join(SESSION).join("dump");
    Restic::new(place.display().to_string(), REPOSITORY_PASSWORD).unwrap()
}

/// How many snapshots there are. Reads beside any lock.
pub fn snapshots(restic: &Restic) -> usize {
    serde_json::from_slice::<Vec<Value>>(&restic.ok(&["snapshots", "--json", "--no-lock"])).unwrap().len()
}

/// The ids of the locks.
pub fn locks(restic: &Restic) -> Vec<String> {
    String::from_utf8(restic.ok(&["list", "locks", "--no-lock"])).unwrap().lines().map(str::to_owned).collect()
}

/// So many snapshots, all data whole, and nobody holds a lock.
#[track_caller]
pub fn intact(restic: &Restic, expected: usize) {
    assert_eq!(locks(restic), Vec::<String>::new(), "locks were left behind");
    assert_eq!(snapshots(restic), expected, "number of snapshots");
    restic.ok(&["check", "--read-data"]);
}

/// The same for a repository in a folder, where locks and snapshots are files to count. Saves restic's slow start.
#[track_caller]
pub fn intact_in(site: &Site, storage: &str, expected: usize) {
    assert_eq!(stored(site, storage, "locks"), 0, "locks were left behind");
    assert_eq!(stored(site, storage, "snapshots"), expected, "number of snapshots");
    site.restic(storage).ok(&["check", "--read-data"]);
}

/// How many files a folder of the repository in a local storage has. Hidden ones, which a kill in mid-write leaves, do not count.
pub fn stored(site: &Site, storage: &str, folder: &str) -> usize {
    let files = fs::read_dir(site.repository(storage).join(folder)).into_iter().flatten();
    files.filter(|file| !file.as_ref().unwrap().file_name().as_encoded_bytes().starts_with(b".")).count()
}

/// The streams of the newest snapshot as stock restic restores them, which must be those of its manifest.
#[track_caller]
pub fn streams(restic: &Restic) -> Streams {
    let folder = scratch::folder().unwrap();
    restic.ok(&["restore", "latest", "--no-lock", "--target", folder.path().to_str().unwrap()]);
    let manifest: Value = serde_json::from_slice(&fs::read(folder.path().join("manifest.json")).unwrap()).unwrap();
    let field = |stream: &Value, name: &str| stream[name].as_str().unwrap().to_owned();
    let streams: Streams = manifest["streams"]
        .as_array()
        .unwrap()
        .iter()
        .map(|stream| (field(stream, "path"), (stream["bytes"].as_u64().unwrap(), field(stream, "sha256"))))
        .collect();
    for (path, (bytes, sha256)) in &streams {
        let content = fs::read(folder.path().join(path)).unwrap();
        assert_eq!((content.len() as u64, &hex::encode(Sha256::digest(&content))), (*bytes, sha256), "{path}");
    }
    streams
}

/// A plain retry works, and makes a snapshot with all of these streams.
#[track_caller]
pub fn retry(site: &Site, restic: &Restic, expected: &Streams) {
    let before = snapshots(restic);
    site.ok(&["backup"]);
    assert_eq!(&streams(restic), expected, "the streams of the retry");
    intact(restic, before + 1);
}

/// How a process ended.
pub struct Ended {
    pub output: Output,
    /// The most memory that it had, in bytes.
    pub peak: u64,
    pub took: Duration,
}

impl Ended {
    /// What it said on standard error, if it ended with this code.
    #[track_caller]
    pub fn said(&self, code: i32) -> String {
        assert_eq!(self.output.status.code(), Some(code), "{}", text(&self.output));
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }
}

/// Runs it to its end and watches its memory. One that hangs fails the test.
#[track_caller]
pub fn watched(mut command: Command) -> Ended {
    let start = Instant::now();
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let id = child.id();
    let ending = thread::spawn(move || child.wait_with_output().unwrap());
    let (mut peak, mut hangs) = (0, false);
    while !ending.is_finished() {
        peak = peak_memory(id).max(peak);
        if start.elapsed() > HANGS_AFTER && !hangs {
            hangs = true;
            let _ = Command::new("kill").args(["-9", &id.to_string()]).status();
        }
        thread::sleep(Duration::from_millis(2));
    }
    let ended = Ended { output: ending.join().unwrap(), peak, took: start.elapsed() };
    assert!(!hangs, "{command:?} hangs: {}", text(&ended.output));
    ended
}

/// The most memory that a process has had, in bytes; 0 if it is gone.
fn peak_memory(id: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok()).unwrap_or_default() * 1024
}
