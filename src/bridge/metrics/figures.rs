//! The current counts of the metrics, for the status page.

use super::histogram::Histogram;
use super::{Metrics, ReportAnswer, place_of, topic_label};
use crate::contract::{INVALID_RECORD, INVALID_TIMESTAMP, RECORD_TOO_LARGE, Reason};

/// The statuses of sound reports: those of the contract, and `unknown` for all others.
pub const STATUSES: [&str; 4] = ["delivered", "read", "failed", "unknown"];

/// The reasons for which a report goes to the rejected topic: those of the contract, then those of Kafka.
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

/// The status codes of requests that are not kept, except 503. The code 400 is also sent, like 415, for a report that
/// is on the rejected topic.
pub const REFUSALS: [u16; 10] = [400, 401, 403, 404, 405, 408, 413, 414, 417, 431];

/// The counts since the start that the status page shows over time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counts {
    /// In the order of [`STATUSES`].
    pub statuses: [u64; STATUSES.len()],
    /// In the order of [`REASONS`].
    pub reasons: [u64; REASONS.len()],
    /// In the order of [`ReportAnswer::ALL`].
    pub answers: [u64; ReportAnswer::ALL.len()],
    /// In the order of [`REFUSALS`].
    pub refusals: [u64; REFUSALS.len()],
    /// Requests for channels that are not configured, answered 401.
    pub unknown_channels: u64,
    /// The time that senders waited for their answers.
    pub answered: Buckets,
    /// The time that Kafka took to acknowledge records.
    pub acknowledged: Buckets,
}

/// The cumulative counts of a histogram by upper bound, in seconds. The last bound is infinite.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Buckets(Vec<(f64, u64)>);

impl Counts {
    /// Returns the counts since `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        Self {
            statuses: less(self.statuses, before.statuses),
            reasons: less(self.reasons, before.reasons),
            answers: less(self.answers, before.answers),
            refusals: less(self.refusals, before.refusals),
            unknown_channels: self
                .unknown_channels
                .saturating_sub(before.unknown_channels),
            answered: self.answered.since(&before.answered),
            acknowledged: self.acknowledged.since(&before.acknowledged),
        }
    }

    /// Returns the number of reports with this answer.
    #[must_use]
    pub fn with_answer(&self, answer: ReportAnswer) -> u64 {
        let at = ReportAnswer::ALL.iter().position(|known| *known == answer);
        at.map_or(0, |at| self.answers[at])
    }

    /// Returns the number of requests that were refused with this code.
    #[must_use]
    pub fn refused(&self, code: u16) -> u64 {
        let at = REFUSALS.iter().position(|known| *known == code);
        at.map_or(0, |at| self.refusals[at])
    }

    /// Returns the number of reports that break the contract. `statuses` counts those with an unknown status, and those
    /// that only Kafka rejects.
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

impl Buckets {
    fn of(histogram: &Histogram) -> Self {
        let mut buckets = histogram.buckets();
        let mut total = 0;
        for (_, count) in &mut buckets {
            total += *count;
            *count = total;
        }
        Self(buckets)
    }

    fn since(&self, before: &Self) -> Self {
        let earlier = |at: usize| before.0.get(at).map_or(0, |(_, count)| *count);
        let buckets = self.0.iter().enumerate();
        let less = buckets.map(|(at, (bound, count))| (*bound, count.saturating_sub(earlier(at))));
        Self(less.collect())
    }

    /// Returns the quantile `share` in seconds, or `None` if there are no times. Times are assumed to be spread evenly
    /// in their bucket, and times above the last finite bound to equal it.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        reason = "the bucket's width is the larger error"
    )]
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let total = self.0.last().map_or(0, |(_, count)| *count) as f64;
        let (mut lower, mut before) = (0.0, 0.0);
        for (upper, count) in self.0.iter().filter(|_| total > 0.0) {
            let (count, wanted) = (*count as f64, share * total);
            if count >= wanted && upper.is_finite() {
                return Some(
                    lower + (upper - lower) * (wanted - before) / (count - before).max(1.0),
                );
            }
            if upper.is_finite() {
                (lower, before) = (*upper, count);
            }
        }
        (total > 0.0).then_some(lower)
    }
}

impl Metrics {
    /// Returns the number of records that Kafka has acknowledged.
    #[must_use]
    pub fn acknowledgements(&self) -> u64 {
        self.acknowledgement_time.count()
    }

    /// Returns the counts so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let sent = |code| self.answers.get(place_of(code));
        // Read before the reports, because an answer is counted before its report.
        let (mut refusals, unfit) = (REFUSALS.map(sent), sent(415));
        let answers = self.report_answers.all();
        refusals[0] = (refusals[0] + unfit).saturating_sub(self.reports(ReportAnswer::Rejected));
        Counts {
            statuses: self.channels.received(),
            reasons: self.rejected.all(),
            answers,
            refusals,
            unknown_channels: self.channel(None).failures(),
            answered: Buckets::of(&self.request_time),
            acknowledged: Buckets::of(&self.acknowledgement_time),
        }
    }

    /// Returns whether all producers of a topic are in service.
    #[must_use]
    pub fn is_producer_up(&self, topic: &str) -> bool {
        self.producer_up.get_or_create(&topic_label(topic)).get() == 1
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::contract::ChannelId;

    #[test]
    fn every_reason_has_one_place() {
        let expected: Vec<&str> = Reason::ALL
            .map(Reason::code)
            .into_iter()
            .chain([RECORD_TOO_LARGE, INVALID_TIMESTAMP, INVALID_RECORD])
            .collect();
        assert_eq!(REASONS.to_vec(), expected);
    }

    #[test]
    fn counted_events_are_read_back() {
        let metrics = Metrics::new();
        for channel in ["c1", "c2"] {
            let channel = ChannelId::parse(channel).expect("an id");
            metrics.channel(Some(&channel)).report_received("read");
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
        assert_eq!(metrics.acknowledgements(), 2);
        assert_eq!(counts.acknowledged.0[1..3], [(0.0025, 0), (0.005, 1)]);
        assert_eq!(counts.acknowledged.0.last(), Some(&(f64::INFINITY, 2)));
    }

    #[test]
    fn refusals_exclude_the_answers_to_rejected_reports() {
        let metrics = Metrics::new();
        // 99 and 600 are no codes of HTTP, and are not counted.
        for code in [200, 400, 400, 415, 401, 401, 413, 503, 99, 600, 0, u16::MAX] {
            metrics.answered(code);
        }
        for answer in [ReportAnswer::Rejected, ReportAnswer::Rejected] {
            metrics.report_answered(answer, Duration::ZERO);
        }
        metrics.channel(None).authentication_failed();
        let counts = metrics.counts();
        assert_eq!(counts.refusals, [1, 2, 0, 0, 0, 0, 1, 0, 0, 0]);
        assert_eq!(counts.unknown_channels, 1);
        assert_eq!(counts.with_answer(ReportAnswer::Rejected), 2);
    }

    #[test]
    fn a_quantile_is_interpolated_in_its_bucket() {
        let buckets = Buckets(vec![(0.01, 50), (0.02, 100), (f64::INFINITY, 100)]);
        let times = [0.25, 0.5, 0.75, 1.0].map(|share| buckets.quantile(share));
        assert_eq!(times, [0.005, 0.01, 0.015, 0.02].map(Some));
        let beyond = Buckets(vec![(0.01, 90), (120.0, 90), (f64::INFINITY, 100)]);
        assert_eq!(beyond.quantile(0.99), Some(120.0));
        assert_eq!(
            Buckets(vec![(0.01, 0), (f64::INFINITY, 0)]).quantile(0.5),
            None
        );
        assert_eq!(Buckets::default().quantile(0.5), None);
    }

    #[test]
    fn counts_between_two_moments_are_their_difference() {
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
        assert_eq!(between.acknowledged.0[2], (0.005, 1));
        let from_the_start = before.since(&Counts::default());
        assert_eq!(from_the_start, before);
    }

    #[test]
    fn a_producer_is_up_after_it_was_set_up() {
        let metrics = Metrics::new();
        assert!(!metrics.is_producer_up("events"));
        metrics.producer_up("events", true);
        assert!(metrics.is_producer_up("events"));
    }
}
