//! A bound on how often the same failure is logged.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How often the same failure is told at most.
const EACH: Duration = Duration::from_secs(10);

/// Keeps what fails again and again from filling the log: one line in ten seconds, which says how many
/// there were.
#[derive(Debug, Default)]
pub struct Throttle(Mutex<Untold>);

#[derive(Debug, Default)]
struct Untold {
    last: Option<Instant>,
    /// How many there were since.
    count: u64,
}

impl Throttle {
    #[must_use]
    pub const fn new() -> Self {
        Self(Mutex::new(Untold {
            last: None,
            count: 0,
        }))
    }

    /// Counts one more; how many there were since the last line, where it is time for one.
    #[must_use]
    pub fn count(&self) -> Option<u64> {
        self.count_at(Instant::now())
    }

    fn count_at(&self, now: Instant) -> Option<u64> {
        let mut untold = self.0.lock();
        untold.count += 1;
        let is_time = untold
            .last
            .is_none_or(|last| now.duration_since(last) >= EACH);
        is_time.then(|| {
            untold.last = Some(now);
            std::mem::take(&mut untold.count)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_at_once_and_the_others_together() {
        let throttle = Throttle::new();
        let start = Instant::now();
        let at = |seconds| throttle.count_at(start + Duration::from_secs(seconds));
        assert_eq!(at(0), Some(1));
        assert_eq!([at(1), at(2), at(9)], [None; 3]);
        assert_eq!(at(10), Some(4));
        assert_eq!(at(11), None);
    }
}
