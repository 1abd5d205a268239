//! Builds an addon written in Rust into a component: nested cargo for the guests' target, then the component encoder.
//!
//! Used by the build script that embeds the builtin addons, and by tests that want an addon as a component.

mod cargo;
mod component;
mod error;

use std::path::{Path, PathBuf};

pub use component::{Interfaces, encode, interfaces};
pub use error::BuildError;

/// The target that guests are built for: no operating system, so that a component imports Coffer's interfaces and no others.
pub const TARGET: &str = "wasm32-unknown-unknown";

/// What to build.
#[derive(Debug, Clone)]
pub struct Guest {
    /// The workspace that the package is in. Its `Cargo.lock` decides the versions, its profile `guest` how to optimise.
    pub workspace: PathBuf,
    /// The package. Its library is named after it.
    pub package: String,
    /// Build this example of the package instead of its library.
    pub example: Option<String>,
}

impl Guest {
    /// The library of a package.
    pub fn library(workspace: impl Into<PathBuf>, package: impl Into<String>) -> Self {
        Self { workspace: workspace.into(), package: package.into(), example: None }
    }

    /// An example of a package.
    pub fn example(workspace: impl Into<PathBuf>, package: impl Into<String>, example: impl Into<String>) -> Self {
        Self { workspace: workspace.into(), package: package.into(), example: Some(example.into()) }
    }

    /// Builds it and returns the bytes of the component. What cargo makes goes to `target_dir`, which must not be the one of a
    /// cargo that is waiting for this. Processes may call this at the same time: cargo takes turns.
    pub fn build(&self, target_dir: &Path) -> Result<Vec<u8>, BuildError> {
        let file = cargo::build(self, target_dir)?;
        let module = std::fs::read(&file).map_err(|source| BuildError::Read { path: file, source })?;
        encode(&module)
    }
}

/// Where to build guests, found from a path inside of a target folder (a build script's `OUT_DIR`, a test's executable): the
/// folder `guests` beside cargo's own of the profile, so that guests share what they compile and `cargo clean` removes it.
pub fn target_dir(inside: &Path) -> Option<PathBuf> {
    // `<target>/release/build/<package>/out` of a build script, `<target>/release/deps/<test>` of a test.
    let of_cargo = inside.ancestors().find(|dir| dir.ends_with("build") || dir.ends_with("deps"))?;
    Some(of_cargo.parent()?.join("guests"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guests_are_built_beside_what_cargo_builds() {
        for inside in [
            "/home/build/t/release/build/addons-1/out",
            "/home/build/t/release/deps/e2e-2",
            "/home/build/t/release/deps",
        ] {
            assert_eq!(target_dir(Path::new(inside)), Some("/home/build/t/release/guests".into()), "{inside}");
        }
        assert_eq!(target_dir(Path::new("/usr/bin/coffer")), None);
    }
}
