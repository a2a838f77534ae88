//! The in-flight limits: a number of reports and a number of bytes. The bytes of a request body count as they are read,
//! before its report exists.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The in-flight limits of a bridge, and their use.
#[derive(Debug)]
pub struct InFlightLimits {
    max: InFlight,
    reports: AtomicU64,
    bytes: AtomicU64,
}

/// The number of reports in flight, and the bytes of these reports and of the bodies that are being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InFlight {
    pub reports: u64,
    pub bytes: u64,
}

impl InFlightLimits {
    #[must_use]
    pub fn new(max: InFlight) -> Self {
        Self {
            max,
            reports: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        }
    }

    /// Returns the reports and bytes in flight now.
    pub(super) fn in_flight(&self) -> InFlight {
        InFlight {
            reports: self.reports.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }

    /// Returns whether more than half of a limit is in use.
    pub(super) fn are_half_used(&self) -> bool {
        let InFlight { reports, bytes } = self.in_flight();
        reports > self.max.reports / 2 || bytes > self.max.bytes / 2
    }

    /// Returns a permit for a body that is about to be read, or `None` if a limit is reached.
    pub(super) fn body(self: &Arc<Self>) -> Option<BodyPermit> {
        let InFlight { reports, bytes } = self.in_flight();
        let is_full = reports >= self.max.reports || bytes > self.max.bytes;
        (!is_full).then(|| BodyPermit {
            bytes: 0,
            limits: Arc::clone(self),
        })
    }

    /// Returns a permit for a report of this size, or `None` if it would exceed a limit.
    pub(super) fn report(self: &Arc<Self>, bytes: usize) -> Option<Permit> {
        let bytes = bytes as u64;
        let reports = self.reports.fetch_add(1, Ordering::Relaxed) + 1;
        let all_bytes = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let permit = Permit {
            bytes,
            limits: Arc::clone(self),
        };
        (reports <= self.max.reports && all_bytes <= self.max.bytes).then_some(permit)
    }
}

/// The bytes of a body that is being read; released when dropped.
#[derive(Debug)]
pub struct BodyPermit {
    bytes: u64,
    limits: Arc<InFlightLimits>,
}

impl BodyPermit {
    /// Counts further bytes. Returns `false` if they exceed the limit. Then the body must be dropped.
    pub fn grow(&mut self, by: usize) -> bool {
        let by = by as u64;
        self.bytes += by;
        self.limits.bytes.fetch_add(by, Ordering::Relaxed) + by <= self.limits.max.bytes
    }
}

impl Drop for BodyPermit {
    fn drop(&mut self) {
        self.limits.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// The bytes of a lane's reports that were read back from the spool and are still in memory, even if redirected.
#[derive(Debug, Default)]
pub(super) struct ReadBackBytes(AtomicU64);

impl ReadBackBytes {
    pub(super) fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Counts a report of this size until the share is dropped.
    pub(super) fn take(self: &Arc<Self>, bytes: usize) -> ReadBackShare {
        let bytes = bytes as u64;
        self.0.fetch_add(bytes, Ordering::Relaxed);
        ReadBackShare {
            bytes,
            lane: Arc::clone(self),
        }
    }
}

/// The bytes of a report that was read back; released when dropped.
#[derive(Debug)]
pub(super) struct ReadBackShare {
    bytes: u64,
    lane: Arc<ReadBackBytes>,
}

impl Drop for ReadBackShare {
    fn drop(&mut self) {
        self.lane.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A report's share of the limits; released when dropped.
#[derive(Debug)]
pub(super) struct Permit {
    bytes: u64,
    limits: Arc<InFlightLimits>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.limits.reports.fetch_sub(1, Ordering::Relaxed);
        self.limits.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(reports: u64, bytes: u64) -> Arc<InFlightLimits> {
        Arc::new(InFlightLimits::new(InFlight { reports, bytes }))
    }

    const NOTHING: InFlight = InFlight {
        reports: 0,
        bytes: 0,
    };

    #[test]
    fn reports_above_the_limit_get_no_permit() {
        let limits = limits(2, u64::MAX);
        let first = limits.report(1).expect("a permit");
        let _second = limits.report(1).expect("a permit");
        assert!(limits.report(1).is_none());
        drop(first);
        assert!(limits.report(1).is_some());
    }

    #[test]
    fn bytes_above_the_limit_get_no_permit() {
        let limits = limits(10, 3000);
        let first = limits.report(2000).expect("a permit");
        assert!(limits.report(1001).is_none());
        assert_eq!(limits.in_flight().bytes, 2000);
        drop(first);
        assert!(limits.report(3000).is_some());
        assert_eq!(limits.in_flight(), NOTHING);
    }

    #[test]
    fn more_than_half_of_the_reports_or_of_the_bytes_counts_as_half_used() {
        for limits in [limits(4, u64::MAX), limits(u64::MAX, 4)] {
            let half = [limits.report(1), limits.report(1)];
            assert!(half.iter().all(Option::is_some));
            assert!(!limits.are_half_used());
            let _third = limits.report(1).expect("a permit");
            assert!(limits.are_half_used());
        }
    }

    #[test]
    fn the_bytes_of_a_body_count_until_it_is_dropped() {
        let limits = limits(10, 1500);
        let mut body = limits.body().expect("room");
        assert!(body.grow(500));
        assert!(limits.report(1001).is_none());
        assert!(body.grow(1000));
        assert!(!body.grow(1));
        assert!(limits.body().is_none());
        drop(body);
        assert_eq!(limits.in_flight(), NOTHING);
        assert!(limits.report(1500).is_some());
    }

    #[test]
    fn no_body_is_read_while_the_limit_of_reports_is_reached() {
        let limits = limits(1, u64::MAX);
        assert!(limits.body().is_some());
        let permit = limits.report(1).expect("a permit");
        assert!(limits.body().is_none());
        drop(permit);
        assert!(limits.body().is_some());
    }
}
