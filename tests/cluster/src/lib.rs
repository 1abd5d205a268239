//! A real Kubernetes control plane for the tests, and a player of its kubelets.
//!
//! [`ControlPlane`] starts etcd, the API server and the controller manager that it finds in `KUBEBUILDER_ASSETS`, on free ports of loopback, and
//! stops them with its handle. Nothing of Kubernetes is imitated: objects are validated, defaulted, admitted, watched and collected by the real
//! programs. Only the machines are missing. [`Kubelet`] plays one: it binds Pods to its node and runs their containers as local processes, each
//! in namespaces of its own with the mounts, the user, the environment and the service account that the Pod asks for. A [`Gateway`] before the
//! API server counts what is asked, and answers as a server does that is in trouble.
//!
//! Where there is no control plane, [`ControlPlane::shared`] and [`ControlPlane::start`] return nothing and one loud line says so.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::missing_panics_doc,
    reason = "support for tests: a fixture that cannot be set up fails its test at once"
)]

pub mod ask;
mod assets;
pub mod chance;
pub mod gateway;
mod identity;
pub mod kubelet;
pub mod manifests;
mod namespace;
mod plane;
pub mod record;
pub mod wait;

pub use gateway::Gateway;
pub use kubelet::Kubelet;
pub use namespace::Namespace;
pub use plane::{ControlPlane, write_kubeconfig};
