//! The object stores over real servers on loopback. What is asserted is what the repository relies on.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use coffer_api::plan::StorageConfig;
use coffer_api::storage::{AzureSpec, GcsSpec, S3Spec, StorageBackendSpec};
use coffer_storage::metadata::BackendMeta;
use coffer_storage::{Environment, LocalRoot, Storage, StorageError, StorageErrorKind};
use coffer_test_support::stores::{Azure, BUCKET, Gcs, S3};
use opendal::ErrorKind;

fn config(spec: StorageBackendSpec, secret: &[(&str, &str)]) -> StorageConfig {
    StorageConfig { name: "storage".into(), namespace: "demo".into(), spec, secret: secret.iter().copied().collect() }
}

fn s3(server: &S3, bucket: &str) -> StorageConfig {
    let s3 = S3Spec {
        endpoint: Some(server.endpoint()),
        bucket: Some(bucket.into()),
        prefix: Some("/some//prefix/".into()),
        max_connections: Some(2),
        ..S3Spec::default()
    };
    let spec = StorageBackendSpec { provider: Some("s3".into()), s3: Some(s3), ..StorageBackendSpec::default() };
    config(spec, &[("AWS_ACCESS_KEY_ID", S3::ACCESS_KEY), ("AWS_SECRET_ACCESS_KEY", S3::SECRET_KEY)])
}

fn azure(container: &str, key: &str) -> StorageConfig {
    let azure = AzureSpec {
        storage_account: Some(Azure::ACCOUNT.into()),
        container: Some(container.into()),
        prefix: Some("some/prefix".into()),
        ..AzureSpec::default()
    };
    let spec =
        StorageBackendSpec { provider: Some("azure".into()), azure: Some(azure), ..StorageBackendSpec::default() };
    config(spec, &[("AZURE_ACCOUNT_KEY", key)])
}

fn azure_environment(server: &Azure) -> Environment {
    let connection = format!("AccountName={};BlobEndpoint={};", Azure::ACCOUNT, server.endpoint());
    Environment { azure_connection_string: Some(connection.into()), ..Environment::default() }
}

fn gcs(bucket: &str) -> StorageConfig {
    let gcs = GcsSpec { bucket: Some(bucket.into()), prefix: Some("some/prefix/".into()), ..GcsSpec::default() };
    let spec = StorageBackendSpec { provider: Some("gcs".into()), gcs: Some(gcs), ..StorageBackendSpec::default() };
    config(spec, &[])
}

fn gcs_environment(server: &Gcs) -> Environment {
    Environment { storage_emulator_host: Some(server.endpoint()), ..Environment::default() }
}

fn open(config: &StorageConfig, environment: &Environment) -> Storage {
    Storage::open_in(config, LocalRoot::MountPath, environment).unwrap()
}

/// One behaviour for every store.
fn behaves(storage: &Storage) {
    let repository = storage.subdirectory("/demo/repository/v1/daily/dump");
    let operator = repository.operator();
    // Larger than one part of a multipart upload, and no run of equal bytes.
    let pack: Vec<u8> = (0..12_u32 << 20).map(|number| number.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    Storage::runtime().block_on(async {
        assert!(!operator.exists("config").await.unwrap());
        assert_eq!(operator.read("config").await.unwrap_err().kind(), ErrorKind::NotFound);
        assert!(operator.list("keys/").await.unwrap().is_empty(), "a directory that is not there is empty");
        operator.write("config", "sealed").await.unwrap();
        operator.write("data/00/pack", pack.clone()).await.unwrap();
        operator.write("data/01/pack", "x").await.unwrap();
        assert_eq!(operator.read("config").await.unwrap().to_vec(), b"sealed");
        let tail = operator.read_with("data/00/pack").range(100..4_000_100).await.unwrap().to_vec();
        assert!(tail == pack[100..4_000_100], "a range of a pack differs from what was written");
        assert_eq!(operator.stat("data/00/pack").await.unwrap().content_length(), pack.len() as u64);
        let mut listed: Vec<_> = operator
            .list_with("data/")
            .recursive(true)
            .await
            .unwrap()
            .into_iter()
            .filter(|entry| entry.metadata().is_file())
            .map(|entry| (entry.path().to_owned(), entry.metadata().content_length()))
            .collect();
        listed.sort();
        assert_eq!(listed, [("data/00/pack".to_owned(), pack.len() as u64), ("data/01/pack".to_owned(), 1)]);
        operator.delete("data/01/pack").await.unwrap();
        operator.delete("data/01/pack").await.unwrap();
        assert!(!operator.exists("data/01/pack").await.unwrap());
        // One by one, as the repository does it: Google's emulator does not know OpenDAL's batches.
        for path in ["config", "data/00/pack"] {
            operator.delete(path).await.unwrap();
        }
        assert!(storage.operator().list("demo/").await.unwrap().iter().all(|entry| entry.metadata().is_dir()));
        assert!(!operator.exists("config").await.unwrap());
    });
    let index = BackendMeta::new("2026-01-02T03:04:05Z".parse().unwrap(), "test");
    assert_eq!(storage.read_index().unwrap(), None);
    storage.write_index(&index).unwrap();
    assert_eq!(storage.read_index().unwrap(), Some(index));
}

fn read_error(storage: &Storage) -> StorageError {
    let error = Storage::runtime().block_on(storage.operator().read("config")).unwrap_err();
    storage.error("read config", &error)
}

#[test]
fn s3_behaves() {
    let server = S3::start().unwrap();
    let storage = open(&s3(&server, BUCKET), &Environment::default());
    assert_eq!(storage.location(), format!("s3:{}/{BUCKET}/some/prefix", server.endpoint()));
    behaves(&storage);
}

#[test]
fn azure_behaves() {
    let server = Azure::start().unwrap();
    behaves(&open(&azure(BUCKET, Azure::KEY), &azure_environment(&server)));
}

#[test]
fn gcs_behaves() {
    let server = Gcs::start().unwrap();
    behaves(&open(&gcs(BUCKET), &gcs_environment(&server)));
}

#[test]
fn a_missing_bucket_is_named_as_one() {
    let server = S3::start().unwrap();
    let error = read_error(&open(&s3(&server, "no-such-bucket"), &Environment::default()));
    assert_eq!(error.kind(), StorageErrorKind::NoBucket, "{error}");
    assert!(error.to_string().contains("create it, or correct its name"), "{error}");
    let server = Azure::start().unwrap();
    let error = read_error(&open(&azure("no-such-container", Azure::KEY), &azure_environment(&server)));
    assert_eq!(error.kind(), StorageErrorKind::NoBucket, "{error}");
}

#[test]
fn a_wrong_key_is_denied_and_not_shown() {
    let server = Azure::start().unwrap();
    let error = read_error(&open(&azure(BUCKET, "aHVudGVyMg=="), &azure_environment(&server)));
    assert_eq!(error.kind(), StorageErrorKind::Denied, "{error}");
    assert!(!error.to_string().contains("aHVudGVyMg"), "{error}");
}
