//! The URL forms that AppBindings use: `mysql://host:port/db?x=y`, `tcp://…`, and the DSN of Go's MySQL driver,
//! `user:password@tcp(host:port)/db?x=y`.

use coffer_api::plan::Endpoint;
use secrecy::SecretString;

/// The parts of a connection URL. No `Debug`: the password is among them, and texts that failed to parse are not kept.
pub(crate) struct ConnectionUrl {
    /// Scheme or network, in lower case: `mysql`, `tcp`.
    pub(crate) scheme: String,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<SecretString>,
    pub(crate) host: String,
    pub(crate) port: Option<u16>,
    /// Without its leading slash.
    pub(crate) path: String,
    pub(crate) query: Vec<(String, String)>,
}

/// Why a text is no connection URL. Never holds a part of it.
pub(crate) type Problem = &'static str;

impl ConnectionUrl {
    pub(crate) fn parse(text: &str) -> Result<Self, Problem> {
        match text.split_once("://") {
            Some((scheme, rest)) if is_scheme(scheme) && !is_user(scheme, rest) => Self::parse_url(scheme, rest),
            _ => Self::parse_dsn(text),
        }
    }

    /// The endpoint, with `default` for a URL without port.
    pub(crate) fn endpoint(&self, default: Option<u16>) -> Option<Endpoint> {
        Some(Endpoint { host: self.host.clone(), port: self.port.or(default)? })
    }

    fn parse_url(scheme: &str, rest: &str) -> Result<Self, Problem> {
        let rest = rest.split('#').next().unwrap_or_default();
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        // `mysql://tcp(host:port)/` is seen in the wild; the network inside wins nothing, so it is read as the host.
        let (user, address) = split_user(authority);
        let address = address.strip_prefix("tcp(").and_then(|inner| inner.strip_suffix(')')).unwrap_or(address);
        let (host, port) = split_port(address)?;
        let (username, password) = match user {
            None => (None, None),
            Some(user) => {
                let (name, password) = user.split_once(':').map_or((user, None), |(name, word)| (name, Some(word)));
                (Some(decode(name)?), password.map(decode).transpose()?.map(SecretString::from))
            }
        };
        Ok(Self {
            scheme: scheme.to_ascii_lowercase(),
            username: username.filter(|name| !name.is_empty()),
            password,
            host,
            port,
            path: decode(path)?,
            query: parse_query(query)?,
        })
    }

    /// `[user[:password]@]network(address)/path[?query]`. The password may hold anything, so the last `/` and the last `@`
    /// before it count, and nothing is percent-encoded.
    fn parse_dsn(text: &str) -> Result<Self, Problem> {
        const FORM: Problem = "it is neither scheme://host:port/path nor user:password@tcp(host:port)/path";
        let (rest, query) = match text.rfind(")/").map(|at| text.split_at(at)) {
            Some((_, tail)) => match tail.find('?') {
                Some(at) => text.split_at(text.len() - tail.len() + at),
                None => (text, ""),
            },
            None => (text, ""),
        };
        let (rest, path) = rest.rsplit_once('/').ok_or(FORM)?;
        let (user, address) = split_user(rest);
        let (network, address) = address.strip_suffix(')').and_then(|text| text.split_once('(')).ok_or(FORM)?;
        match network {
            "tcp" | "tcp4" | "tcp6" => {}
            "unix" => return Err("sockets of the local machine (unix) are not supported"),
            _ => return Err("its network is not tcp"),
        }
        let (host, port) = split_port(address)?;
        let (username, password) = match user {
            None => (None, None),
            Some(user) => user
                .split_once(':')
                .map_or((Some(user), None), |(name, word)| (Some(name), Some(SecretString::from(word)))),
        };
        Ok(Self {
            scheme: "tcp".to_owned(),
            username: username.filter(|name| !name.is_empty()).map(str::to_owned),
            password,
            host,
            port,
            path: path.to_owned(),
            query: parse_query(query.strip_prefix('?').unwrap_or(query))?,
        })
    }
}

/// Cuts `a=b&c=d` and decodes it.
pub(crate) fn parse_query(query: &str) -> Result<Vec<(String, String)>, Problem> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(&name.replace('+', " "))?, decode(&value.replace('+', " "))?))
        })
        .collect()
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '+' || c == '-' || c == '.')
}

/// Whether what looks like a scheme is the user of a DSN whose password begins with two slashes: `root://secret@tcp(host)/`.
fn is_user(scheme: &str, rest: &str) -> bool {
    let known = ["mysql", "mariadb", "tcp"].iter().any(|known| scheme.eq_ignore_ascii_case(known));
    !known && ["@tcp(", "@tcp4(", "@tcp6("].iter().any(|network| rest.contains(network))
}

fn split_user(authority: &str) -> (Option<&str>, &str) {
    authority.rsplit_once('@').map_or((None, authority), |(user, address)| (Some(user), address))
}

fn split_port(address: &str) -> Result<(String, Option<u16>), Problem> {
    let (host, port) = if let Some(rest) = address.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or("the bracket of its IPv6 address is not closed")?;
        (
            host,
            if rest.is_empty() {
                None
            } else {
                Some(rest.strip_prefix(':').ok_or("what follows its IPv6 address is no port")?)
            },
        )
    } else {
        match address.split_once(':') {
            Some((_, port)) if port.contains(':') => return Err("its IPv6 address is not in brackets"),
            Some((host, port)) => (host, Some(port)),
            None => (address, None),
        }
    };
    if host.is_empty() {
        return Err("it has no host");
    }
    if host.chars().any(|c| c.is_whitespace() || c.is_control() || matches!(c, '/' | '?' | '(' | ')' | ',')) {
        return Err("its host is malformed (several hosts are not supported)");
    }
    let port = port.filter(|port| !port.is_empty()).map(|port| port.parse::<u16>().ok().filter(|port| *port > 0));
    match port {
        Some(None) => Err("its port is no number from 1 to 65535"),
        Some(port) => Ok((host.to_owned(), port)),
        None => Ok((host.to_owned(), None)),
    }
}

/// Undoes percent-encoding.
fn decode(text: &str) -> Result<String, Problem> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
            let (Some(high), Some(low)) = (digit(rest.next()), digit(rest.next())) else {
                return Err("a percent sign in it is not followed by two hexadecimal digits");
            };
            bytes.push(u8::try_from(high * 16 + low).unwrap_or_default());
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).map_err(|_| "its percent-encoding is not UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    fn parsed(text: &str) -> String {
        let url = ConnectionUrl::parse(text).unwrap_or_else(|problem| panic!("{text}: {problem}"));
        let password = url.password.as_ref().map(|password| password.expose_secret().to_owned());
        format!(
            "{} {:?} {password:?} {} {:?} {:?} {:?}",
            url.scheme, url.username, url.host, url.port, url.path, url.query
        )
    }

    #[test]
    fn urls_and_dsns() {
        for (text, expected) in [
            ("tcp(db.demo.svc:3306)/", r#"tcp None None db.demo.svc Some(3306) "" []"#),
            ("tcp(db)/app", r#"tcp None None db None "app" []"#),
            (
                "root:p@ss/w:?rd@tcp(db:3307)/app?tls=true&x=a%20b",
                r#"tcp Some("root") Some("p@ss/w:?rd") db Some(3307) "app" [("tls", "true"), ("x", "a b")]"#,
            ),
            ("root://secret@tcp(db)/", r#"tcp Some("root") Some("//secret") db None "" []"#),
            ("mysql://root:secret@tcp(db)/", r#"mysql Some("root") Some("secret") db None "" []"#),
            ("tcp([::1]:3306)/", r#"tcp None None ::1 Some(3306) "" []"#),
            (
                "mysql://host.example:12345/defaultdb?ssl-mode=REQUIRED",
                r#"mysql None None host.example Some(12345) "defaultdb" [("ssl-mode", "REQUIRED")]"#,
            ),
            ("mysql://u:p%40ss@db", r#"mysql Some("u") Some("p@ss") db None "" []"#),
            ("MySQL://db:/", r#"mysql None None db None "" []"#),
            ("tcp://[fe80::1]:1/", r#"tcp None None fe80::1 Some(1) "" []"#),
            ("mysql://tcp(db:3306)/", r#"mysql None None db Some(3306) "" []"#),
            ("mysql://db:3306?a&b=#c", r#"mysql None None db Some(3306) "" [("a", ""), ("b", "")]"#),
        ] {
            assert_eq!(parsed(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_url_is_refused_without_repeating_it() {
        for text in [
            "",
            "db",
            "db:3306",
            "db:3306/",
            "unix(/run/mysqld.sock)/",
            "udp(db:1)/",
            "mysql://",
            "mysql://:3306",
            "mysql://db:0",
            "mysql://db:70000",
            "mysql://db:x",
            "mysql://a,b:1/",
            "mysql://::1:3306",
            "mysql://[::1",
            "mysql://[::1]x",
            "mysql://u:%zz@db",
            "mysql://u:%ff@db",
            "hunter2:hunter2@tcp(db:x)/",
        ] {
            let problem = ConnectionUrl::parse(text).err().unwrap_or_else(|| panic!("{text:?} was accepted"));
            assert!(!problem.contains("hunter2"), "{problem}");
        }
    }

    proptest::proptest! {
        #[test]
        fn parsing_never_panics(text in "\\PC{0,40}") {
            let _ = ConnectionUrl::parse(&text);
        }

        #[test]
        fn any_password_survives_a_dsn(password in "\\PC{1,20}") {
            let url = ConnectionUrl::parse(&format!("root:{password}@tcp(db:3306)/app")).ok().unwrap();
            let secret = url.password.unwrap();
            proptest::prop_assert_eq!(secret.expose_secret(), password);
        }
    }
}
