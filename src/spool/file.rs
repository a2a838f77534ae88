//! One file of the spool: its tables, and what is asked of them.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _, Transaction, params};

use super::{LaneKey, Remains, Restored, Row};

/// The format that this version writes, and the newest that it reads (`PRAGMA user_version`).
pub(super) const FORMAT: i64 = 1;
/// Tells the file from other files of SQLite (`PRAGMA application_id`): "koob".
const APPLICATION: i64 = 0x6b6f_6f62;

/// A report's id is its lane's id and, in the lower bits, its number: reports of a lane stand
/// together, in order.
pub(super) const NUMBER_BITS: u32 = 40;
const NUMBERS: i64 = (1 << NUMBER_BITS) - 1;
/// The highest number that an earlier run can have come to: as many are left for this one.
const HIGHEST_LEFT: u64 = 1 << (NUMBER_BITS - 1);

const TABLES: &str = "
    CREATE TABLE lanes (
        id INTEGER PRIMARY KEY,
        topic TEXT NOT NULL,
        partition INTEGER NOT NULL, -- -1: the topic's partitions were not known yet
        UNIQUE (topic, partition)
    ) STRICT;
    CREATE TABLE topics (
        name TEXT PRIMARY KEY,
        partitions INTEGER NOT NULL -- as Kafka said last
    ) STRICT;
    CREATE TABLE reports (
        id INTEGER PRIMARY KEY, -- lane << 40 | number
        parked INTEGER NOT NULL DEFAULT 0,
        timestamp INTEGER NOT NULL, -- when the report arrived, milliseconds since 1970
        key TEXT,
        headers TEXT NOT NULL, -- [[name, value], ...]
        value BLOB NOT NULL
    ) STRICT;
";

/// Why a file that is there is of no use.
#[derive(Debug)]
pub(super) enum Unusable {
    /// A newer version wrote it, in this format.
    Newer(i64),
    /// It is no sound file.
    Damaged(String),
    /// It can't be read now.
    Failed(rusqlite::Error),
}

impl From<rusqlite::Error> for Unusable {
    fn from(error: rusqlite::Error) -> Self {
        if is_damage(&error) {
            Self::Damaged(error.to_string())
        } else {
            Self::Failed(error)
        }
    }
}

/// A file, opened for writing.
pub(super) struct File {
    path: PathBuf,
    connection: Connection,
    lanes: HashMap<LaneKey, i64>,
}

impl File {
    /// Makes a new file, fsynced; its directory is not.
    pub(super) fn create(path: &Path, memory: usize) -> rusqlite::Result<Self> {
        // Its own log and index get the same mode from SQLite.
        let made = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path);
        made.map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
        let mut connection = connect(path, memory)?;
        let transaction = connection.transaction()?;
        transaction.execute_batch(TABLES)?;
        transaction.pragma_update(None, "application_id", APPLICATION)?;
        transaction.pragma_update(None, "user_version", FORMAT)?;
        transaction.commit()?;
        Ok(Self {
            path: path.to_owned(),
            connection,
            lanes: HashMap::new(),
        })
    }

    /// Opens a file that an earlier run left.
    pub(super) fn open(path: &Path, memory: usize) -> Result<Self, Unusable> {
        let connection = connect(path, memory)?;
        let lanes = lanes_of(&connection)?;
        Ok(Self {
            path: path.to_owned(),
            connection,
            lanes,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What is due in each lane, and each topic's partitions.
    pub(super) fn left(&self) -> rusqlite::Result<Remains> {
        let mut left = Vec::new();
        let mut due = self
            .connection
            .prepare("SELECT min(id) FROM reports WHERE id BETWEEN ?1 AND ?2 AND parked = 0")?;
        let mut used = self
            .connection
            .prepare("SELECT max(id) FROM reports WHERE id BETWEEN ?1 AND ?2")?;
        for (lane, id) in &self.lanes {
            let range = [first_id(*id), last_id(*id)];
            let first: Option<i64> = due.query_row(range, |row| row.get(0))?;
            let last: Option<i64> = used.query_row(range, |row| row.get(0))?;
            if let Some(id) = last {
                let last = number_of(id);
                let first = first.map_or(last + 1, number_of);
                // A damaged tree says this.
                if last > HIGHEST_LEFT || first > last + 1 {
                    return Err(rusqlite::Error::IntegralValueOutOfRange(0, id));
                }
                left.push(Restored {
                    lane: lane.clone(),
                    first,
                    last,
                });
            }
        }
        let mut topics = self
            .connection
            .prepare("SELECT name, partitions FROM topics")?;
        let topics = topics.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(Remains {
            lanes: left,
            partitions: topics.collect::<Result<_, _>>()?,
        })
    }

    /// How many reports it holds, and how many of them are parked.
    pub(super) fn count(&self) -> rusqlite::Result<(u64, u64)> {
        let counts = "SELECT count(*), coalesce(sum(parked), 0) FROM reports";
        let counts = self
            .connection
            .query_row(counts, [], |row| Ok((row.get(0)?, row.get(1)?)));
        counts
            .map(|(reports, parked): (i64, i64)| (reports.cast_unsigned(), parked.cast_unsigned()))
    }

    /// When the first report that waits in any lane arrived, in milliseconds since 1970.
    pub(super) fn oldest(&self) -> rusqlite::Result<Option<i64>> {
        let mut first = self.connection.prepare(
            "SELECT timestamp FROM reports WHERE id BETWEEN ?1 AND ?2 AND parked = 0 \
             ORDER BY id LIMIT 1",
        )?;
        let mut oldest = None;
        for id in self.lanes.values() {
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
        rows: impl Iterator<Item = (&'a LaneKey, &'a Row)>,
    ) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction()?;
        let mut made = Vec::new();
        {
            let mut insert = transaction.prepare(
                "INSERT OR REPLACE INTO reports (id, timestamp, key, headers, value) \
                 VALUES (?1, ?2, ?3, ?4, ?5)",
            )?;
            for (lane, Row { number, record }) in rows {
                let lane = match self.lanes.get(lane) {
                    Some(id) => *id,
                    None => lane_id(&transaction, lane, &mut made)?,
                };
                let headers = serde_json::to_string(&record.headers).expect("headers are text");
                let id = id_of(lane, *number);
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
        self.lanes.extend(made);
        Ok(())
    }

    /// Strikes reports off; gives how many were there.
    pub(super) fn strike(&mut self, struck: &[(LaneKey, u64)]) -> rusqlite::Result<u64> {
        self.change("DELETE FROM reports WHERE id = ?1", struck)
    }

    /// Parks reports; gives how many were there.
    pub(super) fn park(&mut self, parked: &[(LaneKey, u64)]) -> rusqlite::Result<u64> {
        self.change(
            "UPDATE reports SET parked = 1 WHERE id = ?1 AND parked = 0",
            parked,
        )
    }

    fn change(&mut self, statement: &str, reports: &[(LaneKey, u64)]) -> rusqlite::Result<u64> {
        let transaction = self.connection.transaction()?;
        let mut changed = 0;
        {
            let mut statement = transaction.prepare(statement)?;
            for (lane, number) in reports {
                if let Some(lane) = self.lanes.get(lane) {
                    changed += statement.execute([id_of(*lane, *number)])? as u64;
                }
            }
        }
        transaction.commit()?;
        Ok(changed)
    }

    pub(super) fn remember(&mut self, topic: &str, partitions: u32) -> rusqlite::Result<()> {
        let statement = "INSERT OR REPLACE INTO topics (name, partitions) VALUES (?1, ?2)";
        self.connection
            .execute(statement, params![topic, partitions])
            .map(drop)
    }
}

/// Whether an error says that the file itself is broken, rather than the disk or the moment.
pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::Error;
    match error {
        Error::SqliteFailure(failure, _) | Error::SqlInputError { error: failure, .. } => {
            matches!(
                failure.code,
                // The last is `SQLITE_ERROR`: a table or a column is not there.
                ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::Unknown
            )
        }
        // What no run of this program writes.
        Error::FromSqlConversionFailure(..)
        | Error::InvalidColumnType(..)
        | Error::IntegralValueOutOfRange(..)
        | Error::Utf8Error(..) => true,
        _ => false,
    }
}

/// The lanes of a file, once its format is known to be one that this version reads.
pub(super) fn lanes_of(connection: &Connection) -> Result<HashMap<LaneKey, i64>, Unusable> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let format = pragma("user_version")?;
    if pragma("application_id")? != APPLICATION || format < 1 {
        return Err(Unusable::Damaged("it is not a file of a spool".to_owned()));
    }
    if format > FORMAT {
        return Err(Unusable::Newer(format));
    }
    let mut lanes = connection.prepare("SELECT topic, partition, id FROM lanes")?;
    let lanes = lanes.query_map([], |row| Ok((lane_key(row)?, row.get(2)?)))?;
    Ok(lanes.collect::<Result<_, _>>()?)
}

fn lane_key(row: &rusqlite::Row<'_>) -> rusqlite::Result<LaneKey> {
    let topic: String = row.get(0)?;
    let partition: i64 = row.get(1)?;
    Ok(LaneKey {
        topic: topic.into(),
        partition: u32::try_from(partition).ok(),
    })
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

pub(super) fn to_column(partition: Option<u32>) -> i64 {
    partition.map_or(-1, i64::from)
}

pub(super) fn id_of(lane: i64, number: u64) -> i64 {
    first_id(lane) | i64::try_from(number).expect("a lane has less than 2^40 reports")
}

fn first_id(lane: i64) -> i64 {
    lane << NUMBER_BITS
}

pub(super) fn last_id(lane: i64) -> i64 {
    first_id(lane) | NUMBERS
}

pub(super) fn number_of(id: i64) -> u64 {
    u64::try_from(id & NUMBERS).expect("never negative")
}
