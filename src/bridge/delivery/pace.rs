//! When a lane may try again, and for how long Kafka has said nothing: the lane's only clock.

use std::time::{Duration, Instant};

use crate::jitter;

/// The first pause after a failed probe; each one after is twice as long.
const SHORTEST: Duration = Duration::from_millis(100);

pub(super) struct Pace {
    pause: Duration,
    longest: Duration,
    not_before: Instant,
    /// When Kafka last acknowledged something, or there was nothing to acknowledge.
    heard: Instant,
}

impl Pace {
    pub(super) fn new(longest: Duration) -> Self {
        let now = Instant::now();
        Self {
            pause: SHORTEST,
            longest,
            not_before: now,
            heard: now,
        }
    }

    /// A record was handed over; `in_flight` with it.
    pub(super) fn handed_over(&mut self, in_flight: usize) {
        if in_flight == 1 {
            self.heard = Instant::now();
        }
    }

    /// Kafka answers: there is no reason to wait.
    pub(super) fn acknowledged(&mut self) {
        let now = Instant::now();
        (self.pause, self.not_before, self.heard) = (SHORTEST, now, now);
    }

    /// Everything that was in flight has failed.
    pub(super) fn failed(&mut self) {
        // Spread, so that lanes that failed together do not come back together.
        self.not_before = Instant::now() + jitter::between([self.pause / 2, self.pause]);
        self.pause = (self.pause * 2).min(self.longest);
    }

    /// When the next probe may go out, where it may not yet.
    pub(super) fn not_yet(&self) -> Option<Instant> {
        Some(self.not_before).filter(|at| *at > Instant::now())
    }

    /// For how long nothing was acknowledged.
    pub(super) fn silence(&self) -> Duration {
        self.heard.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_secs(1);
    const MINUTE: Duration = Duration::from_mins(1);

    #[test]
    fn the_pauses_are_spread_and_double_up_to_the_longest() {
        let mut pace = Pace::new(LONGEST);
        assert_eq!(pace.not_yet(), None);
        for pause in [100, 200, 400, 800, 1000, 1000].map(Duration::from_millis) {
            let before = Instant::now();
            pace.failed();
            assert!(pace.not_before >= before + pause / 2);
            assert!(pace.not_before <= Instant::now() + pause);
        }
    }

    #[test]
    fn a_pause_is_over_at_its_end_or_with_an_acknowledgement() {
        let mut pace = Pace::new(LONGEST);
        let later = Instant::now() + MINUTE;
        pace.not_before = later;
        assert_eq!(pace.not_yet(), Some(later));
        pace.failed();
        pace.not_before = later;
        pace.acknowledged();
        assert_eq!(pace.not_yet(), None);
        assert_eq!(pace.pause, SHORTEST);
    }

    /// The longer ones of others that are still in flight count on.
    #[test]
    fn silence_begins_with_the_first_record_in_flight_and_ends_with_an_acknowledgement() {
        let mut pace = Pace::new(LONGEST);
        let long_ago = Instant::now().checked_sub(MINUTE).expect("a time");
        pace.heard = long_ago;
        pace.handed_over(2);
        assert!(pace.silence() >= MINUTE);
        pace.handed_over(1);
        assert!(pace.silence() < MINUTE);
        pace.heard = long_ago;
        pace.acknowledged();
        assert!(pace.silence() < MINUTE);
    }
}
