//! A problem with a partition: its kind, and since when it has lasted.

use std::time::{Duration, Instant};

/// How often a line is repeated.
const AGAIN: Duration = Duration::from_mins(1);

/// Since when there has been a problem, and when a line about it was last printed.
#[derive(Clone)]
pub(super) struct Trouble {
    since: Instant,
    said: Option<Instant>,
}

/// A problem that the ends of a partition show.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A transaction is open from this offset.
    Open(u64),
    /// The partition does not have the next offset yet.
    Ahead,
    /// The partition ends before an offset that it had.
    Shrunk,
}

impl Trouble {
    pub(super) fn start(now: Instant) -> Self {
        Self {
            since: now,
            said: None,
        }
    }

    pub(super) fn lasts(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }

    /// Returns whether a line about it is due now, and notes that it is printed.
    pub(super) fn is_to_be_said(&mut self, now: Instant) -> bool {
        let is_old = |said| now.saturating_duration_since(said) >= AGAIN;
        let is_due = self.said.is_none_or(is_old);
        if is_due {
            self.said = Some(now);
        }
        is_due
    }
}
