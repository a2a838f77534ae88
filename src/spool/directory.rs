//! The spool's directory: its lock, its files, and the files that were set aside. Files are numbered; reports are
//! written only to the newest.

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
/// The name of a file while it is created.
pub(super) const UNFINISHED: &str = "new.sqlite";
const PREFIX: &str = "spool-";
const SUFFIX: &str = ".sqlite";
/// A file with this number or a higher one does not belong to the spool.
const MAX_NUMBER: u64 = 1 << 60;
/// The number of attempts to take the lock, and the pause between them.
const LOCK_ATTEMPTS: u32 = 5;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// A directory that this process owns until it ends.
pub(super) struct Directory {
    path: PathBuf,
    /// The highest file number that was used.
    last: u64,
    /// `None` if the disk is read-only and has no lock file.
    lock: Option<File>,
}

impl Directory {
    /// Creates the directory if it is missing, and takes its lock.
    pub(super) fn acquire(path: &Path) -> Result<Self, OpenError> {
        let failed = |error| OpenError::Directory(path.to_owned(), error);
        create_directory(path).map_err(failed)?;
        let mut lock = open_lock(&path.join(LOCK)).map_err(failed)?;
        if let Some(lock) = &mut lock {
            match take_lock(lock) {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    return Err(OpenError::InUse(path.to_owned(), owner_process(lock)));
                }
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
            // The process id is only informative: the operating system holds the lock and releases it when the
            // process ends.
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

    /// Returns whether the lock file in the directory is the one that this process has locked.
    pub(super) fn is_owned(&self) -> bool {
        let inode = |file: io::Result<Metadata>| file.map(|file| (file.dev(), file.ino())).ok();
        let held = self.lock.as_ref().and_then(|lock| inode(lock.metadata()));
        held.is_some() && held == inode(fs::metadata(self.path.join(LOCK)))
    }

    /// Creates the directory again and takes its lock when it was removed or replaced.
    pub(super) fn reacquire(&mut self) -> Result<(), OpenError> {
        if !self.is_owned() {
            let path = self.path.display();
            warn!(%path, "the spool's directory was removed or replaced: creating and locking it again");
            let last = self.last;
            *self = Self::acquire(&self.path)?;
            self.last = last;
        }
        Ok(())
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes empty files and leftover write-ahead logs, which a kill can leave when a file is created or removed.
    /// Returns the other files, the oldest first.
    pub(super) fn clean(&mut self) -> Result<Vec<PathBuf>, OpenError> {
        let clean = || {
            for file in list(&self.path)?
                .iter()
                .filter_map(|path| file_of_wal(path))
            {
                if !file.try_exists()? {
                    info!(path = %file.display(), "removing the log of a spool file that no longer exists");
                    Self::remove_wal(&file)?;
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
            // The files of a read-only disk are still read.
            Err(error) if !is_read_only(&error) => {
                Err(OpenError::Directory(self.path.clone(), error))
            }
            cleaned => {
                let files = cleaned.or_else(|_| listed_files(&self.path));
                files.map_err(|error| OpenError::Directory(self.path.clone(), error))
            }
        }
    }

    /// Returns the path of the next file.
    pub(super) fn next_file(&mut self) -> io::Result<PathBuf> {
        let files = listed_files(&self.path)?;
        let last = files.last().and_then(|path| number(path));
        self.last = last.unwrap_or_default().max(self.last) + 1;
        let name = format!("{PREFIX}{:06}{SUFFIX}", self.last);
        Ok(self.path.join(name))
    }

    /// Fsyncs the directory, so that created, renamed and removed files stay so.
    pub(super) fn sync(&self) -> io::Result<()> {
        sync(&self.path)
    }

    /// Returns the bytes that this user can still allocate on the file system.
    pub(super) fn free_space(&self) -> io::Result<u64> {
        let system = statvfs(&self.path)?;
        Ok(system.f_bavail * system.f_frsize)
    }

    /// Returns the bytes of all files.
    pub(super) fn bytes(&self) -> io::Result<u64> {
        let files = list(&self.path)?;
        Ok(files.iter().map(|path| length(path)).sum())
    }

    /// Returns the number of files that were set aside.
    pub(super) fn count_set_aside(&self) -> u64 {
        set_aside_files(&self.path).len() as u64
    }

    /// Renames a file, its write-ahead log and its index, so that no run uses them again. Returns the new name.
    ///
    /// # Errors
    /// If the disk refuses to rename it.
    pub(super) fn set_aside(&self, path: &Path) -> io::Result<PathBuf> {
        let aside = (1..=u32::MAX)
            .map(|attempt| with_suffix(path, &format!(".aside-{attempt}")))
            .find(|aside| !aside.exists())
            .expect("there is always a free name");
        // The file is renamed before its write-ahead log: when the process is killed in between, no file looks complete
        // without its log.
        for part in ["", "-wal", "-shm"] {
            match fs::rename(with_suffix(path, part), with_suffix(&aside, part)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        self.sync()?;
        Ok(aside)
    }

    /// Returns whether a file and its write-ahead log are empty, as a kill can leave them.
    pub(super) fn is_unwritten(path: &Path) -> bool {
        let is_empty = |path: &Path| match fs::metadata(path) {
            Ok(file) => file.is_file() && file.len() == 0,
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        is_empty(path) && is_empty(&with_suffix(path, "-wal"))
    }

    /// Removes a file, and then its write-ahead log: without that log the file would look complete.
    ///
    /// # Errors
    /// If the disk refuses to remove it.
    pub(super) fn remove(path: &Path) -> io::Result<()> {
        if remove(path)? {
            path.parent().map_or(Ok(()), sync)?;
        }
        Self::remove_wal(path)
    }

    /// Removes a file's write-ahead log and index.
    pub(super) fn remove_wal(path: &Path) -> io::Result<()> {
        for part in ["-wal", "-shm"] {
            remove(&with_suffix(path, part))?;
        }
        Ok(())
    }
}

/// Removes a file. Returns `false` if it does not exist. It is looked up first because a read-only disk reports
/// another error for a missing file.
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

/// Creates a directory and its missing parents, durably.
fn create_directory(path: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = path.ancestors().take_while(|path| !path.exists()).collect();
    // The spool holds phone numbers, so only its user may read it.
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    for made in missing {
        let above = made.parent().filter(|above| *above != Path::new(""));
        sync(above.unwrap_or(Path::new(".")))?;
    }
    Ok(())
}

/// Fsyncs a directory.
fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Opens or creates the lock file. A read-only disk does not need a new one.
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

/// Takes the lock, in several attempts: [`holder`] of another process can hold it for a moment.
fn take_lock(lock: &File) -> Result<(), TryLockError> {
    for _ in 0..LOCK_ATTEMPTS {
        if lock.try_lock().is_ok() {
            return Ok(());
        }
        thread::park_timeout(LOCK_PAUSE);
    }
    lock.try_lock()
}

/// Lists the spool's files in a directory, the oldest first.
///
/// # Errors
/// If the directory can't be listed: existing files must not look missing.
fn listed_files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = list(directory)?;
    files.retain(|path| number(path).is_some());
    files.sort_by_key(|path| number(path));
    Ok(files)
}

/// Lists the spool's files in a directory, the oldest first; none if it can't be listed.
pub(super) fn files(directory: &Path) -> Vec<PathBuf> {
    listed_files(directory).unwrap_or_default()
}

/// Returns whether a directory is or was a spool's.
pub(super) fn is_spool(directory: &Path) -> bool {
    let has_files = || !(files(directory).is_empty() && set_aside_files(directory).is_empty());
    directory.join(LOCK).exists() || has_files()
}

/// Returns the bytes of all files in a directory.
pub(super) fn bytes(directory: &Path) -> u64 {
    entries(directory).map(|path| length(&path)).sum()
}

/// Returns the bytes of a file; 0 if it does not exist.
pub(super) fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |file| file.len())
}

/// Lists the files of a directory that were set aside.
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

/// Returns the id of the process that holds a directory's lock, or 0 if the lock file does not contain it. `None` if
/// no process holds the lock.
pub(super) fn holder(directory: &Path) -> Option<u32> {
    let mut lock = OpenOptions::new()
        .read(true)
        .open(directory.join(LOCK))
        .ok()?;
    match lock.try_lock_shared() {
        Ok(()) => None,
        Err(_) => Some(owner_process(&mut lock).unwrap_or_default()),
    }
}

fn owner_process(lock: &mut File) -> Option<u32> {
    let mut text = String::new();
    lock.rewind().ok()?;
    lock.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn list(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory)?;
    entries.map(|entry| Ok(entry?.path())).collect()
}

/// Lists the entries of a directory; none if it can't be listed.
fn entries(directory: &Path) -> impl Iterator<Item = PathBuf> {
    list(directory).unwrap_or_default().into_iter()
}

/// Returns the file that a write-ahead log or an index belongs to.
fn file_of_wal(path: &Path) -> Option<PathBuf> {
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
    number.parse().ok().filter(|number| *number < MAX_NUMBER)
}

pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
