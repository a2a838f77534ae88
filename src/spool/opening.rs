//! Opens the files that earlier runs left.

use std::path::Path;
use std::thread;
use std::time::Duration;

use super::Remains;
use super::error::{OpenError, Unusable, lasting};
use super::file::File;

/// How often to try again to open a file, and the pause between: some errors pass.
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(100);

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
pub(super) fn open(path: &Path, memory: usize) -> Result<Opened, OpenError> {
    let mut attempt = 1;
    loop {
        match try_open(path, memory) {
            Ok((file, left)) => return Ok(Opened::Sound(Box::new(file), left)),
            Err(Unusable::Newer(format)) => return Err(OpenError::Newer(path.to_owned(), format)),
            Err(Unusable::Odd(why)) => return Ok(Opened::Damaged(why)),
            Err(Unusable::Failed(_)) if attempt < ATTEMPTS => thread::park_timeout(PAUSE),
            Err(Unusable::Failed(error)) => {
                let failed = || OpenError::File(path.to_owned(), error.to_string());
                return lasting(path, &error)
                    .map(Opened::Damaged)
                    .ok_or_else(failed);
            }
        }
        attempt += 1;
    }
}

fn try_open(path: &Path, memory: usize) -> Result<(File, Remains), Unusable> {
    let file = File::open(path, memory)?;
    let left = file.left()?;
    Ok((file, left))
}
