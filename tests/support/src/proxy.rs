//! A TCP proxy on loopback whose connections break when a test says so.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::Result;

/// What happens to connections. Byte counts are of what the *server* has sent through the proxy in all, since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// Bytes pass.
    #[default]
    None,
    /// Every connection is closed once this many bytes have passed; later ones are closed at once.
    CutAfter(u64),
    /// As `CutAfter`, but for bytes that the *client* sent: an upload fails.
    CutUploadAfter(u64),
    /// Nothing more passes, and no connection is closed, once this many bytes have passed.
    StallAfter(u64),
    /// At most this many bytes per second, per connection and direction.
    Slow(u64),
}

#[derive(Debug, Default)]
struct State {
    fault: Fault,
    connections: Vec<TcpStream>,
    closed: bool,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    down: AtomicU64,
    up: AtomicU64,
}

/// A running proxy; dropping it closes everything.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    address: SocketAddr,
}

impl Proxy {
    /// Forwards a new port on loopback to `port` on loopback.
    pub fn start(port: u16, fault: Fault) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        shared.state.lock().unwrap().fault = fault;
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if accepting.state.lock().unwrap().closed {
                    break;
                }
                // A failed connection drops the client's, as a dead server would.
                if let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
                    let _ = connect(&accepting, &client, &server);
                }
            }
        });
        Ok(Self { shared, address })
    }

    /// The port to connect to.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Changes what happens, also to open connections.
    pub fn set(&self, fault: Fault) {
        self.shared.state.lock().unwrap().fault = fault;
        self.shared.changed.notify_all();
    }

    /// Closes all open connections; new ones are served.
    pub fn cut_now(&self) {
        self.shared.cut();
    }

    /// Bytes from the server to clients so far.
    pub fn bytes_down(&self) -> u64 {
        self.shared.down.load(Ordering::SeqCst)
    }

    /// Bytes from clients to the server so far.
    pub fn bytes_up(&self) -> u64 {
        self.shared.up.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.state.lock().unwrap().closed = true;
        self.shared.changed.notify_all();
        self.shared.cut();
        // Wakes the accepting thread, which then sees that it is over.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn cut(&self) {
        for connection in self.state.lock().unwrap().connections.drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    /// Whether `bytes` more may pass; waits while stalled.
    fn admit(&self, download: bool, bytes: u64) -> bool {
        let mut state = self.state.lock().unwrap();
        loop {
            let (down, up) = (self.down.load(Ordering::SeqCst), self.up.load(Ordering::SeqCst));
            let (down, up) = if download { (down + bytes, up) } else { (down, up + bytes) };
            match state.fault {
                _ if state.closed => return false,
                Fault::CutAfter(limit) if down > limit => return false,
                Fault::CutUploadAfter(limit) if up > limit => return false,
                Fault::StallAfter(limit) if down > limit => state = self.changed.wait(state).unwrap(),
                Fault::Slow(rate) => {
                    drop(state);
                    thread::sleep(Duration::from_micros(bytes.saturating_mul(1_000_000) / rate.max(1)));
                    return true;
                }
                _ => return true,
            }
        }
    }
}

fn connect(shared: &Arc<Shared>, client: &TcpStream, server: &TcpStream) -> Result<()> {
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    shared.state.lock().unwrap().connections.extend([client.try_clone()?, server.try_clone()?]);
    for (download, from, to) in [(true, server, client), (false, client, server)] {
        let (from, to, shared) = (from.try_clone()?, to.try_clone()?, Arc::clone(shared));
        thread::spawn(move || pump(&shared, download, from, to));
    }
    Ok(())
}

fn pump(shared: &Shared, download: bool, mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = vec![0; 16 * 1024];
    let counter = if download { &shared.down } else { &shared.up };
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if !shared.admit(download, count as u64) {
            // Every connection, not this one alone: the peer is gone.
            shared.cut();
            return;
        }
        counter.fetch_add(count as u64, Ordering::SeqCst);
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
