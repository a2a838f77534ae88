//! Remembers the record size that Kafka has refused, so that equal and larger records are not sent: each refusal
//! stops librdkafka's idempotent producer for half a second, on every partition.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How long records of a refused size are not sent. It expires because the topic's limit can be raised.
const REMEMBERED: Duration = Duration::from_mins(1);

pub(super) struct RefusedSize {
    /// The smallest refused size; `usize::MAX` if there is none.
    least: AtomicUsize,
    /// When a record was last refused for its size.
    at: Mutex<Instant>,
    /// Whether sizes say something about each other: not when records are compressed.
    sizes_compare: bool,
}

impl RefusedSize {
    pub(super) fn new(sizes_compare: bool) -> Self {
        Self {
            least: AtomicUsize::new(usize::MAX),
            at: Mutex::new(Instant::now()),
            sizes_compare,
        }
    }

    /// Returns whether any size was refused.
    pub(super) fn is_known(&self) -> bool {
        self.least.load(Ordering::Relaxed) != usize::MAX
    }

    /// Returns whether Kafka has recently refused a record of this size or smaller.
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

    /// Records that Kafka has refused a record of this size that was sent alone.
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
    fn a_refused_size_covers_equal_and_larger_records() {
        let refused = RefusedSize::new(true);
        assert!(!refused.is_known() && !refused.covers(1 << 20));
        refused.learn(5000);
        refused.learn(6000);
        assert!(refused.is_known());
        assert_eq!(
            [4999, 5000, 7000].map(|size| refused.covers(size)),
            [false, true, true]
        );
    }

    #[test]
    fn with_compression_no_size_is_remembered() {
        let refused = RefusedSize::new(false);
        refused.learn(5000);
        assert!(!refused.covers(7000));
    }

    #[test]
    fn a_refused_size_expires() {
        let refused = RefusedSize::new(true);
        refused.learn(5000);
        *refused.at.lock() = Instant::now().checked_sub(REMEMBERED).expect("a time");
        assert!(!refused.covers(7000));
        assert!(!refused.covers(7000));
    }
}
