//! Waiting for what the cluster does in its own time.

use std::{
    future::Future,
    time::{Duration, Instant},
};

/// How often a question is asked again.
const PAUSE: Duration = Duration::from_millis(50);

/// Asks until there is an answer; fails with `what` when there is none within a minute.
pub async fn eventually<T, F, A>(what: &str, ask: F) -> T
where
    F: FnMut() -> A,
    A: Future<Output = Option<T>>,
{
    within(Duration::from_mins(1), what, ask).await
}

/// Asks until there is an answer; fails with `what` when there is none within `limit`.
pub async fn within<T, F, A>(limit: Duration, what: &str, mut ask: F) -> T
where
    F: FnMut() -> A,
    A: Future<Output = Option<T>>,
{
    let start = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(start.elapsed() < limit, "waited {limit:?}, and still not: {what}");
        tokio::time::sleep(PAUSE).await;
    }
}
