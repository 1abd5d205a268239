//! The runtime that drives every request to a storage.

use std::future::Future;
use std::sync::OnceLock;

use tokio::runtime::{Builder, Handle, Runtime};

/// Threads that drive requests. They encrypt and copy; the heavy work (chunking, compression) happens elsewhere.
const THREADS: usize = 2;

/// The handle of the process-wide runtime for storage requests.
///
/// Started on first use and never stopped. Callers are ordinary threads: calling `block_on` from one of this runtime's
/// own threads panics, as tokio documents.
pub(crate) fn runtime() -> &'static Handle {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    #[expect(
        clippy::expect_used,
        reason = "fails only where no thread can be started, and then nothing else works either"
    )]
    let runtime = RUNTIME.get_or_init(|| {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(THREADS).thread_name("storage").enable_all();
        builder.build().expect("cannot start the threads for storage requests: is there a limit on processes?")
    });
    runtime.handle()
}

/// Runs one request to its end on the calling thread.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    runtime().block_on(future)
}
