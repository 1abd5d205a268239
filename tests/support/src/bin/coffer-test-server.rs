//! A throw-away server in the foreground, for scripts: prints how to reach it as `NAME=value` lines and runs until its standard input ends or
//! it is told to stop.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for scripts: its output is its interface")]

use std::io::{Read as _, Write as _};

use anyhow::{Context as _, Result, bail};
use coffer_test_support::{
    data,
    mysql::{Flavor, MysqlOptions, MysqlServer, PASSWORD},
};

const HELP: &str =
    "usage: coffer-test-server [--mariadb] [--durable] [--sample DATABASE:MEGABYTES] [-- SERVER-OPTION...]";

fn main() -> Result<()> {
    let mut options = MysqlOptions::default();
    let mut sample = None;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--mariadb" => options.flavor = Flavor::MariaDb,
            "--durable" => options.durable = true,
            "--sample" => {
                let value = arguments.next().context(HELP)?;
                let (database, megabytes) = value.split_once(':').context(HELP)?;
                sample = Some((database.to_owned(), megabytes.parse::<u64>().context(HELP)?));
            }
            "--" => options.extra_args = arguments.by_ref().collect(),
            "--help" => {
                println!("{HELP}");
                return Ok(());
            }
            other => bail!("unknown argument {other}\n{HELP}"),
        }
    }
    let server = MysqlServer::start(options)?;
    if let Some((database, megabytes)) = sample {
        data::sample(&server, &database, megabytes)?;
    }
    let mut output = std::io::stdout().lock();
    writeln!(output, "COFFER_TEST_HOST={}", server.host())?;
    writeln!(output, "COFFER_TEST_PORT={}", server.port())?;
    writeln!(output, "COFFER_TEST_SOCKET={}", server.socket().display())?;
    writeln!(output, "COFFER_TEST_USER=root")?;
    writeln!(output, "COFFER_TEST_PASSWORD={PASSWORD}")?;
    writeln!(output, "COFFER_TEST_CLIENT={}", server.flavor().client()?.display())?;
    writeln!(output, "COFFER_TEST_READY=1")?;
    output.flush()?;
    drop(output);
    // A signal ends this process, and the kernel then kills the server; the next user of the library removes its folder.
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
