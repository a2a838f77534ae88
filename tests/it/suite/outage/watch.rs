//! Samples the spool's disk usage, and its bridge's memory and descriptors, many times a second.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::super::rig::pause;
use crate::support::bridge::Bridge;
use crate::support::proc;

const PERIOD: Duration = Duration::from_millis(25);
/// The unit of `stat`, independent of the file system's blocks.
const BLOCK: u64 = 512;

/// Returns the size of all files of a directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Files {
    pub bytes: u64,
    pub allocated: u64,
    pub count: u64,
}

impl Files {
    /// A file that is renamed meanwhile counts once.
    fn of(directory: &Path) -> Self {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        let files = entries.filter_map(|entry| entry.metadata().ok());
        let files: BTreeMap<_, _> = files.map(|file| (file.ino(), file)).collect();
        let sum = |of: fn(&fs::Metadata) -> u64| files.values().map(of).sum();
        Self {
            bytes: sum(fs::Metadata::len),
            allocated: sum(|file| file.blocks() * BLOCK),
            count: sum(|_| 1),
        }
    }

    /// Returns the smaller of two measurements. During a measurement one file can be removed and another made, so that
    /// both count.
    pub fn look(directory: &Path) -> Self {
        Self::of(directory).min(Self::of(directory))
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Sample {
    pub at: Instant,
    pub files: Files,
    /// `None` if there is no process.
    pub process: Option<Process>,
}

#[derive(Clone, Copy, Debug)]
pub struct Process {
    pub resident_kib: u64,
    /// The peak since the start of the process.
    pub peak_resident_kib: u64,
    pub descriptors: u64,
    /// Descriptors that are not sockets.
    pub descriptors_of_files: u64,
}

impl Process {
    fn of(pid: u32) -> Option<Self> {
        let (descriptors, descriptors_of_files) = proc::descriptors(pid)?;
        Some(Self {
            resident_kib: proc::known_status(pid, "VmRSS")?,
            peak_resident_kib: proc::known_status(pid, "VmHWM")?,
            descriptors,
            descriptors_of_files,
        })
    }
}

/// A thread that takes samples until it is stopped or dropped.
pub struct Watch {
    pid: Arc<AtomicU32>,
    stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<Sample>>>,
}

impl Watch {
    pub fn start(directory: &Path, bridge: &Bridge) -> Self {
        let stopped = Arc::new(AtomicBool::new(false));
        let pid = Arc::new(AtomicU32::new(bridge.pid()));
        let (until, of, directory) = (
            Arc::clone(&stopped),
            Arc::clone(&pid),
            PathBuf::from(directory),
        );
        let sample = move || Sample {
            at: Instant::now(),
            files: Files::look(&directory),
            process: Process::of(of.load(Ordering::Relaxed)),
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
            pid,
            stopped,
            thread: Some(thread),
        }
    }

    /// Continues with the bridge's new process.
    pub fn follow(&self, bridge: &Bridge) {
        self.pid.store(bridge.pid(), Ordering::Relaxed);
    }

    pub fn stop(mut self) -> Vec<Sample> {
        self.stopped.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("a watch is stopped once");
        thread.join().expect("a process that is gone is no error")
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
}

/// Returns the maximum of all samples.
pub fn peak(samples: &[impl Borrow<Sample>], of: impl Fn(&Sample) -> u64) -> u64 {
    let values = samples.iter().map(|sample| of(sample.borrow()));
    values.max().unwrap_or_default()
}

/// Returns the maximum of all processes.
pub fn peak_of_process(samples: &[impl Borrow<Sample>], of: impl Fn(&Process) -> u64) -> u64 {
    peak(samples, |sample| sample.process.as_ref().map_or(0, &of))
}
