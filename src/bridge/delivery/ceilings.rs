//! How much may be in flight: a number of reports, and the bytes that they hold; what has been read of
//! their bodies counts before.

use std::sync::Arc;

use crate::bridge::metrics::{Metrics, ReportFate};

/// The ceilings of one bridge. What is in flight is what the metrics show.
#[derive(Debug)]
pub struct Ceilings {
    pub reports: u32,
    pub bytes: u64,
    pub metrics: Arc<Metrics>,
}

impl Ceilings {
    /// Whether more than half of what may be in flight is.
    pub(super) fn are_half_reached(&self) -> bool {
        let reports = u64::try_from(self.metrics.reports_in_flight.get()).unwrap_or_default();
        let bytes = u64::try_from(self.metrics.bytes_in_flight.get()).unwrap_or_default();
        reports > u64::from(self.reports / 2) || bytes > self.bytes / 2
    }

    /// Something to count a body's bytes with while it is read, or `None` where a ceiling is reached.
    pub(super) fn hold(self: &Arc<Self>) -> Option<Hold> {
        let reports = u64::try_from(self.metrics.reports_in_flight.get()).unwrap_or_default();
        let is_full = reports >= u64::from(self.reports) || !self.bytes_are_within();
        (!is_full).then(|| Hold {
            bytes: 0,
            ceilings: Arc::clone(self),
        })
    }

    fn bytes_are_within(&self) -> bool {
        u64::try_from(self.metrics.bytes_in_flight.get()).is_ok_and(|bytes| bytes <= self.bytes)
    }

    /// A place for a report that counts for so many bytes, or `None` where it would go past a ceiling.
    pub(super) fn admit(self: &Arc<Self>, bytes: usize) -> Option<Place> {
        let bytes = i64::try_from(bytes).ok()?;
        let place = Place {
            bytes,
            open: true,
            ceilings: Arc::clone(self),
        };
        let reports_before = self.metrics.reports_in_flight.inc();
        self.metrics.bytes_in_flight.inc_by(bytes);
        if reports_before < i64::from(self.reports) && self.bytes_are_within() {
            Some(place)
        } else {
            place.withdraw();
            None
        }
    }
}

/// What a body holds of the bytes while it is read; given back when dropped.
#[derive(Debug)]
pub struct Hold {
    bytes: i64,
    ceilings: Arc<Ceilings>,
}

impl Hold {
    /// Counts so many bytes more; `false` where they are past the ceiling, and the body is to be let go.
    pub fn grow(&mut self, by: usize) -> bool {
        let Ok(by) = i64::try_from(by) else {
            return false;
        };
        self.bytes += by;
        self.ceilings.metrics.bytes_in_flight.inc_by(by);
        self.ceilings.bytes_are_within()
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.ceilings.metrics.bytes_in_flight.dec_by(self.bytes);
    }
}

/// A report's place under the ceilings, held from its admission until its fate is known.
/// Dropped before that, the report has failed.
#[derive(Debug)]
pub(super) struct Place {
    bytes: i64,
    open: bool,
    ceilings: Arc<Ceilings>,
}

impl Place {
    /// Counts the report's fate and gives the place back.
    pub(super) fn settle(mut self, fate: ReportFate) {
        self.open = false;
        self.ceilings.metrics.report_settled(fate);
    }

    /// Gives the place back without a fate: Kafka never saw the report, or it is in the spool.
    pub(super) fn withdraw(mut self) {
        self.open = false;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.open {
            self.ceilings.metrics.report_settled(ReportFate::Failed);
        }
        self.ceilings.metrics.reports_in_flight.dec();
        self.ceilings.metrics.bytes_in_flight.dec_by(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ceilings(reports: u32, bytes: u64) -> Arc<Ceilings> {
        Arc::new(Ceilings {
            reports,
            bytes,
            metrics: Metrics::new(),
        })
    }

    #[test]
    fn no_more_reports_than_the_ceiling() {
        let ceilings = ceilings(2, u64::MAX);
        let first = ceilings.admit(1).expect("a place");
        let _second = ceilings.admit(1).expect("a place");
        assert!(ceilings.admit(1).is_none());
        first.settle(ReportFate::Delivered);
        assert!(ceilings.admit(1).is_some());
    }

    #[test]
    fn no_more_bytes_than_the_ceiling() {
        let ceilings = ceilings(10, 3000);
        let first = ceilings.admit(2000).expect("a place");
        assert!(ceilings.admit(1001).is_none());
        assert_eq!(ceilings.metrics.bytes_in_flight.get(), 2000);
        first.settle(ReportFate::Delivered);
        assert!(ceilings.admit(3000).is_some());
        assert_eq!(ceilings.metrics.bytes_in_flight.get(), 0);
        assert_eq!(ceilings.metrics.reports_in_flight.get(), 0);
    }

    #[test]
    fn past_half_of_the_reports_or_of_the_bytes_half_is_reached() {
        for ceilings in [ceilings(4, u64::MAX), ceilings(u32::MAX, 4)] {
            let half = [ceilings.admit(1), ceilings.admit(1)];
            assert!(half.iter().all(Option::is_some));
            assert!(!ceilings.are_half_reached());
            let _third = ceilings.admit(1).expect("a place");
            assert!(ceilings.are_half_reached());
        }
    }

    #[test]
    fn what_is_read_of_a_body_counts_until_it_is_let_go() {
        let ceilings = ceilings(10, 1500);
        let mut body = ceilings.hold().expect("room");
        assert!(body.grow(500));
        assert!(ceilings.admit(1001).is_none());
        assert!(body.grow(1000));
        assert!(!body.grow(1));
        assert!(ceilings.hold().is_none());
        drop(body);
        assert_eq!(ceilings.metrics.bytes_in_flight.get(), 0);
        assert!(ceilings.admit(1500).is_some());
    }

    #[test]
    fn no_body_is_read_while_as_many_reports_as_may_be_are_in_flight() {
        let ceilings = ceilings(1, u64::MAX);
        assert!(ceilings.hold().is_some());
        let place = ceilings.admit(1).expect("a place");
        assert!(ceilings.hold().is_none());
        place.settle(ReportFate::Delivered);
        assert!(ceilings.hold().is_some());
    }
}
