//! Chance: durations that differ from one caller to the next, so that those who failed together do not
//! come back together, and numbers to make names of.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

/// Any number. Each `RandomState` has keys of its own, which makes the empty hash a random number, and
/// one good enough for names and pauses.
pub fn number() -> u64 {
    RandomState::new().hash_one(())
}

/// Somewhere between two durations.
pub fn between([least, most]: [Duration; 2]) -> Duration {
    let span = u64::try_from(most.saturating_sub(least).as_micros()).unwrap_or(u64::MAX);
    let share = number() % (span + 1);
    least + Duration::from_micros(share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stays_between_and_differs() {
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
