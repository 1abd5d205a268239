//! One sandbox: a store with one instance in it, and what becomes of a call into it.

use wasmtime::{Store, Trap, UpdateDeadline};

use crate::bindings::coffer::addon::types::Error as WitError;
use crate::bindings::{Addon, AddonPre};
use crate::caps::{Checked, ERROR_MESSAGE, LIFT, Violation, message};
use crate::contract::{AddonError, ErrorKind};
use crate::error::SandboxError;
use crate::limits::{Exceeded, HANDLES};
use crate::state::State;
use crate::watch::Stop;

/// How the SDK's panic hook begins its line in the log.
const PANIC: &str = "panic: ";

/// A guest, alive until it traps.
pub(crate) struct Sandbox {
    store: Store<State>,
    addon: Addon,
    broken: Option<String>,
}

impl Sandbox {
    /// Instantiates the component in a fresh store.
    pub(crate) fn new(pre: &AddonPre<State>, state: State) -> Result<Self, SandboxError> {
        let mut store = Store::new(pre.engine(), state);
        store.limiter(|state| &mut state.limits);
        store.set_hostcall_fuel(LIFT);
        store.set_max_component_handles(HANDLES);
        store.epoch_deadline_callback(|mut context| {
            let state = context.data_mut();
            match state.watch.tick() {
                Ok(()) => Ok(UpdateDeadline::Continue(1)),
                Err(stop) => state.halt(stop),
            }
        });
        begin(&mut store);
        match pre.instantiate(&mut store) {
            Ok(addon) => Ok(Self { store, addon, broken: None }),
            Err(error) => Err(diagnose(store.data_mut(), "its start", &error)),
        }
    }

    pub(crate) fn state(&mut self) -> &mut State {
        self.store.data_mut()
    }

    fn name(&self) -> String {
        self.store.data().addon.clone()
    }

    /// Calls an export that returns the contract's result.
    pub(crate) fn call<T>(
        &mut self,
        call: &'static str,
        function: impl FnOnce(&Addon, &mut Store<State>) -> wasmtime::Result<Result<T, WitError>>,
    ) -> Result<T, SandboxError> {
        let result = self.infallible(call, function)?;
        let state = self.store.data_mut();
        result.map_err(|error| {
            let error = state.guest_error(&error);
            match state.watch.stopping() {
                Some(reason) if error.kind == ErrorKind::Cancelled => cancelled(state, reason),
                _ => SandboxError::Addon { addon: state.addon.clone(), error },
            }
        })
    }

    /// Calls an export.
    pub(crate) fn infallible<T>(
        &mut self,
        call: &'static str,
        function: impl FnOnce(&Addon, &mut Store<State>) -> wasmtime::Result<T>,
    ) -> Result<T, SandboxError> {
        if let Some(reason) = &self.broken {
            return Err(SandboxError::Unusable { addon: self.name(), reason: reason.clone() });
        }
        let state = self.store.data_mut();
        if let Some(reason) = state.watch.stopping() {
            return Err(cancelled(state, reason));
        }
        begin(&mut self.store);
        function(&self.addon, &mut self.store).map_err(|error| {
            let error = diagnose(self.store.data_mut(), call, &error);
            self.broken = Some(error.to_string());
            error
        })
    }

    /// An answer of the guest that was checked.
    pub(crate) fn checked<T>(&mut self, call: &'static str, answer: Checked<T>) -> Result<T, SandboxError> {
        answer.map_err(|Violation(reason)| {
            let error = SandboxError::Violation { addon: self.name(), call, reason };
            self.broken = Some(error.to_string());
            error
        })
    }

    /// Something to hand to the guest that was checked.
    pub(crate) fn request<T>(&self, call: &'static str, request: Checked<T>) -> Result<T, SandboxError> {
        request.map_err(|Violation(reason)| SandboxError::Request { addon: self.name(), call, reason })
    }

    /// The pipe's own failure, which explains whatever the guest made of it.
    pub(crate) fn stream_failed(&mut self, path: String, error: AddonError) -> SandboxError {
        let state = self.store.data_mut();
        match state.watch.stopping() {
            Some(reason) if error.kind == ErrorKind::Cancelled => cancelled(state, reason),
            _ => SandboxError::Stream { addon: state.addon.clone(), path, error },
        }
    }
}

fn begin(store: &mut Store<State>) {
    store.set_epoch_deadline(1);
    store.data_mut().watch.begin();
}

fn cancelled(state: &State, reason: String) -> SandboxError {
    SandboxError::Cancelled { addon: state.addon.clone(), reason }
}

/// Why a call did not return, in the order of what is certain: what the host did, what was asked of the guest,
/// what the guest said, what it hit.
fn diagnose(state: &mut State, call: &'static str, error: &wasmtime::Error) -> SandboxError {
    let addon = state.addon.clone();
    match state.stop.take() {
        Some(Stop::Cancelled(reason)) => return SandboxError::Cancelled { addon, reason },
        Some(Stop::CpuDeadline(deadline)) => return SandboxError::CpuDeadline { addon, call, deadline },
        Some(Stop::LogFlood(reason)) => return SandboxError::LogFlood { addon, call, reason },
        Some(Stop::Violation(reason)) => return SandboxError::Violation { addon, call, reason },
        None => {}
    }
    match state.limits.take_exceeded() {
        Some(Exceeded::Memory) => return SandboxError::Memory { addon, call, limit: state.limits.memory_mib() },
        Some(Exceeded::Other(reason)) => return SandboxError::Trapped { addon, call, reason },
        None => {}
    }
    let trap = error.downcast_ref::<Trap>();
    // The cause without wasmtime's back trace, which names functions of the guest by number.
    let reason = trap.map_or_else(|| error.root_cause().to_string(), |trap| in_words(*trap));
    if let Some(cancellation) = state.watch.stopping() {
        tracing::debug!(addon, call, reason, "an addon crashed after it was cancelled");
        return cancelled(state, cancellation);
    }
    if let Some(message) = state.last_error.as_deref().and_then(|line| line.strip_prefix(PANIC)) {
        return SandboxError::Panicked { addon, call, message: message.to_owned() };
    }
    SandboxError::Trapped { addon, call, reason: message(&reason, ERROR_MESSAGE) }
}

fn in_words(trap: Trap) -> String {
    match trap {
        Trap::UnreachableCodeReached => {
            "it stopped itself (an `unreachable` instruction: a panic without a message, a failed assertion or allocation)"
        }
        Trap::StackOverflow => "its stack overflowed: it recursed too deeply",
        Trap::MemoryOutOfBounds => "it reached outside of its memory, perhaps after a stack overflow",
        Trap::IntegerDivisionByZero => "it divided by zero",
        Trap::IntegerOverflow | Trap::BadConversionToInteger => "a number did not fit",
        Trap::TableOutOfBounds | Trap::IndirectCallToNull | Trap::BadSignature => "it called a function that does not exist",
        other => return other.to_string(),
    }
    .to_owned()
}
