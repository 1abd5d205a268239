//! Opening and creating repositories.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use coffer_api::cancel::Cancel;
use coffer_storage::{Storage, StorageErrorKind};
use opendal::ErrorKind;
use rustic_core::repofile::KeyFile;
use rustic_core::{
    ConfigOptions, Credentials, FileType, Id, IndexedFullStatus, KeyOptions, OpenStatus, Progress, ProgressBars,
    ProgressType, RepositoryOptions,
};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use crate::archiver::{Form, PackSize};
use crate::backend::{Backend, Gate, path};
use crate::chunker::Rabin;
use crate::crypto::RepositoryKey;
use crate::error::RepositoryError;
use crate::locks::{self, LockGuard, LockInfo, Unlock, Unlocked};
use crate::store::{Store, unless};

/// zstd level of new repositories: a quarter less processor time than restic's default for 3 % more bytes.
const COMPRESSION: i32 = 1;
/// Size of new data packs before growth, which is restic's; several may wait for their upload in memory.
const PACK_SIZE: &str = "16MiB";
/// Size that the packs of large repositories grow to.
const PACK_SIZE_LIMIT: &str = "64MiB";
/// What the engine takes where a configuration says nothing of the size of data packs. A prune compares with the same sizes.
const ENGINE_PACK_SIZE: u64 = 32 << 20;
const ENGINE_GROWTH: u64 = 32;

/// The engine, opened.
pub(crate) type Engine = rustic_core::Repository<OpenStatus>;
/// The engine with its whole index in memory.
pub(crate) type Indexed = rustic_core::Repository<IndexedFullStatus>;

/// Largest key file that is read; they have some 500 bytes.
const KEY_FILE_LIMIT: u64 = 1 << 20;
/// Most memory that the derivation of a key may ask for. restic never asks for more than 128 MiB.
const DERIVING_LIMIT: u64 = 1 << 30;
/// Most rounds that it may ask for; restic asks for few.
const DERIVING_ROUNDS: u32 = 1 << 10;

/// One key derivation at a time: each takes 128 MiB for a moment.
static DERIVING: Mutex<()> = Mutex::new(());

/// Held while a key is derived from a password.
pub(crate) fn deriving() -> MutexGuard<'static, ()> {
    guard(&DERIVING)
}

/// How a new repository is made.
#[derive(Debug, Clone, Default)]
pub struct InitOptions {
    /// Host recorded with the first key.
    pub host: Option<String>,
    /// User recorded with the first key.
    pub user: Option<String>,
}

/// One opened restic repository.
///
/// The master key is kept in memory, so the password's costly derivation happens once. All methods block; they may be called from
/// any thread. Dropping it ends nothing that runs.
pub struct Repository {
    store: Store,
    key: Arc<RepositoryKey>,
    pub(crate) key_id: Mutex<String>,
    config: Config,
    indexed: Mutex<Option<Arc<Indexed>>>,
    shared_lock: Mutex<Weak<LockGuard>>,
}

/// What matters here of a repository's configuration; restic writes the first three.
#[derive(Deserialize)]
struct Config {
    version: u32,
    id: String,
    chunker_polynomial: String,
    compression: Option<i32>,
    datapack_size: Option<u64>,
    datapack_growfactor: Option<u64>,
    datapack_size_limit: Option<u64>,
}

impl Config {
    /// zstd's level; `None` for no compression.
    fn level(&self) -> Option<i32> {
        match (self.version, self.compression) {
            (..=1, _) | (_, Some(0)) => None,
            // zstd's own default, as restic has it.
            (_, level) => Some(level.unwrap_or(0)),
        }
    }

    fn pack_size(&self) -> PackSize {
        PackSize {
            base: self.datapack_size.unwrap_or(ENGINE_PACK_SIZE),
            growth: self.datapack_growfactor.unwrap_or(ENGINE_GROWTH),
            limit: self.datapack_size_limit.unwrap_or(u64::MAX),
        }
    }
}

/// The engine's progress bars: none, ours are typed events of the executor.
#[derive(Debug)]
struct Quiet;

impl ProgressBars for Quiet {
    fn progress(&self, _kind: ProgressType, _prefix: &str) -> Progress {
        Progress::hidden()
    }
}

impl Repository {
    /// Whether there is a repository.
    pub fn exists(storage: &Storage) -> Result<bool, RepositoryError> {
        let store = Store::new(storage);
        Ok(store.size("config").map_err(|error| store.error("look for a repository", &error))?.is_some())
    }

    /// Creates a repository and opens it. Refused where one exists, also when two do it at the same time.
    ///
    /// The two can be told apart for certain where the storage can write a file only if it does not exist. Elsewhere the loser is found out by
    /// reading back, which leaves a gap of about one request.
    pub fn init(storage: &Storage, password: &SecretString, options: &InitOptions) -> Result<Self, RepositoryError> {
        if Self::exists(storage)? {
            return Err(RepositoryError::AlreadyExists { location: storage.location().to_owned() });
        }
        let store = Store::new(storage);
        let backend = Backend::new(store.clone(), Gate::Shut);
        let created = create(&backend, password, options).and_then(|key| {
            // The configuration is whose? Another one's is not readable with our key.
            let config = read_config(&store, &key)?;
            Ok((key, config))
        });
        match created {
            Ok((key, Some(config))) => {
                let key_id =
                    backend.keys_written().first().map(|id| id.to_hex().as_str().to_owned()).unwrap_or_default();
                Ok(Self::assemble(store, key, key_id, config))
            }
            Ok((_, None)) => {
                take_back_keys(&backend);
                Err(RepositoryError::AlreadyExists { location: store.location().to_owned() })
            }
            Err(error) => {
                // What is said to have failed may have been done: a request whose answer was lost is sent again, and meets its own file.
                if let Ok((key, key_id, config)) = find_key(&store, password)
                    && backend.keys_written().iter().any(|id| id.to_hex().as_str() == key_id)
                {
                    return Ok(Self::assemble(store, key, key_id, config));
                }
                take_back_keys(&backend);
                // The engine looks too, and then somebody else was faster.
                let is_there =
                    matches!(error, RepositoryError::Engine { .. }) && Self::exists(storage).unwrap_or(false);
                Err(if is_there {
                    RepositoryError::AlreadyExists { location: store.location().to_owned() }
                } else {
                    error
                })
            }
        }
    }

    /// Opens a repository.
    pub fn open(storage: &Storage, password: &SecretString) -> Result<Self, RepositoryError> {
        Self::open_in(&Store::new(storage), password)?
            .ok_or_else(|| RepositoryError::NotFound { location: storage.location().to_owned() })
    }

    /// Opens a repository, if there is one. Gives up as soon as `cancel` is given, also while the storage does not answer; what is done with
    /// the repository later is not touched by that.
    pub fn find(storage: &Storage, password: &SecretString, cancel: &Cancel) -> Result<Option<Self>, RepositoryError> {
        if let Some(reason) = cancel.reason() {
            return Err(RepositoryError::Cancelled(reason));
        }
        let (store, abort) = Store::new(storage).abortable();
        let found = unless(cancel, &[abort], || Self::open_in(&store, password));
        found.map_err(|error| cancel.reason().map_or(error, RepositoryError::Cancelled))
    }

    fn open_in(store: &Store, password: &SecretString) -> Result<Option<Self>, RepositoryError> {
        if store.size("config").map_err(|error| store.error("look for a repository", &error))?.is_none() {
            return Ok(None);
        }
        let (key, key_id, config) = find_key(store, password)?;
        // Whatever ended the opening early does not end what comes later.
        let (store, _) = store.abortable();
        Ok(Some(Self::assemble(store, key, key_id, config)))
    }

    /// Opens a repository, or creates it where none is.
    pub fn open_or_init(
        storage: &Storage,
        password: &SecretString,
        options: &InitOptions,
    ) -> Result<Self, RepositoryError> {
        if Self::exists(storage)? {
            return Self::open(storage, password);
        }
        match Self::init(storage, password, options) {
            // Somebody else was faster: that one is as good.
            Err(RepositoryError::AlreadyExists { .. }) => Self::open(storage, password),
            other => other,
        }
    }

    fn assemble(store: Store, key: RepositoryKey, key_id: String, config: Config) -> Self {
        Self {
            store,
            key: Arc::new(key),
            key_id: Mutex::new(key_id),
            config,
            indexed: Mutex::default(),
            shared_lock: Mutex::default(),
        }
    }

    /// The id from the repository's configuration.
    pub fn id(&self) -> &str {
        &self.config.id
    }

    /// Where it is, for messages; holds no secret.
    pub fn location(&self) -> &str {
        self.store.location()
    }

    /// The locks in the repository.
    pub fn locks(&self) -> Result<Vec<LockInfo>, RepositoryError> {
        locks::list(&self.store, &self.key)
    }

    /// Removes locks and returns those removed.
    pub fn unlock(&self, which: Unlock) -> Result<Unlocked, RepositoryError> {
        locks::unlock(&self.store, &self.key, which)
    }

    /// A lock that lets others read and back up, but nobody remove anything, while it is held. Readers share one.
    ///
    /// [`Repository::entries`] and [`Repository::read`] take it by themselves; hold it around several of them to take it, and to read the
    /// index, only once.
    pub fn share(&self) -> Result<Arc<LockGuard>, RepositoryError> {
        let mut shared = guard(&self.shared_lock);
        if let Some(held) = shared.upgrade() {
            return Ok(held);
        }
        let held = Arc::new(LockGuard::acquire(&self.store, &self.key, false)?);
        *shared = Arc::downgrade(&held);
        // Without a lock others may have moved data to other packs.
        self.forget_index();
        Ok(held)
    }

    /// Like [`Repository::share`], but none where the storage may only be read: restoring from it must work all the same.
    pub(crate) fn share_to_read(&self) -> Result<Option<Arc<LockGuard>>, RepositoryError> {
        match self.share() {
            Ok(lock) => Ok(Some(lock)),
            Err(RepositoryError::Storage(error)) if error.kind() == StorageErrorKind::Denied => {
                tracing::warn!(location = self.location(), "reading without a lock: the storage may not be written");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    pub(crate) fn lock(&self, exclusive: bool) -> Result<LockGuard, RepositoryError> {
        LockGuard::acquire(&self.store, &self.key, exclusive)
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    pub(crate) fn key(&self) -> &Arc<RepositoryKey> {
        &self.key
    }

    pub(crate) fn version(&self) -> u32 {
        self.config.version
    }

    /// How new data is to be stored.
    pub(crate) fn form(&self) -> Result<Form, RepositoryError> {
        let Config { version, chunker_polynomial, .. } = &self.config;
        let rabin = u64::from_str_radix(chunker_polynomial, 16).ok().and_then(Rabin::new).ok_or_else(|| {
            let what = format!("its configuration has a chunker polynomial that is none: {chunker_polynomial:?}");
            RepositoryError::damaged(self.location(), what)
        })?;
        Ok(Form { rabin, level: self.config.level(), version: *version, packs: self.config.pack_size() })
    }

    /// A backend for an operation that publishes no snapshot.
    pub(crate) fn backend(&self) -> Arc<Backend> {
        Backend::new(self.store.clone(), Gate::Shut)
    }

    /// The engine over a backend; costs one small request.
    pub(crate) fn engine(&self, backend: &Arc<Backend>) -> Result<Engine, RepositoryError> {
        engine_on(backend)?.open(&Credentials::Masterkey(self.key.to_master())).map_err(|error| backend.explain(error))
    }

    /// The engine with its index, from memory if it was read before.
    pub(crate) fn indexed(&self) -> Result<Arc<Indexed>, RepositoryError> {
        if let Some(indexed) = guard(&self.indexed).clone() {
            return Ok(indexed);
        }
        self.indexed_anew()
    }

    /// The engine with its index as it is in the storage now.
    pub(crate) fn indexed_anew(&self) -> Result<Arc<Indexed>, RepositoryError> {
        let backend = self.backend();
        let indexed = self.engine(&backend)?.to_indexed().map_err(|error| backend.explain(error))?;
        let indexed = Arc::new(indexed);
        *guard(&self.indexed) = Some(Arc::clone(&indexed));
        Ok(indexed)
    }

    /// The index in memory is out of date.
    pub(crate) fn forget_index(&self) {
        *guard(&self.indexed) = None;
    }
}

impl fmt::Debug for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Repository")
            .field("location", &self.store.location())
            .field("id", &self.config.id)
            .finish_non_exhaustive()
    }
}

fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn engine_on(backend: &Arc<Backend>) -> Result<rustic_core::Repository<()>, RepositoryError> {
    let options = RepositoryOptions::default().no_cache(true);
    rustic_core::Repository::new_with_progress(&options, &backend.for_engine(), Quiet)
        .map_err(|error| backend.explain(error))
}

fn create(
    backend: &Arc<Backend>,
    password: &SecretString,
    options: &InitOptions,
) -> Result<RepositoryKey, RepositoryError> {
    let engine_failed =
        |message: String| RepositoryError::Engine { location: backend.store().location().to_owned(), message };
    let mut config = ConfigOptions::default();
    config.set_version = Some(2);
    config.set_compression = Some(COMPRESSION);
    config.set_extra_verify = Some(true);
    config.set_datapack_size = Some(PACK_SIZE.parse().map_err(engine_failed)?);
    config.set_datapack_size_limit = Some(PACK_SIZE_LIMIT.parse().map_err(engine_failed)?);
    let mut key = KeyOptions::default();
    key.hostname.clone_from(&options.host);
    key.username.clone_from(&options.user);
    key.with_created = true;
    let engine = {
        let _one = deriving();
        engine_on(backend)?
            .init(&Credentials::password(password.expose_secret()), &key, &config)
            .map_err(|error| backend.explain(error))?
    };
    RepositoryKey::from_master(&engine.key())
        .ok_or_else(|| RepositoryError::damaged(backend.store().location(), "the new key has a wrong length"))
}

fn take_back_keys(backend: &Backend) {
    for id in backend.keys_written() {
        if let Err(error) = backend.store().remove(&path(FileType::Key, &id)) {
            tracing::warn!(%error, key = %id, "the key of a repository that could not be created stays behind");
        }
    }
}

/// The configuration, or `None` if it is another key's.
fn read_config(store: &Store, key: &RepositoryKey) -> Result<Option<Config>, RepositoryError> {
    let content = store.read("config").map_err(|error| match error.kind() {
        ErrorKind::NotFound => RepositoryError::NotFound { location: store.location().to_owned() },
        _ => store.error("read the repository's configuration", &error),
    })?;
    let Ok(json) = key.decrypt_file(&content) else { return Ok(None) };
    let config: Config = serde_json::from_slice(&json).map_err(|error| {
        RepositoryError::damaged(store.location(), format!("its configuration is not understood: {error}"))
    })?;
    Ok(Some(config))
}

/// Tries the password on every key.
///
/// A key that opens but does not fit the configuration was left behind by somebody who lost a race to create the repository; it is passed over.
fn find_key(store: &Store, password: &SecretString) -> Result<(RepositoryKey, String, Config), RepositoryError> {
    let keys = key_files(store)?;
    for (id, file) in &keys {
        let Some(key) = open_key(store, file, password)? else { continue };
        if let Some(config) = read_config(store, &key)? {
            return Ok((key, id.clone(), config));
        }
    }
    Err(RepositoryError::WrongPassword { location: store.location().to_owned(), keys: keys.len() })
}

/// The key inside a key file, or `None` if the password is another one's.
pub(crate) fn open_key(
    store: &Store,
    file: &KeyFile,
    password: &SecretString,
) -> Result<Option<RepositoryKey>, RepositoryError> {
    let derived = {
        let _one = deriving();
        file.key_from_password(&password.expose_secret())
    };
    match derived {
        Ok(key) => {
            let (encrypt, k, r) = key.to_keys();
            RepositoryKey::from_parts(&encrypt, &k, &r)
                .map(Some)
                .ok_or_else(|| RepositoryError::damaged(store.location(), "a key has a wrong length"))
        }
        // The engine's code for "not authentic".
        Err(error) if error.is_code("C001") => Ok(None),
        Err(error) => Err(RepositoryError::engine(store.location(), &error)),
    }
}

/// All key files, in order of their ids.
pub(crate) fn key_files(store: &Store) -> Result<Vec<(String, KeyFile)>, RepositoryError> {
    let mut names = store.list("keys/", false).map_err(|error| store.error("list the keys", &error))?;
    names.sort();
    let mut keys = Vec::new();
    for (name, size) in names {
        if name.parse::<Id>().is_err() {
            continue;
        }
        if size > KEY_FILE_LIMIT {
            return Err(RepositoryError::damaged(
                store.location(),
                format!("key {name} has {size} bytes, which is no key"),
            ));
        }
        let content = match store.read(&format!("keys/{name}")) {
            Ok(content) => content,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(store.error(&format!("read key {name}"), &error)),
        };
        let file = serde_json::from_slice::<KeyFile>(&content).map_err(|error| {
            RepositoryError::damaged(store.location(), format!("key {name} is not understood: {error}"))
        })?;
        // The engine asserts or tries this instead of reporting it; and anybody who may write to the storage may write a key file.
        let memory = u64::from(file.n).saturating_mul(file.r.into()).saturating_mul(128);
        if file.n == 0 || memory > DERIVING_LIMIT || file.p > DERIVING_ROUNDS {
            return Err(RepositoryError::damaged(store.location(), format!("key {name} has impossible parameters")));
        }
        keys.push((name, file));
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configurations_say_how_data_is_stored() {
        let config = |json: &str| serde_json::from_str::<Config>(json).unwrap();
        let restic = config(r#"{"version":2,"id":"a","chunker_polynomial":"3da3358b4dc173"}"#);
        assert_eq!(restic.level(), Some(0));
        assert_eq!(restic.pack_size(), PackSize { base: 32 << 20, growth: 32, limit: u64::MAX });
        let old = config(r#"{"version":1,"id":"a","chunker_polynomial":"3da3358b4dc173","compression":3}"#);
        assert_eq!(old.level(), None);
        let ours = config(
            r#"{"version":2,"id":"a","chunker_polynomial":"3da3358b4dc173","compression":1,"datapack_size":16777216,"datapack_size_limit":67108864,"extra_verify":true}"#,
        );
        assert_eq!(ours.level(), Some(1));
        assert_eq!(ours.pack_size(), PackSize { base: 16 << 20, growth: 32, limit: 64 << 20 });
        assert_eq!(config(r#"{"version":2,"id":"a","chunker_polynomial":"","compression":0}"#).level(), None);
    }

    /// A key file is not authenticated before its key is derived: its parameters must not take the machine down.
    #[test]
    fn a_key_file_cannot_ask_for_everything() {
        let store = Store::new(&Storage::memory());
        let key = |n: u32, r: u32, p: u32| {
            let json = serde_json::json!({ "kdf": "scrypt", "N": n, "r": r, "p": p, "data": "AAAA", "salt": "AAAA" });
            store.write(&format!("keys/{}", "a".repeat(64)), json.to_string().into_bytes().into()).unwrap();
            key_files(&store)
        };
        assert_eq!(key(1 << 15, 8, 5).unwrap().len(), 1);
        for (n, r, p) in [(0, 8, 1), (1 << 30, 8, 1), (1 << 15, u32::MAX, 1), (1 << 15, 8, u32::MAX)] {
            let error = key(n, r, p).unwrap_err().to_string();
            assert!(error.contains("impossible parameters"), "{error}");
        }
        store.write(&format!("keys/{}", "a".repeat(64)), vec![b' '; 2 << 20].into()).unwrap();
        assert!(key_files(&store).unwrap_err().to_string().contains("no key"));
    }
}
