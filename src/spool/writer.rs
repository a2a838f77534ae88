//! The spool's thread: takes everything that waits to be written into one transaction, and answers for
//! it once that is fsynced. Deletions are made durable in between, within a second.

use std::io;
use std::mem;
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tracing::{error, info, warn};

use super::directory::Directory;
use super::file::File;
use super::queue::{Queue, Write};
use super::readers::Readers;
use super::view::FileView;
use super::{LaneKey, Level, Mark, NotWritten, Options};
use crate::telemetry::Throttle;

/// How soon to try again to make a new file.
const RETRY: Duration = Duration::from_millis(250);
/// How soon to check again whether the disk has come back.
const RECHECK: Duration = Duration::from_secs(1);
/// How often to check for room while nothing is written.
const ROOM_CHECK: Duration = Duration::from_secs(5);
/// The room that a spool must have to count as writable.
const ROOM: u64 = 128 << 10;
/// What a page, its place in the log and the tree above it cost beside the record itself.
const ROW_OVERHEAD: u64 = 128;
/// An empty file that is larger than this gives its disk space back.
const SMALL: u64 = 1 << 20;
/// How soon to say again that nothing can be written.
const REMINDER: Duration = Duration::from_secs(30);

/// What the thread owns.
pub(super) struct Writer<T> {
    directory: Directory,
    options: Options,
    /// Written to.
    current: Option<File>,
    /// Only drained: of earlier runs, or because a write to them failed.
    older: Vec<Older>,
    readers: Arc<Readers>,
    callbacks: Callbacks<T>,
    /// Deletions that the disk did not take.
    undeleted: Vec<(LaneKey, u64)>,
    topics: Vec<(String, u32)>,
    level: Level,
    /// Reports that earlier runs left, once they are counted, and those that were written and deleted since.
    left: Option<u64>,
    written: u64,
    deleted: u64,
    /// When the values that change slowly were last measured, if not since the spool was empty.
    measured: Option<Instant>,
    is_measurement_due: bool,
    /// When it was last checked whether there is room.
    room_checked: Option<Instant>,
    unable_to_delete: Throttle,
    retry_at: Instant,
    complained: Option<Instant>,
}

/// How the thread reports what it wrote.
pub(super) struct Callbacks<T> {
    pub(super) on_written: Box<dyn Fn(T, Result<(), NotWritten>) + Send>,
    pub(super) on_commit: Box<dyn Fn(Duration) + Send>,
}

struct Older {
    file: File,
    has_failed: bool,
}

impl<T: Send + 'static> Writer<T> {
    pub(super) fn new(
        directory: Directory,
        options: &Options,
        files: Vec<File>,
        topics: Vec<(String, u32)>,
        readers: Arc<Readers>,
        callbacks: Callbacks<T>,
    ) -> Self {
        let older = files.into_iter().map(|file| Older {
            file,
            has_failed: false,
        });
        let now = Instant::now();
        let mut writer = Self {
            directory,
            options: options.clone(),
            current: None,
            older: older.collect(),
            readers,
            callbacks,
            undeleted: Vec::new(),
            topics,
            level: Level::default(),
            left: None,
            written: 0,
            deleted: 0,
            measured: None,
            is_measurement_due: false,
            room_checked: None,
            unable_to_delete: Throttle::new(),
            retry_at: now,
            complained: None,
        };
        // Nothing was promised from a new file yet: whatever happened to the older ones before, a
        // promise rests on an fsync of this run.
        writer.check_room();
        writer
    }

    pub(super) fn start(self, queue: Arc<Queue<T>>) -> io::Result<JoinHandle<()>> {
        queue.set_level(self.level);
        thread::Builder::new()
            .name("spool".to_owned())
            .spawn(move || self.run(queue))
    }

    fn run(mut self, queue: Arc<Queue<T>>) {
        self.count_beside(&queue);
        self.clear_out();
        loop {
            let taken = queue.take(self.recheck());
            self.check_room();
            if let Some((reports, quarantined)) = taken.counted {
                self.left = Some(reports);
                self.level.quarantined += quarantined;
            }
            self.write(taken.writes, &queue);
            self.mark(&taken.marks);
            self.delete(taken.deletions);
            self.remember(taken.topics);
            for path in &taken.damaged {
                self.give_up_file(path);
            }
            if taken.is_closing && self.left.is_none() {
                self.count();
            }
            self.show(&queue);
            if taken.is_closing {
                return;
            }
        }
    }

    /// How long to wait at most.
    fn recheck(&self) -> Duration {
        let is_wanted =
            !self.level.is_writable || !self.undeleted.is_empty() || self.is_measurement_due;
        if is_wanted { RECHECK } else { ROOM_CHECK }
    }

    /// Checks whether a report could be written: a disk that has filled up or come back shows before a report
    /// needs it.
    fn check_room(&mut self) {
        let is_fresh = |at: Instant| at.elapsed() < ROOM_CHECK;
        if self.level.is_writable && self.room_checked.is_some_and(is_fresh) {
            return;
        }
        if self.current.is_none() && Instant::now() >= self.retry_at {
            self.make_file();
        }
        let room = self.have_room(ROOM);
        if let (true, Err(why)) = (self.current.is_some(), room) {
            self.complain(why);
        }
        self.level.is_writable = self.current.is_some() && room.is_ok();
        self.room_checked = Some(Instant::now());
    }

    /// Counts what earlier runs left on a thread of its own: a large spool takes a moment, in which reports are to
    /// be written.
    fn count_beside(&self, queue: &Arc<Queue<T>>) {
        let views = self.older.iter().filter_map(|older| {
            FileView::open(older.file.path())
                .ok()?
                .hold_still()
                .inspect_err(|error| warn!(%error, "can't count the reports of the spool"))
                .ok()
        });
        let (views, queue) = (views.collect::<Vec<_>>(), Arc::clone(queue));
        let counting = thread::Builder::new().name("spool-count".to_owned());
        let started = counting.spawn(move || {
            let (mut reports, mut quarantined) = (0, 0);
            for (_, count) in views
                .iter()
                .flat_map(|view| view.counts().unwrap_or_default())
            {
                reports += count.reports;
                quarantined += if count.is_quarantined {
                    count.reports
                } else {
                    0
                };
            }
            queue.counted(reports, quarantined);
        });
        if let Err(error) = started {
            warn!(%error, "can't start a thread to count the reports of the spool");
        }
    }

    fn count(&mut self) {
        (self.written, self.deleted, self.level.quarantined) = (0, 0, 0);
        let mut left = 0;
        let older = self.older.iter().map(|older| &older.file);
        for file in older.chain(&self.current) {
            match file.count() {
                Ok((reports, quarantined)) => {
                    left += reports;
                    self.level.quarantined += quarantined;
                }
                Err(error) => warn!(%error, "can't count the reports of the spool"),
            }
        }
        self.left = Some(left);
    }

    /// Publishes what the spool holds now.
    fn show(&mut self, queue: &Queue<T>) {
        let left = self.left.unwrap_or_default();
        self.level.reports = (left + self.written).saturating_sub(self.deleted);
        self.level.is_counted = self.left.is_some();
        self.level.undeleted = self.undeleted.len() as u64;
        self.level.bytes = self.directory.bytes();
        if self.measured.is_none_or(|at| at.elapsed() >= RECHECK) {
            self.measure();
        }
        queue.set_level(self.level);
    }

    /// Not at each transaction: neither changes much faster than that.
    fn measure(&mut self) {
        self.level.used = self.used();
        self.level.room = self.room();
        self.level.set_aside = self.directory.count_set_aside();
        let waits = self.level.reports > self.level.quarantined;
        let oldest = self.files().filter_map(|file| file.oldest().ok().flatten());
        let oldest = oldest.min();
        self.level.oldest = oldest.filter(|_| waits);
        // An empty spool is not measured until something comes.
        self.measured = (self.level.reports > 0).then(Instant::now);
        self.is_measurement_due = waits;
    }

    /// Bytes of the pages that hold something.
    fn used(&self) -> u64 {
        let older = self.older.iter().map(|older| &older.file);
        let files = older.chain(&self.current);
        files.filter_map(|file| Some(file.pages().ok()?.0)).sum()
    }

    fn write(&mut self, writes: Vec<Write<T>>, queue: &Queue<T>) {
        if writes.is_empty() {
            return;
        }
        let size = |write: &Write<T>| write.record.size() as u64 + ROW_OVERHEAD;
        let began = Instant::now();
        let mut result = self
            .have_room(writes.iter().map(size).sum())
            .and_then(|()| self.try_write(&writes));
        if result == Err(NotWritten::Failed) {
            // Once more, on a file that nothing is wrong with yet.
            result = self.try_write(&writes);
        }
        match result {
            Ok(()) => {
                (self.callbacks.on_commit)(began.elapsed());
                self.written += writes.len() as u64;
                self.complained = None;
            }
            Err(why) => self.complain(why),
        }
        self.level.is_writable = result.is_ok();
        // Counted before the callback runs, which may ask.
        self.show(queue);
        for write in writes {
            (self.callbacks.on_written)(write.ticket, result);
        }
    }

    /// Whether the limits leave room for so many bytes.
    fn have_room(&self, wanted: u64) -> Result<(), NotWritten> {
        if self.room() < wanted {
            return Err(NotWritten::Full);
        }
        Ok(())
    }

    /// Bytes that the limits leave.
    fn room(&self) -> u64 {
        let free = self.directory.free_space().unwrap_or(u64::MAX);
        let below_limit = self.options.disk_limit.saturating_sub(self.used());
        below_limit.min(free.saturating_sub(self.options.free_space))
    }

    fn try_write(&mut self, writes: &[Write<T>]) -> Result<(), NotWritten> {
        if self.current.is_none() && Instant::now() >= self.retry_at {
            self.make_file();
        }
        let file = self.current.as_mut().ok_or(NotWritten::Failed)?;
        let rows = writes
            .iter()
            .map(|write| (&write.lane, write.number, &*write.record));
        let Err(error) = file.write(rows) else {
            return Ok(());
        };
        error!(
            path = %file.path().display(), %error,
            "writing to the spool failed: nothing is promised from this file any more, it is drained"
        );
        if let Some(file) = self.current.take() {
            self.older.push(Older {
                file,
                has_failed: true,
            });
        }
        Err(NotWritten::Failed)
    }

    /// Makes the file that is written to; a promise needs it and its directory on disk.
    fn make_file(&mut self) {
        let path = self.directory.next_file();
        let made = File::create(&path, self.options.memory / 4).and_then(|mut file| {
            for (topic, partitions) in &self.topics {
                file.remember(topic, *partitions)
                    .map_err(io::Error::other)?;
            }
            self.directory.sync()?;
            let added = self.readers.add(&file, self.options.memory / 4, None);
            added.map_err(io::Error::other)?;
            Ok(file)
        });
        self.level.is_writable = made.is_ok();
        match made {
            Ok(file) => self.current = Some(file),
            Err(error) => {
                // It was never promised from.
                Directory::remove(&path);
                self.retry_at = Instant::now() + RETRY;
                if self.is_complaint_due() {
                    error!(%error, path = %path.display(), "can't make a file for the spool");
                }
            }
        }
    }

    fn mark(&mut self, marks: &[(LaneKey, u64, Mark)]) {
        if marks.is_empty() {
            return;
        }
        let mut quarantined = 0;
        for file in self.files() {
            match file.mark(marks) {
                Ok(count) => quarantined += count,
                Err(error) => {
                    warn!(%error, "can't mark reports in the spool; what no topic accepts is tried again after a restart");
                }
            }
        }
        self.level.quarantined += quarantined;
    }

    fn delete(&mut self, reports: Vec<(LaneKey, u64)>) {
        self.undeleted.extend(reports);
        if self.undeleted.is_empty() {
            return;
        }
        let reports = mem::take(&mut self.undeleted);
        let (mut deleted, mut failed) = (0, None);
        for file in self.files() {
            match file.delete(&reports) {
                Ok(count) => deleted += count,
                Err(error) => failed = Some(error),
            }
        }
        self.deleted += deleted;
        if let Some(error) = failed {
            if let Some(times) = self.unable_to_delete.count() {
                let reports = reports.len();
                info!(%error, reports, times, "can't delete delivered reports from the spool yet");
            }
            self.undeleted = reports;
        }
        self.clear_out();
    }

    /// Lets go of files that are drained, and of the space of a large one that is empty.
    fn clear_out(&mut self) {
        let undeleted = !self.undeleted.is_empty();
        let drained = |older: &Older| !undeleted && older.file.is_empty().unwrap_or(false);
        let (done, older) = mem::take(&mut self.older).into_iter().partition(drained);
        self.older = older;
        for older in done {
            self.let_go(older);
        }
        let is_large = |file: &File| {
            file.is_empty().unwrap_or(false) && file.pages().is_ok_and(|(_, free)| free > SMALL)
        };
        if self.current.as_ref().is_some_and(is_large) {
            let old = self.current.take();
            self.make_file();
            match old {
                Some(file) if self.current.is_some() => self.let_go(Older {
                    file,
                    has_failed: false,
                }),
                old => {
                    self.level.is_writable = old.is_some();
                    self.current = old;
                }
            }
        }
    }

    fn let_go(&self, Older { file, has_failed }: Older) {
        let path = file.path().to_owned();
        self.readers.remove(&path);
        drop(file);
        if has_failed {
            Directory::set_aside(
                &path,
                "a write to it had failed; everything that was promised from it was delivered",
            );
        } else {
            Directory::remove(&path);
        }
    }

    /// A file that turned out to be damaged.
    fn give_up_file(&mut self, path: &Path) {
        self.older.retain(|older| older.file.path() != path);
        self.current.take_if(|file| file.path() == path);
        Directory::set_aside(path, "it is damaged; what was left in it is not delivered");
        self.level = Level {
            is_writable: self.level.is_writable,
            ..Level::default()
        };
        self.count();
    }

    fn remember(&mut self, topics: Vec<(String, u32)>) {
        for (topic, partitions) in topics {
            if let Some(file) = &mut self.current
                && let Err(error) = file.remember(&topic, partitions)
            {
                info!(%error, topic, "can't note the topic's partitions in the spool");
            }
            self.topics.retain(|(name, _)| *name != topic);
            self.topics.push((topic, partitions));
        }
    }

    fn complain(&mut self, why: NotWritten) {
        if !self.is_complaint_due() {
            return;
        }
        match why {
            NotWritten::Full => warn!(
                disk_limit = self.options.disk_limit,
                free_space = self.options.free_space,
                "the spool is full: what Kafka can't take is refused; raise spool.disk_limit, or \
                 make room on its file system"
            ),
            NotWritten::Failed => {
                error!("nothing can be written to the spool: what Kafka can't take is refused");
            }
        }
    }

    fn is_complaint_due(&mut self) -> bool {
        let is_due = self.complained.is_none_or(|at| at.elapsed() >= REMINDER);
        if is_due {
            self.complained = Some(Instant::now());
        }
        is_due
    }

    fn files(&mut self) -> impl Iterator<Item = &mut File> + use<'_, T> {
        self.older
            .iter_mut()
            .map(|older| &mut older.file)
            .chain(&mut self.current)
    }
}
