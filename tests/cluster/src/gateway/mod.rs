//! A gateway before the API server: it passes requests on, counts them, and answers some as a server does that is in trouble.
//!
//! It has the certificate of the API server itself, so that operators and pods need nothing but another port. Who asks is not its business: the
//! server behind it sees every client's own token.

mod asked;
mod faults;

use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result};
use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
    serve::Listener,
};
use futures::{StreamExt as _, stream};
use kube::{Client, Config, client::Body as ClientBody, config::Kubeconfig};
use serde_json::json;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, timeout_at},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    },
    server::TlsStream,
};

use crate::{ControlPlane, plane::Papers};
use asked::Asked;
pub use faults::Faults;
use faults::{Cut, Fate};

/// A running gateway; dropping it ends all connections through it.
pub struct Gateway {
    address: SocketAddr,
    inner: Arc<Inner>,
    tasks: Vec<JoinHandle<()>>,
}

/// What was asked so far, and what went wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests by what they ask for, as `PATCH snapshots/status`; watches count once each.
    pub requests: BTreeMap<String, u64>,
    /// Faults by what they were.
    pub faults: BTreeMap<String, u64>,
}

impl Counts {
    /// All requests.
    pub fn total(&self) -> u64 {
        self.requests.values().sum()
    }

    /// All requests but those for this resource.
    pub fn total_without(&self, resource: &str) -> u64 {
        let others = self.requests.iter().filter(|(asked, _)| !asked.ends_with(&format!(" {resource}")));
        others.map(|(_, count)| count).sum()
    }

    /// What has been asked since an earlier look.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let minus = |now: &BTreeMap<String, u64>, before: &BTreeMap<String, u64>| {
            let each = now.iter().map(|(key, count)| (key.clone(), count - before.get(key).copied().unwrap_or(0)));
            each.filter(|(_, count)| *count > 0).collect()
        };
        Self { requests: minus(&self.requests, &before.requests), faults: minus(&self.faults, &before.faults) }
    }

    /// The most frequent requests, in a line.
    pub fn most(&self) -> String {
        let mut all: Vec<_> = self.requests.iter().collect();
        all.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        all.iter().take(12).map(|(asked, count)| format!("{count} {asked}")).collect::<Vec<_>>().join(", ")
    }
}

/// What all connections share.
struct Inner {
    server: Client,
    faults: Mutex<Option<Faults>>,
    /// How many requests of a kind get no answer.
    stalls: Mutex<BTreeMap<String, u32>>,
    counts: Mutex<Counts>,
}

impl Gateway {
    /// Starts a gateway that only counts, on a new port of loopback.
    pub async fn start(plane: &ControlPlane) -> Result<Self> {
        let papers = plane.papers()?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let inner = Arc::new(Inner {
            server: upstream(&papers)?,
            faults: Mutex::default(),
            stalls: Mutex::default(),
            counts: Mutex::default(),
        });
        let (sender, ready) = mpsc::channel(16);
        let welcome = tokio::spawn(welcome(listener, acceptor(&papers)?, sender));
        let router = Router::new().fallback(answer).with_state(Arc::clone(&inner));
        let serve = tokio::spawn(async move {
            if let Err(error) = axum::serve(Door { ready, address }, router).await {
                eprintln!("the gateway ended: {error}");
            }
        });
        Ok(Self { address, inner, tasks: vec![welcome, serve] })
    }

    /// The port, which takes the API server's place.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The same access, through the gateway.
    #[must_use]
    pub fn before(&self, mut kubeconfig: Kubeconfig) -> Kubeconfig {
        for cluster in kubeconfig.clusters.iter_mut().filter_map(|named| named.cluster.as_mut()) {
            cluster.server = Some(format!("https://{}", self.address));
        }
        kubeconfig
    }

    /// Has requests fail from now on, or no more.
    pub fn set(&self, faults: Option<Faults>) {
        *lock(&self.inner.faults) = faults;
    }

    /// The next requests of this kind, such as `POST jobs`, get no answer at all, and are not done.
    pub fn stall(&self, asked: &str, times: u32) {
        lock(&self.inner.stalls).insert(asked.into(), times);
    }

    /// What was asked so far.
    pub fn counts(&self) -> Counts {
        lock(&self.inner.counts).clone()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A client of the API server that adds nothing of its own: no token, and no second try.
fn upstream(papers: &Papers) -> Result<Client> {
    let mut config = Config::new(papers.url.parse()?);
    config.root_cert = Some(vec![CertificateDer::from_pem_slice(&papers.authority)?.to_vec()]);
    config.default_retry = false;
    config.proxy_url = None;
    Ok(Client::try_from(config)?)
}

fn acceptor(papers: &Papers) -> Result<TlsAcceptor> {
    let certificates = CertificateDer::pem_slice_iter(&papers.certificate).collect::<Result<Vec<_>, _>>()?;
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(certificates, PrivateKeyDer::from_pem_slice(&papers.key)?)
        .context("the API server's certificate is not usable")?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Takes connections; a slow handshake keeps nobody else waiting.
async fn welcome(listener: TcpListener, acceptor: TlsAcceptor, ready: mpsc::Sender<TlsStream<TcpStream>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, ready) = (acceptor.clone(), ready.clone());
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            if let Ok(stream) = acceptor.accept(stream).await {
                let _ = ready.send(stream).await;
            }
        });
    }
}

/// Connections whose handshake is done.
struct Door {
    ready: mpsc::Receiver<TlsStream<TcpStream>>,
    address: SocketAddr,
}

impl Listener for Door {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.ready.recv().await {
            Some(stream) => (stream, self.address),
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(self.address)
    }
}

impl Inner {
    /// Whether a request gets no answer.
    fn stalls(&self, asked: &str) -> bool {
        lock(&self.stalls).get_mut(asked).is_some_and(|left| {
            let stalls = *left > 0;
            *left = left.saturating_sub(1);
            stalls
        })
    }
}

async fn answer(State(inner): State<Arc<Inner>>, request: Request) -> Response {
    let asked = Asked::of(request.method(), request.uri());
    let fate = lock(&inner.faults).as_mut().map_or(Fate::Passes, |faults| faults.fate(&asked));
    {
        let mut counts = lock(&inner.counts);
        *counts.requests.entry(asked.text()).or_default() += 1;
        if let Some(fault) = fate.text() {
            *counts.faults.entry(fault).or_default() += 1;
        }
    }
    if inner.stalls(&asked.text()) {
        // For as long as the client keeps its connection.
        std::future::pending::<()>().await;
    }
    if let Fate::Refused(status) = fate {
        return refusal(status);
    }
    let (head, body) = match pass(&inner.server, request).await {
        Ok(response) => response.into_parts(),
        Err(error) => {
            return (StatusCode::BAD_GATEWAY, format!("the API server does not answer: {error:#}")).into_response();
        }
    };
    match fate {
        Fate::Passes | Fate::Refused(_) => Response::from_parts(head, body),
        Fate::Denied(status) => refusal(status),
        Fate::Lost => Response::from_parts(head, Body::from_stream(stream::iter([Err::<Bytes, _>(broken())]))),
        Fate::Cut(after, how) => Response::from_parts(head, cut(body, after, how)),
    }
}

/// Asks the API server the same.
async fn pass(server: &Client, request: Request) -> Result<Response> {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await?;
    let mut passed = http::Request::new(ClientBody::from(body));
    *passed.method_mut() = head.method;
    *passed.uri_mut() = head.uri;
    *passed.headers_mut() = end_to_end(head.headers);
    let (mut head, body) = server.send(passed).await?.into_parts();
    head.headers = end_to_end(head.headers);
    Ok(Response::from_parts(head, Body::new(body)))
}

/// The headers without those that are about one connection, or that follow from the body.
fn end_to_end(mut headers: HeaderMap) -> HeaderMap {
    for name in [header::HOST, header::CONNECTION, header::CONTENT_LENGTH, header::TRANSFER_ENCODING] {
        headers.remove(name);
    }
    headers
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "the gateway breaks this connection")
}

/// What an API server says when it refuses.
fn status(code: u16) -> serde_json::Value {
    let (reason, message) = match code {
        409 => {
            ("Conflict", "the object has been modified; please apply your changes to the latest version and try again")
        }
        410 => ("Expired", "too old resource version"),
        429 => ("TooManyRequests", "the server has received too many requests and has asked us to try again later"),
        503 => ("ServiceUnavailable", "the server is currently unable to handle the request"),
        504 => ("Timeout", "the server was unable to return a response in the time allotted"),
        _ => ("InternalError", "an error on the server has prevented the request from succeeding"),
    };
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message, "reason": reason, "code": code,
    })
}

fn refusal(code: u16) -> Response {
    let body = status(code).to_string();
    let mut response = (StatusCode::from_u16(code).expect("it is a status"), body).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    if code == 429 {
        response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
    }
    response
}

/// A watch that ends after a while. What comes between two events may be said at the end of a line only.
fn cut(body: Body, after: Duration, how: Cut) -> Body {
    let end = Instant::now() + after;
    let begin = Some((body.into_data_stream(), true));
    let events = stream::unfold(begin, move |state| async move {
        let (mut events, whole) = state?;
        match timeout_at(end, events.next()).await {
            Ok(None) => None,
            Ok(Some(Ok(bytes))) => {
                let whole = bytes.last() == Some(&b'\n');
                Some((Ok(bytes), Some((events, whole))))
            }
            Ok(Some(Err(_))) => Some((Err(broken()), None)),
            Err(_) => match how {
                Cut::Ended if whole => None,
                Cut::Expired if whole => {
                    let event = json!({ "type": "ERROR", "object": status(410) });
                    Some((Ok(Bytes::from(format!("{event}\n"))), None))
                }
                Cut::Broken | Cut::Ended | Cut::Expired => Some((Err(broken()), None)),
            },
        }
    });
    Body::from_stream(events)
}
