//! Asks a server many things in one run of the stock client, and keeps every byte of the answers.

use std::fmt;
use std::io::Write as _;
use std::process::Stdio;
use std::thread;

use coffer_test_support::mysql::{Client, Flavor};

const MARK: &str = "@@coffer-question@@";

/// Questions, each with a name of the caller's.
#[derive(Debug)]
pub struct Questions<T> {
    sql: Vec<u8>,
    names: Vec<T>,
}

impl<T> Questions<T> {
    /// None yet.
    pub fn new(flavor: Flavor) -> Self {
        let mut sql = "SET NAMES utf8mb4; SET SESSION time_zone = '+00:00', sql_mode = '';\n".to_owned();
        sql.push_str(match flavor {
            Flavor::MySql => {
                "SET SESSION information_schema_stats_expiry = 0, show_gipk_in_create_table_and_information_schema = 1, \
                 print_identified_with_as_hex = 1;\n"
            }
            Flavor::MariaDb => "",
        });
        Self { sql: sql.into_bytes(), names: Vec::new() }
    }

    /// One more question: a statement that returns rows.
    pub fn ask(&mut self, name: T, sql: &str) {
        self.sql.extend_from_slice(format!("SELECT '{MARK}', {};\n{sql};\n", self.names.len()).as_bytes());
        self.names.push(name);
    }

    /// Asks them all. NULL is the text `NULL`; bytes that are no UTF-8 are written `\xNN`.
    pub fn answers(self, server: &Client) -> Vec<(T, Vec<Vec<String>>)> {
        let mut answers: Vec<Vec<Vec<String>>> = self.names.iter().map(|_| Vec::new()).collect();
        let mut current = None;
        for line in run(server, self.sql).split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let cells: Vec<String> = line.split(|byte| *byte == b'\t').map(unescape).collect();
            match cells.as_slice() {
                [mark, number] if mark == MARK => current = Some(number.parse::<usize>().unwrap()),
                _ => answers[current.expect("an answer to the first question")].push(cells),
            }
        }
        self.names.into_iter().zip(answers).collect()
    }
}

/// One question.
pub fn ask(server: &Client, flavor: Flavor, sql: &str) -> Vec<Vec<String>> {
    let mut questions = Questions::new(flavor);
    questions.ask((), sql);
    questions.answers(server).pop().unwrap().1
}

fn run(server: &Client, sql: Vec<u8>) -> Vec<u8> {
    let mut client = server.client().unwrap();
    client.args(["--batch", "--skip-column-names", "--binary-mode", "--max-allowed-packet=1G"]);
    let mut child = client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let start = String::from_utf8_lossy(&sql[..sql.len().min(400)]).into_owned();
    // From a thread of its own: questions and answers may both be larger than a pipe holds.
    let writer = thread::spawn(move || input.write_all(&sql));
    let output = child.wait_with_output().unwrap();
    let _ = writer.join();
    assert!(output.status.success(), "{}\nwhile asking {start}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Undoes the client's escapes.
fn unescape(cell: &[u8]) -> String {
    let mut plain = Vec::with_capacity(cell.len());
    let mut bytes = cell.iter().copied();
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            b'\\' => match bytes.next() {
                Some(b'n') => b'\n',
                Some(b't') => b'\t',
                Some(b'0') => 0,
                Some(other) => other,
                None => b'\\',
            },
            other => other,
        });
    }
    let mut text = String::with_capacity(plain.len());
    for chunk in plain.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            let _ = fmt::Write::write_fmt(&mut text, format_args!("\\x{byte:02X}"));
        }
    }
    text
}
