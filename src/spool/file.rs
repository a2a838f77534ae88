//! One file of the spool: its connection, its place and its size. What it holds is in `rows` and `contents`.

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
use super::connection::{self, Log};
use super::count::Count;
use super::directory::{length, with_suffix};
use super::error::Unusable;
use super::format::upgrade;
use super::limits::{Limits, PAGE};
use super::reader::Left;

/// How often to try to read a file, and the pause between: some errors pass.
pub(super) const ATTEMPTS: u32 = 4;
pub(super) const PAUSE: Duration = Duration::from_millis(10);

/// Bytes of the pages of a file. Only a transaction changes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sizes {
    pages: u64,
    /// Of those that can be used again.
    free: u64,
}

impl Sizes {
    /// Returns the sizes that a connection sees; in a transaction, those that its commit leaves.
    fn of(connection: &Connection) -> rusqlite::Result<Self> {
        let bytes = |pragma| {
            let number = |row: &rusqlite::Row<'_>| row.get(0).map(i64::cast_unsigned);
            let pages: u64 = connection.pragma_query_value(None, pragma, number)?;
            Ok::<_, rusqlite::Error>(pages.saturating_mul(PAGE))
        };
        let pages = bytes("page_count")?;
        // In a damaged file the count can be anything.
        let free = bytes("freelist_count")?.min(pages);
        Ok(Self { pages, free })
    }
}

/// A file, opened for writing.
pub(super) struct File {
    path: PathBuf,
    /// Tells it from another file of its name, and its log likewise.
    inode: Option<u64>,
    log: Option<u64>,
    /// Bytes of the file, as they were last seen.
    length: u64,
    /// Open as long as it is used.
    connection: OnceCell<Connection>,
    memory: usize,
    limits: Limits,
    /// Whether reports are written to it.
    is_written: bool,
    /// The lanes that were written to.
    lanes: HashMap<LaneKey, i64>,
    pub(super) count: Count,
    /// The sizes that its last transaction left, if they are known.
    sizes: Cell<Option<Sizes>>,
    /// When the oldest due report arrived, and whether that is known.
    oldest: (Option<i64>, bool),
    /// When a report was last written or deleted.
    changed: Instant,
    /// Whether it holds what no run can have written, though its reports can be read.
    is_odd: bool,
    /// The highest numbers that its reports can have, if an earlier run wrote them all.
    pub(super) left: Option<Arc<Left>>,
}

impl File {
    /// Opens a file that an earlier run left, to be drained.
    pub(super) fn open(path: &Path, memory: usize, limits: Limits) -> Result<Self, Unusable> {
        let mut connection = connection::open(path, memory, Log::MayBeMissing)?;
        upgrade(&mut connection)?;
        let mut file = Self::new(path, memory, limits, Count::default());
        file.is_odd = file.log_odd()?;
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
            is_odd: false,
            left: None,
        }
    }

    fn connection(&self) -> rusqlite::Result<&Connection> {
        if let Some(connection) = self.connection.get() {
            return Ok(connection);
        }
        let log = if self.is_written {
            Log::Needed
        } else {
            Log::MayBeMissing
        };
        let opened = connection::open(&self.path, self.memory, log)?;
        let when = if self.is_written { "full" } else { "normal" };
        connection::write_by(&opened, when, self.limits.log_pages())?;
        Ok(self.connection.get_or_init(|| opened))
    }

    fn transaction(&self) -> rusqlite::Result<Transaction<'_>> {
        self.sizes.take();
        self.connection()?.unchecked_transaction()
    }

    /// Commits a transaction. The sizes are read before that, because a statement of its own would lock the file again.
    fn commit(&self, transaction: Transaction<'_>) -> rusqlite::Result<()> {
        let sizes = Sizes::of(&transaction)?;
        transaction.commit()?;
        self.sizes.set(Some(sizes));
        Ok(())
    }

    /// Closes its connection until it is used again.
    pub(super) fn rest(&mut self) {
        self.connection.take();
        self.log = None;
    }

    /// Prepares it for being drained: it takes less memory, and its log is emptied.
    pub(super) fn retire(&mut self, memory: usize) {
        self.empty_log();
        self.memory = memory;
        self.is_written = false;
        self.lanes = HashMap::new();
        self.rest();
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is still in its place, and as long as it was: what is written to a file that was removed is lost.
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

    /// The same, with a log that is there.
    pub(super) fn is_open_in_place(&mut self) -> bool {
        self.connection().is_ok() && self.is_in_place()
    }

    /// Whether another process has removed it.
    pub(super) fn is_removed(&self) -> bool {
        match inode(&self.path) {
            Ok(inode) => self.inode.is_some_and(|known| known != inode),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }

    /// Whether nothing has changed for so long.
    pub(super) fn is_quiet(&self, time: Duration) -> bool {
        self.changed.elapsed() >= time
    }

    /// Bytes of the file and what belongs to it, with what its log still adds to it.
    pub(super) fn size(&self) -> rusqlite::Result<u64> {
        let parts = self.parts_on_disk();
        let pending = self.pages()?.saturating_sub(parts[0]);
        Ok(parts.iter().sum::<u64>() + pending)
    }

    /// Bytes of its pages.
    pub(super) fn pages(&self) -> rusqlite::Result<u64> {
        Ok(self.sizes()?.pages)
    }

    pub(super) fn log_size(&self) -> u64 {
        length(&with_suffix(&self.path, "-wal"))
    }

    pub(super) fn size_on_disk(&self) -> u64 {
        self.parts_on_disk().iter().sum()
    }

    /// Bytes of the file, of its log and of its index.
    fn parts_on_disk(&self) -> [u64; 3] {
        ["", "-wal", "-shm"].map(|part| length(&with_suffix(&self.path, part)))
    }

    /// Bytes of its pages that can be used again.
    pub(super) fn free(&self) -> rusqlite::Result<u64> {
        Ok(self.sizes()?.free)
    }

    /// Bytes of its pages that hold something.
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

    /// Moves what is in its log to the file, fsynced, and empties the log. Returns `false` if a reader or the disk
    /// is in the way.
    pub(super) fn empty_log(&self) -> bool {
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

    /// The sizes that another connection sees.
    fn seen(path: &Path) -> Sizes {
        let other = connection::open(path, 0, Log::Needed).expect("a connection");
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
    fn the_sizes_are_known_without_a_look_and_right_after_each_change_and_each_failure() {
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
        let is_right = |file: &File| assert_eq!(file.sizes.get(), Some(seen(&path)));

        file.write(rows()).expect("a write");
        is_right(&file);
        file.mark(&[(lane.clone(), 1, Mark::Gone)]).expect("a mark");
        is_right(&file);
        file.delete(&reports[..20]).expect("a deletion");
        is_right(&file);
        assert!(file.free().expect("sizes") > 0);
        file.remember("events", 6).expect("a note");
        is_right(&file);

        // The disk is full.
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
