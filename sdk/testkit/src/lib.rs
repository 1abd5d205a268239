//! Runs a component in the real sandbox against a scripted database and an in-memory pipe: the way to test an addon as the
//! host will run it, without a database, a repository or a cluster.
//!
//! ```no_run
//! use coffer_testkit::{Harness, Peer, Script};
//!
//! # fn component() -> Vec<u8> { Vec::new() }
//! let peer = Peer::start(vec![Script::new().expect("HELLO me\n").send("OK\n").expect("LIST\n").send("OK\n")]).unwrap();
//! let dump = Harness::new(&component()).unwrap().task("backup").target(peer.address(), "me", "secret").backup().unwrap();
//! assert!(dump.stream("people").is_some());
//! peer.finish().unwrap();
//! ```
//!
//! Everything happens on the caller's thread, sessions take turns in a fixed order, so a test is the same from run to run.

mod events;
mod harness;
mod peer;
mod pipe;

pub use harness::{Dump, Failure, Harness, Restored, Stream};
pub use peer::{Peer, PeerError, Script};
