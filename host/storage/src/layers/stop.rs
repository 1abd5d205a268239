//! A storage that fails once its user has been told to stop, so that work which knows no cancellation ends all the same.

use std::fmt;
use std::sync::Arc;

use coffer_api::cancel::Cancel;
use opendal::raw::{
    Layer, OpCompose, OpCopy, OpCreateDir, OpDelete, OpList, OpPresign, OpRead, OpRename, OpRestore, OpStat, OpWrite,
    RpCreateDir, RpPresign, RpRename, RpRestore, RpStat, Service, ServiceInfo, Servicer, oio,
};
use opendal::{Capability, Error, ErrorKind, OperationContext, Result};

/// Where lock files are: whoever stops takes its lock along.
const LOCKS: &str = "locks/";

/// Refuses new operations after a cancellation, but for those on locks.
#[derive(Clone)]
pub(crate) struct StopLayer {
    cancel: Cancel,
}

impl StopLayer {
    pub(crate) fn new(cancel: Cancel) -> Self {
        Self { cancel }
    }

    fn check(&self, path: &str) -> Result<()> {
        match self.cancel.reason() {
            Some(reason) if !path.contains(LOCKS) => {
                Err(Error::new(ErrorKind::Unexpected, format!("stopped: {reason}")))
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for StopLayer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("StopLayer")
    }
}

impl Layer for StopLayer {
    fn apply_service(&self, inner: Servicer) -> Servicer {
        Arc::new(Stoppable { inner, stop: self.clone() })
    }
}

#[derive(Debug)]
struct Stoppable {
    inner: Servicer,
    stop: StopLayer,
}

impl Service for Stoppable {
    type Reader = oio::Reader;
    type Writer = oio::Writer;
    type Lister = oio::Lister;
    type Deleter = Deleter;
    type Copier = oio::Copier;
    type Composer = oio::Composer;

    fn info(&self) -> ServiceInfo {
        self.inner.info()
    }

    fn capability(&self) -> Capability {
        self.inner.capability()
    }

    async fn create_dir(&self, ctx: &OperationContext, path: &str, args: OpCreateDir) -> Result<RpCreateDir> {
        self.stop.check(path)?;
        self.inner.create_dir(ctx, path, args).await
    }

    async fn stat(&self, ctx: &OperationContext, path: &str, args: OpStat) -> Result<RpStat> {
        self.stop.check(path)?;
        self.inner.stat(ctx, path, args).await
    }

    fn read(&self, ctx: &OperationContext, path: &str, args: OpRead) -> Result<Self::Reader> {
        self.stop.check(path)?;
        self.inner.read(ctx, path, args)
    }

    fn write(&self, ctx: &OperationContext, path: &str, args: OpWrite) -> Result<Self::Writer> {
        self.stop.check(path)?;
        self.inner.write(ctx, path, args)
    }

    fn delete(&self, ctx: &OperationContext) -> Result<Self::Deleter> {
        Ok(Deleter { inner: self.inner.delete(ctx)?, stop: self.stop.clone() })
    }

    fn list(&self, ctx: &OperationContext, path: &str, args: OpList) -> Result<Self::Lister> {
        self.stop.check(path)?;
        self.inner.list(ctx, path, args)
    }

    fn copy(&self, ctx: &OperationContext, from: &str, to: &str, args: OpCopy) -> Result<Self::Copier> {
        self.stop.check(to)?;
        self.inner.copy(ctx, from, to, args)
    }

    fn compose(&self, ctx: &OperationContext, to: &str, args: OpCompose) -> Result<Self::Composer> {
        self.stop.check(to)?;
        self.inner.compose(ctx, to, args)
    }

    async fn rename(&self, ctx: &OperationContext, from: &str, to: &str, args: OpRename) -> Result<RpRename> {
        self.stop.check(to)?;
        self.inner.rename(ctx, from, to, args).await
    }

    async fn restore(&self, ctx: &OperationContext, path: &str, args: OpRestore) -> Result<RpRestore> {
        self.stop.check(path)?;
        self.inner.restore(ctx, path, args).await
    }

    async fn presign(&self, ctx: &OperationContext, path: &str, args: OpPresign) -> Result<RpPresign> {
        self.stop.check(path)?;
        self.inner.presign(ctx, path, args).await
    }
}

/// Deletes until told to stop.
pub(crate) struct Deleter {
    inner: oio::Deleter,
    stop: StopLayer,
}

impl oio::Delete for Deleter {
    async fn delete(&mut self, path: &str, args: OpDelete) -> Result<()> {
        self.stop.check(path)?;
        self.inner.delete(path, args).await
    }

    async fn close(&mut self) -> Result<()> {
        self.inner.close().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::block_on;
    use opendal::{Operator, services};

    #[test]
    fn only_locks_can_be_handled_after_a_stop() {
        let cancel = Cancel::new();
        let op = Operator::new(services::Memory::default()).unwrap().layer(StopLayer::new(cancel.clone()));
        block_on(async {
            for path in ["config", "locks/a"] {
                op.write(path, "x").await.unwrap();
            }
            cancel.cancel("interrupted");
            for error in [
                op.read("config").await.unwrap_err(),
                op.write("config", "y").await.unwrap_err(),
                op.delete("config").await.unwrap_err(),
                op.list("data/").await.unwrap_err(),
            ] {
                assert!(error.to_string().contains("stopped: interrupted"), "{error}");
                assert!(!error.is_temporary(), "nobody should try again: {error}");
            }
            assert_eq!(op.list("locks/").await.unwrap().len(), 1);
            op.delete("locks/a").await.unwrap();
        });
    }
}
