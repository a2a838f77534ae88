//! Creates a file.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::File;
use crate::spool::connection::{self, Wal};
use crate::spool::count::Count;
use crate::spool::directory::{Directory, UNFINISHED};
use crate::spool::format::{APPLICATION, FORMAT, TABLES};
use crate::spool::limits::Limits;

impl File {
    /// Creates a new file and fsyncs it, but not its directory. The file gets its name when it is complete, so that a
    /// kill leaves no file that looks damaged.
    pub(in crate::spool) fn create(path: &Path, memory: usize, limits: Limits) -> io::Result<Self> {
        let unfinished = path.with_file_name(UNFINISHED);
        Directory::remove(&unfinished)?;
        Directory::remove_wal(path)?;
        // SQLite gives the write-ahead log and the index the same mode.
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&unfinished)?;
        make_tables(&unfinished).map_err(io::Error::other)?;
        // The rename would replace a file of this name.
        if path.try_exists()? {
            return Err(io::Error::from(io::ErrorKind::AlreadyExists));
        }
        fs::rename(&unfinished, path)?;
        let file = Self {
            is_written: true,
            ..Self::new(path, memory, limits, Count::of_empty_file())
        };
        match file.connection() {
            Ok(_) => Ok(file),
            Err(error) => {
                let _left = Directory::remove(path);
                Err(io::Error::other(error))
            }
        }
    }
}

fn make_tables(path: &Path) -> rusqlite::Result<()> {
    let mut connection = connection::open(path, 0, Wal::Required)?;
    connection::enable_wal(&connection)?;
    let transaction = connection.transaction()?;
    transaction.execute_batch(TABLES)?;
    transaction.pragma_update(None, "application_id", APPLICATION)?;
    transaction.pragma_update(None, "user_version", FORMAT)?;
    transaction.commit()?;
    // `close` does not report whether its checkpoint failed.
    if !connection::checkpoint(&connection)? {
        let busy = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY);
        return Err(rusqlite::Error::SqliteFailure(busy, None));
    }
    connection.close().map_err(|(_, error)| error)
}
