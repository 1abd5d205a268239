//! The database that the run is about, and the only way to it.

use std::fmt;

use crate::backend::Database;
use crate::{Connection, Result};

/// Whether connections are to be encrypted. Certificates and names are the host's business.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tls {
    /// Never.
    Disabled,
    /// When the server offers it.
    Preferred,
    /// Always; without it the addon fails.
    Required,
}

/// What is known of the database before anybody connects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetInfo {
    /// The kind of the resource that the user named, for example `MySQL` or `AppBinding`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// The version that the resource declares, if any. The server itself knows better.
    pub version: Option<String>,
    /// Whether to encrypt.
    pub tls: Tls,
    /// The path of the connection URL without the leading `/`, often a default database; may be empty.
    pub path: String,
    /// The query of the connection URL: names and values, decoded.
    pub query: Vec<(String, String)>,
}

impl TargetInfo {
    /// The first value of this name in the query of the connection URL.
    pub fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// What to log in with. Never log it, never put it in a fact; `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Credentials {
    /// The user's name.
    pub username: Option<String>,
    /// The user's password.
    pub password: Option<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}

/// The database. The Function must grant `target`.
pub struct Target {
    database: Box<dyn Database>,
}

impl Target {
    /// A handle on this database.
    pub fn new(database: Box<dyn Database>) -> Self {
        Self { database }
    }

    /// What is known of it before anybody connects.
    pub fn info(&self) -> TargetInfo {
        self.database.info()
    }

    /// What to log in with.
    pub fn credentials(&self) -> Result<Credentials> {
        self.database.credentials()
    }

    /// Opens one connection to the database's endpoint. There is no way to name another.
    pub fn connect(&self) -> Result<Connection> {
        self.database.connect().map(Connection::new)
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").finish_non_exhaustive()
    }
}
