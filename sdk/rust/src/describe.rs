//! What an addon says of itself.

/// The addon. Catalog entries, `coffer addon inspect` and the check of parameters come from here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// A lower-case word, for example `mysql`.
    pub name: String,
    /// Its own version.
    pub version: String,
    /// One sentence for the user.
    pub help: String,
    /// The names of the Addon resources that the catalog makes for it, for example `mysql-addon`.
    pub addons: Vec<String>,
    /// What it can do.
    pub tasks: Vec<Task>,
}

/// Which way data flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the database into a snapshot.
    Backup,
    /// From a snapshot into the database.
    Restore,
}

/// Something that the addon can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// As users write it in `addon.tasks[].name`.
    pub name: String,
    /// One sentence for the user.
    pub help: String,
    /// Which way data flows.
    pub direction: Direction,
    /// The name of the Function that the catalog makes for it.
    pub function: String,
    /// The snapshot component that it writes or reads, for example `dump`.
    pub component: String,
    /// What the user can set.
    pub parameters: Vec<Parameter>,
}

/// What values a parameter takes. Every value crosses as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueType {
    /// Anything.
    Text,
    /// A whole number, optionally with a sign.
    Integer,
    /// `true` or `false`.
    Boolean,
    /// A number of seconds, or Go's form: `90s`, `5m`, `1h30m`.
    Duration,
    /// A number of bytes, or Kubernetes' form: `64Ki`, `16Mi`.
    Quantity,
    /// One of these.
    Choice(Vec<String>),
}

impl ValueType {
    /// A choice of these.
    pub fn choice(values: &[&str]) -> Self {
        Self::Choice(values.iter().map(ToString::to_string).collect())
    }
}

/// A parameter of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// As users write it.
    pub name: String,
    /// One sentence for the user.
    pub help: String,
    /// What values it takes.
    pub kind: ValueType,
    /// The value when none is given. It must be one that `kind` takes.
    pub default: Option<String>,
    /// Whether the user must give it.
    pub required: bool,
}

impl Parameter {
    /// An optional parameter without a default.
    pub fn new(name: impl Into<String>, kind: ValueType, help: impl Into<String>) -> Self {
        Self { name: name.into(), help: help.into(), kind, default: None, required: false }
    }

    /// Sets the value when none is given.
    #[must_use]
    pub fn default(mut self, value: impl Into<String>) -> Self {
        self.default = Some(value.into());
        self
    }

    /// Makes the user give it.
    #[must_use]
    pub fn required(mut self) -> Self {
        self.required = true;
        self
    }
}
