//! The spool's thread: takes everything that waits to be written into few transactions, and answers for
//! each once it is fsynced. Deletions are made durable in between, within a second.

use std::io;
use std::mem;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tracing::{error, warn};

use super::files::{Files, QUIET};
use super::limits::{Growth, ROOM};
use super::queue::{Queue, Write};
use super::{LaneKey, Level, NotWritten, Options};

/// How soon to check again whether the disk has come back.
const RECHECK: Duration = Duration::from_secs(1);
/// How many deletions that the disk did not take are tried again at once.
const RETRIED: usize = 4096;
/// How often to check for room while nothing is written.
const ROOM_CHECK: Duration = Duration::from_secs(5);
/// How soon to say again that nothing can be written.
const REMINDER: Duration = Duration::from_secs(30);

/// What the thread owns.
pub(super) struct Writer<T> {
    options: Options,
    files: Files,
    callbacks: Callbacks<T>,
    /// Deletions that the disk did not take, as many as may be kept, and how many more there are.
    undeleted: Vec<(LaneKey, u64)>,
    forgotten: u64,
    /// When to try those again.
    delete_at: Instant,
    level: Level,
    /// When the values that change slowly were last measured, if not since the spool was empty.
    measured: Option<Instant>,
    /// When it was last checked whether there is room.
    room_checked: Option<Instant>,
    complained: Option<Instant>,
}

/// How the thread reports what it wrote.
pub(super) struct Callbacks<T> {
    pub(super) on_written: Box<dyn Fn(T, Result<(), NotWritten>) + Send>,
    pub(super) on_commit: Box<dyn Fn(Duration) + Send>,
}

impl<T: Send + 'static> Writer<T> {
    pub(super) fn new(options: &Options, files: Files, callbacks: Callbacks<T>) -> Self {
        let mut writer = Self {
            options: options.clone(),
            files,
            callbacks,
            undeleted: Vec::new(),
            forgotten: 0,
            delete_at: Instant::now(),
            level: Level::default(),
            measured: None,
            room_checked: None,
            complained: None,
        };
        writer.check_room();
        writer
    }

    pub(super) fn start(mut self, queue: Arc<Queue<T>>) -> io::Result<JoinHandle<()>> {
        self.show(&queue);
        thread::Builder::new()
            .name("spool".to_owned())
            .spawn(move || self.run(&queue))
    }

    fn run(mut self, queue: &Queue<T>) {
        let mut is_busy = true;
        loop {
            let patience = if is_busy {
                Duration::ZERO
            } else {
                self.recheck()
            };
            let taken = queue.take(patience);
            for (path, why) in taken.damaged {
                self.files.give_up(&path, why);
            }
            self.check_room();
            self.write(taken.writes, queue);
            if !taken.marks.is_empty() {
                self.files.mark(&taken.marks);
            }
            self.delete(taken.deletions, taken.is_closing);
            for (topic, partitions) in taken.topics {
                self.files.remember(topic, partitions);
            }
            is_busy = self.files.count_on();
            is_busy |= self.files.move_on(QUIET);
            self.show(queue);
            self.files.rest();
            // The count is asked for at the end.
            if taken.is_closing && !is_busy {
                return;
            }
        }
    }

    /// How long to wait at most.
    fn recheck(&self) -> Duration {
        let waits = self.level.reports > self.level.quarantined;
        let is_wanted = !self.level.is_writable || !self.undeleted.is_empty() || waits;
        if is_wanted { RECHECK } else { ROOM_CHECK }
    }

    /// Checks whether a report could be written: a disk that has filled up or come back shows before a report
    /// needs it.
    fn check_room(&mut self) {
        let is_fresh = |at: Instant| at.elapsed() < ROOM_CHECK;
        if self.level.is_writable && self.room_checked.is_some_and(is_fresh) {
            return;
        }
        self.files.make_current();
        let taken = self.files.taken();
        let room = self.files.limits.room(taken);
        self.level.is_writable = self.files.current.is_some() && room >= ROOM;
        if self.files.current.is_some() && room < ROOM {
            self.complain(NotWritten::Full);
        }
        self.room_checked = Some(Instant::now());
    }

    /// Publishes what the spool holds now.
    fn show(&mut self, queue: &Queue<T>) {
        let (reports, quarantined) = self.files.count();
        self.level.undeleted = self.undeleted.len() as u64 + self.forgotten;
        self.level.reports = reports.saturating_sub(self.level.undeleted);
        self.level.quarantined = quarantined;
        self.level.is_counted = self.files.is_counted();
        if self.measured.is_none_or(|at| at.elapsed() >= RECHECK) {
            self.measure();
        }
        queue.set_level(self.level);
    }

    /// Not at each transaction: none of these changes much faster than that.
    fn measure(&mut self) {
        let taken = self.files.taken();
        self.level.used = taken.used();
        self.level.room = self.files.limits.room(taken);
        self.level.bytes = self.files.directory.bytes().unwrap_or(self.level.bytes);
        self.level.set_aside = self.files.directory.count_set_aside();
        let waits = self.level.reports > self.level.quarantined;
        let oldest = self
            .files
            .all()
            .filter_map(|file| file.oldest().ok().flatten());
        self.level.oldest = oldest.min().filter(|_| waits);
        // An empty spool is not measured until something comes.
        self.measured = (self.level.reports > 0).then(Instant::now);
    }

    fn write(&mut self, mut writes: Vec<Write<T>>, queue: &Queue<T>) {
        while !writes.is_empty() {
            self.files.turn_over_if_large();
            let fitting = self.fitting(&writes);
            let later = writes.split_off(fitting);
            if fitting == 0 {
                self.answer(later, Err(NotWritten::Full), queue);
                return;
            }
            let began = Instant::now();
            let mut result = self.try_write(&writes);
            if result == Err(NotWritten::Failed) {
                // Once more, on a file that nothing is wrong with yet.
                result = self.try_write(&writes);
            }
            if result.is_ok() {
                (self.callbacks.on_commit)(began.elapsed());
            }
            self.answer(writes, result, queue);
            writes = later;
        }
    }

    /// How many of the reports fit into a transaction, and into the limits.
    fn fitting(&mut self, writes: &[Write<T>]) -> usize {
        let (taken, limits) = (self.files.taken(), self.files.limits);
        let (mut growth, mut bytes) = (Growth::default(), 0);
        for (fitting, write) in writes.iter().enumerate() {
            growth.add(&write.lane, &write.record);
            bytes += write.record.footprint();
            if !limits.allow(taken, &growth) || fitting > 0 && bytes > limits.group() {
                return fitting;
            }
        }
        writes.len()
    }

    fn answer(&mut self, writes: Vec<Write<T>>, result: Result<(), NotWritten>, queue: &Queue<T>) {
        match result {
            Ok(()) => self.complained = None,
            Err(why) => self.complain(why),
        }
        self.level.is_writable = result.is_ok();
        // Counted before the callback runs, which may ask.
        self.show(queue);
        for write in writes {
            (self.callbacks.on_written)(write.ticket, result);
        }
    }

    fn try_write(&mut self, writes: &[Write<T>]) -> Result<(), NotWritten> {
        self.files.make_current();
        let file = self.files.current.as_mut().ok_or(NotWritten::Failed)?;
        let rows = writes
            .iter()
            .map(|write| (&write.lane, write.number, &*write.record));
        match file.write(rows) {
            Ok(()) if file.is_in_place() && self.files.directory.is_owned() => Ok(()),
            Ok(()) => {
                let path = file.path().display();
                error!(%path, "a file of the spool, or its lock, was removed or replaced: nothing is promised from it any more");
                self.files.has_failed = true;
                self.files.turn_over();
                Err(NotWritten::Failed)
            }
            Err(error) if self.files.writing_failed(&error) => Err(NotWritten::Full),
            Err(_) => Err(NotWritten::Failed),
        }
    }

    /// Deletes reports, and those again that the disk did not take before: some of them from time to time, all of them
    /// at the end, because a full disk lets a file be removed once all its reports are to be deleted.
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
            let forgotten = self.undeleted.len().saturating_sub(most);
            self.undeleted.truncate(most);
            self.forgotten += forgotten as u64;
        }
    }

    fn complain(&mut self, why: NotWritten) {
        if self.complained.is_some_and(|at| at.elapsed() < REMINDER) {
            return;
        }
        self.complained = Some(Instant::now());
        let (disk_limit, free_space) = (self.options.disk_limit, self.options.free_space);
        let taken = self.files.taken();
        let directory = self.files.directory.path().display();
        match why {
            NotWritten::Full => {
                warn!(
                    %directory, bytes = taken.bytes, disk_limit, available = taken.available, free_space,
                    "the spool is full: what Kafka can't take is refused; raise spool.disk_limit, or \
                     make room on its file system if less than spool.free_space is available"
                );
            }
            NotWritten::Failed => {
                error!(%directory, "nothing can be written to the spool: what Kafka can't take is refused");
            }
        }
    }
}
