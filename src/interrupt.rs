//! The request to stop a command.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How often a wait checks whether to stop.
const CHECK: Duration = Duration::from_millis(50);

/// The request to stop a command: signals set it, and the running command reads it.
#[derive(Debug, Default)]
pub struct Interrupt {
    /// The command is to stop in good order.
    pub stop: AtomicBool,
    /// The command is to give up its work in progress.
    pub at_once: AtomicBool,
}

impl Interrupt {
    /// Returns whether the command is to stop.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// Returns whether the command is to give up its work in progress.
    #[must_use]
    pub fn is_at_once(&self) -> bool {
        self.at_once.load(Ordering::SeqCst)
    }

    /// Waits for this long, or until the command is to stop.
    pub fn wait(&self, time: Duration) {
        let until = Instant::now() + time;
        while !self.is_stopping() && Instant::now() < until {
            thread::park_timeout(CHECK.min(until.saturating_duration_since(Instant::now())));
        }
    }
}
