//! Debounces readiness, so that a load balancer does not remove and add a replica when a leader moves or a broker
//! restarts.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// A change counts only after this time.
const LASTING: Duration = Duration::from_secs(2);

/// The debounced readiness, and since when the observed one has differed.
#[derive(Debug, Default)]
pub(super) struct Debounce(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    is_ready: bool,
    has_been_ready: bool,
    differs_since: Option<Instant>,
}

impl Debounce {
    /// Takes the current readiness, and returns the debounced one. When the bridge is ready for the first time, that
    /// counts at once.
    pub(super) fn observe(&self, is_ready: bool, now: Instant) -> bool {
        let mut state = self.0.lock();
        if is_ready == state.is_ready {
            state.differs_since = None;
            return is_ready;
        }
        let since = *state.differs_since.get_or_insert(now);
        if !state.has_been_ready || now.duration_since(since) >= LASTING {
            state.is_ready = is_ready;
            state.has_been_ready |= is_ready;
            state.differs_since = None;
        }
        state.is_ready
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the debounced readiness of observations at intervals of half a second.
    fn debounced(ready: &[bool]) -> Vec<bool> {
        let debounce = Debounce::default();
        let start = Instant::now();
        let observations = ready.iter().zip(0..);
        observations
            .map(|(ready, number)| debounce.observe(*ready, start + number * LASTING / 4))
            .collect()
    }

    #[test]
    fn the_first_readiness_counts_at_once() {
        assert_eq!(debounced(&[false, false, true]), [false, false, true]);
    }

    #[test]
    fn a_lasting_change_counts() {
        let (y, n) = (true, false);
        assert_eq!(debounced(&[y, n, n, n, n, n, n]), [y, y, y, y, y, n, n]);
        assert_eq!(
            debounced(&[y, n, n, n, n, n, y, y, y, y, y]),
            [y, y, y, y, y, n, n, n, n, n, y]
        );
    }

    #[test]
    fn a_short_change_does_not_count() {
        let (y, n) = (true, false);
        assert_eq!(debounced(&[y, n, n, n, y, n, n, n, y, n]), [y; 10]);
    }
}
