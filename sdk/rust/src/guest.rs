//! The SDK inside a guest: the host behind the handles, and the component's exports in front of an [`Addon`].
//!
//! Only [`crate::export_addon!`] uses this module.

mod backup;
mod host;
mod restore;
mod runtime;

use std::marker::PhantomData;

use self::bindings::coffer::addon::types;
use self::bindings::exports::coffer::addon::describe;
use crate::{Addon, Direction, Error, ErrorKind, Fact, Parameter, Task, ValueType};

#[allow(
    missing_docs,
    unsafe_code,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "written by wit-bindgen from the documented WIT"
)]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../../wit/since-0.1.0",
        world: "addon",
        pub_export_macro: true,
        export_macro_name: "export_component",
        default_bindings_module: "coffer_addon_sdk::guest::bindings",
    });
}

/// The longest error message that the contract allows.
const MAX_MESSAGE: usize = 16 * 1024;

/// The exports of a component, made from an addon.
pub struct Component<A>(PhantomData<A>);

impl<A: Addon> describe::Guest for Component<A> {
    fn describe() -> describe::Description {
        runtime::start();
        let description = A::describe();
        describe::Description {
            name: description.name,
            version: description.version,
            help: description.help,
            addons: description.addons,
            tasks: description.tasks.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<Task> for describe::Task {
    fn from(task: Task) -> Self {
        Self {
            name: task.name,
            help: task.help,
            direction: match task.direction {
                Direction::Backup => describe::Direction::Backup,
                Direction::Restore => describe::Direction::Restore,
            },
            function: task.function,
            component: task.component,
            parameters: task.parameters.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<Parameter> for describe::Parameter {
    fn from(parameter: Parameter) -> Self {
        Self {
            name: parameter.name,
            help: parameter.help,
            kind: match parameter.kind {
                ValueType::Text => describe::ValueType::Text,
                ValueType::Integer => describe::ValueType::Integer,
                ValueType::Boolean => describe::ValueType::Boolean,
                ValueType::Duration => describe::ValueType::Duration,
                ValueType::Quantity => describe::ValueType::Quantity,
                ValueType::Choice(values) => describe::ValueType::Choice(values),
            },
            default: parameter.default,
            required: parameter.required,
        }
    }
}

impl From<types::Error> for Error {
    fn from(error: types::Error) -> Self {
        let kind = match error.kind {
            types::ErrorKind::Invalid => ErrorKind::Invalid,
            types::ErrorKind::Denied => ErrorKind::Denied,
            types::ErrorKind::Unavailable => ErrorKind::Unavailable,
            types::ErrorKind::Protocol => ErrorKind::Protocol,
            types::ErrorKind::Data => ErrorKind::Data,
            types::ErrorKind::Unsupported => ErrorKind::Unsupported,
            types::ErrorKind::Cancelled => ErrorKind::Cancelled,
            types::ErrorKind::Internal => ErrorKind::Internal,
        };
        Self { kind, message: error.message, retryable: error.retryable }
    }
}

impl From<Error> for types::Error {
    fn from(error: Error) -> Self {
        let kind = match error.kind {
            ErrorKind::Invalid => types::ErrorKind::Invalid,
            ErrorKind::Denied => types::ErrorKind::Denied,
            ErrorKind::Unavailable => types::ErrorKind::Unavailable,
            ErrorKind::Protocol => types::ErrorKind::Protocol,
            ErrorKind::Data => types::ErrorKind::Data,
            ErrorKind::Unsupported => types::ErrorKind::Unsupported,
            ErrorKind::Cancelled => types::ErrorKind::Cancelled,
            ErrorKind::Internal => types::ErrorKind::Internal,
        };
        let mut message = error.message;
        message.truncate(message.floor_char_boundary(MAX_MESSAGE));
        Self { kind, message, retryable: error.retryable }
    }
}

impl From<types::Fact> for Fact {
    fn from(fact: types::Fact) -> Self {
        Self { name: fact.name, value: fact.value }
    }
}

impl From<Fact> for types::Fact {
    fn from(fact: Fact) -> Self {
        Self { name: fact.name, value: fact.value }
    }
}

/// Converts each.
fn all<T, U: From<T>>(values: Vec<T>) -> Vec<U> {
    values.into_iter().map(U::from).collect()
}

/// What every call after `close` gets. The host does not make one; a defect there must not become a trap here.
fn closed() -> types::Error {
    Error::internal("the session was used while another call was running").into()
}
