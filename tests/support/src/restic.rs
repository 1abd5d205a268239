//! Stock restic, as a user runs it.

use std::{
    ffi::OsStr,
    io::Read,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
};

use anyhow::{Context as _, Result};

use crate::{process, tools};

/// One restic program with a repository and its password.
#[derive(Clone, Debug)]
pub struct Restic {
    program: PathBuf,
    repository: String,
    password: String,
    environment: Vec<(String, String)>,
}

impl Restic {
    /// restic 0.14.
    pub fn old(repository: impl Into<String>, password: &str) -> Result<Self> {
        Self::named("restic-0.14", repository.into(), password)
    }

    /// The newest restic of Debian (0.18 or later).
    pub fn new(repository: impl Into<String>, password: &str) -> Result<Self> {
        Self::named("restic", repository.into(), password)
    }

    fn named(name: &str, repository: String, password: &str) -> Result<Self> {
        Ok(Self {
            program: tools::program("restic", name)?,
            repository,
            password: password.into(),
            environment: Vec::new(),
        })
    }

    /// Adds a variable, e.g. `AWS_ACCESS_KEY_ID`.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// The command with repository and password set, without a cache.
    pub fn command<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Command {
        let mut command = Command::new(&self.program);
        self.configure(&mut command, arguments);
        command
    }

    fn configure<A: AsRef<OsStr>>(&self, command: &mut Command, arguments: &[A]) {
        command
            .env("RESTIC_REPOSITORY", &self.repository)
            .env("RESTIC_PASSWORD", &self.password)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .arg("--no-cache")
            .args(arguments);
    }

    /// Runs to the end and returns status and output, whatever they are.
    pub fn run<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Result<Output> {
        self.command(arguments).stdin(Stdio::null()).output().context("cannot start restic")
    }

    /// Runs and returns standard output; panics with restic's messages when it fails.
    pub fn ok<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Vec<u8> {
        let output = self.run(arguments).unwrap();
        let shown: Vec<_> = arguments.iter().map(|argument| argument.as_ref().to_string_lossy().into_owned()).collect();
        assert!(
            output.status.success(),
            "restic {} failed ({}):\n{}{}",
            shown.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        output.stdout
    }

    /// Starts it in the background with piped input and output; the kernel kills it if this process dies.
    pub fn spawn<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Result<Child> {
        process::spawn(&self.program, |command| {
            self.configure(command, arguments);
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        })
    }

    /// `restic backup --stdin` of everything that `input` yields.
    pub fn backup_stdin(&self, filename: &str, host: &str, mut input: impl Read) -> Result<Output> {
        let mut child = self.spawn(&["backup", "--stdin", "--stdin-filename", filename, "--host", host])?;
        let mut stdin = child.stdin.take().context("no standard input")?;
        std::io::copy(&mut input, &mut stdin)?;
        drop(stdin);
        Ok(child.wait_with_output()?)
    }
}
