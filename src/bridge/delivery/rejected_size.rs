//! Remembers the record size that Kafka has rejected, so that equal and larger records are not sent: each rejection
//! stops librdkafka's idempotent producer for half a second, on every partition.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How long records of a rejected size are not sent. It expires because the topic's limit can be raised.
const REMEMBERED: Duration = Duration::from_mins(1);

pub(super) struct RejectedSize {
    /// The smallest rejected size; `usize::MAX` if there is none.
    least: AtomicUsize,
    /// When a record was last rejected for its size.
    at: Mutex<Instant>,
    /// Whether rejected sizes can be compared; `false` if records are compressed.
    sizes_compare: bool,
}

impl RejectedSize {
    pub(super) fn new(sizes_compare: bool) -> Self {
        Self {
            least: AtomicUsize::new(usize::MAX),
            at: Mutex::new(Instant::now()),
            sizes_compare,
        }
    }

    /// Returns whether any size was rejected.
    pub(super) fn is_known(&self) -> bool {
        self.least.load(Ordering::Relaxed) != usize::MAX
    }

    /// Returns whether Kafka has recently rejected a record of this size or smaller.
    pub(super) fn covers(&self, size: usize) -> bool {
        if size < self.least.load(Ordering::Relaxed) {
            return false;
        }
        let at = self.at.lock();
        let is_fresh = at.elapsed() < REMEMBERED;
        if !is_fresh {
            self.least.store(usize::MAX, Ordering::Relaxed);
        }
        is_fresh
    }

    /// Records that Kafka has rejected a record of this size that was sent alone.
    pub(super) fn learn(&self, size: usize) {
        if self.sizes_compare {
            let mut at = self.at.lock();
            self.least.fetch_min(size, Ordering::Relaxed);
            *at = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rejected_size_covers_equal_and_larger_records() {
        let rejected = RejectedSize::new(true);
        assert!(!rejected.is_known() && !rejected.covers(1 << 20));
        rejected.learn(5000);
        rejected.learn(6000);
        assert!(rejected.is_known());
        assert_eq!(
            [4999, 5000, 7000].map(|size| rejected.covers(size)),
            [false, true, true]
        );
    }

    #[test]
    fn with_compression_no_size_is_remembered() {
        let rejected = RejectedSize::new(false);
        rejected.learn(5000);
        assert!(!rejected.covers(7000));
    }

    #[test]
    fn a_rejected_size_expires() {
        let rejected = RejectedSize::new(true);
        rejected.learn(5000);
        *rejected.at.lock() = Instant::now().checked_sub(REMEMBERED).expect("a time");
        assert!(!rejected.covers(7000));
        assert!(!rejected.covers(7000));
    }
}
