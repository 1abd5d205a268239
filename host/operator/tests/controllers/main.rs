//! The operator against an API server in memory, and somebody who plays the Jobs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::needless_pass_by_value,
    unreachable_pub,
    reason = "a test that cannot go on ends, and JSON literals are handed over as they are"
)]

mod backup;
mod chaos;
mod deletion;
mod fake;
mod leader;
mod owners;
mod restore;
mod setup;
mod tenancy;
mod world;
