//! The two sides of every comparison: how each backs up and restores, as its users would.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};
use coffer_test_support::mysql::{Flavor, MysqlServer, PASSWORD};
use coffer_test_support::tools;

use crate::data::DATABASES;
use crate::usage::{Usage, pipeline};

const REPOSITORY_PASSWORD: &str = "correct-horse-battery-staple";
const STREAM: &str = "dumpfile.sql";

/// Who works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    /// `mysqldump | restic backup --stdin`, and `restic dump | mysql`.
    Peer,
    /// `coffer backup`, and `coffer restore`.
    Coffer,
}

impl Side {
    /// How the report calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Peer => "mysqldump, restic",
            Self::Coffer => "coffer",
        }
    }
}

/// Where both sides keep their repositories.
pub(crate) struct Place {
    folder: PathBuf,
    coffer: PathBuf,
    databases: String,
    parameters: Vec<(String, String)>,
}

impl Place {
    /// A place below `folder` with empty repositories. Connections are encrypted, as they are by default.
    pub(crate) fn new(folder: &Path, coffer: &Path) -> Result<Self> {
        let place = Self {
            folder: folder.to_owned(),
            coffer: coffer.to_owned(),
            databases: DATABASES.to_owned(),
            parameters: Vec::new(),
        };
        place.empty()?;
        Ok(place)
    }

    /// Backs up these databases, separated by commas.
    pub(crate) fn databases(mut self, databases: &str) -> Self {
        databases.clone_into(&mut self.databases);
        self
    }

    /// Sets a parameter of coffer's backup task.
    pub(crate) fn parameter(mut self, name: &str, value: &str) -> Self {
        self.parameters.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Removes the repositories and makes restic's anew. Coffer makes its own in its first backup, on the clock.
    pub(crate) fn empty(&self) -> Result<()> {
        if self.folder.exists() {
            fs::remove_dir_all(&self.folder)?;
        }
        fs::create_dir_all(self.repository(Side::Coffer))?;
        let made = self.restic()?.args(["init", "--quiet"]).status()?;
        ensure!(made.success(), "restic init: {made}");
        Ok(())
    }

    /// The folder that grows with a side's backups.
    pub(crate) fn repository(&self, side: Side) -> PathBuf {
        self.folder.join(match side {
            Side::Peer => "restic",
            Side::Coffer => "coffer",
        })
    }

    /// One backup.
    pub(crate) fn back_up(&self, side: Side, server: &MysqlServer) -> Result<Usage> {
        let commands = match side {
            Side::Peer => {
                let mut dump = self.client(&Flavor::MySql.dump()?, server)?;
                dump.args([
                    "--single-transaction",
                    "--routines",
                    "--events",
                    "--triggers",
                    "--set-gtid-purged=OFF",
                    "--databases",
                ]);
                dump.args(self.databases.split(','));
                let mut restic = self.restic()?;
                restic.args(["backup", "--stdin", "--stdin-filename", STREAM, "--host", "host-0"]);
                vec![dump, restic]
            }
            Side::Coffer => vec![self.coffer(&["backup"], server)?],
        };
        self.run(server, commands)
    }

    /// Restores the latest backup into an empty server.
    pub(crate) fn restore(&self, side: Side, target: &MysqlServer) -> Result<Usage> {
        let commands = match side {
            Side::Peer => {
                let mut restic = self.restic()?;
                restic.args(["dump", "latest", STREAM]);
                vec![restic, self.client(&Flavor::MySql.client()?, target)?]
            }
            Side::Coffer => vec![self.coffer(&["restore"], target)?],
        };
        self.run(target, commands)
    }

    fn run(&self, server: &MysqlServer, commands: Vec<Command>) -> Result<Usage> {
        pipeline(server.process_id(), commands, &self.folder.join("output"), &self.folder.join("log"))
    }

    fn restic(&self) -> Result<Command> {
        let mut command = Command::new(tools::program("restic", "restic")?);
        command
            .env("RESTIC_REPOSITORY", self.repository(Side::Peer))
            .env("RESTIC_PASSWORD", REPOSITORY_PASSWORD)
            .env("RESTIC_CACHE_DIR", self.folder.join("restic-cache"));
        Ok(command)
    }

    /// A stock program of MySQL's, with the options of the connection.
    fn client(&self, program: &Path, server: &MysqlServer) -> Result<Command> {
        let file = self.folder.join("client.cnf");
        let options = format!(
            "[client]\nuser=root\npassword={PASSWORD}\nhost={}\nport={}\nprotocol=tcp\nssl-mode=REQUIRED\n",
            server.host(),
            server.port()
        );
        fs::write(&file, options)?;
        let mut command = Command::new(program);
        command.arg(format!("--defaults-file={}", file.display()));
        Ok(command)
    }

    fn coffer(&self, arguments: &[&str], server: &MysqlServer) -> Result<Command> {
        let manifests = self.folder.join("manifests.yaml");
        fs::write(&manifests, self.manifests(server))?;
        let mut command = Command::new(&self.coffer);
        command.args(arguments).args(["--json", "-n", "demo", "-f"]).arg(manifests).env_remove("RUST_LOG");
        Ok(command)
    }

    fn manifests(&self, server: &MysqlServer) -> String {
        let mut parameters = serde_json::Map::from_iter([("databases".to_owned(), self.databases.clone().into())]);
        parameters.extend(self.parameters.iter().map(|(name, value)| (name.clone(), value.clone().into())));
        let target = "{ apiGroup: appcatalog.appscode.com, kind: AppBinding, name: db, namespace: demo }";
        format!(
            "apiVersion: v1
kind: Secret
metadata: {{ name: encrypt-secret, namespace: demo }}
stringData: {{ RESTIC_PASSWORD: {REPOSITORY_PASSWORD} }}
---
apiVersion: v1
kind: Secret
metadata: {{ name: db-auth, namespace: demo }}
stringData: {{ username: root, password: {PASSWORD} }}
---
apiVersion: appcatalog.appscode.com/v1alpha1
kind: AppBinding
metadata: {{ name: db, namespace: demo }}
spec: {{ type: mysql, clientConfig: {{ url: \"mysql://{host}:{port}/?ssl-mode=REQUIRED\" }}, secret: {{ name: db-auth }} }}
---
apiVersion: storage.kubestash.com/v1alpha1
kind: BackupStorage
metadata: {{ name: main, namespace: demo }}
spec: {{ storage: {{ provider: local, local: {{ hostPath: {{ path: \"{storage}\" }}, mountPath: /backups }} }} }}
---
apiVersion: storage.kubestash.com/v1alpha1
kind: RetentionPolicy
metadata: {{ name: keep, namespace: demo }}
spec: {{ maxRetentionPeriod: 2mo, successfulSnapshots: {{ last: 5 }} }}
---
apiVersion: core.kubestash.com/v1alpha1
kind: BackupConfiguration
metadata: {{ name: bench, namespace: demo }}
spec:
  target: {target}
  backends:
    - {{ name: main, storageRef: {{ name: main, namespace: demo }}, retentionPolicy: {{ name: keep, namespace: demo }} }}
  sessions:
    - name: frequent
      scheduler: {{ schedule: \"*/15 * * * *\", jobTemplate: {{ backoffLimit: 1 }} }}
      repositories:
        - {{ name: main-repo, backend: main, directory: /db, encryptionSecret: {{ name: encrypt-secret, namespace: demo }} }}
      addon: {{ name: mysql-addon, tasks: [{{ name: logical-backup, params: {parameters} }}] }}
---
apiVersion: core.kubestash.com/v1alpha1
kind: RestoreSession
metadata: {{ name: bench, namespace: demo }}
spec:
  target: {target}
  dataSource: {{ repository: main-repo, snapshot: latest, encryptionSecret: {{ name: encrypt-secret, namespace: demo }} }}
  addon: {{ name: mysql-addon, tasks: [{{ name: logical-backup-restore }}] }}
",
            host = server.host(),
            port = server.port(),
            storage = self.repository(Side::Coffer).display(),
            parameters = serde_json::Value::Object(parameters),
        )
    }
}
