use std::io::Read;
use std::sync::atomic::AtomicUsize;
use std::thread;

use proptest::prelude::*;

use super::*;

const FAR: Duration = Duration::from_mins(1);

fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("stream {number}")).collect()
}

/// Content that differs at every place and for every stream.
fn content(stream: usize, size: usize) -> Vec<u8> {
    (0..size).map(|place| u8::try_from((place * 31 + place / 251 + stream * 7) % 256).unwrap()).collect()
}

fn error(text: &str) -> RepositoryError {
    RepositoryError::Source(text.to_owned())
}

/// What happens to one repository's archiver.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Reads,
    /// Drops its reader after this many bytes in all.
    DiesAfter(usize),
}

#[derive(Debug, Clone)]
struct Case {
    sizes: Vec<usize>,
    writes: usize,
    workers: usize,
    /// Threads of each repository's archiver, bytes it reads at a time, its fate.
    repositories: Vec<(usize, usize, Fate)>,
    /// The producer of this stream gives up.
    fails: Option<usize>,
}

fn case() -> impl Strategy<Value = Case> {
    let size = prop_oneof![Just(0), 1..100_usize, 1..200_000_usize, 1_000_000..3_000_000_usize];
    let fate = prop_oneof![4 => Just(Fate::Reads), 1 => (0..2_000_000_usize).prop_map(Fate::DiesAfter)];
    let repository = (1..4_usize, prop_oneof![1..64_usize, 4096..1_000_000_usize], fate);
    (
        prop::collection::vec(size, 1..40),
        prop_oneof![1..100_usize, 10_000..500_000_usize],
        1..6_usize,
        prop::collection::vec(repository, 1..4),
        prop::option::weighted(0.2, 0..40_usize),
    )
        .prop_map(|(sizes, writes, workers, repositories, fails)| {
            // Tiny reads and writes of large streams would only take long.
            let large = sizes.iter().sum::<usize>() > 300_000;
            let at_least = if large { 4096 } else { 1 };
            let repositories =
                repositories.into_iter().map(|(threads, read, fate)| (threads, read.max(at_least), fate));
            Case { writes: writes.max(at_least), repositories: repositories.collect(), sizes, workers, fails }
        })
}

/// An archiver as the engine's: threads that take streams in order and read each to its end.
fn archive(
    pipe: &Arc<Pipe>,
    number: usize,
    streams: usize,
    (threads, piece, fate): (usize, usize, Fate),
) -> Vec<Vec<u8>> {
    let (next, total) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let taking = Mutex::new(());
    let mut stored = vec![Vec::new(); streams];
    let read = |_| {
        let mut mine = Vec::new();
        loop {
            let stream = {
                let _in_order = taking.lock().unwrap();
                next.fetch_add(1, Ordering::SeqCst)
            };
            if stream >= streams {
                return mine;
            }
            let mut reader = pipe.reader(stream, number);
            let mut bytes = Vec::new();
            let mut buffer = vec![0; piece];
            loop {
                if matches!(fate, Fate::DiesAfter(limit) if total.load(Ordering::SeqCst) > limit) {
                    break;
                }
                match reader.read(&mut buffer) {
                    Ok(length @ 1..) => {
                        total.fetch_add(length, Ordering::SeqCst);
                        bytes.extend_from_slice(&buffer[..length]);
                    }
                    Ok(0) | Err(_) => break,
                }
            }
            mine.push((stream, bytes));
        }
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|thread| scope.spawn(move || read(thread))).collect();
        for thread in threads {
            for (stream, bytes) in thread.join().unwrap() {
                stored[stream] = bytes;
            }
        }
    });
    stored
}

fn produce(pipe: &Arc<Pipe>, case: &Case) {
    let next = Mutex::new(0);
    thread::scope(|scope| {
        for _ in 0..case.workers {
            scope.spawn(|| {
                loop {
                    let (stream, writer) = {
                        let mut next = next.lock().unwrap();
                        if *next == case.sizes.len() {
                            return;
                        }
                        *next += 1;
                        (*next - 1, pipe.writer(*next - 1))
                    };
                    let Ok(mut writer) = writer else { return };
                    let bytes = content(stream, case.sizes[stream]);
                    for (number, piece) in bytes.chunks(case.writes).enumerate() {
                        if case.fails == Some(stream) && number == 1 {
                            return;
                        }
                        let written =
                            if number % 2 == 0 { writer.write(piece) } else { writer.write_owned(piece.to_vec()) };
                        if written.is_err() {
                            return;
                        }
                    }
                    if case.fails == Some(stream) {
                        return;
                    }
                    let _ = writer.finish_expecting(bytes.len() as u64);
                }
            });
        }
    });
}

/// Runs a case; panics with a message instead of standing still for ever.
fn run(case: &Case) -> (Arc<Pipe>, Vec<Vec<Vec<u8>>>) {
    let pipe = Pipe::new(names(case.sizes.len()), case.repositories.len());
    let (done, finished) = std::sync::mpsc::channel();
    let (pipe_there, case_there) = (Arc::clone(&pipe), case.clone());
    thread::spawn(move || {
        let stored = thread::scope(|scope| {
            let archivers: Vec<_> = case_there
                .repositories
                .iter()
                .enumerate()
                .map(|(number, how)| {
                    let (pipe, streams) = (&pipe_there, case_there.sizes.len());
                    scope.spawn(move || archive(pipe, number, streams, *how))
                })
                .collect();
            produce(&pipe_there, &case_there);
            archivers.into_iter().map(|archiver| archiver.join().unwrap()).collect::<Vec<_>>()
        });
        done.send(stored).unwrap();
    });
    let stored = finished.recv_timeout(FAR).unwrap_or_else(|_| panic!("the pipe stands still: {case:?}"));
    (pipe, stored)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, ..ProptestConfig::default() })]

    /// Any sizes, workers, repositories, archiver threads and failures: it never stands still, and what a living repository has read is what was
    /// written.
    #[test]
    fn the_pipe_never_stands_still_and_never_lies(case in case()) {
        let (pipe, stored) = run(&case);
        let source_failed = case.fails.is_some_and(|stream| stream < case.sizes.len());
        if source_failed {
            prop_assert!(pipe.failure().is_some());
        }
        if pipe.failure().is_none() {
            for (stream, receipt) in pipe.receipts().into_iter().enumerate() {
                let bytes = content(stream, case.sizes[stream]);
                let expected = StreamReceipt { bytes: bytes.len() as u64, sha256: crate::crypto::sha256(&bytes) };
                prop_assert_eq!(receipt, Some(expected));
            }
            for (number, stored) in stored.iter().enumerate() {
                if pipe.repository_failure(number).is_none() {
                    for (stream, bytes) in stored.iter().enumerate() {
                        prop_assert_eq!(bytes, &content(stream, case.sizes[stream]));
                    }
                }
            }
        }
        for place in &pipe.streams {
            for queue in place.lock().queues.iter().flatten() {
                prop_assert!(queue.bytes <= LIMIT + CUT);
            }
        }
    }
}

#[test]
fn many_small_streams_do_not_pile_up_before_a_slow_repository() {
    let pipe = Pipe::new(names(AHEAD * 3), 2);
    let written = thread::scope(|scope| {
        let producer = scope.spawn(|| {
            let mut finished = 0;
            for stream in 0..AHEAD * 3 {
                let Ok(mut writer) = pipe.writer(stream) else { break };
                if writer.write(&vec![1; GATHER]).is_err() || writer.finish().is_err() {
                    break;
                }
                finished += 1;
            }
            finished
        });
        // One repository reads everything, the other nothing at all.
        for stream in 0..AHEAD {
            let mut bytes = Vec::new();
            pipe.reader(stream, 0).read_to_end(&mut bytes).unwrap();
        }
        // The producer now waits for the other one: its next stream is as far ahead as it may be.
        pipe.fail(error("enough"));
        producer.join().unwrap()
    });
    assert!(written <= AHEAD, "{written} streams lie in memory");
}

#[test]
fn a_writer_waits_for_the_slowest_repository_and_not_for_a_dead_one() {
    let pipe = Pipe::new(names(1), 2);
    let mut writer = pipe.writer(0).unwrap();
    let mut fast = pipe.reader(0, 0);
    let slow = pipe.reader(0, 1);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut bytes = Vec::new();
            fast.read_to_end(&mut bytes).unwrap();
            assert_eq!(bytes.len(), 8 * LIMIT);
        });
        scope.spawn(move || {
            writer.write(&vec![7; 8 * LIMIT]).unwrap();
            writer.finish().unwrap();
        });
        while pipe.bytes_written() < LIMIT as u64 {
            thread::yield_now();
        }
        assert!(pipe.bytes_written() <= (LIMIT + CUT) as u64, "the slow one holds the writer back");
        // Dropped before its end: this repository has failed, the other goes on.
        drop(slow);
    });
    assert!(pipe.repository_failure(1).is_some());
    assert!(pipe.failure().is_none());
}

#[test]
fn when_the_last_repository_dies_writers_get_its_error() {
    let pipe = Pipe::new(names(1), 2);
    let mut writer = pipe.writer(0).unwrap();
    pipe.repository_failed(0, error("the first"));
    writer.write(b"still going").unwrap();
    pipe.repository_failed(1, error("the second"));
    assert!(writer.write(b"no more").unwrap_err().to_string().contains("the second"));
    assert!(writer.finish().is_err());
}

#[test]
fn a_waiting_writer_hears_of_a_failure() {
    let pipe = Pipe::new(names(1), 1);
    let mut writer = pipe.writer(0).unwrap();
    let _reader = pipe.reader(0, 0);
    thread::scope(|scope| {
        let waiting = scope.spawn(move || writer.write(&vec![0; 16 * LIMIT]).unwrap_err());
        while pipe.bytes_written() < LIMIT as u64 {
            thread::yield_now();
        }
        pipe.fail(RepositoryError::Cancelled("by hand".to_owned()));
        assert!(matches!(waiting.join().unwrap(), RepositoryError::Cancelled(_)));
    });
}

#[test]
fn an_unfinished_writer_or_a_wrong_count_fails_everything() {
    let pipe = Pipe::new(names(2), 1);
    let mut writer = pipe.writer(0).unwrap();
    writer.write(b"half").unwrap();
    drop(writer);
    assert!(pipe.failure().unwrap().to_string().contains("stream 0 was given up after 4 bytes"));
    assert!(pipe.writer(1).is_err());

    let pipe = Pipe::new(names(2), 1);
    let mut writer = pipe.writer(0).unwrap();
    writer.write(b"half").unwrap();
    assert!(writer.finish_expecting(8).is_err());
    assert!(pipe.failure().unwrap().to_string().contains("has 4 bytes"));
}

#[test]
fn each_stream_is_started_once() {
    let pipe = Pipe::new(names(1), 1);
    let writer = pipe.writer(0).unwrap();
    assert!(matches!(pipe.writer(0), Err(RepositoryError::Invalid(_))));
    assert!(matches!(pipe.writer(1), Err(RepositoryError::Invalid(_))));
    writer.finish().unwrap();
}

/// T3: one short read would leave the engine's chunker with a tiny buffer for the rest of the stream.
#[test]
fn reads_are_full_whatever_the_writes() {
    let pipe = Pipe::new(names(1), 1);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut writer = pipe.writer(0).unwrap();
            for length in [7, 100_000, 1, 70_000, 3] {
                writer.write(&vec![1; length]).unwrap();
            }
            writer.finish().unwrap();
        });
        let mut reader = pipe.reader(0, 0);
        let mut left: usize = 170_011;
        let mut buffer = [0; 4096];
        while left > 0 {
            let read = reader.read(&mut buffer).unwrap();
            assert_eq!(read, left.min(buffer.len()), "a short read before the end");
            left -= read;
        }
        assert_eq!(reader.read(&mut buffer).unwrap(), 0);
    });
}

/// T6: after a failure nobody reads on for hours; what lies in the queue is not handed out either.
#[test]
fn readers_stop_at_a_failure() {
    let pipe = Pipe::new(names(1), 1);
    let mut writer = pipe.writer(0).unwrap();
    writer.write(&vec![0; GATHER]).unwrap();
    pipe.fail(error("the database went away"));
    let mut reader = pipe.reader(0, 0);
    let failure = reader.read(&mut [0; 16]).unwrap_err();
    assert!(failure.to_string().contains("the database went away"));
}

#[test]
fn the_verdict_and_the_end_are_waited_for() {
    let pipe = Pipe::new(names(1), 1);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| pipe.await_commit());
        pipe.commit();
        waiting.join().unwrap().unwrap();
    });
    pipe.repository_ended(0);
    assert!(pipe.await_end(Duration::ZERO));

    let pipe = Pipe::new(names(1), 1);
    pipe.fail(error("no"));
    assert!(pipe.await_commit().is_err());
    assert!(!pipe.await_end(Duration::ZERO), "its thread has not ended");
}
