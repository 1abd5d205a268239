//! The measurements, side by side: every round alternates who begins.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use coffer_test_support::mysql::{MysqlOptions, MysqlServer};

use crate::data::{self, ALONE, DATABASES};
use crate::load::{self, Window, Writers};
use crate::report::{Report, Target, Verdict};
use crate::sides::{Place, Side};
use crate::sink::Home;
use crate::usage::{Usage, folder_size, pipeline};

const FIRST: &str = "first backup";
const UNCHANGED: &str = "unchanged backup";
const DELETED: &str = "one row deleted in each";
const RESTORE: &str = "restore";
const TABLE: &str = "one table: backup";
const TABLE_DUMP: &str = "one table: only the dump";
const DUMP: &str = "only the dump";
const LOAD: &str = "first, others write";
/// How the report calls the time in which nothing is backed up.
const ALONE_WRITES: &str = "no backup";

/// How long others write alone.
const QUIET: Duration = Duration::from_secs(10);
/// Between two backups.
const PAUSE: Duration = Duration::from_secs(2);

/// What all measurements share.
pub(crate) struct Bench<'a> {
    pub(crate) server: &'a MysqlServer,
    pub(crate) options: &'a MysqlOptions,
    pub(crate) folder: &'a Path,
    pub(crate) coffer: PathBuf,
    pub(crate) size: u64,
    pub(crate) runs: u64,
}

/// Which measurements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Part {
    /// First, unchanged and slightly changed backup.
    Backup,
    /// Restore into an empty server.
    Restore,
    /// One large table, one worker and two.
    Table,
    /// The addon's dump alone: in the sandbox, natively, with and without TLS.
    Sandbox,
    /// What backups do to others who write to the server.
    Load,
}

impl Bench<'_> {
    /// Backups and restores by both sides.
    pub(crate) fn compare(&self, report: &mut Report, backup: bool, restore: bool) -> Result<()> {
        let place = Place::new(&self.folder.join("place"), &self.coffer)?;
        for round in 0..self.runs {
            let sides = if round % 2 == 0 { [Side::Peer, Side::Coffer] } else { [Side::Coffer, Side::Peer] };
            place.empty()?;
            self.back_up(report, &place, FIRST, sides)?;
            if backup {
                self.back_up(report, &place, UNCHANGED, sides)?;
                data::delete_one_row_each(self.server, self.size, round)?;
                self.back_up(report, &place, DELETED, sides)?;
            }
            if restore {
                let expected = data::checksums(self.server)?;
                for side in sides {
                    say(&format!("round {}: {RESTORE}, {}", round + 1, side.name()));
                    let target = MysqlServer::start(self.options.clone())?;
                    let usage = place.restore(side, &target)?;
                    ensure!(
                        data::checksums(&target)? == expected,
                        "what {} restored differs from what was backed up",
                        side.name()
                    );
                    report.add(RESTORE, side.name(), usage, None);
                }
            }
        }
        Ok(())
    }

    fn back_up(&self, report: &mut Report, place: &Place, step: &'static str, sides: [Side; 2]) -> Result<()> {
        for side in sides {
            say(&format!("{step}, {}", side.name()));
            let before = folder_size(&place.repository(side))?;
            let usage = place.back_up(side, self.server)?;
            let stored = folder_size(&place.repository(side))?.saturating_sub(before);
            report.add(step, side.name(), usage, Some(stored));
        }
        Ok(())
    }

    /// One large table with one worker and with two, into a repository and into nothing.
    pub(crate) fn table(&self, report: &mut Report) -> Result<()> {
        self.warm_up()?;
        for round in 0..self.runs {
            for workers in if round % 2 == 0 { [1, 2] } else { [2, 1] } {
                say(&format!("{TABLE}, workers: {workers}"));
                let place = Place::new(&self.folder.join("table"), &self.coffer)?
                    .databases(ALONE)
                    .parameter("workers", &workers.to_string());
                let usage = place.back_up(Side::Coffer, self.server)?;
                report.add(TABLE, &format!("workers: {workers}"), usage, None);
                let usage = self.dump(Home::Sandbox, ALONE, workers, true)?;
                report.add(TABLE_DUMP, &format!("workers: {workers}"), usage, None);
            }
        }
        Ok(())
    }

    /// The dump into nothing, by the same code at home in different places.
    pub(crate) fn sandbox(&self, report: &mut Report) -> Result<()> {
        self.warm_up()?;
        for round in 0..self.runs {
            let mut ways = [(NATIVE, Home::Native, false), (SANDBOX, Home::Sandbox, false), (TLS, Home::Sandbox, true)];
            if round % 2 == 1 {
                ways.reverse();
            }
            for (name, home, tls) in ways {
                say(&format!("{DUMP}, {name}"));
                report.add(DUMP, name, self.dump(home, DATABASES, 4, tls)?, None);
            }
        }
        Ok(())
    }

    /// First backups by both sides while others write, and how long their writes take.
    pub(crate) fn load(&self, report: &mut Report) -> Result<()> {
        let place = Place::new(&self.folder.join("load"), &self.coffer)?;
        for round in 0..self.runs {
            place.empty()?;
            let writers = Writers::start(self.server, data::sbtest_rows(self.size))?;
            say(ALONE_WRITES);
            let mut windows = vec![(ALONE_WRITES, Window::wait(QUIET)?)];
            for side in if round % 2 == 0 { [Side::Peer, Side::Coffer] } else { [Side::Coffer, Side::Peer] } {
                say(&format!("{LOAD}, {}", side.name()));
                let usage = place.back_up(side, self.server)?;
                windows.push((side.name(), Window::last(usage.wall)?));
                report.add(LOAD, side.name(), usage, None);
                Window::wait(PAUSE)?;
            }
            let writes = writers.finish()?;
            for (during, window) in windows {
                report.add_writes(during, load::milliseconds(&writes, window));
            }
        }
        Ok(())
    }

    /// Compiles the component, which is done once on a machine.
    fn warm_up(&self) -> Result<()> {
        self.dump(Home::Sandbox, DATABASES, 1, false).map(drop)
    }

    fn dump(&self, home: Home, databases: &str, workers: u32, tls: bool) -> Result<Usage> {
        let mut command = Command::new(std::env::current_exe().context("cannot find this program")?);
        command.args(["dump", "--home", if home == Home::Native { "native" } else { "sandbox" }]);
        command.args(["--databases", databases, "--workers", &workers.to_string()]);
        command.args(["--port", &self.server.port().to_string(), "--cache"]).arg(self.folder.join("components"));
        command.args(tls.then_some("--tls"));
        pipeline(
            self.server.process_id(),
            vec![command],
            &self.folder.join("dump-output"),
            &self.folder.join("dump-log"),
        )
    }
}

const NATIVE: &str = "native, no TLS";
const SANDBOX: &str = "sandbox, no TLS";
const TLS: &str = "sandbox, TLS";

/// What the figures say about the targets, as far as they were measured.
pub(crate) fn verdicts(report: &Report) -> Vec<Verdict> {
    let (peer, coffer) = (Side::Peer.name(), Side::Coffer.name());
    let mut verdicts = Vec::new();
    let mut judge = |what: &str, value: Option<f64>, unit: &'static str, target: Option<Target>| {
        verdicts.extend(value.map(|value| Verdict { what: what.to_owned(), value, unit, target }));
    };
    let ratio = |step: &str, (ours, theirs): (&str, &str), figure: fn(&Usage) -> f64| {
        Some(report.median(step, ours, figure)? / report.median(step, theirs, figure)?)
    };
    let sides = (coffer, peer);
    let wall = |usage: &Usage| usage.wall;
    judge("first backup: wall time, of the peer's", ratio(FIRST, sides, wall), "×", Some(Target::AtMost(0.55)));
    judge("first backup: CPU time, of the peer's", ratio(FIRST, sides, Usage::cpu), "×", Some(Target::AtMost(0.55)));
    let stored = |step| Some(report.stored(step, coffer)? / report.stored(step, peer)?);
    judge("first backup: bytes stored, of the peer's", stored(FIRST), "×", None);
    judge("unchanged backup: wall time, of the peer's", ratio(UNCHANGED, sides, wall), "×", Some(Target::AtMost(0.5)));
    judge("unchanged backup: CPU time, of the peer's", ratio(UNCHANGED, sides, Usage::cpu), "×", None);
    judge(
        "one row deleted in each table: bytes stored, of the peer's",
        stored(DELETED).map(|ratio| ratio * 100.0),
        "%",
        Some(Target::AtMost(3.0)),
    );
    judge("restore: wall time, of the peer's", ratio(RESTORE, sides, wall), "×", Some(Target::AtMost(0.35)));
    judge("restore: CPU time, of the peer's", ratio(RESTORE, sides, Usage::cpu), "×", Some(Target::AtMost(0.55)));
    judge(
        "peak memory of coffer",
        report.peak(&[FIRST, UNCHANGED, DELETED, RESTORE], coffer),
        "MiB",
        Some(Target::AtMost(250.0)),
    );

    let more = |ratio: Option<f64>| ratio.map(|ratio| (ratio - 1.0) * 100.0);
    let homes = (SANDBOX, NATIVE);
    judge(
        "sandbox: CPU time of client and server, more than native",
        more(ratio(DUMP, homes, Usage::cpu)),
        "%",
        Some(Target::AtMost(15.0)),
    );
    judge("sandbox: wall time, more than native", more(ratio(DUMP, homes, wall)), "%", Some(Target::AtMost(15.0)));
    judge(
        "sandbox: CPU time of the client alone, more than native",
        more(ratio(DUMP, homes, |usage| usage.client)),
        "%",
        None,
    );
    let share = |ours, theirs| {
        let extra = report.median(DUMP, ours, Usage::cpu)? - report.median(DUMP, theirs, Usage::cpu)?;
        Some(extra / report.median(FIRST, coffer, Usage::cpu)? * 100.0)
    };
    judge("sandbox: CPU time, as a share of the first backup's", share(SANDBOX, NATIVE), "%", None);
    judge(
        "TLS: CPU time of client and server, more than without",
        more(ratio(DUMP, (TLS, SANDBOX), Usage::cpu)),
        "%",
        None,
    );
    judge("TLS: CPU time, as a share of the first backup's", share(TLS, SANDBOX), "%", None);

    let workers = ("workers: 1", "workers: 2");
    judge(
        "one table: only the dump, two workers against one",
        ratio(TABLE_DUMP, workers, wall),
        "×",
        Some(Target::AtLeast(1.5)),
    );
    judge("one table: backup, two workers against one", ratio(TABLE, workers, wall), "×", None);

    let slower = |side: &str| Some(report.writes(side, 0.5)? / report.writes(ALONE_WRITES, 0.5)?);
    judge("others' writes during a backup: median, of without", slower(coffer), "×", Some(Target::AtMost(2.0)));
    judge("others' writes during the peer's: median, of without", slower(peer), "×", None);
    let slowest = |side: &str| report.writes(side, 1.0);
    judge("others' writes during a backup: the slowest", slowest(coffer), "ms", Some(Target::AtMost(1000.0)));
    judge("others' writes during the peer's: the slowest", slowest(peer), "ms", None);
    verdicts
}

/// What is being done, on standard error.
#[expect(clippy::print_stderr, reason = "a program for people: it says what takes so long")]
pub(crate) fn say(what: &str) {
    eprintln!("bench: {what}");
}
