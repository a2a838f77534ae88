//! The commands, one file each; `command_line`, `consuming`, `interrupt`, `left` and `mask` are shared by several,
//! and `schema` is a part of `topics`.

mod check;
mod command_line;
mod completions;
mod consuming;
mod dev;
mod health;
mod interrupt;
mod left;
mod mask;
mod redrive;
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
use crate::tools::{UNWRITTEN, is_unread};

/// Runs one command to its end.
///
/// # Errors
/// Why it could not run. [`crate::config::ConfigErrors`] or [`crate::tools::UsageError`] among them
/// means that what was typed is wrong.
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

/// Returns the end of a command whose output was `written`: a reader that has gone has read enough.
fn printed(written: io::Result<()>) -> anyhow::Result<ExitCode> {
    match written {
        Err(error) if !is_unread(&error) => Err(error).context(UNWRITTEN),
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// The standard output of a command that does its work to the end, even if nothing reads what it prints.
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

    /// Prints a line at once, unless an earlier one could not be printed.
    fn line(&mut self, line: impl Display) {
        if self.written.is_ok() {
            self.written = writeln!(self.out, "{line}").and_then(|()| self.out.flush());
        }
    }

    /// Returns the end of the command: `code` if everything was printed.
    fn end(self, code: ExitCode) -> anyhow::Result<ExitCode> {
        if self.written.is_ok() {
            return Ok(code);
        }
        printed(self.written)
    }
}

/// Runs a command on a runtime for the main thread. Of a bridge these are signals, and accepting on the ingress.
fn block_on<T>(command: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("can't start a runtime")?;
    let end = runtime.block_on(command);
    // A thread that is still at work ends with the process: a second signal does not wait for it.
    runtime.shutdown_background();
    end
}

/// Reports are left: Kafka does not have them, or the next start repeats them.
const LEFT: u8 = 3;

/// Says how a bridge ended, and gives the code for it.
fn exit_code(end: &End, spool: Option<&Path>) -> ExitCode {
    match end {
        End::Drained => {
            info!("stopped");
            ExitCode::SUCCESS
        }
        End::Forced => {
            warn!("stopped at once, as a second signal asked");
            ExitCode::FAILURE
        }
        End::Left(left) => {
            left::warn_of(left, spool);
            ExitCode::from(LEFT)
        }
    }
}
