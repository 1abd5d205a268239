//! What the operator and its Jobs may do, tried for real: each row is asked of the API server as the account itself.

use coffer_test_cluster::ask::ask;
use coffer_test_cluster::manifests;
use coffer_test_cluster::wait::eventually;
use coffer_test_cluster::{ControlPlane, Namespace};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, ResourceRule, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec, SelfSubjectRulesReview,
    SelfSubjectRulesReviewSpec,
};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::api::{ListParams, PostParams};
use kube::{Api, Client, ResourceExt as _};

use crate::world::install;

/// Group, resource with its subresource, verb.
type Row = (&'static str, &'static str, &'static str);

const STORAGE: &str = "storage.kubestash.com";
const CORE: &str = "core.kubestash.com";
const RBAC: &str = "rbac.authorization.k8s.io";

async fn may(client: &Client, namespace: &str, (group, resource, verb): Row, name: Option<&str>) -> bool {
    let (resource, subresource) = resource.split_once('/').map_or((resource, None), |(one, other)| (one, Some(other)));
    let attributes = ResourceAttributes {
        group: Some(group.into()),
        resource: Some(resource.into()),
        subresource: subresource.map(Into::into),
        verb: Some(verb.into()),
        namespace: Some(namespace.into()),
        name: name.map(Into::into),
        ..ResourceAttributes::default()
    };
    let spec = SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() };
    let review = SelfSubjectAccessReview { spec, ..Default::default() };
    let reviews: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    reviews.create(&PostParams::default(), &review).await.unwrap().status.is_some_and(|status| status.allowed)
}

/// Waits until it is allowed: the server hears of a new role or binding a moment later.
async fn must(client: &Client, namespace: &str, row: Row, name: Option<&str>) {
    let what = format!("it is allowed to {row:?}");
    eventually(&what, || async { may(client, namespace, row, name).await.then_some(()) }).await;
}

#[track_caller]
fn refused<T: std::fmt::Debug>(answer: kube::Result<T>, part: &str) {
    match answer {
        Err(kube::Error::Api(status)) if status.code == 403 && status.message.contains(part) => {}
        other => panic!("not refused with {part:?}: {other:?}"),
    }
}

fn binding(role: &str, account: &str, namespace: &str) -> String {
    format!(
        "apiVersion: {RBAC}/v1\nkind: RoleBinding\nmetadata: {{ name: {account} }}\n\
         roleRef: {{ apiGroup: {RBAC}, kind: ClusterRole, name: {role} }}\n\
         subjects: [{{ kind: ServiceAccount, name: {account}, namespace: {namespace} }}]\n"
    )
}

#[test]
fn the_operator_may_do_its_work_and_no_more() {
    let Some(plane) = ControlPlane::shared() else { return };
    plane.run(async {
        let deployment = install(&plane.admin()).await;
        let account = deployment.data["spec"]["template"]["spec"]["serviceAccountName"].as_str().unwrap();
        let home = deployment.namespace().unwrap();
        let operator = plane.client_as(&home, account).await.unwrap();
        let space = Namespace::create(&plane, "operator", &[]).await.unwrap();
        let here = space.name();
        for row in [
            (CORE, "backupsessions", "create"),
            (CORE, "backupsessions/status", "patch"),
            (STORAGE, "repositories", "create"),
            (STORAGE, "snapshots/status", "patch"),
            ("batch", "jobs", "create"),
            ("batch", "cronjobs", "patch"),
            ("", "serviceaccounts", "create"),
            (RBAC, "rolebindings", "create"),
        ] {
            must(&operator, here, row, None).await;
        }
        for row in [
            ("", "secrets", "get"),
            ("", "secrets", "list"),
            ("", "secrets", "watch"),
            ("", "configmaps", "get"),
            ("", "pods", "create"),
            ("", "pods/exec", "create"),
            ("", "pods/ephemeralcontainers", "patch"),
            ("", "serviceaccounts/token", "create"),
            ("", "nodes", "get"),
            ("apps", "deployments", "create"),
            (RBAC, "roles", "create"),
            (RBAC, "clusterroles", "create"),
            (RBAC, "clusterroles", "escalate"),
            (RBAC, "clusterroles", "bind"),
            (RBAC, "clusterrolebindings", "create"),
            (STORAGE, "backupstorages", "delete"),
            (CORE, "backupconfigurations", "delete"),
        ] {
            assert!(!may(&operator, here, row, None).await, "the operator may {row:?}");
        }
        // Not only asked but tried: of all roles, it gives those of its Jobs, though it has not their rights itself.
        let secrets: Api<Secret> = Api::namespaced(operator.clone(), here);
        refused(secrets.list(&ListParams::default()).await, "cannot list resource \"secrets\"");
        let bindings: Api<RoleBinding> = Api::namespaced(operator.clone(), here);
        let give = async |role: &str| {
            let object = manifests::parse(&binding(role, "default", here)).unwrap().remove(0);
            bindings.create(&PostParams::default(), &object.try_parse().unwrap()).await
        };
        for role in ["cluster-admin", "admin", "edit", "view", "system:controller:job-controller"] {
            refused(give(role).await, "attempting to grant RBAC permissions not currently held");
        }
        give("kubestash-backup-job").await.unwrap();
    });
}

#[test]
fn a_job_may_do_its_work_and_no_more() {
    let Some(plane) = ControlPlane::shared() else { return };
    plane.run(async {
        install(&plane.admin()).await;
        let space = Namespace::create(&plane, "job", &[]).await.unwrap();
        let other = Namespace::create(&plane, "elsewhere", &[]).await.unwrap();
        let here = space.name();
        let never: &[Row] = &[
            ("", "secrets", "list"),
            ("", "secrets", "watch"),
            ("", "secrets", "create"),
            ("", "pods", "create"),
            ("", "pods", "list"),
            ("batch", "jobs", "create"),
            (RBAC, "rolebindings", "create"),
            (CORE, "backupconfigurations", "patch"),
            (CORE, "backupsessions", "delete"),
            (STORAGE, "backupstorages", "patch"),
            (STORAGE, "repositories", "delete"),
            (STORAGE, "retentionpolicies", "patch"),
        ];
        let jobs: &[(&str, &[Row], &[Row])] = &[
            (
                "kubestash-cron-job",
                &[(CORE, "backupsessions", "create"), (CORE, "backupconfigurations", "get")],
                &[("", "secrets", "get"), (STORAGE, "snapshots", "get")],
            ),
            (
                "kubestash-backup-job",
                &[("", "secrets", "get"), (STORAGE, "snapshots/status", "patch"), (CORE, "backupsessions", "get")],
                &[
                    (STORAGE, "snapshots", "delete"),
                    (STORAGE, "snapshots", "create"),
                    (CORE, "restoresessions/status", "patch"),
                ],
            ),
            (
                "kubestash-restore-job",
                &[("", "secrets", "get"), (CORE, "restoresessions/status", "patch")],
                &[(STORAGE, "snapshots", "delete"), (STORAGE, "snapshots/status", "patch")],
            ),
            (
                "kubestash-retention-policy-job",
                &[("", "secrets", "get"), (STORAGE, "snapshots", "delete")],
                &[(CORE, "restoresessions", "get")],
            ),
        ];
        for (role, allowed, forbidden) in jobs {
            let yaml = format!(
                "apiVersion: v1\nkind: ServiceAccount\nmetadata: {{ name: {role} }}\n---\n{}",
                binding(role, role, here)
            );
            manifests::apply_all(&plane.admin(), &manifests::parse(&yaml).unwrap(), here).await.unwrap();
            let job = plane.client_as(here, role).await.unwrap();
            for row in *allowed {
                must(&job, here, *row, None).await;
                assert!(!may(&job, other.name(), *row, None).await, "{role} may {row:?} in another namespace");
            }
            for row in forbidden.iter().chain(never) {
                assert!(!may(&job, here, *row, None).await, "{role} may {row:?}");
            }
            must(&job, "", ("addons.kubestash.com", "functions", "get"), Some("mysql-backup")).await;
        }
    });
}

/// A request that must be refused, whatever is or is not there: `{here}` is the namespace of the account's rights, `{there}` is another.
type Attempt = (&'static str, &'static str);

/// What no Job may do.
const NO_JOB: &[Attempt] = &[
    ("GET", "/api/v1/namespaces/{there}/secrets/keys"),
    ("GET", "/api/v1/namespaces/{here}/secrets"),
    ("GET", "/api/v1/secrets"),
    ("PATCH", "/api/v1/namespaces/{here}/secrets/keys"),
    ("DELETE", "/api/v1/namespaces/{here}/secrets/keys"),
    ("GET", "/api/v1/namespaces/{here}/configmaps/settings"),
    ("POST", "/api/v1/namespaces/{here}/pods"),
    ("POST", "/api/v1/namespaces/{here}/pods/one/exec?command=sh"),
    ("POST", "/apis/batch/v1/namespaces/{here}/jobs"),
    ("POST", "/apis/batch/v1/namespaces/{here}/cronjobs"),
    ("POST", "/api/v1/namespaces/{here}/serviceaccounts"),
    ("POST", "/api/v1/namespaces/{here}/serviceaccounts/default/token"),
    ("POST", "/apis/rbac.authorization.k8s.io/v1/namespaces/{here}/rolebindings"),
    ("PATCH", "/apis/rbac.authorization.k8s.io/v1/namespaces/{here}/rolebindings/own"),
    ("PATCH", "/apis/core.kubestash.com/v1alpha1/namespaces/{here}/backupconfigurations/sample"),
    ("GET", "/apis/core.kubestash.com/v1alpha1/namespaces/{there}/backupconfigurations/sample"),
    ("DELETE", "/apis/core.kubestash.com/v1alpha1/namespaces/{here}/backupsessions/sample"),
    ("PATCH", "/apis/storage.kubestash.com/v1alpha1/namespaces/{here}/retentionpolicies/sample"),
    ("DELETE", "/apis/storage.kubestash.com/v1alpha1/namespaces/{here}/backupstorages/sample"),
    ("DELETE", "/apis/storage.kubestash.com/v1alpha1/namespaces/{here}/repositories/sample"),
    ("GET", "/apis/storage.kubestash.com/v1alpha1/namespaces/{there}/snapshots/sample"),
    ("PATCH", "/apis/addons.kubestash.com/v1alpha1/functions/mysql-backup"),
    ("PATCH", "/apis/appcatalog.appscode.com/v1alpha1/namespaces/{here}/appbindings/sample"),
];

/// Each role of a Job: what it may ask for, as the control, and what it may not beside [`NO_JOB`].
const JOBS: &[(&str, Attempt, &[Attempt])] = &[
    (
        "kubestash-cron-job",
        ("GET", "/apis/core.kubestash.com/v1alpha1/namespaces/{here}/backupconfigurations/sample"),
        &[
            ("GET", "/api/v1/namespaces/{here}/secrets/keys"),
            ("PATCH", "/apis/core.kubestash.com/v1alpha1/namespaces/{here}/backupsessions/sample/status"),
            ("GET", "/apis/storage.kubestash.com/v1alpha1/namespaces/{here}/snapshots/sample"),
        ],
    ),
    (
        "kubestash-backup-job",
        ("GET", "/api/v1/namespaces/{here}/secrets/keys"),
        &[
            ("DELETE", "/apis/storage.kubestash.com/v1alpha1/namespaces/{here}/snapshots/sample"),
            ("PATCH", "/apis/storage.kubestash.com/v1alpha1/namespaces/{here}/snapshots/sample"),
            ("POST", "/apis/core.kubestash.com/v1alpha1/namespaces/{here}/backupsessions"),
            ("PATCH", "/apis/core.kubestash.com/v1alpha1/namespaces/{here}/restoresessions/sample/status"),
        ],
    ),
    (
        "kubestash-restore-job",
        ("GET", "/api/v1/namespaces/{here}/secrets/keys"),
        &[
            ("DELETE", "/apis/storage.kubestash.com/v1alpha1/namespaces/{here}/snapshots/sample"),
            ("PATCH", "/apis/storage.kubestash.com/v1alpha1/namespaces/{here}/snapshots/sample/status"),
            ("PATCH", "/apis/core.kubestash.com/v1alpha1/namespaces/{here}/backupsessions/sample/status"),
        ],
    ),
    (
        "kubestash-retention-policy-job",
        ("GET", "/apis/storage.kubestash.com/v1alpha1/namespaces/{here}/snapshots"),
        &[
            ("PATCH", "/apis/storage.kubestash.com/v1alpha1/namespaces/{here}/snapshots/sample/status"),
            ("PATCH", "/apis/core.kubestash.com/v1alpha1/namespaces/{here}/restoresessions/sample/status"),
            ("GET", "/apis/core.kubestash.com/v1alpha1/namespaces/{here}/restoresessions/sample"),
        ],
    ),
    (
        "kubestash-storage-initializer-job",
        ("GET", "/apis/storage.kubestash.com/v1alpha1/namespaces/{here}/backupstorages/sample"),
        &[
            ("PATCH", "/apis/storage.kubestash.com/v1alpha1/namespaces/{here}/backupstorages/sample"),
            ("DELETE", "/apis/storage.kubestash.com/v1alpha1/namespaces/{here}/snapshots/sample"),
            ("POST", "/apis/core.kubestash.com/v1alpha1/namespaces/{here}/backupsessions"),
        ],
    ),
    (
        "kubestash-backend-job",
        ("GET", "/apis/storage.kubestash.com/v1alpha1/namespaces/{here}/repositories/sample"),
        &[
            ("DELETE", "/apis/storage.kubestash.com/v1alpha1/namespaces/{here}/snapshots/sample"),
            ("POST", "/apis/storage.kubestash.com/v1alpha1/namespaces/{here}/snapshots"),
            ("PATCH", "/apis/core.kubestash.com/v1alpha1/namespaces/{here}/backupsessions/sample/status"),
        ],
    ),
];

/// What the operator may not do.
const NO_OPERATOR: &[Attempt] = &[
    ("GET", "/api/v1/namespaces/{here}/secrets/keys"),
    ("GET", "/api/v1/namespaces/coffer/secrets"),
    ("GET", "/api/v1/secrets?watch=true"),
    ("POST", "/api/v1/namespaces/{here}/secrets"),
    ("GET", "/api/v1/namespaces/{here}/configmaps/settings"),
    ("POST", "/api/v1/namespaces/{here}/pods"),
    ("DELETE", "/api/v1/namespaces/{here}/pods/one"),
    ("GET", "/api/v1/namespaces/{here}/pods/one/log"),
    ("POST", "/api/v1/namespaces/{here}/pods/one/exec?command=sh"),
    ("POST", "/api/v1/namespaces/{here}/serviceaccounts/default/token"),
    ("GET", "/api/v1/nodes"),
    ("PATCH", "/api/v1/namespaces/{here}"),
    ("POST", "/apis/apps/v1/namespaces/{here}/deployments"),
    ("GET", "/apis/coordination.k8s.io/v1/namespaces/{here}/leases/other"),
    ("POST", "/apis/rbac.authorization.k8s.io/v1/namespaces/{here}/roles"),
    ("POST", "/apis/rbac.authorization.k8s.io/v1/clusterroles"),
    ("PATCH", "/apis/rbac.authorization.k8s.io/v1/clusterroles/kubestash-backup-job"),
    ("POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"),
    ("PATCH", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/snapshots.storage.kubestash.com"),
    ("DELETE", "/apis/storage.kubestash.com/v1alpha1/namespaces/{here}/backupstorages/sample"),
    ("PATCH", "/apis/storage.kubestash.com/v1alpha1/namespaces/{here}/retentionpolicies/sample"),
    ("DELETE", "/apis/core.kubestash.com/v1alpha1/namespaces/{here}/backupconfigurations/sample"),
    ("DELETE", "/apis/core.kubestash.com/v1alpha1/namespaces/{here}/restoresessions/sample"),
    ("PATCH", "/apis/appcatalog.appscode.com/v1alpha1/namespaces/{here}/appbindings/sample"),
    ("PATCH", "/apis/addons.kubestash.com/v1alpha1/functions/mysql-backup"),
];

async fn status_of(client: &Client, (method, path): Attempt, here: &str, there: &str) -> (u16, String) {
    let path = path.replace("{here}", here).replace("{there}", there);
    let body = matches!(method, "POST" | "PATCH").then(|| serde_json::json!({}));
    ask(client, method, &path, body.as_ref()).await.unwrap()
}

async fn assert_refused(client: &Client, who: &str, attempts: impl Iterator<Item = &Attempt>, here: &str, there: &str) {
    let mut allowed = Vec::new();
    for attempt in attempts {
        let (status, message) = status_of(client, *attempt, here, there).await;
        if status != 403 || !message.contains("is forbidden") {
            allowed.push(format!("{} {} was answered with {status}: {message}", attempt.0, attempt.1));
        }
    }
    assert!(
        allowed.is_empty(),
        "{who} may do what it must not; take the rule from deploy::rbac:\n{}",
        allowed.join("\n")
    );
}

/// Not asked but done: the requests themselves, by the accounts themselves.
#[test]
fn what_must_be_refused_is_refused_when_it_is_tried() {
    let Some(plane) = ControlPlane::shared() else { return };
    plane.run(async {
        let deployment = install(&plane.admin()).await;
        let space = Namespace::create(&plane, "tried", &[]).await.unwrap();
        let other = Namespace::create(&plane, "elsewhere", &[]).await.unwrap();
        let (here, there) = (space.name(), other.name());
        let account = deployment.data["spec"]["template"]["spec"]["serviceAccountName"].as_str().unwrap();
        let operator = plane.client_as(&deployment.namespace().unwrap(), account).await.unwrap();
        must(&operator, here, ("batch", "jobs", "create"), None).await;
        assert_refused(&operator, "the operator", NO_OPERATOR.iter(), here, there).await;
        for (role, control, more) in JOBS {
            let account = format!("apiVersion: v1\nkind: ServiceAccount\nmetadata: {{ name: {role} }}\n---\n");
            let yaml = account + &binding(role, role, here);
            manifests::apply_all(&plane.admin(), &manifests::parse(&yaml).unwrap(), here).await.unwrap();
            let job = plane.client_as(here, role).await.unwrap();
            let what = format!("{role} may {control:?}");
            eventually(&what, || async {
                let (status, _) = status_of(&job, *control, here, there).await;
                matches!(status, 200 | 404).then_some(())
            })
            .await;
            assert_refused(&job, role, NO_JOB.iter().chain(*more), here, there).await;
        }
    });
}

/// Whatever the roles say in detail: nothing is granted by a wildcard, no Secret but by its name, and no rights to give rights but those of Jobs.
#[test]
fn no_rights_are_wider_than_they_need_to_be() {
    let Some(plane) = ControlPlane::shared() else { return };
    plane.run(async {
        let deployment = install(&plane.admin()).await;
        let space = Namespace::create(&plane, "rules", &[]).await.unwrap();
        let here = space.name();
        let account = deployment.data["spec"]["template"]["spec"]["serviceAccountName"].as_str().unwrap();
        let operator = plane.client_as(&deployment.namespace().unwrap(), account).await.unwrap();
        must(&operator, here, ("batch", "jobs", "create"), None).await;
        for rule in rules(&operator, here).await {
            assert_narrow("the operator", &rule);
            assert!(!named(rule.resources.as_ref(), "secrets"), "the operator reads Secrets: {rule:?}");
        }
        for (role, ..) in JOBS {
            let account = format!("apiVersion: v1\nkind: ServiceAccount\nmetadata: {{ name: {role} }}\n---\n");
            let yaml = account + &binding(role, role, here);
            manifests::apply_all(&plane.admin(), &manifests::parse(&yaml).unwrap(), here).await.unwrap();
            let job = plane.client_as(here, role).await.unwrap();
            let what = format!("{role} has rights");
            let granted = eventually(&what, || async {
                let rules = rules(&job, here).await;
                rules
                    .iter()
                    .any(|rule| named(rule.api_groups.as_ref(), STORAGE) || named(rule.api_groups.as_ref(), CORE))
                    .then_some(rules)
            })
            .await;
            for rule in granted {
                assert_narrow(role, &rule);
                assert!(!named(rule.api_groups.as_ref(), RBAC), "{role} has to do with rights: {rule:?}");
                let secrets = named(rule.resources.as_ref(), "secrets");
                assert!(
                    !secrets || rule.verbs == ["get"],
                    "{role} may do more with Secrets than read one by its name: {rule:?}"
                );
            }
        }
    });
}

async fn rules(client: &Client, namespace: &str) -> Vec<ResourceRule> {
    let spec = SelfSubjectRulesReviewSpec { namespace: Some(namespace.into()) };
    let review = SelfSubjectRulesReview { spec, ..Default::default() };
    let reviews: Api<SelfSubjectRulesReview> = Api::all(client.clone());
    let status = reviews.create(&PostParams::default(), &review).await.unwrap().status.expect("the server knows");
    status.resource_rules
}

fn named(list: Option<&Vec<String>>, name: &str) -> bool {
    list.into_iter().flatten().any(|one| one.split('/').next() == Some(name))
}

/// How the names of the roles end that Jobs get: one in their own namespace, and small ones in others.
const FOR_JOBS: [&str; 3] = ["-job", "-reader", "-importer"];

#[track_caller]
fn assert_narrow(who: &str, rule: &ResourceRule) {
    let lists = [rule.api_groups.as_ref(), rule.resources.as_ref(), Some(&rule.verbs)];
    assert!(!lists.iter().any(|list| named(*list, "*")), "{who} has a wildcard: {rule:?}");
    for verb in ["escalate", "impersonate"] {
        assert!(!named(Some(&rule.verbs), verb), "{who} may {verb}: {rule:?}");
    }
    if named(Some(&rule.verbs), "bind") {
        let names = rule.resource_names.as_deref().unwrap_or_default();
        assert!(
            !names.is_empty() && names.iter().all(|name| FOR_JOBS.iter().any(|end| name.ends_with(end))),
            "{who} gives rights that are not a Job's: {rule:?}"
        );
    }
}
