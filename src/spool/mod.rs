//! The spool: an on-disk store of records in SQLite files. It stores each record under the lane and the number that
//! its caller gives, and knows neither Kafka nor the senders. No other module uses `rusqlite`.
//!
//! A [`Spool`] owns its directory. One thread applies all writes, deletions and marks. It puts all waiting requests
//! into one transaction, so that they share one fsync. Readers have separate connections, so that a spool can be
//! drained even when its disk is full. [`Inspection`] inspects a spool without owning it.
//!
//! - `queue`, `writer`: the waiting requests, and the thread that writes them; `limits` checks whether they fit.
//! - `files`, `file`, `count`: the files of the directory. Reports are written to the newest one. `directory` has the
//!   file names and the lock, `connection` opens a file, `opening` opens the files of earlier runs, `format` has the
//!   tables.
//! - `readers`, `reader`, `part`: read the due reports of a lane from all files.
//! - `moving`, `salvage`: move reports to the current file from an old or a damaged file; `error` distinguishes
//!   damage from transient errors.
//! - `restored`: the reports that earlier runs left.
//! - `inspection`, `view`, `slice`: how other processes read a spool.

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
mod restored;
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
pub use error::{OpenError, WriteError};
pub use files::DESCRIPTORS;
use files::Files;
pub use inspection::{Fragment, Inspection, LaneStatus, Problem, SpooledReport};
use queue::{Queue, Write};
use readers::Readers;
pub use restored::{RestoredLane, RestoredState};
use writer::{Callbacks, Writer};

/// The limit on a topic's partition count. A file with a higher count, or with a partition number that is not below this
/// limit, is damaged. The bridge creates a lane for each partition, and Kafka's advice is to have fewer
/// partitions in a whole cluster.
pub const MAX_PARTITIONS: u32 = 100_000;

/// The key of a lane: a partition of a topic, or the topic's inbox. Report numbers are unique within a topic.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LaneKey {
    pub topic: Arc<str>,
    /// `None` is the inbox, which holds reports whose partition is not known yet.
    pub partition: Option<u32>,
}

/// A due report of a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub number: u64,
    pub record: Arc<Record>,
    /// Whether the topic's inbox holds the report: then it is deleted and marked there.
    pub is_in_inbox: bool,
    /// Never [`Mark::Quarantined`].
    pub mark: Option<Mark>,
}

/// A mark on a spooled report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// No topic accepts it. It is kept, counted and shown, but [`Spool::read`] does not return it.
    Quarantined,
    /// Its sender received 503 before it was spooled.
    TimedOut,
    /// Its sender had closed the connection before it was spooled.
    SenderGone,
}

/// A spool's directory and limits.
#[derive(Clone, Debug)]
pub struct Options {
    pub directory: PathBuf,
    /// The limit on the bytes on disk.
    pub disk_limit: u64,
    /// Bytes to leave free on the file system.
    pub free_space: u64,
    /// Bytes of memory for SQLite's page caches.
    pub memory: usize,
}

/// A spool's current counts and sizes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Level {
    /// Reports, including quarantined ones. While `is_counted` is `false`, there may be more.
    pub reports: u64,
    /// Reports that no topic accepts.
    pub quarantined: u64,
    /// Whether all reports of earlier runs are counted.
    pub is_counted: bool,
    /// Delivered reports that can't be deleted yet. `reports` does not include them.
    pub undeleted: u64,
    /// The number of files that were set aside.
    pub set_aside: u64,
    /// Bytes on disk.
    pub bytes: u64,
    /// The part of `bytes` that can't be reused. The disk limit applies to it. This and the next two fields are
    /// measured once a second.
    pub used: u64,
    /// Bytes until the spool is full, by the disk limit or by the free space to leave.
    pub room: u64,
    /// When the oldest due report arrived, in milliseconds since 1970. Only the first report of each lane is
    /// compared.
    pub oldest: Option<i64>,
    /// Whether the last write succeeded.
    pub is_writable: bool,
}

/// A spool that this process owns. `T` is the ticket that a write's callback receives.
pub struct Spool<T: Send + 'static> {
    queue: Arc<Queue<T>>,
    readers: Arc<Readers>,
    writer: Mutex<Option<JoinHandle<()>>>,
    path: PathBuf,
}

impl<T: Send + 'static> Spool<T> {
    /// Opens the spool of a directory, and creates the directory if it is missing. The spool's thread calls
    /// `on_written` with the result of each write, and `on_commit` with the duration of each successful transaction.
    ///
    /// # Errors
    /// If the directory can't be owned, or a file can't be read. A damaged file is not an error: its readable reports
    /// move to another file, it is set aside, and a log message says so.
    pub fn open(
        options: &Options,
        on_written: impl Fn(T, Result<(), WriteError>) + Send + 'static,
        on_commit: impl Fn(Duration) + Send + 'static,
    ) -> Result<(Self, RestoredState), OpenError> {
        let directory = Directory::acquire(&options.directory)?;
        let readers = Arc::new(Readers::default());
        let (files, restored) = Files::open(directory, options, Arc::clone(&readers))?;
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
        Ok((spool, restored))
    }

    /// Writes a record. The `on_written` callback receives `ticket` when the record is fsynced or can't be written.
    pub fn write(&self, lane: &LaneKey, number: u64, record: Arc<Record>, ticket: T) {
        self.queue.write(Write {
            lane: lane.clone(),
            number,
            record,
            ticket,
        });
    }

    /// Deletes a report. The deletion becomes durable within a second, unless the disk fails.
    pub fn delete(&self, lane: &LaneKey, number: u64) {
        self.queue.delete(lane.clone(), number);
    }

    /// Marks a report that was passed to [`Spool::write`] before.
    pub fn mark(&self, lane: &LaneKey, number: u64, mark: Mark) {
        self.queue.mark(lane.clone(), number, mark);
    }

    /// Stores a topic's partition count for later runs.
    pub fn remember(&self, topic: &str, partitions: u32) {
        self.queue.remember(topic.to_owned(), partitions);
    }

    /// Assigns the reports of a topic's inbox to partitions for this run: from now on, [`Spool::read`] returns each
    /// of them with the lane of the partition that `partition_of` returns for its key. Nothing is moved on disk. Only
    /// the first call for a topic has an effect.
    pub fn assign(
        &self,
        topic: &str,
        partition_of: impl Fn(Option<&str>) -> u32 + Send + Sync + 'static,
    ) {
        self.readers.assign(topic, Arc::new(partition_of));
    }

    /// Returns the due reports of a lane from number `from` on, in order, about `bytes` bytes in memory, and whether
    /// they are the last. If there may be more, it returns at least one. Blocks: do not call it on a runtime's
    /// thread.
    ///
    /// # Errors
    /// If the disk fails, or while the reports of a damaged file are being moved. Try again later.
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

    /// Returns the current counts and sizes.
    pub fn level(&self) -> Level {
        self.queue.level()
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Finishes the waiting requests and ends the spool's thread. Returns `false` if that takes longer than
    /// `timeout`. Blocks: do not call it on a runtime's thread.
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
    /// Asks the thread to end, without waiting for it.
    fn drop(&mut self) {
        self.queue.close();
    }
}
