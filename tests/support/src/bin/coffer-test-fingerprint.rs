//! Prints the fingerprint of a database on the server that `coffer-test-server` runs: one `object<TAB>definition or hash` per line, sorted, for
//! scripts that compare two moments with `diff`.
#![allow(clippy::print_stdout, reason = "a program for scripts: its output is its interface")]

use std::{env, path::Path};

use anyhow::{Context as _, Result};
use coffer_test_support::{
    fingerprint::fingerprint,
    mysql::{Client, Flavor},
};

fn main() -> Result<()> {
    let database = env::args().nth(1).context("usage: COFFER_TEST_SOCKET=… coffer-test-fingerprint DATABASE")?;
    let socket = env::var_os("COFFER_TEST_SOCKET")
        .context("COFFER_TEST_SOCKET is not set: use what coffer-test-server printed")?;
    let mariadb = env::var("COFFER_TEST_CLIENT").is_ok_and(|client| client.ends_with("/mariadb"));
    let client = Client::over_socket(if mariadb { Flavor::MariaDb } else { Flavor::MySql }, Path::new(&socket))?;
    for (object, text) in fingerprint(&client, &database)? {
        println!("{object}\t{}", text.replace('\n', "\\n"));
    }
    Ok(())
}
