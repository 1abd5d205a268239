//! What the fuzzers of `tests/fuzz` run: each function takes any bytes and panics when a property does not hold. Compiled with the
//! feature `fuzzing` only, and no part of the addon.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "a property that does not hold, and a test server that is told nonsense, must stop the fuzzer"
)]

mod codec;
mod protocol;
mod reference;
mod server;
mod statements;
mod values;

pub use codec::rows;
pub use protocol::{protocol, record};
pub use statements::statements;

/// The lengths of the pieces that something is handed out in.
#[derive(Debug, Clone, Copy)]
enum Pieces {
    /// All at once.
    Whole,
    /// One byte at a time.
    Bytes,
    /// Of up to 64 bytes, and now and then of up to 4 KiB, as this number has it.
    Seeded(u64),
}

impl Pieces {
    /// No piece is longer, but for `Whole`.
    const LONGEST: usize = 4096;

    fn next(&mut self) -> usize {
        match self {
            Self::Whole => usize::MAX,
            Self::Bytes => 1,
            Self::Seeded(state) => {
                *state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
                let mask = if *state >> 60 == 0 { Self::LONGEST - 1 } else { 63 };
                usize::try_from(*state >> 33).unwrap() & mask | 1
            }
        }
    }
}
