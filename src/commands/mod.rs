//! The commands, one file each. Several commands share `command_line`, `consuming`, `interrupt`, `mask` and
//! `remaining`; `schema` is a part of `topics`.

mod check;
mod command_line;
mod completions;
mod consuming;
mod dev;
mod health;
mod interrupt;
mod mask;
mod redrive;
mod remaining;
mod replay;
mod schema;
mod serve;
mod spool;
mod tail;
mod topics;

use std::fmt::Display;
use std::io::{self, StdoutLock, Write as _};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use tokio::runtime::Builder;
use tracing::{info, warn};

use crate::bridge::app::End;
use crate::cli::Command;
use crate::tools::{UNWRITTEN, is_broken_pipe};

/// Runs one command to its end.
///
/// # Errors
/// If the command could not run. If the error is a [`crate::config::ConfigErrors`] or a [`crate::tools::UsageError`],
/// the configuration or the command line is wrong.
pub fn run(command: &Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve(serve) => serve::run(serve),
        Command::Dev(dev) => dev::run(dev),
        Command::Check(check) => check::run(check),
        Command::Health(health) => health::run(health),
        Command::Topics(topics) => topics::run(topics),
        Command::Tail(tail) => tail::run(tail),
        Command::Replay(replay) => replay::run(replay),
        Command::Redrive(redrive) => redrive::run(redrive),
        Command::Spool(spool) => spool::run(&spool.command),
        Command::Completions(completions) => completions::run(completions.shell),
    }
}

/// Returns the exit code of a command whose output was `written`. When the reader has closed the pipe, that is success.
fn printed(written: io::Result<()>) -> anyhow::Result<ExitCode> {
    match written {
        Err(error) if !is_broken_pipe(&error) => Err(error).context(UNWRITTEN),
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// The standard output of a command that finishes its work even when its output is not read.
struct Output {
    out: StdoutLock<'static>,
    written: io::Result<()>,
}

impl Output {
    fn new() -> Self {
        Self {
            out: io::stdout().lock(),
            written: Ok(()),
        }
    }

    /// Prints and flushes a line, unless an earlier write has failed.
    fn line(&mut self, line: impl Display) {
        if self.written.is_ok() {
            self.written = writeln!(self.out, "{line}").and_then(|()| self.out.flush());
        }
    }

    /// Returns `code` if every line was printed.
    fn end(self, code: ExitCode) -> anyhow::Result<ExitCode> {
        if self.written.is_ok() {
            return Ok(code);
        }
        printed(self.written)
    }
}

/// Runs a command on a current-thread runtime. For a bridge, it handles signals and accepts ingress connections.
fn block_on<T>(command: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("can't start a runtime")?;
    let end = runtime.block_on(command);
    // Do not wait for threads that still work: after a second signal the process ends immediately.
    runtime.shutdown_background();
    end
}

/// The exit code if reports remain: Kafka does not have them, or the next start delivers them again.
const EXIT_REMAINING: u8 = 3;

/// Logs how a bridge ended, and returns the exit code.
fn exit_code(end: &End, spool: Option<&Path>) -> ExitCode {
    match end {
        End::Drained => {
            info!("stopped");
            ExitCode::SUCCESS
        }
        End::Forced => {
            warn!(
                "stopped immediately after a second signal; unanswered reports are lost unless their senders retry; those in the \
                 spool stay there"
            );
            ExitCode::FAILURE
        }
        End::Undelivered(left) => {
            remaining::warn_of_remaining(left, spool);
            ExitCode::from(EXIT_REMAINING)
        }
    }
}
