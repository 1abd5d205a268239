//! A server in memory that has one result to select from, and takes rows.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use coffer_addon_sdk::Result;
use coffer_addon_sdk::backend::{Source, Stream};
use coffer_addon_sdk::native::{NativeRun, NativeTarget};
use mysql_common::constants::CapabilityFlags;

use super::Pieces;
use super::values::{self, Row};
use crate::wire::Wire;

/// What selects the result.
pub(super) const SELECT: &str = "SELECT the result";

/// A column of the result.
#[derive(Debug, Clone, Copy)]
pub(super) struct Type {
    /// As it is on the wire.
    pub(super) code: u8,
    /// The number of its collation.
    pub(super) collation: u16,
    /// As `information_schema` has it.
    pub(super) name: &'static str,
}

/// The rows that the server was given.
pub(super) type Taken = Arc<Mutex<Vec<Row>>>;

/// A connection to a server whose result has these columns and these rows as they are on the wire. It ends results as old servers do
/// if `old`.
pub(super) fn connect(columns: &[Type], rows: Vec<Vec<u8>>, old: bool, pieces: Pieces) -> (Wire, Taken) {
    let taken = Taken::default();
    let (columns, shared) = (columns.to_vec(), Arc::clone(&taken));
    let target = NativeTarget::new("user", "password", move || {
        let mut server = Server {
            columns: columns.clone(),
            rows: rows.clone(),
            old,
            pieces,
            taken: Arc::clone(&shared),
            state: State::Login,
            input: Vec::new(),
            output: VecDeque::new(),
            sequence: 0,
        };
        server.greet();
        Ok(Box::new(server) as Box<dyn Stream>)
    });
    let wire = Wire::connect(&target.target(), &NativeRun::new("fuzz").context()).unwrap();
    (wire, taken)
}

/// What the client is about to send.
#[derive(Debug)]
enum State {
    Login,
    Command,
    /// The content of a file, so far.
    File(Vec<u8>),
}

struct Server {
    columns: Vec<Type>,
    rows: Vec<Vec<u8>>,
    old: bool,
    pieces: Pieces,
    taken: Taken,
    state: State,
    input: Vec<u8>,
    output: VecDeque<u8>,
    sequence: u8,
}

impl Server {
    fn greet(&mut self) {
        let mut capabilities = CapabilityFlags::CLIENT_PROTOCOL_41
            | CapabilityFlags::CLIENT_SECURE_CONNECTION
            | CapabilityFlags::CLIENT_PLUGIN_AUTH
            | CapabilityFlags::CLIENT_LOCAL_FILES
            | CapabilityFlags::CLIENT_TRANSACTIONS;
        capabilities.set(CapabilityFlags::CLIENT_DEPRECATE_EOF, !self.old);
        let [a, b, c, d] = capabilities.bits().to_le_bytes();
        let mut greeting = b"\x0A8.4.0\0\x01\0\0\0abcdefgh\0".to_vec();
        greeting.extend_from_slice(&[a, b, 45, 2, 0, c, d, 21]);
        greeting.extend_from_slice(b"\0\0\0\0\0\0\0\0\0\0ijklmnopqrst\0mysql_native_password\0");
        self.send(&greeting);
    }

    fn send(&mut self, payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap().to_le_bytes();
        self.output.extend([length[0], length[1], length[2], self.sequence]);
        self.output.extend(payload);
        self.sequence = self.sequence.wrapping_add(1);
    }

    fn done(&mut self, affected: usize) {
        let mut ok = vec![0];
        ok.extend(length_encoded(affected));
        ok.extend_from_slice(b"\0\x02\0\0\0");
        self.send(&ok);
    }

    fn end(&mut self) {
        // What old servers send, and an OK packet in disguise.
        self.send(if self.old { b"\xFE\0\0\x02\0" } else { b"\xFE\0\0\x02\0\0\0" });
    }

    fn result(&mut self, columns: &[Type], rows: &[Vec<u8>]) {
        self.send(&length_encoded(columns.len()));
        for column in columns {
            let mut packet = b"\x03def\0\0\0\x01c\0\x0C".to_vec();
            packet.extend_from_slice(&column.collation.to_le_bytes());
            packet.extend_from_slice(&[255, 255, 0, 0, column.code, 0, 0, 0, 0, 0]);
            self.send(&packet);
        }
        if self.old {
            self.end();
        }
        for row in rows {
            self.send(row);
        }
        self.end();
    }

    fn one_value(&mut self, value: &[u8]) {
        let text = Type { code: 253, collation: 45, name: "varchar" };
        self.result(&[text], &[[length_encoded(value.len()), value.to_vec()].concat()]);
    }

    fn take(&mut self, payload: &[u8]) {
        match std::mem::replace(&mut self.state, State::Command) {
            State::Login => self.done(0),
            State::File(file) if payload.is_empty() => {
                let rows = values::from_lines(&file);
                let count = rows.len();
                self.taken.lock().unwrap().extend(rows);
                self.done(count);
            }
            State::File(file) => self.state = State::File([file, payload.to_vec()].concat()),
            State::Command => self.command(payload),
        }
    }

    fn command(&mut self, payload: &[u8]) {
        let Some((3, sql)) = payload.split_first().map(|(command, sql)| (*command, sql)) else { return };
        match sql {
            b"SELECT VERSION()" => self.one_value(b"8.4.0"),
            b"SELECT @@max_allowed_packet" => self.one_value(b"16384"),
            b"START TRANSACTION" | b"COMMIT" | b"ROLLBACK" => self.done(0),
            _ if sql == SELECT.as_bytes() => {
                let (columns, rows) = (self.columns.clone(), self.rows.clone());
                self.result(&columns, &rows);
            }
            [b'L', b'O', b'A', b'D', ..] => {
                self.state = State::File(Vec::new());
                self.send(b"\xFBfile");
            }
            [b'I', b'N', b'S', b'E', b'R', b'T', ..] => match values::from_insert(sql) {
                Some(rows) => {
                    let count = rows.len();
                    self.taken.lock().unwrap().extend(rows);
                    self.done(count);
                }
                None => self.send(b"\xFF\x28\x04#42000You have an error in your SQL syntax"),
            },
            _ => panic!("nobody expected {:?}", String::from_utf8_lossy(sql)),
        }
    }
}

impl Source for Server {
    fn read(&mut self, max: usize, into: &mut Vec<u8>) -> Result<usize> {
        let count = self.pieces.next().min(max).min(self.output.len());
        into.extend(self.output.drain(..count));
        Ok(count)
    }
}

impl Stream for Server {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.input.extend_from_slice(bytes);
        while let Some(&[a, b, c, sequence]) = self.input.first_chunk::<4>() {
            let end = 4 + (usize::from(a) | usize::from(b) << 8 | usize::from(c) << 16);
            let Some(payload) = self.input.get(4..end).map(<[u8]>::to_vec) else { break };
            self.input.drain(..end);
            self.sequence = sequence.wrapping_add(1);
            self.take(&payload);
        }
        Ok(())
    }
    fn start_tls(&mut self) -> Result<()> {
        panic!("there is no TLS to be had");
    }
}

/// A length as the protocol has it.
pub(super) fn length_encoded(length: usize) -> Vec<u8> {
    let bytes = (length as u64).to_le_bytes();
    match length {
        0..=250 => bytes[..1].to_vec(),
        251..=0xFFFF => [&[252], &bytes[..2]].concat(),
        0x1_0000..=0xFF_FFFF => [&[253], &bytes[..3]].concat(),
        _ => [&[254], &bytes[..]].concat(),
    }
}
