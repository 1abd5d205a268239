//! The cache of compiled components: hits, damage, many users at once.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests, which clippy does not know as such"
)]

mod guests;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use coffer_sandbox::Engine;
use guests::{FINISH, GOOD_RUN, Guest, WRITE};

fn engine(folder: &Path) -> Engine {
    Engine::new(Some(folder.to_owned())).unwrap()
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn the_second_load_is_a_hit_across_engines() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = Guest::running(&[WRITE, FINISH], GOOD_RUN).bytes();
    let first = engine(folder.path()).load(&bytes, "x").unwrap();
    assert!(!first.from_cache());
    let second = engine(folder.path()).load(&bytes, "x").unwrap();
    assert!(second.from_cache());
    assert_eq!(first.digest(), second.digest());
    assert_eq!(first.describe().unwrap(), second.describe().unwrap());
    let other = engine(folder.path()).load(&Guest::default().bytes(), "y").unwrap();
    assert!(!other.from_cache(), "another component has an entry of its own");
    assert_eq!(entries(folder.path()).len(), 2, "no temporary file is left behind");
}

#[test]
fn a_damaged_entry_is_rebuilt() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = Guest::default().bytes();
    let engine = engine(folder.path());
    engine.load(&bytes, "x").unwrap();
    let entry = entries(folder.path()).remove(0);
    let sound = fs::read(&entry).unwrap();
    let mut flipped = sound.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let mut middle = sound.clone();
    middle[sound.len() / 2] ^= 0x80;
    for damage in [Vec::new(), sound[..50].to_vec(), sound[..sound.len() - 1].to_vec(), flipped, middle] {
        fs::write(&entry, damage).unwrap();
        let component = engine.load(&bytes, "x").unwrap();
        assert!(!component.from_cache() && component.describe().is_ok());
        assert_eq!(fs::read(&entry).unwrap().len(), sound.len(), "the entry was replaced");
        assert!(engine.load(&bytes, "x").unwrap().from_cache());
    }
}

#[test]
fn an_entry_of_another_component_is_not_taken() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(folder.path());
    let (one, two) = (Guest::default().bytes(), Guest::running(&[WRITE, FINISH], GOOD_RUN).bytes());
    engine.load(&one, "one").unwrap();
    let entry_of_one = entries(folder.path()).remove(0);
    engine.load(&two, "two").unwrap();
    let entry_of_two = entries(folder.path()).into_iter().find(|path| *path != entry_of_one).unwrap();
    fs::copy(&entry_of_one, &entry_of_two).unwrap();
    assert!(!engine.load(&two, "two").unwrap().from_cache());
}

#[test]
fn many_at_once_agree() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = Guest::default().bytes();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let engine = engine(folder.path());
                for _ in 0..5 {
                    engine.load(&bytes, "x").unwrap().describe().unwrap();
                }
            });
        }
    });
    assert_eq!(entries(folder.path()).len(), 1);
}

#[test]
fn an_unwritable_entry_does_not_stop_the_work() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = Guest::default().bytes();
    let engine = engine(folder.path());
    engine.load(&bytes, "x").unwrap();
    let entry = entries(folder.path()).remove(0);
    fs::remove_file(&entry).unwrap();
    fs::create_dir(&entry).unwrap();
    assert!(!engine.load(&bytes, "x").unwrap().from_cache());
}

#[test]
fn a_shared_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o770)).unwrap();
    let text = Engine::new(Some(folder.path().to_owned())).unwrap_err().to_string();
    assert!(text.contains("chmod 700") && text.contains("could plant code"), "{text}");
}
