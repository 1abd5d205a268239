//! What the operator is told at its start.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

pub use crate::lease::Timing;

/// What the operator is told at its start.
#[derive(Debug, Clone)]
pub struct Options {
    /// The image of all Jobs: the operator's own.
    pub image: String,
    /// When nodes pull it: `Always`, `IfNotPresent` or `Never`; Kubernetes decides when absent.
    pub image_pull_policy: Option<String>,
    /// Secrets, in the namespace of each Job, with which nodes pull it.
    pub image_pull_secrets: Vec<String>,
    /// Environment of every Job, such as the operator's own proxy settings.
    pub environment: Vec<(String, String)>,
    /// Namespace of the operator, where its Lease is.
    pub namespace: String,
    /// Name of this operator among all, as the name of its pod.
    pub identity: String,
    /// How leader election goes; `None` leads without asking.
    pub lease: Option<Timing>,
    /// Where `/healthz`, `/readyz` and `/metrics` are served; `None` serves nothing.
    pub listen: Option<SocketAddr>,
    /// How long things may take.
    pub limits: Limits,
    /// The clock.
    pub clock: Clock,
}

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// A pod that has not started for so long is mentioned in the session's conditions.
    pub slow_start: Duration,
    /// A pod that has not started for so long ends its session as failed.
    pub start: Duration,
    /// The time of a Job that prepares a storage or a repository.
    pub prepare: Duration,
    /// The time of a Job that applies retention policies.
    pub retention: Duration,
    /// The time of a Job that wipes data out.
    pub cleanup: Duration,
    /// How often things are looked at when no event says so.
    pub resync: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            slow_start: Duration::from_mins(5),
            start: Duration::from_mins(30),
            prepare: Duration::from_mins(10),
            retention: Duration::from_hours(6),
            cleanup: Duration::from_hours(24),
            resync: Duration::from_mins(1),
        }
    }
}

/// Tells the time. A test may have one of its own.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// A clock that asks `now`.
    pub fn new(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The time, in whole seconds as Kubernetes stores it.
    pub fn now(&self) -> Timestamp {
        let now = (self.0)();
        Timestamp::from_second(now.as_second()).unwrap_or(now)
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new(Timestamp::now)
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clock({})", self.now())
    }
}
