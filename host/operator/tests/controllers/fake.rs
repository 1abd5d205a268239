//! An API server in memory: honest about versions, conflicts, status, generations, finalizers, owners and watches; ignorant
//! of schemas and rights.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::channel::mpsc;
use futures::{SinkExt as _, StreamExt as _};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, StreamBody};
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::client::Body;
use serde_json::{Map, Value, json};
use tokio::sync::watch;

type Answer = Response<http_body_util::combinators::UnsyncBoxBody<Bytes, Infallible>>;

/// Where an object is: `apis/batch/v1/jobs`, namespace, name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    pub resource: String,
    pub namespace: String,
    pub name: String,
}

#[derive(Clone)]
pub struct Fake {
    state: Arc<Mutex<State>>,
    changed: Arc<watch::Sender<u64>>,
    clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
}

#[derive(Default)]
struct State {
    version: u64,
    objects: BTreeMap<Key, Value>,
    /// Every change: its version, its kind, and the object then.
    log: Vec<(u64, &'static str, Key, Value)>,
    /// What each manager last applied.
    applied: BTreeMap<(Key, String), Value>,
    /// Every request as `METHOD path`.
    requests: Vec<String>,
    /// Answers to give instead of doing what the next writes ask for.
    faults: VecDeque<StatusCode>,
    /// Whether open watches are to end.
    watches: u64,
}

impl Fake {
    pub fn new(clock: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self { state: Arc::default(), changed: Arc::new(watch::Sender::new(0)), clock: Arc::new(clock) }
    }

    pub fn client(&self) -> Client {
        let fake = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let fake = fake.clone();
            async move { Ok::<_, Infallible>(fake.answer(request).await) }
        });
        Client::new(service, "default")
    }

    /// Every object of a resource.
    pub fn all(&self, resource: &str) -> Vec<Value> {
        let state = self.state.lock().unwrap();
        state.objects.iter().filter(|(key, _)| key.resource == resource).map(|(_, value)| value.clone()).collect()
    }

    pub fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<Value> {
        let key = Key { resource: resource.to_owned(), namespace: namespace.to_owned(), name: name.to_owned() };
        self.state.lock().unwrap().objects.get(&key).cloned()
    }

    /// Everything that was ever in a resource, by name, whether it still is or not.
    pub fn ever(&self, resource: &str) -> Vec<String> {
        let state = self.state.lock().unwrap();
        let added = state.log.iter().filter(|(_, kind, key, _)| *kind == "ADDED" && key.resource == resource);
        added.map(|(_, _, key, _)| format!("{}/{}", key.namespace, key.name)).collect()
    }

    /// What an actor other than the operator does to an object; whether it is there.
    pub fn edit(&self, resource: &str, namespace: &str, name: &str, change: impl FnOnce(&mut Value)) -> bool {
        let key = Key { resource: resource.to_owned(), namespace: namespace.to_owned(), name: name.to_owned() };
        let mut state = self.state.lock().unwrap();
        let Some(old) = state.objects.get(&key).cloned() else { return false };
        let mut new = old.clone();
        change(&mut new);
        if new != old {
            updated(&mut state, &key, &old, new);
        }
        let version = state.version;
        drop(state);
        self.changed.send_if_modified(|last| std::mem::replace(last, version) != version);
        true
    }

    /// Creates an object as a user does.
    pub fn create(&self, resource: &str, mut object: Value) {
        let (group, plural) = resource.rsplit_once('/').unwrap();
        object["apiVersion"] = json!(group.trim_start_matches("apis/").trim_start_matches("api/"));
        object["kind"] = json!(kind(plural));
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
        let body = object.to_string();
        let answer = self.write(|state, now| create(state, resource, &namespace, body.as_bytes(), now));
        assert!(answer.status().is_success(), "{object}");
    }

    /// Deletes an object as a user does.
    pub fn delete(&self, resource: &str, namespace: &str, name: &str) {
        let key = Key { resource: resource.to_owned(), namespace: namespace.to_owned(), name: name.to_owned() };
        let answer = self.write(|state, now| delete(state, &key, b"", now));
        assert!(answer.status().is_success(), "{key:?}");
    }

    /// The requests since the last call.
    pub fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().requests)
    }

    /// The next writes get these answers, and change nothing; unless others still wait for theirs.
    pub fn fail(&self, answers: impl IntoIterator<Item = StatusCode>) {
        let mut state = self.state.lock().unwrap();
        if state.faults.is_empty() {
            state.faults.extend(answers);
        }
    }

    /// Ends every open watch.
    pub fn drop_watches(&self) {
        self.state.lock().unwrap().watches += 1;
        self.changed.send_modify(|_| {});
    }

    /// Changes with every change of an object.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    async fn answer(&self, request: Request<Body>) -> Answer {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let query: BTreeMap<String, String> = parts
            .uri
            .query()
            .into_iter()
            .flat_map(|query| query.split('&'))
            .filter_map(|pair| {
                let (key, value) = pair.split_once('=')?;
                Some((
                    key.to_owned(),
                    value.replace("%3D", "=").replace("%2F", "/").replace("%2f", "/").replace("%3d", "="),
                ))
            })
            .collect();
        let path = parts.uri.path().to_owned();
        let metadata_only = parts
            .headers
            .get("accept")
            .is_some_and(|accept| accept.to_str().unwrap().contains("PartialObjectMetadata"));
        let is_watch = query.contains_key("watch");
        if !is_watch {
            self.state.lock().unwrap().requests.push(format!("{} {path}", parts.method));
        }
        let (resource, namespace, name, sub) = parse(&path);
        let selector = query
            .get("labelSelector")
            .and_then(|text| text.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.to_owned()));
        let Some(name) = name else {
            return match parts.method {
                Method::GET if is_watch => {
                    let from = query.get("resourceVersion").and_then(|text| text.parse().ok()).unwrap_or_default();
                    self.watch(resource, namespace, selector, from, metadata_only)
                }
                Method::GET => self.list(&resource, &namespace, selector.as_ref(), metadata_only),
                Method::POST => self.write(|state, now| create(state, &resource, &namespace, &body, now)),
                _ => failure(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", "no"),
            };
        };
        let key = Key { resource, namespace, name };
        match parts.method {
            Method::GET => match self.state.lock().unwrap().objects.get(&key) {
                Some(value) => ok(&shown(value, metadata_only)),
                None => not_found(&key),
            },
            Method::PATCH => {
                let kind = parts.headers["content-type"].to_str().unwrap().to_owned();
                let manager = query.get("fieldManager").cloned().unwrap_or_default();
                self.write(|state, now| patch(state, &key, sub.as_deref(), &kind, &manager, &body, now))
            }
            Method::PUT => self.write(|state, _| replace(state, &key, &body)),
            Method::DELETE => self.write(|state, now| delete(state, &key, &body, now)),
            _ => failure(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", "no"),
        }
    }

    fn write(&self, change: impl FnOnce(&mut State, Timestamp) -> Answer) -> Answer {
        let now = (self.clock)();
        let mut state = self.state.lock().unwrap();
        if let Some(fault) = state.faults.pop_front() {
            let reason = match fault {
                StatusCode::CONFLICT => "Conflict",
                StatusCode::TOO_MANY_REQUESTS => "TooManyRequests",
                _ => "InternalError",
            };
            return failure(fault, reason, "injected");
        }
        let answer = change(&mut state, now);
        let version = state.version;
        drop(state);
        self.changed.send_if_modified(|last| std::mem::replace(last, version) != version);
        answer
    }

    fn list(
        &self,
        resource: &str,
        namespace: &str,
        selector: Option<&(String, String)>,
        metadata_only: bool,
    ) -> Answer {
        let state = self.state.lock().unwrap();
        let items: Vec<_> = state
            .objects
            .iter()
            .filter(|(key, value)| is_wanted(key, value, resource, namespace, selector))
            .map(|(_, value)| shown(value, metadata_only))
            .collect();
        let kind = if metadata_only { "PartialObjectMetadataList" } else { "List" };
        ok(
            &json!({"kind": kind, "apiVersion": "v1", "metadata": {"resourceVersion": state.version.to_string()}, "items": items}),
        )
    }

    fn watch(
        &self,
        resource: String,
        namespace: String,
        selector: Option<(String, String)>,
        mut from: u64,
        metadata_only: bool,
    ) -> Answer {
        let (mut sender, receiver) = mpsc::channel::<Bytes>(64);
        let (state, mut changed) = (Arc::clone(&self.state), self.changed.subscribe());
        let epoch = state.lock().unwrap().watches;
        tokio::spawn(async move {
            loop {
                changed.borrow_and_update();
                let (lines, dropped): (Vec<Bytes>, bool) = {
                    let state = state.lock().unwrap();
                    let begin = state.log.partition_point(|(version, ..)| *version <= from);
                    let wanted =
                        |key: &Key, value: &Value| is_wanted(key, value, &resource, &namespace, selector.as_ref());
                    let events = state.log[begin..].iter().enumerate().filter_map(|(index, (_, kind, key, value))| {
                        if wanted(key, value) {
                            return Some((*kind, value));
                        }
                        // What has lost the label is gone for those that watch the label; they are told as it was.
                        if selector.is_none() || key.resource != resource {
                            return None;
                        }
                        let before = state.log[..begin + index].iter().rev().find(|(_, _, other, _)| other == key);
                        let lost = before.filter(|(_, kind, key, old)| *kind != "DELETED" && wanted(key, old));
                        lost.map(|(_, _, _, old)| ("DELETED", old))
                    });
                    let lines = events.map(|(kind, value)| {
                        format!("{}\n", json!({"type": kind, "object": shown(value, metadata_only)})).into()
                    });
                    let lines = lines.collect();
                    from = state.version;
                    (lines, state.watches != epoch)
                };
                for line in lines {
                    if sender.send(line).await.is_err() {
                        return;
                    }
                }
                if dropped || changed.changed().await.is_err() {
                    return;
                }
            }
        });
        let frames = receiver.map(|bytes| Ok::<_, Infallible>(http_body::Frame::data(bytes)));
        Response::new(StreamBody::new(frames).boxed_unsync())
    }
}

/// Resource, namespace, name and subresource of a path.
fn parse(path: &str) -> (String, String, Option<String>, Option<String>) {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let prefix = if parts[0] == "api" { 2 } else { 3 };
    let (group, rest) = parts.split_at(prefix);
    let (namespace, rest) = match rest {
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
        rest => ("", rest),
    };
    let mut rest = rest.iter().map(|part| (*part).to_owned());
    let resource = format!("{}/{}", group.join("/"), rest.next().unwrap());
    (resource, namespace.to_owned(), rest.next(), rest.next())
}

fn kind(plural: &str) -> &'static str {
    match plural {
        "backupstorages" => "BackupStorage",
        "retentionpolicies" => "RetentionPolicy",
        "repositories" => "Repository",
        "snapshots" => "Snapshot",
        "backupconfigurations" => "BackupConfiguration",
        "backupsessions" => "BackupSession",
        "restoresessions" => "RestoreSession",
        "addons" => "Addon",
        "functions" => "Function",
        "appbindings" => "AppBinding",
        "pods" => "Pod",
        "namespaces" => "Namespace",
        "jobs" => "Job",
        "cronjobs" => "CronJob",
        "serviceaccounts" => "ServiceAccount",
        "rolebindings" => "RoleBinding",
        other => panic!("which kind is {other}?"),
    }
}

fn is_wanted(key: &Key, value: &Value, resource: &str, namespace: &str, selector: Option<&(String, String)>) -> bool {
    key.resource == resource
        && (namespace.is_empty() || key.namespace == namespace)
        && selector.is_none_or(|(label, wanted)| value["metadata"]["labels"][label] == json!(wanted))
}

fn shown(value: &Value, metadata_only: bool) -> Value {
    if metadata_only {
        json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": value["metadata"]})
    } else {
        value.clone()
    }
}

fn create(state: &mut State, resource: &str, namespace: &str, body: &[u8], now: Timestamp) -> Answer {
    let mut object: Value = serde_json::from_slice(body).unwrap();
    let name = object["metadata"]["name"].as_str().expect("a name").to_owned();
    let key = Key { resource: resource.to_owned(), namespace: namespace.to_owned(), name };
    if state.objects.contains_key(&key) {
        return failure(StatusCode::CONFLICT, "AlreadyExists", &format!("{key:?} already exists"));
    }
    born(state, &mut object, namespace, now);
    object.as_object_mut().unwrap().remove("status");
    store(state, "ADDED", key, object)
}

fn born(state: &State, object: &mut Value, namespace: &str, now: Timestamp) {
    let metadata = object["metadata"].as_object_mut().unwrap();
    metadata.insert("uid".to_owned(), json!(format!("uid-{}", state.version + 1)));
    metadata.insert("creationTimestamp".to_owned(), json!(now));
    metadata.insert("generation".to_owned(), json!(1));
    if !namespace.is_empty() {
        metadata.insert("namespace".to_owned(), json!(namespace));
    }
}

fn store(state: &mut State, kind: &'static str, key: Key, mut object: Value) -> Answer {
    state.version += 1;
    object["metadata"]["resourceVersion"] = json!(state.version.to_string());
    state.log.push((state.version, kind, key.clone(), object.clone()));
    let answer = ok(&object);
    let uid = object["metadata"]["uid"].clone();
    if kind == "DELETED" {
        state.objects.remove(&key);
        state.applied.retain(|(other, _), _| *other != key);
        collect_garbage(state, &uid);
    } else {
        state.objects.insert(key, object);
    }
    answer
}

/// Deletes what the gone object owned, as the garbage collector does in the background.
fn collect_garbage(state: &mut State, uid: &Value) {
    let owned = |value: &Value| {
        let owners = value["metadata"]["ownerReferences"].as_array().cloned().unwrap_or_default();
        !owners.is_empty() && owners.iter().all(|owner| owner["uid"] == *uid)
    };
    let dependents: Vec<Key> =
        state.objects.iter().filter(|(_, value)| owned(value)).map(|(key, _)| key.clone()).collect();
    for key in dependents {
        delete(state, &key, b"", Timestamp::now());
    }
}

fn patch(
    state: &mut State,
    key: &Key,
    sub: Option<&str>,
    content: &str,
    manager: &str,
    body: &[u8],
    now: Timestamp,
) -> Answer {
    let mut change: Value = serde_json::from_slice(body).unwrap();
    let is_apply = content.contains("apply-patch");
    let Some(old) = state.objects.get(key).cloned() else {
        if !is_apply || sub.is_some() {
            return not_found(key);
        }
        let mut object = change.clone();
        born(state, &mut object, &key.namespace, now);
        object.as_object_mut().unwrap().remove("status");
        state.applied.insert((key.clone(), manager.to_owned()), change);
        return store(state, "ADDED", key.clone(), object);
    };
    if let Some(version) = change.pointer("/metadata/resourceVersion").filter(|version| !version.is_null())
        && *version != old["metadata"]["resourceVersion"]
    {
        return failure(StatusCode::CONFLICT, "Conflict", "the object has been modified");
    }
    let mut new = old.clone();
    if sub == Some("status") {
        let status = json!({"status": change["status"]});
        merge(&mut new, &status);
    } else {
        change.as_object_mut().unwrap().remove("status");
        if is_apply {
            let before = state.applied.insert((key.clone(), manager.to_owned()), change.clone());
            if let Some(before) = before {
                forget(&mut new, &before, &change);
            }
        }
        merge(&mut new, &change);
    }
    new["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"].clone();
    if new == old {
        return ok(&old);
    }
    updated(state, key, &old, new)
}

/// Stores an update: the generation counts changes of the spec, and what waits for its last finalizer goes.
fn updated(state: &mut State, key: &Key, old: &Value, mut new: Value) -> Answer {
    let spec = |value: &Value| {
        let mut value = value.clone();
        value.as_object_mut().unwrap().retain(|field, _| field != "status" && field != "metadata");
        value
    };
    if spec(old) != spec(&new) {
        new["metadata"]["generation"] = json!(old["metadata"]["generation"].as_i64().unwrap() + 1);
    }
    let finalizers = new["metadata"]["finalizers"].as_array().is_some_and(|all| !all.is_empty());
    let ends = new["metadata"].get("deletionTimestamp").is_some() && !finalizers;
    store(state, if ends { "DELETED" } else { "MODIFIED" }, key.clone(), new)
}

fn replace(state: &mut State, key: &Key, body: &[u8]) -> Answer {
    let new: Value = serde_json::from_slice(body).unwrap();
    let Some(old) = state.objects.get(key).cloned() else { return not_found(key) };
    if new["metadata"]["resourceVersion"] != old["metadata"]["resourceVersion"] {
        return failure(StatusCode::CONFLICT, "Conflict", "the object has been modified");
    }
    updated(state, key, &old, new)
}

fn delete(state: &mut State, key: &Key, body: &[u8], now: Timestamp) -> Answer {
    let Some(mut object) = state.objects.get(key).cloned() else { return not_found(key) };
    let options: Value = serde_json::from_slice(body).unwrap_or_default();
    if let Some(uid) = options.pointer("/preconditions/uid").filter(|uid| !uid.is_null())
        && *uid != object["metadata"]["uid"]
    {
        return failure(StatusCode::CONFLICT, "Conflict", "another uid");
    }
    let finalizers = object["metadata"]["finalizers"].as_array().is_some_and(|all| !all.is_empty());
    if !finalizers {
        return store(state, "DELETED", key.clone(), object);
    }
    if object["metadata"].get("deletionTimestamp").is_none() {
        object["metadata"]["deletionTimestamp"] = json!(now);
        object["metadata"]["generation"] = json!(object["metadata"]["generation"].as_i64().unwrap() + 1);
        return store(state, "MODIFIED", key.clone(), object);
    }
    ok(&object)
}

/// RFC 7396.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let target = target.as_object_mut().unwrap();
    for (key, value) in patch {
        if value.is_null() {
            target.remove(key);
        } else {
            merge(target.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

/// Removes what a manager applied before and does not any more.
fn forget(target: &mut Value, before: &Value, after: &Value) {
    let (Some(target), Some(before)) = (target.as_object_mut(), before.as_object()) else { return };
    for (key, value) in before {
        match after.get(key) {
            None => {
                target.remove(key);
            }
            Some(after) => {
                if let Some(target) = target.get_mut(key) {
                    forget(target, value, after);
                }
            }
        }
    }
}

fn ok(value: &Value) -> Answer {
    Response::new(Full::new(Bytes::from(value.to_string())).boxed_unsync())
}

fn not_found(key: &Key) -> Answer {
    failure(StatusCode::NOT_FOUND, "NotFound", &format!("{key:?} not found"))
}

fn failure(code: StatusCode, reason: &str, message: &str) -> Answer {
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message, "reason": reason, "code": code.as_u16()});
    let mut answer = ok(&status);
    *answer.status_mut() = code;
    answer
}
