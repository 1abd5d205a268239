//! A released version of the contract never changes: `wit/released.sha256` holds the hash of each of its files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::{fs, io};

use sha2::{Digest, Sha256};

const LIST: &str = "released.sha256";

/// What differs between the files in `wit` and the list of those that are released. Versions without any file in the list
/// are not released and may change.
fn drift(wit: &Path) -> io::Result<Vec<String>> {
    let mut released = BTreeMap::new();
    let mut problems = Vec::new();
    for line in fs::read_to_string(wit.join(LIST))?.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.split_once("  ") {
            Some((hash, file)) if hash.len() == 64 && file.contains('/') => {
                released.insert(file.to_owned(), hash.to_owned());
            }
            _ => problems.push(format!("{LIST} has a line that sha256sum would not write: {line:?}")),
        }
    }
    for (file, hash) in &released {
        match fs::read(wit.join(file)) {
            Ok(bytes) if hex::encode(Sha256::digest(&bytes)) == *hash => {}
            Ok(_) => problems.push(format!("{file} was changed after its release")),
            Err(error) => problems.push(format!("{file} was released and cannot be read: {error}")),
        }
    }
    let versions: BTreeSet<&str> = released.keys().filter_map(|file| Some(file.split_once('/')?.0)).collect();
    for version in versions.into_iter().filter(|version| wit.join(version).is_dir()) {
        for entry in wit.join(version).read_dir()? {
            let file = format!("{version}/{}", entry?.file_name().to_string_lossy());
            if !released.contains_key(&file) {
                problems.push(format!("{file} was added after the release of {version}"));
            }
        }
    }
    Ok(problems)
}

#[test]
fn released_contracts_are_frozen() {
    let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit");
    let problems = drift(&wit).unwrap();
    assert!(
        problems.is_empty(),
        "released versions of the contract must not change; put the change into a new directory since-X:\n{}",
        problems.join("\n")
    );
}

/// A folder with one released version of one file, and one unreleased.
fn folder() -> io::Result<tempfile::TempDir> {
    let dir = tempfile::tempdir()?;
    for version in ["since-1", "since-2"] {
        fs::create_dir(dir.path().join(version))?;
        fs::write(dir.path().join(version).join("a.wit"), "package a;")?;
    }
    let hash = hex::encode(Sha256::digest(b"package a;"));
    fs::write(dir.path().join(LIST), format!("# comment\n{hash}  since-1/a.wit\n"))?;
    Ok(dir)
}

#[test]
fn frozen_means_no_change_no_loss_and_no_addition() {
    let dir = folder().unwrap();
    assert_eq!(drift(dir.path()).unwrap(), [""; 0]);
    fs::write(dir.path().join("since-2/a.wit"), "package b;").unwrap();
    assert_eq!(drift(dir.path()).unwrap(), [""; 0], "an unreleased version may change");

    fs::write(dir.path().join("since-1/b.wit"), "").unwrap();
    assert!(drift(dir.path()).unwrap()[0].contains("since-1/b.wit was added"));
    fs::remove_file(dir.path().join("since-1/b.wit")).unwrap();

    fs::write(dir.path().join("since-1/a.wit"), "package a; ").unwrap();
    assert!(drift(dir.path()).unwrap()[0].contains("since-1/a.wit was changed"));

    fs::remove_dir_all(dir.path().join("since-1")).unwrap();
    assert!(drift(dir.path()).unwrap()[0].contains("since-1/a.wit was released"));
}

#[test]
fn frozen_lists_that_cannot_be_read_do_not_pass() {
    let dir = folder().unwrap();
    fs::write(dir.path().join(LIST), "1234 since-1/a.wit\n").unwrap();
    assert_eq!(drift(dir.path()).unwrap().len(), 1);
    fs::remove_file(dir.path().join(LIST)).unwrap();
    assert!(drift(dir.path()).is_err());
}
