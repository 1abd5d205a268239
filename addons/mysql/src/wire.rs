//! One logged-in connection to the server: commands, result sets as a stream of rows, and rows loaded from memory.

use coffer_addon_sdk::{Context, Error, Result, Target};
use mysql_common::constants::{CapabilityFlags, StatusFlags};
use mysql_common::io::ParseBuf;
use mysql_common::packets::{Column, CommonOkPacket, OkPacketDeserializer};
use mysql_common::proto::MyDeserialize;

use crate::failure::{Failure, Outcome};
use crate::handshake;
use crate::packets::{LONGEST, Packets};

const COM_QUIT: u8 = 0x01;
const COM_QUERY: u8 = 0x03;

/// How many bytes of a loaded file go into one packet: far below the smallest `max_allowed_packet` that loads could meet.
const INFILE_PACKET: usize = 256 * 1024;

/// Whose server it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flavor {
    /// MySQL, Percona Server, and others that call themselves by MySQL's version.
    MySql,
    /// MariaDB.
    MariaDb,
}

/// What is known of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Server {
    /// Whose it is.
    pub(crate) flavor: Flavor,
    /// Its version.
    pub(crate) version: (u16, u16, u16),
    /// What it calls its version: `9.7.4`, `10.11.18-MariaDB-0+deb12u1`.
    pub(crate) version_text: String,
}

impl Server {
    fn parse(text: &str) -> Self {
        // MariaDB 10 says `5.5.5-10.11…` in its greeting, for the sake of old replicas.
        let number = text.strip_prefix("5.5.5-").unwrap_or(text);
        let mut parts =
            number.split(|character: char| !character.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
        let mut part = || parts.next().unwrap_or(0);
        let version = (part(), part(), part());
        let flavor = if text.to_ascii_lowercase().contains("mariadb") { Flavor::MariaDb } else { Flavor::MySql };
        Self { flavor, version, version_text: number.to_owned() }
    }

    /// Whether it is MariaDB.
    pub(crate) fn is_mariadb(&self) -> bool {
        self.flavor == Flavor::MariaDb
    }

    /// Whether it is MySQL of this version or newer.
    pub(crate) fn is_mysql(&self, major: u16, minor: u16, patch: u16) -> bool {
        self.flavor == Flavor::MySql && self.version >= (major, minor, patch)
    }

    /// Whether the past of system-versioned tables can be read out of it and written into it: MariaDB since 10.11.
    pub(crate) fn takes_history(&self) -> bool {
        self.flavor == Flavor::MariaDb && self.version >= (10, 11, 0)
    }
}

/// How a command without rows ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Done {
    /// Rows inserted, changed, deleted.
    pub(crate) affected: u64,
    /// Warnings that `SHOW WARNINGS` would list.
    pub(crate) warnings: u16,
    /// `Records: 3  Duplicates: 0  Warnings: 0`, or empty.
    pub(crate) info: String,
}

/// One logged-in connection. An error of the server leaves it usable; any other error does not, and every command after it fails.
#[derive(Debug)]
pub(crate) struct Wire {
    packets: Packets,
    capabilities: CapabilityFlags,
    server: Server,
    /// Why nothing more can be said over this connection.
    broken: Option<&'static str>,
}

impl Wire {
    /// Connects, encrypts if asked to, and logs in.
    pub(crate) fn connect(target: &Target, context: &Context) -> Result<Self> {
        context.check_cancelled()?;
        let mut packets = Packets::new(target.connect()?);
        let (capabilities, version) = handshake::log_in(&mut packets, target.info().tls, &target.credentials()?)?;
        let mut wire = Self { packets, capabilities, server: Server::parse(&version), broken: None };
        // Proxies greet with a version of their own; the server behind them knows better.
        if let Some(version) = wire.query_value("SELECT VERSION()")? {
            wire.server = Server::parse(&version);
        }
        Ok(wire)
    }

    /// What is known of the server.
    pub(crate) fn server(&self) -> &Server {
        &self.server
    }

    /// Executes one statement to its end. Rows that it returns are read and dropped.
    pub(crate) fn execute(&mut self, sql: impl AsRef<[u8]>) -> Outcome<Done> {
        self.command(sql.as_ref())?;
        let done = self.finish_execute();
        self.note(done)
    }

    fn finish_execute(&mut self) -> Outcome<Done> {
        let mut first = None;
        loop {
            let (done, more) = match self.read_response()? {
                Response::Done(done, more) => (done, more),
                Response::Rows(columns) => {
                    self.skip_columns(columns)?;
                    loop {
                        if let Some(end) = self.next_row()? {
                            break (Done { warnings: end.warnings, ..Done::default() }, end.more_results);
                        }
                    }
                }
                Response::Infile => {
                    // The statement asks for a file of the client's. There is none.
                    self.packets.write(&[])?;
                    self.read_response()?;
                    return Err(Error::unsupported(
                        "LOAD DATA LOCAL INFILE is not possible in a dump: there are no files here",
                    )
                    .into());
                }
            };
            let first = first.get_or_insert(done);
            if !more {
                return Ok(std::mem::take(first));
            }
        }
    }

    /// Executes one statement that returns rows, and streams them. All must be read before the next command.
    pub(crate) fn query(&mut self, sql: impl AsRef<[u8]>) -> Outcome<Rows<'_>> {
        self.command(sql.as_ref())?;
        let columns = self.start_query();
        let columns = self.note(columns)?;
        let ended = columns.is_empty();
        if !ended {
            self.broken = Some("the rows of the query before were not read to their end");
        }
        Ok(Rows { wire: self, columns, ended, warnings: 0 })
    }

    fn start_query(&mut self) -> Outcome<Vec<Column>> {
        match self.read_response()? {
            Response::Rows(count) => {
                let mut columns = Vec::with_capacity(count.min(4096));
                for _ in 0..count {
                    columns.push(parse_column(self.packets.read()?)?);
                }
                self.skip_eof()?;
                Ok(columns)
            }
            Response::Done(_, false) => Ok(Vec::new()),
            Response::Done(_, true) | Response::Infile => {
                Err(Error::internal("a statement was sent as a query that is none").into())
            }
        }
    }

    /// All rows of a short result.
    pub(crate) fn query_all(&mut self, sql: impl AsRef<[u8]>) -> Outcome<Vec<Vec<Option<Vec<u8>>>>> {
        let mut rows = self.query(sql)?;
        let mut all = Vec::new();
        while let Some(row) = rows.next()? {
            all.push(row.cells().map(|cell| cell.map(|cell| cell.map(<[u8]>::to_vec))).collect::<Result<_>>()?);
        }
        Ok(all)
    }

    /// All rows of a short result as text; NULL is empty, and what is no UTF-8 is replaced.
    pub(crate) fn query_text(&mut self, sql: impl AsRef<[u8]>) -> Outcome<Vec<Vec<String>>> {
        let text =
            |cell: Option<&[u8]>| cell.map(|cell| String::from_utf8_lossy(cell).into_owned()).unwrap_or_default();
        let mut rows = self.query(sql)?;
        let mut all = Vec::new();
        while let Some(row) = rows.next()? {
            all.push(row.cells().map(|cell| cell.map(text)).collect::<Result<_>>()?);
        }
        Ok(all)
    }

    /// The first value of the first row as text; `None` when it is NULL or there is no row.
    pub(crate) fn query_value(&mut self, sql: impl AsRef<[u8]>) -> Outcome<Option<String>> {
        let first = self.query_all(sql)?.into_iter().next().and_then(|row| row.into_iter().next()).flatten();
        Ok(first.map(|value| String::from_utf8_lossy(&value).into_owned()))
    }

    /// Executes `LOAD DATA LOCAL INFILE`. `feed` appends the next bytes of the file to the buffer that it gets (it may be called
    /// with room left: some 256 KiB at a time are best) and returns whether there may be more. When it fails, the connection is
    /// of no further use, so that the server takes back what it has: half a file must not look like a whole one.
    pub(crate) fn load_infile(
        &mut self,
        sql: impl AsRef<[u8]>,
        feed: &mut dyn FnMut(&mut Vec<u8>) -> Result<bool>,
    ) -> Outcome<Done> {
        self.command(sql.as_ref())?;
        let done = self.run_infile(feed);
        self.note(done)
    }

    fn run_infile(&mut self, feed: &mut dyn FnMut(&mut Vec<u8>) -> Result<bool>) -> Outcome<Done> {
        match self.read_response()? {
            Response::Infile => {}
            Response::Done(..) | Response::Rows(_) => {
                return Err(Error::internal("a statement was sent as LOAD DATA LOCAL INFILE that is none").into());
            }
        }
        let mut buffer = Vec::with_capacity(INFILE_PACKET);
        let mut more = true;
        while more {
            buffer.clear();
            more = feed(&mut buffer)?;
            for packet in buffer.chunks(INFILE_PACKET) {
                self.packets.write(packet)?;
            }
        }
        self.packets.write(&[])?;
        match self.read_response()? {
            Response::Done(done, false) => Ok(done),
            _ => Err(Error::protocol("the server did not end LOAD DATA LOCAL INFILE as the protocol says").into()),
        }
    }

    /// Says goodbye: the server then frees the session at once instead of when it notices. Nothing can be said after that.
    pub(crate) fn quit(&mut self) -> Result<()> {
        if self.broken.is_none() {
            self.broken = Some("it was closed");
            self.packets.restart();
            self.packets.write(&[COM_QUIT])?;
        }
        Ok(())
    }

    fn command(&mut self, sql: &[u8]) -> Outcome<()> {
        if let Some(why) = self.broken {
            return Err(Error::internal(format!("the connection cannot be used any more: {why}")).into());
        }
        self.packets.restart();
        let sent = self.packets.write_command(COM_QUERY, sql).map_err(Failure::from);
        self.note(sent)
    }

    /// Remembers whether the connection is still usable.
    fn note<T>(&mut self, outcome: Outcome<T>) -> Outcome<T> {
        if let Err(failure) = &outcome
            && failure.code().is_none()
        {
            self.broken = Some("an earlier command failed half-way");
        }
        outcome
    }

    fn read_response(&mut self) -> Outcome<Response> {
        let capabilities = self.capabilities;
        let payload = self.packets.read()?;
        match payload.first() {
            Some(0x00) => {
                let ok = OkPacketDeserializer::<CommonOkPacket>::deserialize(capabilities, &mut ParseBuf(payload))
                    .map_err(|error| malformed("an OK packet", &error))?
                    .into_inner();
                let done = Done {
                    affected: ok.affected_rows(),
                    warnings: ok.warnings(),
                    info: ok.info_str().unwrap_or_default().into_owned(),
                };
                Ok(Response::Done(done, ok.status_flags().contains(StatusFlags::SERVER_MORE_RESULTS_EXISTS)))
            }
            Some(0xFF) => Err(Failure::from_packet(payload)),
            Some(0xFB) => Ok(Response::Infile),
            _ => {
                let count = ParseBuf(payload).checked_eat_lenenc_int().and_then(|count| usize::try_from(count).ok());
                count
                    .map(Response::Rows)
                    .ok_or_else(|| Error::protocol("the server's answer to a command is empty").into())
            }
        }
    }

    fn skip_columns(&mut self, count: usize) -> Outcome<()> {
        for _ in 0..count {
            self.packets.read()?;
        }
        self.skip_eof()
    }

    /// Old servers mark the end of the columns.
    fn skip_eof(&mut self) -> Outcome<()> {
        if !self.capabilities.contains(CapabilityFlags::CLIENT_DEPRECATE_EOF) {
            self.packets.read()?;
        }
        Ok(())
    }

    /// Goes on to the next row, which is then the packets' payload; at the end of the rows: whether another result follows, and
    /// the number of warnings.
    #[inline]
    fn next_row(&mut self) -> Outcome<Option<End>> {
        self.packets.advance()?;
        match self.packets.payload().first() {
            Some(0xFE | 0xFF) => self.last_packet(),
            _ => Ok(None),
        }
    }

    /// What seems to be the last packet of a result.
    #[cold]
    fn last_packet(&mut self) -> Outcome<Option<End>> {
        let payload = self.packets.payload();
        match payload.first() {
            Some(0xFF) => Err(Failure::from_packet(payload)),
            // A row may begin with the same byte, but only with a first cell of 16 MiB and more.
            Some(0xFE) if payload.len() < LONGEST => {
                parse_end(payload, self.capabilities.contains(CapabilityFlags::CLIENT_DEPRECATE_EOF)).map(Some)
            }
            _ => Ok(None),
        }
    }
}

/// The end of a result set.
#[derive(Debug, Clone, Copy)]
struct End {
    warnings: u16,
    more_results: bool,
}

fn parse_end(payload: &[u8], deprecate_eof: bool) -> Outcome<End> {
    let mut rest = ParseBuf(payload.get(1..).unwrap_or_default());
    if deprecate_eof {
        rest.checked_eat_lenenc_int().and_then(|_| rest.checked_eat_lenenc_int());
    }
    match (rest.checked_eat_u16_le(), rest.checked_eat_u16_le()) {
        (Some(first), Some(second)) => {
            let (status, warnings) = if deprecate_eof { (first, second) } else { (second, first) };
            Ok(End { warnings, more_results: status & StatusFlags::SERVER_MORE_RESULTS_EXISTS.bits() != 0 })
        }
        _ => Err(Error::protocol("the server's end of a result is cut off").into()),
    }
}

fn parse_column(payload: &[u8]) -> Outcome<Column> {
    // The parser takes the lengths of a column's six names for granted.
    let mut names = ParseBuf(payload);
    if !(0..6).all(|_| names.checked_eat_lenenc_str().is_some()) {
        return Err(Error::protocol("the server sent a column that is cut off").into());
    }
    Column::deserialize((), &mut ParseBuf(payload)).map_err(|error| malformed("a column", &error))
}

fn malformed(what: &str, error: &std::io::Error) -> Failure {
    Error::protocol(format!("the server sent {what} that makes no sense: {error}")).into()
}

enum Response {
    /// No rows; whether another result follows.
    Done(Done, bool),
    /// A result set with so many columns.
    Rows(usize),
    /// The server wants the content of a file.
    Infile,
}

/// The rows of a result set, one at a time as they come in.
#[derive(Debug)]
pub(crate) struct Rows<'a> {
    wire: &'a mut Wire,
    columns: Vec<Column>,
    ended: bool,
    warnings: u16,
}

impl Rows<'_> {
    /// The columns of the result.
    pub(crate) fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The next row; it lies in the connection's buffer until the next call.
    #[inline]
    pub(crate) fn next(&mut self) -> Outcome<Option<Row<'_>>> {
        Ok(self.next_mut()?.map(|payload| Row { payload }))
    }

    /// The next row as it came: each value after its length. It may be changed.
    #[inline]
    pub(crate) fn next_mut(&mut self) -> Outcome<Option<&mut [u8]>> {
        if self.ended {
            return Ok(None);
        }
        match self.wire.next_row() {
            Ok(None) => Ok(Some(self.wire.packets.payload_mut())),
            last => self.end(last).map(|()| None),
        }
    }

    /// An error ends the result. That of the server leaves the connection in order.
    #[cold]
    fn end(&mut self, last: Outcome<Option<End>>) -> Outcome<()> {
        self.ended = true;
        match last {
            Ok(Some(End { more_results: true, .. })) => {
                self.wire.broken = Some("a query returned several results");
                Err(Error::internal("a query returned several results").into())
            }
            Ok(end) => {
                self.warnings = end.map_or(0, |end| end.warnings);
                self.wire.broken = None;
                Ok(())
            }
            Err(failure) => {
                self.wire.broken = failure.code().is_none().then_some("a query failed half-way");
                Err(failure)
            }
        }
    }
}

impl Rows<'_> {
    /// How many warnings the query had, once all rows were read.
    pub(crate) fn warnings(&self) -> u16 {
        self.warnings
    }
}

/// One row of a result set, in the text protocol.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row<'a> {
    payload: &'a [u8],
}

impl<'a> Row<'a> {
    /// The values in order, NULL as `None`, parsed in place.
    #[inline]
    pub(crate) fn cells(&self) -> Cells<'a> {
        Cells { rest: self.payload }
    }
}

/// The values of a row.
#[derive(Debug, Clone)]
pub(crate) struct Cells<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Cells<'a> {
    type Item = Result<Option<&'a [u8]>>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        match first_cell(self.rest) {
            Ok((cell, head)) => {
                self.rest = self.rest.get(head + cell.map_or(0, <[u8]>::len)..).unwrap_or_default();
                Some(Ok(cell))
            }
            Err(error) => {
                self.rest = &[];
                Some(Err(error))
            }
        }
    }
}

/// The value that a row, or what is left of it, begins with, NULL as `None`; and how many bytes its length takes.
#[inline]
pub(crate) fn first_cell(row: &[u8]) -> Result<(Option<&[u8]>, usize)> {
    let (&first, rest) = row.split_first().ok_or_else(cut_off)?;
    // Nearly all cells are shorter than 251 bytes.
    let (length, head) = match first {
        0..=250 => (usize::from(first), 1),
        251 => return Ok((None, 1)),
        _ => long_length(first, rest).ok_or_else(cut_off)?,
    };
    let cell = rest.get(head - 1..).and_then(|rest| rest.get(..length)).ok_or_else(cut_off)?;
    Ok((Some(cell), head))
}

#[cold]
fn cut_off() -> Error {
    Error::protocol("the server sent a row that is cut off")
}

/// A value's length, and how many bytes say it, the first included.
#[cold]
fn long_length(first: u8, rest: &[u8]) -> Option<(usize, usize)> {
    let width = match first {
        252 => 2,
        253 => 3,
        254 => 8,
        _ => return None,
    };
    let mut length = [0; 8];
    length.get_mut(..width)?.copy_from_slice(rest.get(..width)?);
    Some((usize::try_from(u64::from_le_bytes(length)).ok()?, 1 + width))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn versions() {
        let parse = |text| {
            let server = Server::parse(text);
            (server.flavor, server.version, server.version_text)
        };
        assert_eq!(parse("9.7.4"), (Flavor::MySql, (9, 7, 4), "9.7.4".to_owned()));
        assert_eq!(parse("8.0.36-28.1-log").1, (8, 0, 36));
        assert_eq!(
            parse("5.5.5-10.11.18-MariaDB-0+deb12u1"),
            (Flavor::MariaDb, (10, 11, 18), "10.11.18-MariaDB-0+deb12u1".to_owned())
        );
        assert_eq!(parse("weird").1, (0, 0, 0));
    }

    fn lenenc(cell: Option<&[u8]>, out: &mut Vec<u8>) {
        let Some(cell) = cell else {
            out.push(251);
            return;
        };
        match cell.len() {
            length @ 0..=250 => out.push(u8::try_from(length).unwrap()),
            length @ 251..=0xFFFF => {
                out.push(252);
                out.extend_from_slice(&u16::try_from(length).unwrap().to_le_bytes());
            }
            length => {
                out.push(253);
                out.extend_from_slice(&u32::try_from(length).unwrap().to_le_bytes()[..3]);
            }
        }
        out.extend_from_slice(cell);
    }

    #[test]
    fn a_column_whose_names_are_longer_than_it_is_an_error() {
        let whole = b"\x03def\x00\x00\x00\x01c\x00\x0c\x3f\x00\x0b\x00\x00\x00\x03\x00\x00\x00\x00\x00";
        assert_eq!(parse_column(whole).unwrap().name_str(), "c");
        for at in 0..9 {
            let mut lying = whole.to_vec();
            lying[at] = 0xFA;
            assert!(parse_column(&lying).is_err() || matches!(at, 1..=3 | 8), "byte {at}");
        }
        for length in 0..whole.len() {
            assert!(parse_column(&whole[..length]).is_err(), "{length} bytes");
        }
    }

    proptest! {
        #[test]
        fn cells_come_back(
            cells in proptest::collection::vec(proptest::option::of(proptest::collection::vec(any::<u8>(), 0..400)), 0..20),
            long in 0_usize..100_000,
        ) {
            let mut cells = cells;
            cells.push(Some(vec![7; long]));
            let mut payload = Vec::new();
            for cell in &cells {
                lenenc(cell.as_deref(), &mut payload);
            }
            let row = Row { payload: &payload };
            let parsed: Vec<_> = row.cells().map(|cell| cell.unwrap().map(<[u8]>::to_vec)).collect();
            prop_assert_eq!(parsed, cells);
        }

        #[test]
        fn any_bytes_are_cells_or_an_error(payload in proptest::collection::vec(any::<u8>(), 0..200)) {
            let row = Row { payload: &payload };
            prop_assert!(row.cells().count() <= payload.len());
        }
    }
}
