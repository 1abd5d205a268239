//! The component's `backup` export.

use std::cell::RefCell;

use super::bindings::coffer::addon::pipe;
use super::bindings::exports::coffer::addon::backup;
use super::host::{HostRun, HostTarget, HostWriter};
use super::{Component, all, closed, runtime};
use crate::{Addon, Backup, Context, Item, Result, Target, Writer};

impl<A: Addon> backup::Guest for Component<A> {
    type Session = Session<A::Backup>;
}

/// A session as the component model wants it: shared references only.
pub struct Session<B>(RefCell<B>);

impl<B: Backup> Session<B> {
    fn with<T>(&self, call: impl FnOnce(&mut B) -> Result<T>) -> Result<T, backup::Error> {
        Ok(call(&mut *self.0.try_borrow_mut().map_err(|_| closed())?)?)
    }
}

impl<B: Backup + 'static> backup::GuestSession for Session<B> {
    fn open() -> Result<backup::Session, backup::Error> {
        runtime::start();
        let session = B::open(Context::new(Box::new(HostRun)), Target::new(Box::new(HostTarget)))?;
        Ok(backup::Session::new(Self(RefCell::new(session))))
    }

    fn prepare(&self) -> Result<String, backup::Error> {
        self.with(B::prepare)
    }

    fn join(&self, view: String) -> Result<(), backup::Error> {
        self.with(|session| session.join(&view))
    }

    fn release(&self) -> Result<Option<String>, backup::Error> {
        self.with(B::release)
    }

    fn plan(&self) -> Result<backup::Plan, backup::Error> {
        let plan = self.with(B::plan)?;
        let items = plan
            .items
            .into_iter()
            .map(|item| backup::Item { path: item.path, estimate: item.estimate, token: item.token })
            .collect();
        Ok(backup::Plan { items, facts: all(plan.facts) })
    }

    fn run(&self, item: backup::Item, writer: pipe::Writer) -> Result<Vec<backup::Fact>, backup::Error> {
        let item = Item { path: item.path, estimate: item.estimate, token: item.token };
        let (_finished, facts) = self.with(|session| session.run(&item, Writer::new(Box::new(HostWriter(writer)))))?;
        Ok(all(facts))
    }

    fn close(&self) -> Result<(), backup::Error> {
        self.with(B::close)
    }
}
