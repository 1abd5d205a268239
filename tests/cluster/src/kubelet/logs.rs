//! The part of a kubelet that the API server asks when somebody wants a log: `GET /containerLogs/<namespace>/<pod>/<container>`, over TLS.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Read as _, Write},
    net::TcpStream,
    path::PathBuf,
    sync::{Arc, Weak},
    thread,
    time::Duration,
};

use anyhow::Result;
use rustls::{
    ServerConfig, ServerConnection, StreamOwned, crypto::aws_lc_rs::default_provider, pki_types::PrivateKeyDer,
};
use tokio::{net::TcpListener, task::JoinHandle};

use super::{Host, status};

/// How often a log that is followed is looked at.
const GLANCE: Duration = Duration::from_millis(100);

/// A free port on loopback, before anybody knows of it.
pub(super) async fn listen() -> Result<TcpListener> {
    Ok(TcpListener::bind(("127.0.0.1", 0)).await?)
}

/// Answers there until the task is aborted.
pub(super) fn serve(listener: TcpListener, host: &Arc<Host>) -> Result<JoinHandle<()>> {
    let own = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
    let key = PrivateKeyDer::Pkcs8(own.signing_key.serialize_der().into());
    let tls = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)?;
    let (tls, host) = (Arc::new(tls), Arc::downgrade(host));
    Ok(tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (tls, host) = (Arc::clone(&tls), host.clone());
            let Ok(stream) = stream.into_std() else { continue };
            // A reader that leaves is none of our business.
            thread::spawn(move || answer(stream, tls, &host));
        }
    }))
}

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
struct Request {
    namespace: String,
    pod: String,
    container: String,
    follow: bool,
    tail: Option<usize>,
}

impl Request {
    /// From the first line of an HTTP request.
    fn parse(line: &str) -> Option<Self> {
        let target = line.strip_prefix("GET /containerLogs/")?.split(' ').next()?;
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut parts = path.split('/').map(str::to_owned);
        let value = |name: &str| {
            query.split('&').filter_map(|pair| pair.split_once('=')).find(|pair| pair.0 == name).map(|pair| pair.1)
        };
        Some(Self {
            namespace: parts.next()?,
            pod: parts.next()?,
            container: parts.next()?,
            follow: value("follow") == Some("true"),
            tail: value("tailLines").and_then(|lines| lines.parse().ok()),
        })
    }

    fn file(&self, host: &Host) -> PathBuf {
        let pod = format!("{}_{}", self.namespace, self.pod);
        host.folder.path().join("logs").join(pod).join(format!("{}.log", self.container))
    }

    /// Whether nothing more will be printed.
    fn is_over(&self, host: &Weak<Host>) -> bool {
        let Some(host) = host.upgrade() else { return true };
        let state = host.state();
        let entry = state.pods.values().find(|entry| entry.namespace == self.namespace && entry.name == self.pod);
        entry.is_none_or(|entry| {
            let pod = entry.latest.borrow();
            pod.status.as_ref().and_then(|status| status.phase.as_deref()).is_some_and(status::is_final)
        })
    }
}

fn answer(stream: TcpStream, tls: Arc<ServerConfig>, host: &Weak<Host>) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    let connection = ServerConnection::new(tls).map_err(io::Error::other)?;
    let mut stream = BufReader::new(StreamOwned::new(connection, stream));
    let (mut first, mut line) = (String::new(), String::new());
    stream.read_line(&mut first)?;
    while stream.read_line(&mut line)? > 2 {
        line.clear();
    }
    let mut out = stream.into_inner();
    let found = Request::parse(&first).and_then(|request| {
        let host = host.upgrade()?;
        let file = File::open(request.file(&host)).ok()?;
        Some((request, file))
    });
    match found {
        None => out.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?,
        Some((request, file)) => {
            out.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n")?;
            copy(&request, file, &mut out, host)?;
        }
    }
    out.conn.send_close_notify();
    out.flush()
}

/// The log, from where it is wanted to its end, and to the end of the container if it is followed.
fn copy(request: &Request, mut file: File, out: &mut impl Write, host: &Weak<Host>) -> io::Result<()> {
    let mut skipped = request.tail.is_none();
    loop {
        // Asked before the file is read: what was printed until then is in it.
        let over = !request.follow || request.is_over(host);
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        let begin = if skipped { 0 } else { tail(&text, request.tail.unwrap_or_default()) };
        skipped = true;
        out.write_all(&text[begin..])?;
        out.flush()?;
        if over {
            return Ok(());
        }
        thread::sleep(GLANCE);
    }
}

/// Where the last so many lines begin.
fn tail(text: &[u8], lines: usize) -> usize {
    let begins: Vec<usize> = text
        .split_inclusive(|byte| *byte == b'\n')
        .scan(0, |at, line| {
            let begin = *at;
            *at += line.len();
            Some(begin)
        })
        .collect();
    begins.len().checked_sub(lines).map_or(0, |index| begins.get(index).copied().unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read() {
        let request = Request::parse("GET /containerLogs/demo/p-1/main?follow=true&tailLines=5 HTTP/1.1\r\n").unwrap();
        assert_eq!(
            (request.namespace.as_str(), request.pod.as_str(), request.container.as_str()),
            ("demo", "p-1", "main")
        );
        assert_eq!((request.follow, request.tail), (true, Some(5)));
        assert_eq!(Request::parse("GET /pods HTTP/1.1"), None);
    }

    #[test]
    fn the_last_lines_begin_where_they_do() {
        for (text, lines, begin) in [("a\nb\nc\n", 1, 4), ("a\nb", 1, 2), ("a\nb\n", 5, 0), ("a\n", 0, 2), ("", 3, 0)] {
            assert_eq!(tail(text.as_bytes(), lines), begin, "{text:?} {lines}");
        }
    }
}
