//! TCP to the database. Everything that waits wakes up several times a second, to see whether the run was cancelled.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use coffer_api::plan::Endpoint;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use socket2::{SockRef, TcpKeepalive};

use crate::contract::{AddonError, ErrorKind};
use crate::run::cancelled;
use crate::tls;
use crate::watch::{TICK, Watch};

/// For one address. A database that does not answer within this time is down or behind a firewall that drops packets.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a blocked socket looks at the run.
const POLL: Duration = Duration::from_millis(150);
/// A dead peer is noticed after about 60 + 6 × 10 seconds.
const KEEPALIVE: TcpKeepalive =
    TcpKeepalive::new().with_time(Duration::from_mins(1)).with_interval(Duration::from_secs(10)).with_retries(6);
/// Bytes that one system call reads at most.
const BUFFER: usize = 256 << 10;
/// Plaintext that is gathered before a TLS read returns.
const PLAIN: usize = 64 << 10;

/// One connection to the database, encrypted or not.
pub(crate) struct Socket {
    endpoint: Endpoint,
    tcp: BufReader<TcpStream>,
    tls: Option<Box<Secure>>,
}

struct Secure {
    connection: ClientConnection,
    /// Plaintext that the guest has not fetched: `plain[taken..filled]`.
    plain: Vec<u8>,
    taken: usize,
    filled: usize,
}

/// Resolves the endpoint's name and connects to the first address that answers.
pub(crate) fn dial(endpoint: &Endpoint, watch: &Watch) -> Result<Socket, AddonError> {
    // Neither the resolver nor connect(2) can be interrupted: a thread waits for them, and is left behind when cancelled.
    let (sender, receiver) = sync_channel(1);
    let target = endpoint.clone();
    let spawned = std::thread::Builder::new().name("coffer-connect".to_owned()).spawn(move || {
        // Nobody may be waiting any more.
        let _ = sender.send(open(&target));
    });
    spawned.map_err(|error| {
        AddonError::new(ErrorKind::Unavailable, format!("cannot start a thread to connect to {endpoint}: {error}"))
            .retryable()
    })?;
    loop {
        match receiver.recv_timeout(TICK) {
            Ok(result) => return result,
            Err(RecvTimeoutError::Timeout) => stop(watch)?,
            Err(RecvTimeoutError::Disconnected) => {
                return Err(AddonError::new(
                    ErrorKind::Internal,
                    format!("the thread that connects to {endpoint} died"),
                ));
            }
        }
    }
}

fn open(endpoint: &Endpoint) -> Result<Socket, AddonError> {
    let addresses: Vec<SocketAddr> = match (endpoint.host.as_str(), endpoint.port).to_socket_addrs() {
        Ok(addresses) => addresses.collect(),
        Err(error) => return Err(unreachable(endpoint, &format!("its name cannot be resolved: {}", plain(&error)))),
    };
    let mut last = None;
    for address in &addresses {
        match TcpStream::connect_timeout(address, CONNECT_TIMEOUT).and_then(prepare) {
            Ok(stream) => {
                let tcp = BufReader::with_capacity(BUFFER, stream);
                return Ok(Socket { endpoint: endpoint.clone(), tcp, tls: None });
            }
            Err(error) => last = Some((address, error)),
        }
    }
    let Some((address, error)) = last else { return Err(unreachable(endpoint, "its name has no address")) };
    let several =
        if addresses.len() > 1 { format!(" (the last of {} addresses)", addresses.len()) } else { String::new() };
    Err(unreachable(endpoint, &format!("{} at {}{several}", plain(&error), address.ip())))
}

fn prepare(stream: TcpStream) -> io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(POLL))?;
    stream.set_write_timeout(Some(POLL))?;
    SockRef::from(&stream).set_tcp_keepalive(&KEEPALIVE)?;
    Ok(stream)
}

fn unreachable(endpoint: &Endpoint, reason: &str) -> AddonError {
    let text = format!(
        "cannot connect to {endpoint}: {reason}; check that the database runs, that spec.clientConfig of the AppBinding \
         names its host and port, and that no firewall or network policy is in the way"
    );
    AddonError::new(ErrorKind::Unavailable, text).retryable()
}

/// The reason of an I/O error in words, without the number of the system's error.
fn plain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => "it did not answer in time".to_owned(),
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::ConnectionReset => "connection reset by the server".to_owned(),
        _ => {
            let text = error.to_string();
            text.split(" (os error").next().unwrap_or_default().to_owned()
        }
    }
}

fn stop(watch: &Watch) -> Result<(), AddonError> {
    watch.stopping().map_or(Ok(()), |reason| Err(cancelled(reason)))
}

/// Repeats an operation on a socket until it is done or the run is to end.
fn patiently<T>(
    endpoint: &Endpoint,
    watch: &Watch,
    mut operation: impl FnMut() -> io::Result<T>,
) -> Result<T, AddonError> {
    stop(watch)?;
    loop {
        match operation() {
            Ok(value) => return Ok(value),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => stop(watch)?,
            Err(error) => return Err(lost(endpoint, &plain(&error))),
        }
    }
}

fn lost(endpoint: &Endpoint, reason: &str) -> AddonError {
    let text = format!("the connection to {endpoint} was lost: {reason}");
    AddonError::new(ErrorKind::Unavailable, text).retryable()
}

impl Socket {
    /// From 1 to `max` bytes, none when the peer has closed.
    pub(crate) fn read(&mut self, max: usize, watch: &Watch) -> Result<Vec<u8>, AddonError> {
        if let Some(secure) = &mut self.tls {
            return secure.read(&mut self.tcp, max, &self.endpoint, watch);
        }
        let tcp = &mut self.tcp;
        patiently(&self.endpoint, watch, || {
            let bytes = tcp.fill_buf()?;
            let bytes = bytes.get(..max).unwrap_or(bytes).to_vec();
            tcp.consume(bytes.len());
            Ok(bytes)
        })
    }

    /// Sends all of the bytes.
    pub(crate) fn write(&mut self, mut bytes: &[u8], watch: &Watch) -> Result<(), AddonError> {
        if let Some(secure) = &mut self.tls {
            return secure.write(self.tcp.get_mut(), bytes, &self.endpoint, watch);
        }
        while !bytes.is_empty() {
            let tcp = self.tcp.get_mut();
            let sent = patiently(&self.endpoint, watch, || tcp.write(bytes))?;
            if sent == 0 {
                return Err(lost(&self.endpoint, "it takes no more bytes"));
            }
            bytes = bytes.get(sent..).unwrap_or_default();
        }
        Ok(())
    }

    /// Encrypts the rest of the connection.
    pub(crate) fn start_tls(
        &mut self,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
        watch: &Watch,
    ) -> Result<(), AddonError> {
        if self.tls.is_some() {
            return Err(AddonError::new(ErrorKind::Internal, "the addon started TLS twice on one connection"));
        }
        if !self.tcp.buffer().is_empty() {
            // Somebody in between could have put these bytes there, for the guest to take them as encrypted ones.
            let text = format!("{} sent bytes before TLS began, which it must not", self.endpoint);
            return Err(AddonError::new(ErrorKind::Protocol, text));
        }
        let connection = ClientConnection::new(config, name).map_err(|error| tls::failed(&self.endpoint, &error))?;
        let mut secure = Box::new(Secure { connection, plain: vec![0; PLAIN], taken: 0, filled: 0 });
        secure.handshake(&mut self.tcp, &self.endpoint, watch)?;
        self.tls = Some(secure);
        Ok(())
    }
}

impl Secure {
    fn handshake(
        &mut self,
        tcp: &mut BufReader<TcpStream>,
        endpoint: &Endpoint,
        watch: &Watch,
    ) -> Result<(), AddonError> {
        let start = Instant::now();
        loop {
            self.flush(tcp.get_mut(), endpoint, watch)?;
            if !self.connection.is_handshaking() {
                return Ok(());
            }
            let read = patiently(endpoint, watch, || match self.connection.read_tls(tcp) {
                Err(_) if start.elapsed() > HANDSHAKE_TIMEOUT => {
                    Err(io::Error::other("the TLS handshake takes too long"))
                }
                result => result,
            })?;
            if read == 0 {
                let text = "the server closed it during the TLS handshake; does it offer TLS 1.2 or newer?";
                return Err(lost(endpoint, text));
            }
            self.process(tcp.get_mut(), endpoint)?;
        }
    }

    fn process(&mut self, tcp: &mut TcpStream, endpoint: &Endpoint) -> Result<(), AddonError> {
        match self.connection.process_new_packets() {
            Ok(_) => Ok(()),
            Err(error) => {
                // The alert that tells the server why; whether it arrives changes nothing.
                let _ = self.connection.write_tls(tcp);
                Err(tls::failed(endpoint, &error))
            }
        }
    }

    fn flush(&mut self, tcp: &mut TcpStream, endpoint: &Endpoint, watch: &Watch) -> Result<(), AddonError> {
        while self.connection.wants_write() {
            patiently(endpoint, watch, || self.connection.write_tls(tcp))?;
        }
        Ok(())
    }

    fn read(
        &mut self,
        tcp: &mut BufReader<TcpStream>,
        max: usize,
        endpoint: &Endpoint,
        watch: &Watch,
    ) -> Result<Vec<u8>, AddonError> {
        if self.taken == self.filled {
            self.fill(tcp, endpoint, watch)?;
        }
        let end = self.filled.min(self.taken.saturating_add(max));
        let bytes = self.plain.get(self.taken..end).unwrap_or_default().to_vec();
        self.taken = end;
        Ok(bytes)
    }

    /// Waits for plaintext, then takes along what has arrived already.
    fn fill(&mut self, tcp: &mut BufReader<TcpStream>, endpoint: &Endpoint, watch: &Watch) -> Result<(), AddonError> {
        self.taken = 0;
        self.filled = 0;
        loop {
            let space = self.plain.get_mut(self.filled..).unwrap_or_default();
            if space.is_empty() {
                return Ok(());
            }
            match self.connection.reader().read(space) {
                // Closed. Protocols frame what they send, so the guest knows whether it was the right moment.
                Ok(0) => return Ok(()),
                Ok(read) => self.filled += read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.filled > 0 && tcp.buffer().is_empty() {
                        return Ok(());
                    }
                    self.flush(tcp.get_mut(), endpoint, watch)?;
                    patiently(endpoint, watch, || self.connection.read_tls(tcp))?;
                    self.process(tcp.get_mut(), endpoint)?;
                }
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                Err(error) => return Err(lost(endpoint, &plain(&error))),
            }
        }
    }

    fn write(
        &mut self,
        tcp: &mut TcpStream,
        mut bytes: &[u8],
        endpoint: &Endpoint,
        watch: &Watch,
    ) -> Result<(), AddonError> {
        while !bytes.is_empty() {
            // Takes what fits into its buffer, which is empty after each flush.
            let taken = patiently(endpoint, watch, || self.connection.writer().write(bytes))?;
            bytes = bytes.get(taken..).unwrap_or_default();
            self.flush(tcp, endpoint, watch)?;
        }
        Ok(())
    }
}
