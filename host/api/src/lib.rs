//! The custom resources that Coffer understands, what follows from them alone, and the plain types of a backup plan.
//!
//! The groups, kinds and fields are KubeStash's; what Coffer adds is additive. Nothing here does input or output.
//!
//! - The kinds: [`addons`], [`storage`], [`core`], [`appcatalog`], made of [`shared`], [`pod`] and [`volume`].
//! - Words and texts: [`names`], [`meta`], [`condition`], [`duration`], [`size`], [`substitute`].
//! - Decisions: [`phase`], [`lifecycle`], [`retention`] (with [`period`]), [`usage`].
//! - What a cluster is told of the kinds: [`crd`].
//! - A resolved backup or restore: [`plan`]; and what stops one: [`cancel`].

pub mod addons;
pub mod appcatalog;
pub mod cancel;
pub mod condition;
pub mod core;
pub mod crd;
pub mod duration;
pub mod lifecycle;
pub mod meta;
pub mod names;
pub mod period;
pub mod phase;
pub mod plan;
pub mod pod;
pub mod retention;
pub mod shared;
pub mod size;
mod snapshot;
pub mod storage;
pub mod substitute;
pub mod usage;
pub mod volume;

/// The types of Kubernetes itself that the resources are made of.
pub use k8s_openapi;
/// The traits that all resources implement.
pub use kube::{Resource, ResourceExt};
