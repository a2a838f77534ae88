//! One spool file: its connection, its identity and its size. `rows` and `contents` access its reports.

mod contents;
mod faults;
mod making;
mod rows;

use std::cell::{Cell, OnceCell};
use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::{Connection, Transaction, params};

use super::LaneKey;
use super::connection::{self, Wal};
use super::count::Count;
use super::directory::{length, with_suffix};
use super::error::FileError;
use super::format::upgrade;
use super::limits::{Limits, PAGE};
use super::reader::LastNumbers;

/// The number of attempts to read a file, and the pause between them: some errors are transient.
pub(super) const ATTEMPTS: u32 = 4;
pub(super) const PAUSE: Duration = Duration::from_millis(10);

/// The bytes of a file's pages. Only a transaction changes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sizes {
    pages: u64,
    /// The part of `pages` that can be used again.
    free: u64,
}

impl Sizes {
    /// Returns the sizes that a connection sees. In a transaction these are the sizes after its commit.
    fn of(connection: &Connection) -> rusqlite::Result<Self> {
        let bytes = |pragma| {
            let number = |row: &rusqlite::Row<'_>| row.get(0).map(i64::cast_unsigned);
            let pages: u64 = connection.pragma_query_value(None, pragma, number)?;
            Ok::<_, rusqlite::Error>(pages.saturating_mul(PAGE))
        };
        let pages = bytes("page_count")?;
        // A damaged file can contain any count.
        let free = bytes("freelist_count")?.min(pages);
        Ok(Self { pages, free })
    }
}

/// A file that can be written to.
pub(super) struct File {
    path: PathBuf,
    /// The inodes of the file and its write-ahead log, to detect that another file replaced them.
    inode: Option<u64>,
    log: Option<u64>,
    /// The file's length when it was last checked.
    length: u64,
    /// Empty while the file is not used.
    connection: OnceCell<Connection>,
    memory: usize,
    limits: Limits,
    /// Whether reports are written to it.
    is_written: bool,
    /// The ids of the lanes that this run has written to.
    lanes: HashMap<LaneKey, i64>,
    pub(super) count: Count,
    /// The sizes after the last transaction, if they are known.
    sizes: Cell<Option<Sizes>>,
    /// When the oldest due report arrived, and whether this value is current.
    oldest: (Option<i64>, bool),
    /// When a report was last written or deleted.
    changed: Instant,
    /// Whether the file has partition numbers or counts that no run can have written.
    has_invalid_partitions: bool,
    /// The highest possible numbers of its reports, if an earlier run wrote the whole file.
    pub(super) last_numbers: Option<Arc<LastNumbers>>,
}

impl File {
    /// Opens a file of an earlier run to drain it.
    pub(super) fn open(path: &Path, memory: usize, limits: Limits) -> Result<Self, FileError> {
        let mut connection = connection::open(path, memory, Wal::Optional)?;
        upgrade(&mut connection)?;
        let mut file = Self::new(path, memory, limits, Count::default());
        file.has_invalid_partitions = file.log_invalid_partitions()?;
        Ok(file)
    }

    fn new(path: &Path, memory: usize, limits: Limits, count: Count) -> Self {
        Self {
            path: path.to_owned(),
            inode: inode(path).ok(),
            log: None,
            length: 0,
            connection: OnceCell::new(),
            memory,
            limits,
            is_written: false,
            lanes: HashMap::new(),
            count,
            sizes: Cell::new(None),
            oldest: (None, false),
            changed: Instant::now(),
            has_invalid_partitions: false,
            last_numbers: None,
        }
    }

    fn connection(&self) -> rusqlite::Result<&Connection> {
        if let Some(connection) = self.connection.get() {
            return Ok(connection);
        }
        let log = if self.is_written {
            Wal::Required
        } else {
            Wal::Optional
        };
        let opened = connection::open(&self.path, self.memory, log)?;
        let when = if self.is_written { "full" } else { "normal" };
        connection::prepare_for_writing(&opened, when, self.limits.wal_pages())?;
        Ok(self.connection.get_or_init(|| opened))
    }

    fn transaction(&self) -> rusqlite::Result<Transaction<'_>> {
        self.sizes.take();
        self.connection()?.unchecked_transaction()
    }

    /// Commits a transaction. The sizes are read before the commit, because a separate statement would lock the file
    /// again.
    fn commit(&self, transaction: Transaction<'_>) -> rusqlite::Result<()> {
        let sizes = Sizes::of(&transaction)?;
        transaction.commit()?;
        self.sizes.set(Some(sizes));
        Ok(())
    }

    /// Closes the connection until the file is used again.
    pub(super) fn close(&mut self) {
        self.connection.take();
        self.log = None;
    }

    /// Prepares the file to be only drained: limits its memory and empties its write-ahead log.
    pub(super) fn retire(&mut self, memory: usize) {
        self.empty_wal();
        self.memory = memory;
        self.is_written = false;
        self.lanes = HashMap::new();
        self.close();
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns whether the file and its write-ahead log are still in the directory, and the file has not become
    /// shorter. Writes to a removed file would be lost.
    pub(super) fn is_in_place(&mut self) -> bool {
        let log = inode(&with_suffix(&self.path, "-wal")).ok();
        self.log = self.log.or(log);
        let length_before = self.length;
        let is_whole = fs::metadata(&self.path).is_ok_and(|file| {
            self.length = file.len();
            Some(file.ino()) == self.inode && file.len() >= length_before
        });
        is_whole && log.is_some() && log == self.log
    }

    /// Opens the connection, which creates a missing write-ahead log, and returns whether the file is in its place.
    pub(super) fn is_open_in_place(&mut self) -> bool {
        self.connection().is_ok() && self.is_in_place()
    }

    /// Returns whether another process has removed or replaced the file.
    pub(super) fn is_removed(&self) -> bool {
        match inode(&self.path) {
            Ok(inode) => self.inode.is_some_and(|known| known != inode),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }

    /// Returns whether the file has not changed for `time`.
    pub(super) fn is_quiet(&self, time: Duration) -> bool {
        self.changed.elapsed() >= time
    }

    /// Returns the bytes of the file, its write-ahead log and its index, and the growth when the log is moved to the
    /// file.
    pub(super) fn size(&self) -> rusqlite::Result<u64> {
        let parts = self.parts_on_disk();
        let pending = self.pages()?.saturating_sub(parts[0]);
        Ok(parts.iter().sum::<u64>() + pending)
    }

    /// Returns the bytes of its pages.
    pub(super) fn pages(&self) -> rusqlite::Result<u64> {
        Ok(self.sizes()?.pages)
    }

    pub(super) fn wal_size(&self) -> u64 {
        length(&with_suffix(&self.path, "-wal"))
    }

    pub(super) fn size_on_disk(&self) -> u64 {
        self.parts_on_disk().iter().sum()
    }

    /// Returns the bytes of the file, of its write-ahead log and of its index.
    fn parts_on_disk(&self) -> [u64; 3] {
        ["", "-wal", "-shm"].map(|part| length(&with_suffix(&self.path, part)))
    }

    /// Returns the bytes of its pages that can be used again.
    pub(super) fn free(&self) -> rusqlite::Result<u64> {
        Ok(self.sizes()?.free)
    }

    /// Returns the bytes of its pages that are in use.
    pub(super) fn used(&self) -> rusqlite::Result<u64> {
        let Sizes { pages, free } = self.sizes()?;
        Ok(pages - free)
    }

    fn sizes(&self) -> rusqlite::Result<Sizes> {
        if let Some(sizes) = self.sizes.get() {
            return Ok(sizes);
        }
        let sizes = Sizes::of(self.connection()?)?;
        self.sizes.set(Some(sizes));
        Ok(sizes)
    }

    /// Moves the write-ahead log to the file, fsynced, and empties it. Returns `false` if a reader or the disk prevents
    /// that.
    pub(super) fn empty_wal(&self) -> bool {
        self.connection()
            .and_then(connection::checkpoint)
            .unwrap_or(false)
    }

    fn note_change(&mut self) {
        self.oldest.1 = false;
        self.changed = Instant::now();
    }

    pub(super) fn remember(&mut self, topic: &str, partitions: u32) -> rusqlite::Result<()> {
        let transaction = self.transaction()?;
        let statement = "INSERT OR REPLACE INTO topics (name, partitions) VALUES (?1, ?2)";
        transaction.execute(statement, params![topic, partitions])?;
        self.commit(transaction)
    }
}

fn inode(path: &Path) -> io::Result<u64> {
    fs::metadata(path).map(|file| file.ino())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::Record;
    use crate::spool::{Mark, Options};

    /// Returns the sizes that another connection sees.
    fn seen(path: &Path) -> Sizes {
        let other = connection::open(path, 0, Wal::Required).expect("a connection");
        Sizes::of(&other).expect("sizes")
    }

    fn record(bytes: usize) -> Record {
        Record {
            key: None,
            headers: Vec::new(),
            value: vec![b'x'; bytes],
            timestamp: 0,
        }
    }

    #[test]
    fn the_cached_sizes_are_right_after_each_change_and_unset_after_a_failure() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("spool-000001.sqlite");
        let limits = Limits::new(&Options {
            directory: directory.path().to_owned(),
            disk_limit: 1 << 30,
            free_space: 0,
            memory: 1 << 20,
        });
        let mut file = File::create(&path, 1 << 20, limits).expect("a file");
        let lane = LaneKey {
            topic: "events".into(),
            partition: Some(0),
        };
        let reports: Vec<_> = (1..=40).map(|number| (lane.clone(), number)).collect();
        let large = record(5000);
        let rows = || reports.iter().map(|(lane, number)| (lane, *number, &large));
        let assert_right = |file: &File| assert_eq!(file.sizes.get(), Some(seen(&path)));

        file.write(rows()).expect("a write");
        assert_right(&file);
        file.mark(&[(lane.clone(), 1, Mark::SenderGone)])
            .expect("a mark");
        assert_right(&file);
        file.delete(&reports[..20]).expect("a deletion");
        assert_right(&file);
        assert!(file.free().expect("sizes") > 0);
        file.remember("events", 6).expect("a note");
        assert_right(&file);

        // Simulate a full disk.
        let pages = file.pages().expect("sizes") / PAGE;
        let connection = file.connection().expect("a connection");
        connection
            .pragma_update(None, "max_page_count", pages.cast_signed())
            .expect("a limit");
        file.write(rows()).expect_err("no room");
        assert_eq!(file.sizes.get(), None);
        assert_eq!(file.sizes().expect("sizes"), seen(&path));
    }
}
