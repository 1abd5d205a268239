//! What the operator and its Jobs may do, tried for real: each row is asked of the API server as the account itself.

use coffer_test_cluster::manifests;
use coffer_test_cluster::wait::eventually;
use coffer_test_cluster::{ControlPlane, Namespace};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
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
