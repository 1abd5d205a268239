//! In a cluster: a real control plane (`KUBEBUILDER_ASSETS`), played kubelets, the `coffer` binary, real databases and object stores.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    unreachable_pub,
    reason = "tests fail by panicking"
)]

mod admission;
mod aftermath;
mod deletion;
mod faults;
mod flow;
mod injected;
mod kubelet;
mod leaders;
mod operator;
mod outside;
mod plugin;
mod rights;
mod scale;
mod world;
