//! Opens the files that earlier runs left.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::Remains;
use super::directory::{length, with_suffix};
use super::error::{OpenError, Suspects, Unusable};
use super::file::{ATTEMPTS, File, PAUSE};
use super::limits::Limits;

/// How long to wait for a disk that does not read it.
const UNREAD: Duration = Duration::from_millis(500);

const LONGEST: Duration = Duration::from_secs(15);

/// A file of an earlier run.
pub(super) enum Opened {
    Sound(Box<File>, Remains),
    /// It is damaged, and why.
    Damaged(String),
}

/// Opens a file, and reads what is left in it.
///
/// # Errors
/// If a newer version wrote it, or an error does not pass that is no damage.
pub(super) fn open(path: &Path, memory: usize, limits: Limits) -> Result<Opened, OpenError> {
    // SQLite would remove the log.
    if length(path) == 0 && length(&with_suffix(path, "-wal")) > 0 {
        return Ok(Opened::Damaged(
            "it is empty, and its log is not".to_owned(),
        ));
    }
    let suspects = Suspects::default();
    let (mut attempt, began) = (1, Instant::now());
    loop {
        let error = match try_open(path, memory, limits) {
            Ok((file, left)) => return Ok(Opened::Sound(Box::new(file), left)),
            Err(Unusable::Newer(format)) => return Err(OpenError::Newer(path.to_owned(), format)),
            Err(Unusable::Odd(why)) => return Ok(Opened::Damaged(why)),
            Err(Unusable::Failed(error)) => error,
        };
        let pause = match suspects.lasting(path, &error) {
            Some(why) if attempt >= ATTEMPTS => return Ok(Opened::Damaged(why)),
            None if !suspects.is_empty() && began.elapsed() < LONGEST => UNREAD,
            None if attempt >= ATTEMPTS => {
                return Err(OpenError::File(path.to_owned(), error.to_string()));
            }
            _ => PAUSE,
        };
        thread::park_timeout(pause);
        attempt += 1;
    }
}

fn try_open(path: &Path, memory: usize, limits: Limits) -> Result<(File, Remains), Unusable> {
    let file = File::open(path, memory, limits)?;
    let left = file.left()?;
    Ok((file, left))
}
