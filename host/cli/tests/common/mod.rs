//! A directory of manifests with a local repository, and the binary to run on it.
#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a fixture that fails ends its test")]
#![allow(clippy::unused_self, reason = "so that a test reads site.finish(…)")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;

use assert_cmd::Command;
use coffer_api::plan::{SecretData, StorageConfig};
use coffer_api::storage::{LocalSpec, StorageBackendSpec};
use coffer_repository::{Archive, BackupRequest, InitOptions, Repository, StreamSpec};
use coffer_storage::{LocalRoot, Storage};
use serde_json::Value;

pub const PASSWORD: &str = "correct-horse";
/// Appears in every Secret, and must never appear in any output.
pub const SECRET: &str = "hunter2";

const MANIFESTS: &str = r#"
apiVersion: v1
kind: Secret
metadata: {name: encryption, namespace: demo}
stringData: {RESTIC_PASSWORD: correct-horse}
---
apiVersion: v1
kind: Secret
metadata: {name: shop-auth, namespace: demo}
stringData: {username: root, password: hunter2}
---
apiVersion: appcatalog.appscode.com/v1alpha1
kind: AppBinding
metadata: {name: shop, namespace: demo}
spec:
  type: mysql
  clientConfig: {url: "mysql://127.0.0.1:1/"}
  secret: {name: shop-auth}
---
apiVersion: storage.kubestash.com/v1alpha1
kind: BackupStorage
metadata: {name: local, namespace: demo}
spec:
  storage: {provider: local, local: {hostPath: {path: "@STORE@"}, mountPath: /backups}}
  default: true
---
apiVersion: storage.kubestash.com/v1alpha1
kind: RetentionPolicy
metadata: {name: keep, namespace: demo}
spec: {successfulSnapshots: {last: 5}}
---
apiVersion: core.kubestash.com/v1alpha1
kind: BackupConfiguration
metadata: {name: shop-backup, namespace: demo}
spec:
  target: {apiGroup: appcatalog.appscode.com, kind: AppBinding, name: shop, namespace: demo}
  backends:
    - name: backend
      storageRef: {name: local, namespace: demo}
      retentionPolicy: {name: keep, namespace: demo}
  sessions:
    - name: daily
      repositories:
        - {name: shop-repo, backend: backend, directory: /shop, encryptionSecret: {name: encryption, namespace: demo}}
      addon: {name: mysql-addon, tasks: [{name: logical-backup}]}
"#;

/// A second session, into a second repository.
pub const SECOND_SESSION: &str = "
    - name: weekly
      repositories:
        - {name: far-repo, backend: backend, directory: /far, encryptionSecret: {name: encryption, namespace: demo}}
      addon: {name: mysql-addon, tasks: [{name: logical-backup}]}
";

pub const RESTORE_SESSION: &str = "
---
apiVersion: core.kubestash.com/v1alpha1
kind: RestoreSession
metadata: {name: restore-shop, namespace: demo}
spec:
  target: {apiGroup: appcatalog.appscode.com, kind: AppBinding, name: shop, namespace: demo}
  dataSource: {repository: shop-repo, snapshot: latest}
  addon: {name: mysql-addon, tasks: [{name: logical-backup-restore}]}
";

/// Compiled addons, shared by all tests and between runs of them: compiling one costs seconds.
pub fn cache() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("components")
}

pub struct Site {
    folder: tempfile::TempDir,
}

/// What a run of the binary gave.
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Site {
    pub fn new() -> Self {
        let site = Self { folder: tempfile::tempdir().unwrap() };
        fs::create_dir(site.manifests()).unwrap();
        site.write("demo.yaml", &site.text());
        site
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn manifests(&self) -> PathBuf {
        self.path().join("manifests")
    }

    pub fn store(&self) -> PathBuf {
        self.path().join("store")
    }

    /// The manifests, for tests that change them.
    pub fn text(&self) -> String {
        MANIFESTS.replace("@STORE@", self.store().to_str().unwrap())
    }

    /// Writes a manifest file.
    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.manifests().join(name), text).unwrap();
    }

    /// The binary, with nothing of the caller's environment that would change what it does.
    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_coffer"));
        for name in ["COFFER_LOG", "COFFER_LOG_FORMAT", "COFFER_LOCAL_ROOT", "COFFER_NEW_PASSWORD", "RUST_LOG"] {
            command.env_remove(name);
        }
        command.env("COFFER_CACHE_DIR", cache()).env("TZ", "UTC").current_dir(self.path());
        command
    }

    /// Runs the binary on the manifests. Whatever it says, no secret may be in it.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        self.finish(self.command().args(arguments).arg("-f").arg(self.manifests()))
    }

    /// The same with standard input.
    pub fn run_with_input(&self, arguments: &[&str], input: &str) -> Ran {
        self.finish(self.command().args(arguments).arg("-f").arg(self.manifests()).write_stdin(input))
    }

    pub fn finish(&self, command: &mut Command) -> Ran {
        let Output { status, stdout, stderr } = command.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let ran = Ran { code: status.code().unwrap_or(-1), stdout: text(stdout), stderr: text(stderr) };
        for secret in [SECRET, PASSWORD] {
            assert!(!ran.stdout.contains(secret) && !ran.stderr.contains(secret), "a secret is shown:\n{}", ran.all());
        }
        ran
    }

    pub fn storage(&self, directory: &str, session: &str) -> Storage {
        let local = LocalSpec { mount_path: self.store().to_str().map(Into::into), ..LocalSpec::default() };
        let spec =
            StorageBackendSpec { provider: Some("local".into()), local: Some(local), ..StorageBackendSpec::default() };
        let config =
            StorageConfig { name: "local".into(), namespace: "demo".into(), spec, secret: SecretData::default() };
        let storage = Storage::open(&config, LocalRoot::MountPath).unwrap();
        storage.subdirectory(&format!("{directory}/repository/v1/{session}/dump"))
    }

    /// Makes the repository of the session `daily`, empty.
    pub fn repository(&self) -> Arc<Repository> {
        let storage = self.storage("shop", "daily");
        Arc::new(Repository::init(&storage, &PASSWORD.into(), &InitOptions::default()).unwrap())
    }

    /// Makes the repository of the session `weekly`, empty.
    pub fn far_repository(&self) -> Arc<Repository> {
        let storage = self.storage("far", "weekly");
        Arc::new(Repository::init(&storage, &PASSWORD.into(), &InitOptions::default()).unwrap())
    }

    pub fn config_file(&self) -> PathBuf {
        self.store().join("shop/repository/v1/daily/dump/config")
    }
}

impl Ran {
    /// Checks the exit code, showing what was said if it is another one.
    #[track_caller]
    pub fn code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "unexpected exit code:\n{}", self.all());
        self
    }

    /// Checks that every text is on standard error.
    #[track_caller]
    pub fn complains(self, texts: &[&str]) -> Self {
        for text in texts {
            assert!(self.stderr.contains(text), "{text:?} is missing:\n{}", self.all());
        }
        self
    }

    /// Checks that every text is on standard output.
    #[track_caller]
    pub fn says(self, texts: &[&str]) -> Self {
        for text in texts {
            assert!(self.stdout.contains(text), "{text:?} is missing:\n{}", self.all());
        }
        self
    }

    /// The JSON lines on standard output.
    #[track_caller]
    pub fn objects(&self) -> Vec<Value> {
        let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}:\n{}", self.all()));
        self.stdout.lines().map(parse).collect()
    }

    fn all(&self) -> String {
        format!("exit code {}\n--- stdout\n{}\n--- stderr\n{}", self.code, self.stdout, self.stderr)
    }
}

/// Backs up one file into a repository, at a moment, and returns the snapshot's id.
pub fn back_up(repository: &Arc<Repository>, time: &str, content: &[u8]) -> String {
    let request = BackupRequest {
        paths: vec!["/shop".to_owned()],
        time: time.parse().unwrap(),
        streams: vec![StreamSpec::new("shop/orders.sql")],
        ..BackupRequest::default()
    };
    let archive = Archive::start(vec![Arc::clone(repository)], request).unwrap();
    let mut writer = archive.writer(0).unwrap();
    writer.write(content).unwrap();
    writer.finish().unwrap();
    let mut outcomes = archive.commit(b"{}".to_vec());
    outcomes.remove(0).result.unwrap().id
}
