//! Kills, cut wires, dead storages, full disks, damaged repositories: nothing is published, the repository stays whole, and a plain
//! retry succeeds.

#![allow(clippy::print_stderr, reason = "the points and the seed of a test that failed")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use coffer_test_support::data;
use coffer_test_support::disk::SmallDisk;
use coffer_test_support::fingerprint::{differences, fingerprint};
use coffer_test_support::mysql::{MysqlOptions, MysqlServer};
use coffer_test_support::proxy::{Fault, Proxy};
use coffer_test_support::stores::{BUCKET, S3};

use crate::aftermath::{
    Streams, intact, intact_in, locks, restic_in, retry, s3_restic, snapshots, stored, streams, watched,
};
use crate::servers::mysql;
use crate::site::{Site, text};
use crate::wait::{signal, until};

/// The database of the backups here. Nobody changes it.
const DATABASE: &str = "faults";
const MEGABYTES: u64 = 4;

/// What an undisturbed backup does.
struct Clean {
    streams: Streams,
    /// Bytes that the server sends.
    sent: u64,
    /// Bytes that it stores.
    stored: u64,
}

/// An undisturbed backup of the database in the default format; makes the database.
fn clean() -> &'static Clean {
    static CLEAN: OnceLock<Clean> = OnceLock::new();
    CLEAN.get_or_init(|| {
        data::sample(mysql(), DATABASE, MEGABYTES).unwrap();
        let proxy = Proxy::start(mysql().port(), Fault::None).unwrap();
        let site = Site::local(mysql(), DATABASE).port(proxy.port());
        site.ok(&["backup"]);
        let stored = crate::wait::files(&site.repository("main").join("data")).values().sum();
        Clean { streams: streams(&site.restic("main")), sent: proxy.bytes_down(), stored }
    })
}

/// A site with a local storage, and a proxy before the server that does this.
fn site_behind(fault: Fault) -> (Site, Proxy) {
    let proxy = Proxy::start(mysql().port(), fault).unwrap();
    (Site::local(mysql(), DATABASE).port(proxy.port()), proxy)
}

#[track_caller]
fn contains(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
}

/// Waits until the proxy holds the dump back that it was told to stall after so many bytes.
fn stalled(proxy: &Proxy, after: u64) {
    // A block that does not fit any more is held back whole.
    until("the proxy holds the dump back", || proxy.bytes_down() + (32 << 10) > after);
}

#[test]
fn the_source_connection_is_cut() {
    let clean = clean();
    for percent in [5, 50, 95] {
        let (site, proxy) = site_behind(Fault::CutAfter(clean.sent * percent / 100));
        let said = site.fails(&["backup"], 1);
        contains(&said, &["error: ", "addon mysql: ", "connection"]);
        intact_in(&site, "main", 0);
        proxy.set(Fault::None);
        retry(&site, &site.restic("main"), &clean.streams);
    }
}

#[test]
fn the_source_server_is_killed() {
    let mut server = MysqlServer::start(MysqlOptions::default()).unwrap();
    data::sample(&server, DATABASE, MEGABYTES).unwrap();
    let half = clean().sent / 2;
    let proxy = Proxy::start(server.port(), Fault::StallAfter(half)).unwrap();
    let site = Site::local(&server, DATABASE).port(proxy.port());
    let child = site.spawn(&["backup"]);
    stalled(&proxy, half);
    server.kill();
    proxy.set(Fault::None);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    contains(&text(&output), &["error: ", "mysql"]);
    intact_in(&site, "main", 0);
    server.restart().unwrap();
    retry(&site, &site.restic("main"), &clean().streams);
}

#[test]
fn the_source_stalls() {
    let half = clean().sent / 2;
    let (site, proxy) = site_behind(Fault::StallAfter(half));
    // Enough for a busy machine to come to the stall.
    let site = site.timeout("10s");
    let ended = watched(site.command(&["backup"]));
    contains(&ended.said(1), &["error: ", "time limit"]);
    assert!(proxy.bytes_down() + (32 << 10) > half, "the dump never came to the stall");
    assert!((10..60).contains(&ended.took.as_secs()), "it took {:?}", ended.took);
    intact_in(&site, "main", 0);
    proxy.set(Fault::None);
    let site = site.timeout("5m");
    retry(&site, &site.restic("main"), &clean().streams);
}

#[test]
fn interruptions() {
    let clean = clean();
    for (name, percent) in [("INT", 30), ("TERM", 70)] {
        let at = clean.sent * percent / 100;
        // Once with a connection that is silent, once with all going on.
        for fault in [Fault::StallAfter(at), Fault::Slow(1 << 20)] {
            let (site, proxy) = site_behind(fault);
            let child = site.spawn(&["backup"]);
            until("the dump has come so far", || proxy.bytes_down() + (32 << 10) > at);
            if matches!(fault, Fault::Slow(_)) {
                // The rest takes long enough for the signal to find the backup alive.
                proxy.set(Fault::Slow(64 << 10));
            }
            let asked = Instant::now();
            signal(&child, name);
            let output = child.wait_with_output().unwrap();
            assert_eq!(output.status.code(), Some(130), "{}", text(&output));
            contains(&text(&output), &[&format!("SIG{name}"), "error: "]);
            assert!(asked.elapsed() < Duration::from_mins(1), "it took {:?}", asked.elapsed());
            intact_in(&site, "main", 0);
            proxy.set(Fault::None);
            retry(&site, &site.restic("main"), &clean.streams);
        }
    }
}

/// A site with an S3 storage `objects` behind a proxy that does this.
fn site_on_s3(store: &S3, fault: Fault) -> (Site, Proxy) {
    let proxy = Proxy::start(store.port(), fault).unwrap();
    let endpoint = format!("http://127.0.0.1:{}", proxy.port());
    (Site::new(mysql(), DATABASE).s3_storage("objects", &endpoint, BUCKET), proxy)
}

#[test]
fn the_storage_is_cut_in_mid_upload() {
    let clean = clean();
    let store = S3::start().unwrap();
    let (site, proxy) = site_on_s3(&store, Fault::CutUploadAfter(clean.stored / 2));
    let ended = watched(site.command(&["backup"]));
    contains(&ended.said(1), &["error: ", "objects-repo", "cannot "]);
    assert!(proxy.bytes_up() > clean.stored / 4, "the upload never came to the cut");
    // Nobody could remove the lock: nothing reached the storage any more.
    proxy.set(Fault::None);
    let restic = s3_restic(&store);
    assert_eq!(snapshots(&restic), 0);
    if !locks(&restic).is_empty() {
        site.ok(&["unlock"]);
    }
    intact(&restic, 0);
    retry(&site, &restic, &clean.streams);
}

#[test]
fn the_storage_is_killed_in_mid_upload() {
    let clean = clean();
    let mut store = S3::start().unwrap();
    // The dump stands still in the middle, so that the server dies before its end.
    let half = clean.sent / 2;
    let source = Proxy::start(mysql().port(), Fault::StallAfter(half)).unwrap();
    let site = Site::new(mysql(), DATABASE).port(source.port()).s3_storage("objects", &store.endpoint(), BUCKET);
    let child = site.spawn(&["backup"]);
    stalled(&source, half);
    store.kill();
    source.set(Fault::None);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    contains(&text(&output), &["error: ", "objects-repo"]);
}

#[test]
fn the_storage_is_away_for_a_moment() {
    let clean = clean();
    let store = S3::start().unwrap();
    let (site, proxy) = site_on_s3(&store, Fault::Slow(1 << 20));
    let child = site.spawn(&["backup"]);
    until("an upload has begun", || proxy.bytes_up() > clean.stored / 3);
    proxy.cut_now();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "one cut connection is no reason to fail: {}", text(&output));
    assert_eq!(streams(&s3_restic(&store)), clean.streams);
    intact(&s3_restic(&store), 1);
}

#[test]
fn one_of_two_storages_fails() {
    let clean = clean();
    let store = S3::start().unwrap();
    let (site, proxy) = site_on_s3(&store, Fault::CutUploadAfter(clean.stored / 2));
    let site = site.local_storage("main");
    let ended = watched(site.command(&["backup"]));
    let said = ended.said(3);
    contains(&said, &["warning: ", "no snapshot in repository objects-repo: "]);
    assert!(!said.contains("no snapshot in repository main-repo"), "{said}");
    contains(&String::from_utf8_lossy(&ended.output.stdout), &["saved in repository main-repo"]);
    intact_in(&site, "main", 1);
    assert_eq!(streams(&site.restic("main")), clean.streams);
    proxy.set(Fault::None);
    let restic = s3_restic(&store);
    assert_eq!(snapshots(&restic), 0);
    if !locks(&restic).is_empty() {
        site.ok(&["unlock"]);
    }
    intact(&restic, 0);
    retry(&site, &restic, &clean.streams);
    intact_in(&site, "main", 2);
}

#[test]
fn the_disk_is_full() {
    const BYTES: u64 = 64 << 20;
    let clean = clean();
    // In the middle of the data, and before there is a repository.
    for free in [clean.stored / 2, 0] {
        let Some(disk) = SmallDisk::mount(BYTES).unwrap() else { return };
        let site = Site::new(mysql(), DATABASE).directory_storage("small", &disk.path());
        let ballast = disk.path().join("ballast");
        fs::write(&ballast, vec![1; usize::try_from(BYTES - free).unwrap()]).unwrap();
        let ended = watched(site.command(&["backup"]));
        contains(&ended.said(1), &["error: ", "small-repo", "space"]);
        fs::remove_file(&ballast).unwrap();
        let restic = restic_in(&disk.path());
        if free > 0 {
            intact(&restic, 0);
        }
        site.ok(&["backup"]);
        assert_eq!(streams(&restic), clean.streams);
        intact(&restic, 1);
    }
}

/// Restores go into the database that the backup was made of, which is dropped first.
struct Restore {
    site: Site,
    database: &'static str,
    before: std::collections::BTreeMap<String, String>,
}

impl Restore {
    /// Makes the database and its backup.
    fn of(database: &'static str) -> Self {
        data::sample(mysql(), database, 2).unwrap();
        let before = fingerprint(mysql(), database).unwrap();
        let site = Site::local(mysql(), database);
        site.ok(&["backup"]);
        Self { site, database, before }
    }

    fn drop_database(&self) {
        mysql().exec(&format!("DROP DATABASE IF EXISTS `{}`", self.database)).unwrap();
    }

    /// A restore fails with a message that has these parts, and claims nothing.
    #[track_caller]
    fn fails(&self, site: &Site, expected: &[&str]) {
        self.drop_database();
        let ended = watched(site.command(&["restore"]));
        let said = ended.said(1);
        contains(&said, &["error: "]);
        contains(&said, expected);
        let claimed = String::from_utf8_lossy(&ended.output.stdout).into_owned();
        assert!(!claimed.contains("restored"), "it claims success: {claimed}");
    }

    /// A plain retry goes on with what the restore that failed has left, and restores everything.
    #[track_caller]
    fn succeeds(&self, site: &Site) {
        site.ok(&["restore"]);
        self.is_whole();
    }

    /// A restore that is told to replace what is there does so.
    #[track_caller]
    fn replaces(&self, site: &Site) {
        site.ok(&["restore", "--param", "existing=drop"]);
        self.is_whole();
    }

    #[track_caller]
    fn is_whole(&self) {
        let after = fingerprint(mysql(), self.database).unwrap();
        assert_eq!(differences(&self.before, &after), Vec::<String>::new());
        intact_in(&self.site, "main", 1);
    }
}

#[test]
fn a_restore_loses_its_connection() {
    let mut restore = Restore::of("faults_cut");
    restore.drop_database();
    let proxy = Proxy::start(mysql().port(), Fault::None).unwrap();
    restore.site = restore.site.port(proxy.port());
    restore.succeeds(&restore.site);
    let needs = proxy.bytes_up();
    for percent in [10, 50, 90] {
        let cut = proxy.bytes_up() + needs * percent / 100;
        proxy.set(Fault::CutUploadAfter(cut));
        restore.fails(&restore.site, &["mysql"]);
        proxy.set(Fault::None);
        restore.succeeds(&restore.site);
    }
}

#[test]
fn a_restore_is_interrupted() {
    let mut restore = Restore::of("faults_stop");
    for name in ["INT", "TERM"] {
        let proxy = Proxy::start(mysql().port(), Fault::Slow(256 << 10)).unwrap();
        restore.site = restore.site.port(proxy.port());
        restore.drop_database();
        let child = restore.site.spawn(&["restore"]);
        until("rows go in", || proxy.bytes_up() > 200 << 10);
        signal(&child, name);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130), "{}", text(&output));
        assert!(!text(&output).contains("restored"), "{}", text(&output));
        proxy.set(Fault::None);
        restore.succeeds(&restore.site);
    }
}

#[test]
fn a_restore_is_killed() {
    let mut restore = Restore::of("faults_kill");
    let proxy = Proxy::start(mysql().port(), Fault::None).unwrap();
    restore.site = restore.site.port(proxy.port());
    restore.drop_database();
    restore.succeeds(&restore.site);
    let needs = proxy.bytes_up();
    let mut killed = 0;
    for percent in [2, 10, 30, 50, 70, 90, 97] {
        restore.drop_database();
        let until_here = proxy.bytes_up() + needs * percent / 100;
        let mut child = restore.site.spawn(&["restore"]);
        until("so much is sent, or it has ended", || {
            proxy.bytes_up() >= until_here || child.try_wait().unwrap().is_some()
        });
        let _ = child.kill();
        let output = child.wait_with_output().unwrap();
        // What was fast enough to end has no retry.
        if output.status.success() {
            restore.is_whole();
            continue;
        }
        killed += 1;
        assert!(!text(&output).contains("restored"), "{}", text(&output));
        unlock(&restore.site);
        restore.succeeds(&restore.site);
    }
    assert!(killed >= 3, "it was killed {killed} times only");
}

/// The packs of a repository, the largest first.
fn packs(repository: &Path) -> Vec<PathBuf> {
    let folders = fs::read_dir(repository.join("data")).unwrap();
    let mut packs: Vec<(u64, PathBuf)> = folders
        .flat_map(|folder| fs::read_dir(folder.unwrap().path()).unwrap())
        .map(|file| file.unwrap())
        .map(|file| (file.metadata().unwrap().len(), file.path()))
        .collect();
    packs.sort_unstable();
    packs.into_iter().rev().map(|(_, path)| path).collect()
}

#[test]
fn damaged_and_missing_packs_are_told() {
    let restore = Restore::of("faults_damage");
    let packs = packs(&restore.site.repository("main"));
    // The largest holds rows.
    let rows = &packs[0];
    let whole = fs::read(rows).unwrap();
    fs::write(rows, &whole[..whole.len() / 4]).unwrap();
    is_told(&restore, rows);
    fs::remove_file(rows).unwrap();
    is_told(&restore, rows);
    fs::write(rows, &whole).unwrap();

    let mut needed = 0;
    for pack in &packs {
        let whole = fs::read(pack).unwrap();
        let mut flipped = whole.clone();
        flipped[whole.len() / 3] ^= 0x10;
        fs::write(pack, &flipped).unwrap();
        needed += usize::from(is_told(&restore, pack));
        fs::write(pack, &whole).unwrap();
    }
    assert!(needed >= 2, "rows and trees are in packs of their own: {packs:?}");
    restore.replaces(&restore.site);
}

/// A damaged pack is told by `check`, and by a restore that needs it, which this returns. A restore that does not need it is whole.
#[track_caller]
fn is_told(restore: &Restore, pack: &Path) -> bool {
    let name = pack.file_name().unwrap().to_str().unwrap();
    contains(&restore.site.fails(&["check", "--read-data"], 1), &["damage", &name[..8]]);
    restore.drop_database();
    let ended = watched(restore.site.command(&["restore"]));
    if ended.output.status.success() {
        let after = fingerprint(mysql(), restore.database).unwrap();
        assert_eq!(
            differences(&restore.before, &after),
            Vec::<String>::new(),
            "{name} is damaged, and it claims success"
        );
        return false;
    }
    let said = ended.said(1);
    contains(&said, &["error: "]);
    assert!(
        ["damaged", "missing", "not found", &name[..8]].iter().any(|word| said.contains(word)),
        "no word of damage: {said}"
    );
    let claimed = String::from_utf8_lossy(&ended.output.stdout).into_owned();
    assert!(!claimed.contains("restored"), "it claims success: {claimed}");
    true
}

/// Where the seed of the random points comes from, to repeat a failure.
const SEED: &str = "COFFER_TEST_SEED";

/// Splitmix64.
struct Random(u64);

impl Random {
    fn new() -> Self {
        let seed = std::env::var(SEED).ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_122);
        eprintln!("{SEED}={seed}");
        Self(seed)
    }

    /// From 0 up to 1.
    fn share(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        f64::from(u32::try_from((mixed ^ (mixed >> 31)) >> 32).unwrap()) / f64::from(u32::MAX)
    }
}

/// How long the parts of an undisturbed run take through the slow proxy.
struct Pace {
    streams: Streams,
    sent: u64,
    /// Until the server sends its first bytes.
    start: Duration,
    /// From the server's last bytes to the end.
    end: Duration,
}

/// When to kill.
#[derive(Debug, Clone, Copy)]
enum Point {
    /// After this time.
    Start(Duration),
    /// When the server has sent so many bytes.
    Bytes(u64),
    /// So long after the server's last bytes.
    End(u64, Duration),
}

impl Point {
    /// Spreads the points over the run: a fifth before the dump, a fifth after it.
    fn of(round: usize, rounds: usize, random: &mut Random, pace: &Pace) -> Self {
        let share = random.share();
        let fifth = rounds / 5;
        if round < fifth {
            Self::Start(pace.start.mul_f64(share))
        } else if round < rounds - fifth {
            // Thousandths of the dump, up to 960: 16 minutes have so many seconds.
            let width = 1.0 / f64::from(u32::try_from(rounds - 2 * fifth).unwrap());
            let share = (f64::from(u32::try_from(round - fifth).unwrap()) + share) * width;
            Self::Bytes((pace.sent / 1000) * Duration::from_mins(16).mul_f64(share).as_secs())
        } else {
            Self::End(pace.sent / 100 * 97, pace.end.mul_f64(share))
        }
    }

    /// Waits for it, or for the end of the process.
    fn wait(self, child: &mut Child, proxy: &Proxy) {
        let (bytes, then) = match self {
            Self::Start(time) => (0, time),
            Self::Bytes(bytes) => (bytes, Duration::ZERO),
            Self::End(bytes, time) => (bytes, time),
        };
        until("the kill", || proxy.bytes_down() >= bytes || child.try_wait().unwrap().is_some());
        thread::sleep(then);
    }
}

/// The rate of a connection to the server, so that a run lasts a second or two.
const RATE: u64 = 3 << 20;

fn pace(site: Site) -> (Site, Pace) {
    let proxy = Proxy::start(mysql().port(), Fault::Slow(RATE)).unwrap();
    let site = site.port(proxy.port());
    // Compiles the addon if nobody did yet, which would be the longest part of the run.
    site.ok(&["addon", "catalog"]);
    let began = Instant::now();
    let mut child = site.spawn(&["backup"]);
    until("the server speaks", || proxy.bytes_down() > 0);
    let start = began.elapsed();
    let (mut last, mut sent) = (Instant::now(), 0);
    while child.try_wait().unwrap().is_none() {
        if proxy.bytes_down() > sent {
            (last, sent) = (Instant::now(), proxy.bytes_down());
        }
        thread::sleep(Duration::from_millis(1));
    }
    let end = last.elapsed();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let pace = Pace { streams: streams(&site.restic("main")), sent, start, end };
    (site, pace)
}

/// Kills so many runs, each on a repository of its own that `site` makes; every one has `before` snapshots.
fn kill_at_random_points(rounds: usize, before: usize, site: &dyn Fn() -> Site) {
    clean();
    let mut random = Random::new();
    let (_, pace) = pace(site());
    eprintln!("a run: {:?} until the dump, {} bytes of it, {:?} after it", pace.start, pace.sent, pace.end);
    let mut unfinished = 0;
    for round in 0..rounds {
        let point = Point::of(round, rounds, &mut random, &pace);
        eprint!("round {round}: kill -9 at {point:?}");
        let proxy = Proxy::start(mysql().port(), Fault::Slow(RATE)).unwrap();
        let site = site().port(proxy.port());
        let mut child = site.spawn(&["backup"]);
        point.wait(&mut child, &proxy);
        eprintln!(" = {} bytes", proxy.bytes_down());
        child.kill().unwrap();
        let status = child.wait().unwrap();
        drop(proxy);
        let site = site.server(mysql());
        unfinished += usize::from(after_the_kill(&site, before, status, &pace, round));
    }
    assert!(unfinished * 3 >= rounds * 2, "only {unfinished} of {rounds} runs were killed before they published");
}

/// Whether the killed run had not published its snapshot. All is well either way.
fn after_the_kill(site: &Site, before: usize, status: ExitStatus, pace: &Pace, round: usize) -> bool {
    let restic = site.restic("main");
    if !site.repository("main").join("config").exists() {
        assert!(!status.success());
        retry_from_nothing(site, pace);
        return true;
    }
    let published = stored(site, "main", "snapshots") - before;
    if published > 0 {
        // It was killed after its work was done, or ended before the kill: then the snapshot is a whole one.
        assert_eq!((published, streams(&restic)), (1, pace.streams.clone()));
    } else {
        assert!(!status.success(), "success without a snapshot");
    }
    // The lock of the dead keeps nobody from a backup, as with restic; `unlock` knows that it is stale.
    let unlocks_first = round.is_multiple_of(2);
    if unlocks_first {
        unlock(site);
        intact_in(site, "main", before + published);
    }
    site.ok(&["backup"]);
    unlock(site);
    assert_eq!(streams(&restic), pace.streams);
    intact_in(site, "main", before + published + 1);
    published == 0
}

fn retry_from_nothing(site: &Site, pace: &Pace) {
    site.ok(&["backup"]);
    assert_eq!(streams(&site.restic("main")), pace.streams);
    intact_in(site, "main", 1);
}

#[track_caller]
fn unlock(site: &Site) {
    let stale = stored(site, "main", "locks");
    let said = site.ok(&["unlock"]);
    assert_eq!(said.matches("removed the lock").count(), stale, "{said}");
}

#[test]
fn killed_while_it_makes_its_first_snapshot() {
    kill_at_random_points(15, 0, &|| Site::local(mysql(), DATABASE));
}

#[test]
fn killed_in_a_repository_with_a_snapshot() {
    clean();
    // The same tables with other rows.
    data::sample(mysql(), "faults_old", MEGABYTES).unwrap();
    data::change_a_few_rows(mysql(), "faults_old").unwrap();
    let old = Site::local(mysql(), "faults_old");
    old.ok(&["backup"]);
    kill_at_random_points(15, 1, &|| {
        let site = Site::local(mysql(), DATABASE).backup("format", "single");
        copy(&old.path("storage-main"), &site.path("storage-main"));
        site
    });
}

fn copy(from: &Path, to: &Path) {
    let output = Command::new("cp").arg("-a").arg(from.join(".")).arg(to).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
}
