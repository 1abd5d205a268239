//! Others write while a backup reads: nobody waits for its rows, and it does not see what they write.

use std::process::Child;

use coffer_test_support::data;
use coffer_test_support::fingerprint::{differences, fingerprint};
use coffer_test_support::mysql::{Flavor, MysqlOptions, MysqlServer};
use coffer_test_support::proxy::{Fault, Proxy};
use serde_json::Value;

use crate::site::{Site, text};
use crate::wait::until;

const PASSWORD: &str = "keeper-secret-1";
const READS: &str = "SELECT, SHOW VIEW, TRIGGER, EVENT, PROCESS, RELOAD";

/// Every table is written to, old rows and new ones. Who has to wait for a lock longer than a second, the shortest that servers know,
/// is told so by an error. New rows have numbers that leave the counters of the tables where they are: those are part of no view.
const WRITES: &str = "SET SESSION lock_wait_timeout = 1, innodb_lock_wait_timeout = 1, sql_mode = 'NO_AUTO_VALUE_ON_ZERO';
    UPDATE customers SET note = 'written meanwhile';
    INSERT INTO customers (id, name, email, created) VALUES (0, 'n', 'n@example.org', '2026-11-01 10:00:00');
    UPDATE products SET price = price + 1;
    UPDATE orders SET comment = 'written meanwhile';
    INSERT INTO orders (id, customer_id, status, total) VALUES (0, 1, 'new', 1);
    DELETE FROM order_items;
    DELETE FROM events WHERE id % 2 = 0;
    UPDATE events SET kind = 'meanwhile';
    INSERT INTO events (id, at, kind, address, payload, digest) VALUES (0, '2026-11-01 10:00:00.123', 'login', 'x', '{}', UNHEX(SHA2('n', 256)));";

/// A backup that stands still in the middle of the rows until the proxy lets it go on.
fn stopped_backup(site: &Site, proxy: &Proxy) -> Child {
    let child = site.spawn(&["backup"]);
    until("the proxy holds the rows back", || proxy.bytes_down() > 900 << 10);
    child
}

/// `login` may do `grants` everywhere. The backup begins its view by one of `methods`.
#[track_caller]
fn nobody_waits(server: &MysqlServer, login: &str, grants: &str, methods: &[&str]) {
    server
        .exec(&format!("CREATE USER {login}@'%' IDENTIFIED BY '{PASSWORD}'; GRANT {grants} ON *.* TO {login}@'%'"))
        .unwrap();
    data::sample(server, login, 6).unwrap();
    let before = fingerprint(server, login).unwrap();
    let proxy = Proxy::start(server.port(), Fault::StallAfter(1 << 20)).unwrap();
    let site = Site::local(server, login)
        .login(login, PASSWORD)
        .backup("workers", "3")
        .port(proxy.port())
        .query("ssl-mode=DISABLED");
    let child = stopped_backup(&site, &proxy);
    server.exec(&format!("USE {login}; {WRITES}")).unwrap();
    proxy.set(Fault::None);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", text(&output));

    let manifest: Value = serde_json::from_str(&site.ok(&["dump", "latest", "manifest.json"])).unwrap();
    let method = manifest["facts"]["view"].as_str().unwrap();
    assert!(methods.contains(&method), "by {method}, not by one of {methods:?}");
    assert_ne!(differences(&before, &fingerprint(server, login).unwrap()), Vec::<String>::new());
    let back = Site::new(server, login).directory_storage("main", &site.path("storage-main"));
    back.restore("existing", "drop").ok(&["restore"]);
    assert_eq!(differences(&before, &fingerprint(server, login).unwrap()), Vec::<String>::new());
}

/// A server of its own: on a shared one, others would have to wait for the short lock at the beginning, and it for them.
fn start(flavor: Flavor) -> MysqlServer {
    let extra_args = if flavor == Flavor::MySql { vec!["--local-infile=ON".to_owned()] } else { Vec::new() };
    MysqlServer::start(MysqlOptions { flavor, extra_args, ..MysqlOptions::default() }).unwrap()
}

#[test]
fn nobody_waits_for_the_rows_of_mysql() {
    let server = start(Flavor::MySql);
    nobody_waits(&server, "wr_free", &format!("{READS}, BACKUP_ADMIN, REPLICATION CLIENT"), &["lock-free"]);
    nobody_waits(&server, "wr_lock", READS, &["global-read-lock"]);
}

#[test]
fn nobody_waits_for_the_rows_of_mariadb() {
    let server = start(Flavor::MariaDb);
    nobody_waits(&server, "wr_free", &format!("{READS}, BINLOG MONITOR"), &["lock-free"]);
    nobody_waits(&server, "wr_lock", READS, &["global-read-lock"]);
}
