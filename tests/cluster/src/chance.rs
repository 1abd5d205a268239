//! Chance that can be repeated.

use std::env;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// Numbers that look random and follow from a seed.
#[derive(Debug)]
pub struct Chance(StdRng);

impl Chance {
    /// The numbers of `seed`, or of `COFFER_SEED` if that is set; prints which, so that a failure can be repeated.
    pub fn new(what: &str, seed: u64) -> Self {
        let seed = match env::var("COFFER_SEED") {
            Ok(text) => text.parse().unwrap_or_else(|_| panic!("COFFER_SEED is {text:?} and has to be a number")),
            Err(_) => seed,
        };
        println!("{what}: seed {seed}; COFFER_SEED={seed} repeats it");
        Self(StdRng::seed_from_u64(seed))
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0.random_range(0..limit)
    }

    /// Whether something happens that happens so often.
    pub fn happens(&mut self, percent: u32) -> bool {
        self.0.random_ratio(percent, 100)
    }

    /// One of them.
    pub fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.0.random_range(0..all.len())]
    }
}
