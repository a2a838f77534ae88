//! One file of the spool: writes, deletes and marks reports, and counts them.

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::types::FromSql;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Transaction, params};
use tracing::warn;

use super::directory::Directory;
use super::error::Unusable;
use super::format::{
    APPLICATION, FORMAT, HIGHEST_LEFT, TABLES, first_id, id_of, lanes_of, last_id, number_of,
    to_column, upgrade,
};
use super::{LaneKey, MAX_PARTITIONS, Mark, Remains, Restored};
use crate::contract::Record;

/// The name of a file that is being made.
const UNFINISHED: &str = "new.sqlite";

/// A file, opened for writing.
pub(super) struct File {
    path: PathBuf,
    connection: Connection,
    /// An inbox has more than one id if the file is damaged.
    lanes: HashMap<LaneKey, Vec<i64>>,
}

impl File {
    /// Makes a new file, fsynced; its directory is not. The file gets its name once it is complete: a kill
    /// leaves no file that looks damaged.
    pub(super) fn create(path: &Path, memory: usize) -> io::Result<Self> {
        let unfinished = path.with_file_name(UNFINISHED);
        Directory::remove(&unfinished);
        // Its own log and index get the same mode from SQLite.
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&unfinished)?;
        make_tables(&unfinished).map_err(io::Error::other)?;
        fs::rename(&unfinished, path)?;
        Ok(Self {
            path: path.to_owned(),
            connection: connect(path, memory).map_err(io::Error::other)?,
            lanes: HashMap::new(),
        })
    }

    /// Opens a file that an earlier run left.
    pub(super) fn open(path: &Path, memory: usize) -> Result<Self, Unusable> {
        let mut connection = connect(path, memory)?;
        upgrade(&mut connection)?;
        let mut lanes: HashMap<_, Vec<_>> = HashMap::new();
        for (lane, id) in lanes_of(&connection)? {
            lanes.entry(lane).or_default().push(id);
        }
        let file = Self {
            path: path.to_owned(),
            connection,
            lanes,
        };
        file.log_damage()?;
        Ok(file)
    }

    /// Logs the partitions and the counts of partitions that this program can't have written.
    fn log_damage(&self) -> rusqlite::Result<()> {
        let path = self.path.display();
        let select = "SELECT topic, partition FROM lanes WHERE partition NOT BETWEEN -1 AND ?1";
        for (topic, partition) in self.pairs::<i64>(select, MAX_PARTITIONS - 1)? {
            warn!(
                %path, topic, partition,
                "a partition is damaged in a file of the spool: its reports are delivered to the partitions of their keys"
            );
        }
        let select = "SELECT name, partitions FROM topics WHERE partitions NOT BETWEEN 1 AND ?1";
        for (topic, partitions) in self.pairs::<i64>(select, MAX_PARTITIONS)? {
            warn!(
                %path, topic, partitions,
                "a topic's number of partitions is damaged in a file of the spool: it is ignored"
            );
        }
        Ok(())
    }

    /// Topics, each with a number, that a statement selects by a limit.
    fn pairs<N: FromSql>(&self, select: &str, limit: u32) -> rusqlite::Result<Vec<(String, N)>> {
        let mut select = self.connection.prepare(select)?;
        let pairs = select.query_map([limit], |row| Ok((row.get(0)?, row.get(1)?)))?;
        pairs.collect()
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns what is due in each lane, and each topic's partitions.
    pub(super) fn left(&self) -> rusqlite::Result<Remains> {
        let mut left = Remains::default();
        let mut due = self
            .connection
            .prepare("SELECT min(id) FROM reports WHERE id BETWEEN ?1 AND ?2 AND state <> 1")?;
        let mut used = self
            .connection
            .prepare("SELECT max(id) FROM reports WHERE id BETWEEN ?1 AND ?2")?;
        for (lane, id) in self
            .lanes
            .iter()
            .flat_map(|(lane, ids)| ids.iter().map(move |id| (lane, *id)))
        {
            let range = [first_id(id), last_id(id)];
            let first: Option<i64> = due.query_row(range, |row| row.get(0))?;
            let last: Option<i64> = used.query_row(range, |row| row.get(0))?;
            if let Some(id) = last {
                let last = number_of(id);
                let first = first.map_or(last + 1, number_of);
                // A damaged tree says this.
                if last > HIGHEST_LEFT || first > last + 1 {
                    return Err(rusqlite::Error::IntegralValueOutOfRange(0, id));
                }
                left.add_lane(Restored {
                    lane: lane.clone(),
                    first,
                    last,
                });
            }
        }
        let known = "SELECT name, partitions FROM topics WHERE partitions BETWEEN 1 AND ?1";
        left.partitions = self.pairs(known, MAX_PARTITIONS)?;
        Ok(left)
    }

    /// Counts its reports, and those of them that are quarantined.
    pub(super) fn count(&self) -> rusqlite::Result<(u64, u64)> {
        let counts = "SELECT count(*), count(*) FILTER (WHERE state = 1) FROM reports";
        let number = |row: &rusqlite::Row<'_>, at| row.get(at).map(i64::cast_unsigned);
        self.connection
            .query_row(counts, [], |row| Ok((number(row, 0)?, number(row, 1)?)))
    }

    /// When the first report that waits in any lane arrived, in milliseconds since 1970.
    pub(super) fn oldest(&self) -> rusqlite::Result<Option<i64>> {
        let mut first = self.connection.prepare(
            "SELECT timestamp FROM reports WHERE id BETWEEN ?1 AND ?2 AND state <> 1 \
             ORDER BY id LIMIT 1",
        )?;
        let mut oldest = None;
        for id in self.lanes.values().flatten() {
            let range = [first_id(*id), last_id(*id)];
            let found: Option<i64> = first.query_row(range, |row| row.get(0)).optional()?;
            oldest = [oldest, found].into_iter().flatten().min();
        }
        Ok(oldest)
    }

    pub(super) fn is_empty(&self) -> rusqlite::Result<bool> {
        let one = self
            .connection
            .query_row("SELECT 1 FROM reports LIMIT 1", [], |_| Ok(()));
        Ok(one.optional()?.is_none())
    }

    /// Bytes of the pages that hold something, and of those that are free.
    pub(super) fn pages(&self) -> rusqlite::Result<(u64, u64)> {
        let number = |row: &rusqlite::Row<'_>| row.get(0).map(i64::cast_unsigned);
        let pragma = |name| self.connection.pragma_query_value(None, name, number);
        let (pages, size) = (pragma("page_count")?, pragma("page_size")?);
        // In a damaged file the count can be anything.
        let free = pragma("freelist_count")?.min(pages);
        Ok(((pages - free) * size, free * size))
    }

    /// Writes records: when this returns they are fsynced, all of them or none.
    pub(super) fn write<'a>(
        &mut self,
        rows: impl Iterator<Item = (&'a LaneKey, u64, &'a Record)>,
    ) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction()?;
        let mut made = Vec::new();
        {
            let mut insert = transaction.prepare(
                "INSERT OR REPLACE INTO reports (id, timestamp, key, headers, value) \
                 VALUES (?1, ?2, ?3, ?4, ?5)",
            )?;
            for (lane, number, record) in rows {
                let known = self.lanes.get(lane).and_then(|ids| ids.first());
                let lane = match known {
                    Some(id) => *id,
                    None => lane_id(&transaction, lane, &mut made)?,
                };
                let headers = serde_json::to_string(&record.headers).expect("headers are text");
                let id = id_of(lane, number);
                insert.execute(params![
                    id,
                    record.timestamp,
                    record.key,
                    headers,
                    record.value
                ])?;
            }
        }
        transaction.commit()?;
        self.lanes
            .extend(made.into_iter().map(|(lane, id)| (lane, vec![id])));
        Ok(())
    }

    /// Deletes reports; returns how many it held.
    pub(super) fn delete(&mut self, reports: &[(LaneKey, u64)]) -> rusqlite::Result<u64> {
        let transaction = self.connection.transaction()?;
        let mut deleted = 0;
        {
            let mut delete = transaction.prepare("DELETE FROM reports WHERE id = ?1")?;
            for (lane, number) in reports {
                for lane in self.lanes.get(lane).into_iter().flatten() {
                    deleted += delete.execute([id_of(*lane, *number)])? as u64;
                }
            }
        }
        transaction.commit()?;
        Ok(deleted)
    }

    /// Marks reports; returns how many became quarantined. A quarantined report stays so.
    pub(super) fn mark(&mut self, marks: &[(LaneKey, u64, Mark)]) -> rusqlite::Result<u64> {
        let transaction = self.connection.transaction()?;
        let mut quarantined = 0;
        {
            let mut update = transaction
                .prepare("UPDATE reports SET state = ?2 WHERE id = ?1 AND state <> 1")?;
            for (lane, number, mark) in marks {
                for lane in self.lanes.get(lane).into_iter().flatten() {
                    let marked = update.execute([id_of(*lane, *number), mark.to_column()])?;
                    quarantined += u64::from(*mark == Mark::Quarantined && marked > 0);
                }
            }
        }
        transaction.commit()?;
        Ok(quarantined)
    }

    pub(super) fn remember(&mut self, topic: &str, partitions: u32) -> rusqlite::Result<()> {
        let statement = "INSERT OR REPLACE INTO topics (name, partitions) VALUES (?1, ?2)";
        self.connection
            .execute(statement, params![topic, partitions])
            .map(drop)
    }
}

fn make_tables(path: &Path) -> rusqlite::Result<()> {
    let mut connection = connect(path, 0)?;
    let transaction = connection.transaction()?;
    transaction.execute_batch(TABLES)?;
    transaction.pragma_update(None, "application_id", APPLICATION)?;
    transaction.pragma_update(None, "user_version", FORMAT)?;
    transaction.commit()?;
    // Moves everything from the log to the file, fsynced.
    connection.close().map_err(|(_, error)| error)
}

fn lane_id(
    transaction: &Transaction<'_>,
    lane: &LaneKey,
    made: &mut Vec<(LaneKey, i64)>,
) -> rusqlite::Result<i64> {
    if let Some((_, id)) = made.iter().find(|(other, _)| other == lane) {
        return Ok(*id);
    }
    let statement = "INSERT INTO lanes (topic, partition) VALUES (?1, ?2)";
    transaction.execute(statement, params![lane.topic, to_column(lane.partition)])?;
    let id = transaction.last_insert_rowid();
    made.push((lane.clone(), id));
    Ok(id)
}

/// A connection with the log and the fsyncs that a promise needs.
pub(super) fn connect(path: &Path, memory: usize) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::from_secs(1))?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    // A negative cache size is in KiB.
    let kibibytes = i64::try_from(memory >> 10).unwrap_or(i64::MAX);
    connection.pragma_update(None, "cache_size", -kibibytes)?;
    connection.pragma_update(None, "journal_size_limit", 4 << 20)?;
    Ok(connection)
}
