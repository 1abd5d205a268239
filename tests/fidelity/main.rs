//! Fidelity: a zoo of everything that a database may hold, backed up and restored by every way there is, compared object by object and row
//! by row.
//!
//! `zoo/` has the SQL, `compare` tells two servers apart, `random` makes schemas and rows that nobody thought of.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    unreachable_pub,
    reason = "tests fail by panicking"
)]

mod changes;
mod compare;
mod finds;
mod large;
mod random;
mod roundtrip;
#[allow(dead_code, reason = "the place is made for the end-to-end tests, which use all of it")]
#[path = "../e2e/site.rs"]
mod site;
mod stock;
#[allow(dead_code, reason = "as above")]
#[path = "../e2e/wait.rs"]
mod wait;
mod zoo;
