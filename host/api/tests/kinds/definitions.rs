//! The definitions in `host/deploy/crds` are those that the code makes, and such as an API server takes.

use std::path::{Path, PathBuf};
use std::{env, fs};

use coffer_api::k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::{Map, Value, json};

use crate::manifests::DEFINITIONS;

/// Begins with a separator, because `helm show crds` puts none between files.
const HEADER: &str =
    "---\n# Made from host/api by COFFER_BLESS=1 cargo test --release -p coffer-api --test kinds. Do not edit.\n";

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/crds")
}

#[test]
fn files_are_what_the_code_makes() {
    let bless = env::var_os("COFFER_BLESS").is_some();
    let directory = directory();
    if bless {
        fs::create_dir_all(&directory).expect("the directory can be made");
    }
    for definition in DEFINITIONS.iter() {
        let text = format!("{HEADER}{}", serde_saphyr::to_string(&definition.object).expect("it is written as YAML"));
        let path = directory.join(&definition.file);
        if bless {
            fs::write(&path, &text).expect("the file can be written");
        }
        let file = fs::read_to_string(&path).unwrap_or_default();
        assert!(file == text, "{} is not what the code makes; run this test with COFFER_BLESS=1", path.display());
    }
    let mut files: Vec<_> = fs::read_dir(&directory)
        .expect("the directory is there")
        .map(|entry| entry.expect("it can be listed").file_name().into_string().expect("its names are text"))
        .collect();
    let mut expected: Vec<_> = DEFINITIONS.iter().map(|definition| definition.file.clone()).collect();
    files.sort();
    expected.sort();
    assert_eq!(files, expected, "files of kinds that there are not");
}

#[test]
fn definitions_survive_kubernetes_own_type() {
    for definition in DEFINITIONS.iter() {
        let typed: CustomResourceDefinition = serde_json::from_value(definition.object.clone()).expect("it is one");
        assert_eq!(typed.metadata.name.as_deref(), Some(definition.name.as_str()));
        let written = serde_json::to_value(&typed).expect("it is written");
        assert!(floats(written) == floats(definition.object.clone()), "{} loses something", definition.kind);
    }
}

/// All numbers as floating point, which is how Kubernetes' type has some of them.
fn floats(value: Value) -> Value {
    match value {
        Value::Number(number) => json!(number.as_f64()),
        Value::Array(items) => items.into_iter().map(floats).collect(),
        Value::Object(fields) => Value::Object(fields.into_iter().map(|(name, field)| (name, floats(field))).collect()),
        other => other,
    }
}

#[test]
fn definitions_are_small_enough_for_every_way_to_apply_them() {
    for definition in DEFINITIONS.iter() {
        let size = definition.object.to_string().len();
        // Client-side apply keeps a copy in an annotation, and annotations may have 256 KiB.
        assert!(size < 250 * 1024, "{} has {size} bytes", definition.kind);
    }
}

/// The rules for structural schemas, as far as our types could break them.
#[test]
fn schemas_are_structural() {
    for definition in DEFINITIONS.iter() {
        let schema = definition.schema().expect("it has a schema");
        check(schema, &definition.kind);
    }
}

fn check(schema: &Value, path: &str) {
    const KEYS: &[&str] = &[
        "additionalProperties",
        "default",
        "description",
        "enum",
        "format",
        "items",
        "maxItems",
        "maxLength",
        "maxProperties",
        "minimum",
        "properties",
        "required",
        "type",
        "x-kubernetes-embedded-resource",
        "x-kubernetes-int-or-string",
        "x-kubernetes-list-map-keys",
        "x-kubernetes-list-type",
        "x-kubernetes-map-type",
        "x-kubernetes-preserve-unknown-fields",
        "x-kubernetes-validations",
    ];
    let schema = schema.as_object().unwrap_or_else(|| panic!("{path} is no object"));
    for key in schema.keys() {
        assert!(KEYS.contains(&key.as_str()), "{path} has {key}");
    }
    let kind = schema.get("type").and_then(Value::as_str);
    let int_or_string = schema.get("x-kubernetes-int-or-string") == Some(&json!(true));
    assert_ne!(kind.is_some(), int_or_string, "{path} has no type, or two");
    if let Some(format) = schema.get("format").and_then(Value::as_str) {
        assert!(["int32", "int64", "double", "byte", "date-time"].contains(&format), "{path} has the format {format}");
    }
    match kind {
        Some("object") => check_object(schema, path),
        Some("array") => {
            check(schema.get("items").unwrap_or_else(|| panic!("{path} has no items")), &format!("{path}[]"));
        }
        Some("string" | "integer" | "number" | "boolean") | None => {}
        Some(other) => panic!("{path} has the type {other}"),
    }
    if let Some(default) = schema.get("default") {
        assert!(!default.is_null(), "{path} has null for a default");
        let validator = jsonschema::validator_for(&Value::Object(schema.clone())).expect("it is a JSON schema");
        assert!(validator.is_valid(default), "{path} has an invalid default {default}");
    }
}

fn check_object(schema: &Map<String, Value>, path: &str) {
    let free = schema.get("x-kubernetes-preserve-unknown-fields") == Some(&json!(true));
    let (properties, values) = (schema.get("properties"), schema.get("additionalProperties"));
    // An object of which nothing is said would lose all its fields.
    assert!(free || properties.is_some() || values.is_some(), "{path} says nothing of its fields");
    assert!(properties.is_none() || values.is_none(), "{path} has both properties and additionalProperties");
    for (name, property) in properties.and_then(Value::as_object).into_iter().flatten() {
        check(property, &format!("{path}.{name}"));
    }
    if let Some(values) = values {
        check(values, &format!("{path}{{}}"));
    }
    for required in schema.get("required").and_then(Value::as_array).into_iter().flatten() {
        let name = required.as_str().expect("a name");
        assert!(properties.and_then(|properties| properties.get(name)).is_some(), "{path} requires {name}");
    }
}

#[test]
fn names_and_columns_are_kubestashs() {
    let expected = json!({
        "Addon": ["addons", "addon", "Cluster", "", "kubestash,appscode,all", false, "Age"],
        "Function": ["functions", "function", "Cluster", "fn", "kubestash,appscode,all", false, "Age"],
        "BackupStorage": ["backupstorages", "backupstorage", "Namespaced", "", "kubestash,appscode,all", true,
            "Provider,Default,Deletion-Policy,Total-Size,Phase,Age"],
        "RetentionPolicy": ["retentionpolicies", "retentionpolicy", "Namespaced", "", "kubestash,appscode", false,
            "Max-Retention-Period,Default,Age"],
        "Repository": ["repositories", "repository", "Namespaced", "repo", "kubestash,appscode,all", true,
            "Integrity,Snapshot-Count,Size,Phase,Last-Successful-Backup,Age"],
        "Snapshot": ["snapshots", "snapshot", "Namespaced", "", "kubestash,appscode", true,
            "Repository,Session,Snapshot-Time,Deletion-Policy,Phase,Age"],
        "BackupConfiguration": ["backupconfigurations", "backupconfiguration", "Namespaced", "bc",
            "kubestash,appscode,all", true, "Phase,Paused,Age"],
        "BackupBatch": ["backupbatches", "backupbatch", "Namespaced", "", "kubestash,appscode,all", true, "Age"],
        "BackupSession": ["backupsessions", "backupsession", "Namespaced", "", "kubestash,appscode,all", true,
            "Invoker-Type,Invoker-Name,Phase,Duration,Age"],
        "BackupBlueprint": ["backupblueprints", "backupblueprint", "Namespaced", "", "kubestash,appscode,all", false,
            "Age"],
        "RestoreSession": ["restoresessions", "restoresession", "Namespaced", "restore", "kubestash,appscode,all",
            true, "Repository,Phase,Duration,Age"],
        "HookTemplate": ["hooktemplates", "hooktemplate", "Namespaced", "", "kubestash,appscode,all", false,
            "Executor,Timeout,Age"],
        "BackupVerifier": ["backupverifier", "backupverifier", "Namespaced", "", "kubestash,appscode,all", false,
            "Age"],
        "BackupVerificationSession": ["backupverificationsession", "backupverificationsession", "Namespaced", "",
            "kubestash,appscode,all", true, "Phase,Duration,Age"],
        "AppBinding": ["appbindings", "appbinding", "Namespaced", "", "catalog,appscode,all", false,
            "Type,Version,Age"],
    });
    let joined = |value: &Value, pointer: &str| {
        let list = value.pointer(pointer).and_then(Value::as_array).cloned().unwrap_or_default();
        let texts = list.iter().map(|one| one.get("name").unwrap_or(one).as_str().unwrap_or_default().to_owned());
        texts.collect::<Vec<_>>().join(",")
    };
    assert_eq!(DEFINITIONS.len(), expected.as_object().expect("it is an object").len());
    for definition in DEFINITIONS.iter() {
        let spec = &definition.object["spec"];
        let version = &spec["versions"][0];
        let actual = json!([
            spec["names"]["plural"],
            spec["names"]["singular"],
            spec["scope"],
            joined(spec, "/names/shortNames"),
            joined(spec, "/names/categories"),
            version.pointer("/subresources/status").is_some(),
            joined(version, "/additionalPrinterColumns"),
        ]);
        assert_eq!(actual, expected[&definition.kind], "{}", definition.kind);
        assert_eq!(
            (&version["name"], &version["served"], &version["storage"]),
            (&json!("v1alpha1"), &json!(true), &json!(true))
        );
        let label = if definition.kind == "AppBinding" { "catalog" } else { "kubestash" };
        assert_eq!(definition.object["metadata"]["labels"]["app.kubernetes.io/name"], label);
    }
}
