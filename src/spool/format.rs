//! The format of a spool file: its tables, the ids of its rows, and the upgrade from an earlier format.

use rusqlite::{Connection, params};

use super::error::FileError;
use super::{LaneKey, MAX_PARTITIONS, Mark};

/// The format that this version writes, and the newest that it reads (`PRAGMA user_version`). In format 1
/// the column `state` was called `parked`, and was 0 or 1. In format 2 the value of a header was always text.
pub(super) const FORMAT: i64 = 3;
/// Identifies a spool file among SQLite files (`PRAGMA application_id`): "koob".
pub(super) const APPLICATION: i64 = 0x6b6f_6f62;

/// A report's id consists of its lane's id and, in this many lower bits, its number. So the reports of a lane are
/// stored together, in order.
pub(super) const NUMBER_BITS: u32 = 40;
const NUMBERS: i64 = (1 << NUMBER_BITS) - 1;
/// The highest possible id of a lane.
pub(super) const MAX_LANE_ID: i64 = i64::MAX >> NUMBER_BITS;
/// The highest number that a report of an earlier run may have, so that this run has as many numbers left.
pub(super) const MAX_RESTORED_NUMBER: u64 = 1 << (NUMBER_BITS - 1);

pub(super) const TABLES: &str = "
    CREATE TABLE lanes (
        id INTEGER PRIMARY KEY,
        topic TEXT NOT NULL,
        partition INTEGER NOT NULL, -- -1: the topic's inbox
        UNIQUE (topic, partition)
    ) STRICT;
    CREATE TABLE topics (
        name TEXT PRIMARY KEY,
        partitions INTEGER NOT NULL -- as Kafka said last
    ) STRICT;
    CREATE TABLE reports (
        id INTEGER PRIMARY KEY, -- lane << 40 | number
        -- 0: due; 1: quarantined; 2: due, sender was told 503; 3: due, sender had gone
        state INTEGER NOT NULL DEFAULT 0,
        timestamp INTEGER NOT NULL, -- when the report arrived, milliseconds since 1970
        key TEXT,
        headers TEXT NOT NULL, -- [[name, value], ...]; a value that is not text is an array of bytes
        value BLOB NOT NULL
    ) STRICT;
";

/// Returns the format of a file, if this version can read it.
pub(super) fn format_of(connection: &Connection) -> Result<i64, FileError> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let format = pragma("user_version")?;
    if pragma("application_id")? != APPLICATION || format < 1 {
        return Err(FileError::Invalid("it is not a spool file".to_owned()));
    }
    if format > FORMAT {
        return Err(FileError::Newer(format));
    }
    Ok(format)
}

/// Upgrades a file of an earlier format.
pub(super) fn upgrade(connection: &mut Connection) -> Result<(), FileError> {
    match format_of(connection)? {
        FORMAT => Ok(()),
        1 => upgrade_from_1(connection),
        _ => Ok(connection.pragma_update(None, "user_version", FORMAT)?),
    }
}

fn upgrade_from_1(connection: &mut Connection) -> Result<(), FileError> {
    // In format 1 each lane had its own numbers, so the reports of a lane with a damaged partition can't be added to
    // the inbox.
    let damaged = "SELECT count(*) FROM lanes WHERE partition NOT BETWEEN -1 AND ?1";
    let damaged: i64 = connection.query_row(damaged, [MAX_PARTITIONS - 1], |row| row.get(0))?;
    if damaged > 0 {
        return Err(FileError::Invalid(
            "a partition number in it is damaged".to_owned(),
        ));
    }
    let transaction = connection.transaction()?;
    transaction.execute_batch("ALTER TABLE reports RENAME COLUMN parked TO state")?;
    transaction.pragma_update(None, "user_version", FORMAT)?;
    Ok(transaction.commit()?)
}

/// Returns the name of the column with a report's state.
pub(super) fn state_column(format: i64) -> &'static str {
    if format == 1 { "parked" } else { "state" }
}

/// Returns the lanes of a file with their ids. A topic's inbox has several ids if a partition number is damaged.
pub(super) fn lanes_of(connection: &Connection) -> rusqlite::Result<Vec<(LaneKey, i64)>> {
    let mut lanes = connection.prepare("SELECT topic, partition, id FROM lanes ORDER BY id")?;
    let lanes = lanes.query_map([], |row| {
        Ok((lane_key(row.get(0)?, row.get(1)?), row.get(2)?))
    })?;
    lanes.collect()
}

/// Returns the ids of a lane. Lanes with damaged partition numbers count as the inbox.
pub(super) fn ids_of(connection: &Connection, lane: &LaneKey) -> rusqlite::Result<Vec<i64>> {
    let ids = |select, partition: u32| {
        let mut select = connection.prepare(select)?;
        let ids = select.query_map(params![lane.topic, partition], |row| row.get(0))?;
        ids.collect()
    };
    match lane.partition {
        Some(partition) => ids(
            "SELECT id FROM lanes WHERE topic = ?1 AND partition = ?2",
            partition,
        ),
        None => ids(
            "SELECT id FROM lanes WHERE topic = ?1 AND partition NOT BETWEEN 0 AND ?2",
            MAX_PARTITIONS - 1,
        ),
    }
}

/// Returns the lane of a row of the table `lanes`.
pub(super) fn lane_key(topic: String, partition: i64) -> LaneKey {
    let partition = u32::try_from(partition).ok();
    LaneKey {
        topic: topic.into(),
        partition: partition.filter(|partition| *partition < MAX_PARTITIONS),
    }
}

pub(super) fn to_column(partition: Option<u32>) -> i64 {
    partition.map_or(-1, i64::from)
}

impl Mark {
    pub(super) fn to_column(self) -> i64 {
        match self {
            Self::Quarantined => 1,
            Self::TimedOut => 2,
            Self::SenderGone => 3,
        }
    }

    pub(super) fn from_column(state: i64) -> Option<Self> {
        [Self::Quarantined, Self::TimedOut, Self::SenderGone]
            .into_iter()
            .find(|mark| mark.to_column() == state)
    }
}

pub(super) fn id_of(lane: i64, number: u64) -> i64 {
    first_id(lane) | i64::try_from(number).expect("a lane has less than 2^40 reports")
}

pub(super) fn first_id(lane: i64) -> i64 {
    lane << NUMBER_BITS
}

pub(super) fn last_id(lane: i64) -> i64 {
    first_id(lane) | NUMBERS
}

pub(super) fn number_of(id: i64) -> u64 {
    u64::try_from(id & NUMBERS).expect("never negative")
}
