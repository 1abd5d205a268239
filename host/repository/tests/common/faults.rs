//! A storage that fails, hangs or lies on command.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use opendal::raw::{
    Layer, OpCopy, OpCreateDir, OpDelete, OpList, OpPresign, OpRead, OpRename, OpStat, OpWrite, RpCreateDir, RpPresign,
    RpRename, RpStat, Service, ServiceInfo, Servicer, oio,
};
use opendal::{Buffer, Capability, Error, ErrorKind, Metadata, OperationContext, Result};

/// What happens to a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It reports an error.
    Fails,
    /// It stores everything and reports an error: the answer was lost.
    Denies,
    /// It never ends.
    Hangs,
    /// It reports success and stores nothing.
    Lies,
    /// It reports success and stores the first half.
    Truncates,
}

/// Which write: the `nth` (from 1) whose path begins with this, and all that follow.
#[derive(Debug, Clone)]
pub struct Plan {
    pub prefix: &'static str,
    pub nth: usize,
    pub fault: Fault,
}

/// Shared with the test, which sets and lifts the plan and reads the log.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    plan: Arc<Mutex<Option<Plan>>>,
    seen: Arc<AtomicUsize>,
    log: Arc<Mutex<Vec<String>>>,
    reads_fail: Arc<Mutex<Option<&'static str>>>,
    hanging: Arc<AtomicUsize>,
    released: Arc<tokio::sync::Notify>,
}

impl Faults {
    pub fn plan(&self, prefix: &'static str, nth: usize, fault: Fault) {
        self.seen.store(0, Ordering::SeqCst);
        *self.plan.lock().unwrap() = Some(Plan { prefix, nth, fault });
    }

    pub fn lift(&self) {
        *self.plan.lock().unwrap() = None;
        *self.reads_fail.lock().unwrap() = None;
    }

    /// Lets every hanging write end, with an error, and lifts the plan.
    pub fn release(&self) {
        self.lift();
        self.released.notify_waiters();
    }

    /// Writes that hung so far.
    pub fn hung(&self) -> usize {
        self.hanging.load(Ordering::SeqCst)
    }

    pub fn fail_reads(&self, prefix: &'static str) {
        *self.reads_fail.lock().unwrap() = Some(prefix);
    }

    /// Writes (`w path`, when done) and removals (`d path`, when begun), in order.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    fn fault(&self, path: &str) -> Option<Fault> {
        let plan = self.plan.lock().unwrap().clone()?;
        if !path.trim_start_matches('/').starts_with(plan.prefix) {
            return None;
        }
        (self.seen.fetch_add(1, Ordering::SeqCst) + 1 >= plan.nth).then_some(plan.fault)
    }
}

impl Layer for Faults {
    fn apply_service(&self, inner: Servicer) -> Servicer {
        Arc::new(Faulty { inner, faults: self.clone() })
    }
}

#[derive(Debug)]
struct Faulty {
    inner: Servicer,
    faults: Faults,
}

impl Service for Faulty {
    type Reader = oio::Reader;
    type Writer = Writer;
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
        self.inner.create_dir(ctx, path, args).await
    }

    async fn stat(&self, ctx: &OperationContext, path: &str, args: OpStat) -> Result<RpStat> {
        self.inner.stat(ctx, path, args).await
    }

    fn read(&self, ctx: &OperationContext, path: &str, args: OpRead) -> Result<Self::Reader> {
        let fails = *self.faults.reads_fail.lock().unwrap();
        if fails.is_some_and(|prefix| path.trim_start_matches('/').starts_with(prefix)) {
            return Err(Error::new(ErrorKind::Unexpected, "the read failed on command"));
        }
        self.inner.read(ctx, path, args)
    }

    fn write(&self, ctx: &OperationContext, path: &str, args: OpWrite) -> Result<Self::Writer> {
        let fault = self.faults.fault(path);
        Ok(Writer {
            inner: self.inner.write(ctx, path, args)?,
            fault,
            path: path.to_owned(),
            faults: self.faults.clone(),
        })
    }

    fn delete(&self, ctx: &OperationContext) -> Result<Self::Deleter> {
        Ok(Deleter { inner: self.inner.delete(ctx)?, faults: self.faults.clone() })
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

pub struct Writer {
    inner: oio::Writer,
    fault: Option<Fault>,
    path: String,
    faults: Faults,
}

impl oio::Write for Writer {
    async fn write(&mut self, bytes: Buffer) -> Result<()> {
        match self.fault {
            None | Some(Fault::Denies) => self.inner.write(bytes).await,
            Some(Fault::Fails) => Err(Error::new(ErrorKind::Unexpected, "the write failed on command")),
            Some(Fault::Hangs) => {
                let released = self.faults.released.notified();
                self.faults.hanging.fetch_add(1, Ordering::SeqCst);
                released.await;
                Err(Error::new(ErrorKind::Unexpected, "the write hung and was released"))
            }
            Some(Fault::Lies) => Ok(()),
            Some(Fault::Truncates) => self.inner.write(bytes.slice(..bytes.len() / 2)).await,
        }
    }

    async fn close(&mut self) -> Result<Metadata> {
        if self.fault == Some(Fault::Lies) {
            return Ok(opendal::MetadataBuilder::file(0).build());
        }
        let closed = self.inner.close().await?;
        if self.fault == Some(Fault::Denies) {
            return Err(Error::new(ErrorKind::Unexpected, "the answer was lost on command"));
        }
        self.faults.log.lock().unwrap().push(format!("w {}", self.path.trim_start_matches('/')));
        Ok(closed)
    }

    async fn abort(&mut self) -> Result<()> {
        self.inner.abort().await
    }
}

pub struct Deleter {
    inner: oio::Deleter,
    faults: Faults,
}

impl oio::Delete for Deleter {
    async fn delete(&mut self, path: &str, args: OpDelete) -> Result<()> {
        self.faults.log.lock().unwrap().push(format!("d {}", path.trim_start_matches('/')));
        self.inner.delete(path, args).await
    }

    async fn close(&mut self) -> Result<()> {
        self.inner.close().await
    }
}
