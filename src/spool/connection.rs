//! Connections to a spool file, with a write-ahead log, the fsyncs that a 2xx depends on, and no temporary files.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::directory::{length, with_suffix};
use super::limits::PAGE;

/// How long to wait for SQLite's lock. An inspection holds it only briefly.
const LOCK_TIMEOUT: Duration = Duration::from_secs(1);

/// Whether a file may be opened without its write-ahead log and index, which can't be created on a read-only disk. Such
/// a connection does not see later changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wal {
    Required,
    Optional,
}

/// Opens a file, for writing if the disk is writable.
pub(super) fn open(path: &Path, memory: usize, log: Wal) -> rusqlite::Result<Connection> {
    let writable = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let opened = Connection::open_with_flags(path, writable).and_then(prepared);
    let connection = match opened {
        Err(error) if log == Wal::Optional && may_be_write_protected(&error) => {
            immutable(path).and_then(Result::ok).ok_or(error)
        }
        opened => opened,
    }?;
    limit_memory(&connection, memory)?;
    Ok(connection)
}

/// Opens a file as immutable. Returns `None` if it has a write-ahead log, whose contents would be ignored.
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
    connection.busy_timeout(LOCK_TIMEOUT)?;
    connection.pragma_update(None, "temp_store", "memory")?;
    // This reads the file, so that an unreadable file fails here.
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

/// Turns on the write-ahead log of a new file.
pub(super) fn enable_wal(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "journal_mode", "wal")
}

/// Prepares a connection for writing. `when` is "full" to fsync the write-ahead log with each transaction, or "normal"
/// to fsync it before a checkpoint. A checkpoint runs when that log has `wal_pages` pages.
pub(super) fn prepare_for_writing(
    connection: &Connection,
    when: &str,
    wal_pages: u64,
) -> rusqlite::Result<()> {
    connection.pragma_update(None, "synchronous", when)?;
    let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    connection.pragma_update(None, "wal_autocheckpoint", number(wal_pages))?;
    connection.pragma_update(None, "journal_size_limit", number(wal_pages * PAGE))
}

/// Limits the page cache to `memory` bytes.
fn limit_memory(connection: &Connection, memory: usize) -> rusqlite::Result<()> {
    // A negative cache size is in KiB.
    let kibibytes = i64::try_from(memory >> 10).unwrap_or(i64::MAX);
    connection.pragma_update(None, "cache_size", -kibibytes)
}

/// Moves the write-ahead log to the file, fsynced, and empties it. Returns `false` if a reader prevents that.
pub(super) fn checkpoint(connection: &Connection) -> rusqlite::Result<bool> {
    // Don't wait for readers.
    connection.busy_timeout(Duration::ZERO)?;
    let is_busy = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| {
        row.get::<_, bool>(0)
    });
    connection.busy_timeout(LOCK_TIMEOUT)?;
    Ok(!is_busy?)
}
