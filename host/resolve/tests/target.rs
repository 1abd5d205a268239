//! From AppBindings to endpoints, credentials and TLS.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

mod common;

use coffer_api::plan::{Target, TlsMode, Verify};
use coffer_resolve::ResolveError;
use common::{DEMO, assert_message, backup, demo};
use secrecy::ExposeSecret;

const SERVICE: &str =
    "    service: {name: sample-mysql, path: /, port: 3306, scheme: tcp}\n    url: tcp(elsewhere:1)/\n";
/// `-----BEGIN CERTIFICATE-----` in base64.
const CA: &str = "caBundle: LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0t";

fn with_client(client: &str) -> Result<Target, ResolveError> {
    backup(&demo(SERVICE, &format!("    {}\n", client.replace('\n', "\n    ")))).map(|plan| plan.target)
}

fn with_spec(spec: &str, rest: &str) -> Result<Target, ResolveError> {
    let text = demo("  secret: {name: sample-mysql-auth}\n", &format!("  {}\n", spec.replace('\n', "\n  ")));
    backup(&format!("{text}\n---\n{rest}")).map(|plan| plan.target)
}

#[test]
fn endpoints() {
    for (client, endpoint, path) in [
        ("service: {name: db, namespace: other, path: /app, port: 3307, scheme: mysql}", "db.other.svc:3307", "app"),
        ("url: tcp(sample-mysql.demo.svc:3306)/", "sample-mysql.demo.svc:3306", ""),
        ("url: tcp(sample-mysql.demo.svc)/", "sample-mysql.demo.svc:3306", ""),
        ("url: 'root:x@tcp([::1]:3310)/app?x=y'", "[::1]:3310", "app"),
        ("url: mysql://db.example:12345/defaultdb?ssl-mode=REQUIRED", "db.example:12345", "defaultdb"),
        ("url: mysql://db.example", "db.example:3306", ""),
        ("url: tcp://10.0.0.1:3306", "10.0.0.1:3306", ""),
    ] {
        let target = with_client(client).unwrap();
        assert_eq!((target.endpoint.to_string().as_str(), target.path.as_str()), (endpoint, path), "{client}");
        assert_eq!(target.credentials.username.as_deref(), Some("root"), "the Secret stands before the URL");
    }
    assert_eq!(
        with_client("url: mysql://db/?a=b&ssl-mode=REQUIRED").unwrap().query,
        [("a".to_owned(), "b".to_owned())]
    );
}

#[test]
fn a_missing_port_needs_a_type() {
    let text = demo(SERVICE, "    url: tcp(db)/\n").replace("type: kubedb.com/mysql", "type: kubedb.com/redis");
    assert_message(backup(&text), &["has no port", "add the port to the URL"]);
    let text = demo(SERVICE, "    url: tcp(db)/\n").replace("type: kubedb.com/mysql", "type: kubedb.com/mariadb");
    assert_eq!(backup(&text).unwrap().target.endpoint.port, 3306);
}

#[test]
fn a_mariadb_is_reached_like_a_mysql() {
    let text = DEMO.replace("kind: MySQL", "kind: MariaDB");
    assert_eq!(backup(&text).unwrap().target.kind, "MariaDB");
}

#[test]
fn bad_endpoints() {
    for (client, expected) in [
        ("serverName: x", "neither service nor url"),
        ("url: 'root:database-hunter2@unix(/run/x)/'", "unix"),
        ("url: 'root:database-hunter2@db:3306'", "spec.clientConfig.url is malformed"),
        ("service: {name: db, port: 0, scheme: tcp}", "service.port"),
        ("service: {name: db, port: 1, scheme: tcp, query: 'a=%zz'}", "service.query is malformed"),
    ] {
        assert_message(with_client(client), &["AppBinding demo/sample-mysql cannot be used", expected]);
    }
}

#[test]
fn tls_follows_the_app_binding() {
    let service = "service: {name: db, port: 3306, scheme: tcp";
    for (client, mode, verify) in [
        (format!("{service}}}"), TlsMode::Preferred, Verify::None),
        (format!("{service}}}\n{CA}"), TlsMode::Required, Verify::Chain),
        (format!("{service}}}\n{CA}\nserverName: db"), TlsMode::Required, Verify::Identity),
        (format!("{service}}}\n{CA}\ninsecureSkipTLSVerify: true"), TlsMode::Preferred, Verify::None),
        (format!("{service}, query: ssl-mode=DISABLED}}\n{CA}"), TlsMode::Disabled, Verify::None),
        (format!("{service}, query: ssl-mode=PREFERRED}}\n{CA}"), TlsMode::Preferred, Verify::None),
        (format!("{service}, query: ssl-mode=REQUIRED}}"), TlsMode::Required, Verify::None),
        (format!("{service}, query: sslMode=required}}\n{CA}"), TlsMode::Required, Verify::Chain),
        (
            format!("{service}, query: ssl-mode=REQUIRED}}\n{CA}\ninsecureSkipTLSVerify: true"),
            TlsMode::Required,
            Verify::None,
        ),
        (format!("{service}, query: ssl-mode=VERIFY_CA}}\n{CA}"), TlsMode::Required, Verify::Chain),
        (format!("{service}, query: ssl-mode=VERIFY_IDENTITY}}\n{CA}"), TlsMode::Required, Verify::Identity),
        (format!("{service}, query: tls=skip-verify}}"), TlsMode::Required, Verify::None),
    ] {
        let target = with_client(&client).unwrap_or_else(|error| panic!("{client}: {error}"));
        assert_eq!((target.tls.mode, target.tls.verify), (mode, verify), "{client}");
        assert!(target.query.is_empty(), "{client}");
    }
    for (client, expected) in [
        (format!("{service}, query: ssl-mode=VERIFY_CA}}"), "there is no CA"),
        (format!("{service}}}\nserverName: db"), "there is no CA"),
        (format!("{service}, query: ssl-mode=VERIFY_CA}}\n{CA}\ninsecureSkipTLSVerify: true"), "remove one of them"),
        (format!("{service}, query: ssl-mode=MAYBE}}"), "ssl-mode=MAYBE"),
        (format!("{service}}}\ncaBundle: aGVsbG8="), "no certificate in PEM"),
    ] {
        assert_message(with_client(&client), &[expected]);
    }
}

#[test]
fn client_certificates_come_from_the_tls_secret() {
    let secret = |data: &str| {
        format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: tls, namespace: demo}}\nstringData: {data}\n")
    };
    let spec = "secret: {name: sample-mysql-auth}\ntlsSecret: {name: tls}";
    let all =
        with_spec(spec, &secret("{tls.crt: leaf, tls.key: database-hunter2, ca.crt: '-----BEGIN CERTIFICATE-----'}"));
    let tls = all.unwrap().tls;
    assert_eq!((tls.mode, tls.verify), (TlsMode::Required, Verify::Chain));
    let client = tls.client.unwrap();
    assert_eq!((client.certificate.as_slice(), client.key.expose_secret()), (&b"leaf"[..], &b"database-hunter2"[..]));
    assert!(with_spec(spec, &secret("{ca.crt: '-----BEGIN CERTIFICATE-----'}")).unwrap().tls.client.is_none());
    assert_message(with_spec(spec, &secret("{tls.crt: leaf}")), &["Secret tls", "key tls.key"]);
    assert_message(with_spec(spec, &secret("{}")), &["Secret tls", "key tls.crt"]);
    assert_message(with_spec(spec, ""), &["Secret tls in namespace demo not found"]);
}

#[test]
fn secret_transforms_apply_in_order() {
    let other =
        "apiVersion: v1\nkind: Secret\nmetadata: {name: more, namespace: demo}\nstringData: {user: from-more, x: z}\n";
    for (transforms, username, password) in [
        ("[{renameKey: {from: absent, to: username}}]", "root", "database-hunter2"),
        (
            "[{addKeysFrom: {secretRef: {name: more}}}, {renameKey: {from: user, to: username}}]",
            "from-more",
            "database-hunter2",
        ),
        ("[{addKey: {key: password, stringValue: changed}}]", "root", "changed"),
        ("[{addKey: {key: password, value: Ynl0ZXM=, stringValue: changed}}]", "root", "bytes"),
        ("[{removeKey: {key: username}}, {addKey: {key: username, stringValue: admin}}]", "admin", "database-hunter2"),
    ] {
        let target =
            with_spec(&format!("secret: {{name: sample-mysql-auth}}\nsecretTransforms: {transforms}"), other).unwrap();
        assert_eq!(target.credentials.username.as_deref(), Some(username), "{transforms}");
        assert_eq!(target.credentials.password.unwrap().expose_secret(), password, "{transforms}");
    }
    let removed = with_spec("secret: {name: sample-mysql-auth}\nsecretTransforms: [{removeKey: {key: username}}]", "");
    assert_message(removed, &["no usable key username", "the keys are: password"]);
    let absent = with_spec(
        "secret: {name: sample-mysql-auth}\nsecretTransforms: [{addKeysFrom: {secretRef: {name: nowhere}}}]",
        "",
    );
    assert_message(absent, &["Secret nowhere in namespace demo not found"]);
}

#[test]
fn without_secret_the_url_has_the_credentials() {
    let text = demo(SERVICE, "    url: 'app:database-hunter2@tcp(db:3306)/'\n")
        .replace("  secret: {name: sample-mysql-auth}\n", "");
    let credentials = backup(&text).unwrap().target.credentials;
    assert_eq!(credentials.username.as_deref(), Some("app"));
    assert_eq!(credentials.password.unwrap().expose_secret(), "database-hunter2");
    let none = with_spec("tlsSecret: null", "").unwrap().credentials;
    assert!(none.username.is_none() && none.password.is_none());
    assert_message(
        with_spec("secret: {kind: VirtualSecret, apiGroup: x, name: z}", ""),
        &["only Secrets of Kubernetes"],
    );
}
