//! What waits for the spool's thread.

use std::mem;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::{LaneKey, Level, Row};

/// How long strikes may wait for company.
const STRIKES: Duration = Duration::from_millis(500);
/// How many records go into one transaction at most.
const GROUP: usize = 4096;

/// What waits for the thread.
pub(super) struct Queue<T> {
    waiting: Mutex<Waiting<T>>,
    /// Wakes the thread.
    filled: Condvar,
    level: Mutex<Level>,
}

pub(super) struct Waiting<T> {
    pub(super) writes: Vec<Write<T>>,
    pub(super) strikes: Vec<(LaneKey, u64)>,
    /// When the first of the strikes came.
    strikes_since: Option<Instant>,
    pub(super) parks: Vec<(LaneKey, u64)>,
    pub(super) topics: Vec<(String, u32)>,
    pub(super) damaged: Vec<PathBuf>,
    /// Reports, and parked ones, that earlier runs left.
    pub(super) counted: Option<(u64, u64)>,
    pub(super) is_closing: bool,
}

pub(super) struct Write<T> {
    pub(super) lane: LaneKey,
    pub(super) row: Row,
    pub(super) ticket: T,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self {
            waiting: Mutex::new(Waiting::default()),
            filled: Condvar::new(),
            level: Mutex::default(),
        }
    }
}

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Self {
            writes: Vec::new(),
            strikes: Vec::new(),
            strikes_since: None,
            parks: Vec::new(),
            topics: Vec::new(),
            damaged: Vec::new(),
            counted: None,
            is_closing: false,
        }
    }
}

impl<T> Waiting<T> {
    fn is_urgent(&self) -> bool {
        self.is_closing
            || self.counted.is_some()
            || !(self.writes.is_empty()
                && self.parks.is_empty()
                && self.topics.is_empty()
                && self.damaged.is_empty())
    }
}

impl<T> Queue<T> {
    pub(super) fn write(&self, lane: LaneKey, row: Row, ticket: T) {
        self.add(|waiting| waiting.writes.push(Write { lane, row, ticket }));
    }

    pub(super) fn strike(&self, lane: LaneKey, number: u64) {
        let mut waiting = self.lock();
        waiting.strikes.push((lane, number));
        if waiting.strikes_since.is_none() {
            waiting.strikes_since = Some(Instant::now());
            self.filled.notify_one();
        }
    }

    pub(super) fn park(&self, lane: LaneKey, number: u64) {
        self.add(|waiting| waiting.parks.push((lane, number)));
    }

    pub(super) fn remember(&self, topic: String, partitions: u32) {
        self.add(|waiting| waiting.topics.push((topic, partitions)));
    }

    pub(super) fn damaged(&self, path: PathBuf) {
        self.add(|waiting| waiting.damaged.push(path));
    }

    pub(super) fn counted(&self, reports: u64, parked: u64) {
        self.add(|waiting| waiting.counted = Some((reports, parked)));
    }

    pub(super) fn close(&self) {
        self.add(|waiting| waiting.is_closing = true);
    }

    pub(super) fn level(&self) -> Level {
        *self.level.lock()
    }

    pub(super) fn set_level(&self, level: Level) {
        *self.level.lock() = level;
    }

    fn add(&self, put: impl FnOnce(&mut Waiting<T>)) {
        put(&mut self.lock());
        self.filled.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting<T>> {
        self.waiting.lock()
    }

    /// Everything that waits, once something does that can't wait any longer, or after `patience`.
    pub(super) fn take(&self, patience: Duration) -> Waiting<T> {
        let mut waiting = self.lock();
        let given_up = Instant::now() + patience;
        loop {
            let strikes_due = waiting.strikes_since.map(|since| since + STRIKES);
            let due = strikes_due.map_or(given_up, |due| due.min(given_up));
            let now = Instant::now();
            if waiting.is_urgent() || due <= now {
                break;
            }
            self.filled.wait_until(&mut waiting, due);
        }
        let rest = waiting.writes.len().min(GROUP);
        let later = waiting.writes.split_off(rest);
        let strikes_are_due = waiting.is_closing
            || waiting
                .strikes_since
                .is_some_and(|since| since.elapsed() >= STRIKES);
        let mut taken = mem::take(&mut *waiting);
        waiting.is_closing = taken.is_closing;
        waiting.writes = later;
        if !waiting.writes.is_empty() {
            // A report is parked after it is written.
            waiting.parks = mem::take(&mut taken.parks);
        }
        if !strikes_are_due {
            waiting.strikes = mem::take(&mut taken.strikes);
            waiting.strikes_since = taken.strikes_since.take();
        }
        taken.is_closing &= waiting.writes.is_empty();
        taken
    }
}
