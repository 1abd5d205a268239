//! What a component asks for, read from its imports before it runs, and the check against what the Function grants.

use std::collections::BTreeSet;
use std::fmt;

use coffer_api::plan::Permissions;
use wasmtime::component::Component;

use crate::contract::CONTRACT;
use crate::error::SandboxError;

const PACKAGE: &str = "coffer:addon/";
const EXPORTS: [&str; 3] = ["describe", "backup", "restore"];

/// One interface of the contract, granted or refused on its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Capability {
    /// Parameters, log, progress, clock, random bytes. Always granted.
    Run,
    /// The streams into and out of the repository. Always granted.
    Pipe,
    /// The database: its description, its credentials, connections to it.
    Target,
}

impl Capability {
    fn from_interface(name: &str) -> Option<Self> {
        match name {
            "run" => Some(Self::Run),
            "pipe" => Some(Self::Pipe),
            "target" => Some(Self::Target),
            _ => None,
        }
    }

    /// The line under `spec.component.permissions` of a Function that grants it; `None` if it is always granted.
    pub fn grant(self) -> Option<&'static str> {
        match self {
            Self::Run | Self::Pipe => None,
            Self::Target => Some("target: true"),
        }
    }

    fn granted(self, permissions: &Permissions) -> bool {
        match self {
            Self::Run | Self::Pipe => true,
            Self::Target => permissions.target,
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Run => "run",
            Self::Pipe => "pipe",
            Self::Target => "target",
        })
    }
}

/// What the component imports. Refuses other contract versions, and imports that are not the contract's.
pub(crate) fn wanted(component: &Component, name: &str) -> Result<Vec<Capability>, SandboxError> {
    let engine = component.engine();
    let ty = component.component_type();
    let exports: Vec<&str> = ty.exports(engine).map(|(export, _)| export).collect();
    let imports: Vec<&str> = ty.imports(engine).map(|(import, _)| import).collect();

    // The version first: another one explains every other difference.
    for item in exports.iter().chain(&imports) {
        if let Some((_, version)) = contract_item(item)
            && version != CONTRACT
        {
            return Err(SandboxError::ContractVersion { name: name.to_owned(), built_for: version.to_owned() });
        }
    }
    let mut wants = BTreeSet::new();
    for import in imports {
        match contract_item(import).map(|(interface, _)| interface) {
            // Types only: nothing can be called.
            Some("types") => {}
            Some(interface) if let Some(capability) = Capability::from_interface(interface) => {
                wants.insert(capability);
            }
            _ => return Err(SandboxError::UnknownImport { name: name.to_owned(), import: import.to_owned() }),
        }
    }
    for interface in EXPORTS {
        let export = format!("{PACKAGE}{interface}@{CONTRACT}");
        if !exports.contains(&export.as_str()) {
            let reason = format!("it is a component, but it does not export {export}, which every addon must");
            return Err(SandboxError::NotAnAddon { name: name.to_owned(), reason });
        }
    }
    Ok(wants.into_iter().collect())
}

/// Interface and version of an item of our package, whatever its version.
fn contract_item(item: &str) -> Option<(&str, &str)> {
    item.strip_prefix(PACKAGE).map(|rest| rest.split_once('@').unwrap_or((rest, "without a version")))
}

/// Whether everything wanted is granted.
pub(crate) fn check(addon: &str, wants: &[Capability], permissions: &Permissions) -> Result<(), SandboxError> {
    for &capability in wants {
        if !capability.granted(permissions)
            && let Some(line) = capability.grant()
        {
            return Err(SandboxError::NotGranted { addon: addon.to_owned(), capability, line });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_names_the_line_to_add() {
        let wants = [Capability::Run, Capability::Pipe, Capability::Target];
        let error = check("mysql", &wants, &Permissions::default()).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("addon mysql needs the permission `target`"), "{text}");
        assert!(text.ends_with("spec.component.permissions of the Function: target: true"), "{text}");
        assert!(check("mysql", &wants[..2], &Permissions::default()).is_ok());
        assert!(check("mysql", &wants, &Permissions { target: true, ..Permissions::default() }).is_ok());
    }
}
