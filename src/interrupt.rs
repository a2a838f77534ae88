//! The request to stop a command.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// The interval at which a wait checks whether to stop.
const CHECK: Duration = Duration::from_millis(50);

/// The request to stop a command: signals set it, and the running command reads it.
#[derive(Debug, Default)]
pub struct Interrupt {
    /// Whether the command should finish its current work and stop.
    pub stop: AtomicBool,
    /// Whether the command should abandon its current work.
    pub at_once: AtomicBool,
}

impl Interrupt {
    /// Returns whether the command should stop.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// Returns whether the command should abandon its current work.
    #[must_use]
    pub fn is_aborting(&self) -> bool {
        self.at_once.load(Ordering::SeqCst)
    }

    /// Waits for `time`, or until the command should stop.
    pub fn wait(&self, time: Duration) {
        let until = Instant::now() + time;
        while !self.is_stopping() && Instant::now() < until {
            thread::park_timeout(CHECK.min(until.saturating_duration_since(Instant::now())));
        }
    }
}
