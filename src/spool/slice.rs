//! Reads the reports of a file in the order of their ids, in several steps. Between the steps no read transaction
//! is open, so SQLite can reset its write-ahead log.

use rusqlite::Connection;

use super::format::{lane_key, number_of};
use super::reader::record_of;
use super::{Mark, SpooledReport};

/// Reports with their ids.
pub(super) type Slice = Vec<(i64, SpooledReport)>;

/// Returns the reports after an id, about `bytes` bytes; none if there are no more. `state` is the name of the state
/// column.
pub(super) fn after(
    connection: &Connection,
    state: &str,
    id: i64,
    bytes: usize,
) -> rusqlite::Result<Slice> {
    let mut select = connection.prepare(&format!(
        "SELECT r.id, l.topic, l.partition, r.{state}, r.timestamp, r.key, r.headers, r.value \
         FROM reports r LEFT JOIN lanes l ON l.id = r.id >> 40 WHERE r.id > ?1 ORDER BY r.id"
    ))?;
    let mut rows = select.query([id])?;
    let (mut slice, mut size, mut before) = (Vec::new(), 0, id);
    while size < bytes
        && let Some(row) = rows.next()?
    {
        let id = row.get(0)?;
        // A damaged tree can return rows out of order.
        if id <= before {
            return Err(rusqlite::Error::IntegralValueOutOfRange(0, id));
        }
        before = id;
        let kept = SpooledReport {
            // If the lane is missing, both columns are null, which is an error.
            lane: lane_key(row.get(1)?, row.get(2)?),
            number: number_of(id),
            mark: Mark::from_column(row.get(3)?),
            record: record_of(row, 4)?,
        };
        size += kept.record.footprint();
        slice.push((id, kept));
    }
    Ok(slice)
}
