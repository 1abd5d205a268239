//! The component's `restore` export.

use std::cell::RefCell;

use super::bindings::coffer::addon::pipe;
use super::bindings::exports::coffer::addon::restore;
use super::host::{HostReader, HostRun, HostTarget};
use super::{Component, all, closed, runtime};
use crate::{Addon, Context, Entry, Reader, Restore, RestoreItem, Result, Target};

impl<A: Addon> restore::Guest for Component<A> {
    type Session = Session<A::Restore>;
}

/// A session as the component model wants it: shared references only.
pub struct Session<R>(RefCell<R>);

impl<R: Restore> Session<R> {
    fn with<T>(&self, call: impl FnOnce(&mut R) -> Result<T>) -> Result<T, restore::Error> {
        Ok(call(&mut *self.0.try_borrow_mut().map_err(|_| closed())?)?)
    }
}

impl<R: Restore + 'static> restore::GuestSession for Session<R> {
    fn open() -> Result<restore::Session, restore::Error> {
        runtime::start();
        let session = R::open(Context::new(Box::new(HostRun)), Target::new(Box::new(HostTarget)))?;
        Ok(restore::Session::new(Self(RefCell::new(session))))
    }

    fn plan(
        &self,
        entries: Vec<restore::Entry>,
        facts: Vec<restore::Fact>,
    ) -> Result<Vec<restore::Stage>, restore::Error> {
        let entries: Vec<Entry> = entries
            .into_iter()
            .map(|entry| Entry { path: entry.path, size: entry.size, facts: all(entry.facts) })
            .collect();
        let facts = all(facts);
        let stages = self.with(|session| session.plan(&entries, &facts))?;
        let item = |item: RestoreItem| restore::Item { path: item.path, token: item.token };
        Ok(stages
            .into_iter()
            .map(|stage| restore::Stage { name: stage.name, items: stage.items.into_iter().map(item).collect() })
            .collect())
    }

    fn run(&self, item: restore::Item, reader: pipe::Reader) -> Result<Vec<restore::Fact>, restore::Error> {
        let item = RestoreItem { path: item.path, token: item.token };
        let facts = self.with(|session| session.run(&item, Reader::new(Box::new(HostReader(reader)))))?;
        Ok(all(facts))
    }

    fn finish(&self) -> Result<(), restore::Error> {
        self.with(R::finish)
    }

    fn close(&self) -> Result<(), restore::Error> {
        self.with(R::close)
    }
}
