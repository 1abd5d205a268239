//! The corpus of this fuzzer and what is near to it.

#[test]
fn holds_on_the_corpus_and_near_it() {
    coffer_fuzz::short_run("protocol", coffer_fuzz::protocol);
}
