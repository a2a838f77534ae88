//! One file of the spool: writes, deletes and marks reports, and counts them.

use std::cell::{Cell, OnceCell};
use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io;
use std::ops::RangeInclusive;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::types::FromSql;
use rusqlite::{Connection, OptionalExtension as _, Transaction, params};
use tracing::warn;

use super::connection::{self, Log};
use super::count::Count;
use super::directory::{Directory, UNFINISHED, length, with_suffix};
use super::error::Unusable;
use super::format::{
    APPLICATION, FORMAT, HIGHEST_LEFT, MOST_LANES, NUMBER_BITS, TABLES, first_id, id_of, ids_of,
    lanes_of, last_id, number_of, to_column, upgrade,
};
use super::limits::{Limits, PAGE};
use super::reader::Left;
use super::slice::{self, Slice};
use super::{Kept, LaneKey, MAX_PARTITIONS, Mark, Remains, Restored};
use crate::contract::Record;

/// A larger file is not checked as a whole, and so not written to by a later run.
const CHECKED: u64 = 128 << 20;
/// Whether a report is the same.
const SAME: &str = "key IS ?2 AND headers = ?3 AND value = ?4";
/// How often to try to read a file, and the pause between: some errors pass.
pub(super) const ATTEMPTS: u32 = 4;
pub(super) const PAUSE: Duration = Duration::from_millis(10);
/// How many reports are counted at once.
const COUNTED: u32 = 4096;

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
    /// Makes a new file, fsynced; its directory is not. The file gets its name once it is complete: a kill
    /// leaves no file that looks damaged.
    pub(super) fn create(path: &Path, memory: usize, limits: Limits) -> io::Result<Self> {
        let unfinished = path.with_file_name(UNFINISHED);
        Directory::remove(&unfinished)?;
        Directory::remove_log(path)?;
        // Its own log and index get the same mode from SQLite.
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&unfinished)?;
        make_tables(&unfinished).map_err(io::Error::other)?;
        // A file of this name would be replaced.
        if path.try_exists()? {
            return Err(io::Error::from(io::ErrorKind::AlreadyExists));
        }
        fs::rename(&unfinished, path)?;
        let file = Self {
            is_written: true,
            ..Self::new(path, memory, limits, Count::of_nothing())
        };
        match file.connection() {
            Ok(_) => Ok(file),
            Err(error) => {
                let _left = Directory::remove(path);
                Err(io::Error::other(error))
            }
        }
    }

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

    /// Whether reports may be written to it, if nothing is wrong with it.
    pub(super) fn is_writable(&self) -> bool {
        let is_writable = || -> rusqlite::Result<bool> {
            let connection = self.connection()?;
            let is_small = self.pages()? < self.limits.segment();
            Ok(is_small && is_as_made(connection)? && !connection.is_readonly("main")?)
        };
        !self.is_odd && is_writable().unwrap_or(false)
    }

    /// Takes over a file of an earlier run for writing. Everything in it is written and fsynced once more: a promise
    /// rests on an fsync of this run.
    pub(super) fn adopt(&mut self, memory: usize) -> bool {
        let is_adopted = self.empty_log();
        if is_adopted {
            self.memory = memory;
            self.is_written = true;
            self.rest();
        }
        is_adopted
    }

    /// Logs the partitions and the counts of partitions that this program can't have written; returns whether there
    /// are any.
    fn log_odd(&self) -> rusqlite::Result<bool> {
        let path = self.path.display();
        let select = "SELECT topic, partition FROM lanes WHERE partition NOT BETWEEN -1 AND ?1";
        let lanes = self.pairs::<i64>(select, MAX_PARTITIONS - 1)?;
        for (topic, partition) in &lanes {
            warn!(
                %path, topic, partition,
                "a partition is damaged in a file of the spool: its reports are delivered to the partitions of their keys"
            );
        }
        let select = "SELECT name, partitions FROM topics WHERE partitions NOT BETWEEN 1 AND ?1";
        let topics = self.pairs::<i64>(select, MAX_PARTITIONS)?;
        for (topic, partitions) in &topics {
            warn!(
                %path, topic, partitions,
                "a topic's number of partitions is damaged in a file of the spool: it is ignored"
            );
        }
        Ok(!(lanes.is_empty() && topics.is_empty()))
    }

    /// Topics, each with a number, that a statement selects by a limit.
    fn pairs<N: FromSql>(&self, select: &str, limit: u32) -> rusqlite::Result<Vec<(String, N)>> {
        let mut select = self.connection()?.prepare(select)?;
        let pairs = select.query_map([limit], |row| Ok((row.get(0)?, row.get(1)?)))?;
        pairs.collect()
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns what SQLite finds wrong with it, in each of several attempts: some errors pass, and SQLite takes them for
    /// faults.
    pub(super) fn find_fault(&self) -> Option<String> {
        for _ in 1..ATTEMPTS {
            self.find_fault_once()?;
            thread::park_timeout(PAUSE);
        }
        self.find_fault_once()
    }

    fn find_fault_once(&self) -> Option<String> {
        fault(self.connection())
    }

    /// The same; a very large file is not searched.
    pub(super) fn find_fault_if_small(&self) -> Option<String> {
        if self.pages().is_ok_and(|pages| pages > CHECKED) {
            return None;
        }
        self.find_fault()
    }

    /// The same of a file on a connection of its own.
    pub(super) fn fault_of(path: &Path) -> Option<String> {
        let opened = connection::open(path, 0, Log::MayBeMissing);
        fault(opened.as_ref().map_err(ToString::to_string))
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

    /// Returns what is due in each lane, and each topic's partitions.
    pub(super) fn left(&self) -> rusqlite::Result<Remains> {
        let mut left = Remains::default();
        let known: HashMap<i64, LaneKey> = lanes_of(self.connection()?)?
            .into_iter()
            .map(|(lane, id)| (id, lane))
            .collect();
        let mut next = self
            .connection()?
            .prepare("SELECT id FROM reports WHERE id >= ?1 ORDER BY id LIMIT 1")?;
        let mut from = i64::MIN;
        while let Some(id) = next.query_row([from], |row| row.get(0)).optional()? {
            let lane: i64 = id >> NUMBER_BITS;
            // A damaged file says this.
            let damaged = rusqlite::Error::IntegralValueOutOfRange(0, id);
            let Some(key) = known.get(&lane).filter(|_| id >= from) else {
                return Err(damaged);
            };
            let (first, last) = self.due(lane)?;
            if last > HIGHEST_LEFT || first > last + 1 {
                return Err(damaged);
            }
            let lane_left = Restored {
                lane: key.clone(),
                first,
                last,
            };
            left.add_lane(lane_left);
            let Some(following) = lane.checked_add(1) else {
                break;
            };
            from = first_id(following);
        }
        let known = "SELECT name, partitions FROM topics WHERE partitions BETWEEN 1 AND ?1";
        left.partitions = self.pairs(known, MAX_PARTITIONS)?;
        Ok(left)
    }

    /// The first number that is due in a lane with reports, and the highest.
    fn due(&self, lane: i64) -> rusqlite::Result<(u64, u64)> {
        let due = "SELECT min(id) FROM reports WHERE id BETWEEN ?1 AND ?2 AND state <> 1";
        let used = "SELECT max(id) FROM reports WHERE id BETWEEN ?1 AND ?2";
        let number = |select| {
            let mut select = self.connection()?.prepare(select)?;
            select.query_row([first_id(lane), last_id(lane)], |row| {
                row.get::<_, Option<i64>>(0)
            })
        };
        let last = number(used)?.map_or(0, number_of);
        Ok((number(due)?.map_or(last + 1, number_of), last))
    }

    /// Counts some more of its reports.
    pub(super) fn count_on(&mut self) -> rusqlite::Result<()> {
        let mut select = self.connection()?.prepare(
            "SELECT count(*), count(*) FILTER (WHERE state = 1), max(id) FROM \
             (SELECT id, state FROM reports WHERE id > ?1 ORDER BY id LIMIT ?2)",
        )?;
        let row = select.query_row(params![self.count.upto(), COUNTED], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        });
        let (reports, quarantined, last): (u32, u32, Option<i64>) = row?;
        let upto = last.filter(|_| reports == COUNTED).unwrap_or(i64::MAX);
        drop(select);
        self.count.go_on(reports, quarantined, upto);
        Ok(())
    }

    /// When the first report that waits in any lane arrived, in milliseconds since 1970.
    pub(super) fn oldest(&mut self) -> rusqlite::Result<Option<i64>> {
        if let (oldest, true) = self.oldest {
            return Ok(oldest);
        }
        let mut first = self.connection()?.prepare(
            "SELECT timestamp FROM reports WHERE id BETWEEN ?1 AND ?2 AND state <> 1 \
             ORDER BY id LIMIT 1",
        )?;
        let mut oldest = None;
        for (_, id) in lanes_of(self.connection()?)? {
            let range = [first_id(id), last_id(id)];
            let found: Option<i64> = first.query_row(range, |row| row.get(0)).optional()?;
            oldest = [oldest, found].into_iter().flatten().min();
        }
        drop(first);
        self.oldest = (oldest, true);
        Ok(oldest)
    }

    pub(super) fn is_empty(&self) -> rusqlite::Result<bool> {
        let one = self
            .connection()?
            .query_row("SELECT 1 FROM reports LIMIT 1", [], |_| Ok(()));
        Ok(one.optional()?.is_none())
    }

    /// Returns those of the reports that it holds, and whether it holds no others.
    pub(super) fn held(
        &self,
        reports: &[(LaneKey, u64)],
    ) -> rusqlite::Result<(Vec<(LaneKey, u64)>, bool)> {
        let connection = self.connection()?;
        let mut select = connection.prepare("SELECT 1 FROM reports WHERE id = ?1")?;
        let (mut held, mut known) = (Vec::new(), HashMap::new());
        for report in reports {
            let lanes: &Vec<i64> = match known.get(&report.0) {
                Some(lanes) => lanes,
                None => known
                    .entry(&report.0)
                    .or_insert(ids_of(connection, &report.0)?),
            };
            for lane in lanes {
                if select.exists([id_of(*lane, report.1)])? {
                    held.push(report.clone());
                }
            }
        }
        let all: u64 = connection.query_row("SELECT count(*) FROM reports", [], |row| {
            row.get(0).map(i64::cast_unsigned)
        })?;
        let is_all = held.len() as u64 == all;
        Ok((held, is_all))
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

    /// Writes records: when this returns they are fsynced, all of them or none.
    pub(super) fn write<'a>(
        &mut self,
        rows: impl Iterator<Item = (&'a LaneKey, u64, &'a Record)>,
    ) -> rusqlite::Result<()> {
        let rows = rows.map(|(lane, number, record)| (lane, number, None, record));
        self.insert("REPLACE", rows).map(drop)
    }

    /// Writes reports of another file in the same way, but for those that are here. Returns how many have the number of
    /// another report.
    pub(super) fn insert_new<'a>(
        &mut self,
        reports: impl Iterator<Item = &'a Kept>,
    ) -> rusqlite::Result<u64> {
        let rows = reports.map(|kept| (&kept.lane, kept.number, kept.mark, &kept.record));
        self.insert("IGNORE", rows)
    }

    fn insert<'a>(
        &mut self,
        conflict: &str,
        rows: impl Iterator<Item = (&'a LaneKey, u64, Option<Mark>, &'a Record)>,
    ) -> rusqlite::Result<u64> {
        let transaction = self.transaction()?;
        let (mut made, mut count, mut others) = (Vec::new(), self.count, 0);
        {
            let mut same =
                transaction.prepare(&format!("SELECT 1 FROM reports WHERE id = ?1 AND {SAME}"))?;
            let mut insert = transaction.prepare(&format!(
                "INSERT OR {conflict} INTO reports (id, state, timestamp, key, headers, value) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            ))?;
            for (lane, number, mark, record) in rows {
                let lane = match self.lanes.get(lane) {
                    Some(id) => *id,
                    None => lane_id(&transaction, lane, &mut made)?,
                };
                let headers = serde_json::to_string(&record.headers).expect("headers are text");
                let (id, state) = (id_of(lane, number), mark.map_or(0, Mark::to_column));
                let (timestamp, key, value) = (record.timestamp, &record.key, &record.value);
                let row = params![id, state, timestamp, key, headers, value];
                if insert.execute(row)? > 0 {
                    count.add(id, mark);
                } else if !same.exists(params![id, key, headers, value])? {
                    others += 1;
                }
            }
        }
        transaction.commit()?;
        self.lanes.extend(made);
        self.count = count;
        self.note_change();
        Ok(others)
    }

    /// Deletes reports.
    pub(super) fn delete(&mut self, reports: &[(LaneKey, u64)]) -> rusqlite::Result<()> {
        let transaction = self.transaction()?;
        let mut deleted = Vec::new();
        {
            let mut delete = transaction.prepare("DELETE FROM reports WHERE id = ?1")?;
            for id in ids(
                &transaction,
                reports.iter().map(|(lane, number)| (lane, *number)),
            )? {
                if delete.execute([id])? > 0 {
                    deleted.push(id);
                }
            }
        }
        transaction.commit()?;
        if !deleted.is_empty() {
            self.count.subtract(&deleted);
            self.note_change();
        }
        Ok(())
    }

    /// Marks reports; returns how many of them it holds. A quarantined report stays so.
    pub(super) fn mark(&mut self, marks: &[(LaneKey, u64, Mark)]) -> rusqlite::Result<usize> {
        let transaction = self.transaction()?;
        let (mut count, mut held) = (self.count, 0);
        {
            let mut update = transaction
                .prepare("UPDATE reports SET state = ?2 WHERE id = ?1 AND state <> 1")?;
            for (lane, number, mark) in marks {
                for id in ids(&transaction, [(lane, *number)])? {
                    let marked = update.execute([id, mark.to_column()])?;
                    held += marked;
                    if marked > 0 && *mark == Mark::Quarantined {
                        count.quarantine(id);
                    }
                }
            }
        }
        transaction.commit()?;
        self.count = count;
        self.note_change();
        Ok(held)
    }

    fn note_change(&mut self) {
        self.used.set(None);
        self.oldest.1 = false;
        self.changed = Instant::now();
    }

    /// Whether one of its reports has the number of another report in an older file. `left` and `others` are what the
    /// two hold.
    pub(super) fn clashes_with(
        &self,
        left: &Remains,
        other: &Self,
        others: &Remains,
    ) -> rusqlite::Result<bool> {
        for Restored { lane, first, last } in &left.lanes {
            let known = others.lanes.iter().find(|known| known.lane == *lane);
            if let Some(known) = known {
                let range = *first.max(&known.first)..=*last.min(&known.last);
                if !range.is_empty() && self.clashes_in(lane, range, other)? {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    fn clashes_in(
        &self,
        lane: &LaneKey,
        range: RangeInclusive<u64>,
        other: &Self,
    ) -> rusqlite::Result<bool> {
        let connection = self.connection()?;
        let mut select = connection
            .prepare("SELECT id, key, headers, value FROM reports WHERE id BETWEEN ?1 AND ?2")?;
        let elsewhere = other.connection()?;
        let ids_elsewhere = ids_of(elsewhere, lane)?;
        let is_another = format!("SELECT 1 FROM reports WHERE id = ?1 AND NOT ({SAME})");
        let mut is_another = elsewhere.prepare(&is_another)?;
        for id in ids_of(connection, lane)? {
            let mut rows = select.query([id_of(id, *range.start()), id_of(id, *range.end())])?;
            while let Some(row) = rows.next()? {
                let number = number_of(row.get(0)?);
                let (key, headers, value): (Option<String>, String, Vec<u8>) =
                    (row.get(1)?, row.get(2)?, row.get(3)?);
                for id in &ids_elsewhere {
                    let id = id_of(*id, number);
                    if is_another.exists(params![id, key, headers, value])? {
                        return Ok(true);
                    }
                }
            }
        }
        Ok(false)
    }

    /// Returns the reports behind an id, of about `bytes` bytes; none if there are no more.
    pub(super) fn behind(&self, id: i64, bytes: usize) -> rusqlite::Result<Slice> {
        slice::behind(self.connection()?, "state", id, bytes)
    }

    pub(super) fn remember(&mut self, topic: &str, partitions: u32) -> rusqlite::Result<()> {
        let statement = "INSERT OR REPLACE INTO topics (name, partitions) VALUES (?1, ?2)";
        self.connection()?
            .execute(statement, params![topic, partitions])
            .map(drop)
    }
}

/// The ids that reports can have.
fn ids<'a>(
    connection: &Connection,
    reports: impl IntoIterator<Item = (&'a LaneKey, u64)>,
) -> rusqlite::Result<Vec<i64>> {
    let mut known: HashMap<&LaneKey, Vec<i64>> = HashMap::new();
    let mut ids = Vec::new();
    for (lane, number) in reports {
        let lanes = match known.get(lane) {
            Some(lanes) => lanes,
            None => known.entry(lane).or_insert(ids_of(connection, lane)?),
        };
        ids.extend(lanes.iter().map(|lane| id_of(*lane, number)));
    }
    Ok(ids)
}

fn make_tables(path: &Path) -> rusqlite::Result<()> {
    let mut connection = connection::open(path, 0, Log::Needed)?;
    connection::log_changes(&connection)?;
    let transaction = connection.transaction()?;
    transaction.execute_batch(TABLES)?;
    transaction.pragma_update(None, "application_id", APPLICATION)?;
    transaction.pragma_update(None, "user_version", FORMAT)?;
    transaction.commit()?;
    // Closing does not say whether this has failed.
    if !connection::checkpoint(&connection)? {
        let busy = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY);
        return Err(rusqlite::Error::SqliteFailure(busy, None));
    }
    connection.close().map_err(|(_, error)| error)
}

/// The id of a lane, which is made if it is not there.
fn lane_id(
    transaction: &Transaction<'_>,
    lane: &LaneKey,
    made: &mut Vec<(LaneKey, i64)>,
) -> rusqlite::Result<i64> {
    if let Some((_, id)) = made.iter().find(|(other, _)| other == lane) {
        return Ok(*id);
    }
    let id = if let Some(id) = ids_of(transaction, lane)?.first() {
        *id
    } else {
        let statement = "INSERT INTO lanes (topic, partition) VALUES (?1, ?2)";
        transaction.execute(statement, params![lane.topic, to_column(lane.partition)])?;
        transaction.last_insert_rowid()
    };
    made.push((lane.clone(), id));
    Ok(id)
}

/// What SQLite finds wrong with a file, or why it can't say.
fn fault(connection: Result<&Connection, impl ToString>) -> Option<String> {
    let connection = match connection {
        Ok(connection) => connection,
        Err(error) => return Some(error.to_string()),
    };
    let found = connection.pragma_query_value(None, "quick_check", |row| row.get::<_, String>(0));
    match found {
        Ok(found) if found == "ok" => None,
        Ok(found) => Some(found),
        Err(error) => Some(error.to_string()),
    }
}

/// Whether a file can be written to like one that this version has made.
fn is_as_made(connection: &Connection) -> rusqlite::Result<bool> {
    // Three tables, and an index of two of them.
    let has_tables = "SELECT count(*) = 5 FROM sqlite_schema";
    let lanes = "SELECT count(*) = 0 FROM lanes WHERE id NOT BETWEEN 1 AND ?1";
    let mode =
        connection.pragma_query_value(None, "journal_mode", |row| row.get::<_, String>(0))?;
    let page = connection.pragma_query_value(None, "page_size", |row| row.get::<_, i64>(0))?;
    let is = |query, limit: &[i64]| {
        connection.query_row(query, rusqlite::params_from_iter(limit), |row| row.get(0))
    };
    Ok(mode == "wal"
        && page.cast_unsigned() == PAGE
        && is(has_tables, &[])?
        && is(lanes, &[MOST_LANES])?)
}

fn inode(path: &Path) -> io::Result<u64> {
    fs::metadata(path).map(|file| file.ino())
}
