//! Ctrl-C and SIGTERM for commands that do one thing: the first asks it to stop in good order, the
//! second ends it at once.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

use crate::blocking::on_thread;
use crate::tools::Interrupt;

/// Runs `work` on a thread of its own, until it returns or is ended at once.
pub(super) fn interruptible(
    work: impl FnOnce(&Interrupt) -> anyhow::Result<ExitCode> + Send + 'static,
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
                done = &mut work => return done.context("the command broke off")?,
                _ = terminate.recv() => {}
                _ = interrupted.recv() => {}
            }
            let again = interrupt.stop.swap(true, Ordering::SeqCst);
            if again || interrupt.ends_at_once.load(Ordering::SeqCst) {
                return Ok(ExitCode::FAILURE);
            }
        }
    })
}
