//! What a guest says, kept for looking at.

use std::sync::{Mutex, PoisonError};

use coffer_sandbox::contract::{GuestEvents, Level};

/// Collects log lines and progress notes.
#[derive(Default)]
pub(crate) struct Heard {
    logs: Mutex<Vec<(Level, String)>>,
    notes: Mutex<Vec<String>>,
}

impl Heard {
    pub(crate) fn logs(&self) -> Vec<(Level, String)> {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn notes(&self) -> Vec<String> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl GuestEvents for Heard {
    fn log(&self, _addon: &str, level: Level, message: &str) {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner).push((level, message.to_owned()));
    }

    fn progress(&self, _addon: &str, note: &str) {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).push(note.to_owned());
    }
}
