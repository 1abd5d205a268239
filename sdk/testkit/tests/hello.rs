//! SDK, component, sandbox and pipe, from end to end, with the example that the SDK's README explains.

#![expect(clippy::unwrap_used, reason = "a test may; clippy exempts test functions only, not their helpers")]

#[cfg(test)]
mod support;

use std::sync::OnceLock;

use coffer_sandbox::contract::{ErrorKind, Fact, Level};
use coffer_testkit::{Harness, Peer, Script};

fn hello() -> Harness {
    static COMPONENT: OnceLock<Vec<u8>> = OnceLock::new();
    Harness::new(support::example_once(&COMPONENT, "hello")).unwrap()
}

/// A server with two lists.
fn lists() -> Script {
    Script::new()
        .expect("HELLO me\n")
        .send("OK\n")
        .expect("LIST\n")
        .send("OK people pets\n")
        .expect("DUMP people\n")
        .send("OK 2\nAda\nGrace\n")
        .expect("DUMP pets\n")
        .send("OK 0\n")
}

#[test]
fn a_dump_restores() {
    let peer = Peer::start(vec![lists()]).unwrap();
    let dump = hello().task("backup").target(peer.address(), "me", "secret").backup().unwrap();
    peer.finish().unwrap();
    assert_eq!(dump.stream("people").unwrap().bytes, b"Ada\nGrace\n");
    assert_eq!(dump.stream("pets").unwrap().bytes, b"");
    assert_eq!(dump.fact("format"), Some("lines"));
    assert_eq!(dump.stream("people").unwrap().facts, [Fact { name: "lines".into(), value: "2".into() }]);
    assert_eq!(dump.logs, [(Level::Info, "logged in as \"me\"".to_owned())]);

    let script = Script::new()
        .expect("HI me\n")
        .send("OK\n")
        .expect("LOAD people 2\nAda\nGrace\nEND\n")
        .send("OK 2\n")
        .expect("LOAD pets 0\nEND\n")
        .send("OK 0\n");
    let peer = Peer::start(vec![script]).unwrap();
    let harness = hello().task("restore").parameter("greeting", "HI").target(peer.address(), "me", "secret");
    let restored = harness.restore(&dump.streams, &dump.facts).unwrap();
    peer.finish().unwrap();
    assert_eq!(restored.items.len(), 2, "{restored:?}");
}

#[test]
fn a_server_that_refuses_is_a_denial() {
    let peer = Peer::start(vec![Script::new().expect("HELLO me\n").send("NO\n")]).unwrap();
    let failure = hello().task("backup").target(peer.address(), "me", "secret").backup().unwrap_err();
    peer.finish().unwrap();
    assert_eq!(failure.error.kind(), ErrorKind::Denied, "{failure}");
    assert!(!failure.error.is_retryable(), "{failure}");
    assert!(failure.to_string().contains("HELLO me"), "{failure}");
}

#[test]
fn a_cut_connection_is_unavailable_and_worth_a_retry() {
    let script = Script::new()
        .expect("HELLO me\n")
        .send("OK\n")
        .expect("LIST\n")
        .send("OK people\n")
        .expect("DUMP people\n")
        .send("OK 2\nAda\n")
        .cut();
    let peer = Peer::start(vec![script]).unwrap();
    let failure = hello().task("backup").target(peer.address(), "me", "secret").backup().unwrap_err();
    peer.finish().unwrap();
    assert_eq!(failure.error.kind(), ErrorKind::Unavailable, "{failure}");
    assert!(failure.error.is_retryable(), "{failure}");
}

#[test]
fn a_repository_that_fails_is_not_blamed_on_the_addon() {
    let peer = Peer::start(vec![
        Script::new()
            .expect("HELLO me\n")
            .send("OK\n")
            .expect("LIST\n")
            .send("OK people\n")
            .expect("DUMP people\n")
            .send("OK 1\nAda\n"),
    ])
    .unwrap();
    let harness = hello().task("backup").target(peer.address(), "me", "secret").pipe_fails_after(2);
    let failure = harness.backup().unwrap_err();
    peer.finish().unwrap();
    assert!(matches!(failure.error, coffer_sandbox::SandboxError::Stream { .. }), "{failure}");
    assert!(failure.error.is_retryable(), "{failure}");
}

#[test]
fn without_the_permission_nothing_starts() {
    let failure = hello().task("backup").backup().unwrap_err();
    assert!(matches!(failure.error, coffer_sandbox::SandboxError::NotGranted { .. }), "{failure}");
}
