//! Who may do what in the cluster: one table, from which the ClusterRoles are made and against which the tests hold what is really asked.
//!
//! A Job's service account gets its ClusterRole by a `RoleBinding` in its own namespace, so nothing here reaches further. In another namespace, and
//! only if that is open to its own, it gets one of the small roles that read one sort of thing there. The catalog (Addons and Functions) lies
//! outside of namespaces and holds no secret: every service account may read it by name.

use coffer_api::k8s_openapi::api::rbac::v1::{
    ClusterRole, ClusterRoleBinding, PolicyRule, Role as NamespacedRole, RoleBinding, RoleRef, Subject,
};
use coffer_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use coffer_api::meta::cluster_role;
use coffer_api::{addons, appcatalog, core, storage};

use crate::labels;

/// Name of the operator's ClusterRole, Role, service account, Deployment and Service.
pub const OPERATOR: &str = "coffer-operator";
/// Name of the ClusterRole that reads the catalog.
pub const CATALOG_READER: &str = "coffer-catalog-reader";
/// Every service account.
const SERVICE_ACCOUNTS: &str = "system:serviceaccounts";
const RBAC: &str = "rbac.authorization.k8s.io";

/// A ClusterRole.
#[derive(Debug, Clone, Copy)]
pub struct Role {
    /// Its name.
    pub name: &'static str,
    /// What it grants.
    pub rules: &'static [Rule],
}

/// Verbs on resources of one group.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// The API group; empty for the core group.
    pub group: &'static str,
    /// The resources, with subresources as `snapshots/status`.
    pub resources: &'static [&'static str],
    /// Only the objects of these names; all if there are none.
    pub names: &'static [&'static str],
    /// The verbs.
    pub verbs: &'static [&'static str],
}

const fn rule(group: &'static str, resources: &'static [&'static str], verbs: &'static [&'static str]) -> Rule {
    Rule { group, resources, names: &[], verbs }
}

const READ: &[&str] = &["get", "list", "watch"];
const OWN: &[&str] = &["get", "list", "watch", "create", "patch", "delete"];

/// What `coffer run trigger` needs.
const CRON_JOB: &[Rule] = &[
    rule(core::GROUP, &["backupconfigurations"], &["get"]),
    rule(core::GROUP, &["backupsessions"], &["get", "create"]),
];

/// What `coffer run backup` needs.
const BACKUP_JOB: &[Rule] = &[
    rule(core::GROUP, &["backupconfigurations", "backupsessions"], &["get"]),
    rule(storage::GROUP, &["backupstorages", "repositories", "retentionpolicies"], &["get"]),
    rule(storage::GROUP, &["snapshots"], &["get", "list"]),
    rule(storage::GROUP, &["repositories/status", "snapshots/status"], &["patch"]),
    rule(appcatalog::GROUP, &["appbindings"], &["get"]),
    rule("", &["secrets", "namespaces"], &["get"]),
];

/// What `coffer run restore` needs.
const RESTORE_JOB: &[Rule] = &[
    rule(core::GROUP, &["restoresessions"], &["get"]),
    rule(core::GROUP, &["restoresessions/status"], &["patch"]),
    rule(storage::GROUP, &["backupstorages", "repositories"], &["get"]),
    rule(storage::GROUP, &["snapshots"], &["get", "list"]),
    rule(appcatalog::GROUP, &["appbindings"], &["get"]),
    rule("", &["secrets", "namespaces"], &["get"]),
];

/// What `coffer run retention` needs.
const RETENTION_POLICY_JOB: &[Rule] = &[
    rule(core::GROUP, &["backupconfigurations", "backupsessions"], &["get"]),
    rule(core::GROUP, &["backupsessions/status"], &["patch"]),
    rule(storage::GROUP, &["backupstorages", "repositories", "retentionpolicies"], &["get"]),
    rule(storage::GROUP, &["snapshots"], &["get", "list", "delete"]),
    rule(storage::GROUP, &["repositories/status"], &["patch"]),
    rule("", &["secrets", "namespaces"], &["get"]),
];

/// What `coffer run initialize-storage` needs. It brings back what it finds in the storage.
const STORAGE_INITIALIZER_JOB: &[Rule] = &[
    rule(storage::GROUP, &["backupstorages"], &["get"]),
    rule(storage::GROUP, &["repositories", "snapshots"], &["get", "create"]),
    rule(storage::GROUP, &["backupstorages/status", "repositories/status", "snapshots/status"], &["patch"]),
    rule("", &["secrets"], &["get"]),
];

/// What `coffer run initialize-repository` and `coffer run cleanup` need. Only the latter patches objects: it says in an annotation that their data is
/// gone.
const BACKEND_JOB: &[Rule] = &[
    rule(storage::GROUP, &["backupstorages", "repositories", "snapshots"], &["get", "patch"]),
    rule(storage::GROUP, &["repositories/status"], &["patch"]),
    rule("", &["secrets", "namespaces"], &["get"]),
];

/// What any Job needs of a BackupStorage and a RetentionPolicy in another namespace.
const STORAGE_READER: &[Rule] = &[rule(storage::GROUP, &["backupstorages", "retentionpolicies"], &["get"])];

/// What a Job needs of a target in another namespace.
const TARGET_READER: &[Rule] = &[rule(appcatalog::GROUP, &["appbindings"], &["get"])];

/// What a restore needs of its source in another namespace. The labels of that namespace decide whether it may use the storage.
const SOURCE_READER: &[Rule] = &[
    rule(storage::GROUP, &["repositories"], &["get"]),
    rule(storage::GROUP, &["snapshots"], &["get", "list"]),
    rule("", &["namespaces"], &["get"]),
];

/// What a Job needs where it uses a Secret in another namespace.
const SECRET_READER: &[Rule] = &[rule("", &["secrets"], &["get"])];

/// What `coffer run initialize-storage` needs in a namespace that it brings Repositories and Snapshots back into.
const IMPORTER: &[Rule] = &[
    rule(storage::GROUP, &["repositories", "snapshots"], &["get", "create"]),
    rule(storage::GROUP, &["repositories/status", "snapshots/status"], &["patch"]),
];

const CATALOG: &[Rule] = &[rule(addons::GROUP, &["addons", "functions"], &["get"])];

/// What the operator needs, in all namespaces. No Secret is among it.
const OPERATOR_RULES: &[Rule] = &[
    rule(core::GROUP, &["backupsessions"], OWN),
    rule(core::GROUP, &["backupconfigurations", "restoresessions"], &["get", "list", "watch", "patch"]),
    rule(
        core::GROUP,
        &["backupconfigurations/status", "backupsessions/status", "restoresessions/status"],
        &["get", "patch"],
    ),
    rule(
        core::GROUP,
        &["backupconfigurations/finalizers", "backupsessions/finalizers", "restoresessions/finalizers"],
        &["update"],
    ),
    rule(storage::GROUP, &["repositories", "snapshots"], OWN),
    rule(storage::GROUP, &["backupstorages"], &["get", "list", "watch", "patch"]),
    rule(storage::GROUP, &["backupstorages/status", "repositories/status", "snapshots/status"], &["get", "patch"]),
    rule(
        storage::GROUP,
        &["backupstorages/finalizers", "repositories/finalizers", "snapshots/finalizers"],
        &["update"],
    ),
    rule(storage::GROUP, &["retentionpolicies"], READ),
    rule(addons::GROUP, &["addons", "functions"], READ),
    rule(appcatalog::GROUP, &["appbindings"], READ),
    rule("batch", &["cronjobs", "jobs"], OWN),
    rule("", &["serviceaccounts"], OWN),
    rule("", &["pods", "namespaces"], READ),
    rule("events.k8s.io", &["events"], &["create", "patch"]),
    rule(RBAC, &["rolebindings"], OWN),
    Rule {
        group: RBAC,
        resources: &["clusterroles"],
        names: &[
            cluster_role::CRON_JOB,
            cluster_role::BACKUP_JOB,
            cluster_role::RESTORE_JOB,
            cluster_role::RETENTION_POLICY_JOB,
            cluster_role::STORAGE_INITIALIZER_JOB,
            cluster_role::BACKEND_JOB,
            cluster_role::STORAGE_READER,
            cluster_role::TARGET_READER,
            cluster_role::SOURCE_READER,
            cluster_role::SECRET_READER,
            cluster_role::IMPORTER,
        ],
        verbs: &["bind"],
    },
];

/// What the operator needs in its own namespace: the Lease that says which operator leads.
const LEASES: &[Rule] = &[rule("coordination.k8s.io", &["leases"], &["get", "create", "update"])];

/// Every ClusterRole.
pub const CLUSTER_ROLES: &[Role] = &[
    Role { name: OPERATOR, rules: OPERATOR_RULES },
    Role { name: CATALOG_READER, rules: CATALOG },
    Role { name: cluster_role::CRON_JOB, rules: CRON_JOB },
    Role { name: cluster_role::BACKUP_JOB, rules: BACKUP_JOB },
    Role { name: cluster_role::RESTORE_JOB, rules: RESTORE_JOB },
    Role { name: cluster_role::RETENTION_POLICY_JOB, rules: RETENTION_POLICY_JOB },
    Role { name: cluster_role::STORAGE_INITIALIZER_JOB, rules: STORAGE_INITIALIZER_JOB },
    Role { name: cluster_role::BACKEND_JOB, rules: BACKEND_JOB },
    Role { name: cluster_role::STORAGE_READER, rules: STORAGE_READER },
    Role { name: cluster_role::TARGET_READER, rules: TARGET_READER },
    Role { name: cluster_role::SOURCE_READER, rules: SOURCE_READER },
    Role { name: cluster_role::SECRET_READER, rules: SECRET_READER },
    Role { name: cluster_role::IMPORTER, rules: IMPORTER },
];

/// Whether a ClusterRole grants a verb on a resource (with its subresource) of a group. What is granted for some names only counts as not granted.
pub fn grants(role: &str, verb: &str, group: &str, resource: &str) -> bool {
    let rules = CLUSTER_ROLES.iter().filter(|known| known.name == role).flat_map(|role| role.rules);
    rules
        .filter(|rule| rule.names.is_empty())
        .any(|rule| rule.group == group && rule.resources.contains(&resource) && rule.verbs.contains(&verb))
}

/// The ClusterRoles.
pub(crate) fn cluster_roles() -> Vec<ClusterRole> {
    let role = |role: &Role| ClusterRole {
        metadata: metadata(role.name, None),
        rules: Some(policy(role.rules)),
        aggregation_rule: None,
    };
    CLUSTER_ROLES.iter().map(role).collect()
}

/// Who has them in the whole cluster: the operator, and every service account that of the catalog.
pub(crate) fn cluster_role_bindings(namespace: &str) -> Vec<ClusterRoleBinding> {
    let everybody = Subject {
        api_group: Some(RBAC.to_owned()),
        kind: "Group".to_owned(),
        name: SERVICE_ACCOUNTS.to_owned(),
        namespace: None,
    };
    [(OPERATOR, operator(namespace)), (CATALOG_READER, everybody)]
        .into_iter()
        .map(|(name, subject)| ClusterRoleBinding {
            metadata: metadata(name, None),
            role_ref: reference("ClusterRole", name),
            subjects: Some(vec![subject]),
        })
        .collect()
}

/// What the operator may do in its own namespace alone.
pub(crate) fn own(namespace: &str) -> (NamespacedRole, RoleBinding) {
    let metadata = || metadata(OPERATOR, Some(namespace));
    let role = NamespacedRole { metadata: metadata(), rules: Some(policy(LEASES)) };
    let binding = RoleBinding {
        metadata: metadata(),
        role_ref: reference("Role", OPERATOR),
        subjects: Some(vec![operator(namespace)]),
    };
    (role, binding)
}

fn operator(namespace: &str) -> Subject {
    Subject {
        api_group: None,
        kind: "ServiceAccount".to_owned(),
        name: OPERATOR.to_owned(),
        namespace: Some(namespace.to_owned()),
    }
}

fn reference(kind: &str, name: &str) -> RoleRef {
    RoleRef { api_group: RBAC.to_owned(), kind: kind.to_owned(), name: name.to_owned() }
}

fn policy(rules: &[Rule]) -> Vec<PolicyRule> {
    let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    rules
        .iter()
        .map(|rule| PolicyRule {
            api_groups: Some(vec![rule.group.to_owned()]),
            resources: Some(owned(rule.resources)),
            resource_names: Some(owned(rule.names)).filter(|names| !names.is_empty()),
            verbs: owned(rule.verbs),
            non_resource_urls: None,
        })
        .collect()
}

pub(crate) fn metadata(name: &str, namespace: Option<&str>) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: namespace.map(str::to_owned),
        labels: Some(labels()),
        ..ObjectMeta::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operator_reads_no_secret_and_gives_no_more_than_the_roles_of_jobs() {
        for rule in OPERATOR_RULES {
            assert!(!rule.resources.iter().any(|resource| resource.starts_with("secrets")), "{rule:?}");
            assert!(!rule.verbs.contains(&"*") && !rule.resources.contains(&"*"), "{rule:?}");
            assert!(!rule.verbs.contains(&"escalate") && !rule.verbs.contains(&"impersonate"), "{rule:?}");
        }
        let bind: Vec<_> = OPERATOR_RULES.iter().filter(|rule| rule.verbs.contains(&"bind")).collect();
        assert_eq!(bind.len(), 1);
        assert_eq!(bind[0].resources, ["clusterroles"]);
        let own = [OPERATOR, CATALOG_READER];
        let jobs: Vec<_> = CLUSTER_ROLES.iter().map(|role| role.name).filter(|name| !own.contains(name)).collect();
        assert_eq!(bind[0].names, jobs);
    }

    #[test]
    fn elsewhere_a_job_reads_one_sort_of_thing_and_writes_only_what_it_brings_back() {
        let elsewhere =
            CLUSTER_ROLES.iter().filter(|role| role.name.starts_with("kubestash-") && !role.name.ends_with("-job"));
        let mut count = 0;
        for role in elsewhere {
            count += 1;
            let secrets = role.rules.iter().any(|rule| rule.resources.contains(&"secrets"));
            assert_eq!(secrets, role.name == cluster_role::SECRET_READER, "{}", role.name);
            for rule in role.rules.iter().filter(|_| role.name != cluster_role::IMPORTER) {
                assert!(rule.verbs.iter().all(|verb| ["get", "list"].contains(verb)), "{}: {rule:?}", role.name);
                assert!(!rule.verbs.contains(&"list") || rule.resources == ["snapshots"], "{}: {rule:?}", role.name);
            }
            assert!(!grants(role.name, "delete", storage::GROUP, "snapshots"), "{}", role.name);
            assert!(!grants(role.name, "patch", storage::GROUP, "repositories"), "{}", role.name);
        }
        assert_eq!(count, 5);
    }

    #[test]
    fn jobs_neither_list_secrets_nor_write_what_they_read() {
        for role in CLUSTER_ROLES.iter().filter(|role| role.name.ends_with("-job")) {
            for rule in role.rules {
                let secrets = rule.resources.contains(&"secrets");
                assert!(!secrets || rule.verbs == ["get"], "{}: {rule:?}", role.name);
                assert!(!rule.verbs.contains(&"*") && !rule.verbs.contains(&"watch"), "{}: {rule:?}", role.name);
            }
            assert!(!grants(role.name, "patch", core::GROUP, "backupconfigurations"), "{}", role.name);
        }
        assert!(grants(cluster_role::BACKUP_JOB, "patch", storage::GROUP, "snapshots/status"));
        assert!(!grants(cluster_role::BACKUP_JOB, "patch", storage::GROUP, "snapshots"));
        assert!(!grants(cluster_role::RESTORE_JOB, "delete", storage::GROUP, "snapshots"));
        assert!(!grants(OPERATOR, "bind", RBAC, "clusterroles"), "only those with a name");
    }
}
