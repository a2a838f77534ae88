//! How much may be in flight: a number of reports, and the bytes that they hold.

use std::sync::Arc;

use crate::metrics::{Metrics, ReportFate};

/// What a record costs beside its own bytes: librdkafka's message and headers, and the ticket.
const OVERHEAD: usize = 1024;

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

    /// A place for a report of `size` bytes, or `None` where it would go past a ceiling.
    pub(super) fn admit(self: &Arc<Self>, size: usize) -> Option<Place> {
        let bytes = i64::try_from(size + OVERHEAD).ok()?;
        let place = Place {
            bytes,
            open: true,
            ceilings: Arc::clone(self),
        };
        let reports_before = self.metrics.reports_in_flight.inc();
        let bytes_before = self.metrics.bytes_in_flight.inc_by(bytes);
        let within = reports_before < i64::from(self.reports)
            && u64::try_from(bytes_before + bytes).is_ok_and(|sum| sum <= self.bytes);
        if within {
            Some(place)
        } else {
            place.withdraw();
            None
        }
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
        let ceilings = ceilings(10, 3 * OVERHEAD as u64);
        let first = ceilings.admit(OVERHEAD).expect("a place");
        assert!(ceilings.admit(1).is_none());
        assert_eq!(
            ceilings.metrics.bytes_in_flight.get(),
            2 * i64::try_from(OVERHEAD).expect("small")
        );
        first.settle(ReportFate::Delivered);
        assert!(ceilings.admit(2 * OVERHEAD).is_some());
        assert_eq!(ceilings.metrics.bytes_in_flight.get(), 0);
        assert_eq!(ceilings.metrics.reports_in_flight.get(), 0);
    }
}
