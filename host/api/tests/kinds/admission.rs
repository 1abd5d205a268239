//! The definitions take the manifests in `tests/cluster/accepted` and refuse those in `tests/cluster/refused`.
//!
//! The comment of a refused manifest says what is in the answer. If a file has two objects, the second is an update of
//! the first, which is taken.

use std::collections::BTreeSet;

use crate::manifests::{self, Server};
use serde_json::Value;

#[test]
fn good_manifests_are_taken() {
    let server = Server::new();
    let mut kinds = BTreeSet::new();
    for manifest in manifests::read("accepted") {
        for object in &manifest.objects {
            let problems = server.problems(object, None);
            assert!(problems.is_empty(), "{}: {problems:#?}", manifest.name);
            // An update that changes nothing is taken, too.
            let problems = server.problems(object, Some(object));
            assert!(problems.is_empty(), "{}: {problems:#?}", manifest.name);
            kinds.insert(object["kind"].to_string());
        }
    }
    assert_eq!(kinds.len(), 15, "{kinds:?}");
}

#[test]
fn bad_manifests_are_refused_and_the_answer_says_why() {
    let server = Server::new();
    let manifests = manifests::read("refused");
    assert!(manifests.len() >= 40);
    for manifest in manifests {
        let expected = manifest.comment.strip_prefix("refused: ").expect("the comment says what is expected");
        let (object, old) = match manifest.objects.as_slice() {
            [object] => (object, None),
            [old, object] => (object, Some(old)),
            _ => panic!("{} has too many objects", manifest.name),
        };
        if let Some(old) = old {
            let problems = server.problems(old, None);
            assert!(problems.is_empty(), "{}: {problems:#?}", manifest.name);
        }
        let problems = server.problems(object, old);
        assert!(problems.iter().any(|problem| problem.contains(expected)), "{}: {problems:#?}", manifest.name);
    }
}

/// Each rule is broken by a manifest, so that none is there that always holds.
#[test]
fn every_rule_refuses_something() {
    let server = Server::new();
    let mut messages = BTreeSet::new();
    for definition in manifests::DEFINITIONS.iter() {
        collect(&definition.object, &mut messages);
    }
    assert!(messages.len() > 40, "{messages:#?}");
    for manifest in manifests::read("refused") {
        let (object, old) = (manifest.objects.last().expect("an object"), manifest.objects.first());
        let old = old.filter(|_| manifest.objects.len() > 1);
        for problem in server.problems(object, old) {
            messages.retain(|message| !problem.contains(message.as_str()));
        }
    }
    assert!(messages.is_empty(), "no manifest breaks: {messages:#?}");
}

fn collect(value: &Value, messages: &mut BTreeSet<String>) {
    for rule in value.get("x-kubernetes-validations").and_then(Value::as_array).into_iter().flatten() {
        let message = rule["message"].as_str().expect("every rule has a message");
        assert!(message.len() > 20 && !message.ends_with('.'), "{message}");
        messages.insert(message.to_owned());
    }
    match value {
        Value::Object(fields) => fields.values().for_each(|field| collect(field, messages)),
        Value::Array(items) => items.iter().for_each(|item| collect(item, messages)),
        _ => {}
    }
}
