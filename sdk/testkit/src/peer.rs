//! A database that follows a script.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long a peer waits for what it expects. Long enough for a busy machine; a test that hits it has failed.
const PATIENCE: Duration = Duration::from_mins(1);

/// What a peer does with one connection.
#[derive(Debug, Clone, Default)]
pub struct Script {
    steps: Vec<Step>,
}

#[derive(Debug, Clone)]
enum Step {
    Expect(Vec<u8>),
    Send(Vec<u8>),
    Cut,
}

impl Script {
    /// An empty script: waits for the client to hang up.
    pub fn new() -> Self {
        Self::default()
    }

    /// Waits for exactly these bytes.
    #[must_use]
    pub fn expect(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.steps.push(Step::Expect(bytes.as_ref().to_vec()));
        self
    }

    /// Sends these bytes.
    #[must_use]
    pub fn send(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.steps.push(Step::Send(bytes.as_ref().to_vec()));
        self
    }

    /// Hangs up, whatever the client is doing. What comes after it in the script does not happen.
    #[must_use]
    pub fn cut(mut self) -> Self {
        self.steps.push(Step::Cut);
        self
    }

    fn play(&self, socket: &mut TcpStream) -> Result<(), String> {
        for (number, step) in self.steps.iter().enumerate() {
            let place = |why: String| format!("step {}: {why}", number + 1);
            match step {
                Step::Expect(bytes) => expect(socket, bytes).map_err(place)?,
                Step::Send(bytes) => socket.write_all(bytes).map_err(|error| place(format!("cannot send: {error}")))?,
                Step::Cut => return socket.shutdown(Shutdown::Both).map_err(|error| place(error.to_string())),
            }
        }
        let mut rest = Vec::new();
        match socket.read_to_end(&mut rest) {
            Ok(_) if rest.is_empty() => Ok(()),
            // A client that drops its connection without reading everything resets it. That is hanging up, too.
            Err(error) if rest.is_empty() && error.kind() == ErrorKind::ConnectionReset => Ok(()),
            Ok(_) => Err(format!("after the last step came {:?}", String::from_utf8_lossy(&rest))),
            Err(error) => Err(format!("after the last step, waiting for the client to hang up: {error}")),
        }
    }
}

fn expect(socket: &mut TcpStream, bytes: &[u8]) -> Result<(), String> {
    let mut got = Vec::new();
    let mut buffer = [0; 4096];
    while got.len() < bytes.len() {
        let room = buffer.len().min(bytes.len() - got.len());
        let wanted = || String::from_utf8_lossy(bytes);
        match socket.read(buffer.get_mut(..room).unwrap_or_default()) {
            Ok(0) => {
                return Err(format!(
                    "wanted {:?}, the client hung up after {:?}",
                    wanted(),
                    String::from_utf8_lossy(&got)
                ));
            }
            Ok(count) => got.extend_from_slice(buffer.get(..count).unwrap_or_default()),
            Err(error) => {
                return Err(format!("wanted {:?}, got {:?}, then: {error}", wanted(), String::from_utf8_lossy(&got)));
            }
        }
        if !bytes.starts_with(&got) {
            return Err(format!("wanted {:?}, got {:?}", wanted(), String::from_utf8_lossy(&got)));
        }
    }
    Ok(())
}

/// A connection that did not go by its script, or did not come.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("connection {connection} of the scripted peer: {reason}")]
pub struct PeerError {
    /// Which connection, counted from 1 in the order in which they came.
    pub connection: usize,
    /// What was different.
    pub reason: String,
}

/// A database on a free port of the loopback interface. Its connections are served side by side, each by the next script.
pub struct Peer {
    address: SocketAddr,
    /// The address that [`Peer::finish`] knocks from, to wake a peer that waits for a client in vain.
    knock: Arc<Mutex<Option<SocketAddr>>>,
    served: JoinHandle<Vec<Result<(), PeerError>>>,
}

impl Peer {
    /// Starts a peer that serves as many connections as there are scripts.
    pub fn start(scripts: Vec<Script>) -> io::Result<Self> {
        Self::serve(scripts.len(), move |index, mut socket| {
            scripts.get(index).map_or(Ok(()), |script| script.play(&mut socket))
        })
    }

    /// Starts a peer that serves this many connections with a function, which gets the number of the connection, from 0, and
    /// the socket. For what is too long for a script.
    pub fn serve(
        connections: usize,
        serve: impl Fn(usize, TcpStream) -> Result<(), String> + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let knock = Arc::new(Mutex::new(None));
        let known = Arc::clone(&knock);
        let served = std::thread::spawn(move || accept(&listener, connections, &known, &serve));
        Ok(Self { address, knock, served })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until every connection that came has gone, and checks that all came and went by their scripts.
    pub fn finish(self) -> Result<(), PeerError> {
        {
            // Held until the address is known: the peer looks at it when it has accepted.
            let mut knock = self.knock.lock().unwrap_or_else(PoisonError::into_inner);
            // An error means that the peer has stopped listening, for all its connections have come.
            *knock = TcpStream::connect(self.address).and_then(|socket| socket.local_addr()).ok();
        }
        let panicked = |_| PeerError { connection: 0, reason: "the thread that serves it panicked".to_owned() };
        self.served.join().map_err(panicked)?.into_iter().collect()
    }
}

fn accept(
    listener: &TcpListener,
    connections: usize,
    knock: &Mutex<Option<SocketAddr>>,
    serve: &(impl Fn(usize, TcpStream) -> Result<(), String> + Sync),
) -> Vec<Result<(), PeerError>> {
    std::thread::scope(|scope| {
        let mut running = Vec::new();
        let mut outcomes = Vec::new();
        for index in 0..connections {
            let failed = move |reason: String| PeerError { connection: index + 1, reason };
            match listener.accept() {
                Ok((_, from)) if *knock.lock().unwrap_or_else(PoisonError::into_inner) == Some(from) => {
                    outcomes.push(Err(failed(format!("never came; {connections} were expected in all"))));
                    break;
                }
                Ok((socket, _)) => running.push(scope.spawn(move || {
                    prepare(&socket)
                        .map_err(|error| error.to_string())
                        .and_then(|()| serve(index, socket))
                        .map_err(failed)
                })),
                Err(error) => outcomes.push(Err(failed(error.to_string()))),
            }
        }
        let ended = running.into_iter().enumerate().map(|(index, thread)| {
            let panicked =
                |_| PeerError { connection: index + 1, reason: "the function that serves it panicked".to_owned() };
            thread.join().map_err(panicked).flatten()
        });
        // What came first is told first; a connection that never came is often only the consequence.
        ended.collect::<Vec<_>>().into_iter().chain(outcomes).collect()
    })
}

fn prepare(socket: &TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_that_is_followed() {
        let peer = Peer::start(vec![Script::new().expect("hi\n").send("ho\n")]).unwrap();
        let mut client = TcpStream::connect(peer.address()).unwrap();
        client.write_all(b"hi\n").unwrap();
        let mut answer = [0; 3];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"ho\n");
        drop(client);
        peer.finish().unwrap();
    }

    #[test]
    fn other_bytes_are_shown() {
        let peer = Peer::start(vec![Script::new().expect("hi\n")]).unwrap();
        TcpStream::connect(peer.address()).unwrap().write_all(b"hey\n").unwrap();
        let error = peer.finish().unwrap_err();
        assert_eq!(error.connection, 1);
        assert!(error.reason.contains("step 1") && error.reason.contains("hey"), "{error}");
    }

    #[test]
    fn a_client_that_never_comes_is_an_error_and_no_hang() {
        let peer = Peer::start(vec![Script::new(), Script::new()]).unwrap();
        drop(TcpStream::connect(peer.address()).unwrap());
        assert_eq!(peer.finish().unwrap_err().connection, 2);
    }

    #[test]
    fn a_cut_ends_the_connection() {
        let peer = Peer::start(vec![Script::new().send("a").cut()]).unwrap();
        let mut got = Vec::new();
        TcpStream::connect(peer.address()).unwrap().read_to_end(&mut got).unwrap();
        assert_eq!(got, b"a");
        peer.finish().unwrap();
    }
}
