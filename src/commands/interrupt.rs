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

/// Runs `work` on a separate thread until it returns, or until signals end it.
pub(super) fn interruptible(
    work: impl FnOnce(&Arc<Interrupt>) -> anyhow::Result<ExitCode> + Send + 'static,
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
                () = sleep(GIVING_UP), if interrupt.is_aborting() => return Ok(ExitCode::FAILURE),
            }
            if interrupt.is_aborting() {
                return Ok(ExitCode::FAILURE);
            }
            if interrupt.stop.swap(true, Ordering::SeqCst) {
                interrupt.at_once.store(true, Ordering::SeqCst);
            }
        }
    })
}
