//! Takes out of objects and texts what somebody outside must not see. Secrets themselves are never shown; this is for what people write
//! into other objects, and for what a program may print by mistake.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// What stands where something was.
pub(crate) const HIDDEN: &str = "(hidden)";
/// A copy of the object as somebody applied it.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Parts of names whose value is a credential. Compared in lower case, without `-` and `_`.
const SECRETIVE: [&str; 9] =
    ["password", "passwd", "passphrase", "token", "credential", "accesskey", "secretkey", "privatekey", "apikey"];
/// Keys of Secrets whose values are no secrets, and may be ordinary words.
const PUBLIC_KEYS: [&str; 10] =
    ["username", "user", "type", "host", "hostname", "port", "database", "namespace", "ca.crt", "tls.crt"];
/// The shortest value of a Secret that is looked for in texts. A shorter one would be found everywhere.
const SHORTEST: usize = 6;

/// Hides what is secret by its place: environment variables, HTTP headers, fields with telling names, users and passwords of URLs.
pub(crate) fn object(value: &mut Value) {
    if let Some(metadata) = value.pointer_mut("/metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.remove(LAST_APPLIED);
        }
    }
    walk(value);
}

fn walk(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (key, field) in fields {
                match field {
                    Value::String(text) if is_secretive(key) && !text.is_empty() => HIDDEN.clone_into(text),
                    Value::Array(items) if ["env", "variables", "httpHeaders"].contains(&key.as_str()) => {
                        items.iter_mut().for_each(hide_value);
                    }
                    field => walk(field),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(walk),
        Value::String(line) => *line = text(line),
        _ => {}
    }
}

/// The value of a name and a value.
fn hide_value(item: &mut Value) {
    if let Some(value) = item.get_mut("value") {
        *value = HIDDEN.into();
    }
    walk(item);
}

fn is_secretive(name: &str) -> bool {
    let plain: String = name.chars().filter(|c| !"-_".contains(*c)).collect::<String>().to_ascii_lowercase();
    // A reference to a Secret is none.
    !plain.ends_with("name") && SECRETIVE.iter().any(|part| plain.contains(part))
}

/// Hides what looks like a credential: `password=…`, `--token …`, `-p…`, `user:password@host`.
pub(crate) fn text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut hide_next, mut telling) = (false, false);
    for piece in text.split_inclusive([' ', '\t', '\n', '"', '\'', ',']) {
        let end = piece.trim_end_matches([' ', '\t', '\n', '"', '\'', ',']).len();
        let (word, border) = piece.split_at(end);
        if word.is_empty() {
            out.push_str(border);
            continue;
        }
        if hide_next {
            out.push_str(HIDDEN);
        } else {
            out.push_str(&hidden_word(word));
        }
        // `--password x`, `token: x`, `"password":"x"`, `Bearer x`
        let option = word.trim_start_matches('-').trim_end_matches(':');
        let announces = word.starts_with("--") && !word.contains('=') || word.ends_with(':');
        let after_name = word == ":" && telling;
        hide_next =
            !hide_next && (announces && is_secretive(option) || after_name || word.eq_ignore_ascii_case("bearer"));
        telling = is_secretive(word);
        out.push_str(border);
    }
    out
}

fn hidden_word(word: &str) -> String {
    if let Some((name, value)) = word.split_once('=')
        && !value.is_empty()
        && is_secretive(name.rsplit(['?', '&', ';']).next().unwrap_or(name))
    {
        // Of a URL, the other parameters go with it.
        return format!("{name}={HIDDEN}");
    }
    let word = without_user(word);
    match word.strip_prefix("-p") {
        Some(rest) if !rest.is_empty() => format!("-p{HIDDEN}"),
        _ => parameters(&word),
    }
}

/// Hides telling parameters further back in a URL: `?a=1&password=2`.
fn parameters(word: &str) -> String {
    let mut out = String::new();
    for piece in word.split_inclusive(['?', '&', ';']) {
        let (part, border) = match piece.char_indices().last() {
            Some((at, last)) if "?&;".contains(last) => piece.split_at(at),
            _ => (piece, ""),
        };
        match part.split_once('=') {
            Some((name, value)) if !value.is_empty() && is_secretive(name) => {
                out.push_str(name);
                out.push('=');
                out.push_str(HIDDEN);
            }
            _ => out.push_str(part),
        }
        out.push_str(border);
    }
    out
}

/// Hides `user:password` of `scheme://user:password@host` and of `user:password@tcp(host)`. A password may hold any character, so the last `@` counts.
fn without_user(word: &str) -> String {
    let Some((before, after)) = word.rsplit_once('@') else { return word.to_owned() };
    // An image's digest.
    if after.starts_with("sha256:") {
        return word.to_owned();
    }
    let (scheme, user) = before.split_once("://").map_or(("", before), |(scheme, user)| (scheme, user));
    if !user.contains(':') {
        return word.to_owned();
    }
    let scheme = if scheme.is_empty() { String::new() } else { format!("{scheme}://") };
    format!("{scheme}{HIDDEN}@{after}")
}

/// The values of Secrets, to take them out of whatever text they got into.
#[derive(Default)]
pub(crate) struct Values(Vec<String>);

impl Values {
    /// Adds the values of a Secret, as they are and as base64.
    pub(crate) fn add<'a>(&mut self, data: impl IntoIterator<Item = (&'a str, &'a [u8])>) {
        for (key, value) in data {
            if PUBLIC_KEYS.contains(&key) {
                continue;
            }
            if value.len() >= SHORTEST {
                self.0.push(STANDARD.encode(value));
            }
            let Ok(text) = std::str::from_utf8(value) else { continue };
            // A key or a document has many lines, and each may be printed alone.
            self.0.extend(text.lines().map(str::trim).filter(|line| line.len() >= SHORTEST).map(str::to_owned));
        }
        // The longest first: one may be a part of another.
        self.0.sort_by_key(|value| std::cmp::Reverse(value.len()));
        self.0.dedup();
    }

    /// The text without them.
    pub(crate) fn out_of(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, value| text.replace(value.as_str(), HIDDEN))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn texts_lose_what_looks_like_a_credential() {
        for (before, after) in [
            ("mysql://root:hunter2@db:3306/?ssl-mode=REQUIRED", "mysql://(hidden)@db:3306/?ssl-mode=REQUIRED"),
            ("root:hun/ter2@tcp(db:3306)/", "(hidden)@tcp(db:3306)/"),
            ("mysql://root://hunter2@db/", "mysql://(hidden)@db/"),
            ("mysql://db/?a=1&password=hunter2&b=2", "mysql://db/?a=1&password=(hidden)&b=2"),
            ("--password=hunter2 --host=db", "--password=(hidden) --host=db"),
            ("--password hunter2 --host db", "--password (hidden) --host db"),
            ("AWS_SECRET_ACCESS_KEY=hunter2", "AWS_SECRET_ACCESS_KEY=(hidden)"),
            ("mysql -uroot -phunter2 shop", "mysql -uroot -p(hidden) shop"),
            ("api_token: hunter2", "api_token: (hidden)"),
            (r#"{"password":"hunter2","a":"b"}"#, r#"{"password":"(hidden)","a":"b"}"#),
            ("Authorization: Bearer hunter2", "Authorization: Bearer (hidden)"),
            ("cannot get Secret demo/token", "cannot get Secret demo/token"),
            ("somebody@example.org", "somebody@example.org"),
            ("ghcr.io/x/coffer:0.1@sha256:00ff", "ghcr.io/x/coffer:0.1@sha256:00ff"),
            ("a  b\nc", "a  b\nc"),
        ] {
            assert_eq!(text(before), after);
        }
    }

    #[test]
    fn objects_lose_what_is_secret_by_its_place() {
        let mut value = json!({
            "metadata": {
                "name": "x", "managedFields": [{ "manager": "kubectl" }],
                "annotations": { LAST_APPLIED: "{\"password\":\"hunter2\"}", "team": "db" },
            },
            "spec": {
                "clientConfig": { "url": "mysql://root:hunter2@db/" },
                "secret": { "name": "shop-auth" }, "secretName": "s3", "adminPassword": "hunter2", "tokenSecretName": "t",
                "containers": [{ "env": [{ "name": "A", "value": "hunter2" }, { "name": "B", "valueFrom": { "secretKeyRef": { "name": "s", "key": "k" } } }] }],
                "hook": { "httpHeaders": [{ "name": "Authorization", "value": "Bearer hunter2" }], "command": ["sh", "-c", "mysql -phunter2"] },
                "params": { "args": "--password=hunter2" }, "replicas": 2,
            },
        });
        object(&mut value);
        assert!(!value.to_string().contains("hunter2"), "{value:#}");
        for (pointer, kept) in [
            ("/metadata/annotations", json!({ "team": "db" })),
            ("/spec/secret/name", json!("shop-auth")),
            ("/spec/secretName", json!("s3")),
            ("/spec/tokenSecretName", json!("t")),
            ("/spec/containers/0/env/1/valueFrom/secretKeyRef/key", json!("k")),
            ("/spec/replicas", json!(2)),
            ("/spec/adminPassword", json!(HIDDEN)),
        ] {
            assert_eq!(value.pointer(pointer), Some(&kept), "{pointer}");
        }
        assert!(value.pointer("/metadata/managedFields").is_none());
    }

    #[test]
    fn values_of_secrets_are_found_wherever_they_are() {
        let mut values = Values::default();
        let document = b"-----BEGIN-----\nlong-line-of-a-key\n-----END-----\n".as_slice();
        values.add([
            ("password", b"correct-horse".as_slice()),
            ("username", b"administrator"),
            ("pin", b"1234"),
            ("key", document),
        ]);
        values.add([("other", b"correct-horse-battery".as_slice()), ("binary", &[0xff; 8])]);
        let text = "said correct-horse, correct-horse-battery, Y29ycmVjdC1ob3JzZQ==, long-line-of-a-key, //////////8= and administrator 1234";
        let hidden = values.out_of(text);
        assert_eq!(hidden, "said (hidden), (hidden), (hidden), (hidden), (hidden) and administrator 1234");
    }
}
