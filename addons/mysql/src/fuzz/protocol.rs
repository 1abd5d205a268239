//! The server says anything, in pieces of any size: no panic, no endless loop, and the pieces change nothing.
//!
//! An input is what to do, then what the server says to that: two bytes of options, the number of commands, the commands, and
//! all bytes that come from the server. What came from a real server while [`record`] did the same is such an input.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use coffer_addon_sdk::backend::{Run, Source, Stream};
use coffer_addon_sdk::native::{self, MemorySink, NativeTarget};
use coffer_addon_sdk::{
    Addon as _, Backup as _, Context, Direction, Entry, Error, ErrorKind, Fact, Level, Restore as _, Result, Target,
    Tls, Worker,
};

use super::Pieces;
use crate::inserts::{self, Style};
use crate::wire::Wire;
use crate::{MySql, MySqlBackup, MySqlRestore, rows};

/// No script has more commands, and no session more items.
const MOST: usize = 64;

/// A stream to the server.
type Boxed = Box<dyn Stream>;

/// What is known after a command: what it yielded, or why it failed.
type Outcome = Result<Vec<u8>, ErrorKind>;

/// Plays an input whole and in pieces.
pub fn protocol(input: &[u8]) {
    let Some((script, answers)) = Script::parse(input) else { return };
    let play = |pieces| {
        let bytes = answers.to_vec();
        script.play(move || Ok(Box::new(Replay { bytes: bytes.clone(), position: 0, pieces, asked: false }) as Boxed))
    };
    let whole = play(Pieces::Whole);
    let torn = play(if script.seed == 0 { Pieces::Bytes } else { Pieces::Seeded(u64::from(script.seed)) });
    assert!(whole == torn, "pieces make a difference: {whole:?} and {torn:?}");
}

/// Does with a real server what [`protocol`] does with an input that begins with `head`. Returns how each step ended.
pub fn record(head: &[u8], connect: impl Fn() -> Result<Boxed> + Send + Sync + 'static) -> Vec<Outcome> {
    Script::parse(head).map(|(script, _)| script.play(connect)).unwrap_or_default()
}

/// What to do.
#[derive(Debug, Clone)]
struct Script {
    options: u8,
    seed: u8,
    commands: Vec<u8>,
}

impl Script {
    fn parse(input: &[u8]) -> Option<(Self, &[u8])> {
        let [options, seed, count, rest @ ..] = input else { return None };
        let (commands, answers) = rest.split_at_checked(usize::from(*count).min(MOST))?;
        Some((Self { options: *options, seed: *seed, commands: commands.to_vec() }, answers))
    }

    fn play(&self, connect: impl Fn() -> Result<Boxed> + Send + Sync + 'static) -> Vec<Outcome> {
        let password = if self.options & 4 == 0 { "coffer-test-password" } else { "" };
        let mut target = NativeTarget::new("backup", password, connect);
        target.info.tls = match self.options & 3 {
            2 => Tls::Preferred,
            3 => Tls::Required,
            _ => Tls::Disabled,
        };
        let mut log = Vec::new();
        let end = match self.options >> 3 & 3 {
            2 => self.back_up(target.target(), &mut log),
            3 => self.restore(target.target(), &mut log),
            _ => self.command(&target.target(), &mut log),
        };
        log.push(end.map(|()| Vec::new()).map_err(|error| error.kind));
        log
    }

    fn context(&self, direction: Direction) -> Context {
        let task = MySql::describe().tasks.into_iter().find(|task| task.direction == direction).unwrap();
        let defaults =
            task.parameters.iter().filter_map(|parameter| Some((&parameter.name, parameter.default.as_ref()?)));
        let mut parameters: BTreeMap<String, String> =
            defaults.map(|(name, value)| (name.clone(), value.clone())).collect();
        if direction == Direction::Backup {
            let format = if self.options & 32 == 0 { "parallel" } else { "single" };
            parameters.insert("format".to_owned(), format.to_owned());
        } else if self.options & 32 != 0 {
            parameters.insert("existing".to_owned(), "drop".to_owned());
        }
        Context::new(Box::new(Timeless { task: task.name, parameters, slept: AtomicU64::new(0) }))
    }

    /// Command after command over one connection.
    fn command(&self, target: &Target, log: &mut Vec<Outcome>) -> Result<()> {
        let mut wire = Wire::connect(target, &self.context(Direction::Backup))?;
        for command in &self.commands {
            let outcome = command_once(&mut wire, *command, self.options);
            log.push(outcome.map_err(|error| error.kind));
        }
        wire.quit()
    }

    /// A whole backup in one session.
    fn back_up(&self, target: Target, log: &mut Vec<Outcome>) -> Result<()> {
        let mut session = MySqlBackup::open(self.context(Direction::Backup), target)?;
        session.prepare()?;
        while session.release()?.is_some() {}
        let plan = session.plan()?;
        for item in plan.items.iter().take(MOST) {
            let sink = MemorySink::default();
            let (finished, facts) = session.run(item, sink.writer())?;
            assert_eq!(finished.bytes(), sink.bytes().len() as u64, "{}", item.path);
            log.push(Ok([sink.bytes(), format!("{facts:?}").into_bytes()].concat()));
        }
        session.close()
    }

    /// A whole restore in one session.
    fn restore(&self, target: Target, log: &mut Vec<Outcome>) -> Result<()> {
        let mut session = MySqlRestore::open(self.context(Direction::Restore), target)?;
        let (entries, facts) = snapshot();
        for stage in session.plan(&entries, &facts)? {
            for item in &stage.items {
                let stream = STREAMS.iter().find(|(path, _)| *path == item.path).map_or("", |(_, text)| text);
                let facts = session.run(item, native::reader(stream.as_bytes()))?;
                log.push(Ok(format!("{facts:?}").into_bytes()));
            }
        }
        session.finish()?;
        session.close()
    }
}

fn command_once(wire: &mut Wire, command: u8, options: u8) -> Result<Vec<u8>> {
    const SELECT: &str = "SELECT * FROM zoo.t";
    match command % 8 {
        0 => Ok(format!("{:?}", wire.execute("DO 1")?).into_bytes()),
        1 => Ok(format!("{:?}", wire.execute(SELECT)?).into_bytes()),
        2 => Ok(format!("{:?}", wire.query_all(SELECT)?).into_bytes()),
        3 => Ok(format!("{:?}", wire.query_text("SHOW WARNINGS")?).into_bytes()),
        4 => {
            let sink = MemorySink::default();
            rows::write(wire.query(SELECT)?, &mut sink.writer())?;
            Ok(sink.bytes())
        }
        5 => {
            let sink = MemorySink::default();
            let style = Style { extended: options & 64 == 0, hex: options & 128 != 0 };
            inserts::write(wire.query(SELECT)?, b"INSERT INTO `t` VALUES\n", &[], style, &mut sink.writer())?;
            Ok(sink.bytes())
        }
        6 => {
            let mut lines = vec![b"8\tyes\n".to_vec(), b"9\tno\n".to_vec()];
            let done = wire.load_infile("LOAD DATA LOCAL INFILE 'f' INTO TABLE zoo.l", &mut |out| {
                out.extend(lines.pop().unwrap_or_default());
                Ok(!lines.is_empty())
            })?;
            Ok(format!("{done:?}").into_bytes())
        }
        _ => {
            // Rows that are not read to their end spoil the connection, and nothing else.
            let first = wire.query(SELECT)?.next()?.is_some();
            Ok(vec![u8::from(first)])
        }
    }
}

/// The streams of a small snapshot.
const STREAMS: [(&str, &str); 5] = [
    ("databases/zoo/schema.sql", "CREATE DATABASE IF NOT EXISTS `zoo`;\n"),
    (
        "databases/zoo/tables/l.sql",
        "USE `zoo`;\nCREATE TABLE `l` (`a` int, `b` enum('yes','no'), PRIMARY KEY (`a`));\n",
    ),
    ("databases/zoo/rows/l.tsv", "1\tyes\n2\tno\n"),
    (
        "databases/zoo/triggers.sql",
        "USE `zoo`;\nDELIMITER ;;\nCREATE TRIGGER g BEFORE INSERT ON l FOR EACH ROW SET @a = 1;;\nDELIMITER ;\n",
    ),
    ("views.sql", "USE `zoo`;\nCREATE VIEW `v` AS SELECT 1;\nUSE `zoo`;\nCREATE VIEW `w` AS SELECT * FROM v;\n"),
];

fn snapshot() -> (Vec<Entry>, Vec<Fact>) {
    let facts = |path: &str| {
        if path.starts_with("databases/zoo/rows/") {
            vec![Fact::new("rows", 2), Fact::new("columns", "a b")]
        } else {
            Vec::new()
        }
    };
    let entry = |(path, text): &(&str, &str)| Entry {
        path: (*path).to_owned(),
        size: Some(text.len() as u64),
        facts: facts(path),
    };
    let plan = [("format", "parallel"), ("layout", "1"), ("databases", "zoo"), ("server-version", "9.7.4")];
    (STREAMS.iter().map(entry).collect(), plan.iter().map(|(name, value)| Fact::new(*name, value)).collect())
}

/// A connection to the answers, from their beginning: how far another has read ahead must make no difference. It takes anything.
///
/// Until it was written to, it says its first packet only, as servers do. More would be refused where TLS begins (whoever is in between
/// could have added it), but only by a client that has read that far.
struct Replay {
    bytes: Vec<u8>,
    position: usize,
    pieces: Pieces,
    asked: bool,
}

impl Replay {
    /// Where that ends which may be read now.
    fn end(&self) -> usize {
        match self.bytes.first_chunk() {
            Some([a, b, c, _]) if !self.asked => self.bytes.len().min(4 + u32::from_le_bytes([*a, *b, *c, 0]) as usize),
            _ => self.bytes.len(),
        }
    }
}

impl Source for Replay {
    fn read(&mut self, max: usize, into: &mut Vec<u8>) -> Result<usize> {
        let count = self.pieces.next().min(max).min(self.end() - self.position);
        into.extend_from_slice(&self.bytes[self.position..self.position + count]);
        self.position += count;
        Ok(count)
    }
}

impl Stream for Replay {
    fn write(&mut self, _bytes: &[u8]) -> Result<()> {
        self.asked = true;
        Ok(())
    }
    fn start_tls(&mut self) -> Result<()> {
        Ok(())
    }
}

/// A run in which time passes only when somebody sleeps.
struct Timeless {
    task: String,
    parameters: BTreeMap<String, String>,
    slept: AtomicU64,
}

impl Run for Timeless {
    fn task(&self) -> String {
        self.task.clone()
    }
    fn parameters(&self) -> Vec<(String, String)> {
        self.parameters.clone().into_iter().collect()
    }
    fn worker(&self) -> Worker {
        Worker { index: 0, count: 1 }
    }
    fn log(&self, _level: Level, _message: &str) {}
    fn progress(&self, _note: &str) {}
    fn cancelled(&self) -> bool {
        false
    }
    fn random(&self, bytes: &mut [u8]) {
        bytes.fill(7);
    }
    fn elapsed(&self) -> Duration {
        Duration::from_millis(self.slept.load(Ordering::Relaxed))
    }
    fn sleep(&self, time: Duration) -> Result<()> {
        let time = u64::try_from(time.as_millis()).map_err(|_| Error::internal("nobody sleeps for that long"))?;
        self.slept.fetch_add(time.max(1), Ordering::Relaxed);
        Ok(())
    }
}
