//! Builds the builtin addons into components and writes the table that `lib.rs` includes.

#![expect(clippy::print_stderr, reason = "how a build script talks to people")]

use std::error::Error;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::{env, fs};

use coffer_addon_build::{Guest, target_dir};

/// Name of the addon, and its package. Its sources are in `addons/<name>`.
const ADDONS: [(&str, &str); 1] = [("mysql", "coffer-addon-mysql")];

fn main() -> Result<(), Box<dyn Error>> {
    let workspace = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../..").canonicalize()?;
    let out_dir = PathBuf::from(env::var("OUT_DIR")?);
    let guests = target_dir(&out_dir).unwrap_or_else(|| out_dir.join("guests"));

    for path in ["sdk/rust", "wit", "Cargo.toml", "Cargo.lock", ".cargo/config.toml"] {
        println!("cargo::rerun-if-changed={}", workspace.join(path).display());
    }
    let mut table = String::from("const COMPONENTS: &[(&str, &[u8])] = &[\n");
    for (name, package) in ADDONS {
        // Not the whole folder: its tests do not go into the component.
        for part in ["src", "Cargo.toml"] {
            println!("cargo::rerun-if-changed={}", workspace.join("addons").join(name).join(part).display());
        }
        let component = match Guest::library(&workspace, package).build(&guests) {
            Ok(component) => component,
            Err(error) => {
                // Returned errors are shown in their Debug form, on one line. This is for people.
                eprintln!("{error}");
                return Err(format!("the builtin addon `{name}` was not built; the reason is above").into());
            }
        };
        fs::write(out_dir.join(format!("{name}.wasm")), component)?;
        writeln!(table, "    ({name:?}, include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{name}.wasm\"))),")?;
    }
    table.push_str("];\n");
    fs::write(out_dir.join("components.rs"), table)?;
    Ok(())
}
