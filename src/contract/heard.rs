//! When a channel was last heard from. Noting it is one store, so that it costs a report nothing; the
//! times of many channels at one moment need not agree.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::Timestamp;

/// Before any report.
const NEVER: i64 = i64::MIN;

/// In milliseconds since 1970. Clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Heard(Arc<AtomicI64>);

impl Default for Heard {
    fn default() -> Self {
        Self(Arc::new(AtomicI64::new(NEVER)))
    }
}

impl Heard {
    pub(super) fn note(&self, at: Timestamp) {
        self.0.store(at.as_millisecond(), Ordering::Relaxed);
    }

    pub(super) fn last(&self) -> Option<Timestamp> {
        Timestamp::from_millisecond(self.0.load(Ordering::Relaxed)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_that_was_never_heard_from_has_no_time() {
        let heard = Heard::default();
        assert_eq!(heard.last(), None);
        heard.clone().note(Timestamp::UNIX_EPOCH);
        assert_eq!(heard.last(), Some(Timestamp::UNIX_EPOCH));
    }
}
