//! What follows from objects alone, as tables and properties.

#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests")]
#![allow(clippy::needless_pass_by_value, reason = "JSON is written where it is passed")]

mod lifecycle;
mod phase;
mod retention;
mod usage;
