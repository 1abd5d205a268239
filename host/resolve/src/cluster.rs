//! A cluster as a [`Reader`]: the Kubernetes API behind calls that block.
//!
//! A pod has few rights, so objects are read by name wherever that is possible. What is refused becomes an error that names the right and
//! who grants it; what may pass (too many requests, a server that restarts, a lost connection) is tried again. A refusal too is doubted for a
//! while: a server that has just started refuses everybody until it has loaded who may do what.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::time::{Duration, Instant};

use backon::{ExponentialBuilder, Retryable as _};
use coffer_api::addons::{Addon, Function};
use coffer_api::appcatalog::AppBinding;
use coffer_api::core::{BackupConfiguration, BackupSession, RestoreSession};
use coffer_api::k8s_openapi::api::core::v1::{Namespace, Secret};
use coffer_api::plan::SecretData;
use coffer_api::storage::{BackupStorage, Repository, RetentionPolicy, Snapshot};
use kube::api::ListParams;
use kube::core::{ApiResource, DynamicObject};
use kube::{Api, Client};
use serde_json::Value;
use tokio::runtime::Handle;

use crate::error::{ErrorKind, ResolveError};
use crate::reader::{Kind, Reader};

/// The longest time that one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(30);
/// Attempts after the first, with pauses of 0.5, 1, 2, … up to 30 seconds, plus jitter: some four minutes, in which a server restarts.
const RETRIES: usize = 12;
/// The longest time that a request may take which is made once.
const ONCE: Duration = Duration::from_secs(10);
/// How long a refusal is doubted, and the longest pause meanwhile.
const DOUBT: Duration = Duration::from_secs(30);
const DOUBTFUL_PAUSE: Duration = Duration::from_secs(5);
/// The longest pause that a server may ask for.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// A cluster. Its methods block, and must not be called from the runtime's own threads.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
    runtime: Handle,
    role: Option<&'static str>,
    doubt: Duration,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Cluster").field("role", &self.role).finish_non_exhaustive()
    }
}

/// What a request does, for messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    /// The verb of the API, such as `get`.
    pub verb: &'static str,
    /// Plural name of the resource, such as `snapshots/status`.
    pub resource: String,
    /// Kind, such as `Snapshot`.
    pub kind: String,
    /// Namespace; empty for resources without.
    pub namespace: String,
    /// Name; empty for all of them.
    pub name: String,
}

impl Action {
    /// `Snapshot demo/daily-1`
    fn object(&self) -> String {
        match (self.namespace.is_empty(), self.name.is_empty()) {
            (true, true) => format!("the {}", self.resource),
            (true, false) => format!("{} {}", self.kind, self.name),
            (false, true) => format!("the {} of namespace {}", self.resource, self.namespace),
            (false, false) => format!("{} {}/{}", self.kind, self.namespace, self.name),
        }
    }
}

impl Cluster {
    /// A cluster through a client; `runtime` drives the client's connections.
    pub fn new(client: Client, runtime: Handle) -> Self {
        Self { client, runtime, role: None, doubt: Duration::ZERO }
    }

    /// The same, for a program whose rights come from this ClusterRole: a refusal names it, and is doubted for a while. Without, a refusal is
    /// believed at once, as by somebody who waits for the answer.
    #[must_use]
    pub fn with_role(self, role: &'static str) -> Self {
        Self { role: Some(role), doubt: DOUBT, ..self }
    }

    /// The same, but a refusal is doubted for so long.
    #[must_use]
    pub fn with_doubt(self, doubt: Duration) -> Self {
        Self { doubt, ..self }
    }

    /// The client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Makes a request that may be repeated, until it succeeds, is refused, or has failed too often.
    pub fn request<T, F>(&self, make: impl FnMut() -> F) -> Result<T, kube::Error>
    where
        F: Future<Output = Result<T, kube::Error>>,
    {
        let mut make = make;
        let mut doubt = Doubt { limit: self.doubt, since: None };
        let backoff = ExponentialBuilder::new()
            .with_min_delay(Duration::from_millis(500))
            .with_max_delay(Duration::from_secs(30))
            .with_max_times(RETRIES)
            .with_jitter();
        let attempts = (|| limited(ATTEMPT, make()))
            .retry(backoff)
            .when(|error| may_pass(error) || is_refusal(error))
            .adjust(move |error, pause| doubt.pause(error, pause, Instant::now()))
            .notify(|error, pause| {
                tracing::warn!(?pause, "a request to the cluster failed, trying again: {}", reason(error));
            });
        self.runtime.block_on(attempts)
    }

    /// Makes a request once, and does not wait long for it.
    pub fn request_once<T>(&self, request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, kube::Error> {
        self.runtime.block_on(limited(ONCE, request))
    }

    /// Says what became of a request that failed.
    pub fn error(&self, action: &Action, error: &kube::Error) -> ResolveError {
        let object = action.object();
        let what = format!("cannot {} {object}", action.verb);
        match error {
            kube::Error::Api(status) if is_refusal(error) => {
                let scope = match action.namespace.as_str() {
                    "" => "in the whole cluster".to_owned(),
                    namespace => format!("in namespace {namespace}"),
                };
                let fix = match self.role {
                    Some(role) => format!(
                        "make sure that ClusterRole {role} is installed as `coffer install` prints it, and that a RoleBinding there gives \
                         it to this pod's service account"
                    ),
                    None => "ask for that right".to_owned(),
                };
                let why =
                    format!("the right to {} {} {scope} is missing ({})", action.verb, action.resource, status.message);
                ResolveError::new(ErrorKind::Denied, what, why, fix)
            }
            kube::Error::Api(status) if (400..500).contains(&status.code) && !may_pass(error) => ResolveError::new(
                ErrorKind::Invalid,
                what,
                format!("the cluster refuses it: {}", status.message),
                "make sure that the CRDs are those of this version (`coffer install`)",
            ),
            _ => ResolveError::new(
                ErrorKind::Unreadable,
                what,
                reason(error),
                "check that the cluster's API server can be reached from here, then try again",
            ),
        }
    }

    fn api(&self, kind: Kind, namespace: Option<&str>) -> (Api<DynamicObject>, ApiResource) {
        let resource = resource(kind);
        let api = match namespace {
            Some(namespace) if kind.namespaced() => Api::namespaced_with(self.client.clone(), namespace, &resource),
            _ => Api::all_with(self.client.clone(), &resource),
        };
        (api, resource)
    }
}

/// One attempt, which has an end.
async fn limited<T>(limit: Duration, request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, kube::Error> {
    match tokio::time::timeout(limit, request).await {
        Ok(result) => result,
        Err(_) => Err(kube::Error::Service("no answer in time".into())),
    }
}

/// Since when a request has been refused without anything else in between.
#[derive(Debug)]
struct Doubt {
    limit: Duration,
    since: Option<Instant>,
}

impl Doubt {
    /// The pause after this error; `None` gives up. `planned` is the pause by the number of attempts alone, if one is left.
    fn pause(&mut self, error: &kube::Error, planned: Option<Duration>, now: Instant) -> Option<Duration> {
        if !is_refusal(error) {
            self.since = None;
            return planned.map(|planned| planned.max(asked_for(error)));
        }
        let since = *self.since.get_or_insert(now);
        let left = self.limit.checked_sub(now.duration_since(since)).filter(|left| !left.is_zero())?;
        Some(planned.unwrap_or(DOUBTFUL_PAUSE).min(DOUBTFUL_PAUSE).min(left))
    }
}

/// The pause that the server asks for. A busy one that gives no number, or gives it in a header alone, means a second.
fn asked_for(error: &kube::Error) -> Duration {
    let kube::Error::Api(status) = error else { return Duration::ZERO };
    let seconds = status.details.as_ref().map(|details| details.retry_after_seconds).unwrap_or_default();
    let least = u32::from(status.code == 429);
    Duration::from_secs(seconds.max(least).into()).min(LONGEST_PAUSE)
}

/// Whether the server says that this may not be done, which it also says while it does not know yet.
fn is_refusal(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if matches!(status.code, 401 | 403))
}

/// Whether the same request may succeed later.
fn may_pass(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => matches!(status.code, 408 | 429 | 500 | 502..=504),
        kube::Error::HyperError(_) | kube::Error::Service(_) | kube::Error::ReadEvents(_) => true,
        _ => false,
    }
}

/// The reason in words, with the innermost cause, which says most of a failed connection.
fn reason(error: &kube::Error) -> String {
    if let kube::Error::Api(status) = error {
        return format!("{} ({})", status.message, status.code);
    }
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let words = cause.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        source = cause.source();
    }
    text
}

fn resource(kind: Kind) -> ApiResource {
    match kind {
        Kind::Addon => ApiResource::erase::<Addon>(&()),
        Kind::Function => ApiResource::erase::<Function>(&()),
        Kind::BackupStorage => ApiResource::erase::<BackupStorage>(&()),
        Kind::RetentionPolicy => ApiResource::erase::<RetentionPolicy>(&()),
        Kind::Repository => ApiResource::erase::<Repository>(&()),
        Kind::Snapshot => ApiResource::erase::<Snapshot>(&()),
        Kind::BackupConfiguration => ApiResource::erase::<BackupConfiguration>(&()),
        Kind::BackupSession => ApiResource::erase::<BackupSession>(&()),
        Kind::RestoreSession => ApiResource::erase::<RestoreSession>(&()),
        Kind::AppBinding => ApiResource::erase::<AppBinding>(&()),
    }
}

fn action(verb: &'static str, (kind, resource): (&str, &str), namespace: &str, name: &str) -> Action {
    Action {
        verb,
        resource: resource.to_owned(),
        kind: kind.to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    }
}

fn json(object: &DynamicObject, place: &str) -> Result<Value, ResolveError> {
    serde_json::to_value(object).map_err(|error| {
        ResolveError::new(ErrorKind::Malformed, format!("an object of {place} is odd"), error.to_string(), "report it")
    })
}

impl Reader for Cluster {
    fn get(&self, kind: Kind, namespace: &str, name: &str) -> Result<Option<Value>, ResolveError> {
        let (api, resource) = self.api(kind, Some(namespace));
        let namespace = if kind.namespaced() { namespace } else { "" };
        let found = self
            .request(|| api.get_opt(name))
            .map_err(|error| self.error(&action("get", (kind.name(), &resource.plural), namespace, name), &error))?;
        found.map(|object| json(&object, &self.place())).transpose()
    }

    fn list(&self, kind: Kind, namespace: Option<&str>) -> Result<Vec<Value>, ResolveError> {
        let (api, resource) = self.api(kind, namespace);
        let parameters = ListParams::default();
        let list = self.request(|| api.list(&parameters)).map_err(|error| {
            self.error(&action("list", (kind.name(), &resource.plural), namespace.unwrap_or_default(), ""), &error)
        })?;
        let mut objects = list.items;
        let key = |object: &DynamicObject| (object.metadata.namespace.clone(), object.metadata.name.clone());
        objects.sort_by_cached_key(key);
        objects.iter().map(|object| json(object, &self.place())).collect()
    }

    fn secret(&self, namespace: &str, name: &str) -> Result<Option<SecretData>, ResolveError> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let found = self
            .request(|| api.get_opt(name))
            .map_err(|error| self.error(&action("get", ("Secret", "secrets"), namespace, name), &error))?;
        Ok(found.map(|secret| secret.data.into_iter().flatten().map(|(key, value)| (key, value.0)).collect()))
    }

    fn namespace_labels(&self, namespace: &str) -> Result<Option<BTreeMap<String, String>>, ResolveError> {
        let api: Api<Namespace> = Api::all(self.client.clone());
        let found = self
            .request(|| api.get_opt(namespace))
            .map_err(|error| self.error(&action("get", ("Namespace", "namespaces"), "", namespace), &error))?;
        Ok(found.map(|found| found.metadata.labels.unwrap_or_default()))
    }

    fn place(&self) -> String {
        "the cluster".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    fn answer(code: u16) -> kube::Error {
        kube::Error::Api(Status::failure("no", "No").with_code(code).boxed())
    }

    #[test]
    fn a_refusal_is_doubted_for_a_while_and_then_believed() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let planned = Some(Duration::from_secs(2));
        let mut doubt = Doubt { limit: DOUBT, since: None };
        assert_eq!(doubt.pause(&answer(403), planned, at(100)), planned);
        assert_eq!(doubt.pause(&answer(401), Some(Duration::from_secs(30)), at(110)), Some(DOUBTFUL_PAUSE));
        assert_eq!(doubt.pause(&answer(403), None, at(129)), Some(Duration::from_secs(1)), "time counts, not attempts");
        assert_eq!(doubt.pause(&answer(403), planned, at(130)), None);
        // It went away and came back: what it says then is said for the first time.
        assert_eq!(doubt.pause(&answer(503), planned, at(131)), planned);
        assert_eq!(doubt.pause(&answer(403), planned, at(132)), planned);
        assert_eq!(Doubt { limit: Duration::ZERO, since: None }.pause(&answer(403), planned, begin), None);
    }

    #[test]
    fn a_busy_server_says_when_to_come_back() {
        let busy = |seconds: u32| {
            let details = serde_json::from_value(serde_json::json!({ "retryAfterSeconds": seconds })).unwrap();
            kube::Error::Api(Status::failure("no", "TooManyRequests").with_code(429).with_details(details).boxed())
        };
        let mut doubt = Doubt { limit: DOUBT, since: None };
        let planned = Some(Duration::from_secs(2));
        let mut pause = |error, planned| doubt.pause(&error, planned, Instant::now());
        assert_eq!(pause(busy(7), planned), Some(Duration::from_secs(7)));
        assert_eq!(pause(busy(1), planned), planned);
        assert_eq!(pause(answer(429), Some(Duration::ZERO)), Some(Duration::from_secs(1)));
        assert_eq!(pause(answer(503), Some(Duration::ZERO)), Some(Duration::ZERO));
        assert_eq!(pause(busy(9999), planned), Some(LONGEST_PAUSE));
        assert_eq!(pause(busy(7), None), None, "attempts are limited");
    }
}
