//! Archives synthetic dump text and reports rate and peak memory: `memory [MiB] [repositories] [workers]`.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement, not a library")]

use std::sync::Arc;
use std::time::Instant;

use coffer_repository::{Archive, BackupRequest, InitOptions, Repository, SnapshotChoice, StreamSpec};
use coffer_storage::Storage;
use opendal::{Operator, services};

const PIECE: usize = 64 << 10;

/// Rows that compress about as a dump does, endless.
struct Rows {
    state: u64,
    row: u64,
}

impl Rows {
    fn fill(&mut self, bytes: &mut Vec<u8>) {
        use std::io::Write;
        bytes.clear();
        while bytes.len() < PIECE {
            self.state ^= self.state << 13;
            self.state ^= self.state >> 7;
            self.state ^= self.state << 17;
            self.row += 1;
            let (row, name, value) = (self.row, self.state % 5000, self.state);
            writeln!(bytes, "{row}\tcustomer {name}\t{value}\tpending\t2026-11-22 00:00:00\tsome text that repeats")
                .unwrap();
        }
    }
}

fn status(field: &str) -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or("?").trim().to_owned()
}

fn main() {
    let argument =
        |number: usize, default: usize| std::env::args().nth(number).map_or(default, |value| value.parse().unwrap());
    let (mib, count, workers) = (argument(1, 2048), argument(2, 1), argument(3, 2));
    let place = tempfile::tempdir().unwrap();
    let repositories: Vec<_> = (0..count)
        .map(|number| {
            let path = place.path().join(number.to_string());
            let temporary = path.join(".writing");
            let builder =
                services::Fs::default().root(path.to_str().unwrap()).atomic_write_dir(temporary.to_str().unwrap());
            let storage = Storage::from_operator(Operator::new(builder).unwrap(), path.display().to_string());
            Arc::new(Repository::init(&storage, &"secret".into(), &InitOptions::default()).unwrap())
        })
        .collect();
    println!("opened, peak {}", status("VmHWM:"));
    let streams: Vec<_> = (0..8).map(|number| StreamSpec::new(format!("shop/table{number}.tsv"))).collect();
    let each = (mib << 20) / streams.len();
    let started = Instant::now();
    let archive =
        Archive::start(repositories.clone(), BackupRequest { streams: streams.clone(), ..BackupRequest::default() })
            .unwrap();
    let next = std::sync::Mutex::new(0);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let (number, mut writer) = {
                        let mut next = next.lock().unwrap();
                        if *next == streams.len() {
                            return;
                        }
                        *next += 1;
                        (*next, archive.writer(*next - 1).unwrap())
                    };
                    let mut rows = Rows { state: 0x1234_5678 + number as u64, row: 0 };
                    let mut bytes = Vec::with_capacity(PIECE + 200);
                    while writer.bytes() < each as u64 {
                        rows.fill(&mut bytes);
                        writer.write(&bytes).unwrap();
                    }
                    writer.finish().unwrap();
                }
            });
        }
    });
    for outcome in archive.commit(b"{}".to_vec()) {
        let published = outcome.result.unwrap();
        println!("{} -> {} bytes", published.bytes_processed, published.bytes_added_packed);
    }
    let seconds = started.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a rate for the eye")]
    let rate = mib as f64 / seconds;
    println!("archived in {seconds:.1} s, {rate:.0} MiB/s, peak {}", status("VmHWM:"));

    let repository = repositories.first().unwrap();
    let snapshot = repository.snapshot(&SnapshotChoice::Latest).unwrap();
    let started = Instant::now();
    let mut read = 0;
    let _lock = repository.share().unwrap();
    for stream in &streams {
        let mut reader = repository.read(&snapshot, &stream.path).unwrap();
        while let Some(bytes) = reader.next_chunk().unwrap() {
            read += bytes.len();
        }
    }
    println!("read {read} bytes in {:.1} s, peak {}", started.elapsed().as_secs_f64(), status("VmHWM:"));
}
