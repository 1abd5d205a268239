//! Guests that misbehave: each is stopped with a message that says what it did, and the host goes on.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests, which clippy does not know as such"
)]

mod guests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use coffer_sandbox::SandboxError;
use coffer_sandbox::contract::{AddonError, Entry, ErrorKind};
use guests::{
    CANCELLED, Collected, ELAPSED, FINISH, GOOD_RUN, Given, Guest, Heard, LOG, RANDOM, READ, SLEEP, WRITE, item,
    options, restore_item, run_error,
};

const LOOP: &str = "(loop $l (br $l)) (i32.const 64)";

fn contains(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
}

#[test]
fn a_good_guest_runs_to_its_end() {
    let component = Guest::running(&[WRITE, FINISH], GOOD_RUN).load();
    let description = component.describe().unwrap();
    assert_eq!((description.name.as_str(), description.version.as_str()), ("evil", "1.0"));
    let mut session = component.backup(options()).unwrap();
    assert_eq!(session.prepare().unwrap(), "");
    session.join("view").unwrap();
    assert_eq!(session.release().unwrap(), None);
    let plan = session.plan().unwrap();
    assert_eq!(plan.items, [item()]);
    for _ in 0..3 {
        let sink = Collected::default();
        assert_eq!(session.run(&plan.items[0], Box::new(sink.clone())).unwrap(), []);
        assert_eq!(*sink.bytes.lock().unwrap(), b"hello");
        assert_eq!(*sink.finished.lock().unwrap(), Some(5));
    }
    session.close().unwrap();
}

#[test]
fn an_endless_loop_hits_the_cpu_deadline_and_the_session_says_so_ever_after() {
    let mut options = options();
    options.permissions.cpu_deadline = Duration::from_millis(300);
    let mut session = Guest::running(&[], LOOP).load().backup(options).unwrap();
    let error = session.run(&item(), Box::new(Collected::default())).unwrap_err();
    assert!(matches!(error, SandboxError::CpuDeadline { .. }), "{error}");
    contains(&error.to_string(), &["evil", "backup.run", "0.3 s", "cpuDeadline"]);
    let error = session.plan().unwrap_err().to_string();
    contains(&error, &["session of the addon evil has ended", "cpuDeadline"]);
}

#[test]
fn a_crash_in_describe_is_named() {
    let guest = Guest { describe: "(unreachable)", ..Guest::default() };
    contains(&guest.load().describe().unwrap_err().to_string(), &["evil", "crashed in describe"]);
}

#[test]
fn loops_over_cheap_host_calls_hit_the_deadline() {
    let loops: [(&'static [&'static str], &'static str); 3] = [
        (&[CANCELLED], "(loop $l (br_if $l (i32.eqz (call $cancelled)))) (loop $m (br $m)) (i32.const 64)"),
        (&[ELAPSED], "(loop $l (br_if $l (i64.ge_s (call $elapsed) (i64.const 0)))) (i32.const 64)"),
        (
            &[WRITE],
            "(loop $l (call $write (local.get $pipe) (i32.const 0) (i32.const 0) (i32.const 256)) (br $l)) (unreachable)",
        ),
    ];
    for (imports, run) in loops {
        let mut options = options();
        options.permissions.cpu_deadline = Duration::from_millis(200);
        contains(&run_error(&Guest::running(imports, run), options), &["cpuDeadline"]);
    }
}

#[test]
fn cancelling_stops_what_never_returns() {
    let endless: [(&'static [&'static str], &'static str); 4] = [
        (&[], LOOP),
        (&[CANCELLED], "(loop $l (drop (call $cancelled)) (br $l)) (unreachable)"),
        (
            &[SLEEP],
            "(loop $l (global.set $heap (i32.const 65536)) (call $sleep (i32.const 3600000) (i32.const 256)) (br $l)) (unreachable)",
        ),
        (
            &[WRITE],
            "(loop $l (global.set $heap (i32.const 65536))
                (call $write (local.get $pipe) (i32.const 0) (i32.const 1) (i32.const 256)) (br $l)) (unreachable)",
        ),
    ];
    for (imports, run) in endless {
        let options = options();
        let cancel = options.cancel.clone();
        let mut session = Guest::running(imports, run).load().backup(options).unwrap();
        let thread = std::thread::spawn(move || {
            let result = session.run(&item(), Box::new(Collected::default()));
            (result.unwrap_err(), Instant::now())
        });
        cancel.cancel("interrupted by a test");
        let start = Instant::now();
        let (error, end) = thread.join().unwrap();
        assert!(matches!(error, SandboxError::Cancelled { .. }), "{error}");
        contains(&error.to_string(), &["evil", "interrupted by a test"]);
        // Sooner than its CPU deadline, with room for a busy machine.
        assert!(end.duration_since(start) < Duration::from_secs(20), "it took {:?}", end.duration_since(start));
    }
}

#[test]
fn a_guest_that_crashes_because_of_a_cancellation_was_cancelled() {
    let options = options();
    let cancel = options.cancel.clone();
    let run = "(call $sleep (i32.const 3600000) (i32.const 256)) (unreachable)";
    let mut session = Guest::running(&[SLEEP], run).load().backup(options).unwrap();
    let thread = std::thread::spawn(move || session.run(&item(), Box::new(Collected::default())).unwrap_err());
    cancel.cancel("interrupted by a test");
    let error = thread.join().unwrap();
    assert!(matches!(error, SandboxError::Cancelled { .. }), "{error}");
}

#[test]
fn a_time_limit_stops_a_sleeper() {
    let run =
        "(call $sleep (i32.const 3600000) (i32.const 256)) (call $fail (i32.const 6) (i32.const 1024) (i32.const 5))";
    let component = Guest::running(&[SLEEP], run).load();
    // The clock starts once the guest is compiled, so that the limit ends its sleep and not our preparations.
    let mut options = options();
    options.cancel = options.cancel.with_deadline(Duration::from_secs(3));
    let mut session = component.backup(options).unwrap();
    let error = session.run(&item(), Box::new(Collected::default())).unwrap_err();
    contains(&error.to_string(), &["the addon evil was stopped", "time limit"]);
}

#[test]
fn ten_gibibytes_are_refused() {
    let run = "(loop $l (drop (memory.grow (i32.const 256))) (br $l)) (i32.const 64)";
    let error = run_error(&Guest::running(&[], run), options());
    contains(&error, &["evil", "32 MiB", "permissions.memory", "memory: \"64Mi\""]);
}

#[test]
fn a_guest_that_starts_with_too_much_memory_is_refused() {
    let mut options = options();
    options.permissions.memory = 1 << 20;
    let error = Guest::default().load().backup(options).err().unwrap().to_string();
    contains(&error, &["1 MiB", "permissions.memory"]);
}

#[test]
fn deep_recursion_is_a_stack_overflow() {
    let guest = Guest {
        extra: "(func $deep (param i32) (result i32) (i32.add (call $deep (local.get 0)) (i32.const 1)))".to_owned(),
        ..Guest::running(&[], "(call $deep (i32.const 1))")
    };
    contains(&run_error(&guest, options()), &["evil crashed", "stack overflowed"]);
}

#[test]
fn a_trap_in_mid_stream_is_never_the_end_of_the_stream() {
    let run = "(call $write (local.get $pipe) (i32.const 1024) (i32.const 5) (i32.const 256)) (unreachable)";
    let mut session = Guest::running(&[WRITE], run).load().backup(options()).unwrap();
    let sink = Collected::default();
    let error = session.run(&item(), Box::new(sink.clone())).unwrap_err().to_string();
    contains(&error, &["crashed in backup.run", "stopped itself"]);
    assert_eq!(*sink.finished.lock().unwrap(), None);
    assert_eq!(Arc::strong_count(&sink.finished), 1, "the sandbox has let go of the sink");
}

#[test]
fn a_panic_surfaces_with_its_message() {
    let guest = Guest {
        extra: r#"(data (i32.const 2048) "panic: panicked at src/lib.rs:7:9:\0aindex out of bounds")"#.to_owned(),
        ..Guest::running(&[LOG], "(call $log (i32.const 0) (i32.const 2048) (i32.const 54)) (unreachable)")
    };
    contains(&run_error(&guest, options()), &["addon evil panicked: panicked at src/lib.rs:7:9: index out of bound"]);
}

#[test]
fn streams_that_are_not_finished_or_finished_wrongly_fail() {
    let write = "(call $write (local.get $pipe) (i32.const 1024) (i32.const 5) (i32.const 256))";
    let finish = "(call $finish (local.get $pipe) (i64.const 5) (i32.const 256))";
    let ok = "(i32.const 64)";
    let case = |pieces: &[&str], expected: &str| {
        let run: &'static str = pieces.join(" ").leak();
        contains(&run_error(&Guest::running(&[WRITE, FINISH], run), options()), &[expected, "evil"]);
    };
    case(&[write, ok], "returned success after 5 bytes but did not finish its stream");
    case(&[write, finish, finish, ok], "finished its stream twice");
    case(&[write, finish, write, ok], "after it had finished");
    case(
        &["(call $finish (local.get $pipe) (i64.const 6) (i32.const 256))", ok],
        "says that the stream has 6 bytes, but it wrote 0",
    );
    case(&[write, finish, "(call $fail (i32.const 4) (i32.const 1024) (i32.const 5))"], "addon evil: hello");
}

#[test]
fn a_broken_repository_explains_what_the_guest_makes_of_it() {
    let broken = AddonError::new(ErrorKind::Unavailable, "the disk is full").retryable();
    for end in ["(i32.const 64)", "(call $fail (i32.const 7) (i32.const 1024) (i32.const 5))"] {
        let run: &'static str =
            format!("(call $write (local.get $pipe) (i32.const 1024) (i32.const 5) (i32.const 256)) {end}").leak();
        let mut session = Guest::running(&[WRITE], run).load().backup(options()).unwrap();
        let sink = Collected { broken: Some(broken.clone()), ..Collected::default() };
        let error = session.run(&item(), Box::new(sink)).unwrap_err();
        assert!(error.is_retryable() && error.kind() == ErrorKind::Unavailable);
        contains(&error.to_string(), &["a/b.txt", "evil", "the disk is full"]);
    }
}

#[test]
fn a_writer_kept_from_an_earlier_item_reaches_nothing() {
    // The first run keeps its handle in a global; the second one writes to it and finishes its own.
    let guest = Guest {
        extra: "(global $kept (mut i32) (i32.const 0))".to_owned(),
        ..Guest::running(
            &[WRITE, FINISH],
            "(if (i32.eqz (global.get $kept))
                (then (global.set $kept (local.get $pipe)))
                (else (call $write (global.get $kept) (i32.const 1024) (i32.const 5) (i32.const 256))))
             (call $finish (local.get $pipe) (i64.const 0) (i32.const 256))
             (i32.const 64)",
        )
    };
    let mut session = guest.load().backup(options()).unwrap();
    for _ in 0..2 {
        let sink = Collected::default();
        session.run(&item(), Box::new(sink.clone())).unwrap();
        assert!(sink.bytes.lock().unwrap().is_empty());
    }
}

#[test]
fn huge_writes_reads_and_requests_are_violations() {
    let cases: [(&'static [&'static str], &'static str, &str); 2] = [
        (
            &[WRITE],
            "(call $write (local.get $pipe) (i32.const 0) (i32.const 1048577) (i32.const 256)) (i32.const 64)",
            "wrote 1048577 bytes",
        ),
        (&[RANDOM], "(call $random (i32.const 65537) (i32.const 256)) (i32.const 64)", "65537 random bytes"),
    ];
    for (imports, run, expected) in cases {
        contains(&run_error(&Guest::running(imports, run), options()), &["broke its contract in backup.run", expected]);
    }
}

#[test]
fn huge_lists_and_strings_are_violations() {
    // prepare returns a string of 2 MiB.
    let prepare =
        "(i32.store (i32.const 68) (i32.const 65536)) (i32.store (i32.const 72) (i32.const 2097152)) (i32.const 64)";
    let mut session = Guest { prepare, ..Guest::default() }.load().backup(options()).unwrap();
    contains(&session.prepare().unwrap_err().to_string(), &["backup.prepare", "the view has 2097152 bytes"]);

    // plan returns a list of 2^27 items that lies in no memory; and one of 100,000 items without a path.
    let plan = "(i32.store (i32.const 324) (i32.const 65536)) (i32.store (i32.const 328) (i32.const 134217728)) (i32.const 320)";
    let mut session = Guest { plan, ..Guest::default() }.load().backup(options()).unwrap();
    contains(&session.plan().unwrap_err().to_string(), &["evil", "backup.plan"]);
    let plan =
        "(i32.store (i32.const 324) (i32.const 65536)) (i32.store (i32.const 328) (i32.const 100000)) (i32.const 320)";
    let mut session = Guest { plan, ..Guest::default() }.load().backup(options()).unwrap();
    contains(&session.plan().unwrap_err().to_string(), &["broke its contract in backup.plan", "is empty"]);

    // No items at all.
    let mut session = Guest { plan: "(i32.const 64)", ..Guest::default() }.load().backup(options()).unwrap();
    contains(&session.plan().unwrap_err().to_string(), &["the plan has no items"]);
}

#[test]
fn a_log_flood_is_stopped() {
    let heard = Arc::new(Heard::default());
    let mut options = options();
    options.events = heard.clone();
    let run = "(loop $l (call $log (i32.const 2) (i32.const 1024) (i32.const 5)) (br $l)) (unreachable)";
    contains(&run_error(&Guest::running(&[LOG], run), options), &["evil", "floods the log", "10000 lines"]);
    let lines = heard.lines.lock().unwrap();
    assert!(lines.len() >= 10_000 && lines.len() < 20_000 && lines[0] == "evil Info: hello", "{}", lines.len());
}

#[test]
fn the_password_never_reaches_the_log() {
    let heard = Arc::new(Heard::default());
    let mut options = options();
    options.events = heard.clone();
    let guest = Guest {
        extra: r#"(data (i32.const 2048) "login root/correct-horse failed")"#.to_owned(),
        ..Guest::running(
            &[LOG],
            "(call $log (i32.const 0) (i32.const 2048) (i32.const 31)) (call $fail (i32.const 1) (i32.const 2048) (i32.const 31))",
        )
    };
    let error = run_error(&guest, options);
    assert_eq!(error, "addon evil: login root/*** failed");
    assert_eq!(*heard.lines.lock().unwrap(), ["evil Error: login root/*** failed"]);
}

#[test]
fn a_restore_must_read_to_the_end() {
    let read = "(call $read (local.get $pipe) (i32.const 3) (i32.const 256))";
    let run = |reads: usize, bytes: &[u8]| {
        let run: &'static str = format!("{} (i32.const 64)", read.repeat(reads)).leak();
        let mut session = Guest::restoring(&[READ], run).load().restore(options()).unwrap();
        session.run(&restore_item(), Box::new(Given(bytes.to_vec())))
    };
    assert_eq!(run(2, b"12345").unwrap(), [], "reading exactly all bytes is enough");
    assert_eq!(run(3, b"12345").unwrap(), []);
    assert_eq!(run(0, b"").unwrap(), []);
    contains(&run(1, b"12345").unwrap_err().to_string(), &["stopped reading its stream at 3 bytes"]);
    contains(&run(0, b"1").unwrap_err().to_string(), &["stopped reading its stream at 0 bytes"]);
}

#[test]
fn reading_nothing_at_all_is_a_violation() {
    let run = "(call $read (local.get $pipe) (i32.const 0) (i32.const 256)) (i32.const 64)";
    let mut session = Guest::restoring(&[READ], run).load().restore(options()).unwrap();
    let error = session.run(&restore_item(), Box::new(Given(vec![1]))).unwrap_err().to_string();
    contains(&error, &["asked its stream for 0 bytes"]);
}

#[test]
fn a_restore_plan_names_streams_of_the_snapshot_only() {
    // One stage "hello" with one item "a/b.txt".
    let restore_plan = "(i32.store (i32.const 324) (i32.const 352)) (i32.store (i32.const 328) (i32.const 1))
        (i32.store (i32.const 352) (i32.const 1024)) (i32.store (i32.const 356) (i32.const 5))
        (i32.store (i32.const 360) (i32.const 400)) (i32.store (i32.const 364) (i32.const 1))
        (i32.store (i32.const 400) (i32.const 1040)) (i32.store (i32.const 404) (i32.const 7)) (i32.const 320)";
    let component = Guest { restore_plan, ..Guest::default() }.load();
    let entry = |path: &str| Entry { path: path.to_owned(), size: Some(1), facts: Vec::new() };
    let mut session = component.restore(options()).unwrap();
    let stages = session.plan(&[entry("a/b.txt"), entry("c")], &[]).unwrap();
    assert_eq!((stages[0].name.as_str(), stages[0].items.as_slice()), ("hello", &[restore_item()][..]));
    session.finish().unwrap();
    session.close().unwrap();
    let mut session = component.restore(options()).unwrap();
    contains(
        &session.plan(&[entry("c")], &[]).unwrap_err().to_string(),
        &["\"a/b.txt\", which is not in the snapshot"],
    );
    let mut session = component.restore(options()).unwrap();
    let error = session.plan(&[entry("../c")], &[]).unwrap_err();
    assert!(matches!(error, SandboxError::Request { .. }), "{error}");
    session.finish().expect("what the host refused to hand over has not harmed the session");
}

#[test]
fn closing_after_a_cancellation_has_a_grace() {
    let options = options();
    let cancel = options.cancel.clone();
    let guest = Guest {
        close: "(call $sleep (i32.const 300) (i32.const 256)) (i32.const 256)",
        ..Guest::running(&[SLEEP], "")
    };
    let mut session = guest.load().backup(options).unwrap();
    cancel.cancel("interrupted");
    assert!(matches!(session.plan().unwrap_err(), SandboxError::Cancelled { .. }));
    let start = Instant::now();
    session.close().unwrap();
    assert!(start.elapsed() >= Duration::from_millis(300), "the guest was allowed to wait");
}
