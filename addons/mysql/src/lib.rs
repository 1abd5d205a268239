//! MySQL and MariaDB, speaking the wire protocol inside the sandbox.
//!
//! `layout` says what a snapshot looks like. `wire` and what is below it speak to the server; `backup` and `restore` are the two
//! directions, each on top of its own modules.

mod accounts;
mod backup;
mod catalog;
mod chunks;
mod ddl;
mod ddl_lock;
mod definition;
mod digest;
mod failure;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzz;
mod handshake;
mod inserts;
mod layout;
mod load;
mod packets;
mod params;
mod plan;
mod privileges;
mod progress;
mod public_key;
mod refusal;
mod repair;
mod replica;
mod restore;
mod rewrite;
mod rows;
mod script;
mod session;
mod settings;
mod splitter;
mod sql;
mod survey;
mod view;
mod views;
mod wire;

use coffer_addon_sdk::{Addon, Description, Direction, Task};

pub use backup::MySqlBackup;
pub use restore::MySqlRestore;

/// The addon.
#[derive(Debug)]
pub struct MySql;

impl Addon for MySql {
    type Backup = MySqlBackup;
    type Restore = MySqlRestore;

    fn describe() -> Description {
        Description {
            name: "mysql".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            help: "MySQL 5.7 to 9.x and MariaDB 10.4 and later, backed up and restored as DDL and rows of text."
                .to_owned(),
            addons: vec!["mysql-addon".to_owned(), "mariadb-addon".to_owned()],
            tasks: vec![
                Task {
                    name: "logical-backup".to_owned(),
                    help: "Backs up databases from one consistent view, over several connections.".to_owned(),
                    direction: Direction::Backup,
                    function: "mysql-backup".to_owned(),
                    component: "dump".to_owned(),
                    parameters: params::backup_parameters(),
                },
                Task {
                    name: "logical-backup-restore".to_owned(),
                    help: "Restores databases from a backup of either format, or from any dump that mysqldump wrote."
                        .to_owned(),
                    direction: Direction::Restore,
                    function: "mysql-restore".to_owned(),
                    component: "dump".to_owned(),
                    parameters: params::restore_parameters(),
                },
            ],
        }
    }
}

coffer_addon_sdk::export_addon!(MySql);
