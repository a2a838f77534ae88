//! The size that Kafka has refused, so that it is not asked again: each refusal stops librdkafka's
//! idempotent producer for half a second, on every partition.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// For how long a size is not tried again: the topic's limit can be raised.
const REMEMBERED: Duration = Duration::from_mins(1);

pub(super) struct RefusedSize {
    /// The least size that was refused; every record is smaller where none was.
    least: AtomicUsize,
    /// When it was.
    at: Mutex<Instant>,
    /// A larger record is larger for Kafka too: nothing is compressed.
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

    /// Whether Kafka has just refused a record that was no larger.
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

    /// A record of this size was refused, sent alone.
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
    fn what_is_as_large_as_what_was_refused_is_not_tried() {
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
    fn compressed_sizes_say_nothing() {
        let refused = RefusedSize::new(false);
        refused.learn(5000);
        assert!(!refused.covers(7000));
    }

    #[test]
    fn it_is_tried_again_after_a_while() {
        let refused = RefusedSize::new(true);
        refused.learn(5000);
        *refused.at.lock() = Instant::now().checked_sub(REMEMBERED).expect("a time");
        assert!(!refused.covers(7000));
        assert!(!refused.covers(7000));
    }
}
