//! The errors of the spool, and whether one of them can pass.

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
    /// The directory can't be made, or is not writable.
    #[error(
        "spool.directory: can't use {}: {_1}; it has to be a directory that this user can write to",
        _0.display()
    )]
    Directory(PathBuf, io::Error),
    /// The directory can't be listed.
    #[error("can't look into the spool {}: {_1}", _0.display())]
    Unlisted(PathBuf, io::Error),
    /// One of its files can't be read now, or can't be brought to this version's format.
    #[error(
        "spool.directory: can't read {}: {_1}; it may hold reports that were not delivered yet, so it is left \
         as it is: make it readable for this user, or move it out of the directory, and start again",
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
    /// Its contents can't be what the program has written.
    Odd(String),
    /// SQLite can't read it.
    Failed(rusqlite::Error),
}

impl From<rusqlite::Error> for Unusable {
    fn from(error: rusqlite::Error) -> Self {
        Self::Failed(error)
    }
}

/// How long the disk may fail to read a file: some errors pass.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long ago the last error of a row may be.
const ROW: Duration = Duration::from_mins(1);

/// The files that the disk could not read, since when, and when last.
#[derive(Debug, Default)]
pub(super) struct Suspects(Mutex<HashMap<PathBuf, (Instant, Instant)>>);

/// What an error on a file says of it.
#[derive(Debug)]
pub(super) enum Verdict {
    /// The disk reads it, and SQLite does not.
    Damaged(String),
    /// The disk does not read it now.
    Unread(String),
    Passing,
}

impl Verdict {
    /// SQLite takes some errors of the disk for damage, so the file is read once more, plainly.
    pub(super) fn of(path: &Path, error: &rusqlite::Error) -> Self {
        let is_of_disk = error.sqlite_error_code() == Some(ErrorCode::SystemIoFailure);
        if !is_of_disk && !is_damage(error) {
            return Self::Passing;
        }
        let log = with_suffix(path, "-wal");
        let unread = [path, &log].into_iter().find_map(|path| read(path).err());
        match unread {
            Some(disk) if Errno::from_io_error(&disk) == Some(Errno::IO) => {
                Self::Unread(disk.to_string())
            }
            None if is_damage(error) => Self::Damaged(in_words(error)),
            _ => Self::Passing,
        }
    }

    /// What is wrong with the file, however long that lasts.
    pub(super) fn into_reason(self) -> Option<String> {
        match self {
            Self::Damaged(why) | Self::Unread(why) => Some(why),
            Self::Passing => None,
        }
    }
}

impl Suspects {
    /// Returns what is wrong with a file if an error on it will not pass.
    pub(super) fn lasting(&self, path: &Path, error: &rusqlite::Error) -> Option<String> {
        match Verdict::of(path, error) {
            Verdict::Damaged(why) => Some(why),
            Verdict::Unread(why) => self.is_unread_for_long(path).then_some(why),
            Verdict::Passing => None,
        }
    }

    /// A file was read.
    pub(super) fn clear(&self, path: &Path) {
        self.0.lock().remove(path);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }

    fn is_unread_for_long(&self, path: &Path) -> bool {
        let now = Instant::now();
        let mut suspects = self.0.lock();
        let (since, last) = suspects.entry(path.to_owned()).or_insert((now, now));
        if now - *last > ROW {
            *since = now;
        }
        *last = now;
        now - *since >= PATIENCE
    }
}

fn in_words(error: &rusqlite::Error) -> String {
    match error {
        rusqlite::Error::IntegralValueOutOfRange(..) => {
            "reports in it are out of order, or of no known topic".to_owned()
        }
        error => error.to_string(),
    }
}

/// The descriptors that files were read by. Closing one would end the locks of this process on the file, which SQLite
/// believes that it has.
static READ: Mutex<BTreeMap<PathBuf, Arc<File>>> = Mutex::new(BTreeMap::new());

/// Reads a file, if it is there.
fn read(path: &Path) -> io::Result<()> {
    let inode = |file: io::Result<Metadata>| file.map(|file| (file.dev(), file.ino())).ok();
    let mut files = READ.lock();
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

/// Closes the descriptors of a file that no connection is open to.
pub(super) fn forget(path: &Path) {
    let mut files = READ.lock();
    files.remove(path);
    files.remove(&with_suffix(path, "-wal"));
}

/// Whether an error says that the file itself is broken, rather than the disk or the moment.
fn is_damage(error: &rusqlite::Error) -> bool {
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
