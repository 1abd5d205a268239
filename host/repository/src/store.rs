//! Blocking calls into the asynchronous storage operator.

use std::future::Future;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use bytes::Bytes;
use coffer_api::cancel::Cancel;
use coffer_storage::Storage;
use opendal::{Buffer, ErrorKind, Operator};
use tokio::sync::watch;

use crate::error::RepositoryError;

/// A switch, thrown once, that ends every storage call that listens to it.
#[derive(Debug, Clone)]
pub(crate) struct Abort(Arc<watch::Sender<bool>>);

impl Abort {
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }

    pub(crate) fn throw(&self) {
        self.0.send_replace(true);
    }

    /// Ends when the switch is thrown.
    pub(crate) async fn thrown(&self) {
        // The sender lives as long as `self`, so this cannot end for another reason.
        let _ = self.0.subscribe().wait_for(|thrown| *thrown).await;
    }
}

/// Works, and throws the switches when `cancel` is given meanwhile.
pub(crate) fn unless<T>(cancel: &Cancel, switches: &[Abort], work: impl FnOnce() -> T) -> T {
    /// Ends the watch however the work ends.
    struct Over<'a>(&'a Cancel);
    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.cancel("the work is over");
        }
    }
    let watch = cancel.child();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            watch.wait(Duration::MAX);
            if cancel.is_cancelled() {
                switches.iter().for_each(Abort::throw);
            }
        });
        let _over = Over(&watch);
        work()
    })
}

/// One repository's place in the storage, for blocking callers.
///
/// Every call runs as a task of the storage's own runtime while the caller waits on a channel. So it may be used from any
/// thread, a worker of another tokio runtime included (it blocks that worker, but does not panic).
#[derive(Debug, Clone)]
pub(crate) struct Store {
    storage: Storage,
    abort: Abort,
}

impl Store {
    pub(crate) fn new(storage: &Storage) -> Self {
        Self { storage: storage.clone(), abort: Abort::new() }
    }

    /// The same place, with a switch of its own that makes every running and later call fail at once.
    pub(crate) fn abortable(&self) -> (Self, Abort) {
        let abort = Abort::new();
        (Self { abort: abort.clone(), ..self.clone() }, abort)
    }

    pub(crate) fn location(&self) -> &str {
        self.storage.location()
    }

    pub(crate) fn connections(&self) -> usize {
        self.storage.connections().max(1)
    }

    pub(crate) fn operator(&self) -> &Operator {
        self.storage.operator()
    }

    pub(crate) fn abort_token(&self) -> &Abort {
        &self.abort
    }

    /// Runs one storage operation to its end, or until the switch is thrown.
    pub(crate) fn run<T, F>(&self, future: F) -> opendal::Result<T>
    where
        T: Send + 'static,
        F: Future<Output = opendal::Result<T>> + Send + 'static,
    {
        let (sender, receiver) = mpsc::sync_channel(1);
        let abort = self.abort.clone();
        Storage::runtime().spawn(async move {
            let result = tokio::select! {
                biased;
                () = abort.thrown() => Err(aborted()),
                result = future => result,
            };
            // The caller is gone only when its thread is.
            let _ = sender.send(result);
        });
        receiver
            .recv()
            .unwrap_or_else(|_| Err(opendal::Error::new(ErrorKind::Unexpected, "the storage runtime is gone")))
    }

    pub(crate) fn read(&self, path: &str) -> opendal::Result<Bytes> {
        let (operator, path) = (self.operator().clone(), path.to_owned());
        Ok(self.run(async move { operator.read(&path).await })?.to_bytes())
    }

    pub(crate) fn read_range(&self, path: &str, offset: u64, length: u64) -> opendal::Result<Bytes> {
        let (operator, path) = (self.operator().clone(), path.to_owned());
        Ok(self.run(async move { operator.read_with(&path).range(offset..offset + length).await })?.to_bytes())
    }

    pub(crate) fn write(&self, path: &str, content: Buffer) -> opendal::Result<()> {
        let (operator, path) = (self.operator().clone(), path.to_owned());
        self.run(async move { operator.write(&path, content).await.map(drop) })
    }

    /// Writes a file that must not exist yet. Where the storage cannot promise that, it is looked for first.
    pub(crate) fn write_new(&self, path: &str, content: Buffer) -> opendal::Result<()> {
        let (operator, path) = (self.operator().clone(), path.to_owned());
        self.run(async move {
            if operator.info().capability().write_with_if_not_exists {
                return operator.write_with(&path, content).if_not_exists(true).await.map(drop);
            }
            if operator.exists(&path).await? {
                return Err(opendal::Error::new(ErrorKind::ConditionNotMatch, "the file exists"));
            }
            operator.write(&path, content).await.map(drop)
        })
    }

    /// Size in bytes, or `None` when there is no such file.
    pub(crate) fn size(&self, path: &str) -> opendal::Result<Option<u64>> {
        let (operator, path) = (self.operator().clone(), path.to_owned());
        self.run(async move { size_of(&operator, &path).await })
    }

    pub(crate) fn remove(&self, path: &str) -> opendal::Result<()> {
        let (operator, path) = (self.operator().clone(), path.to_owned());
        self.run(async move { operator.delete(&path).await })
    }

    /// Names and sizes of the files directly or (`deep`) anywhere below a folder; a missing folder is empty.
    pub(crate) fn list(&self, folder: &str, deep: bool) -> opendal::Result<Vec<(String, u64)>> {
        let (operator, folder) = (self.operator().clone(), folder.to_owned());
        self.run(async move {
            let entries = match operator.list_with(&folder).recursive(deep).await {
                Ok(entries) => entries,
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
                Err(error) => return Err(error),
            };
            Ok(entries
                .into_iter()
                .filter(|entry| entry.metadata().is_file())
                .map(|entry| (entry.name().to_owned(), entry.metadata().content_length()))
                .collect())
        })
    }

    /// Removes what killed processes left of files that they wrote, once that is so old.
    pub(crate) fn remove_unfinished(&self, age: Duration) -> opendal::Result<usize> {
        let storage = self.storage.clone();
        self.run(async move { storage.remove_unfinished(age).await })
    }

    /// Waits, unless the switch is thrown meanwhile.
    pub(crate) fn pause(&self, time: Duration) -> opendal::Result<()> {
        self.run(async move {
            tokio::time::sleep(time).await;
            Ok(())
        })
    }

    /// Turns a failure of the storage into the error of a user.
    pub(crate) fn error(&self, action: &str, error: &opendal::Error) -> RepositoryError {
        self.storage.error(action, error).into()
    }
}

pub(crate) async fn size_of(operator: &Operator, path: &str) -> opendal::Result<Option<u64>> {
    match operator.stat(path).await {
        Ok(metadata) => Ok(Some(metadata.content_length())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

pub(crate) fn aborted() -> opendal::Error {
    opendal::Error::new(ErrorKind::Unexpected, "given up because the operation was cancelled")
}
