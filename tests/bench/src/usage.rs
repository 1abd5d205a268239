//! What a measured command costs: wall time, processor time of the client's processes and of the server, peak memory.

use std::fs::{self, File};
use std::ops::AddAssign;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// Ticks a second in `/proc`, fixed by the kernel's interface on every architecture that Rust's std runs on.
const TICKS: f64 = 100.0;
const POLL: Duration = Duration::from_millis(5);

/// What one run cost.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Usage {
    /// Seconds.
    pub(crate) wall: f64,
    /// Processor seconds of the client's processes with all their children.
    pub(crate) client: f64,
    /// Processor seconds that the server spent meanwhile.
    pub(crate) server: f64,
    /// Largest resident memory of one of the client's processes, in MiB.
    pub(crate) peak: f64,
}

impl Usage {
    /// Processor seconds of both sides.
    pub(crate) fn cpu(&self) -> f64 {
        self.client + self.server
    }
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.wall += other.wall;
        self.client += other.client;
        self.server += other.server;
        self.peak = self.peak.max(other.peak);
    }
}

/// Runs commands as a pipeline, the output of each into the next, the last one's into `output`, and measures it. Every
/// command must succeed; what they say on standard error goes to `log`, whose end is in the error otherwise.
pub(crate) fn pipeline(server: u32, commands: Vec<Command>, output: &Path, log: &Path) -> Result<Usage> {
    // What earlier commands have written to disk is not this one's burden.
    Command::new("sync").status().context("cannot run sync")?;
    let before = (children_time()?, process_time(server)?);
    let start = Instant::now();
    let mut running: Vec<(String, Child)> = Vec::new();
    let count = commands.len();
    for (index, mut command) in commands.into_iter().enumerate() {
        let input = running.last_mut().and_then(|(_, child)| child.stdout.take());
        command.stdin(input.map_or_else(Stdio::null, Stdio::from));
        command.stdout(if index + 1 < count { Stdio::piped() } else { Stdio::from(File::create(output)?) });
        command.stderr(fs::OpenOptions::new().create(true).append(true).open(log)?);
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        drop(command);
        running.push((name, child));
    }
    let mut peak = 0.0_f64;
    let mut failed = None;
    while !running.is_empty() {
        let mut still = Vec::new();
        for (name, mut child) in running {
            peak = peak.max(peak_memory(child.id()).unwrap_or_default());
            match child.try_wait()? {
                None => still.push((name, child)),
                Some(status) if !status.success() && failed.is_none() => failed = Some(format!("{name}: {status}")),
                Some(_) => {}
            }
        }
        running = still;
        thread::sleep(POLL);
    }
    let wall = start.elapsed().as_secs_f64();
    if let Some(failed) = failed {
        let said = fs::read_to_string(log).unwrap_or_default();
        let lines: Vec<&str> = said.lines().collect();
        bail!("{failed}\n{}", lines.get(lines.len().saturating_sub(20)..).unwrap_or_default().join("\n"));
    }
    Ok(Usage { wall, client: children_time()? - before.0, server: process_time(server)? - before.1, peak })
}

/// Processor time of all children of this process that have been waited for.
fn children_time() -> Result<f64> {
    times("/proc/self/stat", 13)
}

/// Processor time of a process.
fn process_time(id: u32) -> Result<f64> {
    times(&format!("/proc/{id}/stat"), 11)
}

/// The sum of two neighbouring fields of a `stat` file, counted from the one after the program's name, in seconds.
fn times(file: &str, field: usize) -> Result<f64> {
    let stat = fs::read_to_string(file).with_context(|| format!("cannot read {file}"))?;
    // The name stands between brackets and may hold anything.
    let (_, rest) = stat.rsplit_once(") ").with_context(|| format!("{file} has no form that is known"))?;
    let mut fields = rest.split(' ').skip(field);
    let mut ticks = || fields.next().and_then(|text| text.parse::<u32>().ok()).context("a time is missing");
    Ok((f64::from(ticks()?) + f64::from(ticks()?)) / TICKS)
}

/// The high-water mark of a process's resident memory, in MiB; the kernel keeps it, so that nothing between two looks is lost.
fn peak_memory(id: u32) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(f64::from(line.split_whitespace().nth(1)?.parse::<u32>().ok()?) / 1024.0)
}

/// Bytes of all files below a folder.
pub(crate) fn folder_size(folder: &Path) -> Result<u64> {
    let mut size = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        size += if metadata.is_dir() { folder_size(&entry.path())? } else { metadata.len() };
    }
    Ok(size)
}
