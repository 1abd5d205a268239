//! What follows from objects alone, as tables and properties.

#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests")]

mod lifecycle;
mod phase;
mod retention;
mod usage;
