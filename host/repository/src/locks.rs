//! Lock files as restic writes and reads them.
//!
//! A lock is a small encrypted JSON file in `locks/`. Anybody may hold a shared one beside others; an exclusive one stands alone. The
//! file is written anew every five minutes; one that is older than half an hour, or whose process on this host is gone, is *stale*.
//! As in restic a stale lock still stands in the way until `unlock` removes it: a clock that is wrong must not let two prunes meet.

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Condvar, LazyLock, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use coffer_storage::Storage;
use jiff::Timestamp;
use opendal::ErrorKind;
use serde::{Deserialize, Serialize};

use crate::crypto::{RepositoryKey, sha256};
use crate::error::{RepositoryError, age_in_words};
use crate::store::{Abort, Store};

/// How often a held lock is written anew.
const REFRESH: Duration = Duration::from_mins(5);
/// When a lock that nobody wrote anew counts as stale.
const STALE_AFTER: Duration = Duration::from_mins(30);
/// When a holder that cannot refresh must assume that others see its lock as stale.
const LOST_AFTER: Duration = Duration::from_mins(20);
/// Between writing a lock and looking again who else wrote one, for stores whose listings lag.
const SETTLE: Duration = Duration::from_millis(200);
/// How long the removal of a lock may take before its file is left behind.
const REMOVE_WITHIN: Duration = Duration::from_secs(15);
const FOLDER: &str = "locks/";

/// A lock as found in the repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockInfo {
    /// Name of the lock file.
    pub id: String,
    /// When it was last written.
    pub time: Timestamp,
    /// Whether it excludes every other lock.
    pub exclusive: bool,
    /// The host of the holder.
    pub host: String,
    /// The user of the holder.
    pub owner: String,
    /// The process of the holder.
    pub pid: u32,
    /// Whether its holder is gone, as far as can be told.
    pub stale: bool,
}

impl LockInfo {
    /// How long ago it was last written.
    pub fn age(&self) -> Duration {
        Duration::try_from(Timestamp::now().duration_since(self.time)).unwrap_or_default()
    }
}

impl fmt::Display for LockInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let owner = if self.owner.is_empty() { "unknown" } else { &self.owner };
        write!(
            f,
            "{owner} on host {}, process {}, written {} ago",
            self.host,
            self.pid,
            age_in_words(self.time, Timestamp::now())
        )
    }
}

/// Which locks `unlock` removes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unlock {
    /// Those whose holder is gone.
    Stale,
    /// Every one, whoever works on the repository at this moment.
    All,
}

/// What was unlocked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unlocked {
    /// The removed locks, the oldest first.
    pub locks: Vec<LockInfo>,
    /// Names of the removed lock files that were empty or could not be read.
    pub unreadable: Vec<String>,
}

/// The file's content; the field names are restic's.
#[derive(Debug, Serialize, Deserialize)]
struct LockFile {
    time: Timestamp,
    exclusive: bool,
    #[serde(default)]
    hostname: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    pid: u32,
    #[serde(default)]
    uid: u32,
    #[serde(default)]
    gid: u32,
}

impl LockFile {
    fn ours(exclusive: bool) -> Self {
        let (uid, gid) = std::fs::metadata("/proc/self").map_or((0, 0), |me| (me.uid(), me.gid()));
        let username = ["USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
        Self {
            time: Timestamp::now(),
            exclusive,
            hostname: hostname(),
            username: username.unwrap_or_else(|| "coffer".to_owned()),
            pid: std::process::id(),
            uid,
            gid,
        }
    }

    fn info(self, id: String) -> LockInfo {
        let old = Timestamp::now().duration_since(self.time) > STALE_AFTER.try_into().unwrap_or_default();
        let gone = self.hostname == hostname() && process_is_gone(self.pid);
        LockInfo {
            id,
            time: self.time,
            exclusive: self.exclusive,
            host: self.hostname,
            owner: self.username,
            pid: self.pid,
            stale: old || gone,
        }
    }
}

fn hostname() -> String {
    gethostname::gethostname().to_string_lossy().into_owned()
}

/// Stock restic asks whether the holder of a lock on its own host lives by sending it SIGHUP, which ends a process that does not care for
/// that signal. While this process may hold a lock, it does: the signal is noted and nothing else. Handlers of others are called as before.
fn outlive_restic() {
    static ASKED: LazyLock<Arc<AtomicBool>> = LazyLock::new(|| {
        let asked = Arc::new(AtomicBool::new(false));
        if let Err(error) = signal_hook::flag::register(signal_hook::consts::SIGHUP, Arc::clone(&asked)) {
            tracing::warn!(%error, "a `restic unlock` on this host will end this process");
        }
        asked
    });
    LazyLock::force(&ASKED);
}

/// Only where processes can be looked up; elsewhere only age makes a lock stale.
fn process_is_gone(pid: u32) -> bool {
    Path::new("/proc/self").exists() && !Path::new(&format!("/proc/{pid}")).exists()
}

/// The names of the lock files.
fn names(store: &Store) -> Result<Vec<String>, RepositoryError> {
    let files = store.list(FOLDER, false).map_err(|error| store.error("list locks", &error))?;
    Ok(files.into_iter().map(|(id, _)| id).filter(|id| id.len() == 64 && hex::decode(id).is_ok()).collect())
}

/// The lock in a file. A file that vanishes meanwhile, or is empty (an interrupted write), is none.
fn read(store: &Store, key: &RepositoryKey, id: &str) -> Result<Option<LockInfo>, RepositoryError> {
    let content = match store.read(&format!("{FOLDER}{id}")) {
        Ok(content) if content.is_empty() => return Ok(None),
        Ok(content) => content,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(store.error("read a lock", &error)),
    };
    // A lock that cannot be understood cannot be ignored either.
    let unclear = |why: String| {
        let what = format!("lock {id} cannot be read: {why} (`coffer unlock --remove-all` removes it)");
        RepositoryError::damaged(store.location(), what)
    };
    let json = key.decrypt_file(&content).map_err(|error| unclear(error.to_string()))?;
    let file: LockFile = serde_json::from_slice(&json).map_err(|error| unclear(error.to_string()))?;
    Ok(Some(file.info(id.to_owned())))
}

/// Every lock in the repository, the oldest first.
pub(crate) fn list(store: &Store, key: &RepositoryKey) -> Result<Vec<LockInfo>, RepositoryError> {
    let mut found = Vec::new();
    for id in names(store)? {
        found.extend(read(store, key, &id)?);
    }
    oldest_first(&mut found);
    Ok(found)
}

fn oldest_first(locks: &mut [LockInfo]) {
    locks.sort_by(|a, b| (a.time, &a.id).cmp(&(b.time, &b.id)));
}

/// Removes locks and says which.
pub(crate) fn unlock(store: &Store, key: &RepositoryKey, which: Unlock) -> Result<Unlocked, RepositoryError> {
    let mut removed = Unlocked::default();
    if which == Unlock::Stale {
        removed.locks = list(store, key)?;
        removed.locks.retain(|lock| lock.stale);
        removed.locks.iter().try_for_each(|lock| remove(store, &lock.id))?;
        return Ok(removed);
    }
    // Also those that cannot be read: nothing else would ever remove them.
    for id in names(store)? {
        let lock = read(store, key, &id).unwrap_or_else(|error| {
            tracing::warn!(%error, "this lock is removed like the others");
            None
        });
        remove(store, &id)?;
        match lock {
            Some(lock) => removed.locks.push(lock),
            None => removed.unreadable.push(id),
        }
    }
    oldest_first(&mut removed.locks);
    Ok(removed)
}

/// Writes a lock file and returns its id. One whose write failed may have arrived all the same, and is removed.
fn write(store: &Store, key: &RepositoryKey, exclusive: bool) -> Result<String, RepositoryError> {
    let location = store.location();
    let json = serde_json::to_vec(&LockFile::ours(exclusive))
        .map_err(|error| RepositoryError::damaged(location, format!("a lock cannot be written as JSON: {error}")))?;
    let content = key
        .encrypt(&json)
        .map_err(|error| RepositoryError::damaged(location, format!("a lock cannot be encrypted: {error}")))?;
    let id = hex::encode(sha256(&content));
    store.write(&format!("{FOLDER}{id}"), content.into()).map_err(|error| {
        take_back(store, &id);
        store.error("write a lock", &error)
    })?;
    Ok(id)
}

/// Removes a lock file also when `store` was told to give up, but does not wait for long.
fn take_back(store: &Store, id: &str) {
    let (store, abort) = store.abortable();
    Storage::runtime().spawn(async move {
        tokio::time::sleep(REMOVE_WITHIN).await;
        abort.throw();
    });
    if let Err(error) = remove(&store, id) {
        tracing::warn!(%error, "a lock file stays behind; it is stale in half an hour, and `coffer unlock` removes it then");
    }
}

fn remove(store: &Store, id: &str) -> Result<(), RepositoryError> {
    match store.remove(&format!("{FOLDER}{id}")) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(store.error("remove a lock", &error)),
    }
}

fn refuse_if_locked(
    store: &Store,
    key: &RepositoryKey,
    exclusive: bool,
    own: Option<&str>,
) -> Result<(), RepositoryError> {
    let blocking = list(store, key)?
        .into_iter()
        .filter(|lock| Some(lock.id.as_str()) != own)
        .find(|lock| exclusive || lock.exclusive);
    match blocking {
        None => Ok(()),
        Some(holder) => {
            Err(RepositoryError::Locked { location: store.location().to_owned(), holder: Box::new(holder) })
        }
    }
}

/// Looks, writes, and looks again: of two that come at the same time at most one stays.
fn acquire(store: &Store, key: &RepositoryKey, exclusive: bool) -> Result<String, RepositoryError> {
    refuse_if_locked(store, key, exclusive, None)?;
    let id = write(store, key, exclusive)?;
    let checked = store
        .pause(SETTLE)
        .map_err(|error| store.error("wait for the lock", &error))
        .and_then(|()| refuse_if_locked(store, key, exclusive, Some(&id)));
    checked.inspect_err(|_| take_back(store, &id))?;
    Ok(id)
}

/// A held lock: kept fresh by a thread of its own, removed when dropped.
#[derive(Debug)]
pub struct LockGuard {
    shared: Arc<Held>,
    refresher: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Held {
    store: Store,
    /// Ends a refresh that hangs in the storage when the lock is dropped.
    abort: Abort,
    exclusive: bool,
    state: Mutex<HeldState>,
    wake: Condvar,
}

#[derive(Debug)]
struct HeldState {
    id: String,
    refreshed: Instant,
    problem: Option<String>,
    released: bool,
}

impl LockGuard {
    pub(crate) fn acquire(store: &Store, key: &Arc<RepositoryKey>, exclusive: bool) -> Result<Self, RepositoryError> {
        Self::acquire_refreshing(store, key, exclusive, REFRESH)
    }

    /// With another interval, for tests.
    fn acquire_refreshing(
        store: &Store,
        key: &Arc<RepositoryKey>,
        exclusive: bool,
        every: Duration,
    ) -> Result<Self, RepositoryError> {
        outlive_restic();
        let id = acquire(store, key, exclusive)?;
        let state = HeldState { id, refreshed: Instant::now(), problem: None, released: false };
        let (abortable, abort) = store.abortable();
        let shared =
            Arc::new(Held { store: abortable, abort, exclusive, state: Mutex::new(state), wake: Condvar::new() });
        let (held, key) = (Arc::clone(&shared), Arc::clone(key));
        let refresher = std::thread::Builder::new()
            .name("lock refresh".to_owned())
            .spawn(move || held.keep_fresh(&key, every))
            .map_err(|error| RepositoryError::Engine {
                location: store.location().to_owned(),
                message: format!("no thread for the lock: {error}"),
            });
        // The guard exists before the thread's failure is looked at, so that the lock file goes in that case too.
        let mut guard = Self { shared, refresher: None };
        guard.refresher = Some(refresher?);
        Ok(guard)
    }

    /// Fails when others may have seen the lock as stale, or removed it and worked exclusively meanwhile.
    ///
    /// A lock that was removed, with nobody exclusive there now, is taken again; what happened in between shows when the data is verified.
    pub(crate) fn ensure(&self, key: &RepositoryKey) -> Result<(), RepositoryError> {
        let held = &self.shared;
        let mut state = held.state();
        let lost = |reason: String| RepositoryError::LockLost { location: held.store.location().to_owned(), reason };
        if state.refreshed.elapsed() > LOST_AFTER {
            let why = state.problem.clone().unwrap_or_else(|| "this process was stopped for too long".to_owned());
            return Err(lost(format!("it could not be refreshed in time: {why}")));
        }
        let path = format!("{FOLDER}{}", state.id);
        let there = held.store.size(&path).map_err(|error| held.store.error("look at the lock", &error))?.is_some();
        if !there {
            tracing::warn!(location = held.store.location(), "the lock was removed by somebody else; taking it again");
            state.id = acquire(&held.store, key, held.exclusive)
                .map_err(|error| lost(format!("somebody removed it, and it cannot be taken again: {error}")))?;
            state.refreshed = Instant::now();
        }
        Ok(())
    }
}

impl Held {
    fn state(&self) -> std::sync::MutexGuard<'_, HeldState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep_fresh(&self, key: &RepositoryKey, every: Duration) {
        let mut state = self.state();
        while !state.released {
            let (now, timeout) = self.wake.wait_timeout(state, every).unwrap_or_else(PoisonError::into_inner);
            state = now;
            if state.released || !timeout.timed_out() {
                continue;
            }
            // The new file is there before the old one goes, so that there is no moment without a lock.
            match write(&self.store, key, self.exclusive) {
                Ok(id) => {
                    let old = std::mem::replace(&mut state.id, id);
                    // One that others may have seen as stale stays lost, however fresh its file is: they may have worked alone meanwhile.
                    if state.refreshed.elapsed() <= LOST_AFTER + REFRESH {
                        state.refreshed = Instant::now();
                        state.problem = None;
                    }
                    if let Err(error) = remove(&self.store, &old) {
                        tracing::warn!(%error, "an old lock file stays behind; `coffer unlock` removes it later");
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "the lock could not be refreshed");
                    state.problem = Some(error.to_string());
                }
            }
        }
    }
}

impl Drop for LockGuard {
    fn drop(&mut self) {
        self.shared.abort.throw();
        self.shared.state().released = true;
        self.shared.wake.notify_all();
        if let Some(refresher) = self.refresher.take()
            && refresher.join().is_err()
        {
            tracing::warn!("the thread that refreshes the lock panicked");
        }
        let id = self.shared.state().id.clone();
        take_back(&self.shared.store, &id);
    }
}

#[cfg(test)]
mod tests {
    use rustic_core::repofile::MasterKey;

    use super::*;

    fn place() -> (Store, Arc<RepositoryKey>) {
        (Store::new(&Storage::memory()), Arc::new(RepositoryKey::from_master(&MasterKey::new()).unwrap()))
    }

    /// A lock somebody else wrote, `age` ago.
    fn foreign(store: &Store, key: &RepositoryKey, exclusive: bool, host: &str, pid: u32, age: Duration) -> String {
        let file = LockFile {
            time: Timestamp::now() - age,
            hostname: host.to_owned(),
            username: "alice".to_owned(),
            pid,
            ..LockFile::ours(exclusive)
        };
        let content = key.encrypt(&serde_json::to_vec(&file).unwrap()).unwrap();
        let id = hex::encode(sha256(&content));
        store.write(&format!("{FOLDER}{id}"), content.into()).unwrap();
        id
    }

    #[test]
    fn shared_locks_stand_side_by_side_and_go_when_dropped() {
        let (store, key) = place();
        let one = LockGuard::acquire(&store, &key, false).unwrap();
        let two = LockGuard::acquire(&store, &key, false).unwrap();
        assert_eq!(list(&store, &key).unwrap().len(), 2);
        let refused = LockGuard::acquire(&store, &key, true).unwrap_err();
        assert!(
            matches!(&refused, RepositoryError::Locked { holder, .. } if holder.pid == std::process::id()),
            "{refused}"
        );
        drop((one, two));
        assert_eq!(list(&store, &key).unwrap(), []);
        let alone = LockGuard::acquire(&store, &key, true).unwrap();
        assert!(LockGuard::acquire(&store, &key, false).is_err());
        drop(alone);
        assert_eq!(list(&store, &key).unwrap(), []);
    }

    #[test]
    fn the_error_names_the_holder() {
        let (store, key) = place();
        foreign(&store, &key, true, "elsewhere", 4711, Duration::from_mins(3));
        let message = LockGuard::acquire(&store, &key, false).unwrap_err().to_string();
        for part in ["alice", "elsewhere", "4711", "3 min", "coffer unlock"] {
            assert!(message.contains(part), "{part} is missing in: {message}");
        }
    }

    #[test]
    fn old_locks_and_those_of_dead_processes_here_are_stale() {
        let (store, key) = place();
        let old = foreign(&store, &key, true, "elsewhere", 1, Duration::from_mins(31));
        let dead = foreign(&store, &key, false, &hostname(), u32::MAX - 1, Duration::ZERO);
        let alive_here = foreign(&store, &key, false, &hostname(), std::process::id(), Duration::ZERO);
        let alive_elsewhere = foreign(&store, &key, false, "elsewhere", u32::MAX - 1, Duration::from_mins(1));
        let stale: Vec<_> =
            list(&store, &key).unwrap().into_iter().filter(|lock| lock.stale).map(|lock| lock.id).collect();
        assert_eq!(stale, [old, dead]);
        let refused = LockGuard::acquire(&store, &key, false).unwrap_err().to_string();
        assert!(refused.contains("stale") && refused.contains("coffer unlock"), "{refused}");

        assert_eq!(unlock(&store, &key, Unlock::Stale).unwrap().locks.len(), 2);
        let mut left: Vec<_> = list(&store, &key).unwrap().into_iter().map(|lock| lock.id).collect();
        left.sort();
        let mut expected = vec![alive_here, alive_elsewhere];
        expected.sort();
        assert_eq!(left, expected);
        drop(LockGuard::acquire(&store, &key, false).unwrap());
        unlock(&store, &key, Unlock::All).unwrap();
        assert_eq!(list(&store, &key).unwrap(), []);
    }

    #[test]
    fn empty_files_and_strangers_are_no_locks_but_garbage_is_not_ignored() {
        let (store, key) = place();
        store.write(&format!("{FOLDER}{}", "0".repeat(64)), opendal::Buffer::new()).unwrap();
        store.write(&format!("{FOLDER}README"), b"hello".to_vec().into()).unwrap();
        assert_eq!(list(&store, &key).unwrap(), []);
        store.write(&format!("{FOLDER}{}", "1".repeat(64)), b"hello".to_vec().into()).unwrap();
        let refused = LockGuard::acquire(&store, &key, false).unwrap_err();
        assert!(matches!(refused, RepositoryError::Damaged { .. }), "{refused}");
        assert!(refused.to_string().contains("coffer unlock --remove-all"), "{refused}");
        let readable = foreign(&store, &key, false, "elsewhere", 1, Duration::ZERO);
        assert!(unlock(&store, &key, Unlock::Stale).is_err());
        let mut removed = unlock(&store, &key, Unlock::All).unwrap();
        removed.unreadable.sort();
        assert_eq!(removed.locks.into_iter().map(|lock| lock.id).collect::<Vec<_>>(), [readable]);
        assert_eq!(removed.unreadable, ["0".repeat(64), "1".repeat(64)]);
        assert_eq!(unlock(&store, &key, Unlock::All).unwrap(), Unlocked::default());
        drop(LockGuard::acquire(&store, &key, false).unwrap());
    }

    #[test]
    fn a_held_lock_is_written_anew() {
        let (store, key) = place();
        let guard = LockGuard::acquire_refreshing(&store, &key, false, Duration::from_millis(5)).unwrap();
        let first = guard.shared.state().id.clone();
        let changed = (0..1000).any(|_| {
            std::thread::yield_now();
            store.pause(Duration::from_millis(2)).unwrap();
            guard.shared.state().id != first
        });
        assert!(changed, "the lock was never refreshed");
        drop(guard);
        assert_eq!(list(&store, &key).unwrap(), []);
    }

    #[test]
    fn a_lock_that_others_may_have_seen_as_stale_stays_lost() {
        let (store, key) = place();
        let guard = LockGuard::acquire_refreshing(&store, &key, false, Duration::from_millis(5)).unwrap();
        // A machine that has just started has no such moment.
        let Some(long_ago) = Instant::now().checked_sub(STALE_AFTER) else { return };
        guard.shared.state().refreshed = long_ago;
        let first = guard.shared.state().id.clone();
        let changed = (0..1000).any(|_| {
            store.pause(Duration::from_millis(2)).unwrap();
            guard.shared.state().id != first
        });
        assert!(changed, "the lock was never refreshed");
        assert!(matches!(guard.ensure(&key), Err(RepositoryError::LockLost { .. })));
    }

    #[test]
    fn a_lock_removed_by_others_is_taken_again_unless_they_work_exclusively() {
        let (store, key) = place();
        let guard = LockGuard::acquire(&store, &key, false).unwrap();
        unlock(&store, &key, Unlock::All).unwrap();
        guard.ensure(&key).unwrap();
        assert_eq!(list(&store, &key).unwrap().len(), 1);

        unlock(&store, &key, Unlock::All).unwrap();
        foreign(&store, &key, true, "elsewhere", 1, Duration::ZERO);
        assert!(matches!(guard.ensure(&key), Err(RepositoryError::LockLost { .. })));
    }

    #[test]
    fn of_two_exclusive_ones_at_the_same_time_at_most_one_stays() {
        for _ in 0..5 {
            let (store, key) = place();
            let barrier = std::sync::Barrier::new(2);
            let held: Vec<_> = std::thread::scope(|scope| {
                let start = || {
                    barrier.wait();
                    LockGuard::acquire(&store, &key, true)
                };
                let threads = [scope.spawn(start), scope.spawn(start)];
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            assert!(held.iter().filter(|lock| lock.is_ok()).count() <= 1);
        }
    }
}
