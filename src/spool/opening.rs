//! Opens the files of earlier runs.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::RestoredState;
use super::directory::{length, with_suffix};
use super::error::{FileError, OpenError, ReadErrors};
use super::file::{ATTEMPTS, File, PAUSE};
use super::limits::Limits;

/// The pause between attempts when the disk fails to read the file.
const DISK_ERROR_PAUSE: Duration = Duration::from_millis(500);
/// The maximum time of attempts when the disk fails to read the file.
const MAX_WAIT: Duration = Duration::from_secs(15);

/// A file of an earlier run.
pub(super) enum Opened {
    Sound(Box<File>, RestoredState),
    /// The reason why the file counts as damaged.
    Damaged(String),
}

/// Opens a file, and reads the ranges of its reports.
///
/// # Errors
/// If a newer version wrote the file, or an error that is not damage persists.
pub(super) fn open(path: &Path, memory: usize, limits: Limits) -> Result<Opened, OpenError> {
    // SQLite deletes the write-ahead log of an empty file, so it must not open this one.
    if length(path) == 0 && length(&with_suffix(path, "-wal")) > 0 {
        return Ok(Opened::Damaged(
            "it is empty, but its log is not".to_owned(),
        ));
    }
    let read_errors = ReadErrors::default();
    let (mut attempt, began) = (1, Instant::now());
    loop {
        let error = match try_open(path, memory, limits) {
            Ok((file, restored)) => return Ok(Opened::Sound(Box::new(file), restored)),
            Err(FileError::Newer(format)) => return Err(OpenError::Newer(path.to_owned(), format)),
            Err(FileError::Invalid(why)) => return Ok(Opened::Damaged(why)),
            Err(FileError::Failed(error)) => error,
        };
        let pause = match read_errors.permanent(path, &error) {
            Some(why) if attempt >= ATTEMPTS => return Ok(Opened::Damaged(why)),
            None if !read_errors.is_empty() && began.elapsed() < MAX_WAIT => DISK_ERROR_PAUSE,
            None if attempt >= ATTEMPTS => {
                return Err(OpenError::File(path.to_owned(), error.to_string()));
            }
            _ => PAUSE,
        };
        thread::park_timeout(pause);
        attempt += 1;
    }
}

fn try_open(
    path: &Path,
    memory: usize,
    limits: Limits,
) -> Result<(File, RestoredState), FileError> {
    let file = File::open(path, memory, limits)?;
    let restored = file.restored()?;
    Ok((file, restored))
}
