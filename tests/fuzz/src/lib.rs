//! Fuzzers of the code that reads bytes which others wrote: the server's protocol, the text of dumps, rows.
//!
//! The properties are in `coffer_addon_mysql::fuzz`; here are the bounds on memory, the engine, and the corpora. `make fuzz` runs each
//! with libFuzzer, guided by coverage; `make test` runs the corpora and a fixed number of inputs near them.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a property that does not hold must stop the fuzzer"
)]

use std::fs;
use std::path::Path;

use coffer_addon_mysql::fuzz;
use peak_alloc::PeakAlloc;
use proptest::prelude::*;
use proptest::sample::{Index, Selector};
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// What may be in memory whatever the input is: a packet of the protocol's longest kind that was announced and is waited for, and the
/// buffers of readers and writers.
const FIXED: usize = 40 << 20;

/// What may be in memory for each byte of the input: the properties keep all that came of it, several times over.
const EACH: usize = 1024;

/// Inputs near the corpus in a short run.
const CASES: u32 = 2000;

/// The server says anything.
pub fn protocol(input: &[u8]) {
    bounded(input, fuzz::protocol);
}

/// A dump has any text.
pub fn statements(input: &[u8]) {
    bounded(input, fuzz::statements);
}

/// Cells have any bytes.
pub fn rows(input: &[u8]) {
    bounded(input, fuzz::rows);
}

fn bounded(input: &[u8], property: fn(&[u8])) {
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    property(input);
    let used = MEMORY.peak_usage().saturating_sub(before);
    assert!(used <= FIXED + EACH * input.len(), "{used} bytes of memory for an input of {}", input.len());
}

/// Runs a corpus, and the same inputs near it every time. What fails is made small and shown.
pub fn short_run(name: &str, target: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let mut paths: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let corpus: Vec<Vec<u8>> = paths.iter().map(|path| fs::read(path).unwrap()).collect();
    assert!(corpus.len() >= 10, "the corpus of {name} is not there");
    for input in &corpus {
        target(input);
    }

    let inputs = (any::<Selector>(), proptest::collection::vec(edit(), 1..6)).prop_map(move |(base, edits)| {
        let mut input = base.select(&corpus).clone();
        for edit in &edits {
            edit.apply(&mut input, &corpus);
        }
        input
    });
    let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let outcome = runner.run(&inputs, |input| {
        target(&input);
        Ok(())
    });
    if let Err(TestError::Fail(why, input)) = outcome {
        panic!("{why}\nfor the input \"{}\"", input.escape_ascii());
    }
}

/// A change of an input.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "a few of them at a time")]
enum Edit {
    /// One byte is another.
    Set(Index, u8),
    /// Bytes come in.
    Insert(Index, Vec<u8>),
    /// Up to so many bytes go.
    Remove(Index, usize),
    /// The rest is the rest of another input.
    Splice(Index, Selector, Index),
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Edit::Set(at, byte)),
        (any::<Index>(), proptest::collection::vec(any::<u8>(), 1..9)).prop_map(|(at, bytes)| Edit::Insert(at, bytes)),
        (any::<Index>(), 1_usize..40).prop_map(|(at, count)| Edit::Remove(at, count)),
        (any::<Index>(), any::<Selector>(), any::<Index>()).prop_map(|(at, other, from)| Edit::Splice(at, other, from)),
    ]
}

impl Edit {
    fn apply(&self, input: &mut Vec<u8>, corpus: &[Vec<u8>]) {
        let place = |at: &Index, bytes: &[u8]| at.index(bytes.len() + 1);
        match self {
            Self::Set(at, byte) => {
                let at = place(at, input);
                if let Some(there) = input.get_mut(at) {
                    *there = *byte;
                }
            }
            Self::Insert(at, bytes) => {
                let at = place(at, input);
                input.splice(at..at, bytes.iter().copied());
            }
            Self::Remove(at, count) => {
                let at = place(at, input);
                input.drain(at..input.len().min(at + count));
            }
            Self::Splice(at, other, from) => {
                let other = other.select(corpus);
                input.truncate(place(at, input));
                input.extend(other.iter().skip(place(from, other)));
            }
        }
    }
}
