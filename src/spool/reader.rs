//! Reads the due rows of one file, in the process that owns the spool.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use rusqlite::Connection;

use super::connection::{self, Wal};
use super::format::{id_of, ids_of, last_id, number_of};
use super::part::Part;
use super::{LaneKey, Mark, Row};
use crate::contract::Record;

/// The maximum number of rows that one read scans. An inbox has rows of all partitions.
const MAX_SCANNED: usize = 20_000;

/// The number of attempts to read: some errors are transient.
const ATTEMPTS: u32 = 4;
/// How long a connection stays open after its last use.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// A read-only view of a file.
pub(super) struct Reader {
    path: PathBuf,
    connection: Mutex<LazyConnection>,
    last_numbers: Option<Arc<LastNumbers>>,
}

/// A connection that is open only while it is used.
struct LazyConnection {
    connection: Option<Connection>,
    log: Wal,
    memory: usize,
    last_used: Instant,
}

impl LazyConnection {
    fn open(&mut self, path: &Path) -> rusqlite::Result<&Connection> {
        self.last_used = Instant::now();
        if self.connection.is_none() {
            let opened = connection::open(path, self.memory, self.log)?;
            opened.pragma_update(None, "query_only", true)?;
            self.connection = Some(opened);
        }
        Ok(self.connection.as_ref().expect("it was just opened"))
    }

    /// A connection that was opened without the write-ahead log does not see later changes, so it is closed after each
    /// read.
    fn close_if_immutable(&mut self) {
        let is_readonly = |connection: &Connection| connection.is_readonly("main") != Ok(false);
        self.connection
            .take_if(|connection| is_readonly(connection));
    }
}

/// The highest number that earlier runs left in each lane. This run uses higher numbers.
pub(super) type LastNumbers = HashMap<LaneKey, u64>;

/// Returns whether a row with this key is wanted.
pub(super) type Filter<'a> = &'a dyn Fn(Option<&str>) -> bool;

impl Reader {
    /// `last_numbers` is `None` for the current file.
    pub(super) fn new(path: &Path, memory: usize, last_numbers: Option<Arc<LastNumbers>>) -> Self {
        Self {
            path: path.to_owned(),
            connection: Mutex::new(LazyConnection {
                connection: None,
                log: match last_numbers {
                    Some(_) => Wal::Optional,
                    None => Wal::Required,
                },
                memory,
                last_used: Instant::now(),
            }),
            last_numbers,
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Limits the memory of the connection from now on.
    pub(super) fn limit_memory(&self, memory: usize) {
        let mut lazy = self.connection.lock();
        lazy.memory = memory;
        lazy.connection = None;
    }

    /// Closes the connection when it is idle.
    pub(super) fn close_idle(&self) {
        if let Some(mut lazy) = self.connection.try_lock()
            && lazy.last_used.elapsed() >= IDLE_TIMEOUT
        {
            lazy.connection = None;
        }
    }

    /// Adds the due rows of a lane that `is_wanted` accepts, within the limits of the part.
    pub(super) fn read(
        &self,
        lane: &LaneKey,
        is_wanted: Filter<'_>,
        part: &mut Part,
    ) -> rusqlite::Result<()> {
        let mut lazy = self.connection.lock();
        let mut attempt = 1;
        loop {
            match self.try_read(lazy.open(&self.path)?, lane, is_wanted, part) {
                Err(_) if attempt < ATTEMPTS => attempt += 1,
                read => {
                    lazy.close_if_immutable();
                    return read;
                }
            }
            // Open the file again, without the cached pages.
            lazy.connection = None;
        }
    }

    fn try_read(
        &self,
        connection: &Connection,
        lane: &LaneKey,
        is_wanted: Filter<'_>,
        part: &mut Part,
    ) -> rusqlite::Result<()> {
        for id in ids_of(connection, lane)? {
            let (rows, end) = self.rows(connection, lane, id, is_wanted, part)?;
            part.add(rows, end);
        }
        Ok(())
    }

    /// Reads rows. Also returns the number up to which it has read; `None` if there are no more.
    fn rows(
        &self,
        connection: &Connection,
        lane: &LaneKey,
        lane_id: i64,
        is_wanted: Filter<'_>,
        part: &Part,
    ) -> rusqlite::Result<(Vec<Row>, Option<u64>)> {
        let mut select = connection.prepare(
            "SELECT id, state, timestamp, key, headers, value FROM reports \
             WHERE id BETWEEN ?1 AND ?2 AND state <> 1 ORDER BY id",
        )?;
        let first = id_of(lane_id, part.from);
        let last = part.end.map_or(last_id(lane_id), |end| id_of(lane_id, end));
        let highest = self.highest(lane, lane_id);
        let mut found = select.query([first, last])?;
        let (mut rows, mut size, mut scanned, mut before) = (Vec::new(), 0, 0, None);
        while let Some(row) = found.next()? {
            let id = row.get(0)?;
            // A damaged tree can return rows out of the range, with impossible numbers, or out of order.
            if !(first..=highest).contains(&id) || before.is_some_and(|before| id <= before) {
                return Err(rusqlite::Error::IntegralValueOutOfRange(0, id));
            }
            before = Some(id);
            scanned += 1;
            if is_wanted(row.get_ref(3)?.as_str_or_null()?) {
                let row = row_of(row, lane)?;
                size += row.record.footprint();
                rows.push(row);
            }
            if size >= part.bytes || scanned == MAX_SCANNED {
                return Ok((rows, Some(number_of(id))));
            }
        }
        Ok((rows, None))
    }

    /// Returns the highest id that a report of the lane can have in this file.
    fn highest(&self, lane: &LaneKey, lane_id: i64) -> i64 {
        match &self.last_numbers {
            Some(last_numbers) => {
                id_of(lane_id, last_numbers.get(lane).copied().unwrap_or_default())
            }
            None => last_id(lane_id),
        }
    }
}

fn row_of(row: &rusqlite::Row<'_>, lane: &LaneKey) -> rusqlite::Result<Row> {
    Ok(Row {
        number: number_of(row.get(0)?),
        record: Arc::new(record_of(row, 2)?),
        is_in_inbox: lane.partition.is_none(),
        mark: Mark::from_column(row.get(1)?),
    })
}

/// Returns the record in the four columns from `first` on: timestamp, key, headers, value.
pub(super) fn record_of(row: &rusqlite::Row<'_>, first: usize) -> rusqlite::Result<Record> {
    let headers = row.get_ref(first + 2)?.as_str()?;
    let headers = serde_json::from_str(headers).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(
            first + 2,
            rusqlite::types::Type::Text,
            error.into(),
        )
    })?;
    Ok(Record {
        timestamp: row.get(first)?,
        key: row.get(first + 1)?,
        headers,
        value: row.get(first + 3)?,
    })
}
