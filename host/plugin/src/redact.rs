//! Takes out of objects and texts what somebody outside must not see. Secrets themselves are never shown; this is for what people write
//! into other objects, and for what a program may print by mistake.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use serde_json::Value;

/// What stands where something was.
pub(crate) const HIDDEN: &str = "(hidden)";
/// A copy of the object as somebody applied it.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Parts of names whose value is a credential. Compared in lower case, without `-` and `_`.
const SECRETIVE: [&str; 14] = [
    "password",
    "passwd",
    "pwd",
    "passphrase",
    "token",
    "credential",
    "accesskey",
    "accountkey",
    "secretkey",
    "privatekey",
    "apikey",
    "clientsecret",
    "signature",
    "stringvalue",
];
/// Whole names whose value is a credential: the signature of a shared URL.
const SECRETIVE_NAMES: [&str; 1] = ["sig"];
/// The fields of a reference to a Secret.
const REFERENCE: [&str; 8] =
    ["name", "key", "namespace", "optional", "secretName", "secretRef", "secretKeyRef", "configMapKeyRef"];
/// What ends a word, besides commas and backslashes.
const BORDERS: [char; 6] = [' ', '\t', '\r', '\n', '"', '\''];
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
                    field if is_secretive(key) => hide_unless_reference(field),
                    Value::Array(items) if ["env", "variables", "httpHeaders"].contains(&key.as_str()) => {
                        items.iter_mut().for_each(hide_value);
                    }
                    field => walk(field),
                }
            }
        }
        Value::Array(items) => {
            // `["--password", "x"]`
            let mut hide_next = false;
            for item in items {
                match item {
                    Value::Object(_) | Value::Array(_) => walk(item),
                    item if hide_next => {
                        *item = HIDDEN.into();
                        hide_next = false;
                    }
                    Value::String(line) => (*line, hide_next) = scan(line),
                    _ => {}
                }
            }
        }
        Value::String(line) => *line = text(line),
        _ => {}
    }
}

/// Hides what a telling name stands for. Where a secret is, and whether there is one, is none.
fn hide_unless_reference(field: &mut Value) {
    match field {
        Value::Null | Value::Bool(_) => {}
        Value::String(text) if text.is_empty() => {}
        Value::Object(_) if is_reference(field) => walk(field),
        field => *field = HIDDEN.into(),
    }
}

fn is_reference(value: &Value) -> bool {
    value.as_object().is_some_and(|fields| {
        fields.iter().all(|(key, field)| {
            REFERENCE.contains(&key.as_str()) && (field.is_string() || field.is_boolean() || is_reference(field))
        })
    })
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
    !plain.ends_with("name")
        && (SECRETIVE_NAMES.contains(&plain.as_str()) || SECRETIVE.iter().any(|part| plain.contains(part)))
}

/// Hides what looks like a credential: `password=…`, `--token …`, `-p…`, `user:password@host`.
pub(crate) fn text(text: &str) -> String {
    scan(text).0
}

/// What the words before say about the next one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Nothing.
    Word,
    /// The last one is a telling name; it is a value if `:` or `=` comes first.
    Named,
    /// It is a value.
    Value,
    /// It belongs to a value that ends with this quote, escaped by no more than so many backslashes.
    Quoted(char, usize),
}

/// The text without what looks like a credential, and whether its end announces one.
fn scan(text: &str) -> (String, bool) {
    let text = without_users(text);
    let mut out = String::with_capacity(text.len());
    let mut next = Next::Word;
    for piece in text.split_inclusive(BORDERS) {
        let is_border = |c: char| BORDERS.contains(&c) || c == ',' || c == '\\';
        let (word, border) = piece.split_at(piece.trim_end_matches(is_border).len());
        if next == Next::Value
            && !word.is_empty()
            && let Some(quote) = out.chars().next_back().filter(|c| "\"'".contains(*c))
        {
            out.truncate(out.len() - 1);
            let depth = backslashes(&out);
            out.push(quote);
            out.push_str(HIDDEN);
            next = Next::Quoted(quote, depth);
        }
        if let Next::Quoted(quote, depth) = next {
            let closing = border.strip_suffix(quote).filter(|before| backslashes(before) <= depth);
            if closing.is_some() || border.ends_with('\n') {
                out.push_str(border);
                next = Next::Word;
            }
            continue;
        }
        if !word.is_empty() {
            next = scan_word(word, next, &mut out);
        }
        out.push_str(border);
    }
    (out, next == Next::Value)
}

/// How many backslashes are at the end.
fn backslashes(text: &str) -> usize {
    text.len() - text.trim_end_matches('\\').len()
}

/// Adds a word, hidden where it is to be, and returns what it says about the next one.
fn scan_word(word: &str, next: Next, out: &mut String) -> Next {
    if next == Next::Value {
        out.push_str(HIDDEN);
        return Next::Word;
    }
    // `password = x`, `"password":"x"`, `"password":1`
    let value = word.trim_start_matches([':', '=', '>']);
    if next == Next::Named && value.len() < word.len() {
        out.push_str(word.split_at(word.len() - value.len()).0);
        if value.is_empty() {
            return Next::Value;
        }
        out.push_str(HIDDEN);
        return Next::Word;
    }
    out.push_str(&hidden_word(word));
    // `token: x`, `password="x"`, `--password x`, `Bearer x`
    let name = word.trim_end_matches([':', '=']);
    let scheme = ["bearer", "basic"].iter().any(|scheme| last_name(word).eq_ignore_ascii_case(scheme));
    if scheme || is_secretive(last_name(name)) && (name.len() < word.len() || word.starts_with("--")) {
        Next::Value
    } else if is_secretive(last_name(word)) {
        Next::Named
    } else {
        Next::Word
    }
}

/// The name at the end of a text: `password` of `{"a":1,password`.
fn last_name(text: &str) -> &str {
    text.rsplit(|c: char| !c.is_alphanumeric() && !"-_./".contains(c)).next().unwrap_or(text)
}

fn hidden_word(word: &str) -> String {
    let word = without_user(&without_values(word));
    match word.strip_prefix("-p") {
        Some(rest) if !rest.is_empty() => format!("-p{HIDDEN}"),
        _ => word,
    }
}

/// Hides the values of telling names: `password=…`, `token:…`, and `?a=1&password=…`, where other parameters may follow.
fn without_values(word: &str) -> String {
    let mut out = String::new();
    let mut rest = word;
    while let Some((before, value)) = telling(rest) {
        out.push_str(before);
        out.push_str(HIDDEN);
        let parameter = out.contains(['?', '&', ';']);
        let end = value.find(['&', ';']).filter(|_| parameter).unwrap_or(value.len());
        rest = value.split_at(end).1;
    }
    out + rest
}

/// Splits a word behind its first telling name: `password=` and what it stands for.
fn telling(word: &str) -> Option<(&str, &str)> {
    let splits = word.match_indices(['=', ':']).map(|(at, sign)| (sign, word.split_at(at).0, word.split_at(at + 1)));
    let found = splits.filter(|(sign, before, (_, value))| {
        let name = last_name(before);
        // The tag of an image is no value.
        !value.is_empty() && is_secretive(name) && (*sign == "=" || !name.contains('/'))
    });
    found.map(|(_, _, split)| split).next()
}

/// Hides users and passwords of URLs in a text. This comes before the text is split into words, as a password may hold a comma.
fn without_users(text: &str) -> String {
    let ends = |c: char| c.is_whitespace() || "\"`<>".contains(c);
    let words =
        text.split_inclusive(ends).map(|word| if word.contains("://") { without_user(word) } else { word.into() });
    words.collect()
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

/// The values of Secrets, to take them out of whatever they got into. They must be looked for before anything else changes it.
#[derive(Default)]
pub(crate) struct Values(Vec<Vec<u8>>);

impl Values {
    /// Adds the values of a Secret, as they are and as base64.
    pub(crate) fn add<'a>(&mut self, data: impl IntoIterator<Item = (&'a str, &'a [u8])>) {
        for (key, value) in data {
            if PUBLIC_KEYS.contains(&key) {
                continue;
            }
            // A key or a document has many lines, and each may be printed alone.
            let lines = std::str::from_utf8(value).unwrap_or_default().lines().map(|line| line.trim().as_bytes());
            let lines: Vec<_> = lines.filter(|line| line.len() >= SHORTEST).collect();
            for plain in lines.iter().copied().chain([value]).filter(|plain| plain.len() >= SHORTEST) {
                let codes = [STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD];
                self.0.extend(codes.map(|code| code.encode(plain).into_bytes()));
            }
            self.0.extend(lines.into_iter().map(<[u8]>::to_vec));
        }
        // The longest first: one may be a part of another.
        self.0.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        self.0.dedup();
    }

    /// The text without them, however they are escaped.
    pub(crate) fn out_of(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let found = self.0.iter().find_map(|value| length(value, rest.as_bytes()));
            if let Some(after) = found.and_then(|length| rest.get(length..)) {
                out.push_str(HIDDEN);
                rest = after;
            } else {
                out.push(first);
                rest = rest.split_at(first.len_utf8()).1;
            }
        }
        out
    }

    /// Takes them out of every text and name in an object.
    pub(crate) fn out_of_object(&self, value: &mut Value) {
        match value {
            Value::Object(fields) => {
                let clean = std::mem::take(fields).into_iter().map(|(key, mut field)| {
                    self.out_of_object(&mut field);
                    (self.out_of(&key), field)
                });
                *fields = clean.collect();
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.out_of_object(item)),
            Value::String(text) => *text = self.out_of(text),
            Value::Number(number) => {
                let plain = number.to_string();
                if self.out_of(&plain) != plain {
                    *value = HIDDEN.into();
                }
            }
            Value::Null | Value::Bool(_) => {}
        }
    }
}

/// The length of the value at the beginning of a text, if it is there: as it is, percent-encoded, or escaped as in JSON, JSON in JSON too.
fn length(value: &[u8], text: &[u8]) -> Option<usize> {
    let mut rest = text;
    let mut previous = None;
    for &byte in value {
        let after = after(byte, rest);
        // Several backslashes may have been taken for escapes of the first.
        rest = if previous == Some(b'\\') && byte == b'\\' { after.unwrap_or(rest) } else { after? };
        previous = Some(byte);
    }
    Some(text.len() - rest.len())
}

/// What follows one byte of a value, in one of its forms.
fn after(byte: u8, text: &[u8]) -> Option<&[u8]> {
    let mut plain = text;
    while let [b'\\', rest @ ..] = plain {
        plain = rest;
    }
    if byte == b'\\' && plain.len() < text.len() {
        return Some(plain);
    }
    let is = |high: u8, low: u8| {
        let digit = |digit: u8| char::from(digit).to_digit(16);
        digit(high).zip(digit(low)).is_some_and(|(high, low)| high * 16 + low == u32::from(byte))
    };
    match plain {
        [first, rest @ ..] if *first == byte || *first == b'+' && byte == b' ' => Some(rest),
        [b'%', high, low, rest @ ..] | [b'u', b'0', b'0', high, low, rest @ ..] if is(*high, *low) => Some(rest),
        _ => None,
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
            ("--password=\"hun,ter2\" -x", "--password=\"(hidden)\" -x"),
            ("password='hun ter2', a", "password='(hidden)', a"),
            ("password = hunter2", "password = (hidden)"),
            ("password: \"hun\\\"ter2\" a", "password: \"(hidden)\" a"),
            ("token:hunter2 a", "token:(hidden) a"),
            ("a=1,password=hun,ter2", "a=1,password=(hidden)"),
            (r#"{"password": 12345, "a": 1}"#, r#"{"password": (hidden), "a": 1}"#),
            (r#""{\"password\":\"hunter2\",\"a\":\"b\"}""#, r#""{\"password\":\"(hidden)\",\"a\":\"b\"}""#),
            ("mysql://root:hun,ter2@db", "mysql://(hidden)@db"),
            ("at mysql://root:hun'ter2@db, too", "at mysql://(hidden)@db, too"),
            ("MYSQL_PWD=hunter2", "MYSQL_PWD=(hidden)"),
            ("client-secret: hunter2", "client-secret: (hidden)"),
            ("AccountName=x;AccountKey=hunter2==;a=b", "AccountName=x;AccountKey=(hidden);a=b"),
            ("https://x.blob/y?sv=1&sig=hunter2%3D&se=2", "https://x.blob/y?sv=1&sig=(hidden)&se=2"),
            ("Authorization: Basic aHVudGVyMg==", "Authorization: Basic (hidden)"),
            ("design=1 signal: 9", "design=1 signal: 9"),
            ("ghcr.io/x/token-server:v1", "ghcr.io/x/token-server:v1"),
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
                "args": ["--password", "hunter2", "--host", "db"], "passwords": ["hunter2"], "tokens": { "a": "hunter2" },
                "pwd": 7_777_777, "accessKey": { "name": "s", "value": "hunter2" },
                "passwordRef": { "secretKeyRef": { "name": "s", "key": "k" } }, "hasToken": true,
            },
        });
        object(&mut value);
        assert!(!value.to_string().contains("hunter2") && !value.to_string().contains("777"), "{value:#}");
        for (pointer, kept) in [
            ("/metadata/annotations", json!({ "team": "db" })),
            ("/spec/secret/name", json!("shop-auth")),
            ("/spec/secretName", json!("s3")),
            ("/spec/tokenSecretName", json!("t")),
            ("/spec/containers/0/env/1/valueFrom/secretKeyRef/key", json!("k")),
            ("/spec/replicas", json!(2)),
            ("/spec/adminPassword", json!(HIDDEN)),
            ("/spec/args", json!(["--password", HIDDEN, "--host", "db"])),
            ("/spec/passwordRef/secretKeyRef", json!({ "name": "s", "key": "k" })),
            ("/spec/hasToken", json!(true)),
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

    #[test]
    fn values_of_secrets_are_found_in_names_numbers_and_escapes() {
        let mut values = Values::default();
        values.add([("a", br"back\\slash&<".as_slice()), ("b", b"12345678")]);
        for (before, after) in [
            (r"x back\\slash&< y", "x (hidden) y"),
            (r"back\\\\slash\u0026\u003c", HIDDEN),
            ("back%5C%5cslash%26<", HIDDEN),
            ("back%5Cslash", "back%5Cslash"),
        ] {
            assert_eq!(values.out_of(before), after, "{before}");
        }
        let mut object = json!({ "12345678": [12_345_678, 1], "x": null });
        values.out_of_object(&mut object);
        assert_eq!(object, json!({ HIDDEN: [HIDDEN, 1], "x": null }));
    }
}
