//! The nested cargo.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::{BuildError, Guest, TARGET};

/// Variables that the nested cargo keeps although their names begin with `CARGO`: where its home is, how it reaches the
/// network, and the tokens that keep both cargos together within the number of jobs.
const KEEP: [&str; 3] = ["CARGO_HOME", "CARGO_MAKEFLAGS", "CARGO_TERM_COLOR"];
const KEEP_PREFIXES: [&str; 3] = ["CARGO_NET_", "CARGO_HTTP_", "CARGO_REGISTR"];

/// What build scripts, `cargo clippy` and coverage tools set, besides all that begins with `CARGO`. It is about the outer
/// build, and wrong for the guest.
const SCRUB: [&str; 13] = [
    "RUSTFLAGS",
    "RUSTDOCFLAGS",
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
    "CLIPPY_ARGS",
    "LLVM_PROFILE_FILE",
    "TARGET",
    "HOST",
    "OUT_DIR",
    "PROFILE",
    "OPT_LEVEL",
    "DEBUG",
    "NUM_JOBS",
];

/// Builds the guest and returns where the core module is.
pub(crate) fn build(guest: &Guest, target_dir: &Path) -> Result<PathBuf, BuildError> {
    require_target(guest)?;
    let mut command = clean(&cargo_path(), guest);
    command.args(["rustc", "--locked", "--profile", "guest", "--target", TARGET, "--crate-type", "cdylib"]);
    command.args(["--package", &guest.package]);
    match &guest.example {
        Some(example) => command.args(["--example", example]),
        None => command.arg("--lib"),
    };
    command.arg("--target-dir").arg(target_dir);
    command.arg("--config").arg(rustflags(guest));
    let output = run(&mut command)?;
    if !output.status.success() {
        let messages = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(BuildError::Compile { package: guest.package.clone(), messages });
    }
    let folder = target_dir.join(TARGET).join("guest");
    Ok(match &guest.example {
        Some(example) => folder.join("examples").join(format!("{example}.wasm")),
        None => folder.join(format!("{}.wasm", guest.package.replace('-', "_"))),
    })
}

/// The flags that every guest needs, added to those of the workspace's `.cargo/config.toml`: SIMD, random bytes from the host,
/// and panic messages that do not depend on where the sources are.
fn rustflags(guest: &Guest) -> OsString {
    let mut flags = vec![
        "-Ctarget-feature=+simd128".to_owned(),
        "--cfg=getrandom_backend=\"custom\"".to_owned(),
        format!("--remap-path-prefix={}=.", guest.workspace.display()),
    ];
    let home = env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| Some(env::home_dir()?.join(".cargo")));
    flags.extend(home.map(|home| format!("--remap-path-prefix={}=cargo", home.display())));
    let quoted: Vec<String> =
        flags.iter().map(|flag| format!("\"{}\"", flag.replace('\\', "\\\\").replace('"', "\\\""))).collect();
    format!("target.{TARGET}.rustflags=[{}]", quoted.join(",")).into()
}

/// Checks that the compiler has a standard library for the guests' target; its own message would not say how to get one here.
fn require_target(guest: &Guest) -> Result<(), BuildError> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = run(clean(&rustc, guest).args(["--print", "target-libdir", "--target", TARGET]))?;
    let folder = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    let found = folder.read_dir().is_ok_and(|mut files| {
        files.any(|file| file.is_ok_and(|file| file.file_name().to_string_lossy().starts_with("libstd-")))
    });
    if found { Ok(()) } else { Err(BuildError::NoTarget { looked_in: folder }) }
}

fn cargo_path() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// A command in the guest's workspace that knows nothing of a build around it.
fn clean(program: &OsString, guest: &Guest) -> Command {
    let mut command = Command::new(program);
    command.current_dir(&guest.workspace).stdin(Stdio::null());
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(is_of_outer_build) {
            command.env_remove(name);
        }
    }
    command
}

fn is_of_outer_build(name: &str) -> bool {
    let kept = KEEP.contains(&name) || KEEP_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    SCRUB.contains(&name) || ((name == "CARGO" || name.starts_with("CARGO_") || name.starts_with("DEP_")) && !kept)
}

fn run(command: &mut Command) -> Result<Output, BuildError> {
    command.output().map_err(|error| BuildError::Tool {
        command: command.get_program().to_string_lossy().into_owned(),
        reason: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outer_build_stays_outside() {
        for name in [
            "CARGO_ENCODED_RUSTFLAGS",
            "CARGO_TARGET_DIR",
            "CARGO_FEATURE_X",
            "CARGO_PKG_NAME",
            "RUSTFLAGS",
            "DEP_Z_ROOT",
        ] {
            assert!(is_of_outer_build(name), "{name} would reach the guest's build");
        }
        for name in ["CARGO_HOME", "CARGO_NET_OFFLINE", "CARGO_REGISTRIES_X_INDEX", "PATH", "RUSTUP_TOOLCHAIN", "HOME"]
        {
            assert!(!is_of_outer_build(name), "{name} is needed by the guest's build");
        }
    }

    #[test]
    fn flags_are_one_toml_value() {
        let flags = rustflags(&Guest::library("/a \"b\"", "x")).into_string().unwrap();
        assert!(flags.contains(r#""--remap-path-prefix=/a \"b\"=.""#), "{flags}");
        assert!(flags.contains(r#""--cfg=getrandom_backend=\"custom\"""#), "{flags}");
    }
}
