//! The commands that work on repositories alone, on small local ones.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use common::{PASSWORD, SECOND_SESSION, Site, back_up};

const TIMES: [&str; 3] = ["2026-01-01T10:00:00Z", "2026-01-02T10:00:00Z", "2026-01-02T11:00:00Z"];

#[test]
fn an_empty_repository_is_fine() {
    let site = Site::new();
    site.repository();
    site.run(&["snapshots"]).code(0).says(&["ID", "Paths", "0 snapshots"]);
    site.run(&["check", "--read-data"]).code(0).says(&["no errors were found"]);
    site.run(&["prune", "--dry-run"]).code(0).says(&["0 B"]);
    site.run(&["unlock"]).code(0).says(&["no locks"]);
    site.run(&["ls"]).code(1).complains(&["no snapshot at all"]);
}

#[test]
fn snapshots_are_listed_for_people_and_programs() {
    let site = Site::new();
    let repository = site.repository();
    let ids = TIMES.map(|time| back_up(&repository, time, time.as_bytes()));
    let ran = site.run(&["snapshots"]).code(0).says(&[
        "shop-repo (daily/dump)",
        "2026-01-01 10:00:00",
        "host-0",
        "3 snapshots",
    ]);
    let rows: Vec<_> = ran.stdout.lines().filter(|line| line.contains("host-0")).collect();
    assert!(rows[0].starts_with(&ids[0][..8]) && rows[2].starts_with(&ids[2][..8]), "oldest first:\n{}", ran.stdout);
    let objects = site.run(&["snapshots", "--json", "--latest", "1"]).code(0).objects();
    assert_eq!(objects.len(), 1);
    assert_eq!((&objects[0]["id"], &objects[0]["session"]), (&ids[2].clone().into(), &"daily".into()));
}

#[test]
fn files_are_listed_and_dumped() {
    let site = Site::new();
    let repository = site.repository();
    let first = back_up(&repository, TIMES[0], b"one\n");
    back_up(&repository, TIMES[1], b"two\n");
    site.run(&["ls"]).code(0).says(&["shop/\n", "shop/orders.sql\n", "manifest.json"]);
    site.run(&["ls", &first[..8], "/shop", "-l"]).code(0).says(&["4 B", "shop/orders.sql"]);
    site.run(&["ls", "latest", "/nothing"]).code(1).complains(&["nothing"]);
    assert_eq!(site.run(&["dump", "latest", "shop/orders.sql"]).code(0).stdout, "two\n");
    assert_eq!(site.run(&["dump", &first, "/shop/orders.sql"]).code(0).stdout, "one\n");
    let target = site.path().join("orders.sql");
    let dump = |path: &str| site.run(&["dump", "latest", path, "--target", target.to_str().unwrap()]);
    dump("shop/none.sql").code(1).complains(&["shop/none.sql"]);
    assert!(!target.exists(), "a failed dump makes no file");
    dump("shop/orders.sql").code(0).says(&["4 B written"]);
    assert_eq!(fs::read_to_string(&target).unwrap(), "two\n");
    let mode = fs::metadata(&target).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "others can read the file: {mode:o}");
    fs::write(&target, "older").unwrap();
    dump("shop/orders.sql").code(2).complains(&["orders.sql is there already", "--target"]);
    assert_eq!(fs::read_to_string(&target).unwrap(), "older");
    site.run(&["dump", "latest", "shop/orders.sql", "--target", "/dev/null"]).code(0).says(&["4 B written"]);
    let left: Vec<_> = fs::read_dir(site.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().contains(".part-")), "{left:?}");
}

#[test]
fn forget_by_policy_keeps_what_it_says() {
    let site = Site::new();
    let repository = site.repository();
    let ids = TIMES.map(|time| back_up(&repository, time, time.as_bytes()));
    let ran = site.run(&["forget", "--keep-daily", "7", "--dry-run"]).code(0);
    ran.says(&["1 snapshot would be removed", &ids[1][..8]]);
    assert_eq!(repository.snapshots().unwrap().len(), 3, "a dry run removes nothing");
    let objects = site.run(&["forget", "--keep-daily", "7", "--json"]).code(0).objects();
    let of = |kind: &str| objects.iter().filter(|object| object["message_type"] == kind).count();
    assert_eq!((of("kept"), of("removed")), (2, 1));
    let left: Vec<_> = repository.snapshots().unwrap().into_iter().map(|snapshot| snapshot.id).collect();
    assert_eq!(left, [ids[0].clone(), ids[2].clone()]);
}

#[test]
fn forget_by_id_and_prune() {
    let site = Site::new();
    let repository = site.repository();
    let ids = TIMES.map(|time| back_up(&repository, time, time.as_bytes()));
    site.run(&["forget", &ids[0][..8], &ids[1][..8], "--prune"]).code(0).says(&["2 snapshots removed", "in use of"]);
    assert_eq!(repository.snapshots().unwrap().len(), 1);
    let objects = site.run(&["prune", "--instant", "--json"]).code(0).objects();
    assert_eq!((&objects[0]["message_type"], &objects[0]["dry_run"]), (&"prune".into(), &false.into()));
    site.run(&["check", "--read-data"]).code(0);
    assert_eq!(site.run(&["dump", "latest", "shop/orders.sql"]).code(0).stdout, TIMES[2]);
    site.run(&["prune", "--keep-marked", "soon"]).code(2).complains(&["--keep-marked", "23h"]);
}

fn lose_data(site: &Site, repository: &str) {
    for folder in fs::read_dir(site.store().join(repository).join("data")).unwrap() {
        fs::remove_dir_all(folder.unwrap().path()).unwrap();
    }
}

#[test]
fn damage_is_found_and_named() {
    let site = Site::new();
    let repository = site.repository();
    back_up(&repository, TIMES[0], b"x");
    lose_data(&site, "shop/repository/v1/daily/dump");
    let ran = site.run(&["check", "--json"]).code(1).complains(&["is damaged"]);
    let objects = ran.objects();
    assert_eq!(objects[0]["ok"], false);
    assert!(!objects[0]["errors"].as_array().unwrap().is_empty());
    assert_eq!(objects.last().unwrap()["kind"], "damaged");
}

#[test]
fn a_damaged_snapshot_is_named_beside_the_others() {
    let site = Site::new();
    let repository = site.repository();
    let ids = TIMES.map(|time| back_up(&repository, time, time.as_bytes()));
    fs::write(site.store().join("shop/repository/v1/daily/dump/snapshots").join(&ids[1]), "nothing").unwrap();
    let ran = site.run(&["snapshots"]).code(3).says(&[&ids[0][..8], &ids[2][..8]]);
    ran.complains(&[&format!("snapshot {} cannot be read", ids[1])]);
    site.run(&["dump", "latest", "shop/orders.sql"]).code(1).complains(&[&ids[1], "choose a snapshot by its id"]);
    assert_eq!(site.run(&["dump", &ids[2][..12], "shop/orders.sql"]).code(0).stdout, TIMES[2]);
    site.run(&["check"]).code(1).complains(&[&ids[1]]);
    site.run(&["forget", "--keep-last", "1"]).code(3).says(&["1 snapshot removed"]).complains(&[&ids[1]]);
}

#[test]
fn keys_are_added_listed_changed_and_removed() {
    let site = Site::new();
    site.repository();
    let file = site.path().join("new");
    fs::write(&file, "second-password\n").unwrap();
    let file = file.to_str().unwrap();
    site.run(&["key", "add", "--new-password-file", file, "--user", "me", "--host", "here"]).code(0).says(&["added"]);
    let keys = site.run(&["key", "list", "--json"]).code(0).objects();
    assert_eq!(keys.len(), 2);
    let added = keys.iter().find(|key| key["current"] == false).unwrap();
    assert_eq!((&added["user"], &added["host"]), (&"me".into(), &"here".into()));
    let id = added["id"].as_str().unwrap();

    site.run(&["key", "remove", id, "--dry-run"]).code(0).says(&["would be removed"]);
    site.run(&["key", "remove", &id[..8]]).code(0).says(&["removed"]);
    let current = site.run(&["key", "list", "--json"]).code(0).objects()[0]["id"].as_str().unwrap().to_owned();
    site.run(&["key", "remove", &current]).code(1);

    site.run_with_input(&["key", "passwd"], "third-password\n").code(0).says(&["RESTIC_PASSWORD"]);
    site.run(&["snapshots"]).code(12);
    site.write("demo.yaml", &site.text().replace(PASSWORD, "third-password"));
    site.run(&["snapshots"]).code(0);
    site.run_with_input(&["key", "add"], "").code(2).complains(&["empty"]);
}

/// Whoever replaced the only copy of the old password would lose what it still opens.
#[test]
fn a_new_password_names_the_other_repositories_of_the_old_one() {
    let passwd = |site: &Site, arguments: &[&str]| {
        site.run_with_input(&[&["key", "passwd"][..], arguments].concat(), "third-password\n").code(0)
    };
    let (waits, goes) = ("leave the encryption Secret as it is", "put the new one into the encryption Secret");
    let other = "repository demo/far-repo (weekly/dump)";
    let both = |site: &Site| site.write("demo.yaml", &format!("{}{SECOND_SESSION}", site.text().trim_end()));

    let site = Site::new();
    both(&site);
    site.repository();
    site.far_repository();
    // Whatever is chosen, the Secret is everybody's.
    passwd(&site, &["-r", "shop-repo"]).says(&[waits, other]);
    let ran = passwd(&site, &["-r", "far-repo"]).says(&[goes]);
    assert!(!ran.stdout.contains("shop-repo"), "it has the new password already:\n{}", ran.stdout);

    let site = Site::new();
    both(&site);
    site.repository();
    site.far_repository();
    let objects = passwd(&site, &["-r", "shop-repo", "--json"]).objects();
    assert_eq!(objects[0]["others_with_old_password"], serde_json::json!([other]));

    let site = Site::new();
    both(&site);
    site.repository();
    passwd(&site, &["-r", "shop-repo"]).says(&[goes]).complains(&["cannot be opened", other, "no repository at"]);

    let site = Site::new();
    let lost = SECOND_SESSION.replace("name: encryption", "name: lost");
    site.write("demo.yaml", &format!("{}{lost}", site.text().trim_end()));
    site.repository();
    passwd(&site, &["-r", "shop-repo"]).says(&[goes]).complains(&["it is not known which other repositories", "lost"]);
}

#[test]
fn locks_are_shown_and_removed() {
    let site = Site::new();
    let repository = site.repository();
    let lock = repository.share().unwrap();
    site.run(&["unlock", "--dry-run"]).code(0).says(&["would keep the lock of"]);
    site.run(&["unlock"]).code(0).says(&["no locks to remove"]);
    assert_eq!(repository.locks().unwrap().len(), 1, "a lock in use stays");
    site.run(&["unlock", "--remove-all"]).code(0).says(&["removed the lock of"]);
    assert_eq!(repository.locks().unwrap(), []);
    drop(lock);
}

#[test]
fn a_lock_that_cannot_be_read_is_named_when_it_is_removed() {
    let site = Site::new();
    let repository = site.repository();
    let folder = site.store().join("shop/repository/v1/daily/dump/locks");
    let broken = ["0", "1"].map(|digit| digit.repeat(64));
    for arguments in [&["unlock", "--remove-all"][..], &["unlock", "--remove-all", "--json"]] {
        let lock = repository.share().unwrap();
        fs::write(folder.join(&broken[0]), "").unwrap();
        fs::write(folder.join(&broken[1]), "nothing").unwrap();
        let ran = site.run(arguments).code(0).says(&[&broken[0], &broken[1]]);
        assert!(!ran.stdout.contains("no locks to remove"), "{}", ran.stdout);
        assert_eq!(ran.stdout.matches("removed").count(), 3, "{}", ran.stdout);
        assert!(broken.iter().all(|id| !folder.join(id).exists()));
        assert_eq!(repository.locks().unwrap(), []);
        drop(lock);
    }
}

#[test]
fn reading_commands_go_over_all_repositories() {
    let site = Site::new();
    site.write("demo.yaml", &format!("{}{SECOND_SESSION}", site.text().trim_end()));
    let near = back_up(&site.repository(), TIMES[0], b"near");
    // A repository without a backup yet is nothing to fail for while another one has some.
    site.run(&["snapshots"]).code(0).says(&["far-repo (weekly/dump): no backup yet", &near[..8]]);
    site.run(&["check"]).code(10).complains(&["far-repo"]);
    site.run(&["dump", "0123456789ab", "shop/orders.sql"]).code(1).complains(&["no snapshot 0123456789ab"]);
    let far = back_up(&site.far_repository(), TIMES[1], b"far");
    let objects = site.run(&["snapshots", "--json"]).code(0).objects();
    assert_eq!(objects.len(), 2);
    site.run(&["check"]).code(0);
    // An id is looked for everywhere; `latest` would be a guess.
    assert_eq!(site.run(&["dump", &far[..12], "shop/orders.sql"]).code(0).stdout, "far");
    site.run(&["dump", "latest", "shop/orders.sql"]).code(2).complains(&["--repository far-repo"]);
    let ran = site.run(&["dump", "latest", "shop/orders.sql", "--repository", "shop-repo"]).code(0);
    assert_eq!(ran.stdout, "near");
    site.run(&["unlock", "--remove-all"]).code(2);
    // One repository that fails does not hide the others, and its code is the command's.
    fs::remove_file(site.config_file()).unwrap();
    site.run(&["key", "list"]).code(0);
    site.run(&["check"]).code(10).says(&["far-repo"]);
}

#[test]
fn damage_says_more_than_a_repository_without_a_backup() {
    let site = Site::new();
    site.write("demo.yaml", &format!("{}{SECOND_SESSION}", site.text().trim_end()));
    back_up(&site.far_repository(), TIMES[0], b"far");
    lose_data(&site, "far/repository/v1/weekly/dump");
    let ran =
        site.run(&["check", "--json"]).code(1).complains(&["error: repository demo/far-repo (weekly/dump) is damaged"]);
    let ran = ran.complains(&["warning: repository demo/shop-repo (daily/dump): there is no repository at"]);
    assert_eq!(ran.objects().last().unwrap()["kind"], "damaged");
}

#[test]
fn no_repository_at_all_is_a_failure() {
    let site = Site::new();
    site.write("demo.yaml", &format!("{}{SECOND_SESSION}", site.text().trim_end()));
    for arguments in [&["snapshots"][..], &["key", "list"], &["unlock"], &["unlock", "--dry-run"]] {
        let ran = site.run(&[arguments, &["--json"]].concat()).code(10);
        assert_eq!(ran.objects().last().unwrap()["kind"], "no-repository");
        site.run(arguments).code(10).complains(&["no repository at"]);
    }
    site.far_repository();
    site.run(&["snapshots", "--json"]).code(0);
}

#[test]
fn quiet_leaves_the_results() {
    let site = Site::new();
    let id = back_up(&site.repository(), TIMES[0], b"x");
    let ran = site.run(&["snapshots", "-q"]).code(0).says(&[&id[..8]]);
    assert!(!ran.stdout.contains("repository demo"), "{}", ran.stdout);
    assert_eq!(site.run(&["check", "-q"]).code(0).stdout, "");
}
