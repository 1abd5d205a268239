//! Where `tests/tools/*.sh` put the programs.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

/// The folder that the scripts install into: `$COFFER_TOOLS`, else `coffer/tools` in the user's cache folder.
pub fn folder() -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os("COFFER_TOOLS") {
        return Ok(folder.into());
    }
    let cache = match std::env::var_os("XDG_CACHE_HOME") {
        Some(cache) => PathBuf::from(cache),
        None => PathBuf::from(std::env::var_os("HOME").context("neither COFFER_TOOLS nor HOME is set")?).join(".cache"),
    };
    Ok(cache.join("coffer/tools"))
}

/// The program `<group>/bin/<name>`; the error says which script installs it.
pub fn program(group: &str, name: &str) -> Result<PathBuf> {
    let path = folder()?.join(group).join("bin").join(name);
    if !path.exists() {
        bail!(
            "{name} is not installed (looked for {}): run tests/tools/{group}.sh, or `make tools` for all",
            path.display()
        );
    }
    Ok(path)
}
