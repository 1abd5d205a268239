//! What all controllers share: a queue of names, one reconcile at a time for each, and what follows from its outcome.

use std::collections::{HashMap, HashSet};
use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use futures::{FutureExt as _, Stream, StreamExt as _};
use kube::Resource;
use kube::runtime::controller::{self, Action, Config};
use kube::runtime::reflector::{ObjectRef, Store};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::apply::Object;
use crate::context::Context;
use crate::error::{Class, Error};
use crate::events::{self, Note};
use crate::jobs;

/// Pause that joins the changes of one moment into one reconcile.
const DEBOUNCE: Duration = Duration::from_millis(50);
/// Pause that joins the changes of many objects into one reconcile of another.
const LATER: Duration = Duration::from_secs(2);
/// The longest that one reconcile may take. A connection that died without a word would hold it for ever, and its object with it; every step can be
/// repeated, so what is given up costs nothing.
const LONGEST: Duration = Duration::from_mins(1);
/// Reason of the event that tells of a failed reconcile.
const FAILED: &str = "ReconcileFailed";
/// Objects of one kind that are reconciled at the same time.
const CONCURRENCY: u16 = 16;

/// A controller: a kind, and what to do with an object of it.
pub(crate) trait Controller: Send + Sync + 'static {
    /// The kind.
    type Object: Object + Sync;
    /// For logs and metrics.
    const NAME: &'static str;

    /// Brings the world closer to what the object says.
    fn reconcile(object: Arc<Self::Object>, context: Arc<Context>) -> BoxFuture<'static, Result<Action, Error>>;
}

/// Names that wait for a controller. What comes while none runs is dropped: a controller begins with all objects.
#[derive(Debug)]
pub(crate) struct Queue<K: Resource<DynamicType = ()> + 'static> {
    sender: Mutex<Option<mpsc::UnboundedSender<ObjectRef<K>>>>,
    later: Arc<Mutex<HashSet<ObjectRef<K>>>>,
}

impl<K: Resource<DynamicType = ()> + 'static> Default for Queue<K> {
    fn default() -> Self {
        Self { sender: Mutex::default(), later: Arc::default() }
    }
}

impl<K: Resource<DynamicType = ()> + 'static> Queue<K> {
    /// Wants an object reconciled.
    pub(crate) fn push(&self, namespace: &str, name: &str) {
        if let Some(sender) = lock(&self.sender).as_ref() {
            // Nobody listens while the controller stops.
            let _ = sender.send(ObjectRef::new(name).within(namespace));
        }
    }

    /// Wants an object reconciled, once for all that is told of it within [`LATER`]: what it says of thousands of others
    /// need not be written anew with each of them.
    pub(crate) fn push_later(&self, namespace: &str, name: &str) {
        let Some(sender) = lock(&self.sender).clone() else { return };
        let object = ObjectRef::new(name).within(namespace);
        let later = Arc::clone(&self.later);
        if !lock(&later).insert(object.clone()) {
            return;
        }
        tokio::spawn(async move {
            tokio::time::sleep(LATER).await;
            lock(&later).remove(&object);
            let _ = sender.send(object);
        });
    }

    fn open(&self) -> mpsc::UnboundedReceiver<ObjectRef<K>> {
        let (sender, receiver) = mpsc::unbounded_channel();
        *lock(&self.sender) = Some(sender);
        receiver
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a controller until `stop`, and then to the end of what it has begun.
pub(crate) async fn run<C: Controller>(
    context: Arc<Context>,
    queue: &Queue<C::Object>,
    store: Store<C::Object>,
    stop: CancellationToken,
) {
    let changes = queue.open();
    let mut all: Vec<_> = store.state().iter().map(|object| ObjectRef::from_obj(object.as_ref())).collect();
    // Also those that went while nobody led, and left something.
    let invokers = context.stores.invokers(&C::Object::kind(&()));
    all.extend(invokers.into_iter().map(|one| ObjectRef::new(&one.name).within(&one.namespace)));
    let failures = Arc::new(Failures::<C::Object>::default());
    let names =
        futures::stream::iter(all).chain(stream(changes)).take_until(stop.cancelled_owned()).map(Ok::<_, Never>);
    let (counted, forgotten, left) = (Arc::clone(&failures), Arc::clone(&failures), Arc::clone(&context));
    let reconcile = move |object: Arc<C::Object>, context: Arc<Context>| {
        let counted = Arc::clone(&counted);
        async move {
            let key = ObjectRef::from_obj(object.as_ref());
            let begin = Instant::now();
            let told = Arc::clone(&object);
            let reconcile = C::reconcile(object, Arc::clone(&context));
            let outcome = tokio::time::timeout(LONGEST, reconcile).await.unwrap_or(Err(Error::Silent(LONGEST)));
            let class = outcome.as_ref().err().map(Error::class);
            context.metrics.reconciled(C::NAME, class, begin.elapsed());
            match &outcome {
                Ok(_) => counted.forget(&key),
                Err(error) => {
                    let failures = counted.count(&key);
                    if is_worth_telling(error, failures) {
                        let notes = vec![Note::warning(FAILED, error.to_string())];
                        let telling = events::publish(&context.recorder, told.as_ref(), notes);
                        // Nothing depends on it.
                        let _ = tokio::time::timeout(LONGEST, telling).await;
                    }
                }
            }
            outcome
        }
        .boxed()
    };
    let policy = move |object: Arc<C::Object>, error: &Error, _: Arc<Context>| {
        let key = ObjectRef::from_obj(object.as_ref());
        let class = error.class();
        let pause = class.pause(failures.so_far(&key));
        if error.is_conflict() {
            tracing::debug!(controller = C::NAME, object = %key, %error, "object changed meanwhile, again");
        } else {
            tracing::warn!(controller = C::NAME, object = %key, %error, class = class.name(), again_in = ?pause, "reconcile failed");
        }
        Action::requeue(pause)
    };
    let config = Config::default().debounce(DEBOUNCE).concurrency(CONCURRENCY);
    let mut done = std::pin::pin!(controller::applier(reconcile, policy, context, store, names, config));
    // Beside the queue, which stands still while this loop waits.
    let mut removals = JoinSet::new();
    while let Some(result) = done.next().await {
        while removals.try_join_next().is_some() {}
        match result {
            // Reported by the policy.
            Ok(_) | Err(controller::Error::ReconcilerFailed(..)) => {}
            Err(controller::Error::ObjectNotFound(gone)) => {
                forgotten.forget(&ObjectRef::new(&gone.name).within(gone.namespace.as_deref().unwrap_or_default()));
                removals.spawn(remove_left::<C>(Arc::clone(&left), gone.name, gone.namespace));
            }
            Err(error) => tracing::error!(controller = C::NAME, %error, "the queue of a controller failed"),
        }
    }
    tracing::info!(controller = C::NAME, "controller stopped");
}

/// Removes what was made for an object that is gone, and that the caches knew of too late.
async fn remove_left<C: Controller>(context: Arc<Context>, name: String, namespace: Option<String>) {
    let namespace = namespace.unwrap_or_default();
    let mut failures = 0;
    // Nothing leads here again: the object is gone.
    while let Err(error) = jobs::remove_left::<C::Object>(&context, &namespace, &name).await {
        failures += 1;
        let pause = error.class().pause(failures);
        tracing::warn!(controller = C::NAME, object = %name, %error, again_in = ?pause, "what was made for it could not be removed");
        tokio::time::sleep(pause).await;
    }
}

/// Whether whoever looks at the object should read of a failure: not of what another try mends, and ever more rarely of what stays.
fn is_worth_telling(error: &Error, failures: u32) -> bool {
    let lasts = match error.class() {
        Class::Terminal => true,
        Class::Waiting => failures > 1,
        Class::Transient => failures > 4,
    };
    lasts && failures.is_power_of_two() && !error.is_conflict()
}

/// The queue never fails.
#[derive(Debug, thiserror::Error)]
enum Never {}

fn stream<T>(receiver: mpsc::UnboundedReceiver<T>) -> impl Stream<Item = T> {
    futures::stream::unfold(receiver, async |mut receiver| receiver.recv().await.map(|item| (item, receiver)))
}

/// How often in a row the reconcile of each object has failed.
struct Failures<K: Resource<DynamicType = ()> + 'static>(Mutex<HashMap<ObjectRef<K>, u32>>);

impl<K: Resource<DynamicType = ()> + 'static> Default for Failures<K> {
    fn default() -> Self {
        Self(Mutex::new(HashMap::new()))
    }
}

impl<K: Resource<DynamicType = ()> + 'static> Failures<K> {
    /// Counts one more, and returns how many there are.
    fn count(&self, key: &ObjectRef<K>) -> u32 {
        let mut map = lock(&self.0);
        let count = map.entry(key.clone()).or_default();
        *count = count.saturating_add(1);
        *count
    }

    fn so_far(&self, key: &ObjectRef<K>) -> u32 {
        lock(&self.0).get(key).copied().unwrap_or_default()
    }

    fn forget(&self, key: &ObjectRef<K>) {
        lock(&self.0).remove(key);
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    fn told(error: &Error) -> Vec<u32> {
        (1..=20).filter(|failures| is_worth_telling(error, *failures)).collect()
    }

    #[test]
    fn what_lasts_is_told_ever_more_rarely() {
        let answer = |code: u16, reason: &str| {
            Error::api("create Job demo/sample")(kube::Error::Api(
                Status::failure("no", reason).with_code(code).boxed(),
            ))
        };
        assert_eq!(told(&answer(422, "Invalid")), [1, 2, 4, 8, 16]);
        assert_eq!(told(&answer(403, "Forbidden")), [2, 4, 8, 16]);
        assert_eq!(told(&answer(500, "InternalError")), [8, 16]);
        assert_eq!(told(&answer(409, "Conflict")), [0_u32; 0]);
    }
}
