//! `make demo`: a real server, two backups, a lost database, a restore, and proof that nothing is missing.
//!
//! Takes the path of the `coffer` binary, and the folder of the demo's manifests.
#![allow(clippy::print_stdout, reason = "a program for people: its output is its purpose")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use coffer_test_support::fingerprint::{differences, fingerprint};
use coffer_test_support::mysql::{MysqlOptions, MysqlServer, PASSWORD};
use coffer_test_support::{data, scratch};

const DATABASE: &str = "shop";
const MEGABYTES: u64 = 300;

fn main() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(coffer), Some(manifests)) = (arguments.next(), arguments.next()) else {
        bail!("usage: coffer-demo <coffer binary> <folder of manifests>");
    };
    let folder = scratch::folder()?;
    let storage = folder.path().join("backups");
    let here = folder.path().join("manifests");

    say("Starting a throw-away MySQL server");
    let options = MysqlOptions { extra_args: vec!["--local-infile=ON".into()], ..MysqlOptions::default() };
    let server = MysqlServer::start(options).context("run tests/tools/mysql.sh if MySQL is not installed yet")?;
    println!("    MySQL {} on 127.0.0.1:{}", server.value("SELECT VERSION()")?, server.port());

    say(&format!("Loading a sample database of some {MEGABYTES} MB"));
    let (loaded, ()) = timed(|| data::sample(&server, DATABASE, MEGABYTES))?;
    println!("    {} tables in {}", tables(&server)?, seconds(loaded));

    say("Writing the manifests, as a user would");
    write_manifests(&manifests, &here, &server, &storage)?;
    println!("    {}", names(&here)?.join("  "));

    say("First backup");
    let (first, ()) = timed(|| run(&coffer, &here, &["backup"]))?;
    let size_1 = folder_size(&storage)?;

    say("Changing a few rows, and the second backup");
    data::change_a_few_rows(&server, DATABASE)?;
    let (second, ()) = timed(|| run(&coffer, &here, &["backup"]))?;
    let size_2 = folder_size(&storage)?;

    say("Taking fingerprints of every object and every row, then DROP DATABASE");
    let before = fingerprint(&server, DATABASE)?;
    let bytes = data_bytes(&server)?;
    server.exec(&format!("DROP DATABASE `{DATABASE}`"))?;

    say("Restore");
    let (restored, ()) = timed(|| run(&coffer, &here, &["restore"]))?;

    say("Comparing");
    let after = fingerprint(&server, DATABASE)?;
    let different = differences(&before, &after);
    for difference in &different {
        println!("    {difference}");
    }

    say("Snapshots");
    run(&coffer, &here, &["snapshots"])?;
    run(&coffer, &here, &["check"])?;

    say("Summary");
    let rate = |time: Duration| format!("{}, {:.0} MB/s", seconds(time), megabytes(bytes) / time.as_secs_f64());
    println!("    first backup       {}", rate(first));
    println!("    second backup      {}", rate(second));
    println!("    restore            {}", rate(restored));
    println!("    repository         {:.1} MB after run 1", megabytes(size_1));
    println!(
        "                       {:.1} MB after run 2 (+{:.1} MB: the rest was deduplicated)",
        megabytes(size_2),
        megabytes(size_2.saturating_sub(size_1))
    );
    println!("    objects compared   {} ({} tables, every row)", before.len(), tables(&server)?);
    println!("    differences        {}", different.len());
    ensure!(different.is_empty(), "the restored database differs from the one that was backed up");
    Ok(())
}

fn say(what: &str) {
    println!("\n==> {what}");
}

fn timed<T>(act: impl FnOnce() -> Result<T>) -> Result<(Duration, T)> {
    let start = Instant::now();
    let value = act()?;
    Ok((start.elapsed(), value))
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

#[expect(clippy::cast_precision_loss, reason = "for the eye")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// Runs `coffer` on the user's terminal, so that its progress bar shows.
fn run(coffer: &Path, manifests: &Path, arguments: &[&str]) -> Result<()> {
    println!("    $ coffer {} -f manifests/ -n demo", arguments.join(" "));
    let status = Command::new(coffer).args(arguments).arg("-f").arg(manifests).args(["-n", "demo"]).status()?;
    ensure!(status.success(), "coffer {} failed: {status}", arguments.join(" "));
    Ok(())
}

fn write_manifests(from: &Path, to: &Path, server: &MysqlServer, storage: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    fs::create_dir_all(storage)?;
    let values = BTreeMap::from([
        ("@HOST@", server.host().to_owned()),
        ("@PORT@", server.port().to_string()),
        ("@USERNAME@", "root".to_owned()),
        ("@PASSWORD@", PASSWORD.to_owned()),
        ("@STORAGE@", storage.display().to_string()),
    ]);
    for name in names(from)? {
        let template = fs::read_to_string(from.join(&name))?;
        let text = values.iter().fold(template, |text, (name, value)| text.replace(name, value));
        fs::write(to.join(&name), text)?;
    }
    Ok(())
}

fn names(folder: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder).with_context(|| format!("the folder {} cannot be read", folder.display()))?;
    let mut names =
        entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect::<Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

fn tables(server: &MysqlServer) -> Result<String> {
    server.value(&format!(
        "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = '{DATABASE}' AND table_type = 'BASE TABLE'"
    ))
}

fn data_bytes(server: &MysqlServer) -> Result<u64> {
    let sql = format!(
        "SET SESSION information_schema_stats_expiry = 0; SELECT SUM(data_length) FROM information_schema.tables WHERE table_schema = '{DATABASE}'"
    );
    Ok(server.value(&sql)?.parse()?)
}

fn folder_size(folder: &Path) -> Result<u64> {
    let mut size = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        size += if metadata.is_dir() { folder_size(&entry.path())? } else { metadata.len() };
    }
    Ok(size)
}
