//! What is refused before anything of the guest runs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests, which clippy does not know as such"
)]

mod guests;

use coffer_api::plan::Permissions;
use coffer_sandbox::{Capability, Engine, SandboxError};
use guests::{CONNECT, FINISH, GOOD_RUN, Guest, LOG, WRITE, of_version, options};

fn refusal(bytes: &[u8]) -> String {
    Engine::new(None).unwrap().load(bytes, "file:///addons/x.wasm").unwrap_err().to_string()
}

#[test]
fn wants_are_read_from_the_imports() {
    assert_eq!(Guest::default().load().wants(), [Capability::Pipe], "the types of the exports need it");
    let all = Guest::running(&[LOG, WRITE, FINISH, CONNECT], GOOD_RUN).load();
    assert_eq!(all.wants(), [Capability::Run, Capability::Pipe, Capability::Target]);
}

#[test]
fn what_is_not_granted_is_refused_with_the_line_to_add() {
    let component = Guest::running(&[CONNECT], "").load();
    assert!(component.describe().is_ok(), "describing needs no permission");
    let mut options = options();
    options.permissions = Permissions::default();
    let error = component.backup(options.clone()).err().unwrap();
    assert!(matches!(error, SandboxError::NotGranted { capability: Capability::Target, .. }), "{error}");
    assert!(error.to_string().ends_with("under spec.component.permissions of the Function: target: true"), "{error}");
    assert_eq!(component.restore(options.clone()).err().unwrap().to_string(), error.to_string());
    assert!(component.check(&options.permissions).is_err());
}

#[test]
fn a_guest_that_wants_less_runs_with_less() {
    let mut options = options();
    options.permissions = Permissions::default();
    options.target = None;
    assert!(Guest::running(&[WRITE, FINISH], GOOD_RUN).load().backup(options).is_ok());
}

#[test]
fn nonsense_in_the_options_is_refused() {
    let component = Guest::running(&[CONNECT], "").load();
    let mut no_target = options();
    no_target.target = None;
    assert!(component.backup(no_target).err().unwrap().to_string().contains("needs a database"));
    let mut no_worker = options();
    no_worker.worker = (2, 2);
    assert!(component.backup(no_worker).err().unwrap().to_string().contains("worker 2 of 2"));
    let mut huge = options();
    huge.parameters = vec![("args".to_owned(), "x".repeat(1 << 20))];
    assert!(component.backup(huge).err().unwrap().to_string().contains("the parameter args has 1048576 bytes"));
}

#[test]
fn unknown_imports_are_named() {
    let wasi = wat::parse_str(r#"(component (import "wasi:cli/environment@0.2.0" (instance)))"#).unwrap();
    let text = refusal(&wasi);
    assert!(text.contains("file:///addons/x.wasm imports wasi:cli/environment@0.2.0"), "{text}");
    assert!(text.contains("wasm32-unknown-unknown"), "{text}");
    let unknown = wat::parse_str(r#"(component (import "coffer:addon/shell@0.1.0" (instance)))"#).unwrap();
    assert!(refusal(&unknown).contains("imports coffer:addon/shell@0.1.0"));
    let bare = wat::parse_str(r#"(component (import "system" (func)))"#).unwrap();
    assert!(refusal(&bare).contains("imports system"));
}

#[test]
fn another_version_of_the_contract_is_named() {
    for version in ["0.2.0", "0.1.1", "1.0.0"] {
        let text = refusal(&of_version(version));
        let expected = format!("x.wasm was built for coffer:addon {version}, this coffer speaks 0.1.0");
        assert!(text.contains(&expected), "{text}");
    }
}

#[test]
fn a_truncated_component_is_refused() {
    let bytes = Guest::default().bytes();
    let text = refusal(&bytes[..bytes.len() / 2]);
    assert!(text.contains("file:///addons/x.wasm cannot be loaded as an addon"), "{text}");
}
