//! Stock restic, old and new, reads what we write, and we read what it writes; each honours the other's locks.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "the helpers of a test fail it")]

mod common;

use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use coffer_repository::{Archive, CheckOptions, PruneOptions, Repository, RepositoryError, SnapshotChoice, Unlock};
use coffer_test_support::restic::Restic;
use common::{Files, MANIFEST, PASSWORD, back_up, folder, init, noise, password, read, request, text, write_all};

fn old(place: &Path) -> Restic {
    Restic::old(place.to_str().unwrap(), PASSWORD).unwrap()
}

fn new(place: &Path) -> Restic {
    Restic::new(place.to_str().unwrap(), PASSWORD).unwrap()
}

fn files() -> Files {
    vec![
        ("shop/orders.tsv", text(1, 5_000_000)),
        ("shop/blobs.tsv", noise(2, 3_000_000)),
        ("shop/empty.tsv", Vec::new()),
        ("odd name é.sql", text(3, 100)),
    ]
}

fn utf8(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

#[test]
fn stock_restic_reads_ours() {
    let place = tempfile::tempdir().unwrap();
    let repository = init(&folder(place.path()));
    let files = files();
    back_up(&repository, &files);
    let published = back_up(&repository, &files);

    for restic in [old(place.path()), new(place.path())] {
        let snapshots = utf8(restic.ok(&["snapshots"]));
        assert!(snapshots.contains(&published.id[..8]) && snapshots.contains("host-0"), "{snapshots}");
        assert!(snapshots.contains("nightly") && snapshots.contains("/shop"), "{snapshots}");
        restic.ok(&["check", "--read-data"]);
        let listed = utf8(restic.ok(&["ls", "-l", "latest"]));
        for (path, content) in &files {
            let line = listed.lines().find(|line| line.ends_with(&format!("/{path}")));
            let line = line.unwrap_or_else(|| panic!("{path} is missing in:\n{listed}"));
            assert!(line.split_whitespace().any(|word| word == content.len().to_string()), "{line}");
            assert!(line.starts_with("-rw-------"), "{line}");
            assert!(restic.ok(&["dump", "latest", &format!("/{path}")]) == *content, "{path}");
        }
        assert!(listed.lines().any(|line| line.starts_with("drwx------") && line.ends_with("/shop")), "{listed}");
        assert_eq!(restic.ok(&["dump", "latest", "/manifest.json"]), MANIFEST);

        let target = tempfile::tempdir().unwrap();
        restic.ok(&["restore", "latest", "--verify", "--target", target.path().to_str().unwrap()]);
        let tar = restic.ok(&["dump", "--archive", "tar", "latest", "/"]);
        let unpacked = tempfile::tempdir().unwrap();
        untar(&tar, unpacked.path());
        for (path, content) in &files {
            assert!(std::fs::read(target.path().join(path)).unwrap() == *content, "restored {path}");
            assert!(std::fs::read(unpacked.path().join(path)).unwrap() == *content, "{path} in the tar");
        }
    }
    // Newer ones show the summary.
    let json = utf8(new(place.path()).ok(&["snapshots", "--json"]));
    let listed: serde_json::Value = serde_json::from_str(&json).unwrap();
    let summary = &listed[1]["summary"];
    assert_eq!(summary["total_bytes_processed"], published.bytes_processed);
    assert_eq!(summary["total_files_processed"], 5);
    assert_eq!(listed[1]["program_version"], format!("coffer {}", env!("CARGO_PKG_VERSION")));
}

fn untar(tar: &[u8], target: &Path) {
    let mut child = std::process::Command::new("tar")
        .arg("-xf-")
        .current_dir(target)
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(tar).unwrap();
    assert!(child.wait().unwrap().success());
}

/// What one of us has stored, the other finds again: chunks end at the same places, whoever made the repository.
#[test]
fn streams_are_cut_where_restic_cuts_them() {
    let added = |output: &std::process::Output| {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let said = String::from_utf8_lossy(&output.stdout);
        let added = said.lines().find_map(|line| line.strip_prefix("Added to the repository: ")).unwrap().to_owned();
        assert!(added.ends_with("stored)") && (added.contains(" KiB (") || added.contains(" B (")), "{said}");
    };
    let (theirs, ours) = (noise(5, 30_000_000), text(6, 30_000_000));
    let place = tempfile::tempdir().unwrap();
    let restic = new(place.path());
    restic.ok(&["init"]);
    assert!(restic.backup_stdin("theirs", "host-0", theirs.as_slice()).unwrap().status.success());
    let repository = Arc::new(Repository::open(&folder(place.path()), &password()).unwrap());
    let published = back_up(&repository, &vec![("theirs", theirs)]);
    assert!(published.bytes_added < 20_000, "{published:?}");
    let published = back_up(&repository, &vec![("ours", ours.clone())]);
    assert!(published.bytes_added > 29_000_000, "{published:?}");
    added(&restic.backup_stdin("ours", "host-0", ours.as_slice()).unwrap());

    let place = tempfile::tempdir().unwrap();
    let repository = init(&folder(place.path()));
    back_up(&repository, &vec![("ours", ours.clone())]);
    added(&new(place.path()).backup_stdin("ours", "host-0", ours.as_slice()).unwrap());
}

/// What `mysqldump | restic backup --stdin --stdin-filename dumpfile.sql --host host-0` leaves, as `KubeStash` does it.
#[test]
fn we_read_stock_restics() {
    for make in [old, new] {
        let place = tempfile::tempdir().unwrap();
        let restic = make(place.path());
        restic.ok(&["init"]);
        let dump = text(1, 9_000_000);
        let output = restic.backup_stdin("dumpfile.sql", "host-0", dump.as_slice()).unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

        let storage = folder(place.path());
        assert!(matches!(Repository::open(&storage, &"wrong".into()), Err(RepositoryError::WrongPassword { .. })));
        let repository = Arc::new(Repository::open(&storage, &password()).unwrap());
        let snapshot = repository.snapshot(&SnapshotChoice::Latest).unwrap();
        assert_eq!((snapshot.host.as_str(), snapshot.paths[0].as_str()), ("host-0", "/dumpfile.sql"));
        let entries = repository.entries(&snapshot).unwrap();
        assert_eq!(
            entries.iter().map(|entry| (entry.path.as_str(), entry.size)).collect::<Vec<_>>(),
            [("dumpfile.sql", Some(9_000_000))]
        );
        assert!(read(&repository, &snapshot, "dumpfile.sql") == dump);
        // Both write into it, deduplicated against each other.
        let ours = back_up(&repository, &vec![("dumpfile.sql", dump.clone())]);
        assert!(ours.bytes_added < 100_000, "{} bytes of known data stored again", ours.bytes_added);
        restic.ok(&["check", "--read-data"]);
        assert!(restic.ok(&["dump", "latest", "/dumpfile.sql"]) == dump);
        assert!(repository.check(CheckOptions { read_data: true }).unwrap().is_ok());
    }
}

#[test]
fn restics_prune_refuses_while_we_back_up() {
    let place = tempfile::tempdir().unwrap();
    let repository = init(&folder(place.path()));
    let files = files();
    back_up(&repository, &files);
    let archive = Archive::start(vec![Arc::clone(&repository)], request(&files)).unwrap();
    for restic in [old(place.path()), new(place.path())] {
        let refused = restic.run(&["prune"]).unwrap();
        assert!(!refused.status.success());
        let message = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(message.contains("locked") && message.contains(&std::process::id().to_string()), "{message}");
        let unlocked = restic.run(&["unlock"]).unwrap();
        assert!(unlocked.status.success());
    }
    assert_eq!(repository.locks().unwrap().len(), 1, "restic took our live lock for a stale one");
    write_all(&archive, &files, 2);
    archive.commit(MANIFEST.to_vec()).remove(0).result.unwrap();
    new(place.path()).ok(&["prune"]);
    new(place.path()).ok(&["check", "--read-data"]);
}

#[test]
fn we_refuse_while_restic_holds_an_exclusive_lock() {
    let place = tempfile::tempdir().unwrap();
    let storage = folder(place.path());
    let repository = init(&storage);
    back_up(&repository, &vec![("dump.sql", noise(1, 30_000_000))]);
    // restic checks under an exclusive lock. Slowed down, it holds it until it is told to end.
    let mut check = new(place.path()).spawn(&["check", "--read-data", "--limit-download", "100"]).unwrap();
    let begun = Instant::now();
    let held = loop {
        if let Some(lock) = repository.locks().unwrap().into_iter().find(|lock| lock.exclusive) {
            break lock;
        }
        assert!(begun.elapsed() < Duration::from_mins(2), "restic check took no exclusive lock");
        std::thread::sleep(Duration::from_millis(5));
    };
    assert_eq!(held.pid, check.id());
    let error = repository.prune(&PruneOptions::default()).unwrap_err();
    assert!(matches!(&error, RepositoryError::Locked { holder, .. } if holder.pid == check.id()), "{error}");
    let files = files();
    let error = Archive::start(vec![Arc::clone(&repository)], request(&files)).unwrap_err();
    assert!(matches!(error, RepositoryError::Locked { .. }), "{error}");
    assert_eq!(repository.unlock(Unlock::Stale).unwrap().locks, []);

    // Killed, it leaves a stale lock, which is named and can be removed.
    check.kill().unwrap();
    check.wait().unwrap();
    let error = repository.prune(&PruneOptions::default()).unwrap_err().to_string();
    for part in ["stale", &held.pid.to_string(), &held.host, "coffer unlock"] {
        assert!(error.contains(part), "{part} is missing in: {error}");
    }
    assert_eq!(repository.unlock(Unlock::Stale).unwrap().locks.len(), 1);
    repository.prune(&PruneOptions::default()).unwrap();
}

#[test]
fn restic_agrees_after_forget_and_both_prunes() {
    let place = tempfile::tempdir().unwrap();
    let repository = init(&folder(place.path()));
    let gone = back_up(&repository, &vec![("dump.sql", noise(1, 20_000_000)), ("kept.sql", noise(3, 5_000_000))]);
    back_up(&repository, &vec![("dump.sql", noise(2, 5_000_000)), ("kept.sql", noise(3, 5_000_000))]);
    repository.forget(&[gone.id], false).unwrap();
    repository.prune(&PruneOptions::default()).unwrap();
    new(place.path()).ok(&["check", "--read-data"]);
    repository.prune(&PruneOptions { keep_marked: Duration::ZERO, ..PruneOptions::default() }).unwrap();
    new(place.path()).ok(&["check", "--read-data"]);
    old(place.path()).ok(&["prune"]);
    assert!(repository.check(CheckOptions { read_data: true }).unwrap().is_ok());
    // restic moved what we have in memory.
    let snapshot = repository.snapshot(&SnapshotChoice::Latest).unwrap();
    let fresh = Repository::open(&folder(place.path()), &password()).unwrap();
    let mut bytes = Vec::new();
    fresh.read(&snapshot, "dump.sql").unwrap().read_to_end(&mut bytes).unwrap();
    assert!(bytes == noise(2, 5_000_000));
}

#[test]
fn restic_knows_our_keys_and_we_know_its() {
    let place = tempfile::tempdir().unwrap();
    let storage = folder(place.path());
    let repository = init(&storage);
    repository.add_key(&"second".into(), None, None).unwrap();
    let restic = Restic::new(place.path().to_str().unwrap(), "second").unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "third").unwrap();
    restic.ok(&["key", "add", "--new-password-file", file.path().to_str().unwrap()]);
    Repository::open(&storage, &"third".into()).unwrap();
    assert_eq!(repository.keys().unwrap().len(), 3);
}
