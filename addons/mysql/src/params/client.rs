//! The options that all of MySQL's and MariaDB's programs have: how to connect, where to read options from, how to ask for help.

use super::args::{Spec, Takes, harmless, refused};

use Takes::{Maybe, Nothing, Value};

/// Why options about the connection are refused.
pub(super) const CONNECTION: &str = "how to connect comes from the AppBinding and its Secret";
const TLS: &str =
    "encryption comes from the AppBinding: `clientConfig.caBundle`, `tlsSecret`, and `?ssl-mode=` in its URL";
/// Why options that print something are refused.
pub(super) const HELP: &str = "this is no shell; `coffer addon inspect builtin:mysql` says what there is";
/// Why options about files are refused.
pub(super) const FILES: &str = "there are no files beside the snapshot; write the options themselves into `args`";

/// These options.
pub(super) fn shared<O>() -> impl Iterator<Item = Spec<O>> {
    [
        harmless("character-sets-dir", None, Value),
        harmless("compress", Some('C'), Nothing),
        harmless("compression-algorithms", None, Value),
        harmless("connect-timeout", None, Value),
        harmless("default-auth", None, Value),
        harmless("get-server-public-key", None, Nothing),
        harmless("max-allowed-packet", None, Value),
        harmless("net-buffer-length", None, Value),
        harmless("no-defaults", None, Nothing),
        harmless("plugin-dir", None, Value),
        harmless("server-public-key-path", None, Value),
        harmless("verbose", Some('v'), Nothing),
        harmless("zstd-compression-level", None, Value),
        refused("bind-address", None, Value, CONNECTION),
        refused("debug", Some('#'), Maybe, "there is no debugging output"),
        refused("debug-check", None, Nothing, "there is no debugging output"),
        refused("defaults-extra-file", None, Value, FILES),
        refused("defaults-file", None, Value, FILES),
        refused("defaults-group-suffix", None, Value, FILES),
        refused("enable-cleartext-plugin", None, Nothing, "the password is never sent in the clear"),
        refused("help", Some('?'), Nothing, HELP),
        refused("host", Some('h'), Value, CONNECTION),
        refused("login-path", None, Value, FILES),
        refused("no-login-paths", None, Nothing, FILES),
        refused("password", Some('p'), Maybe, CONNECTION),
        refused("password1", None, Maybe, CONNECTION),
        refused("password2", None, Maybe, CONNECTION),
        refused("password3", None, Maybe, CONNECTION),
        refused("pipe", Some('W'), Nothing, CONNECTION),
        refused("plugin-authentication-webauthn-client-preserve-privacy", None, Nothing, CONNECTION),
        refused("plugin-authentication-webauthn-device", None, Value, CONNECTION),
        refused("port", Some('P'), Value, CONNECTION),
        refused("print-defaults", None, Nothing, FILES),
        refused("protocol", None, Value, CONNECTION),
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
        refused("tls-ciphersuites", None, Value, TLS),
        refused("tls-sni-servername", None, Value, TLS),
        refused("tls-version", None, Value, TLS),
        refused("user", Some('u'), Value, CONNECTION),
        refused("version", Some('V'), Nothing, HELP),
    ]
    .into_iter()
}
