//! A user's place: a directory of manifests, storages, and the `coffer` binary to run on them.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use coffer_test_support::mysql::{MysqlServer, PASSWORD};
use coffer_test_support::restic::Restic;
use coffer_test_support::scratch;
use tempfile::TempDir;

/// The password of every repository.
pub const REPOSITORY_PASSWORD: &str = "correct-horse-battery-staple";

/// The session of every BackupConfiguration.
pub const SESSION: &str = "frequent-backup";

/// A directory of manifests: one database, one BackupConfiguration `shop-backup`, one RestoreSession `restore-shop`.
pub struct Site {
    folder: TempDir,
    host: String,
    port: u16,
    user: String,
    password: String,
    query: String,
    storages: Vec<Storage>,
    backup: Vec<(String, String)>,
    restore: Vec<(String, String)>,
    snapshot: String,
    timeout: Option<String>,
    extra: String,
    environment: Vec<(String, String)>,
    addon: String,
}

struct Storage {
    name: String,
    spec: String,
    secret: Vec<(String, String)>,
}

impl Site {
    /// A site for this server, with no storage yet. Backs up `database`, or everything if it is empty.
    pub fn new(server: &MysqlServer, database: &str) -> Self {
        let site = Self::nowhere().server(server);
        if database.is_empty() { site } else { site.backup("databases", database) }
    }

    /// A site whose database nobody can reach.
    pub fn nowhere() -> Self {
        Self {
            folder: scratch::folder().unwrap(),
            host: "127.0.0.1".to_owned(),
            port: 1,
            user: "root".to_owned(),
            password: PASSWORD.to_owned(),
            query: String::new(),
            storages: Vec::new(),
            backup: Vec::new(),
            restore: Vec::new(),
            snapshot: "latest".to_owned(),
            timeout: None,
            extra: String::new(),
            environment: Vec::new(),
            addon: "mysql-addon".to_owned(),
        }
    }

    /// A site for this server with one local storage, `main`.
    pub fn local(server: &MysqlServer, database: &str) -> Self {
        Self::new(server, database).local_storage("main")
    }

    pub fn local_storage(self, name: &str) -> Self {
        let path = self.path(&format!("storage-{name}"));
        self.directory_storage(name, &path)
    }

    pub fn directory_storage(self, name: &str, path: &Path) -> Self {
        fs::create_dir_all(path).unwrap();
        let spec = format!(
            "provider: local\n    local: {{ hostPath: {{ path: \"{}\" }}, mountPath: /backups }}",
            path.display()
        );
        self.storage(name, spec, &[])
    }

    pub fn s3_storage(self, name: &str, endpoint: &str, bucket: &str) -> Self {
        use coffer_test_support::stores::S3;
        let spec = format!(
            "provider: s3\n    s3: {{ endpoint: \"{endpoint}\", bucket: {bucket}, region: {}, prefix: /some/prefix/, secretName: {name}-secret }}",
            S3::REGION
        );
        self.storage(name, spec, &[("AWS_ACCESS_KEY_ID", S3::ACCESS_KEY), ("AWS_SECRET_ACCESS_KEY", S3::SECRET_KEY)])
    }

    /// A storage with this `spec.storage`, and a Secret `<name>-secret` with these keys.
    pub fn storage(mut self, name: &str, spec: impl Into<String>, secret: &[(&str, &str)]) -> Self {
        self.storages.push(Storage {
            name: name.to_owned(),
            spec: spec.into(),
            secret: secret.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        });
        self
    }

    /// A parameter of the backup task.
    pub fn backup(mut self, name: &str, value: &str) -> Self {
        self.backup.retain(|(known, _)| known != name);
        self.backup.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A parameter of the restore task.
    pub fn restore(mut self, name: &str, value: &str) -> Self {
        self.restore.retain(|(known, _)| known != name);
        self.restore.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Another way to the server: a proxy, or nothing.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Another server.
    pub fn server(mut self, server: &MysqlServer) -> Self {
        server.host().clone_into(&mut self.host);
        self.port = server.port();
        self
    }

    pub fn login(mut self, user: &str, password: &str) -> Self {
        user.clone_into(&mut self.user);
        password.clone_into(&mut self.password);
        self
    }

    /// The query of the connection URL, such as `ssl-mode=REQUIRED`.
    pub fn query(mut self, query: &str) -> Self {
        query.clone_into(&mut self.query);
        self
    }

    pub fn timeout(mut self, timeout: &str) -> Self {
        self.timeout = Some(timeout.to_owned());
        self
    }

    /// The Addon that both directions use.
    pub fn addon(mut self, name: &str) -> Self {
        name.clone_into(&mut self.addon);
        self
    }

    /// More manifests.
    pub fn manifest(mut self, yaml: &str) -> Self {
        let _ = write!(self.extra, "---\n{yaml}\n");
        self
    }

    /// An environment variable of every `coffer` that runs.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A path in the site's folder, which is removed with the site.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The folder of the repository in a local storage.
    pub fn repository(&self, storage: &str) -> PathBuf {
        self.path(&format!("storage-{storage}")).join("shop/repository/v1").join(SESSION).join("dump")
    }

    /// Stock restic of today on the repository of a local storage.
    pub fn restic(&self, storage: &str) -> Restic {
        Restic::new(self.repository(storage).display().to_string(), REPOSITORY_PASSWORD).unwrap()
    }

    /// Stock restic of the oldest supported version on the repository of a local storage.
    pub fn old_restic(&self, storage: &str) -> Restic {
        Restic::old(self.repository(storage).display().to_string(), REPOSITORY_PASSWORD).unwrap()
    }

    /// The `coffer` binary with these arguments, then `-f` with the manifests.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let manifests = self.path("manifests");
        fs::create_dir_all(&manifests).unwrap();
        fs::write(manifests.join("all.yaml"), self.yaml()).unwrap();
        let mut command = coffer();
        command.args(arguments).arg("-f").arg(manifests).arg("-n").arg("demo");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null());
        command
    }

    /// Runs it to its end.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs it and expects success. Returns what it printed.
    #[track_caller]
    pub fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "coffer {arguments:?} failed: {}", text(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs it and expects this exit code. Returns what it said on stderr.
    #[track_caller]
    pub fn fails(&self, arguments: &[&str], code: i32) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(code), "coffer {arguments:?}: {}", text(&output));
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// Starts it in the background.
    pub fn spawn(&self, arguments: &[&str]) -> Child {
        self.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// How many snapshots stock restic sees in the repository of a local storage; none if there is no repository yet.
    pub fn snapshot_count(&self, storage: &str) -> usize {
        if !self.repository(storage).join("config").exists() {
            return 0;
        }
        let listed = self.restic(storage).ok(&["snapshots", "--json", "--no-lock"]);
        serde_json::from_slice::<Vec<serde_json::Value>>(&listed).unwrap().len()
    }

    fn yaml(&self) -> String {
        let parameters = |list: &[(String, String)]| {
            let object: serde_json::Map<_, _> =
                list.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect();
            serde_json::Value::Object(object).to_string()
        };
        let mut yaml = format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{ name: encrypt-secret, namespace: demo }}\nstringData: {{ RESTIC_PASSWORD: {REPOSITORY_PASSWORD} }}\n\
             ---\napiVersion: v1\nkind: Secret\nmetadata: {{ name: shop-auth, namespace: demo }}\nstringData: {{ username: {:?}, password: {:?} }}\n\
             ---\napiVersion: appcatalog.appscode.com/v1alpha1\nkind: AppBinding\nmetadata: {{ name: shop, namespace: demo }}\n\
             spec: {{ type: mysql, clientConfig: {{ url: \"mysql://{}:{}/?{}\" }}, secret: {{ name: shop-auth }} }}\n",
            self.user, self.password, self.host, self.port, self.query
        );
        let (mut backends, mut repositories) = (String::new(), String::new());
        for storage in &self.storages {
            let name = &storage.name;
            let _ = write!(
                yaml,
                "---\napiVersion: storage.kubestash.com/v1alpha1\nkind: BackupStorage\nmetadata: {{ name: {name}, namespace: demo }}\nspec:\n  storage:\n    {}\n",
                storage.spec
            );
            if !storage.secret.is_empty() {
                let data: serde_json::Map<_, _> =
                    storage.secret.iter().map(|(key, value)| (key.clone(), value.clone().into())).collect();
                let _ = write!(
                    yaml,
                    "---\napiVersion: v1\nkind: Secret\nmetadata: {{ name: {name}-secret, namespace: demo }}\nstringData: {}\n",
                    serde_json::Value::Object(data)
                );
            }
            let _ = writeln!(
                backends,
                "    - {{ name: {name}, storageRef: {{ name: {name}, namespace: demo }}, retentionPolicy: {{ name: keep, namespace: demo }} }}"
            );
            let _ = writeln!(
                repositories,
                "        - {{ name: {name}-repo, backend: {name}, directory: /shop, encryptionSecret: {{ name: encrypt-secret, namespace: demo }} }}"
            );
        }
        let first = self.storages.first().map_or("none", |storage| storage.name.as_str());
        let timeout = self.timeout.as_ref().map(|limit| format!("      backupTimeout: {limit}\n")).unwrap_or_default();
        let target = "{ apiGroup: appcatalog.appscode.com, kind: AppBinding, name: shop, namespace: demo }";
        let _ = write!(
            yaml,
            "---\napiVersion: storage.kubestash.com/v1alpha1\nkind: RetentionPolicy\nmetadata: {{ name: keep, namespace: demo }}\n\
             spec: {{ maxRetentionPeriod: 2mo, successfulSnapshots: {{ last: 5 }} }}\n\
             ---\napiVersion: core.kubestash.com/v1alpha1\nkind: BackupConfiguration\nmetadata: {{ name: shop-backup, namespace: demo }}\nspec:\n\
             \x20 target: {target}\n  backends:\n{backends}  sessions:\n    - name: {SESSION}\n{timeout}\
             \x20     scheduler: {{ schedule: \"*/15 * * * *\", jobTemplate: {{ backoffLimit: 1 }} }}\n      repositories:\n{repositories}\
             \x20     addon: {{ name: {addon}, tasks: [{{ name: logical-backup, params: {} }}] }}\n\
             ---\napiVersion: core.kubestash.com/v1alpha1\nkind: RestoreSession\nmetadata: {{ name: restore-shop, namespace: demo }}\nspec:\n\
             \x20 target: {target}\n  dataSource: {{ repository: {first}-repo, snapshot: {:?}, encryptionSecret: {{ name: encrypt-secret, namespace: demo }} }}\n\
             \x20 addon: {{ name: {addon}, tasks: [{{ name: logical-backup-restore, params: {} }}] }}\n",
            parameters(&self.backup),
            self.snapshot,
            parameters(&self.restore),
            addon = self.addon,
        );
        yaml.push_str(&self.extra);
        yaml
    }
}

/// The binary under test, with a cache of compiled components that all tests share.
pub fn coffer() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_coffer"));
    command.env_remove("RUST_LOG").env("NO_COLOR", "1");
    command
}

/// Everything that a process said, for messages.
pub fn text(output: &Output) -> String {
    format!(
        "{}\n--- stdout\n{}\n--- stderr\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}
