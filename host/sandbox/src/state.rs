//! What one sandbox knows: the data of its wasmtime store.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use coffer_api::cancel::Cancel;
use coffer_api::plan::{Permissions, Target};
use secrecy::ExposeSecret;

use crate::bindings::coffer::addon::types;
use crate::caps::{ERROR_MESSAGE, LOG_LINE, NOTE, line, message};
use crate::contract::{AddonError, GuestEvents, Level};
use crate::limits::Limits;
use crate::pipe::Stream;
use crate::run::{LogBudget, NoteBudget};
use crate::target::Access;
use crate::watch::{Stop, Watch};

/// A password shorter than this is likely to occur in ordinary text, and would make logs unreadable.
const REDACT_FROM: usize = 6;

/// What a session is told about its run.
#[derive(Debug, Clone, Default)]
pub(crate) struct RunInfo {
    pub(crate) task: String,
    pub(crate) parameters: Vec<(String, String)>,
    pub(crate) worker: (u32, u32),
}

pub(crate) struct State {
    pub(crate) addon: String,
    pub(crate) run: RunInfo,
    pub(crate) started: Instant,
    pub(crate) limits: Limits,
    pub(crate) watch: Watch,
    pub(crate) stop: Option<Stop>,
    pub(crate) log_budget: LogBudget,
    pub(crate) note_budget: NoteBudget,
    pub(crate) last_error: Option<String>,
    pub(crate) access: Access,
    pub(crate) stream: Option<Stream>,
    pub(crate) streams: u32,
    events: Arc<dyn GuestEvents>,
}

impl State {
    pub(crate) fn new(
        addon: String,
        run: RunInfo,
        permissions: &Permissions,
        target: Option<Arc<Target>>,
        events: Arc<dyn GuestEvents>,
        cancel: Cancel,
    ) -> Self {
        let started = Instant::now();
        Self {
            addon,
            run,
            started,
            limits: Limits::new(permissions.memory),
            watch: Watch::new(cancel, permissions.cpu_deadline),
            stop: None,
            log_budget: LogBudget::new(started),
            note_budget: NoteBudget::new(started),
            last_error: None,
            access: Access::new(target.filter(|_| permissions.target)),
            stream: None,
            streams: 0,
            events,
        }
    }

    /// Runs a host function with the guest's clock standing still.
    pub(crate) fn hosted<R>(&mut self, function: impl FnOnce(&mut Self) -> R) -> R {
        self.watch.pause();
        let result = function(self);
        self.watch.resume();
        result
    }

    /// Stops the guest: the host function that returns this never returns into it.
    pub(crate) fn halt<T>(&mut self, stop: Stop) -> wasmtime::Result<T> {
        self.stop.get_or_insert(stop);
        Err(wasmtime::Error::msg("stopped by the host"))
    }

    /// Stops the guest because it broke the contract.
    pub(crate) fn violation<T>(&mut self, reason: impl Into<String>) -> wasmtime::Result<T> {
        self.halt(Stop::Violation(reason.into()))
    }

    /// Hands a line of the guest to the host's log.
    pub(crate) fn emit(&mut self, level: Level, text: &str) {
        let text = line(&self.redact(text), LOG_LINE);
        self.events.log(&self.addon, level, &text);
        if level == Level::Error {
            self.last_error = Some(text);
        }
    }

    /// Hands a note of the guest to the user.
    pub(crate) fn note(&self, text: &str) {
        self.events.progress(&self.addon, &line(&self.redact(text), NOTE));
    }

    /// An error that the guest returned, fit to be shown.
    pub(crate) fn guest_error(&self, error: &types::Error) -> AddonError {
        let kind = error.kind.into();
        let mut text = message(&self.redact(&error.message), ERROR_MESSAGE);
        if text.trim().is_empty() {
            "it failed and did not say why".clone_into(&mut text);
        }
        AddonError { kind, message: text, retryable: error.retryable }
    }

    /// Takes the target's password out of what a guest says, in case that it repeats what it should not.
    pub(crate) fn redact<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let password = self.access.target().and_then(|target| target.credentials.password.as_ref());
        match password.map(ExposeSecret::expose_secret) {
            Some(secret) if secret.len() >= REDACT_FROM && text.contains(secret) => {
                Cow::Owned(text.replace(secret, "***"))
            }
            _ => Cow::Borrowed(text),
        }
    }
}
