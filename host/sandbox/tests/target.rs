//! Connections of guests: plain and TLS, refused and lost, cancelled, and how fast they are.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests, which clippy does not know as such"
)]

mod guests;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use coffer_api::plan::{ClientCertificate, Target, Tls, TlsMode, Verify};
use coffer_sandbox::contract::{AddonError, ByteSink};
use coffer_sandbox::{SandboxError, SessionOptions};
use guests::{Collected, FINISH, Guest, TARGET, WRITE, item, options, target};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use secrecy::SecretBox;

/// Returns the error that lies at 256 if there is one: kind, message, retryable.
const CHECK: &str = "(func $check (result i32)
    (if (i32.eqz (i32.load8_u (i32.const 256))) (then (return (i32.const 0))))
    (i32.const 1))
  (func $error (result i32)
    (i32.store8 (i32.const 208) (i32.load8_u (i32.const 272)))
    (call $fail (i32.load8_u (i32.const 260)) (i32.load (i32.const 264)) (i32.load (i32.const 268))))";

/// Connects, sends "hello", writes what comes back to the stream and finishes it. `$a` is the connection.
fn echo(tls: bool) -> Guest {
    let start = "(call $start_tls (local.get $a) (i32.const 256)) (if (call $check) (then (return (call $error))))";
    let run = format!(
        "(call $connect (i32.const 256)) (if (call $check) (then (return (call $error))))
         (local.set $a (i32.load (i32.const 260)))
         {}
         (call $send (local.get $a) (i32.const 1024) (i32.const 5) (i32.const 256))
         (if (call $check) (then (return (call $error))))
         (loop $more
            (global.set $heap (i32.const 65536))
            (call $receive (local.get $a) (i32.const 65536) (i32.const 256))
            (if (call $check) (then (return (call $error))))
            (if (i32.load (i32.const 264)) (then
                (local.set $n (i64.add (local.get $n) (i64.extend_i32_u (i32.load (i32.const 264)))))
                (call $write (local.get $pipe) (i32.load (i32.const 260)) (i32.load (i32.const 264)) (i32.const 256))
                (if (call $check) (then (return (call $error))))
                (br $more))))
         (call $hang_up (local.get $a))
         (call $finish (local.get $pipe) (local.get $n) (i32.const 256))
         (i32.const 64)",
        if tls { start } else { "" }
    );
    Guest { extra: CHECK.to_owned(), ..Guest::running(&[TARGET, WRITE, FINISH], run.leak()) }
}

fn for_target(target: Target) -> SessionOptions {
    SessionOptions { target: Some(Arc::new(target)), ..options() }
}

fn run(guest: &Guest, target: Target) -> Result<Vec<u8>, SandboxError> {
    let mut session = guest.load().backup(for_target(target)).unwrap();
    let sink = Collected::default();
    session.run(&item(), Box::new(sink.clone()))?;
    let bytes = sink.bytes.lock().unwrap();
    Ok(bytes.clone())
}

/// A server for one connection on a free port.
fn serve<T: Send + 'static>(work: impl FnOnce(TcpStream) -> T + Send + 'static) -> (u16, JoinHandle<T>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (port, std::thread::spawn(move || work(listener.accept().unwrap().0)))
}

fn answer(mut stream: impl Read + Write) {
    let mut hello = [0; 5];
    stream.read_exact(&mut hello).unwrap();
    stream.write_all(&hello).unwrap();
    stream.write_all(b" to you").unwrap();
    stream.flush().unwrap();
}

#[test]
fn bytes_go_there_and_back() {
    let (port, server) = serve(answer);
    assert_eq!(run(&echo(false), target("localhost", port)).unwrap(), b"hello to you");
    server.join().unwrap();
}

#[test]
fn failures_to_connect_say_where_why_and_what_to_do() {
    // A port on which nobody listens; one that was free a moment ago may be another test's by now.
    let error = run(&echo(false), target("127.0.0.1", 1)).unwrap_err();
    assert!(error.is_retryable());
    let text = error.to_string();
    for part in ["cannot connect to 127.0.0.1:1", "connection refused", "spec.clientConfig"] {
        assert!(text.contains(part), "{part} is not in: {text}");
    }
    let text = run(&echo(false), target("no-such-host.invalid", 3306)).unwrap_err().to_string();
    assert!(text.contains("no-such-host.invalid:3306") && text.contains("cannot be resolved"), "{text}");
    assert!(!text.contains("correct-horse"), "{text}");
}

#[test]
fn a_cut_connection_is_an_end_or_an_error_but_never_a_hang() {
    let (port, server) = serve(|mut stream| {
        stream.read_exact(&mut [0; 5]).unwrap();
        stream.write_all(b"half").unwrap();
    });
    assert_eq!(run(&echo(false), target("127.0.0.1", port)).unwrap(), b"half");
    server.join().unwrap();
}

#[test]
fn waiting_for_a_silent_server_ends_with_the_run() {
    let (connected, connection) = channel();
    let (port, server) = serve(move |mut stream| {
        connected.send(()).unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
        rest
    });
    let options = for_target(target("127.0.0.1", port));
    let cancel = options.cancel.clone();
    let mut session = echo(false).load().backup(options).unwrap();
    let thread = std::thread::spawn(move || (session.run(&item(), Box::new(Collected::default())), Instant::now()));
    connection.recv_timeout(Duration::from_secs(30)).expect("the guest connects");
    cancel.cancel("interrupted by a test");
    let start = Instant::now();
    let (result, end) = thread.join().unwrap();
    assert!(matches!(result.unwrap_err(), SandboxError::Cancelled { .. }));
    assert!(end.duration_since(start) < Duration::from_secs(20));
    // The guest leaked its connection; the sandbox closed it.
    let _ = server.join();
}

#[test]
fn open_connections_are_capped() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let run = "(loop $more (call $connect (i32.const 256))
        (if (call $check) (then (return (call $error)))) (br $more)) (unreachable)";
    let guest = Guest { extra: CHECK.to_owned(), ..Guest::running(&[TARGET], run) };
    let mut session = guest.load().backup(for_target(target("127.0.0.1", port))).unwrap();
    let text = session.run(&item(), Box::new(Collected::default())).unwrap_err().to_string();
    assert!(text.contains("8 connections open"), "{text}");
}

/// A certificate authority with a certificate for `localhost` and a client's.
struct Authority {
    ca: Vec<u8>,
    server: (Vec<u8>, Vec<u8>),
    client: (Vec<u8>, Vec<u8>),
}

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let issue = |names: &[&str], usage| {
        let mut params = CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &ca).unwrap();
        (certificate.pem().into_bytes(), key.serialize_pem().into_bytes())
    };
    Authority {
        server: issue(&["localhost", "db.example"], ExtendedKeyUsagePurpose::ServerAuth),
        client: issue(&["coffer"], ExtendedKeyUsagePurpose::ClientAuth),
        ca: ca.pem().into_bytes(),
    }
}

/// A TLS server for one connection. It asks for a client certificate of `clients` if there is one.
fn serve_tls(authority: &Authority, clients: Option<&[u8]>) -> (u16, JoinHandle<Option<usize>>) {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions().unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(ca).unwrap()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        }
    };
    let chain = vec![CertificateDer::from_pem_slice(&authority.server.0).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(&authority.server.1).unwrap();
    let config = Arc::new(builder.with_single_cert(chain, key).unwrap());
    serve(move |stream| {
        let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), stream);
        let mut hello = [0; 5];
        // Clients that refuse us make this fail.
        stream.read_exact(&mut hello).ok()?;
        stream.write_all(&hello).ok()?;
        stream.conn.send_close_notify();
        stream.flush().ok()?;
        Some(stream.conn.peer_certificates().map_or(0, <[_]>::len))
    })
}

fn secure(port: u16, tls: Tls) -> Target {
    Target { tls: Tls { mode: TlsMode::Required, ..tls }, ..target("127.0.0.1", port) }
}

#[test]
fn tls_is_checked_as_the_appbinding_says() {
    let (ours, theirs) = (authority(), authority());
    let name = |name: &str| Some(name.to_owned());
    let ca = |authority: &Authority| Some(authority.ca.clone());
    let cases = [
        ("no check", Tls::default(), None),
        (
            "chain, the endpoint's IP is not in the certificate",
            Tls { verify: Verify::Chain, ca: ca(&ours), ..Tls::default() },
            None,
        ),
        ("another CA", Tls { verify: Verify::Chain, ca: ca(&theirs), ..Tls::default() }, Some("caBundle")),
        (
            "the server's own certificate as CA",
            Tls { verify: Verify::Chain, ca: Some(ours.server.0.clone()), ..Tls::default() },
            None,
        ),
        (
            "identity",
            Tls { verify: Verify::Identity, ca: ca(&ours), server_name: name("db.example"), ..Tls::default() },
            None,
        ),
        (
            "another name",
            Tls { verify: Verify::Identity, ca: ca(&ours), server_name: name("x.example"), ..Tls::default() },
            Some("serverName"),
        ),
        ("the IP as name", Tls { verify: Verify::Identity, ca: ca(&ours), ..Tls::default() }, Some("another name")),
        (
            "identity by another CA",
            Tls { verify: Verify::Identity, ca: ca(&theirs), server_name: name("localhost"), ..Tls::default() },
            Some("caBundle"),
        ),
        ("no CA", Tls { verify: Verify::Chain, ..Tls::default() }, Some("no CA to check it against")),
        (
            "a CA that is none",
            Tls { verify: Verify::Chain, ca: Some(b"x".to_vec()), ..Tls::default() },
            Some("no PEM certificate"),
        ),
        ("an impossible name", Tls { server_name: name("a b"), ..Tls::default() }, Some("no host name")),
    ];
    for (case, tls, expected) in cases {
        let (port, server) = serve_tls(&ours, None);
        match (run(&echo(true), secure(port, tls)), expected) {
            (Ok(bytes), None) => assert_eq!(bytes, b"hello", "{case}"),
            (Err(error), Some(expected)) => assert!(error.to_string().contains(expected), "{case}: {error}"),
            (result, _) => panic!("{case}: {result:?}"),
        }
        server.join().unwrap();
    }
}

#[test]
fn client_certificates_are_shown() {
    let ours = authority();
    let client = |pair: &(Vec<u8>, Vec<u8>)| {
        Some(ClientCertificate { certificate: pair.0.clone(), key: SecretBox::new(pair.1.clone().into_boxed_slice()) })
    };
    let (port, server) = serve_tls(&ours, Some(&ours.ca));
    let tls = Tls { client: client(&ours.client), ..Tls::default() };
    assert_eq!(run(&echo(true), secure(port, tls)).unwrap(), b"hello");
    assert_eq!(server.join().unwrap(), Some(1));

    let (port, server) = serve_tls(&ours, Some(&ours.ca));
    let text = run(&echo(true), secure(port, Tls::default())).unwrap_err().to_string();
    assert!(text.contains("spec.tlsSecret"), "{text}");
    assert_eq!(server.join().unwrap(), None);

    let mismatched = (ours.client.0.clone(), ours.server.1.clone());
    let (port, server) = serve_tls(&ours, None);
    let text =
        run(&echo(true), secure(port, Tls { client: client(&mismatched), ..Tls::default() })).unwrap_err().to_string();
    assert!(text.contains("do not fit together") && !text.contains("BEGIN"), "{text}");
    server.join().unwrap();
}

#[test]
fn a_server_without_tls_is_no_riddle() {
    let (port, server) = serve(|mut stream| {
        let _ = stream.read(&mut [0; 16]);
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    let text = run(&echo(true), secure(port, Tls::default())).unwrap_err().to_string();
    assert!(text.contains("not TLS"), "{text}");
    server.join().unwrap();
    let (port, server) = serve(drop);
    let text = run(&echo(true), secure(port, Tls::default())).unwrap_err().to_string();
    assert!(text.contains("was lost") && text.contains(&port.to_string()), "{text}");
    server.join().unwrap();
}

#[test]
fn tls_is_not_started_where_it_is_disabled() {
    let (port, server) = serve(drop);
    let tls = Tls { mode: TlsMode::Disabled, ..Tls::default() };
    let text = run(&echo(true), Target { tls, ..target("127.0.0.1", port) }).unwrap_err().to_string();
    assert!(text.contains("TLS is disabled"), "{text}");
    server.join().unwrap();
}

struct Count(u64);

impl ByteSink for Count {
    fn write(&mut self, bytes: Vec<u8>) -> Result<(), AddonError> {
        self.0 += bytes.len() as u64;
        Ok(())
    }

    fn finish(&mut self, bytes: u64) -> Result<(), AddonError> {
        assert_eq!(self.0, bytes);
        Ok(())
    }
}

/// The rate from a socket through a guest into a pipe. `cargo test --release -p coffer-sandbox --test target -- --ignored --nocapture`
#[test]
#[ignore = "a measurement, not a check"]
#[expect(clippy::print_stderr, reason = "the result is for whoever measures")]
fn rate_of_the_whole_way() {
    const MIB: u32 = 4096;
    let (port, server) = serve(|mut stream| {
        stream.read_exact(&mut [0; 5]).unwrap();
        let chunk = vec![7; 1 << 20];
        for _ in 0..MIB {
            stream.write_all(&chunk).unwrap();
        }
    });
    let mut session = echo(false).load().backup(for_target(target("127.0.0.1", port))).unwrap();
    let start = Instant::now();
    session.run(&item(), Box::new(Count(0))).unwrap();
    let rate = f64::from(MIB) / 1024.0 / start.elapsed().as_secs_f64();
    server.join().unwrap();
    eprintln!("{rate:.2} GiB/s from a loopback socket through the guest into the pipe");
}
