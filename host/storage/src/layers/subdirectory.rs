//! A directory of a storage as a storage of its own.
//!
//! OpenDAL fixes the root when a service is built. Building one service per repository would give each its own connections,
//! credentials and limits; this layer shares them.

use std::fmt;
use std::sync::Arc;

use opendal::raw::{
    Layer, OpCompose, OpCopy, OpCreateDir, OpDelete, OpList, OpPresign, OpRead, OpRename, OpRestore, OpStat, OpWrite,
    RpCreateDir, RpPresign, RpRename, RpRestore, RpStat, Service, ServiceInfo, Servicer, oio,
};
use opendal::{Buffer, BytesRange, Capability, Error, ErrorKind, Metadata, OperationContext, Result, options};

use crate::path;

/// Shows one directory of a service as its root.
#[derive(Clone)]
pub(crate) struct SubdirectoryLayer {
    /// Ends with a slash, does not start with one.
    prefix: Arc<str>,
}

impl SubdirectoryLayer {
    /// `directory` must not be empty.
    pub(crate) fn new(directory: &str) -> Self {
        Self { prefix: format!("{}/", path::join(&[directory])).into() }
    }

    fn full(&self, path: &str) -> Result<String> {
        if path::escapes(path) {
            return Err(
                Error::new(ErrorKind::NotFound, "the path leads out of its directory").with_context("path", path)
            );
        }
        Ok(format!("{}{}", self.prefix, path.trim_start_matches('/')))
    }

    fn relative(&self, path: &str) -> Option<String> {
        let path = path.strip_prefix(&*self.prefix)?;
        Some(if path.is_empty() { "/".to_owned() } else { path.to_owned() })
    }
}

impl fmt::Debug for SubdirectoryLayer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("SubdirectoryLayer").field(&self.prefix).finish()
    }
}

impl Layer for SubdirectoryLayer {
    fn apply_service(&self, inner: Servicer) -> Servicer {
        Arc::new(Subdirectory { inner, place: self.clone() })
    }
}

#[derive(Debug)]
struct Subdirectory {
    inner: Servicer,
    place: SubdirectoryLayer,
}

impl Service for Subdirectory {
    type Reader = oio::Reader;
    type Writer = Writer;
    type Lister = Lister;
    type Deleter = Deleter;
    type Copier = oio::Copier;
    type Composer = Composer;

    fn info(&self) -> ServiceInfo {
        let info = self.inner.info();
        let root = format!("/{}/", path::join(&[&info.root(), &self.place.prefix]));
        info.with_root(root)
    }

    fn capability(&self) -> Capability {
        self.inner.capability()
    }

    async fn create_dir(&self, ctx: &OperationContext, path: &str, args: OpCreateDir) -> Result<RpCreateDir> {
        self.inner.create_dir(ctx, &self.place.full(path)?, args).await
    }

    async fn stat(&self, ctx: &OperationContext, path: &str, args: OpStat) -> Result<RpStat> {
        self.inner.stat(ctx, &self.place.full(path)?, args).await
    }

    fn read(&self, ctx: &OperationContext, path: &str, args: OpRead) -> Result<Self::Reader> {
        self.inner.read(ctx, &self.place.full(path)?, args)
    }

    fn write(&self, ctx: &OperationContext, path: &str, args: OpWrite) -> Result<Self::Writer> {
        let inner = self.inner.write(ctx, &self.place.full(path)?, args)?;
        Ok(Writer { inner, place: self.place.clone() })
    }

    fn delete(&self, ctx: &OperationContext) -> Result<Self::Deleter> {
        Ok(Deleter { inner: self.inner.delete(ctx)?, place: self.place.clone() })
    }

    fn list(&self, ctx: &OperationContext, path: &str, args: OpList) -> Result<Self::Lister> {
        let args = match args.start_after() {
            None => args,
            Some(after) => OpList::from(options::ListOptions {
                limit: args.limit(),
                start_after: Some(self.place.full(after)?),
                recursive: args.recursive(),
                versions: args.versions(),
                deleted: args.deleted(),
            }),
        };
        let inner = self.inner.list(ctx, &self.place.full(path)?, args)?;
        Ok(Lister { inner, place: self.place.clone() })
    }

    fn copy(&self, ctx: &OperationContext, from: &str, to: &str, args: OpCopy) -> Result<Self::Copier> {
        self.inner.copy(ctx, &self.place.full(from)?, &self.place.full(to)?, args)
    }

    fn compose(&self, ctx: &OperationContext, to: &str, args: OpCompose) -> Result<Self::Composer> {
        let inner = self.inner.compose(ctx, &self.place.full(to)?, args)?;
        Ok(Composer { inner, place: self.place.clone() })
    }

    async fn rename(&self, ctx: &OperationContext, from: &str, to: &str, args: OpRename) -> Result<RpRename> {
        self.inner.rename(ctx, &self.place.full(from)?, &self.place.full(to)?, args).await
    }

    async fn restore(&self, ctx: &OperationContext, path: &str, args: OpRestore) -> Result<RpRestore> {
        self.inner.restore(ctx, &self.place.full(path)?, args).await
    }

    async fn presign(&self, ctx: &OperationContext, path: &str, args: OpPresign) -> Result<RpPresign> {
        self.inner.presign(ctx, &self.place.full(path)?, args).await
    }
}

/// A writer whose sources for copies lie in the same directory.
pub(crate) struct Writer {
    inner: oio::Writer,
    place: SubdirectoryLayer,
}

impl oio::Write for Writer {
    async fn write(&mut self, bytes: Buffer) -> Result<()> {
        self.inner.write(bytes).await
    }

    async fn copy_from(&mut self, path: &str, args: OpRead, range: BytesRange) -> Result<()> {
        self.inner.copy_from(&self.place.full(path)?, args, range).await
    }

    async fn close(&mut self) -> Result<Metadata> {
        self.inner.close().await
    }

    async fn abort(&mut self) -> Result<()> {
        self.inner.abort().await
    }
}

/// Lists with paths relative to the directory.
pub(crate) struct Lister {
    inner: oio::Lister,
    place: SubdirectoryLayer,
}

impl oio::List for Lister {
    async fn next(&mut self) -> Result<Option<oio::Entry>> {
        while let Some(mut entry) = self.inner.next().await? {
            // Object stores list by prefix; whatever does not lie in the directory is not of it.
            if let Some(path) = self.place.relative(entry.path()) {
                entry.set_path(&path);
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }
}

/// Deletes with paths relative to the directory.
pub(crate) struct Deleter {
    inner: oio::Deleter,
    place: SubdirectoryLayer,
}

impl oio::Delete for Deleter {
    async fn delete(&mut self, path: &str, args: OpDelete) -> Result<()> {
        let path = self.place.full(path)?;
        self.inner.delete(&path, args).await
    }

    async fn close(&mut self) -> Result<()> {
        self.inner.close().await
    }
}

/// Composes from sources in the same directory.
pub(crate) struct Composer {
    inner: oio::Composer,
    place: SubdirectoryLayer,
}

impl oio::Compose for Composer {
    async fn compose(&mut self, path: &str, args: OpRead) -> Result<()> {
        self.inner.compose(&self.place.full(path)?, args).await
    }

    async fn close(&mut self) -> Result<Metadata> {
        self.inner.close().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::block_on;
    use opendal::{Operator, services};

    fn paths(op: &Operator, path: &str, recursive: bool) -> Vec<String> {
        let list = block_on(op.list_with(path).recursive(recursive).into_future()).unwrap();
        let mut paths: Vec<_> = list.into_iter().map(|entry| entry.path().to_owned()).collect();
        paths.sort();
        paths
    }

    #[test]
    fn a_directory_looks_like_a_root() {
        let base = Operator::new(services::Memory::default()).unwrap();
        let inside = base.clone().layer(SubdirectoryLayer::new("/a//b/")).layer(SubdirectoryLayer::new("c"));
        block_on(async {
            inside.write("data/00/x", "one").await.unwrap();
            base.write("a/b/cd", "beside it").await.unwrap();
            assert_eq!(base.read("a/b/c/data/00/x").await.unwrap().to_vec(), b"one");
            assert_eq!(inside.read("data/00/x").await.unwrap().to_vec(), b"one");
            assert!(inside.exists("data/00/").await.unwrap());
        });
        assert_eq!(paths(&inside, "/", true), ["data/00/x"]);
        assert_eq!(paths(&inside, "/", false), ["data/"]);
        assert_eq!(paths(&inside, "data/", false), ["data/00/"]);
        assert_eq!(inside.info().root(), "/a/b/c/");
        block_on(inside.delete("data/00/x")).unwrap();
        assert_eq!(paths(&inside, "/", true), Vec::<String>::new());
        assert!(block_on(base.exists("a/b/cd")).unwrap(), "what lies beside the directory stays");
    }

    #[test]
    fn no_path_leads_out() {
        let op = Operator::new(services::Memory::default()).unwrap().layer(SubdirectoryLayer::new("a"));
        assert_eq!(block_on(op.write("../b", "x")).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(block_on(op.read("x/../../b")).unwrap_err().kind(), ErrorKind::NotFound);
    }
}
