//! The spool's directory: who owns it, which files are in it, and what was set aside. Files are numbered;
//! only the newest is written to.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::fs::statvfs;
use tracing::{info, warn};

use super::OpenError;

const LOCK: &str = "lock";
/// The name of a file that is being made.
pub(super) const UNFINISHED: &str = "new.sqlite";
const PREFIX: &str = "spool-";
const SUFFIX: &str = ".sqlite";
/// A file with a higher number is not the spool's.
const HIGHEST: u64 = 1 << 60;
/// How many times to try to take the lock, and the pause between.
const LOCK_ATTEMPTS: u32 = 5;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// A directory that this process owns as long as it lives.
pub(super) struct Directory {
    path: PathBuf,
    /// The highest number that a file has had.
    last: u64,
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
            last: 0,
            lock,
        })
    }

    /// Whether its lock is the one that this process has taken.
    pub(super) fn is_owned(&self) -> bool {
        let inode = |file: io::Result<Metadata>| file.map(|file| (file.dev(), file.ino())).ok();
        let held = self.lock.as_ref().and_then(|lock| inode(lock.metadata()));
        held.is_some() && held == inode(fs::metadata(self.path.join(LOCK)))
    }

    /// Makes the directory again, and takes its lock, if it was removed or replaced.
    pub(super) fn own_again(&mut self) -> Result<(), OpenError> {
        if !self.is_owned() {
            let path = self.path.display();
            warn!(%path, "the spool's directory was removed or replaced: it is made and taken again");
            let last = self.last;
            *self = Self::own(&self.path)?;
            self.last = last;
        }
        Ok(())
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes what a kill has left of a file before anything was written to it, or after it was removed. Returns the
    /// other files, the oldest first.
    pub(super) fn clean(&mut self) -> Result<Vec<PathBuf>, OpenError> {
        let clean = || {
            for file in list(&self.path)?
                .iter()
                .filter_map(|path| file_of_log(path))
            {
                if !file.try_exists()? {
                    info!(path = %file.display(), "the log of a file of the spool that is gone is removed");
                    Self::remove_log(&file)?;
                }
            }
            let (unwritten, files): (Vec<_>, Vec<_>) = listed_files(&self.path)?
                .into_iter()
                .partition(|path| Self::is_unwritten(path));
            for path in unwritten.iter().chain([&self.path.join(UNFINISHED)]) {
                Self::remove(path)?;
            }
            Ok(files)
        };
        match clean() {
            // A disk that can't be written to is read.
            Err(error) if !is_read_only(&error) => {
                Err(OpenError::Directory(self.path.clone(), error))
            }
            cleaned => {
                let files = cleaned.or_else(|_| listed_files(&self.path));
                files.map_err(|error| OpenError::Directory(self.path.clone(), error))
            }
        }
    }

    /// The name of the next file.
    pub(super) fn next_file(&mut self) -> io::Result<PathBuf> {
        let files = listed_files(&self.path)?;
        let last = files.last().and_then(|path| number(path));
        self.last = last.unwrap_or_default().max(self.last) + 1;
        let name = format!("{PREFIX}{:06}{SUFFIX}", self.last);
        Ok(self.path.join(name))
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
    pub(super) fn bytes(&self) -> io::Result<u64> {
        let files = list(&self.path)?;
        Ok(files.iter().map(|path| length(path)).sum())
    }

    /// How many of its files were set aside.
    pub(super) fn count_set_aside(&self) -> u64 {
        set_aside_files(&self.path).len() as u64
    }

    /// Renames a file, and the files that belong to it, so that no run touches it again. Returns its new name.
    ///
    /// # Errors
    /// If the disk does not let it be renamed.
    pub(super) fn set_aside(&self, path: &Path) -> io::Result<PathBuf> {
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
        self.sync()?;
        Ok(aside)
    }

    /// Whether a kill has left a file before anything was written to it.
    pub(super) fn is_unwritten(path: &Path) -> bool {
        let is_empty = |path: &Path| match fs::metadata(path) {
            Ok(file) => file.is_file() && file.len() == 0,
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        is_empty(path) && is_empty(&with_suffix(path, "-wal"))
    }

    /// Removes a file, and then its log: without it the file would look complete.
    ///
    /// # Errors
    /// If the file is still there.
    pub(super) fn remove(path: &Path) -> io::Result<()> {
        if remove(path)? {
            path.parent().map_or(Ok(()), sync)?;
        }
        Self::remove_log(path)
    }

    /// Removes the log and the index of a file.
    pub(super) fn remove_log(path: &Path) -> io::Result<()> {
        for part in ["-wal", "-shm"] {
            remove(&with_suffix(path, part))?;
        }
        Ok(())
    }
}

/// Removes a file; returns `false` if it is not there, which a disk that can't be written to does not say by itself.
fn remove(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path).and_then(|_| fs::remove_file(path)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        removed => removed.map(|()| true),
    }
}

fn is_read_only(error: &io::Error) -> bool {
    let kinds = [
        io::ErrorKind::ReadOnlyFilesystem,
        io::ErrorKind::PermissionDenied,
        io::ErrorKind::StorageFull,
    ];
    kinds.contains(&error.kind())
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
///
/// # Errors
/// If it can't be listed: files must not look as if they were not there.
fn listed_files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = list(directory)?;
    files.retain(|path| number(path).is_some());
    files.sort_by_key(|path| number(path));
    Ok(files)
}

/// The same, as far as it can be listed.
pub(super) fn files(directory: &Path) -> Vec<PathBuf> {
    listed_files(directory).unwrap_or_default()
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

fn list(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory)?;
    entries.map(|entry| Ok(entry?.path())).collect()
}

/// What is in a directory, as far as it can be listed.
fn entries(directory: &Path) -> impl Iterator<Item = PathBuf> {
    list(directory).unwrap_or_default().into_iter()
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
    let number = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    number.parse().ok().filter(|number| *number < HIGHEST)
}

pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
