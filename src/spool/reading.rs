//! Reading a file of the spool: what is due, by the process that owns it; everything, by anyone.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use rusqlite::{Connection, OpenFlags, OptionalExtension as _, params};

use super::file::{NUMBER_BITS, Unusable, connect, id_of, lanes_of, last_id, number_of, to_column};
use super::{Kept, LaneKey, Row};
use crate::contract::Record;

/// A connection that only reads.
pub(super) struct Reader {
    path: PathBuf,
    connection: Mutex<Connection>,
    left: Option<Arc<Left>>,
}

/// The highest number that earlier runs left in each lane: this run gives out those above.
pub(super) type Left = HashMap<LaneKey, u64>;

impl Reader {
    /// `left` is `None` for a file of this run.
    pub(super) fn open(
        path: &Path,
        memory: usize,
        left: Option<Arc<Left>>,
    ) -> rusqlite::Result<Self> {
        let connection = connect(path, memory)?;
        connection.pragma_update(None, "query_only", true)?;
        Ok(Self {
            path: path.to_owned(),
            connection: Mutex::new(connection),
            left,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What is due in a lane from a number on, about `bytes` bytes of it in memory; `true` where that is
    /// all.
    pub(super) fn read(
        &self,
        lane: &LaneKey,
        from: u64,
        bytes: usize,
    ) -> rusqlite::Result<(Vec<Row>, bool)> {
        let connection = self.connection.lock();
        let find = "SELECT id FROM lanes WHERE topic = ?1 AND partition = ?2";
        let lane_id: Option<i64> = connection
            .query_row(
                find,
                params![lane.topic, to_column(lane.partition)],
                |row| row.get(0),
            )
            .optional()?;
        let Some(lane_id) = lane_id else {
            return Ok((Vec::new(), true));
        };
        let mut select = connection.prepare(
            "SELECT id, timestamp, key, headers, value FROM reports \
             WHERE id BETWEEN ?1 AND ?2 AND parked = 0 ORDER BY id",
        )?;
        let [first, last] = [id_of(lane_id, from), last_id(lane_id)];
        let highest = self.highest(lane, lane_id);
        let mut found = select.query([first, last])?;
        let (mut rows, mut size, mut before) = (Vec::new(), 0, None);
        while let Some(row) = found.next()? {
            let id = row.get(0)?;
            // A damaged tree gives what was not asked for or told of, and in any order.
            if !(first..=highest).contains(&id) || before.is_some_and(|before| id <= before) {
                return Err(rusqlite::Error::IntegralValueOutOfRange(0, id));
            }
            before = Some(id);
            let record = record_of(row, 1)?;
            size += record.footprint();
            rows.push(Row {
                number: number_of(id),
                record: Arc::new(record),
            });
            if size >= bytes {
                return Ok((rows, false));
            }
        }
        Ok((rows, true))
    }

    /// The highest id that a report of the lane can have here.
    fn highest(&self, lane: &LaneKey, lane_id: i64) -> i64 {
        match &self.left {
            Some(left) => id_of(lane_id, left.get(lane).copied().unwrap_or_default()),
            None => last_id(lane_id),
        }
    }
}

/// The record in the four columns from `first` on: timestamp, key, headers, value.
fn record_of(row: &rusqlite::Row<'_>, first: usize) -> rusqlite::Result<Record> {
    let headers: String = row.get(first + 2)?;
    let headers = serde_json::from_str(&headers).map_err(|error| {
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

/// A connection that looks at a file which may be another process's.
pub(super) struct Look {
    connection: Connection,
    lanes: HashMap<i64, LaneKey>,
}

/// How many reports of a lane are in one state.
pub(super) struct Count {
    pub(super) is_parked: bool,
    pub(super) reports: u64,
    /// When the oldest of them arrived, in milliseconds since 1970.
    pub(super) oldest: i64,
}

impl Look {
    pub(super) fn open(path: &Path) -> Result<Self, Unusable> {
        // After a kill the log has to be read in, which needs writing.
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)
            .or_else(|_| Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY))?;
        connection.busy_timeout(Duration::from_secs(5))?;
        let lanes = lanes_of(&connection)?;
        let lanes = lanes.into_iter().map(|(lane, id)| (id, lane)).collect();
        Ok(Self { connection, lanes })
    }

    /// The file as it is at this moment: what is counted does not depend on what comes after.
    pub(super) fn hold_still(self) -> rusqlite::Result<Self> {
        self.connection.execute_batch("BEGIN")?;
        // The first look is what makes a snapshot.
        self.connection
            .query_row("SELECT count(*) FROM lanes", [], |_| Ok(()))?;
        Ok(self)
    }

    /// Counts by lane and state.
    pub(super) fn counts(&self) -> rusqlite::Result<Vec<(LaneKey, Count)>> {
        let mut select = self.connection.prepare(
            "SELECT id >> 40, parked, count(*), min(timestamp) FROM reports GROUP BY 1, 2",
        )?;
        let mut rows = select.query([])?;
        let mut counts = Vec::new();
        while let Some(row) = rows.next()? {
            // A lane that was made since this look began is left out.
            if let Some(lane) = self.lanes.get(&row.get(0)?) {
                let count = Count {
                    is_parked: row.get::<_, i64>(1)? == 1,
                    reports: row.get(2).map(i64::cast_unsigned)?,
                    oldest: row.get(3)?,
                };
                counts.push((lane.clone(), count));
            }
        }
        Ok(counts)
    }

    /// Shows every report, in order, until `show` fails.
    pub(super) fn each(
        &self,
        mut show: impl FnMut(Kept) -> io::Result<()>,
    ) -> rusqlite::Result<io::Result<()>> {
        let mut select = self.connection.prepare(
            "SELECT id, parked, timestamp, key, headers, value FROM reports ORDER BY id",
        )?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            let id: i64 = row.get(0)?;
            let Some(lane) = self.lanes.get(&(id >> NUMBER_BITS)) else {
                continue;
            };
            let kept = Kept {
                lane: lane.clone(),
                number: number_of(id),
                is_parked: row.get::<_, i64>(1)? == 1,
                record: record_of(row, 2)?,
            };
            if let Err(error) = show(kept) {
                return Ok(Err(error));
            }
        }
        Ok(Ok(()))
    }
}
