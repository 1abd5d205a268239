//! Passwords of a repository: each key file opens the same master key with a password of its own.

use std::sync::PoisonError;

use jiff::Timestamp;
use opendal::ErrorKind;
use rustic_core::KeyOptions;
use secrecy::{ExposeSecret, SecretString};

use crate::error::RepositoryError;
use crate::repository::{Repository, deriving, key_files, open_key};

/// A key of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyInfo {
    /// Name of the key file.
    pub id: String,
    /// The host it was made on.
    pub host: Option<String>,
    /// Who made it.
    pub user: Option<String>,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// Whether the repository was opened with it.
    pub current: bool,
}

impl Repository {
    /// All keys, in order of their ids.
    pub fn keys(&self) -> Result<Vec<KeyInfo>, RepositoryError> {
        let current = self.current_key();
        let info = |(id, file): (String, rustic_core::repofile::KeyFile)| KeyInfo {
            current: id == current,
            id,
            host: file.hostname,
            user: file.username,
            created: file.created.map(|created| created.timestamp()),
        };
        Ok(key_files(self.store())?.into_iter().map(info).collect())
    }

    /// Adds a password and returns the id of its key. The new key is opened once before it counts.
    pub fn add_key(
        &self,
        password: &SecretString,
        host: Option<String>,
        user: Option<String>,
    ) -> Result<String, RepositoryError> {
        let _lock = self.lock(false)?;
        self.add_key_locked(password, host, user)
    }

    /// Removes the key whose id begins with `prefix`. The one in use and the last one stay.
    pub fn remove_key(&self, prefix: &str) -> Result<String, RepositoryError> {
        let _lock = self.lock(true)?;
        let keys = self.keys()?;
        let mut matching = keys.iter().filter(|key| !prefix.is_empty() && key.id.starts_with(prefix));
        let Some(key) = matching.next() else {
            return Err(RepositoryError::Key(format!("no key begins with {prefix:?}: `coffer key list` shows them")));
        };
        if matching.next().is_some() {
            return Err(RepositoryError::Ambiguous { location: self.location().to_owned(), prefix: prefix.to_owned() });
        }
        if key.current {
            return Err(RepositoryError::Key(format!(
                "key {} is the one this repository was opened with: open it with another password to remove it",
                key.id
            )));
        }
        if keys.len() == 1 {
            return Err(RepositoryError::Key(format!(
                "key {} is the last one: without it nobody could read the data",
                key.id
            )));
        }
        self.delete_key(&key.id)?;
        Ok(key.id.clone())
    }

    /// Replaces the password the repository was opened with, and returns the id of the new key.
    pub fn change_password(&self, password: &SecretString) -> Result<String, RepositoryError> {
        let _lock = self.lock(true)?;
        let old = self.current_key();
        let info = self.keys()?.into_iter().find(|key| key.id == old);
        let (host, user) = info.map(|key| (key.host, key.user)).unwrap_or_default();
        let new = self.add_key_locked(password, host, user)?;
        // From here on both passwords open it; only then the old one goes.
        new.clone_into(&mut self.key_id.lock().unwrap_or_else(PoisonError::into_inner));
        self.delete_key(&old)?;
        Ok(new)
    }

    fn current_key(&self) -> String {
        self.key_id.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn add_key_locked(
        &self,
        password: &SecretString,
        host: Option<String>,
        user: Option<String>,
    ) -> Result<String, RepositoryError> {
        let backend = self.backend();
        let mut options = KeyOptions::default();
        options.hostname = host;
        options.username = user;
        options.with_created = true;
        let engine = self.engine(&backend)?;
        let added = {
            let _one = deriving();
            engine.add_key(password.expose_secret(), &options)
        };
        let id = added.map_err(|error| backend.explain(error))?.to_hex().as_str().to_owned();
        let stored = key_files(self.store())?.into_iter().find(|(name, _)| *name == id);
        let opens = match &stored {
            None => false,
            Some((_, file)) => open_key(self.store(), file, password)?.is_some(),
        };
        if !opens {
            return Err(RepositoryError::damaged(self.location(), format!("the new key {id} cannot be read back")));
        }
        Ok(id)
    }

    fn delete_key(&self, id: &str) -> Result<(), RepositoryError> {
        match self.store().remove(&format!("keys/{id}")) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(self.store().error(&format!("remove key {id}"), &error)),
        }
    }
}
