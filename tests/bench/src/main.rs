//! `make bench`: coffer against `mysqldump | restic backup --stdin` and `restic dump | mysql`, in one run, on one real server with generated data.
//!
//! Both sides use TLS, write to a fresh repository on the local disk, and restore into servers that have the settings of the first. Processor
//! time is that of the client's processes and of the server together. The peer's `restic init` is not on the clock; coffer's is.
#![allow(clippy::print_stdout, reason = "a program for people: its output is its purpose")]

mod data;
mod load;
mod report;
mod sides;
mod sink;
mod steps;
mod usage;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, anyhow, ensure};
use clap::{Parser, Subcommand};
use coffer_api::size;
use coffer_test_support::mysql::{MysqlOptions, MysqlServer};
use coffer_test_support::scratch;
use serde_json::json;

use crate::report::Report;
use crate::steps::{Bench, Part, say};

/// What a server of a few GB has. The redo log is large enough for either side's restore.
const SETTINGS: [&str; 3] = ["--local-infile=ON", "--innodb-buffer-pool-size=3G", "--innodb-redo-log-capacity=2G"];

/// Measures coffer against mysqldump and restic.
#[derive(Debug, Parser)]
#[command(max_term_width = 110)]
struct Arguments {
    /// Size of the data, as bytes of dump text: 2GiB, 100MiB.
    #[arg(long, default_value = "2GiB", value_parser = parse_size)]
    size: u64,
    /// How often everything is measured; the medians count.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    runs: u64,
    /// Only these measurements.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Part>,
    /// The binary to measure.
    #[arg(long)]
    coffer: Option<PathBuf>,
    /// Keeps the generated data in this folder for the next run with the same size.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Prints JSON instead of a table.
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    part: Option<Inner>,
}

/// What this program calls itself for.
#[derive(Debug, Subcommand)]
enum Inner {
    /// One dump into nothing.
    #[command(hide = true)]
    Dump(sink::Dump),
}

fn parse_size(text: &str) -> Result<u64> {
    size::parse_quantity(text.trim_end_matches('B')).map_err(|error| anyhow!("{error}"))
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let Some(Inner::Dump(options)) = &arguments.part {
        println!("{}", sink::dump(options)?);
        return Ok(());
    }
    let wanted = |part| arguments.only.is_empty() || arguments.only.contains(&part);
    let coffer = match &arguments.coffer {
        Some(path) => path.clone(),
        None => std::env::current_exe()?.with_file_name("coffer"),
    };
    ensure!(coffer.exists(), "{} is not there: build it, or say --coffer PATH", coffer.display());

    let folder = scratch::folder()?;
    let options =
        MysqlOptions { extra_args: SETTINGS.map(str::to_owned).to_vec(), durable: true, ..MysqlOptions::default() };
    let server = server_with_data(&arguments, &options, wanted(Part::Table))?;
    let bench = Bench {
        server: &server,
        options: &options,
        folder: folder.path(),
        coffer,
        size: arguments.size,
        runs: arguments.runs,
    };
    let mut report = Report::default();
    if wanted(Part::Backup) || wanted(Part::Restore) {
        bench.compare(&mut report, wanted(Part::Backup), wanted(Part::Restore))?;
    }
    if wanted(Part::Table) {
        bench.table(&mut report)?;
    }
    if wanted(Part::Sandbox) {
        bench.sandbox(&mut report)?;
    }
    // The last: it changes rows.
    if wanted(Part::Load) {
        bench.load(&mut report)?;
    }
    let verdicts = steps::verdicts(&report);
    if arguments.json {
        let about = json!({
            "size_bytes": arguments.size, "runs": arguments.runs, "mysql": server.value("SELECT VERSION()")?,
            "cores": std::thread::available_parallelism()?.get(), "settings": SETTINGS,
        });
        println!("{}", report.to_json(&verdicts, &about));
    } else {
        println!("{}", report.to_text(&verdicts));
    }
    Ok(())
}

/// A server that holds the data: generated, or as an earlier run kept them.
fn server_with_data(arguments: &Arguments, options: &MysqlOptions, alone: bool) -> Result<MysqlServer> {
    let kept = arguments.data.as_ref().map(|folder| folder.join(format!("{}-{}", arguments.size, u8::from(alone))));
    if let Some(kept) = kept.as_ref().filter(|kept| kept.exists()) {
        say(&format!("starting a server on the data in {}", kept.display()));
        return MysqlServer::start(MysqlOptions { data: Some(kept.clone()), ..options.clone() });
    }
    say(&format!("starting a server and generating {} of data", size::format(arguments.size)));
    let mut server = MysqlServer::start(options.clone())?;
    data::fill(&server, arguments.size, alone)?;
    // Everything is on disk then, and nothing is left to be written while somebody measures.
    server.stop()?;
    if let Some(kept) = kept {
        keep(&server.data_directory(), &kept)?;
    }
    server.restart()?;
    Ok(server)
}

fn keep(data: &Path, kept: &Path) -> Result<()> {
    let parent = kept.parent().context("the folder for the data has no parent")?;
    std::fs::create_dir_all(parent)?;
    let fresh = parent.join(format!(".new-{}", std::process::id()));
    let status = Command::new("cp").args(["-a", "--reflink=auto"]).arg(data).arg(&fresh).status()?;
    ensure!(status.success(), "cannot keep the data in {}", kept.display());
    Ok(std::fs::rename(fresh, kept)?)
}
