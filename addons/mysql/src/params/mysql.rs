//! The options of the `mysql` client, and what they mean for a restore.

use coffer_addon_sdk::{Error, Result};

use super::RestoreParams;
use super::args::{self, Argument, Spec, Takes, always, harmless, maybe, refused, value};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    OneDatabase,
    Database,
    CharacterSet,
}

use Meaning as M;
use Takes::{Maybe, Nothing, Value};

const CONNECTION: &str = "how to connect comes from the AppBinding and its Secret";
const TLS: &str =
    "encryption comes from the AppBinding: `clientConfig.caBundle`, `tlsSecret`, and `?ssl-mode=` in its URL";
const FILES: &str = "there are no files beside the snapshot; write the options themselves into `args`";
const INTERACTIVE: &str = "a restore reads the snapshot and nothing else";
const OUTPUT: &str = "a restore prints no result sets";
const ERRORS: &str = "a restore that goes on after an error leaves a database that nobody can trust";
const BACKUP: &str = "it is an option of the backup; the parameter `databases` chooses what is restored";

const SPECS: &[Spec<Meaning>] = &[
    maybe("one-database", Some('o'), M::OneDatabase),
    value("database", Some('D'), M::Database),
    value("default-character-set", None, M::CharacterSet),
    // What changes nothing here.
    harmless("auto-rehash", None, Nothing),
    harmless("auto-vertical-output", None, Nothing),
    harmless("batch", Some('B'), Nothing),
    harmless("binary-as-hex", None, Nothing),
    harmless("binary-mode", None, Nothing),
    harmless("character-sets-dir", None, Value),
    harmless("column-names", None, Nothing),
    harmless("column-type-info", None, Nothing),
    harmless("commands", None, Nothing),
    harmless("comments", Some('c'), Nothing),
    harmless("compress", Some('C'), Nothing),
    harmless("compression-algorithms", None, Value),
    harmless("connect-expired-password", None, Nothing),
    harmless("connect-timeout", None, Value),
    harmless("debug-info", None, Nothing),
    harmless("default-auth", None, Value),
    harmless("get-server-public-key", None, Nothing),
    harmless("i-am-a-dummy", None, Nothing),
    harmless("ignore-spaces", Some('i'), Nothing),
    harmless("line-numbers", None, Nothing),
    harmless("load-data-local-dir", None, Value),
    harmless("local-infile", None, Maybe),
    harmless("max-allowed-packet", None, Value),
    harmless("max-join-size", None, Value),
    harmless("named-commands", Some('G'), Nothing),
    harmless("net-buffer-length", None, Value),
    harmless("no-auto-rehash", Some('A'), Nothing),
    harmless("no-beep", Some('b'), Nothing),
    harmless("no-defaults", None, Nothing),
    harmless("plugin-dir", None, Value),
    harmless("print-query-on-error", None, Nothing),
    harmless("progress-reports", None, Nothing),
    harmless("quick", Some('q'), Nothing),
    harmless("quick-max-column-width", None, Value),
    harmless("raw", Some('r'), Nothing),
    harmless("safe-updates", Some('U'), Nothing),
    harmless("sandbox", None, Nothing),
    harmless("secure-auth", None, Nothing),
    harmless("select-limit", None, Value),
    harmless("server-public-key-path", None, Value),
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
    harmless("verbose", Some('v'), Nothing),
    harmless("vertical", Some('E'), Nothing),
    harmless("wait", Some('w'), Nothing),
    harmless("zstd-compression-level", None, Value),
    always("abort-source-on-error", None, ERRORS),
    // What cannot be.
    refused("all-databases", None, Nothing, BACKUP),
    refused("authentication-oci-client-config-profile", None, Value, CONNECTION),
    refused("authentication-openid-connect-client-id-token-file", None, Value, CONNECTION),
    refused("bind-address", None, Value, CONNECTION),
    refused("databases", None, Nothing, BACKUP),
    refused("debug", Some('#'), Maybe, "there is no debugging output"),
    refused("debug-check", None, Nothing, "there is no debugging output"),
    refused("defaults-extra-file", None, Value, FILES),
    refused("defaults-file", None, Value, FILES),
    refused("defaults-group-suffix", None, Value, FILES),
    refused("delimiter", None, Value, "a dump sets its own delimiters"),
    refused("dns-srv-name", None, Value, CONNECTION),
    refused("enable-cleartext-plugin", None, Nothing, "the password is never sent in the clear"),
    refused("execute", Some('e'), Value, INTERACTIVE),
    refused("force", Some('f'), Nothing, ERRORS),
    refused("help", Some('?'), Nothing, "this is no shell; `coffer addon inspect builtin:mysql` says what there is"),
    refused("histignore", None, Value, INTERACTIVE),
    refused("host", Some('h'), Value, CONNECTION),
    refused("html", Some('H'), Nothing, OUTPUT),
    refused("ignore-database", None, Value, BACKUP),
    refused("ignore-table", None, Value, BACKUP),
    refused("init-command", None, Value, "the sessions of a restore have settings of their own"),
    refused("init-command-add", None, Value, "the sessions of a restore have settings of their own"),
    refused("login-path", None, Value, FILES),
    refused("no-login-paths", None, Nothing, FILES),
    refused("network-namespace", None, Value, CONNECTION),
    refused("oci-config-file", None, Value, CONNECTION),
    refused("pager", None, Maybe, INTERACTIVE),
    refused("password", Some('p'), Maybe, CONNECTION),
    refused("password1", None, Maybe, CONNECTION),
    refused("password2", None, Maybe, CONNECTION),
    refused("password3", None, Maybe, CONNECTION),
    refused("pipe", Some('W'), Nothing, CONNECTION),
    refused("plugin-authentication-webauthn-client-preserve-privacy", None, Nothing, CONNECTION),
    refused("plugin-authentication-webauthn-device", None, Value, CONNECTION),
    refused("port", Some('P'), Value, CONNECTION),
    refused("print-defaults", None, Nothing, FILES),
    refused("prompt", None, Value, INTERACTIVE),
    refused("protocol", None, Value, CONNECTION),
    refused("reconnect", None, Nothing, "a session that begins anew in the middle has lost its settings"),
    refused("register-factor", None, Value, CONNECTION),
    refused("set-gtid-purged", None, Maybe, "it is an option of the backup"),
    refused("socket", Some('S'), Value, CONNECTION),
    refused("ssl", None, Nothing, TLS),
    refused("ssl-ca", None, Value, TLS),
    refused("ssl-capath", None, Value, TLS),
    refused("ssl-cert", None, Value, TLS),
    refused("ssl-cipher", None, Value, TLS),
    refused("ssl-crl", None, Value, TLS),
    refused("ssl-crlpath", None, Value, TLS),
    refused("ssl-fips-mode", None, Value, TLS),
    refused("ssl-fp", None, Value, TLS),
    refused("ssl-fplist", None, Value, TLS),
    refused("ssl-key", None, Value, TLS),
    refused("ssl-mode", None, Value, TLS),
    refused("ssl-session-data", None, Value, TLS),
    refused("ssl-session-data-continue-on-failed-reuse", None, Nothing, TLS),
    refused("ssl-verify-server-cert", None, Nothing, TLS),
    refused("tee", None, Value, INTERACTIVE),
    refused("tls-ciphersuites", None, Value, TLS),
    refused("tls-sni-servername", None, Value, TLS),
    refused("tls-version", None, Value, TLS),
    refused("user", Some('u'), Value, CONNECTION),
    refused("version", Some('V'), Nothing, "this is no shell; `coffer addon inspect builtin:mysql` says what there is"),
    refused("xml", Some('X'), Nothing, OUTPUT),
];

/// Applies the client's options to what the other parameters said.
pub(super) fn apply(text: &str, params: &mut RestoreParams) -> Result<()> {
    let mut one = None;
    for argument in args::parse("mysql", text, SPECS)? {
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
        for (index, spec) in SPECS.iter().enumerate() {
            for other in &SPECS[..index] {
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
