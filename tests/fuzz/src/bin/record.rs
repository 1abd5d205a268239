//! Takes what real servers say, and what stock programs dump, as inputs of the fuzzers: `fuzz-record FOLDER`.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a tool of the tests: what cannot be done ends it at once"
)]

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use coffer_addon_sdk::Result;
use coffer_addon_sdk::backend::{Source, Stream};
use coffer_addon_sdk::native::IoStream;
use coffer_test_support::mysql::{Flavor, MysqlOptions, MysqlServer, PASSWORD};

const SETUP: &str = "
CREATE DATABASE zoo; USE zoo;
CREATE TABLE t (id INT PRIMARY KEY, d DOUBLE, n DECIMAL(10,2), v VARCHAR(20), b VARBINARY(20), x BLOB, j JSON, bi BIT(8), dt DATETIME);
INSERT INTO t VALUES (1, -0e0, 1.50, 'tab\\there', X'00FF5C27', NULL, '[1]', b'1010', '2026-01-02 03:04:05'),
  (2, 0.1, NULL, '', '', REPEAT('y', 300), NULL, NULL, NULL);
CREATE TABLE l (a INT PRIMARY KEY, b VARCHAR(10));
CREATE VIEW v AS SELECT id FROM t;
CREATE TRIGGER g BEFORE INSERT ON l FOR EACH ROW SET @a = 1;
CREATE PROCEDURE p() SELECT 1;
CREATE EVENT e ON SCHEDULE EVERY 1 DAY DISABLE DO SELECT 1;
";

/// What to do, as the fuzzer of the protocol reads it, and what must be done on the server before.
const HEADS: [(&[u8], &str); 9] = [
    // Commands one by one.
    (&[0, 3, 9, 0, 1, 2, 3, 4, 5, 6, 6, 7], ""),
    (&[128 | 64, 0, 4, 5, 4, 3, 7], ""),
    // Backups of either format.
    (&[16, 5, 0], ""),
    (&[16 | 32, 7, 0], ""),
    // Restores: over what is there, instead of it, without files, into nothing.
    (&[24, 11, 0], ""),
    (&[24 | 32, 13, 0], ""),
    (&[24 | 32, 19, 0], "SET GLOBAL local_infile = OFF"),
    (&[24, 23, 0], "DROP DATABASE zoo"),
    // Without a password.
    (&[4, 17, 1, 0], ""),
];

fn main() {
    let folder = PathBuf::from(std::env::args_os().nth(1).unwrap());
    let (protocol, statements) = (folder.join("protocol"), folder.join("statements"));
    fs::create_dir_all(&protocol).unwrap();
    fs::create_dir_all(&statements).unwrap();
    for (flavor, logins) in
        [(Flavor::MySql, &["WITH caching_sha2_password", "WITH sha256_password"][..]), (Flavor::MariaDb, &[""])]
    {
        let server = MysqlServer::start(MysqlOptions { flavor, ..MysqlOptions::default() }).unwrap();
        for (number, plugin) in logins.iter().enumerate() {
            server.exec(&format!("DROP DATABASE IF EXISTS zoo; SET GLOBAL local_infile = ON; {SETUP}")).unwrap();
            let dump = server.dump().unwrap().args(["--routines", "--events", "--databases", "zoo"]).output().unwrap();
            fs::write(statements.join(format!("{flavor:?}-{number}").to_lowercase()), dump.stdout).unwrap();
            server
                .exec(&format!(
                    "DROP USER IF EXISTS backup@'%'; CREATE USER backup@'%' IDENTIFIED {plugin} BY '{PASSWORD}'; GRANT ALL ON *.* TO \
                     backup@'%'"
                ))
                .unwrap();
            for (head_number, (head, before)) in HEADS.iter().enumerate() {
                server.exec(before).unwrap();
                let heard = record(&server, head);
                let name = format!("{flavor:?}-{number}-{head_number}").to_lowercase();
                fs::write(protocol.join(name), heard).unwrap();
            }
        }
    }
}

fn record(server: &MysqlServer, head: &[u8]) -> Vec<u8> {
    let heard = Arc::new(Mutex::new(head.to_vec()));
    let (address, shared) = ((server.host(), server.port()), Arc::clone(&heard));
    let log = coffer_addon_mysql::fuzz::record(head, move || {
        Ok(Box::new(Tee { stream: IoStream::connect(address)?, heard: Arc::clone(&shared) }))
    });
    let heard = heard.lock().unwrap().clone();
    let why = log.iter().find_map(|step| step.as_ref().err());
    println!("{head:?}: {} bytes in {} steps, {why:?}", heard.len(), log.len());
    heard
}

/// A connection of which all that comes in is kept.
struct Tee {
    stream: IoStream<std::net::TcpStream>,
    heard: Arc<Mutex<Vec<u8>>>,
}

impl Source for Tee {
    fn read(&mut self, max: usize, into: &mut Vec<u8>) -> Result<usize> {
        let count = self.stream.read(max, into)?;
        self.heard.lock().unwrap().extend(into.iter().skip(into.len() - count));
        Ok(count)
    }
}

impl Stream for Tee {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write(bytes)
    }
    fn start_tls(&mut self) -> Result<()> {
        self.stream.start_tls()
    }
}
