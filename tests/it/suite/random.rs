//! Random numbers that can be repeated: `KOOBRIDGE_TEST_SEED` sets the seed, which is always printed.

use std::env;
use std::ops::Range;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Returns the seed of this run, and prints it.
pub fn seed() -> u64 {
    let seed = env::var("KOOBRIDGE_TEST_SEED").map_or_else(
        |_| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            now.expect("after 1970").as_secs()
        },
        |seed| seed.parse().expect("KOOBRIDGE_TEST_SEED is a number"),
    );
    println!("KOOBRIDGE_TEST_SEED={seed}");
    seed
}

/// `SplitMix64`.
pub struct Random(u64);

impl Random {
    pub fn new() -> Self {
        Self::of(seed())
    }

    pub fn of(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn millis(&mut self, range: Range<u64>) -> Duration {
        let span = range.end - range.start;
        Duration::from_millis(range.start + self.next() % span)
    }

    /// Returns a number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// Returns `true` in `percent` of a hundred calls.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        let count = u64::try_from(from.len()).expect("a handful");
        from[usize::try_from(self.next() % count).expect("a handful")]
    }
}
