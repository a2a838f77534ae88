//! The errors of the spool.

use std::io;
use std::path::PathBuf;

use super::format::FORMAT;

/// Why a spool can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory can't be made, or is not writable.
    #[error(
        "spool.directory: can't use {}: {_1}; it has to be a directory that this user can write to",
        _0.display()
    )]
    Directory(PathBuf, io::Error),
    /// One of its files can't be read, or can't be brought to this version's format.
    #[error(
        "spool.directory: can't read {}: {_1}; it may hold reports that were not delivered yet, so it is left \
         as it is",
        _0.display()
    )]
    File(PathBuf, String),
    /// Another process owns the directory; its process id if it has noted it.
    #[error(
        "spool.directory: {} belongs to {}; give each bridge a directory of its own",
        _0.display(),
        owner(*_1)
    )]
    Taken(PathBuf, Option<u32>),
    /// A newer version of the program wrote a file, in this format.
    #[error(
        "spool.directory: {} was written by a newer koobridge (format {_1}, this one reads up to {FORMAT}); drain \
         it with that version",
        _0.display()
    )]
    Newer(PathBuf, i64),
    /// The system can't start a thread.
    #[error("can't start the spool's thread: {0}")]
    Thread(io::Error),
}

/// Why a record was not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotWritten {
    /// The limit in bytes, or the free space to leave, is reached.
    Full,
    /// The disk fails.
    Failed,
}

/// Why a file can't be used.
#[derive(Debug)]
pub(super) enum Unusable {
    /// A newer version wrote it, in this format.
    Newer(i64),
    /// Its contents are damaged.
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

/// Whether an error says that the file itself is broken, rather than the disk or the moment.
pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::{Error, ErrorCode};
    match error {
        Error::SqliteFailure(failure, _) | Error::SqlInputError { error: failure, .. } => {
            matches!(
                failure.code,
                // The last is `SQLITE_ERROR`: a table or a column is missing.
                ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::Unknown
            )
        }
        // Values that this program does not write.
        Error::FromSqlConversionFailure(..)
        | Error::InvalidColumnType(..)
        | Error::IntegralValueOutOfRange(..)
        | Error::Utf8Error(..) => true,
        _ => false,
    }
}

fn owner(process: Option<u32>) -> String {
    match process {
        Some(process) => format!("process {process}, which is running"),
        None => "another running process".to_owned(),
    }
}
