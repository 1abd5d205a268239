//! The files of this folder are those that the code makes, and such as a cluster takes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::path::{Path, PathBuf};
use std::{env, fs};

use coffer_api::k8s_openapi::api::apps::v1::Deployment;
use coffer_api::k8s_openapi::api::rbac::v1::ClusterRole;
use coffer_deploy::{CATALOG, Settings, manifests, templates};
use serde_json::Value;

const HEADER: &str =
    "# Made from host/deploy by COFFER_BLESS=1 cargo test --release -p coffer-deploy --test files. Do not edit.\n";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn check(path: &Path, text: &str) {
    let text = format!("{HEADER}{text}");
    if env::var_os("COFFER_BLESS").is_some() {
        fs::write(path, &text).unwrap();
    }
    let file = fs::read_to_string(path).unwrap_or_default();
    assert!(file == text, "{} is not what the code makes; run this test with COFFER_BLESS=1", path.display());
}

fn documents(text: &str) -> Vec<Value> {
    let documents = text.split("---\n").filter(|document| !document.trim().is_empty());
    documents
        .map(|document| serde_saphyr::from_str(document).unwrap_or_else(|error| panic!("{error}\n{document}")))
        .collect()
}

fn of_kind(documents: &[Value], kind: &str) -> Vec<Value> {
    documents.iter().filter(|document| document["kind"] == kind).cloned().collect()
}

#[test]
fn files_are_what_the_code_makes() {
    for template in templates().unwrap() {
        check(&folder().join("chart/templates").join(template.file), &template.text);
    }
    let rights = coffer_deploy::rights_of(coffer_deploy::NAMESPACE).unwrap();
    check(&folder().join("rbac.yaml"), &rights);
}

#[test]
fn everything_is_there_once_and_in_an_order_that_can_be_applied() {
    let text = manifests(&Settings::default()).unwrap();
    let all = documents(&text);
    let key = |document: &Value| {
        let text = |pointer: &str| document.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        (text("/apiVersion"), text("/kind"), text("/metadata/namespace"), text("/metadata/name"))
    };
    let mut keys: Vec<_> = all.iter().map(key).collect();
    let position = |kind: &str| all.iter().position(|document| document["kind"] == kind).unwrap();
    for (first, then) in [
        ("Namespace", "ServiceAccount"),
        ("CustomResourceDefinition", "Addon"),
        ("CustomResourceDefinition", "Function"),
        ("ClusterRole", "Deployment"),
        ("ServiceAccount", "Deployment"),
    ] {
        assert!(position(first) < position(then), "{first} before {then}");
    }
    keys.sort();
    let before = keys.len();
    keys.dedup();
    assert_eq!(keys.len(), before, "an object twice");
    assert_eq!(of_kind(&all, "CustomResourceDefinition").len(), 15);
    let addons: Vec<_> = of_kind(&all, "Addon").iter().map(|addon| addon["metadata"]["name"].clone()).collect();
    assert_eq!(addons, ["mysql-addon", "mariadb-addon"]);
}

#[test]
fn the_operator_is_as_restricted_as_can_be() {
    let settings =
        Settings { namespace: "ops".into(), image: "registry/coffer:9".into(), replicas: 3, ..Settings::default() };
    let all = documents(&manifests(&settings).unwrap());
    let deployment: Deployment = serde_json::from_value(of_kind(&all, "Deployment").remove(0)).unwrap();
    assert_eq!(deployment.metadata.namespace.as_deref(), Some("ops"));
    let spec = deployment.spec.unwrap();
    assert_eq!(spec.replicas, Some(3));
    let labels = spec.template.metadata.unwrap().labels.unwrap();
    for (key, value) in spec.selector.match_labels.unwrap() {
        assert_eq!(labels.get(&key), Some(&value));
    }
    let pod = spec.template.spec.unwrap();
    // The Pod Security Standard `restricted`, rule by rule.
    let of_pod = pod.security_context.unwrap();
    assert_eq!(
        (of_pod.run_as_non_root, of_pod.seccomp_profile.unwrap().type_.as_str()),
        (Some(true), "RuntimeDefault")
    );
    assert!(pod.host_network.is_none() && pod.host_pid.is_none() && pod.host_ipc.is_none());
    assert!(pod.volumes.unwrap().iter().all(|volume| volume.empty_dir.is_some()));
    let [container] = pod.containers.as_slice() else { panic!("one container") };
    assert_eq!(container.image.as_deref(), Some("registry/coffer:9"));
    let security = container.security_context.as_ref().unwrap();
    assert_eq!((security.allow_privilege_escalation, security.read_only_root_filesystem), (Some(false), Some(true)));
    assert_eq!(security.capabilities.as_ref().unwrap().drop.as_deref(), Some(&["ALL".to_owned()][..]));
    assert!(container.liveness_probe.is_some() && container.readiness_probe.is_some());
    let image = container.env.as_ref().unwrap().iter().find(|variable| variable.name == "COFFER_IMAGE").unwrap();
    assert_eq!(image.value.as_deref(), Some("registry/coffer:9"));
    let namespace = &of_kind(&all, "Namespace")[0];
    assert_eq!(namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"], "restricted");
    for binding in of_kind(&all, "ClusterRoleBinding").iter().chain(&of_kind(&all, "RoleBinding")) {
        for subject in binding["subjects"].as_array().unwrap() {
            assert!(subject["kind"] == "Group" || subject["namespace"] == "ops", "{binding}");
        }
    }
}

#[test]
fn rights_survive_kubernetes_own_type() {
    let all = documents(&manifests(&Settings::default()).unwrap());
    let roles = of_kind(&all, "ClusterRole");
    assert_eq!(roles.len(), coffer_deploy::rbac::CLUSTER_ROLES.len());
    for role in roles {
        let typed: ClusterRole = serde_json::from_value(role.clone()).unwrap();
        assert_eq!(serde_json::to_value(typed).unwrap(), role);
    }
}

/// The chart: templates are YAML once what is chosen is put in, every choice has a value, every value a schema.
#[test]
fn the_chart_fits_together() {
    let chart = folder().join("chart");
    let values: Value = serde_saphyr::from_str(&fs::read_to_string(chart.join("values.yaml")).unwrap()).unwrap();
    let schema: Value = serde_json::from_str(&fs::read_to_string(chart.join("values.schema.json")).unwrap()).unwrap();
    assert_eq!(values["image"], "", "the image is that of the version, which an upgrade changes");
    for (name, _) in values.as_object().unwrap() {
        assert!(!schema["properties"][name].is_null(), "{name} has no schema");
    }
    let mut used = Vec::new();
    for template in templates().unwrap() {
        for part in template.text.split(".Values.").skip(1) {
            let name: String = part.chars().take_while(char::is_ascii_alphanumeric).collect();
            assert!(!values[&name].is_null(), "{} uses {name}, which has no value", template.file);
            used.push(name);
        }
        let plain: String = template
            .text
            .lines()
            .filter(|line| !line.trim_start().starts_with("{{-"))
            .map(|line| match line.split_once(": {{-") {
                Some((key, _)) => format!("{key}: {{}}\n"),
                None => format!("{}\n", line.replace(": {{ .Values.replicas }}", ": 2")),
            })
            .collect();
        assert!(!documents(&plain).is_empty());
    }
    for (name, _) in values.as_object().unwrap() {
        assert!(used.contains(name), "no template uses {name}");
    }
    let text = fs::read_to_string(chart.join("Chart.yaml")).unwrap();
    let about: Value = serde_saphyr::from_str(&text).unwrap();
    assert_eq!(about["appVersion"], env!("CARGO_PKG_VERSION"));
    // The catalog and the CRDs are those of this folder.
    assert_eq!(fs::read_to_string(chart.join("templates/catalog.yaml")).unwrap(), CATALOG);
    assert_eq!(fs::read_dir(chart.join("crds")).unwrap().count(), 15);
}
