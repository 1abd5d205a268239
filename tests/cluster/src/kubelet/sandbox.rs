//! One container as a local process, apart from the host as a container is.
//!
//! It has a mount namespace whose root is a fresh tmpfs with the host's programs (`/usr`, `/lib`, `/etc` …) read-only, the pod's volumes where the
//! container wants them and `/proc` and `/dev` of its own; and a process namespace, so that killing its first process kills all of them. Of the host's
//! files it sees nothing else. What readOnlyRootFilesystem, runAsUser and dropped capabilities promise is so.

use std::{
    fmt::Write as _,
    fs,
    os::unix::{fs::PermissionsExt as _, process::ExitStatusExt as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use coffer_test_support::process::spawn;
use tokio::sync::watch;

use super::{
    container::{Environment, Rights},
    volumes::Mount,
};

/// The host's folders that every image has.
const SYSTEM: [&str; 8] = ["usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "etc"];
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];
/// The exit code of a container whose sandbox could not be made, as runtimes have it.
const CANNOT_START: i32 = 128;
/// How much of its output or its last message a container may leave in its pod's status: 4096 bytes, or the last 2048 of the log.
const MESSAGE: usize = 4096;
const LOG_MESSAGE: usize = 2048;

/// What to run, and how.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// A folder of this container's own.
    pub(super) folder: PathBuf,
    pub(super) mounts: Vec<Mount>,
    pub(super) command: Vec<String>,
    pub(super) working_dir: Option<String>,
    pub(super) environment: Environment,
    pub(super) rights: Rights,
    /// Where the container writes its last message, and whether the end of its log takes the place of an empty one when it fails.
    pub(super) message_path: String,
    pub(super) message_from_log: bool,
    pub(super) log: PathBuf,
}

/// A running container.
pub(super) struct Process {
    /// The process that made the namespaces and waits for their first one.
    outer: u32,
    ended: watch::Receiver<Option<i32>>,
    plan: Plan,
}

/// Whether containers can be made here: as root, outside of a sandbox that allows no namespaces.
pub(super) fn possible() -> bool {
    let script = "[ \"$(id -u)\" = 0 ] && exec unshare --mount --pid --fork --kill-child -- mount -t tmpfs tmpfs /tmp";
    let tried = Command::new("sh").args(["-c", script]).output();
    tried.is_ok_and(|output| output.status.success())
}

/// Lets every user pass through a folder that was made for one.
pub(super) fn open_to_everybody(folder: &Path) -> Result<()> {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).context("cannot open the player's folder")
}

/// Ends all containers whose folders are below `folder`.
pub(super) fn kill_below(folder: &Path) {
    let containers = fs::read_dir(folder.join("containers")).into_iter().flatten().flatten();
    for pid in containers.filter_map(|entry| fs::read_to_string(entry.path().join("pid")).ok()?.parse().ok()) {
        kill_namespace(pid);
    }
}

impl Process {
    pub(super) fn start(plan: Plan) -> Result<Self> {
        fs::create_dir_all(plan.folder.join("root"))?;
        plan.log.parent().map_or(Ok(()), fs::create_dir_all)?;
        let message = plan.folder.join("message");
        fs::write(&message, "")?;
        fs::set_permissions(&message, fs::Permissions::from_mode(0o666))?;
        let program = plan.folder.join("start.sh");
        fs::write(&program, script(&plan))?;
        let output = fs::OpenOptions::new().create(true).append(true).open(&plan.log)?;
        let errors = output.try_clone()?;
        let mut child = spawn(Path::new("unshare"), |command| {
            command.args(["--mount", "--pid", "--fork", "--kill-child", "--", "/bin/sh"]).arg(&program);
            command.args(&plan.command).env_clear().envs(&plan.environment);
            command.stdin(Stdio::null()).stdout(output).stderr(errors);
        })?;
        let outer = child.id();
        fs::write(plan.folder.join("pid"), outer.to_string())?;
        let (sender, ended) = watch::channel(None);
        thread::Builder::new().name(format!("container-{outer}")).spawn(move || {
            let status = child.wait().ok();
            let code = status.and_then(|status| status.code().or_else(|| Some(128 + status.signal()?)));
            let _ = sender.send(Some(code.unwrap_or(CANNOT_START)));
        })?;
        Ok(Self { outer, ended, plan })
    }

    /// Waits for its end; the exit code, 128 and the signal if one ended it.
    pub(super) async fn ended(&mut self) -> i32 {
        let code = self.ended.wait_for(Option::is_some).await;
        code.ok().and_then(|code| *code).unwrap_or(CANNOT_START)
    }

    /// SIGTERM until it has ended, SIGKILL after `grace`. Returns the exit code.
    pub(super) async fn terminate(&mut self, grace: Duration) -> i32 {
        let asked = tokio::time::timeout(grace, async {
            loop {
                // Again and again: a process that is still being started does not hear it.
                if let Some(pid) = inner(self.outer) {
                    signal("TERM", pid);
                }
                if let Ok(code) = tokio::time::timeout(Duration::from_millis(500), self.ended()).await {
                    return code;
                }
            }
        });
        match asked.await {
            Ok(code) => code,
            Err(_) => self.kill().await,
        }
    }

    /// SIGKILL to all its processes. Returns the exit code.
    pub(super) async fn kill(&mut self) -> i32 {
        if self.ended.borrow().is_none() {
            kill_namespace(self.outer);
        }
        self.ended().await
    }

    /// What the container leaves in its pod's status.
    pub(super) fn message(&self, code: i32) -> String {
        let own = fs::read(self.plan.folder.join("message")).unwrap_or_default();
        if own.is_empty() && code != 0 && self.plan.message_from_log {
            let log = fs::read(&self.plan.log).unwrap_or_default();
            return String::from_utf8_lossy(&log[log.len().saturating_sub(LOG_MESSAGE)..]).into_owned();
        }
        String::from_utf8_lossy(&own[..own.len().min(MESSAGE)]).into_owned()
    }
}

/// The first process of the namespace that `outer` made.
fn inner(outer: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{outer}/task/{outer}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

/// The kernel ends a process namespace with its first process.
fn kill_namespace(outer: u32) {
    if let Some(pid) = inner(outer) {
        signal("KILL", pid);
    }
    signal("KILL", outer);
}

fn signal(name: &str, pid: u32) {
    let _ = Command::new("kill").args([format!("-{name}"), pid.to_string()]).stderr(Stdio::null()).status();
}

/// Makes the container's root and becomes its first process. The arguments of the script are the command line.
fn script(plan: &Plan) -> String {
    let mut text = String::from("set -e\numask 022\n");
    let root = plan.folder.join("root");
    let inside = |path: &str| quoted(&format!("{}/{}", root.display(), path.trim_start_matches('/')));
    let mut add = |line: String| {
        let _ = writeln!(text, "{line}");
    };
    let (mount, root) = ("/bin/mount", quoted(&root.display().to_string()));
    add(format!("{mount} -t tmpfs -o mode=0755 tmpfs {root}"));
    for folder in SYSTEM {
        let (host, here) = (Path::new("/").join(folder), inside(folder));
        if host.is_symlink() {
            add(format!("cp -P {} {here}", host.display()));
        } else if host.is_dir() {
            add(format!("mkdir {here}"));
            add(bind(&host, &here, true));
        }
    }
    add(format!("mkdir {} {} && mkdir -m 1777 {}", inside("proc"), inside("dev"), inside("tmp")));
    add(format!("{mount} -t proc proc {}", inside("proc")));
    for device in DEVICES {
        let (host, here) = (Path::new("/dev").join(device), inside(&format!("dev/{device}")));
        add(format!("if [ -e {} ]; then : > {here}; {}; fi", host.display(), bind(&host, &here, false)));
    }
    for (link, to) in [("fd", "fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")] {
        add(format!("ln -s /proc/self/{to} {}", inside(&format!("dev/{link}"))));
    }
    let message = Mount { source: plan.folder.join("message"), target: plan.message_path.clone(), read_only: false };
    for each in plan.mounts.iter().chain([&message]) {
        let here = inside(&each.target);
        let make = if each.source.is_dir() {
            format!("mkdir -p {here}")
        } else {
            format!("mkdir -p \"$(dirname {here})\" && : > {here}")
        };
        add(make);
        add(bind(&each.source, &here, each.read_only));
    }
    if plan.rights.read_only_root {
        add(format!("{mount} -o remount,ro {root}"));
    }
    let Rights { user, group, groups, no_capabilities, no_new_privileges, .. } = &plan.rights;
    let groups: Vec<String> = groups.iter().map(ToString::to_string).collect();
    let groups = if groups.is_empty() { "--clear-groups".into() } else { format!("--groups {}", groups.join(",")) };
    let mut rights = format!("--reuid {user} --regid {group} {groups}");
    if *no_capabilities {
        rights.push_str(" --inh-caps=-all --bounding-set=-all");
    }
    if *no_new_privileges {
        rights.push_str(" --no-new-privs");
    }
    let directory =
        plan.working_dir.as_ref().map(|path| format!("/usr/bin/env --chdir={} ", quoted(path))).unwrap_or_default();
    // Twice: the change of user makes the kernel forget that the process is to die with its parent.
    add(format!(
        "exec /usr/sbin/chroot {root} /usr/bin/setpriv {rights} -- /usr/bin/setpriv --pdeathsig KILL -- {directory}\"$@\""
    ));
    text
}

fn bind(source: &Path, here: &str, read_only: bool) -> String {
    let source = quoted(&source.display().to_string());
    let read_only = if read_only { format!(" && /bin/mount -o remount,bind,ro {here}") } else { String::new() };
    format!("/bin/mount --bind {source} {here}{read_only}")
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
