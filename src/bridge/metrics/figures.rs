//! The metrics as figures of the moment, for the status page: what it shows is what they count.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::labels::{AnswerLabel, ReasonLabel};
use super::{Metrics, ReportAnswer, topic_label};
use crate::contract::{INVALID_RECORD, INVALID_TIMESTAMP, RECORD_TOO_LARGE, Reason};

/// The statuses of sound reports: those of the contract, and what this version doesn't know.
pub const STATUSES: [&str; 4] = ["delivered", "read", "failed", "unknown"];

/// Every reason for which a report goes to the rejected topic: those of the contract, then Kafka's.
pub const REASONS: [&str; Reason::ALL.len() + 3] = {
    let mut codes = [INVALID_RECORD; Reason::ALL.len() + 3];
    let mut at = 0;
    while at < Reason::ALL.len() {
        codes[at] = Reason::ALL[at].code();
        at += 1;
    }
    codes[at] = RECORD_TOO_LARGE;
    codes[at + 1] = INVALID_TIMESTAMP;
    codes
};

/// Reports by status, of all channels together. Every worker writes it: on a cache line of its own it
/// does not slow down the reading of what lies beside it.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(super) struct ByStatus([AtomicU64; STATUSES.len()]);

impl ByStatus {
    pub(super) fn count(&self, status: &str) {
        if let Some(place) = STATUSES.iter().position(|known| *known == status) {
            self.0[place].fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Everything that is counted from the start on and that the status page shows over time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counts {
    /// In the order of [`STATUSES`].
    pub statuses: [u64; STATUSES.len()],
    /// In the order of [`REASONS`].
    pub reasons: [u64; REASONS.len()],
    /// In the order of [`ReportAnswer::ALL`].
    pub answers: [u64; ReportAnswer::ALL.len()],
    /// How many records Kafka acknowledged within so many seconds; the last bound is infinite.
    pub acknowledged: Vec<(f64, u64)>,
}

impl Counts {
    /// What has been counted since `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let earlier = |at: usize| before.acknowledged.get(at).map_or(0, |(_, count)| *count);
        let acknowledged = self.acknowledged.iter().enumerate();
        Self {
            statuses: less(self.statuses, before.statuses),
            reasons: less(self.reasons, before.reasons),
            answers: less(self.answers, before.answers),
            acknowledged: acknowledged
                .map(|(at, (bound, count))| (*bound, count.saturating_sub(earlier(at))))
                .collect(),
        }
    }

    /// Reports that break the contract. Those of an unknown status, and those that only Kafka refuses,
    /// are among the statuses.
    #[must_use]
    pub fn rejected(&self) -> u64 {
        let reasons = Reason::ALL.iter().zip(self.reasons);
        reasons
            .filter(|(reason, _)| **reason != Reason::UnknownStatus)
            .map(|(_, count)| count)
            .sum()
    }
}

fn less<const N: usize>(counts: [u64; N], before: [u64; N]) -> [u64; N] {
    std::array::from_fn(|at| counts[at].saturating_sub(before[at]))
}

impl Metrics {
    /// What has been counted so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let rejected = |reason| self.rejected.get_or_create(&ReasonLabel { reason }).get();
        let answered = |answer| {
            self.report_answers
                .get_or_create(&AnswerLabel { answer })
                .get()
        };
        Counts {
            statuses: self
                .by_status
                .0
                .each_ref()
                .map(|count| count.load(Ordering::Relaxed)),
            reasons: REASONS.map(rejected),
            answers: ReportAnswer::ALL.map(answered),
            acknowledged: buckets(&self.acknowledgement_time),
        }
    }

    /// Whether the producer of a topic is in service.
    #[must_use]
    pub fn is_producer_up(&self, topic: &str) -> bool {
        self.producer_up.get_or_create(&topic_label(topic)).get() == 1
    }
}

/// A histogram's counts can be read in the text format alone.
fn buckets(histogram: &Histogram) -> Vec<(f64, u64)> {
    let mut registry = Registry::default();
    registry.register("h", "", histogram.clone());
    let mut text = String::new();
    encode(&mut text, &registry).expect("writing to memory can't fail");
    let bucket = |line: &str| {
        let (bound, count) = line.strip_prefix("h_bucket{le=\"")?.split_once("\"} ")?;
        Some((bound.parse().ok()?, count.parse().ok()?))
    };
    text.lines().filter_map(bucket).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::contract::ChannelId;

    #[test]
    fn every_reason_is_there_once() {
        let expected: Vec<&str> = Reason::ALL
            .map(Reason::code)
            .into_iter()
            .chain([RECORD_TOO_LARGE, INVALID_TIMESTAMP, INVALID_RECORD])
            .collect();
        assert_eq!(REASONS.to_vec(), expected);
    }

    #[test]
    fn what_is_counted_is_read_back() {
        let metrics = Metrics::new();
        for channel in ["c1", "c2"] {
            let channel = ChannelId::parse(channel).expect("an id");
            metrics.report_received(&channel, "read");
        }
        metrics.report_rejected("not-json");
        metrics.report_answered(ReportAnswer::Shed, Duration::ZERO);
        metrics.acknowledged(Duration::from_millis(3));
        metrics.acknowledged(Duration::from_mins(10));
        let counts = metrics.counts();
        assert_eq!(counts.statuses, [0, 2, 0, 0]);
        let counted: Vec<_> = REASONS.into_iter().zip(counts.reasons).collect();
        assert!(counted.contains(&("not-json", 1)), "{counted:?}");
        assert_eq!(counts.answers, [0, 0, 0, 1, 0]);
        assert_eq!(counts.acknowledged[1..3], [(0.0025, 0), (0.005, 1)]);
        assert_eq!(counts.acknowledged.last(), Some(&(f64::INFINITY, 2)));
    }

    #[test]
    fn what_was_counted_between_two_looks_is_their_difference() {
        let metrics = Metrics::new();
        metrics.report_rejected("not-json");
        metrics.acknowledged(Duration::from_millis(3));
        let before = metrics.counts();
        metrics.report_rejected("not-json");
        metrics.report_rejected("unknown-status");
        metrics.report_rejected("record-too-large");
        metrics.acknowledged(Duration::from_millis(3));
        let between = metrics.counts().since(&before);
        assert_eq!((between.rejected(), before.rejected()), (1, 1));
        assert_eq!(between.acknowledged[2], (0.005, 1));
        let from_the_start = before.since(&Counts::default());
        assert_eq!(from_the_start, before);
    }

    #[test]
    fn a_producer_is_up_once_it_was_said_to_be() {
        let metrics = Metrics::new();
        assert!(!metrics.is_producer_up("events"));
        metrics.producer_up("events", true);
        assert!(metrics.is_producer_up("events"));
    }
}
