//! How much memory a guest may have. wasmtime asks before every growth; what is refused stops the guest, since guests
//! rarely survive a failed allocation and never with a message as clear as ours.

use wasmtime::ResourceLimiter;

/// Elements of all tables: some 16 MiB of the host.
const TABLE_ELEMENTS: usize = 1 << 20;
const INSTANCES: usize = 256;
const TABLES: usize = 256;
const MEMORIES: usize = 64;

/// Component-model handles that are live at once. A guest that leaks them reaches this, and no memory of the host.
pub(crate) const HANDLES: usize = 100_000;

/// What the limiter refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Exceeded {
    Memory,
    Other(String),
}

/// Counts over all memories and tables of one session.
#[derive(Debug)]
pub(crate) struct Limits {
    memory_cap: u64,
    memory: u64,
    elements: usize,
    exceeded: Option<Exceeded>,
}

impl Limits {
    /// `memory_cap` is in bytes.
    pub(crate) fn new(memory_cap: u64) -> Self {
        Self { memory_cap, memory: 0, elements: 0, exceeded: None }
    }

    /// The cap in MiB, rounded down.
    pub(crate) fn memory_mib(&self) -> u64 {
        self.memory_cap >> 20
    }

    /// What was refused, once.
    pub(crate) fn take_exceeded(&mut self) -> Option<Exceeded> {
        self.exceeded.take()
    }

    fn refuse<T>(&mut self, what: Exceeded) -> wasmtime::Result<T> {
        self.exceeded = Some(what);
        Err(wasmtime::Error::msg("refused by the sandbox's limits"))
    }
}

impl ResourceLimiter for Limits {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            // The guest's own limit: it is told so, as the specification wants.
            return Ok(false);
        }
        let grown = self.memory.saturating_add(u64::try_from(desired.saturating_sub(current)).unwrap_or(u64::MAX));
        if grown > self.memory_cap {
            return self.refuse(Exceeded::Memory);
        }
        self.memory = grown;
        Ok(true)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        self.refuse(Exceeded::Other(format!("the machine has no memory left for it ({error})")))
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        let grown = self.elements.saturating_add(desired.saturating_sub(current));
        if grown > TABLE_ELEMENTS {
            return self.refuse(Exceeded::Other(format!("its tables need more than {TABLE_ELEMENTS} elements")));
        }
        self.elements = grown;
        Ok(true)
    }

    fn instances(&self) -> usize {
        INSTANCES
    }

    fn tables(&self) -> usize {
        TABLES
    }

    fn memories(&self) -> usize {
        MEMORIES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memories_share_one_cap() {
        let mut limits = Limits::new(3 << 16);
        assert!(limits.memory_growing(0, 2 << 16, None).unwrap());
        assert!(limits.memory_growing(0, 1 << 16, None).unwrap());
        assert!(limits.memory_growing(1 << 16, 2 << 16, None).is_err());
        assert_eq!(limits.take_exceeded(), Some(Exceeded::Memory));
    }

    #[test]
    fn the_guests_own_maximum_is_no_stop() {
        let mut limits = Limits::new(1 << 20);
        assert!(!limits.memory_growing(0, 2 << 16, Some(1 << 16)).unwrap());
        assert!(!limits.table_growing(0, 2, Some(1)).unwrap());
        assert_eq!(limits.take_exceeded(), None);
    }
}
