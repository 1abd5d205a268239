//! A small Kubernetes API in memory: what the verbs use of one, with the rules that matter to them. It keeps objects by resource, namespace and
//! name; gives uids, versions and times; keeps status and the rest apart; refuses what is out of date, what exists and what is not granted; and
//! writes down every request.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use coffer_api::k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

/// One request, as the rules of RBAC see it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Request {
    pub(crate) verb: &'static str,
    pub(crate) group: String,
    /// With its subresource: `snapshots/status`.
    pub(crate) resource: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

type Key = (String, String, String);

/// Whether a request is allowed.
type Granted = Box<dyn Fn(&Request) -> bool + Send>;
/// What others change meanwhile.
type Meanwhile = Box<dyn FnMut(&Request) -> Vec<(Key, Value)> + Send>;

#[derive(Default)]
struct State {
    objects: BTreeMap<Key, Value>,
    version: u64,
    requests: Vec<Request>,
    granted: Option<Granted>,
    /// Answers to the next requests, instead of what would be true.
    trouble: Vec<(&'static str, u16)>,
    /// Called before a status is patched.
    meanwhile: Option<Meanwhile>,
}

/// The cluster.
#[derive(Clone, Default)]
pub(crate) struct Fake(Arc<Mutex<State>>);

impl Fake {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// A client of this cluster.
    pub(crate) fn client(&self) -> Client {
        let this = self.clone();
        let service = tower::service_fn(move |request: http::Request<Body>| {
            let this = this.clone();
            async move {
                let (parts, body) = request.into_parts();
                let bytes = body.collect_bytes().await?;
                let (code, answer) = this.answer(&parts, &bytes);
                let response = http::Response::builder().status(code).header("content-type", "application/json");
                Ok::<_, kube::Error>(response.body(Body::from(serde_json::to_vec(&answer).unwrap())).unwrap())
            }
        });
        Client::new(service, "default")
    }

    /// Applies manifests, status included.
    pub(crate) fn apply(&self, yaml: &str) {
        for document in yaml.split("\n---\n").filter(|document| !document.trim().is_empty()) {
            let object: Value = serde_saphyr::from_str(document).unwrap_or_else(|error| panic!("{error}\n{document}"));
            self.put(object);
        }
    }

    /// Puts an object, status included.
    pub(crate) fn put(&self, mut object: Value) {
        let kind = object["kind"].as_str().unwrap().to_owned();
        let mut state = self.state();
        if kind == "Secret"
            && let Some(Value::Object(text)) = object.as_object_mut().unwrap().remove("stringData")
        {
            use base64::Engine as _;
            let encode =
                |value: &Value| json!(base64::engine::general_purpose::STANDARD.encode(value.as_str().unwrap()));
            object["data"] = text.iter().map(|(key, value)| (key.clone(), encode(value))).collect();
        }
        let name = text(&object, "/metadata/name");
        // As RBAC has it: a Namespace is in itself.
        let namespace = if kind == "Namespace" { name.clone() } else { text(&object, "/metadata/namespace") };
        let key = (plural(&kind), namespace, name);
        state.stamp(&mut object);
        state.objects.insert(key, object);
    }

    /// An object as it is.
    pub(crate) fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<Value> {
        self.state().objects.get(&(resource.to_owned(), namespace.to_owned(), name.to_owned())).cloned()
    }

    /// The names of all objects of a resource.
    pub(crate) fn names(&self, resource: &str) -> Vec<String> {
        self.state().objects.keys().filter(|key| key.0 == resource).map(|key| key.2.clone()).collect()
    }

    /// Changes an object as somebody else would.
    pub(crate) fn change(&self, resource: &str, namespace: &str, name: &str, patch: &Value) {
        let mut state = self.state();
        let key = (resource.to_owned(), namespace.to_owned(), name.to_owned());
        let mut object = state.objects.get(&key).unwrap().clone();
        merge(&mut object, patch);
        state.stamp(&mut object);
        state.objects.insert(key, object);
    }

    /// Removes an object.
    pub(crate) fn remove(&self, resource: &str, namespace: &str, name: &str) {
        self.state().objects.remove(&(resource.to_owned(), namespace.to_owned(), name.to_owned()));
    }

    /// What was asked so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.state().requests.clone()
    }

    /// Refuses everything else.
    pub(crate) fn grant(&self, granted: impl Fn(&Request) -> bool + Send + 'static) {
        self.state().granted = Some(Box::new(granted));
    }

    /// Answers the next requests of a verb with these codes.
    pub(crate) fn trouble(&self, verb: &'static str, codes: &[u16]) {
        self.state().trouble.extend(codes.iter().map(|code| (verb, *code)));
    }

    /// Lets somebody else change an object just before a patch of its status arrives, once.
    pub(crate) fn meanwhile(&self, resource: &'static str, namespace: &'static str, name: &'static str, patch: Value) {
        self.meanwhile_all(resource, name, vec![(resource, namespace.to_owned(), name.to_owned(), patch)]);
    }

    /// Lets somebody else change or make objects just before a patch of this one's status arrives, once.
    pub(crate) fn meanwhile_all(
        &self,
        resource: &'static str,
        name: &'static str,
        changes: Vec<(&'static str, String, String, Value)>,
    ) {
        let mut once = changes;
        self.state().meanwhile = Some(Box::new(move |request| {
            let ours = request.resource == format!("{resource}/status") && request.name == name;
            let changes = if ours { std::mem::take(&mut once) } else { Vec::new() };
            let placed = changes
                .into_iter()
                .map(|(resource, namespace, name, patch)| ((resource.to_owned(), namespace, name), patch));
            placed.collect()
        }));
    }

    fn answer(&self, parts: &http::request::Parts, body: &[u8]) -> (u16, Value) {
        if parts.uri.path() == "/version" {
            return (
                200,
                json!({ "major": "1", "minor": "36", "gitVersion": "v1.36.0", "gitCommit": "", "gitTreeState": "",
                "buildDate": "", "goVersion": "", "compiler": "", "platform": "" }),
            );
        }
        let request = parse(parts);
        let mut state = self.state();
        state.requests.push(request.clone());
        if let Some(index) = state.trouble.iter().position(|(verb, _)| *verb == request.verb) {
            let (_, code) = state.trouble.remove(index);
            return failure(code, "Trouble", "so it is");
        }
        if state.granted.as_ref().is_some_and(|granted| !granted(&request)) {
            let Request { verb, group, resource, namespace, name } = &request;
            return failure(
                403,
                "Forbidden",
                &format!(
                    "{resource} {name:?} is forbidden: cannot {verb} resource in API group {group:?} in the namespace {namespace:?}"
                ),
            );
        }
        let (resource, sub) = request.resource.split_once('/').unwrap_or((&request.resource, ""));
        let key = (resource.to_owned(), request.namespace.clone(), request.name.clone());
        match request.verb {
            "get" => state.objects.get(&key).map_or_else(
                || missing(&key),
                |object| (200, if sub == "log" { object["log"].clone() } else { object.clone() }),
            ),
            "list" => state.list(&request, parts.uri.query().unwrap_or_default()),
            "create" => state.create(key, serde_json::from_slice(body).unwrap()),
            "patch" => state.patch(&key, sub, &request, &serde_json::from_slice(body).unwrap()),
            "delete" => state.delete(&key, &serde_json::from_slice(body).unwrap_or_default()),
            verb => panic!("no {verb} here"),
        }
    }
}

impl State {
    fn stamp(&mut self, object: &mut Value) {
        self.version += 1;
        let metadata = object["metadata"].as_object_mut().unwrap();
        metadata.insert("resourceVersion".to_owned(), json!(self.version.to_string()));
        let uid = format!("00000000-0000-0000-0000-{:012}", self.version);
        metadata.entry("uid").or_insert(json!(uid));
        metadata.entry("creationTimestamp").or_insert(json!(Timestamp::now().to_string()));
    }

    fn list(&self, request: &Request, query: &str) -> (u16, Value) {
        let selector = query.split('&').find_map(|pair| pair.strip_prefix("labelSelector=")).unwrap_or_default();
        let selector = selector.replace("%2F", "/").replace("%3D", "=").replace("%2C", ",");
        let wanted: Vec<(&str, &str)> = selector.split(',').filter_map(|pair| pair.split_once('=')).collect();
        let items: Vec<Value> = self
            .objects
            .iter()
            .filter(|(key, _)| {
                key.0 == request.resource && (request.namespace.is_empty() || key.1 == request.namespace)
            })
            .map(|(_, object)| object.clone())
            .filter(|object| wanted.iter().all(|(key, value)| object["metadata"]["labels"][*key] == json!(value)))
            .collect();
        (200, json!({ "apiVersion": "v1", "kind": "List", "metadata": { "resourceVersion": "1" }, "items": items }))
    }

    fn create(&mut self, (resource, namespace, _): Key, mut object: Value) -> (u16, Value) {
        let name = text(&object, "/metadata/name");
        let key = (resource, namespace, name);
        if self.objects.contains_key(&key) {
            return failure(409, "AlreadyExists", &format!("{key:?} already exists"));
        }
        object.as_object_mut().unwrap().remove("status");
        object["metadata"]["namespace"] = json!(key.1);
        self.stamp(&mut object);
        self.objects.insert(key, object.clone());
        (201, object)
    }

    fn patch(&mut self, key: &Key, sub: &str, request: &Request, patch: &Value) -> (u16, Value) {
        if let Some(mut meanwhile) = self.meanwhile.take() {
            for (other, patch) in meanwhile(request) {
                let mut object = self.objects.get(&other).cloned().unwrap_or_default();
                merge(&mut object, &patch);
                self.stamp(&mut object);
                self.objects.insert(other, object);
            }
            self.meanwhile = Some(meanwhile);
        }
        let Some(before) = self.objects.get(key).cloned() else { return missing(key) };
        let wanted = &patch["metadata"]["resourceVersion"];
        if !wanted.is_null() && *wanted != before["metadata"]["resourceVersion"] {
            return failure(409, "Conflict", "the object has been modified");
        }
        let mut after = before.clone();
        if sub == "status" {
            let mut status = before["status"].clone();
            merge(&mut status, &patch["status"]);
            after["status"] = status;
        } else {
            merge(&mut after, patch);
            after["status"] = before["status"].clone();
            after["metadata"]["uid"] = before["metadata"]["uid"].clone();
        }
        if after["status"].is_null() {
            after.as_object_mut().unwrap().remove("status");
        }
        self.stamp(&mut after);
        self.objects.insert(key.clone(), after.clone());
        (200, after)
    }

    fn delete(&mut self, key: &Key, options: &Value) -> (u16, Value) {
        let Some(mut object) = self.objects.get(key).cloned() else { return missing(key) };
        let uid = &options["preconditions"]["uid"];
        if !uid.is_null() && *uid != object["metadata"]["uid"] {
            return failure(409, "Conflict", "another object by now");
        }
        if object["metadata"]["finalizers"].as_array().is_some_and(|finalizers| !finalizers.is_empty()) {
            object["metadata"]["deletionTimestamp"] = json!(Timestamp::now().to_string());
            self.stamp(&mut object);
            self.objects.insert(key.clone(), object.clone());
        } else {
            self.objects.remove(key);
        }
        (200, object)
    }
}

/// JSON merge patch, RFC 7386.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let object = target.as_object_mut().unwrap();
    for (key, value) in fields {
        if value.is_null() {
            object.remove(key);
        } else {
            merge(object.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

fn parse(parts: &http::request::Parts) -> Request {
    let path: Vec<&str> = parts.uri.path().split('/').filter(|part| !part.is_empty()).collect();
    let (group, rest) = match path.as_slice() {
        ["api", "v1", rest @ ..] => ("", rest),
        ["apis", group, _, rest @ ..] => (*group, rest),
        other => panic!("no such path: {other:?}"),
    };
    let (namespace, resource, name, sub) = match rest {
        ["namespaces", name] => (*name, "namespaces", *name, ""),
        ["namespaces", namespace, resource] => (*namespace, *resource, "", ""),
        ["namespaces", namespace, resource, name] => (*namespace, *resource, *name, ""),
        ["namespaces", namespace, resource, name, sub] => (*namespace, *resource, *name, *sub),
        [resource] => ("", *resource, "", ""),
        [resource, name] => ("", *resource, *name, ""),
        other => panic!("no such path: {other:?}"),
    };
    let verb = match parts.method.as_str() {
        "GET" if name.is_empty() => "list",
        "GET" => "get",
        "POST" => "create",
        "PATCH" => {
            assert_eq!(parts.headers["content-type"], "application/merge-patch+json");
            let query = parts.uri.query().unwrap_or_default();
            assert!(
                ["fieldManager=coffer-job", "fieldManager=kubectl-coffer"].iter().any(|who| query.contains(who)),
                "{query}"
            );
            "patch"
        }
        "DELETE" => "delete",
        other => panic!("no {other} here"),
    };
    Request {
        verb,
        group: group.to_owned(),
        resource: if sub.is_empty() { resource.to_owned() } else { format!("{resource}/{sub}") },
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    }
}

fn plural(kind: &str) -> String {
    match kind {
        "Repository" => "repositories".to_owned(),
        "RetentionPolicy" => "retentionpolicies".to_owned(),
        other => format!("{}s", other.to_ascii_lowercase()),
    }
}

fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn missing(key: &Key) -> (u16, Value) {
    failure(404, "NotFound", &format!("{} {:?} not found", key.0, key.2))
}

fn failure(code: u16, reason: &str, message: &str) -> (u16, Value) {
    (
        code,
        json!({ "apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message }),
    )
}
