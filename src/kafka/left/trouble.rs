//! Why nothing comes from a partition, and since when.

use std::time::{Duration, Instant};

/// How often a line is repeated.
const AGAIN: Duration = Duration::from_mins(1);

/// Why nothing comes from a partition.
#[derive(Clone)]
pub(super) struct Trouble {
    pub(super) kind: Kind,
    since: Instant,
    said: Option<Instant>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A transaction is open from this offset.
    Open(u64),
    /// The partition does not have the next offset yet.
    Ahead,
    /// The partition ends before an offset that it has had.
    Shrunk,
}

impl Trouble {
    /// Returns the trouble of before if it is of the same kind.
    pub(super) fn since(before: Option<Self>, kind: Kind, now: Instant) -> Self {
        let fresh = Self {
            kind,
            since: now,
            said: None,
        };
        before.filter(|before| before.kind == kind).unwrap_or(fresh)
    }

    pub(super) fn lasts(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }

    /// Whether a line about it is due now; then it is said.
    pub(super) fn is_to_be_said(&mut self, now: Instant) -> bool {
        let is_old = |said| now.saturating_duration_since(said) >= AGAIN;
        let is_due = self.said.is_none_or(is_old);
        if is_due {
            self.said = Some(now);
        }
        is_due
    }
}
