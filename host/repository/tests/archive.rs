//! Backing up and reading back, in memory and in a folder.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "the helpers of a test fail it")]

mod common;

use std::io::Read;
use std::sync::Arc;

use coffer_repository::{
    Archive, BackupRequest, CheckOptions, EntryKind, InitOptions, Repository, RepositoryError, SnapshotChoice,
    StreamSpec,
};
use coffer_storage::Storage;
use common::{
    Files, MANIFEST, PASSWORD, back_up, back_up_all, folder, init, noise, password, read, request, text, write_all,
};

/// Not in order of their names, folders not together, sizes around the interesting ones.
fn files() -> Files {
    vec![
        ("shop/schema.sql", text(1, 3_000)),
        ("shop/orders.tsv", text(2, 7_000_000)),
        ("users.sql", Vec::new()),
        ("shop/customers.tsv", noise(3, 2_500_000)),
        ("archive/2025/old.tsv", text(4, 1)),
        ("shop/z.tsv", text(5, 512 * 1024)),
    ]
}

fn check_everything(storage: &Storage) {
    let repository = init(storage);
    let files = files();
    let published = back_up(&repository, &files);
    let bytes: usize = files.iter().map(|(_, content)| content.len()).sum::<usize>() + MANIFEST.len();
    assert_eq!(published.files, 7);
    assert_eq!(published.bytes_processed, bytes as u64);
    assert!(published.bytes_added > published.bytes_processed, "data and trees");
    assert!(published.bytes_added_packed < published.bytes_added);

    // With a fresh start, from the password alone.
    let repository = Repository::open(storage, &password()).unwrap();
    let snapshot = repository.snapshot(&SnapshotChoice::Latest).unwrap();
    assert_eq!(snapshot.id, published.id);
    assert_eq!((snapshot.host.as_str(), snapshot.paths.as_slice()), ("host-0", ["/shop".to_owned()].as_slice()));
    assert_eq!(snapshot.tags, ["nightly"]);
    assert_eq!(snapshot.program, format!("coffer {}", env!("CARGO_PKG_VERSION")));
    let summary = snapshot.summary.clone().unwrap();
    assert_eq!((summary.files, summary.bytes), (7, bytes as u64));

    let entries = repository.entries(&snapshot).unwrap();
    let paths: Vec<_> = entries.iter().map(|entry| (entry.path.as_str(), entry.kind, entry.size)).collect();
    assert_eq!(
        paths,
        [
            ("archive", EntryKind::Folder, None),
            ("archive/2025", EntryKind::Folder, None),
            ("archive/2025/old.tsv", EntryKind::File, Some(1)),
            ("manifest.json", EntryKind::File, Some(MANIFEST.len() as u64)),
            ("shop", EntryKind::Folder, None),
            ("shop/customers.tsv", EntryKind::File, Some(2_500_000)),
            ("shop/orders.tsv", EntryKind::File, Some(7_000_000)),
            ("shop/schema.sql", EntryKind::File, Some(3_000)),
            ("shop/z.tsv", EntryKind::File, Some(512 * 1024)),
            ("users.sql", EntryKind::File, Some(0)),
        ]
    );
    for (path, content) in &files {
        assert!(read(&repository, &snapshot, path) == *content, "{path} came back changed");
    }
    assert_eq!(read(&repository, &snapshot, "/manifest.json"), MANIFEST);
    assert!(matches!(repository.read(&snapshot, "shop/none"), Err(RepositoryError::PathNotFound { .. })));
    assert!(matches!(repository.read(&snapshot, "shop"), Err(RepositoryError::PathNotFound { .. })));
    let report = repository.check(CheckOptions { read_data: true }).unwrap();
    assert_eq!(report.errors, Vec::<String>::new());
    assert_eq!(repository.locks().unwrap(), []);
}

#[test]
fn a_backup_comes_back_from_memory() {
    check_everything(&Storage::memory());
}

#[test]
fn a_backup_comes_back_from_a_folder() {
    let place = tempfile::tempdir().unwrap();
    check_everything(&folder(place.path()));
}

#[test]
fn a_subdirectory_is_a_repository_of_its_own() {
    let storage = Storage::memory();
    let one = init(&storage.subdirectory("demo/repository/v1/nightly/dump"));
    let two = init(&storage.subdirectory("demo/repository/v1/nightly/other"));
    back_up(&one, &vec![("dumpfile.sql", text(1, 100))]);
    assert_eq!(one.snapshots().unwrap().len(), 1);
    assert_eq!(two.snapshots().unwrap().len(), 0);
    assert!(!Repository::exists(&storage).unwrap());
}

/// One pass over the source, several repositories, one of them slower by its own compression state; every one complete.
#[test]
fn one_pass_fills_several_repositories() {
    let storages = [Storage::memory(), Storage::memory(), Storage::memory()];
    let repositories: Vec<_> = storages.iter().map(init).collect();
    let files = files();
    for workers in [1, 2, 5] {
        let outcomes = back_up_all(repositories.clone(), &files, workers).unwrap();
        for outcome in outcomes {
            let published = outcome.result.unwrap();
            let repository = &repositories[outcome.repository];
            let snapshot = repository.snapshot(&SnapshotChoice::Id(published.id)).unwrap();
            for (path, content) in &files {
                assert!(read(repository, &snapshot, path) == *content, "{path} came back changed");
            }
        }
    }
}

/// T4: streams have no size and time, so that a parent would always match; different content under the same name must be read.
#[test]
fn a_second_backup_reads_its_streams() {
    let repository = init(&Storage::memory());
    let first = back_up(&repository, &vec![("dump.sql", text(1, 2_000_000))]);
    let other = text(2, 2_000_000);
    let second = back_up(&repository, &vec![("dump.sql", other.clone())]);
    assert_ne!(first.id, second.id);
    let snapshot = repository.snapshot(&SnapshotChoice::Latest).unwrap();
    assert!(read(&repository, &snapshot, "dump.sql") == other);
}

#[test]
fn unchanged_data_is_not_stored_again() {
    let repository = init(&Storage::memory());
    let mut content = text(1, 20_000_000);
    let first = back_up(&repository, &vec![("rows.tsv", content.clone())]);
    let same = back_up(&repository, &vec![("rows.tsv", content.clone())]);
    assert!(same.bytes_added < 20_000, "{} bytes added, of trees only", same.bytes_added);
    content.splice(1_000_000..1_000_020, b"one row has changed\n".iter().copied());
    let changed = back_up(&repository, &vec![("rows.tsv", content)]);
    assert!(changed.bytes_added < first.bytes_added / 2, "{} of {}", changed.bytes_added, first.bytes_added);
}

/// T9: folders whose streams do not come together must not become two folders (`check_everything` has it too, in the order).
#[test]
fn streams_in_any_order_make_one_tree() {
    let repository = init(&Storage::memory());
    let files = vec![("db1/a", text(1, 10)), ("db2/a", text(2, 10)), ("db1/b", text(3, 10)), ("a", text(4, 10))];
    back_up(&repository, &files);
    let snapshot = repository.snapshot(&SnapshotChoice::Latest).unwrap();
    let paths: Vec<_> = repository.entries(&snapshot).unwrap().into_iter().map(|entry| entry.path).collect();
    assert_eq!(paths, ["a", "db1", "db1/a", "db1/b", "db2", "db2/a", "manifest.json"]);
}

#[test]
fn many_streams_pass() {
    let repository = init(&Storage::memory());
    let names: Vec<String> = (0..300).map(|number| format!("t{number:03}/rows.tsv")).collect();
    let request = BackupRequest { streams: names.iter().map(StreamSpec::new).collect(), ..BackupRequest::default() };
    let archive = Archive::start(vec![Arc::clone(&repository)], request).unwrap();
    for (number, name) in names.iter().enumerate() {
        let mut writer = archive.writer(number).unwrap();
        writer.write(name.as_bytes()).unwrap();
        writer.write(&text(number as u64, number * 300)).unwrap();
        writer.finish().unwrap();
    }
    archive.commit(Vec::new()).remove(0).result.unwrap();
    let snapshot = repository.snapshot(&SnapshotChoice::Latest).unwrap();
    assert!(read(&repository, &snapshot, "t123/rows.tsv").starts_with(b"t123/rows.tsv1\t"));
    assert_eq!(repository.entries(&snapshot).unwrap().len(), 601);
}

#[test]
fn single_format_has_one_file_and_no_manifest() {
    let repository = init(&Storage::memory());
    let request = BackupRequest {
        paths: vec!["/dumpfile.sql".to_owned()],
        streams: vec![StreamSpec::new("dumpfile.sql")],
        manifest_path: None,
        ..BackupRequest::default()
    };
    let archive = Archive::start(vec![Arc::clone(&repository)], request).unwrap();
    let mut writer = archive.writer(0).unwrap();
    writer.write_owned(text(1, 200_000)).unwrap();
    let receipt = writer.finish().unwrap();
    assert_eq!(receipt.bytes, 200_000);
    let progress = archive.progress();
    assert_eq!((progress.written, progress.streams, progress.streams_finished), (200_000, 1, 1));
    let published = archive.commit(Vec::new()).remove(0).result.unwrap();
    assert_eq!((published.files, published.bytes_processed), (1, 200_000));
}

/// T12: a caller that is an asynchronous task blocks, and does not panic.
#[test]
fn it_works_inside_an_asynchronous_runtime() {
    for builder in [tokio::runtime::Builder::new_current_thread(), tokio::runtime::Builder::new_multi_thread()] {
        let mut builder = builder;
        builder.build().unwrap().block_on(async {
            let repository = init(&Storage::memory());
            back_up(&repository, &vec![("dump.sql", text(1, 100_000))]);
            let snapshot = repository.snapshot(&SnapshotChoice::Latest).unwrap();
            assert_eq!(read(&repository, &snapshot, "dump.sql").len(), 100_000);
        });
    }
}

#[test]
fn bad_requests_are_refused_before_anything_starts() {
    let repository = init(&Storage::memory());
    let start = |request: BackupRequest| Archive::start(vec![Arc::clone(&repository)], request);
    let refused = |request| assert!(matches!(start(request), Err(RepositoryError::Invalid(_))));
    refused(BackupRequest { manifest_path: None, ..BackupRequest::default() });
    refused(request(&vec![("a", Vec::new()), ("a", Vec::new())]));
    refused(request(&vec![("manifest.json", Vec::new())]));
    refused(request(&vec![("../etc/passwd", Vec::new())]));
    assert!(matches!(Archive::start(Vec::new(), request(&files())), Err(RepositoryError::Invalid(_))));
    assert_eq!(repository.locks().unwrap(), []);
    assert_eq!(repository.snapshots().unwrap().len(), 0);
}

#[test]
fn passwords_and_places_have_their_own_errors() {
    let storage = Storage::memory();
    assert!(!Repository::exists(&storage).unwrap());
    let open = |password: &str| Repository::open(&storage, &password.into());
    assert!(matches!(open(PASSWORD), Err(RepositoryError::NotFound { .. })));
    init(&storage);
    assert!(Repository::exists(&storage).unwrap());
    assert!(matches!(open("wrong"), Err(RepositoryError::WrongPassword { keys: 1, .. })));
    open(PASSWORD).unwrap();
    let again = Repository::init(&storage, &password(), &InitOptions::default());
    assert!(matches!(again, Err(RepositoryError::AlreadyExists { .. })));
    Repository::open_or_init(&storage, &password(), &InitOptions::default()).unwrap();
}

#[test]
fn of_two_that_create_one_wins_and_the_other_leaves_nothing() {
    let storage = Storage::memory();
    let create = || Repository::init(&storage, &password(), &InitOptions::default());
    let results = std::thread::scope(|scope| [scope.spawn(create), scope.spawn(create)].map(|one| one.join().unwrap()));
    let won: Vec<_> = results.into_iter().flatten().collect();
    assert_eq!(won.len(), 1);
    let repository = Repository::open(&storage, &password()).unwrap();
    assert_eq!(repository.id(), won[0].id());
    assert_eq!(repository.keys().unwrap().len(), 1);
}

/// A key that somebody left behind who lost such a race must not make the repository unreadable.
#[test]
fn those_that_begin_at_the_same_moment_share_one() {
    let folder = tempfile::tempdir().unwrap();
    let storage = common::folder(folder.path());
    let open = || Repository::open_or_init(&storage, &password(), &InitOptions::default()).unwrap().id().to_owned();
    let ids: Vec<String> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..4).map(|_| scope.spawn(open)).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(std::fs::read_dir(folder.path().join("keys")).unwrap().count(), 1, "the others leave nothing");
}

#[test]
fn a_strangers_key_with_the_same_password_is_passed_over() {
    let ours = Storage::memory();
    let repository = init(&ours);
    for _ in 0..3 {
        let theirs = Storage::memory();
        let stranger = init(&theirs);
        let key = format!("keys/{}", stranger.keys().unwrap()[0].id);
        let runtime = Storage::runtime();
        let content = runtime.block_on(theirs.operator().read(&key)).unwrap();
        runtime.block_on(ours.operator().write(&key, content)).unwrap();
    }
    let opened = Repository::open(&ours, &password()).unwrap();
    assert_eq!(opened.id(), repository.id());
    assert_eq!(opened.keys().unwrap().len(), 4);
}

#[test]
fn snapshots_are_chosen_by_id_and_time() {
    let repository = init(&Storage::memory());
    let choose = |choice| repository.snapshot(&choice);
    assert!(matches!(choose(SnapshotChoice::Latest), Err(RepositoryError::SnapshotNotFound { .. })));
    let at = |second| jiff::Timestamp::from_second(second).unwrap();
    let mut ids = Vec::new();
    for second in [2000, 1000, 3000] {
        let files = vec![("dump.sql", text(1, 1000))];
        let archive =
            Archive::start(vec![Arc::clone(&repository)], BackupRequest { time: at(second), ..request(&files) })
                .unwrap();
        write_all(&archive, &files, 1);
        ids.push(archive.commit(Vec::new()).remove(0).result.unwrap().id);
    }
    assert_eq!(choose(SnapshotChoice::Latest).unwrap().id, ids[2]);
    assert_eq!(choose(SnapshotChoice::Before(at(3000))).unwrap().id, ids[0]);
    assert_eq!(choose(SnapshotChoice::Before(at(2000))).unwrap().id, ids[1]);
    assert!(choose(SnapshotChoice::Before(at(1000))).is_err());
    assert_eq!(choose(SnapshotChoice::Id(ids[1][..10].to_owned())).unwrap().id, ids[1]);
    assert!(choose(SnapshotChoice::Id("zz".to_owned())).is_err());
    assert!(choose(SnapshotChoice::Id(String::new())).is_err());
    let listed: Vec<_> = repository.snapshots().unwrap().into_iter().map(|snapshot| snapshot.id).collect();
    assert_eq!(listed, [&ids[1], &ids[0], &ids[2]].map(Clone::clone));
}

#[test]
fn a_reader_may_be_dropped_at_any_point_and_holds_a_lock_until_then() {
    let repository = init(&Storage::memory());
    back_up(&repository, &vec![("dump.sql", noise(1, 30_000_000))]);
    let snapshot = repository.snapshot(&SnapshotChoice::Latest).unwrap();
    let mut reader = repository.read(&snapshot, "dump.sql").unwrap();
    assert_eq!(reader.size(), 30_000_000);
    reader.read_exact(&mut [0; 1000]).unwrap();
    let second = repository.read(&snapshot, "manifest.json").unwrap();
    assert_eq!(repository.locks().unwrap().len(), 1, "readers share a lock");
    assert!(matches!(
        repository.prune(&coffer_repository::PruneOptions::default()),
        Err(RepositoryError::Locked { .. })
    ));
    drop((reader, second));
    assert_eq!(repository.locks().unwrap(), []);
}
