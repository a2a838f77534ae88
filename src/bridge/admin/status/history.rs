//! What was counted at each five seconds of the last fifteen minutes: some 100 KB, however long the
//! bridge runs.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::bridge::metrics::{Counts, STATUSES};

/// How often it is noted what has been counted.
pub(in crate::bridge::admin) const EACH: Duration = Duration::from_secs(5);
/// How many of these times the chart has room for.
pub(super) const POINTS: usize = 180;
/// What the chart shows: fifteen minutes.
pub(super) const SPAN: Duration = Duration::from_mins(15);

/// The series of the chart: the statuses, and what breaks the contract.
pub(super) const SERIES: usize = STATUSES.len() + 1;

/// What had been counted at the times of the last fifteen minutes, the oldest first.
#[derive(Debug, Default)]
pub(in crate::bridge::admin) struct History(Mutex<VecDeque<Sample>>);

#[derive(Clone, Debug)]
struct Sample {
    at: Instant,
    counts: Counts,
}

/// What was counted in a stretch of time.
#[derive(Clone, Debug)]
pub(super) struct Recent {
    pub(super) counts: Counts,
    pub(super) seconds: f64,
}

impl History {
    /// Notes what has been counted by now.
    pub(in crate::bridge::admin) fn note(&self, at: Instant, counts: Counts) {
        let mut samples = self.0.lock();
        if samples.len() > POINTS {
            samples.pop_front();
        }
        samples.push_back(Sample { at, counts });
    }

    /// What was counted in about the last `window`, or since the start where that is shorter.
    pub(super) fn recent(&self, now: Instant, counts: &Counts, window: Duration) -> Recent {
        let samples = self.0.lock();
        let is_old = |sample: &&Sample| now.saturating_duration_since(sample.at) >= window;
        let before = samples.iter().rev().find(is_old).or(samples.front());
        match before {
            Some(before) => Recent {
                counts: counts.since(&before.counts),
                seconds: now.saturating_duration_since(before.at).as_secs_f64(),
            },
            None => Recent {
                counts: Counts::default(),
                seconds: 0.0,
            },
        }
    }

    /// Reports a second between each two times, the oldest first.
    pub(super) fn rates(&self) -> Vec<[f64; SERIES]> {
        let samples = self.0.lock();
        let later = samples.iter().skip(1);
        let pairs = samples.iter().zip(later);
        let between = pairs.map(|(before, after)| Recent {
            counts: after.counts.since(&before.counts),
            seconds: (after.at - before.at).as_secs_f64(),
        });
        between.map(|recent| recent.rates()).collect()
    }
}

impl Recent {
    /// Reports a second of each series.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a rate is shown with a few digits"
    )]
    pub(super) fn rates(&self) -> [f64; SERIES] {
        // Over less than a second a single report would look like many.
        let seconds = self.seconds.max(1.0);
        series(&self.counts).map(|count| count as f64 / seconds)
    }
}

/// The counts of the chart's series.
pub(super) fn series(counts: &Counts) -> [u64; SERIES] {
    let [delivered, read, failed, unknown] = counts.statuses;
    [delivered, read, failed, unknown, counts.rejected()]
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::bridge::admin::status::words;

    pub(in crate::bridge::admin::status) fn delivered(count: u64) -> Counts {
        Counts {
            statuses: [count, 0, 0, 0],
            ..Counts::default()
        }
    }

    /// What is shown of a series.
    fn shown(rates: &[[f64; SERIES]], series: usize) -> Vec<String> {
        rates
            .iter()
            .map(|rates| words::rate(rates[series]))
            .collect()
    }

    /// One more report at each time than at the time before.
    fn growing(times: u32) -> (History, Instant) {
        let (history, start) = (History::default(), Instant::now());
        let mut count = 0;
        for time in 0..times {
            count += u64::from(time);
            history.note(start + time * EACH, delivered(count));
        }
        (history, start)
    }

    #[test]
    fn rates_are_those_between_two_times() {
        let (history, _) = growing(4);
        assert_eq!(shown(&history.rates(), 0), ["0.2", "0.4", "0.6"]);
        assert_eq!(shown(&history.rates(), 1), ["0"; 3]);
    }

    #[test]
    fn it_holds_fifteen_minutes_and_no_more() {
        let (history, _) = growing(1000);
        let rates = history.rates();
        assert_eq!(rates.len(), POINTS);
        assert_eq!(shown(&rates[POINTS - 1..], 0), ["200"]);
        assert_eq!(EACH * u32::try_from(POINTS).expect("few"), SPAN);
    }

    #[test]
    fn what_is_recent_begins_at_the_time_before() {
        let (history, start) = growing(10);
        let now = start + 9 * EACH + Duration::from_secs(1);
        let recent = history.recent(now, &delivered(50), Duration::from_secs(10));
        // 28 had been counted eleven seconds ago.
        assert_eq!((recent.counts.statuses[0], recent.seconds), (22, 11.0));
        let all = history.recent(now, &delivered(50), SPAN);
        assert_eq!((all.counts.statuses[0], all.seconds), (50, 46.0));
    }

    #[test]
    fn without_any_time_nothing_is_recent() {
        let history = History::default();
        let recent = history.recent(Instant::now(), &delivered(5), SPAN);
        assert_eq!(shown(&[recent.rates()], 0), ["0"]);
        assert!(history.rates().is_empty());
    }

    #[test]
    fn a_report_in_the_first_moment_is_no_flood() {
        let recent = Recent {
            counts: delivered(1),
            seconds: 0.001,
        };
        assert_eq!(shown(&[recent.rates()], 0), ["1"]);
    }
}
