//! Threads that the scheduler controls, in place of `std::thread`.

pub use shuttle::thread::*;

use std::time::{self, Duration, Instant};

pub fn park_timeout(timeout: Duration) {
    let thread = current();
    time::at(Instant::now() + timeout, move || thread.unpark());
    park();
}
