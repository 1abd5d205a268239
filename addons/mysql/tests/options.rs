//! Every option that the stock programs list is known: understood, accepted, or refused with a reason.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a fixture that cannot be set up fails its test at once")]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use coffer_addon_mysql::{MySqlBackup, MySqlRestore};
use coffer_addon_sdk::native::{NativeRun, tcp_target};
use coffer_addon_sdk::{Backup as _, Restore as _};
use coffer_test_support::mysql::Flavor;

/// An option as `--help` lists it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Listed {
    long: String,
    short: Option<char>,
    takes_value: bool,
}

/// The options in lines such as `  -w, --where=name    Dump only selected records.`
fn listed(program: &Path) -> BTreeSet<Listed> {
    let output = Command::new(program).args(["--no-defaults", "--help"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let options = text.split("\nVariables (").next().unwrap();
    options
        .lines()
        .filter_map(|line| {
            let word = line.split_whitespace().collect::<Vec<_>>();
            let (short, long) = match word.as_slice() {
                [short, long, ..] if short.starts_with('-') && short.ends_with(',') => (short.chars().nth(1), *long),
                [long, ..] => (None, *long),
                [] => return None,
            };
            let long = long.strip_prefix("--")?;
            let (long, value) = match long.split_once('=') {
                Some((long, _)) => (long.trim_end_matches('['), !long.ends_with('[')),
                None => (long, false),
            };
            let plain = long.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
            // Prose mentions options too; the list is indented less.
            (plain && line.len() - line.trim_start().len() <= 2).then(|| Listed {
                long: long.to_owned(),
                short,
                takes_value: value,
            })
        })
        .collect()
}

/// What is said about these `args`; `None` if they are accepted, and only the connection to nowhere fails.
fn refusal(backup: bool, args: &str) -> Option<String> {
    let context =
        NativeRun::new("task").parameter("args", args).parameter("format", if backup { "single" } else { "" });
    let nowhere = tcp_target(("127.0.0.1", 1), "nobody", "");
    let error = if backup {
        MySqlBackup::open(context.context(), nowhere).err()
    } else {
        MySqlRestore::open(NativeRun::new("task").parameter("args", args).context(), nowhere).err()
    };
    error.map(|error| error.message).filter(|message| message.contains("\"args\""))
}

#[track_caller]
fn all_known(program: &Path, backup: bool, at_least: usize) {
    let options = listed(program);
    assert!(options.len() >= at_least, "{} lists only {} options: {options:?}", program.display(), options.len());
    let mut unknown = Vec::new();
    for option in &options {
        let value = if option.takes_value { "=1" } else { "" };
        let mut forms = vec![format!("--{}{value}", option.long)];
        forms.extend(option.short.map(|short| format!("-{short}{}", if option.takes_value { "1" } else { "" })));
        for form in forms {
            if let Some(message) = refusal(backup, &form).filter(|message| message.contains("has no option")) {
                unknown.push(message);
            }
        }
    }
    assert!(unknown.is_empty(), "{}", unknown.join("\n"));
    assert!(refusal(backup, "--no-such-option").is_some_and(|message| message.contains("has no option")));
}

#[test]
fn options_of_mysqldump() {
    all_known(&Flavor::MySql.dump().unwrap(), true, 100);
}

#[test]
fn options_of_mariadb_dump() {
    all_known(&Flavor::MariaDb.dump().unwrap(), true, 80);
}

#[test]
fn options_of_the_mysql_client() {
    all_known(&Flavor::MySql.client().unwrap(), false, 70);
}

#[test]
fn options_of_the_mariadb_client() {
    all_known(&Flavor::MariaDb.client().unwrap(), false, 60);
}
