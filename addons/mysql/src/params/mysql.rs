//! The options of the `mysql` client, and what they mean for a restore.

use coffer_addon_sdk::{Error, Result};

use super::RestoreParams;
use super::args::{self, Argument, Spec, Takes, always, harmless, maybe, refused, value};
use super::client::{CONNECTION, HELP, shared};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    OneDatabase,
    Database,
    CharacterSet,
}

use Meaning as M;
use Takes::{Maybe, Nothing, Value};

const INTERACTIVE: &str = "a restore reads the snapshot and nothing else";
const OUTPUT: &str = "a restore prints no result sets";
const ERRORS: &str = "a restore that goes on after an error leaves a database that nobody can trust";
const BACKUP: &str = "it is an option of the backup; the parameters `databases` and `tables` choose what is restored";

const OWN: &[Spec<Meaning>] = &[
    maybe("one-database", Some('o'), M::OneDatabase),
    value("database", Some('D'), M::Database),
    value("default-character-set", None, M::CharacterSet),
    // What changes nothing here.
    harmless("auto-rehash", None, Nothing),
    harmless("auto-vertical-output", None, Nothing),
    harmless("batch", Some('B'), Nothing),
    harmless("binary-as-hex", None, Nothing),
    harmless("binary-mode", None, Nothing),
    harmless("column-names", None, Nothing),
    harmless("column-type-info", None, Nothing),
    harmless("commands", None, Nothing),
    harmless("comments", Some('c'), Nothing),
    harmless("connect-expired-password", None, Nothing),
    harmless("debug-info", Some('T'), Nothing),
    harmless("i-am-a-dummy", None, Nothing),
    harmless("ignore-spaces", Some('i'), Nothing),
    harmless("line-numbers", None, Nothing),
    harmless("load-data-local-dir", None, Value),
    harmless("local-infile", None, Maybe),
    harmless("max-join-size", None, Value),
    harmless("named-commands", Some('G'), Nothing),
    harmless("no-auto-rehash", Some('A'), Nothing),
    harmless("no-beep", Some('b'), Nothing),
    harmless("print-query-on-error", None, Nothing),
    harmless("progress-reports", None, Nothing),
    harmless("quick", Some('q'), Nothing),
    harmless("quick-max-column-width", None, Value),
    harmless("raw", Some('r'), Nothing),
    harmless("safe-updates", Some('U'), Nothing),
    harmless("sandbox", None, Nothing),
    harmless("secure-auth", None, Nothing),
    harmless("select-limit", None, Value),
    harmless("show-warnings", None, Nothing),
    harmless("sigint-ignore", None, Nothing),
    harmless("silent", Some('s'), Nothing),
    harmless("skip-column-names", Some('N'), Nothing),
    harmless("skip-line-numbers", Some('L'), Nothing),
    harmless("syslog", Some('j'), Nothing),
    harmless("system-command", None, Nothing),
    harmless("table", Some('t'), Nothing),
    harmless("telemetry-client", None, Nothing),
    harmless("unbuffered", Some('n'), Nothing),
    harmless("vertical", Some('E'), Nothing),
    harmless("wait", Some('w'), Nothing),
    always("abort-source-on-error", None, ERRORS),
    // What cannot be.
    refused("all-databases", None, Nothing, BACKUP),
    refused("authentication-oci-client-config-profile", None, Value, CONNECTION),
    refused("authentication-openid-connect-client-id-token-file", None, Value, CONNECTION),
    refused("databases", None, Nothing, BACKUP),
    refused("delimiter", None, Value, "a dump sets its own delimiters"),
    refused("dns-srv-name", None, Value, CONNECTION),
    refused("execute", Some('e'), Value, INTERACTIVE),
    refused("force", Some('f'), Nothing, ERRORS),
    refused("histignore", None, Value, INTERACTIVE),
    refused("html", Some('H'), Nothing, OUTPUT),
    refused("ignore-database", None, Value, BACKUP),
    refused("ignore-table", None, Value, BACKUP),
    refused("init-command", None, Value, "the sessions of a restore have settings of their own"),
    refused("init-command-add", None, Value, "the sessions of a restore have settings of their own"),
    refused("network-namespace", None, Value, CONNECTION),
    refused("oci-config-file", None, Value, CONNECTION),
    refused("pager", None, Maybe, INTERACTIVE),
    refused("prompt", None, Value, INTERACTIVE),
    refused("reconnect", None, Nothing, "a session that begins anew in the middle has lost its settings"),
    refused("register-factor", None, Value, CONNECTION),
    refused("server-arg", None, Value, "there is no embedded server"),
    // Without a long name, which none of the programs has.
    refused("I", Some('I'), Nothing, HELP),
    refused("set-gtid-purged", None, Maybe, "it is an option of the backup"),
    refused("tee", None, Value, INTERACTIVE),
    refused("xml", Some('X'), Nothing, OUTPUT),
];

/// All options.
fn specs() -> Vec<Spec<Meaning>> {
    OWN.iter().copied().chain(shared()).collect()
}

/// Applies the client's options to what the other parameters said.
pub(super) fn apply(text: &str, params: &mut RestoreParams) -> Result<()> {
    let mut one = None;
    for argument in args::parse("mysql", text, &specs())? {
        match argument {
            Argument::Word(word) | Argument::Option { option: M::Database, value: Some(word), .. } => {
                if let Some(other) = params
                    .default_database
                    .replace(word)
                    .filter(|other| params.default_database.as_ref() != Some(other))
                {
                    return Err(invalid(format!("mysql takes one default database; {other:?} is another")));
                }
            }
            Argument::Option { option: M::OneDatabase, on, value, .. } => one = on.then_some(value),
            Argument::Option { option: M::CharacterSet, value: Some(name), written, .. } => {
                if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
                    return Err(invalid(format!("{written}: {name:?} is no character set")));
                }
                // What the client would find out from its locale.
                params.character_set = if name == "auto" { "utf8mb4".to_owned() } else { name };
            }
            Argument::Option { option: M::Database | M::CharacterSet, .. } => {}
        }
    }
    // mysql itself ignores the name in `--one-database=name` and takes the default database; KubeStash's guides write it so,
    // and their readers mean the name.
    let Some(name) = one else { return Ok(()) };
    let Some(name) = name.or_else(|| params.default_database.clone()) else {
        return Err(invalid("--one-database needs the name of a database"));
    };
    match params.databases.as_deref() {
        Some([only]) if *only == name => {}
        Some(_) => {
            return Err(invalid(format!("--one-database={name} and the parameter `databases` contradict each other")));
        }
        None => params.databases = Some(vec![name.clone()]),
    }
    params.default_database.get_or_insert(name);
    Ok(())
}

fn invalid(message: impl std::fmt::Display) -> Error {
    Error::invalid(format!("parameter \"args\": {message}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_is_listed_once() {
        let specs = specs();
        for (index, spec) in specs.iter().enumerate() {
            for other in &specs[..index] {
                assert_ne!(spec.name, other.name);
                assert!(
                    spec.short.is_none() || spec.short != other.short,
                    "-{:?}: {} and {}",
                    spec.short,
                    spec.name,
                    other.name
                );
            }
        }
    }
}
