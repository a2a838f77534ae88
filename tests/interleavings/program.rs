//! Runs the parts of koobridge that threads share under a scheduler that tries many interleavings of them.
//!
//! The parts are the program's own files. Here they import from this crate, which has modules and types of the same
//! names in the places of `std`, `tokio`, `parking_lot` and `arc_swap`: locks, atomics, threads, channels and a clock of
//! the scheduler. `kafka`, `spool` and `bridge::metrics` are fakes.

#![allow(dead_code, reason = "scenarios use only a part of each file")]
#![allow(
    clippy::unnecessary_wraps,
    clippy::unused_self,
    clippy::useless_conversion,
    reason = "the program's files use the fakes as if they were the true ones"
)]

// The imports of the program's files lead here.
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

/// How many times the second scheduler takes the turn from a thread that could go on.
const PREEMPTIONS: usize = 3;

/// Bytes of stack of each thread: enough for a build without optimisation.
const STACK: usize = 1 << 20;

/// Longer than anything waits.
const LONG: time::Duration = time::Duration::from_hours(1);

/// A claim, what is run to refute it, and how many interleavings of that each scheduler tries.
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
    // The warning says that faults of weaker orders than SeqCst are not found.
    config.silence_warnings = true;
    config.stack_size = STACK;
    Runner::new(scheduler, config).run(move || {
        time::reset();
        scenario();
    });
}
