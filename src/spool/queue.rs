//! The requests that wait for the spool's thread.

use std::mem;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::{LaneKey, Level, Mark};
use crate::contract::Record;

/// How long deletions may wait, so that one transaction deletes many reports.
const MAX_DELETION_DELAY: Duration = Duration::from_millis(500);
/// The maximum number of records in one transaction.
const MAX_WRITES: usize = 4096;

/// The waiting requests, and the last published level.
pub(super) struct Queue<T> {
    waiting: Mutex<Waiting<T>>,
    /// Wakes the thread.
    filled: Condvar,
    level: Mutex<Level>,
}

pub(super) struct Waiting<T> {
    pub(super) writes: Vec<Write<T>>,
    pub(super) deletions: Vec<(LaneKey, u64)>,
    /// When the first of the deletions was requested.
    deletions_since: Option<Instant>,
    pub(super) marks: Vec<(LaneKey, u64, Mark)>,
    pub(super) topics: Vec<(String, u32)>,
    /// Damaged files, with the reasons.
    pub(super) damaged: Vec<(PathBuf, String)>,
    pub(super) is_closing: bool,
}

pub(super) struct Write<T> {
    pub(super) lane: LaneKey,
    pub(super) number: u64,
    pub(super) record: Arc<Record>,
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
            deletions: Vec::new(),
            deletions_since: None,
            marks: Vec::new(),
            topics: Vec::new(),
            damaged: Vec::new(),
            is_closing: false,
        }
    }
}

impl<T> Waiting<T> {
    fn is_urgent(&self) -> bool {
        self.is_closing
            || !(self.writes.is_empty()
                && self.marks.is_empty()
                && self.topics.is_empty()
                && self.damaged.is_empty())
    }
}

impl<T> Queue<T> {
    pub(super) fn write(&self, write: Write<T>) {
        self.add(|waiting| waiting.writes.push(write));
    }

    pub(super) fn delete(&self, lane: LaneKey, number: u64) {
        let mut waiting = self.lock();
        waiting.deletions.push((lane, number));
        if waiting.deletions_since.is_none() {
            waiting.deletions_since = Some(Instant::now());
            self.filled.notify_one();
        }
    }

    pub(super) fn mark(&self, lane: LaneKey, number: u64, mark: Mark) {
        self.add(|waiting| waiting.marks.push((lane, number, mark)));
    }

    pub(super) fn remember(&self, topic: String, partitions: u32) {
        self.add(|waiting| waiting.topics.push((topic, partitions)));
    }

    pub(super) fn damaged(&self, path: PathBuf, why: String) {
        self.add(|waiting| waiting.damaged.push((path, why)));
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

    /// Waits for an urgent request, for due deletions or until `timeout`, and takes the waiting requests. Deletions
    /// that are not due, and writes beyond [`MAX_WRITES`], stay in the queue.
    pub(super) fn take(&self, timeout: Duration) -> Waiting<T> {
        let mut waiting = self.lock();
        let deadline = Instant::now() + timeout;
        loop {
            let deletions_due = waiting
                .deletions_since
                .map(|since| since + MAX_DELETION_DELAY);
            let due = deletions_due.map_or(deadline, |due| due.min(deadline));
            let now = Instant::now();
            if waiting.is_urgent() || due <= now {
                break;
            }
            self.filled.wait_until(&mut waiting, due);
        }
        let count = waiting.writes.len().min(MAX_WRITES);
        let later = waiting.writes.split_off(count);
        let deletions_are_due = waiting.is_closing
            || waiting
                .deletions_since
                .is_some_and(|since| since.elapsed() >= MAX_DELETION_DELAY);
        let mut batch = mem::take(&mut *waiting);
        waiting.is_closing = batch.is_closing;
        waiting.writes = later;
        if !waiting.writes.is_empty() {
            // A report must be written before it is marked.
            waiting.marks = mem::take(&mut batch.marks);
        }
        if !deletions_are_due {
            waiting.deletions = mem::take(&mut batch.deletions);
            waiting.deletions_since = batch.deletions_since.take();
        }
        batch.is_closing &= waiting.writes.is_empty();
        batch
    }
}
