//! The timing of a lane: when it may send the next probe, and how long Kafka has acknowledged nothing.

use std::time::{Duration, Instant};

use crate::jitter;

/// The first pause after a failure. Each further one is twice as long, up to the longest.
const SHORTEST: Duration = Duration::from_millis(100);

pub(super) struct Backoff {
    pause: Duration,
    longest: Duration,
    not_before: Instant,
    /// When Kafka last acknowledged a report, or the first report in flight was sent, whichever is later.
    last_progress: Instant,
}

impl Backoff {
    pub(super) fn new(longest: Duration) -> Self {
        let now = Instant::now();
        Self {
            pause: SHORTEST,
            longest,
            not_before: now,
            last_progress: now,
        }
    }

    /// Records that a report was sent. `in_flight` includes it.
    pub(super) fn sent(&mut self, in_flight: usize) {
        if in_flight == 1 {
            self.last_progress = Instant::now();
        }
    }

    /// Records that Kafka has answered, and ends the pause.
    pub(super) fn reset(&mut self) {
        self.retry_now();
        self.last_progress = self.not_before;
    }

    /// Ends the pause.
    pub(super) fn retry_now(&mut self) {
        (self.pause, self.not_before) = (SHORTEST, Instant::now());
    }

    /// Starts the next pause, after everything in flight has failed or the spool could not be read.
    pub(super) fn failed(&mut self) {
        // Jittered, so that lanes that failed together do not retry together.
        self.not_before = Instant::now() + jitter::between([self.pause / 2, self.pause]);
        self.pause = (self.pause * 2).min(self.longest);
    }

    /// Returns when the next probe may be sent, if that is in the future.
    pub(super) fn waits_until(&self) -> Option<Instant> {
        Some(self.not_before).filter(|at| *at > Instant::now())
    }

    /// Returns the time since the last progress.
    pub(super) fn silence(&self) -> Duration {
        self.last_progress.elapsed()
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
    fn an_acknowledgement_ends_the_pause() {
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
        backoff.last_progress = long_ago;
        backoff.sent(2);
        assert!(backoff.silence() >= MINUTE);
        backoff.sent(1);
        assert!(backoff.silence() < MINUTE);
        backoff.last_progress = long_ago;
        backoff.retry_now();
        assert!(backoff.silence() >= MINUTE);
        backoff.reset();
        assert!(backoff.silence() < MINUTE);
    }
}
