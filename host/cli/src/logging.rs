//! The log on standard error.

use std::io::{self, IsTerminal as _, Write};

use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::args::{Global, LogFormat};
use crate::progress::around_bars;

/// Libraries whose lines below warning are of no use to anybody but their authors.
const CHATTY: &str = "rustic_core=warn,cranelift_codegen=warn,regalloc2=warn,hyper_util=warn";

/// Libraries that log what the command then fails with.
const ECHOES: &str = "rustic_core=off,kube_client=off";

/// Starts logging. A service (what runs in a pod, where the log is all that there is to see) says more by itself. `COFFER_LOG` (like `debug`, or `coffer_repository=trace`) stands above `-v` and `--quiet`.
pub(crate) fn start(global: &Global, service: bool) {
    let filter = std::env::var("COFFER_LOG").unwrap_or_else(|_| {
        match (global.quiet, global.verbose.saturating_add(u8::from(service))) {
            (true, _) => format!("error,{ECHOES}"),
            (false, 0) => format!("warn,{ECHOES}"),
            (false, 1) => format!("info,{CHATTY}"),
            // Other people's debug lines show whole requests.
            (false, _) => format!("info,coffer=debug,{CHATTY}"),
        }
    });
    let logger = tracing_subscriber::fmt().with_env_filter(EnvFilter::new(filter)).with_writer(Stderr);
    // This also takes the lines that libraries send to the `log` crate. It fails when there is a logger already.
    let _ = match global.log_format {
        LogFormat::Human => {
            let ansi = io::stderr().is_terminal();
            logger.with_ansi(ansi).with_target(false).without_time().compact().finish().try_init()
        }
        LogFormat::Json => logger.json().finish().try_init(),
    };
}

/// Standard error, with any progress bar out of the way.
struct Stderr;

impl<'a> MakeWriter<'a> for Stderr {
    type Writer = Line;

    fn make_writer(&'a self) -> Self::Writer {
        Line(Vec::new())
    }
}

/// One line of the log, written as a whole.
struct Line(Vec<u8>);

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        let line = std::mem::take(&mut self.0);
        around_bars(|| io::stderr().lock().write_all(&line))
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        // When standard error cannot be written there is nobody to tell.
        let _ = self.flush();
    }
}
