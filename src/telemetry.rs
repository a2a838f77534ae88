//! Logs: lines on standard error, for people on a terminal and for machines otherwise.

use std::io::{self, IsTerminal as _};

use tracing::level_filters::LevelFilter;

use crate::config::{Log, LogFormat, LogLevel};

/// Starts logging. Only the first call counts.
pub fn start(log: Log) {
    let level = match log.level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let lines = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(io::stderr);
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
}
