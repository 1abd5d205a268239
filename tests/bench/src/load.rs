//! Writers that keep the server busy, and how long each of their writes takes.
//!
//! A write is one transaction like those of sysbench's `oltp_write_only`: two updates, a delete and an insert of one row, committed to
//! disk. The server's own clock times it, so that what a client costs is no part of it.

use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use coffer_test_support::mysql::MysqlServer;

/// One for each of sysbench's tables, which are part of what is backed up.
const WRITERS: u32 = 4;
/// Between two writes of a writer, in seconds: together they make some hundred a second, and leave the server time for others.
const PAUSE: &str = "0.005";
/// What the writers need to get going. Not counted.
const WARM_UP: Duration = Duration::from_secs(2);

/// From when to when something lasted, in microseconds of the system's clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    from: u64,
    to: u64,
}

impl Window {
    /// Ends now and began so many seconds ago.
    pub(crate) fn last(seconds: f64) -> Result<Self> {
        let to = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let from = to.saturating_sub(Duration::try_from_secs_f64(seconds)?);
        Ok(Self { from: u64::try_from(from.as_micros())?, to: u64::try_from(to.as_micros())? })
    }

    /// Waits, and returns when that was.
    pub(crate) fn wait(time: Duration) -> Result<Self> {
        thread::sleep(time);
        Self::last(time.as_secs_f64())
    }

    /// Whether any part of the write lies within.
    fn meets(self, write: Write) -> bool {
        write.began < self.to && write.began.saturating_add(write.took) > self.from
    }
}

/// One write, in microseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Write {
    began: u64,
    took: u64,
}

/// How long the writes that meet the window took, in milliseconds.
pub(crate) fn milliseconds(writes: &[Write], window: Window) -> impl Iterator<Item = f64> {
    let within = writes.iter().filter(move |write| window.meets(**write));
    within.map(|write| Duration::from_micros(write.took).as_secs_f64() * 1000.0)
}

/// Writers at work. Dropping them stops them.
pub(crate) struct Writers<'a> {
    server: &'a MysqlServer,
    children: Vec<Child>,
}

impl<'a> Writers<'a> {
    /// Lets them begin, and waits until they are warm. They change rows `1..=rows` of each of sysbench's tables.
    pub(crate) fn start(server: &'a MysqlServer, rows: u64) -> Result<Self> {
        server.exec("DROP DATABASE IF EXISTS writers; CREATE DATABASE writers; CREATE TABLE writers.stop (x INT)")?;
        let mut writers = Self { server, children: Vec::new() };
        for number in 1..=WRITERS {
            server.exec(&program(number, rows))?;
            let mut client = server.client()?;
            client.args(["--batch", "--skip-column-names", "--execute", &format!("CALL writers.work{number}()")]);
            let child = client.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
            writers.children.push(child.context("cannot start the stock client")?);
        }
        thread::sleep(WARM_UP);
        if writers.children.iter_mut().any(|child| child.try_wait().is_ok_and(|ended| ended.is_some())) {
            // It says why.
            writers.finish()?;
            bail!("a writer ended early");
        }
        Ok(writers)
    }

    /// Stops them and returns all that they wrote.
    pub(crate) fn finish(mut self) -> Result<Vec<Write>> {
        self.server.exec("INSERT INTO writers.stop VALUES (1)")?;
        let mut writes = Vec::new();
        for child in self.children.drain(..) {
            let output = child.wait_with_output()?;
            if !output.status.success() {
                bail!("a writer failed: {}", String::from_utf8_lossy(&output.stderr).trim());
            }
            for line in String::from_utf8_lossy(&output.stdout).lines() {
                let (began, took) = line.split_once('\t').context("a writer's report has another form")?;
                writes.push(Write { began: began.parse()?, took: took.parse()? });
            }
        }
        self.server.exec("DROP DATABASE writers")?;
        Ok(writes)
    }
}

impl Drop for Writers<'_> {
    fn drop(&mut self) {
        for child in &mut self.children {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What a writer does. It keeps its times in memory, which costs the same at all times, and reports them when it is told to stop.
fn program(number: u32, rows: u64) -> String {
    let table = format!("sbtest.sbtest{number}");
    format!(
        "DELIMITER //
        CREATE PROCEDURE writers.work{number}() BEGIN
          DECLARE chosen INT;
          DECLARE began DATETIME(6);
          SET SESSION max_heap_table_size = 256 << 20, time_zone = '+00:00';
          CREATE TEMPORARY TABLE writers.times (began BIGINT NOT NULL, took BIGINT NOT NULL) ENGINE=MEMORY;
          WHILE NOT EXISTS (SELECT 1 FROM writers.stop) DO
            SET chosen = 1 + FLOOR(RAND() * {rows}), began = SYSDATE(6);
            START TRANSACTION;
            UPDATE {table} SET k = k + 1 WHERE id = chosen;
            UPDATE {table} SET c = REVERSE(c) WHERE id = chosen;
            DELETE FROM {table} WHERE id = chosen;
            INSERT INTO {table} (id, k, c, pad) VALUES (chosen, FLOOR(RAND() * 2000000000), REPEAT(SHA2(chosen, 224), 2), SHA2(chosen, 224));
            COMMIT;
            INSERT INTO writers.times VALUES (UNIX_TIMESTAMP(began) * 1000000, TIMESTAMPDIFF(MICROSECOND, began, SYSDATE(6)));
            DO SLEEP({PAUSE});
          END WHILE;
          SELECT times.began, times.took FROM writers.times;
        END//
        DELIMITER ;"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_that_reaches_into_a_window_counts() {
        let window = Window { from: 1000, to: 2000 };
        let writes =
            [(0, 1000), (0, 1001), (1500, 1), (1999, 5000), (2000, 1)].map(|(began, took)| Write { began, took });
        let met: Vec<f64> = milliseconds(&writes, window).collect();
        assert_eq!(met, [1.001, 0.001, 5.0]);
    }
}
