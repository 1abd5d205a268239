//! The life of a repository on every kind of storage, and several repositories at once.

use coffer_test_support::data;
use coffer_test_support::fingerprint::{differences, fingerprint};
use coffer_test_support::mysql::MysqlServer;
use coffer_test_support::proxy::{Fault, Proxy};
use coffer_test_support::restic::Restic;
use coffer_test_support::stores::{Azure, BUCKET, Gcs, S3};
use serde_json::Value;

use crate::servers::mysql;
use crate::site::{REPOSITORY_PASSWORD, SESSION, Site};

/// The JSON lines that a command prints.
#[track_caller]
fn objects(site: &Site, arguments: &[&str]) -> Vec<Value> {
    let printed = site.ok(&[arguments, &["--json"]].concat());
    printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Backs up and returns the ids of the new snapshots, one per repository.
#[track_caller]
fn backup(site: &Site) -> Vec<String> {
    let summary = objects(site, &["backup"]).pop().unwrap();
    assert_eq!(summary["message_type"], "summary", "{summary}");
    let repositories = summary["repositories"].as_array().unwrap();
    repositories.iter().map(|repository| repository["snapshot_id"].as_str().unwrap().to_owned()).collect()
}

#[track_caller]
fn snapshots(site: &Site) -> Vec<String> {
    let listed = objects(site, &["snapshots"]);
    listed.iter().map(|snapshot| snapshot["id"].as_str().unwrap().to_owned()).collect()
}

/// Everything that a user does with a repository over time.
#[track_caller]
fn lives(server: &MysqlServer, database: &str, site: &Site) {
    data::sample(server, database, 4).unwrap();
    let at_first = fingerprint(server, database).unwrap();
    let first = backup(site).remove(0);
    data::change_a_few_rows(server, database).unwrap();
    let later = fingerprint(server, database).unwrap();
    assert_ne!(at_first, later, "the changes must show, or the rest proves nothing");
    let second = backup(site).remove(0);
    assert_eq!(snapshots(site), [first.clone(), second.clone()]);

    let restore_is = |arguments: &[&str], expected| {
        server.exec(&format!("DROP DATABASE `{database}`")).unwrap();
        site.ok(&[&["restore"], arguments].concat());
        assert_eq!(differences(expected, &fingerprint(server, database).unwrap()), Vec::<String>::new());
    };
    restore_is(&[], &later);
    restore_is(&["--snapshot", &first], &at_first);

    site.ok(&["check", "--read-data"]);
    site.ok(&["forget", "--keep-last", "1", "--prune", "--dry-run"]);
    assert_eq!(snapshots(site).len(), 2, "--dry-run removes nothing");
    site.ok(&["forget", "--keep-last", "1", "--prune"]);
    assert_eq!(snapshots(site), [second]);
    site.ok(&["check", "--read-data"]);
    site.ok(&["prune", "--instant"]);
    site.ok(&["check", "--read-data"]);
    restore_is(&[], &later);
}

#[test]
fn a_local_directory() {
    let site = Site::local(mysql(), "st_local");
    lives(mysql(), "st_local", &site);
    site.restic("main").ok(&["check", "--read-data"]);
    site.old_restic("main").ok(&["check", "--read-data"]);
}

#[test]
fn s3() {
    let store = S3::start().unwrap();
    let site = Site::new(mysql(), "st_s3").s3_storage("objects", &store.endpoint(), BUCKET);
    lives(mysql(), "st_s3", &site);

    let place = store.restic_repository(&format!("some/prefix/shop/repository/v1/{SESSION}/dump"));
    let restic = Restic::new(place, REPOSITORY_PASSWORD)
        .unwrap()
        .env("AWS_ACCESS_KEY_ID", S3::ACCESS_KEY)
        .env("AWS_SECRET_ACCESS_KEY", S3::SECRET_KEY);
    restic.ok(&["check", "--read-data"]);
    let listed: Value = serde_json::from_slice(&restic.ok(&["snapshots", "--json"])).unwrap();
    assert_eq!(listed[0]["id"].as_str().map(str::to_owned).into_iter().collect::<Vec<_>>(), snapshots(&site));
    let manifest: Value = serde_json::from_slice(&restic.ok(&["dump", "latest", "/manifest.json"])).unwrap();
    assert!(manifest.is_object());
}

#[test]
fn azure() {
    let store = Azure::start().unwrap();
    let spec = format!(
        "provider: azure\n    azure: {{ storageAccount: {}, container: {BUCKET}, prefix: some/prefix, secretName: blobs-secret }}",
        Azure::ACCOUNT
    );
    let connection = format!("AccountName={};BlobEndpoint={};", Azure::ACCOUNT, store.endpoint());
    let site = Site::new(mysql(), "st_azure")
        .storage("blobs", spec, &[("AZURE_ACCOUNT_KEY", Azure::KEY)])
        .env("AZURE_STORAGE_CONNECTION_STRING", &connection);
    lives(mysql(), "st_azure", &site);
}

#[test]
fn gcs() {
    let store = Gcs::start().unwrap();
    let spec = format!("provider: gcs\n    gcs: {{ bucket: {BUCKET}, prefix: some/prefix/ }}");
    let site =
        Site::new(mysql(), "st_gcs").storage("bucket", spec, &[]).env("STORAGE_EMULATOR_HOST", &store.endpoint());
    lives(mysql(), "st_gcs", &site);
    // What the server keeps are plain files, so stock restic can read them from there.
    let place = store.folder().join("some/prefix/shop/repository/v1").join(SESSION).join("dump");
    let restic = Restic::new(place.display().to_string(), REPOSITORY_PASSWORD).unwrap();
    restic.ok(&["check", "--read-data"]);
}

/// Rows of the table `events` that the server has sent to anybody, by its own statistics.
fn rows_sent(server: &MysqlServer, database: &str) -> u64 {
    let sent = server.value(&format!(
        "SELECT COALESCE(SUM(SUM_ROWS_SENT), 0) FROM performance_schema.events_statements_summary_by_digest \
         WHERE DIGEST_TEXT LIKE '%FROM `{database}` . `events`%'"
    ));
    sent.unwrap().parse().unwrap()
}

#[test]
fn one_session_into_two_repositories_reads_the_database_once() {
    let (server, database) = (mysql(), "st_twice");
    data::sample(server, database, 8).unwrap();
    let before = fingerprint(server, database).unwrap();
    let rows: u64 = server.value(&format!("SELECT COUNT(*) FROM `{database}`.`events`")).unwrap().parse().unwrap();
    let store = S3::start().unwrap();
    // Without TLS the bytes of the same rows are the same bytes.
    let measured = |site: Site| {
        let proxy = Proxy::start(server.port(), Fault::None).unwrap();
        let site = site.port(proxy.port()).query("ssl-mode=DISABLED");
        let sent = rows_sent(server, database);
        let ids = backup(&site);
        (site, ids, rows_sent(server, database) - sent, proxy.bytes_down())
    };
    let (_, ids, rows_for_one, bytes_for_one) = measured(Site::local(server, database));
    assert_eq!(ids.len(), 1);
    let (site, ids, rows_for_two, bytes_for_two) =
        measured(Site::local(server, database).s3_storage("objects", &store.endpoint(), BUCKET));
    assert_eq!(ids.len(), 2);
    assert!((rows..rows + rows / 10).contains(&rows_for_one), "{rows_for_one} rows sent of a table of {rows}");
    assert_eq!(rows_for_two, rows_for_one, "rows sent for two repositories, and for one");
    assert!(
        bytes_for_two.abs_diff(bytes_for_one) < bytes_for_one / 100,
        "the server sent {bytes_for_two} bytes for two repositories, {bytes_for_one} for one"
    );

    let site = site.server(server);
    for repository in ["main-repo", "objects-repo"] {
        server.exec(&format!("DROP DATABASE `{database}`")).unwrap();
        site.ok(&["restore", "--repository", repository]);
        let after = fingerprint(server, database).unwrap();
        assert_eq!(differences(&before, &after), Vec::<String>::new(), "from {repository}");
    }
    site.ok(&["check", "--read-data"]);
}

#[test]
fn a_repository_that_cannot_be_written_does_not_take_the_other_down() {
    let (server, database) = (mysql(), "st_half");
    data::sample(server, database, 1).unwrap();
    let mut store = S3::start().unwrap();
    let site = Site::local(server, database).s3_storage("objects", &store.endpoint(), "no-such-bucket");
    let output = site.run(&["backup"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "done in part: {said}");
    assert!(said.contains("objects-repo") && said.contains("no-such-bucket"), "{said}");
    assert_eq!(site.snapshot_count("main"), 1);
    site.restic("main").ok(&["check", "--read-data"]);
    store.kill();
}
