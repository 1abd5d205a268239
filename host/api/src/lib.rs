//! The custom resources that Coffer understands, and the plain types of a backup plan.
//!
//! The groups, kinds and fields are KubeStash's; what Coffer adds is additive. Nothing here does input or output.

pub mod addons;
pub mod appcatalog;
pub mod cancel;
pub mod core;
pub mod duration;
pub mod names;
pub mod plan;
mod session;
pub mod shared;
pub mod size;
mod snapshot;
pub mod storage;
pub mod substitute;
pub mod volume;

/// The types of Kubernetes itself that the resources are made of.
pub use k8s_openapi;
/// The traits that all resources implement.
pub use kube::{Resource, ResourceExt};
