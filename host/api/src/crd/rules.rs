//! What must hold within one object, by kind; what depends on other objects is the reconcilers' business.
//!
//! The bounds of lists and texts are far above what anybody writes. They are there because a server refuses a rule whose
//! cost has no bound. A rule says what is wrong and how to correct it; the server says where.

use super::constraint::{Constraint, default, flag, keyed, max_items, max_length, max_properties, rule, without};

/// The longest name of an object.
const NAME: u32 = 253;
/// The longest path of a directory.
const PATH: u32 = 1024;
/// The longest duration.
const DURATION: u32 = 64;

/// A Go duration that is not negative.
const IS_DURATION: &str = r"self == '' || self == '0' || self.matches('^[+]?([0-9]+([.][0-9]*)?|[.][0-9]+)(h|m|s|ms|us|µs|μs|ns)(([0-9]+([.][0-9]*)?|[.][0-9]+)(h|m|s|ms|us|µs|μs|ns))*$')";
const NO_DURATION: &str = "it is no duration; write it like 90s, 30m or 1h30m";

const SELECTOR: Constraint = rule(
    "spec.usagePolicy.allowedNamespaces",
    "!has(self.from) || self.from != 'Selector' || has(self.selector)",
    "selector is required when from is Selector; add the labels of the namespaces, or use All or Same",
);
const SAME: Constraint = default("spec.usagePolicy", r#"{"allowedNamespaces":{"from":"Same"}}"#);
const CONDITIONS: Constraint = keyed("status.conditions", "type");

pub(super) const FUNCTION: &[Constraint] = &[
    max_length("spec.component.ref", PATH),
    rule(
        "spec.component.ref",
        "self.matches('^(builtin:[a-z0-9]([-a-z0-9]*[a-z0-9])?|file:///.+|oci://.+@sha256:[0-9a-f]{64})$')",
        "ref is no component; write builtin:<name>, file:///<path> or oci://<registry>/<name>@sha256:<64 hex digits>",
    ),
    rule(
        "spec",
        "has(self.component) || (has(self.image) && self.image != '')",
        "nothing to run; set component (a WebAssembly component) or image",
    ),
];

pub(super) const APP_BINDING: &[Constraint] = &[flag("spec.parameters", "x-kubernetes-embedded-resource")];

pub(super) const BACKUP_BATCH: &[Constraint] = &[CONDITIONS, keyed("status.sessions[].conditions", "type")];

pub(super) const BACKUP_BLUEPRINT: &[Constraint] = &[
    SAME,
    SELECTOR,
    rule(
        "spec",
        "has(self.backupConfigurationTemplate)",
        "backupConfigurationTemplate is required; it is what BackupConfigurations are made from",
    ),
];

pub(super) const BACKUP_CONFIGURATION: &[Constraint] = &[
    CONDITIONS,
    keyed("status.sessions[].conditions", "type"),
    max_items("spec.backends", 32),
    max_length("spec.backends[].name", NAME),
    rule(
        "spec.backends",
        "self.all(one, self.exists_one(other, has(one.name) == has(other.name) && (!has(one.name) || one.name == other.name)))",
        "duplicate backend name found; give each backend a name of its own",
    ),
    rule(
        "spec",
        "has(self.sessions) && self.sessions.size() > 0",
        "sessions can not be empty; add one with a name, a scheduler, an addon and repositories",
    ),
    rule(
        "spec",
        "!has(self.sessions) || self.sessions.all(session, !has(session.repositories) || session.repositories.all(repository, !has(repository.backend) || repository.backend == '' || (has(self.backends) && self.backends.exists(backend, has(backend.name) && backend.name == repository.backend))))",
        "a repository names a backend that is not in spec.backends; correct its backend, or add that one",
    ),
    max_items("spec.sessions", 32),
    max_length("spec.sessions[].name", NAME),
    rule(
        "spec.sessions",
        "self.all(one, !has(one.name) || self.exists_one(other, has(other.name) && one.name == other.name))",
        "duplicate session name found; give each session a name of its own",
    ),
    rule("spec.sessions[]", "has(self.name) && self.name != ''", "session name can not be empty; set name"),
    rule(
        "spec.sessions[]",
        "has(self.scheduler)",
        "scheduler is required; set scheduler.schedule to a cron expression, and scheduler.jobTemplate",
    ),
    max_length("spec.sessions[].scheduler.schedule", NAME),
    rule(
        "spec.sessions[].scheduler",
        "self.schedule.matches('[^ ]')",
        "schedule can not be empty; write a cron expression such as 0 2 * * *",
    ),
    max_length("spec.sessions[].scheduler.concurrencyPolicy", 16),
    rule(
        "spec.sessions[].scheduler",
        "!has(self.concurrencyPolicy) || self.concurrencyPolicy in ['', 'Allow', 'Forbid', 'Replace']",
        "concurrencyPolicy is not known; use Allow, Forbid or Replace",
    ),
    max_length("spec.sessions[].backupTimeout", DURATION),
    rule("spec.sessions[].backupTimeout", IS_DURATION, NO_DURATION),
    max_length("spec.sessions[].retryConfig.delay", DURATION),
    rule("spec.sessions[].retryConfig.delay", IS_DURATION, NO_DURATION),
    rule(
        "spec.sessions[]",
        "has(self.addon) && has(self.addon.name) && self.addon.name != ''",
        "addon and its name are required; set addon.name, such as mysql-addon",
    ),
    max_length("spec.sessions[].addon.name", NAME),
    max_items("spec.sessions[].addon.tasks", 16),
    max_length("spec.sessions[].addon.tasks[].name", NAME),
    rule(
        "spec.sessions[].addon",
        "has(self.tasks) && self.tasks.size() > 0",
        "addon tasks can not be empty; name one, such as logical-backup",
    ),
    rule(
        "spec.sessions[].addon.tasks[]",
        "has(self.name) && self.name != ''",
        "task name can not be empty; name a task of the Addon, such as logical-backup",
    ),
    max_items("spec.sessions[].repositories", 16),
    max_length("spec.sessions[].repositories[].name", NAME),
    max_length("spec.sessions[].repositories[].backend", NAME),
    max_length("spec.sessions[].repositories[].directory", PATH),
    rule(
        "spec.sessions[]",
        "has(self.repositories) && self.repositories.size() > 0",
        "repositories can not be empty; add one with a name, a backend and a directory",
    ),
    rule(
        "spec.sessions[].repositories",
        "self.all(one, !has(one.name) || self.exists_one(other, has(other.name) && one.name == other.name))",
        "duplicate repository name found; give each repository of a session a name of its own",
    ),
    rule(
        "spec.sessions[].repositories",
        "self.all(one, !has(one.directory) || self.exists_one(other, has(other.directory) && one.directory == other.directory && (has(one.backend) ? one.backend : '') == (has(other.backend) ? other.backend : '')))",
        "two repositories have the same directory of the same backend; give each its own",
    ),
    rule(
        "spec.sessions[].repositories[]",
        "has(self.name) && self.name != ''",
        "repository name can not be empty; set name",
    ),
    rule(
        "spec.sessions[].repositories[]",
        "has(self.directory) && self.directory != ''",
        "repository directory can not be empty; set directory, such as /mysql",
    ),
];

pub(super) const BACKUP_SESSION: &[Constraint] = &[
    CONDITIONS,
    max_length("spec.invoker.apiGroup", NAME),
    max_length("spec.invoker.kind", NAME),
    max_length("spec.invoker.name", NAME),
    max_length("spec.session", NAME),
    max_length("spec.backupTimeout", DURATION),
    rule("spec", "self == oldSelf", "spec can not be updated; create another BackupSession"),
    rule(
        "spec",
        "has(self.invoker) && self.invoker.name != ''",
        "invoker is required; set its kind and name to those of a BackupConfiguration of this namespace",
    ),
    rule(
        "spec.invoker",
        "self.kind in ['BackupConfiguration', 'BackupBatch']",
        "the kind of the invoker is not known; use BackupConfiguration",
    ),
    rule(
        "spec",
        "has(self.session) && self.session != ''",
        "session is required; name a session of the BackupConfiguration",
    ),
    rule("spec.backupTimeout", IS_DURATION, NO_DURATION),
];

pub(super) const BACKUP_VERIFICATION_SESSION: &[Constraint] = &[
    CONDITIONS,
    max_length("spec.invoker.apiGroup", NAME),
    max_length("spec.invoker.kind", NAME),
    max_length("spec.invoker.name", NAME),
    max_length("spec.session", NAME),
    max_length("spec.repository", NAME),
    max_length("spec.snapshot", NAME),
    rule("spec", "self == oldSelf", "spec can not be updated; create another BackupVerificationSession"),
];

pub(super) const BACKUP_VERIFIER: &[Constraint] = &[
    rule(
        "spec",
        "!has(self.type) || self.type != 'Query' || has(self.query)",
        "query is required when type is Query; say what to look for",
    ),
    rule(
        "spec",
        "!has(self.type) || self.type != 'Script' || (has(self.script) && has(self.script.location) && self.script.location != '')",
        "script.location is required when type is Script; set it to the path of the script",
    ),
    rule(
        "spec",
        "!has(self.type) || self.type == 'RestoreOnly' || (has(self.__function__) && self.__function__ != '')",
        "function is required when type is Query or Script; name the Function that looks at what was restored",
    ),
];

pub(super) const HOOK_TEMPLATE: &[Constraint] = &[
    SAME,
    SELECTOR,
    rule(
        "spec",
        "has(self.executor) && has(self.executor.type)",
        "executor is required; set executor.type to Function, Pod or Operator",
    ),
    rule(
        "spec.executor",
        "!has(self.type) || self.type != 'Function' || (has(self.__function__) && has(self.__function__.name) && self.__function__.name != '')",
        "function is required when type is Function; set function.name",
    ),
    rule(
        "spec.executor",
        "!has(self.type) || self.type != 'Pod' || (has(self.pod) && has(self.pod.selector) && self.pod.selector != '')",
        "pod.selector is required when type is Pod; set it to labels of the pods, such as app=db",
    ),
    max_length("spec.executor.pod.selector", PATH),
    rule(
        "spec.executor.pod.selector",
        "self == '' || self.matches('^[^=!,]+(==?|!=)[^=!,]*(,[^=!,]+(==?|!=)[^=!,]*)*$') || self.matches('(^|,) *![^=!,]+(,|$)') || self.matches(' (in|notin) *[(]')",
        "invalid selector is provided for pod type executor; write it like app=db,role=primary or app in (a,b)",
    ),
    rule(
        "spec",
        "!has(self.executor) || !has(self.executor.type) || self.executor.type == 'Function' || has(self.action)",
        "action is required when the executor is Pod or Operator; add exec, httpGet, httpPost or tcpSocket",
    ),
    rule(
        "spec.action",
        "[has(self.exec), has(self.httpGet), has(self.httpPost), has(self.tcpSocket)].filter(given, given).size() == 1",
        "an action is one of exec, httpGet, httpPost and tcpSocket; give exactly one",
    ),
    rule(
        "spec",
        "!has(self.executor) || !has(self.executor.type) || self.executor.type != 'Operator' || !has(self.action) || !has(self.action.exec)",
        "the operator runs no commands; use the executor Pod for exec",
    ),
];

pub(super) const RESTORE_SESSION: &[Constraint] = &[
    CONDITIONS,
    rule("spec", "has(self.dataSource)", "dataSource is required; set its repository, and its snapshot to latest"),
    rule(
        "spec.dataSource",
        "!has(self.pitr) || has(self.pitr.targetTime)",
        "pitr.targetTime is required; set the moment to restore, such as 2026-01-31T12:00:00Z",
    ),
    rule(
        "spec.dataSource",
        "!has(self.pitr) || (has(self.repository) && self.repository != '')",
        "repository is required with pitr; name the Repository",
    ),
    rule(
        "spec.dataSource",
        "has(self.pitr) || (has(self.snapshot) && self.snapshot != '')",
        "snapshot is required without pitr; set it to latest, or to the name of a Snapshot",
    ),
    rule(
        "spec.dataSource",
        "!has(self.snapshot) || self.snapshot != 'latest' || (has(self.repository) && self.repository != '')",
        "repository is required when snapshot is latest; name the Repository",
    ),
    rule(
        "spec",
        "has(self.addon) && has(self.addon.name) && self.addon.name != '' && has(self.addon.tasks) && self.addon.tasks.size() > 0",
        "addon with a name and tasks is required; set addon.name, such as mysql-addon, and a task such as logical-backup-restore",
    ),
    max_items("spec.addon.tasks", 16),
    rule(
        "spec.addon.tasks[]",
        "has(self.name) && self.name != ''",
        "task name can not be empty; name a task of the Addon, such as logical-backup-restore",
    ),
    max_length("spec.restoreTimeout", DURATION),
    rule("spec.restoreTimeout", IS_DURATION, NO_DURATION),
];

pub(super) const BACKUP_STORAGE: &[Constraint] = &[
    CONDITIONS,
    SAME,
    SELECTOR,
    max_length("spec.storage.provider", 16),
    max_length("spec.storage.s3.bucket", PATH),
    max_length("spec.storage.s3.endpoint", PATH),
    max_length("spec.storage.s3.prefix", PATH),
    max_length("spec.storage.gcs.bucket", PATH),
    max_length("spec.storage.gcs.prefix", PATH),
    max_length("spec.storage.azure.container", PATH),
    max_length("spec.storage.azure.storageAccount", PATH),
    max_length("spec.storage.azure.prefix", PATH),
    max_length("spec.storage.local.mountPath", PATH),
    // The rules hold for defaults, too, so an empty storage cannot be one.
    without("spec.storage", "default"),
    rule("spec", "has(self.storage)", "storage is required; set storage.provider to local, s3, gcs or azure"),
    rule(
        "spec.storage",
        "has(self.provider) && self.provider in ['local', 's3', 'gcs', 'azure']",
        "provider is missing or not known; set it to local, s3, gcs or azure",
    ),
    rule(
        "spec.storage",
        "!has(self.provider) || self.provider != 's3' || (has(self.s3) && has(self.s3.bucket) && self.s3.bucket != '')",
        "s3 with a bucket is required when provider is s3; set s3.bucket",
    ),
    rule(
        "spec.storage",
        "!has(self.provider) || self.provider != 'gcs' || (has(self.gcs) && has(self.gcs.bucket) && self.gcs.bucket != '')",
        "gcs with a bucket is required when provider is gcs; set gcs.bucket",
    ),
    rule(
        "spec.storage",
        "!has(self.provider) || self.provider != 'azure' || (has(self.azure) && has(self.azure.storageAccount) && self.azure.storageAccount != '')",
        "storageAccount is empty; it is required when provider is azure, so set azure.storageAccount",
    ),
    rule(
        "spec.storage",
        "!has(self.provider) || self.provider != 'azure' || (has(self.azure) && has(self.azure.container) && self.azure.container != '')",
        "container is empty; it is required when provider is azure, so set azure.container",
    ),
    rule(
        "spec.storage",
        "!has(self.provider) || self.provider != 'local' || (has(self.local) && has(self.local.mountPath) && self.local.mountPath.startsWith('/'))",
        "local with an absolute mountPath is required when provider is local; set local.mountPath, and a volume beside it",
    ),
    rule(
        "",
        "!has(oldSelf.status) || !has(oldSelf.status.repositories) || oldSelf.status.repositories.size() == 0 || !has(oldSelf.spec.storage) || (has(self.spec.storage) && self.spec.storage == oldSelf.spec.storage)",
        "BackupStorage is currently in use and cannot be modified; create another one for another place",
    ),
];

pub(super) const REPOSITORY: &[Constraint] = &[
    CONDITIONS,
    max_length("spec.path", PATH),
    rule(
        "spec",
        "!has(oldSelf.path) || (has(self.path) && self.path == oldSelf.path)",
        "repository path can not be updated; create another Repository for another directory",
    ),
];

pub(super) const RETENTION_POLICY: &[Constraint] = &[
    SAME,
    SELECTOR,
    default("spec.failedSnapshots", r#"{"last":1}"#),
    max_length("spec.maxRetentionPeriod", DURATION),
    rule(
        "spec.maxRetentionPeriod",
        "self.matches('^ *([0-9]+(y|mo|w|d|h|m))* *$')",
        "invalid duration provided; write it like 30d, 12h or 1y6mo (units: y, mo, w, d, h, m)",
    ),
    rule(
        "spec",
        "has(self.maxRetentionPeriod) || has(self.successfulSnapshots)",
        "one of maxRetentionPeriod and successfulSnapshots policy must be provided; set one of them",
    ),
];

pub(super) const SNAPSHOT: &[Constraint] = &[CONDITIONS, max_properties("status.components", 256)];
