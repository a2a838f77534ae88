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
    /// Bytes of the pages that hold something, if they are known.
    used: Cell<Option<u64>>,
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
            used: Cell::new(None),
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
        self.connection()?.unchecked_transaction()
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
        let pending = self.pages()?.saturating_sub(length(&self.path));
        Ok(self.size_on_disk() + pending)
    }

    /// Bytes of its pages.
    pub(super) fn pages(&self) -> rusqlite::Result<u64> {
        Ok(self.pragma("page_count")?.saturating_mul(PAGE))
    }

    pub(super) fn log_size(&self) -> u64 {
        length(&with_suffix(&self.path, "-wal"))
    }

    pub(super) fn size_on_disk(&self) -> u64 {
        let parts = ["", "-wal", "-shm"].map(|part| length(&with_suffix(&self.path, part)));
        parts.iter().sum()
    }

    /// Bytes of its pages that can be used again.
    pub(super) fn free(&self) -> rusqlite::Result<u64> {
        let free = self.pragma("freelist_count")?.saturating_mul(PAGE);
        // In a damaged file the count can be anything.
        Ok(free.min(self.pages()?))
    }

    /// Bytes of its pages that hold something.
    pub(super) fn used(&self) -> rusqlite::Result<u64> {
        if let Some(used) = self.used.get() {
            return Ok(used);
        }
        let used = self.pages()? - self.free()?;
        self.used.set(Some(used));
        Ok(used)
    }

    fn pragma(&self, name: &str) -> rusqlite::Result<u64> {
        let number = |row: &rusqlite::Row<'_>| row.get(0).map(i64::cast_unsigned);
        self.connection()?.pragma_query_value(None, name, number)
    }

    /// Moves what is in its log to the file, fsynced, and empties the log. Returns `false` if a reader or the disk
    /// is in the way.
    pub(super) fn empty_log(&self) -> bool {
        self.connection()
            .and_then(connection::checkpoint)
            .unwrap_or(false)
    }

    fn note_change(&mut self) {
        self.used.set(None);
        self.oldest.1 = false;
        self.changed = Instant::now();
    }

    pub(super) fn remember(&mut self, topic: &str, partitions: u32) -> rusqlite::Result<()> {
        let statement = "INSERT OR REPLACE INTO topics (name, partitions) VALUES (?1, ?2)";
        self.connection()?
            .execute(statement, params![topic, partitions])
            .map(drop)
    }
}

fn inode(path: &Path) -> io::Result<u64> {
    fs::metadata(path).map(|file| file.ino())
}
