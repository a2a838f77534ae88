//! The spool's thread. It writes the waiting records in few transactions and reports each result after the fsync. In
//! between it deletes reports, durably within a second.

use std::io;
use std::mem;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tracing::{error, warn};

use super::files::{Files, QUIET};
use super::limits::{Growth, MIN_ROOM};
use super::queue::{Queue, Write};
use super::{LaneKey, Level, Options, WriteError};

/// The interval of checks while the spool has due reports or can't be written.
const RECHECK: Duration = Duration::from_secs(1);
/// The maximum number of failed deletions that are tried again at once.
const RETRIED: usize = 4096;
/// The interval of checks for room while nothing is written.
const ROOM_CHECK: Duration = Duration::from_secs(5);
/// The interval of warnings while nothing can be written.
const REMINDER: Duration = Duration::from_secs(30);

/// The state of the spool's thread.
pub(super) struct Writer<T> {
    options: Options,
    files: Files,
    callbacks: Callbacks<T>,
    /// Deletions that failed and are tried again, and the number of those that this list has no room for.
    undeleted: Vec<(LaneKey, u64)>,
    untracked: u64,
    /// When to try the failed deletions again.
    delete_at: Instant,
    level: Level,
    /// When the sizes in `level` were last measured; `None` if the spool was empty then.
    measured: Option<Instant>,
    /// When `check_room` last ran.
    room_checked: Option<Instant>,
    last_warning: Option<Instant>,
}

/// The callbacks of the spool's caller.
pub(super) struct Callbacks<T> {
    pub(super) on_written: Box<dyn Fn(T, Result<(), WriteError>) + Send>,
    pub(super) on_commit: Box<dyn Fn(Duration) + Send>,
}

impl<T: Send + 'static> Writer<T> {
    pub(super) fn new(options: &Options, files: Files, callbacks: Callbacks<T>) -> Self {
        let mut writer = Self {
            options: options.clone(),
            files,
            callbacks,
            undeleted: Vec::new(),
            untracked: 0,
            delete_at: Instant::now(),
            level: Level::default(),
            measured: None,
            room_checked: None,
            last_warning: None,
        };
        writer.check_room();
        writer
    }

    pub(super) fn start(mut self, queue: Arc<Queue<T>>) -> io::Result<JoinHandle<()>> {
        self.publish_level(&queue);
        thread::Builder::new()
            .name("spool".to_owned())
            .spawn(move || self.run(&queue))
    }

    fn run(mut self, queue: &Queue<T>) {
        let mut is_busy = true;
        loop {
            let timeout = if is_busy {
                Duration::ZERO
            } else {
                self.wait_time()
            };
            let batch = queue.take(timeout);
            for (path, why) in batch.damaged {
                self.files.retire_damaged(&path, why);
            }
            self.check_room();
            self.write(batch.writes, queue);
            if !batch.marks.is_empty() {
                self.files.mark(&batch.marks);
            }
            self.delete(batch.deletions, batch.is_closing);
            for (topic, partitions) in batch.topics {
                self.files.remember(topic, partitions);
            }
            is_busy = self.files.count_more();
            is_busy |= self.files.move_more(QUIET);
            self.publish_level(queue);
            self.files.close_idle();
            // The caller needs the final count, so counting is finished first.
            if batch.is_closing && !is_busy {
                return;
            }
        }
    }

    /// Returns how long to wait for requests.
    fn wait_time(&self) -> Duration {
        let has_due_reports = self.level.reports > self.level.quarantined;
        let needs_rechecks =
            !self.level.is_writable || !self.undeleted.is_empty() || has_due_reports;
        if needs_rechecks { RECHECK } else { ROOM_CHECK }
    }

    /// Checks whether a report could be written, so that a full or recovered disk is noticed before a report needs
    /// it.
    fn check_room(&mut self) {
        let is_fresh = |at: Instant| at.elapsed() < ROOM_CHECK;
        if self.level.is_writable && self.room_checked.is_some_and(is_fresh) {
            return;
        }
        self.files.ensure_current();
        let usage = self.files.disk_usage();
        let room = self.files.limits.room(usage);
        self.level.is_writable = self.files.current.is_some() && room >= MIN_ROOM;
        if self.files.current.is_some() && room < MIN_ROOM {
            self.warn_not_written(WriteError::Full);
        }
        self.room_checked = Some(Instant::now());
    }

    /// Publishes the current level.
    fn publish_level(&mut self, queue: &Queue<T>) {
        let (reports, quarantined) = self.files.count();
        self.level.undeleted = self.undeleted.len() as u64 + self.untracked;
        self.level.reports = reports.saturating_sub(self.level.undeleted);
        self.level.quarantined = quarantined;
        self.level.is_counted = self.files.is_counted();
        if self.measured.is_none_or(|at| at.elapsed() >= RECHECK) {
            self.measure();
        }
        queue.set_level(self.level);
    }

    /// Measures the sizes. That is too slow for each transaction.
    fn measure(&mut self) {
        let usage = self.files.disk_usage();
        self.level.used = usage.used();
        self.level.room = self.files.limits.room(usage);
        self.level.bytes = self.files.directory.bytes().unwrap_or(self.level.bytes);
        self.level.set_aside = self.files.directory.count_set_aside();
        let has_due_reports = self.level.reports > self.level.quarantined;
        let oldest = self
            .files
            .all()
            .filter_map(|file| file.oldest().ok().flatten());
        self.level.oldest = oldest.min().filter(|_| has_due_reports);
        // An empty spool is measured again when a report is written.
        self.measured = (self.level.reports > 0).then(Instant::now);
    }

    fn write(&mut self, mut writes: Vec<Write<T>>, queue: &Queue<T>) {
        while !writes.is_empty() {
            self.files.rotate_if_large();
            let fitting = self.count_fitting(&writes);
            let later = writes.split_off(fitting);
            if fitting == 0 {
                self.answer(later, Err(WriteError::Full), queue);
                return;
            }
            let began = Instant::now();
            let mut result = self.try_write(&writes);
            if result == Err(WriteError::Failed) {
                // When a write fails, the file is replaced: try again on the new one.
                result = self.try_write(&writes);
            }
            if result.is_ok() {
                (self.callbacks.on_commit)(began.elapsed());
            }
            self.answer(writes, result, queue);
            writes = later;
        }
    }

    /// Returns how many of the reports fit into one transaction and into the limits.
    fn count_fitting(&mut self, writes: &[Write<T>]) -> usize {
        let (usage, limits) = (self.files.disk_usage(), self.files.limits);
        let (mut growth, mut bytes) = (Growth::default(), 0);
        for (fitting, write) in writes.iter().enumerate() {
            growth.add(&write.lane, &write.record);
            bytes += write.record.footprint();
            if !limits.allows_writing(usage, &growth)
                || fitting > 0 && bytes > limits.transaction_size()
            {
                return fitting;
            }
        }
        writes.len()
    }

    fn answer(&mut self, writes: Vec<Write<T>>, result: Result<(), WriteError>, queue: &Queue<T>) {
        match result {
            Ok(()) => self.last_warning = None,
            Err(why) => self.warn_not_written(why),
        }
        self.level.is_writable = result.is_ok();
        // The callback may read the level, so publish it first.
        self.publish_level(queue);
        for write in writes {
            (self.callbacks.on_written)(write.ticket, result);
        }
    }

    fn try_write(&mut self, writes: &[Write<T>]) -> Result<(), WriteError> {
        self.files.ensure_current();
        let file = self.files.current.as_mut().ok_or(WriteError::Failed)?;
        let rows = writes
            .iter()
            .map(|write| (&write.lane, write.number, &*write.record));
        match file.write(rows) {
            Ok(()) if file.is_in_place() && self.files.directory.is_owned() => Ok(()),
            Ok(()) => {
                let path = file.path().display();
                error!(%path, "a spool file or the lock was removed or replaced: this file gets no more reports");
                self.files.may_have_duplicates = true;
                self.files.rotate();
                Err(WriteError::Failed)
            }
            Err(error) if self.files.handle_write_error(&error) => Err(WriteError::Full),
            Err(_) => Err(WriteError::Failed),
        }
    }

    /// Deletes reports, and tries failed deletions again: some of them each second, and all of them at the end,
    /// because even on a full disk a file can be removed when all its reports are to be deleted.
    fn delete(&mut self, reports: Vec<(LaneKey, u64)>, is_closing: bool) {
        let mut reports = reports;
        if is_closing {
            reports.append(&mut self.undeleted);
        } else if self.delete_at <= Instant::now() {
            let some = self.undeleted.len().min(RETRIED);
            reports.extend(self.undeleted.drain(..some));
            self.delete_at = Instant::now() + RECHECK;
        }
        if !reports.is_empty() {
            self.undeleted.extend(self.files.delete(&reports));
            let most = self.options.memory / 8 / mem::size_of::<(LaneKey, u64)>();
            let untracked = self.undeleted.len().saturating_sub(most);
            self.undeleted.truncate(most);
            self.untracked += untracked as u64;
        }
    }

    fn warn_not_written(&mut self, why: WriteError) {
        if self.last_warning.is_some_and(|at| at.elapsed() < REMINDER) {
            return;
        }
        self.last_warning = Some(Instant::now());
        let (disk_limit, free_space) = (self.options.disk_limit, self.options.free_space);
        let usage = self.files.disk_usage();
        let directory = self.files.directory.path().display();
        match why {
            WriteError::Full => {
                warn!(
                    %directory, bytes = usage.bytes, disk_limit, available = usage.available, free_space,
                    "the spool is full: reports that Kafka can't accept are answered 503; raise spool.disk_limit, or \
                     free disk space if less than spool.free_space is available"
                );
            }
            WriteError::Failed => {
                error!(%directory, "can't write to the spool: reports that Kafka can't accept are answered 503");
            }
        }
    }
}
