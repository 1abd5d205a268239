//! SIGINT and SIGTERM: the first stops the work cleanly, the second ends the program at once.

use std::process;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use coffer_api::cancel::Cancel;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::exit::INTERRUPTED;
use crate::output::complain;

static CAUGHT: OnceLock<AtomicBool> = OnceLock::new();

/// Whether a signal asked the program to stop.
pub(crate) fn caught() -> bool {
    CAUGHT.get().is_some_and(|caught| caught.load(Ordering::Acquire))
}

/// Gives `cancel` at the first signal.
pub(crate) fn watch(cancel: Cancel) -> std::io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let caught = CAUGHT.get_or_init(AtomicBool::default);
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            let name = if signal == SIGINT { "SIGINT" } else { "SIGTERM" };
            if caught.swap(true, Ordering::AcqRel) {
                complain(&format!("{name} again: ending at once; a lock may stay behind, `coffer unlock` removes it"));
                process::exit(i32::from(INTERRUPTED));
            }
            complain(&format!("{name}: stopping; once more to end at once"));
            cancel.cancel(format!("interrupted by {name}"));
        }
    })?;
    Ok(())
}
