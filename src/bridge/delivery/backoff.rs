//! When a lane may try again, and for how long Kafka has acknowledged nothing: the only clock of a lane.

use std::time::{Duration, Instant};

use crate::jitter;

/// The first pause after a failed probe; each one after is twice as long.
const SHORTEST: Duration = Duration::from_millis(100);

pub(super) struct Backoff {
    pause: Duration,
    longest: Duration,
    not_before: Instant,
    /// When Kafka last acknowledged something, or there was nothing to acknowledge.
    heard: Instant,
}

impl Backoff {
    pub(super) fn new(longest: Duration) -> Self {
        let now = Instant::now();
        Self {
            pause: SHORTEST,
            longest,
            not_before: now,
            heard: now,
        }
    }

    /// Notes that a record was sent. `in_flight` counts it.
    pub(super) fn sent(&mut self, in_flight: usize) {
        if in_flight == 1 {
            self.heard = Instant::now();
        }
    }

    /// Notes that Kafka answers: there is no reason to wait.
    pub(super) fn reset(&mut self) {
        self.retry_now();
        self.heard = self.not_before;
    }

    /// Ends the pause.
    pub(super) fn retry_now(&mut self) {
        (self.pause, self.not_before) = (SHORTEST, Instant::now());
    }

    /// Notes that everything in flight has failed.
    pub(super) fn failed(&mut self) {
        // Jittered, so that lanes that failed together do not come back together.
        self.not_before = Instant::now() + jitter::between([self.pause / 2, self.pause]);
        self.pause = (self.pause * 2).min(self.longest);
    }

    /// Returns when the next probe may be sent, if it must wait.
    pub(super) fn waits_until(&self) -> Option<Instant> {
        Some(self.not_before).filter(|at| *at > Instant::now())
    }

    /// Returns for how long nothing was acknowledged.
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
    fn the_pauses_are_jittered_and_double_up_to_the_longest() {
        let mut backoff = Backoff::new(LONGEST);
        assert_eq!(backoff.waits_until(), None);
        for pause in [100, 200, 400, 800, 1000, 1000].map(Duration::from_millis) {
            let before = Instant::now();
            backoff.failed();
            assert!(backoff.not_before >= before + pause / 2);
            assert!(backoff.not_before <= Instant::now() + pause);
        }
    }

    #[test]
    fn a_pause_ends_by_itself_or_with_an_acknowledgement() {
        let mut backoff = Backoff::new(LONGEST);
        let later = Instant::now() + MINUTE;
        backoff.not_before = later;
        assert_eq!(backoff.waits_until(), Some(later));
        backoff.failed();
        backoff.not_before = later;
        backoff.reset();
        assert_eq!(backoff.waits_until(), None);
        assert_eq!(backoff.pause, SHORTEST);
    }

    #[test]
    fn silence_begins_with_the_first_record_in_flight_and_ends_with_an_acknowledgement() {
        let mut backoff = Backoff::new(LONGEST);
        let long_ago = Instant::now().checked_sub(MINUTE).expect("a time");
        backoff.heard = long_ago;
        backoff.sent(2);
        assert!(backoff.silence() >= MINUTE);
        backoff.sent(1);
        assert!(backoff.silence() < MINUTE);
        backoff.heard = long_ago;
        backoff.retry_now();
        assert!(backoff.silence() >= MINUTE);
        backoff.reset();
        assert!(backoff.silence() < MINUTE);
    }
}
