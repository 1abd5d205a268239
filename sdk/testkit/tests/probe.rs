//! What the host sees of a guest that was written with the SDK and misbehaves.

#![expect(clippy::unwrap_used, reason = "a test may; clippy exempts test functions only, not their helpers")]

#[cfg(test)]
mod support;

use std::sync::OnceLock;

use coffer_api::cancel::Cancel;
use coffer_sandbox::SandboxError;
use coffer_sandbox::contract::{ErrorKind, Level};
use coffer_testkit::{Failure, Harness};

fn probe(deed: &str) -> Harness {
    static COMPONENT: OnceLock<Vec<u8>> = OnceLock::new();
    let harness = Harness::new(support::example_once(&COMPONENT, "probe")).unwrap();
    // The SDK hands every addon a target, so its components want one whether they use it or not.
    harness.target(([127, 0, 0, 1], 9).into(), "nobody", "").parameter("deed", deed)
}

fn failure(deed: &str) -> Failure {
    *probe(deed).backup().unwrap_err()
}

#[test]
fn a_panic_surfaces_as_a_message() {
    let failure = failure("panic");
    assert!(matches!(&failure.error, SandboxError::Panicked { call: "backup.run", .. }), "{failure}");
    assert!(failure.to_string().contains("divide by zero"), "{failure}");
}

#[test]
fn errors_keep_kind_message_and_retryability() {
    for (deed, kind, retryable, message) in [
        ("error", ErrorKind::Denied, false, "table t: SELECT is missing"),
        ("retryable", ErrorKind::Data, true, "try again"),
        ("forget", ErrorKind::Data, false, "gave up after 0 bytes"),
    ] {
        let failure = failure(deed);
        assert_eq!(failure.error.kind(), kind, "{failure}");
        assert_eq!(failure.error.is_retryable(), retryable, "{failure}");
        let SandboxError::Addon { error, .. } = &failure.error else { panic!("not the addon's error: {failure}") };
        assert_eq!(error.message, message);
    }
}

#[test]
fn a_message_beyond_the_cap_is_cut_and_not_a_violation() {
    let failure = failure("huge");
    let SandboxError::Addon { error, .. } = &failure.error else { panic!("not the addon's error: {failure}") };
    assert!(error.message.len() <= 16 * 1024 && error.message.starts_with('é'));
}

#[test]
fn bytes_arrive_whole_whatever_their_number() {
    for size in [0usize, 1, 262_143, 262_144, 262_145, 3 << 20] {
        let dump = probe("write").parameter("size", &size.to_string()).backup().unwrap();
        let expected: Vec<u8> = (0..=255).cycle().take(size).collect();
        assert!(dump.stream("part-0").unwrap().bytes == expected, "{size} bytes did not arrive as they were written");
    }
}

#[test]
fn workers_share_the_last_view_and_take_turns() {
    let dump = probe("write").workers(3).parameter("size", "10").backup().unwrap();
    assert_eq!(dump.notes, ["doing part-0", "doing part-1", "doing part-2"]);
    let lines: Vec<_> = dump.logs.iter().map(|(level, line)| (*level, line.as_str())).collect();
    assert_eq!(lines, [(Level::Warn, "writing 10 bytes in view view-2"); 3]);
    for n in 0..3 {
        let stream = dump.stream(&format!("part-{n}")).unwrap();
        let facts: Vec<_> = stream.facts.iter().map(|fact| (fact.name.as_str(), fact.value.clone())).collect();
        assert_eq!(facts, [("token", n.to_string()), ("worker", n.to_string())]);
    }
}

#[test]
fn random_bytes_differ() {
    let one = probe("random").backup().unwrap();
    let two = probe("random").backup().unwrap();
    let (one, two) = (&one.stream("part-0").unwrap().bytes, &two.stream("part-0").unwrap().bytes);
    assert_eq!(one.len(), 100_000);
    assert_ne!(one, two);
    assert_ne!(one[..50_000], one[50_000..], "the second request must not repeat the first");
}

#[test]
fn a_cancelled_sleep_ends_at_once() {
    let cancel = Cancel::new();
    cancel.cancel("the test says so");
    let failure = probe("sleep").cancel(cancel).backup().unwrap_err();
    assert_eq!(failure.error.kind(), ErrorKind::Cancelled, "{failure}");
}

#[test]
fn a_direction_the_addon_does_not_know_is_unsupported() {
    let failure = probe("write").task("unprobe").restore(&[], &[]).unwrap_err();
    assert_eq!(failure.error.kind(), ErrorKind::Unsupported, "{failure}");
    assert!(failure.to_string().contains("unprobe"), "{failure}");
}
