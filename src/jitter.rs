//! Random durations, so that clients that failed together do not retry together, and random numbers for names.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

/// Returns a random number. The hash of an empty value is random because each `RandomState` has different keys. This is
/// good enough for names and pauses.
pub fn number() -> u64 {
    RandomState::new().hash_one(())
}

/// Returns a random duration between two others.
pub fn between([least, most]: [Duration; 2]) -> Duration {
    let span = u64::try_from(most.saturating_sub(least).as_micros()).unwrap_or(u64::MAX);
    let share = number() % (span + 1);
    least + Duration::from_micros(share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_within_the_bounds_and_differ() {
        let range = [Duration::from_millis(50), Duration::from_millis(150)];
        let drawn: Vec<Duration> = (0..100).map(|_| between(range)).collect();
        assert!(
            drawn
                .iter()
                .all(|drawn| (range[0]..=range[1]).contains(drawn))
        );
        assert!(drawn.iter().any(|other| *other != drawn[0]));
    }
}
