//! The rate limit of a run.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

/// Allows a number of records a second, evenly. An unused part expires after [`SLACK`].
#[derive(Debug)]
pub struct RateLimit {
    each: Option<Duration>,
    due: Instant,
}

/// How long an unused part of the rate can still be used.
const SLACK: Duration = Duration::from_millis(100);

impl RateLimit {
    /// Returns a limit of `rate` records a second; `None` means no limit.
    #[must_use]
    pub fn new(rate: Option<NonZeroU32>, now: Instant) -> Self {
        Self {
            each: rate.map(|rate| Duration::from_secs(1) / rate.get()),
            due: now,
        }
    }

    /// Returns how long to wait before the next record.
    #[must_use]
    pub fn wait(&self, now: Instant) -> Duration {
        self.due.saturating_duration_since(now)
    }

    /// Counts a record.
    pub fn count_record(&mut self, now: Instant) {
        if let Some(each) = self.each {
            let earliest = now.checked_sub(SLACK).unwrap_or(now);
            self.due = self.due.max(earliest) + each;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_not_exceeded() {
        let start = Instant::now();
        let mut limit = RateLimit::new(NonZeroU32::new(1000), start);
        for _ in 0..5000 {
            limit.count_record(start);
        }
        let all = limit.wait(start);
        assert!(
            (Duration::from_millis(4800)..=Duration::from_secs(5)).contains(&all),
            "{all:?}"
        );
        // A pause of a minute is not made up for.
        let later = start + Duration::from_mins(1);
        for _ in 0..1000 {
            limit.count_record(later);
        }
        let wait = limit.wait(later);
        assert!(wait >= Duration::from_millis(880), "{wait:?}");
    }

    #[test]
    fn without_a_rate_nothing_waits() {
        let start = Instant::now();
        let mut limit = RateLimit::new(None, start);
        limit.count_record(start);
        assert_eq!(limit.wait(start), Duration::ZERO);
    }
}
