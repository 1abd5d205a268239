//! Files of a directory that appear whole or not at all, and survive a power cut once they are there.
//!
//! Every file is written under a temporary name beside its own, synchronised, renamed (or linked, where it must not exist yet), and then its directory
//! is synchronised. OpenDAL's own way to do this wants a temporary directory that exists beforehand and lies on the same file
//! system; this way works for a directory that does not exist yet, and reading one creates nothing.
//!
//! A failed write is final: OpenDAL would call "no space left" temporary and write the same bytes again behind the
//! ones that made it, and a file system that failed to synchronise once may report success the next time.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::{fs, io};

use opendal::raw::{
    Layer, OpCopy, OpCreateDir, OpDelete, OpList, OpPresign, OpRead, OpRename, OpStat, OpWrite, RpCreateDir, RpPresign,
    RpRename, RpStat, Service, ServiceInfo, Servicer, oio,
};
use opendal::{Buffer, Capability, Error, ErrorKind, Metadata, OperationContext, Result};

/// For OpenDAL's `fs` service with the root `/` only.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AtomicLayer;

impl Layer for AtomicLayer {
    fn apply_service(&self, inner: Servicer) -> Servicer {
        Arc::new(Atomic { inner })
    }
}

#[derive(Debug)]
struct Atomic {
    inner: Servicer,
}

impl Service for Atomic {
    type Reader = oio::Reader;
    type Writer = Writer;
    type Lister = oio::Lister;
    type Deleter = oio::Deleter;
    type Copier = oio::Copier;
    type Composer = oio::Composer;

    fn info(&self) -> ServiceInfo {
        self.inner.info()
    }

    fn capability(&self) -> Capability {
        // What cannot be done under a temporary name is not offered.
        Capability { write_can_append: false, ..self.inner.capability() }
    }

    async fn create_dir(&self, ctx: &OperationContext, path: &str, args: OpCreateDir) -> Result<RpCreateDir> {
        self.inner.create_dir(ctx, path, args).await
    }

    async fn stat(&self, ctx: &OperationContext, path: &str, args: OpStat) -> Result<RpStat> {
        self.inner.stat(ctx, path, args).await
    }

    fn read(&self, ctx: &OperationContext, path: &str, args: OpRead) -> Result<Self::Reader> {
        self.inner.read(ctx, path, args)
    }

    fn write(&self, ctx: &OperationContext, path: &str, args: OpWrite) -> Result<Self::Writer> {
        let exclusive = args.if_not_exists();
        let temporary = temporary_name(path);
        Ok(Writer {
            inner: self.inner.write(ctx, &temporary, args)?,
            service: Arc::clone(&self.inner),
            context: ctx.clone(),
            temporary,
            path: path.to_owned(),
            exclusive,
        })
    }

    fn delete(&self, ctx: &OperationContext) -> Result<Self::Deleter> {
        self.inner.delete(ctx)
    }

    fn list(&self, ctx: &OperationContext, path: &str, args: OpList) -> Result<Self::Lister> {
        self.inner.list(ctx, path, args)
    }

    fn copy(&self, ctx: &OperationContext, from: &str, to: &str, args: OpCopy) -> Result<Self::Copier> {
        self.inner.copy(ctx, from, to, args)
    }

    async fn rename(&self, ctx: &OperationContext, from: &str, to: &str, args: OpRename) -> Result<RpRename> {
        self.inner.rename(ctx, from, to, args).await
    }

    async fn presign(&self, ctx: &OperationContext, path: &str, args: OpPresign) -> Result<RpPresign> {
        self.inner.presign(ctx, path, args).await
    }
}

/// `directory/.name.tmp-<writer>-<number>`: beside the file, hidden, and nothing that any reader takes for data.
///
/// The writer is a number that nobody else has. The id of the process would not do: in a pod it is 1, and two pods that write the same file of one
/// volume would write into each other's.
fn temporary_name(path: &str) -> String {
    static WRITER: LazyLock<u64> = LazyLock::new(|| RandomState::new().build_hasher().finish());
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
    let slash = if directory.is_empty() { "" } else { "/" };
    format!("{directory}{slash}.{name}.tmp-{}-{number}", *WRITER)
}

/// Whether a file of this name was given its name by `temporary_name`.
pub(crate) fn is_temporary(name: &str) -> bool {
    let Some((written, numbers)) = name.rsplit_once(".tmp-") else { return false };
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let numbered = numbers.split_once('-').is_some_and(|(writer, number)| is_number(writer) && is_number(number));
    written.len() > 1 && written.starts_with('.') && numbered
}

/// Writes under the temporary name.
pub(crate) struct Writer {
    inner: oio::Writer,
    service: Servicer,
    context: OperationContext,
    temporary: String,
    path: String,
    exclusive: bool,
}

impl Writer {
    /// Gives up: removes what was written and makes the error final.
    async fn fail(&mut self, error: Error) -> Error {
        // The first error says what is wrong; a second one about the remains would only hide it.
        let _ = self.remove().await;
        error.set_permanent()
    }

    async fn remove(&mut self) -> Result<()> {
        use oio::Delete as _;
        let mut deleter = self.service.delete_dyn(&self.context)?;
        deleter.delete(&self.temporary, OpDelete::default()).await?;
        deleter.close().await
    }

    async fn publish(&mut self) -> Result<Metadata> {
        use oio::Write as _;
        let metadata = self.inner.close().await?;
        let (temporary, path) = (Path::new("/").join(&self.temporary), Path::new("/").join(&self.path));
        let directory = path.parent().map(Path::to_owned);
        if self.exclusive {
            match link(temporary, path).await {
                // Under its second name it stays.
                Ok(()) => drop(self.remove().await),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(exists_already()),
                // The file system has no links: between the look and the deed is a gap.
                Err(_) if self.exists().await? => return Err(exists_already()),
                Err(_) => self.rename().await?,
            }
        } else {
            self.rename().await?;
        }
        if let Some(directory) = directory {
            synchronise(directory).await.map_err(|error| Error::new(ErrorKind::Unexpected, "").set_source(error))?;
        }
        Ok(metadata)
    }

    async fn rename(&self) -> Result<()> {
        self.service.rename_dyn(&self.context, &self.temporary, &self.path, OpRename::default()).await.map(drop)
    }

    async fn exists(&self) -> Result<bool> {
        match self.service.stat_dyn(&self.context, &self.path, OpStat::default()).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn exists_already() -> Error {
    Error::new(ErrorKind::ConditionNotMatch, "the file exists already")
}

/// Gives a file a second name, unless something has that name. Of many that do it at once one succeeds.
async fn link(from: PathBuf, to: PathBuf) -> io::Result<()> {
    tokio::task::spawn_blocking(move || fs::hard_link(from, to)).await.map_err(io::Error::other)?
}

/// Makes the entries of a directory durable, where the file system can.
async fn synchronise(directory: PathBuf) -> io::Result<()> {
    let synchronised = tokio::task::spawn_blocking(move || match fs::File::open(&directory)?.sync_all() {
        // Some network file systems synchronise by themselves and refuse to be asked.
        Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => Ok(()),
        result => result,
    });
    synchronised.await.map_err(io::Error::other)?
}

impl oio::Write for Writer {
    async fn write(&mut self, bytes: Buffer) -> Result<()> {
        match self.inner.write(bytes).await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.fail(error).await),
        }
    }

    async fn close(&mut self) -> Result<Metadata> {
        match self.publish().await {
            Ok(metadata) => Ok(metadata),
            Err(error) => Err(self.fail(error).await),
        }
    }

    async fn abort(&mut self) -> Result<()> {
        self.remove().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::SubdirectoryLayer;
    use crate::runtime::block_on;
    use opendal::{Operator, services};
    use std::os::unix::fs::PermissionsExt as _;

    fn local(root: &Path) -> Operator {
        let op = Operator::new(services::Fs::default().root("/")).unwrap();
        op.layer(AtomicLayer).layer(SubdirectoryLayer::new(root.to_str().unwrap()))
    }

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn files_appear_when_they_are_complete() {
        let root = tempfile::tempdir().unwrap();
        let op = local(root.path());
        block_on(async {
            let mut writer = op.writer("keys/a").await.unwrap();
            writer.write("half").await.unwrap();
            assert!(!op.exists("keys/a").await.unwrap());
            writer.write(" and half").await.unwrap();
            writer.close().await.unwrap();
            op.write("keys/a", "replaced").await.unwrap();
            assert_eq!(op.read("keys/a").await.unwrap().to_vec(), b"replaced");
            let mut dropped = op.writer("keys/b").await.unwrap();
            dropped.write("x").await.unwrap();
            dropped.abort().await.unwrap();
        });
        assert_eq!(names(&root.path().join("keys")), ["a"]);
    }

    #[test]
    fn temporary_names_are_known_again() {
        for path in ["config", "keys/0123", "data/.x/.tmp-1"] {
            let temporary = temporary_name(path);
            assert!(is_temporary(temporary.rsplit('/').next().unwrap()), "{temporary}");
            assert!(
                !temporary.contains(&format!(".tmp-{}-", std::process::id())),
                "pods have the same ids: {temporary}"
            );
        }
        for name in ["config", ".tmp-1-2", "a.tmp-1-2", ".a.tmp-1", ".a.tmp-1-", ".a.tmp-1-x", ".a.tmp--2", ".a"] {
            assert!(!is_temporary(name), "{name}");
        }
    }

    #[test]
    fn an_exclusive_write_keeps_what_is_there() {
        let root = tempfile::tempdir().unwrap();
        let op = local(root.path());
        let write = |text: &'static str| block_on(op.write_with("config", text).if_not_exists(true).into_future());
        write("first").unwrap();
        assert_eq!(write("second").unwrap_err().kind(), ErrorKind::ConditionNotMatch);
        assert_eq!(fs::read(root.path().join("config")).unwrap(), b"first");
        assert_eq!(names(root.path()), ["config"]);
    }

    #[test]
    fn of_many_exclusive_writers_one_succeeds() {
        let root = tempfile::tempdir().unwrap();
        let op = local(root.path());
        let write =
            |number: usize| block_on(op.write_with("config", number.to_string()).if_not_exists(true).into_future());
        let winners: Vec<_> = std::thread::scope(|scope| {
            let all: Vec<_> =
                (0..16).map(|number| scope.spawn(move || write(number).is_ok().then_some(number))).collect();
            all.into_iter().filter_map(|one| one.join().unwrap()).collect()
        });
        assert_eq!(winners.len(), 1, "{winners:?}");
        assert_eq!(fs::read_to_string(root.path().join("config")).unwrap(), winners[0].to_string());
        assert_eq!(names(root.path()), ["config"]);
    }

    #[test]
    fn a_failed_write_is_final_and_leaves_nothing() {
        let root = tempfile::tempdir().unwrap();
        let op = local(root.path());
        // A directory in the place of the file: the rename at the end fails, whoever runs this test.
        fs::create_dir_all(root.path().join("data/x/y")).unwrap();
        let error = block_on(op.write("data/x", "x")).unwrap_err();
        assert!(!error.is_temporary(), "{error}");
        assert_eq!(names(&root.path().join("data")), ["x"]);
    }

    #[test]
    fn reading_a_directory_that_is_not_there_creates_nothing() {
        let root = tempfile::tempdir().unwrap();
        let missing = root.path().join("missing");
        let op = local(&missing);
        assert!(block_on(op.list("/")).unwrap().is_empty());
        assert_eq!(block_on(op.read("config")).unwrap_err().kind(), ErrorKind::NotFound);
        assert!(!missing.exists());
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        block_on(op.write("config", "x")).unwrap();
        assert_eq!(names(&missing), ["config"]);
    }
}
