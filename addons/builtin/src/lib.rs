//! The addon components that ship inside the coffer binary.

include!(concat!(env!("OUT_DIR"), "/components.rs"));

/// The component of the builtin addon of this name.
pub fn builtin(name: &str) -> Option<&'static [u8]> {
    COMPONENTS.iter().find(|(known, _)| *known == name).map(|(_, bytes)| *bytes)
}

/// The names of the builtin addons.
pub fn names() -> impl Iterator<Item = &'static str> {
    COMPONENTS.iter().map(|(name, _)| *name)
}
