//! Connections to a file of the spool: the log and the fsyncs that a promise needs, and no temporary files.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::directory::{length, with_suffix};
use super::limits::PAGE;

/// How long to wait for a lock: an inspection holds one for a moment.
const PATIENCE: Duration = Duration::from_secs(1);

/// Whether a file can be opened without its log and its index, which a disk that can't be written to does not let be
/// made: nothing that comes is seen then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Log {
    Needed,
    MayBeMissing,
}

/// Opens a file, for writing if the disk lets it be written.
pub(super) fn open(path: &Path, memory: usize, log: Log) -> rusqlite::Result<Connection> {
    let writable = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let opened = Connection::open_with_flags(path, writable).and_then(prepared);
    let connection = match opened {
        Err(error) if log == Log::MayBeMissing && may_be_write_protected(&error) => {
            immutable(path).and_then(Result::ok).ok_or(error)
        }
        opened => opened,
    }?;
    limit_memory(&connection, memory)?;
    Ok(connection)
}

/// Opens a file that can't change: one without a log, which no bridge has open.
fn immutable(path: &Path) -> Option<rusqlite::Result<Connection>> {
    if length(&with_suffix(path, "-wal")) > 0 {
        return None;
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    let path: String = path
        .to_str()?
        .chars()
        .map(|c| match c {
            '?' => "%3f".to_owned(),
            '#' => "%23".to_owned(),
            '%' => "%25".to_owned(),
            other => other.to_string(),
        })
        .collect();
    let connection = Connection::open_with_flags(format!("file:{path}?immutable=1"), flags);
    Some(connection.and_then(prepared))
}

fn prepared(connection: Connection) -> rusqlite::Result<Connection> {
    connection.busy_timeout(PATIENCE)?;
    connection.pragma_update(None, "temp_store", "memory")?;
    // Reads the file: what is wrong with it shows here.
    connection.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0))?;
    Ok(connection)
}

fn may_be_write_protected(error: &rusqlite::Error) -> bool {
    let codes = [
        ErrorCode::ReadOnly,
        ErrorCode::CannotOpen,
        ErrorCode::DiskFull,
        ErrorCode::SystemIoFailure,
    ];
    error
        .sqlite_error_code()
        .is_some_and(|code| codes.contains(&code))
}

/// Turns the log on, for a file that is new.
pub(super) fn log_changes(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "journal_mode", "wal")
}

/// Prepares for writing: the system is asked to fsync the log with each transaction ("full") or before the log is moved
/// to the file ("normal"), which is done from so many pages on.
pub(super) fn write_by(
    connection: &Connection,
    when: &str,
    log_pages: u64,
) -> rusqlite::Result<()> {
    connection.pragma_update(None, "synchronous", when)?;
    let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    connection.pragma_update(None, "wal_autocheckpoint", number(log_pages))?;
    connection.pragma_update(None, "journal_size_limit", number(log_pages * PAGE))
}

/// Sets the memory for its cache, in bytes.
fn limit_memory(connection: &Connection, memory: usize) -> rusqlite::Result<()> {
    // A negative cache size is in KiB.
    let kibibytes = i64::try_from(memory >> 10).unwrap_or(i64::MAX);
    connection.pragma_update(None, "cache_size", -kibibytes)
}

/// Moves the log to the file, fsynced, and empties it, unless a reader is in the way.
pub(super) fn checkpoint(connection: &Connection) -> rusqlite::Result<bool> {
    // Nothing is worth waiting for a reader.
    connection.busy_timeout(Duration::ZERO)?;
    let is_busy = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| {
        row.get::<_, bool>(0)
    });
    connection.busy_timeout(PATIENCE)?;
    Ok(!is_busy?)
}
