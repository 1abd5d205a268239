//! How the names of objects are made from each other, and where a snapshot component lives.

/// The longest name that fits a label value.
pub const MAX_LABEL: usize = 63;
/// The longest name of a CronJob.
pub const MAX_CRON_JOB: usize = 52;
/// Version of the layout below a Repository's directory.
pub const LAYOUT_VERSION: &str = "v1";

/// Joins the non-empty parts with `-` into a name of at most [`MAX_LABEL`] bytes.
pub fn valid(parts: &[&str]) -> String {
    valid_within(parts, MAX_LABEL)
}

/// Joins the non-empty parts with `-`. What is longer than `limit` keeps its begin and its end, the begin one byte
/// longer if they cannot be equal, and loses dashes at the borders.
pub fn valid_within(parts: &[&str], limit: usize) -> String {
    let name = parts.iter().copied().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-");
    if name.len() <= limit {
        return name.trim_matches('-').to_owned();
    }
    let tail = limit / 2;
    let head = limit - tail;
    let begin = name.get(..floor(&name, head)).unwrap_or_default();
    let end = name.get(ceil(&name, name.len() - tail)..).unwrap_or_default();
    format!("{begin}{end}").trim_matches('-').to_owned()
}

/// Name of a BackupSession that starts at `unix_seconds`.
pub fn backup_session(configuration: &str, session: &str, unix_seconds: i64) -> String {
    valid(&[configuration, session, &unix_seconds.to_string()])
}

/// Name of the Snapshot that a BackupSession makes in a Repository.
pub fn snapshot(repository: &str, backup_session: &str) -> String {
    match backup_session.rsplit_once('-') {
        Some((stem, number)) if !number.is_empty() && number.bytes().all(|c| c.is_ascii_digit()) => {
            valid(&[repository, stem, number])
        }
        _ => valid(&[repository, backup_session]),
    }
}

/// Name of the CronJob that triggers a session.
pub fn trigger(configuration: &str, session: &str) -> String {
    valid_within(&["trigger", configuration, session], MAX_CRON_JOB)
}

/// Name of the Job that makes a BackupSession's backup, and of its ServiceAccount.
pub fn backup_job(backup_session: &str) -> String {
    valid(&[backup_session])
}

/// Name of the Job that does a RestoreSession's restore, and of its ServiceAccount.
pub fn restore_job(restore_session: &str) -> String {
    valid(&[restore_session])
}

/// Name of the Job that removes old Snapshots after a BackupSession.
pub fn retention_policy_job(backup_session: &str) -> String {
    valid(&["retention-policy", backup_session])
}

/// Name of the Job that initialises a BackupStorage.
pub fn initialize_storage_job(storage: &str) -> String {
    valid(&["init", storage])
}

/// Name of the Job that initialises a Repository. It cannot be that of a BackupStorage of the same name.
pub fn initialize_repository_job(repository: &str) -> String {
    valid(&["init-repository", repository])
}

/// Name of the Job that removes the data of a BackupStorage.
pub fn cleanup_storage_job(storage: &str) -> String {
    valid(&["cleanup", storage])
}

/// Name of the Job that removes the data of a Repository.
pub fn cleanup_repository_job(repository: &str) -> String {
    valid(&["cleanup-repository", repository])
}

/// Name of the Job that removes the data of a Snapshot.
pub fn cleanup_snapshot_job(snapshot: &str) -> String {
    valid(&["cleanup-snapshot", snapshot])
}

/// Name of the BackupConfiguration that a blueprint makes for an application.
pub fn blueprint_configuration(kind: &str, name: &str) -> String {
    valid(&[&kind.to_lowercase(), name])
}

/// Name of the CronJob that triggers the verification of a Repository's Snapshots.
pub fn verifier_trigger(repository: &str, session: &str) -> String {
    valid_within(&["trigger-verifier", repository, session], MAX_CRON_JOB)
}

/// Name of a BackupVerificationSession that starts at `unix_seconds`.
pub fn verification_session(repository: &str, session: &str, unix_seconds: i64) -> String {
    valid(&[repository, session, &unix_seconds.to_string()])
}

/// Path of a component's restic repository below its Repository's directory.
pub fn component_path(session: &str, component: &str) -> String {
    format!("repository/{LAYOUT_VERSION}/{session}/{component}")
}

/// Joins parts of an object path: one slash between them, none around, no empty parts.
pub fn join_path(parts: &[&str]) -> String {
    parts.iter().flat_map(|part| part.split('/')).filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/")
}

fn floor(text: &str, mut index: usize) -> usize {
    while !text.is_char_boundary(index) {
        index -= 1;
    }
    index
}

fn ceil(text: &str, mut index: usize) -> usize {
    while !text.is_char_boundary(index) {
        index += 1;
    }
    index
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_snapshots_are_kubestashs() {
        assert_eq!(
            snapshot("gcs-mysql-repo", "sample-mysql-backup-frequent-backup-1724065200"),
            "gcs-mysql-repo-sample-mysql-backup-frequent-backup-1724065200"
        );
        assert_eq!(
            snapshot("gcs-mariadb-repo", "sample-mariadb-backup-frequent-backup-1738680444"),
            "gcs-mariadb-repo-sample-mariadb-ckup-frequent-backup-1738680444"
        );
        assert_eq!(snapshot("repo", "by-hand"), "repo-by-hand");
    }

    #[test]
    fn names_skip_empty_parts_and_lose_dashes_at_the_borders() {
        assert_eq!(valid(&["a", "", "b"]), "a-b");
        assert_eq!(valid(&["", ""]), "");
        assert_eq!(valid(&["-a", "b-"]), "a-b");
        assert_eq!(backup_session("bc", "daily", 1_724_065_200), "bc-daily-1724065200");
    }

    #[test]
    fn names_of_cron_jobs_fit() {
        assert_eq!(trigger("bc", "daily"), "trigger-bc-daily");
        assert_eq!(trigger(&"b".repeat(40), &"s".repeat(40)).len(), MAX_CRON_JOB);
    }

    #[test]
    fn names_of_jobs_say_what_they_do_and_fit() {
        let session = "sample-mysql-backup-frequent-backup-1724065200";
        assert_eq!(backup_job(session), session);
        assert_eq!(restore_job("restore"), "restore");
        assert_eq!(retention_policy_job(session), "retention-policy-sample-mysql-backup-frequent-backup-1724065200");
        assert_eq!(initialize_storage_job("same"), "init-same");
        assert_eq!(initialize_repository_job("same"), "init-repository-same");
        assert_eq!(cleanup_storage_job("same"), "cleanup-same");
        assert_eq!(cleanup_repository_job("same"), "cleanup-repository-same");
        assert_eq!(cleanup_snapshot_job("same"), "cleanup-snapshot-same");
        assert_eq!(blueprint_configuration("AppBinding", "sample-mysql"), "appbinding-sample-mysql");
        assert_eq!(verifier_trigger("repo", "daily"), "trigger-verifier-repo-daily");
        assert_eq!(verifier_trigger(&"r".repeat(40), &"s".repeat(40)).len(), MAX_CRON_JOB);
        assert_eq!(verification_session("repo", "daily", 7), "repo-daily-7");
    }

    #[test]
    fn names_that_are_cut_keep_32_and_31_bytes() {
        let name = format!("{}{}", "a".repeat(40), "b".repeat(40));
        assert_eq!(valid(&[&name]), format!("{}{}", "a".repeat(32), "b".repeat(31)));
        assert_eq!(valid(&["x".repeat(63).as_str()]), "x".repeat(63));
        // A dash where the halves meet stays; one at the border goes.
        assert_eq!(valid(&[&format!("{}-{}", "a".repeat(62), "b")]), format!("{}-b", "a".repeat(61)));
        assert_eq!(valid(&[&format!("-{}", "a".repeat(63))]).len(), 62);
    }

    #[test]
    fn paths_have_single_slashes() {
        assert_eq!(
            join_path(&["/mysql//", "", &component_path("frequent-backup", "dump")]),
            "mysql/repository/v1/frequent-backup/dump"
        );
    }

    proptest::proptest! {
        #[test]
        fn names_never_exceed_the_limit(parts: Vec<String>, limit in 1_usize..100) {
            let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
            let name = valid_within(&parts, limit);
            proptest::prop_assert!(name.len() <= limit, "{name}");
            proptest::prop_assert!(!name.starts_with('-') && !name.ends_with('-'), "{name}");
        }
    }
}
