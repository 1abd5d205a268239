//! What a user does with `kubectl coffer`: the binary, through the link, with a kubeconfig.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use coffer_test_cluster::wait::within;
use coffer_test_cluster::write_kubeconfig;
use coffer_test_support::fingerprint::{differences, fingerprint};
use coffer_test_support::mysql::PASSWORD;
use coffer_test_support::scratch;
use coffer_test_support::stores::S3;
use kube::config::Kubeconfig;
use serde_json::Value;
use tempfile::TempDir;

use crate::flow::text;
use crate::outside::{CONFIGURATION, Outside, REPOSITORY, REPOSITORY_PASSWORD, SESSION};
use crate::world::{DEMO, World};

/// Somebody with a kubeconfig whose context is in the namespace `demo`.
struct User {
    folder: TempDir,
}

/// What a command gave.
struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl User {
    fn new(kubeconfig: &Kubeconfig) -> Self {
        let folder = scratch::folder().unwrap();
        let mut kubeconfig = kubeconfig.clone();
        for context in kubeconfig.contexts.iter_mut().filter_map(|context| context.context.as_mut()) {
            context.namespace = Some(DEMO.to_owned());
        }
        write_kubeconfig(&kubeconfig, &folder.path().join("kubeconfig")).unwrap();
        symlink(env!("CARGO_BIN_EXE_coffer"), folder.path().join("kubectl-coffer")).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs a command. Whatever it says, no secret may be in it.
    fn run(&self, words: &[&str]) -> Ran {
        let mut command = Command::new(self.path("kubectl-coffer"));
        for name in ["COFFER_LOG", "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"] {
            command.env_remove(name);
        }
        command.env("KUBECONFIG", self.path("kubeconfig")).current_dir(self.folder.path()).args(words);
        let output = command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let ran =
            Ran { code: output.status.code().unwrap_or(-1), out: text(&output.stdout), err: text(&output.stderr) };
        assert_no_secret(&(ran.out.clone() + &ran.err));
        ran
    }

    #[track_caller]
    fn ok(&self, words: &[&str]) -> String {
        let ran = self.run(words);
        assert_eq!(ran.code, 0, "{words:?}\n{}\n{}", ran.out, ran.err);
        ran.out + &ran.err
    }

    #[track_caller]
    fn fails(&self, words: &[&str], parts: &[&str]) {
        let ran = self.run(words);
        assert_eq!(ran.code, 1, "{words:?}\n{}\n{}", ran.out, ran.err);
        assert!(ran.err.contains("error: "), "{}", ran.err);
        contains(&ran.err, parts);
    }
}

#[track_caller]
fn contains(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing:\n{text}");
    }
}

#[track_caller]
fn assert_no_secret(text: &str) {
    for secret in [REPOSITORY_PASSWORD, PASSWORD, S3::SECRET_KEY] {
        assert!(!text.contains(secret), "a secret is shown:\n{text}");
    }
}

#[test]
fn a_user_works_with_kubectl_coffer() {
    World::run(async |world| {
        let outside = Outside::start(1);
        let user = User::new(world.plane.kubeconfig());
        contains(&user.ok(&["status"]), &["No resources of Coffer found in namespace demo."]);
        for file in ["1-secrets.yaml", "2-databases.yaml", "3-storage.yaml", "4-retention.yaml"] {
            outside.apply(world, file).await;
        }
        world.apply_yaml(&outside.manifest("5-backup.yaml").replace("* * * * *", "0 0 1 1 *")).await;
        let first = first_backup(world).await;
        contains(
            &user.ok(&["status"]),
            &[CONFIGURATION, "0 0 1 1 *", "s3-storage", REPOSITORY, &first, "No problems."],
        );
        let second = backups_begin_when_they_may(world, &user).await;
        snapshots_are_listed(&user, &first, &second);
        restores_are_made_and_waited_for(world, &outside, &user, &second).await;
        logs_are_printed(world, &user, &second);
        files_are_fetched(&outside, &user, &second);
        locks_of_the_dead_are_removed(&outside, &user).await;
        what_is_gathered_holds_no_secret(world, &user).await;
        rights_are_the_users_own(world).await;
    });
}

/// Waits for the backup that begins by itself. Returns its BackupSession.
async fn first_backup(world: &World) -> String {
    let session = within(Duration::from_mins(1), "the first BackupSession is there", || async {
        world.list("BackupSession").await.first().map(|session| text(session, "/metadata/name").to_owned())
    })
    .await;
    world.phase("BackupSession", &session, "Succeeded").await;
    session
}

/// Returns the BackupSession of the second backup.
async fn backups_begin_when_they_may(world: &World, user: &User) -> String {
    contains(
        &user.ok(&["pause", CONFIGURATION]),
        &[&format!("backupconfiguration.core.kubestash.com/{CONFIGURATION} paused")],
    );
    user.fails(
        &["trigger", CONFIGURATION],
        &["it is paused", &format!("kubectl coffer resume {CONFIGURATION} -n demo")],
    );
    contains(&user.ok(&["status", &format!("bc/{CONFIGURATION}")]), &["paused"]);
    contains(&user.ok(&["resume", "--all"]), &["resumed"]);
    // The operator has heard of it.
    let cron = format!("trigger-{CONFIGURATION}-{SESSION}");
    world.until("CronJob", &cron, "resumed", |cron| cron.pointer("/spec/suspend") != Some(&Value::Bool(true))).await;
    user.fails(&["trigger", CONFIGURATION, "--sessions", "weekly"], &["no session weekly", SESSION]);
    let before = world.list("BackupSession").await.len();
    contains(
        &user.ok(&["trigger", CONFIGURATION, "--dry-run=client"]),
        &["kind: BackupSession", &format!("session: {SESSION}")],
    );
    contains(&user.ok(&["trigger", CONFIGURATION, "--dry-run=server"]), &["created (server dry run)"]);
    assert_eq!(world.list("BackupSession").await.len(), before, "a dry run makes nothing");
    let said = user.ok(&["trigger", CONFIGURATION, "--wait", "--timeout", "2m"]);
    let name =
        said.lines().next().and_then(|line| line.strip_prefix("backupsession.core.kubestash.com/")).expect("a name");
    let name = name.strip_suffix(" created").expect("it is created").to_owned();
    contains(&said, &[&format!("BackupSession {name}: Succeeded")]);
    let done = world.get("BackupSession", &name).await.unwrap();
    assert_eq!(text(&done, "/status/phase"), "Succeeded");
    name
}

/// The Snapshot that a BackupSession made.
fn snapshot_of(session: &str) -> String {
    let (stem, number) = session.rsplit_once('-').expect("the name ends in a number");
    format!("{REPOSITORY}-{stem}-{number}")
}

fn snapshots_are_listed(user: &User, first: &str, second: &str) {
    let (first, second) = (snapshot_of(first), snapshot_of(second));
    let table = user.ok(&["snapshots"]);
    let rows: Vec<_> = table.lines().collect();
    assert_eq!(rows.len(), 3, "{table}");
    assert!(rows[1].starts_with(&first) && rows[2].starts_with(&second), "oldest first:\n{table}");
    contains(rows[2], &[REPOSITORY, SESSION, "Succeeded", "true"]);
    assert_eq!(
        user.ok(&["snapshots", "--latest", "1", "-o", "name"]).trim(),
        format!("snapshot.storage.kubestash.com/{second}")
    );
    let all: Value = serde_json::from_str(&user.ok(&["snapshots", "-A", "-o", "json"])).unwrap();
    assert_eq!(all["items"].as_array().unwrap().len(), 2);
    contains(&user.ok(&["snapshots", "--phase", "failed"]), &["No such Snapshots"]);
    contains(&user.ok(&["status", &format!("snapshot/{second}"), "-o", "yaml"]), &["kind: Snapshot"]);
}

async fn restores_are_made_and_waited_for(world: &World, outside: &Outside, user: &User, session: &str) {
    let snapshot = snapshot_of(session);
    user.fails(&["restore", "--repository", REPOSITORY], &["--target AppBinding/shop is what was backed up"]);
    let restore = ["restore", "--snapshot", &snapshot, "--target", "AppBinding/restored-shop", "--name", "by-hand"];
    let shown = user.ok(&[&restore[..], &["--dry-run=client"]].concat());
    contains(&shown, &["kind: RestoreSession", "name: mysql-addon", "name: logical-backup-restore", &snapshot]);
    contains(
        &user.ok(&[&restore[..], &["--dry-run=server"]].concat()),
        &["restoresession.core.kubestash.com/by-hand created (server dry run)"],
    );
    assert!(world.get("RestoreSession", "by-hand").await.is_none(), "a dry run makes nothing");
    contains(
        &user.ok(&[&restore[..], &["--wait", "--timeout", "2m"]].concat()),
        &["RestoreSession by-hand: Succeeded"],
    );
    let (left, right) = (fingerprint(&outside.shop, "shop").unwrap(), fingerprint(&outside.restored, "shop").unwrap());
    assert!(left.len() > 10, "{left:#?}");
    assert_eq!(differences(&left, &right), Vec::<String>::new(), "the restored database is the one that was backed up");
    user.fails(&restore, &["RestoreSession demo/by-hand already", "--name"]);
    // Once more: the database is there now, and nobody said that it may go.
    let again =
        ["restore", "--repository", REPOSITORY, "--target", "AppBinding/restored-shop", "--name", "again", "--wait"];
    user.fails(
        &again,
        &["RestoreSession demo/again did not succeed", "shop", "kubectl coffer logs restoresession/again -n demo"],
    );
    contains(&user.ok(&["status", "restoresession/again"]), &["PROBLEMS", "dump was not restored", "-> "]);
    // A copy beside it.
    let copy = ["--to-database", "copy", "--name", "copy", "--wait"];
    let restore = ["restore", "--repository", REPOSITORY, "--target", "AppBinding/restored-shop"];
    contains(&user.ok(&[&restore[..], &copy[..]].concat()), &["RestoreSession copy: Succeeded"]);
    let copied = fingerprint(&outside.restored, "copy").unwrap();
    assert_eq!(copied.len(), left.len(), "{copied:#?}");
}

/// From the node, through the API server.
fn logs_are_printed(world: &World, user: &User, session: &str) {
    let pods = world.kubelet.logs(DEMO, "");
    let printed = user.ok(&["logs", &format!("bc/{CONFIGURATION}")]);
    contains(&printed, &[&format!("==> pod/{session}-")]);
    let lines: Vec<_> = printed.lines().filter(|line| !line.is_empty() && !line.starts_with("==> ")).collect();
    assert!(!lines.is_empty(), "{printed}");
    for line in &lines {
        assert!(pods.contains(line), "{line} is not of the pods:\n{pods}");
    }
    let followed = user.ok(&["logs", "backupsession", session, "-f"]);
    contains(&followed, &lines);
    let last = user.ok(&["logs", &format!("backupsession/{session}"), "--tail", "1"]);
    assert!(last.lines().count() < followed.lines().count(), "{last}");
    user.fails(&["logs", "backupsession/nothing"], &["no logs of BackupSession demo/nothing", "it has no Job"]);
}

fn files_are_fetched(outside: &Outside, user: &User, session: &str) {
    let snapshot = snapshot_of(session);
    let said = user.ok(&["download", &snapshot, "--destination", "out"]);
    contains(&said, &["written to out"]);
    let fetched = std::fs::read(user.path("out/dump/load.sql")).unwrap();
    assert_eq!(fetched, outside.restic().ok(&["dump", "latest", "load.sql", "--no-lock"]));
    assert!(user.path("out/dump/manifest.json").is_file());
    user.fails(&["download", &snapshot, "--destination", "out"], &["out is there already"]);
    user.ok(&["download", &snapshot, "--path", "manifest.json", "--destination", "one"]);
    assert_eq!(std::fs::read_dir(user.path("one/dump")).unwrap().count(), 1);
    user.fails(&["download", &snapshot, "--path", "nothing", "--destination", "two"], &["no file of Snapshot"]);
    user.fails(
        &["download", &snapshot, "--component", "other", "--destination", "two"],
        &["no component other", "dump"],
    );
    assert!(!user.path("two").exists(), "what is not whole does not appear");
}

async fn locks_of_the_dead_are_removed(outside: &Outside, user: &User) {
    contains(&user.ok(&["unlock", REPOSITORY]), &["no locks to remove"]);
    let restic = outside.restic();
    let locks = || String::from_utf8(restic.ok(&["list", "locks", "--no-lock"])).unwrap();
    let mut backup = restic.spawn(&["backup", "--stdin", "--stdin-filename", "x"]).unwrap();
    within(Duration::from_mins(1), "restic has its lock", || async { (!locks().trim().is_empty()).then_some(()) })
        .await;
    contains(&user.ok(&["unlock", REPOSITORY, "--dry-run"]), &["would keep the lock of"]);
    backup.kill().unwrap();
    backup.wait().unwrap();
    contains(&user.ok(&["unlock", REPOSITORY]), &["removed the lock of"]);
    assert_eq!(locks().trim(), "");
    user.fails(&["unlock", "nothing"], &["Repository demo/nothing not found", REPOSITORY]);
}

async fn what_is_gathered_holds_no_secret(world: &World, user: &User) {
    // Somebody wrote it where it does not belong.
    world
        .apply_yaml(&format!(
            "apiVersion: appcatalog.appscode.com/v1alpha1
kind: AppBinding
metadata: {{ name: careless, namespace: demo, annotations: {{ note: \"the password is {PASSWORD}\" }} }}
spec:
  type: mysql
  clientConfig: {{ url: \"mysql://root:{PASSWORD}@db:3306/\" }}
  secret: {{ name: shop-auth }}
"
        ))
        .await;
    contains(&user.ok(&["debug", "--output-dir", "debug"]), &["files written to debug"]);
    let mut seen = Vec::new();
    read_all(&user.path("debug"), &mut seen);
    let paths: Vec<_> = seen.iter().map(|(path, _)| path.display().to_string()).collect();
    for part in
        ["about.txt", "status.txt", "objects/appbinding.yaml", "work/events.txt", "work/jobs.yaml", "work/logs/demo/"]
    {
        assert!(paths.iter().any(|path| path.contains(part)), "{part}: {paths:#?}");
    }
    for (path, text) in &seen {
        assert_no_secret(text);
        assert!(!text.trim().is_empty(), "{} is empty", path.display());
    }
    let whole = user.ok(&["debug"]);
    contains(
        &whole,
        &["kind: AppBinding", "(hidden)@db:3306", "the password is (hidden)", "kind: BackupStorage", CONFIGURATION],
    );
    user.fails(&["debug", "--output-dir", "debug"], &["is there already"]);
}

fn read_all(folder: &Path, seen: &mut Vec<(PathBuf, String)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_all(&path, seen);
        } else {
            let text = std::fs::read_to_string(&path).unwrap();
            seen.push((path, text));
        }
    }
}

/// An account that may do nothing gets to see nothing, and is told which right it lacks.
async fn rights_are_the_users_own(world: &World) {
    let nobody = User::new(&world.plane.kubeconfig_as(DEMO, "default").await.unwrap());
    nobody.fails(&["status"], &["the right to list", "in namespace demo is missing"]);
    nobody.fails(&["trigger", CONFIGURATION], &["the right to get backupconfigurations in namespace demo is missing"]);
    nobody.fails(&["unlock", REPOSITORY], &["the right to get repositories in namespace demo is missing"]);
}
