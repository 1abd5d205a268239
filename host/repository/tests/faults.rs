//! A failed backup never looks like a backup: whatever fails, nothing is published, no lock stays, and the next backup works.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "the helpers of a test fail it")]

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use coffer_api::cancel::Cancel;
use coffer_repository::{Archive, CheckOptions, Repository, RepositoryError, SnapshotChoice};
use coffer_storage::Storage;
use common::faults::{Fault, Faults};
use common::{Files, assert_clean, back_up, back_up_all, init, noise, password, read, request, text, write_all};

fn files() -> Files {
    vec![("a.sql", text(1, 1000)), ("b.tsv", noise(2, 45_000_000)), ("c.tsv", text(3, 3_000_000))]
}

fn small() -> Files {
    vec![("a.sql", text(1, 1000)), ("b.tsv", text(2, 300_000)), ("c.tsv", text(3, 30_000))]
}

fn faulty() -> (Faults, Storage, Arc<Repository>) {
    let faults = Faults::default();
    let storage = Storage::memory().layer(faults.clone());
    let repository = init(&storage);
    (faults, storage, repository)
}

/// T1: the engine turns an error of a source into a warning and returns a snapshot without that stream.
#[test]
fn a_stream_given_up_publishes_nothing_anywhere() {
    let repositories = [init(&Storage::memory()), init(&Storage::memory())];
    for broken in 0..3 {
        let files = small();
        let archive = Archive::start(repositories.to_vec(), request(&files)).unwrap();
        for (number, (_, content)) in files.iter().enumerate() {
            let Ok(mut writer) = archive.writer(number) else { break };
            if number == broken {
                writer.write(&content[..content.len() / 2]).unwrap();
                drop(writer);
                break;
            }
            writer.write(content).unwrap();
            writer.finish().unwrap();
        }
        for outcome in archive.commit(b"{}".to_vec()) {
            let error = outcome.result.unwrap_err();
            assert!(matches!(&error, RepositoryError::Source(why) if why.contains("given up")), "{error}");
        }
        for repository in &repositories {
            assert_clean(repository, 0);
        }
    }
    // The retry finds a working repository.
    for outcome in back_up_all(repositories.to_vec(), &small(), 2).unwrap() {
        outcome.result.unwrap();
    }
    for repository in &repositories {
        assert_clean(repository, 1);
    }
}

#[test]
fn a_wrong_count_publishes_nothing() {
    let repository = init(&Storage::memory());
    let files = small();
    let archive = Archive::start(vec![Arc::clone(&repository)], request(&files)).unwrap();
    for (number, (_, content)) in files.iter().enumerate() {
        let mut writer = archive.writer(number).unwrap();
        writer.write(content).unwrap();
        if number < 2 {
            writer.finish_expecting(content.len() as u64).unwrap();
        } else {
            writer.finish_expecting(content.len() as u64 + 1).unwrap_err();
        }
    }
    let error = archive.commit(b"{}".to_vec()).remove(0).result.unwrap_err();
    assert!(error.to_string().contains("its producer says it wrote 30001"), "{error}");
    assert_clean(&repository, 0);
}

#[test]
fn a_stream_never_started_publishes_nothing() {
    let repository = init(&Storage::memory());
    let files = small();
    let archive = Archive::start(vec![Arc::clone(&repository)], request(&files)).unwrap();
    for number in 0..2 {
        archive.writer(number).unwrap().finish().unwrap();
    }
    let error = archive.commit(b"{}".to_vec()).remove(0).result.unwrap_err();
    assert!(error.to_string().contains("c.tsv was not finished"), "{error}");
    assert_clean(&repository, 0);
}

#[test]
fn an_archive_dropped_or_failed_or_cancelled_publishes_nothing() {
    let repository = init(&Storage::memory());
    let files = small();
    for end in 0..3 {
        let archive = Archive::start(vec![Arc::clone(&repository)], request(&files)).unwrap();
        write_all(&archive, &files, 2);
        match end {
            0 => drop(archive),
            1 => {
                archive.fail("the addon says no");
                let error = archive.commit(Vec::new()).remove(0).result.unwrap_err();
                assert!(matches!(error, RepositoryError::Source(_)), "{error}");
            }
            _ => {
                let control = archive.control();
                control.cancel("SIGTERM");
                assert!(matches!(archive.writer(0), Err(RepositoryError::Cancelled(_))));
                let error = archive.commit(Vec::new()).remove(0).result.unwrap_err();
                assert!(matches!(error, RepositoryError::Cancelled(_)), "{error}");
            }
        }
        assert_clean(&repository, 0);
    }
}

/// T6: the engine notices a dead storage only when everything was read; the writers must hear of it long before.
#[test]
fn a_failing_upload_stops_the_writers_and_publishes_nothing() {
    let (faults, _, repository) = faulty();
    faults.plan("data/", 1, Fault::Fails);
    let archive = Archive::start(vec![Arc::clone(&repository)], request(&vec![("endless", Vec::new())])).unwrap();
    let mut writer = archive.writer(0).unwrap();
    let mut written = 0_u64;
    let error = loop {
        match writer.write(&noise(written, 1 << 20)) {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 400, "the writer was never told");
    };
    assert!(error.to_string().contains("failed on command"), "{error}");
    drop(writer);
    let error = archive.commit(Vec::new()).remove(0).result.unwrap_err();
    assert!(matches!(&error, RepositoryError::Storage(_)), "{error}");
    faults.lift();
    assert_clean(&repository, 0);
    back_up(&repository, &small());
    assert_clean(&repository, 1);
}

/// Every kind of file, every kind of failure of its write.
#[test]
fn no_failing_write_leaves_a_snapshot() {
    for prefix in ["data/", "index/", "snapshots/"] {
        for nth in [1, 2] {
            for fault in [Fault::Fails, Fault::Denies, Fault::Lies, Fault::Truncates] {
                let (faults, _, repository) = faulty();
                faults.plan(prefix, nth, fault);
                let result = back_up_all(vec![Arc::clone(&repository)], &small(), 2);
                faults.lift();
                let error = match result {
                    Err(error) => error,
                    // There is only one snapshot file.
                    Ok(mut outcomes) if prefix == "snapshots/" && nth == 2 => {
                        outcomes.remove(0).result.unwrap();
                        continue;
                    }
                    Ok(mut outcomes) => outcomes.remove(0).result.unwrap_err(),
                };
                if matches!(fault, Fault::Fails | Fault::Denies) {
                    assert!(matches!(error, RepositoryError::Storage(_)), "{prefix} {nth} {fault:?}: {error}");
                } else {
                    assert!(matches!(error, RepositoryError::Damaged { .. }), "{prefix} {nth} {fault:?}: {error}");
                }
                // (An index that the storage cut short is damage of its own that only the storage can be blamed for.)
                assert_eq!(repository.snapshots().unwrap().len(), 0, "{prefix} {nth} {fault:?}");
                assert_eq!(repository.locks().unwrap(), []);
            }
        }
    }
}

#[test]
fn a_hanging_storage_can_be_cancelled() {
    let (faults, _, repository) = faulty();
    faults.plan("data/", 1, Fault::Hangs);
    let files = small();
    let archive = Archive::start(vec![Arc::clone(&repository)], request(&files)).unwrap();
    write_all(&archive, &files, 1);
    let control = archive.control();
    let outcome = std::thread::scope(|scope| {
        let commit = scope.spawn(move || archive.commit(Vec::new()).remove(0).result);
        control.cancel("enough");
        commit.join().unwrap()
    });
    assert!(matches!(outcome, Err(RepositoryError::Cancelled(_))), "{outcome:?}");
    faults.lift();
    assert_clean(&repository, 0);
}

#[test]
fn one_repository_failing_does_not_stop_the_other() {
    let (faults, _, broken) = faulty();
    let healthy = init(&Storage::memory());
    faults.plan("data/", 2, Fault::Fails);
    let files = files();
    let outcomes = back_up_all(vec![Arc::clone(&broken), Arc::clone(&healthy)], &files, 2).unwrap();
    assert!(matches!(outcomes[0].result, Err(RepositoryError::Storage(_))));
    outcomes[1].result.as_ref().unwrap();
    faults.lift();
    assert_clean(&broken, 0);
    assert_clean(&healthy, 1);
    let snapshot = healthy.snapshot(&SnapshotChoice::Latest).unwrap();
    assert!(read(&healthy, &snapshot, "b.tsv") == files[1].1);
}

/// One of two repositories is locked exclusively: it takes no part, the other gets its snapshot.
#[test]
fn a_locked_repository_takes_no_part() {
    let (faults, _, locked) = faulty();
    let free = init(&Storage::memory());
    let id = back_up(&locked, &small()).id;
    // An exclusive operation that does not end: it cannot write its new key.
    faults.plan("keys/", 1, Fault::Hangs);
    let pruning = Arc::clone(&locked);
    std::thread::scope(|scope| {
        let changing = scope.spawn(move || pruning.change_password(&"new".into()));
        while faults.hung() == 0 {
            std::thread::yield_now();
        }
        let error = Archive::start(vec![Arc::clone(&locked)], request(&small())).unwrap_err();
        assert!(matches!(error, RepositoryError::Locked { .. }), "{error}");
        let outcomes = back_up_all(vec![Arc::clone(&locked), Arc::clone(&free)], &small(), 2).unwrap();
        assert!(matches!(outcomes[0].result, Err(RepositoryError::Locked { .. })));
        outcomes[1].result.as_ref().unwrap();
        faults.release();
        changing.join().unwrap().unwrap_err();
    });
    assert_eq!(locked.snapshot(&SnapshotChoice::Latest).unwrap().id, id);
    assert_clean(&free, 1);
    assert_eq!(locked.locks().unwrap(), []);
}

/// Packs before the index that names them, everything before the snapshot, the snapshot last.
#[test]
fn what_is_referenced_is_stored_before() {
    let (faults, _, repository) = faulty();
    back_up(&repository, &files());
    let log: Vec<_> = faults.log().into_iter().filter(|line| !line.contains("locks/")).collect();
    let last = |what: &str| log.iter().rposition(|line| line.starts_with(what)).unwrap();
    let first = |what: &str| log.iter().position(|line| line.starts_with(what)).unwrap();
    assert_eq!(last("w snapshots/"), log.len() - 1, "{log:#?}");
    assert_eq!(first("w snapshots/"), last("w snapshots/"), "the engine's own snapshot was written too");
    assert!(last("w data/") < last("w index/"), "{log:#?}");
}

#[test]
fn a_cancellation_after_the_streams_is_heard() {
    let repository = init(&Storage::memory());
    let files = small();
    let archive = Archive::start(vec![Arc::clone(&repository)], request(&files)).unwrap();
    write_all(&archive, &files, 1);
    archive.control().cancel("at the last moment");
    assert!(archive.commit(Vec::new()).remove(0).result.is_err());
    assert_clean(&repository, 0);
}

/// T13, and "missing or corrupt data is an error, never a short stream".
#[test]
fn reading_reports_missing_and_changed_data() {
    use std::io::Read;
    let storage = Storage::memory();
    let repository = init(&storage);
    back_up(&repository, &vec![("rows.tsv", noise(1, 40_000_000))]);
    let snapshot = repository.snapshot(&SnapshotChoice::Latest).unwrap();
    let runtime = Storage::runtime();
    let operator = storage.operator();
    let packs = runtime.block_on(operator.list_with("data/").recursive(true).into_future()).unwrap();
    let (pack, _) = packs
        .iter()
        .filter(|entry| entry.metadata().is_file())
        .map(|entry| (entry.path().to_owned(), entry.metadata().content_length()))
        .max_by_key(|(_, size)| *size)
        .unwrap();
    let whole = runtime.block_on(operator.read(&pack)).unwrap().to_vec();
    let read_all = |repository: &Repository| {
        let mut bytes = Vec::new();
        let end = repository.read(&snapshot, "rows.tsv").unwrap().read_to_end(&mut bytes);
        (end, bytes.len())
    };
    let put = |bytes: Vec<u8>| runtime.block_on(operator.write(&pack, bytes)).unwrap();

    let mut changed = whole.clone();
    changed[whole.len() / 2] ^= 1;
    put(changed);
    let (end, read) = read_all(&repository);
    assert!(end.unwrap_err().to_string().contains("as it was written"));
    assert!(read < 40_000_000);
    let report = repository.check(CheckOptions { read_data: true }).unwrap();
    assert!(!report.is_ok());

    put(whole[..whole.len() / 2].to_vec());
    assert!(read_all(&repository).0.unwrap_err().to_string().contains("too short"));
    runtime.block_on(operator.delete(&pack)).unwrap();
    assert!(read_all(&repository).0.unwrap_err().to_string().contains("missing"));
    assert!(!repository.check(CheckOptions::default()).unwrap().is_ok());

    put(whole);
    assert_eq!(read_all(&repository).1, 40_000_000);

    // What the index does not know is reported before the first byte.
    let indexes = runtime.block_on(operator.list("index/")).unwrap();
    let fresh = Repository::open(&storage, &password()).unwrap();
    for index in indexes.iter().filter(|entry| entry.metadata().is_file()) {
        runtime.block_on(operator.delete(index.path())).unwrap();
    }
    assert!(matches!(fresh.read(&snapshot, "rows.tsv"), Err(RepositoryError::Damaged { .. })));
}

#[test]
fn reads_that_fail_are_errors_everywhere() {
    let (faults, storage, repository) = faulty();
    back_up(&repository, &small());
    let snapshot = repository.snapshot(&SnapshotChoice::Latest).unwrap();
    faults.fail_reads("snapshots/");
    assert!(matches!(repository.snapshots(), Err(RepositoryError::Storage(_))));
    faults.fail_reads("data/");
    assert!(repository.entries(&snapshot).is_err());
    faults.fail_reads("config");
    assert!(matches!(Repository::open(&storage, &password()), Err(RepositoryError::Storage(_))));
    assert!(
        back_up_all(vec![Arc::clone(&repository)], &small(), 1).is_err_and(|_| true) || repository.snapshots().is_err()
    );
    faults.lift();
    assert_clean(&repository, 1);
}

/// T7: somebody removes our data while we work, caring for no lock.
#[test]
fn data_pruned_away_meanwhile_is_noticed() {
    let storage = Storage::memory();
    let repository = init(&storage);
    back_up(&repository, &small());
    let files = small();
    let archive = Archive::start(vec![Arc::clone(&repository)], request(&files)).unwrap();
    write_all(&archive, &files, 1);
    // All of its content is known already and will not be stored again; now it goes.
    let runtime = Storage::runtime();
    for entry in runtime.block_on(storage.operator().list("index/")).unwrap() {
        if entry.metadata().is_file() {
            runtime.block_on(storage.operator().delete(entry.path())).unwrap();
        }
    }
    let result = archive.commit(Vec::new()).remove(0).result;
    match result {
        // Unless the archiver read the index only now, and stored everything again.
        Ok(published) => {
            let snapshot = repository.snapshot(&SnapshotChoice::Id(published.id)).unwrap();
            assert!(read(&repository, &snapshot, "b.tsv") == files[1].1);
        }
        Err(error) => {
            assert!(matches!(error, RepositoryError::Damaged { .. }), "{error}");
            assert_eq!(repository.snapshots().unwrap().len(), 1);
        }
    }
}

/// A storage that does not answer while a backup begins: its end does not wait for the storage.
#[test]
fn a_start_is_given_up_while_a_lock_hangs() {
    let (faults, _, repository) = faulty();
    let other = init(&Storage::memory());
    faults.plan("locks/", 1, Fault::Hangs);
    let cancel = Cancel::new();
    std::thread::scope(|scope| {
        let repositories = vec![Arc::clone(&repository), Arc::clone(&other)];
        let start = scope.spawn(|| Archive::start_unless(&cancel, repositories, request(&small())));
        while faults.hung() == 0 {
            std::thread::yield_now();
        }
        let stopped = Instant::now();
        cancel.cancel("interrupted");
        let error = start.join().unwrap().unwrap_err();
        assert!(matches!(&error, RepositoryError::Cancelled(reason) if reason == "interrupted"), "{error}");
        assert!(stopped.elapsed() < Duration::from_secs(10), "{:?}", stopped.elapsed());
    });
    faults.release();
    assert_clean(&repository, 0);
    assert_clean(&other, 0);
    back_up(&repository, &small());

    // The same for opening it.
    let cancel = Cancel::new();
    cancel.cancel("interrupted");
    let storage = Storage::memory();
    let error = Repository::find(&storage, &password(), &cancel).unwrap_err();
    assert!(matches!(&error, RepositoryError::Cancelled(_)), "{error}");
    assert!(Repository::find(&storage, &password(), &Cancel::new()).unwrap().is_none());
}
