//! Servers that the tests of this process share; each test uses databases of its own. They end with the process.

use std::sync::OnceLock;

use coffer_test_support::mysql::{Flavor, MysqlOptions, MysqlServer};

/// MySQL with `local_infile` on, as a restore likes it.
pub fn mysql() -> &'static MysqlServer {
    static SERVER: OnceLock<MysqlServer> = OnceLock::new();
    SERVER.get_or_init(|| {
        let extra_args = vec!["--local-infile=ON".to_owned(), "--max-connections=500".to_owned()];
        MysqlServer::start(MysqlOptions { extra_args, ..MysqlOptions::default() }).unwrap()
    })
}

/// MariaDB.
pub fn mariadb() -> &'static MysqlServer {
    static SERVER: OnceLock<MysqlServer> = OnceLock::new();
    SERVER.get_or_init(|| {
        MysqlServer::start(MysqlOptions { flavor: Flavor::MariaDb, ..MysqlOptions::default() }).unwrap()
    })
}
