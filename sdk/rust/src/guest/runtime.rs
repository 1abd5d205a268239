//! What a Rust program expects of its platform, and this target does not have.

use std::panic;
use std::sync::Once;

use super::bindings::coffer::addon::run;
use super::host;

/// Makes panics visible: on this target they are a bare trap otherwise. Every export that comes first calls this.
pub(super) fn start() {
    static START: Once = Once::new();
    START.call_once(|| panic::set_hook(Box::new(|info| run::log(run::Level::Error, &format!("panic: {info}")))));
}

/// Random bytes for crates that ask `getrandom` 0.3 or 0.4 (the symbol and its signature are the same in both).
#[allow(unsafe_code, clippy::unnecessary_wraps, reason = "the shape that getrandom's custom backend prescribes")]
#[unsafe(no_mangle)]
unsafe extern "Rust" fn __getrandom_v03_custom(bytes: *mut u8, len: usize) -> Result<(), getrandom::Error> {
    if len > 0 {
        // SAFETY: getrandom hands over `len` writable bytes that nobody else looks at; they may be uninitialised, and are
        // initialised here before a reference to them exists.
        let bytes = unsafe {
            bytes.write_bytes(0, len);
            std::slice::from_raw_parts_mut(bytes, len)
        };
        host::random(bytes);
    }
    Ok(())
}
