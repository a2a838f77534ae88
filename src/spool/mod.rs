//! The spool: `rusqlite` stops here. It keeps records on disk, in the lanes and under the numbers that its
//! caller gives them, and knows neither Kafka nor the senders.
//!
//! A [`Spool`] owns its directory. Writes, deletions and marks go through one thread, which puts everything that
//! waits into one transaction: one fsync for many. Reading has connections of its own, so that a disk that
//! takes no more writes is still drained. [`Inspection`] inspects a spool without owning it.
//!
//! - `queue`, `writer`: what waits, and the thread that writes it; `limits` says whether it fits.
//! - `files`, `file`, `count`: the files of the directory, of which the newest is written to. `directory` has their names
//!   and the lock, `connection` opens them, `opening` those of earlier runs, `format` has the tables.
//! - `readers`, `reader`, `part`: the due reports of a lane, put together from all files.
//! - `moving`, `salvage`: reports that move to the current file, out of an old file or a damaged one; `error` tells
//!   damage from errors that pass.
//! - `inspection`, `view`, `slice`: what other processes see.

mod connection;
mod count;
mod directory;
mod error;
mod file;
mod files;
mod format;
mod inspection;
mod limits;
mod moving;
mod opening;
mod part;
mod queue;
mod reader;
mod readers;
mod remains;
mod salvage;
mod slice;
mod view;
mod writer;

#[cfg(test)]
mod tests;

use parking_lot::Mutex;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::contract::Record;
use directory::Directory;
pub use error::{NotWritten, OpenError};
pub use files::DESCRIPTORS;
use files::Files;
pub use inspection::{Fragment, Inspection, Kept, LaneStatus, Problem};
use queue::{Queue, Write};
use readers::Readers;
pub use remains::{Remains, Restored};
use writer::{Callbacks, Writer};

/// A larger number of partitions, or a partition from this one on, in a file is damage. The bridge makes a lane for
/// each partition, and Kafka is advised to hold fewer in a whole cluster.
pub const MAX_PARTITIONS: u32 = 100_000;

/// A lane: a partition of a topic, or the topic's inbox. A number is used once in a topic.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LaneKey {
    pub topic: Arc<str>,
    /// `None` is the inbox: reports whose partition is not known yet.
    pub partition: Option<u32>,
}

/// A due report of a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub number: u64,
    pub record: Arc<Record>,
    /// Whether it has to be deleted or marked in the topic's inbox.
    pub is_in_inbox: bool,
    /// Never [`Mark::Quarantined`].
    pub mark: Option<Mark>,
}

/// What else is known of a spooled report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// No topic accepts it: it is kept, counted and shown, and not returned by [`Spool::read`].
    Quarantined,
    /// Its sender was told 503 before it was spooled.
    Refused,
    /// Its sender had hung up before it was spooled.
    Gone,
}

/// Where a spool is and how large it may become.
#[derive(Clone, Debug)]
pub struct Options {
    pub directory: PathBuf,
    /// Bytes on disk.
    pub disk_limit: u64,
    /// Bytes to leave free on the file system.
    pub free_space: u64,
    /// Bytes of memory for its cache.
    pub memory: usize,
}

/// What a spool holds now, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Level {
    /// Reports, quarantined ones included. More, if they are not counted yet.
    pub reports: u64,
    /// Reports that no topic accepts.
    pub quarantined: u64,
    /// Whether everything that earlier runs left is counted.
    pub is_counted: bool,
    /// Reports that were delivered and can't be deleted yet. They are not among `reports`.
    pub undeleted: u64,
    /// Files that were set aside.
    pub set_aside: u64,
    /// Bytes on disk.
    pub bytes: u64,
    /// Bytes of them that can't be reused, to which the limit applies. Measured once a second, as are the next two.
    pub used: u64,
    /// Bytes until it is full: by its limit, or by the free space to leave.
    pub room: u64,
    /// When the oldest due report arrived, in milliseconds since 1970: the first of each lane
    /// counts.
    pub oldest: Option<i64>,
    /// Whether the last write succeeded.
    pub is_writable: bool,
}

/// A spool that this process owns. `T` comes back with each write.
pub struct Spool<T: Send + 'static> {
    queue: Arc<Queue<T>>,
    readers: Arc<Readers>,
    writer: Mutex<Option<JoinHandle<()>>>,
    path: PathBuf,
}

impl<T: Send + 'static> Spool<T> {
    /// Opens the spool of a directory, and makes the directory if it is missing. On the spool's thread,
    /// `on_written` runs for every record that was to be written, and `on_commit` for every transaction that
    /// was, with the time it took.
    ///
    /// # Errors
    /// If the directory can't be owned, or a file can't be read now. A damaged file is no error: what can be read of it
    /// is moved to another one, it is set aside, and this is logged.
    pub fn open(
        options: &Options,
        on_written: impl Fn(T, Result<(), NotWritten>) + Send + 'static,
        on_commit: impl Fn(Duration) + Send + 'static,
    ) -> Result<(Self, Remains), OpenError> {
        let directory = Directory::own(&options.directory)?;
        let readers = Arc::new(Readers::default());
        let (files, remains) = Files::open(directory, options, Arc::clone(&readers))?;
        let queue = Arc::new(Queue::default());
        let callbacks = Callbacks {
            on_written: Box::new(on_written),
            on_commit: Box::new(on_commit),
        };
        let writer = Writer::new(options, files, callbacks);
        let thread = writer
            .start(Arc::clone(&queue))
            .map_err(OpenError::Thread)?;
        let spool = Self {
            queue,
            readers,
            writer: Mutex::new(Some(thread)),
            path: options.directory.clone(),
        };
        Ok((spool, remains))
    }

    /// Writes a record; `ticket` comes back when it is fsynced, or can't be.
    pub fn write(&self, lane: &LaneKey, number: u64, record: Arc<Record>, ticket: T) {
        self.queue.write(Write {
            lane: lane.clone(),
            number,
            record,
            ticket,
        });
    }

    /// Deletes a report, durably within a second.
    pub fn delete(&self, lane: &LaneKey, number: u64) {
        self.queue.delete(lane.clone(), number);
    }

    /// Marks a report that was given to [`Spool::write`] before.
    pub fn mark(&self, lane: &LaneKey, number: u64, mark: Mark) {
        self.queue.mark(lane.clone(), number, mark);
    }

    /// Remembers the number of a topic's partitions for later runs.
    pub fn remember(&self, topic: &str, partitions: u32) {
        self.queue.remember(topic.to_owned(), partitions);
    }

    /// Ends a topic's inbox for this run: from now on, [`Spool::read`] returns each of its reports with the
    /// lane of the partition that `place` returns for the report's key. Nothing is moved on disk. The
    /// first call for a topic counts.
    pub fn assign(&self, topic: &str, place: impl Fn(Option<&str>) -> u32 + Send + Sync + 'static) {
        self.readers.assign(topic, Arc::new(place));
    }

    /// Returns the due reports of a lane from a number on, in order, of about `bytes` bytes in memory, and
    /// whether there are no more; if there may be more, it returns at least one. Blocks: not for a
    /// runtime's thread.
    ///
    /// # Errors
    /// If the disk fails, or what can be read of a damaged file is being moved: try again later.
    pub fn read(
        &self,
        lane: &LaneKey,
        from: u64,
        bytes: usize,
    ) -> std::io::Result<(Vec<Row>, bool)> {
        let on_damage = |path: &Path, why| self.queue.damaged(path.to_owned(), why);
        let part = self.readers.read(lane, from, bytes, on_damage)?;
        Ok((part.rows, part.end.is_none()))
    }

    /// Returns what the spool holds now.
    pub fn level(&self) -> Level {
        self.queue.level()
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Finishes the work that waits, and ends; returns `false` if the disk does not finish it in time. Blocks:
    /// not for a runtime's thread.
    pub fn close(&self, timeout: Duration) -> bool {
        let until = Instant::now() + timeout;
        self.queue.close();
        let mut writer = self.writer.lock();
        while writer.as_ref().is_some_and(|thread| !thread.is_finished()) {
            if Instant::now() >= until {
                return false;
            }
            thread::park_timeout(Duration::from_millis(5));
        }
        writer.take().is_none_or(|thread| thread.join().is_ok())
    }
}

impl<T: Send + 'static> fmt::Debug for Spool<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spool")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl<T: Send + 'static> Drop for Spool<T> {
    /// Asks the thread to end, and does not wait for it.
    fn drop(&mut self) {
        self.queue.close();
    }
}
