//! See [`coffer_fuzz`].
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| coffer_fuzz::statements(input));
