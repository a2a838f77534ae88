//! Jitter without randomness, so that a schedule can be replayed.

use std::time::Duration;

pub fn between([_, most]: [Duration; 2]) -> Duration {
    most
}
