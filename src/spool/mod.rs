//! The spool: `rusqlite` stops here. It keeps records on disk, in the lanes and under the numbers that it
//! is told, and knows neither Kafka nor who waits.
//!
//! A [`Spool`] owns its directory. Writes and strikes go through one thread, which puts all that waits
//! into one transaction: one fsync for many. Reading has connections of its own, so that a disk that
//! takes nothing any more is still drained. [`Inspection`] looks at a spool without owning it.

mod directory;
mod file;
mod inspection;
mod queue;
mod reading;
mod writer;

#[cfg(test)]
mod tests;

use parking_lot::{Mutex, MutexGuard};

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::contract::Record;
use directory::Directory;
use file::{File, Unusable};
pub use inspection::{Inspection, Kept, LaneStatus};
use queue::Queue;
use reading::{Left, Reader};
use writer::{Told, Writer};

/// A lane: a partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LaneKey {
    pub topic: Arc<str>,
    /// `None` for records that came before the topic's partitions were known.
    pub partition: Option<u32>,
}

/// A record of a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub number: u64,
    pub record: Arc<Record>,
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

/// What an earlier run left in a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    pub lane: LaneKey,
    /// The first number that is due.
    pub first: u64,
    /// The highest number that was used.
    pub last: u64,
}

/// What earlier runs left in a spool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remains {
    pub lanes: Vec<Restored>,
    /// Each topic's partitions, as they were last known.
    pub partitions: Vec<(String, u32)>,
}

/// Why a spool can't be opened.
#[derive(Debug)]
pub enum OpenError {
    /// The directory can't be made, or is not writable.
    Directory(PathBuf, std::io::Error),
    /// One of its files can't be read.
    File(PathBuf, String),
    /// Another process has it; its process id where it says so.
    Taken(PathBuf, Option<u32>),
    /// A newer version of the program wrote it, in this format.
    Newer(PathBuf, i64),
    /// The system can't start a thread.
    Thread(std::io::Error),
}

/// Why a record was not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotWritten {
    /// The ceiling in bytes, or the free space to leave, is reached.
    Full,
    /// The disk fails.
    Failed,
}

/// What a spool holds now, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Level {
    /// Reports, parked ones included.
    pub reports: u64,
    /// Those that can go nowhere.
    pub parked: u64,
    /// Bytes on disk.
    pub bytes: u64,
    /// Bytes of them that hold something: what the ceiling is for. Looked at once a second, as is
    /// the next.
    pub used: u64,
    /// When the oldest of those that wait arrived, in milliseconds since 1970: the first of each lane
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

/// A connection for reading for each file, the oldest first.
#[derive(Default)]
struct Readers(Mutex<Vec<Arc<Reader>>>);

impl<T: Send + 'static> Spool<T> {
    /// Opens the spool of a directory, which is made where it is missing. `on_written` runs on the
    /// spool's thread for every record that was to be written, and `on_commit` for every transaction
    /// that was, with the time it took.
    ///
    /// # Errors
    /// Where the directory can't be owned. A damaged file is none: it is set aside, and said.
    pub fn open(
        options: &Options,
        on_written: fn(T, Result<(), NotWritten>),
        on_commit: impl Fn(Duration) + Send + 'static,
    ) -> Result<(Self, Remains), OpenError> {
        let directory = Directory::own(&options.directory)?;
        let mut files = open_files(&directory, options)?;
        let remains = what_was_left(&mut files);
        let readers = Readers::default();
        let lanes = remains.lanes.iter();
        let left: Arc<Left> = Arc::new(lanes.map(|lane| (lane.lane.clone(), lane.last)).collect());
        for file in &files {
            let added = readers.add(file, options.memory / 4, Some(Arc::clone(&left)));
            added.map_err(|error| OpenError::File(file.path().to_owned(), error.to_string()))?;
        }
        let readers = Arc::new(readers);
        let queue = Arc::new(Queue::default());
        let known = remains.partitions.clone();
        let shared = Arc::clone(&readers);
        let told = Told {
            on_written,
            on_commit: Box::new(on_commit),
        };
        let writer = Writer::new(directory, options, files, known, shared, told);
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

    /// Has a record written; `ticket` comes back when it is fsynced, or can't be.
    pub fn write(&self, lane: &LaneKey, row: Row, ticket: T) {
        self.queue.write(lane.clone(), row, ticket);
    }

    /// Has a record struck off, durably within a second.
    pub fn strike(&self, lane: &LaneKey, number: u64) {
        self.queue.strike(lane.clone(), number);
    }

    /// Has a record parked: it stays, and is not given back by [`Spool::read`] any more.
    pub fn park(&self, lane: &LaneKey, number: u64) {
        self.queue.park(lane.clone(), number);
    }

    /// Has the number of a topic's partitions remembered.
    pub fn remember(&self, topic: &str, partitions: u32) {
        self.queue.remember(topic.to_owned(), partitions);
    }

    /// Records of a lane from a number on, in their order, of about `bytes` bytes in memory; `true` where there
    /// are no more. Blocks: not for a runtime's thread.
    ///
    /// # Errors
    /// What the disk says. A file that is damaged is set aside and said, and is no error.
    pub fn read(
        &self,
        lane: &LaneKey,
        from: u64,
        bytes: usize,
    ) -> std::io::Result<(Vec<Row>, bool)> {
        let mut rows = Vec::new();
        // What is past the end of a part that was cut is left for the next time.
        let mut cut = None;
        for reader in self.readers.all() {
            match reader.read(lane, from, bytes) {
                Ok((part, is_all)) => {
                    if let Some(last) = part.last().filter(|_| !is_all) {
                        cut = Some(cut.map_or(last.number, |cut: u64| cut.min(last.number)));
                    }
                    rows.extend(part);
                }
                Err(error) if file::is_damage(&error) => {
                    self.readers.remove(reader.path());
                    self.queue.damaged(reader.path().to_owned());
                }
                Err(error) => return Err(std::io::Error::other(error)),
            }
        }
        rows.sort_by_key(|row| row.number);
        rows.dedup_by_key(|row| row.number);
        rows.retain(|row| cut.is_none_or(|cut| row.number <= cut));
        Ok((rows, cut.is_none()))
    }

    /// What the spool holds now.
    pub fn level(&self) -> Level {
        self.queue.level()
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Does what is still to be done and ends; `false` where the disk does not get done with it in
    /// time. Blocks: not for a runtime's thread.
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

impl Readers {
    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Reader>>> {
        self.0.lock()
    }

    fn all(&self) -> Vec<Arc<Reader>> {
        self.lock().clone()
    }

    fn add(&self, file: &File, memory: usize, left: Option<Arc<Left>>) -> rusqlite::Result<()> {
        let reader = Reader::open(file.path(), memory, left)?;
        self.lock().push(Arc::new(reader));
        Ok(())
    }

    fn remove(&self, path: &Path) {
        self.lock().retain(|reader| reader.path() != path);
    }
}

/// The files of earlier runs, the oldest first. What is damaged is set aside.
fn open_files(directory: &Directory, options: &Options) -> Result<Vec<File>, OpenError> {
    let mut files = Vec::new();
    for path in directory.files() {
        match File::open(&path, options.memory) {
            Ok(file) => files.push(file),
            Err(Unusable::Newer(format)) => return Err(OpenError::Newer(path, format)),
            Err(Unusable::Damaged(why)) => Directory::set_aside(&path, &unread(&why)),
            Err(Unusable::Failed(error)) => return Err(OpenError::File(path, error.to_string())),
        }
    }
    Ok(files)
}

/// Why a file is set aside at the start.
fn unread(why: &str) -> String {
    format!("it can't be read ({why}); what was left in it is not delivered")
}

/// The lanes of all files together, and the partitions that were last known.
fn what_was_left(files: &mut Vec<File>) -> Remains {
    let mut remains = Remains::default();
    files.retain(|file| match file.left() {
        Ok(left) => {
            remains.add(left);
            true
        }
        Err(error) => {
            Directory::set_aside(file.path(), &unread(&error.to_string()));
            false
        }
    });
    remains
}

impl Remains {
    /// Adds what a later file holds.
    fn add(&mut self, later: Self) {
        for found in later.lanes {
            add_lane(&mut self.lanes, found);
        }
        let is_known_better = |name: &str| later.partitions.iter().any(|(other, _)| other == name);
        self.partitions.retain(|(name, _)| !is_known_better(name));
        self.partitions.extend(later.partitions);
    }
}

fn add_lane(lanes: &mut Vec<Restored>, found: Restored) {
    match lanes.iter_mut().find(|lane| lane.lane == found.lane) {
        Some(lane) => {
            lane.first = lane.first.min(found.first);
            lane.last = lane.last.max(found.last);
        }
        None => lanes.push(found),
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Thread(error) => write!(f, "can't start the spool's thread: {error}"),
            Self::Directory(path, error) => write!(
                f,
                "spool.directory: can't use {}: {error}; it has to be a directory that this user \
                 can write to",
                path.display()
            ),
            Self::File(path, error) => write!(
                f,
                "spool.directory: can't read {}: {error}; it may hold reports that were not \
                 delivered yet, so it is left as it is",
                path.display()
            ),
            Self::Taken(path, Some(pid)) => write!(
                f,
                "spool.directory: {} belongs to process {pid}, which is running; give each bridge \
                 a directory of its own",
                path.display()
            ),
            Self::Taken(path, None) => write!(
                f,
                "spool.directory: {} belongs to another running process; give each bridge a \
                 directory of its own",
                path.display()
            ),
            Self::Newer(path, format) => write!(
                f,
                "spool.directory: {} was written by a newer koobridge (format {format}, this one \
                 reads up to {}); drain it with that version",
                path.display(),
                file::FORMAT
            ),
        }
    }
}

impl std::error::Error for OpenError {}
