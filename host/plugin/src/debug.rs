//! `debug`: everything that helps to find a fault, as texts. No Secret is in it, and nothing that looks like one.
//!
//! The Secrets that the objects name are read where the caller may, for one purpose: to take their values out of every text, should one have got
//! into an object or a log.

use std::collections::BTreeSet;

use coffer_api::ResourceExt as _;
use coffer_api::k8s_openapi::api::apps::v1::Deployment;
use coffer_api::k8s_openapi::api::batch::v1::{CronJob, Job};
use coffer_api::k8s_openapi::api::core::v1::{Event, Pod};
use coffer_api::meta::{self, label};
use coffer_resolve::objects::Namespaced;
use coffer_resolve::{Kind, Reader as _};
use jiff::Timestamp;
use serde_json::Value;

use crate::error::PluginError;
use crate::format::{self, Format};
use crate::redact::{self, Values};
use crate::table::{Table, age};
use crate::{Plugin, logs, status};

/// The kinds of Coffer.
const KINDS: [Kind; 10] = [
    Kind::BackupConfiguration,
    Kind::BackupSession,
    Kind::RestoreSession,
    Kind::BackupStorage,
    Kind::Repository,
    Kind::Snapshot,
    Kind::RetentionPolicy,
    Kind::AppBinding,
    Kind::Addon,
    Kind::Function,
];
/// The pods whose logs are taken at most: the newest.
const PODS: usize = 20;
/// The labels of the operator's Deployment and pods.
const OPERATOR: &str = "app.kubernetes.io/name=coffer,app.kubernetes.io/component=operator";

/// What to gather.
#[derive(Debug, Clone)]
pub struct Debug {
    /// Namespace of the objects; all when absent.
    pub namespace: Option<String>,
    /// Namespace of the operator; looked for when absent.
    pub operator_namespace: Option<String>,
    /// How many lines of each log.
    pub tail: i64,
    /// What the program calls itself, with its version.
    pub program: String,
}

/// What was gathered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bundle {
    /// The parts, each a file.
    pub parts: Vec<Part>,
}

/// One text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its path, such as `objects/snapshots.yaml`.
    pub path: String,
    /// Its text.
    pub text: String,
}

impl Bundle {
    /// Everything as one text.
    pub fn text(&self) -> String {
        let parts = self.parts.iter().map(|part| format!("==> {} <==\n{}\n", part.path, part.text.trim_end()));
        parts.collect::<Vec<_>>().join("\n")
    }
}

/// What a part is made of, as it was read. The values of Secrets are taken out of this: neither a guess nor YAML has changed them yet.
enum Raw {
    Text(String),
    Objects(Vec<Value>),
}

impl Raw {
    /// Its text, without what is secret.
    fn shown(self, values: &Values) -> Result<String, PluginError> {
        match self {
            Self::Text(text) => Ok(redact::text(&values.out_of(&text))),
            Self::Objects(mut objects) => {
                let documents = objects.iter_mut().map(|object| {
                    values.out_of_object(object);
                    redact::object(object);
                    format::yaml(object)
                });
                Ok(documents.collect::<Result<Vec<_>, _>>()?.join("\n---\n"))
            }
        }
    }
}

/// Gathers everything. What cannot be read is noted in the first part.
pub fn debug(plugin: &Plugin, args: &Debug) -> Result<Bundle, PluginError> {
    let mut gathering = Gathering {
        plugin,
        namespace: args.namespace.as_deref(),
        tail: args.tail,
        parts: Vec::new(),
        secrets: BTreeSet::new(),
        missing: Vec::new(),
    };
    gathering.status();
    gathering.objects();
    gathering.work()?;
    gathering.operator(args.operator_namespace.as_deref())?;
    let values = gathering.secret_values();
    let version = plugin.greet().ok().flatten();
    let about = about(args, version.as_deref(), &gathering.missing, Plugin::now());
    let raw = std::iter::once(("about.txt".to_owned(), Raw::Text(about))).chain(gathering.parts);
    let parts = raw.map(|(path, raw)| Ok(Part { path: values.out_of(&path), text: raw.shown(&values)? }));
    Ok(Bundle { parts: parts.collect::<Result<_, PluginError>>()? })
}

fn about(args: &Debug, server: Option<&str>, missing: &[String], now: Timestamp) -> String {
    let mut lines = vec![
        args.program.clone(),
        format!("Kubernetes {}", server.unwrap_or("(version not known)")),
        format!("gathered at {now}"),
        format!("namespace {}", args.namespace.as_deref().unwrap_or("(all)")),
        "no Secret is in here, and what looks like a credential is hidden; read it before you send it all the same"
            .to_owned(),
    ];
    if !missing.is_empty() {
        lines.push("\nwhat could not be read:".to_owned());
        lines.extend(missing.iter().map(|why| format!("  {why}")));
    }
    lines.join("\n")
}

struct Gathering<'a> {
    plugin: &'a Plugin,
    namespace: Option<&'a str>,
    tail: i64,
    parts: Vec<(String, Raw)>,
    /// Namespaces and names of the Secrets that the objects name.
    secrets: BTreeSet<(String, String)>,
    missing: Vec<String>,
}

impl Gathering<'_> {
    fn text(&mut self, path: impl Into<String>, text: String) {
        self.parts.push((path.into(), Raw::Text(text)));
    }

    /// What is there; what is not is noted.
    fn or_note<T: Default>(&mut self, result: Result<T, impl ToString>) -> T {
        result.unwrap_or_else(|error| {
            self.missing.push(error.to_string());
            T::default()
        })
    }

    fn status(&mut self) {
        let text = status(self.plugin, self.namespace, None, Format::Wide);
        let (text, _) = self.or_note(text);
        self.text("status.txt", text);
    }

    fn objects(&mut self) {
        for kind in KINDS {
            let namespace = self.namespace.filter(|_| kind.namespaced());
            let all = self.plugin.cluster.list(kind, namespace);
            let all = self.or_note(all);
            self.objects_at(&format!("objects/{}.yaml", kind.name().to_ascii_lowercase()), all);
        }
    }

    /// The Jobs, their pods, what happened to them, and what they printed.
    fn work(&mut self) -> Result<(), PluginError> {
        let ours = format!("{}={}", label::MANAGED_BY, meta::MANAGED_BY);
        let triggers: Vec<CronJob> = self.list(self.namespace, &ours);
        let jobs: Vec<Job> = self.list(self.namespace, &ours);
        let pods: Vec<Pod> = self.list(self.namespace, &ours);
        let events: Vec<Event> = self.list(self.namespace, "");
        self.typed("work/cronjobs.yaml", &triggers)?;
        self.typed("work/jobs.yaml", &jobs)?;
        self.typed("work/pods.yaml", &pods)?;
        let mut names: BTreeSet<String> = triggers.iter().map(coffer_api::ResourceExt::name_any).collect();
        names.extend(jobs.iter().map(coffer_api::ResourceExt::name_any));
        names.extend(pods.iter().map(coffer_api::ResourceExt::name_any));
        let table = events_table(&events, &names, Plugin::now());
        self.text("work/events.txt", table.render());
        let mut newest: Vec<&Pod> = pods.iter().collect();
        newest.sort_by_cached_key(|pod| std::cmp::Reverse(pod.metadata.creation_timestamp.as_ref().map(|time| time.0)));
        for pod in newest.into_iter().take(PODS) {
            self.logs("work/logs", pod);
        }
        Ok(())
    }

    fn operator(&mut self, namespace: Option<&str>) -> Result<(), PluginError> {
        let deployments: Vec<Deployment> = self.list(namespace, OPERATOR);
        if deployments.is_empty() {
            let place = namespace.map_or_else(|| "any namespace".to_owned(), |name| format!("namespace {name}"));
            self.missing
                .push(format!("no operator was found in {place}; name its namespace with --operator-namespace"));
        }
        self.typed("operator/deployments.yaml", &deployments)?;
        let places: BTreeSet<String> = deployments.iter().filter_map(coffer_api::ResourceExt::namespace).collect();
        let pods: Vec<Pod> = places.iter().flat_map(|place| self.list(Some(place), OPERATOR)).collect();
        self.typed("operator/pods.yaml", &pods)?;
        for pod in &pods {
            self.logs("operator/logs", pod);
        }
        Ok(())
    }

    fn logs(&mut self, folder: &str, pod: &Pod) {
        let (namespace, name) = (pod.namespace().unwrap_or_default(), pod.name_any());
        let restarted = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
        let restarted = restarted.map(|status| status.restart_count).max().unwrap_or_default() > 0;
        for container in logs::containers(pod) {
            for previous in [false, true].into_iter().filter(|previous| !previous || restarted) {
                let text = logs::tail(self.plugin, (&namespace, &name), &container, self.tail, previous);
                let text = self.or_note(text);
                let which = if previous { ".previous" } else { "" };
                if !text.is_empty() {
                    self.text(format!("{folder}/{namespace}/{name}.{container}{which}.txt"), text);
                }
            }
        }
    }

    fn list<K: Namespaced>(&mut self, namespace: Option<&str>, labels: &str) -> Vec<K> {
        let all = self.plugin.objects().list(namespace, labels);
        self.or_note(all)
    }

    fn typed<K: Namespaced>(&mut self, path: &str, objects: &[K]) -> Result<(), PluginError> {
        let values = objects.iter().map(format::value).collect::<Result<Vec<_>, _>>()?;
        self.objects_at(path, values);
        Ok(())
    }

    /// Keeps objects. The Secrets that they name are remembered.
    fn objects_at(&mut self, path: &str, objects: Vec<Value>) {
        for object in &objects {
            secrets_of(object, &mut self.secrets);
        }
        if !objects.is_empty() {
            self.parts.push((path.to_owned(), Raw::Objects(objects)));
        }
    }

    fn secret_values(&mut self) -> Values {
        let mut values = Values::default();
        for (namespace, name) in std::mem::take(&mut self.secrets) {
            match self.plugin.cluster.secret(&namespace, &name) {
                Ok(Some(data)) => values.add(data.keys().filter_map(|key| Some((key, data.get(key)?)))),
                Ok(None) => {}
                Err(error) => self.missing.push(format!("{error}; so its values were not looked for in what follows")),
            }
        }
        values
    }
}

/// The Secrets that an object names, anywhere in it.
fn secrets_of(object: &Value, found: &mut BTreeSet<(String, String)>) {
    let namespace = object.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or_default();
    walk(object, namespace, found);
}

fn walk(value: &Value, namespace: &str, found: &mut BTreeSet<(String, String)>) {
    match value {
        Value::Object(fields) => {
            for (key, field) in fields {
                let key = key.to_ascii_lowercase();
                let of = |field: &Value| {
                    let text = |name: &str| field.get(name).and_then(Value::as_str).map(str::to_owned);
                    let place = text("namespace").unwrap_or_else(|| namespace.to_owned());
                    Some((place, text("name").or_else(|| text("secretName"))?))
                };
                if key.ends_with("secretname") {
                    found.extend(field.as_str().map(|name| (namespace.to_owned(), name.to_owned())));
                } else if key.ends_with("secret") || key.ends_with("secretref") || key.ends_with("secretkeyref") {
                    found.extend(of(field));
                }
                walk(field, namespace, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| walk(item, namespace, found)),
        _ => {}
    }
}

/// The events of our objects, oldest first.
fn events_table(events: &[Event], names: &BTreeSet<String>, now: Timestamp) -> Table {
    let of_ours = |event: &&Event| {
        let about = &event.involved_object;
        let group = about.api_version.as_deref().unwrap_or_default();
        group.contains("kubestash.com") || about.name.as_ref().is_some_and(|name| names.contains(name))
    };
    let time = |event: &Event| {
        let series = event.series.as_ref().and_then(|series| series.last_observed_time.as_ref().map(|time| time.0));
        let last = event.last_timestamp.as_ref().map(|time| time.0);
        series.or(last).or(event.event_time.as_ref().map(|time| time.0))
    };
    let mut ours: Vec<_> = events.iter().filter(of_ours).collect();
    ours.sort_by_cached_key(|event| (time(event), event.name_any()));
    let mut table = Table::new(&["AGE", "TYPE", "REASON", "OBJECT", "MESSAGE"]);
    for event in ours {
        let about = &event.involved_object;
        table.row([
            time(event).map(|time| age(time, now)).unwrap_or_default(),
            event.type_.clone().unwrap_or_default(),
            event.reason.clone().unwrap_or_default(),
            format!(
                "{} {}/{}",
                about.kind.as_deref().unwrap_or_default(),
                about.namespace.as_deref().unwrap_or_default(),
                about.name.as_deref().unwrap_or_default()
            ),
            event.message.clone().unwrap_or_default().replace('\n', " "),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_secrets_that_an_object_names_are_found() {
        let object = json!({
            "metadata": { "namespace": "demo" },
            "spec": {
                "secret": { "name": "auth" }, "tlsSecret": { "name": "tls" }, "storage": { "s3": { "secretName": "s3" } },
                "encryptionSecret": { "name": "encrypt", "namespace": "other" },
                "env": [{ "valueFrom": { "secretKeyRef": { "name": "env", "key": "k" } } }, { "secretRef": { "name": "from" } }],
                "volumes": [{ "name": "v", "secret": { "secretName": "volume" } }], "secretTransforms": [{ "addKey": {} }],
            },
        });
        let mut found = BTreeSet::new();
        secrets_of(&object, &mut found);
        let found: Vec<_> = found.iter().map(|(namespace, name)| format!("{namespace}/{name}")).collect();
        assert_eq!(
            found,
            ["demo/auth", "demo/env", "demo/from", "demo/s3", "demo/tls", "demo/volume", "other/encrypt"]
        );
    }

    #[test]
    fn events_of_others_are_left_out() {
        let event = |api: &str, kind: &str, name: &str, minute: u8| -> Event {
            serde_json::from_value(json!({
                "metadata": { "name": format!("e{minute}") }, "reason": "R", "type": "Warning", "message": "m\nn",
                "lastTimestamp": format!("2026-01-01T00:{minute:02}:00Z"),
                "involvedObject": { "apiVersion": api, "kind": kind, "namespace": "demo", "name": name },
            }))
            .unwrap()
        };
        let events = [
            event("v1", "Pod", "ours", 20),
            event("v1", "Pod", "theirs", 5),
            event("storage.kubestash.com/v1alpha1", "BackupStorage", "s3", 10),
        ];
        let now = "2026-01-01T01:00:00Z".parse().unwrap();
        let text = events_table(&events, &BTreeSet::from(["ours".to_owned()]), now).render();
        let lines: Vec<_> = text.lines().skip(1).collect();
        assert_eq!(
            lines,
            [
                "50m   Warning   R        BackupStorage demo/s3   m n",
                "40m   Warning   R        Pod demo/ours           m n"
            ]
        );
    }

    #[test]
    fn parts_make_one_text() {
        let part = |path: &str, text: &str| Part { path: path.into(), text: text.into() };
        let bundle = Bundle { parts: vec![part("a.txt", "one\n"), part("b/c.yaml", "two")] };
        assert_eq!(bundle.text(), "==> a.txt <==\none\n\n==> b/c.yaml <==\ntwo\n");
    }

    #[test]
    fn what_could_not_be_read_stands_first() {
        let args = Debug { namespace: None, operator_namespace: None, tail: 1, program: "coffer 9".into() };
        let text =
            about(&args, Some("v1.36.0"), &["cannot list pods: --password=hunter2".into()], Timestamp::UNIX_EPOCH);
        let text = Raw::Text(text).shown(&Values::default()).unwrap();
        for part in ["coffer 9", "Kubernetes v1.36.0", "(all)", "cannot list pods: --password=(hidden)"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn a_secret_is_found_whatever_its_characters_and_however_it_is_written() {
        const PASSWORD: &str = r#"a,b'c d"e\f"#;
        let mut values = Values::default();
        values.add([("password", PASSWORD.as_bytes())]);
        let percent = "a%2Cb%27c%20d%22e%5Cf";
        let encoded = "YSxiJ2MgZCJlXGY=";
        let texts = [
            format!("said {PASSWORD} by mistake"),
            format!("{}{PASSWORD} {}", "long ".repeat(9), "words ".repeat(9)),
            format!("mysql://root:{PASSWORD}@db:3306/"),
            format!("mysql://root:{percent}@db:3306/?x={}", percent.to_lowercase()),
            format!("form a%2Cb'c+d%22e%5Cf, base64 {encoded} and {}", encoded.trim_end_matches('=')),
            json!({ "message": PASSWORD }).to_string(),
            json!({ "message": json!({ "inner": PASSWORD }).to_string() }).to_string(),
        ];
        for text in texts {
            let object =
                json!({ "metadata": { "annotations": { "note": text, (text.as_str()): "x" } }, "args": [text] });
            let shown = [Raw::Text(text.clone()), Raw::Objects(vec![object])].map(|raw| raw.shown(&values).unwrap());
            for shown in shown {
                assert!(shown.contains("(hidden)"), "{text}: {shown}");
                for part in ["a,b", "a%2", "'c", "%27c", "d\"", "d\\", "d%22", "\\f", "e%5", "YSxi"] {
                    assert!(!shown.contains(part), "{part} of {text}: {shown}");
                }
            }
        }
    }
}
