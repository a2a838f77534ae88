//! Readiness without its short changes: a leader that moves, or a broker that restarts, does not take a
//! replica out of its load balancer and put it back.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How long a change has to last before it counts.
const LASTING: Duration = Duration::from_secs(2);

/// The readiness that counts, and since when the observed one has differed.
#[derive(Debug, Default)]
pub(super) struct Debounce(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    is_ready: bool,
    has_been_ready: bool,
    differs_since: Option<Instant>,
}

impl Debounce {
    /// Takes the readiness of this moment, and returns the one that counts. The first time that the bridge is
    /// ready counts at once.
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

    /// What counts at each look, one every half second.
    fn looks(ready: &[bool]) -> Vec<bool> {
        let debounce = Debounce::default();
        let start = Instant::now();
        let looks = ready.iter().zip(0..);
        looks
            .map(|(ready, look)| debounce.observe(*ready, start + look * LASTING / 4))
            .collect()
    }

    #[test]
    fn the_first_time_counts_at_once() {
        assert_eq!(looks(&[false, false, true]), [false, false, true]);
    }

    #[test]
    fn a_change_counts_once_it_has_lasted() {
        let (y, n) = (true, false);
        assert_eq!(looks(&[y, n, n, n, n, n, n]), [y, y, y, y, y, n, n]);
        assert_eq!(
            looks(&[y, n, n, n, n, n, y, y, y, y, y]),
            [y, y, y, y, y, n, n, n, n, n, y]
        );
    }

    #[test]
    fn what_comes_and_goes_changes_nothing() {
        let (y, n) = (true, false);
        assert_eq!(looks(&[y, n, n, n, y, n, n, n, y, n]), [y; 10]);
    }
}
