//! The `coffer` command: back up and restore databases from the manifests of a cluster, without the cluster.

mod args;
mod catalog;
mod cluster;
mod command;
mod context;
mod exit;
mod kubectl;
mod logging;
mod memory;
mod output;
mod progress;
mod signals;

use std::process::ExitCode;

use clap::Parser as _;

use args::Cli;
use context::App;

fn main() -> ExitCode {
    memory::keep_little();
    let words: Vec<_> = std::env::args_os().collect();
    if let Some(words) = kubectl::words(&words) {
        return kubectl::main(words);
    }
    let Cli { command, global } = Cli::parse_from(&words);
    logging::start(&global, command.is_service());
    let app = App::new(global);
    let output = app.output;
    match command::run(command, &app) {
        Ok(_) if output::is_incomplete() => ExitCode::from(exit::FAILED),
        Ok(end) => end.code(),
        Err(failure) => {
            let (code, kind) =
                if signals::caught() { (exit::INTERRUPTED, "interrupted") } else { (failure.code(), failure.kind()) };
            output.failure(code, kind, failure.is_retryable(), &failure.to_string());
            ExitCode::from(code)
        }
    }
}
