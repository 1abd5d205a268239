//! Runs backups of the addon natively, without the sandbox, against a real server.

use std::collections::BTreeMap;
use std::fs;
use std::io::Cursor;
use std::path::Path;
use std::process::Stdio;

use coffer_addon_mysql::{MySqlBackup, MySqlRestore};
use coffer_addon_sdk::native::{self, MemorySink, NativeRun, tcp_target};
use coffer_addon_sdk::{Backup as _, Entry, Fact, Plan, Restore as _, Result};
use coffer_test_support::mysql::{Flavor, MysqlOptions, MysqlServer, PASSWORD};

/// A user that may do everything.
pub(crate) const LOGIN: (&str, &str) = ("backup", PASSWORD);

/// A backup in memory.
#[derive(Debug, Default)]
pub(crate) struct Dump {
    pub(crate) streams: BTreeMap<String, (Vec<u8>, Vec<Fact>)>,
    pub(crate) plan: Plan,
}

impl Dump {
    /// What a plain `restic restore` would leave in a folder.
    pub(crate) fn write_to(&self, folder: &Path) {
        for (path, (bytes, _)) in &self.streams {
            let path = folder.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
    }

    pub(crate) fn fact(&self, name: &str) -> Option<&str> {
        Fact::find(&self.plan.facts, name)
    }
}

pub(crate) fn start(flavor: Flavor, extra: &[&str]) -> MysqlServer {
    let extra_args = extra.iter().map(|arg| (*arg).to_owned()).collect();
    let server = MysqlServer::start(MysqlOptions { flavor, extra_args, ..MysqlOptions::default() }).unwrap();
    let (user, password) = LOGIN;
    server
        .exec(&format!("CREATE USER {user}@'%' IDENTIFIED BY '{password}'; GRANT ALL ON *.* TO {user}@'%';"))
        .unwrap();
    server
}

/// Backs up over so many sessions; the items are handed out in turn.
pub(crate) fn backup(server: &MysqlServer, workers: u32, parameters: &[(&str, &str)]) -> Result<Dump> {
    backup_as(server, LOGIN, workers, parameters)
}

pub(crate) fn backup_as(
    server: &MysqlServer,
    (user, password): (&str, &str),
    workers: u32,
    parameters: &[(&str, &str)],
) -> Result<Dump> {
    let address = (server.host(), server.port());
    let run =
        parameters.iter().fold(NativeRun::new("logical-backup"), |run, (name, value)| run.parameter(*name, *value));
    let open =
        |index| MySqlBackup::open(run.clone().worker(index, workers).context(), tcp_target(address, user, password));
    let mut sessions = (0..workers).map(open).collect::<Result<Vec<_>>>()?;
    let mut view = Some(sessions[0].prepare()?);
    while let Some(name) = view {
        sessions[1..].iter_mut().try_for_each(|session| session.join(&name))?;
        view = sessions[0].release()?;
    }
    let mut dump = Dump { plan: sessions[0].plan()?, ..Dump::default() };
    let count = sessions.len();
    for (index, item) in dump.plan.items.iter().enumerate() {
        let sink = MemorySink::default();
        let (finished, facts) = sessions[index % count].run(item, sink.writer())?;
        let bytes = sink.bytes();
        assert_eq!(finished.bytes(), bytes.len() as u64);
        dump.streams.insert(item.path.clone(), (bytes, facts));
    }
    sessions.iter_mut().try_for_each(MySqlBackup::close)?;
    Ok(dump)
}

/// Restores over so many sessions, as the host would; the items of a stage are handed out in turn. Returns what was said of each item.
pub(crate) fn restore_as(
    server: &MysqlServer,
    login: (&str, &str),
    workers: u32,
    parameters: &[(&str, &str)],
    dump: &Dump,
) -> Result<Vec<(String, Vec<Fact>)>> {
    restore_up_to(server, login, workers, parameters, dump, usize::MAX).map(|(said, _)| said)
}

/// What was said of each item.
type Said = Vec<(String, Vec<Fact>)>;

/// The same, but dies after so many items, and leaves its sessions as a killed process does. Says whether it came to its end.
pub(crate) fn restore_up_to(
    server: &MysqlServer,
    (user, password): (&str, &str),
    workers: u32,
    parameters: &[(&str, &str)],
    dump: &Dump,
    items: usize,
) -> Result<(Said, bool)> {
    let address = (server.host(), server.port());
    let run = parameters
        .iter()
        .fold(NativeRun::new("logical-backup-restore"), |run, (name, value)| run.parameter(*name, *value));
    let open =
        |index| MySqlRestore::open(run.clone().worker(index, workers).context(), tcp_target(address, user, password));
    let mut sessions = (0..workers).map(open).collect::<Result<Vec<_>>>()?;
    let entries: Vec<Entry> = dump
        .streams
        .iter()
        .map(|(path, (bytes, facts))| Entry {
            path: path.clone(),
            size: Some(bytes.len() as u64),
            facts: facts.clone(),
        })
        .collect();
    let count = sessions.len();
    let mut said = Vec::new();
    for stage in sessions[0].plan(&entries, &dump.plan.facts)? {
        for (index, item) in stage.items.iter().enumerate() {
            if said.len() == items {
                return Ok((said, false));
            }
            let input = native::reader(Cursor::new(dump.streams[&item.path].0.clone()));
            said.push((item.path.clone(), sessions[index % count].run(item, input)?));
        }
    }
    sessions[0].finish()?;
    sessions.iter_mut().try_for_each(MySqlRestore::close)?;
    Ok((said, true))
}

/// Runs a script of the folder with the stock client.
pub(crate) fn run_script(server: &MysqlServer, folder: &Path, script: &str) {
    let mut client = server.client().unwrap();
    client.arg("--local-infile=1").current_dir(folder).stdin(fs::File::open(folder.join(script)).unwrap());
    let output = client.stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
}
