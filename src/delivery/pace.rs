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
