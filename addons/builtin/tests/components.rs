//! What the builtin components may ask for.

use coffer_addon_build::interfaces;
use coffer_addons_builtin::{builtin, names};

#[test]
fn builtin_components_import_only_the_contract() {
    for name in names() {
        let interfaces = interfaces(builtin(name).unwrap()).unwrap();
        for import in &interfaces.imports {
            assert!(
                import.starts_with("coffer:addon/"),
                "{name} imports {import}, which no host of ours offers: a dependency reached for the operating system"
            );
        }
        assert!(!interfaces.imports.is_empty(), "{name} imports nothing, so it cannot do anything");
    }
}

#[test]
fn builtin_components_do_not_depend_on_where_the_sources_are() {
    let workspace = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap();
    let path = workspace.to_str().unwrap().as_bytes();
    for name in names() {
        let found = builtin(name).unwrap().windows(path.len()).any(|window| window == path);
        assert!(!found, "{name} contains {}: is `--remap-path-prefix` still passed?", workspace.display());
    }
}

#[test]
fn only_known_names_are_found() {
    assert!(names().any(|name| name == "mysql"));
    assert!(builtin("postgres").is_none());
}
