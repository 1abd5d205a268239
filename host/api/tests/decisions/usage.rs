//! Who may refer to what, and which objects are the defaults.

use coffer_api::core::BackendReference;
use coffer_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use coffer_api::shared::{ObjectReference, UsagePolicy};
use coffer_api::storage::{BackupStorage, RetentionPolicy};
use coffer_api::usage::{Labels, allowed, backends, default_for, is_open, matches, may_refer, not_open, refusal};
use rstest::rstest;
use serde_json::{Value, json};

fn labels() -> Labels {
    Labels::from([("team".to_owned(), "db".to_owned())])
}

fn storage(name: &str, namespace: &str, default: bool, allowed: Value) -> BackupStorage {
    serde_json::from_value(json!({
        "apiVersion": "storage.kubestash.com/v1alpha1", "kind": "BackupStorage",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"default": default, "usagePolicy": {"allowedNamespaces": allowed}},
    }))
    .expect("a BackupStorage")
}

fn policy(name: &str, namespace: &str, allowed: Value) -> RetentionPolicy {
    serde_json::from_value(json!({
        "apiVersion": "storage.kubestash.com/v1alpha1", "kind": "RetentionPolicy",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"default": true, "usagePolicy": {"allowedNamespaces": allowed}},
    }))
    .expect("a RetentionPolicy")
}

fn same() -> Value {
    json!({"from": "Same"})
}

fn all() -> Value {
    json!({"from": "All"})
}

fn selector(team: &str) -> Value {
    json!({"from": "Selector", "selector": {"matchLabels": {"team": team}}})
}

#[test]
fn selectors_match_as_in_kubernetes() {
    let expression = |operator: &str, key: &str, values: &[&str]| json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]});
    for (selector, expected) in [
        (json!({}), true),
        (json!({"matchLabels": {"team": "db"}}), true),
        (json!({"matchLabels": {"team": "web"}}), false),
        (expression("In", "team", &["web", "db"]), true),
        (expression("In", "stage", &["db"]), false),
        (expression("NotIn", "team", &["db"]), false),
        (expression("NotIn", "stage", &["db"]), true),
        (expression("Exists", "team", &[]), true),
        (expression("DoesNotExist", "team", &[]), false),
        (expression("Sometimes", "team", &[]), false),
    ] {
        let parsed: LabelSelector = serde_json::from_value(selector.clone()).expect("a selector");
        assert_eq!(matches(&parsed, &labels()), expected, "{selector}");
    }
}

#[rstest]
#[case(json!(null), "demo", Some(true))]
#[case(json!(null), "other", Some(false))]
#[case(json!({}), "other", Some(false))]
#[case(json!({"allowedNamespaces": {"from": "All"}}), "other", Some(true))]
#[case(json!({"allowedNamespaces": {"from": "Selector"}}), "demo", Some(false))]
#[case(json!({"allowedNamespaces": {"from": "Selector", "selector": {"matchLabels": {"team": "db"}}}}), "other", Some(true))]
#[case(json!({"allowedNamespaces": {"from": "Selector", "selector": {"matchLabels": {"team": "web"}}}}), "demo", Some(false))]
fn policies(#[case] given: Value, #[case] namespace: &str, #[case] expected: Option<bool>) {
    let given: Option<UsagePolicy> = serde_json::from_value(given).expect("a policy");
    let known = || Ok::<_, ()>(Some(labels()));
    assert_eq!(allowed(given.as_ref(), "demo", namespace, known), Ok(expected));
}

#[test]
fn labels_are_asked_for_only_if_they_matter() {
    let fails = || Err::<Option<Labels>, _>("nobody knows");
    let policy = |allowed: Value| storage("s", "demo", false, allowed).spec.usage_policy;
    assert_eq!(allowed(policy(all()).as_ref(), "demo", "other", fails), Ok(Some(true)));
    assert_eq!(allowed(policy(same()).as_ref(), "demo", "other", fails), Ok(Some(false)));
    assert_eq!(allowed(policy(selector("db")).as_ref(), "demo", "other", fails), Err("nobody knows"));
    assert_eq!(allowed(policy(selector("db")).as_ref(), "demo", "other", || Ok::<_, ()>(None)), Ok(None));
}

#[test]
fn a_refusal_says_what_to_look_at() {
    assert!(may_refer(&storage("s", "demo", false, selector("db")), "other", &labels()));
    assert!(!may_refer(&storage("s", "demo", false, same()), "other", &labels()));
    assert_eq!(
        refusal("BackupStorage", "demo", "s3", "other"),
        "namespace \"other\" is not allowed to refer BackupStorage s3/demo. Please, check the `usagePolicy` of the BackupStorage"
    );
}

/// Same goes before Selector, Selector before All; among equals the first; what is for its own namespace alone does not
/// serve others; a default of the own namespace that is for all is nothing special.
#[rstest]
#[case(&[("a", "demo", all()), ("b", "other", selector("db")), ("c", "demo", same())], Some("c"))]
#[case(&[("a", "demo", all()), ("b", "other", selector("db"))], Some("b"))]
#[case(&[("a", "demo", all()), ("b", "other", selector("web"))], Some("a"))]
#[case(&[("a", "other", all()), ("b", "demo", all())], Some("a"))]
#[case(&[("a", "other", same())], None)]
#[case(&[], None)]
fn defaults(#[case] storages: &[(&str, &str, Value)], #[case] expected: Option<&str>) {
    let mut storages: Vec<_> =
        storages.iter().map(|(name, namespace, allowed)| storage(name, namespace, true, allowed.clone())).collect();
    storages.insert(0, storage("no default", "demo", false, same()));
    let found = default_for(&storages, "demo", || Ok::<_, ()>(Some(labels()))).expect("the labels are known");
    assert_eq!(found.and_then(|storage| storage.metadata.name.as_deref()), expected);
}

#[test]
fn backends_take_the_defaults_for_what_they_leave_out() {
    let storages = [storage("storage", "shared", true, all())];
    let policies = [policy("keep", "demo", same())];
    let reference =
        |namespace: &str, name: &str| Some(ObjectReference { namespace: Some(namespace.into()), name: name.into() });
    let default = BackendReference {
        name: None,
        storage_ref: reference("shared", "storage"),
        retention_policy: reference("demo", "keep"),
    };
    assert_eq!(backends(&[], "demo", &labels(), &storages, &policies), [default]);
    let own = BackendReference {
        name: Some("own".into()),
        storage_ref: reference("demo", "own"),
        retention_policy: reference("demo", "own"),
    };
    let without_policy = BackendReference { retention_policy: None, ..own.clone() };
    assert_eq!(
        backends(&[own.clone(), without_policy.clone()], "demo", &labels(), &storages, &policies),
        [own, BackendReference { retention_policy: reference("demo", "keep"), ..without_policy.clone() }]
    );
    assert_eq!(backends(std::slice::from_ref(&without_policy), "demo", &labels(), &[], &[]), [without_policy]);
    assert_eq!(backends(&[], "demo", &labels(), &[], &[]), [BackendReference::default()]);
}

#[rstest]
#[case::nothing_said(None, false)]
#[case::nobody(Some(""), false)]
#[case::only_commas(Some(" , ,"), false)]
#[case::named(Some("demo"), true)]
#[case::among_others(Some("web, demo ,other"), true)]
#[case::everybody(Some("*"), true)]
#[case::everybody_among_others(Some("web,*"), true)]
#[case::others(Some("web,other"), false)]
#[case::a_part_of_a_name(Some("demo-2,my-demo"), false)]
#[case::no_pattern(Some("dem*"), false)]
fn a_namespace_is_open_to_those_that_it_names(#[case] value: Option<&str>, #[case] expected: bool) {
    let annotations = value.map(|value| ("coffer.dev/allowed-from".to_owned(), value.to_owned())).into_iter().collect();
    assert_eq!(is_open(&annotations, "demo"), expected);
    assert!(!is_open(&annotations, "") || value.is_some_and(|value| value.contains('*')));
}

#[test]
fn who_is_shut_out_is_told_how_to_get_in() {
    let text = not_open("Secret vault/encrypt", "vault", "demo");
    assert!(text.contains("Secret vault/encrypt is in namespace \"vault\""), "{text}");
    assert!(text.contains("have demo added to the annotation coffer.dev/allowed-from of Namespace vault"), "{text}");
}
