//! From core module to component.

use wit_component::{ComponentEncoder, DecodedWasm};

use crate::BuildError;

/// The exports that make a component an addon.
const EXPORTS: [&str; 3] = ["describe", "backup", "restore"];

/// What a component has to do with the world around it: full names such as `coffer:addon/run@0.1.0`, sorted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interfaces {
    /// What it uses.
    pub imports: Vec<String>,
    /// What it offers.
    pub exports: Vec<String>,
}

/// Makes a component of a core module that was built with the SDK, and checks that it is an addon.
pub fn encode(module: &[u8]) -> Result<Vec<u8>, BuildError> {
    let mut encoder = ComponentEncoder::default();
    let component = encoder
        .validate(true)
        .module(module)
        .and_then(ComponentEncoder::encode)
        .map_err(|error| BuildError::Encode(format!("{error:#}")))?;
    let exports = interfaces(&component)?.exports;
    for name in EXPORTS {
        let prefix = format!("coffer:addon/{name}@");
        if !exports.iter().any(|export| export.starts_with(&prefix)) {
            return Err(BuildError::NoAddon(name));
        }
    }
    Ok(component)
}

/// What a component imports and exports.
pub fn interfaces(component: &[u8]) -> Result<Interfaces, BuildError> {
    let wrong = |why: String| BuildError::Encode(why);
    let decoded = wit_component::decode(component).map_err(|error| wrong(format!("{error:#}")))?;
    let DecodedWasm::Component(resolve, world) = decoded else {
        return Err(wrong("it is a WIT package".to_owned()));
    };
    let world = resolve.worlds.get(world).ok_or_else(|| wrong("it has no world".to_owned()))?;
    let names = |keys: Vec<String>| {
        let mut names = keys;
        names.sort();
        names
    };
    Ok(Interfaces {
        imports: names(world.imports.keys().map(|key| resolve.name_world_key(key)).collect()),
        exports: names(world.exports.keys().map(|key| resolve.name_world_key(key)).collect()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The shortest core module: magic and version.
    const EMPTY: &[u8] = b"\0asm\x01\0\0\0";

    #[test]
    fn a_module_without_exports_is_no_addon() {
        let error = encode(EMPTY).unwrap_err();
        assert!(error.to_string().contains("export_addon!"), "{error}");
    }

    #[test]
    fn what_is_no_module_is_refused() {
        assert!(matches!(encode(b"hello"), Err(BuildError::Encode(_))));
    }
}
