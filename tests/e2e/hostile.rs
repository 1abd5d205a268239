//! Addons that lie, crash, hang or grab: stopped with a message that says what they did, and nothing is published.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use coffer_addon_build::{Guest, target_dir};

use crate::aftermath::{Ended, intact, intact_in, stored, streams, watched};
use crate::site::{Site, text};
use crate::wait::{signal, until};

/// The executor's own limit, which no addon may move.
const MEMORY_LIMIT: u64 = 300 << 20;

/// Limits of time are seconds here; with room for a busy machine.
const SOON: Duration = Duration::from_secs(90);

/// A time limit that no run comes near.
const UNLIMITED: &str = "1h";

/// `sdk/rust/examples/hostile.rs` as a component.
fn component() -> &'static Path {
    static COMPONENT: OnceLock<PathBuf> = OnceLock::new();
    COMPONENT.get_or_init(|| {
        let guests = target_dir(&std::env::current_exe().unwrap()).unwrap();
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let bytes = Guest::example(workspace, "coffer-addon-sdk", "hostile").build(&guests).unwrap();
        let file = guests.join("hostile.component.wasm");
        // Another test process may be reading it.
        let staging = guests.join(format!("hostile.component.{}", std::process::id()));
        std::fs::write(&staging, bytes).unwrap();
        std::fs::rename(staging, &file).unwrap();
        file
    })
}

/// A site whose addon is the hostile one, with these permissions.
fn site_with(permissions: &str) -> Site {
    let task = |name: &str, function: &str| format!("[{{ name: {name}, function: {function}, driver: Restic }}]");
    let function = |name: &str| {
        format!(
            "apiVersion: addons.kubestash.com/v1alpha1\nkind: Function\nmetadata: {{ name: {name} }}\n\
             spec: {{ component: {{ ref: \"file://{}\", permissions: {{ {permissions} }} }} }}",
            component().display()
        )
    };
    let addon = format!(
        "apiVersion: addons.kubestash.com/v1alpha1\nkind: Addon\nmetadata: {{ name: hostile-addon }}\n\
         spec: {{ backupTasks: {}, restoreTasks: {} }}",
        task("logical-backup", "hostile-backup"),
        task("logical-backup-restore", "hostile-restore"),
    );
    Site::nowhere()
        .local_storage("main")
        .addon("hostile-addon")
        .manifest(&addon)
        .manifest(&function("hostile-backup"))
        .manifest(&function("hostile-restore"))
}

fn site() -> Site {
    site_with("target: true")
}

/// Does the deed in a repository that has one good snapshot, and sees that nothing came of it.
#[track_caller]
fn refused(site: Site, deed: &str, expected: &[&str]) -> (Site, Ended) {
    let site = site.backup("deed", deed);
    let before = stored(&site, "main", "snapshots");
    let ended = watched(site.command(&["backup"]));
    let said = ended.said(1);
    let error = said.lines().find(|line| line.starts_with("error: ")).unwrap_or_default();
    for part in ["hostile"].iter().chain(expected) {
        assert!(error.contains(part), "{deed}: {part:?} is not in the error: {said}");
    }
    assert!(!String::from_utf8_lossy(&ended.output.stdout).contains("saved"), "{deed}: {}", text(&ended.output));
    assert!(ended.peak < MEMORY_LIMIT, "{deed}: {} MiB at the peak", ended.peak >> 20);
    assert!(ended.took < SOON, "{deed}: it took {:?}", ended.took);
    intact_in(&site, "main", before);
    (site, ended)
}

/// Every deed of a list, then a good run in the same repository.
#[track_caller]
fn all_refused(site: Site, deeds: &[(&str, &[&str])]) {
    all_refused_within(UNLIMITED, site, deeds);
}

/// The same with a time limit for the deeds. The good runs take what they need.
#[track_caller]
fn all_refused_within(limit: &str, site: Site, deeds: &[(&str, &[&str])]) {
    let mut site = site.backup("deed", "good");
    site.ok(&["backup"]);
    let restic = site.restic("main");
    let good = streams(&restic);
    site = site.timeout(limit);
    for (deed, expected) in deeds {
        (site, _) = refused(site, deed, expected);
    }
    let site = site.timeout(UNLIMITED).backup("deed", "good");
    site.ok(&["backup"]);
    assert_eq!(streams(&restic), good);
    intact(&restic, 2);
}

#[test]
fn streams_that_are_not_whole() {
    let half: &[&str] = &["part-00", "did not finish its stream"];
    all_refused(
        site(),
        &[
            ("half", half),
            ("half-and-keep", half),
            ("say-too-much", &["part-00", "1048576", "524288"]),
            ("say-too-little", &["part-00", "524287", "524288"]),
            ("finish-and-write", &["part-00", "finished"]),
            ("finish-and-fail", &["part-00", "changed my mind"]),
            ("fail", &["part-00", "the table is gone"]),
            ("connect", &["part-00", "127.0.0.1:1"]),
        ],
    );
}

#[test]
fn one_bad_stream_among_good_ones() {
    let site = site().backup("streams", "6").backup("workers", "2");
    all_refused(
        site,
        &[
            ("half", &["part-05", "did not finish its stream"]),
            ("panic", &["part-05", "lost my way after 524288 bytes"]),
            ("fail", &["part-05", "the table is gone"]),
        ],
    );
}

#[test]
fn crashes_and_greed() {
    all_refused(
        site(),
        &[
            ("panic", &["part-00", "panicked", "lost my way after 524288 bytes"]),
            ("trap", &["part-00", "crashed"]),
            ("allocate", &["128 MiB", "permissions.memory", "256Mi"]),
            ("flood-log", &["floods the log"]),
        ],
    );
}

#[test]
fn a_flooded_log_stays_small() {
    let site = site().backup("deed", "good");
    site.ok(&["backup"]);
    let (_site, ended) = refused(site, "flood-log", &["floods the log"]);
    assert!(ended.output.stderr.len() < 16 << 20, "{} bytes of log", ended.output.stderr.len());
}

#[test]
fn computing_without_end() {
    let site = site_with("target: true, cpuDeadline: 1s");
    let deadline: &[&str] = &["more than 1 s", "cpuDeadline"];
    all_refused(
        site,
        &[
            ("spin", deadline),
            ("poll", deadline),
            ("ignore-cancel", deadline),
            ("flood-notes", deadline),
            ("spin-in-open", deadline),
        ],
    );
}

#[test]
fn waiting_without_end() {
    let timeout: &[&str] = &["time limit"];
    // A busy machine may take seconds until the addon is asked at all.
    all_refused_within(
        "10s",
        site(),
        &[("spin", timeout), ("ignore-cancel", timeout), ("sleep", timeout), ("trickle", timeout)],
    );
}

#[test]
fn a_guest_that_ignores_an_interruption() {
    for (deed, name) in [("sleep", "INT"), ("ignore-cancel", "TERM"), ("trickle", "INT")] {
        let site = site().backup("deed", deed).backup("size", "8Mi");
        let child = site.spawn(&["backup"]);
        // Taken when the streams begin.
        until("there is a lock", || stored(&site, "main", "locks") > 0);
        signal(&child, name);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130), "{deed}: {}", text(&output));
        intact_in(&site, "main", 0);
    }
}

#[test]
fn plans_that_cannot_be() {
    let path: &[&str] = &["path"];
    all_refused(
        site(),
        &[
            ("dotdot", &["../escape"]),
            ("dotdot-inside", &["folder/../../escape"]),
            ("absolute", &["/etc/passwd"]),
            ("empty-path", path),
            ("duplicate", &["part-00", "twice"]),
            ("manifest", &["manifest.json", "reserved"]),
            ("below-manifest", &["manifest.json", "reserved"]),
            ("file-and-folder", &["part-00"]),
            ("nothing", &["no items"]),
            ("never-agree", &["view"]),
        ],
    );
}

#[test]
fn a_capability_that_is_not_granted() {
    for permissions in ["", "target: false", "memory: 64Mi"] {
        let site = site_with(permissions).backup("deed", "good");
        let said = site.fails(&["backup"], 1);
        for part in ["hostile", "`target`", "spec.component.permissions", "target: true"] {
            assert!(said.contains(part), "{part:?} is not in: {said}");
        }
        let written = crate::wait::files(&site.path("storage-main"));
        assert!(written.is_empty(), "something was written: {written:?}");
    }
}

#[test]
fn what_happens_after_the_proof_takes_nothing_back() {
    let site = site().backup("deed", "trap-in-close");
    let output = site.run(&["backup"]);
    assert!(output.status.success(), "{}", text(&output));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("warning: ") && said.contains("hostile"), "{said}");
    intact(&site.restic("main"), 1);
    assert_eq!(streams(&site.restic("main")).len(), 1);
}
