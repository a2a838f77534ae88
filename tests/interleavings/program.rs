//! Runs the parts of koobridge that several threads share under a scheduler that tries many interleavings.
//!
//! The parts are source files of the program. They import from this crate instead of `std`, `tokio`, `parking_lot` and
//! `arc_swap`: it has the same names for locks, atomics, threads, channels and a clock that the scheduler controls.
//! `kafka`, `spool` and `bridge::metrics` are fakes.

#![allow(dead_code, reason = "scenarios use only a part of each file")]
#![allow(
    clippy::unnecessary_wraps,
    clippy::unused_self,
    clippy::useless_conversion,
    reason = "the fakes have the signatures of the real items"
)]

// Redirects the imports of the program's files to this crate.
extern crate parking_lot as real_parking_lot;
extern crate self as arc_swap;
extern crate self as parking_lot;
extern crate self as std;
extern crate self as tokio;
extern crate std as real_std;
extern crate tokio as real_tokio;
pub use clock as time;
pub use locks::{ArcSwap, Condvar, Mutex, MutexGuard};
pub use real_std::*;

mod blocking;
mod bridge;
pub mod channel;
pub mod clock;
mod jitter;
mod kafka;
mod locks;
mod spool;
pub mod sync;
pub mod thread;

use koobridge::{config, contract, telemetry};
use shuttle::scheduler::{PctScheduler, RandomScheduler, ReplayScheduler, Scheduler};
use shuttle::{Config, Runner};

/// How often the second scheduler preempts a thread that could continue.
const PREEMPTIONS: usize = 3;

/// The stack size of each thread in bytes, enough for a build without optimisation.
const STACK: usize = 1 << 20;

/// Longer than any wait.
const LONG: time::Duration = time::Duration::from_hours(1);

/// A claim, the function that checks it, and the number of interleavings that each scheduler tries.
type Scenario = (&'static str, fn(), usize);

fn main() {
    let [name, schedule] = [1, 2].map(|place| env::args().nth(place));
    let scenarios = [bridge::delivery::SCENARIOS, spool::SCENARIOS].concat();
    let wanted = |(claim, ..): &&Scenario| name.as_ref().is_none_or(|name| claim.contains(name));
    for (claim, scenario, times) in scenarios.iter().filter(wanted) {
        let began = real_std::time::Instant::now();
        if let Some(schedule) = &schedule {
            check(ReplayScheduler::new_from_encoded(schedule), *scenario);
        } else {
            check(RandomScheduler::new(*times), *scenario);
            check(PctScheduler::new(PREEMPTIONS, *times), *scenario);
        }
        println!("{:5.1} s  {claim}", began.elapsed().as_secs_f64());
    }
}

fn check(scheduler: impl Scheduler + 'static, scenario: fn()) {
    let mut config = Config::new();
    // The warning says that shuttle treats all atomic orderings as SeqCst.
    config.silence_warnings = true;
    config.stack_size = STACK;
    Runner::new(scheduler, config).run(move || {
        time::reset();
        scenario();
    });
}
