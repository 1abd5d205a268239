//! Who there is and what they may do.

use coffer_test_support::mysql::{Client, Flavor};

use super::ask::{Questions, ask};
use super::{Portrait, identifier};

/// The accounts that every server of the tests has.
const OWN: &str = "('root', 'mysql.sys', 'mysql.session', 'mysql.infoschema', 'mariadb.sys')";

/// Says everything of all other accounts.
pub fn describe(server: &Client, portrait: &mut Portrait) {
    let flavor = server.flavor();
    let role = if flavor == Flavor::MySql { "'N'" } else { "is_role" };
    let accounts = ask(server, flavor, &format!("SELECT User, Host, {role} FROM mysql.user WHERE User NOT IN {OWN}"));
    let mut questions = Questions::new(flavor);
    for account in &accounts {
        let [user, host, role] = account.as_slice() else { panic!("three cells: {account:?}") };
        let name = if role == "Y" { identifier(user) } else { format!("{}@{}", identifier(user), identifier(host)) };
        if role != "Y" {
            questions.ask(format!("USER {name}"), &format!("SHOW CREATE USER {name}"));
        }
        questions.ask(format!("PRIVILEGES OF {name}"), &format!("SHOW GRANTS FOR {name}"));
    }
    let tables: &[(&str, &str)] = match flavor {
        Flavor::MySql => &[
            ("role_edges", "TO_USER, TO_HOST, FROM_USER, FROM_HOST, WITH_ADMIN_OPTION"),
            ("default_roles", "USER, HOST, DEFAULT_ROLE_USER, DEFAULT_ROLE_HOST"),
        ],
        Flavor::MariaDb => &[("roles_mapping", "User, Host, Role, Admin_option")],
    };
    let both: &[(&str, &str)] = &[
        ("db", "*"),
        ("tables_priv", "User, Host, Db, Table_name, Table_priv, Column_priv"),
        ("columns_priv", "User, Host, Db, Table_name, Column_name, Column_priv"),
        ("procs_priv", "User, Host, Db, Routine_name, Routine_type, Proc_priv"),
        ("proxies_priv", "User, Host, Proxied_user, Proxied_host, With_grant"),
    ];
    for (table, columns) in tables.iter().chain(both) {
        let user = columns.split(',').next().filter(|first| *first != "*").unwrap_or("User");
        questions
            .ask(format!("mysql.{table}"), &format!("SELECT {columns} FROM mysql.{table} WHERE {user} NOT IN {OWN}"));
    }
    for (object, rows) in questions.answers(server) {
        let mut lines: Vec<String> = rows.iter().map(|row| row.join(" ")).collect();
        lines.sort_unstable();
        portrait.say(object, lines);
    }
}
