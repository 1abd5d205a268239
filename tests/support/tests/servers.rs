//! Every server and fixture for real, once.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "helpers of tests: a failure fails the test"
)]

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    thread,
    time::Instant,
};

use coffer_test_support::{
    data,
    disk::SmallDisk,
    fingerprint::{differences, fingerprint},
    mysql::{Flavor, MysqlOptions, MysqlServer},
    proxy::{Fault, Proxy},
    restic::Restic,
    scratch,
    stores::{Azure, Gcs, S3},
};

fn start(flavor: Flavor) -> MysqlServer {
    let before = Instant::now();
    let server = MysqlServer::start(MysqlOptions { flavor, ..MysqlOptions::default() }).unwrap();
    eprintln!("{flavor:?} started in {:?}", before.elapsed());
    server
}

/// Two servers with the same sample are equal, and a small change shows where it is.
fn samples_are_equal(flavor: Flavor) {
    let (left, right) = (start(flavor), start(flavor));
    assert_ne!(left.port(), right.port());
    let prints: Vec<BTreeMap<String, String>> = [&left, &right]
        .map(|server| {
            data::sample(server, "shop", 2).unwrap();
            fingerprint(server, "shop").unwrap()
        })
        .into();
    assert_eq!(differences(&prints[0], &prints[1]), Vec::<String>::new());
    for kind in [
        "DATABASE",
        "TABLE events",
        "ROWS order_items",
        "VIEW order_totals",
        "TRIGGER orders_changed",
        "FUNCTION gross",
        "PROCEDURE forget_customer",
        "EVENT purge_events",
    ] {
        assert!(prints[0].get(kind).is_some_and(|text| !text.is_empty()), "no {kind} in {:?}", prints[0].keys());
    }
    right.exec("UPDATE shop.customers SET credit = credit + 0.01 WHERE id = 9").unwrap();
    let changed = differences(&prints[0], &fingerprint(&right, "shop").unwrap());
    assert_eq!(changed.len(), 1, "{changed:?}");
    assert!(changed[0].starts_with("ROWS customers"));
    data::change_a_few_rows(&right, "shop").unwrap();
    // Rows of all five tables, and the next number of the one that got a row.
    let changed = differences(&prints[0], &fingerprint(&right, "shop").unwrap());
    assert_eq!(changed.len(), 6, "{changed:?}");
}

#[test]
fn mysql_samples_are_equal() {
    samples_are_equal(Flavor::MySql);
}

#[test]
fn mariadb_samples_are_equal() {
    samples_are_equal(Flavor::MariaDb);
}

#[test]
fn mysql_speaks_tls_restarts_and_returns_values_as_they_are() {
    let mut server = start(Flavor::MySql);
    assert!(server.value("SELECT VERSION()").unwrap().starts_with("9."));
    assert!(server.ca_pem().unwrap().starts_with(b"-----BEGIN CERTIFICATE-----"));
    let mut client = server.client().unwrap();
    let status = client.args([
        "--protocol=tcp",
        "--host=127.0.0.1",
        &format!("--port={}", server.port()),
        "--ssl-mode=VERIFY_CA",
    ]);
    let status = status
        .arg(format!("--ssl-ca={}", server.data_directory().join("ca.pem").display()))
        .args(["-NBe", "SHOW STATUS LIKE 'Ssl_cipher'"]);
    let output = status.output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("TLS"), "{output:?}");
    assert_eq!(server.query("SELECT 'a\\tb\\nc\\\\', NULL, '✓'").unwrap(), [["a\tb\nc\\", "NULL", "✓"]]);
    assert!(server.exec("SELECT nothing").unwrap_err().to_string().contains("nothing"));
    server.exec("CREATE DATABASE kept").unwrap();
    server.kill();
    server.restart().unwrap();
    assert_eq!(server.value("SHOW DATABASES LIKE 'kept'").unwrap(), "kept");
}

#[test]
fn a_dropped_server_is_gone_with_its_data() {
    let server = start(Flavor::MySql);
    let (id, data) = (server.process_id(), server.data_directory());
    drop(server);
    assert!(!Path::new(&format!("/proc/{id}")).exists());
    assert!(!data.exists());
}

#[test]
fn restic_old_and_new_on_disk_and_s3() {
    let folder = scratch::folder().unwrap();
    let s3 = S3::start().unwrap();
    for (index, location) in
        [folder.path().join("repository").display().to_string(), s3.restic_repository("one")].into_iter().enumerate()
    {
        let with_keys = |restic: Restic| {
            restic.env("AWS_ACCESS_KEY_ID", S3::ACCESS_KEY).env("AWS_SECRET_ACCESS_KEY", S3::SECRET_KEY)
        };
        let (old, new) = (
            with_keys(Restic::old(&location, "secret").unwrap()),
            with_keys(Restic::new(&location, "secret").unwrap()),
        );
        new.ok(&["init"]);
        let output = old.backup_stdin("file.txt", "host-0", &b"content"[..]).unwrap();
        assert!(output.status.success(), "repository {index}: {output:?}");
        new.ok(&["check", "--read-data"]);
        assert_eq!(new.ok(&["dump", "latest", "file.txt"]), b"content");
        assert!(!Restic::new(&location, "wrong").unwrap().run(&["snapshots"]).unwrap().status.success());
    }
}

#[test]
fn azure_and_gcs_start_with_their_bucket() {
    let before = Instant::now();
    let azure = Azure::start().unwrap();
    eprintln!("azurite started in {:?}", before.elapsed());
    assert!(azure.endpoint().ends_with(Azure::ACCOUNT));
    let before = Instant::now();
    let gcs = Gcs::start().unwrap();
    eprintln!("fake-gcs-server started in {:?}", before.elapsed());
    assert!(gcs.folder().exists(), "{}", gcs.folder().display());
}

/// A server that sends 1,000,000 bytes to whoever connects.
fn talker() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.write_all(&vec![7; 1_000_000]);
        }
    });
    port
}

fn received(port: u16) -> usize {
    let mut bytes = Vec::new();
    let _ = TcpStream::connect(("127.0.0.1", port)).unwrap().read_to_end(&mut bytes);
    bytes.len()
}

#[test]
fn proxy_passes_cuts_and_stalls() {
    let server = talker();
    let proxy = Proxy::start(server, Fault::None).unwrap();
    assert_eq!(received(proxy.port()), 1_000_000);
    assert_eq!(proxy.bytes_down(), 1_000_000);

    let proxy = Proxy::start(server, Fault::CutAfter(300_000)).unwrap();
    assert!(received(proxy.port()) <= 300_000);
    proxy.set(Fault::None);
    assert_eq!(received(proxy.port()), 1_000_000);

    let proxy = Proxy::start(server, Fault::StallAfter(100_000)).unwrap();
    let port = proxy.port();
    let reader = thread::spawn(move || received(port));
    while proxy.bytes_down() < 80_000 {
        thread::yield_now();
    }
    assert!(!reader.is_finished());
    proxy.set(Fault::None);
    assert_eq!(reader.join().unwrap(), 1_000_000);
}

#[test]
fn a_small_disk_fills_up() {
    let Some(disk) = SmallDisk::mount(1 << 20).unwrap() else { return };
    let error = std::fs::write(disk.path().join("big"), vec![1; 2 << 20]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    assert!(disk.used().unwrap() <= 1 << 20);
    let path = disk.path();
    drop(disk);
    assert!(!path.exists());
}
