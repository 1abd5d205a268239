//! Child processes that end with their handle, and with this process however it ends.

use std::{
    fs,
    io::{self, Read as _},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{OnceLock, mpsc},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

type Job = (Command, mpsc::Sender<io::Result<Child>>);

/// Starts a command whose process the kernel kills when this process dies.
pub fn spawn(program: &Path, configure: impl FnOnce(&mut Command)) -> Result<Child> {
    // The kernel's signal comes at the end of the *thread* that started the child; a test's thread ends long before a shared server should.
    static SPAWNER: OnceLock<mpsc::Sender<Job>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, jobs) = mpsc::channel::<Job>();
        thread::Builder::new()
            .name("spawner".into())
            .spawn(move || {
                for (mut command, reply) in jobs {
                    let _ = reply.send(command.spawn());
                }
            })
            .expect("cannot start a thread");
        sender
    });
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    configure(&mut command);
    let (reply, answer) = mpsc::channel();
    spawner.send((command, reply)).ok().context("the spawner thread is gone")?;
    answer.recv()?.with_context(|| format!("cannot start {} (through setpriv of util-linux)", program.display()))
}

/// A running server; killed on drop.
#[derive(Debug)]
pub struct Server {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Server {
    /// Starts `program` with its output in `log`, and returns at once.
    pub fn start(name: &str, program: &Path, log: &Path, configure: impl FnOnce(&mut Command)) -> Result<Self> {
        let output = fs::OpenOptions::new().create(true).append(true).open(log)?;
        let errors = output.try_clone()?;
        let child = spawn(program, |command| {
            command.stdin(Stdio::null()).stdout(output).stderr(errors);
            configure(command);
        })?;
        Ok(Self { child, name: name.into(), log: log.into() })
    }

    /// Waits until `ready` says so; fails when the server ends or `limit` has passed, with the end of its log.
    pub fn wait_until(&mut self, limit: Duration, mut ready: impl FnMut() -> bool) -> Result<()> {
        let start = Instant::now();
        while !ready() {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended while starting ({status}):\n{}", self.name, self.log_tail());
            }
            if start.elapsed() > limit {
                bail!("{} was not ready after {limit:?}:\n{}", self.name, self.log_tail());
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Waits for a program that ends by itself; anything but success within `limit` is an error with the end of its log.
    pub fn finish(&mut self, limit: Duration) -> Result<()> {
        let start = Instant::now();
        loop {
            match self.child.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => bail!("{} failed ({status}):\n{}", self.name, self.log_tail()),
                None if start.elapsed() > limit => {
                    bail!("{} did not end within {limit:?}:\n{}", self.name, self.log_tail())
                }
                None => thread::sleep(Duration::from_millis(10)),
            }
        }
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The last lines of the server's log.
    pub fn log_tail(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// Kills the server as a crash would, and waits for its end.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks the server to stop (SIGTERM) and waits for its end; kills it after `limit`.
    pub fn stop(&mut self, limit: Duration) -> Result<()> {
        Command::new("kill").arg(self.child.id().to_string()).status()?;
        let start = Instant::now();
        while self.child.try_wait()?.is_none() {
            if start.elapsed() > limit {
                self.kill();
                bail!("{} did not stop within {limit:?}:\n{}", self.name, self.log_tail());
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Whether a connection to that port on loopback is accepted.
pub fn accepts(port: u16) -> bool {
    TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], port)), Duration::from_secs(1)).is_ok()
}

/// Whether the server at that port speaks first, as MySQL does once it is ready.
pub fn greets(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], port)), Duration::from_secs(1))
    else {
        return false;
    };
    let mut greeting = [0; 5];
    // Byte 4 is the protocol's version; a server that refuses for now sends 0xff there.
    stream.set_read_timeout(Some(Duration::from_secs(5))).is_ok()
        && stream.read_exact(&mut greeting).is_ok()
        && greeting[4] == 10
}
