//! From the schema of a Rust type to one that an API server takes: structural, self-contained, and small.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

/// Where schemars keeps the schemas of types that others refer to.
const DEFINITIONS: &str = "$defs";
/// How it refers to one.
const REFERENCE: &str = "#/$defs/";
/// Begin of the names of Kubernetes' own types.
const KUBERNETES: &str = "io.k8s.";
/// Deeper than any type nests; a type that holds itself would go beyond.
const MAX_DEPTH: usize = 64;

/// The types that are replaced as a whole when they are applied, as in Kubernetes.
const ATOMIC: &[&str] = &[
    "io.k8s.api.core.v1.ConfigMapKeySelector",
    "io.k8s.api.core.v1.FileKeySelector",
    "io.k8s.api.core.v1.LocalObjectReference",
    "io.k8s.api.core.v1.NodeSelector",
    "io.k8s.api.core.v1.NodeSelectorTerm",
    "io.k8s.api.core.v1.ObjectFieldSelector",
    "io.k8s.api.core.v1.ResourceFieldSelector",
    "io.k8s.api.core.v1.SecretKeySelector",
    "io.k8s.api.core.v1.SecretReference",
    "io.k8s.api.core.v1.TypedLocalObjectReference",
    "io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelector",
    "io.k8s.apimachinery.pkg.apis.meta.v1.OwnerReference",
    "SecretReference",
];

/// The fields of Kubernetes' object metadata that make sense in a template.
const TEMPLATE_META: &[&str] = &["annotations", "generateName", "labels", "name", "namespace", "ownerReferences"];

/// The structural schema of a type. Kubernetes' own types come without their long descriptions.
pub(super) fn structural<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.meta_schema = None);
    let mut root = settings.into_generator().into_root_schema_for::<T>().to_value();
    let definitions = root.as_object_mut().and_then(|root| root.remove(DEFINITIONS)).unwrap_or_default();
    let mut schema = Inliner { definitions: &definitions }.inline(root, true, 0);
    if let Some(schema) = schema.as_object_mut() {
        schema.remove("title");
    }
    schema
}

struct Inliner<'a> {
    definitions: &'a Value,
}

impl Inliner<'_> {
    /// Makes one schema and all below it structural. `described` says whether descriptions are kept.
    fn inline(&self, schema: Value, described: bool, depth: usize) -> Value {
        let Value::Object(mut schema) = schema else { return json!({ "x-kubernetes-preserve-unknown-fields": true }) };
        let mut described_below = described;
        if let Some(name) = reference(&mut schema) {
            let definition = self.definitions.get(&name).and_then(Value::as_object).cloned().unwrap_or_default();
            described_below &= !name.starts_with(KUBERNETES);
            schema = overlaid(definition, schema, &name);
        }
        if let Some(some) = without_null(&mut schema) {
            return self.inline(some, described, depth);
        }
        plain_enum(&mut schema);
        for key in ["title", "nullable", "$schema", "examples"] {
            schema.remove(key);
        }
        if !described {
            schema.remove("description");
        }
        if depth > MAX_DEPTH {
            return json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
        }
        let below = |inner: Value| self.inline(inner, described_below, depth + 1);
        if let Some(Value::Object(properties)) = schema.get_mut("properties") {
            properties.values_mut().for_each(|property| *property = below(property.take()));
        }
        for key in ["items", "additionalProperties"] {
            if let Some(inner) = schema.get_mut(key).filter(|inner| inner.is_object()) {
                *inner = below(inner.take());
            }
        }
        Value::Object(schema)
    }
}

/// Takes the reference out of a schema, and gives the name that it refers to.
fn reference(schema: &mut Map<String, Value>) -> Option<String> {
    let name = schema.get("$ref")?.as_str()?.strip_prefix(REFERENCE)?.to_owned();
    schema.remove("$ref");
    Some(name)
}

/// A definition with what was said where it is used, such as a description of the field.
fn overlaid(mut definition: Map<String, Value>, used: Map<String, Value>, name: &str) -> Map<String, Value> {
    if name.starts_with(KUBERNETES) && !used.contains_key("description") {
        definition.remove("description");
    }
    definition.extend(used);
    if ATOMIC.contains(&name) {
        definition.insert("x-kubernetes-map-type".to_owned(), json!("atomic"));
    }
    if name.ends_with(".meta.v1.ObjectMeta")
        && let Some(Value::Object(properties)) = definition.get_mut("properties")
    {
        properties.retain(|name, _| TEMPLATE_META.contains(&name.as_str()));
    }
    definition
}

/// Makes a schema that also allows null one that does not: an absent field and null are the same, and a server removes
/// nulls by itself. Gives the schema of what else it may be, if that is a schema of its own.
fn without_null(schema: &mut Map<String, Value>) -> Option<Value> {
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            schema.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(values)) = schema.get_mut("enum") {
        values.retain(|value| !value.is_null());
    }
    let some = schema.get("anyOf")?.as_array()?.iter().find(|one| one.get("type") != Some(&json!("null")))?.clone();
    schema.remove("anyOf");
    let Value::Object(mut some) = some else { return Some(some) };
    some.extend(std::mem::take(schema));
    Some(Value::Object(some))
}

/// Turns the variants of an enum, each with a description of its own, into a list of values.
fn plain_enum(schema: &mut Map<String, Value>) {
    let Some(Value::Array(variants)) = schema.remove("oneOf") else { return };
    let mut seen = BTreeSet::new();
    let mut values = Vec::new();
    for variant in &variants {
        let listed = variant.get("enum").and_then(Value::as_array).into_iter().flatten();
        for value in variant.get("const").into_iter().chain(listed) {
            if seen.insert(value.to_string()) {
                values.push(value.clone());
            }
        }
    }
    schema.insert("type".to_owned(), json!("string"));
    schema.insert("enum".to_owned(), Value::Array(values));
}
