//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

/// Back up and restore databases, from the manifests that run in a cluster, without a cluster.
///
/// Every command reads a directory of manifests (-f): BackupConfigurations, RestoreSessions, BackupStorages, AppBindings and their
/// Secrets. Repositories have restic's format: restic itself can read them.
#[derive(Debug, Parser)]
#[command(name = "coffer", version, max_term_width = 110, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
    /// What all commands share.
    #[command(flatten)]
    pub(crate) global: Global,
}

const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 done in part (some repositories failed), \
10 no such repository, 11 repository locked, 12 wrong password, 130 interrupted.";

/// What all commands share.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Directory of manifests, or one file; may be given several times.
    #[arg(short, long = "filename", value_name = "DIR_OR_FILE", global = true)]
    pub(crate) filename: Vec<PathBuf>,
    /// Only objects of this namespace.
    #[arg(short, long, value_name = "NAME", global = true)]
    pub(crate) namespace: Option<String>,
    /// One JSON object a line on standard output.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Say nothing but results and errors.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Say more; twice for what only helps to find faults.
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub(crate) verbose: u8,
    /// Format of the log on standard error.
    #[arg(long, value_enum, default_value_t = LogFormat::Human, value_name = "FORMAT", global = true, env = "COFFER_LOG_FORMAT")]
    pub(crate) log_format: LogFormat,
    /// Where compiled addons are kept, instead of the user's cache folder.
    #[arg(long, value_name = "DIR", global = true, env = "COFFER_CACHE_DIR")]
    pub(crate) cache_dir: Option<PathBuf>,
    /// Compile addons every time.
    #[arg(long, global = true, conflicts_with = "cache_dir")]
    pub(crate) no_cache: bool,
    /// Where the volumes of `local` storages are.
    #[arg(long, value_enum, default_value_t = Local::HostPath, value_name = "WHERE", global = true, env = "COFFER_LOCAL_ROOT")]
    pub(crate) local_root: Local,
}

/// Format of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// Where the volumes of `local` storages are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Local {
    /// At `hostPath.path` on this machine (other kinds of volume: at `mountPath`).
    HostPath,
    /// At `mountPath`, as in a pod.
    MountPath,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Back up a database: run one session of a BackupConfiguration.
    Backup(Backup),
    /// Restore a database: run a RestoreSession, or a snapshot of a repository into a target.
    Restore(Restore),
    /// List snapshots.
    Snapshots(Snapshots),
    /// List the files of a snapshot.
    Ls(Ls),
    /// Write one file of a snapshot to standard output, or to a file.
    Dump(Dump),
    /// Look for damage in repositories.
    Check(Check),
    /// Remove snapshots; their data goes with the next prune.
    Forget(Forget),
    /// Free the space of data that no snapshot needs, in two steps: what is marked now goes with a later prune.
    Prune(Prune),
    /// Manage the passwords of repositories.
    #[command(subcommand)]
    Key(Key),
    /// Remove the locks of processes that are gone.
    Unlock(Unlock),
    /// Look at addons.
    #[command(subcommand)]
    Addon(Addon),
    /// Run the operator of a cluster: its controllers, until SIGTERM.
    Operator(Operator),
    /// Do the work of one Job of the operator. Its pods run this; it reads a cluster instead of manifests.
    Run(Run),
    /// Print what a cluster needs for the operator: `coffer install --crds | kubectl apply --server-side -f -`, then the same without `--crds`.
    Install(Install),
    /// Work with the objects of a cluster: status, trigger, pause, restore, logs and more. As a link `kubectl-coffer` in the PATH it is `kubectl coffer`.
    #[command(disable_help_flag = true)]
    Kubectl {
        /// `coffer kubectl --help` says which.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
        words: Vec<std::ffi::OsString>,
    },
    /// Print the completion script of a shell.
    Completion {
        /// The shell.
        shell: Shell,
    },
    /// Print the version.
    Version,
}

impl Command {
    /// Whether it runs in a pod, where nobody but the log is listening.
    pub(crate) fn is_service(&self) -> bool {
        matches!(self, Self::Run(_) | Self::Operator(_))
    }
}

/// Which repositories.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Which {
    /// Only this Repository.
    #[arg(short, long, value_name = "NAME")]
    pub(crate) repository: Option<String>,
    /// Only what this session writes.
    #[arg(short, long, value_name = "NAME")]
    pub(crate) session: Option<String>,
    /// Only this snapshot component, such as `dump`.
    #[arg(long, value_name = "NAME")]
    pub(crate) component: Option<String>,
}

/// `coffer backup`
#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// Name of the BackupConfiguration, when the manifests have several.
    pub(crate) configuration: Option<String>,
    /// Session of it, when it has several.
    #[arg(short, long, value_name = "NAME")]
    pub(crate) session: Option<String>,
}

/// `coffer restore`
#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// Name of the RestoreSession, when the manifests have several.
    #[arg(value_name = "RESTORE_SESSION")]
    pub(crate) name: Option<String>,
    /// Restore from this Repository. With --target no RestoreSession is needed.
    #[arg(short, long, value_name = "NAME")]
    pub(crate) repository: Option<String>,
    /// Restore what this session wrote, when several write the repository.
    #[arg(short, long, value_name = "NAME")]
    pub(crate) session: Option<String>,
    /// Which snapshot: `latest`, an id, the name of a Snapshot, or a time like 2026-01-31T12:00:00Z (the newest up to then).
    #[arg(long, value_name = "SNAPSHOT")]
    pub(crate) snapshot: Option<String>,
    /// Restore into this database: `AppBinding/name`, or a kind of kubedb.com like `MySQL/name`.
    #[arg(short, long, value_name = "KIND/NAME")]
    pub(crate) target: Option<String>,
    /// The Addon, instead of the one of the RestoreSession or of the repository's BackupConfiguration.
    #[arg(long, value_name = "NAME")]
    pub(crate) addon: Option<String>,
    /// The restore task of the Addon, when it has several.
    #[arg(long, value_name = "NAME")]
    pub(crate) task: Option<String>,
    /// A parameter of the task; may be given several times.
    #[arg(long = "param", value_name = "NAME=VALUE")]
    pub(crate) parameters: Vec<String>,
}

/// `coffer snapshots`
#[derive(Debug, Args)]
pub(crate) struct Snapshots {
    #[command(flatten)]
    pub(crate) which: Which,
    /// Only the newest so many of each repository.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) latest: Option<usize>,
}

/// `coffer ls`
#[derive(Debug, Args)]
pub(crate) struct Ls {
    /// `latest`, or (the beginning of) an id.
    #[arg(default_value = "latest")]
    pub(crate) snapshot: String,
    /// Only files below this path.
    pub(crate) path: Option<String>,
    /// With sizes and times.
    #[arg(short, long)]
    pub(crate) long: bool,
    #[command(flatten)]
    pub(crate) which: Which,
}

/// `coffer dump`
#[derive(Debug, Args)]
pub(crate) struct Dump {
    /// `latest`, or (the beginning of) an id.
    pub(crate) snapshot: String,
    /// The file in the snapshot.
    pub(crate) path: String,
    /// Write there instead of standard output.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) target: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) which: Which,
}

/// `coffer check`
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// Read and verify all data, not only the structure.
    #[arg(long)]
    pub(crate) read_data: bool,
    #[command(flatten)]
    pub(crate) which: Which,
}

/// `coffer forget`
#[derive(Debug, Args)]
pub(crate) struct Forget {
    /// (The beginnings of) the ids of the snapshots to remove.
    #[arg(conflicts_with = "Keep")]
    pub(crate) snapshots: Vec<String>,
    #[command(flatten)]
    pub(crate) keep: Keep,
    /// Prune afterwards.
    #[arg(long)]
    pub(crate) prune: bool,
    /// Only say what would be removed.
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) which: Which,
}

/// What `coffer forget` keeps.
#[derive(Debug, Clone, Default, Args)]
#[group(id = "Keep", multiple = true)]
pub(crate) struct Keep {
    /// Keep the newest so many.
    #[arg(short = 'l', long = "keep-last", value_name = "NUMBER")]
    pub(crate) last: Option<u32>,
    /// Keep the newest of each of the last so many hours that have any.
    #[arg(short = 'H', long = "keep-hourly", value_name = "NUMBER")]
    pub(crate) hourly: Option<u32>,
    /// The same for days.
    #[arg(short = 'd', long = "keep-daily", value_name = "NUMBER")]
    pub(crate) daily: Option<u32>,
    /// The same for weeks.
    #[arg(short = 'w', long = "keep-weekly", value_name = "NUMBER")]
    pub(crate) weekly: Option<u32>,
    /// The same for months.
    #[arg(short = 'm', long = "keep-monthly", value_name = "NUMBER")]
    pub(crate) monthly: Option<u32>,
    /// The same for years.
    #[arg(short = 'y', long = "keep-yearly", value_name = "NUMBER")]
    pub(crate) yearly: Option<u32>,
    /// Keep what is at most this much older than the newest, like 1y2mo3w4d5h.
    #[arg(long = "keep-within", value_name = "DURATION")]
    pub(crate) within: Option<String>,
}

/// `coffer prune`
#[derive(Debug, Args)]
pub(crate) struct Prune {
    /// Only say what would be done.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// How long marked data is kept, like 23h. Longer than the longest backup, if programs without locks write to the repository.
    #[arg(long, value_name = "DURATION", default_value = "23h")]
    pub(crate) keep_marked: String,
    /// Remove at once instead of marking first. Only if everybody who writes to the repository honours locks.
    #[arg(long)]
    pub(crate) instant: bool,
    #[command(flatten)]
    pub(crate) which: Which,
}

/// `coffer key`
#[derive(Debug, Subcommand)]
pub(crate) enum Key {
    /// List keys.
    List {
        #[command(flatten)]
        which: Which,
    },
    /// Add a password.
    Add {
        #[command(flatten)]
        new: NewPassword,
        /// Host to record with the key.
        #[arg(long, value_name = "NAME")]
        host: Option<String>,
        /// User to record with the key.
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
        #[command(flatten)]
        which: Which,
    },
    /// Remove a password; the one in use and the last one stay.
    Remove {
        /// (The beginning of) the id of the key.
        id: String,
        /// Only say which key would be removed.
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        which: Which,
    },
    /// Replace the password in use. Put the new one into the encryption Secret when every repository that uses it has it.
    Passwd {
        #[command(flatten)]
        new: NewPassword,
        #[command(flatten)]
        which: Which,
    },
}

/// Where a new password comes from. Never from the command line, which every user of the machine can see.
#[derive(Debug, Clone, Args)]
pub(crate) struct NewPassword {
    /// File with the new password (`-` is standard input). Otherwise the variable `COFFER_NEW_PASSWORD`, otherwise standard input.
    #[arg(long, value_name = "FILE")]
    pub(crate) new_password_file: Option<PathBuf>,
}

/// `coffer unlock`
#[derive(Debug, Args)]
pub(crate) struct Unlock {
    /// Remove every lock. Whoever works on the repository at this moment may lose data.
    #[arg(long)]
    pub(crate) remove_all: bool,
    /// Only list the locks.
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) which: Which,
}

/// `coffer addon`
#[derive(Debug, Subcommand)]
pub(crate) enum Addon {
    /// Say what an addon is, what it can do and what it wants to be allowed.
    Inspect {
        /// A file, `builtin:name`, or the name of a built-in addon.
        component: String,
    },
    /// Print the Addon and Function manifests of addons.
    Catalog {
        /// Files, `builtin:name`, or names of built-in addons; all built-in ones if none is given.
        components: Vec<String>,
    },
}

/// `coffer operator`. Its own namespace is `--namespace`, else `POD_NAMESPACE`, else `coffer`.
#[derive(Debug, Args)]
pub(crate) struct Operator {
    /// Image of all Jobs: the operator's own.
    #[arg(long, value_name = "IMAGE", env = "COFFER_IMAGE")]
    pub(crate) image: String,
    /// When nodes pull it.
    #[arg(long, value_name = "POLICY", env = "COFFER_IMAGE_PULL_POLICY", value_parser = ["Always", "IfNotPresent", "Never"])]
    pub(crate) image_pull_policy: Option<String>,
    /// Secrets, in the namespace of each Job, with which nodes pull it.
    #[arg(long, value_name = "NAME", env = "COFFER_IMAGE_PULL_SECRETS", value_delimiter = ',')]
    pub(crate) image_pull_secret: Vec<String>,
    /// Where /healthz, /readyz and /metrics are served.
    #[arg(long, value_name = "ADDRESS", env = "COFFER_LISTEN", default_value = "0.0.0.0:8080")]
    pub(crate) listen: std::net::SocketAddr,
    /// Name of this operator among all.
    #[arg(long, value_name = "NAME", env = "POD_NAME", default_value_t = default_identity())]
    pub(crate) identity: String,
    /// Lead without asking. Never run two operators so.
    #[arg(long)]
    pub(crate) no_lease: bool,
}

/// No two processes of one machine are the same, and no two pods have the same name.
fn default_identity() -> String {
    format!("coffer-{}", std::process::id())
}

/// Which cluster. Without options: the kubeconfig of `KUBECONFIG` or `~/.kube/config`, and in a pod the cluster that it runs in.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Cluster")]
pub(crate) struct Cluster {
    /// File that says how to reach the cluster.
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig, instead of the current one.
    #[arg(long, value_name = "NAME", global = true)]
    pub(crate) context: Option<String>,
}

/// `coffer run`
#[derive(Debug, Args)]
pub(crate) struct Run {
    #[command(subcommand)]
    pub(crate) verb: Verb,
    #[command(flatten)]
    pub(crate) cluster: Cluster,
}

/// The work of a Job.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Create a BackupSession of a BackupConfiguration.
    Trigger {
        /// Name of the BackupConfiguration.
        #[arg(long, value_name = "NAME")]
        configuration: String,
        /// Session of it.
        #[arg(long, value_name = "NAME")]
        session: String,
    },
    /// Write the index of a BackupStorage, or bring back the objects that it lists.
    InitializeStorage {
        /// Name of the BackupStorage.
        #[arg(long, value_name = "NAME")]
        name: String,
    },
    /// Write the file of a Repository.
    InitializeRepository {
        /// Name of the Repository.
        #[arg(long, value_name = "NAME")]
        name: String,
    },
    /// Run a BackupSession.
    Backup {
        /// Name of the BackupSession.
        #[arg(long, value_name = "NAME")]
        session: String,
    },
    /// Run a RestoreSession.
    Restore {
        /// Name of the RestoreSession.
        #[arg(long, value_name = "NAME")]
        session: String,
    },
    /// Apply the `RetentionPolicies` after a BackupSession.
    Retention {
        /// Name of the BackupSession.
        #[arg(long, value_name = "NAME")]
        session: String,
    },
    /// Remove the data of an object that is being deleted with the policy `WipeOut`.
    Cleanup {
        /// Kind of the object.
        #[arg(long, value_enum, value_name = "KIND")]
        kind: Wiped,
        /// Name of the object.
        #[arg(long, value_name = "NAME")]
        name: String,
    },
}

/// The kinds that have data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Wiped {
    /// What a storage lists.
    #[value(name = "BackupStorage")]
    BackupStorage,
    /// A Repository's restic repositories and files.
    #[value(name = "Repository")]
    Repository,
    /// A Snapshot's restic snapshots and file.
    #[value(name = "Snapshot")]
    Snapshot,
}

/// `coffer install`. The namespace is `coffer`, unless -n says otherwise.
#[derive(Debug, Args)]
pub(crate) struct Install {
    /// Image of the operator and of all Jobs.
    #[arg(long, value_name = "IMAGE", default_value = coffer_deploy::IMAGE)]
    pub(crate) image: String,
    /// When nodes pull it.
    #[arg(long, value_name = "POLICY", default_value = "IfNotPresent", value_parser = ["Always", "IfNotPresent", "Never"])]
    pub(crate) pull_policy: String,
    /// How many operators run; one leads.
    #[arg(long, value_name = "NUMBER", default_value_t = 2, value_parser = clap::value_parser!(i32).range(1..))]
    pub(crate) replicas: i32,
    /// Print the CRDs alone. A new cluster needs them first: kubectl refuses the catalog as long as it does not know its kinds.
    #[arg(long)]
    pub(crate) crds: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn ids_and_policies_exclude_each_other() {
        let parse = |arguments: &[&str]| Cli::try_parse_from(arguments.iter().copied());
        assert!(parse(&["coffer", "forget", "-f", "x", "abcd", "--keep-last", "1"]).is_err());
        assert!(parse(&["coffer", "forget", "-f", "x", "--keep-last", "1", "--keep-daily", "7"]).is_ok());
        assert!(parse(&["coffer", "forget", "-f", "x", "abcd", "ef01", "--dry-run"]).is_ok());
    }
}
