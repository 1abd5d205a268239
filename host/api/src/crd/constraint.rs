//! What is asked of an object beyond the types of its fields, and how that gets into a schema.

use serde_json::{Map, Value, json};

/// Something to put into a schema, and where.
///
/// A place is a path of fields from the root, with `[]` for the items of a list and `{}` for the values of a map:
/// `spec.sessions[].name`. The empty path is the root.
#[derive(Debug, Clone, Copy)]
pub(super) struct Constraint {
    at: &'static str,
    what: What,
}

#[derive(Debug, Clone, Copy)]
enum What {
    Rule { rule: &'static str, message: &'static str },
    Key { key: &'static str, number: u32 },
    Default { json: &'static str },
    Keyed { key: &'static str },
    Flag { key: &'static str },
    Without { key: &'static str },
}

/// A rule in CEL that must hold, and what to tell whoever breaks it: what is wrong and how to correct it.
pub(super) const fn rule(at: &'static str, rule: &'static str, message: &'static str) -> Constraint {
    Constraint { at, what: What::Rule { rule, message } }
}

/// A list has at most so many items. Rules over lists need it: a server refuses those whose cost has no bound.
pub(super) const fn max_items(at: &'static str, number: u32) -> Constraint {
    Constraint { at, what: What::Key { key: "maxItems", number } }
}

/// A text has at most so many characters. Rules over texts need it.
pub(super) const fn max_length(at: &'static str, number: u32) -> Constraint {
    Constraint { at, what: What::Key { key: "maxLength", number } }
}

/// A map has at most so many entries.
pub(super) const fn max_properties(at: &'static str, number: u32) -> Constraint {
    Constraint { at, what: What::Key { key: "maxProperties", number } }
}

/// A field that is absent gets this value.
pub(super) const fn default(at: &'static str, json: &'static str) -> Constraint {
    Constraint { at, what: What::Default { json } }
}

/// The items of a list are told apart by a field; several field managers may then own one each.
pub(super) const fn keyed(at: &'static str, key: &'static str) -> Constraint {
    Constraint { at, what: What::Keyed { key } }
}

/// A flag of Kubernetes' schemas.
pub(super) const fn flag(at: &'static str, key: &'static str) -> Constraint {
    Constraint { at, what: What::Flag { key } }
}

/// The schema says nothing of this kind.
pub(super) const fn without(at: &'static str, key: &'static str) -> Constraint {
    Constraint { at, what: What::Without { key } }
}

/// A constraint that does not fit the schema it is for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the constraint at {at:?} of {kind} has no place: {problem}; correct its path")]
pub struct ConstraintError {
    kind: String,
    at: &'static str,
    problem: String,
}

impl Constraint {
    /// Puts it into the schema of a kind.
    pub(super) fn apply(&self, schema: &mut Value, kind: &str) -> Result<(), ConstraintError> {
        let error = |problem: String| ConstraintError { kind: kind.to_owned(), at: self.at, problem };
        let place = find(schema, self.at).map_err(error)?;
        match self.what {
            What::Rule { rule, message } => {
                let rules = place.entry("x-kubernetes-validations").or_insert_with(|| json!([]));
                let rules = rules.as_array_mut().ok_or_else(|| error("its rules are no list".to_owned()))?;
                rules.push(json!({ "rule": rule, "message": message }));
            }
            What::Key { key, number } => {
                place.insert(key.to_owned(), json!(number));
            }
            What::Default { json } => {
                let value = serde_json::from_str(json).map_err(|problem| error(problem.to_string()))?;
                place.insert("default".to_owned(), value);
            }
            What::Keyed { key } => {
                place.insert("x-kubernetes-list-type".to_owned(), json!("map"));
                place.insert("x-kubernetes-list-map-keys".to_owned(), json!([key]));
            }
            What::Flag { key } => {
                place.insert(key.to_owned(), json!(true));
            }
            What::Without { key } => {
                place.remove(key).ok_or_else(|| error(format!("it has no {key}")))?;
            }
        }
        Ok(())
    }
}

/// The schema at a path.
fn find<'a>(schema: &'a mut Value, path: &str) -> Result<&'a mut Map<String, Value>, String> {
    let mut place = schema;
    for step in path.split('.').filter(|step| !step.is_empty()) {
        let field = step.trim_end_matches("[]").trim_end_matches("{}");
        let missing = || format!("there is no {step}");
        place = place.get_mut("properties").and_then(|fields| fields.get_mut(field)).ok_or_else(missing)?;
        for inner in step.get(field.len()..).unwrap_or_default().as_bytes().chunks(2) {
            let key = if inner == b"[]" { "items" } else { "additionalProperties" };
            place = place.get_mut(key).ok_or_else(missing)?;
        }
    }
    place.as_object_mut().ok_or_else(|| "it is no schema".to_owned())
}
