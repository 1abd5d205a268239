//! One module per group of commands.

mod addon;
mod backup;
mod forget;
mod install;
mod key;
mod operator;
mod policy;
mod restore;
mod run;
pub(crate) mod snapshots;
pub(crate) mod upkeep;

use std::io;
use std::mem;

use clap::CommandFactory as _;
use coffer_api::core::HookInfo;
use coffer_repository::Repository;
use serde_json::json;

use crate::args::{Cli, Command};
use crate::context::{App, Place};
use crate::exit::{End, Failure, Outcome};

/// Runs a command.
pub(crate) fn run(command: Command, app: &App) -> Outcome {
    match command {
        Command::Backup(args) => backup::run(&args, app),
        Command::Restore(args) => restore::run(&args, app),
        Command::Snapshots(args) => snapshots::list(&args, app),
        Command::Ls(args) => snapshots::files(&args, app),
        Command::Dump(args) => snapshots::dump(&args, app),
        Command::Check(args) => upkeep::check(&args, app),
        Command::Forget(args) => forget::run(&args, app),
        Command::Prune(args) => upkeep::prune(&args, app),
        Command::Key(args) => key::run(args, app),
        Command::Unlock(args) => upkeep::unlock(&args, app),
        Command::Addon(args) => addon::run(args, app),
        Command::Operator(args) => operator::run(args, app),
        Command::Run(args) => run::run(&args, app),
        Command::Install(args) => install::run(&args, app),
        // The options before it are those of the other commands.
        Command::Kubectl { words } => {
            let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
            Err(Failure::Usage(format!("kubectl must be the first word: write `coffer kubectl {}`", words.join(" "))))
        }
        Command::Completion { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "coffer", &mut io::stdout());
            Ok(End::Done)
        }
        Command::Version => {
            let version = env!("CARGO_PKG_VERSION");
            let contract = coffer_sandbox::contract::CONTRACT;
            app.output.result(
                || json!({ "message_type": "version", "version": version, "contract": contract }),
                || format!("coffer {version} (addon contract {contract})"),
            );
            Ok(End::Done)
        }
    }
}

/// Does something with each repository. One that fails does not stop the others, but the first failure decides how the
/// command ends, and the rest of them are warnings. That a repository has no backup yet says less than any other failure.
fn each(app: &App, places: &[Place], mut work: impl FnMut(&Place) -> Outcome) -> Outcome {
    let mut first: Option<Failure> = None;
    let mut failed = |failure: Failure| match &mut first {
        None => first = Some(failure),
        Some(first) if first.is_missing_repository() && !failure.is_missing_repository() => {
            app.output.warning(&mem::replace(first, failure).to_string());
        }
        Some(_) => app.output.warning(&failure.to_string()),
    };
    let mut end = End::Done;
    for place in places {
        if let Some(reason) = app.cancel.reason() {
            failed(Failure::Other(format!("stopped before {}: {reason}", place.label())));
            break;
        }
        match work(place) {
            Ok(End::Done) => {}
            Ok(End::Partial) => end = End::Partial,
            Err(failure) => failed(failure),
        }
    }
    first.map_or(Ok(end), Err)
}

/// The same with each repository that is there. That one of several has no backup yet is nothing to fail for; that none has
/// any is: their storage may be the wrong one.
fn each_there(app: &App, places: &[Place], mut work: impl FnMut(&Place, &Repository) -> Outcome) -> Outcome {
    let mut missing: Option<Failure> = None;
    let mut any = false;
    let end = each(app, places, |place| match app.open(place) {
        Err(failure) if failure.is_missing_repository() => {
            if places.len() > 1 {
                app.output.note(|| format!("{}: no backup yet", place.label()));
            }
            missing.get_or_insert(failure);
            Ok(End::Done)
        }
        opened => {
            any = true;
            work(place, &opened?)
        }
    })?;
    match missing {
        Some(failure) if !any => Err(failure),
        _ => Ok(end),
    }
}

/// Says which hooks of `owner` are left out. Who relies on one (to stop an application, say) must know.
fn warn_of_hooks<'a>(hooks: impl Iterator<Item = &'a HookInfo>, owner: &str, app: &App) {
    let names: Vec<_> = hooks.map(|hook| hook.name.as_deref().unwrap_or("(without a name)")).collect();
    if !names.is_empty() {
        app.output.warning(&format!(
            "the hooks of {owner} are not run: {}; coffer has no hooks yet, so do by hand what they are for",
            names.join(", ")
        ));
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use coffer_api::cancel::Cancel;
    use coffer_api::plan::{Destination, SecretData, StorageBackendSpec, StorageConfig};

    use super::*;
    use crate::output::Output;

    fn place(repository: &str) -> Place {
        Place::new(Destination {
            repository: repository.to_owned(),
            namespace: "demo".to_owned(),
            storage: StorageConfig {
                name: "local".to_owned(),
                namespace: "demo".to_owned(),
                spec: StorageBackendSpec::default(),
                secret: SecretData::default(),
            },
            path: "repository/v1/daily/dump".to_owned(),
            password: "x".into(),
        })
    }

    #[test]
    fn a_repository_that_was_not_looked_at_is_a_failure() {
        let global = Cli::parse_from(["coffer", "version"]).global;
        let app = App { global, output: Output::new(false, true), cancel: Cancel::new() };
        let places = [place("one"), place("two")];
        assert!(matches!(each(&app, &places, |_| Ok(End::Done)), Ok(End::Done)));
        let stopped = each(&app, &places, |_| {
            app.cancel.cancel("interrupted by SIGINT");
            Ok(End::Done)
        });
        let message = stopped.unwrap_err().to_string();
        assert!(message.contains("demo/two") && message.contains("interrupted by SIGINT"), "{message}");
        assert!(matches!(each(&app, &[], |_| Ok(End::Done)), Ok(End::Done)));
    }
}
