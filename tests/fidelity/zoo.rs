//! The zoo: servers that hold it, and servers that it goes to.

use std::sync::OnceLock;

use coffer_test_support::mysql::{Flavor, MysqlOptions, MysqlServer};

use crate::compare::Portrait;

/// A server that holds the zoo, and what it looks like.
pub struct Zoo {
    /// The server; tests read from it only.
    pub server: MysqlServer,
    /// Everything on it, accounts included.
    pub portrait: Portrait,
}

/// The zoo of this flavor, which the tests of this process share.
pub fn zoo(flavor: Flavor) -> &'static Zoo {
    static MYSQL: OnceLock<Zoo> = OnceLock::new();
    static MARIADB: OnceLock<Zoo> = OnceLock::new();
    let cell = if flavor == Flavor::MySql { &MYSQL } else { &MARIADB };
    cell.get_or_init(|| {
        let server = start(flavor, "+05:45", &[]);
        for (name, sql) in parts(flavor) {
            server.exec(sql).unwrap_or_else(|error| panic!("{name}: {error:?}"));
        }
        let portrait = Portrait::with_accounts(&server);
        assert!(portrait.len() > 1_000, "{} things are no zoo", portrait.len());
        Zoo { server, portrait }
    })
}

/// An empty server of this flavor, far from the zoo's time zone.
pub fn target(flavor: Flavor) -> MysqlServer {
    start(flavor, "-03:30", &[])
}

/// A server with these further options.
pub fn start(flavor: Flavor, zone: &str, extra: &[&str]) -> MysqlServer {
    let mut extra_args: Vec<String> = vec![
        "--local-infile=ON".into(),
        "--log-bin-trust-function-creators=ON".into(),
        format!("--default-time-zone={zone}"),
    ];
    extra_args.extend(extra.iter().map(|arg| (*arg).to_owned()));
    let server = MysqlServer::start(MysqlOptions { flavor, extra_args, ..MysqlOptions::default() }).unwrap();
    // Accounts are given privileges by somebody who has them.
    server.exec("GRANT PROXY ON ''@'' TO 'root'@'%' WITH GRANT OPTION").unwrap();
    server
}

macro_rules! sql {
    ($($name:literal),+) => { vec![$(($name, include_str!(concat!("zoo/", $name, ".sql")))),+] };
}

fn parts(flavor: Flavor) -> Vec<(&'static str, &'static str)> {
    match flavor {
        Flavor::MySql => sql!(
            "both/types",
            "both/tables",
            "both/partitions",
            "both/names",
            "both/code",
            "both/views",
            "both/broken",
            "mysql/types",
            "mysql/tables",
            "mysql/code",
            "mysql/accounts"
        ),
        Flavor::MariaDb => sql!(
            "both/types",
            "both/tables",
            "both/partitions",
            "both/names",
            "both/code",
            "both/views",
            "both/broken",
            "mariadb/types",
            "mariadb/tables",
            "mariadb/code",
            "mariadb/accounts"
        ),
    }
}
