//! Guests in WebAssembly text, against the canonical ABI: an addon that behaves, and pieces to replace in it.
#![allow(dead_code, unreachable_pub, reason = "every test file includes it and uses some of it")]

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use coffer_api::cancel::Cancel;
use coffer_api::plan::{Credentials, Endpoint, Permissions, Target, Tls};
use coffer_sandbox::contract::{AddonError, ByteSink, ByteSource, GuestEvents, Item, Level, RestoreItem};
use coffer_sandbox::{Component, Engine, SessionOptions};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// The imports that a test may add. Names in the text: `$log`, `$cancelled`, …
pub const LOG: &str = r#"(import "coffer:addon/run@0.1.0" "log" (func $log (param i32 i32 i32)))"#;
pub const CANCELLED: &str = r#"(import "coffer:addon/run@0.1.0" "cancelled" (func $cancelled (result i32)))"#;
pub const ELAPSED: &str = r#"(import "coffer:addon/run@0.1.0" "elapsed-ms" (func $elapsed (result i64)))"#;
pub const SLEEP: &str = r#"(import "coffer:addon/run@0.1.0" "sleep-ms" (func $sleep (param i32 i32)))"#;
pub const RANDOM: &str = r#"(import "coffer:addon/run@0.1.0" "random" (func $random (param i32 i32)))"#;
pub const WRITE: &str =
    r#"(import "coffer:addon/pipe@0.1.0" "[method]writer.write" (func $write (param i32 i32 i32 i32)))"#;
pub const FINISH: &str =
    r#"(import "coffer:addon/pipe@0.1.0" "[method]writer.finish" (func $finish (param i32 i64 i32)))"#;
pub const READ: &str = r#"(import "coffer:addon/pipe@0.1.0" "[method]reader.read" (func $read (param i32 i32 i32)))"#;
pub const CONNECT: &str = r#"(import "coffer:addon/target@0.1.0" "connect" (func $connect (param i32)))"#;
pub const TARGET: &str = r#"
    (import "coffer:addon/target@0.1.0" "connect" (func $connect (param i32)))
    (import "coffer:addon/target@0.1.0" "get-credentials" (func $credentials (param i32)))
    (import "coffer:addon/target@0.1.0" "[method]connection.read" (func $receive (param i32 i32 i32)))
    (import "coffer:addon/target@0.1.0" "[method]connection.write" (func $send (param i32 i32 i32 i32)))
    (import "coffer:addon/target@0.1.0" "[method]connection.start-tls" (func $start_tls (param i32 i32)))
    (import "coffer:addon/target@0.1.0" "[resource-drop]connection" (func $hang_up (param i32)))"#;

/// `run` of a backup that writes the 5 bytes "hello" (at 1024) and finishes.
pub const GOOD_RUN: &str = "
    (call $write (local.get $pipe) (i32.const 1024) (i32.const 5) (i32.const 256))
    (call $finish (local.get $pipe) (i64.const 5) (i32.const 256))
    (i32.const 64)";

/// Pieces of a guest; what is empty behaves well and does nothing.
#[derive(Default, Clone)]
pub struct Guest {
    pub imports: &'static [&'static str],
    pub extra: String,
    pub describe: &'static str,
    pub open: &'static str,
    pub prepare: &'static str,
    pub plan: &'static str,
    pub run: &'static str,
    pub close: &'static str,
    pub restore_plan: &'static str,
    pub restore_run: &'static str,
}

impl Guest {
    /// One that needs `imports` and whose `backup.run` has this body. Locals: `$pipe`, `$a`, `$b`, `$n` (i64). Results go to
    /// 256, empty results are at 64, errors are made by `$fail`.
    pub fn running(imports: &'static [&'static str], run: &'static str) -> Self {
        Self { imports, run, ..Self::default() }
    }

    pub fn restoring(imports: &'static [&'static str], restore_run: &'static str) -> Self {
        Self { imports, restore_run, ..Self::default() }
    }

    fn text(&self) -> String {
        let or = |body: &'static str, default: &'static str| if body.is_empty() { default } else { body };
        let open = |new: &str| {
            let body = or(self.open, "");
            format!("{body} (i32.store (i32.const 132) (call {new} (i32.const 1))) (i32.const 128)")
        };
        let locals = "(local $a i32) (local $b i32) (local $n i64)";
        let ok = "(i32.const 64)";
        // The default plan is at 320: one item "a/b.txt" (item at 352, path at 1040).
        let plan = or(
            self.plan,
            "(i32.store (i32.const 324) (i32.const 352)) (i32.store (i32.const 328) (i32.const 1))
             (i32.store (i32.const 352) (i32.const 1040)) (i32.store (i32.const 356) (i32.const 7)) (i32.const 320)",
        );
        // The description is at 384: name and version; help, addons and tasks are empty.
        let describe = or(
            self.describe,
            "(i32.store (i32.const 384) (i32.const 1056)) (i32.store (i32.const 388) (i32.const 4))
             (i32.store (i32.const 392) (i32.const 1064)) (i32.store (i32.const 396) (i32.const 3)) (i32.const 384)",
        );
        format!(
            r#"(module
            (import "[export]coffer:addon/backup@0.1.0" "[resource-new]session" (func $new_backup (param i32) (result i32)))
            (import "[export]coffer:addon/restore@0.1.0" "[resource-new]session" (func $new_restore (param i32) (result i32)))
            {imports}
            (memory (export "memory") 64)
            (data (i32.const 1024) "hello")
            (data (i32.const 1040) "a/b.txt")
            (data (i32.const 1056) "evil") (data (i32.const 1064) "1.0")
            (global $heap (mut i32) (i32.const 65536))
            (func (export "cabi_realloc") (param $old i32) (param $oldlen i32) (param $align i32) (param $len i32) (result i32)
                (local $at i32)
                (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 15)) (i32.const -16)))
                (global.set $heap (i32.add (local.get $at) (local.get $len)))
                (local.get $at))
            (func $fail (param $kind i32) (param $at i32) (param $len i32) (result i32)
                (i32.store8 (i32.const 192) (i32.const 1)) (i32.store8 (i32.const 196) (local.get $kind))
                (i32.store (i32.const 200) (local.get $at)) (i32.store (i32.const 204) (local.get $len)) (i32.const 192))
            {extra}
            (func (export "coffer:addon/describe@0.1.0#describe") (result i32) {locals} {describe})
            (func (export "coffer:addon/backup@0.1.0#[static]session.open") (result i32) {locals} {backup_open})
            (func (export "coffer:addon/backup@0.1.0#[method]session.prepare") (param i32) (result i32) {locals} {prepare})
            (func (export "coffer:addon/backup@0.1.0#[method]session.join") (param i32 i32 i32) (result i32) {ok})
            (func (export "coffer:addon/backup@0.1.0#[method]session.release") (param i32) (result i32) {ok})
            (func (export "coffer:addon/backup@0.1.0#[method]session.plan") (param i32) (result i32) {locals} {plan})
            (func (export "coffer:addon/backup@0.1.0#[method]session.run")
                (param i32 i32 i32 i32 i64 i32 i32) (param $pipe i32) (result i32) {locals} {run})
            (func (export "coffer:addon/backup@0.1.0#[method]session.close") (param i32) (result i32) {locals} {close})
            (func (export "coffer:addon/restore@0.1.0#[static]session.open") (result i32) {locals} {restore_open})
            (func (export "coffer:addon/restore@0.1.0#[method]session.plan") (param i32 i32 i32 i32 i32) (result i32) {locals} {restore_plan})
            (func (export "coffer:addon/restore@0.1.0#[method]session.run")
                (param i32 i32 i32 i32 i32) (param $pipe i32) (result i32) {locals} {restore_run})
            (func (export "coffer:addon/restore@0.1.0#[method]session.finish") (param i32) (result i32) {ok})
            (func (export "coffer:addon/restore@0.1.0#[method]session.close") (param i32) (result i32) {ok})
            )"#,
            imports = self.imports.join("\n"),
            extra = self.extra,
            backup_open = open("$new_backup"),
            restore_open = open("$new_restore"),
            prepare = or(self.prepare, ok),
            run = or(self.run, ok),
            close = or(self.close, ok),
            restore_plan = or(self.restore_plan, ok),
            restore_run = or(self.restore_run, ok),
        )
    }

    /// The guest as a component.
    pub fn bytes(&self) -> Vec<u8> {
        encode(&self.text(), &wit())
    }

    /// The guest, loaded.
    pub fn load(&self) -> Component {
        Engine::new(None).unwrap().load(&self.bytes(), "evil").unwrap()
    }
}

/// The folder of the contract.
pub fn wit() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit/since-0.1.0")
}

/// Makes a component of a core module in text form.
pub fn encode(text: &str, wit: &Path) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(wit).unwrap();
    let world = resolve.select_world(&[package], Some("addon")).unwrap();
    let mut module = wat::parse_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false).unwrap();
    ComponentEncoder::default().validate(true).module(&module).unwrap().encode().unwrap()
}

/// The same guest for another version of the contract.
pub fn of_version(version: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(wit()).unwrap() {
        let file = file.unwrap();
        let text = std::fs::read_to_string(file.path()).unwrap().replace("@0.1.0", &format!("@{version}"));
        std::fs::write(folder.path().join(file.file_name()), text).unwrap();
    }
    let text = Guest::default().text().replace("@0.1.0", &format!("@{version}"));
    encode(&text, folder.path())
}

/// Remembers what a guest said.
#[derive(Default)]
pub struct Heard {
    pub lines: Mutex<Vec<String>>,
}

impl GuestEvents for Heard {
    fn log(&self, addon: &str, level: Level, message: &str) {
        let line = format!("{addon} {level:?}: {message}");
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    fn progress(&self, _addon: &str, _note: &str) {}
}

/// Options for a session that may do everything.
pub fn options() -> SessionOptions {
    SessionOptions {
        addon: "evil".to_owned(),
        permissions: Permissions { target: true, memory: 32 << 20, cpu_deadline: Duration::from_secs(30) },
        target: Some(Arc::new(target("127.0.0.1", 1))),
        task: "logical-backup".to_owned(),
        parameters: Vec::new(),
        worker: (0, 1),
        events: Arc::new(Heard::default()),
        cancel: Cancel::new(),
    }
}

pub fn target(host: &str, port: u16) -> Target {
    Target {
        kind: "MySQL".to_owned(),
        name: "shop".to_owned(),
        namespace: "demo".to_owned(),
        version: None,
        endpoint: Endpoint { host: host.to_owned(), port },
        path: String::new(),
        query: Vec::new(),
        credentials: Credentials { username: Some("root".to_owned()), password: Some("correct-horse".into()) },
        tls: Tls::default(),
    }
}

pub fn item() -> Item {
    Item { path: "a/b.txt".to_owned(), estimate: None, token: String::new() }
}

pub fn restore_item() -> RestoreItem {
    RestoreItem { path: "a/b.txt".to_owned(), token: String::new() }
}

/// What arrived at the far end of a pipe.
#[derive(Default, Clone)]
pub struct Collected {
    pub bytes: Arc<Mutex<Vec<u8>>>,
    pub finished: Arc<Mutex<Option<u64>>>,
    /// What `write` returns, if not Ok.
    pub broken: Option<AddonError>,
}

impl ByteSink for Collected {
    fn write(&mut self, bytes: Vec<u8>) -> Result<(), AddonError> {
        self.bytes.lock().unwrap().extend(bytes);
        self.broken.clone().map_or(Ok(()), Err)
    }

    fn finish(&mut self, bytes: u64) -> Result<(), AddonError> {
        *self.finished.lock().unwrap() = Some(bytes);
        Ok(())
    }
}

/// Gives bytes, then the end.
pub struct Given(pub Vec<u8>);

impl ByteSource for Given {
    fn read(&mut self, max: usize) -> Result<Vec<u8>, AddonError> {
        let rest = self.0.split_off(max.min(self.0.len()));
        Ok(std::mem::replace(&mut self.0, rest))
    }
}

/// The error of one `backup.run`.
pub fn run_error(guest: &Guest, options: SessionOptions) -> String {
    let mut session = guest.load().backup(options).unwrap();
    session.run(&item(), Box::new(Collected::default())).unwrap_err().to_string()
}
