//! Repositories, content and backups for the tests.
#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a fixture that fails ends its test")]

pub mod faults;

use std::io::Read;
use std::sync::Arc;

use coffer_repository::{
    Archive, BackupRequest, InitOptions, Published, Repository, RepositoryError, RepositoryOutcome, Snapshot,
    StreamSpec,
};
use coffer_storage::Storage;
use opendal::{Operator, services};
use secrecy::SecretString;

pub const PASSWORD: &str = "correct horse";

pub fn password() -> SecretString {
    PASSWORD.into()
}

/// A folder as a storage, whole files or none.
pub fn folder(path: &std::path::Path) -> Storage {
    let temporary = path.join(".writing");
    let builder = services::Fs::default().root(path.to_str().unwrap()).atomic_write_dir(temporary.to_str().unwrap());
    Storage::from_operator(Operator::new(builder).unwrap(), path.display().to_string())
}

pub fn init(storage: &Storage) -> Arc<Repository> {
    Arc::new(Repository::init(storage, &password(), &InitOptions::default()).unwrap())
}

/// Text like a dump's: compressible, and no chunk like another.
pub fn text(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(size + 64);
    let mut row = 0_u64;
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        row += 1;
        bytes.extend_from_slice(format!("{row}\tcustomer {}\t{state:x}\t2026-11-22\n", state % 1000).as_bytes());
    }
    bytes.truncate(size);
    bytes
}

/// Bytes that do not compress.
pub fn noise(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

pub type Files = Vec<(&'static str, Vec<u8>)>;

pub fn request(files: &Files) -> BackupRequest {
    BackupRequest {
        paths: vec!["/shop".to_owned()],
        tags: vec!["nightly".to_owned()],
        streams: files.iter().map(|(path, _)| StreamSpec::new(*path)).collect(),
        ..BackupRequest::default()
    }
}

pub const MANIFEST: &[u8] = br#"{"tables":3}"#;

/// Backs up with `workers` threads, each taking the next stream.
pub fn back_up_all(
    repositories: Vec<Arc<Repository>>,
    files: &Files,
    workers: usize,
) -> Result<Vec<RepositoryOutcome>, RepositoryError> {
    let archive = Archive::start(repositories, request(files))?;
    write_all(&archive, files, workers);
    Ok(archive.commit(MANIFEST.to_vec()))
}

/// Writes every stream; errors are left to the commit.
pub fn write_all(archive: &Archive, files: &Files, workers: usize) {
    let next = std::sync::Mutex::new(0);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let (stream, writer) = {
                        let mut next = next.lock().unwrap();
                        let stream = *next;
                        if stream == files.len() {
                            return;
                        }
                        *next += 1;
                        (stream, archive.writer(stream))
                    };
                    let Ok(mut writer) = writer else { return };
                    for piece in files[stream].1.chunks(50_000) {
                        if writer.write(piece).is_err() {
                            return;
                        }
                    }
                    let _ = writer.finish_expecting(files[stream].1.len() as u64);
                }
            });
        }
    });
}

pub fn back_up(repository: &Arc<Repository>, files: &Files) -> Published {
    let mut outcomes = back_up_all(vec![Arc::clone(repository)], files, 2).unwrap();
    outcomes.remove(0).result.unwrap()
}

pub fn read(repository: &Repository, snapshot: &Snapshot, path: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    repository.read(snapshot, path).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

/// What a repository must be after any failure: nothing published, no lock left, no damage, and the next backup works.
pub fn assert_clean(repository: &Arc<Repository>, snapshots: usize) {
    assert_eq!(repository.locks().unwrap(), [], "a lock stays behind");
    assert_eq!(repository.snapshots().unwrap().len(), snapshots, "a failed backup looks like a backup");
    let report = repository.check(coffer_repository::CheckOptions { read_data: true }).unwrap();
    assert_eq!(report.errors, Vec::<String>::new());
}
