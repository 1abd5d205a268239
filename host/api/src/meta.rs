//! Labels, annotations and finalizers, as KubeStash has them.

/// The finalizer of every kind that has something to clean up.
pub const FINALIZER: &str = "kubestash.com/cleanup";

/// Labels.
pub mod label {
    /// Who manages the object: [`super::MANAGED_BY`].
    pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
    /// What a Job and its pods do: see [`super::component`].
    pub const COMPONENT: &str = "app.kubernetes.io/component";
    /// Kind of the object that a Job works for.
    pub const INVOKER_KIND: &str = "kubestash.com/invoker-kind";
    /// Name of the object that a Job works for; on a BackupSession, of its BackupConfiguration.
    pub const INVOKER_NAME: &str = "kubestash.com/invoker-name";
    /// Namespace of the object that a Job works for.
    pub const INVOKER_NAMESPACE: &str = "kubestash.com/invoker-namespace";
    /// Session of the BackupConfiguration.
    pub const SESSION_NAME: &str = "kubestash.com/session-name";
    /// Repository of a Snapshot.
    pub const REPOSITORY_NAME: &str = "kubestash.com/repo-name";
    /// Kind of a Snapshot's target.
    pub const APP_REF_KIND: &str = "kubestash.com/app-ref-kind";
    /// Namespace of a Snapshot's target.
    pub const APP_REF_NAMESPACE: &str = "kubestash.com/app-ref-namespace";
    /// Name of a Snapshot's target.
    pub const APP_REF_NAME: &str = "kubestash.com/app-ref-name";
}

/// Annotations.
pub mod annotation {
    /// Version of a Snapshot's database.
    pub const DB_VERSION: &str = "kubedb.com/db-version";
    /// Who a RestoreSession is for.
    pub const BENEFICIARY: &str = "restoresession.kubestash.com/beneficiary";
    /// Name of the BackupBlueprint that an application asks for.
    pub const BLUEPRINT_NAME: &str = "blueprint.kubestash.com/name";
    /// Namespace of that BackupBlueprint.
    pub const BLUEPRINT_NAMESPACE: &str = "blueprint.kubestash.com/namespace";
    /// Sessions of that BackupBlueprint, separated by commas; all when absent.
    pub const BLUEPRINT_SESSIONS: &str = "blueprint.kubestash.com/session-names";
    /// Prefix of the values for that BackupBlueprint's variables.
    pub const VARIABLE_PREFIX: &str = "variables.kubestash.com/";
    /// On a BackupConfiguration: the RestoreSessions for which it is paused, each as `namespace/name/uid`, separated by
    /// commas. Coffer's own.
    pub const PAUSED_BY: &str = "coffer.dev/paused-by";
    /// On a Snapshot: the BackupConfiguration whose session took it. Coffer's own.
    pub const CONFIGURATION: &str = "coffer.dev/backup-configuration";
    /// On a Job, its pods and what was made for it: the object that it works for, as `Kind/namespace/name`. Labels may be
    /// too short for a name. Coffer's own.
    pub const INVOKER: &str = "coffer.dev/invoker";
    /// Set to `true` when the data of an object that is being deleted is gone. Coffer's own.
    pub const WIPED: &str = "coffer.dev/wiped";
    /// On a Namespace: the namespaces whose objects may reach into it, separated by commas, or `*` for all; see
    /// [`crate::usage::is_open`]. Coffer's own.
    pub const ALLOWED_FROM: &str = "coffer.dev/allowed-from";
}

/// Value of [`label::MANAGED_BY`].
pub const MANAGED_BY: &str = "kubestash.com";

/// Values of [`label::COMPONENT`].
#[expect(missing_docs, reason = "the names say it")]
pub mod component {
    pub const BACKUP: &str = "kubestash-backup";
    pub const RESTORE: &str = "kubestash-restore";
    pub const INITIALIZER: &str = "kubestash-initializer";
    pub const UPLOADER: &str = "kubestash-uploader";
    pub const CLEANER: &str = "kubestash-cleaner";
    pub const RETENTION_POLICY: &str = "kubestash-retention-policy";
    pub const HOOK: &str = "kubestash-hook";
    pub const POPULATOR: &str = "kubestash-populator";
    pub const BACKUP_VERIFIER: &str = "kubestash-backup-verifier";
}

/// The ClusterRoles that Jobs are bound to: one that ends in `job` in the Job's own namespace, the others elsewhere.
#[expect(missing_docs, reason = "the names say it")]
pub mod cluster_role {
    pub const CRON_JOB: &str = "kubestash-cron-job";
    pub const BACKUP_JOB: &str = "kubestash-backup-job";
    pub const RESTORE_JOB: &str = "kubestash-restore-job";
    pub const RETENTION_POLICY_JOB: &str = "kubestash-retention-policy-job";
    pub const STORAGE_INITIALIZER_JOB: &str = "kubestash-storage-initializer-job";
    pub const BACKEND_JOB: &str = "kubestash-backend-job";
    pub const STORAGE_READER: &str = "kubestash-storage-reader";
    pub const TARGET_READER: &str = "kubestash-target-reader";
    pub const SOURCE_READER: &str = "kubestash-source-reader";
    pub const SECRET_READER: &str = "kubestash-secret-reader";
    pub const IMPORTER: &str = "kubestash-importer";
}

/// Field managers of server-side apply.
pub mod field_manager {
    /// The operator.
    pub const OPERATOR: &str = "coffer-operator";
    /// What runs in Jobs.
    pub const JOB: &str = "coffer-job";
}
