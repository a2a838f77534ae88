//! Limits how often the same failure is logged.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The minimum interval between two lines about the same failure.
const INTERVAL: Duration = Duration::from_secs(10);

/// Limits a repeated failure to one log line in ten seconds, which has the number of failures.
#[derive(Debug, Default)]
pub struct Throttle(Mutex<Unlogged>);

#[derive(Debug, Default)]
struct Unlogged {
    last: Option<Instant>,
    /// The number of failures since then.
    count: u64,
}

impl Throttle {
    #[must_use]
    pub const fn new() -> Self {
        Self(Mutex::new(Unlogged {
            last: None,
            count: 0,
        }))
    }

    /// Counts a failure. Returns the number of failures since the last line if it is time for a new line.
    #[must_use]
    pub fn count(&self) -> Option<u64> {
        self.count_at(Instant::now())
    }

    fn count_at(&self, now: Instant) -> Option<u64> {
        let mut unlogged = self.0.lock();
        unlogged.count += 1;
        let is_time = unlogged
            .last
            .is_none_or(|last| now.duration_since(last) >= INTERVAL);
        is_time.then(|| {
            unlogged.last = Some(now);
            std::mem::take(&mut unlogged.count)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failure_is_logged_at_once_and_the_others_together() {
        let throttle = Throttle::new();
        let start = Instant::now();
        let at = |seconds| throttle.count_at(start + Duration::from_secs(seconds));
        assert_eq!(at(0), Some(1));
        assert_eq!([at(1), at(2), at(9)], [None; 3]);
        assert_eq!(at(10), Some(4));
        assert_eq!(at(11), None);
    }
}
