//! The spool's directory: who owns it, which files are in it, and what was set aside. Files are numbered;
//! only the newest is written to.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::fs::statvfs;
use tracing::info;

use super::OpenError;

const LOCK: &str = "lock";
/// The name of a file that is being made.
pub(super) const UNFINISHED: &str = "new.sqlite";
const PREFIX: &str = "spool-";
const SUFFIX: &str = ".sqlite";
/// How many times to try to take the lock, and the pause between.
const LOCK_ATTEMPTS: u32 = 5;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// A directory that this process owns as long as it lives.
pub(super) struct Directory {
    path: PathBuf,
    /// `None` if there is none on a disk that can't be written to.
    lock: Option<File>,
}

impl Directory {
    /// Makes the directory if it is missing, and takes its lock.
    pub(super) fn own(path: &Path) -> Result<Self, OpenError> {
        let failed = |error| OpenError::Directory(path.to_owned(), error);
        make(path).map_err(failed)?;
        let mut lock = open_lock(&path.join(LOCK)).map_err(failed)?;
        if let Some(lock) = &mut lock {
            match take(lock) {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    return Err(OpenError::Taken(path.to_owned(), owner(lock)));
                }
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
            // Only for people to read: the lock itself is the system's, and ends with the process.
            let signed = lock
                .set_len(0)
                .and_then(|()| write!(lock, "{}", std::process::id()));
            if let Err(error) = signed {
                info!(%error, "can't write the process id into the spool's lock");
            }
        }
        Ok(Self {
            path: path.to_owned(),
            lock,
        })
    }

    /// Makes the directory again, and takes its lock, if it was removed or replaced.
    pub(super) fn own_again(&mut self) -> Result<(), OpenError> {
        let inode = |file: io::Result<Metadata>| file.map(|file| (file.dev(), file.ino())).ok();
        let held = self.lock.as_ref().and_then(|lock| inode(lock.metadata()));
        if held.is_none() || held != inode(fs::metadata(self.path.join(LOCK))) {
            *self = Self::own(&self.path)?;
        }
        Ok(())
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes what a kill has left of a file before anything was written to it, or after it was removed.
    pub(super) fn clean(&self) {
        for log in entries(&self.path).filter_map(|path| file_of_log(&path)) {
            if !log.exists() {
                Self::remove(&log);
            }
        }
        let unwritten = self
            .files()
            .into_iter()
            .filter(|path| Self::is_unwritten(path));
        for path in unwritten.chain([self.path.join(UNFINISHED)]) {
            Self::remove(&path);
        }
    }

    /// The spool's files, the oldest first.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        files(&self.path)
    }

    /// The name of the next file.
    pub(super) fn next_file(&self) -> PathBuf {
        let last = self.files().last().and_then(|path| number(path));
        let next = last.unwrap_or_default() + 1;
        self.path.join(format!("{PREFIX}{next:06}{SUFFIX}"))
    }

    /// Makes what was created, renamed or removed in it durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        sync(&self.path)
    }

    /// Bytes that the file system still has for this user.
    pub(super) fn free_space(&self) -> io::Result<u64> {
        let system = statvfs(&self.path)?;
        Ok(system.f_bavail * system.f_frsize)
    }

    /// Bytes of all of its files.
    pub(super) fn bytes(&self) -> u64 {
        bytes(&self.path)
    }

    /// How many of its files were set aside.
    pub(super) fn count_set_aside(&self) -> u64 {
        set_aside_files(&self.path).len() as u64
    }

    /// Renames a file, and the files that belong to it, so that no run touches it again. Returns its new name.
    ///
    /// # Errors
    /// If the disk does not let it be renamed.
    pub(super) fn set_aside(path: &Path) -> io::Result<PathBuf> {
        let aside = (1..=u32::MAX)
            .map(|attempt| with_suffix(path, &format!(".aside-{attempt}")))
            .find(|aside| !aside.exists())
            .expect("there is always a free name");
        // The file first: without its log it would look complete.
        for part in ["", "-wal", "-shm"] {
            match fs::rename(with_suffix(path, part), with_suffix(&aside, part)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(aside)
    }

    /// Whether a kill has left a file before anything was written to it.
    pub(super) fn is_unwritten(path: &Path) -> bool {
        length(path) == 0 && length(&with_suffix(path, "-wal")) == 0
    }

    /// Removes a file, and then its log: without it the file would look complete.
    pub(super) fn remove(path: &Path) {
        for part in ["", "-wal", "-shm"] {
            let of_file = with_suffix(path, part);
            // A disk that can't be written to does not say that a file is not there.
            let removed = fs::metadata(&of_file)
                .and_then(|_| fs::remove_file(&of_file))
                .and_then(|()| {
                    path.parent()
                        .filter(|_| part.is_empty())
                        .map_or(Ok(()), sync)
                });
            match removed {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    info!(path = %of_file.display(), %error, "can't remove a file of the spool that is not needed");
                }
                _ => {}
            }
        }
    }
}

/// Makes a directory and those above it that are missing, durably.
fn make(path: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = path.ancestors().take_while(|path| !path.exists()).collect();
    // It holds phone numbers: only its user may read it.
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    for made in missing {
        let above = made.parent().filter(|above| *above != Path::new(""));
        sync(above.unwrap_or(Path::new(".")))?;
    }
    Ok(())
}

/// Makes what was created, renamed or removed in a directory durable.
fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Opens the lock. A disk that can't be written to needs none that is new.
fn open_lock(path: &Path) -> io::Result<Option<File>> {
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path);
    match opened {
        Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => {
            Ok(File::open(path).ok())
        }
        opened => opened.map(Some),
    }
}

/// Takes the lock, in several attempts: a process that asks for the holder has it for a moment.
fn take(lock: &File) -> Result<(), TryLockError> {
    for _ in 0..LOCK_ATTEMPTS {
        if lock.try_lock().is_ok() {
            return Ok(());
        }
        thread::park_timeout(LOCK_PAUSE);
    }
    lock.try_lock()
}

/// The spool's files in a directory, the oldest first.
pub(super) fn files(directory: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = entries(directory)
        .filter(|path| number(path).is_some())
        .collect();
    files.sort_by_key(|path| number(path));
    files
}

/// Whether a directory is or was a spool's.
pub(super) fn is_spool(directory: &Path) -> bool {
    let has_files = || !(files(directory).is_empty() && set_aside_files(directory).is_empty());
    directory.join(LOCK).exists() || has_files()
}

/// Bytes of everything in a directory.
pub(super) fn bytes(directory: &Path) -> u64 {
    entries(directory).map(|path| length(&path)).sum()
}

/// Bytes of a file; 0 if it is not there.
pub(super) fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |file| file.len())
}

/// The files of a directory that were set aside.
pub(super) fn set_aside_files(directory: &Path) -> Vec<PathBuf> {
    let is_aside = |path: &PathBuf| {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        name.starts_with(PREFIX)
            && name.contains(".aside-")
            && !name.ends_with("-wal")
            && !name.ends_with("-shm")
    };
    let mut files: Vec<PathBuf> = entries(directory).filter(is_aside).collect();
    files.sort();
    files
}

/// The process that holds a directory, if one does.
pub(super) fn holder(directory: &Path) -> Option<u32> {
    let mut lock = OpenOptions::new()
        .read(true)
        .open(directory.join(LOCK))
        .ok()?;
    match lock.try_lock_shared() {
        Ok(()) => None,
        Err(_) => Some(owner(&mut lock).unwrap_or_default()),
    }
}

fn owner(lock: &mut File) -> Option<u32> {
    let mut text = String::new();
    lock.rewind().ok()?;
    lock.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn entries(directory: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path())
}

/// The file that a log or an index belongs to.
fn file_of_log(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?;
    let file = ["-wal", "-shm"]
        .iter()
        .find_map(|part| name.strip_suffix(part))?;
    let file = path.with_file_name(file);
    number(&file).map(|_| file)
}

pub(super) fn number(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?;
    name.strip_prefix(PREFIX)?
        .strip_suffix(SUFFIX)?
        .parse()
        .ok()
}

pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
