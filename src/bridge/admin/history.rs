//! The last fifteen minutes, in steps of five seconds: some 200 KB, however long the bridge runs.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::snapshot::{Intake, Snapshot};
use crate::bridge::metrics::Counts;

/// The time between two samples.
const STEP: Duration = Duration::from_secs(5);
/// How far back the history goes.
pub(super) const SPAN: Duration = Duration::from_mins(15);
const SAMPLES: usize = 181;

#[derive(Debug, Default)]
pub(super) struct History(Mutex<Log>);

#[derive(Debug, Default)]
struct Log {
    /// The oldest first.
    samples: VecDeque<Sample>,
    /// Whether Kafka could not take every event at some moment since the last sample.
    has_trouble: bool,
}

#[derive(Clone, Debug)]
struct Sample {
    at: Instant,
    counts: Counts,
    /// Reports in the spool.
    spooled: u64,
    /// Whether Kafka could not take every event since the sample before.
    has_trouble: bool,
}

/// The counts of a time between two samples.
#[derive(Clone, Debug, Default)]
pub(super) struct Interval {
    /// How long before the snapshot it began and ended, in seconds.
    pub(super) began: f64,
    pub(super) ended: f64,
    pub(super) counts: Counts,
    /// Reports in the spool at its end.
    pub(super) spooled: u64,
    pub(super) has_trouble: bool,
}

impl History {
    /// Takes the state of this moment.
    pub(super) fn observe(&self, snapshot: &Snapshot) {
        let mut log = self.0.lock();
        let intake = snapshot.intake();
        log.has_trouble |= is_trouble(intake);
        let last = log.samples.back();
        if last.is_some_and(|last| snapshot.at.saturating_duration_since(last.at) < STEP) {
            return;
        }
        if log.samples.len() == SAMPLES {
            log.samples.pop_front();
        }
        let sample = Sample::of(snapshot, log.has_trouble);
        log.samples.push_back(sample);
        log.has_trouble = false;
    }

    /// Returns the counts of about the last `window`, or since the start if that is shorter.
    pub(super) fn recent(&self, snapshot: &Snapshot, window: Duration) -> Interval {
        let log = self.0.lock();
        let age = |sample: &Sample| snapshot.at.saturating_duration_since(sample.at);
        let is_old = |sample: &&Sample| age(sample) >= window;
        let before = log.samples.iter().rev().find(is_old);
        let before = before.or(log.samples.front());
        before.map_or_else(Interval::default, |before| {
            Interval::between(before, &Sample::of(snapshot, false), snapshot.at)
        })
    }

    /// Returns the intervals up to the snapshot, the oldest first.
    pub(super) fn intervals(&self, snapshot: &Snapshot) -> Vec<Interval> {
        let log = self.0.lock();
        let trouble = log.has_trouble || is_trouble(snapshot.intake());
        let now = Sample::of(snapshot, trouble);
        let ends = log.samples.iter().skip(1).chain([&now]);
        log.samples
            .iter()
            .zip(ends)
            .map(|(before, after)| Interval::between(before, after, snapshot.at))
            .collect()
    }
}

fn is_trouble(intake: Intake) -> bool {
    matches!(intake, Intake::Away | Intake::Partial)
}

impl Sample {
    fn of(snapshot: &Snapshot, has_trouble: bool) -> Self {
        Self {
            at: snapshot.at,
            counts: snapshot.counts.clone(),
            spooled: snapshot.spool.map_or(0, |level| level.reports),
            has_trouble,
        }
    }
}

impl Interval {
    fn between(before: &Sample, after: &Sample, now: Instant) -> Self {
        let age = |sample: &Sample| now.saturating_duration_since(sample.at).as_secs_f64();
        Self {
            began: age(before),
            ended: age(after),
            counts: after.counts.since(&before.counts),
            spooled: after.spooled,
            has_trouble: after.has_trouble,
        }
    }

    /// How many of `count` there were a second.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a rate is shown with a few digits"
    )]
    pub(super) fn rate(&self, count: u64) -> f64 {
        // In less than a second a single report would look like many.
        count as f64 / (self.began - self.ended).max(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bridge::admin::snapshot::tests::{later, well};

    /// One more report in each step than in the step before.
    fn growing(steps: u64) -> (History, Snapshot) {
        let (history, mut snapshot) = (History::default(), well());
        for step in 0..steps {
            snapshot.counts.statuses[0] += step;
            history.observe(&snapshot);
            snapshot = later(&snapshot, 5);
        }
        (history, snapshot)
    }

    fn delivered(interval: &Interval) -> u64 {
        interval.counts.statuses[0]
    }

    #[test]
    fn intervals_are_those_between_two_samples_and_up_to_now() {
        let (history, mut now) = growing(4);
        now.counts.statuses[0] += 7;
        let intervals = history.intervals(&now);
        let counts: Vec<u64> = intervals.iter().map(delivered).collect();
        assert_eq!(counts, [1, 2, 3, 7]);
        let (began, ended) = (intervals[3].began.round(), intervals[3].ended.round());
        assert_eq!((began, ended), (5.0, 0.0));
        assert_eq!(intervals[3].rate(7).to_string(), "1.4");
    }

    #[test]
    fn observations_of_one_step_make_one_sample() {
        let (history, snapshot) = (History::default(), well());
        for second in 0..11 {
            history.observe(&later(&snapshot, second));
        }
        assert_eq!(history.intervals(&later(&snapshot, 11)).len(), 3);
    }

    #[test]
    fn it_holds_fifteen_minutes_and_no_more() {
        let (history, now) = growing(1000);
        let intervals = history.intervals(&now);
        assert_eq!(intervals.len(), SAMPLES);
        let steps = u32::try_from(SAMPLES - 1).expect("few");
        assert_eq!(STEP * steps, SPAN);
        assert_eq!(delivered(&intervals[SAMPLES - 2]), 999);
    }

    #[test]
    fn recent_counts_begin_at_the_sample_before_the_window() {
        let (history, now) = growing(10);
        let recent = |seconds| history.recent(&now, Duration::from_secs(seconds));
        assert_eq!(delivered(&recent(10)), 9);
        assert_eq!(delivered(&recent(12)), 8 + 9);
        assert_eq!(delivered(&recent(900)), 45);
        let none = History::default().recent(&now, SPAN);
        assert_eq!(delivered(&none), 0);
    }

    #[test]
    fn an_outage_between_two_samples_is_not_forgotten() {
        let (history, snapshot) = (History::default(), well());
        history.observe(&snapshot);
        let mut away = later(&snapshot, 1);
        away.silence = Some(Duration::from_secs(1));
        history.observe(&away);
        history.observe(&later(&snapshot, 5));
        history.observe(&later(&snapshot, 10));
        let intervals = history.intervals(&later(&snapshot, 11));
        let trouble: Vec<bool> = intervals.iter().map(|it| it.has_trouble).collect();
        assert_eq!(trouble, [true, false, false]);
    }

    #[test]
    fn a_report_in_the_first_moment_is_no_flood() {
        let interval = Interval {
            began: 0.001,
            ..Interval::default()
        };
        assert_eq!(interval.rate(1).to_string(), "1");
    }
}
