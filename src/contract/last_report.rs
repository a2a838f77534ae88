//! The time of a channel's last report. Setting it is only one atomic store.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::Timestamp;

/// The value before the first report.
const NEVER: i64 = i64::MIN;

/// The time in milliseconds since 1970. Clones share the value.
#[derive(Clone, Debug)]
pub(super) struct LastReport(Arc<AtomicI64>);

impl Default for LastReport {
    fn default() -> Self {
        Self(Arc::new(AtomicI64::new(NEVER)))
    }
}

impl LastReport {
    pub(super) fn set(&self, at: Timestamp) {
        self.0.store(at.as_millisecond(), Ordering::Relaxed);
    }

    pub(super) fn time(&self) -> Option<Timestamp> {
        Timestamp::from_millisecond(self.0.load(Ordering::Relaxed)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_without_a_report_has_no_time() {
        let last = LastReport::default();
        assert_eq!(last.time(), None);
        last.clone().set(Timestamp::UNIX_EPOCH);
        assert_eq!(last.time(), Some(Timestamp::UNIX_EPOCH));
    }
}
