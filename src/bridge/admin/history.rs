//! The counts of the last fifteen minutes, in steps of five seconds. They take about 200 KB.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::snapshot::{Intake, Snapshot};
use crate::bridge::metrics::Counts;
use crate::spool::Level;

/// The time between two samples.
const STEP: Duration = Duration::from_secs(5);
/// The length of the history.
pub(super) const SPAN: Duration = Duration::from_mins(15);
const SAMPLES: usize = 181;
/// The time over which the growth of the spool is measured.
const GROWTH: Duration = Duration::from_mins(2);

#[derive(Debug, Default)]
pub(super) struct History(Mutex<Log>);

#[derive(Debug, Default)]
struct Log {
    /// The oldest first.
    samples: VecDeque<Sample>,
    /// Whether Kafka could not accept every event at some moment since the last sample.
    has_trouble: bool,
}

#[derive(Clone, Debug)]
struct Sample {
    at: Instant,
    counts: Counts,
    /// Reports in the spool.
    spooled: u64,
    /// Bytes that the spool uses, if they were measured already.
    used: Option<u64>,
    /// Whether Kafka could not accept every event at some moment since the sample before.
    has_trouble: bool,
}

/// The counts between two samples.
#[derive(Clone, Debug, Default)]
pub(super) struct Interval {
    /// The ages of its begin and end when the snapshot was taken, in seconds.
    pub(super) began: f64,
    pub(super) ended: f64,
    pub(super) counts: Counts,
    /// Reports in the spool at its end.
    pub(super) spooled: u64,
    pub(super) has_trouble: bool,
}

impl History {
    /// Adds the current state. At most one sample is stored per step.
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

    /// Returns the counts of about the last `window`, or of the whole history if that is shorter.
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

    /// Returns the time until the spool is full at its recent growth rate, or `None` if it has not grown.
    #[expect(
        clippy::cast_precision_loss,
        reason = "an estimate is shown with a few digits"
    )]
    pub(super) fn full_in(&self, at: Instant, level: &Level) -> Option<Duration> {
        let log = self.0.lock();
        let age = |sample: &Sample| at.saturating_duration_since(sample.at);
        let mut measured = log.samples.iter().filter(|sample| sample.used.is_some());
        let is_recent = |sample: &&Sample| age(sample) <= GROWTH;
        let before = measured.find(is_recent)?;
        let took = age(before);
        let grown = level.used.saturating_sub(before.used?);
        if grown == 0 || took < STEP {
            return None;
        }
        let seconds = took.as_secs_f64() * level.room as f64 / grown as f64;
        Duration::try_from_secs_f64(seconds).ok()
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

/// Returns the bytes that a spool uses, or `None` if they are not measured yet: both numbers are 0 then.
fn measured(level: &Level) -> Option<u64> {
    (level.used > 0 || level.room > 0).then_some(level.used)
}

fn is_trouble(intake: Intake) -> bool {
    matches!(intake, Intake::NoAnswer | Intake::Partial)
}

impl Sample {
    fn of(snapshot: &Snapshot, has_trouble: bool) -> Self {
        Self {
            at: snapshot.at,
            counts: snapshot.counts.clone(),
            spooled: snapshot.spool.map_or(0, |level| level.reports),
            used: snapshot.spool.as_ref().and_then(measured),
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

    /// Returns the rate of `count` events per second.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a rate is shown with a few digits"
    )]
    pub(super) fn rate(&self, count: u64) -> f64 {
        // At least a second, so that a single report in the first moment does not look like a high rate.
        count as f64 / (self.began - self.ended).max(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bridge::admin::snapshot::tests::{healthy, later};

    /// Returns a history in which each step has one report more than the step before.
    fn growing(steps: u64) -> (History, Snapshot) {
        let (history, mut snapshot) = (History::default(), healthy());
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
    fn intervals_are_between_samples_and_up_to_now() {
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
    fn observations_within_one_step_make_one_sample() {
        let (history, snapshot) = (History::default(), healthy());
        for second in 0..11 {
            history.observe(&later(&snapshot, second));
        }
        assert_eq!(history.intervals(&later(&snapshot, 11)).len(), 3);
    }

    #[test]
    fn the_history_is_limited_to_fifteen_minutes() {
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
    fn an_outage_between_two_samples_is_recorded() {
        let (history, snapshot) = (History::default(), healthy());
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
    fn the_time_until_the_spool_is_full_follows_from_its_recent_growth() {
        let level = |used, room| Level {
            used,
            room,
            ..Level::default()
        };
        let at = |second: u64, level| Snapshot {
            spool: Some(level),
            ..later(&healthy(), second)
        };
        let (history, start) = (History::default(), healthy());
        let full_in = |second, used, room| {
            let at = start.at + Duration::from_secs(second);
            let full_in = history.full_in(at, &level(used, room));
            full_in.map(|time| time.as_secs_f64().round().to_string())
        };
        let observe = |second, level| {
            let snapshot = at(second, level);
            let at = start.at + Duration::from_secs(second);
            history.observe(&Snapshot { at, ..snapshot });
        };
        let soon = |seconds: &str| Some(seconds.to_owned());
        // The spool is not measured yet.
        observe(0, level(0, 0));
        assert_eq!(full_in(5, 500, 500), None);
        observe(5, level(500, 500));
        assert_eq!(full_in(6, 501, 499), None, "too early to tell");
        assert_eq!(full_in(15, 600, 400), soon("40"));
        assert_eq!(full_in(15, 500, 500), None);
        assert_eq!(full_in(15, 400, 600), None);
        assert_eq!(full_in(15, 1000, 0), soon("0"));
        for step in 2..60 {
            observe(5 * step, level(500, 500));
        }
        // The growth of the last two minutes counts.
        assert_eq!(full_in(300, 620, 380), soon("380"));
    }

    #[test]
    fn a_report_in_the_first_moment_is_not_a_high_rate() {
        let interval = Interval {
            began: 0.001,
            ..Interval::default()
        };
        assert_eq!(interval.rate(1).to_string(), "1");
    }
}
