//! From a fresh connection to a logged-in one: greeting, TLS, authentication.

use std::collections::HashMap;

use coffer_addon_sdk::{Credentials, Error, Result, Tls};
use mysql_common::auth::plugins::mysql_native_password::MysqlNativePassword;
use mysql_common::auth::plugins::{
    AuthProc, ChallengeResponsePlugin, Context as AuthContext, Error as AuthError, Response,
};
use mysql_common::constants::CapabilityFlags;
use mysql_common::io::ParseBuf;
use mysql_common::packets::{AuthPlugin, AuthSwitchRequest, HandshakePacket, HandshakeResponse, SslRequest};
use mysql_common::proto::{MyDeserialize, MySerialize};

use crate::failure::{Failure, Outcome};
use crate::packets::Packets;
use crate::public_key;

/// `utf8mb4_general_ci`: known to every server that we speak to. The session sets its own character sets right away.
const COLLATION: u8 = 45;
/// What we say is the longest packet that we take: the protocol's own limit.
const MAX_PACKET: u32 = 1 << 30;

/// Logs in on a fresh connection. Returns the capabilities that both sides have, and what the server said its version is.
pub(crate) fn log_in(packets: &mut Packets, tls: Tls, credentials: &Credentials) -> Outcome<(CapabilityFlags, String)> {
    expect_mysql(packets)?;
    let payload = packets.read()?;
    if payload.first() == Some(&0xFF) {
        return Err(Failure::from_packet(payload));
    }
    let greeting = parse_greeting(payload)?.into_owned();
    let offered = greeting.capabilities();
    if !offered.contains(CapabilityFlags::CLIENT_PROTOCOL_41 | CapabilityFlags::CLIENT_SECURE_CONNECTION) {
        return Err(Error::unsupported("the server is older than MySQL 4.1, and too old for this addon").into());
    }
    let mut capabilities = offered
        & (CapabilityFlags::CLIENT_LONG_PASSWORD
            | CapabilityFlags::CLIENT_LONG_FLAG
            | CapabilityFlags::CLIENT_LOCAL_FILES
            | CapabilityFlags::CLIENT_PROTOCOL_41
            | CapabilityFlags::CLIENT_TRANSACTIONS
            | CapabilityFlags::CLIENT_SECURE_CONNECTION
            | CapabilityFlags::CLIENT_MULTI_RESULTS
            | CapabilityFlags::CLIENT_PLUGIN_AUTH
            | CapabilityFlags::CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA
            | CapabilityFlags::CLIENT_CONNECT_ATTRS
            | CapabilityFlags::CLIENT_DEPRECATE_EOF);

    let encrypted = match tls {
        Tls::Disabled => false,
        Tls::Preferred => offered.contains(CapabilityFlags::CLIENT_SSL),
        Tls::Required if !offered.contains(CapabilityFlags::CLIENT_SSL) => {
            return Err(Error::denied(
                "TLS is required for this database, but the server does not offer it; configure certificates on the server, or \
                 lower `ssl-mode` in the query of the AppBinding's URL",
            )
            .into());
        }
        Tls::Required => true,
    };
    if encrypted {
        capabilities.insert(CapabilityFlags::CLIENT_SSL);
        packets.write(&serialized(&SslRequest::new(capabilities, MAX_PACKET, COLLATION)))?;
        packets.start_tls()?;
    }

    let mut login = Login {
        user: credentials.username.clone().unwrap_or_default(),
        password: credentials.password.clone().unwrap_or_default(),
        scramble: greeting.nonce(),
        encrypted,
    };
    let (plugin, mut procedure) = initial_plugin(&greeting, encrypted);
    let response = login.step(&mut procedure, &plugin, None)?;
    let attributes = capabilities.contains(CapabilityFlags::CLIENT_CONNECT_ATTRS).then(|| {
        HashMap::from([
            ("_client_name".to_owned(), "coffer".to_owned()),
            ("_client_version".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
        ])
    });
    let hello = HandshakeResponse::new(
        Some(response.data().unwrap_or_default()),
        (8, 0, 0),
        Some(login.user.as_bytes()),
        None::<&[u8]>,
        capabilities.contains(CapabilityFlags::CLIENT_PLUGIN_AUTH).then(|| plugin.borrow()),
        capabilities,
        attributes,
        MAX_PACKET,
    );
    packets.write(&serialized(&hello))?;
    authenticate(packets, &mut login, plugin, procedure)?;
    Ok((capabilities, greeting.server_version_str().into_owned()))
}

/// Tells apart a server that speaks another protocol before its first bytes are taken for a length.
fn expect_mysql(packets: &mut Packets) -> Outcome<()> {
    let start = packets.peek()?;
    let is_printable = |bytes: &[u8]| bytes.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace());
    // The first packet of a MySQL server has number 0 and is short; text would be a packet of megabytes.
    if let Some(&[_, _, high, number]) = start.first_chunk::<4>()
        && (high != 0 || number != 0)
    {
        let shown = start.get(..start.len().min(32)).filter(|shown| is_printable(shown));
        let said = shown.map(|shown| format!(" (it said {:?})", String::from_utf8_lossy(shown))).unwrap_or_default();
        return Err(Error::protocol(format!(
            "what answers at the database's address is no MySQL or MariaDB server{said}; check host and port of the AppBinding"
        ))
        .into());
    }
    Ok(())
}

fn parse_greeting(payload: &[u8]) -> Outcome<HandshakePacket<'_>> {
    let wrong = || {
        Failure::from(Error::protocol(
            "what answers at the database's address greets in a way that no MySQL or MariaDB server does; check host and port \
             of the AppBinding",
        ))
    };
    // The parser computes with the length of the scramble as if it had a sign.
    let version_end = payload.iter().position(|byte| *byte == 0).ok_or_else(wrong)?;
    if payload.first() != Some(&10) || payload.get(version_end + 21).is_some_and(|length| *length > 127) {
        return Err(wrong());
    }
    HandshakePacket::deserialize((), &mut ParseBuf(payload)).map_err(|_| wrong())
}

/// The plugin that the server proposes, or one that every server knows: then the server asks for another.
fn initial_plugin(greeting: &HandshakePacket<'_>, encrypted: bool) -> (AuthPlugin<'static>, AuthProc) {
    let proposed = greeting.auth_plugin().map(AuthPlugin::into_owned).filter(|plugin| check(plugin, encrypted).is_ok());
    if let Some(plugin) = proposed
        && let Ok(procedure) = plugin.init()
    {
        return (plugin, procedure);
    }
    (AuthPlugin::MysqlNativePassword, AuthProc::MysqlNativePassword(MysqlNativePassword::default()))
}

/// Whether we are willing and able to use this plugin.
fn check(plugin: &AuthPlugin<'_>, encrypted: bool) -> Result<()> {
    let name = String::from_utf8_lossy(plugin.as_bytes()).into_owned();
    match plugin {
        AuthPlugin::MysqlNativePassword
        | AuthPlugin::CachingSha2Password
        | AuthPlugin::Sha256Password
        | AuthPlugin::Ed25519 => Ok(()),
        AuthPlugin::MysqlClearPassword if encrypted => Ok(()),
        AuthPlugin::MysqlClearPassword => Err(Error::denied(
            "the server wants the password in the clear (mysql_clear_password), which is refused without TLS; require TLS in the \
             AppBinding",
        )),
        _ => Err(Error::unsupported(format!(
            "the account is set up for the authentication plugin {name:?}, which this addon does not know; use one with \
             caching_sha2_password, sha256_password, mysql_native_password or ed25519"
        ))),
    }
}

fn authenticate(
    packets: &mut Packets,
    login: &mut Login,
    mut plugin: AuthPlugin<'static>,
    mut procedure: AuthProc,
) -> Outcome<()> {
    // A sane dialogue has at most a handful of packets.
    for _ in 0..16 {
        let payload = packets.read()?;
        let response = match payload.first() {
            Some(0x00) => return Ok(()),
            Some(0xFF) => return Err(login.explain(Failure::from_packet(payload))),
            Some(0xFE) if payload.len() == 1 => {
                return Err(Error::unsupported(
                    "the account has a password of MySQL 3.23's kind (mysql_old_password); set it again to get a safe one",
                )
                .into());
            }
            Some(0xFE) => {
                let switch = AuthSwitchRequest::deserialize((), &mut ParseBuf(payload)).map_err(malformed)?;
                plugin = switch.auth_plugin().into_owned();
                login.scramble = switch.plugin_data().to_vec();
                check(&plugin, login.encrypted)?;
                procedure = plugin.init().map_err(|error| Error::unsupported(error.to_string()))?;
                login.step(&mut procedure, &plugin, None)?
            }
            Some(0x01) => {
                let challenge = payload.get(1..).unwrap_or_default().to_vec();
                // More than one byte is the key that the password is to be encrypted with.
                if challenge.len() > 1 && !public_key::is_usable(&challenge) {
                    return Err(malformed("its RSA key is none"));
                }
                login.step(&mut procedure, &plugin, Some(&challenge))?
            }
            _ => return Err(malformed("an unknown kind of packet")),
        };
        if let Some(data) = response.data() {
            packets.write(data)?;
        }
    }
    Err(malformed("it does not come to an end"))
}

fn malformed(why: impl std::fmt::Display) -> Failure {
    Error::protocol(format!("the server's part of the login dialogue makes no sense: {why}")).into()
}

/// What the authentication plugins are told.
struct Login {
    user: String,
    password: String,
    /// The latest scramble; a switch of plugins brings a new one.
    scramble: Vec<u8>,
    encrypted: bool,
}

impl Login {
    /// One step of the plugin: with `challenge`, or with the scramble at its beginning.
    fn step(&self, procedure: &mut AuthProc, plugin: &AuthPlugin<'_>, challenge: Option<&[u8]>) -> Result<Response> {
        procedure.run(self, challenge.unwrap_or(&self.scramble)).map_err(|error| {
            let name = String::from_utf8_lossy(plugin.as_bytes()).into_owned();
            match error {
                AuthError::FeatureRequired(_) => {
                    Error::unsupported(format!("the authentication plugin {name:?} is not supported"))
                }
                error => Error::protocol(format!("authentication with {name} failed: {error}")),
            }
        })
    }

    /// Adds to "access denied" what the user can do about it.
    fn explain(&self, mut failure: Failure) -> Failure {
        if let Some(1045 | 1698) = failure.code() {
            let hint = match (self.user.is_empty(), self.password.is_empty()) {
                (true, _) => "; the AppBinding's secret has no `username`",
                (_, true) => "; the AppBinding's secret has no `password`",
                _ => "; check `username` and `password` in the AppBinding's secret",
            };
            failure.add(hint);
        }
        failure
    }
}

impl AuthContext for &Login {
    fn pass(&self) -> &[u8] {
        self.password.as_bytes()
    }
    fn is_ipc_transport(&self) -> bool {
        false
    }
    fn is_tls_transport(&self) -> bool {
        self.encrypted
    }
    fn scramble(&self) -> &[u8] {
        &self.scramble
    }
    fn server_key_pem(&self) -> Option<&[u8]> {
        None
    }
}

fn serialized(packet: &impl MySerialize) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet.serialize(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packets::tests::Torn;

    #[test]
    fn another_protocol_is_named_however_its_first_bytes_come() {
        for size in [1, 2, 3, 64] {
            let mut packets = Packets::new(Torn::connection(b"SSH-2.0-OpenSSH\r\n".to_vec(), vec![size; 20]));
            let error = Error::from(expect_mysql(&mut packets).unwrap_err());
            assert!(error.message.contains("no MySQL or MariaDB server (it said \"SSH-"), "pieces of {size}: {error}");
        }
    }

    #[test]
    fn a_key_that_is_none_is_refused() {
        // A switch to sha256_password, then what is to be its key.
        let switch = [&b"\xFEsha256_password\0"[..], &[7; 20], b"\0"].concat();
        let key = b"\x01-----BEGIN PUBLIC KEY-----MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A-----END PUBLIC KEY-----".to_vec();
        let frame =
            |sequence: u8, payload: &[u8]| [&[u8::try_from(payload.len()).unwrap(), 0, 0, sequence], payload].concat();
        let mut packets = Packets::new(Torn::connection([frame(0, &switch), frame(2, &key)].concat(), vec![]));
        let mut login =
            Login { user: "u".to_owned(), password: "p".to_owned(), scramble: vec![7; 20], encrypted: false };
        let (plugin, procedure) =
            (AuthPlugin::MysqlNativePassword, AuthProc::MysqlNativePassword(MysqlNativePassword::default()));
        let error = Error::from(authenticate(&mut packets, &mut login, plugin, procedure).unwrap_err());
        assert!(error.message.contains("its RSA key is none"), "{error}");
    }
}
