//! Every field of every kind survives reading and writing.

use std::collections::{BTreeMap, BTreeSet};

use coffer_api::addons::{Addon, Function};
use coffer_api::appcatalog::AppBinding;
use coffer_api::core::{
    BackupBatch, BackupBlueprint, BackupConfiguration, BackupSession, BackupVerificationSession, BackupVerifier,
    HookTemplate, RestoreSession,
};
use coffer_api::storage::{BackupStorage, Repository, RetentionPolicy, Snapshot};
use serde_json::Value;

use crate::manifests::{self, Server};
use crate::round_trip::round_trip;

/// The full example of each kind comes back the same, and shows every field that is ours.
#[test]
fn every_field_of_every_kind_survives() {
    let server = Server::new();
    let mut shown: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut schemas = BTreeMap::new();
    for manifest in manifests::read("accepted") {
        for object in &manifest.objects {
            let definition = server.definition(object);
            typed_round_trip(&definition.kind, object);
            fields_of(object, "", shown.entry(definition.kind.clone()).or_default());
            schemas.insert(definition.kind.clone(), definition.schema().expect("it has a schema").clone());
        }
    }
    // These have the types of BackupConfiguration, which shows all their fields.
    let elsewhere =
        [".hooks.", ".addon.", ".addonInfo.", ".scheduler.", ".runtimeSettings.", ".source.", ".conditions."];
    for (kind, schema) in schemas {
        let mut described = BTreeSet::new();
        described_fields(&schema, "", &mut described);
        let missing: Vec<_> = described
            .difference(&shown[&kind])
            .filter(|path| {
                let path = format!("{path}.");
                let nested = |part: &&str| path.find(*part).is_some_and(|at| path.len() > at + part.len());
                let all = kind == "BackupConfiguration" && !path.contains(".source.");
                all || !elsewhere.iter().any(nested)
            })
            .collect();
        assert!(missing.is_empty(), "no manifest of kind {kind} shows {missing:#?}");
    }
}

/// Reads an object as its type, and checks that writing it gives all of it back.
fn typed_round_trip(kind: &str, object: &Value) {
    let yaml = object.to_string();
    match kind {
        "Addon" => drop(round_trip::<Addon>(&yaml)),
        "Function" => drop(round_trip::<Function>(&yaml)),
        "AppBinding" => drop(round_trip::<AppBinding>(&yaml)),
        "BackupBatch" => drop(round_trip::<BackupBatch>(&yaml)),
        "BackupBlueprint" => drop(round_trip::<BackupBlueprint>(&yaml)),
        "BackupConfiguration" => drop(round_trip::<BackupConfiguration>(&yaml)),
        "BackupSession" => drop(round_trip::<BackupSession>(&yaml)),
        "BackupVerificationSession" => drop(round_trip::<BackupVerificationSession>(&yaml)),
        "BackupVerifier" => drop(round_trip::<BackupVerifier>(&yaml)),
        "HookTemplate" => drop(round_trip::<HookTemplate>(&yaml)),
        "RestoreSession" => drop(round_trip::<RestoreSession>(&yaml)),
        "BackupStorage" => drop(round_trip::<BackupStorage>(&yaml)),
        "Repository" => drop(round_trip::<Repository>(&yaml)),
        "RetentionPolicy" => drop(round_trip::<RetentionPolicy>(&yaml)),
        "Snapshot" => drop(round_trip::<Snapshot>(&yaml)),
        other => panic!("{other} is no kind of ours"),
    }
}

/// The paths of all fields of an object, without the indices of lists.
fn fields_of(value: &Value, path: &str, fields: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let path = format!("{path}.{name}");
                fields_of(member, &path, fields);
                fields.insert(path);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| fields_of(item, path, fields)),
        _ => {}
    }
}

/// The paths of the fields that are ours: those have a description, Kubernetes' own have none.
fn described_fields(schema: &Value, path: &str, fields: &mut BTreeSet<String>) {
    for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        if property.get("description").is_some() || path.is_empty() {
            let path = format!("{path}.{name}");
            described_fields(property, &path, fields);
            fields.insert(path);
        }
    }
    if let Some(items) = schema.get("items") {
        described_fields(items, path, fields);
    }
    if let Some(values) = schema.get("additionalProperties").filter(|_| path.ends_with(".components")) {
        described_fields(values, &format!("{path}.dump"), fields);
    }
}
