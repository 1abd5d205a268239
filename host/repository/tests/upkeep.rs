//! Forget, prune, check and keys.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "the helpers of a test fail it")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use coffer_repository::{CheckOptions, PruneOptions, Repository, RepositoryError, SnapshotChoice, Unlock};
use coffer_storage::Storage;
use common::{PASSWORD, back_up, init, noise, password, read, text};

fn stored(storage: &Storage) -> u64 {
    let listed = Storage::runtime().block_on(storage.operator().list_with("data/").recursive(true).into_future());
    listed.unwrap().iter().map(|entry| entry.metadata().content_length()).sum()
}

fn now() -> PruneOptions {
    PruneOptions { keep_marked: Duration::ZERO, ..PruneOptions::default() }
}

#[test]
fn forgetting_takes_ids_and_can_be_tried() {
    let repository = init(&Storage::memory());
    let ids: Vec<_> = (0..3).map(|seed| back_up(&repository, &vec![("dump.sql", text(seed, 1000))]).id).collect();
    assert_eq!(repository.forget(&[&ids[0][..8]], true).unwrap()[0].id, ids[0]);
    assert_eq!(repository.snapshots().unwrap().len(), 3);
    assert!(matches!(
        repository.forget(&[&ids[0], "ffffffffff"], false),
        Err(RepositoryError::SnapshotNotFound { .. })
    ));
    assert_eq!(repository.snapshots().unwrap().len(), 3, "all or none");
    assert_eq!(repository.forget(&[&ids[0], &ids[0]], false).unwrap().len(), 1);
    assert_eq!(repository.snapshots().unwrap().len(), 2);
    assert_eq!(repository.locks().unwrap(), []);
}

#[test]
fn a_damaged_snapshot_does_not_hide_the_others() {
    let storage = Storage::memory();
    let repository = init(&storage);
    let ids: Vec<_> = (0..3).map(|seed| back_up(&repository, &vec![("dump.sql", text(seed, 1000))]).id).collect();
    let file = format!("snapshots/{}", ids[1]);
    let whole = Storage::runtime().block_on(storage.operator().read(&file)).unwrap().to_vec();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    for content in [flipped, whole[..whole.len() / 2].to_vec(), Vec::new()] {
        Storage::runtime().block_on(storage.operator().write(&file, content)).unwrap();
        let listing = repository.listing().unwrap();
        let listed: Vec<_> = listing.snapshots.iter().map(|snapshot| &snapshot.id).collect();
        assert_eq!(listed, [&ids[0], &ids[2]]);
        assert_eq!(listing.damaged.iter().map(|damaged| &damaged.id).collect::<Vec<_>>(), [&ids[1]]);
        let why = listing.damaged[0].to_string();
        assert!(why.contains(&ids[1]) && !why.contains('\n'), "{why}");

        // The others can be named, it itself and the newest cannot.
        assert_eq!(repository.snapshot(&SnapshotChoice::Id(ids[0][..12].to_owned())).unwrap().id, ids[0]);
        for choice in [SnapshotChoice::Latest, SnapshotChoice::Id(ids[1].clone())] {
            let error = repository.snapshot(&choice).unwrap_err().to_string();
            assert!(error.contains(&ids[1]), "{error}");
        }
        assert!(repository.snapshots().is_err());
        let report = repository.check(CheckOptions::default()).unwrap();
        assert!(report.errors.iter().any(|error| error.contains(&ids[1])), "{report:?}");
        assert!(repository.prune(&now()).is_err(), "what the snapshot needs is not known");
    }
    Storage::runtime().block_on(storage.operator().write(&file, whole)).unwrap();
    assert_eq!(repository.snapshots().unwrap().len(), 3);
    assert!(repository.check(CheckOptions { read_data: true }).unwrap().is_ok());
    assert_eq!(repository.locks().unwrap(), []);
}

#[test]
fn pruning_marks_first_and_frees_later() {
    let storage = Storage::memory();
    let repository = init(&storage);
    let gone = back_up(&repository, &vec![("dump.sql", noise(1, 40_000_000))]);
    back_up(&repository, &vec![("dump.sql", noise(2, 10_000_000))]);
    repository.forget(&[gone.id], false).unwrap();
    let before = stored(&storage);

    let planned = repository.prune(&PruneOptions { dry_run: true, ..PruneOptions::default() }).unwrap();
    assert!(planned.dry_run && planned.marked > 30_000_000 && planned.freed == 0, "{planned:?}");
    assert_eq!(stored(&storage), before);

    let marked = repository.prune(&PruneOptions::default()).unwrap();
    assert_eq!((marked.marked, marked.freed), (planned.marked, 0));
    assert!(stored(&storage) >= 50_000_000, "the first phase removed data");

    let waiting = repository.prune(&PruneOptions::default()).unwrap();
    assert!(waiting.waiting >= marked.marked && waiting.freed == 0, "{waiting:?}");

    let freed = repository.prune(&now()).unwrap();
    assert!(freed.freed > 30_000_000, "{freed:?}");
    assert!(stored(&storage) < 15_000_000);
    assert_eq!(repository.check(CheckOptions { read_data: true }).unwrap().errors, Vec::<String>::new());
    let snapshot = repository.snapshot(&SnapshotChoice::Latest).unwrap();
    assert!(read(&repository, &snapshot, "dump.sql") == noise(2, 10_000_000));
    assert_eq!(repository.locks().unwrap(), []);
}

#[test]
fn an_instant_prune_frees_at_once() {
    let storage = Storage::memory();
    let repository = init(&storage);
    let gone = back_up(&repository, &vec![("dump.sql", noise(1, 20_000_000))]);
    repository.forget(&[gone.id], false).unwrap();
    let report = repository.prune(&PruneOptions { instant: true, ..PruneOptions::default() }).unwrap();
    assert!(report.freed > 19_000_000 && report.marked == 0, "{report:?}");
    assert!(stored(&storage) < 1_000_000);
}

#[test]
fn what_must_be_alone_waits_for_nobody_and_disturbs_nobody() {
    let repository = init(&Storage::memory());
    let id = back_up(&repository, &vec![("dump.sql", text(1, 1000))]).id;
    let other = repository.add_key(&"second".into(), None, None).unwrap();
    let held = repository.share().unwrap();
    let locked = |error: RepositoryError| assert!(matches!(error, RepositoryError::Locked { .. }), "{error}");
    locked(repository.prune(&PruneOptions::default()).unwrap_err());
    locked(repository.forget(&[&id], false).unwrap_err());
    locked(repository.remove_key(&other).unwrap_err());
    locked(repository.change_password(&"third".into()).unwrap_err());
    // Beside others: backups, checks, reading, new keys, trying out.
    back_up(&repository, &vec![("dump.sql", text(2, 1000))]);
    assert!(repository.check(CheckOptions::default()).unwrap().is_ok());
    repository.forget(&[&id], true).unwrap();
    repository.prune(&PruneOptions { dry_run: true, ..PruneOptions::default() }).unwrap();
    assert_eq!(repository.unlock(Unlock::Stale).unwrap().locks, [], "a live lock is not stale");
    assert_eq!(repository.unlock(Unlock::All).unwrap().locks.len(), 1);
    drop(held);
    repository.remove_key(&other).unwrap();
}

#[test]
fn passwords_come_and_go() {
    let storage = Storage::memory();
    let repository = init(&storage);
    let opens = |password: &str| Repository::open(&storage, &password.into());
    let first = repository.keys().unwrap().remove(0);
    assert!(first.current);
    let second = repository.add_key(&"second".into(), Some("host-0".into()), Some("bob".into())).unwrap();
    assert_eq!(repository.keys().unwrap().iter().filter(|key| key.current).count(), 1);
    let listed = repository.keys().unwrap().into_iter().find(|key| key.id == second).unwrap();
    assert_eq!((listed.user.as_deref(), listed.host.as_deref()), (Some("bob"), Some("host-0")));
    assert!(listed.created.is_some());

    let refused = |prefix: &str| repository.remove_key(prefix).unwrap_err();
    assert!(refused(&first.id).to_string().contains("opened with"));
    assert!(matches!(refused("zz"), RepositoryError::Key(_)));
    assert!(matches!(refused(""), RepositoryError::Key(_)));

    let by_second = opens("second").unwrap();
    assert_eq!(by_second.id(), repository.id());
    by_second.remove_key(&first.id[..12]).unwrap();
    assert!(matches!(opens(PASSWORD), Err(RepositoryError::WrongPassword { .. })));
    assert!(by_second.remove_key(&second).is_err());

    by_second.change_password(&"third".into()).unwrap();
    assert!(opens("second").is_err());
    assert!(opens("third").unwrap().keys().unwrap()[0].current);
    assert_eq!(by_second.keys().unwrap().len(), 1);
}

/// One opening derives the key; everything after works from the key in memory, even when the password has changed meanwhile.
#[test]
fn the_key_stays_in_memory() {
    let storage = Storage::memory();
    let repository = init(&storage);
    let other = Repository::open(&storage, &password()).unwrap();
    other.change_password(&"new".into()).unwrap();
    back_up(&repository, &vec![("dump.sql", text(1, 1000))]);
    let arc = Arc::new(other);
    back_up(&arc, &vec![("dump.sql", text(2, 1000))]);
    assert_eq!(arc.snapshots().unwrap().len(), 2);
}
