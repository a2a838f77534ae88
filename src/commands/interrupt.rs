//! Handles Ctrl-C and SIGTERM for commands that run to an end: the first signal asks the command to stop gracefully,
//! the second to give up its work in progress, and the third ends the process.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

use crate::blocking::on_thread;
use crate::interrupt::Interrupt;

/// The time that a command has to give up its work in progress.
const GIVING_UP: Duration = Duration::from_secs(10);

/// The time that a command without unfinished work has to end.
const ENDING: Duration = Duration::from_secs(1);

/// Runs `work` on a separate thread until it returns, or until signals end it.
pub(super) fn interruptible(
    work: impl FnOnce(&Arc<Interrupt>) -> anyhow::Result<ExitCode> + Send + 'static,
) -> anyhow::Result<ExitCode> {
    run(work, GIVING_UP, false)
}

/// Runs `work`, which leaves nothing unfinished, on a separate thread until it returns, or until a signal ends it.
pub(super) fn interruptible_at_once(
    work: impl FnOnce(&Arc<Interrupt>) -> anyhow::Result<ExitCode> + Send + 'static,
) -> anyhow::Result<ExitCode> {
    run(work, ENDING, true)
}

fn run(
    work: impl FnOnce(&Arc<Interrupt>) -> anyhow::Result<ExitCode> + Send + 'static,
    giving_up: Duration,
    aborts_at_once: bool,
) -> anyhow::Result<ExitCode> {
    let interrupt = Arc::new(Interrupt::default());
    super::block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("can't wait for signals")?;
        let mut interrupted = signal(SignalKind::interrupt()).context("can't wait for signals")?;
        let shared = Arc::clone(&interrupt);
        let mut work = on_thread("command", move || work(&shared))
            .map_err(|(error, _)| error)
            .context("can't start the command's thread")?;
        loop {
            tokio::select! {
                done = &mut work => return done.context("the command's thread ended unexpectedly")?,
                _ = terminate.recv() => {}
                _ = interrupted.recv() => {}
                () = sleep(giving_up), if interrupt.is_aborting() => return Ok(ExitCode::FAILURE),
            }
            if interrupt.is_aborting() {
                return Ok(ExitCode::FAILURE);
            }
            if interrupt.stop.swap(true, Ordering::SeqCst) || aborts_at_once {
                interrupt.at_once.store(true, Ordering::SeqCst);
            }
        }
    })
}
