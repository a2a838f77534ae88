//! Logs to standard error: as text if it is a terminal, and as JSON otherwise. When standard error is slow or broken,
//! that neither blocks nor ends the program: a separate thread writes the lines, and drops those that it can't write.

mod panics;
mod throttle;
mod writer;

use std::fmt;
use std::io::{self, IsTerminal as _};
use std::time::Duration;

use anyhow::Context as _;
use prometheus_client::metrics::counter::Counter;
use tracing::level_filters::LevelFilter;

pub use panics::end_on_panic;
pub use throttle::Throttle;
use writer::{Line, WRITER};

use crate::config::{Log, LogFormat, LogLevel};

/// How long the program waits for its last lines to be written when it ends.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Starts the thread that writes to standard error. From then on, writing does not block.
///
/// # Errors
/// If the system can't start a thread.
pub fn start_writer() -> anyhow::Result<()> {
    WRITER.start().context("can't start the log thread")
}

/// Starts logging. Only the first call has an effect.
///
/// # Errors
/// If the system can't start a thread.
pub fn start(log: Log) -> anyhow::Result<()> {
    start_writer()?;
    let level = match log.level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let lines = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(|| Line);
    let is_terminal = io::stderr().is_terminal();
    let started = match (log.format, is_terminal) {
        (LogFormat::Json, _) | (LogFormat::Auto, false) => lines
            .json()
            .flatten_event(true)
            .with_target(false)
            .try_init(),
        (LogFormat::Text, _) | (LogFormat::Auto, true) => {
            lines.with_ansi(is_terminal).with_target(false).try_init()
        }
    };
    debug_assert!(started.is_ok(), "logging is started once");
    Ok(())
}

/// Waits until the lines so far are written, at most for a second.
pub fn flush() {
    WRITER.flush(FLUSH_TIMEOUT);
}

/// Writes text to standard error without a log format, after the lines so far.
pub fn try_eprint(text: fmt::Arguments<'_>) {
    WRITER.print(text.to_string().as_bytes(), FLUSH_TIMEOUT);
}

/// Returns the counter of lines that could not be written.
#[must_use]
pub fn lines_dropped() -> Counter {
    WRITER.dropped()
}

/// Writes a line to standard error like `eprintln`, but does not panic when standard error is broken.
#[macro_export]
macro_rules! try_eprintln {
    ($($text:tt)*) => { $crate::telemetry::try_eprint(format_args!("{}\n", format_args!($($text)*))) };
}
