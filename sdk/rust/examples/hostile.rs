//! An addon that breaks the rules on request, for the end-to-end tests. It uses the contract's raw interfaces: the SDK has no way
//! to say much of this. The streams are good up to the last one, where the deed is done.

#![cfg(all(target_arch = "wasm32", target_os = "unknown"))]

use std::mem;

use coffer_addon_sdk::guest::Component;
use coffer_addon_sdk::guest::bindings::coffer::addon::{pipe, run, target, types};
use coffer_addon_sdk::guest::bindings::exports::coffer::addon::{backup, describe, restore};
use coffer_addon_sdk::{Addon, Description, Direction, Parameter, Task, Unsupported, ValueType};

/// What is written at once.
const BLOCK: usize = 64 * 1024;

struct Declared;

impl Addon for Declared {
    type Backup = Unsupported;
    type Restore = Unsupported;

    fn describe() -> Description {
        let task = |name: &str, direction, function: &str| Task {
            name: name.into(),
            help: "Does the deed.".into(),
            direction,
            function: function.into(),
            component: "dump".into(),
            parameters: vec![
                Parameter::new("deed", ValueType::Text, "What to do.").default("good"),
                Parameter::new("size", ValueType::Quantity, "Bytes of a stream.").default("1048576"),
                Parameter::new("streams", ValueType::Integer, "How many streams.").default("1"),
                Parameter::new("workers", ValueType::Integer, "How many sandboxes."),
            ],
        };
        Description {
            name: "hostile".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            help: "Breaks the rules on request.".into(),
            addons: vec!["hostile-addon".into()],
            tasks: vec![
                task("logical-backup", Direction::Backup, "hostile-backup"),
                task("logical-backup-restore", Direction::Restore, "hostile-restore"),
            ],
        }
    }
}

struct Hostile;

impl describe::Guest for Hostile {
    fn describe() -> describe::Description {
        <Component<Declared> as describe::Guest>::describe()
    }
}

impl restore::Guest for Hostile {
    type Session = <Component<Declared> as restore::Guest>::Session;
}

impl backup::Guest for Hostile {
    type Session = Session;
}

struct Session;

impl backup::GuestSession for Session {
    fn open() -> Result<backup::Session, backup::Error> {
        // As a side effect this makes panics visible.
        let _ = <Hostile as describe::Guest>::describe();
        if deed() == "spin-in-open" {
            spin();
        }
        Ok(backup::Session::new(Self))
    }

    fn prepare(&self) -> Result<String, backup::Error> {
        Ok(String::new())
    }

    fn join(&self, _view: String) -> Result<(), backup::Error> {
        Ok(())
    }

    fn release(&self) -> Result<Option<String>, backup::Error> {
        Ok(if deed() == "never-agree" { Some("again".into()) } else { None })
    }

    fn plan(&self) -> Result<backup::Plan, backup::Error> {
        let count = number("streams");
        let mut paths: Vec<String> = (0..count).map(part).collect();
        match deed().as_str() {
            "dotdot" => paths.push("../escape".into()),
            "dotdot-inside" => paths.push("folder/../../escape".into()),
            "absolute" => paths.push("/etc/passwd".into()),
            "empty-path" => paths.push(String::new()),
            "duplicate" => paths.push(part(0)),
            "manifest" => paths.push("manifest.json".into()),
            "below-manifest" => paths.push("manifest.json/part".into()),
            "file-and-folder" => paths.push(format!("{}/part", part(0))),
            "nothing" => paths.clear(),
            _ => {}
        }
        let item = |path| backup::Item { path, estimate: Some(number("size")), token: String::new() };
        Ok(backup::Plan { items: paths.into_iter().map(item).collect(), facts: vec![] })
    }

    fn run(&self, item: backup::Item, writer: pipe::Writer) -> Result<Vec<backup::Fact>, backup::Error> {
        let size = number("size");
        if item.path != part(number("streams").saturating_sub(1)) {
            write(&writer, &item.path, size)?;
            writer.finish(size)?;
            return Ok(vec![]);
        }
        let half = size / 2;
        let deed = deed();
        if deed == "good" || deed == "trap-in-close" {
            write(&writer, &item.path, size)?;
            writer.finish(size)?;
            return Ok(vec![]);
        }
        write(&writer, &item.path, half)?;
        match deed.as_str() {
            "half" => {}
            "half-and-keep" => mem::forget(writer),
            "say-too-much" => ignore(writer.finish(size)),
            "say-too-little" => ignore(writer.finish(half - 1)),
            "finish-and-write" => {
                writer.finish(half)?;
                ignore(write(&writer, &item.path, half));
            }
            "finish-and-fail" => {
                writer.finish(half)?;
                return Err(error("changed my mind"));
            }
            "fail" => return Err(error("the table is gone")),
            "connect" => drop(target::connect()?),
            "panic" => assert!(half > size, "lost my way after {half} bytes"),
            "trap" => core::arch::wasm32::unreachable(),
            "spin" => spin(),
            "poll" => while !run::cancelled() {},
            "ignore-cancel" => loop {
                let _ = run::cancelled();
            },
            "sleep" => loop {
                let _ = run::sleep_ms(3_600_000);
            },
            "trickle" => loop {
                let _ = write(&writer, "drop", 1);
                let _ = run::sleep_ms(20);
            },
            "allocate" => {
                // 10 GiB, or as far as it gets.
                let hoard: Vec<Vec<u8>> = (1..=160_u8).map(|fill| vec![fill; 64 << 20]).collect();
                return Err(error(&format!("had {} MiB", hoard.len() * 64)));
            }
            "flood-log" => loop {
                run::log(run::Level::Warn, &"spam ".repeat(3_000));
            },
            "flood-notes" => loop {
                run::progress("spam");
            },
            other => return Err(error(&format!("unknown deed {other:?}"))),
        }
        Ok(vec![])
    }

    fn close(&self) -> Result<(), backup::Error> {
        if deed() == "trap-in-close" {
            core::arch::wasm32::unreachable();
        }
        Ok(())
    }
}

fn text(name: &str) -> String {
    run::parameters().into_iter().find(|one| one.name == name).map(|one| one.value).unwrap_or_default()
}

fn deed() -> String {
    text("deed")
}

fn number(name: &str) -> u64 {
    text(name).parse().unwrap_or_default()
}

fn part(index: u64) -> String {
    format!("part-{index:02}")
}

fn error(message: &str) -> backup::Error {
    backup::Error { kind: types::ErrorKind::Data, message: message.into(), retryable: false }
}

/// What a liar does with an answer.
fn ignore(answer: Result<(), backup::Error>) {
    drop(answer);
}

fn spin() -> ! {
    let mut turns = 0_u64;
    loop {
        turns = std::hint::black_box(turns.wrapping_add(1));
    }
}

/// Writes `count` bytes that look random and are the same every time.
fn write(writer: &pipe::Writer, path: &str, count: u64) -> Result<(), backup::Error> {
    let mut state =
        path.bytes().fold(0x9e37_79b9_7f4a_7c15_u64, |state, byte| (state ^ u64::from(byte)).wrapping_mul(31));
    let mut left = usize::try_from(count).unwrap_or(usize::MAX);
    while left > 0 {
        let mut block = Vec::with_capacity(BLOCK);
        while block.len() < BLOCK {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            block.extend_from_slice(&state.to_le_bytes());
        }
        block.truncate(left);
        writer.write(&block)?;
        left -= block.len();
    }
    Ok(())
}

#[allow(unsafe_code, reason = "the component model's entry points, written by wit-bindgen")]
const _: () = {
    coffer_addon_sdk::guest::bindings::export_component!(Hostile with_types_in coffer_addon_sdk::guest::bindings);
};
