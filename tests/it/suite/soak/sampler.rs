//! Samples a bridge's process once a second: memory, files and threads as Linux counts them.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::super::rig::pause;
use crate::support::bridge::{Bridge, metric};
use crate::support::proc;

const PERIOD: Duration = Duration::from_secs(1);

pub struct Sample {
    pub at: Instant,
    pub resident_kib: u64,
    /// Without the senders' connections, whose number the senders decide.
    pub files: u64,
    pub threads: u64,
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            resident_kib,
            files,
            threads,
            ..
        } = self;
        write!(
            f,
            "{resident_kib} KiB resident, {files} files open but connections, {threads} threads"
        )
    }
}

/// A thread that takes samples until it is stopped or dropped.
pub struct Sampler {
    stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<Sample>>>,
}

impl Sampler {
    /// Samples the bridge's current process, which must outlive the sampler.
    pub fn start(bridge: &Bridge) -> Self {
        let stopped = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&stopped);
        let (pid, admin) = (bridge.pid(), bridge.admin);
        let sample = move || {
            let connections = metric(admin, "koobridge_connections");
            Sample {
                at: Instant::now(),
                resident_kib: proc::status(pid, "VmRSS"),
                files: proc::open_files(pid).saturating_sub(connections),
                threads: proc::status(pid, "Threads"),
            }
        };
        let thread = thread::spawn(move || {
            let mut samples = Vec::new();
            while !until.load(Ordering::Relaxed) {
                samples.push(sample());
                pause(PERIOD);
            }
            samples
        });
        Self {
            stopped,
            thread: Some(thread),
        }
    }

    pub fn stop(mut self) -> Vec<Sample> {
        self.stopped.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("a sampler is stopped once");
        thread.join().expect("the bridge lives")
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
}

/// Returns the medians of the minute before `end`: during a fault a bridge may need more for a while.
pub fn median_minute(samples: &[Sample], end: Instant) -> Sample {
    let is_in = |at: Instant| at <= end && end.duration_since(at) < Duration::from_mins(1);
    let minute = || samples.iter().filter(|sample| is_in(sample.at));
    let median = |of: fn(&Sample) -> u64| median(minute().map(of)).expect("a sample a second");
    Sample {
        at: end,
        resident_kib: median(|sample| sample.resident_kib),
        files: median(|sample| sample.files),
        threads: median(|sample| sample.threads),
    }
}

pub fn median(values: impl Iterator<Item = u64>) -> Option<u64> {
    let mut values: Vec<_> = values.collect();
    values.sort_unstable();
    values.get(values.len() / 2).copied()
}
