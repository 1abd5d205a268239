//! A whole addon: it dumps and loads named lists of lines over a small text protocol. See `README.md`.

use std::io::{BufRead, Write};

use coffer_addon_sdk::{
    Addon, Backup, Connection, Context, Description, Direction, Entry, Error, Fact, Finished, Item, Parameter, Plan,
    Reader, Restore, RestoreItem, Result, Stage, Target, Task, ValueType, Writer, export_addon, info,
};

struct Hello;
export_addon!(Hello);

impl Addon for Hello {
    type Backup = Session;
    type Restore = Session;

    fn describe() -> Description {
        let task = |name: &str, help: &str, direction| Task {
            name: name.into(),
            help: help.into(),
            direction,
            function: format!("hello-{name}"),
            component: "dump".into(),
            parameters: vec![Parameter::new("greeting", ValueType::Text, "The word to begin with.").default("HELLO")],
        };
        Description {
            name: "hello".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            help: "Lists of lines, as an example.".into(),
            addons: vec!["hello-addon".into()],
            tasks: vec![
                task("backup", "Dumps every list.", Direction::Backup),
                task("restore", "Loads every list.", Direction::Restore),
            ],
        }
    }
}

struct Session(Connection);

impl Session {
    /// Says hello, and who is there.
    fn login(context: &Context, target: &Target) -> Result<Self> {
        let mut session = Self(target.connect()?);
        let user = target.credentials()?.username.unwrap_or_default();
        session.ask(&format!("{} {user}", context.text("greeting")?))?;
        info!(context, "logged in as {user:?}");
        Ok(session)
    }

    /// Sends a line and returns what the server answers after `OK`; anything else is a refusal.
    fn ask(&mut self, request: &str) -> Result<String> {
        writeln!(self.0, "{request}")?;
        let mut answer = String::new();
        self.0.read_line(&mut answer)?;
        match answer.strip_prefix("OK").and_then(|rest| rest.strip_suffix('\n')) {
            Some(rest) => Ok(rest.trim().to_owned()),
            None => Err(Error::denied(format!("the server refused {request:?}: {answer:?}"))),
        }
    }
}

impl Backup for Session {
    fn open(context: Context, target: Target) -> Result<Self> {
        Self::login(&context, &target)
    }

    fn plan(&mut self) -> Result<Plan> {
        let names = self.ask("LIST")?;
        Ok(Plan { items: names.split_whitespace().map(Item::new).collect(), facts: vec![Fact::new("format", "lines")] })
    }

    fn run(&mut self, item: &Item, mut out: Writer) -> Result<(Finished, Vec<Fact>)> {
        let lines: u64 = self.ask(&format!("DUMP {}", item.path))?.parse().map_err(|_| Error::protocol("no count"))?;
        let mut line = Vec::new();
        for _ in 0..lines {
            line.clear();
            if self.0.read_until(b'\n', &mut line)? == 0 {
                return Err(Error::unavailable("the server hung up"));
            }
            out.write_all(&line)?;
        }
        Ok((out.finish()?, vec![Fact::new("lines", lines)]))
    }
}

impl Restore for Session {
    fn open(context: Context, target: Target) -> Result<Self> {
        Self::login(&context, &target)
    }

    fn plan(&mut self, entries: &[Entry], _facts: &[Fact]) -> Result<Vec<Stage>> {
        let item = |entry: &Entry| entry.fact("lines").map(|lines| RestoreItem::new(&entry.path).token(lines));
        Ok(vec![Stage::new("lists", entries.iter().filter_map(item).collect())])
    }

    fn run(&mut self, item: &RestoreItem, mut input: Reader) -> Result<Vec<Fact>> {
        writeln!(self.0, "LOAD {} {}", item.path, item.token)?;
        std::io::copy(&mut input, &mut self.0)?;
        self.ask("END").map(|lines| vec![Fact::new("lines", lines)])
    }
}
