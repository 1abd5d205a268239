//! Packets of the MySQL protocol over a connection: headers, sequence numbers, and payloads of 16 MiB and more that the protocol
//! splits. A payload of one packet is handed out in place, as it lies in the connection's buffer.

use coffer_addon_sdk::{Connection, Error, Result};

/// The longest payload of one packet. A payload of exactly this length is continued in the next packet.
pub(crate) const LONGEST: usize = 0xFF_FFFF;

const HEADER: usize = 4;

/// Reads and writes packets.
#[derive(Debug)]
pub(crate) struct Packets {
    connection: Connection,
    sequence: u8,
    /// A payload that came in several packets.
    joined: Vec<u8>,
    /// How much of the connection's buffer the payload handed out last takes.
    lent: usize,
}

impl Packets {
    /// Packets over a fresh connection.
    pub(crate) fn new(connection: Connection) -> Self {
        Self { connection, sequence: 0, joined: Vec::new(), lent: 0 }
    }

    /// The next command begins: sequence numbers start again.
    pub(crate) fn restart(&mut self) {
        self.sequence = 0;
    }

    /// Goes on under TLS.
    pub(crate) fn start_tls(&mut self) -> Result<()> {
        self.release();
        self.connection.start_tls()
    }

    /// Waits for the first bytes of the peer, as many as a header has, and returns what is there, without taking it.
    pub(crate) fn peek(&mut self) -> Result<&[u8]> {
        self.release();
        self.connection.fill(HEADER)
    }

    #[inline]
    fn release(&mut self) {
        if self.lent == 0 {
            self.drop_joined();
        } else {
            self.connection.consume(self.lent);
            self.lent = 0;
        }
    }

    /// One huge row must not pin its size for the rest of the result.
    #[cold]
    fn drop_joined(&mut self) {
        self.joined = Vec::new();
    }

    /// The next payload, whole. It stays valid until the next call.
    #[inline]
    pub(crate) fn read(&mut self) -> Result<&[u8]> {
        self.advance()?;
        Ok(self.payload())
    }

    /// Goes on to the next payload.
    #[inline]
    pub(crate) fn advance(&mut self) -> Result<()> {
        self.release();
        // Nearly always all of the next one is there already.
        if let Some((&[a, b, c, sequence], rest)) = self.connection.buffer().split_first_chunk::<HEADER>()
            && let length = usize::from(a) | usize::from(b) << 8 | usize::from(c) << 16
            && length < LONGEST.min(rest.len() + 1)
            && sequence == self.sequence
        {
            self.sequence = sequence.wrapping_add(1);
            self.lent = HEADER + length;
            return Ok(());
        }
        self.wait_for_next()
    }

    #[cold]
    fn wait_for_next(&mut self) -> Result<()> {
        let length = self.read_header()?;
        if length == LONGEST {
            return self.read_joined();
        }
        self.connection.fill(HEADER + length)?;
        self.lent = HEADER + length;
        Ok(())
    }

    /// The payload that `advance` went on to.
    #[inline]
    pub(crate) fn payload(&self) -> &[u8] {
        if self.lent == 0 { &self.joined } else { self.connection.buffer().get(HEADER..self.lent).unwrap_or_default() }
    }

    /// The same, to be changed in place.
    #[inline]
    pub(crate) fn payload_mut(&mut self) -> &mut [u8] {
        if self.lent == 0 {
            &mut self.joined
        } else {
            self.connection.buffer_mut().get_mut(HEADER..self.lent).unwrap_or_default()
        }
    }

    /// Checks the header at the front of the buffer, which stays there, and returns the payload's length.
    fn read_header(&mut self) -> Result<usize> {
        let buffer = self.connection.fill(HEADER)?;
        let Some(&[a, b, c, sequence]) = buffer.first_chunk::<HEADER>() else {
            return Err(too_short());
        };
        if sequence != self.sequence {
            return Err(out_of_order(sequence, self.sequence));
        }
        self.sequence = self.sequence.wrapping_add(1);
        Ok(usize::from(a) | usize::from(b) << 8 | usize::from(c) << 16)
    }

    /// Joins a payload of 16 MiB and more; the header of its first packet was checked.
    #[cold]
    fn read_joined(&mut self) -> Result<()> {
        self.joined = Vec::new();
        let mut length = LONGEST;
        loop {
            let buffer = self.connection.fill(HEADER + length)?;
            let part = buffer.get(HEADER..HEADER + length).unwrap_or_default();
            // Exactly as much as is needed: a doubled buffer of a long row may not fit the guest's memory.
            self.joined.try_reserve_exact(length).map_err(|_| too_long())?;
            self.joined.extend_from_slice(part);
            self.connection.consume(HEADER + length);
            if length < LONGEST {
                return Ok(());
            }
            length = self.read_header()?;
        }
    }

    /// Sends a command and its text, which is not copied for it: it may be long.
    pub(crate) fn write_command(&mut self, command: u8, text: &[u8]) -> Result<()> {
        self.release();
        let (first, rest) = text.split_at_checked(LONGEST - 1).unwrap_or((text, &[]));
        let header = self.next_header(first.len() + 1);
        self.connection.write_all(&header)?;
        self.connection.write_all(&[command])?;
        self.connection.write_all(first)?;
        if first.len() + 1 < LONGEST { self.connection.flush() } else { self.write(rest) }
    }

    /// Sends one payload, in as many packets as it needs.
    pub(crate) fn write(&mut self, payload: &[u8]) -> Result<()> {
        self.release();
        let mut chunks = payload.chunks(LONGEST);
        loop {
            let chunk = chunks.next().unwrap_or_default();
            let header = self.next_header(chunk.len());
            self.connection.write_all(&header)?;
            self.connection.write_all(chunk)?;
            if chunk.len() < LONGEST {
                return self.connection.flush();
            }
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "the three bytes of a length below 16 MiB")]
    fn next_header(&mut self, length: usize) -> [u8; HEADER] {
        let header = [length as u8, (length >> 8) as u8, (length >> 16) as u8, self.sequence];
        self.sequence = self.sequence.wrapping_add(1);
        header
    }
}

#[cold]
fn out_of_order(sequence: u8, due: u8) -> Error {
    Error::protocol(format!(
        "the server sent packet number {sequence} where {due} was due; is a proxy in between that breaks the protocol?"
    ))
}

#[cold]
fn too_short() -> Error {
    Error::internal("the connection's buffer is shorter than it said")
}

#[cold]
fn too_long() -> Error {
    Error::unsupported(
        "a row is too long for the addon's memory; raise `spec.component.permissions.memory` of the Function to three times the \
         size of the longest row",
    )
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use coffer_addon_sdk::backend::{Source, Stream};
    use proptest::prelude::*;
    use std::sync::{Arc, Mutex};

    /// A peer that hands out its input in pieces of the given sizes, and keeps what is sent to it.
    #[derive(Default)]
    pub(crate) struct Torn {
        input: Vec<u8>,
        position: usize,
        sizes: Vec<usize>,
        sent: Arc<Mutex<Vec<u8>>>,
    }

    impl Torn {
        pub(crate) fn connection(input: Vec<u8>, sizes: Vec<usize>) -> Connection {
            Connection::new(Box::new(Self { input, sizes, ..Self::default() }))
        }
    }

    impl Source for Torn {
        fn read(&mut self, max: usize, into: &mut Vec<u8>) -> Result<usize> {
            let size = self.sizes.pop().unwrap_or(7).clamp(1, max).min(self.input.len() - self.position);
            into.extend_from_slice(&self.input[self.position..self.position + size]);
            self.position += size;
            Ok(size)
        }
    }

    impl Stream for Torn {
        fn write(&mut self, bytes: &[u8]) -> Result<()> {
            self.sent.lock().unwrap().extend_from_slice(bytes);
            Ok(())
        }
        fn start_tls(&mut self) -> Result<()> {
            Ok(())
        }
    }

    pub(crate) fn framed(payloads: &[Vec<u8>]) -> Vec<u8> {
        let torn = Torn::default();
        let sent = Arc::clone(&torn.sent);
        let mut packets = Packets::new(Connection::new(Box::new(torn)));
        for payload in payloads {
            packets.write(payload).unwrap();
        }
        let sent = sent.lock().unwrap();
        sent.clone()
    }

    proptest! {
        #[test]
        fn torn_reads_give_the_payloads_back(
            payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..20),
            sizes in proptest::collection::vec(1_usize..500, 0..40),
        ) {
            let mut packets = Packets::new(Torn::connection(framed(&payloads), sizes));
            for payload in &payloads {
                prop_assert_eq!(packets.read().unwrap(), payload.as_slice());
            }
            prop_assert!(packets.read().is_err());
        }
    }

    #[test]
    fn payloads_of_16_mib_are_split_and_joined() {
        for length in [LONGEST - 1, LONGEST, LONGEST + 1, 2 * LONGEST] {
            let payloads = vec![(0..length).map(|i| u8::try_from(i % 251).unwrap()).collect::<Vec<_>>(), vec![1, 2, 3]];
            let mut packets = Packets::new(Torn::connection(framed(&payloads), vec![1 << 20; 100]));
            for payload in &payloads {
                assert!(packets.read().unwrap() == payload.as_slice(), "length {length}");
            }
        }
    }

    #[test]
    fn commands_are_payloads() {
        for length in [0, 3, LONGEST - 2, LONGEST - 1, LONGEST, 2 * LONGEST - 1] {
            let text: Vec<u8> = (0..length).map(|i| u8::try_from(i % 251).unwrap()).collect();
            let torn = Torn::default();
            let sent = Arc::clone(&torn.sent);
            Packets::new(Connection::new(Box::new(torn))).write_command(7, &text).unwrap();
            assert!(*sent.lock().unwrap() == framed(&[[&[7], text.as_slice()].concat()]), "length {length}");
        }
    }

    #[test]
    fn a_wrong_sequence_number_is_an_error() {
        let mut packets = Packets::new(Torn::connection(vec![1, 0, 0, 5, 0], vec![]));
        assert!(packets.read().unwrap_err().to_string().contains("packet number 5"));
    }

    #[test]
    fn an_end_inside_a_packet_is_an_error() {
        let mut packets = Packets::new(Torn::connection(vec![9, 0, 0, 0, 1, 2], vec![]));
        assert!(packets.read().is_err());
    }
}
