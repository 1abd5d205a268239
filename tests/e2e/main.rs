//! End to end: the `coffer` binary, real database servers, stock restic, real object stores on loopback.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    unreachable_pub,
    reason = "tests fail by panicking"
)]

mod aftermath;
mod consistency;
mod faults;
mod hostile;
mod input;
mod interop;
mod locks;
mod memory;
mod roundtrip;
mod servers;
mod site;
mod stores;
mod wait;
mod writes;
