//! Makes a file.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::File;
use crate::spool::connection::{self, Log};
use crate::spool::count::Count;
use crate::spool::directory::{Directory, UNFINISHED};
use crate::spool::format::{APPLICATION, FORMAT, TABLES};
use crate::spool::limits::Limits;

impl File {
    /// Makes a new file, fsynced; its directory is not. The file gets its name once it is complete: a kill
    /// leaves no file that looks damaged.
    pub(in crate::spool) fn create(path: &Path, memory: usize, limits: Limits) -> io::Result<Self> {
        let unfinished = path.with_file_name(UNFINISHED);
        Directory::remove(&unfinished)?;
        Directory::remove_log(path)?;
        // Its own log and index get the same mode from SQLite.
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&unfinished)?;
        make_tables(&unfinished).map_err(io::Error::other)?;
        // A file of this name would be replaced.
        if path.try_exists()? {
            return Err(io::Error::from(io::ErrorKind::AlreadyExists));
        }
        fs::rename(&unfinished, path)?;
        let file = Self {
            is_written: true,
            ..Self::new(path, memory, limits, Count::of_nothing())
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
    let mut connection = connection::open(path, 0, Log::Needed)?;
    connection::log_changes(&connection)?;
    let transaction = connection.transaction()?;
    transaction.execute_batch(TABLES)?;
    transaction.pragma_update(None, "application_id", APPLICATION)?;
    transaction.pragma_update(None, "user_version", FORMAT)?;
    transaction.commit()?;
    // Closing does not say whether this has failed.
    if !connection::checkpoint(&connection)? {
        let busy = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY);
        return Err(rusqlite::Error::SqliteFailure(busy, None));
    }
    connection.close().map_err(|(_, error)| error)
}
