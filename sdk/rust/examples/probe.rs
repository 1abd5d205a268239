//! An addon that misbehaves on request: the tests of the testkit see through it what an SDK guest can do to its host, and what
//! the host hears of it.

use coffer_addon_sdk::{
    Addon, Backup, Context, Description, Direction, Error, ErrorKind, Fact, Finished, Item, Parameter, Plan, Result,
    Target, Task, Unsupported, ValueType, Writer, debug, export_addon, warn,
};

struct Probe;
export_addon!(Probe);

impl Addon for Probe {
    type Backup = Session;
    type Restore = Unsupported;

    fn describe() -> Description {
        let deeds = ["write", "panic", "error", "retryable", "forget", "random", "sleep", "huge"];
        let task = |name: &str, direction| Task {
            name: name.into(),
            help: "Does the deed.".into(),
            direction,
            function: format!("probe-{name}"),
            component: "dump".into(),
            parameters: vec![
                Parameter::new("deed", ValueType::choice(&deeds), "What to do.").default("write"),
                Parameter::new("size", ValueType::Quantity, "How many bytes to write.").default("3Mi"),
            ],
        };
        Description {
            name: "probe".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            help: "Misbehaves on request.".into(),
            addons: vec!["probe-addon".into()],
            tasks: vec![task("probe", Direction::Backup), task("unprobe", Direction::Restore)],
        }
    }
}

struct Session {
    context: Context,
    view: String,
}

impl Backup for Session {
    fn open(context: Context, _target: Target) -> Result<Self> {
        Ok(Self { context, view: String::new() })
    }

    fn prepare(&mut self) -> Result<String> {
        self.view = String::from("view-1");
        Ok(self.view.clone())
    }

    fn join(&mut self, view: &str) -> Result<()> {
        view.clone_into(&mut self.view);
        Ok(())
    }

    fn release(&mut self) -> Result<Option<String>> {
        // The first view is never good enough, so that the second round is seen too.
        if self.view == "view-2" {
            return Ok(None);
        }
        self.view = String::from("view-2");
        Ok(Some(self.view.clone()))
    }

    fn plan(&mut self) -> Result<Plan> {
        let count = self.context.worker().count;
        Ok(Plan {
            items: (0..count).map(|n| Item::new(format!("part-{n}")).token(n.to_string())).collect(),
            facts: vec![],
        })
    }

    fn run(&mut self, item: &Item, mut out: Writer) -> Result<(Finished, Vec<Fact>)> {
        self.context.progress(&format!("doing {}", item.path));
        match self.context.text("deed")? {
            "panic" => Err(Error::internal(format!("never seen: {}", self.view.len() / (self.view.len() - 6)))),
            "error" => Err(Error::denied("SELECT is missing").with_context("table t")),
            "retryable" => Err(Error::new(ErrorKind::Data, "try again").retryable(true)),
            // Only another stream's proof could be returned here, so the best a forgetful addon can do is an error.
            "forget" => Err(Error::data(format!("gave up after {} bytes", out.written()))),
            "random" => {
                let mut bytes = vec![0; 100_000];
                self.context.random(&mut bytes);
                out.write_all(&bytes)?;
                Ok((out.finish()?, vec![]))
            }
            "sleep" => {
                debug!(self.context, "going to sleep");
                self.context.sleep(std::time::Duration::from_hours(1))?;
                Err(Error::internal("slept through the cancellation"))
            }
            "huge" => Err(Error::data("é".repeat(100_000))),
            _ => {
                let size = self.context.quantity("size")?;
                warn!(self.context, "writing {size} bytes in view {}", self.view);
                let line: Vec<u8> = (0..=255).collect();
                while out.written() < size {
                    let room = usize::try_from(size - out.written()).unwrap_or(usize::MAX);
                    out.buffer()?.extend_from_slice(line.get(..room).unwrap_or(&line));
                }
                let facts = vec![Fact::new("token", &item.token), Fact::new("worker", self.context.worker().index)];
                Ok((out.finish()?, facts))
            }
        }
    }
}
