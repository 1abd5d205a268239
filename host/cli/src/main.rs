//! The `coffer` command: back up and restore databases from the manifests of a cluster, without the cluster.

mod args;
mod catalog;
mod cluster;
mod command;
mod context;
mod exit;
mod logging;
mod memory;
mod output;
mod progress;
mod signals;

use std::process::ExitCode;

use clap::Parser as _;
use coffer_api::cancel::Cancel;

use args::Cli;
use context::App;
use output::Output;

fn main() -> ExitCode {
    memory::keep_little();
    let Cli { command, global } = Cli::parse();
    logging::start(&global, command.is_service());
    let output = Output::new(global.json, global.quiet);
    let cancel = Cancel::new();
    if let Err(error) = signals::watch(cancel.clone()) {
        output.warning(&format!("cannot listen for signals, an interruption will not be clean: {error}"));
    }
    let outcome = command::run(command, &App { global, output, cancel });
    match outcome {
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
