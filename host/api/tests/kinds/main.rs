//! The kinds: their types, their definitions, and what those take and refuse.

#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests")]

mod admission;
mod definitions;
mod fields;
mod manifests;
mod round_trip;
