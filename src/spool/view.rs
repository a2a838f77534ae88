//! A file of the spool as any process can read it, in the format that it has.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::error::Unusable;
use super::format::{NUMBER_BITS, format_of, lanes_of, number_of, state_column};
use super::reader::record_of;
use super::{Kept, LaneKey};

/// A connection to a file that another process may own.
pub(super) struct FileView {
    connection: Connection,
    /// The column that says a report's state.
    state: &'static str,
    lanes: HashMap<i64, LaneKey>,
}

/// How many reports of a lane are in one state.
pub(super) struct Count {
    pub(super) is_quarantined: bool,
    pub(super) reports: u64,
    /// When the oldest of them arrived, in milliseconds since 1970.
    pub(super) oldest: i64,
}

impl FileView {
    pub(super) fn open(path: &Path) -> Result<Self, Unusable> {
        // After a kill the log has to be read in, which needs writing.
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)
            .or_else(|_| Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY))?;
        connection.busy_timeout(Duration::from_secs(5))?;
        let state = state_column(format_of(&connection)?);
        let lanes = lanes_of(&connection)?;
        Ok(Self {
            connection,
            state,
            lanes: lanes.into_iter().map(|(lane, id)| (id, lane)).collect(),
        })
    }

    /// Keeps to the file as it is at this moment: counts do not depend on what comes after.
    pub(super) fn hold_still(self) -> rusqlite::Result<Self> {
        self.connection.execute_batch("BEGIN")?;
        // The first query makes the snapshot.
        self.connection
            .query_row("SELECT count(*) FROM lanes", [], |_| Ok(()))?;
        Ok(self)
    }

    /// Counts by lane and state.
    pub(super) fn counts(&self) -> rusqlite::Result<Vec<(LaneKey, Count)>> {
        let mut select = self.connection.prepare(&format!(
            "SELECT id >> 40, {} = 1, count(*), min(timestamp) FROM reports GROUP BY 1, 2",
            self.state
        ))?;
        let mut rows = select.query([])?;
        let mut counts = Vec::new();
        while let Some(row) = rows.next()? {
            // A lane that was made since the file was opened is left out.
            if let Some(lane) = self.lanes.get(&row.get(0)?) {
                let count = Count {
                    is_quarantined: row.get(1)?,
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
        let mut select = self.connection.prepare(&format!(
            "SELECT id, {} = 1, timestamp, key, headers, value FROM reports ORDER BY id",
            self.state
        ))?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            let id: i64 = row.get(0)?;
            let Some(lane) = self.lanes.get(&(id >> NUMBER_BITS)) else {
                continue;
            };
            let kept = Kept {
                lane: lane.clone(),
                number: number_of(id),
                is_quarantined: row.get(1)?,
                record: record_of(row, 2)?,
            };
            if let Err(error) = show(kept) {
                return Ok(Err(error));
            }
        }
        Ok(Ok(()))
    }
}
