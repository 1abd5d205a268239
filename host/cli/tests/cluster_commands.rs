//! The commands that are for a cluster, as far as they go without one.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use assert_cmd::Command;
use common::{Ran, Site};
use serde_json::Value;

/// The binary where no cluster is.
fn alone(site: &Site) -> Command {
    let mut command = site.command();
    for name in ["KUBECONFIG", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT", "HTTPS_PROXY", "https_proxy"] {
        command.env_remove(name);
    }
    command.env("HOME", site.path());
    command
}

fn run(site: &Site, words: &[&str]) -> Ran {
    site.finish(alone(site).args(words))
}

/// A kubeconfig whose server is not there.
fn kubeconfig(site: &Site) -> String {
    let path = site.path().join("kubeconfig");
    let text = "apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: \"https://127.0.0.1:1\"}}]
users: [{name: u, user: {token: hunter2}}]
contexts: [{name: prod, context: {cluster: c, user: u, namespace: demo}}]
current-context: prod
";
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn documents(text: &str) -> Vec<Value> {
    let all = text.split("---\n").filter(|document| !document.trim().is_empty());
    all.map(|document| serde_saphyr::from_str(document).unwrap_or_else(|error| panic!("{error}\n{document}"))).collect()
}

/// The objects by what makes each unique.
fn keyed(objects: &[Value]) -> BTreeMap<String, Value> {
    let key = |object: &Value| {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        [text("/apiVersion"), text("/kind"), text("/metadata/namespace"), text("/metadata/name")].join(" ")
    };
    let keyed: BTreeMap<_, _> = objects.iter().map(|object| (key(object), object.clone())).collect();
    assert_eq!(keyed.len(), objects.len(), "an object twice");
    keyed
}

fn deploy() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy"))
}

#[test]
fn run_says_what_is_missing() {
    let site = Site::new();
    run(&site, &["run"]).code(2).complains(&["Usage", "trigger", "retention"]);
    run(&site, &["run", "juggle"]).code(2).complains(&["juggle"]);
    run(&site, &["run", "backup"]).code(2).complains(&["--session"]);
    run(&site, &["run", "trigger", "--configuration", "x"]).code(2).complains(&["--session"]);
    run(&site, &["run", "cleanup", "--kind", "Secret", "--name", "x"])
        .code(2)
        .complains(&["BackupStorage, Repository, Snapshot"]);
    run(&site, &["run", "backup", "--session", "x"]).code(2).complains(&["--namespace"]);
}

#[test]
fn run_says_why_there_is_no_cluster() {
    let site = Site::new();
    let backup = ["run", "backup", "--namespace", "demo", "--session", "x"];
    let with = |more: &[&str]| run(&site, &[&backup[..], more].concat());
    with(&[]).code(1).complains(&["cannot tell how to reach a cluster", "--kubeconfig or KUBECONFIG"]);
    with(&["--kubeconfig", "nowhere"]).code(1).complains(&["cannot read the kubeconfig nowhere"]);
    let kubeconfig = kubeconfig(&site);
    with(&["--kubeconfig", &kubeconfig, "--context", "test"]).code(1).complains(&["test"]);
    assert!(!site.store().exists(), "nothing may be made of bad input");
}

#[test]
fn install_refuses_what_cannot_be_installed() {
    let site = Site::new();
    run(&site, &["install", "--replicas", "0"]).code(2).complains(&["--replicas"]);
    run(&site, &["install", "--replicas", "many"]).code(2).complains(&["--replicas"]);
    run(&site, &["install", "--pull-policy", "Sometimes"]).code(2).complains(&["Always, IfNotPresent, Never"]);
    run(&site, &["install", "more"]).code(2).complains(&["more"]);
}

#[test]
fn install_prints_the_objects_of_the_chart() {
    let site = Site::new();
    let ours = keyed(&documents(&run(&site, &["install"]).code(0).stdout));
    let read = |path: &str| fs::read_to_string(deploy().join(path)).unwrap();
    let mut theirs = Vec::new();
    for definition in fs::read_dir(deploy().join("chart/crds")).unwrap() {
        theirs.extend(documents(&fs::read_to_string(definition.unwrap().path()).unwrap()));
    }
    assert_eq!(theirs.len(), 15, "one file for each kind");
    theirs.extend(documents(&read("rbac.yaml")));
    theirs.extend(documents(&read("chart/templates/catalog.yaml")));
    theirs.extend(documents(&rendered(&read("chart/templates/operator.yaml"), &read("chart/values.yaml"))));
    let mut theirs = keyed(&theirs);
    // Helm makes the namespace itself.
    theirs.insert("v1 Namespace  coffer".to_owned(), ours["v1 Namespace  coffer"].clone());
    let names = |all: &BTreeMap<String, Value>| all.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&ours), names(&theirs));
    for (name, object) in &ours {
        assert_eq!(*object, theirs[name], "{name}");
    }
    assert_eq!(
        keyed(&documents(&read("chart/templates/rbac.yaml").replace("{{ .Release.Namespace }}", "coffer"))),
        keyed(&documents(&read("rbac.yaml")))
    );
}

/// A template as helm renders it with the chart's own values, as far as ours go: values in their places, and what is empty left out.
fn rendered(template: &str, values: &str) -> String {
    let values: Value = serde_saphyr::from_str(values).unwrap();
    let value = |name: &str| match &values[name] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let mut text = String::new();
    let mut skipping = false;
    for line in template.lines() {
        let action = line.trim();
        if let Some(name) = action.strip_prefix("{{- with .Values.").and_then(|rest| rest.strip_suffix(" }}")) {
            let chosen = &values[name];
            assert!(
                chosen.as_array().is_some_and(Vec::is_empty) || chosen == "" || *chosen == serde_json::json!({}),
                "{name}"
            );
            skipping = true;
        } else if action == "{{- end }}" {
            skipping = false;
        } else if !skipping {
            let image = format!("{{{{ .Values.image | default `{}` }}}}", coffer_deploy::IMAGE);
            let line = line.replace("{{ .Release.Namespace }}", "coffer").replace(&image, coffer_deploy::IMAGE);
            let line = ["pullPolicy", "replicas"]
                .iter()
                .fold(line, |line, name| line.replace(&format!("{{{{ .Values.{name} }}}}"), &value(name)));
            text.push_str(
                &line.replace("{{- toYaml .Values.resources | nindent 10 }}", &values["resources"].to_string()),
            );
            text.push('\n');
        }
    }
    assert!(!text.contains("{{"), "a place that nothing was put in:\n{text}");
    text
}

#[test]
fn install_prints_the_definitions_alone() {
    let site = Site::new();
    let everything = keyed(&documents(&run(&site, &["install"]).code(0).stdout));
    let definitions = keyed(&documents(&run(&site, &["install", "--crds"]).code(0).stdout));
    let is_definition = |object: &Value| object["kind"] == "CustomResourceDefinition";
    let expected: BTreeMap<_, _> = everything.into_iter().filter(|(_, object)| is_definition(object)).collect();
    assert!(!definitions.is_empty());
    assert_eq!(definitions, expected);
}

#[test]
fn install_takes_what_is_chosen() {
    let site = Site::new();
    let words = ["install", "-n", "ops", "--image", "registry/coffer:9", "--pull-policy", "Always", "--replicas", "3"];
    let objects = keyed(&documents(&run(&site, &words).code(0).stdout));
    let deployment = &objects["apps/v1 Deployment ops coffer-operator"];
    assert_eq!(deployment["spec"]["replicas"], 3);
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    assert_eq!((&container["image"], &container["imagePullPolicy"]), (&"registry/coffer:9".into(), &"Always".into()));
    assert!(objects.contains_key("v1 Namespace  ops"));
    assert!(!objects.keys().any(|key| key.contains(" coffer ")), "everything of the operator is in its namespace");
}

#[test]
fn the_catalog_is_what_the_addons_say() {
    let site = Site::new();
    let printed = run(&site, &["addon", "catalog"]).code(0).stdout;
    let file = fs::read_to_string(deploy().join("catalog.yaml")).unwrap();
    assert!(
        printed.trim_end() == file.trim_end(),
        "host/deploy/catalog.yaml is not what `coffer addon catalog` prints; write it anew"
    );
}

#[test]
fn the_plugin_is_there_by_its_word_and_by_its_name() {
    let site = Site::new();
    run(&site, &["--help"]).code(0).says(&["kubectl", "kubectl-coffer"]);
    let words = ["status", "trigger", "pause", "resume", "restore", "snapshots", "logs", "debug", "unlock", "download"];
    run(&site, &["kubectl", "--help"]).code(0).says(&words).says(&[
        "Usage: kubectl coffer",
        "--kubeconfig",
        "KIND/NAME",
    ]);
    for word in words {
        run(&site, &["kubectl", word, "--help"])
            .code(0)
            .says(&[&format!("Usage: kubectl coffer {word}"), "--namespace"]);
    }
    let link = site.path().join("kubectl-coffer");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_coffer"), &link).unwrap();
    let called =
        |words: &[&str]| site.finish(Command::new(&link).args(words).env("HOME", site.path()).env_remove("KUBECONFIG"));
    called(&["--help"]).code(0).says(&["Usage: kubectl coffer"]);
    called(&["--version"]).code(0).says(&[env!("CARGO_PKG_VERSION")]);
    called(&["backup"]).code(1).complains(&["backup"]);
    run(&site, &["-q", "kubectl", "status"]).code(2).complains(&["kubectl must be the first word"]);
}

#[test]
fn the_plugin_says_why_there_is_no_cluster() {
    let site = Site::new();
    run(&site, &["kubectl", "status"]).code(1).complains(&["error: cannot tell how to reach a cluster"]);
    let kubeconfig = kubeconfig(&site);
    let ran = run(&site, &["kubectl", "status", "--kubeconfig", &kubeconfig]);
    // At once, and without the token.
    ran.code(1).complains(&["error: cannot reach the cluster", "refused"]);
    run(&site, &["kubectl", "status", "--kubeconfig", &kubeconfig, "--context", "test"]).code(1).complains(&["test"]);
    run(&site, &["kubectl", "trigger"]).code(1).complains(&["CONFIGURATION"]);
}
