//! `kubectl coffer`: the kubectl plugin, with a command line of its own.
//!
//! The program is the plugin when it is called `kubectl-coffer`, or when its first word is `kubectl`.

mod args;
mod storage;

use std::ffi::OsString;
use std::fs::{self, DirBuilder};
use std::io;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser as _;
use coffer_api::cancel::Cancel;
use coffer_plugin::{Bundle, Done, Filter, Plugin, PluginError, Subject, Waiting};

use crate::cluster::Connection;
use crate::context::App;
use crate::exit::{self, End, Failure, Outcome};
use crate::output::{self, complain, counted, line};
use crate::{logging, signals};
use args::Command;

/// What the program is called as a plugin.
const NAME: &str = "kubectl-coffer";
/// The word that stands for that name.
const WORD: &str = "kubectl";

/// The words of the plugin's command line, if the program is the plugin.
pub(crate) fn words(all: &[OsString]) -> Option<&[OsString]> {
    let (program, rest) = all.split_first()?;
    if Path::new(program).file_stem().is_some_and(|name| name == NAME) {
        return Some(rest);
    }
    let (first, rest) = rest.split_first()?;
    (first == WORD).then_some(rest)
}

/// Runs the plugin. As with kubectl, every failure has the same exit code.
pub(crate) fn main(words: &[OsString]) -> ExitCode {
    let parsed = args::Plugin::try_parse_from([OsString::from(NAME)].iter().chain(words));
    let args::Plugin { command, flags } = match parsed {
        Ok(plugin) => plugin,
        Err(error) => {
            let failed = error.use_stderr();
            // When nobody can read it, there is nobody to tell.
            let _ = error.print();
            return ExitCode::from(if failed { exit::FAILED } else { 0 });
        }
    };
    let local = match &command {
        Command::Unlock(unlock) => unlock.volume.local_root,
        Command::Download(download) => download.volume.local_root,
        _ => None,
    };
    let global = flags.global(local);
    logging::start(&global, false);
    let app = App::new(global);
    match run(command, &flags, &app) {
        Ok(_) if output::is_incomplete() => ExitCode::from(exit::FAILED),
        Ok(end) => end.code(),
        Err(failure) => {
            complain(&format!("error: {failure}"));
            ExitCode::from(if signals::caught() { exit::INTERRUPTED } else { exit::FAILED })
        }
    }
}

fn run(command: Command, flags: &args::Flags, app: &App) -> Outcome {
    let connection = Connection::open(&flags.cluster)?;
    let namespace = flags.namespace.clone().unwrap_or_else(|| connection.namespace().to_owned());
    let plugin = Plugin { cluster: connection.reader(), runtime: connection.runtime(), cancel: app.cancel.clone() };
    plugin.greet()?;
    match command {
        Command::Status(args) => status(&plugin, &namespace, &args),
        Command::Trigger(args) => trigger(&plugin, &namespace, args),
        Command::Pause(args) => pause(&plugin, &namespace, args, true),
        Command::Resume(args) => pause(&plugin, &namespace, args, false),
        Command::Restore(args) => restore(&plugin, &namespace, *args),
        Command::Snapshots(args) => {
            let filter = Filter {
                namespace: (!args.all_namespaces).then_some(namespace),
                repository: args.repository,
                session: args.session,
                phase: args.phase,
                latest: args.latest,
                format: args.shown.format(),
            };
            line(&coffer_plugin::snapshots(&plugin, &filter)?);
            Ok(End::Done)
        }
        Command::Logs(args) => logs(&plugin, &namespace, args),
        Command::Debug(args) => debug(&plugin, namespace, args),
        Command::Unlock(args) => storage::unlock(&plugin.cluster, &namespace, &args, app),
        Command::Download(args) => storage::download(&plugin.cluster, &namespace, &args, app),
    }
}

fn status(plugin: &Plugin, namespace: &str, args: &args::Status) -> Outcome {
    let subject = match args.object.as_slice() {
        [] => None,
        words => Some(Subject::parse(words)?),
    };
    let namespace = (!args.all_namespaces).then_some(namespace);
    let (text, unread) = coffer_plugin::status(plugin, namespace, subject.as_ref(), args.shown.format())?;
    line(&text);
    for why in &unread {
        complain(&format!("warning: {why}"));
    }
    Ok(if unread.is_empty() { End::Done } else { End::Partial })
}

fn trigger(plugin: &Plugin, namespace: &str, args: args::Trigger) -> Outcome {
    let wanted = coffer_plugin::Trigger {
        namespace: namespace.to_owned(),
        configuration: args.configuration,
        sessions: args.sessions,
        dry_run: args.rehearsal.mode(),
        format: args.shown.format(),
    };
    let done = coffer_plugin::trigger(plugin, &wanted)?;
    line(&done.text);
    wait(&plugin.cancel, &done, args.wait, &mut complain, |cancel, name| {
        let plugin = Plugin { cancel, ..plugin.clone() };
        coffer_plugin::wait_for_backup(&plugin, (namespace, name), Waiting::default(), &mut complain)
    })
}

fn restore(plugin: &Plugin, namespace: &str, args: args::Restore) -> Outcome {
    let wanted = coffer_plugin::Restore {
        namespace: namespace.to_owned(),
        name: args.name,
        repository: args.repository,
        snapshot: args.snapshot,
        time: args.time,
        target: args.target,
        to_database: args.to_database,
        parameters: args.parameters,
        addon: args.addon,
        task: args.task,
        encryption_secret: args.encryption_secret,
        timeout: args.limit,
        dry_run: args.rehearsal.mode(),
        format: args.shown.format(),
    };
    let done = coffer_plugin::restore(plugin, &wanted)?;
    line(&done.text);
    wait(&plugin.cancel, &done, args.wait, &mut complain, |cancel, name| {
        let plugin = Plugin { cancel, ..plugin.clone() };
        coffer_plugin::wait_for_restore(&plugin, (namespace, name), Waiting::default(), &mut complain)
    })
}

/// Waits for everything that was begun, as long as the time lasts for all of it. The first that does not succeed decides how the command ends,
/// unless the waiting is stopped; what does not decide is told.
fn wait(
    cancel: &Cancel,
    done: &Done,
    args: args::Wait,
    tell: &mut dyn FnMut(&str),
    each: impl Fn(Cancel, &str) -> Result<(), PluginError>,
) -> Outcome {
    if !args.wait {
        return Ok(End::Done);
    }
    let cancel = cancel.child();
    let cancel = args.timeout.map_or_else(|| cancel.clone(), |timeout| cancel.with_deadline(timeout));
    let mut first: Option<PluginError> = None;
    for name in &done.names {
        match each(cancel.clone(), name) {
            Ok(()) => {}
            Err(error @ PluginError::Stopped { .. }) => {
                if let Some(first) = first {
                    tell(&format!("error: {first}"));
                }
                return Err(error.into());
            }
            Err(error) if first.is_none() => first = Some(error),
            Err(error) => tell(&format!("error: {error}")),
        }
    }
    first.map_or(Ok(End::Done), |error| Err(error.into()))
}

fn pause(plugin: &Plugin, namespace: &str, args: args::Which, paused: bool) -> Outcome {
    let which = if args.all { coffer_plugin::Which::All } else { coffer_plugin::Which::Named(args.names) };
    let how = (args.rehearsal.mode(), args.shown.format());
    line(&coffer_plugin::pause(plugin, namespace, &which, paused, how)?.text);
    Ok(End::Done)
}

fn logs(plugin: &Plugin, namespace: &str, args: args::Logs) -> Outcome {
    let subject = Subject::parse(&args.object)?;
    let wanted = coffer_plugin::Logs {
        session: args.session,
        follow: args.follow,
        tail: args.tail,
        since: args.since,
        timestamps: args.timestamps,
    };
    coffer_plugin::logs(plugin, namespace, &subject, &wanted, &mut line, &mut complain)?;
    Ok(End::Done)
}

fn debug(plugin: &Plugin, namespace: String, args: args::Debug) -> Outcome {
    if let Some(folder) = args.output_dir.as_deref().filter(|folder| folder.exists()) {
        return Err(Failure::Usage(format!("{} is there already; name a new folder", folder.display())));
    }
    let wanted = coffer_plugin::Debug {
        namespace: (!args.all_namespaces).then_some(namespace),
        operator_namespace: args.operator_namespace,
        tail: args.tail,
        program: format!("coffer {}", env!("CARGO_PKG_VERSION")),
    };
    let bundle = coffer_plugin::debug(plugin, &wanted)?;
    match args.output_dir {
        None => line(bundle.text().trim_end()),
        Some(folder) => {
            write(&bundle, &folder)
                .map_err(|error| Failure::File(format!("cannot write {}", folder.display()), error))?;
            line(&format!("{} written to {}", counted(bundle.parts.len() as u64, "file"), folder.display()));
        }
    }
    Ok(End::Done)
}

/// Writes everything into a new folder, which appears when it is whole.
fn write(bundle: &Bundle, folder: &Path) -> io::Result<()> {
    let whole = storage::NewFolder::create(folder)?;
    for part in &bundle.parts {
        let path = whole.path().join(&part.path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, part.text.trim_end().to_owned() + "\n")?;
    }
    whole.keep(folder)
}

/// A new folder that nobody else can read.
fn private_folder(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::time::Duration;

    use super::*;

    fn begun(names: &[&str]) -> Done {
        Done { text: String::new(), names: names.iter().map(|&name| name.to_owned()).collect() }
    }

    #[test]
    fn one_time_limit_is_for_all_that_is_waited_for() {
        let limits = RefCell::new(Vec::new());
        let args = args::Wait { wait: true, timeout: Some(Duration::from_mins(1)) };
        let ended = wait(&Cancel::new(), &begun(&["a", "b"]), args, &mut |text| panic!("{text}"), |cancel, _| {
            limits.borrow_mut().push(cancel.remaining().unwrap());
            std::thread::sleep(Duration::from_millis(20));
            Ok(())
        });
        assert_eq!(ended.unwrap(), End::Done);
        let limits = limits.into_inner();
        assert!(limits[0] >= limits[1] + Duration::from_millis(20), "{limits:?}");
    }

    #[test]
    fn a_failure_is_told_when_the_waiting_is_stopped_after_it() {
        let args = args::Wait { wait: true, timeout: None };
        let mut told = Vec::new();
        let ended =
            wait(&Cancel::new(), &begun(&["a", "b"]), args, &mut |text| told.push(text.to_owned()), |_, name| {
                let (what, why, rest) = (name.to_owned(), "so it is".to_owned(), "see".to_owned());
                Err(match name {
                    "a" => PluginError::Ended { what, why, fix: rest },
                    _ => PluginError::Stopped { what, why, look: rest },
                })
            });
        let Err(Failure::Plugin(error)) = ended else { panic!("no failure") };
        assert!(matches!(*error, PluginError::Stopped { .. }), "{error}");
        assert_eq!(told, ["error: a: so it is; see"]);
    }

    #[test]
    fn the_plugin_is_called_by_its_name_or_its_word() {
        for (all, rest) in [
            (&["/usr/local/bin/kubectl-coffer", "status"][..], Some(&["status"][..])),
            (&["kubectl-coffer.exe"], Some(&[])),
            (&["coffer", "kubectl", "-n", "demo", "status"], Some(&["-n", "demo", "status"])),
            (&["coffer", "status"], None),
            (&["coffer", "-q", "kubectl"], None),
            (&["coffer"], None),
            (&[], None),
        ] {
            let all: Vec<OsString> = all.iter().map(OsString::from).collect();
            let rest = rest.map(|rest| rest.iter().map(OsString::from).collect::<Vec<_>>());
            assert_eq!(words(&all).map(<[OsString]>::to_vec), rest, "{all:?}");
        }
    }

    #[test]
    fn a_debug_folder_appears_when_it_is_whole() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("report");
        let bundle = |paths: &[&str]| Bundle {
            parts: paths.iter().map(|path| coffer_plugin::Part { path: (*path).into(), text: "x".into() }).collect(),
        };
        // The second part cannot be written: its folder is a file.
        write(&bundle(&["a", "a/b"]), &folder).unwrap_err();
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
        write(&bundle(&["a", "c/b"]), &folder).unwrap();
        assert_eq!(fs::read_to_string(folder.join("c/b")).unwrap(), "x\n");
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
    }
}
