//! The spool's errors, and whether an error is transient or means damage.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rusqlite::ErrorCode;
use rustix::io::Errno;

use super::directory::with_suffix;
use super::format::FORMAT;

/// Why a spool can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory can't be created, locked or read.
    #[error(
        "spool.directory: can't use {}: {_1}; name a directory, not a file, that this user can write to",
        _0.display()
    )]
    Directory(PathBuf, io::Error),
    /// The directory can't be listed.
    #[error("can't list the spool's directory {}: {_1}", _0.display())]
    Unlisted(PathBuf, io::Error),
    /// A file can't be read, or can't be upgraded to this version's format.
    #[error(
        "spool.directory: can't read {}: {_1}; it may hold undelivered reports, so it is left unchanged: make it \
         readable for this user, or move it out of the directory, and start again",
        _0.display()
    )]
    File(PathBuf, String),
    /// Another process owns the directory. Its process id, if the lock file contains it.
    #[error(
        "spool.directory: {} is in use by {}, which also delivers its reports; each bridge needs its own directory",
        _0.display(),
        owner_in_words(*_1)
    )]
    InUse(PathBuf, Option<u32>),
    /// A newer version of the program wrote a file, in this format.
    #[error(
        "spool.directory: a newer koobridge wrote {} (format {_1}; this version reads up to format {FORMAT}); drain \
         the spool with that version",
        _0.display()
    )]
    Newer(PathBuf, i64),
    /// The system can't start a thread.
    #[error("can't start the spool's thread: {0}")]
    Thread(io::Error),
}

/// Why a record was not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteError {
    /// The disk limit, or the free space to leave, is reached.
    Full,
    /// The disk fails.
    Failed,
}

/// Why a file can't be used.
#[derive(Debug)]
pub(super) enum FileError {
    /// A newer version wrote it, in this format.
    Newer(i64),
    /// Its contents are not what koobridge writes.
    Invalid(String),
    /// SQLite can't read it.
    Failed(rusqlite::Error),
}

impl From<rusqlite::Error> for FileError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Failed(error)
    }
}

/// How long reads of a file must fail until the file counts as damaged: some read errors are transient.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// A longer pause between two errors starts the time again.
const MAX_PAUSE: Duration = Duration::from_mins(1);

/// The files that the disk could not read, with the times of the first and the last error.
#[derive(Debug, Default)]
pub(super) struct ReadErrors(Mutex<HashMap<PathBuf, (Instant, Instant)>>);

/// The meaning of an error on a file.
#[derive(Debug)]
pub(super) enum Diagnosis {
    /// The disk can read the file, but SQLite can't.
    Damaged(String),
    /// The disk can't read the file now.
    Unreadable(String),
    Transient,
}

impl Diagnosis {
    /// Judges an error. SQLite reports some disk errors as damage, so this reads the file once more, without SQLite.
    pub(super) fn of(path: &Path, error: &rusqlite::Error) -> Self {
        let is_of_disk = error.sqlite_error_code() == Some(ErrorCode::SystemIoFailure);
        if !is_of_disk && !is_damage(error) {
            return Self::Transient;
        }
        let log = with_suffix(path, "-wal");
        let unread = [path, &log].into_iter().find_map(|path| read(path).err());
        match unread {
            Some(disk) if Errno::from_io_error(&disk) == Some(Errno::IO) => {
                Self::Unreadable(disk.to_string())
            }
            None if is_damage(error) => Self::Damaged(describe(error)),
            _ => Self::Transient,
        }
    }

    /// Returns the reason if the file can't be read, even if that may be transient.
    pub(super) fn into_reason(self) -> Option<String> {
        match self {
            Self::Damaged(why) | Self::Unreadable(why) => Some(why),
            Self::Transient => None,
        }
    }
}

impl ReadErrors {
    /// Returns the reason if an error on a file is permanent: damage, or read errors that have lasted.
    pub(super) fn permanent(&self, path: &Path, error: &rusqlite::Error) -> Option<String> {
        match Diagnosis::of(path, error) {
            Diagnosis::Damaged(why) => Some(why),
            Diagnosis::Unreadable(why) => self.is_unreadable_for_long(path).then_some(why),
            Diagnosis::Transient => None,
        }
    }

    /// Forgets the errors of a file that was read.
    pub(super) fn clear(&self, path: &Path) {
        self.0.lock().remove(path);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }

    fn is_unreadable_for_long(&self, path: &Path) -> bool {
        let now = Instant::now();
        let mut read_errors = self.0.lock();
        let (since, last) = read_errors.entry(path.to_owned()).or_insert((now, now));
        if now - *last > MAX_PAUSE {
            *since = now;
        }
        *last = now;
        now - *since >= READ_TIMEOUT
    }
}

fn describe(error: &rusqlite::Error) -> String {
    match error {
        rusqlite::Error::IntegralValueOutOfRange(..) => {
            "its reports are out of order, or belong to an unknown topic".to_owned()
        }
        error => error.to_string(),
    }
}

/// The descriptors that were used to read files. They stay open because closing one would release this process's
/// POSIX locks on the file, including those of SQLite.
static DESCRIPTORS: Mutex<BTreeMap<PathBuf, Arc<File>>> = Mutex::new(BTreeMap::new());

/// Reads a file to its end. A missing file is not an error.
fn read(path: &Path) -> io::Result<()> {
    let inode = |file: io::Result<Metadata>| file.map(|file| (file.dev(), file.ino())).ok();
    let mut files = DESCRIPTORS.lock();
    let known = files.get(path).cloned();
    let is_same = |file: &Arc<File>| inode(file.metadata()) == inode(fs::metadata(path));
    let file = match known.filter(is_same) {
        Some(file) => file,
        None => match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            opened => Arc::new(opened?),
        },
    };
    files.insert(path.to_owned(), Arc::clone(&file));
    drop(files);
    let (mut bytes, mut at) = (vec![0; 1 << 20], 0);
    loop {
        match file.read_at(&mut bytes, at)? {
            0 => return Ok(()),
            read => at += read as u64,
        }
    }
}

/// Closes the descriptors of a file. No connection to the file may be open.
pub(super) fn close_descriptors(path: &Path) {
    let mut files = DESCRIPTORS.lock();
    files.remove(path);
    files.remove(&with_suffix(path, "-wal"));
}

/// Returns whether an error means that the file's contents are damaged.
fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::{Error, ErrorCode};
    match error {
        Error::SqliteFailure(failure, _) | Error::SqlInputError { error: failure, .. } => {
            matches!(
                failure.code,
                // `Unknown` is `SQLITE_ERROR`: a table or a column is missing.
                ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::Unknown
            )
        }
        // Values that koobridge does not write.
        Error::FromSqlConversionFailure(..)
        | Error::InvalidColumnType(..)
        | Error::IntegralValueOutOfRange(..)
        | Error::Utf8Error(..) => true,
        _ => false,
    }
}

fn owner_in_words(process: Option<u32>) -> String {
    match process {
        Some(process) => format!("process {process}, which is running"),
        None => "another running process".to_owned(),
    }
}
