//! Real servers for the tests: starts them on free ports, stops them, cleans up.
//!
//! Nothing here outlives the test process: servers are killed when their handle is dropped, and by the kernel if the process dies first; folders
//! that a killed process left behind are removed by the next one. A missing tool is an error that names the script that installs it.
#![allow(clippy::format_push_string, reason = "building SQL text: write! would only add a result to unwrap")]
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

pub mod data;
pub mod disk;
pub mod fingerprint;
pub mod mysql;
pub mod process;
pub mod proxy;
pub mod restic;
pub mod scratch;
pub mod stores;
pub mod tools;
