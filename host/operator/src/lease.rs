//! Leader election: of several operators the one that holds a Lease works, the others wait.
//!
//! The protocol is that of Kubernetes' own components. A candidate never compares its clock with another machine's: a
//! lease has expired when its record has not changed for its duration on the candidate's own clock. Every write carries
//! the version that was read, so of two candidates only one can win. A leader that cannot renew gives up before
//! anybody can take over. (kube-lease-manager compares clocks, takes over without a version, and stays leader while the
//! API server is away.)

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::{Client, ResourceExt};
use tokio::time::{Instant, sleep, timeout};

/// How long things take.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// A lease that was not renewed for so long may be taken.
    pub duration: Duration,
    /// A leader that could not renew for so long gives up; shorter than `duration`.
    pub give_up: Duration,
    /// Pause between tries.
    pub pause: Duration,
}

impl Default for Timing {
    /// Another operator takes over at most 17 seconds after a leader's death.
    fn default() -> Self {
        Self { duration: Duration::from_secs(15), give_up: Duration::from_secs(10), pause: Duration::from_secs(2) }
    }
}

/// One operator that wants to lead.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    api: Api<Lease>,
    name: String,
    identity: String,
    timing: Timing,
}

/// What a candidate remembers of the lease: its version and when that version was first seen here.
#[derive(Debug, Clone)]
struct Observed {
    version: Option<String>,
    since: Instant,
}

/// What became of a try.
#[derive(Debug, PartialEq, Eq)]
enum Attempt {
    /// The lease is ours now.
    Ours,
    /// Somebody else holds it.
    Theirs,
    /// Somebody wrote it at the same moment.
    Raced,
}

/// What to do with the lease as it is.
#[derive(Debug, PartialEq)]
enum Decision {
    /// There is none.
    Create(LeaseSpec),
    /// It is ours, free or expired.
    Write(LeaseSpec),
    /// Somebody else leads.
    Wait,
}

impl Candidate {
    pub(crate) fn new(client: Client, namespace: &str, name: &str, identity: &str, timing: Timing) -> Self {
        Self { api: Api::namespaced(client, namespace), name: name.to_owned(), identity: identity.to_owned(), timing }
    }

    /// Returns when the lease is ours, with the moment from which it counts.
    pub(crate) async fn acquire(&self) -> Instant {
        let mut observed = Observed { version: None, since: Instant::now() };
        loop {
            let begun = Instant::now();
            match timeout(self.timing.give_up, self.attempt(&mut observed)).await {
                Ok(Ok(Attempt::Ours)) => return begun,
                Ok(Ok(Attempt::Theirs | Attempt::Raced)) => {}
                Err(_) => tracing::warn!(lease = self.name, "the API server does not answer, trying again"),
                Ok(Err(error)) => {
                    tracing::warn!(lease = self.name, %error, "cannot read or write the lease, trying again");
                }
            }
            sleep(self.timing.pause).await;
        }
    }

    /// Renews the lease, last written at `renewed`, for ever; returns when it is lost, or could not be renewed in time.
    pub(crate) async fn hold(&self, mut renewed: Instant) {
        let mut observed = Observed { version: None, since: Instant::now() };
        loop {
            sleep(self.timing.pause).await;
            let Some(left) = self.timing.give_up.checked_sub(renewed.elapsed()) else { return };
            // Others count from when it was written, which is before the answer comes.
            let begun = Instant::now();
            match timeout(left, self.attempt(&mut observed)).await {
                Ok(Ok(Attempt::Ours)) => renewed = begun,
                Ok(Ok(Attempt::Raced)) => {}
                Ok(Ok(Attempt::Theirs)) | Err(_) => return,
                Ok(Err(error)) => tracing::warn!(lease = self.name, %error, "cannot renew the lease, trying again"),
            }
        }
    }

    /// Frees the lease if it is ours, so that the next operator need not wait for its expiry.
    pub(crate) async fn release(&self) -> Result<(), kube::Error> {
        let Some(mut lease) = self.api.get_opt(&self.name).await? else { return Ok(()) };
        let Some(spec) = lease.spec.as_mut().filter(|spec| spec.holder_identity.as_deref() == Some(&self.identity))
        else {
            return Ok(());
        };
        spec.holder_identity = None;
        spec.renew_time = Some(MicroTime(Timestamp::now()));
        self.api.replace(&self.name, &PostParams::default(), &lease).await.map(drop)
    }

    /// One try.
    async fn attempt(&self, observed: &mut Observed) -> Result<Attempt, kube::Error> {
        let lease = self.api.get_opt(&self.name).await?;
        let version = lease.as_ref().and_then(ResourceExt::resource_version);
        if version != observed.version {
            *observed = Observed { version, since: Instant::now() };
        }
        let written = match self.decide(lease.as_ref(), observed.since.elapsed(), Timestamp::now()) {
            Decision::Wait => return Ok(Attempt::Theirs),
            Decision::Create(spec) => {
                let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
                self.api.create(&PostParams::default(), &Lease { metadata, spec: Some(spec) }).await
            }
            Decision::Write(spec) => {
                let lease = Lease { spec: Some(spec), ..lease.unwrap_or_default() };
                self.api.replace(&self.name, &PostParams::default(), &lease).await
            }
        };
        match written {
            Ok(lease) => {
                *observed = Observed { version: lease.resource_version(), since: Instant::now() };
                Ok(Attempt::Ours)
            }
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(Attempt::Raced),
            Err(error) => Err(error),
        }
    }

    /// What to do, given how long the lease has not changed.
    fn decide(&self, lease: Option<&Lease>, unchanged: Duration, now: Timestamp) -> Decision {
        let seconds = i32::try_from(self.timing.duration.as_secs()).unwrap_or(i32::MAX);
        let mine = |acquired: MicroTime, transitions: i32| LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(seconds),
            acquire_time: Some(acquired),
            renew_time: Some(MicroTime(now)),
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        };
        let Some(lease) = lease else { return Decision::Create(mine(MicroTime(now), 0)) };
        let spec = lease.spec.clone().unwrap_or_default();
        let transitions = spec.lease_transitions.unwrap_or_default();
        match spec.holder_identity.as_deref().filter(|holder| !holder.is_empty()) {
            Some(holder) if holder == self.identity => {
                Decision::Write(mine(spec.acquire_time.unwrap_or(MicroTime(now)), transitions))
            }
            Some(_) => {
                let theirs = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
                if unchanged < theirs.map_or(self.timing.duration, Duration::from_secs) {
                    Decision::Wait
                } else {
                    Decision::Write(mine(MicroTime(now), transitions.saturating_add(1)))
                }
            }
            None => Decision::Write(mine(MicroTime(now), transitions.saturating_add(1))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use tower::ServiceExt as _;

    fn candidate() -> Candidate {
        let nobody = tower::service_fn(async |_: http::Request<kube::client::Body>| {
            Ok::<_, std::convert::Infallible>(http::Response::new(kube::client::Body::empty()))
        });
        Candidate::new(Client::new(nobody.boxed(), "x"), "coffer", "operator", "me", Timing::default())
    }

    fn lease(holder: Option<&str>) -> Lease {
        let spec = LeaseSpec {
            holder_identity: holder.map(str::to_owned),
            lease_duration_seconds: Some(15),
            lease_transitions: Some(4),
            ..LeaseSpec::default()
        };
        Lease { spec: Some(spec), ..Lease::default() }
    }

    #[rstest]
    #[case::ours(Some("me"), 99, Some(4))]
    #[case::free(None, 0, Some(5))]
    #[case::freed(Some(""), 0, Some(5))]
    #[case::alive(Some("other"), 14, None)]
    #[case::expired(Some("other"), 15, Some(5))]
    #[tokio::test]
    async fn a_lease_is_taken_only_when_it_may_be(
        #[case] holder: Option<&str>,
        #[case] unchanged: u64,
        #[case] transitions: Option<i32>,
    ) {
        let decision = candidate().decide(Some(&lease(holder)), Duration::from_secs(unchanged), Timestamp::UNIX_EPOCH);
        match (decision, transitions) {
            (Decision::Wait, None) => {}
            (Decision::Write(spec), Some(transitions)) => {
                assert_eq!(spec.holder_identity.as_deref(), Some("me"));
                assert_eq!(spec.lease_transitions, Some(transitions));
            }
            (decision, _) => panic!("{decision:?}"),
        }
    }

    #[tokio::test]
    async fn a_missing_lease_is_created() {
        let decision = candidate().decide(None, Duration::ZERO, Timestamp::UNIX_EPOCH);
        assert!(matches!(decision, Decision::Create(spec) if spec.lease_transitions == Some(0)));
    }

    /// One whose lease it is, and whose API server takes its time for each answer.
    fn slowly(answer: Duration, timing: Timing) -> Candidate {
        let server = tower::service_fn(move |_: http::Request<kube::client::Body>| async move {
            sleep(answer).await;
            let lease = serde_json::json!({
                "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                "metadata": {"name": "operator", "namespace": "coffer", "resourceVersion": "1"},
                "spec": {"holderIdentity": "me", "leaseDurationSeconds": 15},
            });
            Ok::<_, std::convert::Infallible>(http::Response::new(kube::client::Body::from(
                lease.to_string().into_bytes(),
            )))
        });
        Candidate::new(Client::new(server.boxed(), "x"), "coffer", "operator", "me", timing)
    }

    #[tokio::test]
    async fn a_lease_counts_from_before_it_was_asked_for() {
        let answer = Duration::from_millis(50);
        let since = slowly(answer, Timing::default()).acquire().await;
        assert!(since.elapsed() >= 2 * answer, "it was read and written since: {:?}", since.elapsed());
    }

    #[tokio::test]
    async fn a_leader_whose_renewals_are_slow_gives_up_in_time() {
        // Each renewal takes 200 ms, so that the second one cannot end in time, counted from before the first.
        let timing = Timing {
            duration: Duration::from_secs(1),
            give_up: Duration::from_millis(300),
            pause: Duration::from_millis(10),
        };
        let leader = slowly(Duration::from_millis(100), timing);
        timeout(Duration::from_secs(10), leader.hold(Instant::now())).await.expect("it holds what has expired");
    }

    #[test]
    fn a_leader_gives_up_before_anybody_can_take_over() {
        let timing = Timing::default();
        assert!(timing.give_up + timing.pause < timing.duration);
        assert!(timing.duration + timing.pause < Duration::from_secs(20));
    }
}
