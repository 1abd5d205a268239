//! Throw-away MySQL and MariaDB servers.

use std::{
    fs::{self, File},
    io::Write as _,
    ops::Deref,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use crate::{
    process::{Server, greets},
    scratch::{self, Port},
    tools,
};

/// The password of `root`, from any host.
pub const PASSWORD: &str = "coffer-test-password";

const INIT_LIMIT: Duration = Duration::from_mins(3);
const START_LIMIT: Duration = Duration::from_secs(90);

/// Which server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flavor {
    /// MySQL 9.x.
    #[default]
    MySql,
    /// MariaDB 10.11.
    MariaDb,
}

impl Flavor {
    fn group(self) -> &'static str {
        match self {
            Self::MySql => "mysql",
            Self::MariaDb => "mariadb",
        }
    }

    fn server(self) -> Result<PathBuf> {
        tools::program(self.group(), if self == Self::MySql { "mysqld" } else { "mariadbd" })
    }

    /// The stock command-line client.
    pub fn client(self) -> Result<PathBuf> {
        tools::program(self.group(), self.group())
    }

    /// The stock dump program (`mysqldump`, `mariadb-dump`).
    pub fn dump(self) -> Result<PathBuf> {
        tools::program(self.group(), if self == Self::MySql { "mysqldump" } else { "mariadb-dump" })
    }
}

/// How to start a server. The default is MySQL with its own defaults: TLS on (MySQL only), binary log on, `local_infile` off.
#[derive(Clone, Debug, Default)]
pub struct MysqlOptions {
    /// Which server.
    pub flavor: Flavor,
    /// Further options of the server's command line, e.g. `--local-infile=ON`.
    pub extra_args: Vec<String>,
    /// Start on a copy of this data directory, of a server that was stopped; without it, on an empty one.
    pub data: Option<PathBuf>,
    /// Wait for the disk at each commit, as a real server does; off, a crash of the *machine* would lose data, and tests run faster.
    pub durable: bool,
}

/// A running server. Dropping it kills the server and removes its data.
#[derive(Debug)]
pub struct MysqlServer {
    // Declared before the folder: the server must be gone when the folder is removed.
    server: Server,
    port: Port,
    options: MysqlOptions,
    client: Client,
    folder: TempDir,
}

impl MysqlServer {
    /// Starts a server and waits until it takes connections.
    pub fn start(options: MysqlOptions) -> Result<Self> {
        let folder = scratch::folder()?;
        let data = options.data.clone().map_or_else(|| template(options.flavor), Ok)?;
        copy(&data, &folder.path().join("data"))?;
        let port = Port::lease()?;
        let server = launch(&options, folder.path(), port.number())?;
        let client = Client::over_socket(options.flavor, &folder.path().join("sock"))?;
        Ok(Self { server, port, options, client, folder })
    }

    /// Starts the server again on the same data, port and socket, after `kill` or `stop`.
    pub fn restart(&mut self) -> Result<()> {
        self.server.kill();
        self.server = launch(&self.options, self.folder.path(), self.port.number())?;
        Ok(())
    }

    /// Kills the server as a crash would; its data stay.
    pub fn kill(&mut self) {
        self.server.kill();
    }

    /// Stops the server in an orderly way; its data stay.
    pub fn stop(&mut self) -> Result<()> {
        self.server.stop(Duration::from_mins(1))
    }

    /// Which server this is.
    pub fn flavor(&self) -> Flavor {
        self.options.flavor
    }

    /// Always 127.0.0.1.
    pub fn host(&self) -> &'static str {
        "127.0.0.1"
    }

    /// The TCP port.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// The unix socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("sock")
    }

    /// The data directory.
    pub fn data_directory(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The server's process id, e.g. for its CPU time.
    pub fn process_id(&self) -> u32 {
        self.server.id()
    }

    /// The certificate authority that the server made for itself, in PEM; MariaDB makes none. Its certificates carry no host name.
    pub fn ca_pem(&self) -> Result<Vec<u8>> {
        fs::read(self.data_directory().join("ca.pem")).context("this server made no certificates")
    }
}

impl Deref for MysqlServer {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

/// The stock command-line client, connected as root over the server's socket. A server dereferences to its own.
#[derive(Debug)]
pub struct Client {
    flavor: Flavor,
    // A file rather than an argument or MYSQL_PWD: it works with every client and prints no warning.
    folder: TempDir,
}

impl Client {
    /// A client for a server of this crate that listens on `socket`.
    pub fn over_socket(flavor: Flavor, socket: &Path) -> Result<Self> {
        let folder = scratch::folder()?;
        let options = format!(
            "[client]\nuser=root\npassword={PASSWORD}\nsocket={}\ndefault-character-set=utf8mb4\n",
            socket.display()
        );
        fs::write(folder.path().join("client.cnf"), options)?;
        Ok(Self { flavor, folder })
    }

    /// Which server it speaks to.
    pub fn flavor(&self) -> Flavor {
        self.flavor
    }

    /// The stock client, connected as root over the socket; add arguments and run it.
    pub fn client(&self) -> Result<Command> {
        Ok(self.command(&self.flavor.client()?))
    }

    /// The stock dump program, connected as root over the socket; add arguments and run it.
    pub fn dump(&self) -> Result<Command> {
        Ok(self.command(&self.flavor.dump()?))
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.arg(format!("--defaults-file={}", self.folder.path().join("client.cnf").display()));
        command
    }

    /// Runs statements as root; an error of the server is an error here.
    pub fn exec(&self, sql: &str) -> Result<()> {
        self.run(sql).map(drop)
    }

    /// Runs statements as root and returns the rows of all results. NULL is the text `NULL`.
    pub fn query(&self, sql: &str) -> Result<Vec<Vec<String>>> {
        let output = self.run(sql)?;
        Ok(String::from_utf8_lossy(&output.stdout)
            .lines()
            .map(|line| line.split('\t').map(unescape).collect())
            .collect())
    }

    /// The first value of the first row.
    pub fn value(&self, sql: &str) -> Result<String> {
        self.query(sql)?
            .into_iter()
            .next()
            .and_then(|row| row.into_iter().next())
            .with_context(|| format!("no row from: {sql}"))
    }

    fn run(&self, sql: &str) -> Result<Output> {
        let mut client = self.client()?;
        client
            .args(["--batch", "--skip-column-names"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = client.spawn().context("cannot start the stock client")?;
        let mut input = child.stdin.take().context("no standard input")?;
        let text = sql.as_bytes().to_vec();
        // Written from a thread of its own: statements and results may both be larger than a pipe holds.
        let writer = std::thread::spawn(move || input.write_all(&text));
        let output = child.wait_with_output()?;
        // The client stops reading at the first error, so a broken pipe here is only its echo.
        let _ = writer.join();
        if !output.status.success() {
            let start: String = sql.chars().take(300).collect();
            bail!("{}\nwhile running: {start}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(output)
    }
}

/// Undoes the client's batch escapes.
fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.next() {
                Some('n') => plain.push('\n'),
                Some('t') => plain.push('\t'),
                Some('0') => plain.push('\0'),
                Some(other) => plain.push(other),
                None => plain.push('\\'),
            },
            other => plain.push(other),
        }
    }
    plain
}

fn launch(options: &MysqlOptions, folder: &Path, port: u16) -> Result<Server> {
    let mut server =
        Server::start(options.flavor.group(), &options.flavor.server()?, &folder.join("log"), |command| {
            command
                .arg(format!("--datadir={}", folder.join("data").display()))
                .arg(format!("--socket={}", folder.join("sock").display()))
                .arg(format!("--pid-file={}", folder.join("pid").display()))
                .arg(format!("--port={port}"))
                // Of its own: a server that starts removes temporary tables that it finds, those of running servers too.
                .arg(format!("--tmpdir={}", folder.display()))
                .args([
                    "--user=root",
                    "--bind-address=127.0.0.1",
                    "--skip-name-resolve",
                    "--innodb-buffer-pool-size=256M",
                ]);
            match options.flavor {
                Flavor::MySql => {
                    command.args(["--mysqlx=OFF", "--secure-file-priv=NULL", "--innodb-redo-log-capacity=256M"])
                }
                Flavor::MariaDb => command.arg("--log-bin=binlog"),
            };
            if !options.durable {
                command.args(["--innodb-flush-method=nosync", "--innodb-flush-log-at-trx-commit=2", "--sync-binlog=0"]);
            }
            command.args(&options.extra_args);
        })?;
    server.wait_until(START_LIMIT, || greets(port))?;
    Ok(server)
}

/// Counts up when what is in a template changes, so that old ones are not used.
const TEMPLATE: u32 = 2;

/// The initialised data directory that all servers of a flavor start from: made once per machine and kept beside the tools.
fn template(flavor: Flavor) -> Result<PathBuf> {
    let tools = tools::folder()?;
    let program = flavor.server()?;
    // A newly installed server gets a new template.
    let installed = fs::metadata(&program)?.modified()?.duration_since(UNIX_EPOCH)?.as_secs();
    let template = tools.join(format!("template{TEMPLATE}-{}-{installed}", flavor.group()));
    if template.exists() {
        return Ok(template);
    }
    let lock = File::create(tools.join(format!(".template-{}.lock", flavor.group())))?;
    lock.lock()?;
    if template.exists() {
        return Ok(template);
    }
    let staging = tempfile::Builder::new().prefix(".template-").tempdir_in(&tools)?;
    let data = staging.path().join("data");
    fs::create_dir(&data)?;
    match flavor {
        Flavor::MySql => initialize_mysql(&program, staging.path(), &data)?,
        Flavor::MariaDb => initialize_mariadb(&program, &tools, staging.path(), &data)?,
    }
    fs::rename(&data, &template).context("cannot put the template in place")?;
    Ok(template)
}

fn accounts() -> String {
    // MariaDB makes accounts for loopback addresses that would go before 'root'@'%'.
    format!(
        "DROP USER IF EXISTS 'root'@'127.0.0.1', 'root'@'::1';\nALTER USER 'root'@'localhost' IDENTIFIED BY '{PASSWORD}';\nCREATE USER 'root'@'%' IDENTIFIED BY '{PASSWORD}';\n\
         GRANT ALL ON *.* TO 'root'@'%' WITH GRANT OPTION;\n"
    )
}

fn initialize_mysql(program: &Path, staging: &Path, data: &Path) -> Result<()> {
    let script = staging.join("init.sql");
    fs::write(&script, accounts())?;
    let mut server = Server::start("mysqld --initialize", program, &staging.join("log"), |command| {
        command
            .arg("--initialize-insecure")
            .arg(format!("--datadir={}", data.display()))
            .arg(format!("--init-file={}", script.display()))
            .args([
                "--user=root",
                "--secure-file-priv=NULL",
                "--innodb-redo-log-capacity=8M",
                "--innodb-flush-method=nosync",
            ]);
    })?;
    server.finish(INIT_LIMIT)?;
    // Every server makes its own identity.
    fs::remove_file(data.join("auto.cnf")).context("mysqld --initialize left no auto.cnf")
}

fn initialize_mariadb(program: &Path, tools: &Path, staging: &Path, data: &Path) -> Result<()> {
    let share = tools.join("mariadb/tree/usr/share/mysql");
    // One statement per line until the system tables' own files begin: the bootstrap reader wants it so.
    let mut script =
        "create database mysql;\nuse mysql;\nSET @auth_root_socket=NULL;\nSET @skip_auth_anonymous=1;\n".to_owned();
    let files = ["system_tables", "performance_tables", "system_tables_data"].map(|name| format!("mysql_{name}.sql"));
    for file in files.iter().map(String::as_str).chain([
        "fill_help_tables.sql",
        "maria_add_gis_sp_bootstrap.sql",
        "mysql_sys_schema.sql",
    ]) {
        script
            .push_str(&fs::read_to_string(share.join(file)).with_context(|| format!("cannot read {file} of MariaDB"))?);
        script.push('\n');
    }
    script.push_str("FLUSH PRIVILEGES;\n");
    script.push_str(&accounts());
    let input = staging.join("bootstrap.sql");
    fs::write(&input, script)?;
    let mut server = Server::start("mariadbd --bootstrap", program, &staging.join("log"), |command| {
        command
            .arg("--bootstrap")
            .arg(format!("--datadir={}", data.display()))
            .args(["--user=root", "--skip-log-bin", "--innodb-log-file-size=10M", "--innodb-flush-method=nosync"])
            .stdin(File::open(&input).expect("just written"));
    })?;
    server.finish(INIT_LIMIT)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let output = Command::new("cp").args(["-a", "--reflink=auto"]).arg(from).arg(to).output()?;
    if !output.status.success() {
        bail!("cannot copy the server's template: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
