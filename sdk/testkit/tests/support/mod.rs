//! The examples of the SDK as components.

use std::path::Path;
use std::sync::OnceLock;

use coffer_addon_build::{Guest, target_dir};

/// Builds an example of the SDK. Cargo notices when there is nothing to do.
pub(crate) fn example(name: &str) -> Vec<u8> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap();
    let executable = std::env::current_exe().unwrap();
    let target = target_dir(&executable).expect("tests are built inside of a target folder of cargo");
    Guest::example(workspace, "coffer-addon-sdk", name).build(&target).unwrap_or_else(|error| panic!("{error}"))
}

/// Builds an example once per process.
pub(crate) fn example_once(cell: &'static OnceLock<Vec<u8>>, name: &str) -> &'static [u8] {
    cell.get_or_init(|| example(name))
}
