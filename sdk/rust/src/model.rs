//! What goes back and forth between an addon and the host about the work itself.

/// One thing the addon knows about a backup or a stream. It is kept in the snapshot's manifest and handed back on restore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// Lower-case words joined by `-`: `rows`, `gtid`.
    pub name: String,
    /// Never a secret.
    pub value: String,
}

impl Fact {
    /// A fact; anything that displays can be its value.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "callers have numbers and strings as often as references to them"
    )]
    pub fn new(name: impl Into<String>, value: impl ToString) -> Self {
        Self { name: name.into(), value: value.to_string() }
    }

    /// The value of the fact of this name.
    pub fn find<'a>(facts: &'a [Self], name: &str) -> Option<&'a str> {
        facts.iter().find(|fact| fact.name == name).map(|fact| fact.value.as_str())
    }
}

/// One unit of a backup that yields one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The path of the stream in the snapshot, and the item's identity: relative, `/` between the parts, no part empty, `.` or
    /// `..`, UTF-8 without control characters, unique, at most 1,024 bytes.
    pub path: String,
    /// About how many bytes it will have, for the progress bar.
    pub estimate: Option<u64>,
    /// What the addon wants back with the item; at most 64 KiB.
    pub token: String,
}

impl Item {
    /// An item without an estimate and with an empty token.
    pub fn new(path: impl Into<String>) -> Self {
        Self { path: path.into(), estimate: None, token: String::new() }
    }

    /// Says about how many bytes the stream will have.
    #[must_use]
    pub fn estimate(mut self, bytes: u64) -> Self {
        self.estimate = Some(bytes);
        self
    }

    /// Sets what the addon wants back with the item.
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = token.into();
        self
    }
}

/// The whole work of a backup.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// At least one, at most 1,000,000.
    pub items: Vec<Item>,
    /// What is known of the backup as a whole: server version, position, format.
    pub facts: Vec<Fact>,
}

/// One stream of the snapshot that is being restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it is in the snapshot.
    pub path: String,
    /// In bytes, where the snapshot knows it. Foreign snapshots may not.
    pub size: Option<u64>,
    /// What [`crate::Backup::run`] returned for it; empty for foreign snapshots.
    pub facts: Vec<Fact>,
}

impl Entry {
    /// The value of the fact of this name.
    pub fn fact(&self, name: &str) -> Option<&str> {
        Fact::find(&self.facts, name)
    }
}

/// One unit of a restore that reads one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreItem {
    /// The stream, one of the entries. Several items, in different stages, may read the same one.
    pub path: String,
    /// What the addon wants back with the item; at most 64 KiB.
    pub token: String,
}

impl RestoreItem {
    /// An item with an empty token.
    pub fn new(path: impl Into<String>) -> Self {
        Self { path: path.into(), token: String::new() }
    }

    /// Sets what the addon wants back with the item.
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = token.into();
        self
    }
}

/// Items of a restore that may run side by side. A stage begins when the one before it has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// A few words for the user: `rows`.
    pub name: String,
    /// Handed out in this order.
    pub items: Vec<RestoreItem>,
}

impl Stage {
    /// A stage of these items.
    pub fn new(name: impl Into<String>, items: Vec<RestoreItem>) -> Self {
        Self { name: name.into(), items }
    }
}
