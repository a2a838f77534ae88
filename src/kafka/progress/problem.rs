//! A problem with a partition, and its duration.

use std::time::{Duration, Instant};

/// The interval of the notices about a lasting problem.
const NOTICE_INTERVAL: Duration = Duration::from_mins(1);

/// The start of a problem and the time of the last notice about it.
#[derive(Clone)]
pub(super) struct Problem {
    since: Instant,
    last_notice: Option<Instant>,
}

/// An obstacle that the ends of a partition show.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Obstacle {
    /// A transaction is open from this offset.
    Open(u64),
    /// The partition does not have the next offset yet.
    Ahead,
    /// The partition ends before an offset that existed earlier.
    Shrunk,
}

impl Problem {
    pub(super) fn start(now: Instant) -> Self {
        Self {
            since: now,
            last_notice: None,
        }
    }

    pub(super) fn duration(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }

    /// Returns whether a notice is due, and records that it is printed.
    pub(super) fn is_notice_due(&mut self, now: Instant) -> bool {
        let is_old = |last_notice| now.saturating_duration_since(last_notice) >= NOTICE_INTERVAL;
        let is_due = self.last_notice.is_none_or(is_old);
        if is_due {
            self.last_notice = Some(now);
        }
        is_due
    }
}
