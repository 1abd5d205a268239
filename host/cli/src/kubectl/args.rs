//! The command line of `kubectl coffer`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use coffer_plugin::{DryRun, Format};
use jiff::Timestamp;

use crate::args::{Cluster, Global, Local, LogFormat};

/// Backups and restores of a cluster: how they are doing, one more of them, and what is in them.
///
/// Everything is done with the rights of the kubeconfig's user. Objects are named as kubectl names them: KIND/NAME, for example
/// backupconfiguration/shop, bc/shop, backupsession/shop-daily-1724065200.
#[derive(Debug, Parser)]
#[command(name = "kubectl-coffer", bin_name = "kubectl coffer", version, max_term_width = 110, after_help = EXIT_CODES)]
pub(crate) struct Plugin {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
    /// What all commands share.
    #[command(flatten)]
    pub(crate) flags: Flags,
}

const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed or wrong usage, 3 done in part, 130 interrupted.";

/// What all commands share.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Flags {
    /// Namespace, instead of that of the kubeconfig's context.
    #[arg(short, long, value_name = "NAME", global = true)]
    pub(crate) namespace: Option<String>,
    /// Say more; twice for what only helps to find faults.
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub(crate) verbose: u8,
    #[command(flatten)]
    pub(crate) cluster: Cluster,
}

impl Flags {
    /// The same for the commands that work without a cluster.
    pub(crate) fn global(&self, local: Option<Local>) -> Global {
        Global {
            filename: Vec::new(),
            namespace: self.namespace.clone(),
            json: false,
            quiet: false,
            verbose: self.verbose,
            log_format: LogFormat::Human,
            cache_dir: None,
            no_cache: true,
            local_root: local.unwrap_or(Local::MountPath),
        }
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Say how everything of a namespace is doing, or one object; what is not right, and how to fix it.
    Status(Status),
    /// Begin a backup now, as the schedule of the session would.
    Trigger(Trigger),
    /// Take no backups for now.
    Pause(Which),
    /// Take backups again.
    Resume(Which),
    /// Restore a Snapshot into a database.
    Restore(Box<Restore>),
    /// List Snapshots, oldest first.
    Snapshots(Snapshots),
    /// Print what the pods of an object print.
    Logs(Logs),
    /// Gather everything that helps to find a fault. No Secret is in it.
    Debug(Debug),
    /// Remove the locks of processes that are gone from a Repository. Works on its storage from this machine.
    Unlock(Unlock),
    /// Fetch the files of a Snapshot. Reads its storage from this machine.
    Download(Download),
}

/// How objects are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// A table with more columns.
    Wide,
    /// JSON.
    Json,
    /// YAML.
    Yaml,
    /// `kind.group/name`, one a line.
    Name,
}

/// `-o`
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Shown {
    /// Show it so.
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    output: Option<Output>,
}

impl Shown {
    pub(crate) fn format(self) -> Format {
        match self.output {
            None => Format::Table,
            Some(Output::Wide) => Format::Wide,
            Some(Output::Json) => Format::Json,
            Some(Output::Yaml) => Format::Yaml,
            Some(Output::Name) => Format::Name,
        }
    }
}

/// `--dry-run`
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Rehearsal {
    /// Change nothing: `client` only shows the object, `server` asks the server whether it would take it.
    #[arg(long, value_enum, value_name = "MODE", num_args = 0..=1, require_equals = true, default_value = "none", default_missing_value = "client")]
    dry_run: Mode,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    None,
    Client,
    Server,
}

impl Rehearsal {
    pub(crate) fn mode(self) -> DryRun {
        match self.dry_run {
            Mode::None => DryRun::None,
            Mode::Client => DryRun::Client,
            Mode::Server => DryRun::Server,
        }
    }
}

/// `--wait`
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Wait {
    /// Wait until it has ended, and say how far it is. Fails if it does not succeed.
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) wait: bool,
    /// The longest time to wait, like 30m.
    #[arg(long, value_name = "DURATION", requires = "wait", value_parser = duration)]
    pub(crate) timeout: Option<Duration>,
}

fn duration(text: &str) -> Result<Duration, coffer_api::duration::DurationError> {
    coffer_api::duration::parse(text)
}

/// `kubectl coffer status`
#[derive(Debug, Args)]
pub(crate) struct Status {
    /// One object, with what belongs to it; everything in the namespace without it.
    #[arg(value_name = "KIND/NAME", num_args = 0..=2)]
    pub(crate) object: Vec<String>,
    /// Of all namespaces.
    #[arg(short = 'A', long, conflicts_with = "object")]
    pub(crate) all_namespaces: bool,
    #[command(flatten)]
    pub(crate) shown: Shown,
}

/// `kubectl coffer trigger`
#[derive(Debug, Args)]
pub(crate) struct Trigger {
    /// Name of the BackupConfiguration.
    pub(crate) configuration: String,
    /// Only these of its sessions.
    #[arg(short, long = "sessions", visible_alias = "session", value_name = "NAME", value_delimiter = ',')]
    pub(crate) sessions: Vec<String>,
    #[command(flatten)]
    pub(crate) wait: Wait,
    #[command(flatten)]
    pub(crate) rehearsal: Rehearsal,
    #[command(flatten)]
    pub(crate) shown: Shown,
}

/// `kubectl coffer pause` and `resume`
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// Names of BackupConfigurations.
    #[arg(value_name = "NAME", required_unless_present = "all", conflicts_with = "all")]
    pub(crate) names: Vec<String>,
    /// All BackupConfigurations of the namespace.
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) rehearsal: Rehearsal,
    #[command(flatten)]
    pub(crate) shown: Shown,
}

/// `kubectl coffer restore`
#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// Name of the RestoreSession, instead of one made of the repository and the time.
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Restore from this Repository.
    #[arg(short, long, value_name = "NAME")]
    pub(crate) repository: Option<String>,
    /// Which Snapshot: its name, or `latest`.
    #[arg(long, value_name = "SNAPSHOT", conflicts_with = "time")]
    pub(crate) snapshot: Option<String>,
    /// The newest Snapshot up to this moment, like 2026-01-31T12:00:00Z.
    #[arg(long, value_name = "TIME")]
    pub(crate) time: Option<Timestamp>,
    /// Restore into this database: `AppBinding/name`, or a kind of kubedb.com like `MySQL/name`.
    #[arg(short, long, value_name = "KIND/NAME")]
    pub(crate) target: Option<String>,
    /// Restore a database under another name: `old=new`, or only the new name if the backup is of one database.
    #[arg(long, value_name = "OLD=NEW", value_delimiter = ',')]
    pub(crate) to_database: Vec<String>,
    /// A parameter of the task, as `coffer addon inspect` lists them; may be given several times.
    #[arg(long = "param", value_name = "NAME=VALUE")]
    pub(crate) parameters: Vec<String>,
    /// The Addon, instead of the one that wrote the repository.
    #[arg(long, value_name = "NAME")]
    pub(crate) addon: Option<String>,
    /// The restore task of the Addon, when it has several.
    #[arg(long, value_name = "NAME")]
    pub(crate) task: Option<String>,
    /// Secret with the repository's password, instead of the Repository's.
    #[arg(long, value_name = "NAME")]
    pub(crate) encryption_secret: Option<String>,
    /// The longest time that the restore may take, like 2h.
    #[arg(long = "restore-timeout", value_name = "DURATION")]
    pub(crate) limit: Option<String>,
    #[command(flatten)]
    pub(crate) wait: Wait,
    #[command(flatten)]
    pub(crate) rehearsal: Rehearsal,
    #[command(flatten)]
    pub(crate) shown: Shown,
}

/// `kubectl coffer snapshots`
#[derive(Debug, Args)]
pub(crate) struct Snapshots {
    /// Only those of this Repository.
    #[arg(short, long, value_name = "NAME")]
    pub(crate) repository: Option<String>,
    /// Only those of this session.
    #[arg(short, long, value_name = "NAME")]
    pub(crate) session: Option<String>,
    /// Only those in this phase, such as Succeeded.
    #[arg(long, value_name = "PHASE")]
    pub(crate) phase: Option<String>,
    /// Only the newest so many of each Repository and session.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) latest: Option<usize>,
    /// Of all namespaces.
    #[arg(short = 'A', long)]
    pub(crate) all_namespaces: bool,
    #[command(flatten)]
    pub(crate) shown: Shown,
}

/// `kubectl coffer logs`
#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// The object whose pods are meant; of a BackupConfiguration its newest BackupSession.
    #[arg(value_name = "KIND/NAME", num_args = 1..=2, required = true)]
    pub(crate) object: Vec<String>,
    /// Session of a BackupConfiguration.
    #[arg(short, long, value_name = "NAME")]
    pub(crate) session: Option<String>,
    /// Go on until the pods end.
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Only the last so many lines.
    #[arg(long, value_name = "LINES", value_parser = clap::value_parser!(i64).range(0..))]
    pub(crate) tail: Option<i64>,
    /// Only what is not older, like 10m.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) since: Option<Duration>,
    /// With the time of each line.
    #[arg(long)]
    pub(crate) timestamps: bool,
}

/// `kubectl coffer debug`
#[derive(Debug, Args)]
pub(crate) struct Debug {
    /// Write files into this new folder, instead of one text to standard output.
    #[arg(long, value_name = "DIR")]
    pub(crate) output_dir: Option<PathBuf>,
    /// Of all namespaces.
    #[arg(short = 'A', long)]
    pub(crate) all_namespaces: bool,
    /// Namespace of the operator, if it may not be looked for.
    #[arg(long, value_name = "NAME")]
    pub(crate) operator_namespace: Option<String>,
    /// How many lines of each log.
    #[arg(long, value_name = "LINES", default_value_t = 1000, value_parser = clap::value_parser!(i64).range(1..))]
    pub(crate) tail: i64,
}

/// `kubectl coffer unlock`
#[derive(Debug, Args)]
pub(crate) struct Unlock {
    /// Name of the Repository.
    pub(crate) repository: String,
    /// Only what this session writes.
    #[arg(short, long, value_name = "NAME")]
    pub(crate) session: Option<String>,
    /// Only this snapshot component, such as `dump`.
    #[arg(long, value_name = "NAME")]
    pub(crate) component: Option<String>,
    /// Remove every lock. Whoever works on the repository at this moment may lose data.
    #[arg(long)]
    pub(crate) remove_all: bool,
    #[command(flatten)]
    pub(crate) rehearsal: Rehearsal,
    #[command(flatten)]
    pub(crate) volume: Volume,
}

/// `kubectl coffer download`
#[derive(Debug, Args)]
pub(crate) struct Download {
    /// Name of the Snapshot.
    pub(crate) snapshot: String,
    /// The new folder to write into, instead of one of the Snapshot's name.
    #[arg(short, long, value_name = "DIR")]
    pub(crate) destination: Option<PathBuf>,
    /// Only these snapshot components, such as `dump`.
    #[arg(long = "component", value_name = "NAME", value_delimiter = ',')]
    pub(crate) components: Vec<String>,
    /// Only files at or below this path of the snapshot.
    #[arg(long, value_name = "PATH")]
    pub(crate) path: Option<String>,
    #[command(flatten)]
    pub(crate) volume: Volume,
}

/// Where the volume of a `local` storage is on this machine.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Volume {
    /// The volume of a `local` storage is on this machine: at its hostPath, or at its mountPath. Without it such a storage is out of reach.
    #[arg(long, value_enum, value_name = "WHERE")]
    pub(crate) local_root: Option<Local>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    fn parse(words: &[&str]) -> Result<Plugin, clap::Error> {
        Plugin::try_parse_from(["kubectl-coffer"].iter().chain(words))
    }

    #[test]
    fn the_command_line_is_consistent() {
        Plugin::command().debug_assert();
    }

    #[test]
    fn a_dry_run_is_written_as_for_kubectl() {
        let mode = |words: &[&str]| match parse(words).unwrap().command {
            Command::Trigger(trigger) => trigger.rehearsal.mode(),
            other => panic!("{other:?}"),
        };
        assert_eq!(mode(&["trigger", "shop"]), DryRun::None);
        assert_eq!(mode(&["trigger", "--dry-run", "shop"]), DryRun::Client);
        assert_eq!(mode(&["trigger", "shop", "--dry-run=server"]), DryRun::Server);
        assert!(parse(&["trigger", "shop", "--dry-run=maybe"]).is_err());
    }

    #[test]
    fn what_makes_no_sense_together_is_refused() {
        for words in [
            &["trigger"][..],
            &["trigger", "shop", "--timeout", "5m"],
            &["trigger", "shop", "--wait", "--dry-run=client"],
            &["trigger", "shop", "--wait", "--timeout", "soon"],
            &["pause"],
            &["pause", "shop", "--all"],
            &["restore", "--snapshot", "latest", "--time", "2026-01-31T12:00:00Z"],
            &["restore", "--time", "yesterday"],
            &["status", "-A", "bc/shop"],
            &["logs"],
            &["logs", "a", "b", "c"],
            &["snapshots", "-o", "xml"],
            &["nothing"],
        ] {
            assert!(parse(words).is_err(), "{words:?}");
        }
        for words in [
            &["-n", "demo", "status", "--context", "prod"][..],
            &["status", "bc", "shop", "-o", "wide"],
            &["logs", "bc/shop", "-f"],
            &["restore", "--time", "2026-01-31T12:00:00Z", "--wait", "--timeout", "1h"],
            &["trigger", "shop", "--sessions", "a,b", "--wait"],
        ] {
            assert!(parse(words).is_ok(), "{words:?}");
        }
    }
}
