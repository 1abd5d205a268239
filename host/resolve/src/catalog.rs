//! Addons and Functions that exist without a manifest: what the caller has built in.

use coffer_api::addons::{Addon, Function};
use coffer_api::{ResourceExt, addons};

use crate::error::{ErrorKind, ResolveError};
use crate::manifest;

/// Addons and Functions that stand in for objects that the user has not written.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    /// The Addons.
    pub addons: Vec<Addon>,
    /// The Functions.
    pub functions: Vec<Function>,
}

impl Catalog {
    /// Reads a catalog from the text of its manifests; `name` is for messages.
    pub fn from_text(name: &str, text: &str) -> Result<Self, ResolveError> {
        let mut catalog = Self::default();
        for manifest in manifest::parse(name, text)? {
            match (manifest.group.as_str(), manifest.kind.as_str()) {
                (addons::GROUP, "Addon") => catalog.addons.push(manifest.typed()?),
                (addons::GROUP, "Function") => catalog.functions.push(manifest.typed()?),
                _ => {
                    return Err(ResolveError::new(
                        ErrorKind::Malformed,
                        format!("{}: a {} in the catalog", manifest.source, manifest.kind),
                        "a catalog holds Addons and Functions",
                        "move it elsewhere",
                    ));
                }
            }
        }
        Ok(catalog)
    }

    pub(crate) fn addon(&self, name: &str) -> Option<&Addon> {
        self.addons.iter().find(|addon| addon.name_any() == name)
    }

    pub(crate) fn function(&self, name: &str) -> Option<&Function> {
        self.functions.iter().find(|function| function.name_any() == name)
    }
}
